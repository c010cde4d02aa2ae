package mail

import (
	"bufio"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReplyIsReadWithItsEnhancedCode(t *testing.T) {
	for in, want := range map[string]Reply{
		"250 2.1.5 ok\r\n": {250, "2.1.5", "ok"},
		"250 ok\r\n":       {250, "", "ok"},
		"250\r\n":          {250, "", ""},
		"354 go\n":         {354, "", "go"},
		"550-5.1.1 no such user,\r\n550 5.1.1 sorry\r\n": {550, "5.1.1", "no such user, sorry"},
		"450-4.2.0 a\r\n450-\r\n450 b\r\n":               {450, "4.2.0", "a b"},
		"550 4.1.1 class contradicts\r\n":                {550, "", "4.1.1 class contradicts"},
		"220 5.example.org ready\r\n":                    {220, "", "5.example.org ready"},
		"250 2.1234.1 x\r\n":                             {250, "", "2.1234.1 x"},
		"250 2.+1.1 x\r\n":                               {250, "", "2.+1.1 x"},
		"421 4.3.2 \x1b[31m\xff\u202egoing\r\n":          {421, "4.3.2", "?[31m??going"},
		"250 " + strings.Repeat("\u00fc", 400) + "\r\n":  {250, "", strings.Repeat("\u00fc", 250) + "..."},
	} {
		got, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyLine), nil)
		if err != nil || got != want {
			t.Errorf("%.40q: %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "25", "250", "25 x\r\n", "2500 x\r\n", "abc d\r\n", "199 x\r\n", "600 x\r\n", "250-a\r\n251 b\r\n", "250-a\r\n", "\r\n"} {
		if got, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyLine), nil); err == nil {
			t.Errorf("%q was taken for a reply: %+v", in, got)
		}
	}
}

// FuzzReadReply: what a server says is bounded and printable once it is read.
func FuzzReadReply(f *testing.F) {
	f.Add("250-2.1.0 a\r\n250 2.1.0 b\r\n")
	f.Add("550 5.7.1 \x00\u2028\r\n")
	f.Add(strings.Repeat("220-x\n", 200))
	f.Fuzz(func(t *testing.T, in string) {
		got, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyLine), nil)
		if err != nil {
			if got != (Reply{}) {
				t.Fatalf("reply %+v with error %v", got, err)
			}
			return
		}
		if got.Code < 200 || got.Code > 599 || len(got.Text) > maxReplyText+3 || !utf8.ValidString(got.Text) || strings.ContainsFunc(got.Text, refusedRune) {
			t.Fatalf("reply %+v", got)
		}
		if got.Enhanced != "" && got.Enhanced[0] != got.String()[0] {
			t.Fatalf("enhanced code contradicts: %+v", got)
		}
	})
}
