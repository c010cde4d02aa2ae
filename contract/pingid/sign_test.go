package pingid_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

// key is what a properties file gives for signing (section 4.1).
type key struct {
	account, token string
	apiKey         string // as the file has it
	secret         []byte // apiKey, decoded
}

// joseHeader has its members in the order of the contract's vectors.
type joseHeader struct {
	Alg       string `json:"alg"`
	Typ       string `json:"typ"`
	AccountID string `json:"account_id"`
	Token     string `json:"token"`
	Version   string `json:"jwt_version"`
	Expires   string `json:"expires,omitempty"`
	RequestID string `json:"X-Request-ID,omitempty"`
}

func (k key) header() joseHeader {
	return joseHeader{Alg: "HS256", Typ: "JWT", AccountID: k.account, Token: k.token, Version: "v4"}
}

type claims struct {
	Data string `json:"data"`
}

const expiresLayout = "2006-01-02T15:04:05Z" // of the Java sample

// jws is the compact serialisation, signed with HMAC-SHA-256 whatever the header says.
func jws(header, payload any, secret []byte) string {
	part := func(v any) string {
		b, err := json.Marshal(v, json.Deterministic(true))
		if err != nil {
			panic(err) // only values of ours come here
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(header) + "." + part(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func hash[T string | []byte](v T) string {
	sum := sha256.Sum256([]byte(v))
	return hex.EncodeToString(sum[:])
}

// canonical is the string whose hash is signed (section 4.2): a colon ends every
// part, and an empty query is no part.
func canonical(method, host, path, query string, body []byte) string {
	parts := []string{method, host, path}
	if query != "" {
		parts = append(parts, query)
	}
	return strings.Join(append(parts, hash(body), ""), ":")
}

// style is one way in which the public clients sign.
type style struct {
	path, query func(raw string) string // what becomes of them in the canonical string
	expires     bool
	requestID   bool
}

func raw(s string) string { return s }

// decoded is java.net.URI's getPath and getQuery: a plus stays a plus.
func decoded(s string) string {
	d, err := url.PathUnescape(s)
	if err != nil {
		panic(err)
	}
	return d
}

// plusAsBlank is how HTML forms read a query.
func plusAsBlank(s string) string {
	d, err := url.QueryUnescape(s)
	if err != nil {
		panic(err)
	}
	return d
}

// authorization is the header's value for a request, from the path and query that
// are sent.
func (k key) authorization(s style, method, host, path, query string, body []byte) string {
	h := k.header()
	if s.expires {
		h.Expires = time.Now().UTC().Add(5 * time.Minute).Format(expiresLayout)
	}
	if s.requestID {
		h.RequestID = newUUID()
	}
	return "PINGID-HMAC=" + jws(h, claims{hash(canonical(method, host, s.path(path), s.query(query), body))}, k.secret)
}

// signatureNames are the guide's spelling and that of the Java sample, which
// fails without its own (section 4.3).
var signatureNames = []string{"X-PINGID-Signature", "X-PINGID-Singature"}

// verify judges the signature of an answer, under both names.
func (k key) verify(status int, header http.Header, body []byte) error {
	good, sensible := header.Values(signatureNames[0]), header.Values(signatureNames[1])
	if status == http.StatusUnauthorized && len(good) == 0 && len(sensible) == 0 {
		return nil // whose key should it be? (section 4.3)
	}
	if len(good) != 1 || len(sensible) != 1 || good[0] != sensible[0] {
		return fmt.Errorf("the signature is %q as %s and %q as %s, want one and the same", good, signatureNames[0], sensible, signatureNames[1])
	}
	parts := strings.Split(good[0], ".")
	if len(parts) != 3 {
		return fmt.Errorf("the signature has %d parts: %q", len(parts), good[0])
	}
	// Members that the contract leaves to us are of any order, but known, and the
	// fixed ones of the request.
	var h joseHeader
	if err := unpack(parts[0], &h); err != nil {
		return fmt.Errorf("the signature's header: %w", err)
	}
	want := k.header()
	if h.Typ == "" {
		want.Typ = ""
	}
	if h.Version == "" {
		want.Version = ""
	}
	if diff := cmp.Diff(want, h); diff != "" {
		return fmt.Errorf("the signature's header (-want +got):\n%s", diff)
	}
	mac := hmac.New(sha256.New, k.secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if got, err := base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return errors.New("the signature is not by the key of the request")
	}
	var c claims
	if err := unpack(parts[1], &c); err != nil {
		return fmt.Errorf("the signature's payload: %w", err)
	}
	if want := hash(body); c.Data != want {
		return fmt.Errorf("the signature is over %s, and the body's hash is %s", c.Data, want)
	}
	return nil
}

func unpack(part string, into any) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into, json.RejectUnknownMembers(true))
}

// TestClientSignsAsTheVectorsSay judges this client, before it judges anybody:
// section 4.5.
func TestClientSignsAsTheVectorsSay(t *testing.T) {
	const apiKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v"
	secret, err := base64.StdEncoding.DecodeString(apiKey)
	if err != nil {
		t.Fatal(err)
	}
	k := key{account: "11111111-2222-4333-8444-555555555555", token: "0123456789abcdef0123456789abcdef", apiKey: apiKey, secret: secret}
	const host, list = "sdk.example.org", "/pingid/v1/accounts/11111111-2222-4333-8444-555555555555/emaildomains"
	const one, query = list + "/66666666-7777-4888-8999-000000000000", "expand=account%2C%20spf"
	for _, v := range []struct {
		name, data, signature string
		style                 style
		method, path, query   string
		body                  string
	}{
		{"no body", "6d43cefa380012f85dbea0dc6537bac67d8df1cd728f2d2016826b360df08eac", "Ni7u3o3PEbfT20DZO3mmLQM8nFLXPg3cnXSYqW688bo",
			style{path: raw, query: raw}, "GET", list, "", ""},
		{"body", "7039d84e3d9f443ebed016a73c7e70905cac9c4ebc75edea785822d1b5877c97", "mrogvUSpRMDqw4LADRFm7IQjP6YLFhtg_z5tTljac58",
			style{path: decoded, query: decoded}, "POST", list, "", `{"domainName":"mail.example.org"}`},
		{"raw query", "8af9f85b74a7d6101a4c7d2dc95f1b1d3da6aebcb5d12b22e4e5bcc856807fb8", "",
			style{path: raw, query: raw}, "GET", one, query, ""},
		{"decoded query", "05bb4c2c7c162a196cda5b29692c6abba75f58e0c3136102216152db6b9c440f", "",
			style{path: decoded, query: decoded}, "GET", one, query, ""},
	} {
		t.Run(v.name, func(t *testing.T) {
			got, ok := strings.CutPrefix(k.authorization(v.style, v.method, host, v.path, v.query, []byte(v.body)), "PINGID-HMAC=")
			parts := strings.Split(got, ".")
			if !ok || len(parts) != 3 {
				t.Fatalf("signed as %q", got)
			}
			var c claims
			if err := unpack(parts[1], &c); err != nil || c.Data != v.data {
				t.Errorf("data is %s, want %s (%v)", c.Data, v.data, err)
			}
			if v.signature != "" && parts[2] != v.signature {
				t.Errorf("the signature is %s, want %s", parts[2], v.signature)
			}
		})
	}
	t.Run("answer", func(t *testing.T) {
		body := []byte(`{"id":"x"}`)
		signed := jws(k.header(), claims{"5e2b92cc57ce618dfbb54844a31775e4b95c6fb552ee6bf5a068133c12d2ad90"}, secret)
		if !strings.HasSuffix(signed, ".DePDGfq054BQx52Gluf1IjnpRYptL6-D675HuCARQH0") {
			t.Errorf("the vector's answer is signed as %s", signed)
		}
		h := http.Header{}
		for _, name := range signatureNames {
			h.Set(name, signed)
		}
		if err := k.verify(200, h, body); err != nil {
			t.Errorf("the vector's answer is refused: %v", err)
		}
		if k.verify(200, h, []byte(`{"id":"y"}`)) == nil {
			t.Error("another body is accepted")
		}
		h.Del(signatureNames[1])
		if k.verify(200, h, body) == nil {
			t.Error("an answer without the misspelt header is accepted")
		}
	})
}
