package dnscheck

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// reportSPF reads the policy of a domain. With include it also wants the senders that are
// listed there to be authorised.
func reportSPF(ctx context.Context, ask lookups, domain, include Name) SPFReport {
	r := SPFReport{Report: newReport(domain)}
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
	wanted := wantedInclude{include, unfitInclude(ctx, ask, domain, include)}
	switch len(records) {
	case 0:
		r.absent(ctx, ask, a, wanted)
	case 1:
		r.Tree, r.Endless = surveySPF(ctx, ask, domain.s)
		r.Lookups, r.Voids = r.Tree.Lookups, r.Tree.Voids
		r.faults()
		r.remark(records[0])
		if !include.IsZero() && (r.Code != CodeSPFSyntax || r.Tree.Code != CodeSPFSyntax) {
			r.want(ctx, ask, records[0], wanted)
		}
		r.everybody()
	default:
		merged := r.propose(ctx, ask, records, wanted)
		r.is(CodeSPFMultiple, "%s has %d SPF records, and more than one is an error for every receiver: replace them by %s%s.", domain, len(records), quoteOurs(r.Proposal.Value), leftOut(records))
		walkOwn(merged, func(n *SPFNode, own string) {
			if n.faulty() {
				r.add(n.Code, "%s: leave out of the proposal %s, or have that corrected.", n.Problem, own)
			}
		})
	}
	return r
}

// wantedInclude is a name that a record shall include.
type wantedInclude struct {
	Name
	// unfit says why a record that includes it would be an error for every receiver that comes so
	// far; empty where it would not be, or that cannot be told. Such is not proposed, since all mail
	// would fail.
	unfit string
}

func unfitInclude(ctx context.Context, ask lookups, domain, include Name) (problem string) {
	if include.IsZero() {
		return ""
	}
	root, _ := surveySPF(ctx, &spfProbe{lookups: ask, apex: domain.s, record: spfVersion + " include:" + include.s}, domain.s)
	walkSPF(root, func(n *SPFNode) {
		if n.faulty() && problem == "" {
			problem = n.Problem
		}
	})
	return problem
}

// absent says what to publish at a name without SPF record.
func (r *SPFReport) absent(ctx context.Context, ask lookups, a answer, include wantedInclude) {
	values := a.values()
	quoted := slices.IndexFunc(values, func(v string) bool {
		return !strings.HasPrefix(lower(v), spfVersion) && strings.HasPrefix(unquoted(lower(v)), spfVersion)
	})
	switch {
	case quoted >= 0:
		r.Observed = []string{shown(values[quoted])}
		r.is(CodeValueQuoted, "the SPF record at %s has quotes or blanks in front: change %s so that it begins with %s.", r.Name, quote(values[quoted]), spfVersion)
	case a.result == SawNXDOMAIN && (include.IsZero() || r.Name == r.Name.Organizational()):
		r.is(CodeSPFMissing, "%s", nowhere(r.Name))
	case include.IsZero():
		r.is(CodeSPFMissing, `%s has no SPF record: publish a TXT record there that lists who sends its mail, "v=spf1 -all" if nobody does.`, r.Name)
	case include.unfit != "":
		r.is(CodeSPFMissing, `%s has no SPF record, and %s cannot be included, because %s: correct that name first, or have the record there corrected.`, r.Name, include, include.unfit)
	default:
		r.propose(ctx, ask, []string{spfVersion + " " + defaultAll}, include)
		r.is(CodeSPFMissing, "%s has no SPF record: publish the TXT record %s there, with all others who send its mail in front of %s.", r.Name, quoteOurs(r.Proposal.Value), defaultAll)
	}
}

// want judges the only record by whether it authorises the senders at include.
func (r *SPFReport) want(ctx context.Context, ask lookups, record string, include wantedInclude) {
	rec := Record{Purpose: SPF, Name: r.Name, Type: TXT, Value: spfVersion + " include:" + include.s + " " + defaultAll}
	op := judgeSPF(ctx, ask, rec, record, include.s)
	if !op.told {
		r.add(op.code, "there is no answer for a name that the SPF record of %s leads to before %s: ask again later.", r.Name, include)
		return
	}
	was := r.Report
	said := func(fix string) bool { return include.unfit != "" && strings.HasPrefix(fix, upper(include.unfit)) }
	switch {
	case op.match && include.unfit != "":
		r.is(CodeSPFIncludeBroken, "the SPF record at %s includes %s, which makes other mail fail, because %s: correct the name, or have the record there corrected.", r.Name, include, include.unfit)
	case op.match:
		r.is(op.code, "")
	case include.unfit != "":
		r.is(CodeSPFIncludeBroken, "the SPF record at %s does not authorise %s and must not include it, because %s: correct that name first, or have the record there corrected.", r.Name, include, include.unfit)
	default:
		r.propose(ctx, ask, []string{record}, include)
		if op.code != CodeSPFSyntax && op.code != CodeSPFIncludeBroken {
			op.hint = mergeSPF([]string{record}, include.s)
		}
		r.is(op.code, "%s.", reason(rec, r.Name, op, ""))
		said = func(fix string) bool { return was.Code == op.code && fix == was.Fix } // in other words
	}
	for _, fix := range was.Todo() {
		switch {
		case said(fix):
		case r.Outcome == Match: // what is wrong behind the wanted include does not concern its senders
			r.note("%s", fix)
		default:
			r.also(fix)
		}
	}
}

// propose makes one record of all, with the wanted include, and says what is to be known of it. What
// is wrong with it is in the survey that it returns.
func (r *SPFReport) propose(ctx context.Context, ask lookups, records []string, include wantedInclude) *SPFNode {
	target := include.s
	if include.unfit != "" {
		target = ""
		r.note("%s was left out of the proposal: %s.", include, include.unfit)
	}
	p := &SPFProposal{Value: mergeSPF(records, target)}
	p.Strings = SplitTXT(p.Value)
	tree, endless := surveySPF(ctx, &spfProbe{lookups: ask, apex: r.Name.s, record: p.Value}, r.Name.s)
	p.Lookups, p.Voids = tree.Lookups, tree.Voids
	p.Fits = !endless && p.Lookups <= maxSPFLookups && p.Voids <= maxSPFVoids
	r.Proposal = p
	walkSPF(tree, func(n *SPFNode) {
		if n.Code != "" && !n.faulty() {
			r.note("what the proposal costs is not certain: %s.", n.Problem)
		}
	})
	r.remarkMerged(records)
	switch {
	case p.Fits:
	case endless:
		r.note("the proposal includes what leads in a circle, or needs far more than %d look-ups: take out who no longer sends, dearest first: %s.", maxSPFLookups, dearest(tree))
	default:
		r.note("the proposal needs %d of %d DNS look-ups and has %d of %d that find nothing: take out who no longer sends, dearest first: %s.",
			p.Lookups, maxSPFLookups, p.Voids, maxSPFVoids, dearest(tree))
	}
	return tree
}

// remarkMerged notes what changes its meaning in a merged record.
func (r *SPFReport) remarkMerged(records []string) {
	for i, record := range records {
		parsed, err := ParseSPF(record)
		if err != nil {
			continue
		}
		all := parsed.all()
		if all >= 0 && all < len(parsed.Terms)-1 {
			r.note("the proposal brings what stands behind %s back to life: leave out what shall not send.", quote(parsed.Terms[all].Text))
		}
		if all >= 0 && parsed.Terms[all].Qualifier == SPFPass && len(records) > 1 {
			r.note("the proposal ends with what another record says, or %s, and not with %s, which authorises everybody: list all who send in it.", defaultAll, quote(parsed.Terms[all].Text))
		}
		for _, t := range parsed.Terms {
			if i < len(records)-1 && t.Qualifier != SPFPass && t.Kind != "all" {
				r.note("in the proposal %s is in front of senders of another record: move it behind those that it shall not stop.", quote(t.Text))
			}
		}
	}
}

// faults lists what a survey has seen, what is wrong for all mail first. It says what the owner can
// do: they can change nothing but their own record, so its term is named.
func (r *SPFReport) faults() {
	if r.Tree.Code == CodeSPFSyntax {
		r.is(CodeSPFSyntax, "%s; correct it, since receivers refuse the record as a whole.", r.Tree.Problem)
		return
	}
	each := func(say func(n *SPFNode, own string), codes ...Code) {
		walkOwn(r.Tree, func(n *SPFNode, own string) {
			if slices.Contains(codes, n.Code) {
				say(n, own)
			}
		})
	}
	each(func(n *SPFNode, own string) {
		r.add(CodeSPFSyntax, "%s; remove %s, or have that corrected, since receivers refuse your record as a whole.", n.Problem, own)
	}, CodeSPFSyntax)
	each(func(n *SPFNode, own string) {
		r.add(CodeSPFIncludeBroken, "%s: remove %s, or have that corrected.", n.Problem, own)
	}, CodeSPFIncludeBroken, CodeSPFMultiple)
	each(func(n *SPFNode, own string) {
		if mechanism(n.Term) == "mx" {
			r.add(CodeSPFTooManyLookups, "%s: list in place of %s the addresses of those that send.", n.Problem, own)
		} else { // a circle
			r.add(CodeSPFTooManyLookups, "receivers give up on the SPF record at %s, because %s: remove %s, or have that corrected.", r.Name, n.Problem, own)
		}
	}, CodeSPFTooManyLookups)
	if r.Lookups > maxSPFLookups {
		r.add(CodeSPFTooManyLookups, "the SPF record at %s is too expensive (it needs %d DNS look-ups and receivers stop at %d): remove what no longer sends, dearest first: %s.",
			r.Name, r.Lookups, maxSPFLookups, dearest(r.Tree))
	}
	if r.Voids > maxSPFVoids {
		var terms []string
		walkOwn(r.Tree, func(n *SPFNode, own string) {
			if n.Voids > 0 && len(n.Terms) == 0 {
				if own != quote(n.Term) {
					terms = append(terms, cut(n.Term)+" (of "+own+")")
				} else {
					terms = append(terms, cut(n.Term))
				}
			}
		})
		r.add(CodeSPFVoidLookups, "the SPF record at %s has %d look-ups that find nothing and receivers stop at %d: remove %s.", r.Name, r.Voids, maxSPFVoids, cutLong(strings.Join(terms, ", ")))
	}
	walkOwn(r.Tree, func(n *SPFNode, own string) {
		if n.Code.Outcome() == Unknown {
			r.add(n.Code, "%s, so %s could not be followed: ask again later.", n.Problem, own)
		}
	})
	for _, n := range r.Tree.Terms {
		switch kind := mechanism(n.Term); {
		case !n.unreached():
		case kind == "redirect": // its place does not matter (RFC 7208, section 6.1)
			_, name, _ := strings.Cut(n.Term, "=")
			r.add(CodeSPFIncludeUnreachable, "%s in the SPF record at %s is %s: remove it, or put include:%s before that in its place.", quote(n.Term), r.Name, n.Note, cut(name))
		case kind == "include":
			r.add(CodeSPFIncludeUnreachable, "%s in the SPF record at %s is %s: put it before that, or remove it.", quote(n.Term), r.Name, n.Note)
		}
	}
}

// walkOwn is walkSPF for the owner's record, with words for the term of it that a node stands for
// or below: the owner can change nothing else.
func walkOwn(root *SPFNode, f func(n *SPFNode, own string)) {
	f(root, "the record")
	for _, own := range root.Terms {
		f(own, quote(own.Term))
		for _, n := range own.Terms {
			walkSPF(n, func(n *SPFNode) { f(n, quote(own.Term)+", which leads there") })
		}
	}
}

// everybody adds what lets anybody pass, which is worse than no record: receivers take what strangers
// send for the owner's own (RFC 7208, section 2.6.3, and DMARC builds on that).
func (r *SPFReport) everybody() {
	var look func(record, own *SPFNode)
	look = func(record, own *SPFNode) {
		for _, n := range record.Terms {
			t, err := parseSPFTerm(n.Term)
			if err != nil || n.unreached() {
				continue
			}
			own := own
			if own == nil {
				own = n
			}
			found := n.Voids == 0 && n.Code == "" && n.Note == ""
			switch {
			case t.Kind == "redirect", t.Kind == "include" && t.Qualifier == SPFPass:
				look(n, own)
			case t.Qualifier != SPFPass:
			case t.Kind == "all":
				r.passesAll(record, n, own, "everybody")
			case t.Kind == "exists" && found: // whoever sends
				r.passesAll(record, n, own, "everybody")
			case tooWide(t) && found:
				r.passesAll(record, n, own, "more of the Internet than any one network has")
			}
		}
	}
	if r.Tree != nil && r.Tree.Code != CodeSPFSyntax {
		look(r.Tree, nil)
	}
}

// tooWide tells whether a term lists more addresses than one network can have: IANA hands out IPv4 by
// /8 and IPv6 by /12, to registries that share them out.
func tooWide(t SPFTerm) bool {
	const ipv4, ipv6 = 8, 12
	switch t.Kind {
	case "ip4":
		return t.Prefix.Bits() < ipv4
	case "ip6":
		return t.Prefix.Bits() < ipv6
	case "a", "mx":
		return t.Bits4 < ipv4 || t.Bits6 < ipv6
	}
	return false
}

// passesAll says what to do about term n of a record, which own leads to.
func (r *SPFReport) passesAll(record, n, own *SPFNode, whom string) {
	what := fmt.Sprintf("%s in the SPF record at %s authorises %s to send as %s", quote(n.Term), record.Name, whom, r.Name)
	switch {
	case n != own:
		r.add(CodeSPFPassAll, "%s: have that corrected, or list in place of %s who sends.", what, quote(own.Term))
	case mechanism(n.Term) == "all":
		r.add(CodeSPFPassAll, "%s: list all who send its mail, then put %s in its place.", what, defaultAll)
	default:
		r.add(CodeSPFPassAll, "%s: put the addresses of those who send its mail in its place.", what)
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
	const end = "once all who send are listed, end the record with ~all, or with -all if the rest shall be refused."
	switch i := parsed.all(); {
	case i >= 0 && parsed.Terms[i].Qualifier == SPFNeutral:
		r.note("%s says nothing about who is not listed: "+end, quote(parsed.Terms[i].Text))
	case i < 0 && parsed.Redirect == nil:
		r.note("the record says nothing about who is not listed, as if it ended with ?all: " + end)
	}
	only := map[string]int{}
	walkOwn(r.Tree, func(n *SPFNode, own string) {
		only[n.alone]++
		switch {
		case mechanism(n.Term) == "ptr":
			r.note("%s is slow and unreliable, and RFC 7208 says that it should not be used.", quote(n.Term))
		case n.Voids == 0 || len(n.Terms) > 0 || n.Code != "" || r.Voids > maxSPFVoids: // or named already
		case own == quote(n.Term):
			r.note("%s finds nothing, and such look-ups are limited to %d: remove it.", own, maxSPFVoids)
		default:
			r.note("%s, which is behind %s, finds nothing, and such look-ups are limited to %d.", quote(n.Term), own, maxSPFVoids)
		}
	})
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

// mechanism is the kind of a term as it was written, without qualifier and value.
func mechanism(term string) string {
	kind := strings.TrimLeft(lower(term), "+-~?")
	if i := strings.IndexAny(kind, ":/="); i >= 0 {
		kind = kind[:i]
	}
	return kind
}

// faulty tells whether receivers give up at a node, or behind it.
func (n *SPFNode) faulty() bool { return n.Code != "" && n.Code.Outcome() != Unknown }

// unreached tells whether a node stands behind an "all".
func (n *SPFNode) unreached() bool { return strings.HasPrefix(n.Note, "never") }

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
