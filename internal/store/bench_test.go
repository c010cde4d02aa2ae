package store_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/store/storetest"
)

var benched = []struct {
	name string
	dsn  func(t testing.TB) string
}{
	{"sqlite", func(t testing.TB) string { return filepath.Join(t.TempDir(), "postseal.db") }},
	{"postgres", storetest.Postgres},
}

func benchTenant(b *testing.B, s *store.Store) sender.ID {
	t := sender.Tenant{ID: sender.NewID(), Organization: sender.DefaultOrganization}
	update(b, s, func(tx sender.Tx) error { return tx.InsertTenant(b.Context(), t) })
	return t.ID
}

func benchDomain(tenant sender.ID, i int64) sender.Domain {
	n, err := dnscheck.ParseName(fmt.Sprintf("d%d.example.org", i))
	if err != nil {
		panic(err)
	}
	d := sender.Domain{ID: sender.NewID(), Tenant: tenant, Name: n, Spelling: n.String(), NextCheck: start.Add(time.Duration(i)), Version: 1, CreatedAt: start, UpdatedAt: start}
	for r := range 4 {
		region := fmt.Sprint("region-", r)
		d.Tokens.Regions = append(d.Tokens.Regions, sender.RegionTokens{Region: region, Ownership: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", DKIM: []string{
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccccccccccccccc"}})
		d.Facets = append(d.Facets, sender.Facet{Purpose: dnscheck.Ownership, Region: region, Status: sender.Pending, Since: start},
			sender.Facet{Purpose: dnscheck.DKIM, Region: region, Status: sender.Pending, Since: start})
	}
	return d
}

// BenchmarkInsertDomain is a domain and its event, durable, for so many callers at once.
func BenchmarkInsertDomain(b *testing.B) {
	for _, e := range benched {
		for _, callers := range []int{1, 32, 128} {
			b.Run(fmt.Sprintf("%s/callers=%d", e.name, callers), func(b *testing.B) {
				s := open(b, config(b, e.dsn(b)))
				tenant := benchTenant(b, s)
				var n atomic.Int64
				b.SetParallelism(callers)
				if callers > 1 {
					b.SetParallelism(callers / 2) // of two processors
				}
				b.ReportAllocs()
				insert := func() {
					d := benchDomain(tenant, n.Add(1))
					err := s.Update(b.Context(), func(tx sender.Tx) error {
						if err := tx.InsertDomain(b.Context(), d); err != nil {
							return err
						}
						return tx.InsertEvent(b.Context(), sender.Event{ID: sender.NewID(), Tenant: tenant, At: start, Type: sender.EventDomainCreated, Object: d.ID, Data: map[string]string{"domainName": d.Spelling}})
					})
					if err != nil {
						b.Error(err)
					}
				}
				if callers == 1 {
					for b.Loop() {
						insert()
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							insert()
						}
					})
				}
				b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "domains/s")
			})
		}
	}
}

// BenchmarkDomain reads one of 1,000 domains, outside of transactions.
func BenchmarkDomain(b *testing.B) {
	for _, e := range benched {
		b.Run(e.name, func(b *testing.B) {
			s := open(b, config(b, e.dsn(b)))
			tenant := benchTenant(b, s)
			var ids []sender.ID
			update(b, s, func(tx sender.Tx) error {
				ids = nil
				for i := range int64(1000) {
					d := benchDomain(tenant, i)
					ids = append(ids, d.ID)
					if err := tx.InsertDomain(b.Context(), d); err != nil {
						return err
					}
				}
				return nil
			})
			b.ReportAllocs()
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Domain(b.Context(), tenant, ids[n.Add(1)%1000]); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "reads/s")
		})
	}
}

// BenchmarkClaim claims 32 of 100,000 queued messages of 1,000 tenants and puts
// them back.
func BenchmarkClaim(b *testing.B) {
	for _, e := range benched {
		b.Run(e.name, func(b *testing.B) {
			s := open(b, config(b, e.dsn(b)))
			for range 100 {
				update(b, s, func(tx sender.Tx) error {
					for range 10 {
						tenant := sender.NewID()
						for range 100 {
							if err := tx.InsertMessage(b.Context(), message(tenant, "Subject: hello\r\n\r\nworld\r\n")); err != nil {
								return err
							}
						}
					}
					return nil
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				update(b, s, func(tx sender.Tx) error {
					ms, err := tx.ClaimMessages(b.Context(), "n1", start, start.Add(time.Minute), 32)
					if err != nil || len(ms) != 32 {
						b.Fatalf("%d messages, %v", len(ms), err)
					}
					return nil
				})
				b.StopTimer()
				update(b, s, func(tx sender.Tx) error {
					_, err := tx.ReleaseMessages(b.Context(), start, true)
					return err
				})
				b.StartTimer()
			}
			b.ReportMetric(float64(32*b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
