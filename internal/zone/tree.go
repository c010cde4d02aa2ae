package zone

import (
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// tree holds records by name and type. The slices in it are never changed, only
// replaced: readers keep them.
type tree struct {
	nodes   map[string]map[uint16][]dns.RR
	below   map[string]int // how many owners are at or below a name
	records int
}

// count makes an owner known to, or forgotten by, itself and all names above it.
func (r *tree) count(owner string, by int) {
	for n := owner; n != "."; n = parent(n) {
		if r.below[n] += by; r.below[n] == 0 {
			delete(r.below, n)
		}
	}
}

func (r *tree) insert(rr dns.RR) (changed bool, err error) {
	h := rr.Header()
	types := r.nodes[h.Name]
	size := dns.Len(rr)
	for _, old := range types[h.Rrtype] {
		if sameRecord(old, rr) {
			return false, nil
		}
		size += dns.Len(old)
	}
	for other, set := range types {
		alias := other == dns.TypeCNAME || h.Rrtype == dns.TypeCNAME
		if alias || other == h.Rrtype && other == dns.TypeSOA {
			held := toRecord(set[0])
			return false, fmt.Errorf("%s already has %s %.100q, and a %s shares its name with no other (RFC 1034, section 3.6.2); delete that first",
				h.Name, held.Type, held.Value, dns.TypeToString[single(other, h.Rrtype)])
		}
	}
	switch {
	case r.records >= maxRecords:
		return false, fmt.Errorf("the table is full: it holds %d records; delete some", r.records)
	case size > maxSet:
		return false, fmt.Errorf("the %s records of %s would have %d bytes, at most %d fit an answer; delete some", dns.TypeToString[h.Rrtype], h.Name, size, maxSet)
	}
	if types == nil {
		types = map[uint16][]dns.RR{}
		r.nodes[h.Name] = types
		r.count(h.Name, 1)
	}
	types[h.Rrtype] = append(slices.Clip(types[h.Rrtype]), rr)
	r.records++
	return true, nil
}

// single tells which of two types in conflict is the one that must be alone.
func single(held, added uint16) uint16 {
	if held == dns.TypeCNAME {
		return held
	}
	return added
}

func (r *tree) remove(owner string, rtype uint16, match func(dns.RR) bool) (n int) {
	types := r.nodes[owner]
	set := types[rtype]
	left := slices.DeleteFunc(slices.Clone(set), match)
	n = len(set) - len(left)
	if r.records -= n; n == 0 {
		return 0
	}
	if types[rtype] = left; len(left) == 0 {
		delete(types, rtype)
	}
	if len(types) == 0 {
		delete(r.nodes, owner)
		r.count(owner, -1)
	}
	return n
}
