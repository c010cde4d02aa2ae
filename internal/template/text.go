package template

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// PlainText is the text alternative of an HTML source: placeholders stay as they
// are, to be compiled as Plain.
//
// Links become "text (URL)", images their alternative text, items of lists begin
// with "- ". What a reader does not see is left out. Lines are not wrapped, and
// the last one has no line end.
func PlainText(source string) string {
	var w textWriter
	z := html.NewTokenizer(strings.NewReader(source))
	hidden := false // the next text is the content of an element that is not shown
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			w.endLink()
			return strings.TrimRight(string(w.out), blanks)
		case html.TextToken:
			if !hidden {
				w.text(z.Text())
			}
			hidden = false
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			tag := string(name)
			var href, alt string
			for more {
				var key, value []byte
				key, value, more = z.TagAttr()
				switch string(key) {
				case "href":
					href = string(value)
				case "alt":
					alt = string(value)
				}
			}
			hidden = isHidden(tag)
			w.start(tag, href, alt)
		case html.EndTagToken:
			hidden = false
			name, _ := z.TagName()
			w.end(string(name))
		default:
			hidden = false
		}
	}
}

// isHidden is true for elements whose content is not markup and not shown. The
// rest of <head> has no text: the first one ends it (HTML, section 13.2.6.4.4).
func isHidden(tag string) bool {
	raw := rawContent(tag)
	return raw != "" && raw != "textarea" && raw != "xmp" && raw != "plaintext"
}

// lineEnds says how many line ends stand around an element: 2 for paragraphs, 1
// for other blocks, 0 for what runs along with the text.
func lineEnds(tag string) int {
	switch tag {
	case "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr":
		return 2
	case "address", "article", "aside", "body", "caption", "center", "dd", "details", "dialog", "div", "dt", "fieldset",
		"figcaption", "figure", "footer", "form", "head", "header", "html", "legend", "li", "main", "menu", "nav",
		"option", "section", "select", "summary", "tbody", "textarea", "tfoot", "thead", "title", "tr":
		return 1
	}
	return 0
}

// A textWriter collapses blanks and line ends as a browser would show them.
type textWriter struct {
	out   []byte
	owed  int  // line ends before the next character
	blank bool // a blank before the next character
	item  bool // "- " before the next character
	pre   int  // depth of <pre>
	fresh bool // <pre> has just begun

	href   string
	linked bool
	from   int // where the text of the link begins in out, or -1
}

func (w *textWriter) start(tag, href, alt string) {
	w.fresh = false
	switch tag {
	case "br":
		w.breakLine(min(w.owed+1, 2))
		return
	case "img", "area":
		w.text([]byte(alt))
		return
	case "a":
		w.endLink()
		w.href, w.linked, w.from = cleanLink(href), true, -1
		return
	case "td", "th":
		w.blank = true
		return
	}
	w.breakLine(lineEnds(tag))
	switch tag {
	case "li":
		w.item = true
	case "pre":
		w.pre++
		w.fresh = true
	}
}

func (w *textWriter) end(tag string) {
	switch tag {
	case "a":
		w.endLink()
	case "li":
		w.item = false
	case "pre":
		w.pre = max(w.pre-1, 0)
	}
	w.breakLine(lineEnds(tag))
}

func (w *textWriter) breakLine(n int) {
	// An item that begins with a paragraph begins on the line of its dash.
	if n > 0 && !w.item {
		w.owed = max(w.owed, n)
		w.blank = false
	}
}

// settle writes what is due before the next character.
func (w *textWriter) settle() {
	if len(w.out) > 0 {
		written := 0
		for written < len(w.out) && w.out[len(w.out)-1-written] == '\n' {
			written++
		}
		for ; written < w.owed; written++ {
			w.out = append(w.out, '\n')
		}
		if w.blank && written == 0 {
			w.out = append(w.out, ' ')
		}
	}
	w.owed, w.blank = 0, false
	if w.item {
		w.item = false
		w.out = append(w.out, "- "...)
	}
	if w.linked && w.from < 0 {
		w.from = len(w.out)
	}
}

func (w *textWriter) text(s []byte) {
	if w.pre > 0 && w.fresh && len(s) > 0 {
		w.fresh = false
		s = bytes.TrimPrefix(s, []byte("\n"))
	}
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		s = s[n:]
		switch {
		case w.pre > 0 && (r == '\n' || r == '\t' || r == ' '):
			w.settle()
			w.out = append(w.out, byte(r))
		case r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\f' || r == 0xA0 || r == 0x2028 || r == 0x2029:
			w.blank = true
		case isControl(r) || r == 0xAD || r == 0x34F || r == 0x200B || r == 0xFEFF:
			// Invisible fillers, which mails hold to keep a preview short.
		default:
			w.settle()
			w.out = utf8.AppendRune(w.out, r)
		}
	}
}

func (w *textWriter) endLink() {
	if !w.linked {
		return
	}
	w.linked = false
	switch {
	case w.href == "":
	case w.from < 0:
		w.settle()
		w.out = append(w.out, w.href...)
	default:
		text := strings.TrimSpace(string(w.out[w.from:]))
		if text != w.href && "mailto:"+text != w.href && "tel:"+text != w.href {
			w.out = append(w.out, " ("...)
			w.out = append(w.out, w.href...)
			w.out = append(w.out, ')')
		}
	}
}

// cleanLink is a link worth writing down, or "".
func cleanLink(href string) string {
	href = strings.Map(func(r rune) rune {
		if r == ' ' || isControl(r) || reorders(r) {
			return -1
		}
		return r
	}, href)
	if strings.HasPrefix(href, "#") {
		return ""
	}
	if scheme, _, ok := strings.Cut(href, ":"); ok {
		switch strings.ToLower(scheme) {
		case "javascript", "vbscript", "data", "cid":
			return ""
		}
	}
	return strings.ToValidUTF8(href, "\uFFFD")
}
