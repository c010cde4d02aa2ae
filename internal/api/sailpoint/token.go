package sailpoint

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

// DefaultTokenLife is how long the vendor's access tokens are valid. Its clients keep
// one for the life of their process and never renew it.
const DefaultTokenLife = 749 * time.Second

// tokenBody is the answer of the token endpoint; clients read the first member.
type tokenBody struct {
	AccessToken         string    `json:"access_token"`
	TokenType           string    `json:"token_type"`
	ExpiresIn           int       `json:"expires_in"` // seconds
	Scope               string    `json:"scope"`
	TenantID            sender.ID `json:"tenant_id"`
	Org                 string    `json:"org"`
	Pod                 string    `json:"pod"`
	Internal            bool      `json:"internal"`
	Enabled             bool      `json:"enabled"`
	StrongAuth          bool      `json:"strong_auth"`
	StrongAuthSupported bool      `json:"strong_auth_supported"`
}

// pod is where the vendor's tenants live; there is only one here.
const pod = "postseal"

// scopes are what a role may do, in the vendor's words.
var scopes = map[sender.Role]string{
	sender.RoleReader: strings.Join(readScopes, " "),
	sender.RoleSender: strings.Join(append(readScopes[:len(readScopes):len(readScopes)], "idn:notification-templates:create"), " "),
	sender.RoleAdmin:  "sp:scopes:all",
	"":                "sp:scopes:default",
}

var readScopes = []string{
	"idn:notification-preferences:read", "idn:notification-template-defaults:read", "idn:notification-templates:read",
	"sp:notification-dkim-attributes:read", "sp:notification-mail-from-attributes:read",
}

// POST oauth/token.
func (e edge) token(ctx context.Context, t auth.Token) (any, error) {
	b := tokenBody{
		AccessToken: string(t.AccessToken), TokenType: "bearer", ExpiresIn: int(t.ExpiresIn.Seconds()), Scope: scopes[""], Pod: pod, Enabled: true,
	}
	p, err := e.auth.Authenticate(ctx, t.AccessToken)
	if err != nil {
		return nil, err
	}
	if p.Home == "" { // an operator's, which can't do anything here
		return b, nil
	}
	tenant, err := e.core.Authorize(ctx, p, p.Home, sender.RoleReader)
	switch {
	case sender.KindOf(err) == sender.NotFound: // it has no role at home
		return b, nil
	case err != nil:
		return nil, err
	}
	b.Scope, b.TenantID, b.Org = scopes[p.RoleIn(tenant)], tenant.ID, tenant.Name
	return b, nil
}

// infoBody tells people and the vendor's command line where things are. Nobody has
// said who asks, so that no tenant is named.
type infoBody struct {
	TenantID          string `json:"tenantId"`
	TenantName        string `json:"tenantName"`
	AuthorizeEndpoint string `json:"authorizeEndpoint"` // empty: nobody logs in by a browser
	TokenEndpoint     string `json:"tokenEndpoint"`
	CloudDomainURL    string `json:"cloudDomainUrl"`
	LogoutURL         string `json:"logoutUrl"`
	Pod               string `json:"pod"`
}

// GET oauth/info.
func (e edge) info(w http.ResponseWriter, r *http.Request) error {
	base := e.origin.Base(r)
	return api.WriteJSON(w, http.StatusOK, infoBody{TenantName: pod, TokenEndpoint: base + "/oauth/token", CloudDomainURL: base, Pod: pod})
}
