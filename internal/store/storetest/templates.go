package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

func newTemplate(tenant, application sender.ID, kind string, locale template.Locale) sender.Template {
	return sender.Template{
		ID: sender.NewRandomID(), Tenant: tenant, Application: application, Type: kind, Locale: locale,
		Spelling: strings.ToLower(string(locale)), Variant: "frühling", VariantSpelling: "Frühling", From: `"Büro, Süd" <noreply@example.org>`, ReplyTo: "help@example.org",
		Subject: "Grüße, ${user.firstName}", Body: "<p>${otp}</p>\r\n\t\U0001F600", HTML: true, Charset: "utf-8",
		CreatedAt: start, UpdatedAt: start.Add(time.Minute),
	}
}

// template inserts a template.
func (w *world) template(tenant, application sender.ID, kind string, locale template.Locale) sender.Template {
	w.Helper()
	t := newTemplate(tenant, application, kind, locale)
	w.do(func(tx sender.Tx) error { return tx.InsertTemplate(w.ctx, t) })
	return t
}

func templates(w *world) {
	app := sender.NewRandomID()
	t := w.template(w.a, app, "pairing", "de-AT")
	bare := sender.Template{ID: sender.NewRandomID(), Tenant: w.a}
	w.do(func(tx sender.Tx) error { return tx.InsertTemplate(w.ctx, bare) })
	for _, want := range []sender.Template{t, bare} {
		got, err := w.Template(w.ctx, w.a, want.ID)
		w.must(err)
		w.same("by id", got, want)
		got, err = w.TemplateFor(w.ctx, w.a, want.Application, want.Type, want.Locale, want.Variant)
		w.must(err)
		w.same("by application, type and locale", got, want)
	}
	for _, c := range []struct {
		app     sender.ID
		kind    string
		locale  template.Locale
		variant string
	}{
		{"", "pairing", "de-AT", t.Variant}, {app, "Pairing", "de-AT", t.Variant}, {app, "pairing", "de", t.Variant}, {app, "pairing", "", t.Variant},
		{app, "", "de-AT", t.Variant}, {app, "pairing", "de-AT", ""}, {app, "pairing", "de-AT", "Frühling"},
	} {
		_, err := w.TemplateFor(w.ctx, w.a, c.app, c.kind, c.locale, c.variant)
		w.kind(fmt.Sprintf("template for %v", c), err, sender.NotFound)
	}
	_, err := w.Template(w.ctx, w.a, sender.NewRandomID())
	w.kind("unknown id", err, sender.NotFound)

	changed := newTemplate(w.a, app, "signing-in", "en")
	changed.ID, changed.From, changed.ReplyTo, changed.Subject, changed.Body, changed.HTML = t.ID, "other@example.org", "", "", "x", false
	changed.Variant, changed.VariantSpelling = "", ""
	changed.Charset, changed.Spelling, changed.UpdatedAt = "iso-8859-1", "EN", start.Add(time.Hour)
	written := changed
	written.Application, written.CreatedAt = sender.NewRandomID(), start.Add(time.Hour) // not written
	update := func() error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateTemplate(w.ctx, written) })
	}
	w.must(update())
	got, err := w.TemplateFor(w.ctx, w.a, app, "signing-in", "en", "")
	w.must(err)
	w.same("updated", got, changed)
	_, err = w.TemplateFor(w.ctx, w.a, app, "pairing", "de-AT", t.Variant)
	w.kind("under its old type and locale", err, sender.NotFound)

	remove := func() error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteTemplate(w.ctx, w.a, t.ID) })
	}
	w.must(remove())
	w.kind("deleted twice", remove(), sender.NotFound)
	w.kind("updated after", update(), sender.NotFound)
	_, err = w.Template(w.ctx, w.a, t.ID)
	w.kind("deleted", err, sender.NotFound)
}

func templateUniqueness(w *world) {
	app := sender.NewRandomID()
	t := w.template(w.a, app, "pairing", "en")
	insert := func(t sender.Template) error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertTemplate(w.ctx, t) })
	}
	w.kind("the same again", insert(newTemplate(w.a, app, "pairing", "en")), sender.Conflict)
	without := newTemplate(w.a, app, "pairing", "en")
	without.Variant = ""
	for what, other := range map[string]sender.Template{
		"without a variant":    without,
		"of the tenant itself": newTemplate(w.a, "", "pairing", "en"), "of another application": newTemplate(w.a, sender.NewRandomID(), "pairing", "en"),
		"of another type": newTemplate(w.a, app, "Pairing", "en"), "of another locale": newTemplate(w.a, app, "pairing", "en-GB"),
		"of another tenant": newTemplate(w.b, app, "pairing", "en"),
	} {
		w.kind(what, insert(other), "")
	}
	w.do(func(tx sender.Tx) error { return tx.DeleteTemplate(w.ctx, w.a, t.ID) })
	w.kind("after it was deleted", insert(newTemplate(w.a, app, "pairing", "en")), "")
}

func templateFilters(w *world) {
	app, other := sender.NewRandomID(), sender.NewRandomID()
	var all []sender.Template
	for _, a := range []sender.ID{"", app, other} {
		for _, kind := range []string{"pairing", "signing-in"} {
			for _, locale := range []template.Locale{"en", "pt-BR"} {
				all = append(all, w.template(w.a, a, kind, locale))
			}
		}
	}
	w.template(w.b, app, "pairing", "en")
	slices.SortFunc(all, func(a, b sender.Template) int { return cmp.Compare(a.ID, b.ID) })
	for _, c := range []struct {
		name   string
		filter sender.TemplateFilter
		want   func(sender.Template) bool
	}{
		{"of the tenant itself", sender.TemplateFilter{}, func(t sender.Template) bool { return t.Application == "" }},
		{"all", sender.TemplateFilter{AnyApplication: true}, func(sender.Template) bool { return true }},
		{"all, whatever application is named", sender.TemplateFilter{Application: app, AnyApplication: true}, func(sender.Template) bool { return true }},
		{"of an application", sender.TemplateFilter{Application: app}, func(t sender.Template) bool { return t.Application == app }},
		{"of a type", sender.TemplateFilter{AnyApplication: true, Type: "pairing"}, func(t sender.Template) bool { return t.Type == "pairing" }},
		{"of a locale", sender.TemplateFilter{AnyApplication: true, Locale: "pt-BR"}, func(t sender.Template) bool { return t.Locale == "pt-BR" }},
		{"of one of each", sender.TemplateFilter{Application: other, Type: "signing-in", Locale: "en"}, func(t sender.Template) bool {
			return t.Application == other && t.Type == "signing-in" && t.Locale == "en"
		}},
		{"types are compared exactly", sender.TemplateFilter{AnyApplication: true, Type: "PAIRING"}, func(sender.Template) bool { return false }},
	} {
		want := slices.DeleteFunc(slices.Clone(all), func(t sender.Template) bool { return !c.want(t) })
		got, err := w.Templates(w.ctx, w.a, c.filter, sender.Page{})
		w.must(err)
		w.same(c.name, got, want)
		if len(want) > 2 {
			got, err = w.Templates(w.ctx, w.a, c.filter, sender.Page{After: want[0].ID, Limit: 2})
			w.must(err)
			w.same(c.name+", page", got, want[1:3])
		}
	}
	sum := 0
	for _, t := range all {
		sum += t.Octets()
	}
	n, octets, err := w.CountTemplates(w.ctx, w.a)
	w.must(err)
	w.same("count", []int{n, octets}, []int{len(all), sum})
	changed := all[0]
	changed.Body = "ä"
	w.do(func(tx sender.Tx) error { return tx.UpdateTemplate(w.ctx, changed) })
	_, octets, err = w.CountTemplates(w.ctx, w.a)
	w.must(err)
	w.same("octets after a change", octets, sum-all[0].Octets()+changed.Octets())
}

func newPair(tenant sender.ID, token string) sender.Credential {
	return sender.Credential{
		ID: sender.NewID(), Kind: sender.KeyPair, Name: "a PingID client", Tenant: tenant, Grants: []sender.Grant{{Tenant: tenant, Role: sender.RoleSender}},
		Token: token, Key: []byte("key\x00of " + token), CreatedAt: start, ExpiresAt: start.Add(time.Hour),
	}
}

func keyPairs(w *world) {
	one, two, other := newPair(w.a, "token-one"), newPair(w.a, "token-two"), newPair(w.b, "token-other")
	insert := func(c sender.Credential) error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertCredential(w.ctx, c) })
	}
	for _, c := range []sender.Credential{one, two, other} {
		w.must(insert(c))
	}
	for range 2 { // those without a token don't meet
		w.must(insert(sender.Credential{ID: sender.NewID(), Kind: sender.APIKey, Tenant: w.a, CreatedAt: start}))
	}
	w.kind("the token again", insert(newPair(w.a, "token-one")), sender.Conflict)
	w.kind("the token again, of another tenant", insert(newPair(w.b, "token-one")), sender.Conflict)

	for _, want := range []sender.Credential{one, two, other} {
		got, err := w.CredentialByToken(w.ctx, want.Tenant, want.Token)
		w.must(err)
		w.same("by token, with its key", got, want)
		got, err = w.Credential(w.ctx, want.ID)
		w.must(err)
		want.Key = nil
		w.same("by id, without its key", got, want)
	}
	list, err := w.Credentials(w.ctx, w.b, sender.Page{})
	w.must(err)
	bare := other
	bare.Key = nil
	w.same("list, without keys", list, []sender.Credential{bare})

	for _, c := range []struct {
		what, token string
		tenant      sender.ID
	}{
		{"of another tenant", "token-other", w.a}, {"of nobody", "token-other", ""}, {"unknown", "token", w.a},
		{"in another case", "TOKEN-ONE", w.a}, {"without a token", "", w.a},
	} {
		_, err := w.CredentialByToken(w.ctx, c.tenant, c.token)
		w.kind(c.what, err, sender.NotFound)
	}

	w.do(func(tx sender.Tx) error { return tx.RevokeCredential(w.ctx, w.a, one.ID, start.Add(time.Minute)) })
	got, err := w.CredentialByToken(w.ctx, w.a, one.Token)
	w.must(err)
	one.RevokedAt = start.Add(time.Minute)
	w.same("revoked", got, one)
}

func expiry(w *world) {
	c := sender.Credential{ID: sender.NewID(), Kind: sender.APIKey, Tenant: w.a, CreatedAt: start}
	w.do(func(tx sender.Tx) error { return tx.InsertCredential(w.ctx, c) })
	for _, step := range []struct {
		what     string
		at, want time.Duration
	}{
		{"of one without an end", 2 * time.Hour, 2 * time.Hour},
		{"later", 3 * time.Hour, 2 * time.Hour},
		{"the same", 2 * time.Hour, 2 * time.Hour},
		{"earlier", time.Hour, time.Hour},
	} {
		w.do(func(tx sender.Tx) error { return tx.ExpireCredential(w.ctx, w.a, c.ID, start.Add(step.at)) })
		got, err := w.Credential(w.ctx, c.ID)
		w.must(err)
		c.ExpiresAt = start.Add(step.want)
		w.same(step.what, got, c)
	}
	w.kind("of one who is not there", w.Update(w.ctx, func(tx sender.Tx) error {
		return tx.ExpireCredential(w.ctx, w.a, sender.NewID(), start)
	}), sender.NotFound)
}
