package auth_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

func onFakeTime(t *testing.T, do func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { do(t, newHarness(t)) })
}

// opens fails the test unless a node finds the pair, with the key that was shown.
func (h *harness) opens(a *auth.Auth, c sender.Credential, secret auth.Secret) {
	h.t.Helper()
	key, p, err := a.Key(h.t.Context(), c.Tenant, c.Token)
	if err != nil || base64.StdEncoding.EncodeToString(key) != string(secret) || p.Credential != c.ID || p.Home != c.Tenant || p.Operator || !slices.Equal(p.Grants, c.Grants) {
		h.t.Errorf("the pair %s gives a key of %d octets and %+v, %v", c.ID, len(key), p, err)
	}
}

// shut fails the test unless a node refuses the token, without a key.
func (h *harness) shut(what string, a *auth.Auth, tenant sender.ID, token string) {
	h.t.Helper()
	key, p, err := a.Key(h.t.Context(), tenant, token)
	if sender.KindOf(err) != sender.Unauthenticated || key != nil || p.Credential != "" {
		h.t.Errorf("%s: a key of %d octets, %+v, %v", what, len(key), p, err)
	}
}

// events are the types of a tenant's events about credentials, oldest first.
func (h *harness) events(tenant sender.ID) (types []sender.EventType, last sender.Event) {
	h.t.Helper()
	es, err := h.store.Events(h.t.Context(), tenant, sender.Page{})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range es {
		types, last = append(types, e.Type), e
	}
	return types, last
}

func TestKeyPairIsFoundByItsTokenInItsOwnTenantOnly(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		mine, theirs := h.tenant("mine"), h.tenant("theirs")
		c, secret := h.create(auth.Local(), sender.KeyPair, mine, sender.RoleAdmin)
		k, _ := h.create(auth.Local(), sender.APIKey, mine, sender.RoleAdmin)
		second, other := h.create(auth.Local(), sender.KeyPair, mine, sender.RoleReader)
		if key, err := base64.StdEncoding.DecodeString(string(secret)); err != nil || len(key) != 48 || strings.Contains(string(secret), "=") || len(c.Token) != 32 {
			t.Errorf("the key has %d octets, the token is %q; %v", len(key), c.Token, err)
		}
		for _, a := range []*auth.Auth{h.auth, h.auth, h.node()} {
			h.opens(a, c, secret)
			h.opens(a, second, other)
			h.shut("another tenant", a, theirs.ID, c.Token)
			h.shut("no tenant", a, "", c.Token)
			h.shut("a tenant that does not exist", a, sender.NewID(), c.Token)
			h.shut("another spelling", a, mine.ID, strings.ToUpper(c.Token)+" ")
			h.shut("an unknown token", a, mine.ID, strings.Repeat("0", 32))
			h.shut("no token", a, mine.ID, "") // which is that of an API key
			h.shut("an id", a, mine.ID, string(k.ID))
		}
		// Neither half is a bearer token or a client.
		for _, bearer := range []auth.Secret{secret, auth.Secret(c.Token), "psk_" + auth.Secret(strings.ReplaceAll(string(c.ID), "-", "")) + "_" + secret} {
			if _, err := h.auth.Authenticate(t.Context(), bearer); sender.KindOf(err) != sender.Unauthenticated {
				t.Errorf("a half of a pair as a bearer token: %v", err)
			}
		}
		if err := tokenError(h, mine.ID, string(c.ID), secret); sender.KindOf(err) != sender.Unauthenticated {
			t.Errorf("a pair as a client: %v", err)
		}
	})
}

func TestRevokedKeyPairIsRefusedAtOnceAndWithinTwoSecondsOnEveryNode(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		tenant, other := h.tenant("one"), h.node()
		c, secret := h.create(auth.Local(), sender.KeyPair, tenant, sender.RoleAdmin)
		for _, a := range []*auth.Auth{h.auth, other} { // both have it in their caches now
			h.opens(a, c, secret)
		}
		if err := h.auth.RevokeCredential(t.Context(), auth.Local(), tenant.ID, c.ID); err != nil {
			t.Fatal(err)
		}
		h.shut("where it was revoked", h.auth, tenant.ID, c.Token)
		time.Sleep(2 * time.Second)
		h.shut("elsewhere after two seconds", other, tenant.ID, c.Token)
		if types, _ := h.events(tenant.ID); !slices.Equal(types, []sender.EventType{sender.EventCredentialCreated, sender.EventCredentialRevoked}) {
			t.Errorf("events %v", types)
		}
	})
}

func TestExpiredKeyPairIsRefusedEvenFromTheCache(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		tenant := h.tenant("one")
		c, secret, err := h.auth.CreateCredential(t.Context(), auth.Local(), auth.NewCredential{
			Kind: sender.KeyPair, Name: "short", Tenant: tenant.ID, Grants: []sender.Grant{{Tenant: tenant.ID, Role: sender.RoleReader}}, ExpiresAt: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Microsecond)
		h.opens(h.auth, c, secret)
		time.Sleep(time.Microsecond)
		h.shut("at its end", h.auth, tenant.ID, c.Token)
		h.shut("at its end, elsewhere", h.node(), tenant.ID, c.Token)
	})
}

func TestKeyPairIsOfOneTenantAsAWhole(t *testing.T) {
	h := newHarness(t)
	tenant := h.tenant("one")
	grants := []sender.Grant{{Tenant: tenant.ID, Role: sender.RoleAdmin}}
	for name, n := range map[string]auth.NewCredential{
		"an operator's":     {Kind: sender.KeyPair, Operator: true},
		"bound to a domain": {Kind: sender.KeyPair, Tenant: tenant.ID, Domain: sender.NewID(), Grants: grants},
		"of no kind":        {Tenant: tenant.ID, Grants: grants},
		"of another kind":   {Kind: "pingid", Tenant: tenant.ID, Grants: grants},
	} {
		n.Name = "test"
		_, secret, err := h.auth.CreateCredential(t.Context(), auth.Local(), n)
		if e, ok := err.(*sender.Error); !ok || e.Kind != sender.Invalid || e.Field != "kind" || secret != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysOfPairsAreShownOnceAndNeverLogged(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		tenant := h.tenant("one")
		c, first := h.create(auth.Local(), sender.KeyPair, tenant, sender.RoleAdmin)
		if c.Key != nil || c.SecretHash != "" {
			t.Errorf("the credential that was made shows its key")
		}
		r, second, err := h.auth.RotateCredential(t.Context(), auth.Local(), tenant.ID, c.ID, time.Hour)
		if err != nil || r.Key != nil || r.SecretHash != "" {
			t.Errorf("the credential that took its place shows its key: %v", err)
		}
		h.opens(h.auth, r, second)
		h.shut("unknown", h.auth, tenant.ID, "x")
		if err := h.auth.RevokeCredential(t.Context(), auth.Local(), tenant.ID, r.ID); err != nil {
			t.Fatal(err)
		}
		h.shut("revoked", h.auth, tenant.ID, r.Token)
		cs, err := h.auth.Credentials(t.Context(), auth.Local(), tenant.ID, sender.Page{})
		if err != nil || len(cs) != 2 || cs[0].Token != c.Token || cs[1].Token != r.Token {
			t.Errorf("listed %d credentials, %v", len(cs), err)
		}
		for _, x := range cs {
			if x.Key != nil || x.SecretHash != "" {
				t.Errorf("the list shows the key of %s", x.ID)
			}
		}
		log := h.lines.String()
		for _, said := range []string{"credential created", "credential rotated", "credential revoked", string(c.ID), string(r.ID)} {
			if !strings.Contains(log, said) {
				t.Errorf("%q is not in the log", said)
			}
		}
		for _, s := range []auth.Secret{first, second} {
			key, err := base64.StdEncoding.DecodeString(string(s))
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []string{string(s), string(s)[:16], fmt.Sprintf("%x", key[:8]), fmt.Sprint(key[:4])[1:]} {
				if strings.Contains(log, strings.TrimSuffix(form, "]")) {
					t.Errorf("the log has the key as %s", form)
				}
			}
		}
	})
}

func TestBothOfARotationCountUntilTheOverlapEnds(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		tenant, other := h.tenant("one"), h.node()
		admin, _ := h.create(auth.Local(), sender.APIKey, tenant, sender.RoleAdmin)
		for _, kind := range []sender.CredentialKind{sender.KeyPair, sender.APIKey, sender.OAuthClient} {
			old, secret := h.create(auth.Local(), kind, tenant, sender.RoleSender)
			use := func(a *auth.Auth, c sender.Credential, s auth.Secret) error {
				switch kind {
				case sender.KeyPair:
					_, p, err := a.Key(t.Context(), tenant.ID, c.Token)
					if err == nil && p.Credential != c.ID {
						t.Errorf("the token of %s is that of %s", c.ID, p.Credential)
					}
					return err
				case sender.OAuthClient:
					_, err := a.Token(t.Context(), tenant.ID, string(c.ID), s)
					return err
				default:
					_, err := a.Authenticate(t.Context(), s)
					return err
				}
			}
			c, fresh, err := h.auth.RotateCredential(t.Context(), admin.Principal(), tenant.ID, old.ID, 24*time.Hour)
			if err != nil || c.ID == old.ID || c.Kind != kind || c.Name != old.Name || c.Tenant != old.Tenant || !slices.Equal(c.Grants, old.Grants) ||
				!c.ExpiresAt.IsZero() || fresh == "" || fresh == secret || (c.Token == old.Token && kind == sender.KeyPair) {
				t.Fatalf("%s: rotated to %+v, %v", kind, c, err)
			}
			types, last := h.events(tenant.ID)
			if n := len(types); types[n-2] != sender.EventCredentialCreated || types[n-1] != sender.EventCredentialRotated || last.Object != old.ID || last.Actor != admin.ID ||
				last.Data["by"] != string(c.ID) || last.Data["kind"] != string(kind) || last.Data["until"] != time.Now().UTC().Add(24*time.Hour).Format(time.RFC3339) {
				t.Errorf("%s: events %v, the last %+v", kind, types, last)
			}
			time.Sleep(24*time.Hour - time.Second)
			for _, a := range []*auth.Auth{h.auth, other} {
				for name, err := range map[string]error{"the old one": use(a, old, secret), "the new one": use(a, c, fresh)} {
					if err != nil {
						t.Errorf("%s: %s within the overlap: %v", kind, name, err)
					}
				}
			}
			time.Sleep(time.Second)
			for _, a := range []*auth.Auth{h.auth, other} {
				if err := use(a, old, secret); sender.KindOf(err) != sender.Unauthenticated {
					t.Errorf("%s: the old one after the overlap: %v", kind, err)
				}
				if err := use(a, c, fresh); err != nil {
					t.Errorf("%s: the new one after the overlap: %v", kind, err)
				}
			}
		}
	})
}

func TestRotationWithoutOverlapEndsTheOldOneAtOnce(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		tenant := h.tenant("one")
		pair, secret := h.create(auth.Local(), sender.KeyPair, tenant, sender.RoleAdmin)
		client, clientSecret := h.create(auth.Local(), sender.OAuthClient, tenant, sender.RoleAdmin)
		token, err := h.auth.Token(t.Context(), "", string(client.ID), clientSecret)
		if err != nil {
			t.Fatal(err)
		}
		h.opens(h.auth, pair, secret)
		if _, err := h.auth.Authenticate(t.Context(), token.AccessToken); err != nil {
			t.Fatal(err)
		}
		for _, id := range []sender.ID{pair.ID, client.ID} {
			if _, _, err := h.auth.RotateCredential(t.Context(), auth.Local(), tenant.ID, id, 0); err != nil {
				t.Fatal(err)
			}
		}
		h.shut("rotated", h.auth, tenant.ID, pair.Token)
		if _, err := h.auth.Authenticate(t.Context(), token.AccessToken); sender.KindOf(err) != sender.Unauthenticated {
			t.Errorf("an access token of the old client: %v", err)
		}
	})
}

// A rotation gives the old one no longer life than it had.
func TestRotationNeverProlongs(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		tenant := h.tenant("one")
		c, secret, err := h.auth.CreateCredential(t.Context(), auth.Local(), auth.NewCredential{
			Kind: sender.KeyPair, Name: "short", Tenant: tenant.ID, Grants: []sender.Grant{{Tenant: tenant.ID, Role: sender.RoleReader}}, ExpiresAt: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, _, err := h.auth.RotateCredential(t.Context(), auth.Local(), tenant.ID, c.ID, auth.MaxOverlap); err != nil {
				t.Fatal(err)
			}
			if _, last := h.events(tenant.ID); last.Data["until"] != c.ExpiresAt.Format(time.RFC3339) {
				t.Errorf("the log says that it ends at %s, not %s", last.Data["until"], c.ExpiresAt)
			}
			time.Sleep(20 * time.Minute)
			h.opens(h.auth, c, secret)
		}
		time.Sleep(20 * time.Minute)
		h.shut("after its own end", h.auth, tenant.ID, c.Token)
	})
}

func TestNobodyRotatesWhatTheyCouldNotGrant(t *testing.T) {
	h := newHarness(t)
	mine, theirs := h.tenant("mine"), h.tenant("theirs")
	in := func(t sender.Tenant, r sender.Role) sender.Grant { return sender.Grant{Tenant: t.ID, Role: r} }
	made := func(n auth.NewCredential) sender.ID {
		n.Kind, n.Name = sender.APIKey, "test"
		c, _, err := h.auth.CreateCredential(t.Context(), auth.Local(), n)
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	admin, _ := h.create(auth.Local(), sender.OAuthClient, mine, sender.RoleAdmin)
	reader, _ := h.create(auth.Local(), sender.OAuthClient, mine, sender.RoleReader)
	ended, _ := h.create(auth.Local(), sender.APIKey, mine, sender.RoleReader)
	if err := h.auth.RevokeCredential(t.Context(), auth.Local(), mine.ID, ended.ID); err != nil {
		t.Fatal(err)
	}
	own := made(auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(mine, sender.RoleAdmin)}})
	wide := made(auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{in(mine, sender.RoleReader), in(theirs, sender.RoleReader)}})
	whole := made(auth.NewCredential{Tenant: mine.ID, Grants: []sender.Grant{{Organization: sender.DefaultOrganization, Role: sender.RoleReader}}})
	foreign := made(auth.NewCredential{Tenant: theirs.ID, Grants: []sender.Grant{in(theirs, sender.RoleReader)}})
	operators := made(auth.NewCredential{Operator: true})
	bound := admin.Principal()
	bound.Domain = sender.NewID()

	for _, c := range []struct {
		name    string
		p       sender.Principal
		tenant  sender.ID
		id      sender.ID
		overlap time.Duration
		kind    sender.Kind
		field   string
	}{
		{"its own tenant's", admin.Principal(), mine.ID, own, time.Hour, "", ""},
		{"itself", admin.Principal(), mine.ID, admin.ID, time.Hour, "", ""},
		{"the longest overlap", admin.Principal(), mine.ID, own, auth.MaxOverlap, "", ""},
		{"a role elsewhere", admin.Principal(), mine.ID, wide, 0, sender.Invalid, "grants"},
		{"a role in the organization", admin.Principal(), mine.ID, whole, 0, sender.Invalid, "grants"},
		{"a role elsewhere, by an operator", auth.Local(), mine.ID, wide, 0, "", ""},
		{"a role in the organization, by an operator", auth.Local(), mine.ID, whole, 0, "", ""},
		{"another tenant's", admin.Principal(), mine.ID, foreign, 0, sender.NotFound, ""},
		{"another tenant's, named right", admin.Principal(), theirs.ID, foreign, 0, sender.NotFound, ""},
		{"one that is not there", admin.Principal(), mine.ID, sender.NewID(), 0, sender.NotFound, ""},
		{"an operator's as the tenant's", admin.Principal(), mine.ID, operators, 0, sender.NotFound, ""},
		{"an operator's", admin.Principal(), "", operators, 0, sender.Denied, ""},
		{"the tenant's as an operator's", auth.Local(), "", own, 0, sender.NotFound, ""},
		{"a reader", reader.Principal(), mine.ID, reader.ID, 0, sender.Denied, ""},
		{"one bound to a domain", bound, mine.ID, own, 0, sender.Denied, ""},
		{"nobody", sender.Principal{}, mine.ID, own, 0, sender.NotFound, ""},
		{"a revoked one", admin.Principal(), mine.ID, ended.ID, 0, sender.Invalid, "credential"},
		{"a negative overlap", admin.Principal(), mine.ID, own, -1, sender.Invalid, "overlap"},
		{"too long an overlap", admin.Principal(), mine.ID, own, auth.MaxOverlap + 1, sender.Invalid, "overlap"},
	} {
		before := h.credentials(mine.ID, theirs.ID, "")
		_, secret, err := h.auth.RotateCredential(t.Context(), c.p, c.tenant, c.id, c.overlap)
		field := ""
		if e, ok := err.(*sender.Error); ok {
			field = e.Field
		}
		if sender.KindOf(err) != c.kind || field != c.field || (err == nil) != (secret != "") {
			t.Errorf("%s: %v on %q, want %q on %q", c.name, err, field, c.kind, c.field)
		}
		if after := h.credentials(mine.ID, theirs.ID, ""); err != nil && !slices.Equal(before, after) {
			t.Errorf("%s: refused, and yet there is\n%v\nafter\n%v", c.name, after, before)
		}
	}
}

// credentials are all of some tenants, in a form that shows changes.
func (h *harness) credentials(tenants ...sender.ID) (all []string) {
	h.t.Helper()
	for _, tenant := range tenants {
		cs, err := h.auth.Credentials(h.t.Context(), auth.Local(), tenant, sender.Page{})
		if err != nil {
			h.t.Fatal(err)
		}
		for _, c := range cs {
			all = append(all, fmt.Sprint(c.ID, " until ", c.ExpiresAt, " revoked ", c.RevokedAt))
		}
	}
	return all
}

func TestOperatorsKeysRotateWithoutATenantsEvent(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		old, key, err := h.auth.CreateCredential(t.Context(), auth.Local(), auth.NewCredential{Kind: sender.APIKey, Name: "operator", Operator: true})
		if err != nil {
			t.Fatal(err)
		}
		operator, err := h.auth.Authenticate(t.Context(), key)
		if err != nil || !operator.Operator {
			t.Fatalf("the operator's key speaks for %+v, %v", operator, err)
		}
		c, fresh, err := h.auth.RotateCredential(t.Context(), operator, "", old.ID, time.Minute)
		if err != nil || !c.Operator || c.Tenant != "" {
			t.Fatalf("rotated to %+v, %v", c, err)
		}
		for _, s := range []auth.Secret{key, fresh} {
			if p, err := h.auth.Authenticate(t.Context(), s); err != nil || !p.Operator {
				t.Errorf("within the overlap: %+v, %v", p, err)
			}
		}
		time.Sleep(time.Minute)
		if _, err := h.auth.Authenticate(t.Context(), key); sender.KindOf(err) != sender.Unauthenticated {
			t.Errorf("the old key after the overlap: %v", err)
		}
		if p, err := h.auth.Authenticate(t.Context(), fresh); err != nil || p.Credential != c.ID || !p.Operator {
			t.Errorf("the new key after the overlap: %+v, %v", p, err)
		}
		if types, _ := h.events(""); len(types) != 0 {
			t.Errorf("events of no tenant: %v", types)
		}
	})
}

func TestPropertiesFileHoldsWhatClientsReadAndNothingElse(t *testing.T) {
	c := sender.Credential{
		Kind: sender.KeyPair, Name: "shop", Tenant: "11111111-2222-4333-8444-555555555555", Token: "0123456789abcdef0123456789abcdef",
		CreatedAt: time.Date(2026, 7, 1, 12, 0, 0, 0, time.FixedZone("", 3600)),
	}
	const lines = "account_id=11111111-2222-4333-8444-555555555555\napi_key=c2VjcmV0\ntoken=0123456789abcdef0123456789abcdef\npingidsdk_url=https://mail.example.org/pingid\n"
	want := "# Made by Postseal for shop\n# Wed, 01 Jul 2026 11:00:00 UTC\n" + lines
	if got := auth.Properties(c, "c2VjcmV0", "https://mail.example.org/pingid", ""); got != want {
		t.Errorf("without an application:\n%s", got)
	}
	if got := auth.Properties(c, "c2VjcmV0", "https://mail.example.org/pingid", "99999999-2222-4333-8444-555555555555"); got != want+"app_id=99999999-2222-4333-8444-555555555555\n" {
		t.Errorf("with an application:\n%s", got)
	}
	// A name is in a comment and stays there, whatever the reader takes for a line end.
	for _, name := range []string{
		"x\napi_key=evil", "x\r\napi_key=evil", "x\rapi_key=evil", "x\u0085api_key=evil", "x\u2028api_key=evil", "x\u2029api_key=evil", "x\vapi_key=evil",
		"x\fapi_key=evil", "x\x1capi_key=evil", "x\x00api_key=evil", `x\`, `x\napi_key=evil`, "x\\\napi_key=evil", "x=1", "x:1", "\u202eshop", "Łódź ✓", "%s%n",
	} {
		c.Name = name
		got := auth.Properties(c, "c2VjcmV0", "https://mail.example.org/pingid", "")
		comments, rest, _ := strings.Cut(got, "account_id=")
		if "account_id="+rest != lines || strings.Count(comments, "\n") != 2 || strings.ContainsAny(comments, "\r\v\f\x00\x1c\u0085\u2028\u2029") {
			t.Errorf("named %q:\n%s", name, got)
		}
		for line := range strings.Lines(comments) {
			if !strings.HasPrefix(line, "# ") {
				t.Errorf("named %q: the line %q", name, line)
			}
		}
	}
}

// Names with the line ends of Unicode can be given, those with control characters not.
func TestNamesOfKeyPairsStayInTheirComment(t *testing.T) {
	h := newHarness(t)
	tenant := h.tenant("one")
	for name, ok := range map[string]bool{"x\u2028api_key=evil": true, "x\u0085y": false, "x\ny": false, "x\ry": false, "x\x1by": false, "\xff": false} {
		c, secret, err := h.auth.CreateCredential(t.Context(), auth.Local(), auth.NewCredential{
			Kind: sender.KeyPair, Name: name, Tenant: tenant.ID, Grants: []sender.Grant{{Tenant: tenant.ID, Role: sender.RoleAdmin}},
		})
		if (err == nil) != ok {
			t.Errorf("named %q: %v", name, err)
		}
		if err == nil {
			key, _, err := h.auth.Key(t.Context(), tenant.ID, c.Token)
			text := auth.Properties(c, secret, "http://x/pingid", "")
			if err != nil || !strings.Contains(text, "\napi_key="+base64.StdEncoding.EncodeToString(key)+"\n") || bytes.Count([]byte(text), []byte("api_key=")) != 2 {
				t.Errorf("named %q: %v\n%s", name, err, text)
			}
		}
	}
}
