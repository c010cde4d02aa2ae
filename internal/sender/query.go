package sender

import "time"

// Query says which things of a collection are wanted, in what order, and which part
// of them.
type Query struct {
	Where  *Expr // nil: all
	Sort   []Sort
	Offset int
	Limit  int  // at most so many; 0: none at all, as it is for counting
	Count  bool // also how many match in all
}

// Sort is one field to sort by.
type Sort struct {
	Field      string
	Descending bool
}

// Expr is an expression over the fields of a thing. It says what is meant, and never
// how a database is asked: stores compile it to statements with parameters.
//
//	And, Or   Args, two or more
//	Not       Args, one
//	a Compare Field and Values: one, but for In (one or more) and for Present and
//	          IsNull (none)
type Expr struct {
	Op     Op
	Args   []*Expr
	Field  string
	Values []Value
}

// Op is an operator of an Expr.
type Op string

// The operators, in the words of SailPoint's collection grammar. Texts are compared
// without letter case.
const (
	And     Op = "and"
	Or      Op = "or"
	Not     Op = "not"
	Eq      Op = "eq"
	Ne      Op = "ne"
	Gt      Op = "gt"
	Ge      Op = "ge"
	Lt      Op = "lt"
	Le      Op = "le"
	Co      Op = "co" // contains
	Sw      Op = "sw" // starts with
	In      Op = "in"
	Present Op = "pr"
	IsNull  Op = "isnull"
)

// Value is a text, or a time where At is set: what the field holds decides which.
type Value struct {
	Text string
	At   time.Time
}
