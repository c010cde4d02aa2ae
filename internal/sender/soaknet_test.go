package sender_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/dnscheck/dnstest"
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
	records map[string]map[uint16][]soakRR
	exist   map[string]int         // names with records at or below
	served  map[string][]string    // apex -> addresses of its servers
	glue    map[string][][2]string // apex -> host and address
}

// soakRR is a record in wire format: what is the same in a million answers is packed once.
type soakRR struct {
	wire   string
	target string // of a CNAME
}

func newSoakRR(rr dns.RR) soakRR {
	buf := make([]byte, dns.Len(rr))
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		panic(err)
	}
	r := soakRR{wire: string(buf[:n])}
	if c, ok := rr.(*dns.CNAME); ok {
		r.target = dns.CanonicalName(c.Target)
	}
	return r
}

func newSoakZones() *soakZones {
	return &soakZones{
		records: make(map[string]map[uint16][]soakRR), exist: make(map[string]int),
		served: make(map[string][]string), glue: make(map[string][][2]string),
	}
}

func (z *soakZones) add(text string) {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	name, t := dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype
	if z.records[name] == nil {
		z.records[name] = make(map[uint16][]soakRR)
	}
	z.records[name][t] = append(z.records[name][t], newSoakRR(rr))
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
	z.add(apex + " 3600 SOA ns1." + apex + " x." + apex + " 1 3600 600 86400 3600")
	for _, s := range servers {
		z.add(apex + " 3600 NS " + s[0])
		z.served[apex] = append(z.served[apex], s[1]+":53")
	}
	z.glue[apex] = servers
}

// apex is the zone that a name is in; all zones but the top level have two labels.
func (z *soakZones) apex(name string) string {
	top := strings.TrimSuffix(name, ".test.")
	if top == name {
		return "test."
	}
	if a := name[strings.LastIndexByte(top, '.')+1:]; z.glue[a] != nil {
		return a
	}
	return "test."
}

// soakMsg is an answer that is being made. Its parts are set in the order of the sections.
type soakMsg struct {
	rcode                        byte
	authoritative, recursive     bool
	answers, authorities, extras int
	body                         []byte
}

func (m *soakMsg) put(count *int, rrs ...soakRR) {
	for _, rr := range rrs {
		m.body = append(m.body, rr.wire...)
		*count++
	}
}

// packet answers the question of a query, in its spelling.
func (m *soakMsg) packet(query, question []byte) []byte {
	p := make([]byte, 12, 12+len(question)+len(m.body)+11)
	copy(p, query[:2])
	p[2] = 0x80 | query[2]&1 // QR, RD
	if m.authoritative {
		p[2] |= 4
	}
	if m.recursive {
		p[3] = 0x80
	}
	p[3] |= m.rcode
	p[5], p[7], p[9], p[11] = 1, byte(m.answers), byte(m.authorities), byte(m.extras+1)
	p = append(append(p, question...), m.body...)
	return append(p, 0, 0, byte(dns.TypeOPT), 1232>>8, 1232&0xff, 0, 0, 0, 0, 0, 0)
}

// soakQuestion reads the name of a query, as dns.CanonicalName has it, and its type.
func soakQuestion(query []byte) (name string, t uint16, question []byte) {
	var b [256]byte
	n, at := 0, 12
	for at < len(query) && query[at] != 0 {
		label := query[at+1 : at+1+int(query[at])]
		for _, c := range label {
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			b[n] = c
			n++
		}
		b[n] = '.'
		n, at = n+1, at+1+len(label)
	}
	return string(b[:n]), binary.BigEndian.Uint16(query[at+1:]), query[12 : at+5]
}

// answer fills m; a resolver follows CNAMEs everywhere.
func (z *soakZones) answer(m *soakMsg, name string, t uint16, everywhere bool) {
	for range 8 {
		if found := z.records[name][t]; len(found) > 0 {
			m.put(&m.answers, found...)
			return
		}
		alias := z.records[name][dns.TypeCNAME]
		if len(alias) == 0 {
			break
		}
		m.put(&m.answers, alias[0])
		target := alias[0].target
		if !everywhere && z.apex(target) != z.apex(name) {
			return
		}
		name = target
	}
	if z.exist[name] <= 0 {
		m.rcode = dns.RcodeNameError
	}
	m.put(&m.authorities, z.records[z.apex(name)][dns.TypeSOA]...)
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
				if target := dns.CanonicalName(r.Value); z.records[target] == nil {
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
func (n *soakNet) reply(address string, query []byte) []byte {
	name, t, question := soakQuestion(query)
	m := new(soakMsg)
	n.mu.RLock()
	defer n.mu.RUnlock()
	if slices.Contains(soakResolvers, address) {
		m.recursive = true
		switch soakOutage(n.outage.Load()) {
		case soakSilent:
			return nil
		case soakServfail:
			m.rcode = dns.RcodeServerFailure
		case soakPortal:
			m.rcode = dns.RcodeNameError
		default:
			if address == soakLiar {
				n.lie(m, name, t)
			} else {
				n.truth.answer(m, name, t, true)
			}
		}
		return m.packet(query, question)
	}
	m.authoritative = true
	apex := n.truth.apex(name)
	switch {
	case address == soakEvil:
		m.rcode = dns.RcodeNameError
	case slices.Contains(n.truth.served[apex], address):
		n.truth.answer(m, name, t, false)
	case address == soakTop:
		m.authoritative = false
		m.put(&m.authorities, n.truth.records[apex][dns.TypeNS]...)
		for _, g := range n.truth.glue[apex] {
			m.put(&m.extras, n.truth.records[g[0]][dns.TypeA]...)
		}
	default:
		m.authoritative, m.rcode = false, dns.RcodeRefused
	}
	return m.packet(query, question)
}

// lie says of every third domain that it does not exist, of every third what was true in
// the beginning, and of the rest that its name server is the liar's own.
func (n *soakNet) lie(m *soakMsg, name string, t uint16) {
	apex := n.truth.apex(name)
	sum := 0
	for _, b := range []byte(apex) {
		sum += int(b)
	}
	switch {
	case !strings.HasPrefix(apex, "d"):
		n.truth.answer(m, name, t, true)
	case sum%3 == 1:
		n.old.answer(m, name, t, true)
	case sum%3 == 2 && t == dns.TypeNS:
		m.put(&m.answers, newSoakRR(&dns.NS{Hdr: dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: 60}, Ns: "ns.evil.test."}))
	default:
		m.rcode = dns.RcodeNameError
		m.put(&m.authorities, n.truth.records["test."][dns.TypeSOA]...)
	}
}

// dial has the signature of dnscheck.ResolverConfig.Dial.
func (n *soakNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dnstest.Packets(n.carry).Dial(ctx, network, address)
}

// carry loses some packets, but for TCP, which sends them again.
func (n *soakNet) carry(network, address string, query []byte) ([]byte, time.Duration) {
	n.packets.Add(1)
	lost := func() bool { return network == "udp" && rand.Float64() < n.loss }
	if lost() {
		return nil, 0
	}
	reply := n.reply(address, query)
	if lost() {
		return nil, 0
	}
	return reply, 0
}
