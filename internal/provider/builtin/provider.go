// Package builtin is the provider that needs nobody else: Postseal's own tokens
// and DKIM keys, shown by its own service zone, and SMTP relays as the way out.
//
// The owner publishes TOKEN._domainkey.DOMAIN CNAME TOKEN.dkim.SERVICE once.
// What the target answers is ours, so keys can be made after the domain was
// registered, and changed later without the owner.
//
//	Provision -> tokens -> Records (pure) -> owner, checker, zone file
//	MakeKeys  -> store  -> service zone, Prepare
//	Prepare   -> signed message -> Deliver -> mail.Relay of the region, or of the tenant
//	                                      \-> the tenant's HTTP API
package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/sender"
)

// Config is what a Provider is made of.
type Config struct {
	Service dnscheck.Name // the service domain: targets, no-reply and reverse-paths lie below it
	Names   Names         // zero: DefaultNames
	Store   sender.Store
	// Relays are the ways out by region; "" is for regions that have none of
	// their own, and must be there.
	Relays map[string]*mail.Relay
	// TenantRelays is about the ways out that tenants have of their own.
	TenantRelays TenantRelays
	Log          *slog.Logger
}

// Names are the templates of what owners publish. DOMAIN and SERVICE are
// replaced.
type Names struct {
	Ownership   string `koanf:"ownership"`
	Environment string `koanf:"environment"`
	SPF         string `koanf:"spf"`
}

// Receivers look for the selector, which is the token, and the service zone for
// the token: there is no choice in these two.
const (
	dkimName   = "TOKEN._domainkey.DOMAIN" // RFC 6376, section 3.6.2.1
	dkimTarget = "TOKEN.dkim.SERVICE"
)

// DefaultNames are those of the built-in provider.
var DefaultNames = Names{
	Ownership:   "_postseal.DOMAIN",
	Environment: "_postseal-env.DOMAIN",
	SPF:         "v=spf1 include:_spf.SERVICE ~all",
}

// Validate reports every template that cannot work.
func (n Names) Validate() error {
	var errs []error
	for _, t := range []struct{ key, value string }{{"ownership", n.Ownership}, {"environment", n.Environment}} {
		label, ok := strings.CutSuffix(t.value, ".DOMAIN")
		if _, err := dnscheck.ParseName(label); !ok || err != nil || strings.Contains(label, "TOKEN") {
			errs = append(errs, fmt.Errorf("names.%s is %q; it must be labels without TOKEN before .DOMAIN, such as %q", t.key, t.value, DefaultNames.Ownership))
		}
	}
	if !strings.HasPrefix(n.SPF, "v=spf1 ") || !strings.Contains(n.SPF, "include:") || strings.Contains(n.SPF, "TOKEN") {
		errs = append(errs, fmt.Errorf("names.spf is %q; it must begin with v=spf1 and include: something, such as %q", n.SPF, DefaultNames.SPF))
	}
	return errors.Join(errs...)
}

// Provider implements sender.Provider.
type Provider struct {
	service dnscheck.Name
	names   Names
	store   sender.Store
	relays  map[string]*mail.Relay
	own     relays
	apis    *httpAPIs
	log     *slog.Logger
	verp    *mail.Verp
	keys    keyring
	making  singleflight.Group
	maker   chan struct{} // holds one while a key is made
	open    context.Context
	end     context.CancelFunc // of open
}

// New makes a Provider and the service domain's own key, if there is none yet.
func New(ctx context.Context, c Config) (*Provider, error) {
	if c.Names == (Names{}) {
		c.Names = DefaultNames
	}
	if err := c.Names.Validate(); err != nil {
		return nil, err
	}
	if c.Relays[""] == nil {
		return nil, errors.New("builtin: no relay for regions without one of their own")
	}
	secret, err := c.Store.Secret(ctx, "reverse-path", 32)
	if err != nil {
		return nil, err
	}
	verp, err := mail.NewVerp(secret, reversePath(c.Service).String())
	if err != nil {
		return nil, err
	}
	p := &Provider{service: c.Service, names: c.Names, store: c.Store, relays: c.Relays, log: c.Log, verp: verp, maker: make(chan struct{}, 1)}
	p.open, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.own.cfg, p.own.helo = c.TenantRelays, c.Service.String()
	p.apis = newHTTPAPIs(c.TenantRelays)
	_, err = p.key(ctx, serviceSelector, sender.Key{Selector: serviceSelector})
	return p, err
}

// Close ends idle connections to tenants' own servers, and makes what is still sent
// by them the last. Keys that wait to be made are not made any more.
func (p *Provider) Close() {
	p.end()
	p.own.close()
	p.apis.client.CloseIdleConnections()
}

// ReversePath is below the service domain, see mail.Verp.
func (p *Provider) ReversePath() dnscheck.Name { return reversePath(p.service) }

func reversePath(service dnscheck.Name) dnscheck.Name { return service.Child("bounce") }

// SystemSender is the built-in no-reply of the service domain.
func (p *Provider) SystemSender() sender.Mailbox {
	return sender.Mailbox{Name: "Postseal", Address: "no-reply@" + p.service.String()}
}

// Compose builds a message; an unfit field is an error of kind Invalid.
func (p *Provider) Compose(d sender.Draft) ([]byte, error) {
	m := mail.Draft{
		From: mail.Mailbox(d.From), To: []mail.Mailbox{mail.Mailbox(d.To)}, Subject: d.Subject, Date: d.At,
		MessageID: string(d.Message) + "@" + p.service.String(), Text: d.Text, HTML: d.HTML, Charset: d.Charset,
	}
	if d.ReplyTo != nil {
		r := mail.Mailbox(*d.ReplyTo)
		m.ReplyTo = &r
	}
	for _, h := range d.Headers {
		m.Headers = append(m.Headers, mail.Header(h))
	}
	b, err := mail.Compose(m)
	return b, invalid(err)
}

// Readdress changes the author of a message that Compose made.
func (p *Provider) Readdress(composed []byte, author *sender.Mailbox, dropReplyTo bool) ([]byte, error) {
	b, err := mail.Readdress(composed, (*mail.Mailbox)(author), dropReplyTo)
	return b, invalid(err)
}

// invalid turns an unfit field into the core's error.
func invalid(err error) error {
	if f, ok := errors.AsType[*mail.FieldError](err); ok {
		return sender.Errorf(sender.Invalid, fieldName(f.Field), "%s", f.Error())
	}
	return err
}

// fieldName is the core's word for a field of a mail.Draft.
func fieldName(f string) string {
	f, _, _ = strings.Cut(f, "[") // Headers[X-Name]
	switch f {
	case "Reply-To":
		return "replyTo"
	case "HTML":
		return "html"
	}
	return strings.ToLower(f)
}

// Deliver hands a signed message to the tenant's own server, where it has one, or to
// the region's relay. To a tenant's API goes what the message says, unsigned.
func (p *Provider) Deliver(ctx context.Context, o sender.Outgoing, signed []byte) sender.Delivery {
	if o.Relay != nil && o.Relay.HTTP != nil {
		return p.apis.deliver(ctx, o)
	}
	relay := p.relays[o.Decision.Region]
	if relay == nil {
		relay = p.relays[""]
	}
	if o.Relay != nil {
		own, err := p.own.acquire(o.Relay)
		if err != nil {
			return sender.Delivery{Outcome: sender.TempFailed, Stage: mail.StageConnect, Text: err.Error()}
		}
		defer p.own.release(own)
		relay = own.relay
	}
	verp := p.verp
	if m := o.Decision.MailFrom; !m.IsZero() {
		verp = verp.At(m.String())
	}
	r := relay.Send(ctx, mail.Envelope{From: verp.Address(o.Message.Bytes()), To: o.To}, signed)
	d := sender.Delivery{
		Outcome: outcomes[r.Outcome], Code: r.Reply.Code, Enhanced: r.Reply.Enhanced, Stage: r.Stage,
		Text: r.Err, Transcript: transcript(r.Transcript),
	}
	if d.Text == "" {
		d.Text = r.Reply.Text
	}
	switch r.Stage {
	case mail.StageConnect, mail.StageTLS, mail.StageAuth:
		// A relay that will not have us says nothing about the message: what is wrong
		// there is the operator's to mend, and the message waits for it.
		d.Outcome = sender.TempFailed
	}
	return d
}

var outcomes = map[mail.Outcome]sender.DeliveryOutcome{
	mail.Delivered: sender.Delivered, mail.TempFailed: sender.TempFailed, mail.PermFailed: sender.PermFailed, mail.InDoubt: sender.InDoubt,
}

// transcript is one JSON object a line, as the API shows it.
func transcript(steps []mail.Step) []byte {
	var b []byte
	for _, s := range steps {
		line, err := json.Marshal(struct {
			At      time.Time `json:"at"`
			Command string    `json:"command"`
			Reply   string    `json:"reply"`
			Micros  int64     `json:"micros"`
		}{s.At.UTC(), s.Command, s.Reply, s.Took.Microseconds()})
		if err == nil {
			b = append(append(b, line...), '\n')
		}
	}
	return b
}
