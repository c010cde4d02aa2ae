package otp

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/sender"
)

// Kinds of failure beside those of package sender.
const (
	Disabled      sender.Kind = "application-disabled" // the application is switched off
	EmailDisabled sender.Kind = "email-disabled"       // the application does not allow mail
	NoDevice      sender.Kind = "no-device"            // the user has nothing paired
	TooLong       sender.Kind = "too-long"             // a value beyond its length; Field names it
)

// Kinds lists them, for tables that must be complete.
var Kinds = []sender.Kind{Disabled, EmailDisabled, NoDevice, TooLong}

// The events of this core. Their object is the thing itself, the data has the
// user's id and the application's, and never a code or an address.
const (
	EventApplicationCreated sender.EventType = "application.created"
	EventApplicationUpdated sender.EventType = "application.updated"
	EventUserCreated        sender.EventType = "user.created"
	EventUserUpdated        sender.EventType = "user.updated"
	EventUserDeleted        sender.EventType = "user.deleted"
	EventDevicePaired       sender.EventType = "device.paired"
	EventDeviceUnpaired     sender.EventType = "device.unpaired"
	EventPairingStarted     sender.EventType = "pairing.started"
	EventPairingCodeWrong   sender.EventType = "pairing.code-wrong"
	EventPairingFailed      sender.EventType = "pairing.failed"
	EventAuthStarted        sender.EventType = "authentication.started"
	EventAuthCodeWrong      sender.EventType = "authentication.code-wrong"
	EventAuthBlocked        sender.EventType = "authentication.blocked"
	EventAuthApproved       sender.EventType = "authentication.approved"
	EventAuthCanceled       sender.EventType = "authentication.canceled"
)

// Settings are the knobs of this core. Start from [DefaultSettings].
type Settings struct {
	SessionLife time.Duration // how long a pairing or an authentication can be read and finished
	Tries       int           // wrong codes in one pairing or authentication
	WrongPerDay int           // wrong codes of one user and day, all sessions together
	PerUser     int           // codes sent to one user in an hour
	Keep        time.Duration // how long what has ended stays in the database
}

// DefaultSettings are those of the PingID SDK documents where these say something.
func DefaultSettings() Settings {
	return Settings{SessionLife: 30 * time.Minute, Tries: 3, WrongPerDay: 30, PerUser: 20, Keep: 24 * time.Hour}
}

// Service holds every use case of this core. It is safe for concurrent use and
// starts no goroutine.
type Service struct {
	store    Store
	sender   *sender.Service
	settings Settings
	log      *slog.Logger
	key      []byte // keys the hashes of codes
	turns    turns
}

// Config is what a Service is made of; all must be set.
type Config struct {
	Store    Store
	Sender   *sender.Service
	Settings Settings
	Log      *slog.Logger
}

// New makes a Service.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Store == nil || c.Sender == nil || c.Log == nil || c.Settings == (Settings{}) {
		return nil, errors.New("otp: Config needs Store, Sender, Settings and Log")
	}
	key, err := c.Store.Secret(ctx, "one-time-code", 32)
	if err != nil {
		return nil, err
	}
	return &Service{store: c.Store, sender: c.Sender, settings: c.Settings, log: c.Log, key: key}, nil
}

// now is the time of one use case: UTC, to the microsecond that stores keep.
func (s *Service) now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Forget deletes what has ended long ago. It is called from time to time, on any
// node.
func (s *Service) Forget(ctx context.Context) error {
	const batch = 1000
	for ctx.Err() == nil {
		n := 0
		err := s.store.Update(ctx, func(tx Tx) (err error) {
			n, err = tx.Forget(ctx, s.now().Add(-s.settings.Keep), batch)
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
	return ctx.Err()
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// label checks a short text that people read.
func label(field, s string, most int) error {
	switch {
	case s == "":
		return sender.Errorf(sender.Required, field, "%s is missing.", field)
	case !printable(s):
		return sender.Errorf(sender.Invalid, field, "%s holds control characters or is not UTF-8.", field)
	case utf8.RuneCountInString(s) > most:
		return sender.Errorf(TooLong, field, "%s is longer than %d characters.", field, most)
	}
	return nil
}
