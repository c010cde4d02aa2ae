// Package dnstest is a DNS server for tests: real packets, made from zone text, with faults
// on demand and a log of what was asked. Production code never imports it.
//
//	zone text ──> Server ──┬── Serve: UDP and TCP on one port of 127.0.0.1
//	                       ├── Dial: in-memory connections, for tests inside synctest bubbles
//	                       └── Handle: one packet in, one packet out
//
// It answers as an authoritative server for all names it holds and as a resolver for the
// rest of the world, which does not exist: negative answers carry a SOA, CNAMEs are chased,
// empty non-terminals are NODATA, wildcards follow RFC 4592. With Authority it keeps to its
// zones and refers to other servers, with Recursor it asks them. It does not sign or
// transfer zones.
package dnstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Server holds zones, faults and the log. Its methods may be called while it serves.
type Server struct {
	minimum time.Duration
	addr    string
	closed  chan struct{}
	wg      sync.WaitGroup

	authority bool
	network   Network // whom a recursor asks; nil for others
	root      string

	mu     sync.Mutex
	names  map[string]map[uint16][]dns.RR // canonical owner -> type -> records
	faults map[key][]Fault
	log    []Query
}

type key struct {
	name  string // canonical; empty for all names
	qtype uint16 // dns.TypeANY for all types
}

// Query is one question that arrived.
type Query struct {
	Name string // lower case, no trailing dot
	Type string // mnemonic
	TCP  bool
	RD   bool // recursion was desired
}

// Option changes a Server before it starts.
type Option func(*Server)

// Minimum sets TTL and minimum of the SOA in negative answers below names without a SOA
// record of their own; the default is one minute.
func Minimum(d time.Duration) Option { return func(s *Server) { s.minimum = d } }

// New makes a server without sockets, to be used through Dial or Handle. The zone text may
// hold several zones, with or without SOA; relative names are relative to the root.
func New(t testing.TB, zone string, opts ...Option) *Server {
	t.Helper()
	s := &Server{
		minimum: time.Minute,
		closed:  make(chan struct{}),
		names:   make(map[string]map[uint16][]dns.RR),
		faults:  make(map[key][]Fault),
	}
	for _, o := range opts {
		o(s)
	}
	s.add(parse(zone))
	t.Cleanup(s.close)
	return s
}

// Serve makes a server that listens on UDP and TCP, on the same free port of 127.0.0.1,
// until the test ends. It must not be called inside a synctest bubble: use New there.
func Serve(t testing.TB, zone string, opts ...Option) *Server {
	t.Helper()
	s := New(t, zone, opts...)
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("dnstest: %v", err)
		}
		addr := packets.LocalAddr().String()
		streams, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			packets.Close() // the port was free for UDP only
			continue
		}
		if err != nil {
			t.Fatalf("dnstest: %v", err)
		}
		s.addr = addr
		s.wg.Go(func() { s.servePackets(packets) })
		s.wg.Go(func() { s.serveStreams(streams) })
		s.wg.Go(func() {
			<-s.closed
			packets.Close()
			streams.Close()
		})
		return s
	}
	t.Fatal("dnstest: found no port that is free for UDP and TCP")
	return nil
}

func (s *Server) close() {
	close(s.closed)
	s.wg.Wait()
}

// Addr returns host:port of a server made by Serve; empty otherwise.
func (s *Server) Addr() string { return s.addr }

// Add adds records, given as zone text, to those that are there.
func (s *Server) Add(rrText ...string) {
	s.add(parse(strings.Join(rrText, "\n")))
}

// Set replaces, for each name and type in the zone text, all records of that name and type.
func (s *Server) Set(rrText ...string) {
	rrs := parse(strings.Join(rrText, "\n"))
	s.mu.Lock()
	for _, rr := range rrs {
		delete(s.names[dns.CanonicalName(rr.Header().Name)], rr.Header().Rrtype)
	}
	s.mu.Unlock()
	s.add(rrs)
}

// Remove removes the records of a name and type; type "" or "ANY" means all types.
func (s *Server) Remove(name, rrtype string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner, qtype := dns.CanonicalName(name), typeOf(rrtype)
	if qtype == dns.TypeANY {
		delete(s.names, owner)
		return
	}
	delete(s.names[owner], qtype)
	if len(s.names[owner]) == 0 {
		delete(s.names, owner)
	}
}

func (s *Server) add(rrs []dns.RR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rr := range rrs {
		owner := dns.CanonicalName(rr.Header().Name)
		if s.names[owner] == nil {
			s.names[owner] = make(map[uint16][]dns.RR)
		}
		t := rr.Header().Rrtype
		s.names[owner][t] = append(s.names[owner][t], rr)
	}
}

// parse panics on bad zone text: it is part of the test's source.
func parse(text string) []dns.RR {
	zp := dns.NewZoneParser(strings.NewReader(text+"\n"), ".", "")
	zp.SetDefaultTTL(300)
	var rrs []dns.RR
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		rrs = append(rrs, rr)
	}
	if err := zp.Err(); err != nil {
		panic(fmt.Sprintf("dnstest: zone text: %v", err))
	}
	return rrs
}

func typeOf(mnemonic string) uint16 {
	if mnemonic == "" {
		return dns.TypeANY
	}
	t, ok := dns.StringToType[strings.ToUpper(mnemonic)]
	if !ok {
		panic(fmt.Sprintf("dnstest: unknown type %q", mnemonic))
	}
	return t
}

// Queries counts the questions for a name and type that arrived, over UDP and TCP; an empty
// name or type counts all.
func (s *Server) Queries(name, rrtype string) int {
	n := 0
	for _, q := range s.Log() {
		if (name == "" || q.Name == strings.TrimSuffix(dns.CanonicalName(name), ".")) && (rrtype == "" || q.Type == strings.ToUpper(rrtype)) {
			n++
		}
	}
	return n
}

// Log returns all questions in the order of their arrival.
func (s *Server) Log() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

func (s *Server) servePackets(conn net.PacketConn) {
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		query := slices.Clone(buf[:n])
		s.wg.Go(func() {
			if reply := s.Handle(query, false); reply != nil {
				conn.WriteTo(reply, from)
			}
		})
	}
}

func (s *Server) serveStreams(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer s.closeWithServer(conn)()
			s.serveStream(conn)
		})
	}
}

// closeWithServer closes a connection when the server closes or the returned function is
// called.
func (s *Server) closeWithServer(c io.Closer) (done func()) {
	ended := make(chan struct{})
	s.wg.Go(func() {
		select {
		case <-s.closed:
		case <-ended:
		}
		c.Close()
	})
	return func() { close(ended) }
}

// serveStream answers queries with a length in front (RFC 1035, section 4.2.2). A dropped
// query leaves the connection open and silent.
func (s *Server) serveStream(conn net.Conn) {
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := s.Handle(query, true)
		if reply == nil {
			continue
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// Dial opens an in-memory connection to the server, whatever the address: packets for
// "udp", a stream for "tcp". It works inside synctest bubbles, when the server was made
// there by New. It has the signature of dnscheck.ResolverConfig.Dial.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, server := net.Pipe()
	s.wg.Go(func() {
		defer s.closeWithServer(server)()
		if strings.HasPrefix(network, "tcp") {
			s.serveStream(server)
			return
		}
		replies := make(chan []byte, 512) // as long as nobody reads, as in a socket's buffer
		ended := make(chan struct{})
		defer close(ended)
		s.wg.Go(func() {
			for {
				select {
				case reply := <-replies:
					server.Write(reply)
				case <-ended:
					return
				}
			}
		})
		buf := make([]byte, dns.MaxMsgSize)
		for {
			n, err := server.Read(buf) // one write of the client is one read here
			if err != nil {
				return
			}
			query := slices.Clone(buf[:n])
			s.wg.Go(func() {
				if reply := s.Handle(query, false); reply != nil {
					select {
					case replies <- reply:
					default: // full
					}
				}
			})
		}
	})
	if strings.HasPrefix(network, "tcp") {
		return client, nil
	}
	return &packetConn{Conn: client}, nil
}

// packetConn keeps packet boundaries on top of a pipe and is recognised as packet-oriented
// by miekg/dns.
type packetConn struct{ net.Conn }

func (c *packetConn) Read(p []byte) (int, error) {
	buf := make([]byte, dns.MaxMsgSize)
	n, err := c.Conn.Read(buf)
	return copy(p, buf[:n]), err // as with UDP, what does not fit is lost
}

func (c *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, c.RemoteAddr(), err
}

func (c *packetConn) WriteTo(p []byte, _ net.Addr) (int, error) { return c.Write(p) }

// Network is several servers at made-up addresses (host:port). Nothing answers elsewhere.
type Network map[string]*Server

// Dial is like Server.Dial. At an address without server, UDP packets are lost and TCP
// connections are refused.
func (n Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s := n[address]; s != nil {
		return s.Dial(ctx, network, address)
	}
	if strings.HasPrefix(network, "tcp") {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	go func() {
		io.Copy(io.Discard, server)
		server.Close()
	}()
	return &packetConn{Conn: client}, nil
}
