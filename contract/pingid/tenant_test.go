package pingid_test

import (
	"slices"
	"strings"
	"testing"
)

// TestTenantsDoNotSeeEachOther asks in each account for everything of the other:
// by ids below the own path it is not found, and the other path is not authorised.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		theirs := c.other()
		domain, name := theirs.domain(t)
		address := theirs.address(t, domain, "a@"+name)
		d := theirs.desk(t)
		kind, template := d.template(t, nil)
		x := theirs.authenticate(t, d.app, d.user, obj{"emailConfigurationType": kind})
		otp := d.box.next(t).otp(t)
		pairing := theirs.pair(t, d.app, d.user, obj{"recipient": newMailbox().address, "type": kind})
		own := c.user(t)
		full := func() obj { return with(seed(), obj{"type": unique("stolen")}) }

		for _, r := range []struct {
			r    request
			want string
		}{
			{newRequest("GET", c.at("emaildomains", domain), nil), "emailDomain"},
			{newRequest("GET", c.at("emaildomains", domain, "ownership"), nil), "emailDomain"},
			{newRequest("GET", c.at("emaildomains", domain, "dkim"), nil), "emailDomain"},
			{newRequest("GET", c.at("emaildomains", domain, "spf"), nil), "emailDomain"},
			{newRequest("GET", c.at("emaildomains", domain, "trustedemails"), nil), "emailDomain"},
			{newRequest("POST", c.at("emaildomains", domain, "trustedemails"), obj{"emailAddress": "b@" + name}), "emailDomain"},
			{newRequest("GET", c.at("emaildomains", domain, "trustedemails", address), nil), "emailDomain"},
			{newRequest("POST", c.at("emaildomains", domain, "trustedemails", address, "activate"), obj{"verificationCode": "aaaaaaaa"}), "emailDomain"},
			{newRequest("POST", c.at("emaildomains", domain, "trustedemails", address, "resend"), nil), "emailDomain"},
			{newRequest("DELETE", c.at("emaildomains", domain, "trustedemails", address), nil), "emailDomain"},
			{newRequest("DELETE", c.at("emaildomains", domain), nil), "emailDomain"},
			{newRequest("GET", c.at("applications", d.app), nil), "application"},
			{newRequest("PUT", c.at("applications", d.app), obj{"id": d.app, "name": unique("stolen"), "appEnabled": false}), "application"},
			{newRequest("GET", c.at("applications", d.app, "attributes"), nil), "application"},
			{newRequest("PUT", c.at("applications", d.app, "attributes", "email_enabled"), obj{"name": "email_enabled", "value": "false"}), "application"},
			{newRequest("GET", c.templates(d.app), nil), "application"},
			{newRequest("POST", c.templates(d.app), full()), "application"},
			{newRequest("GET", c.templates(d.app, template), nil), "application"},
			{newRequest("PUT", c.templates(d.app, template), full()), "application"},
			{newRequest("DELETE", c.templates(d.app, template), nil), "application"},
			{newRequest("GET", c.templates(c.app, template), nil), "emailConfiguration"},
			{newRequest("PUT", c.templates(c.app, template), full()), "emailConfiguration"},
			{newRequest("DELETE", c.templates(c.app, template), nil), "emailConfiguration"},
			{newRequest("GET", c.at("applications", c.app, "users", d.user), nil), "User"},
			{newRequest("PUT", c.at("users", d.user), obj{"username": d.user, "firstName": "x"}), "User"},
			{newRequest("DELETE", c.at("users", d.user), nil), "User"},
			// Of several that are not there, which one is named is open.
			{newRequest("POST", c.pairings(d.app, d.user), obj{"recipient": "x@inbox.example.net", "automaticPairing": true}), "application|User"},
			{newRequest("POST", c.authentications(d.app, d.user), obj{"emailConfigurationType": kind}), "application|User"},
			{newRequest("GET", strings.Replace(pairing, theirs.account, c.account, 1), nil), "*"},
			{newRequest("PUT", strings.Replace(x.path, theirs.account, c.account, 1)+"/otp", obj{"otp": otp}), "*"},
			{newRequest("GET", c.at("applications", c.app, "users", own, "authentications", x.ID), nil), "authentication"},
			{newRequest("PUT", c.at("applications", c.app, "users", own, "authentications", x.ID, "otp"), obj{"otp": otp}), "authentication"},
			{newRequest("DELETE", c.at("applications", c.app, "users", own, "authentications", x.ID), nil), "authentication"},
		} {
			c.refused(t, "404 NOT_FOUND "+r.want+" NOT_FOUND", r.r)
			there := r.r
			there.path = strings.Replace(there.path, c.account, theirs.account, 1)
			c.refused(t, "401 UNAUTHORIZED_REQ", there)
		}

		// Nothing of it happened.
		same(t, "its domain", text(t, theirs.get(t, theirs.at("emaildomains", domain)), "domainName"), name)
		theirs.get(t, theirs.at("emaildomains", domain, "trustedemails", address))
		theirs.get(t, theirs.templates(d.app, template))
		same(t, "its authentication", "APPROVED", theirs.give(t, x, otp))
	})
}

// TestTenantsProveTheSameDomainEachForItself is Q14: each has its own values, so
// the DNS still decides.
func TestTenantsProveTheSameDomainEachForItself(t *testing.T) {
	first, second := tenants[0], tenants[1]
	mine, name := first.domain(t)
	theirs := id(t, second.post(t, second.at("emaildomains"), obj{"domainName": name}))
	second.later(t, second.at("emaildomains", theirs))
	if mine == theirs {
		t.Errorf("both have the id %s", mine)
	}
	first.proven(t, mine, name)
	for what, rs := range map[string][]region{"ownership": second.ownership(t, theirs, name), "DKIM": second.dkim(t, theirs, name)} {
		if slices.Contains(statuses(rs), active) {
			t.Errorf("the first tenant's records prove %s of the second: %+v", what, rs)
		}
	}
	second.proven(t, theirs, name)
}
