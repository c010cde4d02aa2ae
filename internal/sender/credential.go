package sender

import "time"

// CredentialKind says how a credential proves itself.
type CredentialKind string

// The kinds of credentials.
const (
	OAuthClient CredentialKind = "oauth-client" // client id and secret at a token endpoint (RFC 6749, section 4.4)
	APIKey      CredentialKind = "api-key"      // one opaque bearer string
	KeyPair     CredentialKind = "pingid-key"   // token and HMAC key, which sign requests and answers (PingID SDK)
)

// Credential is the stored half of a secret. Several of a kind can be active,
// so that keys can be rotated.
type Credential struct {
	ID         ID // also the OAuth2 client id
	Kind       CredentialKind
	Name       string
	Tenant     ID // home; empty for an operator's
	Operator   bool
	Grants     []Grant
	Domain     ID     // bound to this domain when set
	SecretHash string // argon2id in PHC form; the secret itself is shown once and not kept. Empty for a KeyPair
	Token      string // of a KeyPair: what requests name it by, unique in the instance
	Key        []byte // of a KeyPair: sealed at rest, and returned by Reader.CredentialByToken alone
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: active
}

// Active reports whether the credential can be used at that time.
func (c Credential) Active(now time.Time) bool {
	return c.RevokedAt.IsZero() && (c.ExpiresAt.IsZero() || now.Before(c.ExpiresAt))
}

// Principal returns who the credential speaks for.
func (c Credential) Principal() Principal {
	return Principal{Credential: c.ID, Home: c.Tenant, Operator: c.Operator, Grants: c.Grants, Domain: c.Domain}
}
