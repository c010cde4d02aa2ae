package sender

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/template"
)

// Filling is a template, what is filled into it, and who gets it.
type Filling struct {
	Application ID
	Type        string
	Locale      string // empty: DefaultLocale
	// ApplicationLocale is tried after Locale and its language, before the
	// instance's last one; may be empty.
	ApplicationLocale string
	// Variant is taken where there is one in a locale, and else the template without;
	// compared without letter case.
	Variant   string
	To        string            // addr-spec
	Values    map[string]string // by the names of placeholders
	Code      string            // one-time code; where there is one, the mail is never repeated blindly, and counts for its recipient
	Kind      MessageKind
	ExpiresAt time.Time // it is not sent any more from then on

	IdempotencyKey string
	RequestHash    string

	standard *Template // where the tenant has none; see SendNotice
}

// Filled is a mail that is ready to be queued.
type Filled struct {
	message Message
	events  []Event
	day     time.Time
	caps    []recipientCap // that a mail with a code must pass
}

// recipientCap bounds the mails with codes to one recipient and day.
type recipientCap struct {
	key  string // keyed hash
	most int
}

// allTenants is how many times as many codes a recipient may get from all tenants
// together as from one. The first is there against burying somebody in mail; one
// tenant alone must not be able to use up what the others' people sign in with.
const allTenants = 10

// Message returns the mail as it will be queued, without its body.
func (f Filled) Message() Message {
	m := f.message
	m.Body = nil
	return m
}

// Limits of what is filled in.
const (
	maxValues = 100
	maxValue  = 10_000 // octets
	maxCode   = 100    // characters
	// maxRendered is how long a body may become, in octets before escaping.
	maxRendered = 256 << 10
)

// reserved reports whether a placeholder's name can't be given by clients.
func reserved(name string) bool {
	return strings.EqualFold(name, template.Code) || strings.HasPrefix(strings.ToLower(name), "pingid_")
}

// Fill finds the template for a locale, fills it in and composes the mail. It
// writes nothing: QueueFilled does, in the caller's transaction.
//
// An author who is not trusted any more does not stop the mail: the built-in
// no-reply speaks in its stead, and an event says so. A Reply-To that is not
// trusted is left out.
//
// Errors: NotFound on "template", Invalid on "locale", "to", "values" or "code", Required
// on "values" or "code" where nothing is said for what a content of [Settings.LastResort]
// has to say, Busy.
func (s *Service) Fill(ctx context.Context, p Principal, tenant ID, f Filling) (Filled, error) {
	none := Filled{}
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleSender)
	if err != nil {
		return none, err
	}
	values, err := fillable(f)
	if err != nil {
		return none, err
	}
	to, err := parseRecipient("to", f.To)
	if err != nil {
		return none, err
	}
	found, err := s.resolve(ctx, tenant, f)
	if err != nil {
		return none, err
	}
	if err := s.complete(found, values); err != nil {
		return none, err
	}
	if s.full() {
		return none, busy()
	}
	now := s.now()
	m := Message{
		ID: NewID(), Tenant: tenant, Kind: f.Kind, To: to, Template: found.ID, Locale: found.Locale, State: Queued, Once: f.Code != "",
		NextAttemptAt: now, CreatedAt: now, ExpiresAt: f.ExpiresAt, IdempotencyKey: f.IdempotencyKey, RequestHash: f.RequestHash, Actor: p.Credential,
	}
	author, reply, replaced, err := s.correspondents(ctx, t, found, &m)
	if err != nil {
		return none, err
	}
	text, err := s.render(found, values)
	if err != nil {
		return none, err
	}
	d := Draft{
		Message: m.ID, From: author, ReplyTo: reply, To: Mailbox{Address: to}, At: now, Charset: found.Charset,
		Subject: text.Subject, Text: text.Text, HTML: text.HTML,
	}
	if d.Text == "" && d.HTML == "" {
		d.Text = "\n" // a template may have a subject alone
	}
	if m.Body, err = s.provider.Compose(d); err != nil {
		return none, err
	}
	filled := Filled{message: m, day: day(now)}
	if len(replaced) > 0 {
		filled.events = append(filled.events, NewEvent(p, tenant, EventMessageReaddressed, m.ID, now, replaced...))
	}
	if f.Code != "" {
		most := s.settings.Code.OTPPerRecipient
		for _, c := range []recipientCap{{string(tenant), most}, {"", allTenants * most}} {
			c.key = hex.EncodeToString(s.keyed("otp-recipient", c.key, strings.ToLower(to)))
			filled.caps = append(filled.caps, c)
		}
	}
	return filled, nil
}

// Rendering is a template with everything filled in.
type Rendering struct{ Subject, Text, HTML string }

// compiled is a template that was read.
type compiled struct{ subject, text, html *template.Template }

// edition names what was read: a template that is replaced is another one.
type edition struct {
	id ID
	at time.Time
}

// maxCompiled is the longest body that is remembered as read, in octets. Read, a
// body of nothing but placeholders is some twenty times as long.
const maxCompiled = 16 << 10

// compile reads a template, once for many mails.
func (s *Service) compile(t Template) *compiled {
	key := edition{t.ID, t.UpdatedAt}
	c, ok := s.compiled.Get(key)
	if ok {
		return c
	}
	c = &compiled{subject: template.Compile(t.Subject, template.Header)}
	if t.HTML {
		c.html = template.Compile(t.Body, template.HTML)
		c.text = template.Compile(template.PlainText(t.Body), template.Plain)
	} else {
		c.text = template.Compile(t.Body, template.Plain)
	}
	if len(t.Body) <= maxCompiled {
		s.compiled.Put(key, c, time.Now())
	}
	return c
}

// render fills a template in. A template of many placeholders and a long value
// could make a gigabyte of a request: Invalid on "values".
func (s *Service) render(t Template, values map[string]string) (Rendering, error) {
	c := s.compile(t)
	for _, part := range []*template.Template{c.text, c.html} {
		if part != nil && part.Size(values) > maxRendered {
			return Rendering{}, Errorf(Invalid, "values", "With these values the mail would have more than %d octets; use shorter ones.", maxRendered)
		}
	}
	r := Rendering{Subject: c.subject.Execute(values), Text: c.text.Execute(values)}
	if c.html != nil {
		r.HTML = c.html.Execute(values)
	}
	return r, nil
}

// previewCode stands for the one-time code in previews.
const previewCode = "123456"

// Preview fills a template in without sending it, and says what looks wrong with
// it. Errors: NotFound, Invalid on "values".
func (s *Service) Preview(ctx context.Context, p Principal, tenant, id ID, values map[string]string) (Rendering, []template.Warning, error) {
	t, err := s.Template(ctx, p, tenant, "", id)
	if err != nil {
		return Rendering{}, nil, err
	}
	values, err = fillable(Filling{Values: values, Code: previewCode})
	if err != nil {
		return Rendering{}, nil, err
	}
	source := template.Source{Subject: t.Subject, Body: t.Body, HTML: t.HTML, WantCode: true}
	if t.HTML { // a text alternative is made of it
		source.Text = template.PlainText(t.Body)
	}
	if source.Charset, err = template.ParseCharset(t.Charset); err != nil {
		return Rendering{}, nil, err
	}
	r, err := s.render(t, values)
	return r, template.Lint(source), err
}

// SendFilled accepts a mail that is filled into a template, durably or not at all,
// as Send does one that comes whole: life is how long it may be on its way, 0 the
// instance's. Errors: those of Fill and QueueFilled, Invalid on "expiresIn".
func (s *Service) SendFilled(ctx context.Context, p Principal, tenant ID, f Filling, life time.Duration) (Message, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleSender); err != nil {
		return Message{}, err
	}
	life, err := s.life(life)
	if err != nil {
		return Message{}, err
	}
	if old, ok, err := s.before(ctx, tenant, f.IdempotencyKey, f.RequestHash); ok || err != nil {
		return old, err
	}
	f.Kind, f.ExpiresAt = KindMessage, s.now().Add(life)
	filled, err := s.Fill(ctx, p, tenant, f)
	if err != nil {
		return Message{}, err
	}
	err = s.store.Update(ctx, func(tx Tx) error { return s.QueueFilled(ctx, tx, filled) })
	if KindOf(err) == Conflict && f.IdempotencyKey != "" { // somebody else was first with this key
		if old, ok, err := s.before(ctx, tenant, f.IdempotencyKey, f.RequestHash); ok || err != nil {
			return old, err
		}
	}
	if err != nil {
		return Message{}, err
	}
	s.Queued()
	return filled.Message(), nil
}

// fillable checks what a client gives for placeholders, and adds the code.
func fillable(f Filling) (map[string]string, error) {
	if len(f.Values) > maxValues {
		return nil, Errorf(Invalid, "values", "There are %d values for placeholders; at most %d can be given.", len(f.Values), maxValues)
	}
	values := make(map[string]string, len(f.Values)+1)
	for name, v := range f.Values {
		switch {
		case reserved(name):
			return nil, Errorf(Invalid, "values", "%s is a reserved name: the code and what begins with pingid_ are filled in here.", quote(name))
		case len(v) > maxValue || !utf8.ValidString(v):
			return nil, Errorf(Invalid, "values", "The value of %s is not UTF-8 of at most %d octets.", quote(name), maxValue)
		}
		values[name] = v
	}
	if f.Code != "" {
		if err := checkLabel("code", f.Code, maxCode); err != nil {
			return nil, err
		}
		values[template.Code] = f.Code
	}
	return values, nil
}

// complete refuses mail of a last resort that would have gaps: it was not the tenant who
// wrote it, so that nobody chose to leave them.
func (s *Service) complete(t Template, values map[string]string) error {
	last, ok := s.settings.LastResort[t.Type]
	if !ok || last.ID != t.ID {
		return nil
	}
	c := s.compile(t)
	names := c.subject.Names()
	for _, part := range []*template.Template{c.html, c.text} {
		if part != nil {
			names = append(names, part.Names()...)
		}
	}
	for _, name := range names {
		if _, ok := values[name]; ok {
			continue
		}
		if name == template.Code {
			return Errorf(Required, "code", "The default content of %s brings a one-time code; send one, or create a template of this type.", quote(t.Type))
		}
		return Errorf(Required, "values", "The default content of %s needs a value for ${%s}; send one, or create a template of this type.", quote(t.Type), name)
	}
	return nil
}

// resolve finds the template of an application and type in the first locale that
// has one.
func (s *Service) resolve(ctx context.Context, tenant ID, f Filling) (Template, error) {
	orDefault(&f.Locale, string(DefaultLocale))
	want, err := template.ParseLocale(f.Locale)
	if err != nil {
		return Template{}, &Error{Kind: Invalid, Field: "locale", Detail: err.Error()}
	}
	missing := Errorf(NotFound, "template", "There is no template of the type %s for the locale %s.", quote(f.Type), want)
	if checkLabel("type", f.Type, maxTemplateType) != nil {
		return Template{}, missing // none can have it, and PostgreSQL can't be asked for a NUL
	}
	if checkVariant(f.Variant) != nil {
		f.Variant = ""
	}
	try := func(locales []template.Locale) (Template, error) {
		for _, locale := range locales {
			for _, variant := range slices.Compact([]string{VariantKey(f.Variant), ""}) {
				t, err := s.store.TemplateFor(ctx, tenant, f.Application, f.Type, locale, variant)
				if err == nil || KindOf(err) != NotFound {
					return t, err
				}
			}
		}
		return Template{}, missing
	}
	application, _ := template.ParseLocale(f.ApplicationLocale) // checked when it was set
	first := template.Lookup(want, application, "")
	if t, err := try(first); KindOf(err) != NotFound {
		return t, err
	}
	d, err := mailDefaults(ctx, s.store, tenant)
	if err != nil {
		return Template{}, err
	}
	last := slices.DeleteFunc(template.Lookup("", d.Locale, s.settings.LastLocale), func(l template.Locale) bool { return slices.Contains(first, l) })
	if t, err := try(last); KindOf(err) != NotFound {
		return t, err
	}
	if f.standard != nil {
		return *f.standard, nil
	}
	if t, ok := s.settings.LastResort[f.Type]; ok && f.Application == "" {
		t.Tenant = tenant
		return t, nil
	}
	return Template{}, missing
}

// correspondents says who a filled template is from and who gets the answers, as
// the trust rule has it now, and notes both in the message.
func (s *Service) correspondents(ctx context.Context, t Tenant, found Template, m *Message) (author Mailbox, reply *Mailbox, replaced []string, err error) {
	system := s.provider.SystemSender()
	if found.From == "" {
		d, err := mailDefaults(ctx, s.store, t.ID)
		if err != nil {
			return author, nil, nil, err
		}
		own, err := s.relayOf(ctx, Message{Tenant: t.ID})
		if err != nil {
			return author, nil, nil, err
		}
		found.From = d.From
		orDefault(&found.From, own.author())
		orDefault(&found.From, system.Address)
		orDefault(&found.ReplyTo, d.ReplyTo)
		orDefault(&found.ReplyTo, own.replyTo())
	}
	author, m.From, err = parseAuthor("from", found.From)
	if err != nil {
		return author, nil, nil, err
	}
	author, m.From = s.onBehalf(author, m.From)
	if found.ReplyTo != "" {
		r, canonical, err := parseAuthor("replyTo", found.ReplyTo)
		if err != nil {
			return author, nil, nil, err
		}
		r, m.ReplyTo = s.onBehalf(r, canonical)
		reply = &r
	}
	d, err := s.decide(ctx, s.store, t, m.From, m.Region)
	if err != nil {
		return author, nil, nil, err
	}
	if !d.Allow {
		author, m.From = system, system.Address
		replaced = append(replaced, "from", string(d.Reason))
	}
	if reply != nil {
		d, err := s.decide(ctx, s.store, t, m.ReplyTo, "")
		if err != nil {
			return author, nil, nil, err
		}
		if !d.mayAnswer() {
			reply, m.ReplyTo = nil, ""
			replaced = append(replaced, "replyTo", string(d.Reason))
		}
	}
	if len(replaced) > 0 {
		replaced = append(replaced, "template", string(found.ID))
	}
	return author, reply, replaced, nil
}

// readdress is correspondents for mail that is composed already and about to leave:
// decision is that of its author, and becomes that of whoever speaks instead.
func (s *Service) readdress(ctx context.Context, t Tenant, m *Message, decision *Decision) (replaced []string, err error) {
	system := s.provider.SystemSender()
	dropReply := false
	if m.ReplyTo != "" {
		d, err := s.decide(ctx, s.store, t, m.ReplyTo, "")
		if err != nil {
			return nil, err
		}
		if dropReply = !d.mayAnswer(); dropReply {
			replaced = append(replaced, "replyTo", string(d.Reason))
		}
	}
	if !decision.Allow {
		replaced = append(replaced, "from", string(decision.Reason))
		if *decision, err = s.decide(ctx, s.store, t, system.Address, m.Region); err != nil {
			return nil, err
		}
		m.Body, err = s.provider.Readdress(m.Body, &system, dropReply)
	} else if dropReply {
		m.Body, err = s.provider.Readdress(m.Body, nil, true)
	}
	if err != nil || len(replaced) == 0 {
		return nil, err
	}
	return append(replaced, "template", string(m.Template)), nil
}

// QueueFilled queues a mail in a transaction; whoever commits it calls Queued. A
// mail with a code counts for its recipient. Errors: TooSoon on "to", Conflict where
// the Idempotency-Key was used.
func (s *Service) QueueFilled(ctx context.Context, tx Tx, f Filled) error {
	for _, c := range f.caps {
		n, err := tx.CountRecipient(ctx, c.key, f.day)
		if err != nil {
			return err
		}
		if n > c.most { // how many others sent is nobody's to know
			at := f.day.Add(24 * time.Hour)
			e := Errorf(TooSoon, "to", "This address was sent as many one-time codes today as there can be; another can be sent at %s.", at.Format(time.RFC3339))
			e.RetryAt = at
			return e
		}
	}
	if err := s.queue(ctx, tx, f.message); err != nil {
		return err
	}
	for _, e := range f.events {
		if err := tx.InsertEvent(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// Queued tells that a mail was committed by QueueFilled.
func (s *Service) Queued() { s.queued() }
