package builtin

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/mail/mailtest"
	"github.com/postseal/postseal/internal/sender"
)

// api is somebody's HTTP API: it notes what it is asked, and answers what it is told.
type api struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []asked
	answer func(http.ResponseWriter, *http.Request)
}

type asked struct {
	method, uri, body string
	header            http.Header
}

func newAPI(t *testing.T) *api {
	a := &api{}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.asked = append(a.asked, asked{r.Method, r.RequestURI, string(body), r.Header})
		answer := a.answer
		a.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) roots() *x509.CertPool {
	return a.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

func (a *api) answers(do func(http.ResponseWriter, *http.Request)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = do
}

func (a *api) requests() []asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]asked(nil), a.asked...)
}

// within waits for n requests.
func (a *api) within(t *testing.T, n int) []asked {
	t.Helper()
	eventually(t, func() bool { return len(a.requests()) >= n })
	return a.requests()
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come in time")
		}
	}
}

const usualBody = `{"to":"${to}","from":{"email":"${from}","name":"${from.name}"},"subject":"${subject}","message":"${message}"}`

// byHTTP are the settings of an API with a bearer token.
func byHTTP(url string, change ...func(*sender.NewRelay)) sender.NewRelay {
	n := sender.NewRelay{Password: secret, HTTP: &sender.HTTPProvider{
		Name: "Example", Bearer: true, Method: "POST", URL: url + "/v1/mail", Headers: map[string]string{"Content-Type": "application/json"}, Body: new(usualBody),
	}}
	for _, c := range change {
		c(&n)
	}
	return n
}

// done waits for a message to be in a state and returns its attempts.
func (p *post) done(t sender.Tenant, id sender.ID, want sender.MessageState) []sender.Attempt {
	p.Helper()
	var attempts []sender.Attempt
	eventually(p.T, func() bool {
		m, as, err := p.Message(p.Context(), operator, t.ID, id)
		p.must(err)
		attempts = as
		return m.State == want
	})
	return attempts
}

func TestMailOfATenantLeavesByItsHTTPProviderAndOthersByTheInstances(t *testing.T) {
	a := newAPI(t)
	p := newPost(t, a.roots())
	p.own(p.a, byHTTP(a.URL))
	id := p.send(p.a)
	p.send(p.b)
	p.arrive(p.relay, 1, "of b")
	p.done(p.a, id, sender.Sent)
	got := a.requests()
	if len(got) != 1 {
		t.Fatalf("%d requests, want one", len(got))
	}
	var body struct {
		To, Subject, Message string
		From                 struct{ Email, Name string }
	}
	if err := json.Unmarshal([]byte(got[0].body), &body); err != nil {
		t.Fatalf("%v: %s", err, got[0].body)
	}
	if body.To != "reader@example.net" || body.From.Email != "noreply@a.example.org" || body.Subject != "of a" || body.Message != "t\n" {
		t.Errorf("it got %+v", body)
	}
	h := got[0].header
	if got[0].method != "POST" || got[0].uri != "/v1/mail" || h.Get("Authorization") != "Bearer "+secret || h.Get("Content-Type") != "application/json" ||
		h.Get("Idempotency-Key") != string(id) || h.Get("User-Agent") != "Postseal" {
		t.Errorf("%s %s %v", got[0].method, got[0].uri, h)
	}

	// Whoever runs a tenant's API must not read the codes that prove addresses.
	p.relay.Reset()
	if _, err := p.CreateSender(t.Context(), operator, p.a.ID, "somebody@example.com"); err != nil {
		t.Fatal(err)
	}
	p.arrive(p.relay, 1, "Your verification code")

	// To SMTP and away: what is sent from then on leaves the other way.
	p.relay.Reset()
	p.must(p.DeleteRelay(t.Context(), operator, p.a.ID))
	p.send(p.a)
	p.arrive(p.relay, 1, "of a")
	if n := len(a.requests()); n != 1 {
		t.Errorf("%d requests to the API that is deleted", n)
	}
}

func TestFormsOfDeliveryFollowOneAnotherWithMailThatWaits(t *testing.T) {
	a, sink := newAPI(t), mailtest.Serve(t, mailtest.WithImplicitTLS())
	both := sink.Pool().Clone()
	both.AddCert(a.Certificate())
	p := newPost(t, both)
	a.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	p.own(p.a, byHTTP(a.URL))
	id := p.send(p.a)
	a.within(t, 2)
	p.own(p.a, settings(sink)) // while it waits
	p.arrive(sink, 1, "of a")
	p.done(p.a, id, sender.Sent)
	a.answers(nil)
	p.own(p.a, byHTTP(a.URL))
	p.done(p.a, p.send(p.a), sender.Sent)
	if sink.Count() != 1 {
		t.Errorf("%d messages by the server that is replaced", sink.Count())
	}
	if _, err := p.SetRelay(t.Context(), operator, p.a.ID, byHTTP(a.URL, func(n *sender.NewRelay) { n.Password = "" })); err != nil {
		t.Errorf("the token of before: %v", err)
	}
	n := settings(sink)
	n.Username = "postseal"
	if _, err := p.SetRelay(t.Context(), operator, p.a.ID, n); sender.KindOf(err) != sender.Required {
		t.Errorf("an SMTP server is given the token of an API: %v", err)
	}
	p.own(p.a, settings(sink))
	if _, err := p.SetRelay(t.Context(), operator, p.a.ID, byHTTP(a.URL, func(n *sender.NewRelay) { n.Password = "" })); sender.KindOf(err) != sender.Required {
		t.Errorf("an API is given what an SMTP server had: %v", err)
	}
}

func TestTwoTenantsOfOneAPIEachShowTheirOwnCredential(t *testing.T) {
	a := newAPI(t)
	p := newPost(t, a.roots())
	p.own(p.a, byHTTP(a.URL))
	p.own(p.b, byHTTP(a.URL, func(n *sender.NewRelay) { n.HTTP.Bearer, n.Username, n.Password = false, "ä b", "of b: ü" }))
	for range 5 {
		p.send(p.a)
		p.send(p.b)
	}
	for _, r := range a.within(t, 10) {
		request := http.Request{Header: r.header}
		user, password, basic := request.BasicAuth()
		if ofB := strings.Contains(r.body, "of b"); ofB != basic || ofB && (user != "ä b" || password != "of b: ü") || !ofB && r.header.Get("Authorization") != "Bearer "+secret {
			t.Errorf("%v with %s", r.header, r.body)
		}
	}
}

func TestAnswersOfAnAPIDecideWhatBecomesOfTheMessage(t *testing.T) {
	a := newAPI(t)
	p := newPost(t, a.roots())
	p.own(p.a, byHTTP(a.URL))
	for status, want := range map[int]sender.DeliveryOutcome{
		200: sender.Delivered, 202: sender.Delivered, 204: sender.Delivered,
		302: sender.PermFailed, 400: sender.PermFailed, 403: sender.PermFailed, 404: sender.PermFailed, 413: sender.PermFailed, 422: sender.PermFailed,
		401: sender.TempFailed, 408: sender.TempFailed, 429: sender.TempFailed, 500: sender.TempFailed, 501: sender.TempFailed, 503: sender.TempFailed,
	} {
		a.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", a.URL+"/elsewhere")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			if status != 204 {
				fmt.Fprint(w, "{\"error\": \"no such\x00 thing\r\n  there\"}")
			}
		})
		d, err := p.TestRelay(t.Context(), operator, p.a.ID, fmt.Sprintf("to-%d@example.net", status))
		p.must(err)
		if d.Outcome != want || d.Code != status || d.Text == "" || want != sender.Delivered && status != 302 && !strings.HasSuffix(d.Text, `: {"error": "no such thing there"}`) {
			t.Errorf("%d: %+v", status, d)
		}
		if (d.RetryAfter == 7*time.Second) != (want == sender.TempFailed && status != 401) {
			t.Errorf("%d: again after %s", status, d.RetryAfter)
		}
		if step := string(d.Transcript); !strings.Contains(step, `"command":"POST `+a.URL+` (`) || !strings.Contains(step, fmt.Sprintf("HTTP %d", status)) {
			t.Errorf("%d: transcript %s", status, step)
		}
	}
	for _, r := range a.requests() {
		if r.uri != "/v1/mail" {
			t.Errorf("a redirect was followed to %s", r.uri)
		}
	}
}

func TestRetryAfterIsHonouredAndBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "x": 0, "-1": 0, "1.5": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	a := newAPI(t)
	p := newPost(t, a.roots())
	p.own(p.a, byHTTP(a.URL))
	first := true
	var began, again time.Time
	a.answers(func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if first {
			first, began = false, time.Now()
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		again = time.Now()
	})
	as := p.done(p.a, p.send(p.a), sender.Sent)
	if len(as) != 2 || again.Sub(began) < 2*time.Second {
		t.Errorf("%d attempts, the second after %s; want it after 2 s", len(as), again.Sub(began))
	}
	a.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1000000")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	id := p.send(p.a)
	eventually(t, func() bool {
		m, _, err := p.Message(t.Context(), operator, p.a.ID, id)
		p.must(err)
		wait := time.Until(m.NextAttemptAt)
		return m.State == sender.Queued && m.Attempts == 1 && wait > 50*time.Minute && wait <= time.Hour
	})
}

func TestValuesCannotLeaveTheirPlaceInARequest(t *testing.T) {
	a := newAPI(t)
	p := newPost(t, a.roots())
	nasty := "x\",\"to\":\"boss@example.com\"} \\ ${to} <b>ä</b>\u2028&to=thief@example.com#%0d%0a+\ttab"
	send := func(n sender.NewRelay) asked {
		t.Helper()
		p.own(p.a, n)
		before := len(a.requests())
		_, _, err := p.Send(t.Context(), operator, p.a.ID, sender.NewMessage{
			From: sender.Mailbox{Name: "N\"\\ ,;", Address: "noreply@a.example.org"}, To: sender.Mailbox{Address: "o'hara+&x=1@example.net"},
			Subject: "S\" & ü", Text: nasty, HTML: "<p>" + nasty + "</p>\n",
		})
		p.must(err)
		return a.within(t, before+1)[before]
	}
	html, text := "<p>"+nasty+"</p>\n", nasty+"\n"

	var body map[string]any
	r := send(byHTTP(a.URL, func(n *sender.NewRelay) {
		n.HTTP.Body = new(`{"to":"${to}","m":"${message}","t":"${text}","n":"${from.name}"}`)
	}))
	if err := json.Unmarshal([]byte(r.body), &body); err != nil || len(body) != 4 || body["m"] != html || body["t"] != text || body["n"] != "N\"\\ ,;" || body["to"] != "o'hara+&x=1@example.net" {
		t.Errorf("JSON, %v: %s", err, r.body)
	}

	r = send(byHTTP(a.URL, func(n *sender.NewRelay) {
		n.HTTP.Headers, n.HTTP.Body = map[string]string{"content-type": "application/x-www-form-urlencoded"}, new("to=${to}&m=${message}&n=${from.name}&k=v")
	}))
	form, err := url.ParseQuery(r.body)
	if err != nil || len(form) != 4 || len(form["to"]) != 1 || form.Get("m") != html || form.Get("k") != "v" {
		t.Errorf("a form, %v: %s", err, r.body)
	}

	r = send(byHTTP(a.URL, func(n *sender.NewRelay) {
		n.HTTP.Method, n.HTTP.Body = "GET", nil
		n.HTTP.URL = a.URL + "/to/${to}/mail?m=${message}&to=${to}&k=v"
		n.HTTP.Headers = map[string]string{"X-Subject": "about ${subject}", "X-From": "${from.name} <${from}>"}
	}))
	u, err := url.ParseRequestURI(r.uri)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Path != "/to/o'hara+&x=1@example.net/mail" || strings.Count(u.EscapedPath(), "/") != 3 || len(q) != 3 || len(q["to"]) != 1 || q.Get("m") != html || q.Get("k") != "v" || r.body != "" {
		t.Errorf("a GET: %s", r.uri)
	}
	if got := r.header.Get("X-Subject"); got != "about S\" & ü" || r.header.Get("X-From") != "N\"\\ ,; <noreply@a.example.org>" || r.header.Get("Content-Type") != "" {
		t.Errorf("headers %v", r.header)
	}

	r = send(byHTTP(a.URL, func(n *sender.NewRelay) {
		n.HTTP.Headers, n.HTTP.Body = map[string]string{"Content-Type": "text/plain"}, new("${to}\n${text}")
	}))
	if r.body != "o'hara+&x=1@example.net\n"+text {
		t.Errorf("text: %q", r.body)
	}

	h := &sender.HTTPProvider{Method: "GET", URL: "https://api.example.org/?m=${message}", Headers: map[string]string{"X-Name": "${from.name}"}}
	got, err := h.Request(sender.Parts{From: sender.Mailbox{Name: "a\r\nX-Evil: 1\x00\u0085"}, Text: "t"})
	if err != nil || got.Headers[0].Value != "a  X-Evil: 1  " {
		t.Errorf("a name with line ends makes the header %q, %v", got.Headers, err)
	}
	if _, err := h.Request(sender.Parts{Text: strings.Repeat("x", 20_000)}); err == nil {
		t.Error("a URL of any length is made")
	}
}

// Whatever name leads there, and whenever it does.
func TestHTTPProviderIsNoWayToTheMachinesAroundUs(t *testing.T) {
	a := newAPI(t)
	_, port, _ := net.SplitHostPort(a.Listener.Addr().String())
	p := newPost(t, a.roots())
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	p.provider.apis = newHTTPAPIs(TenantRelays{Roots: a.roots(), Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	texts := make(map[string]bool)
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254", "[::ffff:a9fe:a9fe]", "10.0.0.1", "localhost", "nowhere.invalid", "0.0.0.0"} {
		p.own(p.a, byHTTP("https://"+host+":"+port))
		d, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net")
		p.must(err)
		if d.Outcome != sender.TempFailed || d.Stage != "connect" {
			t.Errorf("%s: %+v", host, d)
		}
		texts[d.Text] = true
	}
	if len(texts) != 1 {
		t.Errorf("this tells something of our network: %v", texts)
	}
	if n := len(a.requests()); n != 0 {
		t.Errorf("%d requests came through", n)
	}

	// A redirect leads nowhere, from whomever it is.
	p.provider.apis = newHTTPAPIs(TenantRelays{Roots: a.roots(), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	hits := 0
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer inner.Close()
	a.answers(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
	})
	p.own(p.a, byHTTP(a.URL))
	if d, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net"); err != nil || d.Outcome != sender.PermFailed || hits != 0 {
		t.Errorf("a redirect: %+v, %v, and %d requests to where it leads", d, err, hits)
	}

	// http:// needs leave, when it is set and again when it is used.
	plain := byHTTP(other.URL)
	if _, err := p.SetRelay(t.Context(), operator, p.a.ID, plain); sender.KindOf(err) != sender.Invalid {
		t.Errorf("clear text is kept: %v", err)
	}
	p.must(p.provider.store.Update(t.Context(), func(tx sender.Tx) error {
		return tx.PutRelay(t.Context(), sender.Relay{Tenant: p.a.ID, Password: plain.Password, HTTP: plain.HTTP, UpdatedAt: time.Now()})
	}))
	if d, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net"); err != nil || d.Outcome != sender.TempFailed || d.Code != 0 {
		t.Errorf("clear text is used: %+v, %v", d, err)
	}
}

func TestHTTPProviderThatHangsHoldsUpNobody(t *testing.T) {
	a := newAPI(t)
	hang := make(chan struct{})
	defer close(hang)
	a.answers(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	p := newPost(t, a.roots())
	p.own(p.a, byHTTP(a.URL))
	const many = 60
	for range many {
		p.send(p.a)
	}
	for range many {
		p.send(p.b)
	}
	p.arrive(p.relay, many, "of b")
	if n := len(a.requests()); n > 4 {
		t.Errorf("%d requests to an API that hangs; want 4 at most", n)
	}
}

func TestLostAnswerLeavesItInDoubtAndALostConnectionDoesNot(t *testing.T) {
	a := newAPI(t)
	p := newPost(t, a.roots())
	p.own(p.a, byHTTP(a.URL))
	a.answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if d, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net"); err != nil || d.Outcome != sender.InDoubt || d.Stage != "response" {
		t.Errorf("without an answer: %+v, %v", d, err)
	}
	if n := len(a.requests()); n != 1 {
		t.Errorf("it was asked %d times by one attempt", n)
	}
	// A kept connection that breaks: the request may have been read, so once is once.
	a.answers(nil)
	_, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net")
	p.must(err)
	a.answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if d, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net"); err != nil || d.Outcome != sender.InDoubt {
		t.Errorf("without an answer on a kept connection: %+v, %v", d, err)
	}
	if n := len(a.requests()); n != 3 {
		t.Errorf("%d requests by three attempts", n)
	}
	p.provider.apis = newHTTPAPIs(TenantRelays{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Roots: x509.NewCertPool()})
	if d, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net"); err != nil || d.Outcome != sender.TempFailed || d.Stage != "tls" {
		t.Errorf("a certificate of nobody: %+v, %v", d, err)
	}
	a.Close()
	p.provider.apis = newHTTPAPIs(TenantRelays{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Roots: a.roots()})
	if d, err := p.TestRelay(t.Context(), operator, p.a.ID, "reader@example.net"); err != nil || d.Outcome != sender.TempFailed || d.Stage != "connect" {
		t.Errorf("nobody listens: %+v, %v", d, err)
	}
}

// The API repeats all that it was sent; nothing of it stays.
func TestSecretsOfAnHTTPProviderAreNowhere(t *testing.T) {
	const key, code = "key-of-a-header-17", "481516"
	a := newAPI(t)
	p := newPost(t, a.roots())
	refuse := false
	a.answers(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if refuse = !refuse; refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
		} else {
			w.WriteHeader(http.StatusForbidden)
		}
		last := a.asked[len(a.asked)-1]
		fmt.Fprintf(w, "%s %s %v %s", last.method, last.uri, last.header, last.body)
	})
	n := byHTTP(a.URL, func(n *sender.NewRelay) {
		n.HTTP.URL += "?apikey=" + key + "q"
		n.HTTP.Headers["X-Api-Key"] = key
	})
	p.own(p.a, n)
	kept := n
	kept.Password = ""
	p.own(p.a, kept)
	m, _, err := p.Send(t.Context(), operator, p.a.ID, sender.NewMessage{
		From: sender.Mailbox{Address: "noreply@a.example.org"}, To: sender.Mailbox{Address: "reader@example.net"}, Subject: "s", Text: "your code is " + code,
	})
	p.must(err)
	attempts := p.done(p.a, m.ID, sender.MessageFailed)
	if len(attempts) != 2 || attempts[0].Outcome != sender.TempFailed || attempts[1].Outcome != sender.PermFailed || !strings.Contains(attempts[1].Text, "[...]") {
		t.Errorf("attempts %+v", attempts)
	}
	basic := byHTTP(a.URL, func(n *sender.NewRelay) { n.HTTP.Bearer, n.Username = false, "postseal" })
	p.own(p.b, basic)
	d, err := p.TestRelay(t.Context(), operator, p.b.ID, "reader@example.net")
	p.must(err)
	r, err := p.Relay(t.Context(), operator, p.a.ID)
	p.must(err)
	if r.Password != "" || r.HTTP.Headers["X-Api-Key"] != key {
		t.Errorf("read %+v", r)
	}
	es, err := p.Events(t.Context(), operator, p.a.ID, sender.Page{})
	p.must(err)
	seen := map[string]string{
		"the log": p.logged.String(), "the attempts": fmt.Sprintf("%+v", attempts) + string(attempts[0].Transcript) + string(attempts[1].Transcript),
		"the test": fmt.Sprintf("%+v", d) + string(d.Transcript), "the events": fmt.Sprint(es),
	}
	files, err := os.ReadDir(p.dir)
	p.must(err)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(p.dir, f.Name()))
		p.must(err)
		seen[f.Name()] = string(bytes.ToValidUTF8(b, nil))
	}
	if !strings.Contains(seen["the events"], "password:kept") || !strings.Contains(seen["the events"], "protocol:https") {
		t.Errorf("events %v", es)
	}
	for where, text := range seen {
		for what, s := range map[string]string{"the token": secret, "the key of a header": key, "a code": code, "the credential": "cG9zdHNlYWw6"} {
			if strings.Contains(text, s) {
				t.Errorf("%s is in %s", what, where)
			}
		}
	}
}
