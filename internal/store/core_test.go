package store_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

// The rules of the core must hold on both engines when many ask at once. core has
// a DNS where everything is published and a next hop that takes everything.
type core struct {
	*sender.Service
	*everything
	store  *store.Store
	tenant sender.ID
	admin  sender.Principal
}

func onEachCore(t *testing.T, test func(t *testing.T, c *core)) {
	onEach(t, func(t *testing.T, config store.Config) {
		c := &core{store: open(t, config), everything: &everything{codes: map[string]string{}, handed: map[sender.ID]int{}}}
		c.Service = c.node(t)
		c.tenant, c.admin = c.newTenant(t)
		test(t, c)
	})
}

func (c *core) node(t *testing.T) *sender.Service {
	t.Helper()
	settings := sender.DefaultSettings()
	settings.Send.Tick = 20 * time.Millisecond
	s, err := sender.New(t.Context(), sender.Config{
		Store: c.store, Checker: c.everything, Provider: c.everything, Settings: settings, Log: config(t, "x").Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *core) newTenant(t *testing.T) (sender.ID, sender.Principal) {
	t.Helper()
	tenant, err := c.CreateTenant(t.Context(), sender.Principal{Operator: true}, sender.NewTenant{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	return tenant.ID, sender.Principal{Grants: []sender.Grant{{Tenant: tenant.ID, Role: sender.RoleAdmin}}}
}

// domain registers and proves a domain.
func (c *core) domain(t *testing.T, tenant sender.ID, p sender.Principal, name string) sender.Domain {
	t.Helper()
	d, err := c.CreateDomain(t.Context(), p, tenant, name)
	if err == nil {
		d, err = c.CheckDomain(t.Context(), p, tenant, d.ID, dnscheck.Ownership)
	}
	if err != nil || !d.Proven() {
		t.Fatal(d, err)
	}
	return d
}

// everything is a Checker and a Provider.
type everything struct {
	sender.Checker
	mu     sync.Mutex
	codes  map[string]string // newest by recipient
	handed map[sender.ID]int
}

func (e *everything) Look(_ context.Context, _ dnscheck.Name, want []dnscheck.Record, _ dnscheck.Care) []dnscheck.Finding {
	var fs []dnscheck.Finding
	for _, r := range want {
		fs = append(fs, dnscheck.Finding{Purpose: r.Purpose, Region: r.Region, Name: r.Name, Type: r.Type, Outcome: dnscheck.Match, Code: "MATCH", Expected: r.Value})
	}
	return fs
}

func (e *everything) Provision(_ context.Context, t sender.Tenant, _ dnscheck.Name) (sender.Tokens, error) {
	tokens := sender.Tokens{Environment: string(sender.NewID())}
	for _, r := range t.Regions {
		tokens.Regions = append(tokens.Regions, sender.RegionTokens{Region: r, Ownership: string(sender.NewID()), DKIM: []string{"a", "b", "c"}})
	}
	return tokens, nil
}

func (e *everything) Records(d sender.Domain) (rs []dnscheck.Record) {
	for _, r := range d.Tokens.Regions {
		rs = append(rs, dnscheck.Record{Purpose: dnscheck.Ownership, Region: r.Region, Name: d.Name, Type: dnscheck.TXT, Value: r.Ownership})
	}
	return rs
}

var codeForm = regexp.MustCompile(`code: (\S+)`)

func (e *everything) Compose(d sender.Draft) ([]byte, error) {
	if m := codeForm.FindStringSubmatch(d.Text); m != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.codes[d.To.Address] = m[1]
	}
	return []byte(d.Text), nil
}

func (e *everything) Readdress(composed []byte, _ *sender.Mailbox, _ bool) ([]byte, error) {
	return composed, nil
}

func (e *everything) Deliver(_ context.Context, o sender.Outgoing, _ []byte) sender.Delivery {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handed[o.Message]++
	return sender.Delivery{Outcome: sender.Delivered, Code: 250}
}

func (e *everything) MakeKeys(context.Context, sender.Domain) error { return nil }
func (e *everything) ReversePath() dnscheck.Name                    { return dnscheck.Name{} }

func (e *everything) SystemSender() sender.Mailbox {
	return sender.Mailbox{Address: "no-reply@service.example"}
}
func (e *everything) Prepare(_ context.Context, o sender.Outgoing) ([]byte, error) {
	return o.Body, nil
}

// atOnce calls do n times in parallel and counts the kinds of what it answers;
// errors that are not of the core fail the test.
func atOnce(t *testing.T, n int, do func(i int) error) map[sender.Kind]int {
	t.Helper()
	var mu sync.Mutex
	kinds := map[sender.Kind]int{}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := do(i)
			kind := sender.KindOf(err)
			if err != nil && kind == "" {
				t.Errorf("call %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			kinds[kind]++
		})
	}
	wg.Wait()
	return kinds
}

func wantKinds(t *testing.T, got map[sender.Kind]int, want map[sender.Kind]int) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("kinds of answers: %v, want %v", got, want)
	}
}

func TestTenThousandGuessesAtOnceAreFiveTries(t *testing.T) {
	onEachCore(t, func(t *testing.T, c *core) {
		d := c.domain(t, c.tenant, c.admin, "example.org")
		a, _, err := c.CreateAddress(t.Context(), c.admin, c.tenant, d.ID, "a@example.org", true)
		if err != nil {
			t.Fatal(err)
		}
		try := func(code string) error {
			_, err := c.ActivateAddress(t.Context(), c.admin, c.tenant, d.ID, a.ID, code)
			return err
		}
		wantKinds(t, atOnce(t, 10_000, func(i int) error { return try(fmt.Sprint("guess", i)) }), map[sender.Kind]int{sender.WrongCode: 5, sender.NoMoreTries: 9_995})
		if err := try(c.codes["a@example.org"]); sender.KindOf(err) != sender.NoMoreTries {
			t.Errorf("the right code after them: %v", err)
		}
		es, err := c.Events(t.Context(), c.admin, c.tenant, sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		wrong := slices.DeleteFunc(es, func(e sender.Event) bool { return e.Type != sender.EventAddressCodeWrong })
		if a, err = c.Address(t.Context(), c.admin, c.tenant, d.ID, a.ID); err != nil || a.Code.Tries != 5 || a.Code.Wrong != 5 || len(wrong) != 5 {
			t.Errorf("%d tries, %d wrong, %d events, %v; want 5 of each", a.Code.Tries, a.Code.Wrong, len(wrong), err)
		}
	})
}

func TestRightCodeCountsOnceAmongMany(t *testing.T) {
	onEachCore(t, func(t *testing.T, c *core) {
		d := c.domain(t, c.tenant, c.admin, "example.org")
		a, _, err := c.CreateAddress(t.Context(), c.admin, c.tenant, d.ID, "a@example.org", true)
		if err != nil {
			t.Fatal(err)
		}
		code := c.codes["a@example.org"]
		wantKinds(t, atOnce(t, 50, func(int) error {
			_, err := c.ActivateAddress(t.Context(), c.admin, c.tenant, d.ID, a.ID, code)
			return err
		}), map[sender.Kind]int{"": 1, sender.Invalid: 49})
	})
}

func TestLimitsHoldForCreationsAtOnce(t *testing.T) {
	onEachCore(t, func(t *testing.T, c *core) {
		wantKinds(t, atOnce(t, 100, func(i int) error {
			_, err := c.CreateDomain(t.Context(), c.admin, c.tenant, fmt.Sprintf("d%d.example.org", i))
			return err
		}), map[sender.Kind]int{"": 50, sender.Limit: 50})

		tenant, p := c.newTenant(t)
		wantKinds(t, atOnce(t, 50, func(int) error {
			_, err := c.CreateDomain(t.Context(), p, tenant, "same.example.org")
			return err
		}), map[sender.Kind]int{"": 1, sender.Conflict: 49})
		d := c.domain(t, tenant, p, "example.org")
		wantKinds(t, atOnce(t, 50, func(i int) error {
			_, _, err := c.CreateAddress(t.Context(), p, tenant, d.ID, fmt.Sprintf("a%d@example.org", i), true)
			return err
		}), map[sender.Kind]int{"": 10, sender.Limit: 40})

		var made atomic.Int32
		tenant, p = c.newTenant(t)
		d = c.domain(t, tenant, p, "example.org")
		wantKinds(t, atOnce(t, 50, func(int) error {
			_, created, err := c.CreateAddress(t.Context(), p, tenant, d.ID, "same@example.org", true)
			if created {
				made.Add(1)
			}
			return err
		}), map[sender.Kind]int{"": 50})
		if made.Load() != 1 {
			t.Errorf("one address was made %d times", made.Load())
		}
	})
}

func TestRecipientsCapHoldsForTenantsAtOnce(t *testing.T) {
	onEachCore(t, func(t *testing.T, c *core) {
		type row struct {
			tenant sender.ID
			p      sender.Principal
			d      sender.Domain
		}
		rows := make([]row, 30)
		for i := range rows {
			r := &rows[i]
			r.tenant, r.p = c.newTenant(t)
			r.d = c.domain(t, r.tenant, r.p, "victim.example.org")
		}
		wantKinds(t, atOnce(t, len(rows), func(i int) error {
			_, _, err := c.CreateAddress(t.Context(), rows[i].p, rows[i].tenant, rows[i].d.ID, "victim@victim.example.org", true)
			return err
		}), map[sender.Kind]int{"": 20, sender.TooSoon: 10})
	})
}

// author makes an address that may send.
func (c *core) author(t *testing.T) string {
	t.Helper()
	d := c.domain(t, c.tenant, c.admin, "example.org")
	a, _, err := c.CreateAddress(t.Context(), c.admin, c.tenant, d.ID, "noreply@example.org", true)
	if err == nil {
		_, err = c.ActivateAddress(t.Context(), c.admin, c.tenant, d.ID, a.ID, c.codes["noreply@example.org"])
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.Mailbox
}

func TestOneKeyMakesOneMessageHoweverManyUseIt(t *testing.T) {
	onEachCore(t, func(t *testing.T, c *core) {
		n := sender.NewMessage{
			From: sender.Mailbox{Address: c.author(t)}, To: sender.Mailbox{Address: "r@example.net"}, Subject: "s", Text: "t", IdempotencyKey: "k", RequestHash: "h",
		}
		ids := make([]sender.ID, 100)
		wantKinds(t, atOnce(t, len(ids), func(i int) error {
			m, _, err := c.Send(t.Context(), c.admin, c.tenant, n)
			ids[i] = m.ID
			return err
		}), map[sender.Kind]int{"": len(ids)})
		if slices.Sort(ids); ids[0] == "" || ids[0] != ids[len(ids)-1] {
			t.Errorf("several messages: %q", slices.Compact(ids))
		}
	})
}

func TestTwoNodesHandOverEveryMessageOnce(t *testing.T) {
	c := &core{store: open(t, config(t, engines[1].dsn(t))), everything: &everything{codes: map[string]string{}, handed: map[sender.ID]int{}}}
	c.Service = c.node(t)
	c.tenant, c.admin = c.newTenant(t)
	from := c.author(t)
	ctx, cancel := context.WithCancel(t.Context())
	var nodes sync.WaitGroup
	for range 2 {
		node := c.node(t)
		nodes.Go(func() {
			if err := node.RunDispatcher(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	const messages = 300
	wantKinds(t, atOnce(t, messages, func(int) error {
		_, _, err := c.Send(t.Context(), c.admin, c.tenant, sender.NewMessage{
			From: sender.Mailbox{Address: from}, To: sender.Mailbox{Address: "r@example.net"}, Subject: "s", Text: "t",
		})
		return err
	}), map[sender.Kind]int{"": messages})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ms, err := c.Messages(t.Context(), c.admin, c.tenant, sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		left := slices.DeleteFunc(ms, func(m sender.Message) bool { return m.State == sender.Sent && m.Attempts == 1 && m.InDoubt == 0 })
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages are not sent, the first is %+v", len(left), left[0])
		}
	}
	cancel()
	nodes.Wait()
	if len(c.handed) != messages+1 { // and the code
		t.Errorf("%d messages were handed over", len(c.handed))
	}
	for id, n := range c.handed {
		if n != 1 {
			t.Errorf("%s was handed over %d times", id, n)
		}
	}
}

// Everything that locks, at once, on few domains: nobody waits in a circle, and
// what clients are told is what they would be told alone.
func TestChangesAtOnceMeetWithoutErrors(t *testing.T) {
	onEachCore(t, func(t *testing.T, c *core) {
		ctx, names := t.Context(), []string{"a.example.org", "b.example.org", "c.example.org"}
		var parsed []dnscheck.Name
		for _, name := range names {
			n, err := dnscheck.ParseDomain(name)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, n)
		}
		got := atOnce(t, 300, func(i int) error {
			name := names[i%len(names)]
			if i%10 == 0 {
				_, err := c.RecheckDue(ctx, 10)
				return err
			}
			d, err := c.CreateDomain(ctx, c.admin, c.tenant, name)
			if sender.KindOf(err) == sender.Conflict {
				d, err = c.store.DomainByName(ctx, c.tenant, parsed[i%len(names)])
			}
			if err == nil {
				d, err = c.CheckDomain(ctx, c.admin, c.tenant, d.ID)
			}
			if err != nil {
				return err
			}
			a, _, err := c.CreateAddress(ctx, c.admin, c.tenant, d.ID, fmt.Sprintf("u%d@%s", i%4, name), true)
			if err != nil {
				return err
			}
			switch i % 4 {
			case 0:
				_, err = c.ActivateAddress(ctx, c.admin, c.tenant, d.ID, a.ID, "guess")
			case 1:
				_, err = c.ResendCode(ctx, c.admin, c.tenant, d.ID, a.ID)
			case 2:
				err = c.DeleteAddress(ctx, c.admin, c.tenant, d.ID, a.ID)
			case 3:
				err = c.DeleteDomain(ctx, c.admin, c.tenant, d.ID, i%8 == 7)
			}
			return err
		})
		for kind := range got {
			switch kind {
			case "", sender.NotFound, sender.WrongCode, sender.NoMoreTries, sender.TooSoon, sender.InUse:
			default:
				t.Errorf("somebody was told %q: %v", kind, got)
			}
		}
	})
}
