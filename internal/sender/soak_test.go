package sender_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// TestSoak runs a month of many domains over a bad network on fake time: 30 % of the
// packets are lost, one of three resolvers lies, and for six hours all of them are out of
// order. POSTSEAL_TEST_SOAK is the number of domains; see make soak. The default is what the
// race detector can do in the time of the other tests, with each kind of fate.
func TestSoak(t *testing.T) {
	domains, days := 24, 12
	if text := os.Getenv("POSTSEAL_TEST_SOAK"); text != "" {
		var err error
		days = 30
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
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{
		Resolver: resolver, Mode: dnscheck.ModeAuthoritative, ExplainEvery: 2 * sender.DefaultSettings().Verify.PendingEvery,
	})
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
	// A loss is seen within an interval with its jitter, and ends with the grace and one short
	// interval; what is written at a look is late by no more than the look.
	const slack = 20 * time.Minute // after the outage, whoever was silent for it is looked at again within a sixtieth of it
	noticed := v.VerifiedEvery + v.VerifiedEvery/10 + slack
	found := noticed + v.Grace + v.LapsingEvery + v.LapsingEvery/10 + slack
	last := time.Duration(days)*day - found - 12*time.Hour
	every := max(50, domains/60) // more that are lost would only be looked at more often
	for i, s := range all {
		switch {
		case i%every == 0: // for good
			s.lost = start.Add(2*day + rand.N(last-2*day))
		case i%every == 1: // long enough for both warnings, if it is seen soon
			s.lost = start.Add(2*day + rand.N(last-2*day))
			s.back = s.lost.Add(40 * time.Hour)
		}
	}
	outage := start.Add(time.Duration(days) * day / 3)
	outageEnds := outage.Add(6 * time.Hour)

	// The world goes on whether or not anybody has finished looking at it.
	end := start.Add(time.Duration(days) * day)
	const tick = 5 * time.Minute
	var world sync.WaitGroup
	world.Go(func() {
		for now := start; now.Before(end); now = now.Add(tick) {
			time.Sleep(time.Until(now))
			for _, s := range all {
				due := func(at time.Time) bool { return !at.IsZero() && !at.Before(now) && at.Before(now.Add(tick)) }
				if due(s.lost) {
					n.withdraw(h.Records(s.Domain))
					s.lost = now
				}
				if due(s.back) {
					n.restore(h.Records(s.Domain))
					s.back = now
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
		}
	})
	for now := start; now.Before(end); now = time.Now() {
		looked, err := h.RecheckDue(t.Context(), 200)
		if err != nil {
			t.Fatal(err)
		}
		if looked < 200 {
			time.Sleep(time.Until(now.Add(tick)))
		}
	}
	world.Wait()

	events := make(map[sender.ID][]sender.Event)
	for _, tenant := range tenants {
		es, err := h.Events(t.Context(), operator, tenant, sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			events[e.Object] = append(events[e.Object], e)
		}
	}
	if log := h.logged(); strings.Contains(log, "too many domains lost") {
		t.Error("the mass guard froze")
	} else if !strings.Contains(log, "no canary") {
		t.Error("nobody noticed the outage")
	}
	// What the outage may have put off.
	late := func(from, to time.Time) time.Duration {
		if from.Before(outageEnds) && to.After(outage) {
			return outageEnds.Sub(outage)
		}
		return 0
	}
	const verified, begins, half, lapsed, recovered = "domain.record.verified", "domain.record.lapsing start", "domain.record.lapsing half", "domain.record.lapsed", "domain.record.recovered"
	var slowest time.Duration
	var spared, lost, recoveries int
	for _, s := range all {
		whole := []string{"domain.proven"}
		status := sender.Verified
		wants := [][]string{{verified}}
		switch {
		case !s.lost.IsZero() && s.back.IsZero():
			whole, status = append(whole, "domain.proof-lost"), sender.Lapsed
			wants = [][]string{{verified, begins, half, lapsed}}
		case !s.lost.IsZero():
			wants = [][]string{{verified}, {verified, begins, recovered}, {verified, begins, half, recovered}}
		}
		if got := soakWords(events[s.ID], ""); !slices.Equal(got, append([]string{"domain.created"}, whole...)) {
			t.Errorf("%s, lost at %s: %q", s.Name, s.lost, got)
		}
		d, err := h.Service.Domain(t.Context(), operator, s.Tenant, s.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []dnscheck.Purpose{dnscheck.Ownership, dnscheck.Environment, dnscheck.DKIM, dnscheck.SPF} {
			words := soakWords(events[s.ID], p)
			if !slices.ContainsFunc(wants, func(w []string) bool { return slices.Equal(w, words) }) {
				t.Errorf("%s %s, lost at %s, back at %s: %q", s.Name, p, s.lost, s.back, words)
				continue
			}
			for _, f := range d.Facets {
				if f.Purpose == p && f.Status != status {
					t.Errorf("%s %s, lost at %s, back at %s, is %s", s.Name, p, s.lost, s.back, f.Status)
				}
			}
			at := make(map[string]time.Time)
			for i, e := range soakOf(events[s.ID], p) {
				at[words[i]] = e.At
			}
			if began, ok := at[begins]; ok {
				if took := began.Sub(s.lost); took < 0 || took-late(s.lost, began) > noticed {
					t.Errorf("%s %s, lost at %s: the first warning was after %s, and %s is the most", s.Name, p, s.lost, took, noticed)
				}
				if second, ok := at[half]; ok && second.Sub(began) < v.Grace/2 {
					t.Errorf("%s %s, lost at %s: the second warning came %s after the first", s.Name, p, s.lost, second.Sub(began))
				}
			}
			switch {
			case status == sender.Lapsed:
				lost++
				took := at[lapsed].Sub(s.lost)
				if at[lapsed].Sub(at[begins]) < v.Grace {
					t.Errorf("%s %s was lost %s after the first warning", s.Name, p, at[lapsed].Sub(at[begins]))
				}
				took -= late(s.lost, at[lapsed])
				slowest = max(slowest, took)
				if took > found {
					t.Errorf("%s %s was lost after %s, and %s is the most", s.Name, p, took, found)
				}
			case len(words) > 1:
				recoveries++
			default:
				spared++
			}
		}
	}
	t.Logf("%d facets were lost, the slowest after %s; %d recovered, %d were never missed", lost, slowest, recoveries, spared)
	if lost == 0 || recoveries == 0 || spared == 0 {
		t.Error("a kind of fate is missing: take more domains")
	}
	return n.packets.Load()
}

// soakOf returns the events about facets of a purpose; of none, those about the domain.
func soakOf(events []sender.Event, p dnscheck.Purpose) (of []sender.Event) {
	for _, e := range events {
		if e.Data["purpose"] == string(p) {
			of = append(of, e)
		}
	}
	return of
}

func soakWords(events []sender.Event, p dnscheck.Purpose) (words []string) {
	for _, e := range soakOf(events, p) {
		words = append(words, strings.TrimSpace(string(e.Type)+" "+e.Data["stage"]))
	}
	return words
}
