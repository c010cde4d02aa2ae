package store

import (
	"context"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store/db"
)

func massGuardOf(r db.MassGuard) sender.MassGuard {
	return sender.MassGuard{FrozenAt: moment(r.FrozenAt), ReleasedAt: moment(r.ReleasedAt), ReleasedBy: sender.ID(r.ReleasedBy), Reason: r.Reason}
}

func (r reader) MassGuard(ctx context.Context) (sender.MassGuard, error) {
	row, err := r.q.MassGuard(ctx)
	return massGuardOf(row), broken("read the mass guard", err)
}

func (r reader) CountAbsent(ctx context.Context, after time.Time) (int, time.Time, error) {
	row, err := r.q.CountAbsent(ctx, micros(after))
	return int(row.N), moment(row.Newest), broken("count absent email domains", err)
}

func (r reader) AbsentDomains(ctx context.Context, after time.Time, limit int) ([]sender.Domain, error) {
	rows, err := r.q.AbsentDomains(ctx, micros(after), int64(limit))
	return each(rows, err, "absent email domains", domainOf)
}

func (r reader) CountHolding(ctx context.Context) (int, error) {
	n, err := r.q.CountHolding(ctx)
	return int(n), broken("count email domains that hold", err)
}

func (t *tx) LockMassGuard(ctx context.Context) (sender.MassGuard, error) {
	row, err := t.q.LockMassGuard(ctx)
	return massGuardOf(row), broken("lock the mass guard", err)
}

func (t *tx) PutMassGuard(ctx context.Context, g sender.MassGuard) error {
	return broken("write the mass guard", t.q.PutMassGuard(ctx, db.PutMassGuardParams{
		FrozenAt: micros(g.FrozenAt), ReleasedAt: micros(g.ReleasedAt), ReleasedBy: string(g.ReleasedBy), Reason: g.Reason,
	}))
}
