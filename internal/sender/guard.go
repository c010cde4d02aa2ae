package sender

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// MassGuard holds losses back while too many domains seem to lose their records
// at once: that is more often one mistake, of a provider of many zones or our own,
// than as many decisions. It is one row for the whole instance, and which domains
// are absent is in their own rows, so that all nodes see the same and a restart
// forgets nothing.
//
// A domain counts while something that holds is absent, be it verified or lapsing:
// until it is seen well again, has lapsed, or is deleted. Those held are looked at as
// if they were lapsing, so that a freeze ends when they come back or when an operator
// ends it, not by the passing of time.
type MassGuard struct {
	FrozenAt   time.Time // zero: nothing is held back
	ReleasedAt time.Time // what was absent by then is free to lapse; zero: there was no release
	ReleasedBy ID        // the credential; empty for the command line
	Reason     string    // of the release, for people
}

// massJudgement is what a look at a domain meant for the mass guard.
type massJudgement struct {
	held   bool // the domain's absences must take nothing from it
	turned bool // the guard froze or thawed
	guard  MassGuard
	absent int
}

// guardMass notes whether something of the domain that holds was absent, and freezes or
// thaws. A look at a domain that is as well as before asks the store for nothing. The
// guard's lock comes after all others.
func (s *Service) guardMass(ctx context.Context, tx Tx, d *Domain, purposes []dnscheck.Purpose, findings []dnscheck.Finding, now time.Time) (j massJudgement, err error) {
	v, _ := weighed(*d, findings)
	if v == learntNothing || v == stillThere && (d.AbsentSince.IsZero() || !isWell(*d, purposes, findings)) {
		return j, nil
	}
	if j.guard, err = tx.LockMassGuard(ctx); err != nil {
		return j, err
	}
	if j.absent, _, err = tx.CountAbsent(ctx, j.guard.ReleasedAt); err != nil {
		return j, err
	}
	if d.AbsentSince.After(j.guard.ReleasedAt) {
		j.absent--
	}
	switch {
	case v == stillThere:
		d.AbsentSince = time.Time{}
	case d.AbsentSince.IsZero():
		d.AbsentSince = now
		if !now.After(j.guard.ReleasedAt) { // the clock of the node that released was ahead
			d.AbsentSince = j.guard.ReleasedAt.Add(time.Microsecond)
		}
	}
	if d.AbsentSince.After(j.guard.ReleasedAt) {
		j.absent++
	}
	many, err := s.isMass(ctx, tx, j.absent)
	if err != nil {
		return j, err
	}
	j.held = many && d.AbsentSince.After(j.guard.ReleasedAt)
	if j.turned = many == j.guard.FrozenAt.IsZero(); !j.turned {
		return j, nil
	}
	event := EventMassThawed
	if j.guard.FrozenAt = (time.Time{}); many {
		event, j.guard.FrozenAt = EventMassFrozen, now
	}
	if err := tx.PutMassGuard(ctx, j.guard); err != nil {
		return j, err
	}
	return j, tx.InsertEvent(ctx, NewEvent(Principal{}, "", event, "", now, "absent", strconv.Itoa(j.absent)))
}

// isWell reports whether all that holds of these purposes was seen. Of others it was of late.
func isWell(d Domain, purposes []dnscheck.Purpose, findings []dnscheck.Finding) bool {
	return !slices.ContainsFunc(d.Facets, func(f Facet) bool {
		return f.Status.Holds() && wants(purposes, f.Purpose) && Observe(findingsOf(findings, f), false).Outcome != dnscheck.Match
	})
}

// isMass reports whether so many absent domains are too many.
func (s *Service) isMass(ctx context.Context, r Reader, absent int) (bool, error) {
	v := s.settings.Verify
	if v.MassGuard <= 0 || absent < max(v.MassLeast, 1) {
		return false, nil
	}
	// Of a large instance the count takes a while, and changes little.
	holding, ok := s.holding.Get("")
	if !ok {
		read := time.Now()
		var err error
		if holding, err = r.CountHolding(ctx); err != nil {
			return false, err
		}
		s.holding.Put("", holding, read)
	}
	return 100*float64(absent) > v.MassGuard*float64(holding), nil
}

// tellMass logs that the guard froze or thawed.
func (s *Service) tellMass(j massJudgement) {
	switch {
	case !j.turned:
	case j.guard.FrozenAt.IsZero():
		s.log.Warn("the domains that lost their records at once are back but for a few: absences count again", "absent", j.absent)
	default:
		s.log.Error("too many domains lost their records at once: until they are back no proof is lost; if they are gone for good, wait until all of them were looked at, then run postseal guard release",
			"absent", j.absent, "sweep", s.settings.Verify.VerifiedEvery)
	}
}

// MassState is what an operator wants to know of the mass guard.
type MassState struct {
	MassGuard
	Absent  int      // domains of which something that holds is absent, and that were not released
	Holding int      // domains of which something holds
	Domains []Domain // of the absent ones, those that have been so for longest
}

// massShown bounds MassState.Domains.
const massShown = 100

// MassState tells what the mass guard holds back. Operators only.
func (s *Service) MassState(ctx context.Context, p Principal) (MassState, error) {
	return MassStateOf(ctx, s.store, p)
}

// ReleaseMass lets all domains that are absent now lapse in their time, whatever their
// number: for losses that are true. Those that turn absent later are guarded as ever.
// Operators only. Errors: Required or Invalid on "reason", Conflict where nothing is held
// back.
func (s *Service) ReleaseMass(ctx context.Context, p Principal, reason string) (MassState, error) {
	state, err := ReleaseMass(ctx, s.store, p, reason)
	if err == nil {
		s.log.Warn("an operator released the domains that lost their records at once", "released", state.Absent, "by", p.Credential, "reason", reason)
		state.Absent, state.Domains = 0, nil
	}
	return state, err
}

// MassStateOf is Service.MassState on a store alone.
func MassStateOf(ctx context.Context, r Reader, p Principal) (m MassState, err error) {
	if !p.Operator {
		return m, onlyOperators()
	}
	if m.MassGuard, err = r.MassGuard(ctx); err != nil {
		return m, err
	}
	if m.Absent, _, err = r.CountAbsent(ctx, m.ReleasedAt); err != nil {
		return m, err
	}
	if m.Holding, err = r.CountHolding(ctx); err != nil {
		return m, err
	}
	m.Domains, err = r.AbsentDomains(ctx, m.ReleasedAt, massShown)
	return m, err
}

// ReleaseMass is Service.ReleaseMass on a store alone. What it returns is of before, but
// for the MassGuard.
func ReleaseMass(ctx context.Context, st Store, p Principal, reason string) (m MassState, err error) {
	if !p.Operator {
		return m, onlyOperators()
	}
	if err := checkLabel("reason", reason, 500); err != nil {
		return m, err
	}
	err = st.Update(ctx, func(tx Tx) error {
		if _, err := tx.LockMassGuard(ctx); err != nil {
			return err
		}
		if m, err = MassStateOf(ctx, tx, p); err != nil {
			return err
		}
		if m.FrozenAt.IsZero() {
			return Errorf(Conflict, "", "Nothing is held back, so that there is nothing to release.")
		}
		_, newest, err := tx.CountAbsent(ctx, m.ReleasedAt)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Truncate(time.Microsecond)
		m.MassGuard = MassGuard{ReleasedAt: now, ReleasedBy: p.Credential, Reason: reason}
		if newest.After(now) { // the clock of the node that saw it is ahead
			m.ReleasedAt = newest
		}
		if err := tx.PutMassGuard(ctx, m.MassGuard); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, "", EventMassReleased, "", now, "absent", strconv.Itoa(m.Absent), "reason", reason))
	})
	return m, err
}

func onlyOperators() *Error {
	return Errorf(Denied, "", "Only an operator can see and release the mass guard.")
}
