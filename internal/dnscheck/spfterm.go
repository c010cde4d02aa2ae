package dnscheck

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// SPFRecord is an SPF record that has been read (RFC 7208, section 4.6.1).
type SPFRecord struct {
	Terms    []SPFTerm // mechanisms only, as evaluated: from left to right
	Redirect *SPFTerm  // the redirect modifier (section 6.1), nil if there is none
	Exp      *SPFTerm  // the exp modifier (section 6.2), nil if there is none
}

// SPFTerm is one mechanism, or one of the two modifiers that mean something.
type SPFTerm struct {
	Text      string       // as written, with its qualifier
	Qualifier SPFResult    // what a match gives: pass, fail, softfail or neutral
	Kind      string       // lower case: all, include, a, mx, ptr, ip4, ip6, exists, redirect, exp
	Domain    string       // the domain-spec with its macros; empty where it was left out
	Prefix    netip.Prefix // of ip4 and ip6
	Bits4     int          // prefix lengths of a and mx, 32 and 128 where left out
	Bits6     int
}

// SPFResult is what an evaluation of SPF comes to (RFC 7208, section 2.6).
type SPFResult string

// The results of SPF.
const (
	SPFNone      SPFResult = "none"      // no record
	SPFNeutral   SPFResult = "neutral"   // a record that does not say
	SPFPass      SPFResult = "pass"      // authorised
	SPFFail      SPFResult = "fail"      // not authorised
	SPFSoftfail  SPFResult = "softfail"  // probably not authorised
	SPFTemperror SPFResult = "temperror" // not told now
	SPFPermerror SPFResult = "permerror" // the record is wrong and has to be corrected
)

// spfVersion begins every record, in any case (RFC 7208, section 4.5).
const spfVersion = "v=spf1"

// isSPF selects SPF records among the TXT records of a name (RFC 7208, section 4.5).
func isSPF(txt string) bool {
	l := lower(txt)
	return l == spfVersion || strings.HasPrefix(l, spfVersion+" ")
}

// ParseSPF reads a record and refuses it if a single term is wrong, as receivers do (RFC
// 7208, section 4.6). The error quotes the term and says what is wrong with it.
func ParseSPF(record string) (SPFRecord, error) {
	var r SPFRecord
	if !isSPF(record) {
		return r, fmt.Errorf("%s does not begin with %q and a blank", quote(record), spfVersion)
	}
	for text := range strings.SplitSeq(record[len(spfVersion):], " ") {
		if text == "" {
			continue
		}
		t, err := parseSPFTerm(text)
		if err != nil {
			return SPFRecord{}, fmt.Errorf("%s: %w", quote(text), err)
		}
		var modifier **SPFTerm
		switch t.Kind {
		case "":
			continue // a modifier that we need not know, section 6
		case "redirect":
			modifier = &r.Redirect
		case "exp":
			modifier = &r.Exp
		default:
			r.Terms = append(r.Terms, t)
			continue
		}
		if *modifier != nil {
			return SPFRecord{}, fmt.Errorf("%s: there are two %s modifiers", quote(text), t.Kind)
		}
		*modifier = &t
	}
	return r, nil
}

// all returns the index of the first "all", behind which nothing is looked at, or -1.
func (r SPFRecord) all() int {
	for i, t := range r.Terms {
		if t.Kind == "all" {
			return i
		}
	}
	return -1
}

// spfKinds says what each mechanism may have behind its name.
var spfKinds = map[string]struct{ domain, needed, dual bool }{
	"all":     {},
	"include": {domain: true, needed: true},
	"a":       {domain: true, dual: true},
	"mx":      {domain: true, dual: true},
	"ptr":     {domain: true},
	"exists":  {domain: true, needed: true},
}

func parseSPFTerm(text string) (SPFTerm, error) {
	for _, c := range []byte(text) {
		if c < 0x21 || c > 0x7e {
			return SPFTerm{}, fmt.Errorf("it has the character %#02x, only visible ASCII is possible", c)
		}
	}
	if i := strings.IndexAny(text, "=:/"); i >= 0 && text[i] == '=' {
		return parseSPFModifier(text, lower(text[:i]), text[i+1:])
	}
	t := SPFTerm{Text: text, Qualifier: SPFPass, Bits4: 32, Bits6: 128}
	rest := text
	if q, ok := map[byte]SPFResult{'+': SPFPass, '-': SPFFail, '~': SPFSoftfail, '?': SPFNeutral}[text[0]]; ok {
		t.Qualifier, rest = q, text[1:]
	}
	end := strings.IndexAny(rest, ":/")
	if end < 0 {
		end = len(rest)
	}
	t.Kind, rest = lower(rest[:end]), rest[end:]
	if t.Kind == "ip4" || t.Kind == "ip6" {
		return parseSPFAddress(t, rest)
	}
	kind, known := spfKinds[t.Kind]
	if !known {
		return t, unknownMechanism(t.Kind, rest)
	}
	if kind.dual {
		var err error
		if rest, err = t.cutPrefixLengths(rest); err != nil {
			return t, err
		}
	}
	switch {
	case rest == "" && kind.needed:
		return t, fmt.Errorf("%s needs a domain, as in %s:example.org", t.Kind, t.Kind)
	case rest == "":
		return t, nil
	case rest[0] != ':' || !kind.domain:
		return t, fmt.Errorf("%s cannot have %s behind it", t.Kind, quote(rest))
	}
	t.Domain = rest[1:]
	return t, checkDomainSpec(t.Domain)
}

// unknownMechanism guesses what was meant.
func unknownMechanism(kind, rest string) error {
	hint := ""
	meant := meantKind(kind)
	start, name, _ := strings.Cut(kind, ".")
	switch {
	case meant == "all":
		hint = ": write all, with nothing behind it"
	case meant != "":
		hint = ": write " + meant + rest
	case name != "" && (start == "include" || start == "exists" || start == "ip4" || start == "ip6"): // a and mx begin names of hosts, too
		hint = fmt.Sprintf(": write %s:%s%s", start, name, rest)
	case kind == "redirect" || kind == "exp":
		hint = fmt.Sprintf(": write %s=%s", kind, strings.TrimPrefix(rest, ":"))
	case kind == "ipv4" || kind == "ip":
		hint = ": write ip4" + rest
	case kind == "ipv6":
		hint = ": write ip6" + rest
	case kind == "v" || kind == "spf1" || kind == "txt":
		hint = ": remove it"
	default:
		if _, err := netip.ParseAddr(kind); err == nil {
			hint = ": write ip4:" + kind + rest
		} else if strings.Contains(kind, ".") {
			hint = ": write include:" + kind + " or a:" + kind
		}
	}
	return fmt.Errorf("there is no mechanism %s%s", quote(kind), cut(hint))
}

// meantKind is the mechanism that was misspelt by one letter, by two that changed places, or
// by a mark behind it; empty where it is none.
func meantKind(kind string) string {
	kind = strings.TrimRight(kind, ".,;")
	letters := func(s string) string {
		b := []byte(s)
		slices.Sort(b)
		return string(b)
	}
	for _, known := range []string{"include", "all", "exists"} { // the others are too short to guess
		if letters(kind) == letters(known) {
			return known
		}
		long, short := kind, known
		if len(long) < len(short) {
			long, short = short, long
		}
		for i := range long {
			if len(long) == len(short)+1 && long[:i]+long[i+1:] == short {
				return known
			}
		}
	}
	return ""
}

func parseSPFModifier(text, name, value string) (SPFTerm, error) {
	t := SPFTerm{Text: text, Kind: name}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')) {
			return t, fmt.Errorf("%s is no name of a modifier", quote(name))
		}
	}
	if name == "" {
		return t, errors.New("there is no name before the =")
	}
	if name == "redirect" || name == "exp" {
		t.Domain = value
		return t, checkDomainSpec(value)
	}
	t.Kind = ""
	_, err := parseMacros(value, true)
	return t, err
}

// parseSPFAddress reads ip4 and ip6 (RFC 7208, section 5.6).
func parseSPFAddress(t SPFTerm, rest string) (SPFTerm, error) {
	example := map[string]string{"ip4": "ip4:192.0.2.0/24", "ip6": "ip6:2001:db8::/32"}[t.Kind]
	address, ok := strings.CutPrefix(rest, ":")
	if !ok || address == "" {
		return t, fmt.Errorf("%s needs an address, as in %s", t.Kind, example)
	}
	address, length, sized := strings.Cut(address, "/")
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() != (t.Kind == "ip4") || ip.Zone() != "" {
		return t, fmt.Errorf("%s is no address for %s, which is written like %s", quote(address), t.Kind, example)
	}
	bits := ip.BitLen()
	if sized {
		if bits, err = prefixLength(length, ip.BitLen()); err != nil {
			return t, err
		}
	}
	t.Prefix = netip.PrefixFrom(ip, bits).Masked()
	return t, nil
}

// cutPrefixLengths takes a dual-cidr-length (RFC 7208, section 5) off the end: "/24",
// "//64" or "/24//64". A slash that is not followed by digits only belongs to the domain.
func (t *SPFTerm) cutPrefixLengths(s string) (rest string, err error) {
	tail := func(separator string) (string, bool) {
		i := strings.LastIndex(s, separator)
		if i < 0 || !digits(s[i+len(separator):]) {
			return "", false
		}
		length := s[i+len(separator):]
		s = s[:i]
		return length, true
	}
	if length, ok := tail("//"); ok {
		if t.Bits6, err = prefixLength(length, 128); err != nil {
			return s, err
		}
	}
	if length, ok := tail("/"); ok {
		if t.Bits4, err = prefixLength(length, 32); err != nil {
			return s, err
		}
	}
	return s, nil
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// prefixLength has no leading zeros: the grammar of addresses forbids them, and no writer
// of a length has octal in mind.
func prefixLength(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || !digits(s) || n > most || len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("%s is no prefix length: it is a number from 0 to %d", quote("/"+s), most)
	}
	return n, nil
}
