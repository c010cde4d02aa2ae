package dnscheck

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxHearsay bounds the records that a hearsay remembers, each of some hundred octets, and
// maxSaid those in one answer: the hosts of strangers have as many addresses as they like.
const (
	maxHearsay = 1 << 17
	maxSaid    = 32
)

// hearsay remembers, between checks, who serves the zones that many domains share and where
// those servers are: what enough resolvers agreed on, no longer than it lives. Providers have
// thousands of domains on a few name servers, and the CNAMEs of all lead to our own zone; to
// ask again for each would be most of the questions of a sweep.
//
// Nothing of a domain itself is remembered, and no name that does not exist. To
// [Confirm] is not to listen, so that nothing is lost by hearsay. The zero value is ready.
type hearsay struct {
	mu   sync.Mutex
	said map[question]said
	size int // of all that is said
}

type said struct {
	answers []answer // of all resolvers
	until   time.Time
}

// size counts records; that there are none is worth one for each who said so.
func (s said) size() int {
	n := len(s.answers)
	for _, a := range s.answers {
		n += len(a.records)
	}
	return n
}

func (h *hearsay) recall(q question, now time.Time) []answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.said[q]; now.Before(s.until) {
		return s.answers
	}
	return nil
}

func (h *hearsay) keep(q question, s said, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.said == nil {
		h.said = make(map[question]said)
	}
	size := s.size()
	if h.size+size > maxHearsay {
		for q, old := range h.said {
			if !now.Before(old.until) {
				h.size -= old.size()
				delete(h.said, q)
			}
		}
		if h.size+size > maxHearsay {
			clear(h.said)
			h.size = 0
		}
	}
	h.size += size - h.said[q].size()
	h.said[q] = s
}

// shared tells whether a question is about what other domains may have in common with this
// one.
func (r *run) shared(q question) bool {
	return (q.qtype == dns.TypeNS || q.qtype == dns.TypeA || q.qtype == dns.TypeAAAA) && !within(q.name, r.organization().s)
}

// settled returns how long what a quorum said may be remembered; 0: not at all.
func (r *run) settled(got []answer) time.Duration {
	votes := make(map[string]int)
	lives := make(map[string]time.Duration)
	for _, a := range got {
		if len(a.records) > maxSaid {
			return 0
		}
		if a.result != SawAnswer && a.result != SawNODATA {
			continue
		}
		values := a.values()
		slices.Sort(values)
		key := a.result + " " + strings.Join(values, " ")
		if ttl, ok := lives[key]; !ok || a.ttl < ttl {
			lives[key] = a.ttl
		}
		if votes[key]++; votes[key] >= r.quorum {
			return lives[key]
		}
	}
	return 0
}
