package sender_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// recheck does the background's work now.
func (h *harness) recheck() int {
	h.Helper()
	n, err := h.RecheckDue(h.Context(), 100)
	if err != nil {
		h.Fatal(err)
	}
	return n
}

// read returns a domain as it is stored.
func (h *harness) read(d sender.Domain) sender.Domain {
	h.Helper()
	d, err := h.Domain(h.Context(), h.admin, h.tenant.ID, d.ID)
	if err != nil {
		h.Fatal(err)
	}
	return d
}

// The background asks just before the owner publishes; a client's read verifies;
// then the background's answer comes in.
func TestLookThatBeganBeforePublishingWorsensNothing(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		time.Sleep(20 * time.Second) // due
		h.checks.once(2 * time.Second)
		late := make(chan int)
		go func() { late <- h.recheck() }()
		time.Sleep(time.Second)
		h.publish(d, dnscheck.Ownership)
		if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID, dnscheck.Ownership); err != nil {
			t.Fatal(err)
		}
		if n := <-late; n != 1 {
			t.Fatalf("%d domains were due: the test proves nothing", n)
		}
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Verified {
			t.Errorf("ownership is %s", got)
		}
		if got := h.events(sender.EventFacetLapsing); len(got) != 0 {
			t.Errorf("warnings %q", got)
		}
	})
}

// A look that began before new tokens were made says nothing of them, and is not
// shown as evidence either.
func TestFindingsOfAnEarlierEpochAreDropped(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		old := h.domain("example.org", dnscheck.Ownership)
		h.change(old, func(d *sender.Domain) {
			for i, f := range d.Facets {
				if f.Purpose == dnscheck.Ownership {
					d.Facets[i].Status, d.Facets[i].Since = sender.Lapsed, time.Now().Add(-49*time.Hour)
				}
			}
			d.NextCheck = time.Now().Add(time.Hour)
		})
		time.Sleep(2 * time.Second) // what is known is not fresh
		h.checks.once(2 * time.Second)
		late := make(chan error)
		go func() {
			_, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, old.ID, dnscheck.Ownership)
			late <- err
		}()
		time.Sleep(time.Second)
		h.makeDue(old)
		h.recheck()
		if h.read(old).Facet(dnscheck.Ownership, "r1").Epoch == 0 {
			t.Error("no new tokens: the test proves nothing")
		}
		if err := <-late; err != nil {
			t.Fatal(err)
		}
		now := h.read(old)
		if f := now.Facet(dnscheck.Ownership, "r1"); f.Status != sender.Pending || now.Proven() {
			t.Errorf("%+v, proven=%t", f, now.Proven())
		}
		_, c, err := h.Findings(t.Context(), h.admin, h.tenant.ID, old.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range c.Findings {
			if f.Purpose == dnscheck.Ownership && f.Region == "r1" && f.Expected != now.Tokens.Regions[0].Ownership {
				t.Errorf("evidence about %q, which is asked for no longer", f.Expected)
			}
		}
	}, hurried)
}

// change writes a domain past all rules.
func (h *harness) change(d sender.Domain, change func(d *sender.Domain)) {
	h.Helper()
	err := h.store.Update(h.Context(), func(tx sender.Tx) error {
		d, err := tx.Domain(h.Context(), d.Tenant, d.ID)
		if err != nil {
			return err
		}
		change(&d)
		return tx.UpdateDomain(h.Context(), d)
	})
	if err != nil {
		h.Fatal(err)
	}
}

// makeDue lets the background look at a domain at once.
func (h *harness) makeDue(d sender.Domain) {
	h.Helper()
	h.change(d, func(d *sender.Domain) { d.NextCheck = time.Now() })
	time.Sleep(time.Microsecond)
}

// Who publishes everything at once may be looked at in the middle of it.
func TestOptionalRecordsThatComeAMomentLaterAreSeen(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.sweep(5*time.Second, 100)
		d := h.domain("example.org")
		time.Sleep(time.Hour)
		h.publish(d, dnscheck.Ownership, dnscheck.DKIM)
		for start := time.Now(); !h.read(d).Proven(); time.Sleep(time.Second) {
			if time.Since(start) > 10*time.Minute {
				t.Fatal("not proven")
			}
		}
		h.publish(d, dnscheck.Environment, dnscheck.SPF)
		time.Sleep(3 * time.Minute)
		for _, f := range h.read(d).Facets {
			if f.Status != sender.Verified {
				t.Errorf("%s %s is %s", f.Purpose, f.Region, f.Status)
			}
		}
		time.Sleep(time.Hour)
		if next := time.Until(h.read(d).NextCheck); next < 12*time.Hour {
			t.Errorf("the next check is in %s", next)
		}
	})
}

// The environment record is optional: a domain that does without is not watched for ever.
func TestAbsentOptionalRecordsAreNotWatchedForLong(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.sweep(5*time.Second, 100)
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		time.Sleep(15 * time.Minute)
		if next := time.Until(h.read(d).NextCheck); next < 12*time.Hour {
			t.Errorf("the next check is in %s", next)
		}
	})
}

func TestOtherProofKeepsTheDomainProven(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		if n := h.store.enqueued(sender.TaskKeys); n != 1 {
			t.Errorf("%d times the keys were asked for at the first proof", n)
		}
		h.withdraw(d, dnscheck.Ownership)
		time.Sleep(20 * time.Hour)
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Lapsed {
			t.Fatalf("ownership is %s: the test proves nothing", got)
		}
		if d := h.read(d); !d.Proven() || d.ProofLost() {
			t.Error("DKIM is there, and the domain not proven")
		}
		h.withdraw(d, dnscheck.DKIM)
		time.Sleep(20 * time.Hour)
		if d := h.read(d); !d.ProofLost() {
			t.Error("nothing is there, and the proof not lost")
		}
		if got := h.events(sender.EventDomainProven, sender.EventDomainProofLost); strings.Join(got, ",") != "domain.proven,domain.proof-lost" {
			t.Errorf("events %q", got)
		}
	}, hurried)
}

// The targets of new DKIM records must have keys before the owner publishes them.
func TestNewDKIMTokensOfAProvenDomainGetKeys(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		before := h.store.enqueued(sender.TaskKeys)
		h.withdraw(d, dnscheck.DKIM)
		time.Sleep(36 * time.Hour)
		if now := h.read(d); !now.Proven() || now.Tokens.Regions[0].DKIM[0] == d.Tokens.Regions[0].DKIM[0] {
			t.Fatal("no new tokens: the test proves nothing")
		}
		if n := h.store.enqueued(sender.TaskKeys) - before; n == 0 {
			t.Error("nobody asked for the keys of the new tokens")
		}
	}, hurried)
}

// Who finds something new about one facet again and again must not keep another from being
// looked at.
func TestReadOfOneFacetPutsOffNoOther(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		due := time.Now().Add(2 * time.Minute).UTC().Truncate(time.Microsecond)
		h.change(d, func(d *sender.Domain) {
			d.NextCheck = due
			for i := range d.Facets {
				d.Facets[i].Since = time.Now().Add(-3 * 24 * time.Hour) // looked at hourly
			}
		})
		h.dns.Add(`_postseal-env.example.org. 60 IN TXT "something else"`)
		time.Sleep(time.Minute)
		if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID, dnscheck.Environment); err != nil {
			t.Fatal(err)
		}
		if next := h.read(d).NextCheck; next.After(due) {
			t.Errorf("the next check moved from %s to %s", due, next)
		}
		if got := h.timeline(d, dnscheck.Environment, ""); len(got) != 2 {
			t.Errorf("the evidence about the environment record is %q: the test proves nothing", got)
		}
	})
}

// What a client did not ask for is not unknown.
func TestReadOfOneFacetDoesNotHurryTheOthers(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.change(d, func(d *sender.Domain) { // nothing is looked at more than daily any more
			for i := range d.Facets {
				d.Facets[i].Since = time.Now().Add(-20 * 24 * time.Hour)
			}
		})
		h.makeDue(d)
		h.recheck()
		before := h.read(d).NextCheck
		time.Sleep(2 * time.Second) // what is known is not fresh
		h.dns.Add(`_postseal-env.example.org. IN TXT "something else"`)
		if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID, dnscheck.Environment); err != nil {
			t.Fatal(err)
		}
		if after := h.read(d).NextCheck; after.Before(before.Add(-6 * time.Hour)) {
			t.Errorf("the next look comes at %s instead of %s", after, before)
		}
	})
}

func TestDomainDeletedWhileItIsChecked(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		time.Sleep(20 * time.Second)
		h.publish(d, dnscheck.Ownership)
		h.checks.once(2 * time.Second)
		late := make(chan int)
		go func() { late <- h.recheck() }()
		time.Sleep(time.Second)
		if err := h.DeleteDomain(t.Context(), h.admin, h.tenant.ID, d.ID, false); err != nil {
			t.Fatal(err)
		}
		again := h.domain("example.org")
		if n := <-late; n != 1 {
			t.Fatalf("%d domains were due: the test proves nothing", n)
		}
		if got := h.status(again, dnscheck.Ownership, "r1"); got != sender.Pending {
			t.Errorf("the domain that was registered after it is %s", got)
		}
		if got := h.events(sender.EventFacetVerified); len(got) != 0 {
			t.Errorf("events %q", got)
		}
	})
}

func TestOneMissingRecordDoesNotCostTheQuestionsOfAll(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM, dnscheck.Environment, dnscheck.SPF)
		h.withdraw(d, dnscheck.Ownership)
		time.Sleep(27 * time.Hour) // a sweep, and then some hours
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Lapsing {
			t.Fatal(got)
		}
		gone, there := h.dns.Queries("_postseal.example.org", "TXT"), h.dns.Queries("_postseal-env.example.org", "TXT")
		time.Sleep(10 * time.Hour)
		gone, there = h.dns.Queries("_postseal.example.org", "TXT")-gone, h.dns.Queries("_postseal-env.example.org", "TXT")-there
		if gone < 10 || there > 4 {
			t.Errorf("in 10 hours the missing record was asked for %d times and another %d times", gone, there)
		}
		// And no longer than a sweep are the others not looked at.
		h.withdraw(d, dnscheck.Environment)
		time.Sleep(27 * time.Hour)
		if got := h.status(d, dnscheck.Environment, ""); got != sender.Lapsing {
			t.Errorf("the environment record, gone for a sweep, is %s", got)
		}
	})
}
