package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/postseal/postseal/internal/sender"
)

// Reasons not to open a database, for errors.Is.
var (
	// ErrNeedsMigration: the schema is older than this program, or not there at all.
	ErrNeedsMigration = errors.New("the database needs a migration")
	// ErrNewer: a newer program has changed the schema.
	ErrNewer = errors.New("the database is newer than this program")
	// ErrInUse: another process serves the data file.
	ErrInUse = errors.New("the database is in use")
)

// Config says what to open; DSN, SealKeys and Log must be set.
type Config struct {
	// DSN is a path of a SQLite file, with or without "sqlite:" before it, or a
	// postgres:// or postgresql:// URL. A SQLite file is made if it is not there; its
	// directory must be.
	DSN      string
	SealKeys *Keyring
	Log      *slog.Logger
	// Shared opens a SQLite file without claiming it, for commands that look or write
	// once beside the process that serves it.
	Shared bool
	// Migrate brings the schema up to this program's while opening.
	Migrate bool
}

// Enqueuer hands tasks to the job engine inside the transaction that asked for
// them. On SQLite the transaction is that of several callers, and the only
// connection: nothing but tx may be used.
type Enqueuer interface {
	InsertSQL(ctx context.Context, tx *sql.Tx, tasks []sender.Task) error
	InsertPgx(ctx context.Context, tx pgx.Tx, tasks []sender.Task) error
}

// Store is a [sender.Store], and by [Store.OTP] an [otp.Store]. It is safe for
// concurrent use.
type Store struct {
	reader
	engine engine
	log    *slog.Logger

	mu     sync.Mutex
	cursor string    // the tenant that was served last by ClaimMessages
	swept  time.Time // the day for which older counts of recipients are gone
}

var _ sender.Store = (*Store)(nil)

// engine is what SQLite and PostgreSQL do each in their own way.
type engine interface {
	// update runs do in a transaction that ends with the tasks do has collected.
	update(ctx context.Context, s *Store, do func(*tx) error) error
	setEnqueuer(Enqueuer)
	read() connection
	schema
	exclusive() bool
	writer() *sql.DB     // nil on PostgreSQL
	pool() *pgxpool.Pool // nil on SQLite
	close() error
}

// Open opens a database whose schema is this program's; see [Config.Migrate],
// [ErrNeedsMigration], [ErrNewer] and [ErrInUse].
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.DSN == "" || c.SealKeys == nil || c.Log == nil {
		return nil, errors.New("store: Config needs DSN, SealKeys and Log")
	}
	var e engine
	var err error
	if strings.HasPrefix(c.DSN, "postgres://") || strings.HasPrefix(c.DSN, "postgresql://") {
		e, err = openPostgres(ctx, c)
	} else {
		e, err = openSQLite(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	if err := prepareSchema(ctx, e, c.Migrate); err != nil {
		_ = e.close() // the first error is the one to tell
		return nil, err
	}
	return &Store{reader: newReader(e.read(), c.SealKeys), engine: e, log: c.Log}, nil
}

// Migrate opens the database with c.Migrate set and closes it.
func Migrate(ctx context.Context, c Config) error {
	c.Migrate = true
	s, err := Open(ctx, c)
	if err != nil {
		return err
	}
	return s.Close()
}

// Close waits for writes that are under way and closes the database.
func (s *Store) Close() error { return s.engine.close() }

// SetEnqueuer says who takes tasks; before it is called they are dropped. It must
// not be called while there are writers.
func (s *Store) SetEnqueuer(e Enqueuer) { s.engine.setEnqueuer(e) }

// Writer is the one writing connection to SQLite, to be shared with the job
// engine; nil on PostgreSQL. Who holds it keeps every writer waiting.
func (s *Store) Writer() *sql.DB { return s.engine.writer() }

// Pool is the connections to PostgreSQL; nil on SQLite.
func (s *Store) Pool() *pgxpool.Pool { return s.engine.pool() }

// Exclusive implements [sender.Store].
func (s *Store) Exclusive() bool { return s.engine.exclusive() }

// Update implements [sender.Store].
func (s *Store) Update(ctx context.Context, do func(sender.Tx) error) error {
	return parentGone(s.engine.update(ctx, s, func(t *tx) error { return do(t) }))
}

// parentGone answers NotFound where something was written below what another
// transaction has just deleted, which only the foreign key saw.
func parentGone(err error) error {
	if !foreignKey(err) {
		return err
	}
	gone := sender.Errorf(sender.NotFound, "", "The requested environment was not found.")
	gone.Err = err
	return gone
}

// foreignKey reports whether a foreign key refused a statement (SQLSTATE 23503).
func foreignKey(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23503"
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// Secret implements [sender.Store].
func (s *Store) Secret(ctx context.Context, name string, n int) ([]byte, error) {
	at := secretPlace(name)
	sealed, err := s.q.Secret(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		fresh := make([]byte, n)
		_, _ = rand.Read(fresh) // never fails (crypto/rand)
		err = s.engine.update(ctx, s, func(t *tx) error { return t.q.InsertSecret(ctx, name, s.keys.seal(fresh, at)) })
		if err == nil { // whoever was first has won
			sealed, err = s.q.Secret(ctx, name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store: secret %s: %w", quote(name), err)
	}
	secret, err := s.keys.open(sealed, at)
	if err == nil && len(secret) != n {
		err = fmt.Errorf("store: the secret %s has %d octets, not the %d asked for", quote(name), len(secret), n)
	}
	return secret, err
}

// QueueDepth implements [sender.Store].
func (s *Store) QueueDepth(ctx context.Context, most int) (int, error) {
	n, err := s.q.QueueDepth(ctx, int64(most))
	return int(n), broken("count the queue", err)
}

// NextDue implements [sender.Store].
func (s *Store) NextDue(ctx context.Context) (time.Time, error) {
	due, err := s.q.NextDue(ctx)
	return moment(due), broken("read the queue", err)
}
