package jobs

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/store/storetest"
)

// The store's committer and the engine share one connection on SQLite. Many
// writers at once must neither lose a task nor come to a halt.
func TestStoreAndEngineShareTheirConnection(t *testing.T) {
	t.Parallel()
	for name, dsn := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "store.db") },
		"postgres": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys, err := store.LoadKeyring(store.GenerateKey())
			if err != nil {
				t.Fatal(err)
			}
			st, err := store.Open(t.Context(), store.Config{DSN: dsn(t), SealKeys: keys, Log: slog.New(slog.DiscardHandler), Migrate: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = st.Close() })
			w, ran := recorder()
			e, err := New(Config{Writer: st.Writer(), Pool: st.Pool(), Workers: workers(w)})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			st.SetEnqueuer(e)
			start(t, e)

			const writers, each = 8, 10
			sorry := errors.New("changed my mind")
			var g errgroup.Group
			for range writers {
				g.Go(func() error {
					for range each {
						object := sender.NewID()
						if err := st.Update(t.Context(), func(tx sender.Tx) error {
							return errors.Join(tx.Enqueue(t.Context(), dispatch),
								tx.Enqueue(t.Context(), sender.Task{Kind: sender.TaskKeys, Object: object}))
						}); err != nil {
							return err
						}
						err := st.Update(t.Context(), func(tx sender.Tx) error {
							return errors.Join(tx.Enqueue(t.Context(), sender.Task{Kind: sender.TaskKeys, Object: "regretted"}), sorry)
						})
						if !errors.Is(err, sorry) {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			seen := map[sender.ID]bool{}
			for len(seen) < writers*each {
				switch task := within(t, "all tasks", ran, 10*time.Second); {
				case task.Object == "regretted":
					t.Fatal("a task of a transaction that failed was run")
				case task.Kind == sender.TaskKeys:
					seen[task.Object] = true
				}
			}
		})
	}
}
