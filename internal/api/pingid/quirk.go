package pingid

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// readBody reads a JSON body.
func readBody[T any](r *http.Request) (body T, err error) {
	b, err := api.ReadBody(r)
	if err != nil {
		return body, err
	}
	return decode[T](r, b)
}

// decode reads a JSON body, also one whose lines end in a backslash. Members of
// T are pointers, so that what is missing differs from what is empty.
func decode[T any](r *http.Request, b []byte) (body T, err error) {
	if err := api.WantMedia(r, "application/json"); err != nil {
		return body, err
	}
	if err = api.DecodeJSON(b, &body); sender.KindOf(err) == api.Malformed {
		if mended, ok := withoutLineEnds(b); ok {
			var again T
			err = api.DecodeJSON(mended, &again)
			body = again
		}
	}
	return body, err
}

// withoutLineEnds drops each backslash that ends a line outside of strings; ok
// is false where there is none. The vendor's printed curl commands have them
// inside of single quotes, where a shell keeps them.
func withoutLineEnds(b []byte) (mended []byte, ok bool) {
	mended = make([]byte, 0, len(b))
	inside := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inside = !inside
		case c == '\\' && inside && i+1 < len(b):
			mended = append(mended, c)
			i++
		case c == '\\' && !inside:
			end := i + 1
			for end < len(b) && (b[end] == ' ' || b[end] == '\t' || b[end] == '\r') {
				end++
			}
			if end < len(b) && b[end] == '\n' {
				ok = true
				i = end
				mended = append(mended, '\n')
				continue
			}
		}
		mended = append(mended, b[i])
	}
	return mended, ok
}

// text returns an optional member; empty where it is missing.
func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}

// present returns a member that must be there and not be blank, as it is.
func present(field string, value *string) (string, error) {
	switch {
	case value == nil:
		return "", sender.Errorf(sender.Required, field, "%s is missing.", field)
	case strings.TrimSpace(*value) == "":
		return "", sender.Errorf(empty, field, "%s is empty.", field)
	}
	return *value, nil
}

// given is present without the blanks around the value.
func given(field string, value *string) (string, error) {
	s, err := present(field, value)
	return strings.TrimSpace(s), err
}

// mailbox undoes what the vendor's samples do to addresses: one without an @ but
// with its percent-escape is decoded, once.
func mailbox(s string) string {
	if strings.Contains(s, "@") || !strings.Contains(s, "%40") {
		return s
	}
	if decoded, err := url.PathUnescape(s); err == nil {
		return strings.TrimSpace(decoded)
	}
	return s
}

// author is mailbox for an address that may have a display name before it, which
// stays as it is. Blanks around the whole are cut.
func author(s string) string {
	s = strings.TrimSpace(s)
	open := strings.LastIndex(s, "<")
	spec, ok := strings.CutSuffix(s[open+1:], ">")
	if open < 0 || !ok {
		return mailbox(s)
	}
	return s[:open+1] + mailbox(spec) + ">"
}

// parameters reads what a client gives for placeholders: an object of texts.
// Numbers and booleans are the text that they were written as, and null is not
// there. nil where nothing is given.
func parameters(v jsontext.Value) (map[string]string, error) {
	invalid := func() (map[string]string, error) {
		return nil, sender.Errorf(sender.Invalid, "values", "emailParameters must be an object whose values are strings.")
	}
	switch v.Kind() {
	case jsontext.KindInvalid, jsontext.KindNull:
		return nil, nil
	case jsontext.KindBeginObject:
	default:
		return invalid()
	}
	d := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err := d.ReadToken(); err != nil {
		return invalid()
	}
	values := make(map[string]string)
	for {
		name, err := d.ReadToken()
		if err != nil {
			return invalid()
		}
		if name.Kind() == jsontext.KindEndObject {
			return values, nil
		}
		key := name.String() // the next read spoils the token
		value, err := d.ReadToken()
		if err != nil {
			return invalid()
		}
		switch value.Kind() {
		case jsontext.KindNull:
		case jsontext.KindString, jsontext.KindNumber, jsontext.KindTrue, jsontext.KindFalse:
			values[key] = value.String()
		default:
			return invalid()
		}
	}
}

// expansion says which links are answered with the thing itself, and what is shown
// beside a thing.
type expansion struct{ account, emailDomain, ownership, dkim, spf, attributes, devices bool }

// parseExpand reads the parameter expand: names between commas, blanks around
// them, any number of times. The case of names does not count, and unknown ones
// are ignored.
func parseExpand(q url.Values) (x expansion) {
	for _, list := range q["expand"] {
		for name := range strings.SplitSeq(list, ",") {
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "account":
				x.account = true
			case "emaildomain":
				x.emailDomain = true
			case "ownership":
				x.ownership = true
			case "dkim":
				x.dkim = true
			case "spf":
				x.spf = true
			case "attributes":
				x.attributes = true
			case "devices":
				x.devices = true
			}
		}
	}
	return x
}
