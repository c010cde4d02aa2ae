package jobs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
)

// Periodic is work that comes back at an interval, for as long as Run runs, the
// first time as soon as possible.
//
// On PostgreSQL River's elected leader enqueues a run per interval and one node
// takes it. A run that outlives its interval does not meet itself in the same
// process, where the next one is left out, but may meet itself on another node;
// and a change of leader may bring a run early. So it has to claim what it works on.
//
// On SQLite a ticker does it. There is one process and nobody to elect, while
// River would spend three durable commits per run on the one writing connection,
// to remember what needs no memory.
type Periodic struct {
	// Name is unique, at most 100 octets, and the same in all versions.
	Name string
	// Every is the interval, of at least one second.
	Every time.Duration
	// Run does the work, for two minutes at most. Its error is logged; the next try
	// is the next interval's.
	Run func(ctx context.Context) error
}

// periodicTimeout bounds one run.
const periodicTimeout = 2 * time.Minute

func (p Periodic) check() error {
	switch {
	case p.Name == "" || len(p.Name) > 100:
		return fmt.Errorf("periodic %q: give it a name of 1 to 100 octets", cut(p.Name))
	case p.Every < time.Second:
		return fmt.Errorf("periodic %q: every %v is too often: one second is the least", p.Name, p.Every)
	case p.Run == nil:
		return fmt.Errorf("periodic %q: Run is missing", p.Name)
	}
	return nil
}

// runPeriodic runs p unless it is running in this process already.
func (e *Engine) runPeriodic(ctx context.Context, p Periodic) {
	mu := e.busy[p.Name]
	if !mu.TryLock() {
		return
	}
	defer mu.Unlock()
	_ = attempt(ctx, e.log.With("periodic", p.Name), p.Run) // logged there
}

// startTickers starts the periodic work on SQLite until ctx is done. The group is
// done once the last run has ended; runs get the context work.
func (e *Engine) startTickers(ctx, work context.Context) *sync.WaitGroup {
	var wg sync.WaitGroup
	if e.sqlite == nil {
		return &wg
	}
	for _, p := range e.cfg.Periodic {
		wg.Go(func() {
			tick := time.NewTicker(p.Every)
			defer tick.Stop()
			for ctx.Err() == nil {
				run, done := context.WithTimeout(work, periodicTimeout)
				e.runPeriodic(run, p)
				done()
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	return &wg
}

// periodicArgs is one run, as the leader enqueues it.
type periodicArgs struct {
	Name string `json:"name"`
}

// Kind is what River calls the job.
func (periodicArgs) Kind() string { return "periodic" }

func (e *Engine) riverPeriodic() []*river.PeriodicJob {
	var all []*river.PeriodicJob
	for _, p := range e.cfg.Periodic {
		// One attempt: what a dead node left is not rescued, the next run is near.
		construct := func() (river.JobArgs, *river.InsertOpts) {
			return periodicArgs{Name: p.Name}, &river.InsertOpts{MaxAttempts: 1}
		}
		all = append(all, river.NewPeriodicJob(river.PeriodicInterval(p.Every), construct,
			&river.PeriodicJobOpts{RunOnStart: true}))
	}
	return all
}

type periodicWorker struct {
	river.WorkerDefaults[periodicArgs]
	e *Engine
}

func (*periodicWorker) Timeout(*river.Job[periodicArgs]) time.Duration { return periodicTimeout }

// Work never fails the job: a row for each failed run would be kept for days. A
// name this version does not know is another version's; that one runs the next.
func (w *periodicWorker) Work(ctx context.Context, job *river.Job[periodicArgs]) error {
	for _, p := range w.e.cfg.Periodic {
		if p.Name == job.Args.Name {
			w.e.runPeriodic(ctx, p)
		}
	}
	return nil
}
