package dnscheck

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// look runs what a caller runs: look once, then judge from memory.
func look(t *testing.T, zone string, m Message) Verdict {
	t.Helper()
	var v Verdict
	inLab(t, zone, 2, func(t *testing.T, l *lab) {
		seen := newChecker(t, l, 2).See(t.Context(), m)
		for _, s := range l.servers {
			s.Fail("", "", dnstest.Servfail) // a judgement asks nobody
		}
		v = Judge(m, seen)
	})
	return v
}

func TestVerdictIsWhatReceiversConclude(t *testing.T) {
	key := "v=DKIM1; p=" + spki(t, publicRSA(2048))
	records := map[string]string{
		"spf":        `example.org. TXT "v=spf1 include:_spf.mail.example -all"`,
		"our spf":    `_spf.mail.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"`,
		"bounce spf": `bounce.example.org. TXT "v=spf1 include:_spf.mail.example -all"`,
		"dmarc":      `_dmarc.example.org. TXT "v=DMARC1; p=reject; sp=quarantine"`,
		"strict":     `_dmarc.example.org. TXT "v=DMARC1; p=reject; adkim=s; aspf=s"`,
		"silent":     `example.org. TXT "v=spf1 -all"`,
		"key":        "s1._domainkey.example.org. CNAME s1.dkim.mail.example.\ns1.dkim.mail.example. TXT " + zoneStrings(key),
		"other key":  "s1._domainkey.other.example. TXT " + zoneStrings(key),
		"revoked":    `s1._domainkey.example.org. TXT "v=DKIM1; p="`,
	}
	org, bounce, other := mustName(t, "example.org"), mustName(t, "bounce.example.org"), mustName(t, "other.example")
	signed := []Signature{{org, mustName(t, "s1")}}
	ours := Message{From: org, Include: mustName(t, "_spf.mail.example"), Signatures: signed}
	with := func(change func(*Message)) Message {
		m := ours
		change(&m)
		return m
	}
	for _, tt := range []struct {
		title, zone string
		m           Message
		want        string // SPF, alignment, DKIM, alignment, DMARC, by, disposition
	}{
		{"all there", "spf, our spf, dmarc, key", ours, "pass aligned pass aligned pass spf+dkim none"},
		{"own MAIL FROM", "bounce spf, our spf, dmarc, key", with(func(m *Message) { m.MailFrom = bounce }), "pass aligned pass aligned pass spf+dkim none"},
		{"own MAIL FROM, strict", "bounce spf, our spf, strict, key", with(func(m *Message) { m.MailFrom = bounce }), "pass - pass aligned pass dkim none"},
		{"foreign MAIL FROM", "spf, our spf, dmarc, key", with(func(m *Message) { m.MailFrom = mustName(t, "mail.example") }), "none - pass aligned pass dkim none"},
		{"no key", "spf, our spf, dmarc", ours, "pass aligned neutral aligned pass spf none"},
		{"revoked key", "spf, our spf, dmarc, revoked", ours, "pass aligned neutral aligned pass spf none"},
		{"foreign signature", "our spf, dmarc, other key", with(func(m *Message) { m.Signatures = []Signature{{other, mustName(t, "s1")}} }), "none aligned pass - fail  reject"},
		{"nothing", "", ours, "none aligned neutral aligned none  none"},
		{"nothing but a policy", "dmarc", ours, "none aligned neutral aligned fail  reject"},
		{"below the organization", "our spf, dmarc", with(func(m *Message) { m.From = mustName(t, "news.example.org") }), "none aligned neutral aligned fail  quarantine"},
		{"not one of ours", "spf, our spf, dmarc", with(func(m *Message) { m.IP, m.Signatures = netip.MustParseAddr("198.51.100.1"), nil }), "fail aligned fail  reject"},
		{"one of ours", "spf, our spf, dmarc", with(func(m *Message) { m.IP, m.Signatures = netip.MustParseAddr("192.0.2.7"), nil }), "pass aligned pass spf none"},
		{"any listed host", "spf, our spf, dmarc", Message{From: org}, "pass aligned pass spf none"},
		{"nobody listed", "dmarc", Message{From: mustName(t, "silent.example")}, "none aligned none  none"},
		{"nobody authorised", "silent, dmarc", Message{From: org}, "fail aligned fail  reject"},
		{"our record missing", "spf, dmarc", with(func(m *Message) { m.Signatures = nil }), "permerror aligned fail  reject"},
	} {
		var zone strings.Builder
		for name := range strings.SplitSeq(tt.zone, ", ") {
			zone.WriteString(records[name] + "\n")
		}
		v := look(t, zone.String(), tt.m)
		alignment := map[bool]string{true: "aligned", false: "-"}
		got := []string{string(v.SPF.Result), alignment[v.SPF.Aligned]}
		for _, d := range v.DKIM {
			got = append(got, d.Result, alignment[d.Aligned])
		}
		got = append(got, v.DMARC.Result, strings.Join(v.DMARC.By, "+"), string(v.DMARC.Disposition))
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s; %+v", tt.title, s, tt.want, v)
		}
	}
}

func TestVerdictSaysWhatBreaksWithoutEachRecord(t *testing.T) {
	key := "v=DKIM1; p=" + spki(t, publicRSA(2048))
	org := mustName(t, "example.org")
	spf := `example.org. TXT "v=spf1 include:_spf.mail.example -all"` + "\n" + `example.org. TXT "something else"` + "\n"
	const ourSPF, dmarc = `_spf.mail.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"` + "\n", `_dmarc.example.org. TXT "v=DMARC1; p=reject"` + "\n"
	cname := "s1._domainkey.example.org. CNAME s1.dkim.mail.example.\ns1.dkim.mail.example. TXT " + zoneStrings(key) + "\n"
	m := Message{From: org, Include: mustName(t, "_spf.mail.example"), Signatures: []Signature{{org, mustName(t, "s1")}}}

	v := look(t, spf+ourSPF+dmarc+cname, m)
	want := []string{
		"_dmarc.example.org TXT breaks: Nothing protects example.org from forgers any more.",
		"example.org TXT: SPF goes from pass to none; DMARC still passes, by DKIM.",
		"_spf.mail.example TXT: SPF goes from pass to permerror; DMARC still passes, by DKIM.",
		"s1._domainkey.example.org CNAME: The signature of example.org (selector s1) goes from pass to neutral; DMARC still passes, by SPF.",
	}
	if got := breaks(v); !slices.Equal(got, want) {
		t.Errorf("with both:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	v = look(t, ourSPF+dmarc+cname, m)
	want = []string{
		"_dmarc.example.org TXT breaks: Nothing protects example.org from forgers any more.",
		"s1._domainkey.example.org CNAME breaks: The signature of example.org (selector s1) goes from pass to neutral; DMARC fails, with reject asked for.",
	}
	if got := breaks(v); !slices.Equal(got, want) {
		t.Errorf("with DKIM alone:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// A policy of none protects nobody, so its loss takes no protection away.
	v = look(t, spf+ourSPF+strings.Replace(dmarc, "reject", "none", 1)+cname, m)
	if got := breaks(v); got[0] != "_dmarc.example.org TXT breaks: No DMARC policy is left, and the one that is there only watches." || v.DMARC.Passed() != "SPF and DKIM" {
		t.Errorf("with p=none, by %s: %q", v.DMARC.Passed(), got)
	}
}

func breaks(v Verdict) []string {
	var lines []string
	for _, c := range v.Breaks {
		line := c.Name.String() + " " + string(c.Type)
		if c.Breaks {
			line += " breaks"
		}
		lines = append(lines, line+": "+c.Text)
	}
	return lines
}

func TestVerdictOfSilenceIsTemporary(t *testing.T) {
	org := mustName(t, "example.org")
	m := Message{From: org, Signatures: []Signature{{org, mustName(t, "s1")}}}
	inLab(t, `_dmarc.example.org. TXT "v=DMARC1; p=reject"`, 2, func(t *testing.T, l *lab) {
		for _, s := range l.servers {
			s.Fail("example.org", "TXT", dnstest.Servfail)
		}
		v := Judge(m, newChecker(t, l, 2).See(t.Context(), m))
		if v.SPF.Result != SPFTemperror || v.DMARC.Result != resultTemperror || v.DMARC.Disposition != DispositionNone {
			t.Errorf("%+v", v)
		}
	})
	if v := Judge(m, Seen{}); v.SPF.Result != SPFTemperror || v.DMARC.Result != resultTemperror {
		t.Errorf("nothing seen: %+v", v)
	}
}

func TestVerdictIsAFunctionOfWhatWasSeen(t *testing.T) {
	org := mustName(t, "example.org")
	m := Message{From: org, MailFrom: mustName(t, "bounce.example.org")}
	inLab(t, `bounce.example.org. TXT "v=spf1 a:h.example.org exists:%{i}.%{l}.example.net -all"
h.example.org. A 192.0.2.1
bounce.example.org. MX 10 mx.example.net.
_dmarc.example.org. TXT "v=DMARC1; p=reject; aspf=r"`, 2, func(t *testing.T, l *lab) {
		c := newChecker(t, l, 2)
		seen := c.See(t.Context(), m)
		first := Judge(m, seen)
		p := c.Posture(t.Context(), m)
		if !reflect.DeepEqual(first, Judge(m, seen)) || !reflect.DeepEqual(first, p.Verdict) {
			t.Errorf("%+v, then %+v, then %+v", first, Judge(m, seen), p.Verdict)
		}
		if first.DMARC.Result != resultPass || !first.Bounces {
			t.Errorf("%+v", first)
		}
		if notes := strings.Join(p.SPF.Notes, " "); p.SPF.Name != m.MailFrom || !strings.Contains(notes, "the SPF record of example.org does not matter") {
			t.Errorf("%s: %q", p.SPF.Name, notes)
		}
		if lines := breaks(first); !slices.Contains(lines, "bounce.example.org MX: Bounces have nowhere to go, and some receivers refuse such mail.") {
			t.Errorf("%q", lines)
		}
	})
}

// A zone made to be expensive costs a bounded number of questions and little time.
func TestHostileZonesCannotMakeVerdictsExpensive(t *testing.T) {
	var zone strings.Builder
	long := strings.Repeat("ip4:198.51.100.1 ", 3000)
	text := func(name, record string) { fmt.Fprintf(&zone, "%s. TXT %s\n", name, zoneStrings(record)) }
	var apex strings.Builder
	apex.WriteString("v=spf1 " + long)
	for i := range 9 {
		apex.WriteString(fmt.Sprintf("include:i%d.example.net ", i))
		text(fmt.Sprintf("i%d.example.net", i), "v=spf1 "+long+"-all")
	}
	text("example.org", apex.String()+"mx:m.example.net -all")
	for i := range 10 {
		fmt.Fprintf(&zone, "m.example.net. MX 10 h%d.example.net.\nh%d.example.net. A 192.0.2.%d\n", i, i, i)
	}
	text("_dmarc.example.org", "v=DMARC1; p=reject; rua="+strings.Repeat("mailto:a@b.example,", 500))
	inLab(t, zone.String(), 2, func(t *testing.T, l *lab) {
		c := newChecker(t, l, 2)
		m := Message{From: mustName(t, "example.org"), IP: netip.MustParseAddr("192.0.2.200")}
		start := runtimeNow()
		p := c.Posture(t.Context(), m)
		if took := runtimeNow() - start; took > 15*time.Second {
			t.Errorf("took %s", took)
		}
		if n := len(l.servers[0].Log()); n > 2*maxFollowUps {
			t.Errorf("%d questions", n)
		}
		if p.SPF.Lookups != 10 || p.Verdict.SPF.Result != SPFFail {
			t.Errorf("%d look-ups, %+v", p.SPF.Lookups, p.Verdict.SPF)
		}
	})
}

// runtimeNow is time outside of the bubble: the work that was done.
func runtimeNow() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
