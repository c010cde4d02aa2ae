package sender

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Service holds every use case of the core; a use case is one method. It is
// safe for concurrent use. No goroutine outlives the call that started it, but for
// a check that its readers no longer wait for, which ends within seconds.
type Service struct {
	store    Store
	checker  Checker
	share    func(tenant string, watch bool) Checker // nil: checker serves all
	canary   Canary                                  // may be nil
	provider Provider
	poster   Poster // may be nil
	settings Settings
	log      *slog.Logger

	sick        sickness
	holding     Recent[ID, int]      // how many domains hold something, by tenant; empty: of all
	recalled    Recent[string, bool] // one: checks that are too far away were brought forward
	serviceName dnscheck.Name
	codeKey     []byte                     // keys the hashes of verification codes and recipients
	owner       string                     // names this process in leases
	looksMu     sync.Mutex                 // of looks, and of looked as far as it must agree with them
	looks       map[lookKey]*look          // under way, for clients
	tenants     Recent[ID, Tenant]         // read on every request, changed by operators
	looked      Recent[lookKey, time.Time] // when looks finished that have only just done so
	ownRelays   Recent[ID, *Relay]         // nil: the tenant has none
	wake        chan struct{}
	visited     Recent[ID, time.Time] // domains that a list looked at; see CheckSome
	compiled    Recent[edition, *compiled]
	allowed     Recent[author, Decision] // for messages to be accepted; see decideSoon
	changes     atomic.Int64             // of anything on this node that the trust rule looks at
	depth       atomic.Int64             // messages waiting, as far as this process knows
}

// Config is what a Service is made of; every port but CheckerFor, Canary and Poster must be
// set.
type Config struct {
	Store   Store
	Checker Checker
	// CheckerFor is a Checker on behalf of a tenant, of whose looks those on behalf of others
	// are to feel nothing; with watch, those that the tenant asks for neither. nil: Checker
	// serves all.
	CheckerFor func(tenant string, watch bool) Checker
	Canary     Canary // nil: every absence is believed
	Provider   Provider
	Poster     Poster // nil: there are no webhooks
	Settings   Settings
	Log        *slog.Logger
}

// New makes a Service. It reads the instance's secrets from the store.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Store == nil || c.Checker == nil || c.Provider == nil || c.Log == nil {
		return nil, errors.New("sender: Config needs Store, Checker, Provider and Log")
	}
	key, err := c.Store.Secret(ctx, "verification-code", 32)
	if err != nil {
		return nil, err
	}
	s := &Service{
		store: c.Store, checker: c.Checker, share: c.CheckerFor, canary: c.Canary, provider: c.Provider, poster: c.Poster, settings: c.Settings, log: c.Log,
		codeKey: key, owner: string(NewID()), wake: make(chan struct{}, 1),
		allowed: Recent[author, Decision]{Age: time.Second}, compiled: Recent[edition, *compiled]{Age: time.Hour, Most: 200},
		looks:     make(map[lookKey]*look),
		visited:   Recent[ID, time.Time]{Age: time.Hour},
		holding:   Recent[ID, int]{Age: c.Settings.Verify.VerifiedEvery / 500},
		recalled:  Recent[string, bool]{Age: c.Settings.Verify.LapsingEvery},
		ownRelays: Recent[ID, *Relay]{Age: time.Second}, tenants: Recent[ID, Tenant]{Age: time.Second}, looked: Recent[lookKey, time.Time]{Age: c.Settings.Verify.Freshness},
	}
	if c.Settings.ReservedDomain != "" {
		if s.serviceName, err = dnscheck.ParseName(c.Settings.ReservedDomain); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// now is the time of one use case: UTC, to the microsecond that stores keep.
func (s *Service) now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// tenant reads a tenant, at most a second old.
func (s *Service) tenant(ctx context.Context, id ID) (Tenant, error) {
	if t, ok := s.tenants.Get(id); ok {
		return t, nil
	}
	read := time.Now()
	t, err := s.store.Tenant(ctx, id)
	if err == nil {
		s.tenants.Put(id, t, read)
	}
	return t, err
}

// Events lists a tenant's audit log in the order of writing. Denied to a
// credential that is bound to one domain.
func (s *Service) Events(ctx context.Context, p Principal, tenant ID, page Page) ([]Event, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return nil, err
	}
	return s.store.Events(ctx, tenant, page)
}
