package pingid

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// Keys finds the key of a request's signature.
type Keys interface {
	// Key returns the HMAC key (at least 32 octets) of an account's token, and who
	// speaks with it. The token is what the request says: any string of 1 to 128
	// octets. A token that is unknown, revoked, expired or another account's is
	// [sender.Unauthenticated]; any other error is our own fault.
	Key(ctx context.Context, account sender.ID, token string) (key []byte, p sender.Principal, err error)
}

// seal is what signs the answer to a request; empty until the request's own
// signature was right.
type seal struct {
	key            []byte
	account, token string // as the request spelled them
	tenant         sender.ID
	principal      sender.Principal
}

type sealKey struct{}

func sealOf(ctx context.Context) *seal {
	s, _ := ctx.Value(sealKey{}).(*seal)
	return s
}

// door lets requests in and signs what goes out.
type door struct {
	keys           Keys
	names          []string
	requireExpires bool
	memory         *memory // nil: replays are let in
}

// admit authenticates a request before it is routed and reads its body, which
// the signature covers. Who can't sign is told nothing about any path, and makes
// us read no body.
func (d door) admit(r *http.Request) (sender.Principal, error) {
	var none sender.Principal
	authorization := r.Header.Values("Authorization")
	if len(authorization) != 1 {
		return none, refused("there is not exactly one Authorization header")
	}
	p, err := parseProof(authorization[0])
	if err != nil {
		return none, refused(err.Error())
	}
	tenant, ok := sender.ParseID(strings.ToLower(p.account))
	if !ok {
		return none, refused("the account_id of the JWS is no UUID")
	}
	key, principal, err := d.keys.Key(r.Context(), tenant, p.token)
	if err != nil {
		return none, err
	}
	if !p.signedBy(key) {
		return none, refused("the signature of the JWS is wrong")
	}
	// From here on the client holds the key, or has heard who does: it may be told
	// in signed words what is wrong.
	s := sealOf(r.Context())
	s.key, s.account, s.token, s.tenant = key, p.account, p.token, tenant
	now := time.Now()
	if d.requireExpires && p.expires.IsZero() {
		return none, refused("the JWS has no expires, which is demanded here")
	}
	if p.expired(now) {
		return none, refused("the JWS is expired")
	}
	body, err := api.ReadBody(r)
	if err != nil {
		return none, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !p.covers(newForms(r.Method, r.Host, d.names, r.URL, body)) {
		return none, refused("the data of the JWS is not the digest of this request")
	}
	if account, ok := accountOf(r.URL.Path); ok && !strings.EqualFold(account, string(tenant)) {
		return none, refused("the account in the path is not that of the JWS")
	}
	if d.memory != nil {
		if err := d.memory.admit(p, now); err != nil {
			return none, err
		}
	}
	s.principal = principal
	return principal, nil
}

// accountOf returns the account that a path names, if it names one.
func accountOf(path string) (account string, ok bool) {
	rest, ok := strings.CutPrefix(path, accounts+"/")
	account, _, _ = strings.Cut(rest, "/")
	return account, ok
}

// sign signs the whole answer. The vendor's Java sample reads the second of the
// two names, which it has misspelt, and accepts no answer without it.
func (d door) sign(a *api.Answer, r *http.Request) error {
	s := sealOf(r.Context())
	if s == nil || s.key == nil {
		return nil
	}
	body := a.Body.Bytes()
	if a.Status() == http.StatusNoContent || r.Method == http.MethodHead {
		body = nil // is not sent
	}
	jws, err := signature(s.key, s.account, s.token, body)
	if err != nil {
		return err
	}
	// In the documents' own capitals, which Set would fold.
	a.Header()["X-PINGID-Signature"] = []string{jws}
	a.Header()["X-PINGID-Singature"] = []string{jws}
	return nil
}
