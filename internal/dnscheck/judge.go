package dnscheck

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// verdict is what all servers together say about a record.
type verdict struct {
	outcome Outcome
	code    Code
	why     opinion       // the opinion that the sentence explains; zero when no server told anything
	witness string        // a server that holds it
	silent  []string      // servers that told nothing, with the reason
	retry   time.Duration // how long caches may hold the negative or old answer
	waiting bool          // waiting helps though it is no cache that holds anything
	zone    *zone         // in authoritative mode
	soa     *dns.SOA      // of a negative authoritative answer
	refused []string      // name servers that were not asked because of their addresses
	dead    string        // the zone whose servers all refuse, where known
}

// judge weighs the resolvers' opinions. A grant needs a quorum of matches, everything else
// one. Something is missing or wrong only when every server says so; as long as one is
// silent, it may be the one that knows better.
func judge(rec Record, quorum int, answers []answer, opinions []opinion) verdict {
	need := 1
	if rec.Purpose.grants() {
		need = quorum
	}
	var v verdict
	var matches, against, waiting int
	proof := false
	var silence []Code
	votes := make(map[Code]int)
	for i, op := range opinions {
		switch {
		case !op.told && answers[i].skipped:
			waiting++
		case !op.told:
			silence = append(silence, op.code)
			v.silent = append(v.silent, silentOne(answers[i], op))
		case op.match:
			matches++
			proof = proof || answers[i].proven
			if matches == 1 {
				v.why, v.witness = op, answers[i].server
			}
		default:
			against++
			votes[op.code]++
		}
	}
	if matches >= need || proof {
		v.outcome, v.code = Match, v.why.code
		return v
	}
	v.outcome = Unknown
	if against > 0 {
		var i int
		v.why, i = majority(opinions, votes)
		v.witness = answers[i].server
		for i, op := range opinions {
			if !op.told || op.match {
				continue
			}
			if answers[i].result != SawAnswer || matches > 0 {
				v.retry = max(v.retry, answers[i].ttl)
			}
		}
	}
	switch {
	case matches > 0 && against > 0:
		for _, op := range opinions {
			if op.told && !op.match && comesBefore(cachedCode(op), cachedCode(v.why)) {
				v.why = op
			}
		}
		v.code = cachedCode(v.why)
	case len(silence) > 0:
		v.code = worstSilence(silence)
	case against <= waiting:
		v.code = CodeTimeout
	default:
		v.code, v.outcome = v.why.code, v.why.code.Outcome()
		if v.outcome == "" {
			v.outcome = Mismatch // a DKIM key published directly is the owner's
		}
	}
	return v
}

// cachedCode says what a cache holds instead of a record that others have.
func cachedCode(op opinion) Code {
	switch op.code {
	case CodeNXDOMAIN, CodeNODATA, CodeSPFMissing, CodeDMARCMissing:
		return CodeNegativeCached
	}
	return CodeCachedOld
}

// majority returns an opinion with the code that most servers hold; of equals the one
// that shows something wrong rather than nothing at all.
func majority(opinions []opinion, votes map[Code]int) (opinion, int) {
	at := -1
	for i, op := range opinions {
		if !op.told || op.match {
			continue
		}
		if at < 0 || votes[op.code] > votes[opinions[at].code] ||
			votes[op.code] == votes[opinions[at].code] && op.code.Outcome() != Missing && opinions[at].code.Outcome() == Missing {
			at = i
		}
	}
	return opinions[at], at
}

// worstSilence picks the reason that tells most about what is wrong.
func worstSilence(codes []Code) Code {
	for _, c := range []Code{CodeDNSSECBogus, CodeSERVFAIL, CodeTimeout} {
		if slices.Contains(codes, c) {
			return c
		}
	}
	return CodeNSLame
}

// silentOne names who told nothing, and why: the server, or where it answered those of a
// question behind its answer (SPF, DMARC).
func silentOne(a answer, op opinion) string {
	switch {
	case !a.told():
		return nameOf(a) + " (" + a.result + ")"
	case op.hint != "":
		return fmt.Sprintf("the servers of %s, to which the record leads (%s)", clean(cut(op.hint)), strings.ToLower(string(op.code)))
	case !op.where.IsZero(): // what the domain inherits from
		return fmt.Sprintf("the servers of %s (%s)", op.where, strings.ToLower(string(op.code)))
	}
	return nameOf(a) + " (" + strings.ToLower(string(op.code)) + ")"
}

// observed lists the distinct values that were seen, those of the explaining opinion first.
func observed(opinions []opinion, why opinion) []string {
	values, octets := []string{}, 0
	for _, op := range slices.Concat([]opinion{why}, opinions) {
		for _, v := range op.found {
			if v = shown(v); len(values) < maxValues && octets+len(v) <= maxObserved && !slices.Contains(values, v) {
				values, octets = append(values, v), octets+len(v)
			}
		}
	}
	return values
}

// judgeAuthorities weighs what name servers and resolvers say. The name servers decide what
// is there; resolvers confirm it, or show what the world still believes.
func (r *run) judgeAuthorities(ctx context.Context, rec Record, s survey, rows []answer, opinions []opinion, resolved []answer, resolvedOpinions []opinion) verdict {
	need := 1
	if rec.Purpose.grants() {
		need = r.quorum
	}
	v := verdict{outcome: Unknown, zone: s.zone, refused: s.zone.refused}
	var matches, against []int
	type asked struct{ host, path, target string } // the same host may be asked where a CNAME leads, too
	told := make(map[asked]bool)
	silence := make(map[asked]Code)
	lame, skipped, unsure := 0, 0, false
	unreached := "" // a zone whose servers do not tell
	votes := make(map[Code]int)
	for i, op := range opinions {
		a := rows[i]
		here := asked{host: a.host, path: a.path}
		if a.led() {
			here.target = a.steps[len(a.steps)-1].target
		}
		switch {
		case a.width == 0:
		case a.next != "":
			told[here] = true
		case !op.told && a.skipped:
			skipped++
		case !op.told && a.detail == noRoute && len(rows) > 1:
		case !op.told && (a.result == SawLame || a.result == SawREFUSED):
			// A server that does not hold the zone is no witness, for or against.
			lame++
			unreached = a.zone
			v.silent = append(v.silent, nameOf(a)+" ("+a.result+")")
		case !op.told:
			silence[here] = op.code
			unsure = unsure || op.lacking
			unreached = a.zone
			v.silent = append(v.silent, silentOne(a, op))
		case op.match:
			told[here] = true
			matches = append(matches, i)
		default:
			told[here] = true
			against = append(against, i)
			votes[op.code]++
			if a.soa != nil {
				v.soa = a.soa
			}
		}
	}
	var silent []Code
	for here, code := range silence {
		if !told[here] { // a second address of a host that spoke is not missed
			silent = append(silent, code)
		}
	}
	if len(matches) > 0 {
		v.why, v.witness = opinions[matches[0]], rows[matches[0]].server
	}
	if len(against) > 0 {
		why, at := majority(onlyOf(opinions, against), votes)
		if len(matches) == 0 {
			v.why, v.witness = why, rows[at].server
		}
	}

	switch {
	case len(matches) > 0 && len(against) > 0:
		v.outcome, v.code = Mismatch, CodeNSInconsistent
		v.why, v.waiting = r.inconsistent(ctx, rows, opinions, matches, against)
		return v
	case len(matches) > 0 && unsure:
		v.code = worstSilence(slices.Collect(maps.Values(silence)))
		return v
	case len(matches) > 0:
		return r.confirm(rec, v, need, r.weigh(rec, rows, opinions), resolved, resolvedOpinions)
	case len(against) > 0 && len(silent) > 0:
		v.code = worstSilence(silent)
		return v
	case len(against) > 0 && skipped > 0:
		v.code = CodeTimeout
		return v
	case len(against) > 0:
		v.code, v.outcome = v.why.code, v.why.code.Outcome()
		if v.outcome == "" {
			v.outcome = Mismatch
		}
		if cachedCode(v.why) == CodeNegativeCached && r.undelegated(ctx, s.zone, rec.Name.s) {
			v.why.code, v.code = CodeNotDelegated, CodeNotDelegated
			v.why.hint = "is unknown to the servers of " + s.zone.apex
		}
		return v
	case len(rows) == 0 && s.zone.nowhere && !slices.ContainsFunc(resolved, answer.told):
		v.outcome, v.code = Missing, CodeNotDelegated
		v.why = opinion{told: true, code: v.code, hint: "is delegated to " + strings.Join(s.zone.named, ", ") + ", which " + plural(len(s.zone.named), "does", "do") + " not exist"}
		return v
	}

	// No authoritative witness that counts.
	v2 := judge(rec, r.quorum, resolved, resolvedOpinions)
	v2.zone, v2.refused = v.zone, v.refused
	v2.silent = slices.Concat(v.silent, v2.silent)
	if v2.outcome == Match && (unreached != "" || len(s.zone.refused) == 0) {
		now, opinionsNow := r.live(ctx, cmp.Or(unreached, s.zone.apex), resolved, resolvedOpinions)
		if judge(rec, r.quorum, now, opinionsNow).outcome != Match {
			// What caches remember of a zone that is gone, or a view of their own.
			v2.outcome, v2.code, v2.why = Unknown, worstSilence(silent), opinion{}
			if len(silent) == 0 && lame == 0 {
				v2.code, v2.silent = cmp.Or(s.zone.lost, CodeTimeout), append(v2.silent, "any name server of its zone")
			}
		}
	}
	if v2.outcome == Match && !rec.Purpose.grants() && !r.enoughSay(resolved, resolvedOpinions) {
		// Nobody else could be heard, and one resolver is one lie.
		v2.outcome, v2.code = Unknown, cmp.Or(worstSilence(silent), CodeTimeout)
	}
	switch {
	case len(resolved) == 0 && len(silent) > 0:
		v2 = verdict{outcome: Unknown, code: worstSilence(silent), zone: v.zone, silent: slices.Compact(v.silent)}
	case len(resolved) == 0:
		// Only servers that too few resolvers named, and they have nothing.
		v2 = verdict{outcome: Unknown, code: CodeTimeout, zone: v.zone, silent: []string{"enough resolvers that agree on the name servers"}}
	case v2.why.match && len(s.zone.refused) > 0 && len(silent) == 0 && lame == 0:
		v2.outcome, v2.code = Unknown, CodeSplitHorizon
	case v2.outcome == Missing || v2.outcome == Mismatch:
		// That resolvers do not know it is no absence: there are servers that may, or a network
		// that hides them.
		if v2.code == CodeNXDOMAIN && len(rows) == 0 && s.zone.absent != "" {
			v2.why = opinion{told: true, code: CodeNotDelegated, hint: "is unknown to its parent"}
		}
		v2.outcome, v2.code, v2.retry = Unknown, worstSilence(silent), 0
		if len(silent) == 0 && lame == 0 {
			v2.code = CodeTimeout
		}
		if len(v2.silent) == 0 {
			v2.silent = []string{"any name server of its zone"}
		}
	case v2.outcome == Unknown && v2.code != CodeDNSSECBogus && v2.code != CodeNegativeCached && v2.code != CodeCachedOld:
		// What the name servers did says more than the SERVFAIL that resolvers make of it.
		switch {
		case s.zone.bogus:
			v2.code = CodeDNSSECBogus
		case len(silent) > 0:
			v2.code = worstSilence(silent)
		case lame > 0:
			v2.code = CodeNSLame
		case s.zone.lost != "":
			v2.code = s.zone.lost
		}
	}
	if v2.code == CodeNSLame && lame > 0 {
		v2.dead, v2.silent = unreached, v.silent // not what resolvers make of it
	}
	return v2
}

// live selects the resolvers that can still find something in a zone: a name that is in no
// cache, whatever the answer. What the others say of it they only remember.
func (r *run) live(ctx context.Context, zone string, answers []answer, opinions []opinion) ([]answer, []opinion) {
	fresh := question{Name{zone}.Child(r.randomLabel()).s, dns.TypeTXT}
	found := once(r, flightKey{fresh, "live"}, func() []answer {
		return gather(ctx, len(answers), nil, func(ctx context.Context, i int) answer {
			if !r.mayAskAny() {
				return answer{result: SawLimit}
			}
			return r.resolver.ask(ctx, answers[i].server, fresh)
		})
	})
	var now []answer
	var opinionsNow []opinion
	for i, a := range found {
		if a.told() {
			now, opinionsNow = append(now, answers[i]), append(opinionsNow, opinions[i])
		}
	}
	return now, opinionsNow
}

// enoughSay tells whether as many resolvers have a record as must agree on who serves a zone.
func (r *run) enoughSay(answers []answer, opinions []opinion) bool {
	n := 0
	for i, op := range opinions {
		if op.match {
			n++
		}
		if op.match && answers[i].proven {
			return true
		}
	}
	return n >= r.voices()
}

func onlyOf(opinions []opinion, at []int) []opinion {
	some := make([]opinion, len(opinions))
	for _, i := range at {
		some[i] = opinions[i]
	}
	return some
}

func nameOf(a answer) string {
	if a.host == "" || a.host == a.server {
		return a.server
	}
	return a.host + " at " + a.server
}

// confirm judges a record that every authoritative witness has.
func (r *run) confirm(rec Record, v verdict, need, paths int, resolved []answer, opinions []opinion) verdict {
	var confirmed, behind, bogus int
	proof := false
	var old opinion
	var silence []Code
	for i, op := range opinions {
		a := resolved[i]
		switch {
		case a.bogus:
			bogus++
			v.silent = append(v.silent, a.server+" ("+cmp.Or(a.detail, a.result)+")")
		case !op.told && a.skipped:
		case !op.told:
			silence = append(silence, op.code)
			v.silent = append(v.silent, silentOne(a, op))
		case op.match:
			confirmed++
			proof = proof || a.proven
		default:
			behind++
			if behind == 1 || comesBefore(cachedCode(op), cachedCode(old)) {
				old = op
			}
			v.retry = max(v.retry, a.ttl)
		}
	}
	enough := paths+confirmed >= need || proof
	switch {
	case bogus > 0 && bogus >= confirmed+behind:
		// Everybody who validates refuses this record, forged or not.
		v.outcome, v.code, v.why = Unknown, CodeDNSSECBogus, opinion{}
	case enough && behind > 0 && behind >= confirmed:
		v.outcome, v.code = Match, cachedCode(old)
		old.match = true
		v.why = old
	case enough:
		v.outcome, v.code, v.retry = Match, v.why.code, 0
	case behind > 0:
		v.code, v.why = cachedCode(old), old
	case len(silence) > 0:
		v.code = worstSilence(silence)
	default:
		v.code = CodeTimeout
	}
	return v
}

// undelegated tells whether a name is missing because the registrable domain above it is
// unknown to the zone that should delegate it.
func (r *run) undelegated(ctx context.Context, z *zone, name string) bool {
	org := Name{name}.Registrable().s
	if org == "" || !within(org, z.apex) || org == z.apex {
		return false
	}
	return r.trail(ctx, question{org, dns.TypeSOA}).result == SawNXDOMAIN
}

// inconsistent explains that some servers have the record and others do not: those of the name
// itself where these differ, else those of the names that it leads to. Where the serials of their
// copies of a zone differ, a transfer is under way and waiting helps.
func (r *run) inconsistent(ctx context.Context, rows []answer, opinions []opinion, matches, against []int) (opinion, bool) {
	led := func(i int) bool { return rows[i].led() }
	if own := slices.DeleteFunc(slices.Clone(against), led); len(own) > 0 {
		var have []int
		for i, a := range rows {
			if a.width > 0 && (a.next != "" && slices.ContainsFunc(matches, led) || !a.led() && opinions[i].match) {
				have = append(have, i)
			}
		}
		if len(have) > 0 {
			matches, against = have, own
		}
	}
	op := opinion{told: true, code: CodeNSInconsistent}
	var without []string
	for _, i := range against {
		holds := ""
		if v := opinions[i].found; len(v) > 0 {
			holds = " (with " + found(opinions[i]) + ")"
		}
		without = append(without, nameOf(rows[i])+holds)
		op.found = append(op.found, opinions[i].found...)
	}
	serial := func(a answer) (uint32, bool) {
		for _, rr := range r.again(ctx, a, question{a.zone, dns.TypeSOA}).records {
			if soa, ok := rr.(*dns.SOA); ok {
				return soa.Serial, true
			}
		}
		return 0, false
	}
	witness := rows[matches[0]]
	has, ok := serial(witness)
	same, differ := ok, false
	for _, i := range against {
		lacks, known := serial(rows[i])
		known = known && ok && rows[i].zone == witness.zone
		same, differ = same && known && lacks == has, differ || known && lacks != has
	}
	n := len(matches) + len(against)
	op.hint = fmt.Sprintf("%d of %d name servers have the record, and %s %s not: ", len(matches), n, strings.Join(without, ", "), plural(len(without), "does", "do"))
	switch {
	case differ:
		op.hint += fmt.Sprintf("their copies of the zone differ in age, so wait until all have serial %d, or have the transfer repaired", has)
	case same:
		op.hint += "the zone has the same serial everywhere, so raise it, or publish the record on every one of these servers"
	default:
		op.hint += "publish the record on every one of these servers"
	}
	return op, differ
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
