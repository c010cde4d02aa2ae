// Package smtpd takes mail in by SMTP.
//
// Today it holds the Inbox, the mail sink of "postseal dev": a real server that
// keeps what it gets in memory, and judges each message as a receiver on the
// internet would, so that a developer sees SPF, DKIM and DMARC before going live.
//
//	client -> MAIL, RCPT, DATA -> line ends -> SPF, DKIM, DMARC -> Verdict
//	                                        -> Authentication-Results + message, kept
//
// It refuses no message for its verdict, delivers nothing any further, and asks
// the DNS only through the Resolver it is given.
package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/netutil"

	"github.com/postseal/postseal/internal/mail"
)

// Bounds of an Inbox. Memory is at most maxTotal for what is kept, and twice
// maxMessage for each connection.
const (
	maxMessage     = 25 << 20
	maxTotal       = 256 << 20
	maxRecipients  = 100
	maxConnections = 20
	defaultKeep    = 1000
	maxKeep        = 100_000
	readTimeout    = time.Minute
	writeTimeout   = 10 * time.Second
	verifyTimeout  = 10 * time.Second
	closeTimeout   = 5 * time.Second
)

// A Resolver asks the DNS. *net.Resolver is one. A name or type that does not
// exist is a *net.DNSError with IsNotFound; any other error is taken to be
// temporary where its Temporary method says so.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// InboxConfig sets up an Inbox. Resolver and Hostname are needed.
type InboxConfig struct {
	Resolver Resolver
	Hostname string // our name in the greeting and in Authentication-Results (authserv-id)

	// ClientIP is taken for the address of every client, if valid: on a
	// developer's machine all mail comes from 127.0.0.1, and SPF would be about that.
	ClientIP netip.Addr

	TLSConfig *tls.Config  // offers STARTTLS if set
	Keep      int          // how many messages are kept, the newest; 0 is 1000
	Log       *slog.Logger // nil is silent; addresses and texts are never logged
}

// A Message is one that was taken.
type Message struct {
	ID      int // counts up from 1
	From    string
	To      []string
	At      time.Time
	TLS     bool
	Raw     []byte // as it came, below our Authentication-Results; not to be changed
	Verdict Verdict
}

// An Inbox is an SMTP server that keeps the newest messages.
type Inbox struct {
	cfg    InboxConfig
	server *smtp.Server
	ctx    context.Context
	cancel context.CancelFunc

	busy atomic.Bool

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	open      map[net.Conn]struct{}
	messages  []*Message // oldest first
	total     int        // bytes of Raw
	lastID    int
}

// NewInbox checks the configuration; Serve starts it.
func NewInbox(cfg InboxConfig) (*Inbox, error) {
	if cfg.Resolver == nil {
		return nil, errors.New("inbox: no resolver is given")
	}
	if cfg.Hostname == "" || strings.ContainsFunc(cfg.Hostname, func(r rune) bool { return r <= ' ' || r > '~' || r == ';' }) {
		return nil, fmt.Errorf("inbox: hostname %.100q is not a host name", cfg.Hostname)
	}
	if cfg.Keep == 0 {
		cfg.Keep = defaultKeep
	}
	if cfg.Keep < 0 || cfg.Keep > maxKeep {
		return nil, fmt.Errorf("inbox: cannot keep %d messages; use 1 to %d", cfg.Keep, maxKeep)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	i := &Inbox{cfg: cfg, open: map[net.Conn]struct{}{}}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{inbox: i, conn: c}, nil }))
	s.Domain = cfg.Hostname
	s.TLSConfig = cfg.TLSConfig
	s.MaxMessageBytes = maxMessage
	s.MaxRecipients = maxRecipients
	s.ReadTimeout = readTimeout
	s.WriteTimeout = writeTimeout
	s.ErrorLog = slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)
	i.server = s
	return i, nil
}

// SetBusy makes the inbox answer 451 to every recipient, as a server with a bad
// hour does, or take mail again.
func (i *Inbox) SetBusy(busy bool) { i.busy.Store(busy) }

// Serve takes connections until Close; it then returns nil. It closes l.
func (i *Inbox) Serve(l net.Listener) error {
	defer l.Close()
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return nil
	}
	i.listeners = append(i.listeners, l)
	i.mu.Unlock()
	err := i.server.Serve(&listener{netutil.LimitListener(l, maxConnections), i})
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	return err
}

// Close ends the listener and all connections, and waits for them.
func (i *Inbox) Close() error {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return nil
	}
	i.closed = true
	open := make([]net.Conn, 0, len(i.open))
	for c := range i.open {
		open = append(open, c)
	}
	listeners := i.listeners
	i.mu.Unlock()
	i.cancel()
	for _, l := range listeners {
		l.Close()
	}
	for _, c := range open {
		c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := i.server.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("inbox: close: %w", err)
	}
	return nil
}

// Newest is the message that came last to an address, compared without case; ""
// is any address.
func (i *Inbox) Newest(address string) (raw []byte, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range slices.Backward(i.messages) {
		if m.isTo(address) {
			return m.Raw, true
		}
	}
	return nil, false
}

// All are the messages to an address that are still kept, oldest first; "" is
// any address.
func (i *Inbox) All(address string) []Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []Message
	for _, m := range i.messages {
		if m.isTo(address) {
			all = append(all, *m)
		}
	}
	return all
}

func (m *Message) isTo(address string) bool {
	return address == "" || slices.ContainsFunc(m.To, func(to string) bool { return strings.EqualFold(to, address) })
}

// keep stores a message, and drops the oldest while there are too many.
func (i *Inbox) keep(m *Message) {
	i.mu.Lock()
	i.lastID++
	m.ID = i.lastID
	i.messages = append(i.messages, m)
	i.total += len(m.Raw)
	drop := 0
	for len(i.messages)-drop > i.cfg.Keep || i.total > maxTotal {
		i.total -= len(i.messages[drop].Raw)
		drop++
	}
	i.messages = slices.Delete(i.messages, 0, drop)
	i.mu.Unlock()
	v := m.Verdict
	i.cfg.Log.Info("message taken", "id", m.ID, "bytes", len(m.Raw), "spf", v.SPF, "dkim", v.DKIM, "dmarc", v.DMARC)
}

// A listener notes the connections, so that Close can end the idle ones too.
type listener struct {
	net.Listener
	inbox *Inbox
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	n := &noted{c, l.inbox}
	l.inbox.mu.Lock()
	closed := l.inbox.closed
	if !closed {
		l.inbox.open[n] = struct{}{}
	}
	l.inbox.mu.Unlock()
	if closed {
		c.Close() // the server will find it closed
	}
	return n, nil
}

type noted struct {
	net.Conn
	inbox *Inbox
}

func (n *noted) Close() error {
	n.inbox.mu.Lock()
	delete(n.inbox.open, n)
	n.inbox.mu.Unlock()
	return n.Conn.Close()
}

// A session is one client's transactions.
type session struct {
	inbox *Inbox
	conn  *smtp.Conn
	from  string
	to    []string
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if err := checkPath(from, smtp.EnhancedCode{5, 1, 7}); err != nil {
		return err
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.inbox.busy.Load() {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "busy, try again later"}
	}
	if err := checkPath(to, smtp.EnhancedCode{5, 1, 3}); err != nil {
		return err
	}
	s.to = append(s.to, to)
	return nil
}

// checkPath refuses what go-smtp lets into an address: a bare CR, which the next
// server may take for the end of the line, and the like (RFC 5321, section 4.1.2).
func checkPath(address string, code smtp.EnhancedCode) error {
	if strings.ContainsFunc(address, unicode.IsControl) {
		return &smtp.SMTPError{Code: 553, EnhancedCode: code, Message: "the address holds a control character"}
	}
	return nil
}

func (s *session) Reset() { s.from, s.to = "", nil }

func (s *session) Logout() error { return nil }

// Data takes the message. One with a bare CR or LF is refused: where another
// server would see the end of a message in it, what follows is somebody else's.
func (s *session) Data(r io.Reader) error {
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(r); err != nil {
		return err
	}
	raw := buf.Bytes()
	if err := mail.CheckLines(raw); err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: err.Error()}
	}
	ip := s.inbox.cfg.ClientIP
	if !ip.IsValid() {
		if a, err := netip.ParseAddrPort(s.conn.Conn().RemoteAddr().String()); err == nil {
			ip = a.Addr()
		}
	}
	ctx, cancel := context.WithTimeout(s.inbox.ctx, verifyTimeout)
	defer cancel()
	verdict, results := verify(ctx, s.inbox.cfg.Resolver, ip.Unmap().WithZone(""), s.conn.Hostname(), s.from, raw)
	_, secure := s.conn.TLSConnectionState()
	s.inbox.keep(&Message{
		From:    s.from,
		To:      slices.Clone(s.to),
		At:      time.Now(),
		TLS:     secure,
		Raw:     prependResults(s.inbox.cfg.Hostname, results, raw),
		Verdict: verdict,
	})
	return nil
}
