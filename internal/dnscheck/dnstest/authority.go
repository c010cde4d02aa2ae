package dnstest

import (
	"net"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Authority makes a server answer like an authoritative one that serves several zones: a
// zone begins at each SOA record of its text. Names outside get REFUSED, names below an NS
// record that is no apex a referral with the glue that the server holds, and CNAMEs are
// followed only inside its own zones (RFC 1034, section 4.3.2).
func Authority() Option { return func(s *Server) { s.authority = true } }

// zoneOf returns the apex of the zone that a name is in; empty when the server has none.
func (s *Server) zoneOf(name string) string {
	for n := name; ; n = parent(n) {
		if len(s.names[n][dns.TypeSOA]) > 0 {
			return n
		}
		if n == "." {
			return ""
		}
	}
}

// cut returns the highest delegation between an apex and a name; empty when there is none.
func (s *Server) cut(apex, name string) string {
	found := ""
	for n := name; n != apex && n != "."; n = parent(n) {
		if len(s.names[n][dns.TypeNS]) > 0 {
			found = n
		}
	}
	return found
}

// redirected returns the DNAME above a name inside a zone, and where it leads
// (RFC 6672, section 3.2).
func (s *Server) redirected(apex, name string) (dname dns.RR, target string) {
	for n := name; n != apex && n != "."; {
		n = parent(n)
		if found := s.names[n][dns.TypeDNAME]; len(found) > 0 {
			dname = dns.Copy(found[0])
			target = strings.TrimSuffix(name, n) + dns.CanonicalName(dname.(*dns.DNAME).Target)
		}
	}
	return dname, target
}

// answerAsAuthority fills m; the lock is held.
func (s *Server) answerAsAuthority(m *dns.Msg, name string, qtype uint16) {
	m.RecursionAvailable = false
	for range maxChase {
		apex := s.zoneOf(name)
		if apex == "" {
			if len(m.Answer) == 0 {
				m.Rcode, m.Authoritative = dns.RcodeRefused, false
			}
			return // a CNAME that leaves our zones
		}
		if dname, target := s.redirected(apex, name); target != "" {
			m.Answer = append(m.Answer, dname, &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: dname.Header().Ttl}, Target: target})
			if qtype == dns.TypeCNAME {
				return
			}
			name = target
			continue
		}
		if cut := s.cut(apex, name); cut != "" {
			m.Authoritative = len(m.Answer) > 0
			m.Ns = append(m.Ns, copied(s.names[cut][dns.TypeNS])...)
			for _, rr := range s.names[cut][dns.TypeNS] {
				host := dns.CanonicalName(rr.(*dns.NS).Ns)
				if dns.IsSubDomain(apex, host) {
					m.Extra = append(m.Extra, copied(s.names[host][dns.TypeA])...)
					m.Extra = append(m.Extra, copied(s.names[host][dns.TypeAAAA])...)
				}
			}
			return
		}
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

func copied(rrs []dns.RR) []dns.RR {
	var list []dns.RR
	for _, rr := range rrs {
		list = append(list, dns.Copy(rr))
	}
	return list
}

// Recursor makes a server answer as a resolver that asks the servers of a network, which
// it enters at the server of the root zone. It caches nothing; the first server of a zone
// that answers is believed. Where none does, it says SERVFAIL.
func Recursor(n Network, root string) Option {
	return func(s *Server) { s.network, s.root = n, root }
}

// recurse fills m. No lock is held: the servers that are asked have their own.
func (s *Server) recurse(m *dns.Msg, name string, qtype uint16) {
	m.Authoritative = false
	for range maxChase {
		reply := s.iterate(name, qtype, nil)
		if reply == nil {
			empty(m, dns.RcodeServerFailure)
			return
		}
		m.Rcode = reply.Rcode
		m.Answer = append(m.Answer, reply.Answer...)
		m.Ns = nil
		end := name
		for _, rr := range reply.Answer {
			if rr.Header().Rrtype == qtype {
				return
			}
			if c, ok := rr.(*dns.CNAME); ok {
				end = dns.CanonicalName(c.Target)
			}
		}
		for _, rr := range reply.Ns {
			if rr.Header().Rrtype == dns.TypeSOA {
				m.Ns = append(m.Ns, rr)
			}
		}
		// What a server says of the end of a chain with NXDOMAIN is asked there again, as unbound does.
		if end == name || len(m.Ns) > 0 && m.Rcode != dns.RcodeNameError {
			return
		}
		name = end
	}
	empty(m, dns.RcodeServerFailure) // a chain without end
}

const maxDepth = 6

// iterate follows referrals from the root and returns the reply that is none; nil when
// nobody gives one. sought are the hosts whose addresses it is needed for: who needs himself
// is in a circle.
func (s *Server) iterate(name string, qtype uint16, sought []string) *dns.Msg {
	if len(sought) > maxDepth {
		return nil
	}
	servers := []string{s.root}
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.RecursionDesired = false
	packet, err := q.Pack()
	if err != nil {
		return nil
	}
	for range maxDepth {
		var next []string
		for _, addr := range servers {
			server := s.network[addr]
			if server == nil {
				continue
			}
			m := new(dns.Msg)
			reply := server.Handle(packet, true)
			if reply == nil || m.Unpack(reply) != nil || m.Id != q.Id || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
				continue
			}
			if m.Authoritative {
				return m
			}
			if next = s.referred(m, sought); len(next) > 0 {
				break
			}
		}
		if len(next) == 0 {
			return nil
		}
		servers = next
	}
	return nil
}

// referred returns the addresses of the name servers in a referral.
func (s *Server) referred(m *dns.Msg, sought []string) []string {
	var addrs []string
	add := func(rr dns.RR) {
		switch rr := rr.(type) {
		case *dns.A:
			addrs = append(addrs, net.JoinHostPort(rr.A.String(), "53"))
		case *dns.AAAA:
			addrs = append(addrs, net.JoinHostPort(rr.AAAA.String(), "53"))
		}
	}
	for _, rr := range m.Ns {
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		before := len(addrs)
		for _, glue := range m.Extra {
			if strings.EqualFold(glue.Header().Name, ns.Ns) {
				add(glue)
			}
		}
		if len(addrs) > before {
			continue
		}
		host := dns.CanonicalName(ns.Ns)
		if slices.Contains(sought, host) {
			continue
		}
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if reply := s.iterate(host, t, append(slices.Clone(sought), host)); reply != nil {
				for _, rr := range reply.Answer {
					add(rr)
				}
			}
		}
	}
	return addrs
}
