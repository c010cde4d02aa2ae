package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
)

// sail is a client of SailPoint's API, which logs in as the vendor's TypeScript
// client does.
func (j *journey) sail(want int, method, path string, body object) (object, error) {
	if j.sailToken == "" {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		for _, f := range [][2]string{{"grant_type", "client_credentials"}, {"client_id", j.dev.Getenv("SAIL_CLIENT_ID")}, {"client_secret", j.dev.Getenv("SAIL_CLIENT_SECRET")}} {
			if err := w.WriteField(f[0], f[1]); err != nil {
				return nil, err
			}
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		o, err := j.sailCall(200, http.MethodPost, "/oauth/token", w.FormDataContentType(), &form)
		if err != nil {
			return nil, err
		}
		j.sailToken = o.str("access_token")
	}
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	return j.sailCall(want, method, path, "application/json", in)
}

func (j *journey) sailCall(want int, method, path, contentType string, in io.Reader) (object, error) {
	req, err := http.NewRequestWithContext(j.ctx, method, j.dev.Getenv("SAIL_BASE_URL")+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-SailPoint-Experimental", "true")
	if j.sailToken != "" {
		req.Header.Set("Authorization", "Bearer "+j.sailToken)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s answered %s, want %d: %s", method, path, resp.Status, want, raw)
	}
	var o object
	return o, json.Unmarshal(raw, &o)
}

// byDomain registers an address that its proven domain vouches for.
func (j *journey) byDomain() error {
	const address = "alerts@mail.customer.example"
	j.title("As a SailPoint client: register %s, whose domain is proven already", address)
	o, err := j.sail(201, http.MethodPost, "/v2024/verified-from-addresses", object{"email": address})
	if err != nil {
		return err
	}
	j.say("201, verificationStatus %s, isVerifiedByDomain %v: no mail was sent", o.str("verificationStatus"), o["isVerifiedByDomain"])
	if o.str("verificationStatus") != "SUCCESS" || o["isVerifiedByDomain"] != true {
		return fmt.Errorf("the address came back as %v", o)
	}
	return nil
}

// mailFrom gives the domain a reverse-path of its own.
func (j *journey) mailFrom() error {
	const name = "bounce.mail.customer.example"
	j.title("Set the MAIL FROM domain %s, and publish its MX and SPF records", name)
	o, err := j.sail(200, http.MethodPut, "/v2024/mail-from-attributes", object{"identity": demoFrom, "mailFromDomain": name})
	if err != nil {
		return err
	}
	j.say("status %s; MX %q, TXT %q", o.str("mailFromDomainStatus"), o.str("mxRecord"), o.str("txtRecord"))
	_, exchange, _ := strings.Cut(o.str("mxRecord"), " ")
	_, err = call(j.ctx, http.MethodPost, j.dev.Getenv("POSTSEAL_URL")+"/dev/dns", j.dev.Getenv("POSTSEAL_OPERATOR_KEY"), dnsRecord{Name: name, Type: "MX", Value: exchange, Priority: 10})
	if err == nil {
		err = j.dns(http.MethodPost, name, "TXT", o.str("txtRecord"))
	}
	if err != nil {
		return err
	}
	err = j.until("the MAIL FROM domain's records", func() (bool, error) {
		o, err = j.sail(200, http.MethodGet, "/v2024/mail-from-attributes/"+demoFrom, nil)
		return o.str("mailFromDomainStatus") == "SUCCESS", err
	})
	if err != nil {
		return err
	}
	sent, err := j.accept("With a reverse-path of its own")
	if err != nil {
		return err
	}
	if _, err := j.settled(sent.str("id"), "sent"); err != nil {
		return err
	}
	raw, err := j.mail(demoRecipient, "With a reverse-path of its own")
	if err != nil {
		return err
	}
	j.say("status %s; the next mail leaves with it:", o.str("mailFromDomainStatus"))
	j.headers(raw, "Return-Path", "Authentication-Results")
	if !strings.Contains(raw, "@"+name) || !strings.Contains(raw, "spf=pass") || !strings.Contains(raw, "dmarc=pass") {
		return fmt.Errorf("the receiver saw another reverse-path, or SPF did not pass:\n%s", raw)
	}
	return nil
}
