package dnscheck

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// nameserver is one address of a server of a zone.
type nameserver struct {
	host string
	addr netip.Addr
	// counted tells whether enough resolvers named it. What others say is shown and does
	// not count: a lying resolver must not bring its own witnesses.
	counted bool
}

func (n nameserver) String() string { return netip.AddrPortFrom(n.addr, 53).String() }

// parseServer undoes String.
func parseServer(s string) (netip.Addr, error) {
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr(), err
}

// askServer puts a question to one address of a zone's server.
func (r *run) askServer(ctx context.Context, z *zone, n nameserver, q question) answer {
	a := once(r, flightKey{q, z.apex + " " + n.String()}, func() answer {
		switch {
		case ctx.Err() != nil:
			return answer{result: SawTimeout, detail: "not waited for any longer"}
		case !r.mayAskAny():
			return answer{result: SawLimit}
		case !r.isOurs(z.apex) && !(r.zones.wait(ctx, z.apex, r.payer) && r.servers.wait(ctx, n.addr.String(), r.payer)):
			return answer{result: SawLimit, detail: "too many questions to this server at the moment"}
		}
		dial := n.String()
		if mapped := r.addressMap[n.addr]; mapped != "" {
			dial = mapped
		}
		how := manner{zone: z.apex, tries: max(serverTries, r.resolver.tries), haste: []int{4, 6}}
		if r.illness(n) > 1 {
			how.tries, how.haste = 1, nil // it has been silent in this check already
		}
		if !within(q.name, z.apex) {
			return r.resolver.put(ctx, dial, q, how)
		}
		g, first := r.gateOf(z.apex + " " + n.String())
		if !first {
			if lame := g.wait(ctx); lame != nil {
				return *lame
			}
		}
		a := r.resolver.put(ctx, dial, q, how)
		r.remember(n, a)
		if first {
			if a.lame() && r.mayAskAny() {
				// It may refuse this name or type only, and know the rest better than others.
				if soa := r.resolver.put(ctx, dial, question{z.apex, dns.TypeSOA}, manner{zone: z.apex, tries: 1}); soa.lame() {
					g.lame = &a
				}
			}
			close(g.done)
		}
		if !r.mayKeep(a) {
			return answer{result: SawLimit, detail: "the answers are too large"}
		}
		return a
	})
	a.server, a.host, a.zone, a.path = n.String(), n.host, z.apex, z.path
	if n.counted {
		a.width, a.by = z.width, z.sayers[n.host]
	} else {
		a.detail = strings.TrimSuffix("named by too few resolvers to count; "+a.detail, "; ")
	}
	return a
}

// lame tells whether a server said that it does not hold what was asked.
func (a answer) lame() bool {
	return a.cut == nil && (a.result == SawLame || a.result == SawREFUSED)
}

// gate lets the first question to a server of a zone go ahead: one that does not hold the
// zone will not hold it for the next question either, and may be a victim that somebody
// wants us to ask.
type gate struct {
	done chan struct{}
	lame *answer // written before done is closed
}

func (r *run) gateOf(key string) (g *gate, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g = r.gates[key]; g == nil {
		g, first = &gate{done: make(chan struct{})}, true
		r.gates[key] = g
	}
	return g, first
}

// gateWait is how long the others wait for the first: a refusal comes at once.
const gateWait = 200 * time.Millisecond

func (g *gate) wait(ctx context.Context) *answer {
	select {
	case <-g.done:
		return g.lame
	case <-time.After(gateWait):
	case <-ctx.Done():
	}
	return nil
}

// isOurs tells whether a zone holds what our records refer to. All checks ask there, and
// nobody else can be hit by it.
func (r *run) isOurs(apex string) bool {
	return strings.Contains(apex, ".") && slices.ContainsFunc(r.list, func(rec Record) bool {
		return rec.Type != TXT && within(bare(rec.Value), apex)
	}) && !within(apex, r.organization().s) && !within(r.organization().s, apex)
}

// illness orders servers by what is known of them in this check: 0 answered, 1 not asked
// yet, 2 silent.
func (r *run) illness(n nameserver) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ill, ok := r.health[n.addr]; ok {
		return ill
	}
	return 1
}

func (r *run) remember(n nameserver, a answer) {
	if a.result == SawLimit {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ill := 2
	if a.told() || a.cut != nil {
		ill = 0
	}
	if old, ok := r.health[n.addr]; !ok || ill < old {
		r.health[n.addr] = ill
	}
}

// mayDial tells whether an address may be asked as a name server. Delegations are in the
// hands of strangers, who must not make us send packets into our own network.
func (r *run) mayDial(addr netip.Addr) bool {
	if r.addressMap[addr] != "" {
		return true
	}
	if addr.IsMulticast() || addr.IsUnspecified() || !addr.IsValid() {
		return false
	}
	return r.allowPrivate || !private(addr)
}

// privateNets are what net/netip has no word for: RFC 6598 (shared address space of
// carriers), RFC 6890 ("this network", IETF protocol assignments), RFC 2544 (benchmarks),
// RFC 1112 (reserved), RFC 3879 (site-local).
var privateNets = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("fec0::/10"),
}

// private tells whether an address is one that the public DNS has no business with, also
// when it is an IPv4 address inside an IPv6 address (RFC 4291, RFC 6052, RFC 3056).
func private(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() {
		return true
	}
	for _, p := range privateNets {
		if p.Contains(addr) {
			return true
		}
	}
	if !addr.Is6() {
		return false
	}
	b := addr.As16()
	switch {
	case b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b,
		allZero(b[:12]): // 64:ff9b::/96, 64:ff9b:1::/48 and the deprecated ::a.b.c.d
		return private(netip.AddrFrom4([4]byte(b[12:])))
	case b[0] == 0x20 && b[1] == 0x02: // 6to4
		return private(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return false
}

func allZero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// readAuthority fills a from the message of a server that was asked as one of the zone.
// Only names in the zone count: a server has no say about others (RFC 2181, section 5.4.1).
func (a *answer) readAuthority(m *dns.Msg, q question, zone string) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		a.read(m, q)
		return
	}
	a.detail = ""
	if cut := referral(m, q, zone); cut != nil {
		a.result, a.detail, a.cut = SawLame, "refers to the servers of "+cut.apex, cut
		return
	}
	if !m.Authoritative {
		a.result, a.detail = SawLame, "answers without authority"
		return
	}
	name, seen := q.name, []string{q.name}
	for a.next == "" {
		target := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			a.redirected(rr, q.name)
			if h.Class != dns.ClassINET || bare(h.Name) != name {
				continue
			}
			if h.Rrtype == q.qtype {
				a.records = append(a.records, rr)
				a.age(h.Ttl)
			} else if c, ok := rr.(*dns.CNAME); ok {
				target = bare(c.Target)
				a.age(h.Ttl)
			}
		}
		if len(a.records) > 0 {
			a.positive(m, q, target)
			return
		}
		if target == "" {
			break
		}
		a.chain = append(a.chain, target)
		a.detail = "CNAME " + cut(strings.Join(a.chain, " "))
		if len(a.chain) > maxChain || slices.Contains(seen, target) {
			a.result = SawLoop
			return
		}
		seen = append(seen, target)
		name = target
		if !within(target, zone) {
			a.next = target
		}
	}
	if besides(m, q.name) {
		a.result, a.detail = SawMalformed, answersForOthers
		return
	}
	if a.next == "" {
		a.result = SawNODATA
		if m.Rcode == dns.RcodeNameError {
			a.result = SawNXDOMAIN
		}
		// That the end of a chain does not exist some servers say without looking there.
		unsure := len(a.chain) > 0 && m.Rcode == dns.RcodeNameError
		for _, rr := range m.Ns {
			soa, ok := rr.(*dns.SOA)
			if !ok {
				continue
			}
			if owner := bare(soa.Hdr.Name); !within(owner, zone) || !within(name, owner) {
				a.result, a.detail, a.chain = SawLame, "answers for the zone "+quote(owner), nil
				return
			}
			if unsure {
				break
			}
			a.ttl = min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl), maxNegative)
			a.soa = soa
			return
		}
		a.ttl = 0
		if len(a.chain) > 0 {
			a.next = name // in the zone by name, but the server does not say for sure what is there
		}
	}
	if a.next != "" {
		a.result = SawAnswer
	}
}

// referral reads the delegation of a zone that holds the name below the one that was asked.
func referral(m *dns.Msg, q question, zone string) *delegation {
	if len(m.Answer) > 0 || m.Rcode != dns.RcodeSuccess {
		return nil
	}
	d := &delegation{glue: make(map[string][]netip.Addr)}
	for _, rr := range m.Ns {
		switch rr := rr.(type) {
		case *dns.SOA:
			return nil
		case *dns.NS:
			owner := bare(rr.Hdr.Name)
			if owner == zone || !within(owner, zone) || !within(q.name, owner) || d.apex != "" && d.apex != owner {
				continue
			}
			d.apex = owner
			if host := bare(rr.Ns); host != "" && len(d.hosts) < maxServers && !slices.Contains(d.hosts, host) {
				d.hosts = append(d.hosts, host)
			}
		}
	}
	if d.apex == "" {
		return nil
	}
	for _, rr := range m.Extra {
		host := bare(rr.Header().Name)
		addr, ok := addressOf(rr)
		if ok && slices.Contains(d.hosts, host) && within(host, zone) && len(d.glue[host]) < maxServers {
			d.glue[host] = append(d.glue[host], addr)
		}
	}
	return d
}
