package sender_test

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
)

// soakNet is an internet of packets in memory: three resolvers, the last of which lies,
// the servers of the top level, of our own zone, and of the zones of customers, spread over
// providers with two servers each. Every packet is a real one, and some are lost. Unlike
// dnstest it is fast with many names and keeps no log.
type soakNet struct {
	loss    float64       // of each packet on its way, UDP only
	packets atomic.Int64  // sent to servers, those lost on the way included
	outage  atomic.Uint32 // a soakOutage of all resolvers

	mu    sync.RWMutex
	truth *soakZones
	old   *soakZones // what the liar still says
}

type soakOutage uint32

const (
	soakWell soakOutage = iota
	soakSilent
	soakServfail
	soakPortal // NXDOMAIN for all there is
)

const (
	soakProviders = 10
	soakTop       = "192.0.2.20:53"
	soakLiar      = "192.0.2.3:53"
	soakEvil      = "203.0.113.66:53" // the server that the liar brings
)

var soakResolvers = []string{"192.0.2.1:53", "192.0.2.2:53", soakLiar}

// soakZones are the records there are, by name and type.
type soakZones struct {
	records map[string]map[uint16][]dns.RR
	exist   map[string]int         // names with records at or below
	served  map[string][]string    // apex -> addresses of its servers
	hosts   map[string][]dns.RR    // apex -> its NS records
	glue    map[string][][2]string // apex -> host and address
}

func newSoakZones() *soakZones {
	return &soakZones{
		records: make(map[string]map[uint16][]dns.RR), exist: make(map[string]int),
		served: make(map[string][]string), hosts: make(map[string][]dns.RR), glue: make(map[string][][2]string),
	}
}

func (z *soakZones) add(text string) {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	name, t := dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype
	if z.records[name] == nil {
		z.records[name] = make(map[uint16][]dns.RR)
	}
	z.records[name][t] = append(z.records[name][t], rr)
	for n := name; n != ""; _, n, _ = strings.Cut(n, ".") {
		z.exist[n]++
	}
}

func (z *soakZones) remove(name string, t uint16) {
	gone := len(z.records[name][t])
	delete(z.records[name], t)
	for n := name; n != "" && gone > 0; _, n, _ = strings.Cut(n, ".") {
		z.exist[n] -= gone
	}
}

// zone makes an apex served by hosts with these addresses.
func (z *soakZones) zone(apex string, servers ...[2]string) {
	z.add(apex + " 3600 SOA ns1." + apex + " x." + apex + " 1 3600 600 86400 300")
	for _, s := range servers {
		z.add(apex + " 3600 NS " + s[0])
		z.served[apex] = append(z.served[apex], s[1]+":53")
	}
	z.hosts[apex], z.glue[apex] = z.records[apex][dns.TypeNS], servers
}

// apex is the zone that a name is in; all zones but the top level have two labels.
func (z *soakZones) apex(name string) string {
	labels := strings.SplitAfter(name, ".")
	if n := len(labels) - 1; n >= 2 {
		if a := strings.Join(labels[n-2:], ""); z.hosts[a] != nil {
			return a
		}
	}
	return "test."
}

// answer fills m; a resolver follows CNAMEs everywhere.
func (z *soakZones) answer(m *dns.Msg, name string, t uint16, everywhere bool) {
	for range 8 {
		if found := z.records[name][t]; len(found) > 0 {
			m.Answer = append(m.Answer, found...)
			return
		}
		alias := z.records[name][dns.TypeCNAME]
		if len(alias) == 0 {
			break
		}
		m.Answer = append(m.Answer, alias[0])
		target := dns.CanonicalName(alias[0].(*dns.CNAME).Target)
		if !everywhere && z.apex(target) != z.apex(name) {
			return
		}
		name = target
	}
	if z.exist[name] <= 0 {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = append(m.Ns, z.records[z.apex(name)][dns.TypeSOA]...)
}

// newSoakNet holds our own zone and the providers.
func newSoakNet(t *testing.T, loss float64) *soakNet {
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := mail.PublicKeyTXT(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	n := &soakNet{loss: loss}
	for _, z := range []**soakZones{&n.truth, &n.old} {
		*z = newSoakZones()
		(*z).zone("test.", [2]string{"a.nic.test.", "192.0.2.20"})
		(*z).zone("nic.test.", [2]string{"a.nic.test.", "192.0.2.20"})
		(*z).add("a.nic.test. A 192.0.2.20")
		(*z).zone("postseal.test.", [2]string{"ns1.postseal.test.", "192.0.2.30"}, [2]string{"ns2.postseal.test.", "192.0.2.31"})
		(*z).add("ns1.postseal.test. A 192.0.2.30")
		(*z).add("ns2.postseal.test. A 192.0.2.31")
		(*z).add(`_spf.mail.postseal.test. TXT "v=spf1 ip4:192.0.2.9 -all"`)
		(*z).add(`key.postseal.test. TXT "` + public[:200] + `" "` + public[200:] + `"`)
		for p := range soakProviders {
			apex, servers := soakProvider(p)
			(*z).zone(apex, servers...)
			for _, s := range servers {
				(*z).add(s[0] + " A " + s[1])
			}
		}
	}
	return n
}

func soakProvider(p int) (apex string, servers [][2]string) {
	apex = "p" + string(rune('a'+p)) + ".test."
	return apex, [][2]string{
		{"ns1." + apex, "198.51.100." + strconv.Itoa(2*p+1)},
		{"ns2." + apex, "198.51.100." + strconv.Itoa(2*p+2)},
	}
}

// publish adds a domain's zone with its records.
func (n *soakNet) publish(i int, name string, records []dnscheck.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, servers := soakProvider(i % soakProviders)
	for _, z := range []*soakZones{n.truth, n.old} {
		z.zone(name+".", servers...)
		z.put(records)
		for _, r := range records {
			if r.Type == dnscheck.CNAME { // the key behind it
				if target := dns.CanonicalName(r.Value); len(z.records[target]) == 0 {
					z.add(target + " CNAME key.postseal.test.")
				}
			}
		}
	}
}

func (z *soakZones) put(records []dnscheck.Record) {
	for _, r := range records {
		value := `"` + r.Value + `"`
		if r.Type == dnscheck.CNAME {
			value = r.Value + "."
		}
		z.add(r.Name.String() + ". 300 " + string(r.Type) + " " + value)
	}
}

func (n *soakNet) restore(records []dnscheck.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.truth.put(records)
}

func (n *soakNet) withdraw(records []dnscheck.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range records {
		n.truth.remove(r.Name.String()+".", dns.StringToType[string(r.Type)])
	}
}

// reply is what the server at an address says; nil for silence.
func (n *soakNet) reply(address string, packet []byte) []byte {
	q := new(dns.Msg)
	if q.Unpack(packet) != nil || len(q.Question) != 1 {
		return nil
	}
	name, t := dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	m := new(dns.Msg).SetReply(q)
	m.SetEdns0(1232, false)
	n.mu.RLock()
	defer n.mu.RUnlock()
	if slices.Contains(soakResolvers, address) {
		m.RecursionAvailable = true
		switch soakOutage(n.outage.Load()) {
		case soakSilent:
			return nil
		case soakServfail:
			m.Rcode = dns.RcodeServerFailure
		case soakPortal:
			m.Rcode = dns.RcodeNameError
		default:
			if address == soakLiar {
				n.lie(m, name, t)
			} else {
				n.truth.answer(m, name, t, true)
			}
		}
		return soakPack(m)
	}
	m.Authoritative = true
	apex := n.truth.apex(name)
	switch {
	case address == soakEvil:
		m.Rcode = dns.RcodeNameError
	case slices.Contains(n.truth.served[apex], address):
		n.truth.answer(m, name, t, false)
	case address == soakTop:
		m.Authoritative = false
		m.Ns = n.truth.hosts[apex]
		for _, g := range n.truth.glue[apex] {
			m.Extra = append(m.Extra, n.truth.records[g[0]][dns.TypeA]...)
		}
	default:
		m.Authoritative, m.Rcode = false, dns.RcodeRefused
	}
	return soakPack(m)
}

// lie says of every third domain that it does not exist, of every third what was true in
// the beginning, and of the rest that its name server is the liar's own.
func (n *soakNet) lie(m *dns.Msg, name string, t uint16) {
	apex := n.truth.apex(name)
	sum := 0
	for _, b := range []byte(apex) {
		sum += int(b)
	}
	switch {
	case !strings.HasPrefix(apex, "d"):
		n.truth.answer(m, name, t, true)
	case sum%3 == 0:
		m.Rcode = dns.RcodeNameError
		m.Ns = n.truth.records["test."][dns.TypeSOA]
	case sum%3 == 1:
		n.old.answer(m, name, t, true)
	case t == dns.TypeNS:
		m.Answer = append(m.Answer, &dns.NS{Hdr: dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: 60}, Ns: "ns.evil.test."})
	default:
		m.Rcode = dns.RcodeNameError
		m.Ns = n.truth.records["test."][dns.TypeSOA]
	}
}

func soakPack(m *dns.Msg) []byte {
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packet
}

// dial has the signature of dnscheck.ResolverConfig.Dial.
func (n *soakNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return &soakConn{net: n, address: address, stream: network == "tcp", replies: make(chan []byte, 1), expired: make(chan struct{})}, ctx.Err()
}

// soakConn answers within Write; Read waits for that or for the deadline.
type soakConn struct {
	net.Conn
	net     *soakNet
	address string
	stream  bool
	replies chan []byte
	rest    []byte // of a stream

	mu      sync.Mutex
	timer   *time.Timer
	once    sync.Once
	expired chan struct{}
}

func (c *soakConn) Write(p []byte) (int, error) {
	c.net.packets.Add(1)
	if c.stream {
		if reply := c.net.reply(c.address, p[2:]); reply != nil {
			c.replies <- append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		}
		return len(p), nil
	}
	if rand.Float64() < c.net.loss {
		return len(p), nil
	}
	if reply := c.net.reply(c.address, p); reply != nil && rand.Float64() >= c.net.loss {
		select {
		case c.replies <- reply:
		case <-c.expired:
		}
	}
	return len(p), nil
}

func (c *soakConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.replies:
		case <-c.expired:
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; !c.stream {
		c.rest = nil
	}
	return n, nil
}

func (c *soakConn) expire() { c.once.Do(func() { close(c.expired) }) }

func (c *soakConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	d := time.Until(t)
	if d <= 0 {
		c.expire()
		return nil
	}
	c.timer = time.AfterFunc(d, c.expire)
	return nil
}

func (c *soakConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.expire() // ends a Read
	return nil
}

var _ io.ReadWriteCloser = (*soakConn)(nil)
