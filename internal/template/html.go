package template

import (
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// An escape is what is done to a value before it is written.
type escape uint8

const (
	asPlain     escape = iota // nothing
	asText                    // HTML text, RCDATA and quoted attribute values
	asURL                     // a whole URL, or how one begins
	asScheme                  // how a URL begins, with a colon after it: ${scheme}://...
	asHead                    // how a URL begins, with text and a colon after it
	asURLItem                 // one URL of a list
	asPath                    // within a URL, before ? and #
	asQuery                   // within a URL, after ? or #
	asJSON                    // within a string of JSON
	asComponent               // a part of a URL, not within HTML
	asDropped                 // nowhere
)

// maxPasses bounds how often a source is looked at. Each pass drops what stands
// at an unsafe place, and may by that move the rest to other places. What is
// left after the last one is dropped without a look.
const maxPasses = 8

// standIn takes the place of a placeholder while its source is tokenised. It has
// to be a letter, since "<" and a letter begin a tag. No element with special
// content has a q in its name, so that it cannot complete one.
const standIn = 'q'

// A spot is the place of one placeholder.
type spot struct {
	name, written string
	as            escape
	attribute     bool   // within the value of an attribute
	where         string // for people: "the text", "href of <a>"
}

// place cuts an HTML source at its placeholders, drops those that stand at an
// unsafe place and sets the escape of the others. The spots tell of all of them,
// those that were dropped first.
func place(source string) (parts []part, spots []spot) {
	parts = scan(source)
	var dropped []spot
	for pass := 0; len(parts) > 1; pass++ {
		spots = look(parts)
		if pass == maxPasses {
			for i := range spots {
				spots[i].as, spots[i].where = asDropped, "markup that is made up of placeholders"
			}
		}
		if !slices.ContainsFunc(spots, func(s spot) bool { return s.as == asDropped }) {
			for i, s := range spots {
				parts[i].as = s.as
				parts[i].text = closeReference(parts[i].text, s.attribute)
			}
			return parts, append(dropped, spots...)
		}
		for _, s := range spots {
			if s.as == asDropped {
				dropped = append(dropped, s)
			}
		}
		parts = without(parts, spots)
	}
	return parts, dropped
}

// without joins the texts around the placeholders that are dropped.
func without(parts []part, spots []spot) []part {
	var kept []part
	var text strings.Builder
	for i, p := range parts {
		text.WriteString(p.text)
		if i < len(spots) && spots[i].as == asDropped {
			continue
		}
		p.text = text.String()
		text.Reset()
		kept = append(kept, p)
	}
	return kept
}

// look finds out where each placeholder stands. It returns a spot for each part
// but the last.
func look(parts []part) []spot {
	spots := make([]spot, len(parts)-1)
	at := make([]int, len(spots)) // offsets of the stand-ins
	var b strings.Builder
	for i, p := range parts {
		b.WriteString(p.text)
		if i < len(spots) {
			at[i] = b.Len()
			b.WriteByte(standIn)
			// What the tokenizer does not reach is an unfinished tag.
			spots[i] = spot{name: p.name, written: p.written, as: asDropped, where: "a tag that does not end"}
		}
	}
	source := b.String()

	z := html.NewTokenizer(strings.NewReader(source))
	raw := "" // the element whose content comes next, if it is not markup
	for next, start := 0, 0; next < len(spots); {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		end := start + len(z.Raw())
		first := next
		for next < len(spots) && at[next] < end {
			next++
		}
		here, offsets := spots[first:next], at[first:next]
		token := source[start:end]
		switch kind {
		case html.TextToken:
			lookAtText(here, offsets, start, token, raw)
			raw = ""
		case html.StartTagToken, html.SelfClosingTagToken:
			lookAtTag(here, offsets, start, token)
			raw = rawContent(tagName(token))
		default:
			raw = ""
			for i := range here {
				here[i].where = "a comment or declaration"
				if kind == html.EndTagToken {
					here[i].where = "an end tag"
				}
			}
		}
		start = end
	}
	return spots
}

// rawContent is name if its content is not markup, otherwise "".
func rawContent(name string) string {
	switch name {
	case "iframe", "noembed", "noframes", "noscript", "plaintext", "script", "style", "textarea", "title", "xmp":
		return name
	}
	return ""
}

// lookAtText: in ordinary text each place is safe, since a stand-in after "<",
// "</" or "<!" would have begun something else than text.
func lookAtText(spots []spot, at []int, start int, token, raw string) {
	// RCDATA (HTML, section 13.2.5.2) ends with the end tag of its element. Only
	// after a "<" can what follows complete one, when the value is empty.
	bracket := len(token)
	if raw != "" {
		if i := strings.IndexByte(token, '<'); i >= 0 {
			bracket = i
		}
	}
	for i := range spots {
		switch {
		case raw == "":
			spots[i].as, spots[i].where = asText, "the text"
		case raw != "title" && raw != "textarea":
			spots[i].where = "the content of <" + raw + ">"
		case at[i]-start > bracket:
			spots[i].where = "markup within <" + raw + ">"
		default:
			spots[i].as, spots[i].where = asText, "the text of <"+raw+">"
		}
	}
}

// lookAtTag: within a tag only quoted values of attributes are safe.
func lookAtTag(spots []spot, at []int, start int, token string) {
	if len(spots) == 0 {
		return
	}
	name := tagName(token)
	for i := range spots {
		spots[i].where = "the name of a tag"
		if at[i]-start > len(name) {
			spots[i].where = "<" + short(name) + "> outside of quotes"
		}
	}
	next := 0
	for _, a := range attributes(token) {
		for next < len(spots) && at[next]-start < a.from {
			next++
		}
		first := next
		for next < len(spots) && at[next]-start < a.to {
			next++
		}
		if first == next {
			continue
		}
		here := spots[first:next]
		if !a.quoted {
			for i := range here {
				here[i].where = short(a.key) + " of <" + short(name) + ">, which has no quotes"
			}
			continue
		}
		kind := attributeKind(name, a.key)
		for i := range here {
			here[i].attribute = true
			here[i].where = short(a.key) + " of <" + short(name) + ">"
			if kind == plainValue {
				here[i].as = asText
			}
		}
		if kind != urlValue && kind != urlList {
			continue
		}
		texts := make([]string, 0, len(here)+1)
		from := a.from
		for i := range here {
			offset := at[first+i] - start
			texts = append(texts, html.UnescapeString(token[from:offset]))
			from = offset + 1
		}
		texts = append(texts, html.UnescapeString(token[from:a.to]))
		if kind == urlList {
			lookAtURLs(here, texts)
		} else {
			lookAtURL(here, texts)
		}
	}
}

// short bounds what is quoted of a source.
func short(s string) string {
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) || reorders(r) {
			return '?'
		}
		return r
	}, s)
}

const blanks = " \t\n\r\f"

func isBlank(c byte) bool { return strings.IndexByte(blanks, c) >= 0 }

// tagName is the name, in lower case, of a tag that begins with "<".
func tagName(tag string) string {
	i := 1
	for i < len(tag) && tag[i] != '/' && tag[i] != '>' && !isBlank(tag[i]) {
		i++
	}
	return lower(tag[1:i])
}

// lower changes ASCII only, as names in HTML do: a Kelvin sign is no k.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// An attribute of a tag; from and to are where its value stands.
type attribute struct {
	key      string // in lower case
	from, to int
	quoted   bool
}

// attributes reads a start tag as the tokenizer does (HTML, sections 13.2.5.32
// to 13.2.5.40), which does not tell where a value stands and whether it is quoted.
func attributes(tag string) []attribute {
	var found []attribute
	i := 1
	for i < len(tag) && tag[i] != '/' && tag[i] != '>' && !isBlank(tag[i]) {
		i++
	}
	skip := func() {
		for i < len(tag) && isBlank(tag[i]) {
			i++
		}
	}
	for {
		skip()
		if i >= len(tag) || tag[i] == '>' {
			return found
		}
		start := i
		for i < len(tag) && tag[i] != '/' && tag[i] != '>' && !isBlank(tag[i]) && (tag[i] != '=' || i == start) {
			i++
		}
		a := attribute{key: lower(tag[start:i]), from: i, to: i}
		skip()
		if i < len(tag) && tag[i] == '/' {
			i++
		} else if i < len(tag) && tag[i] == '=' {
			i++
			skip()
			if i < len(tag) && (tag[i] == '"' || tag[i] == '\'') {
				quote := tag[i]
				i++
				n := strings.IndexByte(tag[i:], quote)
				if n < 0 {
					return found // not within a finished tag
				}
				a.from, a.to, a.quoted = i, i+n, true
				i += n + 1
			} else {
				a.from = i
				for i < len(tag) && tag[i] != '>' && !isBlank(tag[i]) {
					i++
				}
				a.to = i
			}
		}
		if a.key != "" {
			found = append(found, a)
		}
	}
}

type valueKind int

const (
	plainValue valueKind = iota
	urlValue
	urlList
	unsafeValue
)

// attributeKind says what the value of an attribute is read as.
func attributeKind(tag, key string) valueKind {
	// Elements that run, load or animate whatever their attributes say.
	switch tag {
	case "script", "style", "meta", "param", "applet", "set", "animate", "animatetransform", "animatemotion", "animatecolor":
		return unsafeValue
	}
	// xlink:href is a reference by any prefix, and scripts copy data-src to src.
	if i := strings.LastIndexByte(key, ':'); i >= 0 {
		key = key[i+1:]
	}
	if strings.HasPrefix(key, "on") {
		return unsafeValue
	}
	key = strings.TrimPrefix(key, "data-")
	switch key {
	case "style", "srcdoc":
		return unsafeValue
	case "srcset", "imagesrcset", "ping", "archive":
		return urlList
	case "href", "src", "action", "formaction", "background", "poster", "cite", "data", "longdesc", "usemap",
		"classid", "codebase", "icon", "manifest", "profile", "lowsrc", "dynsrc", "xmlns":
		return urlValue
	}
	// What programs invent for links and images is called like this.
	if strings.Contains(key, "url") || strings.Contains(key, "uri") || strings.Contains(key, "href") || strings.Contains(key, "src") {
		return urlValue
	}
	return plainValue
}

// lookAtURLs takes a list of URLs apart: srcset has commas and blanks between
// them, ping has blanks.
func lookAtURLs(spots []spot, texts []string) {
	first := 0
	item := []string{""}
	flush := func(last int) {
		lookAtURL(spots[first:last], item)
		for i := first; i < last; i++ {
			switch spots[i].as {
			case asURL:
				spots[i].as = asURLItem
			case asScheme, asHead:
				spots[i].as = asDropped
			}
		}
		first = last
	}
	for i, text := range texts {
		if i > 0 {
			item = append(item, "")
		}
		for {
			n := strings.IndexAny(text, blanks+",")
			if n < 0 {
				break
			}
			item[len(item)-1] += text[:n]
			flush(i)
			item = []string{""}
			text = text[n+1:]
		}
		item[len(item)-1] += text
	}
	flush(len(spots))
}

// lookAtURL sets how placeholders within one URL are escaped. The texts around
// them, one more than there are spots, have no character references any more.
//
// What has to be kept is who decides about the scheme (RFC 3986, section 3.1):
// the fixed text, or the first value and then only for harmless ones.
func lookAtURL(spots []spot, texts []string) {
	if len(spots) == 0 {
		return
	}
	// The first delimiter of the fixed text, and in which of the texts it is.
	delimiter, in, pos := byte(0), -1, -1
	for i := range texts {
		texts[i] = strippedURL(texts[i])
		if i == 0 {
			texts[i] = strings.TrimLeftFunc(texts[i], func(r rune) bool { return r <= ' ' })
		}
		if n := strings.IndexAny(texts[i], ":/?#"); n >= 0 && delimiter == 0 {
			delimiter, in, pos = texts[i][n], i, n
		}
	}
	begins := texts[0] == ""

	query := false
	for i := range spots {
		query = query || strings.ContainsAny(texts[i], "?#")
		switch {
		case i == 0 && begins && delimiter == ':' && in == 1 && pos == 0:
			spots[i].as = asScheme
		case i == 0 && begins && delimiter == ':':
			spots[i].as = asHead
		case i == 0 && begins:
			spots[i].as = asURL
		case !begins && delimiter == ':' && i < in:
			spots[i].as, spots[i].where = asDropped, "the scheme of a URL in "+spots[i].where
		case !begins && delimiter == ':' && in == 0 && !tameScheme(texts[0][:pos], texts[0][pos+1:]):
			spots[i].as, spots[i].where = asDropped, "a URL that may be a program, in "+spots[i].where
		case query:
			spots[i].as = asQuery
		default:
			spots[i].as = asPath
		}
	}
}

// strippedURL is without the characters that browsers ignore in a URL (URL
// standard, section 4.4).
func strippedURL(s string) string {
	if !strings.ContainsAny(s, "\t\n\r") {
		return s
	}
	return strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(s)
}

// tameScheme is true if values may stand in a URL of the scheme that the author
// wrote. Schemes of applications are fine in the form app://host/path.
func tameScheme(scheme, after string) bool {
	scheme = strings.ToLower(scheme)
	switch scheme {
	case "http", "https", "mailto", "tel", "sms", "cid", "mid", "ftp":
		return true
	case "", "javascript", "vbscript", "jscript", "livescript", "mocha", "data", "view-source", "jar", "feed", "blob", "filesystem":
		return false
	}
	for i := range len(scheme) {
		if c := scheme[i]; !isLetter(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return strings.HasPrefix(after, "//")
}

// linkScheme is true for the schemes that a value may bring along.
func linkScheme(s string) bool {
	return strings.EqualFold(s, "http") || strings.EqualFold(s, "https") ||
		strings.EqualFold(s, "mailto") || strings.EqualFold(s, "tel")
}

// closeReference finishes a character reference at the end of a text, as if the
// text ended there: otherwise the value could choose which character "&#" or
// "&l" stands for.
func closeReference(text string, attribute bool) string {
	at := len(text)
	for at > 0 && (isLetter(text[at-1]) || isDigit(text[at-1])) {
		at--
	}
	if at > 0 && text[at-1] == '#' {
		at--
	}
	if at == 0 || text[at-1] != '&' {
		return text
	}
	reference := text[at-1:]
	if number, ok := strings.CutPrefix(reference, "&#"); ok {
		digits, set := number, "0123456789"
		if number != "" && number[0]|0x20 == 'x' {
			digits, set = number[1:], "0123456789abcdefABCDEF"
		}
		switch {
		case digits == "": // "&#" and "&#x" are text until a digit follows
			return text[:at-1] + "&amp;" + reference[1:]
		case strings.Trim(digits, set) == "":
			return text + ";"
		}
		return text
	}
	plain := html.UnescapeString(reference)
	// Within an attribute a name without semicolon is none when more letters
	// follow (HTML, section 13.2.5.73); UnescapeString reads it as in text.
	if last := plain[len(plain)-1]; attribute && (isLetter(last) || isDigit(last)) {
		plain = reference
	}
	return text[:at-1] + html.EscapeString(plain)
}

// write appends a clean value.
func (e escape) write(b *strings.Builder, v string) {
	switch e {
	case asPlain:
		b.WriteString(v)
	case asText:
		writeText(b, v)
	case asURL, asScheme, asHead, asURLItem:
		writeURL(b, v, e)
	case asPath:
		writePercent(b, v, "/", false)
	case asQuery, asComponent:
		writePercent(b, v, "", false)
	case asJSON:
		writeJSON(b, v)
	}
}

// writeJSON escapes what a string of JSON can't hold (RFC 8259, section 7), and what
// would end a script that the document stands in.
func writeJSON(b *strings.Builder, v string) {
	from := 0
	for i, r := range v { // clean was here: no other control characters, and UTF-8
		var escaped string
		switch r {
		case '"':
			escaped = `\"`
		case '\\':
			escaped = `\\`
		case '\n':
			escaped = `\n`
		case '\t':
			escaped = `\t`
		case '<':
			escaped = `\u003c`
		case '\u2028':
			escaped = `\u2028`
		case '\u2029':
			escaped = `\u2029`
		default:
			continue
		}
		b.WriteString(v[from:i])
		b.WriteString(escaped)
		from = i + utf8.RuneLen(r)
	}
	b.WriteString(v[from:])
}

func writeText(b *strings.Builder, v string) {
	from := 0
	for i := 0; i < len(v); i++ {
		var reference string
		switch v[i] {
		case '&':
			reference = "&amp;"
		case '<':
			reference = "&lt;"
		case '>':
			reference = "&gt;"
		case '"':
			reference = "&#34;"
		case '\'':
			reference = "&#39;"
		default:
			continue
		}
		b.WriteString(v[from:i])
		b.WriteString(reference)
		from = i + 1
	}
	b.WriteString(v[from:])
}

// nowhere is what a refused URL becomes. What follows it is a fragment, whatever
// it looks like.
const nowhere = "#"

// writeURL writes a value that begins a URL: a link that a mail may hold, or a
// relative reference (RFC 3986, section 4.2).
func writeURL(b *strings.Builder, v string, e escape) {
	v = strings.Trim(v, blanks)
	switch i := strings.IndexAny(v, ":/?#"); {
	case i >= 0 && v[i] == ':' && !linkScheme(v[:i]),
		i < 0 && e == asScheme && !linkScheme(v),
		i < 0 && e == asHead:
		b.WriteString(nowhere)
		return
	}
	keep := ":/?#[]@!$&()*+,;="
	if e == asURLItem {
		keep = ":/?#[]@!$&()*+;=" // a comma would begin another item
	}
	writePercent(b, v, keep, true)
}

const upperHex = "0123456789ABCDEF"

// writePercent writes v with everything percent-encoded (RFC 3986, section 2.1)
// but unreserved characters and those in keep. A blank becomes %20, which, other
// than +, is a blank in paths, queries, fragments and mailto alike. If normalise
// is set, what is encoded already stays so.
func writePercent(b *strings.Builder, v, keep string, normalise bool) {
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case isLetter(c) || isDigit(c) || c == '-' || c == '.' || c == '_' || c == '~':
			b.WriteByte(c)
		case c == '%' && normalise && i+2 < len(v) && isHex(v[i+1]) && isHex(v[i+2]):
			b.WriteByte(c)
		case strings.IndexByte(keep, c) >= 0:
			if c == '&' {
				b.WriteString("&amp;")
			} else {
				b.WriteByte(c)
			}
		default:
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
