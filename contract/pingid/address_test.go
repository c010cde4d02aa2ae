package pingid_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// address makes one that is to be activated.
func (c *client) address(t *testing.T, domain, emailAddress string) (addressID string) {
	t.Helper()
	return id(t, c.post(t, c.at("emaildomains", domain, "trustedemails"), obj{"emailAddress": emailAddress}))
}

// activated makes one whose code was taken from the mail.
func (c *client) activated(t *testing.T, domain, emailAddress string) (addressID string) {
	t.Helper()
	addressID = c.address(t, domain, emailAddress)
	box := mailbox{address: emailAddress}
	c.act(t, c.at("emaildomains", domain, "trustedemails", addressID, "activate"), obj{"verificationCode": box.next(t).code(t)})
	return addressID
}

// resend asks for a new code until it may: one a minute, which the fast clock makes
// a second.
func (c *client) resend(t *testing.T, path string, body any) (answered obj) {
	t.Helper()
	until(t, "a code is sent again", func() bool {
		a := c.call(t, newRequest(http.MethodPost, path, body))
		if a.status == 200 || a.status == 201 {
			answered = a.object(t)
			return true
		}
		if err := a.refusal("400 REQUEST_FAILED trustedEmail RETRY_LIMIT_EXCEEDED"); err != nil {
			t.Fatalf("%v\n\t%v", a, err)
		}
		return false
	})
	return answered
}

func TestAddressIsProvenByTheCodeFromItsMail(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, name := c.domain(t)
		all := []string{"emaildomains", domain, "trustedemails"}

		// The seed's own spelling: a blank before, and %40.
		created := c.post(t, c.at(all...), obj{"emailAddress": " john.smith%40" + name})
		address := id(t, created)
		mine := append(slices.Clone(all), address)
		want := obj{
			"emailDomain": c.link("emaildomains", domain), "self": c.link(mine...), "account": c.link(),
			"id": address, "emailAddress": "john.smith@" + name, "status": required,
		}
		same(t, "POST", want, created)
		same(t, "GET", want, c.get(t, c.at(mine...)))
		same(t, "GET with the id in capitals", want, c.get(t, c.at("emaildomains", domain, "trustedemails", strings.ToUpper(address))))
		entry := obj{"id": address, "emailAddress": "john.smith@" + name, "status": required}
		same(t, "GET of the list", obj{"self": c.link(all...), "trustedemails": list{entry}}, c.get(t, c.at(all...)))

		box := mailbox{address: "john.smith@" + name}
		first := box.next(t).code(t)
		activate, resend := c.at(append(slices.Clone(mine), "activate")...), c.at(append(slices.Clone(mine), "resend")...)
		try := func(code string) request { return newRequest("POST", activate, obj{"verificationCode": code}) }
		const wrong = "400 INVALID_DATA trustedEmail INVALID_VALUE/verificationCode"

		c.refused(t, "400 INVALID_DATA trustedEmail REQUIRED_VALUE/verificationCode", newRequest("POST", activate, obj{}))
		c.refused(t, wrong, try("wrong123"))

		// A new code replaces the old one. Neither body is one.
		acted := func(action, status string) obj {
			return with(want, obj{
				"trustedEmail": c.link(mine...), "self": c.link(append(slices.Clone(mine), action)...), "status": status,
			})
		}
		same(t, "resend", acted("resend", required), c.resend(t, resend, nil))
		second := box.next(t).code(t)
		c.refused(t, wrong, try(first))

		// Five wrong tries burn it: the right one comes too late. What that is called is
		// for TestTooManyTriesAreCalledSo.
		const late = "400 INVALID_DATA|REQUEST_FAILED trustedEmail INVALID_VALUE/verificationCode|RETRY_LIMIT_EXCEEDED"
		for range 4 {
			c.refused(t, late, try("wrong123"))
		}
		c.refused(t, late, try(second))

		same(t, "resend with an empty object", acted("resend", required), c.resend(t, resend, obj{}))
		third := box.next(t).code(t)
		same(t, "activate", acted("activate", active), c.act(t, activate, obj{"verificationCode": "  " + strings.ToUpper(third) + " "}))

		want["status"], entry["status"] = active, active
		same(t, "GET when active", want, c.get(t, c.at(mine...)))
		same(t, "GET of the list when active", obj{"self": c.link(all...), "trustedemails": list{entry}}, c.get(t, c.at(all...)))
		const already = "400 REQUEST_FAILED trustedEmail INVALID_VALUE/status"
		c.refused(t, already, try(third))
		c.refused(t, already, newRequest("POST", resend, nil))

		c.delete(t, c.at(mine...))
		const gone = "404 NOT_FOUND trustedEmail NOT_FOUND"
		c.refused(t, gone, newRequest("GET", c.at(mine...), nil))
		c.refused(t, gone, newRequest("DELETE", c.at(mine...), nil))
		c.refused(t, gone, try(third))
		c.refused(t, gone, newRequest("POST", resend, nil))
		same(t, "GET of the empty list", obj{"self": c.link(all...), "trustedemails": list{}}, c.get(t, c.at(all...)))
	})
}

// TestTooManyTriesAreCalledSo is a row of its own in section 6.3.
func TestTooManyTriesAreCalledSo(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, name := c.domain(t)
		activate := c.at("emaildomains", domain, "trustedemails", c.address(t, domain, "tries@"+name), "activate")
		for range 5 {
			c.refused(t, "400 INVALID_DATA|REQUEST_FAILED trustedEmail INVALID_VALUE/verificationCode|RETRY_LIMIT_EXCEEDED",
				newRequest("POST", activate, obj{"verificationCode": "wrong123"}))
		}
		c.refused(t, "400 REQUEST_FAILED trustedEmail RETRY_LIMIT_EXCEEDED", newRequest("POST", activate, obj{"verificationCode": "wrong123"}))
	})
}

func TestCodesAreSentAgainAtMostOnceInATime(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, name := c.domain(t)
		resend := c.at("emaildomains", domain, "trustedemails", c.address(t, domain, "soon@"+name), "resend")
		for range 5 { // a slow machine may be slower than the fast clock
			c.resend(t, resend, nil)
			a := c.call(t, newRequest("POST", resend, nil))
			if a.status == 400 {
				if err := a.refusal("400 REQUEST_FAILED trustedEmail RETRY_LIMIT_EXCEEDED"); err != nil {
					t.Errorf("%v\n\t%v", a, err)
				}
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("ten codes in a row, and none was too soon")
	})
}

func TestAddressesAreJudged(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, name := c.domain(t)
		path := c.at("emaildomains", domain, "trustedemails")
		for _, address := range []string{
			"john", "@" + name, "john@", "john@example.com", "john@sub." + name, "john@" + name + ".example",
			`"John" <john@` + name + ">", "John <john@" + name + ">", "<john@" + name + ">", "a@" + name + ",b@" + name,
			"john smith@" + name, "john@@" + name, "john\r\nBcc: x@" + name, ".john@" + name, "john..x@" + name, strings.Repeat("a", 65) + "@" + name,
			"john%40example.com", "group: john@" + name + ";",
		} {
			c.refused(t, "400 INVALID_DATA trustedEmail INVALID_VALUE/emailAddress", newRequest("POST", path, obj{"emailAddress": address}))
		}
		c.refused(t, "400 INVALID_DATA trustedEmail REQUIRED_VALUE/emailAddress", newRequest("POST", path, obj{}))
		// Which of these codes an empty address gets is open.
		c.refused(t, "400 INVALID_DATA trustedEmail EMPTY_VALUE|REQUIRED_VALUE|INVALID_VALUE", newRequest("POST", path, obj{"emailAddress": ""}))

		// How much of RFC 5321 is taken is open: what mail programs misread may be
		// refused, but as anything else is.
		for _, local := range []string{"o'brien+x", "a!#$%&*/=^_`{|}~-b", "a=?b", `"john smith"`, strings.Repeat("a", 64)} {
			a := c.wants(t, newRequest("POST", path, obj{"emailAddress": local + "@" + name}), 201, 400)
			if a.status == 201 {
				c.delete(t, path+"/"+id(t, a.object(t)))
			} else if err := a.refusal("400 INVALID_DATA trustedEmail INVALID_VALUE/emailAddress"); err != nil {
				t.Errorf("%v\n\t%v", a, err)
			}
		}

		// The parts are compared without regard to case, and kept as they were given.
		created := c.post(t, path, obj{"emailAddress": "John.Smith@" + strings.ToUpper(name) + " "})
		if got := text(t, created, "emailAddress"); !strings.HasPrefix(got, "John.Smith@") || !strings.EqualFold(got, "john.smith@"+name) {
			t.Errorf("the address comes back as %q", got)
		}
		for _, again := range []string{"John.Smith@" + name, "john.smith@" + name, "JOHN.SMITH%40" + strings.ToUpper(name)} {
			c.refused(t, "400 INVALID_DATA trustedEmail UNIQUE_VALUE_REQUIRED", newRequest("POST", path, obj{"emailAddress": again}))
		}

		// The same address in another domain is another.
		c.refused(t, "404 NOT_FOUND emailDomain NOT_FOUND", newRequest("GET", c.at("emaildomains", newUUID(), "trustedemails", id(t, created)), nil))
		elsewhere, _ := c.domain(t)
		c.refused(t, "404 NOT_FOUND trustedEmail NOT_FOUND", newRequest("GET", c.at("emaildomains", elsewhere, "trustedemails", id(t, created)), nil))
		c.refused(t, "404 NOT_FOUND trustedEmail NOT_FOUND", newRequest("DELETE", c.at("emaildomains", elsewhere, "trustedemails", id(t, created)), nil))
	})
}

func TestTenAddressesAreAllowed(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, name := c.domain(t)
		path := c.at("emaildomains", domain, "trustedemails")
		c.crowd(t, 10, path, "400 REQUEST_FAILED trustedemails SIZE_LIMIT_EXCEEDED", func() obj {
			return obj{"emailAddress": fmt.Sprintf("%s@%s", unique("one"), name)}
		})
		all, _ := c.get(t, path)["trustedemails"].(list)
		if len(all) != 10 {
			t.Errorf("there are %d addresses, want 10", len(all))
		}
	})
}
