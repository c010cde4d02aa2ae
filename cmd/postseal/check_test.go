package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

const checkZone = `
example.org. IN SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60
example.org. IN NS ns1.example.org.
example.org. IN NS ns2.example.org.
ns1.example.org. IN A 192.0.2.53
ns2.example.org. IN A 198.51.100.53
example.org. IN MX 10 mx.example.org.
mx.example.org. IN A 192.0.2.25
example.org. IN TXT "v=spf1 mx include:_spf.example.net -all"
_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"
_postseal.example.org. IN TXT "the right value"
bounce.example.org. IN MX 10 feedback.example.net.
`

const otherZone = `
_spf.example.net. IN TXT "v=spf1 ip4:203.0.113.0/24 -all"
_spf.more.example. IN TXT "v=spf1 ip4:198.51.100.0/24 -all"
broken.example. IN TXT "v=spf1 mx"
broken.example. IN TXT "v=spf1 a"
`

// checkRun runs the command in this process.
func checkRun(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = run(t.Context(), append([]string{"check"}, args...), nil, strings.NewReader(stdin), &out, &errOut)
	return code, out.String(), errOut.String()
}

func checkFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const checkRecords = `[
 {"purpose": "ownership", "region": "na", "name": "_postseal.example.org", "type": "TXT", "value": %q},
 {"purpose": "mail-from-mx", "name": "bounce.example.org", "type": "MX", "value": "feedback.example.net.", "priority": 10},
 {"purpose": "spf", "name": "example.org", "type": "TXT", "value": "v=spf1 include:_spf.example.net ~all"},
 {"purpose": "dmarc", "name": "_dmarc.example.org", "type": "TXT", "value": "v=DMARC1; p=none"}
]`

func TestCheckOfRecordsEndsWithWhatItFound(t *testing.T) {
	a, b := dnstest.Serve(t, checkZone+otherZone), dnstest.Serve(t, checkZone+otherZone)
	args := []string{"--resolver", a.Addr(), "--resolver", b.Addr(), "--mode", "resolver"}
	right, wrong := checkFile(t, fmt.Sprintf(checkRecords, "the right value")), checkFile(t, fmt.Sprintf(checkRecords, "another value"))

	code, out, errOut := checkRun(t, "", append(args, "--records", right)...)
	if code != 0 || errOut != "" || !strings.Contains(out, "4 of 4 records are as they should be.") || strings.Contains(out, "\x1b") {
		t.Errorf("ended with %d: %s%s", code, out, errOut)
	}
	code, out, _ = checkRun(t, "", append(args, "--records", wrong)...)
	if code != exitFix || !strings.Contains(out, "✗ mismatch  VALUE_MISMATCH") || !strings.Contains(out, "3 of 4 records") || !strings.Contains(out, "another value") {
		t.Errorf("ended with %d: %s", code, out)
	}
	text, err := os.ReadFile(right)
	if err != nil {
		t.Fatal(err)
	}
	// Editors of Windows put a mark in front.
	if code, out, _ = checkRun(t, "\ufeff"+string(text), append(args, "--records", "-", "--json")...); code != 0 || !strings.HasPrefix(out, "{\n") {
		t.Errorf("from standard input: ended with %d: %s", code, out)
	}

	// The shape for programs has all members, in this order.
	var parsed struct {
		Findings []map[string]any `json:"findings"`
	}
	if err := json.Unmarshal([]byte(out), &parsed); err != nil || len(parsed.Findings) != 4 {
		t.Fatalf("%v: %s", err, out)
	}
	last := -1
	for _, member := range []string{"purpose", "region", "name", "type", "outcome", "code", "expected", "observed", "seen", "fix", "waitingHelps"} {
		if _, ok := parsed.Findings[0][member]; !ok {
			t.Errorf("no member %q in %v", member, parsed.Findings[0])
		}
		at := strings.Index(out, `"`+member+`"`)
		if at <= last {
			t.Errorf("member %q is not where it should be", member)
		}
		last = at
	}
	if parsed.Findings[1]["expected"] != "10 feedback.example.net." {
		t.Errorf("an MX is expected as %q", parsed.Findings[1]["expected"])
	}

	b.Fail("_postseal.example.org", "TXT", dnstest.Servfail)
	if code, out, _ = checkRun(t, "", append(args, "--records", right)...); code != exitUnknown || !strings.Contains(out, "1 could not be told") {
		t.Errorf("one of two silent: ended with %d: %s", code, out)
	}
	// One silent, the other says no: reported as missing.
	if a.Remove("_postseal.example.org", "TXT"); true {
		code, out, _ = checkRun(t, "", append(args, "--records", right, "--json")...)
		if code != exitFix || !strings.Contains(out, `"outcome": "missing"`) {
			t.Errorf("one silent, one negative: ended with %d: %s", code, out)
		}
	}
}

// A check is bounded, a file is not.
func TestCheckOfManyRecordsLeavesNoneOut(t *testing.T) {
	s := dnstest.Serve(t, checkZone)
	record := `{"purpose": "ownership", "name": "_postseal.example.org", "type": "TXT", "value": "the right value"},`
	list := "[" + strings.TrimSuffix(strings.Repeat(record, 2*dnscheck.MaxChecked+1), ",") + "]"
	code, out, _ := checkRun(t, list, "--records", "-", "--resolver", s.Addr(), "--mode", "resolver")
	if code != 0 || !strings.Contains(out, "401 of 401 records") {
		t.Errorf("ended with %d: %s", code, out[max(0, len(out)-300):])
	}
}

// Silent domains are waited for together, in files of records as in lists of domains.
func TestRecordsOfSilentDomainsAreLookedAtTogether(t *testing.T) {
	s := dnstest.Serve(t, checkZone)
	s.Fail("", "", dnstest.Drop)
	var list []string
	for i := range atOnce {
		list = append(list, fmt.Sprintf(`{"purpose": "spf", "name": "d%d.example", "type": "TXT", "value": "v=spf1 -all"}`, i))
	}
	begin := time.Now()
	code, out, _ := checkRun(t, "["+strings.Join(list, ",")+"]", "--records", "-", "--resolver", s.Addr(), "--mode", "resolver", "--timeout", "500ms")
	if took := time.Since(begin); code != exitUnknown || took > atOnce*500*time.Millisecond/2 {
		t.Errorf("ended with %d after %v: %s", code, took, out)
	}
}

func TestCheckAsksTheNameServersThemselves(t *testing.T) {
	ns := dnstest.Serve(t, checkZone, dnstest.Authority())
	// The resolver still holds the time before publication.
	resolver := dnstest.Serve(t, checkZone+otherZone)
	resolver.Remove("_postseal.example.org", "TXT")
	args := []string{
		"--records", checkFile(t, fmt.Sprintf(checkRecords, "the right value")), "--json",
		"--resolver", resolver.Addr(), "--authoritative-map", "192.0.2.53=" + ns.Addr(), "--authoritative-map", "198.51.100.53=" + ns.Addr(),
	}
	code, out, errOut := checkRun(t, "", args...)
	if asked := ns.Queries("_postseal.example.org", "TXT"); asked == 0 || errOut != "" {
		t.Errorf("ended with %d, %d questions to the name servers: %s%s", code, asked, out, errOut)
	}
	if code != 0 {
		t.Errorf("two name servers have all of it: ended with %d: %s", code, out)
	}
	// A posture as well: what is the owner's own comes from the owner's servers.
	resolver.Remove("example.org", "TXT")
	args = append([]string{"example.org"}, args[3:]...)
	if code, out, errOut = checkRun(t, "", args...); code != 0 || ns.Queries("_dmarc.example.org", "TXT") == 0 {
		t.Errorf("ended with %d: %s%s", code, out, errOut)
	}
	if resolver.Queries("_spf.example.net", "TXT") == 0 {
		t.Error("what is not the owner's comes from the resolver")
	}
	// Where name servers must not be asked, at private addresses, resolvers are enough.
	local := strings.NewReplacer("192.0.2.53", "127.0.0.1", "198.51.100.53", "127.0.0.1").Replace(checkZone)
	resolver = dnstest.Serve(t, local+otherZone)
	if code, out, _ = checkRun(t, "", "example.org", "--resolver", resolver.Addr(), "--json"); code != 0 {
		t.Errorf("ended with %d: %s", code, out)
	}
}

func TestCheckOfADomainShowsItsPosture(t *testing.T) {
	s := dnstest.Serve(t, checkZone+otherZone)
	args := []string{"--resolver", s.Addr(), "--mode", "resolver"}
	code, out, _ := checkRun(t, "", append(args, "example.org")...)
	if code != 0 {
		t.Errorf("ended with %d", code)
	}
	for _, want := range []string{
		"SPF    ✓ match  MATCH  2 of 10 look-ups", "MX     ✓ match  MATCH  10 mx.example.org.", " 1  ├─ mx", " 1  ├─ include:_spf.example.net", "DMARC  pass, by SPF",
		"from example.org, sent by a listed host with MAIL FROM at example.org",
		"! example.org TXT: SPF goes from pass to none; DMARC fails, with reject asked for.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	code, out, _ = checkRun(t, "", append(args, "example.org", "--include", "_spf.more.example", "--selector", "s1")...)
	if code != exitFix || !strings.Contains(out, `example.org. TXT "v=spf1 include:_spf.more.example mx include:_spf.example.net -all"`) || !strings.Contains(out, "DKIM s1  ✗ missing  NXDOMAIN") {
		t.Errorf("ended with %d:\n%s", code, out)
	}
	code, out, _ = checkRun(t, "", append(args, "example.org", "--ip", "203.0.113.5", "--json")...)
	var posture struct {
		SPF struct {
			Outcome dnscheck.Outcome
			Lookups int
			Tree    dnscheck.SPFNode
		}
		Verdict struct {
			SPF, DMARC struct{ Result string }
			Breaks     []dnscheck.Consequence
		}
	}
	if err := json.Unmarshal([]byte(out), &posture); err != nil || code != 0 {
		t.Fatalf("ended with %d, %v: %s", code, err, out)
	}
	if posture.SPF.Lookups != 2 || len(posture.SPF.Tree.Terms) != 3 || posture.Verdict.SPF.Result != "pass" || posture.Verdict.DMARC.Result != "pass" || len(posture.Verdict.Breaks) == 0 {
		t.Errorf("%+v", posture)
	}
}

func TestCheckOfManyDomainsKeepsTheirOrder(t *testing.T) {
	s := dnstest.Serve(t, checkZone+otherZone)
	s.Fail("example.org", "TXT", dnstest.Delay(200*time.Millisecond))
	list := checkFile(t, "\ufeffexample.org\r\nbroken.example # two records\n\nexample.org\nExample.NET\n")
	args := []string{"--resolver", s.Addr(), "--mode", "resolver", "--domains", list}
	code, out, errOut := checkRun(t, "", args...)
	if code != exitFix || strings.Count(out, "example.org ") != 1 || !strings.Contains(out, "3 domains: 2 with something to fix, 0 that could not be told, 1 in order.") {
		t.Errorf("ended with %d:\n%s", code, out)
	}
	if strings.Contains(errOut, "checked") {
		t.Errorf("progress where nobody looks: %q", errOut)
	}
	// What ends in the exit code is in the table, and what could not be counted is no zero.
	_, out, _ = checkRun(t, "", append(args, "--selector", "s1")...)
	if !strings.Contains(out, "DKIM s1") || !regexp.MustCompile(`(?m)^  example\.org +✓ +2/10 +✗ NXDOMAIN `).MatchString(out) || !regexp.MustCompile(`(?m)^  broken\.example +✗ SPF_MULTIPLE +- `).MatchString(out) {
		t.Errorf("with a selector:\n%s", out)
	}
	// A list of one is a list for programs.
	_, out, _ = checkRun(t, "example.org\n", append(args[:4:4], "--domains", "-", "--json")...)
	if !strings.HasPrefix(out, `{"domain":"example.org",`) || strings.Count(out, "\n") != 1 {
		t.Errorf("a list of one: %s", out)
	}
	_, out, _ = checkRun(t, "", append(args, "--json")...)
	var names []string
	for line := range strings.Lines(out) {
		var p struct{ Domain string }
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		names = append(names, p.Domain)
	}
	if want := []string{"example.org", "broken.example", "example.net"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// What strangers publish must not reach a terminal as anything but text: no escape sequences,
// no C1 controls, nothing that turns or hides what is written. JSON is looked at on terminals, too.
func TestHostileTextIsShownAndNotObeyed(t *testing.T) {
	const evil = `\027]0;owned\007\194\155\051\049m\226\128\174\243\160\129\129\255 \127`
	zone := strings.ReplaceAll(`
example.org. IN MX 10 m\027\155\226\128\174.example.org.
example.org. IN TXT "v=spf1 include:EVIL.example.org -all"
_dmarc.example.org. IN TXT "v=DMARC1; p=reject; EVIL=1; rua=mailto:EVIL@example.net"
s1._domainkey.example.org. IN TXT "v=DKIM1; p=EVIL; n=EVIL"
_postseal.example.org. IN TXT "EVIL"
bounce.example.org. IN MX 10 m\027\155\226\128\174.example.org.
`, "EVIL", evil)
	s := dnstest.Serve(t, zone)
	args := []string{"--resolver", s.Addr(), "--mode", "resolver"}
	records := []string{"--records", checkFile(t, fmt.Sprintf(checkRecords, "the right value"))}
	for _, more := range [][]string{{"example.org", "--selector", "s1"}, {"example.org", "example.net"}, records} {
		_, text, _ := checkRun(t, "", slices.Concat(args, more)...)
		_, programs, _ := checkRun(t, "", slices.Concat(args, more, []string{"--json"})...)
		for _, out := range []string{text, programs} {
			if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(out) {
				t.Errorf("%q: there is something hidden at %d in\n%+q", more, i, out)
			}
		}
		if more[0] == "--records" {
			var parsed struct{ Findings []dnscheck.Finding }
			if err := json.Unmarshal([]byte(programs), &parsed); err != nil {
				t.Fatal(err)
			}
			if got, want := parsed.Findings[0].Observed, "\x1b]0;owned\a\u009b31m\u202e\U000e0041\ufffd \x7f"; len(got) != 1 || got[0] != want {
				t.Errorf("programs read %+q, want %+q", got, want)
			}
		}
	}
}

// A backslash in a value is what is wrong with it: shown as one, not as two.
func TestValuesAreShownAsTheyAre(t *testing.T) {
	s := dnstest.Serve(t, `_dmarc.example.org. IN TXT "v=DMARC1\\; p=none"`)
	_, out, _ := checkRun(t, "", "example.org", "--resolver", s.Addr(), "--mode", "resolver")
	if !strings.Contains(out, `  v=DMARC1\; p=none`) {
		t.Errorf("%s", out)
	}
}

func TestInterruptedCheckIsNoSuccess(t *testing.T) {
	s := dnstest.Serve(t, checkZone+otherZone)
	s.Fail("", "", dnstest.Drop)
	for _, args := range [][]string{{"example.org"}, {"example.org", "example.net", "--json"}, {"--records", checkFile(t, fmt.Sprintf(checkRecords, "x"))}} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		var out, errOut bytes.Buffer
		code := run(ctx, append([]string{"check", "--resolver", s.Addr(), "--mode", "resolver"}, args...), nil, strings.NewReader(""), &out, &errOut)
		cancel()
		if code != exitUnknown || out.Len() > 0 || !strings.Contains(errOut.String(), "interrupted") {
			t.Errorf("%q: ended with %d: %s%s", args, code, &out, &errOut)
		}
	}
}

func TestRecordsFindTheirDomain(t *testing.T) {
	text := `[
 {"purpose":"dkim","name":"t._domainkey.mail.example.org","type":"CNAME","value":"t.dkim.example.net"},
 {"purpose":"ownership","name":"_postseal.example.org","type":"TXT","value":"x"},
 {"purpose":"mail-from-mx","name":"bounce.mail.example.org","type":"MX","value":"mx.example.net"},
 {"purpose":"mail-from-spf","name":"bounce.other.example","type":"TXT","value":"v=spf1 -all"},
 {"purpose":"spf","name":"example.org","type":"TXT","value":"v=spf1 -all"}
]`
	records, err := parseRecords("r", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range byDomain(records, dnscheck.Name{}) {
		got = append(got, fmt.Sprintf("%s%d", g.domain, g.at))
	}
	if want := []string{"mail.example.org[0 2]", "example.org[1 4]", "other.example[3]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Who interrupts a long list has waited for the part that is there.
func TestInterruptedListShowsWhatWasLookedAt(t *testing.T) {
	s := dnstest.Serve(t, checkZone+otherZone)
	s.Fail("slow.example", "", dnstest.Drop)
	for _, more := range [][]string{nil, {"--json"}} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for s.Queries("slow.example", "") == 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(300 * time.Millisecond)
			cancel()
		}()
		var out, errOut bytes.Buffer
		args := slices.Concat([]string{"check", "--resolver", s.Addr(), "--mode", "resolver", "example.org", "slow.example", "broken.example"}, more)
		code := run(ctx, args, nil, strings.NewReader(""), &out, &errOut)
		text := out.String()
		if code != exitUnknown || !strings.Contains(errOut.String(), "interrupted") || strings.Contains(text, "slow.example") || !strings.Contains(text, "example.org") {
			t.Errorf("%q: ended with %d: %s%s", more, code, text, &errOut)
		}
		if more == nil && (!strings.Contains(text, "broken.example") || !strings.Contains(text, "2 of 3 domains: 1 with something to fix")) {
			t.Errorf("%s", text)
		}
		cancel()
	}
}

// Whatever a file holds, it is read or refused in words that can be shown.
func FuzzCheckInput(f *testing.F) {
	f.Add(fmt.Appendf(nil, checkRecords, "x"))
	f.Add([]byte(`[{"purpose":1},{"priority":1e99},[],null]`))
	f.Add([]byte("example.org\nb\u00fccher.example\n#\nco.uk\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, err := parseRecords("f", text)
		if (err == nil) != (len(records) > 0) {
			t.Fatalf("%d records, %v", len(records), err)
		}
		placed := 0
		for _, g := range byDomain(records, dnscheck.Name{}) {
			placed += len(g.at)
		}
		if placed != len(records) {
			t.Fatalf("%d of %d records have a domain", placed, len(records))
		}
		if _, err := parseDomains("f", text); err != nil && len(err.Error()) > 20_000 {
			t.Fatalf("an error of %d octets", len(err.Error()))
		}
	})
}

// Of one domain, too, what was learnt before an interrupt is shown, and of records what is complete.
func TestInterruptedCheckShowsWhatWasTold(t *testing.T) {
	s := dnstest.Serve(t, checkZone+otherZone)
	s.Fail("_dmarc.example.org", "", dnstest.Drop)
	s.Fail("slow.example", "", dnstest.Drop)
	records := `[{"purpose": "ownership", "name": "_postseal.example.org", "type": "TXT", "value": "the right value"},
{"purpose": "spf", "name": "slow.example", "type": "TXT", "value": "v=spf1 -all"}]`
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"example.org"}, "SPF    ✓ match"},
		{[]string{"example.org", "--json"}, `"code": "MATCH"`},
		{[]string{"--records", "-"}, "1 of 1 records are as they should be. 1 not looked at."},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		var out, errOut bytes.Buffer
		args := slices.Concat([]string{"check", "--resolver", s.Addr(), "--mode", "resolver"}, tt.args)
		code := run(ctx, args, nil, strings.NewReader(records), &out, &errOut)
		cancel()
		if code != exitUnknown || !strings.Contains(out.String(), tt.want) || !strings.Contains(errOut.String(), "interrupted") {
			t.Errorf("%q: ended with %d: %s%s", tt.args, code, &out, &errOut)
		}
	}
}

func TestTextThatIsNoUTF8IsSaidToBe(t *testing.T) {
	list := checkFile(t, "\xff\xfee\x00x\x00")
	for _, flag := range []string{"--domains", "--records"} {
		if code, _, errOut := checkRun(t, "", flag, list); code != exitUsage || !strings.HasSuffix(errOut, "is UTF-16: save it as UTF-8\n") {
			t.Errorf("ended with %d: %s", code, errOut)
		}
	}
}

// A table that does not fit is no table.
func TestTablesFitTheTerminal(t *testing.T) {
	headers, rows := []string{"CHECK", "CODE", "DETAIL"}, [][]string{{"SPF", "SPF_INCLUDE_BROKEN", strings.Repeat("x", 90)}, {"MX", "✓ MATCH", ""}}
	for width, want := range map[int]string{
		0:  "  CHECK  CODE                DETAIL\n  SPF    SPF_INCLUDE_BROKEN  " + strings.Repeat("x", 90) + "\n  MX     ✓ MATCH\n",
		60: "  CHECK  CODE                DETAIL\n  SPF    SPF_INCLUDE_BROKEN  " + strings.Repeat("x", 30) + "…\n  MX     ✓ MATCH\n",
		40: "  SPF\n    CODE SPF_INCLUDE_BROKEN\n    DETAIL " + strings.Repeat("x", 19) + "…\n  MX\n    CODE ✓ MATCH\n",
	} {
		var out bytes.Buffer
		p := newPaper(&streams{out: &out})
		p.width = width
		p.cuttable(headers, []string{rows[0][0], rows[0][1], rows[0][2]}, rows[1])
		if out.String() != want {
			t.Errorf("%d:\n%s, want\n%s", width, &out, want)
		}
	}
}

// Who types no list can leave.
func TestInterruptEndsTheWaitForInput(t *testing.T) {
	in, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out, errOut bytes.Buffer
	if code := run(ctx, []string{"check", "--domains", "-", "--resolver", "127.0.0.1:1"}, nil, in, &out, &errOut); code != exitUnknown || !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("ended with %d: %s%s", code, &out, &errOut)
	}
}
