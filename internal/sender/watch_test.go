package sender_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/sender"
)

// caches stands before the resolvers of a soakNet: what does not exist they believe for an hour.
type caches struct {
	*soakNet
	mu      sync.Mutex
	missing map[string]cached // by resolver, name and type
}

type cached struct {
	reply *dns.Msg
	until time.Time
}

const negativeTTL = time.Hour

// reply is a dnstest.Packets: all resolvers are honest, and everybody answers within 80 ms.
func (c *caches) reply(_, address string, packet []byte) ([]byte, time.Duration) {
	after := 20*time.Millisecond + rand.N(60*time.Millisecond)
	c.packets.Add(1)
	if !slices.Contains(soakResolvers, address) {
		return c.soakNet.reply(address, packet), after
	}
	q := new(dns.Msg)
	if err := q.Unpack(packet); err != nil {
		return nil, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := q.Question[0]
	key, now := fmt.Sprint(address, dns.CanonicalName(asked.Name), asked.Qtype), time.Now()
	e, known := c.missing[key]
	if !known || !now.Before(e.until) {
		e = cached{new(dns.Msg), now.Add(negativeTTL)}
		if err := e.reply.Unpack(c.soakNet.reply(soakResolvers[0], packet)); err != nil {
			return nil, 0
		}
		if len(e.reply.Answer) == 0 {
			c.missing[key] = e
		}
	}
	m := e.reply.Copy()
	m.Id, m.Question = q.Id, q.Question
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Hdr.Ttl, soa.Minttl = uint32(e.until.Sub(now)/time.Second), uint32(negativeTTL/time.Second)
		}
	}
	if packet, err := m.Pack(); err == nil {
		return packet, after
	}
	return nil, 0
}

// watched registers domains whose owners publish at a random moment between two ages, and
// returns how long after that each was verified in all facets, by the background alone. The
// resolvers have been asked for the records before, by others.
func watched(t *testing.T, mode dnscheck.Mode, domains int, from, to time.Duration) (delays []time.Duration) {
	c := &caches{soakNet: newSoakNet(t, 0), missing: make(map[string]cached)}
	dial := dnstest.Packets(c.reply).Dial
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: soakResolvers, Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	set := sender.DefaultSettings()
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{Resolver: resolver, Mode: mode, ExplainEvery: 2 * set.Verify.PendingEvery})
	if err != nil {
		t.Fatal(err)
	}
	h := assemble(t, checker, "postseal.test", func(s *sender.Settings) {
		s.Geographies = map[string][]string{"na": {"r1"}}
		s.Verify.UnknownEvery = set.Verify.UnknownEvery
	})
	h.sweep(5*time.Second, 200) // the default of verify.sweep
	start := time.Now()
	at := make(map[sender.ID]time.Time)
	tenants := []sender.ID{h.tenant.ID}
	var owners sync.WaitGroup
	for i := range domains {
		if i%50 == 0 && i > 0 {
			h.tenant, h.admin = h.newTenant(fmt.Sprint("tenant ", i))
			tenants = append(tenants, h.tenant.ID)
		}
		d := h.domain(fmt.Sprintf("d%d.test", i))
		records := h.Records(d)
		c.publish(i, d.Name.String(), records)
		c.withdraw(records)
		for _, server := range soakResolvers {
			for _, r := range records {
				q, err := new(dns.Msg).SetQuestion(r.Name.String()+".", dns.StringToType[string(r.Type)]).Pack()
				if err != nil {
					t.Fatal(err)
				}
				c.reply("udp", server, q)
			}
		}
		wait := from + rand.N(to-from)
		at[d.ID] = start.Add(wait)
		owners.Go(func() {
			time.Sleep(wait)
			c.restore(records)
		})
	}
	owners.Wait()
	time.Sleep(max(to/10, 5*time.Minute))
	if mode == dnscheck.ModeResolver {
		time.Sleep(2 * negativeTTL)
	}
	last := make(map[sender.ID]time.Time)
	facets := make(map[sender.ID]int)
	for _, tenant := range tenants {
		es, err := h.Events(t.Context(), operator, tenant, sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			if e.Type == sender.EventFacetVerified {
				last[e.Object] = e.At
				facets[e.Object]++
			}
		}
	}
	for id, published := range at {
		if facets[id] != 4 { // ownership, environment, DKIM, SPF
			t.Errorf("%d facets of %s were verified", facets[id], id)
		}
		delays = append(delays, last[id].Sub(published))
	}
	slices.Sort(delays)
	t.Logf("%s mode, published at an age of %s to %s: seen after %s in the median, 95th percentile %s, longest %s; %d questions about %d domains",
		mode, from, to, delays[len(delays)/2].Round(time.Second), delays[len(delays)*95/100].Round(time.Second), delays[len(delays)-1].Round(time.Second), c.packets.Load(), domains)
	return delays
}

// From "all name servers have the records" to verified, by the background alone, with
// resolvers in the path that deny the records for an hour.
func TestWatchSeesWhatIsPublished(t *testing.T) {
	domains := 100
	if raced || testing.Short() {
		domains = 40
	}
	cases := []struct {
		mode     dnscheck.Mode
		domains  int
		from, to time.Duration
		median   time.Duration
		longest  time.Duration
	}{
		{dnscheck.ModeAuthoritative, domains, 0, 10 * time.Minute, 30 * time.Second, time.Minute},
		{dnscheck.ModeAuthoritative, domains / 4, 0, time.Hour, 30 * time.Second, 3 * time.Minute},
		{dnscheck.ModeAuthoritative, domains / 4, time.Hour, 3 * time.Hour, 3 * time.Minute, 6 * time.Minute},
		// What a resolver denies it denies until its cache forgets; then it is seen within the tenth
		// by which waits are spread, and the close watch.
		{dnscheck.ModeResolver, domains / 4, 0, 10 * time.Minute, negativeTTL + 10*time.Minute, negativeTTL + 10*time.Minute},
	}
	if raced {
		cases = cases[:1]
	}
	for _, tt := range cases {
		t.Run(fmt.Sprint(tt.mode, " until ", tt.to), func(t *testing.T) {
			t.Parallel()
			var delays []time.Duration
			synctest.Test(t, func(t *testing.T) { delays = watched(t, tt.mode, tt.domains, tt.from, tt.to) })
			if got := delays[len(delays)/2]; got > tt.median {
				t.Errorf("the median is %s, and %s is the most", got, tt.median)
			}
			if got := delays[len(delays)-1]; got > tt.longest {
				t.Errorf("the longest is %s, and %s is the most", got, tt.longest)
			}
		})
	}
}
