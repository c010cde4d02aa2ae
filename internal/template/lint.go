package template

import (
	"fmt"
	"slices"
)

// Codes of warnings.
const (
	NoCode        = "no-code"                  // the one-time code is not in the mail
	UnknownName   = "unknown-placeholder"      // nobody is known to give it
	InURL         = "placeholder-in-url"       // a value decides where a link goes
	InAttribute   = "placeholder-in-attribute" // a value that few programs show
	DroppedName   = "placeholder-dropped"      // it yields nothing where it stands
	NoTextPart    = "no-text-part"             // HTML alone
	NotEncodable  = "not-encodable"            // the body does not fit its charset
	maxWarnings   = 100
	whereSubject  = "subject"
	whereBody     = "body"
	whereTextPart = "text"
)

// A Warning is something that the author of a template should know. Code is one
// of the constants above, Where "subject", "body" or "text", Detail a sentence.
type Warning struct{ Code, Where, Detail string }

// A Source is a template as its author wrote it.
type Source struct {
	Subject, Body string
	HTML          bool     // what Body is
	Text          string   // the text part beside an HTML body, if one was given
	Known         []string // the names that senders are known to give; nil if that is not known
	Charset       Charset  // of both bodies
	WantCode      bool     // whether a mail without the one-time code has no use
}

// Lint tells what is odd in a source, at most 100 things. All of it can be sent.
func Lint(s Source) []Warning {
	l := linter{source: s, seen: make(map[Warning]bool)}

	subject := Compile(s.Subject, Header)
	l.unknown(whereSubject, subject.names)

	var body []string // names in the body
	if s.HTML {
		_, spots := place(s.Body)
		for _, spot := range spots {
			if spot.as != asDropped {
				body = append(body, spot.name)
			}
		}
		l.unknown(whereBody, body)
		for _, spot := range spots {
			l.spot(spot)
		}
	} else {
		body = Compile(s.Body, Plain).names
		l.unknown(whereBody, body)
	}
	text := Compile(s.Text, Plain).names
	l.unknown(whereTextPart, text)

	if s.WantCode && !slices.Contains(subject.names, Code) {
		if !slices.Contains(body, Code) {
			l.warn(NoCode, whereBody, "the body has no ${OTP}: the mail is sent without the one-time code")
		}
		if s.Text != "" && !slices.Contains(text, Code) {
			l.warn(NoCode, whereTextPart, "the text part has no ${OTP}: who reads it does not see the one-time code")
		}
	}
	if s.HTML && s.Text == "" {
		l.warn(NoTextPart, whereBody, "the body is HTML without a text part: programs that show text only depend on one made from it")
	}
	l.fits(whereBody, s.Body)
	l.fits(whereTextPart, s.Text)
	return l.found
}

type linter struct {
	source Source
	found  []Warning
	seen   map[Warning]bool
}

func (l *linter) warn(code, where, format string, args ...any) {
	if len(l.found) == maxWarnings {
		return
	}
	w := Warning{Code: code, Where: where, Detail: fmt.Sprintf(format, args...)}
	if !l.seen[w] {
		l.seen[w] = true
		l.found = append(l.found, w)
	}
}

func (l *linter) unknown(where string, names []string) {
	if l.source.Known == nil {
		return
	}
	for _, name := range names {
		if name != Code && !slices.Contains(l.source.Known, name) {
			l.warn(UnknownName, where, "nobody is known to give ${%s}: it will be empty", name)
		}
	}
}

func (l *linter) spot(s spot) {
	switch s.as {
	case asDropped:
		l.warn(DroppedName, whereBody, "${%s} stands in %s, where no value is safe, and is left out; put it into text or into a quoted attribute", s.written, s.where)
	case asURL, asScheme, asHead, asURLItem:
		l.warn(InURL, whereBody, "${%s} begins a URL (%s): only http, https, mailto, tel and relative ones are let through, and the value decides where the link goes", s.written, s.where)
	case asPath, asQuery:
		l.warn(InURL, whereBody, "${%s} stands within a URL (%s): its value is percent-encoded, and gets into logs of whoever the link leads past", s.written, s.where)
	default:
		if s.attribute {
			l.warn(InAttribute, whereBody, "${%s} stands in an attribute (%s), which most readers do not see", s.written, s.where)
		}
	}
}

func (l *linter) fits(where, s string) {
	if bad, ok := l.source.Charset.Fits(s); !ok {
		l.warn(NotEncodable, where, "%q (%U) cannot be written in %s; use utf-8, or another character", bad, bad, l.source.Charset)
	}
}
