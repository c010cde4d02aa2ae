package sender_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/sender"
)

// Each of these looks like the end of every domain at once.
func TestSickNetworkTakesNoProofAway(t *testing.T) {
	for name, fault := range map[string]dnstest.Fault{
		"captive portal": dnstest.NXDomain, "portal that shows itself": dnstest.Lie("portal.test. IN A 192.0.2.80"),
		"silence": dnstest.Drop, "SERVFAIL": dnstest.Servfail, "REFUSED": dnstest.Refused,
	} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
				_, before, err := h.Findings(t.Context(), h.admin, h.tenant.ID, d.ID)
				if err != nil {
					t.Fatal(err)
				}
				h.dns.Fail("", "", fault)
				time.Sleep(4 * 24 * time.Hour)
				for _, p := range []dnscheck.Purpose{dnscheck.Ownership, dnscheck.DKIM} {
					if got := h.status(d, p, "r1"); got != sender.Verified {
						t.Errorf("%s is %s", p, got)
					}
				}
				if got := h.events(sender.EventFacetLapsing, sender.EventFacetLapsed); len(got) != 0 {
					t.Errorf("events %q", got)
				}
				if name == "captive portal" { // what a portal says of a domain is not shown as evidence
					_, after, err := h.Findings(t.Context(), h.admin, h.tenant.ID, d.ID)
					if err != nil || len(after.Findings) != len(before.Findings) {
						t.Fatal(len(after.Findings), err)
					}
					held := make(map[string]bool)
					for _, f := range before.Findings {
						held[f.Name.String()] = f.Outcome == dnscheck.Match
					}
					for _, f := range after.Findings {
						if held[f.Name.String()] && f.Outcome != dnscheck.Match {
							t.Errorf("%s is %s in the evidence", f.Name, f.Outcome)
						}
					}
				}
				h.dns.Heal("", "")
				h.withdraw(d, dnscheck.Ownership)
				time.Sleep(5 * 24 * time.Hour)
				if got := h.status(d, dnscheck.Ownership, "r1"); got != sender.Lapsed {
					t.Errorf("ownership is %s although it is gone: the test proves nothing", got)
				}
			})
		})
	}
}

// many registers so many proven domains, which are looked at through a sweep.
func (h *harness) many(n int) (ds []sender.Domain) {
	h.Helper()
	tenant, admin := h.tenant, h.admin
	defer func() { h.tenant, h.admin = tenant, admin }()
	for i := range n {
		if i%50 == 0 && i > 0 {
			h.tenant, h.admin = h.newTenant(fmt.Sprint("tenant ", i))
		}
		ds = append(ds, h.domain(fmt.Sprintf("d%d.test", i), dnscheck.Ownership, dnscheck.DKIM, dnscheck.Environment, dnscheck.SPF))
	}
	time.Sleep(25 * time.Hour) // one sweep, so that they are spread a little
	return ds
}

func (h *harness) count(ds []sender.Domain) map[sender.Status]int {
	h.Helper()
	n := make(map[sender.Status]int)
	for _, d := range ds {
		d, err := h.Domain(h.Context(), operator, d.Tenant, d.ID)
		if err != nil {
			h.Fatal(err)
		}
		n[d.Facet(dnscheck.Ownership, "r1").Status]++
	}
	return n
}

// sparing has few records and looks, so that many domains are cheap.
func sparing(set *sender.Settings) {
	set.Geographies = map[string][]string{"na": {"r1"}}
	set.Verify.LapsingEvery, set.Verify.Grace = 4*time.Hour, 36*time.Hour
}

func TestMassLossIsFrozenUntilTheRecordsAreBack(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ds := h.many(100)
		for _, d := range ds {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(4 * 24 * time.Hour)
		n := h.count(ds)
		if n[sender.Lapsed] != 0 || n[sender.Lapsing] > 19 || n[sender.Lapsing]+n[sender.Verified] != 100 {
			t.Fatalf("%v: the twentieth absence freezes", n)
		}
		// A node that has just started knows nothing of the freeze.
		fresh := h.node()
		for _, d := range ds {
			h.makeDue(d)
		}
		for range 3 {
			if _, err := fresh.RecheckDue(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		if n := h.count(ds); n[sender.Lapsed] != 0 || n[sender.Lapsing] > 38 {
			t.Errorf("%v after a restart", n)
		}
		for _, d := range ds[1:] {
			h.publish(d, dnscheck.Ownership)
		}
		time.Sleep(2 * 24 * time.Hour)
		if n := h.count(ds); n[sender.Verified] != 99 {
			t.Errorf("%v after they are back", n)
		}
		time.Sleep(2 * 24 * time.Hour)
		if n := h.count(ds[:1]); n[sender.Lapsed] != 1 {
			t.Errorf("%v: the one that stayed away is no mass", n)
		}
	}, sparing)
}

func TestOneLossAmongManyIsNoMass(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ds := h.many(60)
		for _, d := range ds[:19] {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(35 * time.Hour)
		if n := h.count(ds); n[sender.Lapsing] != 19 {
			t.Errorf("%v", n)
		}
		time.Sleep(36 * time.Hour)
		if n := h.count(ds); n[sender.Lapsed] != 19 || n[sender.Verified] != 41 {
			t.Errorf("%v: a loss was held", n)
		}
	}, sparing)
}

// An operator who knows that it is true restarts without the guard.
func TestTrueMassLossIsFreedByTheOperator(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ds := h.many(30)
		for _, d := range ds {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(2 * 24 * time.Hour)
		if n := h.count(ds); n[sender.Lapsed] != 0 || n[sender.Lapsing] > 19 {
			t.Fatalf("%v: nothing is frozen, the test proves nothing", n)
		}
		h.config.Settings.Verify.MassGuard = 0
		freed := h.node()
		for range 14 {
			for _, d := range ds {
				h.makeDue(d)
			}
			if _, err := freed.RecheckDue(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Hour)
		}
		if n := h.count(ds); n[sender.Lapsed] != 30 {
			t.Errorf("%v", n)
		}
	}, sparing)
}
