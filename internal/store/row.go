package store

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
	"github.com/postseal/postseal/internal/template"
)

// micros is a time as it is stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// moment is the inverse of micros.
func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// most is the LIMIT of a page.
func most(p sender.Page) int64 {
	if p.Limit <= 0 {
		return math.MaxInt64
	}
	return int64(p.Limit)
}

// encode writes JSON for a column. Invalid UTF-8 becomes U+FFFD, as in text.
func encode(v any) (string, error) {
	b, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true), json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("store: encode: %w", err)
	}
	return string(b), nil
}

// decode reads what encode wrote; what names the place for the error.
func decode(column string, v any, what ...any) error {
	if err := json.Unmarshal([]byte(column), v); err != nil {
		return fmt.Errorf("store: %s can't be read: %w", fmt.Sprint(what...), err)
	}
	return nil
}

// missing turns "no such row" into the core's NotFound; other errors keep their cause.
func missing(noun string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return notFound(noun)
	}
	return fmt.Errorf("store: read %s: %w", noun, err)
}

func notFound(noun string) error {
	return sender.Errorf(sender.NotFound, "", "The requested %s was not found.", noun)
}

// broken says what failed.
func broken(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s: %w", what, err)
}

// quote shows a value in an error: in quotes, cut at 100 characters.
func quote(s string) string {
	if r := []rune(s); len(r) > 100 {
		return fmt.Sprintf("%q...", string(r[:100]))
	}
	return fmt.Sprintf("%q", s)
}

// redact takes the password out of something that looks like a URL.
func redact(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return "the DSN"
	}
	return u.Redacted()
}

// each converts a list of rows.
func each[R, T any](rows []R, err error, noun string, convert func(R) (T, error)) ([]T, error) {
	if err != nil {
		return nil, fmt.Errorf("store: list %s: %w", noun, err)
	}
	list := make([]T, len(rows))
	for i, row := range rows {
		if list[i], err = convert(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func tenantOf(r db.Tenant) (sender.Tenant, error) {
	t := sender.Tenant{
		ID: sender.ID(r.ID), Organization: sender.ID(r.OrganizationID), Name: r.Name, Type: sender.AccountType(r.Type),
		Geography: r.Geography, RecordSet: sender.RecordSet(r.RecordSet), FromPolicy: sender.FromPolicy(r.FromPolicy),
		Limits:    sender.Limits{Domains: int(r.MaxDomains), AddressesPerDomain: int(r.MaxAddresses), Templates: int(r.MaxTemplates)},
		CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	return t, decode(r.Regions, &t.Regions, "regions of tenant ", r.ID)
}

// credentialOf leaves the key of a pair out.
func credentialOf(r db.Credential) (sender.Credential, error) {
	c := sender.Credential{
		ID: sender.ID(r.ID), Kind: sender.CredentialKind(r.Kind), Name: r.Name, Tenant: sender.ID(r.TenantID),
		Operator: r.IsOperator, Domain: sender.ID(r.DomainID), SecretHash: r.SecretHash, Token: r.Token,
		CreatedAt: moment(r.CreatedAt), ExpiresAt: moment(r.ExpiresAt), RevokedAt: moment(r.RevokedAt),
	}
	return c, decode(r.Grants, &c.Grants, "grants of credential ", r.ID)
}

func domainOf(r db.Domain) (sender.Domain, error) {
	d := sender.Domain{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Spelling: r.Spelling, ProvenAt: moment(r.ProvenAt),
		NextCheck: moment(r.NextCheckAt), AbsentSince: moment(r.AbsentAt), Version: r.Version, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	var err error
	if d.Name, err = dnscheck.ParseName(r.Name); err != nil {
		return d, fmt.Errorf("store: name of domain %s: %w", r.ID, err)
	}
	if err := decode(r.Tokens, &d.Tokens, "tokens of domain ", r.ID); err != nil {
		return d, err
	}
	if r.MailFrom != "" {
		if err := decode(r.MailFrom, &d.MailFrom, "MAIL FROM domain of domain ", r.ID); err != nil {
			return d, err
		}
	}
	return d, decode(r.Facets, &d.Facets, "facets of domain ", r.ID)
}

// encodeMailFrom writes nothing for a domain that has none.
func encodeMailFrom(m sender.MailFrom) (string, error) {
	if m == (sender.MailFrom{}) {
		return "", nil
	}
	return encode(m)
}

func addressOf(r db.Address) (sender.Address, error) {
	a := sender.Address{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Mailbox: r.Mailbox, Spelling: r.Spelling,
		Status: sender.Status(r.Status), By: sender.Evidence(r.Evidence), ByDomain: r.ByDomain, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	var err error
	if a.Domain, err = dnscheck.ParseName(r.Domain); err != nil {
		return a, fmt.Errorf("store: domain of address %s: %w", r.ID, err)
	}
	return a, decode(r.Code, &a.Code, "code of address ", r.ID)
}

func templateOf(r db.Template) (sender.Template, error) {
	return sender.Template{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Application: sender.ID(r.ApplicationID), Type: r.Type,
		Locale: template.Locale(r.Locale), Spelling: r.Spelling, Variant: r.Variant, VariantSpelling: r.VariantSpelled, From: r.Author, ReplyTo: r.ReplyTo, Subject: r.Subject, Body: r.Body,
		HTML: r.Html, Charset: r.Charset, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}, nil
}

func messageOf(r db.Message) (sender.Message, error) {
	return sender.Message{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Kind: sender.MessageKind(r.Kind), From: r.Author, To: r.Recipient,
		ReplyTo: r.ReplyTo, Template: sender.ID(r.TemplateID), Locale: template.Locale(r.Locale), About: sender.ID(r.About), Builtin: r.Builtin,
		Region: r.Region, State: sender.MessageState(r.State), Reason: r.Reason, Once: r.Once,
		Attempts: int(r.Attempts), InDoubt: int(r.InDoubt), NextAttemptAt: moment(r.NextAttemptAt), ExpiresAt: moment(r.ExpiresAt),
		CreatedAt: moment(r.CreatedAt), DoneAt: moment(r.DoneAt), IdempotencyKey: r.IdempotencyKey, RequestHash: r.RequestHash, Actor: sender.ID(r.Actor),
	}, nil
}

func attemptOf(r db.Attempt) (sender.Attempt, error) {
	return sender.Attempt{
		Message: sender.ID(r.MessageID), Tenant: sender.ID(r.TenantID), Number: int(r.Number),
		StartedAt: moment(r.StartedAt), FinishedAt: moment(r.FinishedAt),
		Delivery: sender.Delivery{
			Outcome: sender.DeliveryOutcome(r.Outcome), Code: int(r.Code), Enhanced: r.Enhanced, Text: r.Reply,
			Stage: r.Stage, Transcript: r.Transcript,
		},
	}, nil
}

func eventOf(r db.Event) (sender.Event, error) {
	e := sender.Event{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), At: moment(r.At), Actor: sender.ID(r.ActorID),
		Type: sender.EventType(r.Type), Object: sender.ID(r.ObjectID),
	}
	return e, decode(r.Data, &e.Data, "data of event ", r.ID)
}

// keyOf leaves the private half out.
func keyOf(r db.SigningKey) sender.Key {
	return sender.Key{
		Selector: r.Selector, Tenant: sender.ID(r.TenantID), Domain: sender.ID(r.DomainID), Region: r.Region,
		Algorithm: r.Algorithm, TXT: r.Txt, CreatedAt: moment(r.CreatedAt), RevokedAt: moment(r.RevokedAt),
	}
}
