package app

import (
	"context"
	"io"
	"net/http"
	"net/http/pprof"
	"path"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/api/native"
	"github.com/postseal/postseal/internal/api/pingid"
	"github.com/postseal/postseal/internal/api/pingone"
	"github.com/postseal/postseal/internal/api/sailpoint"
	"github.com/postseal/postseal/internal/console"
	"github.com/postseal/postseal/internal/sender"
)

// routes leads each path to the edge that owns it; PingOne's lie below /v1 as
// the native API's do, and go first.
func (a *App) routes(x extras) http.Handler {
	origin := api.Origin{TrustForwardedProto: a.cfg.HTTP.TrustForwarded}
	own := http.NewServeMux()
	own.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	own.HandleFunc("GET /readyz", a.ready)
	own.HandleFunc("/", nothing)
	if x.routes != nil {
		x.routes(a, own)
	}
	clean := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; p != path.Clean(p) { // net/http would answer with a redirect in HTML
			nothing(w, r)
			return
		}
		own.ServeHTTP(w, r)
	})
	return api.Mounts(clean,
		api.Mount{Owns: pingone.Owns, Handler: pingone.New(pingone.Config{Service: a.Service, Auth: a.Auth, Origin: origin, Log: a.log})},
		api.Mount{Owns: console.Owns, Handler: console.New(console.Config{Service: a.Service, Log: a.log})},
		api.Mount{Owns: native.Owns, Handler: native.New(native.Config{Service: a.Service, Auth: a.Auth, Origin: origin, Log: a.log, Version: Version()})},
		api.Mount{Owns: pingid.Owns, Handler: pingid.New(pingid.Config{
			Core: a.Service, OTP: a.OTP, Keys: a.Auth, Origin: api.Origin{TrustForwardedProto: origin.TrustForwardedProto, Fixed: strings.TrimSuffix(a.cfg.HTTP.PublicURL, "/")}, Log: a.log, Names: a.cfg.pingidNames(), ActionsCreate: a.cfg.PingID.ActionsCreate,
			RefuseReplays: a.cfg.PingID.RefuseReplays, RequireExpires: a.cfg.PingID.RequireExpires, PrefixNames: a.cfg.PingID.PrefixNames,
		})},
		api.Mount{Owns: sailpoint.Owns, Handler: sailpoint.New(sailpoint.Config{
			Service: a.Service, Auth: a.Auth, Origin: origin, Log: a.log, IgnoreExperimental: a.cfg.SailPoint.Experimental == "off",
			RateLimit: a.cfg.SailPoint.RateLimit, TokenLife: a.cfg.SailPoint.TokenTTL,
		})},
	)
}

// ready says whether this instance can do its work: the database answers.
func (a *App) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if _, err := a.store.NextDue(ctx); err != nil {
		plain(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	plain(w, http.StatusOK, "ok")
}

// nothing answers paths that no edge owns, in JSON with the members that the
// vendors' clients look for: to them a router's plain text at a mistyped base
// path looks as if everything had been deleted.
func nothing(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"id":"`+string(sender.NewID())+`","code":"NOT_FOUND","message":"There is nothing at this path. The APIs of Postseal are below /v1, /pingid/v1 and SailPoint's versions such as /v2026; /v1/openapi.json describes the native one."}`+"\n")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the client may be gone
}

// profiles are Go's own, on the debug listener.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
