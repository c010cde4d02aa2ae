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
// have the same ones. A domain that is too long for the records it would need is
// Invalid.
func (p *Provider) Provision(_ context.Context, t sender.Tenant, name dnscheck.Name) (sender.Tokens, error) {
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
	for _, t := range p.templates(tokens) {
		if _, err := p.recordName(t, name); err != nil {
			return sender.Tokens{}, sender.Errorf(sender.Invalid, "domainName",
				"The domain is too long: the name of its %s record, %s, would have %d characters, and %d are possible. Register a domain of at most %d characters.",
				t.purpose, t.name, len(p.fill(t.name, name.String(), t.token)), maxName, p.longestDomain(tokens))
		}
	}
	return tokens, nil
}

const maxName = 253 // characters of a DNS name (RFC 1035, section 2.3.4)

// longestDomain is how long a domain may be for the name of each record to fit.
func (p *Provider) longestDomain(tokens sender.Tokens) int {
	longest := maxName
	for _, t := range p.templates(tokens) {
		longest = min(longest, maxName-len(p.fill(t.name, "", t.token)))
	}
	return longest
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

// template is a record before the domain is put in.
type template struct {
	purpose      dnscheck.Purpose
	region, name string
	typ          dnscheck.Type
	value, token string
}

// templates lists what the owner publishes: ownership by region, environment,
// DKIM by region, SPF.
func (p *Provider) templates(tokens sender.Tokens) []template {
	ts := make([]template, 0, 2+len(tokens.Regions)*(1+dkimTokens))
	for _, r := range tokens.Regions {
		ts = append(ts, template{dnscheck.Ownership, r.Region, p.names.Ownership, dnscheck.TXT, "TOKEN", r.Ownership})
	}
	ts = append(ts, template{dnscheck.Environment, "", p.names.Environment, dnscheck.TXT, "TOKEN", tokens.Environment})
	for _, r := range tokens.Regions {
		for _, token := range r.DKIM {
			ts = append(ts, template{dnscheck.DKIM, r.Region, dkimName, dnscheck.CNAME, dkimTarget, token})
		}
	}
	return append(ts, template{dnscheck.SPF, "", "DOMAIN", dnscheck.TXT, p.names.SPF, ""})
}

// mailFromMX is where bounces of MAIL FROM domains go.
const mailFromMX = "feedback.SERVICE"

func (p *Provider) recordName(t template, domain dnscheck.Name) (dnscheck.Name, error) {
	return dnscheck.ParseName(p.fill(t.name, domain.String(), t.token))
}

// Records lists what the owner publishes, in the order of the templates. A name
// that can't be made is left out with a line in the log; Provision sees to it
// that this happens only where the templates were changed afterwards.
func (p *Provider) Records(d sender.Domain) []dnscheck.Record {
	ts := p.templates(d.Tokens)
	rs := make([]dnscheck.Record, 0, len(ts))
	for _, t := range ts {
		name, err := p.recordName(t, d.Name)
		if err != nil {
			p.log.Error("a record's name can't be made", "domain", d.ID, "template", t.name, "error", err)
			continue
		}
		r := dnscheck.Record{Purpose: t.purpose, Region: t.region, Name: name, Type: t.typ, Value: p.fill(t.value, d.Name.String(), t.token)}
		if m := d.MailFrom.Name; t.purpose == dnscheck.SPF && !m.IsZero() { // that of the domain itself does not matter for our mail then
			rs = append(rs, dnscheck.Record{Purpose: dnscheck.MailFromMX, Name: m, Type: dnscheck.MX, Value: p.fill(mailFromMX, "", ""), Priority: dnscheck.DefaultPriority})
			r.Purpose, r.Name = dnscheck.MailFromSPF, m
		}
		rs = append(rs, r)
	}
	return rs
}

// fill puts the values into a template. It is on the way of every status that is
// read: strings.Replacer would cost several times as much, building itself.
func (p *Provider) fill(template, domain, token string) string {
	s := strings.ReplaceAll(template, "SERVICE", p.service.String())
	s = strings.ReplaceAll(s, "DOMAIN", domain) // a domain is in lower case and holds no other placeholder
	return strings.Replace(s, "TOKEN", token, 1)
}
