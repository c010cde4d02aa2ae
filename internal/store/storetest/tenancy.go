package storetest

import (
	"reflect"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

// intrusion tries one method on the first tenant's things as the second tenant.
type intrusion struct {
	method string
	try    func(w *world, tx otp.Tx, v victim) error
	want   sender.Kind // empty: no error, and nothing found or done
}

// victim is what the first tenant has.
type victim struct {
	domain     sender.Domain
	address    sender.Address
	message    sender.Message // claimed by "n1", with attempt 1 started
	credential sender.Credential
	event      sender.Event
	check      sender.Check
	attempt    sender.Attempt
	entry      sender.TimelineEntry
	tombstone  sender.Tombstone
	template   sender.Template
	webhook    sender.Webhook // leased by "n1"

	application    otp.Application
	user           otp.User
	device         otp.Device
	pairing        otp.Pairing
	authentication otp.Authentication
}

func nothing[T any](w *world, what string, list []T, err error) error {
	if len(list) > 0 {
		w.Errorf("%s shows another tenant %d things", what, len(list))
	}
	return err
}

func none(w *world, what string, n int, err error) error {
	if n != 0 {
		w.Errorf("%s counts %d things of another tenant", what, n)
	}
	return err
}

var intrusions = []intrusion{
	{"Domain", func(w *world, tx otp.Tx, v victim) error { _, err := tx.Domain(w.ctx, w.b, v.domain.ID); return err }, sender.NotFound},
	{"DomainByName", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.DomainByName(w.ctx, w.b, v.domain.Name)
		return err
	}, sender.NotFound},
	{"Domains", func(w *world, tx otp.Tx, _ victim) error {
		l, err := tx.Domains(w.ctx, w.b, sender.Page{})
		return nothing(w, "Domains", l, err)
	}, ""},
	{"CountDomains", func(w *world, tx otp.Tx, _ victim) error {
		n, err := tx.CountDomains(w.ctx, w.b, 10)
		return none(w, "CountDomains", n, err)
	}, ""},
	{"LastCheck", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.LastCheck(w.ctx, w.b, v.domain.ID)
		return err
	}, sender.NotFound},
	{"Timeline", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.Timeline(w.ctx, w.b, v.domain.ID, sender.Page{})
		return nothing(w, "Timeline", l, err)
	}, ""},
	{"AddTimeline", func(w *world, tx otp.Tx, v victim) error {
		v.entry.Tenant, v.entry.ID = w.b, sender.NewID()
		return tx.AddTimeline(w.ctx, w.b, v.domain.ID, []sender.TimelineEntry{v.entry}, 0)
	}, sender.NotFound},
	{"LastSent", func(w *world, tx otp.Tx, v victim) error {
		at, err := tx.LastSent(w.ctx, w.b, v.domain.Name, time.Time{})
		if !at.IsZero() {
			w.Error("LastSent tells of another tenant's message")
		}
		return err
	}, ""},
	{"Tombstones", func(w *world, tx otp.Tx, _ victim) error {
		l, err := tx.Tombstones(w.ctx, w.b, sender.Page{})
		return nothing(w, "Tombstones", l, err)
	}, ""},
	{"InsertTombstone", func(w *world, tx otp.Tx, v victim) error {
		v.tombstone.Tenant = w.b
		return tx.InsertTombstone(w.ctx, v.tombstone, 0)
	}, ""},
	{"UpdateTombstone", func(w *world, tx otp.Tx, v victim) error {
		v.tombstone.Tenant, v.tombstone.Records = w.b, nil
		return tx.UpdateTombstone(w.ctx, v.tombstone)
	}, sender.NotFound},
	{"DeleteTombstone", func(w *world, tx otp.Tx, v victim) error {
		return tx.DeleteTombstone(w.ctx, w.b, v.tombstone.ID)
	}, sender.NotFound},
	{"Address", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.Address(w.ctx, w.b, v.address.ID)
		return err
	}, sender.NotFound},
	{"AddressByMailbox", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.AddressByMailbox(w.ctx, w.b, v.address.Mailbox)
		return err
	}, sender.NotFound},
	{"Addresses", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.Addresses(w.ctx, w.b, v.domain.Name, sender.Page{})
		return nothing(w, "Addresses", l, err)
	}, ""},
	{"CountAddresses", func(w *world, tx otp.Tx, v victim) error {
		n, err := tx.CountAddresses(w.ctx, w.b, v.domain.Name, 10)
		return none(w, "CountAddresses", n, err)
	}, ""},
	{"Message", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.Message(w.ctx, w.b, v.message.ID)
		return err
	}, sender.NotFound},
	{"MessageByKey", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.MessageByKey(w.ctx, w.b, v.message.IdempotencyKey)
		return err
	}, sender.NotFound},
	{"Messages", func(w *world, tx otp.Tx, _ victim) error {
		l, err := tx.Messages(w.ctx, w.b, sender.Page{})
		return nothing(w, "Messages", l, err)
	}, ""},
	{"Attempts", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.Attempts(w.ctx, w.b, v.message.ID)
		return nothing(w, "Attempts", l, err)
	}, ""},
	{"Events", func(w *world, tx otp.Tx, _ victim) error {
		l, err := tx.Events(w.ctx, w.b, sender.Page{})
		return nothing(w, "Events", l, err)
	}, ""},
	{"Credentials", func(w *world, tx otp.Tx, _ victim) error {
		l, err := tx.Credentials(w.ctx, w.b, sender.Page{})
		if err := nothing(w, "Credentials", l, err); err != nil {
			return err
		}
		l, err = tx.Credentials(w.ctx, "", sender.Page{})
		return nothing(w, "Credentials of operators", l, err)
	}, ""},
	{"RevokeCredential", func(w *world, tx otp.Tx, v victim) error {
		return tx.RevokeCredential(w.ctx, w.b, v.credential.ID, start)
	}, sender.NotFound},
	{"CredentialByToken", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.CredentialByToken(w.ctx, w.b, v.credential.Token)
		return err
	}, sender.NotFound},
	{"ExpireCredential", func(w *world, tx otp.Tx, v victim) error {
		return tx.ExpireCredential(w.ctx, w.b, v.credential.ID, start)
	}, sender.NotFound},
	{"UpdateDomain", func(w *world, tx otp.Tx, v victim) error {
		v.domain.Tenant, v.domain.Facets = w.b, nil
		return tx.UpdateDomain(w.ctx, v.domain)
	}, sender.NotFound},
	{"DeleteDomain", func(w *world, tx otp.Tx, v victim) error { return tx.DeleteDomain(w.ctx, w.b, v.domain.ID) }, sender.NotFound},
	{"SaveCheck", func(w *world, tx otp.Tx, v victim) error {
		v.check.Tenant, v.check.Findings = w.b, nil
		return tx.SaveCheck(w.ctx, v.check)
	}, sender.NotFound},
	{"UpdateAddress", func(w *world, tx otp.Tx, v victim) error {
		v.address.Tenant, v.address.Status = w.b, sender.Verified
		return tx.UpdateAddress(w.ctx, v.address)
	}, sender.NotFound},
	{"DeleteAddress", func(w *world, tx otp.Tx, v victim) error {
		return tx.DeleteAddress(w.ctx, w.b, v.address.ID)
	}, sender.NotFound},
	{"StartAttempt", func(w *world, tx otp.Tx, v victim) error {
		v.attempt.Tenant, v.attempt.Number = w.b, 2
		return tx.StartAttempt(w.ctx, "n1", v.attempt)
	}, sender.Conflict},
	{"FinishAttempt", func(w *world, tx otp.Tx, v victim) error {
		v.attempt.Tenant, v.attempt.Outcome = w.b, sender.Delivered
		return tx.FinishAttempt(w.ctx, v.attempt)
	}, sender.NotFound},
	{"UpdateMessage", func(w *world, tx otp.Tx, v victim) error {
		v.message.Tenant, v.message.State = w.b, sender.Sent
		return tx.UpdateMessage(w.ctx, "n1", v.message)
	}, sender.Conflict},
	{"LockDomain", func(w *world, tx otp.Tx, v victim) error {
		return tx.LockDomain(w.ctx, w.b, v.domain.Name)
	}, ""},
	{"Template", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.Template(w.ctx, w.b, v.template.ID)
		return err
	}, sender.NotFound},
	{"TemplateFor", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.TemplateFor(w.ctx, w.b, v.template.Application, v.template.Type, v.template.Locale, v.template.Variant)
		return err
	}, sender.NotFound},
	{"Templates", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.Templates(w.ctx, w.b, sender.TemplateFilter{AnyApplication: true}, sender.Page{})
		if err := nothing(w, "Templates", l, err); err != nil {
			return err
		}
		l, err = tx.Templates(w.ctx, w.b, sender.TemplateFilter{Application: v.template.Application, Type: v.template.Type}, sender.Page{})
		return nothing(w, "Templates of an application", l, err)
	}, ""},
	{"Belongings", func(w *world, tx otp.Tx, _ victim) error {
		b, err := tx.Belongings(w.ctx, w.b)
		if b != (sender.Belongings{}) {
			w.Errorf("Belongings shows another tenant's: %+v", b)
		}
		return err
	}, ""},
	{"CountTemplates", func(w *world, tx otp.Tx, _ victim) error {
		n, octets, err := tx.CountTemplates(w.ctx, w.b)
		return none(w, "CountTemplates", n+octets, err)
	}, ""},
	{"UpdateTemplate", func(w *world, tx otp.Tx, v victim) error {
		v.template.Tenant, v.template.Body = w.b, "stolen"
		return tx.UpdateTemplate(w.ctx, v.template)
	}, sender.NotFound},
	{"DeleteTemplate", func(w *world, tx otp.Tx, v victim) error {
		return tx.DeleteTemplate(w.ctx, w.b, v.template.ID)
	}, sender.NotFound},
	{"Application", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.Application(w.ctx, w.b, v.application.ID)
		return err
	}, sender.NotFound},
	{"ApplicationByName", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.ApplicationByName(w.ctx, w.b, v.application.Name)
		return err
	}, sender.NotFound},
	{"Applications", func(w *world, tx otp.Tx, _ victim) error {
		l, err := tx.Applications(w.ctx, w.b)
		return nothing(w, "Applications", l, err)
	}, ""},
	{"UpdateApplication", func(w *world, tx otp.Tx, v victim) error {
		v.application.Tenant, v.application.Enabled = w.b, false
		return tx.UpdateApplication(w.ctx, v.application)
	}, sender.NotFound},
	{"User", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.User(w.ctx, w.b, v.user.Username)
		return err
	}, sender.NotFound},
	{"UpdateUser", func(w *world, tx otp.Tx, v victim) error {
		v.user.Tenant, v.user.Guard = w.b, otp.Guard{}
		return tx.UpdateUser(w.ctx, v.user)
	}, sender.NotFound},
	{"DeleteUser", func(w *world, tx otp.Tx, v victim) error { return tx.DeleteUser(w.ctx, w.b, v.user.ID) }, sender.NotFound},
	{"LockUser", func(w *world, tx otp.Tx, v victim) error { return tx.LockUser(w.ctx, w.b, v.user.ID) }, ""},
	{"Devices", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.Devices(w.ctx, w.b, v.user.ID)
		return nothing(w, "Devices", l, err)
	}, ""},
	{"DevicesOf", func(w *world, tx otp.Tx, v victim) error {
		l, err := tx.DevicesOf(w.ctx, w.b, v.application.ID, sender.Page{})
		return nothing(w, "DevicesOf", l, err)
	}, ""},
	{"InsertDevice", func(w *world, tx otp.Tx, v victim) error {
		v.device.Tenant, v.device.ID = w.b, sender.NewRandomID()
		return tx.InsertDevice(w.ctx, v.device)
	}, sender.NotFound},
	{"UpdateDevice", func(w *world, tx otp.Tx, v victim) error {
		v.device.Tenant, v.device.Role = w.b, otp.Trusted
		return tx.UpdateDevice(w.ctx, v.device)
	}, sender.NotFound},
	{"DeleteDevice", func(w *world, tx otp.Tx, v victim) error { return tx.DeleteDevice(w.ctx, w.b, v.device.ID) }, sender.NotFound},
	{"Pairing", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.Pairing(w.ctx, w.b, v.pairing.ID)
		return err
	}, sender.NotFound},
	{"InsertPairing", func(w *world, tx otp.Tx, v victim) error {
		v.pairing.Tenant, v.pairing.ID = w.b, sender.NewRandomID()
		return tx.InsertPairing(w.ctx, v.pairing)
	}, sender.NotFound},
	{"UpdatePairing", func(w *world, tx otp.Tx, v victim) error {
		v.pairing.Tenant, v.pairing.State = w.b, otp.PairingFailed
		return tx.UpdatePairing(w.ctx, v.pairing)
	}, sender.NotFound},
	{"Authentication", func(w *world, tx otp.Tx, v victim) error {
		_, err := tx.Authentication(w.ctx, w.b, v.authentication.ID)
		return err
	}, sender.NotFound},
	{"InsertAuthentication", func(w *world, tx otp.Tx, v victim) error {
		v.authentication.Tenant, v.authentication.ID = w.b, sender.NewRandomID()
		return tx.InsertAuthentication(w.ctx, v.authentication)
	}, sender.NotFound},
	{"UpdateAuthentication", func(w *world, tx otp.Tx, v victim) error {
		v.authentication.Tenant, v.authentication.Status = w.b, otp.Approved
		return tx.UpdateAuthentication(w.ctx, v.authentication)
	}, sender.NotFound},
	// The same id or name again is another tenant's own thing.
	{"InsertDomain", func(w *world, tx otp.Tx, _ victim) error {
		return tx.InsertDomain(w.ctx, newDomain(w.b, "example.org"))
	}, ""},
	{"InsertAddress", func(w *world, tx otp.Tx, _ victim) error {
		return tx.InsertAddress(w.ctx, newAddress(w.b, "example.org", "noreply"))
	}, ""},
	{"InsertMessage", func(w *world, tx otp.Tx, v victim) error {
		m := newMessage(w.b, start)
		m.IdempotencyKey = v.message.IdempotencyKey
		return tx.InsertMessage(w.ctx, m)
	}, ""},
	{"InsertEvent", func(w *world, tx otp.Tx, _ victim) error {
		return tx.InsertEvent(w.ctx, sender.Event{ID: sender.NewID(), Tenant: w.b, At: start})
	}, ""},
	{"InsertTemplate", func(w *world, tx otp.Tx, v victim) error {
		v.template.Tenant = w.b
		return tx.InsertTemplate(w.ctx, v.template)
	}, ""},
	{"InsertApplication", func(w *world, tx otp.Tx, v victim) error {
		v.application.Tenant = w.b
		return tx.InsertApplication(w.ctx, v.application)
	}, ""},
	{"InsertUser", func(w *world, tx otp.Tx, v victim) error {
		v.user.Tenant = w.b
		return tx.InsertUser(w.ctx, v.user)
	}, ""},
}

// tenantless are the methods to which no tenant is told, and why that is right.
var tenantless = map[string]string{
	"Organization": "operators only", "Tenant": "the tenant is what is asked for", "Tenants": "operators only",
	"TenantsOf": "the tenants are what is asked for", "Credential": "asked before anybody is known", "LockTenant": "the tenant is what is locked",
	"InsertOrganization": "operators only", "InsertTenant": "operators only", "UpdateTenant": "the tenant is what is changed",
	"DeleteTenant": "the tenant is what is deleted", "InsertCredential": "ids are unique to all",
	"ClaimDueDomains": "for all tenants", "BringDomainsForward": "for all tenants", "CountRecipient": "across all tenants", "ClaimMessages": "for all tenants",
	"RenewLeases": "by owner", "ReleaseMessages": "by owner", "SigningKey": "by selector", "PublicKey": "by selector",
	"InsertKey": "selectors are unique to all", "Enqueue": "no row of a tenant",
	"Forget": "for all tenants", "ForgetTimeline": "for all tenants", "ClaimDueTombstones": "for all tenants",
	"Hold": "names are held in the instance", "DomainsProven": "for all tenants",
	"MassGuard": "of the instance", "CountAbsent": "for all tenants", "AbsentDomains": "operators only", "CountHolding": "for all tenants",
	"LockMassGuard": "of the instance", "PutMassGuard": "of the instance",
	"InsertHold": "names are held in the instance", "UpdateHold": "by version", "DeleteHold": "by version",
	"ReleaseWebhooks": "for all tenants", "ForgetWebhookDeliveries": "for all tenants",
}

func everyMethodIsListed(w *world) {
	listed := map[string]bool{}
	for _, i := range slices.Concat(intrusions, collectionIntrusions, relayIntrusions, webhookIntrusions) {
		listed[i.method] = true
	}
	for m := range reflect.TypeFor[otp.Tx]().Methods() {
		if listed[m.Name] == (tenantless[m.Name] != "") {
			w.Errorf("%s must be tried as another tenant, or say why not", m.Name)
		}
	}
}

func anotherTenant(w *world) {
	v := victim{domain: w.domain(w.a, "example.org"), address: newAddress(w.a, "example.org", "noreply"), message: newMessage(w.a, start)}
	v.message.IdempotencyKey = "key"
	v.credential = newPair(w.a, "token")
	v.event = sender.Event{ID: sender.NewID(), Tenant: w.a, At: start, Type: sender.EventDomainCreated}
	v.webhook = newWebhook(w.a, "*")
	v.check = newCheck(w.a, v.domain.ID)
	v.attempt = newAttempt(v.message, 1)
	v.entry, v.tombstone = newEntry(v.domain, start), newTombstone(w.a, "example.net", start)
	v.application, v.user = newApplication(w.a, "Application"), newUser(w.a, "anna")
	v.template = newTemplate(w.a, v.application.ID, "pairing", "en")
	v.device = newDevice(v.user, v.application.ID, "anna@example.net", start)
	v.pairing = newPairing(v.user, v.application.ID, start.Add(time.Hour))
	v.authentication = newAuthentication(v.user, v.application.ID, v.device.ID, start.Add(time.Hour))
	w.must(w.insert(v.application, v.user, v.device, v.pairing, v.authentication))
	w.change(func(tx otp.Tx) error {
		for _, err := range []error{
			tx.InsertAddress(w.ctx, v.address), tx.InsertMessage(w.ctx, v.message), tx.InsertCredential(w.ctx, v.credential),
			tx.InsertWebhook(w.ctx, v.webhook),
			tx.InsertEvent(w.ctx, v.event), tx.SaveCheck(w.ctx, v.check),
			tx.AddTimeline(w.ctx, w.a, v.domain.ID, []sender.TimelineEntry{v.entry}, 10), tx.InsertTombstone(w.ctx, v.tombstone, 10),
			tx.InsertTemplate(w.ctx, v.template),
			tx.PutSetting(w.ctx, w.a, "setting", "document"),
			tx.PutRelay(w.ctx, newRelay(w.a)),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	w.claim("n1", start, 1)
	w.must(w.startAttempt("n1", v.attempt))
	w.do(func(tx sender.Tx) error {
		ok, err := tx.LeaseWebhook(w.ctx, w.a, v.webhook.ID, "n1", start, start.Add(time.Hour))
		if !ok {
			w.Error("the webhook can't be leased")
		}
		return err
	})
	before := w.snapshot(v)

	for _, i := range slices.Concat(intrusions, collectionIntrusions, relayIntrusions, webhookIntrusions) {
		var got error
		err := w.otp.Update(w.ctx, func(tx otp.Tx) error {
			got = i.try(w, tx, v)
			if i.want != "" {
				return nil // keep what was done, if anything was
			}
			return errOops
		})
		if i.want != "" {
			w.must(err)
		}
		w.kind(i.method, got, i.want)
		w.same("after "+i.method+", what the first tenant has", w.snapshot(v), before)
	}
}

// snapshot reads all that a tenant has.
func (w *world) snapshot(v victim) (all []any) {
	w.Helper()
	add := func(x any, err error) {
		w.Helper()
		w.must(err)
		all = append(all, x)
	}
	page := sender.Page{}
	d, err := w.Domains(w.ctx, w.a, page)
	add(d, err)
	c, err := w.LastCheck(w.ctx, w.a, v.domain.ID)
	add(c, err)
	line, err := w.Timeline(w.ctx, w.a, v.domain.ID, page)
	add(line, err)
	dead, err := w.Tombstones(w.ctx, w.a, page)
	add(dead, err)
	a, err := w.Addresses(w.ctx, w.a, v.domain.Name, page)
	add(a, err)
	found, _, err := w.FindAddresses(w.ctx, w.a, sender.Query{Limit: 10})
	add(found, err)
	s, err := w.Setting(w.ctx, w.a, "setting")
	add(s, err)
	r, err := w.Relay(w.ctx, w.a)
	add(r, err)
	m, err := w.Messages(w.ctx, w.a, page)
	add(m, err)
	at, err := w.Attempts(w.ctx, w.a, v.message.ID)
	add(at, err)
	e, err := w.Events(w.ctx, w.a, page)
	add(e, err)
	hooks, err := w.Webhooks(w.ctx, w.a, page)
	add(hooks, err)
	posts, err := w.WebhookDeliveries(w.ctx, w.a, v.webhook.ID, page)
	add(posts, err)
	cr, err := w.Credentials(w.ctx, w.a, page)
	add(cr, err)
	key, err := w.CredentialByToken(w.ctx, w.a, v.credential.Token)
	add(key, err)
	ts, err := w.Templates(w.ctx, w.a, sender.TemplateFilter{AnyApplication: true}, page)
	add(ts, err)
	apps, err := w.otp.Applications(w.ctx, w.a)
	add(apps, err)
	u, err := w.otp.User(w.ctx, w.a, v.user.Username)
	add(u, err)
	ds, err := w.otp.Devices(w.ctx, w.a, v.user.ID)
	add(ds, err)
	p, err := w.otp.Pairing(w.ctx, w.a, v.pairing.ID)
	add(p, err)
	au, err := w.otp.Authentication(w.ctx, w.a, v.authentication.ID)
	add(au, err)
	w.change(func(tx otp.Tx) error { return tx.RenewLeases(w.ctx, "n1", start.Add(time.Hour)) })
	return all
}
