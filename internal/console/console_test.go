package console_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/console"
	"github.com/postseal/postseal/internal/sender"
)

const mailbox = "shop@mail.example.org"

// newKit has a tenant with an address that waits for its confirmation.
func newKit(t *testing.T, tune ...func(*sender.Settings)) (k *apitest.Kit, tenant sender.Tenant, visit func(method, path string) apitest.Reply) {
	t.Helper()
	k = apitest.New(t, append(tune, func(s *sender.Settings) { s.PublicURL = "https://postseal.example" })...)
	server := k.Serve(console.New(console.Config{Service: k.Service, Log: k.Log}))
	tenant = k.Tenant("t")
	if _, err := k.Service.CreateSender(t.Context(), apitest.Operator, tenant.ID, mailbox); err != nil {
		t.Fatal(err)
	}
	return k, tenant, func(method, path string) apitest.Reply { return apitest.Call(t, server, "", method, path, "") }
}

var linkForm = regexp.MustCompile(`https://postseal\.example(/confirm/[A-Za-z0-9_-]{64})\n`)

// link reads the newest link that was mailed.
func link(t *testing.T, k *apitest.Kit) string {
	t.Helper()
	mails := k.Mail.To(mailbox)
	m := linkForm.FindStringSubmatch(mails[len(mails)-1].Text)
	if m == nil {
		t.Fatalf("no link in %q", mails[len(mails)-1].Text)
	}
	return m[1]
}

func worth(t *testing.T, k *apitest.Kit, tenant sender.Tenant) sender.Standing {
	t.Helper()
	all, _, err := k.Service.Senders(t.Context(), apitest.Operator, tenant.ID, sender.Query{Limit: 10})
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0]
}

func says(t *testing.T, r apitest.Reply, status int, title string) {
	t.Helper()
	if r.Status != status || !strings.Contains(string(r.Body), "<title>"+title+" - Postseal</title>") {
		t.Errorf("status %d, want %d and %q:\n%s", r.Status, status, title, r.Body)
	}
	h := r.Header
	if h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" ||
		!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("status %d: header %v", r.Status, h)
	}
}

func TestOpeningTheLinkConfirmsNothing(t *testing.T) {
	k, tenant, visit := newKit(t)
	path := link(t, k)
	for range 3 { // scanners of mail, and then a person
		r := visit(http.MethodGet, path)
		says(t, r, 200, "Confirm this address")
		if !strings.Contains(string(r.Body), mailbox) || !strings.Contains(string(r.Body), `<form method="post"><button type="submit">Confirm</button></form>`) {
			t.Errorf("the page is\n%s", r.Body)
		}
	}
	if r := visit(http.MethodHead, path); r.Status != 200 {
		t.Errorf("HEAD: %d", r.Status)
	}
	if st := worth(t, k, tenant); st.Worth != sender.Pending {
		t.Errorf("after it was opened the address is %s", st.Worth)
	}
	says(t, visit(http.MethodPost, path), 200, "The address is confirmed")
	if st := worth(t, k, tenant); st.Worth != sender.Verified || st.ThroughIt {
		t.Errorf("after the button the address is %s", st.Worth)
	}
	says(t, visit(http.MethodPost, path), 200, "The address is confirmed") // pressed twice
	says(t, visit(http.MethodGet, path), 200, "The address was confirmed already")
	if token := strings.TrimPrefix(path, "/confirm/"); strings.Contains(k.Logged(), token) || strings.Contains(k.Logged(), mailbox) {
		t.Error("the token or the address is in the log")
	}
}

func TestCodeAndLinkAreTheSameProof(t *testing.T) {
	k, tenant, visit := newKit(t)
	path := link(t, k)
	d := k.Domain(tenant, "mail.example.org")
	st := worth(t, k, tenant)
	if _, err := k.Service.ActivateAddress(t.Context(), apitest.Operator, tenant.ID, d.ID, st.ID, k.Mail.Code(t, mailbox)); err != nil {
		t.Fatal(err)
	}
	says(t, visit(http.MethodGet, path), 200, "The address was confirmed already")
}

func TestLinksThatAreWorthNothingSayWhatToDo(t *testing.T) {
	k, tenant, visit := newKit(t, func(s *sender.Settings) { s.Code.ResendAfter, s.Code.Life = 0, time.Hour })
	old := link(t, k)
	d := k.Domain(tenant, "mail.example.org")
	if _, err := k.Service.ResendCode(t.Context(), apitest.Operator, tenant.ID, d.ID, worth(t, k, tenant).ID); err != nil {
		t.Fatal(err)
	}
	fresh := link(t, k)
	other := []byte(fresh)
	other[len(other)-2] ^= 1
	for name, path := range map[string]string{
		"replaced": old, "tampered": string(other), "cut": fresh[:len(fresh)-4], "nonsense": "/confirm/x", "hostile": "/confirm/%3Cscript%3E",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := visit(method, path)
			says(t, r, 404, "This link is not known")
			if strings.Contains(string(r.Body), mailbox) || strings.Contains(string(r.Body), "<script") {
				t.Errorf("%s: the page tells too much:\n%s", name, r.Body)
			}
		}
	}
	if worth(t, k, tenant).Worth != sender.Pending {
		t.Error("one of them confirmed the address")
	}
	says(t, visit(http.MethodGet, "/confirm/a/b"), 404, "There is nothing here")
	says(t, visit(http.MethodDelete, fresh), 405, "This can&#39;t be done here")
}

func TestLinkThatIsTooOldAsksForANewMail(t *testing.T) {
	k, tenant, visit := newKit(t, func(s *sender.Settings) { s.Code.Life = time.Nanosecond })
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		says(t, visit(method, link(t, k)), 410, "This link is too old")
	}
	if st := worth(t, k, tenant); st.Worth != sender.Failed {
		t.Errorf("the address is %s", st.Worth)
	}
}
