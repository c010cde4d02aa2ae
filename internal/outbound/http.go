package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"
)

// ClientConfig is what an HTTP client may do beside what its Guard says.
type ClientConfig struct {
	Roots *x509.CertPool // nil: the system's
	Plain bool           // http:// is spoken, too
	// Timeout bounds an exchange as a whole, with the reading of the answer; 0: 30 s.
	Timeout time.Duration
}

// ErrPlain is about a URL that would be asked for in clear text.
var ErrPlain = errors.New("only https is spoken, unless the operator allows http")

const (
	defaultTimeout = 30 * time.Second
	handshake      = 10 * time.Second
	idle           = 30 * time.Second
	mostIdle       = 100
	mostIdleOfOne  = 4
	mostHeader     = 32 << 10 // of an answer
)

// Client returns an HTTP client whose connections the guard has let pass. It follows
// no redirect (the 3xx is the answer), asks no proxy of the environment, keeps no
// cookies, undoes no compression, and speaks HTTP/1.1, so that what one of its
// requests does to a connection is no other's business. The body of an answer is
// unbounded: whoever reads it sets the limit. CloseIdleConnections ends what is kept.
func (g Guard) Client(c ClientConfig) *http.Client {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	var only http.Protocols
	only.SetHTTP1(true)
	return &http.Client{
		Timeout: c.Timeout,
		Transport: transport{plain: c.Plain, Transport: &http.Transport{
			Proxy: nil, DialContext: g.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots}, Protocols: &only,
			TLSHandshakeTimeout: handshake, IdleConnTimeout: idle, MaxIdleConns: mostIdle, MaxIdleConnsPerHost: mostIdleOfOne,
			MaxResponseHeaderBytes: mostHeader, DisableCompression: true,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// transport refuses what would go out in clear text.
type transport struct {
	*http.Transport
	plain bool
}

// RoundTrip makes one exchange.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !(t.plain && r.URL.Scheme == "http") {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, ErrPlain
	}
	return t.Transport.RoundTrip(r)
}
