package storetest

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

func organizations(w *world) {
	o, err := w.Organization(w.ctx, sender.DefaultOrganization)
	w.must(err)
	if o.Name != "default" || o.ID != sender.DefaultOrganization {
		w.Errorf("the default organization is %+v", o)
	}
	n := sender.Organization{ID: sender.NewID(), Name: "Second", CreatedAt: start}
	w.do(func(tx sender.Tx) error { return tx.InsertOrganization(w.ctx, n) })
	got, err := w.Organization(w.ctx, n.ID)
	w.must(err)
	w.same("organization", got, n)
	w.kind("the same again", w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertOrganization(w.ctx, n) }), sender.Conflict)
	_, err = w.Organization(w.ctx, sender.NewID())
	w.kind("unknown", err, sender.NotFound)
}

func tenants(w *world) {
	t := sender.Tenant{
		ID: sender.NewID(), Organization: sender.DefaultOrganization, Name: "Beispiel ü", Type: sender.Production, Geography: "na",
		Regions: []string{"us-east-1"}, RecordSet: sender.Shared, FromPolicy: sender.ByAddress,
		Limits: sender.Limits{Domains: 1, AddressesPerDomain: 2, Templates: 3}, CreatedAt: start, UpdatedAt: start.Add(time.Hour),
	}
	w.do(func(tx sender.Tx) error { return tx.InsertTenant(w.ctx, t) })
	got, err := w.Tenant(w.ctx, t.ID)
	w.must(err)
	w.same("tenant", got, t)
	w.kind("the same again", w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertTenant(w.ctx, t) }), sender.Conflict)
	_, err = w.Tenant(w.ctx, sender.NewID())
	w.kind("unknown", err, sender.NotFound)
	w.kind("lock of an unknown tenant", w.Update(w.ctx, func(tx sender.Tx) error { return tx.LockTenant(w.ctx, sender.NewID()) }), sender.NotFound)

	all, err := w.Tenants(w.ctx, sender.Page{})
	w.must(err)
	w.same("all", ids(all), []sender.ID{w.a, w.b, t.ID})
	page, err := w.Tenants(w.ctx, sender.Page{After: w.a, Limit: 1})
	w.must(err)
	w.same("page", ids(page), []sender.ID{w.b})
}

func ids(ts []sender.Tenant) (ids []sender.ID) {
	for _, t := range ts {
		ids = append(ids, t.ID)
	}
	return ids
}

func tenantsOf(w *world) {
	other := sender.Organization{ID: sender.NewID(), Name: "Other"}
	t := sender.Tenant{ID: sender.NewID(), Organization: other.ID, Name: "In other", Regions: []string{"r"}}
	w.do(func(tx sender.Tx) error {
		if err := tx.InsertOrganization(w.ctx, other); err != nil {
			return err
		}
		return tx.InsertTenant(w.ctx, t)
	})
	for _, c := range []struct {
		name      string
		ids, orgs []sender.ID
		page      sender.Page
		want      []sender.ID
	}{
		{name: "nothing"},
		{name: "by id", ids: []sender.ID{w.b}, want: []sender.ID{w.b}},
		{name: "unknown ids are passed over", ids: []sender.ID{sender.NewID(), w.a}, want: []sender.ID{w.a}},
		{name: "by organization", orgs: []sender.ID{sender.DefaultOrganization}, want: []sender.ID{w.a, w.b}},
		{name: "merged once and sorted", ids: []sender.ID{t.ID, w.b, w.b}, orgs: []sender.ID{sender.DefaultOrganization}, want: []sender.ID{w.a, w.b, t.ID}},
		{name: "limited", ids: []sender.ID{t.ID, w.b}, orgs: []sender.ID{sender.DefaultOrganization}, page: sender.Page{Limit: 2}, want: []sender.ID{w.a, w.b}},
		{name: "after", ids: []sender.ID{w.a, t.ID}, orgs: []sender.ID{sender.DefaultOrganization}, page: sender.Page{After: w.a, Limit: 2}, want: []sender.ID{w.b, t.ID}},
	} {
		got, err := w.TenantsOf(w.ctx, c.ids, c.orgs, c.page)
		w.must(err)
		w.same(c.name, ids(got), c.want)
	}
}

func changedTenant(w *world) {
	t, err := w.Tenant(w.ctx, w.a)
	w.must(err)
	want := t
	want.Name, want.Type, want.UpdatedAt = "Neu ü", sender.Production, start.Add(time.Hour)
	written := want
	written.Geography, written.Organization, written.CreatedAt = "elsewhere", sender.NewID(), start.Add(time.Hour) // not written
	w.do(func(tx sender.Tx) error { return tx.UpdateTenant(w.ctx, written) })
	got, err := w.Tenant(w.ctx, w.a)
	w.must(err)
	w.same("changed", got, want)
	written.ID = sender.NewID()
	w.kind("unknown", w.Update(w.ctx, func(tx sender.Tx) error { return tx.UpdateTenant(w.ctx, written) }), sender.NotFound)
}

func deletedTenant(w *world) {
	c := sender.Credential{ID: sender.NewID(), Kind: sender.APIKey, Tenant: w.a, CreatedAt: start}
	other := sender.Credential{ID: sender.NewID(), Kind: sender.APIKey, Tenant: w.b, CreatedAt: start}
	e := sender.Event{ID: sender.NewID(), Tenant: w.a, At: start, Type: sender.EventTenantDeleted}
	w.do(func(tx sender.Tx) error {
		for _, err := range []error{
			tx.InsertCredential(w.ctx, c), tx.InsertCredential(w.ctx, other), tx.PutSetting(w.ctx, w.a, "n", "one"), tx.PutSetting(w.ctx, w.b, "n", "two"),
			tx.InsertEvent(w.ctx, e),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	remove := func() error {
		return w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteTenant(w.ctx, w.a) })
	}
	w.must(remove())
	w.kind("deleted twice", remove(), sender.NotFound)
	_, err := w.Tenant(w.ctx, w.a)
	w.kind("the tenant", err, sender.NotFound)
	_, err = w.Credential(w.ctx, c.ID)
	w.kind("its credential", err, sender.NotFound)
	_, err = w.Setting(w.ctx, w.a, "n")
	w.kind("its setting", err, sender.NotFound)
	events, err := w.Events(w.ctx, w.a, sender.Page{})
	w.must(err)
	w.same("its events", len(events), 1)
	_, err = w.Credential(w.ctx, other.ID)
	w.kind("the other's credential", err, "")
	got, err := w.Setting(w.ctx, w.b, "n")
	w.must(err)
	w.same("the other's setting", got, "two")
}

func belongings(w *world) {
	count := func(tenant sender.ID) (b sender.Belongings) {
		w.do(func(tx sender.Tx) (err error) { b, err = tx.Belongings(w.ctx, tenant); return err })
		return b
	}
	w.same("of nothing", count(w.a), sender.Belongings{})
	w.domain(w.a, "example.org")
	w.domain(w.a, "example.net")
	w.template(w.a, "", "pairing", "en")
	u := newUser(w.a, "anna")
	w.must(w.insert(newApplication(w.a, "Application"), u))
	w.do(func(tx sender.Tx) error { return tx.InsertAddress(w.ctx, newAddress(w.a, "example.org", "noreply")) })
	w.message(newMessage(w.a, start))
	w.message(newMessage(w.a, start.Add(time.Hour)))
	w.claim("n1", start, 1)
	w.same("of all", count(w.a), sender.Belongings{Domains: 2, Addresses: 1, Templates: 1, Applications: 1, Users: 1, Messages: 2})
	w.same("of another", count(w.b), sender.Belongings{})
}

func credentials(w *world) {
	c := sender.Credential{
		ID: sender.NewID(), Kind: sender.OAuthClient, Name: "worker", Tenant: w.a,
		Grants: []sender.Grant{{Tenant: w.a, Role: sender.RoleAdmin}, {Organization: sender.DefaultOrganization, Role: sender.RoleReader}},
		Domain: sender.NewID(), SecretHash: "$argon2id$v=19$...", CreatedAt: start, ExpiresAt: start.Add(time.Hour),
	}
	operator := sender.Credential{ID: sender.NewID(), Kind: sender.APIKey, Name: "operator", Operator: true, CreatedAt: start}
	w.do(func(tx sender.Tx) error {
		if err := tx.InsertCredential(w.ctx, c); err != nil {
			return err
		}
		return tx.InsertCredential(w.ctx, operator)
	})
	for _, want := range []sender.Credential{c, operator} {
		got, err := w.Credential(w.ctx, want.ID)
		w.must(err)
		w.same(want.Name, got, want)
		list, err := w.Credentials(w.ctx, want.Tenant, sender.Page{})
		w.must(err)
		w.same("list of "+want.Name, list, []sender.Credential{want})
	}
	w.kind("the same again", w.Update(w.ctx, func(tx sender.Tx) error { return tx.InsertCredential(w.ctx, c) }), sender.Conflict)
	for i := range 2 {
		w.do(func(tx sender.Tx) error {
			return tx.RevokeCredential(w.ctx, w.a, c.ID, start.Add(time.Duration(i+1)*time.Minute))
		})
	}
	got, err := w.Credential(w.ctx, c.ID)
	w.must(err)
	if want := start.Add(time.Minute); !got.RevokedAt.Equal(want) {
		w.Errorf("revoked at %v, want the first time %v", got.RevokedAt, want)
	}
	_, err = w.Credential(w.ctx, sender.NewID())
	w.kind("unknown", err, sender.NotFound)
}

func events(w *world) {
	var want []sender.Event
	w.do(func(tx sender.Tx) error {
		want = nil
		for i := range 5 {
			e := sender.Event{
				ID: sender.NewID(), Tenant: w.a, At: start.Add(time.Duration(i)), Actor: sender.NewID(), Type: sender.EventDomainCreated,
				Object: sender.NewID(), Data: map[string]string{"domainName": "bücher.example"},
			}
			e.At = e.At.Truncate(time.Microsecond)
			want = append(want, e)
			if err := tx.InsertEvent(w.ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	got, err := w.Events(w.ctx, w.a, sender.Page{})
	w.must(err)
	w.same("events", got, want)
	got, err = w.Events(w.ctx, w.a, sender.Page{After: want[1].ID, Limit: 2})
	w.must(err)
	w.same("page", got, want[2:4])
}

func keys(w *world) {
	k := sender.Key{
		Selector: "s1", Tenant: w.a, Domain: sender.NewID(), Region: "eu-west-1", Algorithm: "ed25519", PKCS8: []byte("private"),
		TXT: "v=DKIM1; k=ed25519; p=...", CreatedAt: start,
	}
	second := k
	second.PKCS8, second.TXT = []byte("other"), "other"
	for _, k := range []sender.Key{k, second} {
		w.do(func(tx sender.Tx) error { return tx.InsertKey(w.ctx, k) })
	}
	got, err := w.SigningKey(w.ctx, "s1")
	w.must(err)
	w.same("the first key", got, k)
	public, err := w.PublicKey(w.ctx, "s1")
	w.must(err)
	k.PKCS8 = nil
	w.same("the public half", public, k)
	_, err = w.SigningKey(w.ctx, "s2")
	w.kind("unknown private key", err, sender.NotFound)
	_, err = w.PublicKey(w.ctx, "s2")
	w.kind("unknown public key", err, sender.NotFound)
}

func secrets(w *world) {
	var wg sync.WaitGroup
	got := make([][]byte, 20)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = w.Secret(w.ctx, "verification-code", 32); err != nil {
				w.Errorf("call %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range got {
		if len(got[i]) != 32 || !bytes.Equal(got[i], got[0]) {
			w.Fatalf("call %d got another secret of %d octets", i, len(got[i]))
		}
	}
	other, err := w.Secret(w.ctx, "other", 32)
	w.must(err)
	if bytes.Equal(other, got[0]) || slices.Max(other) == 0 {
		w.Error("another name has the same secret, or one without randomness")
	}
	if _, err := w.Secret(w.ctx, "other", 16); err == nil {
		w.Error("a secret was given out in another length than it has")
	}
}

// Only foreign keys see what two transactions do at once; what they say is no fault.
func tenantGone(w *world) {
	gone := sender.NewID()
	for what, do := range map[string]func(tx otp.Tx) error{
		"domain":      func(tx otp.Tx) error { return tx.InsertDomain(w.ctx, newDomain(gone, "example.org")) },
		"address":     func(tx otp.Tx) error { return tx.InsertAddress(w.ctx, newAddress(gone, "example.org", "noreply")) },
		"template":    func(tx otp.Tx) error { return tx.InsertTemplate(w.ctx, newTemplate(gone, "", "pairing", "en")) },
		"setting":     func(tx otp.Tx) error { return tx.PutSetting(w.ctx, gone, "name", "document") },
		"relay":       func(tx otp.Tx) error { return tx.PutRelay(w.ctx, newRelay(gone)) },
		"tombstone":   func(tx otp.Tx) error { return tx.InsertTombstone(w.ctx, newTombstone(gone, "example.org", start), 10) },
		"application": func(tx otp.Tx) error { return tx.InsertApplication(w.ctx, newApplication(gone, "Application")) },
		"user":        func(tx otp.Tx) error { return tx.InsertUser(w.ctx, newUser(gone, "anna")) },
	} {
		w.kind(what, w.otp.Update(w.ctx, do), sender.NotFound)
		if what == "domain" || what == "address" {
			w.kind(what+" by the other port", w.Update(w.ctx, func(tx sender.Tx) error { return do(tx.(otp.Tx)) }), sender.NotFound)
		}
	}
	w.domain(w.a, "example.org") // after its belongings were counted
	w.kind("deleting what has something", w.Update(w.ctx, func(tx sender.Tx) error { return tx.DeleteTenant(w.ctx, w.a) }), sender.InUse)
}
