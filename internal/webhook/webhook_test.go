package webhook

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/postseal/postseal/internal/outbound"
	"github.com/postseal/postseal/internal/sender"
)

const testSecret = sender.Password("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

// loopback lets the tests connect to themselves.
var loopback = outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Ports: Ports}

func serve(t *testing.T, answer http.HandlerFunc) (*httptest.Server, *Poster) {
	t.Helper()
	s := httptest.NewTLSServer(answer)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	p := New(Config{Client: loopback.Client(outbound.ClientConfig{Roots: roots})})
	t.Cleanup(p.Close)
	return s, p
}

func hook(url string) sender.Webhook {
	return sender.Webhook{
		ID: sender.NewID(), URL: url + "/a?b=c", Format: sender.StandardFormat, Secrets: []sender.WebhookSecret{{Key: testSecret}},
		Headers: map[string]sender.Password{"authorization": "Basic eA=="},
	}
}

func event() sender.Event {
	return sender.Event{
		ID: "0197a000-0000-7000-8000-0000000000e1", Tenant: "0197a000-0000-7000-8000-0000000000a1", At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Type: sender.EventDomainProven, Object: "0197a000-0000-7000-8000-0000000000d1", Data: map[string]string{"domainName": "example.org"},
	}
}

func TestPostIsVerifiedByTheLibraryOfTheSpecification(t *testing.T) {
	var got *http.Request
	var body []byte
	s, p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	})
	if out := p.Post(t.Context(), hook(s.URL), event()); out.Status != 200 || out.Error != "" {
		t.Fatalf("%+v", out)
	}
	v, err := standardwebhooks.NewWebhook(string(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(body, got.Header); err != nil {
		t.Error(err)
	}
	if got.Method != "POST" || got.URL.String() != "/a?b=c" || got.Header.Get("Authorization") != "Basic eA==" || got.Header.Get("Content-Type") != "application/json" ||
		got.Header.Get("Webhook-Id") != string(event().ID) || got.UserAgent() != userAgent {
		t.Errorf("%s %s with %v", got.Method, got.URL, got.Header)
	}
}

// The example of docs/webhooks.md is what this code makes, and the library agrees.
func TestExampleOfTheDocumentIsRight(t *testing.T) {
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	body, err := Standard(sender.Webhook{}, event())
	if err != nil {
		t.Fatal(err)
	}
	at := event().At
	signature, err := Sign([]sender.Password{testSecret}, event().ID, at, body)
	if err != nil {
		t.Fatal(err)
	}
	v, err := standardwebhooks.NewWebhook(string(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	if want, err := v.Sign(string(event().ID), at, body); err != nil || want != signature {
		t.Errorf("the library signs %s, %v", want, err)
	}
	for _, want := range []string{
		string(testSecret), "webhook-id: " + string(event().ID) + "\n", fmt.Sprintf("webhook-timestamp: %d\n", at.Unix()), "webhook-signature: " + signature + "\n", string(body) + "\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/webhooks.md lacks %s", want)
		}
	}
}

func TestOnly2xxCounts(t *testing.T) {
	for status, ok := range map[int]bool{200: true, 202: true, 204: true, 299: true, 301: false, 304: false, 307: false, 400: false, 404: false, 410: false, 500: false, 503: false} {
		asked := 0
		s, p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked++
			w.Header().Set("Location", "/elsewhere")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		})
		out := p.Post(t.Context(), hook(s.URL), event())
		if out.Status != status || (out.Error == "") != ok || asked != 1 || (out.RetryAfter == 7*time.Second) != (status >= 400) {
			t.Errorf("%d: %+v after %d requests", status, out, asked)
		}
	}
}

func TestAnswerIsBounded(t *testing.T) {
	s, p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if out := p.Post(ctx, hook(s.URL), event()); out.Status != 200 || time.Since(began) > 10*time.Second {
		t.Errorf("%+v after %s", out, time.Since(began))
	}
}

func TestFailuresAreToldWithoutSecrets(t *testing.T) {
	ended := make(chan struct{})
	s, p := serve(t, func(http.ResponseWriter, *http.Request) { <-ended })
	t.Cleanup(func() { close(ended) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	guarded := New(Config{Client: outbound.Guard{Ports: Ports, Setting: "webhooks.allow"}.Client(outbound.ClientConfig{})})
	for _, c := range []struct {
		name, url string
		p         *Poster
		want      string
	}{
		{"hangs", s.URL, p, "it did not answer in time"},
		{"nobody there", "https://" + closed, p, "no connection"},
		{"unknown authority", s.URL, New(Config{Client: loopback.Client(outbound.ClientConfig{})}), "its certificate is not valid"},
		{"another name", "https://localhost:" + s.URL[strings.LastIndex(s.URL, ":")+1:], p, "its certificate is not valid"},
		{"plain", "http://" + closed, p, outbound.ErrPlain.Error()},
		{"loopback", s.URL, guarded, "webhooks.allow"},
		{"loopback by name", "https://localhost:8443", guarded, "webhooks.allow"},
		{"metadata of clouds", "https://169.254.169.254", guarded, "webhooks.allow"},
		{"IPv4 in IPv6", "https://[::ffff:10.0.0.1]", guarded, "webhooks.allow"},
		{"this machine", "https://0.0.0.0:8443", guarded, "webhooks.allow"},
		{"a port of mail", "https://192.0.2.1:25", guarded, outbound.ErrPort.Error()},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if c.name != "hangs" {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
		}
		w := hook(c.url)
		w.URL += "&token=hidden"
		out := c.p.Post(ctx, w, event())
		cancel()
		if out.Status != 0 || !strings.Contains(out.Error, c.want) {
			t.Errorf("%s: %+v", c.name, out)
		}
		for _, secret := range []string{"hidden", string(testSecret), "Basic"} {
			if strings.Contains(fmt.Sprintf("%+v", out), secret) {
				t.Errorf("%s tells %s: %+v", c.name, secret, out)
			}
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	for _, text := range []string{fmt.Sprint(hook("https://a.example")), fmt.Sprintf("%+v", hook("https://a.example")), fmt.Sprintf("%#v", hook("https://a.example"))} {
		if strings.Contains(text, "whsec_") || strings.Contains(text, "Basic") {
			t.Error(text)
		}
	}
}
