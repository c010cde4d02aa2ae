package mail

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func newVerp(t testing.TB, key string) *Verp {
	t.Helper()
	v, err := NewVerp([]byte(key), "bounce.example.org")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerpAddressComesBackInAnyCase(t *testing.T) {
	v := newVerp(t, "0123456789abcdef")
	rapid.Check(t, func(t *rapid.T) {
		id := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		a := v.Address(id)
		if p := addressProblem(a); p != "" {
			t.Fatal(p)
		}
		if local, _, _ := strings.Cut(a, "@"); len(local) > 64 {
			t.Fatalf("local part of %s has %d characters", a, len(local))
		}
		for _, form := range []string{a, strings.ToUpper(a)} {
			if got, ok := v.Parse(form); !ok || got != id {
				t.Fatalf("Parse(%s) = %x, %v, want %x", form, got, ok, id)
			}
		}
	})
}

func TestForgedVerpIsRefused(t *testing.T) {
	v := newVerp(t, "0123456789abcdef")
	a := v.Address([16]byte{1, 2, 3})
	at := strings.IndexByte(a, '@')
	// Every single character matters.
	for i := range a {
		other := byte('a')
		if a[i] == 'a' {
			other = 'b'
		}
		if _, ok := v.Parse(a[:i] + string(other) + a[i+1:]); ok {
			t.Errorf("accepted with character %d changed", i)
		}
	}
	foreign, err := NewVerp([]byte("0123456789abcdef"), "bounce.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string]string{
		"other key":     newVerp(t, "0123456789abcdeg").Address([16]byte{1, 2, 3}),
		"other domain":  foreign.Address([16]byte{1, 2, 3}),
		"tag moved":     strings.Replace(foreign.Address([16]byte{1, 2, 3}), "example.com", "example.org", 1),
		"cut":           a[:at-1] + a[at:],
		"line break":    a[:at] + "\n" + a[at:],
		"line break 2":  a[:5] + "\r\n" + a[5:],
		"empty":         "",
		"only a prefix": "b-@bounce.example.org",
		"sub-address":   a[:at] + "+x" + a[at:],
		"trailing dot":  a + ".",
		"long":          strings.Repeat("a", 5000) + a,
		"in brackets":   "<" + a + ">",
		"Kelvin sign":   strings.Replace(a, "o", "\u212a", 1),
	} {
		if id, ok := v.Parse(forged); ok || id != [16]byte{} {
			t.Errorf("%s: Parse(%q) = %x, %v", name, forged, id, ok)
		}
	}
	if _, err := NewVerp([]byte("short"), "bounce.example.org"); err == nil {
		t.Error("a short key was taken")
	}
}

// FuzzVerpParse: what parses is an address that we made, but for its case.
func FuzzVerpParse(f *testing.F) {
	v := newVerp(f, "0123456789abcdef")
	f.Add(v.Address([16]byte{}))
	f.Add(strings.ToUpper(v.Address([16]byte(bytes.Repeat([]byte{255}, 16)))))
	f.Add("b-aaaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaa@bounce.example.org")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := v.Parse(s); ok && !strings.EqualFold(v.Address(id), s) {
			t.Fatalf("Parse(%q) gave %x, whose address is %s", s, id, v.Address(id))
		}
	})
}
