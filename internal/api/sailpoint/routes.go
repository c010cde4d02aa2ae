package sailpoint

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

// Config is what the dialect is made of.
type Config struct {
	Service *sender.Service
	Auth    *auth.Auth
	Origin  api.Origin
	Log     *slog.Logger
	// IgnoreExperimental lets requests to the releases of 2024 and 2025 in without the
	// header that their document demands.
	IgnoreExperimental bool
	RateLimit          int           // requests of a client to a release in RateWindow; 0: no limit
	TokenLife          time.Duration // zero: DefaultTokenLife
}

// The vendor's limit.
const (
	DefaultRateLimit = 100
	RateWindow       = 10 * time.Second
)

// edge carries what the operations need beside their input.
type edge struct {
	core   *sender.Service
	auth   *auth.Auth
	origin api.Origin
}

// door lets requests in.
type door struct {
	bearer func(*http.Request) (sender.Principal, error)
	limits *limiter
	strict bool
}

// experimentalHeader is what the document of the operation demands, with the value
// true.
const experimentalHeader = "X-SailPoint-Experimental"

// admit tells who asks, and whether they may ask now and in this way. What they may
// ask for is the core's to say.
func (d door) admit(r *http.Request) (sender.Principal, error) {
	p, err := d.bearer(r)
	if err != nil {
		return p, err
	}
	now := time.Now()
	version := releaseOf(r.Context())
	if wait := d.limits.take(p.Credential, version, now); wait > 0 {
		e := sender.Errorf(throttled, "", "There were too many requests of this client.")
		e.RetryAt = now.Add(wait)
		return p, e
	}
	demanded := d.strict && (version == v2024 || version == v2025 || version == bare)
	if demanded && !strings.EqualFold(strings.TrimSpace(r.Header.Get(experimentalHeader)), "true") {
		return p, sender.Errorf(noExperiment, experimentalHeader, "Experimental Header is missing or invalid.")
	}
	if p.Home == "" {
		return p, sender.Errorf(sender.Denied, "", "This credential belongs to no tenant; use that of a tenant.")
	}
	return p, nil
}

// New returns the handler of everything that Owns says is ours.
func New(c Config) http.Handler {
	if c.TokenLife == 0 {
		c.TokenLife = DefaultTokenLife
	}
	in := door{bearer: api.Bearer(c.Auth), limits: &limiter{most: c.RateLimit, window: RateWindow}, strict: !c.IgnoreExperimental}
	d := &api.Dialect{Name: "sailpoint", Log: c.Log, Authenticate: in.admit, WriteError: writeError, Finish: track}
	// The same but for Finish, which the one around it has.
	inner := &api.Dialect{Name: d.Name, Log: c.Log, Authenticate: in.admit, WriteError: writeError}
	e := edge{core: c.Service, auth: c.Auth, origin: c.Origin}
	older, newest := e.routes(inner), e.routes(inner)
	e.newestRoutes(inner, newest)
	logins := api.NewMux(inner)
	logins.Handle("POST /oauth/token", api.TokenEndpoint{Auth: c.Auth, Log: c.Log, Life: c.TokenLife, Lenient: true, Answer: e.token}.Handler())
	logins.Handle("GET /oauth/info", inner.Wrap(e.info))

	return d.Wrap(func(w http.ResponseWriter, r *http.Request) error {
		shorter, ok := without(r)
		if !ok {
			return sender.Errorf(api.NoRoute, "", "There is nothing at this path; check its version and its spelling.")
		}
		m, version := older, releaseOf(shorter.Context())
		switch {
		case version == login:
			m = logins
		case version.newest():
			m = newest
		}
		m.ServeHTTP(w, shorter)
		r.Pattern = strings.TrimSpace(string(version) + " " + shorter.Pattern) // for the log
		return nil
	})
}

// track sends the id of the request as the vendor's gateway does, letter by letter.
func track(a *api.Answer, r *http.Request) error {
	a.Header()["SLPT-Request-ID"] = []string{trackingID(r.Context())}
	return nil
}

// routes are the operations of every release, by their paths without it.
func (e edge) routes(d *api.Dialect) *api.Mux {
	m := api.NewMux(d)
	const addresses = "/verified-from-addresses"
	m.Handle("GET "+addresses, api.Handle(d, collection(addressFields), e.addresses, writeList))
	m.Handle("POST "+addresses, api.Handle(d, newAddress, e.createAddress, writeAddress))
	m.Handle("DELETE "+addresses+"/{id}", api.Handle(d, readID("verified from address"), e.deleteAddress, noContent))

	m.Handle("GET /verified-domains", api.Handle(d, pageOnly, e.domains, writeList))
	m.Handle("POST /verified-domains", api.Handle(d, newDomain, e.createDomain, writeDomain))

	m.Handle("GET /mail-from-attributes/{identity}", api.Handle(d, identityOf, e.mailFrom, writeMailFrom))
	m.Handle("PUT /mail-from-attributes", api.Handle(d, newMailFrom, e.setMailFrom, writeMailFrom))

	const templates = "/notification-templates"
	m.Handle("GET "+templates, api.Handle(d, collection(templateFields), e.templates, writeList))
	m.Handle("POST "+templates, api.Handle(d, newTemplate, e.writeTemplate, writeTemplateBody))
	m.Handle("GET "+templates+"/{id}", api.Handle(d, readID("template"), e.template, writeTemplateBody))
	m.Handle("POST "+templates+"/bulk-delete", api.Handle(d, bulk, e.deleteTemplates, noContent))
	m.Handle("GET /notification-template-defaults", api.Handle(d, collection(defaultFields), e.defaults, writeList))
	m.Handle("GET /notification-template-context", api.Handle(d, e.base, e.context, writeContext))
	m.Handle("POST /send-test-notification", api.Handle(d, e.newTest, e.sendTest, noContent))

	m.Handle("GET /notification-preferences/{key}", api.Handle(d, readPreference, e.preference, writePreference))
	return m
}

// newestRoutes are the operations that only v2026 and v1 have.
func (e edge) newestRoutes(d *api.Dialect, m *api.Mux) {
	m.Handle("GET /notification-template-variables/{key}/{medium}", api.Handle(d, readVariables, e.variables, writeVariables))
	const preferences = "/notification-preferences"
	m.Handle("GET "+preferences, api.Handle(d, collection(preferenceFields), e.preferences, writeList))
	m.Handle("PUT "+preferences+"/{key}", api.Handle(d, newPreference, e.setPreference, writePreference))
}

// base is where clients reach us.
func (e edge) base(r *http.Request) (string, error) { return e.origin.Base(r), nil }
