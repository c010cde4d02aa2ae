package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/postseal/postseal/internal/sender"
)

// Secret is something that must not be printed: a client secret, an API key, a
// token. string(s) reveals it; fmt and slog don't.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[secret]" }

// GoString hides the secret.
func (Secret) GoString() string { return "[secret]" }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// newSecret returns 256 random bits in unreserved characters (RFC 3986, section
// 2.3), so that no client can get its form-encoding wrong.
func newSecret() Secret {
	var b [32]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return Secret(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Cost of argon2id (RFC 9106). The secrets are random and can't be guessed
// anyway; this is the least that current advice has for passwords.
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16
	argonKey    = 32
)

// hash returns the PHC string of a secret.
func hash(s Secret) string {
	var salt [argonSalt]byte
	rand.Read(salt[:])
	key := argon2.IDKey([]byte(s), salt[:], argonTime, argonMemory, argonLanes, argonKey)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes, b64.EncodeToString(salt[:]), b64.EncodeToString(key))
}

// matches reports whether the secret is the one that was hashed; an
// unreadable hash matches nothing.
func matches(phc string, s Secret) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false
	}
	var memory, rounds uint32
	var lanes uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &rounds, &lanes); err != nil || memory > 256*1024 || rounds < 1 || rounds > 16 || lanes < 1 || lanes > 8 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) == 0 {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 64 {
		return false
	}
	got := argon2.IDKey([]byte(s), salt, rounds, memory, lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// nobodysHash is compared with where no credential has the id, so that the time
// of the answer does not tell. It is the hash of nothing anybody can send.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// verify finds the credential with that id and kind and checks its secret.
// Every error but that of a failing store or a context that ended is
// [sender.Unauthenticated].
func (a *Auth) verify(ctx context.Context, kind sender.CredentialKind, id string, s Secret) (sender.Credential, error) {
	var c sender.Credential
	phc, tenant := nobodysHash, stranger
	if known, ok := sender.ParseID(id); ok {
		var err error
		switch c, err = a.credential(ctx, known); {
		case err == nil && c.Kind == kind:
			phc, tenant = c.SecretHash, c.Tenant
		case err != nil && sender.KindOf(err) != sender.NotFound:
			return c, err
		}
	}
	// The sum is a key of memory only: whoever can read it can read the secret too.
	sum := sha256.Sum256([]byte(phc + "\x00" + string(s)))
	if _, ok := a.verified.Get(sum); ok {
		return c, usable(c)
	}
	release, err := a.hashing.take(ctx, tenant)
	if err != nil {
		return c, err
	}
	defer release()
	// Those before us in the queue may have sent the same: clients log in in parallel.
	if _, ok := a.verified.Get(sum); !ok {
		if !matches(phc, s) {
			return c, refused("the id is unknown, of another kind, or the secret is wrong")
		}
		a.verified.Put(sum, struct{}{}, time.Now())
	}
	// It may have been revoked while we waited.
	if c, err = a.credential(ctx, c.ID); err != nil {
		return c, err
	}
	return c, usable(c)
}

// usable refuses a credential that was revoked or has expired.
func usable(c sender.Credential) error {
	if !c.Active(time.Now()) {
		return refused("the credential " + string(c.ID) + " was revoked or has expired")
	}
	return nil
}
