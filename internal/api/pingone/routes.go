package pingone

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// Config is what the dialect is made of.
type Config struct {
	Service *sender.Service
	Auth    *auth.Auth
	Origin  api.Origin
	Log     *slog.Logger
}

// Media types of the two actions on an address. Both are a POST on the same
// path: the Content-Type alone decides.
const (
	mediaResend   = "application/vnd.pingidentity.trustedemail.sendverificationcode+json"
	mediaActivate = "application/vnd.pingidentity.trustedemail.activate+json"
)

// edge carries what the encoders need beside their value.
type edge struct {
	service *sender.Service
	origin  api.Origin
}

// New returns the handler of everything that Owns says is ours.
func New(c Config) http.Handler {
	d := &api.Dialect{Name: "pingone", Log: c.Log, Authenticate: api.Bearer(c.Auth), WriteError: writeError, Attrs: external}
	e := edge{service: c.Service, origin: c.Origin}
	m := api.NewMux(d)

	m.Handle("POST /{env}/as/token", api.TokenHandler(c.Auth, c.Log, func(r *http.Request) sender.ID { return sender.ID(r.PathValue("env")) }))

	const env = "/v1/environments/{env}"
	m.Handle("GET /v1/environments", api.Handle(d, environmentsQuery, e.environments, e.writeEnvironments))
	m.Handle("POST /v1/environments", api.Handle(d, newEnvironment, e.createEnvironment, e.writeEnvironment(http.StatusCreated)))
	m.Handle("PUT "+env, api.Handle(d, changedEnvironment, e.updateEnvironment, e.writeEnvironment(http.StatusOK)))
	m.Handle("PUT "+env+"/type", api.Handle(d, changedEnvironment, e.promoteEnvironment, e.writeEnvironment(http.StatusOK)))
	m.Handle("DELETE "+env, api.Handle(d, ref(false, false), e.deleteEnvironment, noContent))
	m.Handle("GET "+env, api.Handle(d, ref(false, false), e.environment, e.writeEnvironment(http.StatusOK)))
	m.Handle("GET "+env+"/billOfMaterials", api.Handle(d, ref(false, false), e.environment, e.writeBillOfMaterials))

	const delivery = env + "/notificationsSettings/emailDeliverySettings"
	m.Handle("GET "+delivery, api.Handle(d, ref(false, false), e.deliverySettings, e.writeDelivery))
	m.Handle("PUT "+delivery, api.Handle(d, newDelivery, e.setDelivery, e.writeDelivery))
	m.Handle("DELETE "+delivery, api.Handle(d, ref(false, false), e.resetDelivery, noContent))

	const domains = env + "/emailDomains"
	const domain = domains + "/{dom}"
	m.Handle("POST "+domains, api.Handle(d, newDomain, e.createDomain, e.writeDomain(http.StatusCreated)))
	m.Handle("GET "+domains, api.Handle(d, list(false), e.domains, e.writeDomains))
	m.Handle("GET "+domain, api.Handle(d, ref(true, false), e.domain, e.writeDomain(http.StatusOK)))
	m.Handle("DELETE "+domain, api.Handle(d, ref(true, false), e.deleteDomain, noContent))
	m.Handle("GET "+domain+"/ownership", api.Handle(d, ref(true, false), e.check(dnscheck.Ownership, dnscheck.Environment), e.writeStatus(ownership)))
	m.Handle("GET "+domain+"/dkim", api.Handle(d, ref(true, false), e.check(dnscheck.DKIM), e.writeStatus(dkim)))
	m.Handle("GET "+domain+"/spf", api.Handle(d, ref(true, false), e.check(dnscheck.SPF), e.writeStatus(spf)))
	const mailFrom = domain + "/mailFromDomain"
	m.Handle("PUT "+mailFrom, api.Handle(d, newMailFrom, e.setMailFrom, e.writeStatus(mailFromMX)))
	m.Handle("GET "+mailFrom, api.Handle(d, ref(true, false), e.mailFrom, e.writeStatus(mailFromMX)))
	m.Handle("DELETE "+mailFrom, api.Handle(d, ref(true, false), e.clearMailFrom, noContent))

	const addresses = domain + "/trustedEmails"
	const address = addresses + "/{addr}"
	m.Handle("POST "+addresses, api.Handle(d, newAddress, e.createAddress, e.writeAddress))
	m.Handle("GET "+addresses, api.Handle(d, list(true), e.addresses, e.writeAddresses))
	m.Handle("GET "+address, api.Handle(d, ref(true, true), e.address, e.writeAddress))
	m.Handle("DELETE "+address, api.Handle(d, ref(true, true), e.deleteAddress, noContent))
	m.Handle("POST "+address, api.Handle(d, addressAction, e.act, e.writeAddress))

	const templates = env + "/templates"
	const contents = templates + "/{template}/contents"
	const content = contents + "/{content}"
	m.Handle("GET "+templates, api.Handle(d, templatesQuery, e.templates, e.writeTemplates))
	m.Handle("GET "+templates+"/{template}", api.Handle(d, textsRef(false), e.template, e.writeTemplate))
	m.Handle("POST "+contents, api.Handle(d, newText(false), e.createContent, e.writeContent(http.StatusCreated)))
	m.Handle("GET "+contents, api.Handle(d, textsRef(false), e.contents, e.writeContents))
	m.Handle("PATCH "+contents, api.Handle(d, renameTexts, e.renameContents, e.writeContents))
	m.Handle("DELETE "+contents, api.Handle(d, bulkTexts, e.deleteContents, noContent))
	m.Handle("GET "+content, api.Handle(d, textsRef(true), e.content, e.writeContent(http.StatusOK)))
	m.Handle("PUT "+content, api.Handle(d, newText(true), e.replaceContent, e.writeContent(http.StatusOK)))
	m.Handle("DELETE "+content, api.Handle(d, textsRef(true), e.deleteContent, noContent))

	const subscriptions = env + "/subscriptions"
	const subscription = subscriptions + "/{subscription}"
	m.Handle("POST "+subscriptions, api.Handle(d, newSubscription, e.createSubscription, e.writeSubscription(http.StatusCreated)))
	m.Handle("GET "+subscriptions, api.Handle(d, list(false), e.subscriptions, e.writeSubscriptions))
	m.Handle("GET "+subscription, api.Handle(d, subscriptionRef, e.subscription, e.writeSubscription(http.StatusOK)))
	m.Handle("PUT "+subscription, api.Handle(d, changedSubscription, e.updateSubscription, e.writeSubscription(http.StatusOK)))
	m.Handle("DELETE "+subscription, api.Handle(d, subscriptionRef, e.deleteSubscription, noContent))

	const settings = env + "/notificationsSettings"
	m.Handle("GET "+settings, api.Handle(d, ref(false, false), e.settings, e.writeSettings))
	m.Handle("PUT "+settings, api.Handle(d, newSettings, e.setSettings, e.writeSettings))
	m.Handle("DELETE "+settings, api.Handle(d, ref(false, false), e.resetSettings, e.writeSettings))
	return m
}

// external are the ids by which a client finds its calls again in the log.
func external(r *http.Request) (attrs []slog.Attr) {
	for name, attr := range map[string]string{"X-Ping-External-Transaction-ID": "external_transaction", "X-Ping-External-Session-ID": "external_session"} {
		if id := r.Header.Get(name); id != "" {
			attrs = append(attrs, slog.String(attr, externalID(id)))
		}
	}
	return attrs
}

// externalID writes an underscore for what may not be in such an id, as the vendor does,
// and keeps 100 characters.
func externalID(s string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		if n++; n > 100 {
			return -1
		}
		if unicode.In(r, unicode.L, unicode.M, unicode.N) && r != unicode.ReplacementChar || strings.ContainsRune("._-/@=#+", r) {
			return r
		}
		return '_'
	}, s)
}

// Owns reports whether a path belongs to this dialect: the token endpoint and
// everything below /v1/environments.
func Owns(path string) bool {
	if path == "/v1/environments" || strings.HasPrefix(path, "/v1/environments/") {
		return true
	}
	env, ok := strings.CutSuffix(strings.TrimPrefix(path, "/"), "/as/token")
	return ok && env != "" && !strings.Contains(env, "/")
}

// thing is what a path names.
type thing struct{ env, dom, addr sender.ID }

// readThing reads the ids of a path. One that is no lower-case UUID is that of
// nothing.
func readThing(r *http.Request, domain, address bool) (t thing, err error) {
	for _, part := range []struct {
		name string
		id   *sender.ID
		want bool
	}{{"env", &t.env, true}, {"dom", &t.dom, domain}, {"addr", &t.addr, address}} {
		if !part.want {
			continue
		}
		var ok bool
		if *part.id, ok = sender.ParseID(r.PathValue(part.name)); !ok {
			return thing{}, sender.Errorf(sender.NotFound, "", "")
		}
	}
	return t, nil
}

func ref(domain, address bool) func(*http.Request) (thing, error) {
	return func(r *http.Request) (thing, error) { return readThing(r, domain, address) }
}

// listing asks for a page of a list; query is that of the request.
type listing struct {
	thing
	page  api.Page
	query url.Values
}

func readListing(r *http.Request, t thing) (l listing, err error) {
	l.thing = t
	if l.query, err = api.ReadQuery(r); err != nil {
		return l, err
	}
	l.page, err = api.ReadPage(l.query)
	return l, err
}

func list(domain bool) func(*http.Request) (listing, error) {
	return func(r *http.Request) (listing, error) {
		t, err := readThing(r, domain, false)
		if err != nil {
			return listing{}, err
		}
		return readListing(r, t)
	}
}

// listed is a page of a list: how many there are in all, and how the next page
// is asked for.
type listed[T any] struct {
	thing
	items []T
	count int
	next  url.Values // nil on the last page
}

func cut[T any](l listing, found []T, count int, id func(T) sender.ID) listed[T] {
	out := listed[T]{thing: l.thing, count: count}
	var cursor string
	if out.items, cursor = api.Cut(l.page, found, id); cursor != "" {
		out.next = l.query
		out.next.Set("cursor", cursor)
	}
	return out
}

func noContent(w http.ResponseWriter, _ *http.Request, _ struct{}) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// E1, E3: GET one environment. Every credential with any role in it may.
func (e edge) environment(ctx context.Context, p sender.Principal, t thing) (sender.Tenant, error) {
	return e.service.Authorize(ctx, p, t.env, sender.RoleReader)
}

type filtered struct {
	listing
	filter filter
}

func environmentsQuery(r *http.Request) (f filtered, err error) {
	if f.listing, err = readListing(r, thing{}); err != nil {
		return f, err
	}
	f.filter, err = parseFilter(f.query.Get("filter"), f.query.Has("filter"), "name", "id")
	return f, err
}

// E2: GET environments. The count is over all that match, so all are looked at;
// a credential without an operator's rights has a handful.
func (e edge) environments(ctx context.Context, p sender.Principal, f filtered) (listed[sender.Tenant], error) {
	const chunk = 500
	var found []sender.Tenant
	count := 0
	for page := (sender.Page{Limit: chunk}); ; {
		ts, err := e.service.Tenants(ctx, p, page)
		if err != nil {
			return listed[sender.Tenant]{}, err
		}
		for _, t := range ts {
			page.After = t.ID
			if !f.filter.match(func(field string) string { return map[string]string{"name": t.Name, "id": string(t.ID)}[field] }) {
				continue
			}
			count++
			if t.ID > f.page.After && len(found) <= f.page.Limit {
				found = append(found, t)
			}
		}
		if len(ts) < chunk {
			return cut(f.listing, found, count, func(t sender.Tenant) sender.ID { return t.ID }), nil
		}
	}
}

type domainRequest struct {
	thing
	name string
}

func newDomain(r *http.Request) (in domainRequest, err error) {
	if in.thing, err = readThing(r, false, false); err != nil {
		return in, err
	}
	var body struct {
		DomainName string `json:"domainName"`
	}
	err = api.ReadJSON(r, &body)
	in.name = body.DomainName
	return in, err
}

// D1: POST emailDomains.
func (e edge) createDomain(ctx context.Context, p sender.Principal, in domainRequest) (sender.Domain, error) {
	return e.service.CreateDomain(ctx, p, in.env, in.name)
}

// D2: GET emailDomains.
func (e edge) domains(ctx context.Context, p sender.Principal, l listing) (listed[sender.Domain], error) {
	ds, n, err := e.service.Domains(ctx, p, l.env, l.page.Ask())
	return cut(l, ds, n, func(d sender.Domain) sender.ID { return d.ID }), err
}

// D3: GET one emailDomain.
func (e edge) domain(ctx context.Context, p sender.Principal, t thing) (sender.Domain, error) {
	return e.service.Domain(ctx, p, t.env, t.dom)
}

// D4: DELETE one emailDomain; refused while it has addresses.
func (e edge) deleteDomain(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.service.DeleteDomain(ctx, p, t.env, t.dom, false)
}

// D5, D6, D7: reading a status is the check.
func (e edge) check(purposes ...dnscheck.Purpose) func(context.Context, sender.Principal, thing) (sender.Domain, error) {
	return func(ctx context.Context, p sender.Principal, t thing) (sender.Domain, error) {
		return e.service.CheckDomain(ctx, p, t.env, t.dom, purposes...)
	}
}

func newMailFrom(r *http.Request) (in domainRequest, err error) {
	if in.thing, err = readThing(r, true, false); err != nil {
		return in, err
	}
	var body struct {
		MailFrom struct {
			Domain string `json:"domain"`
		} `json:"mailFrom"`
	}
	err = api.ReadJSON(r, &body)
	in.name = body.MailFrom.Domain
	return in, err
}

// M1: PUT mailFromDomain. The domain's ownership must be proven in every region.
func (e edge) setMailFrom(ctx context.Context, p sender.Principal, in domainRequest) (sender.Domain, error) {
	return e.service.SetMailFrom(ctx, p, in.env, in.dom, sender.NewMailFrom{Name: in.name, DemandOwnership: true})
}

// M2: GET mailFromDomain: reading the status is the check.
func (e edge) mailFrom(ctx context.Context, p sender.Principal, t thing) (sender.Domain, error) {
	d, err := e.service.CheckDomain(ctx, p, t.env, t.dom, dnscheck.MailFromMX)
	if err == nil && d.MailFrom.Name.IsZero() {
		err = sender.Errorf(sender.NotFound, "", "")
	}
	return d, err
}

// DELETE mailFromDomain, which is ours: the documents have no way back.
func (e edge) clearMailFrom(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	_, err := e.service.ClearMailFrom(ctx, p, t.env, t.dom)
	return struct{}{}, err
}

type addressRequest struct {
	thing
	activate bool
	value    string // an address or a code
}

func newAddress(r *http.Request) (in addressRequest, err error) {
	if in.thing, err = readThing(r, true, false); err != nil {
		return in, err
	}
	var body struct {
		EmailAddress string `json:"emailAddress"`
	}
	err = api.ReadJSON(r, &body)
	in.value = body.EmailAddress
	return in, err
}

// addressOut is an address in the answer to a call.
type addressOut struct {
	sender.Address
	domain sender.ID
	status int // of HTTP
}

// A1: POST trustedEmails; 200 where the address is there already.
func (e edge) createAddress(ctx context.Context, p sender.Principal, in addressRequest) (addressOut, error) {
	a, created, err := e.service.CreateAddress(ctx, p, in.env, in.dom, in.value, true)
	if created {
		return addressOut{a, in.dom, http.StatusCreated}, err
	}
	return addressOut{a, in.dom, http.StatusOK}, err
}

// A2: GET trustedEmails.
func (e edge) addresses(ctx context.Context, p sender.Principal, l listing) (listed[sender.Address], error) {
	as, n, err := e.service.Addresses(ctx, p, l.env, l.dom, l.page.Ask())
	return cut(l, as, n, func(a sender.Address) sender.ID { return a.ID }), err
}

// A3: GET one trustedEmail.
func (e edge) address(ctx context.Context, p sender.Principal, t thing) (addressOut, error) {
	a, err := e.service.Address(ctx, p, t.env, t.dom, t.addr)
	return addressOut{a, t.dom, http.StatusOK}, err
}

// A4: DELETE one trustedEmail.
func (e edge) deleteAddress(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.service.DeleteAddress(ctx, p, t.env, t.dom, t.addr)
}

// addressAction tells A5, which has no body, from A6.
func addressAction(r *http.Request) (in addressRequest, err error) {
	if in.thing, err = readThing(r, true, true); err != nil {
		return in, err
	}
	switch api.MediaType(r) {
	case mediaResend:
		return in, nil
	case mediaActivate:
		in.activate = true
	default:
		return in, sender.Errorf(api.WrongMedia, "Content-Type", "The Content-Type decides what happens here: send application/vnd.pingidentity.trustedEmail.sendVerificationCode+json or application/vnd.pingidentity.trustedEmail.activate+json.")
	}
	b, err := api.ReadBody(r)
	if err != nil {
		return in, err
	}
	var body struct {
		VerificationCode string `json:"verificationCode"`
	}
	err = api.DecodeJSON(b, &body)
	in.value = body.VerificationCode
	return in, err
}

// A5, A6: POST one trustedEmail: a new code by mail, or proof by the code.
func (e edge) act(ctx context.Context, p sender.Principal, in addressRequest) (addressOut, error) {
	if in.activate {
		a, err := e.service.ActivateAddress(ctx, p, in.env, in.dom, in.addr, in.value)
		return addressOut{a, in.dom, http.StatusCreated}, err
	}
	a, err := e.service.ResendCode(ctx, p, in.env, in.dom, in.addr)
	return addressOut{a, in.dom, http.StatusOK}, err
}
