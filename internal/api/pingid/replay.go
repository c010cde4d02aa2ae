package pingid

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

const (
	// mostAhead is how far in the future a request may expire where replays are
	// refused: what is to be remembered until then has to have an end. The vendor's
	// sample takes five minutes.
	mostAhead = 10 * time.Minute
	// generation is how long the memory collects before it forgets what came before
	// the last one.
	generation = mostAhead + 2*skew
	// mostRemembered is per token and generation, some 360 requests a second.
	mostRemembered = 1 << 18
)

// memory knows the requests of the last minutes by token and request id, in this
// process. Each is kept for a generation at least and two at most.
type memory struct {
	mu       sync.Mutex
	began    time.Time
	now, old map[[sha256.Size]byte]struct{}
	count    map[string]int // in now, by token
}

// admit refuses a proof that was seen before, or that could not be known again:
// without an id, without an end, or with one too far away.
func (m *memory) admit(p proof, at time.Time) error {
	switch {
	case p.requestID == "":
		return refused("replays are refused and the JWS has no X-Request-ID")
	case p.expires.IsZero():
		return refused("replays are refused and the JWS has no expires")
	case p.expires.After(at.Add(mostAhead + skew)):
		return refused("replays are refused and the JWS expires later than " + mostAhead.String() + " from now")
	}
	seen := sha256.Sum256([]byte(p.token + "\x00" + p.requestID))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil || at.Sub(m.began) >= generation {
		m.old = m.now
		if at.Sub(m.began) >= 2*generation {
			m.old = nil
		}
		m.now, m.count, m.began = make(map[[sha256.Size]byte]struct{}), make(map[string]int), at
	}
	if _, ok := m.now[seen]; ok {
		return refused("the request was seen before")
	}
	if _, ok := m.old[seen]; ok {
		return refused("the request was seen before")
	}
	if m.count[p.token] >= mostRemembered {
		return sender.Errorf(sender.Busy, "", "There are too many requests with this token to tell new ones from repeated ones; try again in some minutes.")
	}
	m.now[seen] = struct{}{}
	m.count[p.token]++
	return nil
}

// refused is the one answer to every request that is not admitted. Why it is not
// is for the log only.
func refused(why string) error {
	return &sender.Error{Kind: sender.Unauthenticated, Err: errors.New(why)}
}
