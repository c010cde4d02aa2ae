package dnscheck

import (
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

func dkimTokens(t testing.TB, domain string, names ...string) (list []Record) {
	for _, n := range names {
		list = append(list, Record{Purpose: DKIM, Region: "na", Name: mustName(t, n+"._domainkey."+domain), Type: CNAME, Value: n + ".dkim.mail.example."})
	}
	return list
}

// What is asked for one token and not for the others must not hide where the others are.
func TestTokenAtAWrongPlaceIsFoundBesideOthers(t *testing.T) {
	const doubled = "._domainkey.example.org.example.org. CNAME "
	for _, tt := range []struct {
		title, zone string
		denied      string // a name that the server says does not exist, though there is something below
		codes       string
	}{
		{"nothing", "", "", "NXDOMAIN NXDOMAIN NXDOMAIN"},
		{"all doubled", "a" + doubled + "a.dkim.mail.example.\nb" + doubled + "b.dkim.mail.example.\nc" + doubled + "c.dkim.mail.example.", "", "DOUBLED_ZONE DOUBLED_ZONE DOUBLED_ZONE"},
		{"the last doubled", "c" + doubled + "c.dkim.mail.example.", "", "NXDOMAIN NXDOMAIN DOUBLED_ZONE"},
		{"the last doubled, beside one that is right", "a._domainkey.example.org. CNAME a.dkim.mail.example.\nc" + doubled + "c.dkim.mail.example.", "", "MATCH NXDOMAIN DOUBLED_ZONE"},
		{"all doubled, on an old server", "a" + doubled + "a.dkim.mail.example.\nb" + doubled + "b.dkim.mail.example.\nc" + doubled + "c.dkim.mail.example.",
			"_domainkey.example.org.example.org", "DOUBLED_ZONE DOUBLED_ZONE DOUBLED_ZONE"},
		{"the last flattened", "c._domainkey.example.org. A 192.0.2.99", "", "NXDOMAIN NXDOMAIN CNAME_FLATTENED"},
		{"the last without _domainkey", "c.example.org. CNAME c.dkim.mail.example.", "", "NXDOMAIN NXDOMAIN WRONG_ZONE_LEVEL"},
	} {
		inLab(t, tt.zone, 2, func(t *testing.T, l *lab) {
			for _, s := range l.servers {
				if tt.denied != "" {
					s.Fail(tt.denied, "", dnstest.NXDomain)
				}
			}
			var codes []string
			for _, f := range newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), dkimTokens(t, "example.org", "a", "b", "c")) {
				codes = append(codes, string(f.Code))
			}
			if got := strings.Join(codes, " "); got != tt.codes {
				t.Errorf("%s: %s, want %s", tt.title, got, tt.codes)
			}
		})
	}
}

// An explanation that was looked for in vain is not looked for again for a while; that what
// is found changes, or where it was explained, is seen at once.
func TestVainSearchIsNotRepeatedAtOnce(t *testing.T) {
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		c, err := NewChecker(CheckerConfig{Resolver: l.resolver, ExplainEvery: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		want := append(dkimTokens(t, "example.org", "a", "b", "c"), ownership(t, "example.org"))
		check := func(code Code) (asked int) {
			t.Helper()
			before := len(l.servers[0].Log()) + len(l.servers[1].Log())
			f := c.Look(t.Context(), mustName(t, "example.org"), want, Glance)[3]
			if f.Code != code {
				t.Errorf("%s, want %s", f.Code, code)
			}
			return len(l.servers[0].Log()) + len(l.servers[1].Log()) - before
		}
		set := func(zone string) {
			for _, s := range l.servers {
				s.Set(zone)
			}
		}
		first := check(CodeNXDOMAIN)
		time.Sleep(2 * time.Second)
		second := check(CodeNXDOMAIN)
		t.Logf("%d questions of the first check, %d of the second", first, second)
		if second != 2*len(want) || first < 2*second {
			t.Errorf("%d questions of the first check, %d of the second to two resolvers about %d records", first, second, len(want))
		}
		const elsewhere = `_postseal.example.org.example.org. TXT "` + token + `"`
		set(elsewhere)
		check(CodeNXDOMAIN) // within 30 seconds
		time.Sleep(29 * time.Second)
		check(CodeDoubledZone)
		for _, s := range l.servers {
			s.Remove("_postseal.example.org.example.org", "TXT")
		}
		check(CodeNXDOMAIN)
		set(elsewhere)
		if f := c.Check(t.Context(), mustName(t, "example.org"), want)[3]; f.Code != CodeDoubledZone {
			t.Errorf("%s, though all was asked", f.Code)
		}
		check(CodeDoubledZone) // what has been found since is not forgotten
		for _, s := range l.servers {
			s.Remove("_postseal.example.org.example.org", "TXT")
		}
		check(CodeNXDOMAIN) // at once: what explained it is gone
		set(`_postseal.example.org. TXT "something else"`)
		set(elsewhere)
		check(CodeDoubledZone) // at once: something else is found
	})
}
