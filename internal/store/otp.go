package store

import (
	"context"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

// OTP is the same database, and the same transactions, as the port of package otp.
func (s *Store) OTP() otp.Store { return otpStore{s} }

type otpStore struct{ *Store }

func (s otpStore) Update(ctx context.Context, do func(otp.Tx) error) error {
	return parentGone(s.engine.update(ctx, s.Store, func(t *tx) error { return do(t) }))
}

// nameKey is what names of applications are compared by.
func nameKey(name string) string { return strings.ToLower(name) }

func (r reader) Application(ctx context.Context, tenant, id sender.ID) (otp.Application, error) {
	row, err := r.q.Application(ctx, string(tenant), string(id))
	if err != nil {
		return otp.Application{}, missing("application", err)
	}
	return applicationOf(row)
}

func (r reader) ApplicationByName(ctx context.Context, tenant sender.ID, name string) (otp.Application, error) {
	row, err := r.q.ApplicationByName(ctx, string(tenant), nameKey(name))
	if err != nil {
		return otp.Application{}, missing("application", err)
	}
	return applicationOf(row)
}

func (r reader) Applications(ctx context.Context, tenant sender.ID) ([]otp.Application, error) {
	rows, err := r.q.Applications(ctx, string(tenant))
	return each(rows, err, "applications", applicationOf)
}

func (r reader) User(ctx context.Context, tenant sender.ID, username string) (otp.User, error) {
	row, err := r.q.User(ctx, string(tenant), username)
	if err != nil {
		return otp.User{}, missing("user", err)
	}
	return userOf(row)
}

func (r reader) Devices(ctx context.Context, tenant, user sender.ID) ([]otp.Device, error) {
	rows, err := r.q.Devices(ctx, string(tenant), string(user))
	return each(rows, err, "devices", deviceOf)
}

func (r reader) Pairing(ctx context.Context, tenant, id sender.ID) (otp.Pairing, error) {
	row, err := r.q.Pairing(ctx, string(tenant), string(id))
	if err != nil {
		return otp.Pairing{}, missing("pairing", err)
	}
	return pairingOf(row)
}

func (r reader) Authentication(ctx context.Context, tenant, id sender.ID) (otp.Authentication, error) {
	row, err := r.q.Authentication(ctx, string(tenant), string(id))
	if err != nil {
		return otp.Authentication{}, missing("authentication", err)
	}
	return authenticationOf(row)
}

func (t *tx) LockUser(ctx context.Context, tenant, user sender.ID) error {
	return broken("lock the user", t.dialect.lockUser(ctx, string(tenant), string(user)))
}

func (t *tx) InsertApplication(ctx context.Context, a otp.Application) error {
	attributes, err := encode(a.Attributes)
	if err != nil {
		return err
	}
	n, err := t.q.InsertApplication(ctx, db.InsertApplicationParams{
		TenantID: string(a.Tenant), ID: string(a.ID), Name: a.Name, NameKey: nameKey(a.Name), Enabled: a.Enabled, Push: a.PushSender,
		Attributes: attributes, CreatedAt: micros(a.CreatedAt), UpdatedAt: micros(a.UpdatedAt),
	})
	return inserted(n, err, "name", "There is an application with the name %s, or with the same id, already.", quote(a.Name))
}

func (t *tx) UpdateApplication(ctx context.Context, a otp.Application) error {
	attributes, err := encode(a.Attributes)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateApplication(ctx, db.UpdateApplicationParams{
		TenantID: string(a.Tenant), ID: string(a.ID), Name: a.Name, NameKey: nameKey(a.Name), Enabled: a.Enabled, Push: a.PushSender,
		Attributes: attributes, UpdatedAt: micros(a.UpdatedAt),
	})
	return touched(n, err, "application")
}

func (t *tx) InsertUser(ctx context.Context, u otp.User) error {
	guard, err := encode(u.Guard)
	if err != nil {
		return err
	}
	n, err := t.q.InsertUser(ctx, db.InsertUserParams{
		TenantID: string(u.Tenant), ID: string(u.ID), Username: u.Username, FirstName: u.FirstName, LastName: u.LastName,
		LastLoginAt: micros(u.LastLogin), Guard: guard, CreatedAt: micros(u.CreatedAt), UpdatedAt: micros(u.UpdatedAt),
	})
	return inserted(n, err, "username", "There is a user with the username %s already.", quote(u.Username))
}

func (t *tx) UpdateUser(ctx context.Context, u otp.User) error {
	guard, err := encode(u.Guard)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateUser(ctx, db.UpdateUserParams{
		TenantID: string(u.Tenant), ID: string(u.ID), FirstName: u.FirstName, LastName: u.LastName, LastLoginAt: micros(u.LastLogin),
		Guard: guard, UpdatedAt: micros(u.UpdatedAt),
	})
	return touched(n, err, "user")
}

// DeleteUser leaves the rest to the foreign keys.
func (t *tx) DeleteUser(ctx context.Context, tenant, id sender.ID) error {
	n, err := t.q.DeleteUser(ctx, string(tenant), string(id))
	return touched(n, err, "user")
}

func (t *tx) InsertDevice(ctx context.Context, d otp.Device) error {
	n, err := t.q.InsertDevice(ctx, db.InsertDeviceParams{
		TenantID: string(d.Tenant), ID: string(d.ID), UserID: string(d.User), ApplicationID: string(d.Application), Address: d.Address,
		Nickname: d.Nickname, Role: string(d.Role), PairedAt: micros(d.PairedAt),
	})
	return touched(n, err, "user")
}

func (t *tx) UpdateDevice(ctx context.Context, d otp.Device) error {
	n, err := t.q.UpdateDevice(ctx, db.UpdateDeviceParams{TenantID: string(d.Tenant), ID: string(d.ID), Nickname: d.Nickname, Role: string(d.Role)})
	return touched(n, err, "device")
}

func (t *tx) DeleteDevice(ctx context.Context, tenant, id sender.ID) error {
	n, err := t.q.DeleteDevice(ctx, string(tenant), string(id))
	return touched(n, err, "device")
}

func (t *tx) DevicesOf(ctx context.Context, tenant, application sender.ID, page sender.Page) ([]otp.Device, error) {
	rows, err := t.q.DevicesOf(ctx, db.DevicesOfParams{
		TenantID: string(tenant), ApplicationID: string(application), After: string(page.After), Most: most(page),
	})
	return each(rows, err, "devices", deviceOf)
}

func (t *tx) InsertPairing(ctx context.Context, p otp.Pairing) error {
	challenge, err := encode(p.Challenge)
	if err != nil {
		return err
	}
	n, err := t.q.InsertPairing(ctx, db.InsertPairingParams{
		TenantID: string(p.Tenant), ID: string(p.ID), UserID: string(p.User), ApplicationID: string(p.Application), Address: p.Address,
		Nickname: p.Nickname, State: string(p.State), Challenge: challenge, DeviceID: string(p.Device),
		CreatedAt: micros(p.CreatedAt), UpdatedAt: micros(p.UpdatedAt), ExpiresAt: micros(p.ExpiresAt),
	})
	return touched(n, err, "user")
}

// UpdatePairing writes the nickname as well: it is settled when the device is made.
func (t *tx) UpdatePairing(ctx context.Context, p otp.Pairing) error {
	challenge, err := encode(p.Challenge)
	if err != nil {
		return err
	}
	n, err := t.q.UpdatePairing(ctx, db.UpdatePairingParams{
		TenantID: string(p.Tenant), ID: string(p.ID), Nickname: p.Nickname, State: string(p.State), Challenge: challenge,
		DeviceID: string(p.Device), UpdatedAt: micros(p.UpdatedAt),
	})
	return touched(n, err, "pairing")
}

func (t *tx) InsertAuthentication(ctx context.Context, a otp.Authentication) error {
	challenge, err := encode(a.Challenge)
	if err != nil {
		return err
	}
	n, err := t.q.InsertAuthentication(ctx, db.InsertAuthenticationParams{
		TenantID: string(a.Tenant), ID: string(a.ID), UserID: string(a.User), ApplicationID: string(a.Application),
		DeviceID: string(a.Device), Status: string(a.Status), Challenge: challenge,
		CreatedAt: micros(a.CreatedAt), UpdatedAt: micros(a.UpdatedAt), ExpiresAt: micros(a.ExpiresAt),
	})
	return touched(n, err, "user")
}

func (t *tx) UpdateAuthentication(ctx context.Context, a otp.Authentication) error {
	challenge, err := encode(a.Challenge)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateAuthentication(ctx, db.UpdateAuthenticationParams{
		TenantID: string(a.Tenant), ID: string(a.ID), Status: string(a.Status), Challenge: challenge, UpdatedAt: micros(a.UpdatedAt),
	})
	return touched(n, err, "authentication")
}

// Forget goes by the end of the session, those that ended first going first.
func (t *tx) Forget(ctx context.Context, before time.Time, limit int) (int, error) {
	pairings, err := t.q.ForgetPairings(ctx, micros(before), int64(limit))
	if err != nil {
		return 0, broken("forget pairings", err)
	}
	authentications, err := t.q.ForgetAuthentications(ctx, micros(before), int64(limit))
	return int(pairings + authentications), broken("forget authentications", err)
}

func applicationOf(r db.Application) (otp.Application, error) {
	a := otp.Application{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Name: r.Name, Enabled: r.Enabled, PushSender: r.Push,
		CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	return a, decode(r.Attributes, &a.Attributes, "attributes of application ", r.ID)
}

func userOf(r db.User) (otp.User, error) {
	u := otp.User{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Username: r.Username, FirstName: r.FirstName, LastName: r.LastName,
		LastLogin: moment(r.LastLoginAt), CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	return u, decode(r.Guard, &u.Guard, "guard of user ", r.ID)
}

func deviceOf(r db.Device) (otp.Device, error) {
	return otp.Device{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), User: sender.ID(r.UserID), Application: sender.ID(r.ApplicationID),
		Address: r.Address, Nickname: r.Nickname, Role: otp.Role(r.Role), PairedAt: moment(r.PairedAt),
	}, nil
}

func pairingOf(r db.Pairing) (otp.Pairing, error) {
	p := otp.Pairing{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Application: sender.ID(r.ApplicationID), User: sender.ID(r.UserID),
		Address: r.Address, Nickname: r.Nickname, State: otp.PairingState(r.State), Device: sender.ID(r.DeviceID),
		CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt), ExpiresAt: moment(r.ExpiresAt),
	}
	return p, decode(r.Challenge, &p.Challenge, "challenge of pairing ", r.ID)
}

func authenticationOf(r db.Authentication) (otp.Authentication, error) {
	a := otp.Authentication{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Application: sender.ID(r.ApplicationID), User: sender.ID(r.UserID),
		Device: sender.ID(r.DeviceID), Status: otp.Status(r.Status),
		CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt), ExpiresAt: moment(r.ExpiresAt),
	}
	return a, decode(r.Challenge, &a.Challenge, "challenge of authentication ", r.ID)
}
