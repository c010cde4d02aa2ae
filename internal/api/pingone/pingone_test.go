package pingone_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/pingone"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// harness is a tenant of the dialect, with an admin's token.
type harness struct {
	*apitest.Kit
	server *httptest.Server
	tenant sender.Tenant
	token  auth.Secret
	base   string // path of the environment
}

func newHarness(t *testing.T, tune ...func(*sender.Settings)) *harness {
	t.Helper()
	k := apitest.New(t, tune...)
	h := &harness{Kit: k, tenant: k.Tenant("demo")}
	h.server = k.Serve(pingone.New(pingone.Config{Service: k.Service, Auth: k.Auth, Log: k.Log}))
	h.token = k.Token(h.tenant, sender.RoleAdmin)
	h.base = "/v1/environments/" + string(h.tenant.ID)
	return h
}

func (h *harness) call(method, path, body string, header ...string) apitest.Reply {
	h.T.Helper()
	return apitest.Call(h.T, h.server, h.token, method, path, body, header...)
}

func (h *harness) domains() string               { return h.base + "/emailDomains" }
func (h *harness) domain(d sender.ID) string     { return h.domains() + "/" + string(d) }
func (h *harness) addresses(d sender.ID) string  { return h.domain(d) + "/trustedEmails" }
func (h *harness) address(d, a sender.ID) string { return h.addresses(d) + "/" + string(a) }
func createDomain(name string) string            { return fmt.Sprintf(`{"domainName":%q}`, name) }
func createAddress(name string) string           { return fmt.Sprintf(`{"emailAddress":%q}`, name) }
func wantDetail(t *testing.T, r apitest.Reply, code, target string) {
	t.Helper()
	r.Want(400)
	if c, d, at := r.String("code"), r.String("details.0.code"), r.String("details.0.target"); c != "INVALID_DATA" || d != code || at != target {
		t.Errorf("error %s with detail %s at %q, want INVALID_DATA with %s at %q; body %s", c, d, at, code, target, r.Body)
	}
}

func TestEveryBodyHasItsEnvironmentID(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	env := string(h.tenant.ID)
	for _, c := range []struct{ path, at string }{
		{h.domains(), "_embedded.emailDomains.0.environment.id"},
		{h.domain(d.ID), "environment.id"},
		{h.addresses(d.ID), "_embedded.trustedEmails.0.environment.id"},
	} {
		if got := h.call("GET", c.path, "").Want(200).String(c.at); got != env {
			t.Errorf("GET %s: %s = %q, want %q", c.path, c.at, got, env)
		}
	}
	for _, c := range []struct{ path, body string }{
		{h.domains(), createDomain("two.example.org")},
		{h.addresses(d.ID), createAddress("two@mail.example.org")},
	} {
		if got := h.call("POST", c.path, c.body).Want(201).String("environment.id"); got != env {
			t.Errorf("POST %s: environment.id = %q, want %q", c.path, got, env)
		}
	}
}

func TestEveryAddressHasItsDomainID(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	created := h.call("POST", h.addresses(d.ID), createAddress("noreply@mail.example.org")).Want(201)
	again := h.call("POST", h.addresses(d.ID), createAddress("noreply@mail.example.org")).Want(200)
	one := h.call("GET", h.address(d.ID, sender.ID(created.String("id"))), "").Want(200)
	for _, r := range []apitest.Reply{created, again, one} {
		if r.String("domain.id") != string(d.ID) || r.String("domainId") != string(d.ID) {
			t.Errorf("domain.id %q and domainId %q, want %q", r.String("domain.id"), r.String("domainId"), d.ID)
		}
	}
	if got := h.call("GET", h.addresses(d.ID), "").Want(200).String("_embedded.trustedEmails.0.domain.id"); got != string(d.ID) {
		t.Errorf("in the list: domain.id %q, want %q", got, d.ID)
	}
}

// Both clients know application/json and refuse hal+json, in errors too.
func TestEveryAnswerIsPlainJSONAndNeverAnEmpty200(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	a := h.Address(h.tenant, d, "noreply@mail.example.org")
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/environments", "", 200},
		{"GET", h.base, "", 200},
		{"GET", h.base + "/billOfMaterials", "", 200},
		{"GET", h.domains(), "", 200},
		{"GET", h.domain(d.ID), "", 200},
		{"GET", h.domain(d.ID) + "/ownership", "", 200},
		{"GET", h.domain(d.ID) + "/dkim", "", 200},
		{"GET", h.domain(d.ID) + "/spf", "", 200},
		{"GET", h.addresses(d.ID), "", 200},
		{"GET", h.address(d.ID, a.ID), "", 200},
		{"POST", h.addresses(d.ID), createAddress("noreply@mail.example.org"), 200},
		{"GET", h.base + "/templates", "", 200},
		{"GET", h.base + "/templates/general", "", 200},
		{"GET", h.base + "/templates/general/contents", "", 200},
		{"GET", h.base + "/notificationsSettings", "", 200},
		{"DELETE", h.base + "/notificationsSettings", "", 200},
		{"GET", h.base + "/templates/other", "", 404},
		{"GET", h.base + "/subscriptions", "", 200},
		{"GET", h.base + "/notificationPolicies", "", 404},
		{"GET", h.domain(d.ID) + "/mailFromDomain", "", 404},
		{"GET", "/v1/environments/" + strings.ToUpper(string(h.tenant.ID)), "", 404},
		{"PATCH", h.domain(d.ID), "{}", 405},
		{"POST", h.domains(), "{", 400},
		{"GET", h.domains() + "/", "", 404},
		{"GET", "/v1//environments", "", 404},
	} {
		r := h.call(c.method, c.path, c.body)
		if r.Status != c.status || r.Header.Get("Content-Type") != "application/json" || len(r.Body) == 0 || r.Body[0] != '{' {
			t.Errorf("%s %s: status %d, %s, body %q; want %d and a JSON object", c.method, c.path, r.Status, r.Header.Get("Content-Type"), r.Body, c.status)
		}
		if r.Status >= 400 && (r.String("id") == "" || r.String("code") == "" || r.String("message") == "") {
			t.Errorf("%s %s: an error without id, code or message: %s", c.method, c.path, r.Body)
		}
		if r.Header.Get("X-Request-Id") == "" || (r.Status >= 400 && r.Header.Get("X-Request-Id") != r.String("id")) {
			t.Errorf("%s %s: X-Request-Id %q does not lead to the error %s", c.method, c.path, r.Header.Get("X-Request-Id"), r.Body)
		}
	}
	r := h.call("DELETE", h.address(d.ID, a.ID), "").Want(204)
	if len(r.Body) != 0 {
		t.Errorf("204 with a body: %s", r.Body)
	}
}

func TestNamesAreEchoedAsTheyWereSentAndComparedInAnyCase(t *testing.T) {
	h := newHarness(t)
	r := h.call("POST", h.domains(), createDomain("Mail.Example.ORG")).Want(201)
	d := sender.ID(r.String("id"))
	if got := h.call("GET", h.domain(d), "").String("domainName"); r.String("domainName") != "Mail.Example.ORG" || got != "Mail.Example.ORG" {
		t.Errorf("the spelling became %q and %q", r.String("domainName"), got)
	}
	wantDetail(t, h.call("POST", h.domains(), createDomain("mail.example.org")), "UNIQUENESS_VIOLATION", "domainName")
	h.Publish(mustDomain(h, d), dnscheck.Ownership)
	h.call("GET", h.domain(d)+"/ownership", "").Want(200)
	a := h.call("POST", h.addresses(d), createAddress("NoReply@MAIL.example.org")).Want(201)
	if a.String("emailAddress") != "NoReply@MAIL.example.org" {
		t.Errorf("the spelling became %q", a.String("emailAddress"))
	}
	again := h.call("POST", h.addresses(d), createAddress("noreply@mail.EXAMPLE.org")).Want(200)
	if again.String("id") != a.String("id") || again.String("emailAddress") != "NoReply@MAIL.example.org" {
		t.Errorf("the existing address was answered as %s", again.Body)
	}
}

func mustDomain(h *harness, id sender.ID) sender.Domain {
	h.T.Helper()
	d, err := h.Service.Domain(h.T.Context(), apitest.Operator, h.tenant.ID, id)
	if err != nil {
		h.T.Fatal(err)
	}
	return d
}

func TestEnvironmentHasAFixedCreationTimeAndWordsTheClientsKnow(t *testing.T) {
	h := newHarness(t)
	first := h.call("GET", h.base, "").Want(200)
	second := h.call("GET", h.base, "").Want(200)
	if first.String("createdAt") == "" || first.String("createdAt") != second.String("createdAt") {
		t.Errorf("createdAt is %q and then %q", first.String("createdAt"), second.String("createdAt"))
	}
	for member, want := range map[string]string{"id": string(h.tenant.ID), "name": "demo", "type": "SANDBOX", "region": "NA", "organization.id": string(sender.DefaultOrganization)} {
		if got := first.String(member); got != want {
			t.Errorf("%s is %q, want %q", member, got, want)
		}
	}
	if _, ok := sender.ParseID(first.String("license.id")); !ok {
		t.Errorf("license.id %q is no UUID", first.String("license.id"))
	}
}

// The provider reads the environment after each refused call, with the same token.
func TestEveryCredentialOfTheTenantReadsItsEnvironment(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	_, _, bound := h.Client(h.tenant, sender.RoleAdmin, d.ID)
	for name, token := range map[string]auth.Secret{"reader": h.Token(h.tenant, sender.RoleReader), "sender": h.Token(h.tenant, sender.RoleSender), "bound": bound} {
		r := apitest.Call(t, h.server, token, "POST", h.domains(), createDomain("new.example.org")).Want(403)
		if r.String("code") != "ACCESS_FAILED" || r.String("details.0.code") != "INSUFFICIENT_PERMISSIONS" {
			t.Errorf("%s: refused with %s", name, r.Body)
		}
		if got := apitest.Call(t, h.server, token, "GET", h.base, "").Want(200).String("id"); got != string(h.tenant.ID) {
			t.Errorf("%s: reads the environment as %q", name, got)
		}
		apitest.Call(t, h.server, token, "GET", h.base+"/billOfMaterials", "").Want(200)
	}
}

func TestBoundCredentialSeesItsDomainOnly(t *testing.T) {
	h := newHarness(t)
	own, other := h.Domain(h.tenant, "own.example.org"), h.Domain(h.tenant, "other.example.org")
	_, _, token := h.Client(h.tenant, sender.RoleAdmin, own.ID)
	apitest.Call(t, h.server, token, "GET", h.domain(own.ID), "").Want(200)
	apitest.Call(t, h.server, token, "GET", h.domain(other.ID), "").Want(404)
	apitest.Call(t, h.server, token, "DELETE", h.domain(other.ID), "").Want(404)
	if r := apitest.Call(t, h.server, token, "GET", h.domains(), "").Want(200); r.At("count") != 1.0 || r.String("_embedded.emailDomains.0.id") != string(own.ID) {
		t.Errorf("the list is %s", r.Body)
	}
}

func TestAnotherTenantsThingsLookLikeNothing(t *testing.T) {
	h := newHarness(t)
	theirs := h.Tenant("other")
	d := h.Proven(theirs, "mail.example.org")
	a := h.Address(theirs, d, "noreply@mail.example.org")
	mine := h.Proven(h.tenant, "own.example.org")
	nothing := string(sender.NewID())
	their := "/v1/environments/" + string(theirs.ID)
	shape := func(r apitest.Reply) string {
		return fmt.Sprint(r.Status, r.Header.Get("Content-Type"), len(r.Header), strings.ReplaceAll(string(r.Body), r.String("id"), "ID"))
	}
	want := shape(h.call("GET", "/v1/environments/"+nothing, ""))
	for _, path := range []string{
		their, their + "/billOfMaterials", their + "/emailDomains", their + "/emailDomains/" + string(d.ID), their + "/emailDomains/" + string(d.ID) + "/ownership",
		h.domain(d.ID), h.domain(d.ID) + "/ownership", h.domain(d.ID) + "/dkim", h.domain(d.ID) + "/spf", h.addresses(d.ID), h.address(d.ID, a.ID),
		h.address(mine.ID, a.ID), h.domain(sender.ID(nothing)), h.address(mine.ID, sender.ID(nothing)), h.domain("not-an-id"), "/v1/environments/not-an-id",
	} {
		if got := shape(h.call("GET", path, "")); got != want {
			t.Errorf("GET %s\n got %s\nwant %s", path, got, want)
		}
	}
	for _, path := range []string{h.domain(d.ID), h.address(d.ID, a.ID), h.address(mine.ID, a.ID)} {
		if got := shape(h.call("DELETE", path, "")); got != want {
			t.Errorf("DELETE %s\n got %s\nwant %s", path, got, want)
		}
	}
	if r := h.call("GET", "/v1/environments", "").Want(200); r.At("count") != 1.0 {
		t.Errorf("environments of a stranger are listed: %s", r.Body)
	}
	// The name is free for both: DNS decides.
	h.call("POST", h.domains(), createDomain("mail.example.org")).Want(201)
}

func TestGoneIs404WithTheErrorBody(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	a := h.Address(h.tenant, d, "noreply@mail.example.org")
	h.call("DELETE", h.address(d.ID, a.ID), "").Want(204)
	if r := h.call("DELETE", h.address(d.ID, a.ID), "").Want(404); r.String("code") != "NOT_FOUND" {
		t.Errorf("the second delete of an address: %s", r.Body)
	}
	h.call("DELETE", h.domain(d.ID), "").Want(204)
	if r := h.call("DELETE", h.domain(d.ID), "").Want(404); r.String("code") != "NOT_FOUND" {
		t.Errorf("the second delete of a domain: %s", r.Body)
	}
	if r := h.call("GET", h.domain(d.ID), "").Want(404); r.String("code") != "NOT_FOUND" {
		t.Errorf("reading a deleted domain: %s", r.Body)
	}
}

func TestDomainWithAddressesIsNotDeleted(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	wantDetail(t, h.call("DELETE", h.domain(d.ID), ""), "INVALID_VALUE", "trustedEmails")
	h.call("GET", h.domain(d.ID), "").Want(200)
}

// The provider replaces the message by its own where it finds exactly this.
func TestAddressOfAnUnverifiedDomainIsInvalidValueOfTrustedEmail(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	wantDetail(t, h.call("POST", h.addresses(d.ID), createAddress("noreply@mail.example.org")), "INVALID_VALUE", "trustedEmail")
}

func TestNextReadAfterPublishingIsActive(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	for _, c := range []struct {
		path, status, kind string
		purpose            dnscheck.Purpose
	}{
		{"/ownership", "regions.2.status", "TXT", dnscheck.Ownership},
		{"/ownership", "environmentDnsRecord.status", "TXT", dnscheck.Environment},
		{"/dkim", "regions.2.status", "CNAME", dnscheck.DKIM},
		{"/spf", "status", "TXT", dnscheck.SPF},
	} {
		r := h.call("GET", h.domain(d.ID)+c.path, "").Want(200)
		if r.String(c.status) != "VERIFICATION_REQUIRED" || r.String("type") != c.kind {
			t.Errorf("%s before: %s", c.path, r.Body)
		}
		h.Publish(d, c.purpose)
		if c.purpose == dnscheck.SPF { // a record of the service's own zone, to be included
			h.DNS.Add(`_spf.service.example. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"`)
		}
		if r = h.call("GET", h.domain(d.ID)+c.path, "").Want(200); r.String(c.status) != "ACTIVE" {
			t.Errorf("%s after publishing: %s", c.path, r.Body)
		}
	}
}

func TestRegionNamesAreUniqueAndSorted(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	for _, path := range []string{"/ownership", "/dkim"} {
		r := h.call("GET", h.domain(d.ID)+path, "").Want(200)
		for i, want := range h.tenant.Regions {
			if got := r.String(fmt.Sprintf("regions.%d.name", i)); got != want {
				t.Errorf("%s: region %d is %q, want %q", path, i, got, want)
			}
		}
		if extra := r.At(fmt.Sprintf("regions.%d", len(h.tenant.Regions))); extra != nil {
			t.Errorf("%s: there is a region too many: %v", path, extra)
		}
	}
	if r := h.call("GET", h.domain(d.ID)+"/dkim", ""); r.String("regions.0.tokens.2.key") == "" || strings.HasSuffix(r.String("regions.0.tokens.2.value"), ".") {
		t.Errorf("tokens are not three names without a final dot: %s", r.Body)
	}
}

func TestContentTypeDecidesWhatHappensToAnAddress(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Code.ResendAfter = 0 })
	d := h.Proven(h.tenant, "mail.example.org")
	const address = "noreply@mail.example.org"
	a := h.call("POST", h.addresses(d.ID), createAddress(address)).Want(201)
	if a.String("status") != "VERIFICATION_REQUIRED" {
		t.Fatalf("a new address is %s", a.Body)
	}
	path := h.address(d.ID, sender.ID(a.String("id")))
	const resend, activate = "application/vnd.pingidentity.trustedEmail.sendVerificationCode+json", "application/vnd.pingidentity.trustedEmail.activate+json"

	for _, media := range []string{"", "application/json", "text/plain", "application/vnd.pingidentity.trustedEmail.sendVerificationCode"} {
		r := h.call("POST", path, `{"verificationCode":"x"}`, "Content-Type", media).Want(415)
		if r.String("code") == "" {
			t.Errorf("%q: %s", media, r.Body)
		}
	}
	h.call("POST", path, "", "Content-Type", resend).Want(200)
	h.call("POST", path, "", "Content-Type", strings.ToUpper(resend)+" ; charset=UTF-8").Want(200)
	if n := len(h.Mail.To(address)); n != 3 {
		t.Errorf("%d mails were sent, want 3", n)
	}
	wantDetail(t, h.call("POST", path, `{}`, "Content-Type", activate), "REQUIRED_VALUE", "verificationCode")
	wantDetail(t, h.call("POST", path, `{"verificationCode":"wrongone"}`, "Content-Type", activate), "INVALID_VALUE", "verificationCode")
	h.call("POST", path, ``, "Content-Type", activate).Want(400)
	r := h.call("POST", path, fmt.Sprintf(`{"verificationCode":%q}`, h.Mail.Code(t, address)), "Content-Type", strings.ToLower(activate)+";charset=utf-8").Want(201)
	if r.String("status") != "ACTIVE" {
		t.Errorf("after the code: %s", r.Body)
	}
	wantDetail(t, h.call("POST", path, "", "Content-Type", resend), "INVALID_VALUE", "emailAddress")
	wantDetail(t, h.call("POST", path, `{"verificationCode":"x"}`, "Content-Type", activate), "INVALID_VALUE", "verificationCode")
}

// 429 and 5xx would make the SDK hang for minutes.
func TestResendTooSoonIs400AndSaysWhen(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	a := h.call("POST", h.addresses(d.ID), createAddress("noreply@mail.example.org")).Want(201)
	r := h.call("POST", h.address(d.ID, sender.ID(a.String("id"))), "", "Content-Type", "application/vnd.pingidentity.trustedEmail.sendVerificationCode+json")
	wantDetail(t, r, "INVALID_VALUE", "emailAddress")
	if !strings.Contains(r.String("message"), "another can be sent at 20") {
		t.Errorf("the message does not say when: %s", r.Body)
	}
}

func TestEnvironmentRecordMakesNewAddressesActiveWithoutMail(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	h.Publish(d, dnscheck.Environment)
	h.call("GET", h.domain(d.ID)+"/ownership", "").Want(200)
	if r := h.call("POST", h.addresses(d.ID), createAddress("noreply@mail.example.org")).Want(201); r.String("status") != "ACTIVE" {
		t.Errorf("the address is %s", r.Body)
	}
	if n := len(h.Mail.To("noreply@mail.example.org")); n != 0 {
		t.Errorf("%d mails went out", n)
	}
}

func TestPagingLinksAreAbsoluteOnTheClientsHostAndEnd(t *testing.T) {
	h := newHarness(t)
	want := make(map[string]bool)
	for i := range 5 {
		want[fmt.Sprintf("d%d.example.org", i)] = true
		h.Domain(h.tenant, fmt.Sprintf("d%d.example.org", i))
	}
	const host = "api.pingone.example:8443"
	path, pages := h.domains()+"?limit=2&order=name", 0
	for ; path != "" && pages < 10; pages++ {
		r := h.call("GET", path, "", "Host", host).Want(200)
		if r.At("count") != 5.0 {
			t.Errorf("count is %v, want 5", r.At("count"))
		}
		for i := range 2 {
			delete(want, r.String(fmt.Sprintf("_embedded.emailDomains.%d.domainName", i)))
		}
		next := r.String("_links.next.href")
		if links, _ := r.At("_links").(map[string]any); next == "" && links["next"] != nil {
			t.Errorf("the last page has a next: %s", r.Body)
		}
		if next != "" && (!strings.HasPrefix(next, "http://"+host+"/v1/environments/") || !strings.Contains(next, "limit=2") || !strings.Contains(next, "order=name") || !strings.Contains(next, "cursor=")) {
			t.Errorf("next is %q", next)
		}
		path = strings.TrimPrefix(next, "http://"+host)
	}
	if pages != 3 || len(want) != 0 {
		t.Errorf("%d pages, missing %v", pages, want)
	}
	if r := h.call("GET", h.domains(), "").Want(200); r.At("size") != 5.0 || r.At("_links.next") != nil {
		t.Errorf("without a limit: %s", r.Body)
	}
	for query, target := range map[string]string{"limit=0": "limit", "limit=-1": "limit", "limit=": "limit", "limit=x": "limit", "cursor=": "cursor", "cursor=AAAA": "cursor", "cursor=..": "cursor"} {
		wantDetail(t, h.call("GET", h.domains()+"?"+query, ""), "INVALID_VALUE", target)
	}
	h.call("GET", h.domains()+"?limit=99999999", "").Want(200)
	h.call("GET", h.domains()+"?a=%zz", "").Want(400)
}

func TestEmptyListHasItsEmbeddedMember(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	if r := h.call("GET", h.addresses(d.ID), "").Want(200); r.At("_embedded.trustedEmails") == nil || r.At("count") != 0.0 || r.At("size") != 0.0 {
		t.Errorf("an empty list is %s", r.Body)
	}
}

func TestLinksFollowForwardedProtoOnlyWhenTrusted(t *testing.T) {
	h := newHarness(t)
	trusting := h.Serve(pingone.New(pingone.Config{Service: h.Service, Auth: h.Auth, Log: h.Log, Origin: api.Origin{TrustForwardedProto: true}}))
	for _, c := range []struct {
		server *httptest.Server
		proto  string
		want   string
	}{{h.server, "https", "http://"}, {trusting, "https", "https://"}, {trusting, "javascript", "http://"}, {trusting, "", "http://"}} {
		r := apitest.Call(t, c.server, h.token, "GET", h.base, "", "X-Forwarded-Proto", c.proto).Want(200)
		if got := r.String("_links.self.href"); !strings.HasPrefix(got, c.want) {
			t.Errorf("X-Forwarded-Proto %q: link %q, want %s", c.proto, got, c.want)
		}
	}
	r := h.call("GET", h.base, "", "Host", "evil.example/path").Want(400)
	if strings.Contains(string(r.Body), "evil") {
		t.Errorf("a bad host is echoed: %s", r.Body)
	}
}

func TestEnvironmentFilters(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{"Shop", "shop two", `quo"te`} {
		h.Tenant(name)
	}
	_, key, err := h.Auth.CreateCredential(t.Context(), apitest.Operator, auth.NewCredential{Kind: sender.APIKey, Name: "operator", Operator: true})
	if err != nil {
		t.Fatal(err)
	}
	get := func(filter string) apitest.Reply {
		return apitest.Call(t, h.server, key, "GET", "/v1/environments?limit=10&filter="+strings.NewReplacer(" ", "%20", `"`, "%22", `\`, "%5C").Replace(filter), "")
	}
	for filter, count := range map[string]float64{`name sw "shop"`: 2, `name eq "SHOP"`: 1, `name sw ""`: 4, `name co "HOP"`: 2, `name pr and id pr`: 4, `name sw "shop" AND name ne "shop"`: 1, `id eq "` + string(h.tenant.ID) + `"`: 1, `name eq "quo\"te"`: 1, `NAME EQ "none"`: 0} {
		if r := get(filter).Want(200); r.At("count") != count || r.At("size") != count {
			t.Errorf("%s: %v found, want %v", filter, r.At("count"), count)
		}
	}
	for _, filter := range []string{"", "name", `name gt "x"`, `name sw x`, `region eq "x"`, `name sw "a" and`, `name eq "a"and name eq "b"`, `name sw "a" or name sw "b"`, `name sw "a\"`} {
		wantDetail(t, get(filter), "INVALID_VALUE", "filter")
	}
	r := apitest.Call(t, h.server, key, "GET", "/v1/environments?limit=3", "").Want(200)
	if r.At("count") != 4.0 || r.At("size") != 3.0 || r.String("_links.next.href") == "" {
		t.Errorf("the first page is %s", r.Body)
	}
	if r = apitest.Call(t, h.server, key, "GET", r.String("_links.next.href"), "").Want(200); r.At("size") != 1.0 || r.At("_links.next") != nil {
		t.Errorf("the last page is %s", r.Body)
	}
}

func TestLimitsAndUniquenessHoldUnderParallelCreation(t *testing.T) {
	h := newHarness(t)
	var wg sync.WaitGroup
	statuses := make([]int, 60)
	for i := range statuses {
		wg.Go(func() {
			r := h.call("POST", h.domains(), createDomain(fmt.Sprintf("d%d.example.org", i)))
			statuses[i] = r.Status
			if r.Status == 400 && (r.String("details.0.code") != "LIMIT_EXCEEDED" || r.String("details.0.target") != "emailDomains") {
				t.Errorf("refused with %s", r.Body)
			}
		})
	}
	wg.Wait()
	made := 0
	for _, s := range statuses {
		if s == 201 {
			made++
		}
	}
	if made != 50 {
		t.Errorf("%d domains were made, want 50", made)
	}
	d := h.Proven(h.Tenant("second"), "mail.example.org")
	token := h.Token(sender.Tenant{ID: d.Tenant}, sender.RoleAdmin)
	path := "/v1/environments/" + string(d.Tenant) + "/emailDomains/" + string(d.ID) + "/trustedEmails"
	for i := range 10 {
		apitest.Call(t, h.server, token, "POST", path, createAddress(fmt.Sprintf("a%d@mail.example.org", i))).Want(201)
	}
	wantDetail(t, apitest.Call(t, h.server, token, "POST", path, createAddress("a10@mail.example.org")), "LIMIT_EXCEEDED", "trustedEmails")
	apitest.Call(t, h.server, token, "POST", path, createAddress("a9@mail.example.org")).Want(200)
}

func TestFullQueueIs400AndStoresNothing(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Send.QueueLimit = 0 })
	d := h.Proven(h.tenant, "mail.example.org")
	r := h.call("POST", h.addresses(d.ID), createAddress("noreply@mail.example.org")).Want(400)
	if r.String("code") != "INVALID_DATA" || !strings.Contains(r.String("message"), "full") {
		t.Errorf("refused with %s", r.Body)
	}
	if r = h.call("GET", h.addresses(d.ID), "").Want(200); r.At("count") != 0.0 {
		t.Errorf("the address was stored: %s", r.Body)
	}
}

func TestBadRequestsAreToldInTheDialectsWords(t *testing.T) {
	h := newHarness(t)
	big := `{"domainName":"` + strings.Repeat("x", api.MaxBody) + `"}`
	for _, c := range []struct {
		name, body, media string
		status            int
		code, detail      string
		target            string
	}{
		{"empty body", "", "application/json", 400, "INVALID_REQUEST", "", ""},
		{"broken", `{"domainName":`, "application/json", 400, "INVALID_REQUEST", "", ""},
		{"null for an object", "null", "application/json", 400, "INVALID_REQUEST", "", ""},
		{"not an object", `["x"]`, "application/json", 400, "INVALID_REQUEST", "", ""},
		{"trailing garbage", `{"domainName":"a.example.org"}x`, "application/json", 400, "INVALID_REQUEST", "", ""},
		{"two values", `{"domainName":"a.example.org"}{}`, "application/json", 400, "INVALID_REQUEST", "", ""},
		{"duplicate member", `{"domainName":"a.example.org","domainName":"b.example.org"}`, "application/json", 400, "INVALID_REQUEST", "", ""},
		{"invalid UTF-8", "{\"domainName\":\"a\xff.example.org\"}", "application/json", 400, "INVALID_REQUEST", "", ""},
		{"wrong type", `{"domainName":1}`, "application/json", 400, "INVALID_DATA", "INVALID_VALUE", "domainName"},
		{"missing", `{}`, "application/json", 400, "INVALID_DATA", "REQUIRED_VALUE", "domainName"},
		{"null", `{"domainName":null}`, "application/json", 400, "INVALID_DATA", "REQUIRED_VALUE", "domainName"},
		{"wrong case", `{"domainname":"a.example.org"}`, "application/json", 400, "INVALID_DATA", "REQUIRED_VALUE", "domainName"},
		{"wildcard", `{"domainName":"*.example.org"}`, "application/json", 400, "INVALID_DATA", "INVALID_VALUE", "domainName"},
		{"a path", `{"domainName":"example.org/x"}`, "application/json", 400, "INVALID_DATA", "INVALID_VALUE", "domainName"},
		{"too large", big, "application/json", 413, "INVALID_REQUEST", "", ""},
		{"form", "domainName=a.example.org", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE", "", ""},
		{"no media type", `{"domainName":"a.example.org"}`, "", 415, "UNSUPPORTED_MEDIA_TYPE", "", ""},
	} {
		r := h.call("POST", h.domains(), c.body, "Content-Type", c.media)
		if r.Status != c.status || r.String("code") != c.code || r.String("details.0.code") != c.detail || r.String("details.0.target") != c.target {
			t.Errorf("%s: status %d, %.300s", c.name, r.Status, r.Body)
		}
	}
	h.call("POST", h.domains(), `{"domainName":"ok.example.org","unknown":{"is":"tolerated"}}`+"\n", "Content-Type", "APPLICATION/JSON; charset=UTF-8").Want(201)
}

func TestWrongMethodsAre405AndNameTheRightOnes(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	for path, allow := range map[string]string{
		h.domain(d.ID):                          "DELETE, GET, HEAD",
		h.domains():                             "GET, HEAD, POST",
		h.base + "/billOfMaterials":             "GET, HEAD",
		h.base + "/templates":                   "GET, HEAD",
		h.base + "/templates/general/contents":  "DELETE, GET, HEAD, PATCH, POST",
		h.addresses(d.ID):                       "GET, HEAD, POST",
		"/" + string(h.tenant.ID) + "/as/token": "POST",
	} {
		r := h.call("PUT", path, "{}").Want(405)
		if r.Header.Get("Allow") != allow || r.String("code") != "METHOD_NOT_ALLOWED" {
			t.Errorf("PUT %s: Allow %q, want %q; %s", path, r.Header.Get("Allow"), allow, r.Body)
		}
	}
	if r := h.call("HEAD", h.domain(d.ID), "").Want(200); len(r.Body) != 0 || r.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d octets, Content-Length %q", len(r.Body), r.Header.Get("Content-Length"))
	}
}

func TestNoTokenIs401(t *testing.T) {
	h := newHarness(t)
	for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer x", "Basic eDp5", "Bearer " + strings.Repeat("x", 5000), "Bearer psk_0197a00000007000800000000000001c_x"} {
		r := apitest.Call(t, h.server, "", "GET", h.base, "", "Authorization", authorization).Want(401)
		if r.String("code") != "ACCESS_FAILED" || r.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%.20q: %s", authorization, r.Body)
		}
	}
}

func TestLogHoldsNoSecretsAndNoPeople(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	c, secret, token := h.Client(h.tenant, sender.RoleAdmin, "")
	const person = "jane.roe"
	a := h.call("POST", h.addresses(d.ID), createAddress(person+"@mail.example.org")).Want(201)
	path := h.address(d.ID, sender.ID(a.String("id")))
	code := h.Mail.Code(t, person+"@mail.example.org")
	h.call("GET", path+"?who="+person, "").Want(200)
	h.call("GET", h.domains()+"/"+person+"@mail.example.org", "").Want(404)
	h.call("POST", h.addresses(d.ID), createAddress(person+"@elsewhere.example")).Want(400)
	h.call("POST", h.addresses(d.ID), `{"emailAddress":{"`+person+`":1}}`).Want(400)
	h.call("POST", h.addresses(d.ID), `{"`+person+`":1,"`+person+`":1}`).Want(400)
	h.call("POST", path, `{"verificationCode":"`+code+`x"}`, "Content-Type", "application/vnd.pingidentity.trustedEmail.activate+json").Want(400)
	h.call("POST", path, `{"verificationCode":"`+code+`"}`, "Content-Type", "application/vnd.pingidentity.trustedEmail.activate+json").Want(201)
	apitest.Call(t, h.server, token, "GET", h.base, "").Want(200)
	login(t, h, string(h.tenant.ID), "grant_type=client_credentials&client_id="+string(c.ID)+"&client_secret="+string(secret), "").Want(200)
	login(t, h, string(h.tenant.ID), "grant_type=client_credentials&client_id="+string(c.ID)+"&client_secret=x"+string(secret), "").Want(401)
	login(t, h, string(h.tenant.ID), person+"=1&"+person+"=2", "").Want(400)
	h.Log.Info("a careless line", "secret", secret, "token", token)

	log := h.Logged()
	if !strings.Contains(log, "route=") || !strings.Contains(log, "why=") {
		t.Fatalf("the log has no access lines:\n%s", log)
	}
	for what, s := range map[string]string{"a person": person, "a code": code, "a client secret": string(secret), "a token": string(token), "an admin's token": string(h.token), "a query": "who="} {
		if strings.Contains(log, s) {
			t.Errorf("the log holds %s", what)
		}
	}
}

func TestMailFromDomainTakesTheSPFRecordWithIt(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.domain(d.ID) + "/mailFromDomain"
	set := func(name string) apitest.Reply { return h.call("PUT", path, `{"mailFrom":{"domain":"`+name+`"}}`) }
	if r := set("bounce.mail.example.org"); r.Status != 400 || r.String("code") != "INVALID_DATA" || r.String("details.0.target") != "mailFrom" {
		t.Errorf("before the ownership is proven: %d %s", r.Status, r.Body)
	}
	h.call("GET", path, "").Want(404)
	h.Publish(d, dnscheck.Ownership)
	h.call("GET", h.domain(d.ID)+"/ownership", "").Want(200)
	for name, status := range map[string]int{"": 400, "mail.example.org": 400, "bounce.example.org": 400} {
		set(name).Want(status)
	}
	r := set("Bounce.mail.example.org").Want(200)
	if r.String("type") != "MX" || r.String("status") != "VERIFICATION_REQUIRED" || r.String("key") != "bounce.mail.example.org" || r.String("value") == "" || r.At("priority") != 10.0 {
		t.Errorf("set: %s", r.Body)
	}
	spf := h.call("GET", h.domain(d.ID)+"/spf", "").Want(200)
	if spf.String("key") != "bounce.mail.example.org" || spf.String("status") != "VERIFICATION_REQUIRED" || spf.String("value") == "" {
		t.Errorf("its SPF record: %s", spf.Body)
	}
	h.DNS.Add("bounce.mail.example.org. 60 IN MX 10 "+r.String("value")+".", `bounce.mail.example.org. 60 IN TXT "`+spf.String("value")+`"`)
	for _, part := range []string{path, h.domain(d.ID) + "/spf"} {
		if r := h.call("GET", part, "").Want(200); r.String("status") != "ACTIVE" {
			t.Errorf("%s: %s", part, r.Body)
		}
	}
	h.call("DELETE", path, "").Want(204)
	h.call("GET", path, "").Want(404)
	h.call("DELETE", path, "").Want(404)
	if r := h.call("GET", h.domain(d.ID)+"/spf", "").Want(200); r.String("key") != "mail.example.org" {
		t.Errorf("the SPF record is back at %s", r.String("key"))
	}
}
