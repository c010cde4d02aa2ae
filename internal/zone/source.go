package zone

import (
	"context"
	"strings"

	"github.com/miekg/dns"
)

// Source knows the records of some zones.
//
// Lookup is asked with a canonical name (lower case, final dot, escapes as
// miekg/dns writes them) and a type that is neither a transfer nor ANY. It is called
// from many goroutines at once and must return soon after ctx is done.
//
// An error means that the answer is not known. It becomes SERVFAIL and never the
// absence of a record: what cannot be told must not look like what is not there.
type Source interface {
	Lookup(ctx context.Context, name string, qtype uint16) (Answer, error)
}

// Answer is what a source knows about one name and type. Its records are shared
// between questions: whoever wants to change one copies it.
type Answer struct {
	// SOA is the start of authority of the zone that holds the name. nil says that
	// the name is in no zone of this source, and nothing else in Answer counts.
	SOA *dns.SOA
	// Exists says that the name has records of any type, or that a name below it
	// has (an empty non-terminal, RFC 8020): absence is then NODATA, else NXDOMAIN.
	Exists bool
	// RRs are the records of the type asked for. Where the name is an alias they
	// are its CNAME, whatever was asked. Owners are the name asked for, also where
	// a wildcard gave the records.
	RRs []dns.RR
}

// Chain is the source that asks each of the given ones in order and takes the answer
// of the first that is responsible for the name. An error ends the search: a later
// source must not contradict one that is only unwell.
func Chain(sources ...Source) Source { return chain(sources) }

type chain []Source

func (c chain) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	for _, s := range c {
		if a, err := s.Lookup(ctx, name, qtype); err != nil || a.SOA != nil {
			return a, err
		}
	}
	return Answer{}, nil
}

// maxTXT bounds the value of one TXT record in bytes. The longest in use, a DKIM key
// of RSA-4096, needs some 750.
const maxTXT = 8 << 10

// newTXT takes value literally and cuts it into strings of 255 bytes (RFC 1035,
// section 3.3.14).
func newTXT(owner string, ttl uint32, value string) *dns.TXT {
	rr := &dns.TXT{Hdr: header(owner, dns.TypeTXT, ttl)}
	for {
		n := min(len(value), 255)
		// miekg/dns keeps strings in presentation form, where a backslash escapes.
		rr.Txt = append(rr.Txt, strings.ReplaceAll(value[:n], `\`, `\\`))
		if value = value[n:]; value == "" {
			return rr
		}
	}
}

func header(owner string, rtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rtype, Class: dns.ClassINET, Ttl: ttl}
}
