package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// macroPart is a piece of a macro-string (RFC 7208, section 7.1): text as it is, or one
// expansion.
type macroPart struct {
	literal    string
	letter     byte // lower case; 0 for a literal
	escape     bool // the letter was a capital: the value is URL-escaped
	keep       int  // how many parts from the right; 0 means all
	reverse    bool
	delimiters string
}

const (
	macroLetters     = "slodiphv"
	macroExpLetters  = "crt" // only in explanation text
	macroDelimiters  = ".-+,/_="
	defaultDelimiter = "."
)

// parseMacros reads a macro-string. The letters c, r and t are for explanations only.
func parseMacros(s string, explanation bool) ([]macroPart, error) {
	var parts []macroPart
	literal := func(text string) {
		if n := len(parts); n > 0 && parts[n-1].letter == 0 {
			parts[n-1].literal += text
			return
		}
		parts = append(parts, macroPart{literal: text})
	}
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			literal(s)
			break
		}
		if i > 0 {
			literal(s[:i])
			s = s[i:]
		}
		if len(s) == 1 {
			return nil, errors.New("a single % ends it: write %% for a per cent sign")
		}
		switch s[1] {
		case '%':
			literal("%")
		case '_':
			literal(" ")
		case '-':
			literal("%20")
		case '{':
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return nil, fmt.Errorf("the macro %s has no closing brace", quote(s))
			}
			part, err := parseMacro(s[2:end], explanation)
			if err != nil {
				return nil, fmt.Errorf("the macro %s %w", quote(s[:end+1]), err)
			}
			parts = append(parts, part)
			s = s[end+1:]
			continue
		default:
			return nil, fmt.Errorf("%s is no macro: write %%%% for a per cent sign", quote(s[:2]))
		}
		s = s[2:]
	}
	return parts, nil
}

// parseMacro reads what is between the braces: letter, digits, r, delimiters.
func parseMacro(s string, explanation bool) (macroPart, error) {
	if s == "" {
		return macroPart{}, errors.New("is empty")
	}
	p := macroPart{letter: lower(s[:1])[0], escape: s[0] >= 'A' && s[0] <= 'Z', delimiters: defaultDelimiter}
	switch {
	case strings.IndexByte(macroLetters, p.letter) >= 0:
	case strings.IndexByte(macroExpLetters, p.letter) < 0:
		return p, fmt.Errorf("has the letter %q, which is none of %s", s[0], macroLetters)
	case !explanation:
		return p, fmt.Errorf("has the letter %q, which is for explanations only", s[0])
	}
	s = s[1:]
	n := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if n > 0 {
		keep, err := strconv.Atoi(s[:n])
		if errors.Is(err, strconv.ErrRange) {
			keep = maxName // more parts than any name has
		} else if keep == 0 {
			return p, errors.New("keeps 0 parts: the number must be positive")
		}
		p.keep, s = keep, s[n:]
	}
	if s != "" && (s[0] == 'r' || s[0] == 'R') {
		p.reverse, s = true, s[1:]
	}
	if strings.Trim(s, macroDelimiters) != "" {
		return p, fmt.Errorf("has %s where only delimiters of %s may be", quote(s), macroDelimiters)
	}
	if s != "" {
		p.delimiters = s
	}
	return p, nil
}

// checkDomainSpec wants a macro-string that ends in a macro or in a dot and a top label
// (RFC 7208, section 7.1).
func checkDomainSpec(s string) error {
	if s == "" {
		return errors.New("the domain is empty")
	}
	parts, err := parseMacros(s, false)
	if err != nil {
		return err
	}
	if parts[len(parts)-1].letter != 0 || strings.HasSuffix(s, "%%") || strings.HasSuffix(s, "%_") || strings.HasSuffix(s, "%-") {
		return nil
	}
	name := strings.TrimSuffix(s, ".")
	dot := strings.LastIndexByte(name, '.')
	top := name[dot+1:]
	switch {
	case dot < 0:
		return fmt.Errorf("%s is a single label, where a full domain is needed", quote(s))
	case digits(top):
		if _, err := netip.ParseAddr(name); err == nil {
			return fmt.Errorf("%s is an address, where a domain is needed: write ip4:%s", quote(s), name)
		}
		return fmt.Errorf("%s ends in a number, where a domain is needed", quote(s))
	case strings.Trim(lower(top), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || top == "" || top[0] == '-' || top[len(top)-1] == '-':
		return fmt.Errorf("%s does not end in the label of a domain", quote(s))
	}
	return nil
}

// expand replaces the macros of a string for domain, which is the one whose record is read.
func (e *spfEval) expand(ctx context.Context, s, domain string, explanation bool) (string, error) {
	parts, err := parseMacros(s, explanation)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, p := range parts {
		if p.letter == 0 {
			b.WriteString(p.literal)
			continue
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b.WriteString(p.transform(e.macro(ctx, p.letter, domain)))
	}
	return b.String(), nil
}

// transform splits, reverses, cuts, joins and escapes a value, in this order.
func (p macroPart) transform(value string) string {
	if p.keep > 0 || p.reverse || p.delimiters != defaultDelimiter {
		labels := strings.Split(strings.Map(func(r rune) rune {
			if strings.ContainsRune(p.delimiters, r) {
				return 0 // in no name, and no text is split at it
			}
			return r
		}, value), "\x00")
		if p.reverse {
			slices.Reverse(labels)
		}
		if p.keep > 0 && p.keep < len(labels) {
			labels = labels[len(labels)-p.keep:]
		}
		value = strings.Join(labels, ".")
	}
	if !p.escape {
		return value
	}
	var b strings.Builder
	for _, c := range []byte(value) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// macro returns the value of a letter (RFC 7208, section 7.2).
func (e *spfEval) macro(ctx context.Context, letter byte, domain string) string {
	switch letter {
	case 's':
		return e.local + "@" + e.senderDomain
	case 'l':
		return e.local
	case 'o':
		return e.senderDomain
	case 'd':
		return domain
	case 'i':
		return dotted(e.ip)
	case 'p':
		return e.validatedName(ctx, domain)
	case 'v':
		if e.ip.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return e.q.HELO
	case 'c':
		return e.ip.String()
	case 'r':
		if e.q.Receiver == "" {
			return "unknown"
		}
		return e.q.Receiver
	default: // t
		return strconv.FormatInt(time.Now().Unix(), 10)
	}
}

// dotted is an address as the macro i has it: an IPv6 address in nibbles.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	b := ip.As16()
	nibbles := make([]byte, 0, 63)
	for _, c := range b {
		for _, n := range []byte{c >> 4, c & 15} {
			if len(nibbles) > 0 {
				nibbles = append(nibbles, '.')
			}
			nibbles = append(nibbles, "0123456789abcdef"[n])
		}
	}
	return string(nibbles)
}
