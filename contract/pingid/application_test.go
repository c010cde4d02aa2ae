package pingid_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// application makes one where email is enabled. There is no way to delete it.
func (c *client) application(t *testing.T) (appID string) {
	t.Helper()
	appID = newUUID()
	c.post(t, c.at("applications"), obj{"id": appID, "name": unique("App"), "appEnabled": true})
	c.attribute(t, appID, "email_enabled", "true")
	return appID
}

func (c *client) attribute(t *testing.T, app, name, value string) {
	t.Helper()
	c.set(t, c.at("applications", app, "attributes", name), obj{"name": name, "value": value})
}

// application is what the contract fixes of one; there may be more.
type application struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Enabled    *bool       `json:"appEnabled"`
	Attributes []attribute `json:"attributes"`
}

type attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (c *client) getApplication(t *testing.T, app, query string) application {
	t.Helper()
	return into[application](t, c.wants(t, newRequest("GET", c.at("applications", app)+query, nil), 200))
}

func attributes(as []attribute) map[string]string {
	m := map[string]string{}
	for _, a := range as {
		m[a.Name] = a.Value
	}
	return m
}

func TestDemoApplicationIsReady(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		a := c.getApplication(t, c.app, "?expand=attributes")
		if a.ID != c.app || a.Name == "" || a.Enabled == nil || !*a.Enabled || attributes(a.Attributes)["email_enabled"] != "true" {
			t.Errorf("the demo application is %+v", a)
		}
	})
}

func TestApplicationIsCreatedReadAndReplaced(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		appID, name := newUUID(), unique("My App")
		created := c.post(t, c.at("applications"), obj{"id": strings.ToUpper(appID), "name": name, "fcmSenderId": "1", "fcmServerKey": "2"})
		same(t, "POST: id", appID, text(t, created, "id"))
		same(t, "POST: name", name, text(t, created, "name"))
		same(t, "POST: appEnabled", any(false), created["appEnabled"])

		a := c.getApplication(t, appID, "")
		if a.ID != appID || a.Name != name || a.Enabled == nil || *a.Enabled || a.Attributes != nil {
			t.Errorf("GET: %+v", a)
		}
		if a := c.getApplication(t, strings.ToUpper(appID), ""); a.ID != appID {
			t.Errorf("GET with the id in capitals: %+v", a)
		}
		all, _ := c.get(t, c.at("applications"))["applications"].(list)
		if !slices.ContainsFunc(all, func(e any) bool { o, ok := e.(obj); return ok && o["id"] == appID && o["name"] == name }) {
			t.Errorf("%s is not in the list %v", appID, all)
		}

		// Whether a PUT of an application answers with a body is open.
		c.set(t, c.at("applications", appID), obj{"id": appID, "name": name + " 2", "appEnabled": true})
		if a := c.getApplication(t, appID, ""); a.Name != name+" 2" || a.Enabled == nil || !*a.Enabled {
			t.Errorf("GET after PUT: %+v", a)
		}

		const taken = "400 INVALID_DATA application UNIQUE_VALUE_REQUIRED|RESOURCE_ALREADY_EXISTS"
		c.refused(t, taken, newRequest("POST", c.at("applications"), obj{"id": appID, "name": unique("App")}))
		c.refused(t, taken, newRequest("POST", c.at("applications"), obj{"id": newUUID(), "name": strings.ToUpper(name) + " 2"}))
		c.refused(t, "400 INVALID_DATA application REQUIRED_VALUE/name", newRequest("POST", c.at("applications"), obj{"id": newUUID()}))
		c.refused(t, "400 INVALID_DATA application INVALID_VALUE/id|INVALID_PATTERN/id", newRequest("POST", c.at("applications"), obj{"id": "nonsense", "name": unique("App")}))
		const gone = "404 NOT_FOUND application NOT_FOUND"
		c.refused(t, gone, newRequest("GET", c.at("applications", newUUID()), nil))
		c.refused(t, gone, newRequest("PUT", c.at("applications", newUUID()), obj{"name": unique("App")}))
		c.refused(t, gone, newRequest("GET", c.at("applications", newUUID(), "attributes"), nil))

		// Without an id one is made (Q18).
		made := text(t, c.post(t, c.at("applications"), obj{"name": unique("App")}), "id")
		if !uuid.MatchString(made) || c.getApplication(t, made, "").ID != made {
			t.Errorf("an application without an id gets %q", made)
		}
		// Another account is free to choose the same id and name.
		other := c.other()
		same(t, "POST of the same in another account", appID, text(t, other.post(t, other.at("applications"), obj{"id": appID, "name": name + " 2"}), "id"))
	})
}

func TestApplicationAttributes(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		appID := newUUID()
		c.post(t, c.at("applications"), obj{"id": appID, "name": unique("App"), "appEnabled": true})
		path := c.at("applications", appID, "attributes")
		expanded := func() map[string]string {
			return attributes(c.getApplication(t, appID, "?expand=attributes").Attributes)
		}
		for name, value := range map[string]string{
			"email_enabled": "false", "multiple_device_selection_mode": "false", "max_allowed_devices_for_user": "5",
		} {
			same(t, name+", expanded", value, expanded()[name])
			one := c.get(t, path+"/"+name)
			same(t, name, obj{"name": name, "value": value}, obj{"name": one["name"], "value": one["value"]})
		}
		for name, value := range map[string]string{
			"email_enabled": "true", "multiple_device_selection_mode": "true", "max_allowed_devices_for_user": "15", "otp_fallback_enabled": "true",
			"max_allowed_mobile_app_otp_attempts": "7", "mobile_app_lock_otp_duration": "30s", "pairing_key_expiration": "2d",
			"application_scheme_uri": "shop://", "v2_mfa_environment": newUUID(), "email_otp_lifetime": "30",
		} {
			c.attribute(t, appID, name, value)
			same(t, name, any(value), c.get(t, path+"/"+name)["value"])
			same(t, name+", expanded", value, expanded()[name])
		}
		// Whether the list is an array or an object around one is open.
		a := c.wants(t, newRequest("GET", path, nil), 200)
		var all []attribute
		if json.Unmarshal(a.body, &all) != nil {
			all = into[application](t, a).Attributes
		}
		same(t, "GET of the list", expanded(), attributes(all))

		for name, values := range map[string][]string{
			"email_enabled": {"yes", "", "1"}, "max_allowed_devices_for_user": {"0", "16", "x", "-1"}, "max_allowed_mobile_app_otp_attempts": {"0", "8"},
			"email_otp_lifetime": {"0", "31"}, "pairing_key_expiration": {"2w", "d"}, "mobile_app_lock_otp_duration": {"1h"},
		} {
			for _, value := range values {
				// Which of these codes it is, and what its target is, is open.
				c.refused(t, "400 INVALID_DATA * INVALID_VALUE|OUT_OF_RANGE|EMPTY_VALUE|INVALID_PATTERN|SIZE_LIMIT_EXCEEDED",
					newRequest("PUT", path+"/"+name, obj{"name": name, "value": value}))
			}
		}
		same(t, "after refused values", "15", expanded()["max_allowed_devices_for_user"])
		// The same is open of a name that there is not.
		c.wants(t, newRequest("GET", path+"/nonsense", nil), 404)
		if a := c.call(t, newRequest("PUT", path+"/nonsense", obj{"name": "nonsense", "value": "x"})); a.status != 404 && a.status != 400 {
			t.Errorf("%v\n\tthere is no such attribute", a)
		}
	})
}
