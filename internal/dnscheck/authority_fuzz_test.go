package dnscheck

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Whatever a server sends: what is taken from it lies in its zone, a referral leads
// downwards and to the name that was asked, glue is for hosts that the parent may speak of,
// and absence is only told with authority.
func FuzzReadAuthority(f *testing.F) {
	add := func(rcode int, aa bool, answer, ns, extra string) {
		m := new(dns.Msg).SetQuestion("a.b.example.org.", dns.TypeTXT)
		m.Response, m.Authoritative, m.Rcode = true, aa, rcode
		for text, section := range map[string]*[]dns.RR{answer: &m.Answer, ns: &m.Ns, extra: &m.Extra} {
			for line := range strings.SplitSeq(text, "|") {
				if rr, err := dns.NewRR(line); err == nil && rr != nil {
					*section = append(*section, rr)
				}
			}
		}
		if packet, err := m.Pack(); err == nil {
			f.Add(packet, "example.org", dns.TypeTXT)
		}
	}
	add(0, true, `a.b.example.org. TXT "x"`, "", "")
	add(0, true, `a.b.example.org. CNAME c.example.org.|c.example.org. TXT "x"`, "", "")
	add(0, true, `a.b.example.org. CNAME c.example.com.|c.example.com. TXT "x"`, "", "")
	add(0, true, `a.b.example.org. CNAME a.b.example.org.`, "", "")
	add(0, false, "", "b.example.org. NS ns.b.example.org.|b.example.org. NS ns.example.com.", "ns.b.example.org. A 192.0.2.1|ns.example.com. A 192.0.2.2")
	add(0, false, "", "org. NS ns.example.com.", "")
	add(3, true, "", "example.org. SOA a. b. 1 2 3 4 5", "")
	add(3, true, "", "org. SOA a. b. 1 2 3 4 5", "")
	add(5, false, "", "", "")
	f.Fuzz(func(t *testing.T, packet []byte, zone string, qtype uint16) {
		m := new(dns.Msg)
		n, err := ParseName(zone)
		if m.Unpack(packet) != nil || err != nil || len(m.Question) != 1 {
			return
		}
		zone = n.s
		q := question{bare(m.Question[0].Name), qtype}
		if !within(q.name, zone) {
			return
		}
		a := answer{}
		a.readAuthority(m, q, zone)
		if a.result == "" || len(a.chain) > maxChain+1 {
			t.Fatalf("%q with a chain of %d", a.result, len(a.chain))
		}
		for _, rr := range a.records {
			if owner := bare(rr.Header().Name); !within(owner, zone) || rr.Header().Rrtype != qtype {
				t.Fatalf("%s is taken from a server of %s", rr, zone)
			}
		}
		if (a.result == SawNXDOMAIN || a.result == SawNODATA || a.result == SawAnswer) && !m.Authoritative {
			t.Fatalf("%s without authority", a.result)
		}
		if len(a.records) > 0 && (a.next != "" || a.result != SawAnswer) {
			t.Fatalf("records, and %s %q", a.result, a.next)
		}
		if a.soa != nil && !within(bare(a.soa.Hdr.Name), zone) {
			t.Fatalf("the SOA of %s for %s", a.soa.Hdr.Name, zone)
		}
		if a.cut != nil {
			if a.cut.apex == zone || !within(a.cut.apex, zone) || !within(q.name, a.cut.apex) || a.told() {
				t.Fatalf("%s refers %s to %s (%s)", zone, q.name, a.cut.apex, a.result)
			}
			for host, addrs := range a.cut.glue {
				if !slices.Contains(a.cut.hosts, host) || !within(host, zone) || len(addrs) == 0 {
					t.Fatalf("glue of %s from %s", host, zone)
				}
			}
		}
	})
}

// A value that is spoilt is never called a match, and a code of a value says what is true
// of it.
func FuzzCompareTarget(f *testing.F) {
	f.Add("tok.dkim.mail.example", "tok.dkim.mail.example.", "eu.dkim.mail.example")
	f.Add("tok.dkim.mail.example", "tok.dkim.mail.example.example.org.", "")
	f.Add("tok.dkim.mail.example", "TOK.dkim.", "x")
	f.Fuzz(func(t *testing.T, want, found, other string) {
		rec := Record{Purpose: DKIM, Region: "na", Type: CNAME, Value: want}
		ours := []Record{rec, {Purpose: DKIM, Region: "eu", Type: CNAME, Value: other}}
		code := compareTarget(rec, ours, Name{"example.org"}, []string{found})
		if (code == CodeMatch) != (bare(want) == bare(found)) {
			t.Fatalf("%q against %q: %s", found, want, code)
		}
		if code == CodeStaleValue && bare(found) != bare(other) {
			t.Fatalf("%q is called ours", found)
		}
		if code == CodeTargetDoubled && !strings.HasPrefix(bare(found), bare(want)+".") {
			t.Fatalf("%q is called %q doubled", found, want)
		}
		if got := culpritFirst(rec, ours, Name{"example.org"}, code, []string{found, want}); len(got) != 2 || !slices.Contains(got, found) || !slices.Contains(got, want) {
			t.Fatalf("%q", got)
		}
	})
}
