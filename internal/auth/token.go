package auth

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/postseal/postseal/internal/sender"
)

const (
	issuer   = "postseal"
	audience = "postseal-api"

	keyPrefix = "psk_"
	keyIDLen  = 32   // hexadecimal digits of the id
	maxBearer = 4096 // octets of a bearer string; ours have less than 500
)

// Token is what a login gives.
type Token struct {
	AccessToken Secret
	ExpiresIn   time.Duration
}

// Token gives an access token for client credentials (RFC 6749, section 4.4).
// Where home is not empty, the credential must belong to that tenant. Whatever
// is wrong is [sender.Unauthenticated], always in the same words and after the
// same work.
func (a *Auth) Token(ctx context.Context, home sender.ID, clientID string, secret Secret) (Token, error) {
	return a.TokenFor(ctx, a.life, home, clientID, secret)
}

// TokenFor is Token with another life than that of the instance, unless it is zero.
func (a *Auth) TokenFor(ctx context.Context, life time.Duration, home sender.ID, clientID string, secret Secret) (Token, error) {
	if life == 0 {
		life = a.life
	}
	c, err := a.verify(ctx, sender.OAuthClient, clientID, secret)
	if err != nil {
		return Token{}, err
	}
	if home != "" && c.Tenant != home {
		return Token{}, refused("the client " + string(c.ID) + " belongs to another tenant")
	}
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: string(c.ID), ID: string(sender.NewID()),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	})
	signed, err := t.SignedString(a.key)
	if err != nil {
		return Token{}, err
	}
	return Token{AccessToken: Secret(signed), ExpiresIn: life}, nil
}

var tokenParser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
)

// Authenticate tells who a bearer string speaks for: an access token or an API
// key. Whatever is wrong with it is [sender.Unauthenticated].
func (a *Auth) Authenticate(ctx context.Context, bearer Secret) (sender.Principal, error) {
	switch {
	case bearer == "":
		return sender.Principal{}, refused("no bearer token was sent")
	case len(bearer) > maxBearer:
		return sender.Principal{}, refused("the bearer token is too long")
	}
	var c sender.Credential
	var err error
	if key, ok := strings.CutPrefix(string(bearer), keyPrefix); ok {
		id, secret := splitKey(key)
		c, err = a.verify(ctx, sender.APIKey, id, secret)
	} else {
		c, err = a.holder(ctx, bearer)
	}
	if err != nil {
		return sender.Principal{}, err
	}
	return c.Principal(), nil
}

// claims are what an access token says.
type claims struct {
	holder sender.ID
	until  time.Time
}

// holder returns the credential that an access token was given to.
func (a *Auth) holder(ctx context.Context, token Secret) (sender.Credential, error) {
	sum := sha256.Sum256([]byte(token))
	known, ok := a.tokens.Get(sum)
	if !ok {
		var parsed jwt.RegisteredClaims
		if _, err := tokenParser.ParseWithClaims(string(token), &parsed, func(*jwt.Token) (any, error) { return a.key, nil }); err != nil {
			return sender.Credential{}, refused("the access token is malformed, not ours, or expired")
		}
		known = claims{sender.ID(parsed.Subject), parsed.ExpiresAt.Time}
		a.tokens.Put(sum, known, time.Now())
	}
	if !time.Now().Before(known.until) {
		return sender.Credential{}, refused("the access token is expired")
	}
	c, err := a.credential(ctx, known.holder)
	if sender.KindOf(err) == sender.NotFound {
		return c, refused("the credential of the access token is gone")
	}
	if err != nil {
		return c, err
	}
	return c, usable(c)
}

// makeKey writes an API key so that scanners for leaked secrets know it and its
// credential is found without a search: psk_ID_SECRET, the id without hyphens.
func makeKey(id sender.ID, s Secret) Secret {
	return Secret(keyPrefix + strings.ReplaceAll(string(id), "-", "") + "_" + string(s))
}

// splitKey is the inverse of makeKey, without the prefix; what is no key gives
// an id that nobody has.
func splitKey(key string) (id string, s Secret) {
	if len(key) <= keyIDLen || key[keyIDLen] != '_' {
		return "", Secret(key)
	}
	h := key[:keyIDLen]
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"), Secret(key[keyIDLen+1:])
}
