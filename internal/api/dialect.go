package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

const (
	// MaxBody is how many octets of a request's body are read.
	MaxBody = 1 << 20
	// BodyTimeout is how long a request's body may take to arrive.
	BodyTimeout = 10 * time.Second
	// Timeout is how long a request may take in all. Reading a status asks the DNS
	// for a few seconds at most.
	Timeout = 15 * time.Second
)

// Kinds of failure that only edges know, beside those of the core. A dialect's
// error table has them all; see [Kinds].
const (
	Malformed   sender.Kind = "malformed"    // can't be read: broken JSON, a repeated member, a bad Host header
	TooLarge    sender.Kind = "too-large"    // the body is over MaxBody
	WrongMedia  sender.Kind = "wrong-media"  // a Content-Type that is not understood here
	WrongMethod sender.Kind = "wrong-method" // the path is there, the method isn't
	NoRoute     sender.Kind = "no-route"     // the path isn't there
)

// Kinds lists every kind of failure that can reach a dialect, for tables that
// must be complete.
var Kinds = []sender.Kind{
	sender.Invalid, sender.Required, sender.NotFound, sender.Conflict, sender.Limit, sender.Denied, sender.Unauthenticated,
	sender.Refused, sender.TooSoon, sender.WrongCode, sender.NoMoreTries, sender.InUse, sender.Busy,
	Malformed, TooLarge, WrongMedia, WrongMethod, NoRoute,
}

// Dialect is how one API speaks.
type Dialect struct {
	Name string
	Log  *slog.Logger
	// Authenticate tells who asks; nil: anybody may.
	Authenticate func(*http.Request) (sender.Principal, error)
	// WriteError says in the dialect's words what went wrong. An err without a
	// kind (see [sender.KindOf]) is our own fault and must not be shown.
	WriteError func(w http.ResponseWriter, r *http.Request, err error)
	// Finish may change or sign the whole answer before it leaves; may be nil. An
	// error of it is answered as an internal error, unfinished.
	Finish func(a *Answer, r *http.Request) error
	// Attrs are further attributes of a request's line in the log; may be nil.
	Attrs func(r *http.Request) []slog.Attr
}

// Handle makes the handler of one operation. decode and encode are pure; do is
// a method of the core. All three may fail with a [sender.Error].
func Handle[In, Out any](
	d *Dialect,
	decode func(*http.Request) (In, error),
	do func(context.Context, sender.Principal, In) (Out, error),
	encode func(http.ResponseWriter, *http.Request, Out) error,
) http.Handler {
	return d.Wrap(func(w http.ResponseWriter, r *http.Request) error {
		p, err := d.Principal(r)
		if err != nil {
			return err
		}
		in, err := decode(r)
		if err != nil {
			return err
		}
		out, err := do(r.Context(), p, in)
		if err != nil {
			return err
		}
		return encode(w, r, out)
	})
}

// Principal authenticates the request and notes the result for the log.
func (d *Dialect) Principal(r *http.Request) (sender.Principal, error) {
	if d.Authenticate == nil {
		return sender.Principal{}, nil
	}
	p, err := d.Authenticate(r)
	if c := callOf(r.Context()); c != nil {
		c.credential = p.Credential
	}
	return p, err
}

// Bearer returns an Authenticate for tokens in the Authorization header
// (RFC 6750, section 2.1).
func Bearer(a *auth.Auth) func(*http.Request) (sender.Principal, error) {
	return func(r *http.Request) (sender.Principal, error) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			token = ""
		}
		return a.Authenticate(r.Context(), auth.Secret(strings.TrimSpace(token)))
	}
}

// call is what is known of a request beside the request.
type call struct {
	id         string
	credential sender.ID
	err        error // what was answered
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RequestID returns the id under which the request is found in the log; it is
// in the answer's X-Request-Id too.
func RequestID(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.id
	}
	return ""
}

// NoteError tells the log about an error that is answered by other means than
// by returning it.
func NoteError(ctx context.Context, err error) {
	if c := callOf(ctx); c != nil {
		c.err = err
	}
}

// Wrap gives a function everything that each request gets: an id, limits of
// size and time, a buffered answer, errors in the dialect's words, recovery and
// a line in the log. What the function has written counts only if it returns nil.
// Within another Wrap only the words are this dialect's.
func (d *Dialect) Wrap(do func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, ok := w.(*Answer); ok {
			d.answer(a, r, do)
			return
		}
		begin := time.Now()
		c := &call{id: string(sender.NewID())}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callKey{}, c), Timeout)
		defer cancel()
		r = r.WithContext(ctx)
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = newTimedBody(w, r)
		}
		a := newAnswer()
		d.answer(a, r, do)
		// Also where the context says that the client is gone: it may only have closed
		// its half, and net/http answers for us with an empty 200 if we don't.
		a.send(w, c.id)
		d.record(r, c, a, time.Since(begin))
	})
}

// answer runs do and turns its error into the dialect's words.
func (d *Dialect) answer(a *Answer, r *http.Request, do func(http.ResponseWriter, *http.Request) error) {
	fail := func(err error) {
		a.reset()
		if methods, ok := errors.AsType[allowed](err); ok {
			a.header.Set("Allow", string(methods))
		}
		NoteError(r.Context(), err)
		d.WriteError(a, r, err)
	}
	if err := d.safely(a, r, do); err != nil {
		fail(err)
	}
	if d.Finish != nil {
		if err := d.Finish(a, r); err != nil {
			fail(err)
		}
	}
}

// safely runs do and turns a panic into an error.
func (d *Dialect) safely(a *Answer, r *http.Request, do func(http.ResponseWriter, *http.Request) error) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
			panic(v)
		}
		err = errors.New("panic")
		d.Log.ErrorContext(r.Context(), "panic in a handler", "request", RequestID(r.Context()), "dialect", d.Name, "route", r.Pattern, "panic", v, "stack", string(debug.Stack()))
	}()
	if !validHost(r.Host) {
		return sender.Errorf(Malformed, "Host", "The Host header is missing or is not a host name with an optional port.")
	}
	return do(a, r)
}

// record writes the line of the log: the route's pattern and never the path,
// query or body, since these hold people's addresses. Of an error of the core it
// writes the kind and the field alone for the same reason.
func (d *Dialect) record(r *http.Request, c *call, a *Answer, took time.Duration) {
	level := slog.LevelDebug
	attrs := []slog.Attr{
		slog.String("request", c.id), slog.String("dialect", d.Name), slog.String("method", r.Method), slog.String("route", r.Pattern),
		slog.Int("status", a.Status()), slog.Int("bytes", a.Body.Len()), slog.Duration("took", took), slog.String("credential", string(c.credential)),
	}
	if d.Attrs != nil {
		attrs = append(attrs, d.Attrs(r)...)
	}
	if a.Status() >= 400 {
		level = slog.LevelInfo
	}
	switch e, ok := errors.AsType[*sender.Error](c.err); {
	case ok:
		attrs = append(attrs, slog.String("kind", string(e.Kind)))
		if !errors.Is(e.Err, errStray) {
			attrs = append(attrs, slog.String("field", Short(e.Field)))
		}
		if e.Kind == sender.Unauthenticated && e.Err != nil {
			attrs = append(attrs, slog.String("why", e.Err.Error()))
		}
	case errors.Is(c.err, context.Canceled):
		attrs = append(attrs, slog.String("kind", "client went away"))
	case c.err != nil:
		level = slog.LevelError
		attrs = append(attrs, slog.String("error", c.err.Error()))
	}
	d.Log.LogAttrs(r.Context(), level, "request", attrs...)
}
