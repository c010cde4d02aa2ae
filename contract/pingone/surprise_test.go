package pingone_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// stub answers what it is told; the token and E1 are right unless told otherwise.
type stub func(*http.Request) (status int, header map[string]string, body string)

func (s stub) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body := s(r)
	h := http.Header{"Content-Type": {"application/json"}}
	for k, v := range header {
		h.Set(k, v)
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

const (
	someEnv = "0197a000-0000-7000-8000-000000000001"
	someDom = "0197a000-0000-7000-8000-000000000002"
)

// TestScriptedClientMindsTheTraps answers the scripted client as no server should,
// and demands that it notices: a client that nothing surprises proves nothing.
func TestScriptedClientMindsTheTraps(t *testing.T) {
	const right = `{"id":"` + someDom + `","environment":{"id":"` + someEnv + `"},"domainName":"Mail.Example.ORG","_links":{"self":{"href":"x"}}}`
	with := func(old, new string) string { return strings.Replace(right, old, new, 1) }
	young := time.Now().UTC().Format(time.RFC3339)
	failed := func(code, message string) string {
		return `{"id":"x","code":"` + code + `","message":"` + message + `","details":[{"code":"A","target":"b","message":"c"}]}`
	}
	for name, c := range map[string]struct {
		status  int
		header  map[string]string
		body    string
		created string // of the environment
		e1      int    // its status; 0: 200
		want    string // in the error or among the surprises; empty: neither
		sends   int    // D1 as often; 0: once
	}{
		"as it should be":                 {status: 201, body: right},
		"with a charset":                  {status: 201, header: map[string]string{"Content-Type": "application/json;charset=UTF-8"}, body: right},
		"a vendor's JSON":                 {status: 201, header: map[string]string{"Content-Type": "application/vnd.x+json"}, body: right},
		"null for a link":                 {status: 201, body: with(`{"href":"x"}`, "null")},
		"trap 1, no environment":          {status: 201, body: with(`"environment"`, `"environ"`), want: "crashes"},
		"trap 3, HAL":                     {status: 201, header: map[string]string{"Content-Type": "application/hal+json"}, body: right, want: "undefined response type"},
		"trap 3, plain text":              {status: 400, header: map[string]string{"Content-Type": "text/plain"}, body: "no", want: "the user sees"},
		"trap 4, no body":                 {status: 201, want: "vanishes"},
		"trap 5, lower case":              {status: 201, body: with("Mail.Example.ORG", "mail.example.org"), want: "inconsistent result"},
		"trap 6, a young environment":     {status: 404, body: failed("NOT_FOUND", "x"), created: young, want: "attempt 10", sends: 10},
		"trap 7, no environment after":    {status: 400, body: failed("INVALID_DATA", "x"), e1: 404, want: "hides"},
		"trap 8, not authorized":          {status: 403, body: failed("ACCESS_FAILED", freezes[0]+" More."), want: "ten minutes", sends: 3},
		"trap 8, UNEXPECTED_ERROR":        {status: 400, body: failed("unexpected_error", "x"), want: "attempt 10", sends: 10},
		"trap 8, 503":                     {status: 503, want: "attempt 10", sends: 10},
		"too many, with Retry-After":      {status: 429, header: map[string]string{"Retry-After": "1"}, body: failed("REQUEST_LIMITED", "x"), want: "attempt 10", sends: 10},
		"trap 10, a ULID":                 {status: 201, body: with(someDom, "01ARZ3NDEKTSV4RRFFQ69G5FAV"), want: "NOT-A-LOWER-CASE-UUID"},
		"trap 11, an array of links":      {status: 201, body: with(`{"href":"x"}`, `[{"href":"x"}]`), want: "cannot unmarshal"},
		"trap 11, details as an object":   {status: 400, body: `{"id":"x","code":"A","message":"b","details":{}}`, want: "cannot unmarshal"},
		"an error without an id":          {status: 400, body: `{"code":"A","message":"b"}`, want: "status line alone"},
		"an error that is not decoded":    {status: 422, body: failed("A", "b"), want: "Unprocessable"},
		"a number for a name":             {status: 201, body: with(`"Mail.Example.ORG"`, "7"), want: "cannot unmarshal"},
		"E1 with a time of its own":       {status: 404, body: failed("NOT_FOUND", "x"), created: "yesterday", want: "parsing time"},
		"refused, as it should be":        {status: 400, body: failed("INVALID_DATA", "x"), want: "INVALID_DATA"},
		"not found, as it should be":      {status: 404, body: failed("NOT_FOUND", "x"), want: "NOT_FOUND"},
		"forbidden, E1 forbidden as well": {status: 403, body: failed("ACCESS_FAILED", "x"), e1: 403, want: "ACCESS_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			tf := &terraform{scripted: &scripted{api: "https://api.example", env: someEnv, calls: map[string]int{}, Client: &http.Client{Transport: stub(func(r *http.Request) (int, map[string]string, string) {
				if !strings.HasSuffix(r.URL.Path, "/emailDomains") {
					created := c.created
					if created == "" {
						created = "2024-01-01T00:00:00Z"
					}
					if c.e1 != 0 {
						return c.e1, nil, failed("E1", "x")
					}
					return 200, nil, `{"id":"` + someEnv + `","createdAt":"` + created + `"}`
				}
				sent++
				return c.status, c.header, c.body
			})}}}
			d := domainResource("Mail.Example.ORG")
			err := tf.create(t.Context(), d)
			said := slices.Clone(tf.surprises)
			if err != nil {
				said = append(said, err.Error())
			} else {
				said = append(said, d.item(d.state))
			}
			if c.want == "" && (err != nil || len(tf.surprises) > 0) {
				t.Errorf("%q", said)
			}
			if !strings.Contains(strings.Join(said, "\n"), c.want) {
				t.Errorf("%q, want %q among it", said, c.want)
			}
			if sent != max(c.sends, 1) {
				t.Errorf("sent %d times, want %d", sent, max(c.sends, 1))
			}
		})
	}
	for name, next := range map[string]string{
		"trap 9, itself": "https://api.example/v1/environments/" + someEnv + "/emailDomains", "trap 9, relative": "/v1/environments", "trap 9, an internal host": "http://127.0.0.1/v1/x",
	} {
		t.Run(name, func(t *testing.T) {
			c := &scripted{api: "https://api.example", env: someEnv, calls: map[string]int{}, Client: &http.Client{Transport: stub(func(*http.Request) (int, map[string]string, string) {
				return 200, nil, `{"_links":{"next":{"href":"` + next + `"}},"_embedded":{"emailDomains":[]},"count":0,"size":0}`
			})}}
			if _, err := c.walk(t.Context(), "emailDomains", "emailDomains", nil); err == nil || !strings.Contains(err.Error(), "leads nowhere") {
				t.Error(err)
			}
		})
	}
	t.Run("trap 12, a token by the form alone", func(t *testing.T) {
		var got []string
		c := &scripted{auth: "https://auth.example", workerEnv: someEnv, id: someDom, secret: "a/b+c", calls: map[string]int{}, Client: &http.Client{Transport: stub(func(r *http.Request) (int, map[string]string, string) {
			if _, secret, ok := r.BasicAuth(); ok {
				got = append(got, secret)
				return 401, nil, `{"error":"invalid_client"}`
			}
			body, _ := io.ReadAll(r.Body)
			got = append(got, string(body))
			return 200, nil, `{"access_token":"x","token_type":"bearer","expires_in":3600}`
		})}}
		err := c.login(t.Context())
		if want := []string{"a%2Fb%2Bc", "client_id=" + someDom + "&client_secret=a%2Fb%2Bc&grant_type=client_credentials"}; err != nil || !slices.Equal(got, want) || len(c.surprises) != 1 {
			t.Errorf("%v, %q, %q", err, got, c.surprises)
		}
	})
}
