package sailpoint_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/sender"
)

func TestDomainIsVerifiedByTheTokensOfItsHomeRegion(t *testing.T) {
	h := newHarness(t)
	created := h.call("POST", domains, createDomain("mail.example.org")).Want(200)
	if created.String("dkimVerificationStatus") != "PENDING" {
		t.Errorf("a new one is %s", created.Body)
	}
	address := h.call("POST", addresses, createAddress("a@mail.example.org")).Want(201)
	for i := range 3 {
		token := created.String(fmt.Sprintf("dkimTokens.%d", i))
		if got := h.call("GET", domains, "").String("0.dkimVerificationStatus"); got != "PENDING" {
			t.Errorf("with %d tokens published it is %s", i, got)
		}
		h.DNS.Add(token + "._domainkey.mail.example.org. 300 IN CNAME " + token + ".dkim.service.example.")
	}
	if got := h.call("GET", domains, "").Want(200).String("0.dkimVerificationStatus"); got != "SUCCESS" {
		t.Errorf("with all tokens published the list says %s", got)
	}
	again := h.call("POST", domains, createDomain("MAIL.example.org.")).Want(200)
	if again.String("dkimVerificationStatus") != "SUCCESS" || again.At("id") != created.At("id") || again.String("domain") != "MAIL.example.org." {
		t.Errorf("created again: %s", again.Body)
	}
	if got := h.call("GET", addresses, "").Want(200); got.String("0.verificationStatus") != "SUCCESS" || got.At("0.isVerifiedByDomain") != true || got.At("0.id") != address.At("id") {
		t.Errorf("its address is %s", got.Body)
	}
	d, err := h.Service.DomainNamed(t.Context(), apitest.Operator, h.tenant.ID, "mail.example.org")
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range d.Tokens.Regions[0].DKIM {
		h.DNS.Remove(token+"._domainkey.mail.example.org.", "")
	}
	lose(h, d)
	if got := h.call("GET", domains, "").Want(200).String("0.dkimVerificationStatus"); got != "FAILED" {
		t.Errorf("its tokens were gone for long and it is %s", got)
	}
	if got := h.call("GET", addresses, "").Want(200); got.String("0.verificationStatus") != "PENDING" || got.At("0.isVerifiedByDomain") != false {
		t.Errorf("its address is %s", got.Body)
	}
}

func TestCreatingADomainAgainSeesItsRecords(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	h.Publish(d, dnscheck.DKIM)
	if got := h.call("POST", domains, createDomain("mail.example.org")).Want(200); got.String("dkimVerificationStatus") != "SUCCESS" || got.String("id") != string(d.ID) {
		t.Errorf("it is %s", got.Body)
	}
}

// A tenant has up to fifty domains, and each look takes a dozen questions.
func TestListingManyDomainsOfASickDNSTakesNoLongerThanOne(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Verify.Inline = 300 * time.Millisecond })
	for i := range 40 {
		h.Domain(h.tenant, fmt.Sprintf("d%d.example.org", i))
	}
	h.DNS.Fail("", "", dnstest.Drop)
	begin := time.Now()
	if got := list(h.call("GET", domains, ""), "id"); len(got) != 40 {
		t.Errorf("%d are listed", len(got))
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// Whoever lists again and again gets to all of them.
func TestListsComeToLookAtEveryDomain(t *testing.T) {
	h := newHarness(t)
	const many = 23
	for i := range many {
		h.Publish(h.Domain(h.tenant, fmt.Sprintf("d%d.example.org", i)), dnscheck.DKIM)
	}
	verified := 0
	for range 3 {
		verified = 0
		for _, s := range list(h.call("GET", domains, ""), "dkimVerificationStatus") {
			if s == "SUCCESS" {
				verified++
			}
		}
	}
	if verified != many {
		t.Errorf("after three lists %d of %d are verified", verified, many)
	}
}

func TestDomainThatCannotBeIsRefusedWithItsCause(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string][2]string{
		`{}`:                         {"400.1.0 Required Data Missing Or Empty", "domain is missing"},
		`{"domain":""}`:              {"400.1.0 Required Data Missing Or Empty", "domain is missing"},
		`{"domain":"*.example.org"}`: {"400.1.3 Illegal value", "*"},
		`{"domain":"co.uk"}`:         {"400.1.3 Illegal value", "co.uk"},
		`{"domain":"a@b.example"}`:   {"400.1.3 Illegal value", "e-mail address"},
		`{"domain":["x"]}`:           {"400.1.3 Illegal value", "string"},
		`x`:                          {"400.0 Bad Request Syntax", "JSON"},
	} {
		refused(h.call("POST", domains, body), 400, want[0], want[1])
	}
	for i := range sender.DefaultLimits.Domains {
		h.Domain(h.tenant, fmt.Sprintf("d%d.example.org", i))
	}
	refused(h.call("POST", domains, createDomain("more.example.org")), 400, "400.1.4 Limit violation", "50 domains")
	h.call("POST", domains, createDomain("d0.example.org")).Want(200)
}

func TestMailFromIsSetReadAndVerified(t *testing.T) {
	h := newHarness(t)
	h.call("POST", domains, createDomain("mail.example.org")).Want(200)
	for identity, status := range map[string]int{"mail.example.org": 404, "a@mail.example.org": 404} {
		refused(h.call("GET", mailFrom+"/"+identity, ""), status, "404 Not found", "no MAIL FROM domain")
	}
	set := func(identity, name string) apitest.Reply {
		t.Helper()
		return h.call("PUT", mailFrom, fmt.Sprintf(`{"identity":%q,"mailFromDomain":%q}`, identity, name))
	}
	want := map[string]any{
		"identity": "bob@mail.example.org", "mailFromDomain": "Bounce.mail.example.org", "mxRecord": "10 feedback.service.example",
		"txtRecord": "v=spf1 include:_spf.service.example ~all", "mailFromDomainStatus": "PENDING",
	}
	same(t, "set", set("bob@mail.example.org", "Bounce.mail.example.org").Want(200).At("none"), any(nil))
	r := h.call("GET", mailFrom+"/bob@mail.example.org", "").Want(200)
	for member, value := range want {
		if got := r.At(member); got != value {
			t.Errorf("%s is %v, want %v", member, got, value)
		}
	}
	status := func() string {
		t.Helper()
		return h.call("GET", mailFrom+"/mail.example.org", "").Want(200).String("mailFromDomainStatus")
	}
	h.DNS.Add("bounce.mail.example.org. 300 IN MX 10 feedback.service.example.")
	if got := status(); got != "PENDING" {
		t.Errorf("with its MX alone it is %s", got)
	}
	h.DNS.Add(`bounce.mail.example.org. 300 IN TXT "v=spf1 include:_spf.service.example ~all"`)
	h.DNS.Add(`_spf.service.example. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"`)
	if got := status(); got != "SUCCESS" {
		t.Errorf("with both records it is %s", got)
	}
	if got := set("mail.example.org", "bounce.mail.example.org").Want(200).String("mailFromDomainStatus"); got != "SUCCESS" {
		t.Errorf("set again it is %s", got)
	}
	if got := set("x@deep.mail.example.org", "other.mail.example.org").Want(200); got.String("mailFromDomainStatus") != "PENDING" || got.String("identity") != "x@deep.mail.example.org" {
		t.Errorf("another name: %s", got.Body)
	}

	h.DNS.Add("taken.mail.example.org. 300 IN MX 5 mx.example.net.")
	h.call("POST", domains, createDomain("used.mail.example.org")).Want(200)
	for _, c := range []struct{ identity, name, code, cause string }{
		{"", "x.mail.example.org", "400.1.0 Required Data Missing Or Empty", "identity is missing"},
		{"mail.example.org", "", "400.1.0 Required Data Missing Or Empty", "mailFromDomain is missing"},
		{"mail.example.org", "mail.example.org", "400.1.3 Illegal value", "not below"},
		{"mail.example.org", "bounce.elsewhere.example", "400.1.3 Illegal value", "not below"},
		{"mail.example.org", "x y", "400.1.3 Illegal value", "blank"},
		{"a@b@c", "x.mail.example.org", "400.1.3 Illegal value", "not one email address"},
		{"localhost", "x.localhost", "400.1.3 Illegal value", "localhost"},
		{"elsewhere.example", "x.elsewhere.example", "400.1.404 Referenced object not found", "create it first"},
		{"mail.example.org", "taken.mail.example.org", "400.2.1.0 Object in use by another", "mx.example.net"},
		{"mail.example.org", "used.mail.example.org", "400.2.1.0 Object in use by another", "registered as a sending domain"},
	} {
		refused(set(c.identity, c.name), 400, c.code, c.cause)
	}
	refused(h.call("GET", mailFrom+"/"+strings.Repeat("a", 300)+"@mail.example.org", ""), 400, "400.1.3 Illegal value", "64 characters")
}
