package sender

import (
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Status is the state of a proof: of a domain's facet or of an address.
type Status string

// The states; docs/states.md draws the moves. Dialects have their own words.
const (
	Pending  Status = "pending"  // never seen
	Verified Status = "verified" // seen
	Lapsing  Status = "lapsing"  // gone, but not for long enough: still holds
	Lapsed   Status = "lapsed"   // gone for the whole grace
	Failed   Status = "failed"   // given up, where a dialect has the word
)

// Statuses lists every Status, for tables that must be complete.
var Statuses = []Status{Pending, Verified, Lapsing, Lapsed, Failed}

// Holds reports whether the proof counts.
func (s Status) Holds() bool { return s == Verified || s == Lapsing }

// Observation is what one check learnt about a facet, all its records together.
type Observation struct {
	Outcome dnscheck.Outcome // the worst of the records': Missing and Mismatch both mean absent
	RetryAt time.Time        // asking before is useless (negative caching); zero: unknown
	// Asked means that a client asked for the check. Such a check may improve or
	// keep a state, never worsen it: else a script could revoke a domain by asking
	// often while a resolver is sick.
	Asked bool
	// Held means that too many domains turn absent at once for this absence to take
	// anything away; see Verify.MassGuard.
	Held bool
}

// Observe joins the findings of one facet's records. No finding is Unknown.
func Observe(findings []dnscheck.Finding, asked bool) Observation {
	o := Observation{Outcome: dnscheck.Match, Asked: asked}
	if len(findings) == 0 {
		o.Outcome = dnscheck.Unknown
	}
	for _, f := range findings {
		switch {
		case isAbsent(f):
			o.Outcome = f.Outcome
		case f.Outcome != dnscheck.Match && o.Outcome == dnscheck.Match:
			o.Outcome = dnscheck.Unknown
		}
		if !f.RetryAt.IsZero() && (o.RetryAt.IsZero() || f.RetryAt.Before(o.RetryAt)) {
			o.RetryAt = f.RetryAt
		}
	}
	return o
}

// isAbsent: name servers that disagree are no absence. One that lags behind must not cost a
// proof that the others still show.
func isAbsent(f dnscheck.Finding) bool {
	return f.Code != dnscheck.CodeNSInconsistent && (f.Outcome == dnscheck.Missing || f.Outcome == dnscheck.Mismatch)
}

// Move is a change that Next made and that somebody should hear of.
type Move struct {
	Event EventType
	Stage string // with EventFacetLapsing: start or half
}

// Next decides what an observation means for a facet.
//
// It is pure: the same observation at the same time gives the same answer.
// Unknown (time-out, SERVFAIL) never worsens a state, it only brings the next
// check nearer. A verified facet whose records are authoritatively gone gets
// the grace before it lapses, since records vanish for an hour during a move of
// provider more often than for good; and within the grace it must have been
// seen absent several times, spread out, so that one bad hour can't be
// mistaken for three days. One of them must be after the second warning, which
// comes late where nobody looked, or could, at half-time.
func Next(f Facet, o Observation, now time.Time, v Verify) (Facet, *Move) {
	f.CheckedAt = now
	switch {
	case o.Outcome != dnscheck.Unknown:
		f.SilentSince = time.Time{}
	case f.SilentSince.IsZero():
		f.SilentSince = now
	}
	absent := o.Outcome == dnscheck.Missing || o.Outcome == dnscheck.Mismatch
	switch {
	case o.Outcome == dnscheck.Match && f.Status != Verified:
		if f.Renewable(now, v) {
			return f, nil // too long gone: it needs a new epoch
		}
		move := &Move{Event: EventFacetVerified}
		if f.Status == Lapsing {
			move.Event = EventFacetRecovered
		}
		return f.enter(Verified, now), move
	case !absent || o.Asked || o.Held:
		return f, nil
	case f.Status == Verified:
		f = f.enter(Lapsing, now)
		f.Negatives, f.CountedAt = 1, now
		return f, &Move{Event: EventFacetLapsing, Stage: "start"}
	case f.Status == Lapsing:
		if now.Sub(f.CountedAt) >= v.Grace/time.Duration(2*max(v.LossChecks, 1)) {
			f.Negatives, f.CountedAt = f.Negatives+1, now
		}
		gone := now.Sub(f.Since)
		switch {
		case gone >= v.Grace/2 && !f.Warned:
			f.Warned = true
			f.Negatives, f.CountedAt = min(f.Negatives, v.LossChecks-1), now
			return f, &Move{Event: EventFacetLapsing, Stage: "half"}
		case gone >= v.Grace && f.Negatives >= v.LossChecks:
			return f.enter(Lapsed, now), &Move{Event: EventFacetLapsed}
		}
	}
	return f, nil
}

func (f Facet) enter(s Status, now time.Time) Facet {
	return Facet{Purpose: f.Purpose, Region: f.Region, Status: s, Epoch: f.Epoch, Since: now, CheckedAt: f.CheckedAt}
}

// Renewable reports whether a lapsed facet's tokens are too old to come back:
// whoever owns the name now must prove it with new ones, or a new owner could be
// impersonated by records that were left over.
func (f Facet) Renewable(now time.Time, v Verify) bool {
	return f.Status == Lapsed && f.Proves() && now.Sub(f.Since) > v.KeepTokens
}

// pace makes waits grow with what has been waited for already: that a pending facet is seen
// once the close watch is over, or that silent servers are heard. What comes after an hour is
// noticed within some 70 seconds, after a day within 24 minutes.
const pace = 60

// NextCheck returns when a facet is worth looking at again after this
// observation: closely while pending, then ever more rarely; daily while
// verified, hourly while lapsing; sooner where the last look learnt nothing, if the one
// before did.
func NextCheck(f Facet, o Observation, now time.Time, v Verify) time.Time {
	var d time.Duration
	switch f.Status {
	case Verified:
		d = v.VerifiedEvery
		if o.Held && o.Outcome != dnscheck.Match {
			d = min(d, v.LapsingEvery)
		}
	case Lapsing:
		d = v.LapsingEvery
		// The half-time warning and the end of the grace are not to be slept through.
		for _, mark := range []time.Duration{v.Grace / 2, v.Grace} {
			if left := f.Since.Add(mark).Sub(now); left > 0 {
				d = min(d, left)
			}
		}
	default:
		age := now.Sub(f.Since)
		switch {
		case age < v.PendingClose:
			d = v.PendingEvery
		case age > v.PendingGiveUp:
			d = v.VerifiedEvery
		default:
			d = min(max(age/pace, v.PendingEvery), v.LapsingEvery)
		}
		if o.RetryAt.After(now.Add(d)) { // resolvers hold the old answer until then
			d = min(o.RetryAt.Sub(now), v.LapsingEvery)
		}
	}
	if o.Outcome == dnscheck.Unknown {
		soon := v.UnknownEvery
		if !f.SilentSince.IsZero() { // the dead must not cost what looks at the living take
			soon = max(soon, now.Sub(f.SilentSince)/pace)
		}
		d = min(d, soon)
	}
	return now.Add(d)
}
