package native_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/sender"
)

func TestWebhooksAreMadeShownChangedAndDeleted(t *testing.T) {
	h := newHarness(t)
	path := h.base + "/webhooks"
	r := h.call(h.admin, "POST", path, `{"url":"https://Hooks.example.org/a?token=hidden","description":"ours","types":["domain.*"]}`).Want(201)
	secret, id := r.String("secret"), r.String("id")
	if !strings.HasPrefix(secret, "whsec_") || len(secret) != 50 || r.String("url") != "https://Hooks.example.org/a?token=hidden" || r.String("types.0") != "domain.*" ||
		r.At("enabled") != true || r.String("format") != "standard" || r.At("failingSince") != nil {
		t.Errorf("made %s", r.Body)
	}
	one := path + "/" + id
	if r := h.call(h.admin, "GET", one, "").Want(200); r.String("id") != id || r.At("secret") != nil {
		t.Errorf("read %s", r.Body)
	}
	if r := h.call(h.Token(h.tenant, sender.RoleReader), "GET", path, "").Want(200); r.String("items.0.id") != id || strings.Contains(string(r.Body), "whsec_") {
		t.Errorf("listed %s", r.Body)
	}
	r = h.call(h.admin, "PUT", one, `{"url":"https://other.example.org","enabled":false}`).Want(200)
	if r.String("url") != "https://other.example.org" || r.At("description") != nil || r.String("types.0") != "*" || r.At("enabled") != false || r.String("disabledBy") != "tenant" {
		t.Errorf("changed: %s", r.Body)
	}
	problem(t, h.call(h.admin, "POST", one+"/replay", `{"since":"2026-01-01T00:00:00Z"}`), 409, "conflict", "enabled")
	h.call(h.admin, "PUT", one, `{"url":"https://other.example.org"}`).Want(200)

	r = h.call(h.admin, "POST", one+"/rotate", `{"overlap":60}`).Want(200)
	if fresh := r.String("secret"); !strings.HasPrefix(fresh, "whsec_") || fresh == secret {
		t.Errorf("rotated: %s", r.Body)
	}
	problem(t, h.call(h.admin, "POST", one+"/rotate", `{"overlap":604801}`), 422, "invalid", "overlap")

	r = h.call(h.admin, "POST", one+"/test", "").Want(200)
	if got := h.Hooks.Posted(); r.At("delivered") != true || r.At("status") != 204.0 || len(got) != 1 || got[0].Event.Type != "webhook.test" || len(got[0].Webhook.Secrets) != 2 {
		t.Errorf("tested: %s, %+v", r.Body, got)
	}
	h.Hooks.Answer(sender.Posted{Error: "it did not answer in time"})
	if r = h.call(h.admin, "POST", one+"/test", "").Want(200); r.At("delivered") != false || r.At("status") != nil || r.String("error") != "it did not answer in time" {
		t.Errorf("tested: %s", r.Body)
	}

	if _, err := h.Service.CreateDomain(t.Context(), apitest.Operator, h.tenant.ID, "mail.example.org"); err != nil {
		t.Fatal(err)
	}
	r = h.call(h.admin, "GET", one+"/deliveries?limit=1", "").Want(200)
	if r.String("items.0.state") != "pending" || r.At("items.0.attempts") != 0.0 || r.String("items.0.nextAttemptAt") == "" || r.String("nextCursor") == "" {
		t.Errorf("deliveries: %s", r.Body)
	}
	event := r.String("items.0.event")
	if r = h.call(h.admin, "GET", one+"/deliveries?limit=1&cursor="+r.String("nextCursor"), "").Want(200); r.String("items.0.event") == event {
		t.Errorf("the next page: %s", r.Body)
	}
	if r = h.call(h.admin, "POST", one+"/replay", fmt.Sprintf(`{"event":%q}`, event)).Want(202); r.At("queued") != 1.0 || r.At("more") != false {
		t.Errorf("replayed: %s", r.Body)
	}
	problem(t, h.call(h.admin, "POST", one+"/replay", `{}`), 422, "required", "event")
	problem(t, h.call(h.admin, "POST", one+"/replay", `{"event":"0197a000-0000-7000-8000-0000000000ff"}`), 404, "not-found", "")

	h.call(h.admin, "DELETE", one, "").Want(204)
	problem(t, h.call(h.admin, "GET", one, ""), 404, "not-found", "")
	problem(t, h.call(h.admin, "GET", one+"/deliveries", ""), 404, "not-found", "")
	for _, word := range []string{secret, "token=hidden", "whsec_"} {
		if strings.Contains(h.Logged(), word) {
			t.Errorf("the log has %q", word)
		}
	}
	log := h.call(h.admin, "GET", h.base+"/events?limit=1000", "").Want(200)
	for _, word := range []string{"webhook.created", "webhook.changed", "webhook.rotated", "webhook.tested", "webhook.replayed", "webhook.deleted"} {
		if !strings.Contains(string(log.Body), word) {
			t.Errorf("the audit log lacks %s", word)
		}
	}
	if strings.Contains(string(log.Body), "hidden") || strings.Contains(string(log.Body), "whsec_") {
		t.Errorf("the audit log tells too much: %s", log.Body)
	}
}

func TestWebhooksAreForAdminsOfTheirTenant(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Webhooks.PerTenant = 2 })
	path := h.base + "/webhooks"
	const body = `{"url":"https://hooks.example.org"}`
	one := path + "/" + h.call(h.admin, "POST", path, body).Want(201).String("id")
	reader := h.Token(h.tenant, sender.RoleSender)
	other := h.Token(h.Tenant("other"), sender.RoleAdmin)
	for _, c := range []struct{ method, path, body string }{
		{"POST", path, body}, {"PUT", one, body}, {"DELETE", one, ""}, {"POST", one + "/rotate", "{}"}, {"POST", one + "/test", ""},
		{"POST", one + "/replay", `{"since":"2026-01-01T00:00:00Z"}`},
	} {
		problem(t, h.call(reader, c.method, c.path, c.body), 403, "denied", "")
		problem(t, h.call(other, c.method, c.path, c.body), 404, "not-found", "")
	}
	for _, p := range []string{path, one, one + "/deliveries"} {
		h.call(reader, "GET", p, "").Want(200)
		problem(t, h.call(other, "GET", p, ""), 404, "not-found", "")
	}
	for body, field := range map[string]string{
		`{"url":"http://hooks.example.org"}`: "url", `{"url":"https://hooks.example.org","types":["Domain"]}`: "types",
	} {
		problem(t, h.call(h.admin, "POST", path, body), 422, "invalid", field)
	}
	problem(t, h.call(h.admin, "POST", path, `{}`), 422, "required", "url")
	h.call(h.admin, "POST", path, body).Want(201)
	problem(t, h.call(h.admin, "POST", path, body), 409, "limit", "webhooks")
	if len(h.Hooks.Posted()) != 0 {
		t.Error("something was posted")
	}
}

func TestWebhooksCanBeSwitchedOff(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Webhooks.PerTenant = 0 })
	problem(t, h.call(h.admin, "POST", h.base+"/webhooks", `{"url":"https://hooks.example.org"}`), 422, "refused", "webhooks")
}
