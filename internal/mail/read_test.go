package mail

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadGivesBackWhatWasComposed(t *testing.T) {
	long := strings.Repeat("word ", 80) + "Ä€\n" + strings.Repeat("x", 2000)
	for name, d := range map[string]Draft{
		"plain":         {Text: "Hello\nthere = 50%\n", Subject: "One"},
		"no subject":    {Text: "Hello"},
		"HTML":          {HTML: "<p>Hello &amp; Ä</p>\r\n", Subject: strings.Repeat("Grüße aus Köln, ", 10) + "."},
		"both":          {Text: "Hello Ä\n--=_x--\n", HTML: "<p>Hello</p>", Subject: "Both"},
		"base64":        {Text: "日本語のメールです", HTML: "<p>日本語</p>", Subject: "日本語"},
		"other charset": {Text: "日本語のメールです", HTML: "<p>日本語</p>", Charset: "ISO-2022-JP"},
		"latin":         {Text: "Grüße\n", Charset: "iso-8859-1"},
		"long":          {Text: long, HTML: "<p>" + long, ReplyTo: &Mailbox{"Ä \"B\"", "help@example.org"}},
	} {
		d.From, d.To = Mailbox{"Ärger, GmbH", "noreply@example.org"}, []Mailbox{{"", "reader@example.net"}}
		d.Date, d.MessageID = time.Unix(1e9, 0), "1@example.org"
		msg, err := Compose(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		line := func(s string) string { // Compose ends the last line
			if s == "" {
				return ""
			}
			return strings.TrimSuffix(strings.ReplaceAll(s, "\r\n", "\n"), "\n") + "\n"
		}
		want := Contents{d.From, d.ReplyTo, d.Subject, line(d.Text), line(d.HTML)}
		got, err := Read(msg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, broken := range []string{"", "From: x\r\n\r\n", "From: a@example.org\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n"} {
		if _, err := Read([]byte(broken)); err == nil {
			t.Errorf("%q was read", broken)
		}
	}
}
