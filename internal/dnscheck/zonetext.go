package dnscheck

import (
	"fmt"
	"strings"
	"unicode"
)

// zoneTTL is low so that a slip of the hand is soon forgotten.
const zoneTTL = 300

// ZoneText returns the records as text for a zone file (RFC 1035, section 5), ready to be
// pasted: absolute names, a TTL on every line and no directives, so that it changes nothing
// around it. Records that are the same in several regions appear once. Records without a
// name are left out.
func ZoneText(domain Name, records []Record) string {
	type line struct {
		text  string
		notes []string
	}
	var lines []*line
	seen := make(map[string]*line)
	for _, rec := range records {
		if rec.Name.IsZero() {
			continue
		}
		text := fmt.Sprintf("%s. %d IN %s %s", rec.Name, zoneTTL, rec.Type, rdata(rec))
		l := seen[text]
		if l == nil {
			l = &line{text: text}
			seen[text] = l
			lines = append(lines, l)
		}
		l.notes = append(l.notes, note(rec))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "; records of %s\n", domain)
	for _, l := range lines {
		fmt.Fprintf(&b, "; %s\n%s\n", strings.Join(l.notes, ", "), l.text)
	}
	return b.String()
}

func note(rec Record) string {
	n := string(rec.Purpose)
	if rec.Region != "" {
		n += " " + rec.Region
	}
	switch rec.Purpose {
	case SPF:
		n += " (a name can have only one SPF record: add the include to one that is there)"
	case DMARC:
		n += " (advice: leave it out if there is a policy)"
	}
	// Regions come from configuration; a line break would end the comment.
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, n)
}

func rdata(rec Record) string {
	switch rec.Type {
	case CNAME:
		return zoneName(rec.Value)
	case MX:
		return fmt.Sprintf("%d %s", rec.priority(), zoneName(rec.Value))
	default:
		return zoneStrings(rec.Expected())
	}
}

// zoneName escapes what would end a field or the line.
func zoneName(name string) string {
	var b strings.Builder
	for _, c := range []byte(absolute(name)) {
		switch {
		case c <= ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03d`, c)
		case strings.IndexByte(`";()\@$`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// zoneStrings splits a text into character-strings of at most 255 octets.
func zoneStrings(s string) string {
	const limit = 255
	var b strings.Builder
	b.WriteByte('"')
	for i, c := range []byte(s) {
		if i > 0 && i%limit == 0 {
			b.WriteString(`" "`)
		}
		switch {
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03d`, c)
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
