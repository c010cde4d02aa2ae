package mail

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // message.Read decodes more than utf-8
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

// sample is a complete draft that tests change.
func sample() Draft {
	return Draft{
		From:      Mailbox{"Example Shop", "noreply@example.org"},
		To:        []Mailbox{{"", "user@example.net"}},
		Subject:   "Your code",
		Date:      time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC),
		MessageID: "0190b2c4.1@example.org",
		Text:      "Your code is 493817.\n.\nIt is good for ten minutes.\n",
	}
}

func mustCompose(t testing.TB, d Draft) []byte {
	t.Helper()
	m, err := Compose(d)
	if err != nil {
		t.Fatalf("Compose: %v", err)
	}
	return m
}

func TestComposeWritesTheGoldenMessages(t *testing.T) {
	full := sample()
	full.From.Name = "Zoë from Größe & Söhne, \"Shop\""
	full.To = []Mailbox{{"Doe, J.", "user@example.net"}, {"利用者", "second.user+tag@xn--bcher-kva.example"}}
	full.ReplyTo = &Mailbox{"Help", "help@example.org"}
	full.Subject = "Ihr Code für die Anmeldung – gültig für zehn Minuten, bitte nicht weitergeben"
	full.Date = full.Date.In(time.FixedZone("", 2*3600))
	full.Text = "Ihr Code: 493817\r\nGültig für zehn Minuten.\rEnde"
	full.HTML = "<p>Ihr Code: <b>493817</b></p>\n<p>" + strings.Repeat("lang ", 60) + "</p>"
	full.Headers = []Header{
		{"X-Campaign", "übersicht"},
		{"List-Unsubscribe", "<https://example.org/u/1>, <mailto:u@example.org>"},
		{"Auto-Submitted", "auto-generated"},
	}
	html := sample()
	html.Text, html.HTML = "", "<p>ご利用のコードは493817です。十分間有効です。</p>"

	for name, d := range map[string]Draft{"text": sample(), "full": full, "html-base64": html} {
		t.Run(name, func(t *testing.T) {
			got := mustCompose(t, d)
			file := filepath.Join("testdata", "compose", name+".eml")
			if *update {
				os.MkdirAll(filepath.Dir(file), 0o777)
				if err := os.WriteFile(file, got, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if again := mustCompose(t, d); !bytes.Equal(got, again) {
				t.Error("the same draft gave other bytes the second time")
			}
		})
	}
}

// texts reads the parts of a message back, decoded to UTF-8.
func texts(t testing.TB, m []byte) map[string]string {
	t.Helper()
	e, err := message.Read(bytes.NewReader(m))
	if err != nil {
		t.Fatalf("message.Read: %v", err)
	}
	found := map[string]string{}
	err = e.Walk(func(_ []int, e *message.Entity, err error) error {
		if err != nil {
			return err
		}
		kind, _, _ := e.Header.ContentType()
		if strings.HasPrefix(kind, "multipart/") {
			return nil
		}
		body, err := io.ReadAll(e.Body)
		found[kind] = string(body)
		return err
	})
	if err != nil {
		t.Fatalf("walk: %v", err)
	}
	return found
}

func TestBothTextsSurviveEncoding(t *testing.T) {
	d := sample()
	d.Text = "first\rsecond\r\nthird\n\ttrailing blank \n=3D stays, " + strings.Repeat("x", 3000) + "\nFrom here"
	d.HTML = strings.Repeat("ü€😀", 500)
	got := texts(t, mustCompose(t, d))
	want := map[string]string{
		"text/plain": strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(d.Text, "\r\n", "\n"), "\r", "\n"), "\n", "\r\n") + "\r\n",
		"text/html":  d.HTML + "\r\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}

func TestEmptySubjectIsLeftOut(t *testing.T) {
	for subject, want := range map[string]bool{"": false, "   ": false, "x": true, "\u00a0": true} {
		d := sample()
		d.Subject = subject
		if got := bytes.Contains(mustCompose(t, d), []byte("\r\nSubject:")); got != want {
			t.Errorf("subject %q: field %v, want %v", subject, got, want)
		}
	}
}

func TestWhatCouldForgeAHeaderIsRefusedByField(t *testing.T) {
	for _, bad := range []string{
		"a\r\nBcc: victim@example.com", "a\nBcc: victim@example.com", "a\rBcc: victim@example.com",
		"a\x00b", "a\x7fb", "a\u0085b", "a\u2028Bcc: victim@example.com", "\xff\xfe",
		"=?utf-8?q?a=0d=0aBcc:_victim=40example.com?=", "=?utf-8?b?YQ0KQmNjOg==?=", "safe \u202egro.elpmaxe",
	} {
		for _, c := range []struct {
			field string
			set   func(*Draft)
		}{
			{"From", func(d *Draft) { d.From.Name = bad }},
			{"From", func(d *Draft) { d.From.Address = bad + "@example.org" }},
			{"From", func(d *Draft) { d.From.Address = "noreply@" + bad }},
			{"To", func(d *Draft) { d.To = append(d.To, Mailbox{bad, "user@example.org"}) }},
			{"To", func(d *Draft) { d.To[0].Address += bad }},
			{"Reply-To", func(d *Draft) { d.ReplyTo = &Mailbox{bad, "user@example.org"} }},
			{"Reply-To", func(d *Draft) { d.ReplyTo = &Mailbox{"", bad} }},
			{"Subject", func(d *Draft) { d.Subject = bad }},
			{"MessageID", func(d *Draft) { d.MessageID = "1" + bad + "@example.org" }},
			{"Headers[X-Note]", func(d *Draft) { d.Headers = []Header{{"X-Note", bad}} }},
			{"Headers[List-Id]", func(d *Draft) { d.Headers = []Header{{"List-Id", bad}} }},
			{"Headers", func(d *Draft) { d.Headers = []Header{{"X-" + bad, "v"}} }},
		} {
			d := sample()
			c.set(&d)
			got, err := Compose(d)
			fe, ok := errors.AsType[*FieldError](err)
			if !ok || !strings.HasPrefix(fe.Field, c.field) {
				t.Errorf("%s with %q: error %v, want a FieldError of it; message:\n%s", c.field, bad, err, got)
				continue
			}
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("%s with %q: the error breaks the line: %q", c.field, bad, err)
			}
		}
	}
}

func TestDraftLimits(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for name, c := range map[string]struct {
		field string
		set   func(*Draft)
	}{
		"no From":               {"From", func(d *Draft) { d.From = Mailbox{} }},
		"two addresses in From": {"From", func(d *Draft) { d.From.Address = "a@example.org,b@example.com" }},
		"brackets in From":      {"From", func(d *Draft) { d.From.Address = "<a@example.org>" }},
		"quoted local part":     {"From", func(d *Draft) { d.From.Address = `"a@example.com"@example.org` }},
		"comment":               {"From", func(d *Draft) { d.From.Address = "a(x)@example.org" }},
		"source route":          {"To", func(d *Draft) { d.To[0].Address = "@example.com:a@example.org" }},
		"percent hack":          {"To", func(d *Draft) { d.To[0].Address = "a@example.com@example.org" }},
		"address literal":       {"To", func(d *Draft) { d.To[0].Address = "a@[127.0.0.1]" }},
		"not ASCII":             {"To", func(d *Draft) { d.To[0].Address = "a@bücher.example" }},
		"dots":                  {"To", func(d *Draft) { d.To[0].Address = "a..b@example.org" }},
		"long local part":       {"To", func(d *Draft) { d.To[0].Address = long[:65] + "@example.org" }},
		"long address":          {"To", func(d *Draft) { d.To[0].Address = "a@" + strings.Repeat("example.", 40) + "org" }},
		"no recipient":          {"To", func(d *Draft) { d.To = nil }},
		"101 recipients":        {"To", func(d *Draft) { d.To = make([]Mailbox, 101) }},
		"long name":             {"From", func(d *Draft) { d.From.Name = long }},
		"long subject":          {"Subject", func(d *Draft) { d.Subject = long }},
		"no date":               {"Date", func(d *Draft) { d.Date = time.Time{} }},
		"no Message-ID":         {"MessageID", func(d *Draft) { d.MessageID = "" }},
		"Message-ID brackets":   {"MessageID", func(d *Draft) { d.MessageID = "<1@example.org>" }},
		"no text":               {"Text", func(d *Draft) { d.Text = "" }},
		"text not UTF-8":        {"Text", func(d *Draft) { d.Text = "\xff" }},
		"NUL in html":           {"HTML", func(d *Draft) { d.HTML = "\x00" }},
		"reserved header":       {"Headers[Subject]", func(d *Draft) { d.Headers = []Header{{"Subject", "x"}} }},
		"Bcc":                   {"Headers[bcc]", func(d *Draft) { d.Headers = []Header{{"bcc", "x@example.org"}} }},
		"signature":             {"Headers[DKIM-Signature]", func(d *Draft) { d.Headers = []Header{{"DKIM-Signature", "x"}} }},
		"no header name":        {"Headers", func(d *Draft) { d.Headers = []Header{{"", "x"}} }},
		"colon in name":         {"Headers[X-A:B]", func(d *Draft) { d.Headers = []Header{{"X-A:B", "x"}} }},
		"empty value":           {"Headers[X-A]", func(d *Draft) { d.Headers = []Header{{"X-A", " "}} }},
		"list not ASCII":        {"Headers[List-Id]", func(d *Draft) { d.Headers = []Header{{"List-Id", "ü"}} }},
	} {
		t.Run(name, func(t *testing.T) {
			d := sample()
			c.set(&d)
			_, err := Compose(d)
			if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Field != c.field {
				t.Errorf("error %v, want a FieldError of %s", err, c.field)
			}
		})
	}
}

func TestDisplayNameMayNotNameAnotherAddress(t *testing.T) {
	for name, refused := range map[string]bool{
		"ceo@bank.example":                   true,
		"Bank <ceo@bank.example>":            true,
		"ceo＠bank.example":                   true,
		"the boss (ceo@bank)":                true,
		"\"ceo@bank.example\" via shop":      true,
		"noreply@example.org":                false,
		"NoReply@Example.org (Example Shop)": false,
		"Shop @ Example":                     false,
		"@example":                           false,
	} {
		d := sample()
		d.From.Name = name
		if _, err := Compose(d); (err != nil) != refused {
			t.Errorf("name %q: error %v, want one: %v", name, err, refused)
		}
	}
}

func TestCheckLines(t *testing.T) {
	for in, want := range map[string]bool{
		"":                                   true,
		"a\r\n.\r\nb\r\n":                    true,
		"no end":                             true,
		"a\nb\r\n":                           false,
		"\n":                                 false,
		"a\r\n.\n":                           false,
		"a\r\n\n.\r\n":                       false,
		"a\rb\r\n":                           false,
		"a\r\r\n":                            false,
		"a\r":                                false,
		"a\x00b":                             false,
		strings.Repeat("x", 998) + "\r\n":    true,
		strings.Repeat("x", 999) + "\r\n":    false,
		"a\r\n" + strings.Repeat("x", 1_000): false,
	} {
		if err := CheckLines([]byte(in)); (err == nil) != want {
			t.Errorf("CheckLines(%.20q) = %v, want fit: %v", in, err, want)
		}
	}
}

// FuzzCompose: whatever composes reads back as exactly what was asked for.
func FuzzCompose(f *testing.F) {
	f.Add("Example Shop", "noreply@example.org", "Your code", "text", "<p>html</p>", "X-Note", "v")
	f.Add("Zoë, \"x\" <a>", "a+b@example.org", "für\u00a0dich "+strings.Repeat("ü", 200), "=\r\n.\r\n", "", "List-Id", "<a.example.org>")
	f.Add("a\r\nBcc: b@example.org", "a@b", strings.Repeat("x", 900), "", "\r\n--=_", "X-A", strings.Repeat(" x", 400))
	f.Add("\\", "a@b.c", "=?utf-8?q?=0d=0a?=", "\x00", "\r", "Subject", "=?")
	f.Fuzz(func(t *testing.T, name, address, subject, text, html, key, value string) {
		d := sample()
		d.From = Mailbox{name, address}
		d.To = []Mailbox{{name, address}, {"", "user@example.net"}}
		d.Subject, d.Text, d.HTML = subject, text, html
		d.Headers = []Header{{key, value}}
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
		read, err := netmail.ReadMessage(bytes.NewReader(m))
		if err != nil {
			t.Fatalf("not a message: %v\n%q", err, m)
		}
		want := 8
		if oneLine(subject) == "" {
			want--
		}
		if text == "" || html == "" {
			want++ // Content-Transfer-Encoding
		}
		names := 0
		for _, values := range read.Header {
			names += len(values)
		}
		if names != want {
			t.Fatalf("%d header fields, want %d: %v", names, want, read.Header)
		}
		from, err := read.Header.AddressList("From")
		if err != nil || len(from) != 1 || from[0].Address != address || from[0].Name != oneLine(name) {
			t.Fatalf("From came back as %v (%v), want %q <%s>\n%s", from, err, oneLine(name), address, m)
		}
		if to, err := read.Header.AddressList("To"); err != nil || len(to) != 2 {
			t.Fatalf("To came back as %v (%v)", to, err)
		}
		for field, plain := range map[string]string{"Subject": subject, key: value} {
			got, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get(field))
			if err != nil || got != oneLine(plain) {
				t.Fatalf("%s came back as %q (%v), want %q", field, got, err, oneLine(plain))
			}
		}
		parts := texts(t, m)
		if text != "" && parts["text/plain"] != crlf(text) || html != "" && parts["text/html"] != crlf(html) {
			t.Fatalf("texts came back as %q", parts)
		}
	})
}
