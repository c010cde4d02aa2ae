package dnscheck

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

const (
	token  = "q4hVx0sW3bJ1mZr8Yt5uKc7Ne2Lp6Ga9DfHiOjQwEzA="
	token2 = "Zx9Yw8Vu7Ts6Rq5Po4Nm3Lk2Ji1Hg0FeDcBaAbCdEfG="
)

func newChecker(t testing.TB, l *lab, quorum int) *Checker {
	t.Helper()
	c, err := NewChecker(CheckerConfig{Resolver: l.resolver, Quorum: quorum})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ownership(t testing.TB, domain string) Record {
	return Record{Purpose: Ownership, Region: "na", Name: mustName(t, "_postseal."+domain), Type: TXT, Value: token}
}

func dkim(t testing.TB, domain string) Record {
	return Record{Purpose: DKIM, Region: "na", Name: mustName(t, "tok1._domainkey."+domain), Type: CNAME, Value: "tok1.dkim.mail.example."}
}

func mailFromMX(t testing.TB, domain string) Record {
	return Record{Purpose: MailFromMX, Region: "na", Name: mustName(t, "bounce."+domain), Type: MX, Value: "mx.mail.example"}
}

// checkOne runs a check of one record with two agreeing resolvers.
func checkOne(t *testing.T, domain, zone string, rec Record, others ...Record) Finding {
	t.Helper()
	var f Finding
	inLab(t, zone, 2, func(t *testing.T, l *lab) {
		f = newChecker(t, l, 2).Check(t.Context(), mustName(t, domain), append([]Record{rec}, others...))[0]
	})
	return f
}

func TestEachMistakeHasItsCode(t *testing.T) {
	own, key, mx := ownership(t, "example.org"), dkim(t, "example.org"), mailFromMX(t, "example.org")
	stale := own
	stale.Previous = []string{token2}
	staleKey := key
	staleKey.Previous = []string{"OLD.dkim.mail.example"}
	direct := Record{Purpose: DKIM, Name: key.Name, Type: TXT, Value: "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOC"}
	other := own
	other.Region, other.Value = "eu", token2
	for _, tt := range []struct {
		title  string
		rec    Record
		zone   string
		code   Code
		others []Record
	}{
		{"right", own, `_postseal.example.org. IN TXT "` + token + `"`, CodeMatch, nil},
		{"outer blanks", own, `_postseal.example.org. IN TXT "  ` + token + ` "`, CodeMatch, nil},
		{"split strings", own, `_postseal.example.org. IN TXT "` + token[:9] + `" "` + token[9:] + `"`, CodeMatch, nil},
		{"one of several", own, `_postseal.example.org. IN TXT "x"` + "\n" + `_postseal.example.org. IN TXT "` + token + `"`, CodeMatch, nil},
		{"through a CNAME", own, "_postseal.example.org. IN CNAME v.example.net.\n" + `v.example.net. IN TXT "` + token + `"`, CodeMatch, nil},
		{"nothing", own, ``, CodeNXDOMAIN, nil},
		{"empty non-terminal", own, `x._postseal.example.org. IN A 192.0.2.1`, CodeNODATA, nil},
		{"other type beside", own, `_postseal.example.org. IN A 192.0.2.1`, CodeNODATA, nil},
		{"doubled", own, `_postseal.example.org.example.org. IN TXT "` + token + `"`, CodeDoubledZone, nil},
		{"foreign value at the doubled name", own, `_postseal.example.org.example.org. IN TXT "x"`, CodeNXDOMAIN, nil},
		{"at the apex", own, `example.org. IN TXT "` + token + `"`, CodeWrongZoneLevel, nil},
		{"CNAME instead", own, `_postseal.example.org. IN CNAME nothing.example.net.`, CodeWrongType, nil},
		{"loop", own, `_postseal.example.org. IN CNAME _postseal.example.org.`, CodeCNAMELoop, nil},
		{"foreign", own, `_postseal.example.org. IN TXT "hello"`, CodeValueMismatch, nil},
		{"case", own, `_postseal.example.org. IN TXT "` + strings.ToLower(token) + `"`, CodeValueCaseChanged, nil},
		{"quoted", own, `_postseal.example.org. IN TXT "\"` + token + `\""`, CodeValueQuoted, nil},
		{"curly quotes", own, `_postseal.example.org. IN TXT "“` + token + `”"`, CodeValueQuoted, nil},
		{"wrapped", own, `_postseal.example.org. IN TXT "` + token[:20] + ` ` + token[20:] + `"`, CodeValueQuoted, nil},
		{"truncated", own, `_postseal.example.org. IN TXT "` + token[:43] + `"`, CodeValueTruncated, nil},
		{"stale", stale, `_postseal.example.org. IN TXT "` + token2 + `"`, CodeStaleValue, nil},
		{"of another region", own, `_postseal.example.org. IN TXT "` + token2 + `"`, CodeStaleValue, []Record{other}},

		{"right", key, `tok1._domainkey.example.org. IN CNAME TOK1.dkim.mail.EXAMPLE.`, CodeMatch, nil},
		{"nothing", key, ``, CodeNXDOMAIN, nil},
		{"doubled", key, `tok1._domainkey.example.org.example.org. IN CNAME tok1.dkim.mail.example.`, CodeDoubledZone, nil},
		{"TXT instead", key, `tok1._domainkey.example.org. IN TXT "tok1.dkim.mail.example"`, CodeWrongType, nil},
		{"address instead", key, `tok1._domainkey.example.org. IN A 192.0.2.1`, CodeCNAMEFlattened, nil},
		{"IPv6 address instead", key, `tok1._domainkey.example.org. IN AAAA 2001:db8::1`, CodeCNAMEFlattened, nil},
		{"target doubled", key, `tok1._domainkey.example.org. IN CNAME tok1.dkim.mail.example.example.org.`, CodeTargetDoubled, nil},
		{"target doubled with the label", key, `tok1._domainkey.example.org. IN CNAME tok1.dkim.mail.example._domainkey.example.org.`, CodeTargetDoubled, nil},
		{"foreign", key, `tok1._domainkey.example.org. IN CNAME other.example.net.`, CodeValueMismatch, nil},
		{"quoted", key, `tok1._domainkey.example.org. IN CNAME \"tok1.dkim.mail.example\".`, CodeValueQuoted, nil},
		{"truncated", key, `tok1._domainkey.example.org. IN CNAME tok1.dkim.`, CodeValueTruncated, nil},
		{"stale", staleKey, `tok1._domainkey.example.org. IN CNAME old.dkim.mail.example.`, CodeStaleValue, nil},

		{"right", direct, `tok1._domainkey.example.org. IN TXT "v=DKIM1; p=MIIBIjANBgkqhki" "G9w0BAQEFAAOC; k=rsa"`, CodeMatch, nil},
		{"version last", direct, `tok1._domainkey.example.org. IN TXT "p=MIIBIjANBgkqhkiG9w0BAQEFAAOC; v=DKIM1"`, CodeDKIMKeyMismatch, nil},
		{"revoked", direct, `tok1._domainkey.example.org. IN TXT "v=DKIM1; p="`, CodeDKIMKeyRevoked, nil},
		{"other key", direct, `tok1._domainkey.example.org. IN TXT "v=DKIM1; p=AAAABBBBCCCC"`, CodeDKIMKeyMismatch, nil},
		{"other algorithm", direct, `tok1._domainkey.example.org. IN TXT "v=DKIM1; k=ed25519; p=MIIBIjANBgkqhkiG9w0BAQEFAAOC"`, CodeDKIMKeyMismatch, nil},
		{"two keys", direct, `tok1._domainkey.example.org. IN TXT "v=DKIM1; p=AAAA"` + "\n" + `tok1._domainkey.example.org. IN TXT "v=DKIM1; p=BBBB"`, CodeDKIMMultipleKeys, nil},
		{"half a key", direct, `tok1._domainkey.example.org. IN TXT "v=DKIM1; p=MIIBIjANBgkq"`, CodeValueTruncated, nil},

		{"right", mx, `bounce.example.org. IN MX 10 MX.mail.example.`, CodeMatch, nil},
		{"nothing", mx, ``, CodeNXDOMAIN, nil},
		{"other type", mx, `bounce.example.org. IN TXT "x"`, CodeNODATA, nil},
		{"doubled", mx, `bounce.example.org.example.org. IN MX 10 mx.mail.example.`, CodeDoubledZone, nil},
		{"priority", mx, `bounce.example.org. IN MX 20 mx.mail.example.`, CodeMXWrongPriority, nil},
		{"extra", mx, "bounce.example.org. IN MX 10 mx.mail.example.\nbounce.example.org. IN MX 20 mx.example.net.", CodeMXExtra, nil},
		{"foreign", mx, `bounce.example.org. IN MX 10 mx.example.net.`, CodeValueMismatch, nil},
		{"null", mx, `bounce.example.org. IN MX 0 .`, CodeMXNull, nil},
		{"target doubled", mx, `bounce.example.org. IN MX 10 mx.mail.example.example.org.`, CodeTargetDoubled, nil},
		{"behind a CNAME", mx, `bounce.example.org. IN CNAME www.example.org.`, CodeCNAMEWithOtherData, nil},
	} {
		f := checkOne(t, "example.org", tt.zone, tt.rec, tt.others...)
		if f.Code != tt.code {
			t.Errorf("%s %s: code %s, want %s; observed %q", tt.rec.Purpose, tt.title, f.Code, tt.code, f.Observed)
		}
		want := tt.code.Outcome()
		if want == "" {
			want = Mismatch
		}
		if f.Outcome != want {
			t.Errorf("%s %s: outcome %s, want %s", tt.rec.Purpose, tt.title, f.Outcome, want)
		}
		if (f.Fix == "") != (f.Outcome == Match) {
			t.Errorf("%s %s: outcome %s with the sentence %q", tt.rec.Purpose, tt.title, f.Outcome, f.Fix)
		}
	}
}

func TestExchangesOfOtherRegionsAreNotForeign(t *testing.T) {
	mx := mailFromMX(t, "example.org")
	eu := mx
	eu.Region, eu.Value = "eu", "mx-eu.mail.example"
	f := checkOne(t, "example.org", "bounce.example.org. IN MX 10 mx.mail.example.\nbounce.example.org. IN MX 10 mx-eu.mail.example.", mx, eu)
	if f.Outcome != Match {
		t.Errorf("%s %s", f.Outcome, f.Code)
	}
}

func TestRecordsOfASubdomainAreLookedForInTheZoneAbove(t *testing.T) {
	rec := ownership(t, "news.example.org")
	for zone, want := range map[string]Code{
		`_postseal.news.example.org.news.example.org. IN TXT "` + token + `"`: CodeDoubledZone,
		`_postseal.news.example.org.example.org. IN TXT "` + token + `"`:      CodeDoubledZone,
		`_postseal.example.org. IN TXT "` + token + `"`:                       CodeWrongZoneLevel,
	} {
		f := checkOne(t, "news.example.org", zone, rec)
		if f.Code != want || len(f.Observed) != 1 || !strings.HasSuffix(f.Observed[0], "TXT "+token) {
			t.Errorf("%s: %s, observed %q", zone, f.Code, f.Observed)
		}
	}
}

// What a wildcard answers at other names was not published there.
func TestAWildcardIsNowhereElse(t *testing.T) {
	own, key := ownership(t, "example.org"), dkim(t, "example.org")
	for _, rec := range []Record{own, key} {
		for _, wild := range []string{"*.example.org.", "*.org.example.org.", "*.www.example.org."} {
			zone := wild + " IN " + string(rec.Type) + " " + rdata(rec) + "\n" + rec.Name.String() + ". IN A 192.0.2.99\nx.www.example.org. IN A 192.0.2.99"
			if f := checkOne(t, "example.org", zone, rec); f.Outcome == Match || f.Code == CodeDoubledZone || f.Code == CodeWrongZoneLevel {
				t.Errorf("%s of %s: %s %s, %s", wild, rec.Type, f.Outcome, f.Code, f.Fix)
			}
		}
	}
}

// Whoever has two CNAMEs at a name sends half of the world elsewhere.
func TestOneOfTwoCNAMEsIsNoMatch(t *testing.T) {
	rec := dkim(t, "example.org")
	ours := rec.Name.String() + ". IN CNAME " + rdata(rec) + "\n"
	for _, other := range []string{"tok2.dkim.mail.example.", "www.example.org.", absolute(rec.Value) + "example.org."} {
		theirs := rec.Name.String() + ". IN CNAME " + other + "\n"
		for _, zone := range []string{ours + theirs, theirs + ours} {
			if f := checkOne(t, "example.org", zone, rec); f.Outcome != Mismatch || f.Code != CodeCNAMEWithOtherData || !strings.Contains(f.Fix, other) {
				t.Errorf("%s: %s %s, %s", other, f.Outcome, f.Code, f.Fix)
			}
		}
	}
	if f := checkOne(t, "example.org", ours+strings.ToUpper(ours), rec); f.Code != CodeMatch {
		t.Errorf("the same twice: %s", f.Code)
	}
}

// The heart of the package: what one server says or does not say never decides alone.
func TestNoSingleServerDecides(t *testing.T) {
	own, key := ownership(t, "example.org"), dkim(t, "example.org")
	const (
		yes   = iota // has the record
		no           // NXDOMAIN
		old          // has another value
		mute         // no answer
		fail         // SERVFAIL
		deny         // REFUSED
		bogus        // SERVFAIL, DNSSEC said to be wrong
	)
	for _, tt := range []struct {
		rec     Record
		servers []int
		outcome Outcome
		code    Code
	}{
		{own, []int{yes, yes, yes}, Match, CodeMatch},
		{own, []int{yes, yes, no}, Match, CodeMatch},
		{own, []int{yes, mute, yes}, Match, CodeMatch},
		{own, []int{fail, yes, yes}, Match, CodeMatch},
		{own, []int{yes, no, no}, Unknown, CodeNegativeCached},
		{own, []int{no, yes}, Unknown, CodeNegativeCached},
		{own, []int{old, yes}, Unknown, CodeCachedOld},
		{own, []int{yes, no, mute}, Unknown, CodeNegativeCached},
		{own, []int{yes, mute, mute}, Unknown, CodeTimeout},
		{own, []int{yes, fail}, Unknown, CodeSERVFAIL},
		{own, []int{yes, deny}, Unknown, CodeNSLame},
		{own, []int{no, no, no}, Missing, CodeNXDOMAIN},
		{own, []int{old, old}, Mismatch, CodeValueMismatch},
		{own, []int{old, no}, Mismatch, CodeValueMismatch},
		{own, []int{old, no, no}, Missing, CodeNXDOMAIN},
		{own, []int{no, no, mute}, Unknown, CodeTimeout},
		{own, []int{old, old, mute}, Unknown, CodeTimeout},
		{own, []int{no, fail}, Unknown, CodeSERVFAIL},
		{own, []int{mute, mute}, Unknown, CodeTimeout},
		{own, []int{fail, fail}, Unknown, CodeSERVFAIL},
		{own, []int{deny, deny}, Unknown, CodeNSLame},
		{own, []int{deny, mute}, Unknown, CodeTimeout},
		{own, []int{bogus, bogus}, Unknown, CodeDNSSECBogus},
		{own, []int{bogus, mute, fail}, Unknown, CodeDNSSECBogus},

		{key, []int{yes, no}, Unknown, CodeNegativeCached},
		{key, []int{yes, mute, yes}, Match, CodeMatch},
		{key, []int{no, no}, Missing, CodeNXDOMAIN},
		{key, []int{no, mute}, Unknown, CodeTimeout},
		{key, []int{fail, deny}, Unknown, CodeSERVFAIL},
	} {
		right := tt.rec.Name.String() + `. IN ` + string(tt.rec.Type) + ` ` + rdata(tt.rec)
		inLab(t, right, len(tt.servers), func(t *testing.T, l *lab) {
			for i, s := range tt.servers {
				switch s {
				case no:
					l.servers[i].Remove(tt.rec.Name.String(), "")
				case old:
					l.servers[i].Set(tt.rec.Name.String() + `. IN TXT "before"`)
				case mute:
					l.servers[i].Fail("", "", dnstest.Drop)
				case fail:
					l.servers[i].Fail("", "", dnstest.Servfail)
				case deny:
					l.servers[i].Fail("", "", dnstest.Refused)
				case bogus:
					l.servers[i].Fail("", "", dnstest.Extended(6))
				}
			}
			f := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{tt.rec})[0]
			if f.Outcome != tt.outcome || f.Code != tt.code {
				t.Errorf("%s with %v: %s %s, want %s %s", tt.rec.Purpose, tt.servers, f.Outcome, f.Code, tt.outcome, tt.code)
			}
			if len(f.Seen) != len(tt.servers) {
				t.Errorf("%v: the grid has %d lines", tt.servers, len(f.Seen))
			}
			for i, s := range f.Seen {
				if s.Server != l.resolver.servers[i] {
					t.Errorf("%v: line %d is of %s", tt.servers, i, s.Server)
				}
			}
			if f.Outcome == Unknown && !f.WaitingHelps {
				t.Errorf("%v: unknown, and waiting does not help", tt.servers)
			}
		})
	}
}

func TestUnknownNamesWhatTheOthersSay(t *testing.T) {
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		l.servers[1].Fail("", "", dnstest.Drop)
		f := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})[0]
		for _, part := range []string{"192.0.2.2:53 (timeout)", "nothing exists at _postseal.example.org"} {
			if !strings.Contains(f.Fix, part) {
				t.Errorf("%q does not say %q", f.Fix, part)
			}
		}
	})
}

func TestQuorumOfOneIsEnoughOnlyWhereConfigured(t *testing.T) {
	rec := ownership(t, "example.org")
	inLab(t, `_postseal.example.org. IN TXT "`+token+`"`, 1, func(t *testing.T, l *lab) {
		if _, err := NewChecker(CheckerConfig{Resolver: l.resolver}); err == nil {
			t.Error("the default quorum is accepted with one resolver")
		}
		if f := newChecker(t, l, 1).Check(t.Context(), mustName(t, "example.org"), []Record{rec})[0]; f.Outcome != Match {
			t.Errorf("%s %s", f.Outcome, f.Code)
		}
	})
	if _, err := NewChecker(CheckerConfig{}); err == nil {
		t.Error("no resolver is accepted")
	}
}

func TestRetryIsWhenTheNegativeCacheEnds(t *testing.T) {
	inLab(t, "example.org. 600 IN SOA ns noreply 1 2 3 4 300", 2, func(t *testing.T, l *lab) {
		want := time.Now().Add(5 * time.Minute)
		fs := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org"), dkim(t, "example.org")})
		for _, f := range fs {
			if !f.RetryAt.Equal(want) || !f.WaitingHelps {
				t.Errorf("%s: retry at %s (waiting helps: %v), want %s", f.Purpose, f.RetryAt, f.WaitingHelps, want)
			}
		}
	})
}

func TestPublishedRecordIsSeenByTheNextCheck(t *testing.T) {
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		c, rec := newChecker(t, l, 2), ownership(t, "example.org")
		if f := c.Check(t.Context(), mustName(t, "example.org"), []Record{rec})[0]; f.Outcome != Missing {
			t.Fatalf("before: %s", f.Outcome)
		}
		for _, s := range l.servers {
			s.Add(`_postseal.example.org. IN TXT "` + token + `"`)
		}
		if f := c.Check(t.Context(), mustName(t, "example.org"), []Record{rec})[0]; f.Outcome != Match || !f.RetryAt.IsZero() {
			t.Errorf("after: %s %s, retry at %s", f.Outcome, f.Code, f.RetryAt)
		}
	})
}

func TestCheckIsBoundedInTime(t *testing.T) {
	for _, fault := range []dnstest.Fault{dnstest.Drop, dnstest.Garbage, dnstest.WrongID, dnstest.Delay(950 * time.Millisecond)} {
		inLab(t, "", 3, func(t *testing.T, l *lab) {
			for _, s := range l.servers {
				s.Fail("", "", fault)
			}
			start := time.Now()
			fs := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), wholeDomain(t, "example.org"))
			if d := time.Since(start); d > defaultCheckTimeout {
				t.Errorf("took %s", d)
			}
			for _, f := range fs {
				if f.Outcome == Match {
					t.Errorf("%s matches out of nothing", f.Purpose)
				}
			}
		})
	}
}

func TestSlowServerDoesNotDelayAMatch(t *testing.T) {
	zone := wholeZone(t, "example.org")
	inLab(t, zone, 3, func(t *testing.T, l *lab) {
		l.servers[1].Fail("", "", dnstest.Drop)
		start := time.Now()
		fs := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), wholeDomain(t, "example.org"))
		for _, f := range fs {
			if f.Outcome != Match {
				t.Errorf("%s %s: %s %s, %s", f.Purpose, f.Name, f.Outcome, f.Code, f.Fix)
			}
			if s := f.Seen[1]; s.Result != SawTimeout {
				t.Errorf("the silent server is shown as %s", s.Result)
			}
		}
		if d := time.Since(start); d > 2*linger {
			t.Errorf("took %s, want at most %s", d, 2*linger)
		}
	})
}

func TestEachQuestionIsAskedOncePerServer(t *testing.T) {
	own := ownership(t, "example.org")
	var want []Record
	for _, region := range []string{"ap", "ca", "eu", "na"} {
		rec := own
		rec.Region = region
		want = append(want, rec, dkim(t, "example.org"))
	}
	inLab(t, `_postseal.example.org. IN TXT "`+token+`"`, 2, func(t *testing.T, l *lab) {
		fs := newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), want)
		for i, f := range fs {
			if f.Purpose != want[i].Purpose || f.Region != want[i].Region {
				t.Errorf("finding %d is for %s %s, want the order of the records", i, f.Purpose, f.Region)
			}
		}
		for _, s := range l.servers {
			seen := make(map[dnstest.Query]int)
			for _, q := range s.Log() {
				if seen[q]++; seen[q] > 1 {
					t.Errorf("%s %s was asked again", q.Name, q.Type)
				}
			}
		}
	})
}

func TestMatchNeedsNoFollowUps(t *testing.T) {
	inLab(t, `_postseal.example.org. IN TXT "`+token+`"`, 2, func(t *testing.T, l *lab) {
		newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{ownership(t, "example.org")})
		if n := len(l.servers[0].Log()) + len(l.servers[1].Log()); n != 2 {
			t.Errorf("%d questions, want 2", n)
		}
	})
}

func TestFollowUpsAskOneServerThatAnswers(t *testing.T) {
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		l.servers[0].Fail("", "", dnstest.Servfail)
		newChecker(t, l, 2).Check(t.Context(), mustName(t, "example.org"), []Record{dkim(t, "example.org")})
		if n := len(l.servers[0].Log()); n != 1 {
			t.Errorf("the failing server got %d questions, want 1", n)
		}
		if n := len(l.servers[1].Log()); n < 4 {
			t.Errorf("the other got %d questions, want the follow-ups too", n)
		}
	})
}

func TestRecordsWithoutNameOrBeyondTheLimitAreUnknown(t *testing.T) {
	inLab(t, "", 1, func(t *testing.T, l *lab) {
		want := slices.Repeat([]Record{ownership(t, "example.org")}, MaxChecked+1)
		want[0].Name = Name{}
		fs := newChecker(t, l, 1).Check(t.Context(), mustName(t, "example.org"), want)
		for _, i := range []int{0, MaxChecked} {
			if f := fs[i]; f.Outcome != Unknown || f.Fix == "" || f.Seen == nil || f.Observed == nil {
				t.Errorf("finding %d: %+v", i, f)
			}
		}
		if fs[1].Outcome != Missing {
			t.Errorf("finding 1: %s", fs[1].Outcome)
		}
	})
}

func TestFindingsKeepTheirJSONShape(t *testing.T) {
	f := checkOne(t, "example.org", `_postseal.example.org. IN TXT "`+token+`"`, ownership(t, "example.org"))
	got, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"purpose":"ownership","region":"na","name":"_postseal.example.org","type":"TXT","outcome":"match","code":"MATCH",` +
		`"expected":"` + token + `","observed":["` + token + `"],"seen":[` +
		`{"server":"192.0.2.1:53","role":"resolver","result":"answer","values":["` + token + `"]},{"server":"192.0.2.2:53","role":"resolver","result":"answer","values":["` + token + `"]}],` +
		`"fix":"","waitingHelps":false}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	missing := checkOne(t, "example.org", "", mailFromMX(t, "example.org"))
	if missing.Expected != "10 mx.mail.example." || missing.Observed == nil || missing.Seen[0].Values == nil {
		t.Errorf("%+v", missing)
	}
}

func TestHostileValuesStayBoundedAndPrintable(t *testing.T) {
	var zone strings.Builder
	for i := range 40 {
		zone.WriteString(`_postseal.example.org. IN TXT`)
		for range 6 {
			zone.WriteString(` "\255\027` + strings.Repeat("x", 240) + string(rune('A'+i%26)) + string(rune('a'+i/26)) + `"`)
		}
		zone.WriteString("\n")
	}
	f := checkOne(t, "example.org", zone.String(), ownership(t, "example.org"))
	octets := func(values []string) int { return len(strings.Join(values, "")) }
	if n, m := octets(f.Observed), octets(f.Seen[0].Values); f.Code != CodeValueMismatch || n < maxObserved/2 || n > maxObserved || m == 0 || m > maxSight {
		t.Fatalf("%s, %d octets observed, %d in the grid", f.Code, n, m)
	}
	for _, v := range slices.Concat(f.Observed, f.Seen[0].Values, []string{f.Fix}) {
		if !utf8.ValidString(v) || len(v) > maxValue+16 {
			t.Errorf("%d bytes: %.40q", len(v), v)
		}
	}
}

func TestDMARCIsInheritedFromTheOrganizationalDomain(t *testing.T) {
	rec := Record{Purpose: DMARC, Name: mustName(t, "_dmarc.news.example.org"), Type: TXT, Value: "v=DMARC1; p=none"}
	for zone, want := range map[string]Code{
		``: CodeDMARCMissing,
		`_dmarc.news.example.org. IN TXT "v=DMARC1; p=reject"`:                                                             CodeMatch,
		`_dmarc.example.org. IN TXT "v=DMARC1; p=quarantine"`:                                                              CodeMatch,
		`_dmarc.example.org. IN TXT "v=DMARC1; p=perhaps"`:                                                                 CodeDMARCSyntax,
		`_dmarc.news.example.org. IN TXT "v=DMARC1; p=perhaps"`:                                                            CodeDMARCSyntax,
		`_dmarc.news.example.org. IN TXT "v=DMARC1"`:                                                                       CodeDMARCSyntax,
		`_dmarc.news.example.org. IN TXT "hello"`:                                                                          CodeDMARCMissing,
		"_dmarc.news.example.org. IN TXT \"v=DMARC1; p=none\"\n_dmarc.news.example.org. IN TXT \"v=DMARC1; p=reject\"":     CodeDMARCMultiple,
		"_dmarc.news.example.org. IN TXT \"google-site\"\n_dmarc.news.example.org. IN TXT \"v=DMARC1; p=reject; adkim=s\"": CodeMatch,
	} {
		if f := checkOne(t, "news.example.org", zone, rec); f.Code != want {
			t.Errorf("%s: %s %s, want %s", zone, f.Outcome, f.Code, want)
		}
	}
	inLab(t, "", 2, func(t *testing.T, l *lab) {
		for _, s := range l.servers {
			s.Fail("_dmarc.example.org", "TXT", dnstest.Servfail)
		}
		if f := newChecker(t, l, 2).Check(t.Context(), mustName(t, "news.example.org"), []Record{rec})[0]; f.Outcome != Unknown || f.Code != CodeSERVFAIL {
			t.Errorf("organizational domain fails: %s %s, want unknown", f.Outcome, f.Code)
		}
	})
}

// wholeDomain is what a domain in four regions publishes: 20 records.
func wholeDomain(t testing.TB, domain string) []Record {
	d := mustName(t, domain)
	var want []Record
	for _, region := range []string{"ap", "ca", "eu", "na"} {
		want = append(want, Record{Purpose: Ownership, Region: region, Name: d.Child("_postseal"), Type: TXT, Value: token + region})
		for _, n := range []string{"1", "2", "3"} {
			sel := region + n
			want = append(want, Record{Purpose: DKIM, Region: region, Name: d.Child(sel + "._domainkey"), Type: CNAME, Value: sel + ".dkim.mail.example"})
		}
	}
	return append(want,
		Record{Purpose: Environment, Name: d.Child("_postseal-env"), Type: TXT, Value: token2},
		Record{Purpose: SPF, Name: d, Type: TXT, Value: ourSPF},
		Record{Purpose: MailFromMX, Name: d.Child("bounce"), Type: MX, Value: "mx.mail.example"},
		Record{Purpose: MailFromSPF, Name: d.Child("bounce"), Type: TXT, Value: ourSPF})
}

func wholeZone(t testing.TB, domain string) string {
	return ZoneText(mustName(t, domain), wholeDomain(t, domain)) + `_spf.mail.example. IN TXT "v=spf1 ip4:192.0.2.0/24 -all"`
}

func TestOutcomesOfAllCodesAreFixed(t *testing.T) {
	for code, outcome := range outcomes {
		switch outcome {
		case Match, Missing, Mismatch, Unknown, "":
		default:
			t.Errorf("%s has the outcome %q", code, outcome)
		}
	}
	if got := Code("NONSENSE").Outcome(); got != "" {
		t.Errorf("an unknown code has the outcome %q", got)
	}
	if n := len(outcomes); n != 45 {
		t.Errorf("%d codes, want 45: a code without outcome, or one too many", n)
	}
}
