package main

import (
	"fmt"

	"github.com/postseal/postseal/internal/app"
)

type resealCmd struct {
	configFlags
}

// Help is shown by postseal reseal --help.
func (resealCmd) Help() string {
	return `After a new key was put first into the key file and every node was restarted with it, this seals everything anew that is sealed with older keys; the server may be running. Ended half-way it can be run again and goes on. When it ends with 0, nothing needs the older keys any more. It ends with 1 where values don't open with any of the keys; each is named.`
}

// mostLost bounds the lines about values that don't open.
const mostLost = 100

func (c *resealCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	lost := 0
	all, err := app.Reseal(s.ctx, cfg, s.configured(cfg), func(r app.Resealed) {
		if r.Done < r.Total && r.Done%1000 == 0 {
			fmt.Fprintf(s.errOut, "%s: %d of %d\n", r.Column, r.Done, r.Total)
		}
	}, func(err error) {
		if lost++; lost <= mostLost {
			fmt.Fprintln(s.errOut, "postseal:", err)
		}
	})
	for _, r := range all {
		fmt.Fprintf(s.out, "%s: %d of %d sealed again", r.Column, r.Sealed, r.Done)
		if r.Lost > 0 {
			fmt.Fprintf(s.out, ", %d can't be opened", r.Lost)
		}
		fmt.Fprintln(s.out)
	}
	if err == nil && lost > 0 {
		return fmt.Errorf("%d values don't open with any of the keys; docs/operate.md says what to do about each", lost)
	}
	return err
}
