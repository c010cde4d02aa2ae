package pingid_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// TestEveryStyleOfSigningIsAccepted takes paths and queries where the styles differ.
func TestEveryStyleOfSigningIsAccepted(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		domain, _ := c.domain(t)
		username := unique("jörg müller+x/y%41&") + "@shop.example"
		c.post(t, c.at("users"), obj{"username": username})
		c.later(t, c.at("users", username))
		unescaped := c.templates(c.app) + "?type=a+b%2Bc&locale=en"
		for _, path := range []string{
			c.at("emaildomains"), c.at("emaildomains", domain) + "?expand=account%2C%20spf", c.at("emaildomains", domain) + "?expand=account,+spf",
			c.at("applications", c.app, "users", username), c.at("applications", c.app, "users", username) + "?expand=devices%2Cnothing", unescaped,
			c.at("emaildomains") + "?", c.at("emaildomains") + "?a=1&a=2&=&b",
		} {
			for n := range 24 {
				s := style{path: raw, query: []func(string) string{raw, decoded, plusAsBlank}[n%3], expires: n/3&1 == 0, requestID: n/3&2 == 0}
				if n >= 12 {
					s.path = decoded
				}
				r := newRequest("GET", path, nil)
				a, err := c.send(t.Context(), r, c.signAs(s, r))
				if err != nil || a.status != 200 {
					t.Fatalf("style %d: %v: %v", n, a, err)
				}
			}
		}
		for _, s := range []style{{path: raw, query: raw}, {path: decoded, query: decoded, expires: true, requestID: true}} {
			for _, r := range []request{
				newRequest("POST", c.at("emaildomains", domain, "trustedemails"), `{"emailAddress":"Zoë@nowhere.example"}`),
				newRequest("PUT", c.at("users", username), obj{"username": username, "firstName": "Zoë"}),
			} {
				a, err := c.send(t.Context(), r, c.signAs(s, r))
				if err != nil || a.status == 401 {
					t.Errorf("%v: %v", a, err)
				}
			}
		}
	})
}

// forged is a request whose signature is made by hand.
func (c *client) forged(header, payload any) string {
	return "PINGID-HMAC=" + jws(header, payload, c.secret)
}

// members is the header with some members changed, or removed by nil.
func (c *client) members(changes obj) obj {
	return with(obj{"alg": "HS256", "typ": "JWT", "account_id": c.account, "token": c.token, "jwt_version": "v4"}, changes)
}

func expiry(in time.Duration) string { return time.Now().UTC().Add(in).Format(expiresLayout) }

func TestHarmlessVariantsOfASignatureAreAccepted(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		r := newRequest("GET", c.at("emaildomains"), nil)
		good := obj{"data": hash(canonical("GET", c.host, "/pingid"+r.path, "", nil))}
		requestID := newUUID()
		port := strings.Split(strings.TrimSuffix(c.base, "/pingid"), "://")[1]
		for name, authorization := range map[string]string{
			"as it should be":               c.forged(c.members(nil), good),
			"no typ":                        c.forged(c.members(obj{"typ": nil}), good),
			"other members":                 c.forged(c.members(obj{"kid": "x", "n": 1}), good),
			"other claims":                  c.forged(c.members(nil), with(good, obj{"iat": time.Now().Unix(), "x": list{}})),
			"expired within the grace":      c.forged(c.members(obj{"expires": expiry(-30 * time.Second)}), good),
			"expiring in a week":            c.forged(c.members(obj{"expires": expiry(7 * 24 * time.Hour)}), good),
			"a request id":                  c.forged(c.members(obj{"X-Request-ID": requestID}), good),
			"the same request id":           c.forged(c.members(obj{"X-Request-ID": requestID, "expires": expiry(time.Minute)}), good),
			"the host with its port":        c.forged(c.members(nil), obj{"data": hash(canonical("GET", port, "/pingid"+r.path, "", nil))}),
			"Authorization with blanks out": "  " + c.forged(c.members(nil), good),
		} {
			if a, err := c.send(t.Context(), r, authorization); err != nil || a.status != 200 {
				t.Errorf("%s: %v: %v", name, a, err)
			}
		}

		// A body may come in chunks.
		r = newRequest("POST", c.at("emaildomains"), obj{"domainName": unique("chunks") + ".example.org"})
		r.chunked = true
		c.later(t, c.at("emaildomains", id(t, c.wants(t, r, 201).object(t))))
	})
}

// TestAnyOtherSignatureIsTheSame401 demands one answer that tells nothing of what is
// wrong, but for its id.
func TestAnyOtherSignatureIsTheSame401(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		read := newRequest("GET", c.at("emaildomains")+"?b=2&a=1", nil)
		write := newRequest("POST", c.at("emaildomains"), `{"domainName":"`+unique("never")+`.example.org"}`)
		path := "/pingid" + c.at("emaildomains")
		data := func(method, host, path, query string, body []byte) obj {
			return obj{"data": hash(canonical(method, host, path, query, body))}
		}
		good := data("GET", c.host, path, "b=2&a=1", nil)
		if a, err := c.send(t.Context(), read, c.forged(c.members(nil), good)); err != nil || a.status != 200 {
			t.Fatalf("the model of all these: %v: %v", a, err)
		}
		token := strings.TrimPrefix(c.forged(c.members(nil), good), "PINGID-HMAC=")
		parts := strings.Split(token, ".")
		// flip changes one character of a part; of the signature not its last, whose
		// lowest bits are no bits of it.
		flip := func(part int) string {
			p := slices.Clone(parts)
			b := []byte(p[part])
			if b[10]++; b[10] == 'z'+1 || b[10] == 'Z'+1 || b[10] == '9'+1 {
				b[10] = 'a'
			}
			p[part] = string(b)
			return "PINGID-HMAC=" + strings.Join(p, ".")
		}
		signed := func(header obj, secret []byte, with func(key []byte, text string) []byte) string {
			h, err := json.Marshal(header, json.Deterministic(true))
			if err != nil {
				t.Fatal(err)
			}
			text := base64.RawURLEncoding.EncodeToString(h) + "." + parts[1]
			return "PINGID-HMAC=" + text + "." + base64.RawURLEncoding.EncodeToString(with(secret, text))
		}
		sha384 := func(key []byte, text string) []byte {
			m := hmac.New(sha512.New384, key)
			m.Write([]byte(text))
			return m.Sum(nil)
		}
		nothing := func([]byte, string) []byte { return nil }
		other := c.other()

		forgeries := map[string]string{
			"no authorization":      "",
			"another scheme":        "Bearer " + token,
			"a blank for =":         "PINGID-HMAC " + token,
			"a blank after =":       "PINGID-HMAC= " + token,
			"small letters":         "pingid-hmac=" + token,
			"nothing after =":       "PINGID-HMAC=",
			"two parts":             "PINGID-HMAC=" + parts[0] + "." + parts[1],
			"four parts":            "PINGID-HMAC=" + token + "." + parts[2],
			"no signature":          "PINGID-HMAC=" + parts[0] + "." + parts[1] + ".",
			"half a signature":      "PINGID-HMAC=" + parts[0] + "." + parts[1] + "." + parts[2][:20],
			"no base64":             "PINGID-HMAC=ä." + parts[1] + "." + parts[2],
			"no JSON":               "PINGID-HMAC=AAAA." + parts[1] + "." + parts[2],
			"very long":             "PINGID-HMAC=" + strings.Repeat("A", 6000) + "." + parts[1] + "." + parts[2],
			"another header":        flip(0),
			"another payload":       flip(1),
			"another signature":     flip(2),
			"alg none":              signed(c.members(obj{"alg": "none"}), nil, nothing),
			"alg none, signed":      c.forged(c.members(obj{"alg": "none"}), good),
			"alg in small letters":  c.forged(c.members(obj{"alg": "hs256"}), good),
			"no alg":                c.forged(c.members(obj{"alg": nil}), good),
			"alg HS384":             signed(c.members(obj{"alg": "HS384"}), c.secret, sha384),
			"alg HS384, by HS256":   c.forged(c.members(obj{"alg": "HS384"}), good),
			"typ of another kind":   c.forged(c.members(obj{"typ": "JOSE"}), good),
			"another version":       c.forged(c.members(obj{"jwt_version": "v3"}), good),
			"no version":            c.forged(c.members(obj{"jwt_version": nil}), good),
			"no account":            c.forged(c.members(obj{"account_id": nil}), good),
			"an account as number":  c.forged(c.members(obj{"account_id": 7}), good),
			"an unknown account":    c.forged(c.members(obj{"account_id": newUUID()}), good),
			"the other account":     c.forged(c.members(obj{"account_id": other.account}), good),
			"no token":              c.forged(c.members(obj{"token": nil}), good),
			"an unknown token":      c.forged(c.members(obj{"token": strings.Repeat("0", 32)}), good),
			"the other's token":     c.forged(c.members(obj{"token": other.token}), good),
			"the other's secret":    "PINGID-HMAC=" + jws(c.members(nil), good, other.secret),
			"the key not decoded":   "PINGID-HMAC=" + jws(c.members(nil), good, []byte(c.apiKey)),
			"an empty key":          "PINGID-HMAC=" + jws(c.members(nil), good, nil),
			"expired":               c.forged(c.members(obj{"expires": expiry(-2 * time.Minute)}), good),
			"expired for long":      c.forged(c.members(obj{"expires": "2019-01-01T00:00:00Z"}), good),
			"malformed expiry":      c.forged(c.members(obj{"expires": "tomorrow"}), good),
			"expiry as number":      c.forged(c.members(obj{"expires": time.Now().Add(time.Hour).Unix()}), good),
			"no data":               c.forged(c.members(nil), obj{}),
			"data as number":        c.forged(c.members(nil), obj{"data": 7}),
			"data in no hash":       c.forged(c.members(nil), obj{"data": canonical("GET", c.host, path, "b=2&a=1", nil)}),
			"no colon at the end":   c.forged(c.members(nil), obj{"data": hash(strings.TrimSuffix(canonical("GET", c.host, path, "b=2&a=1", nil), ":"))}),
			"data of another verb":  c.forged(c.members(nil), data("DELETE", c.host, path, "b=2&a=1", nil)),
			"data of another host":  c.forged(c.members(nil), data("GET", "sdk.example.com", path, "b=2&a=1", nil)),
			"data of another path":  c.forged(c.members(nil), data("GET", c.host, path+"/", "b=2&a=1", nil)),
			"data without pingid":   c.forged(c.members(nil), data("GET", c.host, strings.TrimPrefix(path, "/pingid"), "b=2&a=1", nil)),
			"data without query":    c.forged(c.members(nil), data("GET", c.host, path, "", nil)),
			"data of sorted query":  c.forged(c.members(nil), data("GET", c.host, path, "a=1&b=2", nil)),
			"data of another query": c.forged(c.members(nil), data("GET", c.host, path, "b=2&a=2", nil)),
			"data of a body":        c.forged(c.members(nil), data("GET", c.host, path, "b=2&a=1", []byte("{}"))),
		}
		type outcome struct{ name, body, media, challenge string }
		var first *outcome
		refused := func(name string, r request, authorization string) {
			t.Helper()
			a, err := c.send(t.Context(), r, authorization)
			if err == nil {
				err = a.refusal("401 UNAUTHORIZED_REQ")
			}
			if err != nil {
				t.Errorf("%s: %v\n\t%v", name, a, err)
				return
			}
			f, err := a.failure()
			if err != nil {
				t.Fatal(err)
			}
			o := outcome{name, string(bytes.Replace(a.body, []byte(f.ID), nil, 1)), a.header.Get("Content-Type"), a.header.Get("WWW-Authenticate")}
			if first == nil {
				first = &o
			}
			if o.body != first.body || o.media != first.media || o.challenge != first.challenge {
				t.Errorf("the answer differs:\n\t%+v\n\t%+v", *first, o)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(forgeries)) {
			refused(name, read, forgeries[name])
		}
		refused("a body that was not signed", write, c.forged(c.members(nil), data("POST", c.host, path, "", []byte("{}"))))
		refused("a body that was not signed at all", write, c.forged(c.members(nil), data("POST", c.host, path, "", nil)))

		// Paths of other accounts, those that are there and those that are not (Q20).
		for name, account := range map[string]string{"the other account's path": other.account, "an unknown account's path": newUUID(), "no account's path": "nonsense"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				for _, below := range []string{"/emaildomains", "/emaildomains/" + newUUID(), "/applications/" + other.app + "/emailconfigurations", ""} {
					r := newRequest(method, "/v1/accounts/"+account+below, nil)
					refused(fmt.Sprintf("%s, %s %s", name, method, below), r, c.sign(r))
				}
			}
		}

		// The Host that was sent is what counts.
		r := read
		r.header = http.Header{"X-Forwarded-Host": {"sdk.example.com"}, "Forwarded": {"host=sdk.example.com"}}
		refused("a forwarded host", r, forgeries["data of another host"])
	})
}

// TestLinksHaveThePublicBase asks under a name of the client's choice, which the
// signature need not cover: requests may be signed for any public name.
func TestLinksHaveThePublicBase(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		r := newRequest("GET", c.at("emaildomains"), nil)
		r.host = "SDK.pingid.example:8443"
		for _, host := range []string{"SDK.pingid.example", r.host, c.host} {
			a, err := c.send(t.Context(), r, c.forged(c.members(nil), obj{"data": hash(canonical("GET", host, "/pingid"+r.path, "", nil))}))
			if err != nil || a.status != 200 {
				t.Errorf("signed for %s: %v: %v", host, a, err)
			} else if self, _ := a.object(t)["self"].(obj); self["href"] != c.base+r.path {
				t.Errorf("asked under %s and signed for %s: self is %v, want it below %s (section 1.5)", r.host, host, self["href"], c.base)
			}
		}
	})
}

// TestTLSLeadsToTheSame is how clients that insist on https get there.
func TestTLSLeadsToTheSame(t *testing.T) {
	ca, err := os.ReadFile(dev.Env["POSTSEAL_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%s holds no certificate", dev.Env["POSTSEAL_CA_FILE"])
	}
	both(t, func(t *testing.T, c *client) {
		transport := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		over := &client{
			key: c.key, base: dev.Env["POSTSEAL_TLS_URL"] + "/pingid", host: c.host, style: c.style,
			http: &http.Client{Transport: transport, Timeout: 15 * time.Second},
		}
		// Which of the two is the public base of a development instance is open.
		plain, secure := c.get(t, c.at()), over.get(t, c.at())
		if self, _ := secure["self"].(obj); self["href"] == over.base+c.at() {
			secure["self"] = plain["self"]
		}
		same(t, "the account, over TLS", plain, secure)
	})
}

// TestAnswersAreSignedWhateverTheyAre goes beyond what each answer of this client is
// judged by: compression that a client offers, and answers to requests that do not
// get far.
func TestAnswersAreSignedWhateverTheyAre(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		signed := func(r request, status int) answer {
			t.Helper()
			a := c.wants(t, r, status)
			if len(a.header.Values(signatureNames[0])) != 1 {
				t.Errorf("%v\n\tis not signed", a)
			}
			return a
		}
		r := newRequest("GET", c.at("emaildomains"), nil)
		r.header = http.Header{"Accept-Encoding": {"gzip, deflate, br"}}
		signed(r, 200)
		signed(newRequest("GET", c.at("nonsense"), nil), 404)
		signed(newRequest("GET", c.at("emaildomains", newUUID()), nil), 404)
		signed(newRequest("PATCH", c.at("emaildomains"), nil), 405)
		signed(newRequest("POST", c.at("emaildomains"), "{"), 400)
		r = newRequest("POST", c.at("emaildomains"), `{"domainName":"x.example.org"}`)
		r.media = "text/plain"
		signed(r, 415)
		domain := id(t, c.post(t, c.at("emaildomains"), obj{"domainName": unique("signed") + ".example.org"}))
		signed(newRequest("DELETE", c.at("emaildomains", domain), nil), 204)
	})
}
