package sailpoint

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// Kinds of failure that only this dialect tells apart.
const (
	readOnly      sender.Kind = "read-only"     // a member that can't be written
	unknownObject sender.Kind = "unknown"       // a body names something that is not there
	noExperiment  sender.Kind = "no-experiment" // the header for experimental operations is missing
	throttled     sender.Kind = "throttled"     // too many requests of a client
)

// shape is one of the forms that errors have.
type shape int

const (
	object   shape = iota // detailCode, trackingId, messages, causes
	short                 // {"error"}
	patience              // {"message"} with Retry-After
	method                // errorName, errorMessage, trackingId
)

// answer is how a kind of failure looks on the wire.
type answer struct {
	status int
	shape  shape
	code   string // detailCode or errorName
	reason reason
}

// errorTable has every kind of failure. It is ruled by what real clients do. The Go
// client repeats all 5xx for a quarter of a minute and then loses the answer: only
// what is really our fault is one. It waits for a 429 as long as it is told to, so
// that only short waits are one. And it decodes 400, 403, 404 and 500 into the
// object, and has no form for any other status than these and 401, 405 and 429.
var errorTable = map[sender.Kind]answer{
	api.Malformed:          {http.StatusBadRequest, object, "400.0 Bad Request Syntax", unreadable},
	sender.Refused:         {http.StatusBadRequest, object, "400.1 Bad Request Content", meaningless},
	sender.Required:        {http.StatusBadRequest, object, "400.1.0 Required Data Missing Or Empty", incomplete},
	readOnly:               {http.StatusBadRequest, object, "400.1.1 Illegal update attempt", meaningless},
	sender.Invalid:         {http.StatusBadRequest, object, "400.1.3 Illegal value", meaningless},
	sender.WrongCode:       {http.StatusBadRequest, object, "400.1.3 Illegal value", meaningless},
	sender.NoMoreTries:     {http.StatusBadRequest, object, "400.1.3 Illegal value", meaningless},
	sender.Limit:           {http.StatusBadRequest, object, "400.1.4 Limit violation", overLimit},
	sender.TooSoon:         {http.StatusBadRequest, object, "400.1.4 Limit violation", overLimit},
	api.TooLarge:           {http.StatusBadRequest, object, "400.1.4 Limit violation", overLimit},
	unknownObject:          {http.StatusBadRequest, object, "400.1.404 Referenced object not found", meaningless},
	sender.Conflict:        {http.StatusBadRequest, object, "400.1.409 Reference conflict", conflicting},
	sender.InUse:           {http.StatusBadRequest, object, "400.2.1.0 Object in use by another", conflicting},
	noExperiment:           {http.StatusBadRequest, short, "", reason{}},
	sender.Unauthenticated: {http.StatusUnauthorized, short, "", reason{}},
	sender.Denied:          {http.StatusForbidden, object, "403 Forbidden", forbidden},
	sender.NotFound:        {http.StatusNotFound, object, "404 Not found", absent},
	api.NoRoute:            {http.StatusNotFound, object, "404 Not found", absent},
	api.WrongMethod:        {http.StatusMethodNotAllowed, method, "NotAllowedException", reason{}},
	api.WrongMedia:         {http.StatusMethodNotAllowed, method, "NotSupportedException", reason{}}, // as the vendor has it
	throttled:              {http.StatusTooManyRequests, patience, "", reason{}},
	sender.Busy:            {http.StatusTooManyRequests, patience, "", reason{}},
}

// internalError is for what is really our own fault; nothing is told of it.
var internalError = answer{http.StatusInternalServerError, object, "500.0 Internal Fault", fault}

// busyFor is how long a client is to wait where the queue is full.
const busyFor = 10 * time.Second

type (
	errorBody struct {
		DetailCode string        `json:"detailCode"`
		TrackingID string        `json:"trackingId"`
		Messages   []messageBody `json:"messages"`
		Causes     []messageBody `json:"causes,omitempty"`
	}
	messageBody struct {
		Locale       string `json:"locale"`
		LocaleOrigin string `json:"localeOrigin"`
		Text         string `json:"text"`
	}
	shortBody struct {
		Error string `json:"error"`
	}
	patienceBody struct {
		Message string `json:"message"`
	}
	methodBody struct {
		ErrorName    string `json:"errorName"`
		ErrorMessage string `json:"errorMessage"`
		TrackingID   string `json:"trackingId"`
	}
)

// trackingID is the id of the request in the vendor's form: 32 hexadecimal digits.
func trackingID(ctx context.Context) string { return strings.ReplaceAll(api.RequestID(ctx), "-", "") }

// causeOf are the core's own words about what is wrong; they are in English.
func causeOf(detail string) []messageBody {
	if detail == "" {
		return nil
	}
	return []messageBody{{languages[0].String(), "DEFAULT", detail}}
}

// errorOf makes the body of an error.
func errorOf(tracking, acceptLanguage string, err error) (answer, any) {
	e, _ := errors.AsType[*sender.Error](err)
	if e == nil {
		e = &sender.Error{}
	}
	a, ok := errorTable[e.Kind]
	if !ok {
		a, e = internalError, &sender.Error{}
	}
	switch a.shape {
	case short:
		return a, shortBody{e.Detail}
	case patience:
		return a, patienceBody{" Rate Limit Exceeded "} // the blanks are the vendor's
	case method:
		return a, methodBody{a.code, e.Detail, tracking}
	}
	index, asked := languageFor(acceptLanguage)
	message := messageBody{languages[index].String(), "DEFAULT", a.reason[index]}
	if asked {
		message.LocaleOrigin = "REQUEST"
	}
	return a, errorBody{DetailCode: a.code, TrackingID: tracking, Messages: []messageBody{message}, Causes: causeOf(e.Detail)}
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	a, body := errorOf(trackingID(r.Context()), r.Header.Get("Accept-Language"), err)
	switch {
	case a.status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="postseal"`)
		body = shortBody{unauthenticated(r)}
	case a.shape == patience:
		w.Header().Set("Retry-After", strconv.Itoa(patienceFor(err)))
	}
	_ = api.WriteJSON(w, a.status, body)
}

// unauthenticated says what everybody can see of a token that does not count.
func unauthenticated(r *http.Request) string {
	if token := strings.Fields(r.Header.Get("Authorization")); len(token) < 2 {
		return "JWT validation failed: no access token was sent; get one at /oauth/token, and check id and secret if that failed"
	}
	return "JWT validation failed: JWT is expired, or is none of ours"
}

// patienceFor is how long to wait, in whole seconds and never less than one.
func patienceFor(err error) int {
	wait := busyFor
	if e, ok := errors.AsType[*sender.Error](err); ok && !e.RetryAt.IsZero() {
		wait = time.Until(e.RetryAt)
	}
	return max(1, int(math.Ceil(wait.Seconds())))
}
