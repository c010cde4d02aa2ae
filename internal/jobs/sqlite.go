package jobs

import (
	"context"
	"database/sql"

	"github.com/riverqueue/river"
)

// sqliteConfig turns off what would only disturb the one writing connection.
func sqliteConfig(rc *river.Config) {
	// River's nightly REINDEX holds the connection while it runs and has nothing to
	// win: SQLite takes pages that became empty into use again.
	rc.ReindexerIndexNames = []string{}
	// With this, jobs are found by looking for them. River's notifications are a
	// table here, which it would look into twenty times a second: measured, that
	// doubles what an idle engine costs, for 100 ms less until a task starts.
	rc.PollOnly = true
}

// wakeUpWaits reports whether a wake-up is due that nobody has fetched yet. It
// serves whoever asks for another one as well, since it cannot be fetched before
// this transaction has ended: both need the one writing connection. So what is
// accepted at full speed makes one job per look at the queue and not one per
// commit, each of which would come back to the connection twice. On PostgreSQL it
// could be fetched before this transaction commits, and the wake-up would be lost.
func wakeUpWaits(ctx context.Context, tx *sql.Tx) (waits bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM river_job
		WHERE state = 'available' AND queue = $1 AND priority = $2 AND scheduled_at <= datetime('now', 'subsec'))`,
		river.QueueDefault, priorityWakeUp).Scan(&waits)
	return waits, err
}

// releaseCrashed gives back what a killed process was working on. River alone
// would wait for the time-out of the jobs, and for the lease of the dead leader
// before it looks at all. Only Run may call it, and only on SQLite: nobody but this
// process uses the file, so nothing else can be running, nor leading.
//
// The attempt that was cut short stays counted, so that waiting times still grow
// for a task that kills its process; it is never the last one, since it did not
// fail. The columns, here and above, are those of River's schema version 8, which
// a test checks.
func (e *Engine) releaseCrashed(ctx context.Context) error {
	tx, err := e.cfg.Writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	res, err := tx.ExecContext(ctx, `UPDATE river_job
		SET state = 'available', max_attempts = max(max_attempts, attempt + 1)
		WHERE state = 'running'`)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM river_leader`); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n > 0 {
		e.log.InfoContext(ctx, "released the jobs of an earlier process", "jobs", n)
	}
	return nil
}
