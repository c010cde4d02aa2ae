package store

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func ring(t testing.TB, lines ...string) *Keyring {
	t.Helper()
	k, err := LoadKeyring(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The vectors of C2SP's XAES-256-GCM.
func TestCipherIsXAES256GCM(t *testing.T) {
	for _, c := range []struct {
		key        byte
		additional string
		want       string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		x := newXAES(bytes.Repeat([]byte{c.key}, keySize))
		got := x.gcm(nonce[:12]).Seal(nil, nonce[12:], []byte("XAES-256-GCM"), []byte(c.additional))
		if hex.EncodeToString(got) != c.want {
			t.Errorf("key %d: got %x, want %s", c.key, got, c.want)
		}
	}
}

func TestSealedValueOpensOnlyInItsPlace(t *testing.T) {
	k := ring(t, GenerateKey())
	at := place{"bodies", "t/m", "body"}
	sealed := k.seal([]byte("hello"), at)
	if got, err := k.open(sealed, at); err != nil || string(got) != "hello" {
		t.Fatalf("in its place: %q, %v", got, err)
	}
	if bytes.Equal(sealed, k.seal([]byte("hello"), at)) {
		t.Error("sealed twice, it is the same: no fresh nonce")
	}
	for _, other := range []place{{"bodies", "t/n", "body"}, {"keys", "t/m", "body"}, {"bodies", "t/m", "x"}, {"bodies", "t", "m/body"}} {
		if _, err := k.open(sealed, other); err == nil || !strings.Contains(err.Error(), "moved") {
			t.Errorf("at %v: %v, want that it does not open", other, err)
		}
	}
	for i := range sealed {
		altered := bytes.Clone(sealed)
		altered[i] ^= 1
		if _, err := k.open(altered, at); err == nil {
			t.Errorf("opened with octet %d altered", i)
		}
		if _, err := k.open(sealed[:i], at); err == nil {
			t.Errorf("opened when cut to %d octets", i)
		}
	}
}

func TestOldKeyStillOpensAndMissingKeyIsNamed(t *testing.T) {
	old, fresh := "old:"+strings.SplitN(GenerateKey(), ":", 2)[1], GenerateKey()
	at := place{"secrets", "n", "value"}
	sealed := ring(t, old).seal([]byte("hello"), at)
	if got, err := ring(t, fresh, old).open(sealed, at); err != nil || string(got) != "hello" {
		t.Errorf("with the old key second: %q, %v", got, err)
	}
	if _, err := ring(t, fresh).open(sealed, at); err == nil || !strings.Contains(err.Error(), `"old"`) {
		t.Errorf("without its key: %v, want an error that names the key", err)
	}
	wrong := "old:" + strings.SplitN(fresh, ":", 2)[1]
	if _, err := ring(t, wrong).open(sealed, at); err == nil || !strings.Contains(err.Error(), "changed under its id") {
		t.Errorf("with another key under its id: %v", err)
	}
}

func TestKeyringErrorsNameTheLineAndNoKey(t *testing.T) {
	key := strings.SplitN(GenerateKey(), ":", 2)[1]
	for _, c := range []struct{ text, want string }{
		{"", "there is none"},
		{"# only a comment\n\n", "there is none"},
		{key, "line 1: no colon"},
		{"\n\nBig:" + key, "line 3: the id"},
		{":" + key, "line 1: the id"},
		{"a:" + key + "\na:" + key, "line 2: the id \"a\" is there twice"},
		{"a:%%%", "not base64"},
		{"a:" + key[:40], "30 octets"},
		{"a:" + base64.StdEncoding.EncodeToString(make([]byte, 32)), "one octet repeated"},
	} {
		_, err := LoadKeyring(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		} else if strings.Contains(err.Error(), key[:8]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	k := ring(t, "# comment", "", "first:"+key, " second:"+strings.SplitN(GenerateKey(), ":", 2)[1]+" ")
	if k.active != "first" || len(k.keys) != 2 {
		t.Errorf("loaded %v", k)
	}
}

func TestKeyringDoesNotPrintKeys(t *testing.T) {
	k := ring(t, "a:"+strings.SplitN(GenerateKey(), ":", 2)[1])
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keys", k)
	const want = "[1 sealing keys, a active]"
	for _, got := range []string{fmt.Sprintf("%v", k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprint(k)} {
		if got != want {
			t.Errorf("printed %s", got)
		}
	}
	if !strings.Contains(log.String(), want) {
		t.Errorf("logged %s", &log)
	}
}

func FuzzLoadKeyring(f *testing.F) {
	f.Add(GenerateKey() + "\n#\n" + GenerateKey())
	f.Add("a:\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := LoadKeyring(text)
		if (k == nil) == (err == nil) {
			t.Fatalf("keyring %v and error %v", k, err)
		}
		if k != nil {
			if got, err := k.open(k.seal([]byte("x"), place{}), place{}); err != nil || string(got) != "x" {
				t.Fatalf("what was loaded does not open what it sealed: %v", err)
			}
		}
	})
}

func FuzzNothingForgedOpens(f *testing.F) {
	k := ring(f, GenerateKey())
	at := place{"t", "r", "c"}
	f.Add(k.seal([]byte("hello"), place{"t", "r", "other"}))
	f.Add([]byte("v1.a.nonce.x"))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if got, err := k.open(sealed, at); err == nil {
			t.Fatalf("%q opened as %q", sealed, got)
		}
	})
}
