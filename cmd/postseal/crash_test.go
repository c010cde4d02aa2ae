package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/app"
	"github.com/postseal/postseal/internal/sender"
)

const (
	crashDomain = "mail.crash.example"
	crashFrom   = "noreply@mail.crash.example"
	orders      = 1000
	clients     = 8

	// sqliteResume is within what delivery must go on after a restart on SQLite;
	// postgresResume on PostgreSQL, where it cannot know that the other process is
	// dead and waits for its lease.
	sqliteResume   = 5 * time.Second
	postgresResume = 60 * time.Second

	// testLease makes the waiting for leases on PostgreSQL short. On SQLite the
	// default stays, so that nothing comes in time by a lease that ran out.
	testLease = 6 * time.Second
)

// leaseEnds is within what mail of a dead node is sent by another, or by its
// successor: its lease was renewed just before, and the look for dead leases
// comes three times a lease. The rest is for the sending.
func leaseEnds(lease time.Duration) time.Duration { return lease + lease/3 + 5*time.Second }

// Kinds of killing: at a point, or at some moment.
const (
	before   = string(beforeData)
	after    = string(afterData)
	unheard  = "between 250 and commit"
	atRandom = "random"
)

// mostPassed is how often a point is passed, at most, before it is the one.
const mostPassed = 20

// killings has every named point three times and five random moments.
var killings = []string{
	atRandom, before, after, unheard, atRandom, unheard, after, before, atRandom, atRandom, after, unheard, atRandom, before,
}

// order is one message as its client knows it.
type order struct {
	n   int
	id  string // from the first 202 that was seen
	ids map[string]bool
}

func (o *order) to() string      { return fmt.Sprintf("order-%d@readers.example", o.n) }
func (o *order) subject() string { return fmt.Sprintf("Order %d", o.n) }
func (o *order) key() string     { return fmt.Sprintf("key-of-order-%d", o.n) }

func TestKillNineLosesNothing(t *testing.T) {
	if d := leaseEnds(app.DefaultConfig().Send.Lease); d > postgresResume {
		t.Errorf("with the default lease delivery goes on %s after a crash on PostgreSQL, which is more than %s", d, postgresResume)
	}
	onEachEngine(t, func(t *testing.T, database string) {
		sqlite := strings.HasPrefix(database, "sqlite:")
		c := &crash{resume: sqliteResume, killed: map[string]int{}}
		var settings []string
		if !sqlite {
			c.resume, settings = leaseEnds(testLease), []string{"send.lease=" + testLease.String()}
		}
		c.worker = newServer(t, database, settings...).newWorker("Crash")
		domain := c.prove(crashDomain)
		c.addAddress(domain, crashFrom)
		c.signsAs(crashFrom, crashDomain)
		for n := range orders {
			c.orders = append(c.orders, &order{n: n, ids: map[string]bool{}})
		}

		var posting sync.WaitGroup
		defer posting.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		jobs := make(chan *order, orders)
		noMore := sync.OnceFunc(func() { close(jobs) })
		defer noMore()
		for range clients {
			posting.Go(func() {
				for o := range jobs {
					c.post(ctx, o)
				}
			})
		}
		rest := c.orders
		share := orders / (len(killings) + 1)
		for _, kind := range killings {
			for _, o := range rest[:share] {
				jobs <- o
			}
			rest = rest[share:]
			c.killAndRestart(kind, sqlite)
		}
		for _, o := range rest {
			jobs <- o
		}
		noMore()
		posting.Wait()
		if t.Failed() {
			return
		}
		c.drain()
		c.check()
		c.stop()
		c.checkLogs("@readers.example", crashFrom)
	})
}

// crash is one run against one engine.
type crash struct {
	*worker
	resume time.Duration // the limit
	orders []*order

	ready       time.Time      // of the process that lives
	killed      map[string]int // by kind
	victims     []victim
	interrupted atomic.Int64  // calls without an answer
	measured    int           // restarts after which delivery had to resume
	slowest     time.Duration // of those, from the ready line
	last        time.Duration // from the last ready line until all was resumed that had been broken off
}

// victim is the message that was at a named point when the process was killed.
type victim struct {
	kind, to string
	at       time.Time // when the process was gone
}

// post repeats a call with its key until a 202 was seen.
func (c *crash) post(ctx context.Context, o *order) {
	for range 100 {
		status, id, err := c.postOnce(ctx, o)
		switch {
		case ctx.Err() != nil: // too late, or the test has failed already
			return
		case err != nil:
			c.interrupted.Add(1)
		case status != 202:
			c.t.Errorf("order %d was answered %d: %v", o.n, status, id)
			return
		default:
			return
		}
	}
	c.t.Errorf("order %d was not answered in 100 calls", o.n)
}

func (c *crash) postOnce(ctx context.Context, o *order) (int, object, error) {
	status, answer, err := c.call(ctx, "POST", "/v1/messages", c.token, object{
		"from": object{"name": "Crash", "address": crashFrom}, "to": object{"address": o.to()}, "subject": o.subject(), "text": "Hello.",
	}, "Idempotency-Key", o.key())
	if err == nil && status == 202 {
		o.ids[answer.str("id")] = true
		if o.id == "" {
			o.id = answer.str("id")
		}
	}
	return status, answer, err
}

// killAndRestart kills the process at a point and starts it again. With wait it
// demands that something of what the dead one was sending comes in time.
func (c *crash) killAndRestart(kind string, wait bool) {
	c.t.Helper()
	dead, bury := context.WithCancel(context.Background())
	defer bury() // whatever happens, the sink goes on
	reached := make(chan string, 1)
	process := c.process.Process
	die := func(to string) {
		_ = process.Kill()
		reached <- to
		<-dead.Done() // no reply is written that a dying process might still read
	}
	set := trap{at: point(kind), n: 1 + rand.IntN(mostPassed), spring: func(to string) func() { die(to); return func() {} }}
	switch kind {
	case unheard:
		set.at = afterData
		set.spring = func(to string) func() {
			if err := halt(process.Pid); err != nil { // halted, it can't read the 250 that is written next
				c.t.Errorf("SIGSTOP: %v", err)
			}
			return func() { die(to) }
		}
	case atRandom:
		set.at = afterData
		set.spring = func(string) func() { reached <- ""; return nil }
	}
	earlier := len(c.sink.left())
	c.sink.arm(set)
	var to string
	select {
	case to = <-reached:
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%s was not reached in 30 s", kind)
	}
	if kind == atRandom {
		time.Sleep(rand.N(30 * time.Millisecond)) // what makes it a random moment
	}
	c.down()
	if err := c.process.kill(); err == nil || c.process.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		c.t.Fatalf("it was not killed: %v\n%s", err, c.process.log())
	}
	bury()
	if to != "" {
		c.victims = append(c.victims, victim{kind, to, time.Now()})
	}
	c.killed[kind]++
	if !c.sink.until(10*time.Second, func() bool { return len(c.sink.conns) == 0 }) {
		c.t.Fatal("connections of the dead process are still open")
	}
	open := c.sink.left()[earlier:]
	c.ready = c.start()
	if kind != atRandom && len(open) == 0 {
		c.t.Errorf("killed %s, and no transaction was broken off", kind)
	}
	if !wait || len(open) == 0 {
		return
	}
	if !c.sink.until(time.Until(c.ready.Add(c.resume)), func() bool { return slices.ContainsFunc(open, c.sink.resumed) }) {
		c.t.Errorf("none of the %d messages that the killed process was sending came within %s of the restart", len(open), c.resume)
	}
	c.measured++
	c.slowest = max(c.slowest, time.Since(c.ready))
}

// halt stops a process and returns once it stands still.
func halt(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case !status.Stopped():
			return fmt.Errorf("it ended instead: %v", status)
		default:
			return nil
		}
	}
}

// drain waits until everything is delivered and recorded. What dead processes
// were sending must have come within the limit after the last restart.
func (c *crash) drain() {
	c.t.Helper()
	all := func() bool {
		return !slices.ContainsFunc(c.sink.abandoned, func(a abandoned) bool { return !c.sink.resumed(a) })
	}
	if !c.sink.until(c.resume+15*time.Second, all) {
		c.t.Error("not everything that killed processes were sending came again")
	}
	for _, a := range c.sink.left() {
		again := slices.IndexFunc(c.sink.of(a.to), func(m taken) bool { return m.at.After(a.at) })
		if again >= 0 {
			c.last = max(c.last, c.sink.of(a.to)[again].at.Sub(c.ready))
		}
	}
	if c.last > c.resume {
		c.t.Errorf("what killed processes were sending came %s after the last restart, later than %s", c.last, c.resume)
	}
	c.eventually(time.Minute, "every message sent", func() bool {
		return !slices.ContainsFunc(c.listed("/v1/messages"), func(m object) bool { return m.str("state") != string(sender.Sent) })
	})
}

// check compares what clients saw, what the sink got, and what the API reports.
func (c *crash) check() {
	t := c.t
	var repeating sync.WaitGroup
	again := make(chan *order, orders)
	for range clients {
		repeating.Go(func() {
			for o := range again {
				c.post(t.Context(), o)
			}
		})
	}
	for _, o := range c.orders {
		again <- o
	}
	close(again)
	repeating.Wait()

	stored := map[string]bool{}
	for _, m := range c.listed("/v1/messages") {
		if m.str("kind") == string(sender.KindMessage) {
			stored[m.str("id")] = true
		}
	}
	doubts, twice, deliveries := 0, 0, 0
	seen := map[string]sighting{}
	for _, o := range c.orders {
		if len(o.ids) != 1 || !stored[o.id] {
			t.Errorf("%s made the messages %q", o.key(), slices.Sorted(maps.Keys(o.ids)))
			continue
		}
		delete(stored, o.id)
		s := c.checkOne(o)
		seen[o.to()] = s
		doubts += len(s.doubtful)
		deliveries += s.deliveries
		if s.deliveries > 1 {
			twice++
		}
	}
	for id := range stored {
		t.Errorf("the message %s was made for no client", id)
	}
	for _, v := range c.victims {
		c.checkVictim(v, seen[v.to])
	}
	events := 0
	for _, e := range c.listed("/v1/tenants/" + c.tenant + "/events") {
		if e.str("type") == string(sender.EventMessageInDoubt) {
			events++
		}
	}
	if events != doubts {
		t.Errorf("%d events say that an outcome is unknown, and %d attempts do", events, doubts)
	}
	if c.interrupted.Load() == 0 {
		t.Error("no call was interrupted: the process was never killed while it accepted")
	}
	t.Logf("%d killings %v; %d orders accepted, %d calls without an answer and repeated; %d deliveries, %d messages more than once, %d attempts in doubt and reported; %d transactions broken off",
		len(killings), c.killed, len(c.orders), c.interrupted.Load(), deliveries, twice, doubts, len(c.sink.left()))
	t.Logf("broken off mail came %.2f s after the ready line at the latest (of %d restarts measured), and all of it %.2f s after the last one; limit %s",
		c.slowest.Seconds(), c.measured, c.last.Seconds(), c.resume)
}

// sighting is what became of one message.
type sighting struct {
	deliveries int
	doubtful   []doubt
}

// doubt is an attempt whose outcome is unknown, and how often its message came in its time.
type doubt struct {
	began, next time.Time // next is when the following attempt began
	deliveries  int
}

// checkOne puts each delivery into the attempt in whose time it came.
func (c *crash) checkOne(o *order) (s sighting) {
	t := c.t
	m := c.must(200, "GET", "/v1/messages/"+o.id, c.token, nil)
	history := m.list("history")
	got := c.sink.of(o.to())
	s.deliveries = len(got)
	if len(got) == 0 || len(history) == 0 {
		t.Errorf("order %d was accepted, tried %d times and delivered %d times: %v", o.n, len(history), len(got), m)
		return s
	}
	for _, g := range got {
		if g.subject != o.subject() || g.messageID != got[0].messageID {
			t.Errorf("order %d came as %q, %s and as %q, %s", o.n, got[0].subject, got[0].messageID, g.subject, g.messageID)
		}
		if g.at.Before(at(history[0], "startedAt")) {
			t.Errorf("order %d came before its first attempt was recorded", o.n)
		}
	}
	for i, a := range history {
		began, next := at(a, "startedAt"), time.Now()
		if i+1 < len(history) {
			next = at(history[i+1], "startedAt")
		}
		n := 0
		for _, g := range got {
			if !g.at.Before(began) && g.at.Before(next) {
				n++
			}
		}
		switch outcome, last := a.str("outcome"), i == len(history)-1; {
		case outcome == string(sender.Delivered) && last && n == 1:
		case outcome == string(sender.InDoubt) && !last && n <= 1:
			s.doubtful = append(s.doubtful, doubt{began, next, n})
		default:
			t.Errorf("order %d: attempt %d of %d ended %q and delivered %d copies: %v", o.n, i+1, len(history), outcome, n, a)
		}
	}
	if m.number("attempts") != len(history) || m.number("duplicatesPossible") != len(s.doubtful) {
		t.Errorf("order %d had %d attempts, %d of them in doubt, and the API says %v", o.n, len(history), len(s.doubtful), m)
	}
	if len(got) > 1+len(s.doubtful) {
		t.Errorf("order %d came %d times with %d attempts in doubt", o.n, len(got), len(s.doubtful))
	}
	return s
}

// checkVictim demands that a named point was really hit: the attempt of that
// moment is in doubt, and the message had come with it or not.
func (c *crash) checkVictim(v victim, s sighting) {
	want := 1
	if v.kind == before {
		want = 0
	}
	hit := slices.ContainsFunc(s.doubtful, func(d doubt) bool {
		return d.deliveries == want && d.began.Before(v.at) && d.next.After(v.at)
	})
	if !hit {
		c.t.Errorf("killed %s at %s, %s shows no attempt in doubt that delivered %d: %+v", v.kind, v.at, v.to, want, s)
	}
}

// left are the transactions that clients went away from.
func (s *sink) left() []abandoned {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.abandoned)
}

// resumed reports whether a message came after its transaction was abandoned. It
// is called under mu.
func (s *sink) resumed(a abandoned) bool {
	return slices.ContainsFunc(s.taken[a.to], func(m taken) bool { return m.at.After(a.at) })
}
