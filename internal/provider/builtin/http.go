package builtin

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/outbound"
	"github.com/postseal/postseal/internal/sender"
)

// httpAPIs are tenants' own ways out by HTTP, all of them behind one client: what one
// tenant's request does is no other's business, since each has a connection to itself
// while it lasts.
type httpAPIs struct{ client *http.Client }

const (
	httpPatience = 30 * time.Second // for an exchange as a whole
	mostAnswer   = 16 << 10         // octets of an answer that are looked at
	mostExcerpt  = 200              // characters of it that are kept

	stageRequest  = "request"  // an answer came
	stageResponse = "response" // it was asked, and no answer came
)

// webPorts are those below 1024 on which HTTP is spoken.
var webPorts = []int{80, 443}

func newHTTPAPIs(c TenantRelays) *httpAPIs {
	g := outbound.Guard{Allow: c.Allow, Ports: webPorts, Setting: allowSetting}
	return &httpAPIs{g.Client(outbound.ClientConfig{Roots: c.Roots, Plain: c.PlainHTTP, Timeout: httpPatience})}
}

// deliver makes the one request that hands a message to a tenant's API.
func (a *httpAPIs) deliver(ctx context.Context, o sender.Outgoing) sender.Delivery {
	x := exchange{relay: o.Relay, began: time.Now()}
	r, err := x.request(ctx, o)
	if err != nil {
		return sender.Delivery{Outcome: sender.PermFailed, Stage: stageRequest, Text: err.Error()}
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return x.failed(err)
	}
	defer answer.Body.Close()
	return x.answered(answer)
}

// exchange is one request, and how far it came.
type exchange struct {
	relay *sender.Relay
	parts sender.Parts
	sent  sender.HTTPRequest
	began time.Time

	mu        sync.Mutex // the hooks may be called when all is over
	connected bool       // from here on it may have been read
	incomplete,
	handshake bool
}

func (x *exchange) request(ctx context.Context, o sender.Outgoing) (*http.Request, error) {
	c, err := mail.Read(o.Body)
	if err != nil {
		return nil, err
	}
	x.parts = sender.Parts{To: o.To, From: sender.Mailbox(c.From), Subject: c.Subject, Text: c.Text, HTML: c.HTML}
	if c.ReplyTo != nil {
		x.parts.ReplyTo = c.ReplyTo.Address
	}
	h := x.relay.HTTP
	if x.sent, err = h.Request(x.parts); err != nil {
		return nil, err
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { x.note(func() { x.handshake = true }) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			x.note(func() { x.handshake = err != nil })
		},
		GotConn:      func(httptrace.GotConnInfo) { x.note(func() { x.connected = true }) },
		WroteRequest: func(i httptrace.WroteRequestInfo) { x.note(func() { x.incomplete = i.Err != nil }) },
	})
	var body io.Reader
	if x.sent.Body != "" {
		body = strings.NewReader(x.sent.Body)
	}
	r, err := http.NewRequestWithContext(ctx, x.sent.Method, x.sent.URL, body)
	if err != nil {
		return nil, errors.New("the URL can't be used with this mail")
	}
	for _, f := range x.sent.Headers {
		r.Header.Set(f.Name, f.Value)
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "Postseal")
	}
	// In lower case: spelt as usual, it makes the transport repeat by itself what may have
	// been read, and of mail that is never to be repeated a second one could go out.
	r.Header["idempotency-key"] = []string{string(o.Message)}
	if h.Bearer {
		r.Header.Set("Authorization", "Bearer "+string(x.relay.Password))
	} else {
		r.SetBasicAuth(x.relay.Username, string(x.relay.Password))
	}
	return r, nil
}

func (x *exchange) note(what func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	what()
}

// failed is told that no answer came.
func (x *exchange) failed(err error) sender.Delivery {
	if e, ok := errors.AsType[*url.Error](err); ok { // which shows the URL
		err = e.Err
		if e.Timeout() {
			err = errors.New("no answer in time")
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	d := sender.Delivery{Outcome: sender.TempFailed, Stage: mail.StageConnect, Text: x.excerpt(err.Error())}
	switch {
	case x.connected && !x.incomplete:
		d.Outcome, d.Stage = sender.InDoubt, stageResponse
	case x.connected:
		d.Stage = stageRequest
	case x.handshake:
		d.Stage = mail.StageTLS
	}
	d.Transcript = x.transcript("(" + d.Text + ")")
	return d
}

// answered reads what the API says. What is wrong with the credential says nothing of
// the message: it waits, as with a relay that will not have us.
func (x *exchange) answered(r *http.Response) sender.Delivery {
	d := sender.Delivery{Outcome: sender.PermFailed, Code: r.StatusCode, Stage: stageRequest}
	d.Text = strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.StatusCode, http.StatusText(r.StatusCode)))
	switch s := r.StatusCode; {
	case s >= 200 && s < 300:
		d.Outcome = sender.Delivered
	case s == http.StatusUnauthorized || s == http.StatusProxyAuthRequired:
		d.Outcome, d.Stage = sender.TempFailed, mail.StageAuth
	case s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500:
		d.Outcome, d.RetryAfter = sender.TempFailed, retryAfter(r.Header.Get("Retry-After"), time.Now())
	case s >= 300 && s < 400:
		d.Text += ": redirects are not followed; name the URL that it leads to"
	}
	if d.Outcome != sender.Delivered {
		if b, _ := io.ReadAll(io.LimitReader(r.Body, mostAnswer)); len(b) > 0 {
			if said := x.excerpt(string(b)); said != "" {
				d.Text += ": " + said
			}
		}
	} else if r.ContentLength >= 0 && r.ContentLength <= mostAnswer {
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength) // so that the connection can be kept
	}
	d.Transcript = x.transcript(d.Text)
	return d
}

// retryAfter reads the field (RFC 9110, section 10.2.3); what can't be read is 0.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second //nolint:gosec // 31 bits
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// transcript shows where it went and what came back: neither path nor query, which may
// hold a secret and hold the recipient.
func (x *exchange) transcript(reply string) []byte {
	where := x.sent.URL
	if u, err := url.Parse(where); err == nil {
		where = u.Scheme + "://" + u.Host
	}
	return transcript([]mail.Step{{
		At: x.began, Command: fmt.Sprintf("%s %s (%d octets)", x.sent.Method, where, len(x.sent.Body)), Reply: reply, Took: time.Since(x.began),
	}})
}

// digits are words that could be a code.
var digits = regexp.MustCompile(`[0-9A-Za-z]*[0-9][0-9A-Za-z]*`)

const (
	shortestCode   = 4 // characters
	shortestSecret = 4
	hidden         = "[...]"
)

// excerpt is what a stranger said, short and in one line, without what is not to be in
// a log: the credential and other values of headers, and what in the message could be a
// code. APIs like to repeat what they were sent.
func (x *exchange) excerpt(s string) string {
	if !utf8.ValidString(s) {
		return ""
	}
	secrets := []string{string(x.relay.Password), base64.StdEncoding.EncodeToString([]byte(x.relay.Username + ":" + string(x.relay.Password)))}
	for _, h := range x.sent.Headers {
		if !strings.EqualFold(h.Name, "Content-Type") {
			secrets = append(secrets, h.Value)
		}
	}
	if u, err := url.Parse(x.sent.URL); err == nil {
		secrets = append(secrets, u.RequestURI(), u.EscapedPath())
		for _, values := range u.Query() {
			secrets = append(secrets, values...)
		}
	}
	for _, secret := range secrets {
		if len(secret) >= shortestSecret {
			s = strings.ReplaceAll(s, secret, hidden)
		}
	}
	codes := make(map[string]bool)
	for _, text := range []string{x.parts.Subject, x.parts.Text, x.parts.HTML} {
		for _, word := range digits.FindAllString(text, -1) {
			codes[word] = len(word) >= shortestCode
		}
	}
	s = digits.ReplaceAllStringFunc(s, func(word string) string {
		if codes[word] {
			return hidden
		}
		return word
	})
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > mostExcerpt {
		s = string(r[:mostExcerpt]) + "..."
	}
	return s
}
