package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/app"
)

type demoCmd struct{}

// Help is shown by postseal demo --help.
func (demoCmd) Help() string {
	return `The journey: register a domain, be told by a webhook, publish its records, see it turn ACTIVE, register an address, prove it by the mailed code, send a DKIM-signed mail, pair a mailbox and sign a person in by one-time codes, register an address through SailPoint's API without a mail, use a MAIL FROM domain, lose the records, and see mail refused that was accepted before. Everything goes over the wire: the PingOne, PingID SDK, SailPoint and native APIs over HTTP, DNS packets, SMTP. Grace and intervals are shortened to seconds. Exits non-zero on any deviation.`
}

func (demoCmd) Run(s *streams) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	d, err := app.StartDev(ctx, app.DevConfig{FastClock: true, Log: slog.New(slog.NewTextHandler(s.errOut, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(running) }()
	select {
	case err := <-ended:
		stop()
		return err
	case <-d.Ready:
	}
	j := &journey{ctx: ctx, out: s.out, dev: d, began: time.Now()}
	err = j.run()
	stop()
	err = errors.Join(err, <-ended)
	if err == nil {
		fmt.Fprintf(s.out, "\nThe whole journey went as it should, in %.1f s.\n", time.Since(j.began).Seconds())
	}
	return err
}

// journey is one walk through the main job, as a client sees it.
type journey struct {
	ctx       context.Context
	out       io.Writer
	dev       *app.Dev
	began     time.Time
	step      int
	token     string
	sailToken string

	domainID string
	records  []record // what was published

	hooks      chan *http.Request
	hookSecret string
}

const (
	demoDomain    = "Mail.Customer.example"
	demoFrom      = "noreply@mail.customer.example"
	demoRecipient = "reader@inbox.example"
)

func (j *journey) title(format string, args ...any) {
	j.step++
	fmt.Fprintf(j.out, "\n%2d. %s\n", j.step, fmt.Sprintf(format, args...))
}

func (j *journey) say(format string, args ...any) {
	fmt.Fprintf(j.out, "    %s\n", fmt.Sprintf(format, args...))
}

// object is a JSON object as a client reads it.
type object map[string]any

func (o object) str(path ...string) string {
	var v any = map[string]any(o)
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func (o object) list(key string) []object {
	raw, _ := o[key].([]any)
	var list []object
	for _, e := range raw {
		if m, ok := e.(map[string]any); ok {
			list = append(list, m)
		}
	}
	return list
}

// api makes one call and demands its status.
func (j *journey) api(want int, method, path, contentType string, body any) (object, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(j.ctx, method, j.dev.Getenv("POSTSEAL_URL")+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+j.token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s answered %s, want %d: %s", method, path, resp.Status, want, raw)
	}
	var o object
	if len(raw) > 0 {
		err = json.Unmarshal(raw, &o)
	}
	return o, err
}

func (j *journey) get(path string) (object, error) { return j.api(200, http.MethodGet, path, "", nil) }

// dns adds or removes a record of the customer's zone.
func (j *journey) dns(method, name, rtype, value string) error {
	_, err := call(j.ctx, method, j.dev.Getenv("POSTSEAL_URL")+"/dev/dns", j.dev.Getenv("POSTSEAL_OPERATOR_KEY"), dnsRecord{Name: name, Type: rtype, Value: value})
	return err
}

// until repeats a look every 50 ms, for 15 seconds at most.
func (j *journey) until(what string, look func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(j.ctx, 15*time.Second)
	defer cancel()
	for {
		ok, err := look()
		if err != nil || ok {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %s", what)
		}
	}
}

// mail waits for the newest message to an address that contains a text.
func (j *journey) mail(to, contains string) (raw string, err error) {
	err = j.until("mail for "+to, func() (bool, error) {
		b, err := call(j.ctx, http.MethodGet, j.dev.Getenv("POSTSEAL_URL")+"/dev/mail/"+url.PathEscape(to), j.dev.Getenv("POSTSEAL_OPERATOR_KEY"), nil)
		raw = string(b)
		return strings.Contains(raw, contains), err
	})
	return raw, err
}

type record struct{ name, rtype, value string }

func (j *journey) run() error {
	for _, part := range []func() error{j.login, j.webhook, j.domain, j.posted, j.address, j.send, j.signIn, j.byDomain, j.mailFrom, j.lose} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (j *journey) base() string {
	return "/v1/environments/" + j.dev.Getenv("PINGONE_ENVIRONMENT_ID") + "/emailDomains"
}

func (j *journey) login() error {
	j.title("Log in as a PingOne worker application (OAuth2 client credentials)")
	form := url.Values{"grant_type": {"client_credentials"}}
	req, err := http.NewRequestWithContext(j.ctx, http.MethodPost, j.dev.Getenv("POSTSEAL_URL")+"/"+j.dev.Getenv("PINGONE_ENVIRONMENT_ID")+"/as/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(j.dev.Getenv("PINGONE_CLIENT_ID")), url.QueryEscape(j.dev.Getenv("PINGONE_CLIENT_SECRET")))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var o object
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&o); err != nil {
		return err
	}
	if j.token = o.str("access_token"); j.token == "" {
		return fmt.Errorf("the token endpoint answered %s without a token", resp.Status)
	}
	j.say("POST /{environment}/as/token -> %s, token_type %s", resp.Status, o.str("token_type"))
	return nil
}

// facets reads the three statuses; reading is the check.
func (j *journey) facets(id string) (words []string, records []record, err error) {
	o, err := j.get(j.base() + "/" + id + "/ownership")
	if err != nil {
		return nil, nil, err
	}
	for _, r := range o.list("regions") {
		words = append(words, r.str("status"))
		records = append(records, record{r.str("key"), "TXT", r.str("value")})
	}
	if o, err = j.get(j.base() + "/" + id + "/dkim"); err != nil {
		return nil, nil, err
	}
	for _, r := range o.list("regions") {
		words = append(words, r.str("status"))
		for _, t := range r.list("tokens") {
			records = append(records, record{t.str("key"), "CNAME", t.str("value")})
		}
	}
	if o, err = j.get(j.base() + "/" + id + "/spf"); err != nil {
		return nil, nil, err
	}
	return append(words, o.str("status")), append(records, record{o.str("key"), "TXT", o.str("value")}), nil
}

func allAre(words []string, want string) bool {
	for _, w := range words {
		if w != want {
			return false
		}
	}
	return len(words) > 0
}

func (j *journey) domain() error {
	j.title("Register the domain %s", demoDomain)
	o, err := j.api(201, http.MethodPost, j.base(), "application/json", object{"domainName": demoDomain})
	if err != nil {
		return err
	}
	j.domainID = o.str("id")
	j.say("201, id %s, echoed as %q", j.domainID, o.str("domainName"))
	if o.str("domainName") != demoDomain {
		return fmt.Errorf("the domain came back as %q", o.str("domainName"))
	}

	j.title("Read ownership, DKIM and SPF: reading is the check, and nothing is published yet")
	words, records, err := j.facets(j.domainID)
	if err != nil {
		return err
	}
	j.records = records
	if !allAre(words, "VERIFICATION_REQUIRED") {
		return fmt.Errorf("before anything was published: %q", words)
	}
	j.say("all %d facets: VERIFICATION_REQUIRED. Records to publish:", len(words))
	for i, r := range records {
		if i < 2 || i == 4 || i == len(records)-1 {
			j.say("  %s %s %s", r.name, r.rtype, r.value)
		}
		if i == 2 || i == 5 {
			j.say("  ...")
		}
	}

	j.title("Publish one with the zone doubled, the classic mistake, and ask what is wrong")
	r := records[0]
	if err := j.dns(http.MethodPost, r.name+".customer.example", r.rtype, r.value); err != nil {
		return err
	}
	if err := j.explain(j.domainID, "DOUBLED_ZONE"); err != nil {
		return err
	}
	if err := j.dns(http.MethodDelete, r.name+".customer.example", r.rtype, r.value); err != nil {
		return err
	}

	j.title("Publish all %d records in the customer's DNS, and read again", len(records))
	for _, r := range records {
		if err := j.dns(http.MethodPost, r.name, r.rtype, r.value); err != nil {
			return err
		}
	}
	// Not asked for, but theirs: the policy by which receivers judge alignment.
	if err := j.dns(http.MethodPost, "_dmarc.mail.customer.example", "TXT", "v=DMARC1; p=reject"); err != nil {
		return err
	}
	err = j.until("every facet ACTIVE", func() (bool, error) {
		words, _, err = j.facets(j.domainID)
		return allAre(words, "ACTIVE"), err
	})
	if err != nil {
		return fmt.Errorf("%w: %q", err, words)
	}
	j.say("all %d facets: ACTIVE", len(words))
	return nil
}

// explain shows the finding with a code in the native API.
func (j *journey) explain(id, code string) error {
	var shown object
	err := j.until("finding "+code, func() (bool, error) {
		raw, err := call(j.ctx, http.MethodGet, j.dev.Getenv("POSTSEAL_URL")+"/v1/tenants/"+j.dev.Getenv("PINGONE_ENVIRONMENT_ID")+"/domains/"+id+"/findings?check=true", j.token, nil)
		if err != nil {
			return false, err
		}
		var o object
		if err := json.Unmarshal(raw, &o); err != nil {
			return false, err
		}
		for _, f := range o.list("findings") {
			if f.str("code") == code {
				shown = f
			}
		}
		return shown != nil, nil
	})
	if err != nil {
		return err
	}
	j.say("%s: %s", shown.str("code"), shown.str("fix"))
	return nil
}

var eightChars = regexp.MustCompile(`Verification code: ([a-z0-9]{8})`)

func (j *journey) address() error {
	j.title("Register the address %s: a code goes out by mail", demoFrom)
	at := j.base() + "/" + j.domainID + "/trustedEmails"
	o, err := j.api(201, http.MethodPost, at, "application/json", object{"emailAddress": demoFrom})
	if err != nil {
		return err
	}
	j.say("201, status %s", o.str("status"))
	raw, err := j.mail(demoFrom, "Verification code: ")
	if err != nil {
		return err
	}
	code := eightChars.FindStringSubmatch(raw)
	if code == nil {
		return fmt.Errorf("no code in the mail:\n%s", raw)
	}
	j.headers(raw, "From", "Subject")

	j.title("Prove the address with the code from the mail")
	o, err = j.api(201, http.MethodPost, at+"/"+o.str("id"), "application/vnd.pingidentity.trustedEmail.activate+json", object{"verificationCode": code[1]})
	if err != nil {
		return err
	}
	j.say("status %s", o.str("status"))
	if o.str("status") != "ACTIVE" {
		return fmt.Errorf("the address is %s after its code", o.str("status"))
	}
	return nil
}

// headers shows header fields, long ones cut.
func (j *journey) headers(raw string, names ...string) {
	head, _, _ := strings.Cut(strings.ReplaceAll(raw, "\r\n", "\n"), "\n\n")
	head = strings.NewReplacer("\n\t", " ", "\n ", " ").Replace(head)
	for line := range strings.Lines(head) {
		name, _, _ := strings.Cut(line, ":")
		for _, want := range names {
			if strings.EqualFold(name, want) {
				line = strings.TrimSpace(line)
				if len(line) > 220 {
					line = line[:220] + "..."
				}
				j.say("  %s", line)
			}
		}
	}
}

func (j *journey) accept(subject string) (object, error) {
	return j.api(202, http.MethodPost, "/v1/messages", "application/json", object{
		"from": object{"name": "Customer", "address": demoFrom}, "to": object{"address": demoRecipient}, "subject": subject, "text": "Hello.",
	})
}

// settled waits until a message is in a state.
func (j *journey) settled(id, state string) (o object, err error) {
	err = j.until("message "+state, func() (bool, error) {
		o, err = j.get("/v1/messages/" + id)
		return o.str("state") == state, err
	})
	if err != nil {
		err = fmt.Errorf("%w: it is %s", err, o.str("state"))
	}
	return o, err
}

func (j *journey) send() error {
	j.title("Send a mail from %s", demoFrom)
	o, err := j.accept("A signed greeting")
	if err != nil {
		return err
	}
	j.say("202, id %s", o.str("id"))
	if _, err = j.settled(o.str("id"), "sent"); err != nil {
		return err
	}
	raw, err := j.mail(demoRecipient, "A signed greeting")
	if err != nil {
		return err
	}
	j.say("delivered by SMTP; what the receiver saw and verified:")
	j.headers(raw, "Return-Path", "Authentication-Results", "DKIM-Signature", "From")
	for _, want := range []string{"dkim=pass", "spf=pass", "dmarc=pass"} {
		if !strings.Contains(raw, want) {
			return fmt.Errorf("the receiver's verdict lacks %s:\n%s", want, raw)
		}
	}
	if !strings.Contains(raw, "d=mail.customer.example") {
		return fmt.Errorf("the mail is not signed by the customer's domain:\n%s", raw)
	}
	return nil
}

func (j *journey) lose() error {
	j.title("The relay has a bad hour (451 to everything); a mail is accepted and waits")
	control := func(busy bool) error {
		_, err := call(j.ctx, http.MethodPut, j.dev.Getenv("POSTSEAL_URL")+"/dev/inbox", j.dev.Getenv("POSTSEAL_OPERATOR_KEY"), object{"busy": busy})
		return err
	}
	if err := control(true); err != nil {
		return err
	}
	o, err := j.accept("Accepted while proven")
	if err != nil {
		return err
	}
	waiting := o.str("id")
	j.say("202, id %s", waiting)

	j.title("The customer's records disappear: the proof lapses, with warnings, and after the grace it is lost")
	for _, r := range j.records {
		if err := j.dns(http.MethodDelete, r.name, r.rtype, ""); err != nil && !strings.Contains(err.Error(), "404") {
			return err
		}
	}
	tenant := "/v1/tenants/" + j.dev.Getenv("PINGONE_ENVIRONMENT_ID")
	seen := map[string]bool{}
	err = j.until("the loss of the proof", func() (bool, error) {
		o, err := j.get(tenant + "/events?limit=1000")
		if err != nil {
			return false, err
		}
		for _, e := range o.list("items") {
			line := e.str("type") + " " + e.str("data", "purpose") + " " + e.str("data", "stage")
			if t := e.str("type"); (strings.Contains(t, "laps") && e.str("data", "purpose") == "ownership" && e.str("data", "region") == "us-east-1" || t == "domain.proof-lost") && !seen[line] {
				seen[line] = true
				j.say("%s  %s", e.str("at"), line)
			}
		}
		return seen["domain.proof-lost  "], nil
	})
	if err != nil {
		return err
	}

	j.title("The relay is back: the mail that was accepted before is refused at dispatch")
	if err := control(false); err != nil {
		return err
	}
	if o, err = j.settled(waiting, "refused"); err != nil {
		return err
	}
	j.say("state %s, reason %s", o.str("state"), o.str("reason"))
	if o.str("reason") != "proof-lost" {
		return fmt.Errorf("refused for %q", o.str("reason"))
	}
	if o, err = j.api(422, http.MethodPost, "/v1/messages", "application/json", object{
		"from": object{"address": demoFrom}, "to": object{"address": demoRecipient}, "subject": "Too late", "text": "Hello.",
	}); err != nil {
		return err
	}
	j.say("and a new one at once: 422, %s", o.str("detail"))
	return nil
}
