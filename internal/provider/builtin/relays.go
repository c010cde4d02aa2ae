package builtin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/outbound"
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

	allowSetting = "send.tenant_relays.allow"
)

// mailPorts are those below 1024 on which servers take mail.
var mailPorts = []int{25, 465, 587}

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
		dial = outbound.Guard{Allow: r.cfg.Allow, Ports: mailPorts, Setting: allowSetting}.Dial
	}
	return mail.NewRelay(mail.RelayConfig{
		Address: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), TLS: mode, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.cfg.Roots},
		HELO: r.helo, Username: s.Username, Password: string(s.Password), MaxConnections: r.cfg.Connections, Dial: dial,
	})
}
