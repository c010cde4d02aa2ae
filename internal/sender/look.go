package sender

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// CheckDomain returns a domain whose facets of these purposes are as fresh as a
// reader may expect: reading a status is the check. Verified facets come from
// the store, since the background looks after them. Others are looked at now,
// once for all who wait, unless a look at them has only just finished: whoever
// reads what, the DNS is asked about a purpose at most once within
// Verify.Freshness. CheckDomain waits no longer than Verify.Inline and then
// answers what is known; no purpose means all of them, and that the reader wants to
// know what is wrong rather than a status.
func (s *Service) CheckDomain(ctx context.Context, p Principal, tenant, id ID, purposes ...dnscheck.Purpose) (Domain, error) {
	read := time.Now()
	_, d, err := s.domain(ctx, p, tenant, id, RoleReader)
	if err != nil {
		return d, err
	}
	care := dnscheck.Glance
	if len(purposes) == 0 {
		care = dnscheck.Thorough
	}
	looks, outdated := s.join(ctx, d, s.stale(d, purposes), read, care)
	timer := time.NewTimer(s.settings.Verify.Inline)
	defer timer.Stop()
	for _, l := range looks {
		select {
		case <-l.done:
			if l.err != nil {
				return Domain{}, l.err
			}
		case <-timer.C:
			return d, nil // the look goes on and is stored; the next reader sees it
		case <-ctx.Done():
			return Domain{}, ctx.Err()
		}
	}
	switch {
	case len(looks) == 1 && !outdated:
		return looks[0].domain, nil
	case len(looks) > 0 || outdated:
		return s.store.Domain(ctx, tenant, id)
	}
	return d, nil
}

// look is one look at some purposes of a domain that clients wait for.
type look struct {
	done   chan struct{}
	domain Domain // written before done is closed, as is err
	err    error
}

// lookKey names what is looked at. Facets that moved meanwhile are another thing to look
// at, since findings about what they were are dropped; see learn.
type lookKey struct {
	domain  ID
	purpose dnscheck.Purpose
	facets  string
}

func keyOf(d Domain, p dnscheck.Purpose) lookKey {
	var facets strings.Builder
	for _, f := range d.Facets {
		if f.Purpose == p {
			fmt.Fprintln(&facets, f.Region, f.Epoch, f.Since.UnixMicro())
		}
	}
	return lookKey{d.ID, p, facets.String()}
}

// join returns the looks at these purposes that are under way, after it has begun one at
// those that nobody looks at. Looks that have only just finished are none any more;
// outdated tells that one did so after the domain was read.
func (s *Service) join(ctx context.Context, d Domain, purposes []dnscheck.Purpose, read time.Time, care dnscheck.Care) (looks []*look, outdated bool) {
	s.looksMu.Lock()
	defer s.looksMu.Unlock()
	own := &look{done: make(chan struct{})}
	var mine []dnscheck.Purpose
	for _, p := range purposes {
		key := keyOf(d, p)
		if at, fresh := s.looked.Get(key); fresh {
			outdated = outdated || !at.Before(read)
			continue
		}
		l := s.looks[key]
		if l == nil {
			l, s.looks[key] = own, own
			mine = append(mine, p)
		}
		if !slices.Contains(looks, l) {
			looks = append(looks, l)
		}
	}
	if len(mine) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.settings.Verify.Inline+10*time.Second)
		go func() {
			defer cancel()
			own.domain, own.err = s.look(ctx, d, mine, true, care)
			s.looksMu.Lock()
			defer s.looksMu.Unlock()
			for _, p := range mine {
				key := keyOf(d, p)
				delete(s.looks, key)
				if now := time.Now(); own.err == nil {
					s.looked.Put(key, now, now)
				}
			}
			close(own.done)
		}()
	}
	return looks, outdated
}

// stale lists those of the purposes with a facet that is not verified and was last checked
// too long ago.
func (s *Service) stale(d Domain, purposes []dnscheck.Purpose) (stale []dnscheck.Purpose) {
	for _, f := range d.Facets {
		if wants(purposes, f.Purpose) && f.Status != Verified && !s.isFresh(f) && !slices.Contains(stale, f.Purpose) {
			stale = append(stale, f.Purpose)
		}
	}
	return stale
}

// isFresh reports whether a facet was checked just now. A time to come is that of a clock that
// was ahead.
func (s *Service) isFresh(f Facet) bool {
	age := s.now().Sub(f.CheckedAt)
	return age >= 0 && age <= s.settings.Verify.Freshness
}
