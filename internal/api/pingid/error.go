package pingid

import (
	"errors"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

// Kinds of failure that only this dialect tells apart.
const (
	empty       sender.Kind = "empty"        // there, but blank
	wildcard    sender.Kind = "wildcard"     // a domain name with a wildcard
	alreadyDone sender.Kind = "already-done" // what needs no code any more: an active address, a finished pairing
)

// answer is how a kind of failure looks on the wire.
type answer struct {
	status  int
	code    string
	target  func(resource, field string) string // of the whole; nil: none
	detail  string                              // code of the one detail; empty: none
	at      bool                                // the detail's target is the field
	message string                              // instead of the core's
}

// What a failure is about: the resource of the route, what the core did not find,
// the collection that is full, or always the same.
func itself(resource, _ string) string  { return resource }
func absent(_, field string) string     { return target(field) }
func collection(_, field string) string { return collections[field] }
func application(_, _ string) string    { return "application" }
func person(_, _ string) string         { return "User" }

// errorTable has every kind of failure. The vendor's Java sample knows these
// codes, no others and no further members; it has none for a forbidden call, for
// a conflict, or for a caller who is too fast.
var errorTable = map[sender.Kind]answer{
	sender.Required:        {http.StatusBadRequest, "INVALID_DATA", itself, "REQUIRED_VALUE", true, ""},
	empty:                  {http.StatusBadRequest, "INVALID_DATA", itself, "EMPTY_VALUE", true, ""},
	sender.Invalid:         {http.StatusBadRequest, "INVALID_DATA", itself, "INVALID_VALUE", true, ""},
	wildcard:               {http.StatusBadRequest, "INVALID_DATA", itself, "INVALID_PATTERN", true, ""},
	otp.TooLong:            {http.StatusBadRequest, "INVALID_DATA", itself, "SIZE_LIMIT_EXCEEDED", true, ""},
	sender.WrongCode:       {http.StatusBadRequest, "INVALID_DATA", itself, "INVALID_VALUE", true, ""},
	sender.Refused:         {http.StatusBadRequest, "INVALID_DATA", itself, "INVALID_VALUE", true, ""},
	sender.Conflict:        {http.StatusBadRequest, "INVALID_DATA", itself, "UNIQUE_VALUE_REQUIRED", true, ""},
	alreadyDone:            {http.StatusBadRequest, "REQUEST_FAILED", itself, "INVALID_VALUE", true, ""},
	sender.Limit:           {http.StatusBadRequest, "REQUEST_FAILED", collection, "SIZE_LIMIT_EXCEEDED", false, ""},
	sender.TooSoon:         {http.StatusBadRequest, "REQUEST_FAILED", itself, "RETRY_LIMIT_EXCEEDED", false, ""},
	sender.NoMoreTries:     {http.StatusBadRequest, "REQUEST_FAILED", itself, "RETRY_LIMIT_EXCEEDED", false, ""},
	sender.InUse:           {http.StatusBadRequest, "REQUEST_FAILED", itself, "RESOURCE_IN_USE", false, ""},
	otp.Disabled:           {http.StatusBadRequest, "REQUEST_FAILED", application, "APPLICATION_DISABLED", false, ""},
	otp.EmailDisabled:      {http.StatusBadRequest, "REQUEST_FAILED", application, "EMAIL_NOT_ENABLED", false, ""},
	otp.NoDevice:           {http.StatusBadRequest, "REQUEST_FAILED", person, "INVALID_USER_STATUS", false, ""},
	sender.Busy:            {http.StatusBadRequest, "REQUEST_FAILED", nil, "SERVICE_ERROR", false, ""},
	sender.Denied:          {http.StatusBadRequest, "REQUEST_FAILED", nil, "", false, ""},
	sender.NotFound:        {http.StatusNotFound, "NOT_FOUND", absent, "NOT_FOUND", false, ""},
	sender.Unauthenticated: {http.StatusUnauthorized, "UNAUTHORIZED_REQ", nil, "", false, "The request is not authorized; check its signature, its expiry and that the account in the path is the key's."},
	api.Malformed:          {http.StatusBadRequest, "INVALID_REQUEST", nil, "", false, ""},
	api.TooLarge:           {http.StatusRequestEntityTooLarge, "INVALID_REQUEST", nil, "", false, ""},
	api.WrongMedia:         {http.StatusUnsupportedMediaType, "INVALID_REQUEST", nil, "", false, ""},
	api.WrongMethod:        {http.StatusMethodNotAllowed, "INVALID_REQUEST", nil, "", false, ""},
	api.NoRoute:            {http.StatusNotFound, "NOT_FOUND", nil, "", false, ""},
}

// internalError is for what is really our own fault.
var internalError = answer{http.StatusInternalServerError, "UNEXPECTED_ERROR", nil, "", false, "An internal error occurred; if it stays, report it with the id of this answer."}

// members are this dialect's names for the fields of the cores, where they differ;
// those of one resource first. Behind an empty one is no single member.
var members = map[string]string{
	"authentication/type": "emailConfigurationType",

	"from": "fromAddress", "replyTo": "replyToAddress", "subject": "emailSubject", "body": "emailBody", "text": "emailBody", "html": "emailBody",
	"charset": "characterSet", "values": "emailParameters",
	"address": "recipient", "to": "recipient", "nickname": "deviceNickname",
	"push": "",
}

// member names a field on the wire.
func member(resource, field string) string {
	if m, ok := members[resource+"/"+field]; ok {
		return m
	}
	if m, ok := members[field]; ok {
		return m
	}
	return field
}

// targets are this dialect's names for what the cores did not find, where they
// differ, and collections those of what is full.
var (
	targets     = map[string]string{"user": "User", "template": "emailConfiguration"}
	collections = map[string]string{
		"domainName": "emaildomains", "emailAddress": "trustedemails", "template": "emailconfigurations", "application": "applications", "device": "devices",
	}
)

func target(field string) string {
	if t, ok := targets[field]; ok {
		return t
	}
	return field
}

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

// errorOf says what is wrong with a request about a resource. It is pure but for
// the id, which is that of the request.
func errorOf(id, resource string, err error) (int, errorBody) {
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
	if a.target != nil {
		b.Target = a.target(resource, e.Field)
	}
	if a.detail != "" {
		d := errorDetail{Code: a.detail, Message: b.Message}
		if a.at {
			d.Target = member(resource, e.Field)
		}
		b.Details = append(b.Details, d)
	}
	return a.status, b
}

func writeError(resource string) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		status, body := errorOf(api.RequestID(r.Context()), resource, err)
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `PINGID-HMAC realm="postseal"`)
		}
		_ = api.WriteJSON(w, status, body)
	}
}
