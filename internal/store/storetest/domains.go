package storetest

import (
	"fmt"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func domains(w *world) {
	d := w.domain(w.a, "example.org")
	got, err := w.Domain(w.ctx, w.a, d.ID)
	w.must(err)
	w.same("by id", got, d)
	got, err = w.DomainByName(w.ctx, w.a, d.Name)
	w.must(err)
	w.same("by name", got, d)

	bare := sender.Domain{ID: sender.NewID(), Tenant: w.a, Name: name("bare.example.org"), Version: 1}
	w.do(func(tx sender.Tx) error { return tx.InsertDomain(w.ctx, bare) })
	got, err = w.Domain(w.ctx, w.a, bare.ID)
	w.must(err)
	w.same("zero values", got, bare)

	_, err = w.Domain(w.ctx, w.a, sender.NewID())
	w.kind("unknown id", err, sender.NotFound)
	_, err = w.DomainByName(w.ctx, w.a, name("example.net"))
	w.kind("unknown name", err, sender.NotFound)
}

func domainNames(w *world) {
	w.domain(w.a, "example.org")
	w.kind("again in the tenant", w.Update(w.ctx, func(tx sender.Tx) error {
		return tx.InsertDomain(w.ctx, newDomain(w.a, "example.org"))
	}), sender.Conflict)
	w.domain(w.b, "example.org") // another tenant may have it too
}

func domainVersions(w *world) {
	d := w.domain(w.a, "example.org")
	d.Tokens.Environment, d.Facets = "new", d.Facets[:1]
	d.ProvenAt, d.NextCheck, d.UpdatedAt = start.Add(time.Hour), start.Add(2*time.Hour), start.Add(3*time.Hour)
	update := func() error { return w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateDomain(w.ctx, d) }) }
	w.must(update())
	w.kind("the version is used up", update(), sender.Conflict)
	got, err := w.Domain(w.ctx, w.a, d.ID)
	w.must(err)
	d.Version = 2
	w.same("updated", got, d)
	w.must(update())
	d.ID = sender.NewID()
	w.kind("unknown", update(), sender.NotFound)
}

func domainPages(w *world) {
	var all []sender.Domain
	for i := range 5 {
		all = append(all, w.domain(w.a, fmt.Sprintf("d%d.example.org", 9-i)))
	}
	got, err := w.Domains(w.ctx, w.a, sender.Page{})
	w.must(err)
	w.same("all, in the order of creation", got, all)
	got, err = w.Domains(w.ctx, w.a, sender.Page{After: all[1].ID, Limit: 2})
	w.must(err)
	w.same("page", got, all[2:4])
	for _, c := range []struct{ most, want int }{{10, 5}, {5, 5}, {3, 3}, {0, 0}} {
		n, err := w.CountDomains(w.ctx, w.a, c.most)
		w.must(err)
		w.same(fmt.Sprintf("count up to %d", c.most), n, c.want)
	}
}

func newCheck(tenant, domain sender.ID) sender.Check {
	return sender.Check{Tenant: tenant, Domain: domain, At: start, Findings: []dnscheck.Finding{{
		Purpose: dnscheck.Ownership, Region: "eu-west-1", Name: name("_postseal.example.org"), Type: dnscheck.TXT,
		Expected: "token", Observed: []string{"older token"}, Fix: "Publish it.", RetryAt: start.Add(time.Minute),
		Seen: []dnscheck.Sight{{Server: "127.0.0.1:53", Result: dnscheck.SawAnswer, Values: []string{"older token"}}},
	}}}
}

func lastChecks(w *world) {
	d := w.domain(w.a, "example.org")
	_, err := w.LastCheck(w.ctx, w.a, d.ID)
	w.kind("before the first", err, sender.NotFound)
	c := newCheck(w.a, d.ID)
	for i := range 2 {
		c.At = start.Add(time.Duration(i) * time.Minute)
		c.Findings[0].Fix = fmt.Sprint("Publish it ", i)
		w.do(func(tx sender.Tx) error { return tx.SaveCheck(w.ctx, c) })
		got, err := w.LastCheck(w.ctx, w.a, d.ID)
		w.must(err)
		w.same("check", got, c)
	}
	w.do(func(tx sender.Tx) error { return tx.DeleteDomain(w.ctx, w.a, d.ID) })
	_, err = w.LastCheck(w.ctx, w.a, d.ID)
	w.kind("after the domain is gone", err, sender.NotFound)
	w.kind("check of a domain that was deleted meanwhile", w.Update(w.ctx, func(tx sender.Tx) error { return tx.SaveCheck(w.ctx, c) }), sender.NotFound)
}

func deletedDomain(w *world) {
	d, other := w.domain(w.a, "example.org"), w.domain(w.a, "example.net")
	w.do(func(tx sender.Tx) error {
		for _, k := range []sender.Key{
			{Selector: "gone", Tenant: w.a, Domain: d.ID, PKCS8: []byte("private"), TXT: "txt", CreatedAt: start},
			{Selector: "kept", Tenant: w.a, Domain: other.ID, PKCS8: []byte("private"), TXT: "txt", CreatedAt: start},
		} {
			if err := tx.InsertKey(w.ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
	before := time.Now().Add(-time.Second)
	remove := func() error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteDomain(w.ctx, w.a, d.ID) })
	}
	w.must(remove())
	w.kind("deleted twice", remove(), sender.NotFound)
	_, err := w.Domain(w.ctx, w.a, d.ID)
	w.kind("deleted", err, sender.NotFound)
	gone, err := w.PublicKey(w.ctx, "gone")
	w.must(err)
	if gone.RevokedAt.Before(before) {
		w.Errorf("the key of a deleted domain is revoked at %v", gone.RevokedAt)
	}
	if k, err := w.SigningKey(w.ctx, "gone"); err != nil || len(k.PKCS8) > 0 {
		w.Errorf("the private half of a revoked key is still there, or: %v", err)
	}
	kept, err := w.SigningKey(w.ctx, "kept")
	w.must(err)
	if !kept.RevokedAt.IsZero() || len(kept.PKCS8) == 0 {
		w.Error("the key of another domain was revoked")
	}
	w.domain(w.a, "example.org") // the name is free again
}

func dueDomains(w *world) {
	add := func(tenant sender.ID, domain string, next time.Time) sender.ID {
		d := newDomain(tenant, domain)
		d.NextCheck = next
		w.do(func(tx sender.Tx) error { return tx.InsertDomain(w.ctx, d) })
		return d.ID
	}
	late := add(w.a, "late.example.org", start.Add(-time.Minute))
	later := add(w.b, "later.example.org", start.Add(-time.Hour))
	now := add(w.a, "now.example.org", start)
	add(w.a, "future.example.org", start.Add(time.Microsecond))
	add(w.a, "never.example.org", time.Time{})

	until := start.Add(10 * time.Minute)
	claim := func(now time.Time, limit int) (ids []sender.ID) {
		until := now.Add(10 * time.Minute)
		w.do(func(tx sender.Tx) error {
			ids = nil
			ds, err := tx.ClaimDueDomains(w.ctx, now, until, limit)
			for _, d := range ds {
				ids = append(ids, d.ID)
				w.same("next check of a claimed domain", d.NextCheck, until)
			}
			return err
		})
		return ids
	}
	w.same("the longest due and the last, of every tenant", claim(start, 2), []sender.ID{later, now})
	w.same("the rest", claim(start, 2), []sender.ID{late})
	w.same("nothing twice", claim(start, 2), []sender.ID(nil))
	d, err := w.Domain(w.ctx, w.a, late)
	w.must(err)
	w.must(w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateDomain(w.ctx, d) })) // claiming is no change
	if n := len(claim(until, 10)); n != 4 {
		w.Errorf("%d domains are due when the claims end, want 4", n)
	}

	// Beyond what can be right.
	year := start.AddDate(1, 0, 0)
	for i := range 10 {
		add(w.b, fmt.Sprintf("far%d.example.org", i), year.Add(time.Duration(i)*7*time.Minute))
	}
	var n int
	w.do(func(tx sender.Tx) (err error) {
		n, err = tx.BringDomainsForward(w.ctx, start.AddDate(0, 0, 1), start, time.Hour)
		return err
	})
	if first, all := len(claim(start.Add(-time.Microsecond), 20)), len(claim(start.Add(time.Hour), 20)); n != 10 || first != 0 || all != 14 {
		w.Errorf("%d domains were brought forward, %d are due before and %d within the span, want 10, 0 and 14", n, first, all)
	}
}

func addresses(w *world) {
	a, second := newAddress(w.a, "example.org", "noreply"), newAddress(w.a, "example.org", "second")
	elsewhere := newAddress(w.a, "sub.example.org", "noreply")
	w.do(func(tx sender.Tx) error {
		for _, a := range []sender.Address{a, second, elsewhere} {
			if err := tx.InsertAddress(w.ctx, a); err != nil {
				return err
			}
		}
		return nil
	})
	got, err := w.Address(w.ctx, w.a, a.ID)
	w.must(err)
	w.same("by id", got, a)
	got, err = w.AddressByMailbox(w.ctx, w.a, a.Mailbox)
	w.must(err)
	w.same("by mailbox", got, a)
	list, err := w.Addresses(w.ctx, w.a, a.Domain, sender.Page{})
	w.must(err)
	w.same("of the domain and not of those below it", list, []sender.Address{a, second})
	list, err = w.Addresses(w.ctx, w.a, a.Domain, sender.Page{After: a.ID, Limit: 1})
	w.must(err)
	w.same("page", list, []sender.Address{second})
	for _, c := range []struct{ most, want int }{{10, 2}, {1, 1}} {
		n, err := w.CountAddresses(w.ctx, w.a, a.Domain, c.most)
		w.must(err)
		w.same("count", n, c.want)
	}
	w.kind("the mailbox again", w.Update(w.ctx, func(tx sender.Tx) error {
		return tx.InsertAddress(w.ctx, newAddress(w.a, "example.org", "noreply"))
	}), sender.Conflict)

	a.Status, a.By, a.Code, a.UpdatedAt = sender.Verified, sender.ByEnvironmentRecord, sender.CodeState{}, start.Add(time.Hour)
	w.do(func(tx sender.Tx) error { return tx.UpdateAddress(w.ctx, a) })
	got, err = w.Address(w.ctx, w.a, a.ID)
	w.must(err)
	w.same("updated", got, a)

	remove := func() error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteAddress(w.ctx, w.a, a.ID) })
	}
	w.must(remove())
	w.kind("deleted twice", remove(), sender.NotFound)
	w.kind("updated after", w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateAddress(w.ctx, a) }), sender.NotFound)
	_, err = w.Address(w.ctx, w.a, a.ID)
	w.kind("deleted", err, sender.NotFound)
}

func recipients(w *world) {
	day := start.Truncate(24 * time.Hour)
	count := func(key string, day time.Time) (n int) {
		w.do(func(tx sender.Tx) (err error) {
			n, err = tx.CountRecipient(w.ctx, key, day)
			return err
		})
		return n
	}
	for i := range 3 {
		w.same("in a row", count("k", day), i+1)
	}
	w.same("another recipient", count("l", day), 1)
	w.same("another day", count("k", day.Add(24*time.Hour)), 1)
	w.same("yesterday is remembered", count("k", day), 4)
	count("k", day.Add(72*time.Hour))
	w.same("long ago is forgotten", count("k", day), 1)
}
