package template

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestOnlyTheGrammarIsPlaceholder(t *testing.T) {
	long := strings.Repeat("n", maxNameLen)
	for _, c := range []struct {
		source string
		names  []string
	}{
		{"", nil},
		{"no placeholder", nil},
		{"${a}", []string{"a"}},
		{"${b} ${a} ${b}", []string{"b", "a"}},
		{"${OTP} ${otp} ${oTp}", []string{"otp"}},
		{"${User} ${user}", []string{"User", "user"}},
		{"${_a.b-c9}", []string{"_a.b-c9"}},
		{"${${a}}", []string{"a"}},
		{"$${a}", []string{"a"}},
		{"${a${b}}", []string{"b"}},
		{"${ ${} ${a b} $x ${9} ${.a} ${-a} ${é} ${a", nil},
		{"${" + long + "}", []string{long}},
		{"${" + long + "n}", nil},
	} {
		for _, in := range []Context{Plain, HTML, Header} {
			tm := Compile(c.source, in)
			if got := tm.Names(); !slices.Equal(got, c.names) {
				t.Errorf("%q in %d: %q, want %q", c.source, in, got, c.names)
			}
			if got := tm.Execute(nil); in == Plain && c.names == nil && got != c.source {
				t.Errorf("%q became %q", c.source, got)
			}
		}
	}
}

func TestValuesAreNeverScannedAgain(t *testing.T) {
	vs := map[string]string{"a": "${b}", "b": "${a}", "otp": "1"}
	for _, in := range []Context{Plain, HTML, Header} {
		if got, want := Compile("${a}-${b}-${OTP}-${c}.", in).Execute(vs), "${b}-${a}-1-."; got != want {
			t.Errorf("context %d: %q, want %q", in, got, want)
		}
	}
	// A value and the text after it are no placeholder either.
	if got := Compile("${a}{b}", Plain).Execute(map[string]string{"a": "$", "b": "x"}); got != "${b}" {
		t.Errorf("%q", got)
	}
}

func TestPlainValuesLoseControlCharacters(t *testing.T) {
	got := Compile("<${a}>", Plain).Execute(map[string]string{"a": "a\x00\x1b[31m\tb\r\nc\rd\u0085\x7f<é\xff"})
	if want := "<a[31m\tb\nc\nd<é\uFFFD>"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHeaderIsOneLine(t *testing.T) {
	for _, c := range []struct{ source, value, want string }{
		{"Your code is ${a}", "1234", "Your code is 1234"},
		{"Hello ${a}!", "x\r\nBcc: a@example.org", "Hello x Bcc: a@example.org!"},
		{"a\r\n b${a}", "", "a b"},
		{"  a  ${a}  ", "\x00\x1b", "a"},
		{"${a}", "pay \u202Eelppa\u2069 now\u2028here", "pay elppa nowhere"},
		{"${a}", "שלום\u200F!", "שלום\u200F!"},
		{"${a}", "=?utf-8?q?x?=", "= ?utf-8?q?x?="},
		{"=${a}", "?utf-8?q?x?=", "= ?utf-8?q?x?="},
		{"${a}?u?q?x?=", "=", "= ?u?q?x?="},
		{"=${a}?", "\u202E", "= ?"},
		{"${a}", "a\xffb", "a\uFFFDb"},
	} {
		if got := Compile(c.source, Header).Execute(map[string]string{"a": c.value}); got != c.want {
			t.Errorf("%q with %q: %q, want %q", c.source, c.value, got, c.want)
		}
	}
}

func TestLongHeaderIsCutAtACharacter(t *testing.T) {
	run := func(s string) string { return Compile("${a}", Header).Execute(map[string]string{"a": s}) }
	if s := strings.Repeat("é", 256); run(s) != s {
		t.Error("256 characters were cut")
	}
	if got, want := run(strings.Repeat("é", 257)), strings.Repeat("é", 255)+"…"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// The composer takes 900 bytes, which are fewer characters of four.
	if got, want := run(strings.Repeat("𝄞", 256)), strings.Repeat("𝄞", 224)+"…"; got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	if got, want := run(strings.Repeat("x", 250)+"    "+strings.Repeat(" y", 50)), strings.Repeat("x", 250)+" y y…"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestValueIsEscapedForItsPlace(t *testing.T) {
	const v = `<b> & "c" 'd' é`
	for _, c := range []struct{ source, value, want string }{
		{"<p>${a}</p>", v, "<p>&lt;b&gt; &amp; &#34;c&#34; &#39;d&#39; é</p>"},
		{"<title>${a}</title>", "</title>", "<title>&lt;/title&gt;</title>"},
		{`<p title="${a}">`, `">`, `<p title="&#34;&gt;">`},
		{`<p title='${a}'>`, `'>`, `<p title='&#39;&gt;'>`},
		{`<a href="${a}">`, "https://example.org/?a=1&b=%20%zz é'", `<a href="https://example.org/?a=1&amp;b=%20%25zz%20%C3%A9%27">`},
		{`<a href="${a}">`, " mailto:a@example.org\n", `<a href="mailto:a@example.org">`},
		{`<a href="${a}">`, "TEL:+123", `<a href="TEL:+123">`},
		{`<a href="${a}">`, "/path:x", `<a href="/path:x">`},
		{`<a href="${a}">`, "", `<a href="">`},
		{`<a href="${a}">`, "javascript:alert(1)", `<a href="#">`},
		{`<a href="${a}">`, "java\tscript:alert(1)", `<a href="#">`},
		{`<a href="${a}">`, "\x01java\nscript:alert(1)", `<a href="#">`},
		{`<a href="${a}">`, "javascript&colon;alert(1)", `<a href="javascript&amp;colon;alert(1)">`},
		{`<a href="${a}">`, "cid:x", `<a href="#">`},
		{`<img SRC='${a}'>`, "data:image/png;base64,x", `<img SRC='#'>`},
		{`<use xlink:href="${a}"/>`, "javascript:x", `<use xlink:href="#"/>`},
		{`<img data-src="${a}">`, "javascript:x", `<img data-src="#">`},
		{`<a href="${a}://example.org/">`, "https", `<a href="https://example.org/">`},
		{`<a href="${a}://example.org/">`, "javascript", `<a href="#://example.org/">`},
		{`<a href="${a}:8080/">`, "https://example.org", `<a href="https://example.org:8080/">`},
		{`<a href="${a}script:x">`, "java", `<a href="#script:x">`},
		{`<a href="${a}script:x">`, "https://example.org/", `<a href="https://example.org/script:x">`},
		{`<a href="java${a}:x">`, "script", `<a href="java:x">`}, // dropped
		{`<a href="java${a}">`, "script:x", `<a href="javascript%3Ax">`},
		{`<a href="javascript:f('${a}')">`, "x", `<a href="javascript:f('')">`},
		{`<a href="&#106;avascript:${a}">`, "x", `<a href="&#106;avascript:">`},
		{`<a href="app://verify/${a}">`, "a b", `<a href="app://verify/a%20b">`},
		{`<a href="app:${a}">`, "x", `<a href="app:">`},
		{`<a href="https://example.org/${a}/x">`, "a/b?c#d:é", `<a href="https://example.org/a/b%3Fc%23d%3A%C3%A9/x">`},
		{`<a href="https://example.org/?q=${a}">`, "a/b&c=d +", `<a href="https://example.org/?q=a%2Fb%26c%3Dd%20%2B">`},
		{`<a href="/x#${a}">`, "a b", `<a href="/x#a%20b">`},
		{`<img srcset="${a} 1x, ${a} 2x">`, "https://example.org/a,b", `<img srcset="https://example.org/a%2Cb 1x, https://example.org/a%2Cb 2x">`},
		{`<img srcset="a.png ${a}, b.png 2x">`, "javascript:x", `<img srcset="a.png #, b.png 2x">`},
		// A value must not choose which character a reference stands for.
		{"&${a}", "lt;", "&amp;lt;"},
		{"&#${a}", "60;", "&amp;#60;"},
		{"&#6${a}", "0;", "&#6;0;"},
		{"&#x3${a}", "c;", "&#x3;c;"},
		{"&#x${a}", "3c;", "&amp;#x3c;"},
		{"&#6a${a}", "x", "&#6ax"},
		{"&#x${a}", "g", "&amp;#xg"},
		{"&lt${a}", "x", "&lt;x"},
		{"&l${a}", "t;", "&amp;lt;"},
		{"a#b&copy${a}", "x", "a#b©x"},
		{`<a title="&copyx${a}">`, "y", `<a title="&amp;copyxy">`},
		{`<a title="a&copy#${a}">`, "y", `<a title="a&copy#y">`},
	} {
		if got := Compile(c.source, HTML).Execute(map[string]string{"a": c.value}); got != c.want {
			t.Errorf("%s with %q:\n got %s\nwant %s", c.source, c.value, got, c.want)
		}
	}
}

func TestPlaceholderAtUnsafePlaceIsDropped(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"<${a}>", "<>"},
		{"<b${a}>", "<b>"},
		{"</b${a}>", "</b>"},
		{"<p ${a}=x>", "<p =x>"},
		{"<p title=${a}>", "<p title=>"},
		{"<p title=x${a}>", "<p title=x>"},
		{`<p onclick="f('${a}')">`, `<p onclick="f('')">`},
		{`<p style="color:${a}">`, `<p style="color:">`},
		{`<iframe srcdoc="${a}">`, `<iframe srcdoc="">`},
		{`<meta content="0;url=${a}">`, `<meta content="0;url=">`},
		{"<script>${a}</script>", "<script></script>"},
		{"<style>${a}</style>", "<style></style>"},
		{"<!-- ${a} -->", "<!--  -->"},
		{"<!--[if mso]>${a}<![endif]-->", "<!--[if mso]><![endif]-->"},
		{"<!${a}>", "<!>"},
		{"<?${a}>", "<?>"},
		{"<title></titl${a}e>", "<title></title>"},
		{"<plaintext>${a}", "<plaintext>"},
		{`<a href="${a}`, `<a href="`},
		{"<${a}script>${b}</script>", "<script></script>"},
		{"<${a} onerror=x>", "< onerror=x>"},
		{"<scr${a}ipt>${b}</scr${c}ipt>", "<script></script>"},
	} {
		tm := Compile(c.source, HTML)
		if got := tm.Execute(map[string]string{"a": "VALUE", "b": "VALUE", "c": "VALUE"}); got != c.want || len(tm.Names()) > 0 {
			t.Errorf("%s: %s, names %q, want %s", c.source, got, tm.Names(), c.want)
		}
		if len(tm.Dropped()) == 0 {
			t.Errorf("%s: nothing is said to be dropped", c.source)
		}
	}
}

func TestPlaceholdersAtSafePlacesSurviveTheDroppingOfOthers(t *testing.T) {
	tm := Compile("<${a}script>${b}</script><p ${c}>${d}</p>${a}", HTML)
	if got, want := tm.Execute(map[string]string{"a": "A", "b": "B", "c": "C", "d": "D"}), "<script></script><p >D</p>A"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := tm.Names(); !slices.Equal(got, []string{"d", "a"}) {
		t.Errorf("names %q", got)
	}
	if got := tm.Dropped(); !slices.Equal(got, []string{"a", "c", "b"}) {
		t.Errorf("dropped %q", got)
	}
}

func TestConditionalCommentsAreKept(t *testing.T) {
	const source = "<!--[if mso]><table><tr><td><![endif]--><p>${name}</p><!--[if !mso]><!--><b>${otp}</b><!--<![endif]-->"
	got := Compile(source, HTML).Execute(map[string]string{"name": "A", "otp": "1"})
	if want := strings.NewReplacer("${name}", "A", "${otp}", "1").Replace(source); got != want {
		t.Errorf("%s", got)
	}
}

func TestMarkupMadeOfPlaceholdersAloneEndsInNone(t *testing.T) {
	// Each drop makes the next tag, so that the passes run out.
	source := strings.Repeat("<${a}scr${b}ipt>${c}</script ${d}", 50)
	var nested strings.Builder
	for i := range 3 * maxPasses {
		fmt.Fprintf(&nested, "<${a%d}title>${b%d}</titl${c%d}e><!-${d%d}-", i, i, i, i)
	}
	for _, s := range []string{source, nested.String()} {
		structure(t, s, values(s, "<script>", "-->"))
	}
}

// The bound is for a busy machine with the race detector; each takes well below
// a second where something quadratic would take minutes.
func TestLargeHostileSourceIsCompiledInTime(t *testing.T) {
	for _, piece := range []string{"${", "${a}", "<", "<a ", "<${a}", "&${a}", "${a", "<!--${a}", `<a href="${a}`, "<title>${a}<", "&#", " a${a}=", `<a b="`, "<a href='${a}:", "<script>", "</", "=${a}", "\"'", "<pre>\n", "<a href=x>", "<li>", "<br>"} {
		source := strings.Repeat(piece, 100_000/len(piece))
		for _, s := range []string{source, `<a href="` + source + `">`, `<img srcset="` + source + `">`} {
			start := time.Now()
			Compile(s, HTML).Execute(map[string]string{"a": "x"})
			Compile(s, Header).Execute(map[string]string{"a": "x"})
			PlainText(s)
			Lint(Source{Body: s, Text: s, Subject: s, HTML: true, Known: []string{}})
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%q took %v", piece, took)
			}
		}
	}
}

func TestCompiledTemplateServesManyAtOnce(t *testing.T) {
	tm := Compile(`<a href="${url}">${otp}</a>`, HTML)
	for i := range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			code := fmt.Sprint(i)
			for range 100 {
				if got, want := tm.Execute(map[string]string{"url": "/x", "otp": code}), `<a href="/x">`+code+`</a>`; got != want {
					t.Fatalf("%s, want %s", got, want)
				}
			}
		})
	}
}

func TestPlainText(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"", ""},
		{"a", "a"},
		{"<p>Hello ${name},</p>\n<p>your  code\nis <b>${OTP}</b>.</p>", "Hello ${name},\n\nyour code is ${OTP}."},
		{"a<br>b<br/><br><br>c", "a\nb\n\nc"},
		{"<ul><li>a</li><li>${b}<li><p>c</p></ul>d", "- a\n- ${b}\n- c\n\nd"},
		{`<a href="https://example.org/?c=${otp}&amp;x">Confirm</a>!`, "Confirm (https://example.org/?c=${otp}&x)!"},
		{`<a href="${url}">${url}</a> <a href="mailto:a@example.org">a@example.org</a>`, "${url} a@example.org"},
		{`<a href="${url}"><img src=x alt=""></a>`, "${url}"},
		{`<a href="${url}"><img src=x alt="Shop"></a>`, "Shop (${url})"},
		{`<a href="#top">up</a> <a href="javascript:x">run</a> <a name=x>here</a>`, "up run here"},
		{"<html><head><title>T ${a}</title><style>p{}</style></head><body><script>x</script><!-- ${c} -->b</body>", "b"},
		{"<!--[if mso]>${a}<![endif]-->b", "b"},
		{"<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>d", "a b\nc\n\nd"},
		{"x<pre>\n a\n\n\n  b\n</pre>y", "x\n\n a\n\n\n  b\n\ny"},
		{"&lt;b&gt; &amp; &euro;&nbsp;&nbsp;5&zwj;", "<b> & € 5\u200d"},
		{"<div>a</div><div></div><div>b</div>", "a\nb"},
		{"a &#8203;&shy; b", "a b"},
		{"<noscript>x</noscript>y", "y"},
	} {
		if got := PlainText(c.source); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.source, got, c.want)
		}
	}
}

func TestLocaleHasOneSpelling(t *testing.T) {
	for in, want := range map[string]Locale{
		"en": "en", "EN": "en", "pt-BR": "pt-BR", "pt_br": "pt-BR", "FIL-ph": "fil-PH", "eng": "en", "en_us": "en-US", "zh-TW": "zh-TW", "iw": "iw",
	} {
		if got, err := ParseLocale(in); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "e", " en", "en ", "en-", "-US", "en--US", "en__US", "en-USA", "en-840", "zz", "und", "mul", "en-ZZ", "en-EU", "en-UK", "zh-Hant", "zh-Hant-TW", "en-US-x-y", "e1", "éé", "en_US_x", "C", "*"} {
		if got, err := ParseLocale(in); err == nil {
			t.Errorf("%q was taken as %q", in, got)
		}
	}
	if _, err := ParseLocale("en-UK"); err == nil || !strings.Contains(err.Error(), "GB") {
		t.Errorf("%v does not name the code in use", err)
	}
}

func TestLookupGoesFromExactToLastResort(t *testing.T) {
	for _, c := range []struct {
		want, application, last Locale
		order                   []Locale
	}{
		{"pt-BR", "de", "en", []Locale{"pt-BR", "pt", "de", "en"}},
		{"pt", "de", "en", []Locale{"pt", "de", "en"}},
		{"en-GB", "en", "en", []Locale{"en-GB", "en"}},
		{"", "", "en", []Locale{"en"}},
		{"fr", "", "", []Locale{"fr"}},
		{"", "", "", nil},
	} {
		if got := Lookup(c.want, c.application, c.last); !slices.Equal(got, c.order) {
			t.Errorf("%q %q %q: %q, want %q", c.want, c.application, c.last, got, c.order)
		}
	}
}

func TestCharsetIsRegisteredAndFitForMail(t *testing.T) {
	for _, name := range []string{"UTF-8", "us-ascii", "ISO-8859-1", "latin1", "Windows-1252", "iso-2022-jp", "Shift_JIS", "EUC-JP", "GBK", "GB18030", "Big5", "EUC-KR", "KOI8-R"} {
		if c, err := ParseCharset(name); err != nil || c.String() != strings.ToLower(name) {
			t.Errorf("%s: %q, %v", name, c, err)
		}
	}
	for name, why := range map[string]string{
		"utf8": "not registered", "": "not registered", "x": "not registered", " utf-8": "blanks", "utf-8\n": "blanks",
		"utf-7": "no encoder", "iso-2022-kr": "no encoder",
		"utf-16": "unfit", "UTF-16LE": "unfit", "IBM037": "unfit", "hz-gb-2312": "unfit",
	} {
		if _, err := ParseCharset(name); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", name, err, why)
		}
	}
}

func charset(t *testing.T, name string) Charset {
	t.Helper()
	c, err := ParseCharset(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUndecodableBytesAreAnError(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"utf-8", "é\uFFFD", "é\uFFFD"},
		{"utf-8", "a\xff", ""},
		{"us-ascii", "a", "a"},
		{"us-ascii", "a\x80", ""},
		{"latin1", "\xe9", "é"},
		{"shift_jis", "\x93\xfa\x96\x7b", "日本"},
		{"shift_jis", "\x93", ""},
		{"iso-2022-jp", "\x1b$BF|\x1b(B", "日"},
		{"euc-kr", "a\xff\xff", ""},
	} {
		got, err := charset(t, c.name).Decode([]byte(c.in))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %q: %q, %v", c.name, c.in, got, err)
		}
	}
	if got, err := (Charset{}).Decode([]byte("é")); got != "é" || err != nil || (Charset{}).String() != "utf-8" {
		t.Errorf("the zero charset is not utf-8: %q, %v", got, err)
	}
}

func TestFitsNamesTheFirstCharacterThatDoesNot(t *testing.T) {
	for _, c := range []struct {
		name, in string
		bad      rune
	}{
		{"utf-8", "日", 0},
		{"utf-8", "a\xff", '\uFFFD'},
		{"latin1", "é", 0},
		{"latin1", "é€日", '€'},
		{"windows-1252", "é€日", '日'},
		{"us-ascii", "é", 'é'},
		{"iso-2022-jp", "日本é", 'é'},
		{"gb18030", "日é€\uFFFD", 0},
		{"latin1", "\uFFFD", '\uFFFD'},
	} {
		bad, ok := charset(t, c.name).Fits(c.in)
		if bad != c.bad || ok != (c.bad == 0) {
			t.Errorf("%s %q: %q, %v", c.name, c.in, bad, ok)
		}
	}
}

func TestLintTellsWhatIsOdd(t *testing.T) {
	type found struct{ Code, Where string }
	for _, c := range []struct {
		name   string
		source Source
		want   []found
	}{
		{"nothing", Source{Subject: "Your code", Body: "<p>${OTP}</p>", HTML: true, Text: "${otp}", WantCode: true, Known: []string{}}, nil},
		{"names are not known", Source{Body: "${x}"}, nil},
		{"code in the subject alone", Source{Subject: "${otp}", Body: "x", WantCode: true}, nil},
		{"no code", Source{Body: "x", WantCode: true}, []found{{NoCode, "body"}}},
		{"code dropped", Source{Body: "<!--${otp}-->", HTML: true, Text: "x", WantCode: true}, []found{{DroppedName, "body"}, {NoCode, "body"}, {NoCode, "text"}}},
		{"unknown once each", Source{Subject: "${x}", Body: "${x} ${x} ${y}", Text: "${z}", Known: []string{"y"}}, []found{{UnknownName, "subject"}, {UnknownName, "body"}, {UnknownName, "text"}}},
		{"places", Source{Body: `<a href="${a}" title="${b}"><a href="/${c}"><p title=${d}>`, HTML: true, Text: "x"}, []found{{DroppedName, "body"}, {InURL, "body"}, {InAttribute, "body"}, {InURL, "body"}}},
		{"html alone", Source{Body: "x", HTML: true}, []found{{NoTextPart, "body"}}},
		{"charset", Source{Body: "é€", Text: "日", Charset: charset(t, "latin1")}, []found{{NotEncodable, "body"}, {NotEncodable, "text"}}},
	} {
		var got []found
		for _, w := range Lint(c.source) {
			got = append(got, found{w.Code, w.Where})
			if w.Detail == "" || strings.Contains(w.Detail, "%!") {
				t.Errorf("%s: %q", c.name, w.Detail)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestLintIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "${n%d}", i)
	}
	if n := len(Lint(Source{Body: b.String(), Known: []string{}})); n != maxWarnings {
		t.Errorf("%d warnings", n)
	}
}

// Documents put together from pieces that each change the tokenizer's state find
// other cases than bytes do.
func TestNoValueChangesTheStructureOfDrawnDocuments(t *testing.T) {
	pieces := []string{"<", ">", "/", "</", "<!--", "-->", "--!>", "<!", "<?", "\"", "'", "=", " ", "a", "script", "<script>", "</script>", "<title>", "</title>",
		"<textarea", "style", "<style>", "href=", "href=\"", "src='", "srcset=\"", "onclick=\"", ":", "javascript", "javascript:", "//", "?", "#", "&", "&#", "&lt", "&#x3c",
		"${a}", "${b}", "${c}", "${d}", "<a ", "<a href=\"", "<img ", "<svg>", "<![CDATA[", "]]>", "<noscript>", "<plaintext>", "<!doctype html>", "\n", "\x00", ",", "x"}
	rapid.Check(t, func(rt *rapid.T) {
		source := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 20).Draw(rt, "source"), "")
		vs := make(map[string]string)
		for _, name := range []string{"a", "b", "c", "d"} {
			vs[name] = rapid.OneOf(rapid.SampledFrom(hostileValues), rapid.SampledFrom(pieces), rapid.String()).Draw(rt, name)
		}
		structure(t, source, vs)
	})
}

func TestSizeIsThatOfTheResultBeforeEscaping(t *testing.T) {
	source, values := "a${x}b${OTP}c${x}${none}", map[string]string{"x": "<é>", "otp": "123456"}
	for in, most := range map[Context]int{Plain: 1, HTML: 6} {
		c := Compile(source, in)
		if got, n := len(c.Execute(values)), c.Size(values); n != len("abc")+2*len("<é>")+6 || got > most*n {
			t.Errorf("size %d, and the result has %d", n, got)
		}
	}
}
