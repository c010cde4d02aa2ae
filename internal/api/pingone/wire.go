package pingone

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// statusWords are the dialect's words for a proof; it has two. The core's
// finer states are in the native API.
var statusWords = map[sender.Status]string{
	sender.Pending:  "VERIFICATION_REQUIRED",
	sender.Verified: "ACTIVE",
	sender.Lapsing:  "ACTIVE",
	sender.Lapsed:   "VERIFICATION_REQUIRED",
	sender.Failed:   "VERIFICATION_REQUIRED",
}

// regionWords are the dialect's words for a geography; it takes no others than
// its own six.
var regionWords = map[string]string{"na": "NA", "ca": "CA", "eu": "EU", "ap": "AP", "au": "AU", "sg": "SG"}

const defaultRegionWord = "NA"

// licenseID is that of every environment: there are no licenses here.
const licenseID = "0197a000-0000-7000-8000-00000000001c"

type (
	link struct {
		Href string `json:"href"`
	}
	links map[string]link
	idRef struct {
		ID sender.ID `json:"id"`
	}

	environmentBody struct {
		Links        links     `json:"_links"`
		ID           sender.ID `json:"id"`
		Name         string    `json:"name"`
		Type         string    `json:"type"`
		Region       string    `json:"region"`
		License      idRef     `json:"license"`
		Organization idRef     `json:"organization"`
		CreatedAt    string    `json:"createdAt"`
		UpdatedAt    string    `json:"updatedAt"`
	}

	domainBody struct {
		Links       links     `json:"_links"`
		ID          sender.ID `json:"id"`
		Environment idRef     `json:"environment"` // without it the Terraform provider crashes
		DomainName  string    `json:"domainName"`
		CreatedAt   string    `json:"createdAt"`
		UpdatedAt   string    `json:"updatedAt"`
	}

	addressBody struct {
		Links        links     `json:"_links"`
		ID           sender.ID `json:"id"`
		Environment  idRef     `json:"environment"` // without these two, the same
		Domain       idRef     `json:"domain"`
		DomainID     sender.ID `json:"domainId"`
		EmailAddress string    `json:"emailAddress"`
		Status       string    `json:"status"`
		CreatedAt    string    `json:"createdAt"`
		UpdatedAt    string    `json:"updatedAt"`
	}

	collection struct {
		Links    links          `json:"_links"`
		Embedded map[string]any `json:"_embedded"`
		Count    int            `json:"count"` // in all
		Size     int            `json:"size"`  // on this page
	}

	ownershipBody struct {
		Links       links             `json:"_links"`
		Type        string            `json:"type"`
		Regions     []ownershipRegion `json:"regions"`
		Environment recordBody        `json:"environmentDnsRecord"`
	}
	ownershipRegion struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		Key    string `json:"key"`
		Value  string `json:"value"`
	}
	recordBody struct {
		Status string `json:"status"`
		Key    string `json:"key"`
		Value  string `json:"value"`
	}

	dkimBody struct {
		Links   links        `json:"_links"`
		Type    string       `json:"type"`
		Regions []dkimRegion `json:"regions"`
	}
	dkimRegion struct {
		Name   string      `json:"name"`
		Status string      `json:"status"`
		Tokens []dkimToken `json:"tokens"`
	}
	dkimToken struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}

	spfBody struct {
		Links  links  `json:"_links"`
		Type   string `json:"type"`
		Status string `json:"status"`
		Key    string `json:"key"`
		Value  string `json:"value"`
	}

	mailFromBody struct {
		Links    links  `json:"_links"`
		Type     string `json:"type"`
		Status   string `json:"status"`
		Key      string `json:"key"`
		Value    string `json:"value"`
		Priority int    `json:"priority"`
	}
)

// timestamp is the documents' form: UTC, milliseconds.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func environmentURL(base string, env sender.ID) string {
	return base + "/v1/environments/" + string(env)
}

func domainURL(base string, env, dom sender.ID) string {
	return environmentURL(base, env) + "/emailDomains/" + string(dom)
}

func environmentOf(base string, t sender.Tenant) environmentBody {
	region, ok := regionWords[t.Geography]
	if !ok {
		region = defaultRegionWord
	}
	return environmentBody{
		Links: links{"self": {environmentURL(base, t.ID)}},
		ID:    t.ID, Name: t.Name, Type: string(t.Type), Region: region,
		License: idRef{licenseID}, Organization: idRef{t.Organization},
		CreatedAt: timestamp(t.CreatedAt), UpdatedAt: timestamp(t.UpdatedAt),
	}
}

func domainOf(base string, d sender.Domain) domainBody {
	self := domainURL(base, d.Tenant, d.ID)
	return domainBody{
		Links: links{
			"self": {self}, "environment": {environmentURL(base, d.Tenant)},
			"ownership": {self + "/ownership"}, "dkim": {self + "/dkim"}, "spf": {self + "/spf"}, "mailFromDomain": {self + "/mailFromDomain"},
		},
		ID: d.ID, Environment: idRef{d.Tenant}, DomainName: d.Spelling,
		CreatedAt: timestamp(d.CreatedAt), UpdatedAt: timestamp(d.UpdatedAt),
	}
}

func addressOf(base string, dom sender.ID, a sender.Address) addressBody {
	domain := domainURL(base, a.Tenant, dom)
	return addressBody{
		Links: links{
			"self": {domain + "/trustedEmails/" + string(a.ID)}, "environment": {environmentURL(base, a.Tenant)}, "emailDomain": {domain},
		},
		ID: a.ID, Environment: idRef{a.Tenant}, Domain: idRef{dom}, DomainID: dom, EmailAddress: a.Spelling, Status: statusWords[a.Status],
		CreatedAt: timestamp(a.CreatedAt), UpdatedAt: timestamp(a.UpdatedAt),
	}
}

// regionsOf returns the regions that have records of this purpose, sorted, each
// once: the Terraform provider keeps them in a set.
func regionsOf(rs []dnscheck.Record, p dnscheck.Purpose) []string {
	var names []string
	for _, r := range rs {
		if r.Purpose == p {
			names = append(names, r.Region)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func find(rs []dnscheck.Record, p dnscheck.Purpose, region string) []dnscheck.Record {
	return slices.DeleteFunc(slices.Clone(rs), func(r dnscheck.Record) bool { return r.Purpose != p || r.Region != region })
}

// single projects the one record of a purpose and region; a provider that has
// none gives an empty value, never an empty body.
func single(d sender.Domain, rs []dnscheck.Record, p dnscheck.Purpose, region string) recordBody {
	b := recordBody{Status: statusWords[d.Facet(p, region).Status], Key: d.Name.String()}
	if found := find(rs, p, region); len(found) > 0 {
		b.Key, b.Value = found[0].Name.String(), found[0].Value
	}
	return b
}

// ownership is the body of D5.
func ownership(l links, d sender.Domain, rs []dnscheck.Record) any {
	b := ownershipBody{Links: l, Type: "TXT", Regions: []ownershipRegion{}, Environment: single(d, rs, dnscheck.Environment, "")}
	for _, name := range regionsOf(rs, dnscheck.Ownership) {
		r := single(d, rs, dnscheck.Ownership, name)
		b.Regions = append(b.Regions, ownershipRegion{name, r.Status, r.Key, r.Value})
	}
	return b
}

// dkim is the body of D6.
func dkim(l links, d sender.Domain, rs []dnscheck.Record) any {
	b := dkimBody{Links: l, Type: "CNAME", Regions: []dkimRegion{}}
	for _, name := range regionsOf(rs, dnscheck.DKIM) {
		region := dkimRegion{Name: name, Status: statusWords[d.Facet(dnscheck.DKIM, name).Status], Tokens: []dkimToken{}}
		for _, r := range find(rs, dnscheck.DKIM, name) {
			region.Tokens = append(region.Tokens, dkimToken{r.Name.String(), strings.TrimSuffix(r.Value, ".")})
		}
		b.Regions = append(b.Regions, region)
	}
	return b
}

// spf is the body of D7.
func spf(l links, d sender.Domain, rs []dnscheck.Record) any {
	r := single(d, rs, d.SPFPurpose(), "")
	return spfBody{l, "TXT", r.Status, r.Key, r.Value}
}

// mailFromMX is the body of M1 and M2.
func mailFromMX(l links, d sender.Domain, rs []dnscheck.Record) any {
	r := single(d, rs, dnscheck.MailFromMX, "")
	b := mailFromBody{Links: l, Type: "MX", Status: r.Status, Key: r.Key, Value: strings.TrimSuffix(r.Value, ".")}
	if found := find(rs, dnscheck.MailFromMX, ""); len(found) > 0 {
		b.Priority = found[0].Priority
	}
	return b
}

func (e edge) writeEnvironment(status int) func(http.ResponseWriter, *http.Request, sender.Tenant) error {
	return func(w http.ResponseWriter, r *http.Request, t sender.Tenant) error {
		return api.WriteJSON(w, status, environmentOf(e.origin.Base(r), t))
	}
}

// writeBillOfMaterials lists no products: clients only want the body.
func (e edge) writeBillOfMaterials(w http.ResponseWriter, r *http.Request, t sender.Tenant) error {
	return api.WriteJSON(w, http.StatusOK, struct {
		Links    links      `json:"_links"`
		Products []struct{} `json:"products"`
	}{links{"self": {environmentURL(e.origin.Base(r), t.ID) + "/billOfMaterials"}}, []struct{}{}})
}

func (e edge) writeDomain(status int) func(http.ResponseWriter, *http.Request, sender.Domain) error {
	return func(w http.ResponseWriter, r *http.Request, d sender.Domain) error {
		return api.WriteJSON(w, status, domainOf(e.origin.Base(r), d))
	}
}

func (e edge) writeAddress(w http.ResponseWriter, r *http.Request, a addressOut) error {
	return api.WriteJSON(w, a.status, addressOf(e.origin.Base(r), a.domain, a.Address))
}

func (e edge) writeStatus(body func(links, sender.Domain, []dnscheck.Record) any) func(http.ResponseWriter, *http.Request, sender.Domain) error {
	return func(w http.ResponseWriter, r *http.Request, d sender.Domain) error {
		base := e.origin.Base(r)
		l := links{"self": {e.origin.URL(r, nil)}, "environment": {environmentURL(base, d.Tenant)}, "emailDomain": {domainURL(base, d.Tenant, d.ID)}}
		return api.WriteJSON(w, http.StatusOK, body(l, d, e.service.Records(d)))
	}
}

func (e edge) writeEnvironments(w http.ResponseWriter, r *http.Request, l listed[sender.Tenant]) error {
	return writeList(e, w, r, "environments", l, func(base string, t sender.Tenant) any { return environmentOf(base, t) })
}

func (e edge) writeDomains(w http.ResponseWriter, r *http.Request, l listed[sender.Domain]) error {
	return writeList(e, w, r, "emailDomains", l, func(base string, d sender.Domain) any { return domainOf(base, d) })
}

func (e edge) writeAddresses(w http.ResponseWriter, r *http.Request, l listed[sender.Address]) error {
	return writeList(e, w, r, "trustedEmails", l, func(base string, a sender.Address) any { return addressOf(base, l.dom, a) })
}

// writeList writes a collection. next is absolute, on the host that the client
// used, carries every parameter of the query, and is absent on the last page:
// clients follow it verbatim for as long as there is one.
func writeList[T any](e edge, w http.ResponseWriter, r *http.Request, name string, l listed[T], body func(string, T) any) error {
	base := e.origin.Base(r)
	items := make([]any, len(l.items))
	for i, x := range l.items {
		items[i] = body(base, x)
	}
	c := collection{Links: links{"self": {e.origin.URL(r, r.URL.Query())}}, Embedded: map[string]any{name: items}, Count: l.count, Size: len(items)}
	if l.next != nil {
		c.Links["next"] = link{e.origin.URL(r, l.next)}
	}
	return api.WriteJSON(w, http.StatusOK, c)
}
