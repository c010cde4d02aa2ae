package sender

import (
	"context"
	"fmt"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Claims are the settings of who may prove a name that another tenant has proven.
type Claims struct {
	Policy   ClaimPolicy
	Fresh    time.Duration // a claim begins so soon after its token was made, or never
	Patience time.Duration // a claimant's record must have been gone for so long, twice seen, to end a claim
	Cooldown time.Duration // in which the holder can object
	Quiet    time.Duration // for so long the holder must not have sent mail
}

// ClaimPolicy says whether a name has one holder.
type ClaimPolicy string

// The policies.
const (
	SharedNames    ClaimPolicy = "shared"    // every tenant that proves a name has it
	ExclusiveNames ClaimPolicy = "exclusive" // the first one has it, until it loses its proof or another claims it
)

// Hold says which domain has a name, with ExclusiveNames. A name is held as it is
// spelled: not those above or below it. The row is there while the domain is proven.
type Hold struct {
	Name    dnscheck.Name
	Tenant  ID
	Domain  ID
	Since   time.Time // when it was proven, or won
	Claim   Claim
	Version int64
}

// Claim is another domain's claim to a held name; the zero value is none. It goes on
// while the claimant's ownership record is seen.
type Claim struct {
	Tenant   ID        `json:"tenant"`
	Domain   ID        `json:"domain"`
	At       time.Time `json:"at"`
	WarnedAt time.Time `json:"warnedAt,omitzero"` // when the half-time warning went out; zero: it did not
	GoneAt   time.Time `json:"goneAt,omitzero"`   // when the ownership record was first not there; zero: it is
	SentAt   time.Time `json:"sentAt,omitzero"`   // the holder's newest mail when last looked, once the cool-down was over
}

// until returns when the cool-down is over. The second warning, which is late where the
// record was not seen at half-time, leaves the holder half of it: else a claimant could hide
// the record until the end, and win with the next look.
func (c Claim) until(s Claims) time.Time {
	end := c.At.Add(s.Cooldown)
	if late := c.WarnedAt.Add(s.Cooldown / 2); !c.WarnedAt.IsZero() && late.After(end) {
		return late
	}
	return end
}

// ClaimStep is what a look at a domain means for the holding of its name.
type ClaimStep string

// The steps. Only with the first and the last may the domain become proven.
const (
	ClaimFree  ClaimStep = "free"    // nobody else holds the name
	ClaimNone  ClaimStep = "none"    // it is held, and the domain has not shown its ownership record
	ClaimStale ClaimStep = "stale"   // its token is older than the holder's proof, or was shown too late
	ClaimTaken ClaimStep = "taken"   // another domain's claim is under way
	ClaimBegin ClaimStep = "begin"   //
	ClaimWait  ClaimStep = "waiting" // the cool-down is not over
	ClaimWarn  ClaimStep = "warn"    // half of it is, and the holder is to be told again
	ClaimBusy  ClaimStep = "busy"    // the holder has sent mail of late
	ClaimGone  ClaimStep = "gone"    // the ownership record is not there, for the first time
	ClaimBack  ClaimStep = "back"    // it is there again
	ClaimEnd   ClaimStep = "end"     // it is gone for good
	ClaimWin   ClaimStep = "win"     // the name goes to the claimant
)

// Contest is what DecideClaim decides upon.
type Contest struct {
	Hold    *Hold // nil: nobody holds the name
	Domain  ID    // whose look it is
	Seen    dnscheck.Outcome
	TokenAt time.Time // when the token that was seen was made; zero: it is one that lapsed
	SentAt  time.Time // the holder's newest mail within Claims.Quiet; zero: none
	Asked   bool      // by a client: that never worsens anything
}

// DecideClaim decides what becomes of a domain whose name may be another's. It is
// pure.
//
//	held by another, no claim of ours   ownership seen, token fresh    begin, unless another claims it
//	our claim                           ownership gone, background     gone; later end
//	                                    unknown, or asked for          waiting
//	                                    there again                    back
//	                                    half of the cool-down over     warn, once
//	                                    cool-down not over             waiting
//	                                    holder sent mail of late       busy
//	                                    otherwise                      win
func DecideClaim(c Contest, now time.Time, s Claims) ClaimStep {
	if c.Hold == nil || c.Hold.Domain == c.Domain {
		return ClaimFree
	}
	claim := c.Hold.Claim
	if claim.Domain != c.Domain {
		switch {
		case c.Seen != dnscheck.Match:
			return ClaimNone
		case !c.TokenAt.After(c.Hold.Since) || now.Sub(c.TokenAt) > s.Fresh:
			return ClaimStale
		case claim.Domain != "":
			return ClaimTaken
		}
		return ClaimBegin
	}
	absent := c.Seen == dnscheck.Missing || c.Seen == dnscheck.Mismatch
	switch gone := now.Sub(claim.At); {
	case absent && !c.Asked && claim.GoneAt.IsZero():
		return ClaimGone
	case absent && !c.Asked && now.Sub(claim.GoneAt) >= s.Patience:
		return ClaimEnd
	case c.Seen != dnscheck.Match:
		return ClaimWait
	case !claim.GoneAt.IsZero():
		return ClaimBack
	case gone >= s.Cooldown/2 && claim.WarnedAt.IsZero():
		return ClaimWarn
	case now.Before(claim.until(s)):
		return ClaimWait
	case !c.SentAt.IsZero() && now.Sub(c.SentAt) < s.Quiet:
		return ClaimBusy
	}
	return ClaimWin
}

// ownership says whether a domain's ownership record was seen, in whatever region,
// and when the token was made that was.
func ownership(d Domain, findings []dnscheck.Finding) (seen dnscheck.Outcome, tokenAt time.Time) {
	for _, f := range d.Facets {
		if f.Purpose != dnscheck.Ownership {
			continue
		}
		o := Observe(findingsOf(findings, f), false).Outcome
		switch {
		case o == dnscheck.Match:
			seen = o
			// A pending facet has been so since its token was made.
			if f.Status == Pending && f.Since.After(tokenAt) {
				tokenAt = f.Since
			}
		case seen == "" || o == dnscheck.Unknown && seen != dnscheck.Match:
			seen = o
		}
	}
	if seen == "" {
		seen = dnscheck.Unknown
	}
	return seen, tokenAt
}

func (s *Service) exclusive() bool { return s.settings.Claims.Policy == ExclusiveNames }

// lockName makes all that happens to a name wait for one another, of whatever tenant.
// It comes before LockDomain, always: the holder's domain is locked last of all.
func (s *Service) lockName(ctx context.Context, tx Tx, name dnscheck.Name) error {
	if !s.exclusive() {
		return nil
	}
	return tx.LockDomain(ctx, "", name)
}

// contest is a look's part in the holding of a name. Its zero value bars nothing.
type contest struct {
	hold *Hold
	step ClaimStep
}

// bars reports whether a facet must not become verified.
func (c contest) bars(f Facet) bool {
	return c.step != "" && c.step != ClaimFree && c.step != ClaimWin && f.Proves() && !f.Status.Holds()
}

// holderSent returns when the holder of a name last sent mail from it, where that can
// matter for this domain's claim. It reads many rows, and so outside any transaction.
func (s *Service) holderSent(ctx context.Context, d Domain) (holder ID, at time.Time, err error) {
	if !s.exclusive() || d.Proven() {
		return "", time.Time{}, nil
	}
	h, err := s.store.Hold(ctx, d.Name)
	if KindOf(err) == NotFound || err == nil && (h.Claim.Domain != d.ID || s.now().Before(h.Claim.until(s.settings.Claims))) {
		return "", time.Time{}, nil
	} else if err != nil {
		return "", time.Time{}, err
	}
	at, err = s.store.LastSent(ctx, h.Tenant, d.Name, s.now().Add(-s.settings.Claims.Quiet))
	return h.Domain, at, err
}

// heldBy returns who holds a name. Where no row says so, as when names were shared
// before, it is whoever was proven first.
func (s *Service) heldBy(ctx context.Context, tx Tx, name dnscheck.Name) (*Hold, error) {
	h, err := tx.Hold(ctx, name)
	if err == nil {
		d, e := tx.Domain(ctx, h.Tenant, h.Domain)
		switch {
		case e == nil && d.Proven():
			return s.withClaimant(ctx, tx, h)
		case e != nil && KindOf(e) != NotFound:
			return nil, e
		}
		if err := tx.DeleteHold(ctx, h); err != nil { // its proof was lost while names were shared
			return nil, err
		}
	} else if KindOf(err) != NotFound {
		return nil, err
	}
	ds, err := tx.DomainsProven(ctx, name, 1000)
	if err != nil {
		return nil, err
	}
	for _, d := range ds {
		if d.Proven() {
			h := Hold{Name: name, Tenant: d.Tenant, Domain: d.ID, Since: d.ProvenAt, Version: 1}
			return &h, tx.InsertHold(ctx, h)
		}
	}
	return nil, nil
}

// withClaimant forgets a claim whose domain is no more.
func (s *Service) withClaimant(ctx context.Context, tx Tx, h Hold) (*Hold, error) {
	if h.Claim.Domain == "" {
		return &h, nil
	}
	_, err := tx.Domain(ctx, h.Claim.Tenant, h.Claim.Domain)
	if KindOf(err) == NotFound {
		return s.endClaim(ctx, tx, h)
	}
	return &h, err
}

// claim decides what a look at d means for the holding of its name, and does it. d
// itself is not written here.
func (s *Service) claim(ctx context.Context, tx Tx, d Domain, findings []dnscheck.Finding, holder ID, sentAt, now time.Time, byClient bool) (c contest, err error) {
	if !s.exclusive() {
		return c, nil
	}
	if c.hold, err = s.heldBy(ctx, tx, d.Name); err != nil || d.Proven() { // who had it before names had one holder keeps it
		return c, err
	}
	x := Contest{Hold: c.hold, Domain: d.ID, Asked: byClient}
	x.Seen, x.TokenAt = ownership(d, findings)
	if c.step = DecideClaim(x, now, s.settings.Claims); c.step != ClaimWin {
		return c, s.step(ctx, tx, d, c, now)
	}
	if holder != c.hold.Domain { // who holds it, or how far the claim is, changed since that was looked up
		c.step = ClaimWait
		return c, nil
	}
	x.SentAt = sentAt
	if c.step = DecideClaim(x, now, s.settings.Claims); c.step == ClaimBusy && !sentAt.Equal(c.hold.Claim.SentAt) {
		c.hold.Claim.SentAt = sentAt
		return c, s.swap(ctx, tx, c.hold)
	}
	return c, s.step(ctx, tx, d, c, now)
}

// step does what was decided, and tells both sides: the holder not who claims the
// name, the claimant not who holds it.
func (s *Service) step(ctx context.Context, tx Tx, d Domain, c contest, now time.Time) error {
	h := c.hold
	tell := func(t EventType, tenant, domain ID, data ...string) error {
		return tx.InsertEvent(ctx, NewEvent(Principal{}, tenant, t, domain, now, append([]string{"domainName", d.Name.String()}, data...)...))
	}
	switch c.step {
	case ClaimBegin:
		h.Claim = Claim{Tenant: d.Tenant, Domain: d.ID, At: now}
		until := now.Add(s.settings.Claims.Cooldown).Format(time.RFC3339)
		if err := s.swap(ctx, tx, h); err != nil {
			return err
		}
		if err := tell(EventClaimBegun, d.Tenant, d.ID, "until", until); err != nil {
			return err
		}
		return tell(EventClaimWarning, h.Tenant, h.Domain, "stage", "start", "until", until)
	case ClaimGone:
		h.Claim.GoneAt = now
		return s.swap(ctx, tx, h)
	case ClaimBack:
		h.Claim.GoneAt = time.Time{}
		return s.swap(ctx, tx, h)
	case ClaimWarn:
		h.Claim.WarnedAt = now
		until := h.Claim.until(s.settings.Claims).Format(time.RFC3339)
		if err := s.swap(ctx, tx, h); err != nil {
			return err
		}
		return tell(EventClaimWarning, h.Tenant, h.Domain, "stage", "half", "until", until)
	case ClaimEnd:
		if err := tell(EventClaimEnded, d.Tenant, d.ID); err != nil {
			return err
		}
		_, err := s.endClaim(ctx, tx, *h)
		return err
	case ClaimWin:
		if err := s.unseat(ctx, tx, *h, now); err != nil {
			return err
		}
		*h = Hold{Name: h.Name, Tenant: d.Tenant, Domain: d.ID, Since: now, Version: h.Version}
		if err := s.swap(ctx, tx, h); err != nil {
			return err
		}
		return tell(EventClaimWon, d.Tenant, d.ID)
	}
	return nil
}

// endClaim takes a claim off a hold and tells the holder.
func (s *Service) endClaim(ctx context.Context, tx Tx, h Hold) (*Hold, error) {
	h.Claim = Claim{}
	if err := s.swap(ctx, tx, &h); err != nil {
		return nil, err
	}
	return &h, tx.InsertEvent(ctx, NewEvent(Principal{}, h.Tenant, EventClaimEnded, h.Domain, s.now(), "domainName", h.Name.String()))
}

// swap writes a hold whose version is still the one read.
func (s *Service) swap(ctx context.Context, tx Tx, h *Hold) error {
	if err := tx.UpdateHold(ctx, *h); err != nil {
		return err
	}
	h.Version++
	return nil
}

// unseat takes the proof of the domain that held a name. Its tokens are older than the
// winner's proof, so that its records, where they are still there, win nothing back.
func (s *Service) unseat(ctx context.Context, tx Tx, h Hold, now time.Time) error {
	if err := tx.LockDomain(ctx, h.Tenant, h.Name); err != nil {
		return err
	}
	d, err := tx.Domain(ctx, h.Tenant, h.Domain)
	if err != nil {
		return err
	}
	for i, f := range d.Facets {
		if f.Proves() && f.Status.Holds() {
			d.Facets[i] = f.enter(Lapsed, now)
		}
	}
	d.UpdatedAt = now
	if err := tx.UpdateDomain(ctx, d); err != nil {
		return err
	}
	for _, t := range []EventType{EventClaimLost, EventDomainProofLost} {
		if err := tx.InsertEvent(ctx, NewEvent(Principal{}, d.Tenant, t, d.ID, now, "domainName", d.Spelling)); err != nil {
			return err
		}
	}
	return nil
}

// holdName keeps the row of a name as its domain is after a look: there while it is
// proven, and gone with its proof.
func (s *Service) holdName(ctx context.Context, tx Tx, d Domain, c contest, now time.Time) error {
	switch {
	case !s.exclusive():
		return nil
	case d.Proven() && c.hold == nil:
		return tx.InsertHold(ctx, Hold{Name: d.Name, Tenant: d.Tenant, Domain: d.ID, Since: now})
	case !d.Proven() && c.hold != nil && c.hold.Domain == d.ID:
		return tx.DeleteHold(ctx, *c.hold)
	}
	return nil
}

// withdraw ends the claim of a domain that is about to be deleted.
func (s *Service) withdraw(ctx context.Context, tx Tx, d Domain) error {
	if !s.exclusive() {
		return nil
	}
	h, err := tx.Hold(ctx, d.Name)
	switch {
	case KindOf(err) == NotFound || err == nil && h.Claim.Domain != d.ID:
		return nil
	case err != nil:
		return err
	}
	_, err = s.endClaim(ctx, tx, h)
	return err
}

// ClaimStatus tells a tenant why a domain whose records are there is not proven.
type ClaimStatus struct {
	Step   ClaimStep
	Detail string    // a sentence or two: that the name is held, and what happens next
	Until  time.Time // when the name can be won at the earliest; zero: unknown
}

// ClaimOf returns how things stand for a domain whose name another tenant holds; nil
// where nobody does, and for whoever has not shown the ownership record: that a name
// is in use is told to those alone who control it.
func (s *Service) ClaimOf(ctx context.Context, p Principal, d Domain) (*ClaimStatus, error) {
	if !s.exclusive() || d.Proven() {
		return nil, nil
	}
	if _, _, err := s.domain(ctx, p, d.Tenant, d.ID, RoleReader); err != nil {
		return nil, err
	}
	h, err := s.store.Hold(ctx, d.Name)
	if KindOf(err) == NotFound {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	last, err := s.store.LastCheck(ctx, d.Tenant, d.ID)
	if err != nil && KindOf(err) != NotFound {
		return nil, err
	}
	x := Contest{Hold: &h, Domain: d.ID, SentAt: h.Claim.SentAt, Asked: true}
	x.Seen, x.TokenAt = ownership(d, last.Findings)
	return claimStatus(x, s.now(), s.settings.Claims), nil
}

// claimStatus finds the words for a step.
func claimStatus(x Contest, now time.Time, c Claims) *ClaimStatus {
	st := &ClaimStatus{Step: DecideClaim(x, now, c)}
	const held = "The ownership record is there, but this name is held by another registration that was proven before. "
	switch st.Step {
	case ClaimFree, ClaimNone:
		return nil
	case ClaimStale:
		st.Detail = held + fmt.Sprintf("To claim it, delete this domain, register it again and publish its new ownership record within %d days: only a token newer than the holder's proof counts.", int(c.Fresh.Hours()/24))
	case ClaimTaken:
		st.Detail = held + "A claim to it is under way already; this domain's can begin when that has ended."
	case ClaimBegin:
		st.Detail = held + fmt.Sprintf("A claim to it begins with the next check. The name then passes to this domain after %s, if the record stays and the holder sends no mail.", c.Cooldown)
	case ClaimBusy:
		st.Until = x.SentAt.Add(c.Quiet).Truncate(24 * time.Hour).Add(24 * time.Hour) // the day is enough to know
		st.Detail = held + fmt.Sprintf("The cool-down of the claim is over, but the holder has sent mail from the name of late. Leave the record in place: the name passes to this domain when the holder has been quiet for %d days, or ask the operator of this service.", int(c.Quiet.Hours()/24))
	default: // the rest is a matter of time, or of the next check
		st.Until = x.Hold.Claim.until(c)
		st.Detail = held + "A claim to it is under way. Leave the record in place: after the cool-down the name passes to this domain, unless the holder has sent mail from it of late."
	}
	return st
}
