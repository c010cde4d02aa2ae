package pingone_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

func login(t *testing.T, h *harness, env, form, authorization string) apitest.Reply {
	t.Helper()
	header := []string{"Content-Type", "application/x-www-form-urlencoded"}
	if authorization != "" {
		header = append(header, "Authorization", authorization)
	}
	return apitest.Call(t, h.server, "", "POST", "/"+env+"/as/token", form, header...)
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// percent encodes every octet, as form-encoding allows.
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[s[i]>>4])+string("0123456789abcdef"[s[i]&15])))
	}
	return b.String()
}

func TestBasicCredentialsAreFormDecodedAndBodyCredentialsAccepted(t *testing.T) {
	h := newHarness(t)
	c, s, _ := h.Client(h.tenant, sender.RoleAdmin, "")
	env, id, secret := string(h.tenant.ID), string(c.ID), string(s)
	const grant = "grant_type=client_credentials"
	if url.QueryEscape(secret) != secret {
		t.Errorf("the secret has characters that need encoding")
	}
	for name, r := range map[string]apitest.Reply{
		"basic":           login(t, h, env, grant, basic(id, secret)),
		"basic, encoded":  login(t, h, env, grant, basic(percent(id), percent(secret))),
		"basic in lower":  login(t, h, env, grant, strings.Replace(basic(id, secret), "Basic", "basic", 1)),
		"basic and id":    login(t, h, env, grant+"&client_id="+id, basic(id, secret)),
		"body":            login(t, h, env, grant+"&client_id="+id+"&client_secret="+secret, ""),
		"body with scope": login(t, h, env, grant+"&scope=a&client_id="+id+"&client_secret="+secret, ""),
	} {
		r.Want(200)
		if r.String("token_type") != "Bearer" || r.At("expires_in") != 3600.0 || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v %s", name, r.Header, r.Body)
		}
		apitest.Call(t, h.server, auth.Secret(r.String("access_token")), "GET", h.base, "").Want(200)
	}
}

func TestTokenErrorsAreThoseOfOAuth(t *testing.T) {
	h := newHarness(t)
	c, s, _ := h.Client(h.tenant, sender.RoleAdmin, "")
	other, os, _ := h.Client(h.Tenant("other"), sender.RoleAdmin, "")
	env, id, secret := string(h.tenant.ID), string(c.ID), string(s)
	const grant = "grant_type=client_credentials"
	body := grant + "&client_id=" + id + "&client_secret=" + secret
	for _, c := range []struct {
		name, env, form, authorization string
		status                         int
		code, says                     string
	}{
		{"wrong secret", env, grant, basic(id, secret+"x"), 401, "invalid_client", "secret is wrong"},
		{"unknown client", env, grant, basic(string(sender.NewID()), secret), 401, "invalid_client", "unknown"},
		{"no client", env, grant, "", 401, "invalid_client", "unknown"},
		{"another tenant's client", env, grant, basic(string(other.ID), string(os)), 401, "invalid_client", "unknown"},
		{"own client in another environment", string(other.Tenant), grant, basic(id, secret), 401, "invalid_client", "unknown"},
		{"no environment at all", "x", grant, basic(id, secret), 401, "invalid_client", "unknown"},
		{"not base64", env, grant, "Basic !", 401, "invalid_client", "unknown"},
		{"bearer", env, grant, "Bearer x", 401, "invalid_client", "unknown"},
		{"bad escapes", env, grant, basic(id, "%zz"), 401, "invalid_client", "unknown"},
		{"both ways at once", env, body, basic(id, secret), 400, "invalid_request", "use one of the two"},
		{"two ids", env, grant + "&client_id=x", basic(id, secret), 400, "invalid_request", "client_id"},
		{"a parameter twice", env, body + "&grant_type=x", "", 400, "invalid_request", "more than once"},
		{"no grant type", env, "client_id=" + id + "&client_secret=" + secret, "", 400, "invalid_request", "grant_type is missing"},
		{"wrong grant type", env, strings.Replace(body, "client_credentials", "password", 1), "", 400, "unsupported_grant_type", "client_credentials"},
		{"a hostile parameter", env, body + "&500 =1&500 =2", "", 400, "invalid_request", "more than once"},
		{"too large", env, body + "&x=" + strings.Repeat("x", api.MaxBody), "", 413, "invalid_request", "too large"},
		{"bad form", env, "%zz", "", 400, "invalid_request", "form-encoded"},
	} {
		r := login(t, h, c.env, c.form, c.authorization)
		if r.Status != c.status || r.String("error") != c.code || !strings.Contains(r.String("error_description"), c.says) || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %s", c.name, r.Status, r.Body)
		}
		if challenged := r.Header.Get("WWW-Authenticate") != ""; challenged != (c.status == 401 && c.authorization != "") {
			t.Errorf("%s: WWW-Authenticate %q", c.name, r.Header.Get("WWW-Authenticate"))
		}
		// RFC 6749, section 5.2, has the characters of a description.
		if strings.ContainsFunc(r.String("error_description"), func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
			t.Errorf("%s: the description is %q", c.name, r.String("error_description"))
		}
		// Found anywhere in the text, these make the SDK repeat the log-in.
		for _, word := range []string{"429 ", "500 ", "501 ", "502 ", "503 ", "504 ", "unsupported authentication method"} {
			if strings.Contains(strings.ToLower(r.String("error_description")), word) {
				t.Errorf("%s: the description has %q", c.name, word)
			}
		}
	}
	if r := apitest.Call(t, h.server, "", "POST", "/"+env+"/as/token", `{}`); r.Status != 400 || r.String("error") != "invalid_request" || !strings.Contains(r.String("error_description"), "application/x-www-form-urlencoded") {
		t.Errorf("JSON: status %d, %s", r.Status, r.Body)
	}
}
