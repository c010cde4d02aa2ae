// Package apitest has both cores whole for tests of the edges: a real store on SQLite,
// a real checker against a DNS server on loopback, and a provider that keeps
// mail instead of sending it. Production code never imports it.
package apitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

// Operator is the principal of the test itself.
var Operator = auth.Local()

// Kit is the cores and what is around them.
type Kit struct {
	T       testing.TB
	DNS     *dnstest.Server
	Store   *store.Store
	Service *sender.Service
	OTP     *otp.Service
	Auth    *auth.Auth
	Log     *slog.Logger
	Mail    *Outbox
	Hooks   *Hooks
	log     *buffer
}

// New makes a kit that lives as long as the test. tune may change settings.
// Every read of a status asks the DNS.
func New(t testing.TB, tune ...func(*sender.Settings)) *Kit {
	t.Helper()
	k := &Kit{T: t, DNS: dnstest.Serve(t, ""), Mail: &Outbox{}, Hooks: &Hooks{}, log: &buffer{}}
	k.Log = slog.New(slog.NewTextHandler(k.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ring, err := store.LoadKeyring(store.GenerateKey())
	k.must(err)
	k.Store, err = store.Open(t.Context(), store.Config{DSN: filepath.Join(t.TempDir(), "postseal.db"), SealKeys: ring, Log: slog.New(slog.DiscardHandler), Migrate: true})
	k.must(err)
	t.Cleanup(func() { k.Store.Close() })
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: []string{k.DNS.Addr()}})
	k.must(err)
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{Resolver: resolver, Quorum: 1})
	k.must(err)
	settings := sender.DefaultSettings()
	settings.Verify.Freshness = 0
	for _, change := range tune {
		change(&settings)
	}
	k.Service, err = sender.New(t.Context(), sender.Config{Store: k.Store, Checker: checker, Provider: &provider{outbox: k.Mail}, Poster: k.Hooks, Settings: settings, Log: k.Log})
	k.must(err)
	k.OTP = k.NewOTP(otp.DefaultSettings())
	key, err := k.Store.Secret(t.Context(), "access-token", 32)
	k.must(err)
	k.Auth, err = auth.New(auth.Config{Store: k.Store, SigningKey: key, Log: k.Log})
	k.must(err)
	return k
}

// NewOTP makes another otp core on the kit's store, with these settings.
func (k *Kit) NewOTP(settings otp.Settings) *otp.Service {
	k.T.Helper()
	s, err := otp.New(k.T.Context(), otp.Config{Store: k.Store.OTP(), Sender: k.Service, Settings: settings, Log: k.Log})
	k.must(err)
	return s
}

func (k *Kit) must(err error) {
	k.T.Helper()
	if err != nil {
		k.T.Fatal(err)
	}
}

// Logged returns everything that was logged.
func (k *Kit) Logged() string { return k.log.String() }

// Tenant makes a tenant with three regions.
func (k *Kit) Tenant(name string) sender.Tenant {
	k.T.Helper()
	t, err := k.Service.CreateTenant(k.T.Context(), Operator, sender.NewTenant{Name: name, Regions: []string{"us-west-2", "us-east-1", "ap-southeast-2"}})
	k.must(err)
	return t
}

// Client makes an OAuth client with a role in its tenant and returns an access
// token for it.
func (k *Kit) Client(t sender.Tenant, role sender.Role, domain sender.ID) (c sender.Credential, secret, token auth.Secret) {
	k.T.Helper()
	c, secret, err := k.Auth.CreateCredential(k.T.Context(), Operator, auth.NewCredential{
		Kind: sender.OAuthClient, Name: "test", Tenant: t.ID, Domain: domain, Grants: []sender.Grant{{Tenant: t.ID, Role: role}},
	})
	k.must(err)
	login, err := k.Auth.Token(k.T.Context(), t.ID, string(c.ID), secret)
	k.must(err)
	return c, secret, login.AccessToken
}

// Token returns an access token with that role in the tenant.
func (k *Kit) Token(t sender.Tenant, role sender.Role) auth.Secret {
	k.T.Helper()
	_, _, token := k.Client(t, role, "")
	return token
}

// Domain registers a domain.
func (k *Kit) Domain(t sender.Tenant, name string) sender.Domain {
	k.T.Helper()
	d, err := k.Service.CreateDomain(k.T.Context(), Operator, t.ID, name)
	k.must(err)
	return d
}

// Publish puts the domain's records of these purposes into the DNS; none means
// all.
func (k *Kit) Publish(d sender.Domain, purposes ...dnscheck.Purpose) {
	k.T.Helper()
	for _, r := range k.Service.Records(d) {
		if len(purposes) == 0 || slices.Contains(purposes, r.Purpose) {
			k.DNS.Add(dnscheck.ZoneText(d.Name, []dnscheck.Record{r}))
		}
	}
}

// Proven registers a domain, publishes its ownership records and lets them be
// seen.
func (k *Kit) Proven(t sender.Tenant, name string) sender.Domain {
	k.T.Helper()
	d := k.Domain(t, name)
	k.Publish(d, dnscheck.Ownership)
	d, err := k.Service.CheckDomain(k.T.Context(), Operator, t.ID, d.ID, dnscheck.Ownership)
	k.must(err)
	if !d.Proven() {
		_, c, _ := k.Service.Findings(k.T.Context(), Operator, t.ID, d.ID)
		k.T.Fatalf("%s is not proven after its records were published: %+v", name, c.Findings)
	}
	return d
}

// Address registers an address of a proven domain and confirms its code.
func (k *Kit) Address(t sender.Tenant, d sender.Domain, address string) sender.Address {
	k.T.Helper()
	a, _, err := k.Service.CreateAddress(k.T.Context(), Operator, t.ID, d.ID, address, true)
	k.must(err)
	a, err = k.Service.ActivateAddress(k.T.Context(), Operator, t.ID, d.ID, a.ID, k.Mail.Code(k.T, address))
	k.must(err)
	return a
}

// Serve serves a handler on loopback until the test ends.
func (k *Kit) Serve(h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	k.T.Cleanup(s.Close)
	return s
}

// Reply is an answer with its body read.
type Reply struct {
	T      testing.TB
	Status int
	Header http.Header
	Body   []byte
}

// Call sends a request to a server; header is pairs of name and value. An empty
// token sends none.
func Call(t testing.TB, s *httptest.Server, token auth.Secret, method, path, body string, header ...string) Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	if strings.HasPrefix(path, "/") {
		path = s.URL + path
	}
	r, err := http.NewRequestWithContext(ctx, method, path, b)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+string(token))
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Reply{t, resp.StatusCode, resp.Header, got}
}

// Want fails the test unless the status is this one.
func (r Reply) Want(status int) Reply {
	r.T.Helper()
	if r.Status != status {
		r.T.Fatalf("status %d, want %d; body %s", r.Status, status, r.Body)
	}
	return r
}

// At returns the value at a path of member names and indices, such as
// "regions.0.name"; nil where there is none.
func (r Reply) At(path string) any {
	r.T.Helper()
	var v any
	if err := json.Unmarshal(r.Body, &v); err != nil {
		r.T.Fatalf("the body is not JSON: %v: %s", err, r.Body)
	}
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// String is At for strings; empty where there is none.
func (r Reply) String(path string) string {
	r.T.Helper()
	s, _ := r.At(path).(string)
	return s
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
