package sender

import (
	"testing"

	"github.com/postseal/postseal/internal/dnscheck"
)

// The table of the trust rule, row by row.
func TestDecide(t *testing.T) {
	name, err := dnscheck.ParseDomain("mail.example.org")
	if err != nil {
		t.Fatal(err)
	}
	domain := func(proven bool, ownership, dkimHome, dkimOther Status) *Domain {
		d := &Domain{ID: NewID(), Name: name, Tokens: Tokens{Regions: []RegionTokens{
			{Region: "a", DKIM: []string{"a1", "a2", "a3"}}, {Region: "b", DKIM: []string{"b1", "b2", "b3"}},
		}}, Facets: []Facet{
			{Purpose: dnscheck.Ownership, Region: "a", Status: ownership}, {Purpose: dnscheck.DKIM, Region: "a", Status: dkimHome},
			{Purpose: dnscheck.DKIM, Region: "b", Status: dkimOther}, {Purpose: dnscheck.SPF, Status: Verified},
		}}
		if proven {
			d.ProvenAt = t0
		}
		return d
	}
	active, pending := &Address{Status: Verified}, &Address{Status: Pending}
	aligned := domain(true, Verified, Verified, Pending)
	for _, c := range []struct {
		name   string
		e      Evidenced
		policy FromPolicy
		allow  bool
		reason Reason
		note   Note
		key    string
	}{
		{"built-in no-reply", Evidenced{System: true}, ByDomain, true, "", "", ""},
		{"no address", Evidenced{Domain: aligned}, ByAddress, false, AddressNotProven, "", ""},
		{"pending address", Evidenced{Address: pending, Domain: aligned}, ByAddress, false, AddressNotProven, "", ""},
		{"no domain", Evidenced{Address: active}, ByAddress, true, "", NoteUnaligned, ""},
		{"no domain", Evidenced{Address: active}, ByDomain, false, DomainNotProven, "", ""},
		{"never proven, whatever SPF says", Evidenced{Address: active, Domain: domain(false, Pending, Pending, Pending)}, ByAddress, true, "", NoteUnaligned, ""},
		{"never proven", Evidenced{Address: active, Domain: domain(false, Pending, Pending, Pending)}, ByDomain, false, DomainNotProven, "", ""},
		{"DKIM not published", Evidenced{Address: active, Domain: domain(true, Verified, Pending, Pending)}, ByAddress, true, "", NoteDKIMNotPublished, ""},
		{"DKIM not published", Evidenced{Address: active, Domain: domain(true, Verified, Pending, Pending)}, ByDomain, false, DKIMNotPublished, "", ""},
		{"published", Evidenced{Address: active, Domain: aligned}, ByDomain, true, "", "", "a1"},
		{"lapsing still holds", Evidenced{Address: active, Domain: domain(true, Lapsing, Lapsing, Pending)}, ByDomain, true, "", "", "a1"},
		{"proven by DKIM alone", Evidenced{Address: active, Domain: domain(true, Lapsed, Pending, Verified)}, ByDomain, true, "", "", "b1"},
		{"wished region has none", Evidenced{Address: active, Domain: aligned, Region: "b"}, ByAddress, true, "", NoteDKIMNotPublished, ""},
		{"wished region", Evidenced{Address: active, Domain: domain(true, Verified, Verified, Verified), Region: "b"}, ByAddress, true, "", "", "b1"},
		{"proof lost", Evidenced{Address: active, Domain: domain(true, Lapsed, Lapsed, Pending)}, ByAddress, false, ProofLost, "", ""},
		{"proof lost", Evidenced{Address: active, Domain: domain(true, Lapsed, Pending, Pending)}, ByDomain, false, ProofLost, "", ""},
		{"proof lost before the address counts", Evidenced{Address: pending, Domain: domain(true, Lapsed, Pending, Pending)}, ByAddress, false, AddressNotProven, "", ""},
	} {
		c.e.Tenant = Tenant{Regions: []string{"a", "b"}, FromPolicy: c.policy}
		d := Decide(c.e)
		if d.Allow != c.allow || d.Reason != c.reason || d.Note != c.note || d.Selector != c.key {
			t.Errorf("%s, policy %s: %+v, want allow=%t reason=%q note=%q selector=%q", c.name, c.policy, d, c.allow, c.reason, c.note, c.key)
		}
		if d.Allow && (d.Selector == "") != d.SDID.IsZero() {
			t.Errorf("%s: selector %q with d=%q", c.name, d.Selector, d.SDID)
		}
		if !d.Allow && Refusal(d.Reason, "a@example.org").Detail == "" {
			t.Errorf("%s: no sentence for %q", c.name, d.Reason)
		}
	}
}

func TestParseMailboxTakesOneMailboxOnly(t *testing.T) {
	for in, want := range map[string]string{
		"noreply@mail.example.org": "noreply@mail.example.org",
		"NoReply@Mail.Example.ORG": "noreply@mail.example.org",
		"a.b+c@bücher.example.org": "a.b+c@xn--bcher-kva.example.org",
		"o'hara@example.org":       "o'hara@example.org",
		"":                         "",
		"example.org":              "",
		"@example.org":             "",
		"a@":                       "",
		"a@b@example.org":          "",
		".a@example.org":           "",
		"a..b@example.org":         "",
		"a b@example.org":          "",
		"\"a b\"@example.org":      "",
		"a\r\nBcc: x@example.org":  "",
		"Name <a@example.org>":     "",
		"a(b)@example.org":         "",
		"a@[127.0.0.1]":            "",
		"jürgen@example.org":       "",
		"=?utf-8?q?a?=@com":        "",
	} {
		got, d, err := ParseMailbox("emailAddress", in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
		if err == nil && got[len(got)-len(d.String()):] != d.String() {
			t.Errorf("%q: domain %q is not that of %q", in, d, got)
		}
		if err != nil && KindOf(err) != Invalid && KindOf(err) != Required {
			t.Errorf("%q: kind %q", in, KindOf(err))
		}
	}
}
