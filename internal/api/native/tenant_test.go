package native_test

import (
	"testing"

	"github.com/postseal/postseal/internal/sender"
)

func TestTenantIsChangedAndDeletedWhenItIsEmpty(t *testing.T) {
	h := newHarness(t)
	made := h.call(h.operator, "POST", "/v1/tenants", `{"name":"made"}`).Want(201)
	path := "/v1/tenants/" + made.String("id")
	if r := h.call(h.operator, "PATCH", path, `{"name":"renamed","type":"PRODUCTION"}`).Want(200); r.String("name") != "renamed" || r.String("type") != "PRODUCTION" {
		t.Errorf("changed: %s", r.Body)
	}
	problem(t, h.call(h.operator, "PATCH", path, `{"type":"TOY"}`), 422, "invalid", "type")
	problem(t, h.call(h.admin, "PATCH", h.base, `{"name":"x"}`), 403, "denied", "")
	problem(t, h.call(h.admin, "DELETE", h.base, ""), 403, "denied", "")
	problem(t, h.call(h.admin, "PATCH", path, `{"name":"x"}`), 404, "not-found", "")
	problem(t, h.call(h.operator, "DELETE", h.base, ""), 409, "in-use", "environment")
	h.call(h.operator, "DELETE", path, "").Want(204)
	problem(t, h.call(h.operator, "GET", path, ""), 404, "not-found", "")
}

func TestMailDefaultsAreKept(t *testing.T) {
	h := newHarness(t)
	path := h.base + "/mail-defaults"
	if r := h.call(h.admin, "GET", path, "").Want(200); string(r.Body) != "{}" {
		t.Errorf("at first: %s", r.Body)
	}
	want := `{"from":"\"Shop\" <noreply@pingidentity.com>","locale":"pt-BR"}`
	h.call(h.admin, "PUT", path, `{"from":"\"Shop\" <noreply@pingidentity.com>","locale":"pt_br"}`).Want(200)
	if r := h.call(h.admin, "GET", path, "").Want(200); string(r.Body) != want {
		t.Errorf("kept: %s, want %s", r.Body, want)
	}
	problem(t, h.call(h.admin, "PUT", path, `{"from":"x@elsewhere.example"}`), 422, "refused", "from")
	problem(t, h.call(h.admin, "PUT", path, `{"locale":"english"}`), 422, "invalid", "locale")
	problem(t, h.call(h.Token(h.tenant, sender.RoleReader), "PUT", path, `{}`), 403, "denied", "")
}
