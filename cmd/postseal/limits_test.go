package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// attempts is how many ask at once for what there can be 50 or 10 of.
const attempts = 100

// tally is how often each status and, behind it, each detail code was answered.
type tally map[string]int

// atOnce makes the same kind of call many times in parallel.
func (w *worker) atOnce(path string, body func(n int) object) tally {
	w.t.Helper()
	var mu sync.Mutex
	answers := tally{}
	var callers sync.WaitGroup
	begin := make(chan struct{})
	for n := range attempts {
		callers.Go(func() {
			<-begin
			status, o, err := w.call(w.t.Context(), "POST", path, w.token, body(n))
			if err != nil {
				w.t.Errorf("call %d: %v", n, err)
				return
			}
			words := []string{strconv.Itoa(status)}
			for _, d := range o.list("details") {
				words = append(words, o.str("code"), d.str("code"), d.str("target"))
			}
			mu.Lock()
			defer mu.Unlock()
			answers[strings.Join(words, " ")]++
		})
	}
	close(begin)
	callers.Wait()
	return answers
}

func (w *worker) wantTally(what string, got, want tally) {
	w.t.Helper()
	for word := range want {
		if got[word] != want[word] || len(got) != len(want) {
			w.t.Errorf("%s: answered %v, want %v", what, got, want)
			return
		}
	}
}

// count is what a PingOne list says of its own length, which its items must bear out.
func (w *worker) count(path, items string) int {
	w.t.Helper()
	o := w.must(200, "GET", path+"?limit=200", w.token, nil)
	embedded, _ := o["_embedded"].(map[string]any)
	if n := len(object(embedded).list(items)); n != o.number("count") {
		w.t.Errorf("%s lists %d and counts %d", path, n, o.number("count"))
	}
	return o.number("count")
}

func TestLimitsHoldAgainstAHundredAtOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, database string) {
		s := newServer(t, database)

		full := s.newWorker("Full")
		got := full.atOnce(full.domains(), func(n int) object { return object{"domainName": fmt.Sprintf("d%d.limits.example", n)} })
		full.wantTally("100 domains", got, tally{"201": 50, "400 INVALID_DATA LIMIT_EXCEEDED emailDomains": 50})
		if n := full.count(full.domains(), "emailDomains"); n != 50 {
			t.Errorf("%d domains are there", n)
		}

		// The neighbour's limit is its own; and one name is one domain.
		next := s.newWorker("Next")
		domain := next.prove("mail.limits.example")
		got = next.atOnce(next.domains(), func(int) object { return object{"domainName": "Same.limits.example"} })
		next.wantTally("one name", got, tally{"201": 1, "400 INVALID_DATA UNIQUENESS_VIOLATION domainName": attempts - 1})

		addresses := next.domains() + "/" + domain + "/trustedEmails"
		got = next.atOnce(addresses, func(n int) object { return object{"emailAddress": fmt.Sprintf("a%d@mail.limits.example", n)} })
		next.wantTally("100 addresses", got, tally{"201": 10, "400 INVALID_DATA LIMIT_EXCEEDED trustedEmails": 90})
		if n := next.count(addresses, "trustedEmails"); n != 10 {
			t.Errorf("%d addresses are there", n)
		}

		// Who was refused an address is sent no code.
		if n := len(next.listed("/v1/messages")); n != 10 {
			t.Errorf("%d messages were made for 10 addresses", n)
		}
		if !s.sink.until(15*time.Second, func() bool { return len(s.sink.taken) == 10 }) {
			t.Errorf("codes came to %d addresses", len(s.sink.taken))
		}
		s.stop()
		next.checkLogs("@mail.limits.example")
	})
}
