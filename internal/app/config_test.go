package app

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
)

// needed is a configuration with everything that nobody can guess.
func needed(t *testing.T) []string {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte(store.GenerateKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"database=sqlite:x.db", "key_file=" + keys, "service.domain=mail.example.org", "send.relay.address=relay.example.org:587"}
}

func TestFileEnvironmentAndSettingsOverrideOneAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	text := `
http: {listen: "127.0.0.1:1111"}
verify: {grace: 48h, quorum: 3}
dns: {resolvers: [192.0.2.1, "192.0.2.2:5353"]}
service:
  nameservers: [{host: ns1.mail.example.org, addresses: [192.0.2.53]}]
send: {workers: 3, relay: {tls: none}}
geographies: {moon: [base-1]}
default_geography: moon
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path, []string{
		"POSTSEAL_SEND__WORKERS=4", "POSTSEAL_VERIFY__GRACE=24h", "POSTSEAL_SERVICE__OUTBOUND=192.0.2.7, 2001:db8::/32",
		"POSTSEAL_URL=http://is-a-client-variable", "PATH=/bin",
	}, append(needed(t), "send.workers=5", "log.level=debug"))
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"http.listen from the file":          {c.HTTP.Listen, "127.0.0.1:1111"},
		"verify.grace from the environment":  {c.Verify.Grace, 24 * time.Hour},
		"verify.quorum from the file":        {c.Verify.Quorum, 3},
		"send.workers from a setting":        {c.Send.Workers, 5},
		"send.relay.tls beside the address":  {c.Send.Relay.TLS + " " + c.Send.Relay.Address, "none relay.example.org:587"},
		"service.outbound as a list":         {fmt.Sprint(c.Service.Outbound), "[192.0.2.7 2001:db8::/32]"},
		"dns.resolvers":                      {fmt.Sprint(c.DNS.Resolvers), "[192.0.2.1 192.0.2.2:5353]"},
		"nameservers":                        {c.Service.Nameservers[0].Addresses[0], "192.0.2.53"},
		"geographies replace the defaults":   {len(c.Geographies), 1},
		"what nobody set keeps its default":  {c.Code.Tries, 5},
		"and the core gets what was set":     {c.settings().Verify.Grace, 24 * time.Hour},
		"the service domain is nobody's own": {c.settings().ReservedDomain, "mail.example.org"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
}

func TestEveryProblemIsNamedAtOnce(t *testing.T) {
	_, err := LoadConfig("", []string{"POSTSEAL_HTTP__LISTN=x", "POSTSEAL_DNS__LISTEN=nowhere"}, []string{
		"verify.grace=soon", "send.workers=0", "service.domain=*.example.org", "http.public_url=mail.example.org", "log.level=loud",
		"send.relay.tls=maybe", "domains.claims=mine", "domains.claim_quiet=0s", "service.outbound=here", "debug.listen=192.0.2.1:80", "default_geography=mars", "nonsense",
		"otp.session_life=0s", "otp.tries=0", "otp.wrong_per_day=-1", "otp.per_user=0", "otp.per_recipient=0", "otp.keep=-1h", "otp.trys=1", `templates.builtin_senders="N" <n@mail.example.org>`,
		"templates.last_locale=x-", "template.last_locale=en", "pingid.public_names=https://a.example", "pingid.actions_create=perhaps",
	})
	if err == nil {
		t.Fatal("no problem found")
	}
	for _, want := range []string{
		"listn", "dns.listen", "verify.grace", "send.workers", "service.domain", "http.public_url", "log.level", "send.relay.tls", "service.outbound",
		"debug.listen", "default_geography", "nonsense", "database is not set", "key-encryption key", "send.relay.address", "service.nameservers",
		"domains.claims is", "domains.claim_quiet is 0s", "otp.session_life is 0s", "otp.tries is 0", "otp.wrong_per_day is -1", "otp.per_user is 0", "otp.per_recipient is 0", "otp.keep is -1h", "unknown setting otp.trys", "templates.builtin_senders: ",
		"templates.last_locale: ", "unknown setting template", `pingid.public_names has "https://a.example"`, "pingid.actions_create",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in\n%v", want, err)
		}
	}
}

func TestCodesTemplatesAndPingIDHaveSettings(t *testing.T) {
	c, err := LoadConfig("", []string{"POSTSEAL_OTP__TRIES=4", "POSTSEAL_TEMPLATES__BUILTIN_SENDERS=a@one.example, B@TWO.example", "POSTSEAL_PINGID__PUBLIC_NAMES=a.example,b.example:8443"},
		append(needed(t), "otp.session_life=10m", "otp.wrong_per_day=7", "otp.per_user=8", "otp.per_recipient=9", "otp.keep=48h", "templates.last_locale=pt_br",
			"http.public_url=https://mail.postseal.example:8443/", "pingid.actions_create=true", "pingid.refuse_replays=true", "pingid.require_expires=true", "pingid.prefix_names=true"))
	if err != nil {
		t.Fatal(err)
	}
	s, o := c.settings(), c.otpSettings()
	for what, pair := range map[string][2]any{
		"session_life":     {o.SessionLife, 10 * time.Minute},
		"tries":            {o.Tries, 4},
		"wrong_per_day":    {o.WrongPerDay, 7},
		"per_user":         {o.PerUser, 8},
		"per_recipient":    {s.Code.OTPPerRecipient, 9},
		"keep":             {o.Keep, 48 * time.Hour},
		"builtin_senders":  {fmt.Sprint(s.BuiltinSenders), "[a@one.example b@two.example]"},
		"last_locale":      {string(s.LastLocale), "pt-BR"},
		"public_names":     {fmt.Sprint(c.pingidNames()), "[a.example b.example:8443 mail.postseal.example mail.postseal.example:8443]"},
		"pingid's choices": {c.PingID.ActionsCreate && c.PingID.RefuseReplays && c.PingID.RequireExpires && c.PingID.PrefixNames, true},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	for public, want := range map[string]string{
		"http://a.example": "[a.example]", "https://[2001:db8::1]:8443": "[[2001:db8::1] [2001:db8::1]:8443]", "https://[2001:db8::1]/": "[[2001:db8::1]]", "": "[]",
	} {
		if got := fmt.Sprint(Config{HTTP: HTTPConfig{PublicURL: public}}.pingidNames()); got != want {
			t.Errorf("names of %s: %s, want %s", public, got, want)
		}
	}
	// The defaults are the cores' own, and those that can be nothing can be set so.
	if c, err = LoadConfig("", nil, needed(t)); err != nil {
		t.Fatal(err)
	}
	if c.otpSettings() != otp.DefaultSettings() || fmt.Sprint(c.settings().BuiltinSenders) != "[noreply@pingidentity.com]" || c.settings().LastLocale != "en" ||
		c.settings().Code.OTPPerRecipient != sender.DefaultSettings().Code.OTPPerRecipient || len(c.pingidNames()) != 0 || c.PingID.ActionsCreate || c.PingID.RefuseReplays || c.PingID.RequireExpires || c.PingID.PrefixNames {
		t.Errorf("by default %+v %+v %+v", c.OTP, c.Template, c.PingID)
	}
	if c, err = LoadConfig("", nil, append(needed(t), "templates.builtin_senders=", "templates.last_locale=")); err != nil || len(c.settings().BuiltinSenders) != 0 || c.settings().LastLocale != "" {
		t.Errorf("without built-in senders and a last locale: %+v, %v", c.Template, err)
	}
}

func TestGivenBuiltinSendersReplaceTheDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("templates: {builtin_senders: [noreply@mail.example.org]}\npingid: {public_names: [a.example]}\notp: {session_life: 5m}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path, nil, needed(t))
	if err != nil || fmt.Sprint(c.settings().BuiltinSenders, c.pingidNames(), c.otpSettings().SessionLife) != "[noreply@mail.example.org] [a.example] 5m0s" {
		t.Errorf("%+v %+v %+v, %v", c.OTP, c.Template, c.PingID, err)
	}
}

func TestKeyFileThatOthersCanReadIsRefused(t *testing.T) {
	settings := needed(t)
	file := strings.TrimPrefix(settings[1], "key_file=")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig("", nil, settings); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key file with mode 0640: %v", err)
	}
	if err := os.WriteFile(file, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDatabaseConfig("", nil, settings[:2]); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file without a key: %v", err)
	}
}

// devInstance runs a development instance until the test ends.
func devInstance(t *testing.T, c DevConfig) *Dev {
	t.Helper()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	d, err := StartDev(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-d.Ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the instance is not ready after 20 s")
	}
	return d
}

func TestDevVariablesDoNotConfigureServe(t *testing.T) {
	d := devInstance(t, DevConfig{PingOneProxy: "127.0.0.1:0"})
	var environ []string
	for _, v := range d.Env {
		environ = append(environ, v.Name+"="+v.Value)
	}
	if _, err := LoadConfig("", environ, needed(t)); err != nil {
		t.Errorf("with the env file of dev in the environment: %v", err)
	}
}

func TestDevListensOnLoopbackOnly(t *testing.T) {
	for _, c := range []DevConfig{{HTTP: "0.0.0.0:0"}, {HTTPS: ":0"}, {DNS: "192.0.2.1:53"}, {PingOneProxy: "[::]:0"}} {
		c.Log = slog.New(slog.DiscardHandler)
		if _, err := StartDev(t.Context(), c); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestProxyLeadsNowhereElse(t *testing.T) {
	d := devInstance(t, DevConfig{PingOneProxy: "127.0.0.1:0"})
	proxy := strings.TrimPrefix(d.Getenv("POSTSEAL_PINGONE_PROXY"), "http://")
	for request, want := range map[string]int{
		"CONNECT api.postseal.test:443 HTTP/1.1\r\nHost: api.postseal.test:443\r\n\r\n":       http.StatusOK,
		"CONNECT api.postseal.test:80 HTTP/1.1\r\nHost: api.postseal.test:80\r\n\r\n":         http.StatusForbidden,
		"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n":                         http.StatusForbidden,
		"GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n":                           http.StatusMethodNotAllowed,
		"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n":                     http.StatusMethodNotAllowed,
		"CONNECT /x HTTP/1.1\r\nHost: x\r\n\r\n":                                              http.StatusForbidden,
		"CONNECT api.postseal.test:0443 HTTP/1.1\r\nHost: api.postseal.test:0443\r\n\r\n":     http.StatusForbidden,
		"CONNECT metadata.example.org:443 HTTP/1.1\r\nHost: metadata.example.org:443\r\n\r\n": http.StatusOK, // and still ends at our own listener
	} {
		conn, err := net.Dial("tcp", proxy)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.Fields(request)[0]})
		if err != nil {
			t.Errorf("%q: %v", request, err)
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%q: %s, want %d", request, resp.Status, want)
		}
	}
}

func TestUnknownPathsAnswerInJSON(t *testing.T) {
	d := devInstance(t, DevConfig{})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/", "/v2/environments", "//x", "/a/../b"} {
		resp, err := client.Get(d.Getenv("POSTSEAL_URL") + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %s", path, resp.Status, resp.Header.Get("Content-Type"))
		}
	}
}

// A second start in the same directory finds the tenant and the DNS of the first,
// and the first one's secrets are worth nothing any more.
func TestDevDirectoryOutlivesTheInstance(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	first, err := StartDev(ctx, DevConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Run(ctx) }()
	<-first.Ready
	key := first.Getenv("POSTSEAL_OPERATOR_KEY")
	many := make([]string, 500)
	for i := range many {
		many[i] = fmt.Sprintf(`{"name":"r%d.example.org","type":"TXT","value":"kept"}`, i)
	}
	if status := addRecords(t, first, key, "["+strings.Join(many, ",")+"]"); status != http.StatusNoContent {
		t.Errorf("500 records at once: %d", status)
	}
	if status := addRecords(t, first, key, `[{"name":"x.example.org","type":"TXT","value":"v"},{"name":"x.example.org","type":"CNAME","value":"y.example.org"}]`); status != http.StatusBadRequest {
		t.Errorf("what can't be: %d", status)
	}
	if status := addRecord(t, first, key); status != http.StatusNoContent {
		t.Fatalf("adding a record: %d", status)
	}
	old := properties(t, first)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "env"), first.Getenv("PINGID_PROPERTIES")} {
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", file, err)
		}
	}
	second := devInstance(t, DevConfig{Dir: dir})
	fresh := properties(t, second)
	if fresh["account_id"] != old["account_id"] || fresh["account_id"] != second.Getenv("PINGONE_ENVIRONMENT_ID") || fresh["app_id"] != old["app_id"] ||
		fresh["api_key"] == old["api_key"] || fresh["pingidsdk_url"] != second.Getenv("POSTSEAL_URL")+"/pingid" {
		t.Errorf("the properties files of both starts: %s and %s", slices.Sorted(maps.Keys(old)), slices.Sorted(maps.Keys(fresh)))
	}
	for token, ok := range map[string]bool{old["token"]: false, fresh["token"]: true} {
		key, _, err := second.app.Auth.Key(t.Context(), sender.ID(fresh["account_id"]), token)
		if (err == nil) != ok || (ok && base64.StdEncoding.EncodeToString(key) != fresh["api_key"]) {
			t.Errorf("a key pair that counts: %t, want %t; %v", err == nil, ok, err)
		}
	}
	if second.Getenv("PINGONE_ENVIRONMENT_ID") != first.Getenv("PINGONE_ENVIRONMENT_ID") {
		t.Error("the second start has another tenant")
	}
	if status := addRecord(t, second, key); status != http.StatusUnauthorized {
		t.Errorf("the first start's key: %d", status)
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, second.Getenv("POSTSEAL_DNS"))
	}}
	if txt, err := resolver.LookupTXT(t.Context(), "a.example.org"); err != nil || len(txt) != 1 || txt[0] != "kept" {
		t.Errorf("the record of the first start: %q %v", txt, err)
	}
}

// properties reads the file that clients of the PingID SDK read.
func properties(t *testing.T, d *Dev) map[string]string {
	t.Helper()
	text, err := os.ReadFile(d.Getenv("PINGID_PROPERTIES"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			all[name] = value
		}
	}
	return all
}

func addRecord(t *testing.T, d *Dev, key string) int {
	t.Helper()
	return addRecords(t, d, key, `{"name":"a.example.org","type":"TXT","value":"kept"}`)
}

func addRecords(t *testing.T, d *Dev, key, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.Getenv("POSTSEAL_URL")+"/dev/dns", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestTenantsOwnServersHaveSettings(t *testing.T) {
	c, err := LoadConfig("", []string{"POSTSEAL_SEND__TENANT_RELAYS__ALLOW=10.1.2.3, fd00:1::/32"}, append(needed(t), "send.tenant_relays.enabled=false", "send.tenant_relays.workers=2"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := c.Send.TenantRelays.open()
	if s := c.settings().Send; err != nil || s.OwnRelays || s.RelayWorkers != 2 || fmt.Sprint(own.Allow) != "[10.1.2.3/32 fd00:1::/32]" {
		t.Errorf("%+v, %+v, %v", s, own, err)
	}
	if c, err = LoadConfig("", nil, needed(t)); err != nil || !c.settings().Send.OwnRelays || len(c.Send.TenantRelays.Allow) > 0 {
		t.Errorf("by default %+v, %v", c.Send.TenantRelays, err)
	}
	_, err = LoadConfig("", nil, append(needed(t), "send.tenant_relays.allow=everything", "send.tenant_relays.workers=0", "send.tenant_relays.allow_private=true"))
	for _, want := range []string{`send.tenant_relays.allow: "everything"`, "send.tenant_relays.workers is 0", "unknown setting send.tenant_relays.allow_private"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in\n%v", want, err)
		}
	}
	if _, err := (TenantRelaysConfig{CAFile: "/nowhere"}).open(); err == nil {
		t.Error("authorities that are not there are no problem")
	}
}
