package dnscheck

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

func TestZoneTextCanBePasted(t *testing.T) {
	d := mustName(t, "example.org")
	long := strings.Repeat("k", 300)
	got := ZoneText(d, []Record{
		{Purpose: Ownership, Region: "na", Name: d.Child("_postseal"), Type: TXT, Value: token},
		{Purpose: Ownership, Region: "eu", Name: d.Child("_postseal"), Type: TXT, Value: token2},
		{Purpose: DKIM, Region: "na", Name: d.Child("tok1._domainkey"), Type: CNAME, Value: "tok1.dkim.mail.example"},
		{Purpose: DKIM, Region: "eu\n@ IN A 192.0.2.66", Name: d.Child("tok1._domainkey"), Type: CNAME, Value: "TOK1.dkim.mail.example."},
		{Purpose: MailFromMX, Name: d.Child("bounce"), Type: MX, Value: "mx.mail.example"},
		{Purpose: DMARC, Name: d.Child("_dmarc"), Type: TXT, Value: `v=DMARC1; p=none; x="\`},
		{Purpose: DKIM, Name: d.Child("direct._domainkey"), Type: TXT, Value: long},
		{Purpose: SPF, Type: TXT, Value: "left out: no name"},
	})
	want := `; records of example.org
; ownership na
_postseal.example.org. 300 IN TXT "` + token + `"
; ownership eu
_postseal.example.org. 300 IN TXT "` + token2 + `"
; dkim na, dkim eu @ IN A 192.0.2.66
tok1._domainkey.example.org. 300 IN CNAME tok1.dkim.mail.example.
; mail-from-mx
bounce.example.org. 300 IN MX 10 mx.mail.example.
; dmarc (advice: leave it out if there is a policy)
_dmarc.example.org. 300 IN TXT "v=DMARC1; p=none; x=\"\\"
; dkim
direct._domainkey.example.org. 300 IN TXT "` + long[:255] + `" "` + long[255:] + `"
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What a zone parser reads from the text is what the checker would expect to see.
func TestZoneTextSaysWhatTheCheckerExpects(t *testing.T) {
	d := mustName(t, "example.org")
	rapid.Check(t, func(t *rapid.T) {
		rec := Record{
			Purpose: Ownership, Name: d.Child("_x"),
			Type:     rapid.SampledFrom([]Type{TXT, CNAME, MX}).Draw(t, "type"),
			Priority: rapid.IntRange(1, 65535).Draw(t, "priority"),
		}
		if rec.Type == TXT {
			rec.Value = string(rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "text"))
		} else {
			rec.Value = rapid.StringMatching(`[a-zA-Z0-9_][a-zA-Z0-9_;"()@$ -]{0,20}\.[a-z]{1,10}\.?`).Draw(t, "name")
		}
		zp := dns.NewZoneParser(strings.NewReader(ZoneText(d, []Record{rec})), "", "")
		rr, ok := zp.Next()
		if !ok {
			t.Fatalf("%q: %v", rec.Value, zp.Err())
		}
		if _, more := zp.Next(); more || zp.Err() != nil {
			t.Fatalf("%q: more than one record, or %v", rec.Value, zp.Err())
		}
		packed := make([]byte, dns.MaxMsgSize)
		n, err := dns.PackRR(rr, packed, 0, nil, false)
		if err != nil {
			t.Fatalf("%q: %v", rec.Value, err)
		}
		wire, _, err := dns.UnpackRR(packed[:n], 0)
		if err != nil {
			t.Fatal(err)
		}
		var ops opinion
		switch rec.Type {
		case MX:
			ops.match = compareMX(rec, nil, d, []dns.RR{wire}) == CodeMatch
		case CNAME:
			// The wire form escapes what a host name cannot hold; only plain names compare.
			ops.match = strings.ContainsAny(rec.Value, `;"()@$ `) || compareTarget(rec, nil, d, []string{presentation(wire)}) == CodeMatch
		default:
			ops.match = compareText(rec, nil, []string{presentation(wire)}) == CodeMatch
		}
		if rec.Type == MX && strings.ContainsAny(rec.Value, `;"()@$ `) {
			ops.match = true
		}
		if !ops.match {
			t.Fatalf("%s %q comes back as %q", rec.Type, rec.Value, presentation(wire))
		}
	})
}

func TestZoneTextOfManyRecordsKeepsTheirOrder(t *testing.T) {
	want := wholeDomain(t, "example.org")
	var names []string
	for line := range strings.Lines(ZoneText(mustName(t, "example.org"), want)) {
		if name, _, ok := strings.Cut(line, ". 300 IN "); ok {
			names = append(names, name)
		}
	}
	if !slices.EqualFunc(names, want, func(name string, r Record) bool { return name == r.Name.String() }) {
		t.Errorf("%d lines: %q", len(names), names)
	}
}
