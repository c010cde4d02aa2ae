package sender

import (
	"context"
	"unicode/utf8"
)

// maxSetting is how many octets a document of [Service.PutSetting] may have.
const maxSetting = 16 << 10

// Setting returns a small document that an edge keeps for a tenant under a name;
// NotFound where there is none.
func (s *Service) Setting(ctx context.Context, p Principal, tenant ID, name string) (string, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return "", err
	}
	return s.store.Setting(ctx, tenant, name)
}

// PutSetting keeps such a document, or removes it where it is empty. What is in it,
// and what it is good for, is the edge's. Errors: Invalid on "name" and "document".
func (s *Service) PutSetting(ctx context.Context, p Principal, tenant ID, name, document string) error {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return err
	}
	if err := checkLabel("name", name, 100); err != nil {
		return err
	}
	if len(document) > maxSetting || !utf8.ValidString(document) {
		return Errorf(Invalid, "document", "The document of %s is not UTF-8 of at most %d octets.", quote(name), maxSetting)
	}
	return s.store.Update(ctx, func(tx Tx) error {
		if err := tx.PutSetting(ctx, tenant, name, document); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventSettingChanged, tenant, s.now(), "name", name))
	})
}

// EventSettingChanged is written where a document of an edge is kept or removed.
const EventSettingChanged EventType = "setting.changed"
