package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// Keyring holds the key-encryption keys of an instance: one active, which seals,
// and older ones, which still open what they sealed.
//
// A sealed value is the text "v1.", the key's id, a dot, a nonce of 24 octets, a
// dot, and the ciphertext with its tag of 16 octets. The cipher is XAES-256-GCM
// (C2SP): AES-256-GCM under a key derived from half the nonce, because random
// nonces of plain GCM would be used up by some 2^32 messages. Table, row and column
// are authenticated with it, so that a value copied into another place does not
// open there.
type Keyring struct {
	active string
	keys   map[string]*xaes
}

const (
	sealVersion = "v1"
	nonceSize   = 24
	keySize     = 32
)

var keyID = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// LoadKeyring reads lines of the form "id:key", the key being 32 octets in
// base64. The first is active. Empty lines and lines that begin with # are passed
// over. Errors never show a key.
func LoadKeyring(text string) (*Keyring, error) {
	k := &Keyring{keys: map[string]*xaes{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, encoded, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("sealing keys, line %d: no colon; write one key to a line, as id:base64", n)
		}
		if !keyID.MatchString(id) {
			return nil, fmt.Errorf("sealing keys, line %d: the id must be 1 to 32 characters of a-z, 0-9 and hyphen", n)
		}
		if k.keys[id] != nil {
			return nil, fmt.Errorf("sealing keys, line %d: the id %s is there twice; give every key its own", n, quote(id))
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil {
			return nil, fmt.Errorf("sealing keys, line %d: the key %s is not base64", n, quote(id))
		}
		if len(key) != keySize {
			return nil, fmt.Errorf("sealing keys, line %d: the key %s has %d octets; it must have %d", n, quote(id), len(key), keySize)
		}
		if bytes.Count(key, key[:1]) == len(key) {
			return nil, fmt.Errorf("sealing keys, line %d: the key %s is one octet repeated; make a random one", n, quote(id))
		}
		k.keys[id] = newXAES(key)
		if k.active == "" {
			k.active = id
		}
	}
	if k.active == "" {
		return nil, errors.New("sealing keys: there is none; make one, and keep a copy where the database's backups are not")
	}
	return k, nil
}

// GenerateKey returns a fresh line for [LoadKeyring], with a random id.
func GenerateKey() string {
	b := make([]byte, 4+keySize)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "k" + hex.EncodeToString(b[:4]) + ":" + base64.StdEncoding.EncodeToString(b[4:])
}

// String names the active key and shows none.
func (k *Keyring) String() string {
	return fmt.Sprintf("[%d sealing keys, %s active]", len(k.keys), k.active)
}

// GoString is String: %#v must not show keys either.
func (k *Keyring) GoString() string { return k.String() }

// LogValue is String.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// place is where a sealed value belongs.
type place struct{ table, row, column string }

func (p place) additional() []byte {
	return fmt.Appendf(nil, "postseal %d:%s %d:%s %d:%s", len(p.table), p.table, len(p.row), p.row, len(p.column), p.column)
}

func (k *Keyring) seal(plain []byte, at place) []byte {
	sealed := make([]byte, 0, len(sealVersion)+len(k.active)+nonceSize+len(plain)+16+3)
	sealed = append(sealed, sealVersion+"."+k.active+"."...)
	nonce := sealed[len(sealed) : len(sealed)+nonceSize]
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	sealed = append(sealed[:len(sealed)+nonceSize], '.')
	return k.keys[k.active].gcm(nonce[:12]).Seal(sealed, nonce[12:], plain, at.additional())
}

// open is the inverse of seal. Its errors are for the operator.
func (k *Keyring) open(sealed []byte, at place) ([]byte, error) {
	version, rest, ok := bytes.Cut(sealed, []byte("."))
	if !ok || string(version) != sealVersion {
		return nil, fmt.Errorf("store: %s.%s of %s is not a sealed value of version %s", at.table, at.column, quote(at.row), sealVersion)
	}
	id, rest, ok := bytes.Cut(rest, []byte("."))
	if !ok || len(rest) < nonceSize+1 || rest[nonceSize] != '.' {
		return nil, fmt.Errorf("store: %s.%s of %s is cut short or damaged", at.table, at.column, quote(at.row))
	}
	x := k.keys[string(id)]
	if x == nil {
		return nil, fmt.Errorf("store: %s.%s of %s is sealed with the key %s, which is not among the sealing keys; add its line again", at.table, at.column, quote(at.row), quote(string(id)))
	}
	plain, err := x.gcm(rest[:12]).Open(nil, rest[12:nonceSize], rest[nonceSize+1:], at.additional())
	if err != nil {
		return nil, fmt.Errorf("store: %s.%s of %s does not open with the key %s: the key has changed under its id, or the value was altered or moved", at.table, at.column, quote(at.row), quote(string(id)))
	}
	return plain, nil
}

// xaes is a key of XAES-256-GCM (C2SP, XAES-256-GCM).
type xaes struct {
	block  cipher.Block
	subkey [aes.BlockSize]byte // K1 of CMAC (RFC 4493, section 2.3)
}

func newXAES(key []byte) *xaes {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length was checked
	}
	x := &xaes{block: block}
	block.Encrypt(x.subkey[:], x.subkey[:])
	var carry byte
	for i := len(x.subkey) - 1; i >= 0; i-- {
		x.subkey[i], carry = x.subkey[i]<<1|carry, x.subkey[i]>>7
	}
	x.subkey[len(x.subkey)-1] ^= byte(subtle.ConstantTimeSelect(int(carry), 0x87, 0))
	return x
}

// gcm derives the key for a nonce from its first 12 octets; the last 12 are GCM's.
func (x *xaes) gcm(half []byte) cipher.AEAD {
	var key [2 * aes.BlockSize]byte
	for i := range 2 {
		b := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		copy(b, []byte{0, byte(i + 1), 'X', 0})
		copy(b[4:], half)
		subtle.XORBytes(b, b, x.subkey[:])
		x.block.Encrypt(b, b)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // 32 octets are right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the right block size
	}
	return aead
}
