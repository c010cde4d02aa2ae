package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postseal/postseal/internal/store/db"
)

// sqlHandle is what *sql.DB and *sql.Tx have in common.
type sqlHandle interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// connection runs the queries that sqlc made, and those that are made of what a
// client asks for.
type connection interface {
	db.DBTX
	// once runs a query that need not come again, and so is not kept prepared: there
	// are as many texts of such queries as clients like.
	once(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	// snapshot runs do with a connection on which all queries see the same rows. A
	// transaction is its own: on PostgreSQL each query of it sees what is committed.
	snapshot(ctx context.Context, do func(connection) error) error
}

// onSQL runs the queries that sqlc made for pgx on database/sql. The SQLite
// driver binds $1, $2 by number, as PostgreSQL does.
type onSQL struct {
	handle sqlHandle
	// ctx, when set, is used instead of that of each call: a transaction shared by
	// several callers must not be rolled back because one of them gave up.
	ctx context.Context
}

var _ connection = onSQL{}

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

func (o onSQL) once(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return o.Query(ctx, unkept+query, args...)
}

func (o onSQL) snapshot(ctx context.Context, do func(connection) error) error {
	d, ok := o.handle.(*sql.DB)
	if !ok {
		return do(o)
	}
	// Read-only, it does not take the lock of writers.
	tx, err := d.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return do(onSQL{handle: tx})
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

var _ connection = onPgx{}

func (o onPgx) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	return o.DBTX.Exec(ctx, query, storable(args)...)
}

func (o onPgx) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return o.DBTX.Query(ctx, query, storable(args)...)
}

func (o onPgx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return o.DBTX.QueryRow(ctx, query, storable(args)...)
}

func (o onPgx) once(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return o.DBTX.Query(ctx, query, append([]any{pgx.QueryExecModeExec}, storable(args)...)...)
}

func (o onPgx) snapshot(ctx context.Context, do func(connection) error) error {
	pool, ok := o.DBTX.(*pgxpool.Pool)
	if !ok {
		return do(o)
	}
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, pool, options, func(tx pgx.Tx) error { return do(onPgx{tx}) })
}

// storable makes text of every string argument. A next hop's reply or a path of
// a request may hold anything, and PostgreSQL would abort the transaction over it.
func storable(args []any) []any {
	bad := func(a any) bool {
		s, ok := a.(string)
		return ok && s != storableText(s)
	}
	if !slices.ContainsFunc(args, bad) {
		return args
	}
	args = slices.Clone(args)
	for i, a := range args {
		if bad(a) {
			args[i] = storableText(a.(string))
		}
	}
	return args
}

func storableText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
