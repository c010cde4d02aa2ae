package native_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func TestTimelineTellsWhatWasSeenNewestFirst(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.base + "/domains/" + string(d.ID)
	if r := h.call(h.admin, "GET", path+"/timeline", "").Want(200); r.At("items") == nil || r.At("items.0") != nil {
		t.Errorf("before the first check: %s", r.Body)
	}
	h.Publish(d, dnscheck.Ownership)
	h.call(h.admin, "GET", path+"/findings?check=true", "").Want(200)
	r := h.call(h.admin, "GET", path+"/timeline?limit=1000", "").Want(200)
	seen := 0
	for n := range h.Service.Records(d) {
		at := fmt.Sprintf("items.%d.", n)
		if r.String(at+"purpose") != "ownership" {
			continue
		}
		seen++
		if r.String(at+"outcome") != "match" || r.String(at+"code") != "MATCH" || r.String(at+"name") != "_postseal.mail.example.org" ||
			r.String(at+"asked.0.result") != "answer" || r.String(at+"at") == "" {
			t.Errorf("entry %d of %s", n, r.Body)
		}
	}
	if seen == 0 {
		t.Errorf("nothing of ownership: %s", r.Body)
	}
	first := h.call(h.admin, "GET", path+"/timeline?limit=1", "").Want(200)
	next := h.call(h.admin, "GET", path+"/timeline?limit=1&cursor="+first.String("nextCursor"), "").Want(200)
	if first.String("items.0.id") <= next.String("items.0.id") || next.String("items.0.id") == "" {
		t.Errorf("%s comes before %s", first.Body, next.Body)
	}
	problem(t, h.call(h.admin, "GET", h.base+"/domains/"+string(sender.NewID())+"/timeline", ""), 404, "not-found", "")
	other := h.Token(h.Tenant("other"), sender.RoleAdmin)
	problem(t, h.call(other, "GET", path+"/timeline", ""), 404, "not-found", "")
}

func TestLeftoversSayWhatToRemove(t *testing.T) {
	h := newHarness(t)
	if r := h.call(h.admin, "GET", h.base+"/leftovers", "").Want(200); r.At("items") == nil || r.At("items.0") != nil {
		t.Errorf("before anything was deleted: %s", r.Body)
	}
	d := h.Proven(h.tenant, "mail.example.org")
	_, _, bound := h.Client(h.tenant, sender.RoleAdmin, d.ID)
	if err := h.Service.DeleteDomain(t.Context(), apitest.Operator, h.tenant.ID, d.ID, true); err != nil {
		t.Fatal(err)
	}
	r := h.call(h.admin, "GET", h.base+"/leftovers", "").Want(200)
	if r.String("items.0.domain") != string(d.ID) || r.String("items.0.domainName") != "mail.example.org" || r.String("items.0.records.0.purpose") != "ownership" ||
		!strings.HasPrefix(r.String("items.0.records.0.fix"), `Remove the TXT record "`) || r.String("items.0.watchedUntil") == "" || r.At("items.1") != nil {
		t.Errorf("left over is %s", r.Body)
	}
	problem(t, h.call(h.Token(h.Tenant("other"), sender.RoleAdmin), "GET", h.base+"/leftovers", ""), 404, "not-found", "")
	problem(t, h.call(bound, "GET", h.base+"/leftovers", ""), 403, "denied", "")
}

func TestHeldNameIsToldToWhoeverShowsTheRecord(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Claims.Policy = sender.ExclusiveNames })
	first := h.Tenant("first")
	h.Proven(first, "mail.example.org")
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.base + "/domains/" + string(d.ID) + "/findings?check=true"
	if r := h.call(h.admin, "GET", path, "").Want(200); r.At("claim") != nil || r.At("domain.proven") != false {
		t.Errorf("before anything is published: %s", r.Body)
	}
	time.Sleep(2 * time.Millisecond) // no result is fresh
	h.Publish(d, dnscheck.Ownership)
	h.Publish(d, dnscheck.DKIM)
	var r apitest.Reply
	for range 100 {
		if r = h.call(h.admin, "GET", path, "").Want(200); r.At("claim") != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if r.String("claim.state") != "waiting" || !strings.Contains(r.String("claim.detail"), "held by another registration") || r.String("claim.until") == "" ||
		r.At("domain.proven") != false || strings.Contains(string(r.Body), string(first.ID)) {
		t.Errorf("the claim is told as %s", r.Body)
	}
}
