package sender

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// doubt looks at findings of the background before they count. What would worsen a
// facet is looked at again, between two looks at the canary:
//
//	Check: absent -> canary seen -> Confirm: still absent -> canary seen -> it counts
//
// A network that fell sick or recovered while it was asked can so be told from an
// owner who took a record away. Where the canary can't be seen, what was found of the
// purpose is dropped: it was not learnt from the owner's zone. What is believed is
// told to the mass guard.
func (s *Service) doubt(ctx context.Context, d Domain, want []dnscheck.Record, findings []dnscheck.Finding) []dnscheck.Finding {
	v, absent := weighed(d, findings)
	if len(absent) > 0 && s.canary != nil {
		var first, rest []dnscheck.Finding
		for _, f := range findings {
			if slices.Contains(absent, f.Purpose) {
				first = append(first, f)
			} else {
				rest = append(rest, f)
			}
		}
		want = slices.DeleteFunc(slices.Clone(want), func(r dnscheck.Record) bool { return !slices.Contains(absent, r.Purpose) })
		err := s.canary.Sick(ctx, time.Now())
		var again []dnscheck.Finding
		if err == nil && ctx.Err() == nil {
			again = s.checker.Confirm(ctx, d.Name, want)
			if _, still := weighed(d, again); len(still) > 0 {
				err = s.canary.Sick(ctx, time.Now())
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		s.tellSickness(err)
		if err != nil {
			return rest
		}
		for i, f := range again {
			if isAbsent(first[i]) && isAbsent(f) { // and Check said more about it
				again[i] = first[i]
			}
		}
		findings = append(rest, again...)
		v, _ = weighed(d, findings)
	}
	s.mass.note(d, v, s.now())
	return findings
}

// sickness is since when the canary was not seen, for the log.
type sickness struct {
	mu    sync.Mutex
	since time.Time // zero: it was seen the last time
	told  bool
}

// tellSickness logs a sickness once, when it has lasted for two looks at a domain: a few
// lost packets are none.
func (s *Service) tellSickness(err error) {
	s.sick.mu.Lock()
	defer s.sick.mu.Unlock()
	now := s.now()
	switch {
	case err == nil:
		if s.sick.told {
			s.log.Info("a canary of verify.canary is seen again: absences count")
		}
		s.sick.since, s.sick.told = time.Time{}, false
	case s.sick.since.IsZero():
		s.sick.since = now
	case !s.sick.told && now.Sub(s.sick.since) >= s.settings.Verify.UnknownEvery:
		s.sick.told = true
		s.log.Error("no canary of verify.canary can be seen: the resolvers or the network are sick, or the canaries are gone; until one is seen no proof is lost",
			"since", s.sick.since, "error", err)
	}
}

// sweepVerdict is what a look says about a domain as one of many.
type sweepVerdict int

const (
	learntNothing sweepVerdict = iota
	stillThere
	notThere
)

// weighed also returns the purposes of the facets that hold and were not found.
func weighed(d Domain, findings []dnscheck.Finding) (v sweepVerdict, absent []dnscheck.Purpose) {
	for _, f := range d.Facets {
		if !f.Status.Holds() {
			continue
		}
		switch o := Observe(findingsOf(findings, f), false); o.Outcome {
		case dnscheck.Missing, dnscheck.Mismatch:
			absent = append(absent, f.Purpose)
			v = notThere
		case dnscheck.Match:
			v = max(v, stillThere)
		}
	}
	return v, absent
}

const (
	massBuckets = 24
	// massMost bounds the memory of a massGuard; so many at once are a mass on any instance.
	massMost = 100_000
)

// massGuard holds losses back while too many domains seem to lose their records
// within one sweep: that is more often one mistake, of a provider of many zones or
// our own, than as many decisions. It knows what this node saw since it started.
//
// A domain counts while something that holds is absent, be it verified or lapsing:
// until it is seen well again, has lapsed, or was not looked at for a sweep. Those
// held are looked at as if they were lapsing, so that a freeze ends when they come
// back or when an operator ends it, not by the passing of time.
type massGuard struct {
	percent float64
	least   int
	window  time.Duration // one sweep
	ready   time.Time     // what is absent has been looked at since the node started
	log     *slog.Logger

	mu     sync.Mutex
	well   [massBuckets]float64 // domains seen by their time; see share
	at     int64                // the newest bucket
	absent map[ID]time.Time
	frozen bool
}

func (g *massGuard) init(v Verify, now time.Time, log *slog.Logger) {
	g.percent, g.least, g.log = v.MassGuard, max(v.MassLeast, 1), log
	g.window = max(v.VerifiedEvery, 2*v.LapsingEvery, massBuckets)
	g.ready = now.Add(v.LapsingEvery + v.LapsingEvery/4) // with jitter
	g.absent = make(map[ID]time.Time)
}

// holds reports whether an absence must take nothing from a facet now.
func (g *massGuard) holds(f Facet, now time.Time) bool {
	if g.percent <= 0 || !f.Status.Holds() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.frozen || f.Status == Lapsing && now.Before(g.ready)
}

func (g *massGuard) note(d Domain, v sweepVerdict, now time.Time) {
	if g.percent <= 0 || v == learntNothing {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.advance(now)
	if v == notThere {
		if len(g.absent) < massMost {
			g.absent[d.ID] = now
		}
	} else {
		delete(g.absent, d.ID)
		g.well[g.at%massBuckets] += g.share(d, now)
	}
	lost := len(g.absent)
	looked := float64(lost)
	for _, n := range g.well {
		looked += n
	}
	frozen := lost >= g.least && (100*float64(lost) > g.percent*looked || lost == massMost)
	if frozen == g.frozen {
		return
	}
	if g.frozen = frozen; frozen {
		g.log.Error("too many domains lost their records at once: until they are back no proof is lost; if they are gone for good, restart with verify.mass_guard 0 until they have lapsed", "absent", lost, "looked_at", int(looked), "within", g.window)
	} else {
		g.log.Warn("the domains that lost their records at once are back but for a few: absences count again", "absent", lost, "looked_at", int(looked))
	}
}

// share is the part of a sweep since the last look at a domain, so that all looks at
// it within a sweep add up to one domain, however closely it is watched: to remember
// each would cost memory.
func (g *massGuard) share(d Domain, now time.Time) float64 {
	last := now
	for _, f := range d.Facets {
		if f.Status == Verified && f.CheckedAt.Before(last) {
			last = f.CheckedAt
		}
	}
	return min(1, float64(now.Sub(last))/float64(g.window))
}

// advance forgets what is older than the window.
func (g *massGuard) advance(now time.Time) {
	bucket := now.UnixNano() / int64(g.window/massBuckets)
	if bucket <= g.at {
		return
	}
	for b := max(g.at+1, bucket-massBuckets+1); b <= bucket; b++ {
		g.well[b%massBuckets] = 0
	}
	g.at = bucket
	for id, at := range g.absent {
		if now.Sub(at) > g.window {
			delete(g.absent, id)
		}
	}
}
