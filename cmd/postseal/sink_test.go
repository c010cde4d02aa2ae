package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// point is a moment of an SMTP transaction, as the server sees it.
type point string

const (
	beforeData point = "before DATA" // DATA was said, nothing is answered yet
	afterData  point = "after DATA"  // the final dot is here, nothing is answered yet
)

// sink is an SMTP server that takes everything and can stop at a point to let
// the test do something to the client. mailtest's plays faults from a list, but
// a process can only be killed at a point by somebody who is called there.
type sink struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu        sync.Mutex
	conns     map[net.Conn]struct{}
	taken     map[string][]taken // by recipient, oldest first
	abandoned []abandoned
	trap      *trap
	refuse    string        // said to the final dot instead of 250
	changed   chan struct{} // closed and replaced with every change of what is above
}

// taken is a message of which the final dot came.
type taken struct {
	at        time.Time
	subject   string
	messageID string
	text      string
}

// abandoned is a transaction whose client went away before it was answered 250.
type abandoned struct {
	at time.Time
	to string
}

// trap is sprung when a point is reached for the n-th time. What it returns is
// called once the reply is written.
type trap struct {
	at     point
	n      int
	spring func(to string) (replied func())
}

func serveSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{listener: l, conns: map[net.Conn]struct{}{}, taken: map[string][]taken{}, changed: make(chan struct{})}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *sink) address() string { return s.listener.Addr().String() }

// change is how everything under mu is written.
func (s *sink) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for a condition, which is asked under mu after every change. It
// reports whether it came true in time.
func (s *sink) until(limit time.Duration, ok func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}

func (s *sink) arm(t trap) { s.change(func() { s.trap = &t }) }

// reach springs the trap if this is where it is set.
func (s *sink) reach(at point, to string) (replied func()) {
	s.mu.Lock()
	sprung := s.trap
	if sprung == nil || sprung.at != at {
		s.mu.Unlock()
		return nil
	}
	sprung.n--
	if sprung.n > 0 {
		s.mu.Unlock()
		return nil
	}
	s.trap = nil
	s.mu.Unlock()
	return sprung.spring(to)
}

func (s *sink) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.change(func() { s.conns[c] = struct{}{} })
		s.wg.Go(func() {
			to := s.talk(c)
			_ = c.Close()
			s.change(func() {
				delete(s.conns, c)
				if to != "" {
					s.abandoned = append(s.abandoned, abandoned{time.Now(), to})
				}
			})
		})
	}
}

// talk speaks SMTP until the connection ends, and returns the recipient of the
// transaction that was open then.
func (s *sink) talk(c net.Conn) (to string) {
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute)) // longer than any test
	tp := textproto.NewConn(c)
	say := func(reply string) bool { return tp.PrintfLine("%s", reply) == nil }
	for ok := say("220 sink.example.org ESMTP"); ok; {
		line, err := tp.ReadLine()
		if err != nil {
			return to
		}
		switch verb, rest, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
		case "EHLO":
			ok = say("250-sink.example.org") && say("250-PIPELINING") && say("250-8BITMIME") && say("250 ENHANCEDSTATUSCODES")
		case "RCPT":
			_, rest, _ = strings.Cut(rest, "<")
			to, _, _ = strings.Cut(rest, ">")
			ok = say("250 2.1.5 ok")
		case "DATA":
			s.reach(beforeData, to)
			if !say("354 go ahead") {
				return to
			}
			raw, err := io.ReadAll(io.LimitReader(tp.DotReader(), 1<<20))
			if err != nil {
				return to
			}
			m, err := read(raw)
			if err != nil {
				ok = say("554 5.6.0 not a message")
				break
			}
			var reply string
			s.change(func() {
				if reply = s.refuse; reply == "" {
					reply = "250 2.0.0 taken"
					s.taken[to] = append(s.taken[to], m)
				}
			})
			replied := s.reach(afterData, to)
			if ok = say(strings.ReplaceAll(reply, "RECIPIENT", to)); ok && replied == nil {
				to = ""
			}
			if replied != nil {
				replied() // and the transaction counts as open: the reply was not read
			}
		case "QUIT":
			say("221 2.0.0 bye")
			return to
		case "RSET":
			to = ""
			ok = say("250 2.0.0 ok")
		default:
			ok = say("250 2.0.0 ok")
		}
	}
	return to
}

func read(raw []byte) (taken, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return taken{}, err
	}
	body, err := io.ReadAll(m.Body)
	if m.Header.Get("DKIM-Signature") == "" {
		err = errors.Join(err, errors.New("not signed"))
	}
	return taken{time.Now(), m.Header.Get("Subject"), m.Header.Get("Message-ID"), string(body)}, err
}

// of returns what was taken for a recipient.
func (s *sink) of(to string) []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]taken(nil), s.taken[to]...)
}

// mailFor waits for a mail to somebody with a text in its body and returns that
// body; empty if none comes.
func (s *sink) mailFor(address, text string) (body string) {
	s.until(15*time.Second, func() bool {
		for _, m := range s.taken[address] {
			if strings.Contains(m.text, text) {
				body = m.text
			}
		}
		return body != ""
	})
	return body
}
