package mail

import (
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Caps on what a header may hold, in bytes. The address limits are RFC 5321,
// section 4.5.3.1; the others keep every unfolded header below 998 bytes.
const (
	maxLocalPart = 64
	maxAddress   = 254
	maxName      = 256
	maxValue     = 900
)

// A Mailbox is a display name and an address (RFC 5322, section 3.4). Name may
// be empty and may be any UTF-8. Address is local@domain in ASCII, both parts
// dot-atoms; a domain in another script is given in its xn-- form.
type Mailbox struct{ Name, Address string }

// check reports what is wrong with the mailbox in the named field.
func (m Mailbox) check(field string) error {
	if p := addressProblem(m.Address); p != "" {
		return problem(field, "%s", p)
	}
	if err := checkText(field, m.Name, maxName); err != nil {
		return err
	}
	// A program that shows only the display name would show the wrong sender.
	if other := addressIn(m.Name, m.Address); other != "" {
		return problem(field, "display name %q contains the address %q; use a name without an address", cut(m.Name), cut(other))
	}
	return nil
}

// addressProblem says why s is not an address we put on the wire, or "". Quoted
// local parts, comments, source routes, address literals and non-ASCII are
// refused: programs differ in how they read them, and the difference is used to
// send from somebody else's domain.
func addressProblem(s string) string {
	if s == "" {
		return "no address is given; use local@domain"
	}
	if len(s) > maxAddress {
		return "address " + quote(s) + " is longer than 254 characters"
	}
	if strings.Contains(s, "=?") {
		return quote(s) + " holds an encoded word (=?), which some programs decode; use a plain address"
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok {
		return quote(s) + " is not an address; use local@domain"
	}
	if len(local) > maxLocalPart {
		return "the part of " + quote(s) + " before the @ is longer than 64 characters"
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.IndexFunc(atom, func(r rune) bool { return !isAtext(r) }) >= 0 {
			return "the part of " + quote(s) + " before the @ is not plain ASCII words joined by dots"
		}
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.IndexFunc(label, func(r rune) bool { return r != '-' && !isAlnum(r) }) >= 0 {
			return "the part of " + quote(s) + " after the @ is not a domain name in ASCII (use the xn-- form)"
		}
	}
	return ""
}

func quote(s string) string { return `"` + cut(s) + `"` }

func isAlnum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// isAtext is atext of RFC 5322, section 3.2.3.
func isAtext(r rune) bool {
	return isAlnum(r) || r < utf8.RuneSelf && strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// checkText refuses what must not stand in a header written by us: bytes that
// are not UTF-8, control characters, characters that break or reorder lines, and
// text that is encoded already. The last would be decoded by the reader into
// something that was never looked at here.
func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return problem(field, "has %d bytes, at most %d are allowed", len(s), limit)
	}
	if !utf8.ValidString(s) {
		return problem(field, "%q is not UTF-8", cut(s))
	}
	if i := strings.IndexFunc(s, refusedRune); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return problem(field, "%q holds the control character %U; remove it", cut(s), r)
	}
	if looksEncoded(s) {
		return problem(field, "%q holds an encoded word (=?...?=); give the plain text", cut(s))
	}
	return nil
}

// refusedRune: C0 and C1 controls, NUL, CR and LF among them, the line and
// paragraph separators, and the controls that reverse the direction of text.
func refusedRune(r rune) bool {
	return unicode.IsControl(r) ||
		r == 0x2028 || r == 0x2029 ||
		0x202A <= r && r <= 0x202E ||
		0x2066 <= r && r <= 0x2069
}

// looksEncoded is true where any reader could find an encoded word (RFC 2047).
func looksEncoded(s string) bool {
	_, after, ok := strings.Cut(s, "=?")
	return ok && strings.Contains(after, "?=")
}

// atSigns are the characters that look like @ to a reader.
const atSigns = "@\uFF20\uFE6B"

// addressIn returns the first word of name that looks like an address other
// than own, or "".
func addressIn(name, own string) string {
	words := strings.FieldsFuncSeq(name, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune(`<>()[]",;:`, r)
	})
	for word := range words {
		if i := strings.IndexAny(word, atSigns); i > 0 && !strings.EqualFold(word, own) {
			_, size := utf8.DecodeRuneInString(word[i:])
			if i+size < len(word) {
				return word
			}
		}
	}
	return ""
}

// oneLine joins the words of s with single spaces: folding and unfolding a
// header does not keep runs of blanks.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), " ")
}

// encodeText is s as an unstructured header value: itself in ASCII, otherwise
// as encoded words (RFC 2047) of at most 75 characters.
func encodeText(s string) string { return mime.QEncoding.Encode("utf-8", oneLine(s)) }
