package sender

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Standing is an address and what it is worth now, by itself or by its domain.
type Standing struct {
	Address
	Worth     Status // Pending, Verified, or Failed: its code has run out
	ThroughIt bool   // it is the domain's proof that makes it Verified
}

// standing judges an address; d is the domain that covers it, if there is one.
func (s *Service) standing(a Address, d *Domain) Standing {
	st := Standing{Address: a, Worth: Pending}
	switch {
	case a.Status.Holds() && a.By != ByEnvironmentRecord:
		st.Worth = Verified
	case d != nil && d.Proven() && (a.ByDomain || a.Status.Holds()):
		st.Worth, st.ThroughIt = Verified, true
	case d != nil && d.ProofLost() && a.Code.SentAt.Before(d.lostAt()): // it needed no code while the domain was proven
	case a.Code.Bounced || !a.Code.ExpiresAt.IsZero() && !s.now().Before(a.Code.ExpiresAt):
		st.Worth = Failed
	}
	return st
}

// CreateSender registers an address by itself, whether or not its domain is
// registered, and lets the proof of its domain, or of one above, count for it. Where
// that does not hold now, a code goes out by mail. Repeated, it answers with the
// address that is there, and sends a new code only where the last one has run out
// or was sent a while ago.
//
// Errors: Required or Invalid on "emailAddress", Limit, Busy, TooSoon where a new
// address has been sent too many mails today.
func (s *Service) CreateSender(ctx context.Context, p Principal, tenant ID, spelling string) (Standing, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin)
	if err != nil {
		return Standing{}, err
	}
	canonical, name, err := ParseMailbox("emailAddress", spelling)
	if err == nil {
		err = s.notOurs("emailAddress", spelling, name)
	}
	if err != nil {
		return Standing{}, err
	}
	now := s.now()
	fresh := Address{
		ID: NewID(), Tenant: tenant, Mailbox: canonical, Domain: name, Spelling: spelling, Status: Pending, ByDomain: true, CreatedAt: now, UpdatedAt: now,
	}
	var st Standing
	mailed := false
	err = s.store.Update(ctx, func(tx Tx) error {
		mailed = false
		if err := tx.LockTenant(ctx, tenant); err != nil { // for the limit of all addresses
			return err
		}
		if err := tx.LockDomain(ctx, tenant, name); err != nil {
			return err
		}
		a, err := tx.AddressByMailbox(ctx, tenant, canonical)
		known := err == nil
		switch {
		case known:
		case KindOf(err) != NotFound:
			return err
		default:
			a = fresh
			if err := isMailFrom(ctx, tx, tenant, name, "emailAddress"); err != nil {
				return err
			}
			if _, all, err := tx.FindAddresses(ctx, tenant, Query{Count: true}); err != nil {
				return err
			} else if most := t.Limits.Domains * t.Limits.AddressesPerDomain; all >= most {
				return Errorf(Limit, "emailAddress", "There are %d addresses, the most there can be; delete one that is no longer used.", all)
			}
			n, err := tx.CountAddresses(ctx, tenant, name, t.Limits.AddressesPerDomain)
			if err != nil {
				return err
			}
			if n >= t.Limits.AddressesPerDomain {
				return Errorf(Limit, "emailAddress", "%s has its %d addresses; delete one that is no longer used.", quote(name.String()), n)
			}
		}
		changed := !known || !a.ByDomain
		a.ByDomain = true
		d, err := covering(a, byName(ctx, tx, tenant))
		if err != nil {
			return err
		}
		st = s.standing(a, d)
		code := ""
		if st.Worth != Verified && s.mayMail(a, now) {
			first := a.Code.SentAt.IsZero()
			if code, err = s.newCode(t, &a, now); err != nil {
				return err
			}
			if !first {
				a.Code.Resent++
			}
			changed = true
		}
		a.UpdatedAt = now
		switch {
		case !known:
			err = tx.InsertAddress(ctx, a)
			if err == nil {
				err = tx.InsertEvent(ctx, NewEvent(p, tenant, EventAddressCreated, a.ID, now))
			}
		case changed:
			err = tx.UpdateAddress(ctx, a)
		}
		if err != nil {
			return err
		}
		st = s.standing(a, d)
		if code == "" {
			return nil
		}
		mailed = true
		return s.sendCode(ctx, tx, p, a, code)
	})
	if KindOf(err) == TooSoon { // for this recipient, today: what is there already stays as it is
		if a, e := s.store.AddressByMailbox(ctx, tenant, canonical); e == nil {
			d, e := covering(a, byName(ctx, s.store, tenant))
			return s.standing(a, d), e
		}
	}
	if err != nil {
		return Standing{}, err
	}
	s.changes.Add(1)
	if mailed {
		s.queued()
	}
	return st, nil
}

// mayMail reports whether a pending address may be sent a code now: its first, or
// another within the limits of sending again.
func (s *Service) mayMail(a Address, now time.Time) bool {
	set := s.settings.Code
	return !now.Before(a.Code.SentAt.Add(set.ResendAfter)) && (!a.Code.Day.Equal(day(now)) || a.Code.Resent < set.ResendPerDay)
}

// Senders lists a tenant's addresses that match a query, of all domains, and how
// many match where the query asks for that.
func (s *Service) Senders(ctx context.Context, p Principal, tenant ID, q Query) (found []Standing, total int, err error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return nil, 0, err
	}
	q.Where = canonicalEmails(q.Where)
	as, total, err := s.store.FindAddresses(ctx, tenant, q)
	if err != nil {
		return nil, 0, err
	}
	known := make(map[dnscheck.Name]*Domain) // also that there is none
	read := byName(ctx, s.store, tenant)
	once := func(name dnscheck.Name) (*Domain, error) {
		d, ok := known[name]
		if ok {
			return d, nil
		}
		d, err := read(name)
		known[name] = d
		return d, err
	}
	for _, a := range as {
		d, err := covering(a, once)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, s.standing(a, d))
	}
	return found, total, nil
}

// canonicalEmails is an expression in which whole addresses are in the form that is
// stored: clients look for what they have sent.
func canonicalEmails(e *Expr) *Expr {
	if e == nil {
		return nil
	}
	c := *e
	c.Args, c.Values = nil, nil
	for _, arg := range e.Args {
		c.Args = append(c.Args, canonicalEmails(arg))
	}
	for _, v := range e.Values {
		if canonical, _, err := ParseMailbox("", v.Text); err == nil && e.Field == "email" && (e.Op == Eq || e.Op == Ne || e.Op == In) {
			v.Text = canonical
		}
		c.Values = append(c.Values, v)
	}
	return &c
}

// DeleteSender removes an address of whichever domain; mail already accepted from it
// is refused at dispatch.
func (s *Service) DeleteSender(ctx context.Context, p Principal, tenant, id ID) error {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
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

// A link in a mail carries tenant, address and a secret made of the code's hash: it
// dies with the code, and tells nothing of it.
const linkSecret = 16 // octets

var linkCoding = base64.RawURLEncoding.Strict()

func (s *Service) linkOf(tenant, address ID, codeHash []byte) string {
	t, a := tenant.Bytes(), address.Bytes()
	b := append(append(t[:], a[:]...), s.keyed("address-link", string(tenant), string(address), string(codeHash))[:linkSecret]...)
	return linkCoding.EncodeToString(b)
}

// LinkState is what a link to confirm an address is worth.
type LinkState string

// The states of a link.
const (
	LinkGood    LinkState = "good"
	LinkUsed    LinkState = "used"    // it has confirmed the address before
	LinkExpired LinkState = "expired" // the code's time is over
	LinkUnknown LinkState = "unknown" // replaced by a newer one, deleted, or never there
)

// Link reads a link without using it. The address is empty where the link is
// unknown.
func (s *Service) Link(ctx context.Context, token string) (state LinkState, address string, err error) {
	tenant, id, ok := parseLink(token)
	if !ok {
		return LinkUnknown, "", nil
	}
	a, err := s.store.Address(ctx, tenant, id)
	if KindOf(err) == NotFound {
		return LinkUnknown, "", nil
	}
	if err != nil {
		return "", "", err
	}
	if state = s.judge(a, token); state != LinkUnknown {
		address = a.Spelling
	}
	return state, address, nil
}

func parseLink(token string) (tenant, id ID, ok bool) {
	b, err := linkCoding.DecodeString(token)
	if err != nil || len(b) != 32+linkSecret {
		return "", "", false
	}
	return IDFromBytes([16]byte(b[:16])), IDFromBytes([16]byte(b[16:32])), true
}

func (s *Service) judge(a Address, token string) LinkState {
	is := func(hash []byte) bool {
		return len(hash) > 0 && subtle.ConstantTimeCompare([]byte(s.linkOf(a.Tenant, a.ID, hash)), []byte(token)) == 1
	}
	switch {
	case is(a.Code.Used):
		return LinkUsed
	case !is(a.Code.Hash):
		return LinkUnknown
	case !s.now().Before(a.Code.ExpiresAt):
		return LinkExpired
	}
	return LinkGood
}

// ConfirmLink proves an address by the link from the mail. It may be used again and
// says the same then.
func (s *Service) ConfirmLink(ctx context.Context, token string) (state LinkState, address string, err error) {
	// Anybody may try: what is worth nothing must cost no transaction.
	if state, address, err = s.Link(ctx, token); err != nil || state != LinkGood {
		return state, address, err
	}
	tenant, id, _ := parseLink(token)
	err = s.store.Update(ctx, func(tx Tx) error {
		state, address = LinkUnknown, ""
		a, err := tx.Address(ctx, tenant, id)
		if err != nil {
			return err
		}
		if err := tx.LockDomain(ctx, tenant, a.Domain); err != nil {
			return err
		}
		if a, err = tx.Address(ctx, tenant, id); err != nil {
			return err
		}
		if state = s.judge(a, token); state != LinkUnknown {
			address = a.Spelling
		}
		if state != LinkGood {
			return nil
		}
		now := s.now()
		a.Status, a.By, a.Code, a.UpdatedAt = Verified, ByCode, CodeState{Used: a.Code.Hash}, now
		if err := tx.UpdateAddress(ctx, a); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(Principal{}, tenant, EventAddressActive, id, now, "by", "link"))
	})
	if KindOf(err) == NotFound {
		return LinkUnknown, "", nil
	}
	s.changes.Add(1)
	return state, address, err
}

// linkText is the sentence of a mail with a link; empty where there is no public
// URL to lead to.
func (s *Service) linkText(a Address) string {
	if s.settings.PublicURL == "" {
		return ""
	}
	return "Or confirm the address on this page: " + strings.TrimSuffix(s.settings.PublicURL, "/") + "/confirm/" + s.linkOf(a.Tenant, a.ID, a.Code.Hash) + "\n\n"
}
