package dnscheck

import (
	"cmp"
	"slices"
)

// step is one CNAME on the way to an answer, and who said it.
type step struct {
	target string
	sayers []answer
	width  int
}

// weigh counts the independent paths on which a record was seen by authoritative servers.
func (r *run) weigh(rec Record, rows []answer, opinions []opinion) int {
	var matches []answer
	for i, op := range opinions {
		if a := rows[i]; op.match && a.width > 0 && a.next == "" {
			matches = append(matches, a)
		}
	}
	return min(paths(matches, 0), independent(matches))
}

// paths counts servers with names and addresses of their own, as many as the way to them is
// wide. What is behind CNAMEs, of which depth are behind us, counts no more than those who
// said them.
func paths(answers []answer, depth int) int {
	type way struct {
		ends, all []answer // who has the record; they and who leads on
		on        int      // paths behind them
	}
	ways := make(map[string]*way)
	wayOf := func(a answer) *way {
		if ways[a.path] == nil {
			ways[a.path] = &way{}
		}
		return ways[a.path]
	}
	type fork struct{ path, target string }
	led := make(map[fork][]answer)
	for _, a := range answers {
		if len(a.steps) > depth {
			s := a.steps[depth]
			f := fork{s.sayers[0].path, s.target}
			led[f] = append(led[f], a)
			continue
		}
		w := wayOf(a)
		w.ends, w.all = append(w.ends, a), append(w.all, a)
	}
	for _, behind := range led {
		s := behind[0].steps[depth]
		w := wayOf(s.sayers[0])
		w.on += min(paths(behind, depth+1), s.width)
		w.all = append(w.all, s.sayers...)
	}
	n := 0
	for _, w := range ways {
		widest := slices.MaxFunc(w.all, func(a, b answer) int { return cmp.Compare(a.width, b.width) })
		n += min(independent(w.ends)+w.on, independent(w.all), widest.width)
	}
	return n
}

// independent counts servers with names and addresses of their own, of which those that a
// single other named are no more than one.
func independent(answers []answer) int {
	hosts, addrs := make(map[string]bool), make(map[string]bool)
	known := make(map[[4]string]bool) // they name each other's children: counted twice, they would double with each delegation
	var by, straight []answer
	for _, a := range answers {
		if len(a.by) == 0 {
			straight = append(straight, a)
		}
		hosts[a.host], addrs[a.server] = true, true
		for _, b := range a.by {
			if key := [4]string{b.host, b.server, b.zone, b.path}; !known[key] {
				known[key], by = true, append(by, b)
			}
		}
	}
	n := min(len(hosts), len(addrs))
	if len(by) > 0 {
		n = min(n, independent(append(by, straight...))) // a delegation is above what it leads to, so this ends
	}
	return n
}
