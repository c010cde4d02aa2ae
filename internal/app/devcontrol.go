package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/smtpd"
	"github.com/postseal/postseal/internal/zone"
)

// devControl lets the fakes of `postseal dev` be changed and read over HTTP,
// below /dev, by whoever has the operator key: the embedded DNS and the inbox.
type devControl struct {
	authenticate func(ctx context.Context, bearer string) (sender.Principal, error)
	table        *zone.Table
	zoneFile     string // where the table is kept
	inbox        *smtpd.Inbox
	log          *slog.Logger

	saving  sync.Mutex
	mu      sync.Mutex
	pending *time.Timer // of the next save; nil: nothing is to be saved
}

// devRecord is the body of POST and DELETE /dev/dns, or one of an array there, of which
// POST adds all or none. On DELETE an empty value stands for all of that name and type.
type devRecord struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Value    string `json:"value"`
	Priority int    `json:"priority,omitempty"`
}

func (c *devControl) register(mux *http.ServeMux) {
	mux.Handle("POST /dev/dns", c.operator(c.addRecords))
	mux.Handle("DELETE /dev/dns", c.operator(c.delRecords))
	mux.Handle("GET /dev/mail/{address}", c.operator(c.newestMail))
	mux.Handle("PUT /dev/inbox", c.operator(c.setInbox))
}

func (c *devControl) operator(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer := bearerOf(r)
		p, err := c.authenticate(r.Context(), bearer)
		if err != nil || !p.Operator {
			http.Error(w, "The development controls need the operator key: Authorization: Bearer $POSTSEAL_OPERATOR_KEY", http.StatusUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		h(w, r)
	})
}

func bearerOf(r *http.Request) string {
	const scheme = "Bearer "
	if a := r.Header.Get("Authorization"); len(a) > len(scheme) {
		return a[len(scheme):]
	}
	return ""
}

// records reads one record, or an array of them.
func (c *devControl) records(w http.ResponseWriter, r *http.Request) (list []devRecord, ok bool) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
			err = d.Decode(&list)
		} else {
			list = make([]devRecord, 1)
			err = d.Decode(&list[0])
		}
	}
	if err != nil {
		http.Error(w, `Send {"name","type","value","priority"}, or an array of such: `+err.Error(), http.StatusBadRequest)
		return nil, false
	}
	return list, true
}

func (c *devControl) addRecords(w http.ResponseWriter, r *http.Request) {
	list, ok := c.records(w, r)
	if !ok {
		return
	}
	add := make([]zone.Record, len(list))
	for i, rec := range list {
		if name := strings.TrimSuffix(strings.ToLower(rec.Name), "."); name == devService || strings.HasSuffix(name, "."+devService) {
			http.Error(w, "The zone "+devService+" is Postseal's own; what is added there would never be seen.", http.StatusBadRequest)
			return
		}
		add[i] = zone.Record(rec)
	}
	if err := c.table.AddAll(add); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.changed()
	w.WriteHeader(http.StatusNoContent)
}

// delRecords removes what is there of them; 404 where nothing is.
func (c *devControl) delRecords(w http.ResponseWriter, r *http.Request) {
	list, ok := c.records(w, r)
	if !ok {
		return
	}
	gone := 0
	for _, rec := range list {
		n, err := c.table.Del(rec.Name, rec.Type, rec.Value)
		if gone += n; err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	if gone == 0 {
		http.Error(w, "There is no such record.", http.StatusNotFound)
		return
	}
	c.changed()
	w.WriteHeader(http.StatusNoContent)
}

// saveAfter is how long changes of the zone wait for more of them before all are kept
// for the next start.
const saveAfter = 100 * time.Millisecond

func (c *devControl) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		c.pending = time.AfterFunc(saveAfter, c.save)
	}
}

// save keeps what was changed, if anything was, and returns when it is kept, by whomever.
func (c *devControl) save() {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	pending := c.pending
	c.pending = nil
	c.mu.Unlock()
	if pending == nil {
		return
	}
	pending.Stop()
	if err := c.table.SaveFile(c.zoneFile); err != nil {
		c.log.Error("the records of the DNS are served, but could not be kept for the next start", "error", err)
	}
}

// newestMail answers the newest raw message for an address, nothing if there is none.
func (c *devControl) newestMail(w http.ResponseWriter, r *http.Request) {
	raw, ok := c.inbox.Newest(r.PathValue("address"))
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	_, _ = w.Write(raw)
}

// setInbox makes the inbox answer 451 to everything, as a relay with a bad hour
// does, or take mail again.
func (c *devControl) setInbox(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Busy bool `json:"busy"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, `Send {"busy":true} or {"busy":false}: `+err.Error(), http.StatusBadRequest)
		return
	}
	c.inbox.SetBusy(in.Busy)
	w.WriteHeader(http.StatusNoContent)
}
