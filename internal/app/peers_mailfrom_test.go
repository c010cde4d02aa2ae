package app_test

import (
	"bytes"
	"fmt"
	"net/http"
	netmail "net/mail"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"

	"github.com/postseal/postseal/internal/mail/mailtest"
)

const (
	ownMailFrom        = "bounce." + tenantZone
	mailFromNotThere   = "mail-from-not-published" // a note, and the reason of a refusal
	defaultMailFrom    = "bounce." + serviceDomain
	verificationNeeded = "VERIFICATION_REQUIRED"
)

// ownReversePath gives the domain a MAIL FROM domain: mail leaves with it while its
// records are in Knot, passes SPF aligned with its author by the word of
// python3-spf, and without its MX leaves with the default one or is refused, as the
// domain says. In the end the domain is as it was.
func (c *client) ownReversePath(resolver, domain, native string, sink *mailtest.Sink) {
	c.t.Helper()
	before := sink.Count()
	var mx struct {
		Status, Type, Key, Value string
		Priority                 int
	}
	status := func() [2]string { // reading is the check
		s, _, _ := c.facets(domain)
		c.get(domain+"/mailFromDomain", &mx)
		return [2]string{mx.Status, s["spf"]}
	}
	becomes := func(what, wantMX, wantSPF string) {
		c.t.Helper()
		c.until(what, func() (bool, any) { s := status(); return s == [2]string{wantMX, wantSPF}, s })
	}

	c.call(http.StatusOK, http.MethodPut, domain+"/mailFromDomain", "application/json",
		map[string]any{"mailFrom": map[string]string{"domain": ownMailFrom}}, &mx)
	if mx.Type != "MX" || mx.Key != ownMailFrom || mx.Status != verificationNeeded {
		c.t.Fatalf("the MAIL FROM domain is answered with %+v", mx)
	}
	if s := status(); s != [2]string{verificationNeeded, verificationNeeded} {
		c.t.Fatalf("MX and SPF of %s are %v before they are published", ownMailFrom, s)
	}
	fresh := c.send(sink, "Before the MX", mailFromNotThere)

	_, records, _ := c.facets(domain)
	i := slices.IndexFunc(records, func(r record) bool { return r.name == ownMailFrom })
	if i < 0 {
		c.t.Fatalf("no SPF record of %s among %v", ownMailFrom, records)
	}
	spf, mxRecord := records[i], record{name: mx.Key, rtype: "MX", value: fmt.Sprint(mx.Priority, " ", mx.Value)}
	// SPF passes for what leads bounces to others, but such an MX is not ours.
	strange := record{name: mx.Key, rtype: "MX", value: fmt.Sprint(mx.Priority, " mx.example.net")}
	c.publish([]record{strange, spf}, nil)
	becomes("SPF ACTIVE by itself, beside a strange MX", verificationNeeded, "ACTIVE")
	elsewhere := c.send(sink, "Bounces would go elsewhere", mailFromNotThere)
	c.publish([]record{mxRecord}, []record{strange})
	becomes("MX and SPF ACTIVE", "ACTIVE", "ACTIVE")
	c.leadsBouncesTo(resolver, "127.0.0.1")
	own := c.send(sink, "With a reverse-path of our own", "")

	c.publish(nil, []record{mxRecord})
	becomes("the loss of the MX, and of that only", verificationNeeded, "ACTIVE")
	lost := c.send(sink, "After the MX", mailFromNotThere)

	put := func(onFailure string) {
		c.t.Helper()
		c.call(http.StatusOK, http.MethodPut, native+"/mail-from", "application/json", map[string]string{"domain": ownMailFrom, "onFailure": onFailure}, nil)
	}
	put("reject")
	var refusal struct{ Reason string }
	c.post(http.StatusUnprocessableEntity, "/v1/messages", mailFrom(author, "Refused"), &refusal)
	if refusal.Reason != mailFromNotThere {
		c.t.Errorf("without the MX, mail of a domain that says reject is refused with %q", refusal.Reason)
	}
	c.publish([]record{mxRecord}, nil)
	becomes("MX and SPF ACTIVE again", "ACTIVE", "ACTIVE")
	again := c.send(sink, "The MX is back", "")

	c.judgeReversePaths(resolver, []received{
		{"own", own, ownMailFrom, true},
		{"again", again, ownMailFrom, true},
		{"fresh", fresh, defaultMailFrom, false},
		{"elsewhere", elsewhere, defaultMailFrom, false},
		{"lost", lost, defaultMailFrom, false},
	})

	c.call(http.StatusNoContent, http.MethodDelete, domain+"/mailFromDomain", "", nil, nil)
	c.publish(nil, []record{mxRecord, spf})
	c.until("every status ACTIVE without a MAIL FROM domain", func() (bool, any) {
		s, _, _ := c.facets(domain)
		return all(s, "ACTIVE"), s
	})
	if n := sink.Count() - before; n != 5 {
		c.t.Errorf("%d mails came out, want 5", n)
	}
}

// leadsBouncesTo resolves the MX of the MAIL FROM domain as one who has a bounce.
func (c *client) leadsBouncesTo(resolver, want string) {
	c.t.Helper()
	ask := func(name string, qtype uint16) dns.RR {
		c.t.Helper()
		r, _, err := new(dns.Client).ExchangeContext(c.ctx, new(dns.Msg).SetQuestion(name, qtype), resolver)
		c.must(err)
		if len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != qtype {
			c.t.Fatalf("%s %s is answered with %s", name, dns.TypeToString[qtype], r)
		}
		return r.Answer[0]
	}
	mx, _ := ask(ownMailFrom+".", dns.TypeMX).(*dns.MX)
	if a, _ := ask(mx.Mx, dns.TypeA).(*dns.A); a.A.String() != want {
		c.t.Errorf("the MX %s of %s has the address %s, want %s", mx.Mx, ownMailFrom, a.A, want)
	}
}

// received is a mail as it came out of Postfix, with the domain that its
// reverse-path is to have, and whether that is to be aligned with its author's.
type received struct {
	name    string
	message mailtest.Message
	path    string
	aligned bool
}

// judgeReversePaths has each mail judged as a receiver with DMARC would: SPF for
// the reverse-path that Postfix wrote into it, relaxed alignment (RFC 7489, section
// 3.1) with the author that the mail shows, and DKIM. Another client must not pass.
func (c *client) judgeReversePaths(resolver string, mails []received) {
	c.t.Helper()
	organization := func(address string) string {
		c.t.Helper()
		org, err := publicsuffix.EffectiveTLDPlusOne(address[strings.LastIndexByte(address, '@')+1:])
		c.must(err)
		return org
	}
	raw, pairs := make(map[string][]byte), []string(nil)
	for _, m := range mails {
		parsed, err := netmail.ReadMessage(bytes.NewReader(m.message.Data))
		c.must(err)
		from, err := netmail.ParseAddress(parsed.Header.Get("From"))
		c.must(err)
		path := strings.Trim(parsed.Header.Get("Return-Path"), "<>")
		if n := len(parsed.Header["Return-Path"]); n != 1 || !strings.HasSuffix(path, "@"+m.path) || path != m.message.From {
			c.t.Errorf("%s: Postfix says Return-Path %q and MAIL FROM %s, want both to be the same one at %s", m.name, parsed.Header["Return-Path"], m.message.From, m.path)
			continue
		}
		if aligned := organization(path) == organization(from.Address); from.Address != author || aligned != m.aligned {
			c.t.Errorf("%s: reverse-path %s and author %s aligned: %t, want %t with %s", m.name, path, from.Address, aligned, m.aligned, author)
		}
		raw[m.name] = m.message.Data
		pairs = append(pairs, "127.0.0.1", path, "127.0.0.2", path)
	}
	if len(raw) < len(mails) {
		return
	}
	verdicts, results := c.dkim(resolver, raw), c.spf(resolver, pairs...)
	if len(results) != 2*len(mails) {
		c.t.Fatalf("python3-spf says %v of %d mails", results, len(mails))
	}
	for i, m := range mails {
		if ours, others := results[2*i], results[2*i+1]; ours != "pass" || others != "fail" && others != "softfail" {
			c.t.Errorf("%s: python3-spf says %s of the reverse-path from our address and %s from another", m.name, ours, others)
		}
		if v := verdicts[m.name]; len(v) != 1 || !v[0].pass || v[0].sdid != tenantZone {
			c.t.Errorf("%s: python3-dkim says %+v, want one signature of %s that passes", m.name, v, tenantZone)
		}
	}
}
