package sender_test

import (
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

func TestVariantOfATemplateIsTakenWhereThereIsOne(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter()
		for _, v := range []struct{ locale, variant string }{{"de", "Spring"}, {"de", ""}, {"en", ""}, {"en", "autumn"}} {
			h.template(letter(func(n *sender.NewTemplate) {
				n.Locale, n.Variant, n.Subject = v.locale, v.variant, v.locale+" "+v.variant
			}))
		}
		if _, err := h.CreateTemplate(t.Context(), h.admin, h.tenant.ID, letter(func(n *sender.NewTemplate) { n.Locale, n.Variant = "de", "SPRING" })); kindAndField(err) != "conflict type" {
			t.Errorf("the variant in another letter case: %v", err)
		}
		for _, c := range []struct{ locale, variant, want string }{
			{"de", "sPRING", "de Spring"}, {"de", "", "de"}, {"de", "unknown", "de"}, {"de-AT", "spring", "de Spring"}, {"de", "autumn", "de"},
			{"fr", "autumn", "en autumn"}, {"de", strings.Repeat("x", 101), "de"},
		} {
			_, signed := h.fill(n, func(f *sender.Filling) { f.Locale, f.Variant = c.locale, c.variant })
			if !strings.Contains(signed, "\r\nSubject: "+c.want+"\r\n") {
				t.Errorf("%+v: another was taken:\n%s", c, signed)
			}
		}
	})
}

func TestVariantsAreRenamedAllOrNone(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		make := func(locale, variant string) sender.ID {
			return h.template(letter(func(n *sender.NewTemplate) { n.Application, n.Locale, n.Variant = "", locale, variant })).ID
		}
		kind := letter().Type
		ids := []sender.ID{make("de", "spring"), make("en", "spring")}
		make("en", "Taken")
		if _, err := h.RenameVariant(t.Context(), h.admin, h.tenant.ID, kind, ids, "taken"); kindAndField(err) != "conflict type" {
			t.Errorf("into one that is there: %v", err)
		}
		if got, err := h.Template(t.Context(), h.admin, h.tenant.ID, "", ids[0]); err != nil || got.Variant != "spring" {
			t.Errorf("after that the first is %+v, %v", got, err)
		}
		if _, err := h.RenameVariant(t.Context(), h.admin, h.tenant.ID, "other", ids, "x"); sender.KindOf(err) != sender.NotFound {
			t.Errorf("of another type: %v", err)
		}
		if _, err := h.RenameVariant(t.Context(), h.admin, h.tenant.ID, kind, ids, "a\nb"); kindAndField(err) != "invalid variant" {
			t.Errorf("into no name: %v", err)
		}
		got, err := h.RenameVariant(t.Context(), h.admin, h.tenant.ID, kind, ids, "Summer")
		if err != nil || len(got) != 2 || got[1].Variant != "summer" || got[1].VariantSpelling != "Summer" {
			t.Errorf("renamed %+v, %v", got, err)
		}
		if err := h.DeleteTemplates(t.Context(), h.admin, h.tenant.ID, kind, ids); err != nil {
			t.Fatal(err)
		}
		if ts, err := h.Templates(t.Context(), h.admin, h.tenant.ID, sender.TemplateFilter{}, sender.Page{}); err != nil || len(ts) != 1 {
			t.Errorf("left are %+v, %v", ts, err)
		}
	})
}

func TestTemplateWithoutSenderTakesTheTenantsDefault(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter(func(n *sender.NewTemplate) { n.From = "" })
		h.template(n)
		if m, _ := h.fill(n); m.From != "no-reply@mail.postseal.test" || m.ReplyTo != "" {
			t.Errorf("without defaults from %s, answers to %s", m.From, m.ReplyTo)
		}
		set := func(from, reply string) error {
			_, err := h.ChangeMailDefaults(t.Context(), h.admin, h.tenant.ID, func(d *sender.MailDefaults) { d.From, d.ReplyTo = from, reply })
			return err
		}
		for want, pair := range map[string][2]string{
			"refused from": {"shop@example.org", ""}, "invalid from": {"shop", ""}, "refused replyTo": {vendorNoReply, "help@example.org"},
		} {
			if err := set(pair[0], pair[1]); kindAndField(err) != want {
				t.Errorf("%v: %v, want %s", pair, err, want)
			}
		}
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		from := h.activeAddress(d, "shop@example.org")
		h.activeAddress(d, "help@example.org")
		if err := set(`"Shop" <shop@example.org>`, "help@example.org"); err != nil {
			t.Fatal(err)
		}
		if m, signed := h.fill(n); m.From != "shop@example.org" || m.ReplyTo != "help@example.org" || !strings.Contains(signed, `From: "Shop" <shop@example.org>`) || !strings.Contains(signed, "d=example.org") {
			t.Errorf("from %s, answers to %s:\n%s", m.From, m.ReplyTo, signed)
		}
		if err := h.DeleteAddress(t.Context(), h.admin, h.tenant.ID, d.ID, from.ID); err != nil {
			t.Fatal(err)
		}
		if m, _ := h.fill(n); m.From != "no-reply@mail.postseal.test" || m.ReplyTo != "help@example.org" {
			t.Errorf("after its proof is gone from %s, answers to %s", m.From, m.ReplyTo)
		}
	})
}

func TestDefaultLocaleOfTheTenantComesBeforeTheInstances(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		n := letter()
		for _, l := range []string{"de", "en"} {
			h.template(letter(func(n *sender.NewTemplate) { n.Locale = l }))
		}
		change := func(locale string) error {
			_, err := h.ChangeMailDefaults(t.Context(), h.admin, h.tenant.ID, func(d *sender.MailDefaults) { d.Locale = template.Locale(locale) })
			return err
		}
		if err := change("german"); kindAndField(err) != "invalid locale" {
			t.Errorf("no locale: %v", err)
		}
		if err := change("DE"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ want, application, got string }{{"fr", "", "de"}, {"fr", "en", "en"}, {"en-GB", "", "en"}} {
			if m, _ := h.fill(n, func(f *sender.Filling) { f.Locale, f.ApplicationLocale = c.want, c.application }); string(m.Locale) != c.got {
				t.Errorf("%+v: %s was taken", c, m.Locale)
			}
		}
		d, err := h.MailDefaults(t.Context(), h.admin, h.tenant.ID)
		if err != nil || d.Locale != "de" || d.UpdatedAt.IsZero() {
			t.Errorf("%+v, %v", d, err)
		}
	})
}
