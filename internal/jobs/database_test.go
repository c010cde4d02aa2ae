package jobs

import (
	"bytes"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("JOBS_TEST_VICTIM"); url != "" {
		victim(url)
	}
	// These tests wait far more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// database is one of the two engines with River's tables in it.
type database struct {
	url    string // a file name for SQLite
	writer *sql.DB
	pool   *pgxpool.Pool
}

// onBoth runs a test on an empty SQLite and an empty PostgreSQL.
func onBoth(t *testing.T, test func(*testing.T, database)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, onSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, onPostgres(t)) })
}

func onSQLite(t testing.TB) database {
	return open(t, filepath.Join(t.TempDir(), "jobs.db")).migrated(t)
}

func onPostgres(t testing.TB) database { return open(t, storetest.Postgres(t)).migrated(t) }

func open(t testing.TB, url string) database {
	t.Helper()
	d, err := dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func dial(url string) (database, error) {
	var err error
	d := database{url: url}
	if filepath.IsAbs(url) {
		// No syncing: what these tests kill is processes, not the machine.
		d.writer, err = sql.Open("sqlite", "file:"+url+
			"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(5000)&_txlock=immediate")
		if err == nil {
			d.writer.SetMaxOpenConns(1)
		}
	} else {
		d.pool, err = pgxpool.New(context.Background(), url)
	}
	return d, err
}

func (d database) close() {
	if d.writer != nil {
		_ = d.writer.Close()
	} else {
		d.pool.Close()
	}
}

func (d database) migrated(t testing.TB) database {
	t.Helper()
	if err := d.engine(t, Config{}).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d database) engine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	return d.engineThatDrains(t, cfg, drain, lastCall)
}

func (d database) engineThatDrains(t testing.TB, cfg Config, drain, last time.Duration) *Engine {
	t.Helper()
	cfg.Writer, cfg.Pool = d.writer, d.pool
	e, err := build(cfg, drain, last)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// enqueue inserts tasks in a transaction and commits it, or not.
func (d database) enqueue(t testing.TB, e *Engine, commit bool, tasks ...sender.Task) {
	t.Helper()
	ctx := t.Context()
	if d.writer != nil {
		tx, err := d.writer.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		if err := e.InsertSQL(ctx, tx, tasks); err != nil {
			t.Fatal(err)
		}
		if commit {
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	tx, err := d.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := e.InsertPgx(ctx, tx, tasks); err != nil {
		t.Fatal(err)
	}
	if commit {
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// exec runs a statement that both engines understand.
func (d database) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	var err error
	if d.writer != nil {
		_, err = d.writer.ExecContext(t.Context(), query, args...)
	} else {
		_, err = d.pool.Exec(t.Context(), query, args...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// text reads one value as text.
func (d database) text(t testing.TB, query string) string {
	t.Helper()
	var s string
	var err error
	if d.writer != nil {
		err = d.writer.QueryRowContext(t.Context(), query).Scan(&s)
	} else {
		err = d.pool.QueryRow(t.Context(), query).Scan(&s)
	}
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

// start runs the engine until the test or the returned function ends it. Ending
// it must succeed.
func start(t testing.TB, e *Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// recorder is a worker that hands on what it is given.
func recorder() (Worker, <-chan sender.Task) {
	ran := make(chan sender.Task, 1000)
	return func(_ context.Context, t sender.Task) error { ran <- t; return nil }, ran
}

func within[T any](t testing.TB, what string, c <-chan T, d time.Duration) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(d):
		t.Fatalf("%s: nothing within %v", what, d)
		panic("unreachable")
	}
}

// syncBuffer collects a log from several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func logTo(b *syncBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// victim is what the crash tests kill: it starts on one task and never ends it.
func victim(url string) {
	d, err := dial(url)
	if err != nil {
		panic(err)
	}
	e, err := New(Config{Writer: d.writer, Pool: d.pool, Workers: map[sender.TaskKind]Worker{
		sender.TaskKeys: func(context.Context, sender.Task) error {
			fmt.Println("working")
			select {}
		},
	}})
	if err != nil {
		panic(err)
	}
	panic(e.Run(context.Background()))
}
