package native

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

// Config is what the API is made of.
type Config struct {
	Service *sender.Service
	Auth    *auth.Auth
	Origin  api.Origin
	Log     *slog.Logger
	Version string // of the program, for the OpenAPI document
}

type edge struct {
	service *sender.Service
	auth    *auth.Auth
	origin  api.Origin
	dialect *api.Dialect
	huma    huma.API
}

// Owns reports whether a path is below /v1. The PingOne dialect has paths there
// as well and must be asked first.
func Owns(path string) bool { return path == "/v1" || strings.HasPrefix(path, "/v1/") }

// New returns the handler of everything below /v1.
func New(c Config) http.Handler {
	e := &edge{service: c.Service, auth: c.Auth, origin: c.Origin}
	e.dialect = &api.Dialect{Name: "native", Log: c.Log, Authenticate: api.Bearer(c.Auth), WriteError: writeError}
	mux := api.NewMux(e.dialect)
	e.huma = humago.New(mux, config(c.Version))
	e.huma.UseMiddleware(e.authenticate)

	e.tenants()
	e.credentials()
	e.domains()
	e.templates()
	e.messages()
	e.delivery()
	e.massGuard()
	e.webhooks()

	mux.Handle("POST /v1/messages", api.Handle(e.dialect, readMessage, e.send, writeMessage))
	e.documentSend()
	mux.Handle("POST /v1/token", api.TokenHandler(c.Auth, c.Log, func(*http.Request) sender.ID { return "" }))
	e.documentToken()

	return e.dialect.Wrap(func(w http.ResponseWriter, r *http.Request) error {
		mux.ServeHTTP(w, r)
		return nil
	})
}

func config(version string) huma.Config {
	format := huma.Format{
		Marshal:   func(w io.Writer, v any) error { return json.MarshalWrite(w, v, json.Deterministic(true)) },
		Unmarshal: func(b []byte, v any) error { return api.DecodeJSON(b, v) },
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Postseal", Version: version,
				Description: "Send mail from proven addresses of proven domains. Errors are problem+json (RFC 9457); lists are paged by cursor.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "An API key (psk_...) or an access token of POST /v1/token."},
				},
			},
			Security: []map[string][]string{{"bearer": {}}},
		},
		OpenAPIPath:                  "/v1/openapi",
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

type (
	principalKey struct{}
	baseKey      struct{}
)

// baseOf is the scheme and host of the request, for operations that huma decodes.
func baseOf(ctx context.Context) string {
	base, _ := ctx.Value(baseKey{}).(string)
	return base
}

// authenticate runs before huma reads anything of the request, so that a
// stranger learns nothing from its validation. What huma alone would take, or
// refuse in other words than the rest of the API, is refused here: queries that
// can't be read, bodies of other media types, too large or slow, or no JSON.
func (e *edge) authenticate(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	p, err := e.dialect.Principal(r)
	if err == nil {
		_, err = readQuery(r)
	}
	if err == nil && ctx.Operation().RequestBody != nil {
		err = readBody(r)
	}
	if err != nil {
		api.NoteError(r.Context(), err)
		writeError(w, r, err)
		return
	}
	next(huma.WithValue(huma.WithValue(ctx, principalKey{}, p), baseKey{}, e.origin.Base(r)))
}

// readQuery reads the query. A parameter that is given twice could mean one thing
// to us and another to a proxy in front; one that is empty is a slip of the
// client's, which would get the first page for ever, or its own tenant's things
// for another's.
func readQuery(r *http.Request) (url.Values, error) {
	q, err := api.ReadQuery(r)
	for name, values := range q {
		switch {
		case len(values) > 1:
			err = api.Stray(sender.Invalid, name, "The query has this parameter more than once; send it once.")
		case values[0] == "":
			err = api.Stray(sender.Invalid, name, "The query has this parameter without a value; give it one or leave it out.")
		}
	}
	return q, err
}

// readBody reads the body and leaves it in the request for huma.
func readBody(r *http.Request) error {
	if err := api.WantMedia(r, "application/json"); err != nil {
		return err
	}
	b, err := api.ReadBody(r)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return api.DecodeJSON(b, new(map[string]any))
}

// register adds an operation that needs a credential.
func register[I, O any](e *edge, op huma.Operation, do func(context.Context, sender.Principal, *I) (*O, error)) {
	op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound)
	if op.Method == http.MethodPost || op.Method == http.MethodPut {
		op.MaxBodyBytes = -1 // it was read already
		op.Errors = append(op.Errors, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	huma.Register(e.huma, op, func(ctx context.Context, in *I) (*O, error) {
		p, ok := ctx.Value(principalKey{}).(sender.Principal)
		if !ok {
			return nil, problemOf(api.RequestID(ctx), errors.New("native: an operation without a principal"))
		}
		out, err := do(ctx, p, in)
		if err != nil {
			api.NoteError(ctx, err)
			return nil, problemOf(api.RequestID(ctx), err)
		}
		return out, nil
	})
}

// body is an answer that is a JSON document and nothing else.
type body[T any] struct{ Body T }

// list is a page of a list.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"nextCursor,omitzero" doc:"Send it as cursor to get the next page; absent on the last."`
}

type listOut[T any] = body[list[T]]

// PageIn are the parameters of every list.
type PageIn struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Entries on a page."`
	Cursor string `query:"cursor" doc:"nextCursor of the page before."`
}

func (p PageIn) page() (api.Page, error) { return api.NewPage(p.Limit, p.Cursor) }

// paged asks the core for a page and puts it into the API's form.
func paged[T, W any](in PageIn, ask func(sender.Page) ([]T, error), id func(T) sender.ID, wire func(T) W) (*listOut[W], error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	found, err := ask(page.Ask())
	if err != nil {
		return nil, err
	}
	items, next := api.Cut(page, found, id)
	out := &listOut[W]{Body: list[W]{Items: make([]W, len(items)), NextCursor: next}}
	for i, x := range items {
		out.Body.Items[i] = wire(x)
	}
	return out, nil
}

// parseID reads an id of a path; what is no id is nothing's.
func parseID(s, noun string) (sender.ID, error) {
	id, ok := sender.ParseID(s)
	if !ok {
		return "", notFound(noun)
	}
	return id, nil
}

func notFound(noun string) error {
	return sender.Errorf(sender.NotFound, "", "The requested %s was not found.", noun)
}

// schemaOf makes the schema of a named type for what is documented by hand.
func (e *edge) schemaOf(v any) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: e.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")}}
}

func (e *edge) problems(statuses ...string) map[string]*huma.Response {
	rs := make(map[string]*huma.Response)
	for _, s := range statuses {
		rs[s] = &huma.Response{
			Description: "A problem.",
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: e.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")}},
		}
	}
	return rs
}

func (e *edge) documentToken() {
	form := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"grant_type"},
		Properties: map[string]*huma.Schema{
			"grant_type":    {Type: huma.TypeString, Enum: []any{"client_credentials"}},
			"client_id":     {Type: huma.TypeString},
			"client_secret": {Type: huma.TypeString},
		},
	}
	refused := e.schemaOf(api.TokenError{})
	e.huma.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "get-token", Method: http.MethodPost, Path: "/v1/token", Tags: []string{"Credentials"}, Summary: "Get an access token",
		Description: "Client credentials of RFC 6749, section 4.4, as HTTP Basic or in the form. Errors are those of its section 5.2.",
		Security:    []map[string][]string{{}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-www-form-urlencoded": {Schema: form}}},
		Responses: map[string]*huma.Response{
			"200": {Description: "An access token.", Content: e.schemaOf(api.Token{})},
			"400": {Description: "invalid_request or unsupported_grant_type.", Content: refused},
			"401": {Description: "invalid_client.", Content: refused},
			"413": {Description: "invalid_request.", Content: refused},
			"500": {Description: "server_error.", Content: refused},
		},
	})
}
