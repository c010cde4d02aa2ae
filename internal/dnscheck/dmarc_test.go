package dnscheck

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDMARCIsReadAsReceiversReadIt(t *testing.T) {
	for _, tt := range []struct {
		record string
		policy DMARCPolicy // without notes
		err    string
		note   string
	}{
		{"v=DMARC1; p=none", DMARCPolicy{Policy: "none", Subdomain: "none", Percent: 100}, "", ""},
		{"v=DMARC1;p=REJECT;sp=quarantine;adkim=s;aspf=s;pct=50", DMARCPolicy{Policy: "reject", Subdomain: "quarantine", StrictDKIM: true, StrictSPF: true, Percent: 50}, "", "a part of the mail"},
		{"v = DMARC1 ; p = reject ;", DMARCPolicy{Policy: "reject", Subdomain: "reject", Percent: 100}, "", ""},
		{"v=DMARC1; p=none; rua=mailto:a@example.org!10m, mailto:b@example.net; ruf=mailto:c@example.org; fo=1:d", DMARCPolicy{Policy: "none", Subdomain: "none", Percent: 100}, "", ""},
		{"v=DMARC1; p=none; rua=a@example.org", DMARCPolicy{Policy: "none", Subdomain: "none", Percent: 100}, "", "write mailto:a@example.org"},
		{"v=DMARC1; adkim=r; p=reject", DMARCPolicy{Policy: "reject", Subdomain: "reject", Percent: 100}, "", "directly behind v"},
		{"v=DMARC1; p=reject; adkim=strict; x=y; pct=a; fo=9; ri=daily; rf=iodef", DMARCPolicy{Policy: "reject", Subdomain: "reject", Percent: 100}, "", "neither r nor s"},
		{"v=DMARC1; p=reject; np=none; psd=n; t=y", DMARCPolicy{Policy: "reject", Subdomain: "reject", Percent: 100}, "", ""},
		{"v=DMARC1", DMARCPolicy{}, "there is no p=none", ""},
		{"v=DMARC1; p=rejected", DMARCPolicy{}, "none of none, quarantine and reject", ""},
		{"v=DMARC1; p=reject; sp=quarantin", DMARCPolicy{}, "sp=quarantin", ""},
		{"v=DMARC1; p=none; p=reject", DMARCPolicy{}, "two tags p", ""},
		{"v=DMARC1; p=none; rua", DMARCPolicy{}, "has no =", ""},
		{"v\n=DMARC1; p=none", DMARCPolicy{}, "line break", ""},
		{"v=DMARC1;\r\n p=none", DMARCPolicy{}, "line break", ""},
		{"v=DMARC1; p=none\r\n", DMARCPolicy{Policy: "none", Subdomain: "none", Percent: 100}, "", ""},
		{"v=DMARC1 p=none", DMARCPolicy{}, "does not begin", ""},
		{"v=dmarc1; p=none", DMARCPolicy{}, "does not begin", ""},
		{"p=none; v=DMARC1", DMARCPolicy{}, "does not begin", ""},
		{"", DMARCPolicy{}, "does not begin", ""},
	} {
		got, err := ParseDMARC(tt.record)
		if tt.err != "" || err != nil {
			if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.record, err, tt.err)
			}
			continue
		}
		notes := strings.Join(got.Notes, "; ")
		if tt.note == "" && notes != "" || !strings.Contains(notes, tt.note) {
			t.Errorf("%s: notes %q, want %q", tt.record, notes, tt.note)
		}
		if got.Policy != tt.policy.Policy || got.Subdomain != tt.policy.Subdomain || got.StrictDKIM != tt.policy.StrictDKIM || got.StrictSPF != tt.policy.StrictSPF || got.Percent != tt.policy.Percent {
			t.Errorf("%s: %+v", tt.record, got)
		}
	}
}

func TestAlignmentIsByOrganization(t *testing.T) {
	for _, tt := range []struct {
		from, authenticated string
		relaxed, strict     bool
	}{
		{"example.org", "example.org", true, true},
		{"example.org", "bounce.example.org", true, false},
		{"a.b.example.org", "c.example.org", true, false},
		{"example.org", "example.net", false, false},
		{"example.org", "notexample.org", false, false},
		{"example.co.uk", "other.co.uk", false, false},
		{"a.example.co.uk", "b.example.co.uk", true, false},
		{"alice.github.io", "bob.github.io", false, false}, // the private section counts
		{"x.alice.github.io", "alice.github.io", true, false},
		{"co.uk", "example.co.uk", false, false},
	} {
		from, authenticated := mustName(t, tt.from), mustName(t, tt.authenticated)
		if Aligned(from, authenticated, false) != tt.relaxed || Aligned(from, authenticated, true) != tt.strict {
			t.Errorf("%s and %s: relaxed %t, strict %t", from, authenticated, !tt.relaxed, !tt.strict)
		}
		if Aligned(authenticated, from, false) != tt.relaxed {
			t.Errorf("%s and %s: not the same the other way round", from, authenticated)
		}
	}
	if Aligned(Name{}, Name{}, false) {
		t.Error("no name is aligned with no name")
	}
}

func TestSubdomainsInheritThePolicyForSubdomains(t *testing.T) {
	p, err := ParseDMARC("v=DMARC1; p=reject; sp=none")
	if err != nil {
		t.Fatal(err)
	}
	org, sub := mustName(t, "example.org"), mustName(t, "mail.example.org")
	if p.For(org, org) != DispositionReject || p.For(sub, org) != DispositionNone || p.For(sub, sub) != DispositionReject {
		t.Error("sp is for names below, and only where they have no policy of their own")
	}
}

func TestDMARCThatIsNoneForReceiversIsShown(t *testing.T) {
	rec := Record{Purpose: DMARC, Name: mustName(t, "_dmarc.example.org"), Type: TXT, Value: "v=DMARC1; p=none"}
	for value, code := range map[string]Code{
		`v=DMARC1 p=none`:       CodeDMARCSyntax,
		`v=dmarc1; p=none`:      CodeDMARCSyntax,
		`v=DMARC1; p=all`:       CodeDMARCSyntax,
		`\"v=DMARC1; p=none\"`:  CodeValueQuoted,
		`v=DMARC1; p=none;`:     CodeMatch,
		`V=DMARC1; P=none`:      CodeMatch,
		`v=DMARC1; p=none; P=x`: CodeDMARCSyntax,
		`v=DMARC1; p=none; x=y`: CodeMatch,
		`p=none; v=DMARC1`:      CodeDMARCSyntax,
		`DMARC1; p=none`:        CodeDMARCSyntax,
		`hello`:                 CodeDMARCMissing,
	} {
		if f := checkOne(t, "example.org", `_dmarc.example.org. IN TXT "`+value+`"`, rec); f.Code != code {
			t.Errorf("%s: %s, want %s: %s", value, f.Code, code, f.Fix)
		}
	}
}

func FuzzParseDMARC(f *testing.F) {
	for _, s := range []string{"v=DMARC1; p=none", "v=DMARC1;p=reject;sp=none;rua=mailto:a@b.c!10m,x;pct=50;adkim=s", "v=DMARC1;;p=none;fo=1:d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, record string) {
		p, err := ParseDMARC(record)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 2000 {
				t.Fatalf("%q: %q", record, err)
			}
			return
		}
		if p.Policy == "" || p.Subdomain == "" || p.Percent < 0 || p.Percent > 100 {
			t.Fatalf("%q: %+v", record, p)
		}
		if len(dmarcPolicies([]string{record})) != 1 {
			t.Fatalf("%q is read, but would not be chosen", record)
		}
	})
}
