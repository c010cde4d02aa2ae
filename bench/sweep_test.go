package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/provider/builtin"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

// core is the sender's core on SQLite with verified domains, as in serve, without its edges.
type core struct {
	*sender.Service
	store   *store.Store
	packets atomic.Int64
	domains []sender.Domain
}

// memory reads a line of /proc/self/status, in MiB.
func memory(b *testing.B, line string) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), line+":")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}

// newCore makes a core that sees n domains, all published at a local Knot.
func newCore(b *testing.B, n int) *core {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	ctx, log := b.Context(), slog.New(slog.DiscardHandler)
	keys, err := store.LoadKeyring(store.GenerateKey())
	must(err)
	c := &core{}
	c.store, err = store.Open(ctx, store.Config{DSN: b.TempDir() + "/sweep.db", SealKeys: keys, Migrate: true, Log: log})
	must(err)
	relay, err := mail.NewRelay(mail.RelayConfig{Address: "127.0.0.1:1"}) // nothing is sent
	must(err)
	b.Cleanup(func() { must(errors.Join(relay.Close(), c.store.Close())) })
	service, err := dnscheck.ParseDomain("mail.postseal.test")
	must(err)
	p, err := builtin.New(ctx, builtin.Config{Service: service, Store: c.store, Relays: map[string]*mail.Relay{"": relay}, Log: log})
	must(err)
	var address string
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return counted{conn, &c.packets}, err
	}
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: []string{"192.0.2.9"}, Dial: dial})
	must(err)
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{
		Resolver: resolver, Quorum: 1, Mode: dnscheck.ModeAuthoritative, Timeout: time.Minute, ZoneRate: 1e6, ZoneBurst: 1e6,
		AuthoritativeMap: map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "192.0.2.1:53"},
	})
	must(err)
	canary, err := dnscheck.NewCanary(checker, service)
	must(err)
	settings := sender.DefaultSettings()
	settings.Geographies = map[string][]string{"na": {"r1"}}
	c.Service, err = sender.New(ctx, sender.Config{Store: c.store, Checker: checker, Canary: canary, Provider: p, Settings: settings, Log: log})
	must(err)
	operator := sender.Principal{Operator: true}
	tenant, err := c.CreateTenant(ctx, operator, sender.NewTenant{Name: "sweep", Limits: sender.Limits{Domains: n}})
	must(err)
	admin := sender.Principal{Credential: sender.NewID(), Home: tenant.ID, Grants: []sender.Grant{{Tenant: tenant.ID, Role: sender.RoleAdmin}}}
	var zone strings.Builder
	for i := range n {
		d, err := c.CreateDomain(ctx, admin, tenant.ID, fmt.Sprintf("d%d.%s", i, sweepApex))
		must(err)
		c.domains = append(c.domains, d)
		zone.WriteString(zoneText(c.Records(d)))
	}
	address = serveKnot(b, map[string]string{
		sweepApex:       zone.String(),
		"postseal.test": "_spf.mail TXT \"v=spf1 ip4:192.0.2.9 -all\"\n*.dkim.mail TXT \"" + sweepKey + "\"\n",
	})
	return c
}

// makeDue makes all domains due.
func (c *core) makeDue(b *testing.B) {
	b.Helper()
	now := time.Now()
	for i := range c.domains {
		err := c.store.Update(b.Context(), func(tx sender.Tx) error {
			d, err := tx.Domain(b.Context(), c.domains[i].Tenant, c.domains[i].ID)
			if err != nil {
				return err
			}
			d.NextCheck = now
			return tx.UpdateDomain(b.Context(), d)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// looks looks at all domains that are due.
func (c *core) looks(b *testing.B) (n int) {
	b.Helper()
	for {
		looked, err := c.RecheckDue(b.Context(), 200)
		if n += looked; err != nil {
			b.Fatal(err)
		}
		if looked == 0 {
			return n
		}
	}
}

// counted counts what is sent.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(p)
}

// BenchmarkSweep is the daily look at verified domains: claimed, all of their records looked
// up at the name server and the resolver and judged, and when it was done stored; the
// verdicts are those of the day before. It is done with two numbers of domains.
func BenchmarkSweep(b *testing.B) {
	for _, n := range []int{500, 2000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := newCore(b, n)
			c.makeDue(b)
			c.looks(b) // verified, and the verdicts are new
			var rate, cpu, packets, more []float64
			for b.Loop() {
				for range rounds {
					c.makeDue(b)
					debug.FreeOSMemory()
					rest := memory(b, "VmRSS")                                                    // with what the benchmark itself keeps of the domains
					if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak begins anew
						b.Fatal(err)
					}
					before := c.packets.Load()
					p := measure(n, func() {
						if got := c.looks(b); got < n {
							b.Errorf("%d of %d domains were looked at", got, n)
						}
					})
					rate, cpu, more = append(rate, p.perSecond), append(cpu, float64(p.cpu.Microseconds())), append(more, memory(b, "VmHWM")-rest)
					packets = append(packets, float64(c.packets.Load()-before)/float64(n))
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(rate), "domains/s")
			b.ReportMetric(median(cpu), "us/domain")
			b.ReportMetric(median(packets), "packets/domain")
			b.ReportMetric(median(cpu)/median(packets), "us/lookup")
			b.ReportMetric(median(more), "more-MiB")
		})
	}
}
