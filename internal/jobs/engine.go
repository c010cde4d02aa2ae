package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/postseal/postseal/internal/sender"
)

// Worker does one task. An error means: try again later. It may be called twice
// for the same task, at the same time even, and has to return soon after its
// context ends.
type Worker = func(ctx context.Context, t sender.Task) error

// Config says where jobs live and who does them.
type Config struct {
	// Writer is the store's only writing connection to SQLite, with
	// SetMaxOpenConns(1). Exactly one of Writer and Pool is set.
	Writer *sql.DB
	// Pool leads to PostgreSQL. Run keeps one of its connections to listen on.
	Pool *pgxpool.Pool

	// Log gets failures of tasks, and River's own warnings and errors. Nil: nothing
	// is logged.
	Log *slog.Logger

	// Workers has one entry per kind that may be inserted. A process that enqueues
	// and never runs leaves it empty, and may then insert any kind.
	Workers map[sender.TaskKind]Worker
	// Interruptible are the kinds whose workers' contexts end as soon as Run is told to
	// end: what takes long, and is no worse for being begun again by the next process.
	Interruptible []sender.TaskKind
	// Periodic lists what runs again and again while Run does.
	Periodic []Periodic
}

const (
	// fetchCooldown is the least time between two looks for jobs.
	fetchCooldown = 20 * time.Millisecond
	// fetchPollInterval is the time between two looks where nothing announced a job,
	// and so how late one may start: any on SQLite, and on PostgreSQL one that had a
	// due time. It costs about one percent of a processor.
	fetchPollInterval = 250 * time.Millisecond
	// jobTimeout bounds one attempt at a task. On PostgreSQL a task of a dead node
	// runs again up to 34 s after that, since River looks for such tasks every 30 s.
	jobTimeout = 20 * time.Second

	// maxAttempts times the cap of backoff makes a week, after which a task is
	// given up. River keeps every error of a job in its row, which bounds it.
	maxAttempts = 2000

	// keepCompleted is how long a finished job's row is kept: for a look at what
	// just happened, no longer, since dispatching makes several rows a second.
	keepCompleted = 5 * time.Minute
	keepDiscarded = 7 * 24 * time.Hour

	// drain is how long running work may go on after Run was told to end, and
	// lastCall how long it has to return once its context is cancelled as well.
	drain    = 10 * time.Second
	lastCall = 5 * time.Second

	// parallel is how many tasks run at once in this process. Most are wake-ups,
	// which return at once, and one look fetches no more than there is room for.
	parallel = 64

	// rescueMargin is what the rescue of a job waits beyond its time-out, so that
	// an attempt that ends in time is not taken for lost.
	rescueMargin = 2 * time.Second
)

// Engine enqueues and runs jobs. It has no goroutines but those inside Run.
type Engine struct {
	cfg   Config
	log   *slog.Logger
	drain time.Duration // the constant but for tests
	last  time.Duration // lastCall but for tests
	ran   atomic.Bool
	asked context.Context        // Run's, set before anything works
	busy  map[string]*sync.Mutex // by name of Periodic: held while it runs here

	// One of the two is set, as in Config.
	sqlite *river.Client[*sql.Tx]
	pg     *river.Client[pgx.Tx]
}

// New checks the configuration. It does not touch the database.
func New(cfg Config) (*Engine, error) {
	e, err := build(cfg, drain, lastCall)
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return e, nil
}

func build(cfg Config, drain, last time.Duration) (*Engine, error) {
	if (cfg.Writer == nil) == (cfg.Pool == nil) {
		return nil, errors.New("set exactly one of Writer (SQLite) and Pool (PostgreSQL)")
	}
	if cfg.Writer != nil {
		if n := cfg.Writer.Stats().MaxOpenConnections; n != 1 {
			return nil, fmt.Errorf("the Writer may open %d connections (0: any number): call SetMaxOpenConns(1), since SQLite has one writer", n)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}

	e := &Engine{cfg: cfg, log: cfg.Log, drain: drain, last: last, busy: map[string]*sync.Mutex{}}
	for kind, work := range cfg.Workers {
		if kind == "" || work == nil {
			return nil, fmt.Errorf("worker for task kind %q: give both a kind and a function", cut(string(kind)))
		}
	}
	for _, p := range cfg.Periodic {
		if err := p.check(); err != nil {
			return nil, err
		}
		if e.busy[p.Name] != nil {
			return nil, fmt.Errorf("periodic %q is there twice: give each its own name", cut(p.Name))
		}
		e.busy[p.Name] = new(sync.Mutex)
	}

	rc, err := e.riverConfig()
	if err != nil {
		return nil, err
	}
	if cfg.Writer != nil {
		e.sqlite, err = river.NewClient(riversqlite.New(cfg.Writer), rc)
	} else {
		e.pg, err = river.NewClient(riverpgxv5.New(cfg.Pool), rc)
	}
	return e, err
}

func (e *Engine) riverConfig() (*river.Config, error) {
	rc := &river.Config{
		Logger:      quiet(e.log),
		Hooks:       []rivertype.Hook{&dueHook{}},
		MaxAttempts: maxAttempts,
	}
	if len(e.cfg.Workers) == 0 && len(e.cfg.Periodic) == 0 {
		return rc, nil // River then only enqueues
	}

	rc.Workers = river.NewWorkers()
	if err := river.AddWorkerSafely(rc.Workers, &taskWorker{e: e}); err != nil {
		return nil, err
	}
	if err := river.AddWorkerSafely(rc.Workers, &periodicWorker{e: e}); err != nil {
		return nil, err
	}
	// Periodic work must find a free slot however long some of it takes.
	rc.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: parallel + len(e.cfg.Periodic)}}
	rc.FetchCooldown = fetchCooldown
	rc.FetchPollInterval = fetchPollInterval
	rc.JobTimeout = jobTimeout
	rc.RescueStuckJobsAfter = jobTimeout + rescueMargin
	rc.RetryPolicy = retryPolicy{}
	rc.CompletedJobRetentionPeriod = keepCompleted
	rc.DiscardedJobRetentionPeriod = keepDiscarded
	rc.SoftStopTimeout = e.drain
	if e.cfg.Writer != nil {
		sqliteConfig(rc)
	} else {
		rc.PeriodicJobs = e.riverPeriodic()
	}
	return rc, nil
}

// Migrate brings River's tables up to date, with River's own migrator. Several
// nodes may call it at the same time; on PostgreSQL it needs two connections.
func (e *Engine) Migrate(ctx context.Context) error {
	var err error
	if e.sqlite != nil {
		err = migrate(ctx, riversqlite.New(e.cfg.Writer), e.log)
	} else {
		err = e.migratePgx(ctx)
	}
	if err != nil {
		return fmt.Errorf("jobs: migrate River's tables: %w", err)
	}
	return nil
}

// migrateLock is the key of the PostgreSQL advisory lock that makes nodes migrate
// one after another. Its value means nothing; it must only stay the same.
const migrateLock = 0x706f73747365616c

func (e *Engine) migratePgx(ctx context.Context) error {
	conn, err := e.cfg.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrateLock)); err != nil {
		return err
	}
	defer func() {
		// A connection that could not give the lock back must not return to the pool.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", int64(migrateLock)); err != nil {
			_ = conn.Conn().Close(ctx)
		}
	}()
	return migrate(ctx, riverpgxv5.New(e.cfg.Pool), e.log)
}

func migrate[T any](ctx context.Context, driver riverdriver.Driver[T], log *slog.Logger) error {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet(log)})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// Check refuses a database without River's tables, or with those of an older
// version: what a migration leaves that ended half-way.
func (e *Engine) Check(ctx context.Context) error {
	var err error
	if e.sqlite != nil {
		err = validate(ctx, riversqlite.New(e.cfg.Writer), e.log)
	} else {
		err = validate(ctx, riverpgxv5.New(e.cfg.Pool), e.log)
	}
	if err != nil {
		return fmt.Errorf("jobs: River's tables are missing or old; run postseal migrate: %w", err)
	}
	return nil
}

func validate[T any](ctx context.Context, driver riverdriver.Driver[T], log *slog.Logger) error {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet(log)})
	if err != nil {
		return err
	}
	found, err := m.Validate(ctx, nil)
	if err == nil && !found.OK {
		err = errors.New(strings.Join(found.Messages, "; "))
	}
	return err
}

// Run works until ctx is done, then lets what is running finish: for ten seconds
// undisturbed unless it is Interruptible, then with its context cancelled. It returns nil after an orderly
// end, and an error where it could not start or where work would not end. An
// engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	var client interface {
		Start(context.Context) error
		Stopped() <-chan struct{}
	} = e.pg
	if e.sqlite != nil {
		client = e.sqlite
	}
	if len(e.cfg.Workers) == 0 && len(e.cfg.Periodic) == 0 {
		return errors.New("jobs: nothing to run: set Config.Workers or Config.Periodic")
	}
	if e.ran.Swap(true) {
		return errors.New("jobs: Run was called before: make a new engine")
	}

	if e.sqlite != nil {
		if err := e.releaseCrashed(ctx); err != nil {
			return endOr(ctx, fmt.Errorf("jobs: release the jobs of an earlier process: %w", err))
		}
	}
	asked := ctx
	e.asked = asked
	ctx, end := context.WithCancel(ctx)
	defer end()
	if err := client.Start(ctx); err != nil {
		return endOr(asked, fmt.Errorf("jobs: start River: %w", err))
	}
	work, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelWork()
	tickers := e.startTickers(ctx, work)

	var err error
	select {
	case <-ctx.Done():
	case <-client.Stopped():
		err = endOr(asked, errors.New("jobs: River stopped by itself"))
		end()
	}
	// River cancels its own work after the same time.
	defer time.AfterFunc(e.drain, cancelWork).Stop()
	ended := make(chan struct{})
	go func() {
		<-client.Stopped()
		tickers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-time.After(e.drain + e.last):
		return fmt.Errorf("jobs: work goes on %v after it was told to end", e.drain+e.last)
	}
}

// endOr answers nil where the error only says that ctx is done, which is no error.
func endOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
