package dnscheck

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
}

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
		return gather(ctx, len(r.resolver.servers), r.agreed, func(ctx context.Context, i int) answer {
			if !r.mayAskAny() {
				return answer{server: r.resolver.servers[i], result: SawLimit}
			}
			return r.resolver.askAs(ctx, r.resolver.servers[i], q, manner{unchecked: unchecked, tries: max(pollTries, r.resolver.tries), haste: []int{4, 6}})
		})
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
// not name itself; nil when there are none. Resolvers tell what the zone says, and after a
// move that is often a copy of the old list, while the world goes where the parent sends it.
func (r *run) parentSide(ctx context.Context, z *zone) *zone {
	if z.path != "" || z.absent != "" || len(z.servers) == 0 || !strings.Contains(z.apex, ".") {
		return nil
	}
	return once(r, flightKey{question{z.apex, dns.TypeNS}, "parent"}, func() *zone {
		ctx, cancel := context.WithTimeout(ctx, parentWait)
		defer cancel()
		_, above, _ := strings.Cut(z.apex, ".")
		parent := r.findZone(ctx, above)
		for _, a := range r.askInTurn(ctx, parent, question{z.apex, dns.TypeNS}) {
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
		if hosts[host] >= need {
			z.unheard = append(z.unheard, host)
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

// survey is what the authoritative servers say to one question.
type survey struct {
	rows []answer // empty where nobody could be asked
	zone *zone    // that the rows are from, or the last that was looked for
}

// reached tells whether any authoritative server answered.
func (s survey) reached() bool {
	return slices.ContainsFunc(s.rows, func(a answer) bool { return a.told() && a.next == "" })
}

// asking is one way through the servers: of all, to see who has what, or of one after
// another until one answers. enough is nil where all must speak.
type asking struct {
	all    bool
	enough enough
	seen   []string // names that CNAMEs led through
	cuts   int
}

// survey asks the servers of the zone that holds a name, following delegation and CNAME.
// Surveys are not joined in flight: two that lead to one another would wait for ever. Their
// questions are.
func (r *run) survey(ctx context.Context, q question, how asking) survey {
	return r.surveyZone(ctx, r.zoneOf(ctx, q.name), q, how)
}

func (r *run) surveyZone(ctx context.Context, z *zone, q question, how asking) survey {
	s := survey{zone: z}
	if how.all {
		s.rows = gather(ctx, len(z.servers), how.enough, func(ctx context.Context, i int) answer { return r.askServer(ctx, z, z.servers[i], q) })
		if len(s.rows) > 0 { // a witness that cannot be heard may know better than the others
			for _, host := range z.unheard {
				s.rows = append(s.rows, answer{server: host, host: host, zone: z.apex, path: z.path, width: z.width, result: SawTimeout, detail: "no address known"})
			}
		}
	} else {
		s.rows = r.askInTurn(ctx, z, q)
	}
	if child := r.below(ctx, z, s.rows); child != nil {
		if how.cuts++; how.cuts > maxCuts {
			return survey{zone: &zone{apex: child.apex, lost: CodeNSLame}}
		}
		c := r.surveyZone(ctx, child, q, how)
		// A parent that denies the name while others delegate it is part of the picture.
		for _, a := range s.rows {
			if a.told() && a.next == "" && !slices.ContainsFunc(child.servers, func(n nameserver) bool { return n.host == a.host || n.String() == a.server }) {
				c.rows = append(c.rows, a)
			}
		}
		return c
	}
	return r.followed(ctx, s, q, how)
}

// askInTurn asks servers until one answers, the healthy ones first.
func (r *run) askInTurn(ctx context.Context, z *zone, q question) []answer {
	servers := slices.Clone(z.servers)
	slices.SortStableFunc(servers, func(a, b nameserver) int { return cmp.Compare(r.illness(a), r.illness(b)) })
	var rows []answer
	for i, n := range servers {
		if i == 3 {
			break
		}
		if !n.counted {
			continue
		}
		a := r.askServer(ctx, z, n, q)
		rows = append(rows, a)
		if a.told() || a.cut != nil {
			return []answer{a}
		}
	}
	return rows
}

// below returns the zone that referrals lead to, nil when there are none.
func (r *run) below(ctx context.Context, z *zone, rows []answer) *zone {
	referrals := make(map[string][]answer)
	apex := ""
	for _, a := range rows {
		if a.cut == nil || a.width == 0 && slices.ContainsFunc(rows, func(b answer) bool { return b.width > 0 }) {
			continue
		}
		referrals[a.cut.apex] = append(referrals[a.cut.apex], a)
		if n := len(referrals[a.cut.apex]); apex == "" || n > len(referrals[apex]) || n == len(referrals[apex]) && a.cut.apex < apex {
			apex = a.cut.apex
		}
	}
	if apex == "" {
		return nil
	}
	// The servers of a zone delegate it alike as a rule, so one survey finds the child for
	// all questions; what makes it another child is part of the key.
	hosts := make(map[string]int)
	glue := make(map[string][]netip.Addr)
	by := make(map[string]bool)
	counted := false
	for _, a := range referrals[apex] {
		by[a.host] = true
		counted = counted || a.width > 0
		for _, host := range a.cut.hosts {
			hosts[host] = math.MaxInt
			for _, addr := range a.cut.glue[host] {
				if !slices.Contains(glue[host], addr) {
					glue[host] = append(glue[host], addr)
				}
			}
		}
	}
	var key strings.Builder
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		fmt.Fprint(&key, " ", host, glue[host])
	}
	width := min(z.width, len(by))
	if !counted {
		width = 0
	}
	return once(r, flightKey{question{apex, dns.TypeNS}, fmt.Sprint("child ", width, z.apex, z.path, key.String())}, func() *zone {
		child := &zone{apex: apex, width: width, path: z.path + " below " + z.apex}
		r.findServers(ctx, child, hosts, glue)
		return child
	})
}

// followed asks on where CNAMEs lead out of the zone. The rows of the servers that said so
// stay in the grid; what counts is what the servers of the target say.
func (r *run) followed(ctx context.Context, s survey, q question, how asking) survey {
	sayers := make(map[string][]answer)
	var targets []string
	for _, a := range s.rows {
		if a.next == "" {
			continue
		}
		if !slices.Contains(targets, a.next) {
			targets = append(targets, a.next)
		}
		sayers[a.next] = append(sayers[a.next], a)
	}
	for i, target := range targets {
		said := sayers[target]
		hosts := make(map[string]bool)
		for _, a := range said {
			if a.width > 0 {
				hosts[a.host] = true
			}
		}
		width := 0
		if len(hosts) > 0 {
			width = min(said[0].width, len(hosts))
		}
		chain := said[0].chain
		seen := slices.Concat(how.seen, []string{q.name}, chain[:len(chain)-1])
		if i >= maxBranches || slices.Contains(seen, target) || len(seen) > maxChain {
			for j := range s.rows {
				if s.rows[j].next == target {
					s.rows[j].next, s.rows[j].result = "", SawLoop
				}
			}
			continue
		}
		on := how
		on.seen, on.cuts = seen, 0
		t := r.survey(ctx, question{target, q.qtype}, on)
		if len(t.rows) == 0 {
			// Nobody can be asked about the target; that is the answer of those who named it.
			for j := range s.rows {
				if s.rows[j].next == target {
					s.rows[j].next = ""
					s.rows[j].result = SawSERVFAIL
					if t.zone.absent != "" || t.zone.nowhere {
						s.rows[j].result = SawNXDOMAIN
					}
				}
			}
			continue
		}
		for _, a := range t.rows {
			a.chain = slices.Concat(chain, a.chain)
			if len(a.chain) > maxChain {
				a.result, a.records, a.next = SawLoop, nil, ""
			}
			a.path = a.path + " through " + target
			a.width = min(a.width, width)
			a.detail = strings.TrimPrefix(a.detail+"; at the end of CNAME "+cut(strings.Join(chain, " ")), "; ")
			s.rows = append(s.rows, a)
		}
	}
	return s
}

// askServer puts a question to one address of a zone's server.
func (r *run) askServer(ctx context.Context, z *zone, n nameserver, q question) answer {
	a := once(r, flightKey{q, z.apex + " " + n.String()}, func() answer {
		switch {
		case ctx.Err() != nil:
			return answer{result: SawTimeout, detail: "not waited for any longer"}
		case !r.mayAskAny():
			return answer{result: SawLimit}
		case !r.isOurs(z.apex) && !(r.zones.wait(ctx, z.apex) && r.servers.wait(ctx, n.addr.String())):
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
			if a.cut == nil && (a.result == SawLame || a.result == SawREFUSED) {
				g.lame = &a
			}
			close(g.done)
		}
		return a
	})
	a.server, a.host, a.zone, a.path = n.String(), n.host, z.apex, z.path
	if n.counted {
		a.width = z.width
	} else {
		a.detail = strings.TrimSuffix("named by too few resolvers to count; "+a.detail, "; ")
	}
	return a
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
			a.result = SawAnswer
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
	if a.next == "" {
		a.result = SawNODATA
		if m.Rcode == dns.RcodeNameError {
			a.result = SawNXDOMAIN
		}
		for _, rr := range m.Ns {
			soa, ok := rr.(*dns.SOA)
			if !ok {
				continue
			}
			if owner := bare(soa.Hdr.Name); !within(owner, zone) || !within(name, owner) {
				a.result, a.detail, a.chain = SawLame, "answers for the zone "+quote(owner), nil
				return
			}
			a.ttl = min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl), maxNegative)
			a.soa = soa
			return
		}
		a.ttl = 0
		if len(a.chain) > 0 && m.Rcode == dns.RcodeSuccess {
			a.next = name // in the zone by name, but the server does not say what is there
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
