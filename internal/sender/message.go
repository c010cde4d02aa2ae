package sender

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/template"
)

// Mailbox is an author or recipient: a display name and an addr-spec
// (RFC 5322, section 3.4).
type Mailbox struct{ Name, Address string }

// MessageKind says why a message exists.
type MessageKind string

// The kinds of messages.
const (
	KindMessage MessageKind = "message" // asked for through an API
	KindCode    MessageKind = "code"    // verification code of an address
	KindOTP     MessageKind = "otp"     // one-time code of a pairing or an authentication
)

// MessageState is where a message is on its way.
type MessageState string

// The states; see docs/states.md.
const (
	Queued         MessageState = "queued"
	Sending        MessageState = "sending" // leased by a dispatcher
	Sent           MessageState = "sent"    // the next hop said 250
	MessageFailed  MessageState = "failed"  // the next hop said 5yz
	MessageExpired MessageState = "expired" // not delivered in its time
	MessageRefused MessageState = "refused" // the trust rule said no at dispatch; Reason says why
	MessageUnknown MessageState = "unknown" // it may have been delivered, and is of the kind that is never repeated
)

// Message is one mail to one recipient.
type Message struct {
	ID     ID
	Tenant ID
	Kind   MessageKind
	From   string // addr-spec of the author, canonical
	To     string // addr-spec
	// ReplyTo, Template and Locale are of mail that was filled into a template: the
	// canonical addr-spec of its Reply-To, if it has one, and which template it was.
	ReplyTo  string
	Template ID
	Locale   template.Locale
	About    ID     // of mail with a verification code: the address that it proves
	Builtin  bool   // of the built-in no-reply: it leaves by the instance's relay, whatever the tenant's settings
	Region   string // where the sender wants it to leave; empty: home
	State    MessageState
	Reason   string // why it was refused or failed, for people
	Once     bool   // never repeated where the outcome of an attempt is unknown
	Body     []byte // as composed, unsigned; sealed at rest and dropped when the message is done

	Attempts      int
	InDoubt       int // attempts whose outcome is unknown: so many copies may exist besides the counted one
	NextAttemptAt time.Time
	ExpiresAt     time.Time
	CreatedAt     time.Time
	DoneAt        time.Time // zero while it is on its way

	IdempotencyKey string // as sent by the client; empty: none
	RequestHash    string // of the request that used the key
	Actor          ID     // the credential that asked for it
}

// Attempt is one try to hand a message to the next hop.
type Attempt struct {
	Message    ID
	Tenant     ID
	Number     int // from 1
	StartedAt  time.Time
	FinishedAt time.Time
	Delivery
}

// NewMessage is what a client asks to send.
type NewMessage struct {
	From    Mailbox
	To      Mailbox
	ReplyTo *Mailbox
	Subject string
	Text    string
	HTML    string
	Headers []Header
	Region  string        // where it shall leave; empty: home
	Life    time.Duration // 0: the instance's
	// IdempotencyKey makes a repeated call answer with the first one's message.
	IdempotencyKey string
	RequestHash    string // of the request as sent; the key is bound to it
}

// Send accepts a message durably or fails before anything is stored. The author
// must pass the trust rule now, and again when the message leaves. Repeated with
// its Idempotency-Key it returns the message made before, in whatever state that
// is; with another request under the same key it is a Conflict on
// "Idempotency-Key".
func (s *Service) Send(ctx context.Context, p Principal, tenant ID, n NewMessage) (Message, Decision, error) {
	t, err := s.Authorize(ctx, p, tenant, RoleSender)
	if err != nil {
		return Message{}, Decision{}, err
	}
	from, domain, err := ParseMailbox("from", n.From.Address)
	if err != nil {
		return Message{}, Decision{}, err
	}
	if err := s.bound(ctx, p, tenant, domain); err != nil {
		return Message{}, Decision{}, err
	}
	if old, ok, err := s.before(ctx, tenant, n.IdempotencyKey, n.RequestHash); ok || err != nil {
		return old, Decision{Allow: ok}, err
	}
	n.From.Address = onWire(n.From.Address, domain)
	if n.To.Address, err = parseRecipient("to", n.To.Address); err != nil {
		return Message{}, Decision{}, err
	}
	if n.ReplyTo != nil {
		reply := *n.ReplyTo
		if reply.Address, err = parseRecipient("replyTo", reply.Address); err != nil {
			return Message{}, Decision{}, err
		}
		n.ReplyTo = &reply
	}
	if n.Region != "" && !slices.Contains(t.Regions, n.Region) {
		return Message{}, Decision{}, Errorf(Invalid, "region", "%s is not a region of this tenant; use one of %s.", quote(n.Region), strings.Join(t.Regions, ", "))
	}
	if n.Life, err = s.life(n.Life); err != nil {
		return Message{}, Decision{}, err
	}
	decision, err := s.decideSoon(ctx, t, from, n.Region)
	if err != nil {
		return Message{}, Decision{}, err
	}
	if !decision.Allow {
		return Message{}, decision, Refusal(decision.Reason, n.From.Address)
	}
	if s.full() {
		return Message{}, decision, busy()
	}
	now := s.now()
	m := Message{
		ID: NewID(), Tenant: tenant, Kind: KindMessage, From: from, To: n.To.Address, Region: n.Region, State: Queued,
		NextAttemptAt: now, CreatedAt: now, ExpiresAt: now.Add(n.Life), IdempotencyKey: n.IdempotencyKey, RequestHash: n.RequestHash, Actor: p.Credential,
	}
	m.Body, err = s.provider.Compose(Draft{
		Message: m.ID, From: n.From, To: n.To, ReplyTo: n.ReplyTo, Subject: n.Subject, Text: n.Text, HTML: n.HTML, Headers: n.Headers, At: now,
	})
	if err != nil {
		return Message{}, decision, err
	}
	err = s.store.Update(ctx, func(tx Tx) error { return s.queue(ctx, tx, m) })
	if KindOf(err) == Conflict && n.IdempotencyKey != "" { // somebody else was first with this key
		if old, ok, err := s.before(ctx, tenant, n.IdempotencyKey, n.RequestHash); ok || err != nil {
			return old, Decision{Allow: ok}, err
		}
	}
	if err != nil {
		return Message{}, decision, err
	}
	s.queued()
	return m, decision, nil
}

// bound keeps a credential that is bound to one domain to the authors of that
// domain.
func (s *Service) bound(ctx context.Context, p Principal, tenant ID, author dnscheck.Name) error {
	if p.Domain == "" {
		return nil
	}
	d, err := s.store.Domain(ctx, tenant, p.Domain)
	if err != nil && KindOf(err) != NotFound {
		return err
	}
	if err != nil || d.Name != author {
		return Errorf(Denied, "from", "This credential is bound to another domain than %s.", quote(author.String()))
	}
	return nil
}

// queued tells that one more message waits.
func (s *Service) queued() {
	s.depth.Add(1)
	s.Wake()
}

// before finds the message that was accepted under an Idempotency-Key; ok is false
// where there is none.
func (s *Service) before(ctx context.Context, tenant ID, key, requestHash string) (old Message, ok bool, err error) {
	if key == "" {
		return Message{}, false, nil
	}
	if err := checkLabel("Idempotency-Key", key, 256); err != nil {
		return Message{}, false, err
	}
	old, err = s.store.MessageByKey(ctx, tenant, key)
	switch {
	case KindOf(err) == NotFound:
		return Message{}, false, nil
	case err != nil:
		return Message{}, false, err
	case old.RequestHash != requestHash:
		return Message{}, false, Errorf(Conflict, "Idempotency-Key", "This Idempotency-Key was used with another request; use a new key for a new message.")
	}
	return old, true, nil
}

// life is how long a message may be on its way.
func (s *Service) life(wanted time.Duration) (time.Duration, error) {
	if wanted < 0 || wanted > s.settings.Send.Life {
		return 0, Errorf(Invalid, "expiresIn", "A message may be on its way for at most %s.", s.settings.Send.Life)
	}
	orDefault(&wanted, s.settings.Send.Life)
	return wanted, nil
}

// queue writes a message and the wake-up in one transaction. The row itself says
// who asked for it and when; an event would say the same again.
func (s *Service) queue(ctx context.Context, tx Tx, m Message) error {
	m.Builtin = s.byNoReply(m)
	if err := tx.InsertMessage(ctx, m); err != nil {
		return err
	}
	return tx.Enqueue(ctx, Task{Kind: TaskDispatch})
}

// decide gathers what is known of an author and asks the trust rule.
func (s *Service) decide(ctx context.Context, r Reader, t Tenant, from, region string) (Decision, error) {
	e := Evidenced{Tenant: t, Region: region, System: from == s.provider.SystemSender().Address}
	if e.System {
		return Decide(e), nil
	}
	a, err := r.AddressByMailbox(ctx, t.ID, from)
	switch {
	case err == nil:
		e.Address = &a
	case KindOf(err) == NotFound:
		return Decide(e), nil
	default:
		return Decision{}, err
	}
	if e.Domain, err = covering(a, byName(ctx, r, t.ID)); err != nil {
		return Decision{}, err
	}
	return Decide(e), nil
}

// maxAbove bounds how far above an address a domain may be that vouches for it.
const maxAbove = 10 // labels

// covering finds the registered domain of an address; nil: there is none. For one
// that accepts the proof of its domain, that is the nearest above which ever was
// proven, if the address's own was not: a row that somebody added and never proved
// takes nothing away. read is a look-up of one domain by its name, nil where there is
// none.
func covering(a Address, read func(dnscheck.Name) (*Domain, error)) (*Domain, error) {
	d, err := read(a.Domain)
	if err != nil || !a.ByDomain || d != nil && !d.ProvenAt.IsZero() {
		return d, err
	}
	top := a.Domain.Registrable()
	for name, n := a.Domain, 0; name != top && n < maxAbove; n++ {
		if name = name.Parent(); name.IsZero() {
			break
		}
		switch above, err := read(name); {
		case err != nil:
			return nil, err
		case above != nil && !above.ProvenAt.IsZero():
			return above, nil
		case d == nil:
			d = above
		}
	}
	return d, nil
}

// byName reads a tenant's domains, nil where there is none.
func byName(ctx context.Context, r Reader, tenant ID) func(dnscheck.Name) (*Domain, error) {
	return func(name dnscheck.Name) (*Domain, error) {
		d, err := r.DomainByName(ctx, tenant, name)
		switch {
		case err == nil:
			return &d, nil
		case KindOf(err) == NotFound:
			return nil, nil
		}
		return nil, err
	}
}

// author is what an allowing decision is remembered by.
type author struct {
	tenant       ID
	from, region string
	changes      int64
}

// decideSoon is decide for messages that are only accepted, and decided upon
// again when they are sent: what was allowed a moment ago, and not changed on
// this node since, is allowed.
func (s *Service) decideSoon(ctx context.Context, t Tenant, from, region string) (Decision, error) {
	key := author{t.ID, from, region, s.changes.Load()}
	if d, ok := s.allowed.Get(key); ok {
		return d, nil
	}
	read := time.Now()
	d, err := s.decide(ctx, s.store, t, from, region)
	if err == nil && d.Allow {
		s.allowed.Put(key, d, read)
	}
	return d, err
}

// Explain asks the trust rule without sending.
func (s *Service) Explain(ctx context.Context, p Principal, tenant ID, from, region string) (Decision, error) {
	t, err := s.Authorize(ctx, p, tenant, RoleReader)
	if err != nil {
		return Decision{}, err
	}
	canonical, domain, err := ParseMailbox("from", from)
	if err != nil {
		return Decision{}, err
	}
	if err := s.bound(ctx, p, tenant, domain); err != nil {
		return Decision{}, err
	}
	return s.decide(ctx, s.store, t, canonical, region)
}

// Message returns a message without its body, and its attempts.
func (s *Service) Message(ctx context.Context, p Principal, tenant, id ID) (Message, []Attempt, error) {
	if _, err := s.Authorize(ctx, p, tenant, RoleReader); err != nil {
		return Message{}, nil, err
	}
	m, err := s.store.Message(ctx, tenant, id)
	if err != nil {
		return Message{}, nil, err
	}
	if p.Domain != "" {
		if _, author, err := ParseMailbox("from", m.From); err != nil || s.bound(ctx, p, tenant, author) != nil {
			return Message{}, nil, notFound("message")
		}
	}
	as, err := s.store.Attempts(ctx, tenant, id)
	return m, as, err
}

// Messages lists a tenant's messages, oldest first, without bodies. Denied to a
// credential that is bound to one domain.
func (s *Service) Messages(ctx context.Context, p Principal, tenant ID, page Page) ([]Message, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return nil, err
	}
	return s.store.Messages(ctx, tenant, page)
}

func (s *Service) full() bool { return s.depth.Load() >= int64(s.settings.Send.QueueLimit) }

func busy() *Error {
	return Errorf(Busy, "", "The queue of outgoing mail is full; nothing was stored, try again in a minute.")
}
