package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/postseal/postseal/internal/app"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

type guardCmd struct {
	Status  guardStatusCmd  `cmd:"" help:"Show whether losses are held back, and which domains are absent."`
	Release guardReleaseCmd `cmd:"" help:"Let the domains that are absent now lapse in their time."`
}

// Help is shown by postseal guard --help.
func (guardCmd) Help() string {
	return `While too many domains have lost their records at once (verify.mass_guard), no proof is lost; where they are all one tenant's, none of that tenant's. If they are gone for good, wait until all of them were looked at (verify.active_every) and release them. These work on the database itself; over the network the same is done by the native API, /v1/mass-guard.`
}

type guardStatusCmd struct {
	configFlags
	JSON bool `help:"One JSON object."`
}

func (c *guardStatusCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	return app.WithStore(s.ctx, cfg, s.configured(cfg), func(st sender.Store) error {
		m, err := sender.MassStateOf(s.ctx, st, auth.Local())
		if err != nil {
			return err
		}
		if c.JSON {
			type absent struct {
				Tenant sender.ID `json:"tenant"`
				Domain sender.ID `json:"domain"`
				Name   string    `json:"name"`
				Since  time.Time `json:"absentSince"`
			}
			out := struct {
				FrozenAt   time.Time   `json:"frozenAt,omitzero"`
				Everybody  bool        `json:"everybody"`
				Tenants    []sender.ID `json:"tenants"`
				Absent     int         `json:"absent"`
				Holding    int         `json:"holding"`
				Domains    []absent    `json:"domains"`
				ReleasedAt time.Time   `json:"releasedAt,omitzero"`
				Reason     string      `json:"reason,omitempty"`
			}{m.FrozenAt, m.Everybody, append([]sender.ID{}, m.Tenants...), m.Absent, m.Holding, make([]absent, len(m.Domains)), m.ReleasedAt, m.Reason}
			for i, d := range m.Domains {
				out.Domains[i] = absent{d.Tenant, d.ID, d.Spelling, d.AbsentSince}
			}
			return json.NewEncoder(s.out).Encode(out)
		}
		switch {
		case m.FrozenAt.IsZero():
			fmt.Fprintln(s.out, "Nothing is held back.")
		case m.Everybody:
			fmt.Fprintf(s.out, "The losses of all tenants are held back since %s.\n", m.FrozenAt.Format(time.RFC3339))
		default:
			fmt.Fprintf(s.out, "Losses are held back since %s, of these tenants alone:\n", m.FrozenAt.Format(time.RFC3339))
			for _, tenant := range m.Tenants {
				fmt.Fprintln(s.out, " ", tenant)
			}
		}
		fmt.Fprintf(s.out, "Of %d domains that hold something, %d lack a record of it.\n", m.Holding, m.Absent)
		if !m.ReleasedAt.IsZero() {
			fmt.Fprintf(s.out, "Last released at %s: %s\n", m.ReleasedAt.Format(time.RFC3339), m.Reason)
		}
		table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		for i, d := range m.Domains {
			if i == 0 {
				fmt.Fprintln(table, "TENANT\tABSENT SINCE\tDOMAIN")
			}
			fmt.Fprintf(table, "%s\t%s\t%s\n", d.Tenant, d.AbsentSince.Format(time.RFC3339), d.Spelling)
		}
		return table.Flush()
	})
}

type guardReleaseCmd struct {
	configFlags
	Reason string `help:"Why the losses are true; it goes into the audit log." required:"" placeholder:"TEXT"`
}

func (c *guardReleaseCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	return app.WithStore(s.ctx, cfg, s.configured(cfg), func(st sender.Store) error {
		m, err := sender.ReleaseMass(s.ctx, st, auth.Local(), c.Reason)
		if err == nil {
			fmt.Fprintf(s.out, "Released %d domains: they lapse when they have been absent for verify.grace.\n", m.Absent)
		}
		return err
	})
}
