package pingone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// attributes are what the provider keeps of an object, or what a configuration says
// of it: strings, numbers, and nested ones.
type attributes map[string]any

// canonical is the form in which two of them are compared, byte for byte.
func canonical(v any) string {
	b, err := json.Marshal(v) // sorts the keys
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// managed is one resource of a configuration with its state.
type managed struct {
	kind   string
	config func() attributes // may refer to the state of others
	state  attributes        // nil: not there

	collection func(attributes) string // where it is made, of its configuration
	item       func(attributes) string // where it is then, of its state
	body       func(attributes) any    // what is sent
	decode     func([]byte) (attributes, error)
	settings   bool     // there is always one: PUT instead of POST, DELETE resets
	fixed      bool     // no update: every change is a new one
	writeOnly  []string // in the state, never in an answer
	status     int      // of a creation; 0: 201
}

// terraform is a configuration and its client.
type terraform struct {
	*scripted
	all []*managed // in the order of their dependencies
}

// configure logs in as often as a command does; see contract 4.1.
func (tf *terraform) configure(ctx context.Context, logins int) error {
	for range logins {
		if err := tf.login(ctx); err != nil {
			return err
		}
	}
	return nil
}

// argument demands a UUID that the provider lets through.
func argument(id any) string {
	s, _ := id.(string)
	if !uuid.MatchString(s) {
		return "NOT-A-LOWER-CASE-UUID-" + s
	}
	return s
}

// create uses the answer as the state: no read follows. Whatever the configuration
// says must come back as it was sent.
func (tf *terraform) create(ctx context.Context, m *managed) error {
	want := m.config()
	method, wantStatus := http.MethodPost, http.StatusCreated
	if m.settings {
		method, wantStatus = http.MethodPut, http.StatusOK
	}
	var raw json.RawMessage
	status, err := tf.call(ctx, method, m.collection(want), m.body(want), &raw)
	if err != nil {
		return err
	}
	if status != wantStatus {
		return fmt.Errorf("%s: created with %d, want %d: %s", m.kind, status, wantStatus, raw)
	}
	return m.take(want, raw)
}

// update is a PUT; its answer is the state as well.
func (tf *terraform) update(ctx context.Context, m *managed) error {
	want := m.config()
	var raw json.RawMessage
	status, err := tf.call(ctx, http.MethodPut, m.item(m.state), m.body(want), &raw)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s: updated with %d: %s", m.kind, status, raw)
	}
	return m.take(want, raw)
}

func (m *managed) take(want attributes, raw []byte) error {
	got, err := m.decode(raw)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", m.kind, err, raw)
	}
	for _, name := range m.writeOnly {
		if _, ok := got[name]; ok {
			return fmt.Errorf("%s: %s came back: %s", m.kind, name, raw)
		}
		got[name] = want[name]
	}
	for name, value := range want {
		if g, w := canonical(got[name]), canonical(value); g != w {
			return fmt.Errorf("%s: provider produced inconsistent result after apply: %s is %s, want %s: %s", m.kind, name, g, w, raw)
		}
	}
	m.state = got
	return nil
}

// refresh reads every resource, and drops from the state what is gone.
func (tf *terraform) refresh(ctx context.Context) error {
	return parallel(len(tf.all), func(i int) error {
		if tf.all[i].state == nil {
			return nil
		}
		return tf.read(ctx, tf.all[i])
	})
}

// read takes an answer for the state, as it comes.
func (tf *terraform) read(ctx context.Context, m *managed) error {
	var raw json.RawMessage
	status, err := tf.call(ctx, http.MethodGet, m.item(m.state), nil, &raw)
	if f, ok := errors.AsType[*failure](err); ok && f.gone() {
		m.state = nil
		return nil
	}
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s: read with %d", m.kind, status)
	}
	got, err := m.decode(raw)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", m.kind, err, raw)
	}
	for _, name := range m.writeOnly {
		if v, ok := m.state[name]; ok {
			got[name] = v
		}
	}
	m.state = got
	return nil
}

// plan says what apply would do, for resources in order: "" for those as configured.
func (tf *terraform) plan() (actions []string) {
	made := map[*managed]bool{} // to be made, so that ids which others refer to are not known yet
	for _, m := range tf.all {
		switch {
		case m.state == nil:
			made[m] = true
			actions = append(actions, "create "+m.kind)
		default:
			for name, value := range m.config() {
				if canonical(m.state[name]) == canonical(value) {
					continue
				}
				action := "update "
				if m.fixed {
					action = "replace "
				}
				actions = append(actions, action+m.kind+"."+name)
			}
		}
	}
	slices.Sort(actions)
	return actions
}

// apply makes what is missing and updates what differs, in the order of
// dependencies. Nothing here is ever replaced in place.
func (tf *terraform) apply(ctx context.Context) error {
	for _, m := range tf.all {
		switch {
		case m.state == nil:
			if err := tf.create(ctx, m); err != nil {
				return err
			}
		case slices.ContainsFunc(tf.plan(), func(a string) bool { return strings.HasPrefix(a, "update "+m.kind+".") }):
			if err := tf.update(ctx, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// destroy deletes in the opposite order, each with one DELETE; what is gone already
// is as good as deleted.
func (tf *terraform) destroy(ctx context.Context) error {
	for _, m := range slices.Backward(tf.all) {
		if m.state == nil {
			continue
		}
		status, err := tf.call(ctx, http.MethodDelete, m.item(m.state), nil, nil)
		if f, ok := errors.AsType[*failure](err); ok && f.gone() {
			err, status = nil, http.StatusNoContent
		}
		if err != nil {
			return fmt.Errorf("destroy %s: %w", m.kind, err)
		}
		if status != http.StatusNoContent && !m.settings {
			return fmt.Errorf("%s: deleted with %d", m.kind, status)
		}
		m.state = nil
	}
	return nil
}

// states are all of them, for comparison.
func (tf *terraform) states() string {
	var b bytes.Buffer
	for _, m := range tf.all {
		fmt.Fprintf(&b, "%s %s\n", m.kind, canonical(m.state))
	}
	return b.String()
}

type reference struct {
	ID string `json:"id"`
}

// idOf is what the provider dereferences without looking: nil is a crash.
func idOf(what string, r *reference) (string, error) {
	if r == nil {
		return "", fmt.Errorf("%s.id is missing: the provider crashes", what)
	}
	return r.ID, nil
}

// enum is the literal that stands for words the SDK does not know.
func enum(word string, known ...string) string {
	if slices.Contains(known, word) {
		return word
	}
	return "UNKNOWN"
}

// domainResource is a pingone_trusted_email_domain.
func domainResource(name string) *managed {
	return &managed{
		kind: "domain", fixed: true,
		config:     func() attributes { return attributes{"domain_name": name} },
		collection: func(attributes) string { return "emailDomains" },
		item:       func(s attributes) string { return "emailDomains/" + argument(s["id"]) },
		body:       func(a attributes) any { return attributes{"domainName": a["domain_name"]} },
		decode:     decodeDomain,
	}
}

func decodeDomain(raw []byte) (attributes, error) {
	var d struct {
		Links       hal        `json:"_links"`
		ID          string     `json:"id"`
		DomainName  string     `json:"domainName"`
		Environment *reference `json:"environment"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	env, err := idOf("environment", d.Environment)
	return attributes{"id": d.ID, "environment_id": env, "domain_name": d.DomainName}, err
}

// addressResource is a pingone_trusted_email_address.
func addressResource(domain *managed, mailbox string) *managed {
	at := func(a attributes) string {
		return "emailDomains/" + argument(a["email_domain_id"]) + "/trustedEmails"
	}
	return &managed{
		kind: "address " + mailbox, fixed: true,
		config: func() attributes {
			return attributes{"email_domain_id": domain.state["id"], "email_address": mailbox}
		},
		collection: at,
		item:       func(s attributes) string { return at(s) + "/" + argument(s["id"]) },
		body:       func(a attributes) any { return attributes{"emailAddress": a["email_address"]} },
		decode: func(raw []byte) (attributes, error) {
			var a struct {
				ID           string     `json:"id"`
				Environment  *reference `json:"environment"`
				Domain       *reference `json:"domain"`
				DomainID     string     `json:"domainId"`
				EmailAddress string     `json:"emailAddress"`
				Status       string     `json:"status"`
			}
			if err := json.Unmarshal(raw, &a); err != nil {
				return nil, err
			}
			env, err := idOf("environment", a.Environment)
			dom, err2 := idOf("domain", a.Domain)
			if a.DomainID != dom {
				err2 = fmt.Errorf("domainId is %q and domain.id %q", a.DomainID, dom)
			}
			return attributes{
				"id": a.ID, "environment_id": env, "email_domain_id": dom, "email_address": a.EmailAddress, "status": enum(a.Status, active, required),
			}, errors.Join(err, err2)
		},
	}
}

type namedAddress struct {
	Name    *string `json:"name,omitempty"`
	Address *string `json:"address,omitempty"`
}

func (n *namedAddress) attributes() any {
	if n == nil {
		return nil
	}
	return attributes{"name": n.Name, "address": n.Address}
}

// contentResource is a pingone_notification_template_content for mail.
func contentResource(template string, config func() attributes) *managed {
	at := "templates/" + template + "/contents"
	return &managed{
		kind: "content", config: config,
		collection: func(attributes) string { return at },
		item:       func(s attributes) string { return at + "/" + argument(s["id"]) },
		body: func(a attributes) any {
			return attributes{
				"locale": a["locale"], "deliveryMethod": "Email", "variant": a["variant"], "subject": a["subject"], "body": a["body"],
				"charset": a["character_set"], "emailContentType": a["content_type"], "from": a["from"], "replyTo": a["reply_to"],
			}
		},
		decode: func(raw []byte) (attributes, error) {
			var c struct {
				ID               string        `json:"id"`
				CreatedAt        string        `json:"createdAt"`
				UpdatedAt        string        `json:"updatedAt"`
				Default          *bool         `json:"default"`
				Locale           string        `json:"locale"`
				DeliveryMethod   string        `json:"deliveryMethod"`
				Variant          *string       `json:"variant"`
				Subject          *string       `json:"subject"`
				Body             string        `json:"body"`
				Charset          *string       `json:"charset"`
				EmailContentType *string       `json:"emailContentType"`
				From             *namedAddress `json:"from"`
				ReplyTo          *namedAddress `json:"replyTo"`
			}
			if err := json.Unmarshal(raw, &c); err != nil {
				return nil, err
			}
			if c.DeliveryMethod != "Email" {
				return nil, fmt.Errorf("deliveryMethod %q: the SDK decodes nothing of it, nor of a list with it", c.DeliveryMethod)
			}
			return attributes{
				"id": c.ID, "default": c.Default, "locale": c.Locale, "variant": c.Variant, "subject": c.Subject, "body": c.Body,
				"character_set": c.Charset, "content_type": c.EmailContentType, "from": c.From.attributes(), "reply_to": c.ReplyTo.attributes(),
			}, nil
		},
	}
}

// settingsResource is a pingone_notification_settings.
func settingsResource(config func() attributes) *managed {
	const at = "notificationsSettings"
	return &managed{
		kind: "settings", config: config, settings: true,
		collection: func(attributes) string { return at }, item: func(attributes) string { return at },
		body: func(a attributes) any {
			return attributes{"deliveryMode": a["delivery_mode"], "from": a["from"], "replyTo": a["reply_to"]}
		},
		decode: func(raw []byte) (attributes, error) {
			var s struct {
				ID           *string       `json:"id"`
				Environment  *reference    `json:"environment"`
				UpdatedAt    *time.Time    `json:"updatedAt"`
				DeliveryMode string        `json:"deliveryMode"`
				From         *namedAddress `json:"from"`
				ReplyTo      *namedAddress `json:"replyTo"`
				Restrictions *struct {
					Quota *struct{ Daily *int32 } `json:"smsVoiceQuota"`
				} `json:"restrictions"`
				Chain []string `json:"smsProvidersFallbackChain"`
			}
			if err := json.Unmarshal(raw, &s); err != nil {
				return nil, err
			}
			env, err := idOf("environment", s.Environment)
			return attributes{
				"environment_id": env, "updated_at": s.UpdatedAt, "delivery_mode": enum(s.DeliveryMode, "ALL"), "from": s.From.attributes(), "reply_to": s.ReplyTo.attributes(),
			}, err
		},
	}
}

// smtpResource is a pingone_notification_settings_email.
func smtpResource(config func() attributes) *managed {
	const at = "notificationsSettings/emailDeliverySettings"
	return &managed{
		kind: "smtp", config: config, settings: true, writeOnly: []string{"password"},
		collection: func(attributes) string { return at }, item: func(attributes) string { return at },
		body: func(a attributes) any {
			return attributes{
				"host": a["host"], "port": a["port"], "username": a["username"], "password": a["password"], "from": a["from"], "replyTo": a["reply_to"],
			}
		},
		decode: func(raw []byte) (attributes, error) {
			var s struct {
				Environment *reference    `json:"environment"`
				UpdatedAt   *time.Time    `json:"updatedAt"`
				Protocol    string        `json:"protocol"`
				Host        *string       `json:"host"`
				Port        *int32        `json:"port"`
				Username    *string       `json:"username"`
				Password    *string       `json:"password"`
				From        *namedAddress `json:"from"`
				ReplyTo     *namedAddress `json:"replyTo"`
			}
			if err := json.Unmarshal(raw, &s); err != nil {
				return nil, err
			}
			if enum(s.Protocol, "SMTP", "SMTPS") == "UNKNOWN" {
				return nil, fmt.Errorf("protocol %q: the SDK decodes nothing", s.Protocol)
			}
			env, err := idOf("environment", s.Environment)
			a := attributes{
				"environment_id": env, "updated_at": s.UpdatedAt, "protocol": s.Protocol, "host": s.Host, "port": s.Port, "username": s.Username,
				"from": s.From.attributes(), "reply_to": s.ReplyTo.attributes(),
			}
			if s.Password != nil {
				a["password"] = s.Password
			}
			return a, err
		},
	}
}

// published is a record that a status asks for. The three data sources make sets of
// what they read: entries that are equal would collapse.
type published struct {
	facet, name, rtype, value, status string
	priority                          int
}

// status reads D5, D6 or D7 as the data source does. A 404 is an error there, and
// no environment is read after one.
func (c *scripted) status(ctx context.Context, domain, facet string) (rs []published, err error) {
	var s struct {
		Type    string `json:"type"`
		Status  string `json:"status"`
		Key     string `json:"key"`
		Value   string `json:"value"`
		Regions []struct {
			Name   string `json:"name"`
			Status string `json:"status"`
			Key    string `json:"key"`
			Value  string `json:"value"`
			Tokens []struct {
				Key   string `json:"key"`
				Value string `json:"value"`
			} `json:"tokens"`
		} `json:"regions"`
		Environment *struct {
			Status string `json:"status"`
			Key    string `json:"key"`
			Value  string `json:"value"`
		} `json:"environmentDnsRecord"`
		Priority int `json:"priority"`
	}
	if _, err := c.sdk(ctx, http.MethodGet, c.at("emailDomains/"+argument(domain)+"/"+facet), "", nil, &s); err != nil {
		return nil, err
	}
	add := func(facet, key, value, status string) {
		rs = append(rs, published{facet, key, s.Type, value, enum(status, active, required), s.Priority})
	}
	names := map[string]bool{}
	for _, r := range s.Regions {
		if names[r.Name] || r.Name == "" {
			return nil, fmt.Errorf("%s: two regions %q collapse in a set", facet, r.Name)
		}
		names[r.Name] = true
		if facet == "ownership" {
			add(facet+" "+r.Name, r.Key, r.Value, r.Status)
		}
		tokens := map[string]bool{}
		for _, k := range r.Tokens {
			if tokens[k.Key+" "+k.Value] {
				return nil, fmt.Errorf("%s: two tokens %q collapse in a set", facet, k.Key)
			}
			tokens[k.Key+" "+k.Value] = true
			add(facet+" "+r.Name, k.Key, k.Value, r.Status)
		}
	}
	if s.Environment != nil {
		add("environment", s.Environment.Key, s.Environment.Value, s.Environment.Status)
	}
	if s.Key != "" {
		add(facet, s.Key, s.Value, s.Status)
	}
	want := map[string]string{"ownership": "TXT", "dkim": "CNAME", "spf": "TXT", "mailFromDomain": "MX"}[facet]
	if s.Type != want || len(rs) == 0 || facet == "ownership" && s.Environment == nil || (facet == "ownership" || facet == "dkim") != (len(s.Regions) > 0) {
		return nil, fmt.Errorf("%s: type %q with %d regions: %+v", facet, s.Type, len(s.Regions), rs)
	}
	for _, r := range rs {
		if r.name == "" || r.value == "" || r.status == "UNKNOWN" {
			return nil, fmt.Errorf("%s: %+v", facet, r)
		}
	}
	return rs, nil
}

// lookUp is the data source pingone_trusted_email_domain by name.
func (c *scripted) lookUp(ctx context.Context, name string) (found attributes, pages int, err error) {
	pages, err = c.walk(ctx, "emailDomains", "emailDomains", func(raw json.RawMessage) error {
		d, err := decodeDomain(raw)
		if err == nil && strings.EqualFold(d["domain_name"].(string), name) {
			found = d
		}
		return err
	})
	return found, pages, err
}

// environmentSource is the data source pingone_environment, by id and by name.
func (c *scripted) environmentSource(ctx context.Context) error {
	var byID environmentModel
	if _, err := c.call(ctx, http.MethodGet, "", nil, &byID); err != nil {
		return err
	}
	if byID.ID != c.env || enum(byID.Type, "SANDBOX", "PRODUCTION") == "UNKNOWN" || enum(byID.Region, "AP", "AU", "CA", "EU", "NA", "SG") == "UNKNOWN" ||
		!uuid.MatchString(byID.License.ID) || !uuid.MatchString(byID.Organization.ID) {
		return fmt.Errorf("environment: %+v", byID)
	}
	found := 0
	name := strings.NewReplacer(" ", "%20", `"`, "%22").Replace(fmt.Sprintf("/v1/environments?filter=name sw %q", byID.Name))
	if _, err := c.walk(ctx, name, "environments", func(raw json.RawMessage) error {
		var e environmentModel
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		if e.Name == byID.Name && e.ID == byID.ID && e.CreatedAt.Equal(byID.CreatedAt) {
			found++
		}
		return nil
	}); err != nil || found != 1 {
		return fmt.Errorf("by its name %q: found %d times: %w", byID.Name, found, err)
	}
	var bill struct {
		Products []struct {
			Type string `json:"type"`
		} `json:"products"`
	}
	if _, err := c.call(ctx, http.MethodGet, "billOfMaterials", nil, &bill); err != nil {
		return err
	}
	if bill.Products == nil {
		return errors.New("no products, not even an empty list")
	}
	return nil
}
