package otp

import (
	"context"
	"sync"

	"github.com/postseal/postseal/internal/sender"
)

// turns lets one call about a user wait here, and not in the database: there each
// of those that wait would hold a connection, until no other tenant gets any.
type turns struct {
	mu sync.Mutex
	m  map[string]*turn
}

type turn struct {
	free    chan struct{} // holds one while nobody has it
	waiting int
}

// take waits for the turn of a key and returns what gives it back.
func (t *turns) take(ctx context.Context, key string) (release func(), err error) {
	t.mu.Lock()
	if t.m == nil {
		t.m = make(map[string]*turn)
	}
	x := t.m[key]
	if x == nil {
		x = &turn{free: make(chan struct{}, 1)}
		x.free <- struct{}{}
		t.m[key] = x
	}
	x.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if x.waiting--; x.waiting == 0 {
			delete(t.m, key)
		}
	}
	select {
	case <-x.free:
		return func() {
			x.free <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// inTurn is an Update about one user; see Tx.LockUser for those on other nodes.
func (s *Service) inTurn(ctx context.Context, tenant sender.ID, username string, do func(Tx) error) error {
	release, err := s.turns.take(ctx, string(tenant)+" "+username)
	if err != nil {
		return err
	}
	defer release()
	return s.store.Update(ctx, do)
}
