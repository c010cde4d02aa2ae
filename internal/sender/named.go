package sender

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// DomainNamed finds the domain that a tenant has registered by this name, in any
// spelling. Errors: Invalid on "domainName", NotFound.
func (s *Service) DomainNamed(ctx context.Context, p Principal, tenant ID, spelling string) (Domain, error) {
	name, err := dnscheck.ParseDomain(spelling)
	if err != nil {
		return Domain{}, &Error{Kind: Invalid, Field: "domainName", Detail: err.Error()}
	}
	if _, err := s.Authorize(ctx, p, tenant, RoleReader); err != nil {
		return Domain{}, err
	}
	d, err := s.store.DomainByName(ctx, tenant, name)
	if err != nil {
		return Domain{}, err
	}
	return knownTo(p, d)
}

// DomainOf finds the registered domain that an address or a domain lies in: its own,
// or else the nearest above. Errors: Required or Invalid on "identity", NotFound.
func (s *Service) DomainOf(ctx context.Context, p Principal, tenant ID, identity string) (Domain, error) {
	var name dnscheck.Name
	var err error
	if strings.Contains(identity, "@") || identity == "" {
		_, name, err = ParseMailbox("identity", identity)
	} else if name, err = dnscheck.ParseDomain(identity); err != nil {
		err = &Error{Kind: Invalid, Field: "identity", Detail: err.Error()}
	}
	if err != nil {
		return Domain{}, err
	}
	if _, err := s.Authorize(ctx, p, tenant, RoleReader); err != nil {
		return Domain{}, err
	}
	read, top := byName(ctx, s.store, tenant), name.Registrable()
	for n := 0; n <= maxAbove && !name.IsZero(); n++ {
		if d, err := read(name); err != nil {
			return Domain{}, err
		} else if d != nil {
			return knownTo(p, *d)
		}
		if name == top {
			break
		}
		name = name.Parent()
	}
	return Domain{}, notFound("email domain")
}

// knownTo hides all domains but one from a credential that is bound to it.
func knownTo(p Principal, d Domain) (Domain, error) {
	if p.Domain != "" && p.Domain != d.ID {
		return Domain{}, notFound("email domain")
	}
	return d, nil
}

// CheckSome is CheckDomain for a list, and for who reads one purpose in one region: of
// the domains that are not verified there it looks at a few, all at once, those first
// that were looked at longest ago, so that whoever lists them again and again sees
// all of them. It waits no longer than CheckDomain, and tells the others as they are
// known.
func (s *Service) CheckSome(ctx context.Context, p Principal, tenant ID, ds []Domain, few int, purpose dnscheck.Purpose, region string) ([]Domain, error) {
	var stale []int
	for i, d := range ds {
		if f := d.Facet(purpose, region); f.Status != Verified && !s.isFresh(f) {
			stale = append(stale, i)
		}
	}
	looked := func(i int) time.Time {
		last := ds[i].Facet(purpose, region).CheckedAt
		if v, _ := s.visited.Get(ds[i].ID); v.After(last) { // a look that learnt nothing new is not written
			last = v
		}
		return last
	}
	slices.SortStableFunc(stale, func(a, b int) int { return looked(a).Compare(looked(b)) })
	stale = stale[:min(few, len(stale))]
	for _, i := range stale {
		s.visited.Put(ds[i].ID, s.now(), time.Now())
	}
	ds = slices.Clone(ds)
	errs := make([]error, len(ds))
	forEach(stale, len(stale), func(i int) {
		switch d, err := s.CheckDomain(ctx, p, tenant, ds[i].ID, purpose); {
		case err == nil:
			ds[i] = d
		case KindOf(err) != NotFound: // deleted meanwhile
			errs[i] = err
		}
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return ds, nil
}

// SystemSender is the author of the service's own mail: the built-in no-reply.
func (s *Service) SystemSender() Mailbox { return s.provider.SystemSender() }
