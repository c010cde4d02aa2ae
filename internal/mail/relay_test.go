package mail_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/mail/mailtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	envelope = mail.Envelope{From: "b-1@bounce.example.org", To: "user@example.net"}
	body     = []byte("From: a@example.org\r\nTo: user@example.net\r\nSubject: x\r\n\r\n.dot\r\n..\r\nsecret text\r\n")
	large    = append(slices.Clone(body), bytes.Repeat([]byte("a line of text that is not short\r\n"), 700_000)...) // 24 MB
)

// relayTo is a relay with short time-outs; change may be nil.
func relayTo(t testing.TB, sink *mailtest.Sink, change func(*mail.RelayConfig)) *mail.Relay {
	t.Helper()
	cfg := mail.RelayConfig{Address: sink.Addr(), TLS: mail.NoTLS, HELO: "relay-test.example.org", CommandTimeout: 5 * time.Second, DataTimeout: 5 * time.Second}
	if sink.Pool() != nil {
		cfg.TLS, cfg.TLSConfig = mail.StartTLS, &tls.Config{RootCAs: sink.Pool()}
	}
	if change != nil {
		change(&cfg)
	}
	r, err := mail.NewRelay(cfg)
	if err != nil {
		t.Fatalf("NewRelay: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func describe(r mail.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s, reply %q, err %q\n", r.Outcome, r.Stage, r.Reply, r.Err)
	for _, s := range r.Transcript {
		fmt.Fprintf(&b, "  %s\n    -> %s\n", s.Command, s.Reply)
	}
	return b.String()
}

func expect(t testing.TB, got mail.Result, outcome mail.Outcome, stage string) {
	t.Helper()
	if got.Outcome != outcome || got.Stage != stage || (got.Err == "") != (outcome == mail.Delivered) {
		t.Errorf("want %s at %s, got %s", outcome, stage, describe(got))
	}
}

func TestMessageArrivesAsItWasGiven(t *testing.T) {
	for name, c := range map[string]struct {
		options []mailtest.Option
		tls     mail.TLSMode
	}{
		"clear":         {nil, mail.NoTLS},
		"one by one":    {[]mailtest.Option{mailtest.WithExtensions("8BITMIME")}, mail.NoTLS},
		"starttls":      {[]mailtest.Option{mailtest.WithSTARTTLS()}, mail.StartTLS},
		"implicit":      {[]mailtest.Option{mailtest.WithImplicitTLS()}, mail.ImplicitTLS},
		"opportunistic": {[]mailtest.Option{mailtest.WithSTARTTLS(), mailtest.WithCertificateFor("other.example.org")}, mail.OpportunisticTLS},
		"not offered":   {nil, mail.OpportunisticTLS},
		"login":         {[]mailtest.Option{mailtest.WithSTARTTLS(), mailtest.WithAuth("user", "pass", "LOGIN")}, mail.StartTLS},
		"plain":         {[]mailtest.Option{mailtest.WithSTARTTLS(), mailtest.WithAuth("user", "pass")}, mail.StartTLS},
	} {
		t.Run(name, func(t *testing.T) {
			sink := mailtest.Serve(t, c.options...)
			r := relayTo(t, sink, func(cfg *mail.RelayConfig) {
				cfg.TLS = c.tls
				if name == "login" || name == "plain" {
					cfg.Username, cfg.Password = "user", "pass"
				}
			})
			got := r.Send(t.Context(), envelope, body)
			expect(t, got, mail.Delivered, mail.StageEndOfData)
			if want := (mail.Reply{Code: 250, Enhanced: "2.0.0", Text: "taken"}); got.Reply != want {
				t.Errorf("reply %+v, want %+v", got.Reply, want)
			}
			messages := sink.Messages()
			if len(messages) != 1 {
				t.Fatalf("%d messages arrived", len(messages))
			}
			m := messages[0]
			if m.From != envelope.From || m.To != envelope.To || !bytes.Equal(m.Data, body) {
				t.Errorf("arrived as <%s> <%s> %q", m.From, m.To, m.Data)
			}
			if wantTLS := len(c.options) > 0 && name != "one by one"; m.TLS != wantTLS {
				t.Errorf("TLS %v, want %v", m.TLS, wantTLS)
			}
		})
	}
}

// TestEveryFaultHasItsOutcomeAndStage runs each fault against a server with and
// without PIPELINING: how commands travel must not change what is reported.
func TestEveryFaultHasItsOutcomeAndStage(t *testing.T) {
	type row struct {
		fault   mailtest.Fault
		outcome mail.Outcome
		stage   string
		code    int
		taken   int // messages the sink took
	}
	rows := map[string]row{}
	for point, stage := range map[mailtest.Point]string{
		mailtest.Connect: mail.StageConnect, mailtest.Hello: mail.StageConnect, mailtest.STARTTLS: mail.StageTLS,
		mailtest.Auth: mail.StageAuth, mailtest.Mail: mail.StageMail, mailtest.Rcpt: mail.StageRcpt, mailtest.Data: mail.StageData,
	} {
		rows[string(point)+" 4yz"] = row{mailtest.Fault{At: point, Reply: "451 4.3.0 later"}, mail.TempFailed, stage, 451, 0}
		rows[string(point)+" 421 and gone"] = row{mailtest.Fault{At: point, Reply: "421 4.3.2 closing", Drop: true}, mail.TempFailed, stage, 421, 0}
		rows[string(point)+" 5yz"] = row{mailtest.Fault{At: point, Reply: "554 5.7.1 no"}, mail.PermFailed, stage, 554, 0}
		rows[string(point)+" drop"] = row{mailtest.Fault{At: point, Drop: true}, mail.TempFailed, stage, 0, 0}
		rows[string(point)+" hang"] = row{mailtest.Fault{At: point, Hang: true}, mail.TempFailed, stage, 0, 0}
		rows[string(point)+" rubbish"] = row{mailtest.Fault{At: point, Reply: "hello there"}, mail.TempFailed, stage, 0, 0}
		rows[string(point)+" 3yz or 2yz"] = row{mailtest.Fault{At: point, Reply: "399 odd"}, mail.TempFailed, stage, 399, 0}
	}
	rows["data 3yz or 2yz"] = row{mailtest.Fault{At: mailtest.Data, Reply: "250 odd"}, mail.TempFailed, mail.StageData, 250, 0}
	eod := mailtest.EndOfData
	rows["end 4yz"] = row{mailtest.Fault{At: eod, Reply: "451 4.3.0 later"}, mail.TempFailed, mail.StageEndOfData, 451, 0}
	rows["end 5yz"] = row{mailtest.Fault{At: eod, Reply: "550-5.7.1 two\r\n550 5.7.1 lines"}, mail.PermFailed, mail.StageEndOfData, 550, 0}
	rows["end drop"] = row{mailtest.Fault{At: eod, Drop: true}, mail.InDoubt, mail.StageEndOfData, 0, 1}
	rows["end hang"] = row{mailtest.Fault{At: eod, Hang: true}, mail.InDoubt, mail.StageEndOfData, 0, 1}
	rows["end rubbish"] = row{mailtest.Fault{At: eod, Reply: "ok"}, mail.InDoubt, mail.StageEndOfData, 0, 0}
	rows["end 354"] = row{mailtest.Fault{At: eod, Reply: "354 go on"}, mail.InDoubt, mail.StageEndOfData, 354, 0}
	rows["end half a reply"] = row{mailtest.Fault{At: eod, Reply: "250-taken", Drop: true}, mail.InDoubt, mail.StageEndOfData, 0, 0}
	rows["end delay"] = row{mailtest.Fault{At: eod, Delay: 20 * time.Millisecond}, mail.Delivered, mail.StageEndOfData, 250, 1}
	// The final dot is written, into the buffers of the system: nobody can know.
	rows["middle drop"] = row{mailtest.Fault{At: mailtest.MidData, Drop: true}, mail.InDoubt, mail.StageEndOfData, 0, 0}
	rows["middle hang"] = row{mailtest.Fault{At: mailtest.MidData, Hang: true}, mail.InDoubt, mail.StageEndOfData, 0, 0}

	for name, c := range rows {
		for _, pipelining := range []bool{true, false} {
			if c.fault.Hang && !pipelining {
				continue // a time-out is one read like any other; each costs half a second
			}
			t.Run(fmt.Sprintf("%s, pipelining %v", name, pipelining), func(t *testing.T) {
				t.Parallel()
				options := []mailtest.Option{mailtest.WithSTARTTLS(), mailtest.WithAuth("user", "pass")}
				if !pipelining {
					options = append(options, mailtest.WithExtensions("8BITMIME"))
				}
				sink := mailtest.Serve(t, options...)
				sink.Fail(c.fault)
				r := relayTo(t, sink, func(cfg *mail.RelayConfig) {
					cfg.Username, cfg.Password = "user", "pass"
					if c.fault.Hang {
						cfg.CommandTimeout, cfg.DataTimeout = 500*time.Millisecond, 500*time.Millisecond
					}
				})
				got := r.Send(t.Context(), envelope, body)
				expect(t, got, c.outcome, c.stage)
				if got.Reply.Code != c.code {
					t.Errorf("reply code %d, want %d: %s", got.Reply.Code, c.code, describe(got))
				}
				if n := sink.Count(); n != c.taken {
					t.Errorf("the sink took %d messages, want %d", n, c.taken)
				}
				if sink.Connections() != 1 {
					t.Errorf("%d connections, want 1: a fresh one is not replaced", sink.Connections())
				}
				if len(got.Transcript) == 0 || got.Outcome != mail.Delivered && got.Transcript[len(got.Transcript)-1].Reply == "" {
					t.Errorf("the transcript does not end with what happened: %s", describe(got))
				}
				if strings.Contains(describe(got), "secret text") {
					t.Errorf("the message is in the transcript: %s", describe(got))
				}
				// The relay is good for the next message whatever happened.
				sink.Heal()
				expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
			})
		}
	}
}

// The message is larger than what the systems on the way buffer, so its end
// cannot have been written.
func TestMessageCutOffInTheMiddleIsNotInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		fault   mailtest.Fault
		outcome mail.Outcome
		code    int
	}{
		"drop":             {mailtest.Fault{At: mailtest.MidData, Drop: true}, mail.TempFailed, 0},
		"hang":             {mailtest.Fault{At: mailtest.MidData, Hang: true}, mail.TempFailed, 0},
		"refused and gone": {mailtest.Fault{At: mailtest.MidData, Reply: "552 5.3.4 too big", Drop: true}, mail.PermFailed, 552},
	} {
		sink := mailtest.Serve(t)
		sink.Fail(c.fault)
		r := relayTo(t, sink, func(cfg *mail.RelayConfig) {
			if c.fault.Hang {
				cfg.DataTimeout = 200 * time.Millisecond
			}
		})
		got := r.Send(t.Context(), envelope, large)
		expect(t, got, c.outcome, mail.StageData)
		if got.Reply.Code != c.code {
			t.Errorf("%s: reply code %d, want %d", name, got.Reply.Code, c.code)
		}
	}
}

func TestEndOfContextIsTempBeforeTheDotAndInDoubtAfter(t *testing.T) {
	for point, want := range map[mailtest.Point]mail.Outcome{
		mailtest.Connect: mail.TempFailed, mailtest.Mail: mail.TempFailed, mailtest.Data: mail.TempFailed, mailtest.EndOfData: mail.InDoubt,
	} {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			sink := mailtest.Serve(t)
			sink.Fail(mailtest.Fault{At: point, Hang: true})
			why := errors.New("the code has expired")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, why)
			defer cancel()
			got := relayTo(t, sink, nil).Send(ctx, envelope, body)
			if got.Outcome != want || !strings.Contains(got.Err, why.Error()) {
				t.Errorf("want %s with %q, got %s", want, why, describe(got))
			}
		})
	}
	sink := mailtest.Serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	expect(t, relayTo(t, sink, nil).Send(ctx, envelope, body), mail.TempFailed, mail.StageConnect)
}

// One reply after the other may come in time, and all of them together never end.
func TestOpeningOfAConnectionIsBoundedAsAWhole(t *testing.T) {
	sink := mailtest.Serve(t)
	sink.Fail(mailtest.Fault{At: mailtest.Connect, Hang: true})
	r := relayTo(t, sink, func(c *mail.RelayConfig) { c.OpenTimeout, c.CommandTimeout = time.Second, time.Minute })
	began := time.Now()
	got := r.Send(t.Context(), envelope, body)
	expect(t, got, mail.TempFailed, mail.StageConnect)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("after %s: %s", took, describe(got))
	}
	slow := mailtest.Serve(t) // what comes after the opening has its own time
	slow.Fail(mailtest.Fault{At: mailtest.EndOfData, Delay: 2200 * time.Millisecond})
	r = relayTo(t, slow, func(c *mail.RelayConfig) { c.OpenTimeout = 2 * time.Second })
	expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
}

func TestConnectionIsReused(t *testing.T) {
	sink := mailtest.Serve(t, mailtest.WithSTARTTLS())
	r := relayTo(t, sink, nil)
	for range 20 {
		expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
	}
	if n := sink.Connections(); n != 1 {
		t.Errorf("%d connections for 20 messages, want 1", n)
	}

	sink.Reset()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
			}
		})
	}
	wg.Wait()
	if n := sink.Connections(); n > 8 {
		t.Errorf("%d connections for eight senders, want 8 at most", n)
	}
	if n := sink.Count(); n != 40 {
		t.Errorf("%d messages arrived, want 40", n)
	}
}

func TestMaxConnectionsHolds(t *testing.T) {
	sink := mailtest.Serve(t)
	r := relayTo(t, sink, func(cfg *mail.RelayConfig) { cfg.MaxConnections = 2 })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData) })
	}
	wg.Wait()
	if n := sink.Connections(); n > 2 {
		t.Errorf("%d connections, want 2 at most", n)
	}
}

func TestRefusedRecipientDoesNotCostTheConnection(t *testing.T) {
	for _, extensions := range [][]string{{"PIPELINING", "8BITMIME"}, {"8BITMIME"}} {
		sink := mailtest.Serve(t, mailtest.WithExtensions(extensions...))
		r := relayTo(t, sink, nil)
		sink.Fail(mailtest.Fault{At: mailtest.Rcpt, Reply: "550 5.1.1 no such user", Times: 1})
		got := r.Send(t.Context(), envelope, body)
		expect(t, got, mail.PermFailed, mail.StageRcpt)
		if got.Reply != (mail.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"}) {
			t.Errorf("reply %+v", got.Reply)
		}
		expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
		if n := sink.Connections(); n != 1 {
			t.Errorf("%v: %d connections, want 1", extensions, n)
		}
		if !slices.Contains(sink.Commands(), "RSET") {
			t.Errorf("%v: no RSET after a refused recipient: %q", extensions, sink.Commands())
		}
		if sink.Count() != 1 {
			t.Errorf("%v: %d messages arrived, want 1", extensions, sink.Count())
		}
	}
}

func TestDeadIdleConnectionIsReplacedOnce(t *testing.T) {
	for name, kill := range map[string]func(*mailtest.Sink){
		"closed": (*mailtest.Sink).CloseConnections,
		"421": func(s *mailtest.Sink) {
			s.Fail(mailtest.Fault{At: mailtest.Mail, Reply: "421 4.4.2 idle", Drop: true, Times: 1})
		},
		"drop": func(s *mailtest.Sink) { s.Fail(mailtest.Fault{At: mailtest.Mail, Drop: true, Times: 1}) },
	} {
		sink := mailtest.Serve(t)
		r := relayTo(t, sink, nil)
		expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
		kill(sink)
		expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
		if n := sink.Connections(); n != 2 {
			t.Errorf("%s: %d connections, want 2", name, n)
		}
		if n := sink.Count(); n != 2 {
			t.Errorf("%s: %d messages, want 2", name, n)
		}
	}

	// The new connection meets the same: that is an answer, not a reason to go on.
	sink := mailtest.Serve(t)
	r := relayTo(t, sink, nil)
	expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
	sink.Fail(mailtest.Fault{At: mailtest.Mail, Reply: "421 4.3.2 overloaded", Drop: true})
	expect(t, r.Send(t.Context(), envelope, body), mail.TempFailed, mail.StageMail)
	if n := sink.Connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestKeptConnectionThatDiesAfterMailIsNotRetried(t *testing.T) {
	for point, outcome := range map[mailtest.Point]mail.Outcome{
		mailtest.Rcpt: mail.TempFailed, mailtest.Data: mail.TempFailed, mailtest.EndOfData: mail.InDoubt,
	} {
		sink := mailtest.Serve(t)
		r := relayTo(t, sink, nil)
		expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
		sink.Fail(mailtest.Fault{At: point, Drop: true, Times: 1})
		if got := r.Send(t.Context(), envelope, body); got.Outcome != outcome {
			t.Errorf("dropped at %s: want %s, got %s", point, outcome, describe(got))
		}
		if n := sink.Connections(); n != 1 {
			t.Errorf("dropped at %s: %d connections, want 1", point, n)
		}
	}
}

func TestIdleConnectionIsClosedInTime(t *testing.T) {
	sink := mailtest.Serve(t)
	closed := make(chan struct{})
	r := relayTo(t, sink, func(cfg *mail.RelayConfig) {
		cfg.IdleTimeout = 10 * time.Millisecond
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &closing{Conn: c, closed: closed}, err
		}
	})
	expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("the connection is still open")
	}
}

// closing tells when a connection is closed.
type closing struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func TestCertificateIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		host   string
		config func(*mailtest.Sink) *tls.Config
		want   string
	}{
		"another name": {"other.example.org", func(s *mailtest.Sink) *tls.Config { return &tls.Config{RootCAs: s.Pool()} }, "127.0.0.1"},
		"another name set": {"localhost", func(s *mailtest.Sink) *tls.Config {
			return &tls.Config{RootCAs: s.Pool(), ServerName: "mx.example.org"}
		}, "mx.example.org"},
		"unknown authority": {"localhost", func(*mailtest.Sink) *tls.Config { return nil }, "unknown authority"},
	} {
		for mode, option := range map[mail.TLSMode]mailtest.Option{mail.StartTLS: mailtest.WithSTARTTLS(), mail.ImplicitTLS: mailtest.WithImplicitTLS()} {
			sink := mailtest.Serve(t, option, mailtest.WithCertificateFor(c.host), mailtest.WithAuth("user", "pass"))
			r := relayTo(t, sink, func(cfg *mail.RelayConfig) {
				cfg.TLS, cfg.TLSConfig = mode, c.config(sink)
				cfg.Username, cfg.Password = "user", "pass"
			})
			got := r.Send(t.Context(), envelope, body)
			expect(t, got, mail.TempFailed, mail.StageTLS)
			if !strings.Contains(got.Err, c.want) {
				t.Errorf("%s, %s: error %q does not say %q", name, mode, got.Err, c.want)
			}
			if slices.ContainsFunc(sink.Commands(), func(l string) bool { return strings.HasPrefix(l, "AUTH") }) {
				t.Errorf("%s, %s: the password was sent", name, mode)
			}
		}
	}
}

func TestStartTLSIsDemanded(t *testing.T) {
	sink := mailtest.Serve(t)
	r := relayTo(t, sink, func(cfg *mail.RelayConfig) { cfg.TLS = "" })
	expect(t, r.Send(t.Context(), envelope, body), mail.TempFailed, mail.StageTLS)

	// Text smuggled in clear behind the reply to STARTTLS (as in CVE-2021-38371).
	sink = mailtest.Serve(t, mailtest.WithSTARTTLS())
	sink.Fail(mailtest.Fault{At: mailtest.STARTTLS, Reply: "220 go\r\n250 injected"})
	expect(t, relayTo(t, sink, nil).Send(t.Context(), envelope, body), mail.TempFailed, mail.StageTLS)
	if sink.Count() != 0 {
		t.Error("a message was sent without TLS")
	}
}

func TestPasswordIsNeitherShownNorSentInClear(t *testing.T) {
	const user, password = "the-user", "hunter2 secret"
	forms := []string{password, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))}
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		for _, fault := range []string{"", "235 2.7.0 welcome " + forms[0], "535 5.7.8 no: " + forms[1], "535 5.7.8 no: " + forms[2], forms[1]} {
			sink := mailtest.Serve(t, mailtest.WithSTARTTLS(), mailtest.WithAuth(user, password, mechanism))
			if fault != "" {
				sink.Fail(mailtest.Fault{At: mailtest.Auth, Reply: fault})
			}
			r := relayTo(t, sink, func(cfg *mail.RelayConfig) { cfg.Username, cfg.Password = user, password })
			got := r.Send(t.Context(), envelope, body)
			if !slices.ContainsFunc(got.Transcript, func(s mail.Step) bool { return s.Command == "AUTH "+mechanism }) {
				t.Errorf("%s, %q: AUTH is not in the transcript: %s", mechanism, fault, describe(got))
			}
			for _, form := range forms {
				if strings.Contains(describe(got), form) {
					t.Errorf("%s, %q: the password is in the result: %s", mechanism, fault, describe(got))
				}
			}
			if fault == "" {
				expect(t, got, mail.Delivered, mail.StageEndOfData)
			}
		}
	}

	// Wrong credentials are a 5yz at the stage auth.
	sink := mailtest.Serve(t, mailtest.WithSTARTTLS(), mailtest.WithAuth(user, password))
	r := relayTo(t, sink, func(cfg *mail.RelayConfig) { cfg.Username, cfg.Password = user, "wrong" })
	expect(t, r.Send(t.Context(), envelope, body), mail.PermFailed, mail.StageAuth)

	// Clear text to a loopback address is allowed, to a connection that only
	// says so is not.
	sink = mailtest.Serve(t, mailtest.WithAuth(user, password))
	expect(t, relayTo(t, sink, func(cfg *mail.RelayConfig) { cfg.Username, cfg.Password = user, password }).Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
	sink = mailtest.Serve(t, mailtest.WithAuth(user, password))
	r = relayTo(t, sink, func(cfg *mail.RelayConfig) {
		cfg.Username, cfg.Password = user, password
		cfg.Address = "localhost:25"
		cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, sink.Addr())
			return &elsewhere{c}, err
		}
	})
	expect(t, r.Send(t.Context(), envelope, body), mail.TempFailed, mail.StageAuth)
	for _, command := range sink.Commands() {
		if strings.HasPrefix(command, "AUTH") {
			t.Errorf("sent %q in clear", command)
		}
	}
}

// elsewhere is a connection to another machine, by its own account.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

func TestWhatCannotBeSentIsRefusedBeforeConnecting(t *testing.T) {
	sink := mailtest.Serve(t, mailtest.WithExtensions("SIZE 200"))
	r := relayTo(t, sink, nil)
	for name, c := range map[string]struct {
		env     mail.Envelope
		message string
		stage   string
	}{
		"bare LF":           {envelope, "From: a@b\r\n\r\nx\n.\nMAIL FROM:<x@example.com>\r\n", mail.StageData},
		"bare CR":           {envelope, "From: a@b\r\n\r\nx\r.\r\n", mail.StageData},
		"no message":        {envelope, "", mail.StageData},
		"command in To":     {mail.Envelope{From: envelope.From, To: "a@example.net>\r\nRSET"}, string(body), mail.StageRcpt},
		"parameter in To":   {mail.Envelope{From: envelope.From, To: "a@example.net> NOTIFY=NEVER"}, string(body), mail.StageRcpt},
		"command in From":   {mail.Envelope{From: "a@example.org\r\nRSET", To: envelope.To}, string(body), mail.StageMail},
		"no recipient":      {mail.Envelope{From: envelope.From}, string(body), mail.StageRcpt},
		"long line":         {envelope, strings.Repeat("x", 999) + "\r\n", mail.StageData},
		"not ASCII in To":   {mail.Envelope{From: envelope.From, To: "ü@example.net"}, string(body), mail.StageRcpt},
		"several in one To": {mail.Envelope{From: envelope.From, To: "a@example.net,b@example.net"}, string(body), mail.StageRcpt},
	} {
		got := r.Send(t.Context(), c.env, []byte(c.message))
		if got.Outcome != mail.PermFailed || got.Stage != c.stage {
			t.Errorf("%s: %s", name, describe(got))
		}
	}
	if n := sink.Connections(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
	// What only the server can say is asked before anything is sent.
	expect(t, r.Send(t.Context(), envelope, bytes.Repeat([]byte("x\r\n"), 100)), mail.PermFailed, mail.StageMail)
	expect(t, r.Send(t.Context(), envelope, []byte("ü\r\n")), mail.PermFailed, mail.StageMail)
	if sink.Count() != 0 || slices.ContainsFunc(sink.Commands(), func(l string) bool { return strings.HasPrefix(l, "MAIL") }) {
		t.Errorf("sent anyway: %q", sink.Commands())
	}
	// The empty reverse-path is one.
	expect(t, r.Send(t.Context(), mail.Envelope{To: envelope.To}, body), mail.Delivered, mail.StageEndOfData)
}

func TestHostileServerIsBounded(t *testing.T) {
	for name, reply := range map[string]string{
		"endless line":  "220 " + strings.Repeat("x", 100_000),
		"endless reply": strings.Repeat("220-more\r\n", 10_000),
		"two codes":     "220-a\r\n250 b",
		"control text":  "554 5.7.1 \x1b[31mred\x00\u202e",
	} {
		sink := mailtest.Serve(t)
		sink.Fail(mailtest.Fault{At: mailtest.Connect, Reply: reply})
		got := relayTo(t, sink, nil).Send(t.Context(), envelope, body)
		if got.Stage != mail.StageConnect || got.Outcome == mail.Delivered {
			t.Errorf("%s: %s", name, describe(got))
		}
		if text := describe(got); len(text) > 3000 || strings.ContainsAny(text, "\x1b\x00\u202e") {
			t.Errorf("%s: the result has %d bytes or control characters: %q", name, len(text), cutText(text))
		}
	}
}

func cutText(s string) string { return s[:min(len(s), 300)] }

func TestOldServerIsGreetedWithHELO(t *testing.T) {
	sink := mailtest.Serve(t)
	sink.Fail(mailtest.Fault{At: mailtest.Hello, Reply: "502 5.5.1 what", Times: 1})
	expect(t, relayTo(t, sink, nil).Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
	if c := sink.Commands(); len(c) < 2 || c[0] != "EHLO relay-test.example.org" || c[1] != "HELO relay-test.example.org" {
		t.Errorf("commands %q", c)
	}
}

func TestClosedRelayRefuses(t *testing.T) {
	sink := mailtest.Serve(t)
	r := relayTo(t, sink, nil)
	expect(t, r.Send(t.Context(), envelope, body), mail.Delivered, mail.StageEndOfData)
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	expect(t, r.Send(t.Context(), envelope, body), mail.TempFailed, mail.StageConnect)
}

func TestRelayConfigNamesTheFieldAtFault(t *testing.T) {
	for field, change := range map[string]func(*mail.RelayConfig){
		"Address":        func(c *mail.RelayConfig) { c.Address = "mx.example.org" },
		"TLS":            func(c *mail.RelayConfig) { c.TLS = "maybe" },
		"HELO":           func(c *mail.RelayConfig) { c.HELO = "a\r\nMAIL" },
		"Username":       func(c *mail.RelayConfig) { c.Username = "user" },
		"MaxConnections": func(c *mail.RelayConfig) { c.MaxConnections = -1 },
		"DataTimeout":    func(c *mail.RelayConfig) { c.DataTimeout = -1 },
	} {
		cfg := mail.RelayConfig{Address: "mx.example.org:25"}
		change(&cfg)
		_, err := mail.NewRelay(cfg)
		if fe, ok := errors.AsType[*mail.FieldError](err); !ok || fe.Field != field {
			t.Errorf("%s: error %v", field, err)
		}
	}
	_, err := mail.NewRelay(mail.RelayConfig{Address: "mx.example.org:25", TLS: mail.NoTLS, Username: "u", Password: "hunter2"})
	if fe, ok := errors.AsType[*mail.FieldError](err); !ok || fe.Field != "TLS" || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("password over clear text: %v", err)
	}
}
