package jobs

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPeriodicFiresOncePerIntervalOnTwoNodes(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	type run struct {
		node int
		at   time.Time
	}
	runs := make(chan run, 100)
	began := time.Now()
	for node := range 2 {
		start(t, open(t, d.url).engine(t, Config{Periodic: []Periodic{{Name: "beat", Every: time.Second, Run: func(context.Context) error {
			runs <- run{node, time.Now()}
			return nil
		}}}}))
	}
	first := within(t, "the first run", runs, 10*time.Second).at
	t.Logf("first run after %v", first.Sub(began))
	for i := range 2 {
		r := within(t, "the next run", runs, 3*time.Second)
		at := r.at.Sub(first)
		if want := time.Duration(i+1) * time.Second; at < want-800*time.Millisecond || at > want+800*time.Millisecond {
			t.Errorf("run %d on node %d came %v after the first, want about %v", i+1, r.node, at, want)
		}
	}
}

func TestPeriodicComesBackAfterFailureAndPanic(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		fails, panics := make(chan time.Time, 100), make(chan time.Time, 100)
		began := time.Now()
		e := d.engine(t, Config{Periodic: []Periodic{
			{Name: "fails", Every: time.Second, Run: func(context.Context) error {
				fails <- time.Now()
				return errors.New("no luck")
			}},
			{Name: "panics", Every: time.Second, Run: func(context.Context) error {
				panics <- time.Now()
				panic("no luck")
			}},
		}})
		stop := start(t, e)
		t.Logf("first run after %v", within(t, "the first run", fails, 10*time.Second).Sub(began))
		within(t, "the first panic", panics, 10*time.Second)
		within(t, "the run after the failure", fails, 3*time.Second)
		within(t, "the run after the panic", panics, 3*time.Second)
		stop()
		if n := d.text(t, "SELECT CAST(count(*) AS text) FROM river_job WHERE state = 'discarded'"); n != "0" {
			t.Errorf("%s failed runs left rows behind", n)
		}
	})
}

func TestPeriodicRunIsCancelledWithTheRest(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		begun := make(chan struct{}, 100)
		e := d.engineThatDrains(t, Config{Periodic: []Periodic{{Name: "sleeper", Every: time.Second, Run: func(ctx context.Context) error {
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}}}}, 50*time.Millisecond, lastCall)
		stop := start(t, e)
		within(t, "the run", begun, 10*time.Second)
		stop()
	})
}
