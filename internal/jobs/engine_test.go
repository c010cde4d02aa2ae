package jobs

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/storetest"
)

var (
	dispatch = sender.Task{Kind: sender.TaskDispatch}
	keysA    = sender.Task{Kind: sender.TaskKeys, Tenant: "01890000-0000-7000-8000-000000000001", Object: "01890000-0000-7000-8000-00000000000a"}
	keysB    = sender.Task{Kind: sender.TaskKeys, Tenant: "01890000-0000-7000-8000-000000000001", Object: "01890000-0000-7000-8000-00000000000b"}
)

func workers(w Worker) map[sender.TaskKind]Worker {
	return map[sender.TaskKind]Worker{sender.TaskDispatch: w, sender.TaskKeys: w}
}

// This one is not parallel, so that what it finds is its own.
func TestThereAreNoGoroutinesOutsideRun(t *testing.T) {
	for _, d := range []database{onSQLite(t), onPostgres(t)} {
		before := goleak.IgnoreCurrent()
		w, _ := recorder()
		e := d.engine(t, Config{Workers: workers(w), Periodic: []Periodic{
			{Name: "p", Every: time.Second, Run: func(context.Context) error { return nil }}}})
		d.enqueue(t, e, true, keysA)
		goleak.VerifyNone(t, before)
	}
}

func TestRolledBackTaskNeverRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, ran := recorder()
		e := d.engine(t, Config{Workers: workers(w)})
		start(t, e)
		d.enqueue(t, e, false, keysA)
		d.enqueue(t, e, true, keysB)
		got := within(t, "the committed task", ran, 5*time.Second)
		if got.Object != keysB.Object || got.Tenant != keysB.Tenant || got.Kind != keysB.Kind {
			t.Errorf("ran %+v, want %+v", got, keysB)
		}
		if n := d.text(t, "SELECT CAST(count(*) AS text) FROM river_job"); n != "1" {
			t.Errorf("%s rows, want only the committed task's", n)
		}
	})
}

func TestCommittedTaskRunsWithinHalfASecond(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, ran := recorder()
		e := d.engine(t, Config{Workers: workers(w)})
		start(t, e)
		d.enqueue(t, e, true, dispatch)
		within(t, "the first task", ran, 5*time.Second)
		best := time.Hour // of many: other tests run on the same processors
		for range 30 {
			began := time.Now()
			d.enqueue(t, e, true, dispatch)
			within(t, "a task", ran, 5*time.Second)
			if best = min(best, time.Since(began)); best <= 500*time.Millisecond {
				return
			}
		}
		t.Errorf("the quickest of thirty took %v", best)
	})
}

func TestTaskWaitsForItsDueTimeAndNotMuchLonger(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		ran := make(chan time.Time, 10)
		e := d.engine(t, Config{Workers: workers(func(_ context.Context, task sender.Task) error {
			if task.Object == keysA.Object {
				ran <- time.Now()
			}
			return nil
		})})
		start(t, e)
		later := keysA
		later.Due = time.Now().Add(700*time.Millisecond + 300*time.Microsecond)
		d.enqueue(t, e, true, later)
		asked := time.Now()
		at := within(t, "the task", ran, 10*time.Second)
		if at.Before(later.Due) {
			t.Errorf("ran %v early", later.Due.Sub(at))
		}
		if late := min(at.Sub(later.Due), at.Sub(asked)); late > 2*time.Second {
			t.Errorf("ran %v late, as if it had waited for River's leader", late)
		}
	})
}

func TestOverdueTaskRunsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, ran := recorder()
		e := d.engine(t, Config{Workers: workers(w)})
		start(t, e)
		overdue := keysA
		overdue.Due = time.Now().Add(-time.Hour)
		d.enqueue(t, e, true, overdue)
		within(t, "the overdue task", ran, 5*time.Second)
	})
}

func TestSameTaskInOneCommitRunsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, ran := recorder()
		e := d.engine(t, Config{Workers: workers(w)})
		start(t, e)
		due, overdue := dispatch, dispatch
		due.Due = time.Now()
		overdue.Due = time.Now().Add(-time.Minute)
		d.enqueue(t, e, true, dispatch, due, keysA, overdue, keysB, keysA)
		seen := map[sender.ID]int{}
		for range 3 {
			seen[within(t, "three tasks", ran, 5*time.Second).Object]++
		}
		if seen[""] != 1 || seen[keysA.Object] != 1 || seen[keysB.Object] != 1 {
			t.Errorf("ran %v, want each of three once", seen)
		}
		if n := d.text(t, "SELECT CAST(count(*) AS text) FROM river_job"); n != "3" {
			t.Errorf("%s rows, want 3", n)
		}
	})
}

func TestFailingTaskIsTriedAgainAndLogged(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var fails, panics atomic.Int32
		done := make(chan sender.Task, 10)
		var log syncBuffer
		e := d.engine(t, Config{Log: logTo(&log), Workers: workers(func(_ context.Context, task sender.Task) error {
			if task.Object == keysA.Object && fails.Add(1) == 1 {
				return errors.New("no entropy " + strings.Repeat("x", 1000))
			}
			if task.Object == keysB.Object && panics.Add(1) == 1 {
				panic("out of luck")
			}
			done <- task
			return nil
		})})
		stop := start(t, e)
		d.enqueue(t, e, true, keysA, keysB)
		within(t, "one second try", done, 8*time.Second)
		within(t, "the other", done, 8*time.Second)
		stop()
		if n := d.text(t, "SELECT CAST(count(*) AS text) FROM river_job WHERE state = 'completed' AND attempt = 2"); n != "2" {
			t.Errorf("%s rows completed at the second attempt, want 2", n)
		}
		got := log.String()
		for _, want := range []string{"no entropy xxx", "panic: out of luck", "task=keys", "object=" + string(keysA.Object)} {
			if !strings.Contains(got, want) {
				t.Errorf("log lacks %q:\n%s", want, got)
			}
		}
		if strings.Contains(got, strings.Repeat("x", 400)) {
			t.Error("log has the long error uncut")
		}
		if strings.Contains(got, "River client") {
			t.Errorf("log has River's own news:\n%s", got)
		}
	})
}

func TestWakeUpsThatWaitAreSharedOnSQLite(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	w, ran := recorder()
	e := d.engine(t, Config{Workers: workers(w)})
	rows := func(want string) {
		t.Helper()
		if n := d.text(t, "SELECT count(*) FROM river_job"); n != want {
			t.Errorf("%s rows, want %s", n, want)
		}
	}
	later := dispatch
	later.Due = time.Now().Add(time.Hour)
	d.enqueue(t, e, true, later, keysA)
	rows("2") // neither is a wake-up that is due
	d.enqueue(t, e, false, dispatch)
	rows("2")
	for range 3 {
		d.enqueue(t, e, true, dispatch)
	}
	rows("3")
	d.enqueue(t, e, true, dispatch, keysB)
	rows("4")

	start(t, e)
	for range 3 {
		within(t, "three tasks", ran, 5*time.Second)
	}
	d.enqueue(t, e, true, dispatch)
	within(t, "the next wake-up", ran, 5*time.Second)
}

// TestKilledProcessLosesNothing kills a process with SIGKILL in the middle of a task.
func TestKilledProcessLosesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, ran := recorder()
		e := d.engine(t, Config{Workers: workers(w)})
		d.enqueue(t, e, true, keysA)

		cmd := exec.Command(os.Args[0], "-test.run=^$")
		url := d.url
		if d.pool != nil {
			url += "&application_name=victim"
		}
		cmd.Env = append(os.Environ(), "JOBS_TEST_VICTIM="+url)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		working := make(chan string, 1)
		go func() {
			line, _ := bufio.NewReader(out).ReadString('\n')
			working <- line
		}()
		got := within(t, "the process that is to die", working, 10*time.Second)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if got != "working\n" {
			t.Fatalf("the process said %q", got)
		}
		if s := d.text(t, "SELECT CAST(state AS text) FROM river_job"); s != "running" {
			t.Fatalf("the task is %s, want it left running", s)
		}

		limit := 5 * time.Second
		if d.pool != nil {
			limit = 10 * time.Second
			// The server ends what it was asked to do, though nobody waits for it.
			for ended := time.Now().Add(limit); d.text(t, "SELECT CAST(count(*) AS text) FROM pg_stat_activity WHERE application_name = 'victim'") != "0"; {
				if time.Now().After(ended) {
					t.Fatal("the server still serves the dead process")
				}
				time.Sleep(10 * time.Millisecond) // it tells nobody when it is done
			}
			// There River waits until the task has run for too long, and until the lease
			// of the leader is over. Let that have passed.
			d.exec(t, "UPDATE river_job SET attempted_at = attempted_at - interval '22 seconds'")
			d.exec(t, "UPDATE river_leader SET expires_at = expires_at - interval '16 seconds'")
		}
		began := time.Now()
		start(t, e)
		within(t, "the task of the dead process", ran, limit)
		t.Logf("ran %v after the restart", time.Since(began))
		if d.writer != nil {
			if n := d.text(t, "SELECT count(*) FROM river_leader WHERE leader_id = '"+e.sqlite.ID()+"'"); n != "1" {
				t.Error("the dead process still leads")
			}
		}
	})
}

func TestReleaseTouchesOnlyWhatRan(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	e := d.engine(t, Config{})
	for _, s := range []string{"available", "retryable", "scheduled", "running"} {
		d.exec(t, "INSERT INTO river_job (kind, state, attempt, max_attempts) VALUES ('task', ?, 3, 3)", s)
	}
	d.exec(t, "INSERT INTO river_job (kind, state, attempt, max_attempts, finalized_at) VALUES ('task', 'completed', 3, 3, CURRENT_TIMESTAMP)")
	if err := e.releaseCrashed(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := d.text(t, "SELECT group_concat(state || ' ' || attempt || '/' || max_attempts, ', ' ORDER BY id) FROM river_job")
	if want := "available 3/3, retryable 3/3, scheduled 3/3, available 3/4, completed 3/3"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRunLetsWorkFinish(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		begun, finish := make(chan struct{}), make(chan struct{})
		e := d.engine(t, Config{Workers: workers(func(ctx context.Context, _ sender.Task) error {
			close(begun)
			select {
			case <-finish:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		d.enqueue(t, e, true, keysA)
		within(t, "the start of the work", begun, 5*time.Second)
		cancel()
		select {
		case err := <-done:
			t.Fatalf("Run returned %v before the work was done", err)
		case <-time.After(300 * time.Millisecond):
		}
		close(finish)
		if err := within(t, "the end of Run", done, 5*time.Second); err != nil {
			t.Error(err)
		}
		if s := d.text(t, "SELECT CAST(state AS text) FROM river_job"); s != "completed" {
			t.Errorf("the task is %s, want completed", s)
		}
	})
}

func TestRunCancelsWorkThatTakesTooLong(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		// The interrupted task may be fetched once more by a look that has begun already.
		begun := make(chan struct{}, 10)
		var log syncBuffer
		e := d.engineThatDrains(t, Config{Log: logTo(&log), Workers: workers(func(ctx context.Context, _ sender.Task) error {
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})}, 50*time.Millisecond, lastCall)
		stop := start(t, e)
		d.enqueue(t, e, true, keysA)
		within(t, "the start of the work", begun, 5*time.Second)
		stop()
		if s := d.text(t, "SELECT CAST(state AS text) || ' ' || CAST(attempt AS text) FROM river_job"); s != "available 0" {
			t.Errorf("the task is %s, want it available to the next process, with no attempt counted", s)
		}
		if strings.Contains(log.String(), "job failed") {
			t.Errorf("the end of the process is logged as a failure:\n%s", log.String())
		}
	})
}

func TestRunReturnsWhileWorkIgnoresItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		begun, finish := make(chan struct{}), make(chan struct{})
		e := d.engineThatDrains(t, Config{Workers: workers(func(context.Context, sender.Task) error {
			close(begun)
			<-finish
			return nil
		})}, 50*time.Millisecond, 100*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		d.enqueue(t, e, true, keysA)
		within(t, "the start of the work", begun, 5*time.Second)
		cancel()
		if err := within(t, "the end of Run", done, 5*time.Second); err == nil || !strings.Contains(err.Error(), "work goes on") {
			t.Errorf("Run returned %v, want it to tell of work that goes on", err)
		}
		close(finish)
		if e.sqlite != nil {
			within(t, "River's end", e.sqlite.Stopped(), 5*time.Second)
		} else {
			within(t, "River's end", e.pg.Stopped(), 5*time.Second)
		}
	})
}

func TestNodesMigrateAtTheSameTime(t *testing.T) {
	t.Parallel()
	d := open(t, storetest.Postgres(t))
	var g errgroup.Group
	for range 4 {
		e := open(t, d.url).engine(t, Config{})
		g.Go(func() error { return e.Migrate(t.Context()) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, _ := recorder()
		e := d.engine(t, Config{Workers: workers(w)})
		d.enqueue(t, e, true, keysA)
		if err := e.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		// releaseCrashed is written for this version of the schema.
		if v := d.text(t, "SELECT CAST(max(version) AS text) FROM river_migration"); d.writer != nil && v != "8" {
			t.Errorf("River's schema on SQLite has version %s, want 8: read releaseCrashed again", v)
		}
		if n := d.text(t, "SELECT CAST(count(*) AS text) FROM river_job"); n != "1" {
			t.Errorf("%s jobs, want 1", n)
		}
	})
}

func TestCheckRefusesAHalfMigratedDatabase(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, _ := recorder()
		e := d.engine(t, Config{Workers: workers(w)})
		if err := e.Check(t.Context()); err != nil {
			t.Errorf("after the migration: %v", err)
		}
		d.exec(t, "DELETE FROM river_migration WHERE version > 4")
		if err := e.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "run postseal migrate") {
			t.Errorf("with half of River's migrations: %v", err)
		}
	})
}

func TestTaskWithoutWorkerIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		w, _ := recorder()
		insert := func(e *Engine, task sender.Task) error {
			if d.writer != nil {
				tx, err := d.writer.Begin()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = tx.Rollback() }()
				return e.InsertSQL(t.Context(), tx, []sender.Task{task})
			}
			tx, err := d.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			return e.InsertPgx(t.Context(), tx, []sender.Task{task})
		}
		works, enqueues := d.engine(t, Config{Workers: workers(w)}), d.engine(t, Config{})
		if err := insert(works, sender.Task{Kind: "dance"}); err == nil || !strings.Contains(err.Error(), `"dance"`) {
			t.Errorf("got %v, want an error that names the kind", err)
		}
		if err := insert(enqueues, sender.Task{Kind: "dance"}); err != nil {
			t.Errorf("a process that only enqueues: %v", err)
		}
		if err := insert(enqueues, sender.Task{}); err == nil {
			t.Error("a task without a kind was taken")
		}
		if err := enqueues.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing to run") {
			t.Errorf("Run without workers: %v", err)
		}
		if err := errors.Join(works.InsertSQL(t.Context(), nil, nil), works.InsertPgx(t.Context(), nil, nil)); err == nil {
			t.Error("both inserts were taken, want the one for the other database refused")
		}
	})
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	many, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	one, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	one.SetMaxOpenConns(1)
	t.Cleanup(func() { _, _ = many.Close(), one.Close() })
	nop := func(context.Context) error { return nil }
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no database", Config{}, "exactly one"},
		{"two databases", Config{Writer: one, Pool: new(pgxpool.Pool)}, "exactly one"},
		{"several writers", Config{Writer: many}, "SetMaxOpenConns(1)"},
		{"no function", Config{Writer: one, Workers: map[sender.TaskKind]Worker{"keys": nil}}, `"keys"`},
		{"no name", Config{Writer: one, Periodic: []Periodic{{Every: time.Second, Run: nop}}}, "name"},
		{"too often", Config{Writer: one, Periodic: []Periodic{{Name: "p", Every: time.Millisecond, Run: nop}}}, "too often"},
		{"no run", Config{Writer: one, Periodic: []Periodic{{Name: "p", Every: time.Second}}}, "Run is missing"},
		{"twice", Config{Writer: one, Periodic: []Periodic{{"p", time.Second, nop}, {"p", time.Minute, nop}}}, "twice"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", c.name, err, c.want)
		}
	}
	if _, err := New(Config{Writer: one}); err != nil {
		t.Errorf("the least configuration: %v", err)
	}
}

func TestBackoffDoublesUpToFiveMinutes(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 9: 256 * time.Second,
		10: 5 * time.Minute, 63: 5 * time.Minute, maxAttempts: 5 * time.Minute,
	} {
		if got := backoff(attempt, 0); got != want {
			t.Errorf("after attempt %d: %v, want %v", attempt, got, want)
		}
		if got := backoff(attempt, 0.999); got >= want || got < want*3/4 {
			t.Errorf("after attempt %d: %v at the other end of chance, want somewhat less than %v", attempt, got, want)
		}
	}
}

// Keys take long to be made: the end of the process must not wait for all of them.
func TestInterruptibleTaskEndsWithTheProcessAndIsDoneByTheNext(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		begun := make(chan struct{}, 10)
		first := d.engine(t, Config{Interruptible: []sender.TaskKind{sender.TaskKeys}, Workers: workers(func(ctx context.Context, _ sender.Task) error {
			begun <- struct{}{}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(8 * time.Second):
				return nil
			}
		})})
		stop := start(t, first)
		d.enqueue(t, first, true, keysA)
		within(t, "the task", begun, 5*time.Second)
		asked := time.Now()
		stop()
		if took := time.Since(asked); took > 4*time.Second {
			t.Errorf("it ended after %s", took)
		}
		w, ran := recorder()
		start(t, d.engine(t, Config{Workers: workers(w)}))
		if got := within(t, "the same task again", ran, 10*time.Second); got.Object != keysA.Object {
			t.Errorf("ran %+v", got)
		}
	})
}
