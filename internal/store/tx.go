package store

import (
	"context"
	"fmt"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

// tx is a [sender.Tx] and an [otp.Tx].
type tx struct {
	reader
	dialect dialect
	store   *Store
	tasks   []sender.Task
}

var _ otp.Tx = (*tx)(nil)

// dialect holds the statements that the engines can't share: they lock rows.
type dialect interface {
	lockTenant(ctx context.Context, id string) error // pgx.ErrNoRows where there is none
	lockDomain(ctx context.Context, tenant, name string) error
	lockUser(ctx context.Context, tenant, id string) error
	// claimDomains returns the longest due first.
	claimDomains(ctx context.Context, now, until int64, limit int) ([]db.Domain, error)
	// claimMessages leases at most share of the longest due messages of each tenant; of
	// the built-in no-reply alone where builtin is true.
	claimMessages(ctx context.Context, tenants []string, builtin bool, share int, l lease) ([]claimed, error)
}

func (t *tx) LockTenant(ctx context.Context, tenant sender.ID) error {
	if err := t.dialect.lockTenant(ctx, string(tenant)); err != nil {
		return missing("environment", err)
	}
	return nil
}

func (t *tx) LockDomain(ctx context.Context, tenant sender.ID, name dnscheck.Name) error {
	return broken("lock the email domain", t.dialect.lockDomain(ctx, string(tenant), name.String()))
}

// inserted answers Conflict where ON CONFLICT DO NOTHING did nothing. Letting the
// constraint fail would abort the transaction on PostgreSQL.
func inserted(n int64, err error, field, format string, args ...any) error {
	switch {
	case err != nil:
		return fmt.Errorf("store: insert: %w", err)
	case n == 0:
		return sender.Errorf(sender.Conflict, field, format, args...)
	}
	return nil
}

// touched answers NotFound where no row was.
func touched(n int64, err error, noun string) error {
	switch {
	case err != nil:
		return fmt.Errorf("store: write %s: %w", noun, err)
	case n == 0:
		return notFound(noun)
	}
	return nil
}

func (t *tx) InsertOrganization(ctx context.Context, o sender.Organization) error {
	n, err := t.q.InsertOrganization(ctx, string(o.ID), o.Name, micros(o.CreatedAt))
	return inserted(n, err, "id", "There is an organization with the id %s already.", quote(string(o.ID)))
}

func (t *tx) InsertTenant(ctx context.Context, x sender.Tenant) error {
	regions, err := encode(x.Regions)
	if err != nil {
		return err
	}
	n, err := t.q.InsertTenant(ctx, db.InsertTenantParams{
		ID: string(x.ID), OrganizationID: string(x.Organization), Name: x.Name, Type: string(x.Type), Geography: x.Geography,
		Regions: regions, RecordSet: string(x.RecordSet), FromPolicy: string(x.FromPolicy), MaxDomains: int64(x.Limits.Domains),
		MaxAddresses: int64(x.Limits.AddressesPerDomain), MaxTemplates: int64(x.Limits.Templates),
		CreatedAt: micros(x.CreatedAt), UpdatedAt: micros(x.UpdatedAt),
	})
	return inserted(n, err, "id", "There is an environment with the id %s already.", quote(string(x.ID)))
}

func (t *tx) UpdateTenant(ctx context.Context, x sender.Tenant) error {
	n, err := t.q.UpdateTenant(ctx, db.UpdateTenantParams{ID: string(x.ID), Name: x.Name, Type: string(x.Type), UpdatedAt: micros(x.UpdatedAt)})
	return touched(n, err, "environment")
}

func (t *tx) Belongings(ctx context.Context, tenant sender.ID) (sender.Belongings, error) {
	r, err := t.q.Belongings(ctx, string(tenant))
	return sender.Belongings{
		Domains: int(r.Domains), Addresses: int(r.Addresses), Templates: int(r.Templates), Applications: int(r.Applications), Users: int(r.Users),
		Messages: int(r.Queued + r.Sending),
	}, broken("count what a tenant has", err)
}

func (t *tx) DeleteTenant(ctx context.Context, tenant sender.ID) error {
	for _, remove := range []func(context.Context, string) error{t.q.DeleteTenantSettings, t.q.DeleteTenantCredentials, t.q.DeleteTenantDeliveries} {
		if err := remove(ctx, string(tenant)); err != nil {
			return broken("delete what a tenant has", err)
		}
	}
	n, err := t.q.DeleteTenant(ctx, string(tenant))
	if foreignKey(err) { // it got something after that was counted
		return sender.Errorf(sender.InUse, "environment", "The environment has just got something new; delete that first.")
	}
	return touched(n, err, "environment")
}

func (t *tx) InsertCredential(ctx context.Context, c sender.Credential) error {
	grants, err := encode(c.Grants)
	if err != nil {
		return err
	}
	p := db.InsertCredentialParams{
		ID: string(c.ID), Kind: string(c.Kind), Name: c.Name, TenantID: string(c.Tenant), IsOperator: c.Operator, Grants: grants,
		DomainID: string(c.Domain), SecretHash: c.SecretHash, Token: c.Token,
		CreatedAt: micros(c.CreatedAt), ExpiresAt: micros(c.ExpiresAt), RevokedAt: micros(c.RevokedAt),
	}
	if len(c.Key) > 0 {
		p.HmacKey = t.keys.seal(c.Key, pairPlace(string(c.ID)))
	}
	n, err := t.q.InsertCredential(ctx, p)
	return inserted(n, err, "id", "There is a credential with the id %s, or with its token, already.", quote(string(c.ID)))
}

func (t *tx) RevokeCredential(ctx context.Context, tenant, id sender.ID, at time.Time) error {
	n, err := t.q.RevokeCredential(ctx, micros(at), string(tenant), string(id))
	return touched(n, err, "credential")
}

func (t *tx) ExpireCredential(ctx context.Context, tenant, id sender.ID, at time.Time) error {
	n, err := t.q.ExpireCredential(ctx, micros(at), string(tenant), string(id))
	return touched(n, err, "credential")
}

func (t *tx) InsertDomain(ctx context.Context, d sender.Domain) error {
	tokens, err := encode(d.Tokens)
	if err != nil {
		return err
	}
	mailFrom, err := encodeMailFrom(d.MailFrom)
	if err != nil {
		return err
	}
	facets, err := encode(d.Facets)
	if err != nil {
		return err
	}
	n, err := t.q.InsertDomain(ctx, db.InsertDomainParams{
		TenantID: string(d.Tenant), ID: string(d.ID), Name: d.Name.String(), Spelling: d.Spelling, Tokens: tokens, MailFrom: mailFrom,
		Facets: facets, ProvenAt: micros(d.ProvenAt), NextCheckAt: micros(d.NextCheck), Version: d.Version,
		CreatedAt: micros(d.CreatedAt), UpdatedAt: micros(d.UpdatedAt), AbsentAt: micros(d.AbsentSince), Holds: d.Holds(),
	})
	return inserted(n, err, "domainName", "%s is already registered here.", quote(d.Spelling))
}

func (t *tx) UpdateDomain(ctx context.Context, d sender.Domain) error {
	tokens, err := encode(d.Tokens)
	if err != nil {
		return err
	}
	mailFrom, err := encodeMailFrom(d.MailFrom)
	if err != nil {
		return err
	}
	facets, err := encode(d.Facets)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateDomain(ctx, db.UpdateDomainParams{
		TenantID: string(d.Tenant), ID: string(d.ID), Version: d.Version, Tokens: tokens, MailFrom: mailFrom, Facets: facets,
		ProvenAt: micros(d.ProvenAt), NextCheckAt: micros(d.NextCheck), UpdatedAt: micros(d.UpdatedAt),
		AbsentAt: micros(d.AbsentSince), Holds: d.Holds(),
	})
	if err == nil && n == 0 {
		if _, err := t.Domain(ctx, d.Tenant, d.ID); err != nil {
			return err
		}
		return sender.Errorf(sender.Conflict, "", "%s was changed meanwhile; read it again.", quote(d.Spelling))
	}
	return broken("update the email domain", err)
}

// DeleteDomain leaves the domain's keys as tombstones. Its last check goes with
// the row, by the foreign key.
func (t *tx) DeleteDomain(ctx context.Context, tenant, id sender.ID) error {
	n, err := t.q.DeleteDomain(ctx, string(tenant), string(id))
	if err := touched(n, err, "email domain"); err != nil {
		return err
	}
	return broken("revoke keys", t.q.RevokeKeys(ctx, micros(time.Now()), string(tenant), string(id)))
}

func (t *tx) SaveCheck(ctx context.Context, c sender.Check) error {
	findings, err := encode(c.Findings)
	if err != nil {
		return err
	}
	n, err := t.q.SaveCheck(ctx, db.SaveCheckParams{TenantID: string(c.Tenant), DomainID: string(c.Domain), CheckedAt: micros(c.At), Findings: findings})
	return touched(n, err, "email domain")
}

func (t *tx) ClaimDueDomains(ctx context.Context, now, until time.Time, limit int) ([]sender.Domain, error) {
	rows, err := t.dialect.claimDomains(ctx, micros(now), micros(until), limit)
	return each(rows, err, "due email domains", domainOf)
}

func (t *tx) BringDomainsForward(ctx context.Context, beyond, now time.Time, span time.Duration) (int, error) {
	n, err := t.q.BringDomainsForward(ctx, micros(now), span.Microseconds(), micros(beyond))
	return int(n), broken("bring checks of email domains forward", err)
}

// claimHalf is how many of a claim are those longest due (part 0), and how many those due
// last (part 1), when so many are claimed already.
func claimHalf(limit, part, claimed int) int {
	if part == 0 {
		return (limit + 1) / 2
	}
	return limit - claimed
}

func (t *tx) InsertAddress(ctx context.Context, a sender.Address) error {
	code, err := encode(a.Code)
	if err != nil {
		return err
	}
	n, err := t.q.InsertAddress(ctx, db.InsertAddressParams{
		TenantID: string(a.Tenant), ID: string(a.ID), Mailbox: a.Mailbox, Domain: a.Domain.String(), Spelling: a.Spelling,
		Status: string(a.Status), Evidence: string(a.By), ByDomain: a.ByDomain, Code: code, CreatedAt: micros(a.CreatedAt), UpdatedAt: micros(a.UpdatedAt),
	})
	return inserted(n, err, "emailAddress", "%s is already registered here.", quote(a.Spelling))
}

func (t *tx) UpdateAddress(ctx context.Context, a sender.Address) error {
	code, err := encode(a.Code)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateAddress(ctx, db.UpdateAddressParams{
		TenantID: string(a.Tenant), ID: string(a.ID), Spelling: a.Spelling, Status: string(a.Status), Evidence: string(a.By),
		ByDomain: a.ByDomain, Code: code, UpdatedAt: micros(a.UpdatedAt),
	})
	return touched(n, err, "trusted email address")
}

func (t *tx) DeleteAddress(ctx context.Context, tenant, id sender.ID) error {
	n, err := t.q.DeleteAddress(ctx, string(tenant), string(id))
	return touched(n, err, "trusted email address")
}

// sweepRecipients bounds how many old counts go with one new one.
const sweepRecipients = 500

// CountRecipient also forgets the counts of the days before the last, a part at a
// time, until there are none.
func (t *tx) CountRecipient(ctx context.Context, key string, day time.Time) (int, error) {
	n, err := t.q.CountRecipient(ctx, micros(day), key)
	if err != nil {
		return 0, fmt.Errorf("store: count the recipient: %w", err)
	}
	t.store.mu.Lock()
	swept := t.store.swept.Equal(day)
	t.store.mu.Unlock()
	if swept {
		return int(n), nil
	}
	gone, err := t.q.ForgetRecipients(ctx, micros(day.Add(-24*time.Hour)), sweepRecipients)
	if err != nil {
		return 0, fmt.Errorf("store: forget old recipients: %w", err)
	}
	if gone < sweepRecipients {
		t.store.mu.Lock()
		t.store.swept = day
		t.store.mu.Unlock()
	}
	return int(n), nil
}

func (t *tx) PutSetting(ctx context.Context, tenant sender.ID, name, document string) error {
	if document == "" {
		return broken("remove the setting", t.q.DeleteSetting(ctx, string(tenant), name))
	}
	return broken("write the setting", t.q.PutSetting(ctx, string(tenant), name, document))
}

func (t *tx) InsertTemplate(ctx context.Context, m sender.Template) error {
	n, err := t.q.InsertTemplate(ctx, db.InsertTemplateParams{
		TenantID: string(m.Tenant), ID: string(m.ID), ApplicationID: string(m.Application), Type: m.Type, Locale: string(m.Locale),
		Spelling: m.Spelling, Variant: m.Variant, VariantSpelled: m.VariantSpelling, Author: m.From, ReplyTo: m.ReplyTo, Subject: m.Subject, Body: m.Body,
		Html: m.HTML, Charset: m.Charset, Octets: int64(m.Octets()),
		CreatedAt: micros(m.CreatedAt), UpdatedAt: micros(m.UpdatedAt),
	})
	return inserted(n, err, "type", "There is a template of the type %s, the locale %s and the variant %s already.", quote(m.Type), quote(string(m.Locale)), quote(m.VariantSpelling))
}

func (t *tx) UpdateTemplate(ctx context.Context, m sender.Template) error {
	n, err := t.q.UpdateTemplate(ctx, db.UpdateTemplateParams{
		TenantID: string(m.Tenant), ID: string(m.ID), Type: m.Type, Locale: string(m.Locale), Spelling: m.Spelling,
		Variant: m.Variant, VariantSpelled: m.VariantSpelling, Author: m.From,
		ReplyTo: m.ReplyTo, Subject: m.Subject, Body: m.Body, Html: m.HTML, Charset: m.Charset,
		Octets: int64(m.Octets()), UpdatedAt: micros(m.UpdatedAt),
	})
	return touched(n, err, "template")
}

func (t *tx) DeleteTemplate(ctx context.Context, tenant, id sender.ID) error {
	n, err := t.q.DeleteTemplate(ctx, string(tenant), string(id))
	return touched(n, err, "template")
}

func (t *tx) PutRelay(ctx context.Context, r sender.Relay) error {
	from, err := encode(r.From)
	if err != nil {
		return err
	}
	reply, err := encode(r.ReplyTo)
	if err != nil {
		return err
	}
	p := db.PutRelayParams{
		TenantID: string(r.Tenant), Host: r.Host, Port: int64(r.Port), Username: r.Username, Author: from, ReplyTo: reply, UpdatedAt: micros(r.UpdatedAt),
	}
	switch {
	case r.HTTP != nil:
		document, err := encode(httpDocument{string(r.Password), r.HTTP.Name, r.HTTP.Bearer, r.HTTP.Method, r.HTTP.URL, r.HTTP.Headers, r.HTTP.Body})
		if err != nil {
			return err
		}
		p.Http = t.keys.seal([]byte(document), httpPlace(r.Tenant))
	case r.Password != "":
		p.Password = t.keys.seal([]byte(r.Password), relayPlace(r))
	}
	return broken("put the delivery settings", t.q.PutRelay(ctx, p))
}

func (t *tx) DeleteRelay(ctx context.Context, tenant sender.ID) error {
	n, err := t.q.DeleteRelay(ctx, string(tenant))
	return touched(n, err, "delivery settings")
}

func (t *tx) InsertEvent(ctx context.Context, e sender.Event) error {
	data, err := encode(e.Data)
	if err != nil {
		return err
	}
	err = t.q.InsertEvent(ctx, db.InsertEventParams{
		TenantID: string(e.Tenant), ID: string(e.ID), At: micros(e.At), ActorID: string(e.Actor), Type: string(e.Type),
		ObjectID: string(e.Object), Data: data,
	})
	if err != nil {
		return broken("insert the event", err)
	}
	return t.queueEvent(ctx, e)
}

func (t *tx) InsertKey(ctx context.Context, k sender.Key) error {
	p := db.InsertKeyParams{
		Selector: k.Selector, TenantID: string(k.Tenant), DomainID: string(k.Domain), Region: k.Region, Algorithm: k.Algorithm,
		Txt: k.TXT, CreatedAt: micros(k.CreatedAt), RevokedAt: micros(k.RevokedAt),
	}
	if len(k.PKCS8) > 0 {
		p.Pkcs8 = t.keys.seal(k.PKCS8, keyPlace(k.Selector))
	}
	_, err := t.q.InsertKey(ctx, p)
	return broken("insert the key", err)
}

func (t *tx) Enqueue(_ context.Context, task sender.Task) error {
	t.tasks = append(t.tasks, task)
	return nil
}
