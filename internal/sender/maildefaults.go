package sender

import (
	"context"
	"encoding/json"
	"time"

	"github.com/postseal/postseal/internal/template"
)

// MailDefaults are what a tenant says once for all of its templates.
type MailDefaults struct {
	// From and ReplyTo are of templates that have no From: a mailbox, as
	// [Template.From]. An empty From is the built-in no-reply.
	From    string
	ReplyTo string
	// Locale is tried where a template is missing in the wanted one, before the
	// instance's last; may be empty.
	Locale template.Locale
	// Document is what an edge keeps with them and only it reads; may be empty.
	Document  string
	UpdatedAt time.Time // zero: they were never set
}

// mailDefaultsName is where they are among the tenant's settings.
const mailDefaultsName = "mail-defaults"

// mailDefaults reads them; the zero value stands for a tenant that has none.
func mailDefaults(ctx context.Context, r Reader, tenant ID) (d MailDefaults, err error) {
	document, err := r.Setting(ctx, tenant, mailDefaultsName)
	if KindOf(err) == NotFound {
		return d, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(document), &d)
	}
	return d, err
}

// MailDefaults returns what the tenant says for its templates.
func (s *Service) MailDefaults(ctx context.Context, p Principal, tenant ID) (MailDefaults, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return MailDefaults{}, err
	}
	return mailDefaults(ctx, s.store, tenant)
}

// ChangeMailDefaults changes them: change gets what there is. The senders must pass
// the trust rule now; one that does not any more when mail is sent is replaced as
// that of a template is. Errors: Refused or Invalid on "from" or "replyTo", Invalid
// on "locale" or "document".
func (s *Service) ChangeMailDefaults(ctx context.Context, p Principal, tenant ID, change func(*MailDefaults)) (MailDefaults, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin)
	if err != nil {
		return MailDefaults{}, err
	}
	var d MailDefaults
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		var err error
		if d, err = mailDefaults(ctx, tx, tenant); err != nil {
			return err
		}
		change(&d)
		for _, who := range []struct{ field, spelling string }{{"from", d.From}, {"replyTo", d.ReplyTo}} {
			if who.spelling == "" {
				continue
			}
			if _, err := s.mayAuthor(ctx, tx, t, who.field, who.spelling); err != nil {
				return err
			}
		}
		if d.Locale != "" {
			if d.Locale, err = template.ParseLocale(string(d.Locale)); err != nil {
				return &Error{Kind: Invalid, Field: "locale", Detail: err.Error()}
			}
		}
		d.UpdatedAt = s.now()
		document, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if len(document) > maxSetting {
			return Errorf(Invalid, "document", "The settings have more than %d octets.", maxSetting)
		}
		if err := tx.PutSetting(ctx, tenant, mailDefaultsName, string(document)); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventMailDefaults, tenant, d.UpdatedAt))
	})
	return d, err
}
