package dnscheck

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/dns"
)

// opinion is what one server's answer means for one record.
type opinion struct {
	told  bool // the server answered, so code counts; else it is why there is no answer
	match bool
	// lacking, where not told, says that the server does not have the record itself, and whether
	// another counts in its place is not known.
	lacking bool
	code    Code
	found   []string // what was seen, in the form of Record.Expected
	via     []string // names that a CNAME chain led through
	// where is another name at which the record was found; zero for the record's own.
	where Name
	zone  Name   // that the owner edits, where known
	hint  string // what the sentence of the code needs: an SPF record to publish, a zone
}

// compareAnswer judges an answer for all purposes whose records are compared as such; ours
// are all values that we want at the same name, of any region.
func compareAnswer(rec Record, ours []Record, domain Name, a answer) opinion {
	if !a.told() {
		return opinion{code: a.silenceCode()}
	}
	if a.result == SawLoop {
		return opinion{told: true, code: CodeCNAMELoop, found: targets(a.chain)}
	}
	if a.result != SawAnswer {
		return absence(rec, a)
	}
	var code Code
	found := a.values()
	switch {
	case rec.Type == CNAME:
		code = compareTarget(rec, ours, domain, found)
		if others := slices.DeleteFunc(slices.Clone(found), func(v string) bool { return bare(v) == bare(rec.Value) }); code == CodeMatch && len(others) > 0 {
			// Two CNAMEs at a name, which some hosts allow: nobody knows which a receiver follows.
			code, found = CodeCNAMEWithOtherData, nil
			for _, v := range others {
				found = append(found, "CNAME "+v)
			}
		}
	case rec.Type == MX:
		code = compareMX(rec, ours, domain, a.records)
	case rec.Purpose == DKIM:
		code = compareKey(rec, found)
	default:
		code = compareText(rec, ours, found)
	}
	switch {
	case code == CodeMatch && a.dname != "" && rec.Purpose.grants():
		return redirectedBy(a.dname)
	case len(a.chain) > 0 && foreign(code):
		return aliased(rec, a)
	case code != CodeMatch:
		found = culpritFirst(rec, ours, domain, code, found)
	}
	return opinion{told: true, match: code == CodeMatch, code: code, found: found, via: a.chain}
}

// redirectedBy is said of what a DNAME made. Whatever is below that name is led there: to us,
// with other people's tokens as well, or to somebody who would rule every name below.
func redirectedBy(dname string) opinion {
	return opinion{told: true, code: CodeWildcard, found: []string{"DNAME at " + dname + "."}, hint: dname}
}

// culpritFirst puts the values that a code is about in front, as sentences quote the first.
func culpritFirst(rec Record, ours []Record, domain Name, code Code, found []string) []string {
	if len(found) < 2 {
		return found
	}
	guilty := func(v string) bool {
		switch {
		case rec.Type == CNAME:
			return compareTarget(rec, ours, domain, []string{v}) == code
		case rec.Type == MX:
			_, host, _ := strings.Cut(v, " ")
			return bare(host) != bare(rec.Value) && (code != CodeTargetDoubled || targetCode(rec, domain, host) == code)
		default:
			return compareText(rec, ours, []string{v}) == code
		}
	}
	var front, back []string
	for _, v := range found {
		if guilty(v) {
			front = append(front, v)
		} else {
			back = append(back, v)
		}
	}
	return append(front, back...)
}

// absence tells NXDOMAIN and NODATA from a name that is a CNAME and therefore can hold
// nothing else.
func absence(rec Record, a answer) opinion {
	op := opinion{told: true, code: CodeNODATA}
	if a.result == SawNXDOMAIN {
		op.code = CodeNXDOMAIN
	}
	if len(a.chain) > 0 {
		return aliased(rec, a)
	}
	return op
}

// aliased is said of a name that is a CNAME to something that is not ours: while it is there,
// nothing can be published at that name.
func aliased(rec Record, a answer) opinion {
	op := opinion{told: true, code: CodeWrongType, found: targets(a.chain[:1]), via: a.chain}
	if a.dname != "" {
		op.found[0] += " made by the DNAME at " + a.dname + "."
	}
	if rec.isSPF() || rec.Type == MX {
		op.code = CodeCNAMEWithOtherData
	}
	return op
}

// foreign tells whether a code means that nothing of what was found is ours.
func foreign(c Code) bool {
	switch c {
	case CodeValueMismatch, CodeDKIMKeyMismatch, CodeDKIMKeyRevoked, CodeDKIMMultipleKeys, CodeMXNull:
		return true
	}
	return false
}

func targets(chain []string) []string {
	var t []string
	for _, name := range chain {
		t = append(t, "CNAME "+name+".")
	}
	return t
}

func (a answer) silenceCode() Code {
	switch {
	case a.bogus:
		return CodeDNSSECBogus
	case a.result == SawREFUSED || a.result == SawLame:
		return CodeNSLame
	case a.result == SawSERVFAIL || a.result == SawMalformed || a.result == SawError:
		return CodeSERVFAIL
	default:
		return CodeTimeout
	}
}

// compareText compares a value that may stand beside others under its name.
func compareText(rec Record, ours []Record, found []string) Code {
	code := CodeValueMismatch
	for _, v := range found {
		code = better(code, textCode(rec, v))
		for _, other := range ours {
			if other.Purpose == rec.Purpose && other.Name == rec.Name && trimmed(v) == trimmed(other.Value) {
				code = better(code, CodeStaleValue)
			}
		}
	}
	return code
}

// minPrefix is how much of a value must be there to call it truncated.
const minPrefix = 8

// textCode compares one text. Outer blanks do not count.
func textCode(rec Record, found string) Code {
	want, found := trimmed(rec.Value), trimmed(found)
	if want == found {
		return CodeMatch
	}
	for _, old := range rec.Previous {
		if trimmed(old) == found {
			return CodeStaleValue
		}
	}
	plain := unquoted(found)
	switch {
	case strings.EqualFold(want, found):
		return CodeValueCaseChanged
	case strings.EqualFold(unquoted(want), plain):
		return CodeValueQuoted
	case len(plain) >= minPrefix && strings.HasPrefix(want, plain):
		return CodeValueTruncated
	}
	return CodeValueMismatch
}

// trimmed drops outer blanks: spaces and line breaks, and nothing that only looks like them.
func trimmed(s string) string { return strings.Trim(s, " \t\r\n") }

// unquoted drops what forms, mail programs and people add to a value: quotes of any kind,
// backslashes, blanks and line breaks.
func unquoted(s string) string {
	return strings.Map(func(r rune) rune {
		if added(r) {
			return -1
		}
		return r
	}, fromLatin1(s))
}

// fromLatin1 reads the blank and the hyphen of Latin-1 that are one octet, and no UTF-8.
func fromLatin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.NewReplacer("\xa0", " ", "\xad", "").Replace(s)
}

// tidy drops the same from a text in which blanks part words.
func tidy(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case added(r):
			return -1
		}
		return r
	}, fromLatin1(s)))
}

func added(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) || strings.ContainsRune("\"'`\\“”„‘’«»", r)
}

// compareTarget compares names as names: case and trailing dot do not count.
func compareTarget(rec Record, ours []Record, domain Name, found []string) Code {
	code := CodeValueMismatch
	for _, v := range found {
		code = better(code, targetCode(rec, domain, v))
		for _, other := range ours {
			if other.Region != rec.Region && bare(other.Value) == bare(v) {
				code = better(code, CodeStaleValue)
			}
		}
	}
	return code
}

func targetCode(rec Record, domain Name, found string) Code {
	want, found := bare(rec.Value), bare(found)
	if want == found {
		return CodeMatch
	}
	for _, old := range rec.Previous {
		if bare(old) == found {
			return CodeStaleValue
		}
	}
	if zone, ok := strings.CutPrefix(found, want+"."); ok && sameTree(zone, domain.s) {
		return CodeTargetDoubled
	}
	plain := bare(unquoted(unescape(found)))
	switch {
	case plain == want:
		return CodeValueQuoted
	case len(plain) >= minPrefix && strings.HasPrefix(want, plain):
		return CodeValueTruncated
	}
	return CodeValueMismatch
}

// sameTree tells whether one name is the other or above it.
func sameTree(a, b string) bool {
	return a == b || strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a)
}

// compareMX wants our exchange at our preference and no exchange that is not ours.
func compareMX(rec Record, ours []Record, domain Name, found []dns.RR) Code {
	want := bare(rec.Value)
	var present, priority, extra bool
	code := CodeValueMismatch
	for _, rr := range found {
		mx, ok := rr.(*dns.MX)
		if !ok {
			continue
		}
		host := bare(mx.Mx)
		switch {
		case host == want:
			present = true
			priority = priority || int(mx.Preference) == rec.priority()
		case slices.ContainsFunc(ours, func(o Record) bool { return o.Name == rec.Name && bare(o.Value) == host }),
			slices.ContainsFunc(rec.Previous, func(old string) bool { return bare(old) == host }):
			code = better(code, CodeStaleValue) // of another region or epoch, and fine beside ours
		case host == "" && len(found) == 1:
			return CodeMXNull // RFC 7505
		default:
			extra = true
			code = better(code, targetCode(rec, domain, host))
		}
	}
	switch {
	case !present:
		return code
	case extra:
		return CodeMXExtra
	case !priority:
		return CodeMXWrongPriority
	}
	return CodeMatch
}

// compareKey compares DKIM keys that are published directly: as keys, so that order of
// tags and folding of the base64 do not count (RFC 6376, section 3.6.1).
func compareKey(rec Record, found []string) Code {
	want := keyTags(rec.Value)
	var keys []map[string]string
	var texts []string
	code := CodeValueMismatch
	for _, v := range found {
		tags := keyTags(v)
		if _, ok := tags["p"]; !ok {
			code = better(code, textCode(rec, v))
			if len(dkimKeys([]string{v})) > 0 { // verifiers take it for a key record all the same
				code = better(code, CodeDKIMKeyMismatch)
			}
			continue
		}
		if !slices.Contains(texts, v) { // the same in other strings is one
			keys, texts = append(keys, tags), append(texts, v)
		}
	}
	switch {
	case len(keys) == 0:
		return code
	case len(keys) > 1:
		return CodeDKIMMultipleKeys
	case keys[0]["p"] == "" && want["p"] != "":
		return CodeDKIMKeyRevoked
	case servesAs(rec.Value, texts[0]) && slices.ContainsFunc(found, func(v string) bool { return v != texts[0] }):
		return CodeDKIMMultipleKeys // verifiers take any text there, or none (RFC 6376, section 3.6.2.2)
	case servesAs(rec.Value, texts[0]):
		return CodeMatch
	}
	for _, old := range rec.Previous {
		if keyTags(old)["p"] == keys[0]["p"] {
			return CodeStaleValue
		}
	}
	if spoilt := textCode(rec, texts[0]); spoilt == CodeValueQuoted || spoilt == CodeValueCaseChanged {
		return spoilt
	}
	if p := keys[0]["p"]; len(p) >= minPrefix && p != want["p"] && strings.HasPrefix(want["p"], p) {
		return CodeValueTruncated
	}
	return CodeDKIMKeyMismatch
}

// keyTags reads a tag list (RFC 6376, section 3.2); a missing k means rsa.
func keyTags(s string) map[string]string {
	tags := map[string]string{"k": "rsa"}
	for tag := range strings.SplitSeq(s, ";") {
		if name, value, ok := strings.Cut(tag, "="); ok {
			tags[strings.TrimSpace(name)] = strings.Join(strings.Fields(value), "")
		}
	}
	return tags
}
