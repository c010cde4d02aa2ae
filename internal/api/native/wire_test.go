package native

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

func TestEveryKindOfFailureHasAStatus(t *testing.T) {
	for _, k := range api.Kinds {
		if statuses[k] == 0 {
			t.Errorf("the kind %s has no status", k)
		}
	}
	if len(statuses) != len(api.Kinds) {
		t.Errorf("%d statuses for %d kinds", len(statuses), len(api.Kinds))
	}
}

func TestUnknownErrorsAreInternalAndHidden(t *testing.T) {
	for _, err := range []error{errors.New("disk on fire"), sender.Errorf("no-such-kind", "x", "disk on fire")} {
		if p := problemOf("id", err); p.Status != 500 || p.Code != "internal" || strings.Contains(p.Detail, "fire") || p.Field != "" {
			t.Errorf("%v became %+v", err, p)
		}
	}
	if p := validationProblem("id", 500, "disk on fire", []error{errors.New("disk on fire")}); strings.Contains(p.Detail, "fire") || p.Errors != nil {
		t.Errorf("an internal error of huma became %+v", p)
	}
}

func TestTooSoonSaysWhenInItsHeader(t *testing.T) {
	p := problemOf("id", &sender.Error{Kind: sender.TooSoon, RetryAt: time.Now().Add(90 * time.Second)})
	if got := p.headers.Get("Retry-After"); p.Status != 429 || (got != "90" && got != "91") {
		t.Errorf("%d with Retry-After %q", p.Status, got)
	}
}

func TestDoubtfulAttemptsAreShown(t *testing.T) {
	if b := messageOf(sender.Message{InDoubt: 2}); b.DuplicatesPossible != 2 {
		t.Errorf("duplicatesPossible is %d", b.DuplicatesPossible)
	}
	b := attemptOf(sender.Attempt{Delivery: sender.Delivery{Transcript: []byte("{\"s\":\"220 hi\"}\n\nnot json \xff\n")}})
	if len(b.Transcript) != 2 || b.Transcript[1] != "not json ?" {
		t.Errorf("the transcript is %#v", b.Transcript)
	}
}

// Whatever is sent, the decoder gives a value or an error with a kind.
func FuzzReadMessage(f *testing.F) {
	for _, s := range []string{`{"from":"a@example.org","to":{"address":"b@example.org"},"subject":"s","text":"t"}`, `{"from":{"name":1}}`, `{"from":[`, `{"headers":[{}]}`, `{"a":1,"a":2}`, ""} {
		f.Add(s, "tenant=x")
	}
	f.Fuzz(func(t *testing.T, body, query string) {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/json")
		_, err := readMessage(r)
		if err != nil && sender.KindOf(err) == "" {
			t.Errorf("an error without a kind: %v", err)
		}
		if p := problemOf("id", err); err != nil && (p.Status >= 500 || len(p.Detail) > 2000) {
			t.Errorf("%v became %+v", err, p)
		}
	})
}
