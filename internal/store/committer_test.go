package store

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// bench is a committer on a table of its own.
func bench(t *testing.T) *committer {
	t.Helper()
	d, err := openFile(filepath.Join(t.TempDir(), "x.db"), 1, "journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if _, err := d.ExecContext(t.Context(), "CREATE TABLE x (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	return &committer{db: d}
}

func (c *committer) insert(ctx context.Context, n int, tasks ...sender.Task) error {
	return c.update(ctx, func(ctx context.Context, tx *sql.Tx) ([]sender.Task, error) {
		_, err := tx.ExecContext(ctx, "INSERT INTO x VALUES ($1)", n)
		return tasks, err
	})
}

func (c *committer) rows(t *testing.T) (n int) {
	t.Helper()
	if err := c.db.QueryRowContext(t.Context(), "SELECT count(*) FROM x").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// blocked keeps the connection, as the job engine can, until release.
func (c *committer) blocked(t *testing.T) (release func()) {
	t.Helper()
	conn, err := c.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close() }
}

// await returns when so many wait for their turn.
func (c *committer) await(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		c.mu.Lock()
		have := len(c.waiting)
		c.mu.Unlock()
		if have == n {
			return
		}
	}
	t.Fatalf("never did %d wait", n)
}

func TestConcurrentWritesShareACommit(t *testing.T) {
	c := bench(t)
	var batches [][]sender.Task
	c.enqueue = func(_ context.Context, _ *sql.Tx, tasks []sender.Task) error {
		batches = append(batches, tasks)
		return nil
	}
	release := c.blocked(t)
	var wg sync.WaitGroup
	wake := sender.Task{Kind: sender.TaskDispatch}
	for i := range 50 {
		wg.Go(func() {
			if err := c.insert(t.Context(), i, wake, sender.Task{Kind: sender.TaskKeys, Tenant: "t", Object: "d"}); err != nil {
				t.Error(err)
			}
		})
	}
	c.await(t, 50)
	release()
	wg.Wait()
	c.close()
	if n := c.rows(t); n != 50 {
		t.Errorf("%d rows, want 50", n)
	}
	if len(batches) != 1 || len(batches[0]) != 2 {
		t.Errorf("tasks came as %v, want the two distinct ones once", batches)
	}
}

func TestBatchIsBounded(t *testing.T) {
	c := bench(t)
	commits := 0
	c.enqueue = func(context.Context, *sql.Tx, []sender.Task) error { commits++; return nil }
	release := c.blocked(t)
	var wg sync.WaitGroup
	for i := range maxBatch + 1 {
		wg.Go(func() {
			if err := c.insert(t.Context(), i, sender.Task{Kind: sender.TaskDispatch}); err != nil {
				t.Error(err)
			}
		})
	}
	c.await(t, maxBatch+1)
	release()
	wg.Wait()
	c.close()
	if commits != 2 {
		t.Errorf("%d commits, want 2", commits)
	}
}

func TestWaitingCallerCanGiveUp(t *testing.T) {
	c := bench(t)
	release := c.blocked(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.insert(ctx, 1) }()
	c.await(t, 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) { // while the connection is still held
		t.Errorf("got %v, want that it was cancelled", err)
	}
	release()
	if err := c.insert(t.Context(), 2); err != nil {
		t.Error(err)
	}
	c.close()
	if n := c.rows(t); n != 1 {
		t.Errorf("%d rows, want only the second", n)
	}
}

func TestFailedCommitFailsAll(t *testing.T) {
	c := bench(t)
	oops := errors.New("oops")
	c.enqueue = func(context.Context, *sql.Tx, []sender.Task) error { return oops }
	release := c.blocked(t)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			var tasks []sender.Task
			if i == 0 {
				tasks = []sender.Task{{Kind: sender.TaskDispatch}}
			}
			if err := c.insert(t.Context(), i, tasks...); !errors.Is(err, oops) {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	c.await(t, 10)
	release()
	wg.Wait()
	if n := c.rows(t); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
	if err := c.insert(t.Context(), 1); err != nil {
		t.Errorf("the next write: %v", err)
	}
	c.close()
}

// Some failures, such as a full disk, end the whole transaction in SQLite.
func TestLostTransactionIsNoSuccessForAnybody(t *testing.T) {
	c := bench(t)
	release := c.blocked(t)
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() {
			errs[i] = c.update(t.Context(), func(ctx context.Context, tx *sql.Tx) ([]sender.Task, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO x VALUES ($1)", i)
				if i == 1 {
					_, err = tx.ExecContext(ctx, "ROLLBACK")
				}
				return nil, err
			})
		})
		c.await(t, i+1)
	}
	release()
	wg.Wait()
	if errs[0] == nil || errs[1] == nil {
		t.Errorf("a write in the lost transaction was reported as durable: %v", errs)
	}
	want := 0
	if errs[2] == nil { // it had a transaction of its own
		want = 1
	}
	if n := c.rows(t); n != want {
		t.Errorf("%d rows, want %d: %v", n, want, errs)
	}
	if err := c.insert(t.Context(), 3); err != nil {
		t.Errorf("the next write: %v", err)
	}
	c.close()
}

func TestClosedCommitterRefuses(t *testing.T) {
	c := bench(t)
	c.close()
	if err := c.insert(t.Context(), 1); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
}

func TestCachedStatementCanBeOpenTwice(t *testing.T) {
	c := bench(t)
	for i := range 3 {
		if err := c.insert(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	c.close()
	tx, err := c.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	list := func(each func(int)) (seen int) {
		rows, err := tx.QueryContext(t.Context(), "SELECT n FROM x WHERE n < $1 ORDER BY n", 10)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil || n != seen {
				t.Fatalf("row %d is %d, %v", seen, n, err)
			}
			seen++
			each(n)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return seen
	}
	outer := list(func(int) {
		if n := list(func(int) {}); n != 3 {
			t.Errorf("inner loop saw %d rows", n)
		}
	})
	if outer != 3 {
		t.Errorf("outer loop saw %d rows", outer)
	}
}
