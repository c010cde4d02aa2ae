package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A TLSMode says how the connection to a relay is protected.
type TLSMode string

const (
	// StartTLS demands STARTTLS and a valid certificate (RFC 3207). The default.
	StartTLS TLSMode = "starttls"
	// ImplicitTLS speaks TLS from the first byte, with a valid certificate (RFC 8314).
	ImplicitTLS TLSMode = "implicit"
	// OpportunisticTLS uses STARTTLS where it is offered and does not look at
	// the certificate: better than nothing against listeners, nothing against
	// an attacker (RFC 7435).
	OpportunisticTLS TLSMode = "opportunistic"
	// NoTLS never encrypts.
	NoTLS TLSMode = "none"
)

// RelayConfig says where a relay is and how to speak to it. Only Address is needed.
type RelayConfig struct {
	Address   string      // host:port; the host is the name in the certificate
	TLS       TLSMode     // "" is StartTLS
	TLSConfig *tls.Config // roots and the like; nil is the system's. The server name is set if empty
	HELO      string      // our name; "" is localhost

	// Username and Password are for AUTH PLAIN or LOGIN. They are only sent
	// over TLS with a valid certificate, or to a loopback address.
	Username, Password string

	MaxConnections int           // at once; 0 is 8. More Sends wait
	IdleTimeout    time.Duration // an unused connection is closed after it; 0 is 30 s

	// ConnectTimeout is for TCP and for TLS each (0 is 10 s), CommandTimeout for
	// the reply to a command (0 is 30 s), DataTimeout for sending the message and
	// for its reply each (0 is 2 min). RFC 5321, section 4.5.3.2, asks for 5 and
	// 10 minutes: a code by mail is dead by then, so ours are shorter, at the
	// price of an InDoubt where a relay is very slow.
	ConnectTimeout, CommandTimeout, DataTimeout time.Duration
	// OpenTimeout is for a connection as a whole, until MAIL can be said; 0: no more
	// than the others say.
	OpenTimeout time.Duration

	// Dial opens the connection; nil is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// An Envelope is the reverse-path and the one recipient of a message (RFC 5321,
// section 3.3). From may be empty: <>, for messages that must not bounce.
type Envelope struct{ From, To string }

// A Relay hands messages to one SMTP server and keeps connections to it open
// between messages. It is safe for concurrent use.
//
//	Send -> slot -> idle connection or connect, TLS, AUTH
//	             -> MAIL, RCPT, DATA (in one write where PIPELINING is offered)
//	             -> message and final dot (one write) -> reply -> Result
//
// The conversation is written here and not taken from a library, because the
// Result needs to know whether the final dot left this machine, and the
// transcript needs every reply.
type Relay struct {
	cfg   RelayConfig
	slots chan struct{}
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	idle   []*session // the last one used is the last
}

// NewRelay checks the configuration; it does not connect. Errors are *FieldError.
func NewRelay(cfg RelayConfig) (*Relay, error) {
	host, port, err := net.SplitHostPort(cfg.Address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
		return nil, problem("Address", "%q is not host:port", cut(cfg.Address))
	}
	if cfg.TLS == "" {
		cfg.TLS = StartTLS
	}
	switch cfg.TLS {
	case StartTLS, ImplicitTLS:
	case OpportunisticTLS, NoTLS:
		// The address is looked at again when it is known; this one is for the
		// operator, at start.
		if ip := net.ParseIP(host); cfg.Username != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, problem("TLS", "%q would send the password to %s without verified TLS; use %q or %q", cfg.TLS, cut(host), StartTLS, ImplicitTLS)
		}
	default:
		return nil, problem("TLS", "%q is not one of starttls, implicit, opportunistic, none", cut(string(cfg.TLS)))
	}
	if cfg.HELO == "" {
		cfg.HELO = "localhost"
	}
	if len(cfg.HELO) > 255 || strings.IndexFunc(cfg.HELO, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return nil, problem("HELO", "%q is not a host name", cut(cfg.HELO))
	}
	if (cfg.Username == "") != (cfg.Password == "") {
		return nil, problem("Username", "user name and password are only useful together")
	}
	if strings.ContainsAny(cfg.Username+cfg.Password, "\x00\r\n") {
		return nil, problem("Username", "user name and password cannot hold CR, LF or NUL")
	}
	if cfg.MaxConnections < 0 || cfg.MaxConnections > 1000 {
		return nil, problem("MaxConnections", "%d; use 1 to 1000", cfg.MaxConnections)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 8
	}
	for _, d := range []struct {
		field string
		value *time.Duration
		std   time.Duration
	}{
		{"IdleTimeout", &cfg.IdleTimeout, 30 * time.Second},
		{"ConnectTimeout", &cfg.ConnectTimeout, 10 * time.Second},
		{"CommandTimeout", &cfg.CommandTimeout, 30 * time.Second},
		{"DataTimeout", &cfg.DataTimeout, 2 * time.Minute},
	} {
		if *d.value < 0 {
			return nil, problem(d.field, "%s is negative", *d.value)
		}
		if *d.value == 0 {
			*d.value = d.std
		}
	}
	if cfg.TLSConfig == nil {
		cfg.TLSConfig = &tls.Config{}
	}
	cfg.TLSConfig = cfg.TLSConfig.Clone()
	if cfg.TLSConfig.ServerName == "" {
		cfg.TLSConfig.ServerName = host
	}
	if cfg.TLS == OpportunisticTLS {
		cfg.TLSConfig.InsecureSkipVerify = true
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	return &Relay{
		cfg:   cfg,
		slots: make(chan struct{}, cfg.MaxConnections),
		done:  make(chan struct{}),
	}, nil
}

// Send hands one message over. The message is the whole, signed one; it must
// pass CheckLines, and a missing CRLF at its end is added.
//
// Before the final dot was written everything that goes wrong is TempFailed, or
// PermFailed by a 5yz; afterwards a lost connection, a time-out, the end of ctx
// and a reply that is not SMTP are InDoubt. A kept connection that turns out to
// be dead (closed, or 421, in answer to MAIL) is replaced by a new one, once:
// nothing of the message was sent on it.
func (r *Relay) Send(ctx context.Context, env Envelope, message []byte) Result {
	if f := fit(env, message); f != nil {
		return f.result(nil)
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-r.done:
		return broken(StageConnect, r.cfg.Address, errClosed).result(nil)
	case <-ctx.Done():
		return broken(StageConnect, r.cfg.Address, context.Cause(ctx)).result(nil)
	}

	steps := make(transcript, 0, 8)
	s, err := r.take()
	if err != nil {
		return broken(StageConnect, r.cfg.Address, err).result(nil)
	}
	if s != nil {
		steps.add(time.Now(), "(connection to "+r.cfg.Address+" kept open)", "")
		result, fate := s.send(ctx, env, message, &steps)
		if fate != stale {
			r.put(s, fate)
			return result
		}
		s.conn.Close()
	}
	s, f := r.connect(ctx, &steps)
	if f != nil {
		return f.result(steps)
	}
	result, fate := s.send(ctx, env, message, &steps)
	r.put(s, fate)
	return result
}

// Close closes the connections that are not in use, and makes every later Send
// fail. Sends under way end by themselves.
func (r *Relay) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.done)
	idle := r.idle
	r.idle = nil
	r.mu.Unlock()
	for _, s := range idle {
		s.idle.Stop()
		s.quit()
	}
	return nil
}

var errClosed = errors.New("the relay is closed")

// fit refuses what cannot be sent, before a connection is used.
func fit(env Envelope, message []byte) *failure {
	if p := addressProblem(env.From); env.From != "" && p != "" {
		return unfit(StageMail, problem("From", "%s", p))
	}
	if p := addressProblem(env.To); p != "" {
		return unfit(StageRcpt, problem("To", "%s", p))
	}
	if len(message) == 0 {
		return unfit(StageData, problem("message", "is empty"))
	}
	if err := CheckLines(message); err != nil {
		return unfit(StageData, err)
	}
	return nil
}

// take returns the connection used last, or nil if there is none.
func (r *Relay) take() (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	n := len(r.idle)
	if n == 0 {
		return nil, nil
	}
	s := r.idle[n-1]
	r.idle[n-1] = nil
	r.idle = r.idle[:n-1]
	s.idle.Stop()
	return s, nil
}

// put keeps a connection for the next message or ends it.
func (r *Relay) put(s *session, fate fate) {
	r.mu.Lock()
	if fate == keep && !r.closed {
		r.idle = append(r.idle, s)
		if s.idle == nil {
			s.idle = time.AfterFunc(r.cfg.IdleTimeout, func() { r.expire(s) })
		} else {
			s.idle.Reset(r.cfg.IdleTimeout)
		}
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	if fate == keep {
		s.quit()
		return
	}
	s.conn.Close()
}

// expire ends a connection that nobody has used, if that is still so.
func (r *Relay) expire(s *session) {
	r.mu.Lock()
	found := false
	for i, other := range r.idle {
		if other == s {
			r.idle = append(r.idle[:i], r.idle[i+1:]...)
			found = true
			break
		}
	}
	r.mu.Unlock()
	if found {
		s.quit()
	}
}
