package pingid_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/contract/devtest"
)

var dev devtest.Instance

// TestMain builds the binary, runs one instance for all tests, and demands that
// it ends well when told to.
func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) (code int) {
	complain := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "postseal dev:", err)
			code = 1
		}
	}
	tmp, err := os.MkdirTemp("", "postseal-contract-")
	if err != nil {
		complain(err)
		return
	}
	defer func() { complain(os.RemoveAll(tmp)) }()
	if err := dev.Start(tmp); err != nil {
		complain(err)
		return
	}
	if err := connect(dev.Env); err != nil {
		complain(errors.Join(err, dev.Stop(secrets())))
		return
	}
	code = m.Run()
	complain(dev.Stop(secrets()))
	return code
}

// secrets are those that must not be in the log.
func secrets() map[string]string {
	all := map[string]string{"POSTSEAL_OPERATOR_KEY": dev.Env["POSTSEAL_OPERATOR_KEY"]}
	for _, c := range tenants {
		if c != nil {
			all["api_key of "+c.account] = c.apiKey
		}
	}
	return all
}

// control calls a development control with the operator's key.
func control(ctx context.Context, method, path string, body any) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var in []byte
	if body != nil {
		if in, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, dev.Env["POSTSEAL_URL"]+path, bytes.NewReader(in))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+dev.Env["POSTSEAL_OPERATOR_KEY"])
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, answer, err
}

// record is one that the world's DNS is to hold, its name absolute.
type record struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

// publish puts a record into the DNS until the test ends.
func publish(t *testing.T, name, rtype, value string) {
	t.Helper()
	r := record{name, rtype, value}
	status, answer, err := control(t.Context(), http.MethodPost, "/dev/dns", r)
	if err != nil || status >= 300 {
		t.Fatalf("%s %s %q is not published: %d %s %v", name, rtype, value, status, answer, err)
	}
	t.Cleanup(func() {
		if status, answer, err := control(context.Background(), http.MethodDelete, "/dev/dns", r); err != nil || status >= 300 {
			t.Errorf("%s %s %q is not removed: %d %s %v", name, rtype, value, status, answer, err)
		}
	})
}

// newestMail is the raw message, "" if there is none.
func newestMail(t *testing.T, address string) string {
	t.Helper()
	status, raw, err := control(t.Context(), http.MethodGet, "/dev/mail/"+url.PathEscape(address), nil)
	if err != nil || status != http.StatusOK && status != http.StatusNoContent {
		t.Fatalf("mail for %s: %d %s %v", address, status, raw, err)
	}
	return string(raw)
}

// until repeats a look for 15 seconds at most.
func until(t *testing.T, what string, look func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for !look() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
