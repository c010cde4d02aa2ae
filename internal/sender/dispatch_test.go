package sender_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// usualLeases has the dispatcher at its real pace.
func usualLeases(set *sender.Settings) { set.Send = sender.DefaultSettings().Send }

// attempts returns the outcomes of a message's attempts in their order.
func (h *harness) attempts(m sender.Message) (outcomes []sender.DeliveryOutcome) {
	h.Helper()
	_, as, err := h.Message(h.Context(), h.admin, h.tenant.ID, m.ID)
	if err != nil {
		h.Fatal(err)
	}
	for _, a := range as {
		outcomes = append(outcomes, a.Outcome)
	}
	return outcomes
}

// delivered counts how often a message was handed to the next hop.
func (h *harness) delivered(m sender.Message) (n int) {
	for _, s := range h.way.attempts() {
		if s.Message == m.ID {
			n++
		}
	}
	return n
}

// author makes an address that may send, and lets nothing of that wait.
func (h *harness) author() string {
	h.Helper()
	h.activeAddress(h.domain("example.org", dnscheck.Ownership), "noreply@example.org")
	synctest.Wait()
	return "noreply@example.org"
}

func (h *harness) mustSend(from string) sender.Message {
	h.Helper()
	m, err := h.send(from)
	if err != nil {
		h.Fatal(err)
	}
	return m
}

// failing makes a fault of some statements for a while.
func failing(d time.Duration, statements ...string) func(string) error {
	until := time.Now().Add(d)
	return func(statement string) error {
		if time.Now().Before(until) && slices.Contains(statements, statement) {
			return errStore
		}
		return nil
	}
}

func TestOutcomeIsRecordedOnceTheStoreIsBack(t *testing.T) {
	for _, statement := range []string{"FinishAttempt", "committed"} {
		t.Run(statement, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				from := h.author()
				h.way.take(10 * time.Second)
				m := h.mustSend(from)
				time.Sleep(5 * time.Second)
				h.store.fail(failing(time.Minute, statement))
				time.Sleep(2 * time.Minute)
				if got := h.state(m); got.State != sender.Sent || got.InDoubt != 0 || h.delivered(m) != 1 {
					t.Errorf("%s, %d in doubt, handed over %d times; want sent, none, once", got.State, got.InDoubt, h.delivered(m))
				}
			}, usualLeases)
		})
	}
}

func TestAttemptThatCannotBeRecordedIsNotMade(t *testing.T) {
	for _, statement := range []string{"StartAttempt", "committed"} {
		t.Run(statement, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				from := h.author()
				begun := false
				h.store.fail(func(s string) error { // once
					begun = begun || s == "StartAttempt"
					if !begun || s != statement {
						return nil
					}
					h.store.fail(nil)
					return errStore
				})
				m := h.mustSend(from)
				time.Sleep(2 * time.Second)
				if n := h.delivered(m); n != 0 {
					t.Errorf("handed over %d times although its start was not recorded", n)
				}
				time.Sleep(time.Minute)
				if got := h.state(m); got.State != sender.Sent || got.InDoubt != 0 || h.delivered(m) != 1 {
					t.Errorf("%s, %d in doubt, handed over %d times; want sent, none, once", got.State, got.InDoubt, h.delivered(m))
				}
				if got := h.attempts(m); !slices.Equal(got, []sender.DeliveryOutcome{sender.TempFailed, sender.Delivered}) {
					t.Errorf("attempts %q", got)
				}
			}, usualLeases)
		})
	}
}

func TestOutcomeThatCannotBeRecordedInTheEndIsInDoubt(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		h.store.fail(failing(20*time.Minute, "FinishAttempt"))
		m := h.mustSend(from)
		time.Sleep(2 * time.Hour)
		got := h.state(m)
		if got.State != sender.Sent || got.InDoubt == 0 || h.delivered(m) != got.InDoubt+1 {
			t.Errorf("%s, %d in doubt, handed over %d times", got.State, got.InDoubt, h.delivered(m))
		}
		if n := len(h.events(sender.EventMessageInDoubt)); n != got.InDoubt {
			t.Errorf("%d events tell of %d attempts in doubt", n, got.InDoubt)
		}
	}, usualLeases)
}

// otherNode starts a second dispatcher on the store of the first.
func (h *harness) otherNode() (stop func()) {
	h.store.shared.Store(true)
	return h.dispatch(h.node())
}

func TestSlowDeliveryKeepsItsLease(t *testing.T) {
	for name, shutDown := range map[string]bool{"while the process runs": false, "while the process ends": true} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, h *harness) {
				from := h.author()
				h.way.take(5 * time.Minute)
				m := h.mustSend(from)
				time.Sleep(time.Second)
				defer h.otherNode()()
				if shutDown {
					go h.stop()
				}
				time.Sleep(6 * time.Minute)
				if got := h.state(m); got.State != sender.Sent || got.InDoubt != 0 || h.delivered(m) != 1 {
					t.Errorf("%s, %d in doubt, handed over %d times; want sent, none, once", got.State, got.InDoubt, h.delivered(m))
				}
			}, usualLeases)
		})
	}
}

// A worker whose message was released and claimed again, by the same process
// even, must not write over what the second one does.
func TestWorkerWithoutItsLeaseWritesOverNobody(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		h.way.take(100*time.Second, 100*time.Second)
		h.store.fail(failing(time.Minute, "RenewLeases"))
		m := h.mustSend(from)
		time.Sleep(10 * time.Minute)
		if got := h.state(m); got.State != sender.Sent || got.InDoubt != 1 || h.delivered(m) != 2 {
			t.Errorf("%s, %d in doubt, handed over %d times; want sent, 1, 2", got.State, got.InDoubt, h.delivered(m))
		}
		if got := h.attempts(m); !slices.Equal(got, []sender.DeliveryOutcome{sender.InDoubt, sender.Delivered}) {
			t.Errorf("attempts %q", got)
		}
	}, usualLeases)
}

func TestShutdownGivesBackWhatNobodyHasBegun(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		h.store.shared.Store(true)
		h.way.take(slices.Repeat([]time.Duration{10 * time.Second}, 16)...) // all workers
		var ms []sender.Message
		for range 40 {
			ms = append(ms, h.mustSend(from))
		}
		time.Sleep(time.Second)
		h.stop()
		for _, m := range ms {
			if got := h.state(m).State; got != sender.Sent && got != sender.Queued {
				t.Errorf("after the end of the only process a message is %s", got)
			}
		}
		defer h.dispatch(h.node())()
		time.Sleep(3 * time.Second)
		for _, m := range ms {
			if got := h.state(m); got.State != sender.Sent || h.delivered(m) != 1 {
				t.Errorf("%s, handed over %d times; want sent, once", got.State, h.delivered(m))
			}
		}
	}, usualLeases)
}

func TestEventsDoNotNameTheRecipient(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		from := h.author()
		h.way.script(sender.InDoubt, sender.PermFailed)
		m := h.mustSend(from)
		time.Sleep(time.Minute)
		if got := h.state(m); got.State != sender.MessageFailed || !strings.Contains(got.Reason, "reader@example.net") {
			t.Fatalf("%s for %q: the test proves nothing", got.State, got.Reason)
		}
		es, err := h.Events(t.Context(), h.admin, h.tenant.ID, sender.Page{})
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, e := range es {
			if e.Object == m.ID {
				told++
			}
			for k, v := range e.Data {
				if strings.Contains(v, "reader@") {
					t.Errorf("%s: %s is %q", e.Type, k, v)
				}
			}
		}
		if told != 2 {
			t.Errorf("%d events of the message, want in doubt and failed", told)
		}
	})
}
