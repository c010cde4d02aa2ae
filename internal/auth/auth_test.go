package auth_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

type harness struct {
	t     *testing.T
	store *store.Store
	key   []byte
	auth  *auth.Auth
	log   *slog.Logger
	lines *strings.Builder // what was logged; to be read when nothing runs
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	ring, err := store.LoadKeyring(store.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, lines: new(strings.Builder)}
	h.log = slog.New(slog.NewTextHandler(h.lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := store.Open(t.Context(), store.Config{DSN: filepath.Join(t.TempDir(), "postseal.db"), SealKeys: ring, Log: h.log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	h.store = s
	if h.key, err = s.Secret(t.Context(), "access-token", 32); err != nil {
		t.Fatal(err)
	}
	h.auth = h.node()
	return h
}

// node is another process on the same store.
func (h *harness) node() *auth.Auth {
	h.t.Helper()
	a, err := auth.New(auth.Config{Store: h.store, SigningKey: h.key, Log: h.log})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *harness) tenant(name string) sender.Tenant {
	h.t.Helper()
	t := sender.Tenant{
		ID: sender.NewID(), Organization: sender.DefaultOrganization, Name: name, Type: sender.Sandbox, Geography: "na", Regions: []string{"us-east-1"},
		RecordSet: sender.PerRegion, FromPolicy: sender.ByAddress, Limits: sender.DefaultLimits, CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}
	if err := h.store.Update(h.t.Context(), func(tx sender.Tx) error { return tx.InsertTenant(h.t.Context(), t) }); err != nil {
		h.t.Fatal(err)
	}
	return t
}

func (h *harness) create(p sender.Principal, kind sender.CredentialKind, t sender.Tenant, role sender.Role) (sender.Credential, auth.Secret) {
	h.t.Helper()
	c, s, err := h.auth.CreateCredential(h.t.Context(), p, auth.NewCredential{Kind: kind, Name: "test", Tenant: t.ID, Grants: []sender.Grant{{Tenant: t.ID, Role: role}}})
	if err != nil {
		h.t.Fatal(err)
	}
	return c, s
}

func TestKeyAndTokenSpeakForTheirCredential(t *testing.T) {
	h := newHarness(t)
	tenant := h.tenant("one")
	c, secret := h.create(auth.Local(), sender.OAuthClient, tenant, sender.RoleSender)
	token, err := h.auth.Token(t.Context(), tenant.ID, string(c.ID), secret)
	if err != nil || token.ExpiresIn != time.Hour {
		t.Fatalf("token for %s: %v", token.ExpiresIn, err)
	}
	k, key := h.create(auth.Local(), sender.APIKey, tenant, sender.RoleAdmin)
	if !strings.HasPrefix(string(key), "psk_"+strings.ReplaceAll(string(k.ID), "-", "")+"_") {
		t.Errorf("the key does not begin with its id")
	}
	for bearer, want := range map[auth.Secret]sender.Credential{token.AccessToken: c, key: k} {
		for _, a := range []*auth.Auth{h.auth, h.auth, h.node()} {
			p, err := a.Authenticate(t.Context(), bearer)
			if err != nil || p.Credential != want.ID || p.Home != tenant.ID || p.Operator || len(p.Grants) != 1 || p.Grants[0] != want.Grants[0] {
				t.Errorf("%s: principal %+v, %v", want.Kind, p, err)
			}
		}
	}
}

func TestRevokedCredentialIsRefusedWithinTwoSecondsOnEveryNode(t *testing.T) {
	h := newHarness(t)
	tenant, other := h.tenant("one"), h.node()
	c, secret := h.create(auth.Local(), sender.OAuthClient, tenant, sender.RoleAdmin)
	k, key := h.create(auth.Local(), sender.APIKey, tenant, sender.RoleAdmin)
	token, err := h.auth.Token(t.Context(), "", string(c.ID), secret)
	if err != nil {
		t.Fatal(err)
	}
	bearers := []auth.Secret{token.AccessToken, key}
	for _, b := range bearers { // both nodes have everything in their caches now
		for _, a := range []*auth.Auth{h.auth, other} {
			if _, err := a.Authenticate(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, id := range []sender.ID{c.ID, k.ID, c.ID} {
		if err := h.auth.RevokeCredential(t.Context(), auth.Local(), tenant.ID, id); err != nil {
			t.Fatal(err)
		}
	}
	revoked := time.Now()
	for _, b := range bearers {
		if _, err := h.auth.Authenticate(t.Context(), b); sender.KindOf(err) != sender.Unauthenticated {
			t.Errorf("the node that revoked still accepts: %v", err)
		}
		for time.Since(revoked) < 2*time.Second {
			if _, err = other.Authenticate(t.Context(), b); err != nil {
				break
			}
			time.Sleep(20 * time.Millisecond) // the other node's cache runs on the real clock, as its database does
		}
		if _, err := other.Authenticate(t.Context(), b); sender.KindOf(err) != sender.Unauthenticated {
			t.Errorf("after two seconds another node still accepts: %v", err)
		}
	}
	if _, err := h.auth.Token(t.Context(), "", string(c.ID), secret); sender.KindOf(err) != sender.Unauthenticated {
		t.Errorf("a revoked client logs in: %v", err)
	}
}

func TestExpiredCredentialIsRefused(t *testing.T) {
	h := newHarness(t)
	tenant := h.tenant("one")
	c, key, err := h.auth.CreateCredential(t.Context(), auth.Local(), auth.NewCredential{
		Kind: sender.APIKey, Name: "short", Tenant: tenant.ID, Grants: []sender.Grant{{Tenant: tenant.ID, Role: sender.RoleReader}}, ExpiresAt: time.Now().Add(50 * time.Millisecond),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(c.ExpiresAt) + time.Millisecond)
	if _, err := h.auth.Authenticate(t.Context(), key); sender.KindOf(err) != sender.Unauthenticated {
		t.Errorf("an expired key is accepted: %v", err)
	}
}

func TestEveryBadBearerIsRefusedInTheSameWords(t *testing.T) {
	h := newHarness(t)
	tenant := h.tenant("one")
	c, secret := h.create(auth.Local(), sender.OAuthClient, tenant, sender.RoleAdmin)
	k, key := h.create(auth.Local(), sender.APIKey, tenant, sender.RoleAdmin)
	good := jwt.RegisteredClaims{Issuer: "postseal", Audience: jwt.ClaimStrings{"postseal-api"}, Subject: string(c.ID), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}
	sign := func(method jwt.SigningMethod, key any, change func(*jwt.RegisteredClaims)) auth.Secret {
		claims := good
		change(&claims)
		s, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return auth.Secret(s)
	}
	same := func(*jwt.RegisteredClaims) {}
	if _, err := h.auth.Authenticate(t.Context(), sign(jwt.SigningMethodHS256, h.key, same)); err != nil {
		t.Fatalf("the token that all others are made of is refused: %v", err)
	}
	hexID := strings.ReplaceAll(string(c.ID), "-", "")
	bad := map[string]auth.Secret{
		"empty": "", "garbage": "x", "long": auth.Secret(strings.Repeat("x", 5000)), "three dots": "a.b.c",
		"other key":              sign(jwt.SigningMethodHS256, make([]byte, 32), same),
		"other algorithm":        sign(jwt.SigningMethodHS512, h.key, same),
		"no algorithm":           sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"expired":                sign(jwt.SigningMethodHS256, h.key, func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second)) }),
		"never expires":          sign(jwt.SigningMethodHS256, h.key, func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }),
		"other issuer":           sign(jwt.SigningMethodHS256, h.key, func(c *jwt.RegisteredClaims) { c.Issuer = "x" }),
		"other audience":         sign(jwt.SigningMethodHS256, h.key, func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"x"} }),
		"unknown subject":        sign(jwt.SigningMethodHS256, h.key, func(c *jwt.RegisteredClaims) { c.Subject = string(sender.NewID()) }),
		"no subject":             sign(jwt.SigningMethodHS256, h.key, func(c *jwt.RegisteredClaims) { c.Subject = "" }),
		"key, wrong secret":      key + "x",
		"key, no secret":         auth.Secret("psk_" + strings.ReplaceAll(string(k.ID), "-", "") + "_"),
		"key, prefix only":       "psk_",
		"key, short":             "psk_x_y",
		"key, unknown id":        auth.Secret("psk_" + strings.Repeat("0", 32) + "_x"),
		"a client's secret here": auth.Secret("psk_" + hexID + "_" + string(secret)),
	}
	words := ""
	for name, bearer := range bad {
		_, err := h.auth.Authenticate(t.Context(), bearer)
		e, ok := err.(*sender.Error)
		if !ok || e.Kind != sender.Unauthenticated || (words != "" && e.Detail != words) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		words = e.Detail
	}
	for name, err := range map[string]error{
		"wrong secret": tokenError(h, tenant.ID, string(c.ID), secret+"x"), "unknown client": tokenError(h, tenant.ID, string(sender.NewID()), secret),
		"no id": tokenError(h, tenant.ID, "x", secret), "other home": tokenError(h, sender.NewID(), string(c.ID), secret), "a key's id": tokenError(h, tenant.ID, string(k.ID), key[37:]),
	} {
		if e, ok := err.(*sender.Error); !ok || e.Kind != sender.Unauthenticated || e.Detail != words {
			t.Errorf("log-in with %s: %v", name, err)
		}
	}
}

func tokenError(h *harness, home sender.ID, id string, secret auth.Secret) error {
	_, err := h.auth.Token(h.t.Context(), home, id, secret)
	return err
}

// A tenant that knows no more than its own client ids must not keep the others out.
func TestFloodOfWrongSecretsHoldsUpItsOwnTenantOnly(t *testing.T) {
	h := newHarness(t)
	c, _ := h.create(auth.Local(), sender.OAuthClient, h.tenant("hostile"), sender.RoleAdmin)
	other := h.tenant("other")
	victim, secret := h.create(auth.Local(), sender.OAuthClient, other, sender.RoleAdmin)

	const flood = 60
	ctx, cancel := context.WithCancel(t.Context())
	var done atomic.Int32
	var wg sync.WaitGroup
	first := make(chan struct{})
	for i := range flood {
		wg.Go(func() {
			_, _ = h.auth.Token(ctx, "", string(c.ID), auth.Secret(fmt.Sprint("wrong", i)))
			if done.Add(1) == 1 {
				close(first)
			}
		})
	}
	<-first
	if _, err := h.auth.Token(t.Context(), other.ID, string(victim.ID), secret); err != nil {
		t.Error(err)
	}
	if n := done.Load(); n > flood/3 {
		t.Errorf("%d of %d wrong secrets were served before the right one of another tenant", n, flood)
	}
	cancel()
	wg.Wait()
}

func TestParallelLoginsOfOneClientCostOneHash(t *testing.T) {
	h := newHarness(t)
	tenant := h.tenant("one")
	c, secret := h.create(auth.Local(), sender.OAuthClient, tenant, sender.RoleAdmin)
	begin := time.Now()
	if _, err := h.node().Token(t.Context(), tenant.ID, string(c.ID), secret); err != nil {
		t.Fatal(err)
	}
	one := time.Since(begin)
	node := h.node()
	begin = time.Now()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := node.Token(t.Context(), tenant.ID, string(c.ID), secret); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took > 10*one {
		t.Errorf("100 log-ins took %s, one takes %s", took, one)
	}
}

func TestNobodyGivesWhatTheyDoNotHold(t *testing.T) {
	h := newHarness(t)
	mine, theirs := h.tenant("mine"), h.tenant("theirs")
	admin, _ := h.create(auth.Local(), sender.OAuthClient, mine, sender.RoleAdmin)
	reader, _ := h.create(auth.Local(), sender.OAuthClient, mine, sender.RoleReader)
	in := func(t sender.Tenant, r sender.Role) sender.Grant { return sender.Grant{Tenant: t.ID, Role: r} }
	organization := sender.Principal{Home: mine.ID, Grants: []sender.Grant{{Organization: sender.DefaultOrganization, Role: sender.RoleAdmin}}}
	bound := sender.Principal{Home: mine.ID, Grants: []sender.Grant{in(mine, sender.RoleAdmin)}, Domain: sender.NewID()}
	split := sender.Principal{Home: mine.ID, Grants: []sender.Grant{in(mine, sender.RoleAdmin), in(theirs, sender.RoleReader)}}
	for _, c := range []struct {
		name   string
		p      sender.Principal
		n      auth.NewCredential
		kind   sender.Kind
		fields string
	}{
		{"own tenant", admin.Principal(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(mine, sender.RoleAdmin)}}, "", ""},
		{"another home", admin.Principal(), auth.NewCredential{Tenant: theirs.ID, Grants: []sender.Grant{in(mine, sender.RoleAdmin)}}, sender.NotFound, ""},
		{"another tenant's role", admin.Principal(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(theirs, sender.RoleReader)}}, sender.Invalid, "grants"},
		{"a tenant that does not exist", admin.Principal(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{{Tenant: sender.NewID(), Role: sender.RoleReader}}}, sender.Invalid, "grants"},
		{"the organization", admin.Principal(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{{Organization: sender.DefaultOrganization, Role: sender.RoleReader}}}, sender.Invalid, "grants"},
		{"the organization, held", organization, auth.NewCredential{Tenant: theirs.ID, Grants: []sender.Grant{{Organization: sender.DefaultOrganization, Role: sender.RoleAdmin}}}, "", ""},
		{"a weaker role elsewhere", split, auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(theirs, sender.RoleReader)}}, "", ""},
		{"a stronger role elsewhere", split, auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(theirs, sender.RoleSender)}}, sender.Invalid, "grants"},
		{"a home with a weak role", split, auth.NewCredential{Tenant: theirs.ID, Grants: []sender.Grant{in(mine, sender.RoleReader)}}, sender.Denied, ""},
		{"a reader", reader.Principal(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(mine, sender.RoleReader)}}, sender.Denied, ""},
		{"one bound to a domain", bound, auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(mine, sender.RoleReader)}}, sender.Denied, ""},
		{"an operator's by an admin", admin.Principal(), auth.NewCredential{Operator: true}, sender.Denied, ""},
		{"an operator's", auth.Local(), auth.NewCredential{Operator: true}, "", ""},
		{"an operator's with a tenant", auth.Local(), auth.NewCredential{Operator: true, Tenant: mine.ID}, sender.Invalid, "tenant"},
		{"no tenant", auth.Local(), auth.NewCredential{}, sender.Required, "tenant"},
		{"no grants", auth.Local(), auth.NewCredential{Tenant: mine.ID}, sender.Required, "grants"},
		{"an unknown role", auth.Local(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(mine, "king")}}, sender.Invalid, "grants"},
		{"both ids", auth.Local(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{{Tenant: mine.ID, Organization: mine.Organization, Role: sender.RoleReader}}}, sender.Invalid, "grants"},
		{"an unknown organization", auth.Local(), auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{{Organization: sender.NewID(), Role: sender.RoleReader}}}, sender.Invalid, "grants"},
		{"an unknown domain", auth.Local(), auth.NewCredential{Tenant: mine.ID, Domain: sender.NewID(), Grants: []sender.Grant{in(mine, sender.RoleReader)}}, sender.Invalid, "domain"},
		{"bound and elsewhere", auth.Local(), auth.NewCredential{Tenant: mine.ID, Domain: sender.NewID(), Grants: []sender.Grant{in(theirs, sender.RoleReader)}}, sender.Invalid, "grants"},
		{"expired at birth", auth.Local(), auth.NewCredential{Tenant: mine.ID, ExpiresAt: time.Now(), Grants: []sender.Grant{in(mine, sender.RoleReader)}}, sender.Invalid, "expiresAt"},
	} {
		c.n.Kind, c.n.Name = sender.APIKey, "test"
		_, key, err := h.auth.CreateCredential(t.Context(), c.p, c.n)
		field := ""
		if e, ok := err.(*sender.Error); ok {
			field = e.Field
		}
		if sender.KindOf(err) != c.kind || field != c.fields || (err == nil) != (key != "") {
			t.Errorf("%s: %v on %q, want %q on %q", c.name, err, field, c.kind, c.fields)
		}
	}
}

func TestCredentialsAreListedWithoutHashesAndRevokedByTheirTenantOnly(t *testing.T) {
	h := newHarness(t)
	mine, theirs := h.tenant("mine"), h.tenant("theirs")
	admin, _ := h.create(auth.Local(), sender.OAuthClient, mine, sender.RoleAdmin)
	other, _ := h.create(auth.Local(), sender.OAuthClient, theirs, sender.RoleAdmin)
	cs, err := h.auth.Credentials(t.Context(), admin.Principal(), mine.ID, sender.Page{})
	if err != nil || len(cs) != 1 || cs[0].ID != admin.ID || cs[0].SecretHash != "" {
		t.Errorf("listed %+v, %v", cs, err)
	}
	if _, err := h.auth.Credentials(t.Context(), admin.Principal(), theirs.ID, sender.Page{}); sender.KindOf(err) != sender.NotFound {
		t.Errorf("another tenant's credentials are listed: %v", err)
	}
	if _, err := h.auth.Credentials(t.Context(), admin.Principal(), "", sender.Page{}); sender.KindOf(err) != sender.Denied {
		t.Errorf("the operators' credentials are listed: %v", err)
	}
	if err := h.auth.RevokeCredential(t.Context(), admin.Principal(), mine.ID, other.ID); sender.KindOf(err) != sender.NotFound {
		t.Errorf("another tenant's credential is revoked: %v", err)
	}
	if err := h.auth.RevokeCredential(t.Context(), admin.Principal(), theirs.ID, other.ID); sender.KindOf(err) != sender.NotFound {
		t.Errorf("another tenant's credential is revoked: %v", err)
	}
	if err := h.auth.RevokeCredential(t.Context(), admin.Principal(), mine.ID, admin.ID); err != nil {
		t.Errorf("its own: %v", err)
	}
	stored, err := h.store.Credential(t.Context(), admin.ID)
	if err != nil || stored.RevokedAt.IsZero() || !strings.HasPrefix(stored.SecretHash, "$argon2id$") {
		t.Errorf("stored %+v, %v", stored, err)
	}
	events, err := h.store.Events(t.Context(), mine.ID, sender.Page{})
	if err != nil || len(events) != 2 || events[0].Type != sender.EventCredentialCreated || events[1].Type != sender.EventCredentialRevoked {
		t.Errorf("events %+v, %v", events, err)
	}
}

func TestTenantsOfOthersLookLikeNone(t *testing.T) {
	h := newHarness(t)
	mine, theirs := h.tenant("mine"), h.tenant("theirs")
	admin, _ := h.create(auth.Local(), sender.OAuthClient, mine, sender.RoleAdmin)
	other, _ := h.create(auth.Local(), sender.OAuthClient, theirs, sender.RoleAdmin)
	p := admin.Principal()
	for name, call := range map[string]func(sender.ID) error{
		"create": func(tenant sender.ID) error {
			_, _, err := h.auth.CreateCredential(t.Context(), p, auth.NewCredential{Kind: sender.APIKey, Name: "x", Tenant: tenant, Grants: p.Grants})
			return err
		},
		"list": func(tenant sender.ID) error {
			_, err := h.auth.Credentials(t.Context(), p, tenant, sender.Page{})
			return err
		},
		"rotate": func(tenant sender.ID) error {
			_, _, err := h.auth.RotateCredential(t.Context(), p, tenant, other.ID, 0)
			return err
		},
		"revoke": func(tenant sender.ID) error { return h.auth.RevokeCredential(t.Context(), p, tenant, other.ID) },
	} {
		there, nowhere := call(theirs.ID), call(sender.NewID())
		if sender.KindOf(there) != sender.NotFound || there.Error() != nowhere.Error() {
			t.Errorf("%s: %v where there is a tenant, %v where there is none", name, there, nowhere)
		}
	}
	there, nowhere := h.auth.RevokeCredential(t.Context(), p, mine.ID, other.ID), h.auth.RevokeCredential(t.Context(), p, mine.ID, sender.NewID())
	if there == nil || there.Error() != nowhere.Error() {
		t.Errorf("revoke: %v where there is a credential, %v where there is none", there, nowhere)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	const s = auth.Secret("hunter2")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s)
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), fmt.Sprint(struct{ S auth.Secret }{s}), log.String()} {
		if strings.Contains(out, "hunter2") {
			t.Errorf("printed as %s", out)
		}
	}
}

// What a client encodes as RFC 6749 says is read back, whatever it is.
func FuzzClientCredentials(f *testing.F) {
	f.Add("id", "a/b+c", "Basic aWQ6eA==")
	f.Add("a:b", "%41 é", "Basic")
	f.Add("", "", "basic !!")
	f.Fuzz(func(t *testing.T, id, secret, header string) {
		if _, _, err := auth.ClientCredentials(header, url.Values{}); err != nil && sender.KindOf(err) == "" {
			t.Errorf("an error without a kind: %v", err)
		}
		encoded := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
		gotID, gotSecret, err := auth.ClientCredentials(encoded, url.Values{})
		if err != nil || gotID != id || string(gotSecret) != secret {
			t.Errorf("%q and %q were read as %q and %q: %v", id, secret, gotID, string(gotSecret), err)
		}
		form := url.Values{"client_id": {id}, "client_secret": {secret}}
		if gotID, gotSecret, err = auth.ClientCredentials("", form); err != nil || gotID != id || string(gotSecret) != secret {
			t.Errorf("from the form: %q and %q: %v", gotID, string(gotSecret), err)
		}
	})
}
