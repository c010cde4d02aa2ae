package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/sender"
)

// MediaType returns the Content-Type in lower case and without parameters.
func MediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// WantMedia refuses a body of any other media type; parameters are ignored.
func WantMedia(r *http.Request, want string) error {
	if got := MediaType(r); got != want {
		return sender.Errorf(WrongMedia, "Content-Type", "The Content-Type %q is not understood here; send %s.", Short(got), want)
	}
	return nil
}

// ReadJSON reads a JSON body of type application/json into v.
func ReadJSON(r *http.Request, v any, o ...json.Options) error {
	if err := WantMedia(r, "application/json"); err != nil {
		return err
	}
	b, err := ReadBody(r)
	if err != nil {
		return err
	}
	return DecodeJSON(b, v, o...)
}

// ReadBody reads the whole body; [Dialect.Wrap] has limited it.
func ReadBody(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, sender.Errorf(TooLarge, "", "The request body is larger than %d octets.", MaxBody)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, sender.Errorf(Malformed, "", "The request body did not arrive within %s; send it again.", BodyTimeout)
	}
	if err != nil {
		return nil, sender.Errorf(Malformed, "", "The request body could not be read to its end; send it again.")
	}
	return b, nil
}

// timedBody is a body that has a deadline until it was read. The deadline must
// not outlive it: the server watches the connection while the handler works, and
// would take its passing for the client's hanging up.
type timedBody struct {
	io.ReadCloser
	connection *http.ResponseController
}

func newTimedBody(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	b := timedBody{http.MaxBytesReader(w, r.Body, MaxBody), http.NewResponseController(w)}
	_ = b.connection.SetReadDeadline(time.Now().Add(BodyTimeout)) // without a connection there is nothing to wait for
	return b
}

func (b timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { //nolint:errorlint // documented to be returned as it is
		_ = b.connection.SetReadDeadline(time.Time{})
	}
	return n, err
}

// DecodeJSON reads exactly one JSON object into v: names in their exact case,
// none twice, valid UTF-8, nothing behind it (RFC 8259 with the rules of
// RFC 7493). Unknown members are ignored unless an option says otherwise. What
// is no such object is Malformed; a value of a wrong type is Invalid, with the
// path of the member.
func DecodeJSON(b []byte, v any, o ...json.Options) error {
	if len(b) == 0 {
		return sender.Errorf(Malformed, "", "The request body is empty; send a JSON object.")
	}
	err := json.Unmarshal(b, v, o...)
	if err == nil {
		// null would leave v as it was, and everything in it missing.
		if jsontext.Value(b).Kind() == jsontext.KindNull {
			return sender.Errorf(Malformed, "", "The request body must be a JSON object.")
		}
		return nil
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		field := dotted(e.JSONPointer)
		switch {
		case field == "":
			return sender.Errorf(Malformed, "", "The request body must be a JSON object.")
		case e.Err == json.ErrUnknownName: //nolint:errorlint // documented to be wrapped directly
			return Stray(sender.Invalid, field, "%s is not known here; names are case-sensitive.", field)
		default:
			return sender.Errorf(sender.Invalid, field, "%s must be %s.", field, wanted(e.GoType))
		}
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(e.Err, jsontext.ErrDuplicateName) {
			field := dotted(e.JSONPointer)
			return Stray(Malformed, field, "The request body has the member %s more than once; send it once.", field)
		}
		where := ""
		if field := dotted(e.JSONPointer); field != "" {
			where = " in " + field
		}
		return sender.Errorf(Malformed, "", "The request body is not valid JSON%s, at octet %d.", where, e.ByteOffset)
	}
	return sender.Errorf(Malformed, "", "The request body is not valid JSON.")
}

// Stray is an error about a member or parameter whose name the client chose. The
// answer has the name and the log has not: what is no name of ours may be a
// person's, or a secret that lost its place.
func Stray(kind sender.Kind, name, format string, args ...any) error {
	e := sender.Errorf(kind, Short(name), format, args...)
	e.Err = errStray
	return e
}

var errStray = errors.New("the name is the client's")

// wanted says in JSON's words what a Go type takes.
func wanted(t reflect.Type) string {
	if t == nil {
		return "of another type"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64, reflect.Int32:
		return "an integer"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "of another type"
	}
}

// dotted writes a JSON pointer as people write paths.
func dotted(p jsontext.Pointer) string {
	var parts []string
	for t := range p.Tokens() {
		parts = append(parts, Short(t))
	}
	return Short(strings.Join(parts, "."))
}

// Short cuts what a client sent at 100 characters.
func Short(s string) string {
	if utf8.RuneCountInString(s) <= 100 {
		return s
	}
	return fmt.Sprintf("%s...", string([]rune(s)[:100]))
}
