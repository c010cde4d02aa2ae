package native_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/native"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

type harness struct {
	*apitest.Kit
	server   *httptest.Server
	tenant   sender.Tenant
	admin    auth.Secret
	operator auth.Secret
	base     string
	document *document
}

func newHarness(t *testing.T, tune ...func(*sender.Settings)) *harness {
	t.Helper()
	k := apitest.New(t, tune...)
	h := &harness{Kit: k, tenant: k.Tenant("demo")}
	h.server = k.Serve(native.New(native.Config{Service: k.Service, Auth: k.Auth, Log: k.Log, Version: "test"}))
	h.admin = k.Token(h.tenant, sender.RoleAdmin)
	_, key, err := k.Auth.CreateCredential(t.Context(), apitest.Operator, auth.NewCredential{Kind: sender.APIKey, Name: "operator", Operator: true})
	if err != nil {
		t.Fatal(err)
	}
	h.operator = key
	h.base = "/v1/tenants/" + string(h.tenant.ID)
	h.document = readDocument(apitest.Call(t, h.server, "", "GET", "/v1/openapi.json", ""))
	return h
}

func (h *harness) call(token auth.Secret, method, path, body string, header ...string) apitest.Reply {
	h.T.Helper()
	r := apitest.Call(h.T, h.server, token, method, path, body, header...)
	h.document.check(h.T, method, path, body, r)
	return r
}

// problem fails the test unless the reply is that problem.
func problem(t *testing.T, r apitest.Reply, status int, code, field string) {
	t.Helper()
	r.Want(status)
	if r.Header.Get("Content-Type") != "application/problem+json" || r.String("code") != code || r.String("field") != field ||
		r.At("status") != float64(status) || r.String("detail") == "" || r.String("requestId") != r.Header.Get("X-Request-Id") {
		t.Errorf("want code %q on %q; got %s %s", code, field, r.Header.Get("Content-Type"), r.Body)
	}
}

func (h *harness) message(from, to string) string {
	return fmt.Sprintf(`{"from":%q,"to":{"name":"User","address":%q},"subject":"Hello","text":"Hi"}`, from, to)
}

func TestTenantsAreMadeByOperatorsAndSeenByTheirOwn(t *testing.T) {
	h := newHarness(t)
	problem(t, h.call(h.admin, "POST", "/v1/tenants", `{"name":"mine"}`), 403, "denied", "")
	r := h.call(h.operator, "POST", "/v1/tenants", `{"name":"new","geography":"eu","limits":{"domains":3}}`).Want(201)
	if r.String("geography") != "eu" || r.At("limits.domains") != 3.0 || r.At("limits.templates") != 1000.0 || r.String("regions.0") != "eu-central-1" {
		t.Errorf("made %s", r.Body)
	}
	problem(t, h.call(h.operator, "POST", "/v1/tenants", `{"name":"new","geography":"moon"}`), 422, "invalid", "geography")
	id := r.String("id")
	if r = h.call(h.operator, "GET", "/v1/tenants/"+id, "").Want(200); r.String("name") != "new" {
		t.Errorf("read %s", r.Body)
	}
	missing := h.call(h.admin, "GET", "/v1/tenants/"+string(sender.NewID()), "")
	problem(t, missing, 404, "not-found", "")
	for _, path := range []string{"/v1/tenants/" + id, "/v1/tenants/" + id + "/domains", "/v1/tenants/" + id + "/credentials", "/v1/tenants/" + id + "/events", "/v1/messages?tenant=" + id, "/v1/explain?from=a@example.org&tenant=" + id} {
		if got := h.call(h.admin, "GET", path, ""); got.Status != 404 || got.String("code") != "not-found" {
			t.Errorf("%s of another tenant: %d %s", path, got.Status, got.Body)
		}
	}
	if r = h.call(h.admin, "GET", "/v1/tenants", "").Want(200); r.String("items.0.id") != string(h.tenant.ID) || r.At("items.1") != nil {
		t.Errorf("listed %s", r.Body)
	}
}

func TestListsArePagedByCursor(t *testing.T) {
	h := newHarness(t)
	want := make(map[string]bool)
	for i := range 5 {
		want[string(h.Domain(h.tenant, fmt.Sprintf("d%d.example.org", i)).ID)] = true
	}
	pages, query := 0, ""
	for pages < 10 {
		r := h.call(h.admin, "GET", h.base+"/domains?limit=2"+query, "").Want(200)
		pages++
		for i := range 2 {
			delete(want, r.String(fmt.Sprintf("items.%d.id", i)))
		}
		if r.String("nextCursor") == "" {
			break
		}
		query = "&cursor=" + r.String("nextCursor")
	}
	if pages != 3 || len(want) != 0 {
		t.Errorf("%d pages, missing %v", pages, want)
	}
	for q, field := range map[string]string{"limit=0": "limit", "limit=1001": "limit", "limit=x": "limit", "limit=1&limit=2": "limit", "cursor=": "cursor", "limit=": "limit", "unknown=1": "unknown"} {
		problem(t, h.call(h.admin, "GET", h.base+"/domains?"+q, ""), 422, "invalid", field)
	}
	for _, q := range []string{"limit=%zz", "limit=1;cursor=2"} {
		problem(t, h.call(h.admin, "GET", h.base+"/domains?"+q, ""), 400, "malformed", "")
	}
	problem(t, h.call(h.admin, "GET", h.base+"/domains?cursor=AAAA", ""), 422, "invalid", "cursor")
}

func TestCredentialLivesFromItsSecretToItsRevocation(t *testing.T) {
	h := newHarness(t)
	body := fmt.Sprintf(`{"kind":"api-key","name":"ci","grants":[{"tenant":%q,"role":"reader"}]}`, h.tenant.ID)
	r := h.call(h.admin, "POST", h.base+"/credentials", body).Want(201)
	key, id := auth.Secret(r.String("secret")), r.String("id")
	h.call(key, "GET", h.base, "").Want(200)
	problem(t, h.call(key, "POST", h.base+"/credentials", body), 403, "denied", "")
	list := h.call(h.admin, "GET", h.base+"/credentials", "").Want(200)
	if strings.Contains(string(list.Body), string(key)) || strings.Contains(string(list.Body), "argon2") {
		t.Errorf("the list shows secrets: %s", list.Body)
	}
	h.call(h.admin, "DELETE", h.base+"/credentials/"+id, "").Want(204)
	problem(t, h.call(key, "GET", h.base, ""), 401, "unauthenticated", "")
	problem(t, h.call(h.admin, "DELETE", h.base+"/credentials/"+string(sender.NewID()), ""), 404, "not-found", "")
	problem(t, h.call(h.admin, "POST", h.base+"/credentials", fmt.Sprintf(`{"kind":"api-key","name":"x","grants":[{"tenant":%q,"role":"admin"}]}`, h.Tenant("other").ID)), 422, "invalid", "grants")
	if events := h.call(h.admin, "GET", h.base+"/events?limit=1000", "").Want(200); !strings.Contains(string(events.Body), `"credential.revoked"`) {
		t.Errorf("the revocation is not in the log: %s", events.Body)
	}
}

func TestTokenEndpointWorksForEveryTenant(t *testing.T) {
	h := newHarness(t)
	c, secret, _ := h.Client(h.tenant, sender.RoleReader, "")
	form := "grant_type=client_credentials&client_id=" + string(c.ID) + "&client_secret=" + string(secret)
	r := h.call("", "POST", "/v1/token", form, "Content-Type", "application/x-www-form-urlencoded").Want(200)
	h.call(auth.Secret(r.String("access_token")), "GET", h.base, "").Want(200)
	if r = h.call("", "POST", "/v1/token", form+"x", "Content-Type", "application/x-www-form-urlencoded").Want(401); r.String("error") != "invalid_client" {
		t.Errorf("refused with %s", r.Body)
	}
}

func TestFindingsExplainWhatIsMissing(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.base + "/domains/" + string(d.ID)
	r := h.call(h.admin, "GET", path, "").Want(200)
	if r.At("proven") != false || r.String("facets.0.status") != "pending" || r.String("records.0.name") != "_postseal.mail.example.org" {
		t.Errorf("the domain is %s", r.Body)
	}
	if r = h.call(h.admin, "GET", path+"/findings", "").Want(200); r.At("findings.0") != nil || r.At("findings") == nil {
		t.Errorf("before the first check: %s", r.Body)
	}
	h.Publish(d, dnscheck.Ownership)
	r = h.call(h.admin, "GET", path+"/findings?check=true", "").Want(200)
	if r.At("domain.proven") != true || r.String("findings.0.outcome") != "match" || !strings.Contains(string(r.Body), `"missing"`) || r.String("checkedAt") == "" {
		t.Errorf("after publishing: %s", r.Body)
	}
	zone := h.call(h.admin, "GET", path+"/zone", "").Want(200)
	if zone.Header.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(string(zone.Body), "CNAME") {
		t.Errorf("the zone file is %s %s", zone.Header.Get("Content-Type"), zone.Body)
	}
	problem(t, h.call(h.admin, "GET", h.base+"/domains/"+string(sender.NewID()), ""), 404, "not-found", "")
	problem(t, h.call(h.admin, "GET", h.base+"/domains/x/zone", ""), 404, "not-found", "")
}

func TestAcceptedMessageIs202AndCanBeFollowed(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	r := h.call(h.admin, "POST", "/v1/messages", h.message("noreply@mail.example.org", "user@example.net")).Want(202)
	if r.String("state") != "queued" || r.String("note") != "dkim-not-published" || r.Header.Get("Location") != r.String("links.self") {
		t.Errorf("accepted as %s", r.Body)
	}
	one := h.call(h.admin, "GET", r.String("links.self"), "").Want(200)
	if one.String("id") != r.String("id") || one.At("history") == nil || one.String("to") != "user@example.net" {
		t.Errorf("read as %s", one.Body)
	}
	if list := h.call(h.admin, "GET", "/v1/messages?limit=1000", "").Want(200); !strings.Contains(string(list.Body), r.String("id")) {
		t.Errorf("listed as %s", list.Body)
	}
	// An operator has no tenant of their own, and names one.
	body := h.message("noreply@mail.example.org", "user@example.net")
	problem(t, h.call(h.operator, "POST", "/v1/messages", body), 422, "required", "tenant")
	h.call(h.operator, "POST", "/v1/messages?tenant="+string(h.tenant.ID), body).Want(202)
	h.call(h.operator, "POST", "/v1/messages", strings.Replace(body, "{", `{"tenant":"`+string(h.tenant.ID)+`",`, 1)).Want(202)
	problem(t, h.call(h.operator, "POST", "/v1/messages?tenant="+string(sender.NewID()), body), 404, "not-found", "")
	problem(t, h.call(h.Token(h.tenant, sender.RoleReader), "POST", "/v1/messages", body), 403, "denied", "")
	h.call(h.Token(h.tenant, sender.RoleSender), "POST", "/v1/messages", body).Want(202)
}

func TestIdempotencyKeyRepeatsTheAnswerAndRefusesAnotherRequest(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	body := h.message("noreply@mail.example.org", "user@example.net")
	first := h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", "k").Want(202)
	second := h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", "k").Want(202)
	if first.String("id") != second.String("id") || len(h.Mail.To("user@example.net")) != 1 {
		t.Errorf("repeated as %s after %s", second.Body, first.Body)
	}
	problem(t, h.call(h.admin, "POST", "/v1/messages", h.message("noreply@mail.example.org", "other@example.net"), "Idempotency-Key", "k"), 409, "conflict", "Idempotency-Key")
	problem(t, h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", strings.Repeat("k", 257)), 422, "invalid", "Idempotency-Key")
}

func TestProblemsStaySmallerThanTheirRequests(t *testing.T) {
	h := newHarness(t)
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, `"m%d":1,`, i)
	}
	for name, body := range map[string]string{
		"many members": `{` + many.String() + `"name":"x"}`, "a long member": `{"name":"x","` + strings.Repeat("y", 100_000) + `":1}`,
		"a long member twice": `{"` + strings.Repeat("y", 100_000) + `":1,"` + strings.Repeat("y", 100_000) + `":1}`,
	} {
		for _, path := range []string{"/v1/tenants", "/v1/messages"} {
			if r := h.call(h.operator, "POST", path, body); r.Status/100 != 4 || len(r.Body) > 8192 {
				t.Errorf("%s to %s: %d with %d octets", name, path, r.Status, len(r.Body))
			}
		}
	}
}

// A key that is not kept as it was sent would protect from nothing.
func TestIdempotencyKeysThatProtectFromNothingAreRefused(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	body := h.message("noreply@mail.example.org", "user@example.net")
	for _, keys := range [][]string{{""}, {"a", "a"}, {"a", "b"}, {"a\tb"}, {"\xff"}, {"\u00e9"}} {
		r := httptest.NewRequest("POST", "/v1/messages", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+string(h.admin))
		r.Header.Set("Content-Type", "application/json")
		r.Header["Idempotency-Key"] = keys
		w := httptest.NewRecorder()
		h.server.Config.Handler.ServeHTTP(w, r)
		problem(t, apitest.Reply{T: t, Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}, 422, "invalid", "Idempotency-Key")
	}
	if n := len(h.Mail.To("user@example.net")); n != 0 {
		t.Errorf("%d messages were composed", n)
	}
}

func TestOnlySenderRecipientAndTextAreNeeded(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	h.call(h.admin, "POST", "/v1/messages", `{"from":"noreply@mail.example.org","to":"user@example.net","html":"<p>Hi</p>","headers":null}`).Want(202)
}

func TestSendingReadsItsQueryStrictly(t *testing.T) {
	h := newHarness(t)
	own, other := string(h.tenant.ID), string(h.Tenant("other").ID)
	body := h.message("noreply@mail.example.org", "user@example.net")
	for query, field := range map[string]string{"tenant=" + own + "&tenant=" + other: "tenant", "tenant=": "tenant", "tennant=" + own: "tennant"} {
		problem(t, h.call(h.admin, "POST", "/v1/messages?"+query, body), 422, "invalid", field)
	}
	problem(t, h.call(h.admin, "POST", "/v1/messages?tenant=%zz", body), 400, "malformed", "")
}

// A body that breaks off is the client's fault, wherever it is read.
func TestBodiesThatBreakOffAreNoFaultOfOurs(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/v1/messages", "/v1/tenants"} {
		conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\nzz\r\n", path, string(h.operator))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		problem(t, apitest.Reply{T: t, Status: resp.StatusCode, Header: resp.Header, Body: body}, 400, "malformed", "")
	}
	if strings.Contains(h.Logged(), "level=ERROR") {
		t.Errorf("it is logged as an error of ours:\n%s", h.Logged())
	}
}

func TestRefusedSenderIs422WithItsReason(t *testing.T) {
	h := newHarness(t)
	r := h.call(h.admin, "POST", "/v1/messages", h.message("nobody@example.org", "user@example.net"))
	problem(t, r, 422, "refused", "from")
	if r.String("reason") != "address-not-proven" {
		t.Errorf("refused with %s", r.Body)
	}
	r = h.call(h.admin, "GET", "/v1/explain?from=nobody@example.org", "").Want(200)
	if r.At("allow") != false || r.String("reason") != "address-not-proven" || r.String("detail") == "" {
		t.Errorf("explained as %s", r.Body)
	}
	d := h.Proven(h.tenant, "mail.example.org")
	h.Publish(d, dnscheck.DKIM)
	h.Address(h.tenant, d, "noreply@mail.example.org")
	if _, err := h.Service.CheckDomain(t.Context(), apitest.Operator, h.tenant.ID, d.ID, dnscheck.DKIM); err != nil {
		t.Fatal(err)
	}
	r = h.call(h.admin, "GET", "/v1/explain?from=noreply@mail.example.org", "").Want(200)
	if r.At("allow") != true || r.String("signingDomain") != "mail.example.org" || r.String("selector") == "" {
		t.Errorf("explained as %s", r.Body)
	}
	problem(t, h.call(h.admin, "GET", "/v1/explain", ""), 422, "required", "from")
	problem(t, h.call(h.admin, "GET", "/v1/explain?from=x", ""), 422, "invalid", "from")
}

func TestFullQueueIs503WithRetryAfter(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	full, err := sender.New(t.Context(), sender.Config{Store: h.Store, Checker: noChecker{}, Provider: apitest.Provider(h.Mail), Settings: sender.Settings{}, Log: h.Log})
	if err != nil {
		t.Fatal(err)
	}
	h.server = h.Serve(native.New(native.Config{Service: full, Auth: h.Auth, Log: h.Log}))
	r := h.call(h.admin, "POST", "/v1/messages", h.message("noreply@mail.example.org", "user@example.net"))
	problem(t, r, 503, "busy", "")
	if r.Header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After is %q", r.Header.Get("Retry-After"))
	}
}

type noChecker struct{ sender.Checker }

func TestBadBodiesAreRefusedBeforeAnythingHappens(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	good := h.message("noreply@mail.example.org", "user@example.net")
	with := func(member string) string { return strings.Replace(good, "{", "{"+member+",", 1) }
	for _, c := range []struct {
		name, body, media string
		status            int
		code, field       string
	}{
		{"empty", "", "application/json", 400, "malformed", ""},
		{"broken", good[:20], "application/json", 400, "malformed", ""},
		{"array", "[" + good + "]", "application/json", 400, "malformed", ""},
		{"garbage behind", good + "x", "application/json", 400, "malformed", ""},
		{"null", "null", "application/json", 400, "malformed", ""},
		{"member twice", with(`"subject":"x"`), "application/json", 400, "malformed", "subject"},
		{"nested member twice", strings.Replace(good, `{"name"`, `{"name":"x","name"`, 1), "application/json", 400, "malformed", "to.name"},
		{"invalid UTF-8", strings.Replace(good, "Hello", "\xff", 1), "application/json", 400, "malformed", ""},
		{"unknown member", with(`"subjekt":"x"`), "application/json", 422, "invalid", "subjekt"},
		{"wrong case", with(`"Region":"x"`), "application/json", 422, "invalid", "Region"},
		{"unknown nested member", strings.Replace(good, `{"name"`, `{"nick":"x","name"`, 1), "application/json", 422, "invalid", "to.nick"},
		{"wrong type", with(`"expiresIn":"x"`), "application/json", 422, "invalid", "expiresIn"},
		{"wrong nested type", with(`"headers":[{"name":"X-A","value":1}]`), "application/json", 422, "invalid", "headers.0.value"},
		{"from of a wrong type", strings.Replace(good, `"noreply@mail.example.org"`, "1", 1), "application/json", 422, "invalid", "from"},
		{"negative life", with(`"expiresIn":-1`), "application/json", 422, "invalid", "expiresIn"},
		{"life for ever", with(`"expiresIn":99999999999`), "application/json", 422, "invalid", "expiresIn"},
		{"unknown region", with(`"region":"moon"`), "application/json", 422, "invalid", "region"},
		{"no recipient", strings.Replace(good, "user@example.net", "", 1), "application/json", 422, "required", "to"},
		{"no text", strings.Replace(good, `"Hi"`, `""`, 1), "application/json", 422, "required", "text"},
		{"tenant of no form", with(`"tenant":"x"`), "application/json", 404, "not-found", ""},
		{"too large", with(`"html":"` + strings.Repeat("x", api.MaxBody) + `"`), "application/json", 413, "too-large", ""},
		{"text", good, "text/plain", 415, "wrong-media", "Content-Type"},
		{"no media type", good, "", 415, "wrong-media", "Content-Type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.call(h.admin, "POST", "/v1/messages", c.body, "Content-Type", c.media)
			r.T = t
			problem(t, r, c.status, c.code, c.field)
		})
	}
	if n := len(h.Mail.To("user@example.net")); n != 0 {
		t.Errorf("%d messages were composed", n)
	}
}

// What goes through huma is read as strictly, and refused in the same words.
func TestDocumentedOperationsReadAsStrictly(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct {
		name, path, body, media string
		status                  int
		code, field             string
	}{
		{"empty", "/v1/tenants", "", "application/json", 400, "malformed", ""},
		{"broken", "/v1/tenants", `{"name":`, "application/json", 400, "malformed", ""},
		{"garbage behind", "/v1/tenants", `{"name":"x"}x`, "application/json", 400, "malformed", ""},
		{"null", "/v1/tenants", `null`, "application/json", 400, "malformed", ""},
		{"array", "/v1/tenants", `[]`, "application/json", 400, "malformed", ""},
		{"invalid UTF-8", "/v1/tenants", "{\"name\":\"\xff\"}", "application/json", 400, "malformed", ""},
		{"member twice", "/v1/tenants", `{"name":"x","name":"y"}`, "application/json", 400, "malformed", "name"},
		{"unknown member", "/v1/tenants", `{"name":"x","nick":"y"}`, "application/json", 422, "invalid", "nick"},
		{"wrong case", "/v1/tenants", `{"Name":"x"}`, "application/json", 422, "required", "name"},
		{"both cases", "/v1/tenants", `{"name":"x","NAME":"y"}`, "application/json", 422, "invalid", "NAME"},
		{"wrong type", "/v1/tenants", `{"name":1}`, "application/json", 422, "invalid", "name"},
		{"wrong nested type", "/v1/tenants", `{"name":"x","limits":{"domains":"1"}}`, "application/json", 422, "invalid", "limits.domains"},
		{"missing", "/v1/tenants", `{}`, "application/json", 422, "required", "name"},
		{"too large", "/v1/tenants", `{"name":"` + strings.Repeat("x", api.MaxBody) + `"}`, "application/json", 413, "too-large", ""},
		{"a cousin of JSON", "/v1/tenants", `{"name":"x"}`, "application/x+json", 415, "wrong-media", "Content-Type"},
		{"no media type", "/v1/tenants", `{"name":"x"}`, "", 415, "wrong-media", "Content-Type"},
		{"unknown in a list", h.base + "/credentials", `{"kind":"api-key","name":"x","grants":[{"role":"reader","x":1}]}`, "application/json", 422, "invalid", "grants.0.x"},
		{"missing in a list", h.base + "/credentials", `{"kind":"api-key","name":"x","grants":[{}]}`, "application/json", 422, "required", "grants.0.role"},
		{"no date", h.base + "/credentials", `{"kind":"api-key","name":"x","grants":[],"expiresAt":"soon"}`, "application/json", 422, "invalid", "expiresAt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.call(h.operator, "POST", c.path, c.body, "Content-Type", c.media)
			r.T = t
			problem(t, r, c.status, c.code, c.field)
		})
	}
	// A stranger learns nothing from the validation.
	problem(t, h.call("", "POST", "/v1/tenants", `{`), 401, "unauthenticated", "")
}

func TestWhatIsNotThereIsAProblemToo(t *testing.T) {
	h := newHarness(t)
	problem(t, h.call(h.admin, "GET", "/v1/nothing", ""), 404, "no-route", "")
	r := h.call(h.admin, "PUT", "/v1/messages", "{}")
	problem(t, r, 405, "wrong-method", "")
	if r.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow is %q", r.Header.Get("Allow"))
	}
}

func TestEveryOperationIsDocumented(t *testing.T) {
	h := newHarness(t)
	r := h.call("", "GET", "/v1/openapi.json", "").Want(200)
	if !strings.HasPrefix(r.String("openapi"), "3.1") {
		t.Errorf("openapi is %q", r.String("openapi"))
	}
	paths, _ := r.At("paths").(map[string]any)
	for path, methods := range map[string]string{
		"/v1/token": "post", "/v1/tenants": "post get", "/v1/tenants/{tenant}": "get patch delete", "/v1/tenants/{tenant}/mail-defaults": "get put", "/v1/tenants/{tenant}/events": "get",
		"/v1/tenants/{tenant}/credentials": "post get", "/v1/tenants/{tenant}/credentials/{credential}": "delete", "/v1/tenants/{tenant}/credentials/{credential}/rotate": "post",
		"/v1/tenants/{tenant}/templates": "post get", "/v1/tenants/{tenant}/templates/{template}": "get put delete", "/v1/tenants/{tenant}/templates/{template}/preview": "post",
		"/v1/tenants/{tenant}/domains": "get", "/v1/tenants/{tenant}/domains/{domain}": "get", "/v1/tenants/{tenant}/domains/{domain}/findings": "get",
		"/v1/tenants/{tenant}/domains/{domain}/zone": "get", "/v1/tenants/{tenant}/domains/{domain}/timeline": "get", "/v1/tenants/{tenant}/leftovers": "get",
		"/v1/messages": "post get", "/v1/messages/{message}": "get", "/v1/explain": "get",
		"/v1/tenants/{tenant}/delivery-settings": "get put delete", "/v1/tenants/{tenant}/delivery-settings/test": "post",
		"/v1/mass-guard": "get", "/v1/mass-guard/release": "post",
		"/v1/tenants/{tenant}/webhooks": "get post", "/v1/tenants/{tenant}/webhooks/{webhook}": "get put delete", "/v1/tenants/{tenant}/webhooks/{webhook}/rotate": "post",
		"/v1/tenants/{tenant}/webhooks/{webhook}/test": "post", "/v1/tenants/{tenant}/webhooks/{webhook}/deliveries": "get", "/v1/tenants/{tenant}/webhooks/{webhook}/replay": "post",
		"/v1/tenants/{tenant}/domains/{domain}/posture": "get",
	} {
		item, _ := paths[path].(map[string]any)
		for method := range strings.FieldsSeq(methods) {
			if item[method] == nil {
				t.Errorf("%s %s is not documented", method, path)
			}
		}
	}
	if len(paths) != 32 {
		t.Errorf("%d paths are documented", len(paths))
	}
}

func TestLogHoldsNoPeopleAndNoSecrets(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	h.call(h.admin, "POST", "/v1/messages", h.message("noreply@mail.example.org", "jane.roe@example.net")).Want(202)
	h.call(h.admin, "POST", "/v1/messages", h.message("jane.roe@example.net", "user@example.net")).Want(422)
	h.call(h.admin, "GET", "/v1/explain?from=jane.roe@example.net", "").Want(200)
	h.call(h.admin, "GET", "/v1/explain?from=jane.roe", "").Want(422)
	h.call(h.admin, "POST", "/v1/tenants", `{"jane.roe":1}`).Want(422)
	h.call(h.admin, "POST", "/v1/tenants", `{"jane.roe":1,"jane.roe":2}`).Want(400)
	h.call(h.admin, "POST", "/v1/messages", `{"jane.roe":1}`).Want(422)
	h.call(h.admin, "POST", "/v1/messages?jane.roe=1", h.message("noreply@mail.example.org", "user@example.net")).Want(422)
	h.call(h.admin, "GET", "/v1/messages?jane.roe=", "").Want(422)
	template := h.template(h.letter(`"body":"Hello ${who}"`))
	h.call(h.admin, "POST", "/v1/messages", `{"to":"jane.roe@example.net","template":{"type":"letter","values":{"who":"jane.roe"}}}`).Want(202)
	h.call(h.admin, "POST", "/v1/messages", `{"to":"jane.roe","template":{"type":"letter"}}`).Want(422)
	h.call(h.admin, "POST", "/v1/messages", `{"to":"jane.roe@example.net","template":{"type":"jane.roe"}}`).Want(404)
	h.call(h.admin, "POST", h.base+"/templates/"+template+"/preview", `{"values":{"who":"jane.roe"}}`).Want(200)
	secrets := []string{"jane.roe", string(h.admin), string(h.operator)}
	for _, kind := range []string{"api-key", "oauth-client", "pingid-key"} {
		r := h.call(h.admin, "POST", h.base+"/credentials", h.credential(kind)).Want(201)
		secrets = append(secrets, r.String("secret"))
		r = h.call(h.admin, "POST", h.base+"/credentials/"+r.String("id")+"/rotate", "{}").Want(201)
		secrets = append(secrets, r.String("secret"))
	}
	log := h.Logged()
	for _, s := range secrets {
		if strings.Contains(log, s) {
			t.Errorf("the log holds %q", s)
		}
	}
	if !strings.Contains(log, "dialect=native") || !strings.Contains(log, "/v1/explain") {
		t.Errorf("the log has no access lines:\n%s", log)
	}
}

func TestMailFromDomainIsSetAndCleared(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	path := "/v1/tenants/" + string(h.tenant.ID) + "/domains/" + string(d.ID)
	h.call(h.admin, "PUT", path+"/mail-from", `{"domain":"bounce.example.org"}`).Want(422)
	r := h.call(h.admin, "PUT", path+"/mail-from", `{"domain":"Bounce.mail.example.org","onFailure":"reject"}`).Want(200)
	if r.String("mailFrom.domain") != "Bounce.mail.example.org" || r.String("mailFrom.onFailure") != "reject" {
		t.Errorf("set: %s", r.Body)
	}
	var purposes strings.Builder
	for i := range 40 {
		purposes.WriteString(" " + r.String(fmt.Sprintf("records.%d.purpose", i)))
	}
	if !strings.Contains(purposes.String(), "mail-from-mx") || !strings.Contains(purposes.String(), "mail-from-spf") || strings.Contains(purposes.String(), " spf") {
		t.Errorf("records: %s", purposes.String())
	}
	h.call(h.admin, "DELETE", path+"/mail-from", "").Want(204)
	h.call(h.admin, "DELETE", path+"/mail-from", "").Want(404)
}
