package pingid_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

// client is one public client in one tenant.
type client struct {
	key
	name   string
	base   string // pingidsdk_url
	host   string // of base, without port
	app    string // the demo application
	style  style  // its way of signing; both optional members come and go
	http   *http.Client
	sent   atomic.Int64
	number int
}

// tenants are the clients of the two tenants: one signs as the Java sample does,
// the other as the migration tool does.
var tenants [2]*client

func connect(env map[string]string) error {
	for i, name := range []string{"PINGID_PROPERTIES", "PINGID_PROPERTIES_2"} {
		file := env[name]
		if file == "" {
			return fmt.Errorf("the env file has no %s", name)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c, err := newClient(string(text))
		if err != nil {
			return fmt.Errorf("%s, %s: %w", name, file, err)
		}
		c.number = i + 1
		c.name, c.style = "as the Java sample", style{path: decoded, query: decoded}
		if i == 1 {
			c.name, c.style = "as the Node tools", style{path: raw, query: raw}
		}
		tenants[i] = c
	}
	return nil
}

// properties reads NAME=VALUE lines. One public client cuts each line at every '='
// and takes the first two parts, the others cut once (section 4.1).
func properties(text string, cut func(line string) (name, value string)) map[string]string {
	p := map[string]string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value := cut(line)
		p[name] = value
	}
	return p
}

func cutOnce(line string) (name, value string) {
	name, value, _ = strings.Cut(line, "=")
	return
}

func cutEverywhere(line string) (name, value string) {
	parts := strings.Split(line, "=")
	if len(parts) < 2 {
		return parts[0], ""
	}
	return parts[0], parts[1]
}

var (
	uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
)

// newClient demands what all readers of the file rely on.
func newClient(text string) (*client, error) {
	p := properties(text, cutEverywhere)
	if diff := cmp.Diff(properties(text, cutOnce), p); diff != "" {
		return nil, fmt.Errorf("a client that cuts at every '=' reads something else (-right +it):\n%s", diff)
	}
	if strings.Contains(text, `\`) {
		return nil, errors.New("it holds a backslash, which Java reads as an escape")
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "#") || !strings.HasPrefix(lines[1], "#") {
		return nil, errors.New("it does not begin with two lines of comment")
	}
	for name, form := range map[string]*regexp.Regexp{
		"account_id": uuid, "token": regexp.MustCompile(`^[0-9a-f]{32}$`), "app_id": uuid,
		"pingidsdk_url": regexp.MustCompile(`^https?://[^/]+/pingid$`),
	} {
		if !form.MatchString(p[name]) {
			return nil, fmt.Errorf("%s is %q, not of the form %s", name, p[name], form)
		}
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(p["api_key"])
	if err != nil || len(secret) != 48 {
		return nil, fmt.Errorf("api_key holds %d bytes, want 48: %v", len(secret), err)
	}
	u, err := url.Parse(p["pingidsdk_url"])
	if err != nil {
		return nil, err
	}
	return &client{
		key:  key{account: p["account_id"], token: p["token"], apiKey: p["api_key"], secret: secret},
		base: p["pingidsdk_url"], host: u.Hostname(), app: p["app_id"],
		http: &http.Client{
			Timeout: 15 * time.Second,
			// What is verified are the bytes on the wire, of this answer and no other.
			Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// TestPropertiesFileSuitsBothKindsOfReaders is mostly newClient's work, which
// every other test relies on, too.
func TestPropertiesFileSuitsBothKindsOfReaders(t *testing.T) {
	for _, name := range []string{"PINGID_PROPERTIES", "PINGID_PROPERTIES_2"} {
		info, err := os.Stat(dev.Env[name])
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s holds a secret and has mode %s", name, info.Mode())
		}
	}
	if tenants[0].account == tenants[1].account || tenants[0].token == tenants[1].token || tenants[0].apiKey == tenants[1].apiKey {
		t.Error("the two tenants share an account, a token or a secret")
	}
}

// both runs a test once for each client.
func both(t *testing.T, f func(*testing.T, *client)) {
	t.Helper()
	for _, c := range tenants {
		t.Run(c.name, func(t *testing.T) { f(t, c) })
	}
}

// other is the client of the other tenant.
func (c *client) other() *client { return tenants[2-c.number] }

// escape is JavaScript's encodeURIComponent.
func escape(segment string) string {
	var b strings.Builder
	for i := range len(segment) {
		if ch := segment[i]; ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || strings.IndexByte("-_.!~*'()", ch) >= 0 {
			b.WriteByte(ch)
		} else {
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}

// at is the path of something of the client's own account, as it is sent.
func (c *client) at(segments ...string) string {
	var path strings.Builder
	path.WriteString("/v1/accounts/" + c.account)
	for _, s := range segments {
		path.WriteString("/" + escape(s))
	}
	return path.String()
}

// link is a link to it as it stands in bodies.
func (c *client) link(segments ...string) obj {
	return obj{"href": c.base + c.at(segments...)}
}

// obj is a JSON object.
type obj = map[string]any

// list is a JSON array.
type list = []any

// request is one to send; path is below pingidsdk_url and may have a query.
type request struct {
	method, path string
	body         []byte
	media        string // Content-Type; empty: none
	header       http.Header
	host         string // Host that is sent; empty: that of the base
	chunked      bool   // the body's length is not told before it
}

// answer is what came back, verified.
type answer struct {
	request string // for complaints
	status  int
	header  http.Header
	body    []byte
}

func (a answer) String() string {
	return fmt.Sprintf("%s\n\tanswered %d %s", a.request, a.status, a.body)
}

// newRequest makes what the public clients send. A body is JSON as it is when it is
// a string or bytes, and encoded otherwise.
func newRequest(method, path string, body any) request {
	r := request{method: method, path: path}
	switch b := body.(type) {
	case nil:
	case string:
		r.body = []byte(b)
	case []byte:
		r.body = b
	default:
		out, err := json.Marshal(b, json.Deterministic(true))
		if err != nil {
			panic(err) // only values of ours come here
		}
		r.body = out
	}
	if method == http.MethodPost || method == http.MethodPut {
		r.media = "application/json"
	}
	return r
}

// sign signs in the client's own style; of the optional header members each
// combination has its turn.
func (c *client) sign(r request) string {
	s, n := c.style, c.sent.Add(1)
	s.expires, s.requestID = n&1 == 0, n&2 == 0
	return c.signAs(s, r)
}

func (c *client) signAs(s style, r request) string {
	path, query, _ := strings.Cut("/pingid"+r.path, "?")
	return c.authorization(s, r.method, c.host, path, query, r.body)
}

// try signs, sends and judges; the error is a breach of the contract that needs no
// knowledge of what was asked for. An answer that asks to come back later is obeyed.
func (c *client) try(ctx context.Context, r request) (answer, error) {
	for end := time.Now().Add(time.Minute); ; {
		a, err := c.send(ctx, r, c.sign(r))
		if err != nil || a.status != http.StatusTooManyRequests {
			return a, err
		}
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil || wait < 0 {
			return a, fmt.Errorf("%v\n\tRetry-After is %q", a, a.header.Get("Retry-After"))
		}
		if time.Now().Add(time.Duration(wait) * time.Second).After(end) {
			return a, fmt.Errorf("%v\n\tRetry-After is %d s: too long for a test", a, wait)
		}
		select {
		case <-time.After(time.Duration(max(wait, 1)) * time.Second):
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
}

// send sends with that Authorization, none if empty, and judges.
func (c *client) send(ctx context.Context, r request, authorization string) (answer, error) {
	a := answer{request: fmt.Sprintf("%s %s %.300s", r.method, r.path, r.body)}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", "application/json")
	if r.media != "" {
		req.Header.Set("Content-Type", r.media)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	maps.Copy(req.Header, r.header)
	req.Host = r.host
	if r.chunked {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.body)), -1
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20)); err != nil {
		return a, fmt.Errorf("%s: %w", a.request, err)
	}
	a.status, a.header = resp.StatusCode, resp.Header
	if err := c.judge(a); err != nil {
		return a, fmt.Errorf("%v\n\t%w", a, err)
	}
	return a, nil
}

func (c *client) judge(a answer) error {
	if err := c.verify(a.status, a.header, a.body); err != nil {
		return err
	}
	if e := a.header.Get("Content-Encoding"); e != "" {
		return fmt.Errorf("the content is encoded as %s; other clients hash what they decoded", e)
	}
	if a.status == http.StatusNoContent {
		if len(a.body) != 0 {
			return errors.New("204 has a body")
		}
		return nil
	}
	if media, _, err := mime.ParseMediaType(a.header.Get("Content-Type")); err != nil || media != "application/json" {
		return fmt.Errorf("Content-Type is %q", a.header.Get("Content-Type"))
	}
	if a.status >= 400 {
		_, err := a.failure()
		return err
	}
	var anything any
	return json.Unmarshal(a.body, &anything)
}

// failure is an error body with all members that the Java sample knows (section
// 6.1), but for innerError, which is to be left out.
type failure struct {
	ID      string    `json:"id"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Target  string    `json:"target"`
	Details *[]detail `json:"details"`
}

type detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target"`
}

// topCodes and detailCodes are closed lists (section 6.2).
var topCodes = map[string][]int{
	"INVALID_DATA": {400}, "REQUEST_FAILED": {400, 429}, "INVALID_REQUEST": {400, 405, 413, 415},
	"NOT_FOUND": {404}, "UNAUTHORIZED_REQ": {401}, "UNEXPECTED_ERROR": {500},
}

var detailCodes = []string{
	"INVALID_VALUE", "REQUIRED_VALUE", "EMPTY_VALUE", "OUT_OF_RANGE", "SIZE_LIMIT_EXCEEDED", "NOT_FOUND", "INVALID_PATTERN",
	"RESOURCE_IN_USE", "UNIQUE_VALUE_REQUIRED", "RESOURCE_ALREADY_EXISTS", "SERVICE_ERROR", "APPLICATION_DISABLED", "USER_DISABLED",
	"INVALID_USER_STATUS", "DEVICE_BYPASSED", "DEVICE_IGNORED", "DEVICE_BLOCKED", "EMAIL_NOT_ENABLED", "SMS_NOT_ENABLED",
	"SMS_QUOTA_EXCEEDED", "RETRY_LIMIT_EXCEEDED",
}

// failure decodes as strictly as the Java sample does.
func (a answer) failure() (f failure, err error) {
	if err := json.Unmarshal(a.body, &f, json.RejectUnknownMembers(true)); err != nil {
		return f, err
	}
	if f.ID == "" || f.Message == "" {
		return f, errors.New("the error has no id or no message")
	}
	if !slices.Contains(topCodes[f.Code], a.status) {
		return f, fmt.Errorf("code %q does not go with status %d", f.Code, a.status)
	}
	if f.Details == nil {
		return f, errors.New("the error has no array of details")
	}
	for _, d := range *f.Details {
		if !slices.Contains(detailCodes, d.Code) {
			return f, fmt.Errorf("there is no detail code %q", d.Code)
		}
	}
	return f, nil
}

// rush sends n requests at the same time.
func (c *client) rush(t *testing.T, n int, r func() request) (all []answer) {
	t.Helper()
	answers, errs := make([]answer, n), make([]error, n)
	var senders sync.WaitGroup
	for i := range n {
		one := r()
		senders.Go(func() { answers[i], errs[i] = c.try(t.Context(), one) })
	}
	senders.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return answers
}

// only demands that one answer of many has that status, and that all others are
// refused in that way.
func only(t *testing.T, all []answer, status int, others string) (one answer) {
	t.Helper()
	n := 0
	for _, a := range all {
		if a.status == status {
			one = a
			n++
		} else if err := a.refusal(others); err != nil {
			t.Errorf("%v\n\t%v", a, err)
		}
	}
	if n != 1 {
		t.Errorf("%d of %d at the same time were answered %d, want 1: %s", n, len(all), status, all[0].request)
	}
	return one
}

func (c *client) call(t *testing.T, r request) answer {
	t.Helper()
	a, err := c.try(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The Java sample takes exactly one status per verb (section 1.1), but activate and
// resend are open (Q1).
func (c *client) wants(t *testing.T, r request, statuses ...int) answer {
	t.Helper()
	a := c.call(t, r)
	if !slices.Contains(statuses, a.status) {
		t.Fatalf("%v\n\twant %v", a, statuses)
	}
	return a
}

func (c *client) get(t *testing.T, path string) obj {
	t.Helper()
	return c.wants(t, newRequest("GET", path, nil), 200).object(t)
}

func (c *client) post(t *testing.T, path string, body any) obj {
	t.Helper()
	return c.wants(t, newRequest("POST", path, body), 201).object(t)
}

// act posts to activate or resend.
func (c *client) act(t *testing.T, path string, body any) obj {
	t.Helper()
	return c.wants(t, newRequest("POST", path, body), 200, 201).object(t)
}

func (c *client) put(t *testing.T, path string, body any) obj {
	t.Helper()
	return c.wants(t, newRequest("PUT", path, body), 200).object(t)
}

// set is a PUT of which the contract does not say whether it answers with a body.
func (c *client) set(t *testing.T, path string, body any) {
	t.Helper()
	c.wants(t, newRequest("PUT", path, body), 200, 204)
}

func (c *client) delete(t *testing.T, path string) {
	t.Helper()
	c.wants(t, newRequest("DELETE", path, nil), 204)
}

// later deletes something when the test ends, if it is still there.
func (c *client) later(t *testing.T, path string) {
	t.Cleanup(func() {
		if a, err := c.try(context.Background(), newRequest("DELETE", path, nil)); err != nil || a.status != 204 && a.status != 404 {
			t.Errorf("at the end: %v: %v", a, err)
		}
	})
}

func (a answer) object(t *testing.T) obj {
	t.Helper()
	return into[obj](t, a)
}

// into decodes what the contract leaves open: other members may be there.
func into[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v\n\t%v", a, err)
	}
	return v
}

// refused demands an error, wanted as "STATUS CODE TARGET DETAIL": each but the
// status may be alternatives between bars, `*` is whatever the contract leaves
// open, and a detail is a code, with "/target" where that is fixed.
func (c *client) refused(t *testing.T, want string, r request) {
	t.Helper()
	a := c.call(t, r)
	if err := a.refusal(want); err != nil {
		t.Errorf("%v\n\t%v", a, err)
	}
}

func (a answer) refusal(want string) error {
	w := strings.Fields(want)
	if strconv.Itoa(a.status) != w[0] {
		return fmt.Errorf("want %s", want)
	}
	f, err := a.failure()
	if err != nil {
		return err
	}
	is := func(got, want string) bool { return want == "*" || slices.Contains(strings.Split(want, "|"), got) }
	if !is(f.Code, w[1]) || len(w) > 2 && !is(f.Target, w[2]) && !strings.EqualFold(f.Target, w[2]) {
		return fmt.Errorf("want %s", want)
	}
	if len(w) > 3 && !slices.ContainsFunc(*f.Details, func(d detail) bool { return is(d.Code, w[3]) || is(d.Code+"/"+d.Target, w[3]) }) {
		return fmt.Errorf("want %s", want)
	}
	return nil
}

// same demands exactly that body: nothing is missing, nothing is unknown.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// text is a string member that has to be there.
func text(t *testing.T, o obj, name string) string {
	t.Helper()
	s, ok := o[name].(string)
	if !ok {
		t.Fatalf("%s is %v, want a string, in %v", name, o[name], o)
	}
	return s
}

// id demands the form that all ids of ours have; TestIDsAreRandom is stricter.
func id(t *testing.T, o obj) string {
	t.Helper()
	s := text(t, o, "id")
	if !uuid.MatchString(s) {
		t.Fatalf("id %q is no UUID in lower case", s)
	}
	return s
}

// with is a copy in which some members are others; nil removes one.
func with(o obj, changes obj) obj {
	c := obj{}
	maps.Copy(c, o)
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var made atomic.Int64

// unique makes a name that nothing has had in this instance.
func unique(prefix string) string { return fmt.Sprintf("%s-%d", prefix, made.Add(1)) }
