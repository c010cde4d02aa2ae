package pingone_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patrickcping/pingone-go-sdk-v2/management"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// client is the vendor's client on one of the ways to the instance.
type client struct {
	*management.APIClient
	http *http.Client // what it sends with
	sent *counter

	base  string // scheme and host that every link has to begin with
	auth  string // scheme and host of the token endpoint
	env   string // its own environment
	other string // one that it has no rights in
	token string
	point func(*management.Configuration) // chooses the server

	domain   string   // what its tests create lies at or below this
	instance []string // how its `postseal dev` commands find the instance
}

// straight talks HTTP to the listener. Host and Scheme of the configuration then
// override those of links, too.
func straight(t *testing.T) *client {
	c := newClient(t, &http.Transport{})
	c.base, c.auth = os.Getenv("POSTSEAL_URL"), os.Getenv("POSTSEAL_URL")
	c.domain = "Mail.Straight.example"
	c.login(t, "", "_2", func(cfg *management.Configuration) {
		cfg.Scheme, cfg.Host, _ = strings.Cut(c.base, "://")
	})
	return c
}

// proxied is how the vendor's umbrella package and Terraform provider set the
// client up: dotted host names, https, the forward proxy. Links are then
// followed verbatim.
func proxied(t *testing.T) *client {
	ca, err := os.ReadFile(os.Getenv("POSTSEAL_CA_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%s holds no certificate", os.Getenv("POSTSEAL_CA_FILE"))
	}
	c := newClient(t, &http.Transport{Proxy: http.ProxyURL(proxy(t)), TLSClientConfig: &tls.Config{RootCAs: roots}})
	c.base, c.auth = "https://"+os.Getenv("PINGONE_API_SERVICE_HOSTNAME_2"), "https://"+os.Getenv("PINGONE_AUTH_SERVICE_HOSTNAME_2")
	c.domain, c.instance = "Mail.Proxied.example", []string{"--dir", dev.dir}
	c.login(t, "_2", "", hostname(t, os.Getenv("PINGONE_API_SERVICE_HOSTNAME_2")))
	return c
}

func proxy(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse(os.Getenv("POSTSEAL_PINGONE_PROXY"))
	if err != nil || u.Host == "" {
		t.Fatalf("POSTSEAL_PINGONE_PROXY is %q: %v", os.Getenv("POSTSEAL_PINGONE_PROXY"), err)
	}
	return u
}

// hostname chooses the server as the umbrella package does.
func hostname(t *testing.T, name string) func(*management.Configuration) {
	return func(cfg *management.Configuration) {
		cfg.SetDefaultServerIndex(1)
		if err := cfg.SetDefaultServerVariableDefaultValue("baseHostname", name); err != nil {
			t.Fatal(err)
		}
	}
}

func newClient(t *testing.T, transport *http.Transport) *client {
	t.Cleanup(transport.CloseIdleConnections)
	sent := &counter{to: transport}
	return &client{sent: sent, http: &http.Client{Transport: sent, Timeout: 10 * time.Second}}
}

// login gets a token for the tenant whose variables end in suffix and makes the
// vendor's client with it.
func (c *client) login(t *testing.T, suffix, others string, point func(*management.Configuration)) {
	t.Helper()
	c.env, c.other = os.Getenv("PINGONE_ENVIRONMENT_ID"+suffix), os.Getenv("PINGONE_ENVIRONMENT_ID"+others)
	c.wants(t, 1, "the token: Basic is right at once", func() {
		token, err := c.credentials(suffix).Token(c.oauth(t))
		if err != nil {
			t.Fatal(err)
		}
		if token.Type() != "Bearer" || token.AccessToken == "" || time.Until(token.Expiry) < 50*time.Minute {
			t.Fatalf("the token is of type %q, has %d characters and ends at %s", token.Type(), len(token.AccessToken), token.Expiry)
		}
		c.token = token.AccessToken
	})
	c.point = point
	c.APIClient = c.as(c.token)
	t.Logf("%s, environment %s", c.base, c.env)
}

// as is the vendor's client on the same way, with that token.
func (c *client) as(token string) *management.APIClient {
	cfg := management.NewConfiguration()
	cfg.HTTPClient = c.http
	cfg.AddDefaultHeader("Authorization", "Bearer "+token)
	c.point(cfg)
	return management.NewAPIClient(cfg)
}

func (c *client) credentials(suffix string) *clientcredentials.Config {
	return &clientcredentials.Config{
		ClientID: os.Getenv("PINGONE_CLIENT_ID" + suffix), ClientSecret: os.Getenv("PINGONE_CLIENT_SECRET" + suffix),
		TokenURL: c.auth + "/" + c.env + "/as/token",
	}
}

func (c *client) oauth(t *testing.T) context.Context {
	return context.WithValue(t.Context(), oauth2.HTTPClient, c.http)
}

// link is where something of the client's own environment is.
func (c *client) link(path ...string) string {
	return strings.Join(append([]string{c.base, "v1", "environments", c.env}, path...), "/")
}

// counter counts the requests that are sent, and sends no more than are allowed:
// a client that repeats a call would otherwise do so for minutes.
type counter struct {
	to      http.RoundTripper
	n       atomic.Int64 // asked for, refused ones among them
	allowed atomic.Int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if n := c.n.Add(1); n > c.allowed.Load() {
		return nil, fmt.Errorf("%s %s is one request more than this call should need", r.Method, r.URL.Path)
	}
	return c.to.RoundTrip(r)
}

// wants demands that call sends so many requests.
func (c *client) wants(t *testing.T, requests int64, what string, call func()) {
	t.Helper()
	before := c.sent.n.Load()
	c.sent.allowed.Store(before + requests)
	call()
	if n := c.sent.n.Load() - before; n != requests {
		t.Errorf("%s: the client sent %d requests, want %d", what, n, requests)
	}
}

// post is A6, which the vendor's client has no call for.
func (c *client) post(t *testing.T, at, mediaType, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", mediaType)
	c.sent.allowed.Add(1)
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// succeeded demands the status of an answer that the client decoded.
func succeeded(t *testing.T, what string, want int, resp *http.Response, err error) {
	t.Helper()
	if err != nil {
		var g *management.GenericOpenAPIError
		if errors.As(err, &g) {
			t.Fatalf("%s: %v: %s", what, err, g.Body())
		}
		t.Fatalf("%s: %v", what, err)
	}
	if resp.StatusCode != want {
		t.Errorf("%s: status %d, want %d", what, resp.StatusCode, want)
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// freezes are the beginnings of messages that make the Terraform provider
// repeat a call for ten minutes.
var freezes = []string{
	"The actor attempting to perform the request is not authorized.",
	"The request could not be completed. You do not have access to this resource.",
}

// refused demands an error that the client decoded into its own model, with that
// status and code and, where detail is given, with its code and target as the
// first detail.
func refused(t *testing.T, what string, status int, code, detail string, resp *http.Response, err error) {
	t.Helper()
	var g *management.GenericOpenAPIError
	if !errors.As(err, &g) {
		t.Fatalf("%s: error %v, want one with a body", what, err)
	}
	e, ok := g.Model().(management.P1Error)
	if !ok || resp == nil || resp.StatusCode != status {
		t.Fatalf("%s: %v, decoded to %T, want status %d: %s", what, err, g.Model(), status, g.Body())
	}
	if !uuid.MatchString(e.GetId()) || e.GetCode() != code || e.GetMessage() == "" {
		t.Errorf("%s: id %q, code %q, message %q; want code %s", what, e.GetId(), e.GetCode(), e.GetMessage(), code)
	}
	if slices.ContainsFunc(freezes, func(s string) bool { return strings.HasPrefix(e.GetMessage(), s) }) {
		t.Errorf("%s: %q freezes Terraform for ten minutes", what, e.GetMessage())
	}
	if detail == "" {
		return
	}
	if len(e.GetDetails()) == 0 {
		t.Fatalf("%s: no details, want %s", what, detail)
	}
	d := e.GetDetails()[0]
	if got := d.GetCode() + "/" + d.GetTarget(); got != detail || d.GetMessage() == "" {
		t.Errorf("%s: detail %s, message %q; want %s", what, got, d.GetMessage(), detail)
	}
}
