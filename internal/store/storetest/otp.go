package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

func newApplication(tenant sender.ID, name string) otp.Application {
	return otp.Application{
		ID: sender.NewRandomID(), Tenant: tenant, Name: name, Enabled: true, PushSender: "s",
		Attributes: map[string]string{otp.EmailEnabled: "true", otp.DefaultLocale: "de"}, CreatedAt: start, UpdatedAt: start.Add(time.Minute),
	}
}

func newUser(tenant sender.ID, username string) otp.User {
	return otp.User{
		ID: sender.NewID(), Tenant: tenant, Username: username, FirstName: "Anna", LastName: "Müller", LastLogin: start.Add(-time.Hour),
		Guard:     otp.Guard{Hour: start.Truncate(time.Hour), Sent: 2, Day: start.Truncate(24 * time.Hour), Wrong: 3},
		CreatedAt: start, UpdatedAt: start.Add(time.Minute),
	}
}

func newDevice(u otp.User, application sender.ID, address string, at time.Time) otp.Device {
	return otp.Device{
		ID: sender.NewRandomID(), Tenant: u.Tenant, User: u.ID, Application: application, Address: address, Nickname: "Email 1",
		Role: otp.Primary, PairedAt: at,
	}
}

func newChallenge() otp.Challenge {
	return otp.Challenge{Hash: []byte{0, 1, 0xFF}, ExpiresAt: start.Add(10 * time.Minute), Wrong: 1}
}

func newPairing(u otp.User, application sender.ID, ends time.Time) otp.Pairing {
	return otp.Pairing{
		ID: sender.NewRandomID(), Tenant: u.Tenant, Application: application, User: u.ID, Address: "anna@example.net", Nickname: "Büro",
		State: otp.PairingPending, Challenge: newChallenge(), CreatedAt: start, UpdatedAt: start.Add(time.Second), ExpiresAt: ends,
	}
}

func newAuthentication(u otp.User, application, device sender.ID, ends time.Time) otp.Authentication {
	return otp.Authentication{
		ID: sender.NewRandomID(), Tenant: u.Tenant, Application: application, User: u.ID, Device: device, Status: otp.AwaitingCode,
		Challenge: newChallenge(), CreatedAt: start, UpdatedAt: start.Add(time.Second), ExpiresAt: ends,
	}
}

// user inserts a user.
func (w *world) user(tenant sender.ID, username string) otp.User {
	w.Helper()
	u := newUser(tenant, username)
	w.change(func(tx otp.Tx) error { return tx.InsertUser(w.ctx, u) })
	return u
}

// insert puts things in the store, in one update.
func (w *world) insert(things ...any) error {
	w.Helper()
	return w.otp.Update(w.ctx, func(tx otp.Tx) error {
		for _, x := range things {
			var err error
			switch x := x.(type) {
			case otp.Application:
				err = tx.InsertApplication(w.ctx, x)
			case otp.User:
				err = tx.InsertUser(w.ctx, x)
			case otp.Device:
				err = tx.InsertDevice(w.ctx, x)
			case otp.Pairing:
				err = tx.InsertPairing(w.ctx, x)
			case otp.Authentication:
				err = tx.InsertAuthentication(w.ctx, x)
			default:
				err = fmt.Errorf("what is %T?", x)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func applications(w *world) {
	late, first, second := newApplication(w.a, "Late"), newApplication(w.a, "First"), newApplication(w.a, "Second")
	late.CreatedAt = start.Add(time.Microsecond)
	if first.ID > second.ID { // where the time is the same, the id decides
		first.ID, second.ID = second.ID, first.ID
	}
	w.must(w.insert(late, second, first))
	bare := otp.Application{ID: sender.NewRandomID(), Tenant: w.a, CreatedAt: start.Add(time.Hour)}
	w.must(w.insert(bare))
	for _, want := range []otp.Application{late, first, bare} {
		got, err := w.otp.Application(w.ctx, w.a, want.ID)
		w.must(err)
		w.same("by id", got, want)
		got, err = w.otp.ApplicationByName(w.ctx, w.a, want.Name)
		w.must(err)
		w.same("by name", got, want)
	}
	list, err := w.otp.Applications(w.ctx, w.a)
	w.must(err)
	w.same("list", list, []otp.Application{first, second, late, bare})
	list, err = w.otp.Applications(w.ctx, w.b)
	w.must(err)
	w.same("list of another tenant", list, []otp.Application(nil))

	changed := first
	changed.Name, changed.Enabled, changed.PushSender = "Changed", false, ""
	changed.Attributes, changed.UpdatedAt = map[string]string{otp.MaxDevices: "7"}, start.Add(time.Hour)
	written := changed
	written.CreatedAt = start.Add(time.Hour) // not written
	update := func() error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error { return tx.UpdateApplication(w.ctx, written) })
	}
	w.must(update())
	got, err := w.otp.ApplicationByName(w.ctx, w.a, "CHANGED")
	w.must(err)
	w.same("updated", got, changed)
	_, err = w.otp.ApplicationByName(w.ctx, w.a, "First")
	w.kind("under its old name", err, sender.NotFound)
	written.ID = sender.NewRandomID()
	w.kind("update of an unknown one", update(), sender.NotFound)
	_, err = w.otp.Application(w.ctx, w.a, written.ID)
	w.kind("unknown", err, sender.NotFound)
}

func applicationNames(w *world) {
	a := newApplication(w.a, "Größe ÄÖ Inc.")
	w.must(w.insert(a))
	got, err := w.otp.ApplicationByName(w.ctx, w.a, "GRÖßE äö INC.")
	w.must(err)
	w.same("in another case", got, a)
	w.kind("the name again", w.insert(newApplication(w.a, "größe äö inc.")), sender.Conflict)
	same := newApplication(w.a, "Other")
	same.ID = a.ID
	w.kind("the id again", w.insert(same), sender.Conflict)
	same.Tenant, same.Name = w.b, a.Name
	w.must(w.insert(same)) // another tenant may have both
}

func users(w *world) {
	u := w.user(w.a, "anna@example.net")
	bare := otp.User{ID: sender.NewID(), Tenant: w.a, Username: "bare"}
	w.must(w.insert(bare))
	for _, want := range []otp.User{u, bare} {
		got, err := w.otp.User(w.ctx, w.a, want.Username)
		w.must(err)
		w.same(want.Username, got, want)
	}
	changed := u
	changed.FirstName, changed.LastName, changed.LastLogin = "Änne", "", start.Add(time.Hour)
	changed.Guard, changed.UpdatedAt = otp.Guard{Day: start, Wrong: 30}, start.Add(2*time.Hour)
	written := changed
	written.Username, written.CreatedAt = "other", start.Add(time.Hour) // not written
	update := func() error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error { return tx.UpdateUser(w.ctx, written) })
	}
	w.must(update())
	got, err := w.otp.User(w.ctx, w.a, u.Username)
	w.must(err)
	w.same("updated", got, changed)
	written.ID = sender.NewID()
	w.kind("update of an unknown one", update(), sender.NotFound)
	_, err = w.otp.User(w.ctx, w.a, "other")
	w.kind("unknown", err, sender.NotFound)
}

func usernames(w *world) {
	names := []string{"anna", "Anna", "anna ", "änna", "anna%", "' OR '' = '", `"; DROP TABLE users; --`, "\U0001F600", "", "a\x00b\xff\xfe"}
	var made []otp.User
	for _, name := range names {
		made = append(made, w.user(w.a, name))
	}
	for i, name := range names {
		got, err := w.otp.User(w.ctx, w.a, name)
		w.must(err)
		w.same(fmt.Sprintf("who is found as %q", name), got.ID, made[i].ID)
		w.kind(fmt.Sprintf("%q again", name), w.insert(newUser(w.a, name)), sender.Conflict)
	}
	got, err := w.otp.User(w.ctx, w.a, names[len(names)-1])
	w.must(err)
	w.same("what is no text", got.Username, "a\uFFFDb\uFFFD")
	w.user(w.b, "anna") // another tenant may have the name
}

func devices(w *world) {
	u, other := w.user(w.a, "anna"), w.user(w.a, "otto")
	app, second := sender.NewRandomID(), sender.NewRandomID()
	var want []otp.Device
	for i, at := range []time.Duration{0, 0, 1, 2, 3} { // in microseconds; where the time is the same, the id decides
		d := newDevice(u, []sender.ID{app, second}[i%2], fmt.Sprintf("anna%d@example.net", i), start.Add(at*time.Microsecond))
		want = append(want, d)
	}
	if want[0].ID > want[1].ID {
		want[0].ID, want[1].ID = want[1].ID, want[0].ID
	}
	for _, d := range slices.Backward(want) {
		w.must(w.insert(d))
	}
	w.must(w.insert(newDevice(other, app, "otto@example.net", start)))
	list := func() []otp.Device {
		ds, err := w.otp.Devices(w.ctx, w.a, u.ID)
		w.must(err)
		return ds
	}
	w.same("of every application", list(), want)

	want[1].Nickname, want[1].Role = "Büro \U0001F4EC", otp.Trusted
	written := want[1]
	written.Address, written.PairedAt, written.User = "x@example.net", start.Add(time.Hour), other.ID // not written
	update := func() error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error { return tx.UpdateDevice(w.ctx, written) })
	}
	w.must(update())
	w.same("updated", list(), want)
	remove := func() error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error { return tx.DeleteDevice(w.ctx, w.a, written.ID) })
	}
	w.must(remove())
	w.same("after one was deleted", list(), slices.Delete(want, 1, 2))
	w.kind("deleted twice", remove(), sender.NotFound)
	w.kind("updated after", update(), sender.NotFound)
}

func devicesOf(w *world) {
	app := sender.NewRandomID()
	var want []otp.Device
	for i := range 5 {
		u := w.user(w.a, fmt.Sprint("user", i%2, i))
		d := newDevice(u, app, "x@example.net", start)
		want = append(want, d)
		w.must(w.insert(d, newDevice(u, sender.NewRandomID(), "x@example.net", start)))
	}
	slices.SortFunc(want, func(a, b otp.Device) int { return cmp.Compare(a.ID, b.ID) })
	w.change(func(tx otp.Tx) error {
		got, err := tx.DevicesOf(w.ctx, w.a, app, sender.Page{})
		w.same("all", got, want)
		if err != nil {
			return err
		}
		got, err = tx.DevicesOf(w.ctx, w.a, app, sender.Page{After: want[0].ID, Limit: 3})
		w.same("page", got, want[1:4])
		return err
	})
}

func pairings(w *world) {
	u, app := w.user(w.a, "anna"), sender.NewRandomID()
	p, bare := newPairing(u, app, start.Add(time.Hour)), otp.Pairing{ID: sender.NewRandomID(), Tenant: w.a, User: u.ID}
	w.must(w.insert(p, bare))
	for _, want := range []otp.Pairing{p, bare} {
		got, err := w.otp.Pairing(w.ctx, w.a, want.ID)
		w.must(err)
		w.same("by id", got, want)
	}
	p.State, p.Challenge, p.Device, p.UpdatedAt = otp.PairingDone, otp.Challenge{ExpiresAt: start}, sender.NewRandomID(), start.Add(time.Minute)
	p.Nickname = "Email 1" // as it was settled with the device
	written := p
	written.Application, written.Address, written.CreatedAt, written.ExpiresAt = sender.NewRandomID(), "x@example.net", start.Add(time.Hour), start // not written
	update := func() error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error { return tx.UpdatePairing(w.ctx, written) })
	}
	w.must(update())
	got, err := w.otp.Pairing(w.ctx, w.a, p.ID)
	w.must(err)
	w.same("updated", got, p)
	written.ID = sender.NewRandomID()
	w.kind("update of an unknown one", update(), sender.NotFound)
	_, err = w.otp.Pairing(w.ctx, w.a, written.ID)
	w.kind("unknown", err, sender.NotFound)
}

func authentications(w *world) {
	u, app := w.user(w.a, "anna"), sender.NewRandomID()
	a := newAuthentication(u, app, sender.NewRandomID(), start.Add(time.Hour)) // a device that is gone
	bare := otp.Authentication{ID: sender.NewRandomID(), Tenant: w.a, User: u.ID, Status: otp.SelectFirst}
	w.must(w.insert(a, bare))
	for _, want := range []otp.Authentication{a, bare} {
		got, err := w.otp.Authentication(w.ctx, w.a, want.ID)
		w.must(err)
		w.same("by id", got, want)
	}
	a.Status, a.Challenge, a.UpdatedAt = otp.Blocked, otp.Challenge{Wrong: 3}, start.Add(time.Minute)
	written := a
	written.Application, written.Device, written.CreatedAt, written.ExpiresAt = sender.NewRandomID(), "", start.Add(time.Hour), start // not written
	update := func() error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error { return tx.UpdateAuthentication(w.ctx, written) })
	}
	w.must(update())
	got, err := w.otp.Authentication(w.ctx, w.a, a.ID)
	w.must(err)
	w.same("updated", got, a)
	written.ID = sender.NewRandomID()
	w.kind("update of an unknown one", update(), sender.NotFound)
	_, err = w.otp.Authentication(w.ctx, w.a, written.ID)
	w.kind("unknown", err, sender.NotFound)
}

func deletedUser(w *world) {
	app := sender.NewRandomID()
	type belongings struct {
		u otp.User
		d otp.Device
		p otp.Pairing
		a otp.Authentication
	}
	var all []belongings
	for _, name := range []string{"anna", "otto"} {
		u := w.user(w.a, name)
		d := newDevice(u, app, name+"@example.net", start)
		b := belongings{u, d, newPairing(u, app, start.Add(time.Hour)), newAuthentication(u, app, d.ID, start.Add(time.Hour))}
		w.must(w.insert(b.d, b.p, b.a))
		all = append(all, b)
	}
	remove := func() error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error { return tx.DeleteUser(w.ctx, w.a, all[0].u.ID) })
	}
	w.must(remove())
	w.kind("deleted twice", remove(), sender.NotFound)
	for i, b := range all {
		want, there := sender.NotFound, 0
		if i > 0 {
			want, there = "", 1
		}
		_, err := w.otp.User(w.ctx, w.a, b.u.Username)
		w.kind("user "+b.u.Username, err, want)
		_, err = w.otp.Pairing(w.ctx, w.a, b.p.ID)
		w.kind("pairing of "+b.u.Username, err, want)
		_, err = w.otp.Authentication(w.ctx, w.a, b.a.ID)
		w.kind("authentication of "+b.u.Username, err, want)
		ds, err := w.otp.Devices(w.ctx, w.a, b.u.ID)
		w.must(err)
		w.same("devices of "+b.u.Username, len(ds), there)
	}
	w.user(w.a, "anna") // the name is free again
}

func orphans(w *world) {
	nobody := newUser(w.a, "nobody")
	for _, x := range []any{
		newDevice(nobody, sender.NewRandomID(), "x@example.net", start), newPairing(nobody, sender.NewRandomID(), start),
		newAuthentication(nobody, sender.NewRandomID(), "", start),
	} {
		w.kind(fmt.Sprintf("%T", x), w.insert(x), sender.NotFound)
	}
}

func forget(w *world) {
	app, end := sender.NewRandomID(), start.Add(time.Hour)
	var gone, kept []any
	for _, tenant := range []sender.ID{w.a, w.b} { // of every tenant
		u := w.user(tenant, "anna")
		for i := range 3 {
			at := end.Add(-time.Duration(i+1) * time.Microsecond)
			gone = append(gone, newPairing(u, app, at), newAuthentication(u, app, "", at))
		}
		kept = append(kept, newPairing(u, app, end), newAuthentication(u, app, "", end), newPairing(u, app, end.Add(time.Hour)))
	}
	w.must(w.insert(slices.Concat(gone, kept)...))
	run := func(limit int) (n int) {
		w.change(func(tx otp.Tx) (err error) {
			n, err = tx.Forget(w.ctx, end, limit)
			return err
		})
		return n
	}
	find := func(x any) error {
		var err error
		switch x := x.(type) {
		case otp.Pairing:
			_, err = w.otp.Pairing(w.ctx, x.Tenant, x.ID)
		case otp.Authentication:
			_, err = w.otp.Authentication(w.ctx, x.Tenant, x.ID)
		}
		return err
	}
	for i, want := range []int{0, 8, 4, 0} { // at most so many of each
		limit := min(4, 4*i)
		w.same(fmt.Sprintf("forgotten in call %d, at most %d of each", i, limit), run(limit), want)
	}
	for _, x := range gone {
		w.kind("what ended before", find(x), sender.NotFound)
	}
	for _, x := range kept {
		w.kind("what ended later, or just then", find(x), "")
	}
}

// bothCores: what the two write happens together or not at all.
func bothCores(w *world) {
	m := newMessage(w.a, start)
	both := func(then error) error {
		return w.otp.Update(w.ctx, func(tx otp.Tx) error {
			u := newUser(w.a, "anna")
			if err := tx.InsertUser(w.ctx, u); err != nil {
				return err
			}
			if _, err := tx.User(w.ctx, w.a, "anna"); err != nil {
				return err
			}
			if err := tx.InsertMessage(w.ctx, m); err != nil {
				return err
			}
			return then
		})
	}
	if err := both(errOops); !errors.Is(err, errOops) {
		w.Errorf("got %v, want the error of do", err)
	}
	_, err := w.otp.User(w.ctx, w.a, "anna")
	w.kind("the user of a failed update", err, sender.NotFound)
	_, err = w.Message(w.ctx, w.a, m.ID)
	w.kind("the message of a failed update", err, sender.NotFound)
	w.must(both(nil))
	_, err = w.otp.User(w.ctx, w.a, "anna")
	w.kind("the user", err, "")
	_, err = w.Message(w.ctx, w.a, m.ID)
	w.kind("the message", err, "")

	one, err := w.Secret(w.ctx, "one-time-code", 32)
	w.must(err)
	two, err := w.otp.Secret(w.ctx, "one-time-code", 32)
	w.must(err)
	w.same("secret", two, one)
}

func userLock(w *world) {
	const limit = 3
	u, app := w.user(w.a, "anna"), sender.NewRandomID()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			err := w.otp.Update(w.ctx, func(tx otp.Tx) error {
				if err := tx.LockUser(w.ctx, w.a, u.ID); err != nil {
					return err
				}
				ds, err := tx.Devices(w.ctx, w.a, u.ID)
				if err != nil || len(ds) >= limit {
					return err
				}
				return tx.InsertDevice(w.ctx, newDevice(u, app, fmt.Sprintf("anna%d@example.net", i), start))
			})
			if err != nil {
				w.Error(err)
			}
		})
	}
	wg.Wait()
	ds, err := w.otp.Devices(w.ctx, w.a, u.ID)
	w.must(err)
	w.same("devices", len(ds), limit)
}
