package dnscheck

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

func spfRecords(values []string) []string {
	var records []string
	for _, v := range values {
		if isSPF(v) {
			records = append(records, v)
		}
	}
	slices.Sort(records) // answers come in any order, and what is proposed shall not change with it
	return records
}

// meantForSPF finds what was to be an SPF record and is none for receivers; empty where
// there is nothing of the kind.
func meantForSPF(values []string) string {
	for _, v := range values {
		if strings.HasPrefix(strings.TrimPrefix(lower(trimmed(v)), "v="), "spf") || strings.Contains(lower(v), spfVersion) {
			return v
		}
	}
	return ""
}

// includeTarget returns the bare name in the first include of a record, empty if it has none.
func includeTarget(record string) string {
	for term := range strings.FieldsSeq(record) {
		if name, ok := strings.CutPrefix(lower(strings.TrimLeft(term, "+-~?")), "include:"); ok {
			return bare(name)
		}
	}
	return ""
}

// refersTo tells whether a record names target in an include or a redirect, reachable or not.
func refersTo(record, target string) bool {
	for term := range strings.FieldsSeq(lower(record)) {
		term = strings.TrimLeft(term, "+-~?")
		for _, kind := range []string{"include:", "redirect="} {
			if name, ok := strings.CutPrefix(term, kind); ok && bare(name) == target {
				return true
			}
		}
	}
	return false
}

// plausibleSPF is the guess, without further questions, that an answer authorises target:
// an include of it in the only record, before any "all".
func plausibleSPF(values []string, target string) bool {
	records := spfRecords(values)
	if len(records) != 1 || target == "" {
		return false
	}
	before, _, _ := strings.Cut(lower(records[0])+" ", "all ")
	return refersTo(before, target)
}

// spf judges one server's answer: is mail that our include target authorises authorised by
// the owner's record? Only an evaluation can tell, because terms before ours, nested
// includes, redirects and the limits of RFC 7208 all have a say.
func (r *run) spf(ctx context.Context, rec Record, a answer) opinion {
	if !a.told() || a.result == SawLoop || a.result != SawAnswer && len(a.chain) > 0 {
		return compareAnswer(rec, nil, r.domain, a)
	}
	values := a.values()
	records := spfRecords(values)
	target := includeTarget(rec.Value)
	op := r.spfOf(ctx, rec, values, records, target)
	if len(a.chain) > 0 && op.told && !op.match {
		return aliased(rec, a)
	}
	return op
}

func (r *run) spfOf(ctx context.Context, rec Record, values, records []string, target string) opinion {
	switch len(records) {
	case 0:
		for _, v := range values {
			if l := lower(v); strings.HasPrefix(unquoted(l), spfVersion) {
				if rest, ok := strings.CutPrefix(l, spfVersion); !ok || strings.IndexFunc(rest, added) == 0 {
					return opinion{told: true, code: CodeValueQuoted, found: []string{v}, hint: mendSPF(v, target)}
				}
			}
		}
		return opinion{told: true, code: CodeSPFMissing, found: values, hint: mendSPF(meantForSPF(values), target)}
	case 1:
		return judgeSPF(ctx, r.first, rec, records[0], target)
	default:
		return opinion{told: true, code: CodeSPFMultiple, found: records, hint: mergeSPF(records, target)}
	}
}

// judgeSPF judges the only SPF record of a name.
func judgeSPF(ctx context.Context, ask lookups, rec Record, record, target string) opinion {
	op := opinion{told: true, found: []string{record}}
	if target == "" {
		op.match = strings.Join(strings.Fields(lower(record)), " ") == strings.Join(strings.Fields(lower(rec.Value)), " ")
		op.code = CodeValueMismatch
		if op.match {
			op.code = CodeMatch
		}
		return op
	}
	p := &spfProbe{lookups: ask, apex: rec.Name.s, record: record, target: target, addr: probeAddress()}
	ev := p.check(ctx)
	named := refersTo(record, target)
	op.hint = withInclude(record, target)
	switch {
	case ev.Result == SPFPass && p.asked:
		op.match, op.code, op.hint = true, CodeMatch, ""
		// Our part works; the rest of the record is worth a warning.
		whole := &spfProbe{lookups: ask, apex: rec.Name.s, record: record} // our target as it is
		survey, endless := surveySPF(ctx, whole, rec.Name.s)
		if own := survey.below(target); own < maxSPFLookups && ev.Lookups+own > maxSPFLookups {
			// We are asked, and our servers behind that are not found any more.
			op.match, op.code, op.hint = false, CodeSPFTooManyLookups, withInclude(record, target)
			return op
		}
		switch {
		case endless || survey.Lookups > maxSPFLookups:
			op.hint = "needs more than 10 DNS look-ups as a whole"
		case survey.Voids > maxSPFVoids:
			op.hint = "has more than 2 look-ups that find nothing"
		}
		if t := ask(ctx, question{target, dns.TypeTXT}); t.told() && len(spfRecords(t.values())) == 0 {
			op.code = CodeTargetMissing
		}
	case ev.Result == SPFTemperror:
		op.told, op.code, op.hint = false, ev.Code, p.last
	case ev.Result == SPFPermerror && !named && ev.Code != CodeSPFSyntax && !leadsTo(ctx, ask, rec, record, target):
		op.code = CodeSPFIncludeMissing // put in front, ours comes before the limit
	case ev.Result == SPFPermerror:
		op.code = ev.Code
		switch ev.Code {
		case CodeSPFMultiple, CodeSPFIncludeBroken: // two records behind an include
			op.code, op.hint = CodeSPFIncludeBroken, p.last
		case CodeSPFSyntax:
			op.hint = ev.Problem
			if own, ok := strings.CutPrefix(ev.Problem, rec.Name.s+" has a record that cannot be read: "); ok {
				op.hint = "of " + own
			}
		}
	case p.asked && named:
		op.code = CodeValueMismatch // a qualifier that is none of a pass
	case named:
		op.code = CodeSPFIncludeUnreachable
	default:
		op.code = CodeSPFIncludeMissing
	}
	return op
}

// leadsTo tells whether a record would come to our target if look-ups were not limited.
func leadsTo(ctx context.Context, ask lookups, rec Record, record, target string) bool {
	p := &spfProbe{lookups: ask, apex: rec.Name.s, record: record, target: target, addr: probeAddress()}
	surveySPF(ctx, p, rec.Name.s)
	return p.asked
}

// probeAddress is random in the discard-only block (RFC 6666): no record lists it by
// accident, so only the answer that we put behind our target can.
func probeAddress() netip.Addr {
	ip := [16]byte{0: 0x01}
	rand.Read(ip[8:])
	return netip.AddrFrom16(ip)
}

// spfProbe answers an evaluation: the owner's record as it was seen, or as it is proposed; our
// target, if there is one, as if it listed the probe address; all else from the DNS.
type spfProbe struct {
	lookups
	apex, record, target string
	addr                 netip.Addr
	asked                bool   // the evaluation reached our target
	last                 string // the policy that was asked for last: the broken one after an error
}

// ptrName is what the probe address resolves to: mail servers have a name, and a void
// look-up for the lack of one would be counted against the owner.
const ptrName = "probe.invalid."

func (p *spfProbe) check(ctx context.Context) SPFEvaluation {
	p.asked = false
	return evaluateSPF(ctx, &spfEval{dns: p, standIn: true, q: SPFQuery{
		IP: p.addr, Domain: p.apex, Sender: "postmaster@" + p.apex, HELO: strings.TrimSuffix(ptrName, "."),
	}})
}

func (p *spfProbe) LookupTXT(ctx context.Context, name string) ([]string, error) {
	p.last = bare(name)
	switch {
	case p.last == p.target && p.target != "":
		p.asked = true
		return p.standIn(), nil
	case p.last == p.apex && p.record != "":
		return []string{p.record}, nil
	}
	a, err := p.do(ctx, name, dns.TypeTXT)
	if p.target != "" && slices.Contains(a.chain, p.target) { // through an alias, which receivers follow
		p.asked = true
		return p.standIn(), nil
	}
	return a.values(), err
}

// standIn is what our target says instead of its own record.
func (p *spfProbe) standIn() []string { return []string{"v=spf1 ip6:" + p.addr.String() + " -all"} }

func (p *spfProbe) LookupAddr(context.Context, string) ([]string, error) {
	return []string{ptrName}, nil
}

// LookupNetIP asks for IPv4 addresses, over which most mail goes: a host without them is void
// then, one without IPv6 is not.
func (p *spfProbe) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if bare(host) == bare(ptrName) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if network == "ip6" {
		network = "ip4"
	}
	return p.lookups.LookupNetIP(ctx, network, host)
}

// LookupNetIP returns the IPv4 ("ip4") or IPv6 ("ip6") addresses of a host, or both ("ip").
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return lookups(r.first).LookupNetIP(ctx, network, host)
}

// LookupNetIP with "ip" finds nothing only where both families have nothing.
func (ask lookups) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if network == "ip" {
		ips, err := ask.LookupIPAddr(ctx, host)
		addrs := make([]netip.Addr, 0, len(ips))
		for _, ip := range ips {
			if a, ok := netip.AddrFromSlice(ip.IP); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
		return addrs, err
	}
	qtype := dns.TypeA
	if network == "ip6" {
		qtype = dns.TypeAAAA
	}
	a, err := ask.do(ctx, host, qtype)
	var addrs []netip.Addr
	for _, rr := range a.records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs, err
}
