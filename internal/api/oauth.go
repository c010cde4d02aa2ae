package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

const unsupportedGrant sender.Kind = "unsupported-grant"

// Token is the answer of the token endpoint (RFC 6749, section 5.1).
type Token struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in" doc:"Seconds."`
}

// TokenError is its answer to what it refuses (RFC 6749, section 5.2).
type TokenError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

type tokenRequest struct {
	home   sender.ID
	id     string
	secret auth.Secret
}

// TokenHandler is the token endpoint for client credentials (RFC 6749, sections
// 4.4 and 5). home names the tenant that the client must belong to; empty: any.
// Errors are those of section 5.2, for every dialect that has such an endpoint.
func TokenHandler(a *auth.Auth, log *slog.Logger, home func(*http.Request) sender.ID) http.Handler {
	d := &Dialect{Name: "oauth", Log: log, WriteError: writeTokenError}
	return Handle(d,
		func(r *http.Request) (tokenRequest, error) {
			in := tokenRequest{home: home(r)}
			if err := WantMedia(r, "application/x-www-form-urlencoded"); err != nil {
				return in, err
			}
			b, err := ReadBody(r)
			if err != nil {
				return in, err
			}
			form, err := url.ParseQuery(string(b))
			if err != nil {
				return in, sender.Errorf(Malformed, "", "The body is not form-encoded.")
			}
			if in.id, in.secret, err = auth.ClientCredentials(r.Header.Get("Authorization"), form); err != nil {
				return in, err
			}
			switch form.Get("grant_type") {
			case "client_credentials":
				return in, nil
			case "":
				return in, sender.Errorf(sender.Required, "grant_type", "grant_type is missing; send client_credentials.")
			default:
				return in, sender.Errorf(unsupportedGrant, "grant_type", "The only grant_type here is client_credentials.")
			}
		},
		func(ctx context.Context, _ sender.Principal, in tokenRequest) (auth.Token, error) {
			return a.Token(ctx, in.home, in.id, in.secret)
		},
		func(w http.ResponseWriter, _ *http.Request, t auth.Token) error {
			w.Header().Set("Pragma", "no-cache")
			return WriteJSON(w, http.StatusOK, Token{string(t.AccessToken), "Bearer", int(t.ExpiresIn.Seconds())})
		})
}

// writeTokenError writes an OAuth error. No description quotes what was sent or
// has a number in it: a client of the PingOne API repeats its log-in for minutes
// where it finds one such as 500 before a blank anywhere in the text. The details
// that are passed on are those of this file, [auth.ClientCredentials] and
// [ReadBody].
func writeTokenError(w http.ResponseWriter, r *http.Request, err error) {
	status, code, text := http.StatusBadRequest, "invalid_request", ""
	switch sender.KindOf(err) {
	case sender.Invalid, sender.Required, Malformed, unsupportedGrant:
		if e, ok := errors.AsType[*sender.Error](err); ok {
			text = e.Detail
		}
		if sender.KindOf(err) == unsupportedGrant {
			code = "unsupported_grant_type"
		}
	case WrongMedia:
		text = "The Content-Type is not understood here; send application/x-www-form-urlencoded."
	case TooLarge:
		status, text = http.StatusRequestEntityTooLarge, "The request body is too large for a token request."
	case sender.Unauthenticated:
		status, code, text = http.StatusUnauthorized, "invalid_client", "The client is unknown here, or its secret is wrong, expired or revoked."
		if r.Header.Get("Authorization") != "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="postseal"`)
		}
	default:
		status, code, text = http.StatusInternalServerError, "server_error", "The log-in failed for a reason of ours; try again in a minute."
	}
	w.Header().Set("Pragma", "no-cache")
	_ = WriteJSON(w, status, TokenError{code, text})
}
