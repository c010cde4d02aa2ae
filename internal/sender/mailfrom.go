package sender

import (
	"context"
	"slices"

	"github.com/postseal/postseal/internal/dnscheck"
)

// MailFrom is a reverse-path domain of the owner's own (RFC 5321, section 3.3), so
// that SPF passes aligned with the author. Its MX leads bounces to us.
type MailFrom struct {
	Name      dnscheck.Name    `json:"name,omitzero"` // zero: none, and the default reverse-path is used
	Spelling  string           `json:"spelling,omitzero"`
	OnFailure MailFromFallback `json:"onFailure,omitzero"`
}

// MailFromFallback says what happens to mail while the records of the MAIL FROM
// domain are not there.
type MailFromFallback string

// The behaviours.
const (
	UseDefault MailFromFallback = "use-default" // it leaves with the default reverse-path
	RejectMail MailFromFallback = "reject"      // it is refused
)

// NewMailFrom is what a client says of a MAIL FROM domain.
type NewMailFrom struct {
	Name      string
	OnFailure MailFromFallback // empty: UseDefault
	// DemandOwnership refuses it until the ownership records are there in every
	// region.
	DemandOwnership bool
}

// maxMailFrom keeps signed reverse-paths, whose local part has 45 characters,
// within the 254 that an address can have.
const maxMailFrom = 200

// SetMailFrom gives a domain a MAIL FROM domain, or another one. It has to publish
// an MX and an SPF record, which then stands for that of the domain itself.
//
// Errors: Required and Invalid on "mailFrom" (also where it is not below the
// domain), InUse on "mailFrom" where it is used for other mail, Refused on
// "mailFrom" with DomainNotProven.
func (s *Service) SetMailFrom(ctx context.Context, p Principal, tenant, id ID, n NewMailFrom) (Domain, error) {
	_, d, err := s.domain(ctx, p, tenant, id, RoleAdmin)
	if err != nil {
		return Domain{}, err
	}
	orDefault(&n.OnFailure, UseDefault)
	if n.OnFailure != UseDefault && n.OnFailure != RejectMail {
		return Domain{}, Errorf(Invalid, "onFailure", "%s is not a behaviour; use use-default or reject.", quote(string(n.OnFailure)))
	}
	if n.Name == "" {
		return Domain{}, Errorf(Required, "mailFrom", "The MAIL FROM domain is missing: send a name below %s, such as bounce.%s.", quote(d.Spelling), d.Spelling)
	}
	name, err := dnscheck.ParseDomain(n.Name)
	switch {
	case err != nil:
		return Domain{}, &Error{Kind: Invalid, Field: "mailFrom", Detail: err.Error()}
	case !name.IsBelow(d.Name):
		return Domain{}, Errorf(Invalid, "mailFrom", "%s is not below %s; a MAIL FROM domain is a sub-domain of the domain that it serves.", quote(n.Name), quote(d.Spelling))
	case len(name.String()) > maxMailFrom:
		return Domain{}, Errorf(Invalid, "mailFrom", "%s is too long: reverse-paths need names of at most %d characters.", quote(n.Name), maxMailFrom)
	case n.DemandOwnership && !d.ownedEverywhere():
		e := Errorf(Refused, "mailFrom", "The ownership of %s is not verified in every region yet; publish its ownership records first.", quote(d.Spelling))
		e.Reason = DomainNotProven
		return Domain{}, e
	}
	if d.MailFrom.Name != name {
		if err := s.otherMail(ctx, d, name); err != nil {
			return Domain{}, err
		}
	}
	return s.changeMailFrom(ctx, p, d, MailFrom{Name: name, Spelling: n.Name, OnFailure: n.OnFailure}, n.DemandOwnership)
}

// ClearMailFrom takes the MAIL FROM domain of a domain away: the default
// reverse-path is used again. NotFound where there is none.
func (s *Service) ClearMailFrom(ctx context.Context, p Principal, tenant, id ID) (Domain, error) {
	_, d, err := s.domain(ctx, p, tenant, id, RoleAdmin)
	if err == nil && d.MailFrom.Name.IsZero() {
		err = notFound("MAIL FROM domain")
	}
	if err != nil {
		return Domain{}, err
	}
	return s.changeMailFrom(ctx, p, d, MailFrom{}, false)
}

func (d Domain) ownedEverywhere() bool {
	return !slices.ContainsFunc(d.Facets, func(f Facet) bool { return f.Purpose == dnscheck.Ownership && !f.Status.Holds() })
}

// SPFPurpose is where the domain's SPF record is to be: with the MAIL FROM domain,
// if it has one.
func (d Domain) SPFPurpose() dnscheck.Purpose {
	if d.MailFrom.Name.IsZero() {
		return dnscheck.SPF
	}
	return dnscheck.MailFromSPF
}

// otherMail asks the DNS whether a name has an MX record that is not ours: its mail
// would be lost. What can't be told is let through, and shows when it is checked.
func (s *Service) otherMail(ctx context.Context, d Domain, name dnscheck.Name) error {
	d.MailFrom = MailFrom{Name: name}
	rs := s.provider.Records(d)
	i := slices.IndexFunc(rs, func(r dnscheck.Record) bool { return r.Purpose == dnscheck.MailFromMX })
	if i < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.Verify.Inline)
	defer cancel()
	for _, f := range s.checkerOf(d, true).Look(ctx, d.Name, rs[i:i+1], dnscheck.Thorough) {
		if f.Outcome == dnscheck.Mismatch && (f.Code == dnscheck.CodeMXExtra || f.Code == dnscheck.CodeValueMismatch) {
			return Errorf(InUse, "mailFrom", "%s takes mail already (MX %s); a MAIL FROM domain must not be used for other mail.", quote(name.String()), quote(f.Observed[0]))
		}
	}
	return nil
}

func (s *Service) changeMailFrom(ctx context.Context, p Principal, old Domain, m MailFrom, demandOwnership bool) (Domain, error) {
	var d Domain
	err := s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, old.Tenant); err != nil { // so that nobody registers the name meanwhile
			return err
		}
		if err := tx.LockDomain(ctx, old.Tenant, old.Name); err != nil {
			return err
		}
		var err error
		if d, err = tx.Domain(ctx, old.Tenant, old.ID); err != nil {
			return err
		}
		now := s.now()
		if !m.Name.IsZero() {
			if d.MailFrom.Name != m.Name {
				if err := usedForMail(ctx, tx, d, m.Name); err != nil {
					return err
				}
			}
			if demandOwnership && !d.ownedEverywhere() { // any more
				return notProven(d)
			}
		}
		moved := d.MailFrom.Name != m.Name
		d.MailFrom = m
		if moved {
			d.Facets = slices.DeleteFunc(d.Facets, func(f Facet) bool {
				return f.Purpose == dnscheck.SPF || f.Purpose == dnscheck.MailFromMX || f.Purpose == dnscheck.MailFromSPF
			})
			purposes := []dnscheck.Purpose{dnscheck.SPF}
			if !m.Name.IsZero() {
				purposes = []dnscheck.Purpose{dnscheck.MailFromMX, dnscheck.MailFromSPF}
			}
			for _, p := range purposes {
				d.Facets = append(d.Facets, Facet{Purpose: p, Status: Pending, Since: now})
			}
			d.NextCheck = now.Add(s.settings.Verify.PendingEvery)
			if err := forgetFindings(ctx, tx, d); err != nil {
				return err
			}
		}
		d.UpdatedAt = now
		if err := tx.UpdateDomain(ctx, d); err != nil {
			return err
		}
		d.Version++
		return tx.InsertEvent(ctx, NewEvent(p, d.Tenant, EventMailFromChanged, d.ID, now, "domainName", d.Spelling, "mailFrom", m.Spelling, "onFailure", string(m.OnFailure)))
	})
	s.changes.Add(1)
	return d, err
}

// forgetFindings drops what was seen of records that the domain does not need any
// more.
func forgetFindings(ctx context.Context, tx Tx, d Domain) error {
	last, err := tx.LastCheck(ctx, d.Tenant, d.ID)
	if KindOf(err) == NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	last.Findings = slices.DeleteFunc(last.Findings, func(f dnscheck.Finding) bool { return d.facet(f.Purpose, f.Region) < 0 })
	return tx.SaveCheck(ctx, last)
}

// isMailFrom refuses a name that is the MAIL FROM domain of a domain above it.
func isMailFrom(ctx context.Context, r Reader, tenant ID, name dnscheck.Name, field string) error {
	read := byName(ctx, r, tenant)
	for above, n := name.Parent(), 0; !above.IsZero() && n < maxAbove; above, n = above.Parent(), n+1 {
		d, err := read(above)
		if err != nil {
			return err
		}
		if d != nil && d.MailFrom.Name == name {
			return Errorf(InUse, field, "%s is the MAIL FROM domain of %s; it must not be used for other mail.", quote(name.String()), quote(d.Spelling))
		}
		if above == name.Registrable() {
			break
		}
	}
	return nil
}

// usedForMail refuses a name that the tenant sends mail from itself.
func usedForMail(ctx context.Context, tx Tx, d Domain, name dnscheck.Name) error {
	if _, err := tx.DomainByName(ctx, d.Tenant, name); err == nil {
		return Errorf(InUse, "mailFrom", "%s is registered as a sending domain; a MAIL FROM domain must not be used for other mail.", quote(name.String()))
	} else if KindOf(err) != NotFound {
		return err
	}
	n, err := tx.CountAddresses(ctx, d.Tenant, name, 1)
	if err == nil && n > 0 {
		err = Errorf(InUse, "mailFrom", "%s has trusted email addresses; a MAIL FROM domain must not be used for other mail.", quote(name.String()))
	}
	return err
}
