package pingid

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// Core is what this dialect calls of [sender.Service], which says what each
// method does.
type Core interface {
	Authorize(ctx context.Context, p sender.Principal, tenant sender.ID, need sender.Role) (sender.Tenant, error)
	Records(d sender.Domain) []dnscheck.Record

	CreateDomain(ctx context.Context, p sender.Principal, tenant sender.ID, spelling string) (sender.Domain, error)
	Domain(ctx context.Context, p sender.Principal, tenant, id sender.ID) (sender.Domain, error)
	Domains(ctx context.Context, p sender.Principal, tenant sender.ID, page sender.Page) ([]sender.Domain, int, error)
	CheckDomain(ctx context.Context, p sender.Principal, tenant, id sender.ID, purposes ...dnscheck.Purpose) (sender.Domain, error)
	// DeleteDomain removes the domain's addresses in the same transaction where
	// withAddresses says so; otherwise a domain that has some is InUse.
	DeleteDomain(ctx context.Context, p sender.Principal, tenant, id sender.ID, withAddresses bool) error

	// CreateAddress refuses an address of a domain that is not proven where
	// demandProof says so; otherwise its code alone decides.
	CreateAddress(ctx context.Context, p sender.Principal, tenant, domain sender.ID, spelling string, demandProof bool) (a sender.Address, created bool, err error)
	Address(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID) (sender.Address, error)
	Addresses(ctx context.Context, p sender.Principal, tenant, domain sender.ID, page sender.Page) ([]sender.Address, int, error)
	DeleteAddress(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID) error
	ResendCode(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID) (sender.Address, error)
	ActivateAddress(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID, code string) (sender.Address, error)
}

// Config is what the dialect is made of.
type Config struct {
	Core   Core
	Keys   Keys
	Origin api.Origin
	Log    *slog.Logger
	// Names are public host names of the instance, beside that in the Host header:
	// clients sign the host of the URL that they were given, and a proxy may have
	// changed the header.
	Names []string
	// RefuseReplays lets no request in twice. Requests then need X-Request-ID and
	// expires, which not every public client sends. It remembers in this process.
	RefuseReplays bool
	// ActionsCreate answers 201 instead of 200 to activate and resend. The
	// documents are silent; the vendor's Java sample takes nothing else of a POST.
	ActionsCreate bool
}

const (
	root     = "/pingid"
	accounts = root + "/v1/accounts"
)

// edge carries what the operations and encoders need beside their value.
type edge struct {
	core   Core
	origin api.Origin
	action int // status of activate and resend
}

// New returns the handler of everything that Owns says is ours.
func New(c Config) http.Handler {
	// Two dialects of the same words: the outer one admits and signs, whatever the
	// inner one has a route for.
	door := door{keys: c.Keys, names: c.Names}
	if c.RefuseReplays {
		door.memory = &memory{}
	}
	outer := &api.Dialect{Name: "pingid", Log: c.Log, Authenticate: door.admit, WriteError: writeError, Finish: door.sign}
	inner := &api.Dialect{Name: "pingid", Log: c.Log, Authenticate: admitted, WriteError: writeError}
	e := edge{core: c.Core, origin: c.Origin, action: http.StatusOK}
	if c.ActionsCreate {
		e.action = http.StatusCreated
	}
	m := e.routes(inner)
	wrapped := outer.Wrap(func(w http.ResponseWriter, r *http.Request) error {
		if _, err := outer.Principal(r); err != nil {
			return err
		}
		m.ServeHTTP(w, r)
		return nil
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wrapped.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sealKey{}, &seal{})))
	})
}

// Owns reports whether a path belongs to this dialect.
func Owns(path string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func (e edge) routes(d *api.Dialect) *api.Mux {
	m := api.NewMux(d)
	const account = accounts + "/{account}"
	m.Handle("GET "+account, api.Handle(d, ref(0), e.account, e.writeAccount))

	const domains = account + "/emaildomains"
	const domain = domains + "/{dom}"
	m.Handle("POST "+domains, api.Handle(d, newDomain, e.createDomain, e.writeNewDomain))
	m.Handle("GET "+domains, api.Handle(d, ref(0), e.domains, e.writeDomains))
	m.Handle("GET "+domain, api.Handle(d, ref(1), e.domain, e.writeDomain))
	m.Handle("DELETE "+domain, api.Handle(d, ref(1), e.deleteDomain, noContent))
	m.Handle("GET "+domain+"/ownership", api.Handle(d, ref(1), e.check(dnscheck.Ownership), e.writePart("ownership", ownership)))
	m.Handle("GET "+domain+"/dkim", api.Handle(d, ref(1), e.check(dnscheck.DKIM), e.writePart("dkim", dkim)))
	m.Handle("GET "+domain+"/spf", api.Handle(d, ref(1), e.check(dnscheck.SPF), e.writePart("spf", spf)))

	const addresses = domain + "/trustedemails"
	const address = addresses + "/{addr}"
	m.Handle("POST "+addresses, api.Handle(d, newAddress, e.createAddress, e.writeAddress(http.StatusCreated, "")))
	m.Handle("GET "+addresses, api.Handle(d, ref(1), e.addresses, e.writeAddresses))
	m.Handle("GET "+address, api.Handle(d, ref(2), e.address, e.writeAddress(http.StatusOK, "")))
	m.Handle("DELETE "+address, api.Handle(d, ref(2), e.deleteAddress, noContent))
	m.Handle("POST "+address+"/activate", api.Handle(d, activation, e.activate, e.writeAddress(e.action, "/activate")))
	m.Handle("POST "+address+"/resend", api.Handle(d, resending, e.resend, e.writeAddress(e.action, "/resend")))
	return m
}

// thing is what a request names.
type thing struct {
	account, dom, addr sender.ID
	expand             expansion
	value              string // name, address or code, of a body
}

// parts are the variable segments of paths, in their order, and what is missing
// where one names nothing.
var parts = []struct{ name, target string }{{"account", "account"}, {"dom", "emailDomain"}, {"addr", "trustedEmail"}}

// readThing reads the ids of a path down to the given depth: account, domain,
// address. Their case does not count. One that is no UUID is that of nothing.
func readThing(r *http.Request, depth int) (t thing, err error) {
	for i, id := range []*sender.ID{&t.account, &t.dom, &t.addr}[:depth+1] {
		var ok bool
		if *id, ok = sender.ParseID(strings.ToLower(r.PathValue(parts[i].name))); !ok {
			return thing{}, missing(parts[i].target)
		}
	}
	if s := sealOf(r.Context()); s == nil || t.account != s.tenant {
		return thing{}, missing("account") // an escaped slash made the path look different before it was routed
	}
	if r.Method == http.MethodGet {
		t.expand = parseExpand(r.URL.Query())
	}
	return t, nil
}

func ref(depth int) func(*http.Request) (thing, error) {
	return func(r *http.Request) (thing, error) { return readThing(r, depth) }
}

func admitted(r *http.Request) (sender.Principal, error) {
	if s := sealOf(r.Context()); s != nil && s.key != nil {
		return s.principal, nil
	}
	return sender.Principal{}, refused("the request was not admitted")
}

func missing(target string) error { return sender.Errorf(sender.NotFound, target, "") }

// named says what was not found.
func named(err error, target string) error {
	if sender.KindOf(err) == sender.NotFound {
		return missing(target)
	}
	return err
}

func noContent(w http.ResponseWriter, _ *http.Request, _ struct{}) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// GET the account itself, the target of many links.
func (e edge) account(ctx context.Context, p sender.Principal, t thing) (sender.Tenant, error) {
	tenant, err := e.core.Authorize(ctx, p, t.account, sender.RoleReader)
	return tenant, named(err, "account")
}

func newDomain(r *http.Request) (t thing, err error) {
	if t, err = readThing(r, 0); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		DomainName *string `json:"domainName"`
	}](r)
	if err != nil {
		return t, err
	}
	if t.value, err = given("domainName", body.DomainName); err == nil && strings.Contains(t.value, "*") {
		err = sender.Errorf(wildcard, "domainName", "domainName has a wildcard; register the domain itself.")
	}
	return t, err
}

// 1: POST emaildomains.
func (e edge) createDomain(ctx context.Context, p sender.Principal, t thing) (sender.Domain, error) {
	return e.core.CreateDomain(ctx, p, t.account, t.value)
}

// listed is a whole list: this API knows no pages.
type listed[T any] struct {
	thing
	items []T
}

// 2: GET emaildomains.
func (e edge) domains(ctx context.Context, p sender.Principal, t thing) (listed[sender.Domain], error) {
	ds, _, err := e.core.Domains(ctx, p, t.account, sender.Page{})
	return listed[sender.Domain]{t, ds}, err
}

// domainView is a domain and what was asked to be shown with it.
type domainView struct {
	sender.Domain
	expand  expansion
	account sender.Tenant // where expanded
}

// domainOf reads a domain as fresh as these purposes demand.
func (e edge) domainOf(ctx context.Context, p sender.Principal, t thing, purposes []dnscheck.Purpose) (v domainView, err error) {
	v.expand = t.expand
	if len(purposes) > 0 {
		v.Domain, err = e.core.CheckDomain(ctx, p, t.account, t.dom, purposes...)
	} else {
		v.Domain, err = e.core.Domain(ctx, p, t.account, t.dom)
	}
	if err == nil && t.expand.account {
		v.account, err = e.core.Authorize(ctx, p, t.account, sender.RoleReader)
	}
	return v, named(err, "emailDomain")
}

// 3: GET one emaildomain. What is expanded is checked as if it were read.
func (e edge) domain(ctx context.Context, p sender.Principal, t thing) (domainView, error) {
	var purposes []dnscheck.Purpose
	if t.expand.ownership {
		purposes = append(purposes, dnscheck.Ownership)
	}
	if t.expand.dkim {
		purposes = append(purposes, dnscheck.DKIM)
	}
	if t.expand.spf {
		purposes = append(purposes, dnscheck.SPF)
	}
	return e.domainOf(ctx, p, t, purposes)
}

// 4, 5, 6: GET ownership, dkim, spf: reading a status is the check.
func (e edge) check(purpose dnscheck.Purpose) func(context.Context, sender.Principal, thing) (domainView, error) {
	return func(ctx context.Context, p sender.Principal, t thing) (domainView, error) {
		return e.domainOf(ctx, p, t, []dnscheck.Purpose{purpose})
	}
}

// 7: DELETE one emaildomain, with its addresses.
func (e edge) deleteDomain(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, named(e.core.DeleteDomain(ctx, p, t.account, t.dom, true), "emailDomain")
}

func newAddress(r *http.Request) (t thing, err error) {
	if t, err = readThing(r, 1); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		EmailAddress *string `json:"emailAddress"`
	}](r)
	if err != nil {
		return t, err
	}
	t.value, err = given("emailAddress", body.EmailAddress)
	t.value = mailbox(t.value)
	return t, err
}

// addressView is an address and what was asked to be shown with it.
type addressView struct {
	sender.Address
	thing
	domain  sender.Domain // where expanded
	account sender.Tenant // where expanded
}

// 8: POST trustedemails. An address may be added before its domain is proven.
func (e edge) createAddress(ctx context.Context, p sender.Principal, t thing) (addressView, error) {
	a, created, err := e.core.CreateAddress(ctx, p, t.account, t.dom, t.value, false)
	if err == nil && !created {
		err = sender.Errorf(sender.Conflict, "emailAddress", "The domain has this address already.")
	}
	return addressView{Address: a, thing: t}, named(err, "emailDomain")
}

// 9: GET trustedemails.
func (e edge) addresses(ctx context.Context, p sender.Principal, t thing) (listed[sender.Address], error) {
	as, _, err := e.core.Addresses(ctx, p, t.account, t.dom, sender.Page{})
	return listed[sender.Address]{t, as}, named(err, "emailDomain")
}

// 10: GET one trustedemail.
func (e edge) address(ctx context.Context, p sender.Principal, t thing) (v addressView, err error) {
	v.thing = t
	if v.Address, err = e.core.Address(ctx, p, t.account, t.dom, t.addr); err != nil {
		return v, e.whichMissing(ctx, p, t, err)
	}
	if t.expand.emailDomain {
		if v.domain, err = e.core.Domain(ctx, p, t.account, t.dom); err != nil {
			return v, named(err, "emailDomain")
		}
	}
	if t.expand.account {
		v.account, err = e.core.Authorize(ctx, p, t.account, sender.RoleReader)
	}
	return v, named(err, "account")
}

// whichMissing says which of the two was not found.
func (e edge) whichMissing(ctx context.Context, p sender.Principal, t thing, err error) error {
	if sender.KindOf(err) != sender.NotFound {
		return err
	}
	if _, err := e.core.Domain(ctx, p, t.account, t.dom); err != nil {
		return named(err, "emailDomain")
	}
	return missing("trustedEmail")
}

func activation(r *http.Request) (t thing, err error) {
	if t, err = readThing(r, 2); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		VerificationCode *string `json:"verificationCode"`
	}](r)
	if err != nil {
		return t, err
	}
	t.value, err = given("verificationCode", body.VerificationCode)
	return t, err
}

// 11: POST activate.
func (e edge) activate(ctx context.Context, p sender.Principal, t thing) (addressView, error) {
	a, err := e.core.ActivateAddress(ctx, p, t.account, t.dom, t.addr, t.value)
	return addressView{Address: a, thing: t}, e.whichMissing(ctx, p, t, needless(err))
}

// resending reads a request that needs no body.
func resending(r *http.Request) (t thing, err error) {
	if t, err = readThing(r, 2); err != nil {
		return t, err
	}
	b, err := api.ReadBody(r)
	if err == nil && len(b) > 0 {
		_, err = decode[struct{}](r, b)
	}
	return t, err
}

// 12: POST resend.
func (e edge) resend(ctx context.Context, p sender.Principal, t thing) (addressView, error) {
	a, err := e.core.ResendCode(ctx, p, t.account, t.dom, t.addr)
	return addressView{Address: a, thing: t}, e.whichMissing(ctx, p, t, needless(err))
}

// needless names what the core calls Invalid of an action that had nothing else
// to complain about: the address is active.
func needless(err error) error {
	if sender.KindOf(err) == sender.Invalid {
		return sender.Errorf(alreadyActive, "status", "The address is active already.")
	}
	return err
}

// 13: DELETE one trustedemail.
func (e edge) deleteAddress(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.whichMissing(ctx, p, t, e.core.DeleteAddress(ctx, p, t.account, t.dom, t.addr))
}
