package outbound

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func TestClientDoesWhatItsGuardSaysAndFollowsNobody(t *testing.T) {
	hops := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hops++
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	defer s.Close()
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // nobody listens there
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")

	if _, err := (Guard{Setting: "hooks.allow"}).Client(ClientConfig{Roots: roots}).Get(s.URL); !errors.Is(err, ErrNotPublic) || !strings.Contains(err.Error(), "(hooks.allow)") {
		t.Errorf("loopback, which nobody allowed: %v", err)
	}
	c := Guard{Allow: loopback}.Client(ClientConfig{Roots: roots})
	defer c.CloseIdleConnections()
	r, err := c.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusFound || hops != 1 {
		t.Errorf("%d after %d requests, want the redirect itself after one", r.StatusCode, hops)
	}
	if _, err := (Guard{Allow: loopback}).Client(ClientConfig{}).Get(s.URL); err == nil || errors.Is(err, ErrNotPublic) {
		t.Errorf("a certificate of nobody: %v", err)
	}
}

func TestClearTextAndPortsOfOthersNeedLeave(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	if _, err := (Guard{Allow: loopback}).Client(ClientConfig{}).Post(s.URL, "text/plain", strings.NewReader("x")); !errors.Is(err, ErrPlain) {
		t.Errorf("http: %v", err)
	}
	plain := Guard{Allow: loopback, Ports: []int{80, 443}}.Client(ClientConfig{Plain: true})
	defer plain.CloseIdleConnections()
	r, err := plain.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	for url, refused := range map[string]bool{"http://127.0.0.1:22/": true, "http://127.0.0.1:1023/": true, "http://127.0.0.1:80/": false, "https://127.0.0.1/": false, "ftp://127.0.0.1/": true} {
		r, err := plain.Get(url)
		if err == nil {
			r.Body.Close()
		}
		if got := errors.Is(err, ErrPort) || errors.Is(err, ErrPlain); got != refused {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestServerThatHangsIsLeft(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-hang // in the middle of its answer
	}))
	defer s.Close()
	defer close(hang)
	c := Guard{Allow: loopback}.Client(ClientConfig{Plain: true, Timeout: 100 * time.Millisecond})
	r, err := c.Get(s.URL)
	if err == nil {
		_, err = io.ReadAll(r.Body)
		r.Body.Close()
	}
	if err == nil {
		t.Error("a body that never ends was read")
	}
}
