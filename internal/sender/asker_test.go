package sender_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// askers notes on whose behalf checks are made.
type askers struct {
	sender.Checker
	name string
	note func(string)
}

func (a askers) Look(ctx context.Context, domain dnscheck.Name, want []dnscheck.Record, care dnscheck.Care) []dnscheck.Finding {
	a.note(a.name)
	return a.Checker.Look(ctx, domain, want, care)
}

// A tenant that asks for its checks as often as it can must not use up what it takes to see
// that it has lost a proof, nor what others need.
func TestTenantsLooksAreApartFromThoseAtTheirProofs(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		var mu sync.Mutex
		var by []string
		note := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			by = append(by, name)
		}
		told := func() []string {
			mu.Lock()
			defer mu.Unlock()
			defer func() { by = nil }()
			return slices.Compact(slices.Sorted(slices.Values(by)))
		}
		h.config.Checker = askers{h.checks, "nobody", note}
		h.config.CheckerFor = func(tenant string, watch bool) sender.Checker {
			if watch {
				tenant = "watch " + tenant
			}
			return askers{h.checks, tenant, note}
		}
		node := h.node()
		look := func(d sender.Domain) {
			h.makeDue(d)
			if _, err := node.RecheckDue(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
		}
		d := h.domain("example.org")
		look(d)
		if by := told(); !slices.Equal(by, []string{string(h.tenant.ID)}) {
			t.Errorf("a pending domain is looked at by %q", by)
		}
		h.publish(d, dnscheck.Ownership)
		time.Sleep(time.Minute)
		if d, err := node.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID); err != nil || !d.Proven() {
			t.Error(err)
		}
		if by := told(); !slices.Equal(by, []string{string(h.tenant.ID)}) {
			t.Errorf("a client's look is made by %q", by)
		}
		h.withdraw(d, dnscheck.Ownership)
		look(d)
		if by := told(); !slices.Equal(by, []string{"watch " + string(h.tenant.ID)}) {
			t.Errorf("what may cost a proof is looked at by %q", by)
		}
	})
}
