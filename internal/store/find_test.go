package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
	"github.com/postseal/postseal/internal/store/storetest"
)

// foundBy is the collection of addresses with fields of every type.
var foundBy = collection[db.Address]{
	table: addressCollection.table, columns: addressCollection.columns, dest: addressCollection.dest,
	fields: map[string]column{"email": {"mailbox", lowerText}, "created": {"created_at", instant}, "direct": {"by_domain", truth}},
}

var (
	// Few letters make texts that meet: what SQL, LIKE and the engines' own letter
	// cases would take for something else, and what is longer in octets.
	letters = rapid.StringOfN(rapid.SampledFrom([]rune(`aAbB%_\'"$1*?. éÉßẞİıK`+"\u0301\U0001F600\uFFFD\u007f\n")), 0, 4, -1)
	epoch   = time.Unix(0, 0).UTC()
	moments = rapid.Custom(func(t *rapid.T) time.Time {
		noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		from := rapid.SampledFrom([]time.Time{noon, noon, noon, epoch, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)}).Draw(t, "from")
		return from.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "half microseconds")) * time.Microsecond / 2)
	})
)

// expressions over the fields of foundBy.
func expressions(texts *rapid.Generator[string], deep int) *rapid.Generator[*sender.Expr] {
	return rapid.Custom(func(t *rapid.T) *sender.Expr {
		kind := rapid.IntRange(0, 5).Draw(t, "kind")
		if deep == 0 {
			kind += 3
		}
		switch kind {
		case 0, 1:
			args := rapid.SliceOfN(expressions(texts, deep-1), 2, 3).Draw(t, "args")
			return &sender.Expr{Op: []sender.Op{sender.And, sender.Or}[kind], Args: args}
		case 2:
			return &sender.Expr{Op: sender.Not, Args: []*sender.Expr{expressions(texts, deep-1).Draw(t, "arg")}}
		case 3:
			return comparing(t, "created", rapid.Map(moments, func(at time.Time) sender.Value { return sender.Value{At: at} }),
				sender.Eq, sender.Ne, sender.Gt, sender.Ge, sender.Lt, sender.Le)
		case 4:
			return comparing(t, "direct", rapid.Map(rapid.Bool(), func(b bool) sender.Value { return sender.Value{Text: fmt.Sprint(b)} }), sender.Eq, sender.Ne)
		default:
			return comparing(t, "email", rapid.Map(texts, func(s string) sender.Value { return sender.Value{Text: s} }),
				sender.Eq, sender.Ne, sender.Gt, sender.Ge, sender.Lt, sender.Le, sender.Co, sender.Sw)
		}
	})
}

func comparing(t *rapid.T, field string, values *rapid.Generator[sender.Value], ops ...sender.Op) *sender.Expr {
	e := &sender.Expr{Field: field, Op: rapid.SampledFrom(append(ops, sender.In, sender.Present, sender.IsNull)).Draw(t, "op")}
	switch e.Op {
	case sender.Present, sender.IsNull:
	case sender.In:
		e.Values = rapid.SliceOfN(values, 1, 4).Draw(t, "values")
	default:
		e.Values = rapid.SliceOfN(values, 1, 1).Draw(t, "values")
	}
	return e
}

// held says what an address holds in the fields of foundBy.
func held(a sender.Address) func(string) (string, bool) {
	return func(field string) (string, bool) {
		switch field {
		case "created":
			return a.CreatedAt.Format(time.RFC3339Nano), !a.CreatedAt.IsZero()
		case "direct":
			return fmt.Sprint(a.ByDomain), true
		default:
			return a.Mailbox, a.Mailbox != ""
		}
	}
}

func order(sorts []sender.Sort) func(a, b sender.Address) int {
	return func(a, b sender.Address) int {
		for _, s := range sorts {
			c := 0
			switch s.Field {
			case "created":
				c = cmp.Compare(micros(a.CreatedAt), micros(b.CreatedAt))
			case "direct":
				c = strings.Compare(fmt.Sprint(a.ByDomain), fmt.Sprint(b.ByDomain))
			default:
				c = strings.Compare(a.Mailbox, b.Mailbox)
			}
			if s.Descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(a.ID, b.ID)
	}
}

func TestSQLFindsWhatExpressionsMean(t *testing.T) {
	stores := map[string]*Store{"sqlite": planned(t, filepath.Join(t.TempDir(), "x.db")), "postgres": planned(t, storetest.Postgres(t))}
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		tenant := sender.Tenant{ID: sender.NewID(), Organization: sender.DefaultOrganization}
		var all []sender.Address
		for _, mailbox := range rapid.SliceOfNDistinct(rapid.Map(letters, strings.ToLower), 0, 10, rapid.ID).Draw(t, "mailboxes") {
			a := sender.Address{ID: sender.NewID(), Tenant: tenant.ID, Mailbox: mailbox, ByDomain: rapid.Bool().Draw(t, "direct")}
			// The epoch itself is stored as no time.
			if at := moments.Draw(t, "created").Truncate(time.Microsecond); !at.Equal(epoch) {
				a.CreatedAt = at
			}
			all = append(all, a)
		}
		for _, s := range stores {
			if err := s.Update(ctx, func(tx sender.Tx) error {
				if err := tx.InsertTenant(ctx, tenant); err != nil {
					return err
				}
				for _, a := range all {
					if err := tx.InsertAddress(ctx, a); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		texts := letters
		if len(all) > 0 { // mostly such that something is found
			texts = rapid.OneOf(letters, rapid.Map(rapid.SampledFrom(all), func(a sender.Address) string { return strings.ToUpper(a.Mailbox) }),
				rapid.Map(rapid.SampledFrom(all), func(a sender.Address) string { return a.Mailbox }))
		}
		for range 10 {
			q := sender.Query{
				Where: expressions(texts, 3).Draw(t, "where"), Count: rapid.Bool().Draw(t, "count"),
				Offset: rapid.IntRange(0, 4).Draw(t, "offset"), Limit: rapid.IntRange(0, 12).Draw(t, "limit"),
			}
			for _, field := range rapid.SliceOfN(rapid.SampledFrom([]string{"email", "created", "direct"}), 0, 3).Draw(t, "sorters") {
				q.Sort = append(q.Sort, sender.Sort{Field: field, Descending: rapid.Bool().Draw(t, "descending")})
			}
			match := slices.DeleteFunc(slices.Clone(all), func(a sender.Address) bool { return !storetest.Matches(q.Where, held(a)) })
			slices.SortFunc(match, order(q.Sort))
			wantTotal := 0
			if q.Count {
				wantTotal = len(match)
			}
			page := match[min(q.Offset, len(match)):]
			var want []string
			for _, a := range page[:min(q.Limit, len(page))] {
				want = append(want, string(a.ID))
			}
			for name, s := range stores {
				rows, total, err := foundBy.find(ctx, s.conn, tenant.ID, q)
				var got []string
				for _, r := range rows {
					got = append(got, r.ID)
				}
				if err != nil || !slices.Equal(got, want) || total != wantTotal {
					t.Fatalf("%s finds %q of %d, %v; want %q of %d", name, got, total, err, want, wantTotal)
				}
			}
		}
	})
}

// Every filter is a new text: kept prepared, they would fill the memory of the
// engines, and on SQLite take the room of our own.
func TestQueriesOfClientsAreNotKeptPrepared(t *testing.T) {
	for _, dsn := range []string{filepath.Join(t.TempDir(), "x.db"), storetest.Postgres(t)} {
		s := planned(t, dsn)
		tenant := sender.NewID()
		for i := range 50 {
			e := &sender.Expr{Op: sender.In, Field: "email", Values: make([]sender.Value, 1+i)}
			if _, _, err := s.FindAddresses(t.Context(), tenant, sender.Query{Where: e, Limit: 1, Count: true}); err != nil {
				t.Fatal(err)
			}
		}
		if s.Pool() != nil {
			var n int
			err := s.Pool().QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%mailbox IN%' AND statement NOT LIKE '%pg_prepared%'").Scan(&n)
			if err != nil || n != 0 {
				t.Errorf("PostgreSQL keeps %d, %v", n, err)
			}
			continue
		}
		conn, err := s.engine.(*sqliteEngine).reads.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = conn.Raw(func(c any) error {
			for query := range c.(*cachingConn).kept {
				if strings.Contains(query, "mailbox IN") {
					return fmt.Errorf("SQLite keeps %s", query)
				}
			}
			return nil
		})
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Error(err)
		}
	}
}

// listener notes the queries and answers none.
type listener struct {
	connection
	queries []string
}

func (l *listener) once(_ context.Context, query string, _ ...any) (pgx.Rows, error) {
	l.queries = append(l.queries, query)
	return nil, sql.ErrConnDone
}

func TestFindSeeksInAnIndexOfTheTenant(t *testing.T) {
	s := planned(t, filepath.Join(t.TempDir(), "x.db"))
	const byID, byMailbox = "sqlite_autoindex_addresses_1 (tenant_id=?", "sqlite_autoindex_addresses_2 (tenant_id=?"
	for _, c := range []struct {
		what  string
		q     sender.Query
		index string
	}{
		{"a page", sender.Query{Limit: 10}, byID + ")"},
		{"a page by address", sender.Query{Limit: 10, Sort: []sender.Sort{{Field: "email"}}}, byMailbox + ")"},
		{"one address", sender.Query{Limit: 10, Where: &sender.Expr{Op: sender.Eq, Field: "email", Values: make([]sender.Value, 1)}}, byMailbox + " AND mailbox=?)"},
		{"a range", sender.Query{Where: &sender.Expr{Op: sender.Ge, Field: "email", Values: make([]sender.Value, 1)}, Count: true}, byMailbox + " AND mailbox>?)"},
	} {
		l := &listener{connection: s.conn}
		if _, _, err := addressCollection.find(t.Context(), l, "t", c.q); !errors.Is(err, sql.ErrConnDone) || len(l.queries) != 1 {
			t.Fatalf("%s: %q, %v", c.what, l.queries, err)
		}
		steps := explain(t, s, l.queries[0])
		if len(steps) != 1 || !strings.HasPrefix(steps[0], "SEARCH addresses USING ") || !strings.HasSuffix(steps[0], "INDEX "+c.index) {
			t.Errorf("%s: %q, want %s", c.what, steps, c.index)
		}
	}
}
