package store

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/storetest"
)

// What the first release wrote, as it wrote it.
const ofVersion1 = `
INSERT INTO tenants (id, organization_id, name, type, geography, regions, record_set, from_policy,
    max_domains, max_addresses, max_templates, created_at, updated_at)
VALUES ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-000000000001', 'Acme', 'SANDBOX', 'eu', '["eu-west-1"]',
    'per-region', 'domain', 50, 10, 1000, 1772366400000000, 1772366400000001);

INSERT INTO credentials (id, kind, name, tenant_id, is_operator, grants, domain_id, secret_hash, created_at, expires_at, revoked_at)
VALUES ('0197a000-0000-7000-8000-0000000000c1', 'oauth-client', 'worker', '0197a000-0000-7000-8000-00000000000a', false,
    '[]', '', '$argon2id$v=19$1', 1772366400000000, 1772370000000000, 0),
    ('0197a000-0000-7000-8000-0000000000c2', 'api-key', 'worker', '0197a000-0000-7000-8000-00000000000a', false,
    '[]', '', '$argon2id$v=19$2', 1772366400000000, 0, 1772366400000001);

INSERT INTO domains (tenant_id, id, name, spelling, tokens, facets, proven_at, next_check_at, version, created_at, updated_at)
VALUES ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-0000000000d1', 'example.org', 'Example.org', '{}', '[]',
    1772366400000000, 1772366400000000, 7, 1772366400000000, 1772366400000001);

INSERT INTO messages (tenant_id, id, kind, author, recipient, region, state, reason, once, attempts, in_doubt, next_attempt_at,
    expires_at, created_at, done_at, idempotency_key, request_hash, actor, lease_owner, lease_until)
VALUES ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-0000000000e1', 'message', 'noreply@example.org',
    'user@example.net', 'eu-west-1', 'sent', '', true, 1, 0, 1772366400000000, 1772452800000000, 1772366400000000,
    1772366400000002, 'key', 'hash', '0197a000-0000-7000-8000-0000000000c1', '', 0),
    ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-0000000000e2', 'message', 'noreply@example.org',
    'user@example.net', '', 'queued', '', false, 0, 0, 1772366400000000, 1772452800000000, 1772366400000000,
    0, '', '', '0197a000-0000-7000-8000-0000000000c1', '', 0);
`

func TestDatabaseOfTheFirstSchemaUpgradesWithEverythingInIt(t *testing.T) {
	for name, dsn := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return filepath.Join(t.TempDir(), "postseal.db") },
		"postgres": storetest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{DSN: dsn(t), SealKeys: ring(t, GenerateKey()), Log: slog.New(slog.DiscardHandler)}
			const tenant, queued = "0197a000-0000-7000-8000-00000000000a", "0197a000-0000-7000-8000-0000000000e2"
			body := []byte("Subject: hello\r\n\r\nworld\r\n")
			makeVersion1(t, c, tenant, queued, body)

			if _, err := Open(t.Context(), c); !errors.Is(err, ErrNeedsMigration) {
				t.Fatalf("not migrated yet: %v", err)
			}
			if err := Migrate(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()

			at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			check := func(what string, got any, err error, want any) {
				t.Helper()
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
				}
			}
			wantCredentials := []sender.Credential{
				{ID: "0197a000-0000-7000-8000-0000000000c1", Kind: sender.OAuthClient, Name: "worker", Tenant: tenant, Grants: []sender.Grant{},
					SecretHash: "$argon2id$v=19$1", CreatedAt: at, ExpiresAt: at.Add(time.Hour)},
				{ID: "0197a000-0000-7000-8000-0000000000c2", Kind: sender.APIKey, Name: "worker", Tenant: tenant, Grants: []sender.Grant{},
					SecretHash: "$argon2id$v=19$2", CreatedAt: at, RevokedAt: at.Add(time.Microsecond)},
			}
			credentials, err := s.Credentials(t.Context(), tenant, sender.Page{})
			check("credentials", credentials, err, wantCredentials)
			if _, err := s.CredentialByToken(t.Context(), tenant, ""); sender.KindOf(err) != sender.NotFound {
				t.Errorf("a credential without a token is found by none: %v", err)
			}
			domain, err := dnscheck.ParseName("example.org")
			if err != nil {
				t.Fatal(err)
			}
			domains, err := s.Domains(t.Context(), tenant, sender.Page{})
			check("domains", domains, err, []sender.Domain{{
				ID: "0197a000-0000-7000-8000-0000000000d1", Tenant: tenant, Name: domain, Spelling: "Example.org", Facets: []sender.Facet{},
				ProvenAt: at, NextCheck: at, Version: 7, CreatedAt: at, UpdatedAt: at.Add(time.Microsecond),
			}})
			m := sender.Message{
				ID: "0197a000-0000-7000-8000-0000000000e1", Tenant: tenant, Kind: sender.KindMessage, From: "noreply@example.org",
				To: "user@example.net", Region: "eu-west-1", State: sender.Sent, Once: true, Attempts: 1, NextAttemptAt: at,
				ExpiresAt: at.Add(24 * time.Hour), CreatedAt: at, DoneAt: at.Add(2 * time.Microsecond), IdempotencyKey: "key",
				RequestHash: "hash", Actor: "0197a000-0000-7000-8000-0000000000c1",
			}
			waiting := sender.Message{
				ID: queued, Tenant: tenant, Kind: sender.KindMessage, From: "noreply@example.org", To: "user@example.net", State: sender.Queued,
				NextAttemptAt: at, ExpiresAt: at.Add(24 * time.Hour), CreatedAt: at, Actor: "0197a000-0000-7000-8000-0000000000c1",
			}
			messages, err := s.Messages(t.Context(), tenant, sender.Page{})
			check("messages", messages, err, []sender.Message{m, waiting})

			// And it goes on: what waits is sent, and what is new fits.
			err = s.Update(t.Context(), func(tx sender.Tx) error {
				ms, err := tx.ClaimMessages(t.Context(), "n1", at, at.Add(time.Minute), 10)
				if err == nil && (len(ms) != 1 || ms[0].ID != queued || !bytes.Equal(ms[0].Body, body)) {
					t.Errorf("claimed %+v", ms)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			pair := sender.Credential{ID: sender.NewID(), Kind: sender.KeyPair, Tenant: tenant, Grants: []sender.Grant{}, Token: "token", Key: []byte("key"), CreatedAt: at}
			if err := s.Update(t.Context(), func(tx sender.Tx) error { return tx.InsertCredential(t.Context(), pair) }); err != nil {
				t.Error(err)
			}
			got, err := s.CredentialByToken(t.Context(), tenant, "token")
			check("a new pair", got, err, pair)
			pair.Key = nil
			credentials, err = s.Credentials(t.Context(), tenant, sender.Page{})
			check("old and new credentials", credentials, err, slices.Concat(wantCredentials, []sender.Credential{pair}))
		})
	}
}

// makeVersion1 makes a database with the first migration alone.
func makeVersion1(t *testing.T, c Config, tenant, queued string, body []byte) {
	t.Helper()
	open := openSQLite
	if c.DSN[:4] == "post" {
		open = openPostgres
	}
	e, err := open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	}()
	p, done, err := newProvider(e)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if _, err := p.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	const bodies = "INSERT INTO bodies (tenant_id, message_id, body) VALUES ($1, $2, $3)"
	sealed := c.SealKeys.seal(body, bodyPlace(tenant, queued))
	if e.writer() != nil {
		if _, err = e.writer().ExecContext(t.Context(), ofVersion1); err == nil {
			_, err = e.writer().ExecContext(t.Context(), bodies, tenant, queued, sealed)
		}
	} else if _, err = e.pool().Exec(t.Context(), ofVersion1); err == nil {
		_, err = e.pool().Exec(t.Context(), bodies, tenant, queued, sealed)
	}
	if err != nil {
		t.Fatal(err)
	}
}
