package pingid

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

// templateRequest is a template as a client sends it.
type templateRequest struct {
	thing
	template sender.NewTemplate
}

// newTemplate reads a template. What is missing or null takes its default; what is
// empty has none to take, but for the subject, the body and the Reply-To.
func newTemplate(r *http.Request) (n templateRequest, err error) {
	if n.thing, err = readThing(r); err != nil {
		return n, err
	}
	body, err := readBody[struct {
		FromAddress       *string `json:"fromAddress"`
		ReplyToAddress    *string `json:"replyToAddress"`
		EmailSubject      *string `json:"emailSubject"`
		EmailBody         *string `json:"emailBody"`
		ContentType       *string `json:"contentType"`
		CharacterSet      *string `json:"characterSet"`
		Locale            *string `json:"locale"`
		Type              *string `json:"type"`
		EmailBodyEncoding *string `json:"emailBodyEncoding"`
	}](r)
	if err != nil {
		return n, err
	}
	t := &n.template
	t.Application, t.Subject, t.Body, t.ReplyTo = n.app, text(body.EmailSubject), text(body.EmailBody), author(text(body.ReplyToAddress))
	if t.From, err = present("fromAddress", body.FromAddress); err != nil {
		return n, err
	}
	t.From = author(t.From)
	if t.Type, err = present("type", body.Type); err != nil {
		return n, err
	}
	encoding := ""
	for _, optional := range []struct {
		field string
		value *string
		to    *string
	}{
		{"contentType", body.ContentType, &t.ContentType}, {"characterSet", body.CharacterSet, &t.Charset},
		{"locale", body.Locale, &t.Locale}, {"emailBodyEncoding", body.EmailBodyEncoding, &encoding},
	} {
		if optional.value == nil {
			continue
		}
		if *optional.to, err = present(optional.field, optional.value); err != nil {
			return n, err
		}
	}
	if t.Body, err = decodeBody(encoding, t.Charset, t.Body); err != nil {
		return n, err
	}
	if t.Subject == "" && t.Body == "" {
		return n, sender.Errorf(empty, "emailConfiguration", "emailSubject and emailBody are both empty; a mail needs one of them.")
	}
	return n, nil
}

// decodeBody undoes the encoding of a body: octets of its character set in base64,
// with or without padding, and nothing between (RFC 4648, sections 3.3 and 4).
func decodeBody(encoding, charset, body string) (string, error) {
	switch strings.ToLower(encoding) {
	case "", "raw":
		return body, nil
	case "base64":
	default:
		return "", sender.Errorf(sender.Invalid, "emailBodyEncoding", "%q is no encoding of a body; use base64 or raw.", api.Short(encoding))
	}
	var set template.Charset
	if charset != "" {
		var err error
		if set, err = template.ParseCharset(charset); err != nil {
			return "", &sender.Error{Kind: sender.Invalid, Field: "charset", Detail: err.Error()}
		}
	}
	form := base64.StdEncoding.Strict()
	if !strings.HasSuffix(body, "=") {
		form = base64.RawStdEncoding.Strict()
	}
	b, err := form.DecodeString(body)
	if err != nil || strings.ContainsAny(body, "\r\n") { // which base64 would skip
		return "", sender.Errorf(sender.Invalid, "body", "The body is not base64, as emailBodyEncoding says that it is.")
	}
	decoded, err := set.Decode(b)
	if err != nil {
		return "", sender.Errorf(sender.Invalid, "body", "The body is not text of the character set %s once it is decoded.", set)
	}
	return decoded, nil
}

// applicationOf makes sure that there is the application that a path names.
func (e edge) applicationOf(ctx context.Context, p sender.Principal, t thing) error {
	_, err := e.otp.Application(ctx, p, t.account, t.app)
	return err
}

// 14: POST emailconfigurations.
func (e edge) createTemplate(ctx context.Context, p sender.Principal, n templateRequest) (sender.Template, error) {
	if err := e.applicationOf(ctx, p, n.thing); err != nil {
		return sender.Template{}, err
	}
	return e.core.CreateTemplate(ctx, p, n.account, n.template)
}

// filtered says which templates are listed.
type filtered struct {
	thing
	filter sender.TemplateFilter
	none   bool // nothing can match
}

// templateFilter reads type and locale of the query; empty ones ask for all.
func templateFilter(r *http.Request) (f filtered, err error) {
	if f.thing, err = readThing(r); err != nil {
		return f, err
	}
	q := r.URL.Query()
	f.filter = sender.TemplateFilter{Application: f.app, Type: q.Get("type")}
	f.none = !plain(f.filter.Type)
	if s := q.Get("locale"); s != "" {
		f.filter.Locale, err = template.ParseLocale(s)
		f.none = f.none || err != nil
	}
	return f, nil
}

// 15: GET emailconfigurations.
func (e edge) templates(ctx context.Context, p sender.Principal, f filtered) ([]sender.Template, error) {
	if err := e.applicationOf(ctx, p, f.thing); err != nil || f.none {
		return nil, err
	}
	ts, err := e.core.Templates(ctx, p, f.account, f.filter, sender.Page{})
	return slices.DeleteFunc(ts, func(t sender.Template) bool { return t.Variant != "" }), err
}

// 16: GET one emailconfiguration.
func (e edge) template(ctx context.Context, p sender.Principal, t thing) (sender.Template, error) {
	if err := e.applicationOf(ctx, p, t); err != nil {
		return sender.Template{}, err
	}
	found, err := e.core.Template(ctx, p, t.account, t.app, t.id)
	if err == nil && found.Variant != "" { // this API can't tell it from the one without
		err = sender.Errorf(sender.NotFound, "", "")
	}
	return found, named(err, "template")
}

// 17: PUT one emailconfiguration, as a whole.
func (e edge) replaceTemplate(ctx context.Context, p sender.Principal, n templateRequest) (sender.Template, error) {
	if err := e.applicationOf(ctx, p, n.thing); err != nil {
		return sender.Template{}, err
	}
	if _, err := e.template(ctx, p, n.thing); err != nil {
		return sender.Template{}, err
	}
	replaced, err := e.core.ReplaceTemplate(ctx, p, n.account, n.app, n.id, n.template)
	return replaced, named(err, "template")
}

// 18: DELETE one emailconfiguration.
func (e edge) deleteTemplate(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	if _, err := e.template(ctx, p, t); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, named(e.core.DeleteTemplate(ctx, p, t.account, t.app, t.id), "template")
}

// templateBody has no links, unlike most of this dialect.
type templateBody struct {
	FromAddress       string    `json:"fromAddress"`
	EmailSubject      string    `json:"emailSubject"`
	EmailBody         string    `json:"emailBody"`
	ReplyToAddress    string    `json:"replyToAddress,omitzero"`
	ContentType       string    `json:"contentType"`
	CharacterSet      string    `json:"characterSet"`
	Locale            string    `json:"locale"`
	Type              string    `json:"type"`
	EmailBodyEncoding string    `json:"emailBodyEncoding"` // RAW, whatever was sent
	ID                sender.ID `json:"id"`
}

func templateData(t sender.Template) templateBody {
	b := templateBody{
		FromAddress: t.From, EmailSubject: t.Subject, EmailBody: t.Body, ReplyToAddress: t.ReplyTo, ContentType: "text/plain",
		CharacterSet: strings.ToLower(t.Charset), Locale: t.Spelling, Type: t.Type, EmailBodyEncoding: "RAW", ID: t.ID,
	}
	if t.HTML {
		b.ContentType = "text/html"
	}
	return b
}

func writeTemplate(status int) func(http.ResponseWriter, *http.Request, sender.Template) error {
	return func(w http.ResponseWriter, _ *http.Request, t sender.Template) error {
		return api.WriteJSON(w, status, templateData(t))
	}
}

func writeTemplates(w http.ResponseWriter, _ *http.Request, ts []sender.Template) error {
	b := struct {
		EmailConfigurations []templateBody `json:"emailconfigurations"`
	}{[]templateBody{}}
	for _, t := range ts {
		b.EmailConfigurations = append(b.EmailConfigurations, templateData(t))
	}
	return api.WriteJSON(w, http.StatusOK, b)
}
