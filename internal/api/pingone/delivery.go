package pingone

import (
	"context"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// protocols are the dialect's words. Of SMTP's the port decides.
const (
	protocolSMTP  = "SMTP"  // STARTTLS
	protocolSMTPS = "SMTPS" // TLS from the start
	protocolHTTP  = "HTTP"  // an API of a provider's
)

// The only ones of their kinds that there are here.
const (
	customProvider = "CUSTOM_PROVIDER"
	emailRequest   = "EMAIL"
)

// Methods of authentication.
const (
	basicAuth  = "BASIC"
	bearerAuth = "BEARER"
)

// mailboxBody is an author or Reply-To, in and out.
type mailboxBody struct {
	Name    *string `json:"name,omitzero"` // also an empty one is answered
	Address string  `json:"address"`
}

// providerBody is the form of HTTP providers, in and out. Secrets are in alone.
type (
	providerBody struct {
		Name           *string       `json:"name,omitzero"`
		Provider       string        `json:"provider,omitzero"`
		Authentication *authBody     `json:"authentication,omitzero"`
		Requests       []requestBody `json:"requests,omitempty"`
	}
	authBody struct {
		Method    string `json:"method"`
		AuthToken string `json:"authToken,omitzero"`
		Username  string `json:"username,omitzero"`
		Password  string `json:"password,omitzero"`
	}
	requestBody struct {
		DeliveryMethod string            `json:"deliveryMethod"`
		Method         string            `json:"method"`
		URL            string            `json:"url"`
		Headers        map[string]string `json:"headers,omitzero"` // an empty one is answered, too
		Body           *string           `json:"body,omitzero"`
	}
)

type deliveryRequest struct {
	thing
	settings sender.NewRelay
}

func newDelivery(r *http.Request) (in deliveryRequest, err error) {
	if in.thing, err = readThing(r, false, false); err != nil {
		return in, err
	}
	var body struct {
		Protocol string       `json:"protocol"`
		Host     string       `json:"host"`
		Port     *int         `json:"port"`
		Username string       `json:"username"`
		Password string       `json:"password"`
		From     *mailboxBody `json:"from"`
		ReplyTo  *mailboxBody `json:"replyTo"`
		providerBody
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return in, err
	}
	n := sender.NewRelay{From: (*sender.Correspondent)(body.From), ReplyTo: (*sender.Correspondent)(body.ReplyTo)}
	switch body.Protocol {
	case "", protocolSMTP, protocolSMTPS:
		n.Host, n.Username, n.Password = body.Host, body.Username, sender.Password(body.Password)
		if body.Port != nil {
			if n.Port = *body.Port; n.Port == 0 {
				n.Port = -1 // which is no port, and no default either
			}
		}
	case protocolHTTP:
		err = body.fill(&n)
	default:
		err = sender.Errorf(sender.Invalid, "protocol", "The protocol can be SMTP or SMTPS, as the port says, or HTTP, and not %q.", api.Short(body.Protocol))
	}
	in.settings = n
	return in, err
}

// fill reads the form of HTTP providers.
func (b providerBody) fill(n *sender.NewRelay) error {
	switch {
	case b.Provider != "" && b.Provider != customProvider:
		return sender.Errorf(sender.Invalid, "provider", "The provider can be CUSTOM_PROVIDER alone, and not %q.", api.Short(b.Provider))
	case b.Authentication == nil:
		return sender.Errorf(sender.Required, "authentication", "authentication is missing: send the method and its credential.")
	case len(b.Requests) == 0:
		return sender.Errorf(sender.Required, "requests", "requests is missing: send the one request that hands a mail over.")
	case len(b.Requests) > 1:
		return sender.Errorf(sender.Invalid, "requests", "There are %d requests; there can be one, since there is one kind of delivery here.", len(b.Requests))
	}
	r, a := b.Requests[0], b.Authentication
	if r.DeliveryMethod != emailRequest {
		return sender.Errorf(sender.Invalid, "requests[0].deliveryMethod", "The delivery method can be EMAIL alone, and not %q.", api.Short(r.DeliveryMethod))
	}
	n.HTTP = &sender.HTTPProvider{Method: r.Method, URL: r.URL, Headers: r.Headers, Body: r.Body}
	if b.Name != nil {
		n.HTTP.Name = *b.Name
	}
	switch a.Method {
	case basicAuth:
		n.Username, n.Password = a.Username, sender.Password(a.Password)
	case bearerAuth:
		n.HTTP.Bearer, n.Username, n.Password = true, a.Username, sender.Password(a.AuthToken)
	case "":
		return sender.Errorf(sender.Required, "authentication.method", "The method of authentication is missing: use BASIC or BEARER.")
	default:
		return sender.Errorf(sender.Invalid, "authentication.method", "The method of authentication can be BASIC or BEARER, and not %q.", api.Short(a.Method))
	}
	return nil
}

// members are what fields of an HTTP provider are called here.
var members = map[string]string{
	"url": "requests[0].url", "method": "requests[0].method", "headers": "requests[0].headers", "body": "requests[0].body",
	"username": "authentication.username", "password": "authentication.password",
}

// named says what a field of the core is called in the form that was sent.
func (in deliveryRequest) named(err error) error {
	e, ok := asError(err)
	if h := in.settings.HTTP; ok && h != nil && members[e.Field] != "" {
		renamed := *e
		renamed.Field = members[e.Field]
		if e.Field == "password" && h.Bearer {
			renamed.Field = "authentication.authToken"
		}
		return &renamed
	}
	return err
}

// GET emailDeliverySettings. Where there are none, a body without a protocol: a 404
// would be taken for a deleted environment.
func (e edge) deliverySettings(ctx context.Context, p sender.Principal, t thing) (sender.Relay, error) {
	r, err := e.service.Relay(ctx, p, t.env)
	if sender.KindOf(err) == sender.NotFound {
		if _, err := e.service.AuthorizeWhole(ctx, p, t.env, sender.RoleReader); err != nil {
			return sender.Relay{}, err // it is the environment that is not there
		}
		return sender.Relay{Tenant: t.env}, nil
	}
	return r, err
}

// PUT emailDeliverySettings.
func (e edge) setDelivery(ctx context.Context, p sender.Principal, in deliveryRequest) (sender.Relay, error) {
	r, err := e.service.SetRelay(ctx, p, in.env, in.settings)
	return r, in.named(err)
}

// DELETE emailDeliverySettings; it is a reset, so that there need be none.
func (e edge) resetDelivery(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	err := e.service.DeleteRelay(ctx, p, t.env)
	if sender.KindOf(err) == sender.NotFound {
		_, err = e.service.AuthorizeWhole(ctx, p, t.env, sender.RoleAdmin)
	}
	return struct{}{}, err
}

type deliveryBody struct {
	Links       links  `json:"_links"`
	Environment idRef  `json:"environment"`
	Protocol    string `json:"protocol,omitzero"` // clients choose the model by it
	Host        string `json:"host,omitzero"`
	Port        int    `json:"port,omitzero"`
	Username    string `json:"username,omitzero"`
	providerBody
	From      *mailboxBody `json:"from,omitzero"`
	ReplyTo   *mailboxBody `json:"replyTo,omitzero"`
	UpdatedAt string       `json:"updatedAt,omitzero"` // decoded as a time: left out where there is none
}

func deliveryOf(base string, r sender.Relay) deliveryBody {
	env := environmentURL(base, r.Tenant)
	b := deliveryBody{
		Links: links{
			"self": {env + "/notificationsSettings/emailDeliverySettings"}, "environment": {env}, "notificationsSettings": {env + "/notificationsSettings"},
		},
		Environment: idRef{r.Tenant},
	}
	if r.Host == "" && r.HTTP == nil {
		return b
	}
	b.UpdatedAt, b.From, b.ReplyTo = timestamp(r.UpdatedAt), (*mailboxBody)(r.From), (*mailboxBody)(r.ReplyTo)
	if h := r.HTTP; h != nil {
		b.Protocol, b.Name, b.Provider, b.Authentication = protocolHTTP, &h.Name, customProvider, &authBody{Method: basicAuth, Username: r.Username}
		if h.Bearer {
			b.Authentication.Method = bearerAuth
		}
		b.Requests = []requestBody{{emailRequest, h.Method, h.URL, h.Headers, h.Body}}
		return b
	}
	b.Protocol, b.Host, b.Port, b.Username = protocolSMTP, r.Host, r.Port, r.Username
	if r.ImplicitTLS() {
		b.Protocol = protocolSMTPS
	}
	return b
}

func (e edge) writeDelivery(w http.ResponseWriter, r *http.Request, x sender.Relay) error {
	return api.WriteJSON(w, http.StatusOK, deliveryOf(e.origin.Base(r), x))
}
