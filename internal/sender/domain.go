package sender

import (
	"context"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Domain is a sending domain of one tenant; as a signer's identity it is the
// SDID of DKIM (RFC 6376, section 2.5).
type Domain struct {
	ID       ID
	Tenant   ID
	Name     dnscheck.Name // what is compared and published
	Spelling string        // what the client sent, and reads back
	Tokens   Tokens
	MailFrom MailFrom
	Facets   []Facet
	// ProvenAt is when the domain was first proven, zero if never. A domain that
	// was proven once and is no more has lost its proof, which is worse than
	// never having had one: see Decide.
	ProvenAt  time.Time
	NextCheck time.Time
	// AbsentSince is since when something that holds was not found; zero: all of it was
	// when last looked in the background. See MassGuard.
	AbsentSince time.Time
	Version     int64 // raised by every update
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Tokens are the secrets-in-public that only the owner of the DNS can publish:
// at least 128 random bits each, bound to tenant, domain and epoch.
type Tokens struct {
	Environment string         `json:"environment"`
	Regions     []RegionTokens `json:"regions"` // sorted by region
}

// RegionTokens are the tokens of one region.
type RegionTokens struct {
	Region    string   `json:"region"`
	Ownership string   `json:"ownership"`
	DKIM      []string `json:"dkim"` // three; the first has a key first
}

// Facet is the state of one aspect of a domain in one region.
type Facet struct {
	Purpose   dnscheck.Purpose `json:"purpose"`
	Region    string           `json:"region,omitzero"` // empty for environment and SPF
	Status    Status           `json:"status"`
	Epoch     int              `json:"epoch,omitzero"`     // raised when new tokens replace lapsed ones
	Since     time.Time        `json:"since"`              // when Status was reached
	CheckedAt time.Time        `json:"checkedAt,omitzero"` // when a check of it last finished
	Negatives int              `json:"negatives,omitzero"` // counted absences while lapsing
	CountedAt time.Time        `json:"countedAt,omitzero"` // when the last of them was counted
	Warned    bool             `json:"warned,omitzero"`    // the half-time warning is out
	// SilentSince is since when no look has learnt anything; zero: the last one did.
	SilentSince time.Time `json:"silentSince,omitzero"`
}

// Proves reports whether the facet grants power while verified. SPF and MX
// never do: their values are the same for every tenant.
func (f Facet) Proves() bool {
	return f.Purpose == dnscheck.Ownership || f.Purpose == dnscheck.Environment || f.Purpose == dnscheck.DKIM
}

// Facet returns the facet of that purpose and region; a pending one if the
// domain has none.
func (d Domain) Facet(p dnscheck.Purpose, region string) Facet {
	if i := d.facet(p, region); i >= 0 {
		return d.Facets[i]
	}
	return Facet{Purpose: p, Region: region, Status: Pending, Since: d.CreatedAt}
}

func (d Domain) facet(p dnscheck.Purpose, region string) int {
	return slices.IndexFunc(d.Facets, func(f Facet) bool { return f.Purpose == p && f.Region == region })
}

// Proven reports whether the tenant holds the domain now: by ownership in a
// region, by its environment record, or by the DKIM tokens of a region.
func (d Domain) Proven() bool {
	return slices.ContainsFunc(d.Facets, func(f Facet) bool { return f.Proves() && f.Status.Holds() })
}

// Holds reports whether any facet does, proving or not.
func (d Domain) Holds() bool {
	return slices.ContainsFunc(d.Facets, func(f Facet) bool { return f.Status.Holds() })
}

// ProofLost reports whether it was proven once and is no more.
func (d Domain) ProofLost() bool { return !d.ProvenAt.IsZero() && !d.Proven() }

// lostAt returns when the last of its proofs was lost; zero if none ever was.
func (d Domain) lostAt() (at time.Time) {
	for _, f := range d.Facets {
		if f.Proves() && f.Status == Lapsed && f.Since.After(at) {
			at = f.Since
		}
	}
	return at
}

// newFacets returns the pending facets of a domain with these regions.
func newFacets(regions []RegionTokens, now time.Time) []Facet {
	fs := make([]Facet, 0, 2*len(regions)+2)
	add := func(p dnscheck.Purpose, region string) {
		fs = append(fs, Facet{Purpose: p, Region: region, Status: Pending, Since: now})
	}
	for _, r := range regions {
		add(dnscheck.Ownership, r.Region)
	}
	add(dnscheck.Environment, "")
	for _, r := range regions {
		add(dnscheck.DKIM, r.Region)
	}
	add(dnscheck.SPF, "")
	return fs
}

// CreateDomain registers a domain by its name as sent. Errors: Required or
// Invalid on "domainName", Conflict where the tenant has it in any spelling,
// Limit.
func (s *Service) CreateDomain(ctx context.Context, p Principal, tenant ID, spelling string) (Domain, error) {
	t, err := s.Authorize(ctx, p, tenant, RoleAdmin)
	if err != nil {
		return Domain{}, err
	}
	if p.Domain != "" {
		return Domain{}, Errorf(Denied, "", "This credential is bound to one domain; it can't register others.")
	}
	if spelling == "" {
		return Domain{}, Errorf(Required, "domainName", "domainName is missing: send the domain to send mail from, such as mail.example.org.")
	}
	name, err := dnscheck.ParseDomain(spelling)
	if err != nil {
		return Domain{}, &Error{Kind: Invalid, Field: "domainName", Detail: err.Error()}
	}
	if err := s.notOurs("domainName", spelling, name); err != nil {
		return Domain{}, err
	}
	tokens, err := s.provider.Provision(ctx, t, name)
	if err != nil {
		return Domain{}, err
	}
	now := s.now()
	d := Domain{
		ID: NewID(), Tenant: t.ID, Name: name, Spelling: spelling, Tokens: tokens, Facets: newFacets(tokens.Regions, now),
		NextCheck: now.Add(s.settings.Verify.PendingEvery), Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, t.ID); err != nil {
			return err
		}
		if _, err := tx.DomainByName(ctx, t.ID, name); err == nil {
			return Errorf(Conflict, "domainName", "%s is already registered here.", quote(spelling))
		} else if KindOf(err) != NotFound {
			return err
		}
		if err := isMailFrom(ctx, tx, t.ID, name, "domainName"); err != nil {
			return err
		}
		n, err := tx.CountDomains(ctx, t.ID, t.Limits.Domains)
		if err != nil {
			return err
		}
		if n >= t.Limits.Domains {
			return Errorf(Limit, "domainName", "This environment has its %d domains; delete one that is no longer used, or ask the operator for a higher limit.", t.Limits.Domains)
		}
		if err := tx.InsertDomain(ctx, d); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, t.ID, EventDomainCreated, d.ID, now, "domainName", d.Spelling))
	})
	return d, err
}

// notOurs refuses names of the service itself, whose mail is the service's.
func (s *Service) notOurs(field, spelling string, name dnscheck.Name) error {
	if name == s.serviceName || name.IsBelow(s.serviceName) {
		return Errorf(Invalid, field, "%s belongs to this service itself; use a domain of your own.", quote(spelling))
	}
	return nil
}

// Domain returns one domain.
func (s *Service) Domain(ctx context.Context, p Principal, tenant, id ID) (Domain, error) {
	_, d, err := s.domain(ctx, p, tenant, id, RoleReader)
	return d, err
}

// domain loads a domain for a principal who needs this role.
func (s *Service) domain(ctx context.Context, p Principal, tenant, id ID, need Role) (Tenant, Domain, error) {
	t, err := s.Authorize(ctx, p, tenant, need)
	if err != nil {
		return Tenant{}, Domain{}, err
	}
	if p.Domain != "" && p.Domain != id {
		return Tenant{}, Domain{}, notFound("email domain")
	}
	d, err := s.store.Domain(ctx, tenant, id)
	return t, d, err
}

// Domains lists a tenant's domains in the order of their creation, and how many
// there are in all.
func (s *Service) Domains(ctx context.Context, p Principal, tenant ID, page Page) ([]Domain, int, error) {
	t, err := s.Authorize(ctx, p, tenant, RoleReader)
	if err != nil {
		return nil, 0, err
	}
	if p.Domain != "" {
		d, err := s.store.Domain(ctx, tenant, p.Domain)
		switch {
		case KindOf(err) == NotFound: // it was deleted
			return nil, 0, nil
		case err != nil:
			return nil, 0, err
		case p.Domain <= page.After:
			return nil, 1, nil
		}
		return []Domain{d}, 1, nil
	}
	ds, err := s.store.Domains(ctx, tenant, page)
	if err != nil {
		return nil, 0, err
	}
	n := len(ds)
	if page.After != "" || (page.Limit > 0 && n == page.Limit) {
		if n, err = s.store.CountDomains(ctx, tenant, max(t.Limits.Domains, n)); err != nil {
			return nil, 0, err
		}
	}
	return ds, n, nil
}

// DeleteDomain removes a domain. One that still has addresses is InUse, unless
// withAddresses says that they shall go with it. Its tokens are never given out
// again, its DKIM keys stay as tombstones that answer to nobody, and its records are
// looked for once a day, see Leftovers.
func (s *Service) DeleteDomain(ctx context.Context, p Principal, tenant, id ID, withAddresses bool) error {
	_, d, err := s.domain(ctx, p, tenant, id, RoleAdmin)
	if err != nil {
		return err
	}
	defer s.changes.Add(1)
	return s.store.Update(ctx, func(tx Tx) error {
		if err := s.lockName(ctx, tx, d.Name); err != nil {
			return err
		}
		if err := tx.LockDomain(ctx, tenant, d.Name); err != nil {
			return err
		}
		as, err := tx.Addresses(ctx, tenant, d.Name, Page{})
		if err != nil {
			return err
		}
		if len(as) > 0 && !withAddresses {
			return Errorf(InUse, "trustedEmails", "%s still has trusted email addresses; delete them first.", quote(d.Spelling))
		}
		for _, a := range as {
			if err := tx.DeleteAddress(ctx, tenant, a.ID); err != nil {
				return err
			}
			if err := tx.InsertEvent(ctx, NewEvent(p, tenant, EventAddressDeleted, a.ID, s.now(), "with", string(id))); err != nil {
				return err
			}
		}
		if d, err = tx.Domain(ctx, tenant, id); err != nil { // as it is now: others may be writing it
			return err
		}
		if err := s.withdraw(ctx, tx, d); err != nil {
			return err
		}
		if err := s.bury(ctx, tx, d); err != nil {
			return err
		}
		if err := tx.DeleteDomain(ctx, tenant, id); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventDomainDeleted, id, s.now(), "domainName", d.Spelling))
	})
}

// Records lists what the owner of the domain has to publish.
func (s *Service) Records(d Domain) []dnscheck.Record { return s.provider.Records(d) }
