package storetest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// Matches says what an expression means: a store must find what it is true of. field
// gives what a thing holds as text, times in RFC 3339, and whether it holds anything;
// a text that it does not hold is compared as an empty one.
func Matches(e *sender.Expr, field func(name string) (text string, there bool)) bool {
	is := func(e *sender.Expr) bool { return Matches(e, field) }
	switch e.Op {
	case sender.And:
		return !slices.ContainsFunc(e.Args, func(e *sender.Expr) bool { return !is(e) })
	case sender.Or:
		return slices.ContainsFunc(e.Args, is)
	case sender.Not:
		return !is(e.Args[0])
	}
	text, there := field(e.Field)
	lower := strings.ToLower(text)
	compared := func(as func(int) bool) bool {
		return slices.ContainsFunc(e.Values, func(v sender.Value) bool {
			if v.At.IsZero() {
				return as(cmp.Compare(lower, strings.ToLower(v.Text)))
			}
			at, err := time.Parse(time.RFC3339Nano, text)
			return there && err == nil && as(at.Compare(v.At))
		})
	}
	equal := func(c int) bool { return c == 0 }
	switch e.Op {
	case sender.Eq, sender.In:
		return compared(equal)
	case sender.Ne:
		return !compared(equal)
	case sender.Gt:
		return compared(func(c int) bool { return c > 0 })
	case sender.Ge:
		return compared(func(c int) bool { return c >= 0 })
	case sender.Lt:
		return compared(func(c int) bool { return c < 0 })
	case sender.Le:
		return compared(func(c int) bool { return c <= 0 })
	case sender.Co:
		return strings.Contains(lower, strings.ToLower(e.Values[0].Text))
	case sender.Sw:
		return strings.HasPrefix(lower, strings.ToLower(e.Values[0].Text))
	case sender.Present:
		return there
	case sender.IsNull:
		return !there
	default:
		panic("storetest: there is no operator " + e.Op)
	}
}
