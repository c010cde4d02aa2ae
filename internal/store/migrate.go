package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// migrations has the same numbers and names for both engines. They only go
// forward: a backup is the way back.
//
//go:embed migrations
var migrations embed.FS

// schema is what an engine knows about its version.
type schema interface {
	// version returns the number of the newest migration that was applied; 0: none.
	version(ctx context.Context) (int64, error)
	// migrations gives goose what it needs; done is called after it.
	migrations() (dialect goose.Dialect, folder string, conn *sql.DB, options []goose.ProviderOption, done func(), err error)
}

// prepareSchema migrates if asked, and refuses a schema that is not ours.
func prepareSchema(ctx context.Context, s schema, migrate bool) error {
	provider, done, err := newProvider(s)
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	defer done()
	sources := provider.ListSources()
	ours := sources[len(sources)-1].Version
	is, err := s.version(ctx)
	if err != nil {
		return fmt.Errorf("store: the version of the schema can't be read: %w", err)
	}
	switch {
	case is > ours:
		return fmt.Errorf("store: %w: its schema has version %d and this program knows %d; run the newer program, or restore a backup from before its migration", ErrNewer, is, ours)
	case is == ours:
		return nil
	case !migrate:
		return fmt.Errorf("store: %w: its schema has version %d and this program needs %d; back it up, then run postseal migrate", ErrNeedsMigration, is, ours)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("store: migrate from version %d to %d: %w", is, ours, err)
	}
	return nil
}

// newProvider makes what runs the migrations; done is called after it.
func newProvider(s schema) (p *goose.Provider, done func(), err error) {
	dialect, folder, conn, options, done, err := s.migrations()
	if err != nil {
		return nil, nil, err
	}
	files, err := fs.Sub(migrations, folder)
	if err == nil {
		options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
		p, err = goose.NewProvider(dialect, conn, files, options...)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return p, done, nil
}
