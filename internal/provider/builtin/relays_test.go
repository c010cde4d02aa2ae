package builtin

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/mail/mailtest"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

const secret = "correct-horse-battery-staple"

// post is a core that really sends: the instance's relay is a sink, and two tenants
// have an author each.
type post struct {
	*testing.T
	*sender.Service
	provider *Provider
	relay    *mailtest.Sink // the instance's
	dir      string
	logged   *lockedBuffer
	a, b     sender.Tenant
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// blind learns nothing.
type blind struct{ sender.Checker }

func (blind) Look(_ context.Context, _ dnscheck.Name, want []dnscheck.Record, _ dnscheck.Care) []dnscheck.Finding {
	return make([]dnscheck.Finding, len(want))
}

var operator = sender.Principal{Operator: true}

func (p *post) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// newPost trusts the certificates of roots.
func newPost(t *testing.T, roots *x509.CertPool, change ...func(*sender.Settings)) *post {
	t.Helper()
	p := &post{T: t, relay: mailtest.Serve(t), dir: t.TempDir(), logged: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(p.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keys, err := store.LoadKeyring(store.GenerateKey())
	p.must(err)
	st, err := store.Open(t.Context(), store.Config{DSN: filepath.Join(p.dir, "test.db"), SealKeys: keys, Migrate: true, Log: log})
	p.must(err)
	relay, err := mail.NewRelay(mail.RelayConfig{Address: p.relay.Addr(), TLS: mail.NoTLS})
	p.must(err)
	p.provider, err = New(t.Context(), Config{
		Service: name(t, "mail.postseal.test"), Store: st, Relays: map[string]*mail.Relay{"": relay}, Log: log,
		TenantRelays: TenantRelays{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Roots: roots},
	})
	p.must(err)
	settings := sender.DefaultSettings()
	settings.Send.FirstRetry, settings.Send.LastRetry, settings.Send.Tick = 100*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	for _, c := range change {
		c(&settings)
	}
	p.Service, err = sender.New(t.Context(), sender.Config{Store: st, Checker: blind{}, Provider: p.provider, Settings: settings, Log: log})
	p.must(err)
	p.a, p.b = p.tenant(st, "a"), p.tenant(st, "b")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.RunDispatcher(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		p.provider.Close()
		if err := errors.Join(relay.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// tenant makes one whose address noreply@NAME.example.org is proven.
func (p *post) tenant(st *store.Store, label string) sender.Tenant {
	p.Helper()
	t, err := p.CreateTenant(p.Context(), operator, sender.NewTenant{Name: label})
	p.must(err)
	now := time.Now().UTC()
	domain := name(p, label+".example.org")
	p.must(st.Update(p.Context(), func(tx sender.Tx) error {
		return tx.InsertAddress(p.Context(), sender.Address{
			ID: sender.NewID(), Tenant: t.ID, Mailbox: "noreply@" + domain.String(), Domain: domain, Spelling: "noreply@" + domain.String(),
			Status: sender.Verified, By: sender.ByCode, CreatedAt: now, UpdatedAt: now,
		})
	}))
	return t
}

func (p *post) send(t sender.Tenant) sender.ID {
	p.Helper()
	m, _, err := p.Send(p.Context(), operator, t.ID, sender.NewMessage{
		From: sender.Mailbox{Address: "noreply@" + t.Name + ".example.org"}, To: sender.Mailbox{Address: "reader@example.net"}, Subject: "of " + t.Name, Text: "t",
	})
	p.must(err)
	return m.ID
}

// settings are those of a sink.
func settings(s *mailtest.Sink) sender.NewRelay {
	host, port, _ := net.SplitHostPort(s.Addr())
	n, _ := strconv.Atoi(port)
	return sender.NewRelay{Host: host, Port: n}
}

func (p *post) own(t sender.Tenant, n sender.NewRelay) {
	p.Helper()
	r, err := p.SetRelay(p.Context(), operator, t.ID, n)
	p.must(err)
	if r.Password != "" {
		p.Error("the password came back")
	}
}

// arrive waits for the sink to have n messages and checks whose they are.
func (p *post) arrive(s *mailtest.Sink, n int, subject string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
	defer cancel()
	ms, err := s.WaitMessages(ctx, n)
	p.must(err)
	for _, m := range ms {
		if !strings.Contains(string(m.Data), "Subject: "+subject+"\r\n") {
			p.Errorf("this came to the wrong server:\n%s", m.Data)
		}
	}
}

func TestMailOfATenantLeavesByItsOwnServerAndOthersByTheInstances(t *testing.T) {
	for _, c := range []struct {
		name    string
		port    int // 0: the sink's, which is one of implicit TLS
		options []mailtest.Option
	}{
		{"STARTTLS", 587, []mailtest.Option{mailtest.WithSTARTTLS(), mailtest.WithAuth("postseal", secret)}},
		{"ImplicitTLS", 0, []mailtest.Option{mailtest.WithImplicitTLS(), mailtest.WithAuth("postseal", secret, "LOGIN")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := mailtest.Serve(t, c.options...)
			p := newPost(t, sink.Pool())
			n := settings(sink)
			n.Username, n.Password = "postseal", secret
			if c.port != 0 {
				n.Port = c.port
				p.provider.own.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, sink.Addr())
				}
			}
			p.own(p.a, n)
			p.send(p.a)
			p.send(p.b)
			p.arrive(sink, 1, "of a")
			p.arrive(p.relay, 1, "of b")
			m := sink.Messages()[0]
			if !m.TLS || !strings.HasSuffix(m.From, "@bounce.mail.postseal.test") || !strings.Contains(string(m.Data), "DKIM-Signature: ") {
				t.Errorf("TLS %t, from %s\n%s", m.TLS, m.From, m.Data)
			}

			// Whoever runs a tenant's server must not read the codes that prove addresses.
			p.relay.Reset()
			if _, err := p.CreateSender(t.Context(), operator, p.a.ID, "somebody@example.com"); err != nil {
				t.Fatal(err)
			}
			p.arrive(p.relay, 1, "Your verification code")

			p.relay.Reset()
			p.must(p.DeleteRelay(t.Context(), operator, p.a.ID))
			p.send(p.a)
			p.arrive(p.relay, 1, "of a")
			if sink.Count() != 1 {
				t.Errorf("%d messages by the server that is deleted", sink.Count())
			}

			if strings.Contains(p.logged.String(), secret) {
				t.Error("the password is in the log")
			}
		})
	}
}

func TestPasswordIsNowhereInTheDatabaseNorInTheLog(t *testing.T) {
	sink := mailtest.Serve(t, mailtest.WithImplicitTLS(), mailtest.WithAuth("postseal", secret))
	p := newPost(t, sink.Pool())
	n := settings(sink)
	n.Username, n.Password = "postseal", secret
	p.own(p.a, n)
	n.Password = ""
	p.own(p.a, n) // kept
	p.send(p.a)
	p.arrive(sink, 1, "of a")
	r, err := p.Relay(t.Context(), operator, p.a.ID)
	p.must(err)
	p.provider.log.Info("settings", "relay", r, "new", sender.NewRelay{Password: secret}, "password", sender.Password(secret))
	for _, text := range []string{p.logged.String(), fmt.Sprintf("%v %+v %#v", n, sender.NewRelay{Password: secret}, sender.Password(secret))} {
		if strings.Contains(text, secret) {
			t.Error("the password shows")
		}
	}
	files, err := os.ReadDir(p.dir)
	p.must(err)
	found := false
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(p.dir, f.Name()))
		p.must(err)
		found = found || bytes.Contains(b, []byte("127.0.0.1"))
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the password is in %s", f.Name())
		}
	}
	if !found {
		t.Error("the settings are in no file: this test looks in the wrong place")
	}
	es, err := p.Events(t.Context(), operator, p.a.ID, sender.Page{})
	p.must(err)
	if strings.Contains(fmt.Sprint(es), secret) || !strings.Contains(fmt.Sprint(es), "password:kept") {
		t.Errorf("events %v", es)
	}
}

func TestTestMailTellsWhatTheServerSays(t *testing.T) {
	sink := mailtest.Serve(t, mailtest.WithImplicitTLS(), mailtest.WithAuth("postseal", secret))
	p := newPost(t, sink.Pool())
	try := func() sender.Delivery {
		t.Helper()
		d, err := p.TestRelay(t.Context(), operator, p.a.ID, "Admin@example.net")
		p.must(err)
		return d
	}
	if _, err := p.TestRelay(t.Context(), operator, p.a.ID, "admin@example.net"); sender.KindOf(err) != sender.NotFound {
		t.Errorf("without settings: %v", err)
	}
	n := settings(sink)
	n.Username, n.Password = "postseal", "wrong"
	p.own(p.a, n)
	if d := try(); d.Outcome != sender.TempFailed || d.Stage != "auth" || d.Code != 535 || d.Text == "" || len(d.Transcript) == 0 {
		t.Errorf("wrong password: %+v", d)
	}
	n.Password, n.From = secret, &sender.Correspondent{Name: new("A"), Address: "noreply@a.example.org"}
	n.ReplyTo = &sender.Correspondent{Address: "NoReply@a.example.org"}
	p.own(p.a, n)
	if d := try(); d.Outcome != sender.Delivered || d.Code != 250 {
		t.Errorf("right password: %+v", d)
	}
	m := string(sink.Messages()[0].Data)
	for _, want := range []string{"From: \"A\" <noreply@a.example.org>", "To: <Admin@example.net>", "Reply-To: <NoReply@a.example.org>", "d=mail.postseal.test"} {
		if !strings.Contains(m, want) {
			t.Errorf("no %s in\n%s", want, m)
		}
	}
	sink.Fail(mailtest.Fault{At: mailtest.Rcpt, Reply: "550 5.1.1 nobody here"})
	if d := try(); d.Outcome != sender.PermFailed || d.Code != 550 || d.Enhanced != "5.1.1" {
		t.Errorf("refused recipient: %+v", d)
	}
	p.provider.own.cfg.Roots = x509.NewCertPool()
	n.Password = secret + "2" // connects anew
	p.own(p.a, n)
	if d := try(); d.Outcome != sender.TempFailed || d.Stage != "tls" {
		t.Errorf("a certificate of nobody: %+v", d)
	}
	last := error(nil)
	for range 20 {
		if _, last = p.TestRelay(t.Context(), operator, p.a.ID, "admin@example.net"); last != nil {
			break
		}
	}
	if e, ok := errors.AsType[*sender.Error](last); !ok || e.Kind != sender.TooSoon || e.Field != "to" || e.RetryAt.IsZero() {
		t.Errorf("after twenty: %v", last)
	}
	if strings.Contains(p.logged.String(), secret) {
		t.Error("the password is in the log")
	}
}

func TestMailWaitsForItsTenantsServerAndHoldsUpNobody(t *testing.T) {
	sink := mailtest.Serve(t, mailtest.WithImplicitTLS())
	p := newPost(t, sink.Pool())
	p.own(p.a, settings(sink))
	sink.Fail(mailtest.Fault{At: mailtest.Connect, Hang: true}) // for longer than this test takes
	const many = 60
	for range many {
		p.send(p.a)
	}
	for range many {
		p.send(p.b)
	}
	p.arrive(p.relay, many, "of b")
	if n := sink.Connections(); n > 4 {
		t.Errorf("%d connections to a server that hangs; want 4 at most", n)
	}
	sink.Heal()
	sink.CloseConnections()
	p.arrive(sink, many, "of a")
}

func TestServerThatIsGoneGetsItsMailWhenItIsBack(t *testing.T) {
	sink := mailtest.Serve(t, mailtest.WithImplicitTLS())
	p := newPost(t, sink.Pool())
	var down sync.Map
	down.Store("down", true)
	p.provider.own.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if _, ok := down.Load("down"); ok {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	p.own(p.a, settings(sink))
	id := p.send(p.a)
	p.send(p.b)
	p.arrive(p.relay, 1, "of b")
	deadline := time.Now().Add(10 * time.Second)
	for {
		m, attempts, err := p.Message(t.Context(), operator, p.a.ID, id)
		p.must(err)
		if len(attempts) > 1 && m.State != sender.Sent {
			if attempts[0].Outcome != sender.TempFailed || attempts[0].Stage != "connect" {
				t.Errorf("attempt %+v", attempts[0])
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v %+v", m, attempts)
		}
		time.Sleep(20 * time.Millisecond)
	}
	down.Delete("down")
	p.arrive(sink, 1, "of a")
}

func TestSwitchedOffInstanceSendsByItsOwnRelay(t *testing.T) {
	sink := mailtest.Serve(t, mailtest.WithImplicitTLS())
	p := newPost(t, sink.Pool(), func(s *sender.Settings) { s.Send.OwnRelays = false })
	if _, err := p.SetRelay(t.Context(), operator, p.a.ID, settings(sink)); sender.KindOf(err) != sender.Refused {
		t.Errorf("kept although it is switched off: %v", err)
	}
	n := settings(sink) // as if it had been on before
	p.must(p.provider.store.Update(t.Context(), func(tx sender.Tx) error {
		return tx.PutRelay(t.Context(), sender.Relay{Tenant: p.a.ID, Host: n.Host, Port: n.Port, UpdatedAt: time.Now()})
	}))
	p.send(p.a)
	p.arrive(p.relay, 1, "of a")
}

func TestHostOfAnotherScriptIsDialledInALabels(t *testing.T) {
	dialled := make(chan string, 1)
	r := &relays{helo: "mail.postseal.test", dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		dialled <- addr
		return nil, errors.New("that is enough")
	}}
	defer r.close()
	for host, want := range map[string]string{
		"BÜCHER.example.org": "xn--bcher-kva.example.org:465", "SMTP.example.org.": "smtp.example.org:465", "192.0.2.1": "192.0.2.1:465", "2001:db8::1": "[2001:db8::1]:465",
	} {
		o, err := r.acquire(&sender.Relay{Tenant: sender.NewID(), Host: host, Port: 465})
		if err != nil {
			t.Fatal(err)
		}
		if d := o.relay.Send(t.Context(), mail.Envelope{To: "a@example.org"}, []byte("From: b@example.org\r\n\r\n")); d.Outcome != mail.TempFailed {
			t.Errorf("%s: %+v", host, d)
		}
		r.release(o)
		if got := <-dialled; got != want {
			t.Errorf("%s: %s was dialled, want %s", host, got, want)
		}
	}
}

func TestChangedSettingsGetNewConnectionsAndTheirNumberIsBounded(t *testing.T) {
	r := &relays{helo: "mail.postseal.test"}
	defer r.close()
	at := &sender.Relay{Tenant: sender.NewID(), Host: "smtp.example.org", Port: 465, Username: "u", Password: "p"}
	acquire := func(s *sender.Relay) *ownRelay {
		t.Helper()
		o, err := r.acquire(s)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := acquire(at)
	if again := acquire(at); again != first {
		t.Error("the same settings got other connections")
	}
	r.release(first)
	changed := *at
	changed.Password = "q"
	second := acquire(&changed)
	if second == first || !first.gone {
		t.Error("changed settings have the old connections")
	}
	r.release(first) // the last who used it
	r.release(second)
	changed.From = &sender.Correspondent{Address: "a@example.org"}
	if o := acquire(&changed); o != second {
		t.Error("another author made new connections")
	}
	for range 2 * mostRelays {
		s := changed
		s.Tenant = sender.NewID()
		r.release(acquire(&s))
	}
	if n := len(r.of); n > mostRelays {
		t.Errorf("%d are kept, want %d at most", n, mostRelays)
	}
	if r.of[at.Tenant] != second {
		t.Error("one in use was thrown out")
	}
}
