package store

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/storetest"
)

// What a program that knew two migrations wrote, as it wrote it.
const ofVersion2 = `
INSERT INTO tenants (id, organization_id, name, type, geography, regions, record_set, from_policy,
    max_domains, max_addresses, max_templates, created_at, updated_at)
VALUES ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-000000000001', 'Acme', 'SANDBOX', 'eu', '["eu-west-1"]',
    'per-region', 'domain', 50, 10, 1000, 1772366400000000, 1772366400000001);

INSERT INTO domains (tenant_id, id, name, spelling, tokens, facets, proven_at, next_check_at, version, created_at, updated_at)
VALUES ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-0000000000d1', 'example.org', 'Example.org', '{}', '[]',
    1772366400000000, 1772366400000000, 7, 1772366400000000, 1772366400000001);

INSERT INTO addresses (tenant_id, id, mailbox, domain, spelling, status, evidence, code, created_at, updated_at)
VALUES ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-0000000000b1', 'noreply@example.org', 'example.org',
    'NoReply@example.org', 'verified', 'code', '{}', 1772366400000000, 1772366400000001);

INSERT INTO messages (tenant_id, id, kind, author, recipient, region, state, reason, once, attempts, in_doubt, next_attempt_at,
    expires_at, created_at, done_at, idempotency_key, request_hash, actor, lease_owner, lease_until, reply_to, template_id, locale)
VALUES ('0197a000-0000-7000-8000-00000000000a', '0197a000-0000-7000-8000-0000000000e1', 'code', 'no-reply@service.example',
    'noreply@example.org', '', 'sent', '', false, 1, 0, 1772366400000000, 1772452800000000, 1772366400000000,
    1772366400000002, '', '', '', '', 0, 'help@example.org', '0197a000-0000-7000-8000-0000000000f1', 'de');
`

func TestDatabaseOfTheSecondSchemaUpgradesWithEverythingInIt(t *testing.T) {
	for name, dsn := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return filepath.Join(t.TempDir(), "postseal.db") },
		"postgres": storetest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{DSN: dsn(t), SealKeys: ring(t, GenerateKey()), Log: slog.New(slog.DiscardHandler)}
			makeSchema(t, c, 2, ofVersion2)
			c.Migrate = true
			s, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()

			at, tenant := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), sender.ID("0197a000-0000-7000-8000-00000000000a")
			domain, err := dnscheck.ParseName("example.org")
			if err != nil {
				t.Fatal(err)
			}
			d := sender.Domain{
				ID: "0197a000-0000-7000-8000-0000000000d1", Tenant: tenant, Name: domain, Spelling: "Example.org", Facets: []sender.Facet{},
				ProvenAt: at, NextCheck: at, Version: 7, CreatedAt: at, UpdatedAt: at.Add(time.Microsecond),
			}
			a := sender.Address{
				ID: "0197a000-0000-7000-8000-0000000000b1", Tenant: tenant, Mailbox: "noreply@example.org", Domain: domain,
				Spelling: "NoReply@example.org", Status: sender.Verified, By: sender.ByCode, CreatedAt: at, UpdatedAt: at.Add(time.Microsecond),
			}
			m := sender.Message{
				ID: "0197a000-0000-7000-8000-0000000000e1", Tenant: tenant, Kind: sender.KindCode, From: "no-reply@service.example",
				To: "noreply@example.org", ReplyTo: "help@example.org", Template: "0197a000-0000-7000-8000-0000000000f1", Locale: "de",
				State: sender.Sent, Attempts: 1, NextAttemptAt: at, ExpiresAt: at.Add(24 * time.Hour), CreatedAt: at, DoneAt: at.Add(2 * time.Microsecond),
			}
			check := func(what string) {
				t.Helper()
				domains, err := s.Domains(t.Context(), tenant, sender.Page{})
				if want := []sender.Domain{d}; err != nil || !reflect.DeepEqual(domains, want) {
					t.Errorf("%s, domains: %+v, %v; want %+v", what, domains, err, want)
				}
				found, total, err := s.FindAddresses(t.Context(), tenant, sender.Query{Limit: 10, Count: true})
				if want := []sender.Address{a}; err != nil || total != 1 || !reflect.DeepEqual(found, want) {
					t.Errorf("%s, addresses: %+v, %v; want %+v", what, found, err, want)
				}
				messages, err := s.Messages(t.Context(), tenant, sender.Page{})
				if want := []sender.Message{m}; err != nil || !reflect.DeepEqual(messages, want) {
					t.Errorf("%s, messages: %+v, %v; want %+v", what, messages, err, want)
				}
			}
			check("upgraded")

			// And what is new fits into what is old.
			d.MailFrom, a.ByDomain = sender.MailFrom{Name: domain.Child("bounce"), Spelling: "bounce.example.org", OnFailure: sender.UseDefault}, true
			err = s.Update(t.Context(), func(tx sender.Tx) error {
				if err := tx.UpdateDomain(t.Context(), d); err != nil {
					return err
				}
				if err := tx.UpdateAddress(t.Context(), a); err != nil {
					return err
				}
				return tx.PutSetting(t.Context(), tenant, "name", "document")
			})
			if err != nil {
				t.Fatal(err)
			}
			d.Version++
			d.Tokens.Regions = []sender.RegionTokens{} // as it is written now
			check("changed")
			if got, err := s.Setting(t.Context(), tenant, "name"); err != nil || got != "document" {
				t.Errorf("setting: %q, %v", got, err)
			}
		})
	}
}

// A freeze of the ninth schema was everybody's.
func TestFreezeOfTheNinthSchemaIsEverybodys(t *testing.T) {
	for name, dsn := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return filepath.Join(t.TempDir(), "postseal.db") },
		"postgres": storetest.Postgres,
	} {
		for _, frozenAt := range []int64{0, 1772366400000000} {
			t.Run(fmt.Sprint(name, " ", frozenAt > 0), func(t *testing.T) {
				c := Config{DSN: dsn(t), SealKeys: ring(t, GenerateKey()), Log: slog.New(slog.DiscardHandler), Migrate: true}
				makeSchema(t, c, 9, fmt.Sprintf("UPDATE mass_guard SET frozen_at = %d, reason = 'it was true'", frozenAt))
				s, err := Open(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				want := sender.MassGuard{FrozenAt: moment(frozenAt), Everybody: frozenAt > 0, Reason: "it was true"}
				if g, err := s.MassGuard(t.Context()); err != nil || !reflect.DeepEqual(g, want) {
					t.Errorf("%+v, %v; want %+v", g, err, want)
				}
			})
		}
	}
}

// makeSchema makes a database with so many migrations and with rows of that time.
func makeSchema(t *testing.T, c Config, version int64, rows string) {
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
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	if e.writer() != nil {
		_, err = e.writer().ExecContext(t.Context(), rows)
	} else {
		_, err = e.pool().Exec(t.Context(), rows)
	}
	if err != nil {
		t.Fatal(err)
	}
}
