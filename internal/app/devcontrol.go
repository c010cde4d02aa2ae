package app

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

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
}

// devRecord is the body of POST and DELETE /dev/dns. On DELETE an empty value
// stands for all of that name and type.
type devRecord struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Value    string `json:"value"`
	Priority int    `json:"priority,omitempty"`
}

func (c *devControl) register(mux *http.ServeMux) {
	mux.Handle("POST /dev/dns", c.operator(c.addRecord))
	mux.Handle("DELETE /dev/dns", c.operator(c.delRecord))
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

func (c *devControl) record(w http.ResponseWriter, r *http.Request) (rec devRecord, ok bool) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil {
		http.Error(w, `Send {"name","type","value","priority"}: `+err.Error(), http.StatusBadRequest)
		return rec, false
	}
	return rec, true
}

func (c *devControl) addRecord(w http.ResponseWriter, r *http.Request) {
	rec, ok := c.record(w, r)
	if !ok {
		return
	}
	if name := strings.TrimSuffix(strings.ToLower(rec.Name), "."); name == devService || strings.HasSuffix(name, "."+devService) {
		http.Error(w, "The zone "+devService+" is Postseal's own; what is added there would never be seen.", http.StatusBadRequest)
		return
	}
	if err := c.table.Add(rec.Name, rec.Type, rec.Value, rec.Priority); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.save(w, http.StatusNoContent)
}

func (c *devControl) delRecord(w http.ResponseWriter, r *http.Request) {
	rec, ok := c.record(w, r)
	if !ok {
		return
	}
	n, err := c.table.Del(rec.Name, rec.Type, rec.Value)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case n == 0:
		http.Error(w, "There is no such record.", http.StatusNotFound)
	default:
		c.save(w, http.StatusNoContent)
	}
}

func (c *devControl) save(w http.ResponseWriter, status int) {
	if err := c.table.SaveFile(c.zoneFile); err != nil {
		http.Error(w, "The record is served, but could not be kept for the next start: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
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
