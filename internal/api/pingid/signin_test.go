package pingid

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

const ann = "ann@people.example"

// person makes a user and returns the path that an application has for it.
func (h *harness) person(app, username string) string {
	h.T.Helper()
	h.call("POST", h.base+"/users", fmt.Sprintf(`{"username":%q}`, username)).Want(201)
	return app + "/users/" + url.PathEscape(username)
}

// pair asks for the pairing of a mailbox and returns its path.
func (h *harness) pair(user, recipient string) string {
	h.T.Helper()
	return user + "/emailpairings/" + h.call("POST", user+"/emailpairings", fmt.Sprintf(`{"recipient":%q,"type":"auth"}`, recipient)).Want(201).String("id")
}

// paired pairs a mailbox at once and returns the device.
func (h *harness) paired(user, recipient string) string {
	h.T.Helper()
	return h.call("POST", user+"/emailpairings", fmt.Sprintf(`{"recipient":%q,"automaticPairing":true}`, recipient)).Want(201).String("deviceId")
}

// sign in asks for an authentication and returns its path.
func (h *harness) signIn(user string) string {
	h.T.Helper()
	return user + "/authentications/" + h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth"}`).Want(201).String("id")
}

// code is what a request with a one-time code has for a body.
func code(s string) string { return fmt.Sprintf(`{"otp":%q}`, s) }

// wrong is a code other than these, different for every n.
func wrong(n int, right ...string) string {
	for {
		s := fmt.Sprintf("%06d", n)
		if !slices.Contains(right, s) {
			return s
		}
		n += 1000
	}
}

// lastMail is the newest one to a recipient.
func (h *harness) lastMail(to string) sender.Draft {
	h.T.Helper()
	ds := h.Mail.To(to)
	if len(ds) == 0 {
		h.T.Fatalf("no mail was sent to %s", to)
	}
	return ds[len(ds)-1]
}

func (h *harness) events(kind sender.EventType) (found []sender.Event) {
	h.T.Helper()
	es, err := h.Service.Events(h.T.Context(), apitest.Operator, h.tenant.ID, sender.Page{})
	if err != nil {
		h.T.Fatal(err)
	}
	for _, e := range es {
		if e.Type == kind {
			found = append(found, e)
		}
	}
	return found
}

func TestUserGoesTheWayOfTheVendorsSample(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	// That a user is not there is found by the target of the 404.
	wantError(t, h.call("GET", app+"/users/ann", ""), 404, "NOT_FOUND User NOT_FOUND -")
	r := h.call("POST", h.base+"/users", `{"username":"ann","firstName":"","lastName":null,"status":null,"lastLogin":null,"bypassExpiration":1591817065808,"userInBypass":false}`).Want(201)
	const fresh = `{"username":"ann","firstName":"","lastName":"","status":"NOT_ACTIVE","userInBypass":false}`
	if string(r.Body) != fresh {
		t.Errorf("made: %s", r.Body)
	}
	if r := h.call("GET", app+"/users/ann", "").Want(200); string(r.Body) != fresh {
		t.Errorf("read: %s", r.Body)
	}
	if r := h.call("GET", app+"/users/ann?expand=devices", "").Want(200); string(r.Body) != fresh[:len(fresh)-1]+`,"devices":[]}` {
		t.Errorf("with devices: %s", r.Body)
	}
	r = h.call("PUT", h.base+"/users/ann", `{"username":"ann","firstName":"Ann","lastName":"O'Neill","status":"ACTIVE"}`).Want(200)
	if want := `{"username":"ann","firstName":"Ann","lastName":"O'Neill","status":"NOT_ACTIVE","userInBypass":false}`; string(r.Body) != want {
		t.Errorf("changed: %s", r.Body)
	}
	if r := h.call("PUT", h.base+"/users/ann", `{"firstName":"Ann"}`).Want(200); r.At("lastName") != "" {
		t.Errorf("a PUT is whole: %s", r.Body)
	}
	h.paired(app+"/users/ann", ann)
	if got := h.call("GET", app+"/users/ann", "").Want(200).String("status"); got != "ACTIVE" {
		t.Errorf("with a device: %s", got)
	}
	if got := h.call("PUT", h.base+"/users/ann", `{}`).Want(200).String("status"); got != "ACTIVE" {
		t.Errorf("with a device, changed: %s", got)
	}
	if got := h.call("GET", h.app()+"/users/ann", "").Want(200).String("status"); got != "NOT_ACTIVE" {
		t.Errorf("with a device of another application: %s", got)
	}
	h.call("DELETE", h.base+"/users/ann", "").Want(204)
	wantError(t, h.call("DELETE", h.base+"/users/ann", ""), 404, "NOT_FOUND User NOT_FOUND -")
	wantError(t, h.call("PUT", h.base+"/users/ann", "{}"), 404, "NOT_FOUND User NOT_FOUND -")
	wantError(t, h.call("GET", app+"/users/ann/devices", ""), 404, "NOT_FOUND User NOT_FOUND -")
}

func TestUsernamesInPathsArePercentDecoded(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	for _, name := range []string{ann, "Ann Lee", "a/b", "a+b", "100%", "%41", "é日本", "a?b#c", "a;b=c", "...", ".a", `a\b`, `"`, strings.Repeat("é", 100)} {
		user := h.person(app, name)
		if got := h.call("GET", user, "").Want(200).String("username"); got != name {
			t.Errorf("%q is read as %q", name, got)
		}
		if r := h.call("GET", user+"/devices", "").Want(200); string(r.Body) != `{"devices":[]}` {
			t.Errorf("%q: %s", name, r.Body)
		}
		h.call("DELETE", h.base+"/users/"+url.PathEscape(name), "").Want(204)
	}
	for name, want := range map[string]string{
		`"."`: "INVALID_VALUE", `".."`: "INVALID_VALUE", `"a//b"`: "INVALID_VALUE", `"/a"`: "INVALID_VALUE", `"a/"`: "INVALID_VALUE", `"a/../b"`: "INVALID_VALUE",
		`"a\u0000"`: "INVALID_VALUE", `"a\nb"`: "INVALID_VALUE", `1`: "INVALID_VALUE", `""`: "EMPTY_VALUE", `"  "`: "EMPTY_VALUE", `null`: "REQUIRED_VALUE",
		`"` + strings.Repeat("é", 101) + `"`: "SIZE_LIMIT_EXCEEDED",
	} {
		wantError(t, h.call("POST", h.base+"/users", `{"username":`+name+`}`), 400, "INVALID_DATA User "+want+" username")
	}
	for _, path := range []string{"/users/a%00b", "/users/a%0ab", "/users/%ff", "/users/" + strings.Repeat("x", 500)} {
		wantError(t, h.call("GET", app+path, ""), 404, "NOT_FOUND User NOT_FOUND -")
	}
	h.person(app, "ann")
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", h.base + "/users", `{"username":"ann"}`, "UNIQUE_VALUE_REQUIRED username"},
		{"POST", h.base + "/users", `{"username":"b","firstName":"` + strings.Repeat("x", 65) + `"}`, "SIZE_LIMIT_EXCEEDED firstName"},
		{"PUT", h.base + "/users/ann", `{"lastName":"` + strings.Repeat("x", 65) + `"}`, "SIZE_LIMIT_EXCEEDED lastName"},
		{"PUT", h.base + "/users/ann", `{"lastName":"a\tb"}`, "INVALID_VALUE lastName"},
		{"PUT", h.base + "/users/ann", `{"username":"bob"}`, "INVALID_VALUE username"},
	} {
		wantError(t, h.call(c.method, c.path, c.body), 400, "INVALID_DATA User "+c.want)
	}
	h.person(app, "Ann") // compared exactly
	wantError(t, h.call("GET", h.base+"/users/ann", ""), 405, "INVALID_REQUEST - - -")
}

func TestMailboxIsPairedByTheCodeMailedToIt(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{"emailSubject": "${greeting}, ${user}!", "emailBody": "Your code: ${OTP} ${user} ${n} ${t}[${x}${y}]", "fromAddress": `"Demo" <noreply%40pingidentity.com>`})
	user := h.person(app, "ann")
	r := h.call("POST", user+"/emailpairings", `{"recipient":" ann%40people.example","automaticPairing":false,"locale":"pt-BR","type":"auth","emailParameters":{"greeting":"Hi","user":"Ann","n":7,"t":true,"x":null}}`).Want(201)
	id, ok := strings.CutPrefix(r.String("id"), "pairing_webs_")
	if _, uuid := sender.ParseID(id); !ok || !uuid {
		t.Errorf("the id is %q", r.String("id"))
	}
	if want := fmt.Sprintf(`{"id":%q,"recipient":%q,"automaticPairing":false}`, r.String("id"), ann); string(r.Body) != want {
		t.Errorf("begun: %s", r.Body)
	}
	pairing := user + "/emailpairings/" + r.String("id")
	if got := h.call("GET", pairing, "").Want(200); string(got.Body) != string(r.Body) {
		t.Errorf("read: %s", got.Body)
	}
	d := h.lastMail(ann)
	right := h.Mail.Code(t, ann)
	if d.Subject != "Hi, Ann!" || d.Text != "Your code: "+right+" Ann 7 true[]" || d.From != (sender.Mailbox{Name: "Demo", Address: "noreply@service.example"}) || len(right) != 6 {
		t.Errorf("the mail: %+v", d)
	}
	if got := h.call("GET", user, "").Want(200).String("status"); got != "NOT_ACTIVE" {
		t.Errorf("before the code: %s", got)
	}
	const pair = "INVALID_DATA pairing "
	wantError(t, h.call("PUT", pairing+"/otp", `{}`), 400, pair+"REQUIRED_VALUE otp")
	wantError(t, h.call("PUT", pairing+"/otp", `{"otp":""}`), 400, pair+"EMPTY_VALUE otp")
	wantError(t, h.call("PUT", pairing+"/otp", `{"otp":123456}`), 400, pair+"INVALID_VALUE otp")
	wantError(t, h.call("PUT", pairing+"/otp", code(wrong(1, right))), 400, pair+"INVALID_VALUE otp")
	wantError(t, h.call("PUT", pairing+"/otp", `{"otp":"1","deviceNickname":"`+strings.Repeat("x", 101)+`"}`), 400, pair+"SIZE_LIMIT_EXCEEDED deviceNickname")
	if r := h.call("PUT", pairing+"/otp", `{"otp":" `+right+` ","deviceNickname":"primary-email"}`).Want(204); len(r.Body) != 0 {
		t.Errorf("the answer has a body: %s", r.Body)
	}
	wantError(t, h.call("PUT", pairing+"/otp", code(right)), 400, "REQUEST_FAILED pairing INVALID_VALUE status")
	done := h.call("GET", pairing, "").Want(200)
	devices := h.call("GET", user+"/devices", "").Want(200)
	if keysOf(t, done, "") != "automaticPairing deviceId deviceNickname id recipient" || done.String("deviceId") != devices.String("devices.0.id") || done.String("deviceNickname") != "primary-email" {
		t.Errorf("done: %s; devices %s", done.Body, devices.Body)
	}
	if keysOf(t, devices, "devices.0") != "applicationId bypassed deviceName deviceNickname deviceRole deviceType enrollmentTime id" ||
		devices.String("devices.0.deviceType") != "Email" || devices.String("devices.0.deviceName") != "" || devices.String("devices.0.deviceRole") != "Primary" ||
		devices.String("devices.0.applicationId") != app[strings.LastIndex(app, "/")+1:] || devices.String("devices.0.deviceNickname") != "primary-email" {
		t.Errorf("devices: %s", devices.Body)
	}
	if at, err := time.Parse(time.RFC3339, devices.String("devices.0.enrollmentTime")); err != nil || time.Since(at) > time.Minute || !strings.HasSuffix(devices.String("devices.0.enrollmentTime"), "Z") {
		t.Errorf("paired at %v, %v", at, err)
	}
	if r := h.call("GET", user+"?expand=devices", "").Want(200); fmt.Sprint(r.At("devices")) != fmt.Sprint(devices.At("devices")) || r.String("status") != "ACTIVE" {
		t.Errorf("the user: %s", r.Body)
	}
}

func TestPairingThatIsVouchedForNeedsNoMail(t *testing.T) {
	h := newHarness(t)
	app := h.app("max_allowed_devices_for_user", "2")
	user := h.person(app, "ann")
	r := h.call("POST", user+"/emailpairings", `{"recipient":"ann@people.example","automaticPairing":true,"type":"","locale":"nonsense"}`).Want(201)
	if r.At("automaticPairing") != true || r.String("deviceId") == "" || r.String("deviceNickname") != "Email 1" || len(h.Mail.To(ann)) != 0 {
		t.Errorf("paired: %s", r.Body)
	}
	wantError(t, h.call("PUT", user+"/emailpairings/"+r.String("id")+"/otp", code("000000")), 400, "REQUEST_FAILED pairing INVALID_VALUE status")
	wantError(t, h.call("POST", user+"/emailpairings", `{"recipient":"ANN@people.example","automaticPairing":true}`), 400, "INVALID_DATA pairing UNIQUE_VALUE_REQUIRED recipient")
	second := h.paired(user, "ann2@people.example")
	wantError(t, h.call("POST", user+"/emailpairings", `{"recipient":"ann3@people.example","automaticPairing":true}`), 400, "REQUEST_FAILED devices SIZE_LIMIT_EXCEEDED -")
	devices := h.base + "/users/ann/devices/"
	h.call("DELETE", devices+strings.ToUpper(r.String("deviceId")), "").Want(204)
	wantError(t, h.call("DELETE", devices+r.String("deviceId"), ""), 404, "NOT_FOUND device NOT_FOUND -")
	wantError(t, h.call("DELETE", devices+"x", ""), 404, "NOT_FOUND device NOT_FOUND -")
	left := h.call("GET", user+"/devices", "").Want(200)
	if left.String("devices.0.id") != second || left.String("devices.0.deviceRole") != "Primary" || left.String("devices.0.deviceNickname") != "Email 2" || left.At("devices.1") != nil {
		t.Errorf("left: %s", left.Body)
	}
	// Turning mail off unpairs, for ever.
	h.attribute(app, "email_enabled", "false")
	h.attribute(app, "email_enabled", "true")
	if r := h.call("GET", user+"/devices", "").Want(200); string(r.Body) != `{"devices":[]}` {
		t.Errorf("after mail was off: %s", r.Body)
	}
}

func TestBadPairingsAreToldInTheDialectsWords(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{})
	user := h.person(app, "ann")
	const pair = "INVALID_DATA pairing "
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{}`, 400, pair + "REQUIRED_VALUE recipient"},
		{`{"recipient":" "}`, 400, pair + "EMPTY_VALUE recipient"},
		{`{"recipient":"ann"}`, 400, pair + "REQUIRED_VALUE type"},
		{`{"recipient":"ann","type":"auth"}`, 400, pair + "INVALID_VALUE recipient"},
		{`{"recipient":"Ann <ann@people.example>","type":"auth"}`, 400, pair + "INVALID_VALUE recipient"},
		{`{"recipient":"ann@people.example\r\nBcc: x@y.example","type":"auth"}`, 400, pair + "INVALID_VALUE recipient"},
		{`{"recipient":"ann@people.example"}`, 400, pair + "REQUIRED_VALUE type"},
		{`{"recipient":"ann@people.example","type":""}`, 400, pair + "EMPTY_VALUE type"},
		{`{"recipient":"ann@people.example","type":"other"}`, 404, "NOT_FOUND emailConfiguration NOT_FOUND -"},
		{`{"recipient":"ann@people.example","type":"Auth"}`, 404, "NOT_FOUND emailConfiguration NOT_FOUND -"},
		{`{"recipient":"ann@people.example","type":"a\u0000b"}`, 404, "NOT_FOUND emailConfiguration NOT_FOUND -"},
		{`{"recipient":"ann@people.example","type":"auth","locale":"nonsense"}`, 400, pair + "INVALID_VALUE locale"},
		{`{"recipient":"ann@people.example","type":"auth","automaticPairing":"no"}`, 400, pair + "INVALID_VALUE automaticPairing"},
		{`{"recipient":"ann@people.example","type":"auth","deviceNickname":"` + strings.Repeat("x", 101) + `"}`, 400, pair + "SIZE_LIMIT_EXCEEDED deviceNickname"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":[]}`, 400, pair + "INVALID_VALUE emailParameters"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":"x"}`, 400, pair + "INVALID_VALUE emailParameters"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":{"a":{"b":"c"}}}`, 400, pair + "INVALID_VALUE emailParameters"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":{"a":["b"]}}`, 400, pair + "INVALID_VALUE emailParameters"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":{"Otp":"000000"}}`, 400, pair + "INVALID_VALUE emailParameters"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":{"PingID_x":"y"}}`, 400, pair + "INVALID_VALUE emailParameters"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":{"a":"` + strings.Repeat("x", 10_001) + `"}}`, 400, pair + "INVALID_VALUE emailParameters"},
		{`{"recipient":"ann@people.example","type":"auth","emailParameters":{"a":"b","a":"c"}}`, 400, "INVALID_REQUEST - - -"},
	} {
		r := h.call("POST", user+"/emailpairings", c.body)
		t.Run(c.body, func(t *testing.T) { wantError(t, r, c.status, c.want) })
	}
	if n := len(h.Mail.To(ann)); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
	none := string(sender.NewRandomID())
	good := `{"recipient":"ann@people.example","type":"auth"}`
	begun := h.pair(user, ann)
	wantError(t, h.call("POST", app+"/users/bob/emailpairings", good), 404, "NOT_FOUND User NOT_FOUND -")
	wantError(t, h.call("POST", h.base+"/applications/"+none+"/users/ann/emailpairings", good), 404, "NOT_FOUND application NOT_FOUND -")
	for _, path := range []string{
		user + "/emailpairings/pairing_webs_" + none, user + "/emailpairings/" + none, user + "/emailpairings/x",
		strings.Replace(begun, "pairing_webs_", "", 1), strings.Replace(begun, "pairing_webs_", "webs_", 1), h.person(app, "bob") + begun[len(user):],
		h.app() + begun[len(app):],
	} {
		wantError(t, h.call("GET", path, ""), 404, "NOT_FOUND pairing NOT_FOUND -")
		wantError(t, h.call("PUT", path+"/otp", code(h.Mail.Code(t, ann))), 404, "NOT_FOUND pairing NOT_FOUND -")
	}
	h.call("PUT", strings.Replace(begun, "pairing_webs_", "PAIRING_webs_", 1)+"/otp", code(h.Mail.Code(t, ann))).Want(204)
	for _, path := range []string{"/pairings", "/smspairings", "/voicepairings", "/registrationtokens", "/seendevices"} {
		wantError(t, h.call("POST", user+path, good), 404, "NOT_FOUND - - -")
	}
}

func TestAuthenticationIsApprovedByTheCodeOnce(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{"contentType": "text/html", "emailBody": "<p>Your code: ${otp}</p><p>${user}</p>"})
	user := h.person(app, "ann")
	wantError(t, h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth"}`), 400, "REQUEST_FAILED User INVALID_USER_STATUS -")
	device := h.paired(user, ann)
	const auth = "INVALID_DATA authentication "
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{}`, 400, auth + "REQUIRED_VALUE emailConfigurationType"},
		{`{"emailConfigurationType":null,"type":"auth"}`, 400, auth + "REQUIRED_VALUE emailConfigurationType"},
		{`{"emailConfigurationType":1}`, 400, auth + "INVALID_VALUE emailConfigurationType"},
		{`{"emailConfigurationType":"other"}`, 404, "NOT_FOUND emailConfiguration NOT_FOUND -"},
		{`{"emailConfigurationType":"auth","authenticationType":"OTP"}`, 400, auth + "INVALID_VALUE authenticationType"},
		{`{"emailConfigurationType":"auth","deviceId":"x"}`, 404, "NOT_FOUND device NOT_FOUND -"},
		{`{"emailConfigurationType":"auth","deviceId":"` + string(sender.NewRandomID()) + `"}`, 404, "NOT_FOUND device NOT_FOUND -"},
		{`{"emailConfigurationType":"auth","locale":"nonsense"}`, 400, auth + "INVALID_VALUE locale"},
		{`{"emailConfigurationType":"auth","emailParameters":{"OTP":"1"}}`, 400, auth + "INVALID_VALUE emailParameters"},
		{`{"emailConfigurationType":"auth","emailParameters":{"a":{}}}`, 400, auth + "INVALID_VALUE emailParameters"},
	} {
		wantError(t, h.call("POST", user+"/authentications", c.body), c.status, c.want)
	}
	if n := len(h.Mail.To(ann)); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
	// All that the vendor's Java sample sends, nulls and all.
	r := h.call("POST", user+"/authentications", `{"payload":null,"id":null,"deviceId":null,"authenticationType":"AUTHENTICATE","ipAddress":null,"userAgent":"x","status":null,"device":null,"pushMessageTitle":"t","clientContext":"{}","emailConfigurationType":"auth","emailParameters":{"user":"<b>"}}`).Want(201)
	id, ok := strings.CutPrefix(r.String("id"), "webs_")
	if _, uuid := sender.ParseID(id); !ok || !uuid || r.String("status") != "OTP" || r.String("authenticationType") != "AUTHENTICATE" || r.String("deviceId") != device || r.String("device.id") != device || keysOf(t, r, "") != "authenticationType device deviceId id status" {
		t.Errorf("begun: %s", r.Body)
	}
	path := user + "/authentications/" + r.String("id")
	if got := h.call("GET", path, "").Want(200); string(got.Body) != string(r.Body) {
		t.Errorf("read: %s", got.Body)
	}
	right := h.Mail.Code(t, ann)
	if d := h.lastMail(ann); !strings.Contains(d.HTML, "<p>&lt;b&gt;</p>") || !strings.Contains(d.HTML, right) {
		t.Errorf("the mail: %+v", d)
	}
	wantError(t, h.call("PUT", path+"/otp", `{"payload":""}`), 400, auth+"REQUIRED_VALUE otp")
	wantError(t, h.call("PUT", path+"/otp", `{"otp":" "}`), 400, auth+"EMPTY_VALUE otp")
	for _, c := range []struct{ code, want, then string }{
		{wrong(1, right), "INVALID_OTP", "INVALID_OTP"},
		{right, "APPROVED", "APPROVED"},
		{right, "INVALID_OTP", "APPROVED"}, // a code counts once
		{wrong(1, right), "INVALID_OTP", "APPROVED"},
	} {
		r := h.call("PUT", path+"/otp", `{"otp":"`+c.code+`","payload":null}`).Want(200)
		if r.String("status") != c.want || r.String("id") == "" || r.String("deviceId") != device {
			t.Errorf("%s: %s, want %s", c.code, r.Body, c.want)
		}
		if got := h.call("GET", path, "").Want(200).String("status"); got != c.then {
			t.Errorf("after it: %s, want %s", got, c.then)
		}
	}
	if at, err := time.Parse(time.RFC3339, h.call("GET", user, "").Want(200).String("lastLogin")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("the last login: %v, %v", at, err)
	}
	// The code of one is worth nothing to another.
	first := h.signIn(user)
	old := h.Mail.Code(t, ann)
	second := h.signIn(user)
	if old != h.Mail.Code(t, ann) {
		if got := h.call("PUT", second+"/otp", code(old)).Want(200).String("status"); got != "INVALID_OTP" {
			t.Errorf("another's code: %s", got)
		}
	}
	h.call("DELETE", first, "").Want(204)
	h.call("DELETE", first, "").Want(204)
	if got := h.call("GET", first, "").Want(200).String("status"); got != "CANCELED" {
		t.Errorf("cancelled: %s", got)
	}
	if got := h.call("PUT", first+"/otp", code(old)).Want(200).String("status"); got != "CANCELED" {
		t.Errorf("the right code after cancelling: %s", got)
	}
	for _, path := range []string{user + "/authentications/webs_" + string(sender.NewRandomID()), user + "/authentications/x", strings.Replace(second, "webs_", "", 1), h.person(app, "bob") + second[len(user):], h.app() + second[len(app):]} {
		wantError(t, h.call("GET", path, ""), 404, "NOT_FOUND authentication NOT_FOUND -")
		wantError(t, h.call("DELETE", path, ""), 404, "NOT_FOUND authentication NOT_FOUND -")
		wantError(t, h.call("PUT", path+"/otp", code(old)), 404, "NOT_FOUND authentication NOT_FOUND -")
	}
}

func TestWhoHasSeveralDevicesIsAskedWhereTheApplicationSaysSo(t *testing.T) {
	h := newHarness(t)
	app := h.app("multiple_device_selection_mode", "true")
	h.mail(app, fields{})
	user := h.person(app, "ann")
	first := h.paired(user, ann)
	if r := h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth"}`).Want(201); r.String("status") != "OTP" || r.String("deviceId") != first {
		t.Errorf("with one device: %s", r.Body)
	}
	second := h.paired(user, "ann2@people.example")
	sent := len(h.Mail.To(ann)) + len(h.Mail.To("ann2@people.example"))
	r := h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth"}`).Want(201)
	if r.String("status") != "SELECT_DEVICE" || keysOf(t, r, "") != "authenticationType devices id status" || r.String("devices.0.id") != first || r.String("devices.1.id") != second || r.String("devices.1.deviceRole") != "Trusted" {
		t.Errorf("with two: %s", r.Body)
	}
	path := user + "/authentications/" + r.String("id")
	if got := h.call("GET", path, "").Want(200); string(got.Body) != string(r.Body) {
		t.Errorf("read: %s", got.Body)
	}
	if got := h.call("PUT", path+"/otp", code("000000")).Want(200).String("status"); got != "SELECT_DEVICE" {
		t.Errorf("a code for no device: %s", got)
	}
	if now := len(h.Mail.To(ann)) + len(h.Mail.To("ann2@people.example")); now != sent {
		t.Errorf("%d mails were sent before a device was selected", now-sent)
	}
	if r := h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth","deviceId":"`+strings.ToUpper(second)+`"}`).Want(201); r.String("status") != "OTP" || r.String("deviceId") != second || len(h.Mail.To("ann2@people.example")) != 1 {
		t.Errorf("selected: %s", r.Body)
	}
	h.call("DELETE", path, "").Want(204)
	h.attribute(app, "multiple_device_selection_mode", "false")
	if r := h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth","deviceId":""}`).Want(201); r.String("status") != "OTP" || r.String("deviceId") != first {
		t.Errorf("without selection: %s", r.Body)
	}
}

// guessAtOnce hands many different wrong codes in at the same time and counts what
// the answers say.
func guessAtOnce(h *harness, path, right string, say func(apitest.Reply) string) map[string]int {
	var mu sync.Mutex
	said := map[string]int{}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			r := h.call("PUT", path+"/otp", code(wrong(i, right)))
			mu.Lock()
			defer mu.Unlock()
			said[say(r)]++
		})
	}
	wg.Wait()
	return said
}

func TestManyGuessesAtOnceGetThreeTries(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{})
	user := h.person(app, "ann")

	pairing := h.pair(user, ann)
	right := h.Mail.Code(t, ann)
	said := guessAtOnce(h, pairing, right, func(r apitest.Reply) string { return r.String("code") + " " + r.String("details.0.code") })
	if said["INVALID_DATA INVALID_VALUE"] != 2 || said["REQUEST_FAILED RETRY_LIMIT_EXCEEDED"] != 38 {
		t.Errorf("pairing: %v", said)
	}
	wantError(t, h.call("PUT", pairing+"/otp", code(right)), 400, "REQUEST_FAILED pairing RETRY_LIMIT_EXCEEDED -")
	if n := len(h.events(otp.EventPairingCodeWrong)) + len(h.events(otp.EventPairingFailed)); n != 3 {
		t.Errorf("%d tries of a pairing were counted", n)
	}

	h.paired(user, ann)
	authentication := h.signIn(user)
	right = h.Mail.Code(t, ann)
	said = guessAtOnce(h, authentication, right, func(r apitest.Reply) string { return r.Want(200).String("status") })
	if said["INVALID_OTP"] != 2 || said["OTP_IS_BLOCKED"] != 38 {
		t.Errorf("authentication: %v", said)
	}
	if got := h.call("PUT", authentication+"/otp", code(right)).Want(200).String("status"); got != "OTP_IS_BLOCKED" {
		t.Errorf("the right code after too many wrong ones: %s", got)
	}
	if n := len(h.events(otp.EventAuthCodeWrong)) + len(h.events(otp.EventAuthBlocked)); n != 3 {
		t.Errorf("%d tries of an authentication were counted", n)
	}
}

// The right code, handed in by many at once, approves one of them.
func TestRightCodeCountsOnceAlsoAtOnce(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{})
	user := h.person(app, "ann")
	h.paired(user, ann)
	path := h.signIn(user)
	right := h.Mail.Code(t, ann)
	var mu sync.Mutex
	said := map[string]int{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			status := h.call("PUT", path+"/otp", code(right)).Want(200).String("status")
			mu.Lock()
			defer mu.Unlock()
			said[status]++
		})
	}
	wg.Wait()
	if said["APPROVED"] != 1 || said["INVALID_OTP"] != 19 {
		t.Errorf("statuses %v", said)
	}
}

func TestWrongCodesOfManySessionsAreCountedTogether(t *testing.T) {
	h := newHarness(t)
	settings := otp.DefaultSettings()
	settings.WrongPerDay, settings.PerUser = 5, 3
	h.serve(Config{OTP: h.NewOTP(settings)})
	app := h.app()
	h.mail(app, fields{})
	user := h.person(app, "ann")
	h.paired(user, ann)
	for range 2 {
		path := h.signIn(user)
		right := h.Mail.Code(t, ann)
		for i := range 3 {
			h.call("PUT", path+"/otp", code(wrong(i, right))).Want(200)
		}
	}
	wantError(t, h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth"}`), 400, "REQUEST_FAILED authentication RETRY_LIMIT_EXCEEDED -")
	bob := h.person(app, "bob")
	for range 3 {
		h.pair(bob, "bob@people.example")
	}
	wantError(t, h.call("POST", bob+"/emailpairings", `{"recipient":"bob@people.example","type":"auth"}`), 400, "REQUEST_FAILED pairing RETRY_LIMIT_EXCEEDED -")
}

func TestWhatIsOverIsNotThere(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{})
	user := h.person(app, "ann")
	settings := otp.DefaultSettings()
	settings.SessionLife = time.Microsecond
	h.serve(Config{OTP: h.NewOTP(settings)})
	pairing := h.pair(user, "ann2@people.example")
	h.paired(user, ann)
	authentication := h.signIn(user)
	for path, what := range map[string]string{pairing: "pairing", authentication: "authentication"} {
		wantError(t, h.call("GET", path, ""), 404, "NOT_FOUND "+what+" NOT_FOUND -")
		wantError(t, h.call("PUT", path+"/otp", code("000000")), 404, "NOT_FOUND "+what+" NOT_FOUND -")
	}
}

func TestApplicationThatIsOffSignsNobodyIn(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{})
	user := h.person(app, "ann")
	h.paired(user, ann)
	pairing, authentication := h.pair(user, "ann2@people.example"), h.signIn(user)
	off := func(want string) {
		t.Helper()
		for _, c := range []struct{ method, path, body string }{
			{"POST", user + "/emailpairings", `{"recipient":"ann3@people.example","type":"auth"}`},
			{"POST", user + "/emailpairings", `{"recipient":"ann3@people.example","automaticPairing":true}`},
			{"PUT", pairing + "/otp", code(h.Mail.Code(t, "ann2@people.example"))},
			{"POST", user + "/authentications", `{"emailConfigurationType":"auth"}`},
			{"PUT", authentication + "/otp", code(h.Mail.Code(t, ann))},
		} {
			wantError(t, h.call(c.method, c.path, c.body), 400, want)
		}
		h.call("GET", user, "").Want(200)
		h.call("GET", pairing, "").Want(200)
	}
	name := "Demo " + app[strings.LastIndex(app, "/")+1:]
	h.call("PUT", app, `{"name":"`+name+`","appEnabled":false}`).Want(200)
	off("REQUEST_FAILED application APPLICATION_DISABLED -")
	h.call("PUT", app, `{"name":"`+name+`","appEnabled":true}`).Want(200)
	if got := h.call("PUT", authentication+"/otp", code(h.Mail.Code(t, ann))).Want(200).String("status"); got != "APPROVED" {
		t.Errorf("once it is on again: %s", got)
	}
	h.attribute(app, "email_enabled", "false")
	off("REQUEST_FAILED application EMAIL_NOT_ENABLED -")
}

func TestTemplateIsFoundByTypeAndLocale(t *testing.T) {
	h := newHarness(t)
	app := h.app("default_locale", "de")
	for _, locale := range []string{"en", "pt", "pt-BR", "de"} {
		h.mail(app, fields{"locale": locale, "emailSubject": locale})
	}
	h.mail(app, fields{"locale": "fr", "type": "pair", "emailSubject": "fr"})
	user := h.person(app, "ann")
	h.paired(user, ann)
	for locale, want := range map[string]string{"": "en", "en-US": "en", "PT_br": "pt-BR", "pt-PT": "pt", "ja": "de", "fr": "de"} {
		h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth","locale":"`+locale+`"}`).Want(201)
		if got := h.lastMail(ann).Subject; got != want {
			t.Errorf("for %q the template is %s, want %s", locale, got, want)
		}
	}
	h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth","locale":null}`).Want(201)
	wantError(t, h.call("POST", user+"/authentications", `{"emailConfigurationType":"pair","locale":"en"}`), 404, "NOT_FOUND emailConfiguration NOT_FOUND -")
}

// Deleting an address that templates use is allowed: they are still there, and
// their mail comes from the built-in no-reply.
func TestMailOfAnAuthorWhoIsGoneComesFromTheBuiltInNoReply(t *testing.T) {
	h := newHarness(t)
	help := h.trusted("help@auth.shopco.com")
	reply := h.trusted("reply@auth2.shopco.com")
	app := h.app()
	path := h.mail(app, fields{"fromAddress": `"Help" <help@auth.shopco.com>`, "replyToAddress": "reply@auth2.shopco.com"})
	user := h.person(app, "ann")
	h.paired(user, ann)
	h.signIn(user)
	if d := h.lastMail(ann); d.From != (sender.Mailbox{Name: "Help", Address: "help@auth.shopco.com"}) || d.ReplyTo == nil || d.ReplyTo.Address != "reply@auth2.shopco.com" {
		t.Errorf("before: from %v, Reply-To %v", d.From, d.ReplyTo)
	}
	h.call("DELETE", help, "").Want(204)
	h.call("DELETE", reply[:strings.Index(reply, "/trustedemails")], "").Want(204) // the whole domain
	h.signIn(user)
	if d := h.lastMail(ann); d.From.Address != "noreply@service.example" || d.ReplyTo != nil {
		t.Errorf("after: from %v, Reply-To %v", d.From, d.ReplyTo)
	}
	es := h.events(sender.EventMessageReaddressed)
	if len(es) != 1 || es[0].Data["from"] == "" || es[0].Data["replyTo"] == "" || !strings.HasSuffix(path, es[0].Data["template"]) {
		t.Errorf("the events: %+v", es)
	}
	if r := h.call("GET", path, "").Want(200); r.String("fromAddress") != `"Help" <help@auth.shopco.com>` {
		t.Errorf("the template: %s", r.Body)
	}
	wantError(t, h.call("PUT", path, fields{"fromAddress": "help@auth.shopco.com"}.body()), 400, "INVALID_DATA emailConfiguration INVALID_VALUE fromAddress")
}

func TestAnotherAccountsPeopleLookLikeNothing(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	template := h.mail(app, fields{})
	user := h.person(app, "ann")
	device := h.paired(user, ann)
	pairing, authentication := h.pair(user, "ann2@people.example"), h.signIn(user)
	mine := h.base
	name := h.call("GET", app, "").Want(200).String("name")

	h.account("other")
	theirs := func(path string) string { return strings.Replace(path, mine, h.base, 1) }
	all := []struct{ method, path, body, target string }{
		{"GET", app, "", "application"},
		{"PUT", app, `{"name":"x"}`, "application"},
		{"GET", app + "/attributes", "", "application"},
		{"GET", app + "/attributes/email_enabled", "", "application"},
		{"PUT", app + "/attributes/email_enabled", `{"value":"false"}`, "application"},
		{"GET", app + "/emailconfigurations", "", "application"},
		{"POST", app + "/emailconfigurations", fields{}.body(), "application"},
		{"GET", template, "", "application"},
		{"PUT", template, fields{}.body(), "application"},
		{"DELETE", template, "", "application"},
		{"GET", user, "", "application"},
		{"GET", user + "/devices", "", "application"},
		{"PUT", mine + "/users/ann", "{}", "User"},
		{"DELETE", mine + "/users/ann", "", "User"},
		{"DELETE", mine + "/users/ann/devices/" + device, "", "User"},
		{"POST", user + "/emailpairings", `{"recipient":"x@people.example","type":"auth"}`, "application"},
		{"GET", pairing, "", "application"},
		{"PUT", pairing + "/otp", code("000000"), "application"},
		{"POST", user + "/authentications", `{"emailConfigurationType":"auth"}`, "application"},
		{"GET", authentication, "", "application"},
		{"PUT", authentication + "/otp", code("000000"), "application"},
		{"DELETE", authentication, "", "application"},
	}
	for _, c := range all {
		wantError(t, h.call(c.method, c.path, c.body), 401, "UNAUTHORIZED_REQ - - -")
		wantError(t, h.call(c.method, theirs(c.path), c.body), 404, "NOT_FOUND "+c.target+" NOT_FOUND -")
	}
	// Ids and names are each account's own, and equal ones lead to no other's things.
	h.call("POST", h.base+"/applications", `{"id":"`+app[strings.LastIndex(app, "/")+1:]+`","name":"`+name+`","appEnabled":true}`).Want(201)
	h.attribute(theirs(app), "email_enabled", "true")
	h.person(theirs(app), "ann")
	for path, target := range map[string]string{template: "emailConfiguration", pairing: "pairing", authentication: "authentication"} {
		wantError(t, h.call("GET", theirs(path), ""), 404, "NOT_FOUND "+target+" NOT_FOUND -")
	}
	wantError(t, h.call("PUT", theirs(pairing)+"/otp", code(h.Mail.Code(t, "ann2@people.example"))), 404, "NOT_FOUND pairing NOT_FOUND -")
	wantError(t, h.call("PUT", theirs(authentication)+"/otp", code(h.Mail.Code(t, ann))), 404, "NOT_FOUND authentication NOT_FOUND -")
	wantError(t, h.call("DELETE", h.base+"/users/ann/devices/"+device, ""), 404, "NOT_FOUND device NOT_FOUND -")
	wantError(t, h.call("POST", theirs(user)+"/authentications", `{"emailConfigurationType":"auth","deviceId":"`+device+`"}`), 404, "NOT_FOUND device NOT_FOUND -")
	wantError(t, h.call("DELETE", theirs(template), ""), 404, "NOT_FOUND emailConfiguration NOT_FOUND -")
	if r := h.call("GET", theirs(app)+"/emailconfigurations", "").Want(200); string(r.Body) != `{"emailconfigurations":[]}` {
		t.Errorf("their templates: %s", r.Body)
	}
}

func TestWeakerKeysSignInAndChangeNothing(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	template := h.mail(app, fields{})
	h.key(sender.RoleSender)
	for _, c := range []struct{ method, path, body string }{
		{"POST", h.base + "/applications", `{"name":"x"}`}, {"PUT", app, `{"name":"x"}`}, {"PUT", app + "/attributes/email_enabled", `{"value":"false"}`},
		{"POST", app + "/emailconfigurations", fields{"type": "x"}.body()}, {"PUT", template, fields{}.body()}, {"DELETE", template, ""},
	} {
		wantError(t, h.call(c.method, c.path, c.body), 400, "REQUEST_FAILED - - -")
	}
	user := h.person(app, "ann")
	h.paired(user, ann)
	authentication := h.signIn(user)
	h.key(sender.RoleReader)
	for _, c := range []struct{ method, path, body string }{
		{"POST", h.base + "/users", `{"username":"x"}`}, {"DELETE", h.base + "/users/ann", ""}, {"POST", user + "/authentications", `{"emailConfigurationType":"auth"}`},
		{"PUT", authentication + "/otp", code("000000")}, {"DELETE", authentication, ""}, {"POST", user + "/emailpairings", `{"recipient":"x@people.example","type":"auth"}`},
	} {
		wantError(t, h.call(c.method, c.path, c.body), 400, "REQUEST_FAILED - - -")
	}
	for _, path := range []string{app, template, user, user + "/devices", authentication} {
		h.call("GET", path, "").Want(200)
	}
}

func TestLogHoldsNothingOfWhoSignsIn(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	h.mail(app, fields{"emailSubject": "Subj3ct ${name}"})
	user := h.person(app, "ann.l0gin")
	pairing := h.pair(user, ann)
	codes := []string{h.Mail.Code(t, ann)}
	h.call("PUT", pairing+"/otp", code(codes[0])).Want(204)
	h.call("POST", user+"/authentications", `{"emailConfigurationType":"auth","emailParameters":{"name":"N1ckname"}}`).Want(201)
	authentication := h.signIn(user)
	codes = append(codes, h.Mail.Code(t, ann))
	h.call("PUT", authentication+"/otp", code("13579a")).Want(200)
	h.call("PUT", authentication+"/otp", code(codes[1])).Want(200)
	h.call("POST", user+"/emailpairings", `{"recipient":"not an addr3ss","type":"auth"}`).Want(400)
	h.call("POST", user+"/emailpairings", `{"recipient":"bob@people.example","type":"auth","emailParameters":{"S3cretName":[]}}`).Want(400)
	h.call("POST", user+"/emailpairings", `{"recipient":"bob@people.example","type":"auth","emailParameters":{"S3cretName":"1","S3cretName":"2"}}`).Want(400)
	h.call("GET", app+"/users/nobody.h3re", "").Want(404)
	logged := h.Logged()
	for _, secret := range append(codes, "people.example", "l0gin", "h3re", "13579a", "addr3ss", "S3cretName", "N1ckname", "Subj3ct") {
		// A code may be part of an id or a time.
		if strings.Contains(logged, secret) && !slices.Contains(codes, secret) || strings.Contains(logged, `"`+secret) || strings.Contains(logged, "="+secret+" ") {
			t.Errorf("the log has %q", secret)
		}
	}
	if !strings.Contains(logged, "/users/{user}/authentications/{authentication}/otp") {
		t.Error("the log does not have the routes")
	}
}
