package sender_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

const vendorNoReply = "noreply@pingidentity.com"

// letter is a template that everybody may make.
func letter(change ...func(*sender.NewTemplate)) sender.NewTemplate {
	n := sender.NewTemplate{Application: "0197a000-0000-4000-8000-000000000001", Type: "sign-in", From: vendorNoReply, Subject: "Your code", Body: "Code: ${OTP} for ${who}."}
	for _, c := range change {
		c(&n)
	}
	return n
}

func (h *harness) template(n sender.NewTemplate) sender.Template {
	h.Helper()
	t, err := h.CreateTemplate(h.Context(), h.admin, h.tenant.ID, n)
	if err != nil {
		h.Fatal(err)
	}
	return t
}

// fill sends by template and returns the message and what was handed over.
func (h *harness) fill(n sender.NewTemplate, change ...func(*sender.Filling)) (sender.Message, string) {
	h.Helper()
	f := sender.Filling{Application: n.Application, Type: n.Type, To: "reader@example.net", Values: map[string]string{"who": "you"}}
	for _, c := range change {
		c(&f)
	}
	m, err := h.SendFilled(h.Context(), h.admin, h.tenant.ID, f, 0)
	if err != nil {
		h.Fatal(err)
	}
	synctest.Wait()
	for _, s := range h.way.attempts() {
		if s.Message == m.ID {
			return m, s.signed
		}
	}
	return m, ""
}

func kindAndField(err error) string {
	e, ok := err.(*sender.Error)
	if !ok {
		return fmt.Sprint(err)
	}
	return string(e.Kind) + " " + e.Field
}

func TestTemplateSaysWhatIsWrongWithIt(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		long := strings.Repeat("x", 101)
		for _, c := range []struct {
			want   string
			change func(*sender.NewTemplate)
		}{
			{"invalid variant", func(n *sender.NewTemplate) { n.Variant = long }},
			{"invalid variant", func(n *sender.NewTemplate) { n.Variant = "a\nb" }},
			{"invalid from", func(n *sender.NewTemplate) { n.From = "nobody" }},
			{"invalid from", func(n *sender.NewTemplate) { n.From = `"A" <a@example.org>, b@example.org` }},
			{"invalid from", func(n *sender.NewTemplate) { n.From = "Group: a@example.org;" }},
			{"invalid from", func(n *sender.NewTemplate) { n.From = "Shop (hidden) <" + vendorNoReply + ">" }},
			{"invalid from", func(n *sender.NewTemplate) { n.From = "\"A\r\nBcc: x\" <" + vendorNoReply + ">" }},
			{"invalid from", func(n *sender.NewTemplate) { n.From = `"ceo@bank.example" <` + vendorNoReply + ">" }},
			{"invalid from", func(n *sender.NewTemplate) { n.From = strings.Repeat("x", 300) + " <" + vendorNoReply + ">" }},
			{"invalid replyTo", func(n *sender.NewTemplate) { n.ReplyTo = "\u202ereversed <" + vendorNoReply + ">" }},
			{"refused from", func(n *sender.NewTemplate) { n.From = "stranger@example.org" }},
			{"refused replyTo", func(n *sender.NewTemplate) { n.ReplyTo = `"S" <stranger@example.org>` }},
			{"required type", func(n *sender.NewTemplate) { n.Type = "" }},
			{"invalid type", func(n *sender.NewTemplate) { n.Type = long }},
			{"invalid locale", func(n *sender.NewTemplate) { n.Locale = "english" }},
			{"invalid contentType", func(n *sender.NewTemplate) { n.ContentType = "text/markdown" }},
			{"invalid charset", func(n *sender.NewTemplate) { n.Charset = "utf-16" }},
			{"invalid charset", func(n *sender.NewTemplate) { n.Charset = "klingon" }},
			{"invalid body", func(n *sender.NewTemplate) { n.Charset, n.Body = "iso-8859-1", "日本" }},
			{"invalid subject", func(n *sender.NewTemplate) { n.Subject = "one\ntwo" }},
			{"invalid subject", func(n *sender.NewTemplate) { n.Subject = strings.Repeat("ä", 257) }},
			{"invalid body", func(n *sender.NewTemplate) { n.Body = strings.Repeat("x", 100<<10+1) }},
			{"invalid body", func(n *sender.NewTemplate) { n.Body = "\xff" }},
		} {
			_, err := h.CreateTemplate(t.Context(), h.admin, h.tenant.ID, letter(c.change))
			if got := kindAndField(err); got != c.want {
				t.Errorf("%+v: %s, want %s", letter(c.change), got, c.want)
			}
		}
		made := h.template(letter(func(n *sender.NewTemplate) {
			n.From, n.Locale, n.ContentType, n.Charset = `"Müller (Shop)" <NoReply@PingIdentity.com>`, "PT_br", "Text/HTML", "ISO-8859-1"
		}))
		if made.Locale != "pt-BR" || made.Spelling != "PT_br" || !made.HTML || made.Charset != "ISO-8859-1" || made.From != `"Müller (Shop)" <NoReply@PingIdentity.com>` {
			t.Errorf("made %+v", made)
		}
	})
}

func TestOneTemplateForEachApplicationTypeAndLocale(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		english := h.template(letter())
		if _, err := h.CreateTemplate(t.Context(), h.admin, h.tenant.ID, letter(func(n *sender.NewTemplate) { n.Locale = "EN" })); kindAndField(err) != "conflict type" {
			t.Errorf("the same again: %v", err)
		}
		german := h.template(letter(func(n *sender.NewTemplate) { n.Locale = "de" }))
		h.template(letter(func(n *sender.NewTemplate) { n.Type = "Sign-In" }))
		other := h.template(letter(func(n *sender.NewTemplate) { n.Application = "0197a000-0000-4000-8000-000000000002" }))
		if _, err := h.ReplaceTemplate(t.Context(), h.admin, h.tenant.ID, german.Application, german.ID, letter()); kindAndField(err) != "conflict type" {
			t.Errorf("changed into one that is taken: %v", err)
		}
		if _, err := h.ReplaceTemplate(t.Context(), h.admin, h.tenant.ID, other.Application, german.ID, letter()); sender.KindOf(err) != sender.NotFound {
			t.Errorf("through another application: %v", err)
		}
		got, err := h.ReplaceTemplate(t.Context(), h.admin, h.tenant.ID, english.Application, english.ID, letter(func(n *sender.NewTemplate) { n.Subject = "new" }))
		if err != nil || got.Subject != "new" || got.ID != english.ID || !got.CreatedAt.Equal(english.CreatedAt) {
			t.Errorf("replaced: %+v, %v", got, err)
		}
		for filter, want := range map[sender.TemplateFilter]int{
			{AnyApplication: true}: 4, {Application: english.Application}: 3, {Application: other.Application}: 1, {}: 0,
			{AnyApplication: true, Type: "sign-in"}: 3, {AnyApplication: true, Locale: "de"}: 1,
		} {
			if ts, err := h.Templates(t.Context(), h.admin, h.tenant.ID, filter, sender.Page{}); err != nil || len(ts) != want {
				t.Errorf("%+v: %d, %v, want %d", filter, len(ts), err, want)
			}
		}
		if err := h.DeleteTemplate(t.Context(), h.admin, h.tenant.ID, german.Application, german.ID); err != nil {
			t.Error(err)
		}
		if _, err := h.Template(t.Context(), h.admin, h.tenant.ID, german.Application, german.ID); sender.KindOf(err) != sender.NotFound {
			t.Errorf("after deletion: %v", err)
		}
	})
}

func TestTemplatesOfAnotherTenantAreNotThere(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		mine := h.template(letter())
		theirs, stranger := h.newTenant("other")
		for name, call := range map[string]func(sender.ID) error{
			"get": func(id sender.ID) error {
				_, err := h.Template(t.Context(), stranger, id, mine.Application, mine.ID)
				return err
			},
			"replace": func(id sender.ID) error {
				_, err := h.ReplaceTemplate(t.Context(), stranger, id, mine.Application, mine.ID, letter())
				return err
			},
			"delete": func(id sender.ID) error {
				return h.DeleteTemplate(t.Context(), stranger, id, mine.Application, mine.ID)
			},
			"preview": func(id sender.ID) error {
				_, _, err := h.Preview(t.Context(), stranger, id, mine.ID, nil)
				return err
			},
			"send": func(id sender.ID) error {
				_, err := h.SendFilled(t.Context(), stranger, id, sender.Filling{Application: mine.Application, Type: mine.Type, To: "r@example.net"}, 0)
				return err
			},
		} {
			for _, id := range []sender.ID{h.tenant.ID, theirs.ID} {
				if err := call(id); sender.KindOf(err) != sender.NotFound {
					t.Errorf("%s: %v, want not-found", name, err)
				}
			}
		}
	})
}

func TestLimitOfTemplatesHoldsForManyAtOnce(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		tenant, err := h.CreateTenant(t.Context(), operator, sender.NewTenant{Name: "small", Limits: sender.Limits{Templates: 10}})
		if err != nil {
			t.Fatal(err)
		}
		var made, full atomic.Int64
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				_, err := h.CreateTemplate(t.Context(), operator, tenant.ID, letter(func(n *sender.NewTemplate) { n.Type = fmt.Sprint(i) }))
				switch {
				case err == nil:
					made.Add(1)
				case kindAndField(err) == "limit template":
					full.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 10 || full.Load() != 30 {
			t.Errorf("%d made, %d refused, want 10 and 30", made.Load(), full.Load())
		}
	})
}

func TestTemplatesHaveALimitOfAllTheirText(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		var last sender.Template
		big := letter(func(n *sender.NewTemplate) { n.Body, n.Subject = strings.Repeat("x", 100<<10), "" })
		for i := range 81 {
			big.Type = fmt.Sprint(i)
			last = h.template(big)
		}
		big.Type = "one more"
		if _, err := h.CreateTemplate(t.Context(), h.admin, h.tenant.ID, big); kindAndField(err) != "limit template" {
			t.Errorf("more than 8 MiB: %v", err)
		}
		small := letter(func(n *sender.NewTemplate) { n.Type = last.Type })
		if _, err := h.ReplaceTemplate(t.Context(), h.admin, h.tenant.ID, "", last.ID, small); err != nil {
			t.Error(err)
		}
		if _, err := h.CreateTemplate(t.Context(), h.admin, h.tenant.ID, big); err != nil {
			t.Error(err)
		}
		big.Type = last.Type
		if _, err := h.ReplaceTemplate(t.Context(), h.admin, h.tenant.ID, "", last.ID, big); kindAndField(err) != "limit template" {
			t.Errorf("grown to more than 8 MiB: %v", err)
		}
	})
}

func TestLocaleOfATemplateFallsBack(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter()
		for _, l := range []string{"pt-BR", "pt", "de", "en"} {
			h.template(letter(func(n *sender.NewTemplate) { n.Locale = l }))
		}
		for _, c := range []struct{ want, application, got string }{
			{"pt_br", "", "pt-BR"}, {"pt-PT", "", "pt"}, {"fr-CA", "de", "de"}, {"fr-CA", "de-AT", "en"}, {"fr", "", "en"}, {"", "", "en"},
		} {
			m, _ := h.fill(n, func(f *sender.Filling) { f.Locale, f.ApplicationLocale = c.want, c.application })
			if string(m.Locale) != c.got || m.Template == "" || string(h.state(m).Locale) != c.got {
				t.Errorf("%+v: the template in %s was taken", c, m.Locale)
			}
		}
		_, err := h.SendFilled(t.Context(), h.admin, h.tenant.ID, sender.Filling{Application: n.Application, Type: "other", To: "r@example.net"}, 0)
		if kindAndField(err) != "not-found template" {
			t.Errorf("an unknown type: %v", err)
		}
	})
}

func TestFilledTemplateIsSafeMail(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter(func(n *sender.NewTemplate) {
			n.ContentType, n.Subject, n.Body = "text/html", "For ${who}", `<p title="${who}">Hi ${who}, <a href="https://example.org/?q=${who}">your code</a> is ${OTP}.</p>`
		})
		h.template(n)
		evil := "x\r\nBcc: victim@example.net\r\n\r\n<script>alert(1)</script>\" =?utf-8?q?y?="
		_, signed := h.fill(n, func(f *sender.Filling) { f.Values = map[string]string{"who": evil}; f.Code = "123456" })
		head, body, _ := strings.Cut(signed, "\r\n\r\n")
		if strings.Contains(strings.ToLower(head), "\r\nbcc:") || !strings.Contains(head, "\r\nSubject: For x Bcc: victim@example.net") {
			t.Errorf("the header is\n%s", head)
		}
		_, html, _ := strings.Cut(body, "Content-Type: text/html")
		if strings.Contains(html, "<script") || !strings.Contains(html, "&lt;script") || strings.Count(body, "Content-Type:") != 2 {
			t.Errorf("the body is\n%s", body)
		}
		for _, name := range []string{"otp", "OTP", "Otp", "pingid_username", "PINGID_x"} {
			_, err := h.SendFilled(t.Context(), h.admin, h.tenant.ID, sender.Filling{Application: n.Application, Type: n.Type, To: "r@example.net", Values: map[string]string{name: "x"}}, 0)
			if kindAndField(err) != "invalid values" {
				t.Errorf("a value for %s: %v", name, err)
			}
		}
	})
}

func TestBuiltinSenderLeavesFromTheServicesOwnAddress(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter(func(n *sender.NewTemplate) {
			n.From, n.ReplyTo = `"Shop" <`+vendorNoReply+`>`, vendorNoReply
		})
		h.template(n)
		m, signed := h.fill(n)
		if m.From != "no-reply@mail.postseal.test" || strings.Contains(signed, "pingidentity") ||
			!strings.Contains(signed, "\r\nFrom: \"Shop\" <no-reply@mail.postseal.test>\r\nReply-To: <no-reply@mail.postseal.test>\r\n") {
			t.Errorf("from %s:\n%s", m.From, signed)
		}
		if e := h.events(sender.EventMessageReaddressed); len(e) != 0 {
			t.Errorf("events %v", e)
		}
	})
}

// readdressed returns the data of the events that tell of a replaced author.
func (h *harness) readdressed() (all []string) {
	h.Helper()
	es, err := h.Events(h.Context(), operator, h.tenant.ID, sender.Page{})
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range es {
		if e.Type == sender.EventMessageReaddressed {
			all = append(all, e.Data["from"]+"/"+e.Data["replyTo"])
		}
	}
	return all
}

func TestTemplateWhoseSenderIsGoneLeavesFromTheNoReply(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		from := h.activeAddress(d, "Shop@example.org")
		reply := h.activeAddress(d, "help@example.org")
		n := letter(func(n *sender.NewTemplate) { n.From, n.ReplyTo = `"Shop" <Shop@example.org>`, "help@example.org" })
		h.template(n)
		if m, signed := h.fill(n); m.From != "shop@example.org" || !strings.Contains(signed, `From: "Shop" <Shop@example.org>`) || !strings.Contains(signed, "\r\nReply-To: <help@example.org>\r\n") || !strings.Contains(signed, "d=example.org") {
			t.Errorf("while all is proven, from %s:\n%s", m.From, signed)
		}

		// Accepted while proven, sent when not: the same happens at dispatch.
		h.way.script(sender.TempFailed)
		waiting, _ := h.fill(n)
		for _, a := range []sender.Address{from, reply} {
			if err := h.DeleteAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		all := h.way.attempts()
		last := all[len(all)-1]
		if last.Message != waiting.ID || h.state(waiting).State != sender.Sent {
			t.Fatalf("the waiting mail is %s", h.state(waiting).State)
		}
		m, signed := h.fill(n)
		for when, text := range map[string]string{"at dispatch": last.signed, "when accepted": signed} {
			if !strings.Contains(text, `From: "Postseal" <no-reply@mail.postseal.test>`) || strings.Contains(text, "\r\nReply-To:") || !strings.Contains(text, "d=mail.postseal.test") ||
				strings.Contains(strings.ToLower(text), "shop@example.org") {
				t.Errorf("%s:\n%s", when, text)
			}
		}
		if m.From != "no-reply@mail.postseal.test" {
			t.Errorf("the message says that it is from %s", m.From)
		}
		if got := h.readdressed(); !slices.Equal(got, []string{"address-not-proven/address-not-proven", "address-not-proven/address-not-proven"}) {
			t.Errorf("events %v", got)
		}
		if _, err := h.ReplaceTemplate(t.Context(), h.admin, h.tenant.ID, n.Application, m.Template, n); kindAndField(err) != "refused from" {
			t.Errorf("written anew: %v", err)
		}
	})
}

func TestReplyToAloneCanLoseItsTrust(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		h.activeAddress(d, "shop@example.org")
		reply := h.activeAddress(d, "help@example.org")
		n := letter(func(n *sender.NewTemplate) { n.From, n.ReplyTo = "shop@example.org", "help@example.org" })
		h.template(n)
		h.way.script(sender.TempFailed)
		waiting, _ := h.fill(n)
		if err := h.DeleteAddress(t.Context(), h.admin, h.tenant.ID, d.ID, reply.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		all := h.way.attempts()
		last := all[len(all)-1].signed
		if h.state(waiting).State != sender.Sent || !strings.Contains(last, "From: <shop@example.org>") || strings.Contains(last, "\r\nReply-To:") || !strings.Contains(last, "d=example.org") {
			t.Errorf("state %s:\n%s", h.state(waiting).State, last)
		}
		if got := h.readdressed(); !slices.Equal(got, []string{"/address-not-proven"}) {
			t.Errorf("events %v", got)
		}
	})
}

func TestPreviewSendsNothingAndWarns(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		made := h.template(letter(func(n *sender.NewTemplate) {
			n.ContentType, n.Body = "text/html", `<p>Hi ${who}</p><script>${who}</script>`
		}))
		r, warnings, err := h.Preview(t.Context(), h.admin, h.tenant.ID, made.ID, map[string]string{"who": "<b>"})
		if err != nil || r.HTML != "<p>Hi &lt;b&gt;</p><script></script>" || strings.TrimSpace(r.Text) != "Hi <b>" || r.Subject != "Your code" {
			t.Errorf("%+v, %v", r, err)
		}
		if len(warnings) < 2 { // no code, and a placeholder in a script
			t.Errorf("warnings %+v", warnings)
		}
		if n := len(h.way.attempts()); n != 0 {
			t.Errorf("%d mails were sent", n)
		}
	})
}

func TestSendingByTemplateIsIdempotent(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter()
		h.template(n)
		keyed := func(hash string) func(*sender.Filling) {
			return func(f *sender.Filling) { f.IdempotencyKey, f.RequestHash = "k", hash }
		}
		first, _ := h.fill(n, keyed("a"))
		if again, _ := h.fill(n, keyed("a")); again.ID != first.ID {
			t.Error("the same key made two messages")
		}
		_, err := h.SendFilled(t.Context(), h.admin, h.tenant.ID, sender.Filling{Application: n.Application, Type: n.Type, To: "r@example.net", IdempotencyKey: "k", RequestHash: "b"}, 0)
		if kindAndField(err) != "conflict Idempotency-Key" {
			t.Errorf("another request under the key: %v", err)
		}
		if len(h.way.attempts()) != 1 {
			t.Errorf("%d attempts, want 1", len(h.way.attempts()))
		}
	})
}

func TestAddressOfAnUnprovenDomainNeedsItsCodeAlone(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org")
		a, created, err := h.CreateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, "shop@example.org", false)
		if err != nil || !created || a.Status != sender.Pending {
			t.Fatal(a, created, err)
		}
		if a, err = h.ActivateAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID, h.code()); err != nil || a.Status != sender.Verified {
			t.Fatal(a, err)
		}
		h.template(letter(func(n *sender.NewTemplate) { n.From = "shop@example.org" }))
		if err := h.DeleteDomain(t.Context(), h.admin, h.tenant.ID, d.ID, true); err != nil {
			t.Fatal(err)
		}
		if got := h.events(sender.EventAddressDeleted, sender.EventDomainDeleted); len(got) != 2 {
			t.Errorf("events %v", got)
		}
		if _, err := h.CreateTemplate(t.Context(), h.admin, h.tenant.ID, letter(func(n *sender.NewTemplate) { n.From, n.Type = "shop@example.org", "x" })); kindAndField(err) != "refused from" {
			t.Errorf("after the domain was deleted with its addresses: %v", err)
		}
	})
}

func TestFewPlaceholdersDoNotMakeAGigabyte(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter(func(n *sender.NewTemplate) { n.Body = strings.Repeat("${a}", 25_000) })
		h.template(n)
		_, err := h.SendFilled(t.Context(), h.admin, h.tenant.ID, sender.Filling{
			Application: n.Application, Type: n.Type, To: "r@example.net", Values: map[string]string{"a": strings.Repeat("<", 10_000)},
		}, 0)
		if kindAndField(err) != "invalid values" {
			t.Errorf("a quarter of a gigabyte: %v", err)
		}
	})
}
