package sender_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/sender"
)

// leftovers returns name and sentence of what is listed.
func (h *harness) leftovers() (lines []string) {
	h.Helper()
	xs, err := h.Leftovers(h.Context(), h.admin, h.tenant.ID, sender.Page{})
	if err != nil {
		h.Fatal(err)
	}
	for _, x := range xs {
		for _, l := range x.Records {
			lines = append(lines, x.Spelling+": "+l.Remove())
		}
	}
	return lines
}

func (h *harness) remove(d sender.Domain) {
	h.Helper()
	if err := h.DeleteDomain(h.Context(), h.admin, h.tenant.ID, d.ID, true); err != nil {
		h.Fatal(err)
	}
}

// watch lets a day go by and looks for what is left over, as the periodic work does.
func (h *harness) watch() int {
	h.Helper()
	time.Sleep(27 * time.Hour)
	n, err := h.WatchLeftovers(h.Context(), 10)
	if err != nil {
		h.Fatal(err)
	}
	return n
}

func TestLeftoversAreListedUntilTheyAreGone(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.SPF)
		h.remove(d)
		if got := h.leftovers(); len(got) != 3 || !strings.Contains(got[0], `Remove the TXT record "`) || !strings.Contains(got[2], "Take include:_spf.mail.postseal.test out of the SPF record at example.org") {
			t.Errorf("at once: %q", got)
		}
		if n := h.watch(); n != 1 || len(h.leftovers()) != 3 {
			t.Errorf("%d looked at, left over %q", n, h.leftovers())
		}
		h.withdraw(d, dnscheck.Ownership)
		h.dns.Remove("example.org", "TXT")
		h.dns.Add(`example.org. 60 IN TXT "v=spf1 include:elsewhere.example include:_spf.mail.postseal.test -all"`)
		h.watch()
		if got := h.leftovers(); len(got) != 1 || !strings.Contains(got[0], "include:_spf") {
			t.Errorf("one of them is gone: %q", got)
		}
		h.dns.Remove("example.org", "TXT")
		if n := h.watch(); n != 1 || len(h.leftovers()) != 0 {
			t.Errorf("%d looked at, left over %q", n, h.leftovers())
		}
		if n := h.watch(); n != 0 {
			t.Errorf("%d are still looked for", n)
		}
	})
}

// Where the DNS says nothing, what was known stays.
func TestSilentServersHideNoLeftovers(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.DKIM)
		h.remove(d)
		before := len(h.leftovers())
		h.dns.Fail("", "", dnstest.Servfail)
		h.watch()
		if got := h.leftovers(); before == 0 || len(got) != before {
			t.Errorf("%d left over, then %q", before, got)
		}
		h.dns.Heal("", "")
		h.withdraw(d, dnscheck.DKIM)
		h.watch()
		if got := h.leftovers(); len(got) != 0 {
			t.Errorf("left over %q", got)
		}
	})
}

func TestLeftoversAreLookedForThirtyDays(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.remove(h.domain("example.org", dnscheck.Ownership))
		looks := 0
		for range 40 {
			looks += h.watch()
		}
		if got := h.leftovers(); len(got) != 0 || looks < 25 || looks > 32 {
			t.Errorf("after %d looks: %q", looks, got)
		}
	})
}

// A domain that is registered again asks for its SPF record itself.
func TestRecordsInUseAgainAreNoLeftovers(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.SPF)
		h.remove(d)
		if got := h.leftovers(); len(got) != 1 {
			t.Fatalf("left over %q", got)
		}
		h.domain("example.org")
		if got := h.leftovers(); len(got) != 0 {
			t.Errorf("left over %q", got)
		}
	})
}
