package dnscheck

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/miekg/dns"
)

// deaf hides questions from whoever is asked: those for names that drop tells.
type deaf struct {
	net.Conn
	drop func(name string) bool
}

func (d deaf) Write(p []byte) (int, error) {
	var m dns.Msg
	if m.Unpack(p) == nil && d.drop(bare(m.Question[0].Name)) {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

// Whoever rules the target of a wildcard CNAME can put a token there. Only a question for a
// name beside tells that it is a wildcard, and that it was lost must grant nothing.
func TestNobodyProvesADomainByAWildcardThatCouldNotBeRuledOut(t *testing.T) {
	const wild = "*.example.org. CNAME shop.example.net.\n"
	for _, c := range []struct {
		title, zone string
		lost        bool
		want        Outcome
	}{
		{"a wildcard that is seen", wild, false, Missing},
		{"a wildcard, and the question beside is lost", wild, true, Unknown},
		{"no wildcard", "_postseal.example.org. CNAME shop.example.net.\n", false, Match},
		{"no wildcard, and the question beside is lost", "_postseal.example.org. CNAME shop.example.net.\n", true, Unknown},
	} {
		t.Run(c.title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newGlobe(t, 2, c.zone, c.zone)
				w.top.Add(`shop.example.net. TXT "` + token + `"`)
				rec := ownership(t, "example.org")
				hide := func(name string) bool {
					label, above, _ := strings.Cut(name, ".")
					return c.lost && above == "example.org" && label != "_postseal"
				}
				for _, mode := range []Mode{ModeResolver, ModeAuthoritative} {
					r, err := NewResolver(ResolverConfig{Servers: []string{"203.0.113.1:53", "203.0.113.2:53"}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
						conn, err := w.dial(ctx, network, address)
						return deaf{conn, hide}, err
					}})
					if err != nil {
						t.Fatal(err)
					}
					k, err := NewChecker(CheckerConfig{Resolver: r, Mode: mode})
					if err != nil {
						t.Fatal(err)
					}
					if f := k.Check(t.Context(), mustName(t, "example.org"), []Record{rec})[0]; f.Outcome != c.want {
						t.Errorf("%s mode: %s %s, want %s: %s", mode, f.Outcome, f.Code, c.want, f.Fix)
					}
				}
			})
		})
	}
}
