package dnscheck

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// probed tells whether a code is worth the questions of investigate: those that only say
// what is not there, that something foreign is, or that ours is spoilt.
func probed(c Code) bool {
	switch c {
	case CodeNXDOMAIN, CodeNODATA, CodeSPFMissing, CodeDMARCMissing, CodeSPFIncludeMissing,
		CodeValueMismatch, CodeStaleValue, CodeWrongType, CodeCNAMEWithOtherData, CodeDKIMKeyMismatch, CodeCNAMELoop, CodeDKIMKeyRevoked,
		CodeTargetDoubled, CodeValueQuoted, CodeValueCaseChanged, CodeValueTruncated:
		return true
	}
	return false
}

// suspicion is one question that may explain what was found, and how to read the answer.
// read returns false when the suspicion was wrong.
type suspicion struct {
	q      question
	read   func(ctx context.Context, a answer) (opinion, bool)
	always bool // is asked at a Glance, too
}

// investigate asks servers that are known to answer where else the record may be, and what
// else may be in its place. The suspicions are asked in parallel; of those that prove right
// the one that comes first in the order of precedence wins, if it comes before what is known.
func (r *run) investigate(ctx context.Context, rec Record, q question, v verdict) (opinion, bool) {
	suspicions := r.suspicions(rec, q, v)
	key := fmt.Sprint(r.domain, rec, v.code, v.why.code, v.why.found)
	known := r.care == Glance && r.vain.recent(key)
	if known {
		suspicions = slices.DeleteFunc(suspicions, func(s suspicion) bool { return !s.always })
	}
	answers := make([]answer, len(suspicions))
	var wg sync.WaitGroup
	for i, s := range suspicions {
		wg.Go(func() { answers[i] = r.probe(ctx, v.witness, rec, s.q) })
	}
	wg.Wait()
	best, found, all := v.why, false, !known
	for i, s := range suspicions {
		all = all && answers[i].told()
		if op, ok := s.read(ctx, answers[i]); ok && (comesBefore(op.code, best.code) || op.code == CodeWildcard && nameOnly(best.code)) {
			best, found = op, true
		}
	}
	switch {
	case found:
		r.vain.drop(key)
	case all && ctx.Err() == nil:
		r.vain.put(key)
	}
	return best, found
}

// vain remembers for what an explanation was looked for and not found.
type vain struct {
	every time.Duration // 0: it remembers nothing
	seed  maphash.Seed

	mu    sync.Mutex
	until map[uint64]time.Time
}

// maxVain bounds the memory of a vain to a few megabytes.
const maxVain = 1 << 16

func (v *vain) recent(key string) bool {
	if v.every <= 0 {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Now().Before(v.until[maphash.String(v.seed, key)])
}

func (v *vain) drop(key string) {
	if v.every <= 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.until, maphash.String(v.seed, key))
}

func (v *vain) put(key string) {
	if v.every <= 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if len(v.until) >= maxVain {
		maps.DeleteFunc(v.until, func(_ uint64, until time.Time) bool { return !now.Before(until) })
		if len(v.until) >= maxVain { // to forget costs questions, to grow costs memory
			clear(v.until)
		}
	}
	v.until[maphash.String(v.seed, key)] = now.Add(v.every)
}

// many is how many names of one kind beside each other make it worth sharing what is asked.
const many = 3

// eldest returns the first of the records that are of the type of this one and beside it,
// like the DKIM tokens of all regions. It returns false for itself, and where they are few.
func (r *run) eldest(rec Record) (Record, bool) {
	var eldest Record
	names := make(map[Name]bool)
	for _, o := range r.list {
		if o.Type == rec.Type && !o.Name.IsZero() && o.Name.Parent() == rec.Name.Parent() {
			if len(names) == 0 {
				eldest = o
			}
			names[o.Name] = true
		}
	}
	return eldest, len(names) >= many && eldest.Name != rec.Name
}

// probe asks where else a record may be, or what else at its name. Of many records beside each
// other most are not there either, and where even the name above does not exist, nothing can
// be (RFC 8020). But old servers say that of names that have something below, too; so one
// record is looked for in any case, and only where that isn't there either the others needn't be.
func (r *run) probe(ctx context.Context, server string, rec Record, q question) answer {
	label, above, _ := strings.Cut(q.name, ".")
	denied := func(a answer) bool { return a.result == SawNXDOMAIN && len(a.chain) == 0 }
	none := func() bool {
		q := question{above, q.qtype}
		if r.authoritative { // resolvers would deny what is to come below it as well
			return denied(r.source(ctx, q))
		}
		return denied(r.one(ctx, server, q))
	}
	if eldest, ok := r.eldest(rec); ok && strings.HasPrefix(rec.Name.s, label+".") && !within(r.domain.s, above) {
		first, _, _ := strings.Cut(eldest.Name.s, ".")
		if none() && denied(r.one(ctx, server, question{first + "." + above, q.qtype})) {
			return answer{server: server, result: SawNXDOMAIN}
		}
	}
	return r.one(ctx, server, q)
}

// nameOnly tells whether a code is about a record at the very name, which its owner could
// change there. Where a wildcard answers there is none, and ours can be put beside it.
func nameOnly(c Code) bool {
	switch c {
	case CodeCNAMEWithOtherData, CodeCNAMELoop, CodeSPFIncludeMissing, CodeDKIMKeyRevoked:
		return true
	}
	return false
}

// ancestors lists the names above a record up to the organizational domain: the zones that
// an owner may believe to be typing into.
func (r *run) ancestors(rec Record) []Name {
	org := r.organization()
	var list []Name
	for n := rec.Name.Parent(); !n.IsZero(); n = n.Parent() {
		list = append(list, n)
		if n == org {
			return list
		}
	}
	return []Name{r.domain}
}

func (r *run) suspicions(rec Record, q question, v verdict) []suspicion {
	var list []suspicion
	asked := map[string]bool{rec.Name.s: true}
	hasOurs := func(a answer) bool { // whatever is beside it, which may belong at that name
		return a.result == SawAnswer && slices.ContainsFunc(a.records, func(rr dns.RR) bool {
			a.records = []dns.RR{rr}
			return r.looksRight(rec, q, a)
		})
	}
	elsewhere := func(name Name, code Code, zone Name) {
		if name.IsZero() || asked[name.s] {
			return
		}
		asked[name.s] = true
		list = append(list, suspicion{q: question{name.s, q.qtype}, read: func(ctx context.Context, a answer) (opinion, bool) {
			if !hasOurs(a) {
				return opinion{}, false
			}
			// A wildcard is at every name, and meant for none.
			if beside := r.beside(name); !beside.IsZero() && hasOurs(r.one(ctx, a.server, question{beside.s, q.qtype})) {
				return opinion{}, false
			}
			return opinion{told: true, code: code, where: name, hint: zone.s, found: located(name, rec.Type, a.values())}, true
		}})
	}
	zones := r.ancestors(rec)
	if rec.Name != r.domain && v.zone != nil && v.zone.apex == rec.Name.s {
		zones = append(zones, rec.Name) // the label is a zone of its own
	}
	if rec.Name == r.domain || !slices.Contains(zones, r.domain) {
		zones = append(zones, r.domain)
	}
	for _, zone := range zones {
		elsewhere(zone.Child(rec.Name.s), CodeDoubledZone, zone)
	}
	// Values of SPF and DMARC are the same everywhere: found at another name they may well be
	// meant for it.
	if rec.Name.IsBelow(r.domain) && rec.Purpose != SPF && rec.Purpose != DMARC {
		r.levels(rec, zones, elsewhere)
	}
	if rec.Purpose == DMARC {
		elsewhere(rec.Name.Parent(), CodeWrongZoneLevel, r.organization()) // what no domain itself ever needs
	}
	list = append(list, r.replacements(rec, q, v.why.code)...)
	if op, ok := r.wildcard(rec, q, v.why); ok {
		list = append(list, op)
	}
	list = append(list, r.orphan()...)
	if r.authoritative && v.soa != nil {
		list = append(list, r.inside(rec, q, v))
	}
	return list
}

// levels suspects a name that was written for one zone and typed into another.
func (r *run) levels(rec Record, zones []Name, elsewhere func(Name, Code, Name)) {
	taken := func(n Name) bool { // the same value is wanted, or may be, at that name
		return r.wants(n, rec.Type) || n == r.domain && rec.Type == MX
	}
	try := func(label string, zone Name) {
		if name := zone.Child(label); label != "@" && !taken(name) {
			elsewhere(name, CodeWrongZoneLevel, zone)
		}
	}
	for _, written := range zones {
		for _, typed := range zones {
			if written != typed && rec.Name.IsBelow(written) {
				try(rec.Name.relativeTo(written), typed)
			}
		}
	}
	if rec.Purpose.grants() {
		for _, zone := range zones {
			// No domain itself is a CNAME of ours.
			if !taken(zone) && (rec.Type == TXT || zone.IsBelow(r.domain)) {
				elsewhere(zone, CodeWrongZoneLevel, zone) // the label was forgotten
			}
		}
	}
	if org := r.organization(); rec.Type == MX && r.domain == org && !r.wants(org, MX) {
		elsewhere(org, CodeWrongZoneLevel, org) // a MAIL FROM domain is always below another
	}
	// Below a name that the domain has for other reasons.
	children := []Name{r.domain.Child("www"), r.domain.Child("mail")}
	for _, o := range r.list {
		if (o.Type == MX || o.Purpose == MailFromSPF) && !slices.Contains(children, o.Name) && len(children) < 6 {
			children = append(children, o.Name)
		}
	}
	for _, child := range children {
		if child != rec.Name && !rec.Name.IsBelow(child) {
			try(rec.Name.relativeTo(r.domain), child)
		}
	}
}

// wants tells whether a record of a type is asked for at a name.
func (r *run) wants(n Name, t Type) bool {
	return slices.ContainsFunc(r.list, func(o Record) bool { return o.Name == n && o.Type == t })
}

// replacements suspects data of another type at the right name.
func (r *run) replacements(rec Record, q question, known Code) []suspicion {
	hint := func(qtype uint16, read func(ctx context.Context, a answer, op opinion) (opinion, bool)) suspicion {
		return suspicion{q: question{q.name, qtype}, read: func(ctx context.Context, a answer) (opinion, bool) {
			if a.result == SawLoop && rec.Type == CNAME {
				return opinion{told: true, code: CodeCNAMELoop, found: targets(a.chain)}, true
			}
			if a.result != SawAnswer || len(a.chain) > 0 {
				return opinion{}, false
			}
			op := opinion{told: true}
			for _, v := range a.values() {
				op.found = append(op.found, dns.TypeToString[qtype]+" "+v)
			}
			return read(ctx, a, op)
		}}
	}
	switch {
	case rec.Type == CNAME:
		address := func(ctx context.Context, a answer, op opinion) (opinion, bool) {
			if known == CodeNXDOMAIN {
				// A name that does not exist and has an address: resolvers that put their own in
				// place of NXDOMAIN do so at every name.
				beside := r.one(ctx, a.server, question{r.beside(rec.Name).s, a.records[0].Header().Rrtype})
				if same(a.values(), beside.values()) {
					return opinion{}, false
				}
			}
			op.code = CodeCNAMEFlattened
			// A target that is itself behind a proxy gives a proxy's addresses when flattened.
			if proxied(a.records) && !same(a.values(), r.source(ctx, question{bare(rec.Value), a.records[0].Header().Rrtype}).values()) {
				op.code = CodeCNAMEProxied
			}
			return op, true
		}
		return []suspicion{
			hint(dns.TypeTXT, func(ctx context.Context, a answer, op opinion) (opinion, bool) {
				op.code = CodeWrongType
				if rec.Purpose == DKIM && r.sameKey(ctx, a, bare(rec.Value)) {
					op.code = CodeCNAMEFlattened
				}
				return op, true
			}),
			hint(dns.TypeA, address), hint(dns.TypeAAAA, address),
		}
	case rec.Type == MX:
		return []suspicion{hint(dns.TypeTXT, func(_ context.Context, a answer, op opinion) (opinion, bool) {
			op.code = CodeWrongType
			return op, slices.ContainsFunc(a.values(), func(v string) bool {
				return slices.ContainsFunc(strings.Fields(words(v)), func(word string) bool { return bare(word) == bare(rec.Value) })
			})
		})}
	case rec.isSPF():
		// The type SPF was given up (RFC 7208, section 3.1), but some control panels still offer it.
		return []suspicion{hint(dns.TypeSPF, func(_ context.Context, _ answer, op opinion) (opinion, bool) {
			op.code = CodeWrongType
			return op, true
		})}
	}
	return nil
}

// words replaces quotes by blanks.
func words(s string) string { return strings.NewReplacer(`"`, " ", "'", " ").Replace(s) }

// sameKey tells whether the DKIM key in an answer is the one behind our target: then the
// server followed the CNAME itself and shows only where it led.
func (r *run) sameKey(ctx context.Context, a answer, target string) bool {
	behind := r.source(ctx, question{target, dns.TypeTXT})
	for _, v := range a.values() {
		p := keyTags(v)["p"]
		if p == "" {
			continue
		}
		for _, w := range behind.values() {
			if keyTags(w)["p"] == p {
				return true
			}
		}
	}
	return false
}

// beside is a name beside another that nobody can have made: what answers there is a wildcard
// (RFC 4592). Beside one that is as long as names may be, it is no longer than that; beside a
// single label there is none.
func (r *run) beside(name Name) Name {
	parent, label := name.Parent(), r.randomLabel()
	room := maxName - len(parent.s) - len(".")
	if parent.IsZero() || room <= 0 {
		return Name{}
	}
	return Name{label[max(len(label)-room, 0):] + "." + parent.s}
}

// randomLabel is the same for all of a check.
func (r *run) randomLabel() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.random == "" {
		label := []byte{'_'}
		for range 16 {
			label = append(label, byte('a'+rand.N(26)))
		}
		r.random = string(label)
	}
	return r.random
}

// wildcard suspects that what was found at the name is there at every name. Of a CNAME, a
// wildcard may show as an address or a text instead.
func (r *run) wildcard(rec Record, q question, why opinion) (suspicion, bool) {
	beside := r.beside(rec.Name)
	if beside.IsZero() || rec.Name == r.domain {
		return suspicion{}, false
	}
	wild := func(a answer) opinion {
		return opinion{told: true, code: CodeWildcard, hint: rec.Name.Parent().s, found: slices.Concat(targets(a.chain), a.values())}
	}
	return suspicion{q: question{beside.s, q.qtype}, read: func(ctx context.Context, a answer) (opinion, bool) {
		if len(a.chain) > 0 {
			return wild(a), slices.Contains(why.found, "CNAME "+a.chain[0]+".") || holds(a.values(), why.found)
		}
		if a.result == SawAnswer {
			return wild(a), holds(a.values(), why.found)
		}
		if a.result != SawNODATA || rec.Type != CNAME || len(why.found) > 0 {
			return opinion{}, false
		}
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT} {
			ours, beside := r.one(ctx, a.server, question{q.name, t}), r.one(ctx, a.server, question{beside.s, t})
			if ours.result == SawAnswer && beside.result == SawAnswer && same(ours.values(), beside.values()) {
				return wild(beside), true
			}
		}
		return opinion{}, false
	}}, true
}

// holds tells whether a list has all of another, which is not empty.
func holds(all, some []string) bool {
	return len(some) > 0 && !slices.ContainsFunc(some, func(v string) bool { return !slices.Contains(all, v) })
}

// same tells whether two lists hold the same values in any order.
func same(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// orphan suspects that the whole domain is unknown. In authoritative mode its parent was
// asked before.
func (r *run) orphan() []suspicion {
	org := r.organization()
	if r.authoritative || org.s == "" {
		return nil
	}
	return []suspicion{{q: question{org.s, dns.TypeSOA}, read: func(_ context.Context, a answer) (opinion, bool) {
		return opinion{told: true, code: CodeNotDelegated, hint: "does not exist"}, a.result == SawNXDOMAIN
	}}}
}

// inside suspects that a resolver has a view of its own: another SOA than the name servers
// (the serial aside, which caches may lag behind). Only such a resolver is then asked for
// the record, as its negative cache is not that of the world. The others are asked for what
// they hold already, where that is allowed.
func (r *run) inside(rec Record, q question, v verdict) suspicion {
	apex := bare(v.soa.Hdr.Name)
	return suspicion{always: true, q: question{apex, dns.TypeSOA}, read: func(ctx context.Context, _ answer) (opinion, bool) {
		own := make(map[string]bool)
		for _, a := range r.poll(ctx, question{apex, dns.TypeSOA}, false) {
			for _, rr := range a.records {
				if soa, ok := rr.(*dns.SOA); ok && len(a.chain) == 0 && (bare(soa.Ns) != bare(v.soa.Ns) || bare(soa.Mbox) != bare(v.soa.Mbox)) {
					own[a.server] = true
				}
			}
		}
		seen := once(r, flightKey{q, "inside"}, func() []answer {
			return gather(ctx, len(r.resolver.servers), nil, func(ctx context.Context, i int) answer {
				server := r.resolver.servers[i]
				switch {
				case own[server]:
					return r.resolver.ask(ctx, server, q)
				case r.lookInside:
					return r.held(ctx, server, q)
				}
				return answer{server: server, result: SawLimit}
			})
		})
		for _, a := range seen {
			if a.told() && r.looksRight(rec, q, a) {
				return opinion{told: true, code: CodeSplitHorizon, hint: a.server, found: a.values()}, true
			}
		}
		return opinion{}, false
	}}
}

// held returns what a resolver has of its own, as opposed to what it still remembers: the
// time to live of that goes down.
func (r *run) held(ctx context.Context, server string, q question) answer {
	how := manner{still: true, tries: 1}
	a := r.resolver.askAs(ctx, server, q, how)
	if a.result != SawAnswer || !pause(ctx, 1100*time.Millisecond) {
		return answer{server: server, result: SawLimit}
	}
	b := r.resolver.askAs(ctx, server, q, how)
	if b.result != SawAnswer || b.ttl < a.ttl {
		return answer{server: server, result: SawLimit}
	}
	return b
}

// located shows values together with the name they were found at.
func located(name Name, t Type, values []string) []string {
	var found []string
	for _, v := range values {
		found = append(found, name.s+". "+string(t)+" "+v)
	}
	return found
}

// doubt looks behind a match: is the record there for this name, and does what it refers to
// work? It returns false where there is nothing to add. Where the first can't be told, the
// verdict becomes Unknown.
func (r *run) doubt(ctx context.Context, rec Record, v *verdict) (opinion, bool) {
	if rec.Purpose.grants() && rec.Type == TXT && len(v.why.via) > 0 {
		// Whoever rules the target of a wildcard CNAME would rule every domain that has one.
		beside := r.beside(rec.Name)
		if beside.IsZero() {
			return opinion{}, false
		}
		switch a := r.one(ctx, v.witness, question{beside.s, dns.TypeTXT}); {
		case !a.told(): // no answer rules nothing out, and can be brought about by others
			v.outcome, v.code = Unknown, a.silenceCode()
			v.silent = append(v.silent, fmt.Sprintf("the servers about a name beside it (%s)", a.result))
			return opinion{}, false
		case len(a.chain) > 0 && alike(rec.Name, v.why.via[0], beside, a.chain[0]):
			return opinion{told: true, code: CodeWildcard, hint: rec.Name.Parent().s, found: targets(a.chain)}, true
		}
	}
	if !r.authoritative {
		// Not every resolver shows the DNAME that leads all tokens to us; servers must.
		if !rec.Purpose.grants() || rec.Type != CNAME {
			return opinion{}, false
		}
		if beside := r.beside(rec.Name); !beside.IsZero() {
			for _, other := range r.one(ctx, v.witness, question{beside.s, dns.TypeCNAME}).values() {
				if other := bare(other); other != bare(rec.Value) && alike(rec.Name, bare(rec.Value), beside, other) {
					return redirectedBy(rec.Name.Parent().s), true
				}
			}
		}
		return opinion{}, false
	}
	if rec.Type == MX && r.unresolvable(ctx, bare(rec.Value)) {
		op := v.why
		op.code = CodeTargetMissing
		return op, true
	}
	if rec.Type != CNAME {
		return opinion{}, false
	}
	if v.zone != nil && v.zone.apex == rec.Name.s { // RFC 1912, section 2.4
		return opinion{told: true, code: CodeCNAMEWithOtherData, found: []string{"SOA and NS records of a zone of its own"}}, true
	}
	// One server of the name is asked for another type: it must answer with the CNAME.
	a := r.behind(ctx, question{rec.Name.s, dns.TypeTXT})
	for _, b := range []answer{a, r.behind(ctx, question{rec.Name.s, dns.TypeA})} {
		if b.result != SawAnswer || len(b.chain) > 0 {
			continue
		}
		op := opinion{told: true, code: CodeCNAMEWithOtherData}
		for _, rr := range b.records {
			op.found = append(op.found, dns.TypeToString[rr.Header().Rrtype]+" "+presentation(rr))
		}
		return op, true
	}
	if rec.Purpose != DKIM {
		return opinion{}, false
	}
	op := v.why
	switch {
	case (a.result == SawNXDOMAIN || a.result == SawNODATA) && a.host != "" && slices.Contains(a.chain, bare(rec.Value)):
		op.code = CodeTargetMissing
		return op, true
	case a.result == SawAnswer:
		keys := 0
		for _, v := range a.values() {
			if tags := keyTags(v); tags["p"] != "" {
				keys++
			} else if strings.Contains(v, "p=") {
				op.code = CodeDKIMKeyRevoked
			}
		}
		return op, keys == 0 && op.code == CodeDKIMKeyRevoked
	}
	return opinion{}, false
}

// unresolvable tells whether the name servers of a host say that it has no address, neither
// of IPv4 nor of IPv6.
func (r *run) unresolvable(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, behindWait)
	defer cancel()
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if a := r.source(ctx, question{host, t}); a.host == "" || a.result != SawNXDOMAIN && a.result != SawNODATA {
			return false
		}
	}
	return true
}

// proxyNets are the published address ranges of services that stand in front of web sites
// and hide the CNAME of a name that they serve: Cloudflare, Imperva, Sucuri, Fastly.
var proxyNets = prefixes(`
	173.245.48.0/20 103.21.244.0/22 103.22.200.0/22 103.31.4.0/22 141.101.64.0/18 108.162.192.0/18 190.93.240.0/20
	188.114.96.0/20 197.234.240.0/22 198.41.128.0/17 162.158.0.0/15 104.16.0.0/13 104.24.0.0/14 172.64.0.0/13 131.0.72.0/22
	2400:cb00::/32 2606:4700::/32 2803:f800::/32 2405:b500::/32 2405:8100::/32 2a06:98c0::/29 2c0f:f248::/32
	199.83.128.0/21 198.143.32.0/19 149.126.72.0/21 103.28.248.0/22 45.64.64.0/22 185.11.124.0/22 192.230.64.0/18
	107.154.0.0/16 45.60.0.0/16 45.223.0.0/16 2a02:e980::/29
	192.88.134.0/23 185.93.228.0/22 66.248.200.0/22 208.109.0.0/22 2a02:fe80::/29
	151.101.0.0/16 199.232.0.0/16 2a04:4e40::/32`)

func prefixes(list string) []netip.Prefix {
	var nets []netip.Prefix
	for s := range strings.FieldsSeq(list) {
		nets = append(nets, netip.MustParsePrefix(s))
	}
	return nets
}

// proxied tells whether all addresses are of a known proxy.
func proxied(records []dns.RR) bool {
	for _, rr := range records {
		addr, ok := addressOf(rr)
		if !ok || !slices.ContainsFunc(proxyNets, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return false
		}
	}
	return len(records) > 0
}
