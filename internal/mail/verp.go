package mail

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// minVerpKey is the least length of a key in bytes, and verpTag that of the
// signature in an address: 80 bits cannot be guessed by sending mail.
const minVerpKey, verpTag = 16, 10

var verpCoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// A Verp makes and recognises variable envelope return paths: the reverse-path
// of each message names the message, so that a bounce tells which one it is
// about. The address is signed; what comes back to a made-up one is not ours.
type Verp struct {
	key    []byte
	domain string
}

// NewVerp wants a secret key of at least 16 bytes and the domain whose MX leads
// to us.
func NewVerp(key []byte, domain string) (*Verp, error) {
	if len(key) < minVerpKey {
		return nil, problem("key", "has %d bytes; use at least %d random ones", len(key), minVerpKey)
	}
	if p := addressProblem("b@" + domain); p != "" {
		return nil, problem("domain", "%q is not a DNS name in ASCII", cut(domain))
	}
	return &Verp{key: append([]byte(nil), key...), domain: strings.ToLower(domain)}, nil
}

// At makes addresses with the same key at another domain whose MX leads to us: a
// DNS name in ASCII and in lower case.
func (v *Verp) At(domain string) *Verp { return &Verp{key: v.key, domain: domain} }

// Address is b-ID-TAG@domain: the id in base32 (26 characters), and the first 10
// bytes of HMAC-SHA256 over id and domain (16 characters). The local part has 45
// characters of the 64 that are allowed, and survives a change of case.
func (v *Verp) Address(id [16]byte) string {
	return "b-" + verpCoding.EncodeToString(id[:]) + "-" + verpCoding.EncodeToString(v.tag(id)) + "@" + v.domain
}

// Parse returns the id of an address that Address made with the same key and
// domain, in any case of ASCII letters. Anything else is not ok.
func (v *Verp) Parse(addr string) (id [16]byte, ok bool) {
	const prefix, idLength = "b-", 26
	if len(addr) > maxAddress || len(addr) < len(prefix)+idLength {
		return id, false
	}
	given := []byte(addr)
	for i, c := range given {
		if 'A' <= c && c <= 'Z' {
			given[i] = c + 'a' - 'A'
		}
	}
	raw := make([]byte, len(id)+1)
	n, err := verpCoding.Decode(raw, given[len(prefix):len(prefix)+idLength])
	if err != nil || n != len(id) {
		return id, false
	}
	// The whole address is compared with the one that we would have made: that
	// leaves an id one spelling, and takes the same time wherever they differ.
	copy(id[:], raw)
	if !hmac.Equal(given, []byte(v.Address(id))) {
		return [16]byte{}, false
	}
	return id, true
}

func (v *Verp) tag(id [16]byte) []byte {
	mac := hmac.New(sha256.New, v.key)
	mac.Write([]byte("verp\x00"))
	mac.Write(id[:])
	mac.Write([]byte(v.domain))
	return mac.Sum(nil)[:verpTag]
}
