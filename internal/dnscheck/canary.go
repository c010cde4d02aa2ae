package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// sickFor is how long a failed look at the canaries is believed: whoever waits for a sick
// network to recover need not ask it for every domain.
const sickFor = 30 * time.Second

// Canary tells a sick resolver or network from domains that are broken: it asks for the SOA
// records of zones that are certainly there, on the ways on which a Checker asks for
// everything else. It is safe for concurrent use; whoever asks at the same time shares a look.
type Canary struct {
	checker *Checker
	zones   []Name

	mu   sync.Mutex
	now  chan struct{} // closed when the look that is under way ends; nil: none is
	last canaryLook
}

type canaryLook struct {
	began time.Time
	err   error
}

// NewCanary makes a Canary of zones that exist. One that is seen is enough, so that a zone
// which is broken itself does no harm beside others.
func NewCanary(c *Checker, zones ...Name) (*Canary, error) {
	if c == nil || len(zones) == 0 || slices.ContainsFunc(zones, Name.IsZero) {
		return nil, errors.New("canary: it takes a checker and the name of a zone")
	}
	return &Canary{checker: c, zones: zones}, nil
}

// Sick returns why nothing that was learnt since then may be taken for an absence: no zone
// could be seen by a look that began later. nil means that the network is well.
func (c *Canary) Sick(ctx context.Context, since time.Time) error {
	for {
		c.mu.Lock()
		now := time.Now()
		if l := c.last; !l.began.IsZero() && (!l.began.Before(since) || l.err != nil && now.Sub(l.began) < sickFor) {
			c.mu.Unlock()
			return l.err
		}
		if under := c.now; under != nil { // it may have begun too early
			c.mu.Unlock()
			select {
			case <-under:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		c.now = make(chan struct{})
		c.mu.Unlock()
		err := c.look(context.WithoutCancel(ctx)) // for all who wait
		c.mu.Lock()
		c.last = canaryLook{began: now, err: err}
		close(c.now)
		c.now = nil
		c.mu.Unlock()
	}
}

// look looks again where it was silence that hid the canaries: with a third of the packets
// lost, all tries are now and then. A canary that is seen is seen.
func (c *Canary) look(ctx context.Context) error {
	why, silent := c.glimpse(ctx)
	if silent {
		why, _ = c.glimpse(ctx)
	}
	if len(why) == 0 {
		return nil
	}
	return errors.New(strings.Join(why, "; "))
}

// glimpse says why none of the zones can be seen; nothing where one can. silent tells that
// some may have been hidden by lost packets alone.
func (c *Canary) glimpse(ctx context.Context) (why []string, silent bool) {
	ctx, cancel := context.WithTimeout(ctx, c.checker.timeout)
	defer cancel()
	why = make([]string, len(c.zones))
	hidden := make([]bool, len(c.zones))
	var wg sync.WaitGroup
	for i, zone := range c.zones {
		wg.Go(func() { why[i], hidden[i] = c.checker.miss(ctx, zone) })
	}
	wg.Wait()
	if slices.Contains(why, "") {
		return nil, false
	}
	return why, slices.Contains(hidden, true)
}

// miss says why a zone can't be seen; empty when it can. silent tells that those who did not
// answer could have shown it. As many resolvers must have it as
// must agree on anything else, so that one that lies neither hides a sickness nor feigns one. Name servers
// that can't be reached say nothing, and those that deny it are not who they should be.
func (c *Checker) miss(ctx context.Context, zone Name) (why string, silent bool) {
	r := c.newRun(zone)
	r.care = Confirm
	q := question{zone.s, dns.TypeSOA}
	got := r.poll(ctx, q, false)
	seen := votesFor(got, SawAnswer)
	if need := r.voices(); seen < need {
		said := make([]string, len(got))
		mute := 0
		for i, a := range got {
			said[i] = a.server + " said " + a.result
			if a.result == SawTimeout {
				mute++
			}
		}
		return fmt.Sprintf("the zone %s is seen by %d of %d resolvers, and it takes %d (%s)", zone, seen, len(got), need, strings.Join(said, ", ")), seen+mute >= need
	}
	if !c.authoritative {
		return "", false
	}
	s := r.survey(ctx, q, asking{all: true, enough: firstWins})
	if !s.reached() || slices.ContainsFunc(s.rows, func(a answer) bool { return a.result == SawAnswer }) {
		return "", false
	}
	return fmt.Sprintf("no name server of the zone %s knows it", zone), false
}
