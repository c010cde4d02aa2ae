package dnscheck

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// crowd is a network of two resolvers, one good provider with all names below good.test, and
// dead.test with any number of zones, each of which has eight name servers that never answer
// and eight whose addresses the resolvers never find. All others need 10 ms.
func crowd(_, address string, query []byte) ([]byte, time.Duration) {
	q := new(dns.Msg)
	if q.Unpack(query) != nil {
		return nil, 0
	}
	m := new(dns.Msg).SetReply(q)
	name, qtype := bare(q.Question[0].Name), q.Question[0].Qtype
	put := func(format string, args ...any) {
		rr, err := dns.NewRR(fmt.Sprintf(format, args...))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	host, _, _ := strings.Cut(name, ".")
	switch {
	case strings.HasPrefix(address, "198.51.100."):
		return nil, 0
	case within(name, "dead.test") && qtype == dns.TypeNS && strings.Count(name, ".") == 1:
		for i := range 8 {
			put("%s. 60 NS h%d.hosts.test.", name, i)
			put("%s. 60 NS x%d.%s.", name, i, name)
		}
	case within(name, "dead.test"):
		return nil, 0
	case within(name, "hosts.test") && qtype == dns.TypeA:
		put("%s. 60 A 198.51.100.%d", name, 1+host[1]-'0')
	case name == "good.test" && qtype == dns.TypeNS:
		put("good.test. 60 NS ns1.nic.test.")
		put("good.test. 60 NS ns2.nic.test.")
	case within(name, "nic.test") && qtype == dns.TypeA:
		put("%s. 60 A 192.0.2.1%c", name, host[2])
	case name == "good.test" && qtype == dns.TypeSOA:
		put("good.test. 60 SOA ns1.nic.test. x.nic.test. 1 2 3 4 60")
	case strings.HasPrefix(name, "_postseal.") && strings.HasSuffix(name, "good.test") && qtype == dns.TypeTXT:
		put("%s 60 TXT %q", q.Question[0].Name, token)
	}
	if m.Authoritative = strings.HasPrefix(address, "192.0.2.1"); len(m.Answer) == 0 {
		m.Rcode = dns.RcodeNameError
		if m.Authoritative {
			soa, _ := dns.NewRR("good.test. 60 SOA ns1.nic.test. x.nic.test. 1 2 3 4 60")
			m.Ns = []dns.RR{soa}
		}
	}
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packet, 10 * time.Millisecond
}

func crowdChecker(t *testing.T) *Checker {
	t.Helper()
	r, err := NewResolver(ResolverConfig{Servers: []string{"192.0.2.1:53", "192.0.2.2:53"}, Dial: dnstest.Packets(crowd).Dial})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewChecker(CheckerConfig{Resolver: r, Mode: ModeAuthoritative})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asMuchAs asks for domains on behalf of one asker, again and again, until the end of ctx.
func asMuchAs(ctx context.Context, t *testing.T, c *Checker, domains ...string) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, d := range domains {
		list := []Record{ownership(t, d)}
		for i := range 19 {
			list = append(list, dkimTokens(t, d, fmt.Sprint("tok", i))...)
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				c.Check(ctx, mustName(t, d), list)
			}
		})
	}
	return &wg
}

// What one asker makes us ask, of servers that are dead or for ever busy, keeps the checks of
// others from nothing.
func TestOneAskerKeepsNobodyWaiting(t *testing.T) {
	for _, tt := range []struct {
		title, domains string
		as             func(c *Checker, asker string) *Checker
	}{
		{"dead servers", "d%d.dead.test", (*Checker).For},
		{"names in the same zone", "d%d.good.test", (*Checker).For},
		{"proofs on dead servers", "d%d.dead.test", (*Checker).Watch},
	} {
		t.Run(tt.title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := crowdChecker(t)
				ctx, stop := context.WithCancel(t.Context())
				var domains []string
				for i := range 50 {
					domains = append(domains, fmt.Sprintf(tt.domains, i))
				}
				crowd := asMuchAs(ctx, t, tt.as(c, "hostile"), domains...)
				canary := newCanary(t, c, "good.test")
				var list []Record
				for i := range 10 {
					rec := ownership(t, "good.test")
					rec.Region, rec.Name = fmt.Sprint(i), mustName(t, fmt.Sprintf("_postseal.r%d.good.test", i))
					list = append(list, rec)
				}
				for range 3 {
					time.Sleep(5 * time.Second)
					for _, f := range tt.as(c, "victim").Check(t.Context(), mustName(t, "good.test"), list) {
						if f.Outcome != Match {
							t.Errorf("%s %s: %s", f.Outcome, f.Code, f.Fix)
							break
						}
					}
					if err := canary.Sick(t.Context(), time.Now()); err != nil {
						t.Error(err)
					}
				}
				stop()
				crowd.Wait()
				c.resolver.hangUp()
			})
		})
	}
}
