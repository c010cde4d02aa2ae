package native

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Type      string         `json:"type" doc:"Always about:blank: code tells the kind."`
	Title     string         `json:"title" doc:"The status in words."`
	Status    int            `json:"status" doc:"The HTTP status."`
	Detail    string         `json:"detail" doc:"What is wrong and what to do about it."`
	Code      string         `json:"code" doc:"The kind of problem, in a word that stays the same."`
	Field     string         `json:"field,omitzero" doc:"The input it is about."`
	Reason    string         `json:"reason,omitzero" doc:"Which rule of sending said no, where code is refused."`
	RetryAt   time.Time      `json:"retryAt,omitzero" doc:"When it may be asked again, where code is too-soon."`
	RequestID string         `json:"requestId" doc:"The id under which the request is found in the log."`
	Errors    []ProblemError `json:"errors,omitempty" doc:"What is wrong with the input, one by one."`

	headers http.Header
}

// ProblemError is one fault of the input.
type ProblemError struct {
	Message  string `json:"message"`
	Location string `json:"location,omitzero" doc:"Such as body.from or query.limit."`
}

// Error, GetStatus, GetHeaders and ContentType are what huma wants of an error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the header fields that belong to the status.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType returns the media type of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// statuses has every kind of failure.
var statuses = map[sender.Kind]int{
	sender.Required:        http.StatusUnprocessableEntity,
	sender.Invalid:         http.StatusUnprocessableEntity,
	sender.Refused:         http.StatusUnprocessableEntity,
	sender.WrongCode:       http.StatusUnprocessableEntity,
	sender.NoMoreTries:     http.StatusUnprocessableEntity,
	sender.Conflict:        http.StatusConflict,
	sender.InUse:           http.StatusConflict,
	sender.Limit:           http.StatusConflict,
	sender.NotFound:        http.StatusNotFound,
	sender.Denied:          http.StatusForbidden,
	sender.Unauthenticated: http.StatusUnauthorized,
	sender.TooSoon:         http.StatusTooManyRequests,
	sender.Busy:            http.StatusServiceUnavailable,
	api.Malformed:          http.StatusBadRequest,
	api.TooLarge:           http.StatusRequestEntityTooLarge,
	api.WrongMedia:         http.StatusUnsupportedMediaType,
	api.WrongMethod:        http.StatusMethodNotAllowed,
	api.NoRoute:            http.StatusNotFound,
}

// busyRetry is when a full queue is worth another try.
const busyRetry = 60 * time.Second

// problemOf says in the API's words what went wrong. What is no error of the
// core stays hidden behind the id of the request.
func problemOf(requestID string, err error) *Problem {
	e, ok := errors.AsType[*sender.Error](err)
	status := http.StatusInternalServerError
	if ok {
		if s, known := statuses[e.Kind]; known {
			status = s
		}
	}
	if status == http.StatusInternalServerError {
		return newProblem(requestID, status, "internal", "An internal error occurred; if it stays, report it with the requestId.")
	}
	p := newProblem(requestID, status, string(e.Kind), cmp.Or(e.Detail, http.StatusText(status)+"."))
	p.Field, p.Reason, p.RetryAt = e.Field, string(e.Reason), e.RetryAt.UTC()
	wait := time.Duration(0)
	switch e.Kind {
	case sender.Unauthenticated:
		p.headers.Set("WWW-Authenticate", `Bearer realm="postseal"`)
	case sender.Busy:
		wait = busyRetry
	case sender.TooSoon:
		wait = max(time.Until(e.RetryAt), time.Second)
	}
	if wait > 0 {
		p.headers.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
	return p
}

func newProblem(requestID string, status int, code, detail string) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code, RequestID: requestID, headers: make(http.Header),
	}
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(api.RequestID(r.Context()), err)
	maps.Copy(w.Header(), p.headers)
	w.Header().Set("Content-Type", p.ContentType(""))
	_ = api.WriteJSON(w, p.Status, p)
}

// huma makes its own errors, those of validation, through this variable, and
// there is no other way to give them our form. Values that were sent are left
// out: they may be secrets. No list of ours is ever null, and the case of names
// counts.
func init() {
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		id := ""
		if ctx != nil {
			id = api.RequestID(ctx.Context())
		}
		return validationProblem(id, status, message, errs)
	}
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return validationProblem("", status, message, errs)
	}
	huma.DefaultArrayNullable = false
	huma.ValidateStrictCasing = true
}

// maxFaults bounds how many faults of one request are listed.
const maxFaults = 20

// validationProblem is the form of huma's own errors. Bodies were read before
// huma saw them, so that what is left to it is what the schema says of them, and
// the parameters. The first fault is the problem's own, in the form that the
// core's have.
func validationProblem(requestID string, status int, message string, errs []error) *Problem {
	if status >= 500 {
		return newProblem(requestID, status, "internal", "An internal error occurred; if it stays, report it with the requestId.")
	}
	p := newProblem(requestID, status, string(sender.Invalid), message)
	for _, err := range errs[:min(len(errs), maxFaults)] {
		fault := ProblemError{Message: api.Short(err.Error())}
		if d, ok := err.(huma.ErrorDetailer); ok {
			fault = ProblemError{Message: api.Short(d.ErrorDetail().Message), Location: api.Short(d.ErrorDetail().Location)}
		}
		p.Errors = append(p.Errors, fault)
	}
	if len(p.Errors) > 0 {
		p.Code, p.Field, p.Detail = p.Errors[0].explain()
	}
	return p
}

// What huma says of something that is missing.
var (
	missingMember    = regexp.MustCompile(`^expected required property (\S+) to be present$`)
	missingParameter = regexp.MustCompile(`^required \w+ parameter is missing$`)
)

// explain says a fault in the words of the core: body.grants[0].x is the field
// grants.0.x.
func (f ProblemError) explain() (code, field, detail string) {
	_, field, _ = strings.Cut(strings.NewReplacer("[", ".", "]", "").Replace(f.Location), ".")
	if m := missingMember.FindStringSubmatch(f.Message); m != nil {
		field = strings.TrimPrefix(field+"."+m[1], ".")
		return string(sender.Required), field, field + " is missing."
	}
	if missingParameter.MatchString(f.Message) {
		return string(sender.Required), field, field + " is missing."
	}
	return string(sender.Invalid), field, strings.TrimPrefix(field+": ", ": ") + f.Message + "."
}
