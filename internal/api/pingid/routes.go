package pingid

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/otp"
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
	DeleteDomain(ctx context.Context, p sender.Principal, tenant, id sender.ID, withAddresses bool) error

	CreateAddress(ctx context.Context, p sender.Principal, tenant, domain sender.ID, spelling string, demandProof bool) (a sender.Address, created bool, err error)
	Address(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID) (sender.Address, error)
	Addresses(ctx context.Context, p sender.Principal, tenant, domain sender.ID, page sender.Page) ([]sender.Address, int, error)
	DeleteAddress(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID) error
	ResendCode(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID) (sender.Address, error)
	ActivateAddress(ctx context.Context, p sender.Principal, tenant, domain, id sender.ID, code string) (sender.Address, error)

	CreateTemplate(ctx context.Context, p sender.Principal, tenant sender.ID, n sender.NewTemplate) (sender.Template, error)
	Template(ctx context.Context, p sender.Principal, tenant, application, id sender.ID) (sender.Template, error)
	Templates(ctx context.Context, p sender.Principal, tenant sender.ID, filter sender.TemplateFilter, page sender.Page) ([]sender.Template, error)
	ReplaceTemplate(ctx context.Context, p sender.Principal, tenant, application, id sender.ID, n sender.NewTemplate) (sender.Template, error)
	DeleteTemplate(ctx context.Context, p sender.Principal, tenant, application, id sender.ID) error
}

// OTP is what this dialect calls of [otp.Service], which says what each method
// does.
type OTP interface {
	CreateApplication(ctx context.Context, p sender.Principal, tenant sender.ID, n otp.NewApplication) (otp.Application, error)
	Application(ctx context.Context, p sender.Principal, tenant, id sender.ID) (otp.Application, error)
	Applications(ctx context.Context, p sender.Principal, tenant sender.ID) ([]otp.Application, error)
	UpdateApplication(ctx context.Context, p sender.Principal, tenant, id sender.ID, n otp.NewApplication) (otp.Application, error)
	SetAttribute(ctx context.Context, p sender.Principal, tenant, id sender.ID, name, value string) (otp.Application, error)

	CreateUser(ctx context.Context, p sender.Principal, tenant sender.ID, n otp.NewUser) (otp.User, error)
	User(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string) (otp.Profile, error)
	UpdateUser(ctx context.Context, p sender.Principal, tenant sender.ID, username string, n otp.NewUser) (otp.Profile, error)
	DeleteUser(ctx context.Context, p sender.Principal, tenant sender.ID, username string) error
	DeleteDevice(ctx context.Context, p sender.Principal, tenant sender.ID, username string, id sender.ID) error

	StartPairing(ctx context.Context, p sender.Principal, tenant sender.ID, n otp.NewPairing) (otp.Pairing, error)
	Pairing(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID) (otp.Pairing, error)
	FinishPairing(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID, code, nickname string) (otp.Pairing, error)

	StartAuthentication(ctx context.Context, p sender.Principal, tenant sender.ID, n otp.NewAuthentication) (otp.Signing, error)
	Authentication(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID) (otp.Signing, error)
	SubmitCode(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID, code string) (otp.Signing, error)
	Cancel(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID) error
}

// Config is what the dialect is made of.
type Config struct {
	Core   Core
	OTP    OTP
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
	// RequireExpires lets no request in that can be used for ever: those without
	// expires. Not every public client sends it.
	RequireExpires bool
	// ActionsCreate answers 201 instead of 200 to activate and resend. The
	// documents are silent; the vendor's Java sample takes nothing else of a POST.
	ActionsCreate bool
	// PrefixNames answers names of applications in base64 behind _base64Format_, as
	// the vendor's admin console made them: its migration tool cuts so many
	// characters off whatever comes.
	PrefixNames bool
}

const (
	root     = "/pingid"
	accounts = root + "/v1/accounts"
)

// edge carries what the operations and encoders need beside their value.
type edge struct {
	core        Core
	otp         OTP
	origin      api.Origin
	action      int // status of activate and resend
	prefixNames bool
}

// New returns the handler of everything that Owns says is ours.
func New(c Config) http.Handler {
	// Two dialects of the same words: the outer one admits and signs, whatever the
	// inner ones have a route for. Each of these speaks of one resource.
	door := door{keys: c.Keys, names: c.Names, requireExpires: c.RequireExpires}
	if c.RefuseReplays {
		door.memory = &memory{}
	}
	outer := &api.Dialect{Name: "pingid", Log: c.Log, Authenticate: door.admit, WriteError: writeError(""), Finish: door.sign}
	about := func(resource string) *api.Dialect {
		return &api.Dialect{Name: "pingid", Log: c.Log, Authenticate: admitted, WriteError: writeError(resource)}
	}
	e := edge{core: c.Core, otp: c.OTP, origin: c.Origin, action: http.StatusOK, prefixNames: c.PrefixNames}
	if c.ActionsCreate {
		e.action = http.StatusCreated
	}
	m := e.routes(about)
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

func (e edge) routes(about func(resource string) *api.Dialect) *api.Mux {
	m := api.NewMux(about(""))
	const account = accounts + "/{account}"
	m.Handle("GET "+account, api.Handle(about("account"), readThing, e.account, e.writeAccount))

	const domains = account + "/emaildomains"
	const domain = domains + "/{dom}"
	d := about("emailDomain")
	m.Handle("POST "+domains, api.Handle(d, newDomain, e.createDomain, e.writeNewDomain))
	m.Handle("GET "+domains, api.Handle(d, readThing, e.domains, e.writeDomains))
	m.Handle("GET "+domain, api.Handle(d, readThing, e.domain, e.writeDomain))
	m.Handle("DELETE "+domain, api.Handle(d, readThing, e.deleteDomain, noContent))
	m.Handle("GET "+domain+"/ownership", api.Handle(d, readThing, e.check(dnscheck.Ownership), e.writePart("ownership", ownership)))
	m.Handle("GET "+domain+"/dkim", api.Handle(d, readThing, e.check(dnscheck.DKIM), e.writePart("dkim", dkim)))
	m.Handle("GET "+domain+"/spf", api.Handle(d, readThing, e.check(dnscheck.SPF), e.writePart("spf", spf)))

	const addresses = domain + "/trustedemails"
	const address = addresses + "/{addr}"
	d = about("trustedEmail")
	m.Handle("POST "+addresses, api.Handle(d, newAddress, e.createAddress, e.writeAddress(http.StatusCreated, "")))
	m.Handle("GET "+addresses, api.Handle(d, readThing, e.addresses, e.writeAddresses))
	m.Handle("GET "+address, api.Handle(d, readThing, e.address, e.writeAddress(http.StatusOK, "")))
	m.Handle("DELETE "+address, api.Handle(d, readThing, e.deleteAddress, noContent))
	m.Handle("POST "+address+"/activate", api.Handle(d, activation, e.activate, e.writeAddress(e.action, "/activate")))
	m.Handle("POST "+address+"/resend", api.Handle(d, resending, e.resend, e.writeAddress(e.action, "/resend")))

	const applications = account + "/applications"
	const application = applications + "/{app}"
	d = about("application")
	m.Handle("POST "+applications, api.Handle(d, newApplication, e.createApplication, e.writeApplication(http.StatusCreated)))
	m.Handle("GET "+applications, api.Handle(d, readThing, e.applications, e.writeApplications))
	m.Handle("GET "+application, api.Handle(d, readThing, e.application, e.writeApplication(http.StatusOK)))
	m.Handle("PUT "+application, api.Handle(d, newApplication, e.updateApplication, e.writeApplication(http.StatusOK)))
	d = about("attribute")
	m.Handle("GET "+application+"/attributes", api.Handle(d, readThing, e.application, writeAttributes))
	m.Handle("GET "+application+"/attributes/{name}", api.Handle(d, readThing, e.attribute, writeAttribute))
	m.Handle("PUT "+application+"/attributes/{name}", api.Handle(d, newAttribute, e.setAttribute, writeAttribute))

	const templates = application + "/emailconfigurations"
	const template = templates + "/{template}"
	d = about("emailConfiguration")
	m.Handle("POST "+templates, api.Handle(d, newTemplate, e.createTemplate, writeTemplate(http.StatusCreated)))
	m.Handle("GET "+templates, api.Handle(d, templateFilter, e.templates, writeTemplates))
	m.Handle("GET "+template, api.Handle(d, readThing, e.template, writeTemplate(http.StatusOK)))
	m.Handle("PUT "+template, api.Handle(d, newTemplate, e.replaceTemplate, writeTemplate(http.StatusOK)))
	m.Handle("DELETE "+template, api.Handle(d, readThing, e.deleteTemplate, noContent))
	// A printed sample doubles the segment.
	m.Handle("DELETE "+templates+"/emailconfigurations/{template}", api.Handle(d, readThing, e.deleteTemplate, noContent))

	const users = account + "/users"
	const user = users + "/{user}"
	const member = application + "/users/{user}" // a user as one application sees it
	d = about("User")
	m.Handle("POST "+users, api.Handle(d, newUser, e.createUser, writeUser(http.StatusCreated)))
	m.Handle("PUT "+user, api.Handle(d, newUser, e.updateUser, writeUser(http.StatusOK)))
	m.Handle("DELETE "+user, api.Handle(d, readThing, e.deleteUser, noContent))
	m.Handle("GET "+member, api.Handle(d, readThing, e.user, writeUser(http.StatusOK)))
	d = about("device")
	m.Handle("GET "+member+"/devices", api.Handle(d, readThing, e.user, writeDevices))
	m.Handle("DELETE "+user+"/devices/{device}", api.Handle(d, readThing, e.deleteDevice, noContent))

	const pairings = member + "/emailpairings"
	const pairing = pairings + "/{pairing}"
	d = about("pairing")
	m.Handle("POST "+pairings, api.Handle(d, newPairing, e.startPairing, writePairing(http.StatusCreated)))
	m.Handle("GET "+pairing, api.Handle(d, readThing, e.pairing, writePairing(http.StatusOK)))
	m.Handle("PUT "+pairing+"/otp", api.Handle(d, pairingCode, e.finishPairing, noContent))

	const authentications = member + "/authentications"
	const authentication = authentications + "/{authentication}"
	d = about("authentication")
	m.Handle("POST "+authentications, api.Handle(d, newAuthentication, e.startAuthentication, writeAuthentication(http.StatusCreated)))
	m.Handle("GET "+authentication, api.Handle(d, readThing, e.authentication, writeAuthentication(http.StatusOK)))
	m.Handle("PUT "+authentication+"/otp", api.Handle(d, authenticationCode, e.submitCode, writeAuthentication(http.StatusOK)))
	m.Handle("DELETE "+authentication, api.Handle(d, readThing, e.cancel, noContent))
	return m
}

// thing is what a request names.
type thing struct {
	account, dom, addr, app sender.ID
	id                      sender.ID // of a template, device, pairing or authentication
	user                    string    // its username
	name                    string    // of an attribute
	expand                  expansion
	value                   string // name, address or code, of a body
}

// Pairings and authentications have ids that say so.
const (
	pairingPrefix        = "pairing_webs_"
	authenticationPrefix = "webs_"
)

// ids are the variable segments of paths that are ids, what they begin with, and
// what is missing where one names nothing.
var ids = []struct {
	segment, prefix, target string
	id                      func(*thing) *sender.ID
}{
	{"account", "", "account", func(t *thing) *sender.ID { return &t.account }},
	{"dom", "", "emailDomain", func(t *thing) *sender.ID { return &t.dom }},
	{"addr", "", "trustedEmail", func(t *thing) *sender.ID { return &t.addr }},
	{"app", "", "application", func(t *thing) *sender.ID { return &t.app }},
	{"template", "", "template", func(t *thing) *sender.ID { return &t.id }},
	{"device", "", "device", func(t *thing) *sender.ID { return &t.id }},
	{"pairing", pairingPrefix, "pairing", func(t *thing) *sender.ID { return &t.id }},
	{"authentication", authenticationPrefix, "authentication", func(t *thing) *sender.ID { return &t.id }},
}

// readThing reads the segments that the path has. The case of ids does not count;
// one that is no UUID is that of nothing, as is a username that nobody can have.
func readThing(r *http.Request) (t thing, err error) {
	for _, part := range ids {
		s := r.PathValue(part.segment)
		if s == "" {
			continue
		}
		s, begun := strings.CutPrefix(strings.ToLower(s), part.prefix)
		id, ok := sender.ParseID(s)
		if !begun || !ok {
			return thing{}, missing(part.target)
		}
		*part.id(&t) = id
	}
	if s := sealOf(r.Context()); s == nil || t.account != s.tenant {
		return thing{}, missing("account") // an escaped slash made the path look different before it was routed
	}
	t.user, t.name = r.PathValue("user"), r.PathValue("name")
	if !plain(t.user) {
		return thing{}, missing("user")
	}
	if r.Method == http.MethodGet {
		t.expand = parseExpand(r.URL.Query())
	}
	return t, nil
}

// plain reports whether a text can be in a database at all.
func plain(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

func admitted(r *http.Request) (sender.Principal, error) {
	if s := sealOf(r.Context()); s != nil && s.key != nil {
		return s.principal, nil
	}
	return sender.Principal{}, refused("the request was not admitted")
}

func missing(field string) error {
	return sender.Errorf(sender.NotFound, field, "The requested %s was not found.", target(field))
}

// named says what was not found, where the core does not.
func named(err error, field string) error {
	if sender.KindOf(err) == sender.NotFound {
		return missing(field)
	}
	return err
}

func noContent(w http.ResponseWriter, _ *http.Request, _ struct{}) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// listed is a whole list: this API knows no pages.
type listed[T any] struct {
	thing
	items []T
}

// GET the account itself, the target of many links.
func (e edge) account(ctx context.Context, p sender.Principal, t thing) (sender.Tenant, error) {
	tenant, err := e.core.Authorize(ctx, p, t.account, sender.RoleReader)
	return tenant, named(err, "account")
}
