package sender_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/postseal/postseal/internal/sender"
)

// receivers is every host that webhooks can name, over in-memory connections, so that
// it runs on fake time.
type receivers struct {
	conns chan net.Conn
	done  chan struct{}
	close sync.Once
	mu    sync.Mutex
	got   []posted
	// answer says what a host does with its nth request, from 0; nil: 204 at once.
	answer map[string]func(n int, w http.ResponseWriter, r *http.Request)
}

// posted is a request that came.
type posted struct {
	at     time.Time
	host   string
	header http.Header
	body   []byte
}

func newReceivers(t *testing.T) *receivers {
	x := &receivers{conns: make(chan net.Conn), done: make(chan struct{}), answer: make(map[string]func(int, http.ResponseWriter, *http.Request))}
	s := &http.Server{Handler: x}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(x)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	return x
}

func (x *receivers) Accept() (net.Conn, error) {
	select {
	case c := <-x.conns:
		return c, nil
	case <-x.done:
		return nil, net.ErrClosed
	}
}

func (x *receivers) Close() error {
	x.close.Do(func() { close(x.done) })
	return nil
}

func (x *receivers) Addr() net.Addr { return &net.TCPAddr{} }

func (x *receivers) client() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			near, far := net.Pipe()
			select {
			case x.conns <- far:
				return near, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}},
	}
}

func (x *receivers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	x.mu.Lock()
	n := 0
	for _, p := range x.got {
		if p.host == r.Host {
			n++
		}
	}
	x.got = append(x.got, posted{time.Now(), r.Host, r.Header, body})
	answer := x.answer[r.Host]
	x.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(n, w, r)
}

func (x *receivers) script(host string, answer func(n int, w http.ResponseWriter, r *http.Request)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer[host] = answer
}

// at returns what came to a host.
func (x *receivers) at(host string) (ps []posted) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.got {
		if p.host == host {
			ps = append(ps, p)
		}
	}
	return ps
}

func always(status int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// hang is longer than anybody waits.
func hang(_ int, _ http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(time.Minute):
	case <-r.Context().Done():
	}
}

// post runs a node's webhooks until stop is called or the test ends.
func (h *harness) post(node *sender.Service) (stop context.CancelFunc) {
	ctx, cancel := context.WithCancel(h.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = node.RunWebhooks(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	h.Cleanup(stop)
	return stop
}

// hook makes a webhook at a host that wants these types.
func (h *harness) hook(p sender.Principal, tenant sender.ID, host string, types ...sender.EventType) (sender.Webhook, string) {
	h.Helper()
	w, secret, err := h.CreateWebhook(h.Context(), p, tenant, sender.NewWebhook{URL: "http://" + host + "/hook", Types: types, Enabled: true})
	if err != nil {
		h.Fatal(err)
	}
	return w, string(secret)
}

// happen writes an event into a tenant's log.
func (h *harness) happen(tenant sender.ID, t sender.EventType) sender.Event {
	h.Helper()
	e := sender.NewEvent(sender.Principal{}, tenant, t, sender.NewID(), time.Now().UTC().Truncate(time.Microsecond), "domainName", "example.org")
	if err := h.store.Store.Update(h.Context(), func(tx sender.Tx) error { return tx.InsertEvent(h.Context(), e) }); err != nil {
		h.Fatal(err)
	}
	return e
}

func (h *harness) deliveries(w sender.Webhook) []sender.WebhookDelivery {
	h.Helper()
	ds, err := h.WebhookDeliveries(h.Context(), operator, w.Tenant, w.ID, sender.Page{})
	if err != nil {
		h.Fatal(err)
	}
	return ds
}

func (h *harness) readHook(w sender.Webhook) sender.Webhook {
	h.Helper()
	w, err := h.Webhook(h.Context(), operator, w.Tenant, w.ID)
	if err != nil {
		h.Fatal(err)
	}
	return w
}

// verify asks the library of the specification.
func verify(t testing.TB, secret string, p posted) error {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return v.VerifyIgnoringTimestamp(p.body, p.header)
}

func withHooks(set *sender.Settings) {
	set.Webhooks.PlainHTTP = true
	set.Webhooks.Tick = time.Second
}

// slowTicks is for tests of days.
func slowTicks(set *sender.Settings) {
	set.Webhooks.PlainHTTP = true
	set.Webhooks.Tick = time.Hour
}

func TestEventIsPostedSignedToWhoWantsIt(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		other, otherAdmin := h.newTenant("other")
		_, secret := h.hook(h.admin, h.tenant.ID, "a.example", "domain.*")
		h.hook(h.admin, h.tenant.ID, "b.example", "address.active")
		h.hook(otherAdmin, other.ID, "c.example", "*")
		e := h.happen(h.tenant.ID, "domain.proven")
		time.Sleep(1500 * time.Millisecond)
		got := h.hooks.at("a.example")
		if len(got) != 1 || len(h.hooks.at("b.example"))+len(h.hooks.at("c.example")) != 0 {
			t.Fatalf("%d, %d and %d came", len(got), len(h.hooks.at("b.example")), len(h.hooks.at("c.example")))
		}
		p := got[0]
		if err := verify(t, secret, p); err != nil {
			t.Error(err)
		}
		changed := p
		changed.body = append(slices.Clone(p.body), ' ')
		if verify(t, secret, changed) == nil {
			t.Error("another body has the same signature")
		}
		var body struct {
			Type      string
			Timestamp time.Time
			Data      struct {
				ID, Tenant, Object sender.ID
				Details            map[string]string
			}
		}
		if err := json.Unmarshal(p.body, &body); err != nil {
			t.Fatal(err)
		}
		if body.Type != "domain.proven" || !body.Timestamp.Equal(e.At) || body.Data.ID != e.ID || body.Data.Tenant != h.tenant.ID || body.Data.Object != e.Object || body.Data.Details["domainName"] != "example.org" {
			t.Errorf("posted %s", p.body)
		}
		if p.header.Get("Webhook-Id") != string(e.ID) || p.header.Get("Content-Type") != "application/json" {
			t.Errorf("with %v", p.header)
		}
	}, withHooks)
}

// The waits are 5 s, 15 s, 45 s and so on up to six hours, an eighth more or less; after
// three days it is over.
func TestPostIsRepeatedLessAndLessOftenForThreeDays(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		w, secret := h.hook(h.admin, h.tenant.ID, "a.example", "x")
		h.hooks.script("a.example", always(500))
		e := h.happen(h.tenant.ID, "x")
		time.Sleep(4 * 24 * time.Hour)
		got := h.hooks.at("a.example")
		wait := 5 * time.Second
		for i := 1; i < len(got); i++ {
			if gap := got[i].at.Sub(got[i-1].at); gap < wait*7/8-time.Second || gap > wait*9/8+time.Second {
				t.Errorf("attempt %d came after %s, not about %s", i+1, gap, wait)
			}
			wait = min(3*wait, 6*time.Hour)
		}
		if len(got) < 15 || len(got) > 25 {
			t.Errorf("%d attempts", len(got))
		}
		for _, p := range got {
			if p.header.Get("Webhook-Id") != string(e.ID) || verify(t, secret, p) != nil || p.header.Get("Webhook-Timestamp") != fmt.Sprint(p.at.Unix()) {
				t.Errorf("an attempt with %v", p.header)
			}
		}
		d := h.deliveries(w)[0]
		if d.State != sender.HookFailed || d.Attempts != len(got) || d.Status != 500 || d.Error != "it answered 500" || !d.DueAt.IsZero() {
			t.Errorf("in the end %+v", d)
		}
		if last := got[len(got)-1].at.Sub(got[0].at); last > 72*time.Hour || last < 60*time.Hour {
			t.Errorf("the last attempt was after %s", last)
		}
	}, slowTicks)
}

func TestRetryAfterIsHeeded(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		h.hook(h.admin, h.tenant.ID, "a.example", "x")
		h.hooks.script("a.example", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 0 {
				w.Header().Set("Retry-After", "600")
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		h.happen(h.tenant.ID, "x")
		time.Sleep(20 * time.Minute)
		got := h.hooks.at("a.example")
		if len(got) != 2 || got[1].at.Sub(got[0].at) < 10*time.Minute || got[1].at.Sub(got[0].at) > 11*time.Minute {
			t.Errorf("%d attempts", len(got))
		}
	}, withHooks)
}

func TestWebhookThatIsGoneIsDisabled(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		w, _ := h.hook(h.admin, h.tenant.ID, "a.example", "x")
		witness, _ := h.hook(h.admin, h.tenant.ID, "b.example", "webhook.disabled")
		h.hooks.script("a.example", always(http.StatusGone))
		h.happen(h.tenant.ID, "x")
		time.Sleep(5 * time.Second)
		h.happen(h.tenant.ID, "x") // not queued any more
		time.Sleep(time.Hour)
		if is := h.readHook(w); is.Enabled || is.DisabledBy != sender.DisabledGone || len(h.hooks.at("a.example")) != 1 {
			t.Fatalf("it is %+v after %d attempts", is, len(h.hooks.at("a.example")))
		}
		if got := h.hooks.at("b.example"); len(got) != 1 || !strings.Contains(string(got[0].body), `"why":"gone"`) {
			t.Errorf("%s was told %v", witness.ID, got)
		}
		h.hooks.script("a.example", nil)
		enable := func(was sender.Webhook) sender.NewWebhook {
			return sender.NewWebhook{URL: was.URL, Types: was.Types, Enabled: true}
		}
		if _, err := h.ChangeWebhook(h.Context(), h.admin, h.tenant.ID, w.ID, false, enable); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if ds := h.deliveries(w); len(ds) != 1 || ds[0].State != sender.HookDelivered {
			t.Errorf("what waited for it is now %+v", ds)
		}
	}, withHooks)
}

func TestWebhookThatFailsForDaysIsDisabled(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		dead, _ := h.hook(h.admin, h.tenant.ID, "a.example", "x")
		alive, _ := h.hook(h.admin, h.tenant.ID, "b.example", "x")
		h.hooks.script("a.example", always(503))
		h.hooks.script("b.example", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n%10 != 9 {
				w.WriteHeader(503)
			}
		})
		for range 12 {
			h.happen(h.tenant.ID, "x")
			time.Sleep(12 * time.Hour)
		}
		if is := h.readHook(dead); is.Enabled || is.DisabledBy != sender.DisabledFailing {
			t.Errorf("the dead one is %+v", is)
		}
		if is := h.readHook(alive); !is.Enabled {
			t.Errorf("the other one is %+v", is)
		}
		if got := h.events(sender.EventWebhookDisabled); len(got) != 1 {
			t.Errorf("the log says %q", got)
		}
	}, slowTicks)
}

// Fifty webhooks of a tenant hang, and so do two of each of twenty others: everybody
// else's events are there in seconds, also while all of them are tried again.
func TestHungWebhooksDelayNobodyElse(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		hangs := func(p sender.Principal, tenant sender.ID, n int) {
			for i := range n {
				host := fmt.Sprintf("h%d.%s.example", i, tenant)
				h.hooks.script(host, hang)
				h.hook(p, tenant, host, "x")
			}
		}
		hangs(h.admin, h.tenant.ID, 50)
		tenants := []sender.ID{h.tenant.ID}
		for i := range 20 {
			other, admin := h.newTenant(fmt.Sprint(i))
			hangs(admin, other.ID, 2)
			tenants = append(tenants, other.ID)
		}
		quick, admin := h.newTenant("quick")
		h.hook(admin, quick.ID, "quick.example", "x")
		slowest := time.Duration(0)
		for i := range 30 {
			for _, id := range tenants {
				if i < 10 {
					h.happen(id, "x")
				}
			}
			e := h.happen(quick.ID, "x")
			time.Sleep(10 * time.Second)
			got := h.hooks.at("quick.example")
			if len(got) != i+1 {
				t.Fatalf("after event %d it has %d", i+1, len(got))
			}
			slowest = max(slowest, got[i].at.Sub(e.At))
		}
		if slowest > 5*time.Second {
			t.Errorf("an event took %s", slowest)
		}
	}, withHooks)
}

func TestOneBadEventDoesNotHoldUpOthers(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		w, _ := h.hook(h.admin, h.tenant.ID, "a.example", "*")
		bad := h.happen(h.tenant.ID, "bad")
		h.hooks.script("a.example", func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Webhook-Id") == string(bad.ID) {
				w.WriteHeader(500)
			}
		})
		for range 20 {
			h.happen(h.tenant.ID, "good")
		}
		time.Sleep(time.Minute)
		states := map[sender.DeliveryState]int{}
		for _, d := range h.deliveries(w) {
			states[d.State]++
		}
		if states[sender.HookDelivered] != 20 || states[sender.HookPending] != 1 {
			t.Errorf("%v", states)
		}
		if is := h.readHook(w); !is.Enabled {
			t.Errorf("it is %+v", is)
		}
	}, withHooks)
}

// The process ends, or its store is out of order, between the answer and the commit:
// the event comes again, and under the id by which its receiver knows it.
func TestPostedAndNotRecordedIsPostedAgain(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.store.shared.Store(true)
		h.post(h.Service)
		w, secret := h.hook(h.admin, h.tenant.ID, "a.example", "x")
		h.store.fail(failing(30*time.Second, "UpdateWebhookDelivery"))
		e := h.happen(h.tenant.ID, "x")
		time.Sleep(30 * time.Second)
		if got := h.hooks.at("a.example"); len(got) != 1 {
			t.Fatalf("posted %d times while nothing could be recorded", len(got))
		}
		time.Sleep(2 * time.Minute)
		got := h.hooks.at("a.example")
		if len(got) != 2 || verify(t, secret, got[1]) != nil || got[1].header.Get("Webhook-Id") != string(e.ID) || string(got[0].body) != string(got[1].body) {
			t.Fatalf("%d came", len(got))
		}
		if d := h.deliveries(w)[0]; d.State != sender.HookDelivered || d.Attempts != 1 {
			t.Errorf("%+v", d)
		}
	}, withHooks)
}

func TestRestartOfAnExclusiveStoreGoesOnAtOnce(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		stop := h.post(h.Service)
		h.hook(h.admin, h.tenant.ID, "a.example", "x")
		h.hooks.script("a.example", hang)
		h.happen(h.tenant.ID, "x")
		time.Sleep(3 * time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it ended after %s", took)
		}
		h.hooks.script("a.example", nil)
		h.post(h.node())
		time.Sleep(3 * time.Second)
		if got := h.hooks.at("a.example"); len(got) != 2 {
			t.Errorf("%d came", len(got))
		}
	}, withHooks)
}

func TestTwoNodesPostEachEventOnce(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.store.shared.Store(true)
		h.post(h.Service)
		h.post(h.node())
		var want int
		for i := range 5 {
			h.hook(h.admin, h.tenant.ID, fmt.Sprintf("h%d.example", i), "*")
		}
		for range 40 {
			h.happen(h.tenant.ID, "x")
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		for i := range 5 {
			host := fmt.Sprintf("h%d.example", i)
			ids := map[string]int{}
			for _, p := range h.hooks.at(host) {
				ids[p.header.Get("Webhook-Id")]++
			}
			want = 40 + 4 - i // those that were made later are events, too
			if len(ids) != want || len(h.hooks.at(host)) != want {
				t.Errorf("%s got %d requests with %d ids, want %d", host, len(h.hooks.at(host)), len(ids), want)
			}
		}
	}, withHooks)
}

func TestSecretsOverlapWhenTheyAreRotated(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		w, old := h.hook(h.admin, h.tenant.ID, "a.example", "x")
		_, fresh, err := h.RotateWebhook(h.Context(), h.admin, h.tenant.ID, w.ID, time.Hour)
		if err != nil || string(fresh) == old {
			t.Fatal(fresh, err)
		}
		h.happen(h.tenant.ID, "x")
		time.Sleep(2 * time.Hour)
		h.happen(h.tenant.ID, "x")
		time.Sleep(2 * time.Second)
		got := h.hooks.at("a.example")
		if len(got) != 2 {
			t.Fatalf("%d came", len(got))
		}
		for i, want := range []bool{true, false} {
			if verify(t, string(fresh), got[i]) != nil || (verify(t, old, got[i]) == nil) != want || strings.Count(got[i].header.Get("Webhook-Signature"), "v1,") != 2-i {
				t.Errorf("request %d has %q", i+1, got[i].header.Get("Webhook-Signature"))
			}
		}
	}, withHooks)
}

func TestEventsAreReplayed(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		w, _ := h.hook(h.admin, h.tenant.ID, "a.example", "x")
		first := h.happen(h.tenant.ID, "x")
		unwanted := h.happen(h.tenant.ID, "y")
		time.Sleep(time.Minute)
		since := time.Now()
		second := h.happen(h.tenant.ID, "x")
		time.Sleep(time.Minute)
		came := func() (ids []string) {
			time.Sleep(time.Minute)
			for _, p := range h.hooks.at("a.example") {
				ids = append(ids, p.header.Get("Webhook-Id"))
			}
			return ids
		}
		replay := func(r sender.Replay) sender.Replayed {
			t.Helper()
			done, err := h.Replay(h.Context(), h.admin, h.tenant.ID, w.ID, r)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		want := []string{string(first.ID), string(second.ID)}
		if got := came(); !slices.Equal(got, want) {
			t.Fatalf("came %q", got)
		}
		replay(sender.Replay{Event: first.ID})
		if got := came(); !slices.Equal(got, append(want, string(first.ID))) {
			t.Errorf("then %q", got)
		}
		if done := replay(sender.Replay{Since: since}); done.Queued != 1 || done.More {
			t.Errorf("since then: %+v", done)
		}
		replay(sender.Replay{Event: unwanted.ID})
		if got := came(); len(got) != 5 || !slices.Contains(got[3:], string(second.ID)) || !slices.Contains(got[3:], string(unwanted.ID)) {
			t.Errorf("then %q", got)
		}
		other, admin := h.newTenant("other")
		theirs, _ := h.hook(admin, other.ID, "b.example", "*")
		for _, err := range []error{
			second2(h.Replay(h.Context(), admin, other.ID, theirs.ID, sender.Replay{Event: first.ID})),
			second2(h.Replay(h.Context(), admin, other.ID, w.ID, sender.Replay{Since: since})),
			second2(h.Replay(h.Context(), admin, h.tenant.ID, w.ID, sender.Replay{Since: since})),
		} {
			if sender.KindOf(err) != sender.NotFound {
				t.Errorf("another tenant: %v", err)
			}
		}
		if got := came(); len(got) != 5 || len(h.hooks.at("b.example")) != 0 {
			t.Errorf("in the end %q", got)
		}
	}, withHooks)
}

func second2[T any](_ T, err error) error { return err }

// What happened while it was disabled comes once it is enabled, where that is asked for.
func TestWebhookCatchesUp(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.post(h.Service)
		w, _ := h.hook(h.admin, h.tenant.ID, "a.example", "x")
		set := func(enabled bool) {
			t.Helper()
			_, err := h.ChangeWebhook(h.Context(), h.admin, h.tenant.ID, w.ID, true, func(was sender.Webhook) sender.NewWebhook {
				return sender.NewWebhook{URL: was.URL, Types: was.Types, Enabled: enabled}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		h.happen(h.tenant.ID, "x")
		time.Sleep(time.Minute)
		set(false)
		for range 3 {
			time.Sleep(10 * time.Minute)
			h.happen(h.tenant.ID, "x")
		}
		time.Sleep(10 * time.Minute)
		if got := h.hooks.at("a.example"); len(got) != 1 {
			t.Fatalf("%d came to a disabled one", len(got))
		}
		set(true)
		time.Sleep(time.Minute)
		if got := h.hooks.at("a.example"); len(got) != 4 {
			t.Errorf("%d came in the end", len(got))
		}
	}, withHooks)
}

func TestWebhookURLsAreLookedAt(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		for url, ok := range map[string]bool{
			"https://hooks.example.org": true, "https://hooks.example.org:8443/a?b=c": true, "https://192.0.2.1/": true, "https://[2001:db8::1]:8443/": true, "https://hooks.example.org:444/": false,
			"": false, "hooks.example.org": false, "http://hooks.example.org": false, "ftp://hooks.example.org": false, "https://": false,
			"https://user:password@hooks.example.org": false, "https://hooks.example.org/#x": false, "https://hooks example.org": false,
			"https://hooks.example.org:0/": false, "https://hooks.example.org:/": false, "https://[fe80::1%25lo]/": false, "https://2130706433/": false,
			"https://hooks.example.org/ä": true, "https:hooks.example.org": false, "https://hooks.example.org/" + strings.Repeat("a", 2048): false,
		} {
			_, _, err := h.CreateWebhook(h.Context(), h.admin, h.tenant.ID, sender.NewWebhook{URL: url, Types: []sender.EventType{"*"}})
			if k := sender.KindOf(err); (err == nil) != ok || err != nil && k != sender.Invalid && k != sender.Required {
				t.Errorf("%s: %v", url, err)
			}
		}
		for _, types := range []sender.EventType{"Domain.proven", "domain.", ".proven", "do*", "*.proven", "domain..x", "domain.*.x", "", "a b"} {
			if _, _, err := h.CreateWebhook(h.Context(), h.admin, h.tenant.ID, sender.NewWebhook{URL: "https://a.example", Types: []sender.EventType{types}}); sender.KindOf(err) != sender.Invalid {
				t.Errorf("%q: %v", types, err)
			}
		}
		for name, value := range map[string]string{"Host": "x", "webhook-id": "x", "Content-Length": "1", "a b": "x", "X-A": "a\nb", "": "x"} {
			n := sender.NewWebhook{URL: "https://a.example", Headers: map[string]sender.Password{name: sender.Password(value)}}
			if _, _, err := h.CreateWebhook(h.Context(), h.admin, h.tenant.ID, n); sender.KindOf(err) != sender.Invalid {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}
