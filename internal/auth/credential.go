package auth

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/sender"
)

const maxGrants = 100

// NewCredential is what is asked for of a credential to be made.
type NewCredential struct {
	Kind      sender.CredentialKind
	Name      string    // for people; 1 to 100 characters
	Tenant    sender.ID // home; empty for an operator's
	Operator  bool      // instance-wide: no tenant, no grants
	Grants    []sender.Grant
	Domain    sender.ID // bound to this domain of the home tenant; empty: not bound
	ExpiresAt time.Time // zero: never
}

// CreateCredential makes a credential and returns its secret, which is shown once:
// the client secret of an OAuth client, whose client id is the credential's id; a
// whole API key; or the base64 of a key pair's HMAC key, whose other half is
// [sender.Credential.Token]. Its maker must be an admin of the home tenant and
// can't give what they don't hold; operators make everything.
//
// Errors: NotFound and Denied about the tenant, Required or Invalid with the
// field's name.
func (a *Auth) CreateCredential(ctx context.Context, p sender.Principal, n NewCredential) (sender.Credential, Secret, error) {
	if err := a.mayManage(ctx, p, n.Tenant, n.Operator); err != nil {
		return sender.Credential{}, "", err
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	c, secret, err := a.make(ctx, p, n, now)
	if err != nil {
		return sender.Credential{}, "", err
	}
	err = a.store.Update(ctx, func(tx sender.Tx) error {
		if err := lockHome(ctx, tx, c); err != nil {
			return err
		}
		if err := tx.InsertCredential(ctx, c); err != nil {
			return err
		}
		return record(ctx, tx, p, c, sender.EventCredentialCreated, now)
	})
	if err != nil {
		return sender.Credential{}, "", err
	}
	a.log.Info("credential created", "credential", c.ID, "kind", c.Kind, "tenant", c.Tenant, "operator", c.Operator, "by", p.Credential)
	return shown(c), secret, nil
}

// lockHome waits for who is deleting the credential's tenant: a credential that came
// after the count of them could not be revoked any more.
func lockHome(ctx context.Context, tx sender.Tx, c sender.Credential) error {
	if c.Tenant == "" {
		return nil
	}
	return tx.LockTenant(ctx, c.Tenant)
}

// make checks what is asked for and draws the secret.
func (a *Auth) make(ctx context.Context, p sender.Principal, n NewCredential, now time.Time) (c sender.Credential, secret Secret, err error) {
	if err := a.check(ctx, p, n, now); err != nil {
		return c, "", err
	}
	c = sender.Credential{
		ID: sender.NewID(), Kind: n.Kind, Name: n.Name, Tenant: n.Tenant, Operator: n.Operator, Grants: n.Grants, Domain: n.Domain, CreatedAt: now,
	}
	if !n.ExpiresAt.IsZero() {
		c.ExpiresAt = n.ExpiresAt.UTC().Truncate(time.Microsecond)
	}
	if n.Kind == sender.KeyPair {
		c.Token, c.Key, secret = newKeyPair()
		return c, secret, nil
	}
	release, err := a.hashing.take(ctx, n.Tenant)
	if err != nil {
		return c, "", err
	}
	secret = newSecret()
	c.SecretHash = hash(secret)
	release()
	if c.Kind == sender.APIKey {
		secret = makeKey(c.ID, secret)
	}
	return c, secret, nil
}

// shown is a credential without what must not be shown.
func shown(c sender.Credential) sender.Credential {
	c.SecretHash, c.Key = "", nil
	return c
}

// MaxOverlap bounds how long a rotated credential can be used on.
const MaxOverlap = 30 * 24 * time.Hour

// RotateCredential makes another credential of the same kind, name and rights, without
// an end, and lets the old one end after the overlap, in which both can be used. It returns the
// new one with its secret. Errors: those of CreateCredential, Invalid on "overlap",
// Invalid on "credential" where the old one is at its end already.
func (a *Auth) RotateCredential(ctx context.Context, p sender.Principal, tenant, id sender.ID, overlap time.Duration) (sender.Credential, Secret, error) {
	none := sender.Credential{}
	if err := a.mayManage(ctx, p, tenant, tenant == ""); err != nil {
		return none, "", err
	}
	if overlap < 0 || overlap > MaxOverlap {
		return none, "", sender.Errorf(sender.Invalid, "overlap", "The overlap must be from nothing to %d days.", int(MaxOverlap.Hours()/24))
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	old, err := a.store.Credential(ctx, id)
	if err != nil {
		return none, "", err
	}
	if old.Tenant != tenant {
		return none, "", notFound()
	}
	c, secret, err := a.make(ctx, p, NewCredential{
		Kind: old.Kind, Name: old.Name, Tenant: old.Tenant, Operator: old.Operator, Grants: old.Grants, Domain: old.Domain,
	}, now)
	if err != nil {
		return none, "", err
	}
	until := now.Add(overlap)
	err = a.store.Update(ctx, func(tx sender.Tx) error {
		if err := lockHome(ctx, tx, c); err != nil {
			return err
		}
		old, err := tx.Credential(ctx, id)
		if err != nil {
			return err
		}
		if !old.Active(now) {
			return sender.Errorf(sender.Invalid, "credential", "The credential was revoked or has expired; make a new one instead.")
		}
		if !old.ExpiresAt.IsZero() && old.ExpiresAt.Before(until) {
			until = old.ExpiresAt // a rotation prolongs nothing
		}
		if err := tx.InsertCredential(ctx, c); err != nil {
			return err
		}
		if err := tx.ExpireCredential(ctx, tenant, id, until); err != nil {
			return err
		}
		if err := record(ctx, tx, p, c, sender.EventCredentialCreated, now); err != nil {
			return err
		}
		return record(ctx, tx, p, old, sender.EventCredentialRotated, now, "by", string(c.ID), "until", until.Format(time.RFC3339))
	})
	if err != nil {
		return none, "", err
	}
	a.forget(old)
	a.log.Info("credential rotated", "credential", id, "new", c.ID, "tenant", tenant, "until", until, "by", p.Credential)
	return shown(c), secret, nil
}

func notFound() error {
	return sender.Errorf(sender.NotFound, "", "The requested credential was not found.")
}

// Credentials lists a tenant's credentials in the order of their creation,
// revoked ones included, without their hashes. The empty tenant stands for the
// operators'. Admins only.
func (a *Auth) Credentials(ctx context.Context, p sender.Principal, tenant sender.ID, page sender.Page) ([]sender.Credential, error) {
	if err := a.mayManage(ctx, p, tenant, tenant == ""); err != nil {
		return nil, err
	}
	cs, err := a.store.Credentials(ctx, tenant, page)
	for i := range cs {
		cs[i] = shown(cs[i])
	}
	return cs, err
}

// RevokeCredential ends a credential of a tenant, or an operator's where tenant
// is empty; it and its access tokens are refused within two seconds everywhere,
// and at once here. To revoke a revoked one is no error. Admins only.
func (a *Auth) RevokeCredential(ctx context.Context, p sender.Principal, tenant, id sender.ID) error {
	if err := a.mayManage(ctx, p, tenant, tenant == ""); err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	var c sender.Credential
	err := a.store.Update(ctx, func(tx sender.Tx) (err error) {
		if c, err = tx.Credential(ctx, id); err != nil {
			return err
		}
		if c.Tenant != tenant {
			return notFound()
		}
		if !c.RevokedAt.IsZero() {
			return nil
		}
		if err := tx.RevokeCredential(ctx, tenant, id, now); err != nil {
			return err
		}
		return record(ctx, tx, p, c, sender.EventCredentialRevoked, now)
	})
	if err != nil {
		return err
	}
	a.forget(c)
	a.log.Info("credential revoked", "credential", id, "tenant", tenant, "by", p.Credential)
	return nil
}

// record writes the audit event of a tenant's credential; an operator's has no
// tenant whose log could hold it.
func record(ctx context.Context, tx sender.Tx, p sender.Principal, c sender.Credential, t sender.EventType, now time.Time, data ...string) error {
	if c.Tenant == "" {
		return nil
	}
	return tx.InsertEvent(ctx, sender.NewEvent(p, c.Tenant, t, c.ID, now, append([]string{"kind", string(c.Kind), "name", c.Name}, data...)...))
}

// mayManage lets operators do everything, and admins of a tenant manage that
// tenant's credentials.
func (a *Auth) mayManage(ctx context.Context, p sender.Principal, tenant sender.ID, operators bool) error {
	switch {
	case operators && tenant != "":
		return sender.Errorf(sender.Invalid, "tenant", "An operator's credential belongs to no tenant.")
	case operators && !p.Operator:
		return sender.Errorf(sender.Denied, "", "Only an operator manages the credentials of operators.")
	case operators:
		return nil
	case tenant == "":
		return sender.Errorf(sender.Required, "tenant", "tenant is missing: name the tenant that the credential belongs to.")
	}
	t, err := a.store.Tenant(ctx, tenant)
	if err != nil && sender.KindOf(err) != sender.NotFound {
		return err
	}
	switch role := p.RoleIn(t); {
	case err != nil, role == "": // in the same words: whoever has no role there learns nothing of it
		return sender.Errorf(sender.NotFound, "", "The requested tenant was not found.")
	case role != sender.RoleAdmin || p.Domain != "":
		return sender.Errorf(sender.Denied, "", "Only an admin of the whole tenant manages its credentials.")
	}
	return nil
}

// check looks at what is asked for; that p is an admin of the home tenant is
// known already.
func (a *Auth) check(ctx context.Context, p sender.Principal, n NewCredential, now time.Time) error {
	switch {
	case n.Kind != sender.OAuthClient && n.Kind != sender.APIKey && n.Kind != sender.KeyPair:
		return sender.Errorf(sender.Invalid, "kind", "kind must be %s, %s or %s.", sender.OAuthClient, sender.APIKey, sender.KeyPair)
	case n.Kind == sender.KeyPair && (n.Operator || n.Domain != ""):
		return sender.Errorf(sender.Invalid, "kind", "A %s belongs to one tenant as a whole: it can't be an operator's, nor bound to a domain.", sender.KeyPair)
	case n.Name == "":
		return sender.Errorf(sender.Required, "name", "name is missing: say in a few words who will use the credential.")
	case utf8.RuneCountInString(n.Name) > 100 || !utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, unicode.IsControl):
		return sender.Errorf(sender.Invalid, "name", "name must have at most 100 characters and no control characters.")
	case !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(now):
		return sender.Errorf(sender.Invalid, "expiresAt", "expiresAt must be in the future.")
	case n.Operator && (len(n.Grants) > 0 || n.Domain != ""):
		return sender.Errorf(sender.Invalid, "grants", "An operator's credential has every right already; it takes no grants and no domain.")
	case n.Operator:
		return nil
	case len(n.Grants) == 0:
		return sender.Errorf(sender.Required, "grants", "grants are missing: give at least one role, such as admin in the tenant itself.")
	case len(n.Grants) > maxGrants:
		return sender.Errorf(sender.Invalid, "grants", "A credential has at most %d grants; grant the organization instead.", maxGrants)
	}
	for _, g := range n.Grants {
		if err := a.mayGrant(ctx, p, g); err != nil {
			return err
		}
	}
	if n.Domain == "" {
		return nil
	}
	if slices.ContainsFunc(n.Grants, func(g sender.Grant) bool { return g.Tenant != n.Tenant }) {
		return sender.Errorf(sender.Invalid, "grants", "A credential that is bound to a domain takes grants in its own tenant only.")
	}
	if _, err := a.store.Domain(ctx, n.Tenant, n.Domain); sender.KindOf(err) == sender.NotFound {
		return sender.Errorf(sender.Invalid, "domain", "The tenant has no domain with this id.")
	} else if err != nil {
		return err
	}
	return nil
}

// mayGrant holds that nobody gives what they don't hold. A tenant that p knows
// nothing of looks like one that does not exist.
func (a *Auth) mayGrant(ctx context.Context, p sender.Principal, g sender.Grant) error {
	switch {
	case !g.Role.Valid():
		return sender.Errorf(sender.Invalid, "grants", "A grant's role must be reader, sender or admin.")
	case (g.Tenant == "") == (g.Organization == ""):
		return sender.Errorf(sender.Invalid, "grants", "A grant names either a tenant or an organization.")
	}
	beyond := sender.Errorf(sender.Invalid, "grants", "A grant names a tenant or organization that does not exist, or a role there that this credential does not hold itself.")
	if g.Tenant != "" {
		t, err := a.store.Tenant(ctx, g.Tenant)
		if sender.KindOf(err) == sender.NotFound || (err == nil && !covers(p.RoleIn(t), g.Role)) {
			return beyond
		}
		return err
	}
	if p.Operator {
		_, err := a.store.Organization(ctx, g.Organization)
		if sender.KindOf(err) == sender.NotFound {
			return beyond
		}
		return err
	}
	if !slices.ContainsFunc(p.Grants, func(own sender.Grant) bool {
		return own.Organization == g.Organization && covers(own.Role, g.Role)
	}) {
		return beyond
	}
	return nil
}

// covers reports whether a role includes another.
func covers(have, want sender.Role) bool {
	order := []sender.Role{sender.RoleReader, sender.RoleSender, sender.RoleAdmin}
	return slices.Index(order, have) >= slices.Index(order, want)
}
