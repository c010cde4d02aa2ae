package zone

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/netutil"
)

// Listen opens UDP and TCP on the same host and port, such as ":53" or "127.0.0.1:0".
// With port 0 the system chooses a port, and Listen tries again until one is free
// for both. The caller owns both; Server.Serve closes them.
func Listen(address string) (net.PacketConn, net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for DNS on %.100q: want HOST:PORT: %w", address, err)
	}
	tries := 1
	if port == "0" || port == "" {
		tries = 32
	}
	var last error
	for range tries {
		pc, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, nil, fmt.Errorf("listen for DNS on %.100q: %w", address, err)
		}
		_, chosen, err := net.SplitHostPort(pc.LocalAddr().String())
		if err == nil {
			var l net.Listener
			if l, err = net.Listen("tcp", net.JoinHostPort(host, chosen)); err == nil {
				return pc, l, nil
			}
		}
		last = errors.Join(err, pc.Close())
	}
	return nil, nil, fmt.Errorf("listen for DNS on %.100q: %w", address, last)
}

// boundListener keeps at most n connections open and bounds every write. miekg/dns
// bounds reads only, so a client that never reads would hold its connection forever.
func boundListener(l net.Listener, n int) net.Listener {
	return writeBound{netutil.LimitListener(l, n)}
}

type writeBound struct{ net.Listener }

func (l writeBound) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return writeBoundConn{c}, nil
}

type writeBoundConn struct{ net.Conn }

func (c writeBoundConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(tcpWriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
