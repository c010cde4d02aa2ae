package auth

import (
	"sync"
	"time"
)

// cache remembers values for a while, and never more than cacheSize of them.
type cache[K comparable, V any] struct {
	age time.Duration
	mu  sync.Mutex
	m   map[K]cached[V]
}

type cached[V any] struct {
	value V
	until time.Time
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[k]
	if !ok || !time.Now().Before(e.until) {
		var zero V
		return zero, false
	}
	return e.value, true
}

// put keeps a value that was true at that time.
func (c *cache[K, V]) put(k K, v V, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[K]cached[V])
	}
	if len(c.m) >= cacheSize {
		now := time.Now()
		for k, e := range c.m {
			if !now.Before(e.until) {
				delete(c.m, k)
			}
		}
		if len(c.m) >= cacheSize { // all are fresh: forgetting costs a look-up each, growing costs memory
			clear(c.m)
		}
	}
	c.m[k] = cached[V]{v, at.Add(c.age)}
}

func (c *cache[K, V]) drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, k)
}
