package sailpoint_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/sailpoint"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func basic(id, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
}

// families are the paths of a resource in every release; what is behind it follows.
func families(resource, behind string) []string {
	all := []string{"/" + resource + "/v1" + behind}
	for _, release := range []string{"beta", "v2024", "v2025", "v2026"} {
		all = append(all, "/"+release+"/"+resource+behind)
	}
	return append(all, "/"+resource+behind)
}

var experimental = []string{"X-SailPoint-Experimental", "true"}

func TestTrap01MultipartTokenRequest(t *testing.T) {
	h := newHarness(t)
	c, s, _ := h.Client(h.tenant, sender.RoleAdmin, "")
	body := "--x\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nclient_credentials\r\n--x\r\nContent-Disposition: form-data; name=\"client_id\"\r\n\r\n" + string(c.ID) +
		"\r\n--x\r\nContent-Disposition: form-data; name=\"client_secret\"\r\n\r\n" + string(s) + "\r\n--x--\r\n"
	r := apitest.Call(t, h.server, "", "POST", "/oauth/token", body, "Content-Type", "multipart/form-data; boundary=x").Want(200)
	h.as(auth.Secret(r.String("access_token"))).call("GET", addresses, "").Want(200)
}

func TestTrap02VersionOnEitherSideIsTheSameStore(t *testing.T) {
	h := newHarness(t)
	for i, path := range families("verified-from-addresses", "") {
		id := h.call("POST", path, createAddress(fmt.Sprintf("a%d@mail.example.org", i)), experimental...).Want(201).String("id")
		for _, other := range families("verified-from-addresses", "") {
			if got := list(h.call("GET", other, "", experimental...), "id"); len(got) != 1 || got[0] != id {
				t.Errorf("made at %s, listed at %s: %v", path, other, got)
			}
		}
		h.call("DELETE", families("verified-from-addresses", "/"+id)[i], "", experimental...).Want(204)
	}
	// v1 is a version and never an id; so is bulk-delete an operation.
	h.call("GET", "/verified-from-addresses/v1", "").Want(200)
	refused(h.call("DELETE", "/verified-from-addresses/v1/v1", ""), 404, "404 Not found", "")
	h.call("POST", "/notification-templates/v1/bulk-delete", `[]`).Want(204)
	h.call("POST", "/v2026/notification-templates/bulk-delete", `[]`).Want(204)
}

func TestTrap03UnfilledPlaceholders(t *testing.T) {
	h := newHarness(t)
	h.call("POST", domains, createDomain("mail.example.org")).Want(200)
	h.call("PUT", mailFrom, `{"identity":"mail.example.org","mailFromDomain":"bounce.mail.example.org"}`).Want(200)
	for _, path := range families("mail-from-attributes", "/") {
		for _, rest := range []string{
			"%7Bidentity%7D?id=two%2Bx%40mail.example.org", "%7BidentityId%7D?id=two%2Bx%40mail.example.org", "{identity}?identity=two+x@mail.example.org",
			"two+x@mail.example.org", "two%2Bx%40mail.example.org",
		} {
			if got := h.call("GET", path+rest, "", experimental...).Want(200).String("identity"); got != "two+x@mail.example.org" {
				t.Errorf("GET %s%s: identity %q", path, rest, got)
			}
		}
		refused(h.call("GET", path+"%7Bidentity%7D", "", experimental...), 400, "400.1.0 Required Data Missing Or Empty", "identity")
	}
	const sdk = "X-SailPoint-SDK"
	for _, c := range []struct {
		path, sdk string
		array     bool
	}{
		{"/beta/notification-preferences/%7Bkey%7D", "typescript-1.4.15", true},
		{"/beta/notification-preferences/%7Bkey%7D", "", true},
		{"/v2024/notification-preferences/%7Bkey%7D", "typescript-1.4.15", true},
		{"/v2024/notification-preferences/%7Bkey%7D", "", false},
		{"/v2025/notification-preferences/%7Bkey%7D", "", false},
		{"/v2026/notification-preferences/%7Bkey%7D", "", false},
		{"/beta/notification-preferences/password_changed", "typescript-1.4.15", true},
		{"/v2024/notification-preferences/%7Bkey%7D?key=password_changed", "typescript-1.4.15", true},
		{"/v2024/notification-preferences/password_changed", "typescript-1.4.15", false},
		{"/v2026/notification-preferences/password_changed", "", false},
	} {
		r := h.call("GET", c.path, "", sdk, c.sdk, experimental[0], experimental[1]).Want(200)
		if got := strings.HasPrefix(string(r.Body), "["); got != c.array {
			t.Errorf("%s for %q: %s", c.path, c.sdk, r.Body)
		}
	}
}

func TestTrap04StatusOfEachCreation(t *testing.T) {
	h := newHarness(t)
	for range 2 { // repeated, too
		h.call("POST", addresses, createAddress("a@mail.example.org")).Want(201)
		h.call("POST", domains, createDomain("mail.example.org")).Want(200)
		h.call("POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"en"}`).Want(200)
	}
}

func TestTrap05DomainInTheAnswerAndAddressInTheList(t *testing.T) {
	h := newHarness(t)
	created := h.call("POST", domains, createDomain("Mail.Example.org")).Want(200)
	if created.String("domain") != "Mail.Example.org" || created.At("address") != nil {
		t.Errorf("created: %s", created.Body)
	}
	listed := h.call("GET", domains, "").Want(200)
	if listed.String("0.address") != "Mail.Example.org" || listed.At("0.domain") != nil || listed.At("0.id") != created.At("id") {
		t.Errorf("listed: %s", listed.Body)
	}
}

func TestTrap06EveryBodyIsJSONAndSaysSo(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct {
		method, path, body string
	}{
		{"GET", addresses, ""}, {"POST", addresses, createAddress("a@mail.example.org")}, {"GET", domains, ""}, {"GET", templates, ""},
		{"GET", "/notification-template-defaults/v1", ""}, {"GET", "/notification-template-context/v1", ""}, {"GET", "/notification-preferences/v1", ""},
		{"GET", "/oauth/info", ""}, {"GET", "/v2026/nothing", ""}, {"PATCH", addresses, "{}"}, {"GET", "/v3/verified-from-addresses", ""}, {"POST", domains, "{"},
	} {
		r := h.call(c.method, c.path, c.body)
		if got := r.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: Content-Type %q", c.method, c.path, got)
		}
		r.At("") // it is JSON
		if len(r.Header.Get("SLPT-Request-ID")) != 32 {
			t.Errorf("%s %s: SLPT-Request-ID %q", c.method, c.path, r.Header.Get("SLPT-Request-ID"))
		}
	}
	for _, media := range []string{"application/json;charset=UTF-8", "Application/JSON"} {
		h.call("POST", addresses, createAddress("a@mail.example.org"), "Content-Type", media).Want(201)
	}
}

func TestTrap07EachStatusHasItsShape(t *testing.T) {
	h := newHarness(t)
	refused(h.call("POST", addresses, `{}`), 400, "400.1.0 Required Data Missing Or Empty", "email")
	for header, text := range map[string]string{"": "no access token", "Bearer ": "no access token", "Bearer": "no access token", "Basic eDp5": "none of ours", "Bearer x.y.z": "none of ours"} {
		r := apitest.Call(t, h.server, "", "GET", addresses, "", "Authorization", header)
		brief(r, 401, "error", "JWT validation failed: ")
		brief(r, 401, "error", text)
	}
	refused(h.as(h.Token(h.tenant, sender.RoleReader)).call("POST", addresses, createAddress("a@mail.example.org")), 403, "403 Forbidden", "role")
	refused(h.call("GET", templates+"/"+string(sender.NewID()), ""), 404, "404 Not found", "")
	for _, c := range []struct{ method, path, media, allow string }{
		{"PATCH", domains, "", "GET, HEAD, POST"}, {"GET", addresses + "/x", "", "DELETE"}, {"POST", domains, "text/plain", ""}, {"POST", domains, "", ""},
	} {
		header := []string{}
		if c.allow == "" {
			header = []string{"Content-Type", c.media}
		}
		r := h.call(c.method, c.path, `{}`, header...)
		var b map[string]string
		if err := json.Unmarshal(r.Want(405).Body, &b); err != nil || len(b) != 3 || b["errorName"] == "" || b["errorMessage"] == "" || len(b["trackingId"]) != 32 {
			t.Errorf("%s %s: %s", c.method, c.path, r.Body)
		}
		if got := r.Header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q", c.method, c.path, got)
		}
	}
}

// A client that repeats its request must find what the first one made.
func TestTrap08CreationIsSafeToRepeatAndNothingForeseeableIs5xx(t *testing.T) {
	h := newHarness(t)
	var wg sync.WaitGroup
	ids := make([]string, 12)
	for i := range ids {
		wg.Go(func() {
			email, name := "noreply@mail.example.org", "mail.example.org"
			if i%2 == 1 {
				email, name = "NoReply@MAIL.example.org", "MAIL.example.ORG"
			}
			ids[i] = h.call("POST", addresses, createAddress(email)).Want(201).String("id") + h.call("POST", domains, createDomain(name)).Want(200).String("id")
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("the same request made %s and %s", ids[0], id)
		}
	}
	if n := len(h.Mail.To("noreply@mail.example.org")); n != 1 {
		t.Errorf("%d mails went out", n)
	}
}

func TestTrap09TooManyRequestsAreToldHowLongToWait(t *testing.T) {
	h := newHarness(t)
	h.server = h.serve(sailpoint.Config{RateLimit: 3})
	for range 3 {
		h.call("GET", addresses, "").Want(200)
	}
	r := h.call("POST", addresses, createAddress("a@mail.example.org"))
	if b := string(r.Want(429).Body); b != `{"message":" Rate Limit Exceeded "}` {
		t.Errorf("the body is %s", b)
	}
	var seconds int
	if _, err := fmt.Sscanf(r.Header.Get("Retry-After"), "%d", &seconds); err != nil || seconds < 1 || seconds > 10 || fmt.Sprint(seconds) != r.Header.Get("Retry-After") {
		t.Errorf("Retry-After is %q", r.Header.Get("Retry-After"))
	}
	h.call("GET", "/v2026/verified-from-addresses", "").Want(200) // each release counts by itself
	h.as(h.Token(h.tenant, sender.RoleReader)).call("GET", addresses, "").Want(200)
	h.call("GET", "/oauth/info", "").Want(200)
	if got := list(h.call("GET", "/beta/verified-from-addresses", ""), "id"); len(got) != 0 {
		t.Errorf("the refused request made %v", got)
	}
}

// Go decodes into these types and gives up on others.
func TestTrap10MembersHaveTheTypesOfTheDocuments(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Publish(d, dnscheck.DKIM)
	strict := json.RejectUnknownMembers(true)
	var address struct {
		ID                 string  `json:"id"`
		Email              string  `json:"email"`
		IsVerifiedByDomain bool    `json:"isVerifiedByDomain"`
		VerificationStatus string  `json:"verificationStatus"`
		Region             *string `json:"region"`
	}
	if err := json.Unmarshal(h.call("POST", addresses, createAddress("a@mail.example.org")).Want(201).Body, &address, strict); err != nil {
		t.Error(err)
	}
	var domain struct {
		ID                     string   `json:"id"`
		Domain                 string   `json:"domain"`
		DKIMEnabled            bool     `json:"dkimEnabled"`
		DKIMTokens             []string `json:"dkimTokens"`
		DKIMVerificationStatus string   `json:"dkimVerificationStatus"`
		Region                 string   `json:"region"`
	}
	if err := json.Unmarshal(h.call("POST", domains, createDomain("mail.example.org")).Want(200).Body, &domain, strict); err != nil {
		t.Error(err)
	}
	if len(domain.DKIMTokens) != 3 || domain.Region != "ap-southeast-2" || domain.DKIMVerificationStatus != "SUCCESS" || !domain.DKIMEnabled {
		t.Errorf("the domain is %+v", domain)
	}
	same(t, "the tokens are those of the home region", domain.DKIMTokens, d.Tokens.Regions[0].DKIM)
}

func TestTrap11ListsAreArraysAndNeverNull(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{addresses, domains, templates, addresses + "?limit=0", domains + "?limit=0", "/notification-template-defaults/v1?limit=0"} {
		if b := string(h.call("GET", path, "").Want(200).Body); b != "[]" {
			t.Errorf("%s: %s", path, b)
		}
	}
}

func TestTrap12PagesAreFullWhileThereIsMore(t *testing.T) {
	h := newHarness(t)
	for i := range 5 {
		h.Domain(h.tenant, fmt.Sprintf("d%d.example.org", i))
	}
	for _, path := range []string{domains, "/notification-template-defaults/v1", "/notification-preferences/v1"} {
		all := h.call("GET", path, "").Want(200)
		member := map[bool]string{true: "address", false: "key"}[path == domains]
		want := list(all, member)
		for size := 1; size <= 7; size++ {
			var got []string
			for offset := 0; ; offset += size {
				page := list(h.call("GET", fmt.Sprintf("%s?limit=%d&offset=%d", path, size, offset), ""), member)
				got = append(got, page...)
				if len(page) < size {
					break
				}
			}
			same(t, fmt.Sprintf("%s by %d", path, size), got, want)
		}
	}
	h.call("GET", domains+"?count=maybe&filters=x&sorters=y", "").Want(200) // they have no meaning here
	refused(h.call("GET", domains+"?limit=251", ""), 400, "400.1.3 Illegal value", "250")
}

func TestTrap13TimesAreRFC3339(t *testing.T) {
	h := newHarness(t)
	h.call("PUT", "/notification-preferences/v1/password_changed", `{"mediums":["EMAIL"]}`).Want(200)
	words := h.call("POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"en"}`).Want(200)
	about := h.call("GET", "/notification-template-context/v1", "").Want(200)
	for _, at := range []string{
		words.String("created"), words.String("modified"), about.String("created"), about.String("modified"),
		h.call("GET", "/notification-preferences/v1/password_changed", "").String("modified"),
	} {
		if got, err := time.Parse(time.RFC3339, at); err != nil || !strings.HasSuffix(at, "Z") || time.Since(got) > time.Minute {
			t.Errorf("a time is %q", at)
		}
	}
}

func TestTrap14NoContentHasNoBody(t *testing.T) {
	h := newHarness(t)
	id := h.call("POST", addresses, createAddress("a@mail.example.org")).Want(201).String("id")
	for _, c := range []struct{ method, path, body string }{
		{"DELETE", addresses + "/" + id, ""}, {"POST", templates + "/bulk-delete", `[{"key":"password_changed"}]`},
		{"POST", "/send-test-notification/v1", `{"key":"password_changed","medium":"EMAIL","recipientEmailList":["x@example.org"]}`},
	} {
		r := h.call(c.method, c.path, c.body).Want(204)
		if len(r.Body) != 0 || r.Header.Get("Content-Type") != "" || r.Header.Get("Content-Length") != "" {
			t.Errorf("%s %s: %v %q", c.method, c.path, r.Header, r.Body)
		}
	}
}

func TestTrap15PathsAreDecodedOnceAndByTheSegment(t *testing.T) {
	h := newHarness(t)
	h.call("POST", domains, createDomain("mail.example.org")).Want(200)
	h.call("PUT", mailFrom, `{"identity":"mail.example.org","mailFromDomain":"bounce.mail.example.org"}`).Want(200)
	for path, want := range map[string]string{
		"a+b&c=d$e@mail.example.org": "a+b&c=d$e@mail.example.org", "a%2Fb@mail.example.org": "a/b@mail.example.org", "a%252Bb@mail.example.org": "a%2Bb@mail.example.org",
		"a%2bb%40mail.example.org": "a+b@mail.example.org", "mail.example.org": "mail.example.org", "MAIL.example.org": "MAIL.example.org", "x@deep.mail.example.org": "x@deep.mail.example.org",
	} {
		if got := h.call("GET", mailFrom+"/"+path, "").Want(200).String("identity"); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	refused(h.call("GET", mailFrom+"/a%20b@mail.example.org", ""), 400, "400.1.3 Illegal value", "local part")
	refused(h.call("GET", mailFrom+"/elsewhere.example", ""), 404, "404 Not found", "")
}

func TestTrap16AcceptIsNotJudged(t *testing.T) {
	h := newHarness(t)
	for _, accept := range []string{"application/json", "application/json, text/plain, */*", "text/html", "nonsense", ""} {
		h.call("GET", addresses, "", "Accept", accept).Want(200)
	}
}

func TestTrap17HeadersCountInAnyCase(t *testing.T) {
	h := newHarness(t)
	host := h.server.Listener.Addr().String()
	for _, name := range []string{"X-SailPoint-Experimental", "x-sailpoint-experimental", "X-SAILPOINT-EXPERIMENTAL"} {
		for value, status := range map[string]int{"true": 200, "TRUE": 200, "false": 400, "1": 400, "": 400} {
			r := exchange(t, host, "GET /v2024/verified-from-addresses HTTP/1.1\r\nHost: "+host+"\r\nauthorization: bearer "+string(h.token)+"\r\n"+name+": "+value+"\r\nConnection: close\r\n\r\n")
			if r.Status != status {
				t.Errorf("%s: %s: status %d, want %d", name, value, r.Status, status)
			}
		}
	}
	lax := h.serve(sailpoint.Config{IgnoreExperimental: true})
	for _, path := range families("verified-from-addresses", "") {
		want := map[bool]int{true: 200, false: 400}[strings.HasSuffix(path, "/v1") || strings.HasPrefix(path, "/beta") || strings.HasPrefix(path, "/v2026")]
		h.call("GET", path, "").Want(want)
		apitest.Call(t, lax, h.token, "GET", path, "").Want(200)
		h.call("GET", path, "", experimental...).Want(200)
	}
}

func TestTrap18AnswersArePlain(t *testing.T) {
	h := newHarness(t)
	r := h.call("GET", addresses, "", "Accept-Encoding", "gzip, compress, deflate, br").Want(200)
	if got := r.Header.Get("Content-Encoding"); got != "" || string(r.Body) != "[]" {
		t.Errorf("Content-Encoding %q, body %q", got, r.Body)
	}
}

func TestTrap19NothingIsRedirected(t *testing.T) {
	h := newHarness(t)
	client := h.server.Client()
	client.CheckRedirect = func(r *http.Request, _ []*http.Request) error { return fmt.Errorf("redirected to %s", r.URL) }
	for _, path := range []string{
		"/v2026/verified-from-addresses/", "/verified-from-addresses/v1/", "/v2026/Verified-From-Addresses", "/V2026/verified-from-addresses", "/Verified-From-Addresses/v1", "/verified-from-addresses/V1",
		"/v2026//verified-from-addresses", "/v2026/./verified-from-addresses", "/v2026/x/../verified-from-addresses", "/v2026", "/v2026/", "/v3/verified-from-addresses", "/v2023/verified-from-addresses",
		"/v2026/oauth/token", "/oauth", "/oauth/", "/oauth/token/", "/v2026/verified-from-addresses/v1/x", "/v2026/notification-preferences/", "/v2025/notification-template-variables/password_changed/EMAIL",
		"/v2025/notification-preferences", "/mail-from-attributes/v1/a/b", "/notification-template-variables/v1/password_changed", "/%76erified-from-addresses/v1",
	} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			r := h.call(method, path, "", experimental...)
			if r.Status == 405 && strings.HasSuffix(path, "/V1") { // an id, and only deleted
				continue
			}
			refused(r, 404, "404 Not found", "")
		}
	}
	for _, path := range []string{"//v2026/verified-from-addresses", "///verified-from-addresses/v1"} {
		list(h.call("GET", h.server.URL+path, ""), "id")
		h.call("POST", h.server.URL+path, createAddress("a@mail.example.org")).Want(201)
		h.call("DELETE", addresses+"/"+list(h.call("GET", addresses, ""), "id")[0], "").Want(204)
	}
	c, s, _ := h.Client(h.tenant, sender.RoleAdmin, "")
	apitest.Call(t, h.server, "", "POST", h.server.URL+"//oauth/token"+query("grant_type", "client_credentials", "client_id", string(c.ID), "client_secret", string(s)), "").Want(200)
}
