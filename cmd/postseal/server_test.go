package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
	"github.com/postseal/postseal/internal/store/storetest"
)

// TestMain lets the test binary be run as postseal: a real process, which can be
// killed, with the race detector in it where the test has it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"postseal": main})
}

// onEachEngine runs a test on both databases at once; each waits for its disk
// more than for the processor.
func onEachEngine(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "postseal.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, storetest.Postgres(t))
	})
}

// postseal prepares a command, with nothing of the surrounding configuration.
func postseal(args ...string) *exec.Cmd {
	c := exec.Command("postseal", args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "POSTSEAL_") })
	return c
}

// process is a running postseal and what it logged.
type process struct {
	*exec.Cmd
	ready   chan string // gets the line that a test waits for, at most one
	drained chan struct{}

	mu    sync.Mutex
	lines []string
}

// start runs a command until the test ends; isReady picks the line of standard
// error or output that says that it serves.
func start(t *testing.T, c *exec.Cmd, isReady func(line string) bool) *process {
	t.Helper()
	p := &process{Cmd: c, ready: make(chan string, 1), drained: make(chan struct{})}
	errOut, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	read := func(r io.Reader, keep bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Text()
			if isReady(line) {
				select {
				case p.ready <- line:
				default:
				}
			}
			if keep {
				p.mu.Lock()
				p.lines = append(p.lines, line)
				p.mu.Unlock()
			}
		}
	}
	readers.Go(func() { read(errOut, true) })
	readers.Go(func() { read(out, false) })
	go func() {
		readers.Wait()
		close(p.drained)
	}()
	t.Cleanup(func() { _ = p.kill() })
	return p
}

// kill ends the process by SIGKILL and returns once it is gone.
func (p *process) kill() error {
	_ = p.Process.Kill()
	<-p.drained
	return p.Wait()
}

// stop ends the process by SIGTERM and demands that it ends well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.drained:
	case <-time.After(30 * time.Second):
		t.Fatal("SIGTERM did not end it in 30 s")
	}
	if err := p.Wait(); err != nil {
		t.Errorf("SIGTERM ended it with %v:\n%s", err, p.log())
	}
}

// log is what it wrote to standard error until now.
func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// server is a running instance with DNS and SMTP around it. One of `postseal
// serve` can be killed and started again while clients call it.
type server struct {
	t        *testing.T
	operator string
	client   *http.Client
	publish  func(name, rtype, value string)   // puts a record into the DNS
	mailFor  func(address, text string) string // waits for a mail with a text in it

	sink  *sink    // nil in dev
	flags []string // of serve

	process *process
	logs    []*process

	mu  sync.Mutex
	url string        // empty while it is down
	up  chan struct{} // closed while it is up
}

// newServer starts one. settings are for --set.
func newServer(t *testing.T, database string, settings ...string) *server {
	t.Helper()
	names := dnstest.Serve(t, `_spf.mail.postseal.test. IN TXT "v=spf1 ip4:127.0.0.1 -all"`)
	s := &server{t: t, client: newClient(t), sink: serveSink(t), up: make(chan struct{})}
	s.publish = func(name, rtype, value string) {
		if rtype == "TXT" {
			value = `"` + value + `"`
		} else {
			value = strings.TrimSuffix(value, ".") + "."
		}
		names.Add(strings.TrimSuffix(name, ".") + ". 60 IN " + rtype + " " + value)
	}
	s.mailFor = s.sink.mailFor
	dir := t.TempDir()
	config := filepath.Join(dir, "postseal.yaml")
	if err := os.WriteFile(config, []byte("service:\n  domain: mail.postseal.test\nhttp:\n  listen: 127.0.0.1:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "keys")
	s.flags = []string{"--config", config, "--database", database, "--key-file", keys}
	for _, set := range append([]string{
		"dns.resolvers=" + names.Addr(), "verify.quorum=1", "verify.freshness=20ms", "send.relay.address=" + s.sink.address(), "send.relay.tls=none",
	}, settings...) {
		s.flags = append(s.flags, "--set", set)
	}
	run := func(args ...string) string {
		c := postseal(args...)
		var errOut bytes.Buffer
		c.Stderr = &errOut
		out, err := c.Output()
		if err != nil {
			t.Fatalf("postseal %s: %v\n%s", args, err, errOut.Bytes())
		}
		return strings.TrimSpace(string(out))
	}
	run("keygen", "--out", keys)
	run(append([]string{"migrate"}, s.flags...)...)
	s.operator = run(append([]string{"credential", "create", "--operator"}, s.flags...)...)
	s.start()
	return s
}

// newClient keeps a connection for each of those who call at once.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// start serves again, and returns when it said that it is ready.
func (s *server) start() (ready time.Time) {
	s.t.Helper()
	p := start(s.t, postseal(append([]string{"serve"}, s.flags...)...), func(line string) bool { return strings.Contains(line, `"msg":"ready"`) })
	s.process, s.logs = p, append(s.logs, p)
	select {
	case line := <-p.ready:
		var l struct{ HTTP string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.HTTP == "" {
			s.t.Fatalf("the ready line names no address: %s", line)
		}
		ready = time.Now()
		s.mu.Lock()
		s.url = "http://" + l.HTTP
		close(s.up)
		s.mu.Unlock()
	case <-p.drained:
		s.t.Fatalf("serve ended before it was ready:\n%s", p.log())
	case <-time.After(30 * time.Second):
		s.t.Fatalf("serve was not ready in 30 s:\n%s", p.log())
	}
	return ready
}

// stop ends it by SIGTERM. Connections that were dialled and never used would
// each be waited for.
func (s *server) stop() {
	s.t.Helper()
	s.client.CloseIdleConnections()
	s.process.stop(s.t)
}

// down says that there is nobody to call until start.
func (s *server) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url, s.up = "", make(chan struct{})
}

// address waits until the server is up.
func (s *server) address(ctx context.Context) (string, error) {
	for {
		s.mu.Lock()
		at, up := s.url, s.up
		s.mu.Unlock()
		if at != "" {
			return at, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// call makes one call. The error is that of the connection: no answer came, or
// not all of it.
func (s *server) call(ctx context.Context, method, path, bearer string, body any, header ...string) (status int, o object, err error) {
	at, err := s.address(ctx)
	if err != nil {
		return 0, nil, err
	}
	return request(ctx, s.client, method, at+path, bearer, body, header...)
}

// request sends JSON, or a form, and reads JSON. header are names and values in turn.
func request(ctx context.Context, client *http.Client, method, at, bearer string, body any, header ...string) (status int, o object, err error) {
	var in io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case url.Values:
		in, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, at, in)
	if err != nil {
		return 0, nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return 0, nil, err
	}
	if len(raw) > 0 && json.Unmarshal(raw, &o) != nil {
		o = object{"body": string(raw)}
	}
	return resp.StatusCode, o, nil
}

// must makes a call that has to be answered so.
func (s *server) must(want int, method, path, bearer string, body any, header ...string) object {
	s.t.Helper()
	status, o, err := s.call(s.t.Context(), method, path, bearer, body, header...)
	if err != nil || status != want {
		s.t.Fatalf("%s %s: %d, want %d: %v %v", method, path, status, want, o, err)
	}
	return o
}

// eventually repeats a look, which each time is a call, until it is satisfied.
func (s *server) eventually(limit time.Duration, what string, look func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	for !look() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited %s in vain: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond) // between two questions to another process
	}
}

// worker is a tenant and its worker application.
type worker struct {
	*server
	tenant, token string
	secrets       []string // what no log may hold
}

// domains is where PingOne's clients find the domains.
func (w *worker) domains() string { return "/v1/environments/" + w.tenant + "/emailDomains" }

// newWorker makes a tenant and a worker in it, and logs in.
func (s *server) newWorker(name string) *worker {
	s.t.Helper()
	tenant := s.must(201, "POST", "/v1/tenants", s.operator, object{"name": name}).str("id")
	c := s.must(201, "POST", "/v1/tenants/"+tenant+"/credentials", s.operator, object{
		"kind": "oauth-client", "name": "worker", "grants": []object{{"tenant": tenant, "role": "admin"}},
	})
	return s.login(tenant, c.str("id"), c.str("secret"))
}

// login gets a worker an access token.
func (s *server) login(tenant, id, secret string) *worker {
	s.t.Helper()
	w := &worker{server: s, tenant: tenant}
	w.token = s.must(200, "POST", "/"+tenant+"/as/token", "", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret},
	}).str("access_token")
	_, tail, _ := strings.Cut(strings.TrimPrefix(s.operator, "psk_"), "_")
	w.secrets = append(w.secrets, tail, secret, w.token)
	return w
}

// prove registers a domain, publishes what its statuses ask for, and reads them
// until all are ACTIVE.
func (w *worker) prove(name string) (id string) {
	w.t.Helper()
	id = w.must(201, "POST", w.domains(), w.token, object{"domainName": name}).str("id")
	published := false
	w.eventually(15*time.Second, name+" ACTIVE", func() bool {
		var words []string
		read := func(o object, rtype string) {
			if word := o.str("status"); word != "" {
				words = append(words, word)
			}
			if key := o.str("key"); key != "" && !published {
				w.publish(key, rtype, o.str("value"))
			}
		}
		for facet, rtype := range map[string]string{"ownership": "TXT", "dkim": "CNAME", "spf": "TXT"} {
			o := w.must(200, "GET", w.domains()+"/"+id+"/"+facet, w.token, nil)
			read(o, rtype)
			for _, r := range o.list("regions") {
				read(r, rtype)
				for _, token := range r.list("tokens") {
					read(token, rtype)
				}
			}
		}
		published = true
		return allAre(words, "ACTIVE")
	})
	return id
}

// sentCode finds the code in a verification mail.
var sentCode = regexp.MustCompile(`Verification code: ([a-z0-9]{8})`)

// addAddress registers an address and proves it by the mailed code.
func (w *worker) addAddress(domain, address string) {
	w.t.Helper()
	at := w.domains() + "/" + domain + "/trustedEmails"
	id := w.must(201, "POST", at, w.token, object{"emailAddress": address}).str("id")
	code := sentCode.FindStringSubmatch(w.mailFor(address, "Verification code: "))
	if code == nil {
		w.t.Fatalf("no code came for %s", address)
	}
	w.secrets = append(w.secrets, code[1])
	o := w.must(201, "POST", at+"/"+id, w.token, object{"verificationCode": code[1]}, "Content-Type", "application/vnd.pingidentity.trustedEmail.activate+json")
	if o.str("status") != "ACTIVE" {
		w.t.Fatalf("%s after its code: %v", address, o)
	}
}

// signsAs waits for the key that is made in the background once a domain is
// proven; until then mail from it waits.
func (w *worker) signsAs(from, domain string) {
	w.t.Helper()
	w.eventually(15*time.Second, "a DKIM key for "+domain, func() bool {
		return w.must(200, "GET", "/v1/explain?from="+url.QueryEscape(from), w.token, nil).str("signingDomain") == domain
	})
}

// listed reads a paged list of the native API to its end.
func (w *worker) listed(path string) (all []object) {
	w.t.Helper()
	for cursor := ""; ; {
		o := w.must(200, "GET", path+"?limit=1000"+cursor, w.token, nil)
		all = append(all, o.list("items")...)
		if o.str("nextCursor") == "" {
			return all
		}
		cursor = "&cursor=" + url.QueryEscape(o.str("nextCursor"))
	}
}

// number reads an integer of JSON.
func (o object) number(key string) int {
	n, _ := o[key].(float64)
	return int(n)
}

// checkLogs demands that every line is a record of the log and none is an error,
// and that none holds a secret, a code, or one of the texts.
func (w *worker) checkLogs(texts ...string) {
	w.t.Helper()
	for i, p := range w.logs {
		for line := range strings.Lines(p.log()) {
			var record struct{ Level string }
			if err := json.Unmarshal([]byte(line), &record); err != nil || record.Level == "ERROR" {
				w.t.Errorf("process %d wrote: %s", i+1, line)
			}
		}
		w.checkLog(p, texts...)
	}
}

// checkLog demands that a process wrote something, but no secret, code or one of
// the texts, whatever the form of its log.
func (w *worker) checkLog(p *process, texts ...string) {
	w.t.Helper()
	if !strings.Contains(p.log(), "ready") {
		w.t.Errorf("a process logged nothing: %s", p.log())
	}
	for line := range strings.Lines(p.log()) {
		for _, text := range slices.Concat(w.secrets, texts) {
			if strings.Contains(strings.ToLower(line), strings.ToLower(text)) {
				w.t.Errorf("%q is in the log: %s", text, line)
			}
		}
	}
}

// at reads a time of JSON.
func at(o object, key string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, o.str(key))
	if err != nil {
		panic(fmt.Sprintf("%s of %v: %v", key, o, err))
	}
	return t
}
