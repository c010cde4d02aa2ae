package dnscheck

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// villain is a resolver of which each byte is chosen by the test. answer gets the question
// and whether it came over TCP, and writes packets (without the length of TCP).
type villain func(q *dns.Msg, tcp bool, send func(packet []byte))

func (v villain) dial(_ context.Context, network, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	turn := make(chan struct{}, 1) // to write: who waits for the pipe's own lock stops fake time
	go func() {
		defer theirs.Close()
		buf := make([]byte, dns.MaxMsgSize)
		tcp := network == "tcp"
		for { // until we hang up
			var n int
			var err error
			if tcp {
				if _, err = io.ReadFull(theirs, buf[:2]); err == nil {
					n, err = io.ReadFull(theirs, buf[:binary.BigEndian.Uint16(buf)])
				}
			} else {
				n, err = theirs.Read(buf)
			}
			q := new(dns.Msg)
			if err != nil || q.Unpack(buf[:n]) != nil {
				return
			}
			v(q, tcp, func(packet []byte) {
				if tcp {
					packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
				}
				turn <- struct{}{}
				_, _ = theirs.Write(packet)
				<-turn
			})
		}
	}()
	return ours, nil
}

func (v villain) resolver(t testing.TB, n int) *Resolver {
	t.Helper()
	var servers []string
	for i := range n {
		servers = append(servers, fmt.Sprintf("192.0.2.%d:53", i+1))
	}
	r, err := NewResolver(ResolverConfig{Servers: servers, Dial: v.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.hangUp)
	return r
}

// hangUp closes the sockets on which nobody waits.
func (r *Resolver) hangUp() {
	r.lines.mu.Lock()
	defer r.lines.mu.Unlock()
	r.lines.closeIdle(0)
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	m.Compress = true
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cutShort says over UDP that the answer is too long for it.
func cutShort(t testing.TB, q *dns.Msg) []byte {
	m := new(dns.Msg).SetReply(q)
	m.Truncated = true
	return packed(t, m)
}

func TestBrokenAnswersOverTCPAreNeverAbsence(t *testing.T) {
	const name = "a.example.org"
	for title, over := range map[string]func(q *dns.Msg) []byte{
		"cut again":           func(q *dns.Msg) []byte { return cutShort(t, q) },
		"cut in mid record":   func(q *dns.Msg) []byte { m := cutShort(t, q); m[7] = 9; return m },
		"garbage that is cut": func(q *dns.Msg) []byte { m := cutShort(t, q); return append(m[:4:4], 0xff, 0xff, 0xff) },
		"another question": func(q *dns.Msg) []byte {
			q.Question[0].Name = "b.example.org."
			return packed(t, new(dns.Msg).SetReply(q))
		},
		"another id": func(q *dns.Msg) []byte { q.Id++; return packed(t, new(dns.Msg).SetReply(q)) },
		"nothing":    func(*dns.Msg) []byte { return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := villain(func(q *dns.Msg, tcp bool, send func([]byte)) {
				if !tcp {
					send(cutShort(t, q))
					return
				}
				send(over(q))
			}).resolver(t, 1)
			if a := r.first(t.Context(), question{name, dns.TypeTXT}); a.told() {
				t.Errorf("%s: is taken for %s (%s)", title, a.result, a.detail)
			}
			f := (&Checker{memory: new(memory), resolver: r, quorum: 1, timeout: defaultCheckTimeout}).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
			if f.Outcome != Unknown {
				t.Errorf("%s: the finding is %s %s", title, f.Outcome, f.Code)
			}
		})
	}
}

func TestOurValueIsFoundAmongThousands(t *testing.T) {
	own := ownership(t, "example.org")
	var hay []dns.RR
	for i := range 2500 {
		hay = append(hay, &dns.TXT{Hdr: dns.RR_Header{Name: own.Name.s + ".", Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{fmt.Sprintf("v%d", i)}})
	}
	hay = append(hay, &dns.TXT{Hdr: dns.RR_Header{Name: own.Name.s + ".", Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{token}})
	synctest.Test(t, func(t *testing.T) {
		r := villain(func(q *dns.Msg, tcp bool, send func([]byte)) {
			if !tcp {
				send(cutShort(t, q))
				return
			}
			m := new(dns.Msg).SetReply(q)
			m.Answer = hay
			send(packed(t, m))
		}).resolver(t, 2)
		f := (&Checker{memory: new(memory), resolver: r, quorum: 2, timeout: defaultCheckTimeout}).Check(t.Context(), mustName(t, "example.org"), []Record{own})[0]
		if f.Outcome != Match {
			t.Errorf("the finding is %s %s: %.200s", f.Outcome, f.Code, f.Fix)
		}
		if len(f.Observed) > maxValues || len(f.Seen[0].Values) > maxValues {
			t.Errorf("%d values are observed, %d are seen", len(f.Observed), len(f.Seen[0].Values))
		}
	})
}

// What differs between two servers must not be judged once: the one that leads through a
// CNAME says something else than the one that has nothing.
func TestEachServersAnswerIsJudgedForItself(t *testing.T) {
	own := ownership(t, "example.org")
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		l.servers[1].Add("_postseal.example.org. IN CNAME x.example.net.")
		f := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{own})[0]
		if f.Code != CodeWrongType || !strings.Contains(f.Fix, "x.example.net") {
			t.Errorf("the finding is %s: %s", f.Code, f.Fix)
		}
	})
}

// Whatever a zone holds, the work and the finding stay small. This is about our own work,
// so it runs on real time.
func TestFloodOfTextIsJudgedInTime(t *testing.T) {
	records := []Record{
		ownership(t, "example.org"),
		{Purpose: SPF, Name: mustName(t, "example.org"), Type: TXT, Value: ourSPF},
		{Purpose: DMARC, Name: mustName(t, "_dmarc.example.org"), Type: TXT, Value: "v=DMARC1; p=none"},
	}
	many := func(format string) (rrs [][]string) {
		for i := range 1200 {
			rrs = append(rrs, []string{fmt.Sprintf(format, i)})
		}
		return rrs
	}
	one := func(term string) [][]string {
		var rr []string
		for c := range slices.Chunk([]byte("v=spf1 "+strings.Repeat(term+" ", 60000/(len(term)+1))+"-all"), 255) {
			rr = append(rr, string(c))
		}
		return [][]string{rr}
	}
	for title, txts := range map[string][][]string{
		"values": many("v%d"), "SPF records": many("v=spf1 a:%d.example"), "DMARC policies": many("v=DMARC1; p=x%d"),
		"addresses": one("ip4:192.0.2.1"), "macros": one("exists:%{i}.%{l}.%{d}.example"), "ptr": one("ptr"), "mx": one("mx"), "all": one("?all"),
		"redirects": one("redirect=example.org"), "includes of itself": one("include:example.org"), "junk": one("x"),
	} {
		r := villain(func(q *dns.Msg, tcp bool, send func([]byte)) {
			if !tcp {
				send(cutShort(t, q))
				return
			}
			m := new(dns.Msg).SetReply(q)
			for _, txt := range txts {
				if q.Question[0].Qtype == dns.TypeTXT {
					m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: txt})
				}
			}
			send(packed(t, m))
		}).resolver(t, 3)
		begin := time.Now()
		fs := (&Checker{memory: new(memory), resolver: r, quorum: 2, timeout: defaultCheckTimeout}).Check(t.Context(), mustName(t, "example.org"), records)
		if took := time.Since(begin); took > defaultCheckTimeout {
			t.Errorf("%s: took %s", title, took)
		}
		for _, f := range fs {
			if f.Outcome == Match || f.Fix == "" || len(f.Fix) > 4000 || len(f.Observed) > maxValues {
				t.Errorf("%s: %s is %s %s, %d values observed, %d bytes in the sentence", title, f.Purpose, f.Outcome, f.Code, len(f.Observed), len(f.Fix))
			}
		}
	}
}

// A proposal that was cut must not look as if it could be pasted.
func TestCutProposalsSayThatTheyAreCut(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "ip4:192.0.2.%d ", i)
	}
	record := "v=spf1 " + b.String() + "-all"
	f := checkOne(t, "example.org", "example.org. IN TXT "+zoneStrings(record), Record{Purpose: SPF, Name: mustName(t, "example.org"), Type: TXT, Value: ourSPF})
	if f.Code != CodeSPFIncludeMissing || !strings.Contains(f.Fix, "(cut here)") {
		t.Errorf("%s: %s", f.Code, f.Fix)
	}
}

// The records of a name come in any order, and in another one each time: that is no news.
func TestOrderOfRecordsChangesNoFinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := 0
		r := villain(func(q *dns.Msg, _ bool, send func([]byte)) {
			m := new(dns.Msg).SetReply(q)
			texts := []string{token2, "hello", strings.ToLower(token), "v=spf1 -all"}
			for i := range texts {
				m.Answer = append(m.Answer, reply(q, texts[(i+turn)%len(texts)]).Answer...)
			}
			if turn++; q.Question[0].Qtype != dns.TypeTXT {
				m.Answer = nil
			}
			send(packed(t, m))
		}).resolver(t, 1)
		c := &Checker{memory: new(memory), resolver: r, quorum: 1, timeout: defaultCheckTimeout}
		var first Finding
		for i := range 8 {
			f := c.Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
			if i == 0 {
				first = f
			}
			if !slices.Equal(f.Observed, first.Observed) || !slices.Equal(f.Seen[0].Values, first.Seen[0].Values) || f.Fix != first.Fix {
				t.Fatalf("%q, and before %q: %s", f.Observed, first.Observed, f.Fix)
			}
		}
	})
}
