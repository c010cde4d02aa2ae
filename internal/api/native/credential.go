package native

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

type credentialNew struct {
	Kind      sender.CredentialKind `json:"kind" doc:"oauth-client, api-key or pingid-key."`
	Name      string                `json:"name" doc:"Who will use it."`
	Grants    []sender.Grant        `json:"grants" doc:"Roles (reader, sender, admin), each in a tenant or in all tenants of an organization."`
	Domain    sender.ID             `json:"domain,omitzero" doc:"Bind it to this one domain of the tenant."`
	ExpiresAt time.Time             `json:"expiresAt,omitzero"`
}

// CredentialBody is a credential without its secret. (huma reads embedded structs
// only where their names are exported; the same holds for the parameters.)
type CredentialBody struct {
	ID        sender.ID             `json:"id" doc:"The client id, where kind is oauth-client."`
	Kind      sender.CredentialKind `json:"kind"`
	Name      string                `json:"name"`
	Tenant    sender.ID             `json:"tenant"`
	Grants    []sender.Grant        `json:"grants"`
	Domain    sender.ID             `json:"domain,omitzero"`
	Token     string                `json:"token,omitzero" doc:"What requests name the key by, where kind is pingid-key."`
	CreatedAt time.Time             `json:"createdAt"`
	ExpiresAt time.Time             `json:"expiresAt,omitzero"`
	RevokedAt time.Time             `json:"revokedAt,omitzero"`
}

type credentialMade struct {
	CredentialBody
	Secret     string `json:"secret" doc:"The client secret, the whole API key, or the base64 of the HMAC key. It is shown here and never again."`
	Properties string `json:"properties,omitzero" doc:"Where kind is pingid-key: the properties file that clients of the PingID SDK read."`
}

func credentialOf(c sender.Credential) CredentialBody {
	return CredentialBody{
		ID: c.ID, Kind: c.Kind, Name: c.Name, Tenant: c.Tenant, Grants: c.Grants, Domain: c.Domain, Token: c.Token,
		CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt, RevokedAt: c.RevokedAt,
	}
}

func madeOf(ctx context.Context, c sender.Credential, secret auth.Secret, err error) (*body[credentialMade], error) {
	if err != nil {
		return nil, err
	}
	b := credentialMade{CredentialBody: credentialOf(c), Secret: string(secret)}
	if c.Kind == sender.KeyPair {
		b.Properties = auth.Properties(c, secret, baseOf(ctx)+"/pingid", "")
	}
	return &body[credentialMade]{b}, nil
}

func (e *edge) credentials() {
	const path = "/v1/tenants/{tenant}/credentials"
	tags := []string{"Credentials"}
	type newIn struct {
		TenantIn
		Body credentialNew
	}
	register(e, huma.Operation{
		OperationID: "create-credential", Method: http.MethodPost, Path: path, DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Make a credential", Description: "Admins of the tenant, who can't give more than they hold.",
	}, func(ctx context.Context, p sender.Principal, in *newIn) (*body[credentialMade], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		b := in.Body
		c, secret, err := e.auth.CreateCredential(ctx, p, auth.NewCredential{
			Kind: b.Kind, Name: b.Name, Tenant: tenant, Grants: b.Grants, Domain: b.Domain, ExpiresAt: b.ExpiresAt,
		})
		return madeOf(ctx, c, secret, err)
	})
	type listIn struct {
		TenantIn
		PageIn
	}
	register(e, huma.Operation{
		OperationID: "list-credentials", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List the tenant's credentials, revoked ones included",
	}, func(ctx context.Context, p sender.Principal, in *listIn) (*listOut[CredentialBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		return paged(in.PageIn, func(page sender.Page) ([]sender.Credential, error) { return e.auth.Credentials(ctx, p, tenant, page) },
			func(c sender.Credential) sender.ID { return c.ID }, credentialOf)
	})
	type oneIn struct {
		TenantIn
		Credential string `path:"credential"`
	}
	register(e, huma.Operation{
		OperationID: "revoke-credential", Method: http.MethodDelete, Path: path + "/{credential}", DefaultStatus: http.StatusNoContent, Tags: tags,
		Summary: "Revoke a credential", Description: "It and its access tokens are refused within two seconds.",
	}, func(ctx context.Context, p sender.Principal, in *oneIn) (*struct{}, error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		id, err := parseID(in.Credential, "credential")
		if err != nil {
			return nil, err
		}
		return nil, e.auth.RevokeCredential(ctx, p, tenant, id)
	})
	type rotateIn struct {
		TenantIn
		Credential string `path:"credential"`
		Body       struct {
			// A pointer, so that 0 is not taken for its absence.
			Overlap *int `json:"overlap,omitzero" minimum:"0" maximum:"2592000" default:"86400" doc:"Seconds for which both can be used; a day by default, 30 days at most."`
		}
	}
	register(e, huma.Operation{
		OperationID: "rotate-credential", Method: http.MethodPost, Path: path + "/{credential}/rotate", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Make another credential of the same kind and rights, and let this one end",
	}, func(ctx context.Context, p sender.Principal, in *rotateIn) (*body[credentialMade], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		id, err := parseID(in.Credential, "credential")
		if err != nil {
			return nil, err
		}
		c, secret, err := e.auth.RotateCredential(ctx, p, tenant, id, time.Duration(*in.Body.Overlap)*time.Second)
		return madeOf(ctx, c, secret, err)
	})
}
