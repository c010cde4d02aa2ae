package jobs

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// tasks returns n different ones.
func tasks(n int) []sender.Task {
	all := make([]sender.Task, n)
	for i := range all {
		all[i] = sender.Task{Kind: sender.TaskKeys, Tenant: sender.NewID(), Object: sender.NewID()}
	}
	return all
}

// BenchmarkInsert is the cost of enqueuing inside a transaction that is open
// already, which every commit of a message pays; without the commit itself.
func BenchmarkInsert(b *testing.B) {
	w, _ := recorder()
	for _, n := range []int{1, 10, 100} {
		batch := tasks(n)
		perTask := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/task")
		}
		b.Run(fmt.Sprintf("sqlite/%d", n), func(b *testing.B) {
			d := onSQLite(b)
			e := d.engine(b, Config{Workers: workers(w)})
			tx, err := d.writer.Begin()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			for b.Loop() {
				if err := e.InsertSQL(b.Context(), tx, batch); err != nil {
					b.Fatal(err)
				}
			}
			perTask(b)
		})
		b.Run(fmt.Sprintf("postgres/%d", n), func(b *testing.B) {
			d := onPostgres(b)
			e := d.engine(b, Config{Workers: workers(w)})
			tx, err := d.pool.Begin(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			for b.Loop() {
				if err := e.InsertPgx(b.Context(), tx, batch); err != nil {
					b.Fatal(err)
				}
			}
			perTask(b)
		})
	}
}

// BenchmarkIdle reports what an engine costs that has nothing to do: processor
// time of this process, per second. Not PostgreSQL's own.
func BenchmarkIdle(b *testing.B) {
	for _, on := range []struct {
		name string
		open func(testing.TB) database
	}{{"sqlite", onSQLite}, {"postgres", onPostgres}} {
		b.Run(on.name, func(b *testing.B) {
			w, _ := recorder()
			start(b, on.open(b).engine(b, Config{Workers: workers(w), Periodic: []Periodic{
				{Name: "sweep", Every: 5 * time.Second, Run: func(context.Context) error { return nil }}}}))
			time.Sleep(2 * time.Second) // past the start
			const d = 5 * time.Second
			var spent time.Duration
			n := 0
			for b.Loop() {
				before := processorTime(b)
				time.Sleep(d)
				spent += processorTime(b) - before
				n++
			}
			b.ReportMetric(spent.Seconds()*1000/(float64(n)*d.Seconds()), "cpu-ms/s")
		})
	}
}

// BenchmarkWakeUp is a dispatch task's whole life, enqueued in commits of its own
// as fast as they go, until the queue is empty again.
func BenchmarkWakeUp(b *testing.B) {
	for _, on := range []struct {
		name string
		open func(testing.TB) database
	}{{"sqlite", onSQLite}, {"postgres", onPostgres}} {
		b.Run(on.name, func(b *testing.B) {
			d := on.open(b)
			e := d.engine(b, Config{Workers: workers(func(context.Context, sender.Task) error { return nil })})
			start(b, e)
			before := processorTime(b)
			for b.Loop() {
				d.enqueue(b, e, true, dispatch)
			}
			began := time.Now()
			for d.text(b, "SELECT CAST(count(*) AS text) FROM river_job WHERE state <> 'completed'") != "0" {
				time.Sleep(10 * time.Millisecond)
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-behind")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
