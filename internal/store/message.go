package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

func (t *tx) InsertMessage(ctx context.Context, m sender.Message) error {
	n, err := t.q.InsertMessage(ctx, db.InsertMessageParams{
		TenantID: string(m.Tenant), ID: string(m.ID), Kind: string(m.Kind), Author: m.From, Recipient: m.To, Region: m.Region,
		State: string(m.State), Reason: m.Reason, Once: m.Once, Attempts: int64(m.Attempts), InDoubt: int64(m.InDoubt),
		NextAttemptAt: micros(m.NextAttemptAt), ExpiresAt: micros(m.ExpiresAt), CreatedAt: micros(m.CreatedAt), DoneAt: micros(m.DoneAt),
		IdempotencyKey: m.IdempotencyKey, RequestHash: m.RequestHash, Actor: string(m.Actor),
		ReplyTo: m.ReplyTo, TemplateID: string(m.Template), Locale: string(m.Locale), About: string(m.About), Builtin: m.Builtin,
	})
	if err := inserted(n, err, "idempotencyKey", "The Idempotency-Key %s was used for another message.", quote(m.IdempotencyKey)); err != nil {
		return err
	}
	if len(m.Body) == 0 || done(m.State) {
		return nil
	}
	_, err = t.q.InsertBody(ctx, string(m.Tenant), string(m.ID), t.keys.seal(m.Body, bodyPlace(string(m.Tenant), string(m.ID))))
	return broken("insert the body", err)
}

// done reports whether a message in this state needs its body no more.
func done(s sender.MessageState) bool { return s != sender.Queued && s != sender.Sending }

// lease is what claiming writes.
type lease struct {
	owner      string
	now, until int64
}

// claimed is a message with its sealed body.
type claimed struct {
	db.Message
	Body []byte
}

const (
	maxTenants  = 64   // served in one claim
	walkPage    = 256  // tenants looked at in one statement, at most
	maxWalk     = 4096 // tenants looked at in one claim once something was found
	firstTenant = ""   // sorts before every id
)

// ClaimMessages gives every tenant with due mail an equal share, up to the limit,
// beginning after the tenant that was served last; what some don't use, others
// get. The messages come interleaved, so that a worker pool is fair as well.
//
// Of the tenants in except only mail of the built-in no-reply is claimed: their other
// mail is with a process already, and waits there.
//
// A message whose body does not open is put off and logged: one damaged row, or a
// sealing key that was forgotten in the configuration, must not stop the rest.
func (t *tx) ClaimMessages(ctx context.Context, owner string, now, until time.Time, limit int, except ...sender.ID) ([]sender.Message, error) {
	l := lease{owner, micros(now), micros(until)}
	tenants, err := t.dueTenants(ctx, l.now, min(limit, maxTenants), except)
	if err != nil {
		return nil, fmt.Errorf("store: find due messages: %w", err)
	}
	queues := map[string][]claimed{}
	for left, hungry := limit, tenants; left > 0 && len(hungry) > 0; {
		hungry = hungry[:min(len(hungry), left)]
		share := left / len(hungry)
		var rows []claimed
		for _, builtin := range []bool{false, true} {
			some := slices.DeleteFunc(slices.Clone(hungry), func(id string) bool { return slices.Contains(except, sender.ID(id)) != builtin })
			if len(some) == 0 {
				continue
			}
			more, err := t.dialect.claimMessages(ctx, some, builtin, share, l)
			if err != nil {
				return nil, fmt.Errorf("store: claim messages: %w", err)
			}
			rows = append(rows, more...)
		}
		got := map[string]int{}
		for _, row := range rows {
			got[row.TenantID]++
			queues[row.TenantID] = append(queues[row.TenantID], row)
		}
		left -= len(rows)
		hungry = slices.DeleteFunc(slices.Clone(hungry), func(id string) bool { return got[id] < share })
	}
	return t.interleave(ctx, tenants, queues, l)
}

// interleave opens the bodies and takes a message from each tenant in turn.
func (t *tx) interleave(ctx context.Context, tenants []string, queues map[string][]claimed, l lease) ([]sender.Message, error) {
	for _, q := range queues {
		slices.SortFunc(q, func(a, b claimed) int {
			return cmp.Or(cmp.Compare(a.NextAttemptAt, b.NextAttemptAt), cmp.Compare(a.ID, b.ID))
		})
	}
	var messages []sender.Message
	for i, more := 0, true; more; i++ {
		more = false
		for _, tenant := range tenants {
			q := queues[tenant]
			if i >= len(q) {
				continue
			}
			more = true
			m, _ := messageOf(q[i].Message)
			if len(q[i].Body) > 0 {
				body, err := t.keys.open(q[i].Body, bodyPlace(tenant, q[i].ID))
				if err != nil {
					t.store.log.Error("the body of a message can't be opened; it is put off", "tenant", tenant, "message", m.ID, "error", err)
					m.State, m.NextAttemptAt = sender.Queued, moment(l.until)
					if err := t.UpdateMessage(ctx, l.owner, m); err != nil {
						return nil, err
					}
					continue
				}
				m.Body = body
			}
			messages = append(messages, m)
		}
	}
	return messages, nil
}

// dueTenants walks round the tenants with queued mail, one index seek each, and
// returns the next ones that have due mail.
func (t *tx) dueTenants(ctx context.Context, now int64, most int, except []sender.ID) ([]string, error) {
	if due, err := t.q.NextDue(ctx); err != nil || due == 0 || due > now || most <= 0 {
		return nil, err
	}
	t.store.mu.Lock()
	start := t.store.cursor
	t.store.mu.Unlock()
	var found []string
	after, wrapped := start, start == firstTenant
	page := most // mostly those who have mail have due mail
walk:
	for looked := 0; looked < maxWalk || len(found) == 0; {
		rows, err := t.q.QueuedTenants(ctx, now, after, int64(page))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if wrapped && start != firstTenant && row.TenantID > start {
				break walk // once round
			}
			after = row.TenantID
			due := row.Due
			if due && slices.Contains(except, sender.ID(row.TenantID)) {
				if due, err = t.q.BuiltinDue(ctx, row.TenantID, now); err != nil {
					return nil, err
				}
			}
			if due {
				found = append(found, row.TenantID)
			}
			if len(found) == most {
				break walk
			}
		}
		looked += len(rows)
		if len(rows) < page {
			if wrapped {
				break
			}
			after, wrapped = firstTenant, true
		}
		page = min(2*page, walkPage)
	}
	t.store.mu.Lock()
	t.store.cursor = after
	t.store.mu.Unlock()
	return found, nil
}

func (t *tx) RenewLeases(ctx context.Context, owner string, until time.Time) error {
	return broken("renew leases", t.q.RenewLeases(ctx, micros(until), owner))
}

func lostLease(message sender.ID) error {
	return sender.Errorf(sender.Conflict, "", "The lease of the message %s is lost.", quote(string(message)))
}

func (t *tx) StartAttempt(ctx context.Context, owner string, a sender.Attempt) error {
	n, err := t.q.HoldMessage(ctx, string(a.Tenant), string(a.Message), owner)
	if err == nil && n > 0 {
		n, err = t.q.StartAttempt(ctx, db.StartAttemptParams{
			TenantID: string(a.Tenant), MessageID: string(a.Message), Number: int64(a.Number), StartedAt: micros(a.StartedAt),
		})
	}
	if err == nil && n == 0 {
		return lostLease(a.Message)
	}
	return broken("start the attempt", err)
}

func (t *tx) FinishAttempt(ctx context.Context, a sender.Attempt) error {
	n, err := t.q.FinishAttempt(ctx, db.FinishAttemptParams{
		TenantID: string(a.Tenant), MessageID: string(a.Message), Number: int64(a.Number), StartedAt: micros(a.StartedAt),
		FinishedAt: micros(a.FinishedAt), Outcome: string(a.Outcome), Code: int64(a.Code), Enhanced: a.Enhanced, Reply: a.Text,
		Stage: a.Stage, Transcript: a.Transcript,
	})
	return touched(n, err, "message")
}

func (t *tx) UpdateMessage(ctx context.Context, owner string, m sender.Message) error {
	n, err := t.q.UpdateMessage(ctx, db.UpdateMessageParams{
		TenantID: string(m.Tenant), ID: string(m.ID), Owner: owner, State: string(m.State), Reason: m.Reason,
		Attempts: int64(m.Attempts), InDoubt: int64(m.InDoubt), NextAttemptAt: micros(m.NextAttemptAt),
		ExpiresAt: micros(m.ExpiresAt), DoneAt: micros(m.DoneAt),
	})
	if err == nil && n == 0 {
		return lostLease(m.ID)
	}
	if err == nil && done(m.State) {
		_, err = t.q.DeleteBody(ctx, string(m.Tenant), string(m.ID))
	}
	return broken("update the message", err)
}

// ReleaseMessages counts the attempts that were started as made: the next one gets
// the next number.
func (t *tx) ReleaseMessages(ctx context.Context, now time.Time, all bool) ([]sender.Message, error) {
	seizer := string(sender.NewID())
	rows, err := t.q.SeizeLeases(ctx, seizer, micros(now), all)
	if err != nil {
		return nil, fmt.Errorf("store: release leases: %w", err)
	}
	var doubtful []sender.Message
	for _, row := range rows {
		started, err := t.q.DoubtAttempts(ctx, micros(now), row.TenantID, row.ID)
		if err != nil {
			return nil, fmt.Errorf("store: mark attempts: %w", err)
		}
		m, _ := messageOf(row)
		m.State = sender.Queued
		if len(started) > 0 {
			m.InDoubt += len(started)
			m.Attempts = max(m.Attempts, int(slices.Max(started)))
			if m.Once {
				m.State, m.DoneAt = sender.MessageUnknown, now
			}
			doubtful = append(doubtful, m)
		}
		if err := t.UpdateMessage(ctx, seizer, m); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(doubtful, func(a, b sender.Message) int { return cmp.Compare(a.ID, b.ID) })
	return doubtful, nil
}
