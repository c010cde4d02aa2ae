package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// connections is how many clients call at once, each over a connection kept.
const connections = 32

// load is what one round of calls showed.
type load struct {
	perSecond float64
	p50, p99  time.Duration
}

// drive calls as fast as answers come, over several connections, until time is
// up, and demands one status of all. next gives the n-th request, whole.
func drive(b *testing.B, address string, conns int, d time.Duration, want int, next func(n int64) []byte) load {
	b.Helper()
	var n atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	deadline := time.Now().Add(d)
	began := time.Now()
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			own, err := call(address, deadline, want, func() []byte { return next(n.Add(1) - 1) })
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, own...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		b.Fatal(failed)
	}
	elapsed := time.Since(began)
	slices.Sort(took)
	return load{float64(len(took)) / elapsed.Seconds(), took[len(took)/2], took[len(took)*99/100]}
}

// call is one connection. It is written by hand, since net/http's client costs
// more processor time than the server under test.
func call(address string, deadline time.Time, want int, next func() []byte) (took []time.Duration, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	in := bufio.NewReaderSize(c, 32<<10)
	for time.Now().Before(deadline) {
		began := time.Now()
		if _, err := c.Write(next()); err != nil {
			return took, err
		}
		status, body, err := answer(in)
		if err != nil {
			return took, err
		}
		if status != want {
			return took, fmt.Errorf("answered %d, want %d: %.300s", status, want, body)
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

func answer(in *bufio.Reader) (status int, body []byte, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first:
			if len(line) < 12 {
				return 0, nil, fmt.Errorf("status line %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, nil, err
			}
		case len(line) == 0:
			body = make([]byte, length)
			_, err = io.ReadFull(in, body)
			return status, body, err
		case len(line) > 16 && bytes.EqualFold(line[:16], []byte("content-length: ")):
			if length, err = strconv.Atoi(string(line[16:])); err != nil {
				return 0, nil, err
			}
		}
	}
}

// request writes a whole HTTP request.
func request(method, path, token, body string, headers ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n", method, path, token)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

// median of rounds taken in turn.
func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return s[len(s)/2]
}
