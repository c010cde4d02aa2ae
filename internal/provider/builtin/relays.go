package builtin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/sender"
)

// TenantRelays is how tenants' own SMTP servers are spoken to.
type TenantRelays struct {
	// Allow are addresses that may be connected to although they are not public.
	Allow []netip.Prefix
	Roots *x509.CertPool // nil: the system's
	// Connections is how many there may be to one server at a time; 0: as many as a
	// mail.Relay has.
	Connections int
}

const (
	mostRelays = 500              // tenants whose connections are kept
	keepRelay  = 10 * time.Minute // without mail
	openRelay  = 20 * time.Second // until a server has said all that comes before MAIL: one that hangs is worth no more of a worker
)

// relays are the connections to tenants' own servers. Connections without mail end
// by themselves; here the number of those who could have some is bounded.
type relays struct {
	cfg  TenantRelays
	helo string
	dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil: guarded

	mu sync.Mutex
	of map[sender.ID]*ownRelay
}

type ownRelay struct {
	target target
	relay  *mail.Relay
	users  int       // deliveries under way
	used   time.Time // last
	gone   bool      // nobody new gets it
}

// target is what makes connections useless when it changes.
type target struct {
	host     string
	port     int
	username string
	password sender.Password
}

// acquire returns the relay of the settings as they are now; the caller releases it.
func (r *relays) acquire(s *sender.Relay) (*ownRelay, error) {
	t := target{s.Host, s.Port, s.Username, s.Password}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.of[s.Tenant]
	if o == nil || o.target != t {
		made, err := r.open(s)
		if err != nil {
			return nil, err
		}
		if o != nil {
			r.retire(s.Tenant, o)
		}
		r.sweep()
		o = &ownRelay{target: t, relay: made}
		if r.of == nil {
			r.of = make(map[sender.ID]*ownRelay)
		}
		r.of[s.Tenant] = o
	}
	o.users++
	return o, nil
}

func (r *relays) release(o *ownRelay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.users--
	o.used = time.Now()
	if o.gone && o.users == 0 {
		_ = o.relay.Close()
	}
}

// retire lets those who use it finish.
func (r *relays) retire(tenant sender.ID, o *ownRelay) {
	delete(r.of, tenant)
	o.gone = true
	if o.users == 0 {
		_ = o.relay.Close()
	}
}

// sweep makes room for one more: what was not used for long goes, or else what was
// used first of all.
func (r *relays) sweep() {
	now := time.Now()
	var oldest sender.ID
	for id, o := range r.of {
		switch {
		case o.users > 0:
		case now.Sub(o.used) > keepRelay:
			r.retire(id, o)
		case oldest == "" || o.used.Before(r.of[oldest].used):
			oldest = id
		}
	}
	if len(r.of) >= mostRelays && oldest != "" {
		r.retire(oldest, r.of[oldest])
	}
}

// close ends what is idle.
func (r *relays) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, o := range r.of {
		r.retire(id, o)
	}
}

func (r *relays) open(s *sender.Relay) (*mail.Relay, error) {
	mode := mail.StartTLS
	if s.ImplicitTLS() {
		mode = mail.ImplicitTLS
	}
	dial := r.dial
	if dial == nil {
		dial = guard(r.cfg.Allow).dial
	}
	return mail.NewRelay(mail.RelayConfig{
		Address: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), TLS: mode, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.cfg.Roots},
		HELO: r.helo, Username: s.Username, Password: string(s.Password), MaxConnections: r.cfg.Connections, Dial: dial, OpenTimeout: openRelay,
	})
}

// guard keeps connections that tenants ask for away from everything but the public
// Internet, and the addresses in it.
type guard []netip.Prefix

// errNotPublic says the same for a name that leads nowhere and one that leads to a
// machine of ours: a tenant must not learn the names of our network.
var errNotPublic = errors.New("the host has no address that may be connected to: it must be in the public DNS and have a public address, unless the operator allows others (send.tenant_relays.allow)")

// dial looks at the address that the name has led to, when the socket is made: what a
// resolver says a second time counts for nothing.
func (g guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !g.allows(at.Addr()) {
			return errNotPublic
		}
		return nil
	}}
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		return c, nil
	}
	// Errors of the dialer name addresses and resolvers.
	if _, ok := errors.AsType[*net.DNSError](err); ok || errors.Is(err, errNotPublic) {
		return nil, errNotPublic
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		return nil, fmt.Errorf("no connection: %w", e.Err)
	}
	return nil, err
}

// allows reports whether an address may be connected to.
func (g guard) allows(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if nat64.Contains(ip) { // RFC 6052, section 2.1: it is the IPv4 address in it
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	in := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(g, in) {
		return true
	}
	return ip.IsValid() && (ip.Is4() || unicast.Contains(ip)) && !slices.ContainsFunc(special, in)
}

var (
	nat64   = netip.MustParsePrefix("64:ff9b::/96")
	unicast = netip.MustParsePrefix("2000::/3") // all that is public in IPv6 (RFC 4291, section 2.4)
)

// special are the blocks that the registries of special-purpose addresses (RFC 6890)
// keep from the public Internet, and the tunnels, which lead to whatever IPv4 address
// is in theirs. Of IPv6, those within unicast.
var special = func() (ps []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8",        // this network; 0.0.0.0 is this machine
		"10.0.0.0/8",       // private
		"100.64.0.0/10",    // behind a carrier's NAT, and clouds' own services
		"127.0.0.0/8",      // loopback
		"168.63.129.16/32", // public by its number, but a cloud's own services to machines in it
		"169.254.0.0/16",   // link-local; clouds' metadata
		"172.16.0.0/12",    // private
		"192.0.0.0/24",     // protocol assignments
		"192.0.2.0/24",     // documentation
		"192.88.99.0/24",   // 6to4 relays
		"192.168.0.0/16",   // private
		"198.18.0.0/15",    // benchmarks
		"198.51.100.0/24",  // documentation
		"203.0.113.0/24",   // documentation
		"224.0.0.0/4",      // multicast
		"240.0.0.0/4",      // reserved, broadcast
		"2001::/23",        // protocol assignments, Teredo
		"2001:db8::/32",    // documentation
		"2002::/16",        // 6to4
		"3fff::/20",        // documentation
	} {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}()
