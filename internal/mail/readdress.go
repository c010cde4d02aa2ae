package mail

import (
	"bytes"
	"strings"
)

// Readdress returns a message that Compose made with another From, where one is
// given, and without its Reply-To where dropReplyTo asks for that; every other
// byte stays. It is what Compose would have made of the draft with these fields.
// It is for messages that are not signed yet: a signature covers From. Where the
// message has no end of header, not exactly one From, or the mailbox is unfit, the
// error is a *FieldError and nothing is returned.
func Readdress(msg []byte, from *Mailbox, dropReplyTo bool) ([]byte, error) {
	var fresh []byte
	if from != nil {
		if err := from.check("From"); err != nil {
			return nil, err
		}
		fresh = Header{"From", from.format()}.fold()
	}
	if err := CheckLines(msg); err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(msg)+len(fresh))
	rest := msg
	froms, fields := 0, 0
	keep := false // the field that the line belongs to
	for {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return nil, problem("message", "the header has no end")
		}
		if len(line) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, ok := bytes.Cut(line, []byte(":"))
			if !ok {
				return nil, problem("message", "header line %q has no colon", cut(string(line)))
			}
			keep = true
			fields++
			// Blanks before the colon are obsolete but read as the same field.
			switch strings.ToLower(string(bytes.TrimRight(name, " \t"))) {
			case "from":
				out = append(out, fresh...)
				froms++
				keep = from == nil
			case "reply-to":
				if dropReplyTo {
					fields--
					keep = false
				}
			case "dkim-signature":
				return nil, problem("message", "is signed already; change the sender before signing")
			}
		} else if len(rest) == len(msg) {
			return nil, problem("message", "the first line continues a field that is not there")
		}
		if keep {
			out = append(append(out, line...), "\r\n"...)
		}
		rest = after
	}
	if froms != 1 {
		return nil, problem("message", "has %d From fields; exactly one is replaced", froms)
	}
	out = append(out, rest...)
	if err := checkWritten(out, fields); err != nil {
		return nil, err
	}
	return out, nil
}
