// Package mail writes a message, signs it and hands it to a relay.
//
// It is three steps that know nothing of each other, nor of tenants, storage or
// jobs: who may send what is decided before a Draft reaches this package.
//
//	Draft -> Compose -> message (CRLF, 7 bit) -> Sign -> signed message
//	                                                        |
//	             Result (outcome, reply, transcript) <- Relay.Send
//
// Every message is checked by CheckLines before it is signed or sent, so that a
// bare CR or LF never leaves this program: receivers that disagree about line
// ends are how one message is read as two (SMTP smuggling).
//
// Between Compose and Sign, Readdress can give a message another From. Read takes what
// Compose wrote apart again.
//
// The package does not parse messages of others beyond the names of their fields, does not
// resolve names for delivery (a Relay has one configured address, it is no MX
// client) and does not retry: a Result says what is known, and the caller decides.
package mail

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLine is the longest line of a message without its CRLF (RFC 5322, section 2.1.1).
const maxLine = 998

// A FieldError says which field of a draft, an envelope or a configuration
// cannot be used, and why.
type FieldError struct {
	Field   string // as the owner of the value knows it: "From", "Subject", "Headers[X-Id]"
	Problem string // begins in lower case: what was found and what to do instead
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// problem is a FieldError in one line.
func problem(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// cut shortens what a stranger wrote before it is quoted in an error.
func cut(s string) string { return cutTo(s, 100) }

// cutTo bounds s to n bytes and makes it one printable line of UTF-8.
func cutTo(s string, n int) string {
	tail := ""
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s, tail = s[:n], "..."
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || refusedRune(r) {
			return '?'
		}
		return r
	}, s) + tail
}

// CheckLines reports what makes a message unfit for SMTP: a CR or LF that is not
// part of a CRLF, a NUL, or a line of more than 998 bytes (RFC 5321, sections
// 2.3.8 and 4.5.3.1.6). The last line may lack its CRLF. The error is a
// *FieldError for the field "message".
func CheckLines(message []byte) error {
	rest := message
	for n := 1; len(rest) > 0; n++ {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			if i == 0 || rest[i-1] != '\r' {
				return problem("message", "line %d ends with a bare LF; lines end with CRLF", n)
			}
			line, rest = rest[:i-1], rest[i+1:]
		} else {
			rest = nil
		}
		if bytes.IndexByte(line, '\r') >= 0 {
			return problem("message", "line %d holds a bare CR; lines end with CRLF", n)
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return problem("message", "line %d holds a NUL; encode binary data with base64", n)
		}
		if len(line) > maxLine {
			return problem("message", "line %d has %d bytes, at most %d are allowed; encode the part or fold the header", n, len(line), maxLine)
		}
	}
	return nil
}
