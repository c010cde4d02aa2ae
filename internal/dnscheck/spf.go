package dnscheck

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"

	"blitiri.com.ar/go/spf"
	"github.com/miekg/dns"
)

// isSPF selects SPF records among the TXT records of a name (RFC 7208, section 4.5).
func isSPF(txt string) bool {
	l := lower(txt)
	return l == "v=spf1" || strings.HasPrefix(l, "v=spf1 ")
}

func spfRecords(values []string) []string {
	var records []string
	for _, v := range values {
		if isSPF(v) {
			records = append(records, v)
		}
	}
	return records
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

// withInclude puts our include directly behind the version, where nothing can hide it.
func withInclude(record, target string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(record), " ")
	return strings.TrimSpace("v=spf1 include:" + target + " " + strings.TrimSpace(rest))
}

// mergeSPF makes one record out of several: ours first, then each mechanism once, and the
// first "all" at the end. With a redirect there is no merge that keeps its meaning.
func mergeSPF(records []string, target string) string {
	terms, all := []string{"v=spf1"}, "~all"
	seen := map[string]bool{"v=spf1": true}
	if target != "" {
		terms = append(terms, "include:"+target)
		seen["include:"+target] = true
	}
	haveAll := false
	for _, record := range records {
		for term := range strings.FieldsSeq(record) {
			l := strings.TrimPrefix(lower(term), "+")
			switch {
			case strings.HasPrefix(l, "redirect="):
				return ""
			case strings.TrimLeft(l, "-~?") == "all":
				if !haveAll {
					all, haveAll = l, true
				}
			case !seen[l]:
				seen[l] = true
				terms = append(terms, term)
			}
		}
	}
	return strings.Join(append(terms, all), " ")
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
	switch len(records) {
	case 0:
		for _, v := range values {
			if l := lower(v); !strings.HasPrefix(l, "v=spf1") && strings.HasPrefix(unquoted(l), "v=spf1") {
				return opinion{told: true, code: CodeValueQuoted, found: []string{v}}
			}
		}
		return opinion{told: true, code: CodeSPFMissing, found: values}
	case 1:
		return r.evaluateSPF(ctx, rec, records[0], target)
	default:
		return opinion{told: true, code: CodeSPFMultiple, found: records, hint: mergeSPF(records, target)}
	}
}

func (r *run) evaluateSPF(ctx context.Context, rec Record, record, target string) opinion {
	op := opinion{told: true, found: []string{record}}
	if target == "" {
		op.match = strings.Join(strings.Fields(lower(record)), " ") == strings.Join(strings.Fields(lower(rec.Value)), " ")
		op.code = CodeValueMismatch
		if op.match {
			op.code = CodeMatch
		}
		return op
	}
	p := &spfProbe{lookups: r.first, apex: rec.Name.s, record: record, target: target, addr: probeAddress()}
	result, err := p.check(ctx, true)
	named := refersTo(record, target)
	op.hint = withInclude(record, target)
	dnsErr, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case result == spf.Pass && p.asked:
		op.match, op.code, op.hint = true, CodeMatch, ""
		// Our part works; the rest of the record is worth a warning.
		if _, err := p.check(ctx, false); errors.Is(err, spf.ErrLookupLimitReached) {
			op.hint = "needs more than 10 DNS look-ups as a whole"
		} else if errors.Is(err, spf.ErrVoidLookupLimitReached) {
			op.hint = "has more than 2 look-ups that find nothing"
		}
		if t := r.first(ctx, question{target, dns.TypeTXT}); t.told() && len(spfRecords(t.values())) == 0 {
			op.code = CodeTargetMissing
		}
	case result == spf.TempError:
		op.told, op.code = false, CodeSERVFAIL
		if isDNS && dnsErr.IsTimeout {
			op.code = CodeTimeout
		}
	case result == spf.PermError && !named && (errors.Is(err, spf.ErrLookupLimitReached) || errors.Is(err, spf.ErrVoidLookupLimitReached)):
		op.code = CodeSPFIncludeMissing // put in front, ours comes before the limit
	case result == spf.PermError:
		op.code = CodeSPFSyntax
		switch {
		case errors.Is(err, spf.ErrLookupLimitReached), errors.Is(err, spf.ErrTooManyMXRecords):
			op.code = CodeSPFTooManyLookups
		case errors.Is(err, spf.ErrVoidLookupLimitReached):
			op.code = CodeSPFVoidLookups
		case errors.Is(err, spf.ErrNoResult), errors.Is(err, spf.ErrMultipleRecords), isDNS:
			op.code, op.hint = CodeSPFIncludeBroken, p.last
		default:
			op.hint = err.Error()
		}
	case p.asked && named:
		op.code, op.hint = CodeValueMismatch, mergeSPF([]string{strings.NewReplacer("-include:"+target, "", "~include:"+target, "", "?include:"+target, "").Replace(lower(record))}, target)
	case named:
		op.code, op.hint = CodeSPFIncludeUnreachable, mergeSPF([]string{record}, target)
	default:
		op.code = CodeSPFIncludeMissing
	}
	return op
}

// probeAddress is random in the discard-only block (RFC 6666): no record lists it by
// accident, so only the answer that we put behind our target can.
func probeAddress() net.IP {
	ip := net.IP{0: 0x01, 15: 0}
	rand.Read(ip[8:])
	return ip
}

// spfProbe answers an evaluation: the owner's record as it was seen, our target as if it
// listed the probe address, all else from the DNS.
type spfProbe struct {
	lookups
	apex, record, target string
	addr                 net.IP
	authorise            bool
	asked                bool   // the evaluation reached our target
	last                 string // the policy that was asked for last: the broken one after an error
}

// ptrName is what the probe address resolves to: mail servers have a name, and a void
// look-up for the lack of one would be counted against the owner.
const ptrName = "probe.invalid."

func (p *spfProbe) check(ctx context.Context, authorise bool) (spf.Result, error) {
	p.authorise, p.asked = authorise, false
	return spf.CheckHostWithSender(p.addr, p.apex, "postmaster@"+p.apex, spf.WithContext(ctx), spf.WithResolver(p))
}

func (p *spfProbe) LookupTXT(ctx context.Context, name string) ([]string, error) {
	p.last = bare(name)
	switch p.last {
	case p.target:
		p.asked = true
		if p.authorise {
			return []string{"v=spf1 ip6:" + p.addr.String() + " -all"}, nil
		}
		return []string{"v=spf1 -all"}, nil
	case p.apex:
		return []string{p.record}, nil
	}
	return p.lookups.LookupTXT(ctx, name)
}

func (p *spfProbe) LookupAddr(context.Context, string) ([]string, error) {
	return []string{ptrName}, nil
}

func (p *spfProbe) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	if host == ptrName {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return p.lookups.LookupIPAddr(ctx, host)
}
