package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/postseal/postseal/internal/sender"
)

// maxBatch bounds the writes that share a commit, and so how long the first of
// them can wait for the last.
const maxBatch = 128

var errClosed = errors.New("store: it is closed")

// committer lets concurrent writers share transactions, since making a commit
// durable costs far more than what is in it.
//
//	caller:     join ──> wait ──> do(tx) in its own goroutine ──> wait ──> result
//	committer:  BEGIN ──> SAVEPOINT, lend tx, RELEASE or ROLLBACK TO ──> next ... ──> tasks, COMMIT
//
// It lends the transaction to one caller after the other; each runs in a savepoint,
// so that one that fails, panics or ends its goroutine takes no other with it. Who
// arrives while a batch is open still joins it; a caller who is alone waits for
// nobody. The connection is held only while there is something to write, because
// the job engine shares it. There is no standing goroutine: the first to join
// starts the turn, which ends when nobody waits.
type committer struct {
	db      *sql.DB // one connection
	enqueue func(context.Context, *sql.Tx, []sender.Task) error

	mu      sync.Mutex
	waiting []*write
	running bool
	closed  bool
	idle    sync.WaitGroup // counts the running turn
}

// write is one caller's place in a batch.
type write struct {
	lent     chan loan    // the transaction to use, or why there is none
	returned chan outcome // what the caller did with it
	done     chan error   // after COMMIT
}

type loan struct {
	tx  *sql.Tx
	ctx context.Context
	err error
}

// outcome of a caller's part; tasks count only if ok. A caller that failed with an
// error stays to hear whether the batch was committed; one that panicked does not.
type outcome struct {
	ok, stays bool
	tasks     []sender.Task
}

// update runs do in a savepoint of a shared transaction and returns when it is
// durable. While it waits for its turn, the end of ctx takes it out; after that it
// stays to the end, since do writes to the caller's variables and the truth is
// near. A part that failed waits for the commit as well: what it failed on (a name
// that is taken, a limit that is reached) may be of the same batch, and must not be
// told to anybody before others can see it.
func (c *committer) update(ctx context.Context, do func(context.Context, *sql.Tx) ([]sender.Task, error)) error {
	if err := ctx.Err(); err != nil { // a turn that is there at once would be taken all the same
		return err
	}
	w := &write{lent: make(chan loan, 1), returned: make(chan outcome, 1), done: make(chan error, 1)}
	if err := c.join(w); err != nil {
		return err
	}
	var l loan
	select {
	case l = <-w.lent:
	case <-ctx.Done():
		if c.leave(w) {
			return ctx.Err()
		}
		l = <-w.lent
	}
	if l.err != nil {
		return l.err
	}
	ended := false
	defer func() { // runs on panic and Goexit as well
		if !ended {
			w.returned <- outcome{}
		}
	}()
	tasks, err := do(l.ctx, l.tx)
	ended = true
	w.returned <- outcome{ok: err == nil, stays: true, tasks: tasks}
	if lost := <-w.done; lost != nil {
		return lost
	}
	return err
}

func (c *committer) join(w *write) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	c.waiting = append(c.waiting, w)
	if !c.running {
		c.running = true
		c.idle.Go(c.turn)
	}
	return nil
}

func (c *committer) leave(w *write) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, w)
	if i < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	return true
}

// next takes the first who waits, nil if there is none.
func (c *committer) next() *write {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil
	}
	w := c.waiting[0]
	c.waiting = slices.Delete(c.waiting, 0, 1)
	return w
}

// turn commits batches until nobody waits.
func (c *committer) turn() {
	for {
		c.mu.Lock()
		if len(c.waiting) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.batch()
	}
}

func (c *committer) batch() {
	ctx := context.Background()
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		// Nobody could do better: fail all who wait now.
		err = fmt.Errorf("store: begin: %w", err)
		for w := c.next(); w != nil; w = c.next() {
			w.lent <- loan{err: err}
		}
		return
	}
	members, err := c.fill(ctx, tx)
	written := slices.ContainsFunc(members, func(m member) bool { return m.ok })
	if err == nil && written {
		err = c.commit(ctx, tx, members)
	}
	if err != nil || !written {
		_ = tx.Rollback() // err says more; after a failed COMMIT there is nothing to roll back
	}
	for _, m := range members {
		m.done <- err
	}
}

// member is a write that waits for the end of the batch.
type member struct {
	*write
	outcome
}

// fill lends the transaction to one caller after the other. An error means that
// the transaction itself is broken, with all that was done in it.
func (c *committer) fill(ctx context.Context, tx *sql.Tx) (members []member, err error) {
	for range maxBatch {
		w := c.next()
		if w == nil {
			break
		}
		if _, err := tx.ExecContext(ctx, "SAVEPOINT part"); err != nil {
			w.lent <- loan{err: fmt.Errorf("store: savepoint: %w", err)}
			return members, err
		}
		w.lent <- loan{tx: tx, ctx: ctx}
		o := <-w.returned
		if o.stays {
			members = append(members, member{w, o})
		}
		if !o.ok {
			if _, err := tx.ExecContext(ctx, "ROLLBACK TO part"); err != nil {
				return members, fmt.Errorf("store: the transaction was lost: %w", err)
			}
		}
		if _, err := tx.ExecContext(ctx, "RELEASE part"); err != nil {
			return members, fmt.Errorf("store: the transaction was lost: %w", err)
		}
	}
	return members, nil
}

func (c *committer) commit(ctx context.Context, tx *sql.Tx, members []member) error {
	var tasks []sender.Task
	for _, m := range members {
		if m.ok {
			tasks = append(tasks, m.tasks...)
		}
	}
	if tasks = distinct(tasks); len(tasks) > 0 && c.enqueue != nil {
		if err := c.enqueue(ctx, tx, tasks); err != nil {
			return fmt.Errorf("store: enqueue: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}

// close refuses new writes and waits for those that are under way.
func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.idle.Wait()
}

// distinct drops repeated tasks and keeps the order.
func distinct(tasks []sender.Task) []sender.Task {
	type key struct {
		kind           sender.TaskKind
		due            int64
		tenant, object sender.ID
	}
	seen := make(map[key]bool, len(tasks))
	return slices.DeleteFunc(tasks, func(t sender.Task) bool {
		k := key{t.Kind, micros(t.Due), t.Tenant, t.Object}
		if seen[k] {
			return true
		}
		seen[k] = true
		return false
	})
}
