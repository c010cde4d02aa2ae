package native

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// mailbox is {"name":...,"address":...} or an address alone.
type mailbox struct {
	Name    string `json:"name,omitzero"`
	Address string `json:"address"`
}

// UnmarshalJSONFrom reads either form.
func (m *mailbox) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == jsontext.KindString {
		return json.UnmarshalDecode(dec, &m.Address)
	}
	type object mailbox
	return json.UnmarshalDecode(dec, (*object)(m))
}

// Schema documents both.
func (mailbox) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeString, Format: "email"},
		{
			Type: huma.TypeObject, Required: []string{"address"}, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"name": {Type: huma.TypeString}, "address": {Type: huma.TypeString, Format: "email"}},
		},
	}}
}

type headerBody struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type messageNew struct {
	Tenant    sender.ID    `json:"tenant,omitzero" doc:"The credential's own by default."`
	From      mailbox      `json:"from,omitzero" doc:"A proven address of the tenant. Needed unless there is a template."`
	To        mailbox      `json:"to" doc:"One recipient."`
	ReplyTo   *mailbox     `json:"replyTo,omitzero"`
	Subject   string       `json:"subject,omitzero"`
	Text      string       `json:"text,omitzero" doc:"At least one of text and html."`
	HTML      string       `json:"html,omitzero"`
	Template  *templateUse `json:"template,omitzero" doc:"A stored template instead of from, replyTo, subject, text, html, headers and region."`
	Headers   []headerBody `json:"headers,omitempty" nullable:"true" doc:"Only X-..., List-... and Auto-Submitted."`
	Region    string       `json:"region,omitzero" doc:"Where it shall leave; the tenant's home region by default."`
	ExpiresIn int          `json:"expiresIn,omitzero" minimum:"0" maximum:"31536000" doc:"Seconds after which it is not worth delivering; the instance's longest by default."`
}

// MessageBody is a message without its attempts.
type MessageBody struct {
	ID                 sender.ID           `json:"id"`
	Tenant             sender.ID           `json:"tenant"`
	Kind               sender.MessageKind  `json:"kind"`
	State              sender.MessageState `json:"state" doc:"queued, sending, sent, failed, expired, refused or unknown."`
	Reason             string              `json:"reason,omitzero" doc:"Why it was refused or failed."`
	Note               sender.Note         `json:"note,omitzero" doc:"What is less than it could be about this sender, in the answer to sending."`
	From               string              `json:"from"`
	To                 string              `json:"to"`
	Template           sender.ID           `json:"template,omitzero" doc:"What it was filled into."`
	Locale             string              `json:"locale,omitzero" doc:"Of the template that was found."`
	Region             string              `json:"region,omitzero"`
	Attempts           int                 `json:"attempts"`
	DuplicatesPossible int                 `json:"duplicatesPossible,omitzero" doc:"Attempts whose outcome nobody knows: so many copies may have been delivered besides the counted one."`
	NextAttemptAt      time.Time           `json:"nextAttemptAt,omitzero"`
	ExpiresAt          time.Time           `json:"expiresAt"`
	CreatedAt          time.Time           `json:"createdAt"`
	DoneAt             time.Time           `json:"doneAt,omitzero"`
	Links              messageLinks        `json:"links"`
}

type messageLinks struct {
	Self string `json:"self" doc:"A path on this host."`
}

func messageOf(m sender.Message) MessageBody {
	b := MessageBody{
		ID: m.ID, Tenant: m.Tenant, Kind: m.Kind, State: m.State, Reason: m.Reason, From: m.From, To: m.To, Template: m.Template, Locale: string(m.Locale), Region: m.Region,
		Attempts: m.Attempts, DuplicatesPossible: m.InDoubt, ExpiresAt: m.ExpiresAt, CreatedAt: m.CreatedAt, DoneAt: m.DoneAt,
		Links: messageLinks{"/v1/messages/" + string(m.ID) + "?tenant=" + string(m.Tenant)},
	}
	if m.State == sender.Queued {
		b.NextAttemptAt = m.NextAttemptAt
	}
	return b
}

type attemptBody struct {
	Number     int                    `json:"number"`
	StartedAt  time.Time              `json:"startedAt"`
	FinishedAt time.Time              `json:"finishedAt,omitzero"`
	Outcome    sender.DeliveryOutcome `json:"outcome" doc:"started, delivered, temporary, permanent or unknown."`
	Code       int                    `json:"code,omitzero" doc:"SMTP reply code."`
	Enhanced   string                 `json:"enhanced,omitzero" doc:"Enhanced status code (RFC 3463)."`
	Text       string                 `json:"text,omitzero"`
	Stage      string                 `json:"stage,omitzero" doc:"How far the dialogue came."`
	Transcript []any                  `json:"transcript" doc:"The dialogue, line by line, without credentials and body."`
}

func attemptOf(a sender.Attempt) attemptBody {
	b := attemptBody{
		Number: a.Number, StartedAt: a.StartedAt, FinishedAt: a.FinishedAt, Outcome: a.Outcome, Code: a.Code, Enhanced: a.Enhanced,
		Text: a.Text, Stage: a.Stage, Transcript: []any{},
	}
	for line := range bytes.SplitSeq(a.Transcript, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var v any
		if json.Unmarshal(line, &v) != nil {
			v = string(bytes.ToValidUTF8(line, []byte("?")))
		}
		b.Transcript = append(b.Transcript, v)
	}
	return b
}

type messageDetail struct {
	MessageBody
	History []attemptBody `json:"history" doc:"The attempts, oldest first."`
}

// sendRequest is what POST /v1/messages carries.
type sendRequest struct {
	messageNew
	key  string
	hash string
}

// maxExpiresIn keeps the seconds within what a time.Duration can hold; the core
// has its own, lower limit.
const maxExpiresIn = 365 * 24 * 60 * 60

func readMessage(r *http.Request) (in sendRequest, err error) {
	if err := api.WantMedia(r, "application/json"); err != nil {
		return in, err
	}
	b, err := api.ReadBody(r)
	if err != nil {
		return in, err
	}
	if err := api.DecodeJSON(b, &in.messageNew, json.RejectUnknownMembers(true)); err != nil {
		return in, err
	}
	if in.ExpiresIn < 0 || in.ExpiresIn > maxExpiresIn {
		return in, sender.Errorf(sender.Invalid, "expiresIn", "expiresIn must be a number of seconds from 1 to %d.", maxExpiresIn)
	}
	q, err := readQuery(r)
	if err != nil {
		return in, err
	}
	for name := range q {
		if name != "tenant" {
			return in, api.Stray(sender.Invalid, name, "The only query parameter here is tenant.")
		}
	}
	if t := sender.ID(q.Get("tenant")); t != "" {
		if in.Tenant != "" && in.Tenant != t {
			return in, sender.Errorf(sender.Invalid, "tenant", "The query and the body name different tenants.")
		}
		in.Tenant = t
	}
	if in.key, err = idempotencyKey(r.Header); in.key != "" {
		sum := sha256.Sum256(b)
		in.hash = hex.EncodeToString(sum[:])
	}
	return in, err
}

// idempotencyKey reads the header of that name. One that can't be kept as it is,
// or is empty by mistake, would protect from nothing and so is refused.
func idempotencyKey(h http.Header) (string, error) {
	const name = "Idempotency-Key"
	keys := h.Values(name)
	switch {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", sender.Errorf(sender.Invalid, name, "The header %s was sent more than once; send it once.", name)
	case keys[0] == "" || strings.ContainsFunc(keys[0], func(r rune) bool { return r < ' ' || r > '~' }):
		return "", sender.Errorf(sender.Invalid, name, "%s must be 1 to 256 printable ASCII characters; leave it out if repeating the call may send twice.", name)
	}
	return keys[0], nil
}

// tenantFor is the tenant that a call without one in its path is about.
func tenantFor(p sender.Principal, named sender.ID) (sender.ID, error) {
	id := cmp.Or(named, p.Home)
	if id == "" {
		return "", sender.Errorf(sender.Required, "tenant", "tenant is missing: this credential belongs to none, so name the one that is meant.")
	}
	return parseID(string(id), "tenant")
}

type sent struct {
	sender.Message
	note sender.Note
}

func (e *edge) send(ctx context.Context, p sender.Principal, in sendRequest) (sent, error) {
	tenant, err := tenantFor(p, in.Tenant)
	if err != nil {
		return sent{}, err
	}
	life := time.Duration(in.ExpiresIn) * time.Second
	if u := in.Template; u != nil {
		if in.From != (mailbox{}) || in.ReplyTo != nil || in.Subject != "" || in.Text != "" || in.HTML != "" || len(in.Headers) > 0 || in.Region != "" || in.To.Name != "" {
			return sent{}, sender.Errorf(sender.Invalid, "template", "The template says everything but the recipient's address; leave from, replyTo, subject, text, html, headers, region and the recipient's name out.")
		}
		m, err := e.service.SendFilled(ctx, p, tenant, sender.Filling{
			Application: u.Application, Type: u.Type, Locale: u.Locale, Variant: u.Variant, Values: u.Values, Code: u.Code, To: in.To.Address, IdempotencyKey: in.key, RequestHash: in.hash,
		}, life)
		return sent{m, ""}, err
	}
	n := sender.NewMessage{
		From: sender.Mailbox(in.From), To: sender.Mailbox(in.To), Subject: in.Subject, Text: in.Text, HTML: in.HTML, Region: in.Region,
		Life: life, IdempotencyKey: in.key, RequestHash: in.hash,
	}
	if in.ReplyTo != nil {
		n.ReplyTo = new(sender.Mailbox(*in.ReplyTo))
	}
	for _, h := range in.Headers {
		n.Headers = append(n.Headers, sender.Header(h))
	}
	m, decision, err := e.service.Send(ctx, p, tenant, n)
	return sent{m, decision.Note}, err
}

func writeMessage(w http.ResponseWriter, _ *http.Request, m sent) error {
	b := messageOf(m.Message)
	b.Note = m.note
	w.Header().Set("Location", b.Links.Self)
	return api.WriteJSON(w, http.StatusAccepted, b)
}

func (e *edge) documentSend() {
	registry := e.huma.OpenAPI().Components.Schemas
	text := &huma.Schema{Type: huma.TypeString}
	rs := e.problems("400", "401", "403", "404", "409", "413", "415", "422", "500", "503")
	rs["202"] = &huma.Response{
		Description: "Accepted: it is stored and will be sent.", Content: e.schemaOf(MessageBody{}),
		Headers: map[string]*huma.Param{"Location": {Schema: text, Description: "Where its state can be read; a path on this host."}},
	}
	e.huma.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "send-message", Method: http.MethodPost, Path: "/v1/messages", Tags: []string{"Messages"}, Summary: "Send a message",
		Description: "The sender must pass the trust rule now and again when the message leaves; 422 with a reason says why it does not.",
		Parameters: []*huma.Param{
			{Name: "tenant", In: "query", Schema: text, Description: "The credential's own by default."},
			{Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(256), Pattern: "^[ -~]+$"}, Description: "Repeating the same request under the same key sends nothing twice."},
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: registry.Schema(reflect.TypeFor[messageNew](), true, "")},
		}},
		Responses: rs,
	})
}

type explainBody struct {
	Allow         bool          `json:"allow"`
	Reason        sender.Reason `json:"reason,omitzero" doc:"Why not."`
	Detail        string        `json:"detail,omitzero" doc:"What to do about it."`
	Note          sender.Note   `json:"note,omitzero" doc:"What is less than it could be."`
	Region        string        `json:"region,omitzero" doc:"Where it would leave."`
	SigningDomain string        `json:"signingDomain,omitzero" doc:"d= of DKIM; absent where the service's own domain signs."`
	Selector      string        `json:"selector,omitzero"`
}

// HomeIn names a tenant that is the credential's own by default.
type HomeIn struct {
	Tenant string `query:"tenant" doc:"The credential's own by default."`
}

func (e *edge) messages() {
	tags := []string{"Messages"}
	type listIn struct {
		HomeIn
		PageIn
	}
	register(e, huma.Operation{
		OperationID: "list-messages", Method: http.MethodGet, Path: "/v1/messages", Tags: tags, Summary: "List messages, oldest first",
	}, func(ctx context.Context, p sender.Principal, in *listIn) (*listOut[MessageBody], error) {
		tenant, err := tenantFor(p, sender.ID(in.Tenant))
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.Message, error) { return e.service.Messages(ctx, p, tenant, page) },
			func(m sender.Message) sender.ID { return m.ID }, messageOf)
	})
	type oneIn struct {
		HomeIn
		Message string `path:"message"`
	}
	register(e, huma.Operation{
		OperationID: "get-message", Method: http.MethodGet, Path: "/v1/messages/{message}", Tags: tags, Summary: "Get a message with its attempts",
	}, func(ctx context.Context, p sender.Principal, in *oneIn) (*body[messageDetail], error) {
		tenant, err := tenantFor(p, sender.ID(in.Tenant))
		if err != nil {
			return nil, err
		}
		id, err := parseID(in.Message, "message")
		if err != nil {
			return nil, err
		}
		m, attempts, err := e.service.Message(ctx, p, tenant, id)
		if err != nil {
			return nil, err
		}
		b := messageDetail{MessageBody: messageOf(m), History: make([]attemptBody, 0, len(attempts))}
		for _, a := range attempts {
			b.History = append(b.History, attemptOf(a))
		}
		return &body[messageDetail]{b}, nil
	})
	type explainIn struct {
		HomeIn
		From   string `query:"from" required:"true" doc:"The address to send from."`
		Region string `query:"region"`
	}
	register(e, huma.Operation{
		OperationID: "explain-sender", Method: http.MethodGet, Path: "/v1/explain", Tags: tags,
		Summary: "Ask whether the tenant may send from an address now, and how it would be signed",
	}, func(ctx context.Context, p sender.Principal, in *explainIn) (*body[explainBody], error) {
		tenant, err := tenantFor(p, sender.ID(in.Tenant))
		if err != nil {
			return nil, err
		}
		d, err := e.service.Explain(ctx, p, tenant, in.From, in.Region)
		if err != nil {
			return nil, err
		}
		b := explainBody{Allow: d.Allow, Reason: d.Reason, Note: d.Note, Region: d.Region, Selector: d.Selector}
		if !d.Allow {
			b.Detail = sender.Refusal(d.Reason, in.From).Detail
		}
		if !d.SDID.IsZero() {
			b.SigningDomain = d.SDID.String()
		}
		return &body[explainBody]{b}, nil
	})
}
