package storetest

import (
	"sync"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// atOnce runs n updates at the same time and returns how many of them did it; the
// others must have met a Conflict.
func (w *world) atOnce(n int, do func(tx sender.Tx, i int) error) (done int) {
	w.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range n {
		wg.Go(func() {
			err := w.Update(w.ctx, func(tx sender.Tx) error { return do(tx, i) })
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
			} else if sender.KindOf(err) != sender.Conflict {
				w.Error(err)
			}
		})
	}
	wg.Wait()
	return done
}

func holds(w *world) {
	d, other := w.domain(w.a, "example.org"), w.domain(w.b, "example.org")
	_, err := w.Hold(w.ctx, d.Name)
	w.kind("nobody holds it", err, sender.NotFound)
	h := sender.Hold{Name: d.Name, Tenant: w.a, Domain: d.ID, Since: start, Version: 1}
	theirs := sender.Hold{Name: d.Name, Tenant: w.b, Domain: other.ID, Since: start, Version: 1}
	if n := w.atOnce(8, func(tx sender.Tx, i int) error { return tx.InsertHold(w.ctx, []sender.Hold{h, theirs}[i%2]) }); n != 1 {
		w.Errorf("%d of 8 took the name", n)
	}
	got, err := w.Hold(w.ctx, d.Name)
	w.must(err)
	if got.Domain == other.ID {
		h, theirs = theirs, h
	}
	w.same("taken", got, h)

	h.Claim = sender.Claim{Tenant: theirs.Tenant, Domain: theirs.Domain, At: start.Add(time.Hour), WarnedAt: start.Add(time.Hour), SentAt: start.Add(time.Minute)}
	w.do(func(tx sender.Tx) error { return tx.UpdateHold(w.ctx, h) })
	h.Version = 2
	got, err = w.Hold(w.ctx, d.Name)
	w.must(err)
	w.same("claimed", got, h)

	won := theirs
	won.Since, won.Version = start.Add(2*time.Hour), 2
	if n := w.atOnce(8, func(tx sender.Tx, i int) error {
		if i%2 == 0 {
			return tx.UpdateHold(w.ctx, won)
		}
		return tx.DeleteHold(w.ctx, h)
	}); n != 1 {
		w.Errorf("%d of 8 have swapped the same version", n)
	}
	if got, err = w.Hold(w.ctx, d.Name); sender.KindOf(err) == sender.NotFound { // a removal was first
		w.do(func(tx sender.Tx) error { return tx.InsertHold(w.ctx, h) })
		h.Version, won.Version = 1, 1
		w.do(func(tx sender.Tx) error { return tx.UpdateHold(w.ctx, won) })
		got, err = w.Hold(w.ctx, d.Name)
	}
	w.must(err)
	won.Version++
	w.same("won", got, won)
	w.kind("the version is used up", w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateHold(w.ctx, h) }), sender.Conflict)
	w.kind("nor can it be removed", w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteHold(w.ctx, h) }), sender.Conflict)

	w.do(func(tx sender.Tx) error { return tx.DeleteDomain(w.ctx, won.Tenant, won.Domain) })
	_, err = w.Hold(w.ctx, d.Name)
	w.kind("its holder is deleted", err, sender.NotFound)
}

func domainsProven(w *world) {
	add := func(tenant sender.ID, domain string, at time.Time) sender.Domain {
		d := newDomain(tenant, domain)
		d.ProvenAt = at
		w.do(func(tx sender.Tx) error { return tx.InsertDomain(w.ctx, d) })
		return d
	}
	late, early := add(w.a, "example.org", start.Add(time.Hour)), add(w.b, "example.org", start)
	never := add(w.tenant(), "example.org", time.Time{})
	add(w.a, "sub.example.org", start)
	got, err := w.DomainsProven(w.ctx, never.Name, 10)
	w.must(err)
	w.same("of all tenants", got, []sender.Domain{early, late})
	got, err = w.DomainsProven(w.ctx, never.Name, 1)
	w.must(err)
	w.same("the first", got, []sender.Domain{early})
}

func lastSent(w *world) {
	add := func(from string, state sender.MessageState, at time.Time) {
		m := newMessage(w.a, start)
		m.From, m.State, m.CreatedAt = from, state, at
		w.message(m)
	}
	last := func(domain string, since time.Time) time.Time {
		w.Helper()
		at, err := w.LastSent(w.ctx, w.a, name(domain), since)
		w.must(err)
		return at
	}
	w.same("none", last("example.org", start), time.Time{})
	add("noreply@example.org", sender.Sent, start)
	add("noreply@sub.example.net", sender.MessageUnknown, start.Add(time.Hour))
	add("noreply@example.org", sender.MessageRefused, start.Add(time.Hour))
	add("noreply@notexample.org", sender.Sent, start.Add(time.Hour))
	w.same("of the domain, and not refused", last("example.org", start), start)
	w.same("below it", last("example.net", start), start.Add(time.Hour))
	w.same("long ago", last("example.org", start.Add(time.Microsecond)), time.Time{})
	add("NoReply@Example.org", sender.Queued, start.Add(2*time.Hour))
	w.same("the newest", last("example.org", start), start.Add(2*time.Hour))
}
