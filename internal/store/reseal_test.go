package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/storetest"
)

// onBoth opens the same database again and again with other keys.
func onBoth(t *testing.T, test func(t *testing.T, open func(keys ...string) *Store)) {
	for name, dsn := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return filepath.Join(t.TempDir(), "postseal.db") },
		"postgres": storetest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{DSN: dsn(t), Log: slog.New(slog.DiscardHandler), Migrate: true, Shared: true}
			test(t, func(keys ...string) *Store {
				t.Helper()
				c.SealKeys = ring(t, keys...)
				s, err := Open(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				return s
			})
		})
	}
}

// fill writes a value into every sealed column, and returns the tenant and another, which
// has an HTTP provider.
func fill(t *testing.T, s *Store, messages int) (tenant, other sender.ID) {
	t.Helper()
	ctx, at := t.Context(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tenant, other = sender.NewID(), sender.NewID()
	if _, err := s.Secret(ctx, "secret", 32); err != nil {
		t.Fatal(err)
	}
	err := s.Update(ctx, func(tx sender.Tx) error {
		for _, write := range []func() error{
			func() error {
				return tx.InsertTenant(ctx, sender.Tenant{ID: tenant, Organization: sender.DefaultOrganization, CreatedAt: at})
			},
			func() error {
				return tx.InsertTenant(ctx, sender.Tenant{ID: other, Organization: sender.DefaultOrganization, CreatedAt: at})
			},
			func() error {
				return tx.InsertKey(ctx, sender.Key{Selector: "selector", PKCS8: []byte("private"), CreatedAt: at})
			},
			func() error {
				return tx.InsertCredential(ctx, sender.Credential{ID: sender.NewID(), Kind: sender.KeyPair, Tenant: tenant, Token: "token", Key: []byte("hmac"), CreatedAt: at})
			},
			func() error {
				return tx.PutRelay(ctx, sender.Relay{Tenant: tenant, Host: "Mail.example.org", Port: 465, Username: "user", Password: "password", UpdatedAt: at})
			},
			func() error {
				return tx.PutRelay(ctx, sender.Relay{Tenant: other, Password: "token", HTTP: &sender.HTTPProvider{Name: "api", Bearer: true, Method: "POST", URL: "https://api.example.org/"}, UpdatedAt: at})
			},
			func() error {
				return tx.InsertWebhook(ctx, sender.Webhook{
					ID: sender.NewID(), Tenant: tenant, URL: "https://hooks.example.org/", Format: sender.StandardFormat, Enabled: true, CreatedAt: at, UpdatedAt: at,
					Secrets: []sender.WebhookSecret{{Key: "whsec_key"}}, Headers: map[string]sender.Password{"x-token": "value"},
				})
			},
		} {
			if err := write(); err != nil {
				return err
			}
		}
		for range messages {
			m := sender.Message{ID: sender.NewID(), Tenant: tenant, Kind: sender.KindMessage, State: sender.Queued, Body: []byte("body"), NextAttemptAt: at, CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
			if err := tx.InsertMessage(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tenant, other
}

func TestResealedValuesOpenWithTheNewKeyAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...string) *Store) {
		older, newer := GenerateKey(), GenerateKey()
		tenant, other := fill(t, open(older), 2*resealPage+1)
		s := open(newer, older)
		for _, again := range []bool{false, true} { // the second time it finds nothing to do
			all, err := s.Reseal(t.Context(), nil, func(err error) { t.Error(err) })
			if err != nil || len(all) != len(sealedColumns) {
				t.Fatal(all, err)
			}
			for _, r := range all {
				want := r.Total
				if again {
					want = 0
				}
				if r.Total == 0 || r.Done != r.Total || r.Sealed != want || r.Lost != 0 {
					t.Errorf("again %t: %+v", again, r)
				}
			}
		}
		s = open(newer)
		ctx := t.Context()
		if _, err := s.Secret(ctx, "secret", 32); err != nil {
			t.Error(err)
		}
		if k, err := s.SigningKey(ctx, "selector"); err != nil || string(k.PKCS8) != "private" {
			t.Error(k, err)
		}
		if c, err := s.CredentialByToken(ctx, tenant, "token"); err != nil || string(c.Key) != "hmac" {
			t.Error(err)
		}
		if r, err := s.Relay(ctx, tenant); err != nil || r.Password != "password" || r.PasswordLost != nil {
			t.Error(r.PasswordLost, err)
		}
		if r, err := s.Relay(ctx, other); err != nil || r.Password != "token" || r.HTTP == nil || r.HTTP.URL != "https://api.example.org/" || r.PasswordLost != nil {
			t.Error(r.PasswordLost, err)
		}
		if ws, err := s.Webhooks(ctx, tenant, sender.Page{}); err != nil || len(ws) != 1 || ws[0].SecretsLost != nil || ws[0].Secrets[0].Key != "whsec_key" || ws[0].Headers["x-token"] != "value" {
			t.Error(ws, err)
		}
		err := s.Update(ctx, func(tx sender.Tx) error {
			now := time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
			ms, err := tx.ClaimMessages(ctx, "owner", now, now.Add(time.Minute), 1000)
			if len(ms) != 2*resealPage+1 || string(ms[0].Body) != "body" {
				t.Errorf("%d messages", len(ms))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// Each value says which key it misses, and what can do without it goes on.
func TestLostKeyIsToldAndHarmsNothingElse(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...string) *Store) {
		lostKey := GenerateKey()
		tenant, other := fill(t, open(lostKey), 1)
		s, ctx := open(GenerateKey()), t.Context()
		id, _, _ := strings.Cut(lostKey, ":")
		names := func(err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "add its line again") {
				t.Errorf("%v; want the key %s and what to do", err, id)
			}
		}
		_, err := s.Secret(ctx, "secret", 32)
		names(err)
		_, err = s.SigningKey(ctx, "selector")
		names(err)
		if _, err := s.PublicKey(ctx, "selector"); err != nil {
			t.Errorf("the public half: %v", err)
		}
		_, err = s.CredentialByToken(ctx, tenant, "token")
		names(err)
		if cs, err := s.Credentials(ctx, tenant, sender.Page{}); err != nil || len(cs) != 1 {
			t.Errorf("the list: %v, %v", cs, err)
		}
		r, err := s.Relay(ctx, tenant)
		if err != nil || r.Host != "Mail.example.org" || r.Password != "" {
			t.Errorf("%+v, %v", r, err)
		}
		names(r.PasswordLost)
		if r, err = s.Relay(ctx, other); err != nil || r.HTTP == nil || r.HTTP.URL != "" || r.Password != "" {
			t.Errorf("%+v, %v", r, err)
		}
		names(r.PasswordLost)
		// What can't be opened is kept as it is when the webhook is written for other reasons.
		ws, err := s.Webhooks(ctx, tenant, sender.Page{})
		if err != nil || len(ws) != 1 || len(ws[0].Secrets) != 0 {
			t.Fatalf("%+v, %v", ws, err)
		}
		names(ws[0].SecretsLost)
		if err := s.Update(ctx, func(tx sender.Tx) error { return tx.UpdateWebhook(ctx, ws[0]) }); err != nil {
			t.Error(err)
		}
		if w, err := open(lostKey).Webhook(ctx, tenant, ws[0].ID); err != nil || w.SecretsLost != nil || len(w.Secrets) != 1 {
			t.Errorf("with the key that came back: %+v, %v", w, err)
		}
		var lost []string
		all, err := s.Reseal(ctx, nil, func(err error) {
			names(err)
			lost = append(lost, err.Error())
		})
		if err != nil || len(lost) != len(sealedColumns) {
			t.Errorf("%q, %v", lost, err)
		}
		for _, r := range all {
			if r.Lost != 1 || r.Sealed != 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}

// A column that is sealed and that Reseal does not know would be lost with its key.
func TestEveryColumnOfOctetsIsSealedAgainOrIsNotSealed(t *testing.T) {
	files, err := filepath.Glob("migrations/postgres/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	plain := []string{"transcript"} // of attempts
	column := regexp.MustCompile(`(?m)^(?:ALTER TABLE \w+ ADD COLUMN|) *(\w+) +BYTEA`)
	found := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range column.FindAllStringSubmatch(string(text), -1) {
			found++
			known := func(c sealed) bool { return c.column == m[1] }
			if !slices.ContainsFunc(sealedColumns, known) && !slices.Contains(plain, m[1]) {
				t.Errorf("%s: %s is in neither list", f, m[1])
			}
		}
	}
	if found != len(sealedColumns)+len(plain) {
		t.Errorf("%d columns of octets were found", found)
	}
}
