package sender_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/sender"
)

func TestJourney(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("Mail.Example.ORG")
		if d.Spelling != "Mail.Example.ORG" || d.Name.String() != "mail.example.org" {
			t.Errorf("spelling %q, name %q", d.Spelling, d.Name)
		}
		if got := len(h.Records(d)); got != 2+1+6+1 {
			t.Errorf("%d records for two regions", got)
		}
		if _, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "noreply@mail.example.org", true); sender.KindOf(err) != sender.Refused {
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
		a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "NoReply@mail.example.org", true)
		if err != nil || a.Status != sender.Pending || a.Spelling != "NoReply@mail.example.org" {
			t.Fatalf("%+v %v", a, err)
		}
		if again, created, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "noreply@MAIL.example.org", true); err != nil || created || again.ID != a.ID {
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
		if h.dns.Queries("_postseal.example.org", "TXT") < 7*12 {
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

func TestTokensThatLapsedLongAgoAreReplaced(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.withdraw(d, dnscheck.Ownership)
		time.Sleep(36 * time.Hour)
		h.publish(d, dnscheck.Ownership) // with the old tokens
		time.Sleep(12 * time.Hour)
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
	}, hurried)
}

// hurried has days for what else takes weeks.
func hurried(set *sender.Settings) {
	set.Verify.VerifiedEvery, set.Verify.Grace, set.Verify.KeepTokens = 6*time.Hour, 8*time.Hour, 12*time.Hour
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
		for began := time.Now(); time.Since(began) < 5*24*time.Hour; time.Sleep(time.Hour) {
			if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Lapsed {
			t.Errorf("gone for five days and read every hour: %s", got)
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
		a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "a@example.org", true)
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
		if err := try(second); sender.KindOf(err) != sender.NoMoreTries {
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
			_, _, err = h.CreateAddress(t.Context(), admin, tenant.ID, d.ID, "victim@victim.example.org", true)
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
		if err := h.DeleteDomain(t.Context(), h.admin, h.tenant.ID, d.ID, false); sender.KindOf(err) != sender.InUse {
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
			"delete":   func(id sender.ID) error { return h.DeleteDomain(ctx, stranger, id, d.ID, false) },
			"address":  func(id sender.ID) error { _, err := h.Address(ctx, stranger, id, d.ID, a.ID); return err },
			"create": func(id sender.ID) error {
				_, _, err := h.CreateAddress(ctx, stranger, id, d.ID, "x@example.org", true)
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
		for _, c := range []struct {
			name string
			kind sender.Kind
		}{
			{"", sender.Required}, {"mail.postseal.test", sender.Invalid}, {"x.mail.postseal.test", sender.Invalid}, {"*.example.org", sender.Invalid},
			{"192.0.2.1", sender.Invalid}, {"localhost", sender.Invalid}, {"co.uk", sender.Invalid}, {"example.org", ""}, {"EXAMPLE.org.", sender.Conflict},
		} {
			if _, err := h.CreateDomain(t.Context(), h.admin, h.tenant.ID, c.name); sender.KindOf(err) != c.kind || (err == nil) != (c.kind == "") {
				t.Errorf("%q: %v", c.name, err)
			}
		}
	}, func(set *sender.Settings) { set.ReservedDomain = "Mail.Postseal.TEST." }) // as the operator spells it
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
