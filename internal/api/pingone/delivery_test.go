package pingone_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postseal/postseal/internal/sender"
)

const deliverySettings = "/notificationsSettings/emailDeliverySettings"

func TestGoldenExchangesOfDeliverySettings(t *testing.T) {
	h := newHarness(t)
	h.Address(h.tenant, h.Proven(h.tenant, "mail.example.org"), "noreply@mail.example.org")
	tr := &transcript{h: h, ids: make(map[string]string)}
	path := h.base + deliverySettings

	tr.do("GET", path, "")
	tr.do("PUT", path, `{"host":"SMTP.example.org","username":"postseal","password":"hunter2","from":{"name":"Example","address":"NoReply@mail.example.org"},"replyTo":{"address":"noreply@mail.example.org"}}`)
	tr.do("PUT", path, `{"host":"SMTP.example.org","port":587,"username":"postseal","from":{"address":"noreply@mail.example.org"}}`)
	tr.do("GET", path, "")
	tr.do("PUT", path, `{"host":"smtp.example.net","port":587,"username":"postseal","from":{"address":"noreply@mail.example.org"}}`)
	tr.do("PUT", path, `{"host":"smtp.example.org","username":"postseal","password":"hunter2","from":{"address":"boss@example.com"}}`)
	tr.do("PUT", path, `{"host":"smtp.example.org","username":"postseal","password":"hunter2","from":{"name":"Example"}}`)
	tr.do("PUT", path, `{"host":"smtp.example.org:25"}`)
	tr.do("PUT", path, `{"host":"smtp.example.org","port":22}`)
	tr.do("PUT", path, `{"host":"smtp.example.org","port":"587"}`)
	tr.do("PUT", path, `{"protocol":"HTTP","name":"Example","provider":"CUSTOM_PROVIDER","authentication":{"method":"BEARER","authToken":"t"},"requests":[{"deliveryMethod":"EMAIL","method":"POST","url":"https://mail.example.org"}]}`)
	tr.do("PUT", path, `{}`)
	tr.do("DELETE", path, "")
	tr.do("DELETE", path, "")
	tr.do("GET", path, "")

	golden := filepath.Join("testdata", "delivery.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(tr.b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), tr.b.String()); diff != "" {
		t.Errorf("the exchanges changed; look at each line, then run with -update (-want +got):\n%s", diff)
	}
	if answers := strings.Count(tr.b.String(), "hunter2") - strings.Count(tr.b.String(), `"password":"hunter2"`); answers != 0 || strings.Contains(h.Logged(), "hunter2") {
		t.Error("a password is in an answer, or in the log")
	}
}

// The port decides the protocol, whatever the client says.
func TestProtocolFollowsFromThePort(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string]string{
		`"port":25`: "SMTP", `"port":587`: "SMTP", `"port":2525,"protocol":"SMTPS"`: "SMTP",
		`"port":465`: "SMTPS", `"port":2465`: "SMTPS", `"protocol":"SMTP"`: "SMTPS", `"port":null`: "SMTPS",
	} {
		r := h.call("PUT", h.base+deliverySettings, `{"host":"smtp.example.org",`+body+`}`).Want(200)
		if got := r.String("protocol"); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
		if _, err := time.Parse(time.RFC3339, r.String("updatedAt")); err != nil || r.String("environment.id") != string(h.tenant.ID) {
			t.Errorf("%s: %s", body, r.Body)
		}
	}
	for body, target := range map[string]string{`"port":0`: "port", `"port":65536`: "port", `"protocol":"HTTP"`: "protocol", `"protocol":"smtp"`: "protocol"} {
		wantDetail(t, h.call("PUT", h.base+deliverySettings, `{"host":"smtp.example.org",`+body+`}`), "INVALID_VALUE", target)
	}
}

func TestDeliverySettingsOfAnotherEnvironmentAreNotThere(t *testing.T) {
	h := newHarness(t)
	other := h.Tenant("other")
	if _, err := h.Service.SetRelay(t.Context(), sender.Principal{Operator: true}, other.ID, sender.NewRelay{Host: "smtp.example.net"}); err != nil {
		t.Fatal(err)
	}
	path := "/v1/environments/" + string(other.ID) + deliverySettings
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		body := ""
		if method == "PUT" {
			body = `{"host":"smtp.example.org"}`
		}
		if r := h.call(method, path, body).Want(404); r.String("code") != "NOT_FOUND" {
			t.Errorf("%s: %s", method, r.Body)
		}
	}
	h.token = h.Token(h.tenant, sender.RoleReader)
	h.call("GET", h.base+deliverySettings, "").Want(200)
	h.call("PUT", h.base+deliverySettings, `{"host":"smtp.example.org"}`).Want(403)
	h.call("DELETE", h.base+deliverySettings, "").Want(403)
	h.token = ""
	h.call("GET", h.base+deliverySettings, "").Want(401)
}
