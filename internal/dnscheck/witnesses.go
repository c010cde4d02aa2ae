package dnscheck

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// hearAuthorities asks the name servers, and the resolvers where that is of use: when a
// name server has the record, to learn who still holds an old answer; and when no name
// server could be reached, as the only witnesses. Never while the servers say that there is
// nothing yet, because then the question itself would put that into the caches.
func (r *run) hearAuthorities(ctx context.Context, rec Record, q question) (verdict, []answer, []opinion) {
	s := once(r, flightKey{q, "survey"}, func() survey {
		if s, ok := r.unregistered(ctx, q); ok {
			return s
		}
		return r.survey(ctx, q, asking{all: true, enough: func(got []answer) (time.Duration, bool) { return linger, r.decidedBy(q, got) }})
	})
	var rows []answer
	var opinions []opinion
	has := false
	judgeAll := func() {
		rows = slices.Clone(s.rows)
		opinions = r.opinions(ctx, rec, q, rows)
		r.unwild(ctx, rec, rows, opinions)
		has = slices.ContainsFunc(opinions, func(op opinion) bool { return op.match })
	}
	judgeAll()
	askParent := func() {
		how, heard := asking{all: true, parents: true}, len(s.rows)
		if slices.ContainsFunc(s.rows, func(a answer) bool { return a.led() }) {
			s.rows = r.survey(ctx, q, how).rows // who was asked before is not asked again
		}
		if s.rows = slices.Concat(s.rows, r.surveyParent(ctx, q, how)); len(s.rows) > heard {
			judgeAll()
		}
	}
	if !has && len(rows) > 0 {
		askParent()
	}
	var resolved []answer
	var resolvedOpinions []opinion
	if has || !s.reached() {
		resolved = slices.Clone(r.resolvers(ctx, q, r.weigh(rec, rows, opinions) >= r.quorum))
		r.prove(resolved)
		resolvedOpinions = r.opinions(ctx, rec, q, resolved)
		if has && denied(resolved, resolvedOpinions) {
			askParent() // the world may be sent to other servers than those that the zone names
		}
	}
	v := r.judgeAuthorities(ctx, rec, s, rows, opinions, resolved, resolvedOpinions)
	return v, slices.Concat(rows, resolved), slices.Concat(opinions, resolvedOpinions)
}

// unwild asks each server of a name that is a CNAME for another name beside it. Where that leads
// the same way, it is a wildcard that leads to our value, or a DNAME, and ours is not published
// there; where there is no answer, that is not known. Servers whose zones differ may differ in
// this.
func (r *run) unwild(ctx context.Context, rec Record, rows []answer, opinions []opinion) {
	if !rec.Purpose.grants() || rec.Type != TXT || !slices.ContainsFunc(opinions, func(op opinion) bool { return op.match && len(op.via) > 0 }) {
		return
	}
	beside := r.beside(rec.Name)
	if beside.IsZero() {
		return
	}
	probes := make([]answer, len(rows))
	var wg sync.WaitGroup
	for i, a := range rows {
		if !a.led() && a.width > 0 && len(a.chain) > 0 {
			wg.Go(func() { probes[i] = r.again(ctx, a, question{beside.s, dns.TypeTXT}) })
		}
	}
	wg.Wait()
	var spoilt opinion // of those who sent us on
	sure := false
	for i, a := range rows {
		b := probes[i]
		op := opinions[i]
		switch {
		case a.led() || a.width == 0 || len(a.chain) == 0 || a.next == "" && !op.match:
			continue
		case a.dname != "":
			op = redirectedBy(a.dname)
		case !b.told():
			op = opinion{code: b.silenceCode()}
		case len(b.chain) > 0 && alike(rec.Name, a.chain[0], beside, b.chain[0]):
			op = opinion{told: true, code: CodeWildcard, hint: rec.Name.Parent().s, found: targets(b.chain)}
		default:
			sure = sure || a.next != ""
			continue
		}
		if a.next != "" && (!spoilt.told || op.told) {
			spoilt = op
		}
		rows[i].next, opinions[i] = "", op
	}
	for i, a := range rows {
		if a.led() && opinions[i].match && !sure {
			opinions[i] = spoilt
		}
	}
}

// alike tells whether two names beside each other are led the same way: to one target, by a
// wildcard, or each to its own label below one name, by a DNAME that was not shown (RFC 6672).
func alike(name Name, target string, beside Name, other string) bool {
	label, _, _ := strings.Cut(name.s, ".")
	random, _, _ := strings.Cut(beside.s, ".")
	below, ok := strings.CutPrefix(target, label+".")
	return target == other || ok && other == random+"."+below
}

// again puts another question to the server that gave an answer.
func (r *run) again(ctx context.Context, a answer, q question) answer {
	addr, err := parseServer(a.server)
	if err != nil {
		return answer{result: SawUnreachable}
	}
	z := &zone{apex: a.zone, width: a.width, path: a.path}
	return r.askServer(ctx, z, nameserver{host: a.host, addr: addr, counted: a.width > 0}, q)
}

// denied tells whether most of those who answered say that there is nothing, be it behind a CNAME.
func denied(answers []answer, opinions []opinion) bool {
	missing, match := 0, 0
	for i, op := range opinions {
		nothing := answers[i].result == SawNXDOMAIN || answers[i].result == SawNODATA
		switch {
		case op.match:
			match++
		case op.told && (nothing || op.code.Outcome() == Missing):
			missing++
		}
	}
	return missing > match
}

// unregistered asks the servers of a parent once for all records whether it knows a domain
// that the resolvers say does not exist. It returns false when it does: resolvers may hold
// that answer from before the registration.
func (r *run) unregistered(ctx context.Context, q question) (survey, bool) {
	z := r.zoneOf(ctx, q.name)
	if z.absent == "" || len(z.servers) == 0 {
		return survey{}, false
	}
	s := once(r, flightKey{question{z.absent, dns.TypeSOA}, "survey"}, func() survey {
		return r.survey(ctx, question{z.absent, dns.TypeSOA}, asking{all: true})
	})
	for _, a := range s.rows {
		if a.told() && a.result != SawNXDOMAIN {
			return survey{}, false
		}
	}
	return s, s.reached()
}

// decidedBy is decided for authoritative servers: early only when none contradicts.
func (r *run) decidedBy(q question, got []answer) bool {
	var counted []answer
	hosts := make(map[string]bool)
	for _, a := range got {
		if a.width == 0 || !a.told() || a.next != "" {
			continue
		}
		for rec := range r.wanted(q) {
			if !r.looksRight(rec, q, a) {
				return false
			}
		}
		if !hosts[a.host] {
			hosts[a.host] = true
			counted = append(counted, a)
		}
	}
	return independent(counted) >= min(len(counted), r.quorum) && r.decided(q, counted)
}

// resolvers puts the question of a wanted record to the resolvers. With settled they can
// only add notes, so they are not waited for long.
func (r *run) resolvers(ctx context.Context, q question, settled bool) []answer {
	return once(r, flightKey{q, "all"}, func() []answer {
		if settled {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 2*linger)
			defer cancel()
		}
		answers := gather(ctx, len(r.resolver.servers), func(got []answer) (time.Duration, bool) { return linger, r.decided(q, got) },
			func(ctx context.Context, i int) answer {
				server := r.resolver.servers[i]
				if !r.mayAskAny() {
					return answer{server: server, result: SawLimit}
				}
				a := r.resolver.ask(ctx, server, q)
				if a.result == SawSERVFAIL && !a.bogus && ctx.Err() == nil {
					// A validating resolver does not always say that it is the signatures:
					// that it answers when it need not check them does.
					if b := r.resolver.askAs(ctx, server, q, manner{unchecked: true, tries: 1}); b.told() {
						a.bogus = true
						a.detail = strings.TrimPrefix(a.detail+"; answers when it need not validate", "; ")
					}
				}
				return a
			})
		for i := range answers {
			answers[i].skipped = answers[i].skipped || settled && answers[i].result == SawTimeout
		}
		return answers
	})
}
