package sailpoint

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// texts are fields of text that take these comparisons.
func texts(ops ...sender.Op) api.Field { return api.Field{Ops: ops} }

func sorted(f api.Field) api.Field {
	f.Sort = true
	return f
}

// collection reads the parameters of a list that has these fields.
func collection(fields api.Fields) func(*http.Request) (sender.Query, error) {
	return func(r *http.Request) (sender.Query, error) {
		q, err := api.ReadQuery(r)
		if err != nil {
			return sender.Query{}, err
		}
		return api.ReadCollection(q, fields)
	}
}

// listed is a part of a list.
type listed[T any] struct {
	items []T
	count bool // total is asked for
	total int
}

// writeList writes a list as a bare array, never null, and how many there are in all
// where that was asked for.
func writeList[T any](w http.ResponseWriter, _ *http.Request, l listed[T]) error {
	if l.count {
		w.Header().Set("X-Total-Count", strconv.Itoa(l.total))
	}
	if l.items == nil {
		l.items = []T{}
	}
	return api.WriteJSON(w, http.StatusOK, l.items)
}

// fielder is an entry of a list that is kept in memory; its fields are texts.
type fielder interface{ field(name string) string }

// choose applies a query to what is in memory, as a store does to its own: texts are
// compared without letter case, and what is equal keeps its order.
func choose[T fielder](all []T, q sender.Query) listed[T] {
	chosen := slices.DeleteFunc(slices.Clone(all), func(x T) bool { return q.Where != nil && !holds(q.Where, x) })
	slices.SortStableFunc(chosen, func(a, b T) int {
		for _, s := range q.Sort {
			c := compare(a.field(s.Field), b.field(s.Field))
			if s.Descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	total := len(chosen)
	chosen = chosen[min(q.Offset, total):]
	return listed[T]{chosen[:min(q.Limit, len(chosen))], q.Count, total}
}

func compare(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) }

// holds evaluates an expression over the fields of an entry.
func holds(e *sender.Expr, x fielder) bool {
	with := func(arg *sender.Expr) bool { return holds(arg, x) }
	switch e.Op {
	case sender.And:
		return !slices.ContainsFunc(e.Args, func(arg *sender.Expr) bool { return !with(arg) })
	case sender.Or:
		return slices.ContainsFunc(e.Args, with)
	case sender.Not:
		return !with(e.Args[0])
	}
	text := strings.ToLower(x.field(e.Field))
	return slices.ContainsFunc(e.Values, func(v sender.Value) bool {
		value := strings.ToLower(v.Text)
		switch e.Op {
		case sender.Eq, sender.In:
			return text == value
		case sender.Sw:
			return strings.HasPrefix(text, value)
		}
		return false // no field takes another
	})
}
