package app

import (
	"time"

	"github.com/postseal/postseal/internal/api/sailpoint"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/provider/builtin"
	"github.com/postseal/postseal/internal/sender"
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
	PlainHTTP  bool          `koanf:"plain_http"` // URLs may be http; for development
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
