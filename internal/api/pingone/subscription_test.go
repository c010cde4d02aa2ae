package pingone_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/pingone"
	"github.com/postseal/postseal/internal/sender"
)

const subscription = `{"name":"Audit","enabled":true,"verifyTlsCertificates":true,"format":"ACTIVITY","filterOptions":{"includedActionTypes":["EMAIL_DOMAIN.CREATED","TRUSTED_EMAIL.ACTIVE","USER.CREATED"],"ipAddressExposed":true},"httpEndpoint":{"url":"https://hooks.example.org/a","headers":{"Authorization":"Basic hidden"}}}`

func TestSubscriptionsAreMadeReadChangedListedAndDeleted(t *testing.T) {
	h := newHarness(t)
	path := h.base + "/subscriptions"
	r := h.call("POST", path, subscription).Want(201)
	id := r.String("id")
	if r.String("name") != "Audit" || r.At("enabled") != true || r.At("verifyTlsCertificates") != true || r.String("format") != "ACTIVITY" || r.String("protocol") != "HTTPS" ||
		r.String("httpEndpoint.headers.Authorization") != "Basic hidden" || r.String("filterOptions.includedActionTypes.2") != "USER.CREATED" ||
		r.At("filterOptions.ipAddressExposed") != true || r.At("filterOptions.userAgentExposed") != nil || r.String("environment.id") != string(h.tenant.ID) ||
		!strings.HasSuffix(r.String("_links.self.href"), path+"/"+id) {
		t.Errorf("made %s", r.Body)
	}
	if _, err := time.Parse(time.RFC3339, r.String("createdAt")); err != nil {
		t.Error(err)
	}
	if again := h.call("GET", path+"/"+id, "").Want(200); string(again.Body) != string(r.Body) {
		t.Errorf("read %s, made %s", again.Body, r.Body)
	}
	w, err := h.Store.Webhook(t.Context(), h.tenant.ID, sender.ID(id))
	if err != nil || len(w.Types) != 2 || w.Types[0] != sender.EventAddressActive || w.Types[1] != sender.EventDomainCreated {
		t.Errorf("the core has %+v, %v", w, err)
	}

	second := h.call("POST", path, strings.Replace(subscription, `"httpEndpoint"`, `"protocol":"HTTPS","payloadOptions":{"maximumPayloadLimit":{"type":"EVENTS_PER_PAYLOAD","size":5}},"connectionDetails"`, 1)).Want(201)
	if second.String("connectionDetails.url") != "https://hooks.example.org/a" || second.At("payloadOptions.maximumPayloadLimit.size") != 5.0 {
		t.Errorf("with connectionDetails: %s", second.Body)
	}
	own, _, err := h.Service.CreateWebhook(t.Context(), apitest.Operator, h.tenant.ID, sender.NewWebhook{URL: "https://native.example", Types: []sender.EventType{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	h.call("GET", path+"/"+string(own.ID), "").Want(404)
	h.call("DELETE", path+"/"+string(own.ID), "").Want(404)
	h.call("PUT", path+"/"+string(own.ID), subscription).Want(404)
	if r = h.call("GET", path+"?limit=1", "").Want(200); r.At("count") != 2.0 || r.At("size") != 1.0 || r.String("_embedded.subscriptions.0.id") != id {
		t.Errorf("the first page: %s", r.Body)
	}
	_, next, _ := strings.Cut(r.String("_links.next.href"), "/v1/")
	if r = h.call("GET", "/v1/"+next, "").Want(200); r.String("_embedded.subscriptions.0.id") != second.String("id") || r.At("_links.next") != nil {
		t.Errorf("the second page: %s", r.Body)
	}

	r = h.call("PUT", path+"/"+id, strings.NewReplacer(`"enabled":true`, `"enabled":false`, "Audit", "Other", `,"headers":{"Authorization":"Basic hidden"}`, "").Replace(subscription)).Want(200)
	if r.String("name") != "Other" || r.At("enabled") != false || r.At("httpEndpoint.headers") != nil || r.String("id") != id {
		t.Errorf("changed: %s", r.Body)
	}
	h.call("DELETE", path+"/"+id, "").Want(204)
	h.call("GET", path+"/"+id, "").Want(404)
	if strings.Contains(h.Logged(), "hidden") {
		t.Error("the log has a header's value")
	}
}

func TestSubscriptionsThatCanNotBeAreRefused(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Webhooks.PerTenant = 1 })
	path := h.base + "/subscriptions"
	for _, c := range []struct{ old, new, code, target string }{
		{`"name":"Audit",`, ``, "REQUIRED_VALUE", "name"},
		{`"enabled":true,`, ``, "REQUIRED_VALUE", "enabled"},
		{`"verifyTlsCertificates":true,`, ``, "REQUIRED_VALUE", "verifyTlsCertificates"},
		{`"verifyTlsCertificates":true`, `"verifyTlsCertificates":false`, "INVALID_VALUE", "verifyTlsCertificates"},
		{`"ACTIVITY"`, `"SPLUNK"`, "INVALID_VALUE", "format"},
		{`"ACTIVITY"`, `"NEWRELIC"`, "INVALID_VALUE", "format"},
		{`"format"`, `"protocol":"TCP_IP","format"`, "INVALID_VALUE", "protocol"},
		{`"url":"https://hooks.example.org/a",`, ``, "REQUIRED_VALUE", "httpEndpoint.url"},
		{`https://`, `http://`, "INVALID_VALUE", "httpEndpoint.url"},
		{`"Authorization"`, `"Host"`, "INVALID_VALUE", "httpEndpoint.headers"},
		{`"USER.CREATED"`, `"user created"`, "INVALID_VALUE", "filterOptions.includedActionTypes"},
		{`["EMAIL_DOMAIN.CREATED","TRUSTED_EMAIL.ACTIVE","USER.CREATED"]`, `[]`, "REQUIRED_VALUE", "filterOptions.includedActionTypes"},
		{`"ipAddressExposed"`, `"includedPopulations":[{"id":"x"}],"ipAddressExposed"`, "INVALID_VALUE", "filterOptions.includedPopulations"},
		{`"ipAddressExposed"`, `"includedTags":["adminIdentityEvent"],"ipAddressExposed"`, "INVALID_VALUE", "filterOptions.includedTags"},
		{`"format"`, `"tlsClientAuthKeyPair":{"id":"x"},"format"`, "INVALID_VALUE", "tlsClientAuthKeyPair"},
		{`"format"`, `"payloadOptions":{"payloadFormat":{"https":{"format":"ND_JSON"}}},"format"`, "INVALID_VALUE", "payloadOptions.payloadFormat.https.format"},
	} {
		r := h.call("POST", path, strings.Replace(subscription, c.old, c.new, 1)).Want(400)
		if r.String("code") != "INVALID_DATA" || r.String("details.0.code") != c.code || r.String("details.0.target") != c.target {
			t.Errorf("%s: %s", c.new, r.Body)
		}
	}
	id := h.call("POST", path, subscription).Want(201).String("id")
	if r := h.call("POST", path, subscription).Want(400); r.String("details.0.code") != "LIMIT_EXCEEDED" || r.String("details.0.target") != "subscriptions" {
		t.Errorf("over the limit: %s", r.Body)
	}
	reader, other := h.Token(h.tenant, sender.RoleReader), h.Token(h.Tenant("other"), sender.RoleAdmin)
	if r := apitest.Call(h.T, h.server, reader, "GET", path+"/"+id, "").Want(200); r.String("httpEndpoint.headers.Authorization") != "" || strings.Contains(string(r.Body), "hidden") {
		t.Errorf("a reader sees %s", r.Body)
	}
	apitest.Call(h.T, h.server, reader, "DELETE", path+"/"+id, "").Want(403)
	for _, method := range []string{"GET", "DELETE"} {
		apitest.Call(h.T, h.server, other, method, path+"/"+id, "").Want(404)
	}
}

func TestActivityIsInTheVendorsForm(t *testing.T) {
	e := sender.Event{
		ID: "0197a000-0000-7000-8000-0000000000e1", Tenant: "0197a000-0000-7000-8000-0000000000a1", At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Type: sender.EventDomainCreated, Object: "0197a000-0000-7000-8000-0000000000d1", Actor: "0197a000-0000-7000-8000-0000000000c1", Data: map[string]string{"domainName": "example.org"},
	}
	b, err := pingone.Activities(sender.Webhook{}, e)
	const want = `[{"id":"0197a000-0000-7000-8000-0000000000e1","recordedAt":"2026-03-01T12:00:00.000Z","createdAt":"2026-03-01T12:00:00.000Z","correlationId":"0197a000-0000-7000-8000-0000000000e1",` +
		`"actors":{"client":{"id":"0197a000-0000-7000-8000-0000000000c1","environment":{"id":"0197a000-0000-7000-8000-0000000000a1"},"type":"CLIENT"}},` +
		`"action":{"type":"EMAIL_DOMAIN.CREATED","description":"Email domain created"},` +
		`"resources":[{"type":"EMAIL_DOMAIN","id":"0197a000-0000-7000-8000-0000000000d1","name":"example.org","environment":{"id":"0197a000-0000-7000-8000-0000000000a1"}}],` +
		`"result":{"status":"SUCCESS","description":"Email domain created"}}]`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
	for event, action := range map[sender.EventType]string{sender.EventMessageFailed: "NOTIFICATION.REJECTED", sender.EventWebhookTest: "WEBHOOK.TEST", sender.EventFacetLapsed: "DOMAIN.RECORD_LAPSED"} {
		e.Type = event
		b, err := pingone.Activities(sender.Webhook{}, e)
		var as []struct {
			Action struct{ Type string }
			Result struct{ Status string }
		}
		if err == nil {
			err = json.Unmarshal(b, &as, json.MatchCaseInsensitiveNames(true))
		}
		if err != nil || as[0].Action.Type != action || (as[0].Result.Status == "FAILED") != strings.HasSuffix(action, "REJECTED") {
			t.Errorf("%s: %s, %v", event, b, err)
		}
	}
}
