package store

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
	"github.com/postseal/postseal/internal/template"
)

// reader is a [sender.Reader] and an [otp.Reader] on the readers' connections or inside a transaction.
type reader struct {
	q    *db.Queries
	keys *Keyring
	conn connection
}

func newReader(conn connection, keys *Keyring) reader { return reader{db.New(conn), keys, conn} }

func (r reader) Organization(ctx context.Context, id sender.ID) (sender.Organization, error) {
	o, err := r.q.Organization(ctx, string(id))
	if err != nil {
		return sender.Organization{}, missing("organization", err)
	}
	return sender.Organization{ID: id, Name: o.Name, CreatedAt: moment(o.CreatedAt)}, nil
}

func (r reader) Tenant(ctx context.Context, id sender.ID) (sender.Tenant, error) {
	row, err := r.q.Tenant(ctx, string(id))
	if err != nil {
		return sender.Tenant{}, missing("environment", err)
	}
	return tenantOf(row)
}

func (r reader) Tenants(ctx context.Context, page sender.Page) ([]sender.Tenant, error) {
	rows, err := r.q.Tenants(ctx, string(page.After), most(page))
	return each(rows, err, "environments", tenantOf)
}

// TenantsOf asks for each id and organization, and merges: a credential has a
// handful of grants, and a list of parameters would need a text for each engine.
func (r reader) TenantsOf(ctx context.Context, ids, organizations []sender.ID, page sender.Page) ([]sender.Tenant, error) {
	var found []sender.Tenant
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	for _, id := range ids {
		if id <= page.After {
			continue
		}
		if page.Limit > 0 && len(found) == page.Limit {
			break
		}
		t, err := r.Tenant(ctx, id)
		if sender.KindOf(err) == sender.NotFound {
			continue
		} else if err != nil {
			return nil, err
		}
		found = append(found, t)
	}
	for _, org := range slices.Compact(slices.Sorted(slices.Values(organizations))) {
		rows, err := r.q.OrganizationTenants(ctx, string(org), string(page.After), most(page))
		ts, err := each(rows, err, "environments", tenantOf)
		if err != nil {
			return nil, err
		}
		found = append(found, ts...)
	}
	slices.SortFunc(found, func(a, b sender.Tenant) int { return cmp.Compare(a.ID, b.ID) })
	found = slices.CompactFunc(found, func(a, b sender.Tenant) bool { return a.ID == b.ID })
	if page.Limit > 0 && len(found) > page.Limit {
		found = found[:page.Limit]
	}
	return found, nil
}

func (r reader) Credential(ctx context.Context, id sender.ID) (sender.Credential, error) {
	row, err := r.q.Credential(ctx, string(id))
	if err != nil {
		return sender.Credential{}, missing("credential", err)
	}
	return credentialOf(row)
}

func (r reader) Credentials(ctx context.Context, tenant sender.ID, page sender.Page) ([]sender.Credential, error) {
	rows, err := r.q.Credentials(ctx, string(tenant), string(page.After), most(page))
	return each(rows, err, "credentials", credentialOf)
}

func (r reader) CredentialByToken(ctx context.Context, tenant sender.ID, token string) (sender.Credential, error) {
	row, err := r.q.CredentialByToken(ctx, string(tenant), token)
	if err != nil {
		return sender.Credential{}, missing("credential", err)
	}
	c, err := credentialOf(row)
	if err != nil {
		return sender.Credential{}, err
	}
	// A row without a key does not open: nobody signs with an empty one.
	c.Key, err = r.keys.open(row.HmacKey, pairPlace(row.ID))
	return c, err
}

func (r reader) Domain(ctx context.Context, tenant, id sender.ID) (sender.Domain, error) {
	row, err := r.q.Domain(ctx, string(tenant), string(id))
	if err != nil {
		return sender.Domain{}, missing("email domain", err)
	}
	return domainOf(row)
}

func (r reader) DomainByName(ctx context.Context, tenant sender.ID, name dnscheck.Name) (sender.Domain, error) {
	row, err := r.q.DomainByName(ctx, string(tenant), name.String())
	if err != nil {
		return sender.Domain{}, missing("email domain", err)
	}
	return domainOf(row)
}

func (r reader) Domains(ctx context.Context, tenant sender.ID, page sender.Page) ([]sender.Domain, error) {
	rows, err := r.q.Domains(ctx, string(tenant), string(page.After), most(page))
	return each(rows, err, "email domains", domainOf)
}

func (r reader) CountDomains(ctx context.Context, tenant sender.ID, most int) (int, error) {
	n, err := r.q.CountDomains(ctx, string(tenant), int64(most))
	return int(n), broken("count email domains", err)
}

func (r reader) LastCheck(ctx context.Context, tenant, domain sender.ID) (sender.Check, error) {
	row, err := r.q.LastCheck(ctx, string(tenant), string(domain))
	if err != nil {
		return sender.Check{}, missing("check of the email domain", err)
	}
	c := sender.Check{Tenant: tenant, Domain: domain, At: moment(row.CheckedAt)}
	return c, decode(row.Findings, &c.Findings, "findings of domain ", domain)
}

func (r reader) Address(ctx context.Context, tenant, id sender.ID) (sender.Address, error) {
	row, err := r.q.Address(ctx, string(tenant), string(id))
	if err != nil {
		return sender.Address{}, missing("trusted email address", err)
	}
	return addressOf(row)
}

func (r reader) AddressByMailbox(ctx context.Context, tenant sender.ID, canonical string) (sender.Address, error) {
	row, err := r.q.AddressByMailbox(ctx, string(tenant), canonical)
	if err != nil {
		return sender.Address{}, missing("trusted email address", err)
	}
	return addressOf(row)
}

func (r reader) Addresses(ctx context.Context, tenant sender.ID, domain dnscheck.Name, page sender.Page) ([]sender.Address, error) {
	rows, err := r.q.Addresses(ctx, db.AddressesParams{TenantID: string(tenant), Domain: domain.String(), After: string(page.After), Most: most(page)})
	return each(rows, err, "trusted email addresses", addressOf)
}

func (r reader) CountAddresses(ctx context.Context, tenant sender.ID, domain dnscheck.Name, most int) (int, error) {
	n, err := r.q.CountAddresses(ctx, string(tenant), domain.String(), int64(most))
	return int(n), broken("count trusted email addresses", err)
}

func (r reader) FindAddresses(ctx context.Context, tenant sender.ID, q sender.Query) ([]sender.Address, int, error) {
	rows, total, err := addressCollection.find(ctx, r.conn, tenant, q)
	if err != nil {
		return nil, 0, err
	}
	as, err := each(rows, nil, "trusted email addresses", addressOf)
	return as, total, err
}

func (r reader) Template(ctx context.Context, tenant, id sender.ID) (sender.Template, error) {
	row, err := r.q.Template(ctx, string(tenant), string(id))
	if err != nil {
		return sender.Template{}, missing("template", err)
	}
	return templateOf(row)
}

func (r reader) TemplateFor(ctx context.Context, tenant, application sender.ID, kind string, locale template.Locale, variant string) (sender.Template, error) {
	row, err := r.q.TemplateFor(ctx, db.TemplateForParams{TenantID: string(tenant), ApplicationID: string(application), Type: kind, Locale: string(locale), Variant: variant})
	if err != nil {
		return sender.Template{}, missing("template", err)
	}
	return templateOf(row)
}

func (r reader) Templates(ctx context.Context, tenant sender.ID, filter sender.TemplateFilter, page sender.Page) ([]sender.Template, error) {
	rows, err := r.q.Templates(ctx, db.TemplatesParams{
		TenantID: string(tenant), AnyApplication: filter.AnyApplication, ApplicationID: string(filter.Application), Type: filter.Type,
		Locale: string(filter.Locale), After: string(page.After), Most: most(page),
	})
	return each(rows, err, "templates", templateOf)
}

func (r reader) CountTemplates(ctx context.Context, tenant sender.ID) (n, octets int, err error) {
	sum, err := r.q.CountTemplates(ctx, string(tenant))
	return int(sum.N), int(sum.Octets), broken("count templates", err)
}

func (r reader) Message(ctx context.Context, tenant, id sender.ID) (sender.Message, error) {
	row, err := r.q.Message(ctx, string(tenant), string(id))
	if err != nil {
		return sender.Message{}, missing("message", err)
	}
	return messageOf(row)
}

func (r reader) MessageByKey(ctx context.Context, tenant sender.ID, key string) (sender.Message, error) {
	row, err := r.q.MessageByKey(ctx, string(tenant), key)
	if err != nil {
		return sender.Message{}, missing("message", err)
	}
	return messageOf(row)
}

func (r reader) Messages(ctx context.Context, tenant sender.ID, page sender.Page) ([]sender.Message, error) {
	rows, err := r.q.Messages(ctx, string(tenant), string(page.After), most(page))
	return each(rows, err, "messages", messageOf)
}

func (r reader) Attempts(ctx context.Context, tenant, message sender.ID) ([]sender.Attempt, error) {
	rows, err := r.q.Attempts(ctx, string(tenant), string(message))
	return each(rows, err, "attempts", attemptOf)
}

func (r reader) Events(ctx context.Context, tenant sender.ID, page sender.Page) ([]sender.Event, error) {
	rows, err := r.q.Events(ctx, string(tenant), string(page.After), most(page))
	return each(rows, err, "events", eventOf)
}

func (r reader) Setting(ctx context.Context, tenant sender.ID, name string) (string, error) {
	document, err := r.q.Setting(ctx, string(tenant), name)
	if err != nil {
		return "", missing("setting", err)
	}
	return document, nil
}

func (r reader) Relay(ctx context.Context, tenant sender.ID) (sender.Relay, error) {
	row, err := r.q.Relay(ctx, string(tenant))
	if err != nil {
		return sender.Relay{}, missing("delivery settings", err)
	}
	return r.relayOf(row)
}

func (r reader) relayOf(row db.Relay) (sender.Relay, error) {
	x := sender.Relay{Tenant: sender.ID(row.TenantID), Host: row.Host, Port: int(row.Port), Username: row.Username, UpdatedAt: moment(row.UpdatedAt)}
	if err := decode(row.Author, &x.From, "author of the relay of ", row.TenantID); err != nil {
		return x, err
	}
	if err := decode(row.ReplyTo, &x.ReplyTo, "Reply-To of the relay of ", row.TenantID); err != nil {
		return x, err
	}
	switch {
	case len(row.Http) > 0:
		document, err := r.keys.open(row.Http, httpPlace(x.Tenant))
		if err != nil {
			x.HTTP, x.PasswordLost = &sender.HTTPProvider{}, err // all of it is sealed
			return x, nil
		}
		var d httpDocument
		if err := decode(string(document), &d, "HTTP provider of ", row.TenantID); err != nil {
			return x, err
		}
		x.Password = sender.Password(d.Password)
		x.HTTP = &sender.HTTPProvider{Name: d.Name, Bearer: d.Bearer, Method: d.Method, URL: d.URL, Headers: d.Headers, Body: d.Body}
	case len(row.Password) > 0:
		password, err := r.keys.open(row.Password, relayPlace(x))
		x.Password, x.PasswordLost = sender.Password(password), err
	}
	return x, nil
}

// httpDocument is an HTTP provider as it is sealed, with its secret.
type httpDocument struct {
	Password string
	Name     string
	Bearer   bool
	Method   string
	URL      string
	Headers  map[string]string `json:",omitzero"` // an empty one is not the same as none
	Body     *string
}

func (r reader) SigningKey(ctx context.Context, selector string) (sender.Key, error) {
	row, err := r.q.SigningKey(ctx, selector)
	if err != nil {
		return sender.Key{}, missing("key", err)
	}
	k := keyOf(row)
	if len(row.Pkcs8) > 0 {
		k.PKCS8, err = r.keys.open(row.Pkcs8, keyPlace(selector))
	}
	return k, err
}

func (r reader) PublicKey(ctx context.Context, selector string) (sender.Key, error) {
	row, err := r.q.SigningKey(ctx, selector)
	if err != nil {
		return sender.Key{}, missing("key", err)
	}
	return keyOf(row), nil
}

func secretPlace(name string) place { return place{"secrets", name, "value"} }

func keyPlace(selector string) place { return place{"signing_keys", selector, "pkcs8"} }

// relayPlace has the host and the user name: beside others, a password does not open.
func relayPlace(r sender.Relay) place {
	return place{"relays", string(r.Tenant) + "/" + strings.ToLower(r.Host) + "/" + r.Username, "password"}
}

// httpPlace needs no more: where it leads is within.
func httpPlace(tenant sender.ID) place { return place{"relays", string(tenant), "http"} }

func pairPlace(credential string) place { return place{"credentials", credential, "hmac_key"} }

func bodyPlace(tenant, message string) place { return place{"bodies", tenant + "/" + message, "body"} }
