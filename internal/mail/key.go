package mail

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
)

// RSA keys of less than 2048 bits are weak; above 4096 their TXT record outgrows
// what some receivers read (RFC 8301, section 3.2).
const minRSABits, maxRSABits = 2048, 4096

// GenerateKey makes an RSA key for DKIM of 2048 to 4096 bits. It takes about
// 80 ms of processor time at 2048 bits, so it is not for the middle of a request.
func GenerateKey(bits int) (*rsa.PrivateKey, error) {
	if bits < minRSABits || bits > maxRSABits {
		return nil, problem("key", "%d bits; use %d to %d", bits, minRSABits, maxRSABits)
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

// GenerateEd25519Key makes an Ed25519 key for DKIM (RFC 8463). Not every
// receiver verifies these: sign with an RSA key as well.
func GenerateEd25519Key() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// MarshalKey is the private key in PKCS #8, DER. The caller seals it.
func MarshalKey(key crypto.Signer) ([]byte, error) {
	if err := checkPublic(key.Public()); err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// ParseKey reads what MarshalKey wrote. Errors never quote the key.
func ParseKey(der []byte) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, problem("key", "is not a private key in PKCS #8 DER")
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, problem("key", "is a %T; DKIM uses RSA or Ed25519", parsed)
	}
	return key, checkPublic(key.Public())
}

// PublicKeyTXT is the TXT record of a public key, in one string without quotes
// (RFC 6376, section 3.6.1; RFC 8463 for Ed25519). A 2048-bit key needs about 400
// characters, so the record is published as two strings.
func PublicKeyTXT(pub crypto.PublicKey) (string, error) {
	if err := checkPublic(pub); err != nil {
		return "", err
	}
	if k, ok := pub.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k), nil
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

func checkPublic(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return problem("key", "has %d bits; use %d to %d", n, minRSABits, maxRSABits)
		}
		return nil
	default:
		return problem("key", "is a %T; DKIM uses RSA or Ed25519", pub)
	}
}
