package store

import (
	"context"
	"fmt"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

// lastID is not before any id.
const lastID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

func (r reader) Timeline(ctx context.Context, tenant, domain sender.ID, page sender.Page) ([]sender.TimelineEntry, error) {
	before := string(page.After)
	if before == "" {
		before = lastID
	}
	rows, err := r.q.Timeline(ctx, db.TimelineParams{TenantID: string(tenant), DomainID: string(domain), Before: before, Most: most(page)})
	return each(rows, err, "the time line", func(row db.Timeline) (sender.TimelineEntry, error) {
		var e sender.TimelineEntry
		err := decode(row.Entry, &e, "time line of domain ", row.DomainID)
		e.ID, e.Tenant, e.Domain, e.At = sender.ID(row.ID), sender.ID(row.TenantID), sender.ID(row.DomainID), moment(row.At)
		return e, err
	})
}

func (t *tx) AddTimeline(ctx context.Context, tenant, domain sender.ID, entries []sender.TimelineEntry, keep int) error {
	for _, e := range entries {
		entry, err := encode(e)
		if err != nil {
			return err
		}
		n, err := t.q.InsertTimeline(ctx, db.InsertTimelineParams{
			TenantID: string(tenant), DomainID: string(domain), ID: string(e.ID), At: micros(e.At), Entry: entry,
		})
		if err := touched(n, err, "email domain"); err != nil {
			return err
		}
	}
	_, err := t.q.TrimTimeline(ctx, string(tenant), string(domain), int64(keep))
	return broken("trim the time line", err)
}

func (t *tx) ForgetTimeline(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.q.ForgetTimeline(ctx, micros(before), int64(limit))
	return int(n), broken("forget old entries of time lines", err)
}

func tombstoneOf(r db.Tombstone) (sender.Tombstone, error) {
	x := sender.Tombstone{
		ID: sender.ID(r.ID), Tenant: sender.ID(r.TenantID), Domain: sender.ID(r.DomainID), Spelling: r.Spelling,
		DeletedAt: moment(r.DeletedAt), CheckedAt: moment(r.CheckedAt), NextCheck: moment(r.NextCheckAt),
	}
	var err error
	if x.Name, err = dnscheck.ParseName(r.Name); err != nil {
		return x, fmt.Errorf("store: name of tombstone %s: %w", r.ID, err)
	}
	return x, decode(r.Records, &x.Records, "records of tombstone ", r.ID)
}

func (r reader) Tombstones(ctx context.Context, tenant sender.ID, page sender.Page) ([]sender.Tombstone, error) {
	rows, err := r.q.Tombstones(ctx, string(tenant), string(page.After), most(page))
	return each(rows, err, "deleted email domains", tombstoneOf)
}

func (t *tx) InsertTombstone(ctx context.Context, x sender.Tombstone, keep int) error {
	records, err := encode(x.Records)
	if err != nil {
		return err
	}
	n, err := t.q.InsertTombstone(ctx, db.InsertTombstoneParams{
		TenantID: string(x.Tenant), ID: string(x.ID), DomainID: string(x.Domain), Name: x.Name.String(), Spelling: x.Spelling, Records: records,
		DeletedAt: micros(x.DeletedAt), CheckedAt: micros(x.CheckedAt), NextCheckAt: micros(x.NextCheck),
	})
	if err := inserted(n, err, "id", "There is a tombstone with the id %s already.", quote(string(x.ID))); err != nil {
		return err
	}
	_, err = t.q.TrimTombstones(ctx, string(x.Tenant), int64(keep))
	return broken("trim the deleted email domains", err)
}

func (t *tx) UpdateTombstone(ctx context.Context, x sender.Tombstone) error {
	records, err := encode(x.Records)
	if err != nil {
		return err
	}
	n, err := t.q.UpdateTombstone(ctx, db.UpdateTombstoneParams{
		TenantID: string(x.Tenant), ID: string(x.ID), Records: records, CheckedAt: micros(x.CheckedAt), NextCheckAt: micros(x.NextCheck),
	})
	return touched(n, err, "deleted email domain")
}

func (t *tx) DeleteTombstone(ctx context.Context, tenant, id sender.ID) error {
	n, err := t.q.DeleteTombstone(ctx, string(tenant), string(id))
	return touched(n, err, "deleted email domain")
}

func (t *tx) ClaimDueTombstones(ctx context.Context, now, until time.Time, limit int) ([]sender.Tombstone, error) {
	rows, err := t.q.ClaimDueTombstones(ctx, micros(until), micros(now), int64(limit))
	return each(rows, err, "deleted email domains that are due", tombstoneOf)
}
