package sender

import (
	"slices"
	"sync"
)

// lanes bound how many workers the tenants' own servers can keep busy, each of them
// and all together: those hang or crawl as they like, and everybody else's mail must
// go on meanwhile.
//
//	worker: enter -> send -> next -> send ... until none may go
//	           |               ^
//	           +-> waiting ----+     whose tenant is claimed no more such mail until then
type lanes struct {
	each, most int // workers of one tenant's server, and of all

	mu      sync.Mutex
	running int
	trying  int // of them, in troubled lanes
	tenants map[ID]*lane
}

// lane is one tenant's server.
type lane struct {
	running  int
	troubled bool // it was not reached, or crawled, the last time: one worker is enough to try
	waiting  []claimed
}

func newLanes(workers, each int) *lanes {
	most := max(1, workers*3/4)
	return &lanes{each: min(max(1, each), most), most: most, tenants: make(map[ID]*lane)}
}

// mayGo is asked with the lock held.
func (l *lanes) mayGo(t *lane) bool {
	switch {
	case l.running >= l.most:
		return false
	case t.troubled: // many of them together must leave the others room, too
		return t.running == 0 && l.trying < max(1, l.most/4)
	}
	return t.running < l.each
}

// enter reports whether the message may be sent now by whoever asks. If not, it waits
// here, and is handed out by next.
func (l *lanes) enter(c claimed) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tenants[c.Tenant]
	if t == nil {
		t = &lane{}
		l.tenants[c.Tenant] = t
	}
	if len(t.waiting) > 0 || !l.mayGo(t) {
		t.waiting = append(t.waiting, c)
		return false
	}
	l.start(t)
	return true
}

func (l *lanes) start(t *lane) {
	t.running++
	l.running++
	if t.troubled {
		l.trying++
	}
}

// leave is told that a message of the tenant was sent or not, and whether its server
// could be reached; unknown leaves that as it was.
func (l *lanes) leave(tenant ID, reached outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tenants[tenant]
	if t.troubled {
		l.trying -= t.running
	}
	t.running--
	l.running--
	if reached != unknown {
		t.troubled = reached == unreached
	}
	if t.troubled {
		l.trying += t.running
	}
	l.forget(tenant, t)
}

// outcome says whether a server could be reached.
type outcome int

const (
	unknown   outcome = iota // nobody tried
	reached                  // it took a message or refused one
	unreached                // no connection, no TLS, no AUTH, or it crawled
)

// next takes a message that may be sent now out of a lane; emptied tells that its
// tenant can be claimed all mail again. Which lane comes first is chance.
func (l *lanes) next() (c claimed, emptied, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tenants {
		if len(t.waiting) == 0 || !l.mayGo(t) {
			continue
		}
		c, t.waiting = t.waiting[0], t.waiting[1:]
		l.start(t)
		return c, len(t.waiting) == 0, true
	}
	return claimed{}, false, false
}

// forget drops a lane of which nothing needs to be known.
func (l *lanes) forget(tenant ID, t *lane) {
	if t.running == 0 && len(t.waiting) == 0 && !t.troubled {
		delete(l.tenants, tenant)
	}
}

// busy lists the tenants whose mail waits here.
func (l *lanes) busy() (tenants []ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, t := range l.tenants {
		if len(t.waiting) > 0 {
			tenants = append(tenants, id)
		}
	}
	slices.Sort(tenants)
	return tenants
}

// drain takes out what waits, when nobody works any more.
func (l *lanes) drain() (all []claimed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tenants {
		all = append(all, t.waiting...)
		t.waiting = nil
	}
	return all
}
