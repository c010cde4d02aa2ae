package auth

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/postseal/postseal/internal/sender"
)

// ClientCredentials reads a client's id and secret from the Authorization
// header and the form of a token request (RFC 6749, section 2.3.1). In the
// header both are form-encoded below the base64. Errors: Invalid where both ways
// are used or a parameter is repeated, Unauthenticated where there are no readable
// ones. They quote nothing that was sent.
func ClientCredentials(authorization string, form url.Values) (id string, secret Secret, err error) {
	for _, values := range form {
		if len(values) > 1 {
			return "", "", sender.Errorf(sender.Invalid, "", "A parameter was sent more than once; send each once.")
		}
	}
	if authorization == "" {
		if !form.Has("client_id") || !form.Has("client_secret") {
			return "", "", refused("no client credentials were sent")
		}
		return form.Get("client_id"), Secret(form.Get("client_secret")), nil
	}
	if form.Has("client_secret") {
		return "", "", sender.Errorf(sender.Invalid, "client_secret", "Client credentials were sent both in the Authorization header and in the body; use one of the two.")
	}
	scheme, encoded, _ := strings.Cut(authorization, " ")
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	rawID, rawSecret, ok := strings.Cut(string(decoded), ":")
	if !strings.EqualFold(scheme, "Basic") || err != nil || !ok {
		return "", "", refused("the Authorization header holds no Basic credentials")
	}
	id, err1 := url.QueryUnescape(rawID)
	plain, err2 := url.QueryUnescape(rawSecret)
	if err1 != nil || err2 != nil {
		return "", "", refused("the Basic credentials are not form-encoded")
	}
	if form.Has("client_id") && form.Get("client_id") != id {
		return "", "", sender.Errorf(sender.Invalid, "client_id", "The client_id of the body is not that of the Authorization header.")
	}
	return id, Secret(plain), nil
}
