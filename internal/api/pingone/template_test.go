package pingone_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/pingone"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

func (h *harness) contents(name string) string { return h.base + "/templates/" + name + "/contents" }

// text is a content with some members changed; nil takes one away.
func text(change ...any) string {
	m := map[string]any{"locale": "en", "deliveryMethod": "Email", "body": "<p>Hello ${user.name.given}</p>"}
	for i := 0; i+1 < len(change); i += 2 {
		if m[change[i].(string)] = change[i+1]; change[i+1] == nil {
			delete(m, change[i].(string))
		}
	}
	b, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// The vendor's client knows these names, and no others.
func TestTemplatesAreTheVendorsSixteen(t *testing.T) {
	h := newHarness(t)
	want := strings.Fields(`credential_issued credential_revoked credential_updated credential_verification device_pairing digital_wallet_pairing
		email_verification_admin email_verification_user email_phone_verification general id_verification new_device_paired recovery_code_template
		strong_authentication transaction verification_code_template`)
	r := h.call("GET", h.base+"/templates", "").Want(200)
	var got []string
	for i := range want {
		at := fmt.Sprintf("_embedded.templates.%d.", i)
		got = append(got, r.String(at+"id"))
		if r.String(at+"displayName") == "" || r.At(at+"variables.user") != nil || r.String(at+"deliveryMethods.0") != "Email" || r.At(at+"deliveryMethods.1") != nil {
			t.Errorf("template %d: %s", i, r.Body)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || r.At("count") != 16.0 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for filter, count := range map[string]float64{`name sw "email_"`: 3, `name eq "GENERAL"`: 1, `deliveryMethods eq "SMS"`: 0, `displayName co "credential" and id ne "credential_issued"`: 3} {
		if r := h.call("GET", h.base+"/templates?filter="+query(filter), "").Want(200); r.At("count") != count {
			t.Errorf("%s: %v, want %v", filter, r.At("count"), count)
		}
	}
	// In pages, each once, following next verbatim.
	seen := 0
	for next := h.base + "/templates?limit=5"; next != ""; {
		r := h.call("GET", next, "").Want(200)
		seen += int(r.At("size").(float64))
		next = r.String("_links.next.href")
	}
	if seen != 16 {
		t.Errorf("%d templates in pages", seen)
	}
	one := h.call("GET", h.base+"/templates/device_pairing", "").Want(200)
	if b := string(one.Body); one.String("id") != "device_pairing" || !strings.Contains(b, `"otp":{"description":"One-time code.","required":true}`) || !strings.Contains(b, `"user.name.given"`) {
		t.Errorf("one template: %s", b)
	}
	h.call("GET", h.base+"/templates/Device_Pairing", "").Want(404)
	h.call("POST", h.base+"/templates", "{}").Want(405)
	h.call("DELETE", h.base+"/templates/general", "").Want(405)
}

func query(s string) string {
	return strings.NewReplacer(" ", "%20", `"`, "%22", `\`, "%5C").Replace(s)
}

func TestContentIsEchoedAsItWasSent(t *testing.T) {
	h := newHarness(t)
	const vendor = "noreply@pingidentity.com"
	for i, sent := range []string{
		text(),
		text("variant", "Spring Time", "subject", "  Hello ${user.name.given} ", "body", " <p>\r\n\t&amp; ü</p> \n", "charset", "UTF-8", "emailContentType", "text/html"),
		text("variant", "all", "charset", "iso-8859-1", "emailContentType", "text/plain", "from", map[string]string{"name": "PingOne", "address": vendor}, "replyTo", map[string]string{"name": `Ms. "Q" \ Müller <x>`, "address": "NoReply@PingIdentity.com"}),
		text("variant", "address", "locale", "pt_br", "from", map[string]string{"address": vendor}, "replyTo", map[string]string{"name": "", "address": vendor}),
		text("variant", "blanks", "locale", "DE", "from", map[string]string{"name": "  two  blanks ", "address": vendor}),
	} {
		r := h.call("POST", h.contents("general"), sent).Want(201)
		again := h.call("GET", h.contents("general")+"/"+r.String("id"), "").Want(200)
		put := h.call("PUT", h.contents("general")+"/"+r.String("id"), sent).Want(200)
		for _, r := range []apitest.Reply{r, again, put} {
			var want, got map[string]any
			if err := json.Unmarshal([]byte(sent), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(r.Body, &got); err != nil {
				t.Fatal(err)
			}
			if got["default"] != false || got["environment"].(map[string]any)["id"] != string(h.tenant.ID) || got["createdAt"] == "" {
				t.Errorf("%d: %s", i, r.Body)
			}
			for _, name := range []string{"_links", "id", "environment", "template", "default", "createdAt", "updatedAt"} {
				delete(got, name)
			}
			for name, d := range map[string]string{"charset": "UTF-8", "emailContentType": "text/html"} {
				if want[name] == nil {
					want[name] = d
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d (-sent +answered):\n%s", i, diff)
			}
		}
	}
}

func TestBadContentsAreRefused(t *testing.T) {
	h := newHarness(t)
	h.call("POST", h.contents("general"), text("variant", "Taken")).Want(201)
	mine := h.call("POST", h.contents("general"), text("variant", "mine")).Want(201).String("id")
	for _, c := range []struct{ name, body, code, target string }{
		{"no locale", text("locale", nil), "REQUIRED_VALUE", "locale"},
		{"unknown locale", text("locale", "xx-"), "INVALID_VALUE", "language"},
		{"no method", text("deliveryMethod", nil), "REQUIRED_VALUE", "deliveryMethod"},
		{"SMS", text("deliveryMethod", "SMS", "content", "x"), "INVALID_VALUE", "deliveryMethod"},
		{"another case", text("deliveryMethod", "email"), "INVALID_VALUE", "deliveryMethod"},
		{"WhatsApp", text("deliveryMethod", "WhatsApp"), "INVALID_VALUE", "deliveryMethod"},
		{"no body", text("body", nil), "REQUIRED_VALUE", "body"},
		{"empty body", text("body", ""), "REQUIRED_VALUE", "body"},
		{"a body over 100 kB", text("body", strings.Repeat("x", 100<<10+1)), "INVALID_VALUE", "body"},
		{"empty subject", text("subject", ""), "INVALID_VALUE", "subject"},
		{"long subject", text("subject", strings.Repeat("ü", 257)), "INVALID_VALUE", "subject"},
		{"a subject of two lines", text("subject", "a\r\nBcc: b@example.net"), "INVALID_VALUE", "subject"},
		{"a type of body", text("emailContentType", "text/calendar"), "INVALID_VALUE", "emailContentType"},
		{"unknown charset", text("charset", "klingon"), "INVALID_VALUE", "charset"},
		{"long variant", text("variant", strings.Repeat("x", 101)), "INVALID_VALUE", "variant"},
		{"variant that is there, in another case", text("variant", "tAKEN"), "UNIQUENESS_VIOLATION", "variant"},
		{"sender that is not trusted", text("from", map[string]string{"address": "x@example.org"}), "INVALID_VALUE", "from"},
		{"answers to who is not trusted", text("replyTo", map[string]string{"address": "x@example.org"}), "INVALID_VALUE", "replyTo"},
		{"sender without an address", text("from", map[string]string{"name": "x"}), "REQUIRED_VALUE", "from.address"},
		{"sender with a header", text("from", map[string]string{"name": "x\r\nBcc: y", "address": "noreply@pingidentity.com"}), "INVALID_VALUE", "from"},
		{"two senders", text("from", map[string]string{"address": `"a" <noreply@pingidentity.com>`}), "INVALID_VALUE", "from.address"},
		{"wrong type", text("body", 1), "INVALID_VALUE", "body"},
	} {
		wantDetail(t, h.call("POST", h.contents("general"), c.body), c.code, c.target)
		if t.Failed() {
			t.Fatalf("that was: %s", c.name)
		}
		wantDetail(t, h.call("PUT", h.contents("general")+"/"+mine, c.body), c.code, c.target)
	}
	// A missing variable is told by its name; where it would be dropped it is missing.
	for _, body := range []string{"<p>${user.name.given}</p>", "<script>${otp}</script>"} {
		r := h.call("POST", h.contents("device_pairing"), text("body", body))
		wantDetail(t, r, "REQUIRED_VALUE", "body")
		if !strings.Contains(r.String("details.0.message"), "${otp}") {
			t.Errorf("the message is %s", r.String("details.0.message"))
		}
	}
	h.call("POST", h.contents("device_pairing"), text("body", "<b>${OTP}</b>")).Want(201)
	h.call("POST", h.contents("other"), text()).Want(404)
	h.call("POST", h.contents("general"), text(), "Content-Type", "text/plain").Want(415)
	wantDetail(t, h.call("PUT", h.contents("general")+"/"+mine, text("locale", "de")), "INVALID_VALUE", "language")
	h.call("PUT", h.contents("transaction")+"/"+mine, text()).Want(404)
	h.call("GET", h.contents("transaction")+"/"+mine, "").Want(404)
	h.call("DELETE", h.contents("transaction")+"/"+mine, "").Want(404)
}

func TestDefaultContentIsThereAndStays(t *testing.T) {
	h := newHarness(t)
	r := h.call("GET", h.contents("strong_authentication")+"?filter="+query(`default eq "true"`), "").Want(200)
	id := r.String("_embedded.contents.0.id")
	if r.At("count") != 1.0 || r.At("_embedded.contents.0.default") != true || r.At("_embedded.contents.0.from") != nil {
		t.Fatalf("the default content: %s", r.Body)
	}
	path := h.contents("strong_authentication") + "/" + id
	h.call("GET", path, "").Want(200)
	h.call("GET", h.contents("general")+"/"+id, "").Want(404)
	wantDetail(t, h.call("PUT", path, text()), "INVALID_VALUE", "default")
	wantDetail(t, h.call("DELETE", path, ""), "INVALID_VALUE", "default")
	// One's own of the same locale goes beside it.
	h.call("POST", h.contents("strong_authentication"), text()).Want(201)
	if r := h.call("GET", h.contents("strong_authentication"), "").Want(200); r.At("count") != 2.0 {
		t.Errorf("contents: %s", r.Body)
	}
}

// The vendor's choice at run time ends with the default content.
func TestDefaultContentIsTheLastResort(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.LastResort = pingone.DefaultContents() })
	send := func(f sender.Filling) (sender.Message, error) {
		f.To = "reader@example.net"
		return h.Service.SendFilled(t.Context(), apitest.Operator, h.tenant.ID, f, 0)
	}
	name := map[string]string{"user.name.given": "Zoë <b>"}
	m, err := send(sender.Filling{Type: "strong_authentication", Locale: "de-AT", Variant: "spring", Values: name, Code: "481516"})
	id := h.call("GET", h.contents("strong_authentication")+"?filter="+query(`default eq "true"`), "").Want(200).String("_embedded.contents.0.id")
	if err != nil || string(m.Template) != id || m.Locale != "en" || !m.Once || m.From != h.Service.SystemSender().Address {
		t.Errorf("it is %+v, %v; want one of the content %s", m, err, id)
	}
	for what, c := range map[string]struct {
		filling sender.Filling
		kind    sender.Kind
		field   string
	}{
		"no value":                    {sender.Filling{Type: "general"}, sender.Required, "values"},
		"no value for the credential": {sender.Filling{Type: "credential_issued", Values: name}, sender.Required, "values"},
		"no code":                     {sender.Filling{Type: "device_pairing", Values: name}, sender.Required, "code"},
		"a code among the values":     {sender.Filling{Type: "device_pairing", Values: map[string]string{"otp": "1"}}, sender.Invalid, "values"},
		"a code of two lines":         {sender.Filling{Type: "device_pairing", Values: name, Code: "1\n2"}, sender.Invalid, "code"},
		"a type of nobody":            {sender.Filling{Type: "other", Values: name}, sender.NotFound, "template"},
		"another letter case":         {sender.Filling{Type: "General", Values: name}, sender.NotFound, "template"},
		"an application's":            {sender.Filling{Type: "general", Application: sender.NewRandomID(), Values: name}, sender.NotFound, "template"},
	} {
		_, err := send(c.filling)
		if e, ok := errors.AsType[*sender.Error](err); !ok || e.Kind != c.kind || e.Field != c.field {
			t.Errorf("%s: %v, want %s on %s", what, err, c.kind, c.field)
		}
	}
	if _, err := send(sender.Filling{Type: "general", Values: map[string]string{"user.name.given": ""}}); err != nil {
		t.Errorf("a value that is empty is one: %v", err)
	}
	// One's own goes before it, in whatever locale of the choice, and may have gaps.
	own := h.call("POST", h.contents("general"), text("locale", "en", "body", "${nothing}")).Want(201).String("id")
	if m, err := send(sender.Filling{Type: "general", Locale: "fr"}); err != nil || string(m.Template) != own {
		t.Errorf("it is of the content %s, %v; want one's own", m.Template, err)
	}
}

func TestDefaultContentsAreInOrder(t *testing.T) {
	all := pingone.DefaultContents()
	if len(all) != 16 {
		t.Errorf("%d default contents, want 16", len(all))
	}
	for name, c := range all {
		code := strings.Contains(c.Body, "${otp}")
		if ws := template.Lint(template.Source{Subject: c.Subject, Body: c.Body, HTML: c.HTML, Text: template.PlainText(c.Body), WantCode: code}); len(ws) > 0 {
			t.Errorf("%s: %v", name, ws)
		}
	}
}

func TestContentsAreListedFilteredAndChangedInBulk(t *testing.T) {
	h := newHarness(t)
	for _, c := range [][2]string{{"en", "Spring"}, {"de", "spring"}, {"en", "autumn"}, {"de", ""}} {
		h.call("POST", h.contents("general"), text("locale", c[0], "variant", c[1])).Want(201)
	}
	count := func(filter string, want float64) {
		t.Helper()
		if r := h.call("GET", h.contents("general")+"?filter="+query(filter), "").Want(200); r.At("count") != want {
			t.Errorf("%s: %v, want %v", filter, r.At("count"), want)
		}
	}
	for filter, want := range map[string]float64{
		`variant eq "SPRING"`: 2, `variant eq "spring" and locale eq "de"`: 1, `deliveryMethod eq "Email"`: 5, `deliveryMethod eq "SMS"`: 0, `variant pr`: 3, `locale sw "d"`: 2,
	} {
		count(filter, want)
	}
	for _, filter := range []string{"", "x", `body co "x"`, `variant eq "a" or variant eq "b"`} {
		wantDetail(t, h.call("GET", h.contents("general")+"?filter="+query(filter), ""), "INVALID_VALUE", "filter")
	}
	seen := map[string]bool{}
	for next := h.contents("general") + "?limit=2"; next != ""; {
		r := h.call("GET", next, "").Want(200)
		for i := range int(r.At("size").(float64)) {
			seen[r.String(fmt.Sprintf("_embedded.contents.%d.id", i))] = true
		}
		next = r.String("_links.next.href")
	}
	if len(seen) != 5 {
		t.Errorf("%d contents in pages", len(seen))
	}

	bulk := func(method, filter, body string) apitest.Reply {
		return h.call(method, h.contents("general")+"?filter="+query(filter), body)
	}
	for _, method := range []string{"PATCH", "DELETE"} {
		body := map[string]string{"PATCH": `{"variant":"x"}`}[method]
		wantDetail(t, h.call(method, h.contents("general"), body), "REQUIRED_VALUE", "filter")
		wantDetail(t, bulk(method, `locale eq "en"`, body), "INVALID_VALUE", "filter")
		wantDetail(t, bulk(method, `variant ne "x"`, body), "INVALID_VALUE", "filter")
		bulk(method, `variant eq "unknown"`, body).Want(404)
	}
	wantDetail(t, bulk("PATCH", `variant eq "spring"`, `{}`), "REQUIRED_VALUE", "variant")
	wantDetail(t, bulk("PATCH", `variant eq "spring"`, `{"variant":"Autumn"}`), "UNIQUENESS_VIOLATION", "variant")
	count(`variant eq "spring"`, 2) // all or none
	if r := bulk("PATCH", `variant eq "spring"`, `{"variant":"Summer"}`).Want(200); r.At("count") != 2.0 || r.String("_embedded.contents.0.variant") != "Summer" {
		t.Errorf("renamed: %s", r.Body)
	}
	bulk("DELETE", `variant eq "summer" and locale eq "de"`, "").Want(204)
	count(`variant eq "summer"`, 1)
	count(`variant pr`, 2)
	events, err := h.Service.Events(t.Context(), apitest.Operator, h.tenant.ID, sender.Page{})
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1]
	if last.Type != sender.EventTemplatesDeleted || last.Data["count"] != "1" || last.Data["type"] != "general" {
		t.Errorf("the last event is %+v", last)
	}
}

func TestReaderReadsContentsAndChangesNone(t *testing.T) {
	h := newHarness(t)
	id := h.call("POST", h.contents("general"), text("variant", "x")).Want(201).String("id")
	def := h.call("GET", h.contents("general")+"?filter="+query(`default eq "true"`), "").String("_embedded.contents.0.id")
	h.token = h.Token(h.tenant, sender.RoleReader)
	for _, path := range []string{h.base + "/templates", h.base + "/templates/general", h.contents("general"), h.contents("general") + "/" + id, h.base + "/notificationsSettings"} {
		h.call("GET", path, "").Want(200)
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", h.contents("general"), text()}, {"PUT", h.contents("general") + "/" + id, text()}, {"DELETE", h.contents("general") + "/" + id, ""},
		{"DELETE", h.contents("general") + "/" + def, ""},
		{"PATCH", h.contents("general") + "?filter=" + query(`variant eq "x"`), `{"variant":"y"}`}, {"DELETE", h.contents("general") + "?filter=" + query(`variant eq "x"`), ""},
		{"PUT", h.base + "/notificationsSettings", "{}"}, {"DELETE", h.base + "/notificationsSettings", ""},
		{"PUT", h.base, `{"name":"x"}`}, {"PUT", h.base + "/type", `{"type":"PRODUCTION"}`}, {"DELETE", h.base, ""}, {"POST", "/v1/environments", `{"name":"x"}`},
	} {
		r := h.call(c.method, c.path, c.body).Want(403)
		if r.String("code") != "ACCESS_FAILED" || r.String("details.0.code") != "INSUFFICIENT_PERMISSIONS" || strings.HasPrefix(r.String("message"), "The actor") || strings.HasPrefix(r.String("message"), "The request could") {
			t.Errorf("%s %s: %s", c.method, c.path, r.Body)
		}
	}
	// Another environment's are not there.
	other := h.Tenant("other")
	h.token = h.Token(other, sender.RoleAdmin)
	for _, path := range []string{h.base + "/templates", h.base + "/templates/general", h.contents("general"), h.contents("general") + "/" + id, h.contents("general") + "/" + def, h.base + "/notificationsSettings"} {
		h.call("GET", path, "").Want(404)
	}
	h.call("DELETE", "/v1/environments/"+string(other.ID)+"/templates/general/contents/"+id, "").Want(404)
	h.call("DELETE", h.base, "").Want(404)
}

func TestNotificationSettingsSpeakForContentsWithoutASender(t *testing.T) {
	h := newHarness(t)
	path := h.base + "/notificationsSettings"
	r := h.call("GET", path, "").Want(200)
	system := h.Service.SystemSender().Address
	if r.String("from.address") != system || r.String("environment.id") != string(h.tenant.ID) || r.String("deliveryMode") != "ALL" || r.At("replyTo") != nil || r.String("updatedAt") == "" {
		t.Errorf("at first: %s", r.Body)
	}
	d := h.Proven(h.tenant, "mail.example.org")
	settings := `{"deliveryMode":"ALL","from":{"name":"Shop","address":"Shop@mail.example.org"},"replyTo":{"address":"Shop@mail.example.org"},` +
		`"restrictions":{"smsVoiceQuota":{"daily":20}},"smsProvidersFallbackChain":["a","b"],"whitelist":[]}`
	wantDetail(t, h.call("PUT", path, settings), "INVALID_VALUE", "from")
	pending := h.call("POST", h.addresses(d.ID), createAddress("shop@mail.example.org")).Want(201)
	wantDetail(t, h.call("PUT", path, settings), "INVALID_VALUE", "from") // not active yet
	h.call("POST", h.address(d.ID, sender.ID(pending.String("id"))), fmt.Sprintf(`{"verificationCode":%q}`, h.Mail.Code(t, "shop@mail.example.org")), "Content-Type", "application/vnd.pingidentity.trustedEmail.activate+json").Want(201)
	for range 2 {
		h.call("PUT", path, settings).Want(200)
	}
	r = h.call("GET", path, "").Want(200)
	if r.String("from.name") != "Shop" || r.String("from.address") != "Shop@mail.example.org" || r.String("replyTo.address") != "Shop@mail.example.org" || r.At("replyTo.name") != nil ||
		r.At("restrictions.smsVoiceQuota.daily") != 20.0 || r.String("smsProvidersFallbackChain.1") != "b" {
		t.Errorf("after PUT: %s", r.Body)
	}
	h.call("POST", h.contents("general"), text("subject", "Hello")).Want(201)
	sent, err := h.Service.SendFilled(t.Context(), apitest.Operator, h.tenant.ID, sender.Filling{Type: "general", To: "reader@example.net"}, 0)
	if err != nil || sent.From != "shop@mail.example.org" || sent.ReplyTo != "shop@mail.example.org" {
		t.Errorf("mail is from %s, %v", sent.From, err)
	}
	for body, target := range map[string]string{
		`{"deliveryMode":"WHITELIST"}`: "deliveryMode", `{"whitelist":[{"user":{"id":"x"}}]}`: "whitelist", `{"from":{"address":"x@mail.example.org"}}`: "from",
		`{"replyTo":{"address":"x@mail.example.org"}}`: "replyTo", `{"restrictions":{"smsVoiceQuota":{"daily":"x"}}}`: "restrictions.smsVoiceQuota.daily",
	} {
		wantDetail(t, h.call("PUT", path, body), "INVALID_VALUE", target)
	}
	r = h.call("DELETE", path, "").Want(200)
	if r.String("from.address") != system || r.At("replyTo") != nil || r.At("restrictions") != nil {
		t.Errorf("after DELETE: %s", r.Body)
	}
	if sent, err = h.Service.SendFilled(t.Context(), apitest.Operator, h.tenant.ID, sender.Filling{Type: "general", To: "reader@example.net"}, 0); err != nil || sent.From != system {
		t.Errorf("then mail is from %s, %v", sent.From, err)
	}
	h.call("POST", path, "{}").Want(405)
}

// worker returns the token of a client with a role in the whole organization.
func (h *harness) worker(home sender.ID, role sender.Role) auth.Secret {
	h.T.Helper()
	c, secret, err := h.Auth.CreateCredential(h.T.Context(), apitest.Operator, auth.NewCredential{
		Kind: sender.OAuthClient, Name: "worker", Tenant: home, Grants: []sender.Grant{{Organization: sender.DefaultOrganization, Role: role}},
	})
	if err != nil {
		h.T.Fatal(err)
	}
	login, err := h.Auth.Token(h.T.Context(), home, string(c.ID), secret)
	if err != nil {
		h.T.Fatal(err)
	}
	return login.AccessToken
}

func TestWorkerOfTheOrganizationKeepsEnvironments(t *testing.T) {
	h := newHarness(t)
	tenantAdmin := h.token
	h.token = h.worker(h.tenant.ID, sender.RoleAdmin)
	r := h.call("POST", "/v1/environments", `{"name":"Made","description":"ignored","type":"SANDBOX","region":"EU","license":{"id":"0197a000-0000-7000-8000-000000000099"}}`).Want(201)
	id := r.String("id")
	if r.String("name") != "Made" || r.String("region") != "EU" || r.String("type") != "SANDBOX" || r.String("organization.id") != string(sender.DefaultOrganization) || r.String("license.id") == "" || r.String("createdAt") == "" {
		t.Errorf("made %s", r.Body)
	}
	path := "/v1/environments/" + id
	h.call("GET", path, "").Want(200)
	h.call("GET", path+"/billOfMaterials", "").Want(200)
	if r := h.call("GET", "/v1/environments?filter="+query(`name eq "made"`), "").Want(200); r.At("count") != 1.0 || r.String("_embedded.environments.0.id") != id {
		t.Errorf("listed %s", r.Body)
	}
	for body, want := range map[string][2]string{
		`{}`: {"REQUIRED_VALUE", "name"}, `{"name":"x","region":"MOON"}`: {"INVALID_VALUE", "region"}, `{"name":"x","type":"TOY"}`: {"INVALID_VALUE", "type"},
		`{"name":"x","region":"SG"}`: {"INVALID_VALUE", "region"}, `{"name":"` + strings.Repeat("x", 101) + `"}`: {"INVALID_VALUE", "name"}, `{"name":1}`: {"INVALID_VALUE", "name"},
	} {
		wantDetail(t, h.call("POST", "/v1/environments", body), want[0], want[1])
	}
	h.call("POST", "/v1/environments", `{"name":"x","organization":{"id":"0197a000-0000-7000-8000-000000000099"}}`).Want(403)
	wantDetail(t, h.call("PUT", path, `{"name":"x","region":"NA"}`), "INVALID_VALUE", "region")
	wantDetail(t, h.call("PUT", path, `{"region":"EU"}`), "REQUIRED_VALUE", "name")
	if r := h.call("PUT", path, `{"name":"Renamed","region":"EU","type":"PRODUCTION"}`).Want(200); r.String("name") != "Renamed" || r.String("type") != "PRODUCTION" {
		t.Errorf("changed: %s", r.Body)
	}
	wantDetail(t, h.call("PUT", path+"/type", `{}`), "REQUIRED_VALUE", "type")
	if r := h.call("PUT", path+"/type", `{"type":"SANDBOX"}`).Want(200); r.String("name") != "Renamed" || r.String("type") != "SANDBOX" {
		t.Errorf("of another type: %s", r.Body)
	}
	d := h.call("POST", path+"/emailDomains", createDomain("made.example.org")).Want(201)
	busy := h.call("DELETE", path, "")
	wantDetail(t, busy, "INVALID_VALUE", "environment")
	if !strings.Contains(busy.String("message"), "email domains") {
		t.Errorf("refused with %s", busy.Body)
	}
	h.call("DELETE", path+"/emailDomains/"+d.String("id"), "").Want(204)
	h.call("DELETE", path, "").Want(204)
	h.call("GET", path, "").Want(404)
	h.call("DELETE", path, "").Want(404)

	h.token = tenantAdmin
	h.call("POST", "/v1/environments", `{"name":"x"}`).Want(403)
	h.call("PUT", h.base, `{"name":"x"}`).Want(403)
	h.call("DELETE", h.base, "").Want(403)
	h.call("GET", h.base, "").Want(200)
}

func TestExternalIDsAreLogged(t *testing.T) {
	h := newHarness(t)
	h.call("GET", h.base, "", "X-Ping-External-Transaction-ID", "tx-1/a@b=c#d+e.f", "X-Ping-External-Session-ID", `se "x" `+strings.Repeat("y", 200)).Want(200)
	log := h.Logged()
	for _, want := range []string{`external_transaction="tx-1/a@b=c#d+e.f"`, "external_session=se__x__"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, strings.Repeat("y", 101)) {
		t.Error("the log has a session id of more than 100 characters")
	}
}
