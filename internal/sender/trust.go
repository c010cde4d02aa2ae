package sender

import (
	"cmp"
	"slices"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Reason says why the trust rule refused, in a word that goes on the wire.
type Reason string

// The reasons to refuse.
const (
	AddressNotProven Reason = "address-not-proven"
	DomainNotProven  Reason = "domain-not-proven"
	DKIMNotPublished Reason = "dkim-not-published"
	ProofLost        Reason = "proof-lost"
	MailFromNotThere Reason = "mail-from-not-published" // and the domain says that its mail is to be refused then
	TenantDeleted    Reason = "tenant-deleted"          // of no rule: a node took mail that did not know yet
)

// Note says what is less than it could be about mail that may go.
type Note string

// The notes.
const (
	NoteUnaligned        Note = "unaligned"               // signed by the service's domain: DMARC of the author's domain does not pass
	NoteDKIMNotPublished Note = "dkim-not-published"      // the same, and publishing DKIM would change it
	NoteMailFromNotThere Note = "mail-from-not-published" // it leaves with the default reverse-path, and DMARC passes by DKIM alone
)

// Decision is the answer of the trust rule.
type Decision struct {
	Allow  bool
	Reason Reason // where Allow is false
	Note   Note   // where Allow is true; empty: nothing to wish for

	// How the mail is signed and where it leaves, where Allow is true.
	Region   string
	Domain   ID            // whose key signs; empty: the service's own
	SDID     dnscheck.Name // d= of DKIM; zero: the service's domain
	Selector string        // the token with the key; empty: the service's
	MailFrom dnscheck.Name // domain of the reverse-path; zero: the default
}

// mayAnswer reports whether the decision about an address lets it be a Reply-To, which
// has no reverse-path.
func (d Decision) mayAnswer() bool { return d.Allow || d.Reason == MailFromNotThere }

// Evidenced is what is known of a sender: what Decide decides upon.
type Evidenced struct {
	Tenant  Tenant
	System  bool     // the author is the built-in no-reply
	Address *Address // nil: not registered
	Domain  *Domain  // of the author's addr-spec, or one above it where the address accepts that; nil: not registered
	Region  string   // wished for; empty: the home region first
}

// Decide is the trust rule: may this tenant send from this address now? It is
// pure, and it is asked when a message is accepted and again when it is sent.
//
//	from                  domain                     decision                                   d=
//	built-in no-reply                                allow                                      service
//	not proven            any                        refuse address-not-proven
//	proven                lost its proof             refuse proof-lost, whatever the policy
//	proven                none, or never proven      by address: allow, unaligned; by domain:   service
//	                                                 refuse domain-not-proven
//	proven                proven, no DKIM there      by address: allow, dkim-not-published;     service
//	                                                 by domain: refuse dkim-not-published
//	proven                proven, DKIM published     allow                                      the domain
//
// An address that accepts its domain's proof (see Address.ByDomain) is as good as
// proven while the domain is. With DKIM published, mail has the domain's MAIL FROM
// for a reverse-path where its records are there, and else what the domain's
// behaviour says.
func Decide(e Evidenced) Decision {
	region := cmp.Or(e.Region, e.Tenant.HomeRegion())
	allow := Decision{Allow: true, Region: region}
	refuse := func(r Reason) Decision { return Decision{Reason: r} }
	unaligned := func(n Note, r Reason) Decision {
		if e.Tenant.FromPolicy == ByDomain {
			return refuse(r)
		}
		allow.Note = n
		return allow
	}
	switch {
	case e.System:
		return allow
	case e.Address == nil || !e.Address.holds(e.Domain):
		if e.Address != nil && e.Address.ByDomain && e.Domain != nil && e.Domain.ProofLost() {
			return refuse(ProofLost)
		}
		return refuse(AddressNotProven)
	case e.Domain == nil || e.Domain.ProvenAt.IsZero():
		return unaligned(NoteUnaligned, DomainNotProven)
	case e.Domain.ProofLost():
		return refuse(ProofLost)
	}
	i := slices.IndexFunc(e.Domain.Tokens.Regions, func(r RegionTokens) bool {
		return r.Region == region && e.Domain.Facet(dnscheck.DKIM, r.Region).Status.Holds()
	})
	if i < 0 && e.Region == "" { // no wish: any region whose DKIM is there will do
		i = slices.IndexFunc(e.Domain.Tokens.Regions, func(r RegionTokens) bool {
			return e.Domain.Facet(dnscheck.DKIM, r.Region).Status.Holds()
		})
	}
	if i < 0 {
		return unaligned(NoteDKIMNotPublished, DKIMNotPublished)
	}
	t := e.Domain.Tokens.Regions[i]
	allow.Region, allow.Domain, allow.SDID, allow.Selector = t.Region, e.Domain.ID, e.Domain.Name, t.DKIM[0]
	if m := e.Domain.MailFrom; !m.Name.IsZero() {
		switch {
		case e.Domain.Facet(dnscheck.MailFromMX, "").Status.Holds() && e.Domain.Facet(dnscheck.MailFromSPF, "").Status.Holds():
			allow.MailFrom = m.Name
		case m.OnFailure == RejectMail:
			return refuse(MailFromNotThere)
		default:
			allow.Note = NoteMailFromNotThere
		}
	}
	return allow
}

// Refusal is the sentence for a refused author: what is wrong and what to do.
func Refusal(r Reason, from string) *Error {
	var detail string
	switch r {
	case AddressNotProven:
		detail = "is not a proven address of this tenant; register it and confirm the code that is mailed to it"
	case DomainNotProven:
		detail = "belongs to a domain that is not proven, and this tenant may only send from proven domains; publish the domain's ownership record"
	case DKIMNotPublished:
		detail = "belongs to a domain whose DKIM records are not published in this region, and this tenant may only send aligned mail; publish them"
	case MailFromNotThere:
		detail = "belongs to a domain whose MAIL FROM records are not published, and which says that its mail is to be refused then; publish them"
	case ProofLost:
		detail = "belongs to a domain that was proven and has lost its proof; publish its ownership or DKIM records again"
	}
	e := Errorf(Refused, "from", "%s %s.", quote(from), detail)
	e.Reason = r
	return e
}
