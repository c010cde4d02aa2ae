package sender_test

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/provider/builtin"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

// harness is the core with everything real but the way out: SQLite in a file,
// DNS packets over in-memory connections, so that it runs on fake time.
type harness struct {
	*testing.T
	*sender.Service
	dns    *dnstest.Server
	way    *way
	store  *store.Store
	tenant sender.Tenant
	admin  sender.Principal
}

var operator = sender.Principal{Operator: true}

func newHarness(t *testing.T) *harness {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	keys, err := store.LoadKeyring(store.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Config{DSN: t.TempDir() + "/test.db", SealKeys: keys, Migrate: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, store: st, dns: dnstest.New(t, "")}
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: []string{"192.0.2.1:53", "192.0.2.2:53"}, Dial: h.dns.Dial})
	if err != nil {
		t.Fatal(err)
	}
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	service, err := dnscheck.ParseDomain("mail.postseal.test")
	if err != nil {
		t.Fatal(err)
	}
	relay, err := mail.NewRelay(mail.RelayConfig{Address: "127.0.0.1:1"}) // never dialled: way answers first
	if err != nil {
		t.Fatal(err)
	}
	p, err := builtin.New(t.Context(), builtin.Config{Service: service, Store: st, Relays: map[string]*mail.Relay{"": relay}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h.way = &way{Provider: p}
	settings := sender.DefaultSettings()
	settings.ReservedDomain = service.String()
	settings.Geographies = map[string][]string{"na": {"r1", "r2"}}
	settings.Send.Tick, settings.Send.Lease = time.Hour, time.Hour // months have many idle hours
	settings.Verify.UnknownEvery = 30 * time.Minute
	if h.Service, err = sender.New(t.Context(), sender.Config{Store: st, Checker: checker, Provider: h.way, Settings: settings, Log: log}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	loops.Go(func() { _ = h.RunDispatcher(ctx) })
	loops.Go(func() { // stands for the job engine's periodic work
		for {
			select {
			case <-time.After(15 * time.Minute):
				if _, err := h.RecheckDue(ctx, 100); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		loops.Wait()
		if err := errors.Join(relay.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	h.tenant, h.admin = h.newTenant("first")
	return h
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
	mu       sync.Mutex
	outcomes []sender.DeliveryOutcome // of the next attempts; then Delivered
	sent     []sent
}

type sent struct {
	sender.Outgoing
	signed string
}

func (w *way) Deliver(_ context.Context, o sender.Outgoing, signed []byte) sender.Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := sender.Delivery{Outcome: sender.Delivered, Code: 250, Stage: "end-of-data"}
	if len(w.outcomes) > 0 {
		d = sender.Delivery{Outcome: w.outcomes[0], Text: "scripted", Stage: "data"}
		w.outcomes = w.outcomes[1:]
	}
	w.sent = append(w.sent, sent{o, string(signed)})
	return d
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

// publish puts records of these purposes into the DNS.
func (h *harness) publish(d sender.Domain, purposes ...dnscheck.Purpose) {
	h.dns.Add("mail.postseal.test. IN SOA ns1.mail.postseal.test. x.mail.postseal.test. 1 1 1 1 60", `_spf.mail.postseal.test. IN TXT "v=spf1 ip4:192.0.2.9 -all"`)
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
	a, created, err := h.CreateAddress(h.Context(), h.admin, h.tenant.ID, d.ID, mailbox)
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

func onFakeTime(t *testing.T, do func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { do(t, newHarness(t)) })
}

func TestJourney(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("Mail.Example.ORG")
		if d.Spelling != "Mail.Example.ORG" || d.Name.String() != "mail.example.org" {
			t.Errorf("spelling %q, name %q", d.Spelling, d.Name)
		}
		if got := len(h.Records(d)); got != 2+1+6+1 {
			t.Errorf("%d records for two regions", got)
		}
		if _, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "noreply@mail.example.org"); sender.KindOf(err) != sender.Refused {
			t.Errorf("address of an unproven domain: %v", err)
		}
		h.publish(d, dnscheck.Ownership, dnscheck.DKIM, dnscheck.SPF)
		d, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range d.Facets {
			if want := f.Purpose != dnscheck.Environment; (f.Status == sender.Verified) != want {
				t.Errorf("%s %s is %s after publishing", f.Purpose, f.Region, f.Status)
			}
		}
		a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "NoReply@mail.example.org")
		if err != nil || a.Status != sender.Pending || a.Spelling != "NoReply@mail.example.org" {
			t.Fatalf("%+v %v", a, err)
		}
		if again, created, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "noreply@MAIL.example.org"); err != nil || created || again.ID != a.ID {
			t.Errorf("the same address again: %+v created=%t %v", again, created, err)
		}
		if _, err := h.send("noreply@mail.example.org"); sender.KindOf(err) != sender.Refused {
			t.Errorf("sending from a pending address: %v", err)
		}
		if a, err = h.ActivateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID, strings.ToUpper(h.code())+" "); err != nil || a.Status != sender.Verified {
			t.Fatalf("%+v %v", a, err)
		}
		m, err := h.send("noreply@mail.example.org")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m = h.state(m); m.State != sender.Sent || m.Attempts != 1 {
			t.Errorf("message is %s after %d attempts: %s", m.State, m.Attempts, m.Reason)
		}
		all := h.way.attempts()
		last := all[len(all)-1]
		if last.Decision.Selector != d.Tokens.Regions[0].DKIM[0] || !strings.Contains(last.signed, "d=mail.example.org") {
			t.Errorf("signed as %+v:\n%s", last.Decision, last.signed)
		}
	})
}

func TestServfailForAWeekChangesNothing(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.activeAddress(d, "noreply@example.org")
		h.dns.Fail("", "", dnstest.Servfail)
		for range 7 {
			time.Sleep(24 * time.Hour)
			if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Verified {
				t.Fatalf("after %s of SERVFAIL: %s", time.Since(d.CreatedAt), got)
			}
		}
		if got := h.events(sender.EventFacetLapsing, sender.EventFacetLapsed, sender.EventDomainProofLost); len(got) != 0 {
			t.Errorf("events of loss: %q", got)
		}
		if h.dns.Queries("_postseal.example.org", "TXT") < 7*24 {
			t.Error("nobody asked: the test proves nothing")
		}
		if _, err := h.send("noreply@example.org"); err != nil {
			t.Errorf("sending after the week: %v", err)
		}
	})
}

func TestLostOwnershipRefusesAtDispatchAfterTheGrace(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.activeAddress(d, "noreply@example.org")
		h.withdraw(d, dnscheck.Ownership)
		gone := time.Now()
		for h.status(d, dnscheck.Ownership, "r1") != sender.Lapsing { // found by the daily look
			time.Sleep(time.Minute)
		}
		if time.Since(gone) > 28*time.Hour {
			t.Errorf("the absence was noticed after %s", time.Since(gone))
		}
		seen := time.Now()
		time.Sleep(71 * time.Hour)
		h.way.script(slices.Repeat([]sender.DeliveryOutcome{sender.TempFailed}, 40)...)
		m, err := h.send("noreply@example.org")
		if err != nil {
			t.Fatalf("within the grace: %v", err)
		}
		for h.status(d, dnscheck.Ownership, "r1") == sender.Lapsing {
			time.Sleep(time.Minute)
		}
		if took := time.Since(seen); took < 72*time.Hour || took > 74*time.Hour {
			t.Errorf("lost after %s", took)
		}
		time.Sleep(time.Hour)
		if m = h.state(m); m.State != sender.MessageRefused || m.Reason != string(sender.ProofLost) || m.Attempts == 0 {
			t.Errorf("the accepted message is %s, %q after %d attempts", m.State, m.Reason, m.Attempts)
		}
		if _, err := h.send("noreply@example.org"); sender.KindOf(err) != sender.Refused {
			t.Errorf("a new message: %v", err)
		}
		want := []string{
			"domain.record.lapsing r1 start", "domain.record.lapsing r2 start", "domain.record.lapsing r1 half", "domain.record.lapsing r2 half",
			"domain.record.lapsed r1", "domain.record.lapsed r2", "domain.proof-lost",
		}
		if got := h.events(sender.EventFacetLapsing, sender.EventFacetLapsed, sender.EventDomainProofLost); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}

		h.publish(d, dnscheck.Ownership) // within 30 days the same tokens count
		time.Sleep(26 * time.Hour)
		if _, err := h.send("noreply@example.org"); err != nil {
			t.Errorf("after the records came back: %v", err)
		}
	})
}

func TestLapsedTokensAreReplacedAfterThirtyDays(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.withdraw(d, dnscheck.Ownership)
		time.Sleep(36 * 24 * time.Hour)
		h.publish(d, dnscheck.Ownership) // with the old tokens
		time.Sleep(2 * 24 * time.Hour)
		now, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		f := now.Facet(dnscheck.Ownership, "r1")
		if f.Status != sender.Pending || f.Epoch != 1 || now.Tokens.Regions[0].Ownership == d.Tokens.Regions[0].Ownership {
			t.Errorf("%+v with token %q, before %q", f, now.Tokens.Regions[0].Ownership, d.Tokens.Regions[0].Ownership)
		}
		h.publish(now, dnscheck.Ownership)
		time.Sleep(2 * time.Second)
		if now, err = h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID); err != nil || !now.Proven() {
			t.Errorf("with the new tokens: proven=%t %v", now.Proven(), err)
		}
	})
}

func TestClientsCheckNeverWorsens(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.withdraw(d, dnscheck.Ownership)
		for range 100 {
			time.Sleep(2 * time.Second)
			if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Verified {
			t.Errorf("after 100 reads: %s", got)
		}
	})
}

func TestReadingOftenDoesNotPutOffTheLoss(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.withdraw(d, dnscheck.Ownership)
		for began := time.Now(); time.Since(began) < 5*24*time.Hour; time.Sleep(10 * time.Minute) {
			if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Lapsed {
			t.Errorf("gone for five days and read every ten minutes: %s", got)
		}
	})
}

func TestFreshAnswersComeFromTheStore(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		for range 50 {
			if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID, dnscheck.Ownership); err != nil {
				t.Fatal(err)
			}
		}
		if n := h.dns.Queries("_postseal.example.org", "TXT"); n > 4 {
			t.Errorf("50 reads at once asked the DNS %d times", n)
		}
	})
}

func TestSilentDNSAnswersFromTheStoreInTime(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		h.dns.Fail("", "", dnstest.Drop)
		began := time.Now()
		if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the read took %s", took)
		}
	})
}

func TestCodeRules(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "a@example.org")
		if err != nil {
			t.Fatal(err)
		}
		try := func(code string) error {
			_, err := h.ActivateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID, code)
			return err
		}
		resend := func() error {
			_, err := h.ResendCode(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID)
			return err
		}
		first := h.code()
		if err := resend(); sender.KindOf(err) != sender.TooSoon {
			t.Errorf("resend at once: %v", err)
		}
		time.Sleep(time.Minute)
		if err := resend(); err != nil {
			t.Fatal(err)
		}
		second := h.code()
		if err := try(first); sender.KindOf(err) != sender.WrongCode {
			t.Errorf("the replaced code: %v", err)
		}
		for range 4 {
			if err := try("zzzzzzzz"); sender.KindOf(err) != sender.WrongCode {
				t.Errorf("a wrong code: %v", err)
			}
		}
		if err := try(second); sender.KindOf(err) != sender.WrongCode {
			t.Errorf("the right code after five wrong ones: %v", err)
		}
		time.Sleep(time.Minute)
		if err := resend(); err != nil {
			t.Fatal(err)
		}
		third := h.code()
		time.Sleep(24 * time.Hour)
		if err := try(third); sender.KindOf(err) != sender.WrongCode {
			t.Errorf("a code after its 24 hours: %v", err)
		}
		sentToday := 0
		for range 15 {
			if resend() == nil {
				sentToday++
			}
			time.Sleep(time.Minute)
		}
		if sentToday < 10 || sentToday > 11 {
			t.Errorf("%d codes were sent in a day", sentToday)
		}
		if err := try(h.code()); err != nil {
			t.Errorf("the newest code: %v", err)
		}
		if err := resend(); sender.KindOf(err) != sender.Invalid {
			t.Errorf("resend on an active address: %v", err)
		}
	})
}

func TestRecipientIsNotBuriedByManyTenants(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		sentMails := 0
		for i := range 30 {
			tenant, admin := h.newTenant(strings.Repeat("t", i+1))
			d, err := h.CreateDomain(t.Context(), admin, tenant.ID, "victim.example.org")
			if err != nil {
				t.Fatal(err)
			}
			h.publish(d, dnscheck.Ownership)
			if _, err = h.CheckDomain(t.Context(), admin, tenant.ID, d.ID); err != nil {
				t.Fatal(err)
			}
			_, _, err = h.CreateAddress(t.Context(), admin, tenant.ID, d.ID, "victim@victim.example.org")
			switch {
			case err == nil:
				sentMails++
			case sender.KindOf(err) != sender.TooSoon:
				t.Fatal(err)
			}
		}
		if want := sender.DefaultSettings().Code.PerRecipient; sentMails != want {
			t.Errorf("%d mails to one mailbox in a day, want %d", sentMails, want)
		}
	})
}

func TestRetriesBackOffUntilTheMessageExpires(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.activeAddress(d, "noreply@example.org")
		h.way.script(slices.Repeat([]sender.DeliveryOutcome{sender.TempFailed}, 1000)...)
		m, err := h.send("noreply@example.org")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if m = h.state(m); m.State != sender.Queued || m.Attempts < 8 || m.Attempts > 20 {
			t.Errorf("after an hour of 451: %s after %d attempts", m.State, m.Attempts)
		}
		h.way.script()
		time.Sleep(20 * time.Minute)
		if m = h.state(m); m.State != sender.Sent {
			t.Errorf("after the relay came back: %s", m.State)
		}

		h.way.script(slices.Repeat([]sender.DeliveryOutcome{sender.TempFailed}, 1000)...)
		if m, err = h.send("noreply@example.org"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		if m = h.state(m); m.State != sender.MessageExpired {
			t.Errorf("after 25 hours of 451: %s", m.State)
		}
	})
}

func TestOutcomeInDoubtIsReportedAndTriedAgain(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.activeAddress(d, "noreply@example.org")
		h.way.script(sender.InDoubt)
		m, err := h.send("noreply@example.org")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if m = h.state(m); m.State != sender.Sent || m.InDoubt != 1 || m.Attempts != 2 {
			t.Errorf("%s, %d in doubt, %d attempts", m.State, m.InDoubt, m.Attempts)
		}
		if got := h.events(sender.EventMessageInDoubt); len(got) != 1 {
			t.Errorf("events in doubt: %q", got)
		}
	})
}

func TestDeletedAddressStopsQueuedMail(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		a := h.activeAddress(d, "noreply@example.org")
		h.way.script(sender.TempFailed)
		m, err := h.send("noreply@example.org")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := h.DeleteDomain(t.Context(), h.admin, h.tenant.ID, d.ID); sender.KindOf(err) != sender.InUse {
			t.Errorf("deleting a domain with addresses: %v", err)
		}
		if err := h.DeleteAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if m = h.state(m); m.State != sender.MessageRefused || m.Reason != string(sender.AddressNotProven) {
			t.Errorf("%s %s", m.State, m.Reason)
		}
	})
}

func TestAnotherTenantsThingsDoNotExist(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		a := h.activeAddress(d, "noreply@example.org")
		m, err := h.send("noreply@example.org")
		if err != nil {
			t.Fatal(err)
		}
		other, stranger := h.newTenant("second")
		ctx := t.Context()
		for name, call := range map[string]func(tenant sender.ID) error{
			"domain":   func(id sender.ID) error { _, err := h.Domain(ctx, stranger, id, d.ID); return err },
			"check":    func(id sender.ID) error { _, err := h.CheckDomain(ctx, stranger, id, d.ID); return err },
			"findings": func(id sender.ID) error { _, _, err := h.Findings(ctx, stranger, id, d.ID); return err },
			"delete":   func(id sender.ID) error { return h.DeleteDomain(ctx, stranger, id, d.ID) },
			"address":  func(id sender.ID) error { _, err := h.Address(ctx, stranger, id, d.ID, a.ID); return err },
			"create": func(id sender.ID) error {
				_, _, err := h.CreateAddress(ctx, stranger, id, d.ID, "x@example.org")
				return err
			},
			"resend":   func(id sender.ID) error { _, err := h.ResendCode(ctx, stranger, id, d.ID, a.ID); return err },
			"activate": func(id sender.ID) error { _, err := h.ActivateAddress(ctx, stranger, id, d.ID, a.ID, "x"); return err },
			"remove":   func(id sender.ID) error { return h.DeleteAddress(ctx, stranger, id, d.ID, a.ID) },
			"message":  func(id sender.ID) error { _, _, err := h.Message(ctx, stranger, id, m.ID); return err },
		} {
			for whose, tenant := range map[string]sender.ID{"the owner's": h.tenant.ID, "their own": other.ID} {
				if err := call(tenant); sender.KindOf(err) != sender.NotFound {
					t.Errorf("%s through %s tenant: %v", name, whose, err)
				}
			}
		}
		if _, _, err := h.Send(ctx, stranger, other.ID, sender.NewMessage{
			From: sender.Mailbox{Address: "noreply@example.org"}, To: sender.Mailbox{Address: "r@example.net"}, Subject: "s", Text: "t",
		}); sender.KindOf(err) != sender.Refused {
			t.Errorf("sending from another tenant's address: %v", err)
		}
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Verified {
			t.Errorf("afterwards the domain is %s", got)
		}
	})
}

func TestReservedAndImpossibleDomainsAreRefused(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		for name, kind := range map[string]sender.Kind{
			"": sender.Required, "mail.postseal.test": sender.Invalid, "x.mail.postseal.test": sender.Invalid, "*.example.org": sender.Invalid,
			"192.0.2.1": sender.Invalid, "localhost": sender.Invalid, "co.uk": sender.Invalid, "example.org": "", "EXAMPLE.org.": sender.Conflict,
		} {
			if name == "EXAMPLE.org." {
				continue // order matters; below
			}
			if _, err := h.CreateDomain(t.Context(), h.admin, h.tenant.ID, name); sender.KindOf(err) != kind {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := h.CreateDomain(t.Context(), h.admin, h.tenant.ID, "EXAMPLE.org."); sender.KindOf(err) != sender.Conflict {
			t.Errorf("another spelling: %v", err)
		}
	})
}

func TestRepeatedIdempotencyKeyMakesOneMessage(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.activeAddress(d, "noreply@example.org")
		before := len(h.way.attempts())
		n := sender.NewMessage{
			From: sender.Mailbox{Address: "noreply@example.org"}, To: sender.Mailbox{Address: "r@example.net"}, Subject: "s", Text: "t",
			IdempotencyKey: "k", RequestHash: "one",
		}
		ids := make([]sender.ID, 20)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				m, _, err := h.Send(t.Context(), h.admin, h.tenant.ID, n)
				if err != nil {
					t.Error(err)
				}
				ids[i] = m.ID
			})
		}
		wg.Wait()
		synctest.Wait()
		if slices.Sort(ids); ids[0] != ids[len(ids)-1] {
			t.Errorf("one key made several messages: %q", ids)
		}
		if got := len(h.way.attempts()) - before; got != 1 {
			t.Errorf("%d mails were sent", got)
		}
		n.RequestHash = "two"
		if _, _, err := h.Send(t.Context(), h.admin, h.tenant.ID, n); sender.KindOf(err) != sender.Conflict {
			t.Errorf("another request under the same key: %v", err)
		}
	})
}
