package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

func (r reader) Hold(ctx context.Context, name dnscheck.Name) (sender.Hold, error) {
	row, err := r.q.Hold(ctx, name.String())
	if err != nil {
		return sender.Hold{}, missing("holder of the name", err)
	}
	h := sender.Hold{Name: name, Tenant: sender.ID(row.TenantID), Domain: sender.ID(row.DomainID), Since: moment(row.Since), Version: row.Version}
	if row.Claim == "" {
		return h, nil
	}
	return h, decode(row.Claim, &h.Claim, "claim to ", row.Name)
}

func (r reader) DomainsProven(ctx context.Context, name dnscheck.Name, limit int) ([]sender.Domain, error) {
	rows, err := r.q.DomainsProven(ctx, name.String(), int64(limit))
	return each(rows, err, "email domains of a name", domainOf)
}

// LastSent reads a tenant's messages backwards, no further than since: an id begins
// with the millisecond it was made in (RFC 9562, section 5.7).
func (r reader) LastSent(ctx context.Context, tenant sender.ID, name dnscheck.Name, since time.Time) (time.Time, error) {
	ms := fmt.Sprintf("%012x", max(since.UnixMilli(), 0))
	at, err := r.q.LastSent(ctx, db.LastSentParams{
		TenantID: string(tenant), After: ms[:8] + "-" + ms[8:], Since: micros(since), At: "%@" + name.String(), Below: "%." + name.String(),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	return moment(at), broken("find the last message of a name", err)
}

// encodeClaim writes nothing where nobody claims the name.
func encodeClaim(c sender.Claim) (string, error) {
	if c == (sender.Claim{}) {
		return "", nil
	}
	return encode(c)
}

func (t *tx) InsertHold(ctx context.Context, h sender.Hold) error {
	claim, err := encodeClaim(h.Claim)
	if err != nil {
		return err
	}
	n, err := t.q.InsertHold(ctx, db.InsertHoldParams{
		Name: h.Name.String(), TenantID: string(h.Tenant), DomainID: string(h.Domain), Since: micros(h.Since), Claim: claim,
	})
	return inserted(n, err, "domainName", "%s is held already.", quote(h.Name.String()))
}

func (t *tx) UpdateHold(ctx context.Context, h sender.Hold) error {
	claim, err := encodeClaim(h.Claim)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateHold(ctx, db.UpdateHoldParams{
		Name: h.Name.String(), Version: h.Version, TenantID: string(h.Tenant), DomainID: string(h.Domain), Since: micros(h.Since), Claim: claim,
	})
	return swapped(n, err, h)
}

func (t *tx) DeleteHold(ctx context.Context, h sender.Hold) error {
	n, err := t.q.DeleteHold(ctx, h.Name.String(), h.Version)
	return swapped(n, err, h)
}

// swapped answers Conflict where another version is there, or none.
func swapped(n int64, err error, h sender.Hold) error {
	if err == nil && n == 0 {
		return sender.Errorf(sender.Conflict, "", "Who holds %s has changed meanwhile.", quote(h.Name.String()))
	}
	return broken("write the holder of a name", err)
}
