package otp

import (
	"context"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// User is a person of a tenant, known to all its applications.
type User struct {
	ID        sender.ID
	Tenant    sender.ID
	Username  string // unique in the tenant; compared exactly
	FirstName string
	LastName  string
	LastLogin time.Time // the last approved authentication; zero: none
	Guard     Guard
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Guard counts what must not happen too often to one user.
type Guard struct {
	Hour  time.Time `json:"hour,omitzero"` // that Sent counts
	Sent  int       `json:"sent,omitzero"`
	Asked int       `json:"asked,omitzero"` // authentications of the hour that wait for a device to be selected
	Day   time.Time `json:"day,omitzero"`   // that Wrong counts, in UTC
	Wrong int       `json:"wrong,omitzero"`
}

// at starts new counts where the hour or the day is another.
func (g Guard) at(now time.Time) Guard {
	if hour := now.Truncate(time.Hour); !g.Hour.Equal(hour) {
		g.Hour, g.Sent, g.Asked = hour, 0, 0
	}
	if day := now.Truncate(24 * time.Hour); !g.Day.Equal(day) {
		g.Day, g.Wrong = day, 0
	}
	return g
}

// Role is that of a device among those of a user and application.
type Role string

// The roles: the first device is the primary one.
const (
	Primary Role = "Primary"
	Trusted Role = "Trusted"
)

// Device is a mailbox that a user has paired with an application.
type Device struct {
	ID          sender.ID
	Tenant      sender.ID
	User        sender.ID
	Application sender.ID
	Address     string // addr-spec
	Nickname    string
	Role        Role
	PairedAt    time.Time
}

// Limits of users.
const (
	maxUsername   = 100 // characters
	maxPersonName = 64
	maxNickname   = 100
)

// NewUser is what a client says of a user.
type NewUser struct{ Username, FirstName, LastName string }

func (n NewUser) check() error {
	if err := label("username", n.Username, maxUsername); err != nil {
		return err
	}
	for _, x := range []struct{ field, value string }{{"firstName", n.FirstName}, {"lastName", n.LastName}} {
		if x.value != "" {
			if err := label(x.field, x.value, maxPersonName); err != nil {
				return err
			}
		}
	}
	return nil
}

// Profile is a user with what is paired.
type Profile struct {
	User
	Devices []Device
}

// CreateUser makes a user. Errors: Required, Invalid and TooLong with the field's
// name ("username", "firstName", "lastName"), Conflict on "username".
func (s *Service) CreateUser(ctx context.Context, p sender.Principal, tenant sender.ID, n NewUser) (User, error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleSender); err != nil {
		return User{}, err
	}
	if err := n.check(); err != nil {
		return User{}, err
	}
	now := s.now()
	u := User{ID: sender.NewID(), Tenant: tenant, Username: n.Username, FirstName: n.FirstName, LastName: n.LastName, CreatedAt: now, UpdatedAt: now}
	err := s.store.Update(ctx, func(tx Tx) error {
		if err := tx.InsertUser(ctx, u); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, sender.NewEvent(p, tenant, EventUserCreated, u.ID, now))
	})
	return u, err
}

// User returns a user and what is paired with one application; with any, where
// application is empty.
func (s *Service) User(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string) (Profile, error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleReader); err != nil {
		return Profile{}, err
	}
	if application != "" {
		if _, err := s.store.Application(ctx, tenant, application); err != nil {
			return Profile{}, named(err, "application")
		}
	}
	u, err := s.store.User(ctx, tenant, username)
	if err != nil {
		return Profile{}, named(err, "user")
	}
	ds, err := s.devices(ctx, s.store, u, application)
	return Profile{u, ds}, err
}

func (s *Service) devices(ctx context.Context, r Reader, u User, application sender.ID) ([]Device, error) {
	ds, err := r.Devices(ctx, u.Tenant, u.ID)
	return slices.DeleteFunc(ds, func(d Device) bool { return application != "" && d.Application != application }), err
}

// UpdateUser changes a user's names.
func (s *Service) UpdateUser(ctx context.Context, p sender.Principal, tenant sender.ID, username string, n NewUser) (Profile, error) {
	n.Username = username
	if err := n.check(); err != nil {
		return Profile{}, err
	}
	var changed Profile
	err := s.changeUser(ctx, p, tenant, username, func(tx Tx, u User) (err error) {
		u.FirstName, u.LastName, u.UpdatedAt = n.FirstName, n.LastName, s.now()
		changed.User = u
		if err := tx.UpdateUser(ctx, u); err != nil {
			return err
		}
		if changed.Devices, err = tx.Devices(ctx, tenant, u.ID); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, sender.NewEvent(p, tenant, EventUserUpdated, u.ID, u.UpdatedAt))
	})
	return changed, err
}

// DeleteUser removes a user with everything that is paired.
func (s *Service) DeleteUser(ctx context.Context, p sender.Principal, tenant sender.ID, username string) error {
	return s.changeUser(ctx, p, tenant, username, func(tx Tx, u User) error {
		if err := tx.DeleteUser(ctx, tenant, u.ID); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, sender.NewEvent(p, tenant, EventUserDeleted, u.ID, s.now()))
	})
}

// DeleteDevice unpairs a device of a user. Where it was the primary one, the oldest
// of the same application takes its place.
func (s *Service) DeleteDevice(ctx context.Context, p sender.Principal, tenant sender.ID, username string, id sender.ID) error {
	return s.changeUser(ctx, p, tenant, username, func(tx Tx, u User) error {
		ds, err := tx.Devices(ctx, tenant, u.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(ds, func(d Device) bool { return d.ID == id })
		if i < 0 {
			return missing("device")
		}
		gone := ds[i]
		if err := tx.DeleteDevice(ctx, tenant, id); err != nil {
			return err
		}
		next := slices.IndexFunc(ds, func(d Device) bool { return d.ID != id && d.Application == gone.Application })
		if gone.Role == Primary && next >= 0 {
			ds[next].Role = Primary
			if err := tx.UpdateDevice(ctx, ds[next]); err != nil {
				return err
			}
		}
		return tx.InsertEvent(ctx, sender.NewEvent(p, tenant, EventDeviceUnpaired, id, s.now(), "user", string(u.ID)))
	})
}

// changeUser runs a change of one user after those before it.
func (s *Service) changeUser(ctx context.Context, p sender.Principal, tenant sender.ID, username string, change func(Tx, User) error) error {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleSender); err != nil {
		return err
	}
	return s.inTurn(ctx, tenant, username, func(tx Tx) error {
		u, err := lockedUser(ctx, tx, tenant, username)
		if err != nil {
			return err
		}
		return change(tx, u)
	})
}

// lockedUser reads a user as nobody can change it any more.
func lockedUser(ctx context.Context, tx Tx, tenant sender.ID, username string) (User, error) {
	u, err := tx.User(ctx, tenant, username)
	if err == nil {
		if err = tx.LockUser(ctx, tenant, u.ID); err == nil {
			u, err = tx.User(ctx, tenant, username)
		}
	}
	return u, named(err, "user")
}

// named says what was not found, where the store has said no more than that.
func named(err error, field string) error {
	if sender.KindOf(err) == sender.NotFound {
		return missing(field)
	}
	return err
}

// missing is the uniform answer for what is not there; field says what it would
// have been.
func missing(field string) *sender.Error {
	return sender.Errorf(sender.NotFound, field, "The requested %s was not found.", field)
}
