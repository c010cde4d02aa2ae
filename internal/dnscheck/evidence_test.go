package dnscheck

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// Findings are kept and shown: who has very many name servers, and very much to say, must not
// fill the database, nor the memory meanwhile.
func TestFindingsStaySmallWhateverAZoneHolds(t *testing.T) {
	zone := func(_, address string, query []byte) ([]byte, time.Duration) {
		q := new(dns.Msg)
		if q.Unpack(query) != nil {
			return nil, 0
		}
		m := new(dns.Msg).SetReply(q)
		m.Authoritative, m.Compress = strings.HasPrefix(address, "198.51.100."), true
		name, qtype := q.Question[0].Name, q.Question[0].Qtype
		put := func(rr dns.RR) {
			*rr.Header() = dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: 60}
			m.Answer = append(m.Answer, rr)
		}
		switch {
		case qtype == dns.TypeNS && bare(name) == "big.test":
			for i := range 2000 {
				put(&dns.NS{Ns: fmt.Sprintf("n%d.hosts.test.", i)})
			}
		case qtype == dns.TypeA && strings.Contains(name, "."):
			var n int
			fmt.Sscanf(lower(name), "n%d.", &n)
			put(&dns.A{A: []byte{198, 51, 100, byte(n%200 + 1)}})
		case qtype == dns.TypeTXT:
			for i := range 40 {
				put(&dns.TXT{Txt: []string{fmt.Sprint(i, address, strings.Repeat("x", 200)), strings.Repeat("y", 250), strings.Repeat("z", 250), strings.Repeat("w", 250)}})
			}
		default:
			m.Rcode = dns.RcodeNameError
		}
		if m.Truncated = len(query) > 0 && m.Len() > 60000; m.Truncated {
			panic("more than a message holds")
		}
		packet, err := m.Pack()
		if err != nil {
			panic(err)
		}
		return packet, time.Millisecond
	}
	synctest.Test(t, func(t *testing.T) {
		r, err := NewResolver(ResolverConfig{Servers: []string{"192.0.2.1:53", "192.0.2.2:53"}, Dial: dnstest.Packets(zone).Dial})
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewChecker(CheckerConfig{Resolver: r, Mode: ModeAuthoritative})
		if err != nil {
			t.Fatal(err)
		}
		var list []Record
		for i := range 20 {
			rec := ownership(t, "big.test")
			rec.Name = mustName(t, fmt.Sprintf("_p%d.big.test", i))
			list = append(list, rec)
		}
		check := c.newRun(mustName(t, "big.test"))
		findings := check.lookAll(t.Context(), list, Thorough)
		held, seen := 0, make(map[dns.RR]bool)
		for _, f := range check.flights {
			if f, ok := f.(*flight[answer]); ok {
				for _, rr := range f.value.records {
					if !seen[rr] {
						seen[rr], held = true, held+dns.Len(rr)
					}
				}
			}
		}
		if held > maxOctets {
			t.Errorf("a check holds answers of %d octets", held)
		}
		text, err := json.Marshal(findings)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 2<<20 {
			t.Errorf("findings of %d octets for %d records", len(text), len(list))
		}
		r.hangUp()
	})
}
