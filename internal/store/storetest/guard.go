package storetest

import (
	"sync"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func absentDomains(w *world) {
	var all []sender.Domain
	for i, tenant := range []sender.ID{w.a, w.b, w.a} {
		d := newDomain(tenant, string(rune('a'+i))+".example.org")
		d.AbsentSince = start.Add(time.Duration(i) * time.Hour)
		w.do(func(tx sender.Tx) error { return tx.InsertDomain(w.ctx, d) })
		all = append(all, d)
	}
	pending := newDomain(w.b, "pending.example.org")
	pending.Facets = []sender.Facet{{Purpose: dnscheck.Ownership, Status: sender.Pending, Since: start}}
	w.do(func(tx sender.Tx) error { return tx.InsertDomain(w.ctx, pending) })

	got, err := w.AbsentDomains(w.ctx, time.Time{}, 2)
	w.must(err)
	w.same("the longest absent", got, all[:2])
	got, err = w.AbsentDomains(w.ctx, start, 10)
	w.must(err)
	w.same("those since a release", got, all[1:])
	counted := func(what string, after time.Time, want map[sender.ID]int) {
		w.Helper()
		n, newest, err := w.CountAbsent(w.ctx, after)
		w.must(err)
		if len(n) > 0 && !newest.Equal(start.Add(2*time.Hour)) {
			w.Errorf("the newest absence is of %s", newest)
		}
		w.same(what, n, want)
	}
	counted("all", time.Time{}, map[sender.ID]int{w.a: 2, w.b: 1})
	counted("since a release", start, map[sender.ID]int{w.a: 1, w.b: 1})
	counted("since another", start.Add(2*time.Hour), map[sender.ID]int{})
	holding := func(tenant sender.ID, want int) {
		w.Helper()
		if n, err := w.CountHolding(w.ctx, tenant); err != nil || n != want {
			w.Errorf("%d domains of %q hold something, %v; want %d", n, tenant, err, want)
		}
	}
	holding("", 3)
	holding(w.a, 2)
	holding(w.b, 1)
	holding(sender.NewID(), 0)

	back := all[0]
	back.AbsentSince, back.Facets = time.Time{}, pending.Facets
	w.do(func(tx sender.Tx) error {
		if err := tx.UpdateDomain(w.ctx, back); err != nil {
			return err
		}
		return tx.DeleteDomain(w.ctx, w.b, all[1].ID)
	})
	counted("after one is back and one is deleted", time.Time{}, map[sender.ID]int{w.a: 1})
	holding("", 1)
	holding(w.b, 0)
}

func massGuard(w *world) {
	got, err := w.MassGuard(w.ctx)
	w.must(err)
	w.same("at first", got, sender.MassGuard{})
	want := sender.MassGuard{FrozenAt: start, Everybody: true, ReleasedAt: start.Add(-time.Hour), ReleasedBy: sender.NewID(), Reason: "it is true"}
	w.do(func(tx sender.Tx) error { return tx.PutMassGuard(w.ctx, want) })
	got, err = w.MassGuard(w.ctx)
	w.must(err)
	w.same("kept", got, want)
	want.Everybody, want.Tenants = false, []sender.ID{w.a, w.b}
	w.do(func(tx sender.Tx) error { return tx.PutMassGuard(w.ctx, want) })
	got, err = w.MassGuard(w.ctx)
	w.must(err)
	w.same("kept by tenant", got, want)

	const n = 8
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			err := w.Update(w.ctx, func(tx sender.Tx) error {
				g, err := tx.LockMassGuard(w.ctx)
				if err != nil {
					return err
				}
				g.FrozenAt = g.FrozenAt.Add(time.Second)
				return tx.PutMassGuard(w.ctx, g)
			})
			if err != nil {
				w.Error(err)
			}
		})
	}
	all.Wait()
	if got, err = w.MassGuard(w.ctx); err != nil || !got.FrozenAt.Equal(start.Add(n*time.Second)) {
		w.Errorf("after %d additions of a second: %s, %v", n, got.FrozenAt.Sub(start), err)
	}
}
