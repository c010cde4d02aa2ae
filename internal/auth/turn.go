package auth

import (
	"context"
	"sync"

	"github.com/postseal/postseal/internal/sender"
)

// maxHashes is how many hashes are computed at a time. One takes 19 MiB and a core
// for some 30 ms, so that this bounds memory as well as CPU.
const maxHashes = 2

// stranger stands for the tenant of ids that nobody has.
const stranger sender.ID = "stranger"

// turns lets maxHashes in at a time and one of each tenant: whoever floods us with
// wrong secrets for a client that exists holds up its own tenant and nobody else.
type turns struct {
	places chan struct{}

	mu     sync.Mutex
	queues map[sender.ID]*queue
}

type queue struct {
	turn  chan struct{}
	users int // who hold or wait for the turn; the last one removes the queue
}

func newTurns() *turns {
	return &turns{places: make(chan struct{}, maxHashes), queues: make(map[sender.ID]*queue)}
}

// take waits for the tenant's turn and then for a place, or for the end of ctx.
func (t *turns) take(ctx context.Context, tenant sender.ID) (release func(), err error) {
	t.mu.Lock()
	q := t.queues[tenant]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		t.queues[tenant] = q
	}
	q.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(t.queues, tenant)
		}
	}
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
	select {
	case t.places <- struct{}{}:
	case <-ctx.Done():
		<-q.turn
		leave()
		return nil, ctx.Err()
	}
	return func() {
		<-t.places
		<-q.turn
		leave()
	}, nil
}
