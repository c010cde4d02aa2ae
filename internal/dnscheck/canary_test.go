package dnscheck

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

const canaryZones = "mail.postseal.test. 60 IN SOA ns1.mail.postseal.test. x.postseal.test. 7 1 1 1 60\n" +
	"postseal.test. 60 IN SOA ns1.postseal.test. x.postseal.test. 8 1 1 1 60"

func newCanary(t testing.TB, c *Checker, zones ...string) *Canary {
	t.Helper()
	var names []Name
	for _, z := range zones {
		names = append(names, mustName(t, z))
	}
	canary, err := NewCanary(c, names...)
	if err != nil {
		t.Fatal(err)
	}
	return canary
}

func TestCanaryTellsASickNetworkFromABrokenDomain(t *testing.T) {
	all := []int{0, 1, 2}
	for _, c := range []struct {
		name   string
		faults []dnstest.Fault
		of     []int
		only   string // where the faults are; empty: everywhere
		sick   bool
	}{
		{name: "well"},
		{name: "captive portal", faults: []dnstest.Fault{dnstest.NXDomain}, of: all, sick: true},
		{name: "portal that shows itself", faults: []dnstest.Fault{dnstest.Lie("portal.test. IN A 192.0.2.80")}, of: all, sick: true},
		{name: "silence", faults: []dnstest.Fault{dnstest.Drop}, of: all, sick: true},
		{name: "SERVFAIL", faults: []dnstest.Fault{dnstest.Servfail}, of: all, sick: true},
		{name: "one liar", faults: []dnstest.Fault{dnstest.NXDomain}, of: all[:1]},
		{name: "two liars", faults: []dnstest.Fault{dnstest.NXDomain}, of: all[:2], sick: true},
		{name: "one canary is gone", faults: []dnstest.Fault{dnstest.NXDomain}, of: all, only: "mail.postseal.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, canaryZones, 3, func(t *testing.T, l *lab) {
				for _, i := range c.of {
					l.servers[i].Fail(c.only, "", c.faults...)
				}
				err := newCanary(t, newChecker(t, l, 2), "mail.postseal.test", "postseal.test").Sick(t.Context(), time.Now())
				if (err != nil) != c.sick {
					t.Errorf("sick: %v", err)
				}
			})
		})
	}
}

// All tries of two of three resolvers are lost now and then where a third of the packets are:
// that is looked at twice before the network is called sick, and what is denied is not.
func TestLostPacketsAreNoSickness(t *testing.T) {
	for _, c := range []struct {
		title string
		fault dnstest.Fault
		after time.Duration // then all is well
		looks int
		sick  bool
	}{
		{"lost", dnstest.Drop, 4 * time.Second, 2, false}, {"silence", dnstest.Drop, time.Hour, 2, true}, {"denied", dnstest.NXDomain, time.Hour, 1, true},
	} {
		t.Run(c.title, func(t *testing.T) {
			inLab(t, canaryZones, 3, func(t *testing.T, l *lab) {
				canary := newCanary(t, newChecker(t, l, 2), "postseal.test")
				if err := canary.Sick(t.Context(), time.Now()); err != nil { // who never spoke has no vote
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				before := l.servers[2].Queries("", "")
				for _, s := range l.servers[:2] {
					s.Fail("", "", c.fault)
				}
				heal := time.AfterFunc(c.after, func() {
					l.servers[0].Heal("", "")
					l.servers[1].Heal("", "")
				})
				defer heal.Stop()
				if err := canary.Sick(t.Context(), time.Now()); (err != nil) != c.sick {
					t.Errorf("sick: %v", err)
				}
				if n := l.servers[2].Queries("", "") - before; n != c.looks {
					t.Errorf("%d looks, want %d", n, c.looks)
				}
			})
		})
	}
}

func TestCanaryIsAskedOnceForAllWhoWaitAndAnewForLaterAbsences(t *testing.T) {
	inLab(t, canaryZones, 2, func(t *testing.T, l *lab) {
		canary := newCanary(t, newChecker(t, l, 2), "postseal.test")
		l.servers[0].Fail("", "", dnstest.Delay(100*time.Millisecond))
		look := func() int {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if err := canary.Sick(t.Context(), time.Now()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return l.servers[1].Queries("", "")
		}
		if n := look(); n != 1 {
			t.Errorf("%d questions for twenty absences at once", n)
		}
		began := time.Now()
		time.Sleep(time.Second)
		if n := look(); n != 2 {
			t.Errorf("%d questions after a second: an old look says nothing about a new absence", n)
		}
		if err := canary.Sick(t.Context(), began); err != nil || l.servers[1].Queries("", "") != 2 {
			t.Errorf("%v: a later look says all about an earlier absence", err)
		}
	})
}

func TestSickNetworkIsNotAskedForEveryDomain(t *testing.T) {
	inLab(t, canaryZones, 2, func(t *testing.T, l *lab) {
		canary := newCanary(t, newChecker(t, l, 2), "postseal.test")
		l.servers[0].Fail("", "", dnstest.NXDomain)
		l.servers[1].Fail("", "", dnstest.NXDomain)
		for range 20 {
			if err := canary.Sick(t.Context(), time.Now()); err == nil {
				t.Fatal("well")
			}
			time.Sleep(time.Second)
		}
		if n := l.servers[0].Queries("", ""); n != 1 {
			t.Errorf("%d questions in twenty seconds", n)
		}
		l.servers[0].Heal("", "")
		l.servers[1].Heal("", "")
		time.Sleep(sickFor)
		if err := canary.Sick(t.Context(), time.Now()); err != nil {
			t.Errorf("still sick: %v", err)
		}
	})
}

func TestCanaryGoesTheWayOfTheNameServersToo(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault []dnstest.Fault
		sick  bool
	}{
		{name: "well"},
		{name: "port 53 led astray", fault: []dnstest.Fault{dnstest.NXDomain}, sick: true},
		{name: "port 53 closed", fault: []dnstest.Fault{dnstest.Drop}}, // then there are no absences either
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newGlobe(t, 2, "", "")
				for _, s := range w.servers {
					s.Fail("", "", c.fault...)
				}
				for _, r := range w.resolvers { // they have it from their caches
					r.Add("example.org. SOA ns1.example.net. h.example.org. 1 3600 600 86400 300\nexample.org. NS ns1.example.net.\nexample.org. NS ns2.example.net.")
				}
				err := newCanary(t, w.checker(t, nil), "example.org").Sick(t.Context(), time.Now())
				if (err != nil) != c.sick {
					t.Errorf("sick: %v", err)
				}
			})
		})
	}
}

// SPF proves nothing, so one witness is enough; but not one resolver that is alone with
// what it says while nobody else can be heard.
func TestOneResolverAloneShowsNoSPF(t *testing.T) {
	for _, c := range []struct {
		name   string
		silent int
		want   Outcome
	}{{"two of three agree", 1, Match}, {"one alone", 2, Unknown}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newGlobe(t, 3, "", "")
				for _, s := range w.servers {
					s.Fail("example.org", "TXT", dnstest.Drop) // the resolvers get further
				}
				for i, r := range w.resolvers {
					r.Add("example.org. NS ns1.example.net.", "example.org. NS ns2.example.net.", `example.org. TXT "v=spf1 ip4:192.0.2.9 -all"`)
					if i < c.silent {
						r.Fail("example.org", "TXT", dnstest.Drop)
					}
				}
				rec := Record{Purpose: SPF, Name: mustName(t, "example.org"), Type: TXT, Value: "v=spf1 ip4:192.0.2.9 -all"}
				if f := w.checker(t, nil).Check(t.Context(), rec.Name, []Record{rec})[0]; f.Outcome != c.want {
					t.Errorf("%s %s", f.Outcome, f.Code)
				}
			})
		})
	}
}
