package sender

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The events of webhooks themselves.
const (
	EventWebhookCreated  EventType = "webhook.created"
	EventWebhookChanged  EventType = "webhook.changed"
	EventWebhookDeleted  EventType = "webhook.deleted"
	EventWebhookRotated  EventType = "webhook.rotated" // data.until is when the secret of before ends
	EventWebhookTested   EventType = "webhook.tested"
	EventWebhookReplayed EventType = "webhook.replayed"
	EventWebhookDisabled EventType = "webhook.disabled" // by Postseal: data.why is gone or failing
)

// EventWebhookTest is the type of what a test posts. It is in no log.
const EventWebhookTest EventType = "webhook.test"

// Webhook is a place that a tenant's events are posted to, as the Standard Webhooks
// specification says.
type Webhook struct {
	ID          ID
	Tenant      ID
	URL         string // as sent
	Description string
	// Types are patterns of event types: a type, the beginning of some and `.*`, or `*`
	// for all. None: no event.
	Types   []EventType
	Format  WebhookFormat
	Enabled bool
	// DisabledBy says who disabled it, and DisabledAt when; both zero while it is enabled.
	DisabledBy DisabledBy
	DisabledAt time.Time
	// Secrets sign what is posted, the newest first. Only the store and the Poster see them.
	Secrets []WebhookSecret
	// Headers are sent along. Values are secrets of the receiver's.
	Headers map[string]Password
	// SecretsLost says why secrets and values of headers, which are sealed together, can't
	// be opened; nil: they can. Nothing is posted until a rotation makes a new secret.
	SecretsLost error
	// Document is what an edge keeps with it and only it reads.
	Document string
	// Troubled tells that the last attempt failed, or took long; FailingSince, that all
	// did since then.
	Troubled     bool
	FailingSince time.Time
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// WebhookFormat is the form of what is posted.
type WebhookFormat string

// StandardFormat is {type, timestamp, data}, as Standard Webhooks has it. Edges may
// bring others.
const StandardFormat WebhookFormat = "standard"

// DisabledBy says who disabled a webhook.
type DisabledBy string

// Who can.
const (
	DisabledByTenant DisabledBy = "tenant"
	DisabledGone     DisabledBy = "gone"    // by answering 410
	DisabledFailing  DisabledBy = "failing" // by nothing but failures for days
)

// WebhookSecret is one that signs.
type WebhookSecret struct {
	Key   Password  // whsec_ and base64
	Until time.Time // zero: until there is a newer one
}

// Signing returns the keys that sign at that time, the newest first.
func (w Webhook) Signing(now time.Time) (keys []Password) {
	for _, s := range w.Secrets {
		if s.Until.IsZero() || now.Before(s.Until) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// Wants reports whether one of the patterns is that of the type.
func Wants(patterns []EventType, t EventType) bool {
	return slices.ContainsFunc(patterns, func(p EventType) bool {
		below, all := strings.CutSuffix(string(p), "*")
		return p == t || all && strings.HasPrefix(string(t), below)
	})
}

// DeliveryState is where a delivery to a webhook stands.
type DeliveryState string

// The states.
const (
	HookPending   DeliveryState = "pending"   // waits for its first attempt or another one
	HookDelivered DeliveryState = "delivered" // answered with 2xx
	HookFailed    DeliveryState = "failed"    // given up
)

// WebhookDelivery is one event on its way to one webhook.
type WebhookDelivery struct {
	Tenant    ID
	Webhook   ID
	Event     ID // also its webhook-id, in every attempt
	State     DeliveryState
	Attempts  int
	Status    int    // of the last answer; 0: there was none
	Error     string // why the last attempt failed
	DueAt     time.Time
	ExpiresAt time.Time // when no further attempt is made; zero before the first
	TriedAt   time.Time
	DoneAt    time.Time
}

// NewWebhook is what a client says of a webhook.
type NewWebhook struct {
	URL         string
	Description string
	Types       []EventType
	Format      WebhookFormat // empty: StandardFormat
	Enabled     bool
	Headers     map[string]Password
	Document    string
}

const (
	maxWebhookDescription = 256
	maxWebhookTypes       = 100
	maxWebhookHeaders     = 20
	maxHeaderValue        = 1000
	// webhookSecrets is how many sign at once, after rotations in a row.
	webhookSecrets = 3
	// maxOverlap is how long a secret may go on after there is a newer one.
	maxOverlap = 7 * 24 * time.Hour
	// webhookTests bounds the tests of a tenant in a day.
	webhookTests = 200
	// replayBatch is how many events one call queues again.
	replayBatch = 1000
)

// newWebhookSecret makes one of 256 bits.
func newWebhookSecret() Password {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails (crypto/rand)
	return Password("whsec_" + base64.StdEncoding.EncodeToString(key[:]))
}

var (
	typePattern = regexp.MustCompile(`^(\*|[a-z0-9-]+(\.[a-z0-9-]+)*(\.\*)?)$`)
	headerName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$") // token of RFC 9110, section 5.6.2
)

// hookHeaders are those that what is posted has by itself.
var hookHeaders = append([]string{"content-type", "user-agent", "webhook-id", "webhook-signature", "webhook-timestamp"}, framing...)

// check looks at what a client says. Where the host leads to is looked at when it is
// connected to.
func (n NewWebhook) check(plain bool) error {
	if _, err := parseEndpoint("url", n.URL, plain); err != nil {
		return err
	}
	if n.Description != "" {
		if err := checkLabel("description", n.Description, maxWebhookDescription); err != nil {
			return err
		}
	}
	if len(n.Types) > maxWebhookTypes {
		return Errorf(Invalid, "types", "There are %d types, and can be %d: use patterns such as domain.*.", len(n.Types), maxWebhookTypes)
	}
	for _, t := range n.Types {
		if len(t) > 100 || !typePattern.MatchString(string(t)) {
			return Errorf(Invalid, "types", "%s is no type of events: use one such as domain.proven, a beginning such as domain.*, or *.", quote(string(t)))
		}
	}
	if len(n.Headers) > maxWebhookHeaders {
		return Errorf(Invalid, "headers", "There are %d header fields, and can be %d.", len(n.Headers), maxWebhookHeaders)
	}
	for name, value := range n.Headers {
		if !headerName.MatchString(name) || slices.Contains(hookHeaders, strings.ToLower(name)) {
			return Errorf(Invalid, "headers", "%s is no header field that can be set.", quote(name))
		}
		if len(value) > maxHeaderValue || strings.ContainsFunc(string(value), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError }) {
			return Errorf(Invalid, "headers", "The value of %s has more than %d octets or a control character.", quote(name), maxHeaderValue)
		}
	}
	if len(n.Document) > maxSetting || !utf8.ValidString(n.Document) {
		return Errorf(Invalid, "document", "The document is not UTF-8 of at most %d octets.", maxSetting)
	}
	return nil
}

// set takes over what a client says.
func (w *Webhook) set(n NewWebhook) {
	w.URL, w.Description, w.Types, w.Format, w.Headers, w.Document = n.URL, n.Description, n.Types, n.Format, n.Headers, n.Document
	orDefault(&w.Format, StandardFormat)
}

// shown is a webhook without the secrets that sign.
func (w Webhook) shown() Webhook {
	w.Secrets = nil
	return w
}

// CreateWebhook makes a webhook and returns it with its secret, which is shown this
// once.
//
// Errors: Required or Invalid on "url", Invalid on "description", "types" and
// "headers", Limit and Refused on "webhooks".
func (s *Service) CreateWebhook(ctx context.Context, p Principal, tenant ID, n NewWebhook) (Webhook, Password, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return Webhook{}, "", err
	}
	limit := s.settings.Webhooks.PerTenant
	if limit <= 0 || s.poster == nil {
		return Webhook{}, "", Errorf(Refused, "webhooks", "This instance has no webhooks; its operator can change that with webhooks.per_tenant.")
	}
	if err := n.check(s.settings.Webhooks.PlainHTTP); err != nil {
		return Webhook{}, "", err
	}
	now := s.now()
	w := Webhook{ID: NewID(), Tenant: tenant, Enabled: n.Enabled, Secrets: []WebhookSecret{{Key: newWebhookSecret()}}, CreatedAt: now, UpdatedAt: now}
	if !n.Enabled {
		w.DisabledBy, w.DisabledAt = DisabledByTenant, now
	}
	w.set(n)
	err := s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		have, err := tx.Webhooks(ctx, tenant, Page{Limit: limit})
		if err != nil {
			return err
		}
		if len(have) >= limit {
			return Errorf(Limit, "webhooks", "There are %d webhooks, which is the limit; delete one first.", len(have))
		}
		// The event first: nobody needs to be told of a webhook by itself.
		if err := tx.InsertEvent(ctx, NewEvent(p, tenant, EventWebhookCreated, w.ID, now, "host", w.host())); err != nil {
			return err
		}
		return tx.InsertWebhook(ctx, w)
	})
	return w.shown(), w.Secrets[0].Key, err
}

// host is what the audit log says of the URL, whose path and query may be secret.
func (w Webhook) host() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Webhook returns one without the secrets that sign. The values of Headers are empty
// for who is not an admin.
func (s *Service) Webhook(ctx context.Context, p Principal, tenant, id ID) (Webhook, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader)
	if err != nil {
		return Webhook{}, err
	}
	w, err := s.store.Webhook(ctx, tenant, id)
	return w.shown().seenBy(p.RoleIn(t)), err
}

func (w Webhook) seenBy(r Role) Webhook {
	if r == RoleAdmin {
		return w
	}
	headers := make(map[string]Password, len(w.Headers))
	for name := range w.Headers {
		headers[name] = ""
	}
	w.Headers = headers
	return w
}

// Webhooks lists a tenant's webhooks as [Service.Webhook] shows each.
func (s *Service) Webhooks(ctx context.Context, p Principal, tenant ID, page Page) ([]Webhook, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader)
	if err != nil {
		return nil, err
	}
	ws, err := s.store.Webhooks(ctx, tenant, page)
	for i := range ws {
		ws[i] = ws[i].shown().seenBy(p.RoleIn(t))
	}
	return ws, err
}

// ChangeWebhook changes a webhook as a whole, its secrets aside: change gets what there
// is and says what is to be. One that is enabled again goes on with what waited for it;
// catchUp tells whether it also gets what happened while it was disabled, two weeks and
// [Service.Replay]'s batch at most. Errors are those of [Service.CreateWebhook].
func (s *Service) ChangeWebhook(ctx context.Context, p Principal, tenant, id ID, catchUp bool, change func(Webhook) NewWebhook) (Webhook, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return Webhook{}, err
	}
	var w Webhook
	err := s.changeWebhook(ctx, tenant, id, func(tx Tx, was Webhook) error {
		n := change(was.shown())
		if err := n.check(s.settings.Webhooks.PlainHTTP); err != nil {
			return err
		}
		if was.SecretsLost != nil && len(n.Headers) > 0 {
			e := Errorf(Invalid, "headers", "The secrets that these would be kept with can't be opened any more: rotate the webhook first.")
			e.Err = was.SecretsLost
			return e
		}
		now := s.now()
		w = was
		w.set(n)
		w.UpdatedAt = now
		switch {
		case was.Enabled && !n.Enabled:
			w.disable(DisabledByTenant, now)
			if err := tx.PutOffWebhookDeliveries(ctx, tenant, id, time.Time{}); err != nil {
				return err
			}
		case !was.Enabled && n.Enabled:
			w.Enabled, w.DisabledBy, w.DisabledAt, w.Troubled, w.FailingSince = true, "", time.Time{}, false, time.Time{}
			if err := s.resume(ctx, tx, w, was.DisabledAt, catchUp, now); err != nil {
				return err
			}
		}
		if err := tx.UpdateWebhook(ctx, w); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventWebhookChanged, id, now, "host", w.host(), "enabled", strconv.FormatBool(w.Enabled)))
	})
	return w.shown(), err
}

// resume makes due what waited for a webhook that was disabled.
func (s *Service) resume(ctx context.Context, tx Tx, w Webhook, disabled time.Time, catchUp bool, now time.Time) error {
	if err := tx.PutOffWebhookDeliveries(ctx, w.Tenant, w.ID, now); err != nil {
		return err
	}
	if err := tx.MarkWebhook(ctx, w.Tenant, w.ID, false, time.Time{}); err != nil || !catchUp {
		return err
	}
	if most := now.Add(-catchUpMost); disabled.Before(most) {
		disabled = most
	}
	_, err := s.replay(ctx, tx, w, Replay{Since: disabled}, now)
	return err
}

// catchUpMost is how far back a webhook that is enabled again catches up.
const catchUpMost = 14 * 24 * time.Hour

func (w *Webhook) disable(by DisabledBy, now time.Time) {
	w.Enabled, w.DisabledBy, w.DisabledAt, w.UpdatedAt = false, by, now, now
}

// changeWebhook gives do a webhook that nobody else changes meanwhile.
func (s *Service) changeWebhook(ctx context.Context, tenant, id ID, do func(Tx, Webhook) error) error {
	return s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		w, err := tx.Webhook(ctx, tenant, id)
		if err != nil {
			return err
		}
		return do(tx, w)
	})
}

// DeleteWebhook removes a webhook with its deliveries.
func (s *Service) DeleteWebhook(ctx context.Context, p Principal, tenant, id ID) error {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return err
	}
	return s.changeWebhook(ctx, tenant, id, func(tx Tx, w Webhook) error {
		if err := tx.DeleteWebhook(ctx, tenant, id); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventWebhookDeleted, id, s.now(), "host", w.host()))
	})
}

// RotateWebhook gives a webhook a new secret, which is shown this once. The one of
// before signs beside it for the time of overlap. Errors: Invalid on "overlap".
func (s *Service) RotateWebhook(ctx context.Context, p Principal, tenant, id ID, overlap time.Duration) (Webhook, Password, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return Webhook{}, "", err
	}
	if overlap < 0 || overlap > maxOverlap {
		return Webhook{}, "", Errorf(Invalid, "overlap", "The overlap must be from 0 to %d hours.", maxOverlap/time.Hour)
	}
	fresh := newWebhookSecret()
	var w Webhook
	err := s.changeWebhook(ctx, tenant, id, func(tx Tx, was Webhook) error {
		now := s.now()
		until := now.Add(overlap)
		w = was
		w.UpdatedAt, w.SecretsLost, w.Secrets = now, nil, []WebhookSecret{{Key: fresh}}
		for _, old := range was.Secrets {
			if old.Until.IsZero() || until.Before(old.Until) {
				old.Until = until
			}
			if now.Before(old.Until) && len(w.Secrets) < webhookSecrets {
				w.Secrets = append(w.Secrets, old)
			}
		}
		if err := tx.UpdateWebhook(ctx, w); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventWebhookRotated, id, now, "until", until.Format(time.RFC3339)))
	})
	return w.shown(), fresh, err
}

// TestWebhook posts one event of the type [EventWebhookTest] now and once, also to a
// webhook that is disabled, and tells what came of it. Errors: TooSoon on "webhook".
func (s *Service) TestWebhook(ctx context.Context, p Principal, tenant, id ID) (Posted, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return Posted{}, err
	}
	w, err := s.store.Webhook(ctx, tenant, id)
	if err != nil {
		return Posted{}, err
	}
	if s.poster == nil {
		return Posted{}, Errorf(Refused, "webhooks", "This instance has no webhooks.")
	}
	now := s.now()
	today := day(now)
	err = s.store.Update(ctx, func(tx Tx) error {
		n, err := tx.CountRecipient(ctx, hex.EncodeToString(s.keyed("webhook-test", string(tenant))), today)
		if err == nil && n > webhookTests {
			e := tooSoon(today.Add(24*time.Hour), "There were as many tests of webhooks today as there can be")
			e.Field, err = "webhook", e
		}
		return err
	})
	if err != nil {
		return Posted{}, err
	}
	got := s.post(ctx, w, NewEvent(p, tenant, EventWebhookTest, id, now))
	err = s.store.Update(context.WithoutCancel(ctx), func(tx Tx) error {
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventWebhookTested, id, s.now(), "status", strconv.Itoa(got.Status)))
	})
	return got, err
}
