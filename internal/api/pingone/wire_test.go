package pingone

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

func TestEveryStatusHasAWord(t *testing.T) {
	for _, s := range sender.Statuses {
		if w := statusWords[s]; w != "ACTIVE" && w != "VERIFICATION_REQUIRED" {
			t.Errorf("the status %s has the word %q", s, w)
		}
		if (statusWords[s] == "ACTIVE") != s.Holds() {
			t.Errorf("the status %s is shown as %s", s, statusWords[s])
		}
	}
	if len(statusWords) != len(sender.Statuses) {
		t.Errorf("%d words for %d statuses", len(statusWords), len(sender.Statuses))
	}
}

func TestEveryKindOfFailureHasARow(t *testing.T) {
	for _, k := range api.Kinds {
		if _, ok := errorTable[k]; !ok {
			t.Errorf("the kind %s has no row", k)
		}
	}
	if len(errorTable) != len(api.Kinds) {
		t.Errorf("%d rows for %d kinds", len(errorTable), len(api.Kinds))
	}
}

// Clients repeat these for minutes.
func TestNoErrorOfTheCallerMakesClientsHang(t *testing.T) {
	frozen := []string{"The actor attempting to perform the request is not authorized.", "The request could not be completed. You do not have access to this resource.", "Role assignment"}
	for _, kind := range api.Kinds {
		for _, detail := range []string{"", "A sentence."} {
			status, b := errorOf("id", &sender.Error{Kind: kind, Field: "f", Detail: detail, RetryAt: time.Now()})
			if status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500 || strings.EqualFold(b.Code, "UNEXPECTED_ERROR") {
				t.Errorf("%s: status %d, code %s", kind, status, b.Code)
			}
			if b.ID == "" || b.Message == "" {
				t.Errorf("%s: no id or message: %+v", kind, b)
			}
			for _, f := range frozen {
				if strings.HasPrefix(b.Message, f) {
					t.Errorf("%s: the message begins with a sentence that freezes Terraform", kind)
				}
			}
		}
	}
}

func TestUnknownErrorsAreInternalAndHidden(t *testing.T) {
	for _, err := range []error{errors.New("disk on fire"), sender.Errorf("no-such-kind", "x", "disk on fire")} {
		status, b := errorOf("id", err)
		if status != 500 || b.Code != "UNEXPECTED_ERROR" || strings.Contains(b.Message, "fire") || b.Details != nil {
			t.Errorf("%v became %d %+v", err, status, b)
		}
	}
}

func TestGeographiesHaveRegionWords(t *testing.T) {
	for geography, want := range map[string]string{"na": "NA", "ca": "CA", "eu": "EU", "ap": "AP", "moon": "NA", "": "NA"} {
		if got := environmentOf("http://x", sender.Tenant{Geography: geography}).Region; got != want {
			t.Errorf("geography %q is region %q, want %q", geography, got, want)
		}
	}
}

func TestOwnsItsPathsOnly(t *testing.T) {
	for path, want := range map[string]bool{
		"/v1/environments": true, "/v1/environments/x": true, "/x/as/token": true,
		"/v1/environment": false, "/v1/tenants": false, "/v1/x/as/token": false, "/as/token": false, "//as/token": false, "/": false, "": false,
	} {
		if got := Owns(path); got != want {
			t.Errorf("Owns(%q) is %v", path, got)
		}
	}
}

// Whatever is sent, a decoder gives a value or an error with a kind: an error
// without one would be an internal error of ours.
func FuzzDecoders(f *testing.F) {
	for _, s := range []string{`{"domainName":"a.example.org"}`, `{"emailAddress":"a@example.org"}`, `{"verificationCode":"x"}`, `{"domainName":1}`, `{"domainName":"a","domainName":"b"}`, "", "\xff", `[[[[`, `{"a":`} {
		f.Add(s, "application/json", "limit=1&cursor=AZegAAAAcACAAAAAAAAAAQ&filter=name+sw+%22x%22")
		f.Add(s, mediaActivate, "limit=x")
	}
	id := string(sender.NewID())
	f.Fuzz(func(t *testing.T, body, media, query string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header["Content-Type"] = []string{media}
		r.URL.RawQuery = query
		for _, name := range []string{"env", "dom", "addr"} {
			r.SetPathValue(name, id)
		}
		check := func(err error) {
			if err != nil && sender.KindOf(err) == "" {
				t.Errorf("an error without a kind: %v", err)
			}
			status, b := errorOf("id", err)
			if err != nil && (status >= 500 || b.Message == "" || len(b.Message) > 2000) {
				t.Errorf("%v becomes %d %q", err, status, b.Message)
			}
		}
		d, err := newDomain(r)
		check(err)
		if err == nil && !strings.Contains(body, `"domainName"`) && d.name != "" && !strings.Contains(body, `\u`) {
			t.Errorf("a domain came from nowhere: %q", d.name)
		}
		r.Body = http.NoBody
		_, err = environmentsQuery(r)
		check(err)
		r = r.Clone(t.Context())
		r.Body = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)).Body
		_, err = addressAction(r)
		check(err)
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`name sw "x"`, `name eq "a\"b"`, `name sw "`, `name eq "\\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		f, err := parseFilter(s, true, "name")
		if (f == nil) == (err == nil) {
			t.Fatalf("neither or both: %v", err)
		}
		if err == nil {
			f.match(func(string) string { return s })
		}
	})
}
