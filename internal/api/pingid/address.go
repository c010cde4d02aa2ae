package pingid

import (
	"context"
	"net/http"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

func newAddress(r *http.Request) (t thing, err error) {
	if t, err = readThing(r); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		EmailAddress *string `json:"emailAddress"`
	}](r)
	if err != nil {
		return t, err
	}
	t.value, err = given("emailAddress", body.EmailAddress)
	t.value = mailbox(t.value)
	return t, err
}

// addressView is an address and what was asked to be shown with it.
type addressView struct {
	sender.Address
	thing
	domain  sender.Domain // where expanded
	account sender.Tenant // where expanded
}

// 8: POST trustedemails. An address may be added before its domain is proven.
func (e edge) createAddress(ctx context.Context, p sender.Principal, t thing) (addressView, error) {
	a, created, err := e.core.CreateAddress(ctx, p, t.account, t.dom, t.value, false)
	if err == nil && !created {
		err = sender.Errorf(sender.Conflict, "emailAddress", "The domain has this address already.")
	}
	return addressView{Address: a, thing: t}, named(err, "emailDomain")
}

// 9: GET trustedemails.
func (e edge) addresses(ctx context.Context, p sender.Principal, t thing) (listed[sender.Address], error) {
	as, _, err := e.core.Addresses(ctx, p, t.account, t.dom, sender.Page{})
	return listed[sender.Address]{t, as}, named(err, "emailDomain")
}

// 10: GET one trustedemail.
func (e edge) address(ctx context.Context, p sender.Principal, t thing) (v addressView, err error) {
	v.thing = t
	if v.Address, err = e.core.Address(ctx, p, t.account, t.dom, t.addr); err != nil {
		return v, e.whichMissing(ctx, p, t, err)
	}
	if t.expand.emailDomain {
		if v.domain, err = e.core.Domain(ctx, p, t.account, t.dom); err != nil {
			return v, named(err, "emailDomain")
		}
	}
	if t.expand.account {
		v.account, err = e.core.Authorize(ctx, p, t.account, sender.RoleReader)
	}
	return v, named(err, "account")
}

// whichMissing says which of the two was not found.
func (e edge) whichMissing(ctx context.Context, p sender.Principal, t thing, err error) error {
	if sender.KindOf(err) != sender.NotFound {
		return err
	}
	if _, err := e.core.Domain(ctx, p, t.account, t.dom); err != nil {
		return named(err, "emailDomain")
	}
	return missing("trustedEmail")
}

func activation(r *http.Request) (t thing, err error) {
	if t, err = readThing(r); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		VerificationCode *string `json:"verificationCode"`
	}](r)
	if err != nil {
		return t, err
	}
	t.value, err = given("verificationCode", body.VerificationCode)
	return t, err
}

// 11: POST activate.
func (e edge) activate(ctx context.Context, p sender.Principal, t thing) (addressView, error) {
	a, err := e.core.ActivateAddress(ctx, p, t.account, t.dom, t.addr, t.value)
	return addressView{Address: a, thing: t}, e.whichMissing(ctx, p, t, needless(err))
}

// resending reads a request that needs no body.
func resending(r *http.Request) (t thing, err error) {
	if t, err = readThing(r); err != nil {
		return t, err
	}
	b, err := api.ReadBody(r)
	if err == nil && len(b) > 0 {
		_, err = decode[struct{}](r, b)
	}
	return t, err
}

// 12: POST resend.
func (e edge) resend(ctx context.Context, p sender.Principal, t thing) (addressView, error) {
	a, err := e.core.ResendCode(ctx, p, t.account, t.dom, t.addr)
	return addressView{Address: a, thing: t}, e.whichMissing(ctx, p, t, needless(err))
}

// needless names what the core calls Invalid of an action that had nothing else
// to complain about: the address is active.
func needless(err error) error {
	if sender.KindOf(err) == sender.Invalid {
		return sender.Errorf(alreadyDone, "status", "The address is active already.")
	}
	return err
}

// 13: DELETE one trustedemail.
func (e edge) deleteAddress(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, e.whichMissing(ctx, p, t, e.core.DeleteAddress(ctx, p, t.account, t.dom, t.addr))
}
