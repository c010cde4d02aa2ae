package auth

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// DefaultTokenLife is how long an access token is valid. Clients of the PingOne
// API keep one for the life of their process and never renew it.
const DefaultTokenLife = time.Hour

const (
	credentialAge = time.Second      // how old a cached credential may be; a revocation must reach us within two
	verifiedAge   = 30 * time.Second // how long a secret that was right needs no second hash
)

// Auth checks credentials. It is safe for concurrent use and starts no
// goroutine.
type Auth struct {
	store sender.Store
	key   []byte
	life  time.Duration
	log   *slog.Logger

	credentials sender.Recent[sender.ID, sender.Credential]
	verified    sender.Recent[[32]byte, struct{}]
	tokens      sender.Recent[[32]byte, claims] // by the SHA-256 of access tokens whose signature was right
	keys        sender.Recent[keyName, sender.Credential]
	hashing     *turns
}

// Config is what an Auth is made of.
type Config struct {
	Store sender.Store
	// SigningKey is that of access tokens (HMAC-SHA256): at least 32 octets, the
	// same on every node.
	SigningKey []byte
	TokenLife  time.Duration // zero: DefaultTokenLife
	Log        *slog.Logger
}

// New makes an Auth.
func New(c Config) (*Auth, error) {
	switch {
	case c.Store == nil || c.Log == nil:
		return nil, errors.New("auth: Config needs Store and Log")
	case len(c.SigningKey) < 32:
		return nil, errors.New("auth: the signing key of access tokens must have at least 32 octets")
	case c.TokenLife < 0:
		return nil, errors.New("auth: the life of access tokens must not be negative")
	case c.TokenLife == 0:
		c.TokenLife = DefaultTokenLife
	}
	return &Auth{
		store: c.Store, key: c.SigningKey, life: c.TokenLife, log: c.Log,
		hashing:     newTurns(),
		credentials: sender.Recent[sender.ID, sender.Credential]{Age: credentialAge},
		tokens:      sender.Recent[[32]byte, claims]{Age: verifiedAge},
		verified:    sender.Recent[[32]byte, struct{}]{Age: verifiedAge},
		keys:        sender.Recent[keyName, sender.Credential]{Age: credentialAge},
	}, nil
}

// Local is the principal of whoever holds the data directory: the command line
// and dev mode, which create the first credentials with it. It must never be
// given to a request.
func Local() sender.Principal { return sender.Principal{Operator: true} }

// refused is the one answer to every credential that does not count. Why it
// does not is for the log only.
func refused(why string) error {
	e := sender.Errorf(sender.Unauthenticated, "", "The credential is missing, wrong, expired or revoked; get a new access token, or ask for a new credential.")
	e.Err = errors.New(why)
	return e
}

// forget drops what is remembered of a credential that was changed here.
func (a *Auth) forget(c sender.Credential) {
	a.credentials.Drop(c.ID)
	a.keys.Drop(keyName{c.Tenant, c.Token})
}

// credential reads a credential, not older than credentialAge.
func (a *Auth) credential(ctx context.Context, id sender.ID) (sender.Credential, error) {
	if c, ok := a.credentials.Get(id); ok {
		return c, nil
	}
	read := time.Now() // before the store is asked: it may answer what is about to change
	c, err := a.store.Credential(ctx, id)
	if err == nil {
		a.credentials.Put(id, c, read)
	}
	return c, err
}
