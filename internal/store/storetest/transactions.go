package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/postseal/postseal/internal/sender"
)

// count counts a tenant's domains.
func (w *world) count(tenant sender.ID) int {
	w.Helper()
	n, err := w.CountDomains(w.ctx, tenant, 1000)
	w.must(err)
	return n
}

func failedUpdate(w *world) {
	err := w.Update(w.ctx, func(tx sender.Tx) error {
		if err := tx.InsertDomain(w.ctx, newDomain(w.a, "example.org")); err != nil {
			return err
		}
		return errOops
	})
	if !errors.Is(err, errOops) {
		w.Errorf("got %v, want the error of do", err)
	}
	w.same("domains", w.count(w.a), 0)
}

func handledConflict(w *world) {
	w.domain(w.a, "example.org")
	w.do(func(tx sender.Tx) error {
		w.kind("second", tx.InsertDomain(w.ctx, newDomain(w.a, "example.org")), sender.Conflict)
		return tx.InsertDomain(w.ctx, newDomain(w.a, "example.net"))
	})
	w.same("domains", w.count(w.a), 2)
}

// visibleConflict: whoever is refused because of what another wrote can read that
// at once, also where both shared a commit.
func visibleConflict(w *world) {
	for i := range 20 {
		taken := name(fmt.Sprintf("d%d.example.org", i))
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				err := w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertDomain(w.ctx, newDomain(w.a, taken.String())) })
				if sender.KindOf(err) == sender.Conflict {
					_, err = w.DomainByName(w.ctx, w.a, taken)
				}
				if err != nil {
					w.Errorf("%s, after a conflict: %v", taken, err)
				}
			})
		}
		wg.Wait()
	}
}

func ownWrites(w *world) {
	w.do(func(tx sender.Tx) error {
		d := newDomain(w.a, "example.org")
		if err := tx.InsertDomain(w.ctx, d); err != nil {
			return err
		}
		if _, err := tx.Domain(w.ctx, w.a, d.ID); err != nil {
			w.Errorf("its own write: %v", err)
		}
		_, err := w.Domain(w.ctx, w.a, d.ID)
		w.kind("outside, before the commit", err, sender.NotFound)
		return nil
	})
}

func panics(w *world) {
	func() {
		defer func() {
			if p := recover(); p != "oops" {
				w.Errorf("recovered %v, want the panic of do", p)
			}
		}()
		_ = w.Update(w.ctx, func(tx sender.Tx) error {
			w.must(tx.InsertDomain(w.ctx, newDomain(w.a, "example.org")))
			panic("oops")
		})
	}()
	w.same("domains", w.count(w.a), 0)
	w.domain(w.a, "example.org") // and it goes on
}

func goexit(w *world) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = w.Update(w.ctx, func(tx sender.Tx) error {
			if err := tx.InsertDomain(w.ctx, newDomain(w.a, "example.org")); err != nil {
				w.Error(err)
			}
			runtime.Goexit()
			return nil
		})
	})
	wg.Wait()
	w.same("domains", w.count(w.a), 0)
	w.domain(w.a, "example.org")
}

func concurrentFailures(w *world) {
	var wg sync.WaitGroup
	errs := make([]error, 50)
	for i := range errs {
		wg.Go(func() {
			if i%3 == 0 && i%2 == 0 {
				defer func() { _ = recover() }()
			}
			errs[i] = w.Update(w.ctx, func(tx sender.Tx) error {
				if err := tx.InsertDomain(w.ctx, newDomain(w.a, fmt.Sprintf("d%d.example.org", i))); err != nil {
					return err
				}
				switch {
				case i%3 == 0 && i%2 == 0:
					panic("oops")
				case i%3 == 0:
					return errOops
				}
				return nil
			})
		})
	}
	wg.Wait()
	for i, err := range errs {
		if i%3 != 0 && err != nil {
			w.Errorf("update %d: %v", i, err)
		}
		_, err := w.DomainByName(w.ctx, w.a, name(fmt.Sprintf("d%d.example.org", i)))
		want := sender.Kind("")
		if i%3 == 0 {
			want = sender.NotFound
		}
		w.kind(fmt.Sprintf("domain %d", i), err, want)
	}
}

func limitHolds(w *world) {
	const limit = 7
	var wg sync.WaitGroup
	var made, refused atomic.Int32
	for i := range 100 {
		wg.Go(func() {
			err := w.Update(w.ctx, func(tx sender.Tx) error {
				if err := tx.LockTenant(w.ctx, w.a); err != nil {
					return err
				}
				n, err := tx.CountDomains(w.ctx, w.a, limit)
				if err != nil {
					return err
				}
				if n >= limit {
					return errOops
				}
				return tx.InsertDomain(w.ctx, newDomain(w.a, fmt.Sprintf("d%d.example.org", i)))
			})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, errOops):
				refused.Add(1)
			default:
				w.Error(err)
			}
		})
	}
	wg.Wait()
	w.same("made, refused, there", []int{int(made.Load()), int(refused.Load()), w.count(w.a)}, []int{limit, 100 - limit, limit})
}

func domainLock(w *world) {
	const limit = 3
	domain := name("example.org") // not registered: the lock is on the name
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			err := w.Update(w.ctx, func(tx sender.Tx) error {
				if err := tx.LockDomain(w.ctx, w.a, domain); err != nil {
					return err
				}
				n, err := tx.CountAddresses(w.ctx, w.a, domain, limit)
				if err != nil || n >= limit {
					return err
				}
				return tx.InsertAddress(w.ctx, newAddress(w.a, "example.org", fmt.Sprint("user", i)))
			})
			if err != nil {
				w.Error(err)
			}
		})
	}
	wg.Wait()
	n, err := w.CountAddresses(w.ctx, w.a, domain, 100)
	w.must(err)
	w.same("addresses", n, limit)
}

func cancelled(w *world) {
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			errs[i] = w.Update(ctx, func(tx sender.Tx) error {
				if i%2 == 0 {
					cancel()
				}
				return tx.InsertDomain(ctx, newDomain(w.a, fmt.Sprintf("d%d.example.org", i)))
			})
		})
	}
	wg.Wait()
	for i, err := range errs {
		if i%2 == 1 && err != nil {
			w.Errorf("update %d: %v", i, err)
		}
		// Whether a caller who gave up was in time is open, but not what it is told.
		_, there := w.DomainByName(w.ctx, w.a, name(fmt.Sprintf("d%d.example.org", i)))
		if (err == nil) != (there == nil) {
			w.Errorf("update %d said %v, look-up says %v", i, err, there)
		}
	}
	gone, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := w.Update(gone, func(sender.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		w.Errorf("an update with an ended context: %v", err)
	}
}
