package app

import (
	"context"
	"log/slog"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/jobs"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

// migrate brings a database to the schema of this program: the store's tables,
// then River's.
func migrate(ctx context.Context, dsn string, keys *store.Keyring, log *slog.Logger) error {
	if err := store.Migrate(ctx, store.Config{DSN: dsn, SealKeys: keys, Log: log}); err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{DSN: dsn, SealKeys: keys, Log: log})
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // River's tables are written by then
	e, err := jobs.New(jobs.Config{Writer: s.Writer(), Pool: s.Pool(), Log: log})
	if err != nil {
		return err
	}
	return e.Migrate(ctx)
}

// GenerateKey returns a line for a file of key-encryption keys.
func GenerateKey() string { return store.GenerateKey() }

// WithAuth gives do what manages credentials, straight on the database: how the
// first credential comes to be. The server may be running meanwhile; it learns of a
// revocation within two seconds.
func WithAuth(ctx context.Context, c Config, log *slog.Logger, do func(*auth.Auth) error) error {
	return withStore(ctx, c, log, func(s *store.Store) error {
		signing, err := s.Secret(ctx, "access-token", 32)
		if err != nil {
			return err
		}
		a, err := auth.New(auth.Config{Store: s, SigningKey: signing, Log: log})
		if err != nil {
			return err
		}
		return do(a)
	})
}

// WithStore gives do the database, beside a server that may be running.
func WithStore(ctx context.Context, c Config, log *slog.Logger, do func(sender.Store) error) error {
	return withStore(ctx, c, log, func(s *store.Store) error { return do(s) })
}

// Resealed is what Reseal did to one column of the database.
type Resealed = store.Resealed

// Reseal seals all secrets of the database again with the first of the keys, beside a
// server that may be running; see [store.Store.Reseal].
func Reseal(ctx context.Context, c Config, log *slog.Logger, told func(Resealed), lost func(error)) (all []Resealed, err error) {
	err = withStore(ctx, c, log, func(s *store.Store) (err error) {
		all, err = s.Reseal(ctx, told, lost)
		return err
	})
	return all, err
}

func withStore(ctx context.Context, c Config, log *slog.Logger, do func(*store.Store) error) error {
	keys, err := c.keyring()
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{DSN: c.Database, SealKeys: keys, Shared: true, Log: log})
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // what was written is durable
	return do(s)
}
