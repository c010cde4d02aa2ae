package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"time"
	"unicode/utf8"
)

// Caps on a draft.
const (
	maxRecipients = 100
	maxHeaders    = 50
	maxHeaderName = 70
	maxBody       = 10 << 20 // bytes of Text and of HTML, each, as given and in the charset
	maxMessageID  = 250
)

// A Header is one additional header field of a draft.
type Header struct{ Name, Value string }

// A Draft is what Compose makes a message of. From, To, Date, MessageID and one
// of Text and HTML are needed.
type Draft struct {
	From    Mailbox
	To      []Mailbox
	ReplyTo *Mailbox
	Subject string // empty: the message has no such field
	Date    time.Time

	// MessageID is id-left@id-right without angle brackets (RFC 5322, section
	// 3.6.4). The caller keeps it, so that a message that is sent again can be
	// recognised as the same one.
	MessageID string

	// Text and HTML are UTF-8 with any line ends. Both make a
	// multipart/alternative, text first.
	Text, HTML string

	// Charset is the IANA name of the charset in which Text and HTML are written;
	// empty is utf-8. Only those that keep ASCII as it is can be used. If a text
	// holds a character that the charset lacks, or one that readers of it disagree
	// about, the whole message is written in utf-8 instead: a value that is filled
	// in at sending time may hold anything, and nothing may be lost. Header fields
	// do not depend on it.
	Charset string

	// Headers are added below ours. Only X-..., List-... and Auto-Submitted
	// (RFC 3834) may be given; List-... and Auto-Submitted in ASCII.
	Headers []Header
}

// Compose writes the draft as a message (RFC 5322, RFC 2045): exactly one From,
// CRLF line ends, 7 bit, no line above 998 bytes. The same draft gives the same
// bytes each time. An error is a *FieldError that names the field; nothing of a
// draft is dropped or changed silently, except that runs of blanks in headers
// become one, and that a Charset gives way to utf-8 as told there.
func Compose(d Draft) ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	parts, err := d.parts()
	if err != nil {
		return nil, err
	}

	fields := make([]Header, 0, 10+len(d.Headers))
	add := func(name, value string) { fields = append(fields, Header{name, value}) }
	add("Date", d.Date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	add("From", d.From.format())
	if d.ReplyTo != nil {
		add("Reply-To", d.ReplyTo.format())
	}
	to := make([]string, len(d.To))
	for i, m := range d.To {
		to[i] = m.format()
	}
	add("To", strings.Join(to, ", "))
	if subject := encodeText(d.Subject); subject != "" {
		add("Subject", subject)
	}
	add("Message-ID", "<"+d.MessageID+">")
	for _, h := range d.Headers {
		add(h.Name, encodeText(h.Value))
	}
	add("MIME-Version", "1.0")

	var out bytes.Buffer
	out.Grow(1024 + 2*(len(d.Text)+len(d.HTML)))
	if len(parts) == 1 {
		fields = append(fields, parts[0].header()...)
		writeHeader(&out, fields)
		parts[0].write(&out)
	} else {
		// The boundary holds "=_", which neither quoted-printable nor base64 can
		// contain, so it cannot occur in a part.
		sum := sha256.Sum256([]byte(d.MessageID))
		boundary := "=_" + hex.EncodeToString(sum[:12])
		add("Content-Type", `multipart/alternative; boundary="`+boundary+`"`)
		writeHeader(&out, fields)
		for i, p := range parts {
			if i > 0 {
				out.WriteString("\r\n")
			}
			out.WriteString("--" + boundary + "\r\n")
			writeHeader(&out, p.header())
			p.write(&out)
		}
		out.WriteString("\r\n--" + boundary + "--\r\n")
	}
	if !bytes.HasSuffix(out.Bytes(), []byte("\r\n")) {
		out.WriteString("\r\n")
	}
	if err := checkWritten(out.Bytes(), len(fields)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// check refuses a draft before anything is written.
func (d *Draft) check() error {
	if err := d.From.check("From"); err != nil {
		return err
	}
	if len(d.To) == 0 || len(d.To) > maxRecipients {
		return problem("To", "has %d recipients; give 1 to %d", len(d.To), maxRecipients)
	}
	for _, m := range d.To {
		if err := m.check("To"); err != nil {
			return err
		}
	}
	if d.ReplyTo != nil {
		if err := d.ReplyTo.check("Reply-To"); err != nil {
			return err
		}
	}
	if err := checkText("Subject", d.Subject, maxValue); err != nil {
		return err
	}
	if year := d.Date.Year(); year < 1970 || year > 9999 {
		return problem("Date", "%s is not a date of a message; set the time of sending", d.Date.Format(time.RFC3339))
	}
	if err := checkMessageID(d.MessageID); err != nil {
		return err
	}
	if d.Text == "" && d.HTML == "" {
		return problem("Text", "the message has neither text nor html; give one of them")
	}
	if err := checkBody("Text", d.Text); err != nil {
		return err
	}
	if err := checkBody("HTML", d.HTML); err != nil {
		return err
	}
	if len(d.Headers) > maxHeaders {
		return problem("Headers", "has %d fields, at most %d are allowed", len(d.Headers), maxHeaders)
	}
	for _, h := range d.Headers {
		if err := h.check(); err != nil {
			return err
		}
	}
	return nil
}

func checkMessageID(id string) error {
	left, right, ok := strings.Cut(id, "@")
	atoms := func(s string) bool {
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return r != '.' && !isAtext(r) }) < 0
	}
	if !ok || len(id) > maxMessageID || !atoms(left) || !atoms(right) || strings.Contains(id, "=?") {
		return problem("MessageID", "%q is not id-left@id-right of at most %d ASCII characters without brackets", cut(id), maxMessageID)
	}
	return nil
}

func checkBody(field, s string) error {
	switch {
	case len(s) > maxBody:
		return problem(field, "has %d bytes, at most %d are allowed", len(s), maxBody)
	case !utf8.ValidString(s):
		return problem(field, "is not UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return problem(field, "holds a NUL; remove it")
	}
	return nil
}

// check refuses fields that Compose or a relay writes, by allowing only those
// that neither does.
func (h Header) check() error {
	if h.Name == "" {
		return problem("Headers", "a field has no name; give it one such as X-Id")
	}
	field := "Headers[" + cut(h.Name) + "]"
	if len(h.Name) > maxHeaderName || strings.IndexFunc(h.Name, func(r rune) bool { return r != '-' && !isAlnum(r) }) >= 0 {
		return problem(field, "a header name is at most %d letters, digits and hyphens", maxHeaderName)
	}
	lower := strings.ToLower(h.Name)
	text := strings.HasPrefix(lower, "x-") && len(lower) > 2
	structured := strings.HasPrefix(lower, "list-") && len(lower) > 5 || lower == "auto-submitted"
	if !text && !structured {
		return problem(field, "is reserved; only X-..., List-... and Auto-Submitted may be added")
	}
	if err := checkText(field, h.Value, maxValue); err != nil {
		return err
	}
	if strings.TrimSpace(h.Value) == "" {
		return problem(field, "is empty; leave it out")
	}
	if structured && strings.IndexFunc(h.Value, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		return problem(field, "%q is not ASCII", cut(h.Value))
	}
	return nil
}

// format is the mailbox as a header value, the name quoted or encoded as needed.
func (m Mailbox) format() string {
	return (&netmail.Address{Name: oneLine(m.Name), Address: m.Address}).String()
}

// A part is one text of the message: its body is in the charset, with CRLF line
// ends, and not yet in a transfer encoding.
type part struct{ mediaType, charset, body string }

// encoding chooses the shorter of quoted-printable and base64. Neither lets a
// relay on the way change the text, as 7bit and 8bit would (RFC 6376, section 5.3).
func (p part) encoding() string {
	other := 0
	for i := range len(p.body) {
		if c := p.body[i]; c >= utf8.RuneSelf || c == 0x1B { // ESC of ISO-2022-JP
			other++
		}
	}
	if other > len(p.body)/6 {
		return "base64"
	}
	return "quoted-printable"
}

func (p part) header() []Header {
	// Some names must be quoted: iso_8859-1:1987.
	contentType := mime.FormatMediaType(p.mediaType, map[string]string{"charset": p.charset})
	return []Header{{"Content-Type", contentType}, {"Content-Transfer-Encoding", p.encoding()}}
}

// write writes the body in its transfer encoding. A buffer takes everything, so
// there is no error to ask for.
func (p part) write(out *bytes.Buffer) {
	if p.encoding() == "quoted-printable" {
		w := quotedprintable.NewWriter(out)
		_, _ = io.WriteString(w, p.body)
		_ = w.Close()
		return
	}
	for rest := base64.StdEncoding.EncodeToString([]byte(p.body)); rest != ""; {
		line := rest[:min(76, len(rest))]
		if rest = rest[len(line):]; rest != "" {
			line += "\r\n"
		}
		out.WriteString(line)
	}
}

// crlf makes every line end CRLF and ends the last line.
func crlf(s string) string {
	if strings.IndexByte(s, '\r') >= 0 {
		s = strings.ReplaceAll(s, "\r\n", "\n")
		s = strings.ReplaceAll(s, "\r", "\n")
	}
	if !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// writeHeader writes the fields and the empty line after them.
func writeHeader(out *bytes.Buffer, fields []Header) {
	for _, f := range fields {
		out.Write(f.fold())
	}
	out.WriteString("\r\n")
}

// fold is the field with its CRLF, in lines of at most 76 bytes where its words
// allow it. It breaks at blanks only, so that unfolding gives back the value; a
// line with an encoded word must not be longer (RFC 2047, section 2), so such a
// word may begin on the second line.
func (h Header) fold() []byte {
	out := append(make([]byte, 0, len(h.Name)+len(h.Value)+32), h.Name+":"...)
	column := len(out)
	first := true
	for word := range strings.SplitSeq(h.Value, " ") {
		if column+1+len(word) > 76 && (!first || strings.HasPrefix(word, "=?")) {
			out = append(out, "\r\n"...)
			column = 0
		}
		out = append(append(out, ' '), word...)
		column += 1 + len(word)
		first = false
	}
	return append(out, "\r\n"...)
}

// checkWritten looks at the finished message as a stranger would: as many header
// fields as were meant, all ASCII, and lines fit for SMTP. It can only fail if an
// encoder let something through, which is why it is asked.
func checkWritten(m []byte, fields int) error {
	if err := CheckLines(m); err != nil {
		return err
	}
	head, _, ok := bytes.Cut(m, []byte("\r\n\r\n"))
	if !ok {
		return problem("message", "the header has no end")
	}
	found := 0
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if len(line) > 0 && line[0] != ' ' && line[0] != '\t' {
			found++
		}
		for _, c := range line {
			if c != '\t' && (c < ' ' || c > '~') {
				return problem("message", "header line %q is not printable ASCII", cut(string(line)))
			}
		}
	}
	if found != fields {
		return problem("message", "the header came out with %d fields instead of %d", found, fields)
	}
	return nil
}
