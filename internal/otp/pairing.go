package otp

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// Pairing is a mailbox on its way to become a device.
type Pairing struct {
	ID          sender.ID
	Tenant      sender.ID
	Application sender.ID
	User        sender.ID
	Address     string // addr-spec
	Nickname    string
	State       PairingState
	Challenge   Challenge
	Device      sender.ID // once it is paired
	CreatedAt   time.Time
	UpdatedAt   time.Time
	ExpiresAt   time.Time // it does not exist any more from then on
}

// PairingState is where a pairing is.
type PairingState string

// The states of a pairing.
const (
	PairingPending PairingState = "pending"
	PairingDone    PairingState = "done"
	PairingFailed  PairingState = "failed" // too many wrong codes
)

// NewPairing is what a client asks for.
type NewPairing struct {
	Application sender.ID
	Username    string
	Address     string
	Automatic   bool   // paired at once, without a mail: the client vouches for the mailbox
	Nickname    string // default "Email 1", "Email 2", ...
	Type        string // of the template; not with Automatic
	Locale      string
	Values      map[string]string
}

// StartPairing mails a code to an address, or pairs it at once.
//
// Errors: NotFound on "application", "user" or "template", Disabled, EmailDisabled,
// Required and Invalid on "address", "type", "locale" or "values", TooLong on
// "nickname", Conflict on "address" where it is paired already, Limit on "device",
// TooSoon, Busy.
func (s *Service) StartPairing(ctx context.Context, p sender.Principal, tenant sender.ID, n NewPairing) (Pairing, error) {
	app, err := s.application(ctx, p, tenant, n.Application)
	if err != nil {
		return Pairing{}, err
	}
	u, err := s.store.User(ctx, tenant, n.Username)
	if err != nil {
		return Pairing{}, named(err, "user")
	}
	if n.Nickname != "" {
		if err := label("nickname", n.Nickname, maxNickname); err != nil {
			return Pairing{}, err
		}
	}
	if _, _, err := sender.ParseMailbox("address", n.Address); err != nil {
		return Pairing{}, err
	}
	if !n.Automatic && n.Type == "" {
		return Pairing{}, sender.Errorf(sender.Required, "type", "The type of the mail's template is missing; it is needed unless the pairing is automatic.")
	}
	now := s.now()
	fresh := Pairing{
		ID: sender.NewRandomID(), Tenant: tenant, Application: app.ID, User: u.ID, Address: n.Address, Nickname: n.Nickname, State: PairingPending,
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(s.settings.SessionLife),
	}
	var mail sender.Filled
	if !n.Automatic {
		var code string
		if code, fresh.Challenge, err = s.challenge(app, fresh.ID, now); err != nil {
			return Pairing{}, err
		}
		mail, err = s.sender.Fill(ctx, p, tenant, sender.Filling{
			Application: app.ID, Type: n.Type, Locale: n.Locale, ApplicationLocale: app.Attribute(DefaultLocale), To: n.Address,
			Values: n.Values, Code: code, Kind: sender.KindOTP, ExpiresAt: fresh.Challenge.ExpiresAt,
		})
		if err != nil {
			return Pairing{}, renamed(err, "to", "address")
		}
	}
	var g Pairing
	err = s.inTurn(ctx, tenant, n.Username, func(tx Tx) error {
		u, err := lockedUser(ctx, tx, tenant, n.Username)
		if err != nil {
			return err
		}
		g = fresh
		g.User = u.ID
		if err := stillOpen(ctx, tx, tenant, app.ID); err != nil {
			return err
		}
		ds, err := s.devices(ctx, tx, u, app.ID)
		if err != nil {
			return err
		}
		if err := roomFor(app, ds, n.Address); err != nil {
			return err
		}
		if n.Automatic {
			if err := s.pair(ctx, tx, p, &g, ds); err != nil {
				return err
			}
			return tx.InsertPairing(ctx, g)
		}
		if err := s.admit(ctx, tx, &u, now); err != nil {
			return err
		}
		if err := tx.InsertPairing(ctx, g); err != nil {
			return err
		}
		if err := s.sender.QueueFilled(ctx, tx, mail); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, event(p, EventPairingStarted, tenant, g.ID, u.ID, app.ID, now, "message", string(mail.Message().ID)))
	})
	if err != nil {
		return Pairing{}, err
	}
	if !n.Automatic {
		s.sender.Queued()
	}
	return g, nil
}

// application reads an application that may sign people in by mail, for a
// principal who may have it do so.
func (s *Service) application(ctx context.Context, p sender.Principal, tenant, id sender.ID) (Application, error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleSender); err != nil {
		return Application{}, err
	}
	app, err := s.store.Application(ctx, tenant, id)
	if err == nil {
		err = app.open()
	}
	return app, named(err, "application")
}

// stillOpen asks again whether an application may sign people in, where a device is
// about to be made.
func stillOpen(ctx context.Context, tx Tx, tenant, id sender.ID) error {
	app, err := tx.Application(ctx, tenant, id)
	if err == nil {
		err = app.open()
	}
	return named(err, "application")
}

func event(p sender.Principal, t sender.EventType, tenant, object, user, application sender.ID, at time.Time, data ...string) sender.Event {
	return sender.NewEvent(p, tenant, t, object, at, append([]string{"user", string(user), "application", string(application)}, data...)...)
}

func renamed(err error, from, to string) error {
	if e, ok := err.(*sender.Error); ok && e.Field == from {
		e.Field = to
	}
	return err
}

// roomFor refuses one device too many, and a mailbox twice, in whatever spelling.
func roomFor(app Application, ds []Device, spelling string) error {
	address, _, err := sender.ParseMailbox("address", spelling)
	if err != nil {
		return err
	}
	for _, d := range ds {
		if paired, _, err := sender.ParseMailbox("address", d.Address); err == nil && paired == address {
			return sender.Errorf(sender.Conflict, "address", "This address is paired with the user already.")
		}
	}
	if most := app.number(MaxDevices); len(ds) >= most {
		return sender.Errorf(sender.Limit, "device", "The user has %d devices, the most that the application allows; unpair one.", len(ds))
	}
	return nil
}

// pair makes the device of a pairing; ds are those that the user has with the
// application already.
func (s *Service) pair(ctx context.Context, tx Tx, p sender.Principal, g *Pairing, ds []Device) error {
	d := Device{
		ID: sender.NewID(), Tenant: g.Tenant, User: g.User, Application: g.Application, Address: g.Address, Nickname: g.Nickname,
		Role: Primary, PairedAt: s.now(),
	}
	if len(ds) > 0 {
		d.Role = Trusted
	}
	if d.Nickname == "" {
		all, err := tx.Devices(ctx, g.Tenant, g.User)
		if err != nil {
			return err
		}
		for i := 1; ; i++ {
			d.Nickname = fmt.Sprintf("Email %d", i)
			if !slices.ContainsFunc(all, func(other Device) bool { return other.Nickname == d.Nickname }) {
				break
			}
		}
	}
	g.State, g.Device, g.Nickname, g.UpdatedAt = PairingDone, d.ID, d.Nickname, d.PairedAt
	if err := tx.InsertDevice(ctx, d); err != nil {
		return err
	}
	return tx.InsertEvent(ctx, event(p, EventDevicePaired, g.Tenant, d.ID, g.User, g.Application, d.PairedAt, "pairing", string(g.ID)))
}

// Pairing returns a pairing, for as long as its session lives.
func (s *Service) Pairing(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID) (Pairing, error) {
	u, err := s.person(ctx, p, tenant, application, username)
	if err != nil {
		return Pairing{}, err
	}
	return s.pairing(ctx, s.store, tenant, application, u.ID, id)
}

// person finds who a path is about.
func (s *Service) person(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string) (User, error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleReader); err != nil {
		return User{}, err
	}
	if _, err := s.store.Application(ctx, tenant, application); err != nil {
		return User{}, named(err, "application")
	}
	u, err := s.store.User(ctx, tenant, username)
	return u, named(err, "user")
}

func (s *Service) pairing(ctx context.Context, r Reader, tenant, application, user, id sender.ID) (Pairing, error) {
	g, err := r.Pairing(ctx, tenant, id)
	if err == nil && (g.Application != application || g.User != user || !s.now().Before(g.ExpiresAt)) {
		err = missing("pairing")
	}
	return g, named(err, "pairing")
}

// FinishPairing proves the mailbox by the code from the mail. nickname, where there
// is one, replaces that of the start.
//
// Errors: Required on "otp", WrongCode on "otp", NoMoreTries with the last try and
// ever after, Invalid on "status" where it is paired already, and those of
// StartPairing.
func (s *Service) FinishPairing(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID, code, nickname string) (Pairing, error) {
	app, err := s.application(ctx, p, tenant, application)
	if err != nil {
		return Pairing{}, err
	}
	if code == "" {
		return Pairing{}, sender.Errorf(sender.Required, "otp", "The one-time code is missing.")
	}
	if nickname != "" {
		if err := label("nickname", nickname, maxNickname); err != nil {
			return Pairing{}, err
		}
	}
	// Of what has ended nothing changes any more: whoever guesses on waits for nobody.
	g, err := s.Pairing(ctx, p, tenant, application, username, id)
	if err == nil {
		err = g.open()
	}
	if err != nil {
		return Pairing{}, err
	}
	var refusal error // told after what it counts is written
	err = s.inTurn(ctx, tenant, username, func(tx Tx) error {
		refusal = nil
		u, err := lockedUser(ctx, tx, tenant, username)
		if err != nil {
			return err
		}
		if err := stillOpen(ctx, tx, tenant, application); err != nil {
			return err
		}
		if g, err = s.pairing(ctx, tx, tenant, application, u.ID, id); err != nil {
			return err
		}
		if err := g.open(); err != nil {
			return err
		}
		now := s.now()
		right := s.guess(&u, &g.Challenge, tenant, id, code, now)
		g.UpdatedAt = now
		if right {
			if nickname != "" {
				g.Nickname = nickname
			}
			ds, err := s.devices(ctx, tx, u, application)
			if err != nil {
				return err
			}
			if err := roomFor(app, ds, g.Address); err != nil {
				return err
			}
			if err := s.pair(ctx, tx, p, &g, ds); err != nil {
				return err
			}
			return tx.UpdatePairing(ctx, g)
		}
		e := event(p, EventPairingCodeWrong, tenant, id, u.ID, application, now)
		refusal = sender.Errorf(sender.WrongCode, "otp", "The one-time code is not valid or no longer valid.")
		if s.spent(u, g.Challenge) {
			g.State = PairingFailed
			e.Type, refusal = EventPairingFailed, noMoreTries()
		}
		if err := tx.UpdateUser(ctx, u); err != nil {
			return err
		}
		if err := tx.UpdatePairing(ctx, g); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, e)
	})
	if err == nil {
		err = refusal
	}
	return g, err
}

// open refuses a pairing that has ended.
func (g Pairing) open() error {
	switch g.State {
	case PairingDone:
		return sender.Errorf(sender.Invalid, "status", "This pairing is finished; its code counts once.")
	case PairingFailed:
		return noMoreTries()
	}
	return nil
}

func noMoreTries() *sender.Error {
	return sender.Errorf(sender.NoMoreTries, "otp", "There were too many wrong codes; start again to have a new one sent.")
}
