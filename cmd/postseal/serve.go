package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/postseal/postseal/internal/app"
)

// configFlags choose the configuration of commands that need one.
type configFlags struct {
	Config   string   `help:"Configuration file (YAML)." type:"path" env:"POSTSEAL_CONFIG" placeholder:"FILE"`
	Database string   `help:"sqlite:FILE or postgres://USER@HOST/NAME; instead of database in the file." placeholder:"DSN"`
	KeyFile  string   `help:"File with the key-encryption keys; instead of key_file in the file." type:"path" placeholder:"FILE"`
	Set      []string `help:"Any other setting, such as --set http.listen=127.0.0.1:8080; may be repeated." sep:"none" placeholder:"KEY=VALUE"`
}

// load reads the configuration by app.LoadConfig or app.LoadDatabaseConfig.
func (f configFlags) load(s *streams, by func(path string, environ, settings []string) (app.Config, error)) (app.Config, error) {
	settings := f.Set
	for key, value := range map[string]string{"database": f.Database, "key_file": f.KeyFile} {
		if value != "" {
			settings = append(settings, key+"="+value)
		}
	}
	c, err := by(f.Config, s.env, settings)
	if err != nil {
		return c, fmt.Errorf("the configuration has problems:\n%w", err)
	}
	return c, nil
}

func (s *streams) configured(c app.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // checked with the rest of the configuration
	return s.logger(level, c.Log.Format)
}

type serveCmd struct {
	configFlags
}

// Help is shown by postseal serve --help.
func (serveCmd) Help() string {
	return `Settings come from the file, then from the environment (http.listen is POSTSEAL_HTTP__LISTEN), then from flags. Unknown settings are errors, and all problems are reported at once. docs/operate.md lists them.`
}

func (c *serveCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadConfig)
	if err != nil {
		return err
	}
	log := s.configured(cfg)
	l, err := cfg.Listen()
	if err != nil {
		return err
	}
	a, err := app.New(s.ctx, cfg, l, log)
	if err != nil {
		return err
	}
	return a.Run(s.ctx)
}

type migrateCmd struct {
	configFlags
}

func (c *migrateCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	if err := app.Migrate(s.ctx, cfg, s.configured(cfg)); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "The database is up to date.")
	return nil
}

type keygenCmd struct {
	Out string `help:"File to write; it must not exist. Without it the key is printed." type:"path" placeholder:"FILE"`
}

func (c *keygenCmd) Run(s *streams) error {
	key := app.GenerateKey()
	if c.Out == "" {
		_, err := fmt.Fprint(s.out, key)
		return err
	}
	f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("a key that exists is never overwritten, since all secrets sealed with it would be lost: %w", err)
	}
	if _, err := f.WriteString(key); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Wrote a new key to %s. Keep a copy in a safe place: without it the database's secrets can't be read.\n", c.Out)
	return nil
}

type versionCmd struct{}

func (versionCmd) Run(s *streams) error {
	fmt.Fprintln(s.out, "postseal", app.Version(), runtime.Version())
	return nil
}
