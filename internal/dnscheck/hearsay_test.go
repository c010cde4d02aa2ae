package dnscheck

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// count counts the questions of one type about a name that resolvers got.
func (w *globe) count(name, rrtype string) (n int) {
	for _, r := range w.resolvers {
		n += r.Queries(name, rrtype)
	}
	return n
}

func TestServersOfManyDomainsAreLookedUpOnceUntilTheyExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 3, hasToken, hasToken)
		c, rec := w.checker(t, nil), ownership(t, "example.org")
		look := func() (hosts, zones int) {
			t.Helper()
			hosts, zones = w.count("ns1.example.net", "A"), w.count("example.org", "NS")
			if f := c.Check(t.Context(), rec.Name.Parent(), []Record{rec}); f[0].Outcome != Match {
				t.Fatal(f[0].Code)
			}
			return w.count("ns1.example.net", "A") - hosts, w.count("example.org", "NS") - zones
		}
		if hosts, zones := look(); hosts != 3 || zones != 3 {
			t.Fatalf("the first look asked %d times for a server and %d times for the zone", hosts, zones)
		}
		if hosts, zones := look(); hosts != 0 || zones != 3 {
			t.Errorf("the second look asked %d times for a server and %d times for the zone, want 0 and 3: a zone is the domain's own", hosts, zones)
		}
		time.Sleep(maxNegative)
		if hosts, _ := look(); hosts != 3 {
			t.Errorf("a look an hour later asked %d times for a server", hosts)
		}
	})
}

// Had the portal's answers been remembered, the absence would be confirmed after its end.
func TestAnAbsenceIsNotConfirmedByHearsay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 3, hasToken, hasToken)
		// Where a portal says that all servers are.
		w.network["192.0.2.66:53"] = dnstest.New(t, "example.org. SOA ns1.example.net. h.example.org. 1 2 3 4 60", dnstest.Authority())
		c, rec := w.checker(t, nil), ownership(t, "example.org")
		for _, r := range w.resolvers {
			for _, host := range []string{"ns1.example.net", "ns2.example.net"} {
				r.Fail(host, "A", dnstest.Lie(host+". 300 IN A 192.0.2.66"))
			}
		}
		if f := c.Check(t.Context(), rec.Name.Parent(), []Record{rec}); f[0].Outcome != Missing {
			t.Fatal(f[0].Outcome, f[0].Code, ": the test proves nothing")
		}
		for _, r := range w.resolvers {
			r.Heal("", "")
			for _, host := range []string{"ns1.example.net", "ns2.example.net"} {
				r.Heal(host, "A")
			}
		}
		if f := c.Check(t.Context(), rec.Name.Parent(), []Record{rec}); f[0].Outcome != Missing {
			t.Error(f[0].Outcome, f[0].Code, ": hearsay is not what Confirm must not believe")
		}
		if f := c.Look(t.Context(), rec.Name.Parent(), []Record{rec}, Confirm); f[0].Outcome != Match {
			t.Error(f[0].Outcome, f[0].Code)
		}
	})
}

func TestWhatDoesNotExistIsNotRemembered(t *testing.T) {
	for name, fault := range map[string]dnstest.Fault{"NXDOMAIN": dnstest.NXDomain, "SERVFAIL": dnstest.Servfail} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newGlobe(t, 3, hasToken, hasToken)
				c, rec := w.checker(t, nil), ownership(t, "example.org")
				for _, r := range w.resolvers {
					r.Fail("ns1.example.net", "", fault)
					r.Fail("ns2.example.net", "", fault)
				}
				for range 2 {
					before := w.count("ns1.example.net", "A")
					c.Check(t.Context(), rec.Name.Parent(), []Record{rec})
					if w.count("ns1.example.net", "A") == before {
						t.Error("nobody asks for a server that could not be found")
					}
				}
			})
		})
	}
}

// What is remembered for all must not be as large as somebody likes: a host of a stranger may
// have thousands of addresses, and every look another host.
func TestHearsayIsSmallWhateverIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 3, hasToken, hasToken)
		var addresses []string
		for i := range 2000 {
			addresses = append(addresses, fmt.Sprintf("big.example.net. 3600 A 192.0.%d.%d", i/250, i%250))
		}
		w.top.Add(strings.Join(addresses, "\n"))
		w.top.Add("example.org. NS big.example.net.")
		for _, s := range w.servers {
			s.Add("example.org. NS big.example.net.")
		}
		c, rec := w.checker(t, nil), ownership(t, "example.org")
		c.Check(t.Context(), rec.Name.Parent(), []Record{rec})
		entries, records := 0, 0
		for _, s := range c.hearsay.said {
			entries++
			for _, a := range s.answers {
				records += len(a.records)
			}
		}
		if entries == 0 || records > 100 || c.hearsay.size < records {
			t.Errorf("%d records in %d entries, taken for %d", records, entries, c.hearsay.size)
		}
	})
}

func TestHearsayDoesNotGrow(t *testing.T) {
	var h hearsay
	now := time.Now()
	for i := range 3 * maxHearsay {
		h.keep(question{name: string(rune(i)), qtype: uint16(i)}, said{[]answer{{}}, now.Add(time.Hour)}, now)
	}
	if h.size > maxHearsay || len(h.said) > h.size {
		t.Error(len(h.said), h.size)
	}
}
