package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

const (
	// defaultConns is the size of the pool where the URL has no pool_max_conns.
	defaultConns = 16
	// maxTries bounds how often a transaction is run that met another one.
	maxTries = 6
)

// postgresEngine is a pool of connections; several processes may use the database.
type postgresEngine struct {
	conns   *pgxpool.Pool
	enqueue func(context.Context, pgx.Tx, []sender.Task) error
}

func openPostgres(ctx context.Context, c Config) (engine, error) {
	config, err := pgxpool.ParseConfig(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err) // pgx leaves the password out
	}
	if !strings.Contains(c.DSN, "pool_max_conns=") {
		config.MaxConns = max(config.MaxConns, defaultConns)
	}
	conns, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := conns.Ping(ctx); err != nil {
		conns.Close()
		return nil, fmt.Errorf("store: PostgreSQL can't be reached: %w", err)
	}
	return &postgresEngine{conns: conns}, nil
}

// update retries what PostgreSQL ended because it met another transaction.
func (e *postgresEngine) update(ctx context.Context, s *Store, do func(*tx) error) error {
	for try := 1; ; try++ {
		err := e.once(ctx, s, do)
		if try == maxTries || !met(err) {
			return err
		}
		wait := time.Duration(1+rand.IntN(4<<try)) * time.Millisecond
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *postgresEngine) once(ctx context.Context, s *Store, do func(*tx) error) error {
	conn, err := e.conns.Begin(ctx)
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	// Once a COMMIT is on its way, giving up would only hide what became of it. A
	// rollback is not to be skipped either. Both end with the connection at worst.
	end := func(how func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		return how(ctx)
	}
	defer func() { _ = end(conn.Rollback) }() // after a commit it does nothing; runs on panic too
	t := &tx{reader: newReader(onPgx{conn}, s.keys), dialect: postgresDialect{onPgx{conn}}, store: s}
	if err := do(t); err != nil {
		return err
	}
	if tasks := distinct(t.tasks); len(tasks) > 0 && e.enqueue != nil {
		if err := e.enqueue(ctx, conn, tasks); err != nil {
			return fmt.Errorf("store: enqueue: %w", err)
		}
	}
	if err := end(conn.Commit); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}

// met reports a deadlock or a serialization failure (SQLSTATE 40P01 and 40001).
func met(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40P01" || e.Code == "40001")
}

func (e *postgresEngine) setEnqueuer(q Enqueuer) { e.enqueue = q.InsertPgx }
func (e *postgresEngine) read() connection       { return onPgx{e.conns} }
func (e *postgresEngine) exclusive() bool        { return false }
func (e *postgresEngine) writer() *sql.DB        { return nil }
func (e *postgresEngine) pool() *pgxpool.Pool    { return e.conns }

func (e *postgresEngine) close() error {
	e.conns.Close()
	return nil
}

func (e *postgresEngine) version(ctx context.Context) (int64, error) {
	var there bool
	err := e.conns.QueryRow(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	var n int64
	err = e.conns.QueryRow(ctx, `SELECT COALESCE(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&n)
	return n, err
}

func (e *postgresEngine) migrations() (goose.Dialect, string, *sql.DB, []goose.ProviderOption, func(), error) {
	// Nodes that start together take turns.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return "", "", nil, nil, nil, err
	}
	conn := stdlib.OpenDBFromPool(e.conns)
	return goose.DialectPostgres, "migrations/postgres", conn, []goose.ProviderOption{goose.WithSessionLocker(locker)}, func() { _ = conn.Close() }, nil
}

type postgresDialect struct{ conn db.DBTX }

// lockTenant leaves room for the share lock that a foreign key's check takes.
func (d postgresDialect) lockTenant(ctx context.Context, id string) error {
	return d.conn.QueryRow(ctx, `SELECT id FROM tenants WHERE id = $1 FOR NO KEY UPDATE`, id).Scan(&id)
}

// lockDomain locks the name and not a row: the domain may not be registered.
func (d postgresDialect) lockDomain(ctx context.Context, tenant, name string) error {
	return d.lock(ctx, "domain "+tenant+" "+name)
}

// lockUser locks the id and not the row, which is written only where counts change.
func (d postgresDialect) lockUser(ctx context.Context, tenant, id string) error {
	return d.lock(ctx, "user "+tenant+" "+id)
}

// lock holds a name until the end of the transaction.
func (d postgresDialect) lock(ctx context.Context, name string) error {
	_, err := d.conn.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, name)
	return err
}

// The columns of rows that are read by position, in the order of package db's
// structs. They are named, since an older node must go on while a newer schema has
// more of them.
const (
	domainColumns = `d.tenant_id, d.id, d.name, d.spelling, d.tokens, d.facets, d.proven_at, d.next_check_at, d.version, d.created_at, d.updated_at, d.mail_from,
    d.absent_at, d.holds`
	messageColumns = `m.tenant_id, m.id, m.kind, m.author, m.recipient, m.region, m.state, m.reason, m.once, m.attempts, m.in_doubt, m.next_attempt_at,
    m.expires_at, m.created_at, m.done_at, m.idempotency_key, m.request_hash, m.actor, m.lease_owner, m.lease_until, m.reply_to, m.template_id, m.locale, m.about, m.builtin`
)

const claimDomains = `
WITH due AS (
    SELECT tenant_id, id, next_check_at FROM domains
    WHERE next_check_at > 0 AND next_check_at <= $1
    ORDER BY next_check_at %[1]s LIMIT $3 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE domains d SET next_check_at = $2 FROM due
    WHERE d.tenant_id = due.tenant_id AND d.id = due.id
    RETURNING ` + domainColumns + `, due.next_check_at AS was
)
SELECT * FROM claimed ORDER BY was %[1]s`

func (d postgresDialect) claimDomains(ctx context.Context, now, until int64, limit int) ([]db.Domain, error) {
	type due struct {
		db.Domain
		Was int64
	}
	var all []db.Domain
	for i, order := range []string{"ASC", "DESC"} {
		rows, err := d.conn.Query(ctx, fmt.Sprintf(claimDomains, order), now, until, claimHalf(limit, i, len(all)))
		if err != nil {
			return nil, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[due])
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			all = append(all, x.Domain)
		}
	}
	return all, nil
}

const claimMessages = `
WITH turn AS (
    SELECT c.tenant_id, c.id FROM unnest(CAST($1 AS TEXT[])) AS t (id) CROSS JOIN LATERAL (
        SELECT m.tenant_id, m.id FROM messages m
        WHERE m.state = 'queued' AND m.tenant_id = t.id AND m.next_attempt_at <= $2
        ORDER BY m.next_attempt_at, m.id LIMIT $3 FOR UPDATE SKIP LOCKED
    ) c
), claimed AS (
    UPDATE messages m SET state = 'sending', lease_owner = $4, lease_until = $5 FROM turn
    WHERE m.tenant_id = turn.tenant_id AND m.id = turn.id
    RETURNING ` + messageColumns + `
)
SELECT claimed.*, b.body FROM claimed LEFT JOIN bodies b ON b.tenant_id = claimed.tenant_id AND b.message_id = claimed.id`

var claimBuiltin = strings.Replace(claimMessages, "m.state = 'queued'", "m.state = 'queued' AND m.builtin", 1)

func (d postgresDialect) claimMessages(ctx context.Context, tenants []string, builtin bool, share int, l lease) ([]claimed, error) {
	statement := claimMessages
	if builtin {
		statement = claimBuiltin
	}
	rows, err := d.conn.Query(ctx, statement, tenants, l.now, share, l.owner, l.until)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[claimed])
}
