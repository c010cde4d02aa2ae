package pingone

import (
	"context"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// protocols are the dialect's words; the port decides. There is a third, HTTP, for
// providers that are not spoken to by SMTP: it is refused, see [newDelivery].
const (
	protocolSMTP  = "SMTP"  // STARTTLS
	protocolSMTPS = "SMTPS" // TLS from the start
)

// mailboxBody is an author or Reply-To, in and out.
type mailboxBody struct {
	Name    string `json:"name,omitzero"`
	Address string `json:"address"`
}

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
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return in, err
	}
	switch body.Protocol {
	case "", protocolSMTP, protocolSMTPS:
	default: // HTTP among them
		return in, sender.Errorf(sender.Invalid, "protocol", "Mail leaves by SMTP here: the protocol can be SMTP or SMTPS, as the port says, and not %q.", api.Short(body.Protocol))
	}
	n := sender.NewRelay{
		Host: body.Host, Username: body.Username, Password: sender.Password(body.Password),
		From: (*sender.Mailbox)(body.From), ReplyTo: (*sender.Mailbox)(body.ReplyTo),
	}
	if body.Port != nil {
		if n.Port = *body.Port; n.Port == 0 {
			n.Port = -1 // which is no port, and no default either
		}
	}
	in.settings = n
	return in, nil
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
	return e.service.SetRelay(ctx, p, in.env, in.settings)
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
	Links       links        `json:"_links"`
	Environment idRef        `json:"environment"`
	Protocol    string       `json:"protocol,omitzero"` // clients choose the model by it
	Host        string       `json:"host,omitzero"`
	Port        int          `json:"port,omitzero"`
	Username    string       `json:"username,omitzero"`
	From        *mailboxBody `json:"from,omitzero"`
	ReplyTo     *mailboxBody `json:"replyTo,omitzero"`
	UpdatedAt   string       `json:"updatedAt,omitzero"` // decoded as a time: left out where there is none
}

func deliveryOf(base string, r sender.Relay) deliveryBody {
	env := environmentURL(base, r.Tenant)
	b := deliveryBody{
		Links: links{
			"self": {env + "/notificationsSettings/emailDeliverySettings"}, "environment": {env}, "notificationsSettings": {env + "/notificationsSettings"},
		},
		Environment: idRef{r.Tenant},
	}
	if r.Host == "" {
		return b
	}
	b.Protocol, b.Host, b.Port, b.Username, b.UpdatedAt = protocolSMTP, r.Host, r.Port, r.Username, timestamp(r.UpdatedAt)
	b.From, b.ReplyTo = (*mailboxBody)(r.From), (*mailboxBody)(r.ReplyTo)
	if r.ImplicitTLS() {
		b.Protocol = protocolSMTPS
	}
	return b
}

func (e edge) writeDelivery(w http.ResponseWriter, r *http.Request, x sender.Relay) error {
	return api.WriteJSON(w, http.StatusOK, deliveryOf(e.origin.Base(r), x))
}
