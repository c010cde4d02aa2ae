package mail

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
)

// Contents are what a message says, for those who take it in another form than mail:
// UTF-8, lines ended by LF.
type Contents struct {
	From       Mailbox
	ReplyTo    *Mailbox
	Subject    string
	Text, HTML string // one of them may be empty
}

// Read is the way back from Compose; it reads no other messages. An error is a
// *FieldError.
func Read(msg []byte) (c Contents, err error) {
	m, err := netmail.ReadMessage(bytes.NewReader(msg))
	if err != nil {
		return c, problem("message", "can't be read: %v", err)
	}
	from, err := netmail.ParseAddress(m.Header.Get("From"))
	if err != nil {
		return c, problem("From", "can't be read: %v", err)
	}
	c.From = Mailbox(*from)
	if s := m.Header.Get("Reply-To"); s != "" {
		reply, err := netmail.ParseAddress(s)
		if err != nil {
			return c, problem("Reply-To", "can't be read: %v", err)
		}
		c.ReplyTo = (*Mailbox)(reply)
	}
	if c.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return c, problem("Subject", "can't be read: %v", err)
	}
	media, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || media != "multipart/alternative" {
		return c, c.read(m.Header, m.Body)
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF && c.Text+c.HTML != "" {
			return c, nil
		}
		if err == nil {
			err = c.read(p.Header, p)
		}
		if err != nil {
			return c, problem("message", "a part can't be read: %v", err)
		}
	}
}

// read takes one part in.
func (c *Contents) read(header interface{ Get(string) string }, r io.Reader) error {
	media, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return problem("Content-Type", "can't be read: %v", err)
	}
	charset, err := parseCharset(params["charset"])
	if err != nil {
		return err
	}
	switch header.Get("Content-Transfer-Encoding") {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	b, err := io.ReadAll(r)
	if err == nil {
		b, err = charset.enc.NewDecoder().Bytes(b)
	}
	if err != nil {
		return problem("message", "the text can't be read: %v", err)
	}
	text := strings.ReplaceAll(string(b), "\r\n", "\n")
	switch media {
	case "text/html":
		c.HTML = text
	default:
		c.Text = text
	}
	return nil
}
