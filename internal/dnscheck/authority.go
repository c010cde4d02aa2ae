package dnscheck

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// survey is what the authoritative servers say to one question.
type survey struct {
	rows []answer // empty where nobody could be asked
	zone *zone    // that the rows are from, or the last that was looked for
}

// reached tells whether any authoritative server answered.
func (s survey) reached() bool {
	return slices.ContainsFunc(s.rows, func(a answer) bool { return a.told() && a.next == "" })
}

// asking is one way through the servers: of all, to see who has what, or of one after
// another until one answers. enough is nil where all must speak.
type asking struct {
	all    bool
	enough enough
	away   time.Duration // how long CNAMEs are followed out of a zone; 0: as long as there is time
	seen   []string      // names that CNAMEs led through
	cuts   int
	// parents asks where CNAMEs lead to also the servers that only the parent of a zone names.
	parents bool
	leads   *int // how many CNAMEs were followed, on all branches
}

// survey asks the servers of the zone that holds a name, following delegation and CNAME.
// Surveys are not joined in flight: two that lead to one another would wait for ever. Their
// questions are.
func (r *run) survey(ctx context.Context, q question, how asking) survey {
	return r.surveyZone(ctx, r.zoneOf(ctx, q.name), q, how)
}

func (r *run) surveyZone(ctx context.Context, z *zone, q question, how asking) survey {
	s := survey{zone: z}
	if how.all {
		s.rows = gather(ctx, len(z.servers), how.enough, func(ctx context.Context, i int) answer { return r.askServer(ctx, z, z.servers[i], q) })
		if len(s.rows) > 0 { // a witness that cannot be heard may know better than the others
			for _, host := range z.unheard {
				s.rows = append(s.rows, answer{server: host, host: host, zone: z.apex, path: z.path, width: z.width, result: SawTimeout, detail: "no address known"})
			}
		}
	} else {
		s.rows = r.askInTurn(ctx, z, q)
	}
	if child := r.below(ctx, z, s.rows); child != nil {
		if how.cuts++; how.cuts > maxCuts {
			return survey{zone: &zone{apex: child.apex, lost: CodeNSLame}}
		}
		c := r.surveyZone(ctx, child, q, how)
		// A parent that denies the name while others delegate it is part of the picture.
		for _, a := range s.rows {
			if a.told() && a.next == "" && !slices.ContainsFunc(child.servers, func(n nameserver) bool { return n.host == a.host || n.String() == a.server }) {
				c.rows = append(c.rows, a)
			}
		}
		return c
	}
	return r.followed(ctx, s, q, how)
}

// surveyAway is survey for the target of a CNAME.
func (r *run) surveyAway(ctx context.Context, q question, how asking) survey {
	if how.away > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, how.away)
		defer cancel()
	}
	s := r.survey(ctx, q, how)
	if how.parents {
		s.rows = slices.Concat(s.rows, r.surveyParent(ctx, q, how))
	}
	return s
}

// surveyParent asks the servers that only the parent of the zone names.
func (r *run) surveyParent(ctx context.Context, q question, how asking) []answer {
	more := r.parentSide(ctx, r.zoneOf(ctx, q.name))
	if more == nil || len(more.servers) == 0 {
		return nil
	}
	return r.surveyZone(ctx, more, q, how).rows
}

// askInTurn asks servers until one answers, the healthy ones first.
func (r *run) askInTurn(ctx context.Context, z *zone, q question) []answer {
	servers := slices.Clone(z.servers)
	slices.SortStableFunc(servers, func(a, b nameserver) int { return cmp.Compare(r.illness(a), r.illness(b)) })
	var rows []answer
	for i, n := range servers {
		if i == 3 {
			break
		}
		if !n.counted {
			continue
		}
		a := r.askServer(ctx, z, n, q)
		rows = append(rows, a)
		if a.told() || a.cut != nil {
			return []answer{a}
		}
	}
	return rows
}

// below returns the zone that referrals lead to, nil when there are none.
func (r *run) below(ctx context.Context, z *zone, rows []answer) *zone {
	referrals := make(map[string][]answer)
	apex := ""
	for _, a := range rows {
		if a.cut == nil || a.width == 0 && slices.ContainsFunc(rows, func(b answer) bool { return b.width > 0 }) {
			continue
		}
		referrals[a.cut.apex] = append(referrals[a.cut.apex], a)
		if n := len(referrals[a.cut.apex]); apex == "" || n > len(referrals[apex]) || n == len(referrals[apex]) && a.cut.apex < apex {
			apex = a.cut.apex
		}
	}
	if apex == "" {
		return nil
	}
	// The servers of a zone delegate it alike as a rule, so one survey finds the child for
	// all questions; what makes it another child is part of the key.
	hosts := make(map[string]int)
	glue := make(map[string][]netip.Addr)
	sayers := make(map[string][]answer)
	counted := false
	for _, a := range referrals[apex] {
		counted = counted || a.width > 0
		for _, host := range a.cut.hosts {
			hosts[host] = math.MaxInt
			if a.width > 0 {
				sayers[host] = append(sayers[host], a)
			}
			for _, addr := range a.cut.glue[host] {
				if !slices.Contains(glue[host], addr) {
					glue[host] = append(glue[host], addr)
				}
			}
		}
	}
	var key strings.Builder
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		fmt.Fprint(&key, " ", host, glue[host])
		for _, a := range sayers[host] {
			fmt.Fprint(&key, " by ", a.host, a.server)
		}
	}
	width := min(z.width, independent(referrals[apex]))
	if !counted {
		width = 0
	}
	return once(r, flightKey{question{apex, dns.TypeNS}, fmt.Sprint("child ", width, z.apex, z.path, key.String())}, func() *zone {
		child := &zone{apex: apex, width: width, sayers: sayers, path: z.path + " below " + z.apex}
		r.findServers(ctx, child, hosts, glue)
		return child
	})
}

// followed asks on where CNAMEs lead out of the zone. The rows of the servers that said so
// stay in the grid; what counts is what the servers of the target say.
func (r *run) followed(ctx context.Context, s survey, q question, how asking) survey {
	sayers := make(map[string][]answer)
	var targets []string
	for _, a := range s.rows {
		if a.next == "" {
			continue
		}
		if !slices.Contains(targets, a.next) {
			targets = append(targets, a.next)
		}
		sayers[a.next] = append(sayers[a.next], a)
	}
	if how.leads == nil {
		how.leads = new(int)
	}
	end := func(target, result string) { // what those who named it are taken to have answered
		for i, a := range s.rows {
			if a.next == target {
				s.rows[i].next, s.rows[i].result = "", result
			}
		}
	}
	for i, target := range targets {
		said := sayers[target]
		counted := slices.DeleteFunc(slices.Clone(said), func(a answer) bool { return a.width == 0 })
		width := 0
		if len(counted) > 0 {
			width = min(counted[0].width, independent(counted))
		}
		dname := said[0].dname // where none of them has a CNAME of its own
		if slices.ContainsFunc(said, func(a answer) bool { return a.dname == "" }) {
			dname = ""
		}
		chain := said[0].chain
		seen := slices.Concat(how.seen, []string{q.name}, chain[:len(chain)-1])
		if i >= maxBranches || slices.Contains(seen, target) || len(seen) > maxChain {
			end(target, SawLoop)
			continue
		}
		if *how.leads++; *how.leads > maxLeads {
			end(target, SawLimit)
			continue
		}
		on := how
		on.seen, on.cuts = seen, 0
		t := r.surveyAway(ctx, question{target, q.qtype}, on)
		if len(t.rows) == 0 {
			// Nobody can be asked about the target; that is the answer of those who named it.
			if t.zone.absent != "" || t.zone.nowhere {
				end(target, SawNXDOMAIN)
			} else {
				end(target, SawSERVFAIL)
			}
			continue
		}
		for _, a := range t.rows {
			a.chain = slices.Concat(chain, a.chain)
			if len(a.chain) > maxChain {
				a.result, a.records, a.next = SawLoop, nil, ""
			}
			a.dname = dname
			a.width = min(a.width, width)
			a.steps = slices.Concat([]step{{target: target, sayers: counted, width: width}}, a.steps)
			a.detail = strings.TrimPrefix(a.detail+"; at the end of CNAME "+cut(strings.Join(chain, " ")), "; ")
			s.rows = append(s.rows, a)
		}
	}
	return s
}
