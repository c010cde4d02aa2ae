package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/mail/mailtest"
)

// server is the real binary, serving.
type server struct {
	b        *testing.B
	binary   string
	dir      string
	dns      *dnstest.Server
	sink     *mailtest.Sink
	address  string
	operator string
	token    string   // admin in every tenant
	tenants  []string // each of 50 domains at most
	process  *exec.Cmd
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "postseal-bench-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "postseal")
	out, err := exec.Command("go", "build", "-o", binary, "../cmd/postseal").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return binary, err
})

// newServer starts a fresh instance with so many tenants and one credential that
// may do everything in all of them.
func newServer(b *testing.B, tenants int) *server {
	b.Helper()
	binary, err := build()
	if err != nil {
		b.Fatal(err)
	}
	s := &server{b: b, binary: binary, dir: b.TempDir(), dns: dnstest.Serve(b, ""), sink: mailtest.Serve(b, mailtest.CountOnly())}
	s.dns.Add(`_spf.mail.postseal.test. IN TXT "v=spf1 ip4:127.0.0.1 -all"`)
	s.run("keygen", "--out", s.dir+"/keys")
	s.run(s.flags("migrate")...)
	s.operator = strings.TrimSpace(s.run(s.flags("credential", "create", "--operator")...))
	s.start()
	for i := range tenants {
		var t struct{ ID string }
		s.api("POST", "/v1/tenants", s.operator, fmt.Sprintf(`{"name":"Tenant %d","recordSet":"shared"}`, i), &t)
		s.tenants = append(s.tenants, t.ID)
	}
	var c struct{ ID, Secret string }
	s.api("POST", "/v1/tenants/"+s.tenants[0]+"/credentials", s.operator,
		`{"kind":"oauth-client","name":"bench","grants":[{"organization":"0197a000-0000-7000-8000-000000000001","role":"admin"}]}`, &c)
	s.token = s.login(c.ID, c.Secret)
	return s
}

func (s *server) flags(command ...string) []string {
	if at := os.Getenv("POSTSEAL_TEST_DEBUG"); at != "" { // for a look at the profile while it runs
		command = append(command, "--set", "debug.listen="+at)
	}
	return append(command, "--database", "sqlite:"+s.dir+"/bench.db", "--key-file", s.dir+"/keys", "--set", "service.domain=mail.postseal.test",
		"--set", "dns.resolvers="+s.dns.Addr(), "--set", "verify.quorum=1", "--set", "http.listen=127.0.0.1:0",
		"--set", "send.relay.address="+s.sink.Addr(), "--set", "send.relay.tls=none", "--set", "code.per_recipient=1000000")
}

func (s *server) run(args ...string) string {
	s.b.Helper()
	var errOut bytes.Buffer
	c := exec.Command(s.binary, args...)
	c.Stderr = &errOut
	out, err := c.Output()
	if err != nil {
		s.b.Fatalf("%s: %v\n%s", args, err, errOut.Bytes())
	}
	return string(out)
}

// start runs the server until the benchmark ends or stop.
func (s *server) start() {
	s.b.Helper()
	s.process = exec.Command(s.binary, s.flags("serve")...)
	pipe, err := s.process.StderrPipe()
	if err != nil {
		s.b.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		s.b.Fatal(err)
	}
	process := s.process
	s.b.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		var l struct{ Msg, HTTP string }
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "ready" {
			s.address = l.HTTP
			go io.Copy(io.Discard, pipe) //nolint:errcheck // ends with the process
			return
		}
		s.b.Log(lines.Text())
	}
	s.b.Fatal("the server ended before it was ready")
}

// kill ends the server at once: what it was sending is begun again by the next.
func (s *server) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func (s *server) api(method, path, token, body string, out any, contentType ...string) {
	s.b.Helper()
	req, err := http.NewRequest(method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		s.b.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", append(slices.Clone(contentType), "application/json")[0])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.b.Fatal(err)
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		s.b.Fatalf("%s %s: %s: %s", method, path, resp.Status, raw)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			s.b.Fatalf("%s: %v", raw, err)
		}
	}
}

func (s *server) login(id, secret string) string {
	s.b.Helper()
	var t struct {
		AccessToken string `json:"access_token"`
	}
	s.api("POST", "/v1/token", "", "grant_type=client_credentials&client_id="+id+"&client_secret="+secret, &t, "application/x-www-form-urlencoded")
	return t.AccessToken
}

// provenDomain registers a domain in a tenant, publishes its records and reads
// every status until it is ACTIVE.
func (s *server) provenDomain(tenant, name string) (id string) {
	s.b.Helper()
	var d struct {
		ID      string
		Records []struct{ Name, Type, Value string }
		Facets  []struct{ Purpose, Status string }
	}
	s.api("POST", "/v1/environments/"+tenant+"/emailDomains", s.token, `{"domainName":"`+name+`"}`, &d)
	id = d.ID
	s.api("GET", "/v1/tenants/"+tenant+"/domains/"+id, s.token, "", &d)
	for _, r := range d.Records {
		if r.Type == "TXT" {
			r.Value = `"` + r.Value + `"`
		} else {
			r.Value += "."
		}
		s.dns.Add(r.Name + ". 60 IN " + r.Type + " " + r.Value)
	}
	for range 50 {
		s.api("GET", "/v1/tenants/"+tenant+"/domains/"+id+"/findings?check=true", s.token, "", nil)
		s.api("GET", "/v1/tenants/"+tenant+"/domains/"+id, s.token, "", &d)
		if !slices.ContainsFunc(d.Facets, func(f struct{ Purpose, Status string }) bool { return f.Status != "verified" }) {
			return id
		}
		time.Sleep(200 * time.Millisecond)
	}
	s.b.Fatalf("%s did not turn ACTIVE: %+v", name, d.Facets)
	return ""
}

// activeAddress registers an address of a domain whose environment record is
// verified: it is active at once.
func (s *server) activeAddress(tenant, domain, mailbox string) {
	s.b.Helper()
	var a struct{ Status string }
	s.api("POST", "/v1/environments/"+tenant+"/emailDomains/"+domain+"/trustedEmails", s.token, `{"emailAddress":"`+mailbox+`"}`, &a)
	if a.Status != "ACTIVE" {
		s.b.Fatalf("%s is %s", mailbox, a.Status)
	}
}

// bare starts the limit's server and returns its address.
func bare(b *testing.B) string {
	b.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), bareVariable+"="+b.TempDir())
	c.Stderr = os.Stderr
	pipe, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	address, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(address)
}
