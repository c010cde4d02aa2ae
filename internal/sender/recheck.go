package sender

import (
	"context"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// RecheckDue looks at up to limit domains whose next check is due, a few at a
// time, and returns how many there were. Whoever falls due while it waits for slow ones
// is looked at as well, for a minute at most. Domains it doesn't come to finish fall
// due again when their lease ends.
func (s *Service) RecheckDue(ctx context.Context, limit int) (int, error) {
	const (
		atATime = 64 // most of them wait for the network
		few     = 16 // places are not worth a claim, unless nobody else leaves one for a while
		while   = time.Second
		most    = time.Minute
	)
	if err := s.recall(ctx); err != nil {
		return 0, err
	}
	ended := make(chan struct{}, atATime)
	running, looked := 0, 0
	defer func() {
		for ; running > 0; running-- {
			<-ended
		}
	}()
	for began := time.Now(); looked < limit && time.Since(began) < most && ctx.Err() == nil; {
		room := min(atATime-running, limit-looked)
		due, err := s.claimDue(ctx, room)
		if err != nil {
			return looked, err
		}
		for _, d := range due {
			go func() {
				defer func() { ended <- struct{}{} }()
				if err := s.recheck(ctx, d); err != nil && ctx.Err() == nil && KindOf(err) != NotFound {
					s.log.Warn("re-check of a domain failed; it is tried again soon", "tenant", d.Tenant, "domain", d.ID, "error", err)
				}
			}()
		}
		running, looked = running+len(due), looked+len(due)
		more, waited := len(due) == room, false
		for timer := time.After(while); ; {
			if running == 0 && !more {
				return looked, ctx.Err()
			}
			if free := atATime - running; running == 0 || more && free >= few || waited && free > 0 {
				break
			}
			select {
			case <-ended:
				running--
			case <-timer:
				waited = true
			}
		}
	}
	return looked, ctx.Err()
}

// recall makes domains due soon whose next check is further away than any is put off: a clock
// that was ahead, if only for a moment, would else leave them unwatched until that time.
func (s *Service) recall(ctx context.Context) error {
	if _, ok := s.recalled.Get(""); ok {
		return nil
	}
	v := s.settings.Verify
	now := s.now()
	beyond := now.Add(2 * max(v.VerifiedEvery, v.LapsingEvery, time.Hour))
	n := 0
	err := s.store.Update(ctx, func(tx Tx) (err error) {
		n, err = tx.BringDomainsForward(ctx, beyond, now, v.LapsingEvery)
		return err
	})
	if err != nil {
		return err
	}
	if n > 0 {
		s.log.Warn("domains were to be looked at too late, as by a clock that was ahead; they are looked at soon", "domains", n, "later_than", beyond)
	}
	s.recalled.Put("", true, time.Now())
	return nil
}

// claimDue takes domains that are due, so that nobody else looks at them for as long as that
// may take.
func (s *Service) claimDue(ctx context.Context, limit int) (due []Domain, err error) {
	const lease = 2 * time.Minute
	err = s.store.Update(ctx, func(tx Tx) error {
		due, err = tx.ClaimDueDomains(ctx, s.now(), s.now().Add(lease), limit)
		return err
	})
	return due, err
}

func (s *Service) recheck(ctx context.Context, d Domain) error {
	if slices.ContainsFunc(d.Facets, func(f Facet) bool { return f.Renewable(s.now(), s.settings.Verify) }) {
		var err error
		if d, err = s.renew(ctx, d); err != nil {
			return err
		}
	}
	purposes, err := s.unsettled(ctx, d)
	if err == nil {
		_, err = s.look(ctx, d, purposes, false, dnscheck.Glance)
	}
	return err
}

// unsettled lists the purposes that a domain is looked at for between two sweeps: not those
// that were seen well in the last one, so that one record which is gone, or one lost packet,
// does not cost the questions of all the others every time. nil means all, as in a sweep.
func (s *Service) unsettled(ctx context.Context, d Domain) ([]dnscheck.Purpose, error) {
	now := s.now()
	recent := func(f Facet) bool {
		return !f.CheckedAt.After(now) && now.Sub(f.CheckedAt) < s.settings.Verify.VerifiedEvery/2 && (f.Status == Verified || !s.worthWatching(d, f, now))
	}
	if !slices.ContainsFunc(d.Facets, recent) {
		return nil, nil
	}
	last, err := s.store.LastCheck(ctx, d.Tenant, d.ID)
	if err != nil && KindOf(err) != NotFound {
		return nil, err
	}
	var purposes []dnscheck.Purpose
	for _, f := range d.Facets {
		settled := recent(f) && (f.Status != Verified || Observe(findingsOf(last.Findings, f), false).Outcome == dnscheck.Match)
		if !settled && !slices.Contains(purposes, f.Purpose) {
			purposes = append(purposes, f.Purpose)
		}
	}
	return purposes, nil
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
