package native_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

const letterFrom = "noreply@mail.example.org"

// correspondent is a harness whose tenant may write from letterFrom.
func correspondent(t *testing.T, tune ...func(*sender.Settings)) *harness {
	t.Helper()
	h := newHarness(t, tune...)
	h.Address(h.tenant, h.Proven(h.tenant, "mail.example.org"), letterFrom)
	return h
}

// letter is a template's body with these members instead of, or beside, its own.
func (h *harness) letter(members ...string) string {
	own := []string{`"type":"letter"`, `"from":"` + letterFrom + `"`, `"subject":"For ${who}"`, `"body":"Hello ${who}, your code is ${OTP}."`}
	var all []string
	for _, m := range own {
		name, _, _ := strings.Cut(m, ":")
		replaced := false
		for _, other := range members {
			replaced = replaced || strings.HasPrefix(other, name+":")
		}
		if !replaced {
			all = append(all, m)
		}
	}
	return "{" + strings.Join(append(all, members...), ",") + "}"
}

// template makes one and returns its id.
func (h *harness) template(body string) string {
	h.T.Helper()
	return h.call(h.admin, "POST", h.base+"/templates", body).Want(201).String("id")
}

func TestTemplateLivesFromItsMakingToItsDeletion(t *testing.T) {
	h := correspondent(t)
	r := h.call(h.admin, "POST", h.base+"/templates", h.letter()).Want(201)
	path := h.base + "/templates/" + r.String("id")
	if r.String("type") != "letter" || r.String("locale") != "en" || r.String("contentType") != "text/plain" || r.String("charset") != "utf-8" || r.String("from") != letterFrom ||
		r.String("subject") != "For ${who}" || r.At("application") != nil || r.At("replyTo") != nil || r.String("createdAt") == "" || r.String("createdAt") != r.String("updatedAt") {
		t.Errorf("made %s", r.Body)
	}
	if got := h.call(h.admin, "GET", path, "").Want(200); string(got.Body) != string(r.Body) {
		t.Errorf("read as %s, made as %s", got.Body, r.Body)
	}
	problem(t, h.call(h.admin, "POST", h.base+"/templates", h.letter()), 409, "conflict", "type")

	// Written anew as a whole: what is left out takes its default again.
	replaced := h.call(h.admin, "PUT", path, h.letter(`"type":"note"`, `"locale":"pt_br"`, `"from":"\"The Shop\" <`+letterFrom+`>"`, `"replyTo":"`+letterFrom+`"`,
		`"body":"<p>Olá ${who}</p>"`, `"contentType":"TEXT/HTML"`, `"charset":"ISO-8859-1"`)).Want(200)
	if replaced.String("id") != r.String("id") || replaced.String("type") != "note" || replaced.String("locale") != "pt-BR" || replaced.String("from") != `"The Shop" <`+letterFrom+`>` ||
		replaced.String("replyTo") != letterFrom || replaced.String("contentType") != "text/html" || replaced.String("charset") != "iso-8859-1" || replaced.String("createdAt") != r.String("createdAt") {
		t.Errorf("replaced by %s", replaced.Body)
	}
	if got := h.call(h.admin, "GET", path, "").Want(200); string(got.Body) != string(replaced.Body) {
		t.Errorf("read as %s, replaced by %s", got.Body, replaced.Body)
	}
	if r = h.call(h.admin, "PUT", path, h.letter()).Want(200); r.String("locale") != "en" || r.At("replyTo") != nil || r.String("contentType") != "text/plain" || r.String("charset") != "utf-8" {
		t.Errorf("replaced by %s", r.Body)
	}
	second := h.template(h.letter(`"locale":"de"`))
	problem(t, h.call(h.admin, "PUT", h.base+"/templates/"+second, h.letter()), 409, "conflict", "type")

	for token, may := range map[auth.Secret]bool{h.Token(h.tenant, sender.RoleReader): false, h.Token(h.tenant, sender.RoleSender): false, h.operator: true} {
		h.call(token, "GET", path, "").Want(200)
		h.call(token, "GET", h.base+"/templates", "").Want(200)
		h.call(token, "POST", path+"/preview", `{}`).Want(200)
		if !may {
			problem(t, h.call(token, "POST", h.base+"/templates", h.letter()), 403, "denied", "")
			problem(t, h.call(token, "PUT", path, h.letter()), 403, "denied", "")
			problem(t, h.call(token, "DELETE", path, ""), 403, "denied", "")
		}
	}
	h.call(h.admin, "DELETE", path, "").Want(204)
	for _, gone := range []struct{ method, path, body string }{{"GET", path, ""}, {"PUT", path, h.letter()}, {"DELETE", path, ""}, {"POST", path + "/preview", `{}`}} {
		problem(t, h.call(h.admin, gone.method, gone.path, gone.body), 404, "not-found", "")
	}
	events := string(h.call(h.admin, "GET", h.base+"/events?limit=1000", "").Want(200).Body)
	for _, e := range []string{`"template.created"`, `"template.replaced"`, `"template.deleted"`} {
		if !strings.Contains(events, e) {
			t.Errorf("%s is not in the log: %s", e, events)
		}
	}
}

func TestTemplatesAreFilteredAndPaged(t *testing.T) {
	h := correspondent(t)
	application, other := string(sender.NewRandomID()), string(sender.NewRandomID())
	for _, members := range [][]string{
		{`"type":"pairing"`}, {`"type":"pairing"`, `"locale":"pt-BR"`}, {`"type":"sign-in"`}, {`"type":"sign-in"`, `"locale":"de"`},
		{`"type":"pairing"`, `"application":"` + application + `"`}, {`"type":"pairing"`, `"application":"` + other + `"`, `"locale":"PT-br"`},
	} {
		h.template(h.letter(members...))
	}
	for query, want := range map[string]int{
		"": 6, "?type=pairing": 4, "?type=Pairing": 0, "?locale=en": 3, "?locale=pt_br": 2, "?locale=pt": 0, "?type=sign-in&locale=DE": 1,
		"?application=" + application: 1, "?application=" + application + "&locale=pt-BR": 0, "?application=" + other + "&type=pairing": 1, "?application=x": 0,
	} {
		r := h.call(h.admin, "GET", h.base+"/templates"+query, "").Want(200)
		items, _ := r.At("items").([]any)
		if len(items) != want || r.At("nextCursor") != nil {
			t.Errorf("%s: %d templates, want %d: %s", query, len(items), want, r.Body)
		}
	}
	seen, pages, query := make(map[string]bool), 0, ""
	for ; pages < 10; pages++ {
		r := h.call(h.admin, "GET", h.base+"/templates?limit=3&type=pairing"+query, "").Want(200)
		for i := 0; r.At(fmt.Sprintf("items.%d", i)) != nil; i++ {
			seen[r.String(fmt.Sprintf("items.%d.id", i))] = true
		}
		if r.String("nextCursor") == "" {
			break
		}
		query = "&cursor=" + r.String("nextCursor")
	}
	if pages != 1 || len(seen) != 4 {
		t.Errorf("%d templates on %d pages", len(seen), pages+1)
	}
	for q, field := range map[string]string{"locale=x-": "locale", "locale=": "locale", "type=": "type", "application=": "application", "kind=x": "kind", "limit=0": "limit"} {
		problem(t, h.call(h.admin, "GET", h.base+"/templates?"+q, ""), 422, "invalid", field)
	}
}

func TestPreviewFillsInAndWarnsWithoutSending(t *testing.T) {
	h := correspondent(t)
	plain := h.base + "/templates/" + h.template(h.letter()) + "/preview"
	r := h.call(h.admin, "POST", plain, `{"values":{"who":"Ann <a>"}}`).Want(200)
	if r.String("subject") != "For Ann <a>" || !strings.HasPrefix(r.String("text"), "Hello Ann <a>, your code is ") || strings.Contains(r.String("text"), "$") || r.At("html") != nil || r.At("warnings.0") != nil || r.At("warnings") == nil {
		t.Errorf("preview of plain text: %s", r.Body)
	}
	if r = h.call(h.admin, "POST", plain, `{}`).Want(200); r.String("subject") != "For" || !strings.HasPrefix(r.String("text"), "Hello , your") {
		t.Errorf("without values: %s", r.Body)
	}
	odd := h.base + "/templates/" + h.template(h.letter(`"type":"odd"`, `"contentType":"text/html"`, `"body":"<p title=\"${who}\">Hi ${who}, <a href=\"${link}\">go</a><script>${who}</script></p>"`)) + "/preview"
	r = h.call(h.admin, "POST", odd, `{"values":{"who":"<b>Ann</b>","link":"javascript:alert(1)"}}`).Want(200)
	if html := r.String("html"); !strings.Contains(html, "Hi &lt;b&gt;Ann") || strings.Contains(html, "javascript:") || r.String("text") == "" {
		t.Errorf("preview of HTML: %s", r.Body)
	}
	codes := make(map[string]int)
	for i := 0; r.At(fmt.Sprintf("warnings.%d", i)) != nil; i++ {
		at := fmt.Sprintf("warnings.%d.", i)
		codes[r.String(at+"code")+" in "+r.String(at+"where")]++
		if r.String(at+"detail") == "" {
			t.Errorf("a warning without words: %s", r.Body)
		}
	}
	for _, want := range []string{"no-code in body", "placeholder-in-url in body", "placeholder-in-attribute in body", "placeholder-dropped in body"} {
		if codes[want] != 1 {
			t.Errorf("want one warning %s; got %v", want, codes)
		}
	}
	for body, field := range map[string]string{
		`{"values":{"OTP":"1"}}`: "values", `{"values":{"pingid_username":"x"}}`: "values", `{"values":{"who":1}}`: "values.who", `{"values":{"who":"` + strings.Repeat("x", 10_001) + `"}}`: "values",
		`{"value":{}}`: "value", `{"values":[]}`: "values",
	} {
		problem(t, h.call(h.admin, "POST", plain, body), 422, "invalid", field)
	}
	if ds := h.Mail.To("user@example.net"); len(ds) != 0 {
		t.Errorf("%d mails were composed", len(ds))
	}
}

func TestTemplatesOfAnotherTenantAreNotThere(t *testing.T) {
	h := correspondent(t)
	id := h.template(h.letter())
	before := string(h.call(h.admin, "GET", h.base+"/templates", "").Want(200).Body)
	other := h.Tenant("other")
	stranger := h.Token(other, sender.RoleAdmin)
	theirs := "/v1/tenants/" + string(other.ID)
	for _, base := range []string{h.base, theirs} {
		for _, id := range []string{id, string(sender.NewRandomID()), "x"} {
			one := base + "/templates/" + id
			for _, c := range []struct{ method, path, body string }{
				{"GET", one, ""}, {"PUT", one, h.letter()}, {"DELETE", one, ""}, {"POST", one + "/preview", `{}`},
			} {
				problem(t, h.call(stranger, c.method, c.path, c.body), 404, "not-found", "")
			}
		}
	}
	problem(t, h.call(stranger, "GET", h.base+"/templates", ""), 404, "not-found", "")
	problem(t, h.call(stranger, "POST", h.base+"/templates", h.letter()), 404, "not-found", "")
	problem(t, h.call(stranger, "POST", "/v1/messages", `{"to":"user@example.net","template":{"type":"letter"}}`), 404, "not-found", "template")
	problem(t, h.call(stranger, "POST", "/v1/messages?tenant="+string(h.tenant.ID), `{"to":"user@example.net","template":{"type":"letter"}}`), 404, "not-found", "")
	if r := h.call(stranger, "GET", theirs+"/templates", "").Want(200); r.At("items.0") != nil {
		t.Errorf("another tenant's are listed: %s", r.Body)
	}
	// The same type is theirs to have, but not the sender: that is not proven there.
	r := h.call(stranger, "POST", theirs+"/templates", h.letter())
	problem(t, r, 422, "refused", "from")
	if after := string(h.call(h.admin, "GET", h.base+"/templates", "").Want(200).Body); after != before {
		t.Errorf("there is %s after %s", after, before)
	}
}

// Both operations that take a template read it as strictly, and what is refused
// changes nothing.
func TestBadTemplatesAreRefused(t *testing.T) {
	h := correspondent(t, func(s *sender.Settings) { s.BuiltinSenders = []string{"noreply@builtin.example"} })
	application := string(sender.NewRandomID())
	id := h.template(h.letter(`"application":"`+application+`"`, `"from":"noreply@builtin.example"`))
	before := string(h.call(h.admin, "GET", h.base+"/templates", "").Want(200).Body)
	type row struct {
		name, body, media string
		status            int
		code, field       string
	}
	rows := []row{
		{"empty", "", "application/json", 400, "malformed", ""},
		{"broken", h.letter()[:20], "application/json", 400, "malformed", ""},
		{"garbage behind", h.letter() + "x", "application/json", 400, "malformed", ""},
		{"null", "null", "application/json", 400, "malformed", ""},
		{"array", "[" + h.letter() + "]", "application/json", 400, "malformed", ""},
		{"invalid UTF-8", strings.Replace(h.letter(), "Hello", "\xff", 1), "application/json", 400, "malformed", ""},
		{"text", h.letter(), "text/plain", 415, "wrong-media", "Content-Type"},
		{"no media type", h.letter(), "", 415, "wrong-media", "Content-Type"},
		{"too large", h.letter(`"body":"` + strings.Repeat("x", api.MaxBody) + `"`), "application/json", 413, "too-large", ""},
		{"member twice", strings.Replace(h.letter(), "{", `{"type":"x",`, 1), "application/json", 400, "malformed", "type"},
	}
	for _, c := range []struct {
		name, member string
		status       int
		code, field  string
	}{
		{"unknown member", `"sender":"x"`, 422, "invalid", "sender"},
		{"wrong case", `"Locale":"en"`, 422, "invalid", "Locale"},
		{"its own id", `"id":"x"`, 422, "invalid", "id"},
		{"wrong type", `"subject":1`, 422, "invalid", "subject"},
		{"no type", `"type":""`, 422, "required", "type"},
		{"a type with a line end", `"type":"a\nb"`, 422, "invalid", "type"},
		{"a variant with a line end", `"variant":"a\nb"`, 422, "invalid", "variant"},
		{"two senders", `"from":"a@mail.example.org, b@mail.example.org"`, 422, "invalid", "from"},
		{"a sender that is not proven", `"from":"x@mail.example.org"`, 422, "refused", "from"},
		{"a sender of nobody's", `"from":"x@elsewhere.example"`, 422, "refused", "from"},
		{"answers to who is not proven", `"replyTo":"x@elsewhere.example"`, 422, "refused", "replyTo"},
		{"no locale", `"locale":"x-"`, 422, "invalid", "locale"},
		{"no type of mail", `"contentType":"text/calendar"`, 422, "invalid", "contentType"},
		{"unknown charset", `"charset":"utf-9"`, 422, "invalid", "charset"},
		{"body beyond its charset", `"body":"\u0416","charset":"iso-8859-1"`, 422, "invalid", "body"},
		{"a subject of two lines", `"subject":"a\r\nBcc: x@example.net"`, 422, "invalid", "subject"},
		{"long subject", `"subject":"` + strings.Repeat("x", 257) + `"`, 422, "invalid", "subject"},
		{"long body", `"body":"` + strings.Repeat("x", 100<<10+1) + `"`, 422, "invalid", "body"},
	} {
		rows = append(rows, row{c.name, h.letter(c.member), "application/json", c.status, c.code, c.field})
	}
	for _, c := range rows {
		for method, path := range map[string]string{"POST": h.base + "/templates", "PUT": h.base + "/templates/" + id} {
			t.Run(method+" "+c.name, func(t *testing.T) {
				r := h.call(h.admin, method, path, c.body, "Content-Type", c.media)
				r.T = t
				problem(t, r, c.status, c.code, c.field)
			})
		}
	}
	problem(t, h.call(h.admin, "PUT", h.base+"/templates/"+id, `{"from":"`+letterFrom+`"}`), 422, "required", "type")
	// Its application stays: another one is no place to look for it.
	problem(t, h.call(h.admin, "PUT", h.base+"/templates/"+id, h.letter(`"application":"`+string(sender.NewRandomID())+`"`)), 404, "not-found", "")
	problem(t, h.call(h.admin, "POST", h.base+"/templates", h.letter(`"application":"x"`)), 404, "not-found", "")
	// A stranger learns nothing from the validation.
	problem(t, h.call("", "PUT", h.base+"/templates/"+id, `{`), 401, "unauthenticated", "")
	if after := string(h.call(h.admin, "GET", h.base+"/templates", "").Want(200).Body); after != before {
		t.Errorf("there is %s after %s", after, before)
	}
	if r := h.call(h.admin, "PUT", h.base+"/templates/"+id, h.letter()).Want(200); r.String("application") != application {
		t.Errorf("replaced without naming its application: %s", r.Body)
	}
}

func TestTemplatesAreLimited(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.BuiltinSenders = []string{letterFrom} })
	r := h.call(h.operator, "POST", "/v1/tenants", `{"name":"small","limits":{"templates":1}}`).Want(201)
	path := "/v1/tenants/" + r.String("id") + "/templates"
	h.call(h.operator, "POST", path, h.letter()).Want(201)
	problem(t, h.call(h.operator, "POST", path, h.letter(`"type":"more"`)), 409, "limit", "template")
}

func TestMessageIsFilledIntoATemplate(t *testing.T) {
	h := correspondent(t)
	english := h.template(h.letter())
	portuguese := h.template(h.letter(`"locale":"pt"`, `"subject":"Para ${who}"`, `"contentType":"text/html"`, `"body":"<p>Olá ${who}</p>"`))
	application := string(sender.NewRandomID())
	its := h.template(h.letter(`"application":"`+application+`"`, `"subject":"Its own"`))
	for _, c := range []struct{ template, id, locale, subject string }{
		{`{"type":"letter","values":{"who":"Ann"}}`, english, "en", "For Ann"},
		{`{"type":"letter","locale":"pt_BR","values":{"who":"Ann <a>","unused":"x"}}`, portuguese, "pt", "Para Ann <a>"},
		{`{"type":"letter","locale":"fr"}`, english, "en", "For"},
		{`{"type":"letter","application":"` + application + `"}`, its, "en", "Its own"},
	} {
		before := len(h.Mail.To("user@example.net"))
		r := h.call(h.Token(h.tenant, sender.RoleSender), "POST", "/v1/messages", `{"to":"user@example.net","expiresIn":3600,"template":`+c.template+`}`).Want(202)
		if r.String("template") != c.id || r.String("locale") != c.locale || r.String("from") != letterFrom || r.String("to") != "user@example.net" || r.String("state") != "queued" ||
			r.String("kind") != "message" || r.Header.Get("Location") != r.String("links.self") {
			t.Errorf("%s: accepted as %s", c.template, r.Body)
		}
		if mails := h.Mail.To("user@example.net"); len(mails) != before+1 || mails[before].Subject != c.subject || mails[before].From.Address != letterFrom {
			t.Errorf("%s: composed %+v", c.template, mails)
		}
		one := h.call(h.admin, "GET", r.String("links.self"), "").Want(200)
		if one.String("template") != c.id || one.String("locale") != c.locale || one.String("expiresAt") != r.String("expiresAt") {
			t.Errorf("%s: read as %s", c.template, one.Body)
		}
		if list := h.call(h.admin, "GET", "/v1/messages?limit=1000", "").Want(200); !strings.Contains(string(list.Body), `"template":"`+c.id+`"`) {
			t.Errorf("%s: listed as %s", c.template, list.Body)
		}
	}
	// A message that came whole shows neither.
	r := h.call(h.admin, "POST", "/v1/messages", h.message(letterFrom, "user@example.net")).Want(202)
	if r.At("template") != nil || r.At("locale") != nil {
		t.Errorf("accepted as %s", r.Body)
	}
	// The template may go; the message still tells what it was.
	h.call(h.admin, "DELETE", h.base+"/templates/"+english, "").Want(204)
	problem(t, h.call(h.admin, "POST", "/v1/messages", `{"to":"user@example.net","template":{"type":"letter"}}`), 404, "not-found", "template")
	if list := h.call(h.admin, "GET", "/v1/messages?limit=1000", "").Want(200); !strings.Contains(string(list.Body), `"template":"`+english+`"`) {
		t.Errorf("listed as %s", list.Body)
	}
}

func TestIdempotencyKeyCountsForTemplatesToo(t *testing.T) {
	h := correspondent(t)
	id := h.template(h.letter())
	body := `{"to":"user@example.net","template":{"type":"letter","values":{"who":"Ann"}}}`
	first := h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", "k").Want(202)
	// The answer is the first one's, whatever became of the template.
	h.call(h.admin, "PUT", h.base+"/templates/"+id, h.letter(`"subject":"Another"`)).Want(200)
	h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", "k").Want(202)
	h.call(h.admin, "DELETE", h.base+"/templates/"+id, "").Want(204)
	again := h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", "k").Want(202)
	if string(again.Body) != string(first.Body) || len(h.Mail.To("user@example.net")) != 1 {
		t.Errorf("repeated as %s after %s; %d mails", again.Body, first.Body, len(h.Mail.To("user@example.net")))
	}
	for name, other := range map[string]string{
		"another value": strings.Replace(body, "Ann", "Bob", 1), "another recipient": strings.Replace(body, "user@", "other@", 1), "the same in other octets": body + " ",
		"a message that comes whole": h.message(letterFrom, "user@example.net"),
	} {
		t.Run(name, func(t *testing.T) {
			r := h.call(h.admin, "POST", "/v1/messages", other, "Idempotency-Key", "k")
			r.T = t
			problem(t, r, 409, "conflict", "Idempotency-Key")
		})
	}
	whole := h.message(letterFrom, "user@example.net")
	h.call(h.admin, "POST", "/v1/messages", whole, "Idempotency-Key", "whole").Want(202)
	problem(t, h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", "whole"), 409, "conflict", "Idempotency-Key")
	problem(t, h.call(h.admin, "POST", "/v1/messages", body, "Idempotency-Key", strings.Repeat("k", 257)), 422, "invalid", "Idempotency-Key")
	if n := len(h.Mail.To("user@example.net")) + len(h.Mail.To("other@example.net")); n != 2 {
		t.Errorf("%d mails were composed", n)
	}
}

func TestTemplateSaysEverythingButTheRecipient(t *testing.T) {
	h := correspondent(t)
	h.template(h.letter())
	with := func(members string) string {
		return `{"to":"user@example.net","template":{"type":"letter"}` + members + `}`
	}
	for _, c := range []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"from", with(`,"from":"` + letterFrom + `"`), 422, "invalid", "template"},
		{"from with a name alone", with(`,"from":{"name":"x","address":""}`), 422, "invalid", "template"},
		{"replyTo", with(`,"replyTo":"` + letterFrom + `"`), 422, "invalid", "template"},
		{"an empty replyTo", with(`,"replyTo":""`), 422, "invalid", "template"},
		{"subject", with(`,"subject":"x"`), 422, "invalid", "template"},
		{"text", with(`,"text":"x"`), 422, "invalid", "template"},
		{"html", with(`,"html":"x"`), 422, "invalid", "template"},
		{"headers", with(`,"headers":[{"name":"X-A","value":"b"}]`), 422, "invalid", "template"},
		{"region", with(`,"region":"us-east-1"`), 422, "invalid", "template"},
		{"the recipient's name", `{"to":{"name":"x","address":"user@example.net"},"template":{"type":"letter"}}`, 422, "invalid", "template"},
		{"no recipient", `{"template":{"type":"letter"}}`, 422, "required", "to"},
		{"no address", `{"to":"x","template":{"type":"letter"}}`, 422, "invalid", "to"},
		{"no such type", `{"to":"user@example.net","template":{"type":"Letter"}}`, 404, "not-found", "template"},
		{"no type", `{"to":"user@example.net","template":{}}`, 404, "not-found", "template"},
		{"no such application", `{"to":"user@example.net","template":{"type":"letter","application":"x"}}`, 404, "not-found", "template"},
		{"no locale", `{"to":"user@example.net","template":{"type":"letter","locale":"x-"}}`, 422, "invalid", "locale"},
		{"a code", `{"to":"user@example.net","template":{"type":"letter","values":{"otp":"123456"}}}`, 422, "invalid", "values"},
		{"a value of another type", `{"to":"user@example.net","template":{"type":"letter","values":{"who":1}}}`, 422, "invalid", "template.values.who"},
		{"a value twice", `{"to":"user@example.net","template":{"type":"letter","values":{"who":"a","who":"b"}}}`, 400, "malformed", "template.values.who"},
		{"an unknown member", `{"to":"user@example.net","template":{"type":"letter","from":"x"}}`, 422, "invalid", "template.from"},
		{"life for ever", with(`,"expiresIn":99999999999`), 422, "invalid", "expiresIn"},
		{"longer than mail lives", with(`,"expiresIn":31536000`), 422, "invalid", "expiresIn"},
		{"no template at all", `{"to":"user@example.net","template":null}`, 422, "required", "from"},
		{"neither sender nor template", `{"to":"user@example.net","text":"x"}`, 422, "required", "from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.call(h.admin, "POST", "/v1/messages", c.body)
			r.T = t
			problem(t, r, c.status, c.code, c.field)
		})
	}
	problem(t, h.call(h.Token(h.tenant, sender.RoleReader), "POST", "/v1/messages", with("")), 403, "denied", "")
	problem(t, h.call(h.operator, "POST", "/v1/messages", with("")), 422, "required", "tenant")
	if n := len(h.Mail.To("user@example.net")); n != 0 {
		t.Errorf("%d messages were composed", n)
	}
	h.call(h.operator, "POST", "/v1/messages?tenant="+string(h.tenant.ID), with(`,"headers":null,"subject":""`)).Want(202)
}
