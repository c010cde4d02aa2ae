package pingid

import (
	"net/http"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// statusWords are the dialect's words for a proof; it has two. The core's finer
// states are in the native API.
var statusWords = map[sender.Status]string{
	sender.Pending:  "VERIFICATION_REQUIRED",
	sender.Verified: "ACTIVE",
	sender.Lapsing:  "ACTIVE",
	sender.Lapsed:   "VERIFICATION_REQUIRED",
	sender.Failed:   "VERIFICATION_REQUIRED",
}

// accountTypes are the dialect's words for the type of an account; only the
// first is in the documents.
var accountTypes = map[sender.AccountType]string{sender.Sandbox: "TRIAL", sender.Production: "PRODUCTION"}

type (
	link struct {
		Href string `json:"href"`
	}

	// relations are the links of a body. All but self may be the thing itself
	// instead: that is what expanding means here. What is embedded has none.
	relations struct {
		EmailDomain  any  `json:"emailDomain,omitzero"`
		TrustedEmail any  `json:"trustedEmail,omitzero"`
		Ownership    any  `json:"ownership,omitzero"`
		DKIM         any  `json:"dkim,omitzero"`
		SPF          any  `json:"spf,omitzero"`
		Self         link `json:"self,omitzero"`
		Account      any  `json:"account,omitzero"`
	}

	accountBody struct {
		relations
		ID          sender.ID `json:"id"`
		Name        string    `json:"name"`
		AccountType string    `json:"accountType"`
	}

	domainBody struct {
		relations
		ID         sender.ID `json:"id"`
		DomainName string    `json:"domainName"`
	}
	domainsBody struct {
		Self         link         `json:"self"`
		EmailDomains []domainBody `json:"emaildomains"`
	}

	ownershipBody struct {
		relations
		Regions []ownershipRegion `json:"regions"`
		Type    string            `json:"type"`
	}
	ownershipRegion struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		pair
	}

	dkimBody struct {
		relations
		Regions []dkimRegion `json:"regions"`
		Type    string       `json:"type"`
	}
	dkimRegion struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		Tokens []pair `json:"tokens"`
	}

	spfBody struct {
		relations
		Status string `json:"status"`
		pair
		Type string `json:"type"`
	}

	// pair is a record to publish; the key is relative to the domain.
	pair struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}

	addressBody struct {
		relations
		ID           sender.ID `json:"id"`
		EmailAddress string    `json:"emailAddress"`
		Status       string    `json:"status"`
	}
	addressesBody struct {
		Self          link          `json:"self"`
		TrustedEmails []addressBody `json:"trustedemails"`
	}
)

func accountURL(base string, account sender.ID) string {
	return base + accounts + "/" + string(account)
}

func domainsURL(base string, account sender.ID) string {
	return accountURL(base, account) + "/emaildomains"
}

func domainURL(base string, account, dom sender.ID) string {
	return domainsURL(base, account) + "/" + string(dom)
}

func addressesURL(base string, account, dom sender.ID) string {
	return domainURL(base, account, dom) + "/trustedemails"
}

func accountData(t sender.Tenant) accountBody {
	return accountBody{ID: t.ID, Name: t.Name, AccountType: accountTypes[t.Type]}
}

func domainData(d sender.Domain) domainBody { return domainBody{ID: d.ID, DomainName: d.Spelling} }

func addressData(a sender.Address) addressBody {
	return addressBody{ID: a.ID, EmailAddress: a.Spelling, Status: statusWords[a.Status]}
}

// or is a link, or the thing itself where it is expanded.
func or[T any](expanded bool, thing func() T, href string) any {
	if expanded {
		return thing()
	}
	return link{href}
}

// accountOr is the link to the account, or its data.
func accountOr(base string, account sender.ID, expanded bool, t sender.Tenant) any {
	return or(expanded, func() accountBody { return accountData(t) }, accountURL(base, account))
}

// records are those of one purpose and region, in the order of the core.
func records(rs []dnscheck.Record, p dnscheck.Purpose, region string) []dnscheck.Record {
	return slices.DeleteFunc(slices.Clone(rs), func(r dnscheck.Record) bool { return r.Purpose != p || r.Region != region })
}

// regions lists those that have records of this purpose, sorted, each once.
func regions(rs []dnscheck.Record, p dnscheck.Purpose) []string {
	var names []string
	for _, r := range rs {
		if r.Purpose == p {
			names = append(names, r.Region)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// relative writes a name as this dialect does: without the domain, the domain
// itself as "@". One that is elsewhere stays whole.
func relative(name, domain dnscheck.Name) string {
	if name == domain {
		return "@"
	}
	return strings.TrimSuffix(name.String(), "."+domain.String())
}

func pairOf(d sender.Domain, r dnscheck.Record) pair {
	if r.Type == dnscheck.CNAME {
		r.Value = strings.TrimSuffix(r.Value, ".")
	}
	return pair{relative(r.Name, d.Name), r.Value}
}

// single is the one record of a purpose and region. A provider that has none
// gives the domain itself and an empty value.
func single(d sender.Domain, rs []dnscheck.Record, p dnscheck.Purpose, region string) pair {
	if found := records(rs, p, region); len(found) > 0 {
		return pairOf(d, found[0])
	}
	return pair{Key: "@"}
}

func ownership(l relations, d sender.Domain, rs []dnscheck.Record) any {
	b := ownershipBody{relations: l, Type: "TXT", Regions: []ownershipRegion{}}
	for _, name := range regions(rs, dnscheck.Ownership) {
		b.Regions = append(b.Regions, ownershipRegion{name, statusWords[d.Facet(dnscheck.Ownership, name).Status], single(d, rs, dnscheck.Ownership, name)})
	}
	return b
}

func dkim(l relations, d sender.Domain, rs []dnscheck.Record) any {
	b := dkimBody{relations: l, Type: "CNAME", Regions: []dkimRegion{}}
	for _, name := range regions(rs, dnscheck.DKIM) {
		region := dkimRegion{Name: name, Status: statusWords[d.Facet(dnscheck.DKIM, name).Status], Tokens: []pair{}}
		for _, r := range records(rs, dnscheck.DKIM, name) {
			region.Tokens = append(region.Tokens, pairOf(d, r))
		}
		b.Regions = append(b.Regions, region)
	}
	return b
}

func spf(l relations, d sender.Domain, rs []dnscheck.Record) any {
	return spfBody{relations: l, Type: "TXT", Status: statusWords[d.Facet(d.SPFPurpose(), "").Status], pair: single(d, rs, d.SPFPurpose(), "")}
}

// domainOf is the body of one domain.
func domainOf(base string, v domainView, rs []dnscheck.Record) domainBody {
	self := domainURL(base, v.Tenant, v.ID)
	b := domainData(v.Domain)
	b.relations = relations{
		Ownership: or(v.expand.ownership, func() any { return ownership(relations{}, v.Domain, rs) }, self+"/ownership"),
		DKIM:      or(v.expand.dkim, func() any { return dkim(relations{}, v.Domain, rs) }, self+"/dkim"),
		SPF:       or(v.expand.spf, func() any { return spf(relations{}, v.Domain, rs) }, self+"/spf"),
		Self:      link{self},
		Account:   accountOr(base, v.Tenant, v.expand.account, v.account),
	}
	return b
}

// partRelations are the links of ownership, dkim and spf.
func partRelations(base, part string, v domainView) relations {
	domain := domainURL(base, v.Tenant, v.ID)
	return relations{
		EmailDomain: or(v.expand.emailDomain, func() domainBody { return domainData(v.Domain) }, domain),
		Self:        link{domain + "/" + part},
		Account:     accountOr(base, v.Tenant, v.expand.account, v.account),
	}
}

// addressOf is the body of one address. That of an action has the action for its
// self, and a link to the address.
func addressOf(base, action string, v addressView) addressBody {
	self := addressesURL(base, v.Tenant, v.dom) + "/" + string(v.ID)
	b := addressData(v.Address)
	b.relations = relations{
		EmailDomain: or(v.expand.emailDomain, func() domainBody { return domainData(v.domain) }, domainURL(base, v.Tenant, v.dom)),
		Self:        link{self + action},
		Account:     accountOr(base, v.Tenant, v.expand.account, v.account),
	}
	if action != "" {
		b.TrustedEmail = link{self}
	}
	return b
}

func (e edge) writeAccount(w http.ResponseWriter, r *http.Request, t sender.Tenant) error {
	b := accountData(t)
	b.Self = link{accountURL(e.origin.Base(r), t.ID)}
	return api.WriteJSON(w, http.StatusOK, b)
}

// writeNewDomain writes a domain as its creation is answered, which has no links
// to ownership, dkim and spf.
func (e edge) writeNewDomain(w http.ResponseWriter, r *http.Request, d sender.Domain) error {
	base := e.origin.Base(r)
	b := domainData(d)
	b.Self, b.Account = link{domainURL(base, d.Tenant, d.ID)}, link{accountURL(base, d.Tenant)}
	return api.WriteJSON(w, http.StatusCreated, b)
}

func (e edge) writeDomain(w http.ResponseWriter, r *http.Request, v domainView) error {
	return api.WriteJSON(w, http.StatusOK, domainOf(e.origin.Base(r), v, e.core.Records(v.Domain)))
}

func (e edge) writeDomains(w http.ResponseWriter, r *http.Request, l listed[sender.Domain]) error {
	b := domainsBody{Self: link{domainsURL(e.origin.Base(r), l.account)}, EmailDomains: []domainBody{}}
	for _, d := range l.items {
		b.EmailDomains = append(b.EmailDomains, domainData(d))
	}
	return api.WriteJSON(w, http.StatusOK, b)
}

func (e edge) writePart(part string, body func(relations, sender.Domain, []dnscheck.Record) any) func(http.ResponseWriter, *http.Request, domainView) error {
	return func(w http.ResponseWriter, r *http.Request, v domainView) error {
		return api.WriteJSON(w, http.StatusOK, body(partRelations(e.origin.Base(r), part, v), v.Domain, e.core.Records(v.Domain)))
	}
}

func (e edge) writeAddress(status int, action string) func(http.ResponseWriter, *http.Request, addressView) error {
	return func(w http.ResponseWriter, r *http.Request, v addressView) error {
		return api.WriteJSON(w, status, addressOf(e.origin.Base(r), action, v))
	}
}

func (e edge) writeAddresses(w http.ResponseWriter, r *http.Request, l listed[sender.Address]) error {
	b := addressesBody{Self: link{addressesURL(e.origin.Base(r), l.account, l.dom)}, TrustedEmails: []addressBody{}}
	for _, a := range l.items {
		b.TrustedEmails = append(b.TrustedEmails, addressData(a))
	}
	return api.WriteJSON(w, http.StatusOK, b)
}
