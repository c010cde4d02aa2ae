package sender_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func (h *harness) mailFrom(d sender.Domain, name string, on sender.MailFromFallback) sender.Domain {
	h.Helper()
	d, err := h.SetMailFrom(h.Context(), h.admin, h.tenant.ID, d.ID, sender.NewMailFrom{Name: name, OnFailure: on})
	if err != nil {
		h.Fatal(err)
	}
	return d
}

func (h *harness) publishMailFrom(d sender.Domain) {
	for _, r := range h.Records(d) {
		switch r.Purpose {
		case dnscheck.MailFromMX:
			h.dns.Add(r.Name.String() + ". 60 IN MX 10 " + r.Value + ".")
		case dnscheck.MailFromSPF:
			h.dns.Add(r.Name.String() + `. 60 IN TXT "` + r.Value + `"`)
		}
	}
}

func TestMailFromMustBeANameOfTheOwnersForNothingElse(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.domain("taken.example.org")
		other := h.domain("people.example.org", dnscheck.Ownership)
		h.activeAddress(other, "a@people.example.org")
		h.dns.Add("mx.example.org. 60 IN MX 10 mail.elsewhere.example.")
		for name, want := range map[string]string{
			"": "required mailFrom", "example.org": "invalid mailFrom", "bounce.example.com": "invalid mailFrom", "notexample.org": "invalid mailFrom",
			"*.example.org": "invalid mailFrom", strings.Repeat("a23456789.", 20) + "example.org": "invalid mailFrom",
			"taken.example.org": "in-use mailFrom", "people.example.org": "in-use mailFrom", "mx.example.org": "in-use mailFrom",
		} {
			_, err := h.SetMailFrom(t.Context(), h.admin, h.tenant.ID, d.ID, sender.NewMailFrom{Name: name})
			if got := kindAndField(err); got != want {
				t.Errorf("%q: %s, want %s (%v)", name, got, want, err)
			}
		}
		fresh := h.domain("fresh.example")
		_, err := h.SetMailFrom(t.Context(), h.admin, h.tenant.ID, fresh.ID, sender.NewMailFrom{Name: "b.fresh.example", DemandOwnership: true})
		if kindAndField(err) != "refused mailFrom" {
			t.Errorf("before the ownership is proven: %v", err)
		}
		if _, err := h.ClearMailFrom(t.Context(), h.admin, h.tenant.ID, d.ID); sender.KindOf(err) != sender.NotFound {
			t.Errorf("cleared where there was none: %v", err)
		}
	})
}

func TestMailLeavesWithTheMailFromWhileItsRecordsAreThere(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM, dnscheck.SPF)
		h.activeAddress(d, "shop@example.org")
		reversePath := func() (dnscheck.Name, sender.Note) {
			t.Helper()
			e, err := h.Explain(t.Context(), h.admin, h.tenant.ID, "shop@example.org", "")
			if err != nil || !e.Allow {
				t.Fatal(e, err)
			}
			m, err := h.send("shop@example.org")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := h.state(m); got.State != sender.Sent {
				t.Fatalf("the mail is %s: %s", got.State, got.Reason)
			}
			all := h.way.attempts()
			return all[len(all)-1].Decision.MailFrom, e.Note
		}
		if from, note := reversePath(); !from.IsZero() || note != "" {
			t.Errorf("without one: %s, %q", from, note)
		}
		d = h.mailFrom(d, "Bounce.Example.org", "")
		if d.MailFrom.Spelling != "Bounce.Example.org" || d.SPFPurpose() != dnscheck.MailFromSPF {
			t.Errorf("set: %+v", d.MailFrom)
		}
		if from, note := reversePath(); !from.IsZero() || note != sender.NoteMailFromNotThere {
			t.Errorf("before its records: %s, %q", from, note)
		}
		h.publishMailFrom(d)
		d, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID)
		if err != nil || d.Facet(dnscheck.MailFromMX, "").Status != sender.Verified || d.Facet(dnscheck.MailFromSPF, "").Status != sender.Verified {
			t.Fatal(d.Facets, err)
		}
		if from, note := reversePath(); from.String() != "bounce.example.org" || note != "" {
			t.Errorf("with its records: %s, %q", from, note)
		}
		// The MX goes, and its grace passes: the default is used again, and the domain stays proven.
		h.dns.Remove("bounce.example.org", "MX")
		time.Sleep(80 * time.Hour)
		synctest.Wait()
		if from, note := reversePath(); !from.IsZero() || note != sender.NoteMailFromNotThere {
			t.Errorf("without its MX: %s, %q", from, note)
		}
		h.mailFrom(d, "bounce.example.org", sender.RejectMail)
		if _, err := h.send("shop@example.org"); kindAndField(err) != "refused from" {
			t.Errorf("where the domain says so: %v", err)
		}
		d, err = h.ClearMailFrom(t.Context(), h.admin, h.tenant.ID, d.ID)
		if err != nil || d.SPFPurpose() != dnscheck.SPF {
			t.Fatal(d.MailFrom, err)
		}
		if from, note := reversePath(); !from.IsZero() || note != "" {
			t.Errorf("cleared: %s, %q", from, note)
		}
	})
}

func (h *harness) standing() sender.Standing {
	h.Helper()
	all, n, err := h.Senders(h.Context(), h.admin, h.tenant.ID, sender.Query{Limit: 10, Count: true})
	if err != nil || len(all) != 1 || n != 1 {
		h.Fatal(all, n, err)
	}
	return all[0]
}

func TestDomainsProofCountsForSendersWhileItLasts(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		create := func() sender.Standing {
			t.Helper()
			st, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "Shop@Mail.example.org")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return st
		}
		if st := create(); st.Worth != sender.Pending || st.Spelling != "Shop@Mail.example.org" {
			t.Errorf("without a domain: %+v", st)
		}
		if again := create(); again.ID != h.standing().ID || len(h.way.attempts()) != 1 {
			t.Errorf("repeated at once: %d mails", len(h.way.attempts()))
		}
		if _, err := h.send("shop@mail.example.org"); kindAndField(err) != "refused from" {
			t.Errorf("sent while pending: %v", err)
		}
		// Its domain above is proven: no mail, and it may send.
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		if st := h.standing(); st.Worth != sender.Verified || !st.ThroughIt {
			t.Errorf("with the domain proven: %+v", st)
		}
		if _, err := h.send("shop@mail.example.org"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		all := h.way.attempts()
		if len(all) != 2 || all[1].Decision.SDID.String() != "example.org" {
			t.Errorf("%d mails, signed by %s", len(all), all[len(all)-1].Decision.SDID)
		}
		// The proof is lost: the mailbox itself was never confirmed.
		h.withdraw(d, dnscheck.Ownership, dnscheck.DKIM)
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if st := h.standing(); st.Worth != sender.Pending || st.ThroughIt {
			t.Errorf("with the proof lost: %+v", st)
		}
		if _, err := h.send("shop@mail.example.org"); err == nil || err.(*sender.Error).Reason != sender.ProofLost {
			t.Errorf("sent with the proof lost: %v", err)
		}
		// It is created again, and its mailbox gets a code.
		if st := create(); st.Worth != sender.Pending || len(h.way.attempts()) != 3 {
			t.Errorf("created again: %+v, %d mails", st, len(h.way.attempts()))
		}
		if err := h.DeleteSender(t.Context(), h.admin, h.tenant.ID, h.standing().ID); err != nil {
			t.Error(err)
		}
		if err := h.DeleteSender(t.Context(), h.admin, h.tenant.ID, sender.NewID()); sender.KindOf(err) != sender.NotFound {
			t.Errorf("deleted what is not there: %v", err)
		}
	})
}

func TestAddressMadeByAnotherDialectKeepsItsCode(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "shop@example.org", true)
		if err != nil {
			t.Fatal(err)
		}
		if st := h.standing(); st.Worth != sender.Pending {
			t.Errorf("the domain's proof counts for an address that does not accept it: %+v", st)
		}
		code := h.code()
		st, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "SHOP@example.org")
		if err != nil || st.ID != a.ID || st.Worth != sender.Verified || !st.ThroughIt || st.Spelling != "shop@example.org" {
			t.Errorf("registered by itself, too: %+v, %v", st, err)
		}
		if _, err := h.ActivateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID, code); err != nil {
			t.Error(err)
		}
		if st := h.standing(); st.Worth != sender.Verified || st.ThroughIt {
			t.Errorf("confirmed by its code: %+v", st)
		}
	})
}

func TestBouncedVerificationMailIsAFailure(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.way.script(sender.PermFailed)
		if _, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "nobody@example.org"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if st := h.standing(); st.Worth != sender.Failed {
			t.Errorf("after its mail was refused for good: %+v", st)
		}
		time.Sleep(time.Hour)
		st, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "nobody@example.org")
		if err != nil || st.Worth != sender.Pending {
			t.Errorf("created again: %+v, %v", st, err)
		}
	})
}

func TestLossOfTheEnvironmentRecordTurnsSendersBack(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Environment)
		st, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "shop@example.org")
		if err != nil || st.Worth != sender.Verified || !st.ThroughIt {
			t.Fatal(st, err)
		}
		h.withdraw(d, dnscheck.Environment)
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if st := h.standing(); st.Worth != sender.Pending || st.ThroughIt {
			t.Errorf("after the record was lost: %+v", st)
		}
	})
}

func TestUnprovenSubdomainTakesNothingAway(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		if _, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "a@deep.mail.example.org"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"deep.mail.example.org", "mail.example.org"} {
			h.domain(name)
			if st := h.standing(); st.Worth != sender.Verified || !st.ThroughIt {
				t.Errorf("after %s was registered: %+v", name, st)
			}
		}
		if _, err := h.send("a@deep.mail.example.org"); err != nil {
			t.Error(err)
		}
	})
}

func TestSendersHaveLimits(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		create := func(address string) error {
			_, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, address)
			return err
		}
		if got := kindAndField(create("security@bounce.mail.postseal.test")); got != "invalid emailAddress" {
			t.Errorf("an address of the service: %s", got)
		}
		made := 0
		for i := 0; create(fmt.Sprintf("a@x%d.victim.example", i)) == nil && i < 300; i++ {
			made++
		}
		if got := kindAndField(create("a@y.victim.example")); made != 200 || got != "too-soon emailAddress" {
			t.Errorf("%d mails to one organization in a day, then %s", made, got)
		}
		for i := range 300 {
			if err := create(fmt.Sprintf("a@b%d.example", i)); err != nil {
				t.Fatal(i, err)
			}
		}
		if got := kindAndField(create("a@c.example")); got != "limit emailAddress" {
			t.Errorf("the address after the tenant's 500: %s", got)
		}
	})
}

func TestSendersAreFoundAsTheyWereSent(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		if _, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "Info@münchen.example"); err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{"info@münchen.example", "INFO@MÜNCHEN.example", "info@xn--mnchen-3ya.example"} {
			q := sender.Query{Limit: 10, Where: &sender.Expr{Op: sender.Eq, Field: "email", Values: []sender.Value{{Text: form}}}}
			if all, _, err := h.Senders(t.Context(), h.admin, h.tenant.ID, q); err != nil || len(all) != 1 {
				t.Errorf("%s: %d found, %v", form, len(all), err)
			}
		}
	})
}

func TestNameOfAMailFromDomainIsForNothingElse(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.mailFrom(h.domain("example.org", dnscheck.Ownership, dnscheck.SPF), "bounce.example.org", "")
		if _, err := h.CreateDomain(t.Context(), h.admin, h.tenant.ID, "Bounce.example.org"); kindAndField(err) != "in-use domainName" {
			t.Errorf("registered as a domain: %v", err)
		}
		if _, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "a@bounce.example.org"); kindAndField(err) != "in-use emailAddress" {
			t.Errorf("registered as a sender's: %v", err)
		}
		h.mailFrom(d, "bounce.example.org", sender.RejectMail) // the same again
		_, c, err := h.Findings(t.Context(), h.admin, h.tenant.ID, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range c.Findings {
			if f.Purpose == dnscheck.SPF {
				t.Error("what was seen of a record that is not wanted any more is still told")
			}
		}
	})
}
