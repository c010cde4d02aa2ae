package sailpoint_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/sailpoint"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// harness is a tenant of the dialect, with an admin's token. Its release is v1, which
// demands no header.
type harness struct {
	*apitest.Kit
	server *httptest.Server
	tenant sender.Tenant
	token  auth.Secret
}

func newHarness(t *testing.T, tune ...func(*sender.Settings)) *harness {
	t.Helper()
	k := apitest.New(t, tune...)
	h := &harness{Kit: k, tenant: k.Tenant("demo")}
	h.server = h.serve(sailpoint.Config{})
	h.token = k.Token(h.tenant, sender.RoleAdmin)
	return h
}

func (h *harness) serve(c sailpoint.Config) *httptest.Server {
	c.Service, c.Auth, c.Log = h.Service, h.Auth, h.Log
	return h.Serve(sailpoint.New(c))
}

func (h *harness) call(method, path, body string, header ...string) apitest.Reply {
	h.T.Helper()
	return apitest.Call(h.T, h.server, h.token, method, path, body, header...)
}

func (h *harness) as(token auth.Secret) *harness {
	other := *h
	other.token = token
	return &other
}

const (
	addresses = "/verified-from-addresses/v1"
	domains   = "/verified-domains/v1"
	mailFrom  = "/mail-from-attributes/v1"
	templates = "/notification-templates/v1"
)

func createAddress(email string) string { return fmt.Sprintf(`{"email":%q}`, email) }
func createDomain(name string) string   { return fmt.Sprintf(`{"domain":%q}`, name) }

// query encodes parameters: name, value, name, value...
func query(pairs ...string) string {
	q := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return "?" + q.Encode()
}

// list reads a list, which must be a bare array, and returns a member of each entry.
func list(r apitest.Reply, member string) (got []string) {
	r.T.Helper()
	var entries []map[string]any
	if err := json.Unmarshal(r.Want(200).Body, &entries); err != nil || !strings.HasPrefix(string(r.Body), "[") {
		r.T.Fatalf("not an array: %v: %s", err, r.Body)
	}
	got = []string{}
	for _, e := range entries {
		got = append(got, fmt.Sprint(e[member]))
	}
	return got
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Exactly these members, of these types: the Go client decodes into them.
type (
	wireError struct {
		DetailCode string        `json:"detailCode"`
		TrackingID string        `json:"trackingId"`
		Messages   []wireMessage `json:"messages"`
		Causes     []wireMessage `json:"causes"`
	}
	wireMessage struct {
		Locale       string `json:"locale"`
		LocaleOrigin string `json:"localeOrigin"`
		Text         string `json:"text"`
	}
)

// refused checks an error object, member by member.
func refused(r apitest.Reply, status int, code, cause string) wireError {
	r.T.Helper()
	var e wireError
	if err := json.Unmarshal(r.Want(status).Body, &e, json.RejectUnknownMembers(true)); err != nil {
		r.T.Fatalf("not the error object: %v: %s", err, r.Body)
	}
	causes := ""
	if len(e.Causes) > 0 {
		causes = e.Causes[0].Text
	}
	switch {
	case e.DetailCode != code || !strings.HasPrefix(code, fmt.Sprint(status)):
		r.T.Errorf("detailCode %q with status %d, want %q; body %s", e.DetailCode, status, code, r.Body)
	case len(e.Messages) != 1 || e.Messages[0].Text == "" || e.Messages[0].Locale == "" || e.Messages[0].LocaleOrigin == "":
		r.T.Errorf("messages are %+v", e.Messages)
	case !strings.Contains(causes, cause) || causes == "" && status == 400:
		r.T.Errorf("causes are %q, want some with %q", causes, cause)
	case len(e.TrackingID) != 32 || strings.Trim(e.TrackingID, "0123456789abcdef") != "" || e.TrackingID != r.Header.Get("SLPT-Request-ID"):
		r.T.Errorf("trackingId is %q, SLPT-Request-ID %q", e.TrackingID, r.Header.Get("SLPT-Request-ID"))
	case r.Header.Get("Content-Type") != "application/json":
		r.T.Errorf("Content-Type is %q", r.Header.Get("Content-Type"))
	}
	return e
}

// brief checks an error of the short shape.
func brief(r apitest.Reply, status int, member, text string) {
	r.T.Helper()
	var b map[string]string
	if err := json.Unmarshal(r.Want(status).Body, &b); err != nil || len(b) != 1 || !strings.Contains(b[member], text) {
		r.T.Errorf("the body is %s, want %s with %q alone", r.Body, member, text)
	}
}

func standing(r apitest.Reply) string {
	r.T.Helper()
	return fmt.Sprint(r.String("verificationStatus"), " ", r.At("isVerifiedByDomain"))
}

// The sample of the document: names, types, values.
func TestTheSampleOfTheDocument(t *testing.T) {
	h := newHarness(t)
	r := h.call("POST", "/verified-from-addresses", createAddress("noreply@mail.example.org"), "X-SailPoint-Experimental", "true").Want(201)
	var got map[string]any
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatal(err)
	}
	if _, ok := sender.ParseID(r.String("id")); !ok {
		t.Errorf("id is %v", got["id"])
	}
	delete(got, "id")
	same(t, "the answer", got, map[string]any{"email": "noreply@mail.example.org", "isVerifiedByDomain": false, "verificationStatus": "PENDING", "region": nil})
	for path, status := range map[string]int{"/verified-from-addresses": 400, "/v2024/verified-from-addresses": 400, "/v2025/verified-from-addresses": 400} {
		brief(h.call("POST", path, createAddress("a@mail.example.org")), status, "error", "Experimental Header is missing or invalid.")
	}
}

func TestAddressesGoThroughTheirStates(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Code.ResendAfter = 0 })
	const email = "noreply@mail.example.org"
	state := func() string {
		t.Helper()
		r := h.call("GET", addresses+query("filters", `email eq "`+email+`"`), "").Want(200)
		return fmt.Sprint(r.At("0.verificationStatus"), " ", r.At("0.isVerifiedByDomain"))
	}
	if got := standing(h.call("POST", addresses, createAddress(email)).Want(201)); got != "PENDING false" {
		t.Errorf("a new one is %s", got)
	}
	d := h.Domain(h.tenant, "mail.example.org")
	code := h.Mail.Code(t, email)
	mails := len(h.Mail.To(email))

	h.Publish(d, dnscheck.Ownership)
	if _, err := h.Service.CheckDomain(t.Context(), apitest.Operator, h.tenant.ID, d.ID); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "SUCCESS true" {
		t.Errorf("its domain was proven: %s", got)
	}
	if got := standing(h.call("POST", addresses, createAddress("other@deep.mail.example.org")).Want(201)); got != "SUCCESS true" {
		t.Errorf("a new one below a proven domain is %s", got)
	}
	if n := len(h.Mail.To("other@deep.mail.example.org")) + len(h.Mail.To(email)) - mails; n != 0 {
		t.Errorf("%d mails went out though the domain is proven", n)
	}

	if err := h.Service.DeleteDomain(t.Context(), apitest.Operator, h.tenant.ID, d.ID, false); sender.KindOf(err) != sender.InUse {
		t.Fatalf("deleting a domain with addresses: %v", err)
	}
	lose(h, d)
	if got := state(); got != "PENDING false" {
		t.Errorf("its domain was lost: %s", got)
	}

	a, err := h.Store.AddressByMailbox(t.Context(), h.tenant.ID, email)
	if err != nil {
		t.Fatal(err)
	}
	expire := func(bounced bool, expires time.Time) {
		t.Helper()
		err := h.Store.Update(t.Context(), func(tx sender.Tx) error {
			b, err := tx.Address(t.Context(), h.tenant.ID, a.ID)
			if err != nil {
				return err
			}
			b.Code.Bounced, b.Code.ExpiresAt = bounced, expires
			return tx.UpdateAddress(t.Context(), b)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// A code that was sent since the proof was lost is one that it needs.
	if got := standing(h.call("POST", addresses, createAddress(email)).Want(201)); got != "PENDING false" {
		t.Errorf("created again: %s", got)
	}
	for name, broken := range map[string]func(){
		"the code ran out": func() { expire(false, time.Now().Add(-time.Minute)) },
		"the mail bounced": func() { expire(true, time.Now().Add(time.Hour)) },
	} {
		broken()
		if got := state(); got != "FAILED false" {
			t.Errorf("%s: %s", name, got)
		}
		if got := standing(h.call("POST", addresses, createAddress(email)).Want(201)); got != "PENDING false" {
			t.Errorf("%s and it was created again: %s", name, got)
		}
	}
	if h.Mail.Code(t, email) == code {
		t.Errorf("no new code went out")
	}
	if _, err := h.Service.ActivateAddress(t.Context(), apitest.Operator, h.tenant.ID, d.ID, a.ID, h.Mail.Code(t, email)); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "SUCCESS false" {
		t.Errorf("after its code: %s", got)
	}
}

// lose takes the proof of a domain away, as a long absence of its records does.
func lose(h *harness, d sender.Domain) {
	h.T.Helper()
	err := h.Store.Update(h.T.Context(), func(tx sender.Tx) error {
		d, err := tx.Domain(h.T.Context(), d.Tenant, d.ID)
		if err != nil {
			return err
		}
		for i := range d.Facets {
			d.Facets[i].Status = sender.Lapsed
		}
		return tx.UpdateDomain(h.T.Context(), d)
	})
	if err != nil {
		h.T.Fatal(err)
	}
}

func TestAddressIsListedFilteredSortedAndCounted(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{"delta", "Alpha", "charlie", "bravo"} {
		h.call("POST", addresses, createAddress(name+"@mail.example.org")).Want(201)
	}
	h.call("POST", addresses, createAddress("zulu@elsewhere.example")).Want(201)
	names := func(r apitest.Reply) string {
		t.Helper()
		var short []string
		for _, email := range list(r, "email") {
			local, _, _ := strings.Cut(email, "@")
			short = append(short, local)
		}
		return strings.Join(short, " ")
	}
	for _, c := range []struct{ query, want string }{
		{"", "delta Alpha charlie bravo zulu"},
		{query("sorters", "email"), "Alpha bravo charlie delta zulu"},
		{query("sorters", "-email", "limit", "2"), "zulu delta"},
		{query("sorters", "email", "limit", "2", "offset", "3"), "delta zulu"},
		{query("offset", "5"), ""},
		{query("filters", `email eq "ALPHA@mail.example.org"`), "Alpha"},
		{query("filters", `email sw "b" or email ge "d"`, "sorters", "email"), "bravo delta zulu"},
		{query("filters", `not email sw "b" and email lt "d"`, "sorters", "email"), "Alpha charlie"},
		{query("filters", `email gt "charlie@mail.example.org" and email le "delta@mail.example.org"`), "delta"},
		{query("filters", "", "sorters", ""), "delta Alpha charlie bravo zulu"},
		{"?filters=email%20eq%20bravo@mail.example.org", "bravo"},
		{query("unknown", "x", "limit", "1"), "delta"},
	} {
		for _, base := range []string{addresses, "/beta/verified-from-addresses", "/v2026/verified-from-addresses"} {
			if got := names(h.call("GET", base+c.query, "")); got != c.want {
				t.Errorf("%s%s: %q, want %q", base, c.query, got, c.want)
			}
		}
	}
	for q, total := range map[string]string{query("count", "true"): "5", query("count", "true", "filters", `email sw "a"`, "limit", "0"): "1", query("count", "true", "offset", "4", "limit", "1"): "5", "": "", query("count", "false"): ""} {
		if got := h.call("GET", addresses+q, "").Want(200).Header.Get("X-Total-Count"); got != total {
			t.Errorf("%s: X-Total-Count %q, want %q", q, got, total)
		}
	}
	for _, q := range []string{
		"?limit=251", "?limit=-1", "?limit=x", "?offset=-1", "?count=yes", query("sorters", "id"), query("sorters", "+email,id"), query("filters", `id eq "x"`), query("filters", `email EQ "x"`),
		query("filters", `email co "x"`), query("filters", `email`), query("filters", `(email eq "x"`), "?limit=1&limit=2",
	} {
		refused(h.call("GET", addresses+q, ""), 400, "400.1.3 Illegal value", "")
	}
	refused(h.call("GET", addresses+"?filters=%zz", ""), 400, "400.0 Bad Request Syntax", "query")
}

func TestAddressThatCannotBeIsRefusedWithItsCause(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Send.QueueLimit = 100 })
	for _, c := range []struct{ body, code, cause string }{
		{`{}`, "400.1.0 Required Data Missing Or Empty", "email is missing"},
		{`{"email":null}`, "400.1.0 Required Data Missing Or Empty", "email is missing"},
		{`{"email":""}`, "400.1.0 Required Data Missing Or Empty", "email is missing"},
		{`{"email":5}`, "400.1.3 Illegal value", "email must be a string"},
		{`{"email":"not an address"}`, "400.1.3 Illegal value", "not one email address"},
		{`{"email":"Name <a@mail.example.org>"}`, "400.1.3 Illegal value", "local part"},
		{`{"email":"a@b@mail.example.org"}`, "400.1.3 Illegal value", "not one email address"},
		{`{"email":"a@localhost"}`, "400.1.3 Illegal value", "localhost"},
		{`{"email":`, "400.0 Bad Request Syntax", "not valid JSON"},
		{`[]`, "400.0 Bad Request Syntax", "object"},
		{`null`, "400.0 Bad Request Syntax", "object"},
		{`{"email":"a@b.example","email":"c@b.example"}`, "400.0 Bad Request Syntax", "more than once"},
		{`{"email":"` + strings.Repeat("a", 1<<20) + `"}`, "400.1.4 Limit violation", "larger than"},
	} {
		refused(h.call("POST", addresses, c.body), 400, c.code, c.cause)
	}
	for i := range sender.DefaultLimits.AddressesPerDomain {
		h.call("POST", addresses, createAddress(fmt.Sprintf("a%d@mail.example.org", i))).Want(201)
	}
	refused(h.call("POST", addresses, createAddress("more@mail.example.org")), 400, "400.1.4 Limit violation", "10 addresses")
	for _, id := range []string{"not-an-id", "v1", string(sender.NewID()), "..%2F..", "%00", strings.Repeat("a", 5000)} {
		refused(h.call("DELETE", addresses+"/"+id, ""), 404, "404 Not found", "")
	}
}

func TestFullQueueIsAShortWaitAndStoresNothing(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Send.QueueLimit = 0 })
	r := h.call("POST", addresses, createAddress("a@mail.example.org"))
	brief(r, 429, "message", " Rate Limit Exceeded ")
	if r.Header.Get("Retry-After") != "10" {
		t.Errorf("Retry-After is %q", r.Header.Get("Retry-After"))
	}
	if got := list(h.call("GET", addresses, ""), "email"); len(got) != 0 {
		t.Errorf("there is %v", got)
	}
}

func TestDeletedAddressIsGone(t *testing.T) {
	h := newHarness(t)
	id := h.call("POST", addresses, createAddress("a@mail.example.org")).Want(201).String("id")
	h.call("DELETE", addresses+"/"+id, "").Want(204)
	refused(h.call("DELETE", addresses+"/"+id, ""), 404, "404 Not found", "")
	if got := list(h.call("GET", addresses, ""), "id"); len(got) != 0 {
		t.Errorf("there is %v", got)
	}
}

func TestTwoTenantsSeeNothingOfOneAnother(t *testing.T) {
	h := newHarness(t)
	theirs := h.Tenant("other")
	other := h.as(h.Token(theirs, sender.RoleAdmin))
	address := other.call("POST", addresses, createAddress("a@mail.example.org")).Want(201).String("id")
	other.call("POST", domains, createDomain("mail.example.org")).Want(200)
	other.call("PUT", mailFrom, `{"identity":"mail.example.org","mailFromDomain":"bounce.mail.example.org"}`).Want(200)
	words := other.call("POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"de","subject":"theirs","body":"theirs"}`).Want(200).String("id")
	other.call("PUT", "/notification-preferences/v1/password_changed", `{"mediums":[]}`).Want(200)

	for _, path := range []string{addresses, domains, templates} {
		if got := list(h.call("GET", path, ""), "id"); len(got) != 0 {
			t.Errorf("%s: %v", path, got)
		}
	}
	refused(h.call("DELETE", addresses+"/"+address, ""), 404, "404 Not found", "")
	refused(h.call("GET", mailFrom+"/mail.example.org", ""), 404, "404 Not found", "")
	refused(h.call("GET", templates+"/"+words, ""), 404, "404 Not found", "")
	h.call("POST", templates+"/bulk-delete", `[{"key":"password_changed"}]`).Want(204)
	if got := h.call("GET", "/notification-preferences/v1/password_changed", "").Want(200); fmt.Sprint(got.At("mediums")) != "[EMAIL]" {
		t.Errorf("the other tenant's preference is here: %s", got.Body)
	}
	other.call("GET", templates+"/"+words, "").Want(200)
	h.call("POST", domains, createDomain("mail.example.org")).Want(200) // the name is free for both
	if id := h.call("POST", addresses, createAddress("a@mail.example.org")).Want(201).String("id"); id == address {
		t.Errorf("both have the address %s", id)
	}
	if got := h.call("POST", domains, createDomain("mail.example.org")).At("id"); got == other.call("POST", domains, createDomain("mail.example.org")).At("id") {
		t.Errorf("both have the domain %v", got)
	}
}

// A right that is missing is 403, by operation.
func TestRolesAreTheRights(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.call("PUT", mailFrom, `{"identity":"mail.example.org","mailFromDomain":"bounce.mail.example.org"}`).Want(200)
	address := h.call("POST", addresses, createAddress("keep@mail.example.org")).Want(201).String("id")
	words := h.call("POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"en"}`).Want(200).String("id")
	_, _, bound := h.Client(h.tenant, sender.RoleAdmin, d.ID)
	callers := map[string]*harness{
		"reader": h.as(h.Token(h.tenant, sender.RoleReader)), "sender": h.as(h.Token(h.tenant, sender.RoleSender)), "admin": h, "bound": h.as(bound),
	}
	for _, c := range []struct {
		method, path, body string
		may                string // besides admins
		status             int
	}{
		{"GET", addresses, "", "reader sender", 200},
		{"POST", addresses, createAddress("new@mail.example.org"), "", 201},
		{"GET", domains, "", "reader sender bound", 200},
		{"POST", domains, createDomain("new.example.org"), "", 200},
		{"GET", mailFrom + "/mail.example.org", "", "reader sender bound", 200},
		{"PUT", mailFrom, `{"identity":"mail.example.org","mailFromDomain":"bounce.mail.example.org"}`, "bound", 200},
		{"GET", templates, "", "reader sender", 200},
		{"GET", templates + "/" + words, "", "reader sender", 200},
		{"POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"en"}`, "", 200},
		{"GET", "/notification-template-defaults/v1", "", "reader sender", 200},
		{"GET", "/notification-template-context/v1", "", "reader sender", 200},
		{"GET", "/notification-template-variables/v1/password_changed/EMAIL", "", "reader sender", 200},
		{"GET", "/notification-preferences/v1", "", "reader sender", 200},
		{"GET", "/notification-preferences/v1/password_changed", "", "reader sender", 200},
		{"PUT", "/notification-preferences/v1/password_changed", `{"mediums":["EMAIL"]}`, "", 200},
		{"POST", "/send-test-notification/v1", `{"key":"password_changed","medium":"EMAIL","recipientEmailList":["x@example.org"]}`, "sender", 204},
		{"POST", templates + "/bulk-delete", `[{"key":"password_changed"}]`, "", 204},
		{"DELETE", addresses + "/" + address, "", "", 204},
	} {
		for _, name := range []string{"bound", "reader", "sender", "admin"} { // who may do it last
			r := callers[name].call(c.method, c.path, c.body)
			if name == "admin" || strings.Contains(c.may, name) {
				r.Want(c.status)
			} else {
				refused(r, 403, "403 Forbidden", "This credential")
			}
		}
	}
	_, key, err := h.Auth.CreateCredential(t.Context(), apitest.Operator, auth.NewCredential{Kind: sender.APIKey, Name: "operator", Operator: true})
	if err != nil {
		t.Fatal(err)
	}
	refused(h.as(key).call("GET", addresses, ""), 403, "403 Forbidden", "no tenant")
	_, key, err = h.Auth.CreateCredential(t.Context(), apitest.Operator, auth.NewCredential{
		Kind: sender.APIKey, Name: "key", Tenant: h.tenant.ID, Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: sender.RoleReader}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.as(key).call("GET", addresses, "").Want(200) // a key of the tenant is as good as a token
}

func TestLogHasNeitherSecretsNorPeople(t *testing.T) {
	h := newHarness(t)
	c, secret, _ := h.Client(h.tenant, sender.RoleAdmin, "")
	const person = "somebody.private"
	h.call("POST", addresses, createAddress(person+"@mail.example.org")).Want(201)
	h.call("GET", addresses+query("filters", `email eq "`+person+`@mail.example.org"`), "").Want(200)
	h.call("GET", addresses+query("filters", `"`+person), "").Want(400)
	h.call("GET", mailFrom+"/"+person+"@mail.example.org", "").Want(404)
	h.call("POST", "/send-test-notification/v1", `{"key":"password_changed","medium":"EMAIL","recipientEmailList":["`+person+`@example.org"],"context":{"x":"`+person+`"}}`).Want(204)
	h.call("POST", "/send-test-notification/v1", `{"key":"`+person+`","medium":"EMAIL"}`).Want(400)
	nobody := h.as("")
	nobody.call("POST", "/oauth/token"+query("grant_type", "client_credentials", "client_id", string(c.ID), "client_secret", string(secret)), "").Want(200)
	nobody.call("POST", "/oauth/token"+query("grant_type", "client_credentials", "client_id", string(c.ID), "client_secret", string(secret)+"x"), "").Want(401)
	log := h.Logged()
	for _, private := range []string{person, string(secret), string(h.token)} {
		if strings.Contains(log, private) {
			t.Errorf("the log has %q", private)
		}
	}
	for _, wanted := range []string{"v1 POST /verified-from-addresses", "v1 GET /mail-from-attributes/{identity}", "oauth POST /oauth/token", "dialect=sailpoint"} {
		if !strings.Contains(log, wanted) {
			t.Errorf("the log has no %q", wanted)
		}
	}
}
