package pingone_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"testing"

	"github.com/patrickcping/pingone-go-sdk-v2/management"
	"golang.org/x/oauth2"
)

// TestEnvFileAloneMakesTheInstanceTrusted sets up nothing but the proxy: what
// the env file put into the environment, SSL_CERT_FILE among it, has to be enough,
// since the vendor's tools take neither a CA nor a port. Go reads that variable
// only where it has no system call for the platform's roots.
func TestEnvFileAloneMakesTheInstanceTrusted(t *testing.T) {
	viaProxy := &http.Transport{Proxy: http.ProxyURL(proxy(t)), TLSClientConfig: &tls.Config{}}
	t.Cleanup(viaProxy.CloseIdleConnections)
	c := &client{auth: "https://" + os.Getenv("PINGONE_AUTH_SERVICE_HOSTNAME"), env: os.Getenv("PINGONE_ENVIRONMENT_ID")}
	token, err := c.credentials("").Token(context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: viaProxy}))
	if err != nil {
		t.Fatal(err)
	}
	cfg := management.NewConfiguration()
	cfg.ProxyURL = new(proxy(t).String())
	cfg.AddDefaultHeader("Authorization", "Bearer "+token.AccessToken)
	hostname(t, os.Getenv("PINGONE_API_SERVICE_HOSTNAME"))(cfg)
	sdk := management.NewAPIClient(cfg)
	t.Cleanup(cfg.HTTPClient.CloseIdleConnections)
	d, resp, err := sdk.EnvironmentsApi.ReadOneEnvironment(t.Context(), c.env).Execute()
	succeeded(t, "E1", 200, resp, err)
	if d.GetId() != c.env || resp.TLS == nil {
		t.Errorf("E1: id %q, TLS %v", d.GetId(), resp.TLS)
	}
}
