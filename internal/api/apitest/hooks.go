package apitest

import (
	"context"
	"slices"
	"sync"

	"github.com/postseal/postseal/internal/sender"
)

// Hooks is a Poster that keeps what it is given, and answers with 204 or as it is told.
type Hooks struct {
	mu     sync.Mutex
	answer sender.Posted
	posted []Hooked
}

// Hooked is one event that was posted.
type Hooked struct {
	Webhook sender.Webhook
	Event   sender.Event
}

// Answer says what comes of the next posts.
func (x *Hooks) Answer(p sender.Posted) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = p
}

// Posted returns what was posted.
func (x *Hooks) Posted() []Hooked {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.posted)
}

// Post implements [sender.Poster].
func (x *Hooks) Post(_ context.Context, w sender.Webhook, e sender.Event) sender.Posted {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.posted = append(x.posted, Hooked{w, e})
	if x.answer == (sender.Posted{}) {
		return sender.Posted{Status: 204}
	}
	return x.answer
}
