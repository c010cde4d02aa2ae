package sender

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postseal/postseal/internal/dnscheck"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func facetIn(s Status, since time.Duration) Facet {
	f := Facet{Purpose: dnscheck.Ownership, Region: "r1", Status: s, Since: t0.Add(-since)}
	if s == Lapsing {
		f.Negatives, f.CountedAt = 1, f.Since
	}
	return f
}

func TestNextMovesOnlyAsThePageOnStatesSays(t *testing.T) {
	v := DefaultSettings().Verify
	seen := func(f Facet, negatives int, counted time.Duration, warned bool) Facet {
		f.Negatives, f.CountedAt, f.Warned = negatives, t0.Add(-counted), warned
		return f
	}
	day := 24 * time.Hour
	for _, c := range []struct {
		name    string
		facet   Facet
		outcome dnscheck.Outcome
		asked   bool
		want    Status
		event   EventType
		stage   string
	}{
		{"pending and seen", facetIn(Pending, time.Hour), dnscheck.Match, true, Verified, EventFacetVerified, ""},
		{"pending and seen by the background", facetIn(Pending, time.Hour), dnscheck.Match, false, Verified, EventFacetVerified, ""},
		{"pending and missing", facetIn(Pending, time.Hour), dnscheck.Missing, false, Pending, "", ""},
		{"pending and wrong", facetIn(Pending, 20*day), dnscheck.Mismatch, false, Pending, "", ""},
		{"pending and unknown", facetIn(Pending, time.Hour), dnscheck.Unknown, false, Pending, "", ""},
		{"verified and seen", facetIn(Verified, 9*day), dnscheck.Match, false, Verified, "", ""},
		{"verified and unknown", facetIn(Verified, 9*day), dnscheck.Unknown, false, Verified, "", ""},
		{"verified and missing", facetIn(Verified, 9*day), dnscheck.Missing, false, Lapsing, EventFacetLapsing, "start"},
		{"verified and wrong", facetIn(Verified, 9*day), dnscheck.Mismatch, false, Lapsing, EventFacetLapsing, "start"},
		{"verified and missing, asked by a client", facetIn(Verified, 9*day), dnscheck.Missing, true, Verified, "", ""},
		{"lapsing and seen", facetIn(Lapsing, time.Hour), dnscheck.Match, false, Verified, EventFacetRecovered, ""},
		{"lapsing and seen, asked by a client", facetIn(Lapsing, time.Hour), dnscheck.Match, true, Verified, EventFacetRecovered, ""},
		{"lapsing and unknown after the grace", seen(facetIn(Lapsing, 10*day), 9, day, true), dnscheck.Unknown, false, Lapsing, "", ""},
		{"lapsing and missing within the grace", facetIn(Lapsing, time.Hour), dnscheck.Missing, false, Lapsing, "", ""},
		{"half-time", seen(facetIn(Lapsing, 36*time.Hour), 3, time.Hour, false), dnscheck.Missing, false, Lapsing, EventFacetLapsing, "half"},
		{"half-time only once", seen(facetIn(Lapsing, 40*time.Hour), 3, time.Hour, true), dnscheck.Missing, false, Lapsing, "", ""},
		{"end of the grace", seen(facetIn(Lapsing, 72*time.Hour), 4, time.Hour, true), dnscheck.Missing, false, Lapsed, EventFacetLapsed, ""},
		{"end of the grace, asked by a client", seen(facetIn(Lapsing, 72*time.Hour), 4, time.Hour, true), dnscheck.Missing, true, Lapsing, "", ""},
		{"end of the grace, not seen absent often enough", seen(facetIn(Lapsing, 72*time.Hour), 2, time.Hour, true), dnscheck.Missing, false, Lapsing, "", ""},
		{"end of the grace, this absence is the fourth", seen(facetIn(Lapsing, 72*time.Hour), 3, 10*time.Hour, true), dnscheck.Missing, false, Lapsed, EventFacetLapsed, ""},
		{"lapsed and seen within 30 days", facetIn(Lapsed, 29*day), dnscheck.Match, false, Verified, EventFacetVerified, ""},
		{"lapsed and seen after 30 days", facetIn(Lapsed, 31*day), dnscheck.Match, false, Lapsed, "", ""},
		{"lapsed and missing", facetIn(Lapsed, day), dnscheck.Missing, false, Lapsed, "", ""},
	} {
		got, move := Next(c.facet, Observation{Outcome: c.outcome, Asked: c.asked}, t0, v)
		if got.Status != c.want {
			t.Errorf("%s: status %q, want %q", c.name, got.Status, c.want)
		}
		if move == nil {
			move = &Move{}
		}
		if move.Event != c.event || move.Stage != c.stage {
			t.Errorf("%s: event %q stage %q, want %q %q", c.name, move.Event, move.Stage, c.event, c.stage)
		}
		if got.Status != c.facet.Status && !got.Since.Equal(t0) {
			t.Errorf("%s: entered %q since %s, want now", c.name, got.Status, got.Since)
		}
		if !got.CheckedAt.Equal(t0) {
			t.Errorf("%s: checked at %s, want now", c.name, got.CheckedAt)
		}
	}
}

// A resolver that is sick for one bad hour must not count as three bad days.
func TestAbsencesOfOneHourCountAsOne(t *testing.T) {
	v := DefaultSettings().Verify
	f := facetIn(Verified, time.Hour)
	for i := range 60 {
		f, _ = Next(f, Observation{Outcome: dnscheck.Missing}, t0.Add(time.Duration(i)*time.Minute), v)
	}
	if f.Status != Lapsing || f.Negatives != 1 {
		t.Errorf("after 60 absences in an hour: %q with %d counted, want lapsing with 1", f.Status, f.Negatives)
	}
}

// The schedule that NextCheck makes finds a true loss in the grace and hears
// each warning once; unknowns in between change nothing.
func TestTrueLossIsFoundAtTheEndOfTheGrace(t *testing.T) {
	v := DefaultSettings().Verify
	for _, unknownEvery := range []int{0, 2, 3} {
		f, now := facetIn(Verified, time.Hour), t0
		var events []string
		for i := 0; f.Status != Lapsed && i < 10_000; i++ {
			o := Observation{Outcome: dnscheck.Missing}
			if unknownEvery > 0 && i%unknownEvery == 0 {
				o.Outcome = dnscheck.Unknown
			}
			var move *Move
			if f, move = Next(f, o, now, v); move != nil {
				events = append(events, string(move.Event)+" "+move.Stage)
			}
			if f.Status != Lapsed {
				now = NextCheck(f, o, now, v)
			}
		}
		if lost := now.Sub(t0); f.Status != Lapsed || lost < v.Grace || lost > v.Grace+2*v.LapsingEvery {
			t.Errorf("unknown every %d: %q after %s, want lapsed within the grace of %s and one or two looks", unknownEvery, f.Status, lost, v.Grace)
		}
		if len(events) != 3 {
			t.Errorf("unknown every %d: events %q, want start, half, lapsed", unknownEvery, events)
		}
	}
}

// Whatever hid the absence at half-time (we were down, the servers silent, the mass guard
// held), its owner hears once more of it, and has time to mend it, before the proof is lost.
func TestNobodyLosesAProofWithoutTheSecondWarning(t *testing.T) {
	v := DefaultSettings().Verify
	gone := Observation{Outcome: dnscheck.Missing}
	f, now := facetIn(Verified, time.Hour), t0
	for range 31 { // hours, in which four absences count
		f, _ = Next(f, gone, now, v)
		now = now.Add(time.Hour)
	}
	if f.Negatives < v.LossChecks {
		t.Fatal(f.Negatives, "absences counted: the test proves nothing")
	}
	warned := now.Add(3 * 24 * time.Hour)
	f, move := Next(f, gone, warned, v)
	if f.Status != Lapsing || move == nil || move.Stage != "half" {
		t.Fatalf("%q with %+v three days later, want the second warning", f.Status, move)
	}
	for now = warned; f.Status == Lapsing; now = now.Add(time.Hour) {
		f, _ = Next(f, gone, now, v)
	}
	if left := f.Since.Sub(warned); left < v.Grace/time.Duration(2*v.LossChecks) || left > v.Grace/2 {
		t.Errorf("lapsed %s after the second warning", left)
	}
}

// Servers that are dead for weeks are looked for ever more rarely, as what can be found again
// in proportion; one lost packet costs five minutes.
func TestSilentServersAreAskedEverMoreRarely(t *testing.T) {
	v := DefaultSettings().Verify
	day := 24 * time.Hour
	for _, c := range []struct {
		status Status
		age    time.Duration // when the servers fall silent, for good
		most   int           // looks in 30 days
	}{
		{Verified, 100 * day, 400}, {Lapsed, 10 * day, 400}, {Pending, 0, 750}, {Pending, 20 * day, 400}, {Lapsing, time.Hour, 900},
	} {
		f, now, looks := facetIn(c.status, c.age), t0, 0
		for now.Before(t0.Add(30 * day)) {
			f, _ = Next(f, Observation{Outcome: dnscheck.Unknown}, now, v)
			next := NextCheck(f, Observation{Outcome: dnscheck.Unknown}, now, v)
			if silent := now.Sub(t0); c.status == Verified && next.Sub(now) > max(v.UnknownEvery, silent/30) {
				t.Errorf("%s: the next look is after %s, when nothing was learnt for %s", c.status, next.Sub(now), silent)
			}
			now, looks = next, looks+1
		}
		if looks > c.most {
			t.Errorf("%s: %d looks in 30 days, want at most %d", c.status, looks, c.most)
		}
		f, _ = Next(f, Observation{Outcome: dnscheck.Match}, now, v)
		f, _ = Next(f, Observation{Outcome: dnscheck.Unknown}, now, v)
		if wait := NextCheck(f, Observation{Outcome: dnscheck.Unknown}, now, v).Sub(now); wait != v.UnknownEvery {
			t.Errorf("%s: the first silence after they were heard again costs %s", c.status, wait)
		}
	}
}

func TestNextCheckIsCloseAtFirstThenRare(t *testing.T) {
	v := DefaultSettings().Verify
	day := 24 * time.Hour
	for _, c := range []struct {
		name  string
		facet Facet
		o     Observation
		want  time.Duration
	}{
		{"new", facetIn(Pending, time.Minute), Observation{Outcome: dnscheck.Missing}, 15 * time.Second},
		{"new, but resolvers hold the old answer", facetIn(Pending, time.Minute), Observation{Outcome: dnscheck.Missing, RetryAt: t0.Add(5 * time.Minute)}, 5 * time.Minute},
		{"an hour old", facetIn(Pending, time.Hour), Observation{Outcome: dnscheck.Missing}, time.Minute},
		{"days old", facetIn(Pending, 3*day), Observation{Outcome: dnscheck.Missing}, time.Hour},
		{"weeks old", facetIn(Pending, 15*day), Observation{Outcome: dnscheck.Missing}, day},
		{"verified", facetIn(Verified, day), Observation{Outcome: dnscheck.Match}, day},
		{"verified, nothing learnt", facetIn(Verified, day), Observation{Outcome: dnscheck.Unknown}, 5 * time.Minute},
		{"verified, gone and held", facetIn(Verified, day), Observation{Outcome: dnscheck.Missing, Held: true}, time.Hour},
		{"lapsing", facetIn(Lapsing, time.Hour), Observation{Outcome: dnscheck.Missing}, time.Hour},
		{"lapsing, half-time near", facetIn(Lapsing, 36*time.Hour-time.Minute), Observation{Outcome: dnscheck.Missing}, time.Minute},
	} {
		if got := NextCheck(c.facet, c.o, t0, v).Sub(t0); got != c.want {
			t.Errorf("%s: next check in %s, want %s", c.name, got, c.want)
		}
	}
}

// SPF proves nothing, so that its old value may always come back.
func TestLapsedSPFComesBackAtAnyTime(t *testing.T) {
	f := facetIn(Lapsed, 40*24*time.Hour)
	f.Purpose, f.Region = dnscheck.SPF, ""
	if got, _ := Next(f, Observation{Outcome: dnscheck.Match}, t0, DefaultSettings().Verify); got.Status != Verified {
		t.Errorf("after 40 days: %q", got.Status)
	}
}

func TestOneUnknownRecordMakesAFacetUnknownAndOneAbsentMakesItAbsent(t *testing.T) {
	f := func(outcomes ...dnscheck.Outcome) []dnscheck.Finding {
		var fs []dnscheck.Finding
		for _, o := range outcomes {
			fs = append(fs, dnscheck.Finding{Outcome: o})
		}
		return fs
	}
	for _, c := range []struct {
		findings []dnscheck.Finding
		want     dnscheck.Outcome
	}{
		{f(), dnscheck.Unknown},
		{f(dnscheck.Match, dnscheck.Match), dnscheck.Match},
		{f(dnscheck.Match, dnscheck.Unknown), dnscheck.Unknown},
		{f(dnscheck.Unknown, dnscheck.Missing), dnscheck.Missing},
		{f(dnscheck.Mismatch, dnscheck.Unknown, dnscheck.Match), dnscheck.Mismatch},
	} {
		if got := Observe(c.findings, false).Outcome; got != c.want {
			t.Errorf("%v: %q, want %q", c.findings, got, c.want)
		}
	}
	// A name server that lags behind is no absence.
	apart := []dnscheck.Finding{{Outcome: dnscheck.Mismatch, Code: dnscheck.CodeNSInconsistent}}
	if got := Observe(apart, false).Outcome; got != dnscheck.Unknown {
		t.Errorf("servers that disagree: %q", got)
	}
}

// Whatever is observed, and in whatever order: only a counted absence worsens a
// facet, only a match improves it, a loss takes the whole grace, and the next look
// is always to come.
func TestNoHistoryBreaksTheRulesOfProof(t *testing.T) {
	v := DefaultSettings().Verify
	rank := map[Status]int{Lapsed: 0, Pending: 0, Lapsing: 1, Verified: 2}
	outcomes := []dnscheck.Outcome{dnscheck.Match, dnscheck.Missing, dnscheck.Mismatch, dnscheck.Unknown}
	rapid.Check(t, func(t *rapid.T) {
		f, now := facetIn(Pending, 0), t0
		var matched, absent time.Time // last match, and first absence in the background since
		for range rapid.IntRange(1, 200).Draw(t, "looks") {
			o := Observation{Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"), Asked: rapid.Bool().Draw(t, "asked"), Held: rapid.Bool().Draw(t, "held")}
			if rapid.Bool().Draw(t, "cached") {
				o.RetryAt = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(30*24*time.Hour)).Draw(t, "retry")))
			}
			was := f
			var move *Move
			f, move = Next(f, o, now, v)
			counts := !o.Asked && !o.Held && (o.Outcome == dnscheck.Missing || o.Outcome == dnscheck.Mismatch)
			switch {
			case o.Outcome == dnscheck.Match:
				matched, absent = now, time.Time{}
			case counts && absent.IsZero():
				absent = now
			}
			if rank[f.Status] < rank[was.Status] && !counts {
				t.Fatalf("%q became %q by %+v", was.Status, f.Status, o)
			}
			if rank[f.Status] > rank[was.Status] && o.Outcome != dnscheck.Match {
				t.Fatalf("%q became %q by %+v", was.Status, f.Status, o)
			}
			if f.Status == Lapsed && was.Status != Lapsed && (now.Sub(absent) < v.Grace || f.Since.Before(matched)) {
				t.Fatalf("lapsed %s after the first absence", now.Sub(absent))
			}
			if (move == nil) != (f.Status == was.Status && f.Warned == was.Warned) {
				t.Fatalf("%+v became %+v with the event %+v", was, f, move)
			}
			next := NextCheck(f, o, now, v)
			if wait := next.Sub(now); wait <= 0 || wait > v.VerifiedEvery {
				t.Fatalf("%+v after %+v is looked at again in %s", f, o, wait)
			}
			if o.Asked && rapid.Bool().Draw(t, "soon") {
				next = now.Add(time.Second)
			}
			now = next
		}
	})
}
