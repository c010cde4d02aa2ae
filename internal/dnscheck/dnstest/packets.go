package dnstest

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"sync"
	"time"
)

// Packets is a network in memory of which a function says what becomes of each query that is
// sent to an address: the reply and how long it takes to come back, or nil for silence. Its
// connections need no goroutines, so that many of them are cheap, also in synctest bubbles.
type Packets func(network, address string, query []byte) (reply []byte, after time.Duration)

// Dial is like Server.Dial. Many questions can be under way over one connection.
func (p Packets) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c := &packetsConn{ask: p, network: network, address: address}
	c.changed.L = &c.mu
	return c, ctx.Err()
}

type packetsConn struct {
	net.Conn         // nil: only what is below is used
	ask              Packets
	network, address string

	mu       sync.Mutex
	changed  sync.Cond
	replies  [][]byte
	timer    *time.Timer
	deadline time.Time
	closed   bool
}

func (c *packetsConn) stream() bool { return c.network == "tcp" }

func (c *packetsConn) Write(p []byte) (int, error) {
	query := p
	if c.stream() {
		query = p[2:]
	}
	reply, after := c.ask(c.network, c.address, query)
	if reply == nil {
		return len(p), nil
	}
	if c.stream() {
		reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
	}
	if after > 0 {
		time.AfterFunc(after, func() { c.arrive(reply) })
	} else {
		c.arrive(reply)
	}
	return len(p), nil
}

func (c *packetsConn) arrive(reply []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replies = append(c.replies, reply)
	c.changed.Broadcast()
}

func (c *packetsConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(c.replies) > 0:
			n := copy(p, c.replies[0])
			if c.replies[0] = c.replies[0][n:]; !c.stream() || len(c.replies[0]) == 0 {
				c.replies = c.replies[1:]
			}
			return n, nil
		}
		c.changed.Wait()
	}
}

func (c *packetsConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	// A new timer each time, and none for the past, which the broadcast tells: on fake time with
	// the race detector, Timer.Reset for the past crashed now and then inside the runtime.
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if left := time.Until(t); !t.IsZero() && left > 0 {
		c.timer = time.AfterFunc(left, c.wake)
	}
	c.changed.Broadcast()
	return nil
}

func (c *packetsConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }
func (c *packetsConn) SetWriteDeadline(time.Time) error  { return nil }

func (c *packetsConn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.Broadcast()
}

func (c *packetsConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.changed.Broadcast()
	return nil
}
