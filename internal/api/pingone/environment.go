package pingone

import (
	"context"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// environmentRequest is an environment as a client sends it.
type environmentRequest struct {
	thing
	environmentText
}

// environmentText has what means something here: a description, a license and products
// are ignored.
type environmentText struct {
	Name         string `json:"name"`
	Type         string `json:"type"`
	Region       string `json:"region"`
	Organization struct {
		ID string `json:"id"`
	} `json:"organization"`
}

func newEnvironment(r *http.Request) (n environmentRequest, err error) {
	err = api.ReadJSON(r, &n.environmentText)
	return n, err
}

func changedEnvironment(r *http.Request) (n environmentRequest, err error) {
	if n.thing, err = readThing(r, false, false); err != nil {
		return n, err
	}
	err = api.ReadJSON(r, &n.environmentText)
	return n, err
}

// POST environments.
func (e edge) createEnvironment(ctx context.Context, p sender.Principal, n environmentRequest) (sender.Tenant, error) {
	geography := ""
	for g, word := range regionWords {
		if word == n.Region {
			geography = g
		}
	}
	switch {
	case n.Name == "":
		return sender.Tenant{}, sender.Errorf(sender.Required, "name", "name is missing.")
	case n.Region != "" && geography == "":
		return sender.Tenant{}, sender.Errorf(sender.Invalid, "region", "%q is no region; use one of NA, CA, EU, AP, AU, SG.", api.Short(n.Region))
	}
	t, err := e.service.CreateTenant(ctx, p, sender.NewTenant{
		Organization: sender.ID(n.Organization.ID), Name: n.Name, Type: sender.AccountType(n.Type), Geography: geography,
	})
	if e, ok := asError(err); ok && e.Field == "geography" {
		err = sender.Errorf(sender.Invalid, "region", "The region %s is not served by this instance.", n.Region)
	}
	return t, err
}

// PUT one environment. Its region stays.
func (e edge) updateEnvironment(ctx context.Context, p sender.Principal, n environmentRequest) (sender.Tenant, error) {
	t, err := e.service.Authorize(ctx, p, n.env, sender.RoleReader)
	if err != nil {
		return t, err
	}
	switch {
	case n.Name == "":
		return t, sender.Errorf(sender.Required, "name", "name is missing.")
	case n.Region != "" && n.Region != environmentOf("", t).Region:
		return t, sender.Errorf(sender.Invalid, "region", "The region of an environment can't be changed, and this one's is %s.", environmentOf("", t).Region)
	}
	return e.service.UpdateTenant(ctx, p, n.env, sender.TenantChange{Name: n.Name, Type: sender.AccountType(n.Type)})
}

// PUT type of one environment.
func (e edge) promoteEnvironment(ctx context.Context, p sender.Principal, n environmentRequest) (sender.Tenant, error) {
	if n.Type == "" {
		return sender.Tenant{}, sender.Errorf(sender.Required, "type", "type is missing: send SANDBOX or PRODUCTION.")
	}
	return e.service.UpdateTenant(ctx, p, n.env, sender.TenantChange{Type: sender.AccountType(n.Type)})
}

// DELETE one environment, which must be empty.
func (e edge) deleteEnvironment(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.service.DeleteTenant(ctx, p, t.env)
}
