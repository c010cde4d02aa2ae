package sender

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// doubt looks at findings of the background before they count. What would worsen a
// facet is looked at again, between two looks at the canary:
//
//	absent -> canary seen -> still absent at a second Look -> canary seen -> it counts
//
// A network that fell sick or recovered while it was asked can so be told from an
// owner who took a record away. Where the canary can't be seen, what was found of the
// purpose is dropped: it was not learnt from the owner's zone. Where nothing at all was
// learnt the canary is looked at too, now and then, so that operators hear of it.
func (s *Service) doubt(ctx context.Context, checker Checker, d Domain, want []dnscheck.Record, findings []dnscheck.Finding) []dnscheck.Finding {
	v, absent := weighed(d, findings)
	if v == learntNothing && s.canary != nil && slices.ContainsFunc(d.Facets, func(f Facet) bool { return f.Status.Holds() }) {
		if err := s.canary.Sick(ctx, time.Now().Add(-s.settings.Verify.UnknownEvery)); ctx.Err() == nil {
			s.tellSickness(err)
		}
	}
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
			again = checker.Look(ctx, d.Name, want, dnscheck.Confirm)
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
	}
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
