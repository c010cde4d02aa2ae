package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/postseal/postseal/internal/sender"
)

// taskArgs is a task as River stores it. All kinds of task share one kind of job,
// so that a node of an older version, which lacks a worker, fails the attempt and
// leaves the task for a newer one, instead of discarding it.
type taskArgs struct {
	Task   sender.TaskKind `json:"task"`
	Tenant sender.ID       `json:"tenant,omitempty"`
	Object sender.ID       `json:"object,omitempty"`
}

// Kind is what River calls the job.
func (taskArgs) Kind() string { return "task" }

// Wake-ups go first. The number also marks them for wakeUpWaits.
const (
	priorityWakeUp = 1
	priorityOther  = 2
)

// InsertSQL enqueues tasks in a transaction on Config.Writer. They run after it
// commits, and never where it is rolled back. The same task several times over is
// enqueued once. An error has spoilt the transaction: roll it back, or back to a
// savepoint.
func (e *Engine) InsertSQL(ctx context.Context, tx *sql.Tx, tasks []sender.Task) error {
	if e.sqlite == nil {
		return errors.New("jobs: this engine is on PostgreSQL: call InsertPgx")
	}
	params, err := e.insertParams(tasks, time.Now())
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(params, isWakeUpNow); i >= 0 {
		waits, err := wakeUpWaits(ctx, tx)
		if err != nil {
			return fmt.Errorf("jobs: look for a wake-up that waits: %w", err)
		}
		if waits {
			params = slices.Delete(params, i, i+1)
		}
	}
	if len(params) == 0 {
		return nil
	}
	if _, err := e.sqlite.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("jobs: enqueue %d tasks: %w", len(params), err)
	}
	return nil
}

// InsertPgx is InsertSQL for a transaction on Config.Pool.
func (e *Engine) InsertPgx(ctx context.Context, tx pgx.Tx, tasks []sender.Task) error {
	if e.pg == nil {
		return errors.New("jobs: this engine is on SQLite: call InsertSQL")
	}
	params, err := e.insertParams(tasks, time.Now())
	if err != nil || len(params) == 0 {
		return err
	}
	if _, err := e.pg.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("jobs: enqueue %d tasks: %w", len(params), err)
	}
	return nil
}

// insertParams leaves out repetitions. Due times are rounded up to what SQLite's
// rows can hold: a wake-up that came half a millisecond early would find nothing
// due and be gone.
func (e *Engine) insertParams(tasks []sender.Task, now time.Time) ([]river.InsertManyParams, error) {
	seen := make(map[sender.Task]bool, len(tasks))
	params := make([]river.InsertManyParams, 0, len(tasks))
	for _, t := range tasks {
		if _, ok := e.cfg.Workers[t.Kind]; t.Kind == "" || !ok && len(e.cfg.Workers) > 0 {
			return nil, fmt.Errorf("jobs: task kind %q has no worker: add one to Config.Workers", cut(string(t.Kind)))
		}
		if t.Due.After(now) {
			t.Due = t.Due.UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond)
		} else {
			t.Due = time.Time{}
		}
		if seen[t] {
			continue
		}
		seen[t] = true
		opts := &river.InsertOpts{Priority: priorityOther, ScheduledAt: t.Due}
		if t.Kind == sender.TaskDispatch {
			opts.Priority = priorityWakeUp
		}
		params = append(params, river.InsertManyParams{
			Args:       taskArgs{Task: t.Kind, Tenant: t.Tenant, Object: t.Object},
			InsertOpts: opts,
		})
	}
	return params, nil
}

// isWakeUpNow is true of at most one in what insertParams returns.
func isWakeUpNow(p river.InsertManyParams) bool {
	return p.InsertOpts.Priority == priorityWakeUp && p.InsertOpts.ScheduledAt.IsZero()
}

// dueHook makes a job with a due time available at once. River would store it as
// scheduled and let the leader look for such jobs every five seconds, so that what
// is due in one second comes five late, and not at all while there is no leader.
// Fetching honours the due time of available jobs by itself.
type dueHook struct{ river.HookDefaults }

func (*dueHook) InsertBegin(_ context.Context, p *rivertype.JobInsertParams) error {
	if p.State == rivertype.JobStateScheduled {
		p.State = rivertype.JobStateAvailable
	}
	return nil
}

// taskWorker is River's view of Config.Workers.
type taskWorker struct {
	river.WorkerDefaults[taskArgs]
	e *Engine
}

func (w *taskWorker) Work(ctx context.Context, job *river.Job[taskArgs]) error {
	log := w.e.log.With("task", cut(string(job.Args.Task)), "tenant", string(job.Args.Tenant),
		"object", string(job.Args.Object), "attempt", job.Attempt)
	work, ok := w.e.cfg.Workers[job.Args.Task]
	if !ok {
		work = func(context.Context, sender.Task) error {
			return errors.New("this version has no worker for it: upgrade this node")
		}
	}
	t := sender.Task{Kind: job.Args.Task, Due: job.ScheduledAt, Tenant: job.Args.Tenant, Object: job.Args.Object}
	if slices.Contains(w.e.cfg.Interruptible, t.Kind) {
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		defer end()
		defer context.AfterFunc(w.e.asked, end)()
	}
	err := attempt(ctx, log, func(ctx context.Context) error { return work(ctx, t) })
	if err != nil && job.Attempt >= job.MaxAttempts {
		log.ErrorContext(ctx, "task given up", "err", err.Error())
	}
	return err
}

// attempt runs something of ours once and logs how it failed. A panic counts as
// an error and never ends the process: the other jobs are none the worse for it.
func attempt(ctx context.Context, log *slog.Logger, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &attemptError{err: fmt.Errorf("panic: %v", p)}
			log.ErrorContext(ctx, "job panicked", "err", err.Error(), "stack", string(debug.Stack()))
		}
	}()
	if err := run(ctx); err != nil {
		err = &attemptError{err: err}
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return err // told to end, and it did
		}
		log.WarnContext(ctx, "job failed", "err", err.Error())
		return err
	}
	return nil
}

// attemptError keeps the text of an error short: it goes into the log and, with
// every attempt, into the job's row.
type attemptError struct{ err error }

func (e *attemptError) Error() string { return cutAt(e.err.Error(), 300) }
func (e *attemptError) Unwrap() error { return e.err }

// retryPolicy tries again after 1 s, 2 s, 4 s and so on, never later than after
// five minutes, and a little sooner at random, so that what failed together does
// not come back together.
type retryPolicy struct{}

func (retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	return time.Now().Add(backoff(job.Attempt, rand.Float64()))
}

const maxBackoff = 5 * time.Minute

// backoff takes the number of the attempt that failed, from 1, and a random
// number below 1.
func backoff(attempt int, random float64) time.Duration {
	d := min(time.Second<<min(max(attempt-1, 0), 20), maxBackoff)
	return d - time.Duration(random*float64(d)/5)
}

// quiet passes River's warnings and errors on. Below that it reports every
// failed job, which attempt has logged already, and its own comings and goings.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(warnHandler{log.Handler()}) }

type warnHandler struct{ slog.Handler }

func (h warnHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}
func (h warnHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnHandler{h.Handler.WithAttrs(attrs)}
}
func (h warnHandler) WithGroup(name string) slog.Handler {
	return warnHandler{h.Handler.WithGroup(name)}
}

func cut(s string) string { return cutAt(s, 100) }

func cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
