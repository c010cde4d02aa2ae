package dnscheck

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// lab is a network of resolvers at made-up addresses that all know the same zone until a
// test changes one of them. It must be made inside a bubble.
type lab struct {
	servers  []*dnstest.Server
	resolver *Resolver
}

func newLab(t testing.TB, zone string, n int) *lab {
	t.Helper()
	l := &lab{}
	network := dnstest.Network{}
	if !strings.Contains(zone, " SOA ") {
		zone += "\nexample.org. 60 IN SOA ns.example.org. noreply.example.org. 1 3600 600 86400 60" // the domain exists
	}
	var addresses []string
	for i := range n {
		s := dnstest.New(t, zone)
		addr := net.JoinHostPort("192.0.2."+string(rune('1'+i)), "53")
		network[addr] = s
		addresses = append(addresses, addr)
		l.servers = append(l.servers, s)
	}
	var err error
	if l.resolver, err = NewResolver(ResolverConfig{Servers: addresses, Dial: network.Dial}); err != nil {
		t.Fatal(err)
	}
	for _, s := range addresses {
		l.resolver.lines.learn(s, false) // else the first bad answer of each is asked for twice
	}
	return l
}

// inLab runs a test in a bubble with n resolvers.
func inLab(t *testing.T, zone string, n int, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newLab(t, zone, n)) })
}

func TestResolverSurvivesFaultyPackets(t *testing.T) {
	const name = "a.example.org"
	for _, tt := range []struct {
		title  string
		faults []dnstest.Fault
		result string
		tcp    bool
	}{
		{"none", nil, SawAnswer, false},
		{"cut over UDP", []dnstest.Fault{dnstest.Truncate}, SawAnswer, true},
		{"garbage over UDP", []dnstest.Fault{dnstest.Garbage.UDPOnly()}, SawAnswer, true},
		{"garbage everywhere", []dnstest.Fault{dnstest.Garbage}, SawMalformed, true},
		{"wrong id", []dnstest.Fault{dnstest.WrongID}, SawTimeout, false},
		{"answer to another question", []dnstest.Fault{dnstest.WrongQuestion}, SawTimeout, false},
		{"silence", []dnstest.Fault{dnstest.Drop}, SawTimeout, false},
		{"slow", []dnstest.Fault{dnstest.Delay(900 * time.Millisecond)}, SawAnswer, false},
		{"too slow", []dnstest.Fault{dnstest.Delay(1100 * time.Millisecond)}, SawTimeout, false},
		{"SERVFAIL", []dnstest.Fault{dnstest.Servfail}, SawSERVFAIL, false},
		{"REFUSED", []dnstest.Fault{dnstest.Refused}, SawREFUSED, false},
		{"referral", []dnstest.Fault{dnstest.Referral}, SawLame, false},
		{"NXDOMAIN", []dnstest.Fault{dnstest.NXDomain}, SawNXDOMAIN, false},
	} {
		inLab(t, name+`. IN TXT "v"`, 1, func(t *testing.T, l *lab) {
			s := l.servers[0]
			s.Fail(name, "TXT", tt.faults...)
			start := time.Now()
			a := l.resolver.ask(t.Context(), l.resolver.servers[0], question{name, dns.TypeTXT})
			if a.result != tt.result {
				t.Errorf("%s: %s (%s), want %s", tt.title, a.result, a.detail, tt.result)
			}
			if limit := 4 * (defaultTimeout + defaultTimeout/8); time.Since(start) > limit {
				t.Errorf("%s: took %s, the bound is %s", tt.title, time.Since(start), limit)
			}
			tcp := false
			for _, q := range s.Log() {
				tcp = tcp || q.TCP
			}
			if tcp != tt.tcp {
				t.Errorf("%s: TCP used: %v, want %v", tt.title, tcp, tt.tcp)
			}
		})
	}
}

func TestResolverAsksAgainWhenAPacketIsLost(t *testing.T) {
	inLab(t, "", 1, func(t *testing.T, l *lab) {
		l.servers[0].Fail("", "", dnstest.Drop)
		l.resolver.ask(t.Context(), l.resolver.servers[0], question{"a.example.org", dns.TypeTXT})
		if n := l.servers[0].Queries("", ""); n != defaultTries {
			t.Errorf("%d packets for a silent server, want %d", n, defaultTries)
		}
	})
}

func TestResolverWorksOverRealSockets(t *testing.T) {
	long := strings.Repeat("0123456789", 40)
	var zone strings.Builder
	zone.WriteString(`big.example.org. IN TXT "` + long[:200] + `" "` + long[200:] + `"` + "\n")
	for i := range 5 {
		zone.WriteString(`big.example.org. IN TXT "` + strings.Repeat("x", 249) + string(rune('0'+i)) + `"` + "\n")
	}
	s := dnstest.Serve(t, zone.String())
	r, err := NewResolver(ResolverConfig{Servers: []string{s.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	txts, err := r.LookupTXT(t.Context(), "Big.Example.org.")
	if err != nil || len(txts) != 6 || txts[0] != long {
		t.Errorf("%d records, %v; the first is %.40q", len(txts), err, txts)
	}
	if n := s.Queries("big.example.org", "TXT"); n != 2 {
		t.Errorf("%d questions, want one over UDP and one over TCP", n)
	}
}

func TestCNAMEsAreFollowedForEightStepsAndNoFurther(t *testing.T) {
	var zone strings.Builder
	zone.WriteString("loop.example.org. IN CNAME ring.example.org.\nring.example.org. IN CNAME loop.example.org.\n")
	names := "abcdefghijk"
	for i := range len(names) - 1 {
		zone.WriteString(string(names[i]) + ".example.org. IN CNAME " + string(names[i+1]) + ".example.org.\n")
	}
	zone.WriteString(`k.example.org. IN TXT "end"`)
	inLab(t, zone.String(), 1, func(t *testing.T, l *lab) {
		for name, want := range map[string]string{"loop": SawLoop, "a": SawLoop, "b": SawLoop, "c": SawAnswer, "j": SawAnswer} {
			a := l.resolver.first(t.Context(), question{name + ".example.org", dns.TypeTXT})
			if a.result != want {
				t.Errorf("%s: %s, want %s", name, a.result, want)
			}
		}
	})
}

// An answer of nothing but records of other names is nonsense, neither poison nor absence.
func TestRecordsOfOtherNamesInAnAnswerAreIgnored(t *testing.T) {
	inLab(t, "", 1, func(t *testing.T, l *lab) {
		l.servers[0].Fail("a.example.org", "TXT", dnstest.Lie(`b.example.org. IN TXT "poison"`))
		if a := l.resolver.first(t.Context(), question{"a.example.org", dns.TypeTXT}); a.result != SawMalformed {
			t.Errorf("%s with %q, want %s", a.result, a.values(), SawMalformed)
		}
	})
}

func TestNegativeTTLIsTheLesserOfTTLAndMinimum(t *testing.T) {
	for minimum, want := range map[string]time.Duration{"60": time.Minute, "900": 10 * time.Minute, "99999": 10 * time.Minute} {
		inLab(t, "example.org. 600 IN SOA ns noreply 1 2 3 4 "+minimum, 1, func(t *testing.T, l *lab) {
			if a := l.resolver.first(t.Context(), question{"none.example.org", dns.TypeTXT}); a.ttl != want {
				t.Errorf("minimum %s: %s, want %s", minimum, a.ttl, want)
			}
		})
	}
	inLab(t, "example.org. 86400 IN SOA ns noreply 1 2 3 4 86400", 1, func(t *testing.T, l *lab) {
		if a := l.resolver.first(t.Context(), question{"none.example.org", dns.TypeTXT}); a.ttl != maxNegative {
			t.Errorf("a day: %s, want %s", a.ttl, maxNegative)
		}
	})
}

func TestLookupsReportErrorsLikeTheStandardLibrary(t *testing.T) {
	zone := `a.example.org. IN A 192.0.2.7
a.example.org. IN MX 20 b.example.org.
a.example.org. IN MX 10 c.example.org.
7.2.0.192.in-addr.arpa. IN PTR a.example.org.`
	inLab(t, zone, 2, func(t *testing.T, l *lab) {
		ctx := t.Context()
		if mxs, err := l.resolver.LookupMX(ctx, "a.example.org"); err != nil || len(mxs) != 2 || mxs[0].Host != "c.example.org." {
			t.Errorf("MX: %v, %v", mxs, err)
		}
		if ips, err := l.resolver.LookupIPAddr(ctx, "a.example.org"); err != nil || len(ips) != 1 || ips[0].String() != "192.0.2.7" {
			t.Errorf("addresses: %v, %v", ips, err)
		}
		if names, err := l.resolver.LookupAddr(ctx, "192.0.2.7"); err != nil || len(names) != 1 {
			t.Errorf("names: %v, %v", names, err)
		}
		check := func(title string, err error, notFound, temporary bool) {
			t.Helper()
			e, ok := err.(*net.DNSError) // blitiri spf and go-msgauth do not unwrap
			if !ok || e.IsNotFound != notFound || e.Temporary() != temporary {
				t.Errorf("%s: %#v", title, err)
			}
		}
		_, err := l.resolver.LookupTXT(ctx, "none.example.org")
		check("NXDOMAIN", err, true, false)
		_, err = l.resolver.LookupTXT(ctx, "a.example.org")
		check("NODATA", err, true, false)
		_, err = l.resolver.LookupTXT(ctx, strings.Repeat("a", 64)+".example.org")
		check("impossible name", err, true, false)
		_, err = l.resolver.LookupAddr(ctx, "no address")
		check("impossible address", err, true, false)
		for _, f := range []dnstest.Fault{dnstest.Servfail, dnstest.Refused, dnstest.Drop} {
			for _, s := range l.servers {
				s.Fail("", "", f)
			}
			_, err = l.resolver.LookupTXT(ctx, "a.example.org")
			check("fault", err, false, true)
			_, err = l.resolver.LookupIPAddr(ctx, "a.example.org")
			check("fault of addresses", err, false, true)
		}
	})
}

func TestLookupPrefersTheServerThatKnows(t *testing.T) {
	inLab(t, `a.example.org. IN TXT "v"`, 3, func(t *testing.T, l *lab) {
		l.servers[0].Fail("", "", dnstest.NXDomain)
		l.servers[1].Fail("", "", dnstest.Drop)
		l.servers[2].Fail("", "", dnstest.Delay(linger/2))
		start := time.Now()
		txts, err := l.resolver.LookupTXT(t.Context(), "a.example.org")
		if err != nil || len(txts) != 1 {
			t.Errorf("%q, %v", txts, err)
		}
		if d := time.Since(start); d != linger/2 {
			t.Errorf("took %s, want %s: the silent server need not be waited for", d, linger/2)
		}
	})
}

func TestLookupEndsWithItsContext(t *testing.T) {
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		for _, s := range l.servers {
			s.Fail("", "", dnstest.Drop)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := l.resolver.LookupTXT(ctx, "a.example.org")
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsTimeout {
			t.Errorf("error %v, want a time-out", err)
		}
		if d := time.Since(start); d != 100*time.Millisecond {
			t.Errorf("took %s, want 100ms", d)
		}
	})
}

func TestNewResolverRefusesServersThatCannotCount(t *testing.T) {
	for _, servers := range [][]string{nil, {""}, {"example.org"}, {":53"}, {"192.0.2.1:"}, {"192.0.2.1:0"}, {"192.0.2.1:65536"}, {"192.0.2.1", "192.0.2.1:53"}, {"[2001:db8::1]:53", "2001:db8:0::1"}} {
		if _, err := NewResolver(ResolverConfig{Servers: servers}); err == nil {
			t.Errorf("servers %q are accepted", servers)
		}
	}
	r, err := NewResolver(ResolverConfig{Servers: []string{"192.0.2.1", "2001:db8::1", "ns.example.org:5353", "[fe80::1%eth0]:53", "fe80::2%eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Servers(), " "); got != "192.0.2.1:53 [2001:db8::1]:53 ns.example.org:5353 [fe80::1%eth0]:53 [fe80::2%eth0]:53" {
		t.Errorf("servers %s", got)
	}
}
