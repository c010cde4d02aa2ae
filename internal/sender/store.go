package sender

import (
	"context"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/template"
)

// Page asks for a part of a list in ascending order of id.
type Page struct {
	After ID  // only later ids; empty: from the start
	Limit int // at most so many; 0: all
}

// Reader looks things up. Whatever is not there, or is another tenant's, is an
// Error of kind NotFound. Lists come in ascending order of id.
type Reader interface {
	Organization(ctx context.Context, id ID) (Organization, error)
	Tenant(ctx context.Context, id ID) (Tenant, error)
	Tenants(ctx context.Context, page Page) ([]Tenant, error)
	// TenantsOf lists the tenants with these ids or in these organizations.
	TenantsOf(ctx context.Context, ids, organizations []ID, page Page) ([]Tenant, error)

	Credential(ctx context.Context, id ID) (Credential, error)
	// Credentials lists a tenant's credentials, revoked ones included; the empty
	// tenant stands for the operators'.
	Credentials(ctx context.Context, tenant ID, page Page) ([]Credential, error)
	// CredentialByToken finds a KeyPair of the tenant by its token, revoked or not,
	// with its Key opened.
	CredentialByToken(ctx context.Context, tenant ID, token string) (Credential, error)

	Domain(ctx context.Context, tenant, id ID) (Domain, error)
	DomainByName(ctx context.Context, tenant ID, name dnscheck.Name) (Domain, error)
	Domains(ctx context.Context, tenant ID, page Page) ([]Domain, error)
	// CountDomains counts no further than most.
	CountDomains(ctx context.Context, tenant ID, most int) (int, error)
	// LastCheck returns the newest findings of a domain; NotFound before the first.
	LastCheck(ctx context.Context, tenant, domain ID) (Check, error)
	// Timeline lists a domain's entries, unlike other lists the newest first: After
	// means before in time.
	Timeline(ctx context.Context, tenant, domain ID, page Page) ([]TimelineEntry, error)
	Tombstones(ctx context.Context, tenant ID, page Page) ([]Tombstone, error)

	// MassGuard is of the whole instance, as are CountAbsent (domains whose AbsentSince
	// is later than that, by tenant, and the latest of those times) and AbsentDomains (the
	// same, the longest absent first). CountHolding counts domains of which something holds:
	// of a tenant, or of all where it is empty.
	MassGuard(ctx context.Context) (MassGuard, error)
	CountAbsent(ctx context.Context, after time.Time) (byTenant map[ID]int, newest time.Time, err error)
	AbsentDomains(ctx context.Context, after time.Time, limit int) ([]Domain, error)
	CountHolding(ctx context.Context, tenant ID) (int, error)

	// Hold returns who holds a name, of whatever tenant; NotFound where nobody does.
	Hold(ctx context.Context, name dnscheck.Name) (Hold, error)
	// DomainsProven lists domains of that name that were ever proven, of any tenant,
	// those first that were proven first.
	DomainsProven(ctx context.Context, name dnscheck.Name, limit int) ([]Domain, error)
	// LastSent returns when the tenant's newest message since then was accepted that
	// has an author of this domain or one below it and was not refused; zero: none.
	LastSent(ctx context.Context, tenant ID, name dnscheck.Name, since time.Time) (time.Time, error)

	Address(ctx context.Context, tenant, id ID) (Address, error)
	AddressByMailbox(ctx context.Context, tenant ID, canonical string) (Address, error)
	// Addresses lists those whose addr-spec has exactly this domain.
	Addresses(ctx context.Context, tenant ID, domain dnscheck.Name, page Page) ([]Address, error)
	CountAddresses(ctx context.Context, tenant ID, domain dnscheck.Name, most int) (int, error)
	// FindAddresses lists a tenant's addresses that match the query, in its order and
	// then in the order of ids; total is how many match, 0 unless it asks for that.
	FindAddresses(ctx context.Context, tenant ID, q Query) (found []Address, total int, err error)

	Template(ctx context.Context, tenant, id ID) (Template, error)
	// TemplateFor finds the one template of an application, type, locale and variant,
	// which is empty for one that has none.
	TemplateFor(ctx context.Context, tenant, application ID, kind string, locale template.Locale, variant string) (Template, error)
	Templates(ctx context.Context, tenant ID, filter TemplateFilter, page Page) ([]Template, error)
	// CountTemplates also adds up the octets of their subjects and bodies.
	CountTemplates(ctx context.Context, tenant ID) (n, octets int, err error)

	// Message leaves Body empty.
	Message(ctx context.Context, tenant, id ID) (Message, error)
	// MessageByKey finds the message that was accepted under an Idempotency-Key.
	MessageByKey(ctx context.Context, tenant ID, key string) (Message, error)
	Messages(ctx context.Context, tenant ID, page Page) ([]Message, error)
	Attempts(ctx context.Context, tenant, message ID) ([]Attempt, error)

	Events(ctx context.Context, tenant ID, page Page) ([]Event, error)
	Event(ctx context.Context, tenant, id ID) (Event, error)

	// Webhook and Webhooks return Secrets and Headers opened.
	Webhook(ctx context.Context, tenant, id ID) (Webhook, error)
	Webhooks(ctx context.Context, tenant ID, page Page) ([]Webhook, error)
	// WebhookDeliveries lists those of a webhook, unlike other lists the newest event
	// first: After means before in time.
	WebhookDeliveries(ctx context.Context, tenant, webhook ID, page Page) ([]WebhookDelivery, error)
	// DueWebhookDeliveries lists at most so many that are due, the longest due first.
	DueWebhookDeliveries(ctx context.Context, tenant, webhook ID, now time.Time, limit int) ([]WebhookDelivery, error)

	// Setting returns a small document that an edge keeps for a tenant; NotFound
	// where there is none.
	Setting(ctx context.Context, tenant ID, name string) (string, error)

	// Relay returns the tenant's own SMTP server with its password opened, or with
	// PasswordLost; NotFound where it has none.
	Relay(ctx context.Context, tenant ID) (Relay, error)

	// SigningKey returns the private half; PKCS8 is opened. Keys are found by
	// selector alone, since selectors are never given out twice.
	SigningKey(ctx context.Context, selector string) (Key, error)
	// PublicKey is SigningKey without the private half: what the service zone shows.
	PublicKey(ctx context.Context, selector string) (Key, error)
}

// Tx is a transaction: all of it happens or nothing. On SQLite it runs in a
// savepoint of a commit that several share, on the one writing connection: it
// must be short, and must never wait for anything but the database.
type Tx interface {
	Reader

	// LockTenant and LockDomain (of the empty tenant: of all) make later transactions on the same row wait for
	// this one, so that counting and then inserting holds under concurrency.
	LockTenant(ctx context.Context, tenant ID) error
	LockDomain(ctx context.Context, tenant ID, name dnscheck.Name) error

	InsertOrganization(ctx context.Context, o Organization) error
	InsertTenant(ctx context.Context, t Tenant) error
	// UpdateTenant writes name, type and time of change.
	UpdateTenant(ctx context.Context, t Tenant) error
	// Belongings counts what a tenant has, of both cores.
	Belongings(ctx context.Context, tenant ID) (Belongings, error)
	// DeleteTenant removes a tenant that has none of them, with its settings and
	// credentials. Its messages and events stay.
	DeleteTenant(ctx context.Context, tenant ID) error

	InsertCredential(ctx context.Context, c Credential) error
	RevokeCredential(ctx context.Context, tenant, id ID, at time.Time) error
	// ExpireCredential sets the end of a credential, unless it ends before.
	ExpireCredential(ctx context.Context, tenant, id ID, at time.Time) error

	// InsertDomain answers Conflict where the tenant has the name already.
	InsertDomain(ctx context.Context, d Domain) error
	// UpdateDomain writes tokens, facets, times and the next check of a domain
	// whose Version is still the one read, and raises it; Conflict otherwise.
	UpdateDomain(ctx context.Context, d Domain) error
	// DeleteDomain takes its checks and its time line along.
	DeleteDomain(ctx context.Context, tenant, id ID) error
	// SaveCheck replaces the domain's last findings.
	SaveCheck(ctx context.Context, c Check) error
	// AddTimeline adds entries to a domain's time line, of which the newest so many
	// are kept.
	AddTimeline(ctx context.Context, tenant, domain ID, entries []TimelineEntry, keep int) error
	// ForgetTimeline removes up to limit entries, of any domain, from before that
	// time, and returns how many.
	ForgetTimeline(ctx context.Context, before time.Time, limit int) (int, error)
	// InsertTombstone also removes all but the newest so many of the tenant's.
	InsertTombstone(ctx context.Context, x Tombstone, keep int) error
	// UpdateTombstone writes the records and the times of checks.
	UpdateTombstone(ctx context.Context, x Tombstone) error
	DeleteTombstone(ctx context.Context, tenant, id ID) error
	// ClaimDueTombstones is ClaimDueDomains for tombstones, in no order.
	ClaimDueTombstones(ctx context.Context, now, until time.Time, limit int) ([]Tombstone, error)
	// ClaimDueDomains returns domains whose next check is due, of any tenant, and puts
	// their next check off until then, so that no other node takes them meanwhile.
	// Half of them are those longest due, the others those that came due last: where
	// one tenant has very many due, those of the rest are looked at in time.
	ClaimDueDomains(ctx context.Context, now, until time.Time, limit int) ([]Domain, error)
	// BringDomainsForward makes those domains whose next check is later than beyond due
	// within a span from now, and returns how many there were.
	BringDomainsForward(ctx context.Context, beyond, now time.Time, span time.Duration) (int, error)

	// LockMassGuard is MassGuard, and makes later transactions that lock it wait for
	// this one. PutMassGuard writes it.
	LockMassGuard(ctx context.Context) (MassGuard, error)
	PutMassGuard(ctx context.Context, g MassGuard) error

	// InsertHold answers Conflict where the name is held.
	InsertHold(ctx context.Context, h Hold) error
	// UpdateHold writes all of a hold whose Version is still the one read, and raises
	// it; DeleteHold removes it. Conflict otherwise.
	UpdateHold(ctx context.Context, h Hold) error
	DeleteHold(ctx context.Context, h Hold) error

	// InsertAddress answers Conflict where the tenant has the mailbox already.
	InsertAddress(ctx context.Context, a Address) error
	UpdateAddress(ctx context.Context, a Address) error
	DeleteAddress(ctx context.Context, tenant, id ID) error
	// CountRecipient adds one to the number of unasked-for mails of this day to a
	// recipient, across all tenants, and returns the sum. The key is a keyed hash.
	CountRecipient(ctx context.Context, key string, day time.Time) (int, error)

	// PutSetting writes a document of a tenant, or removes it where it is empty.
	PutSetting(ctx context.Context, tenant ID, name, document string) error

	// PutRelay keeps a tenant's own SMTP server in place of the one before.
	PutRelay(ctx context.Context, r Relay) error
	DeleteRelay(ctx context.Context, tenant ID) error

	// InsertTemplate answers Conflict where the application has one of that type,
	// locale and variant.
	InsertTemplate(ctx context.Context, t Template) error
	// UpdateTemplate writes everything but the application and the time of creation.
	// That its type, locale and variant are free is to be looked at before.
	UpdateTemplate(ctx context.Context, t Template) error
	DeleteTemplate(ctx context.Context, tenant, id ID) error

	// InsertMessage answers Conflict where the tenant has used the Idempotency-Key.
	InsertMessage(ctx context.Context, m Message) error
	// ClaimMessages leases queued messages that are due to this owner, at most so
	// many, in turns between tenants so that none starves the others, and returns
	// them with their bodies. A claimed message has the state Sending. The owner is
	// whoever holds the lease: a fresh name for every claim. Of the tenants in except
	// only mail that is Builtin is claimed.
	ClaimMessages(ctx context.Context, owner string, now, until time.Time, limit int, except ...ID) ([]Message, error)
	// RenewLeases prolongs what this owner has claimed.
	RenewLeases(ctx context.Context, owner string, until time.Time) error
	// StartAttempt records, durably and before the network is touched, that an
	// attempt is made. It answers Conflict where the owner lost the lease.
	StartAttempt(ctx context.Context, owner string, a Attempt) error
	// FinishAttempt completes the row made by StartAttempt, or inserts one that
	// never touched the network.
	FinishAttempt(ctx context.Context, a Attempt) error
	// UpdateMessage writes state, reason, counters and times of a message that this
	// owner has leased, and ends the lease; Conflict where it lost the lease.
	UpdateMessage(ctx context.Context, owner string, m Message) error
	// ReleaseMessages ends leases that ran out before now, or all of them where all
	// is true (the store has one process at a time and this one just started). A
	// message with a started attempt has that attempt marked InDoubt; all of them,
	// with how many were in doubt counted in Message.InDoubt, are queued again, but
	// for those with Once set, which become Unknown. It returns those whose outcome
	// is in doubt.
	ReleaseMessages(ctx context.Context, now time.Time, all bool) ([]Message, error)

	// InsertEvent also queues a delivery for every enabled webhook of the tenant that
	// wants the type. No webhook, whatever becomes of it meanwhile, makes it fail.
	InsertEvent(ctx context.Context, e Event) error

	InsertWebhook(ctx context.Context, w Webhook) error
	// UpdateWebhook writes all but Troubled and FailingSince, which MarkWebhook writes.
	UpdateWebhook(ctx context.Context, w Webhook) error
	MarkWebhook(ctx context.Context, tenant, id ID, troubled bool, failingSince time.Time) error
	// DeleteWebhook takes its deliveries along.
	DeleteWebhook(ctx context.Context, tenant, id ID) error
	// LeaseWebhook gives a webhook to an owner until then, and reports false where
	// another one has it, or it is gone; ReleaseWebhook ends that, ReleaseWebhooks all
	// leases there are.
	LeaseWebhook(ctx context.Context, tenant, id ID, owner string, now, until time.Time) (bool, error)
	ReleaseWebhook(ctx context.Context, tenant, id ID, owner string) error
	ReleaseWebhooks(ctx context.Context) error
	// PutWebhookDelivery queues an event for a webhook, from the start where it was
	// queued before.
	PutWebhookDelivery(ctx context.Context, tenant, webhook, event ID, due time.Time) error
	// UpdateWebhookDelivery writes what an attempt made of a pending delivery that has
	// one less; Conflict otherwise.
	UpdateWebhookDelivery(ctx context.Context, d WebhookDelivery) error
	// PutOffWebhookDeliveries makes all pending ones of a webhook due then, or never
	// where due is zero.
	PutOffWebhookDeliveries(ctx context.Context, tenant, webhook ID, due time.Time) error
	// ForgetWebhookDeliveries removes up to limit deliveries that were done before that
	// time, or whose webhook is gone, and returns how many.
	ForgetWebhookDeliveries(ctx context.Context, before time.Time, limit int) (int, error)

	// InsertKey keeps what is there: a second key for a selector is ignored.
	InsertKey(ctx context.Context, k Key) error

	// Enqueue asks for a task in this transaction; the same task asked for several
	// times in one commit is done once.
	Enqueue(ctx context.Context, t Task) error
}

// Store is where everything durable lives, on SQLite or PostgreSQL.
type Store interface {
	Reader

	// Update runs do in a transaction. It may run more than once (serialization
	// failures are retried), so do must not touch anything but tx and its own
	// results. A nil return means that it is durable.
	Update(ctx context.Context, do func(Tx) error) error

	// Secret returns n random octets that belong to the whole instance, made at
	// the first call and the same ever after, on every node.
	Secret(ctx context.Context, name string, n int) ([]byte, error)

	// QueueDepth counts messages that wait to be sent, no further than most.
	QueueDepth(ctx context.Context, most int) (int, error)
	// NextDue returns when the next queued message is due; zero time: none.
	NextDue(ctx context.Context) (time.Time, error)

	// DueWebhooks lists enabled webhooks, of any tenant, that are as troubled, that nobody
	// has leased, and that something is due for: at most so many, in the order of their
	// keys, from after that one.
	DueWebhooks(ctx context.Context, troubled bool, now time.Time, after WebhookKey, limit int) ([]WebhookKey, error)
	// NextWebhookDelivery returns when the first pending delivery is due; zero time: none.
	NextWebhookDelivery(ctx context.Context) (time.Time, error)

	// Exclusive reports whether no other process can be using this store.
	Exclusive() bool
}

// Key is a DKIM key (RFC 6376, section 3.6.1) and where it is used.
type Key struct {
	Selector  string // the token below dkim.SERVICE, or a selector of the service domain itself
	Tenant    ID     // empty for the service's own
	Domain    ID     // empty for the service's own
	Region    string
	Algorithm string // "rsa" or "ed25519"
	PKCS8     []byte // the private half, sealed at rest
	TXT       string // the record that shows the public half
	CreatedAt time.Time
	RevokedAt time.Time // zero: in use. A revoked key is never shown again, and its selector never reused
}
