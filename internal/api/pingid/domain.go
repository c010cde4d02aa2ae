package pingid

import (
	"context"
	"net/http"
	"strings"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func newDomain(r *http.Request) (t thing, err error) {
	if t, err = readThing(r); err != nil {
		return t, err
	}
	body, err := readBody[struct {
		DomainName *string `json:"domainName"`
	}](r)
	if err != nil {
		return t, err
	}
	if t.value, err = given("domainName", body.DomainName); err == nil && strings.Contains(t.value, "*") {
		err = sender.Errorf(wildcard, "domainName", "domainName has a wildcard; register the domain itself.")
	}
	return t, err
}

// 1: POST emaildomains.
func (e edge) createDomain(ctx context.Context, p sender.Principal, t thing) (sender.Domain, error) {
	return e.core.CreateDomain(ctx, p, t.account, t.value)
}

// 2: GET emaildomains.
func (e edge) domains(ctx context.Context, p sender.Principal, t thing) (listed[sender.Domain], error) {
	ds, _, err := e.core.Domains(ctx, p, t.account, sender.Page{})
	return listed[sender.Domain]{t, ds}, err
}

// domainView is a domain and what was asked to be shown with it.
type domainView struct {
	sender.Domain
	expand  expansion
	account sender.Tenant // where expanded
}

// domainOf reads a domain as fresh as these purposes demand.
func (e edge) domainOf(ctx context.Context, p sender.Principal, t thing, purposes []dnscheck.Purpose) (v domainView, err error) {
	v.expand = t.expand
	if len(purposes) > 0 {
		v.Domain, err = e.core.CheckDomain(ctx, p, t.account, t.dom, purposes...)
	} else {
		v.Domain, err = e.core.Domain(ctx, p, t.account, t.dom)
	}
	if err == nil && t.expand.account {
		v.account, err = e.core.Authorize(ctx, p, t.account, sender.RoleReader)
	}
	return v, named(err, "emailDomain")
}

// 3: GET one emaildomain. What is expanded is checked as if it were read.
func (e edge) domain(ctx context.Context, p sender.Principal, t thing) (domainView, error) {
	var purposes []dnscheck.Purpose
	if t.expand.ownership {
		purposes = append(purposes, dnscheck.Ownership)
	}
	if t.expand.dkim {
		purposes = append(purposes, dnscheck.DKIM)
	}
	if t.expand.spf {
		purposes = append(purposes, dnscheck.SPF)
	}
	return e.domainOf(ctx, p, t, purposes)
}

// 4, 5, 6: GET ownership, dkim, spf: reading a status is the check.
func (e edge) check(purpose dnscheck.Purpose) func(context.Context, sender.Principal, thing) (domainView, error) {
	return func(ctx context.Context, p sender.Principal, t thing) (domainView, error) {
		return e.domainOf(ctx, p, t, []dnscheck.Purpose{purpose})
	}
}

// 7: DELETE one emaildomain, with its addresses.
func (e edge) deleteDomain(ctx context.Context, p sender.Principal, t thing) (struct{}, error) {
	return struct{}{}, named(e.core.DeleteDomain(ctx, p, t.account, t.dom, true), "emailDomain")
}
