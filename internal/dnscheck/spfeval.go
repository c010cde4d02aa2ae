package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// The limits of an evaluation (RFC 7208, section 4.6.4).
const (
	maxSPFLookups = 10 // terms that need the DNS
	maxSPFVoids   = 2  // of them, those that find nothing
	maxSPFNames   = 10 // exchanges of one mx, names of one ptr

	// maxSPFSurvey ends the count of a record that is far beyond the limit.
	maxSPFSurvey = 60
)

// below counts the look-ups that the policy of a name needs where it is first included.
func (n *SPFNode) below(name string) int {
	for _, t := range n.Terms {
		if lower(t.Name) == name && t.Record != "" {
			return t.Lookups - 1
		}
		if found := t.below(name); found > 0 {
			return found
		}
	}
	return 0
}

// SPFLookups is what an evaluation asks of the DNS. A [*Resolver] and a [*net.Resolver] have
// it. Names are in presentation form without trailing dot. What does not exist is a
// *net.DNSError with IsNotFound; any other error means that nothing was learnt.
type SPFLookups interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	// LookupNetIP asks for A ("ip4"), AAAA ("ip6") or both ("ip").
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// SPFQuery is what check_host() is asked (RFC 7208, section 4.1).
type SPFQuery struct {
	IP     netip.Addr // of the SMTP client
	Domain string     // whose policy is asked for
	Sender string     // MAIL FROM; postmaster at the HELO name if it was empty
	HELO   string
	// Receiver is who evaluates, for explanations; empty means "unknown".
	Receiver string
}

// SPFEvaluation is the answer of check_host(), and how it came about.
type SPFEvaluation struct {
	Result SPFResult `json:"result"`
	// Code says why the result is none, temperror or permerror; empty for all others.
	Code    Code   `json:"code,omitzero"`
	Problem string `json:"problem,omitzero"` // what is wrong, in words
	At      string `json:"at,omitzero"`      // whose record it is wrong in
	// Mechanism is the term that decided, as written; empty for a default.
	Mechanism string `json:"mechanism,omitzero"`
	// Explanation is the owner's text for a fail (section 6.2), most often empty.
	Explanation string   `json:"explanation,omitzero"`
	Lookups     int      `json:"lookups"` // used of 10
	Voids       int      `json:"voids"`   // used of 2
	Tree        *SPFNode `json:"tree"`
}

// SPFNode is the cost of one term, or of the record that an evaluation begins with.
type SPFNode struct {
	Term    string `json:"term,omitzero"`   // as written; empty for the first record
	Name    string `json:"name,omitzero"`   // that was asked for, macros expanded
	Record  string `json:"record,omitzero"` // the policy at Name, of an include, a redirect and the first
	Lookups int    `json:"lookups"`         // of this term and of all below it
	Voids   int    `json:"voids"`
	// Code and Problem say what is wrong with this term or the record behind it.
	Code    Code   `json:"code,omitzero"`
	Problem string `json:"problem,omitzero"`
	// Note says what makes no difference to the result, or only to some mail.
	Note  string     `json:"note,omitzero"`
	Terms []*SPFNode `json:"terms,omitempty"`

	// alone is the family of addresses that the name of an "a" has alone, "4" or "6", as far
	// as a survey saw: for clients of the other it is void.
	alone string
}

// EvaluateSPF is check_host() of RFC 7208, limits included. It asks the DNS for no more than
// the limits allow and ends with ctx.
func EvaluateSPF(ctx context.Context, dns SPFLookups, q SPFQuery) SPFEvaluation {
	return evaluateSPF(ctx, &spfEval{dns: dns, q: q})
}

func evaluateSPF(ctx context.Context, e *spfEval) SPFEvaluation {
	q := e.q
	e.ip = q.IP.Unmap().WithZone("")
	e.local, e.senderDomain = "postmaster", q.Domain
	if local, domain, ok := cutLast(q.Sender, "@"); ok {
		e.senderDomain = domain
		if local != "" {
			e.local = local
		}
	}
	root := &SPFNode{}
	ev := SPFEvaluation{Result: SPFNone, Tree: root}
	domain := strings.TrimSuffix(q.Domain, ".")
	if !spfName(domain) || !strings.Contains(domain, ".") || !e.ip.IsValid() {
		// Section 4.3: what cannot be a full domain has no policy.
		ev.Code, ev.Problem = CodeSPFMissing, fmt.Sprintf("%s is no full domain name", quote(q.Domain))
		return ev
	}
	ev.Result = e.record(ctx, domain, root)
	ev.Lookups, ev.Voids, ev.Mechanism = e.lookups, e.voids, e.decided
	root.Lookups, root.Voids = e.lookups, e.voids
	if e.problem != nil {
		ev.Code, ev.Problem, ev.At = e.problem.Code, e.problem.Problem, e.at
	}
	if ev.Result == SPFNone {
		ev.Code, ev.Problem = CodeSPFMissing, fmt.Sprintf("%s has no SPF record", safe(domain))
	}
	if ev.Result == SPFFail && e.exp != "" {
		ev.Explanation = e.explain(ctx)
	}
	return ev
}

// surveySPF counts what an evaluation costs that matches nothing: the most that mail from
// any host can cost. It goes on behind limits and faults, so that all of them are seen, and
// cannot follow names that depend on a message. A name counts as void when it has addresses
// of neither family.
func surveySPF(ctx context.Context, dns SPFLookups, domain string) (root *SPFNode, endless bool) {
	e := &spfEval{dns: dns, q: SPFQuery{Domain: domain}, survey: true, local: "postmaster", senderDomain: domain}
	root = &SPFNode{}
	e.record(ctx, domain, root)
	root.Lookups, root.Voids = e.lookups, e.voids
	return root, e.endless
}

// spfEval is one evaluation.
type spfEval struct {
	dns          SPFLookups
	q            SPFQuery
	ip           netip.Addr // never IPv4 mapped into IPv6; invalid in a survey
	local        string     // local part of the sender
	senderDomain string
	survey       bool
	// standIn marks a client and a sender that stand for others: nothing is asked for names
	// made of them, which match nothing and break nothing. A survey has neither.
	standIn bool

	lookups, voids int
	within         []string // names whose records are being read, from the outside in
	endless        bool     // a survey met a circle, or the end of its patience

	ptrDone bool
	ptr     []string // validated names of ip

	decided   string   // the term that matched
	problem   *SPFNode // where a temperror or permerror comes from
	at        string   // the name whose record it is in
	exp       string   // the explanation's domain-spec, of the record that gave the result
	expDomain string
}

// fail notes a problem at n. In a survey it ends the term, else the evaluation.
func (e *spfEval) fail(n *SPFNode, result SPFResult, code Code, format string, args ...any) SPFResult {
	n.Code, n.Problem = code, fmt.Sprintf(format, args...)
	if e.problem == nil {
		e.problem = n
		if len(e.within) > 0 {
			e.at = safe(e.within[len(e.within)-1])
		}
	}
	return result
}

// record evaluates the policy of a domain (RFC 7208, sections 4.4 to 4.7).
func (e *spfEval) record(ctx context.Context, domain string, n *SPFNode) SPFResult {
	n.Name = safe(domain)
	e.within = append(e.within, lower(domain))
	defer func() { e.within = e.within[:len(e.within)-1] }()
	values, err := e.dns.LookupTXT(ctx, presented(domain))
	if notFound(err) {
		return SPFNone
	}
	if err != nil {
		return e.silent(n, domain, "TXT", err)
	}
	records := spfRecords(values)
	switch len(records) {
	case 0:
		return SPFNone
	case 1:
	default:
		return e.fail(n, SPFPermerror, CodeSPFMultiple, "%s has %d SPF records", safe(domain), len(records))
	}
	n.Record = shown(records[0])
	r, err := ParseSPF(records[0])
	if err != nil {
		return e.fail(n, SPFPermerror, CodeSPFSyntax, "%s has a record that cannot be read: %v", safe(domain), err)
	}
	for i, t := range r.Terms {
		child := &SPFNode{Term: t.Text}
		n.Terms = append(n.Terms, child)
		matched, stop := e.term(ctx, domain, t, child)
		if stop != "" && !e.survey {
			return stop
		}
		if e.endless && e.lookups >= maxSPFSurvey || ctx.Err() != nil {
			return SPFTemperror
		}
		if !matched {
			continue
		}
		if e.survey {
			e.unreachable(n, r, i)
		}
		e.decided, e.exp, e.expDomain = t.Text, "", domain
		if r.Exp != nil {
			e.exp = r.Exp.Domain
		}
		return t.Qualifier
	}
	if r.Redirect == nil {
		e.decided = ""
		return SPFNeutral
	}
	child := &SPFNode{Term: r.Redirect.Text}
	n.Terms = append(n.Terms, child)
	return e.policy(ctx, domain, *r.Redirect, child)
}

// unreachable notes what stands behind an "all", term i of r.
func (e *spfEval) unreachable(n *SPFNode, r SPFRecord, i int) {
	behind := slices.Clone(r.Terms[i+1:])
	if r.Redirect != nil {
		behind = append(behind, *r.Redirect)
	}
	for _, t := range behind {
		n.Terms = append(n.Terms, &SPFNode{Term: t.Text, Note: "never looked at, because " + r.Terms[i].Text + " matches first"})
	}
}

// term evaluates one mechanism (section 5). stop is a temperror or permerror.
func (e *spfEval) term(ctx context.Context, domain string, t SPFTerm, n *SPFNode) (matched bool, stop SPFResult) {
	lookups, voids := e.lookups, e.voids
	defer func() { n.Lookups, n.Voids = e.lookups-lookups, e.voids-voids }()
	switch t.Kind {
	case "all":
		return true, ""
	case "ip4", "ip6":
		return t.Prefix.Contains(e.ip), ""
	case "include":
		switch result := e.policy(ctx, domain, t, n); result {
		case SPFTemperror, SPFPermerror:
			return false, result
		default:
			return result == SPFPass && !e.survey, ""
		}
	}
	name, stop := e.target(ctx, domain, t, n)
	if stop != "" || name == "" {
		return false, stop
	}
	switch t.Kind {
	case "a":
		addrs, stop := e.addresses(ctx, n, e.family(), name)
		return e.contains(t, addrs), stop
	case "exists": // always A, also for a client on IPv6 (section 5.7)
		addrs, stop := e.addresses(ctx, n, "ip4", name)
		return len(addrs) > 0 && !e.survey, stop
	case "mx":
		return e.mx(ctx, t, n, name)
	default: // ptr
		return e.matchesPTR(ctx, n, name)
	}
}

// target counts a look-up and returns the name that a term asks for: empty when none can be
// asked for, because it is no name or depends on a message that a survey does not have.
func (e *spfEval) target(ctx context.Context, domain string, t SPFTerm, n *SPFNode) (name string, stop SPFResult) {
	if stop := e.count(n); stop != "" {
		return "", stop
	}
	name = domain
	if t.Domain != "" {
		if e.survey || e.standIn {
			if letters := messageMacros(t.Domain); letters != "" {
				if strings.Contains(letters, "p") {
					e.countPTR(n)
				}
				if e.problem != nil && !e.survey {
					return "", SPFPermerror
				}
				n.Note = "its name depends on each message, so what is behind it was not counted"
				return "", ""
			}
		}
		expanded, err := e.expand(ctx, t.Domain, domain, false)
		if err != nil {
			return "", e.fail(n, SPFTemperror, CodeTimeout, "no time was left for %s", quote(t.Text))
		}
		if e.problem != nil && !e.survey { // a limit, reached by the macro p
			return "", SPFPermerror
		}
		name = fitName(expanded)
	}
	n.Name = safe(name)
	if !spfName(name) {
		// Undefined by section 4.8; most evaluators take it for a name that does not exist.
		n.Note = "this is no name that can be asked for"
		return "", ""
	}
	return name, ""
}

// policy evaluates the record that an include or redirect names (sections 5.2 and 6.1).
func (e *spfEval) policy(ctx context.Context, domain string, t SPFTerm, n *SPFNode) SPFResult {
	lookups, voids := e.lookups, e.voids
	defer func() { n.Lookups, n.Voids = e.lookups-lookups, e.voids-voids }()
	name, stop := e.target(ctx, domain, t, n)
	switch {
	case stop != "":
		return stop
	case name == "" && n.Name == "":
		return SPFNeutral // nobody can know the name
	case name == "":
		return e.fail(n, SPFPermerror, CodeSPFIncludeBroken, "%q is no name that can be asked for", n.Name)
	case e.survey && slices.Contains(e.within, lower(name)):
		e.endless = true
		return e.fail(n, SPFPermerror, CodeSPFTooManyLookups, "it leads back to %s, in a circle without end", safe(name))
	}
	exp, expDomain := e.exp, e.expDomain
	decided := e.decided
	result := e.record(ctx, name, n)
	if t.Kind == "include" {
		// The explanation of an included record is not the owner's (section 6.2), nor is
		// the term that matched in it.
		e.exp, e.expDomain, e.decided = exp, expDomain, decided
	}
	if result == SPFNone {
		return e.fail(n, SPFPermerror, CodeSPFIncludeBroken, "%s has no SPF record", safe(name))
	}
	return result
}

// mx matches the addresses of a name's exchanges (section 5.4).
func (e *spfEval) mx(ctx context.Context, t SPFTerm, n *SPFNode, name string) (bool, SPFResult) {
	mxs, err := e.dns.LookupMX(ctx, presented(name))
	switch {
	case notFound(err) || err == nil && len(mxs) == 0:
		return false, e.void(n, name)
	case err != nil:
		return false, e.silent(n, name, "MX", err)
	case len(mxs) > maxSPFNames:
		return false, e.fail(n, SPFPermerror, CodeSPFTooManyLookups, "%s has %d exchanges, at most %d are possible in SPF", safe(name), len(mxs), maxSPFNames)
	case e.survey:
		return false, "" // the exchanges' addresses are not counted
	}
	for _, mx := range mxs {
		host := strings.TrimSuffix(mx.Host, ".")
		if host == "" {
			continue // a null MX, RFC 7505
		}
		addrs, err := e.dns.LookupNetIP(ctx, e.family(), host)
		if err != nil && !notFound(err) {
			return false, e.silent(n, host, "address", err)
		}
		if e.contains(t, addrs) {
			return true, ""
		}
	}
	return false, ""
}

// matchesPTR looks for a validated name of the client below name (section 5.5).
func (e *spfEval) matchesPTR(ctx context.Context, n *SPFNode, name string) (bool, SPFResult) {
	if e.survey {
		n.Note = "slow and unreliable: RFC 7208 says that ptr should not be used"
		return false, ""
	}
	known := e.ptrDone
	names := e.validated(ctx)
	if !known && e.voids > maxSPFVoids {
		return false, e.fail(n, SPFPermerror, CodeSPFVoidLookups, "more than %d look-ups find nothing", maxSPFVoids)
	}
	for _, v := range names {
		if v == lower(name) || strings.HasSuffix(v, "."+lower(name)) {
			return true, ""
		}
	}
	return false, ""
}

// validated returns the names of the client that lead back to it, bare, at most 10. Errors
// only make names fewer.
func (e *spfEval) validated(ctx context.Context) []string {
	if e.ptrDone {
		return e.ptr
	}
	e.ptrDone = true
	names, err := e.dns.LookupAddr(ctx, e.ip.String())
	if notFound(err) || err == nil && len(names) == 0 {
		e.voids++
	}
	for _, name := range names[:min(len(names), maxSPFNames)] {
		name = bare(name)
		addrs, err := e.dns.LookupNetIP(ctx, e.family(), name)
		if err == nil && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == e.ip }) {
			e.ptr = append(e.ptr, name)
		}
	}
	return e.ptr
}

// validatedName is the macro p (section 7.3): the domain itself, a name below it, any, or
// "unknown". Its question counts like a term's, once for all uses.
func (e *spfEval) validatedName(ctx context.Context, domain string) string {
	if !e.ptrDone && e.exp == "" {
		e.countPTR(nil)
	}
	names := e.validated(ctx)
	domain = lower(domain)
	if slices.Contains(names, domain) {
		return domain
	}
	for _, name := range names {
		if strings.HasSuffix(name, "."+domain) {
			return name
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return "unknown"
}

func (e *spfEval) countPTR(n *SPFNode) {
	if e.ptrDone {
		return
	}
	e.ptrDone = e.survey || e.standIn // who has no names of its own
	if n == nil {
		n = &SPFNode{}
	}
	e.count(n)
}

// explain gets the text of an exp modifier (section 6.2); whatever goes wrong, there is none.
func (e *spfEval) explain(ctx context.Context) string {
	name, err := e.expand(ctx, e.exp, e.expDomain, false)
	if err != nil || !spfName(fitName(name)) {
		return ""
	}
	values, err := e.dns.LookupTXT(ctx, presented(fitName(name)))
	if err != nil || len(values) != 1 || !isASCII(values[0]) {
		return ""
	}
	text, err := e.expand(ctx, values[0], e.expDomain, true)
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// addresses asks for A, AAAA or both.
func (e *spfEval) addresses(ctx context.Context, n *SPFNode, network, name string) ([]netip.Addr, SPFResult) {
	addrs, err := e.dns.LookupNetIP(ctx, network, presented(name))
	switch {
	case notFound(err) || err == nil && len(addrs) == 0:
		return nil, e.void(n, name)
	case err != nil:
		return nil, e.silent(n, name, "address", err)
	}
	if network == "ip" {
		v4 := slices.ContainsFunc(addrs, netip.Addr.Is4)
		v6 := slices.ContainsFunc(addrs, netip.Addr.Is6)
		switch {
		case !v6:
			n.alone = "4"
		case !v4:
			n.alone = "6"
		}
	}
	return addrs, ""
}

// family is the type of address that the client has (section 5.3).
func (e *spfEval) family() string {
	switch {
	case e.survey:
		return "ip"
	case e.ip.Is4():
		return "ip4"
	}
	return "ip6"
}

func (e *spfEval) contains(t SPFTerm, addrs []netip.Addr) bool {
	for _, a := range addrs {
		a = a.Unmap()
		bits := t.Bits6
		if a.Is4() {
			bits = t.Bits4
		}
		if p, err := a.Prefix(bits); err == nil && p.Contains(e.ip) {
			return true
		}
	}
	return false
}

// count uses up one look-up.
func (e *spfEval) count(n *SPFNode) SPFResult {
	e.lookups++
	switch {
	case e.survey && e.lookups >= maxSPFSurvey:
		e.endless = true
		return SPFPermerror
	case !e.survey && e.lookups > maxSPFLookups:
		return e.fail(n, SPFPermerror, CodeSPFTooManyLookups, "more than %d DNS look-ups are needed", maxSPFLookups)
	}
	return ""
}

// void notes a look-up that found nothing: a term counts once, however many questions it
// asked (section 4.6.4 speaks of terms).
func (e *spfEval) void(n *SPFNode, name string) SPFResult {
	e.voids++
	n.Note = "nothing is found there"
	if !e.survey && e.voids > maxSPFVoids {
		return e.fail(n, SPFPermerror, CodeSPFVoidLookups, "more than %d look-ups find nothing, the last one %s", maxSPFVoids, safe(name))
	}
	return ""
}

// silent turns an error of the DNS into a temperror.
func (e *spfEval) silent(n *SPFNode, name, what string, err error) SPFResult {
	code := CodeSERVFAIL
	if d, ok := errors.AsType[*net.DNSError](err); ok && d.IsTimeout || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		code = CodeTimeout
	}
	return e.fail(n, SPFTemperror, code, "the %s look-up of %s gets no answer", what, safe(name))
}

func notFound(err error) bool {
	d, ok := errors.AsType[*net.DNSError](err)
	return ok && d.IsNotFound
}

// messageMacros returns the letters of a domain-spec whose values differ from message to
// message, so that a survey cannot know them.
func messageMacros(spec string) string {
	parts, err := parseMacros(spec, false)
	if err != nil {
		return ""
	}
	var letters []byte
	for _, p := range parts {
		if p.letter != 0 && strings.IndexByte("slipvh", p.letter) >= 0 {
			letters = append(letters, p.letter)
		}
	}
	return string(letters)
}

// fitName drops the trailing dot, and labels from the left until the name can be asked for
// (section 7.3).
func fitName(name string) string {
	name = strings.TrimSuffix(name, ".")
	for len(name) > maxName {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return name
		}
		name = rest
	}
	return name
}

// spfName tells whether a question can be made of a name: labels of 1 to 63 octets.
func spfName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return true
}

// presented escapes what zone text gives a meaning to (RFC 1035, section 5.1), since macros
// can put any character into a name.
func presented(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case strings.IndexByte(` @";()\`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x21 || c > 0x7e:
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
