package pingid

import (
	"errors"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// Kinds of failure that only this dialect tells apart.
const (
	empty         sender.Kind = "empty"          // there, but blank
	wildcard      sender.Kind = "wildcard"       // a domain name with a wildcard
	alreadyActive sender.Kind = "already-active" // an address that needs no code any more
)

// answer is how a kind of failure looks on the wire.
type answer struct {
	status  int
	code    string
	detail  string // code of the one detail; empty: none
	at      bool   // the detail's target is the field
	message string // instead of the core's
}

// errorTable has every kind of failure. The vendor's Java sample knows these
// codes, no others and no further members; it has none for a forbidden call, for
// a conflict, or for a caller who is too fast.
var errorTable = map[sender.Kind]answer{
	sender.Required:        {http.StatusBadRequest, "INVALID_DATA", "REQUIRED_VALUE", true, ""},
	empty:                  {http.StatusBadRequest, "INVALID_DATA", "EMPTY_VALUE", true, ""},
	sender.Invalid:         {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", true, ""},
	wildcard:               {http.StatusBadRequest, "INVALID_DATA", "INVALID_PATTERN", true, ""},
	sender.WrongCode:       {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", true, ""},
	sender.Refused:         {http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE", true, ""},
	sender.Conflict:        {http.StatusBadRequest, "INVALID_DATA", "UNIQUE_VALUE_REQUIRED", true, ""},
	alreadyActive:          {http.StatusBadRequest, "REQUEST_FAILED", "INVALID_VALUE", true, ""},
	sender.Limit:           {http.StatusBadRequest, "REQUEST_FAILED", "SIZE_LIMIT_EXCEEDED", false, ""},
	sender.TooSoon:         {http.StatusBadRequest, "REQUEST_FAILED", "RETRY_LIMIT_EXCEEDED", false, ""},
	sender.InUse:           {http.StatusBadRequest, "REQUEST_FAILED", "RESOURCE_IN_USE", false, ""},
	sender.Busy:            {http.StatusBadRequest, "REQUEST_FAILED", "SERVICE_ERROR", false, ""},
	sender.Denied:          {http.StatusBadRequest, "REQUEST_FAILED", "", false, ""},
	sender.NotFound:        {http.StatusNotFound, "NOT_FOUND", "NOT_FOUND", false, "The requested resource was not found."},
	sender.Unauthenticated: {http.StatusUnauthorized, "UNAUTHORIZED_REQ", "", false, "The request is not authorized; check its signature, its expiry and that the account in the path is the key's."},
	api.Malformed:          {http.StatusBadRequest, "INVALID_REQUEST", "", false, ""},
	api.TooLarge:           {http.StatusRequestEntityTooLarge, "INVALID_REQUEST", "", false, ""},
	api.WrongMedia:         {http.StatusUnsupportedMediaType, "INVALID_REQUEST", "", false, ""},
	api.WrongMethod:        {http.StatusMethodNotAllowed, "INVALID_REQUEST", "", false, ""},
	api.NoRoute:            {http.StatusNotFound, "NOT_FOUND", "", false, ""},
}

// internalError is for what is really our own fault.
var internalError = answer{http.StatusInternalServerError, "UNEXPECTED_ERROR", "", false, "An internal error occurred; if it stays, report it with the id of this answer."}

// Targets: what a field belongs to, and the collection that is full.
var (
	resources   = map[string]string{"domainName": "emailDomain", "emailAddress": "trustedEmail", "trustedEmail": "trustedEmail", "verificationCode": "trustedEmail", "status": "trustedEmail"}
	collections = map[string]string{"domainName": "emaildomains", "emailAddress": "trustedemails"}
)

// Members beyond these make the vendor's Java sample fail; details is an array
// always.
type (
	errorBody struct {
		ID      string        `json:"id"`
		Code    string        `json:"code"`
		Message string        `json:"message"`
		Target  string        `json:"target,omitzero"`
		Details []errorDetail `json:"details"`
	}
	errorDetail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Target  string `json:"target,omitzero"`
	}
)

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
	b := errorBody{ID: id, Code: a.code, Message: a.message, Details: []errorDetail{}}
	if b.Message == "" {
		b.Message = e.Detail
	}
	if b.Message == "" {
		b.Message = "The request can't be carried out."
	}
	if a.detail == "" {
		return a.status, b
	}
	switch e.Kind {
	case sender.NotFound:
		b.Target = e.Field // set here, by whoever knows what was looked for
	case sender.Limit:
		b.Target = collections[e.Field]
	default:
		b.Target = resources[e.Field]
	}
	d := errorDetail{Code: a.detail, Message: b.Message}
	if a.at {
		d.Target = e.Field
	}
	b.Details = append(b.Details, d)
	return a.status, b
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	status, body := errorOf(api.RequestID(r.Context()), err)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `PINGID-HMAC realm="postseal"`)
	}
	_ = api.WriteJSON(w, status, body)
}
