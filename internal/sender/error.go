package sender

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what went wrong in a word that callers can branch on with errors.Is.
type Kind string

// The kinds of failure. What is none of these is our own fault and reaches no
// client but as an internal error and a request id.
const (
	Invalid         Kind = "invalid"         // a value that can't be used; Field names it
	Required        Kind = "required"        // a value that is missing; Field names it
	NotFound        Kind = "not-found"       // it does not exist, or is not the caller's to know
	Conflict        Kind = "conflict"        // unique, and already there
	Limit           Kind = "limit"           // a limit of the tenant is reached
	Denied          Kind = "denied"          // known to the caller, who lacks the role
	Unauthenticated Kind = "unauthenticated" // no credential, or not a valid one
	Refused         Kind = "refused"         // a rule of sending says no; Reason tells which
	TooSoon         Kind = "too-soon"        // may be asked again, at RetryAt
	WrongCode       Kind = "wrong-code"      // a code that is wrong, expired or used: never told apart
	NoMoreTries     Kind = "no-more-tries"   // there were too many wrong codes, and no further one counts
	InUse           Kind = "in-use"          // can't go while other things depend on it
	Busy            Kind = "busy"            // no room to accept durably; nothing was stored
)

// Error lets a Kind be a target of errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is the one error type of the core. Detail is a sentence for the API's
// user: it names the thing and the next step. Whatever is wrapped is for the
// log only.
type Error struct {
	Kind    Kind
	Field   string // the core's name of the input: "domainName", "emailAddress", "verificationCode", ...
	Reason  Reason // set where Kind is Refused
	Detail  string
	RetryAt time.Time // set where Kind is TooSoon
	Err     error
}

func (e *Error) Error() string {
	s := e.Detail
	if s == "" {
		s = string(e.Kind)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is makes errors.Is(err, sender.NotFound) work.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// Unwrap returns what caused it, nil if nothing did.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error about a field; field may be empty.
func Errorf(k Kind, field, format string, args ...any) *Error {
	return &Error{Kind: k, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of err, or the empty kind where it is not of the core.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// notFound is the uniform answer for everything that the caller may not know of.
func notFound(noun string) *Error {
	return Errorf(NotFound, "", "The requested %s was not found.", noun)
}

// quote shows a found or sent value in an error: in quotes, cut at 100 characters.
func quote(s string) string {
	r := []rune(s)
	if len(r) > 100 {
		return fmt.Sprintf("%q and %d more characters", string(r[:100]), len(r)-100)
	}
	return fmt.Sprintf("%q", s)
}
