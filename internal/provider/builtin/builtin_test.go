package builtin

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

func name(t testing.TB, s string) dnscheck.Name {
	t.Helper()
	n, err := dnscheck.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newProvider makes a provider whose relay is a closed port, and its store.
func newProvider(t *testing.T) (*Provider, *store.Store) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	keys, err := store.LoadKeyring(store.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Config{DSN: t.TempDir() + "/test.db", SealKeys: keys, Migrate: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody answers there
	relay, err := mail.NewRelay(mail.RelayConfig{Address: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(relay.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	p, err := New(t.Context(), Config{Service: name(t, "mail.postseal.test"), Store: st, Relays: map[string]*mail.Relay{"": relay}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return p, st
}

// registered stores a tenant with a domain.
func registered(t *testing.T, p *Provider, st *store.Store, tenant sender.Tenant) sender.Domain {
	t.Helper()
	tokens, err := p.Provision(t.Context(), tenant, name(t, "example.org"))
	if err != nil {
		t.Fatal(err)
	}
	d := sender.Domain{ID: sender.NewID(), Tenant: tenant.ID, Name: name(t, "example.org"), Spelling: "example.org", Tokens: tokens, Version: 1, CreatedAt: time.Now()}
	if err := st.Update(t.Context(), func(tx sender.Tx) error {
		return errors.Join(tx.InsertTenant(t.Context(), tenant), tx.InsertDomain(t.Context(), d))
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

func newTenant(set sender.RecordSet) sender.Tenant {
	return sender.Tenant{ID: sender.NewID(), Organization: sender.DefaultOrganization, Name: "t", Regions: []string{"r1", "r2"}, RecordSet: set}
}

func TestTokensAreFreshAndSharedOnlyWhereAskedFor(t *testing.T) {
	p := &Provider{service: name(t, "mail.postseal.test"), names: DefaultNames}
	seen := map[string]bool{}
	for _, set := range []sender.RecordSet{sender.PerRegion, sender.Shared} {
		for range 20 {
			tokens, err := p.Provision(t.Context(), newTenant(set), name(t, "example.org"))
			if err != nil || len(tokens.Regions) != 2 {
				t.Fatal(tokens, err)
			}
			a, b := tokens.Regions[0], tokens.Regions[1]
			if same := a.Ownership == b.Ownership && slices.Equal(a.DKIM, b.DKIM); same != (set == sender.Shared) {
				t.Errorf("%s: %+v", set, tokens.Regions)
			}
			for _, token := range append([]string{tokens.Environment, a.Ownership}, a.DKIM...) {
				if seen[token] {
					t.Errorf("%s was given out before", token)
				}
				seen[token] = true
			}
			if len(tokens.Environment) != 44 || len(a.Ownership) != 44 || len(a.DKIM) != 3 || len(a.DKIM[0]) != 32 {
				t.Errorf("forms of the tokens: %+v", tokens)
			}
		}
	}
}

// Nothing that a token or a name may hold is taken for a placeholder.
func TestRecordsAreThoseOfTheDomain(t *testing.T) {
	p := &Provider{service: name(t, "mail.postseal.test"), names: DefaultNames}
	d := sender.Domain{Name: name(t, "token.domain.service.example.org"), Tokens: sender.Tokens{
		Environment: "TOKEN/DOMAIN/SERVICE=", Regions: []sender.RegionTokens{{Region: "r1", Ownership: "o+/=", DKIM: []string{"k1", "k2", "k3"}}},
	}}
	var got []string
	for _, r := range p.Records(d) {
		got = append(got, strings.Join([]string{string(r.Purpose), r.Region, r.Name.String(), string(r.Type), r.Value}, " "))
	}
	want := []string{
		"ownership r1 _postseal.token.domain.service.example.org TXT o+/=",
		"environment  _postseal-env.token.domain.service.example.org TXT TOKEN/DOMAIN/SERVICE=",
		"dkim r1 k1._domainkey.token.domain.service.example.org CNAME k1.dkim.mail.postseal.test",
		"dkim r1 k2._domainkey.token.domain.service.example.org CNAME k2.dkim.mail.postseal.test",
		"dkim r1 k3._domainkey.token.domain.service.example.org CNAME k3.dkim.mail.postseal.test",
		"spf  token.domain.service.example.org TXT v=spf1 include:_spf.mail.postseal.test ~all",
	}
	if !slices.Equal(got, want) {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTemplatesThatCannotWorkAreReported(t *testing.T) {
	if err := DefaultNames.Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		change func(n *Names)
		key    string
	}{
		{func(n *Names) { n.Ownership = "" }, "names.ownership"},
		{func(n *Names) { n.Ownership = "DOMAIN" }, "names.ownership"},
		{func(n *Names) { n.Ownership = "_a b.DOMAIN" }, "names.ownership"},
		{func(n *Names) { n.Ownership = "TOKEN.DOMAIN" }, "names.ownership"},
		{func(n *Names) { n.Environment = "_e.DOMAIN.example.org" }, "names.environment"},
		{func(n *Names) { n.SPF = "include:_spf.SERVICE" }, "names.spf"},
		{func(n *Names) { n.SPF = "v=spf1 -all" }, "names.spf"},
	} {
		n := DefaultNames
		c.change(&n)
		if err := n.Validate(); err == nil || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%+v: %v, want a word about %s", n, err, c.key)
		}
	}
	n := DefaultNames
	n.Ownership, n.Environment = "_amazonses.DOMAIN", "_amazonses-env.mail.DOMAIN"
	if err := n.Validate(); err != nil {
		t.Error(err)
	}
}

func TestKeysAreMadeOnceForEachRegion(t *testing.T) {
	p, st := newProvider(t)
	d := registered(t, p, st, newTenant(sender.PerRegion))
	for range 2 {
		if err := p.MakeKeys(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range d.Tokens.Regions {
		txt, ok, err := p.PublicTXT(t.Context(), r.DKIM[0])
		if err != nil || !ok || !strings.HasPrefix(txt, "v=DKIM1") {
			t.Errorf("%s shows %q %t %v", r.Region, txt, ok, err)
		}
		if _, ok, err := p.PublicTXT(t.Context(), r.DKIM[1]); ok || err != nil {
			t.Errorf("%s: the second slot has a key: %t %v", r.Region, ok, err)
		}
	}
}

func TestDeletedDomainNeitherGetsNorShowsNorUsesKeys(t *testing.T) {
	p, st := newProvider(t)
	d := registered(t, p, st, newTenant(sender.Shared))
	if err := p.MakeKeys(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := st.Update(t.Context(), func(tx sender.Tx) error { return tx.DeleteDomain(t.Context(), d.Tenant, d.ID) }); err != nil {
		t.Fatal(err)
	}
	p.keys = keyring{} // as after half a minute
	selector := d.Tokens.Regions[0].DKIM[0]
	if _, ok, err := p.PublicTXT(t.Context(), selector); ok || err != nil {
		t.Errorf("the key is still shown: %v", err)
	}
	o := sender.Outgoing{Tenant: d.Tenant, Body: []byte("From: a@example.org\r\n\r\nx\r\n"), Decision: sender.Decision{Allow: true, Domain: d.ID, SDID: d.Name, Selector: selector}}
	if _, err := p.Prepare(t.Context(), o); err == nil {
		t.Error("the key still signs")
	}
	o.Decision.Selector = d.Tokens.Regions[0].DKIM[1]
	if _, err := p.Prepare(t.Context(), o); sender.KindOf(err) != sender.NotFound {
		t.Errorf("a key for a domain that is gone: %v", err)
	}
}

// Keys are made one at a time. Who gives up waiting must not take others down who
// wait for the same key.
func TestCallerWhoGivesUpWaitingForAKeyHarmsNobody(t *testing.T) {
	p, st := newProvider(t)
	d := registered(t, p, st, newTenant(sender.Shared))
	selector := d.Tokens.Regions[0].DKIM[0]
	k := sender.Key{Selector: selector, Tenant: d.Tenant, Domain: d.ID}
	p.maker <- struct{}{} // somebody makes a key
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := p.key(gone, selector, k)
		first <- err
	}()
	var others sync.WaitGroup
	for range 5 {
		others.Go(func() {
			if key, err := p.key(t.Context(), selector, k); err != nil || key == nil {
				t.Errorf("somebody else's end is taken for mine: %v", err)
			}
		})
	}
	cancel()
	select {
	case err := <-first:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up was told %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("who gave up still waits")
	}
	<-p.maker
	others.Wait()
}

func TestManyWhoNeedAKeyGetTheSame(t *testing.T) {
	p, st := newProvider(t)
	d := registered(t, p, st, newTenant(sender.Shared))
	selector := d.Tokens.Regions[0].DKIM[0]
	keys := make([]crypto.Signer, 20)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = p.key(t.Context(), selector, sender.Key{Selector: selector, Tenant: d.Tenant, Domain: d.ID}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, k := range keys {
		if k != keys[0] {
			t.Fatal("two keys for one selector")
		}
	}
}

func TestRelayThatIsNotThereIsNoFaultOfTheMessage(t *testing.T) {
	p, _ := newProvider(t)
	m, err := p.Compose(sender.Draft{
		Message: sender.NewID(), From: p.SystemSender(), To: sender.Mailbox{Address: "r@example.net"}, Subject: "s", Text: "t", At: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	o := sender.Outgoing{Message: sender.NewID(), To: "r@example.net", Body: m, Decision: sender.Decision{Allow: true, Region: "r1"}}
	signed, err := p.Prepare(t.Context(), o)
	if err != nil || !strings.Contains(string(signed), "d=mail.postseal.test") {
		t.Fatalf("%v\n%s", err, signed)
	}
	if d := p.Deliver(t.Context(), o, signed); d.Outcome != sender.TempFailed || d.Stage != "connect" || d.Text == "" {
		t.Errorf("%+v", d)
	}
}

func TestUnfitFieldIsNamedInTheWordsOfTheCore(t *testing.T) {
	p := &Provider{service: name(t, "mail.postseal.test")}
	for field, change := range map[string]func(d *sender.Draft){
		"from":    func(d *sender.Draft) { d.From.Name = "x\r\nBcc: y@example.org" },
		"to":      func(d *sender.Draft) { d.To.Address = "nobody" },
		"replyTo": func(d *sender.Draft) { d.ReplyTo = &sender.Mailbox{Address: "x"} },
		"subject": func(d *sender.Draft) { d.Subject = "a\nb" },
		"text":    func(d *sender.Draft) { d.Text = "" },
		"html":    func(d *sender.Draft) { d.HTML = "\xff" },
		"headers": func(d *sender.Draft) { d.Headers = []sender.Header{{Name: "DKIM-Signature", Value: "x"}} },
	} {
		d := sender.Draft{Message: sender.NewID(), From: p.SystemSender(), To: sender.Mailbox{Address: "r@example.net"}, Subject: "s", Text: "t", At: time.Now()}
		change(&d)
		_, err := p.Compose(d)
		if e, ok := errors.AsType[*sender.Error](err); !ok || e.Kind != sender.Invalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
