package sender

import "time"

// EventType names what happened, noun first.
type EventType string

// The events of the audit log; docs/states.md says when each is written. Messages
// that go their usual way write none: their own rows and attempts tell who sent
// what, when and how. The PingOne names of some are kept as aliases by that
// dialect.
const (
	EventTenantCreated      EventType = "tenant.created"
	EventTenantChanged      EventType = "tenant.changed"
	EventTenantDeleted      EventType = "tenant.deleted"
	EventCredentialCreated  EventType = "credential.created"
	EventCredentialRevoked  EventType = "credential.revoked"
	EventDomainCreated      EventType = "domain.created"
	EventDomainDeleted      EventType = "domain.deleted"
	EventDomainProven       EventType = "domain.proven"
	EventDomainProofLost    EventType = "domain.proof-lost"
	EventMailFromChanged    EventType = "domain.mail-from-changed"
	EventFacetVerified      EventType = "domain.record.verified"
	EventFacetLapsing       EventType = "domain.record.lapsing" // warning: data.stage is start or half
	EventFacetRecovered     EventType = "domain.record.recovered"
	EventFacetLapsed        EventType = "domain.record.lapsed"
	EventFacetRenewed       EventType = "domain.record.renewed" // a new epoch: the old tokens count no more
	EventClaimBegun         EventType = "domain.claim.begun"    // the claimant's
	EventClaimWarning       EventType = "domain.claim.warning"  // the holder's: data.stage is start or half
	EventClaimEnded         EventType = "domain.claim.ended"    // on both sides: the claimant's record or domain is gone
	EventClaimWon           EventType = "domain.claim.won"
	EventClaimLost          EventType = "domain.claim.lost"
	EventAddressCreated     EventType = "address.created"
	EventAddressDeleted     EventType = "address.deleted"
	EventAddressCodeSent    EventType = "address.code-sent"
	EventAddressCodeWrong   EventType = "address.code-wrong"
	EventAddressActive      EventType = "address.active"
	EventMessageFailed      EventType = "message.failed"
	EventMessageRefused     EventType = "message.refused"
	EventMessageInDoubt     EventType = "message.in-doubt" // an attempt's outcome is unknown: it may have been delivered
	EventMessageExpired     EventType = "message.expired"
	EventMessageReaddressed EventType = "message.readdressed" // a template's author or Reply-To is not trusted any more: the built-in no-reply stands for it
	EventTemplateCreated    EventType = "template.created"
	EventTemplateReplaced   EventType = "template.replaced"
	EventTemplatesRenamed   EventType = "templates.renamed" // several got another variant
	EventTemplatesDeleted   EventType = "templates.deleted" // several at once
	EventMailDefaults       EventType = "mail-defaults.changed"
	EventTemplateDeleted    EventType = "template.deleted"
	EventRelayChanged       EventType = "relay.changed" // the tenant's own SMTP server; data.password is new, kept or none
	EventRelayDeleted       EventType = "relay.deleted"
	EventRelayTested        EventType = "relay.tested"
	EventMassFrozen         EventType = "mass-guard.frozen" // of no tenant, as the next two: too many domains lost their records at once
	EventMassThawed         EventType = "mass-guard.thawed"
	EventMassReleased       EventType = "mass-guard.released" // by an operator: data.reason says why
	EventCredentialRotated  EventType = "credential.rotated"  // another takes its place; data.until is when it ends
)

// Event is one line of a tenant's append-only audit log. Data never holds a
// secret, a code or a recipient.
type Event struct {
	ID     ID
	Tenant ID
	At     time.Time
	Actor  ID // the credential; empty where Postseal acted by itself
	Type   EventType
	Object ID
	Data   map[string]string
}

// NewEvent makes an event. data is pairs: key, value, key, value...
func NewEvent(p Principal, tenant ID, t EventType, object ID, at time.Time, data ...string) Event {
	e := Event{ID: NewID(), Tenant: tenant, At: at, Actor: p.Credential, Type: t, Object: object, Data: make(map[string]string, len(data)/2)}
	for i := 0; i+1 < len(data); i += 2 {
		e.Data[data[i]] = data[i+1]
	}
	return e
}
