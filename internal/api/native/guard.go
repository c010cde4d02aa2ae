package native

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postseal/postseal/internal/sender"
)

type massBody struct {
	FrozenAt   time.Time    `json:"frozenAt,omitzero" doc:"Absent while nothing is held back."`
	Everybody  bool         `json:"everybody" doc:"The losses of all tenants are held back."`
	Tenants    []sender.ID  `json:"tenants" doc:"Where not everybody's: the tenants whose losses are held back."`
	Absent     int          `json:"absent" doc:"Domains of which something that holds was not found; those that were released are not counted."`
	Holding    int          `json:"holding" doc:"Domains of which something holds."`
	Domains    []absentBody `json:"domains" doc:"The first hundred of the absent ones, the longest absent first."`
	ReleasedAt time.Time    `json:"releasedAt,omitzero" doc:"Of the last release."`
	ReleasedBy sender.ID    `json:"releasedBy,omitzero" doc:"The credential; absent for the command line."`
	Reason     string       `json:"reason,omitzero" doc:"Of the last release."`
}

type absentBody struct {
	Tenant      sender.ID `json:"tenant"`
	Domain      sender.ID `json:"domain"`
	Name        string    `json:"name"`
	AbsentSince time.Time `json:"absentSince"`
}

func massOf(m sender.MassState) massBody {
	b := massBody{
		FrozenAt: m.FrozenAt, Everybody: m.Everybody, Tenants: append([]sender.ID{}, m.Tenants...), Absent: m.Absent, Holding: m.Holding, Domains: make([]absentBody, len(m.Domains)),
		ReleasedAt: m.ReleasedAt, ReleasedBy: m.ReleasedBy, Reason: m.Reason,
	}
	for i, d := range m.Domains {
		b.Domains[i] = absentBody{d.Tenant, d.ID, d.Spelling, d.AbsentSince}
	}
	return b
}

func (e *edge) massGuard() {
	tags := []string{"Mass guard"}
	register(e, huma.Operation{
		OperationID: "get-mass-guard", Method: http.MethodGet, Path: "/v1/mass-guard", Tags: tags, Summary: "See whether losses are held back",
		Description: "For operators. While too many domains have lost their records at once, no proof is lost: nobody's, or where they are one tenant's, none of that tenant's.",
	}, func(ctx context.Context, p sender.Principal, _ *struct{}) (*body[massBody], error) {
		m, err := e.service.MassState(ctx, p)
		return &body[massBody]{massOf(m)}, err
	})
	register(e, huma.Operation{
		OperationID: "release-mass-guard", Method: http.MethodPost, Path: "/v1/mass-guard/release", Tags: tags, Summary: "Let the domains that are absent now lapse in their time",
		Description: "For operators, where the losses are true. Domains that turn absent later are guarded as ever. The reason goes into the audit log.",
		Errors:      []int{http.StatusConflict},
	}, func(ctx context.Context, p sender.Principal, in *struct {
		Body struct {
			Reason string `json:"reason"`
		}
	},
	) (*body[massBody], error) {
		m, err := e.service.ReleaseMass(ctx, p, in.Body.Reason)
		return &body[massBody]{massOf(m)}, err
	})
}
