package zone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	// maxUDP is the largest datagram sent or announced, in bytes: what passes nearly
	// every path without fragments (RFC 9715).
	maxUDP = 1232
	// maxInFlight bounds the datagrams being answered. Above it they are dropped, as
	// the system drops them when its buffer is full.
	maxInFlight = 1024
	// maxConns bounds the open TCP connections; more wait in the system's backlog.
	maxConns = 256
	// maxConnQueries bounds the questions of one connection, so that none lasts.
	maxConnQueries = 128
	// maxChain bounds how many aliases one answer follows.
	maxChain = 16

	queryTimeout    = 3 * time.Second
	tcpReadTimeout  = 2 * time.Second
	tcpWriteTimeout = 2 * time.Second
	tcpIdleTimeout  = 5 * time.Second
)

// ServerConfig says what a Server answers with.
type ServerConfig struct {
	Source Source       // where answers come from; needed
	Log    *slog.Logger // failures of the source; nil: none
	// Recursion sets the RA bit: the sources hold every name there is, so that the
	// server can be used as a resolver. For a development instance only.
	Recursion bool
	// RateLimit is how many answers a second one client network (IPv4 /24, IPv6 /56)
	// gets over UDP; beyond it answers are empty and truncated, which sends real
	// clients to TCP and gives a spoofed one nothing. 0: no limit.
	RateLimit int
}

// Server is an authoritative name server (RFC 1034, RFC 1035) for the zones of one
// Source. It has no state but its limits: one Server may serve several addresses.
type Server struct {
	source    Source
	log       *slog.Logger
	recursion bool
	limit     *limiter // nil: no limit
	inFlight  chan struct{}
	logged    atomic.Int64 // Unix second of the last line logged
}

// NewServer makes a server that answers from c.Source.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Source == nil {
		return nil, errors.New("name server: no source of answers: set ServerConfig.Source")
	}
	if c.RateLimit < 0 {
		return nil, fmt.Errorf("name server: rate limit %d is negative: use 0 for none", c.RateLimit)
	}
	s := &Server{source: c.Source, log: c.Log, recursion: c.Recursion, inFlight: make(chan struct{}, maxInFlight)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if c.RateLimit > 0 {
		s.limit = newLimiter(c.RateLimit)
	}
	return s, nil
}

// Serve answers what arrives on pc and l, of which one may be nil, until ctx is done.
// Then it finishes what it has begun, closes both and returns nil; no goroutine of it
// is left. It returns early, with an error, when one of the two fails.
func (s *Server) Serve(ctx context.Context, pc net.PacketConn, l net.Listener) error {
	if pc == nil && l == nil {
		return errors.New("name server: neither a packet connection nor a listener to serve")
	}
	group, ctx := errgroup.WithContext(ctx)
	// Questions outlive the end of ctx by their own time-out: that is the drain.
	queries := context.WithoutCancel(ctx)
	if pc != nil {
		group.Go(func() error {
			defer pc.Close()
			return run(ctx, &dns.Server{PacketConn: pc, Handler: &handler{s, queries, true}, UDPSize: maxUDP})
		})
	}
	if l != nil {
		group.Go(func() error {
			defer l.Close()
			return run(ctx, &dns.Server{
				Listener: boundListener(l, maxConns), Handler: &handler{s, queries, false},
				MaxTCPQueries: maxConnQueries, ReadTimeout: tcpReadTimeout,
				IdleTimeout: func() time.Duration { return tcpIdleTimeout },
			})
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("name server: %w", err)
	}
	return nil
}

// run drives one miekg/dns server until ctx is done or it fails.
func run(ctx context.Context, srv *dns.Server) error {
	srv.MsgAcceptFunc = accept
	// Shutdown fails on a server that has not started yet, so the start is waited for.
	started, done := make(chan struct{}), make(chan error, 1)
	srv.NotifyStartedFunc = func() { close(started) }
	go func() { done <- srv.ActivateAndServe() }()
	select {
	case <-started:
	case err := <-done:
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.Join(srv.Shutdown(), <-done)
	}
}

// accept judges a header before the rest is read. This is where opcodes are let in:
// NOTIFY and UPDATE are answered NOTIMP.
func accept(h dns.Header) dns.MsgAcceptAction {
	const response = 1 << 15
	switch opcode := int(h.Bits>>11) & 0xf; {
	case h.Bits&response != 0:
		return dns.MsgIgnore // answering answers makes loops
	case opcode != dns.OpcodeQuery:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1, h.Ancount > 0, h.Nscount > 1, h.Arcount > 2:
		// One question (RFC 9619); the SOA of an IXFR question; OPT and TSIG.
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// handler is a Server on one transport.
type handler struct {
	*Server
	ctx context.Context
	udp bool
}

// ServeDNS answers one well-formed query message, exactly once or (under overload) not
// at all. Answers of several messages and signed ones would start here.
func (h *handler) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	if h.udp {
		select {
		case h.inFlight <- struct{}{}:
			defer func() { <-h.inFlight }()
		default:
			return
		}
	}
	wire, err := h.respond(req, w.RemoteAddr())
	if err == nil {
		_, err = w.Write(wire)
	}
	if err != nil && !h.udp {
		_ = w.Close() // half an answer may be in the stream
	}
}

// respond makes the packed reply to req.
func (h *handler) respond(req *dns.Msg, client net.Addr) (wire []byte, err error) {
	ctx, cancel := context.WithTimeout(h.ctx, queryTimeout)
	defer cancel()
	size := dns.MaxMsgSize
	if h.udp {
		size = dns.MinMsgSize
		if opt := req.IsEdns0(); opt != nil {
			size = min(max(size, int(opt.UDPSize())), maxUDP)
		}
	}
	m := h.reply(ctx, req, h.udp && h.limited(client))
	if wire, err = m.Pack(); err == nil && len(wire) <= size {
		return wire, nil
	}
	if err == nil && h.udp {
		// No records at all: half a set could be taken for the whole one.
		m.Truncated, m.Answer, m.Ns = true, nil, nil
		return m.Pack()
	}
	h.complain("answer cannot be sent", "question", m.Question, "bytes", len(wire), "error", err)
	return h.failure(m).Pack()
}

// limited says whether a client has had its share of this second's answers.
func (s *Server) limited(client net.Addr) bool {
	addr, ok := client.(*net.UDPAddr)
	return ok && s.limit != nil && !s.limit.allow(addr.AddrPort().Addr(), time.Now().Unix())
}

// reply decides everything about the answer to req but its size.
func (s *Server) reply(ctx context.Context, req *dns.Msg, limited bool) (m *dns.Msg) {
	m = new(dns.Msg).SetReply(req)
	m.RecursionAvailable, m.Compress = s.recursion, true

	defer func() {
		if p := recover(); p != nil {
			s.log.Error("name server: panic", "panic", p, "stack", string(debug.Stack()))
			s.failure(m)
		}
	}()

	opt, ok := edns(req)
	if !ok || len(req.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	if opt != nil {
		own := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		own.SetUDPSize(maxUDP)
		own.SetDo(opt.Do()) // copied, though nothing is signed (RFC 3225, section 3)
		m.Extra = []dns.RR{own}
	}
	q := req.Question[0]
	switch {
	case opt != nil && opt.Version() != 0:
		m.Rcode = dns.RcodeBadVers
	case q.Qclass != dns.ClassINET, metaType(q.Qtype):
		m.Rcode = dns.RcodeRefused
	case limited:
		m.Truncated = true
	default:
		if err := s.answer(ctx, m, q); err != nil {
			s.complain("no answer from the source", "name", q.Name, "type", dns.Type(q.Qtype).String(), "error", err)
			s.failure(m)
		}
	}
	return m
}

// edns finds the OPT record of a query: one at most, owned by the root (RFC 6891,
// section 6.1).
func edns(req *dns.Msg) (opt *dns.OPT, ok bool) {
	for _, rr := range req.Extra {
		if o, is := rr.(*dns.OPT); is {
			if opt != nil || o.Hdr.Name != "." {
				return nil, false
			}
			opt = o
		}
	}
	return opt, true
}

// metaType says of a type that no source has records of it: OPT, and what RFC 6895
// reserves for questions, such as AXFR and IXFR. ANY is the exception.
func metaType(t uint16) bool {
	return t == 0 || t == dns.TypeOPT || t >= 128 && t <= 255 && t != dns.TypeANY
}

// answer fills m with what the source knows about q, following aliases as far as the
// source goes. A chain that loops or is too long ends where it is: its records are
// the evidence the asker needs.
func (s *Server) answer(ctx context.Context, m *dns.Msg, q dns.Question) error {
	owner, qtype := q.Name, q.Qtype
	if qtype == dns.TypeANY {
		qtype = dns.TypeCNAME
	}
	seen := make([]string, 0, 4)
	for range maxChain {
		name := dns.CanonicalName(owner)
		if slices.Contains(seen, name) {
			return nil
		}
		seen = append(seen, name)
		a, err := s.source.Lookup(ctx, name, qtype)
		if err != nil {
			return err
		}
		if a.SOA == nil {
			if len(seen) == 1 {
				m.Rcode = dns.RcodeRefused
			}
			return nil // an alias may leave our zones: the asker goes on from there
		}
		m.Authoritative = true
		if len(a.RRs) == 0 {
			s.negative(m, q, a)
			return nil
		}
		for _, rr := range a.RRs {
			// The case of the question is kept, for clients that check it (0x20).
			rr = dns.Copy(rr)
			rr.Header().Name = owner
			m.Answer = append(m.Answer, rr)
		}
		alias, ok := a.RRs[0].(*dns.CNAME)
		if !ok || qtype == dns.TypeCNAME {
			return nil
		}
		owner = alias.Target
	}
	return nil
}

// negative ends m with NODATA or NXDOMAIN and the SOA that says how long that may be
// kept (RFC 2308, section 3). The code is that of the last name of a chain (RFC 6604).
func (s *Server) negative(m *dns.Msg, q dns.Question, a Answer) {
	soa := *a.SOA
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	switch {
	case !a.Exists:
		m.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeANY:
		// The whole of a name is for nobody (RFC 8482, section 4.2).
		m.Answer = []dns.RR{&dns.HINFO{Hdr: header(q.Name, dns.TypeHINFO, soa.Hdr.Ttl), Cpu: "RFC8482"}}
		return
	}
	m.Ns = []dns.RR{&soa}
}

// failure makes m a SERVFAIL. What had been found is dropped: a part could be taken
// for the whole.
func (s *Server) failure(m *dns.Msg) *dns.Msg {
	m.Rcode, m.Authoritative, m.Truncated, m.Answer, m.Ns = dns.RcodeServerFailure, false, false, nil, nil
	return m
}

// complain logs at most one line a second: whoever sends questions must not be able to
// fill the log.
func (s *Server) complain(msg string, args ...any) {
	now := time.Now().Unix()
	if last := s.logged.Load(); last != now && s.logged.CompareAndSwap(last, now) {
		s.log.Warn("name server: "+msg, args...)
	}
}
