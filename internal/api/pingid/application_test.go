package pingid

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/sender"
)

func TestApplicationIsMadeUnderTheIdThatItsMakerChose(t *testing.T) {
	h := newHarness(t)
	apps := h.base + "/applications"
	if r := h.call("GET", apps, "").Want(200); string(r.Body) != `{"applications":[]}` {
		t.Errorf("an empty list: %s", r.Body)
	}
	id := string(sender.NewRandomID())
	r := h.call("POST", apps, `{"id":"`+strings.ToUpper(id)+`","name":"Demo","appEnabled":true,"sharedBetweenAccounts":true,"fcmSenderId":"1","fcmServerKey":"s3cret"}`).Want(201)
	want := fmt.Sprintf(`{"id":%q,"name":"Demo","appEnabled":true,"sharedBetweenAccounts":false,"fcmSenderId":"1"}`, id)
	if string(r.Body) != want {
		t.Errorf("made: %s", r.Body)
	}
	if r := h.call("GET", apps+"/"+strings.ToUpper(id), "").Want(200); string(r.Body) != want {
		t.Errorf("read: %s", r.Body)
	}
	if r := h.call("GET", apps, "").Want(200); string(r.Body) != `{"applications":[`+want+`]}` {
		t.Errorf("listed: %s", r.Body)
	}
	r = h.call("PUT", apps+"/"+id, `{"id":"`+string(sender.NewRandomID())+`","name":"DEMO"}`).Want(200)
	if want := fmt.Sprintf(`{"id":%q,"name":"DEMO","appEnabled":false,"sharedBetweenAccounts":false}`, id); string(r.Body) != want {
		t.Errorf("replaced: %s", r.Body)
	}
	if r := h.call("POST", apps, `{"name":"Another","fcmServerKey":null}`).Want(201); r.String("id") == "" || r.At("appEnabled") != false {
		t.Errorf("without an id: %s", r.Body)
	}
	const app = "INVALID_DATA application "
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", apps, `{"id":"` + id + `","name":"x"}`, 400, app + "UNIQUE_VALUE_REQUIRED id"},
		{"POST", apps, `{"name":"dEmO"}`, 400, app + "UNIQUE_VALUE_REQUIRED name"},
		{"PUT", apps + "/" + id, `{"name":"another"}`, 400, app + "UNIQUE_VALUE_REQUIRED name"},
		{"POST", apps, `{"id":"x","name":"x"}`, 400, app + "INVALID_VALUE id"},
		{"POST", apps, `{"id":"","name":"x"}`, 400, app + "EMPTY_VALUE id"},
		{"POST", apps, `{}`, 400, app + "REQUIRED_VALUE name"},
		{"POST", apps, `{"name":" "}`, 400, app + "EMPTY_VALUE name"},
		{"POST", apps, `{"name":"` + strings.Repeat("x", 101) + `"}`, 400, app + "SIZE_LIMIT_EXCEEDED name"},
		{"POST", apps, `{"name":"a\u0000b"}`, 400, app + "INVALID_VALUE name"},
		{"POST", apps, `{"name":"x","appEnabled":"true"}`, 400, app + "INVALID_VALUE appEnabled"},
		{"POST", apps, `{"name":"x","fcmSenderId":"a\nb"}`, 400, app + "INVALID_VALUE -"},
		{"PUT", apps + "/" + id, `{"appEnabled":true}`, 400, app + "REQUIRED_VALUE name"},
		{"PUT", apps + "/" + string(sender.NewRandomID()), `{"name":"x"}`, 404, "NOT_FOUND application NOT_FOUND -"},
		{"GET", apps + "/x", "", 404, "NOT_FOUND application NOT_FOUND -"},
		{"DELETE", apps + "/" + id, "", 405, "INVALID_REQUEST - - -"},
	} {
		wantError(t, h.call(c.method, c.path, c.body), c.status, c.want)
	}
	if strings.Contains(h.Logged(), "s3cret") {
		t.Error("the server key is in the log")
	}
}

func TestNamesAreAnsweredPrefixedWhereTheSettingSaysSo(t *testing.T) {
	h := newHarness(t)
	h.serve(Config{PrefixNames: true})
	apps := h.base + "/applications"
	const prefixed = "_base64Format_RMOpbW8=" // Démo
	r := h.call("POST", apps, `{"name":"Démo"}`).Want(201)
	id := r.String("id")
	if r.String("name") != prefixed || h.call("GET", apps, "").Want(200).String("applications.0.name") != prefixed {
		t.Errorf("made: %s", r.Body)
	}
	if got := h.call("PUT", apps+"/"+id, `{"name":"`+prefixed+`","appEnabled":true}`).Want(200).String("name"); got != prefixed {
		t.Errorf("what was read is written as %s", got)
	}
	if got := h.call("POST", apps, `{"name":"_base64Format_!"}`).Want(201).String("name"); got != "_base64Format_X2Jhc2U2NEZvcm1hdF8h" {
		t.Errorf("what is no base64 is written as %s", got)
	}
	h.serve(Config{})
	if got := h.call("GET", apps+"/"+id, "").Want(200).String("name"); got != "Démo" {
		t.Errorf("without the setting: %s", got)
	}
}

func TestAttributesAreTextsWithDefaults(t *testing.T) {
	h := newHarness(t)
	id := string(sender.NewRandomID())
	h.call("POST", h.base+"/applications", `{"id":"`+id+`","name":"Demo"}`).Want(201)
	app := h.base + "/applications/" + id
	all := h.call("GET", app+"/attributes", "").Want(200)
	expanded := h.call("GET", app+"?expand=attributes", "").Want(200)
	if fmt.Sprint(all.At("attributes")) != fmt.Sprint(expanded.At("attributes")) || keysOf(t, all, "") != "attributes" || keysOf(t, all, "attributes.0") != "name value" {
		t.Errorf("attributes %s, expanded %s", all.Body, expanded.Body)
	}
	if r := h.call("GET", app, "").Want(200); r.At("attributes") != nil {
		t.Errorf("unasked: %s", r.Body)
	}
	for name, value := range map[string]string{
		"email_enabled": "false", "multiple_device_selection_mode": "false", "max_allowed_devices_for_user": "5", "otp_fallback_enabled": "false",
		"max_allowed_mobile_app_otp_attempts": "3", "email_otp_lifetime": "30", "v2_mfa_environment": "",
	} {
		if r := h.call("GET", app+"/attributes/"+name, "").Want(200); string(r.Body) != fmt.Sprintf(`{"name":%q,"value":%q}`, name, value) {
			t.Errorf("%s: %s", name, r.Body)
		}
	}
	for name, value := range map[string]string{
		"email_enabled": "true", "max_allowed_devices_for_user": "15", "mobile_app_lock_otp_duration": "2m", "pairing_key_expiration": "48h",
		"application_scheme_uri": "demo://", "v2_mfa_environment": id, "email_otp_lifetime": "1", "default_locale": "pt-BR",
	} {
		if r := h.call("PUT", app+"/attributes/"+name, `{"name":"`+name+`","value":"`+value+`"}`).Want(200); string(r.Body) != fmt.Sprintf(`{"name":%q,"value":%q}`, name, value) {
			t.Errorf("%s set: %s", name, r.Body)
		}
		if got := h.call("GET", app+"/attributes/"+name, "").Want(200).String("value"); got != value {
			t.Errorf("%s read: %s", name, got)
		}
	}
	h.call("PUT", app+"/attributes/email_enabled", `{"value":"false"}`).Want(200) // without the name
	h.call("PUT", app+"/attributes/v2_mfa_environment", `{"value":""}`).Want(200)
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"email_enabled", `{"value":"yes"}`, 400, "INVALID_DATA attribute INVALID_VALUE value"},
		{"email_enabled", `{"value":true}`, 400, "INVALID_DATA attribute INVALID_VALUE value"},
		{"email_enabled", `{"value":""}`, 400, "INVALID_DATA attribute INVALID_VALUE value"},
		{"email_enabled", `{}`, 400, "INVALID_DATA attribute REQUIRED_VALUE value"},
		{"email_enabled", `{"name":"x","value":"true"}`, 400, "INVALID_DATA attribute INVALID_VALUE name"},
		{"max_allowed_devices_for_user", `{"value":"16"}`, 400, "INVALID_DATA attribute INVALID_VALUE value"},
		{"email_otp_lifetime", `{"value":"0"}`, 400, "INVALID_DATA attribute INVALID_VALUE value"},
		{"nothing", `{"value":"x"}`, 404, "NOT_FOUND attribute NOT_FOUND -"},
		{"EMAIL_ENABLED", `{"value":"true"}`, 404, "NOT_FOUND attribute NOT_FOUND -"},
	} {
		wantError(t, h.call("PUT", app+"/attributes/"+c.name, c.body), c.status, c.want)
	}
	wantError(t, h.call("GET", app+"/attributes/nothing", ""), 404, "NOT_FOUND attribute NOT_FOUND -")
	other := h.base + "/applications/" + string(sender.NewRandomID())
	wantError(t, h.call("GET", other+"/attributes", ""), 404, "NOT_FOUND application NOT_FOUND -")
	wantError(t, h.call("PUT", other+"/attributes/email_enabled", `{"value":"true"}`), 404, "NOT_FOUND application NOT_FOUND -")
}

func TestExpiresIsDemandedWhereTheSettingSaysSo(t *testing.T) {
	h := newHarness(t)
	h.serve(Config{RequireExpires: true})
	for more, status := range map[string]int{"": 401, `,"expires":"2999-01-02T15:04:05Z"`: 200, `,"expires":"2009-01-02T15:04:05Z"`: 401} {
		h.wantSigned(h.unsigned("GET", h.domains(), "", "Authorization", h.sign("GET", "127.0.0.1", h.domains(), "", more)).Want(status))
	}
}
