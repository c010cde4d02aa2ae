package store

import (
	"context"
	"errors"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

// hookSecrets is what is sealed of a webhook.
type hookSecrets struct {
	Keys    []hookKey         `json:"keys"`
	Headers map[string]string `json:"headers,omitempty"`
}

type hookKey struct {
	Key   string `json:"key"`
	Until int64  `json:"until,omitzero"`
}

func hookPlace(tenant, id string) place { return place{"webhooks", tenant + "/" + id, "secrets"} }

// lostSecrets are sealed ones that don't open, kept as they are: the key may come back.
type lostSecrets struct {
	error
	sealed []byte
}

func (t *tx) sealHook(w sender.Webhook) ([]byte, error) {
	if lost, ok := errors.AsType[lostSecrets](w.SecretsLost); ok {
		return lost.sealed, nil
	}
	var s hookSecrets
	for _, k := range w.Secrets {
		s.Keys = append(s.Keys, hookKey{string(k.Key), micros(k.Until)})
	}
	for name, value := range w.Headers {
		if s.Headers == nil {
			s.Headers = make(map[string]string)
		}
		s.Headers[name] = string(value)
	}
	text, err := encode(s)
	if err != nil {
		return nil, err
	}
	return t.keys.seal([]byte(text), hookPlace(string(w.Tenant), string(w.ID))), nil
}

func (r reader) webhookOf(row db.Webhook) (sender.Webhook, error) {
	w := sender.Webhook{
		ID: sender.ID(row.ID), Tenant: sender.ID(row.TenantID), URL: row.Url, Description: row.Description, Format: sender.WebhookFormat(row.Format),
		Enabled: row.Enabled, DisabledBy: sender.DisabledBy(row.DisabledBy), DisabledAt: moment(row.DisabledAt), Document: row.Document,
		Troubled: row.Troubled, FailingSince: moment(row.FailingSince), CreatedAt: moment(row.CreatedAt), UpdatedAt: moment(row.UpdatedAt),
	}
	if err := decode(row.Types, &w.Types, "types of webhook ", row.ID); err != nil {
		return w, err
	}
	plain, err := r.keys.open(row.Secrets, hookPlace(row.TenantID, row.ID))
	if err != nil {
		w.SecretsLost = lostSecrets{err, row.Secrets}
		return w, nil
	}
	var s hookSecrets
	if err := decode(string(plain), &s, "secrets of webhook ", row.ID); err != nil {
		return w, err
	}
	for _, k := range s.Keys {
		w.Secrets = append(w.Secrets, sender.WebhookSecret{Key: sender.Password(k.Key), Until: moment(k.Until)})
	}
	for name, value := range s.Headers {
		if w.Headers == nil {
			w.Headers = make(map[string]sender.Password)
		}
		w.Headers[name] = sender.Password(value)
	}
	return w, nil
}

func hookDeliveryOf(r db.WebhookDelivery) (sender.WebhookDelivery, error) {
	return sender.WebhookDelivery{
		Tenant: sender.ID(r.TenantID), Webhook: sender.ID(r.WebhookID), Event: sender.ID(r.EventID), State: sender.DeliveryState(r.State),
		Attempts: int(r.Attempts), Status: int(r.Status), Error: r.Error,
		DueAt: moment(r.DueAt), ExpiresAt: moment(r.ExpiresAt), TriedAt: moment(r.TriedAt), DoneAt: moment(r.DoneAt),
	}, nil
}

func (r reader) Event(ctx context.Context, tenant, id sender.ID) (sender.Event, error) {
	row, err := r.q.Event(ctx, string(tenant), string(id))
	if err != nil {
		return sender.Event{}, missing("event", err)
	}
	return eventOf(row)
}

func (r reader) Webhook(ctx context.Context, tenant, id sender.ID) (sender.Webhook, error) {
	row, err := r.q.Webhook(ctx, string(tenant), string(id))
	if err != nil {
		return sender.Webhook{}, missing("webhook", err)
	}
	return r.webhookOf(row)
}

func (r reader) Webhooks(ctx context.Context, tenant sender.ID, page sender.Page) ([]sender.Webhook, error) {
	rows, err := r.q.Webhooks(ctx, string(tenant), string(page.After), most(page))
	return each(rows, err, "webhooks", r.webhookOf)
}

func (r reader) WebhookDeliveries(ctx context.Context, tenant, webhook sender.ID, page sender.Page) ([]sender.WebhookDelivery, error) {
	before := string(page.After)
	if before == "" {
		before = lastID
	}
	rows, err := r.q.WebhookDeliveries(ctx, db.WebhookDeliveriesParams{TenantID: string(tenant), WebhookID: string(webhook), Before: before, Most: most(page)})
	return each(rows, err, "deliveries", hookDeliveryOf)
}

func (r reader) DueWebhookDeliveries(ctx context.Context, tenant, webhook sender.ID, now time.Time, limit int) ([]sender.WebhookDelivery, error) {
	rows, err := r.q.DueWebhookDeliveries(ctx, db.DueWebhookDeliveriesParams{TenantID: string(tenant), WebhookID: string(webhook), Now: micros(now), Most: int64(limit)})
	return each(rows, err, "due deliveries", hookDeliveryOf)
}

// DueWebhooks implements [sender.Store].
func (s *Store) DueWebhooks(ctx context.Context, troubled bool, now time.Time, after sender.WebhookKey, limit int) ([]sender.WebhookKey, error) {
	rows, err := s.q.DueWebhooks(ctx, db.DueWebhooksParams{
		AfterTenant: string(after.Tenant), AfterID: string(after.ID), Troubled: troubled, Now: micros(now), Most: int64(limit),
	})
	return each(rows, err, "due webhooks", func(r db.DueWebhooksRow) (sender.WebhookKey, error) {
		return sender.WebhookKey{Tenant: sender.ID(r.TenantID), ID: sender.ID(r.ID)}, nil
	})
}

// NextWebhookDelivery implements [sender.Store].
func (s *Store) NextWebhookDelivery(ctx context.Context) (time.Time, error) {
	due, err := s.q.NextWebhookDelivery(ctx)
	return moment(due), broken("read the deliveries", err)
}

// queueEvent queues a new event for the webhooks that want it.
func (t *tx) queueEvent(ctx context.Context, e sender.Event) error {
	rows, err := t.q.WebhookTypes(ctx, string(e.Tenant))
	if err != nil {
		return broken("find webhooks", err)
	}
	for _, row := range rows {
		var types []sender.EventType
		if err := decode(row.Types, &types, "types of webhook ", row.ID); err != nil {
			return err
		}
		if !sender.Wants(types, e.Type) {
			continue
		}
		err := t.PutWebhookDelivery(ctx, e.Tenant, sender.ID(row.ID), e.ID, e.At)
		if err != nil && sender.KindOf(err) != sender.NotFound { // deleted meanwhile
			return err
		}
	}
	return nil
}

func (t *tx) InsertWebhook(ctx context.Context, w sender.Webhook) error {
	types, err := encode(w.Types)
	if err != nil {
		return err
	}
	secrets, err := t.sealHook(w)
	if err != nil {
		return err
	}
	n, err := t.q.InsertWebhook(ctx, db.InsertWebhookParams{
		TenantID: string(w.Tenant), ID: string(w.ID), Url: w.URL, Description: w.Description, Types: types, Format: string(w.Format), Enabled: w.Enabled,
		DisabledBy: string(w.DisabledBy), DisabledAt: micros(w.DisabledAt), Secrets: secrets, Document: w.Document, Troubled: w.Troubled,
		FailingSince: micros(w.FailingSince), CreatedAt: micros(w.CreatedAt), UpdatedAt: micros(w.UpdatedAt),
	})
	return inserted(n, err, "id", "There is a webhook with the id %s already.", quote(string(w.ID)))
}

func (t *tx) UpdateWebhook(ctx context.Context, w sender.Webhook) error {
	types, err := encode(w.Types)
	if err != nil {
		return err
	}
	secrets, err := t.sealHook(w)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateWebhook(ctx, db.UpdateWebhookParams{
		TenantID: string(w.Tenant), ID: string(w.ID), Url: w.URL, Description: w.Description, Types: types, Format: string(w.Format), Enabled: w.Enabled,
		DisabledBy: string(w.DisabledBy), DisabledAt: micros(w.DisabledAt), Secrets: secrets, Document: w.Document, UpdatedAt: micros(w.UpdatedAt),
	})
	return touched(n, err, "webhook")
}

func (t *tx) MarkWebhook(ctx context.Context, tenant, id sender.ID, troubled bool, failingSince time.Time) error {
	n, err := t.q.MarkWebhook(ctx, db.MarkWebhookParams{TenantID: string(tenant), ID: string(id), Troubled: troubled, FailingSince: micros(failingSince)})
	return touched(n, err, "webhook")
}

func (t *tx) DeleteWebhook(ctx context.Context, tenant, id sender.ID) error {
	n, err := t.q.DeleteWebhook(ctx, string(tenant), string(id))
	if err := touched(n, err, "webhook"); err != nil {
		return err
	}
	return broken("delete deliveries", t.q.DeleteWebhookDeliveries(ctx, string(tenant), string(id)))
}

func (t *tx) LeaseWebhook(ctx context.Context, tenant, id sender.ID, owner string, now, until time.Time) (bool, error) {
	n, err := t.q.LeaseWebhook(ctx, db.LeaseWebhookParams{TenantID: string(tenant), ID: string(id), Owner: owner, Now: micros(now), Until: micros(until)})
	return n > 0, broken("lease the webhook", err)
}

func (t *tx) ReleaseWebhook(ctx context.Context, tenant, id sender.ID, owner string) error {
	return broken("release the webhook", t.q.ReleaseWebhook(ctx, string(tenant), string(id), owner))
}

func (t *tx) ReleaseWebhooks(ctx context.Context) error {
	return broken("release webhooks", t.q.ReleaseWebhooks(ctx))
}

func (t *tx) PutWebhookDelivery(ctx context.Context, tenant, webhook, event sender.ID, due time.Time) error {
	n, err := t.q.PutWebhookDelivery(ctx, db.PutWebhookDeliveryParams{
		TenantID: string(tenant), WebhookID: string(webhook), EventID: string(event), DueAt: micros(due),
	})
	return touched(n, err, "webhook")
}

func (t *tx) UpdateWebhookDelivery(ctx context.Context, d sender.WebhookDelivery) error {
	n, err := t.q.UpdateWebhookDelivery(ctx, db.UpdateWebhookDeliveryParams{
		TenantID: string(d.Tenant), WebhookID: string(d.Webhook), EventID: string(d.Event), State: string(d.State), Attempts: int64(d.Attempts), Before: int64(d.Attempts - 1),
		Status: int64(d.Status), Error: d.Error, DueAt: micros(d.DueAt), ExpiresAt: micros(d.ExpiresAt), TriedAt: micros(d.TriedAt), DoneAt: micros(d.DoneAt),
	})
	if err == nil && n == 0 {
		return sender.Errorf(sender.Conflict, "", "The delivery of the event %s was recorded by somebody else.", quote(string(d.Event)))
	}
	return broken("update the delivery", err)
}

func (t *tx) PutOffWebhookDeliveries(ctx context.Context, tenant, webhook sender.ID, due time.Time) error {
	return broken("put off deliveries", t.q.PutOffWebhookDeliveries(ctx, micros(due), string(tenant), string(webhook)))
}

func (t *tx) ForgetWebhookDeliveries(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.q.ForgetWebhookDeliveries(ctx, micros(before), int64(limit))
	if err == nil && int(n) < limit {
		var orphans int64
		orphans, err = t.q.ForgetOrphanDeliveries(ctx, micros(before), int64(limit)-n)
		n += orphans
	}
	return int(n), broken("forget deliveries", err)
}
