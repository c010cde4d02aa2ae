package sender_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// A client reads back what it sent; the mail world knows A-labels only.
func TestAddressIsEchoedAsSpelledAndGoesOutInALabels(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("bücher.example.org", dnscheck.Ownership)
		for spelling, wire := range map[string]string{
			"Max.M@bücher.example.org":       "Max.M@xn--bcher-kva.example.org",
			"b@Bücher.Example.org.":          "b@xn--bcher-kva.example.org",
			"c@xn--bcher-kva.example.org":    "c@xn--bcher-kva.example.org",
			"d@BÜCHER\u3002example\u3002org": "d@xn--bcher-kva.example.org",
		} {
			a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, spelling, true)
			if err != nil {
				t.Errorf("%s: %v", spelling, err)
				continue
			}
			if a.Spelling != spelling || a.Mailbox != strings.ToLower(wire) {
				t.Errorf("%s is echoed as %s and compared as %s", spelling, a.Spelling, a.Mailbox)
			}
			synctest.Wait()
			all := h.way.attempts()
			if last := all[len(all)-1]; last.To != wire || !strings.Contains(last.signed, "To: <"+wire+">") {
				t.Errorf("the code for %s went to %s in\n%s", spelling, last.To, last.signed)
			}
			if _, err := h.ActivateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID, h.code()); err != nil {
				t.Errorf("%s: %v", spelling, err)
			}
		}
		m, _, err := h.Send(t.Context(), h.admin, h.tenant.ID, sender.NewMessage{
			From: sender.Mailbox{Address: "Max.M@bücher.example.org"}, To: sender.Mailbox{Address: "Reader@münchen.example"},
			ReplyTo: &sender.Mailbox{Address: "office@münchen.example."}, Subject: "s", Text: "t",
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		all := h.way.attempts()
		last := all[len(all)-1]
		if last.Message != m.ID || last.To != "Reader@xn--mnchen-3ya.example" {
			t.Errorf("sent to %q", last.To)
		}
		for _, field := range []string{"From: <Max.M@xn--bcher-kva.example.org>", "To: <Reader@xn--mnchen-3ya.example>", "Reply-To: <office@xn--mnchen-3ya.example>"} {
			if !strings.Contains(last.signed, field) {
				t.Errorf("no %q in\n%s", field, last.signed)
			}
		}
	})
}

// Public suffixes can't be registered, but some of them take mail.
func TestRecipientsMayBeAtAPublicSuffix(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		for to, kind := range map[string]sender.Kind{
			"reader@altervista.org": "", "reader@co.uk": "", "reader@localhost": sender.Invalid, "reader@192.0.2.1": sender.Invalid,
			"reader@": sender.Invalid, "": sender.Required, "a@b@example.org": sender.Invalid, "R <reader@example.org>": sender.Invalid,
			"readers@" + strings.Repeat("a23456789.", 24) + "example": sender.Invalid, // 255 characters
		} {
			_, _, err := h.Send(t.Context(), h.admin, h.tenant.ID, sender.NewMessage{
				From: sender.Mailbox{Address: from}, To: sender.Mailbox{Address: to}, Subject: "s", Text: "t",
			})
			if sender.KindOf(err) != kind || (err == nil) != (kind == "") {
				t.Errorf("to %q: %v", to, err)
			}
		}
	})
}

func TestDomainThatIsTooLongForItsRecordsIsRefused(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		name := func(n int) string { // of n characters
			s := strings.Repeat("a23456789.", 30)
			return s[len(s)-(n-len("example.org")):] + "example.org"
		}
		const longest = 253 - len("._domainkey.") - 32
		for n, kind := range map[int]sender.Kind{longest: "", longest + 1: sender.Invalid, 253: sender.Invalid, 254: sender.Invalid} {
			d, err := h.CreateDomain(t.Context(), h.admin, h.tenant.ID, name(n))
			if sender.KindOf(err) != kind || (err == nil) != (kind == "") {
				t.Errorf("%d characters: %v", n, err)
			}
			if err == nil && len(h.Records(d)) != 10 {
				t.Errorf("%d characters: %d records", n, len(h.Records(d)))
			}
			if n == longest+1 && (err == nil || !strings.Contains(err.Error(), "at most 209 characters") || strings.Contains(err.Error(), "a23456789")) {
				t.Errorf("%d characters: %v", n, err)
			}
		}
	})
}

func TestTenCodesADayCanBeAskedForAgain(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "a@example.org", true)
		if err != nil {
			t.Fatal(err)
		}
		for day := range 3 {
			codes := 0
			for range 20 {
				time.Sleep(time.Minute)
				if _, err := h.ResendCode(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID); err == nil {
					codes++
				} else if sender.KindOf(err) != sender.TooSoon {
					t.Fatal(err)
				}
			}
			if codes != 10 {
				t.Errorf("on day %d %d codes could be asked for", day, codes)
			}
			time.Sleep(24*time.Hour - 20*time.Minute)
		}
	})
}

func TestGuessingDoesNotGrowTheLog(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		a, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "a@example.org", true)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			want := sender.WrongCode
			if i >= 5 {
				want = sender.NoMoreTries
			}
			if _, err := h.ActivateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID, "guess"); sender.KindOf(err) != want {
				t.Fatal(err)
			}
		}
		if got := len(h.events(sender.EventAddressCodeWrong)); got != 5 {
			t.Errorf("%d events of 100 guesses", got)
		}
	})
}

// A credential that is bound to a domain sees and does what is of this domain.
func TestBoundCredentialStaysWithItsDomain(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ctx, tenant := t.Context(), h.tenant.ID
		mine := h.domain("mine.example.org", dnscheck.Ownership) // without DKIM: mail goes out unaligned
		theirs := h.domain("theirs.example.org", dnscheck.Ownership)
		h.activeAddress(mine, "a@mine.example.org")
		foreign := h.activeAddress(theirs, "a@theirs.example.org")
		secret := h.mustSend("a@theirs.example.org")
		bound := h.admin
		bound.Domain = mine.ID
		message := func(from, key string) sender.NewMessage {
			return sender.NewMessage{
				From: sender.Mailbox{Address: from}, To: sender.Mailbox{Address: "r@example.net"}, Subject: "s", Text: "t", IdempotencyKey: key, RequestHash: "h",
			}
		}
		own, _, err := h.Send(ctx, bound, tenant, message("a@mine.example.org", ""))
		if err != nil {
			t.Errorf("sending from its own domain: %v", err)
		}
		if _, _, err := h.Message(ctx, bound, tenant, own.ID); err != nil {
			t.Errorf("reading its own message: %v", err)
		}
		if _, err := h.Explain(ctx, bound, tenant, "b@mine.example.org", ""); err != nil {
			t.Errorf("asking about its own domain: %v", err)
		}
		if _, _, err := h.Send(ctx, bound, tenant, message("b@mine.example.org", "")); sender.KindOf(err) != sender.Refused {
			t.Errorf("an unproven address of its own domain: %v", err)
		}
		if _, _, err := h.Send(ctx, h.admin, tenant, message("a@theirs.example.org", "key")); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			err  error
			want sender.Kind
		}{
			"send":              {third(h.Send(ctx, bound, tenant, message("a@theirs.example.org", ""))), sender.Denied},
			"send again":        {third(h.Send(ctx, bound, tenant, message("a@theirs.example.org", "key"))), sender.Denied},
			"send as no-reply":  {third(h.Send(ctx, bound, tenant, message("no-reply@mail.postseal.test", ""))), sender.Denied},
			"explain":           {second(h.Explain(ctx, bound, tenant, "a@theirs.example.org", "")), sender.Denied},
			"message":           {third(h.Message(ctx, bound, tenant, secret.ID)), sender.NotFound},
			"messages":          {second(h.Messages(ctx, bound, tenant, sender.Page{})), sender.Denied},
			"events":            {second(h.Events(ctx, bound, tenant, sender.Page{})), sender.Denied},
			"domain":            {second(h.Domain(ctx, bound, tenant, theirs.ID)), sender.NotFound},
			"address":           {second(h.Address(ctx, bound, tenant, theirs.ID, foreign.ID)), sender.NotFound},
			"address elsewhere": {second(h.Address(ctx, bound, tenant, mine.ID, foreign.ID)), sender.NotFound},
			"create":            {second(h.CreateDomain(ctx, bound, tenant, "new.example.org")), sender.Denied},
		} {
			if sender.KindOf(c.err) != c.want {
				t.Errorf("%s: %v, want %s", name, c.err, c.want)
			}
		}
	})
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

// What a sender was allowed a moment ago is remembered; its loss is not.
func TestLossOnThisNodeEndsSendingAtOnce(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		a := h.activeAddress(d, "noreply@example.org")
		h.mustSend("noreply@example.org")
		h.change(d, func(d *sender.Domain) { // the next absence is the last that counts
			for i := range d.Facets {
				f := &d.Facets[i]
				if f.Purpose == dnscheck.Ownership {
					f.Status, f.Since, f.Negatives, f.CountedAt, f.Warned = sender.Lapsing, time.Now().Add(-73*time.Hour), 4, time.Now(), true
				}
			}
		})
		h.withdraw(d, dnscheck.Ownership)
		h.makeDue(d)
		h.mustSend("noreply@example.org")
		h.recheck()
		if _, err := h.send("noreply@example.org"); sender.KindOf(err) != sender.Refused {
			t.Errorf("right after the proof was lost: %v", err)
		}
		h.publish(d, dnscheck.Ownership)
		h.makeDue(d)
		h.recheck()
		h.mustSend("noreply@example.org")
		if err := h.DeleteAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.send("noreply@example.org"); sender.KindOf(err) != sender.Refused {
			t.Errorf("right after the address was deleted: %v", err)
		}
	}, func(set *sender.Settings) { set.Verify.MassGuard = 0 }) // a node that has just started takes nothing
}

func TestMailWithCodesFillsTheQueueToo(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.stop() // nothing leaves
		for i, name := range []string{"a", "b", "c", "d"} {
			_, _, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, name+"@example.org", true)
			if full := i >= 3; full != (sender.KindOf(err) == sender.Busy) || !full && err != nil {
				t.Errorf("address %d: %v", i+1, err)
			}
		}
	}, func(set *sender.Settings) { set.Send.QueueLimit = 3 })
}
