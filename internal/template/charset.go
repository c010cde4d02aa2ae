package template

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
)

// A Charset is a registered character set (RFC 2978) in which a mail can be
// written. Its name is the one it was given, in lower case. The zero value is
// UTF-8.
type Charset struct{ name string }

// ParseCharset reads a name or alias of the IANA registry, in any case. It must
// be one of a character set that this program can encode, and in which ASCII is
// written as such: the rest cannot hold the lines of a mail (RFC 2046, section
// 4.1.2).
func ParseCharset(name string) (Charset, error) {
	if strings.Trim(name, blanks) != name { // the index would trim it
		return Charset{}, fmt.Errorf("charset %q has blanks around its name; remove them", short(name))
	}
	e, err := ianaindex.IANA.Encoding(name)
	switch {
	case err != nil:
		return Charset{}, fmt.Errorf("charset %q is not registered with IANA; use a registered name such as utf-8", short(name))
	case e == nil:
		return Charset{}, fmt.Errorf("charset %q is registered, but there is no encoder for it here; use utf-8", short(name))
	case !transparent(e):
		return Charset{}, fmt.Errorf("charset %q is registered, but unfit for the text of a mail, since it writes ASCII otherwise; use utf-8", short(name))
	}
	return Charset{strings.ToLower(name)}, nil
}

// transparent is true if printable ASCII and line ends stand for themselves.
// They do in iso-2022-jp, unless an escape sequence comes first.
func transparent(e encoding.Encoding) bool {
	var all strings.Builder
	all.WriteString("\t\r\n")
	for c := byte(' '); c < 0x7F; c++ {
		all.WriteByte(c)
	}
	ascii := all.String()
	decoded, err1 := e.NewDecoder().String(ascii)
	encoded, err2 := e.NewEncoder().String(ascii)
	return err1 == nil && err2 == nil && decoded == ascii && encoded == ascii
}

// encoding is nil for UTF-8, which needs none.
func (c Charset) encoding() encoding.Encoding {
	switch c.name {
	case "", "utf-8", "csutf8":
		return nil
	}
	e, err := ianaindex.IANA.Encoding(c.name)
	if err != nil {
		return nil // cannot be: ParseCharset found it
	}
	return e
}

func (c Charset) String() string {
	if c.name == "" {
		return "utf-8"
	}
	return c.name
}

// Decode reads b as text in the character set. Bytes that are none are an error;
// they do not become U+FFFD.
func (c Charset) Decode(b []byte) (string, error) {
	e := c.encoding()
	if e == nil {
		for at := 0; at < len(b); {
			r, n := utf8.DecodeRune(b[at:])
			if r == utf8.RuneError && n == 1 {
				return "", fmt.Errorf("byte %d (0x%02X) is not text in %s", at+1, b[at], c)
			}
			at += n
		}
		return string(b), nil
	}
	s, err := e.NewDecoder().Bytes(b)
	if err != nil {
		return "", fmt.Errorf("not text in %s: %w", c, err)
	}
	// Decoders mark what they cannot read. The mark itself can be written in
	// gb18030 only, where it is the trace of an earlier accident.
	if at := strings.IndexRune(string(s), utf8.RuneError); at >= 0 {
		return "", fmt.Errorf("not text in %s: unreadable bytes after %d characters", c, utf8.RuneCount(s[:at]))
	}
	return string(s), nil
}

// Fits tells whether all of s can be encoded, and if not, the first character
// that cannot; U+FFFD for a byte that is not UTF-8.
func (c Charset) Fits(s string) (bad rune, ok bool) {
	e := c.encoding()
	var encode func(string) (string, error)
	if e != nil {
		encode = e.NewEncoder().String
	}
	if utf8.ValidString(s) {
		if encode == nil {
			return 0, true
		}
		if _, err := encode(s); err == nil {
			return 0, true
		}
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return r, false
			}
		}
		if encode != nil && r >= utf8.RuneSelf {
			if _, err := encode(string(r)); err != nil {
				return r, false
			}
		}
	}
	// Only a control character that the set uses for itself is left.
	for _, r := range s {
		if isControl(r) {
			return r, false
		}
	}
	return utf8.RuneError, false
}
