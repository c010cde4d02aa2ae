package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

const (
	logDomain    = "mail.quiet.example"
	logFrom      = "noreply@mail.quiet.example"
	logRecipient = "somebody@readers.example"
)

// people are the texts that no log may hold.
var people = []string{logFrom, logRecipient, "somebody", "noreply@", "A private matter", "nobody else's business"}

func TestVerboseLogOfDevHoldsNoSecretsAndNoPeople(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "clients.env")
	p := start(t, postseal("dev", "--verbose", "--fast-clock", "--dir", dir, "--env-file", file), func(line string) bool {
		return strings.HasPrefix(line, "postseal dev is ready")
	})
	select {
	case <-p.ready:
	case <-time.After(30 * time.Second):
		t.Fatalf("dev was not ready in 30 s:\n%s", p.log())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	env := envFile(string(text))
	s := &server{t: t, client: newClient(t), operator: env["POSTSEAL_OPERATOR_KEY"], url: env["POSTSEAL_URL"], process: p}
	s.publish = func(name, rtype, value string) {
		s.must(204, "POST", "/dev/dns", s.operator, object{"name": name, "type": rtype, "value": value})
	}
	s.mailFor = func(address, text string) (raw string) {
		s.eventually(15*time.Second, "mail for "+address, func() bool {
			_, o, err := s.call(t.Context(), "GET", "/dev/mail/"+url.PathEscape(address), s.operator, nil)
			raw = o.str("body")
			return err == nil && strings.Contains(raw, text)
		})
		return raw
	}
	w := s.login(env["PINGONE_ENVIRONMENT_ID"], env["PINGONE_CLIENT_ID"], env["PINGONE_CLIENT_SECRET"])
	w.misbehave(env["PINGONE_CLIENT_ID"])
	w.addAddress(w.prove(logDomain), logFrom)
	w.signsAs(logFrom, logDomain)
	id := w.send()
	w.mailFor(logRecipient, "nobody else")

	// A relay with a bad hour, and a recipient that it will never have.
	s.must(204, "PUT", "/dev/inbox", s.operator, object{"busy": true})
	waiting := w.send()
	w.reaches(waiting, "temporary")
	s.must(204, "PUT", "/dev/inbox", s.operator, object{"busy": false})
	w.reaches(waiting, "delivered")
	w.reaches(id, "delivered")
	s.stop()
	w.checkLog(p, people...)
}

func TestDebugLogOfServeHoldsNoSecretsAndNoPeople(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite:"+filepath.Join(t.TempDir(), "postseal.db"), "log.level=debug", "send.first_retry=100ms")
	w := s.newWorker("Quiet")
	w.misbehave("nobody")
	w.addAddress(w.prove(logDomain), logFrom)
	w.signsAs(logFrom, logDomain)
	// Servers like to repeat whom they will not have.
	for _, refusal := range []struct{ reply, outcome string }{
		{"451 4.2.1 <RECIPIENT> comes back later", string(sender.TempFailed)},
		{"550 5.1.1 <RECIPIENT> is nobody here", string(sender.PermFailed)},
	} {
		s.sink.change(func() { s.sink.refuse = refusal.reply })
		w.reaches(w.send(), refusal.outcome)
	}
	s.sink.change(func() { s.sink.refuse = "" })
	w.reaches(w.send(), string(sender.Delivered))
	s.stop()
	w.checkLogs(people...)
}

// send sends a mail that concerns nobody but its recipient.
func (w *worker) send() (id string) {
	w.t.Helper()
	return w.must(202, "POST", "/v1/messages", w.token, object{
		"from": object{"address": logFrom}, "to": object{"address": logRecipient}, "subject": "A private matter", "text": "It is nobody else's business.",
	}).str("id")
}

// reaches waits for an attempt with an outcome.
func (w *worker) reaches(id, outcome string) {
	w.t.Helper()
	w.eventually(15*time.Second, "an attempt that ends "+outcome, func() bool {
		for _, a := range w.must(200, "GET", "/v1/messages/"+id, w.token, nil).list("history") {
			if a.str("outcome") == outcome {
				return true
			}
		}
		return false
	})
}

// misbehave makes calls that fail and have something in them to be careful with.
func (w *worker) misbehave(clientID string) {
	w.t.Helper()
	wrong := "a-wrong-secret-of-a-client"
	w.secrets = append(w.secrets, wrong)
	w.must(401, "POST", "/"+w.tenant+"/as/token", "", url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {wrong}})
	w.must(401, "GET", w.domains(), wrong, nil)
	w.must(422, "POST", "/v1/messages", w.token, object{
		"from": object{"address": logFrom}, "to": object{"address": logRecipient}, "subject": "A private matter", "text": "Not proven yet.",
	})
	w.must(422, "POST", "/v1/messages", w.token, object{
		"from": object{"address": logFrom}, "to": object{"address": logRecipient + "\r\nBcc: x"}, "subject": "A private matter", "text": "x",
	})
}
