package app

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/postseal/postseal/internal/api/sailpoint"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/provider/builtin"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/template"
)

// Config is everything that can be set about `postseal serve`. Sources, later
// ones winning: defaults, the file, the environment, flags. In the file (YAML)
// the keys are nested; in the environment http.listen is POSTSEAL_HTTP__LISTEN;
// on the command line it is --set http.listen=... . Durations are written 72h,
// 15s. Unknown keys are errors, and all problems are reported at once.
type Config struct {
	// Database is sqlite:FILE (or just FILE), or postgres://... . Needed.
	Database string `koanf:"database"`
	// KeyFile holds the key-encryption keys, a line each: ID:BASE64 of 32 octets. The
	// first seals, all open. It must not be readable for others. Needed, unless Keys
	// gives the same text, which is meant for environments that hand over secrets so.
	KeyFile string `koanf:"key_file"`
	Keys    string `koanf:"keys"`

	HTTP     HTTPConfig     `koanf:"http"`
	Service  ServiceConfig  `koanf:"service"`
	DNS      DNSConfig      `koanf:"dns"`
	Names    builtin.Names  `koanf:"names"` // templates of the records that owners publish
	Verify   VerifyConfig   `koanf:"verify"`
	Domains  DomainsConfig  `koanf:"domains"`
	Code     CodeConfig     `koanf:"code"`
	Send     SendConfig     `koanf:"send"`
	Webhooks WebhooksConfig `koanf:"webhooks"`
	OTP      OTPConfig      `koanf:"otp"`
	Template TemplateConfig `koanf:"templates"`
	PingID   PingIDConfig   `koanf:"pingid"`
	// SailPoint is about the API of SailPoint's notifications.
	SailPoint SailPointConfig `koanf:"sailpoint"`
	Log       LogConfig       `koanf:"log"`
	Debug     DebugConfig     `koanf:"debug"`
	TokenTTL  time.Duration   `koanf:"token_ttl"` // life of access tokens
	// Geographies name the regions that new tenants get; DefaultGeography is that of
	// tenants which name none.
	Geographies      map[string][]string `koanf:"geographies"`
	DefaultGeography string              `koanf:"default_geography"`
}

// HTTPConfig is where the APIs listen.
type HTTPConfig struct {
	Listen    string `koanf:"listen"`     // plain HTTP, HOST:PORT; empty: not
	TLSListen string `koanf:"tls_listen"` // HTTPS, HOST:PORT; empty: not
	TLSCert   string `koanf:"tls_cert"`   // PEM files, with TLSListen
	TLSKey    string `koanf:"tls_key"`
	// PublicURL is what links in mail begin with, such as https://mail.postseal.example.
	PublicURL string `koanf:"public_url"`
	// TrustForwarded takes X-Forwarded-Proto from whoever connects; only behind a
	// proxy that sets it.
	TrustForwarded bool `koanf:"trust_forwarded"`
}

// ServiceConfig is the service's own domain and what its zone shows.
type ServiceConfig struct {
	Domain      string       `koanf:"domain"`      // targets of owners' records lie below it. Needed
	Nameservers []Nameserver `koanf:"nameservers"` // as the delegation names them. Needed with dns.listen
	Feedback    []string     `koanf:"feedback"`    // addresses of feedback.DOMAIN, which takes bounces
	Outbound    []string     `koanf:"outbound"`    // addresses or prefixes that mail is sent from, for SPF
	Hostmaster  string       `koanf:"hostmaster"`  // mailbox in the SOA; default hostmaster@DOMAIN
}

// Nameserver is one of the service zone.
type Nameserver struct {
	Host      string   `koanf:"host"`
	Addresses []string `koanf:"addresses"`
}

// parseAuthoritativeMap reads a list of IP=HOST:PORT.
func parseAuthoritativeMap(list []string) (map[netip.Addr]string, error) {
	m := make(map[netip.Addr]string)
	for _, s := range list {
		ip, at, _ := strings.Cut(s, "=")
		addr, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			return nil, fmt.Errorf("%q: write it as IP=HOST:PORT", s)
		}
		at = strings.TrimSpace(at)
		if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("%q: write it as IP=HOST:PORT", s)
		}
		m[addr] = at
	}
	return m, nil
}

// DNSConfig is how Postseal asks and answers.
type DNSConfig struct {
	Listen    string        `koanf:"listen"`     // the service zone's name server, HOST:PORT; empty: not
	RateLimit int           `koanf:"rate_limit"` // UDP answers a second and client network; 0: no limit
	Resolvers []string      `koanf:"resolvers"`  // HOST or HOST:PORT; default: those of the system
	Timeout   time.Duration `koanf:"timeout"`    // of one question to one server
	// Mode is "authoritative" (the name servers of each zone are asked, resolvers say who
	// they are and corroborate) or "resolver" (for sites that cannot reach port 53).
	Mode string `koanf:"mode"`
	// AuthoritativeMap says as IP=HOST:PORT where a name server's address really listens.
	AuthoritativeMap []string `koanf:"authoritative_map"`
	AllowPrivateNS   bool     `koanf:"allow_private_ns"` // ask name servers at private addresses too
	TrustAD          []string `koanf:"trust_ad"`         // those of resolvers whose validation (AD) is proof
}

// VerifyConfig are the settings of proof.
type VerifyConfig struct {
	Grace        time.Duration `koanf:"grace"`
	LossChecks   int           `koanf:"loss_checks"`
	Freshness    time.Duration `koanf:"freshness"`
	Quorum       int           `koanf:"quorum"` // resolvers that must agree before a proof is granted
	KeepTokens   time.Duration `koanf:"keep_tokens"`
	PendingEvery time.Duration `koanf:"pending_every"`
	ActiveEvery  time.Duration `koanf:"active_every"`
	LapsingEvery time.Duration `koanf:"lapsing_every"`
	UnknownEvery time.Duration `koanf:"unknown_every"`
	Sweep        time.Duration `koanf:"sweep"` // how often due domains are looked for
	// Canary are zones that certainly exist: while none of them can be seen, the network
	// is sick and no proof is lost. Default: the service domain, and the registrable
	// domain that it is below.
	Canary    []string `koanf:"canary"`
	MassGuard float64  `koanf:"mass_guard"` // per cent of a sweep; 0: none
	MassLeast int      `koanf:"mass_least"` // domains of a sweep
}

// DomainsConfig says who may prove a name that another tenant has proven.
type DomainsConfig struct {
	Claims        string        `koanf:"claims"`         // shared, or exclusive: the first one proven holds it
	ClaimCooldown time.Duration `koanf:"claim_cooldown"` // from a claim to its end, for the holder to object
	ClaimQuiet    time.Duration `koanf:"claim_quiet"`    // a holder that sent mail in this time keeps the name
}

// CodeConfig are the settings of verification codes.
type CodeConfig struct {
	Life         time.Duration `koanf:"life"`
	Tries        int           `koanf:"tries"`
	ResendAfter  time.Duration `koanf:"resend_after"`
	ResendPerDay int           `koanf:"resend_per_day"`
	PerRecipient int           `koanf:"per_recipient"`
}

// SendConfig are the ways out.
type SendConfig struct {
	Relay      RelayConfig            `koanf:"relay"`   // Needed
	Regions    map[string]RelayConfig `koanf:"regions"` // relays of single regions
	Workers    int                    `koanf:"workers"` // deliveries at a time
	Life       time.Duration          `koanf:"life"`
	FirstRetry time.Duration          `koanf:"first_retry"`
	LastRetry  time.Duration          `koanf:"last_retry"`
	// Lease is how long a message stays with a node that stopped renewing its claim:
	// after a crash of one of several nodes its mail goes on after so long.
	Lease      time.Duration `koanf:"lease"`
	QueueLimit int           `koanf:"queue_limit"`
	// TenantRelays is about SMTP servers and HTTP APIs that tenants bring.
	TenantRelays TenantRelaysConfig `koanf:"tenant_relays"`
}

// TenantRelaysConfig is what tenants may do with SMTP servers and HTTP APIs of their
// own.
type TenantRelaysConfig struct {
	Enabled   bool     `koanf:"enabled"`
	Allow     []string `koanf:"allow"`      // addresses or prefixes that are not public and may be connected to all the same
	CAFile    string   `koanf:"ca_file"`    // PEM of authorities that are trusted beside the system's
	Workers   int      `koanf:"workers"`    // deliveries at a time to one of them
	PlainHTTP bool     `koanf:"plain_http"` // http:// of an API, too
}

// WebhooksConfig is about the URLs that tenants have their events posted to.
type WebhooksConfig struct {
	PerTenant  int           `koanf:"per_tenant"` // that a tenant can have; 0: none
	Workers    int           `koanf:"workers"`    // webhooks served at a time
	Timeout    time.Duration `koanf:"timeout"`    // of one attempt
	Life       time.Duration `koanf:"life"`       // an event that was not taken in this time is given up
	FirstRetry time.Duration `koanf:"first_retry"`
	LastRetry  time.Duration `koanf:"last_retry"`
	DisableIn  time.Duration `koanf:"disable_in"` // a webhook that took nothing in this time is disabled
	Allow      []string      `koanf:"allow"`      // addresses or prefixes that are not public and may be connected to all the same
	CAFile     string        `koanf:"ca_file"`    // PEM of authorities that are trusted beside the system's
	Insecure   bool          `koanf:"insecure"`   // URLs may be http; for development
}

// RelayConfig is an SMTP server that takes mail from us.
type RelayConfig struct {
	Address      string `koanf:"address"` // HOST:PORT
	TLS          string `koanf:"tls"`     // starttls (default), implicit, opportunistic, none
	CAFile       string `koanf:"ca_file"` // PEM; default: the system's
	Username     string `koanf:"username"`
	PasswordFile string `koanf:"password_file"`
	HELO         string `koanf:"helo"` // default: the service domain
	Connections  int    `koanf:"connections"`
}

// OTPConfig are the settings of one-time codes that people sign in with.
type OTPConfig struct {
	SessionLife  time.Duration `koanf:"session_life"`  // of a pairing or an authentication
	Tries        int           `koanf:"tries"`         // wrong codes in one of them
	WrongPerDay  int           `koanf:"wrong_per_day"` // wrong codes of one user, all of them together
	PerUser      int           `koanf:"per_user"`      // codes sent to one user in an hour
	PerRecipient int           `koanf:"per_recipient"` // codes sent to one address in a day by one tenant; all together may send ten times as many
	Keep         time.Duration `koanf:"keep"`          // how long what has ended stays in the database
}

// TemplateConfig is about the mail of templates.
type TemplateConfig struct {
	// BuiltinSenders are addresses that every tenant may put into its templates; their
	// mail leaves from the service's own no-reply.
	BuiltinSenders []string `koanf:"builtin_senders"`
	// LastLocale is tried last where a template is missing in the wanted locale; empty:
	// nothing is.
	LastLocale string `koanf:"last_locale"`
}

// PingIDConfig is about the API of the PingID SDK.
type PingIDConfig struct {
	// PublicNames are host names that clients use, beside that of http.public_url and
	// of the Host header: they sign the host of the URL that they were given.
	PublicNames    []string `koanf:"public_names"`
	ActionsCreate  bool     `koanf:"actions_create"`  // answer 201 to activate and resend
	RefuseReplays  bool     `koanf:"refuse_replays"`  // let no request in twice
	RequireExpires bool     `koanf:"require_expires"` // let no request in that can be used for ever
	PrefixNames    bool     `koanf:"prefix_names"`    // answer names of applications as the vendor's console made them
}

// SailPointConfig is about the API of SailPoint's notifications.
type SailPointConfig struct {
	// Experimental is strict (the releases of 2024 and 2025 demand the header
	// X-SailPoint-Experimental, as their document does) or off.
	Experimental string        `koanf:"experimental"`
	RateLimit    int           `koanf:"rate_limit"` // requests of a client to a release in ten seconds; 0: no limit
	TokenTTL     time.Duration `koanf:"token_ttl"`  // life of access tokens of its token endpoint
}

// DebugConfig is for looking into a running instance.
type DebugConfig struct {
	Listen string `koanf:"listen"` // HOST:PORT on loopback for Go's profiles (/debug/pprof/); empty: not
}

// LogConfig is what is written to standard error.
type LogConfig struct {
	Level  string `koanf:"level"`  // debug, info, warn, error
	Format string `koanf:"format"` // json or text
}

// DefaultConfig is complete but for the database, the keys, the service domain
// and the relay, which nobody can guess.
func DefaultConfig() Config {
	s, o := sender.DefaultSettings(), otp.DefaultSettings()
	return Config{
		HTTP:  HTTPConfig{Listen: "127.0.0.1:8080"},
		DNS:   DNSConfig{Timeout: time.Second, RateLimit: 1000, Mode: string(dnscheck.ModeAuthoritative)},
		Names: builtin.DefaultNames,
		Verify: VerifyConfig{
			Grace: s.Verify.Grace, LossChecks: s.Verify.LossChecks, Freshness: s.Verify.Freshness, Quorum: 2, KeepTokens: s.Verify.KeepTokens,
			PendingEvery: s.Verify.PendingEvery, ActiveEvery: s.Verify.VerifiedEvery, LapsingEvery: s.Verify.LapsingEvery,
			UnknownEvery: s.Verify.UnknownEvery, Sweep: 5 * time.Second,
			MassGuard: s.Verify.MassGuard, MassLeast: s.Verify.MassLeast,
		},
		Domains: DomainsConfig{Claims: string(s.Claims.Policy), ClaimCooldown: s.Claims.Cooldown, ClaimQuiet: s.Claims.Quiet},
		Code: CodeConfig{
			Life: s.Code.Life, Tries: s.Code.Tries, ResendAfter: s.Code.ResendAfter, ResendPerDay: s.Code.ResendPerDay, PerRecipient: s.Code.PerRecipient,
		},
		Send: SendConfig{
			Workers: s.Send.Workers, Life: s.Send.Life, FirstRetry: s.Send.FirstRetry, LastRetry: s.Send.LastRetry,
			Lease: s.Send.Lease, QueueLimit: s.Send.QueueLimit,
			TenantRelays: TenantRelaysConfig{Enabled: s.Send.OwnRelays, Workers: s.Send.RelayWorkers, PlainHTTP: s.Send.PlainHTTP},
		},
		Webhooks: WebhooksConfig{
			PerTenant: s.Webhooks.PerTenant, Workers: s.Webhooks.Workers, Timeout: s.Webhooks.Timeout, Life: s.Webhooks.Life,
			FirstRetry: s.Webhooks.FirstRetry, LastRetry: s.Webhooks.LastRetry, DisableIn: s.Webhooks.DisableIn,
		},
		OTP: OTPConfig{
			SessionLife: o.SessionLife, Tries: o.Tries, WrongPerDay: o.WrongPerDay, PerUser: o.PerUser, PerRecipient: s.Code.OTPPerRecipient, Keep: o.Keep,
		},
		Template:         TemplateConfig{BuiltinSenders: s.BuiltinSenders, LastLocale: string(s.LastLocale)},
		SailPoint:        SailPointConfig{Experimental: "strict", RateLimit: sailpoint.DefaultRateLimit, TokenTTL: sailpoint.DefaultTokenLife},
		Log:              LogConfig{Level: "info", Format: "json"},
		TokenTTL:         time.Hour,
		Geographies:      s.Geographies,
		DefaultGeography: s.DefaultGeography,
	}
}

// clientVariables are read by Postseal's clients, written by `postseal dev`, or
// belong to its tests: they share the prefix and configure no server.
var clientVariables = []string{
	"POSTSEAL_URL", "POSTSEAL_TLS_URL", "POSTSEAL_CA_FILE", "POSTSEAL_OPERATOR_KEY", "POSTSEAL_DNS", "POSTSEAL_INBOX", "POSTSEAL_DEV_DIR", "POSTSEAL_PINGONE_PROXY", "POSTSEAL_ALLOW_PRIVATE_NS",
	"POSTSEAL_CONFIG", "POSTSEAL_ALLOW_PRIVATE_NS",
}

// LoadConfig reads the configuration of a server: defaults, then the file (none
// when path is empty), the environment in the form NAME=value, and settings in
// the form key=value. The error names every problem.
func LoadConfig(path string, environ, settings []string) (Config, error) {
	return load(path, environ, settings, Config.problems)
}

// LoadDatabaseConfig is LoadConfig for commands that need no more than the
// database and the keys.
func LoadDatabaseConfig(path string, environ, settings []string) (Config, error) {
	return load(path, environ, settings, Config.databaseProblems)
}

func load(path string, environ, settings []string, check func(Config) []error) (Config, error) {
	k := koanf.NewWithConf(koanf.Conf{Delim: ".", StrictMerge: false})
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Config{}, fmt.Errorf("configuration file %s: %w", path, err)
		}
	}
	var problems []error
	overrides := map[string]any{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "POSTSEAL_") && !isClientVariable(name) {
			overrides[strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "POSTSEAL_")), "__", ".")] = value
		}
	}
	for _, s := range settings {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			problems = append(problems, fmt.Errorf("--set %s: write it as key=value", s))
			continue
		}
		overrides[key] = value
	}
	if err := k.Load(confmap.Provider(overrides, "."), nil); err != nil {
		problems = append(problems, err)
	}
	c := DefaultConfig()
	if k.Exists("geographies") {
		c.Geographies = nil // given ones replace the defaults, they don't mix
	}
	if k.Exists("templates.builtin_senders") {
		c.Template.BuiltinSenders = nil
	}
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, ErrorUnused: true, WeaklyTypedInput: true, TagName: "koanf",
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), commaList),
	}})
	if err != nil {
		problems = append(problems, decodeProblems(err)...)
	}
	problems = append(problems, check(c)...)
	return c, errors.Join(problems...)
}

func isClientVariable(name string) bool {
	return slices.Contains(clientVariables, name) || strings.HasPrefix(name, "POSTSEAL_TEST_")
}

// commaList lets a list be given in one environment variable.
func commaList(from, to reflect.Type, v any) (any, error) {
	s, ok := v.(string)
	if !ok || to != reflect.TypeFor[[]string]() {
		return v, nil
	}
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

// decodeProblems takes mapstructure's list apart into lines of our own form.
func decodeProblems(err error) []error {
	var multi interface{ Unwrap() []error }
	if errors.As(err, &multi) {
		var all []error
		for _, e := range multi.Unwrap() {
			all = append(all, decodeProblems(e)...)
		}
		return all
	}
	text := strings.TrimSpace(err.Error())
	if at, keys, ok := strings.Cut(text, " has invalid keys: "); ok {
		var all []error
		for key := range strings.SplitSeq(keys, ", ") {
			all = append(all, fmt.Errorf("unknown setting %s", strings.TrimPrefix(strings.Trim(at, "'")+"."+key, ".")))
		}
		return all
	}
	return []error{errors.New(strings.ReplaceAll(text, "time: invalid duration", "is not a duration; write it like 72h, 15m or 30s"))}
}

// databaseProblems lists what keeps the database from being opened.
func (c Config) databaseProblems() (ps []error) {
	if c.Database == "" {
		ps = append(ps, errors.New("database is not set: give sqlite:FILE or postgres://USER@HOST/NAME"))
	}
	if c.KeyFile == "" && c.Keys == "" {
		ps = append(ps, errors.New("there is no key-encryption key: make one with `postseal keygen --out FILE`, keep a copy in a safe place, and set key_file"))
	} else if _, err := c.keyring(); err != nil {
		ps = append(ps, err)
	}
	return ps
}

// problems lists what would keep the server from starting.
func (c Config) problems() []error {
	ps := c.databaseProblems()
	add := func(format string, args ...any) { ps = append(ps, fmt.Errorf(format, args...)) }
	if c.HTTP.Listen == "" && c.HTTP.TLSListen == "" {
		add("http.listen and http.tls_listen are both empty: nobody could reach the API")
	}
	if (c.HTTP.TLSListen != "") && (c.HTTP.TLSCert == "" || c.HTTP.TLSKey == "") {
		add("http.tls_listen needs http.tls_cert and http.tls_key")
	}
	if err := onLoopback(c.Debug.Listen); err != nil {
		add("debug.listen: profiles tell too much for others to read: %w", err)
	}
	for key, value := range map[string]string{"http.listen": c.HTTP.Listen, "http.tls_listen": c.HTTP.TLSListen, "dns.listen": c.DNS.Listen, "send.relay.address": c.Send.Relay.Address} {
		if _, _, err := net.SplitHostPort(value); value != "" && err != nil {
			add("%s is %q: write it as HOST:PORT", key, value)
		}
	}
	if u, err := url.Parse(c.HTTP.PublicURL); c.HTTP.PublicURL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		add("http.public_url is %q: write it as https://HOST", c.HTTP.PublicURL)
	}
	if c.Service.Domain == "" {
		add("service.domain is not set: give the domain that is delegated to this service, such as mail.postseal.example")
	} else if _, err := dnscheck.ParseDomain(c.Service.Domain); err != nil {
		add("service.domain: %w", err)
	}
	if c.DNS.Listen != "" && len(c.Service.Nameservers) == 0 {
		add("dns.listen is set and service.nameservers is not: list at least one with host and addresses, as the delegation of service.domain names it")
	}
	if m := dnscheck.Mode(c.DNS.Mode); m != dnscheck.ModeAuthoritative && m != dnscheck.ModeResolver {
		add("dns.mode is %q: use authoritative, or resolver where port 53 cannot be reached", c.DNS.Mode)
	}
	if _, err := parseAuthoritativeMap(c.DNS.AuthoritativeMap); err != nil {
		add("dns.authoritative_map: %w", err)
	}
	if _, err := parsePrefixes(c.Service.Outbound); err != nil {
		add("service.outbound: %w", err)
	}
	if _, err := parseAddresses(c.Service.Feedback); err != nil {
		add("service.feedback: %w", err)
	}
	for i, n := range c.Service.Nameservers {
		if _, err := parseAddresses(n.Addresses); err != nil {
			add("service.nameservers[%d].addresses: %w", i, err)
		}
	}
	if c.Send.Relay.Address == "" {
		add("send.relay.address is not set: give the SMTP server that takes our mail, as HOST:PORT")
	}
	for name, r := range c.relays() {
		key := "send.relay"
		if name != "" {
			key = "send.regions." + name
		}
		if !slices.Contains([]mail.TLSMode{"", mail.StartTLS, mail.ImplicitTLS, mail.OpportunisticTLS, mail.NoTLS}, mail.TLSMode(r.TLS)) {
			add("%s.tls is %q: use starttls, implicit, opportunistic or none", key, r.TLS)
		}
		if (r.Username == "") != (r.PasswordFile == "") {
			add("%s: username and password_file go together", key)
		}
	}
	if _, err := parsePrefixes(c.Send.TenantRelays.Allow); err != nil {
		add("send.tenant_relays.allow: %w", err)
	}
	if _, err := parsePrefixes(c.Webhooks.Allow); err != nil {
		add("webhooks.allow: %w", err)
	}
	if n := c.Webhooks.PerTenant; n < 0 {
		add("webhooks.per_tenant is %d: it must be at least 0, which is none", n)
	}
	if err := c.Names.Validate(); err != nil {
		add("%w", err)
	}
	for key, d := range map[string]time.Duration{
		"verify.grace": c.Verify.Grace, "verify.keep_tokens": c.Verify.KeepTokens, "verify.pending_every": c.Verify.PendingEvery,
		"verify.active_every": c.Verify.ActiveEvery, "verify.lapsing_every": c.Verify.LapsingEvery, "verify.unknown_every": c.Verify.UnknownEvery,
		"verify.sweep": c.Verify.Sweep, "domains.claim_cooldown": c.Domains.ClaimCooldown, "domains.claim_quiet": c.Domains.ClaimQuiet, "code.life": c.Code.Life, "send.life": c.Send.Life, "send.first_retry": c.Send.FirstRetry,
		"send.last_retry": c.Send.LastRetry, "send.lease": c.Send.Lease, "dns.timeout": c.DNS.Timeout, "token_ttl": c.TokenTTL,
		"otp.session_life": c.OTP.SessionLife, "otp.keep": c.OTP.Keep, "sailpoint.token_ttl": c.SailPoint.TokenTTL,
		"webhooks.timeout": c.Webhooks.Timeout, "webhooks.life": c.Webhooks.Life, "webhooks.first_retry": c.Webhooks.FirstRetry,
		"webhooks.last_retry": c.Webhooks.LastRetry, "webhooks.disable_in": c.Webhooks.DisableIn,
	} {
		if d <= 0 {
			add("%s is %s: it must be longer than nothing", key, d)
		}
	}
	if c.Verify.Sweep > 0 && c.Verify.Sweep < time.Second {
		add("verify.sweep is %s: one second is the least", c.Verify.Sweep)
	}
	if t := c.Webhooks.Timeout; t > 20*time.Second { // an attempt must end before its lease
		add("webhooks.timeout is %s: twenty seconds are the most", t)
	}
	if _, err := c.canaries(); err != nil {
		add("verify.canary: %w", err)
	}
	if g := c.Verify.MassGuard; g < 0 || g > 100 {
		add("verify.mass_guard is %g: it must be a percentage; 0 is none", g)
	}
	for key, n := range map[string]int{
		"verify.mass_least":  c.Verify.MassLeast,
		"verify.loss_checks": c.Verify.LossChecks, "verify.quorum": c.Verify.Quorum, "code.tries": c.Code.Tries,
		"code.resend_per_day": c.Code.ResendPerDay, "code.per_recipient": c.Code.PerRecipient, "send.workers": c.Send.Workers, "send.queue_limit": c.Send.QueueLimit,
		"send.tenant_relays.workers": c.Send.TenantRelays.Workers, "webhooks.workers": c.Webhooks.Workers,
		"otp.tries": c.OTP.Tries, "otp.wrong_per_day": c.OTP.WrongPerDay, "otp.per_user": c.OTP.PerUser, "otp.per_recipient": c.OTP.PerRecipient,
	} {
		if n < 1 {
			add("%s is %d: it must be at least 1", key, n)
		}
	}
	if c.Send.TenantRelays.Enabled && c.Send.Workers < 2 {
		add("send.workers is %d: with send.tenant_relays.enabled it must be at least 2, so that mail goes on while a tenant's server hangs", c.Send.Workers)
	}
	if p := sender.ClaimPolicy(c.Domains.Claims); p != sender.SharedNames && p != sender.ExclusiveNames {
		add("domains.claims is %q: use shared or exclusive", c.Domains.Claims)
	}
	if e := c.SailPoint.Experimental; e != "strict" && e != "off" {
		add("sailpoint.experimental is %q: use strict or off", e)
	}
	if c.SailPoint.RateLimit < 0 {
		add("sailpoint.rate_limit is %d: it must be at least 0, which sets no limit", c.SailPoint.RateLimit)
	}
	if t := c.SailPoint.TokenTTL; t > 0 && t < time.Second {
		add("sailpoint.token_ttl is %s: one second is the least", t)
	}
	if _, err := c.builtinSenders(); err != nil {
		add("templates.builtin_senders: %w", err)
	}
	if _, err := template.ParseLocale(c.Template.LastLocale); c.Template.LastLocale != "" && err != nil {
		add("templates.last_locale: %w", err)
	}
	for _, name := range c.PingID.PublicNames {
		if name == "" || strings.ContainsAny(name, "/@ ") { // nobody could sign that
			add("pingid.public_names has %q: write the host alone, such as mail.postseal.example", name)
		}
	}
	for name, regions := range c.Geographies {
		if len(regions) == 0 {
			add("geographies.%s has no region", name)
		}
	}
	if _, ok := c.Geographies[c.DefaultGeography]; !ok {
		add("default_geography is %q, which is none of %s", c.DefaultGeography, strings.Join(slices.Sorted(maps.Keys(c.Geographies)), ", "))
	}
	if _, err := c.Log.level(); err != nil {
		add("log.level is %q: use debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		add("log.format is %q: use json or text", c.Log.Format)
	}
	slices.SortFunc(ps, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return ps
}

func (c Config) relays() map[string]RelayConfig {
	all := maps.Clone(c.Send.Regions)
	if all == nil {
		all = make(map[string]RelayConfig)
	}
	all[""] = c.Send.Relay
	return all
}

func (c Config) settings() sender.Settings {
	s := sender.DefaultSettings()
	s.ReservedDomain = c.Service.Domain
	s.PublicURL = strings.TrimSuffix(c.HTTP.PublicURL, "/")
	s.Geographies, s.DefaultGeography = c.Geographies, c.DefaultGeography
	v := &s.Verify
	v.Grace, v.LossChecks, v.Freshness, v.KeepTokens = c.Verify.Grace, c.Verify.LossChecks, c.Verify.Freshness, c.Verify.KeepTokens
	v.PendingEvery, v.VerifiedEvery, v.LapsingEvery, v.UnknownEvery = c.Verify.PendingEvery, c.Verify.ActiveEvery, c.Verify.LapsingEvery, c.Verify.UnknownEvery
	v.MassGuard, v.MassLeast = c.Verify.MassGuard, c.Verify.MassLeast
	s.Claims.Policy, s.Claims.Cooldown, s.Claims.Quiet = sender.ClaimPolicy(c.Domains.Claims), c.Domains.ClaimCooldown, c.Domains.ClaimQuiet
	s.Code.Life, s.Code.Tries, s.Code.ResendAfter = c.Code.Life, c.Code.Tries, c.Code.ResendAfter
	s.Code.ResendPerDay, s.Code.PerRecipient = c.Code.ResendPerDay, c.Code.PerRecipient
	s.Send.Workers, s.Send.Life, s.Send.FirstRetry, s.Send.LastRetry = c.Send.Workers, c.Send.Life, c.Send.FirstRetry, c.Send.LastRetry
	s.Send.Lease, s.Send.QueueLimit = c.Send.Lease, c.Send.QueueLimit
	s.Send.OwnRelays, s.Send.RelayWorkers, s.Send.PlainHTTP = c.Send.TenantRelays.Enabled, c.Send.TenantRelays.Workers, c.Send.TenantRelays.PlainHTTP
	s.Code.OTPPerRecipient = c.OTP.PerRecipient
	w := &s.Webhooks
	w.PerTenant, w.Insecure, w.Workers, w.Timeout, w.Life = c.Webhooks.PerTenant, c.Webhooks.Insecure, c.Webhooks.Workers, c.Webhooks.Timeout, c.Webhooks.Life
	w.FirstRetry, w.LastRetry, w.DisableIn = c.Webhooks.FirstRetry, c.Webhooks.LastRetry, c.Webhooks.DisableIn
	s.BuiltinSenders, _ = c.builtinSenders() // checked by problems
	s.LastLocale, _ = template.ParseLocale(c.Template.LastLocale)
	return s
}

func (c Config) otpSettings() otp.Settings {
	return otp.Settings{SessionLife: c.OTP.SessionLife, Tries: c.OTP.Tries, WrongPerDay: c.OTP.WrongPerDay, PerUser: c.OTP.PerUser, Keep: c.OTP.Keep}
}

// canaries are the zones of verify.canary, or those that need nobody but ourselves.
func (c Config) canaries() (zones []dnscheck.Name, err error) {
	for _, text := range c.Verify.Canary {
		zone, err := dnscheck.ParseDomain(text)
		if err != nil {
			return nil, err
		}
		zones = append(zones, zone)
	}
	service, err := dnscheck.ParseDomain(c.Service.Domain)
	if len(zones) > 0 || err != nil {
		return zones, nil // what is wrong with the service domain is told elsewhere
	}
	zones = append(zones, service)
	if org := service.Registrable(); !org.IsZero() && org != service {
		zones = append(zones, org)
	}
	return zones, nil
}

// builtinSenders are in the form that the core compares.
func (c Config) builtinSenders() (all []string, err error) {
	for _, a := range c.Template.BuiltinSenders {
		canonical, _, err := sender.ParseMailbox("builtin_senders", a)
		if err != nil {
			return nil, err
		}
		all = append(all, canonical)
	}
	return all, nil
}

// pingidNames are the hosts that requests may be signed for. That of the public URL
// is among them without its port and with it, as that of the Host header is.
func (c Config) pingidNames() []string {
	names := slices.Clone(c.PingID.PublicNames)
	if u, err := url.Parse(c.HTTP.PublicURL); err == nil && u.Host != "" {
		names = append(names, strings.TrimSuffix(u.Host, ":"+u.Port()), u.Host) // an IPv6 address keeps its brackets
	}
	return slices.Compact(names)
}

// keyring reads the key-encryption keys; a file that others may read is refused.
func (c Config) keyring() (*store.Keyring, error) {
	if c.KeyFile == "" {
		return store.LoadKeyring(c.Keys)
	}
	info, err := os.Stat(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key_file %s may be read by others (mode %04o): chmod 600 it", c.KeyFile, info.Mode().Perm())
	}
	text, err := os.ReadFile(filepath.Clean(c.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	k, err := store.LoadKeyring(string(text))
	if err != nil {
		return nil, fmt.Errorf("key_file %s: %w", c.KeyFile, err)
	}
	return k, nil
}

func (l LogConfig) level() (level slog.Level, err error) {
	err = level.UnmarshalText([]byte(l.Level))
	return level, err
}

func parseAddresses(list []string) (as []netip.Addr, err error) {
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address", s)
		}
		as = append(as, a)
	}
	return as, nil
}

// parsePrefixes reads addresses and prefixes alike.
func parsePrefixes(list []string) (ps []netip.Prefix, err error) {
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a prefix such as 192.0.2.0/24", s)
		}
		ps = append(ps, p.Masked())
	}
	return ps, nil
}

// onLoopback refuses an address that other machines could reach.
func onLoopback(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: write it as HOST:PORT", address)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not a loopback address", address)
	}
	return nil
}
