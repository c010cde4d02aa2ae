package sailpoint

import (
	"sync"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// limiter counts the requests of each client to each release, in windows that begin
// with the first of them. What it remembers is bounded: it only hears of clients
// that proved who they are, and forgets them when their window is over.
type limiter struct {
	most   int // in a window; 0: there is no limit
	window time.Duration

	mu     sync.Mutex
	counts map[bucket]count
	swept  time.Time
}

type bucket struct {
	client  sender.ID
	release release
}

type count struct {
	begun time.Time
	n     int
}

// take counts a request. wait is how long it is too early for it; 0: it may pass.
func (l *limiter) take(client sender.ID, r release, now time.Time) (wait time.Duration) {
	if l.most == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) >= l.window {
		for b, c := range l.counts {
			if now.Sub(c.begun) >= l.window {
				delete(l.counts, b)
			}
		}
		l.swept = now
	}
	if l.counts == nil {
		l.counts = make(map[bucket]count)
	}
	b := bucket{client, r}
	c, ok := l.counts[b]
	if !ok || now.Sub(c.begun) >= l.window {
		c = count{begun: now}
	}
	if c.n >= l.most {
		return l.window - now.Sub(c.begun)
	}
	c.n++
	l.counts[b] = c
	return 0
}
