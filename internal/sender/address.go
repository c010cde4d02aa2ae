package sender

import (
	"context"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Address is a trusted author address (RFC 5322, section 3.4.1) of one tenant.
type Address struct {
	ID        ID
	Tenant    ID
	Mailbox   string        // canonical addr-spec, lower case: what is compared
	Domain    dnscheck.Name // of the addr-spec
	Spelling  string        // what the client sent, and reads back
	Status    Status        // Pending or Verified
	By        Evidence      // how it became Verified
	ByDomain  bool          // the proof of its domain, or of one above, is enough while it lasts
	Code      CodeState
	CreatedAt time.Time
	UpdatedAt time.Time
}

// holds reports whether the address may be trusted; d is the domain that covers it,
// if there is one.
func (a Address) holds(d *Domain) bool {
	return a.Status.Holds() || a.ByDomain && d != nil && d.Proven()
}

// Evidence says what proved an address.
type Evidence string

// The kinds of evidence.
const (
	ByCode              Evidence = "code"
	ByEnvironmentRecord Evidence = "environment"
)

// CodeState is what is kept of a verification code: never the code.
type CodeState struct {
	Hash      []byte    `json:"hash,omitzero"` // HMAC-SHA256 under the instance's key over tenant, address and code
	SentAt    time.Time `json:"sentAt,omitzero"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	Tries     int       `json:"tries,omitzero"` // wrong ones against this code
	Day       time.Time `json:"day,omitzero"`   // the UTC day that Resent and Wrong count
	Resent    int       `json:"resent,omitzero"`
	Wrong     int       `json:"wrong,omitzero"`
	Used      []byte    `json:"used,omitzero"`    // Hash of the code that proved the address
	Bounced   bool      `json:"bounced,omitzero"` // the mail with it could not be delivered, for good
}

// maxMailbox is the longest addr-spec that fits into a path (RFC 5321, section
// 4.5.3.1.3, whose 256 octets include the angle brackets).
const maxMailbox = 254

// ParseMailbox reads an addr-spec (RFC 5321, section 4.1.2) as it may be
// trusted: one mailbox, an ASCII dot-atom for a local part, no display name,
// comment, source route or quoting. It returns the canonical form, in lower
// case with the domain in A-labels, and the domain.
func ParseMailbox(field, s string) (canonical string, domain dnscheck.Name, err error) {
	local, host, err := splitMailbox(field, s)
	if err != nil {
		return "", domain, err
	}
	if domain, err = dnscheck.ParseDomain(host); err != nil {
		return "", domain, &Error{Kind: Invalid, Field: field, Detail: err.Error()}
	}
	canonical = strings.ToLower(local) + "@" + domain.String()
	if len(canonical) > maxMailbox {
		return "", domain, Errorf(Invalid, field, "%s is longer than the %d characters that an address can have.", quote(s), maxMailbox)
	}
	return canonical, domain, nil
}

// parseRecipient reads an addr-spec as mail may be sent to it and returns it as
// it goes on the wire. Unlike a trusted address it may belong to a public suffix:
// some of them have mailboxes.
func parseRecipient(field, s string) (string, error) {
	local, host, err := splitMailbox(field, s)
	if err != nil {
		return "", err
	}
	domain, err := dnscheck.ParseDomain(host)
	if err != nil && strings.Contains(host, ".") {
		if _, e := dnscheck.ParseDomain("x." + host); e == nil {
			domain, err = dnscheck.ParseName(host)
		}
	}
	if err != nil {
		return "", &Error{Kind: Invalid, Field: field, Detail: err.Error()}
	}
	wire := local + "@" + domain.String()
	if len(wire) > maxMailbox {
		return "", Errorf(Invalid, field, "%s is longer than the %d characters that an address can have.", quote(s), maxMailbox)
	}
	return wire, nil
}

func splitMailbox(field, s string) (local, host string, err error) {
	if s == "" {
		return "", "", Errorf(Required, field, "%s is missing: send an address such as noreply@mail.example.org.", field)
	}
	local, host, ok := strings.Cut(s, "@")
	switch {
	case !ok || strings.Contains(host, "@"):
		err = Errorf(Invalid, field, "%s is not one email address; send it as local-part@domain, without a display name.", quote(s))
	case strings.Contains(s, "=?"):
		err = Errorf(Invalid, field, "%s holds an encoded word (=?), which some programs decode; use a plain address.", quote(s))
	case strings.ContainsFunc(local, func(r rune) bool { return r > 126 }):
		err = Errorf(Invalid, field, "The local part of %s is not ASCII; internationalized local parts (RFC 6531) are not supported.", quote(s))
	case len(local) == 0 || len(local) > 64:
		err = Errorf(Invalid, field, "The local part of %s must have 1 to 64 characters.", quote(s))
	case !isDotAtom(local):
		err = Errorf(Invalid, field, "The local part of %s may hold letters, digits, single dots inside and !#$%%&'*+-/=?^_`{|}~ only.", quote(s))
	}
	return local, host, err
}

// onWire is an address as it goes into headers and envelopes: the local part as
// it is spelled, since only its own host knows whether case matters there
// (RFC 5321, section 2.4), and the domain in A-labels.
func onWire(spelling string, domain dnscheck.Name) string {
	local, _, _ := strings.Cut(spelling, "@")
	return local + "@" + domain.String()
}

func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
		}) {
			return false
		}
	}
	return true
}

// CreateAddress registers an address of a registered domain. An address that is
// already there is returned as it is, with created false. A new one is active
// at once where the domain's environment record is verified; otherwise a code
// goes out by mail in the same transaction. An address of a domain that is not
// proven is refused where demandProof says so; otherwise its code alone decides.
//
// Errors: Required or Invalid on "emailAddress", Refused on "trustedEmail" with
// DomainNotProven, Limit, Busy.
func (s *Service) CreateAddress(ctx context.Context, p Principal, tenant, domain ID, spelling string, demandProof bool) (a Address, created bool, err error) {
	t, d, err := s.domain(ctx, p, tenant, domain, RoleAdmin)
	if err != nil {
		return Address{}, false, err
	}
	canonical, name, err := ParseMailbox("emailAddress", spelling)
	if err != nil {
		return Address{}, false, err
	}
	if name != d.Name {
		return Address{}, false, Errorf(Invalid, "emailAddress", "%s does not belong to the domain %s.", quote(spelling), quote(d.Spelling))
	}
	if demandProof && !d.Proven() {
		return Address{}, false, notProven(d)
	}
	now := s.now()
	fresh := Address{ID: NewID(), Tenant: tenant, Mailbox: canonical, Domain: name, Spelling: spelling, Status: Pending, CreatedAt: now, UpdatedAt: now}
	code, err := s.newCode(t, &fresh, now)
	if err != nil {
		return Address{}, false, err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		a, created = fresh, true
		if err := tx.LockDomain(ctx, tenant, name); err != nil {
			return err
		}
		if old, err := tx.AddressByMailbox(ctx, tenant, canonical); err == nil {
			a, created = old, false
			return nil
		} else if KindOf(err) != NotFound {
			return err
		}
		if err := isMailFrom(ctx, tx, tenant, name, "emailAddress"); err != nil {
			return err
		}
		n, err := tx.CountAddresses(ctx, tenant, name, t.Limits.AddressesPerDomain)
		if err != nil {
			return err
		}
		if n >= t.Limits.AddressesPerDomain {
			return Errorf(Limit, "emailAddress", "%s has its %d addresses; delete one that is no longer used.", quote(d.Spelling), t.Limits.AddressesPerDomain)
		}
		d, err := tx.Domain(ctx, tenant, domain)
		if err != nil {
			return err
		}
		if demandProof && !d.Proven() { // any more
			return notProven(d)
		}
		if d.Facet(dnscheck.Environment, "").Status.Holds() {
			a.Status, a.By, a.Code = Verified, ByEnvironmentRecord, CodeState{}
		}
		if err := tx.InsertAddress(ctx, a); err != nil {
			return err
		}
		if err := tx.InsertEvent(ctx, NewEvent(p, tenant, EventAddressCreated, a.ID, a.CreatedAt)); err != nil {
			return err
		}
		if a.Status == Verified {
			return tx.InsertEvent(ctx, NewEvent(p, tenant, EventAddressActive, a.ID, a.CreatedAt, "by", string(a.By)))
		}
		return s.sendCode(ctx, tx, p, a, code)
	})
	if err != nil {
		return Address{}, false, err
	}
	if created && a.Status == Pending {
		s.queued()
	}
	return a, created, nil
}

func notProven(d Domain) *Error {
	e := Errorf(Refused, "trustedEmail", "%s is not verified yet; publish its ownership record and read the ownership status until it is ACTIVE.", quote(d.Spelling))
	e.Reason = DomainNotProven
	return e
}

// Address returns one address of a domain.
func (s *Service) Address(ctx context.Context, p Principal, tenant, domain, id ID) (Address, error) {
	_, _, a, err := s.address(ctx, p, tenant, domain, id, RoleReader)
	return a, err
}

func (s *Service) address(ctx context.Context, p Principal, tenant, domain, id ID, need Role) (Tenant, Domain, Address, error) {
	t, d, err := s.domain(ctx, p, tenant, domain, need)
	if err != nil {
		return t, d, Address{}, err
	}
	a, err := s.store.Address(ctx, tenant, id)
	if err == nil && a.Domain != d.Name {
		err = notFound("trusted email address")
	}
	return t, d, a, err
}

// Addresses lists a domain's addresses in the order of their creation, and how
// many there are in all.
func (s *Service) Addresses(ctx context.Context, p Principal, tenant, domain ID, page Page) ([]Address, int, error) {
	t, d, err := s.domain(ctx, p, tenant, domain, RoleReader)
	if err != nil {
		return nil, 0, err
	}
	as, err := s.store.Addresses(ctx, tenant, d.Name, page)
	if err != nil {
		return nil, 0, err
	}
	n := len(as)
	if page.After != "" || (page.Limit > 0 && n == page.Limit) {
		if n, err = s.store.CountAddresses(ctx, tenant, d.Name, max(t.Limits.AddressesPerDomain, n)); err != nil {
			return nil, 0, err
		}
	}
	return as, n, nil
}

// DeleteAddress removes an address; mail already accepted from it is refused at
// dispatch.
func (s *Service) DeleteAddress(ctx context.Context, p Principal, tenant, domain, id ID) error {
	if _, _, _, err := s.address(ctx, p, tenant, domain, id, RoleAdmin); err != nil {
		return err
	}
	defer s.changes.Add(1)
	return s.store.Update(ctx, func(tx Tx) error {
		if err := tx.DeleteAddress(ctx, tenant, id); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventAddressDeleted, id, s.now()))
	})
}

// ResendCode mails a new code, which kills the old one. Errors: TooSoon on
// "emailAddress" within a minute of the last or after the day's tenth, Invalid
// where the address is active already.
func (s *Service) ResendCode(ctx context.Context, p Principal, tenant, domain, id ID) (Address, error) {
	t, _, _, err := s.address(ctx, p, tenant, domain, id, RoleAdmin)
	if err != nil {
		return Address{}, err
	}
	var a Address
	err = s.store.Update(ctx, func(tx Tx) error {
		var err error
		if a, err = s.pendingAddress(ctx, tx, tenant, id, "emailAddress"); err != nil {
			return err
		}
		now := s.now()
		set := s.settings.Code
		if wait := a.Code.SentAt.Add(set.ResendAfter); now.Before(wait) {
			return tooSoon(wait, "A code was sent to this address less than %s ago", set.ResendAfter)
		}
		if a.Code.Day.Equal(day(now)) && a.Code.Resent >= set.ResendPerDay {
			return tooSoon(day(now).Add(24*time.Hour), "%d more codes were sent to this address today, the most there can be", a.Code.Resent)
		}
		code, err := s.newCode(t, &a, now)
		if err != nil {
			return err
		}
		a.Code.Resent++
		a.UpdatedAt = now
		if err := tx.UpdateAddress(ctx, a); err != nil {
			return err
		}
		return s.sendCode(ctx, tx, p, a, code)
	})
	if err != nil {
		return Address{}, err
	}
	s.queued()
	return a, nil
}

// ActivateAddress proves an address by its code. A code that is wrong, expired,
// used or replaced is WrongCode, always in the same words; any code after the last
// wrong one is NoMoreTries.
func (s *Service) ActivateAddress(ctx context.Context, p Principal, tenant, domain, id ID, code string) (Address, error) {
	_, _, a, err := s.address(ctx, p, tenant, domain, id, RoleAdmin)
	if err != nil {
		return Address{}, err
	}
	if code == "" {
		return Address{}, Errorf(Required, "verificationCode", "verificationCode is missing: send the code from the mail.")
	}
	// Nothing is counted any more: whoever guesses on waits for nobody and holds no one up.
	if a.Status == Pending && s.spent(a.Code, s.now()) {
		return Address{}, noMoreTries()
	}
	right, spent := false, false
	err = s.store.Update(ctx, func(tx Tx) error {
		var err error
		if a, err = s.pendingAddress(ctx, tx, tenant, id, "verificationCode"); err != nil {
			return err
		}
		now := s.now()
		c := &a.Code
		if !c.Day.Equal(day(now)) {
			c.Day, c.Resent, c.Wrong = day(now), 0, 0
		}
		// Compared in any case, so that a used-up code takes as long as a wrong one.
		right = subtle.ConstantTimeCompare(c.Hash, s.codeHash(tenant, id, code)) == 1
		spent = s.spent(*c, now)
		right = right && now.Before(c.ExpiresAt) && !spent
		event := NewEvent(p, tenant, EventAddressCodeWrong, id, now)
		if right {
			a.Status, a.By, a.Code = Verified, ByCode, CodeState{Used: c.Hash}
			event = NewEvent(p, tenant, EventAddressActive, id, now, "by", string(ByCode))
		} else {
			if spent {
				return nil // nothing to count any more: guessing on must not grow the log
			}
			c.Tries, c.Wrong = c.Tries+1, c.Wrong+1
		}
		a.UpdatedAt = now
		if err := tx.UpdateAddress(ctx, a); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, event)
	})
	if err == nil && spent {
		err = noMoreTries()
	}
	if err == nil && !right {
		err = Errorf(WrongCode, "verificationCode", "The verification code is not valid or no longer valid; check it against the newest mail, or have a new one sent.")
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// spent reports whether no code counts any more: neither for this code nor for this
// day may there be more wrong ones.
func (s *Service) spent(c CodeState, now time.Time) bool {
	return c.Tries >= s.settings.Code.Tries || c.Day.Equal(day(now)) && c.Wrong >= s.settings.Code.WrongPerDay
}

func noMoreTries() error {
	return Errorf(NoMoreTries, "verificationCode", "There were too many wrong codes; have a new one sent.")
}

// pendingAddress loads an address under a lock that makes code tries one after
// the other.
func (s *Service) pendingAddress(ctx context.Context, tx Tx, tenant, id ID, field string) (Address, error) {
	a, err := tx.Address(ctx, tenant, id)
	if err != nil {
		return a, err
	}
	if err := tx.LockDomain(ctx, tenant, a.Domain); err != nil {
		return a, err
	}
	if a, err = tx.Address(ctx, tenant, id); err != nil {
		return a, err
	}
	if a.Status == Verified {
		return a, Errorf(Invalid, field, "%s is active already.", quote(a.Spelling))
	}
	return a, nil
}
