package pingid

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// scheme is followed by the JWS at once, without a blank.
	scheme  = "PINGID-HMAC="
	version = "v4"

	maxAuthorization = 4096 // octets; those of real clients have about 400
	maxMember        = 128  // octets of a token or request id
	minKey           = 32   // octets: a shorter HMAC key is a mistake of whoever stored it (RFC 7518, section 3.2)

	// skew is how far clocks may be apart.
	skew = time.Minute
	// expiresForm is the form of the header member expires, in UTC. Fractions of a
	// second are accepted.
	expiresForm = "2006-01-02T15:04:05Z"
)

// base64url is that of JWS (RFC 7515, section 2): no padding, no stray bits.
var base64url = base64.RawURLEncoding.Strict()

// joseHeader are the members of a JWS's header that this scheme knows. The order
// is that in which they are written.
type joseHeader struct {
	Alg       string         `json:"alg"`
	Typ       string         `json:"typ,omitzero"`
	Account   string         `json:"account_id"`
	Token     string         `json:"token"`
	Version   string         `json:"jwt_version"`
	Expires   *string        `json:"expires,omitzero"`
	RequestID string         `json:"X-Request-ID,omitzero"`
	Crit      jsontext.Value `json:"crit,omitzero"`
}

type claims struct {
	Data string `json:"data"` // 64 lower-case hexadecimal digits
}

// proof is the JWS of a request, well-formed but not verified.
type proof struct {
	account   string // as sent
	token     string
	requestID string    // empty: none
	expires   time.Time // zero: never
	data      string
	signed    string // what the MAC is over
	mac       []byte
}

// parseProof reads an Authorization header (contract of the vendor's clients:
// compact JWS of RFC 7515, HS256, five or more header members, one claim). The
// errors are for the log; a client learns only that it was refused.
func parseProof(authorization string) (proof, error) {
	if len(authorization) > maxAuthorization {
		return proof{}, errors.New("the Authorization header is too long")
	}
	jws, ok := strings.CutPrefix(authorization, scheme)
	if !ok {
		return proof{}, errors.New("the Authorization header does not begin with " + scheme)
	}
	signed, signature, ok := cutLast(jws, ".")
	header, payload, ok2 := strings.Cut(signed, ".")
	// base64 skips line ends, which have no place here.
	if !ok || !ok2 || strings.Contains(payload, ".") || strings.ContainsAny(jws, "\r\n") {
		return proof{}, errors.New("the Authorization header holds no JWS of three parts")
	}
	var h joseHeader
	if err := decodePart(header, &h); err != nil {
		return proof{}, errors.New("the header of the JWS is no JSON in base64url")
	}
	switch {
	case h.Alg != "HS256":
		return proof{}, errors.New("the alg of the JWS is not HS256")
	case h.Crit != nil:
		return proof{}, errors.New("the JWS has crit, and no extension is understood (RFC 7515, section 4.1.11)")
	case h.Typ != "" && !strings.EqualFold(h.Typ, "JWT"):
		return proof{}, errors.New("the typ of the JWS is not JWT")
	case h.Version != version:
		return proof{}, errors.New("the jwt_version of the JWS is not " + version)
	case h.Account == "" || len(h.Account) > maxMember || h.Token == "" || len(h.Token) > maxMember || len(h.RequestID) > maxMember:
		return proof{}, errors.New("account_id, token or X-Request-ID of the JWS is missing or too long")
	}
	p := proof{account: h.Account, token: h.Token, requestID: h.RequestID, signed: signed}
	if h.Expires != nil {
		at, err := time.Parse(expiresForm, *h.Expires)
		if err != nil {
			return proof{}, errors.New("the expires of the JWS is no time such as 2026-01-02T15:04:05Z")
		}
		p.expires = at
	}
	var c claims
	if err := decodePart(payload, &c); err != nil {
		return proof{}, errors.New("the payload of the JWS is no JSON in base64url")
	}
	var err error
	if p.mac, err = base64url.DecodeString(signature); err != nil || len(p.mac) != sha256.Size {
		return proof{}, errors.New("the signature of the JWS is not 32 octets in base64url")
	}
	if p.data = c.Data; len(p.data) != hex.EncodedLen(sha256.Size) {
		return proof{}, errors.New("the data of the JWS is not 64 hexadecimal digits")
	}
	return p, nil
}

func decodePart(s string, v any) error {
	b, err := base64url.DecodeString(s)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// signedBy compares the signature, in the same time whatever differs.
func (p proof) signedBy(key []byte) bool {
	mac := mac(key, p.signed)
	return hmac.Equal(mac, p.mac) && len(key) >= minKey
}

// expired reports whether it is too late for the request. One without a time
// never expires: public clients leave it out.
func (p proof) expired(now time.Time) bool {
	return !p.expires.IsZero() && now.After(p.expires.Add(skew))
}

// covers reports whether the digest in the proof is that of the request in any
// of the forms that clients hash.
func (p proof) covers(f forms) bool {
	covered := 0
	for _, host := range f.hosts {
		for _, path := range f.paths {
			for _, query := range f.queries {
				covered |= subtle.ConstantTimeCompare([]byte(digest(f.method, host, path, query, f.body)), []byte(p.data))
			}
		}
	}
	return covered == 1
}

// digest is the claim data of a request: the SHA-256 of its canonical string, in
// lower-case hexadecimal digits. An empty query leaves its colon out, too.
func digest(method, host, path, query string, body [sha256.Size]byte) string {
	if query != "" {
		query += ":"
	}
	sum := sha256.Sum256([]byte(method + ":" + host + ":" + path + ":" + query + hex.EncodeToString(body[:]) + ":"))
	return hex.EncodeToString(sum[:])
}

// forms are the spellings under which one request may have been hashed. The
// vendor's Java sample hashes the decoded path and query, other clients the raw
// ones, and all of them the host of the URL they were given.
type forms struct {
	method                string
	hosts, paths, queries []string
	body                  [sha256.Size]byte
}

// newForms lists the spellings of a request to host (the Host header) and to the
// further names that the instance is known by. Nothing is sorted.
func newForms(method, host string, names []string, u *url.URL, body []byte) forms {
	f := forms{method: method, body: sha256.Sum256(body)}
	for _, h := range append([]string{withoutPort(host), host}, names...) {
		f.hosts = with(with(f.hosts, h), strings.ToLower(h))
	}
	f.paths = with(with(nil, u.EscapedPath()), u.Path)
	f.queries = with(nil, u.RawQuery)
	if s, err := url.PathUnescape(u.RawQuery); err == nil {
		f.queries = with(f.queries, s)
	}
	if s, err := url.QueryUnescape(u.RawQuery); err == nil {
		f.queries = with(f.queries, s)
	}
	return f
}

// with appends what is not there yet.
func with(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// withoutPort keeps the brackets of an IPv6 address, as URL classes do.
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}

// signature is the JWS of an answer: over its body as sent, and over nothing
// else, not even the status. That of an answer without body is over no octets.
func signature(key []byte, account, token string, body []byte) (string, error) {
	sum := sha256.Sum256(body)
	var signed strings.Builder
	for i, part := range []any{
		joseHeader{Alg: "HS256", Typ: "JWT", Account: account, Token: token, Version: version},
		claims{hex.EncodeToString(sum[:])},
	} {
		b, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		if i > 0 {
			signed.WriteByte('.')
		}
		signed.WriteString(base64url.EncodeToString(b))
	}
	return signed.String() + "." + base64url.EncodeToString(mac(key, signed.String())), nil
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}
