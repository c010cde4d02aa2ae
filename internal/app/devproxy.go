package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// tunnels is the forward proxy of `postseal dev`: it answers CONNECT for any
// host at port 443, and leads all of them to one place, our own TLS listener.
// Whatever else is asked of it is refused: it is no way out of the machine.
type tunnels struct {
	target string // host:port of the TLS listener
	log    *slog.Logger
	open   sync.WaitGroup
	ctx    context.Context // ends the tunnels; a hijacked connection is no longer the server's
}

func (t *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "This proxy only answers CONNECT host:443; use it for https.", http.StatusMethodNotAllowed)
		return
	}
	if _, port, err := net.SplitHostPort(r.Host); err != nil || port != "443" {
		http.Error(w, "This proxy only tunnels to port 443, and there to postseal dev itself.", http.StatusForbidden)
		return
	}
	out, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(r.Context(), "tcp", t.target)
	if err != nil {
		http.Error(w, "The TLS listener does not answer.", http.StatusBadGateway)
		return
	}
	defer out.Close()
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "This connection can't become a tunnel.", http.StatusInternalServerError)
		return
	}
	defer in.Close()
	t.open.Add(1)
	defer t.open.Done()
	stop := context.AfterFunc(t.ctx, func() { in.Close(); out.Close() })
	defer stop()
	if _, err := io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pipe(out, buffered) })
	both.Go(func() { pipe(in, out) })
	both.Wait()
}

// pipe copies until one side ends and passes the end on.
func pipe(to net.Conn, from io.Reader) {
	_, _ = io.Copy(to, from) // a broken tunnel is the client's to notice
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}
