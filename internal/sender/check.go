package sender

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
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

// CheckDomain returns a domain whose facets of these purposes are as fresh as a
// reader may expect: reading a status is the check. Verified facets come from
// the store, since the background looks after them. Others are looked at now,
// once for all who wait, unless a check of them has only just finished. It
// waits no longer than Verify.Inline and then answers what is known; no purpose
// means all of them.
func (s *Service) CheckDomain(ctx context.Context, p Principal, tenant, id ID, purposes ...dnscheck.Purpose) (Domain, error) {
	_, d, err := s.domain(ctx, p, tenant, id, RoleReader)
	what := string(id) + " " + strconv.FormatInt(d.Version, 10) + " " + joinPurposes(purposes) // what changed since is another thing to look at
	if _, fresh := s.looked.Get(what); err != nil || fresh || !s.stale(d, purposes) {
		return d, err
	}
	flight := s.flight.DoChan(what, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.settings.Verify.Inline+10*time.Second)
		defer cancel()
		d, err := s.look(ctx, d, purposes, true)
		if err == nil {
			s.looked.Put(what, true, time.Now())
		}
		return d, err
	})
	timer := time.NewTimer(s.settings.Verify.Inline)
	defer timer.Stop()
	select {
	case r := <-flight:
		if r.Err != nil {
			return Domain{}, r.Err
		}
		return r.Val.(Domain), nil
	case <-timer.C:
		return d, nil // the check goes on and is stored; the next reader sees it
	case <-ctx.Done():
		return Domain{}, ctx.Err()
	}
}

func joinPurposes(ps []dnscheck.Purpose) string {
	words := make([]string, len(ps))
	for i, p := range ps {
		words[i] = string(p)
	}
	return strings.Join(words, ",")
}

// stale reports whether any facet of these purposes is unverified and was last
// checked too long ago.
func (s *Service) stale(d Domain, purposes []dnscheck.Purpose) bool {
	return slices.ContainsFunc(d.Facets, func(f Facet) bool {
		return wants(purposes, f.Purpose) && f.Status != Verified && s.now().Sub(f.CheckedAt) > s.settings.Verify.Freshness
	})
}

// wants reports whether a purpose is among the wanted ones. Whoever wants SPF wants it
// where it is to be; see Domain.SPFPurpose.
func wants(purposes []dnscheck.Purpose, p dnscheck.Purpose) bool {
	return len(purposes) == 0 || slices.Contains(purposes, p) || p == dnscheck.MailFromSPF && slices.Contains(purposes, dnscheck.SPF)
}

// look asks the DNS about the domain's facets of these purposes and stores what
// follows.
func (s *Service) look(ctx context.Context, d Domain, purposes []dnscheck.Purpose, asked bool) (Domain, error) {
	var want []dnscheck.Record
	for _, r := range s.provider.Records(d) {
		if wants(purposes, r.Purpose) {
			want = append(want, r)
		}
	}
	findings := s.checker.Check(ctx, d.Name, want)
	if !asked {
		findings = s.doubt(ctx, d, want, findings)
	}
	if ctx.Err() != nil {
		return d, ctx.Err()
	}
	return s.learn(ctx, d, findings, asked)
}

// learn applies findings about asked, as the domain was before the DNS was, to
// the domain as it is now. What they say of a facet that has moved meanwhile is
// dropped: of another epoch's tokens it proves nothing, and a look that began
// before the owner had published must not make a facet lapse that another look
// has just verified.
func (s *Service) learn(ctx context.Context, asked Domain, findings []dnscheck.Finding, byClient bool) (Domain, error) {
	var d Domain
	var moved bool
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
		seen := make([]Observation, len(d.Facets))
		moved = false
		for i, f := range d.Facets {
			own := findingsOf(current, f)
			if seen[i] = Observe(own, byClient); len(own) == 0 {
				continue
			}
			seen[i].Held = s.mass.holds(f, now)
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
		d.NextCheck = s.nextCheck(d, seen, now, byClient)
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
	return d, err
}

// nextCheck returns when a domain is worth looking at again after a look at it.
// A client's may bring that nearer, for the facets it asked for, and never put
// it off: else whoever asks often enough would keep a proof from ever being
// found lost.
func (s *Service) nextCheck(d Domain, seen []Observation, now time.Time, byClient bool) time.Time {
	var next time.Time
	for i, f := range d.Facets {
		if !worthWatching(d, f) || byClient && !f.CheckedAt.Equal(now) { // not asked for
			continue
		}
		if at := NextCheck(f, seen[i], now, s.settings.Verify); next.IsZero() || at.Before(next) {
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

// worthWatching: the environment record is optional and SPF proves nothing, so
// that while they are merely absent they don't keep a proven domain on close
// watch.
func worthWatching(d Domain, f Facet) bool {
	optional := f.Purpose == dnscheck.Environment || f.Purpose == dnscheck.SPF
	return f.Status != Pending || !optional || !d.Proven()
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

// RecheckDue looks at up to limit domains whose next check is due, a few at a
// time, and returns how many there were. Domains it doesn't come to finish fall
// due again when their lease ends.
func (s *Service) RecheckDue(ctx context.Context, limit int) (int, error) {
	const lease = 2 * time.Minute
	const atATime = 64 // most of them wait for the network
	var due []Domain
	err := s.store.Update(ctx, func(tx Tx) error {
		var err error
		due, err = tx.ClaimDueDomains(ctx, s.now(), s.now().Add(lease), limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	forEach(due, atATime, func(d Domain) {
		if err := s.recheck(ctx, d); err != nil && ctx.Err() == nil && KindOf(err) != NotFound {
			s.log.Warn("re-check of a domain failed; it is tried again soon", "tenant", d.Tenant, "domain", d.ID, "error", err)
		}
	})
	return len(due), ctx.Err()
}

func (s *Service) recheck(ctx context.Context, d Domain) error {
	if slices.ContainsFunc(d.Facets, func(f Facet) bool { return f.Renewable(s.now(), s.settings.Verify) }) {
		var err error
		if d, err = s.renew(ctx, d); err != nil {
			return err
		}
	}
	_, err := s.look(ctx, d, nil, false)
	return err
}

// renew replaces the tokens of facets that lapsed too long ago: a new epoch,
// pending again.
func (s *Service) renew(ctx context.Context, old Domain) (Domain, error) {
	t, err := s.tenant(ctx, old.Tenant)
	if err != nil {
		return Domain{}, err
	}
	fresh, err := s.provider.Provision(ctx, t, old.Name)
	if err != nil {
		return Domain{}, err
	}
	var d Domain
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockDomain(ctx, old.Tenant, old.Name); err != nil {
			return err
		}
		var err error
		if d, err = tx.Domain(ctx, old.Tenant, old.ID); err != nil {
			return err
		}
		now := s.now()
		for i, f := range d.Facets {
			if !f.Renewable(now, s.settings.Verify) {
				continue
			}
			d.Facets[i] = Facet{Purpose: f.Purpose, Region: f.Region, Status: Pending, Epoch: f.Epoch + 1, Since: now}
			if f.Purpose == dnscheck.Environment {
				d.Tokens.Environment = fresh.Environment
			}
			for j, r := range d.Tokens.Regions {
				k := slices.IndexFunc(fresh.Regions, func(x RegionTokens) bool { return x.Region == r.Region })
				if r.Region != f.Region || k < 0 {
					continue
				}
				switch f.Purpose {
				case dnscheck.Ownership:
					d.Tokens.Regions[j].Ownership = fresh.Regions[k].Ownership
				case dnscheck.DKIM:
					d.Tokens.Regions[j].DKIM = fresh.Regions[k].DKIM
				}
			}
			if err := tx.InsertEvent(ctx, NewEvent(Principal{}, d.Tenant, EventFacetRenewed, d.ID, now, "domainName", d.Spelling, "purpose", string(f.Purpose), "region", f.Region)); err != nil {
				return err
			}
		}
		if d.Proven() { // by something else; where not, the keys are made when it is
			if err := tx.Enqueue(ctx, Task{Kind: TaskKeys, Tenant: d.Tenant, Object: d.ID}); err != nil {
				return err
			}
		}
		d.UpdatedAt = now
		if err := tx.UpdateDomain(ctx, d); err != nil {
			return err
		}
		d.Version++
		return nil
	})
	s.changes.Add(1)
	return d, err
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
