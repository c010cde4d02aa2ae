package mail

import (
	"strings"
	"unicode"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/traditionalchinese"
	xunicode "golang.org/x/text/encoding/unicode"
)

// A charset is how the texts of a message are written (RFC 2978).
type charset struct {
	name string // in lower case
	enc  encoding.Encoding
}

// ascii is every character of US-ASCII but NUL, which no text may hold.
var ascii = func() string {
	var b [127]byte
	for i := range b {
		b[i] = byte(i + 1)
	}
	return string(b[:])
}()

// parseCharset looks a name up in IANA's registry. Refused are encodings that
// are not ours and those that write ASCII in another way (UTF-16, EBCDIC, HZ):
// line ends must stay line ends.
func parseCharset(name string) (charset, error) {
	if name == "" {
		name = "utf-8"
	}
	lower := strings.ToLower(name)
	enc, err := ianaindex.IANA.Encoding(lower)
	// The index looks past blanks around a name; a header does not.
	if err != nil || enc == nil || lower != strings.TrimSpace(lower) {
		return charset{}, problem("Charset", "%q is not a charset that is known here; give a name from IANA's registry such as iso-2022-jp", cut(name))
	}
	if wire, err := enc.NewEncoder().String(ascii); err != nil || wire != ascii {
		return charset{}, problem("Charset", "%q does not keep ASCII as it is, so it cannot be used for mail; leave it out for utf-8", cut(name))
	}
	return charset{lower, enc}, nil
}

// encode gives s, which is valid UTF-8, in the charset, or false where a reader
// might not get back what was given.
func (c charset) encode(s string) (string, bool) {
	if c.enc == xunicode.UTF8 {
		return s, true
	}
	// Control characters are where readers of one charset differ: ESC, SO and SI
	// change the table, and C1 in iso-8859-1 is read as windows-1252.
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }) {
		return "", false
	}
	wire, err := c.enc.NewEncoder().String(s)
	if err != nil {
		return "", false
	}
	// x/text writes some characters that it reads as others (GB18030, private use).
	if back, err := c.enc.NewDecoder().String(wire); err != nil || back != s {
		return "", false
	}
	switch c.enc {
	case japanese.ISO2022JP:
		// Half-width katakana are not in it (RFC 1468); x/text writes them all the same.
		return wire, !strings.Contains(wire, "\x1b(I")
	case traditionalchinese.Big5:
		return wire, plainBig5(wire)
	}
	return wire, true
}

// plainBig5 is false for the extensions (ETEN, Hong Kong): x/text writes them
// under the same name, and many programs read them as something else or not at all.
func plainBig5(wire string) bool {
	for i := 0; i+1 < len(wire); i++ {
		if wire[i] < 0x80 {
			continue
		}
		code := int(wire[i])<<8 | int(wire[i+1])
		if code < 0xA140 || 0xC67E < code && code < 0xC940 || code > 0xF9D5 {
			return false
		}
		i++
	}
	return true
}

// parts are the texts as they are written, plain text first.
func (d *Draft) parts() ([]part, error) {
	c, err := parseCharset(d.Charset)
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, p := range []struct{ field, mediaType, text string }{{"Text", "text/plain", d.Text}, {"HTML", "text/html", d.HTML}} {
		if p.text == "" {
			continue
		}
		wire, ok := c.encode(p.text)
		if !ok {
			all := *d
			all.Charset = ""
			return all.parts()
		}
		if len(wire) > maxBody {
			return nil, problem(p.field, "has %d bytes in %s, at most %d are allowed", len(wire), c.name, maxBody)
		}
		// Line ends are done here, not before: no charset that keeps ASCII has CR
		// or LF within another character.
		parts = append(parts, part{p.mediaType, c.name, crlf(wire)})
	}
	return parts, nil
}
