package dnscheck

import (
	"testing"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// BenchmarkCheck runs one full check of a domain with 20 records against two resolvers over
// real sockets.
func BenchmarkCheck(b *testing.B) {
	for name, zone := range map[string]string{"published": wholeZone(b, "example.org"), "nothing": ""} {
		b.Run(name, func(b *testing.B) {
			s1, s2 := dnstest.Serve(b, zone), dnstest.Serve(b, zone)
			r, err := NewResolver(ResolverConfig{Servers: []string{s1.Addr(), s2.Addr()}})
			if err != nil {
				b.Fatal(err)
			}
			c, err := NewChecker(CheckerConfig{Resolver: r})
			if err != nil {
				b.Fatal(err)
			}
			domain, want := mustName(b, "example.org"), wholeDomain(b, "example.org")
			outcome := Match
			if zone == "" {
				outcome = Missing
			}
			for b.Loop() {
				for _, f := range c.Check(b.Context(), domain, want) {
					if f.Outcome != outcome {
						b.Fatalf("%s %s: %s %s", f.Purpose, f.Name, f.Outcome, f.Code)
					}
				}
			}
			b.ReportMetric(float64(len(s1.Log())+len(s2.Log()))/float64(b.N), "questions/op")
		})
	}
}

// BenchmarkAuthoritativeCheck is a domain of 20 records in four regions, on four name servers
// with three resolvers, all in memory: our own work, and that of the servers.
func BenchmarkAuthoritativeCheck(b *testing.B) {
	for title, zone := range map[string]string{"published": wholeZone(b, "example.org"), "empty": ""} {
		b.Run(title, func(b *testing.B) {
			w := newGlobe(b, 3, zone, zone, zone, zone)
			c := w.checker(b, func(c *CheckerConfig) { c.ZoneRate, c.ZoneBurst = 1e6, 1e6 })
			want, d := wholeDomain(b, "example.org"), mustName(b, "example.org")
			b.ReportAllocs()
			for b.Loop() {
				c.Check(b.Context(), d, want)
			}
			total := 0
			for _, n := range w.asked {
				total += n
			}
			b.ReportMetric(float64(total)/float64(b.N), "packets/op")
		})
	}
}
