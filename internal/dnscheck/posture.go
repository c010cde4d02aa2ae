package dnscheck

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// asker is how questions about a domain are asked that belong to no record of ours: each
// once, within the limits of a check.
func (c *Checker) asker(domain Name) lookups { return c.newRun(domain).first }

// Posture is how a domain is set up for mail: what any receiver can see of it.
type Posture struct {
	Domain  Name         `json:"domain"`
	SPF     SPFReport    `json:"spf"`
	DKIM    []DKIMReport `json:"dkim"` // never nil; one for each signature of the message
	DMARC   DMARCReport  `json:"dmarc"`
	MX      MXReport     `json:"mx"`
	Verdict Verdict      `json:"verdict"`
}

// Report is what all reports of a posture have.
type Report struct {
	Name    Name    `json:"name"`
	Outcome Outcome `json:"outcome"`
	Code    Code    `json:"code"`
	// Observed is never nil; the values that count, in the form of Record.Expected.
	Observed []string `json:"observed"`
	// Fix is one sentence that says what to do first; empty when there is nothing to do.
	Fix string `json:"fix"`
	// Also says what else there is to do, a sentence each; never nil.
	Also []string `json:"also"`
	// Notes say what is weak, ignored or worth knowing; never nil.
	Notes []string `json:"notes"`
}

// SPFReport is the arithmetic of an SPF record.
type SPFReport struct {
	Report
	Lookups int `json:"lookups"` // of 10, in the worst case
	Voids   int `json:"voids"`   // of 2, in the worst case
	// Endless marks a record that includes itself, and one too long to count to its end.
	Endless bool     `json:"endless"`
	Tree    *SPFNode `json:"tree,omitzero"`
	// Proposal is a record to publish instead; nil where there is nothing better.
	Proposal *SPFProposal `json:"proposal,omitzero"`
}

// SPFProposal is a record that keeps all senders and adds one.
type SPFProposal struct {
	Value   string   `json:"value"`
	Strings []string `json:"strings"` // the value as a TXT record holds it
	Lookups int      `json:"lookups"`
	Voids   int      `json:"voids"`
	// Fits tells whether it stays within the limits.
	Fits bool `json:"fits"`
}

// DKIMReport is the state of one key.
type DKIMReport struct {
	Report
	Key *DKIMKey `json:"key,omitzero"` // nil when there is none that can be read
}

// DMARCReport is the policy that holds for a domain.
type DMARCReport struct {
	Report
	// At is where the policy was found: Name, or above it.
	At     Name         `json:"at,omitzero"`
	Policy *DMARCPolicy `json:"policy,omitzero"`
	// Disposition is what the policy asks for in mail from this domain.
	Disposition Disposition `json:"disposition,omitzero"`
}

// MXReport is where mail for the domain goes. A domain need not receive mail.
type MXReport struct{ Report }

// Posture looks at a domain and judges the message m that is sent from it. It never fails:
// what could not be learnt is Unknown.
func (c *Checker) Posture(ctx context.Context, m Message) Posture {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if m.MailFrom.IsZero() {
		m.MailFrom = m.From
	}
	book := newNotebook(c.asker(m.From))
	p := Posture{Domain: m.From, DKIM: make([]DKIMReport, len(m.Signatures))}
	var wg sync.WaitGroup
	wg.Go(func() { p.SPF = reportSPF(ctx, book.ask, m.MailFrom, m.Include) })
	wg.Go(func() { p.DMARC = reportDMARC(ctx, book.ask, m.From) })
	wg.Go(func() { p.MX = reportMX(ctx, book.ask, m.From) })
	for i, s := range m.Signatures {
		wg.Go(func() { p.DKIM[i] = reportDKIM(ctx, book.ask, s) })
	}
	wg.Wait()
	if m.MailFrom != m.From {
		p.SPF.note("the reverse-path is at %s, so the SPF record of %s does not matter for this mail.", m.MailFrom, m.From)
	}
	p.Verdict = judgeAll(ctx, book.ask, m)
	return p
}

// Outcomes returns the outcomes of all reports of a posture.
func (p Posture) Outcomes() []Outcome {
	list := []Outcome{p.SPF.Outcome, p.DMARC.Outcome, p.MX.Outcome}
	for _, d := range p.DKIM {
		list = append(list, d.Outcome)
	}
	return list
}

func newReport(name Name) Report {
	return Report{Name: name, Outcome: Match, Code: CodeMatch, Observed: []string{}, Also: []string{}, Notes: []string{}}
}

// Todo returns all that there is to do, what comes first in front.
func (r Report) Todo() []string {
	if r.Fix == "" {
		return nil
	}
	return append([]string{r.Fix}, r.Also...)
}

// is sets the only finding.
func (r *Report) is(code Code, format string, args ...any) {
	r.Code, r.Outcome = code, code.Outcome()
	if r.Outcome == "" {
		r.Outcome = Mismatch // a key that is the owner's own
	}
	r.Fix, r.Also = "", []string{}
	if format != "" {
		r.Fix = upper(fmt.Sprintf(format, args...))
	}
}

// add sets a finding beside others: the first decides, but what is wrong comes before what could
// not be told.
func (r *Report) add(code Code, format string, args ...any) {
	if r.Outcome != Match && (r.Outcome != Unknown || code.Outcome() == Unknown) {
		r.also(upper(fmt.Sprintf(format, args...)))
		return
	}
	untold := r.Todo()
	r.is(code, format, args...)
	for _, fix := range untold {
		r.also(fix)
	}
}

// maxSentences bounds what is said of one subject: a record of 64 KiB can have thousands of faults,
// and whoever mends the first sees the next.
const maxSentences = 20

func (r *Report) also(fix string) {
	if fix != r.Fix && len(r.Also) < maxSentences && !slices.Contains(r.Also, fix) {
		r.Also = append(r.Also, fix)
	}
}

func (r *Report) note(format string, args ...any) {
	if n := upper(fmt.Sprintf(format, args...)); len(r.Notes) < maxSentences && !slices.Contains(r.Notes, n) {
		r.Notes = append(r.Notes, n)
	}
}

// silent sets what an answer that tells nothing means.
func (r *Report) silent(a answer) {
	if a.result == SawLoop {
		r.is(CodeCNAMELoop, "the CNAME at %s leads in a circle: correct it, or remove it.", r.Name)
		return
	}
	r.is(a.silenceCode(), "there is no answer for %s%s: ask again later, and have its name servers looked at if that does not help.", r.Name, a.from())
}

// nowhere says what to do about a name that does not exist.
func nowhere(domain Name) string {
	if domain == domain.Organizational() {
		return fmt.Sprintf("%s does not exist in the DNS: correct the name, or have it delegated.", domain)
	}
	return fmt.Sprintf("%s does not exist in the DNS: correct the name, or publish its records there.", domain)
}

func reportDMARC(ctx context.Context, ask lookups, domain Name) DMARCReport {
	name := domain.Child("_dmarc")
	r := DMARCReport{Report: newReport(name)}
	if name.IsZero() {
		r.Name = domain
		r.is(CodeDMARCMissing, "%s is too long to have a policy of its own.", domain)
		return r
	}
	policy, v := findPolicy(ctx, ask, domain)
	for _, p := range dmarcPolicies(ask(ctx, question{cmp.Or(v.PolicyAt, name).s, dns.TypeTXT}).values()) {
		r.Observed = append(r.Observed, shown(p))
	}
	if v.Result == "" {
		r.At, r.Policy, r.Disposition = v.PolicyAt, &policy, v.Policy
		r.remark(ctx, ask, domain)
	} else {
		r.lacking(ctx, ask, domain, v)
	}
	return r
}

// remark notes what is ignored, weak or unwise in the policy that holds for a domain.
func (r *DMARCReport) remark(ctx context.Context, ask lookups, domain Name) {
	for _, n := range r.Policy.Notes {
		r.note("%s.", n)
	}
	if r.At != r.Name {
		if _, value, ok := meantForDMARC(ask(ctx, question{r.Name.s, dns.TypeTXT}).values()); ok {
			r.note(`what is at %s is no policy for receivers (%s): if it shall hold, let it begin with "v=DMARC1; p=", without quotes around it.`, r.Name, quote(value))
		}
		r.note("the policy is inherited from %s.", r.At)
	}
	if r.Disposition == DispositionNone {
		tag := "p"
		if r.Policy.Policy != DispositionNone {
			tag = "sp"
		}
		r.note("%s=none only watches: forged mail is delivered as before.", tag)
	}
	if r.At == r.Name && r.Policy.Subdomain.milderThan(r.Policy.Policy) {
		r.note("sp=%s asks for less where mail comes from names below %s, which forgers can use instead.", r.Policy.Subdomain, domain)
	}
	if len(r.Policy.Aggregate) == 0 {
		r.note("without rua nobody sends reports, so failures stay unseen.")
	}
	for _, uri := range r.Policy.Aggregate {
		if _, host, ok := cutLast(uri, "@"); ok {
			if n, err := ParseName(host); err == nil && n.Organizational() != domain.Organizational() {
				r.external(ctx, ask, r.At, n)
			}
		}
	}
}

// gently goes with the advice to make a policy hold that did not: what an owner does not know to fail
// must not be refused all at once.
const gently = "with p=none until reports show that all mail of yours passes"

// lacking says what to do where no policy holds.
func (r *DMARCReport) lacking(ctx context.Context, ask lookups, domain Name, v DMARCVerdict) {
	values := ask(ctx, question{r.Name.s, dns.TypeTXT}).values()
	switch v.Code {
	case CodeDMARCMissing:
		if code, value, ok := meantForDMARC(values); ok {
			r.Observed = []string{shown(value)}
			r.is(code, `what is at %s is no policy for receivers: change %s to begin with "v=DMARC1; p=", without quotes around it, and %s.`, r.Name, quote(value), gently)
			return
		}
		if len(values) == 0 && ask(ctx, question{domain.s, dns.TypeTXT}).result == SawNXDOMAIN {
			r.is(v.Code, "%s", nowhere(domain))
			return
		}
		r.is(v.Code, "%s: publish at %s the TXT record %s, and make p stricter once reports show that all mail of yours passes.", v.Problem, r.Name, firstPolicy(ctx, ask, domain))
	case CodeDMARCMultiple:
		r.is(v.Code, "%s: keep one, %s.", v.Problem, gently)
	case CodeDMARCSyntax:
		r.is(v.Code, "%s: correct it, %s.", v.Problem, gently)
	default:
		r.is(v.Code, "%s: ask again later.", v.Problem)
	}
}

// firstPolicy only watches, since nobody knows yet what of the owner's mail fails. Reports go where
// mail is received.
func firstPolicy(ctx context.Context, ask lookups, domain Name) string {
	for _, holder := range []Name{domain, domain.Organizational()} {
		if receives(ctx, ask, holder) {
			return strconv.Quote("v=DMARC1; p=none; rua=mailto:postmaster@" + holder.s)
		}
	}
	return `"v=DMARC1; p=none; rua=mailto:" with a mailbox of yours behind the colon`
}

// external notes reports that their receiver has not agreed to (RFC 7489, section 7.1).
func (r *DMARCReport) external(ctx context.Context, ask lookups, at, host Name) {
	consent := host.Child(strings.TrimPrefix(at.s, "_dmarc.") + "._report._dmarc")
	if consent.IsZero() {
		return
	}
	a := ask(ctx, question{consent.s, dns.TypeTXT})
	if a.told() && len(dmarcPolicies(a.values())) == 0 {
		r.note("reports to %s are not sent, because it does not agree to them with a TXT record at %s.", host, consent)
	}
}

func reportDKIM(ctx context.Context, ask lookups, s Signature) DKIMReport {
	key := s.Key()
	r := DKIMReport{Report: newReport(key)}
	if key.IsZero() {
		r.Name = s.Domain
		r.is(CodeNXDOMAIN, "the name of the key is too long.")
		return r
	}
	a := ask(ctx, question{key.s, dns.TypeTXT})
	switch {
	case !a.told() || a.result == SawLoop:
		r.silent(a)
		return r
	case a.result == SawNXDOMAIN:
		r.is(CodeNXDOMAIN, "nothing exists at %s: publish the record that whoever signs asks for there, or correct the selector.", key)
	case a.result == SawNODATA:
		r.is(CodeNODATA, "%s exists and has no key: publish the record that whoever signs asks for there.", key)
	}
	if a.result != SawAnswer {
		if len(a.chain) > 0 {
			r.Observed = targets(a.chain)
			r.is(r.Code, "%s leads to %s, where there is no key: have it published there.", key, absolute(a.chain[len(a.chain)-1]))
		}
		return r
	}
	for _, v := range a.values() {
		r.Observed = append(r.Observed, shown(v))
	}
	k, code, problem := dkimCode(a.values())
	switch code {
	case CodeMatch:
		r.Key = &k
		for _, n := range k.Notes {
			r.note("%s.", n)
		}
	case CodeDKIMKeyRevoked:
		r.Key = &k
		r.is(code, "the key at %s is revoked (empty p=): sign with another selector, and leave this one as it is.", key)
	case CodeDKIMMultipleKeys:
		r.is(code, "%s has more than one text where a single key belongs, and verifiers may take any: keep the key that is signed with.", key)
	default:
		if k.Bits > 0 && k.Bits < minRSABits {
			r.is(code, "no verifier can use what is at %s (%s): make a key of %d bits, publish it at another selector and sign with that.", key, problem, goodRSABits)
			return r
		}
		r.is(code, "no verifier can use what is at %s (%s): publish the key again.", key, problem)
	}
	return r
}

func reportMX(ctx context.Context, ask lookups, domain Name) MXReport {
	r := MXReport{Report: newReport(domain)}
	a := ask(ctx, question{domain.s, dns.TypeMX})
	if !a.told() || a.result == SawLoop {
		r.silent(a)
		return r
	}
	if len(a.records) == 0 {
		switch _, err := ask.LookupNetIP(ctx, "ip", domain.s); {
		case err == nil:
			r.note("%s has no MX, so mail goes to its address (RFC 5321, section 5.1).", domain)
		case notFound(err):
			r.note("%s has neither MX nor address, so it receives no mail, no bounces and no replies.", domain)
		default:
			r.is(CodeTimeout, "%s has no MX, and there is no answer about its address: ask again later.", domain)
		}
		return r
	}
	for _, v := range a.values() {
		r.Observed = append(r.Observed, shown(v))
	}
	hosts := exchanges(a)
	var wg sync.WaitGroup
	for _, host := range hosts { // the answers are kept, so that slow ones are waited for together
		wg.Go(func() { ask.LookupNetIP(ctx, "ip", host) })
	}
	wg.Wait()
	var untold []string
	for _, host := range hosts {
		if told := r.exchange(ctx, ask, host, len(hosts)); !told {
			untold = append(untold, host)
		}
	}
	if len(untold) > 0 {
		r.add(CodeTimeout, "there is no answer about the address of %s, to which mail for %s goes: ask again later.", cut(strings.Join(untold, ", ")), domain)
	}
	return r
}

// exchanges returns the hosts of an answer, bare, each once and in the order in which they are tried.
func exchanges(a answer) []string {
	var hosts []string
	for _, value := range a.values() {
		_, host, _ := strings.Cut(value, " ")
		if host = bare(host); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// exchange looks at one of so many hosts. It is false where nothing is told of its addresses.
func (r *MXReport) exchange(ctx context.Context, ask lookups, host string, of int) (told bool) {
	if host == "" {
		r.note("the null MX says that %s receives no mail (RFC 7505).", r.Name)
		if of > 1 {
			r.add(CodeMXExtra, "%s has a null MX beside other exchanges: remove it if mail shall be received, and the others if not.", r.Name)
		}
		return true
	}
	if addr, err := netip.ParseAddr(strings.Trim(unescape(host), "[]")); err == nil {
		r.add(CodeNXDOMAIN, "the MX of %s has the address %s where a name belongs: give the host a name with that address, and put the name there.", r.Name, addr)
		return true
	}
	way := "correct its name, or give it an address"
	if of > 1 {
		way = "correct its name, give it an address, or remove it"
	}
	addrs, err := ask.LookupNetIP(ctx, "ip", host)
	a := ask(ctx, question{host, dns.TypeA})
	switch {
	case notFound(err) && len(a.chain) > 0:
		r.add(CodeNODATA, "the exchange %s of %s is a CNAME to %s, which has no address: %s.", cut(host), r.Name, cut(a.chain[len(a.chain)-1]), way)
	case notFound(err) && a.result == SawNODATA:
		r.add(CodeNODATA, "the exchange %s of %s has no address: %s.", cut(host), r.Name, way)
	case notFound(err):
		r.add(CodeNXDOMAIN, "the exchange %s of %s does not exist: %s.", cut(host), r.Name, way)
	case err != nil:
		return false
	case len(a.chain) > 0:
		r.note("the exchange %s is a CNAME to %s, which is not allowed (RFC 2181, section 10.3) and which some senders do not follow: let the MX name a host that has addresses of its own.", cut(host), cut(a.chain[len(a.chain)-1]))
	case !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !private(a) }):
		r.note("the exchange %s has no address that the Internet can reach (%s), so no mail gets there from outside.", cut(host), addrs[0])
	}
	return true
}
