package native_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/sender"
)

func TestTimelineTellsWhatWasSeenNewestFirst(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.base + "/domains/" + string(d.ID)
	if r := h.call(h.admin, "GET", path+"/timeline", "").Want(200); r.At("items") == nil || r.At("items.0") != nil {
		t.Errorf("before the first check: %s", r.Body)
	}
	h.Publish(d, dnscheck.Ownership)
	h.call(h.admin, "GET", path+"/findings?check=true", "").Want(200)
	r := h.call(h.admin, "GET", path+"/timeline?limit=1000", "").Want(200)
	seen := 0
	for n := range h.Service.Records(d) {
		at := fmt.Sprintf("items.%d.", n)
		if r.String(at+"purpose") != "ownership" {
			continue
		}
		seen++
		if r.String(at+"outcome") != "match" || r.String(at+"code") != "MATCH" || r.String(at+"name") != "_postseal.mail.example.org" ||
			r.String(at+"asked.0.result") != "answer" || r.String(at+"at") == "" {
			t.Errorf("entry %d of %s", n, r.Body)
		}
	}
	if seen == 0 {
		t.Errorf("nothing of ownership: %s", r.Body)
	}
	first := h.call(h.admin, "GET", path+"/timeline?limit=1", "").Want(200)
	next := h.call(h.admin, "GET", path+"/timeline?limit=1&cursor="+first.String("nextCursor"), "").Want(200)
	if first.String("items.0.id") <= next.String("items.0.id") || next.String("items.0.id") == "" {
		t.Errorf("%s comes before %s", first.Body, next.Body)
	}
	problem(t, h.call(h.admin, "GET", h.base+"/domains/"+string(sender.NewID())+"/timeline", ""), 404, "not-found", "")
	other := h.Token(h.Tenant("other"), sender.RoleAdmin)
	problem(t, h.call(other, "GET", path+"/timeline", ""), 404, "not-found", "")
}

func TestPostureIsThatOfMailAsItWillLeave(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.base + "/domains/" + string(d.ID) + "/posture"
	r := h.call(h.admin, "GET", path, "").Want(200)
	if r.String("verdict.dmarc.result") != "none" || r.String("verdict.dkim.0.result") != "neutral" || r.String("verdict.mailFrom") != "bounce.service.example" {
		t.Errorf("before anything is published: %s", r.Body)
	}
	h.Publish(d)
	key, err := mail.GenerateKey(2048)
	if err != nil {
		t.Fatal(err)
	}
	txt, err := mail.PublicKeyTXT(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	home, other := d.Tokens.Regions[0], d.Tokens.Regions[1] // made in the order of their names, as tenants list them
	h.DNS.Add(home.DKIM[0] + `.dkim.service.example. TXT "` + strings.Join(dnscheck.SplitTXT(txt), `" "`) + `"
_spf.service.example. TXT "v=spf1 ip4:192.0.2.1 -all"
bounce.service.example. TXT "v=spf1 include:_spf.service.example -all"
bounce.service.example. MX 10 feedback.service.example.
_dmarc.mail.example.org. TXT "v=DMARC1; p=reject; rua=mailto:a@mail.example.org"`)
	r = h.call(h.Token(h.tenant, sender.RoleReader), "GET", path, "").Want(200)
	if r.String("verdict.spf.result") != "pass" || r.String("verdict.spf.sender") != "include:_spf.service.example" || r.At("verdict.spf.aligned") != false || r.String("verdict.dkim.0.result") != "pass" ||
		r.String("verdict.dmarc.result") != "pass" || r.String("verdict.dmarc.by.0") != "dkim" || r.String("verdict.dmarc.disposition") != "none" {
		t.Errorf("once everything is published: %s", r.Body)
	}
	broken := make(map[string]bool)
	for i := 0; r.At(fmt.Sprintf("verdict.breaks.%d", i)) != nil; i++ {
		at := fmt.Sprintf("verdict.breaks.%d.", i)
		broken[r.String(at+"name")] = r.At(at+"breaks") == true
	}
	if !broken[home.DKIM[0]+"._domainkey.mail.example.org"] || broken["bounce.service.example"] {
		t.Errorf("mail hangs on %v", broken)
	}
	if r = h.call(h.admin, "GET", path+"?region="+other.Region, "").Want(200); r.String("verdict.dkim.0.selector") != other.DKIM[0] || r.String("verdict.dmarc.result") != "fail" || r.String("verdict.dmarc.disposition") != "reject" {
		t.Errorf("a region without a key: %s", r.Body)
	}

	if _, err := h.Service.SetMailFrom(t.Context(), apitest.Operator, h.tenant.ID, d.ID, sender.NewMailFrom{Name: "back.mail.example.org"}); err != nil {
		t.Fatal(err)
	}
	if r = h.call(h.admin, "GET", path, "").Want(200); r.String("verdict.mailFrom") != "back.mail.example.org" || r.String("verdict.spf.result") != "none" {
		t.Errorf("a MAIL FROM domain that is not published: %s", r.Body)
	}
	changed, err := h.Service.Domain(t.Context(), apitest.Operator, h.tenant.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	h.Publish(changed, dnscheck.MailFromMX, dnscheck.MailFromSPF)
	if r = h.call(h.admin, "GET", path, "").Want(200); r.String("verdict.spf.result") != "pass" || r.At("verdict.spf.aligned") != true || r.At("verdict.bounces") != true {
		t.Errorf("a MAIL FROM domain that is published: %s", r.Body)
	}
	h.call(h.admin, "PUT", h.base+"/delivery-settings", `{"host":"smtp.example.org"}`).Want(200)
	if r = h.call(h.admin, "GET", path, "").Want(200); r.String("verdict.spf.sender") != "listed host" {
		t.Errorf("mail by the tenant's own server: %s", r.Body)
	}

	problem(t, h.call(h.admin, "GET", path+"?region=nowhere", ""), 422, "invalid", "region")
	problem(t, h.call(h.Token(h.Tenant("other"), sender.RoleAdmin), "GET", path, ""), 404, "not-found", "")
	problem(t, h.call(h.admin, "GET", h.base+"/domains/"+string(sender.NewID())+"/posture", ""), 404, "not-found", "")
}

func TestLeftoversSayWhatToRemove(t *testing.T) {
	h := newHarness(t)
	if r := h.call(h.admin, "GET", h.base+"/leftovers", "").Want(200); r.At("items") == nil || r.At("items.0") != nil {
		t.Errorf("before anything was deleted: %s", r.Body)
	}
	d := h.Proven(h.tenant, "mail.example.org")
	_, _, bound := h.Client(h.tenant, sender.RoleAdmin, d.ID)
	if err := h.Service.DeleteDomain(t.Context(), apitest.Operator, h.tenant.ID, d.ID, true); err != nil {
		t.Fatal(err)
	}
	r := h.call(h.admin, "GET", h.base+"/leftovers", "").Want(200)
	if r.String("items.0.domain") != string(d.ID) || r.String("items.0.domainName") != "mail.example.org" || r.String("items.0.records.0.purpose") != "ownership" ||
		!strings.HasPrefix(r.String("items.0.records.0.fix"), `Remove the TXT record "`) || r.String("items.0.watchedUntil") == "" || r.At("items.1") != nil {
		t.Errorf("left over is %s", r.Body)
	}
	problem(t, h.call(h.Token(h.Tenant("other"), sender.RoleAdmin), "GET", h.base+"/leftovers", ""), 404, "not-found", "")
	problem(t, h.call(bound, "GET", h.base+"/leftovers", ""), 403, "denied", "")
}

func TestHeldNameIsToldToWhoeverShowsTheRecord(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Claims.Policy = sender.ExclusiveNames })
	first := h.Tenant("first")
	h.Proven(first, "mail.example.org")
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.base + "/domains/" + string(d.ID) + "/findings?check=true"
	if r := h.call(h.admin, "GET", path, "").Want(200); r.At("claim") != nil || r.At("domain.proven") != false {
		t.Errorf("before anything is published: %s", r.Body)
	}
	time.Sleep(2 * time.Millisecond) // no result is fresh
	h.Publish(d, dnscheck.Ownership)
	h.Publish(d, dnscheck.DKIM)
	var r apitest.Reply
	for range 100 {
		if r = h.call(h.admin, "GET", path, "").Want(200); r.At("claim") != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if r.String("claim.state") != "waiting" || !strings.Contains(r.String("claim.detail"), "held by another registration") || r.String("claim.until") == "" ||
		r.At("domain.proven") != false || strings.Contains(string(r.Body), string(first.ID)) {
		t.Errorf("the claim is told as %s", r.Body)
	}
}
