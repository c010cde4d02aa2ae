// Package mailtest is an SMTP server for tests: it takes every message, keeps
// what it got, and fails on demand at an exact point of the conversation.
//
//	sink := mailtest.Serve(t)
//	sink.Fail(mailtest.Fault{At: mailtest.EndOfData, Reply: "451 4.3.0 later", Times: 1})
//	... send to sink.Addr() ...
//	got, err := sink.WaitMessages(t.Context(), 1)
//
// It listens on 127.0.0.1 only and ends with its test. It verifies nothing about
// a message except its line ends; smtpd.Inbox is the receiver that verifies. It
// is imported by tests only.
package mailtest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// A Message is what one transaction brought.
type Message struct {
	From, To     string // envelope, without angle brackets; To joins several with a comma
	Data         []byte // as sent, without dot-stuffing
	At           time.Time
	TLS          bool
	Connection   int  // 1 for the first connection to the sink
	Acknowledged bool // false if a fault swallowed the reply after the final dot
}

// An Option changes a sink before it starts.
type Option func(*Sink)

// WithSTARTTLS offers STARTTLS, with a certificate for 127.0.0.1 and localhost.
func WithSTARTTLS() Option { return func(s *Sink) { s.startTLS = true } }

// WithImplicitTLS speaks TLS from the first byte.
func WithImplicitTLS() Option { return func(s *Sink) { s.implicit = true } }

// WithCertificateFor makes the certificate name something else.
func WithCertificateFor(host string) Option { return func(s *Sink) { s.certHost = host } }

// WithAuth demands AUTH before MAIL, by the mechanisms given, or PLAIN and LOGIN.
func WithAuth(user, password string, mechanisms ...string) Option {
	return func(s *Sink) {
		s.user, s.password, s.mechanisms = user, password, mechanisms
		if len(mechanisms) == 0 {
			s.mechanisms = []string{"PLAIN", "LOGIN"}
		}
	}
}

// WithExtensions replaces the extensions of EHLO: PIPELINING, 8BITMIME,
// ENHANCEDSTATUSCODES and SIZE 26214400 unless said. STARTTLS and AUTH are added
// to them as configured.
func WithExtensions(lines ...string) Option { return func(s *Sink) { s.extensions = lines } }

// CountOnly keeps no messages and no commands, for benchmarks.
func CountOnly() Option { return func(s *Sink) { s.countOnly = true } }

// A Sink is a running server.
type Sink struct {
	startTLS, implicit, countOnly bool
	certHost, user, password      string
	mechanisms, extensions        []string

	listener  net.Listener
	tlsConfig *tls.Config
	pool      *x509.CertPool
	ctx       context.Context // ends with the sink
	wg        sync.WaitGroup

	mu          sync.Mutex
	messages    []Message
	count       int
	commands    []string
	connections int
	open        map[net.Conn]struct{}
	faults      []*Fault
	changed     chan struct{} // closed and replaced when a message arrives
}

// Serve starts a sink on a free port of 127.0.0.1, and ends it with the test.
func Serve(t testing.TB, options ...Option) *Sink {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sink{
		ctx:        ctx,
		certHost:   "localhost",
		extensions: []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 26214400"},
		open:       map[net.Conn]struct{}{},
		changed:    make(chan struct{}),
	}
	for _, o := range options {
		o(s)
	}
	if s.startTLS || s.implicit {
		var err error
		if s.tlsConfig, s.pool, err = newCertificate(s.certHost); err != nil {
			t.Fatalf("mailtest: certificate: %v", err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("mailtest: listen: %v", err)
	}
	s.listener = l
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		cancel()
		l.Close()
		s.CloseConnections()
		s.wg.Wait()
	})
	return s
}

// Addr is the host:port to send to.
func (s *Sink) Addr() string { return s.listener.Addr().String() }

// Pool trusts the sink's certificate; nil without TLS.
func (s *Sink) Pool() *x509.CertPool { return s.pool }

// Messages are those that were taken, oldest first.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Count is the number of messages that were taken.
func (s *Sink) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Connections is the number of connections that were accepted.
func (s *Sink) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections
}

// Commands are the command lines of all connections in the order of arrival,
// AUTH with what was sent.
func (s *Sink) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Reset forgets messages and commands, and keeps faults and connections.
func (s *Sink) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages, s.commands, s.count = nil, nil, 0
}

// WaitMessages returns the messages once there are n. The error is that of ctx,
// with what had come until then.
func (s *Sink) WaitMessages(ctx context.Context, n int) ([]Message, error) {
	for {
		s.mu.Lock()
		got, messages, changed := s.count, slices.Clone(s.messages), s.changed
		s.mu.Unlock()
		if got >= n {
			return messages, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return messages, fmt.Errorf("%d of %d messages arrived: %w", got, n, context.Cause(ctx))
		case <-s.ctx.Done():
			return messages, fmt.Errorf("%d of %d messages arrived: the sink has ended", got, n)
		}
	}
}

// CloseConnections drops every open connection without a word, as a server does
// that restarts. New ones are accepted.
func (s *Sink) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

func (s *Sink) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.connections++
		n := s.connections
		s.open[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() {
				c.Close()
				s.mu.Lock()
				delete(s.open, c)
				s.mu.Unlock()
			}()
			if s.ctx.Err() != nil {
				return
			}
			conn, secure := c, false
			if s.implicit {
				conn, secure = tls.Server(c, s.tlsConfig), true
			}
			(&talk{s: s, conn: conn, br: bufio.NewReaderSize(conn, 64<<10), n: n, secure: secure}).run()
		})
	}
}

func (s *Sink) logCommand(line string) {
	if s.countOnly {
		return
	}
	s.mu.Lock()
	s.commands = append(s.commands, line)
	s.mu.Unlock()
}

// take records a message and wakes those who wait.
func (s *Sink) take(m Message) {
	s.mu.Lock()
	s.count++
	if !s.countOnly {
		s.messages = append(s.messages, m)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}
