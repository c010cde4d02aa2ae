package storetest

import (
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func newEntry(d sender.Domain, at time.Time) sender.TimelineEntry {
	return sender.TimelineEntry{
		ID: sender.NewID(), Tenant: d.Tenant, Domain: d.ID, At: at, Purpose: dnscheck.Ownership, Region: "eu-west-1",
		Name: name("_postseal." + d.Name.String()), Type: dnscheck.TXT, Outcome: dnscheck.Unknown, Code: dnscheck.CodeTimeout,
		Presumed: dnscheck.CodeNXDOMAIN, Observed: []string{"older \x00 token"}, Asked: []sender.Asked{{Server: "127.0.0.1:53", Role: dnscheck.RoleResolver, Result: dnscheck.SawAnswer}},
	}
}

func (w *world) addTimeline(keep int, entries ...sender.TimelineEntry) error {
	return w.Update(w.ctx, func(tx sender.Tx) error {
		return tx.AddTimeline(w.ctx, entries[0].Tenant, entries[0].Domain, entries, keep)
	})
}

func (w *world) timeline(d sender.Domain, page sender.Page) []sender.TimelineEntry {
	w.Helper()
	es, err := w.Timeline(w.ctx, d.Tenant, d.ID, page)
	w.must(err)
	return es
}

func timelines(w *world) {
	d, other := w.domain(w.a, "example.org"), w.domain(w.a, "example.net")
	var all []sender.TimelineEntry // newest first
	for i := range 5 {
		e := newEntry(d, start.Add(time.Duration(i)*time.Hour))
		w.must(w.addTimeline(10, e))
		all = append([]sender.TimelineEntry{e}, all...)
	}
	elsewhere := newEntry(other, start)
	w.must(w.addTimeline(1, elsewhere))
	w.same("newest first", w.timeline(d, sender.Page{}), all)
	w.same("page", w.timeline(d, sender.Page{After: all[1].ID, Limit: 2}), all[2:4])
	w.same("after the last", w.timeline(d, sender.Page{After: all[4].ID}), []sender.TimelineEntry{})

	e, f := newEntry(d, start.Add(5*time.Hour)), newEntry(d, start.Add(5*time.Hour))
	w.must(w.addTimeline(3, e, f))
	all = []sender.TimelineEntry{f, e, all[0]}
	w.same("the newest are kept", w.timeline(d, sender.Page{}), all)
	w.same("of this domain", w.timeline(other, sender.Page{}), []sender.TimelineEntry{elsewhere})

	forget := func(before time.Time, limit int) (n int) {
		w.do(func(tx sender.Tx) (err error) {
			n, err = tx.ForgetTimeline(w.ctx, before, limit)
			return err
		})
		return n
	}
	w.same("nothing is so old", forget(start, 10), 0)
	w.same("the oldest first", forget(start.Add(5*time.Hour), 1), 1)
	w.same("gone", w.timeline(other, sender.Page{}), []sender.TimelineEntry{})
	w.same("the others of before", forget(start.Add(5*time.Hour), 10), 1)
	w.same("what is younger stays", w.timeline(d, sender.Page{}), all[:2])

	w.do(func(tx sender.Tx) error { return tx.DeleteDomain(w.ctx, w.a, d.ID) })
	w.same("after the domain is gone", w.timeline(d, sender.Page{}), []sender.TimelineEntry{})
	w.kind("entry of a domain that was deleted meanwhile", w.addTimeline(10, newEntry(d, start)), sender.NotFound)
}

func newTombstone(tenant sender.ID, domain string, due time.Time) sender.Tombstone {
	return sender.Tombstone{
		ID: sender.NewID(), Tenant: tenant, Domain: sender.NewID(), Name: name(domain), Spelling: "Mail." + domain,
		Records: []sender.Leftover{{
			Record: dnscheck.Record{Purpose: dnscheck.Ownership, Region: "eu-west-1", Name: name("_postseal." + domain), Type: dnscheck.TXT, Value: "token"},
			There:  true, SeenAt: start,
		}},
		DeletedAt: start, NextCheck: due,
	}
}

func tombstones(w *world) {
	bury := func(keep int, xs ...sender.Tombstone) error {
		return w.Update(w.ctx, func(tx sender.Tx) error {
			for _, x := range xs {
				if err := tx.InsertTombstone(w.ctx, x, keep); err != nil {
					return err
				}
			}
			return nil
		})
	}
	list := func(tenant sender.ID, page sender.Page) []sender.Tombstone {
		xs, err := w.Tombstones(w.ctx, tenant, page)
		w.must(err)
		return xs
	}
	a, b, c := newTombstone(w.a, "example.org", start), newTombstone(w.a, "example.org", start.Add(time.Hour)), newTombstone(w.a, "example.net", start.Add(time.Minute))
	theirs := newTombstone(w.b, "example.org", start)
	w.must(bury(10, theirs, a, b, c))
	w.same("in the order of deletion", list(w.a, sender.Page{}), []sender.Tombstone{a, b, c})
	w.same("page", list(w.a, sender.Page{After: a.ID, Limit: 1}), []sender.Tombstone{b})
	w.kind("twice", bury(10, a), sender.Conflict)

	d := newTombstone(w.a, "example.com", start.Add(time.Hour))
	w.must(bury(3, d))
	w.same("the newest are kept", list(w.a, sender.Page{}), []sender.Tombstone{b, c, d})
	w.same("of this tenant", list(w.b, sender.Page{}), []sender.Tombstone{theirs})

	until := start.Add(2 * time.Hour)
	claim := func(now time.Time, limit int) (names []string) {
		w.do(func(tx sender.Tx) error {
			names = nil
			xs, err := tx.ClaimDueTombstones(w.ctx, now, until, limit)
			for _, x := range xs {
				names = append(names, string(x.ID))
				w.same("next check of a claimed tombstone", x.NextCheck, until)
			}
			return err
		})
		return names
	}
	w.same("the longest due first, of every tenant", claim(start.Add(time.Minute), 1), []string{string(theirs.ID)})
	w.same("the rest", claim(start.Add(time.Minute), 5), []string{string(c.ID)})
	w.same("nothing twice", claim(start.Add(time.Minute), 5), []string(nil))

	b.Records[0].There, b.CheckedAt, b.NextCheck = false, start.Add(time.Minute), start.Add(24*time.Hour)
	w.do(func(tx sender.Tx) error { return tx.UpdateTombstone(w.ctx, b) })
	w.same("updated", list(w.a, sender.Page{Limit: 1}), []sender.Tombstone{b})
	remove := func() error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteTombstone(w.ctx, w.a, b.ID) })
	}
	w.must(remove())
	w.kind("removed twice", remove(), sender.NotFound)
	w.kind("updated after", w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateTombstone(w.ctx, b) }), sender.NotFound)
}
