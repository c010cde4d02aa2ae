// Package app_test walks through the main job with parts that nobody here wrote:
// what Postseal says to the world has to be understood by others, and what others
// say by Postseal.
//
//	client --HTTP--> Postseal --SMTP--> Postfix --SMTP--> sink --> python3-dkim, python3-spf
//	                  |    ^                                              |
//	                  DNS  DNS (service zone)                            DNS
//	                  v    |                                              v
//	                 unbound, twice  <------------------------------------+
//	                  v
//	                 Knot (the tenant's zone)
package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postseal/postseal/internal/app"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/mail/mailtest"
	"github.com/postseal/postseal/internal/sender"
)

const (
	serviceDomain = "mail.postseal.test"
	tenantZone    = "tenant.example.org"
	relayHost     = "relay.postseal.test"
	author        = "noreply@tenant.example.org"
	reader        = "reader@example.net"
	secondRegion  = "us-west-2"
)

// grace is that of the instance under test; production has days.
const grace = 1500 * time.Millisecond

// configuration is a file as `postseal serve` reads it. Only the intervals are
// unlike production.
const configuration = `
database: sqlite:@D@/postseal.db
key_file: @D@/keys
http:
  listen: @HTTP@
service:
  domain: ` + serviceDomain + `
  nameservers: [{host: ns1.` + serviceDomain + `, addresses: [127.0.0.1]}]
  outbound: [127.0.0.1]
  feedback: [127.0.0.1]
dns:
  listen: @DNS@
  resolvers: [@RESOLVERS@]
  authoritative_map: ["127.0.0.1=@TENANT@"]
send:
  relay: {address: @RELAY@, tls: none}
verify:
  grace: @GRACE@
  loss_checks: 2
  pending_every: 500ms
  active_every: 500ms
  lapsing_every: 500ms
  unknown_every: 500ms
  sweep: 1s
log: {level: debug, format: text}
`

// record is one to publish; region is that of DKIM records only.
type record struct{ name, rtype, value, region string }

// client is one of the API, with the peers at hand.
type client struct {
	*peers
	http  *http.Client
	url   string
	token string
}

// call makes one request, demands its status and reads the answer into out,
// unless that is nil.
func (c *client) call(want int, method, path, media string, in, out any) {
	c.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		c.must(err)
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.ctx, method, c.url+path, body)
	c.must(err)
	req.Header.Set("Authorization", "Bearer "+c.token)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	c.do(want, req, out)
}

func (c *client) do(want int, req *http.Request, out any) {
	c.t.Helper()
	resp, err := c.http.Do(req)
	c.must(err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	c.must(err)
	if resp.StatusCode != want {
		c.t.Fatalf("%s %s answered %s, want %d: %s", req.Method, req.URL.Path, resp.Status, want, raw)
	}
	if out != nil {
		c.must(json.Unmarshal(raw, out))
	}
}

func (c *client) get(path string, out any) {
	c.t.Helper()
	c.call(http.StatusOK, http.MethodGet, path, "", nil, out)
}

func (c *client) post(want int, path string, in, out any) {
	c.t.Helper()
	c.call(want, http.MethodPost, path, "application/json", in, out)
}

// until looks again and again, since names live in caches for a second or two,
// for 15 seconds at most. look tells what it saw.
func (c *client) until(what string, look func() (ok bool, saw any)) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 15*time.Second)
	defer cancel()
	for {
		ok, saw := look()
		if ok {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			c.t.Fatalf("waited in vain for %s; last seen: %v", what, saw)
		}
	}
}

// serve runs an instance as `postseal migrate` and `postseal serve` would, between
// two resolvers and a relay, until the end of the test.
func (p *peers) serve(relay string) (c *client, resolvers []string) {
	p.t.Helper()
	// The resolvers must know our port and we theirs, so the sockets come first.
	l, err := app.Config{HTTP: app.HTTPConfig{Listen: "127.0.0.1:0"}, DNS: app.DNSConfig{Listen: "127.0.0.1:0"}}.Listen()
	p.must(err)
	taken := false
	p.t.Cleanup(func() {
		if !taken {
			l.Close()
		}
	})
	tenant := p.startKnot()
	for _, name := range []string{"unbound-1", "unbound-2"} {
		resolvers = append(resolvers, p.startUnbound(name, tenant, l.DNS.Addr().String()))
	}
	p.must(os.WriteFile(p.path("keys"), []byte(app.GenerateKey()), 0o600))
	p.write(p.path("postseal.yaml"), configuration, "@HTTP@", l.HTTP.Addr().String(), "@DNS@", l.DNS.Addr().String(),
		"@RESOLVERS@", `"`+strings.Join(resolvers, `", "`)+`"`, "@TENANT@", tenant, "@RELAY@", relay, "@GRACE@", grace.String())
	cfg, err := app.LoadConfig(p.path("postseal.yaml"), nil, nil)
	p.must(err)
	if cfg.Verify.Quorum != 2 {
		p.t.Fatalf("verify.quorum is %d by default; this test is about 2", cfg.Verify.Quorum)
	}
	logFile, err := os.Create(p.path("postseal.log"))
	p.must(err)
	p.t.Cleanup(func() { _ = logFile.Close() })
	log := slog.New(slog.NewTextHandler(logFile, &slog.HandlerOptions{Level: slog.LevelDebug}))

	p.must(app.Migrate(p.ctx, cfg, log))
	taken = true
	a, err := app.New(p.ctx, cfg, l, log)
	p.must(err)
	ctx, stop := context.WithCancel(p.ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	c = &client{peers: p, http: &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}, url: "http://" + l.HTTP.Addr().String()}
	p.t.Cleanup(func() {
		c.http.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			p.t.Errorf("the instance ended with: %v", err)
		}
	})
	c.get("/readyz", nil) // the socket is open: whoever connects waits for Run
	// While the server runs, as an operator would.
	p.must(app.WithAuth(p.ctx, cfg, log, func(a *auth.Auth) error {
		_, key, err := a.CreateCredential(p.ctx, auth.Local(), auth.NewCredential{Kind: sender.APIKey, Name: "operator", Operator: true})
		c.token = string(key)
		return err
	}))
	return c, resolvers
}

// facet is one status of the PingOne dialect, with what is to be published.
type facet struct {
	Name, Status, Key, Value string
	Tokens                   []struct{ Key, Value string }
}

// facets reads all statuses of a domain, with the records behind them; that of the
// optional environment record comes apart. Reading is the check.
func (c *client) facets(domain string) (status map[string]string, records []record, environment facet) {
	c.t.Helper()
	var ownership, dkim struct {
		Regions              []facet
		EnvironmentDNSRecord facet
	}
	var spf facet
	c.get(domain+"/ownership", &ownership)
	c.get(domain+"/dkim", &dkim)
	c.get(domain+"/spf", &spf)
	status = map[string]string{"spf": spf.Status}
	for _, r := range ownership.Regions {
		status["ownership in "+r.Name] = r.Status
		records = append(records, record{name: r.Key, rtype: "TXT", value: r.Value})
	}
	for _, r := range dkim.Regions {
		status["dkim in "+r.Name] = r.Status
		for _, token := range r.Tokens {
			records = append(records, record{token.Key, "CNAME", token.Value, r.Name})
		}
	}
	return status, append(records, record{name: spf.Key, rtype: "TXT", value: spf.Value}), ownership.EnvironmentDNSRecord
}

func all(status map[string]string, want string) bool {
	return !slices.ContainsFunc(slices.Collect(maps.Values(status)), func(s string) bool { return s != want })
}

// findings is the native API's evidence about a domain, with its finer states.
type findings struct {
	Domain struct {
		Facets []struct {
			Purpose, Region, Status string
			CheckedAt               time.Time
		}
	}
	Findings []struct {
		Purpose, Region, Outcome, Code, Expected, Fix string
		Observed                                      []string
	}
}

// message is what the native API says of one.
type message struct{ ID, State, Reason, Note string }

// send sends a mail, which is to be accepted with the note, waits until Postfix has
// it, and returns it as the sink got it.
func (c *client) send(sink *mailtest.Sink, subject, note string) mailtest.Message {
	c.t.Helper()
	before := sink.Count()
	var m message
	c.post(http.StatusAccepted, "/v1/messages", mailFrom(author, subject), &m)
	if m.Note != note {
		c.t.Errorf("%q is accepted with the note %q, want %q", subject, m.Note, note)
	}
	c.until("the message to be sent", func() (bool, any) {
		c.get("/v1/messages/"+m.ID, &m)
		return m.State == "sent", m
	})
	got, err := sink.WaitMessages(c.ctx, before+1)
	c.must(err)
	return got[before]
}

func mailFrom(address, subject string) map[string]any {
	return map[string]any{
		"from": map[string]string{"name": "Tenant", "address": address}, "to": map[string]string{"address": reader},
		"subject": subject, "text": "Hello, this is the body.\n", "html": "<p>Hello, this is the body.</p>",
	}
}

var codeInMail = regexp.MustCompile(`Verification code: ([a-z0-9]{8})`)

// TestJourneyWithPeersThatOthersWrote registers a domain, proves it in Knot through
// two unbound, proves an address by the code that comes out of Postfix, has the
// signed mail judged by programs of others, also with a reverse-path of the
// tenant's own, and then lets the tenant's name server
// fail for longer than an absence would be forgiven.
func TestJourneyWithPeersThatOthersWrote(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	began := time.Now()
	step := func(format string, args ...any) {
		t.Logf("%5.1f s  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	p := newPeers(t)
	sink := mailtest.Serve(t)
	c, resolvers := p.serve(p.startPostfix(sink.Addr()))
	step("Knot, two unbound, Postfix and Postseal are running")

	// A tenant that may send from proven domains only, and its worker application.
	var tenant, worker struct{ ID, Secret string }
	c.post(http.StatusCreated, "/v1/tenants", map[string]any{
		"name": "Tenant", "geography": "na", "regions": []string{"us-east-1", secondRegion}, "fromPolicy": "domain",
	}, &tenant)
	c.post(http.StatusCreated, "/v1/tenants/"+tenant.ID+"/credentials", map[string]any{
		"kind": "oauth-client", "name": "worker", "grants": []map[string]string{{"tenant": tenant.ID, "role": "admin"}},
	}, &worker)
	c.login(tenant.ID, worker.ID, worker.Secret)

	// The owner begins with a mistake.
	wrong := record{name: "_postseal." + tenantZone, rtype: "TXT", value: "the value of another record"}
	p.publish([]record{wrong}, nil)
	var made struct{ ID string }
	domains := "/v1/environments/" + tenant.ID + "/emailDomains"
	c.post(http.StatusCreated, domains, map[string]string{"domainName": tenantZone}, &made)
	domain, evidence := domains+"/"+made.ID, "/v1/tenants/"+tenant.ID+"/domains/"+made.ID+"/findings"
	status, records, environment := c.facets(domain)
	if len(status) != 5 || !all(status, "VERIFICATION_REQUIRED") || environment.Status != "VERIFICATION_REQUIRED" {
		t.Fatalf("before the records are published: %v, environment %s", status, environment.Status)
	}
	c.until("VALUE_MISMATCH for both ownership records", func() (bool, any) {
		var seen findings
		c.get(evidence+"?check=true", &seen)
		n := 0
		for _, f := range seen.Findings {
			if f.Purpose == "ownership" && f.Code == "VALUE_MISMATCH" && strings.Contains(f.Fix, f.Expected) && slices.Contains(f.Observed, wrong.value) {
				n++
			}
		}
		return n == 2, seen
	})
	c.post(http.StatusUnprocessableEntity, "/v1/messages", mailFrom(author, "Too early"), nil)
	step("a wrong value is VALUE_MISMATCH, everything VERIFICATION_REQUIRED")

	p.publish(records, []record{wrong})
	c.until("every status ACTIVE", func() (bool, any) {
		status, _, _ := c.facets(domain)
		return all(status, "ACTIVE"), status
	})
	step("%d records published in Knot, everything ACTIVE", len(records))

	var address struct{ ID, Status string }
	c.post(http.StatusCreated, domain+"/trustedEmails", map[string]string{"emailAddress": author}, &address)
	got, err := sink.WaitMessages(p.ctx, 1)
	c.must(err)
	codeMail := got[0]
	code := codeInMail.FindSubmatch(codeMail.Data)
	if code == nil || codeMail.To != author {
		t.Fatalf("no code in the mail to %s:\n%s", codeMail.To, codeMail.Data)
	}
	c.call(http.StatusCreated, http.MethodPost, domain+"/trustedEmails/"+address.ID, "application/vnd.pingidentity.trustedEmail.activate+json",
		map[string]string{"verificationCode": string(code[1])}, &address)
	if address.Status != "ACTIVE" {
		t.Fatalf("the address is %s after its code", address.Status)
	}
	step("the address is ACTIVE by the code that came out of Postfix")

	signed := c.send(sink, "Your invoice of today", "")
	if !bytes.Contains(signed.Data, []byte("by "+relayHost+" (Postfix)")) {
		t.Errorf("the mail did not come through Postfix:\n%s", signed.Data)
	}
	c.judgeDKIM(resolvers[0], codeMail, signed, records)
	c.judgeSPF(resolvers[1], signed)
	step("python3-dkim and python3-spf judge as they should, whole and tampered with")

	c.ownReversePath(resolvers[1], domain, strings.TrimSuffix(evidence, "/findings"), sink)
	step("a MAIL FROM domain passes python3-spf aligned, and does what it says without its MX")

	c.lose(domain, records)
	step("records that are taken away are lost after the grace, and only they")
	c.survive(evidence, domain, sink)
	step("SERVFAIL for longer than the grace changed nothing, and mail went out meanwhile")

	log, err := os.ReadFile(p.path("postseal.log"))
	c.must(err)
	for what, secret := range map[string]string{"code": string(code[1]), "client secret": worker.Secret, "access token": c.token} {
		if bytes.Contains(log, []byte(secret)) {
			t.Errorf("the log holds the %s", what)
		}
	}
}

// login gets an access token as a PingOne worker application does.
func (c *client) login(environment, id, secret string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.url+"/"+environment+"/as/token", strings.NewReader("grant_type=client_credentials"))
	c.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	var token struct {
		AccessToken string `json:"access_token"`
	}
	c.do(http.StatusOK, req, &token)
	c.token = token.AccessToken
}

// judgeDKIM has the mail judged as it came, and in ways that must not pass. All
// are judged in one run, so that a failure is not one of the DNS.
func (c *client) judgeDKIM(resolver string, codeMail, signed mailtest.Message, records []record) {
	c.t.Helper()
	tamper := func(old, replacement string) []byte {
		if n := bytes.Count(signed.Data, []byte(old)); n != 1 {
			c.t.Fatalf("%q is in the mail %d times, want once:\n%s", old, n, signed.Data)
		}
		return bytes.Replace(signed.Data, []byte(old), []byte(replacement), 1)
	}
	verdicts := c.dkim(resolver, map[string][]byte{
		"code":           codeMail.Data,
		"whole":          signed.Data,
		"body":           tamper("\r\nHello, this is the body.\r\n", "\r\nHello, that is the body.\r\n"),
		"subject":        tamper("Subject: Your invoice of today", "Subject: Your invoice of todaz"),
		"second-subject": append([]byte("Subject: Pay at once\r\n"), signed.Data...),
		"unsigned":       tamper("DKIM-Signature:", "X-Was-Signature:"),
	})
	for name, sdid := range map[string]string{"whole": tenantZone, "code": serviceDomain} {
		if v := verdicts[name]; len(v) != 1 || !v[0].pass || v[0].sdid != sdid {
			c.t.Errorf("%s: python3-dkim says %+v, want one signature of %s that passes", name, v, sdid)
		}
	}
	if v := verdicts["whole"]; !slices.ContainsFunc(records, func(r record) bool { return r.name == v[0].selector+"._domainkey."+tenantZone }) {
		c.t.Errorf("the key %s is none that the tenant published", v[0].selector)
	}
	for _, name := range []string{"body", "subject", "second-subject", "unsigned"} {
		for _, v := range verdicts[name] {
			if v.pass {
				c.t.Errorf("%s: python3-dkim lets it pass, so its verdicts mean nothing: %+v", name, v)
			}
		}
	}
}

// judgeSPF has the reverse-path and the author's domain judged, for the address
// that mail leaves from and for one that it does not.
func (c *client) judgeSPF(resolver string, signed mailtest.Message) {
	c.t.Helper()
	if !strings.HasSuffix(signed.From, "@bounce."+serviceDomain) {
		c.t.Errorf("the reverse-path is %s", signed.From)
	}
	got := c.spf(resolver, "127.0.0.1", signed.From, "127.0.0.2", signed.From, "127.0.0.1", author, "127.0.0.2", author)
	if want := []string{"pass", "fail", "pass", "softfail"}; !slices.Equal(got, want) {
		c.t.Errorf("python3-spf says %v of the reverse-path and the author, each from our address and another; want %v", got, want)
	}
}

// lose takes the DKIM records of one region away and sees them lost: else nobody
// would know whether anything looks.
func (c *client) lose(domain string, records []record) {
	c.t.Helper()
	c.publish(nil, slices.DeleteFunc(slices.Clone(records), func(r record) bool { return r.region != secondRegion }))
	c.until("the loss of the second region's DKIM", func() (bool, any) {
		status, _, _ := c.facets(domain)
		lost := status["dkim in "+secondRegion] == "VERIFICATION_REQUIRED"
		delete(status, "dkim in "+secondRegion)
		if !all(status, "ACTIVE") {
			c.t.Fatalf("more is lost than was taken away: %v", status)
		}
		return lost, "still ACTIVE"
	})
	mail := mailFrom(author, "Unsigned")
	mail["region"] = secondRegion
	c.post(http.StatusUnprocessableEntity, "/v1/messages", mail, nil)
}

// survive lets Knot answer SERVFAIL for longer than the grace. Checks go on, learn
// nothing, and change nothing.
func (c *client) survive(evidence, domain string, sink *mailtest.Sink) {
	c.t.Helper()
	lost := func(purpose, region string) bool {
		return purpose == "environment" || purpose == "dkim" && region == secondRegion
	}
	c.knot("zone-purge +expire " + tenantZone)
	var began time.Time
	c.until("checks that learn nothing, for longer than the grace", func() (bool, any) {
		var seen findings
		c.get(evidence, &seen)
		for _, f := range seen.Findings {
			if f.Outcome != "unknown" || f.Code != "SERVFAIL" && f.Code != "TIMEOUT" {
				return false, seen
			}
		}
		checked := time.Now()
		for _, f := range seen.Domain.Facets {
			if lost(f.Purpose, f.Region) {
				continue
			}
			if f.Status != "verified" { // which ACTIVE does not tell from lapsing
				c.t.Fatalf("SERVFAIL made %s %s %s", f.Purpose, f.Region, f.Status)
			}
			if f.CheckedAt.Before(checked) {
				checked = f.CheckedAt
			}
		}
		if began.IsZero() {
			began = checked
		}
		return len(seen.Findings) > 0 && checked.Sub(began) > grace+grace/4, seen
	})
	status, _, _ := c.facets(domain)
	delete(status, "dkim in "+secondRegion)
	if !all(status, "ACTIVE") {
		c.t.Errorf("after SERVFAIL: %v", status)
	}
	if m := c.send(sink, "Sent while nobody answers", ""); m.To != reader {
		c.t.Errorf("mail went to %s", m.To)
	}
}
