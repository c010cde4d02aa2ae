package sender

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
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
//	claim a batch under a lease -> workers, each: decide, sign, StartAttempt, SMTP, record
//	     |                                                                        |
//	     +-- renewed every third of Lease, as long as a message of it is here ----+
//
// Mail that leaves by tenants' own servers passes lanes, see there.
//
// One dispatcher a process. What an earlier process of an exclusive store had
// claimed is released at once, what other nodes had claimed when their lease
// ends.
func (s *Service) RunDispatcher(ctx context.Context) error {
	d := dispatcher{
		Service: s, work: make(chan claimed), held: make(map[string]int), lanes: newLanes(s.settings.Send.Workers, s.settings.Send.RelayWorkers),
	}
	for range s.settings.Send.Workers {
		d.workers.Go(func() {
			for m := range d.work {
				d.serve(ctx, m)
			}
		})
	}
	d.release(ctx, s.store.Exclusive())
	d.measureDepth(ctx)
	keep := time.NewTicker(s.settings.Send.Lease / 3)
	defer keep.Stop()
	d.run(ctx, keep.C)
	close(d.work)
	// What is being sent may take longer than a lease; without it, another node
	// would send the same.
	ended := make(chan struct{})
	go func() {
		d.workers.Wait()
		close(ended)
	}()
	for {
		select {
		case <-keep.C:
			d.renewLeases(context.WithoutCancel(ctx))
		case <-ended:
			d.giveBack(ctx, d.lanes.drain())
			return nil
		}
	}
}

// dispatcher is one RunDispatcher.
type dispatcher struct {
	*Service
	work    chan claimed
	lanes   *lanes
	workers sync.WaitGroup
	batches int // claimed so far

	mu   sync.Mutex
	held map[string]int // by lease: how many of its messages this process has not done with
}

// claimed is a message with the lease it is held by. Each batch has a lease of
// its own: one for the whole process would be prolonged for ever for what the
// process has lost sight of, and would let a worker whose message was released
// and claimed again write over what the second one does.
type claimed struct {
	Message
	lease string
}

// run hands what is due to the workers.
func (d *dispatcher) run(ctx context.Context, keep <-chan time.Time) {
	var batch []claimed // not yet taken by a worker
	for {
		wait := d.settings.Send.Tick
		if len(batch) == 0 {
			if wait = d.untilDue(ctx); wait <= 0 {
				var err error
				if batch, err = d.claim(ctx); err != nil && ctx.Err() == nil {
					d.log.Error("the queue of outgoing mail can't be read; trying again", "error", err)
				}
				wait = d.settings.Send.Tick
			}
		}
		var next claimed
		offer, idle := d.work, d.wake
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
		case <-keep: // workers may be busy for minutes: their leases must not run out
			d.renewLeases(ctx)
			d.release(ctx, false)
			d.measureDepth(ctx)
		case <-ctx.Done():
			d.giveBack(ctx, batch)
			return
		}
	}
}

// untilDue returns how long nothing is due, at most a tick: other nodes queue
// mail as well, and tell this one only through the job engine.
func (d *dispatcher) untilDue(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	due, err := d.store.NextDue(ctx)
	if err != nil || due.IsZero() {
		return d.settings.Send.Tick // claiming would fail alike; the next look tells
	}
	return min(due.Sub(d.now()), d.settings.Send.Tick)
}

// claim leases a batch; two for each worker, so that none waits for the store.
func (d *dispatcher) claim(ctx context.Context) ([]claimed, error) {
	d.batches++
	lease := d.owner + "/" + strconv.Itoa(d.batches)
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	now := d.now()
	var ms []Message
	err := d.store.Update(ctx, func(tx Tx) (err error) {
		ms, err = tx.ClaimMessages(ctx, lease, now, now.Add(d.settings.Send.Lease), 2*d.settings.Send.Workers, d.lanes.busy()...)
		return err
	})
	if err != nil || len(ms) == 0 {
		return nil, err // should it have been committed all the same, the lease runs out
	}
	d.mu.Lock()
	d.held[lease] = len(ms)
	d.mu.Unlock()
	batch := make([]claimed, len(ms))
	for i, m := range ms {
		batch[i] = claimed{m, lease}
		d.tenants.Drop(m.Tenant) // another node may have deleted it: what is known from before counts no more
	}
	return batch, nil
}

// drop is told that n messages of a lease are done with, well or not.
func (d *dispatcher) drop(lease string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[lease] -= n; d.held[lease] <= 0 {
		delete(d.held, lease)
	}
}

// giveBack queues claimed messages again that nobody has begun to send.
func (d *dispatcher) giveBack(ctx context.Context, batch []claimed) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
	defer cancel()
	err := d.store.Update(ctx, func(tx Tx) error {
		for _, m := range batch {
			m.State = Queued
			if err := tx.UpdateMessage(ctx, m.lease, m.Message); err != nil && KindOf(err) != Conflict {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.log.Warn("claimed mail could not be given back; it is sent when its lease ends", "messages", len(batch), "error", err)
	}
	for _, m := range batch {
		d.drop(m.lease, 1)
	}
}

func (d *dispatcher) renewLeases(ctx context.Context) {
	d.mu.Lock()
	leases := slices.Sorted(maps.Keys(d.held)) // in one order, so that nobody waits in a circle
	d.mu.Unlock()
	if len(leases) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	err := d.store.Update(ctx, func(tx Tx) error {
		until := d.now().Add(d.settings.Send.Lease)
		for _, lease := range leases {
			if err := tx.RenewLeases(ctx, lease, until); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		d.log.Warn("leases of outgoing mail could not be renewed", "error", err)
	}
}

// release ends leases of processes that are gone; all of them where nobody but
// this process, which holds none yet, can have any.
func (d *dispatcher) release(ctx context.Context, all bool) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	err := d.store.Update(ctx, func(tx Tx) error {
		now := d.now()
		doubtful, err := tx.ReleaseMessages(ctx, now, all)
		if err != nil {
			return err
		}
		for _, m := range doubtful {
			if err := tx.InsertEvent(ctx, NewEvent(Principal{}, m.Tenant, EventMessageInDoubt, m.ID, now, "why", "the sending process ended before the outcome was recorded")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		d.log.Warn("leases of outgoing mail could not be released", "error", err)
	}
}

func (d *dispatcher) measureDepth(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if n, err := d.store.QueueDepth(ctx, d.settings.Send.QueueLimit); err == nil {
		d.depth.Store(int64(n))
	}
}

// serve sends a claimed message; one that leaves by its tenant's own server when its
// lane lets it, and then what else waits in lanes.
func (d *dispatcher) serve(ctx context.Context, c claimed) {
	own, err := d.relayOf(context.WithoutCancel(ctx), c.Message)
	if own == nil || err != nil { // an error shows again when it is prepared
		d.send(ctx, c.Message, c.lease)
		d.drop(c.lease, 1)
		return
	}
	for ok := d.lanes.enter(c); ok; {
		reached := d.send(ctx, c.Message, c.lease)
		d.drop(c.lease, 1)
		d.lanes.leave(c.Tenant, reached)
		if ctx.Err() != nil {
			return // what waits is given back
		}
		var emptied bool
		if c, emptied, ok = d.lanes.next(); emptied {
			d.Wake()
		}
	}
}

// send makes one attempt at one claimed message, and says whether the next hop could
// be reached. It is not interrupted by the end of ctx: an attempt that began is
// finished and recorded. A tenant's own server is given less time for that.
func (d *dispatcher) send(ctx context.Context, m Message, lease string) outcome {
	log := d.log.With("tenant", m.Tenant, "message", m.ID)
	sending := context.WithoutCancel(ctx)
	now := d.now()
	if !now.Before(m.ExpiresAt) {
		d.finish(ctx, m, lease, MessageExpired, "it could not be delivered in its time", nil)
		return unknown
	}
	o, signed, replaced, err := d.prepare(sending, m)
	if e := asRefused(err); e != nil {
		d.finish(ctx, m, lease, MessageRefused, string(e.Reason), nil)
		return unknown
	}
	m.Attempts++
	attempt := Attempt{Message: m.ID, Tenant: m.Tenant, Number: m.Attempts, StartedAt: now, Delivery: Delivery{Outcome: AttemptStarted}}
	if err != nil {
		log.Error("a message can't be signed; it is tried again", "error", err)
		attempt.Delivery = Delivery{Outcome: TempFailed, Stage: "sign", Text: "the message could not be signed; the operator's log says why"}
		if KindOf(err) == Required {
			attempt.Delivery = Delivery{Outcome: TempFailed, Stage: "auth", Text: "the password of the tenant's own server can't be opened any more; set it again"}
		}
		d.conclude(ctx, m, lease, attempt)
		return unknown
	}
	// What is not recorded as begun before the network is touched could be sent
	// twice without anybody knowing.
	err = d.update(ctx, func(ctx context.Context, tx Tx) error {
		if err := tx.StartAttempt(ctx, lease, attempt); err != nil || len(replaced) == 0 {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(Principal{}, m.Tenant, EventMessageReaddressed, m.ID, now, replaced...))
	})
	next := unknown
	switch {
	case KindOf(err) == Conflict: // the lease ran out, and somebody else has it now
		return unknown
	case err != nil:
		log.Error("an attempt could not be recorded, and is not made", "error", err)
		attempt.Delivery = Delivery{Outcome: TempFailed, Stage: "start", Text: "the attempt could not be recorded, and was not made"}
	default:
		if o.Relay != nil {
			var cancel context.CancelFunc
			sending, cancel = lingering(ctx, ownPatience, ownGrace)
			defer cancel()
		}
		attempt.Delivery = d.provider.Deliver(sending, o, signed)
		next = reached
		if slices.Contains([]string{"connect", "tls", "auth"}, attempt.Stage) || attempt.RetryAfter > 0 || d.now().Sub(now) > ownCrawl {
			next = unreached
		}
	}
	d.conclude(ctx, m, lease, attempt)
	return next
}

// longestAsked bounds what a server may ask for before its mail is tried again.
const longestAsked = time.Hour

const (
	ownPatience = 90 * time.Second // for an attempt at a tenant's own server, as a whole
	ownCrawl    = 20 * time.Second // what took longer is not worth many workers
	ownGrace    = 10 * time.Second // for such an attempt in a process that is told to end
)

// lingering bounds an attempt at a server that its tenant chose: one that says a word a
// minute would hold a worker, and the end of the process, for as long as it likes. The
// attempt goes on for the time of grace after the end of ctx.
func lingering(ctx context.Context, patience, grace time.Duration) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-limited.Done():
		}
	})
	return limited, func() {
		stop()
		cancel()
	}
}

// prepare asks the trust rule again, since proofs are lost while mail waits, and
// signs. Mail that was filled into a template goes out all the same: replaced then
// tells in whose stead the built-in no-reply speaks, as an event's data.
func (s *Service) prepare(ctx context.Context, m Message) (o Outgoing, signed []byte, replaced []string, err error) {
	t, err := s.tenant(ctx, m.Tenant)
	if KindOf(err) == NotFound { // a node took the mail that did not know yet
		return o, nil, nil, &Error{Kind: Refused, Reason: TenantDeleted, Detail: "The environment was deleted."}
	}
	if err != nil {
		return o, nil, nil, err
	}
	decision, err := s.decide(ctx, s.store, t, m.From, m.Region)
	if err != nil {
		return o, nil, nil, err
	}
	standIn := !decision.Allow
	if standIn && m.Template == "" {
		return o, nil, nil, Refusal(decision.Reason, m.From)
	}
	if m.Template != "" {
		if replaced, err = s.readdress(ctx, t, &m, &decision); err != nil {
			return o, nil, nil, err
		}
	}
	o = Outgoing{Tenant: m.Tenant, Message: m.ID, To: m.To, Decision: decision, Body: m.Body}
	if !standIn { // which is the built-in no-reply
		if o.Relay, err = s.relayOf(ctx, m); err != nil {
			return o, nil, nil, err
		}
		if o.Relay != nil && o.Relay.PasswordLost != nil {
			return o, nil, nil, passwordLost(*o.Relay)
		}
	}
	signed, err = s.provider.Prepare(ctx, o)
	return o, signed, replaced, err
}

func asRefused(err error) *Error {
	if e, ok := err.(*Error); ok && e.Kind == Refused {
		return e
	}
	return nil
}

// conclude records an attempt and what follows from it.
func (d *dispatcher) conclude(ctx context.Context, m Message, lease string, a Attempt) {
	a.FinishedAt = d.now()
	if a.Outcome == InDoubt {
		m.InDoubt++
	}
	switch {
	case a.Outcome == Delivered:
		d.finish(ctx, m, lease, Sent, "", &a)
		return
	case a.Outcome == PermFailed:
		d.finish(ctx, m, lease, MessageFailed, a.Text, &a)
		return
	case a.Outcome == InDoubt && m.Once:
		d.finish(ctx, m, lease, MessageUnknown, a.Text, &a)
		return
	}
	m.NextAttemptAt = a.FinishedAt.Add(max(d.settings.Send.backOff(m.Attempts), min(a.RetryAfter, longestAsked)))
	if !m.NextAttemptAt.Before(m.ExpiresAt) {
		d.finish(ctx, m, lease, MessageExpired, a.Text, &a)
		return
	}
	m.State, m.Reason = Queued, a.Text
	d.record(ctx, m, lease, &a, "")
	d.Wake() // so that the dispatcher knows when to look next
}

// finish ends a message's way; a is nil where the network was not touched.
func (d *dispatcher) finish(ctx context.Context, m Message, lease string, state MessageState, reason string, a *Attempt) {
	m.State, m.Reason, m.DoneAt, m.Body = state, reason, d.now(), nil
	// Sent has nothing to tell; of unknown the attempt in doubt tells.
	event := map[MessageState]EventType{
		MessageFailed: EventMessageFailed, MessageExpired: EventMessageExpired, MessageRefused: EventMessageRefused,
	}[state]
	d.record(ctx, m, lease, a, event)
	d.left()
}

// update is an Update that the end of ctx does not interrupt, and that does not
// wait for ever either.
func (s *Service) update(ctx context.Context, do func(context.Context, Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	defer cancel()
	return s.store.Update(ctx, func(tx Tx) error { return do(ctx, tx) })
}

const (
	// storeWait bounds one call of the store: while one hangs, no lease is renewed.
	storeWait = 10 * time.Second
	// recordFor is how long an outcome is kept while the store can't take it. The
	// end of it makes an attempt in doubt of one that was known; going on for ever
	// would take a worker away for what may be wrong with this one message.
	recordFor = 5 * time.Minute
	// lastWord is the same for a process that is told to end.
	lastWord = 5 * time.Second
)

// record writes the message as it is now, with the attempt and an event where
// there are any, and tries again while the store is out of order. What can't be
// written in the end is not lost: the lease runs out, and the attempt is then in
// doubt.
func (d *dispatcher) record(ctx context.Context, m Message, lease string, a *Attempt, event EventType) {
	write := func(ctx context.Context, tx Tx) error {
		if a != nil {
			if err := tx.FinishAttempt(ctx, *a); err != nil {
				return err
			}
			if a.Outcome == InDoubt {
				if err := tx.InsertEvent(ctx, attemptEvent(m, EventMessageInDoubt, a, a.FinishedAt)); err != nil {
					return err
				}
			}
		}
		if err := tx.UpdateMessage(ctx, lease, m); err != nil {
			return err
		}
		if m.State == Queued {
			return tx.Enqueue(ctx, Task{Kind: TaskDispatch, Due: m.NextAttemptAt})
		}
		if m.State == MessageFailed && m.About != "" {
			if err := bounced(ctx, tx, m); err != nil {
				return err
			}
		}
		if event == "" {
			return nil
		}
		return tx.InsertEvent(ctx, attemptEvent(m, event, a, m.DoneAt))
	}
	began := time.Now()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := d.update(ctx, write)
		if err == nil || KindOf(err) == Conflict { // Conflict: somebody else has it now
			return
		}
		log := d.log.With("tenant", m.Tenant, "message", m.ID, "error", err)
		most := recordFor
		if ctx.Err() != nil {
			most = lastWord
		}
		if time.Since(began) >= most {
			log.Error("the outcome of an attempt could not be recorded; the message waits for the end of its lease")
			return
		}
		log.Warn("the outcome of an attempt could not be recorded; trying again")
		time.Sleep(wait)
	}
}

// bounced marks an address whose verification mail was refused for good. It may be
// gone, active, or have been sent another code since.
func bounced(ctx context.Context, tx Tx, m Message) error {
	a, err := tx.Address(ctx, m.Tenant, m.About)
	if err == nil {
		if err = tx.LockDomain(ctx, m.Tenant, a.Domain); err == nil {
			a, err = tx.Address(ctx, m.Tenant, m.About)
		}
	}
	if KindOf(err) == NotFound {
		return nil
	}
	if err != nil || a.Status != Pending || !a.Code.ExpiresAt.Equal(m.ExpiresAt) {
		return err
	}
	a.Code.Bounced = true
	return tx.UpdateAddress(ctx, a)
}

// attemptEvent tells what became of a message, and not in the next hop's words,
// which often name the recipient: those are in the message and its attempts.
func attemptEvent(m Message, t EventType, a *Attempt, at time.Time) Event {
	data := []string{"reason", m.Reason}
	if a != nil {
		data = []string{"stage", a.Stage}
		if a.Code != 0 {
			data = append(data, "code", strings.TrimSpace(strconv.Itoa(a.Code)+" "+a.Enhanced))
		}
	}
	return NewEvent(Principal{}, m.Tenant, t, m.ID, at, data...)
}

// left takes one message off the count of those that wait.
func (s *Service) left() {
	if s.depth.Add(-1) < 0 {
		s.depth.Store(0)
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
