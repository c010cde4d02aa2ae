package builtin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

const dkimTokens = 3 // a region: one signs, the others are there for rotation

// Provision makes fresh random tokens. With a shared record set the regions
// have the same ones.
func (p *Provider) Provision(_ context.Context, t sender.Tenant, _ dnscheck.Name) (sender.Tokens, error) {
	tokens := sender.Tokens{Environment: valueToken()}
	for i, region := range t.Regions {
		r := sender.RegionTokens{Region: region}
		if i > 0 && t.RecordSet == sender.Shared {
			r.Ownership, r.DKIM = tokens.Regions[0].Ownership, tokens.Regions[0].DKIM
		} else {
			r.Ownership = valueToken()
			for range dkimTokens {
				r.DKIM = append(r.DKIM, labelToken())
			}
		}
		tokens.Regions = append(tokens.Regions, r)
	}
	return tokens, nil
}

// valueToken is 256 random bits as a TXT value: 44 characters of base64.
func valueToken() string {
	var b [32]byte
	rand.Read(b[:]) //nolint:errcheck // never fails, see its documentation
	return base64.StdEncoding.EncodeToString(b[:])
}

// labelToken is 160 random bits as a DNS label: 32 letters and digits, since DNS
// does not tell cases apart.
func labelToken() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	var b [32]byte
	rand.Read(b[:]) //nolint:errcheck // never fails, see its documentation
	for i := range b {
		b[i] = alphabet[b[i]&31]
	}
	return string(b[:])
}

// Records lists what the owner publishes: ownership by region, environment, DKIM
// by region, SPF. A template that makes a name which can't be is left out with a
// line in the log; Names.Validate and the limits on a domain's length keep that
// from happening.
func (p *Provider) Records(d sender.Domain) []dnscheck.Record {
	rs := make([]dnscheck.Record, 0, 2+len(d.Tokens.Regions)*(1+dkimTokens))
	add := func(purpose dnscheck.Purpose, region, name string, t dnscheck.Type, value, token string) {
		n, err := dnscheck.ParseName(p.fill(name, d.Name.String(), token))
		if err != nil {
			p.log.Error("a record's name can't be made", "domain", d.ID, "template", name, "error", err)
			return
		}
		rs = append(rs, dnscheck.Record{Purpose: purpose, Region: region, Name: n, Type: t, Value: p.fill(value, d.Name.String(), token)})
	}
	for _, r := range d.Tokens.Regions {
		add(dnscheck.Ownership, r.Region, p.names.Ownership, dnscheck.TXT, "TOKEN", r.Ownership)
	}
	add(dnscheck.Environment, "", p.names.Environment, dnscheck.TXT, "TOKEN", d.Tokens.Environment)
	for _, r := range d.Tokens.Regions {
		for _, token := range r.DKIM {
			add(dnscheck.DKIM, r.Region, p.names.DKIM, dnscheck.CNAME, p.names.DKIMTarget, token)
		}
	}
	add(dnscheck.SPF, "", "DOMAIN", dnscheck.TXT, p.names.SPF, "")
	return rs
}

// fill puts the values into a template. It is on the way of every status that is
// read: strings.Replacer would cost several times as much, building itself.
func (p *Provider) fill(template, domain, token string) string {
	s := strings.ReplaceAll(template, "SERVICE", p.service.String())
	s = strings.ReplaceAll(s, "DOMAIN", domain) // a domain is in lower case and holds no other placeholder
	return strings.Replace(s, "TOKEN", token, 1)
}
