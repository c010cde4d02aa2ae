package sailpoint

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// looksPerList is how many domains a list asks the DNS about: each takes a dozen
// questions, and clients wait. Whoever lists again gets to the others.
const looksPerList = 10

// domainBody is a domain in the answer to its creation; in lists the same name is
// the address.
type domainBody struct {
	ID                     sender.ID `json:"id"`
	Domain                 string    `json:"domain,omitzero"`
	Address                string    `json:"address,omitzero"`
	DKIMEnabled            bool      `json:"dkimEnabled"`
	DKIMTokens             []string  `json:"dkimTokens"`
	DKIMVerificationStatus string    `json:"dkimVerificationStatus"`
	Region                 string    `json:"region"`
}

// domainOf tells what is to be published in the one region that this API knows: that
// where the tenant is at home.
func domainOf(t sender.Tenant, d sender.Domain) domainBody {
	home := t.HomeRegion()
	b := domainBody{
		ID: d.ID, DKIMEnabled: true, DKIMTokens: []string{}, DKIMVerificationStatus: statusWords[d.Facet(dnscheck.DKIM, home).Status], Region: home,
	}
	for _, r := range d.Tokens.Regions {
		if r.Region == home {
			b.DKIMTokens = append(b.DKIMTokens, r.DKIM...)
		}
	}
	return b
}

func newDomain(r *http.Request) (string, error) {
	var body struct {
		Domain string `json:"domain"`
	}
	err := api.ReadJSON(r, &body)
	if err == nil && body.Domain == "" {
		err = sender.Errorf(sender.Required, "domain", "domain is missing: send the domain to send mail from, such as mail.example.org.")
	}
	return body.Domain, err
}

// POST verified-domains. Repeated, it answers with the domain that is there, and
// looks after its records.
func (e edge) createDomain(ctx context.Context, p sender.Principal, name string) (domainBody, error) {
	none := domainBody{}
	d, err := e.core.CreateDomain(ctx, p, p.Home, name)
	if sender.KindOf(err) == sender.Conflict {
		if d, err = e.core.DomainNamed(ctx, p, p.Home, name); err == nil {
			d, err = e.core.CheckDomain(ctx, p, p.Home, d.ID, dnscheck.DKIM)
		}
	}
	if err != nil {
		return none, err
	}
	t, err := e.core.Authorize(ctx, p, p.Home, sender.RoleReader)
	if err != nil {
		return none, err
	}
	b := domainOf(t, d)
	b.Domain = name
	return b, nil
}

func writeDomain(w http.ResponseWriter, _ *http.Request, b domainBody) error {
	return api.WriteJSON(w, http.StatusOK, b)
}

// pageOnly reads limit and offset; other parameters have no meaning.
func pageOnly(r *http.Request) (sender.Query, error) {
	q, err := api.ReadQuery(r)
	if err != nil {
		return sender.Query{}, err
	}
	page := make(url.Values)
	for _, name := range []string{"limit", "offset"} {
		if q.Has(name) {
			page[name] = q[name]
		}
	}
	return api.ReadCollection(page, nil)
}

// GET verified-domains.
func (e edge) domains(ctx context.Context, p sender.Principal, q sender.Query) (listed[domainBody], error) {
	none := listed[domainBody]{}
	t, err := e.core.Authorize(ctx, p, p.Home, sender.RoleReader)
	if err != nil {
		return none, err
	}
	ds, err := e.domainsFrom(ctx, p, q)
	if err == nil {
		ds, err = e.core.CheckSome(ctx, p, p.Home, ds, looksPerList, dnscheck.DKIM, t.HomeRegion())
	}
	if err != nil {
		return none, err
	}
	l := listed[domainBody]{}
	for _, d := range ds {
		b := domainOf(t, d)
		b.Address = d.Spelling
		l.items = append(l.items, b)
	}
	return l, nil
}

// domainsFrom walks to an offset, since the core pages by id.
func (e edge) domainsFrom(ctx context.Context, p sender.Principal, q sender.Query) (found []sender.Domain, err error) {
	const stride = 1000
	page := sender.Page{}
	for len(found) < q.Limit {
		page.Limit = min(stride, q.Offset+q.Limit-len(found))
		ds, _, err := e.core.Domains(ctx, p, p.Home, page)
		if err != nil {
			return nil, err
		}
		found = append(found, ds[min(q.Offset, len(ds)):]...)
		q.Offset = max(0, q.Offset-len(ds))
		if len(ds) < page.Limit {
			break
		}
		page.After = ds[len(ds)-1].ID
	}
	return found, nil
}

// mailFromBody is a MAIL FROM domain, under the identity that it was asked by.
type mailFromBody struct {
	Identity             string `json:"identity"`
	MailFromDomain       string `json:"mailFromDomain"`
	MXRecord             string `json:"mxRecord"`
	TXTRecord            string `json:"txtRecord"`
	MailFromDomainStatus string `json:"mailFromDomainStatus"`
}

func (e edge) mailFromOf(identity string, d sender.Domain) mailFromBody {
	b := mailFromBody{Identity: identity, MailFromDomain: d.MailFrom.Spelling}
	for _, r := range e.core.Records(d) {
		switch r.Purpose {
		case dnscheck.MailFromMX:
			preference := r.Priority
			if preference == 0 {
				preference = dnscheck.DefaultPriority
			}
			b.MXRecord = fmt.Sprintf("%d %s", preference, strings.TrimSuffix(r.Value, "."))
		case dnscheck.MailFromSPF:
			b.TXTRecord = r.Value
		}
	}
	b.MailFromDomainStatus = both(d.Facet(dnscheck.MailFromMX, "").Status, d.Facet(dnscheck.MailFromSPF, "").Status)
	return b
}

// both is the one word for two proofs that are needed together: the worse of theirs.
func both(a, b sender.Status) string {
	for _, word := range []string{"FAILED", "PENDING"} {
		if slices.Contains([]string{statusWords[a], statusWords[b]}, word) {
			return word
		}
	}
	return statusWords[sender.Verified]
}

// identityOf reads whose MAIL FROM domain is asked for. A client that left the
// placeholder of the path as it was has put the identity into the query.
func identityOf(r *http.Request) (string, error) {
	identity := r.PathValue("identity")
	if identity != "{identity}" && identity != "{identityId}" {
		return identity, nil
	}
	q, err := api.ReadQuery(r)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"id", "identity", "identityId"} {
		if identity = q.Get(name); identity != "" {
			return strings.ReplaceAll(identity, " ", "+"), nil // nobody has a blank in an address, and many forget to encode a plus
		}
	}
	return "", sender.Errorf(sender.Required, "identity", "The identity is missing: name an address or a domain in the path, or in the parameter id.")
}

// GET mail-from-attributes of an identity.
func (e edge) mailFrom(ctx context.Context, p sender.Principal, identity string) (mailFromBody, error) {
	none := mailFromBody{}
	d, err := e.core.DomainOf(ctx, p, p.Home, identity)
	if err == nil && d.MailFrom.Name.IsZero() {
		err = sender.Errorf(sender.NotFound, "", "%s has no MAIL FROM domain; set one with PUT.", d.Spelling)
	}
	if err == nil {
		d, err = e.core.CheckDomain(ctx, p, p.Home, d.ID, dnscheck.MailFromMX, dnscheck.MailFromSPF)
	}
	if err != nil {
		return none, err
	}
	return e.mailFromOf(identity, d), nil
}

type mailFromRequest struct {
	Identity       string `json:"identity"`
	MailFromDomain string `json:"mailFromDomain"`
}

func newMailFrom(r *http.Request) (in mailFromRequest, err error) {
	err = api.ReadJSON(r, &in)
	switch {
	case err != nil:
	case in.Identity == "":
		err = sender.Errorf(sender.Required, "identity", "identity is missing: send an address or a domain that is registered here.")
	case in.MailFromDomain == "":
		err = sender.Errorf(sender.Required, "mailFromDomain", "mailFromDomain is missing: send a sub-domain of the identity's domain, such as bounce.mail.example.org.")
	}
	return in, err
}

// PUT mail-from-attributes.
func (e edge) setMailFrom(ctx context.Context, p sender.Principal, in mailFromRequest) (mailFromBody, error) {
	none := mailFromBody{}
	d, err := e.core.DomainOf(ctx, p, p.Home, in.Identity)
	if sender.KindOf(err) == sender.NotFound {
		return none, sender.Errorf(unknownObject, "identity", "The domain of %q is not registered here; create it first.", api.Short(in.Identity))
	}
	if err != nil {
		return none, err
	}
	if d, err = e.core.SetMailFrom(ctx, p, p.Home, d.ID, sender.NewMailFrom{Name: in.MailFromDomain, OnFailure: sender.UseDefault}); err != nil {
		return none, err
	}
	return e.mailFromOf(in.Identity, d), nil
}

func writeMailFrom(w http.ResponseWriter, _ *http.Request, b mailFromBody) error {
	return api.WriteJSON(w, http.StatusOK, b)
}
