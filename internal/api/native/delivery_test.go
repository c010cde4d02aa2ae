package native_test

import (
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/sender"
)

func TestDeliverySettingsAreKeptTestedAndDeleted(t *testing.T) {
	h := newHarness(t)
	h.Address(h.tenant, h.Proven(h.tenant, "mail.example.org"), "noreply@mail.example.org")
	path := h.base + "/delivery-settings"
	problem(t, h.call(h.admin, "GET", path, ""), 404, "not-found", "")
	problem(t, h.call(h.admin, "POST", path+"/test", `{"to":"admin@example.net"}`), 404, "not-found", "")

	const settings = `{"host":"SMTP.example.org","port":587,"username":"postseal","password":"hunter2","from":{"name":"A","address":"noreply@mail.example.org"},"replyTo":"noreply@mail.example.org"}`
	r := h.call(h.admin, "PUT", path, settings).Want(200)
	if r.String("host") != "SMTP.example.org" || r.At("port") != 587.0 || r.String("tls") != "starttls" || r.String("username") != "postseal" ||
		r.String("from.name") != "A" || r.String("replyTo.address") != "noreply@mail.example.org" || r.String("updatedAt") == "" {
		t.Errorf("kept %s", r.Body)
	}
	if again := h.call(h.admin, "GET", path, "").Want(200); string(again.Body) != string(r.Body) {
		t.Errorf("read %s, kept %s", again.Body, r.Body)
	}
	if strings.Contains(string(r.Body)+h.Logged(), "hunter2") || r.At("password") != nil {
		t.Errorf("the password shows: %s", r.Body)
	}
	problem(t, h.call(h.admin, "PUT", path, `{"host":"smtp.example.org","from":"boss@example.com"}`), 422, "refused", "from")
	problem(t, h.call(h.admin, "PUT", path, `{"host":"smtp.example.net","username":"postseal"}`), 422, "required", "password")
	problem(t, h.call(h.admin, "PUT", path, `{"host":"smtp.example.net","port":80}`), 422, "invalid", "port")

	r = h.call(h.admin, "POST", path+"/test", `{"to":"admin@example.net"}`).Want(200)
	if r.String("outcome") != "delivered" || r.At("code") != 250.0 || r.String("transcript.0.command") != "QUIT" {
		t.Errorf("tested: %s", r.Body)
	}
	if ds := h.Mail.To("admin@example.net"); len(ds) != 1 || ds[0].From.Address != "noreply@mail.example.org" || ds[0].ReplyTo == nil {
		t.Errorf("sent %+v", ds)
	}
	problem(t, h.call(h.admin, "POST", path+"/test", `{"to":"nobody"}`), 422, "invalid", "to")
	for range 19 {
		h.call(h.admin, "POST", path+"/test", `{"to":"admin@example.net"}`).Want(200)
	}
	if r := h.call(h.admin, "POST", path+"/test", `{"to":"admin@example.net"}`); r.Status != 429 || r.Header.Get("Retry-After") == "" {
		t.Errorf("the 21st: %d %s", r.Status, r.Body)
	}
	reader := h.Token(h.tenant, sender.RoleReader)
	problem(t, h.call(reader, "POST", path+"/test", `{"to":"admin@example.net"}`), 403, "denied", "")
	problem(t, h.call(reader, "PUT", path, settings), 403, "denied", "")
	problem(t, h.call(reader, "DELETE", path, ""), 403, "denied", "")

	h.call(h.admin, "DELETE", path, "").Want(204)
	problem(t, h.call(h.admin, "DELETE", path, ""), 404, "not-found", "")
	problem(t, h.call(h.admin, "GET", path, ""), 404, "not-found", "")
}

func TestDeliverySettingsCanBeSwitchedOff(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Send.OwnRelays = false })
	problem(t, h.call(h.admin, "PUT", h.base+"/delivery-settings", `{"host":"smtp.example.org"}`), 422, "refused", "host")
}

// A sealing key that is lost takes the password along, and nothing else.
func TestDeliverySettingsOutliveTheirSealingKey(t *testing.T) {
	h := newHarness(t)
	path := h.base + "/delivery-settings"
	h.call(h.admin, "PUT", path, `{"host":"smtp.example.org","username":"postseal","password":"hunter2"}`).Want(200)
	if _, err := h.Store.Writer().ExecContext(t.Context(), `UPDATE relays SET password = CAST('v1.gone.' || substr(password, instr(password, '.') + 11) AS BLOB)`); err != nil {
		t.Fatal(err)
	}
	if r := h.call(h.admin, "GET", path, "").Want(200); r.At("passwordLost") != true || r.String("host") != "smtp.example.org" {
		t.Errorf("read %s", r.Body)
	}
	problem(t, h.call(h.admin, "PUT", path, `{"host":"smtp.example.org","username":"postseal"}`), 422, "required", "password")
	problem(t, h.call(h.admin, "POST", path+"/test", `{"to":"admin@example.net"}`), 422, "required", "password")
	h.call(h.admin, "PUT", path, `{"host":"smtp.example.org","username":"postseal","password":"hunter3"}`).Want(200)
	if r := h.call(h.admin, "GET", path, "").Want(200); r.At("passwordLost") != nil {
		t.Errorf("then %s", r.Body)
	}
	h.call(h.admin, "PUT", path, `{"host":"smtp.example.org","username":"postseal"}`).Want(200)
}
