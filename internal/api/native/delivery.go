package native

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/sender"
)

// deliveryNew is the body that sets a tenant's own way out: an SMTP server, or an HTTP
// API.
type deliveryNew struct {
	Host     string   `json:"host,omitzero" doc:"Name or IP address of an SMTP server; its certificate must be valid for it."`
	Port     int      `json:"port,omitzero" minimum:"1" maximum:"65535" doc:"465 by default. 25, 587 and 2525 mean STARTTLS, every other one TLS from the start; below 1024 only these and 465 can be used."`
	Username string   `json:"username,omitzero" doc:"For AUTH PLAIN or LOGIN, or HTTP's Basic; without one an SMTP server is sent no AUTH."`
	Password string   `json:"password,omitzero" doc:"Or the token of an HTTP API. Never shown again. Without one that of before is kept, where host (the origin of an API) and username are those of before."`
	HTTP     *httpAPI `json:"http,omitzero" doc:"An HTTP API instead of host and port."`
	From     *mailbox `json:"from,omitzero" doc:"A proven address of the tenant: who test mails are from."`
	ReplyTo  *mailbox `json:"replyTo,omitzero" doc:"A proven address of the tenant."`
}

// httpAPI is asked once for each message.
type httpAPI struct {
	Name    string            `json:"name" doc:"What it is called, for people."`
	Bearer  bool              `json:"bearer,omitzero" doc:"The password is a bearer token; otherwise it goes with the username (Basic)."`
	Method  string            `json:"method" enum:"GET,POST"`
	URL     string            `json:"url" doc:"https. ${to} and ${from} can stand in its path, all variables behind the question mark."`
	Headers map[string]string `json:"headers,omitzero" doc:"Shown to whoever may read the settings."`
	Body    *string           `json:"body,omitzero" doc:"Of a POST: JSON, a form or plain text, as the Content-Type says; with ${to}, ${from}, ${from.name}, ${replyTo}, ${subject}, ${text} and ${message}."`
}

type deliveryBody struct {
	Host      string    `json:"host,omitzero" doc:"Of an SMTP server, as port and tls."`
	Port      int       `json:"port,omitzero"`
	TLS       string    `json:"tls,omitzero" doc:"starttls or implicit: the port decides."`
	Username  string    `json:"username,omitzero"`
	HTTP      *httpAPI  `json:"http,omitzero"`
	From      *mailbox  `json:"from,omitzero"`
	ReplyTo   *mailbox  `json:"replyTo,omitzero"`
	UpdatedAt time.Time `json:"updatedAt"`
	Lost      bool      `json:"passwordLost,omitzero" doc:"The password can't be opened any more, and mail waits until it is set again."`
}

func deliveryOf(r sender.Relay) deliveryBody {
	b := deliveryBody{Host: r.Host, Port: r.Port, Username: r.Username, From: mailboxOf(r.From), ReplyTo: mailboxOf(r.ReplyTo), UpdatedAt: r.UpdatedAt, Lost: r.PasswordLost != nil}
	switch h := r.HTTP; {
	case h != nil:
		b.HTTP = &httpAPI{h.Name, h.Bearer, h.Method, h.URL, h.Headers, h.Body}
	case r.ImplicitTLS():
		b.TLS = "implicit"
	default:
		b.TLS = "starttls"
	}
	return b
}

// mailboxOf and correspondentOf take an empty name for none.
func mailboxOf(c *sender.Correspondent) *mailbox {
	if c == nil {
		return nil
	}
	return new(mailbox(c.Mailbox()))
}

func correspondentOf(m *mailbox) *sender.Correspondent {
	switch {
	case m == nil:
		return nil
	case m.Name == "":
		return &sender.Correspondent{Address: m.Address}
	}
	return &sender.Correspondent{Name: &m.Name, Address: m.Address}
}

type deliveryTest struct {
	To string `json:"to" doc:"Who gets the mail. It counts as mail that nobody asked for, of which a recipient gets a few a day."`
}

// deliveryOutcome is what came of a test mail.
type deliveryOutcome struct {
	Outcome    sender.DeliveryOutcome `json:"outcome" doc:"delivered, temporary, permanent or unknown."`
	Code       int                    `json:"code,omitzero" doc:"Reply code of SMTP, or status code of HTTP."`
	Enhanced   string                 `json:"enhanced,omitzero" doc:"Enhanced status code (RFC 3463)."`
	Text       string                 `json:"text,omitzero"`
	Stage      string                 `json:"stage,omitzero" doc:"How far the dialogue came."`
	Transcript []stepBody             `json:"transcript" doc:"The dialogue, line by line, without credentials and body."`
}

type stepBody struct {
	At      time.Time `json:"at"`
	Command string    `json:"command" doc:"What was said, or done, in parentheses."`
	Reply   string    `json:"reply" doc:"What came back, or what went wrong, in parentheses."`
	Micros  int64     `json:"micros" doc:"How long it took, in microseconds."`
}

func outcomeOf(d sender.Delivery) deliveryOutcome {
	b := deliveryOutcome{Outcome: d.Outcome, Code: d.Code, Enhanced: d.Enhanced, Text: d.Text, Stage: d.Stage, Transcript: []stepBody{}}
	for line := range bytes.Lines(d.Transcript) {
		var step stepBody
		if json.Unmarshal(line, &step) == nil {
			b.Transcript = append(b.Transcript, step)
		}
	}
	return b
}

func (e *edge) delivery() {
	const path = "/v1/tenants/{tenant}/delivery-settings"
	tags := []string{"Delivery settings"}
	type newIn struct {
		TenantIn
		Body deliveryNew
	}
	type testIn struct {
		TenantIn
		Body deliveryTest
	}
	register(e, huma.Operation{
		OperationID: "get-delivery-settings", Method: http.MethodGet, Path: path, Tags: tags, Summary: "Get the tenant's own way out",
		Description: "404 where it has none and its mail leaves by the instance's relay.",
	}, func(ctx context.Context, p sender.Principal, in *TenantIn) (*body[deliveryBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		r, err := e.service.Relay(ctx, p, tenant)
		return &body[deliveryBody]{deliveryOf(r)}, err
	})
	register(e, huma.Operation{
		OperationID: "set-delivery-settings", Method: http.MethodPut, Path: path, Tags: tags, Summary: "Let the tenant's mail leave by its own SMTP server or HTTP API",
		Description: "Authors must be proven all the same, and what the built-in no-reply says leaves by the instance's relay as before. The host must have a public address, unless the operator allows others.", Errors: []int{http.StatusUnprocessableEntity},
	}, func(ctx context.Context, p sender.Principal, in *newIn) (*body[deliveryBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		b := in.Body
		n := sender.NewRelay{
			Host: b.Host, Port: b.Port, Username: b.Username, Password: sender.Password(b.Password), From: correspondentOf(b.From), ReplyTo: correspondentOf(b.ReplyTo),
		}
		if h := b.HTTP; h != nil {
			n.HTTP = &sender.HTTPProvider{Name: h.Name, Bearer: h.Bearer, Method: h.Method, URL: h.URL, Headers: h.Headers, Body: h.Body}
		}
		r, err := e.service.SetRelay(ctx, p, tenant, n)
		return &body[deliveryBody]{deliveryOf(r)}, err
	})
	register(e, huma.Operation{
		OperationID: "delete-delivery-settings", Method: http.MethodDelete, Path: path, DefaultStatus: http.StatusNoContent, Tags: tags,
		Summary: "Let the tenant's mail leave by the instance's relay again",
	}, func(ctx context.Context, p sender.Principal, in *TenantIn) (*struct{}, error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		return nil, e.service.DeleteRelay(ctx, p, tenant)
	})
	register(e, huma.Operation{
		OperationID: "test-delivery-settings", Method: http.MethodPost, Path: path + "/test", Tags: tags, Summary: "Send one mail by the tenant's own way out and tell what it says",
		Description: "A server that refuses is an answer, too: 200, with the outcome.", Errors: []int{http.StatusUnprocessableEntity, http.StatusTooManyRequests},
	}, func(ctx context.Context, p sender.Principal, in *testIn) (*body[deliveryOutcome], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		d, err := e.service.TestRelay(ctx, p, tenant, in.Body.To)
		return &body[deliveryOutcome]{outcomeOf(d)}, err
	})
}
