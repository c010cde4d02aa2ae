package sender_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// worker is a credential with a role in a whole organization.
func worker(organization sender.ID, role sender.Role) sender.Principal {
	return sender.Principal{Credential: sender.NewID(), Grants: []sender.Grant{{Organization: organization, Role: role}}}
}

func TestAdminOfTheOrganizationMakesAndChangesTenants(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ctx := t.Context()
		boss, reader := worker(sender.DefaultOrganization, sender.RoleAdmin), worker(sender.DefaultOrganization, sender.RoleReader)
		made, err := h.CreateTenant(ctx, boss, sender.NewTenant{Name: "made"})
		if err != nil || made.Organization != sender.DefaultOrganization {
			t.Fatalf("%+v, %v", made, err)
		}
		for what, call := range map[string]func() error{
			"made by a reader":         func() error { _, err := h.CreateTenant(ctx, reader, sender.NewTenant{Name: "x"}); return err },
			"made by a tenant's admin": func() error { _, err := h.CreateTenant(ctx, h.admin, sender.NewTenant{Name: "x"}); return err },
			"made by nobody": func() error {
				_, err := h.CreateTenant(ctx, sender.Principal{}, sender.NewTenant{Name: "x"})
				return err
			},
			"in another organization": func() error {
				_, err := h.CreateTenant(ctx, boss, sender.NewTenant{Name: "x", Organization: sender.NewID()})
				return err
			},
			"with limits": func() error {
				_, err := h.CreateTenant(ctx, boss, sender.NewTenant{Name: "x", Limits: sender.Limits{Domains: 9999}})
				return err
			},
			"with a policy": func() error {
				_, err := h.CreateTenant(ctx, boss, sender.NewTenant{Name: "x", FromPolicy: sender.ByAddress})
				return err
			},
			"changed by a tenant's admin": func() error {
				_, err := h.UpdateTenant(ctx, h.admin, h.tenant.ID, sender.TenantChange{Name: "x"})
				return err
			},
			"changed by a reader": func() error {
				_, err := h.UpdateTenant(ctx, reader, made.ID, sender.TenantChange{Name: "x"})
				return err
			},
			"deleted by a tenant's admin": func() error { return h.DeleteTenant(ctx, h.admin, h.tenant.ID) },
		} {
			if err := call(); sender.KindOf(err) != sender.Denied {
				t.Errorf("%s: %v, want denied", what, err)
			}
		}
		if _, err := h.UpdateTenant(ctx, h.admin, made.ID, sender.TenantChange{Name: "x"}); sender.KindOf(err) != sender.NotFound {
			t.Errorf("another's tenant: %v", err)
		}
		for want, c := range map[string]sender.TenantChange{"invalid name": {Name: "a\nb"}, "invalid type": {Type: "TOY"}} {
			if _, err := h.UpdateTenant(ctx, boss, made.ID, c); kindAndField(err) != want {
				t.Errorf("%+v: %v, want %s", c, err, want)
			}
		}
		changed, err := h.UpdateTenant(ctx, boss, made.ID, sender.TenantChange{Name: "changed", Type: sender.Production})
		if err != nil || changed.Name != "changed" || changed.Type != sender.Production {
			t.Fatalf("%+v, %v", changed, err)
		}
		n, err := 0, error(nil)
		for ; err == nil && n < 200; n++ {
			_, err = h.CreateTenant(ctx, boss, sender.NewTenant{Name: "one of many"})
		}
		if sender.KindOf(err) != sender.Limit || n > 100 {
			t.Errorf("after %d more environments: %v", n, err)
		}
		if _, err := h.CreateTenant(ctx, operator, sender.NewTenant{Name: "more", Organization: sender.DefaultOrganization}); err != nil {
			t.Errorf("by an operator: %v", err)
		}
		if got, err := h.Authorize(ctx, boss, made.ID, sender.RoleReader); err != nil || got.Name != "changed" {
			t.Errorf("read back %+v, %v", got, err)
		}
	})
}

func TestTenantIsDeletedOnlyWhenItIsEmpty(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ctx := t.Context()
		boss := worker(sender.DefaultOrganization, sender.RoleAdmin)
		n := letter(func(n *sender.NewTemplate) { n.Application = "" })
		template := h.template(n)
		inUse := func(what string) {
			t.Helper()
			if err := h.DeleteTenant(ctx, boss, h.tenant.ID); kindAndField(err) != "in-use environment" {
				t.Errorf("with %s: %v", what, err)
			}
		}
		inUse("a template")
		if err := h.DeleteTemplate(ctx, h.admin, h.tenant.ID, "", template.ID); err != nil {
			t.Fatal(err)
		}
		d, err := h.CreateDomain(ctx, h.admin, h.tenant.ID, "example.org")
		if err != nil {
			t.Fatal(err)
		}
		inUse("a domain")
		if err := h.DeleteDomain(ctx, h.admin, h.tenant.ID, d.ID, false); err != nil {
			t.Fatal(err)
		}
		if err := h.DeleteTenant(ctx, boss, h.tenant.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Authorize(ctx, boss, h.tenant.ID, sender.RoleReader); sender.KindOf(err) != sender.NotFound {
			t.Errorf("after it is gone: %v", err)
		}
		if err := h.DeleteTenant(ctx, boss, h.tenant.ID); sender.KindOf(err) != sender.NotFound {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

func TestCallersOwnCredentialEndsWithItsTenant(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		ctx := t.Context()
		mine := sender.Credential{ID: sender.NewID(), Kind: sender.APIKey, Tenant: h.tenant.ID, Grants: []sender.Grant{{Organization: sender.DefaultOrganization, Role: sender.RoleAdmin}}, CreatedAt: h.tenant.CreatedAt}
		other := mine
		other.ID = sender.NewID()
		err := h.store.Update(ctx, func(tx sender.Tx) error {
			if err := tx.InsertCredential(ctx, mine); err != nil {
				return err
			}
			return tx.InsertCredential(ctx, other)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.DeleteTenant(ctx, mine.Principal(), h.tenant.ID); kindAndField(err) != "in-use environment" {
			t.Errorf("with another's credential: %v", err)
		}
		if err := h.store.Update(ctx, func(tx sender.Tx) error { return tx.RevokeCredential(ctx, h.tenant.ID, other.ID, h.tenant.CreatedAt) }); err != nil {
			t.Fatal(err)
		}
		if err := h.DeleteTenant(ctx, mine.Principal(), h.tenant.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.store.Credential(ctx, mine.ID); sender.KindOf(err) != sender.NotFound {
			t.Errorf("the caller's credential: %v", err)
		}
	})
}

// A node takes mail for a second after another has deleted the tenant; it never leaves.
func TestMailForATenantThatAnotherNodeDeletedNeverLeaves(t *testing.T) {
	for _, from := range []string{"no-reply@mail.postseal.test", "noreply@example.org"} {
		t.Run(from, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
				a := h.activeAddress(d, "noreply@example.org")
				h.stop()
				other := h.node()
				h.stop = h.dispatch(other)
				send := func() (sender.Message, error) {
					m, _, err := other.Send(t.Context(), h.admin, h.tenant.ID, sender.NewMessage{
						From: sender.Mailbox{Address: from}, To: sender.Mailbox{Address: "reader@example.net"}, Subject: "s", Text: "t",
					})
					synctest.Wait()
					return m, err
				}
				if _, err := send(); err != nil {
					t.Fatal(err)
				}
				before := len(h.way.attempts())
				err := errors.Join(h.DeleteAddress(t.Context(), h.admin, h.tenant.ID, d.ID, a.ID), h.DeleteDomain(t.Context(), h.admin, h.tenant.ID, d.ID, false),
					h.DeleteTenant(t.Context(), operator, h.tenant.ID))
				if err != nil {
					t.Fatal(err)
				}
				m, err := send()
				if err != nil {
					t.Fatalf("the other node knew: %v; the test proves nothing", err)
				}
				time.Sleep(25 * time.Hour)
				if n := len(h.way.attempts()) - before; n != 0 {
					t.Errorf("%d messages left", n)
				}
				got, err := h.store.Message(t.Context(), h.tenant.ID, m.ID)
				if err != nil || got.State != sender.MessageRefused || got.Reason == "" {
					t.Errorf("%s: %q, %v", got.State, got.Reason, err)
				}
			}, usualLeases)
		})
	}
}
