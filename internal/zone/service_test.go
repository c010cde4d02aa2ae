package zone

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

const serviceSOA = "mail.postseal.example. 60 IN SOA ns1.mail.postseal.example. hostmaster.mail.postseal.example. SERIAL 7200 900 1209600 60"

var serial = regexp.MustCompile(`(IN SOA \S+ \S+) \d+`)

func TestServiceZone(t *testing.T) {
	addr := serve(t, ServerConfig{Source: newService(t, func(_ context.Context, selector string) (string, bool, error) {
		switch selector {
		case "tokentokentokentokentokentoken00":
			return "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 300), true, nil
		case "revoked":
			return "v=DKIM1; p=", true, nil
		case "sick":
			return "", false, errors.New("the store is away")
		case "huge":
			return strings.Repeat("A", maxTXT+1), true, nil
		}
		return "", false, nil
	})})
	negative := "\nauthority " + serviceSOA
	for _, test := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"mail.postseal.example", dns.TypeSOA, "NOERROR aa\n" + strings.Replace(serviceSOA, " 60 ", " 3600 ", 1)},
		{"mail.postseal.example", dns.TypeNS, "NOERROR aa\nmail.postseal.example. 3600 IN NS ns1.mail.postseal.example.\nmail.postseal.example. 3600 IN NS ns.example.net."},
		{"mail.postseal.example", dns.TypeTXT, "NOERROR aa\nmail.postseal.example. 3600 IN TXT \"v=spf1 include:_spf.mail.postseal.example -all\""},
		{"mail.postseal.example", dns.TypeMX, "NOERROR aa" + negative},
		{"mail.postseal.example", dns.TypeDS, "NOERROR aa" + negative},
		{"ns1.mail.postseal.example", dns.TypeA, "NOERROR aa\nns1.mail.postseal.example. 3600 IN A 192.0.2.53"},
		{"ns1.mail.postseal.example", dns.TypeAAAA, "NOERROR aa\nns1.mail.postseal.example. 3600 IN AAAA 2001:db8::53"},
		{"_spf.mail.postseal.example", dns.TypeTXT, "NOERROR aa\n_spf.mail.postseal.example. 3600 IN TXT \"v=spf1 ip4:192.0.2.64/26 ip4:198.51.100.7 ip6:2001:db8:1::/48 -all\""},
		{"_dmarc.mail.postseal.example", dns.TypeTXT, "NOERROR aa\n_dmarc.mail.postseal.example. 3600 IN TXT \"v=DMARC1; p=reject\""},
		{"bounce.mail.postseal.example", dns.TypeMX, "NOERROR aa\nbounce.mail.postseal.example. 3600 IN MX 10 feedback.mail.postseal.example."},
		{"bounce.mail.postseal.example", dns.TypeTXT, "NOERROR aa\nbounce.mail.postseal.example. 3600 IN TXT \"v=spf1 include:_spf.mail.postseal.example -all\""},
		{"feedback.mail.postseal.example", dns.TypeA, "NOERROR aa\nfeedback.mail.postseal.example. 3600 IN A 192.0.2.25"},
		{"feedback.mail.postseal.example", dns.TypeAAAA, "NOERROR aa\nfeedback.mail.postseal.example. 3600 IN AAAA 2001:db8::25"},
		{"tokentokentokentokentokentoken00.dkim.mail.postseal.example", dns.TypeTXT, "NOERROR aa\ntokentokentokentokentokentoken00.dkim.mail.postseal.example. 300 IN TXT \"v=DKIM1; k=rsa; p=" + strings.Repeat("A", 255-18) + "\" \"" + strings.Repeat("A", 300-255+18) + "\""},
		{"TokentokentokentokentokentokeN00.DKIM.mail.postseal.example", dns.TypeA, "NOERROR aa" + negative},
		{"revoked._domainkey.mail.postseal.example", dns.TypeTXT, "NOERROR aa\nrevoked._domainkey.mail.postseal.example. 300 IN TXT \"v=DKIM1; p=\""},
		{"unknown.dkim.mail.postseal.example", dns.TypeTXT, "NXDOMAIN aa" + negative},
		{"below.revoked.dkim.mail.postseal.example", dns.TypeTXT, "NXDOMAIN aa" + negative},
		{`rev\oked\.x.dkim.mail.postseal.example`, dns.TypeTXT, "NXDOMAIN aa" + negative},
		{"dkim.mail.postseal.example", dns.TypeTXT, "NOERROR aa" + negative},
		{"_domainkey.mail.postseal.example", dns.TypeTXT, "NOERROR aa" + negative},
		{"nothing.mail.postseal.example", dns.TypeTXT, "NXDOMAIN aa" + negative},
		{"sick.dkim.mail.postseal.example", dns.TypeTXT, "SERVFAIL"},
		{"sick._domainkey.mail.postseal.example", dns.TypeA, "SERVFAIL"},
		{"huge.dkim.mail.postseal.example", dns.TypeTXT, "SERVFAIL"},
		{"postseal.example", dns.TypeSOA, "REFUSED"},
		{`x\.mail.postseal.example`, dns.TypeTXT, "REFUSED"}, // a label "x.mail" below another zone
	} {
		got := serial.ReplaceAllString(show(exchange(t, "tcp", addr, question(test.name, test.qtype))), "$1 SERIAL")
		same(t, test.name+" "+dns.Type(test.qtype).String(), got, test.want)
	}
}

func TestServiceConfigIsChecked(t *testing.T) {
	good := func() ServiceConfig {
		return ServiceConfig{
			Domain: "mail.postseal.example", Nameservers: []NS{{Addrs: addrs("192.0.2.53")}},
			Keys: func(context.Context, string) (string, bool, error) { return "", false, nil },
		}
	}
	if _, err := NewService(good()); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*ServiceConfig){
		"Domain":        func(c *ServiceConfig) { c.Domain = "a b.example" },
		"Domain:":       func(c *ServiceConfig) { c.Domain = "" },
		"Keys":          func(c *ServiceConfig) { c.Keys = nil },
		"Nameservers":   func(c *ServiceConfig) { c.Nameservers = nil },
		"Nameservers: ": func(c *ServiceConfig) { c.Nameservers[0].Addrs = nil },
		"TTL":           func(c *ServiceConfig) { c.TTL = time.Millisecond },
		"KeyTTL":        func(c *ServiceConfig) { c.KeyTTL = -time.Second },
		"Hostmaster":    func(c *ServiceConfig) { c.Hostmaster = "nobody" },
		"Hostmaster: ":  func(c *ServiceConfig) { c.Hostmaster = "a b@example.org" },
		"Outbound":      func(c *ServiceConfig) { c.Outbound = make([]netip.Prefix, 1) },
		"Outbound: ":    func(c *ServiceConfig) { c.Outbound = make([]netip.Prefix, 101) },
		"Feedback":      func(c *ServiceConfig) { c.Feedback = addrs("fe80::1%eth0") },
	} {
		c := good()
		change(&c)
		if _, err := NewService(c); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(field)) {
			t.Errorf("%s: error %v", field, err)
		}
	}
}

func TestHostmasterIsEscaped(t *testing.T) {
	got, err := mailboxName("dns.team@example.org", "mail.postseal.example.")
	if want := `dns\.team.example.org.`; got != want || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// keyStore counts what is asked of it and can be told to fail.
type keyStore struct {
	asked atomic.Int64
	fail  atomic.Bool
	keys  sync.Map
}

func (k *keyStore) find(_ context.Context, selector string) (string, bool, error) {
	k.asked.Add(1)
	if k.fail.Load() {
		return "", false, errors.New("away")
	}
	v, ok := k.keys.Load(selector)
	if !ok {
		return "", false, nil
	}
	return v.(string), true, nil
}

func TestKeysAreKeptForSecondsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store keyStore
		c := newKeyCache(store.find)
		expect := func(txt string, ok bool, asked int64) {
			t.Helper()
			got, gotOK, err := c.get(t.Context(), "s1")
			if got != txt || gotOK != ok || err != nil || store.asked.Load() != asked {
				t.Errorf("got %q, %v, %v after %d look-ups; want %q, %v after %d", got, gotOK, err, store.asked.Load(), txt, ok, asked)
			}
		}
		expect("", false, 1)
		store.keys.Store("s1", "key")
		expect("", false, 1)
		time.Sleep(keyLife)
		expect("key", true, 2)
		store.keys.Delete("s1")
		expect("key", true, 2)
		time.Sleep(keyLife)
		expect("", false, 3)
	})
}

func TestSickStoreNeverBecomesAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store keyStore
		store.keys.Store("s1", "key")
		store.fail.Store(true)
		c := newKeyCache(store.find)
		for range 50 {
			if _, ok, err := c.get(t.Context(), "s1"); err == nil {
				t.Fatalf("ok %v without an error", ok)
			}
		}
		if n := store.asked.Load(); n != 1 {
			t.Errorf("a sick store was asked %d times in no time, want once", n)
		}
		store.fail.Store(false)
		time.Sleep(keyErrLife)
		if txt, ok, err := c.get(t.Context(), "s1"); txt != "key" || !ok || err != nil {
			t.Errorf("after recovery: %q, %v, %v", txt, ok, err)
		}
	})
}

func TestMadeUpNamesDoNotPushKeysOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store keyStore
		c := newKeyCache(store.find)
		for i := range 100 {
			store.keys.Store(fmt.Sprint("real", i), "key")
			c.get(t.Context(), fmt.Sprint("real", i))
		}
		for i := range 3 * maxKeys {
			c.get(t.Context(), fmt.Sprint("fake", i))
		}
		if len(c.entries) > maxKeys {
			t.Errorf("%d entries, at most %d wanted", len(c.entries), maxKeys)
		}
		before := store.asked.Load()
		for i := range 100 {
			c.get(t.Context(), fmt.Sprint("real", i))
		}
		if n := store.asked.Load() - before; n != 0 {
			t.Errorf("%d of 100 keys had to be looked up again", n)
		}
		// A new key finds room among the absences.
		store.keys.Store("new", "key")
		c.get(t.Context(), "new")
		before = store.asked.Load()
		c.get(t.Context(), "new")
		if len(c.entries) > maxKeys || store.asked.Load() != before {
			t.Errorf("a new key was not kept, or there are too many: %d", len(c.entries))
		}
		// What has expired makes room.
		time.Sleep(keyLife)
		c.get(t.Context(), "fake")
		if len(c.entries) != 1 {
			t.Errorf("%d entries after all had expired, want 1", len(c.entries))
		}
	})
}

func TestLookupsAreSharedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var asked, atOnce, most atomic.Int64
		c := newKeyCache(func(context.Context, string) (string, bool, error) {
			asked.Add(1)
			if n := atOnce.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-release
			atOnce.Add(-1)
			return "key", true, nil
		})
		var failed atomic.Int64
		var wg sync.WaitGroup
		for i := range 2 * maxKeyCalls {
			for range 3 {
				wg.Go(func() {
					if _, ok, err := c.get(t.Context(), fmt.Sprint(i)); err != nil {
						failed.Add(1)
					} else if !ok {
						t.Error("a key was absent")
					}
				})
			}
		}
		time.Sleep(keyQueue + time.Millisecond)
		close(release)
		wg.Wait()
		if asked.Load() != maxKeyCalls || most.Load() != maxKeyCalls {
			t.Errorf("%d look-ups, %d at once; want %d", asked.Load(), most.Load(), maxKeyCalls)
		}
		if failed.Load() != 3*maxKeyCalls {
			t.Errorf("%d questions failed, want the %d that found no turn", failed.Load(), 3*maxKeyCalls)
		}
	})
}

func TestSlowStoreIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newKeyCache(func(ctx context.Context, _ string) (string, bool, error) {
			<-ctx.Done()
			return "", false, ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the one who asks first must not spoil it for the others
		start := time.Now()
		_, _, err := c.get(ctx, "s1")
		if d := time.Since(start); d != keyTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %v, want a time-out after %v", err, d, keyTimeout)
		}
	})
}
