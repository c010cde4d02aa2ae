package api

import (
	"net/http"
	"path"

	"github.com/postseal/postseal/internal/sender"
)

// Mux routes the requests of one dialect; what it has no route for is answered
// in the dialect's words. It never redirects: clients of an API do not expect it,
// and net/http would answer with a page of HTML.
type Mux struct {
	dialect  *Dialect
	patterns http.ServeMux
}

// NewMux makes a Mux without routes.
func NewMux(d *Dialect) *Mux { return &Mux{dialect: d} }

// Handle adds a route; the pattern is one of [http.ServeMux].
func (m *Mux) Handle(pattern string, h http.Handler) { m.patterns.Handle(pattern, h) }

// HandleFunc adds a route.
func (m *Mux) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	m.patterns.HandleFunc(pattern, h)
}

func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := m.missing(r); err != nil {
		m.dialect.Wrap(func(http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(w, r)
		return
	}
	m.patterns.ServeHTTP(w, r)
}

// missing returns what there is to say about a request without a route, nil
// where it has one.
func (m *Mux) missing(r *http.Request) error {
	if path.Clean(r.URL.Path) == r.URL.Path {
		h, pattern := m.patterns.Handler(r)
		if pattern != "" {
			return nil
		}
		probe := newAnswer()
		h.ServeHTTP(probe, r)
		if probe.Status() == http.StatusMethodNotAllowed {
			e := sender.Errorf(WrongMethod, "", "The method %s can't be used here; use one of %s.", Short(r.Method), probe.Header().Get("Allow"))
			e.Err = allowed(probe.Header().Get("Allow"))
			return e
		}
	}
	return sender.Errorf(NoRoute, "", "There is nothing at this path; check it for missing or doubled parts.")
}

// allowed are the methods of a path, for the Allow header (RFC 9110, section
// 10.2.1).
type allowed string

func (a allowed) Error() string { return "allowed: " + string(a) }

// Mount is a handler and the paths that are its own.
type Mount struct {
	Owns    func(path string) bool
	Handler http.Handler
}

// Mounts answers with the first mount that owns the path. The dialects' paths
// lie within one another (/v1/environments, /v1/..., /{environment}/as/token),
// which is why one [http.ServeMux] can't tell them apart. What nobody owns goes
// to fallback. A path with doubled slashes goes where the right one would: who
// mistyped it gets the 404 of the dialect that was meant.
func Mounts(fallback http.Handler, mounts ...Mount) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		meant := path.Clean("/" + r.URL.Path)
		for _, m := range mounts {
			if m.Owns(meant) {
				m.Handler.ServeHTTP(w, r)
				return
			}
		}
		fallback.ServeHTTP(w, r)
	})
}
