package dnstest

import (
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Fault is one way to go wrong.
type Fault struct {
	kind    faultKind
	delay   time.Duration
	lie     []dns.RR
	code    uint16
	udpOnly bool
	tcpOnly bool
	edns    bool          // only where the question has an OPT record
	left    *atomic.Int64 // how often it still happens; nil for always
	checks  bool          // not where the question has CD set (RFC 4035, section 3.2.2)
}

type faultKind int

const (
	faultServfail faultKind = iota + 1
	faultRefused
	faultNXDomain
	faultDrop
	faultDelay
	faultTruncate
	faultWrongID
	faultWrongQuestion
	faultGarbage
	faultReferral
	faultLie
	faultValidated
	faultFormerr
	faultNotImp
	faultNotAuthoritative
	faultPartial
	faultLowerCase
	faultNoSOA
	faultAlso
	faultAdditional
	faultInstead
	faultRewrite
	faultInAuthority
	faultHideDNAME
)

// Faults without parameters.
var (
	Servfail      = Fault{kind: faultServfail}
	Refused       = Fault{kind: faultRefused}
	NXDomain      = Fault{kind: faultNXDomain}                // a lie: the name does not exist
	Drop          = Fault{kind: faultDrop}                    // no reply at all
	Truncate      = Fault{kind: faultTruncate, udpOnly: true} // TC and no records
	WrongID       = Fault{kind: faultWrongID}
	WrongQuestion = Fault{kind: faultWrongQuestion}          // the answer is for another name
	Garbage       = Fault{kind: faultGarbage}                // the right id, then bytes that are no message
	Bogus         = Fault{kind: faultServfail, checks: true} // SERVFAIL without a word, as a validating resolver whose questioner has checking enabled
	Validated     = Fault{kind: faultValidated}              // no fault: AD is set
	Referral      = Fault{kind: faultReferral}               // other name servers instead of an answer
	Formerr       = Fault{kind: faultFormerr}                // RCODE 1 and no OPT record
	NotImp        = Fault{kind: faultNotImp}                 // RCODE 4
	NoAA          = Fault{kind: faultNotAuthoritative}       // the answer, with AA cleared
	Partial       = Fault{kind: faultPartial, udpOnly: true} // the answer, with TC set
	LowerCase     = Fault{kind: faultLowerCase}              // the question comes back in lower case
	NoSOA         = Fault{kind: faultNoSOA}                  // an empty authority section
	HideDNAME     = Fault{kind: faultHideDNAME}              // the CNAME that a DNAME makes without the DNAME
)

// Delay answers late.
func Delay(d time.Duration) Fault { return Fault{kind: faultDelay, delay: d} }

// Lie answers with these records, given as zone text, and with nothing else.
func Lie(rrText string) Fault { return Fault{kind: faultLie, lie: parse(rrText)} }

// Also adds records, given as zone text, to the answer section.
func Also(rrText string) Fault { return Fault{kind: faultAlso, lie: parse(rrText)} }

// InAuthority puts records, given as zone text, in place of what the authority section holds.
func InAuthority(rrText string) Fault { return Fault{kind: faultInAuthority, lie: parse(rrText)} }

// Additional adds records, given as zone text, to the additional section.
func Additional(rrText string) Fault { return Fault{kind: faultAdditional, lie: parse(rrText)} }

// Instead answers every name with this record ("A 192.0.2.1"), where its type is asked for.
func Instead(typeAndData string) Fault {
	return Fault{kind: faultInstead, lie: parse(". 60 " + typeAndData)}
}

// Rewrite is Instead where the name does not exist.
func Rewrite(typeAndData string) Fault {
	return Fault{kind: faultRewrite, lie: parse(". 60 " + typeAndData)}
}

// Extended answers SERVFAIL with an extended error code (RFC 8914).
func Extended(code uint16) Fault { return Fault{kind: faultServfail, code: code} }

// ExtendedBogus is Bogus with an extended error code (RFC 8914).
func ExtendedBogus(code uint16) Fault { return Fault{kind: faultServfail, code: code, checks: true} }

// UDPOnly limits a fault to UDP.
func (f Fault) UDPOnly() Fault {
	f.udpOnly = true
	return f
}

// TCPOnly limits a fault to TCP.
func (f Fault) TCPOnly() Fault {
	f.tcpOnly = true
	return f
}

// EDNSOnly limits a fault to questions with an OPT record.
func (f Fault) EDNSOnly() Fault {
	f.edns = true
	return f
}

// First limits a fault to the first n questions.
func (f Fault) First(n int64) Fault {
	f.left = new(atomic.Int64)
	f.left.Store(n)
	return f
}

// Fail sets the faults of a name and type, in place of earlier ones; an empty name means
// all names, type "" or "ANY" all types. Several faults add up.
func (s *Server) Fail(name, rrtype string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[faultKey(name, rrtype)] = faults
}

// Heal removes the faults that Fail set for the same name and type; Heal("", "") all of them.
func (s *Server) Heal(name, rrtype string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" && rrtype == "" {
		clear(s.faults)
		return
	}
	delete(s.faults, faultKey(name, rrtype))
}

func faultKey(name, rrtype string) key {
	k := key{qtype: typeOf(rrtype)}
	if name != "" {
		k.name = dns.CanonicalName(name)
	}
	return k
}

// faultsFor must be called with the lock held. The most special setting wins.
func (s *Server) faultsFor(name string, qtype uint16, tcp, edns bool) []Fault {
	for _, k := range []key{{name, qtype}, {name, dns.TypeANY}, {"", qtype}, {"", dns.TypeANY}} {
		faults, ok := s.faults[k]
		if !ok {
			continue
		}
		var active []Fault
		for _, f := range faults {
			if tcp && f.udpOnly || !tcp && f.tcpOnly || !edns && f.edns || f.left != nil && f.left.Add(-1) < 0 {
				continue
			}
			active = append(active, f)
		}
		return active
	}
	return nil
}
