package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	defaultTimeout = time.Second
	defaultTries   = 2
	// maxExchanges bounds the questions of one Resolver that are under way at a time, and with
	// them its sockets.
	maxExchanges = 1024
	// linger is how long others may still answer after the answers so far decide.
	linger = 250 * time.Millisecond
)

// ResolverConfig says whom to ask. Only Servers is required.
type ResolverConfig struct {
	// Servers are recursive resolvers as host:port; ":53" is added to a bare IP address.
	// Naming one twice is an error: it would count as two witnesses.
	Servers []string
	// Timeout bounds one try on one transport; 0 means 1 s.
	Timeout time.Duration
	// Tries is how often a server is asked before it counts as silent; 0 means 2.
	Tries int
	// Dial opens "udp" and "tcp" connections; nil means net.Dialer. A connection for "udp"
	// must keep packet boundaries.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Resolver asks a fixed list of recursive resolvers. It keeps sockets for some seconds and
// no cache, and is safe for concurrent use.
type Resolver struct {
	servers []string
	timeout time.Duration
	tries   int
	lines   *lines
	slots   *slots
	spoke   map[string]*atomic.Int64 // when each server last said anything, in Unix nanoseconds
	asker   string                   // on whose behalf; see Checker.For
}

// as is the same Resolver on behalf of an asker.
func (r *Resolver) as(asker string) *Resolver {
	own := *r
	own.asker = asker
	return &own
}

// slots are the exchanges of a Resolver that may be under way.
type slots struct {
	mu sync.Mutex
	turns
}

func (s *slots) take(ctx context.Context, asker string) bool {
	s.mu.Lock()
	turn := s.want(asker)
	s.mu.Unlock()
	if turn == nil {
		return true
	}
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(asker, turn)
	return false
}

func (s *slots) give(asker string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(asker)
}

// NewResolver checks the configuration. It sends nothing.
func NewResolver(c ResolverConfig) (*Resolver, error) {
	r := &Resolver{
		timeout: c.Timeout, tries: c.Tries,
		lines: newLines(c.Dial),
		slots: &slots{turns: turns{most: maxExchanges}}, spoke: make(map[string]*atomic.Int64),
	}
	if r.timeout == 0 {
		r.timeout = defaultTimeout
	}
	if r.tries == 0 {
		r.tries = defaultTries
	}
	if r.timeout < 0 || r.tries < 0 {
		return nil, errors.New("resolver: timeout and tries must be positive")
	}
	if len(c.Servers) == 0 {
		return nil, errors.New("resolver: no servers: configure at least one as host:port")
	}
	for _, s := range c.Servers {
		s = withPort(s)
		host, port, err := net.SplitHostPort(s)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("resolver: server %s is not host:port", quote(s))
		}
		if n, err := net.LookupPort("udp", port); err != nil || n == 0 {
			return nil, fmt.Errorf("resolver: server %s has no port from 1 to 65535", quote(s))
		}
		if slices.Contains(r.servers, s) {
			return nil, fmt.Errorf("resolver: server %s is listed twice: one server must not count as two", quote(s))
		}
		r.servers = append(r.servers, s)
		r.spoke[s] = new(atomic.Int64)
	}
	return r, nil
}

// withPort completes an address that has none. A zone of IPv6 can be any text, so brackets
// decide: "fe80::1%eth0]:53" would be an address as well.
func withPort(s string) string {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && !strings.Contains(s, "]:") {
		return net.JoinHostPort(addr.String(), "53")
	}
	return s
}

// Servers returns the servers that are asked, in configured order, each as host:port.
func (r *Resolver) Servers() []string { return slices.Clone(r.servers) }

// Mute tells that none of the servers has said anything so far: more likely they cannot be
// reached than that all questions were about what is broken.
func (r *Resolver) Mute() bool {
	for _, spoke := range r.spoke {
		if spoke.Load() != 0 {
			return false
		}
	}
	return true
}

// deadAfter is how long a resolver must have been silent to count as switched off rather
// than as having lost a packet.
const deadAfter = 10 * time.Minute

// alive counts the servers that are not switched off: a dead one has no vote, but one that
// merely missed a question keeps it, so that the loss of packets does not let a single
// resolver speak for all.
func (r *Resolver) alive() int {
	n, now := 0, time.Now().UnixNano()
	for _, s := range r.servers {
		if t := r.spoke[s].Load(); t != 0 && now-t < int64(deadAfter) {
			n++
		}
	}
	return n
}

// question is what is asked; name is bare (lower case, no trailing dot).
type question struct {
	name  string
	qtype uint16
}

// enough looks at the answers so far and says whether they decide, and if so how long the
// others may still take.
type enough func(got []answer) (wait time.Duration, decided bool)

// gather asks every server at once and returns one answer for each, in configured order.
// With enough, servers that are slower than it allows count as timed out.
func (r *Resolver) gather(ctx context.Context, q question, enough enough) []answer {
	return gather(ctx, len(r.servers), enough, func(ctx context.Context, i int) answer { return r.ask(ctx, r.servers[i], q) })
}

// gather asks n servers at once, by index.
func gather(ctx context.Context, n int, enough enough, ask func(ctx context.Context, i int) answer) []answer {
	if n == 1 {
		return []answer{ask(ctx, 0)}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type indexed struct {
		i int
		a answer
	}
	results := make(chan indexed, n)
	for i := range n {
		go func() { results <- indexed{i, ask(ctx, i)} }()
	}
	answers := make([]answer, n)
	got := make([]answer, 0, n)
	var stop <-chan time.Time
	late := false
	// Also after a cancel all results are awaited: no goroutine outlives the call, and a
	// cancelled exchange returns at once.
	for len(got) < n {
		select {
		case res := <-results:
			res.a.skipped = late && res.a.result == SawTimeout
			answers[res.i] = res.a
			got = append(got, res.a)
			if enough == nil {
				continue
			}
			// A later answer can shorten the wait to nothing, but not start it anew.
			if wait, decided := enough(got); decided && (stop == nil || wait == 0) {
				stop = time.After(wait)
			}
		case <-stop:
			cancel()
			stop, enough, late = nil, nil, true
		}
	}
	return answers
}

// first asks every server at once and returns the first positive answer, or a negative one
// when no other server has better news soon.
func (r *Resolver) first(ctx context.Context, q question) answer {
	if len(r.servers) == 1 {
		return r.ask(ctx, r.servers[0], q)
	}
	return best(r.gather(ctx, q, firstWins))
}

func firstWins(got []answer) (time.Duration, bool) {
	switch best(got).result {
	case SawAnswer:
		return 0, true
	case SawNXDOMAIN, SawNODATA, SawLoop:
		return linger, true
	}
	return 0, false
}

// best picks the answer that says most: a positive one, a negative one, any.
func best(answers []answer) answer {
	for _, a := range answers {
		if a.result == SawAnswer {
			return a
		}
	}
	for _, a := range answers {
		if a.told() {
			return a
		}
	}
	return answers[0]
}

// LookupTXT returns the TXT records of a name, each with its strings joined. Together with
// the other Lookup methods it is what go-msgauth and blitiri.com.ar/go/spf ask for. All of
// them return *net.DNSError: IsNotFound for NXDOMAIN and NODATA, IsTemporary for SERVFAIL,
// REFUSED and time-outs (the latter with IsTimeout).
func (r *Resolver) LookupTXT(ctx context.Context, domain string) ([]string, error) {
	return lookups(r.first).LookupTXT(ctx, domain)
}

// LookupMX returns the MX records of a name by preference.
func (r *Resolver) LookupMX(ctx context.Context, domain string) ([]*net.MX, error) {
	return lookups(r.first).LookupMX(ctx, domain)
}

// LookupIPAddr returns the IPv4 and IPv6 addresses of a host.
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return lookups(r.first).LookupIPAddr(ctx, host)
}

// LookupAddr returns the names of an IP address (PTR).
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookups(r.first).LookupAddr(ctx, addr)
}

// lookups turns one way of asking into the methods of net.Resolver, so that a Resolver and
// a running check (which has a cache and a budget) share them.
type lookups func(ctx context.Context, q question) answer

func (ask lookups) do(ctx context.Context, name string, qtype uint16) (answer, error) {
	q := question{bare(name), qtype}
	if _, ok := dns.IsDomainName(q.name); !ok || len(q.name) > maxName {
		return answer{}, &net.DNSError{Err: "not a domain name", Name: cut(name), IsNotFound: true}
	}
	a := ask(ctx, q)
	return a, a.err(q.name)
}

func (ask lookups) LookupTXT(ctx context.Context, domain string) ([]string, error) {
	a, err := ask.do(ctx, domain, dns.TypeTXT)
	return a.values(), err
}

func (ask lookups) LookupMX(ctx context.Context, domain string) ([]*net.MX, error) {
	a, err := ask.do(ctx, domain, dns.TypeMX)
	var mxs []*net.MX
	for _, rr := range a.records {
		if mx, ok := rr.(*dns.MX); ok {
			mxs = append(mxs, &net.MX{Host: mx.Mx, Pref: mx.Preference})
		}
	}
	slices.SortStableFunc(mxs, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	return mxs, err
}

func (ask lookups) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	type reply struct {
		a   answer
		err error
	}
	v6 := make(chan reply, 1)
	go func() {
		a, err := ask.do(ctx, host, dns.TypeAAAA)
		v6 <- reply{a, err}
	}()
	a4, err4 := ask.do(ctx, host, dns.TypeA)
	r6 := <-v6
	var ips []net.IPAddr
	for _, rr := range slices.Concat(a4.records, r6.a.records) {
		switch rr := rr.(type) {
		case *dns.A:
			ips = append(ips, net.IPAddr{IP: rr.A})
		case *dns.AAAA:
			ips = append(ips, net.IPAddr{IP: rr.AAAA})
		}
	}
	if len(ips) > 0 {
		return ips, nil
	}
	// Half an answer is none: "not found" needs both families.
	if e, ok := errors.AsType[*net.DNSError](err4); ok && !e.IsNotFound {
		return nil, err4
	}
	return nil, r6.err
}

func (ask lookups) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	arpa, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "not an IP address", Name: cut(addr), IsNotFound: true}
	}
	a, err := ask.do(ctx, arpa, dns.TypePTR)
	var names []string
	for _, rr := range a.records {
		if ptr, ok := rr.(*dns.PTR); ok {
			names = append(names, ptr.Ptr)
		}
	}
	return names, err
}
