package zone

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// maxName is the longest name in presentation form with its final dot (RFC 1035,
// section 2.3.4: 255 octets on the wire).
const maxName = 254

// recordTypes are the types a Table holds.
var recordTypes = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeCAA, dns.TypeCNAME, dns.TypeMX,
	dns.TypeNS, dns.TypePTR, dns.TypeSOA, dns.TypeSRV, dns.TypeTXT,
}

func parseType(s string) (uint16, error) {
	for _, t := range recordTypes {
		if strings.EqualFold(s, dns.TypeToString[t]) {
			return t, nil
		}
	}
	return 0, fmt.Errorf("record type %.100q is not one of A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV, TXT", s)
}

// idnaNames maps names as people write them to A-labels and lets underscores pass.
var idnaNames = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// parseName reads a name with or without its final dot and returns it canonical: lower
// case, A-labels, with the final dot. A wildcard is not a name: see parseOwner.
func parseName(s string) (string, error) {
	name := strings.TrimSuffix(s, ".")
	if name == "" {
		return "", fmt.Errorf("%.100q is not a name; write one such as mail.example.org", s)
	}
	if len(name) > 4*maxName {
		return "", fmt.Errorf("name %.100q is longer than 253 characters", s)
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return "", fmt.Errorf("%.100q is an address where a name is needed", s)
	}
	ascii, err := name, error(nil)
	if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
		if ascii, err = idnaNames.ToASCII(name); err != nil {
			return "", fmt.Errorf("name %.100q: %w", s, err)
		}
	}
	ascii = strings.ToLower(ascii)
	for l := range strings.SplitSeq(ascii, ".") {
		if err := checkLabel(l); err != nil {
			return "", fmt.Errorf("name %.100q: %w", s, err)
		}
	}
	if len(ascii)+1 > maxName {
		return "", fmt.Errorf("name %.100q is longer than 253 characters", s)
	}
	return ascii + ".", nil
}

// parseOwner reads the name of a record: like parseName, and its first label may be
// the wildcard (RFC 4592).
func parseOwner(s string) (string, error) {
	rest, wildcard := strings.CutPrefix(s, "*.")
	name, err := parseName(rest)
	if err != nil || !wildcard {
		return name, err
	}
	if name = "*." + name; len(name) > maxName {
		return "", fmt.Errorf("name %.100q is longer than 253 characters", s)
	}
	return name, nil
}

func checkLabel(l string) error {
	switch {
	case l == "":
		return errors.New("holds an empty label (two dots in a row, or one at the start)")
	case len(l) > 63:
		return fmt.Errorf("label %.100q has %d characters, at most 63 are allowed", l, len(l))
	}
	for i := range len(l) {
		if c := l[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return fmt.Errorf("label %.100q holds %q; letters, digits, - and _ are allowed", l, c)
		}
	}
	return nil
}

// parent cuts the first label off a canonical name; that of a single label is the root.
func parent(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[i:]
	}
	return "."
}

func newAddress(owner string, ttl uint32, a netip.Addr) (dns.RR, error) {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.Zone() != "":
		return nil, fmt.Errorf("%.100q is not an address that can be published", a.String())
	case a.Is4():
		return &dns.A{Hdr: header(owner, dns.TypeA, ttl), A: net.IP(a.AsSlice())}, nil
	}
	return &dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: net.IP(a.AsSlice())}, nil
}

// parseRecord makes a record from its presentation form. TXT is taken literally. The
// priority of MX and SRV is the argument, or the first field of value; hasPriority
// says whether value had it.
func parseRecord(owner string, rtype uint16, value string, priority int, ttl uint32) (rr dns.RR, hasPriority bool, err error) {
	h := header(owner, rtype, ttl)
	if priority < 0 || priority > 65535 {
		return nil, false, fmt.Errorf("priority %d is out of range; use 0 to 65535", priority)
	}
	if rtype == dns.TypeTXT {
		if len(value) > maxTXT {
			return nil, false, fmt.Errorf("value has %d bytes, at most %d are allowed", len(value), maxTXT)
		}
		rr = newTXT(owner, ttl, value)
	}
	if rtype != dns.TypeMX && rtype != dns.TypeSRV && priority != 0 {
		return nil, false, fmt.Errorf("priority %d on a type that has none; use 0", priority)
	}
	if rr != nil {
		return rr, false, nil
	}
	value = strings.TrimSpace(value)
	switch rtype {
	case dns.TypeA, dns.TypeAAAA:
		a, err := netip.ParseAddr(value)
		if err != nil || a.Zone() != "" || a.Is4() != (rtype == dns.TypeA) {
			return nil, false, fmt.Errorf("%.100q is not an address of type %s", value, dns.TypeToString[rtype])
		}
		if a.Is4() {
			return &dns.A{Hdr: h, A: net.IP(a.AsSlice())}, false, nil
		}
		return &dns.AAAA{Hdr: h, AAAA: net.IP(a.AsSlice())}, false, nil
	case dns.TypeCNAME, dns.TypeNS, dns.TypePTR:
		target, err := parseName(value)
		if err != nil {
			return nil, false, err
		}
		switch rtype {
		case dns.TypeCNAME:
			return &dns.CNAME{Hdr: h, Target: target}, false, nil
		case dns.TypeNS:
			return &dns.NS{Hdr: h, Ns: target}, false, nil
		}
		return &dns.PTR{Hdr: h, Ptr: target}, false, nil
	case dns.TypeMX:
		n, target, has, err := parseFields(value, 1, priority, "HOST or PRIORITY HOST")
		if err != nil {
			return nil, false, err
		}
		return &dns.MX{Hdr: h, Preference: n[0], Mx: target}, has, nil
	case dns.TypeSRV:
		n, target, has, err := parseFields(value, 3, priority, "WEIGHT PORT HOST or PRIORITY WEIGHT PORT HOST")
		if err != nil {
			return nil, false, err
		}
		return &dns.SRV{Hdr: h, Priority: n[0], Weight: n[1], Port: n[2], Target: target}, has, nil
	}
	rr, err = parseText(h, value)
	return rr, false, err
}

// parseFields reads n numbers and a host. The first number, the priority, may be left
// out. The host "." says that there is no such service (RFC 7505, RFC 2782).
func parseFields(value string, n, priority int, form string) (numbers []uint16, host string, hasPriority bool, err error) {
	fields := strings.Fields(value)
	hasPriority = len(fields) == n+1
	if !hasPriority {
		fields = append([]string{strconv.Itoa(priority)}, fields...)
	}
	if len(fields) != n+1 {
		return nil, "", false, fmt.Errorf("%.100q is not of the form %s", value, form)
	}
	for _, f := range fields[:n] {
		u, err := strconv.ParseUint(f, 10, 16)
		if err != nil {
			return nil, "", false, fmt.Errorf("%.100q in %.100q is not a number from 0 to 65535; the form is %s", f, value, form)
		}
		numbers = append(numbers, uint16(u))
	}
	if hasPriority && priority != 0 && int(numbers[0]) != priority {
		return nil, "", false, fmt.Errorf("%.100q says priority %d, beside it is %d; give it once", value, numbers[0], priority)
	}
	if host = fields[n]; host != "." {
		host, err = parseName(host)
	}
	return numbers, host, hasPriority, err
}

// parseText reads SOA and CAA, whose values have many parts, with the parser of zone
// files.
func parseText(h dns.RR_Header, value string) (dns.RR, error) {
	t := dns.TypeToString[h.Rrtype]
	if len(value) > 1024 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("value %.100q is too long or holds control characters", value)
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", h.Name, h.Ttl, t, value))
	switch {
	case err != nil:
	case rr == nil:
		err = errors.New("it is empty")
	case h.Rrtype == dns.TypeSOA && len(strings.Fields(value)) != 7: // the parser takes missing numbers for 0
		err = errors.New("the form is HOST MAILBOX SERIAL REFRESH RETRY EXPIRE MINIMUM")
	}
	if err != nil {
		return nil, fmt.Errorf("%.100q is not the value of a record of type %s: %w", value, t, err)
	}
	*rr.Header() = h
	return rr, nil
}

// sameRecord compares all but the TTL. TXT is compared as it is read, joined: how it
// was cut into strings is nobody's business.
func sameRecord(a, b dns.RR) bool {
	x, ok := a.(*dns.TXT)
	y, both := b.(*dns.TXT)
	if ok && both {
		return x.Hdr.Name == y.Hdr.Name && literal(x.Txt) == literal(y.Txt)
	}
	return dns.IsDuplicate(a, b)
}

func withoutPriority(rr dns.RR) dns.RR {
	switch rr = dns.Copy(rr); rr := rr.(type) {
	case *dns.MX:
		rr.Preference = 0
	case *dns.SRV:
		rr.Priority = 0
	}
	return rr
}

func toRecord(rr dns.RR) Record {
	h := rr.Header()
	r := Record{Name: h.Name, Type: dns.TypeToString[h.Rrtype]}
	switch rr := rr.(type) {
	case *dns.TXT:
		r.Value = literal(rr.Txt)
	case *dns.MX:
		r.Value, r.Priority = rr.Mx, int(rr.Preference)
	case *dns.SRV:
		r.Value, r.Priority = fmt.Sprintf("%d %d %s", rr.Weight, rr.Port, rr.Target), int(rr.Priority)
	default:
		r.Value = strings.TrimPrefix(rr.String(), h.String())
	}
	return r
}

// literal joins the strings of a TXT record and undoes their presentation form, in
// which \X is X and \DDD is the byte of that decimal number.
func literal(parts []string) string {
	joined := strings.Join(parts, "")
	if !strings.Contains(joined, `\`) {
		return joined
	}
	b := make([]byte, 0, len(joined))
	for i := 0; i < len(joined); i++ {
		if joined[i] != '\\' || i+1 == len(joined) {
			b = append(b, joined[i])
			continue
		}
		i++
		if i+2 < len(joined) && digits(joined[i:i+3]) {
			b = append(b, (joined[i]-'0')*100+(joined[i+1]-'0')*10+(joined[i+2]-'0'))
			i += 2
			continue
		}
		b = append(b, joined[i])
	}
	return string(b)
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
