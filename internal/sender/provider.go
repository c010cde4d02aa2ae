package sender

import (
	"context"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Checker asks the DNS. It returns one Finding per Record, in their order, and
// never an error: what could not be learnt is Unknown.
type Checker interface {
	Look(ctx context.Context, domain dnscheck.Name, want []dnscheck.Record, care dnscheck.Care) []dnscheck.Finding
	// Posture judges a message as its receivers do, and never fails either.
	Posture(ctx context.Context, m dnscheck.Message) dnscheck.Posture
}

// Canary tells a sick resolver or network from domains that are broken.
type Canary interface {
	// Sick looks at names that are certainly there, on the ways of the Checker, and
	// returns why an absence that was seen since then proves nothing; nil when it may be
	// believed. It is called for absences only, and must be cheap when called often.
	Sick(ctx context.Context, since time.Time) error
}

// Provider is the way out of one instance: it hands out tokens, says which
// records they make, signs and sends.
type Provider interface {
	// Provision returns fresh tokens, never given out before, for a domain of the
	// tenant. It is called outside any transaction. A name below which not every
	// record can be made, since it is too long, is Invalid on "domainName".
	Provision(ctx context.Context, t Tenant, name dnscheck.Name) (Tokens, error)

	// Records lists what the owner has to publish, in a stable order. It is pure.
	Records(d Domain) []dnscheck.Record

	// MakeKeys makes the signing keys that the domain's regions lack and stores
	// them. It is slow (RSA) and safe to run twice, also at the same time.
	MakeKeys(ctx context.Context, d Domain) error

	// ReversePath is the domain of the reverse-path where an author's domain has no
	// MAIL FROM of its own.
	ReversePath() dnscheck.Name

	// SystemSender is the author of Postseal's own mail: the built-in no-reply.
	SystemSender() Mailbox

	// Compose builds the message that will be sent (RFC 5322), so that what is
	// wrong with it shows before it is accepted. Errors are of kind Invalid with
	// the field's name.
	Compose(d Draft) ([]byte, error)

	// Readdress gives a composed message another author, where there is one, and
	// takes its Reply-To away where dropReplyTo says so; all else stays as it is.
	Readdress(composed []byte, author *Mailbox, dropReplyTo bool) ([]byte, error)

	// Prepare signs a composed message as the decision says. An error means that
	// it can't be sent now and may be tried again.
	Prepare(ctx context.Context, o Outgoing) ([]byte, error)

	// Deliver speaks SMTP, or HTTP where the tenant's own way out is an API. The Delivery
	// says everything, time-outs included. A tenant's own server may be anywhere; it must
	// not be a way to the machines around us.
	Deliver(ctx context.Context, o Outgoing, signed []byte) Delivery
}

// Draft is a mail to be composed; the core chose every field.
type Draft struct {
	Message ID // gives the Message-ID, the same in every attempt
	From    Mailbox
	To      Mailbox
	ReplyTo *Mailbox
	Subject string
	Text    string
	HTML    string
	Charset string // IANA name that Text and HTML are written in; empty: UTF-8, which also stands in for one that lacks a character
	Headers []Header
	At      time.Time
}

// Header is one extra header field (RFC 5322, section 2.2).
type Header struct{ Name, Value string }

// Outgoing is one attempt to send one message to one recipient.
type Outgoing struct {
	Tenant   ID
	Message  ID
	To       string // addr-spec
	Decision Decision
	Relay    *Relay // the tenant's own way out; nil: that of the instance
	Body     []byte // as composed
}

// Delivery is what became of an attempt.
type Delivery struct {
	Outcome    DeliveryOutcome
	Code       int           // reply code of SMTP (RFC 5321, section 4.2), status code of HTTP (RFC 9110, section 15); 0 if none came
	Enhanced   string        // enhanced status code (RFC 3463); may be empty
	Text       string        // the reply's text or what failed, for people
	Stage      string        // connect, tls, auth, mail, rcpt, data, end-of-data; of HTTP: request, response; of the core: sign, start
	Transcript []byte        // JSON lines of the dialogue, without credentials and body
	RetryAfter time.Duration // where the outcome is temporary: what the server asked for; 0: nothing
}

// DeliveryOutcome says whether it is to be tried again.
type DeliveryOutcome string

// The outcomes of an attempt; AttemptStarted is only ever seen in the store.
const (
	AttemptStarted DeliveryOutcome = "started"
	Delivered      DeliveryOutcome = "delivered"
	TempFailed     DeliveryOutcome = "temporary" // certainly not delivered; may be tried again
	PermFailed     DeliveryOutcome = "permanent" // certainly not delivered; trying again is useless
	InDoubt        DeliveryOutcome = "unknown"   // everything was sent, no answer came: it may have been delivered
)
