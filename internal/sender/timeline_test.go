package sender_test

import (
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// timeline returns outcomes of one purpose and region, newest first.
func (h *harness) timeline(d sender.Domain, p dnscheck.Purpose, region string) (outcomes []dnscheck.Outcome) {
	h.Helper()
	es, err := h.Timeline(h.Context(), h.admin, h.tenant.ID, d.ID, sender.Page{})
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range es {
		if e.Purpose == p && e.Region == region {
			outcomes = append(outcomes, e.Outcome)
		}
	}
	return outcomes
}

func TestTimelineGrowsOnlyWhenWhatIsSeenChanges(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		time.Sleep(40 * time.Minute) // looked at several times
		if got := h.timeline(d, dnscheck.Ownership, "r1"); len(got) != 1 || got[0] != dnscheck.Missing {
			t.Errorf("while nothing is there: %v", got)
		}
		h.publish(d, dnscheck.Ownership)
		time.Sleep(2 * time.Hour)
		h.withdraw(d, dnscheck.Ownership)
		time.Sleep(50 * time.Hour)
		got := h.timeline(d, dnscheck.Ownership, "r1")
		if len(got) != 3 || got[0] != dnscheck.Missing || got[1] != dnscheck.Match || got[2] != dnscheck.Missing {
			t.Errorf("published and withdrawn: %v", got)
		}
		all, err := h.Timeline(t.Context(), h.admin, h.tenant.ID, d.ID, sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		last := make(map[dnscheck.Name]sender.TimelineEntry)
		for _, e := range all {
			if l, ok := last[e.Name]; ok && l.Region == e.Region && l.Code == e.Code {
				t.Errorf("%s of %s is told twice in a row", e.Code, e.Name)
			}
			last[e.Name] = e
		}
	})
}

func TestTimelineIsBoundedAndForgotten(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		for i := range 110 {
			if i%2 == 0 {
				h.publish(d, dnscheck.Ownership)
			} else {
				h.withdraw(d, dnscheck.Ownership)
			}
			h.makeDue(d)
			h.recheck()
			time.Sleep(2 * time.Minute)
		}
		all, err := h.Timeline(t.Context(), h.admin, h.tenant.ID, d.ID, sender.Page{})
		if err != nil || len(all) != 200 {
			t.Errorf("%d entries, %v", len(all), err)
		}
		h.change(d, func(d *sender.Domain) { d.NextCheck = time.Time{} }) // never
		time.Sleep(91 * 24 * time.Hour)
		if err := h.ForgetEvidence(t.Context()); err != nil {
			t.Fatal(err)
		}
		if all, err = h.Timeline(t.Context(), h.admin, h.tenant.ID, d.ID, sender.Page{}); err != nil || len(all) != 0 {
			t.Errorf("after 91 days %d entries, %v", len(all), err)
		}
	})
}
