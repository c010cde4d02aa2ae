package storetest

import (
	"slices"
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

var webhookIntrusions = []intrusion{
	{"Event", func(w *world, tx otp.Tx, v victim) error { _, err := tx.Event(w.ctx, w.b, v.event.ID); return err }, sender.NotFound},
	{"Webhook", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.Webhook(w.ctx, w.b, v.webhook.ID)
		return err
	}, sender.NotFound},
	{"Webhooks", func(w *world, tx otp.Tx, _ victim) error {
		l, err := tx.Webhooks(w.ctx, w.b, sender.Page{})
		return nothing(w, "Webhooks", l, err)
	}, ""},
	{"WebhookDeliveries", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.WebhookDeliveries(w.ctx, w.b, v.webhook.ID, sender.Page{})
		return nothing(w, "WebhookDeliveries", l, err)
	}, ""},
	{"DueWebhookDeliveries", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.DueWebhookDeliveries(w.ctx, w.b, v.webhook.ID, start.Add(time.Hour), 10)
		return nothing(w, "DueWebhookDeliveries", l, err)
	}, ""},
	{"InsertWebhook", func(w *world, tx otp.Tx, v victim) error {
		v.webhook.Tenant = w.b // the same id is another tenant's own thing
		return tx.InsertWebhook(w.ctx, v.webhook)
	}, ""},
	{"UpdateWebhook", func(w *world, tx otp.Tx, v victim) error {
		v.webhook.Tenant, v.webhook.URL = w.b, "https://thief.example"
		return tx.UpdateWebhook(w.ctx, v.webhook)
	}, sender.NotFound},
	{"MarkWebhook", func(w *world, tx otp.Tx, v victim) error {
		return tx.MarkWebhook(w.ctx, w.b, v.webhook.ID, true, start)
	}, sender.NotFound},
	{"DeleteWebhook", func(w *world, tx otp.Tx, v victim) error { return tx.DeleteWebhook(w.ctx, w.b, v.webhook.ID) }, sender.NotFound},
	{"LeaseWebhook", func(w *world, tx otp.Tx, v victim) error {
		ok, err := tx.LeaseWebhook(w.ctx, w.b, v.webhook.ID, "n2", start, start.Add(time.Hour))
		if ok {
			w.Error("another tenant leases the webhook")
		}
		return err
	}, ""},
	{"ReleaseWebhook", func(w *world, tx otp.Tx, v victim) error {
		if err := tx.ReleaseWebhook(w.ctx, w.b, v.webhook.ID, "n1"); err != nil {
			return err
		}
		if ok, err := tx.LeaseWebhook(w.ctx, w.a, v.webhook.ID, "n2", start, start.Add(time.Hour)); ok || err != nil {
			w.Errorf("the lease was ended by another tenant: %t, %v", ok, err)
		}
		return nil
	}, ""},
	{"PutWebhookDelivery", func(w *world, tx otp.Tx, v victim) error {
		return tx.PutWebhookDelivery(w.ctx, w.b, v.webhook.ID, v.event.ID, start)
	}, sender.NotFound},
	{"UpdateWebhookDelivery", func(w *world, tx otp.Tx, v victim) error {
		return tx.UpdateWebhookDelivery(w.ctx, sender.WebhookDelivery{
			Tenant: w.b, Webhook: v.webhook.ID, Event: v.event.ID, State: sender.HookDelivered, Attempts: 1,
		})
	}, sender.Conflict},
	{"PutOffWebhookDeliveries", func(w *world, tx otp.Tx, v victim) error {
		return tx.PutOffWebhookDeliveries(w.ctx, w.b, v.webhook.ID, start.Add(time.Hour))
	}, ""},
}

func newWebhook(tenant sender.ID, types ...sender.EventType) sender.Webhook {
	return sender.Webhook{
		ID: sender.NewID(), Tenant: tenant, URL: "https://Hooks.example.org/a?b=c", Description: "ä", Types: types, Format: sender.StandardFormat, Enabled: true,
		Secrets:  []sender.WebhookSecret{{Key: "whsec_bmV3"}, {Key: "whsec_b2xk", Until: start.Add(time.Hour)}},
		Headers:  map[string]sender.Password{"Authorization": "Basic ä", "X-Other": ""},
		Document: "{}", CreatedAt: start, UpdatedAt: start.Add(time.Second),
	}
}

func (w *world) webhook(h sender.Webhook) sender.Webhook {
	w.Helper()
	w.do(func(tx sender.Tx) error { return tx.InsertWebhook(w.ctx, h) })
	return h
}

func (w *world) event(tenant sender.ID, t sender.EventType) sender.Event {
	w.Helper()
	e := sender.Event{ID: sender.NewID(), Tenant: tenant, At: start, Type: t, Object: sender.NewID(), Data: map[string]string{"a": "b"}}
	w.do(func(tx sender.Tx) error { return tx.InsertEvent(w.ctx, e) })
	return e
}

func (w *world) dueHooks(troubled bool, now time.Time, after sender.WebhookKey, limit int) (found []sender.ID) {
	w.Helper()
	keys, err := w.DueWebhooks(w.ctx, troubled, now, after, limit)
	w.must(err)
	for _, k := range keys {
		found = append(found, k.ID)
	}
	return found
}

func webhooks(w *world) {
	first := w.webhook(newWebhook(w.a, "domain.*", "address.active"))
	second := newWebhook(w.a)
	second.Enabled, second.DisabledBy, second.DisabledAt, second.Headers, second.Troubled, second.FailingSince = false, sender.DisabledGone, start, nil, true, start
	w.webhook(second)
	w.webhook(newWebhook(w.b, "*"))
	for _, h := range []sender.Webhook{first, second} {
		got, err := w.Webhook(w.ctx, w.a, h.ID)
		w.must(err)
		w.same("webhook", got, h)
	}
	all, err := w.Webhooks(w.ctx, w.a, sender.Page{})
	w.must(err)
	w.same("webhooks", all, []sender.Webhook{first, second})
	all, err = w.Webhooks(w.ctx, w.a, sender.Page{After: first.ID, Limit: 1})
	w.must(err)
	w.same("page", all, []sender.Webhook{second})
	w.kind("the same id", w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertWebhook(w.ctx, first) }), sender.Conflict)

	changed := newWebhook(w.a, "*")
	changed.ID, changed.URL, changed.Secrets, changed.Enabled, changed.DisabledBy, changed.DisabledAt = first.ID, "https://other.example", first.Secrets[:1], false, sender.DisabledByTenant, start
	changed.UpdatedAt = start.Add(time.Hour)
	w.do(func(tx sender.Tx) error { return tx.UpdateWebhook(w.ctx, changed) })
	w.do(func(tx sender.Tx) error { return tx.MarkWebhook(w.ctx, w.a, first.ID, true, start) })
	changed.Troubled, changed.FailingSince = true, start
	got, err := w.Webhook(w.ctx, w.a, first.ID)
	w.must(err)
	w.same("changed", got, changed)

	w.do(func(tx sender.Tx) error { return tx.DeleteWebhook(w.ctx, w.a, second.ID) })
	_, err = w.Webhook(w.ctx, w.a, second.ID)
	w.kind("deleted", err, sender.NotFound)
	w.kind("twice", w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteWebhook(w.ctx, w.a, second.ID) }), sender.NotFound)
}

func hookDeliveries(w *world) {
	some := w.webhook(newWebhook(w.a, "domain.*", "address.active"))
	off := newWebhook(w.a, "*")
	off.Enabled = false
	w.webhook(off)
	other := w.webhook(newWebhook(w.b, "*"))
	var events []sender.Event
	for _, t := range []sender.EventType{"domain.created", "domains.created", "address.active", "domain.record.lapsed"} {
		events = append(events, w.event(w.a, t))
	}
	wanted := []sender.ID{events[3].ID, events[2].ID, events[0].ID}
	list := func(h sender.Webhook, page sender.Page) (found []sender.ID) {
		w.Helper()
		ds, err := w.WebhookDeliveries(w.ctx, h.Tenant, h.ID, page)
		w.must(err)
		for _, d := range ds {
			found = append(found, d.Event)
		}
		return found
	}
	w.same("queued, the newest first", list(some, sender.Page{}), wanted)
	w.same("a page", list(some, sender.Page{After: wanted[0], Limit: 1}), wanted[1:2])
	w.same("for one that is disabled, or another tenant's", slices.Concat(list(off, sender.Page{}), list(other, sender.Page{})), []sender.ID(nil))
	got, err := w.Event(w.ctx, w.a, events[0].ID)
	w.must(err)
	w.same("event", got, events[0])

	// An event whose transaction fails was never there.
	_ = w.Update(w.ctx, func(tx sender.Tx) error {
		w.must(tx.InsertEvent(w.ctx, sender.Event{ID: sender.NewID(), Tenant: w.a, At: start, Type: "domain.deleted"}))
		return errOops
	})
	w.same("after a transaction that failed", list(some, sender.Page{}), wanted)

	next, err := w.NextWebhookDelivery(w.ctx)
	w.must(err)
	w.same("next", next, start)
	due, err := w.DueWebhookDeliveries(w.ctx, w.a, some.ID, start, 2)
	w.must(err)
	w.same("due", due, []sender.WebhookDelivery{
		{Tenant: w.a, Webhook: some.ID, Event: events[0].ID, State: sender.HookPending, DueAt: start},
		{Tenant: w.a, Webhook: some.ID, Event: events[2].ID, State: sender.HookPending, DueAt: start},
	})
	record := func(d sender.WebhookDelivery) error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateWebhookDelivery(w.ctx, d) })
	}
	d := due[0]
	d.Attempts, d.Status, d.Error, d.DueAt, d.ExpiresAt, d.TriedAt = 1, 500, "it answered 500", start.Add(time.Minute), start.Add(time.Hour), start.Add(time.Second)
	w.must(record(d))
	w.kind("recorded by a second one", record(d), sender.Conflict)
	ok := due[1]
	ok.Attempts, ok.State, ok.Status, ok.DueAt, ok.ExpiresAt, ok.TriedAt, ok.DoneAt = 1, sender.HookDelivered, 204, time.Time{}, start.Add(time.Hour), start, start
	w.must(record(ok))
	ok.Attempts = 2
	w.kind("recorded after the end", record(ok), sender.Conflict)
	all, err := w.WebhookDeliveries(w.ctx, w.a, some.ID, sender.Page{})
	w.must(err)
	ok.Attempts = 1
	w.same("recorded", all[1:], []sender.WebhookDelivery{ok, d})

	again := func(event sender.ID) {
		w.Helper()
		w.do(func(tx sender.Tx) error {
			return tx.PutWebhookDelivery(w.ctx, w.a, some.ID, event, start.Add(time.Hour))
		})
	}
	again(ok.Event)
	again(events[1].ID) // which it did not want
	all, err = w.WebhookDeliveries(w.ctx, w.a, some.ID, sender.Page{})
	w.must(err)
	if len(all) != 4 || all[1].State != sender.HookPending || all[1].Attempts != 0 || !all[1].DueAt.Equal(start.Add(time.Hour)) || !all[1].DoneAt.IsZero() || !all[1].ExpiresAt.IsZero() {
		w.Errorf("queued again: %+v", all)
	}
	w.do(func(tx sender.Tx) error { return tx.PutOffWebhookDeliveries(w.ctx, w.a, some.ID, time.Time{}) })
	next, err = w.NextWebhookDelivery(w.ctx)
	w.must(err)
	w.same("nothing is due of a webhook that is disabled", next, time.Time{})
	w.do(func(tx sender.Tx) error { return tx.PutOffWebhookDeliveries(w.ctx, w.a, some.ID, start) })
	if due, err := w.DueWebhookDeliveries(w.ctx, w.a, some.ID, start, 10); err != nil || len(due) != 4 {
		w.Errorf("then %d are due, %v", len(due), err)
	}
	w.do(func(tx sender.Tx) error { return tx.DeleteWebhook(w.ctx, w.a, some.ID) })
	w.same("deleted with its webhook", list(some, sender.Page{}), []sender.ID(nil))
}

func hookLeases(w *world) {
	a, b, sick := w.webhook(newWebhook(w.a, "*")), w.webhook(newWebhook(w.b, "*")), newWebhook(w.a, "*")
	sick.Troubled = true
	w.webhook(sick)
	w.webhook(newWebhook(w.a, "other")) // has nothing to do
	w.event(w.a, "x")
	w.event(w.b, "x")
	now := start.Add(time.Second)
	w.same("due", w.dueHooks(false, now, sender.WebhookKey{}, 10), []sender.ID{a.ID, b.ID})
	w.same("due, troubled", w.dueHooks(true, now, sender.WebhookKey{}, 10), []sender.ID{sick.ID})
	w.same("a page", w.dueHooks(false, now, sender.WebhookKey{}, 1), []sender.ID{a.ID})
	w.same("after it", w.dueHooks(false, now, sender.WebhookKey{Tenant: w.a, ID: a.ID}, 10), []sender.ID{b.ID})
	w.same("before the time", w.dueHooks(false, start.Add(-time.Second), sender.WebhookKey{}, 10), []sender.ID(nil))
	lease := func(owner string, now time.Time) (ok bool) {
		w.Helper()
		w.do(func(tx sender.Tx) (err error) {
			ok, err = tx.LeaseWebhook(w.ctx, w.a, a.ID, owner, now, now.Add(time.Minute))
			return err
		})
		return ok
	}
	if !lease("n1", now) || lease("n2", now) {
		w.Error("not leased to the first one, or to a second one")
	}
	w.same("leased", w.dueHooks(false, now, sender.WebhookKey{}, 10), []sender.ID{b.ID})
	w.do(func(tx sender.Tx) error { return tx.ReleaseWebhook(w.ctx, w.a, a.ID, "n2") })
	if lease("n2", now) {
		w.Error("released by somebody else")
	}
	if !lease("n2", now.Add(time.Hour)) {
		w.Error("not leased after the end of the lease")
	}
	w.do(func(tx sender.Tx) error { return tx.ReleaseWebhook(w.ctx, w.a, a.ID, "n2") })
	if !lease("n1", now) {
		w.Error("not leased after it was released")
	}
	w.do(func(tx sender.Tx) error { return tx.ReleaseWebhooks(w.ctx) })
	w.same("all released", w.dueHooks(false, now, sender.WebhookKey{}, 10), []sender.ID{a.ID, b.ID})
}

func forgetDeliveries(w *world) {
	h := w.webhook(newWebhook(w.a, "*"))
	for i := range 5 {
		e := w.event(w.a, "x")
		if i == 4 {
			continue // pending
		}
		w.do(func(tx sender.Tx) error {
			return tx.UpdateWebhookDelivery(w.ctx, sender.WebhookDelivery{
				Tenant: w.a, Webhook: h.ID, Event: e.ID, State: sender.HookDelivered, Attempts: 1, DoneAt: start.Add(time.Duration(i) * time.Hour),
			})
		})
	}
	var counts []int
	for range 3 {
		w.do(func(tx sender.Tx) error {
			n, err := tx.ForgetWebhookDeliveries(w.ctx, start.Add(3*time.Hour), 2)
			counts = append(counts, n)
			return err
		})
	}
	w.same("forgotten", counts, []int{2, 1, 0})
	left, err := w.WebhookDeliveries(w.ctx, w.a, h.ID, sender.Page{})
	if err != nil || len(left) != 2 {
		w.Errorf("%d are left, %v", len(left), err)
	}
}
