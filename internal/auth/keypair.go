package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/postseal/postseal/internal/sender"
)

// keySize is that of the HMAC key of a key pair, in octets. A multiple of three, so
// that its base64 has no "=": a public client of the PingID SDK loses what follows
// the second one on a line of its properties file.
const keySize = 48

// newKeyPair draws a token, which names the pair, and its key.
func newKeyPair() (token string, key []byte, secret Secret) {
	var name [16]byte
	rand.Read(name[:]) // never fails: it ends the program instead
	key = make([]byte, keySize)
	rand.Read(key)
	return hex.EncodeToString(name[:]), key, Secret(base64.StdEncoding.EncodeToString(key))
}

type keyName struct {
	tenant sender.ID
	token  string
}

// Key returns the HMAC key of a key pair and who speaks with it. A token that is
// unknown, another tenant's, revoked or expired is Unauthenticated; what was
// revoked counts no more within a second on every node.
func (a *Auth) Key(ctx context.Context, tenant sender.ID, token string) ([]byte, sender.Principal, error) {
	name := keyName{tenant, token}
	c, known := a.keys.Get(name)
	if !known {
		read := time.Now()
		var err error
		c, err = a.store.CredentialByToken(ctx, tenant, token)
		if sender.KindOf(err) == sender.NotFound {
			return nil, sender.Principal{}, refused("the tenant has no key pair with this token")
		}
		if err != nil {
			return nil, sender.Principal{}, err
		}
		a.keys.Put(name, c, read)
	}
	if err := usable(c); err != nil {
		return nil, sender.Principal{}, err
	}
	return c.Key, c.Principal(), nil
}

// Properties writes a key pair as the properties file that clients of the PingID
// SDK read. base is the URL of the API, ending in /pingid; application may be empty.
func Properties(c sender.Credential, secret Secret, base string, application sender.ID) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by Postseal for %s\n# %s\n", strings.Map(oneLine, c.Name), c.CreatedAt.UTC().Format(time.RFC1123))
	for _, line := range [][2]string{
		{"account_id", string(c.Tenant)}, {"api_key", string(secret)}, {"token", c.Token}, {"pingidsdk_url", base}, {"app_id", string(application)},
	} {
		if line[1] != "" {
			b.WriteString(line[0] + "=" + line[1] + "\n")
		}
	}
	return b.String()
}

// oneLine keeps a name inside its comment, whatever the reader takes for a line end:
// control characters, which names don't have anyway, and those of Unicode, which
// they may.
func oneLine(r rune) rune {
	if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
		return ' '
	}
	return r
}
