package smtpd

import (
	"bytes"
	"context"
	"errors"
	"net"
	netmail "net/mail"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"
	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-msgauth/dmarc"
	"golang.org/x/net/publicsuffix"
)

// maxSignatures bounds the work that a message can make (RFC 6376, section 6.1).
const maxSignatures = 8

// A Verdict is what a receiver makes of a message. SPF, DKIM and DMARC hold the
// words of RFC 8601, section 2.7: none, pass, fail, softfail, neutral,
// temperror, permerror.
type Verdict struct {
	SPF       string
	SPFDomain string // of the reverse-path, or of HELO where that is empty
	SPFError  string // why SPF is not pass, as far as known

	DKIM       string // pass if one signature is; else the result of the first
	DKIMDomain string // d= of the signature that counted: an aligned valid one before any other
	DKIMError  string

	DMARC       string
	FromDomain  string // RFC 5322 From
	SPFAligned  bool   // SPF passed for a domain aligned with From
	DKIMAligned bool   // a valid signature is of a domain aligned with From
	Policy      string // of the DMARC record: none, quarantine, reject; "" without one
}

// verify judges a message by what the DNS says now.
func verify(ctx context.Context, r Resolver, ip netip.Addr, helo, from string, raw []byte) (Verdict, []authres.Result) {
	var v Verdict
	lookupTXT := func(name string) ([]string, error) { return r.LookupTXT(ctx, name) }

	// SPF (RFC 7208). The empty reverse-path stands for postmaster at HELO's name.
	sender := from
	if sender == "" {
		sender = "postmaster@" + helo
	}
	if _, v.SPFDomain, _ = cutLast(sender, "@"); v.SPFDomain == "" {
		v.SPFDomain = helo
	}
	result, err := spf.CheckHostWithSender(net.IP(ip.AsSlice()), helo, sender, spf.WithContext(ctx), spf.WithResolver(r))
	v.SPF = string(result)
	if err != nil && result != spf.Pass {
		v.SPFError = cut(err.Error())
	}
	results := []authres.Result{&authres.SPFResult{Value: authres.ResultValue(v.SPF), From: token(from), Helo: token(helo)}}

	// DKIM (RFC 6376), all signatures.
	fromDomain, fromErr := headerFrom(raw)
	v.FromDomain = fromDomain
	v.DKIM = string(authres.ResultNone)
	found, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{LookupTXT: lookupTXT, MaxVerifications: maxSignatures})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		v.DKIM, v.DKIMError = string(authres.ResultPermError), cut(err.Error())
		found = nil
	}
	best := -1 // 0 not valid, 1 valid, 2 valid and of the same organization as From
	for _, f := range found {
		value, why, rank := authres.ResultValue(authres.ResultPass), "", 1
		if f.Err != nil {
			value, why, rank = dkimValue(f.Err), cut(f.Err.Error()), 0
		} else if aligned(f.Domain, v.FromDomain, false) {
			rank = 2
		}
		if rank > best {
			best = rank
			v.DKIM, v.DKIMDomain, v.DKIMError = string(value), f.Domain, why
		}
		results = append(results, &authres.DKIMResult{Value: value, Reason: why, Domain: token(f.Domain), Identifier: token(f.Identifier)})
	}
	if len(found) == 0 {
		results = append(results, &authres.DKIMResult{Value: authres.ResultValue(v.DKIM), Reason: v.DKIMError})
	}

	// DMARC (RFC 7489): the policy of From's domain, or of its organization.
	v.DMARC = string(authres.ResultNone)
	if fromErr != nil {
		v.DMARC = string(authres.ResultPermError)
	} else {
		record, err := policy(v.FromDomain, lookupTXT)
		switch {
		case err == nil:
			v.Policy = string(record.Policy)
			v.SPFAligned = v.SPF == string(spf.Pass) && aligned(v.SPFDomain, v.FromDomain, record.SPFAlignment == dmarc.AlignmentStrict)
			for _, f := range found {
				v.DKIMAligned = v.DKIMAligned || f.Err == nil && aligned(f.Domain, v.FromDomain, record.DKIMAlignment == dmarc.AlignmentStrict)
			}
			v.DMARC = string(authres.ResultFail)
			if v.SPFAligned || v.DKIMAligned {
				v.DMARC = string(authres.ResultPass)
			}
		case errors.Is(err, dmarc.ErrNoPolicy):
		case dmarc.IsTempFail(err) || ctx.Err() != nil:
			v.DMARC = string(authres.ResultTempError)
		default:
			v.DMARC = string(authres.ResultPermError)
		}
	}
	results = append(results, &authres.DMARCResult{Value: authres.ResultValue(v.DMARC), From: token(v.FromDomain)})
	return v, results
}

func dkimValue(err error) authres.ResultValue {
	switch {
	case dkim.IsTempFail(err):
		return authres.ResultTempError
	case dkim.IsPermFail(err):
		return authres.ResultPermError
	default:
		return authres.ResultFail
	}
}

// policy finds the record of a domain or, without one there, of its
// organizational domain (RFC 7489, section 6.6.3).
func policy(domain string, lookupTXT func(string) ([]string, error)) (*dmarc.Record, error) {
	options := &dmarc.LookupOptions{LookupTXT: lookupTXT}
	record, err := dmarc.LookupWithOptions(domain, options)
	if org := organization(domain); errors.Is(err, dmarc.ErrNoPolicy) && org != domain {
		if record, err = dmarc.LookupWithOptions(org, options); err == nil && record.SubdomainPolicy != "" {
			record.Policy = record.SubdomainPolicy
		}
	}
	return record, err
}

// organization is the name just below the public suffix, or the domain itself.
func organization(domain string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return org
}

// aligned compares two domains as DMARC does (RFC 7489, section 3.1).
func aligned(a, b string, strict bool) bool {
	a, b = canonical(a), canonical(b)
	if a == "" || b == "" {
		return false
	}
	return a == b || !strict && organization(a) == organization(b)
}

func canonical(domain string) string { return strings.ToLower(strings.TrimSuffix(domain, ".")) }

// headerFrom is the domain of the only address in the only From field. Several
// of either have no domain to judge (RFC 7489, section 6.6.1).
func headerFrom(raw []byte) (string, error) {
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	if n := len(m.Header["From"]); n != 1 {
		return "", errors.New("not exactly one From field")
	}
	list, err := netmail.ParseAddressList(m.Header.Get("From"))
	if err != nil {
		return "", err
	}
	if len(list) != 1 {
		return "", errors.New("not exactly one address in From")
	}
	_, domain, ok := cutLast(list[0].Address, "@")
	if !ok {
		return "", errors.New("no domain in From")
	}
	return canonical(domain), nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// cut is a text that a stranger has a part in, as a reason to show.
func cut(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return token(s)
}

// token makes a stranger's text safe within a header field: at most 255 bytes of
// printable ASCII, without backslashes, which authres would leave unescaped.
func token(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '\\' {
			return '?'
		}
		return r
	}, s[:min(len(s), 255)])
}

// prependResults puts our Authentication-Results (RFC 8601) on top, and removes
// fields that claim to be ours already (section 5).
func prependResults(hostname string, results []authres.Result, raw []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(raw) + 512)
	value := authres.Format(hostname, results)
	out.WriteString("Authentication-Results: " + strings.ReplaceAll(value, "; ", ";\r\n\t") + "\r\n")

	rest := raw
	dropping := false
	for len(rest) > 0 {
		line := rest
		if n := bytes.Index(rest, []byte("\r\n")); n >= 0 {
			line = rest[:n+2]
		}
		if len(line) <= 2 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			dropping = isOurs(line, hostname)
		}
		if !dropping {
			out.Write(line)
		}
		rest = rest[len(line):]
	}
	out.Write(rest)
	return out.Bytes()
}

// isOurs is true for the first line of an Authentication-Results field with our
// authserv-id, or with one that only begins on the next line.
func isOurs(line []byte, hostname string) bool {
	name, value, _ := bytes.Cut(line, []byte(":"))
	if !strings.EqualFold(string(bytes.TrimSpace(name)), "Authentication-Results") {
		return false
	}
	id, _, _ := strings.Cut(string(value), ";")
	words := strings.Fields(id)
	return len(words) == 0 || strings.EqualFold(words[0], hostname)
}
