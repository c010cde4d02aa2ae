package smtpd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/authres"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/mail/mailtest"
	"github.com/postseal/postseal/internal/smtpd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone answers TXT look-ups, and fails those that are listed as "SERVFAIL".
type zone map[string]string

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	switch txt, ok := z[name]; {
	case txt == "SERVFAIL":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	case ok:
		return []string{txt}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z zone) LookupIPAddr(_ context.Context, name string) ([]net.IPAddr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
}

// serve starts an inbox and returns the address it listens on.
func serve(t *testing.T, cfg smtpd.InboxConfig) (*smtpd.Inbox, string) {
	t.Helper()
	cfg.Hostname = "inbox.example.net"
	if cfg.Resolver == nil {
		cfg.Resolver = zone{}
	}
	inbox, err := smtpd.NewInbox(cfg)
	if err != nil {
		t.Fatalf("NewInbox: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := inbox.Serve(l); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := inbox.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
	})
	return inbox, l.Addr().String()
}

func send(t *testing.T, addr, from, to string, m []byte) mail.Result {
	t.Helper()
	r, err := mail.NewRelay(mail.RelayConfig{Address: addr, TLS: mail.NoTLS, HELO: "client.example.org", CommandTimeout: 10 * time.Second, DataTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Send(t.Context(), mail.Envelope{From: from, To: to}, m)
}

func mustSend(t *testing.T, addr, from, to string, m []byte) {
	t.Helper()
	if got := send(t, addr, from, to, m); got.Outcome != mail.Delivered {
		t.Fatalf("send: %+v", got)
	}
}

func compose(t *testing.T, from string) []byte {
	t.Helper()
	m, err := mail.Compose(mail.Draft{
		From: mail.Mailbox{Name: "Shop", Address: from}, To: []mail.Mailbox{{Address: "user@example.net"}},
		Subject: "Your code", Date: time.Now(), MessageID: "1@example.org", Text: "Your code is 493817.",
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestVerdictIsThatOfAReceiver(t *testing.T) {
	key, err := mail.GenerateEd25519Key()
	if err != nil {
		t.Fatal(err)
	}
	txt, err := mail.PublicKeyTXT(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	records := zone{
		"example.org":                    "v=spf1 ip4:192.0.2.7 -all",
		"bounce.service.example":         "v=spf1 ip4:192.0.2.0/24 -all",
		"news.example.org":               "v=spf1 ip4:192.0.2.7 -all",
		"s1._domainkey.example.org":      txt,
		"s1._domainkey.other.example":    txt,
		"s1._domainkey.news.example.org": txt,
		"_dmarc.example.org":             "v=DMARC1; p=reject; sp=quarantine; adkim=s",
		"_dmarc.other.example":           "v=DMARC1; p=none",
		"servfail.example":               "SERVFAIL",
		"_dmarc.servfail.example":        "SERVFAIL",
		"s1._domainkey.servfail.example": "SERVFAIL",
	}
	signedBy := func(domain string, m []byte) []byte {
		s, err := mail.Sign(m, mail.Signature{Domain: domain, Selector: "s1", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	m := compose(t, "noreply@example.org")
	for name, c := range map[string]struct {
		from    string
		message []byte
		want    smtpd.Verdict
	}{
		"all well": {"noreply@example.org", signedBy("example.org", m), smtpd.Verdict{
			SPF: "pass", SPFDomain: "example.org", DKIM: "pass", DKIMDomain: "example.org",
			DMARC: "pass", FromDomain: "example.org", SPFAligned: true, DKIMAligned: true, Policy: "reject"}},
		"bounce domain of the service": {"b-1@bounce.service.example", signedBy("example.org", m), smtpd.Verdict{
			SPF: "pass", SPFDomain: "bounce.service.example", DKIM: "pass", DKIMDomain: "example.org",
			DMARC: "pass", FromDomain: "example.org", DKIMAligned: true, Policy: "reject"}},
		"not signed, aligned return path": {"x@news.example.org", m, smtpd.Verdict{
			SPF: "pass", SPFDomain: "news.example.org", DKIM: "none",
			DMARC: "pass", FromDomain: "example.org", SPFAligned: true, Policy: "reject"}},
		"not signed, foreign return path": {"x@bounce.service.example", m, smtpd.Verdict{
			SPF: "pass", SPFDomain: "bounce.service.example", DKIM: "none",
			DMARC: "fail", FromDomain: "example.org", Policy: "reject"}},
		"signed by another": {"x@bounce.service.example", signedBy("other.example", m), smtpd.Verdict{
			SPF: "pass", SPFDomain: "bounce.service.example", DKIM: "pass", DKIMDomain: "other.example",
			DMARC: "fail", FromDomain: "example.org", Policy: "reject"}},
		"signed by another and by us": {"x@bounce.service.example", signedBy("other.example", signedBy("example.org", m)), smtpd.Verdict{
			SPF: "pass", SPFDomain: "bounce.service.example", DKIM: "pass", DKIMDomain: "example.org",
			DMARC: "pass", FromDomain: "example.org", DKIMAligned: true, Policy: "reject"}},
		"strict alignment": {"x@bounce.service.example", signedBy("news.example.org", m), smtpd.Verdict{
			SPF: "pass", SPFDomain: "bounce.service.example", DKIM: "pass", DKIMDomain: "news.example.org",
			DMARC: "fail", FromDomain: "example.org", Policy: "reject"}},
		"changed on the way": {"x@bounce.service.example", bytes.Replace(signedBy("example.org", m), []byte("493817"), []byte("493818"), 1), smtpd.Verdict{
			SPF: "pass", SPFDomain: "bounce.service.example", DKIM: "fail", DKIMDomain: "example.org",
			DMARC: "fail", FromDomain: "example.org", Policy: "reject"}},
		"policy of the organization": {"", compose(t, "a@sub.example.org"), smtpd.Verdict{
			SPF: "none", SPFDomain: "client.example.org", DKIM: "none",
			DMARC: "fail", FromDomain: "sub.example.org", Policy: "quarantine"}},
		"no policy": {"x@nobody.example", compose(t, "a@nobody.example"), smtpd.Verdict{
			SPF: "none", SPFDomain: "nobody.example", DKIM: "none", DMARC: "none", FromDomain: "nobody.example"}},
		"two From": {"noreply@example.org", append([]byte("From: ceo@bank.example\r\n"), signedBy("example.org", m)...), smtpd.Verdict{
			SPF: "pass", SPFDomain: "example.org", DKIM: "fail", DKIMDomain: "example.org", DMARC: "permerror"}},
		"DNS is sick": {"x@servfail.example", signedBy("servfail.example", compose(t, "a@servfail.example")), smtpd.Verdict{
			SPF: "temperror", SPFDomain: "servfail.example", DKIM: "temperror", DKIMDomain: "servfail.example",
			DMARC: "temperror", FromDomain: "servfail.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			inbox, addr := serve(t, smtpd.InboxConfig{Resolver: records, ClientIP: netip.MustParseAddr("192.0.2.7")})
			mustSend(t, addr, c.from, "user@example.net", c.message)
			all := inbox.All("USER@example.net")
			if len(all) != 1 {
				t.Fatalf("%d messages", len(all))
			}
			got := all[0].Verdict
			got.SPFError, got.DKIMError = "", ""
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}

			// What is kept is the message below a header that says the same.
			raw, ok := inbox.Newest("user@example.net")
			if !ok || !bytes.HasSuffix(raw, c.message) {
				t.Fatalf("kept %q", raw)
			}
			if err := mail.CheckLines(raw); err != nil {
				t.Error(err)
			}
			h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
			if err != nil {
				t.Fatal(err)
			}
			id, results, err := authres.Parse(h.Get("Authentication-Results"))
			if err != nil || id != "inbox.example.net" {
				t.Fatalf("Authentication-Results %q: id %q, %v", h.Get("Authentication-Results"), id, err)
			}
			words := map[string]bool{}
			for _, r := range results {
				switch r := r.(type) {
				case *authres.SPFResult:
					words["spf "+string(r.Value)] = true
				case *authres.DKIMResult:
					words["dkim "+string(r.Value)] = true
				case *authres.DMARCResult:
					words["dmarc "+string(r.Value)] = true
				}
			}
			for _, w := range []string{"spf " + got.SPF, "dkim " + got.DKIM, "dmarc " + got.DMARC} {
				if !words[w] {
					t.Errorf("Authentication-Results without %s: %q", w, h.Get("Authentication-Results"))
				}
			}
		})
	}
}

func TestClientAddressIsThatOfTheConnectionUnlessSet(t *testing.T) {
	records := zone{"example.org": "v=spf1 ip4:127.0.0.1 -all"}
	for ip, want := range map[netip.Addr]string{{}: "pass", netip.MustParseAddr("198.51.100.1"): "fail"} {
		inbox, addr := serve(t, smtpd.InboxConfig{Resolver: records, ClientIP: ip})
		mustSend(t, addr, "a@example.org", "user@example.net", compose(t, "a@example.org"))
		if got := inbox.All("")[0].Verdict; got.SPF != want {
			t.Errorf("client %v: SPF %s (%s), want %s", ip, got.SPF, got.SPFError, want)
		}
	}
}

func TestForgedResultsAreRemoved(t *testing.T) {
	inbox, addr := serve(t, smtpd.InboxConfig{})
	m := "Authentication-Results: INBOX.example.net;\r\n\tspf=pass\r\n" +
		"Authentication-Results:\r\n inbox.example.net; dkim=pass\r\n" +
		"Authentication-Results: elsewhere.example; dmarc=pass\r\n" +
		"Subject: x\r\n\r\nAuthentication-Results: inbox.example.net; body\r\n"
	mustSend(t, addr, "", "user@example.net", []byte(m))
	raw, _ := inbox.Newest("")
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	if n := strings.Count(strings.ToLower(head), "inbox.example.net"); n != 1 || strings.Contains(head, "spf=pass") || strings.Contains(head, "dkim=pass") {
		t.Errorf("header:\n%s", head)
	}
	if !strings.Contains(head, "elsewhere.example; dmarc=pass") || !strings.Contains(body, "inbox.example.net; body") {
		t.Errorf("removed too much:\n%s", raw)
	}
}

func TestHostileNamesDoNotReachTheHeader(t *testing.T) {
	inbox, addr := serve(t, smtpd.InboxConfig{})
	m := "DKIM-Signature: v=1; a=rsa-sha256; d=" + strings.Repeat("a\t\"\\", 200) + ";\r\n s=x; h=from; bh=x; b=x\r\nFrom: a@\"b\r\n\r\nx\r\n"
	mustSend(t, addr, "a@example.org", "user@example.net", []byte(m))
	raw, _ := inbox.Newest("")
	if err := mail.CheckLines(raw); err != nil {
		t.Error(err)
	}
	head, _, _ := strings.Cut(string(raw), "DKIM-Signature:")
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\r\n"), "\r\n") {
		if !strings.HasPrefix(line, "Authentication-Results: ") && !strings.HasPrefix(line, "\t") {
			t.Errorf("a line of its own: %q", line)
		}
	}
}

// dialog sends lines as they are and returns the last reply code of each.
func dialog(t *testing.T, addr string, parts ...string) []int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute)) // 25 MiB byte by byte take their time under -race
	tp := textproto.NewConn(conn)
	if _, _, err := tp.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	var codes []int
	for _, p := range parts {
		if _, err := io.WriteString(conn, p); err != nil {
			t.Fatal(err)
		}
		code, _, err := tp.ReadResponse(0)
		if err != nil {
			t.Fatalf("after %.40q: %v", p, err)
		}
		codes = append(codes, code)
	}
	return codes
}

func TestSmuggledMessageIsRefused(t *testing.T) {
	const second = "MAIL FROM:<ceo@bank.example>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nFrom: ceo@bank.example\r\n\r\nx"
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\r\n.\r\r\n", "\n\n.\n\n"} {
		inbox, addr := serve(t, smtpd.InboxConfig{})
		codes := dialog(t, addr, "EHLO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<user@example.net>\r\n", "DATA\r\n",
			"From: a@example.org\r\n\r\nfirst"+end+second+"\r\n.\r\n")
		if want := []int{250, 250, 250, 354, 554}; !cmp.Equal(codes, want) {
			t.Errorf("%q: replies %v, want %v", end, codes, want)
		}
		if all := inbox.All(""); len(all) != 0 {
			t.Errorf("%q: %d messages were taken", end, len(all))
		}
	}
}

// go-smtp swallows the CR of a line that begins with ".\r" before we can see it.
// The message stays one, which is what matters.
func TestDotAndBareCRDoNotEndAMessage(t *testing.T) {
	inbox, addr := serve(t, smtpd.InboxConfig{})
	codes := dialog(t, addr, "EHLO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<user@example.net>\r\n", "DATA\r\n",
		"From: a@example.org\r\n\r\nfirst\r\n.\rMAIL FROM:<ceo@bank.example>\r\n.\r\n", "NOOP\r\n")
	all := inbox.All("")
	if codes[4] != 250 || codes[5] != 250 || len(all) != 1 || !bytes.Contains(all[0].Raw, []byte("MAIL FROM:<ceo@")) {
		t.Errorf("replies %v, kept %v", codes, all)
	}
}

func TestAddressesWithControlCharactersAreRefused(t *testing.T) {
	inbox, addr := serve(t, smtpd.InboxConfig{})
	const hello, from, to = "EHLO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<user@example.net>\r\n"
	for _, bad := range []string{"a@example.org\rRSET", "\"a\rb\"@example.org", "a@example.org\x00", "a@exa\x1bmple.org"} {
		codes := dialog(t, addr, hello, "MAIL FROM:<"+bad+">\r\n", from, "RCPT TO:<"+bad+">\r\n", to, "DATA\r\n", "Subject: x\r\n\r\n.\r\n")
		if want := []int{250, 553, 250, 553, 250, 354, 250}; !cmp.Equal(codes, want) {
			t.Errorf("%q: replies %v, want %v", bad, codes, want)
		}
	}
	for _, m := range inbox.All("") {
		if m.From != "a@example.org" || !cmp.Equal(m.To, []string{"user@example.net"}) {
			t.Errorf("kept from %q to %q", m.From, m.To)
		}
	}
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	inbox, addr := serve(t, smtpd.InboxConfig{})
	big := bytes.Repeat([]byte(strings.Repeat("x", 98)+"\r\n"), 263_000) // 26.3 MB, above 25 MiB
	codes := dialog(t, addr, "EHLO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<user@example.net>\r\n", "DATA\r\n", string(big)+".\r\n")
	if codes[4] != 552 || len(inbox.All("")) != 0 {
		t.Errorf("replies %v, %d messages", codes, len(inbox.All("")))
	}
	// A client that asks first is told at once.
	if got := send(t, addr, "a@example.org", "user@example.net", big); got.Outcome != mail.PermFailed || got.Stage != mail.StageMail {
		t.Errorf("announced size: %+v", got)
	}
}

func TestNewestAreKept(t *testing.T) {
	inbox, addr := serve(t, smtpd.InboxConfig{Keep: 3})
	for n := range 5 {
		mustSend(t, addr, "a@example.org", fmt.Sprintf("user%d@example.net", n%2), fmt.Appendf(nil, "Subject: %d\r\n\r\n", n))
	}
	var got []string
	for _, m := range inbox.All("") {
		got = append(got, fmt.Sprint(m.ID, m.To))
	}
	if want := []string{"3 [user0@example.net]", "4 [user1@example.net]", "5 [user0@example.net]"}; !cmp.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	if raw, ok := inbox.Newest("User1@Example.net"); !ok || !bytes.Contains(raw, []byte("Subject: 3")) {
		t.Errorf("newest for user1: %q", raw)
	}
	if _, ok := inbox.Newest("nobody@example.net"); ok {
		t.Error("mail for nobody")
	}
}

func TestSTARTTLSIsOfferedWithACertificate(t *testing.T) {
	config, pool := mailtest.Certificate(t)
	inbox, addr := serve(t, smtpd.InboxConfig{TLSConfig: config})
	r, err := mail.NewRelay(mail.RelayConfig{Address: addr, TLSConfig: &tls.Config{RootCAs: pool}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := r.Send(t.Context(), mail.Envelope{To: "user@example.net"}, compose(t, "a@example.org")); got.Outcome != mail.Delivered {
		t.Fatalf("%+v", got)
	}
	if all := inbox.All(""); len(all) != 1 || !all[0].TLS {
		t.Errorf("kept %+v", all)
	}
}

func TestCloseEndsIdleConnections(t *testing.T) {
	inbox, addr := serve(t, smtpd.InboxConfig{})
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 256)
	if _, err := conn.Read(buf); err != nil { // the greeting: the server has us
		t.Fatal(err)
	}
	begin := time.Now()
	if err := inbox.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Close took %s", took)
	}
	if _, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestLogHoldsNoAddress(t *testing.T) {
	var out bytes.Buffer
	inbox, addr := serve(t, smtpd.InboxConfig{Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	mustSend(t, addr, "a@example.org", "user@example.net", compose(t, "a@example.org"))
	if err := inbox.Close(); err != nil {
		t.Fatal(err)
	}
	if log := out.String(); !strings.Contains(log, "message taken") || strings.Contains(log, "@") || strings.Contains(log, "493817") {
		t.Errorf("log: %s", log)
	}
}

func TestInboxConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]smtpd.InboxConfig{
		"no resolver":  {Hostname: "inbox.example.net"},
		"no hostname":  {Resolver: zone{}},
		"bad hostname": {Resolver: zone{}, Hostname: "a; dmarc=pass"},
		"bad keep":     {Resolver: zone{}, Hostname: "inbox.example.net", Keep: -1},
	} {
		if _, err := smtpd.NewInbox(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
