package mail

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"
)

// keptBuffer is the largest write buffer that an idle connection holds on to.
const keptBuffer = 64 << 10

// drainTimeout bounds the wait for replies that no longer decide anything.
const drainTimeout = 2 * time.Second

// quitTimeout bounds the farewell.
const quitTimeout = time.Second

// A line is one command of a transaction.
type line struct{ text, stage string }

// send carries one transaction (RFC 5321, section 3.3).
func (s *session) send(ctx context.Context, env Envelope, message []byte, steps *transcript) (Result, fate) {
	mail := "MAIL FROM:<" + env.From + ">"
	if s.ext.size > 0 && int64(len(message)) > s.ext.size {
		f := unfit(StageMail, problem("message", "has %d bytes, %s takes at most %d", len(message), s.cfg.Address, s.ext.size))
		return f.result(*steps), keep
	}
	if slices.ContainsFunc(message, func(c byte) bool { return c >= 0x80 }) {
		if !s.ext.eightBit {
			f := unfit(StageMail, problem("message", "has 8-bit text and %s does not take it (8BITMIME); encode it", s.cfg.Address))
			return f.result(*steps), keep
		}
		mail += " BODY=8BITMIME"
	}
	if s.ext.size > 0 {
		mail += " SIZE=" + strconv.Itoa(len(message))
	}
	lines := make([]line, 0, 4)
	if s.dirty {
		lines = append(lines, line{"RSET", StageMail})
	}
	lines = append(lines, line{mail, StageMail}, line{"RCPT TO:<" + env.To + ">", StageRcpt}, line{"DATA", StageData})

	stop := s.watch(ctx)
	f, fate := s.envelope(ctx, lines, steps)
	var reply Reply
	if f == nil {
		reply, f, fate = s.data(ctx, message, steps)
	}
	s.used = true
	if !stop() && fate == keep {
		fate = discard // the end of ctx has left a passed deadline on it
	}
	if f != nil {
		return f.result(*steps), fate
	}
	return Result{Outcome: Delivered, Reply: reply, Stage: StageEndOfData, Transcript: *steps}, fate
}

// envelope says everything up to DATA: in one write where the server allows it
// (RFC 2920), one by one otherwise. No failure means that the server waits for
// the message.
func (s *session) envelope(ctx context.Context, lines []line, steps *transcript) (*failure, fate) {
	var at time.Time
	for i, l := range lines {
		var err error
		if i == 0 || !s.ext.pipelining {
			at = time.Now()
			s.buf = append(append(s.buf[:0], l.text...), "\r\n"...)
			if s.ext.pipelining {
				for _, more := range lines[1:] {
					s.buf = append(append(s.buf, more.text...), "\r\n"...)
				}
			}
			s.deadline(ctx, s.cfg.CommandTimeout)
			_, err = s.conn.Write(s.buf)
		}
		var reply Reply
		if err == nil {
			reply, err = readReply(s.br, nil)
		}
		timeout := isTimeout(err)
		reply, err = s.note(ctx, steps, at, l.text, reply, err)
		if err != nil {
			// Closed by the server while it was idle: the usual way to learn it.
			if i == 0 && s.used && !timeout {
				return broken(l.stage, s.cfg.Address, err), stale
			}
			return broken(l.stage, s.cfg.Address, err), discard
		}
		want := 2
		if l.text == "DATA" {
			want = 3
		}
		if reply.Code/100 == want {
			continue
		}
		f := refused(l.stage, s.cfg.Address, reply)
		switch {
		case i == 0 && s.used && (reply.Code == 421 || s.dirty):
			return f, stale
		case reply.Code == 421 || !reply.Temporary() && !reply.Permanent():
			return f, discard
		}
		s.dirty = true
		if s.ext.pipelining && !s.drain(ctx, lines[i+1:]) {
			return f, discard
		}
		return f, keep
	}
	s.dirty = false
	return nil, keep
}

// isTimeout is true for a deadline, whoever set it.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// drain reads the replies to commands that were sent together with a refused
// one. A server that still says 354 to DATA gets an empty message, which it must
// refuse, having no recipient (RFC 2920, section 3.1).
func (s *session) drain(ctx context.Context, lines []line) bool {
	s.deadline(ctx, min(drainTimeout, s.cfg.CommandTimeout))
	for _, l := range lines {
		reply, err := readReply(s.br, nil)
		if err != nil || reply.Code == 421 {
			return false
		}
		if l.text != "DATA" || reply.Code != 354 {
			continue
		}
		if _, err := s.conn.Write([]byte(".\r\n")); err != nil {
			return false
		}
		if _, err := readReply(s.br, nil); err != nil {
			return false
		}
	}
	return true
}

// data sends the message with its final dot in one write, and reads what became
// of it. A failed write has not handed the end of the buffer to the system, so
// the server cannot have seen the final dot; after a write that succeeded
// nobody here can know.
func (s *session) data(ctx context.Context, message []byte, steps *transcript) (Reply, *failure, fate) {
	addr := s.cfg.Address
	shown := "(message, " + strconv.Itoa(len(message)) + " bytes)"
	at := time.Now()
	s.buf = appendStuffed(s.buf[:0], message)
	s.deadline(ctx, s.cfg.DataTimeout)
	_, err := s.conn.Write(s.buf)
	if cap(s.buf) > keptBuffer {
		s.buf = nil
	}
	if err != nil {
		timeout := isTimeout(err)
		// A server that refuses in the middle says why before it closes.
		var reply Reply
		if !timeout {
			s.deadline(ctx, min(drainTimeout, s.cfg.DataTimeout))
			if r, rerr := readReply(s.br, nil); rerr == nil && (r.Temporary() || r.Permanent()) {
				reply, _ = s.note(ctx, steps, at, shown, r, nil)
				return reply, refused(StageData, addr, reply), discard
			}
		}
		_, err = s.note(ctx, steps, at, shown, reply, err)
		return reply, broken(StageData, addr, err), discard
	}

	s.deadline(ctx, s.cfg.DataTimeout)
	reply, err := readReply(s.br, nil)
	reply, err = s.note(ctx, steps, at, shown, reply, err)
	if err != nil {
		f := broken(StageEndOfData, addr, err)
		f.outcome = InDoubt
		return reply, f, discard
	}
	fate := keep
	// Unasked-for text behind the reply would be taken for the next one.
	if reply.Code == 421 || s.br.Buffered() > 0 {
		fate = discard
	}
	switch {
	case reply.Positive():
		return reply, nil, fate
	case reply.Temporary(), reply.Permanent():
		return reply, refused(StageEndOfData, addr, reply), fate
	default:
		f := refused(StageEndOfData, addr, reply)
		f.outcome = InDoubt
		return reply, f, discard
	}
}

// appendStuffed appends the message as DATA wants it: a dot before each line
// that begins with one, CRLF at the end, and the final dot (RFC 5321, section
// 4.5.2). The message has passed CheckLines.
func appendStuffed(dst, message []byte) []byte {
	dst = slices.Grow(dst, len(message)+len("\r\n.\r\n")+16)
	rest := message
	if rest[0] == '.' {
		dst = append(dst, '.')
	}
	for {
		i := bytes.Index(rest, []byte("\n."))
		if i < 0 {
			break
		}
		dst = append(append(dst, rest[:i+1]...), '.')
		rest = rest[i+1:]
	}
	dst = append(dst, rest...)
	if !bytes.HasSuffix(message, []byte("\r\n")) {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, ".\r\n"...)
}

// quit ends an idle connection politely, without waiting for the answer.
func (s *session) quit() {
	s.conn.SetDeadline(time.Now().Add(quitTimeout))
	s.conn.Write([]byte("QUIT\r\n"))
	s.conn.Close()
}
