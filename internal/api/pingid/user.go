package pingid

import (
	"context"
	"net/http"
	"path"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

// userRequest is a user as a client sends it.
type userRequest struct {
	thing
	otp.NewUser
}

// newUser reads a user. Clients also send what only we can know, such as status;
// it is ignored, whatever it is.
func newUser(r *http.Request) (n userRequest, err error) {
	if n.thing, err = readThing(r); err != nil {
		return n, err
	}
	body, err := readBody[struct {
		Username  *string `json:"username"`
		FirstName *string `json:"firstName"`
		LastName  *string `json:"lastName"`
	}](r)
	if err != nil {
		return n, err
	}
	n.FirstName, n.LastName = text(body.FirstName), text(body.LastName)
	if n.user != "" { // of the path
		if body.Username != nil && *body.Username != n.user {
			err = sender.Errorf(sender.Invalid, "username", "The username is that in the path; it can't be changed.")
		}
		n.Username = n.user
		return n, err
	}
	if n.Username, err = present("username", body.Username); err == nil && path.Clean("/"+n.Username) != "/"+n.Username {
		err = sender.Errorf(sender.Invalid, "username", "No URL can name this username: it is a dot or two, has doubled slashes, or begins or ends with one.")
	}
	return n, err
}

// userView is a user and what was asked to be shown with it.
type userView struct {
	thing
	otp.Profile
}

// POST users.
func (e edge) createUser(ctx context.Context, p sender.Principal, n userRequest) (userView, error) {
	u, err := e.otp.CreateUser(ctx, p, n.account, n.NewUser)
	return userView{n.thing, otp.Profile{User: u}}, err
}

// GET one user of an application, and its devices.
func (e edge) user(ctx context.Context, p sender.Principal, t thing) (userView, error) {
	u, err := e.otp.User(ctx, p, t.account, t.app, t.user)
	return userView{t, u}, err
}

// PUT one user.
func (e edge) updateUser(ctx context.Context, p sender.Principal, n userRequest) (userView, error) {
	u, err := e.otp.UpdateUser(ctx, p, n.account, n.Username, n.NewUser)
	return userView{n.thing, u}, err
}

// DELETE one user, with everything that is paired.
func (e edge) deleteUser(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.otp.DeleteUser(ctx, p, t.account, t.user)
}

// DELETE one device of a user.
func (e edge) deleteDevice(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.otp.DeleteDevice(ctx, p, t.account, t.user, t.id)
}

type (
	userBody struct {
		Username     string        `json:"username"`
		FirstName    string        `json:"firstName"`
		LastName     string        `json:"lastName"`
		Status       string        `json:"status"`
		UserInBypass bool          `json:"userInBypass"` // nobody is
		LastLogin    string        `json:"lastLogin,omitzero"`
		Devices      *[]deviceBody `json:"devices,omitzero"`
	}
	// deviceBody does not tell the address: who reads it is no proof of the mailbox.
	deviceBody struct {
		ID             sender.ID `json:"id"`
		DeviceType     string    `json:"deviceType"`
		DeviceName     string    `json:"deviceName"` // empty for those that get codes
		DeviceNickname string    `json:"deviceNickname"`
		DeviceRole     string    `json:"deviceRole"`
		EnrollmentTime string    `json:"enrollmentTime"`
		ApplicationID  sender.ID `json:"applicationId"`
		Bypassed       bool      `json:"bypassed"` // none is
	}
)

// deviceRoles are the dialect's words for the role of a device.
var deviceRoles = map[otp.Role]string{otp.Primary: "Primary", otp.Trusted: "Trusted"}

// timestamp writes a time as the documents say (ISO 8601, UTC), to the millisecond
// that the vendor's Java sample can hold. The zero time is empty.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func userData(p otp.Profile) userBody {
	b := userBody{Username: p.Username, FirstName: p.FirstName, LastName: p.LastName, Status: "NOT_ACTIVE", LastLogin: timestamp(p.LastLogin)}
	if len(p.Devices) > 0 {
		b.Status = "ACTIVE"
	}
	return b
}

func deviceData(d otp.Device) deviceBody {
	return deviceBody{
		ID: d.ID, DeviceType: "Email", DeviceNickname: d.Nickname, DeviceRole: deviceRoles[d.Role], EnrollmentTime: timestamp(d.PairedAt), ApplicationID: d.Application,
	}
}

func devicesData(ds []otp.Device) []deviceBody {
	bs := []deviceBody{}
	for _, d := range ds {
		bs = append(bs, deviceData(d))
	}
	return bs
}

func writeUser(status int) func(http.ResponseWriter, *http.Request, userView) error {
	return func(w http.ResponseWriter, _ *http.Request, v userView) error {
		b := userData(v.Profile)
		if v.expand.devices {
			b.Devices = new(devicesData(v.Profile.Devices))
		}
		return api.WriteJSON(w, status, b)
	}
}

func writeDevices(w http.ResponseWriter, _ *http.Request, v userView) error {
	return api.WriteJSON(w, http.StatusOK, struct {
		Devices []deviceBody `json:"devices"`
	}{devicesData(v.Profile.Devices)})
}
