package zone

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// memConn is a packet connection in memory: what is sent on in arrives, and what is
// answered gathers in out.
type memConn struct {
	in      chan []byte
	stop    chan struct{}
	stopped sync.Once
	mu      sync.Mutex
	out     [][]byte
}

func (c *memConn) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case m := <-c.in:
		return copy(p, m), c.LocalAddr(), nil
	case <-c.stop:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (c *memConn) WriteTo(p []byte, _ net.Addr) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, slices.Clone(p))
	return len(p), nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	if t.Before(time.Now()) {
		c.stopped.Do(func() { close(c.stop) })
	}
	return nil
}

func (c *memConn) Close() error                     { return nil }
func (c *memConn) LocalAddr() net.Addr              { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// deliver gives one datagram to a server of c and returns everything it answers.
func deliver(t testing.TB, c ServerConfig, wire []byte) [][]byte {
	t.Helper()
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return deliverTo(t, s, wire)
}

func deliverTo(t testing.TB, s *Server, wire []byte) [][]byte {
	t.Helper()
	conn := &memConn{in: make(chan []byte), stop: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn, nil) }()
	conn.in <- wire
	cancel()
	if err := <-done; err != nil { // the drain has ended: no answer comes later
		t.Fatal(err)
	}
	return conn.out
}

// FuzzServer: whatever arrives, there is one answer or none, it belongs to the
// question, it can be read and is of bounded size, and nothing panics.
func FuzzServer(f *testing.F) {
	table := newTable(f, "example.org TXT apex", "*.example.org TXT wild", "a.example.org CNAME t0.dkim.mail.postseal.example",
		"large.example.org TXT "+string(make([]byte, 3000)))
	service := newService(f, nil)
	panics := 0
	s, err := NewServer(ServerConfig{Recursion: true, Source: sourceFunc(func(ctx context.Context, name string, qtype uint16) (Answer, error) {
		defer func() {
			if p := recover(); p != nil {
				panics++
				panic(p)
			}
		}()
		return Chain(service, table).Lookup(ctx, name, qtype)
	})})
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []*dns.Msg{
		question("example.org", dns.TypeTXT), question("x.example.org", dns.TypeANY), question("a.example.org", dns.TypeTXT),
		question("large.example.org", dns.TypeTXT).SetEdns0(1232, true), question(`a\.b\255.com.`, dns.TypeA), question(".", dns.TypeNS),
		question("co.uk", dns.TypeSOA), new(dns.Msg).SetUpdate("example.org."), new(dns.Msg).SetNotify("example.org."), new(dns.Msg).SetAxfr("example.org."),
	} {
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		wire = wire[:min(len(wire), maxUDP)]
		answers := deliverTo(t, s, wire)
		if panics > 0 {
			t.Fatal("a source panicked")
		}
		switch {
		case len(answers) > 1:
			t.Fatalf("%d answers", len(answers))
		case len(answers) == 0:
			return
		}
		got := answers[0]
		if len(got) < 12 || len(got) > max(maxUDP, len(wire)) {
			t.Fatalf("answer of %d bytes", len(got))
		}
		if binary.BigEndian.Uint16(got) != binary.BigEndian.Uint16(wire) {
			t.Errorf("answer has id %x, question %x", got[:2], wire[:2])
		}
		if got[2]&0x80 == 0 || wire[2]&0x80 != 0 {
			t.Errorf("answer's flags %x to a message with flags %x", got[2:4], wire[2:4])
		}
		if err := new(dns.Msg).Unpack(got); err != nil {
			t.Errorf("answer %x cannot be read: %v", got, err)
		}
	})
}

// FuzzTable: what Add takes is served as it was given, survives a file, and goes away
// by the same words.
func FuzzTable(f *testing.F) {
	f.Add("www.example.org", "TXT", `a "b" \c \065 é`+"\x00\xff;(", 0)
	f.Add("*.example.org", "mx", "10 mail.example.net.", 0)
	f.Add("_sip._tcp.example.org.", "SRV", "1 5060 .", 7)
	f.Add("example.org", "CAA", `0 issue "ca.example; x=1"`, 0)
	f.Add("example.org", "SOA", "ns. host. 1 2 3 4 5", 0)
	f.Add("büro.example.org", "CNAME", "Straße.example.net", 0)
	f.Fuzz(func(t *testing.T, name, rtype, value string, priority int) {
		table := newTable(t)
		if err := table.Add(name, rtype, value, priority); err != nil {
			if len(err.Error()) > 2000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			return
		}
		records := table.Records()
		if len(records) != 1 {
			t.Fatalf("records: %+v", records)
		}
		r := records[0]
		if r.Type == "TXT" && r.Value != value {
			t.Errorf("TXT %q became %q", value, r.Value)
		}
		if err := table.Add(r.Name, r.Type, r.Value, r.Priority); err != nil {
			t.Errorf("its own record %+v is refused: %v", r, err)
		}
		kind, _ := parseType(r.Type)
		wire, err := question(r.Name, kind).Pack()
		if err != nil {
			t.Fatal(err)
		}
		m := one(t, ServerConfig{Source: table}, wire)
		if !m.Truncated && (m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 || kind != dns.TypeCNAME && cmp.Diff(r, toRecord(m.Answer[0])) != "") {
			t.Errorf("record %+v is served as %v", r, m)
		}

		path := filepath.Join(t.TempDir(), "zone")
		if err := table.SaveFile(path); err != nil {
			t.Fatal(err)
		}
		again := newTable(t)
		if err := again.LoadFile(path); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(records, again.Records()); d != "" {
			t.Errorf("a file changes the table (-before +after):\n%s", d)
		}
		if n, err := table.Del(name, rtype, value); n != 1 || err != nil {
			t.Errorf("Del of the same words removed %d, %v", n, err)
		}
	})
}

func BenchmarkServer(b *testing.B) {
	service := newService(b, nil)
	table := newTable(b, "token._domainkey.customer.example CNAME t0.dkim.mail.postseal.example", "www.example.org A 192.0.2.1")
	addr := serve(b, ServerConfig{Source: Chain(service, table), Recursion: true, RateLimit: 1 << 30})
	for name, q := range map[string]*dns.Msg{
		"A": question("www.example.org", dns.TypeA), "NXDOMAIN": question("no.example.org", dns.TypeA),
		"CNAME+TXT": question("token._domainkey.customer.example", dns.TypeTXT).SetEdns0(1232, false),
	} {
		wire, err := q.Pack()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("udp", addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				buf := make([]byte, 1500)
				for pb.Next() {
					_ = c.SetDeadline(time.Now().Add(5 * time.Second))
					if _, err := c.Write(wire); err != nil {
						b.Error(err)
						return
					}
					if _, err := c.Read(buf); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
}

// newService makes a service zone with a key for every selector that starts with t,
// found by keys where it is given.
func newService(t testing.TB, keys func(context.Context, string) (string, bool, error)) *Service {
	t.Helper()
	if keys == nil {
		keys = func(_ context.Context, selector string) (string, bool, error) {
			return "v=DKIM1; k=rsa; p=" + selector, selector[0] == 't', nil
		}
	}
	s, err := NewService(ServiceConfig{
		Domain:      "Mail.Postseal.Example",
		Nameservers: []NS{{Addrs: addrs("192.0.2.53", "2001:db8::53")}, {Host: "ns.example.net"}},
		Feedback:    addrs("192.0.2.25", "2001:db8::25"),
		Outbound:    []netip.Prefix{netip.MustParsePrefix("192.0.2.77/26"), netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("2001:db8:1::/48")},
		Keys:        keys,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}
