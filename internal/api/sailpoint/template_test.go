package sailpoint_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/sender"
)

const (
	defaults    = "/notification-template-defaults/v1"
	preferences = "/notification-preferences/v1"
	sendTest    = "/send-test-notification/v1"
)

// Exactly the members of the documents, of their types.
type wireTemplate struct {
	ID            *string `json:"id"`
	Key           *string `json:"key"`
	Name          *string `json:"name"`
	Medium        *string `json:"medium"`
	Locale        *string `json:"locale"`
	Subject       *string `json:"subject"`
	Header        *string `json:"header"`
	Body          *string `json:"body"`
	Footer        *string `json:"footer"`
	From          *string `json:"from"`
	ReplyTo       *string `json:"replyTo"`
	Description   *string `json:"description"`
	SlackTemplate *any    `json:"slackTemplate"`
	TeamsTemplate *any    `json:"teamsTemplate"`
	Created       *string `json:"created"`
	Modified      *string `json:"modified"`
}

func readTemplate(t *testing.T, b []byte) wireTemplate {
	t.Helper()
	var w wireTemplate
	if err := json.Unmarshal(b, &w, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if w.Key == nil || w.Medium == nil || w.Locale == nil || w.Header != nil || w.Footer != nil || w.SlackTemplate != nil || w.TeamsTemplate != nil {
		t.Errorf("not as documented: %s", b)
	}
	return w
}

func TestDefaultsAreListedAndFiltered(t *testing.T) {
	h := newHarness(t)
	all := list(h.call("GET", defaults, ""), "key")
	if len(all) < 5 || !slices.IsSorted(all) {
		t.Errorf("the keys are %v", all)
	}
	for _, path := range families("notification-template-defaults", "") {
		same(t, path, list(h.call("GET", path, "", experimental...), "key"), all)
	}
	first := h.call("GET", defaults+"?limit=1", "").Want(200)
	if first.String("0.from") != "noreply@service.example" || first.String("0.locale") != "en" || first.String("0.medium") != "EMAIL" || first.At("0.id") != nil {
		t.Errorf("the first is %s", first.Body)
	}
	for filter, want := range map[string][]string{
		`key eq "password_changed"`:                        {"password_changed"},
		`key in ("password_changed", "approval_reminder")`: {"approval_reminder", "password_changed"},
		`key sw "access_"`:                                 {"access_request_decided", "access_request_submitted"},
		`medium eq "EMAIL" and not key sw "a"`:             {"certification_started", "cloud_manual_work_item_summary", "password_changed"},
		`medium eq "SLACK"`:                                {},
		`locale sw "e" and (key eq "x" or key sw "cert")`:  {"certification_started"},
	} {
		same(t, filter, list(h.call("GET", defaults+query("filters", filter), ""), "key"), want)
	}
	refused(h.call("GET", defaults+query("sorters", "key"), ""), 400, "400.1.3 Illegal value", "nothing can be sorted by")
	refused(h.call("GET", defaults+query("filters", `name eq "x"`), ""), 400, "400.1.3 Illegal value", "name")
}

func TestTemplateIsWrittenReadAndDeleted(t *testing.T) {
	h := newHarness(t)
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	made := h.call("POST", templates, `{"id":"ignored","key":"password_changed","name":"mine","medium":"EMAIL","locale":"de","subject":"Hallo $recipientName","body":"<p>$!{recipientName} $unknown</p>",
		"header":null,"footer":null,"from":"noreply@mail.example.org","replyTo":"noreply@mail.example.org","description":"x","slackTemplate":null,"teamsTemplate":null,"created":"x","stray":1}`).Want(200)
	w := readTemplate(t, made.Body)
	if *w.Subject != "Hallo ${recipientName}" || *w.Body != "<p>${recipientName} $unknown</p>" || *w.Name != "Password Changed" || *w.From != "noreply@mail.example.org" || *w.ReplyTo != "noreply@mail.example.org" || *w.Locale != "de" {
		t.Errorf("made: %s", made.Body)
	}
	again := h.call("POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"de"}`).Want(200)
	if again.At("id") != made.At("id") || again.At("created") != made.At("created") || again.String("from") != "noreply@service.example" || !strings.HasPrefix(again.String("subject"), "Your password") {
		t.Errorf("written again: %s", again.Body)
	}
	one := h.call("GET", templates+"/"+made.String("id"), "").Want(200)
	same(t, "read", string(one.Body), string(again.Body))
	h.call("POST", "/v2024/notification-templates", `{"key":"approval_reminder","medium":"EMAIL","locale":"fr-CA"}`, experimental...).Want(200)
	h.call("POST", templates, `{"key":"approval_reminder","medium":"EMAIL","locale":"en"}`).Want(200)
	// One of the tenant that is none of this API's.
	if _, err := h.Service.CreateTemplate(t.Context(), apitest.Operator, h.tenant.ID, sender.NewTemplate{Type: "welcome", From: "noreply@mail.example.org", Subject: "x"}); err != nil {
		t.Fatal(err)
	}
	other, err := h.Service.Templates(t.Context(), apitest.Operator, h.tenant.ID, sender.TemplateFilter{Type: "welcome"}, sender.Page{})
	if err != nil || len(other) != 1 {
		t.Fatal(err, other)
	}
	refused(h.call("GET", templates+"/"+string(other[0].ID), ""), 404, "404 Not found", "")
	for q, want := range map[string][]string{
		"":                       {"en", "fr-CA", "de"},
		query("sorters", "-key"): {"de", "en", "fr-CA"},
		query("filters", `key eq "approval_reminder"`):            {"en", "fr-CA"},
		query("filters", `locale sw "FR"`):                        {"fr-CA"},
		query("filters", `name sw "Approval" and locale eq "en"`): {"en"},
		query("filters", `id eq "`+made.String("id")+`"`):         {"de"},
		query("sorters", "key,name", "offset", "2"):               {"de"},
	} {
		got := list(h.call("GET", templates+q, ""), "locale")
		if len(got) == 3 || len(got) == 2 { // of one key they come in the order of random ids
			slices.Sort(got)
			slices.Sort(want)
		}
		same(t, q, got, want)
	}
	for _, c := range []struct {
		body string
		left int
	}{
		{`[]`, 3}, {`[{"key":"nothing"},{"key":"password_changed","locale":"fr"},{"key":"password_changed","medium":"SLACK"},{"key":"welcome"}]`, 3},
		{`[{"key":"approval_reminder","medium":"EMAIL","locale":"fr_ca"}]`, 2}, {`[{"key":"password_changed"},{"key":"password_changed"}]`, 1}, {`[{"key":"approval_reminder"}]`, 0},
	} {
		h.call("POST", templates+"/bulk-delete", c.body).Want(204)
		if got := list(h.call("GET", templates, ""), "key"); len(got) != c.left {
			t.Errorf("after %s there is %v", c.body, got)
		}
	}
	if left, err := h.Service.Templates(t.Context(), apitest.Operator, h.tenant.ID, sender.TemplateFilter{}, sender.Page{}); err != nil || len(left) != 1 {
		t.Errorf("the tenant's own template went with them: %v, %v", left, err)
	}
}

func TestTemplateThatCannotBeIsRefusedWithItsCause(t *testing.T) {
	h := newHarness(t)
	h.Domain(h.tenant, "mail.example.org")
	base := `"key":"password_changed","medium":"EMAIL","locale":"en"`
	for body, want := range map[string][2]string{
		`{"medium":"EMAIL","locale":"en"}`:                           {"400.1.0 Required Data Missing Or Empty", "key is missing"},
		`{"key":"password_changed","locale":"en"}`:                   {"400.1.0 Required Data Missing Or Empty", "medium is missing"},
		`{"key":"password_changed","medium":"EMAIL"}`:                {"400.1.0 Required Data Missing Or Empty", "locale is missing"},
		`{"key":"new_one","medium":"EMAIL","locale":"en"}`:           {"400.1.404 Referenced object not found", "new_one"},
		`{"key":"password_changed","medium":"SLACK","locale":"en"}`:  {"400.1.3 Illegal value", "SLACK"},
		`{"key":"password_changed","medium":"EMAIL","locale":"xxx"}`: {"400.1.3 Illegal value", "xxx"},
		`{` + base + `,"header":"x"}`:                                {"400.1.1 Illegal update attempt", "header"},
		`{` + base + `,"footer":""}`:                                 {"400.1.1 Illegal update attempt", "footer"},
		`{` + base + `,"body":"#if($x)y#end"}`:                       {"400.1.3 Illegal value", "directive #if("},
		`{` + base + `,"subject":"two\nlines"}`:                      {"400.1.3 Illegal value", "one line"},
		`{` + base + `,"from":"noreply@mail.example.org"}`:           {"400.1 Bad Request Content", "not a proven address"},
		`{` + base + `,"replyTo":"noreply@elsewhere.example"}`:       {"400.1 Bad Request Content", "not a proven address"},
		`{` + base + `,"body":5}`:                                    {"400.1.3 Illegal value", "string"},
	} {
		refused(h.call("POST", templates, body), 400, want[0], want[1])
	}
	for body, want := range map[string][2]string{
		`{}`:            {"400.0 Bad Request Syntax", "array"},
		`[5]`:           {"400.1.3 Illegal value", "object"},
		`[{}]`:          {"400.1.0 Required Data Missing Or Empty", "key"},
		`[{"key":"x"},`: {"400.0 Bad Request Syntax", "JSON"},
		``:              {"400.0 Bad Request Syntax", "array"},
		"[" + strings.Repeat(`{"key":"x"},`, 250) + `{"key":"x"}]`: {"400.1.4 Limit violation", "251"},
	} {
		refused(h.call("POST", templates+"/bulk-delete", body, "Content-Type", "application/json"), 400, want[0], want[1])
	}
}

func TestTemplateWrittenByManyAtOnceIsOne(t *testing.T) {
	h := newHarness(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			h.call("POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"en"}`).Want(200)
		})
	}
	wg.Wait()
	if got := list(h.call("GET", templates, ""), "id"); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
}

func TestTestNotificationGoesToEverybodyOnceOrToNobody(t *testing.T) {
	h := newHarness(t)
	h.call("POST", sendTest, `{"key":"password_changed","medium":"EMAIL","locale":"fr","context":{"recipientName":"Ada <b>","nested":{"n":1},"__global":{"productName":"Shop"}},
		"recipientEmailList":["one@example.org","ONE@example.org"],"carbonCopy":["two@example.org"],"blindCarbonCopy":["three@example.org","two@example.org"]}`).Want(204)
	for _, to := range []string{"one", "two", "three"} {
		mails := h.Mail.To(to + "@example.org")
		if len(mails) != 1 {
			t.Fatalf("%s got %d mails", to, len(mails))
		}
		m := mails[0]
		if m.From.Address != "noreply@service.example" || m.Subject != "Your password was changed" || !strings.Contains(m.HTML, "Hello Ada &lt;b&gt;,") || !strings.Contains(m.HTML, "Shop") || !strings.Contains(m.Text, "Ada <b>") {
			t.Errorf("%s got %+v", to, m)
		}
	}
	d := h.Proven(h.tenant, "mail.example.org")
	h.Address(h.tenant, d, "noreply@mail.example.org")
	h.call("POST", templates, `{"key":"approval_reminder","medium":"EMAIL","locale":"en","subject":"$accessName: $daysOpen of ${__global.productName}","body":"x","from":"noreply@mail.example.org"}`).Want(200)
	h.call("POST", sendTest, `{"key":"approval_reminder","medium":"EMAIL","context":{"accessName":"Payroll","daysOpen":3},"recipientEmailList":["own@example.org"]}`).Want(204)
	if m := h.Mail.To("own@example.org"); len(m) != 1 || m[0].Subject != "Payroll: 3 of demo" || m[0].From.Address != "noreply@mail.example.org" {
		t.Errorf("the tenant's own words: %+v", m)
	}
	before, err := h.Service.Messages(t.Context(), apitest.Operator, h.tenant.ID, sender.Page{})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, 26)
	for i := range many {
		many[i] = fmt.Sprintf(`"r%d@example.org"`, i)
	}
	const to = `"recipientEmailList":["good@example.org"]`
	for body, want := range map[string][2]string{
		`{}`:                                    {"400.1.0 Required Data Missing Or Empty", "key"},
		`{"key":"password_changed",` + to + `}`: {"400.1.0 Required Data Missing Or Empty", "medium"},
		`{"key":"password_changed","medium":"EMAIL"}`:                                                                  {"400.1.0 Required Data Missing Or Empty", "recipientEmailList"},
		`{"key":"password_changed","medium":"EMAIL","recipientEmailList":["good@example.org","bad"]}`:                  {"400.1.3 Illegal value", "bad"},
		`{"key":"password_changed","medium":"EMAIL","carbonCopy":["x@"],` + to + `}`:                                   {"400.1.3 Illegal value", "domain is empty"},
		`{"key":"password_changed","medium":"EMAIL","recipientEmailList":[` + strings.Join(many, ",") + `]}`:           {"400.1.4 Limit violation", "26"},
		`{"key":"password_changed","medium":"TEAMS",` + to + `}`:                                                       {"400.1.3 Illegal value", "TEAMS"},
		`{"key":"nothing","medium":"EMAIL",` + to + `}`:                                                                {"400.1.404 Referenced object not found", "nothing"},
		`{"key":"password_changed","medium":"EMAIL","locale":"q",` + to + `}`:                                          {"400.1.3 Illegal value", "locale"},
		`{"key":"password_changed","medium":"EMAIL","context":{"otp":"1"},` + to + `}`:                                 {"400.1.3 Illegal value", "reserved"},
		`{"key":"password_changed","medium":"EMAIL","context":[],` + to + `}`:                                          {"400.1.3 Illegal value", "object"},
		`{"key":"password_changed","medium":"EMAIL","context":{"a":"` + strings.Repeat("x", 10_001) + `"},` + to + `}`: {"400.1.3 Illegal value", "octets"},
	} {
		refused(h.call("POST", sendTest, body), 400, want[0], want[1])
	}
	after, err := h.Service.Messages(t.Context(), apitest.Operator, h.tenant.ID, sender.Page{})
	if err != nil || len(after) != len(before) {
		t.Errorf("%d mails were queued by refused requests: %v", len(after)-len(before), err)
	}
}

func TestContextAndVariablesDescribeThemselves(t *testing.T) {
	h := newHarness(t)
	about := h.call("GET", "/v2025/notification-template-context", "", experimental...).Want(200)
	if about.String("attributes.productUrl") != h.server.URL || about.String("attributes.brandingConfigs.default.productName") != "demo" || about.String("attributes.brandingConfigs.default.emailFromAddress") != "noreply@service.example" {
		t.Errorf("the context is %s", about.Body)
	}
	for _, path := range []string{"/notification-template-variables/v1", "/v2026/notification-template-variables"} {
		r := h.call("GET", path+"/password_changed/EMAIL", "").Want(200)
		if r.String("key") != "password_changed" || r.String("medium") != "EMAIL" || r.String("globalVariables.0.key") != "__global.emailFromAddress" || r.String("templateVariables.0.key") != "changedAt" || r.String("templateVariables.0.type") != "string" {
			t.Errorf("the variables are %s", r.Body)
		}
		if r = h.call("GET", path+"/password_changed/EMAIL?sorters=-key", "").Want(200); r.String("templateVariables.2.key") != "changedAt" {
			t.Errorf("sorted the other way: %s", r.Body)
		}
		refused(h.call("GET", path+"/nothing/EMAIL", ""), 404, "404 Not found", "")
		refused(h.call("GET", path+"/password_changed/SLACK", ""), 404, "404 Not found", "")
		refused(h.call("GET", path+"/password_changed/EMAIL?sorters=example", ""), 400, "400.1.3 Illegal value", "example")
	}
}

func TestPreferencesAreKept(t *testing.T) {
	h := newHarness(t)
	keys := list(h.call("GET", defaults, ""), "key")
	r := h.call("GET", preferences+"?count=true", "").Want(200)
	same(t, "the keys", list(r, "key"), keys)
	if r.Header.Get("X-Total-Count") != fmt.Sprint(len(keys)) || r.At("0.modified") != nil || r.At("0.ccList") != nil || fmt.Sprint(r.At("0.mediums")) != "[EMAIL]" {
		t.Errorf("untouched: %s of %s", r.Body, r.Header.Get("X-Total-Count"))
	}
	path := preferences + "/password_changed"
	put := h.call("PUT", path, `{"key":"password_changed","mediums":["EMAIL","SLACK"],"ccList":[{"type":"STATIC_EMAIL","email":"a@example.org"},{"type":"ORG_ADMINS"}],"bccList":[{"type":"IDENTITY","id":"x"}],"modified":"x"}`).Want(200)
	got := h.call("GET", "/v2026/notification-preferences/password_changed", "").Want(200)
	same(t, "read again", string(got.Body), string(put.Body))
	if got.String("ccList.0.email") != "a@example.org" || got.At("ccList.0.id") != nil || got.String("bccList.0.id") != "x" || got.String("modified") == "" {
		t.Errorf("it is %s", got.Body)
	}
	if r := h.call("GET", path+"?filterUnavailableMediums=true", "").Want(200); fmt.Sprint(r.At("mediums")) != "[EMAIL]" {
		t.Errorf("available media: %s", r.Body)
	}
	if r := h.call("PUT", path, `{"mediums":[]}`).Want(200); !strings.HasPrefix(string(r.Body), `{"key":"password_changed","mediums":[],"m`) {
		t.Errorf("switched off: %s", r.Body)
	}
	same(t, "one", list(h.call("GET", preferences+query("filters", `key in ("password_changed","x")`, "sorters", "-key"), ""), "mediums"), []string{"[]"})
	entry := `{"type":"IDENTITY","id":"%d"}`
	var six []string
	for i := range 6 {
		six = append(six, fmt.Sprintf(entry, i))
	}
	for body, want := range map[string][2]string{
		`{}`: {"400.1.0 Required Data Missing Or Empty", "mediums"},
		`{"key":"approval_reminder","mediums":[]}`:                                                               {"400.1.1 Illegal update attempt", "key"},
		`{"mediums":["PIGEON"]}`:                                                                                 {"400.1.3 Illegal value", "PIGEON"},
		`{"mediums":["EMAIL","EMAIL"]}`:                                                                          {"400.1.3 Illegal value", "twice"},
		`{"mediums":["INBOX"],"ccList":[{"type":"ORG_ADMINS"}]}`:                                                 {"400.1.3 Illegal value", "EMAIL"},
		`{"mediums":["EMAIL"],"ccList":[` + strings.Join(six, ",") + `]}`:                                        {"400.1.4 Limit violation", "5"},
		`{"mediums":["EMAIL"],"bccList":[{"type":"FRIEND"}]}`:                                                    {"400.1.3 Illegal value", "FRIEND"},
		`{"mediums":["EMAIL"],"bccList":[{"type":"IDENTITY"}]}`:                                                  {"400.1.0 Required Data Missing Or Empty", "id is missing"},
		`{"mediums":["EMAIL"],"bccList":[{"type":"STATIC_EMAIL","email":"x"}]}`:                                  {"400.1.3 Illegal value", "not one email address"},
		`{"mediums":["EMAIL"],"bccList":[{"type":"STATIC_EMAIL"}]}`:                                              {"400.1.0 Required Data Missing Or Empty", "email is missing"},
		`{"mediums":["EMAIL"],"ccList":[{"type":"IDENTITY","id":"x"}],"bccList":[{"type":"IDENTITY","id":"x"}]}`: {"400.1.3 Illegal value", "twice"},
		`{"mediums":["EMAIL"],"ccList":[{"type":"IDENTITY","id":"` + strings.Repeat("x", 101) + `"}]}`:           {"400.1.3 Illegal value", "too long"},
		`{"mediums":"EMAIL"}`: {"400.1.3 Illegal value", "array"},
	} {
		refused(h.call("PUT", path, body), 400, want[0], want[1])
	}
	refused(h.call("PUT", preferences+"/nothing", `{"mediums":[]}`), 404, "404 Not found", "preference")
	refused(h.call("GET", preferences+"/nothing", ""), 404, "404 Not found", "preference")
	refused(h.call("GET", path+"?filterUnavailableMediums=x", ""), 400, "400.1.3 Illegal value", "filterUnavailableMediums")
	h.call("PUT", "/v2025/notification-preferences/password_changed", `{"mediums":[]}`, experimental...).Want(405)
}
