package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/postseal/postseal/internal/store/db"
)

// sqlHandle is what *sql.DB and *sql.Tx have in common.
type sqlHandle interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// onSQL runs the queries that sqlc made for pgx on database/sql. The SQLite
// driver binds $1, $2 by number, as PostgreSQL does.
type onSQL struct {
	handle sqlHandle
	// ctx, when set, is used instead of that of each call: a transaction shared by
	// several callers must not be rolled back because one of them gave up.
	ctx context.Context
}

var _ db.DBTX = onSQL{}

func (o onSQL) context(ctx context.Context) context.Context {
	if o.ctx != nil {
		return o.ctx
	}
	return ctx
}

func (o onSQL) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	r, err := o.handle.ExecContext(o.context(ctx), query, storable(args)...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	n, err := r.RowsAffected()
	if n == 0 {
		return pgconn.CommandTag{}, err
	}
	return pgconn.NewCommandTag(fmt.Sprint("DONE ", n)), err
}

func (o onSQL) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	rows, err := o.handle.QueryContext(o.context(ctx), query, storable(args)...)
	if err != nil {
		return nil, err
	}
	return sqlRows{rows}, nil
}

func (o onSQL) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return sqlRow{o.handle.QueryRowContext(o.context(ctx), query, storable(args)...)}
}

type sqlRow struct{ row *sql.Row }

func (r sqlRow) Scan(dest ...any) error {
	err := r.row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return pgx.ErrNoRows
	}
	return err
}

// sqlRows has the methods of pgx.Rows that generated code uses; the others know nothing.
type sqlRows struct{ rows *sql.Rows }

func (r sqlRows) Next() bool             { return r.rows.Next() }
func (r sqlRows) Scan(dest ...any) error { return r.rows.Scan(dest...) }
func (r sqlRows) Err() error             { return r.rows.Err() }
func (r sqlRows) Close()                 { _ = r.rows.Close() } // Err has what went wrong

func (r sqlRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (r sqlRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (r sqlRows) Values() ([]any, error)                       { return nil, errors.ErrUnsupported }
func (r sqlRows) RawValues() [][]byte                          { return nil }
func (r sqlRows) Conn() *pgx.Conn                              { return nil }
func (r sqlRows) TypeMap() *pgtype.Map                         { return nil }

// onPgx is pgx with the arguments made storable.
type onPgx struct{ db.DBTX }

func (o onPgx) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	return o.DBTX.Exec(ctx, query, storable(args)...)
}

func (o onPgx) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return o.DBTX.Query(ctx, query, storable(args)...)
}

func (o onPgx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return o.DBTX.QueryRow(ctx, query, storable(args)...)
}

// storable makes text of every string argument. A next hop's reply or a path of
// a request may hold anything, and PostgreSQL would abort the transaction over it.
func storable(args []any) []any {
	bad := func(a any) bool {
		s, ok := a.(string)
		return ok && (!utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0)
	}
	if !slices.ContainsFunc(args, bad) {
		return args
	}
	args = slices.Clone(args)
	for i, a := range args {
		if bad(a) {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(a.(string), "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return args
}
