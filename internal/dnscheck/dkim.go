package dnscheck

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// minRSABits is what verifiers must refuse below (RFC 8301, section 3.2).
	minRSABits = 1024
	// goodRSABits is what signers should use.
	goodRSABits = 2048
)

var (
	// errWeakKey is a key that is right and refused all the same.
	errWeakKey = errors.New("the RSA key is too short")
	// errNoKey is said where everything but the key itself is in order.
	errNoKey = errors.New("p= is no")
)

// DKIMKey is a key record that has been read (RFC 6376, section 3.6.1; RFC 8463 for Ed25519).
type DKIMKey struct {
	Type    string `json:"type"`            // rsa or ed25519
	Bits    int    `json:"bits,omitzero"`   // 0 for a revoked key
	Revoked bool   `json:"revoked"`         // p is empty
	Testing bool   `json:"testing"`         // t=y: a failure says nothing yet
	Strict  bool   `json:"strict"`          // t=s: the identity must not be below the domain
	Hashes  string `json:"hashes,omitzero"` // h, where it limits the algorithms
	// Notes say what is weak or without effect.
	Notes []string `json:"notes,omitempty"`

	public   crypto.PublicKey // nil for a revoked key
	unpadded bool             // without the = at the end of p
}

// ParseDKIMKey reads a key record. An error means that verifiers do without the key.
func ParseDKIMKey(record string) (DKIMKey, error) {
	k := DKIMKey{Type: "rsa"}
	tags, err := parseTags(record)
	if err != nil {
		return k, err
	}
	note := func(format string, args ...any) { k.Notes = append(k.Notes, fmt.Sprintf(format, args...)) }
	data, found := "", false
	for i, t := range tags {
		switch t.name {
		case "v":
			if t.value != "DKIM1" {
				return k, fmt.Errorf("v=%s is not DKIM1", safe(t.value))
			}
			if i > 0 {
				return k, errors.New("v=DKIM1 is not at the beginning")
			}
		case "k":
			k.Type = lower(t.value)
		case "p":
			data, found = strings.Join(strings.Fields(t.value), ""), true
		case "h":
			k.Hashes = strings.Join(strings.Fields(t.value), "")
			if !slices.Contains(strings.Split(lower(k.Hashes), ":"), "sha256") {
				return k, fmt.Errorf("h=%s leaves out sha256, the only hash that is in use (RFC 8301)", safe(k.Hashes))
			}
		case "s":
			services := strings.Split(lower(strings.Join(strings.Fields(t.value), "")), ":")
			if !slices.Contains(services, "*") && !slices.Contains(services, "email") {
				return k, fmt.Errorf("s=%s is not for mail", safe(t.value))
			}
		case "t":
			for flag := range strings.SplitSeq(t.value, ":") {
				switch lower(strings.TrimSpace(flag)) {
				case "y":
					k.Testing = true
					note("t=y says that the domain only tests DKIM, so some verifiers do as if there were no signature")
				case "s":
					k.Strict = true
				}
			}
		}
	}
	switch {
	case !found:
		return k, errors.New("there is no p= with a key")
	case data == "":
		k.Revoked = true
		return k, nil
	}
	der, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		if der, err = base64.RawStdEncoding.DecodeString(data); err != nil {
			return k, fmt.Errorf("%w base64, or was cut off", errNoKey)
		}
		// The grammar of RFC 6376 leaves it out, that of RFC 4648 and many decoders do not.
		k.unpadded = true
		note("p= lacks the = at its end, without which some verifiers cannot read it")
	}
	switch k.Type {
	case "rsa":
		key, err := parseRSA(der)
		if err != nil {
			return k, err
		}
		k.public, k.Bits = key, key.N.BitLen()
		switch {
		case k.Bits < minRSABits:
			return k, fmt.Errorf("%w: it has %d bits, and verifiers refuse less than %d", errWeakKey, k.Bits, minRSABits)
		case k.Bits < goodRSABits:
			note("the RSA key has %d bits, which is weak: sign with one of %d at another selector", k.Bits, goodRSABits)
		}
	case "ed25519":
		if len(der) != ed25519.PublicKeySize {
			return k, fmt.Errorf("p= has %d octets, an Ed25519 key has %d", len(der), ed25519.PublicKeySize)
		}
		k.public, k.Bits = ed25519.PublicKey(der), 8*ed25519.PublicKeySize
	default:
		return k, fmt.Errorf("k=%s is a type of key that verifiers do not know", safe(k.Type))
	}
	return k, nil
}

// parseRSA takes both forms that are published: with and without the algorithm around it
// (RFC 6376, section 3.6.1, and its erratum 3017).
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		if key, ok := key.(*rsa.PublicKey); ok {
			return key, nil
		}
		return nil, errors.New("p= holds a key that is not RSA, as k says or leaves out")
	}
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w RSA key, or was cut off", errNoKey)
	}
	return key, nil
}

// Same tells whether two records hold one key, however they are written.
func (k DKIMKey) Same(other DKIMKey) bool {
	switch key := k.public.(type) {
	case *rsa.PublicKey:
		return key.Equal(other.public)
	case ed25519.PublicKey:
		return key.Equal(other.public)
	}
	return k.Revoked && other.Revoked
}

// servesAs tells whether a published key record does what the wanted one shall do: it is one
// that verifiers take, and holds the same key.
func servesAs(want, found string) bool {
	w, err := ParseDKIMKey(want)
	if errors.Is(err, errWeakKey) {
		return false
	}
	if err != nil {
		// Not for us to judge: all that can be wanted is the same text, in a record of which
		// nothing else is wrong.
		_, other := ParseDKIMKey(found)
		a, b := keyTags(want), keyTags(found)
		return errors.Is(other, errNoKey) == errors.Is(err, errNoKey) && a["p"] == b["p"] && a["k"] == b["k"]
	}
	f, err := ParseDKIMKey(found)
	return err == nil && w.Same(f) && (w.unpadded || !f.unpadded)
}

// keyProblem says why verifiers cannot use the key that was found; empty where they can, or
// where it is just another one.
func keyProblem(found []string) string {
	keys := dkimKeys(found)
	if len(keys) != 1 {
		return ""
	}
	if _, err := ParseDKIMKey(keys[0]); err != nil {
		return err.Error()
	}
	return ""
}

// keyAdvice says what is weak about a key that matches.
func keyAdvice(rec Record, found []string) string {
	for _, v := range dkimKeys(found) {
		if k, err := ParseDKIMKey(v); err == nil && len(k.Notes) > 0 {
			return fmt.Sprintf("The key at %s is the right one, but %s.", rec.Name, strings.Join(k.Notes, "; "))
		}
	}
	return ""
}

// dkimKeys selects what looks like key records among the TXT records of a selector.
func dkimKeys(values []string) []string {
	var keys []string
	for _, v := range values {
		l := lower(strings.TrimSpace(v))
		if strings.HasPrefix(l, "v=dkim1") || slices.ContainsFunc(strings.Split(l, ";"), func(tag string) bool {
			name, _, ok := strings.Cut(tag, "=")
			return ok && strings.TrimSpace(name) == "p"
		}) {
			keys = append(keys, v)
		}
	}
	return keys
}

// dkimCode judges the keys of a selector without knowing which is meant to be there.
func dkimCode(values []string) (DKIMKey, Code, string) {
	keys := dkimKeys(values)
	if len(keys) > 1 {
		return DKIMKey{}, CodeDKIMMultipleKeys, fmt.Sprintf("there are %d keys, and verifiers may take any", len(keys))
	}
	if len(keys) == 0 {
		return DKIMKey{}, CodeValueMismatch, "there is no key"
	}
	if slices.ContainsFunc(values, func(v string) bool { return v != keys[0] }) {
		return DKIMKey{}, CodeDKIMMultipleKeys, "there are other texts beside the key, and verifiers may take any"
	}
	k, err := ParseDKIMKey(keys[0])
	switch {
	case err != nil:
		return k, CodeDKIMKeyMismatch, err.Error()
	case k.Revoked:
		return k, CodeDKIMKeyRevoked, "the key is revoked"
	}
	return k, CodeMatch, ""
}
