package dnscheck

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestSentencesSayWhatToDo(t *testing.T) {
	own, key, mx := ownership(t, "example.org"), dkim(t, "example.org"), mailFromMX(t, "example.org")
	retry := time.Date(2026, 3, 1, 15, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		rec  Record
		v    verdict
		want string
	}{
		{own, verdict{outcome: Missing, code: CodeNXDOMAIN, why: opinion{told: true, code: CodeNXDOMAIN}},
			`Nothing exists at _postseal.example.org: publish a TXT record at _postseal.example.org ("_postseal" in a form that adds example.org by itself) with the value "` + token + `", and if that was just done, wait, because resolvers keep the old answer until 2026-03-01 15:04:05 UTC.`},
		{key, verdict{outcome: Missing, code: CodeDoubledZone, why: opinion{told: true, code: CodeDoubledZone, where: mustName(t, "tok1._domainkey.example.org.example.org"), hint: "example.org"}},
			`The record was published at tok1._domainkey.example.org.example.org, with the zone twice: rename it to tok1._domainkey.example.org, which is "tok1._domainkey" in a form that adds example.org by itself and "tok1._domainkey.example.org." in one that does not.`},
		{key, verdict{outcome: Mismatch, code: CodeTargetDoubled, why: opinion{told: true, code: CodeTargetDoubled, found: []string{"tok1.dkim.mail.example.example.org."}}},
			`The CNAME at tok1._domainkey.example.org points to "tok1.dkim.mail.example.example.org.", with your own zone appended: write the target with a full stop at its end, "tok1.dkim.mail.example.".`},
		{own, verdict{outcome: Mismatch, code: CodeValueQuoted, why: opinion{told: true, code: CodeValueQuoted, found: []string{`"` + token + `"`}}},
			`The value at _postseal.example.org has quotes, backslashes, blanks or invisible characters in it: change "\"` + token + `\"" to exactly "` + token + `", without quotes around it.`},
		{own, verdict{outcome: Mismatch, code: CodeStaleValue, why: opinion{told: true, code: CodeStaleValue, found: []string{token2}}},
			`_postseal.example.org holds "` + token2 + `", a value of ours that is not the one for this record in region na: publish a TXT record at _postseal.example.org ("_postseal" in a form that adds example.org by itself) with the value "` + token + `".`},
		{mx, verdict{outcome: Mismatch, code: CodeMXWrongPriority, why: opinion{told: true, code: CodeMXWrongPriority, found: []string{"20 mx.mail.example."}}},
			`The MX at bounce.example.org has another priority ("20 mx.mail.example."): change it to "10 mx.mail.example.".`},
		{spfRecord(t), verdict{outcome: Missing, code: CodeSPFIncludeMissing, why: opinion{told: true, code: CodeSPFIncludeMissing, found: []string{"v=spf1 mx ~all"}, hint: "v=spf1 include:_spf.mail.example mx ~all"}},
			`The SPF record at example.org does not include _spf.mail.example: change it from "v=spf1 mx ~all" to "v=spf1 include:_spf.mail.example mx ~all".`},
		{own, verdict{outcome: Unknown, code: CodeNegativeCached, why: opinion{told: true, code: CodeNXDOMAIN}},
			`Wait: the TXT record at _postseal.example.org is visible, but some resolvers still hold the answer that there is none until 2026-03-01 15:04:05 UTC.`},
		{own, verdict{outcome: Unknown, code: CodeTimeout, silent: []string{"192.0.2.1:53 (timeout)"}},
			`Nothing could be learnt about _postseal.example.org, which says neither that it is there nor that it is missing: no answer from 192.0.2.1:53 (timeout).`},
		{own, verdict{outcome: Unknown, code: CodeTimeout, silent: []string{"192.0.2.1:53 (timeout)"}, why: opinion{told: true, match: true, code: CodeMatch}},
			`Wait: the TXT record at _postseal.example.org is visible, but too few resolvers confirm it while there is no answer from 192.0.2.1:53 (timeout).`},
		{own, verdict{outcome: Match, code: CodeMatch, why: opinion{told: true, match: true, code: CodeMatch}}, ``},
	} {
		at := time.Time{}
		if strings.Contains(tt.want, "2026") {
			at = retry
		}
		if got := explain(tt.rec, mustName(t, "example.org"), tt.v, at); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.v.code, got, tt.want)
		}
	}
}

func TestEveryCodeHasASentenceOfItsOwn(t *testing.T) {
	rec, domain := ownership(t, "example.org"), mustName(t, "example.org")
	hostile := strings.Repeat("\x1b[2J\n", 400)
	fallback := reason(rec, domain, opinion{code: CodeValueMismatch, found: []string{"x"}}, "")
	for code, outcome := range outcomes {
		if outcome == Match {
			continue
		}
		op := opinion{told: true, code: code, found: []string{"x"}, hint: "y"}
		switch code {
		case CodeValueMismatch:
		case CodeWildcard, CodeNotDelegated, CodeCNAMEProxied, CodeNSInconsistent: // never given by a list of resolvers
		case CodeSPFPassAll: // said by a posture
		default:
			if outcome != Unknown && outcome != "" && reason(rec, domain, op, "") == fallback {
				t.Errorf("%s has no sentence", code)
			}
		}
		op.found = []string{hostile, hostile}
		if code != CodeDoubledZone { // there it is a zone of ours
			op.hint = hostile
		}
		v := verdict{outcome: outcome, code: code, why: op, silent: []string{"192.0.2.1:53 (timeout)"}}
		s := explain(rec, domain, v, time.Time{})
		if len(s) > 2500 || strings.ContainsAny(s, "\x1b\n") || !utf8.ValidString(s) || !strings.HasSuffix(s, ".") {
			t.Errorf("%s with hostile content gives %d bytes: %.200q", code, len(s), s)
		}
	}
}

func TestQuotedTextIsCutAtAHundredCharacters(t *testing.T) {
	if got := cut(strings.Repeat("ü", 101)); utf8.RuneCountInString(got) != 100 || !strings.HasSuffix(got, "…") {
		t.Errorf("%d characters: %q", utf8.RuneCountInString(got), got)
	}
	if got := cut(strings.Repeat("ü", 100)); strings.HasSuffix(got, "…") {
		t.Error("100 characters are cut")
	}
}
