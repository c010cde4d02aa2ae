package pingone_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
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
)

// TestScriptedTerraform runs what the contract says of Terraform against an instance
// of its own, with the ordinary clock: a result stays fresh for a second and nothing
// that is verified is looked at again within the test. All calls go over https through
// the forward proxy, as Terraform's would.
func TestScriptedTerraform(t *testing.T) {
	w := startWorld(t)
	t.Run("a run from create to destroy", w.run)
	t.Run("fifty domains", w.fifty)
}

// world is the instance and what its operator can do.
type world struct {
	vars map[string]string
	http http.Client
}

func startWorld(t *testing.T) *world {
	t.Helper()
	tmp := t.TempDir()
	envFile := filepath.Join(tmp, "env")
	var stderr bytes.Buffer
	cmd := exec.Command(dev.binary, "dev", "--env-file", envFile, "--pingone-proxy", "127.0.0.1:0", "--dir", filepath.Join(tmp, "state"))
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("after SIGTERM: %v\n%s", err, stderr.String())
			}
		case <-time.After(15 * time.Second):
			t.Error("still there 15 s after SIGTERM", cmd.Process.Kill(), <-ended)
		}
		for line := range strings.Lines(stderr.String()) {
			if strings.Contains(line, "level=ERROR") || strings.Contains(line, `"level":"ERROR"`) {
				t.Error("in its log:", line)
			}
		}
	})
	w := &world{vars: map[string]string{}, http: http.Client{Timeout: 20 * time.Second}}
	until(t, "the env file", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("postseal dev: %v\n%s", err, stderr.String())
		default:
		}
		text, err := os.ReadFile(envFile)
		for line := range strings.Lines(string(text)) {
			if m := envLine.FindStringSubmatch(line); m != nil {
				w.vars[m[1]] = m[2]
			}
		}
		return err == nil
	})
	w.http.Transport = &http.Transport{MaxIdleConnsPerHost: 10}
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

// native calls what is no dialect's, with the operator's key.
func (w *world) native(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, w.vars["POSTSEAL_URL"]+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.vars["POSTSEAL_OPERATOR_KEY"])
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<22))
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %s", method, path, resp.Status, raw)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(raw, out)
	}
	return err
}

func (w *world) publish(ctx context.Context, rs ...published) error {
	return parallel(len(rs), func(i int) error {
		r := rs[i]
		return w.native(ctx, http.MethodPost, "/dev/dns", attributes{"name": r.name, "type": r.rtype, "value": r.value, "priority": r.priority}, nil)
	})
}

// must ends a step that went wrong; calm demands that it went without surprise.
func (tf *terraform) must(t *testing.T, command string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	tf.calm(t, command, 0)
}

// denied demands an error that a user would be shown, after one look at the
// environment, and nothing else.
func (tf *terraform) denied(t *testing.T, what string, err error, status int, code, detail string, looks int) {
	t.Helper()
	f, ok := errors.AsType[*failure](err)
	if !ok || f.p1 == nil || f.status != status || f.p1.Code != code || detail != "" && f.detail() != detail {
		t.Errorf("%s: %v, want %d %s %s", what, err, status, code, detail)
	}
	tf.calm(t, what, looks)
}

// everyStatus reads the sub-resources of a domain, those that a plan reads.
func (tf *terraform) everyStatus(ctx context.Context, domain string) (rs []published, err error) {
	for _, facet := range []string{"ownership", "dkim", "spf"} {
		more, err := tf.status(ctx, domain, facet)
		if err != nil {
			return nil, err
		}
		rs = append(rs, more...)
	}
	return rs, nil
}

// proven publishes everything and reads until all is seen.
func (w *world) proven(t *testing.T, tf *terraform, domain string) {
	t.Helper()
	rs, err := tf.everyStatus(t.Context(), domain)
	tf.must(t, "the statuses", err)
	tf.must(t, "publishing", w.publish(t.Context(), rs...))
	until(t, "every status ACTIVE", func() bool {
		rs, err := tf.everyStatus(t.Context(), domain)
		tf.must(t, "the statuses again", err)
		return !slices.ContainsFunc(rs, func(r published) bool { return r.status != active })
	})
}

func (w *world) run(t *testing.T) {
	ctx := t.Context()
	const name = "Mail.Example.ORG"
	domain := domainResource(name)
	noreply, billing := addressResource(domain, "NoReply@"+name), addressResource(domain, "billing@mail.example.org")
	from := func() attributes {
		return attributes{"name": "  The <Team> & Co. ", "address": "NoReply@" + name}
	}
	subject := "Hello ${user.name.given}"
	content := contentResource("general", func() attributes {
		return attributes{
			"locale": "en", "variant": "Spring", "subject": subject, "body": " <p>Hello ${user.name.given} & all</p>\n\n", "character_set": "UTF-8",
			"content_type": "text/html", "from": from(), "reply_to": attributes{"name": "PingOne", "address": "noreply@pingidentity.com"},
		}
	})
	plain := contentResource("general", func() attributes { // without what is optional: nothing may be filled in
		return attributes{"locale": "de", "variant": "Spring", "subject": "x", "body": "y", "character_set": "UTF-8", "content_type": "text/html", "from": nil, "reply_to": nil}
	})
	plain.kind = "plain content"
	settings := settingsResource(func() attributes {
		return attributes{"delivery_mode": "ALL", "from": from(), "reply_to": attributes{"name": "", "address": "billing@mail.example.org"}}
	})
	port := 2525
	smtp := smtpResource(func() attributes {
		return attributes{"host": "SMTP.Example.org", "port": port, "username": "postseal", "password": "hunter2", "from": from(), "reply_to": nil}
	})
	tf := &terraform{scripted: newScripted(t, w.vars, 10), all: []*managed{domain}}

	// Create, the domain first: nothing else can be before its owner has published.
	tf.must(t, "configure", tf.configure(ctx, 4))
	tf.must(t, "data.pingone_environment", tf.environmentSource(ctx))
	tf.must(t, "the first apply", tf.apply(ctx))
	id := argument(domain.state["id"])
	if domain.state["environment_id"] != tf.env || !uuid.MatchString(id) {
		t.Fatalf("the domain is %s", canonical(domain.state))
	}
	if sent := tf.counted(); sent["POST /{}/emailDomains"] != 1 || sent["GET /{}/emailDomains/{}"] != 0 || sent["POST /{}/as/token"] != 4 || len(sent) != 5 {
		t.Errorf("the first apply sent %v", sent)
	}
	for _, spelling := range []string{"mail.example.org", "MAIL.EXAMPLE.ORG", name} {
		found, _, err := tf.lookUp(ctx, spelling)
		tf.must(t, "looking up "+spelling, err)
		if canonical(found) != canonical(domain.state) {
			t.Errorf("%s is looked up as %s, want %s", spelling, canonical(found), canonical(domain.state))
		}
		err = tf.create(ctx, domainResource(spelling))
		tf.denied(t, spelling+" again", err, 400, "INVALID_DATA", "UNIQUENESS_VIOLATION/domainName", 1)
	}
	tf.denied(t, "an address before the proof", tf.create(ctx, noreply), 400, "INVALID_DATA", "INVALID_VALUE/trustedEmail", 1)
	tf.counted()

	w.proven(t, tf, id)
	rs, err := tf.everyStatus(ctx, id)
	tf.must(t, "the statuses", err)
	regions := map[string]bool{}
	for _, r := range rs {
		regions[r.facet] = true
	}
	if len(regions) != 10 { // four regions twice, environment, SPF
		t.Errorf("the facets are %v", slices.Sorted(maps.Keys(regions)))
	}

	// No resource is the MAIL FROM domain: scripts send it.
	const bounce = "Bounce.Mail.Example.ORG"
	_, err = tf.call(ctx, http.MethodGet, "emailDomains/"+id+"/mailFromDomain", nil, nil)
	tf.denied(t, "M2 before M1", err, 404, "NOT_FOUND", "", 0)
	code, err := tf.call(ctx, http.MethodPut, "emailDomains/"+id+"/mailFromDomain", attributes{"mailFrom": attributes{"domain": bounce}}, nil)
	tf.must(t, "M1", err)
	mx, err := tf.status(ctx, id, "mailFromDomain")
	tf.must(t, "M2", err)
	spf, err := tf.status(ctx, id, "spf")
	tf.must(t, "D7 after M1", err)
	if code != 200 || len(mx) != 1 || !strings.EqualFold(mx[0].name, bounce) || mx[0].priority == 0 || mx[0].status != required || !strings.EqualFold(spf[0].name, bounce) || spf[0].status != required {
		t.Errorf("MAIL FROM: %d %+v %+v", code, mx, spf)
	}
	tf.must(t, "publishing for MAIL FROM", w.publish(ctx, append(mx, spf...)...))
	until(t, "MAIL FROM is ACTIVE", func() bool {
		mx, err := tf.status(ctx, id, "mailFromDomain")
		tf.must(t, "M2 again", err)
		spf, err := tf.status(ctx, id, "spf")
		tf.must(t, "D7 again", err)
		return mx[0].status == active && spf[0].status == active
	})

	// Create the rest.
	tf.counted()
	tf.all = []*managed{domain, noreply, billing, content, plain, settings, smtp}
	tf.must(t, "configure", tf.configure(ctx, 4))
	tf.must(t, "refresh", tf.refresh(ctx))
	tf.must(t, "the second apply", tf.apply(ctx))
	want := map[string]int{
		"POST /{}/as/token": 4, "GET /{}/emailDomains/{}": 1, "POST /{}/emailDomains/{}/trustedEmails": 2, "POST /{}/templates/general/contents": 2,
		"PUT /{}/notificationsSettings": 1, "PUT /{}/notificationsSettings/emailDeliverySettings": 1,
	}
	if sent := tf.counted(); !maps.Equal(sent, want) {
		t.Errorf("the second apply sent %v, want %v", sent, want)
	}
	if noreply.state["status"] != active || billing.state["status"] != active { // the environment record was there before them
		t.Errorf("the addresses are %s and %s", canonical(noreply.state), canonical(billing.state))
	}
	var there struct{ ID, EmailAddress string } // in another spelling, too, and in the first one's
	code, err = tf.call(ctx, http.MethodPost, noreply.collection(noreply.state), attributes{"emailAddress": "NoReply@mail.example.org"}, &there)
	if tf.must(t, "A1 of what is there", err); code != 200 || there.ID != noreply.state["id"] || there.EmailAddress != "NoReply@"+name {
		t.Errorf("A1 of what is there: %d %+v, want 200 and %s", code, there, canonical(noreply.state))
	}
	// Lists are decoded as a whole: one entry that the SDK has no model for spoils them.
	for path, entries := range map[string]string{
		"templates?limit=5": "templates", "templates/general/contents?limit=1": "contents", noreply.collection(noreply.state) + "?limit=1": "trustedEmails",
	} {
		seen := map[string]bool{}
		pages, err := tf.walk(ctx, path, entries, func(raw json.RawMessage) error {
			var one struct{ ID, DeliveryMethod string }
			if err := json.Unmarshal(raw, &one); err != nil || seen[one.ID] || entries == "contents" && one.DeliveryMethod != "Email" {
				return fmt.Errorf("%s, again or not decoded: %w", raw, err)
			}
			seen[one.ID] = true
			return nil
		})
		if tf.must(t, path, err); pages != map[string]int{"templates": 4, "contents": 3, "trustedEmails": 2}[entries] {
			t.Errorf("%s: %d entries on %d pages", path, len(seen), pages)
		}
	}

	// Refresh and plan again, twice: nothing to do, and the state is the same, byte for byte.
	same := func(command string, tf *terraform, was string) {
		t.Helper()
		tf.must(t, command, tf.refresh(ctx))
		if is := tf.states(); is != was {
			t.Errorf("%s: the state was\n%sand is\n%s", command, was, is)
		}
		if actions := tf.plan(); len(actions) > 0 {
			t.Errorf("%s: the plan is %q, want none", command, actions)
		}
	}
	was := tf.states()
	for range 2 {
		tf.must(t, "configure", tf.configure(ctx, 2))
		same("plan", tf, was)
	}

	// Update in place, and back.
	subject, port = "Good day", 465
	if actions := tf.plan(); !slices.Equal(actions, []string{"update content.subject", "update smtp.port"}) {
		t.Errorf("the plan of an update: %q", actions)
	}
	tf.must(t, "an update", tf.apply(ctx))
	if smtp.state["protocol"] != "SMTPS" {
		t.Errorf("on port 465: %s", canonical(smtp.state))
	}
	same("plan after an update", tf, tf.states())

	// Import, by ids alone, into an empty state.
	password := smtp.state["password"]
	imported := &terraform{scripted: newScripted(t, w.vars, 10)}
	imported.must(t, "configure", imported.configure(ctx, 2))
	for _, m := range tf.all {
		one := *m
		one.state = attributes{}
		for _, part := range []string{"id", "email_domain_id"} { // what an import id names
			if v, ok := m.state[part]; ok {
				one.state[part] = v
			}
		}
		imported.all = append(imported.all, &one)
	}
	imported.must(t, "import", imported.refresh(ctx))
	imported.all[6].state["password"] = password // nothing else knows it
	if is := imported.states(); is != tf.states() {
		t.Errorf("what was imported is\n%swant\n%s", is, tf.states())
	}

	// Heal what was deleted behind Terraform's back, first what others do not depend on.
	behind := &terraform{scripted: newScripted(t, w.vars, 10), all: []*managed{billing, content}}
	behind.must(t, "configure", behind.configure(ctx, 2))
	remove := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			code, err := behind.call(ctx, http.MethodDelete, path, nil, nil)
			if behind.must(t, "DELETE "+path, err); code != 204 {
				t.Errorf("DELETE %s: %d", path, code)
			}
		}
	}
	remove(plain.item(plain.state), content.item(content.state))
	old := argument(content.state["id"])
	tf.must(t, "refresh after the loss of contents", tf.refresh(ctx))
	if actions := tf.plan(); !slices.Equal(actions, []string{"create content", "create plain content"}) {
		t.Errorf("the plan after the loss of contents: %q", actions)
	}
	tf.must(t, "healing contents", tf.apply(ctx))
	if content.state["id"] == old {
		t.Error("the healed content has the id of the old one")
	}
	same("plan after healing contents", tf, tf.states())

	// Then the domain with its addresses; they can't go before them, nor can it.
	_, err = behind.call(ctx, http.MethodDelete, "emailDomains/"+id, nil, nil)
	behind.denied(t, "D4 before A4", err, 400, "INVALID_DATA", "", 1)
	remove(noreply.item(noreply.state), billing.item(billing.state), "emailDomains/"+id)
	for _, path := range []string{noreply.item(noreply.state), "emailDomains/" + id} {
		_, err := behind.call(ctx, http.MethodDelete, path, nil, nil)
		behind.denied(t, "DELETE again", err, 404, "NOT_FOUND", "", 0)
	}
	tf.must(t, "refresh after the loss of the domain", tf.refresh(ctx))
	lost := []string{"create address NoReply@" + name, "create address billing@mail.example.org", "create domain"}
	if actions := tf.plan(); !slices.Equal(actions, lost) {
		t.Errorf("the plan after the loss of the domain: %q, want %q", actions, lost)
	}
	tf.must(t, "healing the domain", tf.create(ctx, domain))
	if argument(domain.state["id"]) == id {
		t.Error("the healed domain has the id of the old one")
	}
	w.proven(t, tf, argument(domain.state["id"]))
	tf.must(t, "healing the rest", tf.apply(ctx))
	same("plan after healing", tf, tf.states())

	// A worker who may only read: 403 is final, and hides behind nothing.
	var made struct{ ID, Secret string }
	if err := w.native(ctx, http.MethodPost, "/v1/tenants/"+tf.env+"/credentials", attributes{
		"kind": "oauth-client", "name": "reader", "grants": []attributes{{"tenant": tf.env, "role": "reader"}},
	}, &made); err != nil {
		t.Fatal(err)
	}
	reader := &terraform{scripted: newScripted(t, w.vars, 10)}
	reader.id, reader.secret = made.ID, made.Secret
	reader.must(t, "configure", reader.configure(ctx, 2))
	reader.denied(t, "D1 by a reader", reader.create(ctx, domainResource("reader.example.org")), 403, "ACCESS_FAILED", "INSUFFICIENT_PERMISSIONS/", 1)
	reader.token = "nonsense"
	_, err = reader.call(ctx, http.MethodGet, "emailDomains/"+id, nil, nil)
	reader.denied(t, "a token that is none", err, 401, "ACCESS_FAILED", "", 1)
	for what, at := range map[string]string{"a path that is none": "/v1/environments/" + tf.env + "/nothing", "a mistyped base path": "/v2/environments/" + tf.env} {
		_, err = tf.sdk(ctx, http.MethodGet, tf.api+at, "", nil, nil)
		tf.denied(t, what, err, 404, "NOT_FOUND", "", 0)
	}
	_, err = tf.sdk(ctx, http.MethodPost, tf.at("emailDomains/"+argument(domain.state["id"])), "application/json", attributes{}, nil)
	tf.denied(t, "POST on a domain", err, 405, "METHOD_NOT_ALLOWED", "", 0)
	for body, detail := range map[string]string{`{"domainName":7}`: "INVALID_VALUE/domainName", `{}`: "REQUIRED_VALUE/domainName", `{"domainName":"*.example.org"}`: "INVALID_VALUE/domainName"} {
		_, err = tf.call(ctx, http.MethodPost, "emailDomains", json.RawMessage(body), nil)
		tf.denied(t, "D1 with "+body, err, 400, "INVALID_DATA", detail, 1)
	}

	// Destroy, in the order of dependencies, and once more when all is gone.
	states := slices.Clone(tf.all)
	last := make([]attributes, len(states))
	for i, m := range states {
		last[i] = m.state
	}
	tf.counted()
	tf.must(t, "configure", tf.configure(ctx, 6))
	tf.must(t, "refresh before destroy", tf.refresh(ctx))
	tf.must(t, "destroy", tf.destroy(ctx))
	want = map[string]int{
		"POST /{}/as/token": 6, "GET /{}/emailDomains/{}": 1, "DELETE /{}/emailDomains/{}": 1,
		"GET /{}/emailDomains/{}/trustedEmails/{}": 2, "DELETE /{}/emailDomains/{}/trustedEmails/{}": 2,
		"GET /{}/templates/general/contents/{}": 2, "DELETE /{}/templates/general/contents/{}": 2,
		"GET /{}/notificationsSettings": 1, "DELETE /{}/notificationsSettings": 1,
		"GET /{}/notificationsSettings/emailDeliverySettings": 1, "DELETE /{}/notificationsSettings/emailDeliverySettings": 1,
	}
	if sent := tf.counted(); !maps.Equal(sent, want) {
		t.Errorf("destroy sent %v, want %v", sent, want)
	}
	for i, m := range states {
		m.state = last[i]
	}
	tf.must(t, "destroying what is gone", tf.destroy(ctx))
	if _, err := tf.walk(ctx, "emailDomains", "emailDomains", func(raw json.RawMessage) error {
		return fmt.Errorf("left: %s", raw)
	}); err != nil {
		t.Error(err)
	}

	// Ten at once ask for one name in ten spellings: one gets it.
	won := make(chan *managed, 10)
	err = parallel(10, func(i int) error {
		d := domainResource("race." + strings.ToUpper("example"[:i%8]) + "example"[i%8:] + ".org")
		err := tf.create(ctx, d)
		if f, ok := errors.AsType[*failure](err); ok && f.status == 400 && f.detail() == "UNIQUENESS_VIOLATION/domainName" {
			return nil
		}
		won <- d
		return err
	})
	if err != nil || len(won) != 1 {
		t.Fatalf("%d of ten got one name: %v", len(won), err)
	}
	tf.calm(t, "ten at once", 9)
	tf.all = []*managed{<-won}
	tf.must(t, "destroy", tf.destroy(ctx))
}

// fifty is the size that the contract names: the most domains that an environment
// has, all of them at once.
func (w *world) fifty(t *testing.T) {
	const n = 50
	ctx := t.Context()
	vars := maps.Clone(w.vars)
	var tenant, worker struct{ ID, Secret string }
	// Two regions, since each costs a DKIM key for each domain: 80 ms of processor time.
	if err := w.native(ctx, http.MethodPost, "/v1/tenants", attributes{"name": "Fifty", "geography": "na", "regions": []string{"us-east-1", "us-west-2"}}, &tenant); err != nil {
		t.Fatal(err)
	}
	if err := w.native(ctx, http.MethodPost, "/v1/tenants/"+tenant.ID+"/credentials", attributes{
		"kind": "oauth-client", "name": "terraform", "grants": []attributes{{"tenant": tenant.ID, "role": "admin"}},
	}, &worker); err != nil {
		t.Fatal(err)
	}
	vars["PINGONE_ENVIRONMENT_ID"], vars["PINGONE_CLIENT_ID"], vars["PINGONE_CLIENT_SECRET"] = tenant.ID, worker.ID, worker.Secret
	tf := &terraform{scripted: newScripted(t, vars, 10)}
	tf.must(t, "configure", tf.configure(ctx, 4))
	for i := range n {
		tf.all = append(tf.all, domainResource(fmt.Sprintf("N%02d.Fifty.example", i)))
	}

	queries := sniff(t, vars["POSTSEAL_DNS"])
	began := time.Now()
	tf.must(t, "creating fifty", parallel(n, func(i int) error { return tf.create(ctx, tf.all[i]) }))
	t.Logf("%d domains created by ten connections in %s", n, time.Since(began))
	if queries != nil {
		queries.to = began.Add(13 * time.Second) // the first look is after 15 s, less a tenth at most
	}
	was := tf.states()

	// The environment is full, whoever asks first.
	err := parallel(10, func(i int) error {
		err := tf.create(ctx, domainResource(fmt.Sprintf("more%d.fifty.example", i)))
		if f, ok := errors.AsType[*failure](err); ok && f.status == 400 && f.detail() == "LIMIT_EXCEEDED/emailDomains" {
			return nil
		}
		return fmt.Errorf("one more than fifty: %w", err)
	})
	if err != nil {
		t.Error(err)
	}
	tf.calm(t, "more than fifty", 10)

	// The list in pages of seven, next followed verbatim; each exactly once.
	listed := map[any]bool{}
	pages, err := tf.walk(ctx, "emailDomains?limit=7", "emailDomains", func(raw json.RawMessage) error {
		d, err := decodeDomain(raw)
		listed[d["domain_name"]] = true
		return err
	})
	if tf.must(t, "the list in pages", err); pages != 8 || len(listed) != n {
		t.Errorf("%d domains on %d pages", len(listed), pages)
	}

	// refresh is a plan: every domain and every sub-resource, ten at a time.
	refresh := func(what string) (all [n][]published) {
		t.Helper()
		var filling sync.Mutex
		began := time.Now()
		err := parallel(n*4, func(i int) error {
			m := tf.all[i%n]
			if i/n == 3 {
				return tf.read(ctx, m)
			}
			rs, err := tf.status(ctx, argument(m.state["id"]), []string{"ownership", "dkim", "spf"}[i/n])
			filling.Lock()
			defer filling.Unlock()
			all[i%n] = append(all[i%n], rs...)
			return err
		})
		tf.must(t, what, err)
		t.Logf("%s: %d reads by ten connections in %s", what, n*4, time.Since(began))
		return all
	}

	// Nothing is published: reading is the check, and asks the DNS once in the window.
	mark := queries.now()
	pending := refresh("nothing published")
	once := queries.since(mark)
	refresh("nothing published, at once again")
	queries.sparse(t, "nothing published", mark, time.Second)
	if queries != nil {
		t.Logf("nothing published: %d questions for the first refresh, %d for both", once.total(), queries.since(mark).total())
	}
	for i, rs := range pending {
		for _, r := range rs {
			if r.status != required {
				t.Errorf("%v: %+v", tf.all[i].state["domain_name"], r)
			}
		}
	}

	// One sub-resource, asked for by ten at once, is one look.
	time.Sleep(1100 * time.Millisecond) // past the window, on purpose: the point is what happens in one
	mark = queries.now()
	tf.must(t, "ten for one", parallel(10, func(int) error {
		_, err := tf.status(ctx, argument(tf.all[0].state["id"]), "ownership")
		return err
	}))
	queries.sparse(t, "ten for one", mark, time.Second)

	began = time.Now()
	var records []published
	for _, rs := range pending {
		records = append(records, rs...)
	}
	tf.must(t, "publishing", w.publish(ctx, records...))
	t.Logf("%d records published in %s", len(records), time.Since(began))
	mark = queries.now()
	until(t, "all fifty proven", func() bool {
		for _, rs := range refresh("published") {
			if slices.ContainsFunc(rs, func(r published) bool { return r.status != active }) {
				return false
			}
		}
		return true
	})
	queries.sparse(t, "published", mark, time.Second)

	// From here on the store answers: past the window, too, no look is newer than
	// before and no question is asked. The background looks once at what was pending,
	// whatever clients read; hence the tries, each in a window of its own.
	const tries = 5
	for try := 1; ; try++ {
		time.Sleep(1100 * time.Millisecond)
		before, mark := w.checked(t, tenant.ID), queries.now()
		for i, rs := range refresh("all proven") {
			if len(rs) != len(pending[i]) || slices.ContainsFunc(rs, func(r published) bool { return r.status != active }) {
				t.Errorf("%v: %+v", tf.all[i].state["domain_name"], rs)
			}
		}
		asked, after := queries.since(mark), w.checked(t, tenant.ID)
		if len(before) != n*6 { // two regions twice, environment, SPF
			t.Fatalf("%d facets, want %d: %v", len(before), n*6, before)
		}
		if asked.total() == 0 && maps.Equal(before, after) {
			break
		}
		if try == tries {
			t.Errorf("all proven: the DNS was asked all the same: %v; checked %v", asked, after)
			break
		}
		t.Logf("all proven: the background may have looked: %d questions", asked.total())
	}
	tf.must(t, "refresh", tf.refresh(ctx))
	if is := tf.states(); is != was {
		t.Errorf("after the proof the state was\n%sand is\n%s", was, is)
	}

	began = time.Now()
	tf.must(t, "destroying fifty", parallel(n, func(i int) error {
		return (&terraform{scripted: tf.scripted, all: tf.all[i : i+1]}).destroy(ctx)
	}))
	t.Logf("%d domains deleted in %s", n, time.Since(began))
}

// checked is when each facet of each domain was last looked at.
func (w *world) checked(t *testing.T, tenant string) map[string]string {
	t.Helper()
	var list struct {
		Items []struct {
			DomainName string
			UpdatedAt  string
			Facets     []struct{ Purpose, Region, Status, CheckedAt string }
		}
	}
	if err := w.native(t.Context(), http.MethodGet, "/v1/tenants/"+tenant+"/domains?limit=100", nil, &list); err != nil {
		t.Fatal(err)
	}
	at := map[string]string{}
	for _, d := range list.Items {
		for _, f := range d.Facets {
			at[d.DomainName+" "+f.Purpose+" "+f.Region] = f.CheckedAt
		}
	}
	return at
}

// questions are the DNS queries that reached the instance, read off the loopback
// interface: postseal has no log of them to offer. nil: this user may not listen there.
type questions struct {
	mu  sync.Mutex
	all []question
	to  time.Time // when the background may begin to ask as well
}

type question struct {
	name   string
	at     time.Time // by the kernel's clock: this process may be slow to read it
	answer bool      // or an answer to it
}

// patience is the least time after which a question that nobody has answered may be
// asked again by whoever asks it: that is no other look.
const patience = 300 * time.Millisecond

// ofDomain: at or below one of the fifty names. What lies above belongs to none of
// them; it is looked at for advice, once for each.
var ofDomain = regexp.MustCompile(`(^|\.)n\d\d\.fifty\.example `)

// tally counts questions by name and type.
type tally map[string]int

func (c tally) total() (n int) {
	for _, k := range c {
		n += k
	}
	return n
}

func sniff(t *testing.T, server string) *questions {
	t.Helper()
	at, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.ListenIP("ip4:udp", &net.IPAddr{IP: at.IP}) // a copy of each datagram to that address
	if err != nil {
		t.Logf("DNS queries are not counted, the times of checks have to do: %v", err)
		return nil
	}
	_ = raw.SetReadBuffer(8 << 20)
	if err := stampArrivals(raw); err != nil {
		t.Logf("DNS queries are not counted, since nobody tells when they were sent: %v", err)
		_ = raw.Close()
		return nil
	}
	q := &questions{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, control := make([]byte, 1<<16), make([]byte, 256)
		for {
			n, m, _, _, err := raw.ReadMsgIP(b, control)
			if err != nil {
				return
			}
			header := min(n, int(b[0]&15)*4) // of IPv4, in front of the datagram
			if name, answer, ok := message(b[header:n], at.Port); ok {
				q.mu.Lock()
				q.all = append(q.all, question{name, arrival(control[:m]), answer})
				q.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		_ = raw.Close()
		<-done
	})
	return q
}

// message reads the name and type that a DNS message to or from that port is about out of a
// UDP datagram.
func message(b []byte, port int) (about string, answer, ok bool) {
	const udp, header = 8, 12
	if len(b) < udp+header+5 {
		return "", false, false
	}
	end := b[2:] // the receiver's
	if answer = b[udp+2]&0x80 != 0; answer {
		end = b
	}
	if int(binary.BigEndian.Uint16(end)) != port {
		return "", false, false
	}
	b = b[udp+header:]
	var name []string
	for len(b) > 0 && b[0] != 0 && len(b) > int(b[0])+1 {
		name = append(name, strings.ToLower(string(b[1:1+b[0]])))
		b = b[1+b[0]:]
	}
	if len(b) < 3 {
		return "", false, false
	}
	return fmt.Sprintf("%s %d", strings.Join(name, "."), binary.BigEndian.Uint16(b[1:])), answer, true
}

// now is a time before which everything that was sent has been read. A slow machine
// loses some of a burst, which can hide a question, never invent one.
func (q *questions) now() time.Time {
	if q == nil {
		return time.Now()
	}
	for before := -1; ; {
		q.mu.Lock()
		n := len(q.all)
		q.mu.Unlock()
		if n == before {
			return time.Now()
		}
		before = n
		time.Sleep(20 * time.Millisecond)
	}
}

// asked returns when each name and type was asked for since then, repetitions for want of an
// answer left out.
func (q *questions) asked(mark time.Time) map[string][]time.Time {
	times := map[string][]time.Time{}
	if q == nil {
		return times
	}
	q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := map[string]time.Time{}
	for _, x := range q.all {
		if !x.at.After(mark) || !ofDomain.MatchString(x.name) {
			continue
		}
		last := waiting[x.name]
		if delete(waiting, x.name); x.answer {
			continue
		}
		if waiting[x.name] = x.at; last.IsZero() || x.at.Sub(last) < patience {
			times[x.name] = append(times[x.name], x.at)
		}
	}
	return times
}

func (q *questions) since(mark time.Time) tally {
	found := tally{}
	for name, at := range q.asked(mark) {
		found[name] = len(at)
	}
	return found
}

// sparse demands that the DNS was asked at most once per facet within the window: no
// question twice, but for the TXT records at a domain's own name, which are SPF's and
// are looked at by the ownership for a record at the wrong place.
func (q *questions) sparse(t *testing.T, what string, mark time.Time, window time.Duration) {
	t.Helper()
	if q == nil {
		return
	}
	times := q.asked(mark)
	t.Logf("%s: questions about %d names and types", what, len(times))
	if len(times) == 0 {
		t.Errorf("%s: no question was seen", what)
	}
	for name, at := range times {
		most := 1
		if strings.HasPrefix(name, "n") && strings.HasSuffix(name, ".fifty.example 16") && strings.Count(name, ".") == 2 {
			most = 2
		}
		for i := most; i < len(at); i++ {
			switch within := at[i].Sub(at[i-most]); {
			case within > window-window/10:
			case at[i].After(q.to):
				t.Logf("%s: %s was asked for again after %s, perhaps by the background", what, name, within)
			default:
				t.Errorf("%s: %s was asked for %d times in %s", what, name, most+1, within)
			}
		}
	}
}
