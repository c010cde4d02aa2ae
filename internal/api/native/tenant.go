package native

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

type limitsBody struct {
	Domains            int `json:"domains,omitzero" doc:"Domains in the tenant; 50 by default."`
	AddressesPerDomain int `json:"addressesPerDomain,omitzero" doc:"Addresses in a domain; 10 by default."`
	Templates          int `json:"templates,omitzero" doc:"Templates in the tenant; 1000 by default."`
}

// tenantNew is the body that makes a tenant; what is absent takes the
// instance's default.
type tenantNew struct {
	ID           sender.ID          `json:"id,omitzero" doc:"A lower-case UUID; made when absent."`
	Organization sender.ID          `json:"organization,omitzero"`
	Name         string             `json:"name"`
	Type         sender.AccountType `json:"type,omitzero" doc:"SANDBOX or PRODUCTION."`
	Geography    string             `json:"geography,omitzero"`
	Regions      []string           `json:"regions,omitempty" nullable:"true" doc:"Instead of those of the geography."`
	RecordSet    sender.RecordSet   `json:"recordSet,omitzero" doc:"per-region or shared."`
	FromPolicy   sender.FromPolicy  `json:"fromPolicy,omitzero" doc:"address or domain."`
	Limits       limitsBody         `json:"limits,omitzero"`
}

type tenantBody struct {
	ID           sender.ID          `json:"id"`
	Organization sender.ID          `json:"organization"`
	Name         string             `json:"name"`
	Type         sender.AccountType `json:"type"`
	Geography    string             `json:"geography"`
	Regions      []string           `json:"regions"`
	RecordSet    sender.RecordSet   `json:"recordSet"`
	FromPolicy   sender.FromPolicy  `json:"fromPolicy"`
	Limits       limitsBody         `json:"limits"`
	CreatedAt    time.Time          `json:"createdAt"`
	UpdatedAt    time.Time          `json:"updatedAt"`
}

func tenantOf(t sender.Tenant) tenantBody {
	return tenantBody{
		ID: t.ID, Organization: t.Organization, Name: t.Name, Type: t.Type, Geography: t.Geography, Regions: t.Regions, RecordSet: t.RecordSet,
		FromPolicy: t.FromPolicy, Limits: limitsBody(t.Limits), CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
}

// TenantIn are the operations' parameters that name a tenant.
type TenantIn struct {
	Tenant string `path:"tenant"`
}

func (in TenantIn) tenant() (sender.ID, error) { return parseID(in.Tenant, "tenant") }

type tenantChange struct {
	Name string             `json:"name,omitzero"`
	Type sender.AccountType `json:"type,omitzero" doc:"SANDBOX or PRODUCTION."`
}

type mailDefaults struct {
	From    string `json:"from,omitzero" doc:"A proven address, also with a display name: \"Name\" <address>. Absent: the built-in no-reply."`
	ReplyTo string `json:"replyTo,omitzero" doc:"Likewise. Only for templates without a sender, as from."`
	Locale  string `json:"locale,omitzero" doc:"Tried where a template is missing in the wanted locale, before the instance's last resort."`
}

func (e *edge) tenants() {
	tags := []string{"Tenants"}
	register(e, huma.Operation{
		OperationID: "create-tenant", Method: http.MethodPost, Path: "/v1/tenants", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Make a tenant", Description: "For operators, and for admins of the organization, who leave id, regions, recordSet, fromPolicy and limits out.", Errors: []int{http.StatusConflict},
	}, func(ctx context.Context, p sender.Principal, in *struct{ Body tenantNew }) (*body[tenantBody], error) {
		b := in.Body
		t, err := e.service.CreateTenant(ctx, p, sender.NewTenant{
			ID: b.ID, Organization: b.Organization, Name: b.Name, Type: b.Type, Geography: b.Geography, Regions: b.Regions, RecordSet: b.RecordSet,
			FromPolicy: b.FromPolicy, Limits: sender.Limits(b.Limits),
		})
		return &body[tenantBody]{tenantOf(t)}, err
	})
	register(e, huma.Operation{
		OperationID: "list-tenants", Method: http.MethodGet, Path: "/v1/tenants", Tags: tags, Summary: "List the tenants that the credential has a role in",
	}, func(ctx context.Context, p sender.Principal, in *struct{ PageIn }) (*listOut[tenantBody], error) {
		return paged(in.PageIn, func(page sender.Page) ([]sender.Tenant, error) { return e.service.Tenants(ctx, p, page) },
			func(t sender.Tenant) sender.ID { return t.ID }, tenantOf)
	})
	register(e, huma.Operation{
		OperationID: "get-tenant", Method: http.MethodGet, Path: "/v1/tenants/{tenant}", Tags: tags, Summary: "Get a tenant",
	}, func(ctx context.Context, p sender.Principal, in *TenantIn) (*body[tenantBody], error) {
		id, err := in.tenant()
		if err != nil {
			return nil, err
		}
		t, err := e.service.Authorize(ctx, p, id, sender.RoleReader)
		return &body[tenantBody]{tenantOf(t)}, err
	})
	register(e, huma.Operation{
		OperationID: "change-tenant", Method: http.MethodPatch, Path: "/v1/tenants/{tenant}", Tags: tags, Summary: "Change a tenant",
		Description: "For operators, and for admins of the organization. What is left out stays.",
	}, func(ctx context.Context, p sender.Principal, in *struct {
		TenantIn
		Body tenantChange
	},
	) (*body[tenantBody], error) {
		id, err := in.tenant()
		if err != nil {
			return nil, err
		}
		t, err := e.service.UpdateTenant(ctx, p, id, sender.TenantChange(in.Body))
		return &body[tenantBody]{tenantOf(t)}, err
	})
	register(e, huma.Operation{
		OperationID: "delete-tenant", Method: http.MethodDelete, Path: "/v1/tenants/{tenant}", DefaultStatus: http.StatusNoContent, Tags: tags, Summary: "Delete a tenant that is empty",
		Description: "For operators, and for admins of the organization. Refused while it has domains, addresses, templates, applications, users, mail that has not left, or credentials of others. What it sent and its audit log stay in the store.",
		Errors:      []int{http.StatusConflict},
	}, func(ctx context.Context, p sender.Principal, in *TenantIn) (*struct{}, error) {
		id, err := in.tenant()
		if err != nil {
			return nil, err
		}
		return nil, e.service.DeleteTenant(ctx, p, id)
	})
	const defaults = "/v1/tenants/{tenant}/mail-defaults"
	register(e, huma.Operation{
		OperationID: "get-mail-defaults", Method: http.MethodGet, Path: defaults, Tags: tags, Summary: "Get the sender and locale of templates that name none",
	}, func(ctx context.Context, p sender.Principal, in *TenantIn) (*body[mailDefaults], error) {
		id, err := in.tenant()
		if err != nil {
			return nil, err
		}
		d, err := e.service.MailDefaults(ctx, p, id)
		return &body[mailDefaults]{mailDefaults{d.From, d.ReplyTo, string(d.Locale)}}, err
	})
	register(e, huma.Operation{
		OperationID: "set-mail-defaults", Method: http.MethodPut, Path: defaults, Tags: tags, Summary: "Set them, as a whole",
		Description: "The senders must pass the trust rule now; where one does not any more when mail is sent, the built-in no-reply stands for it.",
	}, func(ctx context.Context, p sender.Principal, in *struct {
		TenantIn
		Body mailDefaults
	},
	) (*body[mailDefaults], error) {
		id, err := in.tenant()
		if err != nil {
			return nil, err
		}
		d, err := e.service.ChangeMailDefaults(ctx, p, id, func(d *sender.MailDefaults) {
			d.From, d.ReplyTo, d.Locale = in.Body.From, in.Body.ReplyTo, template.Locale(in.Body.Locale)
		})
		return &body[mailDefaults]{mailDefaults{d.From, d.ReplyTo, string(d.Locale)}}, err
	})
	type eventsIn struct {
		TenantIn
		PageIn
	}
	register(e, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/events", Tags: []string{"Events"},
		Summary: "List the tenant's audit log, oldest first",
	}, func(ctx context.Context, p sender.Principal, in *eventsIn) (*listOut[eventBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.Event, error) { return e.service.Events(ctx, p, tenant, page) },
			func(ev sender.Event) sender.ID { return ev.ID }, eventOf)
	})
}

type eventBody struct {
	ID     sender.ID         `json:"id"`
	At     time.Time         `json:"at"`
	Type   sender.EventType  `json:"type"`
	Actor  sender.ID         `json:"actor,omitzero" doc:"The credential; absent where Postseal acted by itself."`
	Object sender.ID         `json:"object"`
	Data   map[string]string `json:"data"`
}

func eventOf(ev sender.Event) eventBody {
	return eventBody{ID: ev.ID, At: ev.At, Type: ev.Type, Actor: ev.Actor, Object: ev.Object, Data: ev.Data}
}
