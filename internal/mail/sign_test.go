package mail

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// rsaKey is one key for all tests: making one costs more than the tests.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := GenerateKey(2048)
	if err != nil {
		panic(err)
	}
	return key
})

// signatures are one RSA and one Ed25519 signature, with the TXT records that a
// verifier finds.
func signatures(t testing.TB) ([]Signature, map[string]string) {
	t.Helper()
	ed, err := GenerateEd25519Key()
	if err != nil {
		t.Fatal(err)
	}
	s := []Signature{{"example.org", "r1", rsaKey()}, {"example.org", "e1", ed}}
	records := map[string]string{}
	for _, sig := range s {
		txt, err := PublicKeyTXT(sig.Key.Public())
		if err != nil {
			t.Fatal(err)
		}
		records[sig.Selector+"._domainkey."+sig.Domain] = txt
	}
	return s, records
}

func mustSign(t testing.TB, m []byte, s ...Signature) []byte {
	t.Helper()
	signed, err := Sign(m, s...)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	return signed
}

// valid counts the signatures that an independent verifier accepts.
func valid(t testing.TB, m []byte, records map[string]string) (good, all int) {
	t.Helper()
	found, err := dkim.VerifyWithOptions(bytes.NewReader(m), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return []string{records[name]}, nil },
	})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, v := range found {
		if v.Err == nil {
			good++
		}
	}
	return good, len(found)
}

func TestSignedMessageVerifies(t *testing.T) {
	s, records := signatures(t)
	plain := sample()
	both := sample()
	both.HTML = "<p>grün</p>"
	both.ReplyTo = &Mailbox{"Zoë", "zoe@example.org"}
	both.Headers = []Header{{"List-Unsubscribe", "<https://example.org/u/1>"}, {"List-Unsubscribe-Post", "List-Unsubscribe=One-Click"}}
	for name, m := range map[string][]byte{
		"plain":      mustCompose(t, plain),
		"both":       mustCompose(t, both),
		"empty body": []byte("From: a@example.org\r\nTo: b@example.net\r\n\r\n"),
		"no end":     []byte("From: a@example.org\r\n\r\nno line end"),
	} {
		signed := mustSign(t, m, s...)
		if good, all := valid(t, signed, records); good != 2 || all != 2 {
			t.Errorf("%s: %d of %d signatures are valid, want 2 of 2", name, good, all)
		}
		if !bytes.HasSuffix(signed, m) {
			t.Errorf("%s: the message itself was changed", name)
		}
		if err := CheckLines(signed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		head := string(signed[:len(signed)-len(m)])
		if strings.Contains(head, " l=") || strings.Count(head, "c=relaxed/relaxed") != 2 {
			t.Errorf("%s: signature with l= or another canonicalization:\n%s", name, head)
		}
		if strings.Index(head, "s=r1") > strings.Index(head, "s=e1") {
			t.Errorf("%s: the first signature is not on top", name)
		}
	}
}

func TestTamperingBreaksTheSignature(t *testing.T) {
	s, records := signatures(t)
	m := string(mustSign(t, mustCompose(t, sample()), s...))
	if good, _ := valid(t, []byte(m), records); good != 2 {
		t.Fatalf("%d signatures are valid before tampering", good)
	}
	// Every field that is over-signed, above and below the real ones.
	for _, name := range overSigned {
		field := name + ": forged@example.com\r\n"
		for where, forged := range map[string]string{
			"on top": field + m,
			"below":  strings.Replace(m, "\r\n\r\n", "\r\n"+field+"\r\n", 1),
		} {
			if good, _ := valid(t, []byte(forged), records); good != 0 {
				t.Errorf("%d signatures are valid with another %s %s", good, name, where)
			}
		}
	}
	for name, forged := range map[string]string{
		"subject": strings.Replace(m, "Subject: Your code", "Subject: Your cash", 1),
		"body":    strings.Replace(m, "493817", "493818", 1),
		"append":  m + "more\r\n",
	} {
		if forged == m {
			t.Fatalf("%s: nothing was forged", name)
		}
		if good, _ := valid(t, []byte(forged), records); good != 0 {
			t.Errorf("%d signatures are valid after a change of the %s", good, name)
		}
	}
	// What relays add rightly does no harm.
	if good, _ := valid(t, []byte("Received: from a by b; Sun, 01 Mar 2026 09:30:00 +0000\r\n"+m), records); good != 2 {
		t.Errorf("a Received field broke the signature: %d valid", good)
	}
}

func TestSignRefuses(t *testing.T) {
	s, _ := signatures(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := string(mustCompose(t, sample()))
	for name, c := range map[string]struct {
		message string
		s       []Signature
	}{
		"two From":       {"From: x@example.com\r\n" + good, s},
		"two From, odd":  {"from : x@example.com\r\n" + good, s},
		"no From":        {"To: x@example.com\r\n\r\n", s},
		"bare LF":        {strings.Replace(good, "\r\n", "\n", 1), s},
		"no body":        {"From: x@example.com\r\n", s},
		"no signature":   {good, nil},
		"no key":         {good, []Signature{{"example.org", "r1", nil}}},
		"no domain":      {good, []Signature{{"", "r1", rsaKey()}}},
		"tag in domain":  {good, []Signature{{"example.org; l=1", "r1", rsaKey()}}},
		"break selector": {good, []Signature{{"example.org", "r1\r\nBcc: x", rsaKey()}}},
		"elliptic key":   {good, []Signature{{"example.org", "r1", ec}}},
	} {
		if out, err := Sign([]byte(c.message), c.s...); err == nil || out != nil {
			t.Errorf("%s: signed, error %v", name, err)
		}
	}
}

func TestKeysSurviveStorage(t *testing.T) {
	s, _ := signatures(t)
	for _, sig := range s {
		der, err := MarshalKey(sig.Key)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParseKey(der)
		if err != nil {
			t.Fatal(err)
		}
		if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(sig.Key.Public()) {
			t.Errorf("%T came back as another key", sig.Key)
		}
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MarshalKey(weak); err == nil {
		t.Error("a key of 1024 bits was taken")
	}
	for _, bits := range []int{0, 1024, 16384} {
		if _, err := GenerateKey(bits); err == nil {
			t.Errorf("a key of %d bits was made", bits)
		}
	}
	if _, err := ParseKey([]byte("secret bytes")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("ParseKey of rubbish: %v", err)
	}
}
