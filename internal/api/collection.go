package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/sender"
)

// MaxCollection is how many entries of a collection a request can ask for, and how
// many it gets where it does not say.
const MaxCollection = 250

// Bounds of one filter. The nesting keeps the stack small, the others the work that
// it makes for the store.
const (
	maxNesting    = 50
	maxConditions = 100 // and the words between them
	maxValues     = 1000
)

// Fields are what the entries of a collection can be filtered and sorted by.
type Fields map[string]Field

// Field is one of them.
type Field struct {
	Type FieldType
	Ops  []sender.Op // the comparisons that it takes
	Sort bool        // it can be sorted by
}

// FieldType is what a field holds, and so how the values of a filter are read.
type FieldType int

// The types of fields.
const (
	TextField    FieldType = iota // any text; compared without letter case
	TimeField                     // RFC 3339; compared as instants
	BooleanField                  // true or false
)

// ContainsAll is an operator of the grammar that the core does not have.
const ContainsAll sender.Op = "ca"

// comparisons are the operators of the grammar.
var comparisons = []sender.Op{
	ContainsAll, sender.Co, sender.Eq, sender.Ge, sender.Gt, sender.In, sender.IsNull, sender.Le, sender.Lt, sender.Ne, sender.Present, sender.Sw,
}

// ReadCollection reads the parameters limit, offset, count, filters and sorters of a
// list. Empty filters and sorters are absent ones; other parameters are ignored.
//
// Errors: Invalid on the parameter's name.
func ReadCollection(q url.Values, fields Fields) (sender.Query, error) {
	c := sender.Query{Limit: MaxCollection}
	for _, name := range []string{"limit", "offset", "count", "filters", "sorters"} {
		if len(q[name]) > 1 {
			return sender.Query{}, sender.Errorf(sender.Invalid, name, "%s is there %d times; send it once.", name, len(q[name]))
		}
	}
	if q.Has("limit") {
		n, err := strconv.ParseUint(q.Get("limit"), 10, 31)
		if err != nil || n > MaxCollection {
			return sender.Query{}, sender.Errorf(sender.Invalid, "limit", "limit must be a number from 0 to %d, not %q.", MaxCollection, Short(q.Get("limit")))
		}
		c.Limit = int(n)
	}
	if q.Has("offset") {
		n, err := strconv.ParseUint(q.Get("offset"), 10, 31)
		if err != nil {
			return sender.Query{}, sender.Errorf(sender.Invalid, "offset", "offset must be a number from 0, not %q.", Short(q.Get("offset")))
		}
		c.Offset = int(n)
	}
	if q.Has("count") {
		c.Count = q.Get("count") == "true"
		if !c.Count && q.Get("count") != "false" {
			return sender.Query{}, sender.Errorf(sender.Invalid, "count", "count must be true or false, not %q.", Short(q.Get("count")))
		}
	}
	var err error
	if c.Where, err = ParseFilters(q.Get("filters"), fields); err != nil {
		return sender.Query{}, err
	}
	c.Sort, err = ParseSorters(q.Get("sorters"), fields)
	return c, err
}

// ParseSorters reads fields, separated by commas; a minus before one turns its order
// round. Blanks around the commas mean nothing, and neither does a text of blanks.
//
// Errors: Invalid on "sorters".
func ParseSorters(s string, fields Fields) ([]sender.Sort, error) {
	if blank(s) {
		return nil, nil
	}
	var sorts []sender.Sort
	at := 0
	for part := range strings.SplitSeq(s, ",") {
		trimmed := strings.Trim(part, blanks)
		name, descending := strings.CutPrefix(trimmed, "-")
		if f, ok := fields[name]; !ok || !f.Sort {
			where := at + strings.Index(part, trimmed)
			return nil, wrong("sorters", s, where, "%s is not a field to sort by; %s", found(trimmed), offer(sortable(fields), "nothing can be sorted by here"))
		}
		sorts = append(sorts, sender.Sort{Field: name, Descending: descending})
		at += len(part) + 1
	}
	return sorts, nil
}

func sortable(fields Fields) (names []string) {
	for name, f := range fields {
		if f.Sort {
			names = append(names, name)
		}
	}
	return names
}

// ParseFilters reads an expression of SailPoint's collection grammar. The tree has
// only fields, operators and types of values that the fields have; an empty text,
// or one of blanks, is nil.
//
//	or    := and ("or" and)*
//	and   := not ("and" not)*
//	not   := "not" not | prim
//	prim  := "(" or ")" | field op value | field "in" "(" value ("," value)* ")"
//	       | "pr" field | field "pr" | field "isnull"
//	value := quoted text with \" and \\, or a bare word
//
// Words are written in lower case, but for those that are values.
//
// Errors: Invalid on "filters".
func ParseFilters(s string, fields Fields) (*sender.Expr, error) {
	if blank(s) {
		return nil, nil
	}
	if !utf8.ValidString(s) {
		return nil, sender.Errorf(sender.Invalid, "filters", "filters is not UTF-8.")
	}
	p := filterParser{text: s, fields: fields}
	if err := p.next(); err != nil {
		return nil, err
	}
	e, err := p.or()
	if err == nil && p.token.kind != ending {
		err = p.wrong(p.token, "%s is not expected here; conditions are joined by the words \"and\" and \"or\", in lower case, and a value with blanks is in quotes", p.token)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

const blanks = " \t\r\n"

func blank(s string) bool { return strings.Trim(s, blanks) == "" }

// tokenKind is what a part of the text is: one of these, or the character itself.
type tokenKind byte

const (
	ending tokenKind = 0
	word   tokenKind = 'w'
	quoted tokenKind = '"'
)

type token struct {
	kind tokenKind
	text string // of words and of what was in quotes, without escapes
	at   int    // octets before it
}

func (t token) String() string {
	switch t.kind {
	case ending:
		return "the end"
	case word:
		return found(t.text)
	case quoted:
		return "the text " + found(t.text)
	default:
		return found(string(t.kind))
	}
}

type filterParser struct {
	text   string
	fields Fields
	rest   int   // where the token after this one is looked for
	token  token // what is next
	// How much there was.
	nesting, conditions, values int
}

func (p *filterParser) wrong(t token, format string, args ...any) error {
	return wrong("filters", p.text, t.at, format, args...)
}

// next goes on to the next token.
func (p *filterParser) next() error {
	for p.rest < len(p.text) && strings.IndexByte(blanks, p.text[p.rest]) >= 0 {
		p.rest++
	}
	left := p.text[p.rest:]
	p.token = token{at: p.rest}
	switch {
	case left == "":
		return nil
	case left[0] == '"':
		return p.quoted(left)
	case strings.IndexByte("(),", left[0]) >= 0:
		p.token.kind = tokenKind(left[0])
		p.rest++
	default:
		n := strings.IndexAny(left, blanks+`"(),`)
		if n < 0 {
			n = len(left)
		}
		p.token.kind, p.token.text = word, left[:n]
		p.rest += n
	}
	return nil
}

func (p *filterParser) quoted(left string) error {
	var b strings.Builder
	for i := 1; i < len(left); i++ {
		switch c := left[i]; c {
		case '"':
			p.token.kind, p.token.text = quoted, b.String()
			p.rest += i + 1
			return nil
		case '\\':
			if i++; i == len(left) || left[i] != '"' && left[i] != '\\' {
				return wrong("filters", p.text, p.rest+i-1, `a backslash in quotes must be before " or \`)
			}
			b.WriteByte(left[i])
		default:
			b.WriteByte(c)
		}
	}
	return p.wrong(p.token, "the quotes are not closed")
}

// is reports whether a word is next.
func (p *filterParser) is(w string) bool { return p.token.kind == word && p.token.text == w }

// take goes past a character that must be next.
func (p *filterParser) take(kind tokenKind) error {
	if p.token.kind != kind {
		return p.wrong(p.token, "there should be %q and not %s", string(kind), p.token)
	}
	return p.next()
}

func (p *filterParser) node() error {
	if p.conditions++; p.conditions > maxConditions {
		return p.wrong(p.token, "this is too much for one request: at most %d conditions can be combined", maxConditions)
	}
	return nil
}

func (p *filterParser) or() (*sender.Expr, error) { return p.chain(sender.Or, p.and) }

func (p *filterParser) and() (*sender.Expr, error) { return p.chain(sender.And, p.not) }

// chain reads one part, or several with a word between them.
func (p *filterParser) chain(op sender.Op, part func() (*sender.Expr, error)) (*sender.Expr, error) {
	first, err := part()
	if err != nil || !p.is(string(op)) {
		return first, err
	}
	e := &sender.Expr{Op: op, Args: []*sender.Expr{first}}
	if err := p.node(); err != nil {
		return nil, err
	}
	for p.is(string(op)) {
		if err := p.next(); err != nil {
			return nil, err
		}
		arg, err := part()
		if err != nil {
			return nil, err
		}
		e.Args = append(e.Args, arg)
	}
	return e, nil
}

func (p *filterParser) not() (*sender.Expr, error) {
	negates := p.is(string(sender.Not))
	if !negates && p.token.kind != '(' {
		return p.condition()
	}
	if p.nesting++; p.nesting > maxNesting {
		return nil, p.wrong(p.token, "parentheses and not can be nested %d deep", maxNesting)
	}
	defer func() { p.nesting-- }()
	if !negates {
		if err := p.next(); err != nil {
			return nil, err
		}
		e, err := p.or()
		if err == nil {
			err = p.take(')')
		}
		return e, err
	}
	if err := p.node(); err != nil {
		return nil, err
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	arg, err := p.not()
	if err != nil {
		return nil, err
	}
	return &sender.Expr{Op: sender.Not, Args: []*sender.Expr{arg}}, nil
}

// condition reads a comparison.
func (p *filterParser) condition() (*sender.Expr, error) {
	if err := p.node(); err != nil {
		return nil, err
	}
	prefix := p.is(string(sender.Present))
	op := p.token
	if prefix {
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	name := p.token
	f, ok := p.fields[name.text]
	switch {
	case name.kind != word:
		return nil, p.wrong(name, "there should be a field and not %s", name)
	case !ok || len(f.Ops) == 0:
		return nil, p.wrong(name, "%s is not a field to filter by; %s", name, offer(filterable(p.fields), "nothing can be filtered by here"))
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if !prefix {
		op = p.token
	}
	e := &sender.Expr{Op: sender.Op(op.text), Field: name.text}
	switch {
	case op.kind != word || !slices.Contains(comparisons, e.Op):
		return nil, p.wrong(op, "there should be an operator, in lower case, and not %s; %s takes %s", op, name.text, operators(f))
	case !slices.Contains(f.Ops, e.Op):
		return nil, p.wrong(op, "%s does not take the operator %s; it takes %s", name.text, e.Op, operators(f))
	case prefix:
		return e, nil
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	var err error
	switch e.Op {
	case sender.Present, sender.IsNull:
	case sender.In, ContainsAll:
		e.Values, err = p.list(f)
	default:
		var v sender.Value
		v, err = p.value(f)
		e.Values = []sender.Value{v}
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// list reads values in parentheses.
func (p *filterParser) list(f Field) (vs []sender.Value, err error) {
	for before := tokenKind('('); before == '(' || p.token.kind == ','; before = ',' {
		if err := p.take(before); err != nil {
			return nil, err
		}
		v, err := p.value(f)
		if err != nil {
			return nil, err
		}
		vs = append(vs, v)
	}
	return vs, p.take(')')
}

func (p *filterParser) value(f Field) (v sender.Value, err error) {
	t := p.token
	if t.kind != word && t.kind != quoted {
		return v, p.wrong(t, "there should be a value and not %s", t)
	}
	if p.values++; p.values > maxValues {
		return v, p.wrong(t, "this is too much for one request: a filter can have %d values", maxValues)
	}
	switch f.Type {
	case TimeField:
		// Stricter than time.Parse. The zero time, of year 1, stands for none.
		err := v.At.UnmarshalText([]byte(t.text))
		v.At = v.At.UTC()
		if year := v.At.Year(); err != nil || year <= 1 || year > 9999 {
			return v, p.wrong(t, "%s is not a time; write it as in %s (RFC 3339)", t, time.UnixMilli(1772366400000).UTC().Format(time.RFC3339))
		}
	case BooleanField:
		if t.text != "true" && t.text != "false" {
			return v, p.wrong(t, "%s is neither true nor false", t)
		}
		v.Text = t.text
	default:
		v.Text = t.text
	}
	return v, p.next()
}

func filterable(fields Fields) (names []string) {
	for name, f := range fields {
		if len(f.Ops) > 0 {
			names = append(names, name)
		}
	}
	return names
}

func operators(f Field) string {
	ops := make([]string, len(f.Ops))
	for i, op := range f.Ops {
		ops[i] = string(op)
	}
	slices.Sort(ops)
	return strings.Join(ops, ", ")
}

// offer says what can be used instead.
func offer(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	slices.Sort(names)
	return "use " + strings.Join(names, ", ")
}

// found shows what a client sent.
func found(s string) string { return strconv.Quote(Short(s)) }

// wrong says where in a parameter something is wrong, in characters from 1.
func wrong(parameter, text string, at int, format string, args ...any) error {
	e := sender.Errorf(sender.Invalid, parameter, format, args...)
	e.Detail = parameter + ", at character " + strconv.Itoa(1+utf8.RuneCountInString(text[:at])) + ": " + e.Detail + "."
	return e
}
