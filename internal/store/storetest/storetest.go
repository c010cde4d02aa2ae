package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

// Store is the ports of both cores over one database.
type Store interface {
	sender.Store
	OTP() otp.Store
}

// Run checks that stores keep every promise of the ports. open returns an empty
// store and sees to it that it is closed.
func Run(t *testing.T, open func(t testing.TB) Store) {
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"EveryMethodIsTriedAsAnotherTenant", everyMethodIsListed},
		{"AnotherTenantFindsAndChangesNothing", anotherTenant},

		{"OrganizationsAreKept", organizations},
		{"TenantsAreKeptAndListedInPages", tenants},
		{"TenantsOfMergesIDsAndOrganizations", tenantsOf},
		{"TenantIsChanged", changedTenant},
		{"DeletedTenantTakesSettingsAndCredentialsAlong", deletedTenant},
		{"BelongingsAreCounted", belongings},
		{"NothingIsKeptOfATenantWhoIsNotThere", tenantGone},
		{"CredentialsAreKeptAndRevokedOnce", credentials},
		{"CredentialEndsAtTheEarliestTime", expiry},
		{"KeyPairIsFoundByItsTokenInItsTenant", keyPairs},
		{"EventsAreKeptInOrder", events},
		{"KeysAreKeptOnce", keys},
		{"SecretIsTheSameForAll", secrets},

		{"DomainsAreKept", domains},
		{"DomainNameIsUniqueInTenant", domainNames},
		{"DomainUpdateNeedsTheVersionRead", domainVersions},
		{"DomainsAreListedInPagesAndCounted", domainPages},
		{"LastCheckIsReplacedAndGoesWithTheDomain", lastChecks},
		{"TimelineKeepsTheNewestAndGoesWithTheDomain", timelines},
		{"NameHasOneHolderAndOneSwapOfAVersion", holds},
		{"DomainsProvenAreListedOfAllTenants", domainsProven},
		{"LastSentIsOfTheNameAndNotRefused", lastSent},
		{"TombstonesAreKeptAndClaimedOnce", tombstones},
		{"DeletedDomainLeavesTombstonesOfItsKeys", deletedDomain},
		{"DueDomainsAreClaimedOnce", dueDomains},
		{"AbsentDomainsAreListedAndCountedSinceARelease", absentDomains},
		{"MassGuardIsKeptAndItsLockExcludes", massGuard},
		{"AddressesAreKept", addresses},
		{"RecipientsAreCountedByDay", recipients},
		{"MailFromIsKeptChangedAndTakenAway", mailFroms},
		{"AddressesAreFoundByExpressions", findAddresses},
		{"FoundAddressesComeInOrderAndInPages", findPages},
		{"CountIsOfTheMomentOfThePage", findSnapshot},
		{"QueriesThatMeanNothingAreRefused", findRefuses},
		{"SettingsAreKeptReplacedAndRemoved", settings},
		{"RelayIsKeptReplacedAndRemoved", relays},
		{"ClaimPassesOverTenants", passOver},
		{"WebhooksAreKeptChangedAndDeleted", webhooks},
		{"EventIsQueuedForTheWebhooksThatWantIt", hookDeliveries},
		{"WebhookIsLeasedByOneAtATime", hookLeases},
		{"DoneDeliveriesAreForgotten", forgetDeliveries},

		{"MessagesAreKeptWithoutBody", messages},
		{"IdempotencyKeyIsUsedOnce", idempotency},
		{"ClaimLeasesWhatIsDue", claim},
		{"ClaimServesTheQuietTenantFirstOfAll", fairness},
		{"ClaimComesRoundToEveryTenant", rotation},
		{"ClaimFindsDueMailBehindPutOffTenants", putOff},
		{"AttemptIsStartedUnderALeaseOnly", attempts},
		{"UpdateEndsTheLease", updateMessage},
		{"LeaseThatRanOutIsReleased", releaseExpired},
		{"RenewedLeaseIsKept", renewed},
		{"StartedAttemptOfALostLeaseIsInDoubt", inDoubt},
		{"RestartReleasesAllLeases", releaseAll},
		{"QueueDepthStopsCounting", depth},

		{"TemplatesAreKept", templates},
		{"TemplateIsUniqueInApplicationTypeLocaleAndVariant", templateUniqueness},
		{"TemplatesAreFilteredListedInPagesAndCounted", templateFilters},

		{"ApplicationsAreKeptInTheOrderOfCreation", applications},
		{"ApplicationNameIsUniqueInAnyCase", applicationNames},
		{"UsersAreKept", users},
		{"UsernamesAreComparedExactly", usernames},
		{"DevicesAreListedInTheOrderOfPairing", devices},
		{"DevicesOfAnApplicationAreListedInPages", devicesOf},
		{"PairingsAreKept", pairings},
		{"AuthenticationsAreKept", authentications},
		{"DeletedUserTakesEverythingAlong", deletedUser},
		{"NothingIsKeptOfAUserWhoIsNotThere", orphans},
		{"ForgetDeletesOnlyWhatEndedBefore", forget},
		{"OneUpdateIsOverBothCores", bothCores},
		{"LockOfAUserExcludes", userLock},

		{"FailedUpdateLeavesNothing", failedUpdate},
		{"HandledConflictKeepsTheRest", handledConflict},
		{"ConflictIsToldWhenItsCauseCanBeRead", visibleConflict},
		{"UpdateReadsItsOwnWrites", ownWrites},
		{"PanicReachesTheCallerAndLeavesNothing", panics},
		{"EndedGoroutineLeavesNothing", goexit},
		{"ConcurrentFailuresTakeNoOtherWithThem", concurrentFailures},
		{"LimitHoldsUnderConcurrency", limitHolds},
		{"LockOfADomainNameExcludes", domainLock},
		{"CancelledCallerHarmsNobody", cancelled},
		{"HostileTextIsStored", hostileText},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			w := &world{T: t, Store: open(t), ctx: ctx}
			w.otp = w.OTP()
			w.a, w.b = w.tenant(), w.tenant()
			c.test(w)
		})
	}
}

// world is a store with two tenants.
type world struct {
	*testing.T
	Store
	otp  otp.Store
	ctx  context.Context
	a, b sender.ID
}

// start is when everything in the suite begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// do runs an update that must succeed.
func (w *world) do(do func(tx sender.Tx) error) {
	w.Helper()
	w.must(w.Update(w.ctx, do))
}

// change is do over both cores.
func (w *world) change(do func(tx otp.Tx) error) {
	w.Helper()
	w.must(w.otp.Update(w.ctx, do))
}

// kind checks the kind of an error; the empty kind means no error.
func (w *world) kind(what string, err error, want sender.Kind) {
	w.Helper()
	if (err == nil) != (want == "") || sender.KindOf(err) != want {
		w.Errorf("%s: got %v, want kind %q", what, err, want)
	}
}

// same compares what came back with what was stored.
func (w *world) same(what string, got, want any) {
	w.Helper()
	names := cmp.Comparer(func(a, b dnscheck.Name) bool { return a == b })
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), names); d != "" {
		w.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}

func (w *world) tenant() sender.ID {
	w.Helper()
	t := sender.Tenant{
		ID: sender.NewID(), Organization: sender.DefaultOrganization, Name: "Example", Type: sender.Sandbox, Geography: "eu",
		Regions: []string{"eu-central-1", "eu-west-1"}, RecordSet: sender.PerRegion, FromPolicy: sender.ByDomain,
		Limits: sender.DefaultLimits, CreatedAt: start, UpdatedAt: start.Add(time.Second),
	}
	w.do(func(tx sender.Tx) error { return tx.InsertTenant(w.ctx, t) })
	return t.ID
}

func name(s string) dnscheck.Name {
	n, err := dnscheck.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func newDomain(tenant sender.ID, domain string) sender.Domain {
	return sender.Domain{
		ID: sender.NewID(), Tenant: tenant, Name: name(domain), Spelling: "Mail." + domain,
		Tokens: sender.Tokens{Environment: "e", Regions: []sender.RegionTokens{{Region: "eu-west-1", Ownership: "o", DKIM: []string{"k1", "k2", "k3"}}}},
		Facets: []sender.Facet{
			{Purpose: dnscheck.Ownership, Region: "eu-west-1", Status: sender.Lapsing, Epoch: 2, Since: start, CheckedAt: start.Add(time.Hour), Negatives: 3, CountedAt: start, Warned: true},
			{Purpose: dnscheck.SPF, Status: sender.Pending, Since: start},
		},
		MailFrom: sender.MailFrom{Name: name("bounce." + domain), Spelling: "Bounce." + domain, OnFailure: sender.RejectMail},
		ProvenAt: start, NextCheck: start.Add(time.Minute), Version: 1, CreatedAt: start, UpdatedAt: start,
	}
}

func (w *world) domain(tenant sender.ID, domain string) sender.Domain {
	w.Helper()
	d := newDomain(tenant, domain)
	w.do(func(tx sender.Tx) error { return tx.InsertDomain(w.ctx, d) })
	return d
}

func newAddress(tenant sender.ID, domain, local string) sender.Address {
	return sender.Address{
		ID: sender.NewID(), Tenant: tenant, Mailbox: local + "@" + domain, Domain: name(domain), Spelling: "NoReply@" + domain,
		Status: sender.Pending, By: sender.ByCode, ByDomain: true,
		Code:      sender.CodeState{Hash: []byte{1, 2, 3}, SentAt: start, ExpiresAt: start.Add(time.Hour), Tries: 1, Day: start, Resent: 2, Wrong: 3},
		CreatedAt: start, UpdatedAt: start,
	}
}

func newMessage(tenant sender.ID, due time.Time) sender.Message {
	return sender.Message{
		ID: sender.NewID(), Tenant: tenant, Kind: sender.KindMessage, From: "noreply@example.org", To: "user@example.net",
		ReplyTo: "help@example.org", Template: sender.NewRandomID(), Locale: "pt-BR", About: sender.NewID(),
		Region: "eu-west-1", State: sender.Queued, Body: []byte("Subject: hello\r\n\r\nworld\r\n"),
		NextAttemptAt: due, ExpiresAt: due.Add(24 * time.Hour), CreatedAt: start,
	}
}

func (w *world) message(m sender.Message) sender.Message {
	w.Helper()
	w.do(func(tx sender.Tx) error { return tx.InsertMessage(w.ctx, m) })
	return m
}

// claim claims in an update of its own, for a minute.
func (w *world) claim(owner string, now time.Time, limit int) (ms []sender.Message) {
	w.Helper()
	w.do(func(tx sender.Tx) (err error) {
		ms, err = tx.ClaimMessages(w.ctx, owner, now, now.Add(time.Minute), limit)
		return err
	})
	return ms
}

func (w *world) release(now time.Time, all bool) (ms []sender.Message) {
	w.Helper()
	w.do(func(tx sender.Tx) (err error) {
		ms, err = tx.ReleaseMessages(w.ctx, now, all)
		return err
	})
	return ms
}

var errOops = errors.New("oops")
