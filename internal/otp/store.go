package otp

import (
	"context"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// Reader looks things up. Every look-up names the tenant; what is not there is a
// [sender.Error] of kind NotFound.
type Reader interface {
	Application(ctx context.Context, tenant, id sender.ID) (Application, error)
	// ApplicationByName compares names in lower case.
	ApplicationByName(ctx context.Context, tenant sender.ID, name string) (Application, error)
	// Applications lists all of a tenant, in the order of creation.
	Applications(ctx context.Context, tenant sender.ID) ([]Application, error)

	User(ctx context.Context, tenant sender.ID, username string) (User, error)
	// Devices lists all of a user, of every application, in the order of pairing.
	Devices(ctx context.Context, tenant, user sender.ID) ([]Device, error)

	Pairing(ctx context.Context, tenant, id sender.ID) (Pairing, error)
	Authentication(ctx context.Context, tenant, id sender.ID) (Authentication, error)
}

// Tx is a transaction over both cores.
type Tx interface {
	sender.Tx
	Reader

	// LockUser makes later transactions about the same user wait for this one.
	LockUser(ctx context.Context, tenant, user sender.ID) error

	// InsertApplication answers Conflict where the tenant has the id or the name (in
	// any case) already.
	InsertApplication(ctx context.Context, a Application) error
	// UpdateApplication writes everything but the time of creation. That its name is
	// free is to be looked at before.
	UpdateApplication(ctx context.Context, a Application) error

	// InsertUser answers Conflict where the tenant has the username already.
	InsertUser(ctx context.Context, u User) error
	// UpdateUser writes everything but id, username and time of creation.
	UpdateUser(ctx context.Context, u User) error
	// DeleteUser takes the user's devices, pairings and authentications with it.
	DeleteUser(ctx context.Context, tenant, id sender.ID) error

	InsertDevice(ctx context.Context, d Device) error
	// UpdateDevice writes nickname and role.
	UpdateDevice(ctx context.Context, d Device) error
	DeleteDevice(ctx context.Context, tenant, id sender.ID) error
	// DevicesOf lists those of one application, at most so many, in the order of ids.
	DevicesOf(ctx context.Context, tenant, application sender.ID, page sender.Page) ([]Device, error)

	InsertPairing(ctx context.Context, p Pairing) error
	// UpdatePairing writes nickname, state, challenge, device and the time of the
	// change.
	UpdatePairing(ctx context.Context, p Pairing) error
	InsertAuthentication(ctx context.Context, a Authentication) error
	// UpdateAuthentication writes status, challenge and the time of the change.
	UpdateAuthentication(ctx context.Context, a Authentication) error
	// Forget deletes pairings and authentications of all tenants whose ExpiresAt is
	// before, at most so many of each, and returns how many of both.
	Forget(ctx context.Context, before time.Time, limit int) (int, error)
}

// Store is where everything durable of this core lives: the same database as that
// of [sender.Store], and the same transactions.
type Store interface {
	Reader
	// Update is [sender.Store.Update] with more to do.
	Update(ctx context.Context, do func(Tx) error) error
	// Secret is [sender.Store.Secret].
	Secret(ctx context.Context, name string, n int) ([]byte, error)
}
