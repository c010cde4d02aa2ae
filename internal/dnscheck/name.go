package dnscheck

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

const (
	maxName  = 253 // RFC 1035, section 2.3.4: 255 octets on the wire
	maxLabel = 63
	// maxInput bounds the work of IDNA on what a stranger typed; no name that fits into
	// maxName is longer than this in UTF-8.
	maxInput = 1024
)

// Name is a DNS name in canonical form: lower case A-labels (RFC 5890) without trailing
// dot. Two equal names are equal as values. The zero Name is no name.
type Name struct{ s string }

// otherDots are the label separators of IDNA beside the full stop (RFC 3490, section 3.1).
var otherDots = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".")

// ParseName reads any name that a record can live at: underscore labels are kept, U-labels
// become A-labels one by one, case is folded, one trailing dot is dropped. Labels are at
// most 63 and the name at most 253 characters of a-z, 0-9, '-' and '_'.
func ParseName(s string) (Name, error) {
	if len(s) > maxInput {
		return Name{}, fmt.Errorf("name %s is longer than %d characters", quote(s), maxName)
	}
	labels := s
	if !isASCII(s) {
		labels = otherDots.Replace(s)
	}
	labels = strings.TrimSuffix(labels, ".")
	if labels == "" {
		return Name{}, fmt.Errorf("name is empty: give a name like example.org")
	}
	var b strings.Builder
	for label := range strings.SplitSeq(labels, ".") {
		if label == "" {
			return Name{}, fmt.Errorf("name %s has an empty label: write one dot between labels and none in front", quote(s))
		}
		a, err := canonicalLabel(label)
		if err != nil {
			return Name{}, fmt.Errorf("name %s: %w", quote(s), err)
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(a)
	}
	if b.Len() > maxName {
		return Name{}, fmt.Errorf("name %s has %d characters, at most %d are possible", quote(s), b.Len(), maxName)
	}
	return Name{b.String()}, nil
}

// canonicalLabel folds one label. idna.Lookup refuses underscores, so ASCII labels never
// see it unless they claim to be A-labels.
func canonicalLabel(label string) (string, error) {
	a := label
	if !isASCII(label) {
		var err error
		if a, err = idna.Lookup.ToASCII(label); err != nil {
			return "", fmt.Errorf("label %s is no valid international name (IDNA)", quote(label))
		}
	}
	a = lower(a)
	for _, c := range []byte(a) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return "", fmt.Errorf("label %s holds %q, only letters, digits, '-' and '_' are possible", quote(label), c)
		}
	}
	if a == "" {
		return "", fmt.Errorf("label %s is empty after IDNA mapping", quote(label))
	}
	if len(a) > maxLabel {
		return "", fmt.Errorf("label %s has %d characters, at most %d are possible", quote(label), len(a), maxLabel)
	}
	if strings.HasPrefix(a, "xn--") {
		// An A-label that does not survive the round trip would be a second spelling of
		// another name, or a name that no one can read.
		u, err := idna.Lookup.ToUnicode(a)
		if err != nil || isASCII(u) {
			return "", fmt.Errorf("label %s is no valid A-label (IDNA)", quote(label))
		}
		if back, err := idna.Lookup.ToASCII(u); err != nil || back != a {
			return "", fmt.Errorf("label %s is no valid A-label (IDNA)", quote(label))
		}
	}
	return a, nil
}

// ParseDomain reads a domain that its owner can prove: a name as of [ParseName] that is
// not an IP address, wildcard, single label, public suffix (of either section of the list)
// or name with underscores. Each refusal is a sentence of its own.
func ParseDomain(s string) (Name, error) {
	refuse := func(format string, args ...any) (Name, error) {
		return Name{}, fmt.Errorf("domain %s %s", quote(s), fmt.Sprintf(format, args...))
	}
	bare := strings.TrimSuffix(s, ".")
	if bare == "" {
		return Name{}, fmt.Errorf("domain is empty: give a domain like example.org")
	}
	if i := strings.IndexFunc(s, invisible); i >= 0 {
		return refuse("holds a blank or control character at position %d: remove it", i+1)
	}
	if isAddress(bare) {
		return refuse("is an IP address: give a domain name")
	}
	if strings.Contains(s, "://") {
		return refuse("is a URL: give only its host name")
	}
	if strings.Contains(s, "@") {
		return refuse("is an e-mail address: give only the part after the @")
	}
	if strings.ContainsAny(s, `/\?#`) {
		return refuse("has a path: give only the host name")
	}
	if strings.Contains(s, ":") {
		return refuse("has a port: give only the host name")
	}
	if strings.Contains(s, "*") {
		return refuse("has a wildcard: register the domain itself")
	}
	n, err := ParseName(s)
	if err != nil {
		return Name{}, err
	}
	if !strings.Contains(n.s, ".") {
		return refuse("is a single label: give a full domain like example.org")
	}
	if strings.Contains(n.s, "_") {
		return refuse("has an underscore: those names are for records, give the domain above them")
	}
	if tld := n.s[strings.LastIndexByte(n.s, '.')+1:]; numeric(tld) {
		return refuse("ends in the number %q: no top-level domain is a number", tld)
	}
	for label := range strings.SplitSeq(n.s, ".") {
		if label[0] == '-' || label[len(label)-1] == '-' {
			return refuse("has the label %q, which begins or ends with a hyphen", label)
		}
	}
	if suffix, _ := publicsuffix.PublicSuffix(n.s); suffix == n.s {
		return refuse("is a public suffix, below which others register: give a domain of your own")
	}
	return n, nil
}

// String returns the canonical form; empty for the zero Name.
func (n Name) String() string { return n.s }

// IsZero tells whether n is no name.
func (n Name) IsZero() bool { return n.s == "" }

// Child returns the name with one or more labels put in front: "a.b" below example.org is
// a.b.example.org. It is the zero Name when the labels are invalid, the result would be
// longer than 253 characters, or n is zero.
func (n Name) Child(labels string) Name {
	if n.s == "" {
		return Name{}
	}
	prefix, err := ParseName(labels)
	if err != nil || len(prefix.s)+1+len(n.s) > maxName {
		return Name{}
	}
	return Name{prefix.s + "." + n.s}
}

// Parent returns the name without its first label, the zero Name above a single label.
func (n Name) Parent() Name {
	_, parent, _ := strings.Cut(n.s, ".")
	return Name{parent}
}

// IsBelow tells whether n is strictly below parent.
func (n Name) IsBelow(parent Name) bool {
	return parent.s != "" && strings.HasSuffix(n.s, "."+parent.s)
}

// Registrable returns the organizational domain: the public suffix and one label more.
// It is the zero Name when n is itself a suffix.
func (n Name) Registrable() Name {
	s, err := publicsuffix.EffectiveTLDPlusOne(n.s)
	if err != nil {
		return Name{}
	}
	return Name{s}
}

// MarshalText implements [encoding.TextMarshaler].
func (n Name) MarshalText() ([]byte, error) { return []byte(n.s), nil }

// UnmarshalText reads what [ParseName] reads; empty text gives the zero Name.
func (n *Name) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*n = Name{}
		return nil
	}
	parsed, err := ParseName(string(text))
	if err != nil {
		return err
	}
	*n = parsed
	return nil
}

// relativeTo returns n as it is typed into the form of a provider that appends the zone;
// "@" for the zone itself.
func (n Name) relativeTo(zone Name) string {
	if n == zone {
		return "@"
	}
	if n.IsBelow(zone) {
		return strings.TrimSuffix(n.s, "."+zone.s)
	}
	return n.s
}

// isAddress recognises IPv4 and IPv6 literals, also bracketed and with a port.
func isAddress(s string) bool {
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return true
	}
	_, err := netip.ParseAddrPort(s)
	return err == nil
}

// numeric tells whether a last label would make URL parsers and libc see an IPv4 address.
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// invisible covers blanks, controls and the format characters (zero width, direction) that
// would make two names look alike. The two joiners are left to IDNA, which knows the
// scripts that need them.
func invisible(r rune) bool {
	if r == '\u200c' || r == '\u200d' {
		return false
	}
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// lower folds ASCII only (RFC 4343): the DNS knows no other case.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for j := range b {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// bare is the form in which names from the wire and from values are compared.
func bare(name string) string { return lower(strings.TrimSuffix(strings.TrimSpace(name), ".")) }

// absolute is the form in which targets are shown. The root stays a single dot.
func absolute(name string) string { return bare(name) + "." }
