package pingid

import (
	"net/http"
	"net/url"
	"strings"

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

// given returns a member that must be there and not be blank, without the
// blanks around it.
func given(field string, value *string) (string, error) {
	if value == nil {
		return "", sender.Errorf(sender.Required, field, "%s is missing.", field)
	}
	s := strings.TrimSpace(*value)
	if s == "" {
		return "", sender.Errorf(empty, field, "%s is empty.", field)
	}
	return s, nil
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

// expansion says which links are answered with the thing itself.
type expansion struct{ account, emailDomain, ownership, dkim, spf bool }

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
			}
		}
	}
	return x
}
