package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

func messages(w *world) {
	m := newMessage(w.a, start)
	m.Kind, m.Once, m.IdempotencyKey, m.RequestHash, m.Actor = sender.KindCode, true, "key-1", "hash", sender.NewID()
	w.message(m)
	m.Body = nil
	got, err := w.Message(w.ctx, w.a, m.ID)
	w.must(err)
	w.same("by id", got, m)
	got, err = w.MessageByKey(w.ctx, w.a, "key-1")
	w.must(err)
	w.same("by key", got, m)
	second := w.message(newMessage(w.a, start))
	list, err := w.Messages(w.ctx, w.a, sender.Page{})
	w.must(err)
	second.Body = nil
	w.same("list", list, []sender.Message{m, second})
	list, err = w.Messages(w.ctx, w.a, sender.Page{After: m.ID, Limit: 1})
	w.must(err)
	w.same("page", list, []sender.Message{second})
	_, err = w.Message(w.ctx, w.a, sender.NewID())
	w.kind("unknown", err, sender.NotFound)
	_, err = w.MessageByKey(w.ctx, w.a, "")
	w.kind("without a key", err, sender.NotFound)
}

func idempotency(w *world) {
	m := newMessage(w.a, start)
	m.IdempotencyKey = "key"
	w.message(m)
	again := newMessage(w.a, start)
	again.IdempotencyKey = "key"
	w.kind("the key again", w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertMessage(w.ctx, again) }), sender.Conflict)
	again.Tenant = w.b
	w.message(again) // another tenant's key is another key
	for range 2 {
		w.message(newMessage(w.a, start)) // no key is no conflict
	}
}

func claim(w *world) {
	due, late := newMessage(w.a, start), newMessage(w.a, start.Add(-time.Minute))
	w.message(due)
	w.message(late)
	w.message(newMessage(w.a, start.Add(time.Microsecond)))
	got := w.claim("n1", start, 10)
	due.State, late.State = sender.Sending, sender.Sending
	w.same("claimed, the longest due first, with bodies", got, []sender.Message{late, due})
	w.same("nothing twice", w.claim("n2", start, 10), []sender.Message(nil))
	m, err := w.Message(w.ctx, w.a, due.ID)
	w.must(err)
	w.same("state of a claimed message", m.State, sender.Sending)
	w.same("limit", len(w.claim("n1", start.Add(time.Hour), 0)), 0)
	next, err := w.NextDue(w.ctx)
	w.must(err)
	w.same("next due", next, start.Add(time.Microsecond))
	w.same("rest", len(w.claim("n1", start.Add(time.Hour), 1)), 1)
	next, err = w.NextDue(w.ctx)
	w.must(err)
	w.same("next due of an empty queue", next, time.Time{})
}

// fill queues n messages of a tenant.
func (w *world) fill(tenant sender.ID, n int, due time.Time) {
	w.Helper()
	w.do(func(tx sender.Tx) error {
		for range n {
			if err := tx.InsertMessage(w.ctx, newMessage(tenant, due)); err != nil {
				return err
			}
		}
		return nil
	})
}

func perTenant(ms []sender.Message) map[sender.ID]int {
	n := map[sender.ID]int{}
	for _, m := range ms {
		n[m.Tenant]++
	}
	return n
}

func fairness(w *world) {
	w.fill(w.a, 1000, start.Add(-time.Hour))
	w.fill(w.b, 1, start)
	got := w.claim("n1", start, 32)
	w.same("shares", perTenant(got), map[sender.ID]int{w.a: 31, w.b: 1})
	if i := slices.IndexFunc(got, func(m sender.Message) bool { return m.Tenant == w.b }); i > 1 {
		w.Errorf("the quiet tenant's mail is number %d in the batch, want it among the first two", i+1)
	}
	w.fill(w.b, 100, start)
	w.same("equal shares", perTenant(w.claim("n1", start, 32)), map[sender.ID]int{w.a: 16, w.b: 16})
}

func rotation(w *world) {
	tenants := 150 // more than one claim can serve
	w.do(func(tx sender.Tx) error {
		for range tenants {
			id := sender.NewID()
			for range 3 {
				if err := tx.InsertMessage(w.ctx, newMessage(id, start)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	served := map[sender.ID]int{}
	for range 5 { // 5 * 32 >= 150
		for id, n := range perTenant(w.claim("n1", start, 32)) {
			served[id] += n
		}
	}
	if len(served) != tenants {
		w.Errorf("%d of %d tenants were served in a round", len(served), tenants)
	}
	for id, n := range served {
		if n > 2 {
			w.Errorf("tenant %s was served %d times before all were served", id, n)
		}
	}
	for range 20 {
		for id, n := range perTenant(w.claim("n1", start, 32)) {
			served[id] += n
		}
	}
	for id, n := range served {
		if n != 3 {
			w.Errorf("tenant %s was served %d messages, want all 3", id, n)
		}
	}
}

func putOff(w *world) {
	w.do(func(tx sender.Tx) error {
		for range 600 { // more than the walk looks at in one statement
			if err := tx.InsertMessage(w.ctx, newMessage(sender.NewID(), start.Add(time.Hour))); err != nil {
				return err
			}
		}
		return nil
	})
	last := sender.NewID()
	for range 3 {
		w.fill(last, 1, start)
		w.fill(w.a, 1, start)
		w.same("shares", perTenant(w.claim("n1", start, 32)), map[sender.ID]int{last: 1, w.a: 1})
	}
}

func newAttempt(m sender.Message, number int) sender.Attempt {
	return sender.Attempt{Message: m.ID, Tenant: m.Tenant, Number: number, StartedAt: start, Delivery: sender.Delivery{Outcome: sender.AttemptStarted}}
}

func (w *world) startAttempt(owner string, a sender.Attempt) error {
	return w.Update(w.ctx, func(tx sender.Tx) error { return tx.StartAttempt(w.ctx, owner, a) })
}

func attempts(w *world) {
	m := w.message(newMessage(w.a, start))
	a := newAttempt(m, 1)
	w.kind("not claimed", w.startAttempt("n1", a), sender.Conflict)
	w.claim("n1", start, 1)
	w.kind("claimed by another", w.startAttempt("n2", a), sender.Conflict)
	w.must(w.startAttempt("n1", a))
	w.kind("the number again", w.startAttempt("n1", a), sender.Conflict)
	list, err := w.Attempts(w.ctx, w.a, m.ID)
	w.must(err)
	w.same("started", list, []sender.Attempt{a})

	a.FinishedAt = start.Add(time.Second)
	a.Delivery = sender.Delivery{Outcome: sender.TempFailed, Code: 450, Enhanced: "4.2.1", Text: "busy", Stage: "rcpt", Transcript: []byte(`{"c":"RCPT"}`)}
	signing := newAttempt(m, 2)
	signing.FinishedAt, signing.Delivery = start.Add(time.Minute), sender.Delivery{Outcome: sender.TempFailed, Stage: "sign"}
	w.do(func(tx sender.Tx) error {
		if err := tx.FinishAttempt(w.ctx, a); err != nil {
			return err
		}
		return tx.FinishAttempt(w.ctx, signing) // never started: the network was not touched
	})
	list, err = w.Attempts(w.ctx, w.a, m.ID)
	w.must(err)
	w.same("finished", list, []sender.Attempt{a, signing})
	a.Message = sender.NewID()
	w.kind("of an unknown message", w.Update(w.ctx, func(tx sender.Tx) error { return tx.FinishAttempt(w.ctx, a) }), sender.NotFound)
}

func (w *world) update(owner string, m sender.Message) error {
	return w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateMessage(w.ctx, owner, m) })
}

func updateMessage(w *world) {
	m := w.message(newMessage(w.a, start))
	body := m.Body
	m.State, m.Reason, m.Attempts, m.InDoubt, m.NextAttemptAt = sender.Queued, "450 busy", 1, 1, start.Add(time.Minute)
	w.kind("not claimed", w.update("n1", m), sender.Conflict)
	w.claim("n1", start, 1)
	w.kind("claimed by another", w.update("n2", m), sender.Conflict)
	w.must(w.update("n1", m))
	w.kind("the lease has ended", w.update("n1", m), sender.Conflict)
	again := w.claim("n2", start.Add(time.Minute), 1)
	m.State, m.Body = sender.Sending, body
	w.same("claimed again", again, []sender.Message{m})

	m.State, m.Reason, m.DoneAt = sender.Sent, "", start.Add(2*time.Minute)
	w.must(w.update("n2", m))
	got, err := w.Message(w.ctx, w.a, m.ID)
	w.must(err)
	m.Body = nil
	w.same("done", got, m)
	w.same("done is done", w.claim("n1", start.Add(time.Hour), 1), []sender.Message(nil))
}

func releaseExpired(w *world) {
	m := w.message(newMessage(w.a, start))
	w.claim("n1", start, 1)
	w.same("running lease", w.release(start.Add(time.Minute), false), []sender.Message(nil))
	w.same("still claimed", w.claim("n2", start.Add(time.Minute), 1), []sender.Message(nil))
	after := start.Add(time.Minute + time.Microsecond)
	w.same("nothing was started", w.release(after, false), []sender.Message(nil))
	w.kind("the old owner starts", w.startAttempt("n1", newAttempt(m, 1)), sender.Conflict)
	w.kind("the old owner writes", w.update("n1", m), sender.Conflict)
	got := w.claim("n2", after, 1)
	m.State = sender.Sending
	w.same("claimed by another, with its body", got, []sender.Message{m})
}

func renewed(w *world) {
	m := w.message(newMessage(w.a, start))
	w.claim("n1", start, 1)
	w.do(func(tx sender.Tx) error { return tx.RenewLeases(w.ctx, "n1", start.Add(time.Hour)) })
	w.do(func(tx sender.Tx) error { return tx.RenewLeases(w.ctx, "n2", start) })
	w.release(start.Add(30*time.Minute), false)
	w.must(w.startAttempt("n1", newAttempt(m, 1)))
}

func inDoubt(w *world) {
	usual, once, idle := newMessage(w.a, start), newMessage(w.b, start), newMessage(w.b, start)
	once.Once, idle.Once = true, true
	for _, m := range []sender.Message{usual, once, idle} {
		w.message(m)
	}
	w.same("claimed", len(w.claim("n1", start, 10)), 3)
	finished := newAttempt(usual, 1)
	finished.Outcome = sender.TempFailed
	w.do(func(tx sender.Tx) error { return tx.FinishAttempt(w.ctx, finished) })
	w.must(w.startAttempt("n1", newAttempt(usual, 2)))
	w.must(w.startAttempt("n1", newAttempt(once, 1)))

	now := start.Add(time.Hour)
	got := w.release(now, false)
	body := usual.Body
	usual.Body, once.Body = nil, nil
	usual.Attempts, usual.InDoubt = 2, 1
	once.Attempts, once.InDoubt, once.State, once.DoneAt = 1, 1, sender.MessageUnknown, now
	w.same("in doubt", got, []sender.Message{usual, once})
	for _, want := range got {
		m, err := w.Message(w.ctx, want.Tenant, want.ID)
		w.must(err)
		w.same("stored", m, want)
		list, err := w.Attempts(w.ctx, want.Tenant, want.ID)
		w.must(err)
		if last := list[len(list)-1]; last.Outcome != sender.InDoubt || !last.FinishedAt.Equal(now) || list[0].Outcome == sender.AttemptStarted {
			w.Errorf("attempts after the release: %+v", list)
		}
	}
	again := w.claim("n2", now, 10)
	usual.State, usual.Body, idle.State = sender.Sending, body, sender.Sending
	slices.SortFunc(again, func(a, b sender.Message) int {
		return slices.Index([]sender.ID{usual.ID, idle.ID}, a.ID) - slices.Index([]sender.ID{usual.ID, idle.ID}, b.ID)
	})
	w.same("what may be sent again", again, []sender.Message{usual, idle})
	w.must(w.startAttempt("n2", newAttempt(usual, usual.Attempts+1)))
}

func releaseAll(w *world) {
	idle, begun := w.message(newMessage(w.a, start)), newMessage(w.a, start.Add(time.Second))
	w.claim("n1", start, 1)
	w.message(begun)
	w.claim("n0", start.Add(time.Second), 1)
	w.must(w.startAttempt("n0", newAttempt(begun, 1)))
	got := w.release(start.Add(2*time.Second), true)
	if len(got) != 1 || got[0].ID != begun.ID {
		w.Errorf("in doubt after a restart: %+v, want the message that was begun", got)
	}
	w.kind("a lease is gone", w.startAttempt("n1", newAttempt(idle, 1)), sender.Conflict)
	w.kind("the other lease is gone", w.startAttempt("n0", newAttempt(begun, 2)), sender.Conflict)
	w.same("all are queued", len(w.claim("n2", start.Add(2*time.Second), 10)), 2)
}

func depth(w *world) {
	w.fill(w.a, 3, start.Add(time.Hour))
	w.fill(w.b, 2, start)
	for _, c := range []struct{ most, want int }{{100, 5}, {4, 4}} {
		n, err := w.QueueDepth(w.ctx, c.most)
		w.must(err)
		w.same(fmt.Sprintf("depth up to %d", c.most), n, c.want)
	}
	w.claim("n1", start, 10)
	n, err := w.QueueDepth(w.ctx, 100)
	w.must(err)
	w.same("depth without what is being sent", n, 3)
}

func hostileText(w *world) {
	m := w.message(newMessage(w.a, start))
	w.claim("n1", start, 1)
	a := newAttempt(m, 1)
	a.Outcome, a.Text = sender.PermFailed, "550 no\x00 \xff\xfe such user"
	m.State, m.Reason = sender.MessageFailed, a.Text
	w.do(func(tx sender.Tx) error {
		if err := tx.FinishAttempt(w.ctx, a); err != nil {
			return err
		}
		t := newTemplate(w.a, "", a.Text, "en")
		t.Body = a.Text
		if err := tx.InsertTemplate(w.ctx, t); err != nil {
			return err
		}
		if err := tx.InsertEvent(w.ctx, sender.Event{ID: sender.NewID(), Tenant: w.a, Data: map[string]string{"reason": a.Text}}); err != nil {
			return err
		}
		return tx.UpdateMessage(w.ctx, "n1", m)
	})
	got, err := w.Message(w.ctx, w.a, m.ID)
	w.must(err)
	w.same("reason", got.Reason, "550 no\uFFFD \uFFFD such user")
	t, err := w.TemplateFor(w.ctx, w.a, "", a.Text, "en", "frühling")
	w.must(err)
	w.same("body of a template", t.Body, got.Reason)
	_, err = w.Domain(w.ctx, w.a, "\x00\xff")
	w.kind("look-up by octets that are no text", err, sender.NotFound)
}
