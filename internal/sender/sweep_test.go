package sender_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// planned is how many verified domains one node is to look at in a day.
const planned = 1_000_000

// TestSweep looks at domains at the rate of a million a day, on fake time: the first of them
// come due as if they were that part of the day, and all once more a day later. A tenant
// beside them has all of its domains due at once. POSTSEAL_TEST_SWEEP is their number; see
// make sweep.
func TestSweep(t *testing.T) {
	domains := 400
	if raced || testing.Short() {
		domains = 100
	}
	if text := os.Getenv("POSTSEAL_TEST_SWEEP"); text != "" {
		var err error
		if domains, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) { sweep(t, domains) })
}

func sweep(t *testing.T, domains int) {
	const day = 24 * time.Hour
	n := &meteredNet{soakNet: newSoakNet(t, 0), servers: make(map[string]*meter)}
	resolvers := soakResolvers[:2] // the third lies
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: resolvers, Dial: n.dialMetered})
	if err != nil {
		t.Fatal(err)
	}
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{Resolver: resolver, Mode: dnscheck.ModeAuthoritative})
	if err != nil {
		t.Fatal(err)
	}
	h := assemble(t, checker, "postseal.test", func(set *sender.Settings) {
		set.Geographies = map[string][]string{"na": {"r1"}}
	})
	start := time.Now()
	slice := time.Duration(float64(day) * float64(domains) / planned)
	type due struct {
		sender.Domain
		admin sender.Principal
		at    time.Time
	}
	all := make([]due, domains)
	big := domains / 4 // domains of one tenant
	if h.tenant, err = h.CreateTenant(t.Context(), operator, sender.NewTenant{Name: "big", Limits: sender.Limits{Domains: big + 1}}); err != nil {
		t.Fatal(err)
	}
	h.admin = sender.Principal{Credential: sender.NewID(), Home: h.tenant.ID, Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: sender.RoleAdmin}}}
	for i := range all {
		if i >= big && (i-big)%20 == 0 {
			h.tenant, h.admin = h.newTenant(fmt.Sprint("tenant ", i))
		}
		all[i] = due{h.domain(fmt.Sprintf("d%d.test", i)), h.admin, start}
		if i >= big {
			all[i].at = start.Add(rand.N(slice))
		}
		n.publish(i, all[i].Name.String(), h.Records(all[i].Domain))
		h.change(all[i].Domain, func(d *sender.Domain) { d.NextCheck = all[i].at })
	}
	const page = 500 // as internal/app has it
	looks := 0
	lookUntil := func(end time.Time, tick time.Duration) (busiest int) {
		for ; time.Now().Before(end); time.Sleep(tick) {
			before := looks
			for {
				looked, err := h.RecheckDue(t.Context(), page)
				if err != nil {
					t.Fatal(err)
				}
				if looks += looked; looked < page {
					break
				}
			}
			busiest = max(busiest, looks-before)
		}
		return busiest
	}
	const tick = 5 * time.Second // verify.sweep
	lookUntil(start.Add(slice+time.Minute), tick)
	if looks != domains {
		t.Errorf("%d looks at %d domains", looks, domains)
	}
	var latest time.Duration
	for i, d := range all {
		now, err := h.Domain(t.Context(), d.admin, d.Tenant, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range now.Facets {
			if f.Status != sender.Verified {
				t.Fatalf("%s %s is %s", d.Name, f.Purpose, f.Status)
			}
			if i >= big {
				latest = max(latest, f.CheckedAt.Sub(d.at))
			}
		}
	}
	if most := 3 * tick; latest > most {
		t.Errorf("a domain was looked at %s after it was due, while another tenant had %d due; at most %s", latest, big, most)
	}

	// The second day: nothing has changed. Jitter has spread them by a tenth of a day either way.
	time.Sleep(time.Until(start.Add(day - day/10 - time.Minute)))
	firstPackets, firstLooks := n.packets.Load(), looks
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	busiest := lookUntil(start.Add(slice+day+day/10+2*time.Minute), time.Minute)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	again := looks - firstLooks
	if again < domains { // a few come due a third time when slice is long
		t.Errorf("%d of %d domains were looked at on the second day", again, domains)
	}
	mean := float64(again) / (float64(slice+day/5) / float64(time.Minute))
	if float64(busiest) > 3*mean+10 {
		t.Errorf("%d looks in the busiest minute, and %.1f on the average", busiest, mean)
	}
	perDomain := float64(n.packets.Load()-firstPackets) / float64(again)
	if perDomain > 60 {
		t.Errorf("%.1f packets for a domain", perDomain)
	}
	h.tenant.ID = all[big].Tenant
	if got := h.events(sender.EventFacetLapsing, sender.EventFacetLapsed); len(got) > 0 {
		t.Errorf("something was lost: %q", got)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for address, m := range n.servers {
		if m.over > 0 && !slices.Contains(resolvers, address) && address[:len("192.0.2.3")] != "192.0.2.3" { // nor our own zone's servers
			t.Errorf("%s got %d packets more than it should", address, m.over)
		}
	}
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	t.Logf("%d domains of %d records: %.1f packets and %s of processor time each on the second day (network, servers and store of the test included); the latest was %s late; heap %d MiB",
		domains, len(h.Records(all[0].Domain)), perDomain, (cpu / time.Duration(again)).Round(time.Microsecond), latest.Round(time.Millisecond), mem.HeapAlloc>>20)
}

// meteredNet is a soakNet with 20 ms on the way and a look at what each server gets.
type meteredNet struct {
	*soakNet
	mu      sync.Mutex
	servers map[string]*meter
}

// meter is the bucket of dnscheck for one address, as seen from the other end.
type meter struct {
	tokens float64
	at     time.Time
	over   int
}

const (
	serverRate  = 10 * 50
	serverBurst = 10 * 600
)

func (n *meteredNet) dialMetered(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := n.dial(ctx, network, address)
	return &meteredConn{c, n, address}, err
}

func (n *meteredNet) count(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	m := n.servers[address]
	if m == nil {
		m = &meter{tokens: serverBurst, at: now}
		n.servers[address] = m
	}
	m.tokens = min(serverBurst, m.tokens+now.Sub(m.at).Seconds()*serverRate)
	m.at = now
	if m.tokens--; m.tokens < -100 { // what was on the way
		m.over++
	}
}

type meteredConn struct {
	net.Conn
	net     *meteredNet
	address string
}

func (c *meteredConn) Write(p []byte) (int, error) {
	c.net.count(c.address)
	p = slices.Clone(p)
	time.AfterFunc(20*time.Millisecond, func() { _, _ = c.Conn.Write(p) })
	return len(p), nil
}
