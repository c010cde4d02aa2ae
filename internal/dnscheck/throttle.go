package dnscheck

import (
	"context"
	"sync"
	"time"
)

const (
	// zoneRate and zoneBurst bound the questions to the servers of one zone, and to one
	// address, over all checks of a Checker: whoever may ask for a check must not be able to
	// aim us at somebody's name servers. One check of a domain with 20 records and 8
	// addresses needs about 300.
	zoneRate  = 50 // a second
	zoneBurst = 600
	// maxBuckets bounds the memory of the throttle.
	maxBuckets = 8192
)

// throttle is a token bucket for each key. The zero value is ready.
type throttle struct {
	rate, burst float64 // 0: zoneRate and zoneBurst

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64 // may be negative: promised to those who wait
	at     time.Time
}

// wait takes one token, for which it may have to wait. It returns false, at once and
// without taking any, when the token would come after the context's end.
func (t *throttle) wait(ctx context.Context, key string) bool {
	d, ok := t.take(ctx, key)
	if !ok || d <= 0 {
		return ok
	}
	return pause(ctx, d)
}

func (t *throttle) take(ctx context.Context, key string) (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buckets == nil {
		t.buckets = make(map[string]*bucket)
	}
	if t.rate == 0 {
		t.rate, t.burst = zoneRate, zoneBurst
	}
	now := time.Now()
	b := t.buckets[key]
	if b == nil {
		if len(t.buckets) >= maxBuckets {
			t.sweep(now)
		}
		b = &bucket{tokens: t.burst, at: now}
		t.buckets[key] = b
	}
	b.tokens = min(t.burst, b.tokens+now.Sub(b.at).Seconds()*t.rate)
	b.at = now
	d := time.Duration((1 - b.tokens) / t.rate * float64(time.Second))
	if end, ok := ctx.Deadline(); d > 0 && ok && now.Add(d).After(end) {
		return 0, false
	}
	b.tokens--
	return d, true
}

// sweep forgets buckets that are full again, and all where that is not enough: to forget
// costs a burst, to grow without bound would cost the process.
func (t *throttle) sweep(now time.Time) {
	for key, b := range t.buckets {
		if b.tokens+now.Sub(b.at).Seconds()*t.rate >= t.burst {
			delete(t.buckets, key)
		}
	}
	if len(t.buckets) >= maxBuckets {
		clear(t.buckets)
	}
}
