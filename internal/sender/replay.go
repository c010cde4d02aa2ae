package sender

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// WebhookDeliveries lists what was and is to be posted to a webhook, the newest event
// first: page.After is the last one of the page before.
func (s *Service) WebhookDeliveries(ctx context.Context, p Principal, tenant, id ID, page Page) ([]WebhookDelivery, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return nil, err
	}
	if _, err := s.store.Webhook(ctx, tenant, id); err != nil {
		return nil, err
	}
	return s.store.WebhookDeliveries(ctx, tenant, id, page)
}

// Replay says which events are posted again: one, whatever its type, or those that
// the webhook wants since a time, or after an event.
type Replay struct {
	Event ID
	Since time.Time
	After ID
}

// Replayed is what became of it: Last is the newest event that was looked at, and More
// that there are further ones after it.
type Replayed struct {
	Queued int
	Last   ID
	More   bool
}

// Replay queues events for a webhook again, under the webhook-id that they had. One
// call looks at a thousand. Errors: Required on "event", NotFound, Conflict on
// "enabled" for a webhook that is disabled.
func (s *Service) Replay(ctx context.Context, p Principal, tenant, id ID, r Replay) (done Replayed, err error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return done, err
	}
	if r.Event == "" && r.After == "" && r.Since.IsZero() {
		return done, Errorf(Required, "event", "Say what is to be posted again: event, since or after.")
	}
	err = s.changeWebhook(ctx, tenant, id, func(tx Tx, w Webhook) error {
		if !w.Enabled {
			return Errorf(Conflict, "enabled", "The webhook is disabled; enable it first.")
		}
		now := s.now()
		var err error
		if done, err = s.replay(ctx, tx, w, r, now); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventWebhookReplayed, id, now, "events", strconv.Itoa(done.Queued)))
	})
	return done, err
}

func (s *Service) replay(ctx context.Context, tx Tx, w Webhook, r Replay, now time.Time) (done Replayed, err error) {
	if r.Event != "" {
		if _, err := tx.Event(ctx, w.Tenant, r.Event); err != nil {
			return done, err
		}
		return Replayed{Queued: 1, Last: r.Event}, tx.PutWebhookDelivery(ctx, w.Tenant, w.ID, r.Event, now)
	}
	after := r.After
	if at := firstID(r.Since); after < at {
		after = at
	}
	events, err := tx.Events(ctx, w.Tenant, Page{After: after, Limit: replayBatch + 1})
	if err != nil {
		return done, err
	}
	if done.More = len(events) > replayBatch; done.More {
		events = events[:replayBatch]
	}
	for _, e := range events {
		done.Last = e.ID
		if !Wants(w.Types, e.Type) || e.At.Before(r.Since) { // ids may be ahead of the clock
			continue
		}
		if err := tx.PutWebhookDelivery(ctx, w.Tenant, w.ID, e.ID, now); err != nil {
			return done, err
		}
		done.Queued++
	}
	return done, nil
}

// firstID is before every id that NewID made at that time or later.
func firstID(t time.Time) ID {
	if t.IsZero() || t.UnixMilli() < 0 {
		return ""
	}
	h := fmt.Sprintf("%012x", t.UnixMilli())
	return ID(h[:8] + "-" + h[8:12] + "-7000-8000-000000000000")
}
