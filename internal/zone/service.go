package zone

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// NS is a name server as delegations name it.
type NS struct {
	Host string // absolute name; in a service zone "" means ns1.DOMAIN, ns2.DOMAIN by position
	// Addrs are its addresses. They are served where Host is in the zone.
	Addrs []netip.Addr
}

// ServiceConfig describes the service zone.
type ServiceConfig struct {
	Domain      string         // the zone, such as mail.postseal.example; needed
	Nameservers []NS           // at least one
	Feedback    []netip.Addr   // where feedback.DOMAIN takes bounces and complaints
	Outbound    []netip.Prefix // what mail is sent from, for SPF; at most 100
	Hostmaster  string         // mailbox for the SOA; "": hostmaster@DOMAIN
	TTL         time.Duration  // of the fixed records; 0: one hour
	KeyTTL      time.Duration  // of DKIM keys; 0: five minutes. Negative answers live as long, one minute at most
	// Keys finds the TXT value of a DKIM key by its selector, a label in lower case:
	// TOKEN of TOKEN.dkim.DOMAIN, SELECTOR of SELECTOR._domainkey.DOMAIN. ok=false is
	// the knowledge that there is none (NXDOMAIN); an error is the lack of knowledge
	// (SERVFAIL). Answers are kept for two seconds. It is called by many at once and
	// must heed ctx. Needed.
	Keys func(ctx context.Context, selector string) (txt string, ok bool, err error)
}

// Service is the source for the service zone: the names that our customers' CNAME, MX
// and SPF records lead to. Build it with NewService. With SERVICE for its domain:
//
//	SERVICE                      SOA, NS, TXT v=spf1 include:_spf.SERVICE -all
//	_spf.SERVICE                 TXT v=spf1 ip4:... ip6:... -all
//	_dmarc.SERVICE               TXT v=DMARC1; p=reject
//	bounce.SERVICE               MX 10 feedback.SERVICE, TXT v=spf1 include:_spf.SERVICE -all
//	feedback.SERVICE, nsN...     A, AAAA
//	TOKEN.dkim.SERVICE           TXT, live from Keys
//	SELECTOR._domainkey.SERVICE  TXT, live from Keys
type Service struct {
	domain string
	mname  string
	rname  string
	ttl    uint32
	keyTTL uint32
	fixed  map[string]map[uint16][]dns.RR // an empty non-terminal is an empty map
	keys   *keyCache
}

// NewService checks c and makes the source. Its errors name the field at fault.
func NewService(c ServiceConfig) (*Service, error) {
	domain, err := parseName(c.Domain)
	if err != nil {
		return nil, fmt.Errorf("service zone: Domain: %w", err)
	}
	s := &Service{domain: domain, fixed: map[string]map[uint16][]dns.RR{}}
	fail := func(field string, err error) (*Service, error) {
		return nil, fmt.Errorf("service zone %s: %s: %w", domain, field, err)
	}
	if c.Keys == nil {
		return fail("Keys", errors.New("missing; without it no DKIM key can be found"))
	}
	s.keys = newKeyCache(c.Keys)
	if s.ttl, err = seconds(c.TTL, time.Hour); err != nil {
		return fail("TTL", err)
	}
	if s.keyTTL, err = seconds(c.KeyTTL, 5*time.Minute); err != nil {
		return fail("KeyTTL", err)
	}
	if s.rname, err = mailboxName(c.Hostmaster, domain); err != nil {
		return fail("Hostmaster", err)
	}
	if len(c.Nameservers) == 0 {
		return fail("Nameservers", errors.New("none; give at least one with its addresses"))
	}
	for i, ns := range c.Nameservers {
		host := fmt.Sprintf("ns%d.%s", i+1, domain)
		if ns.Host != "" {
			if host, err = parseName(ns.Host); err != nil {
				return fail("Nameservers", err)
			}
		}
		if i == 0 {
			s.mname = host
		}
		s.add(&dns.NS{Hdr: header(domain, dns.TypeNS, s.ttl), Ns: host})
		if !dns.IsSubDomain(domain, host) {
			continue
		}
		if len(ns.Addrs) == 0 {
			return fail("Nameservers", fmt.Errorf("%s is in the zone but has no address; give it one", host))
		}
		if err := s.addAddrs(host, ns.Addrs); err != nil {
			return fail("Nameservers", err)
		}
	}
	spf, err := spfRecord(c.Outbound)
	if err != nil {
		return fail("Outbound", err)
	}
	bounce, feedback := "bounce."+domain, "feedback."+domain
	if err := s.addAddrs(feedback, c.Feedback); err != nil {
		return fail("Feedback", err)
	}
	include := "v=spf1 include:_spf." + strings.TrimSuffix(domain, ".") + " -all"
	s.add(newTXT(domain, s.ttl, include))
	s.add(newTXT("_spf."+domain, s.ttl, spf))
	// Alignment is left at its default, relaxed (RFC 7489, section 6.3).
	s.add(newTXT("_dmarc."+domain, s.ttl, "v=DMARC1; p=reject"))
	s.add(newTXT(bounce, s.ttl, include))
	s.add(&dns.MX{Hdr: header(bounce, dns.TypeMX, s.ttl), Preference: 10, Mx: feedback})
	s.exist("dkim." + domain)
	s.exist("_domainkey." + domain)
	return s, nil
}

// Lookup answers for names at and below the domain, and for no others.
func (s *Service) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	if !dns.IsSubDomain(s.domain, name) {
		return Answer{}, nil
	}
	a := Answer{SOA: s.soa()}
	if types, ok := s.fixed[name]; ok {
		a.Exists, a.RRs = true, types[qtype]
		if name == s.domain && qtype == dns.TypeSOA {
			a.RRs = []dns.RR{a.SOA}
		}
		return a, nil
	}
	selector, ok := s.selector(name)
	if !ok {
		return a, nil
	}
	txt, ok, err := s.keys.get(ctx, selector)
	if err != nil {
		return Answer{}, err
	}
	if a.Exists = ok; ok && qtype == dns.TypeTXT {
		a.RRs = []dns.RR{newTXT(name, s.keyTTL, txt)}
	}
	return a, nil
}

// selector cuts the name of a DKIM key. What cannot be a selector of ours never
// reaches the store.
func (s *Service) selector(name string) (selector string, ok bool) {
	selector, rest, _ := strings.Cut(name, ".")
	if parent, ok := strings.CutSuffix(rest, s.domain); !ok || parent != "dkim." && parent != "_domainkey." {
		return "", false
	}
	return selector, checkLabel(selector) == nil
}

// soa makes the start of authority. Answers are live, so the serial is only the
// minute: equal on all nodes that have the time.
func (s *Service) soa() *dns.SOA {
	return &dns.SOA{
		Hdr: header(s.domain, dns.TypeSOA, s.ttl), Ns: s.mname, Mbox: s.rname,
		Serial:  uint32(time.Now().Truncate(time.Minute).Unix()),
		Refresh: 7200, Retry: 900, Expire: 1209600,
		// A key that is about to exist must not be absent for long.
		Minttl: min(60, s.keyTTL, s.ttl),
	}
}

// add stores a fixed record once, and makes its name and the names above it exist.
func (s *Service) add(rr dns.RR) {
	h := rr.Header()
	s.exist(h.Name)
	types := s.fixed[h.Name]
	for _, old := range types[h.Rrtype] {
		if dns.IsDuplicate(old, rr) {
			return
		}
	}
	types[h.Rrtype] = append(types[h.Rrtype], rr)
}

func (s *Service) addAddrs(host string, addrs []netip.Addr) error {
	for _, a := range addrs {
		rr, err := newAddress(host, s.ttl, a)
		if err != nil {
			return err
		}
		s.add(rr)
	}
	return nil
}

func (s *Service) exist(name string) {
	for ; dns.IsSubDomain(s.domain, name); name = parent(name) {
		if s.fixed[name] == nil {
			s.fixed[name] = map[uint16][]dns.RR{}
		}
	}
}

// spfRecord lists what mail is sent from (RFC 7208, section 5.6).
func spfRecord(outbound []netip.Prefix) (string, error) {
	if len(outbound) > 100 {
		return "", fmt.Errorf("%d networks, at most 100 fit one SPF record; merge them", len(outbound))
	}
	var b strings.Builder
	b.WriteString("v=spf1")
	for _, p := range outbound {
		if !p.IsValid() {
			return "", errors.New("holds a network that is not valid")
		}
		p = p.Masked()
		mechanism := " ip6:"
		if p.Addr().Is4() {
			mechanism = " ip4:"
		}
		b.WriteString(mechanism)
		if p.IsSingleIP() {
			b.WriteString(p.Addr().String())
		} else {
			b.WriteString(p.String())
		}
	}
	b.WriteString(" -all")
	return b.String(), nil
}

// mailboxName writes a mailbox as the SOA has it: dots of the local part are escaped
// (RFC 1035, section 8).
func mailboxName(mailbox, domain string) (string, error) {
	if mailbox == "" {
		return "hostmaster." + domain, nil
	}
	local, host, ok := strings.Cut(mailbox, "@")
	if !ok {
		return "", fmt.Errorf("%.100q is not a mailbox; write user@domain", mailbox)
	}
	host, err := parseName(host)
	if err != nil {
		return "", err
	}
	for l := range strings.SplitSeq(local, ".") {
		if err := checkLabel(l); err != nil {
			return "", fmt.Errorf("%.100q: local part: %w", mailbox, err)
		}
	}
	if len(local) > 63 || len(local)+len(host) > maxName {
		return "", fmt.Errorf("%.100q is too long for a SOA record", mailbox)
	}
	return strings.ReplaceAll(local, ".", `\.`) + "." + host, nil
}

// seconds turns a duration into a TTL; 0 means what is usual.
func seconds(d, usual time.Duration) (uint32, error) {
	if d == 0 {
		d = usual
	}
	if d < time.Second || d > 7*24*time.Hour {
		return 0, fmt.Errorf("%s is out of range; use one second to one week", d)
	}
	return uint32(d / time.Second), nil
}
