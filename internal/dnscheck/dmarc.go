package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Disposition is what an owner asks for when mail fails DMARC (RFC 7489, section 6.3).
type Disposition string

// The dispositions, from the mildest.
const (
	DispositionNone       Disposition = "none"
	DispositionQuarantine Disposition = "quarantine"
	DispositionReject     Disposition = "reject"
)

// milderThan compares what two policies ask for.
func (d Disposition) milderThan(other Disposition) bool {
	order := []Disposition{DispositionNone, DispositionQuarantine, DispositionReject}
	return slices.Index(order, d) < slices.Index(order, other)
}

// DMARCPolicy is a DMARC record that has been read (RFC 7489, section 6.3).
type DMARCPolicy struct {
	Policy    Disposition `json:"policy"`
	Subdomain Disposition `json:"subdomain"` // sp, for names below; as Policy where left out
	// StrictDKIM and StrictSPF are the alignment modes adkim=s and aspf=s (section 3.1).
	StrictDKIM bool `json:"strictDkim"`
	StrictSPF  bool `json:"strictSpf"`
	Percent    int  `json:"percent"` // of failing mail that the policy is for
	// Aggregate and Failure are where reports go: URIs without their size limits.
	Aggregate []string `json:"aggregate,omitempty"`
	Failure   []string `json:"failure,omitempty"`
	// Notes say what receivers ignore or may misread.
	Notes []string `json:"notes,omitempty"`
}

// safe shows what others wrote inside a sentence: cut, control characters escaped. Without
// quotes around it, a backslash or a quote stands for itself.
func safe(s string) string {
	q := quote(s)
	return plainly.Replace(q[1 : len(q)-1])
}

var plainly = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

// tag is one name and value of a tag-list (RFC 6376, section 3.2).
type tag struct{ name, value string }

// parseTags reads a tag-list. Two tags of a name make the whole list void.
func parseTags(s string) ([]tag, error) {
	var tags []tag
	for text := range strings.SplitSeq(s, ";") {
		if text = strings.Trim(text, " \t\r\n"); text == "" {
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		name, value = strings.TrimRight(name, " \t\r\n"), strings.TrimLeft(value, " \t\r\n")
		switch {
		case !ok:
			return nil, fmt.Errorf("%s has no =", quote(text))
		case !tagName(name):
			return nil, fmt.Errorf("%s is no name of a tag", quote(name))
		case slices.ContainsFunc(tags, func(t tag) bool { return t.name == name }):
			return nil, fmt.Errorf("there are two tags %s", name)
		}
		tags = append(tags, tag{name, value})
	}
	return tags, nil
}

func tagName(s string) bool {
	for i, c := range []byte(s) {
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z'; !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '_')) {
			return false
		}
	}
	return s != ""
}

// ParseDMARC reads a policy. An error is what makes receivers ignore the record, or take it
// for p=none: everything else they replace by its default (RFC 7489, section 6.3), and Notes
// has it.
func ParseDMARC(record string) (DMARCPolicy, error) {
	p := DMARCPolicy{Policy: DispositionNone, Percent: 100}
	if strings.ContainsAny(trimmed(record), "\r\n") { // section 6.4 has blanks and tabs alone
		return p, errors.New("there is a line break in it, which is no blank for all receivers")
	}
	tags, err := parseTags(record)
	if err != nil {
		return p, err
	}
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	for i, t := range tags { // unlike those of DKIM, they are the same in capitals (RFC 7489, section 6.4)
		name := lower(t.name)
		if slices.ContainsFunc(tags[:i], func(o tag) bool { return o.name == name }) {
			return p, fmt.Errorf("there are two tags %s", name)
		}
		if name != t.name {
			note("the name of the tag %s is in capitals, which some receivers do not read", t.name)
			tags[i].name = name
		}
	}
	if len(tags) == 0 || tags[0] != (tag{"v", "DMARC1"}) {
		return p, errors.New(`it does not begin with "v=DMARC1;"`)
	}
	havePolicy, haveSub := false, false
	for i, t := range tags[1:] {
		switch t.name {
		case "p", "sp":
			d := Disposition(lower(t.value))
			if d != DispositionNone && d != DispositionQuarantine && d != DispositionReject {
				return p, fmt.Errorf("%s=%s is none of none, quarantine and reject", t.name, safe(t.value))
			}
			if t.name == "sp" {
				p.Subdomain, haveSub = d, true
				continue
			}
			p.Policy, havePolicy = d, true
			if i > 0 {
				note("p is not directly behind v, where some receivers look for it")
			}
		case "adkim", "aspf":
			strict := lower(t.value) == "s"
			if !strict && lower(t.value) != "r" {
				note("%s=%s is neither r nor s, so receivers take r", t.name, safe(t.value))
			}
			if t.name == "adkim" {
				p.StrictDKIM = strict
			} else {
				p.StrictSPF = strict
			}
		case "pct":
			n, err := strconv.Atoi(t.value)
			if err != nil || n < 0 || n > 100 || !digits(t.value) {
				note("pct=%s is no number from 0 to 100, so receivers take 100", safe(t.value))
				continue
			}
			p.Percent = n
			if n < 100 {
				note("pct=%d makes the policy hold for a part of the mail only, and newer receivers ignore it", n)
			}
		case "rua", "ruf":
			for text := range strings.SplitSeq(t.value, ",") {
				uri, problem := reportURI(strings.TrimSpace(text))
				switch {
				case problem != "":
					note("%s has %s, %s", t.name, quote(text), problem)
				case t.name == "rua":
					p.Aggregate = append(p.Aggregate, uri)
				default:
					p.Failure = append(p.Failure, uri)
				}
			}
		case "fo":
			for option := range strings.SplitSeq(t.value, ":") {
				if !slices.Contains([]string{"0", "1", "d", "s"}, lower(strings.TrimSpace(option))) {
					note("fo=%s has other options than 0, 1, d and s", safe(t.value))
					break
				}
			}
		case "rf":
			if lower(t.value) != "afrf" {
				note("rf=%s is no format that is in use", safe(t.value))
			}
		case "ri":
			if !digits(t.value) {
				note("ri=%s is no number of seconds", safe(t.value))
			}
		case "np", "psd", "t": // of the successor of RFC 7489
		default:
			note("the tag %s means nothing", safe(t.name))
		}
	}
	if !havePolicy {
		if len(p.Aggregate) == 0 {
			return p, errors.New("there is no p=none, p=quarantine or p=reject")
		}
		note("there is no p, so receivers take p=none, because there is an address for reports") // section 6.6.3
	}
	if !haveSub {
		p.Subdomain = p.Policy
	}
	return p, nil
}

// reportURI takes the size limit off a report address (RFC 7489, section 6.2).
func reportURI(s string) (uri, problem string) {
	uri, limit, limited := strings.Cut(s, "!")
	if limited && !digits(strings.TrimRight(lower(limit), "kmgt")) {
		return "", "whose size limit cannot be read"
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "":
		if strings.Contains(uri, "@") {
			return "", "which is no URI: write mailto:" + safe(uri)
		}
		return "", "which is no URI"
	case u.Scheme == "mailto" && !strings.Contains(u.Opaque, "@"):
		return "", "which has no mail address"
	}
	return uri, ""
}

// For returns the disposition for mail from name, when the policy was found for holder: the
// name itself, or its organizational domain (RFC 7489, section 6.6.3).
func (p DMARCPolicy) For(name, holder Name) Disposition {
	if name == holder {
		return p.Policy
	}
	return p.Subdomain
}

// Organizational returns the organizational domain of a name (RFC 7489, section 3.2), by the
// public suffix list. A public suffix is its own.
func (n Name) Organizational() Name {
	if org := n.Registrable(); !org.IsZero() {
		return org
	}
	return n
}

// Aligned tells whether an authenticated domain counts for mail from a domain (RFC 7489,
// section 3.1): equal, or in relaxed mode of one organization.
func Aligned(from, authenticated Name, strict bool) bool {
	if from.IsZero() || authenticated.IsZero() {
		return false
	}
	return from == authenticated || !strict && from.Organizational() == authenticated.Organizational()
}

// dmarcPolicies selects DMARC records among TXT records (RFC 7489, section 6.6.3): those
// whose first tag is v=DMARC1.
func dmarcPolicies(values []string) []string {
	var policies []string
	for _, v := range values {
		first, _, _ := strings.Cut(v, ";")
		name, version, _ := strings.Cut(first, "=")
		if lower(trimmed(name)) == "v" && trimmed(version) == "DMARC1" {
			policies = append(policies, v)
		}
	}
	return policies
}

func dmarcCode(policies []string) Code {
	switch len(policies) {
	case 0:
		return CodeDMARCMissing
	case 1:
		if _, err := ParseDMARC(policies[0]); err != nil {
			return CodeDMARCSyntax
		}
		return CodeMatch
	default:
		return CodeDMARCMultiple
	}
}

// meantForDMARC finds what was to be a policy and is none for receivers, because its
// beginning is wrong.
func meantForDMARC(values []string) (Code, string, bool) {
	for _, v := range values {
		l := lower(strings.TrimSpace(v))
		plain := unquoted(l)
		switch begins := strings.HasPrefix(plain, "v=dmarc"); {
		case begins && !strings.HasPrefix(l, "v"):
			return CodeValueQuoted, v, true
		case begins, strings.HasPrefix(strings.TrimLeft(plain, "v=:"), "dmarc1"),
			strings.HasPrefix(plain, "p="), strings.Contains(plain, "v=dmarc1"): // the version is not in front
			return CodeDMARCSyntax, v, true
		}
	}
	return "", "", false
}

// inherited is what the servers say together of the policy of the organizational domain.
func (r *run) inherited(ctx context.Context, org Name) opinion {
	op := opinion{told: true, code: CodeDMARCMissing}
	var silence []Code
	has, told := 0, 0
	for _, a := range r.everyone(ctx, question{org.s, dns.TypeTXT}) {
		if !a.told() {
			silence = append(silence, a.silenceCode())
			continue
		}
		told++
		if policies := dmarcPolicies(a.values()); len(policies) > 0 {
			has++
			op = opinion{told: true, code: dmarcCode(policies), found: policies, where: org}
		}
	}
	switch {
	case has == 0 && len(silence) > 0:
		return opinion{code: worstSilence(silence), lacking: true, where: org}
	case 0 < has && has < told && r.authoritative:
		op.code, op.hint = CodeNSInconsistent, fmt.Sprintf("%d of %d name servers have a DMARC policy there", has, told)
	}
	return op
}

// dmarc accepts any valid policy, of the domain or inherited from its organizational domain.
func (r *run) dmarc(ctx context.Context, rec Record, a answer) opinion {
	if !a.told() || a.result == SawLoop {
		return compareAnswer(rec, nil, r.domain, a)
	}
	values := a.values()
	policies := dmarcPolicies(values)
	op := opinion{told: true, code: dmarcCode(policies), found: policies}
	if op.code == CodeDMARCMissing {
		op.found = values
		if code, v, ok := meantForDMARC(values); ok {
			op.code, op.found = code, []string{v}
			if _, err := ParseDMARC(tidy(v)); err == nil {
				op.hint = tidy(v)
			}
		}
		org := r.domain.Registrable().Child("_dmarc")
		if !org.IsZero() && org != rec.Name {
			inherited := r.inherited(ctx, org)
			if !inherited.told {
				return inherited
			}
			if inherited.code != CodeDMARCMissing && op.code == CodeDMARCMissing {
				op = inherited
			}
		}
	}
	if op.code == CodeDMARCMissing && len(a.chain) > 0 {
		return aliased(rec, a)
	}
	op.match = op.code == CodeMatch
	return op
}
