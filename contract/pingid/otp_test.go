package pingid_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// user is what the contract fixes of one; there may be more.
type user struct {
	Username  string    `json:"username"`
	FirstName string    `json:"firstName"`
	LastName  string    `json:"lastName"`
	Status    string    `json:"status"`
	Devices   *[]device `json:"devices"`
}

// userStatuses are a closed list of the Java sample.
var userStatuses = []string{"ACTIVE", "NOT_ACTIVE", "SUSPENDED", "BYPASS", "UNKNOWN"}

type device struct {
	ID            string `json:"id"`
	Type          string `json:"deviceType"`
	Nickname      string `json:"deviceNickname"`
	Role          string `json:"deviceRole"`
	ApplicationID string `json:"applicationId"`
	Name          string `json:"deviceName"`
	Enrolled      string `json:"enrollmentTime"`
	Bypassed      bool   `json:"bypassed"`
}

// user makes one.
func (c *client) user(t *testing.T) (username string) {
	t.Helper()
	username = unique("user")
	c.post(t, c.at("users"), obj{"username": username})
	return username
}

func (c *client) getUser(t *testing.T, app, username, query string) user {
	t.Helper()
	a := c.wants(t, newRequest("GET", c.at("applications", app, "users", username)+query, nil), 200)
	u := into[user](t, a)
	if !slices.Contains(userStatuses, u.Status) {
		t.Errorf("%v\n\tthere is no status %q", a, u.Status)
	}
	return u
}

// devices reads them in both ways and demands that these agree.
func (c *client) devices(t *testing.T, app, username string) []device {
	t.Helper()
	u := c.getUser(t, app, username, "?expand=devices")
	if u.Devices == nil {
		t.Fatalf("%s has no member devices", username)
	}
	a := c.wants(t, newRequest("GET", c.at("applications", app, "users", username, "devices"), nil), 200)
	var direct []device // whether it is an array or an object around one is open
	if json.Unmarshal(a.body, &direct) != nil {
		if of := into[user](t, a).Devices; of != nil {
			direct = *of
		}
	}
	if len(direct) == 0 {
		direct = []device{}
	}
	same(t, "devices, direct and expanded", direct, *u.Devices)
	for i, d := range direct {
		if at, err := time.Parse(time.RFC3339, d.Enrolled); err != nil || !strings.HasSuffix(d.Enrolled, "Z") || at.After(time.Now()) || d.Name != "" || d.Bypassed {
			t.Errorf("device %d is %+v, want a time in UTC, no name and no bypass", i+1, d)
		}
		role := "Trusted"
		if i == 0 {
			role = "Primary"
		}
		if d.ID == "" || d.Type != "Email" || d.Role != role || !strings.EqualFold(d.ApplicationID, app) {
			t.Errorf("device %d is %+v, want an email device of application %s, %s", i+1, d, app, role)
		}
	}
	return direct
}

func names(ds []device) (out []string) {
	for _, d := range ds {
		out = append(out, d.Nickname)
	}
	return out
}

var pairingID = regexp.MustCompile(`^pairing_webs_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// pair starts a pairing. Of its members only the id is fixed.
func (c *client) pair(t *testing.T, app, username string, body obj) (path string) {
	t.Helper()
	created := c.post(t, c.pairings(app, username), body)
	pairing := text(t, created, "id")
	if !pairingID.MatchString(pairing) {
		t.Errorf("a pairing's id is %q", pairing)
	}
	return c.at("applications", app, "users", username, "emailpairings", pairing)
}

func (c *client) pairings(app, username string) string {
	return c.at("applications", app, "users", username, "emailpairings")
}

func (c *client) authentications(app, username string) string {
	return c.at("applications", app, "users", username, "authentications")
}

// authentication is what the contract fixes of one; there may be more.
type authentication struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	DeviceID string `json:"deviceId"`
	Device   obj    `json:"device"`

	path string
}

// authenticationStatuses are a closed list of the Java sample.
var authenticationStatuses = []string{
	"OTP", "REJECTED", "APPROVED", "IN_PROGRESS", "TIMEOUT", "LOCKED", "OTP_IS_BLOCKED", "INVALID_OTP", "CANCELED", "SELECT_DEVICE",
	"IGNORED_DEVICE", "BYPASSED_DEVICE",
}

var authenticationID = regexp.MustCompile(`^webs_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func (c *client) authentication(t *testing.T, a answer) authentication {
	t.Helper()
	x := into[authentication](t, a)
	if !slices.Contains(authenticationStatuses, x.Status) || x.Status != "SELECT_DEVICE" && !authenticationID.MatchString(x.ID) {
		t.Errorf("%v\n\tid %q, status %q", a, x.ID, x.Status)
	}
	return x
}

func (c *client) authenticate(t *testing.T, app, username string, body obj) authentication {
	t.Helper()
	x := c.authentication(t, c.wants(t, newRequest("POST", c.authentications(app, username), body), 201))
	x.path = c.at("applications", app, "users", username, "authentications", x.ID)
	return x
}

// give gives the code and returns the status that it leads to.
func (c *client) give(t *testing.T, x authentication, otp string) string {
	t.Helper()
	got := c.authentication(t, c.wants(t, newRequest("PUT", x.path+"/otp", obj{"otp": otp}), 200))
	same(t, "id", x.ID, got.ID)
	return got.Status
}

func (c *client) status(t *testing.T, x authentication) string {
	t.Helper()
	got := c.authentication(t, c.wants(t, newRequest("GET", x.path, nil), 200))
	same(t, "id", x.ID, got.ID)
	return got.Status
}

// other is six digits, but not those.
func other(otp string) string {
	if otp[0] == '0' {
		return "1" + otp[1:]
	}
	return "0" + otp[1:]
}

func TestUserIsCreatedReadReplacedAndDeleted(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		const gone = "404 NOT_FOUND User NOT_FOUND"
		end := unique("")
		for _, username := range []string{
			unique("plain"), unique("jörg müller+x") + "@shop.example", unique("a/b%41?c#d&e=f;g:h"), unique("日本") + " ", unique(`quote"back\slash`),
			unique("it's (~!*)"), strings.Repeat("ü", 100-len(end)) + end,
		} {
			path := c.at("users", username)
			c.later(t, path)
			c.refused(t, gone, newRequest("GET", c.at("applications", c.app, "users", username), nil))
			created := c.post(t, c.at("users"), obj{
				"username": username, "firstName": "Jörg", "lastName": "Müller", "status": nil, "lastLogin": nil, "bypassExpiration": nil, "userInBypass": false,
			})
			same(t, "POST: username", username, text(t, created, "username"))
			want := user{Username: username, FirstName: "Jörg", LastName: "Müller", Status: "NOT_ACTIVE"}
			same(t, "GET", want, c.getUser(t, c.app, username, ""))
			want.Devices = &[]device{}
			same(t, "GET with devices", want, c.getUser(t, c.app, username, "?expand=devices"))

			// Which of these codes it is, is open.
			c.refused(t, "400 INVALID_DATA User UNIQUE_VALUE_REQUIRED|RESOURCE_ALREADY_EXISTS", newRequest("POST", c.at("users"), obj{"username": username}))

			// Whether a PUT of a user answers with a body is open.
			c.set(t, path, obj{"username": username, "firstName": "J", "lastName": "M"})
			same(t, "GET after PUT", user{Username: username, FirstName: "J", LastName: "M", Status: "NOT_ACTIVE"}, c.getUser(t, c.app, username, ""))

			c.delete(t, path)
			c.refused(t, gone, newRequest("GET", c.at("applications", c.app, "users", username), nil))
			c.refused(t, gone, newRequest("DELETE", path, nil))
			c.refused(t, gone, newRequest("PUT", path, obj{"username": username, "firstName": "x"}))
			c.refused(t, gone, newRequest("GET", c.at("applications", c.app, "users", username, "devices"), nil))
			c.refused(t, gone, newRequest("POST", c.pairings(c.app, username), obj{"recipient": "x@inbox.example.net", "automaticPairing": true}))
			c.refused(t, gone, newRequest("POST", c.authentications(c.app, username), obj{"emailConfigurationType": "x"}))
		}
	})
}

func TestUserFieldsAreJudged(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		// How an exceeded size is called at the top is open.
		const tooLong = "400 INVALID_DATA|REQUEST_FAILED User SIZE_LIMIT_EXCEEDED/"
		c.refused(t, "400 INVALID_DATA User REQUIRED_VALUE/username", newRequest("POST", c.at("users"), obj{"firstName": "x"}))
		c.refused(t, "400 INVALID_DATA User EMPTY_VALUE|REQUIRED_VALUE", newRequest("POST", c.at("users"), obj{"username": ""}))
		c.refused(t, tooLong+"username", newRequest("POST", c.at("users"), obj{"username": strings.Repeat("u", 101)}))
		c.refused(t, tooLong+"firstName", newRequest("POST", c.at("users"), obj{"username": unique("user"), "firstName": strings.Repeat("u", 65)}))
		c.refused(t, tooLong+"lastName", newRequest("POST", c.at("users"), obj{"username": unique("user"), "lastName": strings.Repeat("u", 65)}))
		username := unique("user")
		c.post(t, c.at("users"), obj{"username": username, "firstName": strings.Repeat("ü", 64), "lastName": strings.Repeat("日", 64)})
		c.refused(t, "404 NOT_FOUND application NOT_FOUND", newRequest("GET", c.at("applications", newUUID(), "users", username), nil))
		// Another account is free to have the same user.
		c.other().post(t, c.other().at("users"), obj{"username": username})
	})
}

func TestPairingByHand(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app, username := c.application(t), c.user(t)
		for locale, word := range map[string]string{"en": "Hello", "de": "Hallo"} {
			c.post(t, c.templates(app), obj{
				"fromAddress": builtin, "emailSubject": "${shop}", "emailBody": word + " [${OTP}]", "type": "register", "locale": locale,
			})
		}
		box := newMailbox()
		pairing := c.pair(t, app, username, obj{"recipient": box.address, "type": "register", "emailParameters": obj{"shop": "My shop"}})
		l := box.next(t)
		if !strings.HasPrefix(l.text(t), "Hello ") || l.field(t, "Subject") != "My shop" {
			t.Errorf("the default locale's mail is %q, %q", l.header.Get("Subject"), l.body)
		}
		same(t, "GET: id", pairing[strings.LastIndex(pairing, "/")+1:], text(t, c.get(t, pairing), "id"))
		if ds := c.devices(t, app, username); len(ds) != 0 {
			t.Errorf("before the code is given there are devices %+v", ds)
		}
		give := func(otp any) request { return newRequest("PUT", pairing+"/otp", obj{"otp": otp}) }
		// What the target of a pairing's errors is, and whether a wrong code is bad data
		// or a failed request, is open.
		c.refused(t, "400 INVALID_DATA|INVALID_REQUEST * REQUIRED_VALUE/otp", newRequest("PUT", pairing+"/otp", obj{}))
		c.refused(t, "400 INVALID_DATA|REQUEST_FAILED * INVALID_VALUE", give(other(l.otp(t))))
		a := c.wants(t, newRequest("PUT", pairing+"/otp", obj{"otp": l.otp(t), "deviceNickname": "Mine"}), 204)
		if len(a.body) != 0 {
			t.Errorf("%v", a)
		}
		same(t, "devices", []string{"Mine"}, names(c.devices(t, app, username)))
		same(t, "status with a device", "ACTIVE", c.getUser(t, app, username, "").Status)

		// The code has done its work.
		if a := c.call(t, give(l.otp(t))); a.status != 400 && a.status != 404 {
			t.Errorf("%v\n\tthe code was used before", a)
		}
		same(t, "devices", []string{"Mine"}, names(c.devices(t, app, username)))

		box = newMailbox()
		pairing = c.pair(t, app, username, obj{"recipient": box.address, "type": "register", "locale": "DE_at", "deviceNickname": "Work"})
		if l = box.next(t); !strings.HasPrefix(l.text(t), "Hallo ") {
			t.Errorf("the German mail is %q", l.body)
		}
		c.wants(t, give(l.otp(t)), 204)
		same(t, "devices", []string{"Mine", "Work"}, names(c.devices(t, app, username)))
	})
}

func TestThreeWrongCodesEndAPairing(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app, username := c.application(t), c.user(t)
		c.post(t, c.templates(app), obj{"fromAddress": builtin, "emailBody": "[${OTP}]", "type": "register"})
		box := newMailbox()
		pairing := c.pair(t, app, username, obj{"recipient": box.address, "type": "register"})
		otp := box.next(t).otp(t)
		give := func(otp string) request { return newRequest("PUT", pairing+"/otp", obj{"otp": otp}) }
		for range 2 {
			c.refused(t, "400 INVALID_DATA|REQUEST_FAILED * INVALID_VALUE", give(other(otp)))
		}
		c.refused(t, "400 REQUEST_FAILED * RETRY_LIMIT_EXCEEDED", give(other(otp)))
		c.refused(t, "400 REQUEST_FAILED * RETRY_LIMIT_EXCEEDED", give(otp))
		if ds := c.devices(t, app, username); len(ds) != 0 {
			t.Errorf("there are devices %+v", ds)
		}
		// Another pairing starts anew, and its code is its own.
		pairing = c.pair(t, app, username, obj{"recipient": box.address, "type": "register"})
		second := box.next(t).otp(t)
		if second != otp { // they may be the same once in a million
			c.refused(t, "400 INVALID_DATA|REQUEST_FAILED * INVALID_VALUE", give(otp))
		}
		c.wants(t, give(second), 204)
	})
}

func TestPairingByItself(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app, username := c.application(t), c.user(t)
		box := newMailbox()
		// Neither type nor locale counts.
		pairing := c.pair(t, app, username, obj{"recipient": box.address, "automaticPairing": true, "type": "nothing", "locale": "nonsense"})
		c.get(t, pairing)
		second := newMailbox()
		c.pair(t, app, username, obj{"recipient": second.address, "automaticPairing": true})
		c.pair(t, app, username, obj{"recipient": newMailbox().address, "automaticPairing": true, "deviceNickname": strings.Repeat("ü", 100)})
		ds := c.devices(t, app, username)
		same(t, "devices", []string{"Email 1", "Email 2", strings.Repeat("ü", 100)}, names(ds))
		box.silent(t)
		second.silent(t)

		if ds := c.devices(t, c.application(t), username); len(ds) != 0 {
			t.Errorf("devices of one application are in another: %+v", ds)
		}
		c.delete(t, c.at("users", username, "devices", ds[1].ID))
		left := c.devices(t, app, username)
		if len(left) != 2 || left[0].ID != ds[0].ID || left[1].ID != ds[2].ID {
			t.Errorf("after one was deleted, there are %+v", left)
		}
		// What the resource is called is open.
		c.refused(t, "404 NOT_FOUND * NOT_FOUND", newRequest("DELETE", c.at("users", username, "devices", ds[1].ID), nil))
		c.delete(t, c.at("users", username, "devices", ds[2].ID))
		c.delete(t, c.at("users", username, "devices", ds[0].ID))
		same(t, "status without devices", "NOT_ACTIVE", c.getUser(t, app, username, "").Status)

		// A user who comes back has none of the old ones.
		c.pair(t, app, username, obj{"recipient": box.address, "automaticPairing": true})
		c.delete(t, c.at("users", username))
		c.post(t, c.at("users"), obj{"username": username})
		if ds := c.devices(t, app, username); len(ds) != 0 {
			t.Errorf("a new user has devices %+v", ds)
		}
	})
}

func TestPairingFieldsAreJudged(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app, username := c.application(t), c.user(t)
		c.post(t, c.templates(app), obj{"fromAddress": builtin, "emailBody": "[${OTP}]", "type": "register"})
		good := obj{"recipient": newMailbox().address, "type": "register"}
		for _, r := range []struct {
			changes obj
			want    string
		}{
			{obj{"recipient": nil}, "REQUIRED_VALUE/recipient"},
			{obj{"recipient": "nobody"}, "INVALID_VALUE/recipient"},
			{obj{"recipient": "a@example.com, b@example.com"}, "INVALID_VALUE/recipient"},
			{obj{"recipient": "a@example.com\r\nBcc: b@example.com"}, "INVALID_VALUE/recipient"},
			{obj{"recipient": "Name <a@example.com>"}, "INVALID_VALUE/recipient"},
			{obj{"type": nil}, "REQUIRED_VALUE/type"},
			{obj{"locale": "nonsense"}, "INVALID_VALUE/locale"},
		} {
			c.refused(t, "400 INVALID_DATA * "+r.want, newRequest("POST", c.pairings(app, username), with(good, r.changes)))
		}
		c.refused(t, "400 INVALID_DATA|REQUEST_FAILED * SIZE_LIMIT_EXCEEDED/deviceNickname",
			newRequest("POST", c.pairings(app, username), with(good, obj{"deviceNickname": strings.Repeat("x", 101)})))
		c.refused(t, "404 NOT_FOUND application NOT_FOUND", newRequest("POST", c.pairings(newUUID(), username), good))
		// What the resource is called is open.
		c.refused(t, "404 NOT_FOUND * NOT_FOUND", newRequest("GET", c.at("applications", app, "users", username, "emailpairings", "pairing_webs_"+newUUID()), nil))
		c.refused(t, "404 NOT_FOUND * NOT_FOUND", newRequest("PUT", c.at("applications", app, "users", username, "emailpairings", "pairing_webs_"+newUUID(), "otp"), obj{"otp": "000000"}))
		if ds := c.devices(t, app, username); len(ds) != 0 {
			t.Errorf("refused pairings made devices %+v", ds)
		}

		// Another user's pairing is none of this one.
		box := newMailbox()
		pairing := c.pair(t, app, username, obj{"recipient": box.address, "type": "register"})
		otp := box.next(t).otp(t)
		theirs := strings.Replace(pairing, "/users/"+username+"/", "/users/"+c.user(t)+"/", 1)
		c.refused(t, "404 NOT_FOUND * NOT_FOUND", newRequest("GET", theirs, nil))
		c.refused(t, "404 NOT_FOUND * NOT_FOUND", newRequest("PUT", theirs+"/otp", obj{"otp": otp}))
	})
}

func TestDevicesAreLimited(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app, username := c.application(t), c.user(t)
		automatic := func() obj { return obj{"recipient": newMailbox().address, "automaticPairing": true} }
		for range 5 {
			c.pair(t, app, username, automatic())
		}
		// How the limit is called at the top and what its target is, is open.
		const full = "400 INVALID_DATA|REQUEST_FAILED * SIZE_LIMIT_EXCEEDED"
		c.refused(t, full, newRequest("POST", c.pairings(app, username), automatic()))
		c.attribute(t, app, "max_allowed_devices_for_user", "6")
		c.pair(t, app, username, automatic())
		c.refused(t, full, newRequest("POST", c.pairings(app, username), automatic()))
		if ds := c.devices(t, app, username); len(ds) != 6 {
			t.Errorf("there are %d devices, want 6", len(ds))
		}
		c.pair(t, c.application(t), username, automatic()) // it is counted per application
	})
}

func TestAuthenticationByCode(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, nil)
		theDevice := c.devices(t, d.app, d.user)[0].ID
		x := c.authenticate(t, d.app, d.user, obj{
			"authenticationType": "AUTHENTICATE", "emailConfigurationType": kind, "locale": "en", "payload": "p", "ipAddress": "192.0.2.1", "userAgent": "x",
			"pushMessageTitle": "x", "pushMessageBody": "x", "smsMessage": "x", "voiceMessage": "x", "clientContext": "x", "emailParameters": obj{},
		})
		if x.Status != "OTP" || x.DeviceID != theDevice || x.Device == nil {
			t.Errorf("the authentication is %+v, want OTP with device %s", x, theDevice)
		}
		otp := d.box.next(t).otp(t)
		same(t, "GET", "OTP", c.status(t, x))
		c.refused(t, "400 INVALID_DATA * REQUIRED_VALUE/otp", newRequest("PUT", x.path+"/otp", obj{}))

		// Wrong ones are no errors.
		same(t, "a wrong code", "INVALID_OTP", c.give(t, x, other(otp)))
		same(t, "no code at all", "INVALID_OTP", c.give(t, x, "abc"))
		same(t, "the right code", "APPROVED", c.giveWith(t, x, obj{"otp": otp, "payload": "p"}))
		same(t, "GET when approved", "APPROVED", c.status(t, x))

		// A code is for one use.
		for range 4 { // and four wrong ones more do not undo what was approved
			c.notApproved(t, x, otp)
		}
		same(t, "GET when approved", "APPROVED", c.status(t, x))

		// ... and for its own session.
		second := c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind, "deviceId": theDevice})
		next := d.box.next(t).otp(t)
		if next != otp {
			same(t, "the code of another session", "INVALID_OTP", c.give(t, second, otp))
		}
		same(t, "the right code", "APPROVED", c.give(t, second, next))
	})
}

func (c *client) giveWith(t *testing.T, x authentication, body obj) string {
	t.Helper()
	return c.authentication(t, c.wants(t, newRequest("PUT", x.path+"/otp", body), 200)).Status
}

// notApproved gives a code that no longer counts. Whether that is an error or a
// status is open.
func (c *client) notApproved(t *testing.T, x authentication, otp string) {
	t.Helper()
	a := c.wants(t, newRequest("PUT", x.path+"/otp", obj{"otp": otp}), 200, 400, 404)
	if a.status == 200 && c.authentication(t, a).Status == "APPROVED" {
		t.Errorf("%v\n\tthe code no longer counts", a)
	}
}

func TestThreeWrongCodesBlockAnAuthentication(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, nil)
		x := c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		otp := d.box.next(t).otp(t)
		for range 2 {
			same(t, "a wrong code", "INVALID_OTP", c.give(t, x, other(otp)))
		}
		// The third answer tells of the code or already of its consequence.
		if s := c.give(t, x, other(otp)); s != "INVALID_OTP" && s != "OTP_IS_BLOCKED" {
			t.Errorf("the third wrong code leads to %s", s)
		}
		same(t, "after three wrong codes", "OTP_IS_BLOCKED", c.status(t, x))
		c.notApproved(t, x, otp)
		same(t, "after the right code", "OTP_IS_BLOCKED", c.status(t, x))

		// Another session is not blocked.
		x = c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		same(t, "another session", "APPROVED", c.give(t, x, d.box.next(t).otp(t)))
	})
}

// TestCodesCountAtTheSameTime gives many codes at once: no more than three tries,
// and no more than one use, whatever their order.
func TestCodesCountAtTheSameTime(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, nil)
		rush := func(x authentication, otp string) map[string]int {
			count := map[string]int{}
			for _, a := range c.rush(t, 12, func() request { return newRequest(http.MethodPut, x.path+"/otp", obj{"otp": otp}) }) {
				if a.status == 200 {
					count[c.authentication(t, a).Status]++
				} else {
					count[fmt.Sprint(a.status)]++
				}
			}
			return count
		}
		x := c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		otp := d.box.next(t).otp(t)
		if n := rush(x, other(otp)); n["INVALID_OTP"] > 3 || n["APPROVED"] > 0 {
			t.Errorf("twelve wrong codes at once lead to %v", n)
		}
		same(t, "after twelve wrong codes", "OTP_IS_BLOCKED", c.status(t, x))
		x = c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		if n := rush(x, d.box.next(t).otp(t)); n["APPROVED"] != 1 {
			t.Errorf("the right code twelve times at once leads to %v", n)
		}

		// Pairing: one of twelve makes the device, and no more devices are made than
		// there may be, whose names differ.
		app, username := c.application(t), c.user(t)
		c.post(t, c.templates(app), obj{"fromAddress": builtin, "emailBody": "[${OTP}]", "type": "register"})
		box := newMailbox()
		pairing := c.pair(t, app, username, obj{"recipient": box.address, "type": "register"})
		otp = box.next(t).otp(t)
		made := 0
		for _, a := range c.rush(t, 12, func() request { return newRequest(http.MethodPut, pairing+"/otp", obj{"otp": otp}) }) {
			if a.status == 204 {
				made++
			}
		}
		same(t, "pairings made by one code", 1, made)
		same(t, "devices", []string{"Email 1"}, names(c.devices(t, app, username)))
		made = 0
		for _, a := range c.rush(t, 12, func() request {
			return newRequest(http.MethodPost, c.pairings(app, username), obj{"recipient": newMailbox().address, "automaticPairing": true})
		}) {
			if a.status == 201 {
				made++
			} else if err := a.refusal("400 INVALID_DATA|REQUEST_FAILED * SIZE_LIMIT_EXCEEDED"); err != nil {
				t.Errorf("%v\n\t%v", a, err)
			}
		}
		same(t, "pairings made at once", 4, made)
		got := names(c.devices(t, app, username))
		slices.Sort(got)
		same(t, "devices", []string{"Email 1", "Email 2", "Email 3", "Email 4", "Email 5"}, got)
	})
}

func TestAuthenticationIsCancelled(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, nil)
		x := c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		otp := d.box.next(t).otp(t)
		c.delete(t, x.path)
		// Whether it is still there, cancelled, is open.
		if a := c.wants(t, newRequest("GET", x.path, nil), 200, 404); a.status == 200 {
			same(t, "GET", "CANCELED", c.authentication(t, a).Status)
		}
		c.notApproved(t, x, otp)
	})
}

func TestDeviceIsSelected(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, nil)
		second := newMailbox()
		c.pair(t, d.app, d.user, obj{"recipient": second.address, "automaticPairing": true})
		ds := c.devices(t, d.app, d.user)

		// Without the mode the rule is the primary device.
		x := c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		if x.Status != "OTP" || x.DeviceID != ds[0].ID {
			t.Errorf("without the mode, the authentication is %+v; want OTP with %s", x, ds[0].ID)
		}
		same(t, "by the primary device", "APPROVED", c.give(t, x, d.box.next(t).otp(t)))

		c.attribute(t, d.app, "multiple_device_selection_mode", "true")
		x = c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		same(t, "several devices and none is named", "SELECT_DEVICE", x.Status)
		d.box.silent(t)
		second.silent(t)
		x = c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind, "deviceId": ds[1].ID})
		if x.Status != "OTP" || x.DeviceID != ds[1].ID {
			t.Errorf("the authentication is %+v; want OTP with %s", x, ds[1].ID)
		}
		same(t, "by the second device", "APPROVED", c.give(t, x, second.next(t).otp(t)))
		d.box.silent(t)

		// Whether an unknown device is bad data or not found is open.
		for _, unknown := range []string{newUUID(), "nonsense", c.devices(t, c.desk2(t, d.user), d.user)[0].ID} {
			c.wants(t, newRequest("POST", c.authentications(d.app, d.user), obj{"emailConfigurationType": kind, "deviceId": unknown}), 400, 404)
		}
	})
}

// desk2 is another application that pairs the same user.
func (c *client) desk2(t *testing.T, username string) (app string) {
	t.Helper()
	app = c.application(t)
	c.pair(t, app, username, obj{"recipient": newMailbox().address, "automaticPairing": true})
	return app
}

func TestAuthenticationFieldsAreJudged(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, nil)
		path := c.authentications(d.app, d.user)
		// Which resource is at fault is open.
		c.refused(t, "400 INVALID_DATA * REQUIRED_VALUE/emailConfigurationType", newRequest("POST", path, obj{}))
		c.refused(t, "400 INVALID_DATA * INVALID_VALUE/authenticationType", newRequest("POST", path, obj{"emailConfigurationType": kind, "authenticationType": "ENROLL"}))
		c.refused(t, "400 INVALID_DATA * INVALID_VALUE/locale", newRequest("POST", path, obj{"emailConfigurationType": kind, "locale": "nonsense"}))
		c.refused(t, "404 NOT_FOUND application NOT_FOUND", newRequest("POST", c.authentications(newUUID(), d.user), obj{"emailConfigurationType": kind}))
		const gone = "404 NOT_FOUND authentication NOT_FOUND"
		unknown := path + "/webs_" + newUUID()
		c.refused(t, gone, newRequest("GET", unknown, nil))
		c.refused(t, gone, newRequest("DELETE", unknown, nil))
		c.refused(t, gone, newRequest("PUT", unknown+"/otp", obj{"otp": "000000"}))
		c.refused(t, gone, newRequest("GET", path+"/nonsense", nil))
		// How a user is refused who has no device is open.
		c.wants(t, newRequest("POST", c.authentications(d.app, c.user(t)), obj{"emailConfigurationType": kind}), 400, 404)
		d.box.silent(t)

		// Another user's authentication is none of this one.
		x := c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		otp := d.box.next(t).otp(t)
		theirs := strings.Replace(x.path, "/users/"+d.user+"/", "/users/"+c.user(t)+"/", 1)
		c.refused(t, gone, newRequest("GET", theirs, nil))
		c.refused(t, gone, newRequest("PUT", theirs+"/otp", obj{"otp": otp}))
		same(t, "its own", "APPROVED", c.give(t, x, otp))
	})
}

func TestApplicationGatesItsUsers(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, nil)
		pair := func() request {
			return newRequest("POST", c.pairings(d.app, d.user), obj{"recipient": newMailbox().address, "automaticPairing": true})
		}
		authenticate := newRequest("POST", c.authentications(d.app, d.user), obj{"emailConfigurationType": kind})
		app := c.getApplication(t, d.app, "")

		const off = "400 REQUEST_FAILED application APPLICATION_DISABLED"
		c.set(t, c.at("applications", d.app), obj{"id": d.app, "name": app.Name, "appEnabled": false})
		c.refused(t, off, pair())
		c.refused(t, off, authenticate)
		c.set(t, c.at("applications", d.app), obj{"id": d.app, "name": app.Name, "appEnabled": true})
		if ds := c.devices(t, d.app, d.user); len(ds) != 1 {
			t.Errorf("after the application was off, there are devices %+v", ds)
		}

		// What was begun before is held up, too.
		x := c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		otp := d.box.next(t).otp(t)
		box := newMailbox()
		pairing := c.pair(t, d.app, d.user, obj{"recipient": box.address, "type": kind})
		pairingOTP := box.next(t).otp(t)
		c.set(t, c.at("applications", d.app), obj{"id": d.app, "name": app.Name, "appEnabled": false})
		c.notApproved(t, x, otp)
		c.wants(t, newRequest("PUT", pairing+"/otp", obj{"otp": pairingOTP}), 400, 404)
		c.set(t, c.at("applications", d.app), obj{"id": d.app, "name": app.Name, "appEnabled": true})
		x = c.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		otp = d.box.next(t).otp(t)
		pairing = c.pair(t, d.app, d.user, obj{"recipient": box.address, "type": kind})
		pairingOTP = box.next(t).otp(t)

		// Without email the devices are gone and do not come back; templates stay.
		const noEmail = "400 REQUEST_FAILED application EMAIL_NOT_ENABLED"
		c.attribute(t, d.app, "email_enabled", "false")
		c.refused(t, noEmail, pair())
		c.refused(t, noEmail, authenticate)
		c.notApproved(t, x, otp)
		c.wants(t, newRequest("PUT", pairing+"/otp", obj{"otp": pairingOTP}), 400, 404)
		c.post(t, c.templates(d.app), with(seed(), obj{"type": "meanwhile"}))
		c.attribute(t, d.app, "email_enabled", "true")
		if ds := c.devices(t, d.app, d.user); len(ds) != 0 {
			t.Errorf("after email was off, there are devices %+v", ds)
		}
		d.box.silent(t)

		// By default it is off.
		fresh := newUUID()
		c.post(t, c.at("applications"), obj{"id": fresh, "name": unique("App"), "appEnabled": true})
		c.refused(t, noEmail, newRequest("POST", c.pairings(fresh, d.user), obj{"recipient": newMailbox().address, "automaticPairing": true}))
		fresh = newUUID()
		c.post(t, c.at("applications"), obj{"id": fresh, "name": unique("App")})
		c.refused(t, off, newRequest("POST", c.pairings(fresh, d.user), obj{"recipient": newMailbox().address, "automaticPairing": true}))
	})
}
