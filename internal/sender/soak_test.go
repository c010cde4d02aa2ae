package sender_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// TestSoak runs a month of many domains over a bad network on fake time: 30 % of the
// packets are lost, one of three resolvers lies, and for six hours all of them are out of
// order. POSTSEAL_TEST_SOAK is the number of domains; see make soak. The default is what the
// race detector can do in the time of the other tests.
func TestSoak(t *testing.T) {
	domains, days := 50, 30
	if testing.Short() {
		domains, days = 30, 15
	}
	if text := os.Getenv("POSTSEAL_TEST_SOAK"); text != "" {
		var err error
		if domains, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	var packets int64
	synctest.Test(t, func(t *testing.T) { packets = soak(t, domains, days) })
	t.Logf("%d domains, %d days, %d packets in %s", domains, days, packets, time.Since(began).Round(time.Second))
}

// soaked is one domain and what shall become of it.
type soaked struct {
	sender.Domain
	lost, back time.Time // of all its records; zero: never
}

func soak(t *testing.T, domains, days int) int64 {
	const day = 24 * time.Hour
	n := newSoakNet(t, 0.3)
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: soakResolvers, Dial: n.dial})
	if err != nil {
		t.Fatal(err)
	}
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{Resolver: resolver, Mode: dnscheck.ModeAuthoritative})
	if err != nil {
		t.Fatal(err)
	}
	h := assemble(t, checker, "postseal.test", func(set *sender.Settings) {
		set.Geographies = map[string][]string{"na": {"r1"}}
		set.Verify.UnknownEvery = sender.DefaultSettings().Verify.UnknownEvery
	})
	v := h.config.Settings.Verify
	start := time.Now()
	all := make([]*soaked, domains)
	tenants := []sender.ID{h.tenant.ID}
	for i := range all {
		if i%50 == 0 && i > 0 {
			h.tenant, h.admin = h.newTenant(fmt.Sprint("tenant ", i))
			tenants = append(tenants, h.tenant.ID)
		}
		all[i] = &soaked{Domain: h.domain(fmt.Sprintf("d%d.test", i))}
		n.publish(i, all[i].Name.String(), h.Records(all[i].Domain))
		h.change(all[i].Domain, func(d *sender.Domain) { d.NextCheck = start.Add(rand.N(day)) }) // as if they came in the course of a day
	}
	// The last moment at which a loss can still be found: with the interval and its jitter.
	found := v.Grace + v.VerifiedEvery + v.VerifiedEvery/10 + v.LapsingEvery + v.LapsingEvery/10
	last := time.Duration(days)*day - found - 12*time.Hour
	for i, s := range all {
		switch {
		case i%33 == 0: // for good
			s.lost = start.Add(2*day + rand.N(last-2*day))
		case i%50 == 1: // long enough for both warnings, if it is seen soon
			s.lost = start.Add(2*day + rand.N(last-2*day))
			s.back = s.lost.Add(40 * time.Hour)
		}
	}
	outage := start.Add(time.Duration(days) * day / 3)
	outageEnds := outage.Add(6 * time.Hour)

	const tick = 5 * time.Minute
	for now := start; now.Before(start.Add(time.Duration(days) * day)); now = now.Add(tick) {
		for _, s := range all {
			due := func(at time.Time) bool { return !at.IsZero() && !at.Before(now) && at.Before(now.Add(tick)) }
			if due(s.lost) {
				n.withdraw(h.Records(s.Domain))
			}
			if due(s.back) {
				n.restore(h.Records(s.Domain))
			}
		}
		switch {
		case now.Before(outage) || !now.Before(outageEnds):
			n.outage.Store(uint32(soakWell))
		case now.Before(outage.Add(2 * time.Hour)):
			n.outage.Store(uint32(soakSilent))
		case now.Before(outage.Add(4 * time.Hour)):
			n.outage.Store(uint32(soakServfail))
		default:
			n.outage.Store(uint32(soakPortal))
		}
		for {
			looked, err := h.RecheckDue(t.Context(), 200)
			if err != nil {
				t.Fatal(err)
			}
			if looked < 200 {
				break
			}
		}
		time.Sleep(time.Until(now.Add(tick)))
	}

	type what struct {
		domain  sender.ID
		purpose string
	}
	seen := make(map[what][]sender.Event)
	for _, tenant := range tenants {
		es, err := h.Events(t.Context(), operator, tenant, sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			seen[what{e.Object, e.Data["purpose"]}] = append(seen[what{e.Object, e.Data["purpose"]}], e)
		}
	}
	var slowest time.Duration
	lost, spared := 0, 0
	for _, s := range all {
		for _, p := range []dnscheck.Purpose{dnscheck.Ownership, dnscheck.Environment, dnscheck.DKIM, dnscheck.SPF} {
			var words []string
			for _, e := range seen[what{s.ID, string(p)}] {
				words = append(words, string(e.Type)+e.Data["stage"])
			}
			es := seen[what{s.ID, string(p)}]
			want := [][]string{{"domain.record.verified"}}
			switch {
			case !s.lost.IsZero() && s.back.IsZero():
				want = [][]string{{"domain.record.verified", "domain.record.lapsingstart", "domain.record.lapsinghalf", "domain.record.lapsed"}}
			case !s.lost.IsZero():
				want = append(want, []string{"domain.record.verified", "domain.record.lapsingstart", "domain.record.recovered"},
					[]string{"domain.record.verified", "domain.record.lapsingstart", "domain.record.lapsinghalf", "domain.record.recovered"})
			}
			if !slices.ContainsFunc(want, func(w []string) bool { return slices.Equal(w, words) }) {
				t.Errorf("%s %s, lost at %s, back at %s: %q", s.Name, p, s.lost, s.back, words)
				continue
			}
			if s.lost.IsZero() || !s.back.IsZero() {
				spared++
				continue
			}
			lost++
			took := es[len(es)-1].At.Sub(s.lost)
			if took < v.Grace {
				t.Errorf("%s %s was lost after %s", s.Name, p, took)
			}
			if s.lost.Before(outageEnds) && s.lost.Add(took).After(outage) {
				took -= 6 * time.Hour // nothing could be found
			}
			slowest = max(slowest, took)
			if took > found {
				t.Errorf("%s %s was lost after %s, and %s is the most", s.Name, p, took, found)
			}
		}
	}
	t.Logf("%d facets were lost, the slowest after %s; %d were not", lost, slowest, spared)
	return n.packets.Load()
}
