package dnstest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

const zone = `
example.org.        600 IN SOA ns.example.org. noreply.example.org. 7 3600 600 86400 120
example.org.        IN MX  10 mx.example.org.
a.b.example.org.    IN TXT "deep"
alias.example.org.  IN CNAME a.b.example.org.
out.example.org.    IN CNAME nothing.example.net.
loop.example.org.   IN CNAME loop.example.org.
*.wild.example.org. IN TXT "star"
own.wild.example.org. IN A 192.0.2.1
`

// exchange asks over a connection and fails the test without an answer.
func exchange(t *testing.T, network, addr, name string, qtype uint16) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 5 * time.Second}
	m, _, err := c.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), addr)
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, dns.TypeToString[qtype], network, err)
	}
	return m
}

func TestServerAnswersAsTheRFCsSay(t *testing.T) {
	s := Serve(t, zone)
	for _, tt := range []struct {
		name    string
		qtype   uint16
		rcode   int
		answers int
	}{
		{"example.org", dns.TypeMX, dns.RcodeSuccess, 1},
		{"EXAMPLE.org", dns.TypeMX, dns.RcodeSuccess, 1},
		{"example.org", dns.TypeTXT, dns.RcodeSuccess, 0},
		{"b.example.org", dns.TypeTXT, dns.RcodeSuccess, 0},            // empty non-terminal
		{"none.example.org", dns.TypeTXT, dns.RcodeNameError, 0},       //
		{"alias.example.org", dns.TypeTXT, dns.RcodeSuccess, 2},        // chased
		{"alias.example.org", dns.TypeCNAME, dns.RcodeSuccess, 1},      //
		{"out.example.org", dns.TypeTXT, dns.RcodeNameError, 1},        //
		{"loop.example.org", dns.TypeTXT, dns.RcodeSuccess, 16},        //
		{"x.y.wild.example.org", dns.TypeTXT, dns.RcodeSuccess, 1},     // RFC 4592
		{"x.wild.example.org", dns.TypeA, dns.RcodeSuccess, 0},         // covered, other type
		{"own.wild.example.org", dns.TypeTXT, dns.RcodeSuccess, 0},     // exists, so no wildcard
		{"x.own.wild.example.org", dns.TypeTXT, dns.RcodeNameError, 0}, // closest encloser is own
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := exchange(t, network, s.Addr(), tt.name, tt.qtype)
			if m.Rcode != tt.rcode || len(m.Answer) != tt.answers {
				t.Errorf("%s %s over %s: %s with %d answers, want %s with %d", tt.name, dns.TypeToString[tt.qtype], network,
					dns.RcodeToString[m.Rcode], len(m.Answer), dns.RcodeToString[tt.rcode], tt.answers)
			}
		}
	}
	if n := s.Queries("alias.example.org", "TXT"); n != 2 {
		t.Errorf("log counts %d questions, want 2", n)
	}
}

func TestNegativeAnswersCarryASOA(t *testing.T) {
	s := Serve(t, zone, Minimum(90*time.Second))
	for name, minimum := range map[string]uint32{"none.example.org": 120, "none.example.com": 90} {
		m := exchange(t, "udp", s.Addr(), name, dns.TypeTXT)
		if len(m.Ns) != 1 || m.Ns[0].(*dns.SOA).Minttl != minimum {
			t.Errorf("%s: authority section %v, want a SOA with minimum %d", name, m.Ns, minimum)
		}
	}
}

func TestLongAnswersAreTruncatedOverUDPOnly(t *testing.T) {
	s := Serve(t, "")
	for range 20 {
		s.Add(`big.example.org. IN TXT "0123456789012345678901234567890123456789012345678901234567890123456789"`)
	}
	if m := exchange(t, "udp", s.Addr(), "big.example.org", dns.TypeTXT); !m.Truncated {
		t.Error("no TC over UDP")
	}
	if m := exchange(t, "tcp", s.Addr(), "big.example.org", dns.TypeTXT); m.Truncated || len(m.Answer) != 20 {
		t.Errorf("over TCP: TC %v, %d answers", m.Truncated, len(m.Answer))
	}
}

func TestRecordsAndFaultsChangeWhileServing(t *testing.T) {
	s := Serve(t, `a.example.org. IN TXT "one"`)
	ask := func() *dns.Msg { return exchange(t, "udp", s.Addr(), "a.example.org", dns.TypeTXT) }
	s.Add(`a.example.org. IN TXT "two"`)
	if m := ask(); len(m.Answer) != 2 {
		t.Errorf("after Add: %d answers, want 2", len(m.Answer))
	}
	s.Set(`a.example.org. IN TXT "three"`)
	if m := ask(); len(m.Answer) != 1 {
		t.Errorf("after Set: %d answers, want 1", len(m.Answer))
	}
	s.Fail("a.example.org", "TXT", Servfail)
	if m := ask(); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("after Fail: %s", dns.RcodeToString[m.Rcode])
	}
	s.Fail("", "", Refused)
	if m := ask(); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("a fault for all names hides that of one name: %s", dns.RcodeToString[m.Rcode])
	}
	s.Heal("", "")
	s.Remove("a.example.org", "TXT")
	if m := ask(); m.Rcode != dns.RcodeNameError {
		t.Errorf("after Remove: %s", dns.RcodeToString[m.Rcode])
	}
}

func TestInMemoryConnectionsFollowTheFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(t, zone)
		s.Fail("example.org", "MX", Delay(3*time.Second))
		for _, network := range []string{"udp", "tcp"} {
			conn, err := s.Dial(t.Context(), network, "192.0.2.1:53")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			start := time.Now()
			co := &dns.Conn{Conn: conn}
			co.SetDeadline(start.Add(10 * time.Second))
			if err := co.WriteMsg(new(dns.Msg).SetQuestion("example.org.", dns.TypeMX)); err != nil {
				t.Fatal(err)
			}
			m, err := co.ReadMsg()
			if err != nil || len(m.Answer) != 1 {
				t.Fatalf("over %s: %v, %v", network, m, err)
			}
			if d := time.Since(start); d != 3*time.Second {
				t.Errorf("over %s the answer took %s of fake time, want 3s", network, d)
			}
		}
	})
}
