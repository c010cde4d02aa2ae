package storetest

import (
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

var relayIntrusions = []intrusion{
	{"Relay", func(w *world, tx otp.Tx, _ victim) error { _, err := tx.Relay(w.ctx, w.b); return err }, sender.NotFound},
	{"PutRelay", func(w *world, tx otp.Tx, _ victim) error {
		r := newRelay(w.b)
		r.Host = "mx.thief.example"
		return tx.PutRelay(w.ctx, r)
	}, ""},
	{"DeleteRelay", func(w *world, tx otp.Tx, _ victim) error { return tx.DeleteRelay(w.ctx, w.b) }, sender.NotFound},
}

func newRelay(tenant sender.ID) sender.Relay {
	return sender.Relay{
		Tenant: tenant, Host: "SMTP.example.org", Port: 2525, Username: "postseal", Password: "hunter2",
		From: &sender.Correspondent{Name: new("Example"), Address: "NoReply@example.org"}, ReplyTo: &sender.Correspondent{Address: "help@example.org"},
		UpdatedAt: start,
	}
}

func relays(w *world) {
	put := func(r sender.Relay) {
		w.Helper()
		w.do(func(tx sender.Tx) error { return tx.PutRelay(w.ctx, r) })
	}
	same := func(what string, want sender.Relay) {
		w.Helper()
		got, err := w.Relay(w.ctx, want.Tenant)
		w.must(err)
		w.same(what, got, want)
	}
	_, err := w.Relay(w.ctx, w.a)
	w.kind("before", err, sender.NotFound)
	a, b := newRelay(w.a), newRelay(w.b)
	b.Password = "of another tenant"
	put(a)
	put(b)
	same("the first", a)
	same("that of the other tenant", b)
	a.Host, a.Password = "other.example.org", "ä'\U0001F600"
	put(a)
	same("beside another host", a)
	a = sender.Relay{Tenant: w.a, Host: "2001:db8::1", Port: 465, UpdatedAt: start.Add(time.Second)}
	put(a)
	same("with as little as can be", a)
	a = sender.Relay{
		Tenant: w.a, Username: "postseal", Password: "hunter2", From: &sender.Correspondent{Name: new(""), Address: "a@example.org"}, UpdatedAt: start,
		HTTP: &sender.HTTPProvider{
			Name: "Ä", Method: "POST", URL: "https://api.example.org/?to=${to}", Headers: map[string]string{"X-Key": "k", "x-a": ""}, Body: new("${message}\x00"),
		},
	}
	put(a)
	same("an HTTP API, with a name that is empty", a)
	a.HTTP = &sender.HTTPProvider{Bearer: true, Headers: map[string]string{}}
	a.Username = ""
	put(a)
	same("with no headers, and an empty list of them", a)
	a.HTTP.Headers = nil
	put(a)
	same("without a list of headers", a)
	a = newRelay(w.a)
	put(a)
	same("and an SMTP server again", a)
	w.do(func(tx sender.Tx) error { return tx.DeleteRelay(w.ctx, w.a) })
	_, err = w.Relay(w.ctx, w.a)
	w.kind("after", err, sender.NotFound)
	w.kind("twice", w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteRelay(w.ctx, w.a) }), sender.NotFound)
	same("that of the other tenant, after", b)
	w.do(func(tx sender.Tx) error { return tx.DeleteTenant(w.ctx, w.b) })
	_, err = w.Relay(w.ctx, w.b)
	w.kind("of a tenant that is gone", err, sender.NotFound)
}

func passOver(w *world) {
	for range 3 {
		w.message(newMessage(w.a, start))
	}
	other := w.message(newMessage(w.b, start))
	claim := func(except ...sender.ID) (ms []sender.Message) {
		w.Helper()
		w.do(func(tx sender.Tx) (err error) {
			ms, err = tx.ClaimMessages(w.ctx, "n1", start, start.Add(time.Minute), 10, except...)
			return err
		})
		return ms
	}
	if ms := claim(w.a, w.b); len(ms) != 0 {
		w.Errorf("%d messages of tenants to be passed over", len(ms))
	}
	code := newMessage(w.a, start)
	code.Builtin = true
	w.message(code)
	if ms := claim(w.a, w.b); len(ms) != 1 || ms[0].ID != code.ID || !ms[0].Builtin {
		w.Errorf("claimed %d messages, want the one of the built-in no-reply", len(ms))
	}
	later := newMessage(w.a, start.Add(time.Hour))
	later.Builtin = true
	w.message(later)
	if ms := claim(w.a); len(ms) != 1 || ms[0].ID != other.ID {
		w.Errorf("claimed %d messages, want the one of the other tenant", len(ms))
	}
	if ms := claim(); len(ms) != 3 {
		w.Errorf("then %d messages, want the three that were passed over", len(ms))
	}
}
