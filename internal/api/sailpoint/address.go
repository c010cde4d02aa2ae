package sailpoint

import (
	"context"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// statusWords are the dialect's words for a proof, of an address and of a domain.
var statusWords = map[sender.Status]string{
	sender.Pending:  "PENDING",
	sender.Verified: "SUCCESS",
	sender.Lapsing:  "SUCCESS",
	sender.Lapsed:   "FAILED",
	sender.Failed:   "FAILED",
}

// addressFields are those of all releases together.
var addressFields = api.Fields{
	"email": sorted(texts(sender.Eq, sender.Ge, sender.Gt, sender.Le, sender.Lt, sender.Sw)),
}

type addressBody struct {
	ID                 sender.ID `json:"id"`
	Email              string    `json:"email"`
	IsVerifiedByDomain bool      `json:"isVerifiedByDomain"`
	VerificationStatus string    `json:"verificationStatus"`
	Region             *string   `json:"region"` // always null: an address is not bound to one
}

func addressOf(s sender.Standing) addressBody {
	return addressBody{ID: s.ID, Email: s.Spelling, IsVerifiedByDomain: s.ThroughIt, VerificationStatus: statusWords[s.Worth]}
}

// newAddress reads the one member that a client can set. The Go client sends others
// always.
func newAddress(r *http.Request) (string, error) {
	var body struct {
		Email string `json:"email"`
	}
	err := api.ReadJSON(r, &body)
	if err == nil && body.Email == "" {
		err = sender.Errorf(sender.Required, "email", "email is missing: send the address to send mail from, such as noreply@mail.example.org.")
	}
	return body.Email, err
}

// POST verified-from-addresses. It may be repeated: the Go client does by itself.
func (e edge) createAddress(ctx context.Context, p sender.Principal, email string) (sender.Standing, error) {
	return e.core.CreateSender(ctx, p, p.Home, email)
}

func writeAddress(w http.ResponseWriter, _ *http.Request, s sender.Standing) error {
	return api.WriteJSON(w, http.StatusCreated, addressOf(s))
}

// GET verified-from-addresses.
func (e edge) addresses(ctx context.Context, p sender.Principal, q sender.Query) (listed[addressBody], error) {
	found, total, err := e.core.Senders(ctx, p, p.Home, q)
	l := listed[addressBody]{count: q.Count, total: total}
	for _, s := range found {
		l.items = append(l.items, addressOf(s))
	}
	return l, err
}

// DELETE one of verified-from-addresses.
func (e edge) deleteAddress(ctx context.Context, p sender.Principal, id sender.ID) (struct{}, error) {
	return struct{}{}, e.core.DeleteSender(ctx, p, p.Home, id)
}

// readID reads the id of a path. One that is no UUID is that of nothing.
func readID(noun string) func(*http.Request) (sender.ID, error) {
	return func(r *http.Request) (sender.ID, error) {
		id, ok := sender.ParseID(r.PathValue("id"))
		if !ok {
			return "", sender.Errorf(sender.NotFound, "", "The requested %s was not found.", noun)
		}
		return id, nil
	}
}

func noContent(w http.ResponseWriter, _ *http.Request, _ struct{}) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
