package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

var collectionIntrusions = []intrusion{
	{"FindAddresses", func(w *world, tx otp.Tx, v victim) error {
		for _, where := range []*sender.Expr{
			nil, comparison(sender.Eq, v.address.Mailbox), {Op: sender.Not, Args: []*sender.Expr{comparison(sender.Eq, "x")}},
			{Op: sender.Or, Args: []*sender.Expr{comparison(sender.Eq, "x"), comparison(sender.Sw, "")}},
		} {
			l, n, err := tx.FindAddresses(w.ctx, w.b, sender.Query{Where: where, Limit: 10, Count: true})
			if err := nothing(w, "FindAddresses", l, none(w, "FindAddresses", n, err)); err != nil {
				return err
			}
		}
		return nil
	}, ""},
	{"Setting", func(w *world, tx otp.Tx, _ victim) error {
		_, err := tx.Setting(w.ctx, w.b, "setting")
		return err
	}, sender.NotFound},
	{"PutSetting", func(w *world, tx otp.Tx, _ victim) error {
		if err := tx.PutSetting(w.ctx, w.b, "setting", "other"); err != nil {
			return err
		}
		return tx.PutSetting(w.ctx, w.b, "setting", "")
	}, ""},
}

func comparison(op sender.Op, values ...string) *sender.Expr {
	e := &sender.Expr{Op: op, Field: "email"}
	for _, v := range values {
		e.Values = append(e.Values, sender.Value{Text: v})
	}
	return e
}

func mailFroms(w *world) {
	d := w.domain(w.a, "example.org")
	for _, m := range []sender.MailFrom{
		{}, {Name: name("xn--bcher-kva.example.org"), Spelling: "Bücher.Example.org", OnFailure: sender.UseDefault}, {Name: name("b.example.org")},
	} {
		d.MailFrom = m
		w.do(func(tx sender.Tx) error { return tx.UpdateDomain(w.ctx, d) })
		d.Version++
		got, err := w.DomainByName(w.ctx, w.a, d.Name)
		w.must(err)
		w.same(fmt.Sprintf("with %+v", m), got, d)
	}
}

// senders inserts addresses with these mailboxes, which need not be any.
func (w *world) senders(tenant sender.ID, mailboxes ...string) (as []sender.Address) {
	w.Helper()
	for _, m := range mailboxes {
		a := newAddress(tenant, "example.org", "x")
		a.Mailbox = m
		as = append(as, a)
	}
	w.do(func(tx sender.Tx) error {
		for _, a := range as {
			if err := tx.InsertAddress(w.ctx, a); err != nil {
				return err
			}
		}
		return nil
	})
	return as
}

// odd are mailboxes that a store must not take for anything but themselves.
var odd = []string{
	"a@example.org", "b@example.org", "ab@example.org", "a%@example.org", "a_@example.org", `a\@example.org`, "a'@example.org", `a"@example.org`,
	"a--@example.org", "a;@example.org", "a$1@example.org", "a*@example.org", "a?@example.org", "äö@example.org", "z\U0001F600@example.org", "",
}

func findAddresses(w *world) {
	all := w.senders(w.a, odd...)
	w.senders(w.b, "a@example.org", "other@example.org")
	and := func(es ...*sender.Expr) *sender.Expr { return &sender.Expr{Op: sender.And, Args: es} }
	or := func(es ...*sender.Expr) *sender.Expr { return &sender.Expr{Op: sender.Or, Args: es} }
	not := func(e *sender.Expr) *sender.Expr { return &sender.Expr{Op: sender.Not, Args: []*sender.Expr{e}} }
	wheres := []*sender.Expr{
		comparison(sender.Present), comparison(sender.IsNull), not(comparison(sender.IsNull)),
		comparison(sender.In, "A@example.org", "nobody@example.org", `A\@EXAMPLE.ORG`),
		or(comparison(sender.Eq, "a@example.org"), and(comparison(sender.Sw, "A"), not(comparison(sender.Co, "%")))),
		and(or(comparison(sender.Eq, "a@example.org"), comparison(sender.Sw, "b")), comparison(sender.Co, "@")),
		not(not(and(comparison(sender.Ge, "a%"), comparison(sender.Lt, "ab"), comparison(sender.Ne, "a'@example.org")))),
	}
	texts := append(slices.Clone(odd), "A", "a%", "%", "_", `\`, "'", `"`, "' OR '1'='1", "a%' --", "$1", "*", "?", "[a-z]", "Ä", "@EXAMPLE", "\U0001F600", "z")
	for _, op := range []sender.Op{sender.Eq, sender.Ne, sender.Gt, sender.Ge, sender.Lt, sender.Le, sender.Co, sender.Sw, sender.In} {
		for _, text := range texts {
			wheres = append(wheres, comparison(op, text), not(comparison(op, text)))
		}
	}
	for _, where := range wheres {
		want := slices.DeleteFunc(slices.Clone(all), func(a sender.Address) bool {
			return !Matches(where, func(string) (string, bool) { return a.Mailbox, a.Mailbox != "" })
		})
		got, total, err := w.FindAddresses(w.ctx, w.a, sender.Query{Where: where, Limit: len(all), Count: true})
		w.must(err)
		w.same("found by "+show(where), got, want)
		w.same("counted by "+show(where), total, len(want))
	}
}

func show(e *sender.Expr) string {
	var parts []string
	for _, v := range e.Values {
		parts = append(parts, fmt.Sprintf("%q", v.Text))
	}
	for _, a := range e.Args {
		parts = append(parts, "("+show(a)+")")
	}
	return fmt.Sprintf("%s %s %s", e.Field, e.Op, strings.Join(parts, ", "))
}

func findPages(w *world) {
	all := w.senders(w.a, odd...)
	descending := slices.SortedFunc(slices.Values(all), func(a, b sender.Address) int { return cmp.Compare(b.Mailbox, a.Mailbox) })
	ascending := slices.Clone(descending)
	slices.Reverse(ascending)
	for _, c := range []struct {
		what string
		sort []sender.Sort
		want []sender.Address
	}{
		{"in the order of creation", nil, all},
		{"by address", []sender.Sort{{Field: "email"}}, ascending},
		{"by address, from the last", []sender.Sort{{Field: "email", Descending: true}}, descending},
		{"by the same again", []sender.Sort{{Field: "email"}, {Field: "email", Descending: true}}, ascending},
	} {
		for _, page := range []struct{ offset, limit, from, to int }{
			{0, 1000, 0, len(all)}, {0, 3, 0, 3}, {3, 4, 3, 7}, {len(all) - 1, 5, len(all) - 1, len(all)}, {len(all), 5, 0, 0}, {1 << 40, 5, 0, 0}, {0, 0, 0, 0},
		} {
			for _, count := range []bool{false, true} {
				got, total, err := w.FindAddresses(w.ctx, w.a, sender.Query{Sort: c.sort, Offset: page.offset, Limit: page.limit, Count: count})
				w.must(err)
				w.same(fmt.Sprintf("%s, %d after %d", c.what, page.limit, page.offset), got, c.want[page.from:page.to])
				want := 0
				if count {
					want = len(all)
				}
				w.same("total", total, want)
			}
		}
	}
	w.do(func(tx sender.Tx) error { // sees what it has written
		if err := tx.DeleteAddress(w.ctx, w.a, all[0].ID); err != nil {
			return err
		}
		got, total, err := tx.FindAddresses(w.ctx, w.a, sender.Query{Limit: 100, Count: true})
		w.same("within an update", got, all[1:])
		w.same("total within an update", total, len(all)-1)
		return err
	})
}

// Addresses come in pairs; who counts and reads a page of all must see whole pairs
// and count what is seen.
func findSnapshot(w *world) {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	written := make(chan error, 1)
	go func() {
		defer close(written)
		for i := 0; i < 1000 && ctx.Err() == nil; i++ {
			err := w.Update(w.ctx, func(tx sender.Tx) error {
				for j := range 2 {
					if err := tx.InsertAddress(w.ctx, newAddress(w.a, "example.org", fmt.Sprint(i, "-", j))); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				written <- err
				return
			}
		}
	}()
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		found, total, err := w.FindAddresses(w.ctx, w.a, sender.Query{Limit: 5000, Count: true})
		w.must(err)
		if len(found) != total || total%2 != 0 {
			w.Fatalf("%d are found and %d are counted", len(found), total)
		}
	}
	cancel()
	w.must(<-written)
}

func findRefuses(w *world) {
	w.senders(w.a, "a@example.org")
	deep := comparison(sender.Eq, "a")
	for range 100 {
		deep = &sender.Expr{Op: sender.Not, Args: []*sender.Expr{deep}}
	}
	wide, many := &sender.Expr{Op: sender.Or}, comparison(sender.In)
	for range 100 {
		wide.Args = append(wide.Args, comparison(sender.Eq, "a"))
	}
	for range 1001 {
		many.Values = append(many.Values, sender.Value{Text: "a"})
	}
	endless := &sender.Expr{Op: sender.Not, Args: make([]*sender.Expr, 1)}
	endless.Args[0] = endless
	one := comparison(sender.Eq, "a")
	for what, where := range map[string]*sender.Expr{
		"an unknown field": {Op: sender.Eq, Field: "mailbox", Values: one.Values}, "no field": {Op: sender.Eq, Values: one.Values},
		"SQL for a field":     {Op: sender.Eq, Field: "mailbox = '' OR mailbox", Values: one.Values},
		"an unknown operator": comparison("ca", "a"), "SQL for an operator": comparison("= '' OR", "a"), "no operator": comparison("", "a"),
		"no value": comparison(sender.Eq), "two values": comparison(sender.Sw, "a", "b"), "an empty list": comparison(sender.In),
		"a value too many": comparison(sender.Present, "a"), "too deep": deep, "too wide": wide, "too many values": many, "a circle": endless,
		"nothing to join": {Op: sender.And}, "one to join": {Op: sender.Or, Args: []*sender.Expr{one}}, "nothing to negate": {Op: sender.Not},
		"two to negate": {Op: sender.Not, Args: []*sender.Expr{one, one}}, "nothing for a condition": {Op: sender.Not, Args: []*sender.Expr{nil}},
	} {
		_, _, err := w.FindAddresses(w.ctx, w.a, sender.Query{Where: where, Limit: 10})
		w.refused(what, err, "filters")
	}
	_, _, err := w.FindAddresses(w.ctx, w.a, sender.Query{Sort: []sender.Sort{{Field: "mailbox"}}, Limit: 10})
	w.refused("an unknown field to sort by", err, "sorters")
	_, _, err = w.FindAddresses(w.ctx, w.a, sender.Query{Limit: -1})
	w.kind("a negative limit", err, sender.Invalid)
	_, _, err = w.FindAddresses(w.ctx, w.a, sender.Query{Limit: 1, Offset: -1})
	w.kind("a negative offset", err, sender.Invalid)

	wide.Args, many.Values = wide.Args[:99], many.Values[:1000]
	for what, where := range map[string]*sender.Expr{"wide": wide, "many values": many, "deep": deep.Args[0]} {
		_, _, err := w.FindAddresses(w.ctx, w.a, sender.Query{Where: where, Limit: 10, Count: true})
		w.kind("just not too "+what, err, "")
	}
}

func (w *world) refused(what string, err error, field string) {
	w.Helper()
	w.kind(what, err, sender.Invalid)
	if e, ok := err.(*sender.Error); ok && e.Field != field { //nolint:errorlint // as the core gives it on
		w.Errorf("%s: the field is %q, want %q", what, e.Field, field)
	}
}

func settings(w *world) {
	_, err := w.Setting(w.ctx, w.a, "n")
	w.kind("before", err, sender.NotFound)
	put := func(tenant sender.ID, name, document string) {
		w.do(func(tx sender.Tx) error { return tx.PutSetting(w.ctx, tenant, name, document) })
	}
	put(w.a, "n", "")
	put(w.a, "n", `{"old":true}`)
	put(w.a, "other", "of another name")
	put(w.b, "n", "of another tenant")
	put(w.a, "n", strings.Repeat("ä'\U0001F600", 10000))
	for _, c := range []struct {
		tenant         sender.ID
		name, document string
	}{{w.a, "n", strings.Repeat("ä'\U0001F600", 10000)}, {w.a, "other", "of another name"}, {w.b, "n", "of another tenant"}} {
		got, err := w.Setting(w.ctx, c.tenant, c.name)
		w.must(err)
		w.same("setting", got, c.document)
	}
	put(w.a, "n", "")
	_, err = w.Setting(w.ctx, w.a, "n")
	w.kind("removed", err, sender.NotFound)
	_, err = w.Setting(w.ctx, w.a, "N")
	w.kind("in another case", err, sender.NotFound)
	got, err := w.Setting(w.ctx, w.b, "n")
	w.must(err)
	w.same("that of another tenant", got, "of another tenant")
}
