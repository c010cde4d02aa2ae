package mailtest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"net"
	"strings"
	"time"
)

// idle bounds every read, so that a client that forgets a connection does not
// hold up the end of a test. maxData bounds a message.
const (
	idle    = 30 * time.Second
	maxData = 64 << 20
)

// A talk is one connection.
type talk struct {
	s        *Sink
	conn     net.Conn
	br       *bufio.Reader
	out      []byte // replies not yet written: written before each read that waits
	n        int
	secure   bool
	loggedIn bool
	from, to string
	hasFrom  bool
}

// run speaks until the client or a fault ends the connection.
func (t *talk) run() {
	if !t.answer(Connect, "220 sink.example.org ESMTP") {
		return
	}
	for {
		line, ok := t.line()
		if !ok {
			return
		}
		t.s.logCommand(line)
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO":
			t.reset()
			ok = t.answer(Hello, t.greeting(strings.ToUpper(verb)))
		case "STARTTLS":
			ok = t.upgrade()
		case "AUTH":
			ok = t.auth(rest)
		case "MAIL":
			switch from, found := path(rest, "FROM:"); {
			case t.s.user != "" && !t.loggedIn:
				ok = t.say("530 5.7.0 authentication required")
			case !found || t.hasFrom:
				ok = t.say("503 5.5.1 bad sequence or syntax")
			default:
				ok = t.guard(Mail, "250 2.1.0 ok", func() { t.from, t.hasFrom = from, true })
			}
		case "RCPT":
			switch to, found := path(rest, "TO:"); {
			case !found || !t.hasFrom:
				ok = t.say("503 5.5.1 bad sequence or syntax")
			default:
				ok = t.guard(Rcpt, "250 2.1.5 ok", func() {
					if t.to != "" {
						t.to += ","
					}
					t.to += to
				})
			}
		case "DATA":
			if t.to == "" {
				ok = t.say("503 5.5.1 no recipient")
				break
			}
			ok = t.data()
		case "RSET":
			t.reset()
			ok = t.answer(Rset, "250 2.0.0 reset")
		case "NOOP":
			ok = t.say("250 2.0.0 ok")
		case "QUIT":
			t.say("221 2.0.0 bye")
			t.flush()
			return
		default:
			ok = t.say("500 5.5.2 unknown command")
		}
		if !ok {
			return
		}
	}
}

func (t *talk) reset() { t.from, t.to, t.hasFrom = "", "", false }

// path takes the address out of "FROM:<user@example.org> SIZE=1".
func path(args, prefix string) (string, bool) {
	if len(args) < len(prefix) || !strings.EqualFold(args[:len(prefix)], prefix) {
		return "", false
	}
	inner, ok := strings.CutPrefix(args[len(prefix):], "<")
	if !ok {
		return "", false
	}
	address, _, ok := strings.Cut(inner, ">")
	return address, ok
}

func (t *talk) greeting(verb string) string {
	if verb == "HELO" {
		return "250 sink.example.org"
	}
	lines := append([]string{"sink.example.org"}, t.s.extensions...)
	if t.s.startTLS && !t.secure {
		lines = append(lines, "STARTTLS")
	}
	if t.s.user != "" {
		lines = append(lines, "AUTH "+strings.Join(t.s.mechanisms, " "))
	}
	var b strings.Builder
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		b.WriteString("250" + sep + l)
		if sep == "-" {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

// line reads one command. A bare LF ends the connection: a client that sends one
// here is broken.
func (t *talk) line() (string, bool) {
	if t.br.Buffered() == 0 && !t.flush() {
		return "", false
	}
	t.conn.SetReadDeadline(time.Now().Add(idle))
	line, err := t.br.ReadSlice('\n')
	if err != nil {
		return "", false
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		t.say("500 5.5.2 bare LF")
		t.flush()
		return "", false
	}
	return string(text), true
}

// say queues a reply.
func (t *talk) say(reply string) bool {
	t.out = append(append(t.out, reply...), "\r\n"...)
	return true
}

func (t *talk) flush() bool {
	if len(t.out) == 0 {
		return true
	}
	t.conn.SetWriteDeadline(time.Now().Add(idle))
	_, err := t.conn.Write(t.out)
	t.out = t.out[:0]
	return err == nil
}

// answer says usual, or what a fault wants. False ends the connection.
func (t *talk) answer(at Point, usual string) bool { return t.guard(at, usual, func() {}) }

// guard is answer with an effect that only the usual reply has.
func (t *talk) guard(at Point, usual string, effect func()) bool {
	f, struck := t.s.strike(at)
	if struck {
		usualToo, ok := t.suffer(f)
		if !ok || !usualToo {
			return ok
		}
	}
	effect()
	return t.say(usual)
}

// suffer plays a fault. usual says that the sink's own reply follows, ok that
// the connection goes on.
func (t *talk) suffer(f Fault) (usual, ok bool) {
	if f.Delay > 0 {
		if !t.flush() {
			return false, false
		}
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.s.ctx.Done():
			return false, false
		}
	}
	if f.Reply != "" {
		t.say(f.Reply)
	}
	if f.Drop || f.Hang {
		t.flush()
		if f.Hang {
			<-t.s.ctx.Done()
		}
		return false, false
	}
	return f.Reply == "", true
}

func (t *talk) upgrade() bool {
	if !t.s.startTLS || t.secure {
		return t.say("502 5.5.1 not offered")
	}
	accepted := false
	if !t.guard(STARTTLS, "220 2.0.0 go ahead", func() { accepted = true }) {
		return false
	}
	if !accepted {
		return true
	}
	if !t.flush() {
		return false
	}
	conn := tls.Server(t.conn, t.s.tlsConfig)
	conn.SetDeadline(time.Now().Add(idle))
	if conn.HandshakeContext(t.s.ctx) != nil {
		return false
	}
	t.conn, t.br, t.secure = conn, bufio.NewReaderSize(conn, 64<<10), true
	t.reset()
	return true
}

func (t *talk) auth(args string) bool {
	mechanism, initial, _ := strings.Cut(args, " ")
	decode := func(s string) string {
		b, _ := base64.StdEncoding.DecodeString(s)
		return string(b)
	}
	ask := func(challenge string) (string, bool) {
		t.say("334 " + base64.StdEncoding.EncodeToString([]byte(challenge)))
		line, ok := t.line()
		if ok {
			t.s.logCommand(line)
		}
		return line, ok
	}
	var good, ok bool
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		if initial == "" {
			if initial, ok = ask(""); !ok {
				return false
			}
		}
		good = decode(initial) == "\x00"+t.s.user+"\x00"+t.s.password
	case "LOGIN":
		user := initial
		if user == "" {
			if user, ok = ask("Username:"); !ok {
				return false
			}
		}
		password, ok := ask("Password:")
		if !ok {
			return false
		}
		good = decode(user) == t.s.user && decode(password) == t.s.password
	default:
		return t.say("504 5.5.4 mechanism not known")
	}
	if !good {
		return t.say("535 5.7.8 authentication failed")
	}
	return t.guard(Auth, "235 2.7.0 welcome", func() { t.loggedIn = true })
}

// data takes the message behind DATA.
func (t *talk) data() bool {
	accepted := false
	if !t.guard(Data, "354 go ahead", func() { accepted = true }) {
		return false
	}
	if !accepted {
		return true
	}
	if !t.flush() {
		return false
	}
	var data []byte
	size, bare, first := 0, false, true
	t.conn.SetReadDeadline(time.Now().Add(idle))
	for {
		line, err := t.br.ReadSlice('\n')
		if err != nil {
			return false
		}
		if first {
			first = false
			if f, struck := t.s.strike(MidData); struck {
				if _, ok := t.suffer(f); !ok {
					return false
				}
			}
		}
		if string(line) == ".\r\n" {
			break
		}
		if !bytes.HasSuffix(line, []byte("\r\n")) || bytes.IndexByte(line[:len(line)-2], '\r') >= 0 {
			bare = true
		}
		if line[0] == '.' {
			line = line[1:]
		}
		if size += len(line); size > maxData {
			return false
		}
		if !t.s.countOnly {
			data = append(data, line...)
		}
	}
	m := Message{From: t.from, To: t.to, Data: data, At: time.Now(), TLS: t.secure, Connection: t.n}
	t.reset()
	if bare {
		return t.say("554 5.6.11 bare CR or LF")
	}
	f, struck := t.s.strike(EndOfData)
	if struck {
		if f.Reply == "" && (f.Drop || f.Hang) {
			t.s.take(m)
		}
		usual, ok := t.suffer(f)
		if !ok || !usual {
			return ok
		}
	}
	m.Acknowledged = true
	t.s.take(m)
	return t.say("250 2.0.0 taken")
}
