package dnscheck

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxHosts and maxServers bound the fan-out of a zone: the names of its servers, and
	// the addresses that are asked. The root has 13 hosts with 26 addresses.
	maxHosts   = 13
	maxServers = 16
	// maxCuts bounds how deep delegations are followed below the registrable domain.
	maxCuts = 6
	// maxBranches bounds the CNAME targets that the servers of one zone may name.
	maxBranches = 2
	// maxLeads bounds the CNAMEs that are followed out of zones for a question: each can part into
	// branches that part again.
	maxLeads = 32
	// pollTries is how often a resolver is asked about name servers, and serverTries how often
	// a name server is asked: more than usual, in about the same time.
	pollTries   = defaultTries + 2
	serverTries = defaultTries + 1
	// unlimited is the width of a zone that was found straight.
	unlimited = math.MaxInt
)

// delegation is what a parent's server says of a zone below it.
type delegation struct {
	apex  string
	hosts []string
	glue  map[string][]netip.Addr // only of hosts below the parent
}

// zone is whom to ask about names at and below an apex.
type zone struct {
	apex    string
	servers []nameserver // an address each, those of different hosts first
	named   []string     // all hosts in the delegation
	refused []string     // addresses that are not asked because they are private
	unheard []string     // hosts that count and of which no address is known for sure
	nowhere bool         // hosts are named, and none of them has an address
	// absent is a name that does not exist says its parent, so that no zone can be there;
	// the zone is then that of the parent.
	absent string
	// lost is why the servers could not be found; empty otherwise.
	lost  Code
	bogus bool // resolvers refuse to say who serves the zone unless they need not validate it
	path  string
	width int
	// sayers are those who delegate the zone, by the host that they name.
	sayers map[string][]answer
}

// within tells whether name is zone or below it; both are bare.
func within(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}

// voices is how many resolvers must agree on who serves a zone.
func (r *run) voices() int { return max(1, min(r.quorum, r.resolver.alive())) }

// poll puts a question about infrastructure (never about a record that may be pending) to
// all resolvers, and waits no longer than needed for enough of them to agree.
func (r *run) poll(ctx context.Context, q question, unchecked bool) []answer {
	who := "poll"
	if unchecked {
		who = "unchecked"
	}
	return once(r, flightKey{q, who}, func() []answer {
		asked := time.Now()
		shared := !unchecked && r.shared(q)
		if shared && r.care != Confirm {
			if got := r.hearsay.recall(q, asked); got != nil {
				return got
			}
		}
		got := gather(ctx, len(r.resolver.servers), r.agreed, func(ctx context.Context, i int) answer {
			if !r.mayAskAny() {
				return answer{server: r.resolver.servers[i], result: SawLimit}
			}
			return r.resolver.askAs(ctx, r.resolver.servers[i], q, manner{unchecked: unchecked, tries: max(pollTries, r.resolver.tries), haste: []int{4, 6}})
		})
		if shared {
			if ttl := r.settled(got); ttl > 0 {
				r.hearsay.keep(q, said{got, asked.Add(ttl)}, asked)
			}
		}
		return got
	})
}

// agreed waits for others only a little once a quorum said the same.
func (r *run) agreed(got []answer) (time.Duration, bool) {
	votes := make(map[string]int)
	for _, a := range got {
		if !a.told() {
			continue
		}
		values := a.values()
		slices.Sort(values)
		key := a.result + " " + strings.Join(values, " ")
		if votes[key]++; votes[key] >= r.quorum {
			return linger, true
		}
	}
	return 0, false
}

// zoneOf finds the zone that holds a registrable domain, or if there is none, the one
// above that should. Zones further down are found by the referrals of its servers: asking
// resolvers for the name itself would fill their negative caches.
func (r *run) zoneOf(ctx context.Context, name string) *zone {
	start := Name{name}.Registrable().s
	if start == "" {
		start = name
	}
	return once(r, flightKey{question{start, dns.TypeNS}, "zone"}, func() *zone {
		z := r.findZone(ctx, start)
		if z.nowhere { // what the zone says of itself may be old or wrong; the parent's word leads there
			if by := r.parentSide(ctx, z); by != nil && !by.nowhere {
				return by
			}
		}
		if len(z.servers) > 0 || z.nowhere || len(z.refused) > 0 || !within(r.domain.s, start) {
			return z
		}
		// Nobody is known for the domain or above, as in laboratories that have no root. What is
		// asked below now cannot get a negative answer into caches that have not failed before.
		for _, below := range between(start, r.domain.s) {
			hosts, _, _ := countHosts(r.poll(ctx, question{below, dns.TypeNS}, false))
			if len(hosts) == 0 {
				continue
			}
			child := &zone{apex: below, width: unlimited}
			if r.findServers(ctx, child, hosts, nil); len(child.servers) > 0 || child.nowhere || len(child.refused) > 0 {
				return child
			}
		}
		return z
	})
}

// parentWait bounds the question to the parent: what it adds is worth little time.
const parentWait = 800 * time.Millisecond

// parentSide returns the servers that the parent delegates a zone to and that the zone does
// not name itself; nil when there are none, and a zone that is lost when the parent is silent.
// Resolvers tell what the zone says, and after a move that is often a copy of the old list,
// while the world goes where the parent sends it.
func (r *run) parentSide(ctx context.Context, z *zone) *zone {
	if z.path != "" || z.absent != "" || len(z.servers) == 0 && !z.nowhere || !strings.Contains(z.apex, ".") {
		return nil
	}
	return once(r, flightKey{question{z.apex, dns.TypeNS}, "parent"}, func() *zone {
		ctx, cancel := context.WithTimeout(ctx, parentWait)
		defer cancel()
		_, above, _ := strings.Cut(z.apex, ".")
		parent := r.findZone(ctx, above)
		heard := false
		for _, a := range r.askInTurn(ctx, parent, question{z.apex, dns.TypeNS}) {
			heard = heard || a.told()
			if a.cut == nil || a.cut.apex != z.apex {
				continue
			}
			hosts := make(map[string]int)
			for _, host := range a.cut.hosts {
				if !slices.Contains(z.named, host) {
					hosts[host] = math.MaxInt
				}
			}
			if len(hosts) == 0 {
				return nil
			}
			extra := &zone{apex: z.apex, path: " by " + parent.apex, width: 1}
			r.findServers(ctx, extra, hosts, a.cut.glue)
			extra.servers = slices.DeleteFunc(extra.servers, func(n nameserver) bool {
				return slices.ContainsFunc(z.servers, func(o nameserver) bool { return o.addr == n.addr })
			})
			return extra
		}
		if !heard {
			return &zone{apex: z.apex, path: " by " + parent.apex, lost: CodeTimeout}
		}
		return nil
	})
}

// between lists the names below an ancestor down to a name, the highest first.
func between(ancestor, name string) []string {
	var list []string
	for n := name; n != ancestor && within(n, ancestor) && len(list) < maxCuts; _, n, _ = strings.Cut(n, ".") {
		list = append(list, n)
	}
	slices.Reverse(list)
	return list
}

func (r *run) findZone(ctx context.Context, start string) *zone {
	z := &zone{apex: start, width: unlimited}
	var doubtful *zone // named by too few resolvers
	for n := start; n != ""; {
		q := question{n, dns.TypeNS}
		got := r.poll(ctx, q, false)
		hosts, negative, failed := countHosts(got)
		if len(hosts) == 0 && failed > 0 && negative < r.voices() {
			if hosts, _, _ = countHosts(r.poll(ctx, q, true)); len(hosts) > 0 {
				z.bogus = true
			}
		}
		if len(hosts) > 0 {
			z.apex, z.lost = n, ""
			r.findServers(ctx, z, hosts, nil)
			if slices.ContainsFunc(z.servers, func(s nameserver) bool { return s.counted }) || z.nowhere || len(z.refused) > 0 {
				return z
			}
			// The resolvers do not agree. The parent, on whose servers they may, knows as well.
			doubtful = cmp.Or(doubtful, z)
			z = &zone{apex: n, width: unlimited, bogus: z.bogus}
			_, n, _ = strings.Cut(n, ".")
			continue
		}
		switch {
		case negative >= r.voices() && negative >= failed:
			if n == start && votesFor(got, SawNXDOMAIN) >= r.voices() {
				z.absent = start
			}
		case failed > 0:
			// The resolvers got nowhere, maybe because the servers are lame; the parent can
			// still tell who they are.
			z.lost = cmp.Or(z.lost, worstOf(got))
		default:
			z.lost = worstOf(got)
			return cmp.Or(doubtful, z)
		}
		_, n, _ = strings.Cut(n, ".")
	}
	return cmp.Or(doubtful, z)
}

// countHosts counts how many resolvers name each server, how many say that there are none,
// and how many failed (as opposed to being silent).
func countHosts(got []answer) (hosts map[string]int, negative, failed int) {
	hosts = make(map[string]int)
	for _, a := range got {
		switch {
		case a.result == SawAnswer && len(a.chain) == 0:
			named := make(map[string]bool)
			for _, rr := range a.records {
				if ns, ok := rr.(*dns.NS); ok {
					named[bare(ns.Ns)] = true
				}
			}
			for host := range named {
				hosts[host]++
			}
		case a.told():
			negative++
		case a.result == SawSERVFAIL || a.result == SawREFUSED || a.result == SawError:
			failed++
		}
	}
	return hosts, negative, failed
}

func votesFor(got []answer, result string) int {
	n := 0
	for _, a := range got {
		if a.result == result {
			n++
		}
	}
	return n
}

func worstOf(got []answer) Code {
	var codes []Code
	for _, a := range got {
		if !a.told() {
			codes = append(codes, a.silenceCode())
		}
	}
	return worstSilence(codes)
}

// findServers turns the hosts of a zone, with the number of voices for each, into addresses.
func (r *run) findServers(ctx context.Context, z *zone, hosts map[string]int, glue map[string][]netip.Addr) {
	need := r.voices()
	for host := range hosts {
		z.named = append(z.named, host)
	}
	slices.SortFunc(z.named, func(a, b string) int {
		return cmp.Or(cmp.Compare(hosts[b], hosts[a]), cmp.Compare(a, b))
	})
	asked := z.named[:min(len(z.named), maxHosts)]
	found := make([]map[netip.Addr]int, len(asked))
	none := make([]bool, len(asked))
	var wg sync.WaitGroup
	for i, host := range asked {
		if addrs := glue[host]; len(addrs) > 0 {
			found[i] = make(map[netip.Addr]int)
			for _, addr := range addrs {
				found[i][addr] = math.MaxInt
			}
			continue
		}
		wg.Go(func() { found[i], none[i] = r.addresses(ctx, host) })
	}
	wg.Wait()
	for i, host := range asked {
		if hosts[host] >= need { // what a minority says of servers that do not exist is no absence
			z.nowhere = none[i]
			if !none[i] {
				break
			}
		}
	}
	var rounds [][]nameserver // the first address of each host, then the second, ...
	for i, host := range asked {
		var addrs []netip.Addr
		for addr := range found[i] {
			addrs = append(addrs, addr)
		}
		slices.SortFunc(addrs, netip.Addr.Compare)
		n := 0
		sure := none[i] || hosts[host] < need
		for _, addr := range addrs {
			sure = sure || found[i][addr] >= need
			if !r.mayDial(addr) {
				if hosts[host] >= need && found[i][addr] >= need {
					z.refused = append(z.refused, fmt.Sprintf("%s (%s)", host, addr))
				}
				continue
			}
			if n == len(rounds) {
				rounds = append(rounds, nil)
			}
			rounds[n] = append(rounds[n], nameserver{host: host, addr: addr, counted: hosts[host] >= need && found[i][addr] >= need})
			n++
		}
		if !sure {
			z.unheard = append(z.unheard, host)
		}
	}
	for _, host := range z.named[len(asked):] {
		if hosts[host] >= need { // one of them says it all
			z.unheard = append(z.unheard, host)
			break
		}
	}
	z.servers = slices.Concat(rounds...)
	// Where there are too many, those that count come first.
	slices.SortStableFunc(z.servers, func(a, b nameserver) int {
		switch {
		case a.counted == b.counted:
			return 0
		case a.counted:
			return -1
		}
		return 1
	})
	z.servers = z.servers[:min(len(z.servers), maxServers)]
}

// addresses asks the resolvers for the addresses of a host and counts their voices; none
// tells that enough of them say that it has none.
func (r *run) addresses(ctx context.Context, host string) (found map[netip.Addr]int, none bool) {
	var polls [2][]answer
	var wg sync.WaitGroup
	for i, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		wg.Go(func() {
			q := question{host, t}
			polls[i] = r.poll(ctx, q, false)
			if votesFor(polls[i], SawAnswer) == 0 && votesFor(polls[i], SawSERVFAIL) > 0 {
				if again := r.poll(ctx, q, true); votesFor(again, SawAnswer) > 0 {
					polls[i] = again
				}
			}
		})
	}
	wg.Wait()
	found = make(map[netip.Addr]int)
	none = true
	for _, got := range polls {
		negative := 0
		for _, a := range got {
			if a.told() && a.result != SawAnswer {
				negative++
			}
			for _, rr := range a.records {
				if addr, ok := addressOf(rr); ok {
					found[addr]++
				}
			}
		}
		none = none && negative >= r.voices()
	}
	return found, none && len(found) == 0
}

func addressOf(rr dns.RR) (netip.Addr, bool) {
	var ip net.IP
	switch rr := rr.(type) {
	case *dns.A:
		ip = rr.A
	case *dns.AAAA:
		ip = rr.AAAA
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}
