package sender_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// canaryFunc is a canary that says what it is told to.
type canaryFunc func(since time.Time) error

func (c canaryFunc) Sick(_ context.Context, since time.Time) error { return c(since) }

// What was asked between two looks at the canary counts where both saw it, and where neither
// is older than what it vouches for.
func TestAbsenceCountsBetweenTwoLooksAtTheCanary(t *testing.T) {
	for name, tt := range map[string]struct {
		sick []bool // by look
		back bool   // the record, by the first of them
		want sender.Status
	}{
		"well": {[]bool{false, false}, false, sender.Lapsing},
		"falls sick while the absence is confirmed": {[]bool{false, true}, false, sender.Verified},
		"sick, and well before anybody looks again": {[]bool{true, false}, false, sender.Verified},
		"there when it is looked for again":         {[]bool{false}, true, sender.Verified},
	} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				d := h.domain("example.org", dnscheck.Ownership)
				h.withdraw(d, dnscheck.Ownership)
				var looks int
				h.config.Canary = canaryFunc(func(since time.Time) error {
					if looks++; looks > len(tt.sick) {
						t.Errorf("look %d at the canary", looks)
					} else if age := time.Since(since); age > 0 {
						t.Errorf("look %d may be %s older than what it vouches for", looks, age)
					} else if tt.sick[looks-1] {
						return errors.New("sick")
					}
					if tt.back {
						h.publish(d, dnscheck.Ownership)
					}
					return nil
				})
				h.change(d, func(d *sender.Domain) {
					d.NextCheck = time.Now()
					for i := range d.Facets {
						d.Facets[i].CheckedAt = d.Facets[i].CheckedAt.Add(-24 * time.Hour)
					}
				})
				time.Sleep(time.Microsecond)
				if n, err := h.node().RecheckDue(t.Context(), 10); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				if got := h.status(d, dnscheck.Ownership, "r1"); got != tt.want || looks == 0 {
					t.Errorf("ownership is %s after %d looks at the canary, want %s", got, looks, tt.want)
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
		if n[sender.Lapsed] != 0 || n[sender.Lapsing] > 28 || n[sender.Lapsing]+n[sender.Verified] != 100 {
			t.Fatalf("%v: the twentieth absence of a tenant and the tenth of each freeze", n)
		}
		// A node that has just started knows of the freeze.
		fresh := h.node()
		for _, d := range ds {
			h.makeDue(d)
		}
		for range 3 {
			if _, err := fresh.RecheckDue(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		if n := h.count(ds); n[sender.Lapsed] != 0 || n[sender.Lapsing] > 28 {
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

// Each node looks at a part of the domains, none of which is a mass by itself.
func TestMassLossIsSeenByAllNodesTogether(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ds := h.many(40)
		for _, d := range ds[:36] {
			h.withdraw(d, dnscheck.Ownership)
			h.makeDue(d)
		}
		for range 3 {
			if _, err := h.node().RecheckDue(t.Context(), 14); err != nil {
				t.Fatal(err)
			}
		}
		if n := h.count(ds); n[sender.Lapsing] != 19 || n[sender.Verified] != 21 {
			t.Errorf("%v: the twentieth absence freezes, whoever sees it", n)
		}
		if n := h.instanceEvents(); len(n) != 1 || n[0] != "mass-guard.frozen" {
			t.Errorf("events %q", n)
		}
	}, sparing)
}

// Whose losses are held back is read off how many domains each tenant has that hold something,
// and how many of those are absent.
func TestMassIsOfEverybodyOrOfOneTenant(t *testing.T) {
	type has struct{ holding, absent int }
	times := func(n int, one has) (all []has) {
		for range n {
			all = append(all, one)
		}
		return all
	}
	for name, tt := range map[string]struct {
		tenants   []has // at least 4, and more than 5 %
		everybody bool
		held      int // of the tenants, from the first
	}{
		"too few":                               {[]has{{8, 3}}, false, 0},
		"the only tenant":                       {[]has{{8, 4}}, false, 1},
		"all that one of two has":               {[]has{{8, 8}, {8, 0}}, false, 1},
		"one has many and another one":          {[]has{{8, 8}, {8, 1}}, false, 1},
		"each has half of a mass":               {[]has{{8, 2}, {8, 2}}, true, 0},
		"all of small tenants":                  {times(4, has{1, 1}), true, 0},
		"some of small tenants":                 {append(times(3, has{1, 1}), has{1, 0}), false, 0},
		"one of many tenants":                   {append([]has{{10, 4}}, times(9, has{10, 0})...), false, 1},
		"two that are a mass by themselves":     {append([]has{{10, 4}, {10, 5}}, times(18, has{10, 0})...), false, 2},
		"a few of many":                         {append([]has{{10, 3}, {10, 2}}, times(8, has{10, 0})...), false, 0},
		"more than the share of many":           {append([]has{{10, 3}, {10, 3}}, times(8, has{10, 0})...), true, 0},
		"the share of a large tenant, not more": {[]has{{100, 5}}, false, 0},
		"one of two large tenants":              {[]has{{100, 6}, {100, 4}}, false, 1},
		"both of two large tenants":             {[]has{{100, 6}, {100, 5}}, true, 0},
		"more than the share of a large tenant": {[]has{{100, 6}}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				d := h.domain("example.org", dnscheck.Ownership)
				insert := func(tenant sender.ID, n, absent int) {
					err := h.store.Update(t.Context(), func(tx sender.Tx) error {
						for i := range n {
							other := h.read(d)
							other.ID, other.Tenant = sender.NewID(), tenant
							other.Name, other.NextCheck = d.Name.Child(fmt.Sprint("d", i)), time.Time{}
							if i < absent {
								other.AbsentSince = time.Now()
							}
							if err := tx.InsertDomain(t.Context(), other); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				own := tt.tenants[0]
				insert(h.tenant.ID, own.holding-1, own.absent-1)
				want := []sender.ID{h.tenant.ID}
				for i, other := range tt.tenants[1:] {
					tenant, _ := h.newTenant(fmt.Sprint("tenant ", i))
					insert(tenant.ID, other.holding, other.absent)
					want = append(want, tenant.ID)
				}
				h.withdraw(d, dnscheck.Ownership)
				time.Sleep(25 * time.Hour)
				for range 2 { // what was counted is remembered for a moment
					h.makeDue(d)
					if _, err := h.RecheckDue(t.Context(), 1); err != nil {
						t.Fatal(err)
					}
				}
				state, err := h.MassState(t.Context(), operator)
				if err != nil {
					t.Fatal(err)
				}
				want = want[:tt.held]
				if slices.Sort(want); state.Everybody != tt.everybody || !slices.Equal(state.Tenants, want) || state.FrozenAt.IsZero() != (!tt.everybody && tt.held == 0) {
					t.Errorf("held back for everybody: %t, for %d tenants, since %s", state.Everybody, len(state.Tenants), state.FrozenAt)
				}
				status := sender.Lapsing
				if tt.everybody || tt.held > 0 {
					status = sender.Verified
				}
				if got := h.status(d, dnscheck.Ownership, "r1"); got != status {
					t.Errorf("ownership is %s, want %s", got, status)
				}
			}, sparing, func(set *sender.Settings) { set.Verify.MassLeast = 4 })
		})
	}
}

// A tenant that takes the records of all of its domains away keeps nobody else's proofs from
// being lost, nor gets rid of its own before an operator has looked.
func TestTenantsOwnMassHoldsNobodyElse(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		hostile := h.tenant.ID
		ds := h.many(30)
		h.tenant, h.admin = h.newTenant("neighbour")
		var neighbours []sender.Domain
		for i := range 12 {
			neighbours = append(neighbours, h.domain(fmt.Sprintf("n%d.test", i), dnscheck.Ownership))
		}
		time.Sleep(25 * time.Hour)
		for _, d := range ds {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(30 * time.Hour)
		h.withdraw(neighbours[0], dnscheck.Ownership)
		time.Sleep(70 * time.Hour)
		if n := h.count(ds); n[sender.Lapsed] != 0 || n[sender.Lapsing] > 19 {
			t.Errorf("%v of the tenant that lost many", n)
		}
		if n := h.count(neighbours); n[sender.Lapsed] != 1 || n[sender.Verified] != 11 {
			t.Errorf("%v of its neighbour", n)
		}
		state, err := h.MassState(t.Context(), operator)
		if err != nil || state.Everybody || !slices.Equal(state.Tenants, []sender.ID{hostile}) {
			t.Errorf("%+v, %v", state, err)
		}
		since := state.FrozenAt

		for _, d := range neighbours[1:] {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(70 * time.Hour)
		if n := h.count(neighbours); n[sender.Lapsed] != 1 || n[sender.Lapsing] > 9 {
			t.Errorf("%v of the neighbour when both have lost many", n)
		}
		if state, err = h.MassState(t.Context(), operator); err != nil || !state.Everybody || len(state.Tenants) > 0 || !state.FrozenAt.Equal(since) {
			t.Errorf("when both have lost many: %+v, %v", state, err)
		}
		if _, err := h.ReleaseMass(t.Context(), operator, "both are gone"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(70 * time.Hour)
		if n := h.count(append(ds, neighbours...)); n[sender.Lapsed] != 42 {
			t.Errorf("%v after the release", n)
		}
		if state, err = h.MassState(t.Context(), operator); err != nil || state.Everybody || len(state.Tenants) > 0 {
			t.Errorf("after the release: %+v, %v", state, err)
		}
		es, err := h.store.Events(t.Context(), "", sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range es {
			got = append(got, string(e.Type)+" "+e.Data["whose"])
		}
		if want := []string{
			"mass-guard.frozen " + string(hostile), "mass-guard.thawed " + string(hostile), "mass-guard.frozen everybody", "mass-guard.released ",
		}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	}, sparing)
}

// instanceEvents are those of no tenant.
func (h *harness) instanceEvents() (types []string) {
	h.Helper()
	es, err := h.store.Events(h.Context(), "", sender.Page{})
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range es {
		types = append(types, string(e.Type))
	}
	return types
}

// A loss that is true is released; what is lost later is guarded again.
func TestTrueMassLossIsReleasedByTheOperator(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ds := h.many(46)
		if _, err := h.ReleaseMass(t.Context(), operator, "why not"); sender.KindOf(err) != sender.Conflict {
			t.Errorf("released what is not held: %v", err)
		}
		for _, d := range ds[:22] {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(30 * time.Hour)
		if n := h.count(ds); n[sender.Lapsed] != 0 || n[sender.Lapsing] > 19 {
			t.Fatalf("%v: nothing is frozen, the test proves nothing", n)
		}
		state, err := h.MassState(t.Context(), operator)
		if err != nil || state.FrozenAt.IsZero() || state.Absent != 22 || state.Holding != 46 || len(state.Domains) != 22 {
			t.Errorf("%+v, %v", state, err)
		}
		if _, err := h.MassState(t.Context(), h.admin); sender.KindOf(err) != sender.Denied {
			t.Errorf("a tenant sees it: %v", err)
		}
		if _, err := h.ReleaseMass(t.Context(), h.admin, "mine"); sender.KindOf(err) != sender.Denied {
			t.Errorf("a tenant releases it: %v", err)
		}
		if _, err := h.ReleaseMass(t.Context(), operator, ""); sender.KindOf(err) != sender.Required {
			t.Errorf("released without a reason: %v", err)
		}
		if _, err := h.ReleaseMass(t.Context(), operator, "their provider is gone"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		if n := h.count(ds); n[sender.Lapsed] != 22 || n[sender.Verified] != 24 {
			t.Fatalf("%v after the release", n)
		}
		for _, d := range ds[22:44] {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(60 * time.Hour)
		if n := h.count(ds); n[sender.Lapsed] != 22 || n[sender.Lapsing] > 19 {
			t.Errorf("%v: the next mass is none of what was released", n)
		}
		if state, err = h.MassState(t.Context(), operator); err != nil || state.Absent != 22 || state.Reason != "their provider is gone" {
			t.Errorf("%+v, %v", state, err)
		}
		for _, d := range ds[22:44] {
			h.publish(d, dnscheck.Ownership)
		}
		time.Sleep(24 * time.Hour)
		if got, want := h.instanceEvents(), []string{"mass-guard.frozen", "mass-guard.released", "mass-guard.frozen", "mass-guard.thawed"}; !slices.Equal(got, want) {
			t.Errorf("events %q", got)
		}
	}, sparing)
}

// What an operator released is not held back by what turns absent afterwards.
func TestReleasedLossesGoOnWhileTheNextMassIsHeld(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ds := h.many(46)
		for _, d := range ds[:22] {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(30 * time.Hour)
		if _, err := h.ReleaseMass(t.Context(), operator, "their provider is gone"); err != nil {
			t.Fatal(err)
		}
		for _, d := range ds[22:44] {
			h.withdraw(d, dnscheck.Ownership)
		}
		time.Sleep(72 * time.Hour)
		if n := h.count(ds[:22]); n[sender.Lapsed] != 22 {
			t.Errorf("%v of the released ones", n)
		}
		if n := h.count(ds[22:]); n[sender.Lapsed] != 0 || n[sender.Lapsing] > 19 {
			t.Errorf("%v of the others", n)
		}
	}, sparing)
}

// A look at a domain that is as well as before costs the guard no statement.
func TestHealthyLookAsksTheGuardForNothing(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM, dnscheck.Environment, dnscheck.SPF)
		h.store.fail(func(statement string) error {
			if statement == "LockMassGuard" {
				t.Error(statement)
			}
			return nil
		})
		time.Sleep(3 * 24 * time.Hour)
	}, sparing)
}

// A look that learns nothing of what was absent does not make the domain absent anew: else an
// operator's release would be over with the next lost packet.
func TestReleasedDomainStaysReleasedUntilItIsSeenWell(t *testing.T) {
	for name, fault := range map[string]func(h *harness){
		"no answer about the record": func(h *harness) { h.dns.Fail("_postseal.example.org", "TXT", dnstest.Servfail) },
		"no canary is seen":          func(h *harness) { h.dns.Fail("mail.postseal.test", "SOA", dnstest.NXDomain) },
	} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
				time.Sleep(24 * time.Hour)
				h.withdraw(d, dnscheck.Ownership)
				h.makeDue(d)
				time.Sleep(time.Hour)
				since := h.read(d).AbsentSince
				if since.IsZero() {
					t.Fatal("nothing is absent: the test proves nothing")
				}
				fault(h)
				time.Sleep(20 * time.Hour)
				h.dns.Heal("_postseal.example.org", "TXT")
				h.dns.Heal("mail.postseal.test", "SOA")
				time.Sleep(3 * time.Hour)
				if got := h.read(d).AbsentSince; !got.Equal(since) {
					t.Errorf("absent since %s, and then since %s", since, got)
				}
				h.publish(d, dnscheck.Ownership)
				time.Sleep(3 * time.Hour)
				if d := h.read(d); !d.AbsentSince.IsZero() || d.Facet(dnscheck.Ownership, "r1").Status != sender.Verified {
					t.Errorf("absent since %s when all is back", d.AbsentSince)
				}
			})
		})
	}
}
