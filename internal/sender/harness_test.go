package sender_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/provider/builtin"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/webhook"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // months of DNS packets make much garbage and little to keep
	os.Exit(m.Run())
}

// harness is the core with everything real but the way out: SQLite in a file,
// DNS packets over in-memory connections, so that it runs on fake time.
type harness struct {
	*testing.T
	*sender.Service
	dns    *dnstest.Server
	checks *lagging
	way    *way
	hooks  *receivers
	store  *faulty
	config sender.Config
	logged func() string      // warnings and worse, so far
	stop   context.CancelFunc // ends the dispatcher and waits for it
	tenant sender.Tenant
	admin  sender.Principal
}

// logbook keeps what is written to it.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var operator = sender.Principal{Operator: true}

func newHarness(t *testing.T, change ...func(*sender.Settings)) *harness {
	t.Helper()
	names := dnstest.New(t, serviceZone)
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: []string{"192.0.2.1:53", "192.0.2.2:53"}, Dial: names.Dial})
	if err != nil {
		t.Fatal(err)
	}
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	h := assemble(t, checker, "mail.postseal.test", change...)
	h.dns = names
	h.sweep(15*time.Minute, 100)
	return h
}

// assemble makes a core whose background does nothing yet.
func assemble(t *testing.T, checker *dnscheck.Checker, canaryZone string, change ...func(*sender.Settings)) *harness {
	t.Helper()
	lines := new(logbook)
	log := slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), lines), &slog.HandlerOptions{Level: slog.LevelWarn}))
	keys, err := store.LoadKeyring(store.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Config{DSN: t.TempDir() + "/test.db", SealKeys: keys, Migrate: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, logged: lines.String, store: &faulty{Store: st}, checks: &lagging{Checker: checker}}
	service, err := dnscheck.ParseDomain("mail.postseal.test")
	if err != nil {
		t.Fatal(err)
	}
	zone, err := dnscheck.ParseDomain(canaryZone)
	if err != nil {
		t.Fatal(err)
	}
	canary, err := dnscheck.NewCanary(checker, zone)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := mail.NewRelay(mail.RelayConfig{Address: "127.0.0.1:1"}) // never dialled: way answers first
	if err != nil {
		t.Fatal(err)
	}
	giveKey(t, st, "postseal1")
	p, err := builtin.New(t.Context(), builtin.Config{Service: service, Store: st, Relays: map[string]*mail.Relay{"": relay}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h.way = &way{Provider: p, give: func(selector string) { giveKey(t, st, selector) }}
	settings := sender.DefaultSettings()
	settings.ReservedDomain = service.String()
	settings.Geographies = map[string][]string{"na": {"r1", "r2"}}
	settings.Send.Tick, settings.Send.Lease = time.Hour, time.Hour // months have many idle hours
	settings.Verify.UnknownEvery = 2 * time.Hour
	settings.Webhooks.Tick = 10 * time.Minute
	h.hooks = newReceivers(t)
	for _, c := range change {
		c(&settings)
	}
	h.config = sender.Config{Store: h.store, Checker: h.checks, Canary: canary, Provider: h.way, Poster: webhook.New(webhook.Config{Client: h.hooks.client()}), Settings: settings, Log: log}
	h.Service = h.node()
	h.stop = h.dispatch(h.Service)
	t.Cleanup(func() {
		h.stop()
		if err := errors.Join(relay.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	h.tenant, h.admin = h.newTenant("first")
	return h
}

// sweep looks at the domains that are due, so many at a time, until the test ends: it
// stands for the job engine's periodic work.
func (h *harness) sweep(every time.Duration, limit int) {
	ctx, cancel := context.WithCancel(h.Context())
	var loops sync.WaitGroup
	loops.Go(func() {
		for {
			select {
			case <-time.After(every):
				if _, err := h.RecheckDue(ctx, limit); err != nil && ctx.Err() == nil {
					h.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	h.Cleanup(func() {
		cancel()
		loops.Wait()
	})
}

// node returns one more Service on the same store.
func (h *harness) node() *sender.Service {
	h.Helper()
	s, err := sender.New(h.Context(), h.config)
	if err != nil {
		h.Fatal(err)
	}
	return s
}

// dispatch runs a node's dispatcher until stop is called.
func (h *harness) dispatch(node *sender.Service) (stop context.CancelFunc) {
	ctx, cancel := context.WithCancel(h.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = node.RunDispatcher(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// lagging is a checker whose next results come late: as of the time of asking.
type lagging struct {
	sender.Checker
	mu  sync.Mutex
	lag time.Duration
}

func (l *lagging) once(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lag = d
}

func (l *lagging) Look(ctx context.Context, domain dnscheck.Name, want []dnscheck.Record, care dnscheck.Care) []dnscheck.Finding {
	return l.late(l.Checker.Look(ctx, domain, want, care))
}

func (l *lagging) late(findings []dnscheck.Finding) []dnscheck.Finding {
	l.mu.Lock()
	lag := l.lag
	l.lag = 0
	l.mu.Unlock()
	time.Sleep(lag)
	return findings
}

// An RSA key takes longer to make than most of these tests; all selectors have one.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return mail.GenerateKey(2048) })

func giveKey(t testing.TB, st sender.Store, selector string) {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	k := sender.Key{Selector: selector, Algorithm: "rsa", CreatedAt: time.Now()}
	var errs [3]error
	k.PKCS8, errs[0] = mail.MarshalKey(key)
	k.TXT, errs[1] = mail.PublicKeyTXT(key.Public())
	errs[2] = st.Update(context.Background(), func(tx sender.Tx) error { return tx.InsertKey(context.Background(), k) })
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
}

// faulty is a store that can fail.
type faulty struct {
	*store.Store
	shared atomic.Bool // with other processes
	mu     sync.Mutex
	// fault is asked before a statement of that name in a transaction; and as
	// "committed", after the commit, whose success its error hides.
	fault func(statement string) error
	tasks []sender.Task
}

var errStore = errors.New("the store is out of order")

func (f *faulty) fail(fault func(statement string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *faulty) ask(statement string) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(statement)
}

func (f *faulty) Exclusive() bool { return !f.shared.Load() }

func (f *faulty) Update(ctx context.Context, do func(sender.Tx) error) error {
	if err := f.Store.Update(ctx, func(tx sender.Tx) error { return do(&faultyTx{tx, f}) }); err != nil {
		return err
	}
	return f.ask("committed")
}

func (f *faulty) enqueued(kind sender.TaskKind) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tasks {
		if t.Kind == kind {
			n++
		}
	}
	return n
}

type faultyTx struct {
	sender.Tx
	f *faulty
}

func (t *faultyTx) StartAttempt(ctx context.Context, owner string, a sender.Attempt) error {
	if err := t.f.ask("StartAttempt"); err != nil {
		return err
	}
	return t.Tx.StartAttempt(ctx, owner, a)
}

func (t *faultyTx) FinishAttempt(ctx context.Context, a sender.Attempt) error {
	if err := t.f.ask("FinishAttempt"); err != nil {
		return err
	}
	return t.Tx.FinishAttempt(ctx, a)
}

func (t *faultyTx) LockMassGuard(ctx context.Context) (sender.MassGuard, error) {
	if err := t.f.ask("LockMassGuard"); err != nil {
		return sender.MassGuard{}, err
	}
	return t.Tx.LockMassGuard(ctx)
}

func (t *faultyTx) UpdateWebhookDelivery(ctx context.Context, d sender.WebhookDelivery) error {
	if err := t.f.ask("UpdateWebhookDelivery"); err != nil {
		return err
	}
	return t.Tx.UpdateWebhookDelivery(ctx, d)
}

func (t *faultyTx) RenewLeases(ctx context.Context, owner string, until time.Time) error {
	if err := t.f.ask("RenewLeases"); err != nil {
		return err
	}
	return t.Tx.RenewLeases(ctx, owner, until)
}

func (t *faultyTx) Enqueue(ctx context.Context, task sender.Task) error {
	t.f.mu.Lock()
	t.f.tasks = append(t.f.tasks, task)
	t.f.mu.Unlock()
	return t.Tx.Enqueue(ctx, task)
}

func (h *harness) newTenant(name string) (sender.Tenant, sender.Principal) {
	h.Helper()
	t, err := h.CreateTenant(h.Context(), operator, sender.NewTenant{Name: name})
	if err != nil {
		h.Fatal(err)
	}
	return t, sender.Principal{Credential: sender.NewID(), Home: t.ID, Grants: []sender.Grant{{Tenant: t.ID, Role: sender.RoleAdmin}}}
}

// way is the built-in provider with a scripted last mile.
type way struct {
	*builtin.Provider
	give     func(selector string)
	mu       sync.Mutex
	outcomes []sender.DeliveryOutcome // of the next attempts; then Delivered
	asks     time.Duration            // of those outcomes, before it is tried again
	takes    []time.Duration          // the next attempts; then no time
	sent     []sent
}

type sent struct {
	sender.Outgoing
	signed string
}

func (w *way) Prepare(ctx context.Context, o sender.Outgoing) ([]byte, error) {
	if o.Decision.Selector != "" {
		w.give(o.Decision.Selector)
	}
	return w.Provider.Prepare(ctx, o)
}

func (w *way) Deliver(ctx context.Context, o sender.Outgoing, signed []byte) sender.Delivery {
	w.mu.Lock()
	d := sender.Delivery{Outcome: sender.Delivered, Code: 250, Stage: "end-of-data"}
	if len(w.outcomes) > 0 {
		// As next hops do, it names the recipient.
		d = sender.Delivery{Outcome: w.outcomes[0], Code: 550, Enhanced: "5.1.1", Text: "<" + o.To + ">: scripted", Stage: "data", RetryAfter: w.asks}
		w.outcomes = w.outcomes[1:]
	}
	var takes time.Duration
	if len(w.takes) > 0 {
		takes, w.takes = w.takes[0], w.takes[1:]
	}
	w.sent = append(w.sent, sent{o, string(signed)})
	w.mu.Unlock()
	select {
	case <-time.After(takes):
		return d
	case <-ctx.Done():
		return sender.Delivery{Outcome: sender.TempFailed, Stage: "data", Text: "it took too long"}
	}
}

func (w *way) attempts() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

func (w *way) script(o ...sender.DeliveryOutcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outcomes = o
}

func (w *way) take(d ...time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takes = d
}

const serviceZone = `mail.postseal.test. IN SOA ns1.mail.postseal.test. x.mail.postseal.test. 1 1 1 1 60
_spf.mail.postseal.test. IN TXT "v=spf1 ip4:192.0.2.9 -all"`

// publish puts records of these purposes into the DNS.
func (h *harness) publish(d sender.Domain, purposes ...dnscheck.Purpose) {
	for _, r := range h.Records(d) {
		if slices.Contains(purposes, r.Purpose) {
			value := `"` + r.Value + `"`
			if r.Type == dnscheck.CNAME {
				value = r.Value + "."
			}
			h.dns.Add(r.Name.String() + ". 60 IN " + string(r.Type) + " " + value)
		}
	}
}

func (h *harness) withdraw(d sender.Domain, purposes ...dnscheck.Purpose) {
	for _, r := range h.Records(d) {
		if slices.Contains(purposes, r.Purpose) {
			h.dns.Remove(r.Name.String(), string(r.Type))
		}
	}
}

func (h *harness) domain(name string, publish ...dnscheck.Purpose) sender.Domain {
	h.Helper()
	d, err := h.CreateDomain(h.Context(), h.admin, h.tenant.ID, name)
	if err != nil {
		h.Fatal(err)
	}
	if len(publish) > 0 {
		h.publish(d, publish...)
		if d, err = h.CheckDomain(h.Context(), h.admin, h.tenant.ID, d.ID); err != nil {
			h.Fatal(err)
		}
	}
	return d
}

func (h *harness) status(d sender.Domain, p dnscheck.Purpose, region string) sender.Status {
	h.Helper()
	d, err := h.Domain(h.Context(), h.admin, h.tenant.ID, d.ID)
	if err != nil {
		h.Fatal(err)
	}
	return d.Facet(p, region).Status
}

var codeForm = regexp.MustCompile(`Verification code: (\S+)`)

// code waits for the mail and reads the code in it.
func (h *harness) code() string {
	h.Helper()
	synctest.Wait()
	all := h.way.attempts()
	if len(all) == 0 {
		h.Fatal("no mail was sent")
	}
	m := codeForm.FindStringSubmatch(all[len(all)-1].signed)
	if m == nil {
		h.Fatalf("no code in\n%s", all[len(all)-1].signed)
	}
	return m[1]
}

func (h *harness) activeAddress(d sender.Domain, mailbox string) sender.Address {
	h.Helper()
	a, created, err := h.CreateAddress(h.Context(), h.admin, h.tenant.ID, d.ID, mailbox, true)
	if err != nil || !created {
		h.Fatal(created, err)
	}
	if a, err = h.ActivateAddress(h.Context(), h.admin, h.tenant.ID, d.ID, a.ID, h.code()); err != nil {
		h.Fatal(err)
	}
	return a
}

func (h *harness) send(from string) (sender.Message, error) {
	m, _, err := h.Send(h.Context(), h.admin, h.tenant.ID, sender.NewMessage{
		From: sender.Mailbox{Address: from}, To: sender.Mailbox{Address: "reader@example.net"}, Subject: "s", Text: "t",
	})
	return m, err
}

func (h *harness) state(m sender.Message) sender.Message {
	h.Helper()
	m, _, err := h.Message(h.Context(), h.admin, h.tenant.ID, m.ID)
	if err != nil {
		h.Fatal(err)
	}
	return m
}

// events returns type and stage of the tenant's events of these types.
func (h *harness) events(types ...sender.EventType) (lines []string) {
	h.Helper()
	es, err := h.Events(h.Context(), operator, h.tenant.ID, sender.Page{})
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range es {
		if slices.Contains(types, e.Type) {
			lines = append(lines, strings.TrimSpace(string(e.Type)+" "+e.Data["region"]+" "+e.Data["stage"]))
		}
	}
	return lines
}

func onFakeTime(t *testing.T, do func(t *testing.T, h *harness), change ...func(*sender.Settings)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { do(t, newHarness(t, change...)) })
}
