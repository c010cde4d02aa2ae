package sender

import "context"

// SendNotice accepts a mail that is filled into a template for each of several
// people, durably for all of them or for none: f.To is not looked at. Where the
// tenant has no template for it, standard is taken, if it is given; its ID and
// UpdatedAt name its text. Errors: those of SendFilled.
func (s *Service) SendNotice(ctx context.Context, p Principal, tenant ID, f Filling, standard *Template, to []string) ([]Message, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleSender); err != nil {
		return nil, err
	}
	life, err := s.life(0)
	if err != nil {
		return nil, err
	}
	f.Kind, f.ExpiresAt, f.standard = KindMessage, s.now().Add(life), standard
	filled := make([]Filled, len(to))
	sent := make([]Message, len(to))
	for i, recipient := range to {
		f.To = recipient
		if filled[i], err = s.Fill(ctx, p, tenant, f); err != nil {
			return nil, err
		}
		sent[i] = filled[i].Message()
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		for _, one := range filled {
			if err := s.QueueFilled(ctx, tx, one); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for range sent {
		s.Queued()
	}
	return sent, nil
}
