package zone

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	keyLife     = 2 * time.Second // how long a found key, or its absence, is kept
	keyErrLife  = time.Second     // how long a failure is kept: a sick store is not asked at the rate of questions
	keyTimeout  = 2 * time.Second
	keyQueue    = 500 * time.Millisecond // how long a look-up waits for its turn
	maxKeys     = 4096
	maxKeyCalls = 64 // look-ups at once
)

// keyCache stands between the questions of the Internet and the store of keys: equal
// questions share one look-up, the look-ups at once are bounded, and so is what is kept.
type keyCache struct {
	find    func(ctx context.Context, selector string) (string, bool, error)
	flights singleflight.Group
	calls   chan struct{}

	mu      sync.Mutex
	entries map[string]keyEntry
	swept   time.Time
}

type keyEntry struct {
	txt     string
	ok      bool
	err     error
	expires time.Time
}

func newKeyCache(find func(context.Context, string) (string, bool, error)) *keyCache {
	return &keyCache{find: find, calls: make(chan struct{}, maxKeyCalls), entries: map[string]keyEntry{}}
}

// get returns the TXT value of a selector, and whether there is one.
func (c *keyCache) get(ctx context.Context, selector string) (txt string, ok bool, err error) {
	c.mu.Lock()
	e, hit := c.entries[selector]
	c.mu.Unlock()
	if hit && time.Now().Before(e.expires) {
		return e.txt, e.ok, e.err
	}
	v, _, _ := c.flights.Do(selector, func() (any, error) {
		e := c.ask(ctx, selector)
		c.keep(selector, e)
		return e, nil
	})
	e = v.(keyEntry)
	return e.txt, e.ok, e.err
}

// ask looks the selector up in the store.
func (c *keyCache) ask(ctx context.Context, selector string) keyEntry {
	// The look-up serves all who wait for it, so the one who began it cannot end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
	defer cancel()
	turn := time.NewTimer(keyQueue)
	defer turn.Stop()
	select {
	case c.calls <- struct{}{}:
		defer func() { <-c.calls }()
	case <-turn.C:
		return keyEntry{err: errors.New("find DKIM key: too many look-ups at once"), expires: time.Now()}
	}
	txt, ok, err := c.find(ctx, selector)
	if err == nil && len(txt) > maxTXT {
		err = fmt.Errorf("value has %d bytes, at most %d are served", len(txt), maxTXT)
	}
	if err != nil {
		err = fmt.Errorf("find DKIM key %.100q: %w", selector, err)
		return keyEntry{err: err, expires: time.Now().Add(keyErrLife)}
	}
	return keyEntry{txt: txt, ok: ok, expires: time.Now().Add(keyLife)}
}

// keep stores e where there is room. When there is none a key pushes another entry
// out, and an absence is not kept: made-up names must not push keys out.
func (c *keyCache) keep(selector string, e keyEntry) {
	now := time.Now()
	if !now.Before(e.expires) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxKeys && now.Sub(c.swept) >= time.Second {
		c.swept = now
		for s, old := range c.entries {
			if !now.Before(old.expires) {
				delete(c.entries, s)
			}
		}
	}
	if _, present := c.entries[selector]; !present && len(c.entries) >= maxKeys {
		if !e.ok {
			return
		}
		for s := range c.entries {
			delete(c.entries, s)
			break
		}
	}
	c.entries[selector] = e
}
