package template

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// placeholder is the grammar once more, for the references.
var placeholder = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_.-]{0,99})\}`)

// values gives v, w and nothing in turn to the names of a source.
func values(source, v, w string) map[string]string {
	m := make(map[string]string)
	for i, found := range placeholder.FindAllStringSubmatch(source, -1) {
		name := found[1]
		if strings.EqualFold(name, Code) {
			name = Code
		}
		if _, ok := m[name]; !ok && i%3 < 2 {
			m[name] = []string{v, w}[i%3]
		}
	}
	return m
}

func FuzzPlainEqualsReference(f *testing.F) {
	for _, s := range []string{"${a}", "a ${b} ${OtP}", "$${a}", "${${a}}", "${", "${}", "${a b}", "${1}", "${_.-9}", "${a}${a}", "${" + strings.Repeat("n", 100) + "}", "${" + strings.Repeat("n", 101) + "}"} {
		f.Add(s, "v", "${b}")
		f.Add(s, "a\x00\x1b\r\nb\rc\td\u0085\xff", "é")
	}
	f.Fuzz(func(t *testing.T, source, v, w string) {
		vs := values(source, v, w)
		want := placeholder.ReplaceAllStringFunc(source, func(s string) string {
			name := s[2 : len(s)-1]
			if strings.EqualFold(name, "otp") {
				name = "otp"
			}
			value := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(vs[name])
			return strings.Map(func(r rune) rune {
				if unicode.IsControl(r) && r != '\t' && r != '\n' {
					return -1
				}
				return r
			}, value)
		})
		if got := Compile(source, Plain).Execute(vs); got != want {
			t.Fatalf("%q with %q: %q, want %q", source, vs, got, want)
		}
	})
}

// Whatever is filled in, a reader of JSON or of a query gets back the value and the
// document it would have been with another one.
func FuzzValueStaysInItsPlaceOfARequest(f *testing.F) {
	f.Add(`a","to":"x`)
	f.Add("a&b=c#d%20\r\n\"\\</script>\u2028é\xff")
	f.Fuzz(func(t *testing.T, v string) {
		want := clean(v)
		var got map[string]string
		doc := Compile(`{"a":"<${v}>","b":"x"}`, JSON).Execute(map[string]string{"v": v})
		if err := json.Unmarshal([]byte(doc), &got); err != nil || len(got) != 2 || got["a"] != "<"+want+">" || got["b"] != "x" {
			t.Fatalf("%q: %s, %v", v, doc, err)
		}
		query := Compile("a=${v}&b=x", Component).Execute(map[string]string{"v": v})
		if q, err := url.ParseQuery(query); err != nil || len(q) != 2 || q.Get("a") != want || q.Get("b") != "x" {
			t.Fatalf("%q: %s, %v", v, query, err)
		}
	})
}

func FuzzHeaderIsFitForComposer(f *testing.F) {
	f.Add("Code ${otp}", "1\r\nBcc: a@example.org", "")
	f.Add("${a}?utf-8?q?x?=", "=", "x")
	f.Add("=${a}${b}q", "\u202e", "?u?q?x?=")
	f.Add("${a}", strings.Repeat("𝄞", 300), "")
	f.Add("${a}=", strings.Repeat("=?", 200), "")
	f.Add("a\r\n\x00b\xff", "", "")
	f.Fuzz(func(t *testing.T, source, v, w string) {
		vs := values(source, v, w)
		got := Compile(source, Header).Execute(vs)
		if len(got) > 900 || utf8.RuneCountInString(got) > 256 || !utf8.ValidString(got) {
			t.Fatalf("%q: %d bytes, %d characters", got, len(got), utf8.RuneCountInString(got))
		}
		for _, r := range got {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
				t.Fatalf("%q holds %U", got, r)
			}
		}
		if strings.Contains(got, "=?") {
			t.Fatalf("%q holds what begins an encoded word", got)
		}
		if again := Compile(strings.ReplaceAll(got, "${", "$ {"), Header).Execute(nil); !strings.Contains(got, "${") && again != got {
			t.Fatalf("%q is not stable: %q", got, again)
		}
	})
}

// A shape is what a document is made of. Texts and values of attributes are
// apart, so that an empty text does not count as a change.
type shape struct {
	tags  []string
	texts []string // one more than tags
	attrs []html.Attribute
	urls  []html.Attribute
}

func shapeOf(doc string) shape {
	s := shape{texts: []string{""}}
	z := html.NewTokenizer(strings.NewReader(doc))
	for {
		kind := z.Next()
		raw := string(z.Raw())
		token := z.Token()
		switch kind {
		case html.ErrorToken:
			s.tags = append(s.tags, "end of document")
			return s
		case html.TextToken:
			s.texts[len(s.texts)-1] += token.Data
			continue
		case html.CommentToken, html.DoctypeToken:
			s.tags = append(s.tags, raw)
		default:
			var tag strings.Builder
			tag.WriteString(kind.String() + " " + token.Data)
			for _, a := range token.Attr {
				tag.WriteString(" " + a.Key)
				if k := attributeKind(token.Data, a.Key); k == urlValue || k == urlList {
					s.urls = append(s.urls, a)
				} else {
					s.attrs = append(s.attrs, a)
				}
			}
			s.tags = append(s.tags, tag.String())
		}
		s.texts = append(s.texts, "")
	}
}

// program is true for a URL that runs something, read as a browser does.
func program(url string) bool {
	url = strings.TrimLeftFunc(strippedURL(url), func(r rune) bool { return r <= ' ' })
	url = strings.ToLower(url)
	return strings.HasPrefix(url, "javascript:") || strings.HasPrefix(url, "data:") || strings.HasPrefix(url, "vbscript:")
}

// structure fails if values change more than text and values of attributes.
func structure(t *testing.T, source string, vs map[string]string) {
	t.Helper()
	const marker = "qZ"
	if strings.Contains(source, marker) || strings.Contains(source, "\r") {
		return // cannot be told apart
	}
	tm := Compile(source, HTML)
	marks := make(map[string]string)
	var pairs []string
	for i, name := range tm.Names() {
		marks[name] = marker + strconv.Itoa(i) + "Zq"
		pairs = append(pairs, marks[name], clean(vs[name]))
	}
	fill := strings.NewReplacer(pairs...)

	marked, got := shapeOf(tm.Execute(marks)), shapeOf(tm.Execute(vs))
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s: source %q, values %q\n%q\n%q", what, source, vs, tm.Execute(marks), tm.Execute(vs))
	}
	if !slices.Equal(marked.tags, got.tags) {
		fail("structure changed")
	}
	for i := range marked.texts {
		if fill.Replace(marked.texts[i]) != got.texts[i] {
			fail("text is not the value")
		}
	}
	for i := range marked.attrs {
		if fill.Replace(marked.attrs[i].Val) != got.attrs[i].Val {
			fail("attribute " + got.attrs[i].Key + " is not the value")
		}
	}
	for i := range marked.urls {
		if program(got.urls[i].Val) && !program(marked.urls[i].Val) {
			fail("attribute " + got.urls[i].Key + " became a program")
		}
		if len(got.urls[i].Val) > 0 && strings.HasPrefix(marked.urls[i].Val, marker) && program(got.urls[i].Val) {
			fail("attribute " + got.urls[i].Key + " became a program")
		}
	}
}

var hostileSources = []string{
	"<p>${a}</p>", `<a href="${a}">${b}</a>`, `<a href='https://example.org/${a}?q=${b}#${c}'>`, "<${a}script>${b}</script>", "<${a} onerror=x>",
	"<title>${a}</titl${b}e>${c}", "</titl${a}e>", "<textarea>${a}</textarea${b}>", "<!-- ${a} --${b}>", "<style>${a}</style>", `<a title=${a}>`,
	`<a ${a}="${b}">`, `<a on${a}click="${b}">`, `<a href="${a}:${b}">`, `<a href="java${a}script:${b}">`, `<a href="${a}script:alert(1)">`,
	`<a href="javascript:${a}">`, `<a href="&#106;avascript:${a}">`, `<a href="&#${a}avascript:x">`, "&${a}lt;", "&#${a}", "&l${a}", "&copyx${a}",
	`<img srcset="${a} 1x, ${b} 2x">`, `<img srcset="a.png,${a}">`, `<a title="&copy${a}">`, `<a title="&copyx${a}">`, "<!--[if mso]>${a}<![endif]-->${b}",
	"<![CDATA[${a}]]>${b}", "<svg><title><script>${a}</script></title>", "<plaintext>${a}", "<a href=\"${a}", "<${a}${b}>", "a < ${a} b <${b}",
	`<a href=" ${a}">`, "<a href=\"\x01${a}\">", "<a href=\"${a}\n:${b}\">", `<a href="${a}${b}:c">`, `<a/href="${a}"/>`, `<a =" b="${a}">`,
	"<scr${a}ipt>${b}</scr${c}ipt>", "<q${a}mp>${b}</xmp>", "<!${a}", "<?${a}>", "</${a}>", "<a b='${a}' c=\"${b}\" d=${c}>", "<noscript><a href=\"${a}\"></noscript>",
}

var hostileValues = []string{
	"", "x", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "' onmouseover='x", "javascript:alert(1)", "java\tscript:alert(1)", "\x01javascript:x",
	"JaVaScRiPt&colon;alert(1)", "data:text/html,<b>", "vbscript:x", "javascript", "https", "https://example.org/?a=b&c=d e'", "-->", "]]>", "lt;", "#60;", "106;",
	"script:alert(1)", "=", "/", ">", "a,javascript:x", "mailto:a@example.org", "//example.org", "\\", "\x00", "é\u2028\xff", "&amp;", "${b}", "!--",
}

func FuzzHTMLKeepsStructure(f *testing.F) {
	for i, s := range hostileSources {
		f.Add(s, hostileValues[i%len(hostileValues)], hostileValues[(i*7+3)%len(hostileValues)])
	}
	f.Fuzz(func(t *testing.T, source, v, w string) {
		vs := values(source, v, w)
		structure(t, source, vs)
		structure(t, source, nil)
		Lint(Source{Body: source, HTML: true, WantCode: true, Known: []string{}, Subject: v, Text: w})
	})
}

// The tokenizer does not tell where a value stands, so our reading of a tag has
// to be the same as its.
func FuzzAttributesAreReadLikeTheTokenizer(f *testing.F) {
	for _, s := range hostileSources {
		f.Add(s)
	}
	for _, s := range []string{"<a / = \"x\">", "<a =b>", "<a b = c d>", "<a b=/>", "<a b=\">\">", "<a\fb='c'd>", "<a/b/=c>", "<a b= >", "<A HREF=\"X\" href=y>", "<a b/=\"c>\">", "<a ==\">\">", "<a \xdd\t\xe4=>", "<a \u212a=x k=y>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		z := html.NewTokenizer(strings.NewReader(doc))
		for {
			kind := z.Next()
			if kind == html.ErrorToken {
				return
			}
			if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
				continue
			}
			raw := string(z.Raw())
			token := z.Token()
			var got []html.Attribute
			seen := make(map[string]bool)
			for _, a := range attributes(raw) {
				if key := strings.ReplaceAll(a.key, "\x00", "\ufffd"); !seen[a.key] {
					seen[a.key] = true
					got = append(got, html.Attribute{Key: key, Val: raw[a.from:a.to]})
				}
			}
			if len(got) != len(token.Attr) {
				t.Fatalf("%q: %q, want %q", raw, got, token.Attr)
			}
			for i, a := range token.Attr {
				plain := !strings.ContainsAny(got[i].Val, "&\r\x00")
				if a.Key != got[i].Key || plain && a.Val != got[i].Val {
					t.Fatalf("%q: %q, want %q", raw, got, token.Attr)
				}
			}
		}
	})
}

func FuzzPlainTextKeepsVisiblePlaceholders(f *testing.F) {
	for _, s := range hostileSources {
		f.Add(s)
	}
	for _, s := range []string{"<p>Hi ${a}<br><br><br>x", "<ul><li>a<li><p>${b}</ul>", "<pre>\n a\n\n\n b</pre>", `<a href="https://x/${otp}"><img alt="${c}"></a>`, "<title>${a}</title><td>a<td>b", "<a href=x><a href=y>z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		got := PlainText(source)
		if !utf8.ValidString(got) || strings.HasSuffix(got, "\n") {
			t.Fatalf("%q", got)
		}
		if !strings.Contains(strings.ToLower(source), "<pre") && strings.Contains(got, "\n\n\n") {
			t.Fatalf("%q has two empty lines in a row", got)
		}
		z := html.NewTokenizer(strings.NewReader(source))
		for hidden := false; ; {
			kind := z.Next()
			if kind == html.ErrorToken {
				return
			}
			token := z.Token()
			if kind == html.TextToken && !hidden {
				for _, s := range placeholder.FindAllString(token.Data, -1) {
					if !strings.Contains(got, s) {
						t.Fatalf("%q has lost %s: %q", source, s, got)
					}
				}
			}
			hidden = (kind == html.StartTagToken || kind == html.SelfClosingTagToken) &&
				slices.Contains([]string{"script", "style", "title", "noscript", "iframe", "noembed", "noframes"}, token.Data)
		}
	})
}

func FuzzParseLocale(f *testing.F) {
	for _, s := range []string{"en", "pt-BR", "fil_ph", "ENG", "und", " en", "en-", "en-UK", "zz", "en-US-x", "i", "日本", "sh-YU", "qaa-XK"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLocale(s)
		if err != nil {
			if l != "" || len(err.Error()) > 400 {
				t.Fatalf("%q: %q and an error of %d bytes", s, l, len(err.Error()))
			}
			return
		}
		again, err := ParseLocale(string(l))
		if err != nil || again != l {
			t.Fatalf("%q -> %q -> %q, %v", s, l, again, err)
		}
		if base, err := ParseLocale(string(l.Language())); err != nil || base != l.Language() {
			t.Fatalf("%q: language %q, %v", l, l.Language(), err)
		}
		if !strings.HasPrefix(string(l), string(l.Language())) || len(l) > 6 {
			t.Fatalf("%q", l)
		}
	})
}

func FuzzParseCharset(f *testing.F) {
	for _, s := range []string{"UTF-8", "us-ascii", "latin1", "iso-2022-jp", "Shift_JIS", "gb18030", "big5", "euc-kr", "koi8-r", "utf-16", "hz-gb-2312", "ibm037", "utf-7", "utf8", " utf-8", ""} {
		f.Add(s, []byte("a\x80\xff"), "aé日\xff")
		f.Add(s, []byte("\x1b$B$"), "\ufffd\x1b~")
	}
	f.Fuzz(func(t *testing.T, name string, b []byte, s string) {
		c, err := ParseCharset(name)
		if err != nil {
			if c != (Charset{}) || len(err.Error()) > 400 {
				t.Fatalf("%q: %q and an error of %d bytes", name, c, len(err.Error()))
			}
			return
		}
		if again, err := ParseCharset(c.String()); err != nil || again != c {
			t.Fatalf("%q -> %q -> %q, %v", name, c, again, err)
		}
		if got, err := c.Decode(b); err == nil && !utf8.ValidString(got) {
			t.Fatalf("%s: %q decodes to %q", c, b, got)
		}
		bad, ok := c.Fits(s)
		if !ok && !strings.ContainsRune(s, bad) && utf8.ValidString(s) {
			t.Fatalf("%s: %q is not in %q", c, bad, s)
		}
		if ok && c.encoding() != nil {
			if _, err := c.encoding().NewEncoder().String(s); err != nil {
				t.Fatalf("%s: %q was said to fit: %v", c, s, err)
			}
		}
	})
}

func TestNoHostileValueChangesTheStructureOfAHostileSource(t *testing.T) {
	for _, source := range hostileSources {
		for i, v := range hostileValues {
			w := hostileValues[(i*7+3)%len(hostileValues)]
			vs := values(source, v, w)
			structure(t, source, vs)
			structure(t, source, values(source, w, v))
			for name := range vs {
				vs[name] = v
			}
			structure(t, source, vs)
		}
	}
}
