package pingid

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/sender"
)

// app makes an enabled application that allows mail and returns its path;
// attributes are pairs.
func (h *harness) app(attributes ...string) string {
	h.T.Helper()
	id := string(sender.NewRandomID())
	h.call("POST", h.base+"/applications", fmt.Sprintf(`{"id":%q,"name":"Demo %s","appEnabled":true}`, id, id)).Want(201)
	app := h.base + "/applications/" + id
	attributes = append(attributes, "email_enabled", "true")
	for i := 0; i < len(attributes); i += 2 {
		h.attribute(app, attributes[i], attributes[i+1])
	}
	return app
}

func (h *harness) attribute(app, name, value string) {
	h.T.Helper()
	h.call("PUT", app+"/attributes/"+name, fmt.Sprintf(`{"name":%q,"value":%q}`, name, value)).Want(200)
}

// fields are the members of a request's body; one that is gone is not sent.
type fields map[string]any

type gone struct{}

// body is a template's, with some fields changed.
func (m fields) body() string {
	all := fields{"fromAddress": "noreply@pingidentity.com", "emailSubject": "Hello", "emailBody": "Your code: ${OTP}", "type": "auth"}
	maps.Copy(all, m)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == gone{} })
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// mail makes a template and returns its path.
func (h *harness) mail(app string, m fields) string {
	h.T.Helper()
	return app + "/emailconfigurations/" + h.call("POST", app+"/emailconfigurations", m.body()).Want(201).String("id")
}

// trusted makes an address that its code has proven, of a domain that is not.
func (h *harness) trusted(address string) (path string) {
	h.T.Helper()
	_, domain, _ := strings.Cut(address, "@")
	d := h.Domain(h.tenant, domain)
	path = h.address(d.ID, address)
	h.call("POST", path+"/activate", `{"verificationCode":"`+h.Mail.Code(h.T, address)+`"}`).Want(200)
	return path
}

func keysOf(t *testing.T, r apitest.Reply, path string) string {
	t.Helper()
	m, _ := r.At(path).(map[string]any)
	if path == "" {
		if err := json.Unmarshal(r.Body, &m); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}

func TestTemplateTakesDefaultsForWhatIsMissing(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	for i, m := range []fields{
		{},
		{"replyToAddress": nil, "contentType": nil, "characterSet": nil, "locale": nil, "emailBodyEncoding": nil},
		{"replyToAddress": "", "id": "mine", "self": 1, "unknown": fields{}},
	} {
		m["type"] = fmt.Sprint("t", i)
		r := h.call("POST", app+"/emailconfigurations", m.body()).Want(201)
		want := fmt.Sprintf(`{"fromAddress":"noreply@pingidentity.com","emailSubject":"Hello","emailBody":"Your code: ${OTP}","contentType":"text/plain","characterSet":"utf-8","locale":"en","type":"t%d","emailBodyEncoding":"RAW","id":%q}`, i, r.String("id"))
		if string(r.Body) != want {
			t.Errorf("%v: %s", m, r.Body)
		}
	}
	r := h.call("POST", app+"/emailconfigurations", fields{"emailSubject": gone{}}.body()).Want(201)
	if r.At("emailSubject") != "" {
		t.Errorf("without a subject: %s", r.Body)
	}
	r = h.call("POST", app+"/emailconfigurations", fields{"emailBody": "", "type": "bodiless"}.body()).Want(201)
	if r.At("emailBody") != "" {
		t.Errorf("without a body: %s", r.Body)
	}
}

func TestTemplateIsAnsweredInOneForm(t *testing.T) {
	h := newHarness(t)
	h.trusted("help@auth.shopco.com")
	app := h.app()
	for i, c := range []struct {
		member   string
		sent     any
		want     string
		and      fields
		wantBody string
	}{
		{"characterSet", "UTF-8", "utf-8", nil, ""},
		{"characterSet", "ISO-8859-1", "iso-8859-1", nil, ""},
		{"characterSet", "Latin1", "latin1", nil, ""}, // an alias stays one
		{"characterSet", "windows-1252", "windows-1252", nil, ""},
		{"locale", "en", "en", nil, ""},
		{"locale", "EN", "EN", nil, ""},
		{"locale", "pt-BR", "pt-BR", nil, ""},
		{"locale", "PT_br", "PT_br", nil, ""},
		{"locale", "fil", "fil", nil, ""},
		{"locale", "fil-PH", "fil-PH", nil, ""},
		{"contentType", "text/html", "text/html", nil, ""},
		{"contentType", "TEXT/Plain", "text/plain", nil, ""},
		{"emailBodyEncoding", "RAW", "RAW", nil, "Your code: ${OTP}"},
		{"emailBodyEncoding", "Base64", "RAW", fields{"emailBody": "Y29kZQ=="}, "code"},
		{"emailBodyEncoding", "base64", "RAW", fields{"emailBody": "Y29kZQ"}, "code"},
		{"emailBodyEncoding", "base64", "RAW", fields{"emailBody": "6Q==", "characterSet": "iso-8859-1"}, "é"},
		{"emailBodyEncoding", "base64", "RAW", fields{"emailBody": "w6k"}, "é"},
		{"fromAddress", " noreply%40pingidentity.com\t", "noreply@pingidentity.com", nil, ""},
		{"fromAddress", "NoReply@PingIdentity.com", "NoReply@PingIdentity.com", nil, ""},
		{"fromAddress", `"No, reply" <noreply%40pingidentity.com>`, `"No, reply" <noreply@pingidentity.com>`, nil, ""},
		{"fromAddress", `"100%40" <noreply%40pingidentity.com>`, `"100%40" <noreply@pingidentity.com>`, nil, ""},
		{"fromAddress", `No Reply <noreply@pingidentity.com>`, `No Reply <noreply@pingidentity.com>`, nil, ""},
		{"fromAddress", `"Éva" <noreply@pingidentity.com>`, `"Éva" <noreply@pingidentity.com>`, nil, ""},
		{"fromAddress", `<noreply@pingidentity.com>`, `<noreply@pingidentity.com>`, nil, ""},
		{"fromAddress", `noreply@service.example`, `noreply@service.example`, nil, ""}, // the deployment's own
		{"fromAddress", `"Help" <HELP@Auth.shopco.com>`, `"Help" <HELP@Auth.shopco.com>`, nil, ""},
		{"replyToAddress", `"Help" <help%40auth.shopco.com>`, `"Help" <help@auth.shopco.com>`, nil, ""},
		{"emailSubject", "a%40b ${greeting} {{x}} ${", "a%40b ${greeting} {{x}} ${", nil, ""},
		{"emailBody", "\tHi ${USR}, a%40b\r\n", "\tHi ${USR}, a%40b\r\n", nil, ""},
		{"emailSubject", strings.Repeat("é", 256), strings.Repeat("é", 256), nil, ""},
		{"emailBody", strings.Repeat("x", 100<<10), strings.Repeat("x", 100<<10), nil, ""},
		{"emailBody", "é", "é", fields{"characterSet": "iso-8859-1"}, ""},
		{"emailSubject", "日本", "日本", fields{"characterSet": "iso-8859-1"}, ""}, // a subject is encoded in words of its own
	} {
		m := fields{"type": fmt.Sprint("t", i), c.member: c.sent}
		maps.Copy(m, c.and)
		made := h.call("POST", app+"/emailconfigurations", m.body()).Want(201)
		got := h.call("GET", app+"/emailconfigurations/"+strings.ToUpper(made.String("id")), "").Want(200)
		if got.String(c.member) != c.want || (c.wantBody != "" && got.String("emailBody") != c.wantBody) || string(made.Body) != string(got.Body) {
			t.Errorf("%s %q: %.300s, then %.300s", c.member, c.sent, made.Body, got.Body)
		}
	}
	kept := h.call("POST", app+"/emailconfigurations", fields{"type": " Auth "}.body()).Want(201)
	if kept.String("type") != " Auth " {
		t.Errorf("the type is %q: it is compared exactly and must stay", kept.String("type"))
	}
}

func TestBadTemplatesAreToldInTheDialectsWords(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "auth.shopco.com")
	h.address(d.ID, "pending@auth.shopco.com")
	app := h.app()
	path := h.mail(app, fields{"type": "old"})
	const config = "INVALID_DATA emailConfiguration "
	for _, c := range []struct {
		m    fields
		want string
	}{
		{fields{"fromAddress": gone{}}, config + "REQUIRED_VALUE fromAddress"},
		{fields{"fromAddress": nil}, config + "REQUIRED_VALUE fromAddress"},
		{fields{"fromAddress": " "}, config + "EMPTY_VALUE fromAddress"},
		{fields{"fromAddress": 1}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "noreply"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "other@pingidentity.com"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "pending@auth.shopco.com"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "nobody@auth.shopco.com"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": `"Name" <nobody%40auth.shopco.com>`}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": `"Name" <noreply@pingidentity.com`}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": `'Name' noreply@pingidentity.com`}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "noreply@pingidentity.com, noreply@pingidentity.com"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "all: noreply@pingidentity.com;"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "\"Name\r\nBcc: x@y.example\" <noreply@pingidentity.com>"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "noreply%40pingidentity.com%0d%0aBcc:x"}, config + "INVALID_VALUE fromAddress"},
		{fields{"fromAddress": "${user}@pingidentity.com"}, config + "INVALID_VALUE fromAddress"},
		{fields{"replyToAddress": "pending@auth.shopco.com"}, config + "INVALID_VALUE replyToAddress"},
		{fields{"replyToAddress": "x"}, config + "INVALID_VALUE replyToAddress"},
		{fields{"type": gone{}}, config + "REQUIRED_VALUE type"},
		{fields{"type": nil}, config + "REQUIRED_VALUE type"},
		{fields{"type": ""}, config + "EMPTY_VALUE type"},
		{fields{"type": []int{1}}, config + "INVALID_VALUE type"},
		{fields{"type": strings.Repeat("é", 101)}, config + "INVALID_VALUE type"},
		{fields{"type": "a\nb"}, config + "INVALID_VALUE type"},
		{fields{"contentType": ""}, config + "EMPTY_VALUE contentType"},
		{fields{"contentType": "text/markdown"}, config + "INVALID_VALUE contentType"},
		{fields{"contentType": "text/html; charset=utf-8"}, config + "INVALID_VALUE contentType"},
		{fields{"characterSet": ""}, config + "EMPTY_VALUE characterSet"},
		{fields{"characterSet": "klingon"}, config + "INVALID_VALUE characterSet"},
		{fields{"characterSet": "utf-16"}, config + "INVALID_VALUE characterSet"},
		{fields{"characterSet": "utf-7"}, config + "INVALID_VALUE characterSet"},
		{fields{"characterSet": "utf8", "emailBodyEncoding": "base64", "emailBody": "YQ"}, config + "INVALID_VALUE characterSet"},
		{fields{"characterSet": "us-ascii", "emailBody": "é"}, config + "INVALID_VALUE emailBody"},
		{fields{"characterSet": "iso-8859-1", "emailBody": "日本"}, config + "INVALID_VALUE emailBody"},
		{fields{"locale": ""}, config + "EMPTY_VALUE locale"},
		{fields{"locale": "english"}, config + "INVALID_VALUE locale"},
		{fields{"locale": " en"}, config + "INVALID_VALUE locale"},
		{fields{"locale": "xx"}, config + "INVALID_VALUE locale"},
		{fields{"locale": "en-XX"}, config + "INVALID_VALUE locale"},
		{fields{"locale": "en-US-x"}, config + "INVALID_VALUE locale"},
		{fields{"emailBodyEncoding": ""}, config + "EMPTY_VALUE emailBodyEncoding"},
		{fields{"emailBodyEncoding": "quoted-printable"}, config + "INVALID_VALUE emailBodyEncoding"},
		{fields{"emailBodyEncoding": "base64"}, config + "INVALID_VALUE emailBody"},
		{fields{"emailBodyEncoding": "base64", "emailBody": "YQ="}, config + "INVALID_VALUE emailBody"},
		{fields{"emailBodyEncoding": "base64", "emailBody": "YW\nJj"}, config + "INVALID_VALUE emailBody"},
		{fields{"emailBodyEncoding": "base64", "emailBody": "_-8="}, config + "INVALID_VALUE emailBody"},
		{fields{"emailBodyEncoding": "base64", "emailBody": "/w=="}, config + "INVALID_VALUE emailBody"}, // not UTF-8
		{fields{"emailBodyEncoding": "base64", "emailBody": base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 100<<10+1)))}, config + "INVALID_VALUE emailBody"},
		{fields{"emailBody": strings.Repeat("x", 100<<10+1)}, config + "INVALID_VALUE emailBody"},
		{fields{"emailBody": "a\x00b"}, config + "INVALID_VALUE emailBody"},
		{fields{"emailSubject": strings.Repeat("é", 257)}, config + "INVALID_VALUE emailSubject"},
		{fields{"emailSubject": "a\r\nBcc: x@y.example"}, config + "INVALID_VALUE emailSubject"},
		{fields{"emailSubject": "", "emailBody": ""}, config + "EMPTY_VALUE emailConfiguration"},
		{fields{"emailSubject": gone{}, "emailBody": nil}, config + "EMPTY_VALUE emailConfiguration"},
		{fields{"emailSubject": "", "emailBody": "", "emailBodyEncoding": "base64"}, config + "EMPTY_VALUE emailConfiguration"},
	} {
		wantError(t, h.call("POST", app+"/emailconfigurations", c.m.body()), 400, c.want)
		wantError(t, h.call("PUT", path, c.m.body()), 400, c.want)
	}
	for _, body := range []string{"", "[]", `{"type":"a","type":"b"}`, `{"fromAddress":`} {
		if r := h.call("POST", app+"/emailconfigurations", body, "Content-Type", "application/json"); r.String("code") != "INVALID_REQUEST" {
			t.Errorf("%s: %s", body, r.Body)
		}
	}
	wantError(t, h.call("POST", app+"/emailconfigurations", fields{"emailBody": strings.Repeat("x", 1<<20)}.body()), 413, "INVALID_REQUEST - - -")
	if r := h.call("GET", app+"/emailconfigurations", "").Want(200); r.String("emailconfigurations.0.type") != "old" || r.At("emailconfigurations.1") != nil {
		t.Errorf("something was stored: %s", r.Body)
	}
	none := string(sender.NewRandomID())
	for _, c := range []struct{ method, path, want string }{
		{"GET", app + "/emailconfigurations/" + none, "emailConfiguration"},
		{"PUT", app + "/emailconfigurations/" + none, "emailConfiguration"},
		{"DELETE", app + "/emailconfigurations/" + none, "emailConfiguration"},
		{"GET", app + "/emailconfigurations/x", "emailConfiguration"},
		{"GET", h.app() + path[len(app):], "emailConfiguration"}, // of another application
		{"POST", h.base + "/applications/" + none + "/emailconfigurations", "application"},
		{"GET", h.base + "/applications/" + none + "/emailconfigurations", "application"},
		{"GET", h.base + "/applications/" + none + "/emailconfigurations?locale=x", "application"},
		{"GET", h.base + "/applications/" + none + path[len(app):], "application"},
		{"PUT", h.base + "/applications/x" + path[len(app):], "application"},
		{"DELETE", h.base + "/applications/" + none + path[len(app):], "application"},
	} {
		body := ""
		if c.method == "POST" || c.method == "PUT" {
			body = fields{}.body()
		}
		wantError(t, h.call(c.method, c.path, body), 404, "NOT_FOUND "+c.want+" NOT_FOUND -")
	}
}

func TestThereIsOneTemplateOfATypeAndLocale(t *testing.T) {
	h := newHarness(t)
	app, other := h.app(), h.app()
	first := h.mail(app, fields{"locale": "pt-BR"})
	const taken = "INVALID_DATA emailConfiguration UNIQUE_VALUE_REQUIRED type"
	for _, locale := range []string{"pt-BR", "pt_br", "PT-br"} {
		wantError(t, h.call("POST", app+"/emailconfigurations", fields{"locale": locale}.body()), 400, taken)
	}
	h.mail(other, fields{"locale": "pt-BR"})
	h.mail(app, fields{"locale": "pt-BR", "type": "Auth"})
	second := h.mail(app, fields{"locale": "pt"})
	wantError(t, h.call("PUT", second, fields{"locale": "PT_BR"}.body()), 400, taken)
	if r := h.call("PUT", first, fields{"locale": "PT_BR", "emailSubject": "New"}.body()).Want(200); r.String("locale") != "PT_BR" || !strings.HasSuffix(first, r.String("id")) {
		t.Errorf("replaced: %s", r.Body)
	}
	h.call("DELETE", first, "").Want(204)
	h.call("PUT", second, fields{"locale": "pt_BR"}.body()).Want(200)

	var mu sync.Mutex
	statuses := map[int]int{}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			r := h.call("POST", app+"/emailconfigurations", fields{"type": "race"}.body())
			mu.Lock()
			defer mu.Unlock()
			statuses[r.Status]++
		})
	}
	wg.Wait()
	if statuses[201] != 1 || statuses[400] != 9 {
		t.Errorf("ten at once: %v", statuses)
	}
}

func TestReplacedTemplateIsReplacedWhole(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	path := h.mail(app, fields{"replyToAddress": "noreply@pingidentity.com", "contentType": "text/html", "characterSet": "iso-8859-1", "locale": "fr"})
	id := path[strings.LastIndex(path, "/")+1:]
	r := h.call("PUT", path, `{"fromAddress":"noreply@pingidentity.com","emailBody":"b","type":"x","id":"`+string(sender.NewRandomID())+`"}`).Want(200)
	want := fmt.Sprintf(`{"fromAddress":"noreply@pingidentity.com","emailSubject":"","emailBody":"b","contentType":"text/plain","characterSet":"utf-8","locale":"en","type":"x","emailBodyEncoding":"RAW","id":%q}`, id)
	if got := h.call("GET", path, "").Want(200); string(r.Body) != want || string(got.Body) != want {
		t.Errorf("replaced: %s, read: %s", r.Body, got.Body)
	}
}

func TestListOfTemplatesIsFiltered(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	if r := h.call("GET", app+"/emailconfigurations", "").Want(200); string(r.Body) != `{"emailconfigurations":[]}` {
		t.Errorf("an empty list: %s", r.Body)
	}
	for _, m := range []fields{{"type": "auth", "locale": "en"}, {"type": "auth", "locale": "pt-BR"}, {"type": "Auth", "locale": "en"}, {"type": "pair", "locale": "PT"}} {
		h.mail(app, m)
	}
	h.mail(h.app(), fields{})
	for query, want := range map[string]int{
		"":                           4,
		"?type=auth":                 2,
		"?type=Auth":                 1,
		"?type=AUTH":                 0,
		"?type=a%00b":                0,
		"?type=%ff":                  0,
		"?locale=en":                 2,
		"?locale=EN":                 2,
		"?locale=pt_br":              1,
		"?locale=pt":                 1, // no fallback, in neither direction
		"?locale=pt-PT":              0,
		"?locale=x":                  0,
		"?locale=en-US-posix":        0,
		"?type=auth&locale=en":       1,
		"?type=pair&locale=en":       0,
		"?type=&locale=":             4,
		"?other=x":                   4,
		"?expand=account&type=auth":  2,
		"?type=auth&locale=nonsense": 0,
	} {
		r := h.call("GET", app+"/emailconfigurations"+query, "").Want(200)
		l, ok := r.At("emailconfigurations").([]any)
		if !ok || len(l) != want || keysOf(t, r, "") != "emailconfigurations" {
			t.Errorf("%s: %d templates, want %d: %s", query, len(l), want, r.Body)
		}
	}
}

func TestDoubledSegmentOfThePrintedSampleDeletes(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	path := h.mail(app, fields{})
	doubled := strings.Replace(path, "/emailconfigurations/", "/emailconfigurations/emailconfigurations/", 1)
	for _, method := range []string{"GET", "PUT", "POST"} {
		wantError(t, h.call(method, doubled, fields{}.body()), 405, "INVALID_REQUEST - - -")
	}
	h.call("DELETE", doubled, "").Want(204)
	wantError(t, h.call("DELETE", doubled, ""), 404, "NOT_FOUND emailConfiguration NOT_FOUND -")
	wantError(t, h.call("GET", path, ""), 404, "NOT_FOUND emailConfiguration NOT_FOUND -")
}

func TestTemplatesAreCountedInTheAccount(t *testing.T) {
	h := newHarness(t)
	var err error
	h.tenant, err = h.Service.CreateTenant(t.Context(), apitest.Operator, sender.NewTenant{Name: "small", Limits: sender.Limits{Templates: 3}})
	if err != nil {
		t.Fatal(err)
	}
	h.base = accounts + "/" + string(h.tenant.ID)
	h.key(sender.RoleAdmin)
	apps := []string{h.app(), h.app()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 8 {
		wg.Go(func() {
			r := h.call("POST", apps[i%2]+"/emailconfigurations", fields{"type": fmt.Sprint(i)}.body())
			mu.Lock()
			defer mu.Unlock()
			if r.Status == 201 {
				made++
			} else {
				wantError(t, r, 400, "REQUEST_FAILED emailconfigurations SIZE_LIMIT_EXCEEDED -")
			}
		})
	}
	wg.Wait()
	if made != 3 {
		t.Errorf("%d templates were made, want 3", made)
	}
}

// Q8: whether the domain of a proven address must be proven too is the account's
// policy.
func TestPolicyOfTheAccountDecidesAboutUnprovenDomains(t *testing.T) {
	h := newHarness(t)
	h.trusted("help@auth.shopco.com")
	h.mail(h.app(), fields{"fromAddress": "help@auth.shopco.com"})

	var err error
	h.tenant, err = h.Service.CreateTenant(t.Context(), apitest.Operator, sender.NewTenant{Name: "strict", FromPolicy: sender.ByDomain})
	if err != nil {
		t.Fatal(err)
	}
	h.base = accounts + "/" + string(h.tenant.ID)
	h.key(sender.RoleAdmin)
	h.trusted("aid@auth.shopco.com")
	app := h.app()
	wantError(t, h.call("POST", app+"/emailconfigurations", fields{"fromAddress": "aid@auth.shopco.com"}.body()), 400, "INVALID_DATA emailConfiguration INVALID_VALUE fromAddress")
	ds, _, err := h.Service.Domains(t.Context(), apitest.Operator, h.tenant.ID, sender.Page{})
	if err != nil {
		t.Fatal(err)
	}
	h.Publish(ds[0])
	h.call("GET", h.domain(ds[0].ID)+"/ownership", "").Want(200)
	h.call("GET", h.domain(ds[0].ID)+"/dkim", "").Want(200)
	h.mail(app, fields{"fromAddress": "aid@auth.shopco.com"})
}

// Templates are managed whatever the application allows.
func TestTemplatesNeedNoEnabledApplication(t *testing.T) {
	h := newHarness(t)
	id := string(sender.NewRandomID())
	h.call("POST", h.base+"/applications", `{"id":"`+id+`","name":"off"}`).Want(201)
	path := h.mail(h.base+"/applications/"+id, fields{})
	h.call("PUT", path, fields{}.body()).Want(200)
	h.call("DELETE", path, "").Want(204)
}
