package zone

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

const (
	maxRecords = 100_000
	maxSet     = 32 << 10 // bytes of the records of one type at one name: an answer must fit one message
)

// TableConfig describes a Table.
type TableConfig struct {
	// Nameservers are the NS records of every zone that has none of its own. Empty:
	// ns.postseal.test at 127.0.0.1.
	Nameservers []NS
	TTL         time.Duration // of every record and of absence; 0: one second
}

// Record is one record of a Table, as Add takes it.
type Record struct {
	Name     string // canonical: lower case, final dot
	Type     string
	Value    string // presentation form without priority; TXT literally, joined
	Priority int    // of MX and SRV
}

// Table is the source of a development instance: whoever may write to it owns every
// domain there is. All names are answered with authority. A zone starts where a name
// has SOA or NS records, and at every registrable domain; there SOA and NS are made
// up where none were added. A registrable domain always exists, and what was not
// added below it does not. Build it with NewTable; it is safe for concurrent use.
type Table struct {
	ttl   uint32
	ns    []string                       // host names of the made-up NS records
	hosts map[string]map[uint16][]dns.RR // their addresses, unless others were added

	mu     sync.RWMutex
	tree   tree
	serial uint32 // of the made-up SOA; every change counts

	saving sync.Mutex
}

// NewTable makes an empty table.
func NewTable(c TableConfig) (*Table, error) {
	ttl, err := seconds(c.TTL, time.Second)
	if err != nil {
		return nil, fmt.Errorf("DNS table: TTL: %w", err)
	}
	if len(c.Nameservers) == 0 {
		c.Nameservers = []NS{{Host: "ns.postseal.test", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}}}
	}
	t := &Table{ttl: ttl, hosts: map[string]map[uint16][]dns.RR{}, serial: uint32(time.Now().Unix())}
	for _, ns := range c.Nameservers {
		host, err := parseName(ns.Host)
		if err != nil {
			return nil, fmt.Errorf("DNS table: Nameservers: %w", err)
		}
		t.ns = append(t.ns, host)
		if t.hosts[host] == nil {
			t.hosts[host] = map[uint16][]dns.RR{}
		}
		for _, a := range ns.Addrs {
			rr, err := newAddress(host, ttl, a)
			if err != nil {
				return nil, fmt.Errorf("DNS table: Nameservers: %s: %w", host, err)
			}
			rtype := rr.Header().Rrtype
			t.hosts[host][rtype] = append(t.hosts[host][rtype], rr)
		}
	}
	t.tree = t.newTree()
	return t, nil
}

// newTree makes a tree in which the name servers' names exist.
func (t *Table) newTree() tree {
	r := tree{nodes: map[string]map[uint16][]dns.RR{}, below: map[string]int{}}
	for host := range t.hosts {
		r.count(host, 1)
	}
	return r
}

// Add stores a record; one that is there already is left alone. Names are absolute,
// with or without the final dot, and may start with the wildcard label. Types are A,
// AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV and TXT; priority belongs to MX and SRV and
// may be part of their value instead. A TXT value is taken literally, without quotes
// or escapes, and may be longer than 255 bytes. What DNS forbids is refused: a CNAME
// beside other records or at the start of a zone, two SOA at one name.
func (t *Table) Add(name, rtype, value string, priority int) error {
	rr, _, err := t.parse(name, rtype, value, priority)
	if err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		var changed bool
		if changed, err = t.insert(&t.tree, rr); changed {
			t.serial++
		}
	}
	if err != nil {
		return fmt.Errorf("add %.20s record %.100q: %w", rtype, name, err)
	}
	return nil
}

// AddAll is Add of all records or, where one can't be added, of none.
func (t *Table) AddAll(records []Record) error {
	fail := func(i int, err error) error {
		return fmt.Errorf("add %.20s record %.100q, the %d. of %d: %w", records[i].Type, records[i].Name, i+1, len(records), err)
	}
	rrs := make([]dns.RR, len(records))
	for i, r := range records {
		var err error
		if rrs[i], _, err = t.parse(r.Name, r.Type, r.Value, r.Priority); err != nil {
			return fail(i, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var added []dns.RR
	for i, rr := range rrs {
		changed, err := t.insert(&t.tree, rr)
		if err != nil {
			for _, rr := range added {
				h := rr.Header()
				t.tree.remove(h.Name, h.Rrtype, func(x dns.RR) bool { return sameRecord(x, rr) })
			}
			return fail(i, err)
		}
		if changed {
			added = append(added, rr)
		}
	}
	if len(added) > 0 {
		t.serial++
	}
	return nil
}

// Del removes the records of a type at a name that have the value, or all of them
// where value is "", and returns how many there were. An MX or SRV value without
// priority stands for every priority. To remove nothing is no error.
func (t *Table) Del(name, rtype, value string) (n int, err error) {
	fail := func(err error) (int, error) {
		return 0, fmt.Errorf("delete %.20s record %.100q: %w", rtype, name, err)
	}
	owner, err := parseOwner(name)
	if err != nil {
		return fail(err)
	}
	kind, err := parseType(rtype)
	if err != nil {
		return fail(err)
	}
	match := func(dns.RR) bool { return true }
	if value != "" {
		want, exact, err := parseRecord(owner, kind, value, 0, t.ttl)
		if err != nil {
			return fail(err)
		}
		match = func(rr dns.RR) bool {
			if !exact {
				rr = withoutPriority(rr)
			}
			return sameRecord(rr, want)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n = t.tree.remove(owner, kind, match); n > 0 {
		t.serial++
	}
	return n, nil
}

// Records lists what was added, sorted by the labels of the name from the right, so
// that a domain stands together, then by type and value.
func (t *Table) Records() []Record {
	var list []Record
	for _, rr := range t.records() {
		list = append(list, toRecord(rr))
	}
	return list
}

func (t *Table) records() []dns.RR {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]dns.RR, 0, t.tree.records)
	for _, types := range t.tree.nodes {
		for _, set := range types {
			list = append(list, set...)
		}
	}
	keys := make(map[string]string, len(t.tree.nodes))
	for name := range t.tree.nodes {
		labels := dns.SplitDomainName(name)
		slices.Reverse(labels)
		keys[name] = strings.Join(labels, "\x00")
	}
	slices.SortFunc(list, func(a, b dns.RR) int {
		x, y := a.Header(), b.Header()
		return cmp.Or(cmp.Compare(keys[x.Name], keys[y.Name]), cmp.Compare(x.Rrtype, y.Rrtype), cmp.Compare(a.String(), b.String()))
	})
	return list
}

// Lookup answers for every name.
func (t *Table) Lookup(_ context.Context, name string, qtype uint16) (Answer, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	apex := t.apex(name)
	a := Answer{SOA: t.soa(apex), Exists: name == apex || t.tree.below[name] > 0}
	source := name
	if !a.Exists {
		// The wildcard at the closest name above that exists, and no other (RFC 4592).
		encloser := parent(name)
		for encloser != apex && t.tree.below[encloser] == 0 {
			encloser = parent(encloser)
		}
		source = "*." + encloser
		if a.Exists = t.tree.below[source] > 0; !a.Exists {
			return a, nil
		}
	}
	a.RRs = t.set(source, apex, a.SOA, qtype)
	if source != name {
		a.RRs = slices.Clone(a.RRs)
		for i, rr := range a.RRs {
			a.RRs[i] = dns.Copy(rr)
			a.RRs[i].Header().Name = name
		}
	}
	return a, nil
}

// set finds the records of a type at a name, or its CNAME, or what is made up there.
func (t *Table) set(name, apex string, soa *dns.SOA, qtype uint16) []dns.RR {
	types := t.tree.nodes[name]
	if set := types[qtype]; len(set) > 0 {
		return set
	}
	if set := types[dns.TypeCNAME]; len(set) > 0 {
		return set
	}
	switch {
	case name == apex && qtype == dns.TypeSOA:
		return []dns.RR{soa}
	case name == apex && qtype == dns.TypeNS:
		var set []dns.RR
		for _, host := range t.ns {
			set = append(set, &dns.NS{Hdr: header(apex, dns.TypeNS, t.ttl), Ns: host})
		}
		return set
	}
	return t.hosts[name][qtype]
}

// apex finds where the zone of a name starts.
func (t *Table) apex(name string) string {
	registrable := registrableDomain(name)
	for n := name; n != registrable && n != "."; n = parent(n) {
		if types := t.tree.nodes[n]; len(types[dns.TypeSOA])+len(types[dns.TypeNS]) > 0 {
			return n
		}
	}
	return registrable
}

func (t *Table) soa(apex string) *dns.SOA {
	if set := t.tree.nodes[apex][dns.TypeSOA]; len(set) > 0 {
		return set[0].(*dns.SOA)
	}
	return &dns.SOA{
		Hdr: header(apex, dns.TypeSOA, t.ttl), Ns: t.ns[0], Mbox: "hostmaster." + t.ns[0],
		Serial: t.serial, Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: t.ttl,
	}
}

// registrableDomain returns the domain that a registry would have sold, or the name
// itself where it is a public suffix. Unknown top-level names count as suffixes.
func registrableDomain(name string) string {
	// A label may hold an escaped dot, which the suffix list would take for a real one.
	for strings.Contains(name, `\`) {
		name = parent(name)
	}
	d, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimSuffix(name, "."))
	if err != nil {
		return name
	}
	return d + "."
}

// parse makes a record of what Add was given.
func (t *Table) parse(name, rtype, value string, priority int) (rr dns.RR, hasPriority bool, err error) {
	owner, err := parseOwner(name)
	if err != nil {
		return nil, false, err
	}
	kind, err := parseType(rtype)
	if err != nil {
		return nil, false, err
	}
	return parseRecord(owner, kind, value, priority, t.ttl)
}

// insert adds a record to r, which is the table's tree or one being loaded.
func (t *Table) insert(r *tree, rr dns.RR) (changed bool, err error) {
	h := rr.Header()
	base := strings.TrimPrefix(h.Name, "*.")
	if _, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimSuffix(base, ".")); err != nil {
		return false, fmt.Errorf("%s is a public suffix; records belong to a domain below one", base)
	}
	if h.Rrtype == dns.TypeCNAME {
		if registrableDomain(h.Name) == h.Name {
			return false, fmt.Errorf("%s is the start of a zone, which holds SOA and NS, so it cannot be a CNAME (RFC 1034, section 3.6.2)", h.Name)
		}
		if t.hosts[h.Name] != nil {
			return false, fmt.Errorf("%s is a name server, so it cannot be a CNAME (RFC 2181, section 10.3)", h.Name)
		}
	}
	return r.insert(rr)
}
