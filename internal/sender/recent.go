package sender

import (
	"sync"
	"time"
)

// recentSize bounds what a Recent remembers unless it says otherwise.
const recentSize = 10_000

// Recent remembers values for a while, and never too many of them: what is read
// on every request and changes rarely. Its zero value needs Age. It is safe for
// concurrent use.
type Recent[K comparable, V any] struct {
	Age  time.Duration // how long a value is taken for true
	Most int           // values; 0: recentSize

	mu sync.Mutex
	m  map[K]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

// Get returns what was put for k, if that is not too long ago.
func (r *Recent[K, V]) Get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.m[k]
	if !ok || !time.Now().Before(e.until) {
		var zero V
		return zero, false
	}
	return e.value, true
}

// Put keeps a value that was true at that time.
func (r *Recent[K, V]) Put(k K, v V, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[K]remembered[V])
	}
	most := r.Most
	if most == 0 {
		most = recentSize
	}
	if len(r.m) >= most {
		now := time.Now()
		for k, e := range r.m {
			if !now.Before(e.until) {
				delete(r.m, k)
			}
		}
		if len(r.m) >= most { // all are fresh: forgetting costs a look-up each, growing costs memory
			clear(r.m)
		}
	}
	r.m[k] = remembered[V]{v, at.Add(r.Age)}
}

// Drop forgets k.
func (r *Recent[K, V]) Drop(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, k)
}
