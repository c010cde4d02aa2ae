package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// plain is a dialect that writes the kind of an error.
func plain(log *bytes.Buffer) *api.Dialect {
	return &api.Dialect{
		Name: "plain", Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		WriteError: func(w http.ResponseWriter, r *http.Request, err error) {
			kind := string(sender.KindOf(err))
			if kind == "" {
				kind = "internal"
				w.WriteHeader(500)
			} else {
				w.WriteHeader(400)
			}
			_, _ = w.Write([]byte(kind + " " + api.RequestID(r.Context())))
		},
	}
}

func operation(d *api.Dialect, do func(context.Context) error, encode func(http.ResponseWriter) error) http.Handler {
	return api.Handle(d,
		func(*http.Request) (struct{}, error) { return struct{}{}, nil },
		func(ctx context.Context, _ sender.Principal, in struct{}) (struct{}, error) { return in, do(ctx) },
		func(w http.ResponseWriter, _ *http.Request, _ struct{}) error { return encode(w) })
}

func fine(context.Context) error { return nil }

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestFailingEncoderSendsNoHalfBody(t *testing.T) {
	var log bytes.Buffer
	w := get(operation(plain(&log), fine, func(w http.ResponseWriter) error {
		w.Header().Set("X-Half", "yes")
		w.WriteHeader(200)
		_, _ = w.Write([]byte("half"))
		return errors.New("out of paper")
	}), "/")
	if w.Code != 500 || strings.Contains(w.Body.String(), "half") || w.Header().Get("X-Half") != "" {
		t.Errorf("sent %d %v %q", w.Code, w.Header(), w.Body)
	}
	if !strings.Contains(log.String(), "out of paper") || !strings.Contains(log.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the error is not in the log: %s", log.String())
	}
}

func TestPanicIsAnInternalErrorWithItsStackInTheLog(t *testing.T) {
	var log bytes.Buffer
	w := get(operation(plain(&log), func(context.Context) error { panic("ouch") }, nil), "/")
	if w.Code != 500 || !strings.HasPrefix(w.Body.String(), "internal") || !strings.Contains(log.String(), "ouch") || !strings.Contains(log.String(), "api_test.go") {
		t.Errorf("sent %d %q, logged %s", w.Code, w.Body, log.String())
	}
}

func TestEveryRequestHasADeadlineAndItsOwnID(t *testing.T) {
	var log bytes.Buffer
	ids := make(map[string]bool)
	h := operation(plain(&log), func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("there is no deadline")
		}
		ids[api.RequestID(ctx)] = true
		return nil
	}, func(w http.ResponseWriter) error { return api.WriteJSON(w, 200, "x") })
	for range 3 {
		if w := get(h, "/"); !ids[w.Header().Get("X-Request-Id")] || w.Body.String() != `"x"` {
			t.Errorf("sent %v %q", w.Header(), w.Body)
		}
	}
	if len(ids) != 3 {
		t.Errorf("three requests had %d ids", len(ids))
	}
}

func TestFinishSeesTheWholeAnswerAndItsErrorHidesIt(t *testing.T) {
	var log bytes.Buffer
	d := plain(&log)
	d.Finish = func(a *api.Answer, _ *http.Request) error {
		if a.Status() == 201 {
			return errors.New("can't sign")
		}
		a.Header().Set("X-Signature", a.Body.String())
		return nil
	}
	write := func(status int) func(http.ResponseWriter) error {
		return func(w http.ResponseWriter) error { return api.WriteJSON(w, status, 1) }
	}
	if w := get(operation(d, fine, write(200)), "/"); w.Header().Get("X-Signature") != "1" {
		t.Errorf("unsigned: %v", w.Header())
	}
	if w := get(operation(d, fine, write(201)), "/"); w.Code != 500 || !strings.HasPrefix(w.Body.String(), "internal") {
		t.Errorf("sent %d %q", w.Code, w.Body)
	}
	notFound := func(context.Context) error { return sender.Errorf(sender.NotFound, "", "") }
	if w := get(operation(d, notFound, nil), "/"); !strings.HasPrefix(w.Header().Get("X-Signature"), "not-found") {
		t.Errorf("an error is not signed: %v", w.Header())
	}
}

func TestMuxAnswersWhatItDoesNotRouteInTheDialectsWords(t *testing.T) {
	var log bytes.Buffer
	d := plain(&log)
	m := api.NewMux(d)
	m.Handle("GET /a/{b}", operation(d, fine, func(w http.ResponseWriter) error { return api.WriteJSON(w, 200, 1) }))
	for path, want := range map[string]string{"/a/b": "1", "/a/b/": "no-route", "/a//b": "no-route", "/a/../a/b": "no-route", "/": "no-route", "/a": "no-route"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%s: %d %q, want %s", path, w.Code, w.Body, want)
		}
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/a/b", nil))
	if !strings.HasPrefix(w.Body.String(), "wrong-method") || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("PUT: %q, Allow %q", w.Body, w.Header().Get("Allow"))
	}
	if !strings.Contains(log.String(), `route="GET /a/{b}"`) {
		t.Errorf("the route is not in the log: %s", log.String())
	}
}

func TestMountsAreAskedInTheirOrder(t *testing.T) {
	answer := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) })
	}
	h := api.Mounts(answer("none"),
		api.Mount{Owns: func(p string) bool { return strings.HasPrefix(p, "/v1/environments") }, Handler: answer("first")},
		api.Mount{Owns: func(p string) bool { return strings.HasPrefix(p, "/v1/") }, Handler: answer("second")})
	for path, want := range map[string]string{
		"/v1/environments/x": "first", "/v1/tenants": "second", "/x": "none",
		"//v1/environments/x": "first", "/v1//environments/x": "first", "/v1/x/../environments": "first", "/v1//tenants/": "second", "//x": "none",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Body.String(); got != want {
			t.Errorf("%s went to %s, want %s", path, got, want)
		}
	}
}

func TestCursorsReadBack(t *testing.T) {
	ids := []sender.ID{sender.NewID(), sender.NewID(), sender.NewID()}
	same := func(id sender.ID) sender.ID { return id }
	page, next := api.Cut(api.Page{Limit: 2}, ids, same)
	if len(page) != 2 || next == "" {
		t.Fatalf("a page of %d, next %q", len(page), next)
	}
	p, err := api.ReadPage(url.Values{"cursor": {next}, "limit": {"2"}})
	if err != nil || p.After != ids[1] || p.Limit != 2 || p.Ask().Limit != 3 {
		t.Errorf("read back as %+v, %v", p, err)
	}
	if page, next = api.Cut(p, ids[2:], same); len(page) != 1 || next != "" {
		t.Errorf("the last page has %d and next %q", len(page), next)
	}
}

func TestOriginTakesTheRequestsHost(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://api.example.org:8443/a%2Fb?x=1", nil)
	r.Header.Set("X-Forwarded-Proto", "https")
	for _, c := range []struct {
		o    api.Origin
		want string
	}{
		{api.Origin{}, "http://api.example.org:8443"},
		{api.Origin{TrustForwardedProto: true}, "https://api.example.org:8443"},
	} {
		if got := c.o.Base(r); got != c.want {
			t.Errorf("%+v: %s, want %s", c.o, got, c.want)
		}
		if got := c.o.URL(r, url.Values{"cursor": {"a b"}}); got != c.want+"/a%2Fb?cursor=a+b" {
			t.Errorf("%+v: %s", c.o, got)
		}
	}
}

func TestHostsThatWouldBendLinksAreRefused(t *testing.T) {
	var log bytes.Buffer
	h := operation(plain(&log), fine, func(w http.ResponseWriter) error { return api.WriteJSON(w, 200, 1) })
	for host, ok := range map[string]bool{
		"api.example.org": true, "api.example.org:443": true, "127.0.0.1:80": true, "[::1]:80": true, "localhost": true,
		"": false, "a/b": false, "a@b": false, "a b": false, "a?b": false, "a#b": false, "a:b": false, "a\r\nb": false, `a"b`: false, "a:1:2": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if (w.Code == 200) != ok {
			t.Errorf("the host %q: %d", host, w.Code)
		}
	}
}

// oneConn is a listener for one connection.
type oneConn struct {
	net.Conn
	taken chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.Conn == nil {
		<-l.taken
		return nil, net.ErrClosed
	}
	c := l.Conn
	l.Conn = nil
	return c, nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func (l *oneConn) Close() error {
	close(l.taken)
	return nil
}

// talk serves one connection to h on fake time until it is closed.
func talk(t *testing.T, h http.Handler, client func(conn net.Conn)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		ours, theirs := net.Pipe()
		s := &http.Server{Handler: h, ReadTimeout: time.Minute}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(&oneConn{theirs, make(chan struct{})}) }()
		client(ours)
		_ = ours.Close()
		_ = s.Close()
		<-ended
	})
}

func TestSlowBodyIsRefusedWithAnAnswer(t *testing.T) {
	var log bytes.Buffer
	d := plain(&log)
	h := d.Wrap(func(_ http.ResponseWriter, r *http.Request) error {
		_, err := api.ReadBody(r)
		return err
	})
	talk(t, h, func(conn net.Conn) {
		begin := time.Now()
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
		drip := time.AfterFunc(api.BodyTimeout/2, func() { _, _ = io.WriteString(conn, " ") })
		defer drip.Stop()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("no answer after %s: %v", time.Since(begin), err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if took := time.Since(begin); took != api.BodyTimeout || resp.StatusCode != 400 || !strings.HasPrefix(string(body), "malformed") {
			t.Errorf("after %s: %d %s", took, resp.StatusCode, body)
		}
	})
}

// A client may close its half of the connection and still listen.
func TestHalfClosedClientsGetNoEmpty200(t *testing.T) {
	var log bytes.Buffer
	waiting := make(chan struct{}, 1)
	h := plain(&log).Wrap(func(w http.ResponseWriter, r *http.Request) error {
		if _, err := api.ReadBody(r); err != nil {
			return err
		}
		waiting <- struct{}{}
		<-r.Context().Done()
		return r.Context().Err()
	})
	s := httptest.NewServer(h)
	defer s.Close()
	for body, want := range map[string]string{"{": "malformed", "{}": "internal"} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"+body)
		if want == "internal" {
			<-waiting
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = conn.Close()
		if resp.StatusCode < 400 || !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: %d %q", body, resp.StatusCode, b)
		}
	}
}

// The deadline of a body must not be that of what is done with it.
func TestSlowWorkOnABodyIsAnswered(t *testing.T) {
	var log bytes.Buffer
	h := plain(&log).Wrap(func(w http.ResponseWriter, r *http.Request) error {
		if _, err := api.ReadBody(r); err != nil {
			return err
		}
		select {
		case <-time.After((api.BodyTimeout + api.Timeout) / 2):
		case <-r.Context().Done():
			return r.Context().Err()
		}
		return api.WriteJSON(w, 200, 1)
	})
	talk(t, h, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

func TestOnlyAnObjectIsABody(t *testing.T) {
	for _, b := range []string{"null", " null ", "1", `"x"`, "[]", "true"} {
		var v struct{ A string }
		if err := api.DecodeJSON([]byte(b), &v); sender.KindOf(err) != api.Malformed {
			t.Errorf("%s: %v", b, err)
		}
	}
	var e *sender.Error
	if err := api.DecodeJSON([]byte(`{"a":{"b":1,"b":2}}`), new(map[string]any)); !errors.As(err, &e) || e.Field != "a.b" {
		t.Errorf("a member twice: %v", err)
	}
}

// What is read is what was written; everything else is an error with a kind and
// a message of bounded length.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{"a":"x","b":{"c":[1]}}`, `{"a":1}`, `{"a":"x","a":"y"}`, `{"b":{"c":["x"]}}`, "\xff", "", "nul", `{"a":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v struct {
			A string `json:"a"`
			B struct {
				C []int `json:"c"`
			} `json:"b"`
		}
		err := api.DecodeJSON(b, &v)
		if err == nil {
			return
		}
		e, ok := errors.AsType[*sender.Error](err)
		if !ok || (e.Kind != api.Malformed && e.Kind != sender.Invalid) || e.Detail == "" || len(e.Detail) > 1000 {
			t.Errorf("%q became %v", b, err)
		}
	})
}
