package sender

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// DefaultOrganization always exists; tenants made without naming one belong to it.
const DefaultOrganization ID = "0197a000-0000-7000-8000-000000000001"

// Organization groups tenants, so that a credential can be granted a role in
// all of them at once (PingOne's organization).
type Organization struct {
	ID        ID
	Name      string
	CreatedAt time.Time
}

// Tenant is one ADMD (RFC 5598, section 2.3): a PingOne environment, a PingID
// account, a SailPoint tenant.
type Tenant struct {
	ID           ID
	Organization ID
	Name         string
	Type         AccountType
	Geography    string
	Regions      []string // of the geography at creation, sorted, at least one
	RecordSet    RecordSet
	FromPolicy   FromPolicy
	Limits       Limits
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// HomeRegion is the region that dialects show which know only one.
func (t Tenant) HomeRegion() string { return t.Regions[0] }

// AccountType is PingOne's environment type.
type AccountType string

// The account types.
const (
	Sandbox    AccountType = "SANDBOX"
	Production AccountType = "PRODUCTION"
)

// RecordSet says whether the regions of a tenant have tokens of their own.
type RecordSet string

// The record sets.
const (
	PerRegion RecordSet = "per-region" // own tokens in every region, as the seeds show it
	Shared    RecordSet = "shared"     // the same tokens in every region: far fewer records to publish
)

// FromPolicy says what a proven mailbox may do where its domain is not proven.
type FromPolicy string

// The policies.
const (
	ByAddress FromPolicy = "address" // it may send, unaligned, as with SES
	ByDomain  FromPolicy = "domain"  // it may not
)

// Limits of one tenant, each a count.
type Limits struct {
	Domains            int // in the tenant
	AddressesPerDomain int
	Templates          int // in the tenant
}

// DefaultLimits are those of the PingOne and PingID documents.
var DefaultLimits = Limits{Domains: 50, AddressesPerDomain: 10, Templates: 1000}

// Role of a credential in a tenant. Each includes the one before it.
type Role string

// The roles.
const (
	RoleReader Role = "reader" // read everything but secrets
	RoleSender Role = "sender" // and send mail
	RoleAdmin  Role = "admin"  // and change domains, addresses, templates, credentials
)

func (r Role) rank() int { return slices.Index([]Role{RoleReader, RoleSender, RoleAdmin}, r) + 1 }

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return r.rank() > 0 }

// Grant gives a role in one tenant or in all tenants of one organization;
// exactly one of the two ids is set.
type Grant struct {
	Tenant       ID   `json:"tenant,omitzero"`
	Organization ID   `json:"organization,omitzero"`
	Role         Role `json:"role"`
}

// Principal is who asks: an authenticated credential with what it was granted.
type Principal struct {
	Credential ID
	Home       ID // the credential's tenant; empty for an operator
	Operator   bool
	Grants     []Grant
	Domain     ID // when set, the credential is bound to this one domain
}

// RoleIn returns the strongest role that p has in t, "" for none.
func (p Principal) RoleIn(t Tenant) Role {
	if p.Operator {
		return RoleAdmin
	}
	var best Role
	for _, g := range p.Grants {
		if (g.Tenant == t.ID || (g.Organization != "" && g.Organization == t.Organization)) && g.Role.rank() > best.rank() {
			best = g.Role
		}
	}
	return best
}

// Authorize loads a tenant for a principal who needs at least this role in it.
// A tenant the principal has no role in does not exist for them (NotFound);
// one where the role is too weak is Denied.
func (s *Service) Authorize(ctx context.Context, p Principal, tenant ID, need Role) (Tenant, error) {
	t, err := s.tenant(ctx, tenant)
	if err != nil {
		return Tenant{}, err
	}
	switch have := p.RoleIn(t); {
	case have == "":
		return Tenant{}, notFound("environment")
	case have.rank() < need.rank():
		return Tenant{}, Errorf(Denied, "", "This credential has the role %s; the call needs %s.", have, need)
	}
	return t, nil
}

// AuthorizeWhole is Authorize for what belongs to the tenant as a whole: a
// credential that is bound to one domain is Denied.
func (s *Service) AuthorizeWhole(ctx context.Context, p Principal, tenant ID, need Role) (Tenant, error) {
	t, err := s.Authorize(ctx, p, tenant, need)
	if err == nil && p.Domain != "" {
		err = Errorf(Denied, "", "This credential is bound to one domain; it can't use what belongs to the whole environment.")
	}
	return t, err
}

// maxOwnTenants is how many tenants an organization can have for its admins to make one
// more: each costs checks and workers. Two that are made at once may be one too many.
const maxOwnTenants = 100

// NewTenant is what an operator says of a tenant to be made. Zero values take
// the defaults of the instance.
type NewTenant struct {
	ID           ID // made when empty
	Organization ID
	Name         string
	Type         AccountType
	Geography    string
	Regions      []string // instead of those of the geography; sorted here
	RecordSet    RecordSet
	FromPolicy   FromPolicy
	Limits       Limits
}

// manages reports whether p may make, change and delete tenants of an organization.
func (p Principal) manages(organization ID) bool {
	return p.Operator || p.Domain == "" && slices.ContainsFunc(p.Grants, func(g Grant) bool {
		return organization != "" && g.Organization == organization && g.Role == RoleAdmin
	})
}

// CreateTenant makes a tenant: operators do, and who is admin of the organization,
// which then leaves everything that costs the operator something to the defaults. Where
// none is named, it is the one that p is admin of, or else the default one.
func (s *Service) CreateTenant(ctx context.Context, p Principal, n NewTenant) (Tenant, error) {
	if !p.Operator {
		for _, g := range p.Grants {
			if n.Organization == "" && p.manages(g.Organization) {
				n.Organization = g.Organization
			}
		}
		if !p.manages(n.Organization) {
			return Tenant{}, Errorf(Denied, "", "Only an operator, or an admin of the whole organization, makes environments.")
		}
		if n.ID != "" || len(n.Regions) > 0 || n.RecordSet != "" || n.FromPolicy != "" || n.Limits != (Limits{}) {
			return Tenant{}, Errorf(Denied, "", "Only an operator chooses the id, the regions, the record set, the policy and the limits of an environment.")
		}
	}
	now := s.now()
	t := Tenant{
		ID: n.ID, Organization: n.Organization, Name: n.Name, Type: n.Type, Geography: n.Geography, RecordSet: n.RecordSet,
		FromPolicy: n.FromPolicy, Limits: n.Limits, CreatedAt: now, UpdatedAt: now,
	}
	orDefault(&t.ID, NewID())
	orDefault(&t.Organization, DefaultOrganization)
	orDefault(&t.Type, Sandbox)
	orDefault(&t.RecordSet, PerRegion)
	orDefault(&t.FromPolicy, ByAddress)
	orDefault(&t.Geography, s.settings.DefaultGeography)
	orDefault(&t.Limits.Domains, DefaultLimits.Domains)
	orDefault(&t.Limits.AddressesPerDomain, DefaultLimits.AddressesPerDomain)
	orDefault(&t.Limits.Templates, DefaultLimits.Templates)
	if err := checkLabel("name", t.Name, 100); err != nil {
		return Tenant{}, err
	}
	if _, ok := ParseID(string(t.ID)); !ok {
		return Tenant{}, Errorf(Invalid, "id", "%s is not a lower-case hyphenated UUID.", quote(string(t.ID)))
	}
	if err := t.Type.check(); err != nil {
		return Tenant{}, err
	}
	if t.RecordSet != PerRegion && t.RecordSet != Shared {
		return Tenant{}, Errorf(Invalid, "recordSet", "%s is not a record set; use per-region or shared.", quote(string(t.RecordSet)))
	}
	if t.FromPolicy != ByAddress && t.FromPolicy != ByDomain {
		return Tenant{}, Errorf(Invalid, "fromPolicy", "%s is not a policy; use address or domain.", quote(string(t.FromPolicy)))
	}
	for _, l := range []struct {
		field string
		n     int
	}{{"limits.domains", t.Limits.Domains}, {"limits.addressesPerDomain", t.Limits.AddressesPerDomain}, {"limits.templates", t.Limits.Templates}} {
		if l.n < 0 || l.n > 1_000_000 {
			return Tenant{}, Errorf(Invalid, l.field, "%d is out of range; a limit is from 1 to 1000000.", l.n)
		}
	}
	regions, ok := s.settings.Geographies[t.Geography]
	if !ok {
		known := slices.Sorted(maps.Keys(s.settings.Geographies))
		return Tenant{}, Errorf(Invalid, "geography", "%s is not a geography of this instance; use one of %s.", quote(t.Geography), strings.Join(known, ", "))
	}
	if len(n.Regions) > 0 {
		regions = n.Regions
		for _, r := range regions {
			if err := checkLabel("regions", r, 40); err != nil {
				return Tenant{}, err
			}
		}
	}
	t.Regions = slices.Compact(slices.Sorted(slices.Values(regions)))

	err := s.store.Update(ctx, func(tx Tx) error {
		if _, err := tx.Organization(ctx, t.Organization); err != nil {
			return err
		}
		if !p.Operator {
			there, err := tx.TenantsOf(ctx, nil, []ID{t.Organization}, Page{Limit: maxOwnTenants})
			if err != nil {
				return err
			}
			if len(there) >= maxOwnTenants {
				return Errorf(Limit, "environments", "The organization has %d environments, which is as many as it can make itself; the operator can make more.", maxOwnTenants)
			}
		}
		if err := tx.InsertTenant(ctx, t); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, t.ID, EventTenantCreated, t.ID, now, "name", t.Name))
	})
	return t, err
}

// TenantChange is what is to become of a tenant; empty members stay as they are.
type TenantChange struct {
	Name string
	Type AccountType
}

// managed loads a tenant for a principal who may change and delete it.
func (s *Service) managed(ctx context.Context, p Principal, tenant ID) (Tenant, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader)
	if err == nil && !p.manages(t.Organization) {
		err = Errorf(Denied, "", "Only an operator, or an admin of the whole organization, changes environments.")
	}
	return t, err
}

// UpdateTenant changes a tenant. Operators do, and admins of its organization. Errors:
// Invalid on "name" or "type".
func (s *Service) UpdateTenant(ctx context.Context, p Principal, tenant ID, c TenantChange) (Tenant, error) {
	if _, err := s.managed(ctx, p, tenant); err != nil {
		return Tenant{}, err
	}
	if c.Name != "" {
		if err := checkLabel("name", c.Name, 100); err != nil {
			return Tenant{}, err
		}
	}
	if err := c.Type.check(); c.Type != "" && err != nil {
		return Tenant{}, err
	}
	var t Tenant
	err := s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		var err error
		if t, err = tx.Tenant(ctx, tenant); err != nil {
			return err
		}
		orDefault(&c.Name, t.Name)
		orDefault(&c.Type, t.Type)
		t.Name, t.Type, t.UpdatedAt = c.Name, c.Type, s.now()
		if err := tx.UpdateTenant(ctx, t); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventTenantChanged, tenant, t.UpdatedAt, "name", t.Name, "type", string(t.Type)))
	})
	s.tenants.Drop(tenant)
	return t, err
}

// Belongings count what a tenant has.
type Belongings struct {
	Domains, Addresses, Templates, Applications, Users int
	Messages                                           int // that have not left yet
}

// DeleteTenant removes a tenant that is empty: it has no belongings, and no credential
// that can be used but the caller's own, which ends with it. What it sent and its audit
// log stay in the store. Operators do it, and admins of its organization. Errors: InUse
// on "environment".
func (s *Service) DeleteTenant(ctx context.Context, p Principal, tenant ID) error {
	if _, err := s.managed(ctx, p, tenant); err != nil {
		return err
	}
	err := s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		t, err := tx.Tenant(ctx, tenant)
		if err != nil {
			return err
		}
		b, err := tx.Belongings(ctx, tenant)
		if err != nil {
			return err
		}
		credentials, err := tx.Credentials(ctx, tenant, Page{})
		if err != nil {
			return err
		}
		now := s.now()
		credentials = slices.DeleteFunc(credentials, func(c Credential) bool { return c.ID == p.Credential || !c.Active(now) })
		for _, part := range []struct {
			n    int
			noun string
		}{
			{b.Domains, "email domains"}, {b.Addresses, "trusted addresses"}, {b.Templates, "templates"}, {b.Applications, "applications"},
			{b.Users, "users"}, {b.Messages, "messages that have not left"}, {len(credentials), "credentials of others"},
		} {
			if part.n > 0 {
				return Errorf(InUse, "environment", "The environment %s still has %s (%d of them); delete or revoke them first.", quote(t.Name), part.noun, part.n)
			}
		}
		if err := tx.DeleteTenant(ctx, tenant); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventTenantDeleted, tenant, now, "name", t.Name))
	})
	if err == nil {
		s.tenants.Drop(tenant)
		s.changes.Add(1)
	}
	return err
}

func (t AccountType) check() error {
	if t != Sandbox && t != Production {
		return Errorf(Invalid, "type", "%s is not a type; use SANDBOX or PRODUCTION.", quote(string(t)))
	}
	return nil
}

// Tenants lists the tenants that p has any role in, by id, after the given one.
func (s *Service) Tenants(ctx context.Context, p Principal, page Page) ([]Tenant, error) {
	if p.Operator {
		return s.store.Tenants(ctx, page)
	}
	var ids, orgs []ID
	for _, g := range p.Grants {
		if g.Tenant != "" {
			ids = append(ids, g.Tenant)
		} else {
			orgs = append(orgs, g.Organization)
		}
	}
	return s.store.TenantsOf(ctx, ids, orgs, page)
}

// checkLabel accepts a short text for people: no control characters, nothing
// that could become a header of its own.
func checkLabel(field, s string, most int) error {
	switch {
	case s == "":
		return Errorf(Required, field, "%s is missing.", field)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return Errorf(Invalid, field, "%s holds control characters or is not UTF-8: %s.", field, quote(s))
	case utf8.RuneCountInString(s) > most:
		return Errorf(Invalid, field, "%s is longer than %d characters.", field, most)
	}
	return nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
