package sender

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Check is the newest evidence about a domain: a finding per record.
type Check struct {
	Tenant   ID
	Domain   ID
	At       time.Time
	Findings []dnscheck.Finding
}

// wants reports whether a purpose is among the wanted ones. Whoever wants SPF wants it
// where it is to be; see Domain.SPFPurpose.
func wants(purposes []dnscheck.Purpose, p dnscheck.Purpose) bool {
	return len(purposes) == 0 || slices.Contains(purposes, p) || p == dnscheck.MailFromSPF && slices.Contains(purposes, dnscheck.SPF)
}

// look asks the DNS about the domain's facets of these purposes and stores what
// follows.
func (s *Service) look(ctx context.Context, d Domain, purposes []dnscheck.Purpose, asked bool, care dnscheck.Care) (Domain, error) {
	var want []dnscheck.Record
	for _, r := range s.provider.Records(d) {
		if wants(purposes, r.Purpose) {
			want = append(want, r)
		}
	}
	checker := s.checkerOf(d, asked)
	findings := checker.Look(ctx, d.Name, want, care)
	if !asked {
		findings = s.doubt(ctx, checker, d, want, findings)
	}
	if ctx.Err() != nil {
		return d, ctx.Err()
	}
	return s.learn(ctx, d, purposes, findings, asked)
}

// checkerOf returns who looks at a domain. What may cost a proof is looked at apart from what
// the tenant asks for, or makes us look at by registering names: it could else have us ask so
// much that we never learn that it has lost one.
func (s *Service) checkerOf(d Domain, asked bool) Checker {
	if s.share == nil {
		return s.checker
	}
	return s.share(string(d.Tenant), !asked && d.Holds())
}

// learn applies findings about asked, as the domain was before the DNS was, to
// the domain as it is now. What they say of a facet that has moved meanwhile is
// dropped: of another epoch's tokens it proves nothing, and a look that began
// before the owner had published must not make a facet lapse that another look
// has just verified.
func (s *Service) learn(ctx context.Context, asked Domain, purposes []dnscheck.Purpose, findings []dnscheck.Finding, byClient bool) (Domain, error) {
	var d Domain
	var moved bool
	var mass massJudgement
	holder, sentAt, err := s.holderSent(ctx, asked)
	if err != nil {
		return d, err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := s.lockName(ctx, tx, asked.Name); err != nil {
			return err
		}
		if err := tx.LockDomain(ctx, asked.Tenant, asked.Name); err != nil {
			return err
		}
		var err error
		if d, err = tx.Domain(ctx, asked.Tenant, asked.ID); err != nil {
			return err
		}
		now := s.now()
		held := d.Proven()
		current := slices.DeleteFunc(slices.Clone(findings), func(f dnscheck.Finding) bool {
			was, is := asked.Facet(f.Purpose, f.Region), d.Facet(f.Purpose, f.Region)
			return is.Epoch != was.Epoch || !is.Since.Equal(was.Since)
		})
		contest, err := s.claim(ctx, tx, d, current, holder, sentAt, now, byClient)
		if err != nil {
			return err
		}
		mass = massJudgement{}
		if !byClient {
			if mass, err = s.guardMass(ctx, tx, &d, purposes, current, now); err != nil {
				return err
			}
		}
		seen := make([]Observation, len(d.Facets))
		moved = false
		for i, f := range d.Facets {
			own := findingsOf(current, f)
			if seen[i] = Observe(own, byClient); len(own) == 0 {
				continue
			}
			seen[i].Held = mass.held
			if contest.bars(f) {
				d.Facets[i].CheckedAt = now
				continue
			}
			var move *Move
			d.Facets[i], move = Next(f, seen[i], now, s.settings.Verify)
			moved = moved || d.Facets[i].Status != f.Status
			if move != nil {
				if err := tx.InsertEvent(ctx, NewEvent(Principal{}, d.Tenant, move.Event, d.ID, now,
					"domainName", d.Spelling, "purpose", string(f.Purpose), "region", f.Region, "stage", move.Stage)); err != nil {
					return err
				}
			}
		}
		if err := s.holdName(ctx, tx, d, contest, now); err != nil {
			return err
		}
		known, err := s.keepFindings(ctx, tx, d, current, now)
		if err != nil {
			return err
		}
		if byClient && known && !moved {
			return nil // reading a status again and again must not write again and again
		}
		switch proven := d.Proven(); {
		case proven && !held:
			if d.ProvenAt.IsZero() {
				d.ProvenAt = now
			}
			if err := tx.InsertEvent(ctx, NewEvent(Principal{}, d.Tenant, EventDomainProven, d.ID, now, "domainName", d.Spelling)); err != nil {
				return err
			}
			if err := tx.Enqueue(ctx, Task{Kind: TaskKeys, Tenant: d.Tenant, Object: d.ID}); err != nil {
				return err
			}
		case held && !proven:
			if err := tx.InsertEvent(ctx, NewEvent(Principal{}, d.Tenant, EventDomainProofLost, d.ID, now, "domainName", d.Spelling)); err != nil {
				return err
			}
		}
		d.NextCheck = s.nextCheck(d, purposes, seen, now, byClient)
		if !d.Holds() { // nothing is left that could be absent
			d.AbsentSince = time.Time{}
		}
		d.UpdatedAt = now
		if err := tx.UpdateDomain(ctx, d); err != nil {
			return err
		}
		d.Version++
		return nil
	})
	if moved {
		s.changes.Add(1)
	}
	if err == nil {
		s.tellMass(mass)
	}
	return d, err
}

// nextCheck returns when a domain is worth looking at again after a look at these
// purposes of it.
// A client's may bring that nearer, for the facets it asked for, and never put
// it off: else whoever asks often enough would keep a proof from ever being
// found lost.
func (s *Service) nextCheck(d Domain, purposes []dnscheck.Purpose, seen []Observation, now time.Time, byClient bool) time.Time {
	var next time.Time
	for i, f := range d.Facets {
		if !s.worthWatching(d, f, now) || byClient && !f.CheckedAt.Equal(now) { // not asked for
			continue
		}
		at := NextCheck(f, seen[i], now, s.settings.Verify)
		if !byClient && !wants(purposes, f.Purpose) { // settled
			at = NextCheck(f, Observation{Outcome: dnscheck.Match}, f.CheckedAt, s.settings.Verify)
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	switch {
	case byClient && next.IsZero():
		return d.NextCheck
	case next.IsZero():
		next = now.Add(s.settings.Verify.VerifiedEvery)
	}
	next = now.Add(jitter(next.Sub(now)))
	if byClient && d.NextCheck.Before(next) {
		return d.NextCheck
	}
	return next
}

// worthWatching: the environment record is optional and SPF proves nothing, so that while
// they are merely absent they don't keep a proven domain on close watch, once they have had
// the time to come along with the record that proved it.
func (s *Service) worthWatching(d Domain, f Facet, now time.Time) bool {
	optional := f.Purpose == dnscheck.Environment || f.Purpose == dnscheck.SPF
	return f.Status != Pending || !optional || !d.Proven() || now.Sub(d.ProvenAt) < s.settings.Verify.PendingClose
}

func findingsOf(all []dnscheck.Finding, f Facet) []dnscheck.Finding {
	var own []dnscheck.Finding
	for _, x := range all {
		if x.Purpose == f.Purpose && x.Region == f.Region {
			own = append(own, x)
		}
	}
	return own
}

// keepFindings replaces the findings about the same records and keeps the rest;
// known reports that the kept ones said the same already.
func (s *Service) keepFindings(ctx context.Context, tx Tx, d Domain, findings []dnscheck.Finding, now time.Time) (known bool, err error) {
	last, err := tx.LastCheck(ctx, d.Tenant, d.ID)
	if err != nil && KindOf(err) != NotFound {
		return false, err
	}
	fresh := make(map[dnscheck.Purpose]bool)
	for _, f := range findings {
		fresh[f.Purpose] = true
	}
	var kept, old []dnscheck.Finding
	for _, f := range last.Findings {
		if fresh[f.Purpose] {
			old = append(old, f)
		} else {
			kept = append(kept, f)
		}
	}
	if slices.EqualFunc(old, findings, sameVerdict) {
		return true, nil
	}
	if entries := changes(old, findings, d, now); len(entries) > 0 {
		if err := tx.AddTimeline(ctx, d.Tenant, d.ID, entries, timelineKeep); err != nil {
			return false, err
		}
	}
	return false, tx.SaveCheck(ctx, Check{Tenant: d.Tenant, Domain: d.ID, At: now, Findings: append(kept, findings...)})
}

// sameVerdict ignores who was asked and when it is worth asking again.
func sameVerdict(a, b dnscheck.Finding) bool {
	return a.Name == b.Name && a.Region == b.Region && a.Code == b.Code && a.Outcome == b.Outcome && a.Expected == b.Expected &&
		a.Fix == b.Fix && slices.Equal(a.Observed, b.Observed)
}

// jitter spreads a wait by a tenth either way, so that domains registered
// together are not checked together for ever.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/10 + time.Duration(rand.Int64N(int64(d)/5+1))
}

// Findings returns the newest evidence about a domain; a Check without findings
// before the first look.
func (s *Service) Findings(ctx context.Context, p Principal, tenant, id ID) (Domain, Check, error) {
	_, d, err := s.domain(ctx, p, tenant, id, RoleReader)
	if err != nil {
		return Domain{}, Check{}, err
	}
	c, err := s.store.LastCheck(ctx, tenant, id)
	if KindOf(err) == NotFound {
		return d, Check{Tenant: tenant, Domain: id}, nil
	}
	for _, f := range d.Facets { // findings are kept when they change, facets when they are looked at
		if f.CheckedAt.After(c.At) {
			c.At = f.CheckedAt
		}
	}
	return d, c, err
}

// MakeKeys does TaskKeys: makes the DKIM keys that a domain lacks. A domain
// deleted meanwhile needs none.
func (s *Service) MakeKeys(ctx context.Context, tenant, id ID) error {
	d, err := s.store.Domain(ctx, tenant, id)
	if err == nil {
		if err = s.provider.MakeKeys(ctx, d); err != nil {
			if _, gone := s.store.Domain(ctx, tenant, id); KindOf(gone) == NotFound {
				return nil // deleted meanwhile, and its keys revoked
			}
		}
	}
	if KindOf(err) == NotFound {
		return nil
	}
	return err
}
