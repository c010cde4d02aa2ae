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

// throttle is a token bucket for each key, of which those have equal parts that used it of
// late: what one asker makes us ask must not keep the questions of others from being asked.
// Half of it is for the Checker itself, while both it and others want any. Who comes anew
// finds their part full, so that what comes at once grows with the logarithm of their number.
// The zero value is ready.
type throttle struct {
	rate, burst float64 // 0: zoneRate and zoneBurst

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	parts map[string]*part // by asker
	tidy  time.Time        // when those were last forgotten that nobody needs
}

type part struct {
	tokens float64 // may be negative: promised to those who wait
	at     time.Time
}

// share is how much of the bucket an asker has a right to who is among the parts.
func (b *bucket) share(asker string) float64 {
	others := len(b.parts)
	if b.parts[""] != nil {
		others--
	}
	switch {
	case others == 0:
		return 1
	case asker == "":
		return 0.5
	case b.parts[""] != nil:
		return 0.5 / float64(others)
	}
	return 1 / float64(others)
}

// wait takes one token, for which it may have to wait. It returns false, at once and
// without taking any, when the token would come after the context's end.
func (t *throttle) wait(ctx context.Context, key, asker string) bool {
	d, ok := t.take(ctx, key, asker)
	if !ok || d <= 0 {
		return ok
	}
	return pause(ctx, d)
}

func (t *throttle) take(ctx context.Context, key, asker string) (time.Duration, bool) {
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
		b = &bucket{parts: make(map[string]*part), tidy: now}
		t.buckets[key] = b
	}
	if now.Sub(b.tidy) >= time.Second {
		t.forget(b, now)
	}
	p := b.parts[asker]
	if p == nil {
		p = &part{tokens: t.burst, at: now}
		b.parts[asker] = p
	}
	share := b.share(asker)
	p.tokens = min(t.burst*share, p.tokens+now.Sub(p.at).Seconds()*t.rate*share)
	p.at = now
	d := time.Duration((1 - p.tokens) / (t.rate * share) * float64(time.Second))
	if end, ok := ctx.Deadline(); d > 0 && ok && now.Add(d).After(end) {
		return 0, false
	}
	p.tokens--
	return d, true
}

// forget drops the parts that are full again.
func (t *throttle) forget(b *bucket, now time.Time) {
	b.tidy = now
	shares := make(map[string]float64, len(b.parts))
	for asker := range b.parts {
		shares[asker] = b.share(asker)
	}
	for asker, p := range b.parts {
		if p.tokens+now.Sub(p.at).Seconds()*t.rate*shares[asker] >= t.burst*shares[asker] {
			delete(b.parts, asker)
		}
	}
}

// sweep forgets buckets that are full again, and all where that is not enough: to forget
// costs a burst, to grow without bound would cost the process.
func (t *throttle) sweep(now time.Time) {
	for key, b := range t.buckets {
		if t.forget(b, now); len(b.parts) == 0 {
			delete(t.buckets, key)
		}
	}
	if len(t.buckets) >= maxBuckets {
		clear(t.buckets)
	}
}
