package sailpoint

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// release is a version of the API, as paths name it.
type release string

// The releases. Annual ones are before the resource, v1 is behind it. bare is the
// path as the document of the operation prints it, without any.
const (
	bare  release = ""
	beta  release = "beta"
	v2024 release = "v2024"
	v2025 release = "v2025"
	v2026 release = "v2026"
	v1    release = "v1"
	login release = "oauth" // outside of all of them
)

var annual = []release{beta, v2024, v2025, v2026}

// resources are the first segments of paths behind an annual release.
var resources = []string{
	"verified-from-addresses", "verified-domains", "mail-from-attributes",
	"notification-templates", "notification-template-defaults", "notification-template-context", "notification-template-variables",
	"notification-preferences", "send-test-notification",
}

// newest have operations that the others do not.
func (r release) newest() bool { return r == v2026 || r == v1 }

// Owns reports whether a path belongs to this dialect, in any case: who mistyped one
// gets the 404 of the API that was meant. v3, which has nothing of this, belongs to
// the vendor's clients all the same.
func Owns(path string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	first = strings.ToLower(first)
	return first == string(login) || first == "v3" || slices.Contains(annual, release(first)) || slices.Contains(resources, first)
}

// locate reads an escaped path: the release and what is left without it, escaped as
// it was. Slashes at its beginning count once, since clients join a base that ends
// in one with a path that begins with one.
func locate(escaped string) (r release, rest string, ok bool) {
	rest = "/" + strings.TrimLeft(escaped, "/")
	first, behind, _ := strings.Cut(rest[1:], "/")
	switch {
	case slices.Contains(annual, release(first)):
		r, rest = release(first), "/"+behind
		first, _, _ = strings.Cut(behind, "/")
		return r, rest, slices.Contains(resources, first)
	case slices.Contains(resources, first):
		if version, more, _ := strings.Cut(behind, "/"); version == string(v1) {
			if rest = "/" + first; len(behind) > len(v1) {
				rest += "/" + more
			}
			return v1, rest, true
		}
		return bare, rest, true
	default:
		return login, rest, first == string(login)
	}
}

type releaseKey struct{}

func releaseOf(ctx context.Context) release {
	r, _ := ctx.Value(releaseKey{}).(release)
	return r
}

// without returns the request as it would be without its release; ok is false where
// the path is nothing of ours.
func without(r *http.Request) (shorter *http.Request, ok bool) {
	version, rest, ok := locate(r.URL.EscapedPath())
	if !ok {
		return nil, false
	}
	u := *r.URL
	path, err := url.PathUnescape(rest)
	if err != nil {
		return nil, false
	}
	u.Path, u.RawPath = path, rest
	shorter = r.WithContext(context.WithValue(r.Context(), releaseKey{}, version))
	shorter.URL = &u
	return shorter, true
}
