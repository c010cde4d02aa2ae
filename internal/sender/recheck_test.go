package sender_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// crawling is a checker to which the servers of some domains take as long as they may.
type crawling struct{ sender.Checker }

func (c crawling) Look(ctx context.Context, domain dnscheck.Name, want []dnscheck.Record, care dnscheck.Care) []dnscheck.Finding {
	if strings.HasPrefix(domain.String(), "slow") {
		time.Sleep(20 * time.Second)
	}
	return c.Checker.Look(ctx, domain, want, care)
}

// Who falls due while others are looked at does not wait for the slowest of them.
func TestSlowDomainsKeepNobodyWaiting(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.config.Checker = crawling{h.checks}
		node := h.node()
		for i := range 10 {
			h.makeDue(h.domain(fmt.Sprintf("slow%d.test", i)))
		}
		d := h.domain("example.org")
		var began, ended time.Time
		looks := make(chan int)
		go func() {
			began = time.Now()
			n, err := node.RecheckDue(t.Context(), 500)
			if err != nil {
				t.Error(err)
			}
			ended = time.Now()
			looks <- n
		}()
		time.Sleep(time.Second)
		h.publish(d, dnscheck.Ownership)
		h.makeDue(d)
		time.Sleep(2 * time.Second)
		if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Verified {
			t.Errorf("ownership is %s two seconds after the domain was due", got)
		}
		if n := <-looks; n < 11 || ended.Sub(began) > 2*time.Minute {
			t.Errorf("%d looks in %s", n, ended.Sub(began))
		}
	})
}

// A run ends in its time although somebody is always slow, with no look cut off.
func TestRecheckEndsThoughSomebodyIsAlwaysSlow(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.config.Checker = crawling{h.checks}
		node := h.node()
		slow := h.domain("slow.test")
		h.makeDue(slow)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for {
				select {
				case <-time.After(5 * time.Second):
					h.makeDue(slow)
				case <-ctx.Done():
					return
				}
			}
		}()
		began := time.Now()
		if _, err := node.RecheckDue(t.Context(), 500); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 20*time.Second || took > 100*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// The clock was ahead for a moment, in which everything was looked at. When it is right
// again, nothing waits for that time to come.
func TestClockThatWasAheadLeavesNobodyUnwatched(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		verified := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		pending := h.domain("example.net")
		time.Sleep(2 * time.Hour)
		ahead := time.Now().Add(30 * 24 * time.Hour)
		for _, d := range []sender.Domain{verified, pending} {
			h.change(d, func(d *sender.Domain) {
				d.NextCheck = ahead.Add(24 * time.Hour)
				for i := range d.Facets {
					d.Facets[i].CheckedAt = ahead
				}
			})
		}
		h.publish(pending, dnscheck.Ownership)
		time.Sleep(2 * time.Second) // the background may have looked in this very moment
		if d, err := h.CheckDomain(t.Context(), h.admin, h.tenant.ID, pending.ID, dnscheck.Ownership); err != nil || !d.Proven() {
			t.Errorf("who reads sees what was before, %v", err)
		}
		h.withdraw(verified, dnscheck.Ownership)
		time.Sleep(3 * time.Hour)
		if got := h.status(verified, dnscheck.Ownership, "r1"); got != sender.Lapsing {
			t.Errorf("ownership is %s three hours after it is gone", got)
		}
	})
}
