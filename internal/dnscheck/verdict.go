package dnscheck

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Message is what a receiver knows of a message when it authenticates its author's domain.
type Message struct {
	From Name // the domain in the From field, which DMARC protects
	// MailFrom is the domain of the reverse-path (RFC 5321, section 4.1.1.2), which SPF
	// looks at; zero means From.
	MailFrom Name
	// Sender says who connects: an address, or whoever the SPF record at Include lists. With
	// neither, a host that the owner's own SPF record lists is assumed.
	IP      netip.Addr
	Include Name
	// Signatures are the DKIM signatures, taken to be made with the published keys.
	Signatures []Signature
}

// Signature names the key of one DKIM signature: d= and s= (RFC 6376, section 3.5).
type Signature struct {
	Domain   Name `json:"domain"`
	Selector Name `json:"selector"`
}

// Key returns the name at which the key is published.
func (s Signature) Key() Name { return s.Domain.Child(s.Selector.String() + "._domainkey") }

// Verdict is what a receiver concludes about a message (RFC 8601 has the words).
type Verdict struct {
	From     Name          `json:"from"`
	MailFrom Name          `json:"mailFrom"`
	SPF      SPFVerdict    `json:"spf"`
	DKIM     []DKIMVerdict `json:"dkim"` // never nil; one for each signature
	DMARC    DMARCVerdict  `json:"dmarc"`
	// Bounces tells whether what comes back has somewhere to go: an MX or an address at the
	// reverse-path's domain. Many receivers refuse mail where it has not.
	Bounces bool `json:"bounces"`
	// Breaks lists what changes when one record disappears; never nil.
	Breaks []Consequence `json:"breaks"`
}

// SPFVerdict is the result for the reverse-path's domain.
type SPFVerdict struct {
	Result  SPFResult `json:"result"`
	Aligned bool      `json:"aligned"` // in the mode that the policy asks for
	// Sender is whose mail was assumed: an address, "include:NAME", or "listed host".
	Sender  string `json:"sender"`
	Code    Code   `json:"code,omitzero"`
	Problem string `json:"problem,omitzero"`
}

// DKIMVerdict is the result for one signature: pass, neutral (no usable key), or temperror.
type DKIMVerdict struct {
	Signature
	Result  string `json:"result"`
	Aligned bool   `json:"aligned"`
	Code    Code   `json:"code,omitzero"`
	Problem string `json:"problem,omitzero"`
}

// DMARCVerdict is the result for the author's domain: pass, fail, none (no policy),
// temperror or permerror.
type DMARCVerdict struct {
	Result string   `json:"result"`
	By     []string `json:"by"` // never nil; the aligned identifiers that passed: spf, dkim
	// Policy is what the owner asks for when mail fails, and PolicyAt where that stands;
	// empty without a policy.
	Policy   Disposition `json:"policy,omitzero"`
	PolicyAt Name        `json:"policyAt,omitzero"`
	Code     Code        `json:"code,omitzero"`
	Problem  string      `json:"problem,omitzero"`
	// Disposition is what becomes of this message if receivers do as they are asked.
	Disposition Disposition `json:"disposition"`
}

// Passed names in words what DMARC rests on; empty if nothing.
func (v DMARCVerdict) Passed() string {
	names := make([]string, len(v.By))
	for i, by := range v.By {
		names[i] = strings.ToUpper(by)
	}
	return strings.Join(names, " and ")
}

// Consequence is what the loss of one record would change.
type Consequence struct {
	Name  Name   `json:"name"`
	Type  Type   `json:"type"`
	Value string `json:"value"` // in the form of Record.Expected, several joined by a comma
	// SPF, DKIM and DMARC are the results without the record.
	SPF         SPFResult   `json:"spf"`
	DKIM        []string    `json:"dkim"`
	DMARC       string      `json:"dmarc"`
	Disposition Disposition `json:"disposition"`
	// Breaks tells whether DMARC no longer passes, or no longer protects.
	Breaks bool   `json:"breaks"`
	Text   string `json:"text"` // one sentence
}

// Words of RFC 8601 that are no SPFResult of their own.
const (
	resultPass      = "pass"
	resultFail      = "fail"
	resultNone      = "none"
	resultNeutral   = "neutral"
	resultTemperror = "temperror"
	resultPermerror = "permerror"
)

// verdictProbe stands for a sender that no record lists (RFC 6666). It is fixed, because a
// verdict must ask the same questions each time.
var verdictProbe = netip.MustParseAddr("100::504f:5354")

// Judge says what receivers conclude about a message, from nothing but what was seen. What
// was not asked then counts as unknown.
func Judge(m Message, seen Seen) Verdict {
	return judgeAll(context.Background(), seen.ask, m)
}

// See asks all that [Judge] needs for a message.
func (c *Checker) See(ctx context.Context, m Message) Seen {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	book := newNotebook(c.asker(m.From))
	judgeAll(ctx, book.ask, m)
	return Seen{book.answers}
}

func judgeAll(ctx context.Context, ask lookups, m Message) Verdict {
	if m.MailFrom.IsZero() {
		m.MailFrom = m.From
	}
	t := &traced{from: ask}
	v := judgeMessage(ctx, t.ask, m)
	v.Breaks = consequences(ctx, ask, m, v, t.used)
	return v
}

// judgeMessage is the verdict without consequences.
func judgeMessage(ctx context.Context, ask lookups, m Message) Verdict {
	v := Verdict{From: m.From, MailFrom: m.MailFrom, DKIM: []DKIMVerdict{}, Breaks: []Consequence{}}
	policy, dmarc := findPolicy(ctx, ask, m.From)
	v.SPF = senderSPF(ctx, ask, m)
	v.SPF.Aligned = Aligned(m.From, m.MailFrom, policy.StrictSPF)
	var by []string
	if v.SPF.Result == SPFPass && v.SPF.Aligned {
		by = append(by, "spf")
	}
	unknown := v.SPF.Result == SPFTemperror && v.SPF.Aligned
	for _, s := range m.Signatures {
		d := signatureDKIM(ctx, ask, s)
		d.Aligned = Aligned(m.From, s.Domain, policy.StrictDKIM)
		if d.Aligned && d.Result == resultPass && !slices.Contains(by, "dkim") {
			by = append(by, "dkim")
		}
		unknown = unknown || d.Aligned && d.Result == resultTemperror
		v.DKIM = append(v.DKIM, d)
	}
	dmarc.By = append([]string{}, by...)
	dmarc.Disposition = DispositionNone
	if dmarc.Result == "" {
		switch {
		case len(by) > 0:
			dmarc.Result = resultPass
		case unknown:
			dmarc.Result = resultTemperror
		default:
			dmarc.Result, dmarc.Disposition = resultFail, dmarc.Policy
		}
	}
	v.DMARC = dmarc
	v.Bounces = receives(ctx, ask, m.MailFrom)
	return v
}

// receives tells whether mail for a domain has somewhere to go, as far as is known.
func receives(ctx context.Context, ask lookups, domain Name) bool {
	a := ask(ctx, question{domain.s, dns.TypeMX})
	if !a.told() {
		return true
	}
	if len(a.records) == 0 { // RFC 5321, section 5.1: its address stands in
		_, err := ask.LookupNetIP(ctx, "ip", domain.s)
		return !notFound(err)
	}
	return slices.ContainsFunc(a.records, func(rr dns.RR) bool {
		mx, ok := rr.(*dns.MX)
		return ok && bare(mx.Mx) != ""
	})
}

// senderSPF evaluates SPF for the sender that the message names or implies.
func senderSPF(ctx context.Context, ask lookups, m Message) SPFVerdict {
	q := SPFQuery{IP: m.IP, Domain: m.MailFrom.s, Sender: "postmaster@" + m.MailFrom.s, HELO: m.MailFrom.s}
	if m.IP.IsValid() {
		ev := EvaluateSPF(ctx, ask, q)
		return SPFVerdict{Result: ev.Result, Sender: m.IP.String(), Code: ev.Code, Problem: ev.Problem}
	}
	p := &spfProbe{lookups: ask, apex: m.MailFrom.s, target: m.Include.s, addr: verdictProbe}
	ev := p.check(ctx)
	s := SPFVerdict{Result: ev.Result, Sender: "include:" + m.Include.s, Code: ev.Code, Problem: ev.Problem}
	if !m.Include.IsZero() {
		if ev.Result == SPFPass && !p.asked {
			s.Problem = "everybody is authorised"
		}
		// Our own record may be missing behind a perfect include.
		if a := ask(ctx, question{m.Include.s, dns.TypeTXT}); p.asked && ev.Result == SPFPass && a.told() && len(spfRecords(a.values())) != 1 {
			s.Result, s.Code, s.Problem = SPFPermerror, CodeSPFIncludeBroken, fmt.Sprintf("%s has not exactly one SPF record", m.Include)
		}
		return s
	}
	s.Sender = "listed host"
	if ev.Code == "" && ev.Tree != nil {
		switch r, err := ParseSPF(ev.Tree.Record); {
		case err != nil:
		case r.lists():
			s.Result = SPFPass
		default:
			s.Problem = "the record authorises nobody"
		}
	}
	return s
}

// lists tells whether a record authorises anybody.
func (r SPFRecord) lists() bool {
	for _, t := range r.Terms {
		if t.Qualifier == SPFPass {
			return true
		}
		if t.Kind == "all" {
			return false
		}
	}
	return r.Redirect != nil
}

// signatureDKIM looks for the key of a signature, which is taken to be made with it.
func signatureDKIM(ctx context.Context, ask lookups, s Signature) DKIMVerdict {
	d := DKIMVerdict{Signature: s, Result: resultNeutral}
	key := s.Key()
	if key.IsZero() {
		d.Code, d.Problem = CodeNXDOMAIN, "the name of the key is too long"
		return d
	}
	a := ask(ctx, question{key.s, dns.TypeTXT})
	switch {
	case !a.told() || a.result == SawLoop:
		d.Result, d.Code, d.Problem = resultTemperror, a.silenceCode(), fmt.Sprintf("there is no answer for %s%s", key, a.from())
		return d
	case a.result != SawAnswer:
		d.Code = CodeNXDOMAIN
		if a.result == SawNODATA {
			d.Code = CodeNODATA
		}
		d.Problem = fmt.Sprintf("there is no key at %s", key)
		return d
	}
	_, code, problem := dkimCode(a.values())
	if code == CodeMatch {
		d.Result = resultPass
		return d
	}
	d.Code, d.Problem = code, problem
	return d
}

// findPolicy looks for the policy of a domain, or of its organizational domain (RFC 7489,
// section 6.6.3). The result is empty where a policy was found, so that it is for the
// identifiers to decide.
func findPolicy(ctx context.Context, ask lookups, from Name) (DMARCPolicy, DMARCVerdict) {
	v := DMARCVerdict{Result: resultNone}
	holders := []Name{from}
	if org := from.Organizational(); org != from {
		holders = append(holders, org)
	}
	for _, holder := range holders {
		name := holder.Child("_dmarc")
		if name.IsZero() {
			continue
		}
		a := ask(ctx, question{name.s, dns.TypeTXT})
		if !a.told() || a.result == SawLoop {
			v.Result, v.Code, v.Problem = resultTemperror, a.silenceCode(), fmt.Sprintf("there is no answer for %s%s", name, a.from())
			return DMARCPolicy{}, v
		}
		policies := dmarcPolicies(a.values())
		switch len(policies) {
		case 0:
			continue
		case 1:
		default:
			v.Code, v.Problem = CodeDMARCMultiple, fmt.Sprintf("there are %d policies at %s, so receivers ignore all", len(policies), name)
			return DMARCPolicy{}, v
		}
		p, err := ParseDMARC(policies[0])
		if err != nil {
			v.Result, v.Code, v.Problem = resultPermerror, CodeDMARCSyntax, fmt.Sprintf("the policy at %s cannot be read: %v", name, err)
			return DMARCPolicy{}, v
		}
		return p, DMARCVerdict{Policy: p.For(from, holder), PolicyAt: name}
	}
	v.Code, v.Problem = CodeDMARCMissing, "neither "+from.s+" nor its organizational domain has a DMARC policy"
	if len(holders) == 1 {
		v.Problem = from.s + " has no DMARC policy"
	}
	return DMARCPolicy{}, v
}

// maxConsequences bounds the records that are taken away, one after another.
const maxConsequences = 40

// consequences repeats a verdict without each record that it rests on.
func consequences(ctx context.Context, ask lookups, m Message, base Verdict, used []question) []Consequence {
	list := []Consequence{}
	for _, q := range used[:min(len(used), maxConsequences)] {
		a := ask(ctx, q)
		name, err := ParseName(q.name)
		if err != nil {
			continue
		}
		c := Consequence{Name: name, Type: Type(dns.TypeToString[q.qtype])}
		drop := func(dns.RR) bool { return true }
		switch {
		case len(a.chain) > 0:
			c.Type, c.Value = CNAME, absolute(a.chain[0])
		case q.qtype == dns.TypeTXT:
			matters := func(v string) bool {
				return isSPF(v) || len(dmarcPolicies([]string{v})) > 0 || strings.Contains(q.name, "._domainkey.")
			}
			drop = func(rr dns.RR) bool { return matters(presentation(rr)) }
			c.Value = strings.Join(slices.DeleteFunc(a.values(), func(v string) bool { return !matters(v) }), ", ")
		default:
			c.Value = strings.Join(a.values(), ", ")
		}
		c.Value = shown(c.Value)
		v := judgeMessage(ctx, without(ask, q, drop), m)
		c.SPF, c.DMARC, c.Disposition, c.DKIM = v.SPF.Result, v.DMARC.Result, v.DMARC.Disposition, []string{}
		for _, d := range v.DKIM {
			c.DKIM = append(c.DKIM, d.Result)
		}
		if c.Text = difference(base, v); c.Text == "" {
			continue
		}
		c.Breaks = base.DMARC.Result == resultPass && v.DMARC.Result != resultPass
		list = append(list, c)
	}
	// What breaks mail comes before what only weakens it.
	slices.SortStableFunc(list, func(a, b Consequence) int { return weight(b) - weight(a) })
	return list
}

func weight(c Consequence) int {
	if c.Breaks {
		return 1
	}
	return 0
}

// difference says in a sentence how a verdict changes; empty if it does not.
func difference(was, is Verdict) string {
	var parts []string
	if was.SPF.Result != is.SPF.Result {
		parts = append(parts, fmt.Sprintf("SPF goes from %s to %s", was.SPF.Result, is.SPF.Result))
	}
	for i := range was.DKIM {
		if a, b := was.DKIM[i], is.DKIM[i]; a.Result != b.Result {
			parts = append(parts, fmt.Sprintf("the signature of %s (selector %s) goes from %s to %s", a.Domain, a.Selector, a.Result, b.Result))
		}
	}
	switch {
	case was.DMARC.Result != is.DMARC.Result && is.DMARC.Result == resultFail:
		parts = append(parts, fmt.Sprintf("DMARC fails, with %s asked for", is.DMARC.Disposition))
	case was.DMARC.Result != is.DMARC.Result && is.DMARC.Result == resultNone && was.DMARC.Policy == DispositionNone:
		parts = append(parts, "no DMARC policy is left, and the one that is there only watches")
	case was.DMARC.Result != is.DMARC.Result && is.DMARC.Result == resultNone:
		parts = append(parts, "nothing protects "+was.From.s+" from forgers any more")
	case was.DMARC.Result != is.DMARC.Result:
		parts = append(parts, fmt.Sprintf("DMARC goes from %s to %s", was.DMARC.Result, is.DMARC.Result))
	case was.DMARC.Policy != is.DMARC.Policy:
		parts = append(parts, fmt.Sprintf("the policy changes from %s to %s", was.DMARC.Policy, is.DMARC.Policy))
	case len(parts) > 0 && is.DMARC.Result == resultPass:
		parts = append(parts, "DMARC still passes, by "+is.DMARC.Passed())
	case !slices.Equal(was.DMARC.By, is.DMARC.By):
		parts = append(parts, "DMARC no longer rests on "+was.DMARC.Passed())
	}
	if was.Bounces && !is.Bounces {
		parts = append(parts, "bounces have nowhere to go, and some receivers refuse such mail")
	}
	if len(parts) == 0 {
		return ""
	}
	return upper(strings.Join(parts, "; ")) + "."
}
