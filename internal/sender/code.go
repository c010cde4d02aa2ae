package sender

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// codeAlphabet has 32 letters and digits, without those that look alike, so
// that a code of 8 carries 40 bits and each octet of randomness maps evenly.
const codeAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"

const codeLength = 8

// newCode puts the state of a fresh code into the address and returns the code.
func (s *Service) newCode(t Tenant, a *Address, now time.Time) (string, error) {
	var b [codeLength]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	for i := range b {
		b[i] = codeAlphabet[b[i]%byte(len(codeAlphabet))]
	}
	code := string(b[:])
	old := a.Code
	if !old.Day.Equal(day(now)) {
		old.Resent, old.Wrong = 0, 0
	}
	a.Code = CodeState{
		Hash: s.codeHash(t.ID, a.ID, code), SentAt: now, ExpiresAt: now.Add(s.settings.Code.Life),
		Day: day(now), Resent: old.Resent, Wrong: old.Wrong,
	}
	return code, nil
}

// codeHash binds a code to its tenant and address, so that it is worth nothing
// elsewhere. People type codes: case and blanks around don't count.
func (s *Service) codeHash(tenant, address ID, code string) []byte {
	return s.keyed("address-code", string(tenant), string(address), strings.ToLower(strings.TrimSpace(code)))
}

func (s *Service) keyed(parts ...string) []byte {
	h := hmac.New(sha256.New, s.codeKey)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return h.Sum(nil)
}

func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// perDomain is how many times as many verification mails a tenant may have sent to all
// addresses of one organizational domain as to one address.
const perDomain = 10

// sendCode queues the mail with a code; whoever commits it calls queued. The recipient's daily cap counts over
// all tenants: else this would be a tool to bury somebody in mail.
func (s *Service) sendCode(ctx context.Context, tx Tx, p Principal, a Address, code string) error {
	if s.full() {
		return busy()
	}
	now := s.now()
	n, err := tx.CountRecipient(ctx, hex.EncodeToString(s.keyed("recipient", a.Mailbox)), day(now))
	if err != nil {
		return err
	}
	if n > s.settings.Code.PerRecipient {
		return tooSoon(day(now).Add(24*time.Hour), "This address was sent %d verification mails today, the most there can be", n-1)
	}
	// Whoever gets all mail of a domain could be buried by a tenant that makes up its
	// addresses.
	if n, err = tx.CountRecipient(ctx, hex.EncodeToString(s.keyed("recipient-domain", string(a.Tenant), a.Domain.Registrable().String())), day(now)); err != nil {
		return err
	}
	if most := perDomain * s.settings.Code.PerRecipient; n > most {
		return tooSoon(day(now).Add(24*time.Hour), "Addresses of this domain were sent %d verification mails today, the most there can be", n-1)
	}
	from := s.provider.SystemSender()
	m := Message{
		ID: NewID(), Tenant: a.Tenant, Kind: KindCode, From: from.Address, To: onWire(a.Spelling, a.Domain), About: a.ID, State: Queued,
		NextAttemptAt: now, CreatedAt: now, ExpiresAt: a.Code.ExpiresAt, Actor: p.Credential,
	}
	m.Body, err = s.provider.Compose(Draft{
		Message: m.ID, From: from, To: Mailbox{Address: m.To}, At: now,
		Subject: "Your verification code",
		Text: fmt.Sprintf("Somebody asked to send mail from %s.\n\nVerification code: %s\n\n%sThe code is valid until %s. If you did not expect this mail, ignore it: nothing will be sent in your name.\n",
			a.Spelling, code, s.linkText(a), a.Code.ExpiresAt.Format("2 January 2006 15:04 MST")),
	})
	if err != nil {
		return err
	}
	if err := s.queue(ctx, tx, m); err != nil {
		return err
	}
	return tx.InsertEvent(ctx, NewEvent(p, a.Tenant, EventAddressCodeSent, a.ID, now))
}

func tooSoon(at time.Time, format string, args ...any) *Error {
	e := Errorf(TooSoon, "emailAddress", "%s; another can be sent at %s.", fmt.Sprintf(format, args...), at.UTC().Format(time.RFC3339))
	e.RetryAt = at
	return e
}
