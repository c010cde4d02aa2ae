package pingone

import (
	"errors"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// answer is how a kind of failure looks on the wire.
type answer struct {
	status  int
	code    string
	detail  string // code of the one detail; empty: none
	message string // instead of the core's
}

// errorTable has every kind of failure. Two things are ruled by what real
// clients do. Nothing that is the caller's to mend is 429 or 5xx, nor has the
// code UNEXPECTED_ERROR: they would repeat it for minutes. And NOT_FOUND has one
// wording, since what is another tenant's must look like what does not exist.
var errorTable = map[sender.Kind]answer{
	sender.Required:        {http.StatusBadRequest, "INVALID_DATA", "REQUIRED_VALUE", ""},
	sender.Invalid:         {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", ""},
	sender.Conflict:        {http.StatusBadRequest, "INVALID_DATA", "UNIQUENESS_VIOLATION", ""},
	sender.Limit:           {http.StatusBadRequest, "INVALID_DATA", "LIMIT_EXCEEDED", ""},
	sender.Refused:         {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", ""},
	sender.TooSoon:         {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", ""},
	sender.WrongCode:       {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", ""},
	sender.NoMoreTries:     {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", ""},
	sender.InUse:           {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", ""},
	sender.Busy:            {http.StatusBadRequest, "INVALID_DATA", "", ""},
	sender.NotFound:        {http.StatusNotFound, "NOT_FOUND", "", "The requested resource was not found."},
	sender.Denied:          {http.StatusForbidden, "ACCESS_FAILED", "INSUFFICIENT_PERMISSIONS", ""},
	sender.Unauthenticated: {http.StatusUnauthorized, "ACCESS_FAILED", "", ""},
	api.Malformed:          {http.StatusBadRequest, "INVALID_REQUEST", "", ""},
	api.TooLarge:           {http.StatusRequestEntityTooLarge, "INVALID_REQUEST", "", ""},
	api.WrongMedia:         {http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "", ""},
	api.WrongMethod:        {http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "", ""},
	api.NoRoute:            {http.StatusNotFound, "NOT_FOUND", "", "The requested resource was not found."},
}

// internalError is for what is really our own fault; clients repeat it.
var internalError = answer{http.StatusInternalServerError, "UNEXPECTED_ERROR", "", "An internal error occurred; if it stays, report it with the id of this answer."}

// collections are the targets of a limit, by the field that ran into it.
var collections = map[string]string{"domainName": "emailDomains", "emailAddress": "trustedEmails"}

type errorBody struct {
	ID      string        `json:"id"` // never empty: clients show the error only then
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Details []errorDetail `json:"details,omitempty"` // an array or nothing
}

type errorDetail struct {
	Code    string `json:"code"`
	Target  string `json:"target,omitempty"`
	Message string `json:"message"`
}

// errorOf is pure but for the id, which is that of the request.
func errorOf(id string, err error) (int, errorBody) {
	e, _ := errors.AsType[*sender.Error](err)
	if e == nil {
		e = &sender.Error{}
	}
	a, ok := errorTable[e.Kind]
	if !ok {
		a = internalError
	}
	b := errorBody{ID: id, Code: a.code, Message: a.message}
	if b.Message == "" {
		b.Message = e.Detail
	}
	if b.Message == "" {
		b.Message = "The request can't be carried out."
	}
	if a.detail != "" {
		d := errorDetail{Code: a.detail, Target: e.Field, Message: b.Message}
		if c, ok := collections[e.Field]; ok && e.Kind == sender.Limit {
			d.Target = c
		}
		if e.Field == "locale" && e.Kind == sender.Invalid {
			d.Target = "language" // as clients look for it
		}
		b.Details = []errorDetail{d}
	}
	return a.status, b
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	status, body := errorOf(api.RequestID(r.Context()), err)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="postseal"`)
	}
	_ = api.WriteJSON(w, status, body)
}
