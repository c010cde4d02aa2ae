// Package app is the one place where the parts of Postseal meet: it reads the
// configuration, builds the core with its ports, hangs the edges on it, starts
// every goroutine there is, and ends them in order.
//
// It holds no rule of its own. `postseal dev` is the same app with fakes around
// it: see dev.go.
package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/postseal/postseal/internal/api/pingone"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/jobs"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/outbound"
	"github.com/postseal/postseal/internal/provider/builtin"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/webhook"
	"github.com/postseal/postseal/internal/zone"
)

// App is one running instance.
type App struct {
	Service *sender.Service
	OTP     *otp.Service
	Auth    *auth.Auth

	cfg       Config
	log       *slog.Logger
	store     *store.Store
	jobs      *jobs.Engine
	relays    []*mail.Relay
	builtin   *builtin.Provider
	poster    *webhook.Poster
	names     *zone.Server // nil: no name server of our own
	handler   http.Handler
	tls       *tls.Config
	listeners Listeners
}

// Listeners are the open sockets of an instance; any may be nil.
type Listeners struct {
	HTTP, TLS net.Listener
	Debug     net.Listener
	Packet    net.PacketConn // DNS over UDP
	DNS       net.Listener   // DNS over TCP
}

// Close closes what is open.
func (l Listeners) Close() {
	for _, c := range []io.Closer{l.HTTP, l.TLS, l.Debug, l.Packet, l.DNS} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// Listen opens the sockets that the configuration names.
func (c Config) Listen() (l Listeners, err error) {
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if c.HTTP.Listen != "" {
		if l.HTTP, err = net.Listen("tcp", c.HTTP.Listen); err != nil {
			return l, fmt.Errorf("http.listen: %w", err)
		}
	}
	if c.HTTP.TLSListen != "" {
		if l.TLS, err = net.Listen("tcp", c.HTTP.TLSListen); err != nil {
			return l, fmt.Errorf("http.tls_listen: %w", err)
		}
	}
	if c.Debug.Listen != "" {
		if l.Debug, err = net.Listen("tcp", c.Debug.Listen); err != nil {
			return l, fmt.Errorf("debug.listen: %w", err)
		}
	}
	if c.DNS.Listen != "" {
		if l.Packet, l.DNS, err = zone.Listen(c.DNS.Listen); err != nil {
			return l, fmt.Errorf("dns.listen: %w", err)
		}
	}
	return l, nil
}

// extras are what `postseal dev` adds to an instance.
type extras struct {
	fastClock bool
	zoneTTL   time.Duration                               // of the service zone, negative answers included; 0: the zone's defaults
	names     func(service zone.Source) zone.ServerConfig // instead of serving the service zone alone
	routes    func(a *App, mux *http.ServeMux)
	tls       *tls.Config
}

// New builds an instance on open sockets. It owns them from now on, also where
// it fails.
func New(ctx context.Context, c Config, l Listeners, log *slog.Logger) (*App, error) {
	if c.Verify.Quorum == 1 {
		log.Warn("verify.quorum is 1: one lying resolver can prove a domain for whoever sent the lie; set two or more resolvers and a quorum of 2")
	}
	if c.HTTP.PublicURL == "" {
		log.Warn("http.public_url is not set: verification mails have no link, so that addresses made through SailPoint's API can only be proven by their domain")
	}
	return build(ctx, c, l, log, extras{})
}

func build(ctx context.Context, c Config, l Listeners, log *slog.Logger, x extras) (a *App, err error) {
	a = &App{cfg: c, log: log, listeners: l, tls: x.tls}
	defer func() {
		if err != nil {
			l.Close()
			a.close()
		}
	}()
	keys, err := c.keyring()
	if err != nil {
		return a, err
	}
	if a.store, err = store.Open(ctx, store.Config{DSN: c.Database, SealKeys: keys, Log: log}); err != nil {
		return a, err
	}
	service, err := dnscheck.ParseDomain(c.Service.Domain)
	if err != nil {
		return a, err
	}
	provider, err := a.provider(ctx, service)
	if err != nil {
		return a, err
	}
	settings := c.settings()
	if x.fastClock {
		settings = fastClock(settings)
	}
	checker, err := c.checker(2 * settings.Verify.PendingEvery)
	if err != nil {
		return a, err
	}
	zones, err := c.canaries()
	if err != nil {
		return a, err
	}
	canary, err := dnscheck.NewCanary(checker, zones...)
	if err != nil {
		return a, err
	}
	settings.LastResort = pingone.DefaultContents()
	if a.poster, err = c.Webhooks.poster(); err != nil {
		return a, fmt.Errorf("webhooks: %w", err)
	}
	if a.Service, err = sender.New(ctx, sender.Config{
		Store: a.store, Checker: checker, CheckerFor: shared(checker), Canary: canary, Provider: provider, Poster: a.poster, Settings: settings, Log: log,
	}); err != nil {
		return a, err
	}
	if a.OTP, err = otp.New(ctx, otp.Config{Store: a.store.OTP(), Sender: a.Service, Settings: c.otpSettings(), Log: log}); err != nil {
		return a, err
	}
	if err := a.engine(); err != nil {
		return a, err
	}
	if err := a.jobs.Check(ctx); err != nil {
		return a, err
	}
	signing, err := a.store.Secret(ctx, "access-token", 32)
	if err != nil {
		return a, err
	}
	if a.Auth, err = auth.New(auth.Config{Store: a.store, SigningKey: signing, TokenLife: c.TokenTTL, Log: log}); err != nil {
		return a, err
	}
	if err := a.nameServer(service, provider, x); err != nil {
		return a, err
	}
	if l.TLS != nil && a.tls == nil {
		pair, err := tls.LoadX509KeyPair(c.HTTP.TLSCert, c.HTTP.TLSKey)
		if err != nil {
			return a, fmt.Errorf("http.tls_cert and http.tls_key: %w", err)
		}
		a.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	}
	a.handler = a.routes(x)
	return a, nil
}

func (a *App) provider(ctx context.Context, service dnscheck.Name) (*builtin.Provider, error) {
	relays := make(map[string]*mail.Relay)
	for region, r := range a.cfg.relays() {
		relay, err := newRelay(r, service)
		if err != nil {
			return nil, fmt.Errorf("relay of region %q: %w", region, err)
		}
		relays[region] = relay
		a.relays = append(a.relays, relay)
	}
	own, err := a.cfg.Send.TenantRelays.open()
	if err != nil {
		return nil, fmt.Errorf("send.tenant_relays: %w", err)
	}
	p, err := builtin.New(ctx, builtin.Config{Service: service, Names: a.cfg.Names, Store: a.store, Relays: relays, TenantRelays: own, Log: a.log})
	a.builtin = p
	return p, err
}

func (c TenantRelaysConfig) open() (r builtin.TenantRelays, err error) {
	r.PlainHTTP = c.PlainHTTP
	if r.Allow, err = parsePrefixes(c.Allow); err == nil {
		r.Roots, err = rootsWith(c.CAFile)
	}
	return r, err
}

func (c WebhooksConfig) poster() (*webhook.Poster, error) {
	allow, err := parsePrefixes(c.Allow)
	if err != nil {
		return nil, err
	}
	roots, err := rootsWith(c.CAFile)
	if err != nil {
		return nil, err
	}
	guard := outbound.Guard{Allow: allow, Ports: webhook.Ports, Setting: "webhooks.allow"}
	return webhook.New(webhook.Config{
		Client:  guard.Client(outbound.ClientConfig{Roots: roots, Plain: c.PlainHTTP, Timeout: c.Timeout}),
		Formats: map[sender.WebhookFormat]webhook.Body{pingone.ActivityFormat: pingone.Activities},
	}), nil
}

// rootsWith are the system's authorities and those of a file; nil without one.
func rootsWith(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return roots, nil
}

func newRelay(r RelayConfig, service dnscheck.Name) (*mail.Relay, error) {
	c := mail.RelayConfig{
		Address: r.Address, TLS: mail.TLSMode(r.TLS), HELO: r.HELO, Username: r.Username, MaxConnections: r.Connections,
	}
	if c.HELO == "" {
		c.HELO = service.String()
	}
	if r.PasswordFile != "" {
		password, err := os.ReadFile(r.PasswordFile)
		if err != nil {
			return nil, err
		}
		c.Password = strings.TrimRight(string(password), "\r\n")
	}
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", r.CAFile)
		}
		c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return mail.NewRelay(c)
}

// checker makes what asks the DNS; see dnscheck.CheckerConfig for explainEvery.
func (c Config) checker(explainEvery time.Duration) (*dnscheck.Checker, error) {
	servers := slices.Clone(c.DNS.Resolvers)
	if len(servers) == 0 {
		system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil || len(system.Servers) == 0 {
			return nil, errors.New("dns.resolvers is not set and the system names none: give at least two resolvers as HOST:PORT")
		}
		for _, s := range system.Servers {
			servers = append(servers, net.JoinHostPort(s, system.Port))
		}
	}
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: servers, Timeout: c.DNS.Timeout})
	if err != nil {
		return nil, err
	}
	addresses, err := parseAuthoritativeMap(c.DNS.AuthoritativeMap)
	if err != nil {
		return nil, fmt.Errorf("dns.authoritative_map: %w", err)
	}
	checker, err := dnscheck.NewChecker(dnscheck.CheckerConfig{
		Resolver: resolver, Quorum: c.Verify.Quorum, Mode: dnscheck.Mode(c.DNS.Mode),
		AuthoritativeMap: addresses, AllowPrivateNS: c.DNS.AllowPrivateNS, TrustAD: c.DNS.TrustAD,
		ExplainEvery: explainEvery,
	})
	if err != nil {
		return nil, fmt.Errorf("verify.quorum is %d with the resolvers %s: %w", c.Verify.Quorum, strings.Join(servers, ", "), err)
	}
	return checker, nil
}

// shared gives each tenant its part of a Checker.
func shared(c *dnscheck.Checker) func(tenant string, watch bool) sender.Checker {
	return func(tenant string, watch bool) sender.Checker {
		if watch {
			return c.Watch(tenant)
		}
		return c.For(tenant)
	}
}

// engine hangs the core's tasks on River.
func (a *App) engine() (err error) {
	a.jobs, err = jobs.New(jobs.Config{
		Writer: a.store.Writer(), Pool: a.store.Pool(), Log: a.log,
		Workers: map[sender.TaskKind]jobs.Worker{
			sender.TaskDispatch: func(context.Context, sender.Task) error { a.Service.Wake(); return nil },
			sender.TaskKeys:     func(ctx context.Context, t sender.Task) error { return a.Service.MakeKeys(ctx, t.Tenant, t.Object) },
		},
		Interruptible: []sender.TaskKind{sender.TaskKeys},
		Periodic: []jobs.Periodic{
			{Name: "recheck", Every: a.cfg.Verify.Sweep, Run: a.recheck},
			{Name: "leftovers", Every: time.Minute, Run: a.leftovers},
			{Name: "forget-evidence", Every: time.Hour, Run: a.Service.ForgetEvidence},
			{Name: "forget-deliveries", Every: time.Hour, Run: a.Service.ForgetDeliveries},
			{Name: "forget-codes", Every: 10 * time.Minute, Run: a.OTP.Forget},
		},
	})
	if err == nil {
		a.store.SetEnqueuer(a.jobs)
	}
	return err
}

// recheck looks at all domains that are due now.
func (a *App) recheck(ctx context.Context) error {
	const batch = 500
	for ctx.Err() == nil {
		n, err := a.Service.RecheckDue(ctx, batch)
		if err != nil || n < batch {
			return err
		}
	}
	return nil
}

// leftovers looks for the records of all deleted domains that are due now.
func (a *App) leftovers(ctx context.Context) error {
	const batch = 50
	for ctx.Err() == nil {
		n, err := a.Service.WatchLeftovers(ctx, batch)
		if err != nil || n < batch {
			return err
		}
	}
	return nil
}

func (a *App) nameServer(service dnscheck.Name, provider *builtin.Provider, x extras) error {
	if a.listeners.Packet == nil {
		return nil
	}
	c := zone.ServiceConfig{Domain: service.String(), Hostmaster: a.cfg.Service.Hostmaster, TTL: x.zoneTTL, KeyTTL: x.zoneTTL, Keys: provider.PublicTXT}
	var err error
	if c.Outbound, err = parsePrefixes(a.cfg.Service.Outbound); err != nil {
		return err
	}
	if c.Feedback, err = parseAddresses(a.cfg.Service.Feedback); err != nil {
		return err
	}
	for _, n := range a.cfg.Service.Nameservers {
		as, err := parseAddresses(n.Addresses)
		if err != nil {
			return err
		}
		c.Nameservers = append(c.Nameservers, zone.NS{Host: n.Host, Addrs: as})
	}
	source, err := zone.NewService(c)
	if err != nil {
		return fmt.Errorf("service zone: %w", err)
	}
	sc := zone.ServerConfig{Source: source, RateLimit: a.cfg.DNS.RateLimit}
	if x.names != nil {
		sc = x.names(source)
	}
	sc.Log = a.log
	a.names, err = zone.NewServer(sc)
	return err
}

// Run serves until ctx is done and then ends in order: no new requests, no new
// deliveries, those under way finished and recorded, and only then the store.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	servers, ctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		l   net.Listener
		tls *tls.Config
		h   http.Handler
	}{{a.listeners.HTTP, nil, a.handler}, {a.listeners.TLS, a.tls, a.handler}, {a.listeners.Debug, nil, profiles()}} {
		if s.l == nil {
			continue
		}
		if s.tls != nil {
			s.l = tls.NewListener(s.l, s.tls)
		}
		servers.Go(func() error { return serveHTTP(ctx, s.l, s.h, a.log) })
	}
	if a.names != nil {
		servers.Go(func() error { return a.names.Serve(ctx, a.listeners.Packet, a.listeners.DNS) })
	}
	servers.Go(func() error { return a.Service.RunDispatcher(ctx) })
	servers.Go(func() error { return a.Service.RunWebhooks(ctx) })
	servers.Go(func() error { return a.jobs.Run(ctx) })
	// What lives is small (some MiB) and what dies is plenty: at Go's default the
	// collector would run many times a second for a few MiB of memory saved.
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	a.log.Info("ready", "http", address(a.listeners.HTTP), "https", address(a.listeners.TLS), "dns", address(a.listeners.DNS))
	err := servers.Wait()
	a.log.Info("stopped")
	return err
}

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

const gcPercent = 400

// drainHTTP is how long requests under way may take when the instance ends.
const drainHTTP = 10 * time.Second

func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainHTTP)
	defer cancel()
	err := s.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	<-ended
	return err
}

func (a *App) close() {
	for _, r := range a.relays {
		_ = r.Close()
	}
	if a.builtin != nil {
		a.builtin.Close()
	}
	if a.poster != nil {
		a.poster.Close()
	}
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.log.Warn("the store did not close cleanly", "error", err)
		}
	}
}

// Migrate brings a database to the schema of this program, River's tables included.
func Migrate(ctx context.Context, c Config, log *slog.Logger) error {
	keys, err := c.keyring()
	if err != nil {
		return err
	}
	return migrate(ctx, c.Database, keys, log)
}
