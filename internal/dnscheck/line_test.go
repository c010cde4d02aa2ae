package dnscheck

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// exchangeOf is a Resolver whose only server is a villain, with a count of its UDP sockets.
func exchangeOf(t testing.TB, v villain) (r *Resolver, server string, sockets func() int) {
	t.Helper()
	r = v.resolver(t, 1)
	var mu sync.Mutex
	n := 0
	dial := r.lines.dial
	r.lines.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if network == "udp" {
			n++
		}
		return dial(ctx, network, address)
	}
	return r, r.servers[0], func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// reply answers a question with a text.
func reply(q *dns.Msg, text string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{text}}}
	return m
}

// A thousand questions at once, whose answers come late, twice, in any order and not at all,
// among packets that are none of them: everybody gets the answer to their own question.
func TestAnswersFindTheirQuestions(t *testing.T) {
	const questions = 1000
	synctest.Test(t, func(t *testing.T) {
		r, server, sockets := exchangeOf(t, func(q *dns.Msg, tcp bool, send func([]byte)) {
			packet := packed(t, reply(q, lower(q.Question[0].Name)))
			if tcp {
				send(packet)
				return
			}
			for range rand.N(3) {
				go func() {
					time.Sleep(rand.N(3 * defaultTimeout / 2))
					send(packet)
				}()
			}
		})
		var wg sync.WaitGroup
		told := 0
		var mu sync.Mutex
		for i := range questions {
			wg.Go(func() {
				name := fmt.Sprintf("question-%d.example.org", i)
				a := r.ask(t.Context(), server, question{name, dns.TypeTXT})
				if a.result == SawTimeout {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				told++
				if v := a.values(); len(v) != 1 || v[0] != name+"." {
					t.Errorf("%s: %s %q", name, a.result, v)
				}
			})
		}
		wg.Wait()
		if told < questions/3 {
			t.Errorf("%d of %d questions were answered", told, questions)
		}
		if n, most := sockets(), 2*questions/lineWindow+10; n > most {
			t.Errorf("%d sockets for %d questions, at most %d", n, questions, most)
		}
		time.Sleep(2 * lineIdle)
		r.lines.mu.Lock()
		defer r.lines.mu.Unlock()
		if p := r.lines.peers[server]; len(p.open) != 0 || r.lines.idle != 0 || p.window.taken != 0 || p.window.waiting() != 0 {
			t.Errorf("left are %+v, %d idle lines", p, r.lines.idle)
		}
	})
}

func TestNamesAreSpelledAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spellings, ids := make(map[string]bool), make(map[uint16]bool)
		r, server, sockets := exchangeOf(t, func(q *dns.Msg, _ bool, send func([]byte)) {
			spellings[q.Question[0].Name], ids[q.Id] = true, true
			send(packed(t, reply(q, "v")))
		})
		for range 50 {
			a := r.ask(t.Context(), server, question{"_postseal.example.org", dns.TypeTXT})
			if a.result != SawAnswer || a.records[0].Header().Name != "_postseal.example.org." {
				t.Fatalf("%s %s %v", a.result, a.detail, a.records)
			}
		}
		if len(spellings) < 49 || len(ids) < 49 || sockets() != 1 {
			t.Errorf("%d spellings, %d ids, %d sockets", len(spellings), len(ids), sockets())
		}
		clear(spellings)
		for range 10 { // too few letters to make up for the port
			r.ask(t.Context(), server, question{"abc.org", dns.TypeTXT})
		}
		if len(spellings) != 1 || sockets() != 11 {
			t.Errorf("short names: %d spellings, %d sockets", len(spellings), sockets())
		}
	})
}

// Ports are not used for long, however much or little is asked.
func TestLinesAreShortLived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, server, sockets := exchangeOf(t, func(q *dns.Msg, _ bool, send func([]byte)) { send(packed(t, reply(q, "v"))) })
		ask := func() { r.ask(t.Context(), server, question{"_postseal.example.org", dns.TypeTXT}) }
		for range 3*lineUses + 1 {
			ask()
		}
		if sockets() != 4 {
			t.Errorf("%d sockets for %d questions", sockets(), 3*lineUses+1)
		}
		for began := time.Now(); time.Since(began) < 3*lineAge; time.Sleep(time.Second) {
			ask()
		}
		if n := sockets() - 4; n < 2 || n > 4 {
			t.Errorf("%d sockets in %s", n, 3*lineAge)
		}
		n := sockets()
		time.Sleep(2 * lineIdle)
		if ask(); sockets() != n+1 {
			t.Errorf("a socket was kept over a pause")
		}
	})
}

// A server that repeats names in lower case, or knows no others, is asked as before.
func TestServersWithHabits(t *testing.T) {
	const name = "_postseal.example.org"
	for title, answer := range map[string]func(q *dns.Msg) *dns.Msg{
		"lower case in the question": func(q *dns.Msg) *dns.Msg {
			q.Question[0].Name = lower(q.Question[0].Name)
			return reply(q, "v")
		},
		"upper case in the question": func(q *dns.Msg) *dns.Msg {
			q.Question[0].Name = strings.ToUpper(q.Question[0].Name)
			return reply(q, "v")
		},
		"NXDOMAIN for mixed case": func(q *dns.Msg) *dns.Msg {
			if q.Question[0].Name != name+"." {
				return new(dns.Msg).SetRcode(q, dns.RcodeNameError)
			}
			return reply(q, "v")
		},
		"NODATA for mixed case": func(q *dns.Msg) *dns.Msg {
			if q.Question[0].Name != name+"." {
				return new(dns.Msg).SetReply(q)
			}
			return reply(q, "v")
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			r, server, sockets := exchangeOf(t, func(q *dns.Msg, _ bool, send func([]byte)) { asked++; send(packed(t, answer(q))) })
			for i := range 5 {
				if a := r.ask(t.Context(), server, question{name, dns.TypeTXT}); a.result != SawAnswer {
					t.Errorf("%s: %d: %s %s", title, i, a.result, a.detail)
				}
			}
			if asked != 6 || sockets() != 6 {
				t.Errorf("%s: %d questions over %d sockets", title, asked, sockets())
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // the absence is real, and the server well
		asked := 0
		r, server, sockets := exchangeOf(t, func(q *dns.Msg, _ bool, send func([]byte)) {
			asked++
			send(packed(t, new(dns.Msg).SetRcode(q, dns.RcodeNameError)))
		})
		for range 5 {
			if a := r.ask(t.Context(), server, question{name, dns.TypeTXT}); a.result != SawNXDOMAIN {
				t.Errorf("%s %s", a.result, a.detail)
			}
		}
		if asked != 6 || sockets() != 2 {
			t.Errorf("%d questions over %d sockets", asked, sockets())
		}
	})
}

// Whoever knows the port and guesses ids gets as far as a question over TCP.
func TestGuessedIDsEndInTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		overTCP := 0
		r, server, _ := exchangeOf(t, func(q *dns.Msg, tcp bool, send func([]byte)) {
			if tcp {
				overTCP++
				send(packed(t, reply(q, "true")))
				return
			}
			forged := reply(q, "forged")
			for i := range 2 * maxStray {
				forged.Id = q.Id + 1 + uint16(i)
				send(packed(t, forged))
			}
			forged.Id = q.Id
			send(packed(t, forged)) // too late
		})
		a := r.ask(t.Context(), server, question{"_postseal.example.org", dns.TypeTXT})
		if v := a.values(); len(v) != 1 || v[0] != "true" || overTCP != 1 {
			t.Errorf("%s %q, %d times over TCP", a.result, v, overTCP)
		}
	})
}

// A forgery in another spelling is not believed, whatever comes first.
func TestForgedSpellingIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, server, _ := exchangeOf(t, func(q *dns.Msg, _ bool, send func([]byte)) {
			right := reply(q, "true")
			if name := q.Question[0].Name; name != lower(name) {
				forged := reply(q, "forged")
				forged.Question = []dns.Question{{Name: lower(name), Qtype: dns.TypeTXT, Qclass: dns.ClassINET}}
				send(packed(t, forged))
			}
			send(packed(t, right))
		})
		for range 20 {
			if v := r.ask(t.Context(), server, question{"_postseal.example.org", dns.TypeTXT}).values(); len(v) != 1 || v[0] != "true" {
				t.Errorf("%q is believed", v)
			}
		}
	})
}

func TestCancelledQuestionsReturnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dnstest.New(t, `_postseal.example.org. TXT "v"`)
		s.Fail("", "", dnstest.Drop)
		r, err := NewResolver(ResolverConfig{Servers: []string{"192.0.2.1"}, Dial: s.Dial})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if a := r.ask(ctx, r.servers[0], question{"_postseal.example.org", dns.TypeTXT}); a.result != SawTimeout || time.Since(began) != 100*time.Millisecond {
			t.Errorf("%s after %s", a.result, time.Since(began))
		}
		s.Heal("", "")
		if a := r.ask(t.Context(), r.servers[0], question{"_postseal.example.org", dns.TypeTXT}); a.result != SawAnswer {
			t.Errorf("then %s", a.result)
		}
	})
}

// What is taken for an answer has the id, and repeats the question as it was spelled unless
// it says that there is no answer.
func FuzzDecode(f *testing.F) {
	q, err := newQuery(question{"_postseal.example.org", dns.TypeTXT}, manner{}, true)
	if err != nil {
		f.Fatal(err)
	}
	q.mixed = true
	q.mix([]byte{0xa5, 0x5a, 0xa5, 0x5a})
	binary.BigEndian.PutUint16(q.packet, 0x1234)
	asked := new(dns.Msg)
	if err := asked.Unpack(q.packet); err != nil {
		f.Fatal(err)
	}
	f.Add(packed(f, reply(asked, "v")))
	f.Add(packed(f, new(dns.Msg).SetRcode(asked, dns.RcodeNameError)))
	f.Add(cutShort(f, asked))
	f.Add(q.packet)
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, err := q.decode(slices.Clone(packet))
		if err != nil || m.Truncated {
			return
		}
		if binary.BigEndian.Uint16(packet) != 0x1234 || !m.Response {
			t.Fatalf("%x is taken for an answer", packet)
		}
		if len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
			return
		}
		if string(packet[headerSize:q.end]) != string(q.packet[headerSize:q.end]) {
			t.Fatalf("%x answers another question", packet)
		}
	})
}
