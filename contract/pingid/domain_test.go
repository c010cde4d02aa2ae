package pingid_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The two statuses that domains and addresses have (sections 1.2 and 1.3).
const (
	active   = "ACTIVE"
	required = "VERIFICATION_REQUIRED"
)

// domain makes one that is gone when the test ends.
func (c *client) domain(t *testing.T) (domainID, name string) {
	t.Helper()
	name = unique("shop") + ".example.org"
	created := c.post(t, c.at("emaildomains"), obj{"domainName": name})
	domainID = id(t, created)
	c.later(t, c.at("emaildomains", domainID))
	return domainID, name
}

func TestDomainIsCreatedReadAndDeleted(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		name := unique("Auth") + ".Shop.example.org"
		created := c.post(t, c.at("emaildomains"), obj{"domainName": "  " + name + " "})
		domain := id(t, created)
		c.later(t, c.at("emaildomains", domain))
		self := []string{"emaildomains", domain}
		sub := func(name string) obj { return c.link("emaildomains", domain, name) }
		same(t, "POST", obj{"self": c.link(self...), "account": c.link(), "id": domain, "domainName": name}, created)

		full := obj{
			"self": c.link(self...), "account": c.link(), "id": domain, "domainName": name,
			"ownership": sub("ownership"), "dkim": sub("dkim"), "spf": sub("spf"),
		}
		same(t, "GET", full, c.get(t, c.at(self...)))
		same(t, "GET with the id in capitals", full, c.get(t, c.at("emaildomains", strings.ToUpper(domain))))
		same(t, "GET with the account in capitals", full, c.get(t, strings.Replace(c.at(self...), c.account, strings.ToUpper(c.account), 1)))

		all := c.get(t, c.at("emaildomains"))
		domains, _ := all["emaildomains"].(list)
		same(t, "GET of the list", obj{"self": c.link("emaildomains"), "emaildomains": domains}, all)
		entry := obj{"id": domain, "domainName": name}
		if !slices.ContainsFunc(domains, func(d any) bool { return fmt.Sprint(d) == fmt.Sprint(entry) }) {
			t.Errorf("%v is not in the list %v", entry, domains)
		}

		c.delete(t, c.at(self...))
		const gone = "404 NOT_FOUND emailDomain NOT_FOUND"
		c.refused(t, gone, newRequest("DELETE", c.at(self...), nil))
		for _, path := range [][]string{self, {"emaildomains", domain, "ownership"}, {"emaildomains", domain, "dkim"}, {"emaildomains", domain, "spf"}, {"emaildomains", domain, "trustedemails"}} {
			c.refused(t, gone, newRequest("GET", c.at(path...), nil))
		}
		c.refused(t, gone, newRequest("POST", c.at("emaildomains", domain, "trustedemails"), obj{"emailAddress": "a@" + name}))
		c.refused(t, gone, newRequest("GET", c.at("emaildomains", "nonsense"), nil))
	})
}

func TestDomainNamesAreJudged(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		path := c.at("emaildomains")
		long := strings.Repeat("a", 63)
		for _, r := range []struct {
			name any
			want string
		}{
			{"*.shop.example.org", "INVALID_PATTERN/domainName"},
			{"shop.*.example.org", "INVALID_PATTERN/domainName"},
			{"example", "INVALID_VALUE/domainName"},
			{"192.0.2.1", "INVALID_VALUE/domainName"},
			{"[192.0.2.1]", "INVALID_VALUE/domainName"},
			{"2001:db8::1", "INVALID_VALUE/domainName"},
			{"a b.example.org", "INVALID_VALUE/domainName"},
			{"under_score.example.org", "INVALID_VALUE/domainName"},
			{"-a.example.org", "INVALID_VALUE/domainName"},
			{"a-.example.org", "INVALID_VALUE/domainName"},
			{"a..example.org", "INVALID_VALUE/domainName"},
			{".example.org", "INVALID_VALUE/domainName"},
			{"shop.example.org..", "INVALID_VALUE/domainName"},
			{"john@example.org", "INVALID_VALUE/domainName"},
			{"shop.example.org/x", "INVALID_VALUE/domainName"},
			{"shop.example.org\r\nx", "INVALID_VALUE/domainName"},
			{long + "a.example.org", "INVALID_VALUE/domainName"},
			{strings.Join([]string{long, long, long, long, "example.org"}, "."), "INVALID_VALUE/domainName"},
			// Which of these codes an empty name or a number gets is open.
			{"", "EMPTY_VALUE|REQUIRED_VALUE|INVALID_VALUE"},
			{"  ", "EMPTY_VALUE|REQUIRED_VALUE|INVALID_VALUE"},
		} {
			c.refused(t, "400 INVALID_DATA emailDomain "+r.want, newRequest("POST", path, obj{"domainName": r.name}))
		}
		c.refused(t, "400 INVALID_DATA emailDomain REQUIRED_VALUE/domainName", newRequest("POST", path, obj{}))
		c.refused(t, "400 INVALID_DATA|INVALID_REQUEST", newRequest("POST", path, obj{"domainName": 7}))
	})
}

func TestDomainIsUniqueInAnySpelling(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		name := unique("bücher") + ".example.org"
		created := c.post(t, c.at("emaildomains"), obj{"domainName": name})
		c.later(t, c.at("emaildomains", id(t, created)))
		same(t, "domainName is as it was sent", name, text(t, created, "domainName"))
		for _, again := range []string{name, strings.ToUpper(name), name + ".", " " + name} {
			c.refused(t, "400 INVALID_DATA emailDomain UNIQUE_VALUE_REQUIRED", newRequest("POST", c.at("emaildomains"), obj{"domainName": again}))
		}

		const unicode, aLabel = "bücher.example.org", "xn--bcher-kva.example.org"
		created = c.post(t, c.at("emaildomains"), obj{"domainName": unicode})
		c.later(t, c.at("emaildomains", id(t, created)))
		c.refused(t, "400 INVALID_DATA emailDomain UNIQUE_VALUE_REQUIRED", newRequest("POST", c.at("emaildomains"), obj{"domainName": aLabel}))
	})
}

// region is one of ownership or of DKIM.
type region struct {
	name, status string
	records      []record // with absolute names
}

// ownership reads the sub-resource, demands exactly its members, and says what
// every region wants to see.
func (c *client) ownership(t *testing.T, domain, name string) []region {
	t.Helper()
	got := c.get(t, c.at("emaildomains", domain, "ownership"))
	same(t, "GET ownership", obj{
		"emailDomain": c.link("emaildomains", domain), "self": c.link("emaildomains", domain, "ownership"), "account": c.link(),
		"regions": got["regions"], "type": "TXT",
	}, got)
	return ownershipRegions(t, got, name)
}

func ownershipRegions(t *testing.T, o obj, name string) (rs []region) {
	t.Helper()
	label := ""
	for r := range regions(t, o) {
		key, value := text(t, r, "key"), text(t, r, "value")
		same(t, "a region of ownership", obj{"name": r["name"], "status": r["status"], "key": key, "value": value}, r)
		if b, err := base64.StdEncoding.Strict().DecodeString(value); err != nil || len(b) != 32 || len(value) != 44 {
			t.Errorf("ownership value %q is not base64 of 32 bytes: %v", value, err)
		}
		// `_amazonses` unless configured otherwise, and the same in all regions.
		if strings.Contains(key, ".") || label != "" && key != label {
			t.Errorf("ownership key %q is no constant label", key)
		}
		label = key
		rs = append(rs, region{text(t, r, "name"), text(t, r, "status"), []record{{key + "." + name, "TXT", value}}})
	}
	return rs
}

// regions yields those of a body: one at least, sorted by name, with one of the two
// statuses.
func regions(t *testing.T, o obj) func(func(obj) bool) {
	t.Helper()
	all, _ := o["regions"].(list)
	if len(all) == 0 {
		t.Fatalf("no regions in %v", o)
	}
	return func(yield func(obj) bool) {
		before := ""
		for _, e := range all {
			r, ok := e.(obj)
			if !ok {
				t.Fatalf("a region is %v", e)
			}
			if name := text(t, r, "name"); name <= before {
				t.Errorf("region %q comes after %q", name, before)
			} else {
				before = name
			}
			if s := text(t, r, "status"); s != active && s != required {
				t.Errorf("a region's status is %q", s)
			}
			if !yield(r) {
				return
			}
		}
	}
}

func (c *client) dkim(t *testing.T, domain, name string) []region {
	t.Helper()
	got := c.get(t, c.at("emaildomains", domain, "dkim"))
	same(t, "GET dkim", obj{
		"emailDomain": c.link("emaildomains", domain), "self": c.link("emaildomains", domain, "dkim"), "account": c.link(),
		"regions": got["regions"], "type": "CNAME",
	}, got)
	return dkimRegions(t, got, name)
}

var dkimToken = regexp.MustCompile(`^[a-z0-9]{32}$`)

func dkimRegions(t *testing.T, o obj, name string) (rs []region) {
	t.Helper()
	for r := range regions(t, o) {
		tokens, _ := r["tokens"].(list)
		same(t, "a region of DKIM", obj{"name": r["name"], "status": r["status"], "tokens": tokens}, r)
		if len(tokens) != 3 {
			t.Errorf("region %v has %d tokens, want 3", r["name"], len(tokens))
		}
		out := region{name: text(t, r, "name"), status: text(t, r, "status")}
		for _, e := range tokens {
			k, ok := e.(obj)
			if !ok {
				t.Fatalf("a token is %v", e)
			}
			key, value := text(t, k, "key"), text(t, k, "value")
			same(t, "a token", obj{"key": key, "value": value}, k)
			// The suffix of the value is configured where the service is not Amazon's.
			token, ok := strings.CutSuffix(key, "._domainkey")
			if !ok || !dkimToken.MatchString(token) || !strings.HasPrefix(value, token+".") {
				t.Errorf("DKIM token %q, %q", key, value)
			}
			out.records = append(out.records, record{key + "." + name, "CNAME", value})
		}
		rs = append(rs, out)
	}
	return rs
}

func (c *client) spf(t *testing.T, domain, name string) region {
	t.Helper()
	got := c.get(t, c.at("emaildomains", domain, "spf"))
	same(t, "GET spf", obj{
		"emailDomain": c.link("emaildomains", domain), "self": c.link("emaildomains", domain, "spf"), "account": c.link(),
		"status": got["status"], "key": "@", "value": got["value"], "type": "TXT",
	}, got)
	return spfRegion(t, got, name)
}

func spfRegion(t *testing.T, o obj, name string) region {
	t.Helper()
	status, value := text(t, o, "status"), text(t, o, "value")
	if status != active && status != required || !strings.HasPrefix(value, "v=spf1 ") || !strings.HasSuffix(value, " ~all") {
		t.Errorf("SPF has status %q and value %q", status, value)
	}
	return region{"", status, []record{{name, "TXT", value}}}
}

// proven publishes what ownership and DKIM ask for and waits until they are ACTIVE.
func (c *client) proven(t *testing.T, domain, name string) {
	t.Helper()
	for _, look := range []func() []region{
		func() []region { return c.ownership(t, domain, name) },
		func() []region { return c.dkim(t, domain, name) },
	} {
		for _, r := range look() {
			for _, rec := range r.records {
				publish(t, rec.Name, rec.Type, rec.Value)
			}
		}
		until(t, "all regions are ACTIVE", func() bool {
			return !slices.ContainsFunc(look(), func(r region) bool { return r.status != active })
		})
	}
}

func statuses(rs []region) (out []string) {
	for _, r := range rs {
		out = append(out, r.status)
	}
	return out
}

func TestDomainTurnsActiveAsItsRecordsArePublished(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, name := c.domain(t)
		ownership, dkim, spf := c.ownership(t, domain, name), c.dkim(t, domain, name), c.spf(t, domain, name)
		for _, rs := range [][]region{ownership, dkim, {spf}} {
			if slices.Contains(statuses(rs), active) {
				t.Fatalf("something is ACTIVE before anything is published: %v", rs)
			}
		}
		values := map[string]bool{}
		for _, r := range ownership {
			values[r.records[0].Value] = true
		}
		if len(values) != len(ownership) {
			t.Errorf("the regions share an ownership value: %v", ownership)
		}

		// All ownership values share one name, and each region is judged on its own.
		for i, r := range ownership {
			publish(t, r.records[0].Name, "TXT", r.records[0].Value)
			until(t, r.name+" is owned", func() bool { return c.ownership(t, domain, name)[i].status == active })
			for j, s := range statuses(c.ownership(t, domain, name)) {
				if (s == active) != (j <= i) {
					t.Errorf("%s is %s after %d of the values are published", ownership[j].name, s, i+1)
				}
			}
		}

		// DKIM of a region needs all three.
		for i, r := range dkim {
			for _, rec := range r.records[:2] {
				publish(t, rec.Name, rec.Type, rec.Value)
			}
			if s := c.dkim(t, domain, name)[i].status; s != required {
				t.Errorf("DKIM of %s is %s with two of three records", r.name, s)
			}
			publish(t, r.records[2].Name, r.records[2].Type, r.records[2].Value)
			until(t, "DKIM of "+r.name, func() bool { return c.dkim(t, domain, name)[i].status == active })
		}

		// Expanding asks the DNS as the direct GET does.
		publish(t, spf.records[0].Name, "TXT", spf.records[0].Value)
		until(t, "SPF, expanded", func() bool {
			expanded := c.get(t, c.at("emaildomains", domain)+"?expand=spf")
			embedded, _ := expanded["spf"].(obj)
			return spfRegion(t, embedded, name).status == active
		})
		if s := c.spf(t, domain, name).status; s != active {
			t.Errorf("SPF is %s when asked directly", s)
		}

		// What was asked for has stayed the same.
		for what, pair := range map[string][2][]region{
			"ownership": {ownership, c.ownership(t, domain, name)}, "DKIM": {dkim, c.dkim(t, domain, name)},
		} {
			for i, r := range pair[1] {
				same(t, what+" records of "+r.name, pair[0][i].records, r.records)
			}
		}
	})
}

// TestDomainInUnicodeIsProvenAsOthers names it in Unicode, as it was sent, while the
// DNS and mail have its A-label (RFC 5890, section 2.3.2.1).
func TestDomainInUnicodeIsProvenAsOthers(t *testing.T) {
	const unicode, aLabel = "bücher.example.org", "xn--bcher-kva.example.org"
	both(t, func(t *testing.T, c *client) {
		domain := id(t, c.post(t, c.at("emaildomains"), obj{"domainName": unicode}))
		c.later(t, c.at("emaildomains", domain))
		c.proven(t, domain, aLabel)
		box := mailbox{address: "anna@" + aLabel, newest: newestMail(t, "anna@"+aLabel)} // of the other client
		address := c.address(t, domain, "anna@"+unicode)
		c.act(t, c.at("emaildomains", domain, "trustedemails", address, "activate"), obj{"verificationCode": box.next(t).code(t)})
		d := c.desk(t)
		for _, spelling := range []string{unicode, aLabel} {
			kind, _ := d.template(t, obj{"fromAddress": "anna@" + spelling})
			l := d.letter(t, kind, nil)
			if from := l.address(t, "From"); !strings.HasPrefix(from.Address, "anna@") || !l.passes(aLabel) {
				t.Errorf("mail from anna@%s is from %v: %q", spelling, from, l.header["Authentication-Results"])
			}
		}
	})
}

func TestExpandReplacesLinksInPlace(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, _ := c.domain(t)
		address := c.post(t, c.at("emaildomains", domain, "trustedemails"), obj{"emailAddress": "john@" + text(t, c.get(t, c.at("emaildomains", domain)), "domainName")})

		account := c.get(t, c.at())
		same(t, "GET account", obj{"self": c.link(), "id": c.account, "name": account["name"], "accountType": account["accountType"]}, account)
		if text(t, account, "name") == "" || text(t, account, "accountType") == "" {
			t.Errorf("the account is %v", account)
		}
		// bare is how a resource looks where it is embedded: without links.
		bare := func(o obj) obj {
			return with(o, obj{"self": nil, "account": nil, "emailDomain": nil, "ownership": nil, "dkim": nil, "spf": nil})
		}
		plain := c.get(t, c.at("emaildomains", domain))
		embedded := obj{
			"account": bare(account), "emailDomain": bare(plain),
			"ownership": bare(c.get(t, c.at("emaildomains", domain, "ownership"))),
			"dkim":      bare(c.get(t, c.at("emaildomains", domain, "dkim"))),
			"spf":       bare(c.get(t, c.at("emaildomains", domain, "spf"))),
		}

		d := []string{"emaildomains", domain}
		for _, r := range []struct {
			path  []string
			query string
			names []string // that are expanded
		}{
			{d, "expand=account%2C%20ownership%2C%20dkim%2C%20spf", []string{"account", "ownership", "dkim", "spf"}}, // the seed's own
			{d, "expand=account,ownership,dkim,spf", []string{"account", "ownership", "dkim", "spf"}},
			{d, "expand=account", []string{"account"}},
			{d, "expand=ownership", []string{"ownership"}},
			{d, "expand=dkim", []string{"dkim"}},
			{d, "expand=spf,+account", []string{"account", "spf"}},
			{d, "expand=account&expand=spf", []string{"account", "spf"}},
			{d, "expand=SPF,Account", []string{"account", "spf"}},
			{d, "expand=spf,spf", []string{"spf"}},
			{d, "expand=nonsense,spf,,emailDomain", []string{"spf"}},
			{d, "expand=self", nil},
			{d, "expand=", nil},
			{d, "other=account", nil},
			{append(slices.Clone(d), "ownership"), "expand=emailDomain", []string{"emailDomain"}},
			{append(slices.Clone(d), "dkim"), "expand=emailDomain%2Caccount", []string{"emailDomain", "account"}},
			{append(slices.Clone(d), "spf"), "expand=emaildomain,account", []string{"emailDomain", "account"}},
			{append(slices.Clone(d), "trustedemails", id(t, address)), "expand=emailDomain", []string{"emailDomain"}},
			{append(slices.Clone(d), "trustedemails", id(t, address)), "expand=account,emailDomain", []string{"emailDomain", "account"}},
		} {
			want := c.get(t, c.at(r.path...))
			for _, name := range r.names {
				want[name] = embedded[name]
			}
			same(t, strings.Join(r.path, "/")+"?"+r.query, want, c.get(t, c.at(r.path...)+"?"+r.query))
		}

		// Lists and writes know no expand.
		for _, path := range []string{c.at("emaildomains"), c.at("emaildomains", domain, "trustedemails")} {
			same(t, path+"?expand=account", c.get(t, path), c.get(t, path+"?expand=account,emailDomain"))
		}
		written := c.post(t, c.at("emaildomains")+"?expand=account", obj{"domainName": unique("written") + ".example.org"})
		c.later(t, c.at("emaildomains", id(t, written)))
		same(t, "POST with expand", any(c.link()), written["account"])
	})
}

// TestFiftyDomainsAreAllowed creates the last ones at the same time: the limit has
// to hold even then.
func TestFiftyDomainsAreAllowed(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		have, _ := c.get(t, c.at("emaildomains"))["emaildomains"].(list)
		c.crowd(t, 50-len(have), c.at("emaildomains"), "400 REQUEST_FAILED emaildomains SIZE_LIMIT_EXCEEDED", func() obj {
			return obj{"domainName": unique("many") + ".example.org"}
		})
		all, _ := c.get(t, c.at("emaildomains"))["emaildomains"].(list)
		if len(all) != 50 {
			t.Errorf("there are %d domains, want 50", len(all))
		}
	})
}

// crowd posts ten things more than there is room for, ten at a time, and demands
// that so many are created and the others are refused. They are gone at the end.
func (c *client) crowd(t *testing.T, room int, path, refusal string, body func() obj) {
	t.Helper()
	var (
		mu      sync.Mutex
		created []answer
		wrong   []error
		workers sync.WaitGroup
	)
	work := make(chan obj)
	for range 10 {
		workers.Go(func() {
			for b := range work {
				a, err := c.try(t.Context(), newRequest(http.MethodPost, path, b))
				if err == nil && a.status != 201 {
					if err = a.refusal(refusal); err != nil {
						err = fmt.Errorf("%v\n\t%w", a, err)
					}
				}
				mu.Lock()
				switch {
				case err != nil:
					wrong = append(wrong, err)
				case a.status == 201:
					created = append(created, a)
				}
				mu.Unlock()
			}
		})
	}
	for range room + 10 {
		work <- body()
	}
	close(work)
	workers.Wait()
	for _, a := range created {
		c.later(t, path+"/"+id(t, a.object(t)))
	}
	if len(wrong) > 0 {
		t.Errorf("%d answers of the crowd are wrong, the first: %v", len(wrong), wrong[0])
	}
	if len(created) != room {
		t.Errorf("%d were created where there was room for %d", len(created), room)
	}
}
