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
	ID         sender.ID     `json:"id"`
	Tenant     sender.ID     `json:"tenant"`
	DomainName string        `json:"domainName" doc:"As it was sent."`
	Name       string        `json:"name" doc:"What is compared and published: lower case, A-labels."`
	Proven     bool          `json:"proven"`
	ProvenAt   time.Time     `json:"provenAt,omitzero" doc:"When it first was."`
	MailFrom   *mailFromBody `json:"mailFrom,omitzero" doc:"Its MAIL FROM domain, if it has one."`
	Facets     []facetBody   `json:"facets" doc:"The state of each aspect in each region."`
	Records    []recordBody  `json:"records" doc:"What the owner has to publish."`
	NextCheck  time.Time     `json:"nextCheck" doc:"When Postseal looks by itself."`
	CreatedAt  time.Time     `json:"createdAt"`
	UpdatedAt  time.Time     `json:"updatedAt"`
}

type mailFromBody struct {
	Domain    string                  `json:"domain" doc:"A sub-domain that is used for no other mail. It has to publish an MX and an SPF record."`
	OnFailure sender.MailFromFallback `json:"onFailure,omitzero" doc:"use-default (default): mail leaves with the default reverse-path while the records are not there; reject: it is refused then."`
}

type findingsBody struct {
	Domain    domainBody         `json:"domain"`
	Claim     *claimBody         `json:"claim,omitzero" doc:"Where another registration holds the name: why the domain is not proven though its ownership record is there."`
	CheckedAt time.Time          `json:"checkedAt,omitzero" doc:"Absent before the first check."`
	Findings  []dnscheck.Finding `json:"findings" doc:"What was last seen of each record, by whom, and what to do."`
}

func (e *edge) domainOf(d sender.Domain) domainBody {
	b := domainBody{
		ID: d.ID, Tenant: d.Tenant, DomainName: d.Spelling, Name: d.Name.String(), Proven: d.Proven(), ProvenAt: d.ProvenAt,
		Facets: make([]facetBody, 0, len(d.Facets)), Records: []recordBody{}, NextCheck: d.NextCheck, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	if m := d.MailFrom; !m.Name.IsZero() {
		b.MailFrom = &mailFromBody{m.Spelling, m.OnFailure}
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
	register(e, huma.Operation{
		OperationID: "set-mail-from", Method: http.MethodPut, Path: path + "/{domain}/mail-from", Tags: tags,
		Summary: "Give a domain a MAIL FROM domain (RFC 5321, section 3.3), or another one", Errors: []int{http.StatusConflict},
		Description: "Its MX and SPF records are among the domain's records then, in place of the domain's own SPF record.",
	}, func(ctx context.Context, p sender.Principal, in *struct {
		DomainIn
		Body mailFromBody
	},
	) (*body[domainBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		d, err := e.service.SetMailFrom(ctx, p, tenant, id, sender.NewMailFrom{Name: in.Body.Domain, OnFailure: in.Body.OnFailure})
		if err != nil {
			return nil, err
		}
		return &body[domainBody]{e.domainOf(d)}, nil
	})
	register(e, huma.Operation{
		OperationID: "clear-mail-from", Method: http.MethodDelete, Path: path + "/{domain}/mail-from", DefaultStatus: http.StatusNoContent, Tags: tags,
		Summary: "Take the MAIL FROM domain away: the default reverse-path is used again",
	}, func(ctx context.Context, p sender.Principal, in *DomainIn) (*struct{}, error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		_, err = e.service.ClearMailFrom(ctx, p, tenant, id)
		return nil, err
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
		claim, err := e.service.ClaimOf(ctx, p, d)
		if err != nil {
			return nil, err
		}
		b := findingsBody{Domain: e.domainOf(d), Claim: claimOf(claim), CheckedAt: c.At, Findings: c.Findings}
		if b.Findings == nil {
			b.Findings = []dnscheck.Finding{}
		}
		return &body[findingsBody]{b}, nil
	})
	type postureIn struct {
		DomainIn
		Region string `query:"region" doc:"Whose key signs; the tenant's home region by default."`
	}
	register(e, huma.Operation{
		OperationID: "get-posture", Method: http.MethodGet, Path: path + "/{domain}/posture", Tags: tags,
		Summary: "Ask the DNS what receivers conclude about mail of the domain, and what breaks if a record disappears",
		Description: "SPF, DKIM, DMARC and MX of the domain as anybody sees them now, and the verdict on a message that leaves as the domain is set up to send: with its DKIM key and its MAIL FROM domain, proven or not. " +
			"It takes some seconds at most and changes nothing. Where the tenant has a way out of its own, the message is taken to come from a host that the SPF record lists.",
	}, func(ctx context.Context, p sender.Principal, in *postureIn) (*body[dnscheck.Posture], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		posture, err := e.service.Posture(ctx, p, tenant, id, in.Region)
		if err != nil {
			return nil, err
		}
		return &body[dnscheck.Posture]{posture}, nil
	})
	type timelineIn struct {
		DomainIn
		PageIn
	}
	register(e, huma.Operation{
		OperationID: "list-timeline", Method: http.MethodGet, Path: path + "/{domain}/timeline", Tags: tags,
		Summary:     "List what was seen of a domain's records over time, newest first",
		Description: "An entry is written when what is seen of a record changes. The newest 200 of a domain are kept, for 90 days.",
	}, func(ctx context.Context, p sender.Principal, in *timelineIn) (*listOut[timelineBody], error) {
		tenant, id, err := in.ids()
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.TimelineEntry, error) {
			return e.service.Timeline(ctx, p, tenant, id, page)
		},
			func(x sender.TimelineEntry) sender.ID { return x.ID }, timelineOf)
	})
	register(e, huma.Operation{
		OperationID: "list-leftovers", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/leftovers", Tags: tags,
		Summary:     "List deleted domains of which records are still published",
		Description: "Records of a deleted domain are looked for once a day, until all are gone or 30 days have passed.",
	}, func(ctx context.Context, p sender.Principal, in *listIn) (*listOut[leftoverBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.Tombstone, error) { return e.service.Leftovers(ctx, p, tenant, page) },
			func(x sender.Tombstone) sender.ID { return x.ID }, leftoverOf)
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
