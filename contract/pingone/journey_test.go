package pingone_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patrickcping/pingone-go-sdk-v2/management"
	"golang.org/x/oauth2"
)

// The two statuses that there are, and what the client makes of any other word.
const (
	active   = "ACTIVE"
	required = "VERIFICATION_REQUIRED"
)

// TestTheVendorsClientWorksUnmodified walks through every call that the client
// has for trusted senders, in one tenant for each way to the instance.
func TestTheVendorsClientWorksUnmodified(t *testing.T) {
	for _, way := range []struct {
		name    string
		connect func(*testing.T) *client
		regions []string
	}{
		{"straight over http", straight, []string{"us-east-1", "us-east-2", "us-west-1", "us-west-2"}},
		{"over https through the forward proxy", proxied, []string{"ap-southeast-2", "us-east-1", "us-west-2"}},
	} {
		t.Run(way.name, func(t *testing.T) {
			c := way.connect(t)
			c.credentialsAreJudged(t)
			c.environmentIsRead(t)
			domain := c.domainIsCreated(t)
			records := c.statusesAreRead(t, domain, way.regions)
			c.addressNeedsProof(t, domain)
			c.publish(t, domain, records)
			c.addressIsProvenByCode(t, domain)
			c.addressIsProvenByDNS(t, domain, records)
			c.objectsAreDeleted(t, domain)
			c.othersDoNotExist(t)
			c.tenAreCreatedAtOnce(t)
		})
	}
}

func (c *client) credentialsAreJudged(t *testing.T) {
	cfg := c.credentials("")
	cfg.ClientSecret += "x"
	c.wants(t, 2, "a wrong secret: the OAuth library tries Basic, then the body", func() {
		_, err := cfg.Token(c.oauth(t))
		var e *oauth2.RetrieveError
		if !errors.As(err, &e) || e.ErrorCode != "invalid_client" || e.ErrorDescription == "" {
			t.Errorf("a wrong secret: %v, want invalid_client and a description", err)
		}
	})
	stranger := c.as("nonsense")
	c.wants(t, 1, "a wrong token", func() {
		_, resp, err := stranger.TrustedEmailDomainsApi.ReadAllTrustedEmailDomains(t.Context(), c.env).ExecuteInitialPage()
		refused(t, "a wrong token", http.StatusUnauthorized, "ACCESS_FAILED", "", resp, err)
	})
}

// E1, E2, E3.
func (c *client) environmentIsRead(t *testing.T) {
	check := func(what string, e management.Environment) {
		t.Helper()
		if e.GetId() != c.env || !strings.HasPrefix(e.GetName(), "Demo ") || e.GetType() != management.ENUMENVIRONMENTTYPE_SANDBOX ||
			e.Region.EnumRegionCode == nil || !e.Region.EnumRegionCode.IsValid() || !uuid.MatchString(e.License.GetId()) ||
			e.Organization == nil || !uuid.MatchString(e.Organization.GetId()) {
			t.Errorf("%s: %s; want environment %s, complete", what, show(e), c.env)
		}
		if created, err := time.Parse(time.RFC3339, e.GetCreatedAt()); err != nil || created.After(time.Now()) {
			t.Errorf("%s: created at %q: %v", what, e.GetCreatedAt(), err)
		}
		links(t, what, e.Links, map[string]string{"self": c.link()})
	}
	var name string
	c.wants(t, 1, "E1", func() {
		e, resp, err := c.EnvironmentsApi.ReadOneEnvironment(t.Context(), c.env).Execute()
		succeeded(t, "E1", 200, resp, err)
		check("E1", *e)
		name = e.GetName()
	})
	c.wants(t, 1, "E2", func() {
		all := c.EnvironmentsApi.ReadAllEnvironments(t.Context()).Filter(fmt.Sprintf("name sw %q", name)).Execute()
		for _, page := range pages(t, "E2", all) {
			found := page.Embedded.Environments
			if len(found) != 1 || page.GetCount() != 1 || page.GetSize() != 1 {
				t.Fatalf("E2: %d environments, count %v, size %v; want its own", len(found), page.GetCount(), page.GetSize())
			}
			check("E2", found[0])
		}
	})
	c.wants(t, 1, "E3", func() {
		b, resp, err := c.BillOfMaterialsBOMApi.ReadOneBillOfMaterials(t.Context(), c.env).Execute()
		succeeded(t, "E3", 200, resp, err)
		if b.Products == nil {
			t.Error("E3: no products, not even an empty list")
		}
	})
}

// D1, D2, D3.
func (c *client) domainIsCreated(t *testing.T) (id string) {
	check := func(what string, d management.EmailDomain) {
		t.Helper()
		if !uuid.MatchString(d.GetId()) || id != "" && d.GetId() != id || d.GetDomainName() != c.domain || d.Environment == nil || d.Environment.GetId() != c.env {
			t.Errorf("%s: %s; want id %q, name %q, environment %s", what, show(d), id, c.domain, c.env)
		}
		at := []string{"emailDomains", d.GetId()}
		links(t, what, d.Links, map[string]string{
			"self": c.link(at...), "environment": c.link(), "ownership": c.link(append(at, "ownership")...),
			"dkim": c.link(append(at, "dkim")...), "spf": c.link(append(at, "spf")...),
		})
	}
	c.wants(t, 1, "D1", func() {
		d, resp, err := c.TrustedEmailDomainsApi.CreateTrustedEmailDomain(t.Context(), c.env).EmailDomain(*management.NewEmailDomain(c.domain)).Execute()
		succeeded(t, "D1", 201, resp, err)
		check("D1", *d)
		id = d.GetId()
	})
	c.wants(t, 1, "D1 of a name in another spelling", func() {
		_, resp, err := c.TrustedEmailDomainsApi.CreateTrustedEmailDomain(t.Context(), c.env).EmailDomain(*management.NewEmailDomain(strings.ToUpper(c.domain))).Execute()
		refused(t, "D1 of a name in another spelling", 400, "INVALID_DATA", "UNIQUENESS_VIOLATION/domainName", resp, err)
	})
	c.wants(t, 1, "D1 of no domain", func() {
		_, resp, err := c.TrustedEmailDomainsApi.CreateTrustedEmailDomain(t.Context(), c.env).EmailDomain(*management.NewEmailDomain("*.wild.example")).Execute()
		refused(t, "D1 of no domain", 400, "INVALID_DATA", "INVALID_VALUE/domainName", resp, err)
	})
	c.wants(t, 1, "D2", func() {
		all := pages(t, "D2", c.TrustedEmailDomainsApi.ReadAllTrustedEmailDomains(t.Context(), c.env).Execute())
		if len(all) != 1 || len(all[0].Embedded.EmailDomains) != 1 || all[0].GetCount() != 1 || all[0].GetSize() != 1 {
			t.Fatalf("D2: %d pages, %s; want the one domain", len(all), show(all))
		}
		check("D2", all[0].Embedded.EmailDomains[0])
	})
	c.wants(t, 1, "D3", func() {
		d, resp, err := c.TrustedEmailDomainsApi.ReadOneTrustedEmailDomain(t.Context(), c.env, id).Execute()
		succeeded(t, "D3", 200, resp, err)
		check("D3", *d)
	})
	return id
}

// show is what the client decoded, for a complaint.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// record is what a status body asks its reader to publish.
type record struct{ name, rtype, value, facet, status string }

// facets reads D5, D6 and D7, checks that nothing is missing, and returns one
// record for every one that is to be published.
func (c *client) facets(t *testing.T, domain string) (rs []record) {
	t.Helper()
	add := func(facet string, rtype, name, value *string, status *management.EnumEmailDomainStatus, wantType string) {
		t.Helper()
		if rtype == nil || name == nil || value == nil || status == nil || *value == "" || *rtype != wantType || !status.IsValid() ||
			!strings.HasSuffix("."+*name, "."+strings.ToLower(c.domain)) {
			t.Fatalf("%s of %s: type %v, name %v, value %v, status %v", facet, c.domain, deref(rtype), deref(name), deref(value), deref(status))
		}
		rs = append(rs, record{*name, *rtype, *value, facet, string(*status)})
	}
	api := c.TrustedEmailDomainsApi
	c.wants(t, 1, "D5", func() {
		o, resp, err := api.ReadTrustedEmailDomainOwnershipStatus(t.Context(), c.env, domain).Execute()
		succeeded(t, "D5", 200, resp, err)
		for _, r := range o.Regions {
			add("ownership "+r.GetName(), o.Type, r.Key, r.Value, r.Status, "TXT")
		}
		if o.EnvironmentDnsRecord == nil {
			t.Fatal("D5: no environmentDnsRecord")
		}
		add("environment", o.Type, o.EnvironmentDnsRecord.Key, o.EnvironmentDnsRecord.Value, o.EnvironmentDnsRecord.Status, "TXT")
	})
	c.wants(t, 1, "D6", func() {
		d, resp, err := api.ReadTrustedEmailDomainDKIMStatus(t.Context(), c.env, domain).Execute()
		succeeded(t, "D6", 200, resp, err)
		for _, r := range d.Regions {
			if len(r.Tokens) != 3 {
				t.Errorf("D6: %d tokens in %s, want 3", len(r.Tokens), r.GetName())
			}
			for _, k := range r.Tokens {
				add("dkim "+r.GetName(), d.Type, k.Key, k.Value, r.Status, "CNAME")
			}
		}
	})
	c.wants(t, 1, "D7", func() {
		s, resp, err := api.ReadTrustedEmailDomainSPFStatus(t.Context(), c.env, domain).Execute()
		succeeded(t, "D7", 200, resp, err)
		add("spf", s.Type, s.Key, s.Value, s.Status, "TXT")
	})
	return rs
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// D5, D6, D7 before anything is published.
func (c *client) statusesAreRead(t *testing.T, domain string, regions []string) []record {
	rs := c.facets(t, domain)
	want := []string{"environment", "spf"}
	for _, r := range regions {
		want = append(want, "ownership "+r, "dkim "+r)
	}
	got := map[string]bool{}
	values := map[string]bool{}
	for _, r := range rs {
		got[r.facet] = true
		values[r.name+" "+r.value] = true
		if r.status != required {
			t.Errorf("%s is %s before anything was published", r.facet, r.status)
		}
	}
	slices.Sort(want)
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
		t.Errorf("facets %q, want %q", have, want)
	}
	if len(values) != len(rs) {
		t.Errorf("%d records, of which %d differ: the Terraform provider would drop some", len(rs), len(values))
	}
	return rs
}

// A1 in a domain that is not verified yet: the one error that the Terraform
// provider tells from others.
func (c *client) addressNeedsProof(t *testing.T, domain string) {
	c.wants(t, 1, "A1 in an unverified domain", func() {
		_, resp, err := c.TrustedEmailAddressesApi.CreateTrustedEmailAddress(t.Context(), c.env, domain).
			EmailDomainTrustedEmail(*management.NewEmailDomainTrustedEmail(c.mailbox("noreply"))).Execute()
		refused(t, "A1 in an unverified domain", 400, "INVALID_DATA", "INVALID_VALUE/trustedEmail", resp, err)
	})
}

// mailbox is an address at the domain, in the domain's spelling.
func (c *client) mailbox(local string) string { return local + "@" + c.domain }

// publish adds all records but the environment's, with the command that a user
// has for it, and reads until the client sees the domain verified.
func (c *client) publish(t *testing.T, domain string, rs []record) {
	for _, r := range rs {
		if r.facet != "environment" {
			c.addRecord(t, r)
		}
	}
	until(t, "every facet but the environment's ACTIVE", func() bool {
		return !slices.ContainsFunc(c.facets(t, domain), func(r record) bool { return (r.status == active) == (r.facet == "environment") })
	})
}

func (c *client) addRecord(t *testing.T, r record) {
	t.Helper()
	dev.run(t, append([]string{"dns", "add", r.name, r.rtype, r.value}, c.instance...)...)
}

// A5 and A6 differ by their media type alone. The client has no call for A6, and
// for A5 it sends no type unless its user names one.
const (
	resendType   = "application/vnd.pingidentity.trustedEmail.sendVerificationCode+json"
	activateType = "application/vnd.pingidentity.trustedEmail.activate+json"
)

var codeLine = regexp.MustCompile(`Verification code: (\S+)`)

// newCode waits for a code in the newest mail to an address that is none of
// those seen, with the command that a user has for it.
func (c *client) newCode(t *testing.T, address string, seen ...string) (code string) {
	t.Helper()
	until(t, "a new code for "+address, func() bool {
		if m := codeLine.FindStringSubmatch(dev.run(t, append([]string{"mail", address}, c.instance...)...)); m != nil {
			code = m[1]
		}
		return code != "" && !slices.Contains(seen, code)
	})
	return code
}

// A1 to A3, A5, A6.
func (c *client) addressIsProvenByCode(t *testing.T, domain string) {
	api := c.TrustedEmailAddressesApi
	mailbox := c.mailbox("NoReply")
	var id string
	check := func(what string, a management.EmailDomainTrustedEmail, status string) {
		t.Helper()
		if !uuid.MatchString(a.GetId()) || id != "" && a.GetId() != id || a.GetEmailAddress() != mailbox || string(a.GetStatus()) != status ||
			a.Environment == nil || a.Environment.GetId() != c.env || a.Domain == nil || a.Domain.GetId() != domain || a.GetDomainId() != domain {
			t.Errorf("%s: %s; want id %q, address %q, status %s, domain %s in %s", what, show(a), id, mailbox, status, domain, c.env)
		}
	}
	for _, want := range []int{201, 200} { // 200: it is there already
		c.wants(t, 1, "A1", func() {
			a, resp, err := api.CreateTrustedEmailAddress(t.Context(), c.env, domain).EmailDomainTrustedEmail(*management.NewEmailDomainTrustedEmail(mailbox)).Execute()
			succeeded(t, "A1", want, resp, err)
			check("A1", *a, required)
			id = a.GetId()
		})
	}

	c.wants(t, 1, "A5 without a media type", func() {
		_, resp, err := api.ResendVerificationCodeToEmail(t.Context(), c.env, domain, id).Execute()
		if err == nil || resp == nil || resp.StatusCode != 415 {
			t.Errorf("A5 without a media type: %v, want 415", err)
		}
	})

	// Too soon after the last code is refused; a machine that is slower than the
	// time between two codes gets more chances to be too soon.
	const patience = 5
	resend := func() (*http.Response, error) {
		t.Helper()
		var resp *http.Response
		var err error
		c.wants(t, 1, "A5", func() {
			var a *management.EmailDomainTrustedEmail
			if a, resp, err = api.ResendVerificationCodeToEmail(t.Context(), c.env, domain, id).ContentType(resendType).Execute(); err == nil {
				succeeded(t, "A5", 200, resp, err)
				check("A5", *a, required)
			}
		})
		return resp, err
	}
	first := c.newCode(t, mailbox)
	for i := range patience + 1 {
		if i == patience {
			t.Fatalf("A5: %d codes in a row, and none was too soon", i)
		}
		if resp, err := resend(); err != nil {
			refused(t, "A5 too soon", 400, "INVALID_DATA", "INVALID_VALUE/emailAddress", resp, err)
			break
		}
	}
	until(t, "A5 taken once time has passed", func() bool {
		resp, err := resend()
		if err != nil {
			refused(t, "A5 too soon", 400, "INVALID_DATA", "INVALID_VALUE/emailAddress", resp, err)
		}
		return err == nil
	})

	activate := func(code string) (int, string) {
		return c.post(t, c.link("emailDomains", domain, "trustedEmails", id), activateType, fmt.Sprintf(`{"verificationCode":%q}`, code))
	}
	if status, body := activate(first); status != 400 || !strings.Contains(body, `"target":"verificationCode"`) {
		t.Errorf("A6 with a code that was replaced: %d %s", status, body)
	}
	for seen := []string{first}; ; { // an earlier mail may be the newest for a moment
		code := c.newCode(t, mailbox, seen...)
		status, body := activate(code)
		if status == 201 && strings.Contains(body, `"status":"ACTIVE"`) {
			break
		}
		if seen = append(seen, code); status != 400 || len(seen) > patience {
			t.Fatalf("A6: %d %s", status, body)
		}
	}

	c.wants(t, 1, "A2", func() {
		all := pages(t, "A2", api.ReadAllTrustedEmailAddresses(t.Context(), c.env, domain).Execute())
		if len(all) != 1 || len(all[0].Embedded.TrustedEmails) != 1 || all[0].GetCount() != 1 || all[0].GetSize() != 1 {
			t.Fatalf("A2: %d pages, %s; want the one address", len(all), show(all))
		}
		check("A2", all[0].Embedded.TrustedEmails[0], active)
	})
	c.wants(t, 1, "A3", func() {
		a, resp, err := api.ReadOneTrustedEmailAddress(t.Context(), c.env, domain, id).Execute()
		succeeded(t, "A3", 200, resp, err)
		check("A3", *a, active)
	})
	c.wants(t, 1, "A1 outside the domain", func() {
		_, resp, err := api.CreateTrustedEmailAddress(t.Context(), c.env, domain).EmailDomainTrustedEmail(*management.NewEmailDomainTrustedEmail("noreply@elsewhere.example")).Execute()
		refused(t, "A1 outside the domain", 400, "INVALID_DATA", "INVALID_VALUE/emailAddress", resp, err)
	})
	c.wants(t, 1, "A5 of an active address", func() {
		_, resp, err := api.ResendVerificationCodeToEmail(t.Context(), c.env, domain, id).ContentType(resendType).Execute()
		refused(t, "A5 of an active address", 400, "INVALID_DATA", "INVALID_VALUE/emailAddress", resp, err)
	})
}

// An address made after the environment record is seen is ACTIVE at once, and no
// mail is sent.
func (c *client) addressIsProvenByDNS(t *testing.T, domain string, rs []record) {
	i := slices.IndexFunc(rs, func(r record) bool { return r.facet == "environment" })
	c.addRecord(t, rs[i])
	until(t, "every facet ACTIVE", func() bool {
		return !slices.ContainsFunc(c.facets(t, domain), func(r record) bool { return r.status != active })
	})
	mailbox := c.mailbox("billing")
	c.wants(t, 1, "A1 with proof by DNS", func() {
		a, resp, err := c.TrustedEmailAddressesApi.CreateTrustedEmailAddress(t.Context(), c.env, domain).EmailDomainTrustedEmail(*management.NewEmailDomainTrustedEmail(mailbox)).Execute()
		succeeded(t, "A1 with proof by DNS", 201, resp, err)
		if a.GetStatus() != management.ENUMTRUSTEDEMAILSTATUS_ACTIVE {
			t.Errorf("A1 with proof by DNS: %s", a.GetStatus())
		}
	})
	if mail := dev.run(t, append([]string{"mail", mailbox}, c.instance...)...); mail != "" {
		t.Errorf("a mail went to an address that DNS had proven:\n%s", mail)
	}
}

// A4 and D4, and what is left: nothing.
func (c *client) objectsAreDeleted(t *testing.T, domain string) {
	domains, addresses := c.TrustedEmailDomainsApi, c.TrustedEmailAddressesApi
	drop := func(what string) (*http.Response, error) {
		var resp *http.Response
		var err error
		c.wants(t, 1, what, func() { resp, err = domains.DeleteTrustedEmailDomain(t.Context(), c.env, domain).Execute() })
		return resp, err
	}
	resp, err := drop("D4 with addresses")
	refused(t, "D4 with addresses", 400, "INVALID_DATA", "INVALID_VALUE/trustedEmails", resp, err)

	var left []management.EntityArray
	c.wants(t, 1, "A2", func() {
		left = pages(t, "A2", addresses.ReadAllTrustedEmailAddresses(t.Context(), c.env, domain).Execute())
	})
	for _, page := range left {
		if len(page.Embedded.TrustedEmails) != 2 {
			t.Errorf("A2: %d addresses, want 2", len(page.Embedded.TrustedEmails))
		}
		for _, a := range page.Embedded.TrustedEmails {
			c.wants(t, 3, "A4, A4 again, A3", func() {
				resp, err := addresses.DeleteTrustedEmailAddress(t.Context(), c.env, domain, a.GetId()).Execute()
				succeeded(t, "A4", 204, resp, err)
				resp, err = addresses.DeleteTrustedEmailAddress(t.Context(), c.env, domain, a.GetId()).Execute()
				refused(t, "A4 again", 404, "NOT_FOUND", "", resp, err)
				_, resp, err = addresses.ReadOneTrustedEmailAddress(t.Context(), c.env, domain, a.GetId()).Execute()
				refused(t, "A3 of what is gone", 404, "NOT_FOUND", "", resp, err)
			})
		}
	}
	resp, err = drop("D4")
	succeeded(t, "D4", 204, resp, err)
	resp, err = drop("D4 again")
	refused(t, "D4 again", 404, "NOT_FOUND", "", resp, err)
	c.wants(t, 2, "D3 and D5 of what is gone", func() {
		_, resp, err := domains.ReadOneTrustedEmailDomain(t.Context(), c.env, domain).Execute()
		refused(t, "D3 of what is gone", 404, "NOT_FOUND", "", resp, err)
		_, resp, err = domains.ReadTrustedEmailDomainOwnershipStatus(t.Context(), c.env, domain).Execute()
		refused(t, "D5 of what is gone", 404, "NOT_FOUND", "", resp, err)
	})
	c.wants(t, 1, "D2 of nothing", func() {
		for _, page := range pages(t, "D2", c.TrustedEmailDomainsApi.ReadAllTrustedEmailDomains(t.Context(), c.env).Execute()) {
			if len(page.Embedded.EmailDomains) != 0 || page.GetCount() != 0 {
				t.Errorf("D2 after all was deleted: %s", show(page))
			}
		}
	})
}

// Another tenant's environment looks like one that does not exist.
func (c *client) othersDoNotExist(t *testing.T) {
	c.wants(t, 2, "E1 and D2 in another's environment", func() {
		_, resp, err := c.EnvironmentsApi.ReadOneEnvironment(t.Context(), c.other).Execute()
		refused(t, "E1 of another's environment", 404, "NOT_FOUND", "", resp, err)
		_, resp, err = c.TrustedEmailDomainsApi.ReadAllTrustedEmailDomains(t.Context(), c.other).ExecuteInitialPage()
		refused(t, "D2 in another's environment", 404, "NOT_FOUND", "", resp, err)
	})
	// After a 404 to D1 the client looks whether the environment was only just
	// made; that it finds none either is what it reports.
	c.wants(t, 2, "D1 in another's environment", func() {
		_, resp, err := c.TrustedEmailDomainsApi.CreateTrustedEmailDomain(t.Context(), c.other).EmailDomain(*management.NewEmailDomain("mail.stranger.example")).Execute()
		if err == nil || resp == nil || resp.StatusCode != 404 {
			t.Errorf("D1 in another's environment: %v, want a 404", err)
		}
	})
}

// tenAreCreatedAtOnce is what Terraform does: up to ten calls at a time, on
// several connections. The list of them is then walked page by page.
func (c *client) tenAreCreatedAtOnce(t *testing.T) {
	const n = 10
	var ids sync.Map
	var all sync.WaitGroup
	c.wants(t, n, "ten D1 at once", func() {
		for i := range n {
			all.Go(func() {
				d, resp, err := c.TrustedEmailDomainsApi.CreateTrustedEmailDomain(t.Context(), c.env).
					EmailDomain(*management.NewEmailDomain(fmt.Sprintf("n%d.%s", i, c.domain))).Execute()
				if err != nil || resp.StatusCode != 201 {
					t.Errorf("D1 number %d of ten at once: %v", i, err)
					return
				}
				ids.Store(d.GetId(), d.GetDomainName())
			})
		}
		all.Wait()
	})
	listed := map[string]bool{}
	c.wants(t, 4, "ten domains by threes", func() {
		next := management.LinksHATEOASValue{Href: c.link("emailDomains") + "?limit=3"}
		for next.Href != "" {
			page := c.follow(t, next)
			for _, d := range page.Embedded.EmailDomains {
				if name, ok := ids.Load(d.GetId()); !ok || name != d.GetDomainName() || listed[d.GetId()] {
					t.Errorf("D2 lists %s, %s, which was not created or came before", d.GetId(), d.GetDomainName())
				}
				listed[d.GetId()] = true
			}
			if next = page.GetPaginationNextLink(); next.Href != "" && !strings.HasPrefix(next.Href, c.link("emailDomains")+"?") {
				t.Fatalf("the next page is at %s, not below %s", next.Href, c.base)
			}
		}
	})
	if len(listed) != n {
		t.Errorf("D2 lists %d domains, want %d", len(listed), n)
	}
	c.wants(t, n, "ten D4", func() {
		for id := range listed {
			resp, err := c.TrustedEmailDomainsApi.DeleteTrustedEmailDomain(t.Context(), c.env, id).Execute()
			succeeded(t, "D4", 204, resp, err)
		}
	})
}
