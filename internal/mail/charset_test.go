package mail

import (
	"bytes"
	stdcmp "cmp"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	"github.com/google/go-cmp/cmp"
)

// wire is the only part of a message: its charset, and its body as it is before
// the charset is decoded.
func wire(t *testing.T, m []byte) (charset, body string) {
	t.Helper()
	read, err := netmail.ReadMessage(bytes.NewReader(m))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(read.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	var from io.Reader = quotedprintable.NewReader(read.Body)
	if read.Header.Get("Content-Transfer-Encoding") == "base64" {
		from = base64.NewDecoder(base64.StdEncoding, read.Body)
	}
	b, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return params["charset"], string(b)
}

// The bytes are those of Python's codecs.
func TestTextIsWrittenInItsCharset(t *testing.T) {
	for _, c := range []struct{ charset, text, want string }{
		{"ISO-2022-JP", "認証コード：493817", "\x1b$B\x47\x27\x3e\x5a\x25\x33\x21\x3c\x25\x49\x21\x27\x1b(B493817"},
		{"ISO-8859-1", "Gültig für 10 Minuten ½ÿ", "G\xfcltig f\xfcr 10 Minuten \xbd\xff"},
		{"windows-1252", "„Zoë“ zahlt 5 €…", "\x84Zo\xeb\x93 zahlt 5 \x80\x85"},
		{"Shift_JIS", `表示ソ能力 ｶﾅ \ ~`, "\x95\x5c\x8e\xa6\x83\x5c\x94\x5c\x97\xcd \xb6\xc5 \\ ~"},
		{"EUC-KR", "인증 코드 493817", "\xc0\xce\xc1\xf5 \xc4\xda\xb5\xe5 493817"},
		{"GB18030", "验证码 é 😀 𠀀", "\xd1\xe9\xd6\xa4\xc2\xeb \xa8\xa6 \x94\x39\xfc\x36 \x95\x32\x82\x36"},
		{"Big5", "驗證碼 許功蓋", "\xc5\xe7\xc3\xd2\xbd\x58 \xb3\x5c\xa5\x5c\xbb\x5c"},
		{"KOI8-R", "Ваш код ─", "\xf7\xc1\xdb \xcb\xcf\xc4 \x80"},
		{"us-ascii", `Your code is 493817 =?~\`, `Your code is 493817 =?~\`},
		{"UTF-8", "Größe\x1b 😀", "Größe\x1b 😀"},
		{"", "Größe", "Größe"},
		{"ISO_8859-1:1987", "Größe", "Gr\xf6\xdfe"},
	} {
		t.Run(c.charset, func(t *testing.T) {
			d := sample()
			d.Charset = c.charset
			d.Text = c.text + "\nzweite\r\n\r" + c.text
			m := mustCompose(t, d)
			charset, body := wire(t, m)
			if want := strings.ToLower(stdcmp.Or(c.charset, "utf-8")); charset != want {
				t.Errorf("charset %q, want %q", charset, want)
			}
			if want := c.want + "\r\nzweite\r\n\r\n" + c.want + "\r\n"; body != want {
				t.Errorf("body %q, want %q", body, want)
			}

			d.HTML = "<p>" + strings.Repeat(c.text+"\n", 40)
			want := map[string]string{"text/plain": crlf(d.Text), "text/html": crlf(d.HTML)}
			if diff := cmp.Diff(want, texts(t, mustCompose(t, d))); diff != "" {
				t.Errorf("both texts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatACharsetLacksTurnsTheWholeMessageToUTF8(t *testing.T) {
	for name, c := range map[string]struct{ charset, text string }{
		"emoji":                        {"iso-2022-jp", "認証 😀"},
		"umlaut in ASCII":              {"us-ascii", "Größe"},
		"euro":                         {"iso-8859-1", "5 €"},
		"C1, which some read as €":     {"iso-8859-1", "5 \u0080"},
		"replacement character":        {"windows-1252", "\ufffd"},
		"yen is no backslash":          {"shift_jis", "¥ ‾"},
		"escape sequence":              {"iso-2022-jp", "\x1b$BGG\x1b(B"},
		"shift out":                    {"iso-2022-jp", "a\x0eb"},
		"half-width katakana":          {"iso-2022-jp", "ｶﾅ"},
		"Hong Kong in Big5":            {"big5", "Zoë À 㗎"},
		"ETEN in Big5":                 {"big5", "の"},
		"what x/text writes wrongly":   {"gb18030", "\ue000"},
		"decomposed":                   {"windows-1252", "u\u0308"},
		"cyrillic among latin":         {"windows-1252", "Zoë Ж"},
		"html escape stays what it is": {"koi8-r", "&#8364; €"},
	} {
		t.Run(name, func(t *testing.T) {
			d := sample()
			d.Charset, d.Text, d.HTML = c.charset, c.text, "<p>plain"
			got := mustCompose(t, d)
			d.Charset = ""
			if want := mustCompose(t, d); !bytes.Equal(got, want) {
				t.Errorf("message is not the one in utf-8:\n%s", got)
			}
			d.Charset, d.Text, d.HTML = c.charset, "plain", c.text
			got = mustCompose(t, d)
			if n := bytes.Count(got, []byte("charset=utf-8\r\n")); n != 2 {
				t.Errorf("%d parts in utf-8, want both:\n%s", n, got)
			}
		})
	}
}

func TestCharsetThatCannotBeUsedIsRefused(t *testing.T) {
	for _, name := range []string{
		"UTF-16", "UTF-16BE", "utf-16le", "utf-32", "utf-7", "IBM037", "IBM1047", "HZ-GB-2312", "ISO-2022-KR", "x-none",
		" ", " utf-8", "utf-8\r\n", "utf-8\r\nBcc: a@example.org", "\u00a0utf-8", "utf-8; x=y", "csamiga1251\n(aliases",
		"\xff", strings.Repeat("x", 3000),
	} {
		d := sample()
		d.Charset = name
		_, err := Compose(d)
		if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Field != "Charset" || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("charset %.50q: error %v, want a FieldError of Charset in one line", name, err)
		}
	}
}

func TestBodyCapHoldsInTheCharset(t *testing.T) {
	d := sample()
	d.Charset = "gb18030"
	d.Text = strings.Repeat("Ä", maxBody/4) // two bytes in UTF-8, four in GB18030
	if parts, err := d.parts(); err != nil || parts[0].charset != "gb18030" {
		t.Errorf("at the cap: %v", err)
	}
	d.Text, d.HTML = "", d.Text+"Ä"
	_, err := Compose(d)
	if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Field != "HTML" {
		t.Errorf("error %v, want a FieldError of HTML", err)
	}
}

func TestHeaderDoesNotDependOnTheCharset(t *testing.T) {
	d := sample()
	d.Subject, d.From.Name = "Größe 認証", "Zoë"
	plain, _, _ := bytes.Cut(mustCompose(t, d), []byte("MIME-Version"))
	d.Charset = "windows-1252"
	if got, _, _ := bytes.Cut(mustCompose(t, d), []byte("MIME-Version")); !bytes.Equal(got, plain) {
		t.Errorf("header:\n%s\nwant:\n%s", got, plain)
	}
}

// FuzzComposeCharsets: whatever charset is asked for, the message has the fields
// of the draft and no more, and its texts read back as they were given.
func FuzzComposeCharsets(f *testing.F) {
	for _, name := range []string{
		"", "UTF-8", "us-ascii", "ISO-8859-1", "iso-8859-8-i", "windows-1252", "KOI8-R", "Shift_JIS", "EUC-JP", "ISO-2022-JP", "EUC-KR",
		"GB18030", "GBK", "Big5", "IBM437", "macintosh", "UTF-16", "HZ-GB-2312", "IBM037", "ISO_8859-1:1987", "utf-8\r\nBcc: a@b",
	} {
		f.Add(name, "Your code", "Größe € ─ 認証 ソ ｶﾅ 인증 똠 许功 Ваш\r=.\n", "<p>&#8364;")
		f.Add(name, "", "表能 ¥ ‾ \\ ~ \u301c\uff5e\u2225", "")
		f.Add(name, " ", "\x1b$BGG\x1b(B \x0e\x0f ~{<:Ky2;~} +AKM-", "\ue000\ufeff\ufffd\u0080")
	}
	f.Fuzz(func(t *testing.T, charset, subject, text, html string) {
		d := sample()
		d.Charset, d.Subject, d.Text, d.HTML = charset, subject, text, html
		m, err := Compose(d)
		if err != nil {
			if _, ok := errors.AsType[*FieldError](err); !ok {
				t.Fatalf("error without a field: %v", err)
			}
			return
		}
		if err := CheckLines(m); err != nil {
			t.Fatal(err)
		}
		e, err := message.Read(bytes.NewReader(m))
		if err != nil {
			t.Fatalf("not a message: %v\n%q", err, m)
		}
		var got []string
		for fields := e.Header.Fields(); fields.Next(); {
			got = append(got, strings.ToLower(fields.Key()))
		}
		want := []string{"date", "from", "to"}
		if oneLine(subject) != "" {
			want = append(want, "subject")
		}
		want = append(want, "message-id", "mime-version", "content-type")
		if text == "" || html == "" {
			want = append(want, "content-transfer-encoding")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("fields (-want +got):\n%s", diff)
		}
		parts := map[string]string{}
		if text != "" {
			parts["text/plain"] = crlf(text)
		}
		if html != "" {
			parts["text/html"] = crlf(html)
		}
		if diff := cmp.Diff(parts, texts(t, m)); diff != "" {
			t.Fatalf("texts (-want +got):\n%s\n%s", diff, m)
		}
	})
}
