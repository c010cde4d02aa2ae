package pingone_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patrickcping/pingone-go-sdk-v2/management"
)

// arrived is one request of a webhook.
type arrived struct {
	header http.Header
	body   []byte
}

// receiver is an HTTPS server with a certificate of the instance's authority.
func receiver(t *testing.T) (url string, got <-chan arrived) {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(dev.dir, "ca.pem"), filepath.Join(dev.dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan arrived, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case all <- arrived{r.Header, body}:
		default:
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, all
}

// TestTheVendorsClientKeepsSubscriptions makes, reads, lists, changes and deletes one, and
// what happens meanwhile arrives at a real HTTPS server.
func TestTheVendorsClientKeepsSubscriptions(t *testing.T) {
	url, got := receiver(t)
	c := straight(t)
	api := c.SubscriptionsWebhooksApi
	before := c.sent.n.Load()
	c.sent.allowed.Store(before + 100) // what it should need is counted in the end
	target := management.NewSubscriptionHttpEndpoint(url + "/audit")
	target.SetHeaders(map[string]string{"Authorization": "Basic eDp5"})
	filter := management.NewSubscriptionFilterOptions([]string{"EMAIL_DOMAIN.CREATED", "USER.CREATED"})
	filter.SetIpAddressExposed(false)
	s := management.NewSubscription(true, *filter, "Audit", true)
	s.SetHttpEndpoint(*target)
	s.SetFormat(management.ENUMSUBSCRIPTIONFORMAT_ACTIVITY)
	same := func(what string, x *management.Subscription) {
		t.Helper()
		if x == nil || !uuid.MatchString(x.GetId()) || x.GetName() != s.GetName() || x.GetEnabled() != s.GetEnabled() || !x.GetVerifyTlsCertificates() || x.Environment.GetId() != c.env ||
			x.HttpEndpoint == nil || x.HttpEndpoint.GetUrl() != url+"/audit" || x.HttpEndpoint.GetHeaders()["Authorization"] != "Basic eDp5" ||
			strings.Join(x.FilterOptions.GetIncludedActionTypes(), " ") != "EMAIL_DOMAIN.CREATED USER.CREATED" || !x.FilterOptions.HasIpAddressExposed() ||
			x.GetFormat() != management.ENUMSUBSCRIPTIONFORMAT_ACTIVITY || x.GetProtocol() != management.ENUMSUBSCRIPTIONPROTOCOL_HTTPS || x.CreatedAt == nil || x.UpdatedAt == nil {
			t.Fatalf("%s: %s", what, show(x))
		}
	}
	made, resp, err := api.CreateSubscription(t.Context(), c.env).Subscription(*s).Execute()
	succeeded(t, "made", http.StatusCreated, resp, err)
	same("made", made)
	read, resp, err := api.ReadOneSubscription(t.Context(), c.env, made.GetId()).Execute()
	succeeded(t, "read", http.StatusOK, resp, err)
	same("read", read)
	listed := func() (ids []string) {
		t.Helper()
		for page, err := range api.ReadAllSubscriptions(t.Context(), c.env).Execute() {
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range page.EntityArray.Embedded.GetSubscriptions() {
				ids = append(ids, x.GetId())
			}
		}
		return ids
	}
	if ids := listed(); len(ids) != 1 || ids[0] != made.GetId() {
		t.Errorf("listed %q", ids)
	}

	domain := func(name string) {
		t.Helper()
		d, resp, err := c.TrustedEmailDomainsApi.CreateTrustedEmailDomain(t.Context(), c.env).EmailDomain(*management.NewEmailDomain(name)).Execute()
		succeeded(t, name, http.StatusCreated, resp, err)
		t.Cleanup(func() {
			_, _ = c.TrustedEmailDomainsApi.DeleteTrustedEmailDomain(context.Background(), c.env, d.GetId()).Execute()
		})
	}
	arrives := func(name string) {
		t.Helper()
		var a arrived
		select {
		case a = <-got:
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing arrived about %s", name)
		}
		var body []struct {
			ID     string
			Action struct{ Type string }
			Actors struct {
				Client struct{ Type string }
			}
			Resources []struct{ Type, Name string }
			Result    struct{ Status string }
		}
		if err := json.Unmarshal(a.body, &body); err != nil || len(body) != 1 || body[0].Action.Type != "EMAIL_DOMAIN.CREATED" || body[0].Actors.Client.Type != "CLIENT" ||
			len(body[0].Resources) != 1 || body[0].Resources[0].Name != name || body[0].Result.Status != "SUCCESS" {
			t.Errorf("%s arrived, %v", a.body, err)
		}
		if a.header.Get("Authorization") != "Basic eDp5" || a.header.Get("Webhook-Id") != body[0].ID || !strings.HasPrefix(a.header.Get("Webhook-Signature"), "v1,") {
			t.Errorf("with %v", a.header)
		}
	}
	domain("hooks-1.example.org")
	arrives("hooks-1.example.org")

	change := func(what string) {
		t.Helper()
		x, resp, err := api.UpdateSubscription(t.Context(), c.env, made.GetId()).Subscription(*s).Execute()
		succeeded(t, what, http.StatusOK, resp, err)
		same(what, x)
	}
	s.SetName("Audit, suspended")
	s.SetEnabled(false)
	change("suspended")
	domain("hooks-2.example.org")
	s.SetEnabled(true)
	change("active again") // and gets what happened meanwhile
	arrives("hooks-2.example.org")

	s.SetFormat(management.ENUMSUBSCRIPTIONFORMAT_SPLUNK)
	_, resp, err = api.UpdateSubscription(t.Context(), c.env, made.GetId()).Subscription(*s).Execute()
	refused(t, "another format", http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE/format", resp, err)
	resp, err = api.DeleteSubscription(t.Context(), c.env, made.GetId()).Execute()
	succeeded(t, "deleted", http.StatusNoContent, resp, err)
	_, resp, err = api.ReadOneSubscription(t.Context(), c.env, made.GetId()).Execute()
	refused(t, "one that is deleted", http.StatusNotFound, "NOT_FOUND", "", resp, err)
	if ids := listed(); len(ids) != 0 {
		t.Errorf("listed %q", ids)
	}
	if n := c.sent.n.Load() - before; n != 11 {
		t.Errorf("the client sent %d requests, one each would be 11", n)
	}
}
