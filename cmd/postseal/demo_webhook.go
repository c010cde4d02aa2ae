package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// webhook has the events of domains posted to a server of the demo's own.
func (j *journey) webhook() error {
	j.title("Have the events of domains posted to a URL, signed (Standard Webhooks)")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	j.hooks = make(chan *http.Request, 1)
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		select {
		case j.hooks <- r:
		default: // the first one is enough
		}
	})}
	context.AfterFunc(j.ctx, func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	o, err := j.api(201, http.MethodPost, "/v1/tenants/"+j.dev.Getenv("PINGONE_ENVIRONMENT_ID")+"/webhooks", "application/json",
		object{"url": "http://" + l.Addr().String() + "/hook", "types": []string{"domain.created"}})
	j.hookSecret = o.str("secret")
	j.say("201, id %s; its secret signs what is posted", o.str("id"))
	return err
}

// posted waits for the event and verifies it.
func (j *journey) posted() error {
	j.title("Receive the event, and verify its signature")
	select {
	case r := <-j.hooks:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(j.hookSecret, "whsec_"))
		if err != nil {
			return err
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("Webhook-Signature") != want {
			return fmt.Errorf("the webhook is signed %q, not %q", r.Header.Get("Webhook-Signature"), want)
		}
		var o object
		if err := json.Unmarshal(body, &o); err != nil {
			return err
		}
		j.say("%s about %s, webhook-id %s", o.str("type"), o.str("data", "details", "domainName"), r.Header.Get("Webhook-Id"))
		if o.str("data", "object") != j.domainID {
			return fmt.Errorf("the webhook told %s", body)
		}
		return nil
	case <-time.After(15 * time.Second):
		return errors.New("waited in vain: the webhook")
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
}
