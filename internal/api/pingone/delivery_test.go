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
	const requests = `"requests":[{"deliveryMethod":"EMAIL","method":"POST","url":"https://Bücher.example.org/mail?k=v","headers":{"content-type":"application/json","X-Key":""},"body":"{\"to\":\"${to}\",\"m\":\"${message}\"}"}]`
	tr.do("PUT", path, `{"protocol":"HTTP","name":"Example","provider":"CUSTOM_PROVIDER","authentication":{"method":"BEARER","authToken":"hunter2"},`+requests+`,"from":{"name":"","address":"noreply@mail.example.org"}}`)
	tr.do("GET", path, "")
	tr.do("PUT", path, `{"protocol":"HTTP","name":"Example","authentication":{"method":"BASIC","username":"postseal"},`+requests+`}`)
	tr.do("PUT", path, `{"protocol":"HTTP","name":"Example","authentication":{"method":"BASIC","username":"postseal","password":"hunter2"},"requests":[{"deliveryMethod":"EMAIL","method":"GET","url":"https://mail.example.org?to=${to}&m=${message}","headers":{}}]}`)
	tr.do("PUT", path, `{"protocol":"HTTP","name":"Example","authentication":{"method":"BEARER","authToken":"hunter2"},"requests":[{"deliveryMethod":"EMAIL","method":"POST","url":"http://mail.example.org","body":"x"}]}`)
	tr.do("PUT", path, `{"host":"smtp.example.org","username":"postseal"}`)
	tr.do("PUT", path, `{"host":"bücher.example.org","from":{"name":"","address":"noreply@mail.example.org"}}`)
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
	if answers := strings.Count(tr.b.String(), "hunter2") - strings.Count(tr.b.String(), `"password":"hunter2"`) - strings.Count(tr.b.String(), `"authToken":"hunter2"`); answers != 0 || strings.Contains(h.Logged(), "hunter2") {
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
	for body, target := range map[string]string{`"port":0`: "port", `"port":65536`: "port", `"protocol":"smtp"`: "protocol"} {
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

func TestHTTPProvidersAreRefusedByTheMemberThatIsWrong(t *testing.T) {
	h := newHarness(t)
	const (
		auth     = `"authentication":{"method":"BEARER","authToken":"t"}`
		request  = `{"deliveryMethod":"EMAIL","method":"GET","url":"https://mail.example.org?to=${to}&m=${message}"}`
		requests = `"requests":[` + request + `]`
	)
	for _, c := range []struct{ body, code, target string }{
		{auth + `,` + requests, "REQUIRED_VALUE", "name"},
		{`"name":"x",` + requests, "REQUIRED_VALUE", "authentication"},
		{`"name":"x",` + auth, "REQUIRED_VALUE", "requests"},
		{`"name":"x","requests":[],` + auth, "REQUIRED_VALUE", "requests"},
		{`"name":"x","provider":"CUSTOM_TWILIO",` + auth + `,` + requests, "INVALID_VALUE", "provider"},
		{`"name":"x","authentication":{},` + requests, "REQUIRED_VALUE", "authentication.method"},
		{`"name":"x","authentication":{"method":"OAUTH2"},` + requests, "INVALID_VALUE", "authentication.method"},
		{`"name":"x","authentication":{"method":"BEARER"},` + requests, "REQUIRED_VALUE", "authentication.authToken"},
		{`"name":"x","authentication":{"method":"BASIC","password":"p"},` + requests, "REQUIRED_VALUE", "authentication.username"},
		{`"name":"x","authentication":{"method":"BASIC","username":"u"},` + requests, "REQUIRED_VALUE", "authentication.password"},
		{`"name":"x",` + auth + `,"requests":[` + request + `,` + request + `]`, "INVALID_VALUE", "requests"},
		{`"name":"x",` + auth + `,"requests":[{"deliveryMethod":"SMS","method":"GET","url":"https://mail.example.org"}]`, "INVALID_VALUE", "requests[0].deliveryMethod"},
		{`"name":"x",` + auth + `,"requests":[{"deliveryMethod":"EMAIL","method":"PUT","url":"https://mail.example.org"}]`, "INVALID_VALUE", "requests[0].method"},
		{`"name":"x",` + auth + `,"requests":[{"deliveryMethod":"EMAIL","method":"GET"}]`, "REQUIRED_VALUE", "requests[0].url"},
		{`"name":"x",` + auth + `,"requests":[{"deliveryMethod":"EMAIL","method":"POST","url":"https://mail.example.org"}]`, "REQUIRED_VALUE", "requests[0].body"},
		{`"name":"x",` + auth + `,"requests":[{"deliveryMethod":"EMAIL","method":"GET","url":"https://mail.example.org","headers":{"Host":"x"}}]`, "INVALID_VALUE", "requests[0].headers"},
		{`"name":"x","from":{"address":"boss@example.com"},` + auth + `,` + requests, "INVALID_VALUE", "from"},
	} {
		wantDetail(t, h.call("PUT", h.base+deliverySettings, `{"protocol":"HTTP",`+c.body+`}`), c.code, c.target)
	}
}

// A name that is empty is not one that is missing: a client that compares what it sent
// with what it gets would change it for ever.
func TestNamesComeBackAsTheyWereSent(t *testing.T) {
	h := newHarness(t)
	h.Address(h.tenant, h.Proven(h.tenant, "mail.example.org"), "noreply@mail.example.org")
	const address = `"address":"NoReply@mail.example.org"`
	contents := h.base + "/templates/general/contents"
	one := contents + "/" + h.call("POST", contents, `{"locale":"en","deliveryMethod":"Email","body":"x"}`).Want(201).String("id")
	for _, name := range []string{`"name":"",`, ``, `"name":" ",`, `"name":"\"<x>\\",`, `"name":"Ä",`} {
		who := `{` + name + address + `}`
		for path, body := range map[string]string{
			h.base + "/notificationsSettings": `{"from":` + who + `,"replyTo":` + who + `}`,
			h.base + deliverySettings:         `{"host":"smtp.example.org","from":` + who + `,"replyTo":` + who + `}`,
			one:                               `{"locale":"en","deliveryMethod":"Email","body":"x","from":` + who + `,"replyTo":` + who + `}`,
		} {
			for _, r := range []string{string(h.call("PUT", path, body).Want(200).Body), string(h.call("GET", path, "").Want(200).Body)} {
				if !strings.Contains(r, `"from":`+who) || !strings.Contains(r, `"replyTo":`+who) {
					t.Errorf("%s: sent %s, got %s", path, who, r)
				}
			}
		}
	}
}
