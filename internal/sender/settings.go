package sender

import (
	"time"

	"github.com/postseal/postseal/internal/template"
)

// Settings are the knobs of the core. Start from [DefaultSettings].
type Settings struct {
	// ReservedDomain is the service's own domain; no tenant may register it or a
	// name below it.
	ReservedDomain string
	// Geographies name the regions that a tenant of each gets.
	Geographies      map[string][]string
	DefaultGeography string

	// PublicURL begins the links in mail, without a slash at the end; empty: mail has
	// none.
	PublicURL string
	// BuiltinSenders are addresses that every tenant may put into its templates,
	// canonical. Their mail leaves from the provider's own no-reply.
	BuiltinSenders []string
	// LastLocale is tried last where a template is missing in the wanted locale;
	// empty: nothing is.
	LastLocale template.Locale
	// LastResort are contents by type, of nobody: mail is made of one where a tenant has
	// no template of its own of that type. Their ids and UpdatedAt name their texts.
	LastResort map[string]Template

	Verify   Verify
	Claims   Claims
	Code     Code
	Send     Send
	Webhooks Webhooks
}

// Verify are the settings of proof.
type Verify struct {
	Grace         time.Duration // from first absence to loss
	LossChecks    int           // absences that must be seen, spread over the grace
	Freshness     time.Duration // a result younger than this answers a client
	Inline        time.Duration // how long a client's read may wait for the DNS
	KeepTokens    time.Duration // how long lapsed tokens may come back
	PendingEvery  time.Duration // close watch
	PendingClose  time.Duration // for so long after the start
	PendingGiveUp time.Duration // then it is looked at like a verified one
	VerifiedEvery time.Duration // with jitter
	LapsingEvery  time.Duration // also the longest wait of pending ones
	UnknownEvery  time.Duration // after the first check that learnt nothing
	// MassGuard freezes losses while the records of more than so many per cent of the
	// instance's domains that hold something, and of MassLeast of them, are gone; 0: never.
	MassGuard float64
	MassLeast int
}

// Code are the settings of verification codes sent by mail.
type Code struct {
	Life         time.Duration
	Tries        int           // wrong ones per code
	WrongPerDay  int           // wrong ones per address and day
	ResendAfter  time.Duration // between two codes to an address
	ResendPerDay int           // codes per address and day
	PerRecipient int           // unasked-for mails per recipient and day, all tenants together
	// OTPPerRecipient counts mails with one-time codes, which people ask for: per
	// tenant, recipient and day. All tenants together may send ten times as many.
	OTPPerRecipient int
}

// Send are the settings of delivery.
type Send struct {
	Life       time.Duration // a message not delivered in this time expires
	FirstRetry time.Duration // doubled each time...
	LastRetry  time.Duration // ...up to this
	Lease      time.Duration // how long a dispatcher holds a message without renewing
	Workers    int           // deliveries at a time
	// OwnRelays lets tenants send by SMTP servers and HTTP APIs of their own; RelayWorkers is
	// how many deliveries at a time go to each. All of them together get three quarters of
	// Workers. PlainHTTP takes http:// of such an API, too.
	OwnRelays    bool
	RelayWorkers int
	PlainHTTP    bool
	QueueLimit   int           // messages waiting in all; more are refused as Busy
	Tick         time.Duration // the dispatcher looks at the queue at least so often
}

// DefaultSettings are those of the documents that Postseal follows.
func DefaultSettings() Settings {
	return Settings{
		Geographies: map[string][]string{
			"na": {"us-east-1", "us-east-2", "us-west-1", "us-west-2"},
			"ca": {"ca-central-1", "ca-west-1", "us-east-1", "us-west-2"},
			"eu": {"eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2"},
			"ap": {"ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2"},
		},
		DefaultGeography: "na",
		BuiltinSenders:   []string{"noreply@pingidentity.com"},
		LastLocale:       "en",
		Verify: Verify{
			Grace: 72 * time.Hour, LossChecks: 4, Freshness: time.Second, Inline: 3 * time.Second, KeepTokens: 30 * 24 * time.Hour,
			PendingEvery: 15 * time.Second, PendingClose: 10 * time.Minute, PendingGiveUp: 14 * 24 * time.Hour,
			VerifiedEvery: 24 * time.Hour, LapsingEvery: time.Hour, UnknownEvery: 5 * time.Minute,
			MassGuard: 5, MassLeast: 20,
		},
		Claims: Claims{Policy: SharedNames, Fresh: 7 * 24 * time.Hour, Patience: 6 * time.Hour, Cooldown: 72 * time.Hour, Quiet: 30 * 24 * time.Hour},
		Code:   Code{Life: 24 * time.Hour, Tries: 5, WrongPerDay: 10, ResendAfter: time.Minute, ResendPerDay: 10, PerRecipient: 20, OTPPerRecipient: 60},
		Send: Send{
			Life: 24 * time.Hour, FirstRetry: 5 * time.Second, LastRetry: 15 * time.Minute, Lease: 40 * time.Second, Workers: 16, OwnRelays: true, RelayWorkers: 4,
			QueueLimit: 1_000_000, Tick: 2 * time.Second,
		},
		Webhooks: Webhooks{
			PerTenant: 50, Workers: 128, Timeout: 15 * time.Second, FirstRetry: 5 * time.Second, LastRetry: 6 * time.Hour, Life: 72 * time.Hour,
			DisableIn: 5 * 24 * time.Hour, Tick: time.Second,
		},
	}
}
