package pingid

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// The contract's own vectors, computed by other programs than this one.
const (
	vectorKey     = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v"
	vectorAccount = "11111111-2222-4333-8444-555555555555"
	vectorToken   = "0123456789abcdef0123456789abcdef"
	vectorHost    = "sdk.example.org"
	vectorPath    = "/pingid/v1/accounts/" + vectorAccount + "/emaildomains"
)

var vectors = []struct {
	name, method, path, query, body, data, signature string
}{
	{"GET", "GET", vectorPath, "", "", "6d43cefa380012f85dbea0dc6537bac67d8df1cd728f2d2016826b360df08eac", "Ni7u3o3PEbfT20DZO3mmLQM8nFLXPg3cnXSYqW688bo"},
	{"POST", "POST", vectorPath, "", `{"domainName":"mail.example.org"}`, "7039d84e3d9f443ebed016a73c7e70905cac9c4ebc75edea785822d1b5877c97", "mrogvUSpRMDqw4LADRFm7IQjP6YLFhtg_z5tTljac58"},
	{"raw query", "GET", vectorPath + "/66666666-7777-4888-8999-000000000000", "expand=account%2C%20spf", "", "8af9f85b74a7d6101a4c7d2dc95f1b1d3da6aebcb5d12b22e4e5bcc856807fb8", ""},
	{"decoded query", "GET", vectorPath + "/66666666-7777-4888-8999-000000000000", "expand=account, spf", "", "05bb4c2c7c162a196cda5b29692c6abba75f58e0c3136102216152db6b9c440f", ""},
}

func vectorKeyBytes(t testing.TB) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(vectorKey)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// seal64 signs like a client that knows nothing of this package.
func seal64(key []byte, header, payload string) string {
	b64 := base64.RawURLEncoding
	signed := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	h := hmac.New(sha256.New, key)
	h.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(h.Sum(nil))
}

func vectorHeader(more string) string {
	return fmt.Sprintf(`{"alg":"HS256","typ":"JWT","account_id":%q,"token":%q,"jwt_version":"v4"%s}`, vectorAccount, vectorToken, more)
}

func TestDigestsOfTheContract(t *testing.T) {
	for _, v := range vectors {
		if got := digest(v.method, vectorHost, v.path, v.query, sha256.Sum256([]byte(v.body))); got != v.data {
			t.Errorf("%s: digest %s, want %s", v.name, got, v.data)
		}
		jws := seal64(vectorKeyBytes(t), vectorHeader(""), fmt.Sprintf(`{"data":%q}`, v.data))
		if v.signature != "" && !strings.HasSuffix(jws, "."+v.signature) {
			t.Errorf("%s: the test's own client signs %s, want %s", v.name, jws, v.signature)
		}
		p, err := parseProof(scheme + jws)
		if err != nil || !p.signedBy(vectorKeyBytes(t)) || p.account != vectorAccount || p.token != vectorToken {
			t.Errorf("%s: the signature of the contract is refused: %v %+v", v.name, err, p)
		}
	}
}

func TestAnswerSignatureOfTheContract(t *testing.T) {
	jws, err := signature(vectorKeyBytes(t), vectorAccount, vectorToken, []byte(`{"id":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := seal64(vectorKeyBytes(t), vectorHeader(""), `{"data":"5e2b92cc57ce618dfbb54844a31775e4b95c6fb552ee6bf5a068133c12d2ad90"}`)
	if jws != want || !strings.HasSuffix(jws, ".DePDGfq054BQx52Gluf1IjnpRYptL6-D675HuCARQH0") {
		t.Errorf("signature %s, want %s", jws, want)
	}
}

func TestRawAndDecodedFormsAreBothCovered(t *testing.T) {
	for _, c := range []struct {
		url, host, path, query string // as the client hashes it
		want                   bool
	}{
		{"/a/b?expand=account%2C%20spf", "api.example.org", "/a/b", "expand=account%2C%20spf", true},
		{"/a/b?expand=account%2C%20spf", "api.example.org", "/a/b", "expand=account, spf", true},
		{"/a/b?expand=account,+spf", "api.example.org", "/a/b", "expand=account, spf", true},
		{"/a/b?expand=account,+spf", "api.example.org", "/a/b", "expand=account,+spf", true},
		{"/a/b%20c", "api.example.org", "/a/b%20c", "", true},
		{"/a/b%20c", "api.example.org", "/a/b c", "", true},
		{"/a/b%20c?x=%40", "api.example.org", "/a/b c", "x=%40", true},
		{"/a/b", "api.example.org:8443", "/a/b", "", true},
		{"/a/b", "API.example.org", "/a/b", "", true},
		{"/a/b", "public.example.org", "/a/b", "", true},
		{"/a/b", "other.example.org", "/a/b", "", false},
		{"/a/b", "", "/a/b", "", false},
		{"/a/b?x=1", "api.example.org", "/a/b", "", false},
		{"/a/b", "api.example.org", "/a/b", "x=1", false},
		{"/a/b?x=1&y=2", "api.example.org", "/a/b", "y=2&x=1", false}, // nothing is sorted
		{"/a/b?x=%zz", "api.example.org", "/a/b", "x=%zz", true},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte("{}")
		p := proof{data: digest("POST", c.host, c.path, c.query, sha256.Sum256(body))}
		// Go's clients fold the case of the Host header's name nowhere; this one came in capitals.
		f := newForms("POST", "API.example.org:8443", []string{"public.example.org"}, u, body)
		if got := p.covers(f); got != c.want {
			t.Errorf("%s hashed as %q %q %q: covered %t, want %t", c.url, c.host, c.path, c.query, got, c.want)
		}
		for what, other := range map[string]forms{
			"method": newForms("PUT", "API.example.org:8443", nil, u, body),
			"body":   newForms("POST", "API.example.org:8443", nil, u, []byte("{ }")),
		} {
			if p.covers(other) {
				t.Errorf("%s: also covers another %s", c.url, what)
			}
		}
	}
}

func TestHostsKeepTheBracketsOfIPv6(t *testing.T) {
	for host, want := range map[string]string{"a:1": "a", "a": "a", "[::1]:80": "[::1]", "[::1]": "[::1]"} {
		if got := withoutPort(host); got != want {
			t.Errorf("withoutPort(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestOnlyTheExactFormOfAProofIsRead(t *testing.T) {
	key := vectorKeyBytes(t)
	payload := fmt.Sprintf(`{"data":%q}`, vectors[0].data)
	good := seal64(key, vectorHeader(""), payload)
	for name, authorization := range map[string]string{
		"as it should be":     scheme + good,
		"with expires and id": scheme + seal64(key, vectorHeader(`,"expires":"2026-01-02T15:04:05Z","X-Request-ID":"1"`), payload),
		"fractions":           scheme + seal64(key, vectorHeader(`,"expires":"2026-01-02T15:04:05.123Z"`), payload),
		"more members":        scheme + seal64(key, vectorHeader(`,"kid":"x"`), `{"iat":1,"data":"`+vectors[0].data+`"}`),
		"without typ":         scheme + seal64(key, strings.Replace(vectorHeader(""), `"typ":"JWT",`, "", 1), payload),
		"typ in lower case":   scheme + seal64(key, strings.Replace(vectorHeader(""), `"JWT"`, `"jwt"`, 1), payload),
	} {
		if p, err := parseProof(authorization); err != nil || !p.signedBy(key) {
			t.Errorf("%s: refused: %v", name, err)
		}
	}
	parts := strings.Split(good, ".")
	swap := func(old, new string) string {
		return scheme + seal64(key, strings.Replace(vectorHeader(""), old, new, 1), payload)
	}
	for name, authorization := range map[string]string{
		"nothing":              "",
		"bearer":               "Bearer " + good,
		"a blank after =":      scheme + " " + good,
		"another case":         strings.ToLower(scheme) + good,
		"two parts":            scheme + parts[0] + "." + parts[1],
		"four parts":           scheme + good + "." + parts[2],
		"an empty signature":   scheme + parts[0] + "." + parts[1] + ".",
		"a short signature":    scheme + parts[0] + "." + parts[1] + "." + parts[2][:40],
		"padding":              scheme + parts[0] + "." + parts[1] + "." + parts[2] + "=",
		"stray bits":           scheme + parts[0] + "." + parts[1] + "." + parts[2][:42] + "p",
		"a line end":           scheme + parts[0] + "." + parts[1] + "." + parts[2][:20] + "\n" + parts[2][20:],
		"not base64url":        scheme + "!." + parts[1] + "." + parts[2],
		"alg none":             swap("HS256", "none"),
		"alg none, no MAC":     scheme + strings.Join(strings.Split(strings.TrimPrefix(swap("HS256", "none"), scheme), ".")[:2], ".") + ".",
		"alg HS512":            swap("HS256", "HS512"),
		"alg in lower case":    swap("HS256", "hs256"),
		"alg twice":            swap(`"alg":"HS256"`, `"alg":"HS256","alg":"none"`),
		"no alg":               swap(`"alg":"HS256",`, ""),
		"another typ":          swap("JWT", "JWE"),
		"another version":      swap(`"v4"`, `"v3"`),
		"no version":           swap(`,"jwt_version":"v4"`, ""),
		"no token":             swap(vectorToken, ""),
		"no account":           swap(vectorAccount, ""),
		"a long token":         swap(vectorToken, strings.Repeat("x", maxMember+1)),
		"crit":                 swap(`"typ"`, `"crit":["b64"],"b64":false,"typ"`),
		"crit null":            swap(`"typ"`, `"crit":null,"typ"`),
		"a number for a token": swap(`"`+vectorToken+`"`, "1"),
		"a header of an array": scheme + seal64(key, "[]", payload),
		"expires elsewhere":    scheme + seal64(key, vectorHeader(`,"expires":"2026-01-02T15:04:05+01:00"`), payload),
		"expires empty":        scheme + seal64(key, vectorHeader(`,"expires":""`), payload),
		"expires a number":     scheme + seal64(key, vectorHeader(`,"expires":1767366245`), payload),
		"a long id":            scheme + seal64(key, vectorHeader(`,"X-Request-ID":"`+strings.Repeat("x", maxMember+1)+`"`), payload),
		"no data":              scheme + seal64(key, vectorHeader(""), `{}`),
		"short data":           scheme + seal64(key, vectorHeader(""), `{"data":"00"}`),
		"data twice":           scheme + seal64(key, vectorHeader(""), `{"data":"`+vectors[0].data+`","data":"`+vectors[0].data+`"}`),
		"too long":             scheme + seal64(key, vectorHeader(`,"x":"`+strings.Repeat("x", maxAuthorization)+`"`), payload),
	} {
		if _, err := parseProof(authorization); err == nil {
			t.Errorf("%s: accepted: %s", name, authorization)
		}
	}
}

func TestSignatureIsTheKeysAlone(t *testing.T) {
	key := vectorKeyBytes(t)
	p, err := parseProof(scheme + seal64(key, vectorHeader(""), fmt.Sprintf(`{"data":%q}`, vectors[0].data)))
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{}, key...)
	other[47] ^= 1
	for name, k := range map[string][]byte{"another": other, "shorter": key[:32], "none": nil} {
		if p.signedBy(k) {
			t.Errorf("a signature of one key is accepted for %s", name)
		}
	}
	// Not even a right signature counts with a key that anybody could try out.
	for _, weak := range [][]byte{nil, key[:minKey-1]} {
		if p, _ := parseProof(scheme + seal64(weak, vectorHeader(""), fmt.Sprintf(`{"data":%q}`, vectors[0].data))); p.signedBy(weak) {
			t.Errorf("a key of %d octets is accepted", len(weak))
		}
	}
}

func TestExpiryHasAMinuteOfGrace(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		now  time.Time
		want bool
	}{{at.Add(-time.Hour), false}, {at, false}, {at.Add(time.Minute), false}, {at.Add(time.Minute + time.Second), true}} {
		if got := (proof{expires: at}).expired(c.now); got != c.want {
			t.Errorf("at %s: expired %t, want %t", c.now, got, c.want)
		}
	}
	if (proof{}).expired(at) {
		t.Error("a request without a time is expired")
	}
}

func TestMemoryKnowsARequestUntilItExpires(t *testing.T) {
	m := &memory{}
	begin := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	ask := func(id string, now, expires time.Duration) sender.Kind {
		p := proof{token: "t", requestID: id, expires: at(expires)}
		if p.expired(at(now)) {
			return sender.Unauthenticated
		}
		return sender.KindOf(m.admit(p, at(now)))
	}
	const no = sender.Unauthenticated
	for i, c := range []struct {
		id           string
		now, expires time.Duration
		want         sender.Kind
	}{
		{"a", 0, 10 * time.Minute, ""},
		{"a", time.Second, 10 * time.Minute, no},
		{"b", time.Second, 10 * time.Minute, ""},
		{"", 0, time.Minute, no},
		{"far", 0, time.Hour, no},
		{"late", 11*time.Minute + 59*time.Second, 22 * time.Minute, ""},
		{"next", 12*time.Minute + time.Second, 20 * time.Minute, ""}, // begins the next generation
		{"late", 22*time.Minute + 59*time.Second, 22 * time.Minute, no},
		{"next", 21 * time.Minute, 20 * time.Minute, no},
		{"a", 25 * time.Minute, 30 * time.Minute, ""}, // long expired: the same id may come anew
	} {
		if got := ask(c.id, c.now, c.expires); got != c.want {
			t.Errorf("%d: %s after %s: %q, want %q", i, c.id, c.now, got, c.want)
		}
	}
	if sender.KindOf(m.admit(proof{token: "u", requestID: "b", expires: at(25 * time.Minute)}, at(25*time.Minute))) != "" {
		t.Error("another token's request with the same id is refused")
	}
	if sender.KindOf(m.admit(proof{token: "t", requestID: "x"}, begin)) != no {
		t.Error("a request that never expires is let in")
	}
}

func FuzzParseProof(f *testing.F) {
	key, _ := base64.StdEncoding.DecodeString(vectorKey)
	for _, v := range vectors {
		f.Add(scheme + seal64(key, vectorHeader(""), fmt.Sprintf(`{"data":%q}`, v.data)))
	}
	f.Add(scheme + seal64(key, vectorHeader(`,"expires":"2026-01-02T15:04:05Z"`), `{"data":"x"}`))
	f.Add(scheme + "..")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseProof(s)
		if err != nil {
			return
		}
		if len(s) > maxAuthorization || !strings.HasPrefix(s, scheme) || strings.Count(s, ".") != 2 {
			t.Fatalf("%q is accepted", s)
		}
		if len(p.mac) != sha256.Size || len(p.data) != 2*sha256.Size || p.token == "" || len(p.token) > maxMember || len(p.account) > maxMember || len(p.requestID) > maxMember {
			t.Fatalf("%q gives %+v", s, p)
		}
		// What is signed and its MAC are all there is: nothing of the header escapes the MAC.
		if scheme+p.signed+"."+base64.RawURLEncoding.EncodeToString(p.mac) != s {
			t.Fatalf("%q has another spelling", s)
		}
	})
}

// Whatever a client hashes in one of the four documented ways is covered.
func FuzzFormsCoverWhatClientsHash(f *testing.F) {
	f.Add("/pingid/v1/accounts/x", "expand=account%2C%20spf", "")
	f.Add("/a%2fb", "a+b", "{}")
	f.Add("/a:b", ":", "")
	f.Fuzz(func(t *testing.T, path, query, body string) {
		u, err := url.Parse(path + "?" + query)
		if err != nil || u.Host != "" || u.Scheme != "" || u.Opaque != "" {
			return
		}
		forms := newForms("GET", "h.example:1", nil, u, []byte(body))
		sum := sha256.Sum256([]byte(body))
		decoded, err := url.PathUnescape(u.RawQuery)
		if err != nil {
			decoded = u.RawQuery
		}
		for _, p := range []string{u.EscapedPath(), u.Path} {
			for _, q := range []string{u.RawQuery, decoded} {
				d := digest("GET", "h.example", p, q, sum)
				if b, err := hex.DecodeString(d); err != nil || len(b) != sha256.Size {
					t.Fatalf("digest %q", d)
				}
				if !(proof{data: d}).covers(forms) {
					t.Fatalf("%q %q is not covered", p, q)
				}
			}
		}
	})
}
