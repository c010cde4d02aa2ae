package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

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

// TokenEndpoint is the token endpoint of a dialect, for client credentials (RFC 6749,
// sections 4.4 and 5). Errors are those of section 5.2, for every dialect that has
// such an endpoint.
type TokenEndpoint struct {
	Auth *auth.Auth
	Log  *slog.Logger
	// Home names the tenant that the client must belong to; nil, or an empty name:
	// any.
	Home func(*http.Request) sender.ID
	Life time.Duration // of the tokens; zero: the instance's
	// Lenient takes parameters from the query and from multipart/form-data too, and
	// the grant type in any case.
	Lenient bool
	// Answer makes the body of the answer; nil: a [Token].
	Answer func(ctx context.Context, t auth.Token) (any, error)
}

// TokenHandler is a [TokenEndpoint] that takes what RFC 6749 describes and no more.
func TokenHandler(a *auth.Auth, log *slog.Logger, home func(*http.Request) sender.ID) http.Handler {
	return TokenEndpoint{Auth: a, Log: log, Home: home}.Handler()
}

// Handler returns the handler of a POST.
func (e TokenEndpoint) Handler() http.Handler {
	if e.Answer == nil {
		e.Answer = func(_ context.Context, t auth.Token) (any, error) {
			return Token{string(t.AccessToken), "Bearer", int(t.ExpiresIn.Seconds())}, nil
		}
	}
	d := &Dialect{Name: "oauth", Log: e.Log, WriteError: writeTokenError}
	return Handle(d, e.read,
		func(ctx context.Context, _ sender.Principal, in tokenRequest) (any, error) {
			t, err := e.Auth.TokenFor(ctx, e.Life, in.home, in.id, in.secret)
			if err != nil {
				return nil, err
			}
			return e.Answer(ctx, t)
		},
		func(w http.ResponseWriter, _ *http.Request, body any) error {
			w.Header().Set("Pragma", "no-cache")
			return WriteJSON(w, http.StatusOK, body)
		})
}

func (e TokenEndpoint) read(r *http.Request) (in tokenRequest, err error) {
	if e.Home != nil {
		in.home = e.Home(r)
	}
	read := readForm
	if e.Lenient {
		read = readAnyForm
	}
	form, err := read(r)
	if err != nil {
		return in, err
	}
	if in.id, in.secret, err = auth.ClientCredentials(r.Header.Get("Authorization"), form); err != nil {
		return in, err
	}
	grant := form.Get("grant_type")
	if e.Lenient {
		grant = strings.ToLower(grant)
	}
	switch grant {
	case "client_credentials":
		return in, nil
	case "":
		return in, sender.Errorf(sender.Required, "grant_type", "grant_type is missing; send client_credentials.")
	default:
		return in, sender.Errorf(unsupportedGrant, "grant_type", "The only grant_type here is client_credentials.")
	}
}

const formMedia = "application/x-www-form-urlencoded"

func readForm(r *http.Request) (url.Values, error) {
	if err := WantMedia(r, formMedia); err != nil {
		return nil, err
	}
	b, err := ReadBody(r)
	if err != nil {
		return nil, err
	}
	return parseForm(string(b))
}

func parseForm(s string) (url.Values, error) {
	form, err := url.ParseQuery(s)
	if err != nil {
		return nil, sender.Errorf(Malformed, "", "The body is not form-encoded.")
	}
	return form, nil
}

// readAnyForm reads the parameters of a body, of either kind of form, and of the
// query. One that is in both is there twice.
func readAnyForm(r *http.Request) (url.Values, error) {
	b, err := ReadBody(r)
	if err != nil {
		return nil, err
	}
	form, err := parseForm(r.URL.RawQuery)
	if err != nil || len(b) == 0 {
		return form, err
	}
	var more url.Values
	switch MediaType(r) {
	case "multipart/form-data":
		more, err = parseParts(r.Header.Get("Content-Type"), b)
	case formMedia:
		more, err = parseForm(string(b))
	default:
		err = WantMedia(r, formMedia)
	}
	if err != nil {
		return nil, err
	}
	for name, values := range more {
		form[name] = append(form[name], values...)
	}
	return form, nil
}

// maxParts bounds the work that a multipart body makes; a token request has three.
const maxParts = 20

// parseParts reads multipart/form-data (RFC 7578); a file is a parameter like others.
func parseParts(contentType string, b []byte) (url.Values, error) {
	broken := sender.Errorf(Malformed, "", "The body is not well-formed multipart/form-data.")
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return nil, broken
	}
	form := make(url.Values)
	parts := multipart.NewReader(bytes.NewReader(b), params["boundary"])
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if err == io.EOF { //nolint:errorlint // documented to be returned as it is
			return form, nil
		}
		if err != nil || n == maxParts {
			return nil, broken
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, broken
		}
		form.Add(part.FormName(), string(value))
	}
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
