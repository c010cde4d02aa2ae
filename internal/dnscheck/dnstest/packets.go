package dnstest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Packets is a network in memory of which a function says what becomes of each query that is
// sent to an address: the reply and how long it takes to come back, or nil for silence. Its
// connections need no goroutines, so that many of them are cheap, also in synctest bubbles.
type Packets func(address string, query []byte) (reply []byte, after time.Duration)

// Dial is like Server.Dial.
func (p Packets) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return &loneConn{
		ask: p, address: address, stream: network == "tcp",
		replies: make(chan []byte, 16), expired: make(chan struct{}),
	}, ctx.Err()
}

type loneConn struct {
	net.Conn // nil: only what is below is used
	ask      Packets
	address  string
	stream   bool
	replies  chan []byte
	rest     []byte // of a stream

	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func (c *loneConn) Write(p []byte) (int, error) {
	query := p
	if c.stream {
		query = p[2:]
	}
	reply, after := c.ask(c.address, query)
	if reply == nil {
		return len(p), nil
	}
	if c.stream {
		reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
	}
	time.AfterFunc(after, func() {
		select {
		case c.replies <- reply:
		default: // as where a buffer is full
		}
	})
	return len(p), nil
}

func (c *loneConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.replies:
		case <-c.expired:
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; !c.stream {
		c.rest = nil
	}
	return n, nil
}

// SetDeadline can't be taken back once it has passed.
func (c *loneConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(time.Until(t), c.expire)
	return nil
}

func (c *loneConn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.expired:
	default:
		close(c.expired)
	}
}

func (c *loneConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	return nil
}

var _ io.ReadWriteCloser = (*loneConn)(nil)
