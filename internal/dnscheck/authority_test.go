package dnscheck

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// globe is a lab of root, top level, name servers of example.org and resolvers.
type globe struct {
	network   dnstest.Network
	servers   []*dnstest.Server
	resolvers []*dnstest.Server
	top       *dnstest.Server

	mu    sync.Mutex
	asked map[string]int // by address
}

// newGlobe makes name servers ns1.example.net (192.0.2.11), ns2 and so on, one for each zone
// text, and n resolvers.
func newGlobe(t testing.TB, n int, zones ...string) *globe {
	t.Helper()
	w := &globe{network: dnstest.Network{}, asked: make(map[string]int)}
	var delegation, hosts strings.Builder
	for i := range zones {
		fmt.Fprintf(&delegation, "example.org. NS ns%d.example.net.\n", i+1)
		fmt.Fprintf(&hosts, "ns%d.example.net. A 192.0.2.%d\n", i+1, 11+i)
	}
	var root strings.Builder
	root.WriteString(". SOA a.root. x.root. 1 2 3 4 60\n")
	for _, tld := range []string{"org", "net", "test", "example"} {
		root.WriteString(tld + ". NS ns.nic.test.\n")
	}
	root.WriteString("ns.nic.test. A 192.0.2.2\n")
	w.network["192.0.2.1:53"] = dnstest.New(t, root.String(), dnstest.Authority())
	var top strings.Builder
	top.WriteString("ns.nic.test. A 192.0.2.2\n")
	for _, tld := range []string{"org", "net", "test", "example"} {
		top.WriteString(tld + ". SOA ns.nic.test. x.nic.test. 1 2 3 4 60\n" + tld + ". NS ns.nic.test.\n")
	}
	w.top = dnstest.New(t, top.String()+delegation.String()+hosts.String(), dnstest.Authority())
	w.network["192.0.2.2:53"] = w.top
	for i, zone := range zones {
		s := dnstest.New(t, fmt.Sprintf("example.org. 3600 SOA ns1.example.net. h.example.org. %d 3600 600 86400 300\n%s%s", 1+i, delegation.String(), zone), dnstest.Authority())
		w.network[fmt.Sprintf("192.0.2.%d:53", 11+i)] = s
		w.servers = append(w.servers, s)
	}
	for i := range n {
		s := dnstest.New(t, "", dnstest.Recursor(w.network, "192.0.2.1:53"))
		w.network[fmt.Sprintf("203.0.113.%d:53", i+1)] = s
		w.resolvers = append(w.resolvers, s)
	}
	return w
}

func (w *globe) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.network.Dial(ctx, network, address)
	return counted{conn, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked[address]++
	}}, err
}

// counted tells of each question.
type counted struct {
	net.Conn
	count func()
}

func (c counted) Write(p []byte) (int, error) {
	c.count()
	return c.Conn.Write(p)
}

func (w *globe) checker(t testing.TB, change func(*CheckerConfig)) *Checker {
	t.Helper()
	var addresses []string
	for i := range w.resolvers {
		addresses = append(addresses, fmt.Sprintf("203.0.113.%d:53", i+1))
	}
	r, err := NewResolver(ResolverConfig{Servers: addresses, Dial: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	c := CheckerConfig{Resolver: r, Mode: ModeAuthoritative}
	if change != nil {
		change(&c)
	}
	k, err := NewChecker(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const hasToken = `_postseal.example.org. TXT "` + token + `"`

func TestResolversAreNotAskedBeforeAServerHasTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, "", "")
		c, rec := w.checker(t, nil), ownership(t, "example.org")
		asked := func() int {
			n := 0
			for _, r := range w.resolvers {
				for _, q := range r.Log() {
					if strings.HasPrefix(q.Name, "_postseal.") {
						n++
					}
				}
			}
			return n
		}
		if f := c.Check(t.Context(), mustName(t, "example.org"), []Record{rec})[0]; f.Outcome != Missing || asked() != 0 {
			t.Fatalf("%s %s, and resolvers were asked %d times", f.Outcome, f.Code, asked())
		}
		for _, s := range w.servers {
			s.Add(hasToken)
		}
		f := c.Check(t.Context(), mustName(t, "example.org"), []Record{rec})[0]
		if f.Outcome != Match || f.Code != CodeMatch || asked() != 2 {
			t.Errorf("%s %s, and resolvers were asked %d times", f.Outcome, f.Code, asked())
		}
		var lines []string
		for _, s := range f.Seen {
			lines = append(lines, s.Role+" "+s.Host+" "+s.Server+" "+s.Result)
		}
		want := []string{
			"authoritative ns1.example.net 192.0.2.11:53 answer", "authoritative ns2.example.net 192.0.2.12:53 answer",
			"resolver  203.0.113.1:53 answer", "resolver  203.0.113.2:53 answer",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("the grid is %q", lines)
		}
	})
}

func TestNameServersAreAskedWithoutRecursion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, hasToken, hasToken)
		w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})
		for _, s := range w.servers {
			if n := s.Queries("_postseal.example.org", "TXT"); n == 0 {
				t.Error("a name server was not asked")
			}
		}
		for _, q := range w.resolvers[0].Log() {
			if !q.RD {
				t.Errorf("%s %s was asked of a resolver without RD", q.Name, q.Type)
			}
		}
	})
}

// One resolver that lies about everything neither proves a domain nor unproves it, and
// servers with every kind of fault are never taken for absence.
func TestRandomFaultsNeverMakeAFalseMatchOrAFalseAbsence(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 60
	}
	const (
		has = iota
		lacks
		old
		mute
		fails
		refuses
		garbles
		lame
		states
	)
	rec := ownership(t, "example.org")
	for seed := range rounds {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		synctest.Test(t, func(t *testing.T) {
			n := 1 + rng.IntN(4)
			var plan []int
			var zones []string
			holds := make([]bool, n)
			for i := range n {
				state := has
				if rng.IntN(2) == 0 {
					state = rng.IntN(states)
				}
				plan = append(plan, state)
				holds[i] = state == has || state >= mute && rng.IntN(2) == 0
				switch {
				case holds[i]:
					zones = append(zones, hasToken)
				case state == old:
					zones = append(zones, `_postseal.example.org. TXT "old"`)
				default:
					zones = append(zones, "")
				}
			}
			w := newGlobe(t, 3, zones...)
			w.network["192.0.2.66:53"] = dnstest.New(t, "example.org. SOA x. y. 1 2 3 4 5\n"+hasToken, dnstest.Authority())
			w.network["192.0.2.67:53"] = dnstest.New(t, "example.org. SOA x. y. 1 2 3 4 5\n", dnstest.Authority())
			for i, state := range plan {
				fault := map[int]dnstest.Fault{mute: dnstest.Drop, fails: dnstest.Servfail, refuses: dnstest.Refused, garbles: dnstest.Garbage, lame: dnstest.Referral}
				if f, ok := fault[state]; ok {
					w.servers[i].Fail("", "", f)
				}
			}
			// At most one resolver lies; the others may fail.
			liar := w.resolvers[rng.IntN(3)]
			lie := rng.IntN(9)
			switch lie {
			case 0:
				liar.Fail("_postseal.example.org", "", dnstest.Lie(hasToken))
			case 1:
				liar.Fail("", "", dnstest.NXDomain)
			case 2:
				liar.Fail("example.org", "NS", dnstest.Lie("example.org. NS evil.example.net."))
				liar.Fail("evil.example.net", "A", dnstest.Lie("evil.example.net. A 192.0.2.66"))
				liar.Fail("_postseal.example.org", "", dnstest.Lie(hasToken))
			case 3:
				liar.Fail("example.org", "NS", dnstest.Lie("example.org. NS evil.example.net."))
				liar.Fail("evil.example.net", "A", dnstest.Lie("evil.example.net. A 192.0.2.67"))
			case 5:
				liar.Fail("example.org", "NS", dnstest.Lie("example.org. NS gone.example.net."))
			case 6:
				liar.Fail("example.org", "NS", dnstest.Lie("example.org. NS evil.example.net."))
				liar.Fail("evil.example.net", "A", dnstest.Lie("evil.example.net. A 10.0.0.1"))
				liar.Fail("_postseal.example.org", "", dnstest.Lie(hasToken))
			case 4: // a lie about the address of a true server
				liar.Fail("ns1.example.net", "A", dnstest.Lie("ns1.example.net. A 192.0.2.66"))
				liar.Fail("_postseal.example.org", "", dnstest.Lie(hasToken))
			}
			for _, r := range w.resolvers {
				if r != liar && rng.IntN(5) == 0 {
					r.Fail("", "", []dnstest.Fault{dnstest.Drop, dnstest.Servfail, dnstest.Refused}[rng.IntN(3)])
					break
				}
			}
			c := w.checker(t, nil)
			// The resolvers have been seen alive before.
			for _, s := range c.resolver.servers {
				c.resolver.spoke[s].Store(time.Now().UnixNano())
			}
			begin := time.Now()
			f := c.Check(t.Context(), mustName(t, "example.org"), []Record{rec})[0]
			if d := time.Since(begin); d > authoritativeTimeout {
				t.Errorf("seed %d: took %s", seed, d)
			}
			published := slices.Contains(holds, true)
			visible := false // on a server that answers
			for i, state := range plan {
				visible = visible || holds[i] && state == has
			}
			story := fmt.Sprintf("seed %d: servers %v (holding %v), lie %d: %s %s; %s; %+v", seed, plan, holds, lie, f.Outcome, f.Code, f.Fix, f.Seen)
			switch {
			case f.Outcome == Match && !published:
				t.Errorf("a false match: %s", story)
			case (f.Outcome == Missing || f.Outcome == Mismatch) && f.Code != CodeNSInconsistent && visible:
				t.Errorf("a false absence: %s", story)
			case f.Code == CodeNSInconsistent && !visible:
				t.Errorf("inconsistent without a witness: %s", story)
			}
			// A silent server may hold it, so there is no certainty.
			for i, state := range plan {
				if (state == mute || state == fails || state == garbles) && holds[i] && (f.Outcome == Missing || f.Outcome == Mismatch) && f.Code != CodeNSInconsistent {
					t.Errorf("absence in spite of a silent server: %s", story)
				}
			}
		})
	}
}

// Resolvers stand for name servers that cannot be reached only as far as they reach the zone
// themselves: what they remember of one that is gone proves nothing.
func TestMemoriesOfResolversAreNoMatch(t *testing.T) {
	own, key := ownership(t, "example.org"), dkim(t, "example.org")
	spf := Record{Purpose: SPF, Name: mustName(t, "example.org"), Type: TXT, Value: ourSPF}
	for name, fault := range map[string]dnstest.Fault{
		"silent": dnstest.Drop, "refusing": dnstest.Refused, "failing": dnstest.Servfail, "lame": dnstest.Referral,
	} {
		for _, gone := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w := newGlobe(t, 2, "", "")
				for _, s := range w.servers {
					if gone {
						s.Fail("", "", fault)
						continue
					}
					for _, rec := range []Record{own, key, spf} { // to us alone
						s.Fail(rec.Name.String(), string(rec.Type), fault)
					}
				}
				for _, r := range w.resolvers {
					for _, rec := range []Record{own, key, spf} {
						r.Add(rec.Name.String() + ". 300 IN " + string(rec.Type) + " " + rdata(rec))
					}
				}
				want := Match
				if gone {
					want = Unknown
				}
				for _, f := range w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), []Record{own, key, spf}) {
					if f.Outcome != want {
						t.Errorf("%s, gone %v: %s is %s %s", name, gone, f.Purpose, f.Outcome, f.Code)
					}
				}
			})
		}
	}
}

func TestPrivateAddressesAreNeverAsked(t *testing.T) {
	for _, addr := range []string{
		"10.0.0.1", "172.16.9.9", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.251", "0.0.0.0", "255.255.255.255", "198.18.0.1",
		"::1", "::", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::1", "2002:a00:1::", "::7f00:1",
	} {
		if !private(netip.MustParseAddr(addr)) {
			t.Errorf("%s may be asked", addr)
		}
	}
	for _, addr := range []string{"192.0.2.1", "8.8.8.8", "2001:db8::1", "2620:fe::fe", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8", "100.128.0.1", "172.32.0.1"} {
		if private(netip.MustParseAddr(addr)) {
			t.Errorf("%s is refused", addr)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, hasToken, hasToken)
		for _, r := range append(w.resolvers, w.top) {
			r.Fail("ns2.example.net", "A", dnstest.Lie("ns2.example.net. A 127.0.0.1\nns2.example.net. A 10.0.0.8\nns2.example.net. A 192.0.2.12"))
		}
		f := w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
		if f.Outcome != Match {
			t.Errorf("%s %s: %s", f.Outcome, f.Code, f.Fix)
		}
		for addr := range w.asked {
			if ap, err := netip.ParseAddrPort(addr); err != nil || private(ap.Addr()) {
				t.Errorf("%s was asked", addr)
			}
		}
	})
}

func TestAddressMapSaysWhereServersListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, hasToken, hasToken)
		w.network["lab.example:5353"] = w.servers[0]
		delete(w.network, "192.0.2.11:53")
		f := w.checker(t, func(c *CheckerConfig) {
			c.AuthoritativeMap = map[netip.Addr]string{netip.MustParseAddr("192.0.2.11"): "lab.example:5353"}
		}).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
		if f.Outcome != Match || w.asked["lab.example:5353"] == 0 || w.asked["192.0.2.11:53"] != 0 || f.Seen[0].Result != SawAnswer {
			t.Errorf("%s %s, asked %v", f.Outcome, f.Code, w.asked)
		}
	})
	r, err := NewResolver(ResolverConfig{Servers: []string{"192.0.2.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []CheckerConfig{
		{Resolver: r, Mode: "both"}, {Resolver: r, Mode: ModeAuthoritative, Quorum: -1}, {Resolver: r, Mode: ModeAuthoritative, TrustAD: []string{"192.0.2.9"}},
		{Resolver: r, Mode: ModeAuthoritative, AuthoritativeMap: map[netip.Addr]string{netip.MustParseAddr("192.0.2.11"): "nowhere"}},
		{Resolver: r, Mode: ModeAuthoritative, MaxQuestions: -1}, {Resolver: r, Mode: ModeAuthoritative, Timeout: -1},
	} {
		if _, err := NewChecker(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// A zone in the hands of a stranger names servers by the hundred, each with addresses by
// the hundred, in circles of delegation.
func TestFanOutAndQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var zone strings.Builder
		for i := range 200 {
			fmt.Fprintf(&zone, "evil.example.org. NS n%d.evil.example.org.\n", i)
			for j := range 3 {
				fmt.Fprintf(&zone, "n%d.evil.example.org. A 198.51.%d.%d\n", i, 100+j, i)
			}
		}
		w := newGlobe(t, 3, zone.String(), zone.String())
		c := w.checker(t, nil)
		begin := time.Now()
		fs := c.Check(t.Context(), mustName(t, "evil.example.org"), wholeDomain(t, "evil.example.org"))
		if d := time.Since(begin); d > authoritativeTimeout {
			t.Errorf("took %s", d)
		}
		asked := 0
		victims := make(map[string]bool)
		for addr, n := range w.asked {
			asked += n
			if strings.HasPrefix(addr, "198.51.") {
				victims[addr] = true
			}
		}
		if len(victims) > maxServers || asked > 2*maxQuestions {
			t.Errorf("%d packets, %d addresses", asked, len(victims))
		}
		for _, f := range fs {
			if f.Outcome != Unknown {
				t.Errorf("%s is %s %s", f.Name, f.Outcome, f.Code)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, hasToken, hasToken)
		f := w.checker(t, func(c *CheckerConfig) { c.MaxQuestions = 5 }).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
		if f.Outcome != Unknown {
			t.Errorf("%s %s", f.Outcome, f.Code)
		}
		total := 0
		for _, n := range w.asked {
			total += n
		}
		if total > 5 {
			t.Errorf("%d questions", total)
		}
	})
}

func TestQuestionsToAZoneAreSpreadOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, hasToken, hasToken)
		c := w.checker(t, func(c *CheckerConfig) { c.ZoneRate, c.ZoneBurst = 2, 10 })
		begin := time.Now()
		for range 20 {
			c.Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})
		}
		n := w.asked["192.0.2.11:53"] + w.asked["192.0.2.12:53"]
		if most := 10 + int(time.Since(begin).Seconds()*2) + 1; n > most {
			t.Errorf("%d questions in %s, at most %d", n, time.Since(begin), most)
		}
		// Another zone has a bucket of its own.
		if d, ok := c.zones.take(t.Context(), "example.net", ""); d > 0 || !ok {
			t.Errorf("another zone waits %s", d)
		}
	})
}

func TestEachAskerHasAPartAndTheCheckerHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := throttle{rate: 100, burst: 400}
		now, cancel := context.WithTimeout(t.Context(), 0) // whoever would have to wait is refused
		defer cancel()
		got := func(asker string) (n int) {
			for {
				if _, ok := th.take(now, "zone", asker); !ok {
					return n
				}
				n++
			}
		}
		for _, c := range []struct {
			asker string
			want  int
		}{{"a", 400}, {"a", 0}, {"b", 200}, {"", 200}, {"c", 400 / 6}} {
			if n := got(c.asker); n != c.want {
				t.Errorf("%q gets %d at once, want %d", c.asker, n, c.want)
			}
		}
		time.Sleep(time.Second)
		for asker, want := range map[string]int{"a": 16, "b": 16, "c": 16, "": 50} {
			if n := got(asker); n < want || n > want+2 {
				t.Errorf("%q gets %d a second, want %d", asker, n, want)
			}
		}
		time.Sleep(time.Minute)
		if n := got("a"); n != 400 {
			t.Errorf("a gets %d at once when it is alone again", n)
		}
	})
}

func TestThrottleForgetsButDoesNotGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := throttle{rate: 1, burst: 2}
		for i := range 3 * maxBuckets {
			th.take(t.Context(), fmt.Sprint(i), "")
		}
		if len(th.buckets) > maxBuckets {
			t.Errorf("%d buckets", len(th.buckets))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		for range 2 {
			th.wait(ctx, "x", "")
		}
		if !th.wait(ctx, "x", "") {
			t.Error("a token that comes in time is not waited for")
		}
		if th.wait(ctx, "x", "") {
			t.Error("a token that comes too late is waited for")
		}
	})
}

// A full check of a healthy domain is quick, one with a dead server and one with a dead
// resolver take no longer than their time-outs.
func TestAuthoritativeCheckIsBoundedInTime(t *testing.T) {
	zone := wholeZone(t, "example.org")
	far := func(w *globe) { // the resolvers have no cache: each of their answers takes several of the others'
		for _, s := range slices.Concat(w.servers, w.resolvers, []*dnstest.Server{w.top}) {
			s.Fail("", "", dnstest.Delay(25*time.Millisecond))
		}
	}
	for _, tt := range []struct {
		title string
		zone  string
		spoil func(w *globe)
		limit time.Duration
	}{
		{"healthy", zone, func(*globe) {}, time.Second},
		{"healthy and empty", "", func(*globe) {}, time.Second},
		{"far away", zone, far, 2 * time.Second},
		{"far away and empty", "", far, 2 * time.Second},
		{"a dead server", zone, func(w *globe) { w.servers[1].Fail("", "", dnstest.Drop) }, 2 * time.Second},
		{"a dead server and empty", "", func(w *globe) { w.servers[1].Fail("", "", dnstest.Drop) }, 4 * time.Second},
		{"a dead resolver", zone, func(w *globe) { w.resolvers[0].Fail("", "", dnstest.Drop) }, 4 * time.Second},
		{"all dead", zone, func(w *globe) {
			for _, s := range slices.Concat(w.servers, w.resolvers) {
				s.Fail("", "", dnstest.Drop)
			}
		}, authoritativeTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newGlobe(t, 3, tt.zone, tt.zone, tt.zone, tt.zone)
			tt.spoil(w)
			begin := time.Now()
			fs := w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), wholeDomain(t, "example.org"))
			if d := time.Since(begin); d > tt.limit {
				t.Errorf("%s: took %s, want at most %s", tt.title, d, tt.limit)
			}
			for _, f := range fs {
				if tt.zone == zone && tt.title != "all dead" && f.Outcome != Match || tt.title == "all dead" && f.Outcome != Unknown {
					t.Errorf("%s: %s is %s %s: %s", tt.title, f.Name, f.Outcome, f.Code, f.Fix)
				}
			}
			total := 0
			for _, n := range w.asked {
				total += n
			}
			t.Logf("%s: %d packets, %s", tt.title, total, time.Since(begin))
		})
	}
}

// A laboratory without root and top level: the resolvers know one zone, and fail for all
// that is above it.
func TestZoneIsFoundWhereNothingAboveItIs(t *testing.T) {
	for _, fault := range []dnstest.Fault{dnstest.Servfail, dnstest.NXDomain, dnstest.Drop} {
		synctest.Test(t, func(t *testing.T) {
			zone := "news.example.org. SOA ns1.news.example.org. h.example.org. 1 2 3 4 60\nnews.example.org. NS ns1.news.example.org.\nnews.example.org. NS ns2.news.example.org.\n" +
				"ns1.news.example.org. A 192.0.2.11\nns2.news.example.org. A 192.0.2.12\n_postseal.news.example.org. TXT \"" + token + `"`
			w := newGlobe(t, 0)
			for _, addr := range []string{"192.0.2.11:53", "192.0.2.12:53"} {
				w.network[addr] = dnstest.New(t, zone, dnstest.Authority())
			}
			for i := range 2 {
				s := dnstest.New(t, zone)
				s.Fail("example.org", "", fault)
				s.Fail("org", "", fault)
				w.network[fmt.Sprintf("203.0.113.%d:53", i+1)] = s
				w.resolvers = append(w.resolvers, s)
			}
			f := w.checker(t, nil).Check(t.Context(), mustName(t, "news.example.org"), []Record{ownership(t, "news.example.org"), dkim(t, "news.example.org")})
			if f[0].Outcome != Match || f[0].Seen[0].Role != RoleAuthoritative || f[1].Code != CodeNXDOMAIN {
				t.Errorf("%s %s, %s %s; %+v", f[0].Outcome, f[0].Code, f[1].Outcome, f[1].Code, f[0].Seen)
			}
		})
	}
}

func TestFindingsTellWhatIsPresumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, "", "")
		w.servers[1].Fail("", "", dnstest.Drop)
		f := w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
		if f.Outcome != Unknown || f.Code != CodeTimeout || f.Presumed != CodeNXDOMAIN {
			t.Errorf("%s %s, presumed %q", f.Outcome, f.Code, f.Presumed)
		}
	})
}

// One resolver is enough to find the name servers, which then decide.
func TestOneResolverFindsTheNameServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 1, hasToken, hasToken)
		f := w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
		if f.Outcome != Match {
			t.Errorf("%s %s: %s", f.Outcome, f.Code, f.Fix)
		}
		w.servers[0].Fail("", "", dnstest.Drop)
		w.resolvers[0].Fail("_postseal.example.org", "", dnstest.Drop)
		f = w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
		if f.Outcome != Unknown {
			t.Errorf("one path: %s %s: %s", f.Outcome, f.Code, f.Fix)
		}
	})
}

// lossy loses three packets of ten in each direction.
type lossy struct {
	net.Conn
	rng *rand.Rand
	mu  *sync.Mutex
}

func (l lossy) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rng.IntN(10) < 3
}

func (l lossy) Write(p []byte) (int, error) {
	if l.lost() {
		return len(p), nil
	}
	return l.Conn.Write(p)
}

func (l lossy) Read(p []byte) (int, error) {
	for {
		n, err := l.Conn.Read(p)
		if err != nil || !l.lost() {
			return n, err
		}
	}
}

// With three packets of ten lost and one resolver of three lying, a published record is
// never called absent and an unpublished one never there; and more often than not something is told.
func TestLossOfPacketsIsNeverLossOfProof(t *testing.T) {
	told, rounds := 0, 150
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) {
			published := seed%2 == 0
			zone := ""
			if published {
				zone = hasToken
			}
			w := newGlobe(t, 3, zone, zone, zone)
			lie := hasToken
			if published {
				lie = ""
			}
			liar := w.resolvers[seed%3]
			liar.Fail("_postseal.example.org", "", dnstest.Lie(lie))
			liar.Fail("example.org", "NS", dnstest.Lie("example.org. NS evil.example.net.\nexample.org. NS evil2.example.net."))
			liar.Fail("evil.example.net", "A", dnstest.Lie("evil.example.net. A 192.0.2.66"))
			liar.Fail("evil2.example.net", "A", dnstest.Lie("evil2.example.net. A 192.0.2.67"))
			for _, addr := range []string{"192.0.2.66:53", "192.0.2.67:53"} {
				w.network[addr] = dnstest.New(t, "example.org. SOA x. y. 1 2 3 4 5\n"+lie, dnstest.Authority())
			}
			rng, mu := rand.New(rand.NewPCG(uint64(seed), 3)), new(sync.Mutex)
			r, err := NewResolver(ResolverConfig{
				Servers: []string{"203.0.113.1:53", "203.0.113.2:53", "203.0.113.3:53"},
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := w.dial(ctx, network, address)
					if err != nil || network != "udp" {
						return conn, err
					}
					return lossy{conn, rng, mu}, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range r.servers {
				r.spoke[s].Store(time.Now().UnixNano())
			}
			c, err := NewChecker(CheckerConfig{Resolver: r, Mode: ModeAuthoritative})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				f := c.Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
				if f.Outcome != Unknown {
					told++
				}
				if published && (f.Outcome == Missing || f.Outcome == Mismatch) || !published && f.Outcome == Match {
					t.Errorf("seed %d, published %v: %s %s; %+v", seed, published, f.Outcome, f.Code, f.Seen)
				}
			}
		})
	}
	t.Logf("%d of %d checks told something", told, 3*rounds)
	if told < rounds*3/2 {
		t.Errorf("only %d of %d checks told anything", told, 3*rounds)
	}
}

// Whoever delegates a domain to somebody else's servers does not get twenty records asked of
// them.
func TestServersThatRefuseAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGlobe(t, 2, "", "")
		for _, s := range w.servers {
			s.Fail("", "", dnstest.Refused, dnstest.Delay(20*time.Millisecond))
		}
		fs := w.checker(t, nil).Check(t.Context(), mustName(t, "example.org"), wholeDomain(t, "example.org"))
		for _, f := range fs {
			if f.Code != CodeNSLame {
				t.Errorf("%s is %s %s", f.Name, f.Outcome, f.Code)
			}
		}
		// The first question and one about the zone, each in two spellings at most.
		if n := w.asked["192.0.2.11:53"]; n > 4 {
			t.Errorf("%d questions to a server that refuses", n)
		}
	})
}

// Servers that all name each other below make no more work with each delegation.
func TestDeepDelegationsOfManyServersAreCountedAtOnce(t *testing.T) {
	const servers = maxHosts
	var level []answer
	for depth := range 4 * maxCuts {
		next := make([]answer, servers)
		for i := range next {
			next[i] = answer{host: fmt.Sprint("ns", i), server: fmt.Sprint("192.0.2.", i), zone: fmt.Sprint("z", depth), by: level}
		}
		level = next
	}
	if n := independent(level); n != servers {
		t.Errorf("%d of %d servers are independent", n, servers)
	}
	for i := range level {
		level[i].by = level[i].by[:1]
	}
	if n := independent(level); n != 1 {
		t.Errorf("%d ways by a single server", n)
	}
}

// Servers that each lead elsewhere, at every name of a chain, double the branches with each.
func TestBranchesThatPartAgainAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("domain example.org\nrecord ownership na _postseal TXT \"$TOKEN\"\nwant unknown TIMEOUT\n")
	for i := range maxChain {
		fmt.Fprintf(&text, "delegate l%d.com ns0.example.net ns1.example.net ns2.example.net\n", i)
	}
	for server := range 3 { // the last one is known to the parents alone
		lead := string("aba"[server])
		fmt.Fprintf(&text, "-- ns%d.example.net 192.0.2.1%d\n", server, server)
		own := func(apex string) {
			fmt.Fprintf(&text, "zone %[1]s 1\n%[1]s. NS ns0.example.net.\n%[1]s. NS ns1.example.net.\n", apex)
		}
		if server < 2 {
			own("example.org")
			fmt.Fprintf(&text, "_postseal.example.org. CNAME %s.l0.com.\n", lead)
		}
		for i := range maxChain {
			own(fmt.Sprintf("l%d.com", i))
			fmt.Fprintf(&text, "a.l%[1]d.com. CNAME %[2]s.l%[3]d.com.\nb.l%[1]d.com. CNAME %[2]s.l%[3]d.com.\n", i, lead, i+1)
		}
	}
	file := filepath.Join(t.TempDir(), "branches.txt")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := readScene(t, file)
		checker, _ := s.stage(t)
		f := checker.Check(t.Context(), mustName(t, s.domain), s.records())[0]
		if f.Outcome != Unknown || len(f.Seen) > 10*maxLeads {
			t.Errorf("%s %s, seen %d times", f.Outcome, f.Code, len(f.Seen))
		}
	})
}
