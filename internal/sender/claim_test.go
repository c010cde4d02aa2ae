package sender_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/provider/builtin"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/store/storetest"
)

func TestDecideClaim(t *testing.T) {
	const day, hour = 24 * time.Hour, time.Hour
	s := sender.DefaultSettings().Claims
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	held := func(claimant sender.ID, at time.Time, warned bool) *sender.Hold {
		h := &sender.Hold{Tenant: "t1", Domain: "holder", Since: ago(100 * day)}
		if claimant != "" {
			h.Claim = sender.Claim{Tenant: "t2", Domain: claimant, At: at}
			if warned {
				h.Claim.WarnedAt = at.Add(s.Cooldown / 2)
			}
		}
		return h
	}
	late := func(warned time.Time) *sender.Hold {
		h := held("d", ago(80*hour), true)
		h.Claim.WarnedAt = warned
		return h
	}
	gone := func(at time.Time) *sender.Hold {
		h := held("d", ago(72*hour), true)
		h.Claim.GoneAt = at
		return h
	}
	const match, missing, mismatch, unknown = dnscheck.Match, dnscheck.Missing, dnscheck.Mismatch, dnscheck.Unknown
	for _, c := range []struct {
		name string
		c    sender.Contest
		want sender.ClaimStep
	}{
		{"nobody holds it", sender.Contest{Seen: match}, sender.ClaimFree},
		{"nobody holds it, old token", sender.Contest{Seen: match, TokenAt: ago(90 * day)}, sender.ClaimFree},
		{"it is ours", sender.Contest{Hold: &sender.Hold{Domain: "d"}, Seen: missing}, sender.ClaimFree},
		{"ours, and claimed", sender.Contest{Hold: &sender.Hold{Domain: "d", Claim: sender.Claim{Domain: "x"}}, Seen: missing}, sender.ClaimFree},
		{"nothing shown", sender.Contest{Hold: held("", now, false), Seen: missing, TokenAt: ago(hour)}, sender.ClaimNone},
		{"something else shown", sender.Contest{Hold: held("", now, false), Seen: mismatch, TokenAt: ago(hour)}, sender.ClaimNone},
		{"nothing learnt", sender.Contest{Hold: held("", now, false), Seen: unknown, TokenAt: ago(hour)}, sender.ClaimNone},
		{"fresh token", sender.Contest{Hold: held("", now, false), Seen: match, TokenAt: ago(hour)}, sender.ClaimBegin},
		{"asked for", sender.Contest{Hold: held("", now, false), Seen: match, TokenAt: ago(hour), Asked: true}, sender.ClaimBegin},
		{"at the last moment", sender.Contest{Hold: held("", now, false), Seen: match, TokenAt: ago(7 * day)}, sender.ClaimBegin},
		{"too late", sender.Contest{Hold: held("", now, false), Seen: match, TokenAt: ago(7*day + 1)}, sender.ClaimStale},
		{"lapsed token", sender.Contest{Hold: held("", now, false), Seen: match}, sender.ClaimStale},
		{"older than the proof", sender.Contest{Hold: &sender.Hold{Domain: "holder", Since: ago(hour)}, Seen: match, TokenAt: ago(day)}, sender.ClaimStale},
		{"as old as the proof", sender.Contest{Hold: &sender.Hold{Domain: "holder", Since: ago(hour)}, Seen: match, TokenAt: ago(hour)}, sender.ClaimStale},
		{"claimed by another", sender.Contest{Hold: held("other", ago(hour), false), Seen: match, TokenAt: ago(hour)}, sender.ClaimTaken},
		{"claimed by another, nothing shown", sender.Contest{Hold: held("other", ago(hour), false), Seen: missing, TokenAt: ago(hour)}, sender.ClaimNone},
		{"claimed by another, cool-down over", sender.Contest{Hold: held("other", ago(day*9), true), Seen: match, TokenAt: ago(hour)}, sender.ClaimTaken},
		{"cooling", sender.Contest{Hold: held("d", ago(35*hour), false), Seen: match, TokenAt: ago(2 * day)}, sender.ClaimWait},
		{"half of it", sender.Contest{Hold: held("d", ago(36*hour), false), Seen: match, TokenAt: ago(2 * day)}, sender.ClaimWarn},
		{"warned", sender.Contest{Hold: held("d", ago(71*hour), true), Seen: match}, sender.ClaimWait},
		{"over, never warned", sender.Contest{Hold: held("d", ago(80*hour), false), Seen: match}, sender.ClaimWarn},
		{"over, warned a moment ago", sender.Contest{Hold: late(ago(time.Second)), Seen: match, Asked: true}, sender.ClaimWait},
		{"over, warned for as long as others", sender.Contest{Hold: late(ago(36 * hour)), Seen: match}, sender.ClaimWin},
		{"over", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: match}, sender.ClaimWin},
		{"over, asked for", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: match, Asked: true}, sender.ClaimWin},
		{"token old by now", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: match, TokenAt: ago(9 * day)}, sender.ClaimWin},
		{"holder sends", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: match, SentAt: ago(29 * day)}, sender.ClaimBusy},
		{"holder was quiet", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: match, SentAt: ago(30 * day)}, sender.ClaimWin},
		{"gone", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: missing}, sender.ClaimGone},
		{"changed", sender.Contest{Hold: held("d", ago(hour), false), Seen: mismatch}, sender.ClaimGone},
		{"gone for a while", sender.Contest{Hold: gone(ago(5 * hour)), Seen: missing}, sender.ClaimWait},
		{"gone for good", sender.Contest{Hold: gone(ago(6 * hour)), Seen: missing}, sender.ClaimEnd},
		{"gone for good, a client asked", sender.Contest{Hold: gone(ago(6 * hour)), Seen: missing, Asked: true}, sender.ClaimWait},
		{"back", sender.Contest{Hold: gone(ago(6 * hour)), Seen: match}, sender.ClaimBack},
		{"gone, a client asked", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: missing, Asked: true}, sender.ClaimWait},
		{"silence", sender.Contest{Hold: held("d", ago(72*hour), true), Seen: unknown}, sender.ClaimWait},
		{"silence at half time", sender.Contest{Hold: held("d", ago(36*hour), false), Seen: unknown}, sender.ClaimWait},
	} {
		c.c.Domain = "d"
		if got := sender.DecideClaim(c.c, now, s); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func exclusively(s *sender.Settings) { s.Claims.Policy = sender.ExclusiveNames }

// rival is the harness as another tenant sees it.
func (h *harness) rival(name string) *harness {
	h.Helper()
	r := *h
	time.Sleep(time.Minute) // its tokens are newer than what was proven before
	r.tenant, r.admin = h.newTenant(name)
	return &r
}

func (h *harness) claim(d sender.Domain) sender.ClaimStatus {
	h.Helper()
	c, err := h.ClaimOf(h.Context(), h.admin, h.read(d))
	if err != nil {
		h.Fatal(err)
	}
	if c == nil {
		return sender.ClaimStatus{}
	}
	return *c
}

func (h *harness) log() string {
	h.Helper()
	lines := strings.Join(h.events(sender.EventDomainProven, sender.EventDomainProofLost, sender.EventClaimBegun, sender.EventClaimWarning,
		sender.EventClaimEnded, sender.EventClaimWon, sender.EventClaimLost), ", ")
	return strings.ReplaceAll(lines, "  ", " ")
}

func TestClaimPassesANameAfterTheCoolDown(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership, dnscheck.DKIM)
		time.Sleep(24 * time.Hour)
		rival := h.rival("second")
		claimed := rival.domain("Example.ORG", dnscheck.DKIM)
		if c := rival.claim(claimed); rival.read(claimed).Proven() || c.Step != "" {
			t.Errorf("by DKIM alone: %+v", c)
		}
		rival.publish(claimed, dnscheck.Ownership)
		time.Sleep(20 * time.Minute)
		if c := rival.claim(claimed); rival.read(claimed).Proven() || c.Step != sender.ClaimWait || !strings.Contains(c.Detail, "held by another registration") || c.Until.IsZero() {
			t.Errorf("after publishing: %+v", c)
		}
		if got := h.log(); got != "domain.proven, domain.claim.warning start" {
			t.Errorf("the holder is told %q", got)
		}
		time.Sleep(71 * time.Hour)
		if !h.read(d).Proven() || rival.read(claimed).Proven() {
			t.Error("the name passed before the cool-down was over")
		}
		time.Sleep(4 * time.Hour)
		if h.read(d).Proven() || !h.read(d).ProofLost() || !rival.read(claimed).Proven() {
			t.Errorf("holder proven: %t, claimant proven: %t", h.read(d).Proven(), rival.read(claimed).Proven())
		}
		if got := h.log(); got != "domain.proven, domain.claim.warning start, domain.claim.warning half, domain.claim.lost, domain.proof-lost" {
			t.Errorf("the holder is told %q", got)
		}
		if got := rival.log(); got != "domain.claim.begun, domain.claim.won, domain.proven" {
			t.Errorf("the claimant is told %q", got)
		}
		// The old records are still there, and win nothing back.
		time.Sleep(2 * 24 * time.Hour)
		if h.read(d).Proven() || !rival.read(claimed).Proven() || h.claim(d).Step != sender.ClaimStale {
			t.Errorf("later: holder proven: %t, claimant proven: %t, %+v", h.read(d).Proven(), rival.read(claimed).Proven(), h.claim(d))
		}
	}, exclusively)
}

func TestHolderWhoSendsKeepsTheName(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		h.activeAddress(d, "noreply@example.org")
		rival := h.rival("second")
		claimed := rival.domain("example.org", dnscheck.Ownership)
		time.Sleep(50 * time.Hour)
		if _, err := h.send("noreply@example.org"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Hour)
		if c := rival.claim(claimed); c.Step != sender.ClaimBusy || !h.read(d).Proven() || rival.read(claimed).Proven() {
			t.Errorf("while the holder sends: %+v", c)
		}
		time.Sleep(3 * 24 * time.Hour)
		if !h.read(d).Proven() {
			t.Error("the name passed before the holder had been quiet for long enough")
		}
		time.Sleep(2 * 24 * time.Hour)
		if h.read(d).Proven() || !rival.read(claimed).Proven() {
			t.Errorf("after six days: %+v", rival.claim(claimed))
		}
	}, exclusively, func(s *sender.Settings) { s.Claims.Quiet = 6 * 24 * time.Hour })
}

func TestClaimEndsWithItsRecordAndWithItsDomain(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		h.domain("example.org", dnscheck.Ownership)
		second, third := h.rival("second"), h.rival("third")
		a := second.domain("example.org", dnscheck.Ownership)
		b := third.domain("example.org", dnscheck.Ownership)
		if c := third.claim(b); c.Step != sender.ClaimTaken {
			t.Errorf("of two claims the later: %+v", c)
		}
		second.withdraw(a, dnscheck.Ownership)
		third.publish(b, dnscheck.Ownership) // it went along: the name is the same
		time.Sleep(10 * time.Hour)
		if c := third.claim(b); second.claim(a).Step != "" || c.Step != sender.ClaimWait {
			t.Errorf("after the first one's record is gone: %+v, %+v", second.claim(a), c)
		}
		third.remove(b)
		if got := h.log(); got != "domain.proven, domain.claim.warning start, domain.claim.ended, domain.claim.warning start, domain.claim.ended" {
			t.Errorf("the holder is told %q", got)
		}
	}, exclusively)
}

func TestNameIsFreeWhenItsHolderIsGone(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		unproven := h.rival("unproven").domain("example.org") // blocks nobody
		d := h.domain("example.org", dnscheck.Ownership)
		rival := h.rival("second")
		late := rival.domain("example.org")
		time.Sleep(25 * time.Hour) // its token is too old for a claim by now
		rival.publish(late, dnscheck.Ownership)
		time.Sleep(25 * time.Hour)
		if c := rival.claim(late); c.Step != sender.ClaimStale || !strings.Contains(c.Detail, "register it again") {
			t.Errorf("an old token: %+v", c)
		}
		rival.domain("sub.example.org", dnscheck.Ownership)
		h.remove(d)
		time.Sleep(27 * time.Hour)
		if !rival.read(late).Proven() || unproven.Proven() {
			t.Error("the holder is gone, and the name is not free")
		}
	}, exclusively, func(s *sender.Settings) { s.Claims.Fresh = 24 * time.Hour })
}

func TestSharedNamesAreEverybodysWhoProvesThem(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		d := h.domain("example.org", dnscheck.Ownership)
		rival := h.rival("second")
		if other := rival.domain("example.org", dnscheck.Ownership); !other.Proven() || !h.read(d).Proven() {
			t.Error("only one of them is proven")
		}
		// Who had the name keeps it when names get one holder: the first proven one.
		h.config.Settings.Claims.Policy = sender.ExclusiveNames
		h.Service = h.node()
		third := h.rival("third")
		if last := third.domain("example.org", dnscheck.Ownership); last.Proven() || third.claim(last).Step != sender.ClaimWait {
			t.Errorf("a third one: proven %t, %+v", last.Proven(), third.claim(last))
		}
		if got := h.log(); got != "domain.proven, domain.claim.warning start" {
			t.Errorf("the first one is told %q", got)
		}
		if got := rival.log(); got != "domain.proven" {
			t.Errorf("the second one is told %q", got)
		}
	})
}

// all sees every record, at once.
type all struct{ sender.Checker }

func (all) Look(_ context.Context, _ dnscheck.Name, want []dnscheck.Record, _ dnscheck.Care) []dnscheck.Finding {
	found := make([]dnscheck.Finding, len(want))
	for i, r := range want {
		found[i] = dnscheck.Finding{Purpose: r.Purpose, Region: r.Region, Name: r.Name, Type: r.Type, Outcome: dnscheck.Match, Code: dnscheck.CodeMatch}
	}
	return found
}

func TestOneOfManyAtOnceGetsTheNameOnBothEngines(t *testing.T) {
	for name, dsn := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return filepath.Join(t.TempDir(), "test.db") },
		"postgres": storetest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys, err := store.LoadKeyring(store.GenerateKey())
			if err != nil {
				t.Fatal(err)
			}
			log := slog.New(slog.DiscardHandler)
			st, err := store.Open(t.Context(), store.Config{DSN: dsn(t), SealKeys: keys, Migrate: true, Log: log})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = st.Close() }()
			service, err := dnscheck.ParseDomain("mail.postseal.test")
			if err != nil {
				t.Fatal(err)
			}
			relay, err := mail.NewRelay(mail.RelayConfig{Address: "127.0.0.1:1"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = relay.Close() }()
			giveKey(t, st, "postseal1")
			p, err := builtin.New(t.Context(), builtin.Config{Service: service, Store: st, Relays: map[string]*mail.Relay{"": relay}, Log: log})
			if err != nil {
				t.Fatal(err)
			}
			settings := sender.DefaultSettings()
			exclusively(&settings)
			settings.Claims.Cooldown, settings.Claims.Quiet, settings.Verify.Freshness, settings.Verify.Inline = time.Millisecond, time.Hour, 0, time.Minute
			const n = 8
			ds, nodes := make([]sender.Domain, n), make([]*sender.Service, n)
			for i := range n {
				if nodes[i], err = sender.New(t.Context(), sender.Config{Store: st, Checker: all{}, Provider: p, Settings: settings, Log: log}); err != nil {
					t.Fatal(err)
				}
				tenant, err := nodes[i].CreateTenant(t.Context(), operator, sender.NewTenant{Name: "t"})
				if err != nil {
					t.Fatal(err)
				}
				if ds[i], err = nodes[i].CreateDomain(t.Context(), operator, tenant.ID, "example.org"); err != nil {
					t.Fatal(err)
				}
			}
			// Whoever holds it, at most one is proven, and after a while the last to win.
			proven := func() (who []int) {
				for i, d := range ds {
					d, err := nodes[i].Domain(t.Context(), operator, d.Tenant, d.ID)
					if err != nil {
						t.Fatal(err)
					}
					if d.Proven() {
						who = append(who, i)
					}
				}
				return who
			}
			round := func() {
				var wg sync.WaitGroup
				for i, d := range ds {
					wg.Go(func() {
						if _, err := nodes[i].CheckDomain(t.Context(), operator, d.Tenant, d.ID); err != nil && sender.KindOf(err) != sender.NotFound {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			round()
			first := proven()
			if len(first) != 1 {
				t.Fatalf("proven are %v", first)
			}
			// Their tokens are older than the proof: nobody else gets it, until one
			// registers again. Then it is a race between its claim and the others.
			again := (first[0] + 1) % n
			if err := nodes[again].DeleteDomain(t.Context(), operator, ds[again].Tenant, ds[again].ID, true); err != nil {
				t.Fatal(err)
			}
			if ds[again], err = nodes[again].CreateDomain(t.Context(), operator, ds[again].Tenant, "example.org"); err != nil {
				t.Fatal(err)
			}
			for range 6 {
				round()
				if who := proven(); len(who) != 1 {
					t.Fatalf("proven are %v", who)
				}
				time.Sleep(2 * time.Millisecond)
			}
			if who := proven(); who[0] != again {
				t.Errorf("%d holds the name, and %d has claimed it", who[0], again)
			}
		})
	}
}
