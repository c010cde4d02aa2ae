package dnstest

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxChase bounds a CNAME chain; a loop is answered as far as it goes.
const maxChase = 16

// Handle answers one query in wire format; nil means that no reply is sent. A delay is
// waited for inside, on the clock of the caller.
func (s *Server) Handle(query []byte, tcp bool) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil || q.Response || len(q.Question) != 1 {
		if len(query) < 12 || q.Response {
			return nil
		}
		q.Question = nil
		return pack(new(dns.Msg).SetRcode(q, dns.RcodeFormatError))
	}
	asked := q.Question[0]
	name := dns.CanonicalName(asked.Name)

	s.mu.Lock()
	s.log = append(s.log, Query{Name: strings.TrimSuffix(name, "."), Type: dns.TypeToString[asked.Qtype], TCP: tcp, RD: q.RecursionDesired})
	opt := q.IsEdns0()
	faults := s.faultsFor(name, asked.Qtype, tcp, opt != nil)
	m := new(dns.Msg).SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	size := dns.MinMsgSize
	if opt != nil {
		m.SetEdns0(dns.DefaultMsgSize, opt.Do())
		size = max(size, int(opt.UDPSize()))
	}
	switch {
	case s.network != nil: // its own zones come first, like the local data of a resolver
		if rrs, exists := s.names[name]; !exists || len(rrs[asked.Qtype]) == 0 {
			s.mu.Unlock()
			s.recurse(m, name, asked.Qtype)
			s.mu.Lock()
			break
		}
		s.answer(m, name, asked.Qtype)
		m.Authoritative = false
	case s.authority:
		s.answerAsAuthority(m, name, asked.Qtype)
	default:
		s.answer(m, name, asked.Qtype)
	}
	s.mu.Unlock()

	for _, f := range faults {
		switch f.kind {
		case faultDrop:
			return nil
		case faultDelay:
			if !s.sleep(f.delay) {
				return nil
			}
		case faultValidated:
			m.AuthenticatedData = true
		case faultServfail:
			if f.checks && q.CheckingDisabled {
				continue
			}
			empty(m, dns.RcodeServerFailure)
			if o := m.IsEdns0(); o != nil && f.code != 0 {
				o.Option = append(o.Option, &dns.EDNS0_EDE{InfoCode: f.code, ExtraText: "test"})
			}
		case faultRefused:
			empty(m, dns.RcodeRefused)
		case faultNXDomain:
			empty(m, dns.RcodeNameError)
			s.mu.Lock()
			m.Ns = []dns.RR{s.soa(name)}
			s.mu.Unlock()
		case faultTruncate:
			empty(m, dns.RcodeSuccess)
			m.Truncated = true
		case faultWrongID:
			m.Id++
		case faultWrongQuestion:
			m.Question = []dns.Question{{Name: "other." + asked.Name, Qtype: asked.Qtype, Qclass: asked.Qclass}}
		case faultReferral:
			empty(m, dns.RcodeSuccess)
			m.Authoritative = false
			m.Ns = parse(apex(name) + " NS ns.invalid.")
		case faultLie:
			empty(m, dns.RcodeSuccess)
			m.Answer = f.lie
		case faultFormerr:
			empty(m, dns.RcodeFormatError)
			m.Extra = nil
		case faultNotImp:
			empty(m, dns.RcodeNotImplemented)
		case faultNotAuthoritative:
			m.Authoritative = false
		case faultPartial:
			m.Truncated = true
		case faultLowerCase:
			m.Question = []dns.Question{{Name: name, Qtype: asked.Qtype, Qclass: asked.Qclass}}
		case faultNoSOA:
			m.Ns = nil
		case faultAlso:
			m.Answer = append(m.Answer, copied(f.lie)...)
		case faultHideDNAME:
			m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeDNAME })
		case faultInAuthority:
			m.Ns = copied(f.lie)
		case faultAdditional:
			m.Extra = append(m.Extra, copied(f.lie)...)
		case faultInstead, faultRewrite:
			if f.lie[0].Header().Rrtype == asked.Qtype && (f.kind == faultInstead || m.Rcode == dns.RcodeNameError) {
				empty(m, dns.RcodeSuccess)
				m.Answer = renamed(f.lie, name)
			}
		case faultGarbage:
			reply := pack(m)[:12]
			reply[4], reply[5], reply[6], reply[7] = 0xff, 0xff, 0xff, 0xff // counts that nothing follows
			return append(reply, 0xc0, 0xff, 0xee)
		}
	}
	if !tcp {
		m.Truncate(size)
	}
	return pack(m)
}

func pack(m *dns.Msg) []byte {
	m.Compress = true
	reply, err := m.Pack()
	if err != nil {
		panic("dnstest: " + err.Error()) // a zone that cannot be sent is a fault of the test
	}
	return reply
}

// empty drops all records but OPT.
func empty(m *dns.Msg, rcode int) {
	m.Rcode = rcode
	m.Answer, m.Ns = nil, nil
	m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })
}

func (s *Server) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.closed:
		return false
	}
}

// answer fills m; the lock is held.
func (s *Server) answer(m *dns.Msg, name string, qtype uint16) {
	for range maxChase {
		rrs, exists := s.find(name)
		if found := rrs[qtype]; len(found) > 0 {
			m.Answer = append(m.Answer, renamed(found, name)...)
			return
		}
		cname := rrs[dns.TypeCNAME]
		if len(cname) == 0 {
			if !exists {
				m.Rcode = dns.RcodeNameError
			}
			m.Ns = append(m.Ns, s.soa(name))
			return
		}
		m.Answer = append(m.Answer, renamed(cname[:1], name)...)
		name = dns.CanonicalName(cname[0].(*dns.CNAME).Target)
	}
}

// find returns the records of a name, its own or those of the wildcard that covers it
// (RFC 4592, section 3.3), and whether the name exists.
func (s *Server) find(name string) (rrs map[uint16][]dns.RR, exists bool) {
	if s.exists(name) {
		return s.names[name], true
	}
	for encloser := parent(name); ; encloser = parent(encloser) {
		if encloser == "." || s.exists(encloser) {
			rrs, covered := s.names["*."+strings.TrimPrefix(encloser, ".")]
			return rrs, covered
		}
	}
}

// exists is true for names with records and for empty non-terminals.
func (s *Server) exists(name string) bool {
	if len(s.names[name]) > 0 {
		return true
	}
	for owner, rrs := range s.names {
		if len(rrs) > 0 && strings.HasSuffix(owner, "."+name) {
			return true
		}
	}
	return false
}

// renamed copies records, so that what a wildcard gives carries the name that was asked.
func renamed(rrs []dns.RR, name string) []dns.RR {
	copies := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		copies[i] = dns.Copy(rr)
		copies[i].Header().Name = name
	}
	return copies
}

// soa returns the SOA of the closest zone above a name, made up where there is none.
func (s *Server) soa(name string) dns.RR {
	for n := name; n != "."; n = parent(n) {
		if soa := s.names[n][dns.TypeSOA]; len(soa) > 0 {
			return dns.Copy(soa[0])
		}
	}
	seconds := uint32(s.minimum / time.Second)
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: apex(name), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: seconds},
		Ns:  "ns.invalid.", Mbox: "noreply.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: seconds,
	}
}

// apex takes the last two labels for a zone.
func apex(name string) string {
	labels := dns.SplitDomainName(name)
	return dns.Fqdn(strings.Join(labels[max(0, len(labels)-2):], "."))
}

func parent(name string) string {
	i, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[i:]
}
