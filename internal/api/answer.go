package api

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
)

// Answer is a response that has not left yet.
type Answer struct {
	Body   bytes.Buffer
	header http.Header
	status int
}

func newAnswer() *Answer {
	a := &Answer{header: make(http.Header, 8)}
	a.reset()
	return a
}

// reset forgets everything that was written.
func (a *Answer) reset() {
	clear(a.header)
	a.header.Set("Cache-Control", "no-store")
	a.Body.Reset()
	a.status = 0
}

// Header returns the header fields to send.
func (a *Answer) Header() http.Header { return a.header }

// WriteHeader sets the status; as with net/http, the first one counts.
func (a *Answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write adds to the body. It never fails.
func (a *Answer) Write(b []byte) (int, error) { return a.Body.Write(b) }

// Status returns the status to send.
func (a *Answer) Status() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// send hands the answer to net/http. That the client is gone is nobody's error.
func (a *Answer) send(w http.ResponseWriter, id string) {
	h := w.Header()
	maps.Copy(h, a.header)
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	if a.Status() != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(a.Body.Len()))
	}
	w.WriteHeader(a.Status())
	if a.Status() != http.StatusNoContent {
		_, _ = w.Write(a.Body.Bytes())
	}
}

// WriteJSON writes a JSON body. The media type is application/json unless the
// header has one already.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, err = w.Write(b)
	return err
}
