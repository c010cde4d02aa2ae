package dnscheck

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// distant answers each packet after 20 to 80 ms and loses one of a hundred on the way, but
// for those to the dead, which are all lost.
func distant(w *globe, rng *rand.Rand, dead string) dnstest.Packets {
	return func(_, address string, query []byte) ([]byte, time.Duration) {
		w.mu.Lock()
		w.asked[address]++
		lost, after := rng.IntN(100) == 0, 20*time.Millisecond+time.Duration(rng.Int64N(int64(60*time.Millisecond)))
		w.mu.Unlock()
		if s := w.network[address]; s != nil && !lost && address != dead {
			return s.Handle(query, false), after
		}
		return nil, 0
	}
}

// One domain in four regions with four name servers and three resolvers is diagnosed within
// 2 s at the 95th percentile on healthy DNS, and within 8 s with a dead name server, be
// everything there, nothing, or everything at a wrong place. Where the zone that the records
// lead to cannot be reached, that is not waited for long. On fake time, which counts
// what is waited for and not what is computed.
func TestDiagnosisIsQuick(t *testing.T) {
	runs := 100
	if testing.Short() {
		runs = 20
	}
	whole := wholeZone(t, "example.org")
	doubled := strings.ReplaceAll(whole, ".example.org. ", ".example.org.example.org. ")
	for _, tt := range []struct {
		title, zone string
		code        Code // of the first record
		hidden      bool // no resolver gets to the zone that the records lead to
	}{
		{"published", whole, CodeMatch, false},
		{"published, and it leads to where nobody gets", whole, CodeMatch, true},
		{"unpublished", "", CodeNXDOMAIN, false},
		{"doubled", doubled, CodeDoubledZone, false},
	} {
		for _, dead := range []string{"", "192.0.2.12:53"} {
			title, limit := tt.title, 2*time.Second
			if tt.hidden {
				limit = 3 * time.Second
			}
			if dead != "" {
				title, limit = title+", one server of four dead", 8*time.Second
			}
			t.Run(title, func(t *testing.T) {
				t.Parallel()
				var took []time.Duration
				packets, right := 0, 0
				for seed := range runs {
					synctest.Test(t, func(t *testing.T) {
						w := newGlobe(t, 3, tt.zone, tt.zone, tt.zone, tt.zone)
						if tt.hidden {
							for _, r := range w.resolvers {
								r.Fail("mail.example", "NS", dnstest.Drop)
								r.Fail("mx.mail.example", "", dnstest.Drop)
							}
						}
						c := w.checker(t, nil)
						c.resolver.lines = newLines(distant(w, rand.New(rand.NewPCG(1, uint64(seed))), dead).Dial)
						began := time.Now()
						fs := c.Check(t.Context(), mustName(t, "example.org"), wholeDomain(t, "example.org"))
						took = append(took, time.Since(began))
						for _, n := range w.asked {
							packets += n
						}
						for _, f := range fs {
							if f.Purpose == Ownership && (f.Code == tt.code || f.Presumed == tt.code) {
								right++
								break
							}
						}
					})
				}
				slices.Sort(took)
				at := func(percent int) time.Duration { return took[(len(took)*percent+99)/100-1].Round(time.Millisecond) }
				t.Logf("median %s, 95th percentile %s, longest %s; %d packets each; %d of %d diagnosed as %s", at(50), at(95), at(100), packets/runs, right, runs, tt.code)
				if at(95) > limit {
					t.Errorf("the 95th percentile is %s, and %s is the limit", at(95), limit)
				}
				if right < runs*9/10 {
					t.Errorf("only %d of %d were diagnosed as %s", right, runs, tt.code)
				}
			})
		}
	}
}
