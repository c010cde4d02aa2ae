package pingone

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// unused are settings that mean nothing here, since nothing but mail is sent: they are
// kept and answered, no more.
type unused struct {
	Restrictions *restrictions `json:"restrictions,omitempty"`
	Fallback     []string      `json:"smsProvidersFallbackChain,omitempty"`
}

type restrictions struct {
	Quota *struct {
		Daily *int32 `json:"daily,omitempty"`
	} `json:"smsVoiceQuota,omitempty"`
}

// settingsRequest is what is to become of the notification settings.
type settingsRequest struct {
	thing
	from, replyTo, document string
}

// newSettings reads the settings. A whitelist is refused, not kept: whoever asks for
// one relies on nobody else getting mail.
func newSettings(r *http.Request) (n settingsRequest, err error) {
	if n.thing, err = readThing(r, false, false); err != nil {
		return n, err
	}
	var body struct {
		DeliveryMode string         `json:"deliveryMode"`
		From         *correspondent `json:"from"`
		ReplyTo      *correspondent `json:"replyTo"`
		Whitelist    []struct{}     `json:"whitelist"`
		unused
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return n, err
	}
	switch {
	case body.DeliveryMode != "" && body.DeliveryMode != "ALL":
		return n, sender.Errorf(sender.Invalid, "deliveryMode", "%q can't be used here, since there are no users to choose from; use ALL.", api.Short(body.DeliveryMode))
	case len(body.Whitelist) > 0:
		return n, sender.Errorf(sender.Invalid, "whitelist", "There are no users here to choose from; leave whitelist out.")
	}
	if n.from, err = body.From.spell("from"); err != nil {
		return n, err
	}
	if n.replyTo, err = body.ReplyTo.spell("replyTo"); err != nil {
		return n, err
	}
	document, err := json.Marshal(body.unused)
	n.document = string(document)
	return n, err
}

// settingsOut are the settings, of a tenant that may never have set them.
type settingsOut struct {
	sender.MailDefaults
	tenant sender.Tenant
}

// GET notificationsSettings.
func (e edge) settings(ctx context.Context, p sender.Principal, t thing) (settingsOut, error) {
	tenant, err := e.service.AuthorizeWhole(ctx, p, t.env, sender.RoleReader)
	if err != nil {
		return settingsOut{}, err
	}
	d, err := e.service.MailDefaults(ctx, p, t.env)
	return settingsOut{d, tenant}, err
}

// PUT notificationsSettings, as a whole.
func (e edge) setSettings(ctx context.Context, p sender.Principal, n settingsRequest) (settingsOut, error) {
	tenant, err := e.service.AuthorizeWhole(ctx, p, n.env, sender.RoleAdmin)
	if err != nil {
		return settingsOut{}, err
	}
	d, err := e.service.ChangeMailDefaults(ctx, p, n.env, func(d *sender.MailDefaults) { d.From, d.ReplyTo, d.Document = n.from, n.replyTo, n.document })
	return settingsOut{d, tenant}, err
}

// DELETE notificationsSettings: all is as it was at first.
func (e edge) resetSettings(ctx context.Context, p sender.Principal, t thing) (settingsOut, error) {
	return e.setSettings(ctx, p, settingsRequest{thing: t})
}

type settingsBody struct {
	Links        links          `json:"_links"`
	ID           sender.ID      `json:"id"`
	Environment  idRef          `json:"environment"`
	DeliveryMode string         `json:"deliveryMode"`
	From         *correspondent `json:"from"`
	ReplyTo      *correspondent `json:"replyTo,omitempty"`
	unused
	UpdatedAt string `json:"updatedAt"` // a client decodes it as a time
}

func (e edge) writeSettings(w http.ResponseWriter, r *http.Request, s settingsOut) error {
	base := e.origin.Base(r)
	env := environmentURL(base, s.tenant.ID)
	b := settingsBody{
		Links: links{"self": {env + "/notificationsSettings"}, "environment": {env}}, ID: s.tenant.ID, Environment: idRef{s.tenant.ID},
		DeliveryMode: "ALL", From: spelled(s.From), ReplyTo: spelled(s.ReplyTo), UpdatedAt: timestamp(s.tenant.CreatedAt),
	}
	if b.From == nil {
		system := e.service.SystemSender()
		b.From = &correspondent{Address: &system.Address}
	}
	if !s.MailDefaults.UpdatedAt.IsZero() {
		b.UpdatedAt = timestamp(s.MailDefaults.UpdatedAt)
	}
	if s.Document != "" {
		if err := json.Unmarshal([]byte(s.Document), &b.unused); err != nil {
			return err
		}
	}
	return api.WriteJSON(w, http.StatusOK, b)
}

func asError(err error) (*sender.Error, bool) { return errors.AsType[*sender.Error](err) }
