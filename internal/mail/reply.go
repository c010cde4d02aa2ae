package mail

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds on what a server may say.
const (
	maxReplyLine  = 2048 // bytes; RFC 5321 allows 512, servers write more
	maxReplyLines = 100
	maxReplyText  = 500 // bytes that are kept of the text
)

// A Reply is what a server answered to one command (RFC 5321, section 4.2).
type Reply struct {
	Code     int    // 220, 354, 550 ...; 0 if there was none
	Enhanced string // "5.1.1" (RFC 3463), or "" if the server gave none
	Text     string // all lines as one, without the enhanced codes, at most 500 bytes
}

// Temporary is true for 4yz: the same command may succeed later (RFC 3463,
// section 2: persistent transient failure).
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent is true for 5yz: the same command will not succeed later.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Positive is true for 2yz.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// String is the reply as the server wrote it, in one line.
func (r Reply) String() string {
	if r.Code == 0 {
		return ""
	}
	s := strconv.Itoa(r.Code)
	if r.Enhanced != "" {
		s += " " + r.Enhanced
	}
	if r.Text != "" {
		s += " " + r.Text
	}
	return s
}

// errReply is in the chain of every error about a reply that is not SMTP.
var errReply = errors.New("not an SMTP reply")

// readReply reads one reply. each, if not nil, is given the text of every line
// as it came, which is how the extensions of EHLO are read.
func readReply(br *bufio.Reader, each func(text string)) (Reply, error) {
	var reply Reply
	var text strings.Builder
	for range maxReplyLines {
		line, err := br.ReadSlice('\n')
		if err != nil {
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				err = fmt.Errorf("line of more than %d bytes: %w", maxReplyLine, errReply)
			case errors.Is(err, io.EOF):
				err = errors.New("the server closed the connection")
			}
			return Reply{}, err
		}
		for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
			line = line[:len(line)-1]
		}
		if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return Reply{}, fmt.Errorf("%q: %w", cut(string(line)), errReply)
		}
		code := 0
		for _, c := range line[:3] {
			if c < '0' || c > '9' {
				return Reply{}, fmt.Errorf("%q: %w", cut(string(line)), errReply)
			}
			code = 10*code + int(c-'0')
		}
		if code < 200 || code > 599 || reply.Code != 0 && code != reply.Code {
			return Reply{}, fmt.Errorf("%q: %w", cut(string(line)), errReply)
		}
		reply.Code = code
		last := len(line) == 3 || line[3] == ' '
		rest := ""
		if len(line) > 4 {
			rest = string(line[4:])
		}
		if each != nil {
			each(rest)
		}
		enhanced, rest := cutEnhanced(code, rest)
		if reply.Enhanced == "" {
			reply.Enhanced = enhanced
		}
		if rest != "" && text.Len() <= maxReplyText {
			if text.Len() > 0 {
				text.WriteByte(' ')
			}
			text.WriteString(rest)
		}
		if last {
			reply.Text = cutTo(text.String(), maxReplyText)
			return reply, nil
		}
	}
	return Reply{}, fmt.Errorf("more than %d lines: %w", maxReplyLines, errReply)
}

// cutEnhanced splits an enhanced status code (class.subject.detail, RFC 3463,
// section 2) from the text of a reply. One whose class contradicts the code is
// left in the text.
func cutEnhanced(code int, text string) (enhanced, rest string) {
	word, after, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != strconv.Itoa(code/100) {
		return "", text
	}
	for _, p := range parts[1:] {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || len(p) > 3 || p[0] < '0' || p[0] > '9' {
			return "", text
		}
	}
	return word, strings.TrimSpace(after)
}
