package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/smtpd"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/zone"
)

// devService is the service domain of a development instance. `.test` leads
// nowhere outside it (RFC 6761, section 6.2).
const devService = "mail.postseal.test"

// Hosts that development certificates and the forward proxy make reachable for
// clients that accept only dotted names over https.
const (
	devAPIHost  = "api.postseal.test"
	devAuthHost = "auth.postseal.test"
)

// DevConfig is what can be chosen about `postseal dev`. Everything listens on
// loopback, whatever is chosen.
type DevConfig struct {
	Dir          string // where it keeps its state; empty: a temporary one, deleted at the end
	Tenants      int    // demo tenants; 0: one
	FastClock    bool   // grace and intervals of seconds
	EnvFile      string // written once everything listens; empty: none
	HTTP         string // HOST:PORT; empty: 127.0.0.1 and any port. The same for the next two
	HTTPS        string
	DNS          string
	PingOneProxy string // HOST:PORT of the forward proxy; empty: none
	Log          *slog.Logger
}

// Dev is a development instance: an App with everything around it that it would
// otherwise find in the world.
type Dev struct {
	Env   []EnvVar      // what clients need to know, in the order of the env file
	Ready chan struct{} // closed when every listener answers and the env files are written

	app       *App
	dir       string
	temporary bool
	envFile   string
	control   *devControl // nil: it was not made
	inbox     *smtpd.Inbox
	inboxAt   net.Listener
	proxyAt   net.Listener // nil: no proxy
	secrets   []string     // files that are of no use once this instance has ended
	log       *slog.Logger
}

// EnvVar is one line of the env file.
type EnvVar struct{ Name, Value string }

// Getenv returns a variable's value, "" if there is none.
func (d *Dev) Getenv(name string) string {
	for _, v := range d.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// StartDev builds a development instance with every listener open. Run serves it.
func StartDev(ctx context.Context, c DevConfig) (d *Dev, err error) {
	d = &Dev{dir: c.Dir, envFile: c.EnvFile, log: c.Log, Ready: make(chan struct{})}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if c.Tenants < 0 {
		return d, fmt.Errorf("there can't be %d demo tenants; ask for one or more", c.Tenants)
	}
	if c.EnvFile != "" { // what an earlier instance wrote must not be taken for ours
		if _, err := os.Stat(filepath.Dir(c.EnvFile)); err != nil {
			return d, fmt.Errorf("env file: %w", err)
		}
		if err := os.Remove(c.EnvFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d, fmt.Errorf("env file: %w", err)
		}
	}
	for _, at := range []string{c.HTTP, c.HTTPS, c.DNS, c.PingOneProxy} {
		if err := onLoopback(at); err != nil {
			return d, fmt.Errorf("postseal dev listens on loopback only, since its fakes prove any domain for anybody: %w", err)
		}
	}
	if d.dir == "" {
		d.temporary = true
		if d.dir, err = os.MkdirTemp("", "postseal-dev-"); err != nil {
			return d, err
		}
	} else if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return d, err
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return d, err
	}
	ca, err := loadDevCA(d.dir)
	if err != nil {
		return d, err
	}
	cfg, err := d.config(c)
	if err != nil {
		return d, err
	}
	if d.inboxAt, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return d, err
	}
	cfg.Send.TenantRelays.CAFile, cfg.Webhooks.CAFile = ca.file, ca.file
	cfg.Send.Relay = RelayConfig{Address: d.inboxAt.Addr().String(), TLS: string(mail.NoTLS)}
	if c.PingOneProxy != "" {
		if d.proxyAt, err = net.Listen("tcp", c.PingOneProxy); err != nil {
			return d, fmt.Errorf("--pingone-proxy: %w", err)
		}
	}
	l, err := cfg.Listen()
	if err != nil {
		return d, err
	}
	cfg.DNS.Resolvers = []string{l.DNS.Addr().String()}
	cfg.HTTP.PublicURL = "http://" + l.HTTP.Addr().String()
	if err := errors.Join(cfg.problems()...); err != nil {
		l.Close()
		return d, err
	}
	control, err := d.fakes(l)
	d.control = control
	if err != nil {
		l.Close()
		return d, err
	}
	keys, err := cfg.keyring()
	if err == nil {
		err = migrate(ctx, cfg.Database, keys, c.Log)
	}
	if err != nil {
		l.Close()
		return d, err
	}
	d.app, err = build(ctx, cfg, l, c.Log, extras{
		fastClock: c.FastClock, zoneTTL: time.Second, tls: ca.serverConfig(),
		names: func(service zone.Source) zone.ServerConfig {
			return zone.ServerConfig{Source: zone.Chain(service, control.table), Recursion: true}
		},
		routes: func(a *App, mux *http.ServeMux) {
			control.authenticate = func(ctx context.Context, bearer string) (sender.Principal, error) {
				return a.Auth.Authenticate(ctx, auth.Secret(bearer))
			}
			control.register(mux)
		},
	})
	if err != nil {
		return d, err
	}
	d.describe(l, ca)
	return d, d.populate(ctx, max(c.Tenants, 1))
}

// config is that of an ordinary instance, in d.dir.
func (d *Dev) config(c DevConfig) (Config, error) {
	cfg := DefaultConfig()
	cfg.Database = "sqlite:" + filepath.Join(d.dir, "postseal.db")
	cfg.KeyFile = filepath.Join(d.dir, "keys")
	if _, err := os.Stat(cfg.KeyFile); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(cfg.KeyFile, []byte(store.GenerateKey()), 0o600); err != nil {
			return cfg, err
		}
	}
	orLoopback := func(s string) string {
		if s == "" {
			return "127.0.0.1:0"
		}
		return s
	}
	cfg.HTTP.Listen, cfg.HTTP.TLSListen, cfg.DNS.Listen = orLoopback(c.HTTP), orLoopback(c.HTTPS), orLoopback(c.DNS)
	cfg.HTTP.TLSCert, cfg.HTTP.TLSKey = "dev", "dev" // made for each name as it is asked for
	cfg.Service = ServiceConfig{
		Domain: devService, Outbound: []string{"127.0.0.1"}, Feedback: []string{"127.0.0.1"},
		Nameservers: []Nameserver{{Host: "ns1." + devService, Addresses: []string{"127.0.0.1"}}},
	}
	cfg.Send.TenantRelays.Allow, cfg.Send.TenantRelays.PlainHTTP = []string{"127.0.0.0/8", "::1"}, true
	cfg.Webhooks.Allow, cfg.Webhooks.PlainHTTP = cfg.Send.TenantRelays.Allow, true
	cfg.Verify.Quorum = 1
	cfg.DNS.RateLimit = 0
	cfg.DNS.Mode = string(dnscheck.ModeResolver) // our own server stands for the whole DNS
	cfg.Log.Level = "info"
	if c.FastClock {
		cfg.Verify.Sweep = time.Second
	}
	return cfg, nil
}

// fastClock shortens what takes days to seconds, and minutes to parts of one.
func fastClock(s sender.Settings) sender.Settings {
	s.Verify = sender.Verify{
		Grace: 4 * time.Second, LossChecks: 3, Freshness: 100 * time.Millisecond, Inline: s.Verify.Inline, KeepTokens: 2 * time.Minute,
		PendingEvery: 500 * time.Millisecond, PendingClose: time.Minute, PendingGiveUp: time.Hour,
		VerifiedEvery: time.Second, LapsingEvery: 500 * time.Millisecond, UnknownEvery: 500 * time.Millisecond,
	}
	s.Code.ResendAfter = time.Second
	s.Send.FirstRetry, s.Send.LastRetry, s.Send.Tick = 200*time.Millisecond, time.Second, 500*time.Millisecond
	s.Webhooks.FirstRetry, s.Webhooks.LastRetry, s.Webhooks.Tick = 200*time.Millisecond, time.Second, 200*time.Millisecond
	return s
}

// fakes makes the writable DNS and the inbox.
func (d *Dev) fakes(l Listeners) (*devControl, error) {
	table, err := zone.NewTable(zone.TableConfig{})
	if err != nil {
		return nil, err
	}
	c := &devControl{table: table, zoneFile: filepath.Join(d.dir, "dev.zone"), log: d.log}
	if err := table.LoadFile(c.zoneFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: []string{l.DNS.Addr().String()}})
	if err != nil {
		return nil, err
	}
	d.inbox, err = smtpd.NewInbox(smtpd.InboxConfig{
		Resolver: resolver, Hostname: "inbox.postseal.test", ClientIP: netip.MustParseAddr("127.0.0.1"), Log: d.log,
	})
	c.inbox = d.inbox
	return c, err
}

func (d *Dev) describe(l Listeners, ca *devCA) {
	d.Env = append(d.Env,
		EnvVar{"POSTSEAL_URL", "http://" + l.HTTP.Addr().String()},
		EnvVar{"POSTSEAL_TLS_URL", "https://" + l.TLS.Addr().String()},
		EnvVar{"POSTSEAL_CA_FILE", ca.file},
		EnvVar{"SSL_CERT_FILE", ca.file},
		EnvVar{"POSTSEAL_DNS", l.DNS.Addr().String()},
		EnvVar{"POSTSEAL_INBOX", d.inboxAt.Addr().String()},
		EnvVar{"POSTSEAL_DEV_DIR", d.dir},
	)
	if d.proxyAt != nil {
		d.Env = append(d.Env, EnvVar{"POSTSEAL_PINGONE_PROXY", "http://" + d.proxyAt.Addr().String()})
	}
}

// populate makes the operator's key and the demo tenants with credentials. They
// are made anew at each start, since secrets are kept nowhere; tenants that are
// there already are used again.
func (d *Dev) populate(ctx context.Context, tenants int) error {
	local := auth.Local()
	if err := d.retire(ctx, ""); err != nil {
		return err
	}
	_, key, err := d.app.Auth.CreateCredential(ctx, local, auth.NewCredential{Kind: sender.APIKey, Name: devCredential, Operator: true})
	if err != nil {
		return err
	}
	d.Env = append(d.Env, EnvVar{"POSTSEAL_OPERATOR_KEY", string(key)})
	have, err := d.app.Service.Tenants(ctx, local, sender.Page{Limit: tenants})
	if err != nil {
		return err
	}
	for i := range tenants {
		var t sender.Tenant
		if i < len(have) {
			t = have[i]
		} else {
			n := sender.NewTenant{Name: "Demo " + strconv.Itoa(i+1), Geography: "na"}
			if i == 1 { // the second has the regions that the seeds show
				n.Geography, n.Regions = "ap", []string{"ap-southeast-2", "us-east-1", "us-west-2"}
			}
			if t, err = d.app.Service.CreateTenant(ctx, local, n); err != nil {
				return err
			}
		}
		if err := d.retire(ctx, t.ID); err != nil {
			return err
		}
		c, secret, err := d.app.Auth.CreateCredential(ctx, local, auth.NewCredential{
			Kind: sender.OAuthClient, Name: devCredential, Tenant: t.ID, Grants: []sender.Grant{{Tenant: t.ID, Role: sender.RoleAdmin}},
		})
		if err != nil {
			return err
		}
		suffix := ""
		if i > 0 {
			suffix = "_" + strconv.Itoa(i+1)
		}
		for _, v := range []EnvVar{
			{"PINGONE_ENVIRONMENT_ID", string(t.ID)}, {"PINGONE_CLIENT_ID", string(c.ID)}, {"PINGONE_CLIENT_SECRET", string(secret)},
			{"PINGONE_REGION_CODE", strings.ToUpper(t.Geography)}, {"PINGONE_API_SERVICE_HOSTNAME", devAPIHost}, {"PINGONE_AUTH_SERVICE_HOSTNAME", devAuthHost},
		} {
			d.Env = append(d.Env, EnvVar{v.Name + suffix, v.Value})
		}
		c, secret, err = d.app.Auth.CreateCredential(ctx, local, auth.NewCredential{
			Kind: sender.OAuthClient, Name: devCredential, Tenant: t.ID, Grants: []sender.Grant{{Tenant: t.ID, Role: sender.RoleAdmin}},
		})
		if err != nil {
			return err
		}
		d.Env = append(d.Env, EnvVar{"SAIL_BASE_URL" + suffix, d.Getenv("POSTSEAL_URL")}, EnvVar{"SAIL_CLIENT_ID" + suffix, string(c.ID)}, EnvVar{"SAIL_CLIENT_SECRET" + suffix, string(secret)})
		file, err := d.pingid(ctx, t, suffix)
		if err != nil {
			return err
		}
		d.Env = append(d.Env, EnvVar{"PINGID_PROPERTIES" + suffix, file})
	}
	return nil
}

// devApplication is the id of each demo tenant's application.
const devApplication sender.ID = "0197a000-0000-4000-8000-00000000a001"

// pingid makes a tenant's key pair, and an application that may send codes, and
// writes the file that clients of the PingID SDK read.
func (d *Dev) pingid(ctx context.Context, t sender.Tenant, suffix string) (file string, err error) {
	local := auth.Local()
	demo, err := d.app.OTP.Application(ctx, local, t.ID, devApplication)
	if sender.KindOf(err) == sender.NotFound {
		demo, err = d.app.OTP.CreateApplication(ctx, local, t.ID, otp.NewApplication{ID: devApplication, Name: "Demo", Enabled: true})
	}
	if err == nil && demo.Attribute(otp.EmailEnabled) != "true" {
		_, err = d.app.OTP.SetAttribute(ctx, local, t.ID, devApplication, otp.EmailEnabled, "true")
	}
	if err != nil {
		return "", err
	}
	c, secret, err := d.app.Auth.CreateCredential(ctx, local, auth.NewCredential{
		Kind: sender.KeyPair, Name: devCredential, Tenant: t.ID, Grants: []sender.Grant{{Tenant: t.ID, Role: sender.RoleAdmin}},
	})
	if err != nil {
		return "", err
	}
	file = filepath.Join(d.dir, "pingid"+suffix+".properties")
	d.secrets = append(d.secrets, file)
	return file, writeFile(file, []byte(auth.Properties(c, secret, d.Getenv("POSTSEAL_URL")+"/pingid", devApplication)), 0o600)
}

// devCredential is the name of the credentials that are made at each start.
const devCredential = "made by postseal dev"

// retire revokes those of earlier starts: their secrets are in nobody's env file.
func (d *Dev) retire(ctx context.Context, tenant sender.ID) error {
	old, err := d.app.Auth.Credentials(ctx, auth.Local(), tenant, sender.Page{})
	if err != nil {
		return err
	}
	for _, c := range old {
		if c.Name == devCredential && c.RevokedAt.IsZero() {
			if err := d.app.Auth.RevokeCredential(ctx, auth.Local(), tenant, c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// announce waits until the instance answers, then writes the env file, and
// always `env` in the instance's own directory, where `postseal dev dns --dir`
// finds it.
func (d *Dev) announce(ctx context.Context) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.Getenv("POSTSEAL_URL")+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
	var b strings.Builder
	for _, v := range d.Env {
		fmt.Fprintf(&b, "%s='%s'\n", v.Name, strings.ReplaceAll(v.Value, "'", `'\''`))
	}
	for _, p := range []string{filepath.Join(d.dir, "env"), d.envFile} {
		if p == "" {
			continue
		}
		if err := writeFile(p, []byte(b.String()), 0o600); err != nil {
			return fmt.Errorf("env file: %w", err)
		}
	}
	close(d.Ready)
	return nil
}

// Run serves until ctx is done.
func (d *Dev) Run(ctx context.Context) error {
	defer d.close()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.app.Run(ctx) })
	all.Go(func() error {
		stop := context.AfterFunc(ctx, func() { _ = d.inbox.Close() })
		defer stop()
		if err := d.inbox.Serve(d.inboxAt); err != nil && ctx.Err() == nil {
			return fmt.Errorf("inbox: %w", err)
		}
		return nil
	})
	if d.proxyAt != nil {
		t := &tunnels{target: d.app.listeners.TLS.Addr().String(), log: d.log, ctx: ctx}
		all.Go(func() error {
			defer t.open.Wait()
			return serveHTTP(ctx, d.proxyAt, t, d.log)
		})
	}
	all.Go(func() error { return d.announce(ctx) })
	return all.Wait()
}

func (d *Dev) close() {
	for _, l := range []net.Listener{d.inboxAt, d.proxyAt} {
		if l != nil {
			_ = l.Close()
		}
	}
	if d.control != nil {
		d.control.save()
	}
	if d.dir != "" {
		for _, file := range append(d.secrets, filepath.Join(d.dir, "env")) { // nobody answers there any more
			_ = os.Remove(file)
		}
	}
	if d.temporary && d.dir != "" {
		if err := os.RemoveAll(d.dir); err != nil {
			d.log.Warn("the temporary directory could not be deleted", "dir", d.dir, "error", err)
		}
	}
}
