package pingid

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
)

// namePrefix is what the vendor's admin console put before the base64 of a name.
const namePrefix = "_base64Format_"

// applicationRequest is an application as a client sends it.
type applicationRequest struct {
	thing
	application otp.NewApplication
}

// newApplication reads an application. Its id counts only where it is made.
func newApplication(r *http.Request) (n applicationRequest, err error) {
	if n.thing, err = readThing(r); err != nil {
		return n, err
	}
	body, err := readBody[struct {
		ID          *string `json:"id"`
		Name        *string `json:"name"`
		AppEnabled  bool    `json:"appEnabled"`
		FCMSenderID *string `json:"fcmSenderId"`
	}](r)
	if err != nil {
		return n, err
	}
	a := &n.application
	if a.Name, err = present("name", body.Name); err != nil {
		return n, err
	}
	// fcmServerKey is a secret that nothing here needs: it is accepted and forgotten.
	a.Enabled, a.PushSender = body.AppEnabled, text(body.FCMSenderID)
	if n.app == "" && body.ID != nil {
		id, err := given("id", body.ID)
		if err != nil {
			return n, err
		}
		a.ID = sender.ID(strings.ToLower(id))
	}
	return n, nil
}

// unprefixed undoes what names are answered as.
func (e edge) unprefixed(name string) string {
	encoded, ok := strings.CutPrefix(name, namePrefix)
	if !e.prefixNames || !ok {
		return name
	}
	if b, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(b) > 0 && plain(string(b)) {
		return string(b)
	}
	return name
}

// applicationView is an application and what was asked to be shown with it.
type applicationView struct {
	thing
	application otp.Application
}

// POST applications. Whoever makes one chooses its id.
func (e edge) createApplication(ctx context.Context, p sender.Principal, n applicationRequest) (applicationView, error) {
	n.application.Name = e.unprefixed(n.application.Name)
	a, err := e.otp.CreateApplication(ctx, p, n.account, n.application)
	return applicationView{n.thing, a}, err
}

// GET applications.
func (e edge) applications(ctx context.Context, p sender.Principal, t thing) ([]otp.Application, error) {
	return e.otp.Applications(ctx, p, t.account)
}

// GET one application, and its attributes.
func (e edge) application(ctx context.Context, p sender.Principal, t thing) (applicationView, error) {
	a, err := e.otp.Application(ctx, p, t.account, t.app)
	return applicationView{t, a}, err
}

// PUT one application, as a whole but for its id.
func (e edge) updateApplication(ctx context.Context, p sender.Principal, n applicationRequest) (applicationView, error) {
	n.application.Name = e.unprefixed(n.application.Name)
	a, err := e.otp.UpdateApplication(ctx, p, n.account, n.app, n.application)
	return applicationView{n.thing, a}, err
}

// GET one attribute.
func (e edge) attribute(ctx context.Context, p sender.Principal, t thing) (otp.Attribute, error) {
	a, err := e.otp.Application(ctx, p, t.account, t.app)
	if err != nil {
		return otp.Attribute{}, err
	}
	for _, found := range a.AllAttributes() {
		if found.Name == t.name {
			return found, nil
		}
	}
	return otp.Attribute{}, missing("attribute")
}

// newAttribute reads an attribute, whose name is that of the path.
func newAttribute(r *http.Request) (t thing, err error) {
	if t, err = readThing(r); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		Name  *string `json:"name"`
		Value *string `json:"value"`
	}](r)
	switch {
	case err != nil:
		return t, err
	case body.Name != nil && *body.Name != t.name:
		return t, sender.Errorf(sender.Invalid, "name", "The name of an attribute is that in the path; it can't be changed.")
	case body.Value == nil:
		return t, sender.Errorf(sender.Required, "value", "value is missing.")
	}
	t.value = *body.Value // some may be empty
	return t, nil
}

// PUT one attribute.
func (e edge) setAttribute(ctx context.Context, p sender.Principal, t thing) (otp.Attribute, error) {
	a, err := e.otp.SetAttribute(ctx, p, t.account, t.app, t.name, t.value)
	return otp.Attribute{Name: t.name, Value: a.Attribute(t.name)}, err
}

type (
	// applicationBody leaves the server key out, which is a secret.
	applicationBody struct {
		ID                    sender.ID       `json:"id"`
		Name                  string          `json:"name"`
		AppEnabled            bool            `json:"appEnabled"`
		SharedBetweenAccounts bool            `json:"sharedBetweenAccounts"` // there are none that are
		FCMSenderID           string          `json:"fcmSenderId,omitzero"`
		Attributes            []attributeBody `json:"attributes,omitzero"`
	}
	attributeBody struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

func (e edge) applicationData(a otp.Application) applicationBody {
	b := applicationBody{ID: a.ID, Name: a.Name, AppEnabled: a.Enabled, FCMSenderID: a.PushSender}
	if e.prefixNames {
		b.Name = namePrefix + base64.StdEncoding.EncodeToString([]byte(a.Name))
	}
	return b
}

func attributesData(a otp.Application) (bs []attributeBody) {
	for _, x := range a.AllAttributes() {
		bs = append(bs, attributeBody(x))
	}
	return bs
}

func (e edge) writeApplication(status int) func(http.ResponseWriter, *http.Request, applicationView) error {
	return func(w http.ResponseWriter, _ *http.Request, v applicationView) error {
		b := e.applicationData(v.application)
		if v.expand.attributes {
			b.Attributes = attributesData(v.application)
		}
		return api.WriteJSON(w, status, b)
	}
}

func (e edge) writeApplications(w http.ResponseWriter, _ *http.Request, as []otp.Application) error {
	b := struct {
		Applications []applicationBody `json:"applications"`
	}{[]applicationBody{}}
	for _, a := range as {
		b.Applications = append(b.Applications, e.applicationData(a))
	}
	return api.WriteJSON(w, http.StatusOK, b)
}

func writeAttributes(w http.ResponseWriter, _ *http.Request, v applicationView) error {
	return api.WriteJSON(w, http.StatusOK, struct {
		Attributes []attributeBody `json:"attributes"`
	}{attributesData(v.application)})
}

func writeAttribute(w http.ResponseWriter, _ *http.Request, a otp.Attribute) error {
	return api.WriteJSON(w, http.StatusOK, attributeBody(a))
}
