package native_test

import (
	"testing"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

func TestMassGuardIsSeenAndReleasedByOperators(t *testing.T) {
	h := newHarness(t)
	if r := h.call(h.operator, "GET", "/v1/mass-guard", "").Want(200); string(r.Body) != `{"everybody":false,"tenants":[],"absent":0,"holding":0,"domains":[]}` {
		t.Errorf("at first: %s", r.Body)
	}
	problem(t, h.call(h.admin, "GET", "/v1/mass-guard", ""), 403, "denied", "")
	problem(t, h.call(h.admin, "POST", "/v1/mass-guard/release", `{"reason":"mine"}`), 403, "denied", "")
	problem(t, h.call(h.operator, "POST", "/v1/mass-guard/release", `{"reason":"early"}`), 409, "conflict", "")
	frozen := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := h.Proven(h.tenant, "mail.example.org")
	err := h.Store.Update(t.Context(), func(tx sender.Tx) error {
		d.AbsentSince = frozen
		if err := tx.UpdateDomain(t.Context(), d); err != nil {
			return err
		}
		return tx.PutMassGuard(t.Context(), sender.MassGuard{FrozenAt: frozen, Tenants: []sender.ID{d.Tenant}})
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"frozenAt":"2026-03-01T12:00:00Z","everybody":false,"tenants":["` + string(d.Tenant) + `"],"absent":1,"holding":1,"domains":[{"tenant":"` + string(d.Tenant) + `","domain":"` + string(d.ID) + `","name":"mail.example.org","absentSince":"2026-03-01T12:00:00Z"}]}`
	if r := h.call(h.operator, "GET", "/v1/mass-guard", "").Want(200); string(r.Body) != want {
		t.Errorf("frozen: %s, want %s", r.Body, want)
	}
	problem(t, h.call(h.operator, "POST", "/v1/mass-guard/release", `{"reason":"a\nb"}`), 422, "invalid", "reason")
	r := h.call(h.operator, "POST", "/v1/mass-guard/release", `{"reason":"their provider is gone"}`).Want(200)
	if r.String("reason") != "their provider is gone" || r.String("frozenAt") != "" || r.String("releasedBy") == "" || r.At("absent") != 0.0 || r.At("tenants.0") != nil {
		t.Errorf("released: %s", r.Body)
	}
}
