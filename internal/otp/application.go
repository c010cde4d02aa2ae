package otp

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

// Application is one that signs its people in here.
type Application struct {
	ID         sender.ID // chosen by whoever makes it; unique in the tenant
	Tenant     sender.ID
	Name       string // unique in the tenant, in any case
	Enabled    bool
	PushSender string            // of a push service that the vendor's documents know; kept and not used
	Attributes map[string]string // those that were set; see Attribute
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// The attributes that are used here.
const (
	EmailEnabled  = "email_enabled"                  // pairing and authentication by mail are allowed
	SelectDevice  = "multiple_device_selection_mode" // whoever has several devices is asked which; otherwise the primary one is taken
	MaxDevices    = "max_allowed_devices_for_user"
	OTPLifetime   = "email_otp_lifetime" // minutes; the name is ours
	DefaultLocale = "default_locale"     // tried for templates before the instance's last; the name is ours
)

// Attribute is a setting of an application.
type Attribute struct{ Name, Value string }

// attribute is one that an application may have: its default, and what its values
// look like.
type attribute struct {
	name, value string
	problem     func(string) string // empty: none
}

// attributes are those of the PingID SDK documents, and ours, in the order of lists.
var attributes = []attribute{
	{EmailEnabled, "false", boolean},
	{SelectDevice, "false", boolean},
	{MaxDevices, "5", between(1, 15)},
	{"otp_fallback_enabled", "false", boolean},
	{"max_allowed_mobile_app_otp_attempts", "3", between(1, 7)},
	{"mobile_app_lock_otp_duration", "", span("sm")},
	{"pairing_key_expiration", "", span("mhd")},
	{"application_scheme_uri", "", text},
	{"v2_mfa_environment", "", text},
	{OTPLifetime, "30", between(1, 30)},
	{DefaultLocale, "", locale},
}

func boolean(v string) string {
	if v == "true" || v == "false" {
		return ""
	}
	return "true or false"
}

func between(least, most int) func(string) string {
	return func(v string) string {
		if n, err := strconv.Atoi(v); err == nil && n >= least && n <= most && strconv.Itoa(n) == v {
			return ""
		}
		return "a number from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)
	}
}

func span(units string) func(string) string {
	return func(v string) string {
		digits := strings.TrimRight(v, units)
		if _, err := strconv.ParseUint(digits, 10, 31); v == "" || err == nil && len(v)-len(digits) <= 1 {
			return ""
		}
		return "digits with an optional unit, one of " + strings.Join(strings.Split(units, ""), ", ")
	}
}

func text(v string) string {
	if len(v) <= 500 && printable(v) {
		return ""
	}
	return "printable text of at most 500 octets"
}

func locale(v string) string {
	if _, err := template.ParseLocale(v); v == "" || err == nil {
		return ""
	}
	return "a locale such as en or pt-BR"
}

// Attribute returns the value of an attribute, set or by default; empty for one
// that there is not.
func (a Application) Attribute(name string) string {
	if v, ok := a.Attributes[name]; ok {
		return v
	}
	if i := slices.IndexFunc(attributes, func(k attribute) bool { return k.name == name }); i >= 0 {
		return attributes[i].value
	}
	return ""
}

// AllAttributes lists every attribute, in a stable order.
func (a Application) AllAttributes() []Attribute {
	all := make([]Attribute, len(attributes))
	for i, k := range attributes {
		all[i] = Attribute{k.name, a.Attribute(k.name)}
	}
	return all
}

func (a Application) number(name string) int {
	n, _ := strconv.Atoi(a.Attribute(name)) // checked when it was set
	return n
}

// NewApplication is what a client says of an application.
type NewApplication struct {
	ID      sender.ID // made when empty
	Name    string
	Enabled bool
	// PushSender is kept and not used; the key that goes with it is not even kept.
	PushSender string
}

const (
	maxApplications = 1000 // in a tenant
	maxName         = 100  // characters
)

func (n NewApplication) check() error {
	if err := label("name", n.Name, maxName); err != nil {
		return err
	}
	if len(n.PushSender) > 500 || !printable(n.PushSender) {
		return sender.Errorf(sender.Invalid, "push", "The sender of the push service must be printable text of at most 500 octets.")
	}
	return nil
}

// CreateApplication makes an application. Errors: Required and Invalid on "id",
// "name" or "push", Conflict on "id" or "name", Limit on "application".
func (s *Service) CreateApplication(ctx context.Context, p sender.Principal, tenant sender.ID, n NewApplication) (Application, error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleAdmin); err != nil {
		return Application{}, err
	}
	if n.ID == "" {
		n.ID = sender.NewRandomID()
	}
	if _, ok := sender.ParseID(string(n.ID)); !ok {
		return Application{}, sender.Errorf(sender.Invalid, "id", "The id of an application must be a UUID.")
	}
	if err := n.check(); err != nil {
		return Application{}, err
	}
	now := s.now()
	a := Application{ID: n.ID, Tenant: tenant, Name: n.Name, Enabled: n.Enabled, PushSender: n.PushSender, CreatedAt: now, UpdatedAt: now}
	err := s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		if _, err := tx.Application(ctx, tenant, a.ID); err == nil {
			return sender.Errorf(sender.Conflict, "id", "There is an application with this id already.")
		} else if sender.KindOf(err) != sender.NotFound {
			return err
		}
		if err := nameTaken(ctx, tx, a); err != nil {
			return err
		}
		all, err := tx.Applications(ctx, tenant)
		if err != nil {
			return err
		}
		if len(all) >= maxApplications {
			return sender.Errorf(sender.Limit, "application", "There are %d applications, the most there can be.", len(all))
		}
		if err := tx.InsertApplication(ctx, a); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, sender.NewEvent(p, tenant, EventApplicationCreated, a.ID, now, "name", a.Name))
	})
	return a, err
}

func nameTaken(ctx context.Context, tx Tx, a Application) error {
	switch old, err := tx.ApplicationByName(ctx, a.Tenant, a.Name); {
	case err == nil && old.ID != a.ID:
		return sender.Errorf(sender.Conflict, "name", "There is an application of this name already.")
	case err != nil && sender.KindOf(err) != sender.NotFound:
		return err
	}
	return nil
}

// Application returns one application.
func (s *Service) Application(ctx context.Context, p sender.Principal, tenant, id sender.ID) (Application, error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleReader); err != nil {
		return Application{}, err
	}
	a, err := s.store.Application(ctx, tenant, id)
	return a, named(err, "application")
}

// Applications lists a tenant's applications.
func (s *Service) Applications(ctx context.Context, p sender.Principal, tenant sender.ID) ([]Application, error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleReader); err != nil {
		return nil, err
	}
	return s.store.Applications(ctx, tenant)
}

// UpdateApplication changes what a client says of an application, but for its id.
func (s *Service) UpdateApplication(ctx context.Context, p sender.Principal, tenant, id sender.ID, n NewApplication) (Application, error) {
	if err := n.check(); err != nil {
		return Application{}, err
	}
	return s.changeApplication(ctx, p, tenant, id, func(a *Application) {
		a.Name, a.Enabled, a.PushSender = n.Name, n.Enabled, n.PushSender
	}, "enabled", strconv.FormatBool(n.Enabled))
}

// SetAttribute sets an attribute. Turning mail off unpairs the mailboxes of the
// application; turning it on again does not bring them back. Errors: NotFound on
// "attribute", Invalid on "value".
func (s *Service) SetAttribute(ctx context.Context, p sender.Principal, tenant, id sender.ID, name, value string) (Application, error) {
	i := slices.IndexFunc(attributes, func(k attribute) bool { return k.name == name })
	if i < 0 {
		return Application{}, sender.Errorf(sender.NotFound, "attribute", "The requested attribute was not found.")
	}
	if want := attributes[i].problem(value); want != "" {
		return Application{}, sender.Errorf(sender.Invalid, "value", "The value of %s must be %s.", name, want)
	}
	old, err := s.Application(ctx, p, tenant, id)
	if err != nil {
		return Application{}, err
	}
	// Off and on alike: a pairing that was under way when mail was turned off may have
	// come after.
	unpair := name == EmailEnabled && (value != "true" || old.Attribute(EmailEnabled) != "true")
	if unpair && value == "true" {
		if err := s.unpairAll(ctx, p, tenant, id); err != nil {
			return Application{}, err
		}
	}
	a, err := s.changeApplication(ctx, p, tenant, id, func(a *Application) {
		next := maps.Clone(a.Attributes)
		if next == nil {
			next = make(map[string]string, 1)
		}
		next[name] = value
		a.Attributes = next
	}, "attribute", name, "value", value)
	if err == nil && unpair && value != "true" {
		err = s.unpairAll(ctx, p, tenant, id)
	}
	return a, err
}

func (s *Service) changeApplication(ctx context.Context, p sender.Principal, tenant, id sender.ID, change func(*Application), what ...string) (a Application, err error) {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleAdmin); err != nil {
		return Application{}, err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		if a, err = tx.Application(ctx, tenant, id); err != nil {
			return named(err, "application")
		}
		change(&a)
		a.UpdatedAt = s.now()
		if err := nameTaken(ctx, tx, a); err != nil {
			return err
		}
		if err := tx.UpdateApplication(ctx, a); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, sender.NewEvent(p, tenant, EventApplicationUpdated, id, a.UpdatedAt, append([]string{"name", a.Name}, what...)...))
	})
	return a, err
}

// unpairAll removes the devices of an application for which mail is off, a part at a
// time.
func (s *Service) unpairAll(ctx context.Context, p sender.Principal, tenant, application sender.ID) error {
	if _, err := s.sender.AuthorizeWhole(ctx, p, tenant, sender.RoleAdmin); err != nil {
		return err
	}
	for {
		n := 0
		err := s.store.Update(ctx, func(tx Tx) error {
			ds, err := tx.DevicesOf(ctx, tenant, application, sender.Page{Limit: 200})
			if err != nil {
				return err
			}
			n = len(ds)
			for _, d := range ds {
				if err := tx.DeleteDevice(ctx, tenant, d.ID); err != nil && sender.KindOf(err) != sender.NotFound {
					return err
				}
				if err := tx.InsertEvent(ctx, sender.NewEvent(p, tenant, EventDeviceUnpaired, d.ID, s.now(), "user", string(d.User), "why", "mail was turned off for the application")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// open refuses an application that can't sign people in by mail.
func (a Application) open() error {
	switch {
	case !a.Enabled:
		return sender.Errorf(Disabled, "application", "The application is disabled; enable it first.")
	case a.Attribute(EmailEnabled) != "true":
		return sender.Errorf(EmailDisabled, "application", "The application does not allow pairing and authentication by email; set its attribute %s to true.", EmailEnabled)
	}
	return nil
}
