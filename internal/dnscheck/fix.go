package dnscheck

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// cut shortens what others wrote to 100 characters.
func cut(s string) string {
	const limit = 100
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n == limit-1 {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// quote shows what others wrote: cut, quoted, control characters escaped.
func quote(s string) string { return strconv.Quote(cut(s)) }

// quoteOurs shows a value of ours, which shall be copied and is therefore only cut where
// it is absurd, and then visibly.
func quoteOurs(s string) string {
	const limit = 1024
	if len(s) > limit {
		return strconv.Quote(strings.ToValidUTF8(s[:limit], "")) + "… (cut here)"
	}
	return strconv.Quote(s)
}

// explain says in one sentence what to do; empty when there is nothing to do.
func explain(rec Record, domain Name, v verdict, retryAt time.Time) string {
	until := ""
	if !retryAt.IsZero() {
		until = " until " + retryAt.Format("2006-01-02 15:04:05 UTC")
	}
	if v.outcome == Match {
		return explainMatch(rec, v)
	}
	if rec.Type != TXT && foreignOrSpoilt(v.why.code) {
		v.why.found = readable(v.why.found)
	}
	if v.outcome != Unknown {
		return upper(reason(rec, domain, v.why, until)) + "."
	}
	silent := strings.Join(v.silent, ", ")
	switch {
	case v.code == CodeNegativeCached:
		return fmt.Sprintf("Wait: the %s record at %s is visible, but some resolvers still hold the answer that there is none%s.", rec.Type, rec.Name, until)
	case v.code == CodeCachedOld:
		return fmt.Sprintf("Wait: the right %s record at %s is visible, but some resolvers still hold %s%s.", rec.Type, rec.Name, found(v.why), until)
	case v.code == CodeSplitHorizon && len(v.refused) > 0:
		return fmt.Sprintf("Publish the %s record at %s on name servers that the world can reach: it is visible only inside, because the zone is served by %s.", rec.Type, rec.Name, cut(strings.Join(v.refused, ", ")))
	case v.code == CodeSplitHorizon:
		return upper(reason(rec, domain, v.why, until)) + "."
	case v.code == CodeNSLame && !v.why.told:
		zone := "the zone"
		switch {
		case v.dead != "" && within(rec.Name.s, v.dead):
			zone = v.dead
		case v.dead != "":
			zone = v.dead + ", where the record leads,"
		}
		return fmt.Sprintf("Have the delegation of %s repaired: none of its name servers answers for %s (%s).", zone, rec.Name, silent)
	case v.why.told && v.why.match:
		return fmt.Sprintf("Wait: the %s record at %s is visible, but too few %s confirm it while there is no answer from %s.", rec.Type, rec.Name, witnesses(v), silent)
	case v.why.told && silent == "":
		return fmt.Sprintf("Not certain yet: %s.", reason(rec, domain, v.why, until))
	case v.why.told:
		return fmt.Sprintf("Not certain yet, because there is no answer from %s, but the others say: %s.", silent, reason(rec, domain, v.why, until))
	case v.code == CodeDNSSECBogus:
		return fmt.Sprintf("Have the DNSSEC signatures of the zone repaired: resolvers refuse to answer for %s because they do not validate (%s).", rec.Name, silent)
	default:
		return fmt.Sprintf("Nothing could be learnt about %s, which says neither that it is there nor that it is missing: no answer from %s.", rec.Name, silent)
	}
}

// foreignOrSpoilt tells whether the values of a code are names that somebody typed.
func foreignOrSpoilt(c Code) bool {
	return c == CodeValueMismatch || c == CodeValueQuoted || c == CodeValueTruncated
}

// readable shows names as they were typed, without the escapes of zone files.
func readable(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = unescape(name)
	}
	return list
}

func explainMatch(rec Record, v verdict) string {
	switch {
	case v.code == CodeNegativeCached || v.code == CodeCachedOld:
		return fmt.Sprintf("Nothing to do: the record at %s is right on its name servers, and some resolvers still hold the old answer.", rec.Name)
	case v.code == CodeDKIMKeyRevoked || v.code == CodeDKIMKeyMismatch:
		return fmt.Sprintf("Nothing to do: the record at %s is right, and the key that it refers to is not in order on our side.", rec.Name)
	case v.code == CodeTargetMissing:
		return fmt.Sprintf("Nothing to do: the record at %s is right, and what it refers to is missing on our side.", rec.Name)
	case rec.Purpose == DKIM && rec.Type == TXT:
		return keyAdvice(rec, v.why.found)
	case v.why.hint != "":
		return fmt.Sprintf("The SPF record at %s authorises this mail, but it %s, which makes other mail fail: shorten it.", rec.Name, v.why.hint)
	}
	return ""
}

// reason is the sentence of a code, in lower case and without full stop.
func reason(rec Record, domain Name, op opinion, until string) string {
	name := rec.Name.String()
	zone := op.zone // that the owner edits
	if zone.IsZero() {
		zone = zoneOf(domain)
	}
	held := ""
	if until != "" {
		held = ", and if that was just done, wait, because resolvers keep the old answer" + until
	}
	switch op.code {
	case CodeNXDOMAIN:
		return fmt.Sprintf("nothing exists at %s: publish %s%s", name, demand(rec, zone), held)
	case CodeNODATA:
		return fmt.Sprintf("%s exists but has no %s record: publish %s%s", name, rec.Type, demand(rec, zone), held)
	case CodeDoubledZone:
		return fmt.Sprintf("the record was published at %s, with the zone twice: rename it to %s, which is %q in a form that adds %s by itself and %q in one that does not",
			op.where, name, rec.Name.relativeTo(Name{op.hint}), op.hint, name+".")
	case CodeWrongZoneLevel:
		return fmt.Sprintf("the record was published at %s: move it to %s, which is %q in a form that adds %s by itself",
			op.where, name, rec.Name.relativeTo(zone), zone)
	case CodeMXNull:
		return fmt.Sprintf("%s has a null MX (\"0 .\"), which refuses all mail: replace it by %q", name, rec.Expected())
	case CodeSPFMissing:
		if meant := meantForSPF(op.found); meant != "" && op.hint != "" {
			return fmt.Sprintf("%s has no SPF record, because receivers take none for one that does not begin with \"v=spf1\" and a blank: replace %s by %s", name, quote(meant), quoteOurs(op.hint))
		} else if meant != "" {
			return fmt.Sprintf("%s has no SPF record, because receivers take none for one that does not begin with \"v=spf1\" and a blank: replace %s, publish %s", name, quote(meant), demand(rec, zone))
		}
		return fmt.Sprintf("%s has no SPF record: publish %s%s", name, demand(rec, zone), held)
	case CodeSPFIncludeMissing:
		return fmt.Sprintf("the SPF record at %s does not include %s: change it from %s to %s", name, includeTarget(rec.Value), found(op), quoteOurs(op.hint))
	case CodeSPFIncludeUnreachable:
		return fmt.Sprintf("the SPF record at %s names %s where no receiver gets to: %s", name, includeTarget(rec.Value), instead(op))
	case CodeSPFMultiple:
		return fmt.Sprintf("%s has %d SPF records, and more than one is an error for every receiver: %s%s", name, len(op.found), instead(op), leftOut(op.found))
	case CodeSPFTooManyLookups:
		return fmt.Sprintf("the SPF record at %s needs more than 10 DNS look-ups before it comes to %s: remove includes, or move ours to the front as in %s", name, includeTarget(rec.Value), quoteOurs(mergeOr(op, rec)))
	case CodeSPFVoidLookups:
		return fmt.Sprintf("the SPF record at %s has more than 2 look-ups that find nothing before it comes to %s: remove the dead names from %s", name, includeTarget(rec.Value), found(op))
	case CodeSPFSyntax:
		return fmt.Sprintf("receivers give up on the SPF record at %s, because %s: correct %s, or remove from it what leads there", name, cutLong(op.hint), found(op))
	case CodeSPFIncludeBroken:
		return fmt.Sprintf("the SPF record at %s leads to %s, which has not exactly one SPF record: remove that from %s", name, quote(op.hint), found(op))
	case CodeDMARCMissing:
		if len(op.found) > 0 {
			return fmt.Sprintf("neither %s nor its organizational domain has a DMARC policy, because receivers take none for one that does not begin with \"v=DMARC1\": publish beside %s, or in its place, %s", domain, found(op), demand(rec, zone))
		}
		return fmt.Sprintf("neither %s nor its organizational domain has a DMARC policy: publish %s%s", domain, demand(rec, zone), held)
	case CodeDMARCSyntax:
		problem := ""
		if _, err := ParseDMARC(first(op.found)); err != nil {
			problem = ", because " + cutLong(err.Error())
		}
		return fmt.Sprintf("the DMARC policy at %s cannot be read%s: correct %s, for instance to %s", cmp.Or(op.where, rec.Name), problem, found(op), quoteOurs(rec.Expected()))
	case CodeDMARCMultiple:
		return fmt.Sprintf("%s has %d DMARC policies, and receivers ignore all if there is more than one: keep one of them and delete the others (%s)", cmp.Or(op.where, rec.Name), len(op.found), found(op))
	case CodeNotDelegated:
		if org := zoneOf(domain); zone.IsBelow(org) {
			return fmt.Sprintf("%s %s: remove its NS records from the zone above and publish %s, or have them name servers that hold a zone of that name", zone, cutOr(op.hint, "does not exist"), demand(rec, org))
		}
		return fmt.Sprintf("the domain of %s %s: register it, or have the delegation at its registrar set to the name servers that hold its zone, then publish %s", name, cutOr(op.hint, "does not exist"), demand(rec, zone))
	case CodeWildcard:
		if len(op.found) > 0 && strings.HasPrefix(op.found[0], "DNAME ") {
			return fmt.Sprintf("a DNAME at %s leads all names below it elsewhere, so that what is found there proves nothing: remove it, and publish %s", cutOr(op.hint, "?"), demand(rec, zone))
		}
		above := "" // an empty place on the way up may be covered by a wildcard from further above
		if op.hint != zone.s {
			above = ", or one further up,"
		}
		return fmt.Sprintf("only the wildcard *.%s%s answers at %s, with %s: publish beside it %s", cutOr(op.hint, "?"), above, name, found(op), demand(rec, zone))
	case CodeCNAMEProxied:
		return fmt.Sprintf("%s answers with an address of a proxy (%s) and hides its CNAME: switch the proxy off for this name (\"DNS only\"), so that it is a CNAME to %q", name, found(op), rec.Expected())
	case CodeNSInconsistent:
		return fmt.Sprintf("the name servers do not agree about %s: %s", cmp.Or(op.where, rec.Name), cutLong(op.hint))
	case CodeSplitHorizon:
		return fmt.Sprintf("%s is visible only inside your network (resolver %s): publish it in the public zone as well, namely %s", name, cutOr(op.hint, "of yours"), demand(rec, zone))
	case CodeWrongType:
		return fmt.Sprintf("%s has %s where a %s record is needed: replace it, publish %s", name, found(op), rec.Type, demand(rec, zone))
	case CodeCNAMEFlattened:
		if len(op.found) > 0 && strings.HasPrefix(op.found[0], "TXT ") {
			return fmt.Sprintf("%s shows the key behind its target (%s) instead of a CNAME, and will show an old one after the next rotation: switch off flattening there, so that it is a CNAME to %q", name, found(op), rec.Expected())
		}
		return fmt.Sprintf("%s answers with an address (%s) and hides its CNAME: switch off flattening or proxying there, so that it is a CNAME to %q", name, found(op), rec.Expected())
	case CodeCNAMEWithOtherData:
		if rec.Type == CNAME {
			return fmt.Sprintf("%s has %s beside its CNAME, and receivers see one or the other: remove everything but the CNAME to %q", name, found(op), rec.Expected())
		}
		other := ", or choose another name" // where it is ours to choose
		if rec.Name == domain {
			other = ""
		}
		return fmt.Sprintf("%s has %s, beside which no %s record can exist: remove the CNAME%s, then publish %s", name, found(op), rec.Type, other, demand(rec, zone))
	case CodeCNAMELoop:
		return fmt.Sprintf("the CNAME at %s leads in a circle or through more than %d names (%s): replace it, publish %s", name, maxChain, found(op), demand(rec, zone))
	case CodeTargetDoubled:
		return fmt.Sprintf("the %s at %s points to %s, with your own zone appended: write the target with a full stop at its end, %q", rec.Type, name, found(op), absolute(rec.Value))
	case CodeValueQuoted:
		return fmt.Sprintf("the value at %s has quotes, backslashes, blanks or invisible characters in it: change %s to exactly %s, without quotes around it", name, quote(first(op.found)), quoteOurs(cmp.Or(op.hint, rec.Expected())))
	case CodeValueCaseChanged:
		return fmt.Sprintf("the value at %s was changed between upper and lower case: change %s to exactly %s", name, quote(first(op.found)), quoteOurs(rec.Expected()))
	case CodeValueTruncated:
		return fmt.Sprintf("the value at %s was cut off: change %s to %s", name, quote(first(op.found)), quoteOurs(rec.Expected()))
	case CodeStaleValue:
		return fmt.Sprintf("%s holds %s, a value of ours that is not the one for this record%s: publish %s", name, found(op), region(rec), demand(rec, zone))
	case CodeMXExtra:
		return fmt.Sprintf("%s has another exchange beside ours (%s): keep only %q, or choose a name that receives no mail", name, quote(first(op.found)), rec.Expected())
	case CodeMXWrongPriority:
		return fmt.Sprintf("the MX at %s has another priority (%s): change it to %q", name, found(op), rec.Expected())
	case CodeDKIMKeyRevoked:
		return fmt.Sprintf("the DKIM key at %s is revoked (empty p=): publish %s", name, demand(rec, zone))
	case CodeDKIMMultipleKeys:
		return fmt.Sprintf("%s has %d texts where one key belongs, and receivers may take any: keep only %s", name, len(op.found), quoteOurs(rec.Expected()))
	case CodeDKIMKeyMismatch:
		if problem := keyProblem(op.found); problem != "" {
			return fmt.Sprintf("verifiers cannot use the key at %s (%s): replace %s, publish %s", name, problem, found(op), demand(rec, zone))
		}
		return fmt.Sprintf("%s holds another DKIM key: replace %s, publish %s", name, found(op), demand(rec, zone))
	default:
		if rec.isSPF() {
			return fmt.Sprintf("the SPF record at %s does not let %s pass: %s", name, includeTarget(rec.Value), instead(op))
		}
		if rec.Type == TXT && strings.Contains(first(op.found), rec.Expected()) {
			return fmt.Sprintf("%s holds %s, of which ours is only a part: publish %s and nothing else in it", name, found(op), demand(rec, zone))
		}
		return fmt.Sprintf("%s holds %s: publish %s instead", name, found(op), demand(rec, zone))
	}
}

func witnesses(v verdict) string {
	if v.zone == nil {
		return "resolvers"
	}
	return "servers"
}

func cutOr(s, other string) string {
	if s == "" {
		return other
	}
	return clean(cut(s))
}

// cutLong keeps a sentence of our own with names of others in it printable and bounded.
func cutLong(s string) string { return clean(s[:min(len(s), 600)]) }

// clean drops what must not get onto a terminal or into a log.
func clean(s string) string {
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s), "\ufffd")
}

// demand describes the record to publish, with its absolute name and the name as it is
// typed into a form that appends the zone.
func demand(rec Record, zone Name) string {
	where := fmt.Sprintf("at %s (%q in a form that adds %s by itself)", rec.Name, rec.Name.relativeTo(zone), zone)
	switch rec.Type {
	case CNAME:
		return fmt.Sprintf("a CNAME record %s that points to %q", where, rec.Expected())
	case MX:
		return fmt.Sprintf("an MX record %s with priority %d and exchange %q", where, rec.priority(), absolute(rec.Value))
	default:
		return fmt.Sprintf("a TXT record %s with the value %s", where, quoteOurs(rec.Expected()))
	}
}

// zoneOf guesses the zone that the owner edits: the registrable domain.
func zoneOf(domain Name) Name {
	if org := domain.Registrable(); !org.IsZero() {
		return org
	}
	return domain
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// found quotes the first values of an opinion.
func found(op opinion) string {
	switch len(op.found) {
	case 0:
		return "nothing"
	case 1:
		return quote(op.found[0])
	default:
		return fmt.Sprintf("%s and %d more", quote(op.found[0]), len(op.found)-1)
	}
}

// instead proposes the SPF record of an opinion, where one could be made.
func instead(op opinion) string {
	if op.hint == "" {
		return fmt.Sprintf("keep one record with one way through it instead of %s", found(op))
	}
	return fmt.Sprintf("replace %s by %s", found(op), quoteOurs(op.hint))
}

func foundList(values []string) string {
	shown := make([]string, 0, 3)
	for _, v := range values {
		if len(shown) == cap(shown) {
			return fmt.Sprintf("%s and %d more", strings.Join(shown, ", "), len(values)-len(shown))
		}
		shown = append(shown, quote(v))
	}
	return strings.Join(shown, ", ")
}

// leftOut says what of some records is not in the one that shall replace them.
func leftOut(records []string) string {
	terms := unreadableSPF(records)
	if len(terms) == 0 {
		return ""
	}
	return fmt.Sprintf(", which leaves out %s, because no receiver can read it", foundList(terms))
}

func mergeOr(op opinion, rec Record) string {
	if len(op.found) > 0 {
		if merged := mergeSPF(op.found, includeTarget(rec.Value)); merged != "" {
			return merged
		}
	}
	return rec.Value
}

func region(rec Record) string {
	if rec.Region == "" {
		return ""
	}
	return " in region " + rec.Region
}

func upper(s string) string {
	// A sentence may begin with a DNS name or a tag like p=none, which stays as it is.
	first, _, _ := strings.Cut(s, " ")
	if s == "" || strings.ContainsAny(first, "._=") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
