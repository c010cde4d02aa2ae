package pingone_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is a client that does on the wire what the contract says that the
// Terraform provider and the SDK under it do. Terraform itself is not run here.
// What a real run would survive, but only by repeating, looking again or giving
// up, is a surprise: it is kept, and tests demand that there is none.
type scripted struct {
	*http.Client
	api, auth     string // https and a dotted name, reached through the forward proxy
	env           string // to be managed
	workerEnv     string // of the worker application
	id, secret    string
	token         string
	mu            sync.Mutex
	surprises     []string
	logins, looks int            // token calls; environments read after an error
	calls         map[string]int // by method and path, ids left out
}

// shortened is what a second of the real client's waits is here.
const shortened = time.Millisecond

// newScripted finds the instance by its env file, as the shell that runs Terraform
// does; at most so many connections are kept.
func newScripted(t *testing.T, vars map[string]string, connections int) *scripted {
	t.Helper()
	ca, err := os.ReadFile(vars["SSL_CERT_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	via, err := url.Parse(vars["POSTSEAL_PINGONE_PROXY"])
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		Proxy: http.ProxyURL(via), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
	}
	t.Cleanup(transport.CloseIdleConnections)
	c := &scripted{
		Client: &http.Client{Transport: transport, Timeout: 30 * time.Second}, // theirs has no limit
		api:    "https://" + vars["PINGONE_API_SERVICE_HOSTNAME"], auth: "https://" + vars["PINGONE_AUTH_SERVICE_HOSTNAME"],
		env: vars["PINGONE_ENVIRONMENT_ID"], workerEnv: vars["PINGONE_ENVIRONMENT_ID"],
		id: vars["PINGONE_CLIENT_ID"], secret: vars["PINGONE_CLIENT_SECRET"], calls: map[string]int{},
	}
	for what, id := range map[string]string{"client id": c.id, "environment id": c.env} {
		if !uuid.MatchString(id) {
			t.Fatalf("the provider refuses the %s %q", what, id)
		}
	}
	return c
}

func (c *scripted) surprise(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.surprises = append(c.surprises, fmt.Sprintf(format, args...))
}

// calm demands that nothing surprised the client since it was last asked, and that
// it read environments after an error as often as that.
func (c *scripted) calm(t *testing.T, command string, looks int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.surprises {
		t.Errorf("%s: %s", command, s)
	}
	if c.looks != looks {
		t.Errorf("%s: the environment was read %d times after an error, want %d", command, c.looks, looks)
	}
	c.surprises, c.looks = nil, 0
}

// counted returns what was sent since it was last asked.
func (c *scripted) counted() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.calls
	c.calls = map[string]int{}
	return was
}

var anyUUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

func (c *scripted) send(ctx context.Context, method, at string, header http.Header, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header = header
	c.mu.Lock()
	path := strings.TrimPrefix(anyUUID.ReplaceAllString(req.URL.Path, "{}"), "/v1/environments")
	c.calls[strings.TrimSpace(method+" "+path)]++
	c.mu.Unlock()
	resp, err := c.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<22))
	return resp, raw, err
}

// login configures the provider anew, as each of its parts does: the OAuth2
// library in the umbrella module, contract 4.1 and the end of 3.1.
func (c *scripted) login(ctx context.Context) error {
	var err error
	for attempt, wait := 1, 2*shortened; attempt <= 5; attempt, wait = attempt+1, 2*wait {
		c.logins++
		if err = c.basic(ctx); err == nil {
			return nil
		}
		text := err.Error()
		again := strings.Contains(strings.ToLower(text), "unsupported authentication method")
		for _, code := range []string{"429 ", "500 ", "501 ", "502 ", "503 ", "504 "} {
			again = again || strings.Contains(text, code)
		}
		if !again {
			return err
		}
		c.surprise("the token is asked for again after %q", text)
		time.Sleep(wait)
	}
	return err
}

// basic asks with HTTP Basic and, after whatever failure, at once with the
// credentials in the body.
func (c *scripted) basic(ctx context.Context) error {
	form := url.Values{"grant_type": {"client_credentials"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "User-Agent": {"Go-http-client/1.1"}}
	with := header.Clone()
	r := http.Request{Header: with}
	r.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(c.secret))
	err := c.ask(ctx, with, form)
	if err == nil {
		return nil
	}
	c.surprise("the token call with Basic: %v", err)
	form.Set("client_id", c.id)
	form.Set("client_secret", c.secret)
	return c.ask(ctx, header, form)
}

func (c *scripted) ask(ctx context.Context, header http.Header, form url.Values) error {
	resp, raw, err := c.send(ctx, http.MethodPost, c.auth+"/"+c.workerEnv+"/as/token", header, []byte(form.Encode()))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		var e struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if err := json.Unmarshal(raw, &e); err != nil || e.Error == "" {
			return fmt.Errorf("oauth2: cannot fetch token: %s\nResponse: %s", resp.Status, raw)
		}
		return fmt.Errorf("oauth2: %q %q", e.Error, e.Description)
	}
	if kind := resp.Header.Get("Content-Type"); !jsonMedia.MatchString(kind) {
		return fmt.Errorf("oauth2: server response missing access_token: it is %q", kind)
	}
	var a struct {
		Token   string      `json:"access_token"`
		Type    string      `json:"token_type"`
		Expires json.Number `json:"expires_in"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("oauth2: cannot parse json: %w", err)
	}
	life, err := a.Expires.Int64()
	if a.Token == "" || !strings.EqualFold(a.Type, "Bearer") || err != nil || life < 3000 {
		return fmt.Errorf("oauth2: token of %d characters, type %q, expires in %q: a run of Terraform never renews it", len(a.Token), a.Type, a.Expires)
	}
	c.token = a.Token
	return nil
}

// failure is an error as the SDK hands it to the provider.
type failure struct {
	status int
	line   string // what is left where the body is not decoded
	p1     *p1Error
	raw    []byte
}

// p1Error is decoded strictly: one member of a wrong type loses all of it.
type p1Error struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Details []struct {
		Code       string `json:"code"`
		Target     string `json:"target"`
		Message    string `json:"message"`
		InnerError *struct {
			AllowedValues     []string `json:"allowedValues"`
			ReferencedValues  []string `json:"referencedValues"`
			AllowedPattern    string   `json:"allowedPattern"`
			RangeMinimumValue int32    `json:"rangeMinimumValue"`
			RangeMaximumValue int32    `json:"rangeMaximumValue"`
			MaximumValue      int32    `json:"maximumValue"`
		} `json:"innerError"`
	} `json:"details"`
}

func (f *failure) Error() string { return f.line + " " + string(f.raw) }

// gone: the provider drops the object from its state.
func (f *failure) gone() bool {
	return f.status == http.StatusNotFound || f.p1 != nil && f.p1.Code == "NOT_FOUND"
}

// detail is the first one's code and target, the only one that is looked at.
func (f *failure) detail() string {
	if f.p1 == nil || len(f.p1.Details) == 0 {
		return ""
	}
	return f.p1.Details[0].Code + "/" + f.p1.Details[0].Target
}

// jsonMedia are the media types that the SDK decodes; application/hal+json is none.
var (
	jsonMedia    = regexp.MustCompile(`(?i)^(application|text)/(vnd\.[^;]+\+)?json($|[;\s])`)
	readOnlyRole = regexp.MustCompile(`^Role assignment \S+ cannot be deleted as it is read only`)
)

// decode is the SDK's: nothing of an empty body, and an error for other media
// types, wrong types of members, and times that are not RFC 3339.
func decode(resp *http.Response, raw []byte, into any) error {
	if len(raw) == 0 || into == nil {
		return nil
	}
	if kind := resp.Header.Get("Content-Type"); !jsonMedia.MatchString(kind) {
		return fmt.Errorf("undefined response type %q", kind)
	}
	return json.Unmarshal(raw, into)
}

const (
	mostAttempts = 10
	longestWait  = 30 * shortened
)

// sdk does one call as the management module does, contract 3.1. An answer of
// success is decoded into out.
func (c *scripted) sdk(ctx context.Context, method, at, mediaType string, in, out any) (int, error) {
	header := http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer " + c.token}, "User-Agent": {"pingtools PingOne-GOLANG-SDK-management/0.70.0"}}
	var body []byte
	if mediaType != "" {
		header.Set("Content-Type", mediaType)
	}
	if in != nil {
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(in); err != nil { // ends in a newline, escapes < > &
			return 0, err
		}
		body = b.Bytes()
	}
	var f *failure
	for attempt := range mostAttempts {
		if attempt > 0 {
			c.surprise("attempt %d of %s %s after %v", attempt+1, method, at, f)
		}
		resp, raw, err := c.send(ctx, method, at, header, body)
		if err != nil {
			return 0, err
		}
		if resp.StatusCode < 300 {
			if method != http.MethodDelete && len(raw) == 0 {
				c.surprise("%s %s: %s with no body: it vanishes from the state", method, at, resp.Status)
			}
			if err := decode(resp, raw, out); err != nil {
				return resp.StatusCode, fmt.Errorf("%s %s: %w: %s", method, at, err, raw)
			}
			return resp.StatusCode, nil
		}
		f = &failure{status: resp.StatusCode, line: resp.Status, raw: raw}
		switch s := resp.StatusCode; {
		case s == 400, s == 401, s == 403, s == 404, s == 409, s == 429, s == 500, s == 405 && method == http.MethodPost:
			var e p1Error
			if err := decode(resp, raw, &e); err != nil {
				c.surprise("%s %s: the user sees %q instead of %s", method, at, err, raw)
			} else if f.p1 = &e; len(raw) == 0 || e.ID == "" || e.Code == "" || e.Message == "" {
				c.surprise("%s %s: %s with the body %q: the user sees the status line alone", method, at, resp.Status, raw)
			}
		}
		wait := min(time.Duration(math.Pow(2, float64(attempt)))*shortened, longestWait)
		again := false
		switch resp.StatusCode {
		case 408, 429, 500, 501, 502, 503, 504:
			again = true
			if after, ok := retryAfter(resp); ok && resp.StatusCode != 408 && resp.StatusCode != 500 && resp.StatusCode != 502 && resp.StatusCode != 504 {
				wait = min(after, longestWait)
			}
		}
		if f.p1 != nil {
			again = again || strings.EqualFold(f.p1.Code, "UNEXPECTED_ERROR") || readOnlyRole.MatchString(f.p1.Message)
		}
		if !again && resp.StatusCode == http.StatusNotFound && (method == http.MethodPost && strings.HasSuffix(at, "/emailDomains") || method == http.MethodPut && strings.HasSuffix(at, "/notificationsSettings")) {
			e, err := c.environment(ctx)
			if err != nil {
				return resp.StatusCode, err // this one surfaces
			}
			again = time.Since(e.CreatedAt) < 17*time.Second
		}
		if !again {
			return resp.StatusCode, f
		}
		time.Sleep(wait)
	}
	return f.status, f
}

func retryAfter(resp *http.Response) (time.Duration, bool) {
	s := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(n) * shortened, true
	}
	if at, err := http.ParseTime(s); err == nil {
		return time.Duration(time.Until(at).Seconds()) * shortened, true
	}
	return 0, false
}

type environmentModel struct {
	ID           string              `json:"id"`
	Name         string              `json:"name"`
	Type         string              `json:"type"`
	Region       string              `json:"region"`
	License      struct{ ID string } `json:"license"`
	Organization struct{ ID string } `json:"organization"`
	CreatedAt    time.Time           `json:"createdAt"`
	Links        hal                 `json:"_links"`
}

// hal holds objects with a string href, nothing else.
type hal map[string]struct {
	Href string `json:"href"`
}

// environment is E1 where it follows from another call.
func (c *scripted) environment(ctx context.Context) (e environmentModel, err error) {
	resp, raw, err := c.send(ctx, http.MethodGet, c.api+"/v1/environments/"+c.env, http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer " + c.token}}, nil)
	if err != nil {
		return e, fmt.Errorf("the provider crashes on a nil response: %w", err)
	}
	if resp.StatusCode >= 300 {
		f := &failure{status: resp.StatusCode, line: resp.Status, raw: raw, p1: new(p1Error)}
		if err := decode(resp, raw, f.p1); err != nil {
			f.p1 = nil
		}
		return e, f
	}
	return e, decode(resp, raw, &e)
}

// call is the provider's, contract 3.2 and 5.3: what it repeats for ten minutes is
// repeated three times here, and after 400, 401 and 403 the environment is read.
func (c *scripted) call(ctx context.Context, method, path string, in, out any) (status int, err error) {
	mediaType := ""
	if in != nil {
		mediaType = "application/json"
	}
	for round := range 3 {
		if round > 0 {
			c.surprise("round %d of ten minutes of %s %s", round+1, method, path)
		}
		status, err = c.sdk(ctx, method, c.at(path), mediaType, in, out)
		f, ok := errors.AsType[*failure](err)
		if !ok {
			return status, err
		}
		if status == 400 || status == 401 || status == 403 {
			c.mu.Lock()
			c.looks++
			c.mu.Unlock()
			if _, err := c.environment(ctx); err != nil {
				if e, ok := errors.AsType[*failure](err); !ok || e.status == http.StatusNotFound {
					c.surprise("%s %s: %v hides %v", method, path, err, f)
					return status, err
				}
			}
		}
		if f.p1 == nil {
			return status, f
		}
		// The second sentence freezes only what reads environments; none should be near it.
		frozen := false
		for _, s := range freezes {
			frozen = frozen || strings.HasPrefix(f.p1.Message, s)
		}
		if !frozen {
			return status, f
		}
	}
	return status, err
}

// at is where something of the environment is; links are taken as they are.
func (c *scripted) at(path string) string {
	switch {
	case strings.HasPrefix(path, "https://"):
		return path
	case strings.HasPrefix(path, "/"):
		return c.api + path
	case path == "":
		return c.api + "/v1/environments/" + c.env
	default:
		return c.api + "/v1/environments/" + c.env + "/" + path
	}
}

// walk follows next verbatim for as long as there is one, as the iterator does.
func (c *scripted) walk(ctx context.Context, path, name string, each func(json.RawMessage) error) (pages int, err error) {
	for at := c.at(path); at != ""; pages++ {
		if pages > 100 {
			return pages, fmt.Errorf("%s: the pages do not end", path)
		}
		var page struct {
			Links    hal                          `json:"_links"`
			Embedded map[string][]json.RawMessage `json:"_embedded"`
			Count    float32                      `json:"count"`
			Size     float32                      `json:"size"`
		}
		if _, err := c.sdk(ctx, http.MethodGet, at, "", nil, &page); err != nil {
			return pages, err
		}
		list, ok := page.Embedded[name]
		if !ok || int(page.Size) != len(list) || int(page.Count) < len(list) {
			return pages, fmt.Errorf("%s: %d entries (there: %v), size %v, count %v", at, len(list), ok, page.Size, page.Count)
		}
		for _, one := range list {
			if err := each(one); err != nil {
				return pages, err
			}
		}
		next := page.Links["next"].Href
		if next != "" && (next == at || !strings.HasPrefix(next, c.api+"/v1/")) {
			return pages, fmt.Errorf("%s: next is %q, which leads nowhere", at, next)
		}
		at = next
	}
	return pages, nil
}

// parallel does all of work on ten goroutines, as Terraform does, and returns the
// errors.
func parallel(n int, work func(i int) error) error {
	next := make(chan int)
	errs := make([]error, n)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for i := range next {
				errs[i] = work(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	return errors.Join(errs...)
}
