// Package outbound connects to hosts that strangers chose: tenants' SMTP servers, HTTP
// APIs and the like. It is the one place that keeps such connections away from
// everything but the public Internet. It is not for what the operator configures.
//
//	host:port -> port allowed? -> resolver -> address allowed? -> socket -> TLS, HTTP
//	                                            ^ asked when the socket is made, so that
//	                                              a second answer of the DNS counts for nothing
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Guard says what may be connected to. The zero Guard allows public addresses and
// ports from 1024 on.
type Guard struct {
	Allow   []netip.Prefix // addresses that are not public and allowed all the same
	Ports   []int          // of those below 1024
	Setting string         // where the operator changes Allow, for people who are refused; may be empty
}

// ErrNotPublic says the same of a name that leads nowhere and of one that leads to a
// machine of ours: a tenant must not learn the names of our network.
var ErrNotPublic = errors.New("the host has no address that may be connected to: it must be in the public DNS and have a public address, unless the operator allows others")

// ErrPort is about a port that is none of this kind of server's.
var ErrPort = errors.New("the port is not one that may be connected to")

const (
	// FirstFreePort is the first port that needs no leave: below it are the services
	// that nobody means to talk to this way.
	FirstFreePort = 1024

	connectTimeout = 10 * time.Second
)

// Dial looks at the address that the name has led to, when the socket is made. Its
// errors name no address and no resolver.
func (g Guard) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if n, err := strconv.Atoi(port); err != nil || !g.AllowsPort(n) {
		return nil, ErrPort
	}
	d := net.Dialer{Timeout: connectTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !g.Allows(at.Addr()) {
			return ErrNotPublic
		}
		return nil
	}}
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		return c, nil
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok || errors.Is(err, ErrNotPublic) {
		if g.Setting == "" {
			return nil, ErrNotPublic
		}
		return nil, fmt.Errorf("%w (%s)", ErrNotPublic, g.Setting)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		return nil, fmt.Errorf("no connection: %w", e.Err)
	}
	return nil, err
}

// AllowsPort reports whether a port may be connected to.
func (g Guard) AllowsPort(port int) bool {
	return port >= FirstFreePort && port <= 65535 || port > 0 && slices.Contains(g.Ports, port)
}

// Allows reports whether an address may be connected to.
func (g Guard) Allows(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if nat64.Contains(ip) { // RFC 6052, section 2.1: it is the IPv4 address in it
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	in := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(g.Allow, in) {
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
