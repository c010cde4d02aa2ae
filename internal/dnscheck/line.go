package dnscheck

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// serverWindow is how many questions to one server are under way at a time, and lineWindow
	// how many of them on one line: so many fit into the buffers that systems give sockets.
	serverWindow = 256
	lineWindow   = 128
	// lineUses and lineAge end a line: whoever finds out its port has little time to use that.
	lineUses = 1000
	lineAge  = 10 * time.Second
	// lineIdle is how long a line stays open without a question, and maxIdle how many do.
	lineIdle = 3 * time.Second
	maxIdle  = 256
	// minLetters is how many letters a name must have to be asked over a line: so many bits
	// of its spelling are there for the port that is no longer fresh.
	minLetters = 8
	// habitFor is how long it is remembered what a server makes of spellings; maxHabits bounds that.
	habitFor  = time.Hour
	maxHabits = 8192
)

// errSpelling is an answer that fits but for the case of its letters.
var errSpelling = errors.New("the question came back in another spelling")

// lines are the UDP sockets that a Resolver keeps for a while. Many questions wait on one at
// a time, told apart by their ids, so that a socket is not made and closed for each:
//
//	put ──> send ── line to the server: id -> waiter ── read ──> waiter
//
// A fresh port for each question made blind spoofing hard. In its place the letters of the
// name are in random case (draft-vixie-dnsext-dns0x20), which an answer must repeat, and
// lines are short-lived. Who does not repeat it is asked by sockets of their own.
//
// A line has a goroutine only while somebody waits.
type lines struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	peers  map[string]*peer
	idle   int
	tidy   *time.Timer // nil: none is idle
	habits map[string]habit
}

// peer is a server that somebody asks, or to which a line is open.
type peer struct {
	users  int           // who asks or waits for a place
	places chan struct{} // taken
	open   []*line       // that may be used again
	dial   chan struct{} // closed when the dial under way has ended; nil: none is
}

// line is one connected socket. Its fields are guarded by the lock of lines.
type line struct {
	conn    net.Conn
	peer    *peer
	server  string
	until   time.Time          // no question is sent later
	waiting map[uint16]*waiter // nil for who gave up: an id is not used twice
	live    int                // of them still waiting
	strays  int                // packets that nobody waited for
	since   time.Time          // idle; zero: not
	closed  bool
}

// waiter is a question under way.
type waiter struct {
	query query
	id    uint16
	line  *line
	done  chan heard
}

type heard struct {
	m   *dns.Msg
	err error
}

// habit is what a server makes of names in mixed case.
type habit struct {
	plain bool // it does not repeat or not understand them
	until time.Time
}

func newLines(dial func(ctx context.Context, network, address string) (net.Conn, error)) *lines {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &lines{dial: dial, peers: make(map[string]*peer), habits: make(map[string]habit)}
}

// exchange puts a question over a line.
func (l *lines) exchange(ctx context.Context, server string, q query, patience time.Duration) (*dns.Msg, error) {
	p := l.enter(server)
	defer l.leave(server, p)
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w, err := l.join(ctx, server, p, q)
	if err != nil {
		return nil, err
	}
	if _, err := w.line.conn.Write(w.query.packet); err != nil {
		l.giveUp(w)
		return nil, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case h := <-w.done:
		return h.m, h.err
	case <-timer.C:
		err = os.ErrDeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.giveUp(w)
	return nil, err
}

func (l *lines) enter(server string) *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[server]
	if p == nil {
		p = &peer{places: make(chan struct{}, serverWindow)}
		l.peers[server] = p
	}
	p.users++
	return p
}

func (l *lines) leave(server string, p *peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.users--
	l.forget(server, p)
}

func (l *lines) forget(server string, p *peer) {
	if p.users == 0 && len(p.open) == 0 {
		delete(l.peers, server)
	}
}

// join makes the question one of those that wait on a line to the server.
func (l *lines) join(ctx context.Context, server string, p *peer, q query) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.usable(p)
	for c == nil {
		if under := p.dial; under != nil { // one line will do for many
			l.mu.Unlock()
			select {
			case <-under:
			case <-ctx.Done():
			}
			l.mu.Lock()
		} else if err := l.connect(ctx, server, p); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c = l.usable(p)
	}
	if !c.since.IsZero() {
		l.idle--
		c.since = time.Time{}
	}
	w := &waiter{query: q, line: c, done: make(chan heard, 1)}
	for {
		var random [2 + maxWire/8 + 1]byte
		rand.Read(random[:]) // never fails
		w.id = binary.BigEndian.Uint16(random[:])
		if _, used := c.waiting[w.id]; !used {
			w.query.mix(w.id, random[2:])
			break
		}
	}
	c.waiting[w.id] = w
	if c.live++; c.live == 1 {
		go l.read(c)
	}
	return w, nil
}

// connect opens a line, without the lock while it dials.
func (l *lines) connect(ctx context.Context, server string, p *peer) error {
	ended := make(chan struct{})
	p.dial = ended
	l.mu.Unlock()
	conn, err := l.dial(ctx, "udp", server)
	l.mu.Lock()
	p.dial = nil
	close(ended)
	if err == nil {
		p.open = append(p.open, &line{conn: conn, peer: p, server: server, until: time.Now().Add(lineAge), waiting: make(map[uint16]*waiter)})
	}
	return err
}

// usable finds a line with room, and drops those that nobody may use any longer.
func (l *lines) usable(p *peer) *line {
	for i := len(p.open) - 1; i >= 0; i-- {
		c := p.open[i]
		switch {
		case len(c.waiting) >= lineUses || !time.Now().Before(c.until):
			l.retire(c) // who waits there still hears
		case c.live < lineWindow:
			return c
		}
	}
	return nil
}

// retire lets nobody join a line any more, and closes it when nobody waits.
func (l *lines) retire(c *line) {
	c.peer.open = slices.DeleteFunc(c.peer.open, func(o *line) bool { return o == c })
	c.until = time.Time{}
	if c.live == 0 {
		l.close(c)
	}
	l.forget(c.server, c.peer)
}

func (l *lines) close(c *line) {
	if c.closed {
		return
	}
	c.closed = true
	if !c.since.IsZero() {
		l.idle--
	}
	c.conn.Close()
}

// giveUp ends a waiter's part. A line on which nobody waits any longer is closed, which ends
// its reader: it has lost packets, or is about to receive what nobody wants.
func (l *lines) giveUp(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := w.line
	if c.waiting[w.id] != w {
		return
	}
	c.waiting[w.id] = nil
	if c.live--; c.live == 0 {
		l.retire(c)
	}
}

// read hands packets to those who wait until nobody does.
func (l *lines) read(c *line) {
	buf := buffers.Get().(*[2 * ednsSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := c.conn.Read(buf[:])
		if err != nil {
			l.fail(c, err)
			return
		}
		if !l.hand(c, buf[:n]) {
			return
		}
	}
}

// hand gives a packet to the one who waits for it, and reports whether somebody still waits.
func (l *lines) hand(c *line, packet []byte) bool {
	var w *waiter
	ours := false
	if len(packet) >= 2 {
		l.mu.Lock()
		w, ours = c.waiting[binary.BigEndian.Uint16(packet)]
		l.mu.Unlock()
	}
	var h heard
	if w != nil {
		if h.m, h.err = w.query.decode(packet); errors.Is(h.err, errStray) {
			w, ours = nil, false
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case w != nil && c.waiting[w.id] == w:
		l.finish(w, h)
	case !ours: // where ours, it comes too late
		if c.strays++; c.strays > maxStray {
			l.failAll(c, errStray)
		}
	}
	return c.live > 0
}

// finish takes a waiter off its line, which may become idle.
func (l *lines) finish(w *waiter, h heard) {
	c := w.line
	c.waiting[w.id] = nil
	w.done <- h
	if c.live--; c.live > 0 {
		return
	}
	if c.until.IsZero() || l.idle >= maxIdle || len(c.waiting) >= lineUses {
		l.retire(c)
		return
	}
	c.since = time.Now()
	if l.idle++; l.tidy == nil {
		l.tidy = time.AfterFunc(lineIdle, l.tidyUp)
	}
}

// fail tells all who wait on a line that it is broken.
func (l *lines) fail(c *line, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failAll(c, err)
}

func (l *lines) failAll(c *line, err error) {
	l.retire(c)
	for id, w := range c.waiting {
		if w != nil {
			c.waiting[id] = nil
			c.live--
			w.done <- heard{err: err}
		}
	}
	l.close(c)
}

// tidyUp closes lines that were idle for long.
func (l *lines) tidyUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeIdle(lineIdle)
	l.tidy = nil
	if l.idle > 0 {
		l.tidy = time.AfterFunc(lineIdle, l.tidyUp)
	}
}

// closeIdle must be called with the lock held.
func (l *lines) closeIdle(after time.Duration) {
	for _, p := range l.peers {
		for _, c := range slices.Clone(p.open) {
			if !c.since.IsZero() && time.Since(c.since) >= after {
				l.retire(c)
			}
		}
	}
}

// habit returns what is known of a server; false: nothing.
func (l *lines) habit(server string) (plain, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, known := l.habits[server]
	if known && time.Now().After(h.until) {
		delete(l.habits, server)
		return false, false
	}
	return h.plain, known
}

func (l *lines) learn(server string, plain bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.habits) >= maxHabits {
		clear(l.habits) // to learn again costs a question each
	}
	l.habits[server] = habit{plain: plain, until: time.Now().Add(habitFor)}
}
