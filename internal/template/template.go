// Package template puts values into the subject and the bodies of a mail, and into
// requests that hand a mail over.
//
// The language is closed: ${name} is replaced once, everything else is text.
// There are no conditions, loops, functions or includes, so that who may write a
// template cannot run anything, and a value, which comes from a third party, is
// never read as template or as markup.
//
//	source -> Compile(Plain|HTML|Header) -> Template -> Execute(values) -> text
//	             | HTML: where does each placeholder stand?
//	             +-> text, attribute, URL: escaped for it; elsewhere: dropped
//	source -> Compile(JSON|Component) -> the same for a request to an HTTP API
//	HTML source -> PlainText -> source of the text alternative -> Compile(Plain)
//	Source      -> Lint      -> what its author should know, none of it an error
//	ParseLocale -> Lookup    -> the order in which templates are tried
//
// The package neither stores templates nor chooses among them, composes no
// message (it writes no encoded words and no MIME), and does not clean up HTML:
// what its author wrote is kept byte for byte, conditional comments and scripts
// included. It only sees to it that values cannot add to it.
package template

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Context is where a rendered text will stand. It decides what becomes of values.
type Context int

const (
	// Plain is a body of text/plain. Values stand as they are, without control
	// characters other than tab and line feed.
	Plain Context = iota
	// HTML is a body of text/html. Values are escaped for the place where their
	// placeholder stands.
	HTML
	// Header is an unstructured header field, such as Subject (RFC 5322, section
	// 3.6.5). The whole result is one line of at most 256 characters.
	Header
	// JSON is a document of JSON (RFC 8259): values are escaped for the string that their
	// placeholder must stand in, which Compile does not look after.
	JSON
	// Component is a part of a URL between its delimiters (RFC 3986, section 2), or of a form:
	// of values everything but unreserved characters is percent-encoded.
	Component
)

// Code is the name of the one-time code. Its placeholder is written in any case,
// ${OTP} and ${otp} alike; all other names are matched exactly.
const Code = "otp"

// maxNameLen bounds the name of a placeholder, in bytes. It also bounds how far
// Compile looks ahead at each "${".
const maxNameLen = 100

// guess is the room for a value, in bytes, for which Execute plans ahead.
const guess = 24

// A Template is a compiled source. It does not change, and can be executed by
// several goroutines at the same time.
type Template struct {
	in      Context
	parts   []part
	names   []string
	dropped []string
	size    int // of the fixed text and a guess for each value
}

// A part is fixed text and the placeholder after it. The last part has none.
type part struct {
	text    string
	written string // the name as the author wrote it
	name    string // the key in values; "" if no placeholder follows
	as      escape
}

// Compile reads a source. It never fails: what is no placeholder is text.
//
// A placeholder is ${name}; the name is a letter or an underscore followed by
// letters, digits and "_", ".", "-", at most 100 characters of ASCII.
//
// In HTML, placeholders at places where no escaping can keep a value from
// changing the document (names of tags and attributes, unquoted values,
// comments, scripts, styles, event handlers) are dropped: they yield nothing,
// are not among the Names, and Lint tells of them.
func Compile(source string, in Context) *Template {
	t := &Template{in: in}
	if in == HTML {
		parts, spots := place(source)
		t.parts = parts
		seen := make(map[string]bool)
		for _, s := range spots {
			if s.as == asDropped && !seen[s.name] {
				seen[s.name] = true
				t.dropped = append(t.dropped, s.name)
			}
		}
	} else {
		t.parts = scan(source)
		for i := range t.parts {
			t.parts[i].as = whole[in]
		}
	}
	seen := make(map[string]bool, len(t.parts))
	for _, p := range t.parts {
		t.size += len(p.text)
		if p.name == "" {
			continue
		}
		t.size += guess
		if !seen[p.name] {
			seen[p.name] = true
			t.names = append(t.names, p.name)
		}
	}
	return t
}

// whole are the escapes of contexts in which all places are alike.
var whole = map[Context]escape{JSON: asJSON, Component: asComponent}

// Names lists the placeholders in the order of first use, each once, as written;
// every spelling of OTP as "otp".
func (t *Template) Names() []string { return slices.Clone(t.names) }

// Dropped lists, like Names, those that Execute leaves out because of where they
// stand. A name can be in both lists if it is used twice.
func (t *Template) Dropped() []string { return slices.Clone(t.dropped) }

// Execute substitutes once; values are never scanned again, and a missing one is
// empty. Values are keyed by exact name, the one-time code by "otp". Bytes that
// are not UTF-8 become U+FFFD.
func (t *Template) Execute(values map[string]string) string {
	if t.in == Header {
		return t.header(values)
	}
	if len(t.parts) == 1 {
		return t.parts[0].text
	}
	var b strings.Builder
	b.Grow(t.size)
	for _, p := range t.parts {
		b.WriteString(p.text)
		if p.name != "" {
			if v := values[p.name]; v != "" || p.as != asPlain {
				p.as.write(&b, clean(v))
			}
		}
	}
	return b.String()
}

// Size is how long the result would be if the values needed no escaping, in bytes:
// a few placeholders can make very much of a long value. Escaping makes a value at
// most six times as long.
func (t *Template) Size(values map[string]string) int {
	n := 0
	for _, p := range t.parts {
		n += len(p.text)
		if p.name != "" {
			n += len(values[p.name])
		}
	}
	return n
}

// scan cuts a source at its placeholders.
func scan(source string) []part {
	var parts []part // not one for each "${": of a hostile source none may be a placeholder
	start := 0       // of the text not yet in parts
	for i := 0; ; {
		at := strings.Index(source[i:], "${")
		if at < 0 {
			break
		}
		at += i
		name := nameAt(source[at+2:])
		if name == "" {
			// The inner one of ${${a}} may still be a placeholder.
			i = at + 1
			continue
		}
		i = at + 2 + len(name) + 1
		p := part{text: source[start:at], written: name, name: name}
		if strings.EqualFold(name, Code) {
			p.name = Code
		}
		parts = append(parts, p)
		start = i
	}
	return append(parts, part{text: source[start:]})
}

// nameAt is the name at the start of s if a brace closes it, otherwise "".
func nameAt(s string) string {
	for i := 0; i < len(s) && i <= maxNameLen; i++ {
		switch c := s[i]; {
		case c == '_' || isLetter(c):
		case i > 0 && (isDigit(c) || c == '.' || c == '-'):
		case c == '}':
			return s[:i]
		default:
			return ""
		}
	}
	return ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// clean is a value without control characters other than tab and line feed, and
// with line feeds for line ends of any kind.
func clean(v string) string {
	fine := true
	for i := 0; i < len(v); i++ {
		if c := v[i]; c < ' ' && c != '\t' && c != '\n' || c >= 0x7F {
			fine = false
			break
		}
	}
	if fine {
		return v
	}
	var b strings.Builder
	b.Grow(len(v) + 8)
	for i, r := range v {
		switch {
		case r == '\r':
			if i+1 == len(v) || v[i+1] != '\n' {
				b.WriteByte('\n')
			}
		case r == '\t' || r == '\n' || !isControl(r):
			b.WriteRune(r) // U+FFFD for a byte that is not UTF-8
		}
	}
	return b.String()
}

// isControl is true for C0, DEL and C1.
func isControl(r rune) bool { return r < 0x20 || 0x7F <= r && r < 0xA0 }

// Bounds of a header, the ellipsis included. The second is what the composer of
// messages takes: 256 characters may have 1024 bytes.
const (
	maxHeaderRunes = 256
	maxHeaderBytes = 900
)

const ellipsis = "…"

// header executes a template as one line. Fixed text passes the same gate as
// values do, and the gate sees only what comes out: neither a line end nor an
// encoded word can be put together from two harmless halves.
func (t *Template) header(values map[string]string) string {
	var room [maxHeaderBytes + utf8.UTFMax]byte
	l := line{out: room[:0]}
	for _, p := range t.parts {
		l.write(p.text)
		if p.name != "" {
			l.write(values[p.name])
		}
		if l.full {
			return string(append(l.out[:l.cut], ellipsis...))
		}
	}
	return string(l.out)
}

// A line is a header value in the making.
type line struct {
	out   []byte
	runes int
	cut   int  // where an ellipsis would go
	blank bool // a blank is due before the next character
	full  bool
}

func (l *line) write(s string) {
	for _, r := range s {
		switch {
		case l.full:
			return
		case r == ' ' || isControl(r):
			l.blank = len(l.out) > 0
		case reorders(r):
		default:
			// A reader finds an encoded word by its "=?" (RFC 2047, section 2).
			if r == '?' && len(l.out) > 0 && l.out[len(l.out)-1] == '=' {
				l.blank = true
			}
			if l.blank {
				l.blank = false
				l.add(' ')
			}
			l.add(r)
		}
	}
}

func (l *line) add(r rune) {
	if l.full {
		return
	}
	n := utf8.RuneLen(r)
	if l.runes == maxHeaderRunes || len(l.out)+n > maxHeaderBytes {
		l.full = true
		return
	}
	l.out = utf8.AppendRune(l.out, r)
	l.runes++
	if r != ' ' && l.runes < maxHeaderRunes && len(l.out)+len(ellipsis) <= maxHeaderBytes {
		l.cut = len(l.out)
	}
}

// reorders is true for the line and paragraph separators, and for the controls
// that change the direction of the text around them. The marks that only hint at
// it (U+200E, U+200F, U+061C) are part of ordinary Hebrew and Arabic.
func reorders(r rune) bool {
	return r == 0x2028 || r == 0x2029 || 0x202A <= r && r <= 0x202E || 0x2066 <= r && r <= 0x2069
}
