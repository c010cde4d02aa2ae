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
		{"include with two", apex("v=spf1 include:x.example ~all") + "x.example. TXT \"v=spf1 a\"\nx.example. TXT \"v=spf1 mx\"", CodeSPFIncludeBroken, 1, "2 SPF records", ""},
		{"too many", apex("v=spf1"+many.String()+" ~all") + hosts.String(), CodeSPFTooManyLookups, 11, "11 DNS look-ups", ""},
		{"circle", apex("v=spf1 include:example.org ~all"), CodeSPFTooManyLookups, 1, "circle", ""},
		{"void", apex("v=spf1 a:x1.example a:x2.example a:x3.example ~all"), CodeSPFVoidLookups, 3, "remove a:x1.example, a:x2.example, a:x3.example", ""},
		{"some void", apex("v=spf1 a:x1.example ~all"), CodeMatch, 1, "", "finds nothing"},
		{"include behind all", apex("v=spf1 -all include:x.example"), CodeSPFIncludeUnreachable, 0, "put it before that", ""},
		{"void redirect", apex("v=spf1 ~all redirect=x.example"), CodeSPFIncludeUnreachable, 0, "put include:x.example before that", ""},
		{"void redirect in front", apex("v=spf1 redirect=x.example ~all"), CodeSPFIncludeUnreachable, 0, "remove it, or put include:x.example", ""},
		{"everybody", apex("v=spf1 +all"), CodeSPFPassAll, 0, "list all who send its mail, then put ~all in its place", ""},
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
		{"two records", ours + "example.org. TXT \"v=spf1 ip4:192.0.2.1 -all\"\nexample.org. TXT \"v=spf1 ip4:192.0.2.2 ~all\"", CodeSPFMultiple, "v=spf1 include:_spf.mail.example ip4:192.0.2.1 ip4:192.0.2.2 ~all", true},
		{"no room", ours + hosts.String() + `example.org. TXT "v=spf1` + many.String() + ` -all"`, CodeSPFIncludeMissing, "v=spf1 include:_spf.mail.example" + many.String() + " -all", false},
		{"budget blown behind", ours + hosts.String() + `example.org. TXT "v=spf1 include:_spf.mail.example` + many.String() + ` -all"`, CodeMatch, "", false},
		{"redirect", ours + `example.org. TXT "v=spf1 redirect=x.example"` + "\n" + `x.example. TXT "v=spf1 ip4:192.0.2.1 -all"`, CodeSPFIncludeMissing, "v=spf1 include:_spf.mail.example redirect=x.example", true},
		{"no room for all that it includes", strings.ReplaceAll(ours, "ip4:192.0.2.0/24", "include:x1.example include:x2.example") + "x1.example. TXT \"v=spf1 -all\"\nx2.example. TXT \"v=spf1 -all\"\n" + hosts.String() +
			`example.org. TXT "v=spf1` + strings.Join(strings.SplitAfter(many.String(), "net")[:8], "") + ` -all"`, CodeSPFIncludeMissing, "v=spf1 include:_spf.mail.example" + strings.Join(strings.SplitAfter(many.String(), "net")[:8], "") + " -all", false},
		{"redirect to it", ours + `example.org. TXT "v=spf1 redirect=_spf.mail.example"`, CodeMatch, "", false},
		{"it has no record and is not included", `example.org. TXT "v=spf1 ip4:192.0.2.1 ~all"`, CodeSPFIncludeBroken, "", false},
		{"neither has a record", `example.org. A 192.0.2.1`, CodeSPFMissing, "", false},
		{"two records and none there", "example.org. TXT \"v=spf1 ip4:192.0.2.1 -all\"\nexample.org. TXT \"v=spf1 ip4:192.0.2.2 ~all\"", CodeSPFMultiple, "v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 ~all", true},
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
		if strings.HasPrefix(tt.title, "address for") && !strings.Contains(p.MX.Fix, "192.0.2.7 where a name belongs") {
			t.Errorf("%s: %s", tt.title, p.MX.Fix)
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
	// A name below a domain needs no delegation, and can be one that is about to be set up.
	if strings.Contains(p.SPF.Fix, "delegated") {
		t.Error(p.SPF.Fix)
	}
	p = postureOf(t, `_spf.mail.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"`, func(m *Message) { m.MailFrom, m.Include = mustName(t, "bounce.example.org"), Name{"_spf.mail.example"} })
	if want := `bounce.example.org has no SPF record: publish the TXT record "v=spf1 include:_spf.mail.example ~all" there, with all others who send its mail in front of ~all.`; p.SPF.Fix != want {
		t.Error(p.SPF.Fix)
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

// A record that lets everybody pass is worse than none, however it does so.
func TestSPFThatLetsEverybodyPassIsToBeMended(t *testing.T) {
	const hosts = `example.org. A 192.0.2.1
example.org. AAAA 2001:db8::1
example.org. MX 10 example.org.
all.example. TXT "v=spf1 +all"
half.example. TXT "v=spf1 ip4:128.0.0.0/1 -all"
neutral.example. TXT "v=spf1 ?all"
on.example. TXT "v=spf1 include:all.example -all"
there.example. A 127.0.0.2
wide.example. TXT "v=spf1 ip4:11.0.0.0/8 ip6:2a00::/12 -all"
`
	for _, tt := range []struct{ record, fix string }{
		{"v=spf1 all", `"all" in the SPF record at example.org authorises everybody to send as example.org: list all who send its mail, then put ~all in its place.`},
		{"v=spf1 mx +ALL -all", `"+ALL" in the SPF record at example.org`},
		{"v=spf1 ip4:0.0.0.0/0 -all", `"ip4:0.0.0.0/0" in the SPF record at example.org authorises more of the Internet than any one network has to send as example.org: put the addresses of those who send its mail in its place.`},
		{"v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all", `"ip4:0.0.0.0/1" in`},
		{"v=spf1 ip6:2000::/3 -all", `"ip6:2000::/3" in`},
		{"v=spf1 a/0 -all", `"a/0" in`},
		{"v=spf1 a:example.org//0 -all", `"a:example.org//0" in`},
		{"v=spf1 mx/7 -all", `"mx/7" in`},
		{"v=spf1 exists:there.example -all", `"exists:there.example" in the SPF record at example.org authorises everybody`},
		{"v=spf1 include:all.example -all", `"+all" in the SPF record at all.example authorises everybody to send as example.org: have that corrected, or list in place of "include:all.example" who sends.`},
		{"v=spf1 include:on.example -all", `list in place of "include:on.example"`},
		{"v=spf1 include:half.example -all", `"ip4:128.0.0.0/1" in the SPF record at half.example`},
		{"v=spf1 redirect=all.example", `list in place of "redirect=all.example"`},

		{"v=spf1 include:neutral.example include:wide.example ~all", ""},
		{"v=spf1 ~include:all.example -ip4:0.0.0.0/0 ?a/0 ~all", ""},
		{"v=spf1 ip4:11.0.0.0/8 a/24//64 mx mx/8 -all +all", ""},
		{"v=spf1 exists:%{i}.there.example exists:gone.example a:gone.example/0 -all", ""},
		{"v=spf1 ?all redirect=all.example", ""},
	} {
		r := postureOf(t, hosts+`example.org. TXT "`+tt.record+`"`, nil).SPF
		passes := strings.Join(r.Todo(), "\n")
		if !strings.Contains(passes, tt.fix) || (r.Code == CodeSPFPassAll) != (tt.fix != "") || strings.Contains(passes, "authorises") != (tt.fix != "") {
			t.Errorf("%s: %s %s, want %q", tt.record, r.Code, passes, tt.fix)
		}
	}
	// It is not the wanted include's fault, and stays to be mended beside it.
	ask := func(m *Message) { m.Include = Name{"_spf.mail.example"} }
	const ours = `_spf.mail.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"` + "\n"
	if r := postureOf(t, ours+`example.org. TXT "v=spf1 include:_spf.mail.example +all"`, ask).SPF; r.Code != CodeSPFPassAll {
		t.Errorf("included: %s %q", r.Code, r.Todo())
	}
	if r := postureOf(t, ours+`example.org. TXT "v=spf1 +all"`, ask).SPF; r.Code != CodeSPFIncludeMissing || len(r.Todo()) != 2 || !strings.Contains(r.Todo()[1], "everybody") {
		t.Errorf("not included: %s %q", r.Code, r.Todo())
	}
	r := postureOf(t, "example.org. TXT \"v=spf1 mx +all\"\nexample.org. TXT \"v=spf1 a -all\"", nil).SPF
	if notes := strings.Join(r.Notes, " "); r.Proposal.Value != "v=spf1 a mx ~all" || !strings.Contains(notes, `not with "+all", which authorises everybody`) {
		t.Errorf("merged: %q, %q", r.Proposal.Value, notes)
	}
}

func TestEveryFaultOfSPFIsToBeDone(t *testing.T) {
	zone := `example.org. TXT "v=spf1 include:one.example include:two.example include:three.example include:both.example include:self.example include:silent.example -all include:late.example"
two.example. TXT "v=spf1 foo"
three.example. TXT "v=spf1 a"
three.example. TXT "v=spf1 mx"
both.example. TXT "v=spf1 include:four.example include:five.example -all"
self.example. TXT "v=spf1 include:self.example -all"
`
	want := []string{
		`Two.example has a record that cannot be read`,
		`one.example has no SPF record: remove "include:one.example", or have that corrected.`,
		`three.example has 2 SPF records: remove "include:three.example", or have that corrected.`,
		`four.example has no SPF record: remove "include:both.example", which leads there, or have that corrected.`,
		`five.example has no SPF record: remove "include:both.example", which leads there, or have that corrected.`,
		`Receivers give up on the SPF record at example.org, because it leads back to self.example, in a circle without end: remove "include:self.example", which leads there`,
		`"include:late.example" in the SPF record at example.org is never looked at`,
	}
	var r SPFReport
	inLab(t, zone, 2, func(t *testing.T, l *lab) {
		for _, s := range l.servers {
			s.Fail("silent.example", "TXT", dnstest.Servfail)
		}
		r = newChecker(t, l, 2).Posture(t.Context(), Message{From: mustName(t, "example.org")}).SPF
	})
	todo := strings.Join(r.Todo(), "\n")
	for _, sentence := range append(want, `"include:silent.example" could not be followed: ask again later.`) {
		if !strings.Contains(strings.ToLower(todo), strings.ToLower(sentence)) {
			t.Errorf("no %q in\n%s", sentence, todo)
		}
	}
	if r.Code != CodeSPFSyntax || len(r.Todo()) != len(want)+1 {
		t.Errorf("%s:\n%s", r.Code, todo)
	}

	// Where one is wanted as well, none of it is lost.
	const ours = `_spf.mail.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"` + "\n"
	r = postureOf(t, ours+`example.org. TXT "v=spf1 include:one.example include:two.example -all"`, func(m *Message) { m.Include = Name{"_spf.mail.example"} }).SPF
	todo = strings.Join(r.Todo(), "\n")
	if r.Code != CodeSPFIncludeMissing || !strings.Contains(todo, `remove "include:one.example"`) || !strings.Contains(todo, `remove "include:two.example"`) {
		t.Errorf("%s:\n%s", r.Code, todo)
	}
	// One record made of two is still to be mended.
	r = postureOf(t, "example.org. TXT \"v=spf1 include:one.example -all\"\nexample.org. TXT \"v=spf1 include:both.example mx:gone.example -all\"\nboth.example. TXT \"v=spf1 include:two.example -all\"", nil).SPF
	todo = strings.Join(r.Todo(), "\n")
	if r.Code != CodeSPFMultiple || len(r.Todo()) != 3 || !strings.Contains(todo, `one.example has no SPF record: leave out of the proposal "include:one.example", or have that corrected.`) || !strings.Contains(todo, `leave out of the proposal "include:both.example", which leads there, or`) {
		t.Errorf("%s:\n%s", r.Code, todo)
	}
}

// What finds nothing in a record of somebody else's is not the owner's to remove.
func TestAdviceIsAboutTheOwnersRecord(t *testing.T) {
	const theirs = `x.example. TXT "v=spf1 a:g1.example a:g2.example a:g3.example -all"` + "\n"
	r := postureOf(t, theirs+`example.org. TXT "v=spf1 include:x.example ~all"`, nil).SPF
	if r.Code != CodeSPFVoidLookups || !strings.Contains(r.Fix, `a:g1.example (of "include:x.example", which leads there)`) {
		t.Errorf("%s: %s", r.Code, r.Fix)
	}
	r = postureOf(t, `x.example. TXT "v=spf1 a:g1.example -all"`+"\n"+`example.org. TXT "v=spf1 include:x.example ~all"`, nil).SPF
	if notes := strings.Join(r.Notes, " "); r.Code != CodeMatch || strings.Contains(notes, "remove") || !strings.Contains(notes, "g1.example") {
		t.Errorf("%s: %q", r.Code, notes)
	}
}

func TestPostureOfExchanges(t *testing.T) {
	const hosts = `mx.example.org. A 192.0.2.25
alias.example.org. CNAME mx.example.org.
dangling.example.org. CNAME gone.example.org.
empty.example.org. TXT "no address"
six.example.org. AAAA 2001:db8::25
inside.example.org. A 10.0.0.25
`
	for _, tt := range []struct {
		exchanges string
		code      Code
		todo      []string
		note      string
	}{
		{"10 mx.example.org.|20 six.example.org.", CodeMatch, nil, ""},
		{"0 .", CodeMatch, nil, "receives no mail (RFC 7505)"},
		{"0 .|10 mx.example.org.|20 gone.example.org.", CodeMXExtra, []string{"remove it if mail shall be received, and the others if not", "gone.example.org of example.org does not exist: correct its name, give it an address, or remove it."}, "RFC 7505"},
		{"10 gone.example.org.", CodeNXDOMAIN, []string{"does not exist: correct its name, or give it an address."}, ""},
		{"10 empty.example.org.|20 gone.example.org.", CodeNODATA, []string{"empty.example.org of example.org has no address", "gone.example.org of example.org does not exist"}, ""},
		{"10 dangling.example.org.", CodeNODATA, []string{"is a CNAME to gone.example.org, which has no address"}, ""},
		{"10 alias.example.org.", CodeMatch, nil, "alias.example.org is a CNAME to mx.example.org, which is not allowed (RFC 2181, section 10.3)"},
		{"10 192.0.2.25.", CodeNXDOMAIN, []string{"has the address 192.0.2.25 where a name belongs"}, ""},
		{"10 [192.0.2.25].", CodeNXDOMAIN, []string{"has the address 192.0.2.25 where a name belongs"}, ""},
		{"10 2001:db8::25.", CodeNXDOMAIN, []string{"has the address 2001:db8::25 where a name belongs"}, ""},
		{"10 inside.example.org.", CodeMatch, nil, "inside.example.org has no address that the Internet can reach (10.0.0.25)"},
	} {
		var zone strings.Builder
		for mx := range strings.SplitSeq(tt.exchanges, "|") {
			fmt.Fprintf(&zone, "example.org. MX %s\n", mx)
		}
		r := postureOf(t, hosts+zone.String(), nil).MX
		if r.Code != tt.code || len(r.Todo()) != len(tt.todo) || !strings.Contains(strings.Join(r.Notes, " "), tt.note) || tt.note == "" && len(r.Notes) > 0 {
			t.Errorf("%s: %s %q, notes %q", tt.exchanges, r.Code, r.Todo(), r.Notes)
		}
		for i, fix := range r.Todo() {
			if i < len(tt.todo) && !strings.Contains(fix, tt.todo[i]) {
				t.Errorf("%s: %q, want %q", tt.exchanges, fix, tt.todo[i])
			}
		}
	}
	// Not told is not there: what is wrong comes first, and else it is unknown.
	for more, code := range map[string]Code{"": CodeTimeout, "example.org. MX 20 gone.example.org.\n": CodeNXDOMAIN} {
		inLab(t, hosts+"example.org. MX 10 silent.example.org.\n"+more, 2, func(t *testing.T, l *lab) {
			for _, s := range l.servers {
				s.Fail("silent.example.org", "", dnstest.Servfail)
			}
			r := newChecker(t, l, 2).Posture(t.Context(), Message{From: mustName(t, "example.org")}).MX
			if r.Code != code || !strings.Contains(strings.Join(r.Todo(), " "), "no answer about the address of silent.example.org") {
				t.Errorf("%s: %q", r.Code, r.Todo())
			}
		})
	}
}

// Advice that is followed must never make mail fail that did not fail before.
func TestAdviceAboutPoliciesAndKeysIsCareful(t *testing.T) {
	dmarc := func(zone string, change func(*Message)) DMARCReport { return postureOf(t, zone, change).DMARC }
	for zone, want := range map[string]string{
		"example.org. MX 10 mx.example.org.\nmx.example.org. A 192.0.2.1": `publish at _dmarc.example.org the TXT record "v=DMARC1; p=none; rua=mailto:postmaster@example.org", and make p stricter once reports show that all mail of yours passes`,
		"example.org. MX 0 .":            `"v=DMARC1; p=none; rua=mailto:" with a mailbox of yours`,
		`example.org. TXT "v=spf1 -all"`: `"v=DMARC1; p=none; rua=mailto:" with a mailbox of yours`,
	} {
		if r := dmarc(zone, nil); r.Code != CodeDMARCMissing || !strings.Contains(r.Fix, want) || strings.Contains(r.Fix, "reject") {
			t.Errorf("%s: %s", zone, r.Fix)
		}
	}
	below := func(m *Message) { m.From = mustName(t, "news.example.org") }
	if r := dmarc("example.org. A 192.0.2.1\nnews.example.org. TXT \"v=spf1 -all\"", below); !strings.Contains(r.Fix, "rua=mailto:postmaster@example.org") {
		t.Errorf("below what receives mail: %s", r.Fix)
	}
	for policy, weak := range map[string]bool{"p=reject; sp=none": true, "p=quarantine; sp=reject": false, "p=reject": false, "p=none; sp=none": false} {
		r := dmarc(`_dmarc.example.org. TXT "v=DMARC1; `+policy+`; rua=mailto:a@example.org"`, nil)
		if strings.Contains(strings.Join(r.Notes, " "), "asks for less") != weak {
			t.Errorf("%s: %q", policy, r.Notes)
		}
	}
	// What did not hold until now must not refuse mail at once.
	for _, zone := range []string{`"v=DMARC1; p=all"`, `"v=DMARC1 p=reject"`, "\"v=DMARC1; p=none\"\n_dmarc.example.org. TXT \"v=DMARC1; p=reject\""} {
		if r := dmarc("_dmarc.example.org. TXT "+zone, nil); !strings.HasSuffix(r.Fix, "with p=none until reports show that all mail of yours passes.") {
			t.Errorf("%s: %s", zone, r.Fix)
		}
	}
	if r := dmarc(`_dmarc.example.org. TXT "v=DMARC1; p=reject; sp=none"`, below); !strings.Contains(strings.Join(r.Notes, " "), "sp=none only watches") {
		t.Errorf("%q", r.Notes)
	}
	sign := func(m *Message) { m.Signatures = []Signature{{m.From, Name{"s1"}}} }
	at := "s1._domainkey.example.org. TXT "
	key := "v=DKIM1; p=" + spki(t, publicRSA(1024))
	for zone, want := range map[string]string{
		at + zoneStrings("v=DKIM1; p="+spki(t, publicRSA(512))): "make a key of 2048 bits, publish it at another selector",
		at + `"v=DKIM1; p="`: "sign with another selector, and leave this one as it is",
		at + zoneStrings(key) + "\n" + at + zoneStrings("v=DKIM1; p="+spki(t, publicRSA(2048))): "keep the key that is signed with",
		at + zoneStrings(key) + "\n" + at + `"hello"`:                                           "more than one text where a single key belongs",
	} {
		if r := postureOf(t, zone, sign).DKIM[0]; !strings.Contains(r.Fix, want) {
			t.Errorf("%s: %s", r.Code, r.Fix)
		}
	}
}

// Thousands of faults in one record are no thousands of sentences.
func TestPostureSaysNoMoreThanSomebodyReads(t *testing.T) {
	var record strings.Builder
	record.WriteString("v=spf1")
	for i := range 3000 {
		fmt.Fprintf(&record, " ip4:%d.%d.%d.0/7", i%200, i/200, i%7)
	}
	r := postureOf(t, "example.org. TXT "+zoneStrings(record.String()+" -all"), nil).SPF
	if r.Code != CodeSPFPassAll || len(r.Also) != maxSentences || len(r.Notes) > maxSentences {
		t.Errorf("%s: %d things to do besides, %d notes", r.Code, len(r.Also), len(r.Notes))
	}
}
