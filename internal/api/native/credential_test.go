package native_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

// credential is the body that asks for one with the role of a sender.
func (h *harness) credential(kind string) string {
	return fmt.Sprintf(`{"kind":%q,"name":"shop","grants":[{"tenant":%q,"role":"sender"}]}`, kind, h.tenant.ID)
}

// opens reports whether a reply's pair is found by its token.
func (h *harness) opens(r apitest.Reply) bool {
	key, p, err := h.Auth.Key(h.T.Context(), h.tenant.ID, r.String("token"))
	if err != nil && sender.KindOf(err) != sender.Unauthenticated {
		h.T.Error(err)
	}
	return err == nil && base64.StdEncoding.EncodeToString(key) == r.String("secret") && string(p.Credential) == r.String("id")
}

func TestEveryKindOfCredentialShowsItsSecretOnce(t *testing.T) {
	h := newHarness(t)
	for _, kind := range []string{"oauth-client", "api-key", "pingid-key"} {
		r := h.call(h.admin, "POST", h.base+"/credentials", h.credential(kind)).Want(201)
		if r.String("kind") != kind || r.String("secret") == "" || (kind == "pingid-key") != (r.String("token") != "") || (kind == "pingid-key") != (r.String("properties") != "") {
			t.Errorf("made %s", r.Body)
		}
		list := string(h.call(h.admin, "GET", h.base+"/credentials?limit=1000", "").Want(200).Body)
		if !strings.Contains(list, r.String("id")) || !strings.Contains(list, r.String("token")) || strings.Contains(list, r.String("secret")) || strings.Contains(list, "properties") {
			t.Errorf("%s: listed as %s", kind, list)
		}
	}
	for member, field := range map[string]string{`"kind":"pingid"`: "kind", `"kind":""`: "kind", `"kind":"pingid-key","domain":"` + string(h.Domain(h.tenant, "example.org").ID) + `"`: "kind"} {
		problem(t, h.call(h.admin, "POST", h.base+"/credentials", strings.Replace(h.credential("x"), `"kind":"x"`, member, 1)), 422, "invalid", field)
	}
}

func TestKeyPairComesAsTheFileThatClientsRead(t *testing.T) {
	h := newHarness(t)
	r := h.call(h.admin, "POST", h.base+"/credentials", h.credential("pingid-key"), "X-Forwarded-Proto", "https").Want(201)
	lines := strings.Split(r.String("properties"), "\n")
	want := []string{
		"account_id=" + string(h.tenant.ID), "api_key=" + r.String("secret"), "token=" + r.String("token"),
		"pingidsdk_url=" + h.server.URL + "/pingid", "",
	}
	if len(lines) != 7 || lines[0] != "# Made by Postseal for shop" || !slices.Equal(lines[2:], want) {
		t.Errorf("the file is\n%s", r.String("properties"))
	}
	if !h.opens(r) {
		t.Error("the key that was shown is not that of the token")
	}
	// By the name that the client called us by.
	r = h.call(h.admin, "POST", h.base+"/credentials", h.credential("pingid-key"), "Host", "mail.example.org:8443").Want(201)
	if !strings.Contains(r.String("properties"), "\npingidsdk_url=http://mail.example.org:8443/pingid\n") {
		t.Errorf("the file is\n%s", r.String("properties"))
	}
	h.call(h.admin, "DELETE", h.base+"/credentials/"+r.String("id"), "").Want(204)
	if h.opens(r) {
		t.Error("the key counts after its revocation")
	}
}

func TestRotationMakesAnotherAndEndsTheOldOneAfterTheOverlap(t *testing.T) {
	h := newHarness(t)
	for _, kind := range []string{"oauth-client", "api-key", "pingid-key"} {
		old := h.call(h.admin, "POST", h.base+"/credentials", h.credential(kind)).Want(201)
		path := h.base + "/credentials/" + old.String("id") + "/rotate"
		for _, c := range []struct {
			body string
			end  time.Duration
		}{{`{"overlap":2592000}`, 30 * 24 * time.Hour}, {`{}`, 24 * time.Hour}, {`{"overlap":3600}`, time.Hour}, {`{"overlap":null}`, time.Hour}} { // none prolongs
			r := h.call(h.admin, "POST", path, c.body).Want(201)
			if r.String("id") == old.String("id") || r.String("secret") == old.String("secret") || r.String("secret") == "" || r.String("kind") != kind || r.String("name") != "shop" ||
				r.String("grants.0.role") != "sender" || r.At("expiresAt") != nil || (kind == "pingid-key") != strings.Contains(r.String("properties"), r.String("secret")) {
				t.Errorf("rotated to %s", r.Body)
			}
			if kind == "pingid-key" && (!h.opens(r) || !h.opens(old)) {
				t.Error("one of both does not count within the overlap")
			}
			if left := time.Until(h.expiry(old.String("id"))); left > c.end || left < c.end-time.Minute {
				t.Errorf("%s: the old one ends in %s, want %s", c.body, left, c.end)
			}
		}
		// A key that leaked must end now, not after a day.
		r := h.call(h.admin, "POST", path, `{"overlap":0}`).Want(201)
		if left := time.Until(h.expiry(old.String("id"))); left > 0 {
			t.Errorf("without an overlap the old one ends in %s", left)
		}
		switch kind {
		case "pingid-key":
			if h.opens(old) || !h.opens(r) {
				t.Error("without an overlap the old pair still counts, or the new one does not")
			}
		case "api-key":
			problem(t, h.call(auth.Secret(old.String("secret")), "GET", h.base, ""), 401, "unauthenticated", "")
			h.call(auth.Secret(r.String("secret")), "GET", h.base, "").Want(200)
		}
		problem(t, h.call(h.admin, "POST", path, `{}`), 422, "invalid", "credential")
	}
	if events := string(h.call(h.admin, "GET", h.base+"/events?limit=1000", "").Want(200).Body); strings.Count(events, `"credential.rotated"`) != 15 || !strings.Contains(events, `"until"`) {
		t.Errorf("the rotations are not in the log: %s", events)
	}
}

// expiry is when a credential ends as the list has it.
func (h *harness) expiry(id string) time.Time {
	h.T.Helper()
	list := h.call(h.admin, "GET", h.base+"/credentials?limit=1000", "").Want(200)
	for i := 0; list.At(fmt.Sprintf("items.%d", i)) != nil; i++ {
		if item := fmt.Sprintf("items.%d.", i); list.String(item+"id") == id {
			at, err := time.Parse(time.RFC3339, list.String(item+"expiresAt"))
			if err != nil {
				h.T.Error(err)
			}
			return at
		}
	}
	h.T.Fatalf("%s is not listed", id)
	return time.Time{}
}

func TestRotationIsRefusedToWhoCouldNotMakeTheCredential(t *testing.T) {
	h := newHarness(t)
	mine := h.call(h.admin, "POST", h.base+"/credentials", h.credential("pingid-key")).Want(201).String("id")
	other := h.Tenant("other")
	foreign, _, _ := h.Client(other, sender.RoleAdmin, "")
	wide, _, err := h.Auth.CreateCredential(t.Context(), apitest.Operator, auth.NewCredential{
		Kind: sender.APIKey, Name: "wide", Tenant: h.tenant.ID, Grants: []sender.Grant{{Organization: sender.DefaultOrganization, Role: sender.RoleReader}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		token       auth.Secret
		path, body  string
		status      int
		code, field string
	}{
		{"a reader", h.Token(h.tenant, sender.RoleReader), h.base + "/credentials/" + mine, `{}`, 403, "denied", ""},
		{"a sender", h.Token(h.tenant, sender.RoleSender), h.base + "/credentials/" + mine, `{}`, 403, "denied", ""},
		{"a stranger", "", h.base + "/credentials/" + mine, `{}`, 401, "unauthenticated", ""},
		{"another tenant's credential", h.admin, h.base + "/credentials/" + string(foreign.ID), `{}`, 404, "not-found", ""},
		{"another tenant's, named right", h.admin, "/v1/tenants/" + string(other.ID) + "/credentials/" + string(foreign.ID), `{}`, 404, "not-found", ""},
		{"one that is not there", h.admin, h.base + "/credentials/" + string(sender.NewID()), `{}`, 404, "not-found", ""},
		{"no id", h.admin, h.base + "/credentials/x", `{}`, 404, "not-found", ""},
		{"more than one holds", h.admin, h.base + "/credentials/" + string(wide.ID), `{}`, 422, "invalid", "grants"},
		{"a negative overlap", h.admin, h.base + "/credentials/" + mine, `{"overlap":-1}`, 422, "invalid", "overlap"},
		{"too long an overlap", h.admin, h.base + "/credentials/" + mine, `{"overlap":2592001}`, 422, "invalid", "overlap"},
		{"half an overlap", h.admin, h.base + "/credentials/" + mine, `{"overlap":0.5}`, 422, "invalid", "overlap"},
		{"an overlap in words", h.admin, h.base + "/credentials/" + mine, `{"overlap":"24h"}`, 422, "invalid", "overlap"},
		{"an unknown member", h.admin, h.base + "/credentials/" + mine, `{"life":1}`, 422, "invalid", "life"},
		{"broken", h.admin, h.base + "/credentials/" + mine, `{`, 400, "malformed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.call(c.token, "POST", c.path+"/rotate", c.body)
			r.T = t
			problem(t, r, c.status, c.code, c.field)
		})
	}
	if list := string(h.call(h.operator, "GET", h.base+"/credentials?limit=1000", "").Want(200).Body); strings.Contains(list, "expiresAt") {
		t.Errorf("something was rotated: %s", list)
	}
}
