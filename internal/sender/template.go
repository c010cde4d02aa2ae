package sender

import (
	"context"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/template"
)

// Template is a mail to be filled in. There is one for each application, type,
// locale and variant.
type Template struct {
	ID          ID
	Tenant      ID
	Application ID     // whose users get it; empty: the tenant's own
	Type        string // what it is for, in the application's words; compared exactly
	Locale      template.Locale
	Spelling    string // of the locale, as it was sent
	// Variant tells one text from others of the same type and locale, in lower case;
	// empty: it has none. VariantSpelling is as it was sent.
	Variant         string
	VariantSpelling string

	// From and ReplyTo are a mailbox as it was sent: an addr-spec, or a display name
	// with an addr-spec in angle brackets (RFC 5322, section 3.4). Where From is empty,
	// the tenant's [MailDefaults] speak; ReplyTo may be empty.
	From    string
	ReplyTo string

	Subject string // empty: the mail has none
	Body    string
	HTML    bool   // the body is text/html; otherwise text/plain
	Charset string // IANA name that mail is written in, as it was sent

	CreatedAt time.Time
	UpdatedAt time.Time
}

// NewTemplate is what a client says of a template. What is empty takes its
// default, where it has one.
type NewTemplate struct {
	Application ID
	Type        string
	Locale      string // default en
	Variant     string // compared without letter case; empty: none
	From        string // empty: the tenant's default
	ReplyTo     string
	Subject     string
	Body        string
	ContentType string // text/plain (default) or text/html, in any case
	Charset     string // default utf-8
}

// TemplateFilter says which templates are listed. Empty members match all but for
// Application, which matches all only where AnyApplication says so.
type TemplateFilter struct {
	Application    ID
	AnyApplication bool
	Type           string
	Locale         template.Locale
}

// VariantKey is what variants are compared by.
func VariantKey(spelling string) string { return strings.ToLower(spelling) }

// Limits of a template; those of PingOne's contents, which are of the same kind.
const (
	maxTemplateType    = 100       // characters
	maxVariant         = 100       // characters
	maxTemplateSubject = 256       // characters
	maxTemplateBody    = 100 << 10 // octets of UTF-8
	// maxTemplates is for all subjects and bodies of a tenant together, in octets: a
	// list is answered whole.
	maxTemplates = 8 << 20
)

// Octets is how long the subject and the body are.
func (t Template) Octets() int { return len(t.Subject) + len(t.Body) }

// DefaultLocale is that of templates and calls which name none.
const DefaultLocale template.Locale = "en"

// quoted is a quoted-string (RFC 5322, section 3.2.4).
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// parseAuthor reads one mailbox, with a display name or without. It returns the
// mailbox as it goes into a header and the canonical addr-spec.
func parseAuthor(field, s string) (m Mailbox, canonical string, err error) {
	name, spec := "", s
	if strings.ContainsAny(s, `<>"`) {
		parsed, err := mail.ParseAddress(s)
		// Outside of quotes a parenthesis begins a comment, which nobody would see.
		if err != nil || strings.ContainsAny(s, "\r\n") || strings.Contains(quoted.ReplaceAllString(s, ""), "(") {
			return m, "", Errorf(Invalid, field, `%s is not one mailbox; write it as local-part@domain or "Name" <local-part@domain>.`, quote(s))
		}
		name, spec = parsed.Name, parsed.Address
	}
	canonical, domain, err := ParseMailbox(field, spec)
	if err != nil {
		return m, "", err
	}
	return Mailbox{Name: name, Address: onWire(spec, domain)}, canonical, nil
}

// builtin reports whether an address speaks for the service itself.
func (s *Service) builtin(canonical string) bool {
	return canonical == s.provider.SystemSender().Address || slices.Contains(s.settings.BuiltinSenders, canonical)
}

// onBehalf is a template's author or Reply-To as its mail shows it. Mail of addresses
// that everybody may name leaves from the built-in no-reply, since nobody here can
// sign for them.
func (s *Service) onBehalf(m Mailbox, canonical string) (Mailbox, string) {
	if !s.builtin(canonical) {
		return m, canonical
	}
	if strings.EqualFold(m.Name, m.Address) { // a name that says an address must say the right one
		m.Name = ""
	}
	m.Address = s.provider.SystemSender().Address
	return m, m.Address
}

// mayAuthor asks the trust rule about an author or Reply-To of a template, and
// returns it as mail will show it.
func (s *Service) mayAuthor(ctx context.Context, r Reader, t Tenant, field, spelling string) (Mailbox, error) {
	m, canonical, err := parseAuthor(field, spelling)
	if err != nil {
		return m, err
	}
	m, canonical = s.onBehalf(m, canonical)
	d, err := s.decide(ctx, r, t, canonical, "")
	if err == nil && !d.Allow {
		e := Refusal(d.Reason, canonical)
		e.Field = field
		return m, e
	}
	return m, err
}

// template checks what a client says of a template.
func (s *Service) template(ctx context.Context, t Tenant, n NewTemplate) (Template, error) {
	made := Template{Tenant: t.ID, Application: n.Application, Type: n.Type, From: n.From, ReplyTo: n.ReplyTo, Subject: n.Subject, Body: n.Body}
	none := Template{}
	if err := checkLabel("type", n.Type, maxTemplateType); err != nil {
		return none, err
	}
	orDefault(&n.Locale, string(DefaultLocale))
	locale, err := template.ParseLocale(n.Locale)
	if err != nil {
		return none, &Error{Kind: Invalid, Field: "locale", Detail: err.Error()}
	}
	made.Locale, made.Spelling = locale, n.Locale
	if err := checkVariant(n.Variant); err != nil {
		return none, err
	}
	made.Variant, made.VariantSpelling = VariantKey(n.Variant), n.Variant
	orDefault(&n.ContentType, "text/plain")
	switch strings.ToLower(n.ContentType) {
	case "text/plain":
	case "text/html":
		made.HTML = true
	default:
		return none, Errorf(Invalid, "contentType", "%s is not a type of mail that a template can have; use text/html or text/plain.", quote(n.ContentType))
	}
	orDefault(&n.Charset, "utf-8")
	charset, err := template.ParseCharset(n.Charset)
	if err != nil {
		return none, &Error{Kind: Invalid, Field: "charset", Detail: err.Error()}
	}
	made.Charset = n.Charset
	for _, text := range []struct {
		field, value string
		most         string
		tooLong      bool
	}{
		{"subject", n.Subject, "256 characters", utf8.RuneCountInString(n.Subject) > maxTemplateSubject},
		{"body", n.Body, "100 KiB", len(n.Body) > maxTemplateBody},
	} {
		switch bad, fits := charset.Fits(text.value); {
		case text.tooLong:
			return none, Errorf(Invalid, text.field, "The %s is too long: it may have %s.", text.field, text.most)
		case !utf8.ValidString(text.value) || strings.ContainsRune(text.value, 0):
			return none, Errorf(Invalid, text.field, "The %s is not text: it has octets that are not UTF-8, or a NUL.", text.field)
		case !fits && text.field == "body": // a subject is an encoded word in UTF-8 if need be
			return none, Errorf(Invalid, text.field, "The body has the character %q, which the character set %s does not have.", bad, made.Charset)
		}
	}
	if strings.ContainsFunc(n.Subject, func(r rune) bool { return r < ' ' || r == 0x7F }) {
		return none, Errorf(Invalid, "subject", "The subject holds a line end or another control character; a subject is one line.")
	}
	// What can't be composed could never be sent.
	trial := Draft{Message: NewID(), To: s.provider.SystemSender(), Subject: "x", Text: "x", At: s.now()}
	trial.From = s.provider.SystemSender()
	if n.From != "" {
		if trial.From, err = s.mayAuthor(ctx, s.store, t, "from", n.From); err != nil {
			return none, err
		}
	}
	if n.ReplyTo != "" {
		reply, err := s.mayAuthor(ctx, s.store, t, "replyTo", n.ReplyTo)
		if err != nil {
			return none, err
		}
		trial.ReplyTo = &reply
	}
	_, err = s.provider.Compose(trial)
	return made, err
}

func checkVariant(s string) error {
	if s == "" {
		return nil
	}
	return checkLabel("variant", s, maxVariant)
}

// taken refuses a second template of an application, type, locale and variant; id is
// whoever may have them.
func taken(ctx context.Context, tx Tx, t Template, id ID) error {
	switch old, err := tx.TemplateFor(ctx, t.Tenant, t.Application, t.Type, t.Locale, t.Variant); {
	case err == nil && old.ID != id:
		if t.Variant != "" {
			return Errorf(Conflict, "type", "There is a template of the type %s, the locale %s and the variant %s already; change that one.", quote(t.Type), t.Locale, quote(t.VariantSpelling))
		}
		return Errorf(Conflict, "type", "There is a template of the type %s and the locale %s already; change that one.", quote(t.Type), t.Locale)
	case err != nil && KindOf(err) != NotFound:
		return err
	}
	return nil
}

// CreateTemplate makes a template. Errors: Required and Invalid with the field's
// name ("from", "replyTo", "subject", "body", "contentType", "charset", "locale",
// "type", "variant"), Refused on "from" or "replyTo" for an author that is not trusted,
// Conflict on "type", Limit on "template".
func (s *Service) CreateTemplate(ctx context.Context, p Principal, tenant ID, n NewTemplate) (Template, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin)
	if err != nil {
		return Template{}, err
	}
	made, err := s.template(ctx, t, n)
	if err != nil {
		return Template{}, err
	}
	// Of version 4, as the vendors' own: nothing is read from these by their order.
	made.ID, made.CreatedAt = NewRandomID(), s.now()
	made.UpdatedAt = made.CreatedAt
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		if err := taken(ctx, tx, made, ""); err != nil {
			return err
		}
		n, octets, err := tx.CountTemplates(ctx, tenant)
		if err != nil {
			return err
		}
		if octets+made.Octets() > maxTemplates {
			return tooMuch()
		}
		if n >= t.Limits.Templates {
			return Errorf(Limit, "template", "There are %d templates, the most there can be; delete one that is no longer used.", t.Limits.Templates)
		}
		if err := tx.InsertTemplate(ctx, made); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, templateEvent(p, EventTemplateCreated, made, made.CreatedAt))
	})
	return made, err
}

func tooMuch() error {
	return Errorf(Limit, "template", "All templates together would have more than %d MiB of text, the most there can be; delete one that is no longer used.", maxTemplates>>20)
}

func templateEvent(p Principal, t EventType, of Template, at time.Time) Event {
	return NewEvent(p, of.Tenant, t, of.ID, at, "application", string(of.Application), "type", of.Type, "locale", string(of.Locale), "variant", of.VariantSpelling)
}

// Template returns one template of an application; of whichever, where application
// is empty.
func (s *Service) Template(ctx context.Context, p Principal, tenant, application, id ID) (Template, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return Template{}, err
	}
	return templateOf(ctx, s.store, tenant, application, id)
}

func templateOf(ctx context.Context, r Reader, tenant, application, id ID) (Template, error) {
	t, err := r.Template(ctx, tenant, id)
	if err == nil && application != "" && t.Application != application {
		err = notFound("template")
	}
	return t, err
}

// Templates lists templates in the order of their ids.
func (s *Service) Templates(ctx context.Context, p Principal, tenant ID, filter TemplateFilter, page Page) ([]Template, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return nil, err
	}
	return s.store.Templates(ctx, tenant, filter, page)
}

// ReplaceTemplate writes a template anew, as a whole; its application stays. Errors
// are those of CreateTemplate.
func (s *Service) ReplaceTemplate(ctx context.Context, p Principal, tenant, application, id ID, n NewTemplate) (Template, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin)
	if err != nil {
		return Template{}, err
	}
	old, err := templateOf(ctx, s.store, tenant, application, id)
	if err != nil {
		return Template{}, err
	}
	n.Application = old.Application
	made, err := s.template(ctx, t, n)
	if err != nil {
		return Template{}, err
	}
	made.ID, made.UpdatedAt = id, s.now()
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		old, err := templateOf(ctx, tx, tenant, application, id) // gone meanwhile?
		if err != nil {
			return err
		}
		made.CreatedAt = old.CreatedAt
		if _, octets, err := tx.CountTemplates(ctx, tenant); err != nil {
			return err
		} else if made.Octets() > old.Octets() && octets-old.Octets()+made.Octets() > maxTemplates {
			return tooMuch()
		}
		if err := taken(ctx, tx, made, id); err != nil {
			return err
		}
		if err := tx.UpdateTemplate(ctx, made); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, templateEvent(p, EventTemplateReplaced, made, made.UpdatedAt))
	})
	return made, err
}

// DeleteTemplate removes a template. Mail that was filled into it goes out.
func (s *Service) DeleteTemplate(ctx context.Context, p Principal, tenant, application, id ID) error {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx Tx) error {
		old, err := templateOf(ctx, tx, tenant, application, id)
		if err != nil {
			return err
		}
		if err := tx.DeleteTemplate(ctx, tenant, id); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, templateEvent(p, EventTemplateDeleted, old, s.now()))
	})
}

// RenameVariant gives templates of one type another variant, all of them or none; an
// empty one takes it away. It returns them as they are then. Errors: NotFound, Invalid
// on "variant", Conflict on "type".
func (s *Service) RenameVariant(ctx context.Context, p Principal, tenant ID, kind string, ids []ID, variant string) ([]Template, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return nil, err
	}
	if err := checkVariant(variant); err != nil {
		return nil, err
	}
	now := s.now()
	var renamed []Template
	err := s.store.Update(ctx, func(tx Tx) error {
		renamed = nil
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		for _, id := range ids {
			t, err := ofType(ctx, tx, tenant, kind, id)
			if err != nil {
				return err
			}
			t.Variant, t.VariantSpelling, t.UpdatedAt = VariantKey(variant), variant, now
			if err := taken(ctx, tx, t, id); err != nil {
				return err
			}
			if err := tx.UpdateTemplate(ctx, t); err != nil {
				return err
			}
			renamed = append(renamed, t)
		}
		return bulkEvent(ctx, tx, p, EventTemplatesRenamed, tenant, kind, len(ids), now, "variant", variant)
	})
	return renamed, err
}

// DeleteTemplates removes templates of one type, all of them or none.
func (s *Service) DeleteTemplates(ctx context.Context, p Principal, tenant ID, kind string, ids []ID) error {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx Tx) error {
		for _, id := range ids {
			if _, err := ofType(ctx, tx, tenant, kind, id); err != nil {
				return err
			}
			if err := tx.DeleteTemplate(ctx, tenant, id); err != nil {
				return err
			}
		}
		return bulkEvent(ctx, tx, p, EventTemplatesDeleted, tenant, kind, len(ids), s.now())
	})
}

// ofType reads one of the tenant's own templates.
func ofType(ctx context.Context, tx Tx, tenant ID, kind string, id ID) (Template, error) {
	t, err := tx.Template(ctx, tenant, id)
	if err == nil && (t.Type != kind || t.Application != "") {
		err = notFound("template")
	}
	return t, err
}

// bulkEvent is one event for many templates.
func bulkEvent(ctx context.Context, tx Tx, p Principal, e EventType, tenant ID, kind string, n int, at time.Time, data ...string) error {
	if n == 0 {
		return nil
	}
	return tx.InsertEvent(ctx, NewEvent(p, tenant, e, tenant, at, append(data, "type", kind, "count", strconv.Itoa(n))...))
}
