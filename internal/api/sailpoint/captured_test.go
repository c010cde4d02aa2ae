package sailpoint_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/sailpoint"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

// What real clients sent is sent again, octet by octet, in the order of the file. A
// token is that of the last log-in, an id that of the last address.
func TestCapturedRequestsAreAnswered(t *testing.T) {
	h := newHarness(t)
	strict, lax := h.server, h.serve(sailpoint.Config{IgnoreExperimental: true})
	c, secret, _ := h.Client(h.tenant, sender.RoleAdmin, "")
	file, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	token, id, requests := "", "", strings.Split(string(file), "\n=== ")[1:]
	for _, request := range requests {
		title, request, _ := strings.Cut(request, "\n")
		server := strict
		if strings.Contains(title, "header off") {
			server = lax
		}
		host := server.Listener.Addr().String()
		head, body, _ := strings.Cut(request, "\n\n")
		fill := strings.NewReplacer("{CLIENT}", string(c.ID), "{SECRET}", string(secret), "{TOKEN}", token, "{ID}", id, "{HOST}", host, "{NEWLINE}", "\n").Replace
		body = fill(strings.TrimSuffix(body, "\n"))
		if strings.Contains(head, "multipart") {
			body = strings.ReplaceAll(strings.TrimSuffix(body, "\n"), "\n", "\r\n") + "\r\n"
		}
		head = strings.ReplaceAll(fill(head), "{LENGTH}", fmt.Sprint(len(body)))
		r := exchange(t, host, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body)

		first, _, _ := strings.Cut(head, "\n")
		if want := title[:3]; fmt.Sprint(r.Status) != want {
			t.Fatalf("%s: %s: status %d; body %s", title, first, r.Status, r.Body)
		}
		if r.Status != 204 && r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: Content-Type %q", first, r.Header.Get("Content-Type"))
		}
		switch {
		case strings.Contains(first, "/oauth/token"):
			token = r.String("access_token")
		case r.Status == 201:
			id = r.String("id")
		case strings.Contains(title, "an array"):
			list(r, "key")
		case strings.Contains(title, "an object"):
			if r.String("key") == "" {
				t.Errorf("%s: %s", first, r.Body)
			}
		case strings.Contains(first, "mail-from"):
			if r.String("mailFromDomain") != "bounce.host.example.org" || !strings.HasSuffix(r.String("identity"), "@host.example.org") {
				t.Errorf("%s: %s", first, r.Body)
			}
			if strings.Contains(first, "go+tag") && r.String("identity") != "go+tag@host.example.org" {
				t.Errorf("%s: a plus became something else: %s", first, r.Body)
			}
		case strings.Contains(first, "count=true"):
			if got := list(r, "email"); len(got) != 1 || got[0] != "go+tag@host.example.org" || r.Header.Get("X-Total-Count") != "1" {
				t.Errorf("%s: %v of %s", first, got, r.Header.Get("X-Total-Count"))
			}
		}
	}
	if len(requests) < 20 || token == "" || id == "" {
		t.Errorf("%d requests were replayed", len(requests))
	}
}

// exchange sends raw octets and reads one answer.
func exchange(t *testing.T, host, raw string) apitest.Reply {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return apitest.Reply{T: t, Status: r.StatusCode, Header: r.Header, Body: body}
}

func TestTokenEndpointTakesAllThatClientsSend(t *testing.T) {
	h := newHarness(t)
	lax := h.serve(sailpoint.Config{TokenLife: 12 * 60 * 60 * 1e9})
	c, s, _ := h.Client(h.tenant, sender.RoleAdmin, "")
	id, secret := string(c.ID), string(s)
	form := func(grant string) string {
		return "client_id=" + id + "&client_secret=" + secret + "&grant_type=" + grant
	}
	const urlencoded = "application/x-www-form-urlencoded"
	multi := func(parts ...string) string {
		var b strings.Builder
		for i := 0; i+1 < len(parts); i += 2 {
			fmt.Fprintf(&b, "--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", parts[i], parts[i+1])
		}
		return b.String() + "--b--\r\n"
	}
	for name, c := range map[string]struct{ query, body, media, authorization string }{
		"urlencoded":        {"", form("client_credentials"), urlencoded, ""},
		"with a charset":    {"", form("client_credentials"), urlencoded + "; charset=UTF-8", ""},
		"capitals":          {"", form("CLIENT_CREDENTIALS"), urlencoded, ""},
		"query":             {"?" + form("client_credentials"), "", "", ""},
		"query, JSON":       {"?" + form("client_credentials"), "", "application/json", ""},
		"multipart":         {"", multi("grant_type", "client_credentials", "client_id", id, "client_secret", secret), "multipart/form-data; boundary=b", ""},
		"multipart, quoted": {"", multi("client_secret", secret, "grant_type", "Client_Credentials", "client_id", id), `Multipart/Form-Data; boundary="b"`, ""},
		"basic":             {"", "grant_type=client_credentials", urlencoded, "Basic " + basic(id, secret)},
		"half and half":     {"?grant_type=client_credentials", "client_id=" + id + "&client_secret=" + secret, urlencoded, ""},
		"basic and query":   {"?grant_type=client_credentials", "", "", "Basic " + basic(id, secret)},
	} {
		for life, server := range map[float64]string{749: h.server.URL, 43200: lax.URL} {
			header := []string{"Content-Type", c.media, "scope", "sp:scopes:all"}
			if c.authorization != "" {
				header = append(header, "Authorization", c.authorization)
			}
			r := apitest.Call(t, h.server, "", "POST", server+"/oauth/token"+c.query, c.body, header...)
			if r.Status != 200 || r.At("expires_in") != life || r.String("token_type") != "bearer" || r.String("scope") != "sp:scopes:all" || r.String("tenant_id") != string(h.tenant.ID) {
				t.Errorf("%s: %d %s", name, r.Status, r.Body)
			}
			h.as(auth.Secret(r.String("access_token"))).call("GET", addresses, "").Want(200)
		}
	}
	for name, c := range map[string]struct {
		query, body, media string
		status             int
		code               string
	}{
		"wrong secret":       {"", form("client_credentials") + "x&client_id=" + id, urlencoded, 400, "invalid_request"},
		"nobody":             {"", "grant_type=client_credentials&client_id=x&client_secret=y", urlencoded, 401, "invalid_client"},
		"nothing":            {"", "", "", 401, "invalid_client"},
		"no grant":           {"", "client_id=" + id + "&client_secret=" + secret, urlencoded, 400, "invalid_request"},
		"another grant":      {"", form("password"), urlencoded, 400, "unsupported_grant_type"},
		"twice":              {"?" + form("client_credentials"), form("client_credentials"), urlencoded, 400, "invalid_request"},
		"JSON":               {"", `{"grant_type":"client_credentials"}`, "application/json", 400, "invalid_request"},
		"no boundary":        {"", multi("a", "b"), "multipart/form-data", 400, "invalid_request"},
		"another boundary":   {"", multi("a", "b"), "multipart/form-data; boundary=c", 400, "invalid_request"},
		"cut off":            {"", multi("a", "b")[:20], "multipart/form-data; boundary=b", 400, "invalid_request"},
		"too many parts":     {"", multi(strings.Split(strings.Repeat("a,b,", 30), ",")...), "multipart/form-data; boundary=b", 400, "invalid_request"},
		"broken query":       {"?%zz", "", "", 400, "invalid_request"},
		"a body far too big": {"", strings.Repeat("a", 1<<20+1), urlencoded, 413, "invalid_request"},
	} {
		r := apitest.Call(t, h.server, "", "POST", "/oauth/token"+c.query, c.body, "Content-Type", c.media).Want(c.status)
		if r.String("error") != c.code || r.String("error_description") == "" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s", name, r.Body)
		}
	}
	r := apitest.Call(t, h.server, "", "GET", "/oauth/info", "").Want(200)
	if r.String("tokenEndpoint") != h.server.URL+"/oauth/token" || r.String("cloudDomainUrl") != h.server.URL {
		t.Errorf("oauth/info is %s", r.Body)
	}
	for role, want := range map[sender.Role]string{sender.RoleReader: "idn:notification-templates:read", sender.RoleSender: "idn:notification-templates:create"} {
		c, s, _ := h.Client(h.tenant, role, "")
		r := apitest.Call(t, h.server, "", "POST", "/oauth/token"+query("grant_type", "client_credentials", "client_id", string(c.ID), "client_secret", string(s)), "").Want(200)
		if got := r.String("scope"); !strings.Contains(got, want) || strings.Contains(got, "scopes:all") {
			t.Errorf("%s has the scopes %q", role, got)
		}
	}
}
