package otp

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// codeDigits is the length of a one-time code. A million codes are few: that they
// can't be guessed is the work of the counted tries.
const codeDigits = 6

// Challenge is what is kept of a one-time code: never the code.
type Challenge struct {
	Hash      []byte    `json:"hash,omitzero"` // HMAC-SHA256 under the instance's key; empty: none, or used
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	Wrong     int       `json:"wrong,omitzero"` // codes against it
}

// newCode draws a code.
func newCode() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%0*d", codeDigits, n), nil
}

// hash binds a code to the thing that it is for, so that it is worth nothing
// elsewhere. People copy blanks with it.
func (s *Service) hash(tenant, id sender.ID, code string) []byte {
	h := hmac.New(sha256.New, s.key)
	for _, part := range []string{string(tenant), string(id), strings.TrimSpace(code)} {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	return h.Sum(nil)
}

// challenge makes a code and what is kept of it.
func (s *Service) challenge(a Application, id sender.ID, now time.Time) (code string, c Challenge, err error) {
	if code, err = newCode(); err != nil {
		return "", Challenge{}, err
	}
	life := min(time.Duration(a.number(OTPLifetime))*time.Minute, s.settings.SessionLife)
	return code, Challenge{Hash: s.hash(a.Tenant, id, code), ExpiresAt: now.Add(life)}, nil
}

// guess judges a code and counts it. It compares also where no code could be right,
// so that the time tells nothing.
func (s *Service) guess(u *User, c *Challenge, tenant, id sender.ID, code string, now time.Time) (right bool) {
	u.Guard = u.Guard.at(now)
	right = subtle.ConstantTimeCompare(c.Hash, s.hash(tenant, id, code)) == 1
	right = right && now.Before(c.ExpiresAt) && c.Wrong < s.settings.Tries && u.Guard.Wrong < s.settings.WrongPerDay
	if right {
		*c = Challenge{ExpiresAt: c.ExpiresAt}
		return true
	}
	c.Wrong++
	u.Guard.Wrong++
	return false
}

// spent reports whether no further code counts.
func (s *Service) spent(u User, c Challenge) bool {
	return c.Wrong >= s.settings.Tries || u.Guard.Wrong >= s.settings.WrongPerDay
}

// admit counts one more code to be sent to a user. Errors: TooSoon on "user".
func (s *Service) admit(ctx context.Context, tx Tx, u *User, now time.Time) error {
	u.Guard = u.Guard.at(now)
	if u.Guard.Wrong >= s.settings.WrongPerDay {
		return tooSoon(u.Guard.Day.Add(24*time.Hour), "There were %d wrong codes for this user today, the most there can be", u.Guard.Wrong)
	}
	if u.Guard.Sent >= s.settings.PerUser {
		return tooSoon(u.Guard.Hour.Add(time.Hour), "%d codes were sent to this user within the hour, the most there can be", u.Guard.Sent)
	}
	u.Guard.Sent++
	return tx.UpdateUser(ctx, *u)
}

func tooSoon(at time.Time, format string, args ...any) error {
	e := sender.Errorf(sender.TooSoon, "user", format+"; ask again at %s.", append(args, at.Format(time.RFC3339))...)
	e.RetryAt = at
	return e
}
