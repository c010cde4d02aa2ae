package pingid_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestSamplesWorkAsTheyArePrinted pastes the seeds' bodies with the backslashes that
// a shell leaves inside single quotes (section 1.6).
func TestSamplesWorkAsTheyArePrinted(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		name := unique("auth.shopco") + ".example.org"
		domain := id(t, c.post(t, c.at("emaildomains"), "{ \\ \n   \"domainName\": \""+name+"\" \\ \n }"))
		c.later(t, c.at("emaildomains", domain))
		addresses := c.at("emaildomains", domain, "trustedemails")
		address := c.post(t, addresses, "{ \\\n\"emailAddress\": \" john.smith%40"+name+"\" \\\n}")
		same(t, "emailAddress", "john.smith@"+name, text(t, address, "emailAddress"))
		box := mailbox{address: "john.smith@" + name}
		activated := c.act(t, addresses+"/"+id(t, address)+"/activate", "{ \\\r\n\"verificationCode\": \""+box.next(t).code(t)+"\" \\\t\r\n}")
		same(t, "status", active, text(t, activated, "status"))

		app := c.application(t)
		printed := `{ \
"fromAddress": "noreply%40pingidentity.com", \
"emailSubject": "subject!", \
"emailBody": "bWFpbCBib2R5ICR7T1RQfQ==", \
"replyToAddress": "noreply%40pingidentity.com", \
"contentType": "text/html", \
"characterSet": "UTF-8", \
"locale": "en", \
"type": "authentication", \
"emailBodyEncoding": "base64" \
}`
		template := c.post(t, c.templates(app), printed)
		same(t, "POST", with(seed(), obj{"id": template["id"]}), template)
		same(t, "PUT", template, c.put(t, c.templates(app, id(t, template)), printed))

		// A backslash inside a string is no such thing.
		literal := with(seed(), obj{"type": "backslash", "emailBody": "a \\\n b ${OTP} \\"})
		same(t, "a backslash in a string", text(t, literal, "emailBody"), text(t, c.post(t, c.templates(app), literal), "emailBody"))
	})
}

func TestMalformedBodiesAreRefused(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, _ := c.domain(t)
		username := c.user(t)
		for _, path := range []string{
			c.at("emaildomains"), c.at("emaildomains", domain, "trustedemails"), c.templates(c.app), c.at("applications"), c.at("users"),
			c.pairings(c.app, username), c.authentications(c.app, username),
		} {
			for _, body := range []string{
				"", "{", "[]", `"text"`, "7", "null", "true", `{"domainName":"x.example.org"}}`, `{"a":1,}`, "{'a':1}", `{"a":"` + "\n" + `"}`, "\x00", `{"a":"` + "\xff" + `"}`,
				`{"a" \ b: 1}`, "{ \\ \n \"a\" ", strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000),
			} {
				c.refused(t, "400 INVALID_REQUEST", newRequest("POST", path, body))
			}
		}
		address := c.address(t, domain, "a@"+text(t, c.get(t, c.at("emaildomains", domain)), "domainName"))
		app := c.application(t)
		template := id(t, c.post(t, c.templates(app), seed()))
		for _, r := range []request{
			newRequest("POST", c.at("emaildomains", domain, "trustedemails", address, "activate"), "["),
			newRequest("PUT", c.templates(app, template), "["),
			newRequest("PUT", c.at("applications", c.app), "["),
			newRequest("PUT", c.at("applications", c.app, "attributes", "email_enabled"), "["),
			newRequest("PUT", c.at("users", username), "["),
		} {
			c.refused(t, "400 INVALID_REQUEST", r)
		}
	})
}

func TestTooMuchAndOtherMediaAreRefused(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		path := c.at("emaildomains")
		c.refused(t, "413 INVALID_REQUEST", newRequest("POST", path, `{"domainName":"`+strings.Repeat("x", 4<<20)+`"}`))
		for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data"} {
			r := newRequest("POST", path, `{"domainName":"media.example.org"}`)
			r.media = media
			c.refused(t, "415 INVALID_REQUEST", r)
		}
		r := newRequest("POST", path, obj{"domainName": unique("media") + ".example.org"})
		r.media = "Application/JSON; charset=UTF-8"
		c.later(t, c.at("emaildomains", id(t, c.wants(t, r, 201).object(t))))
	})
}

func TestOtherMethodsAreRefused(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, name := c.domain(t)
		address := c.address(t, domain, "a@"+name)
		app := c.application(t)
		template := id(t, c.post(t, c.templates(app), seed()))
		all := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
		for _, r := range []struct {
			path  string
			known string
		}{
			{c.at(), "GET"},
			{c.at("emaildomains"), "POST GET"},
			{c.at("emaildomains", domain), "GET DELETE"},
			{c.at("emaildomains", domain, "ownership"), "GET"},
			{c.at("emaildomains", domain, "dkim"), "GET"},
			{c.at("emaildomains", domain, "spf"), "GET"},
			{c.at("emaildomains", domain, "trustedemails"), "POST GET"},
			{c.at("emaildomains", domain, "trustedemails", address), "GET DELETE"},
			{c.at("emaildomains", domain, "trustedemails", address, "activate"), "POST"},
			{c.at("emaildomains", domain, "trustedemails", address, "resend"), "POST"},
			{c.templates(app), "POST GET"},
			{c.templates(app, template), "GET PUT DELETE"},
		} {
			known := strings.Fields(r.known)
			for _, method := range all {
				if slices.Contains(known, method) {
					continue
				}
				req := newRequest(method, r.path, nil)
				if method != "GET" && method != "DELETE" {
					req = newRequest(method, r.path, obj{})
				}
				a := c.call(t, req)
				if err := a.refusal("405 INVALID_REQUEST"); err != nil {
					t.Errorf("%v\n\t%v", a, err)
					continue
				}
				// RFC 9110, section 15.5.6. HEAD and OPTIONS may be there, too.
				allowed := strings.FieldsFunc(a.header.Get("Allow"), func(r rune) bool { return r == ',' || r == ' ' })
				for _, m := range all {
					if slices.Contains(allowed, m) != slices.Contains(known, m) {
						t.Errorf("%v\n\tallows %q, want %q", a, allowed, known)
						break
					}
				}
			}
		}
	})
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, _ := c.domain(t)
		for _, path := range []string{
			c.at("nonsense"), c.at("emailDomains"), c.at("EMAILDOMAINS"), c.at("emaildomains", domain, "nonsense"), c.at("emaildomains", domain, "spf", "x"),
			c.at("emaildomains", domain, "trustedEmails"), c.at("applications", c.app, "emailConfigurations"), c.at("applications", c.app, "nonsense"),
			c.at("emaildomains") + "/", c.at("emaildomains", domain) + "/", c.at("emaildomains", domain) + "//spf", c.at("emaildomains") + "/x/../" + domain,
			c.at("users", "x", "nonsense"),
		} {
			for _, method := range []string{"GET", "POST"} {
				r := newRequest(method, path, nil)
				if method == http.MethodPost {
					r = newRequest(method, path, obj{})
				}
				c.refused(t, "404 NOT_FOUND", r)
			}
		}
	})
}
