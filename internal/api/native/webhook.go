package native

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postseal/postseal/internal/sender"
)

type webhookNew struct {
	URL         string             `json:"url" doc:"An https URL with a public address, without user name and fragment."`
	Description string             `json:"description,omitzero"`
	Types       []sender.EventType `json:"types,omitempty" doc:"Event types such as domain.proven, beginnings such as domain.*, or *. Absent: all."`
	Enabled     *bool              `json:"enabled,omitzero" doc:"True by default."`
}

func (n webhookNew) core() sender.NewWebhook {
	w := sender.NewWebhook{URL: n.URL, Description: n.Description, Types: n.Types, Enabled: n.Enabled == nil || *n.Enabled}
	if len(w.Types) == 0 {
		w.Types = []sender.EventType{"*"}
	}
	return w
}

type webhookBody struct {
	ID           sender.ID            `json:"id"`
	URL          string               `json:"url"`
	Description  string               `json:"description,omitzero"`
	Types        []sender.EventType   `json:"types"`
	Format       sender.WebhookFormat `json:"format" doc:"standard; or what another API made it to be."`
	Enabled      bool                 `json:"enabled"`
	DisabledBy   sender.DisabledBy    `json:"disabledBy,omitzero" doc:"tenant; or gone, by an answer of 410, or failing, by nothing but failures for days."`
	DisabledAt   time.Time            `json:"disabledAt,omitzero"`
	FailingSince time.Time            `json:"failingSince,omitzero" doc:"All attempts have failed since then."`
	Secret       string               `json:"secret,omitzero" doc:"What signs (whsec_...). Shown where it is made, and never again."`
	CreatedAt    time.Time            `json:"createdAt"`
	UpdatedAt    time.Time            `json:"updatedAt"`
}

func webhookOf(w sender.Webhook) webhookBody {
	return webhookBody{
		ID: w.ID, URL: w.URL, Description: w.Description, Types: append([]sender.EventType{}, w.Types...), Format: w.Format, Enabled: w.Enabled,
		DisabledBy: w.DisabledBy, DisabledAt: w.DisabledAt, FailingSince: w.FailingSince, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt,
	}
}

func withSecret(w sender.Webhook, secret sender.Password) *body[webhookBody] {
	b := webhookOf(w)
	b.Secret = string(secret)
	return &body[webhookBody]{b}
}

type rotation struct {
	Overlap *int `json:"overlap,omitzero" minimum:"0" maximum:"604800" doc:"Seconds for which the secret of before signs, too; a day by default."`
}

const defaultOverlap = 24 * time.Hour

type postedBody struct {
	Delivered bool   `json:"delivered"`
	Status    int    `json:"status,omitzero" doc:"Of the answer; absent where there was none."`
	Error     string `json:"error,omitzero"`
	Millis    int64  `json:"millis" doc:"How long it took."`
}

type hookDeliveryBody struct {
	Event         sender.ID            `json:"event" doc:"Also its webhook-id."`
	State         sender.DeliveryState `json:"state" doc:"pending, delivered or failed."`
	Attempts      int                  `json:"attempts"`
	Status        int                  `json:"status,omitzero" doc:"Of the last answer; absent where there was none."`
	Error         string               `json:"error,omitzero" doc:"Why the last attempt failed."`
	TriedAt       time.Time            `json:"triedAt,omitzero"`
	NextAttemptAt time.Time            `json:"nextAttemptAt,omitzero" doc:"Absent where there will be none, or the webhook is disabled."`
	DoneAt        time.Time            `json:"doneAt,omitzero"`
}

func hookDeliveryOf(d sender.WebhookDelivery) hookDeliveryBody {
	return hookDeliveryBody{
		Event: d.Event, State: d.State, Attempts: d.Attempts, Status: d.Status, Error: d.Error, TriedAt: d.TriedAt, NextAttemptAt: d.DueAt, DoneAt: d.DoneAt,
	}
}

type replayNew struct {
	Event sender.ID `json:"event,omitzero" doc:"This one, whatever its type; without since and after."`
	Since time.Time `json:"since,omitzero" doc:"All that the webhook wants from then on."`
	After sender.ID `json:"after,omitzero" doc:"All that it wants after this event: last of the call before."`
}

type replayedBody struct {
	Queued int       `json:"queued"`
	Last   sender.ID `json:"last,omitzero" doc:"The newest event that was looked at."`
	More   bool      `json:"more" doc:"There are further ones: ask again with after."`
}

// WebhookIn are the parameters that name a webhook.
type WebhookIn struct {
	TenantIn
	Webhook string `path:"webhook"`
}

func (in WebhookIn) ids() (tenant, id sender.ID, err error) {
	if tenant, err = in.tenant(); err == nil {
		id, err = parseID(in.Webhook, "webhook")
	}
	return tenant, id, err
}

func (e *edge) webhooks() {
	const (
		all = "/v1/tenants/{tenant}/webhooks"
		one = all + "/{webhook}"
	)
	tags := []string{"Webhooks"}
	wrong := []int{http.StatusUnprocessableEntity}
	type newIn struct {
		TenantIn
		Body webhookNew
	}
	type changeIn struct {
		WebhookIn
		Body webhookNew
	}
	type rotateIn struct {
		WebhookIn
		Body rotation
	}
	type replayIn struct {
		WebhookIn
		Body replayNew
	}
	type deliveriesIn struct {
		WebhookIn
		PageIn
	}
	register(e, huma.Operation{
		OperationID: "create-webhook", Method: http.MethodPost, Path: all, DefaultStatus: http.StatusCreated, Tags: tags, Summary: "Have the tenant's events posted to a URL",
		Description: "As the Standard Webhooks specification says: signed, at least once, in no certain order. For admins. The answer has the secret.", Errors: append(wrong, http.StatusConflict),
	}, func(ctx context.Context, p sender.Principal, in *newIn) (*body[webhookBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		w, secret, err := e.service.CreateWebhook(ctx, p, tenant, in.Body.core())
		return withSecret(w, secret), err
	})
	register(e, huma.Operation{
		OperationID: "list-webhooks", Method: http.MethodGet, Path: all, Tags: tags, Summary: "List the tenant's webhooks",
	}, func(ctx context.Context, p sender.Principal, in *struct {
		TenantIn
		PageIn
	},
	) (*listOut[webhookBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.Webhook, error) { return e.service.Webhooks(ctx, p, tenant, page) },
			func(w sender.Webhook) sender.ID { return w.ID }, webhookOf)
	})
	register(e, huma.Operation{
		OperationID: "get-webhook", Method: http.MethodGet, Path: one, Tags: tags, Summary: "Get a webhook",
	}, func(ctx context.Context, p sender.Principal, in *WebhookIn) (*body[webhookBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		w, err := e.service.Webhook(ctx, p, tenant, id)
		return &body[webhookBody]{webhookOf(w)}, err
	})
	register(e, huma.Operation{
		OperationID: "change-webhook", Method: http.MethodPut, Path: one, Tags: tags, Summary: "Change a webhook, as a whole",
		Description: "Its secret stays. One that is enabled again goes on with what waited for it; what happened while it was disabled is there to be replayed.", Errors: wrong,
	}, func(ctx context.Context, p sender.Principal, in *changeIn) (*body[webhookBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		w, err := e.service.ChangeWebhook(ctx, p, tenant, id, false, func(was sender.Webhook) sender.NewWebhook {
			n := in.Body.core()
			n.Format, n.Headers, n.Document = was.Format, was.Headers, was.Document
			return n
		})
		return &body[webhookBody]{webhookOf(w)}, err
	})
	register(e, huma.Operation{
		OperationID: "delete-webhook", Method: http.MethodDelete, Path: one, DefaultStatus: http.StatusNoContent, Tags: tags, Summary: "Delete a webhook, with what waits for it",
	}, func(ctx context.Context, p sender.Principal, in *WebhookIn) (*struct{}, error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		return nil, e.service.DeleteWebhook(ctx, p, tenant, id)
	})
	register(e, huma.Operation{
		OperationID: "rotate-webhook-secret", Method: http.MethodPost, Path: one + "/rotate", Tags: tags, Summary: "Give a webhook a new secret",
		Description: "The one of before signs beside it for the overlap. The answer has the new one.", Errors: wrong,
	}, func(ctx context.Context, p sender.Principal, in *rotateIn) (*body[webhookBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		overlap := defaultOverlap
		if in.Body.Overlap != nil {
			overlap = time.Duration(*in.Body.Overlap) * time.Second
		}
		w, secret, err := e.service.RotateWebhook(ctx, p, tenant, id, overlap)
		return withSecret(w, secret), err
	})
	register(e, huma.Operation{
		OperationID: "test-webhook", Method: http.MethodPost, Path: one + "/test", Tags: tags, Summary: "Post one event of the type webhook.test and tell what came of it",
		Description: "Now and once, also where it is disabled. A receiver that refuses is an answer, too: 200. 200 tests a day and tenant.", Errors: []int{http.StatusUnprocessableEntity, http.StatusTooManyRequests},
	}, func(ctx context.Context, p sender.Principal, in *WebhookIn) (*body[postedBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		got, err := e.service.TestWebhook(ctx, p, tenant, id)
		return &body[postedBody]{postedBody{got.Error == "", got.Status, got.Error, got.Took.Milliseconds()}}, err
	})
	register(e, huma.Operation{
		OperationID: "list-webhook-deliveries", Method: http.MethodGet, Path: one + "/deliveries", Tags: tags, Summary: "List what was and is to be posted to a webhook, the newest event first",
		Description: "For two weeks after it was delivered or given up.",
	}, func(ctx context.Context, p sender.Principal, in *deliveriesIn) (*listOut[hookDeliveryBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.WebhookDelivery, error) {
			return e.service.WebhookDeliveries(ctx, p, tenant, id, page)
		}, func(d sender.WebhookDelivery) sender.ID { return d.Event }, hookDeliveryOf)
	})
	register(e, huma.Operation{
		OperationID: "replay-webhook", Method: http.MethodPost, Path: one + "/replay", DefaultStatus: http.StatusAccepted, Tags: tags, Summary: "Post events again: one, or all that the webhook wants since a time",
		Description: "Under the webhook-id that they had. One call looks at a thousand events.", Errors: append(wrong, http.StatusConflict),
	}, func(ctx context.Context, p sender.Principal, in *replayIn) (*body[replayedBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		done, err := e.service.Replay(ctx, p, tenant, id, sender.Replay(in.Body))
		return &body[replayedBody]{replayedBody(done)}, err
	})
}
