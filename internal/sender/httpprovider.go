package sender

import (
	"encoding/json"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/template"
)

// HTTPProvider is a tenant's way out by an HTTP API: one request for each message. URL,
// values of headers and body are templates of the closed language, see [Parts].
type HTTPProvider struct {
	Name   string // for people
	Bearer bool   // the password is a token (RFC 6750); otherwise it goes with the user name (RFC 7617)
	Method string // GET or POST
	URL    string
	// Headers are as they were sent; nil: none were. Body likewise.
	Headers map[string]string
	Body    *string
}

// Parts is a mail as an HTTP API takes it, and what the placeholders of an
// [HTTPProvider] stand for.
type Parts struct {
	To      string  // ${to}
	From    Mailbox // ${from}, ${from.name}
	ReplyTo string  // ${replyTo}; empty: answers go to From
	Subject string  // ${subject}
	Text    string  // ${text}
	HTML    string  // ${message}, which is Text where there is no HTML
}

func (p Parts) values() map[string]string {
	message := p.HTML
	orDefault(&message, p.Text)
	return map[string]string{
		"to": p.To, "from": p.From.Address, "from.name": p.From.Name, "replyTo": p.ReplyTo, "subject": p.Subject, "text": p.Text, "message": message,
	}
}

var (
	partNames   = []string{"to", "from", "from.name", "replyTo", "subject", "text", "message"}
	headerNames = []string{"to", "from", "from.name", "replyTo", "subject"}
	pathNames   = []string{"to", "from"} // which can't be "..": addr-specs
)

// HTTPRequest is what an API is sent, complete but for the credential.
type HTTPRequest struct {
	Method, URL string
	Headers     []Header
	Body        string
}

// Limits of an HTTP provider.
const (
	maxEndpoint       = 2000
	maxProviderHeader = 4000 // octets of a name and its value
	maxHTTPHeaders    = 20
	maxProviderBody   = 100 << 10
	maxToken          = 4096
	maxFilledURL      = 16 << 10 // more is refused by servers, each at another length
)

// framing are the header fields of the connection and of the message's frame (RFC 9110,
// section 7.6.1): whoever posts sets them, never a tenant.
var framing = []string{
	"connection", "content-encoding", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// providerHeaders are those that a request to an API has by itself.
var providerHeaders = append([]string{"authorization", "idempotency-key", "proxy-authorization"}, framing...)

// webPorts are those below firstFreePort that are of HTTP.
var webPorts = []int{80, 443}

// endpoint is a URL that is cut where other rules begin.
type endpoint struct {
	scheme    string
	host      string // name or address, without brackets
	port      string // may be empty
	path      string // with its slash
	query     string // without the question mark
	questions bool
}

// parseEndpoint reads the URL of a service that a client names: https, or http where
// plain allows it. Placeholders stand in the path and the query alone. Where the host
// leads is looked at when it is connected to.
func parseEndpoint(field, s string, plain bool) (e endpoint, err error) {
	wrong := func(format string, args ...any) (endpoint, error) {
		return endpoint{}, Errorf(Invalid, field, format, args...)
	}
	switch {
	case s == "":
		return e, Errorf(Required, field, "The URL is missing.")
	case len(s) > maxEndpoint || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7F || r == '\\' }):
		return wrong("The URL has more than %d octets, or blanks or other characters that must be percent-encoded.", maxEndpoint)
	case strings.Contains(s, "#"):
		return wrong("The URL has a fragment (#), which is never sent; leave it out.")
	}
	scheme, rest, ok := strings.Cut(s, "://")
	e.scheme = strings.ToLower(scheme)
	if !ok || e.scheme != "https" && e.scheme != "http" {
		return wrong("The URL must begin with https://.")
	}
	if e.scheme == "http" && !plain {
		return wrong("The URL must begin with https://: this instance sends nothing in clear text.")
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	e.path, e.query, e.questions = strings.Cut(rest, "?")
	if strings.ContainsAny(authority, "@$") {
		return wrong("The URL names a user or has a placeholder in its host; the host is fixed, and credentials don't belong into a URL.")
	}
	x := template.Compile(rest, template.Component).Execute(nil)
	u, err := url.Parse(e.scheme + "://" + authority + x)
	if err != nil {
		return wrong("The URL can't be read; write it as https://api.example.org/mail.")
	}
	e.host, e.port = u.Hostname(), u.Port()
	if e.host == "" {
		return wrong("The URL has no host; write it as https://api.example.org/mail.")
	}
	if err := checkHost(e.host); err != nil {
		return wrong("The host of the URL, %s, is not the name of a host.", quote(e.host))
	}
	if n, err := strconv.Atoi(e.port); strings.HasSuffix(authority, ":") || e.port != "" && (err != nil || n > 65535 || n < firstFreePort && !slices.Contains(webPorts, n)) {
		return wrong("%s is not a port of HTTP; use 443, or one from %d to 65535.", quote(e.port), firstFreePort)
	}
	return e, nil
}

// origin is what a credential is kept for (RFC 6454, section 4).
func (e endpoint) origin() string {
	port := e.port
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[e.scheme]
	}
	return e.scheme + "://" + onDNS(e.host) + ":" + port
}

// onDNS is a host as it is looked up: in A-labels (RFC 5890). Addresses stay.
func onDNS(host string) string {
	if name, err := dnscheck.ParseName(host); err == nil && !strings.Contains(host, ":") {
		return name.String()
	}
	return host
}

// fill puts values into a URL.
func (e endpoint) fill(values map[string]string) string {
	host := onDNS(e.host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if e.port != "" {
		host += ":" + e.port
	}
	s := e.scheme + "://" + host + template.Compile(e.path, template.Component).Execute(values)
	if e.questions {
		s += "?" + template.Compile(e.query, template.Component).Execute(values)
	}
	return s
}

// check looks at what can be judged without asking anybody. Fields are "name",
// "method", "url", "headers" and "body".
func (h *HTTPProvider) check(plain bool) error {
	if h.Name == "" {
		return Errorf(Required, "name", "name is missing: say what the provider is called.")
	}
	if err := checkLabel("name", h.Name, maxRelayName); err != nil {
		return err
	}
	e, err := parseEndpoint("url", h.URL, plain)
	if err != nil {
		return err
	}
	used := template.Compile(e.query, template.Plain).Names()
	for _, name := range template.Compile(e.path, template.Plain).Names() {
		if !slices.Contains(pathNames, name) {
			return Errorf(Invalid, "url", "${%s} can't stand in the path of the URL, where only ${to} and ${from} can; move it behind the question mark or into the body.", name)
		}
		used = append(used, name)
	}
	headers, err := h.checkHeaders()
	if err != nil {
		return err
	}
	used = append(used, headers...)
	switch h.Method {
	case "POST":
		if h.Body == nil || *h.Body == "" {
			return Errorf(Required, "body", "body is missing: it is what a POST brings.")
		}
		if len(*h.Body) > maxProviderBody || !utf8.ValidString(*h.Body) {
			return Errorf(Invalid, "body", "The body is not UTF-8 of at most 100 KiB.")
		}
		if _, _, err := h.content(); err != nil {
			return err
		}
		used = append(used, template.Compile(*h.Body, template.Plain).Names()...)
	case "GET":
		if h.Body != nil && *h.Body != "" {
			return Errorf(Invalid, "body", "A GET has no body; use POST, or put the values into the URL.")
		}
	case "":
		return Errorf(Required, "method", "method is missing: use POST or GET.")
	default:
		return Errorf(Invalid, "method", "%s can't be used; use POST or GET.", quote(h.Method))
	}
	where := "body"
	if h.Method == "GET" {
		where = "url"
	}
	for _, name := range used {
		if !slices.Contains(partNames, name) {
			return Errorf(Invalid, where, "${%s} is not known here; use ${%s}.", name, strings.Join(partNames, "}, ${"))
		}
	}
	switch {
	case !slices.Contains(used, "to"):
		return Errorf(Required, where, "The variable ${to} is missing: without it nobody gets the mail.")
	case !slices.Contains(used, "message") && !slices.Contains(used, "text"):
		return Errorf(Required, where, "The variable ${message} is missing: without it nobody gets to read anything.")
	}
	return nil
}

func (h *HTTPProvider) checkHeaders() (used []string, err error) {
	if len(h.Headers) > maxHTTPHeaders {
		return nil, Errorf(Invalid, "headers", "There are %d headers; at most %d can be sent.", len(h.Headers), maxHTTPHeaders)
	}
	seen := make(map[string]bool)
	for name, value := range h.Headers {
		lower := strings.ToLower(name)
		switch {
		case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r != '-' && r != '_' && !isAlnum(r) }):
			return nil, Errorf(Invalid, "headers", "%s is not the name of a header: letters, digits, hyphens and underscores.", quote(name))
		case slices.Contains(providerHeaders, lower):
			return nil, Errorf(Invalid, "headers", "The header %s is set here; credentials belong into the authentication.", name)
		case seen[lower]:
			return nil, Errorf(Invalid, "headers", "The header %s is there twice.", name)
		case len(name)+len(value) > maxProviderHeader || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7F }):
			return nil, Errorf(Invalid, "headers", "The value of the header %s has more than %d octets, a line end or another control character.", name, maxProviderHeader)
		}
		seen[lower] = true
		for _, n := range template.Compile(value, template.Plain).Names() {
			if !slices.Contains(headerNames, n) || lower == "content-type" {
				return nil, Errorf(Invalid, "headers", "${%s} can't stand in the header %s.", n, name)
			}
			used = append(used, n)
		}
	}
	return used, nil
}

func isAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// content says how values are written into the body, and what is said of it.
func (h *HTTPProvider) content() (template.Context, string, error) {
	isJSON := func() bool {
		x := make(map[string]string, len(partNames))
		for _, name := range partNames {
			x[name] = "x" // which is JSON within a string alone
		}
		return json.Valid([]byte(template.Compile(*h.Body, template.JSON).Execute(x)))
	}
	for name, value := range h.Headers {
		if !strings.EqualFold(name, "Content-Type") {
			continue
		}
		media, params, err := mime.ParseMediaType(value)
		if charset := params["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return 0, "", Errorf(Invalid, "headers", "The Content-Type %s can't be used: the body is written in UTF-8.", quote(value))
		}
		switch {
		case media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"):
			if !isJSON() {
				return 0, "", Errorf(Invalid, "body", "The body is not JSON although its Content-Type says so, or a variable stands outside of a string; write {\"to\":\"${to}\"}.")
			}
			return template.JSON, value, nil
		case media == "application/x-www-form-urlencoded":
			return template.Component, value, nil
		case media == "text/plain":
			return template.Plain, value, nil
		}
		return 0, "", Errorf(Invalid, "headers", "No values can be put safely into a body of the type %s; use application/json, application/x-www-form-urlencoded or text/plain.", quote(media))
	}
	if !isJSON() {
		return 0, "", Errorf(Required, "headers", "The body is not JSON: say what it is by a header Content-Type.")
	}
	return template.JSON, "application/json", nil
}

// Request fills a mail in. What can't be sent in this form is PermFailed for good.
func (h *HTTPProvider) Request(p Parts) (HTTPRequest, error) {
	e, err := parseEndpoint("url", h.URL, true)
	if err != nil {
		return HTTPRequest{}, err
	}
	values := p.values()
	r := HTTPRequest{Method: h.Method, URL: e.fill(values)}
	if len(r.URL) > maxFilledURL {
		return r, Errorf(Invalid, "url", "With this mail the URL has more than %d octets; let the provider take it in the body of a POST.", maxFilledURL)
	}
	line := make(map[string]string, len(values))
	for name, v := range values { // one line in a header, whatever a caller put into a name
		line[name] = strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7F && r < 0xA0 {
				return ' '
			}
			return r
		}, v)
	}
	for name, value := range h.Headers {
		if !strings.EqualFold(name, "Content-Type") {
			r.Headers = append(r.Headers, Header{name, template.Compile(value, template.Plain).Execute(line)})
		}
	}
	if h.Method == "POST" && h.Body != nil {
		in, contentType, err := h.content()
		if err != nil {
			return r, err
		}
		r.Headers = append(r.Headers, Header{"Content-Type", contentType})
		r.Body = template.Compile(*h.Body, in).Execute(values)
	}
	return r, nil
}
