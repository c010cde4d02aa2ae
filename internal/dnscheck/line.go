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
	// how many of them on one line: the socket of a server holds some 200 small packets by the
	// defaults of Linux, and drops what comes then.
	serverWindow = 128
	lineWindow   = 64
	// lineUses and lineAge end a line: whoever finds out its port has little time to use that.
	lineUses = 1000
	lineAge  = 10 * time.Second
	// lineIdle is how long a line stays open without a question, and maxIdle how many do.
	lineIdle = 3 * time.Second
	maxIdle  = 256
	// minLetters is how many letters a name must have to be asked over a line: so many bits
	// of its spelling are there for the port that is no longer fresh.
	minLetters = 8
	// habitFor is how long it is remembered what a server makes of spellings, and maxPeers of
	// how many.
	habitFor = time.Hour
	maxPeers = 8192
)

// errSpelling is an answer that fits but for the case of its letters.
var errSpelling = errors.New("the question came back in another spelling")

// errPlain is a server that must be asked in one spelling.
var errPlain = errors.New("the server does not understand names in mixed case")

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
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	bells sync.Pool // of *bell; not for all Resolvers, as timers belong to the test that made them

	mu    sync.Mutex
	peers map[string]*peer
	idle  int
	tidy  *time.Timer // nil: none is idle
}

// peer is a server that is asked, to which a line is open, or of which something is known.
type peer struct {
	address string
	window  turns         // of questions under way
	open    []*line       // that may be used again
	dial    chan struct{} // closed when the dial under way has ended; nil: none is
	plain   bool          // names in mixed case are not repeated, or not understood
	known   time.Time     // until when plain is
}

// line is one connected socket. Its fields are guarded by the lock of lines.
type line struct {
	conn    net.Conn
	peer    *peer
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
	asker string
	id    uint16
	line  *line
	*bell
}

// bell is what a waiter waits for.
type bell struct {
	done  chan heard
	timer *time.Timer
}

type heard struct {
	m   *dns.Msg
	err error
}

func newLines(dial func(ctx context.Context, network, address string) (net.Conn, error)) *lines {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &lines{dial: dial, peers: make(map[string]*peer)}
}

// exchange puts a question over a line, on behalf of an asker; sure tells that the server is
// known to understand its spelling. errPlain is returned without asking.
func (l *lines) exchange(ctx context.Context, server, asker string, q query, patience time.Duration) (m *dns.Msg, sure bool, err error) {
	w, sure, err := l.send(ctx, server, asker, q)
	if err != nil {
		return nil, sure, err
	}
	b := w.bell
	defer l.bells.Put(b)
	if _, err = w.line.conn.Write(w.query.packet); err == nil {
		b.timer.Reset(patience)
		defer b.timer.Stop()
		select {
		case h := <-b.done:
			return h.m, sure, h.err
		case <-b.timer.C:
			err = os.ErrDeadlineExceeded
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	l.giveUp(w)
	select {
	case h := <-b.done: // just now
		return h.m, sure, h.err
	default:
		return nil, sure, err
	}
}

// send makes the question one of those that wait on a line to the server.
func (l *lines) send(ctx context.Context, server, asker string, q query) (w *waiter, sure bool, err error) {
	b, _ := l.bells.Get().(*bell)
	if b == nil {
		b = &bell{done: make(chan heard, 1), timer: time.NewTimer(time.Hour)}
		b.timer.Stop()
	}
	w = &waiter{query: q, asker: asker, bell: b}
	var random [3 + (maxWire+4)/8]byte
	rand.Read(random[:3+(q.end-headerSize)/8]) // never fails
	w.id = binary.BigEndian.Uint16(random[:])
	w.query.mix(random[2:])

	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peer(server)
	now := time.Now()
	if sure = now.Before(p.known); sure && p.plain {
		return nil, true, errPlain
	}
	if err := l.place(ctx, p, asker); err != nil {
		return nil, sure, err
	}
	c := l.usable(p, now)
	for c == nil {
		if under := p.dial; under != nil { // one line will do for many
			l.mu.Unlock()
			select {
			case <-under:
			case <-ctx.Done():
			}
			l.mu.Lock()
			err = ctx.Err()
		} else {
			err = l.connect(ctx, p)
		}
		if err != nil {
			l.free(p, asker)
			return nil, sure, err
		}
		c = l.usable(p, now)
	}
	if !c.since.IsZero() {
		l.idle--
		c.since = time.Time{}
	}
	for {
		if _, used := c.waiting[w.id]; !used {
			break
		}
		rand.Read(random[:2])
		w.id = binary.BigEndian.Uint16(random[:])
	}
	binary.BigEndian.PutUint16(w.query.packet, w.id)
	w.line = c
	c.waiting[w.id] = w
	if c.live++; c.live == 1 {
		go l.read(c)
	}
	return w, sure, nil
}

func (l *lines) peer(server string) *peer {
	p := l.peers[server]
	if p == nil {
		if len(l.peers) >= maxPeers {
			for _, old := range l.peers {
				old.known = time.Time{} // to learn again costs a question each
				l.forget(old)
			}
		}
		p = &peer{address: server, window: turns{most: serverWindow}}
		l.peers[server] = p
	}
	return p
}

// place takes a place in the window of a server, for which it may have to wait.
func (l *lines) place(ctx context.Context, p *peer, asker string) error {
	turn := p.window.want(asker)
	if turn == nil {
		return nil
	}
	l.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
	}
	l.mu.Lock()
	if ctx.Err() == nil {
		return nil
	}
	p.window.leave(asker, turn)
	l.forget(p)
	return ctx.Err()
}

// free gives a place to the next who waits for one.
func (l *lines) free(p *peer, asker string) {
	p.window.free(asker)
	l.forget(p)
}

// forget drops a peer of which nothing needs to be known.
func (l *lines) forget(p *peer) {
	if p.window.taken == 0 && len(p.open) == 0 && p.known.IsZero() {
		delete(l.peers, p.address)
	}
}

// connect opens a line, without the lock while it dials.
func (l *lines) connect(ctx context.Context, p *peer) error {
	ended := make(chan struct{})
	p.dial = ended
	l.mu.Unlock()
	conn, err := l.dial(ctx, "udp", p.address)
	l.mu.Lock()
	p.dial = nil
	close(ended)
	if err == nil {
		p.open = append(p.open, &line{conn: conn, peer: p, until: time.Now().Add(lineAge), waiting: make(map[uint16]*waiter)})
	}
	return err
}

// usable finds a line with room, and drops those that nobody may use any longer.
func (l *lines) usable(p *peer, now time.Time) *line {
	for i := len(p.open) - 1; i >= 0; i-- {
		c := p.open[i]
		switch {
		case len(c.waiting) >= lineUses || !now.Before(c.until):
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
	l.forget(c.peer)
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
	l.free(c.peer, w.asker)
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
	defer l.free(c.peer, w.asker)
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
			l.free(c.peer, w.asker)
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

// learn remembers what a server makes of names in mixed case.
func (l *lines) learn(server string, plain bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peer(server)
	p.plain, p.known = plain, time.Now().Add(habitFor)
}
