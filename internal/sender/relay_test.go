package sender_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// ownRelay gives the first tenant a server; the scripted way stands for it.
func (h *harness) ownRelay(change ...func(*sender.NewRelay)) (sender.Relay, error) {
	n := sender.NewRelay{Host: "smtp.example.org", Username: "postseal", Password: "hunter2"}
	for _, c := range change {
		c(&n)
	}
	return h.SetRelay(h.Context(), h.admin, h.tenant.ID, n)
}

func TestDeliverySettingsAreCheckedFieldByField(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		type of = func(n *sender.NewRelay)
		for _, c := range []struct {
			what   string
			change of
			kind   sender.Kind
			field  string
		}{
			{"as little as can be", func(n *sender.NewRelay) { *n = sender.NewRelay{Host: "192.0.2.1"} }, "", ""},
			{"an IPv6 address", func(n *sender.NewRelay) { n.Host = "2001:db8::1" }, "", ""},
			{"one label", func(n *sender.NewRelay) { n.Host = "localhost" }, "", ""},
			{"capital letters", func(n *sender.NewRelay) { n.Host = "SMTP.Example.ORG" }, "", ""},
			{"no host", func(n *sender.NewRelay) { n.Host = "" }, sender.Required, "host"},
			{"host and port", func(n *sender.NewRelay) { n.Host = "smtp.example.org:25" }, sender.Invalid, "host"},
			{"a URL", func(n *sender.NewRelay) { n.Host = "smtp://smtp.example.org" }, sender.Invalid, "host"},
			{"an interface", func(n *sender.NewRelay) { n.Host = "fe80::1%eth0" }, sender.Invalid, "host"},
			{"a number", func(n *sender.NewRelay) { n.Host = "2130706433" }, sender.Invalid, "host"},
			{"half an address", func(n *sender.NewRelay) { n.Host = "127.1" }, sender.Invalid, "host"},
			{"octal", func(n *sender.NewRelay) { n.Host = "0177.0.0.1" }, sender.Invalid, "host"},
			{"line break", func(n *sender.NewRelay) { n.Host = "smtp.example.org\r\nX" }, sender.Invalid, "host"},
			{"underscore", func(n *sender.NewRelay) { n.Host = "_smtp.example.org" }, sender.Invalid, "host"},
			{"ssh", func(n *sender.NewRelay) { n.Port = 22 }, sender.Invalid, "port"},
			{"negative", func(n *sender.NewRelay) { n.Port = -1 }, sender.Invalid, "port"},
			{"too high", func(n *sender.NewRelay) { n.Port = 65536 }, sender.Invalid, "port"},
			{"password alone", func(n *sender.NewRelay) { n.Username = "" }, sender.Required, "username"},
			{"user name with a line break", func(n *sender.NewRelay) { n.Username = "a\nb" }, sender.Invalid, "username"},
			{"password with a line break", func(n *sender.NewRelay) { n.Password = "a\r\nb" }, sender.Invalid, "password"},
			{"long password", func(n *sender.NewRelay) { n.Password = sender.Password(strings.Repeat("x", 1001)) }, sender.Invalid, "password"},
			{"proven author", func(n *sender.NewRelay) {
				n.From = &sender.Correspondent{Name: new("Ä"), Address: strings.ToUpper(from)}
			}, "", ""},
			{"builtin author", func(n *sender.NewRelay) { n.From = &sender.Correspondent{Address: "noreply@pingidentity.com"} }, "", ""},
			{"unproven author", func(n *sender.NewRelay) { n.From = &sender.Correspondent{Address: "boss@example.com"} }, sender.Refused, "from"},
			{"no author", func(n *sender.NewRelay) { n.From = &sender.Correspondent{Name: new("x")} }, sender.Required, "from"},
			{"bad name", func(n *sender.NewRelay) { n.From = &sender.Correspondent{Name: new("a\r\nBcc: b"), Address: from} }, sender.Invalid, "from"},
			{"unproven Reply-To", func(n *sender.NewRelay) { n.ReplyTo = &sender.Correspondent{Address: "boss@example.com"} }, sender.Refused, "replyTo"},
		} {
			_, err := h.ownRelay(c.change)
			e, _ := errors.AsType[*sender.Error](err)
			if (err == nil) != (c.kind == "") || err != nil && (e == nil || e.Kind != c.kind || e.Field != c.field) {
				t.Errorf("%s: %v, want %q on %q", c.what, err, c.kind, c.field)
			}
		}
	})
}

func TestPasswordIsKeptForItsHostAndUserNameOnly(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		without := func(n *sender.NewRelay) { n.Password = "" }
		if _, err := h.ownRelay(without); sender.KindOf(err) != sender.Required {
			t.Errorf("none was ever sent: %v", err)
		}
		password := func(want sender.Password) {
			t.Helper()
			if r, err := h.store.Relay(t.Context(), h.tenant.ID); err != nil || r.Password != want {
				t.Errorf("kept %q, %v", string(r.Password), err)
			}
		}
		set := func(change ...func(*sender.NewRelay)) {
			t.Helper()
			if _, err := h.ownRelay(change...); err != nil {
				t.Error(err)
			}
		}
		set()
		set(without, func(n *sender.NewRelay) { n.Host, n.Port = "SMTP.example.ORG", 587 })
		password("hunter2")
		for _, change := range []func(*sender.NewRelay){func(n *sender.NewRelay) { n.Host = "smtp.thief.example" }, func(n *sender.NewRelay) { n.Username = "other" }} {
			if _, err := h.ownRelay(without, change); sender.KindOf(err) != sender.Required {
				t.Errorf("a password for another host or user: %v", err)
			}
		}
		password("hunter2")
		set(func(n *sender.NewRelay) { n.Username, n.Password = "", "" })
		password("")
		if _, err := h.ownRelay(without); sender.KindOf(err) != sender.Required {
			t.Errorf("it was taken away: %v", err)
		}
		if r, err := h.Relay(t.Context(), h.admin, h.tenant.ID); err != nil || r.Password != "" {
			t.Errorf("read %+v, %v", r, err)
		}
		want := []string{"relay.changed", "relay.changed", "relay.changed", "relay.deleted"}
		if err := h.DeleteRelay(t.Context(), h.admin, h.tenant.ID); err != nil {
			t.Error(err)
		}
		if got := h.events(sender.EventRelayChanged, sender.EventRelayDeleted); !slices.Equal(got, want) {
			t.Errorf("events %q", got)
		}
		if err := h.DeleteRelay(t.Context(), h.admin, h.tenant.ID); sender.KindOf(err) != sender.NotFound {
			t.Errorf("twice: %v", err)
		}
	})
}

func TestOnlyAdminsOfTheWholeTenantTouchDeliverySettings(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		if _, err := h.ownRelay(); err != nil {
			t.Fatal(err)
		}
		other, theirs := h.newTenant("second")
		bound := h.admin
		bound.Domain = h.domain("example.org").ID
		as := func(role sender.Role) sender.Principal {
			return sender.Principal{Credential: sender.NewID(), Home: h.tenant.ID, Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: role}}}
		}
		for what, c := range map[string]struct {
			p           sender.Principal
			read, write sender.Kind
		}{
			"reader": {as(sender.RoleReader), "", sender.Denied}, "sender": {as(sender.RoleSender), "", sender.Denied}, "bound to a domain": {bound, sender.Denied, sender.Denied},
			"another tenant's": {theirs, sender.NotFound, sender.NotFound},
		} {
			_, err := h.Relay(t.Context(), c.p, h.tenant.ID)
			if sender.KindOf(err) != c.read {
				t.Errorf("%s reads: %v", what, err)
			}
			_, set := h.SetRelay(t.Context(), c.p, h.tenant.ID, sender.NewRelay{Host: "smtp.example.org"})
			_, test := h.TestRelay(t.Context(), c.p, h.tenant.ID, "a@example.net")
			for _, err := range []error{set, test, h.DeleteRelay(t.Context(), c.p, h.tenant.ID)} {
				if sender.KindOf(err) != c.write {
					t.Errorf("%s writes: %v", what, err)
				}
			}
		}
		if _, err := h.Relay(t.Context(), theirs, other.ID); sender.KindOf(err) != sender.NotFound {
			t.Errorf("the other tenant has %v", err)
		}
	})
}

// What the built-in no-reply says leaves by the instance's relay: codes above all, and
// mail in which it stands for an author.
func TestOnlyMailOfTheTenantsAuthorsGoesToItsServer(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		if _, err := h.ownRelay(); err != nil {
			t.Fatal(err)
		}
		h.mustSend(from)
		h.mustSend("no-reply@mail.postseal.test")
		if _, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "other@example.com"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var got []string
		for _, s := range h.way.attempts()[1:] { // the first proved the author
			to := "instance"
			if s.Relay != nil {
				to = s.Relay.Host
			}
			got = append(got, s.To+" "+to)
		}
		slices.Sort(got)
		want := []string{"other@example.com instance", "reader@example.net instance", "reader@example.net smtp.example.org"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestTestMailsOfATenantAndToARecipientAreBounded(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		if _, err := h.ownRelay(); err != nil {
			t.Fatal(err)
		}
		_, theirs := h.newTenant("second")
		second := theirs.Home
		if _, err := h.SetRelay(t.Context(), theirs, second, sender.NewRelay{Host: "smtp.example.net"}); err != nil {
			t.Fatal(err)
		}
		most := func(p sender.Principal, tenant sender.ID, to func(int) string) (n int) {
			for ; n < 100; n++ {
				if _, err := h.TestRelay(t.Context(), p, tenant, to(n)); err != nil {
					if sender.KindOf(err) != sender.TooSoon {
						t.Error(err)
					}
					break
				}
			}
			return n
		}
		one := func(int) string { return "Reader@Example.net" }
		if n := most(h.admin, h.tenant.ID, one); n != 20 {
			t.Errorf("%d by one tenant, want 20", n)
		}
		if n := most(theirs, second, one); n != 0 {
			t.Errorf("%d more to the same recipient by another tenant", n)
		}
		d, err := h.CreateDomain(t.Context(), h.admin, h.tenant.ID, "example.net")
		if err != nil {
			t.Fatal(err)
		}
		h.publish(d, dnscheck.Ownership)
		if _, err = h.CheckDomain(t.Context(), h.admin, h.tenant.ID, d.ID); err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "reader@example.net", true); err != nil {
			t.Errorf("test mails must not keep a recipient from proving the address: %v", err)
		}
		if n := most(theirs, second, func(n int) string { return strings.Repeat("x", n+1) + "@example.net" }); n != 20 {
			t.Errorf("%d to many recipients by another tenant, want 20", n)
		}
		time.Sleep(24 * time.Hour)
		if n := most(h.admin, h.tenant.ID, one); n != 20 {
			t.Errorf("%d on the next day, want 20", n)
		}
		if _, err := h.TestRelay(t.Context(), h.admin, h.tenant.ID, "nobody"); sender.KindOf(err) != sender.Invalid {
			t.Errorf("to nobody: %v", err)
		}
	})
}

func TestServerThatHangsLeavesWorkersForOtherTenants(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		if _, err := h.ownRelay(); err != nil {
			t.Fatal(err)
		}
		slow := make([]time.Duration, 60)
		for i := range slow {
			slow[i] = time.Hour
		}
		h.way.take(slow...)
		for range 60 {
			h.mustSend(from)
		}
		time.Sleep(time.Minute)
		if n := len(h.way.attempts()) - 1; n != 4 {
			t.Errorf("%d deliveries to one server at a time, want 4", n)
		}
		if err := h.DeleteRelay(t.Context(), h.admin, h.tenant.ID); err != nil {
			t.Fatal(err)
		}
		h.way.take()
		_, other := h.newTenant("second")
		quick, _, err := h.Send(t.Context(), other, other.Home, sender.NewMessage{
			From: sender.Mailbox{Address: "no-reply@mail.postseal.test"}, To: sender.Mailbox{Address: "reader@example.net"}, Subject: "s", Text: "t",
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got, _, err := h.Message(t.Context(), other, other.Home, quick.ID); err != nil || got.State != sender.Sent {
			t.Errorf("another tenant's mail is %s, %v", got.State, err)
		}
		time.Sleep(3 * time.Hour) // what waited was sent once its lane was free
		for _, s := range h.way.attempts()[1:] {
			if s.Tenant != h.tenant.ID {
				continue
			}
			if m := h.state(sender.Message{ID: s.Message, Tenant: h.tenant.ID}); m.State != sender.Sent {
				t.Errorf("%s is %s", m.ID, m.State)
			}
		}
		if n := len(h.way.attempts()); n != 66 {
			t.Errorf("%d deliveries, want those that hung twice and the others once: 66", n)
		}
	}, usualLeases)
}

// Codes leave by the instance's relay, so that a tenant whose own server hangs can still
// prove an address.
func TestCodesPassAServerThatHangs(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		if _, err := h.ownRelay(); err != nil {
			t.Fatal(err)
		}
		slow := make([]time.Duration, 4)
		for i := range slow {
			slow[i] = time.Hour
		}
		h.way.take(slow...)
		for range 60 {
			h.mustSend(from)
		}
		time.Sleep(time.Minute)
		if n := len(h.way.attempts()) - 1; n != 4 {
			t.Fatalf("%d deliveries to one server at a time, want 4", n)
		}
		if _, err := h.CreateSender(t.Context(), h.admin, h.tenant.ID, "other@example.com"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		all := h.way.attempts()
		if last := all[len(all)-1]; len(all) != 6 || last.To != "other@example.com" || last.Relay != nil {
			t.Errorf("%d deliveries, the last to %s", len(all), last.To)
		}
	}, usualLeases)
}

func TestServerThatHangsDoesNotHoldTheEndOfTheProcess(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		if _, err := h.ownRelay(); err != nil {
			t.Fatal(err)
		}
		h.way.take(time.Hour)
		m := h.mustSend(from)
		time.Sleep(time.Second)
		began := time.Now()
		h.stop()
		if d := time.Since(began); d > 11*time.Second {
			t.Errorf("it ended after %s", d)
		}
		if got := h.state(m); got.State != sender.Queued {
			t.Errorf("the message is %s, want queued", got.State)
		}
	}, usualLeases)
}

// A template names its author, or the tenant's defaults do, or the delivery settings.
func TestSettingsNameTheAuthorOfTemplatesWithoutOne(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.activeAddress(d, "noreply@example.org")
		h.activeAddress(d, "shop@example.org")
		n := letter(func(n *sender.NewTemplate) { n.From = "" })
		h.template(n)
		if _, err := h.ownRelay(func(n *sender.NewRelay) {
			n.From, n.ReplyTo = &sender.Correspondent{Name: new(`Ä "B"`), Address: "NoReply@example.org"}, &sender.Correspondent{Address: "shop@example.org"}
		}); err != nil {
			t.Fatal(err)
		}
		m, signed := h.fill(n)
		if m.From != "noreply@example.org" || m.ReplyTo != "shop@example.org" || !strings.Contains(signed, "<NoReply@example.org>") {
			t.Errorf("from %s, answers to %s:\n%s", m.From, m.ReplyTo, signed)
		}
		all := h.way.attempts()
		if last := all[len(all)-1]; last.Relay == nil {
			t.Error("and left by the instance's relay")
		}
		if _, err := h.ChangeMailDefaults(t.Context(), h.admin, h.tenant.ID, func(d *sender.MailDefaults) { d.From = "shop@example.org" }); err != nil {
			t.Fatal(err)
		}
		if m, _ := h.fill(n); m.From != "shop@example.org" {
			t.Errorf("with a default of the tenant from %s", m.From)
		}
	})
}
