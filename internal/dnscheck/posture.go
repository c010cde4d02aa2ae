package dnscheck

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
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
	// Fix is one sentence that says what to do; empty when there is nothing to do.
	Fix string `json:"fix"`
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
	return Report{Name: name, Outcome: Match, Code: CodeMatch, Observed: []string{}, Notes: []string{}}
}

// is sets a finding that has one outcome.
func (r *Report) is(code Code, format string, args ...any) {
	r.Code, r.Outcome = code, code.Outcome()
	if r.Outcome == "" {
		r.Outcome = Mismatch // a key that is the owner's own
	}
	r.Fix = ""
	if format != "" {
		r.Fix = upper(fmt.Sprintf(format, args...))
	}
}

func (r *Report) note(format string, args ...any) {
	if n := upper(fmt.Sprintf(format, args...)); !slices.Contains(r.Notes, n) {
		r.Notes = append(r.Notes, n)
	}
}

// silent sets what an answer that tells nothing means.
func (r *Report) silent(a answer) {
	if a.result == SawLoop {
		r.is(CodeCNAMELoop, "the CNAME at %s leads in a circle: remove it.", r.Name)
		return
	}
	r.is(a.silenceCode(), "there is no answer for %s%s: ask again later, and have its name servers looked at if that does not help.", r.Name, a.from())
}

// nowhere is what to do about a domain at which nothing can be published.
const nowhere = "%s does not exist in the DNS: correct the name, or have it delegated."

// reportSPF reads the policy of a domain. With include it also wants the senders that are
// listed there to be authorised.
func reportSPF(ctx context.Context, ask lookups, domain, include Name) (r SPFReport) {
	r.Report = newReport(domain)
	a := ask(ctx, question{domain.s, dns.TypeTXT})
	if !a.told() || a.result == SawLoop {
		r.silent(a)
		return r
	}
	values := a.values()
	records := spfRecords(values)
	for _, v := range records {
		r.Observed = append(r.Observed, shown(v))
	}
	// A record with an include that cannot be used would make all mail fail: none is proposed.
	unfit := unfitInclude(ctx, ask, domain, include)
	propose := func(records []string) {
		target := include.s
		if unfit != "" {
			target = ""
			r.note("%s was left out of the proposal: %s.", include, unfit)
		}
		p := &SPFProposal{Value: mergeSPF(records, target)}
		p.Strings = SplitTXT(p.Value)
		tree, endless := surveySPF(ctx, &spfProbe{lookups: ask, apex: domain.s, record: p.Value}, domain.s)
		p.Lookups, p.Voids = tree.Lookups, tree.Voids
		walkSPF(tree, func(n *SPFNode) {
			if n.Code != "" && n.Code.Outcome() == Unknown {
				r.note("what the proposal costs is not certain: %s.", n.Problem)
			}
		})
		for _, record := range records {
			if parsed, err := ParseSPF(record); err == nil && parsed.all() >= 0 && parsed.all() < len(parsed.Terms)-1 {
				r.note("the proposal brings what stands behind %s back to life: leave out what shall not send.", quote(parsed.Terms[parsed.all()].Text))
			}
		}
		for _, record := range records[:len(records)-1] {
			parsed, err := ParseSPF(record)
			if err != nil {
				continue
			}
			for _, t := range parsed.Terms {
				if t.Qualifier != SPFPass && t.Kind != "all" {
					r.note("in the proposal %s is in front of senders of another record: move it behind those that it shall not stop.", quote(t.Text))
				}
			}
		}
		p.Fits = !endless && p.Lookups <= maxSPFLookups && p.Voids <= maxSPFVoids
		switch {
		case p.Fits:
		case endless:
			r.note("the proposal includes what leads in a circle, or needs far more than %d look-ups: take out who no longer sends, dearest first: %s.", maxSPFLookups, dearest(tree))
		default:
			r.note("the proposal needs %d of %d DNS look-ups and has %d of %d that find nothing: take out who no longer sends, dearest first: %s.",
				p.Lookups, maxSPFLookups, p.Voids, maxSPFVoids, dearest(tree))
		}
		r.Proposal = p
	}
	switch len(records) {
	case 0:
		quoted := slices.IndexFunc(values, func(v string) bool {
			return !strings.HasPrefix(lower(v), spfVersion) && strings.HasPrefix(unquoted(lower(v)), spfVersion)
		})
		switch {
		case quoted >= 0:
			r.Observed = []string{shown(values[quoted])}
			r.is(CodeValueQuoted, "the SPF record at %s has quotes or blanks in front: change %s so that it begins with %s.", domain, quote(values[quoted]), spfVersion)
		case a.result == SawNXDOMAIN:
			r.is(CodeSPFMissing, nowhere, domain)
		case include.IsZero():
			r.is(CodeSPFMissing, `%s has no SPF record: publish a TXT record there that lists who sends its mail, "v=spf1 -all" if nobody does.`, domain)
		case unfit != "":
			r.is(CodeSPFMissing, `%s has no SPF record, and %s cannot be included, because %s: correct that name first, or have the record there corrected.`, domain, include, unfit)
		default:
			propose([]string{spfVersion + " " + defaultAll})
			r.is(CodeSPFMissing, "%s has no SPF record: publish the TXT record %s there.", domain, quoteOurs(r.Proposal.Value))
		}
		return r
	case 1:
	default:
		propose(records)
		r.is(CodeSPFMultiple, "%s has %d SPF records, and more than one is an error for every receiver: replace them by %s%s.", domain, len(records), quoteOurs(r.Proposal.Value), leftOut(records))
		return r
	}
	r.Tree, r.Endless = surveySPF(ctx, ask, domain.s)
	r.Lookups, r.Voids = r.Tree.Lookups, r.Tree.Voids
	r.judge(domain)
	r.remark(records[0])
	defer func() { r.strangers(ctx, ask, domain) }()
	if include.IsZero() || r.Code == CodeSPFSyntax && r.Tree.Code == CodeSPFSyntax {
		return r
	}
	rec := Record{Purpose: SPF, Name: domain, Type: TXT, Value: spfVersion + " include:" + include.s + " " + defaultAll}
	op := judgeSPF(ctx, ask, rec, records[0], include.s)
	switch {
	case !op.told:
		r.is(op.code, "there is no answer for a name that the SPF record of %s leads to before %s: ask again later.", domain, include)
	case op.match:
		// What is wrong behind us does not concern us.
		if r.Fix != "" {
			r.note("%s", r.Fix)
		}
		r.is(op.code, "")
		if unfit != "" {
			r.is(CodeSPFIncludeBroken, "the SPF record at %s includes %s, which makes other mail fail, because %s: correct the name, or have the record there corrected.", domain, include, unfit)
		}
	case unfit != "":
		r.is(CodeSPFIncludeBroken, "the SPF record at %s does not authorise %s and must not include it, because %s: correct that name first, or have the record there corrected.", domain, include, unfit)
	default:
		propose(records)
		op.hint = r.hint(op, records[0], include)
		r.is(op.code, "%s.", reason(rec, domain, op, ""))
	}
	return r
}

// unfitInclude says why a record of a domain that includes a name would be an error for every
// receiver that comes so far; empty where it would not, or cannot be told.
func unfitInclude(ctx context.Context, ask lookups, domain, include Name) (problem string) {
	if include.IsZero() {
		return ""
	}
	root, _ := surveySPF(ctx, &spfProbe{lookups: ask, apex: domain.s, record: spfVersion + " include:" + include.s}, domain.s)
	walkSPF(root, func(n *SPFNode) {
		if n.Code != "" && n.Code.Outcome() != Unknown && problem == "" {
			problem = n.Problem
		}
	})
	return problem
}

// hint is what the sentence of reason needs.
func (r *SPFReport) hint(op opinion, record string, include Name) string {
	switch op.code {
	case CodeSPFSyntax, CodeSPFIncludeBroken:
		return op.hint
	default:
		return mergeSPF([]string{record}, include.s)
	}
}

// judge finds the worst that a survey has seen: what is wrong for all mail first.
func (r *SPFReport) judge(domain Name) {
	var problems []*SPFNode
	walkSPF(r.Tree, func(n *SPFNode) {
		if n.Code != "" {
			problems = append(problems, n)
		}
	})
	find := func(codes ...Code) *SPFNode {
		i := slices.IndexFunc(problems, func(n *SPFNode) bool { return slices.Contains(codes, n.Code) })
		if i < 0 {
			return nil
		}
		return problems[i]
	}
	// The owner can change nothing but their own record, so its term is named.
	term := func(n *SPFNode) string {
		for _, own := range r.Tree.Terms {
			leads := false
			walkSPF(own, func(below *SPFNode) { leads = leads || below == n })
			switch {
			case own == n:
				return quote(own.Term)
			case leads:
				return quote(own.Term) + ", which leads there"
			}
		}
		return "the record"
	}
	if n := find(CodeSPFSyntax); n == r.Tree && n != nil {
		r.is(CodeSPFSyntax, "%s; correct it, since receivers refuse the record as a whole.", n.Problem)
		return
	} else if n != nil {
		r.is(CodeSPFSyntax, "%s; remove %s, or have that corrected, since receivers refuse your record as a whole.", n.Problem, term(n))
		return
	}
	if broken := slices.DeleteFunc(slices.Clone(problems), func(n *SPFNode) bool { return n.Code != CodeSPFIncludeBroken && n.Code != CodeSPFMultiple }); len(broken) > 0 {
		var what, terms []string
		for _, n := range broken {
			if !slices.Contains(what, n.Problem) {
				what, terms = append(what, n.Problem), append(terms, term(n))
			}
		}
		r.is(CodeSPFIncludeBroken, "%s: remove %s, or have that corrected.", strings.Join(what, ", and "), strings.Join(slices.Compact(terms), " and "))
		return
	}
	if n := find(CodeSPFTooManyLookups); n != nil || r.Endless || r.Lookups > maxSPFLookups {
		why := fmt.Sprintf("it needs %d DNS look-ups and receivers stop at %d", r.Lookups, maxSPFLookups)
		if n != nil {
			why = n.Problem
		}
		r.is(CodeSPFTooManyLookups, "the SPF record at %s is too expensive (%s): remove what no longer sends, dearest first: %s.", domain, why, dearest(r.Tree))
		return
	}
	if r.Voids > maxSPFVoids {
		var names []string
		walkSPF(r.Tree, func(n *SPFNode) {
			if n.Voids > 0 && len(n.Terms) == 0 {
				names = append(names, n.Term)
			}
		})
		r.is(CodeSPFVoidLookups, "the SPF record at %s has %d look-ups that find nothing and receivers stop at %d: remove %s.", domain, r.Voids, maxSPFVoids, cut(strings.Join(names, ", ")))
		return
	}
	if len(problems) > 0 { // what is left is silence
		r.is(problems[0].Code, "%s, so %s could not be followed: ask again later.", problems[0].Problem, term(problems[0]))
		return
	}
	for _, n := range r.Tree.Terms {
		kind := strings.TrimLeft(lower(n.Term), "+-~?")
		if n.Note != "" && strings.HasPrefix(n.Note, "never") && (strings.HasPrefix(kind, "include:") || strings.HasPrefix(kind, "redirect=")) {
			if _, name, ok := strings.Cut(n.Term, "="); ok { // its place does not matter (RFC 7208, section 6.1)
				r.is(CodeSPFIncludeUnreachable, "%s in the SPF record at %s is %s: remove it, or put include:%s before that in its place.", quote(n.Term), domain, n.Note, cut(name))
				return
			}
			r.is(CodeSPFIncludeUnreachable, "%s in the SPF record at %s is %s: put it before that, or remove it.", quote(n.Term), domain, n.Note)
			return
		}
	}
}

// dearest lists the terms of a record that cost most.
func dearest(root *SPFNode) string {
	terms := slices.DeleteFunc(slices.Clone(root.Terms), func(n *SPFNode) bool { return n.Lookups == 0 })
	slices.SortStableFunc(terms, func(a, b *SPFNode) int { return b.Lookups - a.Lookups })
	var list []string
	for _, n := range terms[:min(len(terms), 3)] {
		list = append(list, fmt.Sprintf("%s (%d)", cut(n.Term), n.Lookups))
	}
	return strings.Join(list, ", ")
}

// remark notes what is allowed and unwise.
func (r *SPFReport) remark(record string) {
	parsed, err := ParseSPF(record)
	if err != nil {
		return
	}
	switch i := parsed.all(); {
	case i >= 0 && parsed.Terms[i].Qualifier == SPFNeutral:
		r.note("%s says nothing about who is not listed: end the record with ~all or -all.", quote(parsed.Terms[i].Text))
	case i < 0 && parsed.Redirect == nil:
		r.note("the record says nothing about who is not listed: end it with ~all or -all.")
	}
	walkSPF(r.Tree, func(n *SPFNode) {
		kind := strings.TrimLeft(lower(n.Term), "+-~?")
		switch {
		case kind == "ptr" || strings.HasPrefix(kind, "ptr:"):
			r.note("%s is slow and unreliable, and RFC 7208 says that it should not be used.", quote(n.Term))
		case n.Voids > 0 && len(n.Terms) == 0 && r.Code != CodeSPFVoidLookups: // which names them already
			r.note("%s finds nothing, and such look-ups are limited to %d: remove it.", quote(n.Term), maxSPFVoids)
		}
	})
	only := map[string]int{}
	walkSPF(r.Tree, func(n *SPFNode) { only[n.alone]++ })
	if r.Voids <= maxSPFVoids && r.Voids+only["4"] > maxSPFVoids {
		r.note("%d names have no IPv6 address, which strict receivers count as found nothing for senders on IPv6, with a limit of %d.", only["4"], maxSPFVoids)
	}
	if r.Voids <= maxSPFVoids && r.Voids+only["6"] > maxSPFVoids {
		r.note("%d names have no IPv4 address, which strict receivers count as found nothing for senders on IPv4, with a limit of %d.", only["6"], maxSPFVoids)
	}
	if r.Lookups == maxSPFLookups || r.Lookups == maxSPFLookups-1 {
		r.note("%d of %d DNS look-ups are used, so the next provider may be one too many.", r.Lookups, maxSPFLookups)
	}
	if len(record) > 450 {
		r.note("the record has %d characters: beyond about 450 some answers no longer fit into a packet (RFC 7208, section 3.4).", len(record))
	}
}

// nobody are addresses that no host has (RFC 6666; RFC 1122, section 3.2.1.3; RFC 1112, section
// 4): who authorises one of them authorises half of the Internet at least.
var nobody = []netip.Addr{verdictProbe, netip.MustParseAddr("0.80.79.83"), netip.MustParseAddr("240.80.79.83")}

// strangers finds records that authorise everybody, or nearly so: whoever forges mail passes.
func (r *SPFReport) strangers(ctx context.Context, ask lookups, domain Name) {
	for _, ip := range nobody {
		ev := EvaluateSPF(ctx, ask, SPFQuery{IP: ip, Domain: domain.s, Sender: "postmaster@" + domain.s, HELO: domain.s})
		if own, err := ParseSPF(ev.Tree.Record); ev.Code != "" && err == nil && own.all() >= 0 && own.Terms[own.all()].Qualifier == SPFPass {
			r.note("%s authorises the whole Internet once the rest is right: end the record with ~all or -all.", quote(own.Terms[own.all()].Text))
			return
		}
		if ev.Result != SPFPass {
			continue
		}
		const what = "the SPF record at %s authorises hosts that are nobody's, such as %s, so anybody can send as %s: take %s out, name the hosts that send, and end with ~all or -all."
		if r.Outcome == Match {
			r.is(CodeValueMismatch, what, domain, ip, domain, quote(ev.Mechanism))
		} else { // that makes all mail fail, or ours
			r.note(what, domain, ip, domain, quote(ev.Mechanism))
		}
		return
	}
}

// walkSPF calls f for a node and all below it.
func walkSPF(n *SPFNode, f func(*SPFNode)) {
	if n == nil {
		return
	}
	f(n)
	for _, c := range n.Terms {
		walkSPF(c, f)
	}
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
	if v.Result == "" {
		a := ask(ctx, question{v.PolicyAt.s, dns.TypeTXT})
		for _, p := range dmarcPolicies(a.values()) {
			r.Observed = append(r.Observed, shown(p))
		}
		r.At, r.Policy, r.Disposition = v.PolicyAt, &policy, v.Policy
		for _, n := range policy.Notes {
			r.note("%s.", n)
		}
		if r.At != name {
			if _, value, ok := meantForDMARC(ask(ctx, question{name.s, dns.TypeTXT}).values()); ok {
				r.note(`what is at %s is no policy for receivers (%s): let it begin with "v=DMARC1; p=", without quotes around it.`, name, quote(value))
			}
			r.note("the policy is inherited from %s.", r.At)
		}
		if v.Policy == DispositionNone {
			r.note("p=none only watches: forged mail is delivered as before.")
		}
		if len(policy.Aggregate) == 0 {
			r.note("without rua nobody sends reports, so failures stay unseen.")
		}
		for _, uri := range policy.Aggregate {
			if _, host, ok := cutLast(uri, "@"); ok {
				if n, err := ParseName(host); err == nil && n.Organizational() != domain.Organizational() {
					r.external(ctx, ask, r.At, n)
				}
			}
		}
		return r
	}
	values := ask(ctx, question{name.s, dns.TypeTXT}).values()
	for _, p := range dmarcPolicies(values) {
		r.Observed = append(r.Observed, shown(p))
	}
	switch v.Code {
	case CodeDMARCMissing:
		if code, value, ok := meantForDMARC(values); ok {
			r.Observed = []string{shown(value)}
			r.is(code, `what is at %s is no policy for receivers: change %s to begin with "v=DMARC1; p=", without quotes around it.`, name, quote(value))
			return r
		}
		if len(values) == 0 && ask(ctx, question{domain.s, dns.TypeTXT}).result == SawNXDOMAIN {
			r.is(v.Code, nowhere, domain)
			return r
		}
		r.is(v.Code, `%s: publish the TXT record "v=DMARC1; p=none; rua=mailto:postmaster@%s" at %s, and a stricter p when the reports show no mail of yours.`, v.Problem, domain, name)
	case CodeDMARCMultiple:
		r.is(v.Code, "%s: keep one.", v.Problem)
	case CodeDMARCSyntax:
		r.is(v.Code, "%s: correct it.", v.Problem)
	default:
		r.is(v.Code, "%s: ask again later.", v.Problem)
	}
	return r
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
		r.is(code, "the key at %s is revoked (empty p=): publish a key, or sign with another selector.", key)
	default:
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
	var literals, nowhere []string
	null := false
	for _, rr := range a.records {
		mx, ok := rr.(*dns.MX)
		if !ok {
			continue
		}
		host := bare(mx.Mx)
		if host == "" {
			r.note("the null MX says that %s receives no mail (RFC 7505).", domain)
			null = len(a.records) > 1
			continue
		}
		if _, err := netip.ParseAddr(host); err == nil {
			literals = append(literals, host)
			continue
		}
		if _, err := ask.LookupNetIP(ctx, "ip", host); notFound(err) {
			nowhere = append(nowhere, cut(host))
		} else if a := ask(ctx, question{host, dns.TypeA}); len(a.chain) > 0 {
			r.note("the exchange %s is a CNAME, to which some hosts deliver nothing (RFC 2181, section 10.3): give it addresses of its own, or name %s in its place.", cut(host), cut(a.chain[len(a.chain)-1]))
		} else if err != nil {
			r.note("there is no answer about the address of the exchange %s.", cut(host))
		}
	}
	slices.Sort(literals) // answers come in any order
	slices.Sort(nowhere)
	var faults []string
	if null {
		faults = append(faults, "it has a null MX beside other exchanges: remove one or the other")
	}
	if len(literals) > 0 {
		faults = append(faults, fmt.Sprintf("%s is an address where a name belongs: give the host a name with that address, and put the name there", strings.Join(literals, ", ")))
	}
	if len(nowhere) > 0 {
		faults = append(faults, fmt.Sprintf("%s %s no address: correct the name, or remove it", strings.Join(nowhere, ", "), plural(len(nowhere), "has", "have")))
	}
	if len(faults) > 0 {
		code := CodeNXDOMAIN
		if null {
			code = CodeMXExtra
		}
		r.is(code, "the MX record of %s is wrong; %s.", domain, strings.Join(faults, "; "))
	}
	return r
}
