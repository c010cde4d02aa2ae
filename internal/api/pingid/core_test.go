package pingid

import (
	"context"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// core is the real service with the two wishes of this dialect granted from
// outside: a proof is made where none is demanded, and addresses are deleted
// one by one.
type core struct {
	*sender.Service
	kit *apitest.Kit
}

func (c core) CreateAddress(ctx context.Context, p sender.Principal, tenant, domain sender.ID, spelling string, demandProof bool) (sender.Address, bool, error) {
	if !demandProof {
		d, err := c.Service.Domain(ctx, p, tenant, domain)
		if err != nil {
			return sender.Address{}, false, err
		}
		if !d.Proven() {
			c.kit.Publish(d, dnscheck.DKIM)
			if _, err := c.CheckDomain(ctx, p, tenant, domain, dnscheck.DKIM); err != nil {
				return sender.Address{}, false, err
			}
		}
	}
	return c.Service.CreateAddress(ctx, p, tenant, domain, spelling)
}

func (c core) DeleteDomain(ctx context.Context, p sender.Principal, tenant, id sender.ID, withAddresses bool) error {
	if withAddresses {
		as, _, err := c.Addresses(ctx, p, tenant, id, sender.Page{})
		if err != nil {
			return err
		}
		for _, a := range as {
			if err := c.DeleteAddress(ctx, p, tenant, id, a.ID); err != nil {
				return err
			}
		}
	}
	return c.Service.DeleteDomain(ctx, p, tenant, id)
}
