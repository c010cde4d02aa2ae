package dnscheck

import (
	"context"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// Seen is a part of the DNS as it was seen at one time: what [Judge] works on, so that a
// verdict can be repeated, and taken apart, without asking anybody.
type Seen struct {
	answers map[question]answer
}

// ask answers from what was seen. What was not asked is not known.
func (s Seen) ask(_ context.Context, q question) answer {
	if a, ok := s.answers[q]; ok {
		return a
	}
	return answer{result: SawLimit}
}

// notebook asks each question once and keeps the answers. It is safe for concurrent use.
type notebook struct {
	from lookups

	mu      sync.Mutex
	answers map[question]answer
	left    int // questions that may still be asked
}

func newNotebook(from lookups) *notebook {
	return &notebook{from: from, answers: make(map[question]answer), left: maxFollowUps}
}

func (n *notebook) ask(ctx context.Context, q question) answer {
	n.mu.Lock()
	a, known := n.answers[q]
	may := n.left > 0
	if !known && may {
		n.left--
	}
	n.mu.Unlock()
	switch {
	case known:
		return a
	case !may:
		return answer{result: SawLimit}
	}
	a = n.from(ctx, q)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers[q] = a
	return a
}

// traced remembers the questions that had a positive answer, in the order in which they were
// asked first.
type traced struct {
	from lookups

	mu   sync.Mutex
	used []question
}

func (t *traced) ask(ctx context.Context, q question) answer {
	a := t.from(ctx, q)
	if a.result == SawAnswer {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !slices.Contains(t.used, q) {
			t.used = append(t.used, q)
		}
	}
	return a
}

// without answers as if records that drop matches were not there.
func without(from lookups, gone question, drop func(dns.RR) bool) lookups {
	return func(ctx context.Context, q question) answer {
		a := from(ctx, q)
		if q != gone || a.result != SawAnswer {
			return a
		}
		a.records = slices.DeleteFunc(slices.Clone(a.records), drop)
		if len(a.records) == 0 {
			a.result, a.chain = SawNODATA, nil
		}
		return a
	}
}
