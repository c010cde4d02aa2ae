package otp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/store/storetest"
)

// harness is both cores on a real store, with an outbox for a way out.
type harness struct {
	*testing.T
	*otp.Service
	sender *sender.Service
	outbox *apitest.Outbox
	logged *bytes.Buffer
	tenant sender.Tenant
	admin  sender.Principal
	app    otp.Application
}

type nowhere struct{ sender.Checker }

func (nowhere) Look(_ context.Context, _ dnscheck.Name, want []dnscheck.Record, _ dnscheck.Care) []dnscheck.Finding {
	return make([]dnscheck.Finding, len(want))
}

const (
	user    = "reader"
	mailbox = "Reader@inbox.example"
	kind    = "sign-in"
)

var operator = sender.Principal{Operator: true}

// newHarness has a tenant with an application, a template and a user.
func newHarness(t *testing.T, dsn string, change ...func(*otp.Settings)) *harness {
	t.Helper()
	h := &harness{T: t, outbox: &apitest.Outbox{}, logged: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(h.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ring, err := store.LoadKeyring(store.GenerateKey())
	h.must(err)
	if dsn == "" {
		dsn = filepath.Join(t.TempDir(), "test.db")
	}
	st, err := store.Open(t.Context(), store.Config{DSN: dsn, SealKeys: ring, Log: log, Migrate: true})
	h.must(err)
	t.Cleanup(func() { st.Close() })
	h.sender, err = sender.New(t.Context(), sender.Config{Store: st, Checker: nowhere{}, Provider: apitest.Provider(h.outbox), Settings: sender.DefaultSettings(), Log: log})
	h.must(err)
	settings := otp.DefaultSettings()
	for _, c := range change {
		c(&settings)
	}
	h.Service, err = otp.New(t.Context(), otp.Config{Store: st.OTP(), Sender: h.sender, Settings: settings, Log: log})
	h.must(err)
	h.newTenant()
	return h
}

func (h *harness) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// kind demands the kind of an error, and its field where one is given.
func (h *harness) want(err error, kind sender.Kind, field ...string) {
	h.Helper()
	e, _ := errors.AsType[*sender.Error](err)
	if e == nil || e.Kind != kind || len(field) > 0 && e.Field != field[0] {
		h.Errorf("error %v (field %q), want %s on %q", err, fieldOf(e), kind, field)
	}
}

func fieldOf(e *sender.Error) string {
	if e == nil {
		return ""
	}
	return e.Field
}

func (h *harness) newTenant() {
	h.Helper()
	ctx := h.Context()
	var err error
	h.tenant, err = h.sender.CreateTenant(ctx, operator, sender.NewTenant{Name: "t"})
	h.must(err)
	h.admin = sender.Principal{Credential: sender.NewID(), Home: h.tenant.ID, Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: sender.RoleAdmin}}}
	h.app = h.application("Shop")
	_, err = h.CreateUser(ctx, h.admin, h.tenant.ID, otp.NewUser{Username: user})
	h.must(err)
}

// application makes one that may send mail, with a template in English.
func (h *harness) application(name string) otp.Application {
	h.Helper()
	ctx := h.Context()
	a, err := h.CreateApplication(ctx, h.admin, h.tenant.ID, otp.NewApplication{Name: name, Enabled: true})
	h.must(err)
	a = h.set(a, otp.EmailEnabled, "true")
	_, err = h.sender.CreateTemplate(ctx, h.admin, h.tenant.ID, sender.NewTemplate{
		Application: a.ID, Type: kind, From: "noreply@pingidentity.com", Subject: "Hello", Body: "Your code: ${OTP} for ${what}",
	})
	h.must(err)
	return a
}

func (h *harness) set(a otp.Application, name, value string) otp.Application {
	h.Helper()
	a, err := h.SetAttribute(h.Context(), h.admin, h.tenant.ID, a.ID, name, value)
	h.must(err)
	return a
}

var sixDigits = regexp.MustCompile(`code: ([0-9]{6}) for`)

// code reads the newest code that was mailed to an address.
func (h *harness) code(address string) string {
	h.Helper()
	mails := h.outbox.To(address)
	if len(mails) == 0 {
		h.Fatalf("no mail for %s", address)
	}
	m := sixDigits.FindStringSubmatch(mails[len(mails)-1].Text)
	if m == nil {
		h.Fatalf("no code in %q", mails[len(mails)-1].Text)
	}
	return m[1]
}

// other is a code that is wrong.
func other(code string) string {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

func (h *harness) start(address string) otp.Pairing {
	h.Helper()
	g, err := h.StartPairing(h.Context(), h.admin, h.tenant.ID, otp.NewPairing{Application: h.app.ID, Username: user, Address: address, Type: kind})
	h.must(err)
	return g
}

// finish judges a code for a pairing.
func (h *harness) finish(g otp.Pairing, code string) (otp.Pairing, error) {
	return h.FinishPairing(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, g.ID, code, "")
}

func (h *harness) paired(address string) otp.Device {
	h.Helper()
	_, err := h.StartPairing(h.Context(), h.admin, h.tenant.ID, otp.NewPairing{Application: h.app.ID, Username: user, Address: address, Automatic: true})
	h.must(err)
	ds := h.devices()
	return ds[len(ds)-1]
}

func (h *harness) devices() []otp.Device {
	h.Helper()
	u, err := h.User(h.Context(), h.admin, h.tenant.ID, h.app.ID, user)
	h.must(err)
	return u.Devices
}

func (h *harness) authenticate(device sender.ID) (otp.Signing, error) {
	return h.StartAuthentication(h.Context(), h.admin, h.tenant.ID, otp.NewAuthentication{Application: h.app.ID, Username: user, Device: device, Type: kind})
}

func (h *harness) signIn() otp.Signing {
	h.Helper()
	a, err := h.authenticate("")
	h.must(err)
	return a
}

// submit judges a code and returns what became of it.
func (h *harness) submit(a otp.Signing, code string) otp.Status {
	h.Helper()
	got, err := h.SubmitCode(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, a.ID, code)
	h.must(err)
	return got.Status
}

func (h *harness) status(a otp.Signing) otp.Status {
	h.Helper()
	got, err := h.Authentication(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, a.ID)
	h.must(err)
	return got.Status
}

func onFakeTime(t *testing.T, do func(h *harness), change ...func(*otp.Settings)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { do(newHarness(t, "", change...)) })
}

func TestCodeFromTheMailPairsAMailbox(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		g := h.start(mailbox)
		if len(h.devices()) != 0 {
			h.Error("it was paired before the code was given")
		}
		_, err := h.finish(g, other(h.code(mailbox)))
		h.want(err, sender.WrongCode, "otp")
		done, err := h.FinishPairing(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, g.ID, " "+h.code(mailbox)+"\n", "At work")
		h.must(err)
		ds := h.devices()
		if done.State != otp.PairingDone || len(ds) != 1 || ds[0].Address != mailbox || ds[0].Nickname != "At work" || ds[0].Role != otp.Primary || done.Device != ds[0].ID {
			h.Errorf("pairing %+v, devices %+v", done, ds)
		}
		_, err = h.finish(g, h.code(mailbox))
		h.want(err, sender.Invalid, "status")
	})
}

func TestThirdWrongCodeEndsAPairing(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		g := h.start(mailbox)
		code := h.code(mailbox)
		for range 2 {
			_, err := h.finish(g, other(code))
			h.want(err, sender.WrongCode)
		}
		_, err := h.finish(g, other(code))
		h.want(err, sender.NoMoreTries)
		_, err = h.finish(g, code)
		h.want(err, sender.NoMoreTries)
		if len(h.devices()) != 0 {
			h.Error("it was paired all the same")
		}
	})
}

func TestAutomaticPairingSendsNothing(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		for i := 1; i <= 3; i++ {
			address := fmt.Sprintf("r%d@inbox.example", i)
			d := h.paired(address)
			if want := fmt.Sprintf("Email %d", i); d.Nickname != want || (d.Role == otp.Primary) != (i == 1) {
				h.Errorf("device %d: %+v", i, d)
			}
			if n := len(h.outbox.To(address)); n != 0 {
				h.Errorf("%d mails went to %s", n, address)
			}
		}
		_, err := h.StartPairing(h.Context(), h.admin, h.tenant.ID, otp.NewPairing{Application: h.app.ID, Username: user, Address: "R1@INBOX.example", Automatic: true})
		h.want(err, sender.Conflict, "address")
	})
}

func TestRightCodeCountsOnce(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		a := h.signIn()
		if a.Status != otp.AwaitingCode || len(a.Devices) != 1 {
			h.Errorf("authentication %+v", a)
		}
		code := h.code(mailbox)
		if got := h.submit(a, other(code)); got != otp.InvalidCode {
			h.Errorf("a wrong code: %s", got)
		}
		if got := h.submit(a, code); got != otp.Approved {
			h.Errorf("the right code: %s", got)
		}
		if got := h.submit(a, code); got != otp.InvalidCode {
			h.Errorf("the right code again: %s", got)
		}
		if got := h.status(a); got != otp.Approved {
			h.Errorf("after all that: %s", got)
		}
		u, err := h.User(h.Context(), h.admin, h.tenant.ID, h.app.ID, user)
		h.must(err)
		if u.LastLogin.IsZero() {
			h.Error("the user has no last login")
		}
		h.must(h.Cancel(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, a.ID))
		if got := h.status(a); got != otp.Approved {
			h.Errorf("cancelled when it had ended: %s", got)
		}
	})
}

func TestThirdWrongCodeBlocksAnAuthentication(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		a := h.signIn()
		code := h.code(mailbox)
		var got []otp.Status
		for range 3 {
			got = append(got, h.submit(a, other(code)))
		}
		got = append(got, h.submit(a, code), h.status(a))
		want := []otp.Status{otp.InvalidCode, otp.InvalidCode, otp.Blocked, otp.Blocked, otp.Blocked}
		if !slices.Equal(got, want) {
			h.Errorf("statuses %v, want %v", got, want)
		}
	})
}

func TestCodeAndSessionEndInTheirTime(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		h.set(h.app, otp.OTPLifetime, "5")
		a := h.signIn()
		g := h.start("second@inbox.example")
		time.Sleep(5*time.Minute - time.Microsecond)
		if got := h.status(a); got != otp.AwaitingCode {
			h.Errorf("just before the code's end: %s", got)
		}
		time.Sleep(time.Microsecond)
		if got := h.submit(a, h.code(mailbox)); got != otp.TimedOut {
			h.Errorf("at the code's end: %s", got)
		}
		_, err := h.finish(g, h.code("second@inbox.example"))
		h.want(err, sender.WrongCode)
		time.Sleep(25*time.Minute - time.Microsecond)
		if got := h.status(a); got != otp.TimedOut {
			h.Errorf("just before the session's end: %s", got)
		}
		time.Sleep(time.Microsecond)
		_, err = h.Authentication(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, a.ID)
		h.want(err, sender.NotFound, "authentication")
		_, err = h.Pairing(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, g.ID)
		h.want(err, sender.NotFound, "pairing")
		mails, err := h.sender.Messages(h.Context(), operator, h.tenant.ID, sender.Page{})
		h.must(err)
		for _, m := range mails {
			if m.Kind != sender.KindOTP || !m.Once || m.ExpiresAt.Sub(m.CreatedAt) != 5*time.Minute || m.Template == "" || m.Locale != "en" {
				h.Errorf("the mail with the code is %+v", m)
			}
		}
		if len(mails) != 2 {
			h.Errorf("%d mails, want 2", len(mails))
		}
		time.Sleep(24 * time.Hour)
		h.must(h.Forget(h.Context()))
	})
}

func TestCancelledCodeIsWorthNothing(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		a := h.signIn()
		h.must(h.Cancel(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, a.ID))
		if got := h.submit(a, h.code(mailbox)); got != otp.Canceled {
			h.Errorf("after cancelling: %s", got)
		}
	})
}

func TestOneOfSeveralDevicesGetsTheCode(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		_, err := h.authenticate("")
		h.want(err, otp.NoDevice, "user")
		first, second := h.paired("one@inbox.example"), h.paired("two@inbox.example")
		if a := h.signIn(); a.Device != first.ID {
			h.Error("the primary device did not get the code")
		}
		h.set(h.app, otp.SelectDevice, "true")
		a := h.signIn()
		if a.Status != otp.SelectFirst || len(a.Devices) != 2 || a.Device != "" {
			h.Errorf("nobody was asked which: %+v", a)
		}
		if n := len(h.outbox.To("two@inbox.example")); n != 0 {
			h.Error("a code went out before a device was selected")
		}
		if got := h.submit(a, "000000"); got != otp.SelectFirst {
			h.Errorf("a code without a device: %s", got)
		}
		b, err := h.authenticate(second.ID)
		h.must(err)
		if got := h.submit(b, h.code("two@inbox.example")); got != otp.Approved {
			h.Errorf("the selected device: %s", got)
		}
		_, err = h.authenticate(sender.NewID())
		h.want(err, sender.NotFound, "device")
		h.must(h.DeleteDevice(h.Context(), h.admin, h.tenant.ID, user, first.ID))
		if ds := h.devices(); len(ds) != 1 || ds[0].Role != otp.Primary {
			h.Errorf("after the primary was unpaired: %+v", ds)
		}
	})
}

func TestCodeIsWorthNothingOnceItsDeviceIsUnpaired(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		d := h.paired(mailbox)
		a := h.signIn()
		h.must(h.DeleteDevice(h.Context(), h.admin, h.tenant.ID, user, d.ID))
		if got := h.submit(a, h.code(mailbox)); got != otp.Canceled {
			h.Errorf("the code after its device was unpaired: %s", got)
		}
		h.paired(mailbox)
		b := h.signIn()
		h.set(h.app, otp.EmailEnabled, "false")
		h.set(h.app, otp.EmailEnabled, "true")
		if got := h.submit(b, h.code(mailbox)); got != otp.Canceled {
			h.Errorf("the code after mail was off and on again: %s", got)
		}
	})
}

func TestOneTenantDoesNotUseUpWhatAnotherMaySend(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		theirs := *h
		theirs.newTenant()
		theirs.paired(mailbox)
		for range 60 {
			if _, err := theirs.authenticate(""); err != nil {
				h.Fatal(err)
			}
		}
		_, err := theirs.authenticate("")
		h.want(err, sender.TooSoon, "to")
		h.signIn()
	}, func(s *otp.Settings) { s.PerUser = 1000 })
}

func TestBeingAskedForADeviceHasALimit(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired("one@inbox.example")
		h.paired("two@inbox.example")
		h.set(h.app, otp.SelectDevice, "true")
		for range 3 {
			h.signIn()
		}
		_, err := h.authenticate("")
		h.want(err, sender.TooSoon, "user")
	}, func(s *otp.Settings) { s.PerUser = 3 })
}

func TestMailboxIsOneInAnySpelling(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired("Ann@bücher.example")
		for _, again := range []string{"ann@xn--bcher-kva.example", "ANN@BÜCHER.example"} {
			_, err := h.StartPairing(h.Context(), h.admin, h.tenant.ID, otp.NewPairing{Application: h.app.ID, Username: user, Address: again, Automatic: true})
			h.want(err, sender.Conflict, "address")
		}
	})
}

func TestDeviceOfAnotherApplicationGetsNoCode(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		foreign := h.paired(mailbox)
		h.app = h.application("Bank")
		_, err := h.authenticate("")
		h.want(err, otp.NoDevice)
		_, err = h.authenticate(foreign.ID)
		h.want(err, sender.NotFound, "device")
	})
}

func TestApplicationSaysWhetherMailMayGo(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		a := h.signIn()
		h.set(h.app, otp.EmailEnabled, "false")
		if len(h.devices()) != 0 {
			h.Error("turning mail off left devices")
		}
		_, err := h.authenticate("")
		h.want(err, otp.EmailDisabled, "application")
		_, err = h.SubmitCode(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, a.ID, h.code(mailbox))
		h.want(err, otp.EmailDisabled)
		h.set(h.app, otp.EmailEnabled, "true")
		if len(h.devices()) != 0 {
			h.Error("turning mail on again brought devices back")
		}
		_, err = h.UpdateApplication(h.Context(), h.admin, h.tenant.ID, h.app.ID, otp.NewApplication{Name: h.app.Name})
		h.must(err)
		_, err = h.StartPairing(h.Context(), h.admin, h.tenant.ID, otp.NewPairing{Application: h.app.ID, Username: user, Address: mailbox, Type: kind})
		h.want(err, otp.Disabled, "application")
	})
}

func TestOneUserIsSentSoManyCodesAnHour(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		h.signIn()
		h.signIn()
		_, err := h.authenticate("")
		h.want(err, sender.TooSoon, "user")
		if n := len(h.outbox.To(mailbox)); n != 3 { // the third was composed, and dropped with its transaction
			h.Errorf("%d mails were composed", n)
		}
		mails, err := h.sender.Messages(h.Context(), operator, h.tenant.ID, sender.Page{})
		if err != nil || len(mails) != 2 {
			h.Errorf("%d mails were queued (%v), want 2", len(mails), err)
		}
		time.Sleep(time.Hour)
		h.signIn()
	}, func(s *otp.Settings) { s.PerUser = 2 })
}

func TestWrongCodesOfADayAreCountedOverAllSessions(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		h.paired(mailbox)
		for range 2 {
			a := h.signIn()
			wrong := other(h.code(mailbox))
			h.submit(a, wrong)
			h.submit(a, wrong)
		}
		a := h.signIn()
		if got := h.submit(a, other(h.code(mailbox))); got != otp.Blocked {
			h.Errorf("the fifth wrong code of the day: %s", got)
		}
		_, err := h.authenticate("")
		h.want(err, sender.TooSoon, "user")
		time.Sleep(24 * time.Hour)
		if got := h.submit(h.signIn(), h.code(mailbox)); got != otp.Approved {
			h.Errorf("the next day: %s", got)
		}
	}, func(s *otp.Settings) { s.WrongPerDay = 5 })
}

func TestNothingIsKnownOfAnotherTenant(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		ctx := h.Context()
		d := h.paired(mailbox)
		a, g := h.signIn(), h.start("second@inbox.example")
		theirs := *h
		theirs.newTenant()
		p, mine, app := theirs.admin, theirs.tenant.ID, h.app.ID
		for name, call := range map[string]func() error{
			"application": func() error { _, err := h.Application(ctx, p, mine, app); return err },
			"attribute":   func() error { _, err := h.SetAttribute(ctx, p, mine, app, otp.EmailEnabled, "false"); return err },
			"update": func() error {
				_, err := h.UpdateApplication(ctx, p, mine, app, otp.NewApplication{Name: "x"})
				return err
			},
			"user":           func() error { _, err := h.User(ctx, p, mine, app, user); return err },
			"device":         func() error { return h.DeleteDevice(ctx, p, mine, user, d.ID) },
			"pairing":        func() error { _, err := h.Pairing(ctx, p, mine, theirs.app.ID, user, g.ID); return err },
			"authentication": func() error { _, err := h.Authentication(ctx, p, mine, theirs.app.ID, user, a.ID); return err },
			"code": func() error {
				_, err := h.SubmitCode(ctx, p, mine, theirs.app.ID, user, a.ID, h.code(mailbox))
				return err
			},
			"cancel":       func() error { return h.Cancel(ctx, p, mine, theirs.app.ID, user, a.ID) },
			"their tenant": func() error { _, err := h.Applications(ctx, p, h.tenant.ID); return err },
			"their user":   func() error { return h.DeleteUser(ctx, p, h.tenant.ID, user) },
		} {
			if err := call(); sender.KindOf(err) != sender.NotFound {
				h.Errorf("%s: %v, want not-found", name, err)
			}
		}
		if got := h.submit(a, h.code(mailbox)); got != otp.Approved {
			h.Errorf("after strangers knocked: %s", got)
		}
	})
}

func TestAuditLogTellsTheStoryWithoutCodesOrAddresses(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		g := h.start(mailbox)
		code := h.code(mailbox)
		_, err := h.finish(g, other(code))
		h.want(err, sender.WrongCode)
		_, err = h.finish(g, code)
		h.must(err)
		a := h.signIn()
		second := h.code(mailbox)
		h.submit(a, second)
		es, err := h.sender.Events(h.Context(), operator, h.tenant.ID, sender.Page{})
		h.must(err)
		var story []string
		var all strings.Builder
		for _, e := range es {
			all.WriteString(fmt.Sprintf("%+v\n", e))
			if strings.HasPrefix(string(e.Type), "pairing.") || strings.HasPrefix(string(e.Type), "device.") || strings.HasPrefix(string(e.Type), "authentication.") {
				story = append(story, string(e.Type))
			}
		}
		want := []string{"pairing.started", "pairing.code-wrong", "device.paired", "authentication.started", "authentication.approved"}
		if !slices.Equal(story, want) {
			h.Errorf("story %v, want %v", story, want)
		}
		for _, secret := range []string{code, second, mailbox, strings.ToLower(mailbox)} {
			if strings.Contains(all.String(), secret) || strings.Contains(h.logged.String(), secret) {
				h.Errorf("%q is in the audit log or the process log", secret)
			}
		}
	})
}

func onEach(t *testing.T, do func(h *harness)) {
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); do(newHarness(t, "")) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); do(newHarness(t, storetest.Postgres(t))) })
}

// guesses is as many as issue and attackers want, from many at once.
func guesses(n int, guess func(code string)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				guess(fmt.Sprintf("%06d", i))
			}
		})
	}
	wg.Wait()
}

func TestTenThousandParallelGuessesGetThreeTries(t *testing.T) {
	onEach(t, func(h *harness) {
		h.paired(mailbox)
		a, g := h.signIn(), h.start("second@inbox.example")
		right := map[string]bool{h.code(mailbox): true, h.code("second@inbox.example"): true}
		var counted, paired atomic.Int64
		guesses(10_000, func(code string) {
			if right[code] {
				return
			}
			got, err := h.SubmitCode(h.Context(), h.admin, h.tenant.ID, h.app.ID, user, a.ID, code)
			switch {
			case err != nil:
				h.Error(err)
			case got.Status == otp.InvalidCode:
				counted.Add(1)
			case got.Status != otp.Blocked:
				h.Errorf("a guess is %s", got.Status)
			}
			switch _, err := h.finish(g, code); sender.KindOf(err) {
			case sender.WrongCode:
				paired.Add(1)
			case sender.NoMoreTries:
			default:
				h.Errorf("a guess at the pairing: %v", err)
			}
		})
		if counted.Load() != 2 || paired.Load() != 2 { // the third is answered as the end
			h.Errorf("%d and %d guesses were answered as wrong before the end, want 2 and 2", counted.Load(), paired.Load())
		}
		n := map[sender.EventType]int{}
		es, err := h.sender.Events(h.Context(), operator, h.tenant.ID, sender.Page{})
		h.must(err)
		for _, e := range es {
			n[e.Type]++
		}
		if n[otp.EventAuthCodeWrong] != 2 || n[otp.EventAuthBlocked] != 1 || n[otp.EventPairingCodeWrong] != 2 || n[otp.EventPairingFailed] != 1 {
			h.Errorf("events %v", n)
		}
		for code := range right {
			if got := h.submit(a, code); got != otp.Blocked {
				h.Errorf("the right code after all that: %s", got)
			}
		}
	})
}

func TestLimitOfDevicesHoldsForManyAtOnce(t *testing.T) {
	onEach(t, func(h *harness) {
		h.set(h.app, otp.MaxDevices, "3")
		var made, full atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				_, err := h.StartPairing(h.Context(), h.admin, h.tenant.ID, otp.NewPairing{
					Application: h.app.ID, Username: user, Address: fmt.Sprintf("r%d@inbox.example", i), Automatic: true,
				})
				switch {
				case err == nil:
					made.Add(1)
				case sender.KindOf(err) == sender.Limit:
					full.Add(1)
				default:
					h.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 3 || full.Load() != 17 {
			h.Errorf("%d were made and %d refused, want 3 and 17", made.Load(), full.Load())
		}
		primaries := 0
		for _, d := range h.devices() {
			if d.Role == otp.Primary {
				primaries++
			}
		}
		if primaries != 1 {
			h.Errorf("%d primary devices", primaries)
		}
	})
}

func TestNamesAreUniqueForManyAtOnce(t *testing.T) {
	onEach(t, func(h *harness) {
		var users, apps atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch _, err := h.CreateUser(h.Context(), h.admin, h.tenant.ID, otp.NewUser{Username: "same"}); sender.KindOf(err) {
				case "":
					users.Add(1)
				case sender.Conflict:
				default:
					h.Error(err)
				}
				switch _, err := h.CreateApplication(h.Context(), h.admin, h.tenant.ID, otp.NewApplication{Name: "SAME"}); sender.KindOf(err) {
				case "":
					apps.Add(1)
				case sender.Conflict:
				default:
					h.Error(err)
				}
			})
		}
		wg.Wait()
		if users.Load() != 1 || apps.Load() != 1 {
			h.Errorf("%d users and %d applications of one name", users.Load(), apps.Load())
		}
	})
}

func TestAttributesHaveTheirDefaultsAndForms(t *testing.T) {
	onFakeTime(t, func(h *harness) {
		fresh, err := h.CreateApplication(h.Context(), h.admin, h.tenant.ID, otp.NewApplication{Name: "Fresh"})
		h.must(err)
		for name, want := range map[string]string{otp.EmailEnabled: "false", otp.MaxDevices: "5", otp.SelectDevice: "false", otp.OTPLifetime: "30", "nothing": ""} {
			if got := fresh.Attribute(name); got != want {
				h.Errorf("%s is %q by default, want %q", name, got, want)
			}
		}
		for name, values := range map[string][]string{
			otp.EmailEnabled: {"True", "1", ""}, otp.MaxDevices: {"0", "16", "05", "x"}, otp.OTPLifetime: {"0", "31"}, otp.DefaultLocale: {"english", "xx-YY"},
			"mobile_app_lock_otp_duration": {"5h", "s", "5ss"}, "pairing_key_expiration": {"5s"}, "application_scheme_uri": {"a\nb"},
		} {
			for _, v := range values {
				_, err := h.SetAttribute(h.Context(), h.admin, h.tenant.ID, fresh.ID, name, v)
				h.want(err, sender.Invalid, "value")
			}
		}
		_, err = h.SetAttribute(h.Context(), h.admin, h.tenant.ID, fresh.ID, "nothing", "x")
		h.want(err, sender.NotFound, "attribute")
		h.set(fresh, "mobile_app_lock_otp_duration", "90s")
	})
}
