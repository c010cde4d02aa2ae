package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

// maxReaders bounds the reading connections; each has a cache of pages of its own.
const maxReaders = 4

// sqliteEngine is one data file in WAL mode: one connection that writes, behind
// the committer, and some that only read.
type sqliteEngine struct {
	writes    *sql.DB
	reads     *sql.DB
	committer *committer
	shared    bool
	unlock    func()
}

func openSQLite(ctx context.Context, c Config) (engine, error) {
	path := strings.TrimPrefix(c.DSN, "sqlite:")
	if strings.Contains(path, "://") || strings.HasPrefix(path, "file:") || strings.HasPrefix(path, ":memory:") || strings.ContainsRune(path, '?') {
		return nil, fmt.Errorf("store: %s is not a database; give the path of a file, or a postgres:// URL", quote(redact(c.DSN)))
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", quote(path), err)
	}
	// SQLite would make the file readable for everybody.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: the database can't be opened; its directory must exist and be writable: %w", err)
	}
	_ = f.Close() // nothing was written
	e := &sqliteEngine{shared: c.Shared, unlock: func() {}}
	if !c.Shared {
		if e.unlock, err = lockFile(path); err != nil {
			return nil, err
		}
	}
	// FULL, since an accepted message must survive a power cut; the committer makes it cheap.
	if e.writes, err = openFile(path, 1, "busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"journal_size_limit(67108864)", "temp_store(MEMORY)", "cache_size(-32768)"); err == nil {
		err = e.writes.PingContext(ctx) // switches to WAL before a reader comes
	}
	if err == nil {
		e.reads, err = openFile(path, maxReaders, "busy_timeout(5000)", "query_only(1)", "temp_store(MEMORY)", "cache_size(-8192)")
	}
	if err != nil {
		_ = e.close() // err is the one to tell
		return nil, fmt.Errorf("store: %s can't be opened as a SQLite database: %w", quote(path), err)
	}
	e.committer = &committer{db: e.writes}
	return e, nil
}

func openFile(path string, conns int, pragmas ...string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": pragmas, "_txlock": {"immediate"}, "_dqs": {"0"}}.Encode()}
	connector, err := newConnector(u.String())
	if err != nil {
		return nil, err
	}
	d := sql.OpenDB(connector)
	d.SetMaxOpenConns(conns)
	d.SetMaxIdleConns(conns)
	return d, nil
}

func (e *sqliteEngine) update(ctx context.Context, s *Store, do func(*tx) error) error {
	return e.committer.update(ctx, func(ctx context.Context, conn *sql.Tx) ([]sender.Task, error) {
		r := newReader(onSQL{conn, ctx}, s.keys)
		t := &tx{reader: r, dialect: sqliteDialect{r.q}, store: s}
		err := do(t)
		return t.tasks, err
	})
}

func (e *sqliteEngine) setEnqueuer(q Enqueuer) { e.committer.enqueue = q.InsertSQL }

func (e *sqliteEngine) read() connection    { return onSQL{handle: e.reads} }
func (e *sqliteEngine) exclusive() bool     { return !e.shared }
func (e *sqliteEngine) writer() *sql.DB     { return e.writes }
func (e *sqliteEngine) pool() *pgxpool.Pool { return nil }

func (e *sqliteEngine) close() error {
	if e.committer != nil {
		e.committer.close()
	}
	var errs []error
	for _, d := range []*sql.DB{e.reads, e.writes} { // the writer last: it puts the WAL into the file
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	e.unlock()
	return errors.Join(errs...)
}

func (e *sqliteEngine) version(ctx context.Context) (int64, error) {
	var n int64
	err := e.writes.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`).Scan(&n)
	if err != nil || n == 0 {
		return 0, err
	}
	err = e.writes.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&n)
	return n, err
}

func (e *sqliteEngine) migrations() (goose.Dialect, string, *sql.DB, []goose.ProviderOption, func(), error) {
	return goose.DialectSQLite3, "migrations/sqlite", e.writes, nil, func() {}, nil
}

// sqliteDialect needs no locks: the one connection that writes is the lock.
type sqliteDialect struct{ q *db.Queries }

func (d sqliteDialect) lockTenant(ctx context.Context, id string) error {
	_, err := d.q.Tenant(ctx, id)
	return err
}

func (d sqliteDialect) lockDomain(context.Context, string, string) error { return nil }

func (d sqliteDialect) lockUser(context.Context, string, string) error { return nil }

func (d sqliteDialect) claimDomains(ctx context.Context, now, until int64, limit int) ([]db.Domain, error) {
	var all []db.Domain
	for i, due := range []func(ctx context.Context, now, most int64) ([]db.Domain, error){d.q.DueDomains, d.q.NewestDueDomains} {
		rows, err := due(ctx, now, int64(claimHalf(limit, i, len(all))))
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if _, err := d.q.PutOffDomain(ctx, until, rows[i].TenantID, rows[i].ID); err != nil {
				return nil, err
			}
			rows[i].NextCheckAt = until
		}
		all = append(all, rows...)
	}
	return all, nil
}

func (d sqliteDialect) claimMessages(ctx context.Context, tenants []string, builtin bool, share int, l lease) ([]claimed, error) {
	var all []claimed
	for _, tenant := range tenants {
		p := db.ClaimTenantParams{Owner: l.owner, Until: l.until, Now: l.now, TenantID: tenant, Most: int64(share)}
		claim := d.q.ClaimTenant
		if builtin {
			claim = func(ctx context.Context, p db.ClaimTenantParams) ([]db.Message, error) {
				return d.q.ClaimTenantBuiltin(ctx, db.ClaimTenantBuiltinParams(p))
			}
		}
		rows, err := claim(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			body, err := d.q.Body(ctx, tenant, row.ID)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return nil, err
			}
			all = append(all, claimed{row, body})
		}
	}
	return all, nil
}
