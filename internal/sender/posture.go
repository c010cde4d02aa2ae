package sender

import (
	"context"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Posture asks the DNS what receivers will conclude about mail of a domain's authors, and what
// breaks if one record disappears. The mail is that of a domain all of whose records are there:
// signed with the domain's key of a region, empty meaning the home region, and with its
// MAIL FROM domain, if it has one, for a reverse-path; so it can be asked before anything is
// proven. It changes no state. Errors: NotFound, Invalid on "region".
func (s *Service) Posture(ctx context.Context, p Principal, tenant, id ID, region string) (dnscheck.Posture, error) {
	t, d, err := s.domain(ctx, p, tenant, id, RoleReader)
	if err != nil {
		return dnscheck.Posture{}, err
	}
	if region == "" {
		region = t.HomeRegion()
	}
	i := slices.IndexFunc(d.Tokens.Regions, func(r RegionTokens) bool { return r.Region == region })
	if i < 0 {
		var known []string
		for _, r := range d.Tokens.Regions {
			known = append(known, r.Region)
		}
		return dnscheck.Posture{}, Errorf(Invalid, "region", "The domain has no region %s; it has %s.", quote(region), strings.Join(known, ", "))
	}
	selector, err := dnscheck.ParseName(d.Tokens.Regions[i].DKIM[0])
	if err != nil {
		return dnscheck.Posture{}, err
	}
	m := dnscheck.Message{From: d.Name, MailFrom: d.MailFrom.Name, Signatures: []dnscheck.Signature{{Domain: d.Name, Selector: selector}}}
	if m.MailFrom.IsZero() {
		m.MailFrom = s.provider.ReversePath()
	}
	switch _, err := s.store.Relay(ctx, tenant); {
	case err == nil: // a server of the tenant's, whose addresses nobody told us
	case KindOf(err) != NotFound:
		return dnscheck.Posture{}, err
	default:
		for _, r := range s.provider.Records(d) {
			if r.Purpose == d.SPFPurpose() {
				m.Include = r.Include()
			}
		}
	}
	return s.checkerOf(d, true).Posture(ctx, m), nil
}
