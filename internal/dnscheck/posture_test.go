package dnscheck

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// postureOf looks at example.org.
func postureOf(t *testing.T, zone string, change func(*Message), mode ...Mode) Posture {
	t.Helper()
	var p Posture
	inLab(t, zone, 2, func(t *testing.T, l *lab) {
		m := Message{From: mustName(t, "example.org")}
		if change != nil {
			change(&m)
		}
		p = newChecker(t, l, 2).Posture(t.Context(), m)
	})
	return p
}

func TestPostureNamesTheWorstFaultOfSPF(t *testing.T) {
	apex := func(txt string) string { return `example.org. IN TXT "` + txt + `"` + "\n" }
	var many, hosts strings.Builder
	for i := range 11 {
		fmt.Fprintf(&many, " a:h%d.example.net", i)
		fmt.Fprintf(&hosts, "h%d.example.net. IN A 192.0.2.9\n", i)
	}
	for _, tt := range []struct {
		title, zone string
		code        Code
		lookups     int
		fix, note   string
	}{
		{"fine", apex("v=spf1 ip4:192.0.2.1 -all"), CodeMatch, 0, "", ""},
		{"nobody", apex("v=spf1 -all"), CodeMatch, 0, "", ""},
		{"none", "example.org. A 192.0.2.1", CodeSPFMissing, 0, "publish a TXT record", ""},
		{"two", apex("v=spf1 a -all") + apex("v=spf1 mx -all"), CodeSPFMultiple, 0, `replace them by "v=spf1 a mx -all"`, ""},
		{"typed quotes", apex(`\"v=spf1 -all\"`), CodeValueQuoted, 0, "begins with v=spf1", ""},
		{"syntax", apex("v=spf1 ipv4:192.0.2.1 -all"), CodeSPFSyntax, 0, "write ip4:192.0.2.1", ""},
		{"syntax of another", apex("v=spf1 include:x.example ~all") + `x.example. TXT "v=spf1 foo"`, CodeSPFSyntax, 1, `remove "include:x.example"`, ""},
		{"fault behind an include", apex("v=spf1 include:y.example ~all") + "y.example. TXT \"v=spf1 include:x.example\"\n", CodeSPFIncludeBroken, 2, `remove "include:y.example", which leads there`, ""},
		{"dead include", apex("v=spf1 include:x.example ~all"), CodeSPFIncludeBroken, 1, `remove "include:x.example"`, ""},
		{"dead includes", apex("v=spf1 include:x.example include:z.example a:example.net ~all") + "z.example. TXT \"v=spf1 a\"\nz.example. TXT \"v=spf1 mx\"", CodeSPFIncludeBroken, 3, `remove "include:x.example" and "include:z.example", or`, ""},
		{"include with two", apex("v=spf1 include:x.example ~all") + "x.example. TXT \"v=spf1 a\"\nx.example. TXT \"v=spf1 mx\"", CodeSPFIncludeBroken, 1, "2 SPF records", ""},
		{"too many", apex("v=spf1"+many.String()+" ~all") + hosts.String(), CodeSPFTooManyLookups, 11, "11 DNS look-ups", ""},
		{"circle", apex("v=spf1 include:example.org ~all"), CodeSPFTooManyLookups, 1, "circle", ""},
		{"void", apex("v=spf1 a:x1.example a:x2.example a:x3.example ~all"), CodeSPFVoidLookups, 3, "remove a:x1.example, a:x2.example, a:x3.example", ""},
		{"some void", apex("v=spf1 a:x1.example ~all"), CodeMatch, 1, "", "finds nothing"},
		{"include behind all", apex("v=spf1 -all include:x.example"), CodeSPFIncludeUnreachable, 0, "put it before that", ""},
		{"void redirect", apex("v=spf1 ~all redirect=x.example"), CodeSPFIncludeUnreachable, 0, "put include:x.example before that", ""},
		{"void redirect in front", apex("v=spf1 redirect=x.example ~all"), CodeSPFIncludeUnreachable, 0, "remove it, or put include:x.example", ""},
		{"everybody", apex("v=spf1 +all"), CodeValueMismatch, 0, `anybody can send as example.org: take "+all" out`, ""},
		{"everybody with an address", apex("v=spf1 ip4:0.0.0.0/0 -all"), CodeValueMismatch, 0, `such as 0.80.79.83`, ""},
		{"half of all addresses", apex("v=spf1 ip4:128.0.0.0/1 -all"), CodeValueMismatch, 0, `such as 240.80.79.83`, ""},
		{"everybody by the width of an a", apex("v=spf1 a/0 -all") + "example.org. A 192.0.2.1", CodeValueMismatch, 1, `take "a/0" out`, ""},
		{"everybody behind an include", apex("v=spf1 include:x.example -all") + `x.example. TXT "v=spf1 all"`, CodeValueMismatch, 1, `take "include:x.example" out`, ""},
		{"everybody but behind -all", apex("v=spf1 -all all"), CodeMatch, 0, "", ""},
		{"nobody in front of everybody", apex("v=spf1 -ip4:0.0.0.0/0 -ip6:::/0 all"), CodeMatch, 0, "", ""},
		{"everybody and a dead include", apex("v=spf1 all include:x.example"), CodeSPFIncludeUnreachable, 0, "put it before that", "anybody can send as example.org"},
		{"a dead include and everybody", apex("v=spf1 include:x.example +all"), CodeSPFIncludeBroken, 1, `remove "include:x.example"`, `"+all" authorises the whole Internet`},
		{"wide, and not everybody", apex("v=spf1 ip4:10.0.0.0/8 -all"), CodeMatch, 0, "", ""},
		{"neutral", apex("v=spf1 ip4:192.0.2.1 ?all"), CodeMatch, 0, "", "not listed"},
		{"open end", apex("v=spf1 ip4:192.0.2.1"), CodeMatch, 0, "", "not listed"},
		{"ptr", apex("v=spf1 ptr ~all"), CodeMatch, 1, "", "should not be used"},
		{"one left", apex("v=spf1"+strings.Join(strings.Fields(many.String())[:9], " ")+" ~all") + hosts.String(), CodeSPFMissing, 0, "", ""}, // no blank behind the version
		{"nearly full", apex("v=spf1 "+strings.Join(strings.Fields(many.String())[:9], " ")+" ~all") + hosts.String(), CodeMatch, 9, "", "one too many"},
		{"nearly full, for IPv6", apex("v=spf1 "+strings.Join(strings.Fields(many.String())[:3], " ")+" ~all") + hosts.String(), CodeMatch, 3, "", "3 names have no IPv6 address"},
		{"circle of CNAMEs", "example.org. CNAME example.org.", CodeCNAMELoop, 0, "circle", ""},
	} {
		r := postureOf(t, tt.zone, nil).SPF
		if r.Code != tt.code || r.Outcome != tt.code.Outcome() || r.Lookups != tt.lookups || !strings.Contains(r.Fix, tt.fix) || (r.Fix == "") != (r.Outcome == Match) {
			t.Errorf("%s: %s %s, %d look-ups: %s; want %s, %d, %q", tt.title, r.Outcome, r.Code, r.Lookups, r.Fix, tt.code, tt.lookups, tt.fix)
		}
		if notes := strings.Join(r.Notes, " "); !strings.Contains(notes, tt.note) || tt.note == "" && tt.code == CodeMatch && notes != "" {
			t.Errorf("%s: notes %q, want %q", tt.title, notes, tt.note)
		}
	}
}

func TestPostureWithAnIncludeProposesARecord(t *testing.T) {
	const ours = `_spf.mail.example. IN TXT "v=spf1 ip4:192.0.2.0/24 -all"` + "\n"
	ask := func(m *Message) { m.Include = Name{"_spf.mail.example"} }
	var many, hosts strings.Builder
	for i := range 10 {
		fmt.Fprintf(&many, " a:h%d.example.net", i)
		fmt.Fprintf(&hosts, "h%d.example.net. IN A 192.0.2.9\n", i)
	}
	for _, tt := range []struct {
		title, zone string
		code        Code
		proposal    string
		fits        bool
	}{
		{"included", ours + `example.org. TXT "v=spf1 include:_spf.mail.example ~all"`, CodeMatch, "", false},
		{"not included", ours + "example.org. MX 10 mx.example.org.\n" + `example.org. TXT "v=spf1 mx -all"`, CodeSPFIncludeMissing, "v=spf1 include:_spf.mail.example mx -all", true},
		{"no record", ours, CodeSPFMissing, "v=spf1 include:_spf.mail.example ~all", true},
		{"two records", ours + "example.org. TXT \"v=spf1 ip4:192.0.2.1 -all\"\nexample.org. TXT \"v=spf1 ip4:192.0.2.2 ~all\"", CodeSPFMultiple, "v=spf1 include:_spf.mail.example ip4:192.0.2.1 ip4:192.0.2.2 -all", true},
		{"no room", ours + hosts.String() + `example.org. TXT "v=spf1` + many.String() + ` -all"`, CodeSPFIncludeMissing, "v=spf1 include:_spf.mail.example" + many.String() + " -all", false},
		{"budget blown behind", ours + hosts.String() + `example.org. TXT "v=spf1 include:_spf.mail.example` + many.String() + ` -all"`, CodeMatch, "", false},
		{"redirect", ours + `example.org. TXT "v=spf1 redirect=x.example"` + "\n" + `x.example. TXT "v=spf1 ip4:192.0.2.1 -all"`, CodeSPFIncludeMissing, "v=spf1 include:_spf.mail.example redirect=x.example", true},
		{"no room for all that it includes", strings.ReplaceAll(ours, "ip4:192.0.2.0/24", "include:x1.example include:x2.example") + "x1.example. TXT \"v=spf1 -all\"\nx2.example. TXT \"v=spf1 -all\"\n" + hosts.String() +
			`example.org. TXT "v=spf1` + strings.Join(strings.SplitAfter(many.String(), "net")[:8], "") + ` -all"`, CodeSPFIncludeMissing, "v=spf1 include:_spf.mail.example" + strings.Join(strings.SplitAfter(many.String(), "net")[:8], "") + " -all", false},
		{"redirect to it", ours + `example.org. TXT "v=spf1 redirect=_spf.mail.example"`, CodeMatch, "", false},
		{"it has no record and is not included", `example.org. TXT "v=spf1 ip4:192.0.2.1 ~all"`, CodeSPFIncludeBroken, "", false},
		{"neither has a record", `example.org. A 192.0.2.1`, CodeSPFMissing, "", false},
		{"two records and none there", "example.org. TXT \"v=spf1 ip4:192.0.2.1 -all\"\nexample.org. TXT \"v=spf1 ip4:192.0.2.2 ~all\"", CodeSPFMultiple, "v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 -all", true},
		{"it cannot be read", `_spf.mail.example. TXT "v=spf1 ipv4:192.0.2.1"` + "\n" + `example.org. TXT "v=spf1 include:_spf.mail.example ~all"`, CodeSPFIncludeBroken, "", false},
		{"it has two records", "_spf.mail.example. TXT \"v=spf1 a\"\n_spf.mail.example. TXT \"v=spf1 mx\"\n" + `example.org. TXT "v=spf1 -all"`, CodeSPFIncludeBroken, "", false},
		{"it leads back", `_spf.mail.example. TXT "v=spf1 include:example.org"` + "\n" + `example.org. TXT "v=spf1 -all"`, CodeSPFIncludeBroken, "", false},
		{"it has no record", `example.org. TXT "v=spf1 include:_spf.mail.example ~all"`, CodeSPFIncludeBroken, "", false},
	} {
		r := postureOf(t, tt.zone, ask).SPF
		if r.Code != tt.code || r.Outcome != tt.code.Outcome() {
			t.Errorf("%s: %s %s: %s", tt.title, r.Outcome, r.Code, r.Fix)
		}
		switch {
		case (r.Proposal == nil) != (tt.proposal == ""):
			t.Errorf("%s: proposal %v, want %q", tt.title, r.Proposal, tt.proposal)
		case r.Proposal != nil && (r.Proposal.Value != tt.proposal || r.Proposal.Fits != tt.fits):
			t.Errorf("%s: proposal %+v, want %q, fits %t", tt.title, r.Proposal, tt.proposal, tt.fits)
		}
		if notes := strings.Join(r.Notes, " "); r.Proposal != nil && r.Proposal.Fits == strings.Contains(notes, "The proposal needs 1") {
			t.Errorf("%s: notes %q", tt.title, notes)
		}
		if strings.HasPrefix(tt.title, "budget") != strings.Contains(strings.Join(r.Notes, " "), "too expensive") {
			t.Errorf("%s: notes %q", tt.title, r.Notes)
		}
	}
}

func TestPostureOfTheRest(t *testing.T) {
	key := "v=DKIM1; t=y; p=" + spki(t, publicRSA(1024))
	sign := func(m *Message) { m.Signatures = []Signature{{m.From, Name{"s1"}}} }
	for _, tt := range []struct {
		title, zone          string
		change               func(*Message)
		dmarc, dkim, mx      Code
		dmarcNote, dkimNote  string
		mxNote, dispositions string
	}{
		{"nothing", "", sign, CodeDMARCMissing, CodeNXDOMAIN, CodeMatch, "", "", "receives no mail", ""},
		{"all", "example.org. MX 10 mx.example.org.\nmx.example.org. A 192.0.2.1\ns1._domainkey.example.org. TXT " + zoneStrings(key) + "\n" + `_dmarc.example.org. TXT "v=DMARC1; p=none"`, sign, CodeMatch, CodeMatch, CodeMatch, "p=none only watches", "t=y says", "", "none"},
		{"revoked", `s1._domainkey.example.org. TXT "v=DKIM1; p="`, sign, CodeDMARCMissing, CodeDKIMKeyRevoked, CodeMatch, "", "", "", ""},
		{"unreadable", `s1._domainkey.example.org. TXT "v=DKIM1; p=xyz"`, sign, CodeDMARCMissing, CodeDKIMKeyMismatch, CodeMatch, "", "", "", ""},
		{"escaped semicolons", `s1._domainkey.example.org. TXT "v=DKIM1\\; p=xyz"`, sign, CodeDMARCMissing, CodeDKIMKeyMismatch, CodeMatch, "", "", "", ""},
		{"CNAME to nothing", `s1._domainkey.example.org. CNAME gone.example.`, sign, CodeDMARCMissing, CodeNXDOMAIN, CodeMatch, "", "", "", ""},
		{"dead exchange", `example.org. MX 10 gone.example.`, nil, CodeDMARCMissing, "", CodeNXDOMAIN, "", "", "", ""},
		{"null MX", `example.org. MX 0 .`, nil, CodeDMARCMissing, "", CodeMatch, "", "", "null MX", ""},
		{"null MX and another", "example.org. MX 0 .\nexample.org. MX 10 mx.example.\nmx.example. A 192.0.2.1", nil, CodeDMARCMissing, "", CodeMXExtra, "", "", "null MX", ""},
		{"address only", `example.org. A 192.0.2.1`, nil, CodeDMARCMissing, "", CodeMatch, "", "", "has no MX", ""},
		{"two policies", "_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n_dmarc.example.org. TXT \"v=DMARC1; p=reject\"", nil, CodeDMARCMultiple, "", CodeMatch, "", "", "", ""},
		{"broken policy", `_dmarc.example.org. TXT "v=DMARC1; p=all"`, nil, CodeDMARCSyntax, "", CodeMatch, "", "", "", ""},
		{"version last", `_dmarc.example.org. TXT "p=reject; v=DMARC1"`, nil, CodeDMARCSyntax, "", CodeMatch, "", "", "", ""},
		{"no version", `_dmarc.example.org. TXT "p=reject; rua=mailto:a@example.org"`, nil, CodeDMARCSyntax, "", CodeMatch, "", "", "", ""},
		{"another text", `_dmarc.example.org. TXT "hello"`, nil, CodeDMARCMissing, "", CodeMatch, "", "", "", ""},
		{"address for an exchange", `example.org. MX 10 192.0.2.7.`, nil, CodeDMARCMissing, "", CodeNXDOMAIN, "", "", "", ""},
		{"inherited past what is none", "_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n" + `_dmarc.news.example.org. TXT "v=DMARC1 p=reject"`, func(m *Message) { m.From = Name{"news.example.org"} }, CodeMatch, "", CodeMatch, `What is at _dmarc.news.example.org is no policy for receivers ("v=DMARC1 p=reject")`, "", "", "none"},
		{"reports to strangers", `_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=mailto:a@reports.example"`, nil, CodeMatch, "", CodeMatch, "example.org._report._dmarc.reports.example", "", "", "reject"},
		{"reports to friends", `_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=mailto:a@reports.example"` + "\n" + `*._report._dmarc.reports.example. TXT "v=DMARC1"`, nil, CodeMatch, "", CodeMatch, "", "", "", "reject"},
		{"inherited", `_dmarc.example.org. TXT "v=DMARC1; p=reject; sp=quarantine; rua=mailto:a@example.org"`, func(m *Message) { m.From = Name{"news.example.org"} }, CodeMatch, "", CodeMatch, "inherited from _dmarc.example.org", "", "", "quarantine"},
	} {
		p := postureOf(t, tt.zone, tt.change)
		var dkim DKIMReport
		if len(p.DKIM) > 0 {
			dkim = p.DKIM[0]
		}
		if p.DMARC.Code != tt.dmarc || dkim.Code != tt.dkim || p.MX.Code != tt.mx {
			t.Errorf("%s: DMARC %s (%s), DKIM %s (%s), MX %s (%s)", tt.title, p.DMARC.Code, p.DMARC.Fix, dkim.Code, dkim.Fix, p.MX.Code, p.MX.Fix)
		}
		if string(p.DMARC.Disposition) != tt.dispositions {
			t.Errorf("%s: %s is asked for", tt.title, p.DMARC.Disposition)
		}
		if strings.HasPrefix(tt.title, "escaped") && !strings.Contains(dkim.Fix, `(v=DKIM1\ is not DKIM1)`) {
			t.Errorf("%s: %s", tt.title, dkim.Fix)
		}
		for notes, want := range map[string]string{strings.Join(p.DMARC.Notes, " "): tt.dmarcNote, strings.Join(dkim.Notes, " ") + " ": tt.dkimNote, strings.Join(p.MX.Notes, " ") + "  ": tt.mxNote} {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: notes %q, want %q", tt.title, notes, want)
			}
		}
		for _, r := range []Report{p.DMARC.Report, p.MX.Report, p.SPF.Report} {
			if (r.Fix == "") != (r.Outcome == Match) || r.Observed == nil || r.Notes == nil {
				t.Errorf("%s: %+v", tt.title, r)
			}
		}
	}
}

func TestPostureOfNoDomainSaysSo(t *testing.T) {
	p := postureOf(t, "", func(m *Message) { m.From = mustName(t, "gone.example.org") })
	for code, r := range map[Code]Report{CodeSPFMissing: p.SPF.Report, CodeDMARCMissing: p.DMARC.Report} {
		if r.Code != code || !strings.Contains(r.Fix, "gone.example.org does not exist in the DNS") {
			t.Errorf("%s: %s", r.Code, r.Fix)
		}
	}
}

func TestPostureTellsAllThatIsWrongWithExchanges(t *testing.T) {
	mx := postureOf(t, `example.org. MX 10 192.0.2.7.
example.org. MX 10 gone.example.
example.org. MX 20 lost.example.
example.org. MX 20 alias.example.
alias.example. CNAME mx.example.
example.org. MX 20 mx.example.
mx.example. A 192.0.2.1`, nil).MX
	want := "The MX record of example.org is wrong; 192.0.2.7 is an address where a name belongs: give the host a name with that address, and put the name there; gone.example, lost.example have no address: correct the name, or remove it."
	if mx.Code != CodeNXDOMAIN || mx.Fix != want {
		t.Errorf("%s: %s", mx.Code, mx.Fix)
	}
	if len(mx.Notes) != 1 || !strings.HasPrefix(mx.Notes[0], "The exchange alias.example is a CNAME") || !strings.Contains(mx.Notes[0], "name mx.example in its place") {
		t.Errorf("notes %q", mx.Notes)
	}
	mx = postureOf(t, `example.org. MX 0 .
example.org. MX 10 gone.example.`, nil).MX
	if mx.Code != CodeMXExtra || !strings.Contains(mx.Fix, "null MX beside other exchanges") || !strings.Contains(mx.Fix, "gone.example has no address") {
		t.Errorf("%s: %s", mx.Code, mx.Fix)
	}
}

func TestPostureOfSilenceIsUnknown(t *testing.T) {
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		for _, s := range l.servers {
			s.Fail("", "", dnstest.Servfail)
		}
		p := newChecker(t, l, 2).Posture(t.Context(), Message{From: mustName(t, "example.org"), Signatures: []Signature{{mustName(t, "example.org"), mustName(t, "s1")}}})
		for _, o := range p.Outcomes() {
			if o != Unknown {
				t.Errorf("%s of silence: %+v", o, p)
			}
		}
	})
}

// That a domain has no MX says nothing of where its mail goes while its addresses are not told.
func TestMailGoesNowhereKnownWithoutAnAnswerAboutAddresses(t *testing.T) {
	inLab(t, `example.org. TXT "v=spf1 -all"`, 2, func(t *testing.T, l *lab) {
		for _, s := range l.servers {
			s.Fail("example.org", "A", dnstest.Servfail)
			s.Fail("example.org", "AAAA", dnstest.Servfail)
		}
		mx := newChecker(t, l, 2).Posture(t.Context(), Message{From: mustName(t, "example.org")}).MX
		if mx.Outcome != Unknown || mx.Code != CodeTimeout {
			t.Errorf("%s %s: %s %q", mx.Outcome, mx.Code, mx.Fix, mx.Notes)
		}
	})
}

func TestProposalWithoutAnswerSaysWhatIsNotCertain(t *testing.T) {
	inLab(t, `example.org. TXT "v=spf1 -all"`, 2, func(t *testing.T, l *lab) {
		for _, s := range l.servers {
			s.Fail("_spf.mail.example", "TXT", dnstest.Servfail)
		}
		r := newChecker(t, l, 2).Posture(t.Context(), Message{From: mustName(t, "example.org"), Include: mustName(t, "_spf.mail.example")}).SPF
		if notes := strings.Join(r.Notes, " "); r.Code != CodeSPFIncludeMissing || r.Proposal == nil || !strings.Contains(notes, "not certain") {
			t.Errorf("%s: %+v, %q", r.Code, r.Proposal, r.Notes)
		}
	})
}

// Servers give the records of a set in any order, many in another each time.
func TestProposalDoesNotDependOnTheOrderOfAnswers(t *testing.T) {
	a, b := `example.org. IN TXT "v=spf1 ip4:192.0.2.1 -all"`, `example.org. IN TXT "v=spf1 ~ip4:192.0.2.2 ip4:192.0.2.0/24 ~all"`
	one, other := postureOf(t, a+"\n"+b, nil).SPF, postureOf(t, b+"\n"+a, nil).SPF
	if one.Fix != other.Fix || !slices.Equal(one.Observed, other.Observed) || one.Proposal.Value != other.Proposal.Value {
		t.Errorf("%s\n%s", one.Fix, other.Fix)
	}
	if notes := strings.Join(other.Notes, " "); strings.Contains(notes, "in front of") {
		t.Errorf("nothing stands behind: %q", notes)
	}
	c := `example.org. IN TXT "v=spf1 ~ip4:192.0.2.2 -all"`
	d := `example.org. IN TXT "v=spf1 ip4:192.0.2.0/24 -all"`
	if notes := strings.Join(postureOf(t, c+"\n"+d, nil).SPF.Notes, " "); strings.Contains(notes, "in front of") {
		t.Errorf("sorted behind: %q", notes)
	}
	e := `example.org. IN TXT "v=spf1 -ip4:192.0.2.2 -all"`
	if notes := strings.Join(postureOf(t, d+"\n"+e, nil).SPF.Notes, " "); !strings.Contains(notes, `"-ip4:192.0.2.2" is in front of senders of another record`) {
		t.Errorf("in front: %q", notes)
	}
}
