package api

import (
	"net/http"
	"net/url"
	"regexp"
)

// Origin says under which address clients reach us. The host is that of the request
// unless Fixed says otherwise: a paging link to any other is one that the client
// can't follow.
type Origin struct {
	// Fixed is a scheme and host, without a slash at the end, for a dialect whose
	// clients build their URLs themselves, and believe what is in a signed answer.
	Fixed string

	// TrustForwardedProto believes the X-Forwarded-Proto of a proxy that sets it
	// always. Otherwise the connection tells.
	TrustForwardedProto bool
}

// Base returns the scheme and host of a request, without a slash at the end.
func (o Origin) Base(r *http.Request) string {
	if o.Fixed != "" {
		return o.Fixed
	}
	scheme := "http"
	if forwarded := r.Header.Get("X-Forwarded-Proto"); o.TrustForwardedProto && (forwarded == "http" || forwarded == "https") {
		scheme = forwarded
	}
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// URL returns the absolute URL of the request itself, with another query.
func (o Origin) URL(r *http.Request, q url.Values) string {
	u := o.Base(r) + r.URL.EscapedPath()
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	return u
}

// Hosts are echoed in links, so that nothing may be in them that ends a URL's
// authority or begins another.
var hostForm = regexp.MustCompile(`^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

func validHost(h string) bool { return hostForm.MatchString(h) }
