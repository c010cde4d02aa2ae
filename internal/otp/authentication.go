package otp

import (
	"context"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// Authentication is one signing-in.
type Authentication struct {
	ID          sender.ID
	Tenant      sender.ID
	Application sender.ID
	User        sender.ID
	Device      sender.ID // empty while one is to be selected
	Status      Status
	Challenge   Challenge
	CreatedAt   time.Time
	UpdatedAt   time.Time
	ExpiresAt   time.Time // it does not exist any more from then on
}

// Status is where an authentication is.
type Status string

// The statuses of an authentication; all but the first and InvalidCode are final.
const (
	AwaitingCode Status = "awaiting-code"
	InvalidCode  Status = "invalid-code" // the last code was wrong, and there are tries left
	Approved     Status = "approved"
	Blocked      Status = "blocked" // too many wrong codes
	Canceled     Status = "canceled"
	TimedOut     Status = "timed-out" // the code is too old; the session can still be read
	SelectFirst  Status = "select-device"
)

// open reports whether a code can still be right.
func (s Status) open() bool { return s == AwaitingCode || s == InvalidCode }

// NewAuthentication is what a client asks for.
type NewAuthentication struct {
	Application sender.ID
	Username    string
	Device      sender.ID // empty: the only one, the primary one, or whoever asks is asked
	Type        string    // of the template
	Locale      string
	Values      map[string]string
}

// Signing is an authentication with the device that it is about, and with those to
// choose from where there is none.
type Signing struct {
	Authentication
	Username string
	Devices  []Device
}

// StartAuthentication mails a code to a device of the user. Where the user has
// several and the application says that they are to be selected, it mails nothing
// and answers SelectFirst: the client asks again, with a device, a type and values.
//
// Errors: NotFound on "application", "user", "device" or "template", Disabled,
// EmailDisabled, NoDevice on "user", Required and Invalid on "type", "locale" or
// "values", TooSoon, Busy.
func (s *Service) StartAuthentication(ctx context.Context, p sender.Principal, tenant sender.ID, n NewAuthentication) (Signing, error) {
	app, err := s.application(ctx, p, tenant, n.Application)
	if err != nil {
		return Signing{}, err
	}
	u, err := s.store.User(ctx, tenant, n.Username)
	if err != nil {
		return Signing{}, named(err, "user")
	}
	ds, err := s.devices(ctx, s.store, u, app.ID)
	if err != nil {
		return Signing{}, err
	}
	now := s.now()
	a := Authentication{
		ID: sender.NewRandomID(), Tenant: tenant, Application: app.ID, User: u.ID, Status: AwaitingCode,
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(s.settings.SessionLife),
	}
	d, err := choose(app, ds, n.Device)
	if err != nil {
		return Signing{}, err
	}
	if d == nil {
		a.Status = SelectFirst
		err := s.inTurn(ctx, tenant, n.Username, func(tx Tx) error {
			u, err := lockedUser(ctx, tx, tenant, n.Username)
			if err != nil {
				return err
			}
			if u.Guard = u.Guard.at(now); u.Guard.Asked >= s.settings.PerUser {
				return tooSoon(u.Guard.Hour.Add(time.Hour), "This user was asked for a device %d times within the hour, the most there can be", u.Guard.Asked)
			}
			u.Guard.Asked++
			if err := tx.UpdateUser(ctx, u); err != nil {
				return err
			}
			return tx.InsertAuthentication(ctx, a)
		})
		return Signing{a, n.Username, ds}, err
	}
	if n.Type == "" {
		return Signing{}, sender.Errorf(sender.Required, "type", "The type of the mail's template is missing; the code goes out by mail.")
	}
	a.Device = d.ID
	code, challenge, err := s.challenge(app, a.ID, now)
	if err != nil {
		return Signing{}, err
	}
	a.Challenge = challenge
	mail, err := s.sender.Fill(ctx, p, tenant, sender.Filling{
		Application: app.ID, Type: n.Type, Locale: n.Locale, ApplicationLocale: app.Attribute(DefaultLocale), To: d.Address,
		Values: n.Values, Code: code, Kind: sender.KindOTP, ExpiresAt: a.Challenge.ExpiresAt,
	})
	if err != nil {
		return Signing{}, err
	}
	err = s.inTurn(ctx, tenant, n.Username, func(tx Tx) error {
		u, err := lockedUser(ctx, tx, tenant, n.Username)
		if err != nil {
			return err
		}
		// The device may be gone since.
		now, err := s.devices(ctx, tx, u, app.ID)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(now, func(x Device) bool { return x.ID == d.ID }) {
			return missing("device")
		}
		if err := s.admit(ctx, tx, &u, a.CreatedAt); err != nil {
			return err
		}
		if err := tx.InsertAuthentication(ctx, a); err != nil {
			return err
		}
		if err := s.sender.QueueFilled(ctx, tx, mail); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, event(p, EventAuthStarted, tenant, a.ID, u.ID, app.ID, a.CreatedAt, "device", string(d.ID), "message", string(mail.Message().ID)))
	})
	if err != nil {
		return Signing{}, err
	}
	s.sender.Queued()
	return Signing{a, n.Username, []Device{*d}}, nil
}

// choose says which device gets the code; nil: the user is to be asked.
func choose(app Application, ds []Device, wanted sender.ID) (*Device, error) {
	at := func(match func(Device) bool) *Device {
		if i := slices.IndexFunc(ds, match); i >= 0 {
			return &ds[i]
		}
		return nil
	}
	switch {
	case wanted != "":
		if d := at(func(d Device) bool { return d.ID == wanted }); d != nil {
			return d, nil
		}
		return nil, missing("device")
	case len(ds) == 0:
		return nil, sender.Errorf(NoDevice, "user", "The user has no paired device; pair one first.")
	case len(ds) > 1 && app.Attribute(SelectDevice) == "true":
		return nil, nil
	}
	if d := at(func(d Device) bool { return d.Role == Primary }); d != nil {
		return d, nil
	}
	return &ds[0], nil
}

// Authentication returns an authentication, for as long as its session lives.
func (s *Service) Authentication(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID) (Signing, error) {
	u, err := s.person(ctx, p, tenant, application, username)
	if err != nil {
		return Signing{}, err
	}
	a, err := s.authentication(ctx, s.store, tenant, application, u.ID, id)
	if err != nil {
		return Signing{}, err
	}
	return s.signing(ctx, s.store, a, u)
}

// signing adds the devices, those that are still there.
func (s *Service) signing(ctx context.Context, r Reader, a Authentication, u User) (Signing, error) {
	ds, err := s.devices(ctx, r, u, a.Application)
	if a.Status != SelectFirst {
		ds = slices.DeleteFunc(ds, func(d Device) bool { return d.ID != a.Device })
	}
	return Signing{a, u.Username, ds}, err
}

func (s *Service) authentication(ctx context.Context, r Reader, tenant, application, user, id sender.ID) (Authentication, error) {
	a, err := r.Authentication(ctx, tenant, id)
	now := s.now()
	if err == nil && (a.Application != application || a.User != user || !now.Before(a.ExpiresAt)) {
		err = missing("authentication")
	}
	if err == nil && a.Status.open() && !now.Before(a.Challenge.ExpiresAt) {
		a.Status = TimedOut
	}
	return a, named(err, "authentication")
}

// SubmitCode judges the code from the mail; what became of it is the Status. A code
// counts once: given again it is InvalidCode, which changes nothing.
//
// Errors: Required on "otp", NotFound on "application", "user" or
// "authentication", Disabled, EmailDisabled.
func (s *Service) SubmitCode(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID, code string) (Signing, error) {
	if _, err := s.application(ctx, p, tenant, application); err != nil {
		return Signing{}, err
	}
	if code == "" {
		return Signing{}, sender.Errorf(sender.Required, "otp", "The one-time code is missing.")
	}
	// Of what has ended nothing changes any more: whoever guesses on waits for nobody.
	out, err := s.Authentication(ctx, p, tenant, application, username, id)
	if err != nil || !out.Status.open() {
		return submitted(out), err
	}
	err = s.inTurn(ctx, tenant, username, func(tx Tx) error {
		u, err := lockedUser(ctx, tx, tenant, username)
		if err != nil {
			return err
		}
		a, err := s.authentication(ctx, tx, tenant, application, u.ID, id)
		if err != nil {
			return err
		}
		if out, err = s.signing(ctx, tx, a, u); err != nil {
			return err
		}
		if !a.Status.open() {
			out = submitted(out)
			return nil // nothing to count any more: guessing on must not grow the log
		}
		now := s.now()
		e := EventAuthCodeWrong
		switch {
		case len(out.Devices) == 0: // unpaired since: what was mailed there is worth nothing
			a.Status, a.Challenge.Hash, e = Canceled, nil, EventAuthCanceled
		case s.guess(&u, &a.Challenge, tenant, id, code, now):
			a.Status, e, u.LastLogin = Approved, EventAuthApproved, now
		case s.spent(u, a.Challenge):
			a.Status, e = Blocked, EventAuthBlocked
		default:
			a.Status = InvalidCode
		}
		a.UpdatedAt = now
		if err := tx.UpdateUser(ctx, u); err != nil {
			return err
		}
		if err := tx.UpdateAuthentication(ctx, a); err != nil {
			return err
		}
		out.Authentication = a
		return tx.InsertEvent(ctx, event(p, e, tenant, id, u.ID, application, now))
	})
	return out, err
}

// submitted is what became of a code for an authentication that has ended.
func submitted(out Signing) Signing {
	if out.Status == Approved {
		out.Status = InvalidCode
	}
	return out
}

// Cancel ends an authentication that is not ended yet.
func (s *Service) Cancel(ctx context.Context, p sender.Principal, tenant, application sender.ID, username string, id sender.ID) error {
	if _, err := s.person(ctx, p, tenant, application, username); err != nil {
		return err
	}
	return s.changeUser(ctx, p, tenant, username, func(tx Tx, u User) error {
		a, err := s.authentication(ctx, tx, tenant, application, u.ID, id)
		if err != nil || !a.Status.open() && a.Status != SelectFirst {
			return err
		}
		a.Status, a.UpdatedAt, a.Challenge.Hash = Canceled, s.now(), nil
		if err := tx.UpdateAuthentication(ctx, a); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, event(p, EventAuthCanceled, tenant, id, u.ID, application, a.UpdatedAt))
	})
}
