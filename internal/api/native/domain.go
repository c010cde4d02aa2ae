package native

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

type facetBody struct {
	Purpose   dnscheck.Purpose `json:"purpose"`
	Region    string           `json:"region,omitzero"`
	Status    sender.Status    `json:"status" doc:"pending, verified, lapsing or lapsed."`
	Since     time.Time        `json:"since"`
	CheckedAt time.Time        `json:"checkedAt,omitzero"`
}

type recordBody struct {
	Purpose  dnscheck.Purpose `json:"purpose"`
	Region   string           `json:"region,omitzero"`
	Name     string           `json:"name"`
	Type     dnscheck.Type    `json:"type"`
	Value    string           `json:"value"`
	Priority int              `json:"priority,omitzero" doc:"Of an MX record."`
}

type domainBody struct {
	ID         sender.ID    `json:"id"`
	Tenant     sender.ID    `json:"tenant"`
	DomainName string       `json:"domainName" doc:"As it was sent."`
	Name       string       `json:"name" doc:"What is compared and published: lower case, A-labels."`
	Proven     bool         `json:"proven"`
	ProvenAt   time.Time    `json:"provenAt,omitzero" doc:"When it first was."`
	Facets     []facetBody  `json:"facets" doc:"The state of each aspect in each region."`
	Records    []recordBody `json:"records" doc:"What the owner has to publish."`
	NextCheck  time.Time    `json:"nextCheck" doc:"When Postseal looks by itself."`
	CreatedAt  time.Time    `json:"createdAt"`
	UpdatedAt  time.Time    `json:"updatedAt"`
}

type findingsBody struct {
	Domain    domainBody         `json:"domain"`
	CheckedAt time.Time          `json:"checkedAt,omitzero" doc:"Absent before the first check."`
	Findings  []dnscheck.Finding `json:"findings" doc:"What was last seen of each record, by whom, and what to do."`
}

func (e *edge) domainOf(d sender.Domain) domainBody {
	b := domainBody{
		ID: d.ID, Tenant: d.Tenant, DomainName: d.Spelling, Name: d.Name.String(), Proven: d.Proven(), ProvenAt: d.ProvenAt,
		Facets: make([]facetBody, 0, len(d.Facets)), Records: []recordBody{}, NextCheck: d.NextCheck, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	for _, f := range d.Facets {
		b.Facets = append(b.Facets, facetBody{f.Purpose, f.Region, f.Status, f.Since, f.CheckedAt})
	}
	for _, r := range e.service.Records(d) {
		b.Records = append(b.Records, recordBody{r.Purpose, r.Region, r.Name.String(), r.Type, r.Value, r.Priority})
	}
	return b
}

// DomainIn are the operations' parameters that name a domain.
type DomainIn struct {
	TenantIn
	Domain string `path:"domain"`
}

func (in DomainIn) ids() (tenant, domain sender.ID, err error) {
	if tenant, err = in.tenant(); err != nil {
		return "", "", err
	}
	domain, err = parseID(in.Domain, "domain")
	return tenant, domain, err
}

func (e *edge) domains() {
	const path = "/v1/tenants/{tenant}/domains"
	tags := []string{"Domains"}
	type listIn struct {
		TenantIn
		PageIn
	}
	register(e, huma.Operation{
		OperationID: "list-domains", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List the tenant's domains",
	}, func(ctx context.Context, p sender.Principal, in *listIn) (*listOut[domainBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.Domain, error) {
			ds, _, err := e.service.Domains(ctx, p, tenant, page)
			return ds, err
		}, func(d sender.Domain) sender.ID { return d.ID }, e.domainOf)
	})
	register(e, huma.Operation{
		OperationID: "get-domain", Method: http.MethodGet, Path: path + "/{domain}", Tags: tags,
		Summary: "Get a domain with its state and its records", Description: "Unlike the vendors' dialects, reading here is no check.",
	}, func(ctx context.Context, p sender.Principal, in *DomainIn) (*body[domainBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		d, err := e.service.Domain(ctx, p, tenant, id)
		if err != nil {
			return nil, err
		}
		return &body[domainBody]{e.domainOf(d)}, nil
	})
	type findingsIn struct {
		DomainIn
		Check bool `query:"check" doc:"Ask the DNS first about what is not verified; waits a few seconds at most."`
	}
	register(e, huma.Operation{
		OperationID: "get-findings", Method: http.MethodGet, Path: path + "/{domain}/findings", Tags: tags,
		Summary: "Get the newest evidence about a domain's records",
	}, func(ctx context.Context, p sender.Principal, in *findingsIn) (*body[findingsBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		if in.Check {
			if _, err := e.service.CheckDomain(ctx, p, tenant, id); err != nil {
				return nil, err
			}
		}
		d, c, err := e.service.Findings(ctx, p, tenant, id)
		if err != nil {
			return nil, err
		}
		b := findingsBody{Domain: e.domainOf(d), CheckedAt: c.At, Findings: c.Findings}
		if b.Findings == nil {
			b.Findings = []dnscheck.Finding{}
		}
		return &body[findingsBody]{b}, nil
	})
	type zoneOut struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
	register(e, huma.Operation{
		OperationID: "get-zone", Method: http.MethodGet, Path: path + "/{domain}/zone", Tags: tags,
		Summary: "Get the records as a zone file (RFC 1035, section 5)",
		Responses: map[string]*huma.Response{
			"200": {Description: "Lines to paste into the zone of the domain.", Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}},
		},
	}, func(ctx context.Context, p sender.Principal, in *DomainIn) (*zoneOut, error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		d, err := e.service.Domain(ctx, p, tenant, id)
		if err != nil {
			return nil, err
		}
		return &zoneOut{"text/plain; charset=utf-8", []byte(dnscheck.ZoneText(d.Name, e.service.Records(d)))}, nil
	})
}
