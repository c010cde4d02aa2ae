package sailpoint

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

// templateFields are those of all releases together.
var templateFields = api.Fields{
	"key": sorted(texts(sender.Eq, sender.In, sender.Sw)), "medium": sorted(texts(sender.Eq, sender.Sw)), "locale": texts(sender.Eq, sender.Sw),
	"name": sorted(texts(sender.Eq, sender.Sw)), "description": texts(sender.Eq, sender.Sw), "id": texts(sender.Eq, sender.Sw),
}

var defaultFields = api.Fields{"key": texts(sender.Eq, sender.In, sender.Sw), "medium": texts(sender.Eq, sender.Sw), "locale": texts(sender.Eq, sender.Sw)}

// templateBody is a template, or a default one, which has neither id nor times. Key,
// medium and locale are never left out: the Go client refuses a template without.
type templateBody struct {
	ID            sender.ID `json:"id,omitzero"`
	Key           string    `json:"key"`
	Name          string    `json:"name"`
	Medium        string    `json:"medium"`
	Locale        string    `json:"locale"`
	Subject       string    `json:"subject"`
	Header        *string   `json:"header"` // null, as the three below
	Body          string    `json:"body"`
	Footer        *string   `json:"footer"`
	From          string    `json:"from"`
	ReplyTo       string    `json:"replyTo"`
	Description   string    `json:"description"`
	SlackTemplate *struct{} `json:"slackTemplate"`
	TeamsTemplate *struct{} `json:"teamsTemplate"`
	Created       string    `json:"created,omitzero"`
	Modified      string    `json:"modified,omitzero"`
}

// timestamp is RFC 3339 in UTC, to the millisecond: the Go client takes anything else
// for the year 1, without an error.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func bodyOf(s standard, t sender.Template) templateBody {
	b := templateBody{
		Key: s.key, Name: s.name, Medium: email, Locale: t.Spelling, Subject: t.Subject, Body: t.Body, From: t.From, ReplyTo: t.ReplyTo, Description: s.description,
	}
	if !t.CreatedAt.IsZero() {
		b.ID, b.Created, b.Modified = t.ID, timestamp(t.CreatedAt), timestamp(t.UpdatedAt)
	}
	return b
}

func (b templateBody) field(name string) string {
	return map[string]string{"key": b.Key, "medium": b.Medium, "locale": b.Locale, "name": b.Name, "description": b.Description, "id": string(b.ID)}[name]
}

// GET notification-templates: the tenant's own words for notifications. Templates of
// other types are none of this API's.
func (e edge) templates(ctx context.Context, p sender.Principal, q sender.Query) (listed[templateBody], error) {
	var all []templateBody
	for _, s := range standards {
		ts, err := e.own(ctx, p, sender.TemplateFilter{Type: s.key})
		if err != nil {
			return listed[templateBody]{}, err
		}
		for _, t := range ts {
			all = append(all, bodyOf(s, t))
		}
	}
	return choose(all, q), nil
}

// own lists the templates that this API can tell from one another: it knows no variants.
func (e edge) own(ctx context.Context, p sender.Principal, filter sender.TemplateFilter) ([]sender.Template, error) {
	ts, err := e.core.Templates(ctx, p, p.Home, filter, sender.Page{})
	return slices.DeleteFunc(ts, func(t sender.Template) bool { return t.Variant != "" }), err
}

// GET one of notification-templates.
func (e edge) template(ctx context.Context, p sender.Principal, id sender.ID) (templateBody, error) {
	t, err := e.core.Template(ctx, p, p.Home, "", id)
	if err != nil {
		return templateBody{}, err
	}
	s, ok := standardOf(t.Type)
	if !ok || t.Application != "" || t.Variant != "" {
		return templateBody{}, sender.Errorf(sender.NotFound, "", "The requested template was not found.")
	}
	return bodyOf(s, t), nil
}

// templateRequest is a template to be written, and whose words stand in for what it
// does not say.
type templateRequest struct {
	standard standard
	template sender.NewTemplate
}

// newTemplate reads a template. Members that are not for writing are ignored, but
// for the two that the vendor refuses.
func newTemplate(r *http.Request) (in templateRequest, err error) {
	var body struct {
		Key     string         `json:"key"`
		Medium  string         `json:"medium"`
		Locale  string         `json:"locale"`
		Subject *string        `json:"subject"`
		Body    *string        `json:"body"`
		From    string         `json:"from"`
		ReplyTo string         `json:"replyTo"`
		Header  jsontext.Value `json:"header"`
		Footer  jsontext.Value `json:"footer"`
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return in, err
	}
	for name, value := range map[string]jsontext.Value{"header": body.Header, "footer": body.Footer} {
		if value != nil && value.Kind() != jsontext.KindNull {
			return in, sender.Errorf(readOnly, name, "%s can't be written any more; put its text into body.", name)
		}
	}
	if in.standard, err = notification(body.Key, body.Medium); err != nil {
		return in, err
	}
	if body.Locale == "" {
		return in, sender.Errorf(sender.Required, "locale", "locale is missing: send a language such as en or pt-BR.")
	}
	in.template = sender.NewTemplate{
		Type: body.Key, Locale: body.Locale, From: body.From, ReplyTo: body.ReplyTo, Subject: in.standard.subject, Body: in.standard.body, ContentType: "text/html",
	}
	for _, part := range []struct {
		name string
		sent *string
		to   *string
	}{{"subject", body.Subject, &in.template.Subject}, {"body", body.Body, &in.template.Body}} {
		if part.sent == nil {
			continue
		}
		if err := noDirectives(part.name, *part.sent); err != nil {
			return in, err
		}
		*part.to = fromVelocity(*part.sent, in.standard.names())
	}
	return in, nil
}

// notification finds the default template that a body names.
func notification(key, medium string) (standard, error) {
	switch {
	case key == "":
		return standard{}, sender.Errorf(sender.Required, "key", "key is missing: send that of one of the default templates.")
	case medium == "":
		return standard{}, sender.Errorf(sender.Required, "medium", "medium is missing: send EMAIL.")
	case medium != email:
		return standard{}, sender.Errorf(sender.Invalid, "medium", "%q is no medium of this service; it sends EMAIL.", api.Short(medium))
	}
	s, ok := standardOf(key)
	if !ok {
		return standard{}, sender.Errorf(unknownObject, "key", "There is no default template with the key %q; new keys can't be made up.", api.Short(key))
	}
	return s, nil
}

// POST notification-templates: makes one, or writes it anew where there is one of that
// key and locale.
func (e edge) writeTemplate(ctx context.Context, p sender.Principal, in templateRequest) (templateBody, error) {
	none := templateBody{}
	if in.template.From == "" {
		in.template.From = e.core.SystemSender().Address
	}
	locale, err := template.ParseLocale(in.template.Locale)
	if err != nil {
		return none, &sender.Error{Kind: sender.Invalid, Field: "locale", Detail: err.Error()}
	}
	// Somebody else may make or delete it meanwhile.
	for range 3 {
		old, err := e.own(ctx, p, sender.TemplateFilter{Type: in.standard.key, Locale: locale})
		if err != nil {
			return none, err
		}
		var made sender.Template
		if len(old) == 0 {
			made, err = e.core.CreateTemplate(ctx, p, p.Home, in.template)
		} else {
			made, err = e.core.ReplaceTemplate(ctx, p, p.Home, "", old[0].ID, in.template)
		}
		switch kind := sender.KindOf(err); {
		case err == nil:
			return bodyOf(in.standard, made), nil
		case len(old) == 0 && kind == sender.Conflict, len(old) > 0 && kind == sender.NotFound:
		default:
			return none, err
		}
	}
	return none, sender.Errorf(sender.Conflict, "key", "This template is being changed by others; send it again.")
}

func writeTemplateBody(w http.ResponseWriter, _ *http.Request, b templateBody) error {
	return api.WriteJSON(w, http.StatusOK, b)
}

// bulkID names templates to delete: all of a key, or those of a medium or locale.
type bulkID struct {
	Key    string `json:"key"`
	Medium string `json:"medium"`
	Locale string `json:"locale"`
}

func bulk(r *http.Request) (ids []bulkID, err error) {
	if err := api.WantMedia(r, "application/json"); err != nil {
		return nil, err
	}
	b, err := api.ReadBody(r)
	if err != nil {
		return nil, err
	}
	if jsontext.Value(b).Kind() != jsontext.KindBeginArray {
		return nil, sender.Errorf(api.Malformed, "", "The request body must be a JSON array.")
	}
	if err := api.DecodeJSON(b, &ids); err != nil {
		return nil, err
	}
	if len(ids) > api.MaxCollection {
		return nil, sender.Errorf(sender.Limit, "", "There are %d templates to delete; at most %d can be named at once.", len(ids), api.MaxCollection)
	}
	for _, id := range ids {
		if id.Key == "" {
			return nil, sender.Errorf(sender.Required, "key", "key is missing in one of the templates to delete.")
		}
	}
	return ids, nil
}

// POST notification-templates/bulk-delete. What is not there is deleted already.
func (e edge) deleteTemplates(ctx context.Context, p sender.Principal, ids []bulkID) (struct{}, error) {
	if _, err := e.core.AuthorizeWhole(ctx, p, p.Home, sender.RoleAdmin); err != nil {
		return struct{}{}, err
	}
	asked := make(map[bulkID]bool) // each is looked for once, however often it is named
	for _, id := range ids {
		if _, ok := standardOf(id.Key); !ok || id.Medium != "" && id.Medium != email {
			continue
		}
		id.Medium = ""
		if asked[id] {
			continue
		}
		asked[id] = true
		locale, _ := template.ParseLocale(id.Locale)
		ts, err := e.own(ctx, p, sender.TemplateFilter{Type: id.Key, Locale: locale})
		if err != nil {
			return struct{}{}, err
		}
		for _, t := range ts {
			if err := e.core.DeleteTemplate(ctx, p, p.Home, "", t.ID); err != nil && sender.KindOf(err) != sender.NotFound {
				return struct{}{}, err
			}
		}
	}
	return struct{}{}, nil
}

// maxTestRecipients bounds what one call sends.
const maxTestRecipients = 25

// testRequest is a notification to be sent for a look at it.
type testRequest struct {
	standard standard
	locale   string
	values   map[string]string
	to       []string
	base     string
}

func (e edge) newTest(r *http.Request) (in testRequest, err error) {
	var body struct {
		Key                string         `json:"key"`
		Medium             string         `json:"medium"`
		Locale             string         `json:"locale"`
		Context            map[string]any `json:"context"`
		RecipientEmailList []string       `json:"recipientEmailList"`
		CarbonCopy         []string       `json:"carbonCopy"`
		BlindCarbonCopy    []string       `json:"blindCarbonCopy"`
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return in, err
	}
	if in.standard, err = notification(body.Key, body.Medium); err != nil {
		return in, err
	}
	seen := make(map[string]bool)
	for _, address := range slices.Concat(body.RecipientEmailList, body.CarbonCopy, body.BlindCarbonCopy) {
		if folded := strings.ToLower(address); !seen[folded] {
			seen[folded] = true
			in.to = append(in.to, address)
		}
	}
	switch {
	case len(body.RecipientEmailList) == 0:
		return in, sender.Errorf(sender.Required, "recipientEmailList", "recipientEmailList is missing: send the addresses that shall get the test.")
	case len(in.to) > maxTestRecipients:
		return in, sender.Errorf(sender.Limit, "recipientEmailList", "There are %d recipients; a test goes to at most %d.", len(in.to), maxTestRecipients)
	}
	in.locale, in.base, in.values = body.Locale, e.origin.Base(r), make(map[string]string)
	return in, flatten(in.values, "", body.Context)
}

// POST send-test-notification: each recipient gets a mail of their own, whichever list
// they are in.
func (e edge) sendTest(ctx context.Context, p sender.Principal, in testRequest) (struct{}, error) {
	t, err := e.core.AuthorizeWhole(ctx, p, p.Home, sender.RoleSender)
	if err != nil {
		return struct{}{}, err
	}
	from := e.core.SystemSender().Address
	values := map[string]string{"__global.productName": t.Name, "__global.productUrl": in.base, "__global.emailFromAddress": from}
	maps.Copy(values, in.values)
	fallback := in.standard.template(from)
	_, err = e.core.SendNotice(ctx, p, p.Home, sender.Filling{Type: in.standard.key, Locale: in.locale, Values: values}, &fallback, in.to)
	return struct{}{}, err
}

// Bounds of a context: each value has its whole path for a name, so that a little JSON
// could become very much text.
const (
	maxContext     = 100 // values
	maxContextName = 200 // octets of a path
)

// flatten writes the values of an object by the paths of their names.
func flatten(to map[string]string, prefix string, from map[string]any) error {
	for name, v := range from {
		if len(prefix)+len(name) > maxContextName || len(to) >= maxContext {
			return sender.Errorf(sender.Invalid, "context", "context may have %d values, with paths of at most %d characters.", maxContext, maxContextName)
		}
		name = prefix + name
		switch v := v.(type) {
		case map[string]any:
			if err := flatten(to, name+".", v); err != nil {
				return err
			}
		default:
			to[name] = plain(v)
		}
	}
	return nil
}

// plain writes a value of JSON as it is to stand in a text.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return ""
	}
	return string(b)
}
