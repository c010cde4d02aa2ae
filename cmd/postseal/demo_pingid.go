package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// sdk is an application written against the REST API of the PingID SDK: it reads
// a properties file, signs its requests and believes no answer that is not signed.
type sdk struct {
	j    *journey
	url  string // of the API, ending in /pingid
	host string // as it is signed: without the port
	path string // of an account below the URL's host
	app  string
	key  []byte
	head map[string]any // of each request's JWS
}

func (j *journey) sdk() (*sdk, error) {
	text, err := os.ReadFile(j.dev.Getenv("PINGID_PROPERTIES"))
	if err != nil {
		return nil, err
	}
	p := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			p[name] = value
		}
	}
	u, err := url.Parse(p["pingidsdk_url"])
	if err != nil {
		return nil, err
	}
	s := &sdk{
		j: j, url: u.Scheme + "://" + u.Host, host: u.Hostname(), path: u.Path + "/v1/accounts/" + p["account_id"], app: p["app_id"],
		head: map[string]any{"alg": "HS256", "typ": "JWT", "account_id": p["account_id"], "token": p["token"], "jwt_version": "v4"},
	}
	s.key, err = base64.StdEncoding.DecodeString(p["api_key"])
	return s, err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// call makes one signed call below the account, demands its status and verifies the
// answer's signature.
func (s *sdk) call(want int, method, path string, body object) (object, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"data": digest([]byte(method + ":" + s.host + ":" + s.path + path + ":" + digest(raw) + ":"))})
	maps.Copy(token.Header, s.head)
	token.Header["expires"] = time.Now().UTC().Add(5 * time.Minute).Format("2006-01-02T15:04:05Z")
	jws, err := token.SignedString(s.key)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(s.j.ctx, method, s.url+s.path+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "PINGID-HMAC="+jws)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if raw, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return nil, err
	}
	if err := s.verify(resp.Header.Get("X-PINGID-Signature"), raw); err != nil {
		return nil, fmt.Errorf("%s %s answered %s, and %w: %s", method, path, resp.Status, err, raw)
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s answered %s, want %d: %s", method, path, resp.Status, want, raw)
	}
	var o object
	if len(raw) > 0 {
		err = json.Unmarshal(raw, &o)
	}
	return o, err
}

// verify checks the signature of an answer over its body.
func (s *sdk) verify(jws string, body []byte) error {
	token, err := jwt.Parse(jws, func(*jwt.Token) (any, error) { return s.key, nil }, jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		return fmt.Errorf("its signature does not verify: %w", err)
	}
	claims, _ := token.Claims.(jwt.MapClaims)
	if data, _ := claims["data"].(string); !hmac.Equal([]byte(data), []byte(digest(body))) {
		return fmt.Errorf("its signature is over another body")
	}
	return nil
}

const demoUser = "reader@example.org"

var sixDigits = regexp.MustCompile(`\b[0-9]{6}\b`)

// code waits for a mail with a subject and takes the one-time code out of it.
func (s *sdk) code(subject string) (string, error) {
	raw, err := s.j.mail(demoRecipient, "Subject: "+subject)
	if err != nil {
		return "", err
	}
	s.j.headers(raw, "From", "Subject", "Authentication-Results")
	_, body, _ := strings.Cut(raw, "\r\n\r\n")
	code := sixDigits.FindString(body)
	if code == "" {
		return "", fmt.Errorf("no code in the mail:\n%s", raw)
	}
	if !strings.Contains(raw, "d=mail.customer.example") {
		return "", fmt.Errorf("the code is not signed by the customer's domain:\n%s", raw)
	}
	return code, nil
}

// signIn is the same tenant through the PingID SDK's API: a template, a pairing and
// an authentication by codes from the inbox.
func (j *journey) signIn() error {
	s, err := j.sdk()
	if err != nil {
		return err
	}
	app := "/applications/" + s.app
	j.title("As a PingID SDK application: store a template that comes from %s", demoFrom)
	o, err := s.call(201, http.MethodPost, app+"/emailconfigurations", object{
		"fromAddress": `"Customer" <` + demoFrom + `>`, "emailSubject": "${what}", "emailBody": "<p>Hello ${who}, your code is <b>${OTP}</b>.</p>",
		"contentType": "text/html", "locale": "en", "type": "demo",
	})
	if err != nil {
		return err
	}
	j.say("201, id %s; signed in both directions", o.str("id"))

	j.title("Pair the user's mailbox: a code goes out by that template")
	if _, err := s.call(201, http.MethodPost, "/users", object{"username": demoUser}); err != nil {
		return err
	}
	user := app + "/users/" + url.PathEscape(demoUser)
	mail := func(what string) object { return object{"what": what, "who": "<reader>"} }
	o, err = s.call(201, http.MethodPost, user+"/emailpairings", object{"recipient": demoRecipient, "type": "demo", "locale": "en-GB", "emailParameters": mail("Pair this mailbox")})
	if err != nil {
		return err
	}
	code, err := s.code("Pair this mailbox")
	if err != nil {
		return err
	}
	if _, err := s.call(204, http.MethodPut, user+"/emailpairings/"+o.str("id")+"/otp", object{"otp": code}); err != nil {
		return err
	}
	if o, err = s.call(200, http.MethodGet, user+"/devices", nil); err != nil {
		return err
	}
	j.say("204; the user has the device %q now", o.list("devices")[0].str("deviceNickname"))

	j.title("Sign the user in: a wrong code, then the right one")
	o, err = s.call(201, http.MethodPost, user+"/authentications", object{"authenticationType": "AUTHENTICATE", "emailConfigurationType": "demo", "emailParameters": mail("Sign in")})
	if err != nil {
		return err
	}
	if code, err = s.code("Sign in"); err != nil {
		return err
	}
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	for _, try := range []struct{ otp, status string }{{wrong, "INVALID_OTP"}, {code, "APPROVED"}} {
		got, err := s.call(200, http.MethodPut, user+"/authentications/"+o.str("id")+"/otp", object{"otp": try.otp})
		if err != nil {
			return err
		}
		j.say("status %s", got.str("status"))
		if got.str("status") != try.status {
			return fmt.Errorf("the authentication is %s, want %s", got.str("status"), try.status)
		}
	}
	return nil
}
