package pingid

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

// authenticate is the one type of authentication that there is.
const authenticate = "AUTHENTICATE"

// authenticationWords are the dialect's words for where an authentication is.
var authenticationWords = map[otp.Status]string{
	otp.AwaitingCode: "OTP",
	otp.InvalidCode:  "INVALID_OTP",
	otp.Approved:     "APPROVED",
	otp.Blocked:      "OTP_IS_BLOCKED",
	otp.Canceled:     "CANCELED",
	otp.TimedOut:     "TIMEOUT",
	otp.SelectFirst:  "SELECT_DEVICE",
}

// authenticationRequest is an authentication as a client asks for it.
type authenticationRequest struct {
	thing
	authentication otp.NewAuthentication
}

// newAuthentication reads an authentication. What is for other ways than mail
// (payload, push and SMS texts, ...) is ignored.
func newAuthentication(r *http.Request) (n authenticationRequest, err error) {
	if n.thing, err = readThing(r); err != nil {
		return n, err
	}
	body, err := readBody[struct {
		AuthenticationType     *string        `json:"authenticationType"`
		DeviceID               *string        `json:"deviceId"`
		Locale                 *string        `json:"locale"`
		EmailConfigurationType *string        `json:"emailConfigurationType"`
		EmailParameters        jsontext.Value `json:"emailParameters"`
	}](r)
	if err != nil {
		return n, err
	}
	if s := body.AuthenticationType; s != nil && *s != authenticate {
		return n, sender.Errorf(sender.Invalid, "authenticationType", "%q is no type of authentication here; use %s.", api.Short(*s), authenticate)
	}
	a := &n.authentication
	*a = otp.NewAuthentication{Application: n.app, Username: n.user, Locale: text(body.Locale), Type: text(body.EmailConfigurationType)}
	if s := strings.ToLower(text(body.DeviceID)); s != "" {
		var ok bool
		if a.Device, ok = sender.ParseID(s); !ok {
			return n, missing("device")
		}
	}
	a.Values, err = parameters(body.EmailParameters)
	return n, err
}

// POST authentications.
func (e edge) startAuthentication(ctx context.Context, p sender.Principal, n authenticationRequest) (otp.Signing, error) {
	return e.otp.StartAuthentication(ctx, p, n.account, n.authentication)
}

// GET one authentication.
func (e edge) authentication(ctx context.Context, p sender.Principal, t thing) (otp.Signing, error) {
	return e.otp.Authentication(ctx, p, t.account, t.app, t.user, t.id)
}

func authenticationCode(r *http.Request) (t thing, err error) {
	if t, err = readThing(r); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		OTP *string `json:"otp"`
	}](r)
	if err != nil {
		return t, err
	}
	t.value, err = given("otp", body.OTP)
	return t, err
}

// PUT the otp of an authentication. A wrong one is no error but a status.
func (e edge) submitCode(ctx context.Context, p sender.Principal, t thing) (otp.Signing, error) {
	return e.otp.SubmitCode(ctx, p, t.account, t.app, t.user, t.id, t.value)
}

// DELETE one authentication: it is cancelled, and can still be read.
func (e edge) cancel(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.otp.Cancel(ctx, p, t.account, t.app, t.user, t.id)
}

type authenticationBody struct {
	ID                 string        `json:"id"`
	AuthenticationType string        `json:"authenticationType"`
	Status             string        `json:"status"`
	DeviceID           sender.ID     `json:"deviceId,omitzero"`
	Device             *deviceBody   `json:"device,omitzero"`  // while it is paired
	Devices            *[]deviceBody `json:"devices,omitzero"` // to select from
}

func authenticationData(s otp.Signing) authenticationBody {
	b := authenticationBody{
		ID: authenticationPrefix + string(s.ID), AuthenticationType: authenticate, Status: authenticationWords[s.Status], DeviceID: s.Device,
	}
	switch {
	case s.Device == "":
		b.Devices = new(devicesData(s.Devices))
	case len(s.Devices) > 0:
		b.Device = new(deviceData(s.Devices[0]))
	}
	return b
}

func writeAuthentication(status int) func(http.ResponseWriter, *http.Request, otp.Signing) error {
	return func(w http.ResponseWriter, _ *http.Request, s otp.Signing) error {
		return api.WriteJSON(w, status, authenticationData(s))
	}
}
