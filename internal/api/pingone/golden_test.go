package pingone_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

var update = flag.Bool("update", false, "write the golden exchanges anew")

var (
	uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
	hosts = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// transcript writes exchanges so that two runs give the same text: ids are
// numbered in the order of their appearance.
type transcript struct {
	h   *harness
	b   strings.Builder
	ids map[string]string
}

func (tr *transcript) normal(s string) string {
	s = uuids.ReplaceAllStringFunc(s, func(id string) string {
		if tr.ids[id] == "" {
			tr.ids[id] = fmt.Sprintf("00000000-0000-0000-0000-%012d", len(tr.ids)+1)
		}
		return tr.ids[id]
	})
	return hosts.ReplaceAllString(times.ReplaceAllString(s, "2026-01-02T03:04:05.678Z"), "api.example.org")
}

// do makes one exchange, writes it down and returns the id in the answer.
func (tr *transcript) do(method, path, body string, header ...string) sender.ID {
	r := tr.h.call(method, path, body, header...)
	fmt.Fprintf(&tr.b, "> %s %s\n", method, tr.normal(path))
	if body != "" {
		fmt.Fprintf(&tr.b, "> %s\n", body)
	}
	fmt.Fprintf(&tr.b, "< %d\n", r.Status)
	if len(r.Body) == 0 {
		tr.b.WriteString("\n")
		return ""
	}
	v := jsontext.Value(r.Body).Clone() // indenting works in place
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		tr.h.T.Fatalf("%s %s: %v", method, path, err)
	}
	fmt.Fprintf(&tr.b, "%s\n\n", tr.normal(string(v)))
	return sender.ID(r.String("id"))
}

// The bodies in the file are those of the documents: names, order of nesting,
// three regions, three tokens in each.
func TestGoldenExchanges(t *testing.T) {
	h := newHarness(t)
	tr := &transcript{h: h, ids: make(map[string]string)}
	const activate = "application/vnd.pingidentity.trustedEmail.activate+json"

	tr.do("GET", h.base, "")
	tr.do("GET", "/v1/environments?filter=name%20sw%20%22demo%22", "")
	tr.do("GET", h.base+"/billOfMaterials", "")
	tr.do("GET", h.domains(), "")
	d := tr.do("POST", h.domains(), createDomain("mail.example.org"))
	tr.do("POST", h.domains(), createDomain("MAIL.example.org"))
	tr.do("POST", h.domains(), createDomain("*.example.org"))
	tr.do("POST", h.domains(), `{}`)
	tr.do("POST", h.domains(), `{"domainName":`)
	tr.do("GET", h.domain(d), "")
	tr.do("GET", h.domain(d)+"/ownership", "")
	tr.do("POST", h.addresses(d), createAddress("noreply@mail.example.org"))
	h.Publish(mustDomain(h, d), dnscheck.Ownership, dnscheck.DKIM)
	tr.do("GET", h.domain(d)+"/ownership", "")
	tr.do("GET", h.domain(d)+"/dkim", "")
	tr.do("GET", h.domain(d)+"/spf", "")
	a := tr.do("POST", h.addresses(d), createAddress("noreply@mail.example.org"))
	tr.do("POST", h.addresses(d), createAddress("noreply@elsewhere.example"))
	tr.do("POST", h.address(d, a), `{"verificationCode":"wrong"}`, "Content-Type", activate)
	tr.b.WriteString("(the code of the mail is sent, which is not written down)\n")
	h.call("POST", h.address(d, a), fmt.Sprintf(`{"verificationCode":%q}`, h.Mail.Code(t, "noreply@mail.example.org")), "Content-Type", activate).Want(201)
	tr.do("GET", h.address(d, a), "")
	tr.do("GET", h.addresses(d), "")
	tr.do("DELETE", h.domain(d), "")
	tr.do("DELETE", h.address(d, a), "")
	tr.do("DELETE", h.domain(d), "")
	tr.do("DELETE", h.domain(d), "")

	tr.do("GET", h.base+"/templates?limit=1", "")
	tr.do("GET", h.base+"/templates/device_pairing", "")
	tr.do("GET", h.contents("device_pairing"), "")
	c := tr.do("POST", h.contents("general"), text("variant", "spring", "subject", "Hello ${user.name.given}", "charset", "UTF-8", "emailContentType", "text/html",
		"from", map[string]string{"name": "PingOne", "address": "noreply@pingidentity.com"}))
	tr.do("POST", h.contents("general"), text("variant", "SPRING"))
	tr.do("POST", h.contents("general"), text("deliveryMethod", "SMS"))
	tr.do("POST", h.contents("device_pairing"), text())
	tr.do("PUT", h.contents("general")+"/"+string(c), text("variant", "spring", "body", "<p>Hi</p>"))
	tr.do("PATCH", h.contents("general")+"?filter="+query(`variant eq "spring"`), `{"variant":"summer"}`)
	tr.do("GET", h.contents("general")+"/"+string(c), "")
	tr.do("DELETE", h.contents("general")+"?filter="+query(`variant eq "summer"`), "")
	tr.do("GET", h.contents("general")+"/"+string(c), "")
	tr.do("GET", h.base+"/notificationsSettings", "")
	tr.do("PUT", h.base+"/notificationsSettings", `{"from":{"name":"PingOne","address":"noreply@pingidentity.com"},"restrictions":{"smsVoiceQuota":{"daily":20}}}`)
	tr.do("PUT", h.base+"/notificationsSettings", `{"from":{"address":"noreply@elsewhere.example"}}`)
	tr.do("DELETE", h.base+"/notificationsSettings", "")
	tr.do("POST", "/v1/environments", `{"name":"x"}`)
	h.token = h.worker(h.tenant.ID, sender.RoleAdmin)
	made := "/v1/environments/" + string(tr.do("POST", "/v1/environments", `{"name":"made","type":"SANDBOX","region":"EU"}`))
	tr.do("PUT", made, `{"name":"renamed","type":"PRODUCTION","region":"EU"}`)
	tr.do("POST", made+"/emailDomains", createDomain("made.example.org"))
	tr.do("DELETE", made, "")

	golden := filepath.Join("testdata", "exchanges.golden")
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
}
