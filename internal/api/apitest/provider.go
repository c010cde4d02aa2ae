package apitest

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// Outbox holds what was composed.
type Outbox struct {
	mu     sync.Mutex
	drafts []sender.Draft
}

func (o *Outbox) add(d sender.Draft) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drafts = append(o.drafts, d)
}

// To returns the mails to a recipient, oldest first.
func (o *Outbox) To(address string) []sender.Draft {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ds []sender.Draft
	for _, d := range o.drafts {
		if strings.EqualFold(d.To.Address, address) {
			ds = append(ds, d)
		}
	}
	return ds
}

var codeForm = regexp.MustCompile(`code: (\S+)`)

// Code returns the newest verification code that was mailed to an address.
func (o *Outbox) Code(t testing.TB, address string) string {
	t.Helper()
	ds := o.To(address)
	if len(ds) == 0 {
		t.Fatalf("no mail was sent to %s", address)
	}
	m := codeForm.FindStringSubmatch(ds[len(ds)-1].Text)
	if m == nil {
		t.Fatalf("the newest mail to %s has no code", address)
	}
	return m[1]
}

// provider hands out tokens that tests can foresee.
type provider struct {
	outbox *Outbox
	mu     sync.Mutex
	n      int
}

var service = must(dnscheck.ParseName("service.example"))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (p *provider) next(kind string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	return fmt.Sprintf("%s-%d", kind, p.n)
}

func (p *provider) Provision(_ context.Context, t sender.Tenant, _ dnscheck.Name) (sender.Tokens, error) {
	tokens := sender.Tokens{Environment: p.next("environment")}
	for _, region := range t.Regions {
		tokens.Regions = append(tokens.Regions, sender.RegionTokens{
			Region: region, Ownership: p.next("ownership"), DKIM: []string{p.next("dkim"), p.next("dkim"), p.next("dkim")},
		})
	}
	return tokens, nil
}

func (p *provider) Records(d sender.Domain) []dnscheck.Record {
	var rs []dnscheck.Record
	for _, r := range d.Tokens.Regions {
		rs = append(rs, dnscheck.Record{Purpose: dnscheck.Ownership, Region: r.Region, Name: d.Name.Child("_postseal"), Type: dnscheck.TXT, Value: r.Ownership})
	}
	rs = append(rs, dnscheck.Record{Purpose: dnscheck.Environment, Name: d.Name.Child("_postseal-env"), Type: dnscheck.TXT, Value: d.Tokens.Environment})
	for _, r := range d.Tokens.Regions {
		for _, token := range r.DKIM {
			rs = append(rs, dnscheck.Record{Purpose: dnscheck.DKIM, Region: r.Region, Name: d.Name.Child(token + "._domainkey"), Type: dnscheck.CNAME, Value: token + ".dkim.service.example."})
		}
	}
	spf := dnscheck.Record{Purpose: dnscheck.SPF, Name: d.Name, Type: dnscheck.TXT, Value: "v=spf1 include:_spf.service.example ~all"}
	if m := d.MailFrom.Name; !m.IsZero() {
		rs = append(rs, dnscheck.Record{Purpose: dnscheck.MailFromMX, Name: m, Type: dnscheck.MX, Value: "feedback.service.example", Priority: dnscheck.DefaultPriority})
		spf.Purpose, spf.Name = dnscheck.MailFromSPF, m
	}
	return append(rs, spf)
}

func (p *provider) ReversePath() dnscheck.Name { return service.Child("bounce") }

func (p *provider) MakeKeys(context.Context, sender.Domain) error { return nil }

func (p *provider) SystemSender() sender.Mailbox {
	return sender.Mailbox{Name: "Postseal", Address: "noreply@service.example"}
}

func (p *provider) Compose(d sender.Draft) ([]byte, error) {
	if d.Text == "" && d.HTML == "" {
		return nil, sender.Errorf(sender.Required, "text", "text or html is missing.")
	}
	p.outbox.add(d)
	return []byte("Subject: " + d.Subject + "\r\n\r\n" + d.Text), nil
}

// Readdress tells in the body that it was called: drafts can't be taken back.
func (p *provider) Readdress(composed []byte, author *sender.Mailbox, dropReplyTo bool) ([]byte, error) {
	if author != nil {
		composed = append([]byte("From: "+author.Address+"\r\n"), composed...)
	}
	if dropReplyTo {
		composed = append([]byte("X-Reply-To: dropped\r\n"), composed...)
	}
	return composed, nil
}

func (p *provider) Prepare(_ context.Context, o sender.Outgoing) ([]byte, error) { return o.Body, nil }

func (p *provider) Deliver(context.Context, sender.Outgoing, []byte) sender.Delivery {
	return sender.Delivery{Outcome: sender.Delivered, Code: 250, Stage: "end-of-data", Transcript: []byte(`{"at":"2026-01-02T03:04:05Z","command":"QUIT","reply":"221 bye","micros":1}` + "\n")}
}

// Provider returns a provider of its own that keeps mail in an outbox.
func Provider(o *Outbox) sender.Provider { return &provider{outbox: o} }
