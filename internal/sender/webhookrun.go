package sender

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Webhooks are the settings of webhooks. Start from [DefaultSettings].
type Webhooks struct {
	PerTenant int  // that a tenant can have; 0: none
	PlainHTTP bool // URLs may be http, for development
	// Workers is how many webhooks are served at a time. A quarter of them serves those
	// in trouble, and no tenant gets more than an eighth.
	Workers    int
	Timeout    time.Duration // of one attempt
	FirstRetry time.Duration // grows threefold each time...
	LastRetry  time.Duration // ...up to this
	Life       time.Duration // an event that was not taken in this time is given up
	DisableIn  time.Duration // a webhook that took nothing in this time is disabled
	Tick       time.Duration // new events are looked for so often
}

// Poster posts an event to a webhook, once, and tells what came of it. It returns
// soon after the context ends.
type Poster interface {
	Post(ctx context.Context, w Webhook, e Event) Posted
}

// Posted is what came of one attempt.
type Posted struct {
	Status     int    // of the answer; 0: there was none
	Error      string // why it does not count as taken, for the tenant; empty: it was taken
	RetryAfter time.Duration
	Took       time.Duration
}

const (
	// postsEach is how many events are on their way to one webhook at a time.
	postsEach = 4
	// postSlow is when an answer is too slow to be worth many workers.
	postSlow = 5 * time.Second
	// webhookLease is how long a webhook is one node's; webhookTurn, after which it
	// begins nothing new, leaves room for an attempt and for recording it.
	webhookLease = time.Minute
	webhookTurn  = 20 * time.Second
	// postGrace is how long attempts go on in a process that is told to end.
	postGrace = 5 * time.Second
	// deliveriesKept is how long what became of an event can be seen.
	deliveriesKept = 14 * 24 * time.Hour
)

// RunWebhooks posts events until ctx is done. An event is queued for the webhooks that
// want it in the transaction that writes it, so that none is forgotten.
//
//	look (every Tick) -> claim webhooks with something due, under a lease
//	                                  |
//	    serve each: four due events -> post -> record ... for 20 s, then the next node or turn
//
// What was posted and could not be recorded is posted again, with the same webhook-id.
func (s *Service) RunWebhooks(ctx context.Context) error {
	if s.poster == nil {
		<-ctx.Done()
		return nil
	}
	r := hookRun{Service: s, owner: s.owner + "/webhooks", running: make(map[ID]int), ended: make(chan struct{}, 1)}
	if s.store.Exclusive() {
		if err := r.update(ctx, func(ctx context.Context, tx Tx) error { return tx.ReleaseWebhooks(ctx) }); err != nil {
			s.log.Warn("leases of webhooks could not be released; they run out", "error", err)
		}
	}
	defer r.servers.Wait()
	for {
		wait := r.look(ctx)
		select {
		case <-time.After(wait):
		case <-r.ended:
		case <-ctx.Done():
			return nil
		}
	}
}

// hookRun is one RunWebhooks.
type hookRun struct {
	*Service
	owner   string // names this process in leases
	servers sync.WaitGroup
	after   [2]WebhookKey // who was claimed last: of the sound, of the troubled
	ended   chan struct{}

	mu      sync.Mutex
	running map[ID]int // webhooks that are served, by tenant
	busy    [2]int     // likewise: sound, troubled
}

// WebhookKey is a place in the order in which webhooks take turns; its zero value is
// before all.
type WebhookKey struct{ Tenant, ID ID }

// class is 1 for webhooks in trouble.
func class(troubled bool) int {
	if troubled {
		return 1
	}
	return 0
}

// forTroubled and forOne are how many workers the troubled get, and one tenant.
func (r *hookRun) forTroubled() int { return max(1, r.settings.Webhooks.Workers/4) }
func (r *hookRun) forOne() int      { return max(1, r.settings.Webhooks.Workers/8) }

// look claims what is due and begins to serve it. It returns how long there will be
// nothing new.
func (r *hookRun) look(ctx context.Context) time.Duration {
	tick := r.settings.Webhooks.Tick
	now := r.now()
	asking, cancel := context.WithTimeout(ctx, storeWait)
	due, err := r.store.NextWebhookDelivery(asking)
	cancel()
	if err != nil || due.IsZero() {
		return tick
	}
	if due.After(now) {
		return min(due.Sub(now), tick)
	}
	for _, troubled := range []bool{false, true} {
		claimed, err := r.claim(ctx, troubled, now)
		if err != nil {
			if ctx.Err() == nil {
				r.log.Error("webhooks can't be claimed; trying again", "error", err)
			}
			continue
		}
		for _, w := range claimed {
			r.servers.Go(func() {
				r.serve(ctx, w, troubled)
				r.leave(w.Tenant, troubled)
			})
		}
	}
	return tick
}

// claim leases webhooks that have something due, in turns, and counts them as served.
func (r *hookRun) claim(ctx context.Context, troubled bool, now time.Time) (claimed []WebhookKey, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	c := class(troubled)
	r.mu.Lock()
	free := r.forTroubled() - r.busy[c]
	if !troubled {
		free = max(1, r.settings.Webhooks.Workers-r.forTroubled()) - r.busy[c]
	}
	running := maps.Clone(r.running)
	r.mu.Unlock()
	var picked []WebhookKey
	wrapped := r.after[c] == (WebhookKey{})
	for page := free; len(picked) < free; {
		due, err := r.store.DueWebhooks(ctx, troubled, now, r.after[c], page)
		if err != nil {
			return nil, err
		}
		for _, w := range due {
			r.after[c] = w
			if running[w.Tenant] >= r.forOne() || slices.Contains(picked, w) {
				continue
			}
			running[w.Tenant]++
			if picked = append(picked, w); len(picked) == free {
				break
			}
		}
		if len(due) < page {
			r.after[c] = WebhookKey{}
			if wrapped {
				break
			}
			wrapped = true
		}
	}
	if len(picked) == 0 {
		return nil, nil
	}
	err = r.store.Update(ctx, func(tx Tx) error {
		claimed = nil
		for _, w := range picked {
			ok, err := tx.LeaseWebhook(ctx, w.Tenant, w.ID, r.owner, now, now.Add(webhookLease))
			if err != nil {
				return err
			}
			if ok {
				claimed = append(claimed, w)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err // should it have been committed all the same, the leases run out
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[c] += len(claimed)
	for _, w := range claimed {
		r.running[w.Tenant]++
	}
	return claimed, nil
}

func (r *hookRun) leave(tenant ID, troubled bool) {
	r.mu.Lock()
	r.busy[class(troubled)]--
	if r.running[tenant]--; r.running[tenant] == 0 {
		delete(r.running, tenant)
	}
	r.mu.Unlock()
	select {
	case r.ended <- struct{}{}:
	default:
	}
}

// serve posts what is due to one webhook, for a turn, and gives the lease back. Where
// the store is out of order it keeps the lease, so that nothing is posted over and over.
func (r *hookRun) serve(ctx context.Context, w WebhookKey, troubled bool) {
	log := r.log.With("tenant", w.Tenant, "webhook", w.ID)
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < webhookTurn; {
		more, err := r.round(ctx, w.Tenant, w.ID, troubled)
		if err != nil {
			log.Error("what became of events that were posted could not be recorded, or what is due be read; the webhook waits for the end of its lease", "error", err)
			return
		}
		if !more {
			break
		}
	}
	err := r.update(ctx, func(ctx context.Context, tx Tx) error { return tx.ReleaseWebhook(ctx, w.Tenant, w.ID, r.owner) })
	if err != nil {
		log.Warn("the lease of a webhook could not be given back; it runs out", "error", err)
	}
}

// round posts some events at a time; more is false where there are no further ones, or
// where the webhook is not what it was when it was claimed.
func (r *hookRun) round(ctx context.Context, tenant, id ID, troubled bool) (more bool, err error) {
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	defer cancel()
	w, err := r.store.Webhook(reading, tenant, id)
	if err != nil || !w.Enabled || w.Troubled != troubled {
		if KindOf(err) == NotFound {
			err = nil
		}
		return false, err
	}
	n := postsEach
	if troubled {
		n = 1
	}
	due, err := r.store.DueWebhookDeliveries(reading, tenant, id, r.now(), n)
	if err != nil || len(due) == 0 {
		return false, err
	}
	errs := make([]error, len(due))
	var posts sync.WaitGroup
	for i, d := range due {
		posts.Go(func() { errs[i] = r.deliver(ctx, w, d) })
	}
	posts.Wait()
	return true, errors.Join(errs...)
}

// deliver makes one attempt and records it.
func (r *hookRun) deliver(ctx context.Context, w Webhook, d WebhookDelivery) error {
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	e, err := r.store.Event(reading, w.Tenant, d.Event)
	cancel()
	if err != nil {
		return err
	}
	posting, end := lingering(ctx, r.settings.Webhooks.Timeout, postGrace)
	got := r.post(posting, w, e)
	end()
	if ctx.Err() != nil && got.Status == 0 {
		return nil // broken off by our own end: it is no failure of theirs
	}
	now := r.now()
	d = r.settings.Webhooks.after(d, got, now)
	failed := got.Error != ""
	mark := Webhook{Troubled: failed || got.Took > postSlow}
	var why DisabledBy
	if failed {
		mark.FailingSince = w.FailingSince
		orDefault(&mark.FailingSince, now)
		switch {
		case got.Status == statusGone:
			why = DisabledGone
		case now.Sub(mark.FailingSince) >= r.settings.Webhooks.DisableIn:
			why = DisabledFailing
		}
	}
	err = r.update(ctx, func(ctx context.Context, tx Tx) error {
		if why != "" {
			if err := r.disable(ctx, tx, w, why, now); err != nil {
				return err
			}
			d.DueAt = time.Time{}
		}
		if err := tx.UpdateWebhookDelivery(ctx, d); err != nil {
			return err
		}
		if mark.Troubled == w.Troubled && mark.FailingSince.Equal(w.FailingSince) {
			return nil
		}
		return tx.MarkWebhook(ctx, w.Tenant, w.ID, mark.Troubled, mark.FailingSince)
	})
	if k := KindOf(err); k == Conflict || k == NotFound { // somebody else recorded it, or deleted the webhook
		return nil
	}
	return err
}

// statusGone is the answer that ends a webhook (RFC 9110, section 15.5.11; Standard
// Webhooks, "410 Gone").
const statusGone = 410

// disable is that of a webhook which refuses for good, or never takes anything. What
// waits for it goes on waiting.
func (r *hookRun) disable(ctx context.Context, tx Tx, w Webhook, why DisabledBy, now time.Time) error {
	if err := tx.LockTenant(ctx, w.Tenant); err != nil {
		return err
	}
	is, err := tx.Webhook(ctx, w.Tenant, w.ID)
	if err != nil || !is.Enabled {
		return err
	}
	is.disable(why, now)
	if err := tx.UpdateWebhook(ctx, is); err != nil {
		return err
	}
	if err := tx.PutOffWebhookDeliveries(ctx, w.Tenant, w.ID, time.Time{}); err != nil {
		return err
	}
	return tx.InsertEvent(ctx, NewEvent(Principal{}, w.Tenant, EventWebhookDisabled, w.ID, now, "why", string(why), "host", is.host()))
}

// post makes one attempt within its time.
func (s *Service) post(ctx context.Context, w Webhook, e Event) Posted {
	if w.SecretsLost != nil {
		s.log.Error("a webhook's secrets can't be opened", "tenant", w.Tenant, "webhook", w.ID, "error", w.SecretsLost)
		return Posted{Error: "the secrets of this webhook can't be opened any more: rotate it, and set its headers again"}
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.Webhooks.Timeout)
	defer cancel()
	began := time.Now()
	got := s.poster.Post(ctx, w, e)
	got.Took = time.Since(began)
	return got
}

// after says where a delivery stands after one more attempt.
func (h Webhooks) after(d WebhookDelivery, got Posted, now time.Time) WebhookDelivery {
	d.Attempts++
	orDefault(&d.ExpiresAt, now.Add(h.Life))
	d.Status, d.Error, d.TriedAt, d.DueAt = got.Status, got.Error, now, time.Time{}
	if got.Error == "" {
		d.State, d.DoneAt = HookDelivered, now
		return d
	}
	next := now.Add(max(h.backOff(d.Attempts), min(got.RetryAfter, h.LastRetry)))
	if next.After(d.ExpiresAt) && got.Status != statusGone {
		d.State, d.DoneAt = HookFailed, now
		return d
	}
	d.DueAt = next
	return d
}

// backOff grows threefold with every attempt, with a quarter of jitter so that what
// failed together does not come back together.
func (h Webhooks) backOff(attempts int) time.Duration {
	d := h.FirstRetry
	for range attempts - 1 {
		if d *= 3; d >= h.LastRetry {
			break
		}
	}
	d = min(d, h.LastRetry)
	return d - d/8 + rand.N(d/4+1)
}

// ForgetDeliveries removes what is not to be seen of deliveries to webhooks any more.
func (s *Service) ForgetDeliveries(ctx context.Context) error {
	const batch = 1000
	for {
		var n int
		err := s.store.Update(ctx, func(tx Tx) error {
			var err error
			n, err = tx.ForgetWebhookDeliveries(ctx, s.now().Add(-deliveriesKept), batch)
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
}
