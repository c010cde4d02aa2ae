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
// Losses of everybody are held back where many tenants' domains are absent: no tenant
// counts for more than half of what it takes, so that none can keep the proofs of others
// from being lost. Where it is one tenant's domains, the losses of that tenant are.
//
// A domain counts while something that holds is absent, be it verified or lapsing:
// until it is seen well again, has lapsed, or is deleted. Those held are looked at as
// if they were lapsing, so that a freeze ends when they come back or when an operator
// ends it, not by the passing of time.
type MassGuard struct {
	FrozenAt   time.Time // since something is held back; zero: nothing is
	Everybody  bool      // the losses of all tenants are held back
	Tenants    []ID      // where not Everybody: those whose losses are; sorted
	ReleasedAt time.Time // what was absent by then is free to lapse; zero: there was no release
	ReleasedBy ID        // the credential; empty for the command line
	Reason     string    // of the release, for people
}

// massJudgement is what a look at a domain meant for the mass guard.
type massJudgement struct {
	held   bool // the domain's absences must take nothing from it
	guard  MassGuard
	absent map[ID]int // domains, by tenant
	froze  []ID       // whose losses are held back from now on; everybody: all
	thawed []ID       // and whose no longer
}

// everybody stands for all tenants in a massJudgement and in events.
const everybody ID = "everybody"

// whose are the tenants whose losses are held back.
func (g MassGuard) whose() []ID {
	if g.Everybody {
		return []ID{everybody}
	}
	return g.Tenants
}

// count is how many domains of a tenant, or of everybody, are absent.
func (j massJudgement) count(tenant ID) int {
	if tenant != everybody {
		return j.absent[tenant]
	}
	n := 0
	for _, of := range j.absent {
		n += of
	}
	return n
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
		j.absent[d.Tenant]--
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
	absent := d.AbsentSince.After(j.guard.ReleasedAt)
	if absent {
		j.absent[d.Tenant]++
	}
	before := j.guard.whose()
	if j.guard.Everybody, j.guard.Tenants, err = s.masses(ctx, tx, j.absent); err != nil {
		return j, err
	}
	after := j.guard.whose()
	j.held = absent && (j.guard.Everybody || slices.Contains(after, d.Tenant))
	if slices.Equal(before, after) {
		return j, nil
	}
	j.froze, j.thawed = without(after, before), without(before, after)
	switch {
	case len(after) == 0:
		j.guard.FrozenAt = time.Time{}
	case len(before) == 0:
		j.guard.FrozenAt = now
	}
	if err := tx.PutMassGuard(ctx, j.guard); err != nil {
		return j, err
	}
	for _, tenant := range slices.Concat(j.thawed, j.froze) {
		event := EventMassThawed
		if slices.Contains(j.froze, tenant) {
			event = EventMassFrozen
		}
		if err := tx.InsertEvent(ctx, NewEvent(Principal{}, "", event, "", now, "whose", string(tenant), "absent", strconv.Itoa(j.count(tenant)))); err != nil {
			return j, err
		}
	}
	return j, nil
}

// without returns the ids of a that are not in b.
func without(a, b []ID) (rest []ID) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			rest = append(rest, id)
		}
	}
	return rest
}

// isWell reports whether all that holds of these purposes was seen. Of others it was of late.
func isWell(d Domain, purposes []dnscheck.Purpose, findings []dnscheck.Finding) bool {
	return !slices.ContainsFunc(d.Facets, func(f Facet) bool {
		return f.Status.Holds() && wants(purposes, f.Purpose) && Observe(findingsOf(findings, f), false).Outcome != dnscheck.Match
	})
}

// masses tells of whom too many domains are absent, by how many are of each tenant: of
// everybody, or else of some tenants.
func (s *Service) masses(ctx context.Context, r Reader, absent map[ID]int) (all bool, tenants []ID, err error) {
	total := massJudgement{absent: absent}.count(everybody)
	if s.settings.Verify.MassGuard <= 0 || total < s.massLeast() {
		return false, nil, nil
	}
	need, err := s.mass(ctx, r, "")
	if err != nil {
		return false, nil, err
	}
	counted := 0
	for _, n := range absent {
		counted += min(n, (need+1)/2)
	}
	if counted >= need {
		return true, nil, nil
	}
	for tenant, n := range absent {
		if n < s.massLeast() {
			continue
		}
		if need, err = s.mass(ctx, r, tenant); err != nil {
			return false, nil, err
		}
		if n >= need {
			tenants = append(tenants, tenant)
		}
	}
	slices.Sort(tenants)
	return false, tenants, nil
}

func (s *Service) massLeast() int { return max(s.settings.Verify.MassLeast, 1) }

// mass is how many absent domains of a tenant are too many; of all tenants where it is empty.
func (s *Service) mass(ctx context.Context, r Reader, tenant ID) (int, error) {
	// Of a large instance the count takes a while, and changes little.
	holding, ok := s.holding.Get(tenant)
	if !ok {
		read := time.Now()
		var err error
		if holding, err = r.CountHolding(ctx, tenant); err != nil {
			return 0, err
		}
		s.holding.Put(tenant, holding, read)
	}
	return max(s.massLeast(), int(s.settings.Verify.MassGuard*float64(holding)/100)+1), nil
}

// tellMass logs whose losses the guard holds back from now on, and whose no longer.
func (s *Service) tellMass(j massJudgement) {
	for _, tenant := range j.froze {
		s.log.Error("too many domains lost their records at once: until they are back no proof is lost; if they are gone for good, wait until all of them were looked at, then run postseal guard release",
			"whose", tenant, "absent", j.count(tenant), "sweep", s.settings.Verify.VerifiedEvery)
	}
	for _, tenant := range j.thawed {
		s.log.Warn("the domains that lost their records at once are back but for a few: absences count again", "whose", tenant, "absent", j.count(tenant))
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
	absent, _, err := r.CountAbsent(ctx, m.ReleasedAt)
	if err != nil {
		return m, err
	}
	m.Absent = massJudgement{absent: absent}.count(everybody)
	if m.Holding, err = r.CountHolding(ctx, ""); err != nil {
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
