package pingid

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

// pairingRequest is a pairing as a client asks for it.
type pairingRequest struct {
	thing
	pairing otp.NewPairing
}

func newPairing(r *http.Request) (n pairingRequest, err error) {
	if n.thing, err = readThing(r); err != nil {
		return n, err
	}
	body, err := readBody[struct {
		Recipient        *string        `json:"recipient"`
		AutomaticPairing bool           `json:"automaticPairing"`
		DeviceNickname   *string        `json:"deviceNickname"`
		Locale           *string        `json:"locale"`
		Type             *string        `json:"type"`
		EmailParameters  jsontext.Value `json:"emailParameters"`
	}](r)
	if err != nil {
		return n, err
	}
	g := &n.pairing
	*g = otp.NewPairing{
		Application: n.app, Username: n.user, Automatic: body.AutomaticPairing, Nickname: text(body.DeviceNickname), Locale: text(body.Locale),
	}
	if g.Address, err = given("recipient", body.Recipient); err != nil {
		return n, err
	}
	g.Address = mailbox(g.Address)
	if !g.Automatic {
		if g.Type, err = present("type", body.Type); err != nil {
			return n, err
		}
	}
	g.Values, err = parameters(body.EmailParameters)
	return n, err
}

// POST emailpairings.
func (e edge) startPairing(ctx context.Context, p sender.Principal, n pairingRequest) (otp.Pairing, error) {
	return e.otp.StartPairing(ctx, p, n.account, n.pairing)
}

// GET one emailpairing.
func (e edge) pairing(ctx context.Context, p sender.Principal, t thing) (otp.Pairing, error) {
	return e.otp.Pairing(ctx, p, t.account, t.app, t.user, t.id)
}

// codeRequest is a one-time code as a client hands it in.
type codeRequest struct {
	thing
	nickname string
}

func pairingCode(r *http.Request) (c codeRequest, err error) {
	if c.thing, err = readThing(r); err != nil {
		return c, err
	}
	body, err := readBody[struct {
		OTP            *string `json:"otp"`
		DeviceNickname *string `json:"deviceNickname"`
	}](r)
	if err != nil {
		return c, err
	}
	c.nickname = text(body.DeviceNickname)
	c.value, err = given("otp", body.OTP)
	return c, err
}

// PUT the otp of an emailpairing. The vendor's Java sample takes a body for a
// failure here.
func (e edge) finishPairing(ctx context.Context, p sender.Principal, c codeRequest) (struct{}, error) {
	_, err := e.otp.FinishPairing(ctx, p, c.account, c.app, c.user, c.id, c.value, c.nickname)
	return struct{}{}, finished(err)
}

// finished names what the core calls Invalid of a code that has nothing more to
// prove.
func finished(err error) error {
	if e, ok := errors.AsType[*sender.Error](err); ok && e.Kind == sender.Invalid && e.Field == "status" {
		return sender.Errorf(alreadyDone, e.Field, "%s", e.Detail)
	}
	return err
}

// pairingBody has no deviceType: the one closed list of them in public client code
// does not know mail.
type pairingBody struct {
	ID               string    `json:"id"`
	Recipient        string    `json:"recipient"`
	AutomaticPairing bool      `json:"automaticPairing"`
	DeviceNickname   string    `json:"deviceNickname,omitzero"` // may be chosen with the code
	DeviceID         sender.ID `json:"deviceId,omitzero"`       // once it is paired
}

func writePairing(status int) func(http.ResponseWriter, *http.Request, otp.Pairing) error {
	return func(w http.ResponseWriter, _ *http.Request, g otp.Pairing) error {
		return api.WriteJSON(w, status, pairingBody{
			ID: pairingPrefix + string(g.ID), Recipient: g.Address, AutomaticPairing: g.Challenge.ExpiresAt.IsZero(), // there was no code
			DeviceNickname: g.Nickname, DeviceID: g.Device,
		})
	}
}
