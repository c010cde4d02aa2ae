package sender_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// httpWay are settings of an HTTP API that can be used.
func httpWay(change ...func(*sender.NewRelay)) sender.NewRelay {
	n := sender.NewRelay{Password: "token", HTTP: &sender.HTTPProvider{
		Name: "Example", Bearer: true, Method: "POST", URL: "https://api.example.org/mail", Body: new(`{"to":"${to}","m":"${message}"}`),
	}}
	for _, c := range change {
		c(&n)
	}
	return n
}

func TestHTTPProvidersAreCheckedFieldByField(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		type of = func(n *sender.NewRelay)
		url := func(s string) of { return func(n *sender.NewRelay) { n.HTTP.URL = s } }
		body := func(s string, headers ...string) of {
			return func(n *sender.NewRelay) {
				n.HTTP.Body = &s
				n.HTTP.Headers = make(map[string]string)
				for i := 0; i < len(headers); i += 2 {
					n.HTTP.Headers[headers[i]] = headers[i+1]
				}
			}
		}
		const fine = `{"to":"${to}","m":"${message}"}`
		get := func(s string) of {
			return func(n *sender.NewRelay) { n.HTTP.Method, n.HTTP.Body, n.HTTP.URL = "GET", nil, s }
		}
		basic := func(n *sender.NewRelay) { n.HTTP.Bearer, n.Username = false, "postseal" }
		for _, c := range []struct {
			what   string
			change of
			kind   sender.Kind
			field  string
		}{
			{"as it should be", func(*sender.NewRelay) {}, "", ""},
			{"Basic", basic, "", ""},
			{"a GET", get("https://api.example.org:8443?to=${to}&m=${message}"), "", ""},
			{"an address in the path", get("HTTPS://API.Example.ORG/${to}?m=${text}"), "", ""},
			{"IPv6", url("https://[2001:db8::1]:8443/"), "", ""},
			{"another script", url("https://bücher.example/mail"), "", ""},
			{"JSON of another type", body(fine, "content-TYPE", "application/problem+json; charset=UTF-8"), "", ""},
			{"a form", body("to=${to}&m=${message}", "Content-Type", "application/x-www-form-urlencoded"), "", ""},
			{"the recipient in a header", body(`{"m":"${message}"}`, "X-To", "${to}"), "", ""},
			{"no name", func(n *sender.NewRelay) { n.HTTP.Name = "" }, sender.Required, "name"},
			{"a host beside it", func(n *sender.NewRelay) { n.Host = "smtp.example.org" }, sender.Invalid, "host"},
			{"a port beside it", func(n *sender.NewRelay) { n.Port = 465 }, sender.Invalid, "port"},
			{"no URL", url(""), sender.Required, "url"},
			{"clear text", url("http://api.example.org/"), sender.Invalid, "url"},
			{"another scheme", url("ftp://api.example.org/"), sender.Invalid, "url"},
			{"no scheme", url("api.example.org/"), sender.Invalid, "url"},
			{"no host", url("https:///mail"), sender.Invalid, "url"},
			{"a user", url("https://a:b@api.example.org/"), sender.Invalid, "url"},
			{"a user in disguise", url(`https://api.example.org\@evil.example/`), sender.Invalid, "url"},
			{"a host to be filled in", url("https://${to}/"), sender.Invalid, "url"},
			{"half a host to be filled in", url("https://api.${from}.example.org/"), sender.Invalid, "url"},
			{"a fragment", url("https://api.example.org/#x"), sender.Invalid, "url"},
			{"a blank", url("https://api.example.org/a b"), sender.Invalid, "url"},
			{"a line end", url("https://api.example.org/\r\nX: y"), sender.Invalid, "url"},
			{"a number for a host", url("https://2130706433/"), sender.Invalid, "url"},
			{"an interface", url("https://[fe80::1%25lo]/"), sender.Invalid, "url"},
			{"a port of others", url("https://api.example.org:25/"), sender.Invalid, "url"},
			{"no port", url("https://api.example.org:x/"), sender.Invalid, "url"},
			{"a port too high", url("https://api.example.org:70000/"), sender.Invalid, "url"},
			{"a long URL", url("https://api.example.org/" + strings.Repeat("x", 2000)), sender.Invalid, "url"},
			{"a subject in the path", url("https://api.example.org/${subject}/"), sender.Invalid, "url"},
			{"bad escapes", url("https://api.example.org/%zz"), sender.Invalid, "url"},
			{"PUT", func(n *sender.NewRelay) { n.HTTP.Method = "PUT" }, sender.Invalid, "method"},
			{"no method", func(n *sender.NewRelay) { n.HTTP.Method = "" }, sender.Required, "method"},
			{"POST without a body", func(n *sender.NewRelay) { n.HTTP.Body = nil }, sender.Required, "body"},
			{"GET with a body", func(n *sender.NewRelay) { n.HTTP.Method = "GET" }, sender.Invalid, "body"},
			{"nobody to send to", body(`{"m":"${message}"}`), sender.Required, "body"},
			{"nothing to read", body(`{"to":"${to}"}`), sender.Required, "body"},
			{"GET for nobody", get("https://api.example.org/?m=${message}"), sender.Required, "url"},
			{"an unknown variable", body(`{"to":"${to}","m":"${message}","x":"${user.name.given}"}`), sender.Invalid, "body"},
			{"a one-time code", body(`{"to":"${to}","m":"${message}","x":"${otp}"}`), sender.Invalid, "body"},
			{"no string", body(`{"to":"${to}","m":${message}}`, "Content-Type", "application/json"), sender.Invalid, "body"},
			{"behind a backslash", body(`{"to":"${to}","m":"\${message}"}`, "Content-Type", "application/json"), sender.Invalid, "body"},
			{"within an escape", body(`{"to":"${to}","m":"\u00${message}00"}`, "Content-Type", "application/json"), sender.Invalid, "body"},
			{"no JSON and no type", body("to=${to}&m=${message}"), sender.Required, "headers"},
			{"XML", body("<m to='${to}'>${message}</m>", "Content-Type", "text/xml"), sender.Invalid, "headers"},
			{"another charset", body(fine, "Content-Type", "application/json; charset=latin1"), sender.Invalid, "headers"},
			{"a type to be filled in", body(fine, "Content-Type", "application/json; a=${to}"), sender.Invalid, "headers"},
			{"a line end in a header", body(fine, "X-A", "a\r\nX-B: b"), sender.Invalid, "headers"},
			{"a line end in a header's name", body(fine, "X-A: a\r\nX-B", "b"), sender.Invalid, "headers"},
			{"a body in a header", body(fine, "X-A", "${message}"), sender.Invalid, "headers"},
			{"the credential in a header", body(fine, "authorization", "Bearer x"), sender.Invalid, "headers"},
			{"another host", body(fine, "HOST", "evil.example"), sender.Invalid, "headers"},
			{"a header twice", body(fine, "X-A", "a", "x-a", "b"), sender.Invalid, "headers"},
			{"a colon in the user name", func(n *sender.NewRelay) { basic(n); n.Username = "a:b" }, sender.Invalid, "username"},
			{"no user name", func(n *sender.NewRelay) { n.HTTP.Bearer = false }, sender.Required, "username"},
			{"a user name of a token", func(n *sender.NewRelay) { n.Username = "a" }, sender.Invalid, "username"},
			{"a token with a line end", func(n *sender.NewRelay) { n.Password = "a\nb" }, sender.Invalid, "password"},
			{"a password with a line end", func(n *sender.NewRelay) { basic(n); n.Password = "a\nb" }, sender.Invalid, "password"},
			{"no token", func(n *sender.NewRelay) { n.Password = "" }, sender.Required, "password"},
			{"unproven author", func(n *sender.NewRelay) { n.From = &sender.Correspondent{Address: "boss@example.com"} }, sender.Refused, "from"},
		} {
			if err := h.DeleteRelay(t.Context(), h.admin, h.tenant.ID); err != nil && sender.KindOf(err) != sender.NotFound {
				t.Fatal(err) // a token that was kept would hide that there is none
			}
			_, err := h.SetRelay(t.Context(), h.admin, h.tenant.ID, httpWay(c.change))
			e, _ := errors.AsType[*sender.Error](err)
			if (err == nil) != (c.kind == "") || err != nil && (e == nil || e.Kind != c.kind || e.Field != c.field) {
				t.Errorf("%s: %v, want %q on %q", c.what, err, c.kind, c.field)
			}
		}
	})
}

func TestTokenIsKeptForItsOriginAndMethodOnly(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		set := func(want sender.Kind, change ...func(*sender.NewRelay)) {
			t.Helper()
			if _, err := h.SetRelay(t.Context(), h.admin, h.tenant.ID, httpWay(change...)); sender.KindOf(err) != want {
				t.Errorf("%v, want %q", err, want)
			}
		}
		without := func(n *sender.NewRelay) { n.Password = "" }
		set("")
		set("", without, func(n *sender.NewRelay) { n.HTTP.URL = "https://API.example.org:443/v2/mail?x=1" })
		for _, elsewhere := range []string{"https://thief.example/mail", "https://api.example.org:8443/mail", "https://api.example.org.thief.example/mail"} {
			set(sender.Required, without, func(n *sender.NewRelay) { n.HTTP.URL = elsewhere })
		}
		set(sender.Required, without, func(n *sender.NewRelay) { n.HTTP.Bearer, n.Username = false, "x" })
		if r, err := h.store.Relay(t.Context(), h.tenant.ID); err != nil || r.Password != "token" || r.HTTP.URL != "https://API.example.org:443/v2/mail?x=1" {
			t.Errorf("kept %+v, %v", r, err)
		}
		if _, err := h.ownRelay(); err != nil {
			t.Error(err)
		}
		set(sender.Required, without)
	})
}

func TestServerThatAsksForTimeIsGivenIt(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		for asked, want := range map[time.Duration]time.Duration{0: 5 * time.Second, time.Second: 5 * time.Second, 10 * time.Minute: 10 * time.Minute, 100 * time.Hour: time.Hour} {
			h.way.mu.Lock()
			h.way.outcomes, h.way.asks = []sender.DeliveryOutcome{sender.TempFailed}, asked
			h.way.mu.Unlock()
			m := h.mustSend(from)
			time.Sleep(100 * time.Millisecond)
			wait := time.Until(h.state(m).NextAttemptAt) + 100*time.Millisecond
			if wait < want-want/8 || wait > want+want/8 {
				t.Errorf("asked for %s, it is tried again after %s; want %s", asked, wait, want)
			}
			time.Sleep(2 * time.Hour)
			if got := h.state(m); got.State != sender.Sent {
				t.Errorf("then it is %s", got.State)
			}
		}
	})
}

func TestHostOfAnotherScriptIsAskedForInALabels(t *testing.T) {
	h := &sender.HTTPProvider{Method: "GET", URL: "https://BÜCHER.example:8443/${to}?m=${message}"}
	r, err := h.Request(sender.Parts{To: "a@example.org", Text: "ä"})
	if want := "https://xn--bcher-kva.example:8443/a%40example.org?m=%C3%A4"; err != nil || r.URL != want {
		t.Errorf("%s, %v; want %s", r.URL, err, want)
	}
}
