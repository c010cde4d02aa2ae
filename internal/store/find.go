package store

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

// Bounds of an expression: more would reach the engines' own, and be answered as if
// it was our fault.
const (
	maxNodes  = 100
	maxValues = 1000
)

// collection is a table of tenants' things that can be found by a [sender.Query].
//
// What a client has sent reaches the database as parameters alone. A statement is
// made of the words in this file: columns by the names of their fields, operators by
// the table below.
type collection[Row any] struct {
	table   string
	columns string // that are read
	dest    func(*Row) []any
	fields  map[string]column // that can be filtered and sorted by
}

// column is where a field is stored.
type column struct {
	name string
	holds
}

// holds is what a column does.
type holds int

const (
	// lowerText is a text in lower case, as Go makes it: the engines differ in what
	// they call lower case. On PostgreSQL its collation is "C". Absent: empty.
	lowerText holds = iota
	// instant is a time in microseconds. Absent: 0.
	instant
	// truth is a boolean, and never absent.
	truth
)

var addressCollection = collection[db.Address]{
	table:   "addresses",
	columns: "tenant_id, id, mailbox, domain, spelling, status, evidence, code, created_at, updated_at, by_domain",
	dest: func(a *db.Address) []any {
		return []any{
			&a.TenantID, &a.ID, &a.Mailbox, &a.Domain, &a.Spelling, &a.Status, &a.Evidence, &a.Code, &a.CreatedAt, &a.UpdatedAt, &a.ByDomain,
		}
	},
	fields: map[string]column{"email": {"mailbox", lowerText}},
}

// find reads the rows of a page, and counts all that match where it is asked to.
func (c collection[Row]) find(ctx context.Context, conn connection, tenant sender.ID, q sender.Query) (rows []Row, total int, err error) {
	if q.Limit < 0 || q.Offset < 0 {
		return nil, 0, sender.Errorf(sender.Invalid, "offset", "The offset and the limit of a query must not be negative.")
	}
	where := clause{fields: c.fields}
	where.add("WHERE tenant_id = ").parameter(string(tenant))
	if q.Where != nil {
		where.add(" AND ")
		if err := where.expression(q.Where); err != nil {
			return nil, 0, err
		}
	}
	page := clause{fields: c.fields, args: slices.Clone(where.args)}
	page.add(where.String())
	if err := page.order(q.Sort); err != nil {
		return nil, 0, err
	}
	page.add(" LIMIT ").parameter(int64(q.Limit)).add(" OFFSET ").parameter(int64(q.Offset))

	do := func(conn connection) error {
		if q.Count {
			if err := scan(ctx, conn, "SELECT count(*) FROM "+c.table+" "+where.String(), where.args, []any{&total}, func() {}); err != nil {
				return err
			}
		}
		if q.Limit == 0 {
			return nil
		}
		var row Row
		return scan(ctx, conn, "SELECT "+c.columns+" FROM "+c.table+" "+page.String(), page.args, c.dest(&row), func() { rows = append(rows, row) })
	}
	if q.Count && q.Limit > 0 {
		err = conn.snapshot(ctx, do)
	} else {
		err = do(conn)
	}
	return rows, total, broken("find "+c.table, err)
}

// scan calls got for every row, when dest has what is in it.
func scan(ctx context.Context, conn connection, query string, args, dest []any, got func()) error {
	rows, err := conn.once(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		got()
	}
	return rows.Err()
}

// clause is the end of a statement, from WHERE, and what goes with it.
type clause struct {
	strings.Builder
	args          []any
	fields        map[string]column
	nodes, values int
}

func (c *clause) add(sql string) *clause {
	c.WriteString(sql)
	return c
}

func (c *clause) parameter(v any) *clause {
	c.args = append(c.args, v)
	return c.add("$" + strconv.Itoa(len(c.args)))
}

// order sorts by fields, then by id. A field that comes again changes nothing.
func (c *clause) order(sorts []sender.Sort) error {
	c.add(" ORDER BY ")
	var done []string
	for _, s := range sorts {
		f, ok := c.fields[s.Field]
		if !ok {
			return sender.Errorf(sender.Invalid, "sorters", "%s is not a field to sort by.", quote(s.Field))
		}
		if slices.Contains(done, s.Field) {
			continue
		}
		done = append(done, s.Field)
		c.add(f.name)
		if s.Descending {
			c.add(" DESC")
		}
		c.add(", ")
	}
	c.add("id")
	return nil
}

func badFilter(format string, args ...any) error {
	return sender.Errorf(sender.Invalid, "filters", format, args...)
}

// expression adds a condition that can stand between others.
func (c *clause) expression(e *sender.Expr) error {
	if c.nodes++; c.nodes > maxNodes { // bounds the depth too
		return badFilter("At most %d conditions can be combined.", maxNodes)
	}
	if e == nil {
		return badFilter("A condition is missing.")
	}
	if c.values += len(e.Values); c.values > maxValues {
		return badFilter("A filter can have %d values.", maxValues)
	}
	switch e.Op {
	case sender.And, sender.Or:
		if len(e.Args) < 2 {
			return badFilter("%s joins two conditions or more.", e.Op)
		}
		between := " AND "
		if e.Op == sender.Or {
			between = " OR "
		}
		return c.joined(e.Args, between)
	case sender.Not:
		if len(e.Args) != 1 {
			return badFilter("not takes one condition.")
		}
		c.add("NOT ")
		return c.joined(e.Args, "")
	default:
		f, ok := c.fields[e.Field]
		if !ok {
			return badFilter("%s is not a field to filter by.", quote(e.Field))
		}
		return c.comparison(f, e)
	}
}

// joined adds conditions in parentheses.
func (c *clause) joined(es []*sender.Expr, between string) error {
	c.add("(")
	for i, e := range es {
		if i > 0 {
			c.add(between)
		}
		if err := c.expression(e); err != nil {
			return err
		}
	}
	c.add(")")
	return nil
}

// inSQL are the operators that are SQL's, too.
var inSQL = map[sender.Op]string{sender.Eq: "=", sender.Ne: "<>", sender.Gt: ">", sender.Ge: ">=", sender.Lt: "<", sender.Le: "<="}

func (c *clause) comparison(f column, e *sender.Expr) error {
	want := 1
	switch e.Op {
	case sender.Present, sender.IsNull:
		if len(e.Values) == 0 {
			c.presence(f, e.Op == sender.Present)
			return nil
		}
		want = 0
	case sender.In:
		want = max(1, len(e.Values))
	}
	if len(e.Values) != want {
		return badFilter("%s takes another number of values than %d.", quote(string(e.Op)), len(e.Values))
	}
	switch f.holds {
	case lowerText:
		return c.text(f, e)
	case instant:
		return c.instant(f, e)
	default:
		return c.truth(f, e)
	}
}

func (c *clause) presence(f column, there bool) {
	none := "''"
	switch f.holds {
	case instant:
		none = "0"
	case truth:
		c.constant(there)
		return
	}
	is := " = "
	if there {
		is = " <> "
	}
	c.add(f.name).add(is).add(none)
}

func (c *clause) constant(is bool) {
	if is {
		c.add("TRUE")
	} else {
		c.add("FALSE")
	}
}

func (c *clause) in(f column, values []any) {
	if len(values) == 0 {
		c.constant(false)
		return
	}
	c.add(f.name).add(" IN (")
	for i, v := range values {
		if i > 0 {
			c.add(", ")
		}
		c.parameter(v)
	}
	c.add(")")
}

func unknownOperator(e *sender.Expr) error {
	return badFilter("%s does not take the operator %s.", e.Field, quote(string(e.Op)))
}

// text compares octets, with values made lower case as the column is. LIKE has
// wildcards, and on SQLite letter cases of its own; and the engines share no
// function that finds a text in a text. But taking it out changes what has it.
func (c *clause) text(f column, e *sender.Expr) error {
	var values []any
	for _, v := range e.Values {
		values = append(values, strings.ToLower(storableText(v.Text)))
	}
	switch sql, ok := inSQL[e.Op]; {
	case ok:
		c.add(f.name).add(" ").add(sql).add(" ").parameter(values[0])
	case e.Op == sender.In:
		c.in(f, values)
	case e.Op == sender.Co && values[0] == "":
		c.constant(true)
	case e.Op == sender.Co:
		c.add("replace(").add(f.name).add(", ").parameter(values[0]).add(", '') <> ").add(f.name)
	case e.Op == sender.Sw:
		c.add("substr(").add(f.name).add(", 1, length(").parameter(values[0]).add(")) = ").parameter(values[0])
	default:
		return unknownOperator(e)
	}
	return nil
}

// instant compares with the microseconds of the column. A value between two of
// them is equal to none. What is absent is neither before nor after anything.
func (c *clause) instant(f column, e *sender.Expr) error {
	var values []any
	between := false
	for _, v := range e.Values {
		if v.At.IsZero() {
			return badFilter("%s is a time; compare it with one.", e.Field)
		}
		if between = v.At.Nanosecond()%1000 != 0; !between || e.Op != sender.In {
			values = append(values, v.At.UnixMicro()) // the one before
		}
	}
	op := e.Op
	if between {
		switch op {
		case sender.Ge:
			op = sender.Gt
		case sender.Lt:
			op = sender.Le
		case sender.Eq, sender.Ne:
			c.constant(op == sender.Ne)
			return nil
		}
	}
	sql, ok := inSQL[op]
	if !ok && op != sender.In {
		return unknownOperator(e)
	}
	if op == sender.Ne {
		c.add("NOT ")
		sql = inSQL[sender.Eq]
	}
	c.add("(").add(f.name).add(" <> 0 AND ")
	if op == sender.In {
		c.in(f, values)
	} else {
		c.add(f.name).add(" ").add(sql).add(" ").parameter(values[0])
	}
	c.add(")")
	return nil
}

func (c *clause) truth(f column, e *sender.Expr) error {
	var values []any
	for _, v := range e.Values {
		if v.Text != "true" && v.Text != "false" {
			return badFilter("%s is true or false, and never %s.", e.Field, quote(v.Text))
		}
		values = append(values, v.Text == "true")
	}
	switch e.Op {
	case sender.Eq, sender.Ne:
		c.add(f.name).add(" ").add(inSQL[e.Op]).add(" ").parameter(values[0])
	case sender.In:
		c.in(f, values)
	default:
		return unknownOperator(e)
	}
	return nil
}
