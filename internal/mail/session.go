package mail

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A fate says what becomes of a connection after a message.
type fate int

const (
	discard fate = iota // its state is not known
	keep                // it can take another message
	stale               // it was dead before anything of the message was sent
)

// A session is one connection to the relay, greeted, encrypted and authenticated.
type session struct {
	cfg  *RelayConfig
	conn net.Conn
	br   *bufio.Reader
	buf  []byte // what is about to be written
	idle *time.Timer

	ext      extensions
	verified bool // TLS with a certificate that was checked
	used     bool // it has carried a transaction before this one
	dirty    bool // a transaction was left open: RSET comes first
}

// extensions are those of EHLO that matter here.
type extensions struct {
	pipelining, eightBit, startTLS bool
	size                           int64    // SIZE, 0 if there is no limit
	auth                           []string // mechanisms, upper case
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// deadline gives the connection d from now, but never more than ctx has. The end
// of ctx sets a past deadline from another goroutine; looking at ctx after
// setting ours makes sure that one is not undone.
func (s *session) deadline(ctx context.Context, d time.Duration) {
	s.conn.SetDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		s.conn.SetDeadline(past)
	}
}

// watch makes the end of ctx interrupt the connection until stop is called,
// which is false if it has happened.
func (s *session) watch(ctx context.Context) (stop func() bool) {
	conn := s.conn
	return context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
}

// cause explains an error of the connection: the end of ctx comes as a time-out.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("time-out")
	}
	return err
}

// command writes one line and reads its reply. shown is what the transcript says.
func (s *session) command(ctx context.Context, steps *transcript, line, shown string, each func(string)) (Reply, error) {
	at := time.Now()
	s.deadline(ctx, s.cfg.CommandTimeout)
	s.buf = append(append(s.buf[:0], line...), "\r\n"...)
	var reply Reply
	_, err := s.conn.Write(s.buf)
	if err == nil {
		reply, err = readReply(s.br, each)
	}
	return s.note(ctx, steps, at, shown, reply, err)
}

// note adds a step to the transcript and passes reply and error on.
func (s *session) note(ctx context.Context, steps *transcript, at time.Time, shown string, reply Reply, err error) (Reply, error) {
	if err != nil {
		err = cause(ctx, err)
		steps.add(at, shown, "("+cutTo(err.Error(), 200)+")")
		return Reply{}, err
	}
	steps.add(at, shown, reply.String())
	return reply, nil
}

// connect opens a connection and brings it to where MAIL can be said.
func (r *Relay) connect(ctx context.Context, steps *transcript) (*session, *failure) {
	at := time.Now()
	if d := r.cfg.OpenTimeout; d > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeoutCause(ctx, d, fmt.Errorf("it took more than %s until mail could be sent", d))
		defer end()
	}
	dialCtx, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
	conn, err := r.cfg.Dial(dialCtx, "tcp", r.cfg.Address)
	cancel()
	if err != nil {
		err = cause(ctx, err)
		steps.add(at, "(connect to "+r.cfg.Address+")", "("+cutTo(err.Error(), 200)+")")
		return nil, broken(StageConnect, r.cfg.Address, err)
	}
	s := &session{cfg: &r.cfg, conn: conn}
	stop := s.watch(ctx)
	f := s.open(ctx, at, steps)
	if !stop() && f == nil {
		f = broken(StageConnect, r.cfg.Address, context.Cause(ctx))
	}
	if f != nil {
		conn.Close()
		return nil, f
	}
	return s, nil
}

func (s *session) open(ctx context.Context, at time.Time, steps *transcript) *failure {
	addr := s.cfg.Address
	if s.cfg.TLS == ImplicitTLS {
		if f := s.handshake(ctx, steps); f != nil {
			return f
		}
	} else {
		s.br = bufio.NewReaderSize(s.conn, maxReplyLine)
	}
	s.deadline(ctx, s.cfg.CommandTimeout)
	reply, err := readReply(s.br, nil)
	reply, err = s.note(ctx, steps, at, "(connect to "+addr+")", reply, err)
	if err != nil {
		return broken(StageConnect, addr, err)
	}
	if reply.Code != 220 {
		return refused(StageConnect, addr, reply)
	}
	if f := s.hello(ctx, steps); f != nil {
		return f
	}
	if s.cfg.TLS == StartTLS || s.cfg.TLS == OpportunisticTLS && s.ext.startTLS {
		if f := s.startTLS(ctx, steps); f != nil {
			return f
		}
	}
	if s.cfg.Username != "" {
		return s.authenticate(ctx, steps)
	}
	return nil
}

// hello says EHLO, or HELO to a server that does not know it.
func (s *session) hello(ctx context.Context, steps *transcript) *failure {
	s.ext = extensions{}
	first := true
	line := "EHLO " + s.cfg.HELO
	reply, err := s.command(ctx, steps, line, line, func(text string) {
		if !first {
			s.ext.read(text)
		}
		first = false
	})
	if err == nil && (reply.Code == 500 || reply.Code == 502) {
		s.ext = extensions{}
		line = "HELO " + s.cfg.HELO
		reply, err = s.command(ctx, steps, line, line, nil)
	}
	if err != nil {
		return broken(StageConnect, s.cfg.Address, err)
	}
	if !reply.Positive() {
		return refused(StageConnect, s.cfg.Address, reply)
	}
	return nil
}

// read takes in one line of the EHLO reply.
func (e *extensions) read(line string) {
	name, args, _ := strings.Cut(line, " ")
	switch strings.ToUpper(name) {
	case "PIPELINING":
		e.pipelining = true
	case "8BITMIME":
		e.eightBit = true
	case "STARTTLS":
		e.startTLS = true
	case "SIZE":
		if n, err := strconv.ParseInt(args, 10, 64); err == nil && n > 0 {
			e.size = n
		}
	case "AUTH":
		e.auth = strings.Fields(strings.ToUpper(args))
	}
}

// startTLS asks for TLS, and says hello again: what was said before could have
// been said by anybody (RFC 3207, section 4.2).
func (s *session) startTLS(ctx context.Context, steps *transcript) *failure {
	if !s.ext.startTLS {
		return broken(StageTLS, s.cfg.Address, errors.New("STARTTLS is demanded and not offered; use another port or another TLS mode"))
	}
	reply, err := s.command(ctx, steps, "STARTTLS", "STARTTLS", nil)
	if err != nil {
		return broken(StageTLS, s.cfg.Address, err)
	}
	if !reply.Positive() {
		return refused(StageTLS, s.cfg.Address, reply)
	}
	// Clear text behind the reply would be read as if it had come encrypted.
	if s.br.Buffered() > 0 {
		return broken(StageTLS, s.cfg.Address, fmt.Errorf("text after the reply to STARTTLS: %w", errReply))
	}
	if f := s.handshake(ctx, steps); f != nil {
		return f
	}
	return s.hello(ctx, steps)
}

func (s *session) handshake(ctx context.Context, steps *transcript) *failure {
	at := time.Now()
	limited, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	s.deadline(ctx, s.cfg.ConnectTimeout)
	conn := tls.Client(s.conn, s.cfg.TLSConfig)
	if err := conn.HandshakeContext(limited); err != nil {
		err = cause(ctx, err)
		steps.add(at, "(TLS handshake)", "("+cutTo(err.Error(), 200)+")")
		return broken(StageTLS, s.cfg.Address, err)
	}
	state := conn.ConnectionState()
	steps.add(at, "(TLS handshake)", tls.VersionName(state.Version)+" "+tls.CipherSuiteName(state.CipherSuite))
	s.conn = conn
	s.br = bufio.NewReaderSize(conn, maxReplyLine)
	s.verified = !s.cfg.TLSConfig.InsecureSkipVerify
	return nil
}

// authenticate logs in (RFC 4954). What is sent is never in the transcript, and
// a reply that repeats it is withheld.
func (s *session) authenticate(ctx context.Context, steps *transcript) *failure {
	tcp, _ := s.conn.RemoteAddr().(*net.TCPAddr)
	if loopback := tcp != nil && tcp.IP.IsLoopback(); !s.verified && !loopback {
		return broken(StageAuth, s.cfg.Address, errors.New("the password is not sent without verified TLS; use starttls or implicit"))
	}
	coded := func(v string) string { return base64.StdEncoding.EncodeToString([]byte(v)) }
	plain := coded("\x00" + s.cfg.Username + "\x00" + s.cfg.Password)
	secrets := []string{s.cfg.Password, coded(s.cfg.Password), plain}
	var mechanism string
	var lines []string
	switch {
	case slices.Contains(s.ext.auth, "PLAIN"):
		mechanism = "PLAIN"
		lines = []string{"AUTH PLAIN " + plain}
	case slices.Contains(s.ext.auth, "LOGIN"):
		mechanism = "LOGIN"
		lines = []string{"AUTH LOGIN", coded(s.cfg.Username), coded(s.cfg.Password)}
	default:
		return broken(StageAuth, s.cfg.Address, fmt.Errorf("neither AUTH PLAIN nor LOGIN is offered, only %q", cut(strings.Join(s.ext.auth, " "))))
	}
	at := time.Now()
	for i, line := range lines {
		var quiet transcript
		reply, err := s.command(ctx, &quiet, line, "", nil)
		more := i+1 < len(lines)
		if err == nil && more && reply.Code == 334 {
			continue
		}
		repeats := func(text string) bool {
			return slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(text, secret) })
		}
		if repeats(reply.Text) {
			reply.Text = "(text withheld: it repeats the password)"
		}
		if err != nil && repeats(err.Error()) {
			err = errReply
		}
		reply, err = s.note(ctx, steps, at, "AUTH "+mechanism, reply, err)
		if err != nil {
			return broken(StageAuth, s.cfg.Address, err)
		}
		if more || !reply.Positive() {
			return refused(StageAuth, s.cfg.Address, reply)
		}
	}
	return nil
}
