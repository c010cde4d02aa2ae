package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/storetest"
)

var everything = []sender.Op{
	api.ContainsAll, sender.Co, sender.Eq, sender.Ge, sender.Gt, sender.In, sender.IsNull, sender.Le, sender.Lt, sender.Ne, sender.Present, sender.Sw,
}

// fields has a field of every type, one that takes little, and one for sorting only.
var fields = api.Fields{
	"email":   {Ops: everything, Sort: true},
	"name":    {Ops: []sender.Op{sender.Eq}, Sort: true},
	"created": {Type: api.TimeField, Ops: []sender.Op{sender.Eq, sender.Gt, sender.In, sender.Present}},
	"direct":  {Type: api.BooleanField, Ops: []sender.Op{sender.Eq, sender.Ne}},
	"rank":    {Sort: true},
}

func with(op sender.Op, field string, texts ...string) *sender.Expr {
	e := &sender.Expr{Op: op, Field: field}
	for _, s := range texts {
		e.Values = append(e.Values, sender.Value{Text: s})
	}
	return e
}

func join(op sender.Op, args ...*sender.Expr) *sender.Expr { return &sender.Expr{Op: op, Args: args} }

func TestFiltersAreReadAsTheGrammarSays(t *testing.T) {
	a, b, c := with(sender.Eq, "email", "a"), with(sender.Eq, "email", "b"), with(sender.Eq, "email", "c")
	noon := sender.Value{At: time.Date(2026, 3, 1, 12, 0, 0, 500e6, time.UTC)}
	for text, want := range map[string]*sender.Expr{
		"": nil, " \t\r\n ": nil,
		`email eq "sender@example.com"`:   with(sender.Eq, "email", "sender@example.com"),
		`email sw "go+" and not email pr`: join(sender.And, with(sender.Sw, "email", "go+"), join(sender.Not, with(sender.Present, "email"))),

		`email eq a or email eq b and email eq c`:       join(sender.Or, a, join(sender.And, b, c)),
		`email eq a and email eq b or email eq c`:       join(sender.Or, join(sender.And, a, b), c),
		`(email eq a or email eq b) and email eq c`:     join(sender.And, join(sender.Or, a, b), c),
		`email eq a and email eq b and email eq c`:      join(sender.And, a, b, c),
		`(email eq a and email eq b) and email eq c`:    join(sender.And, join(sender.And, a, b), c),
		`email eq a or (email eq b or email eq c)`:      join(sender.Or, a, join(sender.Or, b, c)),
		`not email eq a and email eq b`:                 join(sender.And, join(sender.Not, a), b),
		`not (email eq a and email eq b)`:               join(sender.Not, join(sender.And, a, b)),
		`not not email eq a`:                            join(sender.Not, join(sender.Not, a)),
		`not(email eq a)or((email eq b))`:               join(sender.Or, join(sender.Not, a), b),
		"\n( email\teq  a )  ":                          a,
		`email in ("a","b" , c)`:                        with(sender.In, "email", "a", "b", "c"),
		`email in("a")`:                                 with(sender.In, "email", "a"),
		`email ca (a,b)`:                                with(api.ContainsAll, "email", "a", "b"),
		`pr email`:                                      with(sender.Present, "email"),
		`email pr`:                                      with(sender.Present, "email"),
		`pr email and email isnull or not pr email`:     join(sender.Or, join(sender.And, with(sender.Present, "email"), with(sender.IsNull, "email")), join(sender.Not, with(sender.Present, "email"))),
		`email eq "a \"quoted\" \\ and (more), 'text'"`: with(sender.Eq, "email", `a "quoted" \ and (more), 'text'`),
		`email eq ""`:                                   with(sender.Eq, "email", ""),
		`email eq"a"and email eq"b"`:                    join(sender.And, a, b),
		`email eq a\b'c%_;--`:                           with(sender.Eq, "email", `a\b'c%_;--`),
		`email eq and and email eq not`:                 join(sender.And, with(sender.Eq, "email", "and"), with(sender.Eq, "email", "not")),
		`email eq pr`:                                   with(sender.Eq, "email", "pr"),
		`email eq 2026-03-01T12:00:00Z`:                 with(sender.Eq, "email", "2026-03-01T12:00:00Z"),
		`email eq true`:                                 with(sender.Eq, "email", "true"),
		`email co ÄÖ😀`:                                  with(sender.Co, "email", "ÄÖ😀"),
		`direct eq true and direct ne "false"`:          join(sender.And, with(sender.Eq, "direct", "true"), with(sender.Ne, "direct", "false")),
		`created gt 2026-03-01T13:00:00.5+01:00`:        {Op: sender.Gt, Field: "created", Values: []sender.Value{noon}},
		`created in ("2026-03-01T12:00:00.500Z")`:       {Op: sender.In, Field: "created", Values: []sender.Value{noon}},
	} {
		got, err := api.ParseFilters(text, fields)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Errorf("%s: %v; -want +got:\n%s", text, err, d)
		}
	}
}

func TestWrongFiltersAreRefusedWithTheirPlace(t *testing.T) {
	many := func(n int, part, between string) string {
		return strings.Join(slices.Repeat([]string{part}, n), between)
	}
	for text, want := range map[string]string{
		`email EQ "a"`:                         `at character 7: there should be an operator, in lower case, and not "EQ"; email takes ca, co, eq`,
		`email eq a AND email eq b`:            `at character 12: "AND" is not expected here`,
		`email eq a Or email eq b`:             `at character 12: "Or"`,
		`NOT email eq a`:                       `at character 1: "NOT" is not a field to filter by; use created, direct, email, name`,
		`mail eq a`:                            `at character 1: "mail"`,
		`Email eq a`:                           `at character 1: "Email"`,
		`rank eq a`:                            `at character 1: "rank"`,
		`ä eq a`:                               `at character 1: "ä"`,
		`email eq "ä" and x eq a`:              `at character 18: "x"`,
		`name sw a`:                            `at character 6: name does not take the operator sw; it takes eq`,
		`name ca (a)`:                          `at character 6: name does not take the operator ca`,
		`pr name`:                              `at character 1: name does not take the operator pr`,
		`name isnull`:                          `at character 6: name does not take`,
		`email`:                                `at character 6: there should be an operator, in lower case, and not the end`,
		`email eq`:                             `at character 9: there should be a value and not the end`,
		`email eq and`:                         ``, // a value
		`email eq a b`:                         `at character 12: "b" is not expected here`,
		`email eq a and`:                       `at character 15: there should be a field and not the end`,
		`email eq a or or email eq b`:          `at character 15: "or" is not a field`,
		`and email eq a`:                       `at character 1: "and" is not a field`,
		`not`:                                  `at character 4: there should be a field and not the end`,
		`pr`:                                   `at character 3: there should be a field and not the end`,
		`email pr a`:                           `at character 10: "a" is not expected`,
		`email isnull "a"`:                     `at character 14: the text "a" is not expected`,
		`isnull email`:                         `at character 1: "isnull" is not a field`,
		`(email eq a`:                          `at character 12: there should be ")" and not the end`,
		`email eq a)`:                          `at character 11: ")" is not expected`,
		`()`:                                   `at character 2: there should be a field and not ")"`,
		`"email" eq a`:                         `at character 1: there should be a field and not the text "email"`,
		`email "eq" a`:                         `at character 7: there should be an operator, in lower case, and not the text "eq"`,
		`email eq (a)`:                         `at character 10: there should be a value and not "("`,
		`email in a`:                           `at character 10: there should be "(" and not "a"`,
		`email in ()`:                          `at character 11: there should be a value and not ")"`,
		`email in (a,)`:                        `at character 13: there should be a value`,
		`email in (a b)`:                       `at character 13: there should be ")" and not "b"`,
		`email in (a`:                          `at character 12: there should be ")" and not the end`,
		`email in (a,`:                         `at character 13: there should be a value and not the end`,
		`email eq "a`:                          `at character 10: the quotes are not closed`,
		`email eq "a\"`:                        `at character 10: the quotes are not closed`,
		`email eq "a\`:                         `at character 12: a backslash in quotes must be before " or \`,
		`email eq "a\nb"`:                      `at character 12: a backslash`,
		`email, eq a`:                          `at character 6: there should be an operator, in lower case, and not ","`,
		`email == a`:                           `at character 7: there should be an operator`,
		`created gt yesterday`:                 `at character 12: "yesterday" is not a time; write it as in 2026-03-01T12:00:00Z (RFC 3339)`,
		`created gt 2026-03-01`:                `at character 12: "2026-03-01" is not a time`,
		`created gt "2026-3-1T1:00:00Z"`:       `at character 12: the text "2026-3-1T1:00:00Z" is not a time`,
		`created gt 0001-01-01T00:00:00Z`:      `is not a time`,
		`created gt 9999-12-31T23:59:59-01:00`: `is not a time`,
		`direct eq TRUE`:                       `at character 11: "TRUE" is neither true nor false`,
		"email eq \xff":                        `filters is not UTF-8`,
		strings.Repeat("(", 1e6):               `at character 51: parentheses and not can be nested 50 deep`,
		strings.Repeat("not ", 1e6):            `at character 201: parentheses and not can be nested 50 deep`,
		many(200, "email pr", " and "):         `at character 1288: this is too much for one request: at most 100 conditions`,
		many(51, "email pr or direct eq true", " and "): `at most 100 conditions`,
		"email in (" + many(1001, "a", ",") + ")":       `a filter can have 1000 values`,
		"email eq " + strings.Repeat("a", 500) + " x y": `at character 511: "x"`,
		strings.Repeat("ä", 500) + " eq 1":              `"` + strings.Repeat("ä", 100) + `..." is not a field`,
	} {
		e, err := api.ParseFilters(text, fields)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		wantInvalid(t, api.Short(text), err, "filters", want)
		if e != nil {
			t.Errorf("%s: a tree beside the error", api.Short(text))
		}
	}
	_, err := api.ParseFilters("email pr", nil)
	wantInvalid(t, "no fields", err, "filters", `"email" is not a field to filter by; nothing can be filtered by here.`)
	for _, fits := range []string{
		strings.Repeat("(", 50) + "email pr" + strings.Repeat(")", 50), strings.Repeat("not ", 50) + "email pr",
		many(99, "email pr", " and "), "email in (" + many(1000, "a", ",") + ")",
	} {
		if _, err := api.ParseFilters(fits, fields); err != nil {
			t.Errorf("%s: %v", api.Short(fits), err)
		}
	}
}

func wantInvalid(t *testing.T, what string, err error, field, detail string) {
	t.Helper()
	e, ok := err.(*sender.Error) //nolint:errorlint // nothing wraps it
	if !ok || e.Kind != sender.Invalid || e.Field != field || !strings.Contains(e.Detail, detail) || len(e.Detail) > 700 {
		t.Errorf("%s: got %v, want invalid %s: %s", what, err, field, detail)
	}
}

func TestSorters(t *testing.T) {
	for text, want := range map[string][]sender.Sort{
		"": nil, "  ": nil,
		"email":                  {{Field: "email"}},
		"-email":                 {{Field: "email", Descending: true}},
		" email , -rank,\tname ": {{Field: "email"}, {Field: "rank", Descending: true}, {Field: "name"}},
	} {
		got, err := api.ParseSorters(text, fields)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"mail": `sorters, at character 1: "mail" is not a field to sort by; use email, name, rank.`, "email,,rank": `at character 7: ""`, "email,": `at character 7: ""`,
		"-": `at character 1: "-"`, "email, --rank": `at character 8: "--rank"`, "- email": `at character 1: "- email"`, "email desc": `"email desc"`,
		"created": `"created"`, "EMAIL": `"EMAIL"`, "+email": `"+email"`, "email;x": `"email;x"`, "\xff": `is not a field`,
	} {
		_, err := api.ParseSorters(text, fields)
		wantInvalid(t, text, err, "sorters", want)
	}
	_, err := api.ParseSorters("email", nil)
	wantInvalid(t, "no fields", err, "sorters", "nothing can be sorted by here")
}

func TestCollectionParameters(t *testing.T) {
	read := func(raw string) (sender.Query, error) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		return api.ReadCollection(q, fields)
	}
	for raw, want := range map[string]sender.Query{
		"":                                    {Limit: 250},
		"limit=0":                             {},
		"limit=250&offset=2147483647":         {Limit: 250, Offset: 2147483647},
		"limit=10&offset=0&count=true&x=1&x=": {Limit: 10, Count: true},
		"count=false&filters=&sorters=":       {Limit: 250},
		"sorters=+email":                      {Limit: 250, Sort: []sender.Sort{{Field: "email"}}},
		"count=true&filters=email+sw+%22go%2B%22+and%20not+email+pr&limit=10&sorters=-email": {
			Limit: 10, Count: true, Sort: []sender.Sort{{Field: "email", Descending: true}},
			Where: join(sender.And, with(sender.Sw, "email", "go+"), join(sender.Not, with(sender.Present, "email"))),
		},
	} {
		got, err := read(raw)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Errorf("%s: %v; -want +got:\n%s", raw, err, d)
		}
	}
	for raw, want := range map[string][2]string{
		"limit=251": {"limit", `limit must be a number from 0 to 250, not "251".`}, "limit=-1": {"limit", `"-1"`}, "limit=": {"limit", `""`}, "limit=a": {"limit", `"a"`},
		"limit=1.5": {"limit", `"1.5"`}, "limit=+1": {"limit", `" 1"`}, "limit=99999999999999999999": {"limit", "250"}, "limit=1&limit=2": {"limit", "limit is there 2 times; send it once."},
		"offset=-1": {"offset", `offset must be a number from 0, not "-1".`}, "offset=2147483648": {"offset", "offset"}, "offset=": {"offset", `""`},
		"count=TRUE": {"count", `count must be true or false, not "TRUE".`}, "count=1": {"count", `"1"`}, "count=": {"count", `""`},
		"filters=x": {"filters", "at character 1"}, "sorters=x": {"sorters", "at character 1"}, "filters=email+pr&filters=": {"filters", "2 times"},
	} {
		got, err := read(raw)
		wantInvalid(t, raw, err, want[0], want[1])
		if got.Where != nil || got.Sort != nil {
			t.Errorf("%s: a query beside the error", raw)
		}
	}
}

// write is the inverse of ParseFilters.
func write(e *sender.Expr) string {
	in := func(e *sender.Expr, ops ...sender.Op) string {
		if slices.Contains(ops, e.Op) {
			return "(" + write(e) + ")"
		}
		return write(e)
	}
	var parts []string
	switch e.Op {
	case sender.Not:
		return "not " + in(e.Args[0], sender.And, sender.Or)
	case sender.And, sender.Or:
		for _, a := range e.Args {
			if e.Op == sender.And {
				parts = append(parts, in(a, sender.And, sender.Or))
			} else {
				parts = append(parts, in(a, sender.Or))
			}
		}
		return strings.Join(parts, " "+string(e.Op)+" ")
	}
	for _, v := range e.Values {
		if !v.At.IsZero() {
			v.Text = v.At.Format(time.RFC3339Nano)
		}
		parts = append(parts, `"`+strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(v.Text)+`"`)
	}
	values := strings.Join(parts, ", ")
	switch e.Op {
	case sender.Present, sender.IsNull:
		return e.Field + " " + string(e.Op)
	case sender.In, api.ContainsAll:
		return fmt.Sprintf("%s %s (%s)", e.Field, e.Op, values)
	default:
		return fmt.Sprintf("%s %s %s", e.Field, e.Op, values)
	}
}

func FuzzFilters(f *testing.F) {
	for _, s := range []string{
		`email eq "a\"b\\"`, `not (pr email or email in (a, "b")) and created gt 2026-03-01T12:00:00Z`, `direct ne true`, `((email isnull))`,
		`created gt 0000-01-01T00:00:00.000000001+23:59`, "email ca ()", `email eq "`, "not not not", strings.Repeat("(", 60), "email eq \xff\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := api.ParseFilters(s, fields)
		if err != nil {
			if sender.KindOf(err) != sender.Invalid || e != nil {
				t.Fatalf("%q: %v, %v", s, e, err)
			}
			return
		}
		if e == nil {
			return
		}
		text := write(e)
		again, err := api.ParseFilters(text, fields)
		if d := cmp.Diff(e, again, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Errorf("%q is written as %q: %v, %s", s, text, err, d)
		}
	})
}

func FuzzSorters(f *testing.F) {
	for _, s := range []string{"email", " -email , rank", ",", "-", "\xff,email"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sorts, err := api.ParseSorters(s, fields)
		if err != nil {
			if sender.KindOf(err) != sender.Invalid {
				t.Fatal(err)
			}
			return
		}
		var parts []string
		for _, o := range sorts {
			parts = append(parts, map[bool]string{true: "-"}[o.Descending]+o.Field)
		}
		again, err := api.ParseSorters(strings.Join(parts, ","), fields)
		if err != nil || !slices.Equal(again, sorts) {
			t.Errorf("%q: %v, then %v, %v", s, sorts, again, err)
		}
	})
}

// trees are expressions as the parser makes them.
func trees(deep int) *rapid.Generator[*sender.Expr] {
	text := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune("ab \"\\(),'%_\t\n")), rapid.Rune()))
	return rapid.Custom(func(t *rapid.T) *sender.Expr {
		kind := rapid.IntRange(0, 5).Draw(t, "kind")
		if deep == 0 {
			kind += 3
		}
		switch kind {
		case 0, 1:
			return join([]sender.Op{sender.And, sender.Or}[kind], rapid.SliceOfN(trees(deep-1), 2, 3).Draw(t, "args")...)
		case 2:
			return join(sender.Not, trees(deep-1).Draw(t, "arg"))
		case 3:
			at := time.Unix(rapid.Int64Range(-62104060800, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds")).UTC()
			return &sender.Expr{Op: sender.Gt, Field: "created", Values: []sender.Value{{At: at}}}
		}
		e := with(rapid.SampledFrom(everything).Draw(t, "op"), "email")
		switch e.Op {
		case sender.Present, sender.IsNull:
		case sender.In, api.ContainsAll:
			e = with(e.Op, "email", rapid.SliceOfN(text, 1, 4).Draw(t, "values")...)
		default:
			e = with(e.Op, "email", text.Draw(t, "value"))
		}
		return e
	})
}

func TestEveryTreeCanBeWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := trees(3).Draw(t, "tree")
		text := write(want)
		got, err := api.ParseFilters(text, fields)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Fatalf("%s: %v, %s", text, err, d)
		}
	})
}

func TestFiltersFindWhatTheySay(t *testing.T) {
	all := []string{"ann@example.com", "Bob@Example.com", "carl@example.net", "go+tag@example.org", ""}
	for text, want := range map[string][]string{
		`email eq "bob@example.COM"`:                           {"Bob@Example.com"},
		`email ge "b" and email lt "d"`:                        {"Bob@Example.com", "carl@example.net"},
		`email co "EXAMPLE.com" and not email sw "A"`:          {"Bob@Example.com"},
		`email sw "go+" or email in ("ann@example.com", "x") `: {"ann@example.com", "go+tag@example.org"},
		`not pr email`: {""},
		`email isnull or email eq "x" or email sw c and email co ca`: {"carl@example.net", ""},
		`(email sw a or email sw b) and email ne "ann@example.com"`:  {"Bob@Example.com"},
		`email le "ann@example.com" and email pr`:                    {"ann@example.com"},
		`email gt "carl@example.net"`:                                {"go+tag@example.org"},
	} {
		e, err := api.ParseFilters(text, fields)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := slices.DeleteFunc(slices.Clone(all), func(s string) bool {
			return !storetest.Matches(e, func(string) (string, bool) { return s, s != "" })
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
