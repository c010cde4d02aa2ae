package pingone

import (
	"cmp"
	"context"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

// email is the one delivery method that there is here, in its exact case.
const email = "Email"

const (
	defaultCharset = "UTF-8"
	defaultContent = "text/html"
	plainContent   = "text/plain"
)

// content is one text of a fixed template: the tenant's own, or the default one.
type content struct {
	sender.Template
	standard bool
}

// field returns what a filter compares.
func (c content) field(name string) string {
	switch name {
	case "variant":
		return c.VariantSpelling
	case "locale":
		return string(c.Locale)
	case "deliveryMethod":
		return email
	default: // default
		if c.standard {
			return "true"
		}
		return "false"
	}
}

var contentFields = []string{"variant", "locale", "deliveryMethod", "default"}

// texts names a template, and one of its contents or those that a filter matches.
type texts struct {
	listing
	standard standard
	content  sender.ID
	filter   filter
	variant  string // to be
	new      sender.NewTemplate
}

func readTexts(r *http.Request, one bool) (t texts, err error) {
	thing, err := readThing(r, false, false)
	if err != nil {
		return t, err
	}
	if t.listing, err = readListing(r, thing); err != nil {
		return t, err
	}
	if t.standard, err = standardOf(r.PathValue("template")); err != nil {
		return t, err
	}
	if !one {
		t.filter, err = parseFilter(t.query.Get("filter"), t.query.Has("filter"), contentFields...)
		return t, err
	}
	var ok bool
	if t.content, ok = sender.ParseID(r.PathValue("content")); !ok {
		err = sender.Errorf(sender.NotFound, "", "")
	}
	return t, err
}

func textsRef(one bool) func(*http.Request) (texts, error) {
	return func(r *http.Request) (texts, error) { return readTexts(r, one) }
}

// bulkTexts reads which contents a call is about: those of one variant at least, so
// that no slip of the pen is about all.
func bulkTexts(r *http.Request) (t texts, err error) {
	if t, err = readTexts(r, false); err != nil {
		return t, err
	}
	switch {
	case !t.query.Has("filter"):
		err = sender.Errorf(sender.Required, "filter", `The filter is missing; say which contents are meant, such as variant eq "spring".`)
	case !t.filter.names("variant"):
		err = sender.Errorf(sender.Invalid, "filter", `The filter must name the variant, as variant eq "spring" does.`)
	}
	return t, err
}

func renameTexts(r *http.Request) (t texts, err error) {
	if t, err = bulkTexts(r); err != nil {
		return t, err
	}
	var body struct {
		Variant string `json:"variant"`
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return t, err
	}
	if t.variant = body.Variant; t.variant == "" {
		err = sender.Errorf(sender.Required, "variant", "variant is missing: send the new name.")
	}
	return t, err
}

// correspondent is an author or a Reply-To. A name that was not sent is not answered.
type correspondent struct {
	Name    *string `json:"name,omitzero"` // also an empty one is answered
	Address *string `json:"address,omitzero"`
}

// newText reads a content as a client sends it.
func newText(one bool) func(*http.Request) (texts, error) {
	return func(r *http.Request) (t texts, err error) {
		if t, err = readTexts(r, one); err != nil {
			return t, err
		}
		var body struct {
			Locale         string         `json:"locale"`
			DeliveryMethod string         `json:"deliveryMethod"`
			Variant        string         `json:"variant"`
			Subject        *string        `json:"subject"`
			Body           *string        `json:"body"`
			From           *correspondent `json:"from"`
			ReplyTo        *correspondent `json:"replyTo"`
			Charset        string         `json:"charset"`
			ContentType    string         `json:"emailContentType"`
		}
		if err := api.ReadJSON(r, &body); err != nil {
			return t, err
		}
		n := sender.NewTemplate{
			Type: t.standard.name, Locale: body.Locale, Variant: body.Variant, ContentType: cmp.Or(body.ContentType, defaultContent),
			Charset: cmp.Or(body.Charset, defaultCharset),
		}
		switch {
		case body.DeliveryMethod == "":
			return t, sender.Errorf(sender.Required, "deliveryMethod", "deliveryMethod is missing: send Email.")
		case body.DeliveryMethod != email:
			return t, sender.Errorf(sender.Invalid, "deliveryMethod", "%q can't be delivered here: this service sends mail alone, so deliveryMethod must be Email.", api.Short(body.DeliveryMethod))
		case body.Locale == "":
			return t, sender.Errorf(sender.Required, "locale", "locale is missing: send a language such as en or pt-BR.")
		case body.Body == nil || *body.Body == "":
			return t, sender.Errorf(sender.Required, "body", "body is missing: send the text of the mail.")
		case n.ContentType != defaultContent && n.ContentType != plainContent:
			return t, sender.Errorf(sender.Invalid, "emailContentType", "%q is no type of mail; use text/html or text/plain.", api.Short(n.ContentType))
		case body.Subject != nil && *body.Subject == "":
			return t, sender.Errorf(sender.Invalid, "subject", "subject is empty; leave it out, or send 1 to 256 characters.")
		}
		n.Body = *body.Body
		if body.Subject != nil {
			n.Subject = *body.Subject
		}
		if n.From, err = body.From.spell("from"); err != nil {
			return t, err
		}
		if n.ReplyTo, err = body.ReplyTo.spell("replyTo"); err != nil {
			return t, err
		}
		t.new = n
		return t, t.standard.complete(n)
	}
}

// complete looks for the variables that a content must have; where HTML has no safe
// place for one it does not count.
func (s standard) complete(n sender.NewTemplate) error {
	in := template.HTML
	if n.ContentType == plainContent {
		in = template.Plain
	}
	names := slices.Concat(template.Compile(n.Subject, template.Header).Names(), template.Compile(n.Body, in).Names())
	for _, v := range s.variables {
		if v.required && !slices.Contains(names, v.name) {
			return sender.Errorf(sender.Required, "body", "The variable ${%s} is missing; contents of the template %s must have it.", v.name, s.name)
		}
	}
	return nil
}

// fixed templates as they are listed: their place in the list is what a cursor keeps.
type numbered struct {
	standard
	number int
	tenant sender.ID
}

func (n numbered) id() sender.ID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[8:], uint64(n.number)) //nolint:gosec // small and not negative
	return sender.IDFromBytes(b)
}

func (n numbered) field(name string) string {
	switch name {
	case "displayName":
		return n.display
	case "deliveryMethods":
		return email
	default: // id, name
		return n.name
	}
}

func templatesQuery(r *http.Request) (f filtered, err error) {
	t, err := readThing(r, false, false)
	if err != nil {
		return f, err
	}
	if f.listing, err = readListing(r, t); err != nil {
		return f, err
	}
	f.filter, err = parseFilter(f.query.Get("filter"), f.query.Has("filter"), "name", "id", "displayName", "deliveryMethods")
	return f, err
}

// pageOf cuts a page out of everything, which is sorted by id.
func pageOf[T any](l listing, all []T, keep func(T) bool, id func(T) sender.ID) listed[T] {
	var found []T
	count := 0
	for _, x := range all {
		if !keep(x) {
			continue
		}
		count++
		if id(x) > l.page.After && len(found) <= l.page.Limit {
			found = append(found, x)
		}
	}
	return cut(l, found, count, id)
}

// GET templates.
func (e edge) templates(ctx context.Context, p sender.Principal, f filtered) (listed[numbered], error) {
	if _, err := e.service.AuthorizeWhole(ctx, p, f.env, sender.RoleReader); err != nil {
		return listed[numbered]{}, err
	}
	all := make([]numbered, len(standards))
	for i, s := range standards {
		all[i] = numbered{s, i + 1, f.env}
	}
	return pageOf(f.listing, all, func(n numbered) bool { return f.filter.match(n.field) }, numbered.id), nil
}

// GET one template.
func (e edge) template(ctx context.Context, p sender.Principal, t texts) (numbered, error) {
	_, err := e.service.AuthorizeWhole(ctx, p, t.env, sender.RoleReader)
	return numbered{t.standard, 0, t.env}, err
}

// contents reads all contents of a template, the default one among them, in the order
// of their ids.
func (e edge) allContents(ctx context.Context, p sender.Principal, t texts) ([]content, error) {
	ts, err := e.service.Templates(ctx, p, t.env, sender.TemplateFilter{Type: t.standard.name}, sender.Page{})
	if err != nil {
		return nil, err
	}
	all := []content{t.standard.content(t.env)}
	for _, own := range ts {
		all = append(all, content{Template: own})
	}
	slices.SortFunc(all, func(a, b content) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// GET contents.
func (e edge) contents(ctx context.Context, p sender.Principal, t texts) (listed[content], error) {
	all, err := e.allContents(ctx, p, t)
	return pageOf(t.listing, all, func(c content) bool { return t.filter.match(c.field) }, func(c content) sender.ID { return c.ID }), err
}

// GET one content.
func (e edge) content(ctx context.Context, p sender.Principal, t texts) (content, error) {
	if c := t.standard.content(t.env); c.ID == t.content {
		_, err := e.service.AuthorizeWhole(ctx, p, t.env, sender.RoleReader)
		return c, err
	}
	own, err := e.service.Template(ctx, p, t.env, "", t.content)
	if err == nil && (own.Type != t.standard.name || own.Application != "") {
		err = sender.Errorf(sender.NotFound, "", "")
	}
	return content{Template: own}, err
}

// own is content for calls that change it.
func (e edge) own(ctx context.Context, p sender.Principal, t texts) (content, error) {
	c, err := e.content(ctx, p, t)
	if err == nil && c.standard {
		if _, err := e.service.AuthorizeWhole(ctx, p, t.env, sender.RoleAdmin); err != nil {
			return c, err
		}
		err = sender.Errorf(sender.Invalid, "default", "This is the default content of the template %s, which can't be changed or deleted; create one of your own, which goes before it.", t.standard.name)
	}
	return c, err
}

// worded says what a template of the core is called here.
func worded(err error) error {
	names := map[string]string{"contentType": "emailContentType", "type": "variant", "template": "contents"}
	if e, ok := asError(err); ok && names[e.Field] != "" {
		renamed := *e
		renamed.Field = names[e.Field]
		if renamed.Kind == sender.Conflict {
			renamed.Detail = "There is a content of this template with this locale and variant already; change that one."
		}
		return &renamed
	}
	return err
}

// POST contents.
func (e edge) createContent(ctx context.Context, p sender.Principal, t texts) (content, error) {
	made, err := e.service.CreateTemplate(ctx, p, t.env, t.new)
	return content{Template: made}, worded(err)
}

// PUT one content, as a whole. Its locale stays.
func (e edge) replaceContent(ctx context.Context, p sender.Principal, t texts) (content, error) {
	old, err := e.own(ctx, p, t)
	if err != nil {
		return content{}, err
	}
	if locale, err := template.ParseLocale(t.new.Locale); err == nil && locale != old.Locale {
		return content{}, sender.Errorf(sender.Invalid, "locale", "The locale of a content can't be changed, and this one's is %s; create another content.", old.Spelling)
	}
	made, err := e.service.ReplaceTemplate(ctx, p, t.env, "", t.content, t.new)
	return content{Template: made}, worded(err)
}

// DELETE one content.
func (e edge) deleteContent(ctx context.Context, p sender.Principal, t texts) (struct{}, error) {
	if _, err := e.own(ctx, p, t); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, e.service.DeleteTemplate(ctx, p, t.env, "", t.content)
}

// matching returns the ids of the tenant's own contents that the filter is about.
func (e edge) matching(ctx context.Context, p sender.Principal, t texts) (ids []sender.ID, err error) {
	all, err := e.allContents(ctx, p, t)
	for _, c := range all {
		if !c.standard && t.filter.match(c.field) {
			ids = append(ids, c.ID)
		}
	}
	if err == nil && len(ids) == 0 {
		err = sender.Errorf(sender.NotFound, "", "")
	}
	return ids, err
}

// PATCH contents: another name for a variant.
func (e edge) renameContents(ctx context.Context, p sender.Principal, t texts) (listed[content], error) {
	l := listed[content]{thing: t.thing}
	ids, err := e.matching(ctx, p, t)
	if err != nil {
		return l, err
	}
	renamed, err := e.service.RenameVariant(ctx, p, t.env, t.standard.name, ids, t.variant)
	for _, own := range renamed {
		l.items = append(l.items, content{Template: own})
	}
	l.count = len(l.items)
	return l, worded(err)
}

// DELETE contents.
func (e edge) deleteContents(ctx context.Context, p sender.Principal, t texts) (struct{}, error) {
	ids, err := e.matching(ctx, p, t)
	if err == nil {
		err = e.service.DeleteTemplates(ctx, p, t.env, t.standard.name, ids)
	}
	return struct{}{}, err
}

type (
	templateBody struct {
		Links       links                   `json:"_links"`
		ID          string                  `json:"id"`
		Environment idRef                   `json:"environment"`
		DisplayName string                  `json:"displayName"`
		Description string                  `json:"description"`
		Methods     []string                `json:"deliveryMethods"`
		Variables   map[string]variableBody `json:"variables"`
		Dynamic     bool                    `json:"allowDynamicVariables"`
		CreatedAt   string                  `json:"createdAt"`
		UpdatedAt   string                  `json:"updatedAt"`
	}
	variableBody struct {
		Description string `json:"description"`
		Required    bool   `json:"required"`
	}

	// contentBody has what was sent, and nothing filled in but the two defaults of the
	// documents.
	contentBody struct {
		Links       links          `json:"_links"`
		ID          sender.ID      `json:"id"`
		Environment idRef          `json:"environment"`
		Template    nameRef        `json:"template"`
		Default     bool           `json:"default"`
		Locale      string         `json:"locale"`
		Method      string         `json:"deliveryMethod"`
		Variant     string         `json:"variant,omitempty"`
		From        *correspondent `json:"from,omitempty"`
		ReplyTo     *correspondent `json:"replyTo,omitempty"`
		Subject     string         `json:"subject,omitempty"`
		Body        string         `json:"body"`
		Charset     string         `json:"charset"`
		ContentType string         `json:"emailContentType"`
		CreatedAt   string         `json:"createdAt"`
		UpdatedAt   string         `json:"updatedAt"`
	}
	nameRef struct {
		ID string `json:"id"`
	}
)

func templateURL(base string, env sender.ID, name string) string {
	return environmentURL(base, env) + "/templates/" + name
}

func templateOf(base string, n numbered) templateBody {
	self := templateURL(base, n.tenant, n.name)
	b := templateBody{
		Links: links{"self": {self}, "environment": {environmentURL(base, n.tenant)}, "contents": {self + "/contents"}},
		ID:    n.name, Environment: idRef{n.tenant}, DisplayName: n.display, Description: n.description, Methods: []string{email},
		Variables: make(map[string]variableBody), Dynamic: n.dynamic, CreatedAt: timestamp(standardAt), UpdatedAt: timestamp(standardAt),
	}
	for _, v := range slices.Concat(everywhere, n.variables) {
		b.Variables[v.name] = variableBody{v.description, v.required}
	}
	return b
}

func contentOf(base string, c content) contentBody {
	of := templateURL(base, c.Tenant, c.Type)
	b := contentBody{
		Links: links{"self": {of + "/contents/" + string(c.ID)}, "environment": {environmentURL(base, c.Tenant)}, "template": {of}},
		ID:    c.ID, Environment: idRef{c.Tenant}, Template: nameRef{c.Type}, Default: c.standard, Locale: c.Spelling, Method: email,
		Variant: c.VariantSpelling, From: spelled(c.From), ReplyTo: spelled(c.ReplyTo), Subject: c.Subject, Body: c.Body, Charset: c.Charset,
		ContentType: plainContent, CreatedAt: timestamp(c.CreatedAt), UpdatedAt: timestamp(c.UpdatedAt),
	}
	if c.HTML {
		b.ContentType = defaultContent
	}
	return b
}

// spell writes a correspondent as the core reads a mailbox (RFC 5322, section 3.4): its
// name, if it has one, is quoted.
func (c *correspondent) spell(field string) (string, error) {
	switch {
	case c == nil:
		return "", nil
	case c.Address == nil || *c.Address == "":
		return "", sender.Errorf(sender.Required, field+".address", "%s has no address; send one, or leave %s out.", field, field)
	case strings.ContainsAny(*c.Address, `<>"`):
		return "", sender.Errorf(sender.Invalid, field+".address", "%q is not one email address; send it as local-part@domain.", api.Short(*c.Address))
	case c.Name == nil:
		return *c.Address, nil
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(*c.Name) + `" <` + *c.Address + ">", nil
}

// spelled is the way back.
func spelled(s string) *correspondent {
	i := strings.LastIndexByte(s, '<') // a name may have one of its own
	switch {
	case s == "":
		return nil
	case i < 0:
		return &correspondent{Address: &s}
	}
	name, address := strings.TrimSuffix(s[:i], " "), strings.TrimSuffix(s[i+1:], ">")
	if quoted, ok := strings.CutPrefix(name, `"`); ok {
		name = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(strings.TrimSuffix(quoted, `"`))
	}
	return &correspondent{Name: &name, Address: &address}
}

func (e edge) writeTemplates(w http.ResponseWriter, r *http.Request, l listed[numbered]) error {
	return writeList(e, w, r, "templates", l, func(base string, n numbered) any { return templateOf(base, n) })
}

func (e edge) writeTemplate(w http.ResponseWriter, r *http.Request, n numbered) error {
	return api.WriteJSON(w, http.StatusOK, templateOf(e.origin.Base(r), n))
}

func (e edge) writeContents(w http.ResponseWriter, r *http.Request, l listed[content]) error {
	return writeList(e, w, r, "contents", l, func(base string, c content) any { return contentOf(base, c) })
}

func (e edge) writeContent(status int) func(http.ResponseWriter, *http.Request, content) error {
	return func(w http.ResponseWriter, r *http.Request, c content) error {
		return api.WriteJSON(w, status, contentOf(e.origin.Base(r), c))
	}
}
