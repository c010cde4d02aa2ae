package zone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server of c on 127.0.0.1 until the test ends and returns its address.
func serve(t testing.TB, c ServerConfig) string {
	t.Helper()
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	pc, l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, pc, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return pc.LocalAddr().String()
}

// exchange sends m over "udp" or "tcp" and returns the reply, as read, with its id checked.
func exchange(t testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	r, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: 4096}).Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %v: %v", network, m.Question, err)
	}
	return r
}

func question(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
}

func ask(t testing.TB, addr, name string, qtype uint16) *dns.Msg {
	t.Helper()
	return exchange(t, "udp", addr, question(name, qtype))
}

// show writes a reply the way the tests below compare it: code, flags, answer, authority.
func show(m *dns.Msg) string {
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	for _, f := range []struct {
		name string
		set  bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"ra", m.RecursionAvailable}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	for _, rr := range m.Answer {
		b.WriteString("\n" + spaced(rr))
	}
	for _, rr := range m.Ns {
		b.WriteString("\nauthority " + spaced(rr))
	}
	return b.String()
}

func spaced(rr dns.RR) string { return strings.ReplaceAll(rr.String(), "\t", " ") }

func same(t testing.TB, what, got, want string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// sourceFunc is a scripted source.
type sourceFunc func(ctx context.Context, name string, qtype uint16) (Answer, error)

func (f sourceFunc) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	return f(ctx, name, qtype)
}

// fixture is a source with one zone, example.org, and nothing else.
func fixture(t testing.TB) Source {
	t.Helper()
	table := newTable(t,
		"example.org SOA ns1.example.org. host.example.org. 7 1 1 1 30",
		"example.org NS ns1.example.org",
		"www.example.org A 192.0.2.1",
		"deep.ent.example.org TXT below",
		"small.example.org TXT "+strings.Repeat("s", 300),
		"medium.example.org TXT "+strings.Repeat("m", 900),
		"large.example.org TXT "+strings.Repeat("l", 4000),
		"alias.example.org CNAME www.example.org",
		"out.example.org CNAME www.example.net",
		"gone.example.org CNAME nothing.example.org",
		"loop1.example.org CNAME loop2.example.org",
		"loop2.example.org CNAME loop1.example.org",
		"sick.example.org CNAME broken.example.org",
	)
	return sourceFunc(func(ctx context.Context, name string, qtype uint16) (Answer, error) {
		switch {
		case name == "broken.example.org.":
			return Answer{}, errors.New("the store is away")
		case name == "panic.example.org.":
			panic("a fault of ours")
		case !dns.IsSubDomain("example.org.", name):
			return Answer{}, nil
		}
		return table.Lookup(ctx, name, qtype)
	})
}

// newTable makes a table with TTL 60 from lines of name, type and value.
func newTable(t testing.TB, lines ...string) *Table {
	t.Helper()
	table, err := NewTable(TableConfig{TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		f := strings.SplitN(l, " ", 3)
		if err := table.Add(f[0], f[1], f[2], 0); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

const fixtureSOA = "example.org. 30 IN SOA ns1.example.org. host.example.org. 7 1 1 1 30"

func TestAnswers(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t)})
	for _, test := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"www.example.org", dns.TypeA, "NOERROR aa\nwww.example.org. 60 IN A 192.0.2.1"},
		{"wWw.eXample.ORG", dns.TypeA, "NOERROR aa\nwWw.eXample.ORG. 60 IN A 192.0.2.1"},
		{"www.example.org", dns.TypeAAAA, "NOERROR aa\nauthority " + fixtureSOA},
		{"ent.example.org", dns.TypeTXT, "NOERROR aa\nauthority " + fixtureSOA},
		{"nothing.example.org", dns.TypeA, "NXDOMAIN aa\nauthority " + fixtureSOA},
		{"deeper.deep.ent.example.org", dns.TypeTXT, "NXDOMAIN aa\nauthority " + fixtureSOA},
		{"example.org", dns.TypeSOA, "NOERROR aa\n" + strings.Replace(fixtureSOA, " 30 ", " 60 ", 1)},
		{"example.org", dns.TypeNS, "NOERROR aa\nexample.org. 60 IN NS ns1.example.org."},
		{"alias.example.org", dns.TypeA, "NOERROR aa\nalias.example.org. 60 IN CNAME www.example.org.\nwww.example.org. 60 IN A 192.0.2.1"},
		{"alias.example.org", dns.TypeCNAME, "NOERROR aa\nalias.example.org. 60 IN CNAME www.example.org."},
		{"alias.example.org", dns.TypeMX, "NOERROR aa\nalias.example.org. 60 IN CNAME www.example.org.\nauthority " + fixtureSOA},
		{"out.example.org", dns.TypeA, "NOERROR aa\nout.example.org. 60 IN CNAME www.example.net."},
		{"gone.example.org", dns.TypeA, "NXDOMAIN aa\ngone.example.org. 60 IN CNAME nothing.example.org.\nauthority " + fixtureSOA},
		{"loop1.example.org", dns.TypeA, "NOERROR aa\nloop1.example.org. 60 IN CNAME loop2.example.org.\nloop2.example.org. 60 IN CNAME loop1.example.org."},
		{"www.example.net", dns.TypeA, "REFUSED"},
		{".", dns.TypeNS, "REFUSED"},
		{"broken.example.org", dns.TypeA, "SERVFAIL"},
		{"sick.example.org", dns.TypeA, "SERVFAIL"},
		{"panic.example.org", dns.TypeA, "SERVFAIL"},
		{"www.example.org", dns.TypeANY, "NOERROR aa\nwww.example.org. 30 IN HINFO \"RFC8482\" \"\""},
		{"alias.example.org", dns.TypeANY, "NOERROR aa\nalias.example.org. 60 IN CNAME www.example.org."},
		{"nothing.example.org", dns.TypeANY, "NXDOMAIN aa\nauthority " + fixtureSOA},
		{"example.org", dns.TypeAXFR, "REFUSED"},
		{"example.org", dns.TypeIXFR, "REFUSED"},
		{"example.org", dns.TypeTKEY, "REFUSED"},
		{"example.org", dns.TypeOPT, "REFUSED"},
	} {
		t.Run(test.name+" "+dns.Type(test.qtype).String(), func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				q := question(test.name, test.qtype)
				r := exchange(t, network, addr, q)
				same(t, network, show(r), test.want)
				if len(r.Question) != 1 || r.Question[0] != q.Question[0] || !r.RecursionDesired {
					t.Errorf("%s: question or RD not returned as asked: %v", network, r)
				}
				if len(r.Extra) != 0 {
					t.Errorf("%s: additional records nobody asked for: %v", network, r.Extra)
				}
			}
		})
	}
}

func TestRecursionSetsRA(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t), Recursion: true})
	same(t, "answer", show(ask(t, addr, "www.example.org", dns.TypeA)), "NOERROR aa ra\nwww.example.org. 60 IN A 192.0.2.1")
	same(t, "refused", show(ask(t, addr, "www.example.net", dns.TypeA)), "REFUSED ra")
}

func TestOtherClassesAreRefused(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t)})
	for _, class := range []uint16{dns.ClassCHAOS, dns.ClassANY, dns.ClassNONE} {
		q := question("www.example.org", dns.TypeA)
		q.Question[0].Qclass = class
		same(t, dns.Class(class).String(), show(exchange(t, "udp", addr, q)), "REFUSED")
	}
}

func TestOtherOpcodesAreNotImplemented(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t)})
	for _, opcode := range []int{dns.OpcodeIQuery, dns.OpcodeStatus, dns.OpcodeNotify, dns.OpcodeUpdate, 15} {
		q := question("example.org", dns.TypeSOA)
		q.Opcode = opcode
		r := exchange(t, "udp", addr, q)
		if r.Rcode != dns.RcodeNotImplemented || r.Opcode != opcode || len(r.Answer) != 0 {
			t.Errorf("opcode %d: %v", opcode, r)
		}
	}
}

func TestMalformedQueriesAreFormErr(t *testing.T) {
	opt := func(name string) *dns.OPT {
		return &dns.OPT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeOPT, Class: 1232}}
	}
	for name, change := range map[string]func(*dns.Msg){
		"no question":      func(m *dns.Msg) { m.Question = nil },
		"two questions":    func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		"two OPT":          func(m *dns.Msg) { m.Extra = []dns.RR{opt("."), opt(".")} },
		"OPT with a name":  func(m *dns.Msg) { m.Extra = []dns.RR{opt("example.org.")} },
		"answer in query":  func(m *dns.Msg) { m.Answer = []dns.RR{newTXT("a.", 1, "x")} },
		"three additional": func(m *dns.Msg) { m.Extra = []dns.RR{newTXT("a.", 1, ""), newTXT("a.", 1, ""), newTXT("a.", 1, "")} },
	} {
		q := question("www.example.org", dns.TypeA)
		change(q)
		wire, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if r := one(t, ServerConfig{Source: fixture(t)}, wire); r.Rcode != dns.RcodeFormatError || len(r.Answer)+len(r.Ns) != 0 {
			t.Errorf("%s: %v, want FORMERR", name, r)
		}
	}
	for name, wire := range map[string][]byte{
		"header that promises a question": {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0},
		"name that points at itself":      {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1},
		"question cut off":                {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'w', 'w'},
	} {
		if r := one(t, ServerConfig{Source: fixture(t)}, wire); r.Rcode != dns.RcodeFormatError || r.Id != 0x102 {
			t.Errorf("%s: %v, want FORMERR", name, r)
		}
	}
}

// one sends a datagram to a server of c and returns its only answer.
func one(t testing.TB, c ServerConfig, wire []byte) *dns.Msg {
	t.Helper()
	answers := deliver(t, c, wire)
	if len(answers) != 1 {
		t.Fatalf("%d answers to %x, want 1", len(answers), wire)
	}
	r := new(dns.Msg)
	if err := r.Unpack(answers[0]); err != nil {
		t.Fatalf("answer %x: %v", answers[0], err)
	}
	return r
}

func TestAnswersAndScrapsAreNotAnswered(t *testing.T) {
	q := question("www.example.org", dns.TypeA)
	q.Response = true
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for name, wire := range map[string][]byte{"an answer": wire, "eleven bytes": wire[:11], "nothing": {}} {
		if got := deliver(t, ServerConfig{Source: fixture(t)}, wire); len(got) != 0 {
			t.Errorf("%s: answered with %x", name, got)
		}
	}
}

func TestEDNS(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t)})
	for _, do := range []bool{false, true} {
		r := exchange(t, "udp", addr, question("nothing.example.org", dns.TypeA).SetEdns0(4096, do))
		opt := r.IsEdns0()
		if opt == nil || len(r.Extra) != 1 || opt.UDPSize() != 1232 || opt.Do() != do || opt.Version() != 0 || len(opt.Option) != 0 {
			t.Errorf("DO %v: OPT %v", do, opt)
		}
	}
	q := question("www.example.org", dns.TypeA).SetEdns0(1232, false)
	q.IsEdns0().SetVersion(1)
	r := exchange(t, "udp", addr, q)
	if opt := r.IsEdns0(); r.Rcode != dns.RcodeBadVers || opt == nil || opt.Version() != 0 || len(r.Answer) != 0 {
		t.Errorf("version 1: %v, want BADVERS", r)
	}
}

func TestTruncationFollowsTheClientsSize(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t)})
	for _, test := range []struct {
		name    string
		size    uint16 // 0: no EDNS
		whole   bool
		network string
	}{
		{"small", 0, true, "udp"},
		{"medium", 0, false, "udp"},
		{"medium", 512, false, "udp"},
		{"medium", 100, false, "udp"},
		{"small", 100, true, "udp"}, // less than 512 counts as 512
		{"medium", 1232, true, "udp"},
		{"large", 1232, false, "udp"},
		{"large", 65535, false, "udp"}, // we send no more than 1232 bytes
		{"large", 0, true, "tcp"},
		{"large", 512, true, "tcp"},
	} {
		q := question(test.name+".example.org", dns.TypeTXT)
		if test.size > 0 {
			q.SetEdns0(test.size, false)
		}
		r := exchange(t, test.network, addr, q)
		if r.Truncated == test.whole || (len(r.Answer) == 1) != test.whole || len(r.Ns) != 0 || r.Rcode != dns.RcodeSuccess {
			t.Errorf("%s over %s with size %d: whole %v, want %v:\n%v", test.name, test.network, test.size, !r.Truncated, test.whole, r)
		}
		if test.whole {
			if got, want := literal(r.Answer[0].(*dns.TXT).Txt), strings.Repeat(test.name[:1], map[string]int{"small": 300, "medium": 900, "large": 4000}[test.name]); got != want {
				t.Errorf("%s: value differs: %d bytes, want %d", test.name, len(got), len(want))
			}
		}
	}
}

func TestAnswerTooLargeForTCPIsServfail(t *testing.T) {
	big := sourceFunc(func(_ context.Context, name string, _ uint16) (Answer, error) {
		a := Answer{SOA: &dns.SOA{}, Exists: true}
		for i := range 10 {
			a.RRs = append(a.RRs, newTXT(name, 1, fmt.Sprint(i)+strings.Repeat("x", 8000)))
		}
		return a, nil
	})
	addr := serve(t, ServerConfig{Source: big})
	same(t, "tcp", show(exchange(t, "tcp", addr, question("example.org", dns.TypeTXT))), "SERVFAIL")
	same(t, "udp", show(ask(t, addr, "example.org", dns.TypeTXT)), "NOERROR aa tc")
}

func TestChainsAreBounded(t *testing.T) {
	var asked int
	endless := sourceFunc(func(_ context.Context, name string, _ uint16) (Answer, error) {
		asked++
		return Answer{SOA: &dns.SOA{}, Exists: true, RRs: []dns.RR{
			&dns.CNAME{Hdr: header(name, dns.TypeCNAME, 1), Target: fmt.Sprintf("n%d.example.org.", asked)},
		}}, nil
	})
	wire, _ := question("example.org", dns.TypeA).SetEdns0(1232, false).Pack()
	if r := one(t, ServerConfig{Source: endless}, wire); len(r.Answer) != maxChain || asked != maxChain {
		t.Errorf("%d records after %d questions, want %d", len(r.Answer), asked, maxChain)
	}
}

func TestChainTakesTheFirstResponsibleAndStopsAtErrors(t *testing.T) {
	first := sourceFunc(func(_ context.Context, name string, _ uint16) (Answer, error) {
		switch name {
		case "mine.":
			return Answer{SOA: &dns.SOA{}}, nil
		case "sick.":
			return Answer{}, errors.New("away")
		}
		return Answer{}, nil
	})
	second := sourceFunc(func(context.Context, string, uint16) (Answer, error) {
		return Answer{SOA: &dns.SOA{}, Exists: true}, nil
	})
	c := Chain(first, second)
	if a, err := c.Lookup(t.Context(), "mine.", dns.TypeA); err != nil || a.Exists {
		t.Errorf("mine: %+v, %v; want the first source's absence", a, err)
	}
	if _, err := c.Lookup(t.Context(), "sick.", dns.TypeA); err == nil {
		t.Error("sick: the second source answered for the first")
	}
	if a, err := c.Lookup(t.Context(), "other.", dns.TypeA); err != nil || !a.Exists {
		t.Errorf("other: %+v, %v; want the second source's answer", a, err)
	}
	if a, err := Chain(first).Lookup(t.Context(), "other.", dns.TypeA); err != nil || a.SOA != nil {
		t.Errorf("other: %+v, %v; want nobody responsible", a, err)
	}
}

func TestRateLimitSendsClientsToTCP(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t), RateLimit: 3})
	whole, truncated := 0, 0
	for range 20 {
		switch r := ask(t, addr, "www.example.org", dns.TypeA); {
		case r.Truncated && len(r.Answer) == 0:
			truncated++
		case !r.Truncated && len(r.Answer) == 1:
			whole++
		}
	}
	// Twenty questions take far less than three seconds, even on a slow machine.
	if whole < 3 || truncated < 1 || whole+truncated != 20 {
		t.Errorf("%d whole and %d truncated answers of 20 at 3 a second", whole, truncated)
	}
	for range 5 {
		if r := exchange(t, "tcp", addr, question("www.example.org", dns.TypeA)); r.Truncated || len(r.Answer) != 1 {
			t.Errorf("over TCP: %v", r)
		}
	}
}

func TestLimiterCountsNetworksAndSeconds(t *testing.T) {
	l := newLimiter(2)
	for i, test := range []struct {
		addr   string
		second int64
		want   bool
	}{
		{"192.0.2.1", 1, true},
		{"192.0.2.200", 1, true},
		{"::ffff:192.0.2.9", 1, false},
		{"192.0.2.1", 2, true},
		{"2001:db8:0:1::1", 2, true},
		{"2001:db8:0:2::1", 2, true},
		{"2001:db8:0:3::1", 2, false},
		{"2001:db8:0:3::1", 3, true},
	} {
		if got := l.allow(netip.MustParseAddr(test.addr), test.second); got != test.want {
			t.Errorf("row %d: %s at %d: %v, want %v", i, test.addr, test.second, got, test.want)
		}
	}
}

func TestOverloadDropsDatagramsButNotStreams(t *testing.T) {
	s, err := NewServer(ServerConfig{Source: fixture(t)})
	if err != nil {
		t.Fatal(err)
	}
	for range maxInFlight {
		s.inFlight <- struct{}{}
	}
	wire, _ := question("www.example.org", dns.TypeA).Pack()
	if got := deliverTo(t, s, wire); len(got) != 0 {
		t.Errorf("answered under overload: %x", got)
	}
	<-s.inFlight
	if got := deliverTo(t, s, wire); len(got) != 1 {
		t.Errorf("%d answers with room for one", len(got))
	}
}

func TestServeDrainsAndClosesWhatIsIdle(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	slow := sourceFunc(func(ctx context.Context, name string, _ uint16) (Answer, error) {
		close(asked)
		<-release
		if ctx.Err() != nil {
			return Answer{}, ctx.Err()
		}
		return Answer{SOA: &dns.SOA{}, Exists: true, RRs: []dns.RR{newTXT(name, 1, "late")}}, nil
	})
	s, err := NewServer(ServerConfig{Source: slow})
	if err != nil {
		t.Fatal(err)
	}
	pc, l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, pc, l) }()

	idle, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	answer := make(chan *dns.Msg, 1)
	go func() {
		r, _, _ := (&dns.Client{Timeout: 5 * time.Second}).Exchange(question("example.org", dns.TypeTXT), pc.LocalAddr().String())
		answer <- r
	}()
	<-asked
	cancel()
	select {
	case err := <-done:
		t.Fatalf("Serve returned %v with a question open", err)
	default:
	}
	close(release)
	if r := <-answer; r == nil || len(r.Answer) != 1 {
		t.Errorf("the question open at the end got %v", r)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := pc.WriteTo([]byte{0}, pc.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the packet connection is still open: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}

func TestServeFailsWhenASocketFails(t *testing.T) {
	for _, broken := range []string{"udp", "tcp"} {
		s, err := NewServer(ServerConfig{Source: fixture(t)})
		if err != nil {
			t.Fatal(err)
		}
		pc, l, err := Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if broken == "udp" {
			pc.Close()
		} else {
			l.Close()
		}
		if err := s.Serve(t.Context(), pc, l); err == nil {
			t.Errorf("Serve with a closed %s socket returned nil", broken)
		}
	}
	s, _ := NewServer(ServerConfig{Source: fixture(t)})
	if err := s.Serve(t.Context(), nil, nil); err == nil {
		t.Error("Serve of nothing returned nil")
	}
}

func TestServeEndsAtOnceWithADoneContext(t *testing.T) {
	s, _ := NewServer(ServerConfig{Source: fixture(t)})
	pc, l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx, pc, l); err != nil {
		t.Error(err)
	}
}

func TestNewServerRefusesHalfAConfig(t *testing.T) {
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("no source: no error")
	}
	if _, err := NewServer(ServerConfig{Source: fixture(t), RateLimit: -1}); err == nil {
		t.Error("negative limit: no error")
	}
}

func TestListenUsesOnePortForBoth(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "localhost:0", ":0"} {
		pc, l, err := Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		if u, s := pc.LocalAddr().(*net.UDPAddr).Port, l.Addr().(*net.TCPAddr).Port; u != s || u == 0 {
			t.Errorf("%s: UDP port %d, TCP port %d", address, u, s)
		}
		// The port is taken now, for both.
		if _, _, err := Listen(l.Addr().String()); err == nil {
			t.Errorf("%s: opened twice", address)
		}
		pc.Close()
		l.Close()
	}
	for _, address := range []string{"", "127.0.0.1", "127.0.0.1:99999", "[::1"} {
		if _, _, err := Listen(address); err == nil {
			t.Errorf("%q: no error", address)
		}
	}
}

// pipeListener accepts the connections that are sent on it.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error { close(l); return nil }

func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestConnectionsAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := make(pipeListener, 3)
		for range cap(inner) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			inner <- ours
		}
		l := boundListener(inner, 2)
		accepted := make(chan net.Conn, cap(inner))
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				accepted <- c
			}
		}()
		synctest.Wait()
		if len(accepted) != 2 {
			t.Errorf("%d connections accepted at a cap of 2", len(accepted))
		}
		(<-accepted).Close()
		synctest.Wait()
		if len(accepted) != 2 {
			t.Errorf("%d connections open after one of two ended and a third waited, want 2", len(accepted))
		}
		l.Close()
	})
}

func TestClientThatNeverReadsLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		defer ours.Close()
		start := time.Now()
		if _, err := (writeBoundConn{ours}).Write(make([]byte, 1<<16)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v, want a time-out", err)
		}
		if d := time.Since(start); d != tcpWriteTimeout {
			t.Errorf("gave up after %v, want %v", d, tcpWriteTimeout)
		}
	})
}

func TestSilentConnectionIsClosed(t *testing.T) {
	t.Parallel()
	addr := serve(t, ServerConfig{Source: fixture(t)})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(2 * tcpReadTimeout))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want the connection closed", n, err)
	}
}

func TestConnectionTakesManyQuestionsButNotForever(t *testing.T) {
	addr := serve(t, ServerConfig{Source: fixture(t)})
	c, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	n := 0
	for range maxConnQueries + 1 {
		if c.WriteMsg(question("www.example.org", dns.TypeA)) != nil {
			break
		}
		if _, err := c.ReadMsg(); err != nil {
			break
		}
		n++
	}
	if n != maxConnQueries {
		t.Errorf("%d questions answered on one connection, want %d", n, maxConnQueries)
	}
}

func TestFailuresAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, err := NewServer(ServerConfig{Source: fixture(t), Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			s.reply(t.Context(), question("broken.example.org", dns.TypeA), false)
		}
		time.Sleep(time.Second)
		s.reply(t.Context(), question("broken.example.org", dns.TypeA), false)
		if n := strings.Count(log.String(), "the store is away"); n != 2 {
			t.Errorf("%d lines logged, want 2:\n%s", n, &log)
		}
	})
}

func TestManyClientsAtOnce(t *testing.T) {
	table := newTable(t, "www.example.org A 192.0.2.1")
	addr := serve(t, ServerConfig{Source: table, Recursion: true})
	var wg sync.WaitGroup
	for i := range 8 {
		network := []string{"udp", "tcp"}[i%2]
		wg.Go(func() {
			for j := range 25 {
				name := fmt.Sprintf("n%d.c%d.example.org", j, i)
				if err := table.Add(name, "TXT", "here", 0); err != nil {
					t.Error(err)
				}
				r, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(question(name, dns.TypeTXT), addr)
				if err != nil || len(r.Answer) != 1 {
					t.Errorf("%s: %v, %v", name, r, err)
				}
				if n, err := table.Del(name, "TXT", ""); n != 1 || err != nil {
					t.Errorf("%s: removed %d, %v", name, n, err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(table.Records()); got != 1 {
		t.Errorf("%d records left, want 1", got)
	}
	if n := len(table.tree.below); n != len(newTable(t, "www.example.org A 192.0.2.1").tree.below) {
		t.Errorf("names are left behind: %v", table.tree.below)
	}
}
