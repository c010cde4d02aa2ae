package dnscheck

import (
	"context"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"example.org", "_x.Bücher.example.", "xn--bcher-kva.example", "例え。テスト", "a..b", "xn--a", "ｘn--bcher-kva.org", "\u2488com", "a\u00adb.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			if n != (Name{}) || len(err.Error()) > 2000 {
				t.Fatalf("%q: %q and an error of %d bytes", s, n, len(err.Error()))
			}
			return
		}
		if again, err := ParseName(n.String()); err != nil || again != n {
			t.Fatalf("%q -> %q -> %q, %v", s, n, again, err)
		}
		if len(n.String()) > maxName {
			t.Fatalf("%q has %d characters", n, len(n.String()))
		}
		if _, ok := dns.IsDomainName(n.String()); !ok {
			t.Fatalf("%q does not fit into a packet", n)
		}
	})
}

func FuzzParseDomain(f *testing.F) {
	for _, s := range []string{"example.org", "co.uk", "192.0.2.1", "[::1]:53", "https://example.org/", "user@example.org", "*.example.org", "a b.org", "1.2.3.0x4", "localhost"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseDomain(s)
		if err != nil {
			if n != (Name{}) || !strings.Contains(s, "%") && strings.Contains(err.Error(), "%!") || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("%q: %q, %q", s, n, err)
			}
			return
		}
		if again, err := ParseDomain(n.String()); err != nil || again != n {
			t.Fatalf("%q -> %q -> %q, %v", s, n, again, err)
		}
		if n.Registrable().IsZero() || strings.ContainsAny(n.String(), "_*:/@ ") || !strings.Contains(n.String(), ".") {
			t.Fatalf("%q is taken for a domain: %q", s, n)
		}
	})
}

func FuzzCompareText(f *testing.F) {
	f.Add(token, token, token2)
	f.Add(token, `"`+token+`"`, "")
	f.Add(token, strings.ToLower(token), token[:20])
	f.Fuzz(func(t *testing.T, want, found, old string) {
		rec := Record{Purpose: Ownership, Type: TXT, Value: want, Previous: []string{old}}
		code := compareText(rec, nil, []string{found})
		if (code == CodeMatch) != (strings.TrimSpace(want) == strings.TrimSpace(found)) {
			t.Fatalf("%q against %q: %s", found, want, code)
		}
		if compareText(rec, nil, []string{old, found, want}) != CodeMatch {
			t.Fatalf("%q is not found beside other values", want)
		}
		if code.Outcome() != Match && code.Outcome() != Mismatch {
			t.Fatalf("%s is no judgement on a value", code)
		}
		// The DNS gives back what a zone file says.
		rr, err := dns.NewRR("a.example.org. IN TXT " + zoneStrings(found))
		if err != nil {
			t.Fatalf("%q: %v", found, err)
		}
		if got := presentation(rr); got != found {
			t.Fatalf("%q comes back as %q", found, got)
		}
	})
}

// Evaluation never passes without reaching our target, and proposals always do.
func FuzzSPF(f *testing.F) {
	for _, s := range []string{ourSPF, "v=spf1 +all", "v=spf1 redirect=_spf.mail.example", "v=spf1 mx -all include:_spf.mail.example", "v=spf1 ?include:_spf.mail.example ~all", "v=spf1 ip6:100::/64 -all", "v=spf1 all=x include:_SPF.mail.example."} {
		f.Add(s)
	}
	const target = "_spf.mail.example"
	f.Fuzz(func(t *testing.T, record string) {
		if !isSPF(record) || len(record) > 2000 {
			return
		}
		questions := 0
		p := &spfProbe{apex: "example.org", target: target, addr: probeAddress(), lookups: func(_ context.Context, _ question) answer {
			questions++
			return answer{result: SawNXDOMAIN}
		}}
		evaluate := func(record string) bool {
			p.record = record
			return p.check(t.Context()).Result == SPFPass && p.asked
		}
		if evaluate(record) && !strings.Contains(lower(record), "mail") && !strings.ContainsAny(record, "%") {
			t.Fatalf("%q authorises us without naming us", record)
		}
		if _, err := ParseSPF(record); err == nil && !evaluate(withInclude(record, target)) {
			t.Fatalf("the proposal for %q does not authorise us: %q", record, withInclude(record, target))
		}
		if questions > 100 {
			t.Fatalf("%q needs %d questions", record, questions)
		}
		mergeSPF([]string{record, record}, target)
		plausibleSPF([]string{record}, target)
	})
}
