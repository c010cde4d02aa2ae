package store

import (
	"context"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

func massGuardOf(r db.MassGuard) sender.MassGuard {
	g := sender.MassGuard{
		FrozenAt: moment(r.FrozenAt), Everybody: r.Everybody, ReleasedAt: moment(r.ReleasedAt), ReleasedBy: sender.ID(r.ReleasedBy), Reason: r.Reason,
	}
	for id := range strings.FieldsSeq(r.Tenants) {
		g.Tenants = append(g.Tenants, sender.ID(id))
	}
	return g
}

func (r reader) MassGuard(ctx context.Context) (sender.MassGuard, error) {
	row, err := r.q.MassGuard(ctx)
	return massGuardOf(row), broken("read the mass guard", err)
}

func (r reader) CountAbsent(ctx context.Context, after time.Time) (byTenant map[sender.ID]int, newest time.Time, err error) {
	rows, err := r.q.CountAbsent(ctx, micros(after))
	byTenant = make(map[sender.ID]int, len(rows))
	for _, row := range rows {
		byTenant[sender.ID(row.TenantID)] = int(row.N)
		if at := moment(row.Newest); at.After(newest) {
			newest = at
		}
	}
	return byTenant, newest, broken("count absent email domains", err)
}

func (r reader) AbsentDomains(ctx context.Context, after time.Time, limit int) ([]sender.Domain, error) {
	rows, err := r.q.AbsentDomains(ctx, micros(after), int64(limit))
	return each(rows, err, "absent email domains", domainOf)
}

func (r reader) CountHolding(ctx context.Context, tenant sender.ID) (int, error) {
	var n int64
	var err error
	if tenant == "" {
		n, err = r.q.CountHolding(ctx)
	} else {
		n, err = r.q.CountHoldingOf(ctx, string(tenant))
	}
	return int(n), broken("count email domains that hold", err)
}

func (t *tx) LockMassGuard(ctx context.Context) (sender.MassGuard, error) {
	row, err := t.q.LockMassGuard(ctx)
	return massGuardOf(row), broken("lock the mass guard", err)
}

func (t *tx) PutMassGuard(ctx context.Context, g sender.MassGuard) error {
	var tenants []string
	for _, id := range g.Tenants {
		tenants = append(tenants, string(id))
	}
	return broken("write the mass guard", t.q.PutMassGuard(ctx, db.PutMassGuardParams{
		FrozenAt: micros(g.FrozenAt), Everybody: g.Everybody, Tenants: strings.Join(tenants, " "), ReleasedAt: micros(g.ReleasedAt), ReleasedBy: string(g.ReleasedBy), Reason: g.Reason,
	}))
}
