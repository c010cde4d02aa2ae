package dnscheck

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

const ourSPF = "v=spf1 include:_spf.mail.example ~all"

func spfRecord(t testing.TB) Record {
	return Record{Purpose: SPF, Name: mustName(t, "example.org"), Type: TXT, Value: ourSPF}
}

func TestSPFIsJudgedByEvaluation(t *testing.T) {
	apex := func(txt string) string { return `example.org. IN TXT "` + txt + `"` + "\n" }
	var many strings.Builder
	for c := range 10 {
		many.WriteString(" a:h" + string(rune('0'+c)) + ".example.net")
	}
	var hosts strings.Builder
	for c := range 10 {
		hosts.WriteString("h" + string(rune('0'+c)) + ".example.net. IN A 192.0.2.9\n")
	}
	const nested = `spf.example.org. IN TXT "v=spf1 include:_spf.mail.example -all"` + "\n"
	for _, tt := range []struct {
		title, zone string
		code        Code
	}{
		{"as asked", apex(ourSPF), CodeMatch},
		{"upper case", apex("V=SPF1 INCLUDE:_SPF.MAIL.EXAMPLE ~ALL"), CodeMatch},
		{"trailing dot", apex("v=spf1 include:_spf.mail.example. ~all"), CodeMatch},
		{"beside others", apex("v=spf1 ip4:192.0.2.0/24 a mx include:_spf.mail.example -all") + "example.org. IN A 192.0.2.1\nexample.org. IN MX 10 example.org.", CodeMatch},
		{"other TXT beside", apex(ourSPF) + apex("google-site-verification=x"), CodeMatch},
		{"through another include", apex("v=spf1 include:spf.example.org ~all") + nested, CodeMatch},
		{"alias of us", apex("v=spf1 include:alias.example.org ~all") + "alias.example.org. IN CNAME _spf.mail.example.", CodeMatch},
		{"redirect to an alias of us", apex("v=spf1 redirect=alias.example.org") + "alias.example.org. IN CNAME _spf.mail.example.", CodeMatch},
		{"alias of us behind all", apex("v=spf1 -all include:alias.example.org") + "alias.example.org. IN CNAME _spf.mail.example.", CodeSPFIncludeMissing},
		{"redirect to us", apex("v=spf1 redirect=_spf.mail.example"), CodeMatch},
		{"redirect to one who includes us", apex("v=spf1 redirect=spf.example.org") + nested, CodeMatch},
		{"split strings", `example.org. IN TXT "v=spf1 include:_spf." "mail.example ~all"`, CodeMatch},
		{"through a CNAME", "example.org. IN CNAME e.example.net.\n" + `e.example.net. IN TXT "` + ourSPF + `"`, CodeMatch},
		{"macro that expands to us", apex("v=spf1 include:_spf.%{d1}.example ~all") + `_spf.org.example. IN TXT "v=spf1 include:_spf.mail.example -all"`, CodeMatch},
		{"budget blown behind us", apex("v=spf1 include:_spf.mail.example"+many.String()+" ~all") + hosts.String(), CodeMatch},
		{"names of each message before us", apex("v=spf1 include:%{i}.log.example.net exists:%{l}.%{p}.example.net include:_spf.mail.example ~all"), CodeMatch},
		{"ptr before us", apex("v=spf1 ptr include:_spf.mail.example ~all"), CodeMatch},

		{"nothing", "", CodeSPFMissing},
		{"other TXT only", apex("hello"), CodeSPFMissing},
		{"wrong version", apex("v=spf10 include:_spf.mail.example ~all"), CodeSPFMissing},
		{"typed quotes", apex(`\"` + ourSPF + `\"`), CodeValueQuoted},
		{"leading blank", apex(" " + ourSPF), CodeValueQuoted},
		{"two records", apex("v=spf1 a -all") + apex(ourSPF), CodeSPFMultiple},
		{"not included", apex("v=spf1 mx ~all"), CodeSPFIncludeMissing},
		{"similar name", apex("v=spf1 include:_spf.mail.example.net ~all") + `_spf.mail.example.net. IN TXT "v=spf1 -all"`, CodeSPFIncludeMissing},
		{"everyone allowed is not us", apex("v=spf1 +all"), CodeSPFIncludeMissing},
		{"everyone allowed before us", apex("v=spf1 +all include:_spf.mail.example"), CodeSPFIncludeUnreachable},
		{"after all", apex("v=spf1 mx -all include:_spf.mail.example"), CodeSPFIncludeUnreachable},
		{"redirect void by all", apex("v=spf1 redirect=_spf.mail.example ~all"), CodeSPFIncludeUnreachable},
		{"wrong qualifier", apex("v=spf1 ?include:_spf.mail.example ~all"), CodeValueMismatch},
		{"too many before us", apex("v=spf1"+many.String()+" include:_spf.mail.example ~all") + hosts.String(), CodeSPFTooManyLookups},
		{"too many without us", apex("v=spf1"+many.String()+" a:h0.example.net ~all") + hosts.String(), CodeSPFIncludeMissing},
		{"void before us", apex("v=spf1 a:x1.example.net a:x2.example.net a:x3.example.net include:_spf.mail.example ~all"), CodeSPFVoidLookups},
		{"include loop", apex("v=spf1 include:example.org include:_spf.mail.example ~all"), CodeSPFTooManyLookups},
		{"syntax", apex("v=spf1 ipv4:192.0.2.1 include:_spf.mail.example ~all"), CodeSPFSyntax},
		{"bad address", apex("v=spf1 ip4:192.0.2 include:_spf.mail.example ~all"), CodeSPFSyntax},
		{"dead include before us", apex("v=spf1 include:gone.example.net include:_spf.mail.example ~all"), CodeSPFIncludeBroken},
		{"include with two records", apex("v=spf1 include:two.example.net include:_spf.mail.example ~all") +
			"two.example.net. IN TXT \"v=spf1 -all\"\ntwo.example.net. IN TXT \"v=spf1 a -all\"", CodeSPFIncludeBroken},
		{"name is a CNAME to nothing", "example.org. IN CNAME gone.example.net.", CodeCNAMEWithOtherData},
	} {
		f := checkOne(t, "example.org", tt.zone+"\n"+`_spf.mail.example. IN TXT "v=spf1 ip4:192.0.2.0/24 -all"`, spfRecord(t))
		if f.Code != tt.code || f.Outcome != tt.code.Outcome() {
			t.Errorf("%s: %s %s, want %s %s; %s", tt.title, f.Outcome, f.Code, tt.code.Outcome(), tt.code, f.Fix)
		}
		if strings.HasPrefix(tt.title, "budget") != strings.Contains(f.Fix, "more than 10 DNS look-ups as a whole") {
			t.Errorf("%s: %q", tt.title, f.Fix)
		}
	}
}

func TestProposedSPFRecordsWork(t *testing.T) {
	const ours = `_spf.mail.example. IN TXT "v=spf1 ip4:192.0.2.0/24 -all"` + "\n"
	for _, zone := range []string{
		`example.org. IN TXT "v=spf1 mx ~all"`,
		`example.org. IN TXT "v=spf1"`,
		`example.org. IN TXT "v=spf1 mx -all include:_spf.mail.example"`,
		`example.org. IN TXT "v=spf1 ?include:_spf.mail.example ~all"`,
		"example.org. IN TXT \"v=spf1 a -all\"\nexample.org. IN TXT \"v=spf1 mx ~all\"",
	} {
		f := checkOne(t, "example.org", ours+zone, spfRecord(t))
		i := strings.LastIndex(f.Fix, `"v=spf1`)
		if f.Outcome == Match || i < 0 {
			t.Errorf("%s: %s, no proposal in %q", zone, f.Code, f.Fix)
			continue
		}
		proposal, _, _ := strings.Cut(f.Fix[i+1:], `"`)
		if f := checkOne(t, "example.org", ours+`example.org. IN TXT "`+proposal+`"`, spfRecord(t)); f.Outcome != Match {
			t.Errorf("%s: the proposal %q gives %s", zone, proposal, f.Code)
		}
	}
}

// What is proposed in place of a spoilt record keeps the senders that the owner had in it.
func TestSpoiltSPFKeepsItsOtherSenders(t *testing.T) {
	for published, want := range map[string]string{
		`\"v=spf1 include:a.example.net -all\"`:                     "v=spf1 include:_spf.mail.example include:a.example.net -all",
		`\239\187\191v=spf1 mx ` + `include:_spf.mail.example ~all`: "v=spf1 include:_spf.mail.example mx ~all",
		`v=spf1\194\160include:a.example.net\194\160-all`:           "v=spf1 include:_spf.mail.example include:a.example.net -all",
		`spf1 a mx ~all`:                                                 "v=spf1 include:_spf.mail.example a mx ~all",
		`SPF: a mx ~all`:                                                 "v=spf1 include:_spf.mail.example a mx ~all",
		`v=spf1, a, mx, ~all`:                                            "v=spf1 include:_spf.mail.example a mx ~all",
		`v=spf1include:a.example.net ~all`:                               "v=spf1 include:_spf.mail.example include:a.example.net ~all",
		`spf2.0/mfrom,pra include:a.example.net ~all`:                    "v=spf1 include:_spf.mail.example include:a.example.net ~all",
		`include:a.example.net v=spf1 ~all`:                              "v=spf1 include:_spf.mail.example include:a.example.net ~all",
		`v=spf1 include:_spf.mail.example,include:a.example.net mx ~all`: "v=spf1 include:_spf.mail.example include:a.example.net mx ~all",
		`v=spf1 include:%{l1r,-}.example.net ~all`:                       "v=spf1 include:_spf.mail.example include:%{l1r,-}.example.net ~all",
		`v=spf 1 nobody understands this`:                                ourSPF,
	} {
		f := checkOne(t, "example.org", `example.org. IN TXT "`+published+`"`, spfRecord(t))
		if f.Outcome == Match || !strings.Contains(f.Fix, `"`+want+`"`) {
			t.Errorf("%s: %s, %s", published, f.Code, f.Fix)
		}
	}
}

func TestMisspeltMechanismsAreGuessed(t *testing.T) {
	for term, want := range map[string]string{
		"inlcude:a.example.net": "write include:a.example.net", "includ:a.example.net": "write include:a.example.net", "include.a.example.net": "write include:a.example.net",
		"-al": "write all", "~all.": "write all", "ip4.192.0.2.1": "write ip4:192.0.2.1", "mx.example.net": "write include:mx.example.net or a:mx.example.net",
		"ball": "write all", "allow": "there is no mechanism", "include.": "there is no mechanism",
	} {
		if _, err := ParseSPF("v=spf1 " + term); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", term, err)
		}
	}
}

func TestSPFOnOurSideMissingIsNotTheOwnersFault(t *testing.T) {
	f := checkOne(t, "example.org", `example.org. IN TXT "`+ourSPF+`"`, spfRecord(t))
	if f.Outcome != Match || f.Code != CodeTargetMissing {
		t.Errorf("%s %s, want match TARGET_MISSING", f.Outcome, f.Code)
	}
}

func TestSPFBehindAFailingServerIsUnknown(t *testing.T) {
	for fault, want := range map[*dnstest.Fault]Code{&dnstest.Servfail: CodeSERVFAIL, &dnstest.Drop: CodeTimeout} {
		inLab(t, `example.org. IN TXT "v=spf1 include:spf.example.net include:_spf.mail.example ~all"`, 2, func(t *testing.T, l *lab) {
			for _, s := range l.servers {
				s.Fail("spf.example.net", "TXT", *fault)
			}
			if f := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{spfRecord(t)})[0]; f.Outcome != Unknown || f.Code != want {
				t.Errorf("%s %s, want unknown %s", f.Outcome, f.Code, want)
			}
		})
	}
}

func TestHostileSPFCannotMakeUsAskForEver(t *testing.T) {
	// Ten mx terms of ten hosts each would be 200 address look-ups on every server.
	var zone strings.Builder
	zone.WriteString(`example.org. IN TXT "v=spf1`)
	for i := range 10 {
		zone.WriteString(" mx:m" + string(rune('0'+i)) + ".example.net")
	}
	zone.WriteString(` include:_spf.mail.example ~all"` + "\n")
	for i := range 10 {
		for j := range 10 {
			host := string(rune('a'+i)) + string(rune('a'+j)) + ".example.net."
			zone.WriteString("m" + string(rune('0'+i)) + ".example.net. IN MX 10 " + host + "\n" + host + " IN A 192.0.2.9\n")
		}
	}
	inLab(t, zone.String(), 3, func(t *testing.T, l *lab) {
		newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{spfRecord(t)})
		n := 0
		for _, s := range l.servers {
			n += len(s.Log())
		}
		if n > maxFollowUps+len(l.servers) {
			t.Errorf("%d questions", n)
		}
	})
}

func TestProbeAddressesAreRandomAndDiscardOnly(t *testing.T) {
	discard := netip.MustParsePrefix("100::/64")
	a, b := probeAddress(), probeAddress()
	if !discard.Contains(a) || a == b {
		t.Errorf("%s and %s", a, b)
	}
}
