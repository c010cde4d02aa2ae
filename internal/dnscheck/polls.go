package dnscheck

import (
	"sync"
	"time"
)

const (
	// pollFor is how long an answer about shared infrastructure is kept, unless its time to
	// live is shorter, and maxPolls how many of them are.
	pollFor  = 10 * time.Minute
	maxPolls = 4096
)

// polls keeps what the resolvers agreed on about infrastructure that many domains share: who
// serves a top level, and the addresses of providers' name servers. They would say the same
// from their caches. What is below the registrable domain of a check is always asked anew:
// its owner may be changing it. The zero value is ready.
type polls struct {
	mu   sync.Mutex
	kept map[flightKey]kept
}

type kept struct {
	answers []answer // not to be changed
	until   time.Time
}

func (p *polls) get(key flightKey) []answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.kept[key]
	if ok && !time.Now().Before(k.until) {
		delete(p.kept, key)
		return nil
	}
	return k.answers
}

func (p *polls) keep(key flightKey, answers []answer, asked time.Time) {
	ttl := pollFor
	for _, a := range answers {
		if a.told() {
			ttl = min(ttl, a.ttl)
		}
	}
	if ttl <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept == nil {
		p.kept = make(map[flightKey]kept)
	}
	if len(p.kept) >= maxPolls {
		now := time.Now()
		for key, k := range p.kept {
			if !now.Before(k.until) {
				delete(p.kept, key)
			}
		}
		if len(p.kept) >= maxPolls {
			clear(p.kept)
		}
	}
	p.kept[key] = kept{answers, asked.Add(ttl)}
}
