package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func keyring(t testing.TB, lines ...string) *store.Keyring {
	t.Helper()
	if len(lines) == 0 {
		lines = []string{store.GenerateKey()}
	}
	k, err := store.LoadKeyring(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func config(t testing.TB, dsn string) store.Config {
	return store.Config{DSN: dsn, SealKeys: keyring(t), Log: slog.New(slog.DiscardHandler), Migrate: true}
}

func open(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// engines opens an empty store on each engine.
var engines = []struct {
	name string
	dsn  func(t testing.TB) string
}{
	{"sqlite", func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "postseal.db") }},
	{"postgres", storetest.Postgres},
}

func onEach(t *testing.T, test func(t *testing.T, c store.Config)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { test(t, config(t, e.dsn(t))) })
	}
}

func TestConformanceOnSQLite(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Store {
		return open(t, config(t, filepath.Join(t.TempDir(), "postseal.db")))
	})
}

func TestConformanceOnPostgreSQL(t *testing.T) {
	s := open(t, config(t, storetest.Postgres(t)))
	storetest.Run(t, func(t testing.TB) storetest.Store { // emptying is faster than making a database
		_, err := s.Pool().Exec(t.Context(), `
			DELETE FROM webhook_deliveries; DELETE FROM last_checks; DELETE FROM domains; DELETE FROM addresses; DELETE FROM credentials; DELETE FROM recipients;
			DELETE FROM bodies; DELETE FROM attempts; DELETE FROM messages; DELETE FROM events; DELETE FROM signing_keys;
			DELETE FROM secrets; DELETE FROM settings; DELETE FROM templates; DELETE FROM applications; DELETE FROM users; DELETE FROM tenants; DELETE FROM organizations WHERE name <> 'default';
			UPDATE mass_guard SET frozen_at = 0, released_at = 0, released_by = '', reason = ''`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// message queues a mail of a new tenant.
func message(tenant sender.ID, body string) sender.Message {
	return sender.Message{
		ID: sender.NewID(), Tenant: tenant, Kind: sender.KindMessage, From: "noreply@example.org", To: "user@example.net",
		State: sender.Queued, Body: []byte(body), NextAttemptAt: start, ExpiresAt: start.Add(time.Hour), CreatedAt: start,
	}
}

func update(t testing.TB, s *store.Store, do func(tx sender.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, s *store.Store, query string, args ...any) {
	t.Helper()
	var err error
	if s.Writer() != nil {
		_, err = s.Writer().ExecContext(t.Context(), query, args...)
	} else {
		_, err = s.Pool().Exec(t.Context(), query, args...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// recorder is a job engine that only notes what it was given.
type recorder struct {
	mu    sync.Mutex
	calls [][]sender.Task
	err   error
}

func (r *recorder) note(tasks []sender.Task) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, slices.Clone(tasks))
	return r.err
}

func (r *recorder) InsertSQL(_ context.Context, _ *sql.Tx, tasks []sender.Task) error {
	return r.note(tasks)
}

func (r *recorder) InsertPgx(_ context.Context, _ pgx.Tx, tasks []sender.Task) error {
	return r.note(tasks)
}

func TestTasksGoWithTheTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, c store.Config) {
		s := open(t, c)
		update(t, s, func(tx sender.Tx) error { return tx.Enqueue(t.Context(), sender.Task{Kind: sender.TaskDispatch}) }) // dropped
		var r recorder
		s.SetEnqueuer(&r)
		keys := sender.Task{Kind: sender.TaskKeys, Tenant: "t", Object: "d"}
		later := sender.Task{Kind: sender.TaskDispatch, Due: start}
		want := []sender.Task{{Kind: sender.TaskDispatch}, keys, later}
		update(t, s, func(tx sender.Tx) error {
			for _, task := range slices.Concat(want, want) {
				if err := tx.Enqueue(t.Context(), task); err != nil {
					return err
				}
			}
			return nil
		})
		if len(r.calls) != 1 || !slices.Equal(r.calls[0], want) {
			t.Errorf("got %v, want each task once: %v", r.calls, want)
		}
		update(t, s, func(sender.Tx) error { return nil })
		oops := errors.New("oops")
		err := s.Update(t.Context(), func(tx sender.Tx) error {
			_ = tx.Enqueue(t.Context(), keys)
			return oops
		})
		if !errors.Is(err, oops) || len(r.calls) != 1 {
			t.Errorf("a failed update: %v, and its tasks went out: %v", err, r.calls)
		}
		r.err = oops
		m := message(sender.NewID(), "x")
		err = s.Update(t.Context(), func(tx sender.Tx) error {
			if err := tx.InsertMessage(t.Context(), m); err != nil {
				return err
			}
			return tx.Enqueue(t.Context(), keys)
		})
		if _, missing := s.Message(t.Context(), m.Tenant, m.ID); !errors.Is(err, oops) || !errors.Is(missing, sender.NotFound) {
			t.Errorf("the job engine failed: %v, and the message: %v", err, missing)
		}
	})
}

func TestSecretSurvivesReopening(t *testing.T) {
	onEach(t, func(t *testing.T, c store.Config) {
		var got [2][]byte
		for i := range got {
			s, err := store.Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if got[i], err = s.Secret(t.Context(), "verification-code", 32); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if !bytes.Equal(got[0], got[1]) {
			t.Error("the second opening has another secret")
		}
		c.SealKeys = keyring(t)
		s := open(t, c)
		if _, err := s.Secret(t.Context(), "verification-code", 32); err == nil || !strings.Contains(err.Error(), "not among the sealing keys") {
			t.Errorf("with another keyring: %v", err)
		}
	})
}

func TestNothingSealedIsReadableInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postseal.db")
	s := open(t, config(t, path))
	secret, err := s.Secret(t.Context(), "verification-code", 32)
	if err != nil {
		t.Fatal(err)
	}
	m := message(sender.NewID(), strings.Repeat("your code is hunter22 ", 500))
	update(t, s, func(tx sender.Tx) error {
		if err := tx.InsertKey(t.Context(), sender.Key{Selector: "sel", PKCS8: []byte("the private half"), TXT: "the public half"}); err != nil {
			return err
		}
		if err := tx.InsertCredential(t.Context(), pair(sender.NewID(), "the token", "the HMAC key")); err != nil {
			return err
		}
		return tx.InsertMessage(t.Context(), m)
	})
	var all []byte
	for _, name := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
	for _, clear := range []string{"the public half", "the token"} {
		if !bytes.Contains(all, []byte(clear)) {
			t.Fatal("what is not sealed can't be found: the test looks in the wrong place")
		}
	}
	for _, clear := range [][]byte{[]byte("hunter22"), []byte("the private half"), []byte("the HMAC key"), secret} {
		if bytes.Contains(all, clear) {
			t.Errorf("the file shows %q", clear)
		}
	}
}

func pair(tenant sender.ID, token, key string) sender.Credential {
	return sender.Credential{ID: sender.NewID(), Kind: sender.KeyPair, Tenant: tenant, Token: token, Key: []byte(key), CreatedAt: start}
}

// Whoever can write to the database but has no sealing key can't make a key of
// their own count, nor none at all.
func TestKeyOfAPairOpensInItsRowOnly(t *testing.T) {
	onEach(t, func(t *testing.T, c store.Config) {
		s := open(t, c)
		tenant := sender.NewID()
		mine, victim := pair(tenant, "mine", "key of mine"), pair(tenant, "victim", "key of the victim")
		update(t, s, func(tx sender.Tx) error {
			return errors.Join(tx.InsertCredential(t.Context(), mine), tx.InsertCredential(t.Context(), victim))
		})
		for _, c := range []struct{ set, want string }{
			{"(SELECT o.hmac_key FROM credentials o WHERE o.token = 'mine')", "moved"},
			{"NULL", "not a sealed value"},
		} {
			exec(t, s, "UPDATE credentials SET hmac_key = "+c.set+" WHERE token = 'victim'")
			got, err := s.CredentialByToken(t.Context(), tenant, "victim")
			if err == nil || !strings.Contains(err.Error(), c.want) || len(got.Key) > 0 {
				t.Errorf("set to %s: key %q, %v; want %q", c.set, got.Key, err, c.want)
			}
			if _, err := s.Credentials(t.Context(), tenant, sender.Page{}); err != nil {
				t.Errorf("the list stops: %v", err)
			}
		}
		if got, err := s.CredentialByToken(t.Context(), tenant, "mine"); err != nil || string(got.Key) != "key of mine" {
			t.Errorf("the other one: key %q, %v", got.Key, err)
		}
	})
}

func TestBodyGoesWhenTheMessageIsDone(t *testing.T) {
	onEach(t, func(t *testing.T, c store.Config) {
		s := open(t, c)
		m := message(sender.NewID(), "x")
		update(t, s, func(tx sender.Tx) error {
			if err := tx.InsertMessage(t.Context(), m); err != nil {
				return err
			}
			if _, err := tx.ClaimMessages(t.Context(), "n1", start, start.Add(time.Minute), 1); err != nil {
				return err
			}
			m.State = sender.Sent
			return tx.UpdateMessage(t.Context(), "n1", m)
		})
		var n int
		var err error
		const query = "SELECT count(*) FROM bodies"
		if s.Writer() != nil {
			err = s.Writer().QueryRowContext(t.Context(), query).Scan(&n)
		} else {
			err = s.Pool().QueryRow(t.Context(), query).Scan(&n)
		}
		if err != nil || n != 0 {
			t.Errorf("%d bodies of done messages, %v", n, err)
		}
	})
}

// A row that can't be opened must not stop the mail of everybody.
func TestDamagedBodyIsPutOffAndTheRestGoes(t *testing.T) {
	onEach(t, func(t *testing.T, c store.Config) {
		var log bytes.Buffer
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		s := open(t, c)
		tenant := sender.NewID()
		victim, good := message(tenant, "mail of the victim"), message(tenant, "good")
		update(t, s, func(tx sender.Tx) error {
			if err := tx.InsertMessage(t.Context(), victim); err != nil {
				return err
			}
			return tx.InsertMessage(t.Context(), good)
		})
		// Somebody with access to the database moves a body to another recipient's message.
		exec(t, s, "UPDATE bodies SET body = (SELECT b.body FROM bodies b WHERE b.message_id = $1) WHERE message_id = $2", string(good.ID), string(victim.ID))
		claim := func(now time.Time) (ids []sender.ID) {
			update(t, s, func(tx sender.Tx) error {
				ms, err := tx.ClaimMessages(t.Context(), "n1", now, now.Add(time.Minute), 10)
				ids = nil
				for _, m := range ms {
					ids = append(ids, m.ID)
				}
				return err
			})
			return ids
		}
		if got := claim(start); !slices.Equal(got, []sender.ID{good.ID}) {
			t.Errorf("claimed %v, want only %v", got, good.ID)
		}
		if m, err := s.Message(t.Context(), tenant, victim.ID); err != nil || m.State != sender.Queued || !m.NextAttemptAt.Equal(start.Add(time.Minute)) {
			t.Errorf("the damaged message is %+v, %v", m, err)
		}
		if !strings.Contains(log.String(), string(victim.ID)) || !strings.Contains(log.String(), "moved") {
			t.Errorf("the log does not tell: %s", &log)
		}
	})
}

func TestFileIsServedByOneProcess(t *testing.T) {
	c := config(t, filepath.Join(t.TempDir(), "postseal.db"))
	first, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Exclusive() {
		t.Error("the first does not know that it is alone")
	}
	if _, err := store.Open(t.Context(), c); !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("the second: %v, want that it is in use, and by which process", err)
	}
	c.Shared = true
	shared := open(t, c)
	if shared.Exclusive() {
		t.Error("a shared opening says it is exclusive")
	}
	update(t, shared, func(tx sender.Tx) error {
		return tx.InsertOrganization(t.Context(), sender.Organization{ID: "o"})
	})
	if _, err := first.Organization(t.Context(), "o"); err != nil {
		t.Errorf("the first does not see what the shared one wrote: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c.Shared = false
	open(t, c)
}

func TestSchemaOfAnotherVersionIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, c store.Config) {
		c.Migrate = false
		if _, err := store.Open(t.Context(), c); !errors.Is(err, store.ErrNeedsMigration) {
			t.Errorf("an empty database: %v", err)
		}
		if err := store.Migrate(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if s.Writer() != nil {
			exec(t, s, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
		} else {
			exec(t, s, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, c.Migrate = range []bool{false, true} {
			if _, err := store.Open(t.Context(), c); !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "9999") {
				t.Errorf("a newer database: %v", err)
			}
		}
	})
}

func TestNodesThatMigrateAtOnceTakeTurns(t *testing.T) {
	c := config(t, storetest.Postgres(t))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := store.Migrate(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c.Migrate = false
	open(t, c)
}

func TestWrongDSNIsExplained(t *testing.T) {
	for _, c := range []struct{ dsn, want string }{
		{"", "needs DSN"},
		{"mysql://user:hunter22@127.0.0.1/x", "is not a database"},
		{":memory:", "is not a database"},
		{"file:x.db", "is not a database"},
		{filepath.Join(t.TempDir(), "missing", "x.db"), "directory must exist"},
		{t.TempDir(), "can't be opened"},
		{"postgres://user:hunter22@127.0.0.1:1/x?connect_timeout=2", "can't be reached"},
		{"postgres://user:hunter22@127.0.0.1:port/x", "parse"},
	} {
		_, err := store.Open(t.Context(), config(t, c.dsn))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%q: got %v, want %q and no password", c.dsn, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), config(t, path)); err == nil || !strings.Contains(err.Error(), "as a SQLite database") {
		t.Errorf("a file of something else: %v", err)
	}
}

// Odd characters of a path must not become parameters of the connection.
func TestPathIsTakenAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%20c#d&mode=ro;e.db")
	open(t, config(t, "sqlite:"+path))
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestDeadlockIsTriedAgain(t *testing.T) {
	s := open(t, config(t, storetest.Postgres(t)))
	a, b := sender.Tenant{ID: sender.NewID(), Organization: sender.DefaultOrganization}, sender.Tenant{ID: sender.NewID(), Organization: sender.DefaultOrganization}
	update(t, s, func(tx sender.Tx) error {
		return errors.Join(tx.InsertTenant(t.Context(), a), tx.InsertTenant(t.Context(), b))
	})
	var both, wg sync.WaitGroup
	both.Add(2)
	var runs atomic.Int32
	for _, order := range [][2]sender.ID{{a.ID, b.ID}, {b.ID, a.ID}} {
		wg.Go(func() {
			first := true
			err := s.Update(t.Context(), func(tx sender.Tx) error {
				runs.Add(1)
				if err := tx.LockTenant(t.Context(), order[0]); err != nil {
					return err
				}
				if first { // each holds one lock before it asks for the other
					first = false
					both.Done()
					both.Wait()
				}
				return tx.LockTenant(t.Context(), order[1])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if runs.Load() < 3 {
		t.Errorf("%d runs: there was no deadlock to try again after", runs.Load())
	}
}

// Two dispatchers on one database never get the same message.
func TestNodesClaimDifferentMessages(t *testing.T) {
	s := open(t, config(t, storetest.Postgres(t)))
	tenants := []sender.ID{sender.NewID(), sender.NewID(), sender.NewID()}
	update(t, s, func(tx sender.Tx) error {
		for i := range 300 {
			if err := tx.InsertMessage(t.Context(), message(tenants[i%3], "x")); err != nil {
				return err
			}
		}
		return nil
	})
	var mu sync.Mutex
	seen := map[sender.ID]string{}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			owner := fmt.Sprint("n", i)
			for empty := 0; empty < 3; {
				var got []sender.Message
				err := s.Update(t.Context(), func(tx sender.Tx) (err error) {
					got, err = tx.ClaimMessages(t.Context(), owner, start, start.Add(time.Minute), 7)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				if len(got) == 0 {
					empty++ // others may hold what is left
				}
				mu.Lock()
				for _, m := range got {
					if other := seen[m.ID]; other != "" {
						t.Errorf("message %s went to %s and %s", m.ID, other, owner)
					}
					seen[m.ID] = owner
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 300 {
		t.Errorf("%d of 300 messages were claimed", len(seen))
	}
}

func TestMigrationsOfBothEnginesAreTheSame(t *testing.T) {
	list := func(engine string) (names []string) {
		files, err := os.ReadDir(filepath.Join("migrations", engine))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			names = append(names, f.Name())
			text, err := os.ReadFile(filepath.Join("migrations", engine, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if s := string(text); !strings.HasPrefix(s, "-- +goose Up\n") || strings.Contains(s, "+goose Down") || strings.Contains(s, "NO TRANSACTION") {
				t.Errorf("%s/%s must go forward only, in a transaction", engine, f.Name())
			}
		}
		return names
	}
	if a, b := list("sqlite"), list("postgres"); !slices.Equal(a, b) {
		t.Errorf("SQLite has %v, PostgreSQL has %v", a, b)
	}
	lite, pg := open(t, config(t, filepath.Join(t.TempDir(), "x.db"))), open(t, config(t, storetest.Postgres(t)))
	var columns [2]string
	err := lite.Writer().QueryRowContext(t.Context(), `SELECT group_concat(c, ' ') FROM (
		SELECT m.name || '.' || i.name AS c FROM sqlite_master m JOIN pragma_table_info(m.name) i
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'goose_db_version' ORDER BY m.name, i.cid)`).Scan(&columns[0])
	if err != nil {
		t.Fatal(err)
	}
	err = pg.Pool().QueryRow(t.Context(), `SELECT string_agg(table_name || '.' || column_name, ' ' ORDER BY table_name COLLATE "C", ordinal_position)
		FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'goose_db_version'`).Scan(&columns[1])
	if err != nil {
		t.Fatal(err)
	}
	if columns[0] != columns[1] {
		t.Errorf("the tables differ:\n%s\n%s", columns[0], columns[1])
	}
	for _, s := range []*store.Store{lite, pg} {
		var o sender.Organization
		if o, err = s.Organization(t.Context(), sender.DefaultOrganization); err != nil || o.Name != "default" {
			t.Errorf("the default organization: %+v, %v", o, err)
		}
	}
}
