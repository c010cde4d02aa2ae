// Package webhook posts events to the URLs that tenants chose, signed as the Standard
// Webhooks specification says. It makes one attempt and tells what came of it: what is
// due, to whom, and when it is tried again is the core's.
//
//	core: an event is due -> Post: body -> sign -> guard -> TLS -> POST -> status -> core
//
// It is no general HTTP client: redirects are not followed, and of an answer only the
// status and Retry-After count.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/outbound"
	"github.com/postseal/postseal/internal/sender"
)

// Ports are those below 1024 that are connected to.
var Ports = []int{80, 443}

// Body makes what is posted of an event; its media type is application/json.
type Body func(w sender.Webhook, e sender.Event) ([]byte, error)

// Config is what a Poster is made of.
type Config struct {
	Client *http.Client // of an [outbound.Guard]
	// Formats are those beside [sender.StandardFormat].
	Formats map[sender.WebhookFormat]Body
}

// Poster is a [sender.Poster]. It is safe for concurrent use.
type Poster struct {
	client  *http.Client
	formats map[sender.WebhookFormat]Body
}

var _ sender.Poster = (*Poster)(nil)

// New makes a Poster.
func New(c Config) *Poster { return &Poster{c.Client, c.Formats} }

// Close ends connections that are idle.
func (p *Poster) Close() { p.client.CloseIdleConnections() }

const (
	userAgent = "Postseal-Webhooks/1"
	// mostBody is read of an answer, so that the connection can be used again.
	mostBody = 16 << 10
	mostText = 200
)

// Post implements [sender.Poster]. What it says of a failure holds neither the URL nor
// what the receiver answered.
func (p *Poster) Post(ctx context.Context, w sender.Webhook, e sender.Event) sender.Posted {
	req, err := p.request(ctx, w, e)
	if err != nil {
		return sender.Posted{Error: "the request can't be made"}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return sender.Posted{Error: explain(ctx, err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, mostBody)
	got := sender.Posted{Status: resp.StatusCode}
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		got.Error = fmt.Sprintf("it answered %d: redirects are not followed", resp.StatusCode)
	default:
		got.Error = fmt.Sprintf("it answered %d", resp.StatusCode)
		got.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return got
}

func (p *Poster) request(ctx context.Context, w sender.Webhook, e sender.Event) (*http.Request, error) {
	format := Standard
	if w.Format != sender.StandardFormat {
		if format = p.formats[w.Format]; format == nil {
			return nil, fmt.Errorf("webhook: no format %q", w.Format)
		}
	}
	body, err := format(w, e)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range w.Headers {
		req.Header.Set(name, string(value))
	}
	now := time.Now()
	signatures, err := Sign(w.Signing(now), e.ID, now, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Webhook-Id", string(e.ID))
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", signatures)
	return req, nil
}

// Sign returns the field webhook-signature: one signature for each key, with a blank
// between them (Standard Webhooks, "Signature scheme").
func Sign(keys []sender.Password, id sender.ID, at time.Time, body []byte) (string, error) {
	var all []string
	for _, key := range keys {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(key), "whsec_"))
		if err != nil {
			return "", errors.New("webhook: the secret is no base64")
		}
		mac := hmac.New(sha256.New, raw)
		fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " "), nil
}

type standardBody struct {
	Type      sender.EventType `json:"type"`
	Timestamp time.Time        `json:"timestamp"`
	Data      standardData     `json:"data"`
}

type standardData struct {
	ID      sender.ID         `json:"id"`
	Tenant  sender.ID         `json:"tenant"`
	Actor   sender.ID         `json:"actor,omitzero"`
	Object  sender.ID         `json:"object"`
	Details map[string]string `json:"details"`
}

// Standard is the body of [sender.StandardFormat].
func Standard(_ sender.Webhook, e sender.Event) ([]byte, error) {
	return json.Marshal(standardBody{e.Type, e.At, standardData{e.ID, e.Tenant, e.Actor, e.Object, e.Data}},
		json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
}

// explain says for people why there was no answer.
func explain(ctx context.Context, err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[net.Error](err); ctx.Err() != nil || ok && e.Timeout() {
		return "it did not answer in time"
	}
	text := err.Error()
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		text = "its certificate is not valid: " + text
	}
	if errors.Is(err, outbound.ErrPlain) {
		text = outbound.ErrPlain.Error()
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > mostText {
		text = strings.ToValidUTF8(text[:mostText], "") + "..."
	}
	return text
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return time.Duration(min(n, 7*24*3600)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
