package sender_test

import (
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/sender"
)

// asked counts the questions since a place in the log, by name and type, for each of the two
// resolvers of the harness.
func (h *harness) asked(since int) map[string]int {
	n := map[string]int{}
	for _, q := range h.dns.Log()[since:] {
		n[q.Name+" "+q.Type]++
	}
	for k := range n {
		n[k] = (n[k] + 1) / 2
	}
	return n
}

// Readers of what overlaps, while the domain is written for other reasons and again at once
// after the looks: the DNS hears about each facet once.
func TestDNSIsAskedOnceAboutAFacetWithinTheWindow(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		// A resolver that denies for the first time is asked once more.
		if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, h.domain("example.net").ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		h.dns.Fail("", "", dnstest.Delay(100*time.Millisecond))
		readers := [][]dnscheck.Purpose{
			nil, {dnscheck.DKIM}, {dnscheck.Ownership, dnscheck.Environment}, {dnscheck.SPF}, {dnscheck.DKIM, dnscheck.SPF}, {dnscheck.Ownership},
			{dnscheck.DKIM}, nil, {dnscheck.SPF}, {dnscheck.Environment},
		}
		// The first window learns what is new, which is written; the second nothing.
		for window := range 2 {
			since := len(h.dns.Log())
			var reading sync.WaitGroup
			began := time.Now()
			for i := 0; time.Since(began) < 800*time.Millisecond; i++ {
				reading.Go(func() {
					if _, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID, readers[i%len(readers)]...); err != nil {
						t.Error(err)
					}
				})
				if i%7 == 0 {
					h.change(d, func(d *sender.Domain) { d.UpdatedAt = time.Now() })
				}
				time.Sleep(10 * time.Millisecond)
			}
			reading.Wait()
			asked := h.asked(since)
			if asked["_postseal.example.org TXT"] != 1 {
				t.Errorf("window %d: the record was asked for %d times: the test proves nothing", window, asked["_postseal.example.org TXT"])
			}
			for what, n := range asked {
				most := 1
				if what == "example.org TXT" { // SPF's, and a place at which to look for the ownership
					most = 2
				}
				if n > most {
					t.Errorf("window %d: %s was asked for %d times", window, what, n)
				}
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// A reader whose copy of the domain is older than the look that it need not repeat must get
// what that look found.
func TestReaderThatComesWhileALookEndsSeesItsResult(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		time.Sleep(2 * time.Second)
		h.publish(d, dnscheck.Ownership)
		h.dns.Fail("", "", dnstest.Delay(100*time.Millisecond))
		type result struct {
			status sender.Status
			err    error
		}
		seen := make(chan result, 300)
		for range cap(seen) {
			time.Sleep(time.Millisecond)
			go func() {
				d, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID, dnscheck.Ownership, dnscheck.Environment)
				seen <- result{d.Facet(dnscheck.Ownership, "r1").Status, err}
			}()
		}
		for range cap(seen) {
			if got := <-seen; got.status != sender.Verified || got.err != nil {
				t.Error(got)
			}
		}
	})
}

// A look that is under way for some does not spare another to those who want more.
func TestMoreIsLookedAtBesideALookUnderWay(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		time.Sleep(2 * time.Second)
		h.publish(d, dnscheck.Ownership, dnscheck.DKIM)
		h.dns.Fail("", "", dnstest.Delay(100*time.Millisecond))
		ended := make(chan error)
		go func() {
			_, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID, dnscheck.Ownership)
			ended <- err
		}()
		time.Sleep(50 * time.Millisecond)
		all, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID)
		if err != nil || <-ended != nil {
			t.Fatal(err)
		}
		for _, p := range []dnscheck.Purpose{dnscheck.Ownership, dnscheck.DKIM} {
			if got := all.Facet(p, "r1").Status; got != sender.Verified {
				t.Errorf("%s is %s", p, got)
			}
		}
		if n := h.dns.Queries("_postseal.example.org", "TXT"); n != 2 {
			t.Errorf("%d questions about the ownership to two resolvers", n)
		}
	})
}
