package sender

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Wake tells this process's dispatcher that something may be due. It never
// blocks and may be called at any time.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// RunDispatcher sends what is due until ctx is done; then it finishes what it
// is sending, gives back what it has claimed, and returns. It never stops for
// an error of the store: it waits and goes on.
//
// One dispatcher a process. What an earlier process of an exclusive store had
// claimed is released at once, what other nodes had claimed when their lease
// ends.
func (s *Service) RunDispatcher(ctx context.Context) error {
	work := make(chan Message)
	var workers sync.WaitGroup
	for range s.settings.Send.Workers {
		workers.Go(func() {
			for m := range work {
				s.send(ctx, m)
			}
		})
	}
	defer workers.Wait()
	defer close(work)

	s.release(ctx, s.store.Exclusive())
	s.measureDepth(ctx)
	keep := time.NewTicker(s.settings.Send.Lease / 3)
	defer keep.Stop()
	var batch []Message // claimed, not yet taken by a worker
	for {
		wait := s.settings.Send.Tick
		if len(batch) == 0 {
			if wait = s.untilDue(ctx); wait <= 0 {
				var err error
				if batch, err = s.claim(ctx); err != nil && ctx.Err() == nil {
					s.log.Error("the queue of outgoing mail can't be read; trying again", "error", err)
				}
				wait = s.settings.Send.Tick
			}
		}
		var next Message
		offer, idle := work, s.wake
		if len(batch) > 0 {
			next, idle = batch[0], nil
		} else {
			offer = nil
		}
		select {
		case offer <- next:
			batch = batch[1:]
		case <-idle:
		case <-time.After(wait):
		case <-keep.C: // workers may be busy for minutes: their leases must not run out
			s.renewLeases(ctx)
			s.release(ctx, false)
			s.measureDepth(ctx)
		case <-ctx.Done():
			s.giveBack(ctx, batch)
			return nil
		}
	}
}

// untilDue returns how long nothing is due, at most a tick: other nodes queue
// mail as well, and tell this one only through the job engine.
func (s *Service) untilDue(ctx context.Context) time.Duration {
	due, err := s.store.NextDue(ctx)
	if err != nil || due.IsZero() {
		return s.settings.Send.Tick // claiming would fail alike; the next look tells
	}
	return min(due.Sub(s.now()), s.settings.Send.Tick)
}

// claim leases a batch; two for each worker, so that none waits for the store.
func (s *Service) claim(ctx context.Context) (batch []Message, err error) {
	now := s.now()
	err = s.store.Update(ctx, func(tx Tx) error {
		batch, err = tx.ClaimMessages(ctx, s.owner, now, now.Add(s.settings.Send.Lease), 2*s.settings.Send.Workers)
		return err
	})
	return batch, err
}

// giveBack queues claimed messages again that nobody has begun to send.
func (s *Service) giveBack(ctx context.Context, batch []Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := s.store.Update(ctx, func(tx Tx) error {
		for _, m := range batch {
			m.State = Queued
			if err := tx.UpdateMessage(ctx, s.owner, m); err != nil && KindOf(err) != Conflict {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.log.Warn("claimed mail could not be given back; it is sent when its lease ends", "messages", len(batch), "error", err)
	}
}

func (s *Service) renewLeases(ctx context.Context) {
	err := s.store.Update(ctx, func(tx Tx) error {
		return tx.RenewLeases(ctx, s.owner, s.now().Add(s.settings.Send.Lease))
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("leases of outgoing mail could not be renewed", "error", err)
	}
}

// release ends leases of processes that are gone.
func (s *Service) release(ctx context.Context, all bool) {
	err := s.store.Update(ctx, func(tx Tx) error {
		doubtful, err := tx.ReleaseMessages(ctx, s.owner, s.now(), all)
		if err != nil {
			return err
		}
		for _, m := range doubtful {
			if err := tx.InsertEvent(ctx, newEvent(Principal{}, m.Tenant, EventMessageInDoubt, m.ID, s.now(), "why", "the sending process ended before the outcome was recorded")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("leases of outgoing mail could not be released", "error", err)
	}
}

func (s *Service) measureDepth(ctx context.Context) {
	if n, err := s.store.QueueDepth(ctx, s.settings.Send.QueueLimit); err == nil {
		s.depth.Store(int64(n))
	}
}

// send makes one attempt at one claimed message. It is not interrupted by the
// end of ctx: an attempt that began is finished and recorded.
func (s *Service) send(ctx context.Context, m Message) {
	ctx = context.WithoutCancel(ctx)
	log := s.log.With("tenant", m.Tenant, "message", m.ID)
	now := s.now()
	if !now.Before(m.ExpiresAt) {
		s.finish(ctx, m, MessageExpired, "it could not be delivered in its time", nil)
		return
	}
	o, signed, err := s.prepare(ctx, m)
	if e := asRefused(err); e != nil {
		s.finish(ctx, m, MessageRefused, string(e.Reason), nil)
		return
	}
	m.Attempts++
	attempt := Attempt{Message: m.ID, Tenant: m.Tenant, Number: m.Attempts, StartedAt: now, Delivery: Delivery{Outcome: AttemptStarted}}
	if err != nil {
		log.Error("a message can't be signed; it is tried again", "error", err)
		attempt.Delivery = Delivery{Outcome: TempFailed, Stage: "sign", Text: "the message could not be signed"}
		s.conclude(ctx, m, attempt)
		return
	}
	// What is not recorded as begun before the network is touched could be sent
	// twice without anybody knowing.
	err = s.store.Update(ctx, func(tx Tx) error { return tx.StartAttempt(ctx, s.owner, attempt) })
	if err != nil {
		if KindOf(err) != Conflict { // Conflict: another node has it now
			log.Error("an attempt could not be recorded, and is not made", "error", err)
		}
		return
	}
	attempt.Delivery = s.provider.Deliver(ctx, o, signed)
	s.conclude(ctx, m, attempt)
}

// prepare asks the trust rule again, since proofs are lost while mail waits, and signs.
func (s *Service) prepare(ctx context.Context, m Message) (Outgoing, []byte, error) {
	t, err := s.tenant(ctx, m.Tenant)
	if err != nil {
		return Outgoing{}, nil, err
	}
	decision, err := s.decide(ctx, s.store, t, m.From, m.Region)
	if err != nil {
		return Outgoing{}, nil, err
	}
	if !decision.Allow {
		return Outgoing{}, nil, Refusal(decision.Reason, m.From)
	}
	o := Outgoing{Tenant: m.Tenant, Message: m.ID, To: m.To, Decision: decision, Body: m.Body}
	signed, err := s.provider.Prepare(ctx, o)
	return o, signed, err
}

func asRefused(err error) *Error {
	if e, ok := err.(*Error); ok && e.Kind == Refused {
		return e
	}
	return nil
}

// conclude records an attempt and what follows from it.
func (s *Service) conclude(ctx context.Context, m Message, a Attempt) {
	a.FinishedAt = s.now()
	if a.Outcome == InDoubt {
		m.InDoubt++
	}
	switch {
	case a.Outcome == Delivered:
		s.finish(ctx, m, Sent, "", &a)
		return
	case a.Outcome == PermFailed:
		s.finish(ctx, m, MessageFailed, a.Text, &a)
		return
	case a.Outcome == InDoubt && m.Once:
		s.finish(ctx, m, MessageUnknown, a.Text, &a)
		return
	}
	m.NextAttemptAt = a.FinishedAt.Add(s.settings.Send.backOff(m.Attempts))
	if !m.NextAttemptAt.Before(m.ExpiresAt) {
		s.finish(ctx, m, MessageExpired, a.Text, &a)
		return
	}
	m.State, m.Reason = Queued, a.Text
	s.record(ctx, m, &a, func(tx Tx) error {
		return tx.Enqueue(ctx, Task{Kind: TaskDispatch, Due: m.NextAttemptAt})
	})
	s.Wake() // so that the dispatcher knows when to look next
}

// finish ends a message's way; a is nil where the network was not touched.
func (s *Service) finish(ctx context.Context, m Message, state MessageState, reason string, a *Attempt) {
	m.State, m.Reason, m.DoneAt, m.Body = state, reason, s.now(), nil
	event := map[MessageState]EventType{
		MessageFailed: EventMessageFailed, MessageExpired: EventMessageExpired, MessageRefused: EventMessageRefused,
	}[state]
	s.record(ctx, m, a, func(tx Tx) error {
		if event == "" { // sent: nothing to tell; unknown: the attempt in doubt told it
			return nil
		}
		return tx.InsertEvent(ctx, newEvent(Principal{}, m.Tenant, event, m.ID, m.DoneAt, "reason", reason))
	})
	if s.depth.Add(-1) < 0 {
		s.depth.Store(0)
	}
}

// record writes the message as it is now. What can't be written is not lost:
// the lease runs out, and the attempt is then in doubt.
func (s *Service) record(ctx context.Context, m Message, a *Attempt, more func(Tx) error) {
	err := s.store.Update(ctx, func(tx Tx) error {
		if a != nil {
			if err := tx.FinishAttempt(ctx, *a); err != nil {
				return err
			}
			if a.Outcome == InDoubt {
				if err := tx.InsertEvent(ctx, newEvent(Principal{}, m.Tenant, EventMessageInDoubt, m.ID, a.FinishedAt, "stage", a.Stage, "why", a.Text)); err != nil {
					return err
				}
			}
		}
		if err := tx.UpdateMessage(ctx, s.owner, m); err != nil {
			return err
		}
		return more(tx)
	})
	if err != nil && KindOf(err) != Conflict {
		s.log.Error("the outcome of an attempt could not be recorded", "tenant", m.Tenant, "message", m.ID, "error", err)
	}
}

// backOff doubles the wait with every attempt, with a quarter of jitter so that
// what failed together does not come back together.
func (s Send) backOff(attempts int) time.Duration {
	d := s.LastRetry
	if n := attempts - 1; n < 20 && s.FirstRetry<<n < s.LastRetry {
		d = s.FirstRetry << n
	}
	return d - d/8 + time.Duration(rand.Int64N(int64(d)/4+1))
}
