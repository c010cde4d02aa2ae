package pingid_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// mailbox is an address that gets mail, and the newest message that was read.
type mailbox struct {
	address string
	newest  string
}

func newMailbox() *mailbox { return &mailbox{address: unique("customer") + "@inbox.example.net"} }

// next waits for a message that has not been read.
func (m *mailbox) next(t *testing.T) letter {
	t.Helper()
	until(t, "mail for "+m.address, func() bool {
		raw := newestMail(t, m.address)
		if raw == "" || raw == m.newest {
			return false
		}
		m.newest = raw
		return true
	})
	return read(t, m.newest)
}

// silent demands that for a while nothing comes.
func (m *mailbox) silent(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if raw := newestMail(t, m.address); raw != m.newest {
			t.Fatalf("unexpected mail for %s:\n%s", m.address, raw)
		}
	}
}

// letter is a message as a mail program sees it.
type letter struct {
	raw     string
	header  mail.Header
	media   string
	charset string // in lower case
	body    []byte // of the one part, in its charset
}

func read(t *testing.T, raw string) letter {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("the mail does not parse: %v\n%s", err, raw)
	}
	l := letter{raw: raw, header: m.Header}
	if err := l.part(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body); err != nil {
		t.Fatalf("the mail does not parse: %v\n%s", err, raw)
	}
	return l
}

// part reads a body, or of a multipart/alternative the last part, which is the best.
func (l *letter) part(contentType, encoding string, body io.Reader) error {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("Content-Type %q: %w", contentType, err)
	}
	if strings.HasPrefix(media, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err == io.EOF {
				return nil
			}
			if err == nil {
				err = l.part(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)
			}
			if err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(encoding) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	l.media, l.charset = media, strings.ToLower(params["charset"])
	l.body, err = io.ReadAll(body)
	return err
}

// text is the body in Unicode, its lines ended by LF, without blanks at its end.
func (l letter) text(t *testing.T) string {
	t.Helper()
	var s string
	switch l.charset {
	case "", "utf-8", "us-ascii":
		s = string(l.body)
	case "iso-8859-1":
		runes := make([]rune, len(l.body))
		for i, b := range l.body {
			runes[i] = rune(b)
		}
		s = string(runes)
	default:
		t.Fatalf("the mail is in %q", l.charset)
	}
	return strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n ")
}

// field is a header field in Unicode.
func (l letter) field(t *testing.T, name string) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(l.header.Get(name))
	if err != nil {
		t.Fatalf("%s %q: %v", name, l.header.Get(name), err)
	}
	return s
}

func (l letter) address(t *testing.T, name string) *mail.Address {
	t.Helper()
	all, err := l.header.AddressList(name)
	if err != nil || len(all) != 1 {
		t.Fatalf("%s %q: %v, want one address", name, l.header.Get(name), err)
	}
	return all[0]
}

// sixDigits is how the templates of these tests show the code.
var sixDigits = regexp.MustCompile(`\[(\d{6})\]`)

func (l letter) otp(t *testing.T) string {
	t.Helper()
	m := sixDigits.FindStringSubmatch(l.text(t))
	if m == nil {
		t.Fatalf("no [six digits] in the mail:\n%s", l.raw)
	}
	return m[1]
}

// verificationCode has no template to look into; it is eight of [a-z0-9], and
// either has a line of its own or follows a colon.
var verificationCode = regexp.MustCompile(`(?m)(?:^[ \t]*|:[ \t]*)([a-z0-9]{8})[ \t.]*\r?$`)

func (l letter) code(t *testing.T) string {
	t.Helper()
	m := verificationCode.FindSubmatch(l.body)
	if m == nil {
		t.Fatalf("no verification code in the mail:\n%s", l.raw)
	}
	return string(m[1])
}

// passes says whether the inbox found a good DKIM signature of a domain.
func (l letter) passes(domain string) bool {
	signed := regexp.MustCompile(`(?:^|[;\s])d=` + regexp.QuoteMeta(domain) + `(?:[;\s]|$)`)
	found := regexp.MustCompile(`dkim=pass\b[^;]*\bheader\.d=` + regexp.QuoteMeta(domain) + `(?:[;\s]|$)`)
	return slices.ContainsFunc(l.header["Dkim-Signature"], signed.MatchString) &&
		slices.ContainsFunc(l.header["Authentication-Results"], found.MatchString)
}

// TestLettersAreReadAsMailProgramsDo judges this client.
func TestLettersAreReadAsMailProgramsDo(t *testing.T) {
	l := read(t, "Subject: =?iso-8859-1?q?=E9t=E9?=\r\nContent-Type: text/html; charset=ISO-8859-1\r\n"+
		"Content-Transfer-Encoding: quoted-printable\r\nDKIM-Signature: v=1; d=a.example; s=x\r\n"+
		"Authentication-Results: inbox; spf=pass; dkim=pass\r\n header.d=a.example; dkim=fail header.d=b.example\r\n\r\nd=E9j=\r\n=E0 [123456]\r\n\r\n")
	if l.media != "text/html" || !bytes.Contains(l.body, []byte("d\xe9j\xe0")) || l.text(t) != "déjà [123456]" || l.field(t, "Subject") != "été" || l.otp(t) != "123456" {
		t.Errorf("read as %+v", l)
	}
	if !l.passes("a.example") || l.passes("b.example") || l.passes("example") {
		t.Error("signatures are misread")
	}
}
