package dnscheck

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// publicRSA makes a number of the right size: nothing here needs the private key.
func publicRSA(bits int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

func spki(t testing.TB, key any) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

var edKey = sync.OnceValue(func() ed25519.PublicKey {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return public
})

func TestDKIMKeysAreReadAsVerifiersReadThem(t *testing.T) {
	good, weak, small := spki(t, publicRSA(2048)), spki(t, publicRSA(1024)), spki(t, publicRSA(768))
	bare := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(publicRSA(2048)))
	ed := base64.StdEncoding.EncodeToString(edKey())
	for _, tt := range []struct {
		title, record string
		bits          int
		err, note     string
	}{
		{"as we publish it", "v=DKIM1; k=rsa; p=" + good, 2048, "", ""},
		{"nothing but the key", "p=" + good, 2048, "", ""},
		{"folded", "v=DKIM1;\tk=rsa; p=" + good[:40] + " \r\n " + good[40:], 2048, "", ""},
		{"without padding", "v=DKIM1; p=" + strings.TrimRight(good, "="), 2048, "", ""},
		{"without the algorithm around it", "v=DKIM1; p=" + bare, 2048, "", ""},
		{"unknown tags", "v=DKIM1; x=y; n=hello; p=" + good, 2048, "", ""},
		{"Ed25519", "v=DKIM1; k=ed25519; p=" + ed, 256, "", ""},
		{"weak", "v=DKIM1; p=" + weak, 1024, "", "weak: sign with one of 2048"},
		{"testing", "v=DKIM1; t=y:s; p=" + good, 2048, "", "only tests"},
		{"sha256 and others", "v=DKIM1; h=sha1:sha256; p=" + good, 2048, "", ""},
		{"too weak", "v=DKIM1; p=" + small, 0, "refuse less than 1024", ""},
		{"sha1 only", "v=DKIM1; h=sha1; p=" + good, 0, "leaves out sha256", ""},
		{"not for mail", "v=DKIM1; s=tlsrpt; p=" + good, 0, "not for mail", ""},
		{"no key", "v=DKIM1; k=rsa", 0, "no p=", ""},
		{"cut off", "v=DKIM1; p=" + good[:200], 0, "cut off", ""},
		{"no base64", "v=DKIM1; p=*", 0, "no base64", ""},
		{"Ed25519 in a wrapping", "v=DKIM1; k=ed25519; p=" + spki(t, edKey()), 0, "44 octets", ""},
		{"Ed25519 for RSA", "v=DKIM1; p=" + spki(t, edKey()), 0, "not RSA", ""},
		{"unknown type", "v=DKIM1; k=ecdsa; p=" + good, 0, "do not know", ""},
		{"version of another thing", "v=DMARC1; p=none", 0, "not DKIM1", ""},
		{"version not first", "k=rsa; v=DKIM1; p=" + good, 0, "not at the beginning", ""},
		{"two p", "v=DKIM1; p=" + good + "; p=" + weak, 0, "two tags p", ""},
	} {
		k, err := ParseDKIMKey(tt.record)
		switch {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: %v, want %q", tt.title, err, tt.err)
		case tt.err == "" && (err != nil || k.Bits != tt.bits):
			t.Errorf("%s: %v, %d bits", tt.title, err, k.Bits)
		}
		if notes := strings.Join(k.Notes, "; "); err == nil && ((notes == "") != (tt.note == "") || !strings.Contains(notes, tt.note)) {
			t.Errorf("%s: %q, want %q", tt.title, notes, tt.note)
		}
	}
}

func TestDKIMKeysAreComparedAsKeys(t *testing.T) {
	key, other := publicRSA(2048), publicRSA(1024)
	read := func(s string) DKIMKey {
		k, err := ParseDKIMKey(s)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a := read("v=DKIM1; k=rsa; p=" + spki(t, key))
	b := read("t=s; p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(key)))
	c := read("p=" + spki(t, other))
	ed := read("k=ed25519; p=" + base64.StdEncoding.EncodeToString(edKey()))
	revoked := read("v=DKIM1; p=")
	if !a.Same(b) || a.Same(c) || a.Same(ed) || ed.Same(a) || a.Same(revoked) || revoked.Same(a) || !ed.Same(ed) || !revoked.Same(revoked) {
		t.Error("keys are the same when their numbers are, and only then")
	}
}

func TestAPublishedKeyMustServeVerifiers(t *testing.T) {
	key := spki(t, publicRSA(2048))
	rec := Record{Purpose: DKIM, Name: mustName(t, "s1._domainkey.example.org"), Type: TXT, Value: "v=DKIM1; k=rsa; p=" + key}
	for _, tt := range []struct {
		published string
		code      Code
	}{
		{"v=DKIM1; k=rsa; p=" + key, CodeMatch},
		{"p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(publicRSA(2048))), CodeMatch},
		{"v=DKIM1; h=sha1; p=" + key, CodeDKIMKeyMismatch},
		{"v=DKIM1; k=ed25519; p=" + key, CodeDKIMKeyMismatch},
		{"v=DKIM1; s=tlsrpt; p=" + key, CodeDKIMKeyMismatch},
		{"v=DKIM1; p=" + spki(t, publicRSA(1024)), CodeDKIMKeyMismatch},
		{"v=DKIM1; p=" + key[:100], CodeValueTruncated},
		{"v=DKIM1; p=", CodeDKIMKeyRevoked},
	} {
		if f := checkOne(t, "example.org", "s1._domainkey.example.org. TXT "+zoneStrings(tt.published), rec); f.Code != tt.code {
			t.Errorf("%s: %s, want %s", tt.published, f.Code, tt.code)
		}
	}
	for value, advice := range map[string]string{
		"v=DKIM1; t=y; p=" + key:                        "only tests DKIM",
		"v=DKIM1; p=" + spki(t, publicRSA(1024)):        "which is weak: sign with one of 2048",
		"v=DKIM1; p=" + spki(t, publicRSA(2048)) + "; ": "",
	} {
		rec.Value = value
		f := checkOne(t, "example.org", "s1._domainkey.example.org. TXT "+zoneStrings(value), rec)
		if f.Outcome != Match || !strings.Contains(f.Fix, advice) || (f.Fix == "") != (advice == "") {
			t.Errorf("%s: %s %s", value, f.Code, f.Fix)
		}
	}
	// Without its padding a key is one for some verifiers only.
	ed := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edKey())
	for _, tt := range []struct {
		want, published string
		code            Code
	}{
		{ed, ed, CodeMatch},
		{ed, strings.TrimSuffix(ed, "="), CodeValueTruncated},
		{strings.TrimSuffix(ed, "="), ed, CodeMatch},
		{strings.TrimSuffix(ed, "="), strings.TrimSuffix(ed, "="), CodeMatch},
	} {
		rec.Value = tt.want
		if f := checkOne(t, "example.org", "s1._domainkey.example.org. TXT "+zoneStrings(tt.published), rec); f.Code != tt.code {
			t.Errorf("%s for %s: %s, want %s", tt.published, tt.want, f.Code, tt.code)
		}
	}
	rec.Value = "v=DKIM1; p=" + spki(t, publicRSA(768))
	if f := checkOne(t, "example.org", "s1._domainkey.example.org. TXT "+zoneStrings(rec.Value), rec); f.Code != CodeDKIMKeyMismatch || !strings.Contains(f.Fix, "it has 768 bits") {
		t.Errorf("a key that verifiers refuse: %s %s", f.Code, f.Fix)
	}
}

func TestSelectorsAreJudgedWithoutKnowingTheKey(t *testing.T) {
	good := "v=DKIM1; p=" + spki(t, publicRSA(2048))
	for _, tt := range []struct {
		values []string
		code   Code
	}{
		{[]string{good}, CodeMatch},
		{[]string{good, "hello"}, CodeDKIMMultipleKeys},
		{[]string{good, good}, CodeDKIMMultipleKeys},
		{[]string{"v=DKIM1; p="}, CodeDKIMKeyRevoked},
		{[]string{good[:60]}, CodeDKIMKeyMismatch},
		{[]string{"hello"}, CodeValueMismatch},
		{nil, CodeValueMismatch},
	} {
		if _, code, problem := dkimCode(tt.values); code != tt.code || (code == CodeMatch) != (problem == "") {
			t.Errorf("%q: %s (%s), want %s", tt.values, code, problem, tt.code)
		}
	}
}

func FuzzParseDKIMKey(f *testing.F) {
	f.Add("v=DKIM1; k=rsa; p=" + spki(f, publicRSA(1024)))
	f.Add("k=ed25519; p=" + base64.StdEncoding.EncodeToString(edKey()))
	f.Add("v=DKIM1; t=y; p=")
	f.Fuzz(func(t *testing.T, record string) {
		k, err := ParseDKIMKey(record)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 1000 {
				t.Fatalf("%q: %q", record, err)
			}
			return
		}
		if k.Revoked == (k.public != nil) || !k.Same(k) || k.Type == "rsa" && !k.Revoked && k.Bits < minRSABits {
			t.Fatalf("%q: %+v", record, k)
		}
		if len(dkimKeys([]string{record})) != 1 {
			t.Fatalf("%q is read, but would not be found", record)
		}
	})
}
