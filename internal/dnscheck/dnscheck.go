// Package dnscheck asks the DNS what the owner of a domain has published, compares
// it with what we asked for, and says in one sentence what to do about a difference.
//
// It knows nothing of tenants, states or storage, and it is not a recursive resolver: it
// asks configured resolvers who serves a zone, asks those servers, and believes none alone.
//
//	[]Record ──> Checker.Check ──> questions, each (name, type) once
//	                                  │
//	  ModeAuthoritative: resolvers ──> zone, its servers (delegation.go) ──> every server
//	                     at every address; then the resolvers,  (authority.go,
//	                     if one of them has it                   nameserver.go)
//	  ModeResolver:      every resolver in parallel                         (resolver.go)
//	                                  │  UDP over few sockets, TCP if need be (exchange.go,
//	                                  │                                              line.go)
//	          one opinion per server and record   (compare.go, spf.go, dmarc.go)
//	                                  │
//	          one verdict: who agrees, who is silent, who is behind           (judge.go)
//	                                  │
//	          bad? a few more questions that explain why                      (probe.go)
//	                                  │
//	          []Finding: outcome, code, the grid of who saw what, one sentence (fix.go)
//
// Beside records of ours it looks at how a domain is set up for mail at all:
//
//	Checker.Posture ──> SPF with the cost of each term (spfreport.go), DKIM keys
//	                    (dkim.go), DMARC (dmarc.go), MX
//	Message, Seen ──> Judge ──> Verdict: what receivers conclude, what breaks without each record
//
// The four outcomes are not two: what could not be learnt is [Unknown], and Unknown
// must never be read as absence.
package dnscheck

import (
	"strconv"
	"time"
)

// Purpose says what a record is for.
type Purpose string

// The purposes of records. Ownership and Environment are grants: they prove a domain and
// need a quorum. SPF, MX and DMARC values are the same for everyone and prove nothing.
const (
	Ownership   Purpose = "ownership"
	Environment Purpose = "environment"
	DKIM        Purpose = "dkim"
	SPF         Purpose = "spf"
	MailFromMX  Purpose = "mail-from-mx"
	MailFromSPF Purpose = "mail-from-spf"
	DMARC       Purpose = "dmarc"
)

// grants tells whether a match of this purpose gives power over a domain.
func (p Purpose) grants() bool { return p == Ownership || p == Environment || p == DKIM }

// Type is the type of a DNS record in its mnemonic form.
type Type string

// The types of record we ask owners to publish.
const (
	TXT   Type = "TXT"
	CNAME Type = "CNAME"
	MX    Type = "MX"
)

// DefaultPriority is the preference of an MX record whose Priority is zero.
const DefaultPriority = 10

// Record is one DNS record that an owner shall publish. The same list is shown as
// instructions, exported as a zone file and checked.
type Record struct {
	Purpose Purpose `json:"purpose"`
	Region  string  `json:"region,omitzero"`
	Name    Name    `json:"name"`
	Type    Type    `json:"type"`
	// Value is the text of a TXT record, unquoted and not split; the target of a CNAME;
	// the exchange of an MX. Names may have a trailing dot.
	Value string `json:"value"`
	// Priority is the preference of an MX record; zero means DefaultPriority.
	Priority int `json:"priority,omitzero"`
	// Previous holds values of ours that this record had before, to tell a stale value
	// from a foreign one.
	Previous []string `json:"previous,omitempty"`
}

func (r Record) priority() int {
	if r.Priority == 0 {
		return DefaultPriority
	}
	return r.Priority
}

// Include returns the target of the first include in the value of an SPF record; zero where
// there is none.
func (r Record) Include() Name {
	n, err := ParseName(includeTarget(r.Value))
	if err != nil {
		return Name{}
	}
	return n
}

// Expected returns what shall be seen, in the form used in findings: the text of a TXT
// unquoted, a CNAME target with its trailing dot, an MX as "10 host.".
func (r Record) Expected() string {
	switch r.Type {
	case CNAME:
		return absolute(r.Value)
	case MX:
		return strconv.Itoa(r.priority()) + " " + absolute(r.Value)
	default:
		return trimmed(r.Value)
	}
}

// Sight is what one server answered to one question: a line of the grid.
type Sight struct {
	Server string   `json:"server"`        // host:port
	Role   string   `json:"role"`          // RoleAuthoritative or RoleResolver
	Host   string   `json:"host,omitzero"` // name of an authoritative server, as the delegation has it
	Result string   `json:"result"`        // one of the Saw constants
	Values []string `json:"values"`        // never nil; at most 32, each cut at 1024 bytes
	// Detail adds what helps to understand the result: a CNAME that was followed, an
	// extended error (RFC 8914), "dnssec" where the server says it validated the answer.
	Detail string `json:"detail,omitzero"`
}

// Roles of the server of a Sight.
const (
	RoleAuthoritative = "authoritative"
	RoleResolver      = "resolver"
)

// Results of a Sight. The first three are answers, all others mean that the server told
// us nothing about the record.
const (
	SawAnswer      = "answer"
	SawNXDOMAIN    = "nxdomain"
	SawNODATA      = "nodata"
	SawLoop        = "loop"        // an answer whose CNAME chain has no end
	SawSERVFAIL    = "servfail"    // RCODE 2
	SawREFUSED     = "refused"     // RCODE 5
	SawLame        = "lame"        // a referral instead of an answer
	SawTimeout     = "timeout"     // no usable packet in time
	SawUnreachable = "unreachable" // no connection, or ICMP said so
	SawMalformed   = "malformed"   // bytes that are no answer to our question
	SawError       = "error"       // any other RCODE
	SawLimit       = "limit"       // not asked: the check had used up its queries
)

// Finding is what a check learnt about one record.
type Finding struct {
	Purpose Purpose `json:"purpose"`
	Region  string  `json:"region"`
	Name    Name    `json:"name"`
	Type    Type    `json:"type"`
	Outcome Outcome `json:"outcome"`
	// Code is the one reason the owner must act on first.
	Code Code `json:"code"`
	// Presumed is what those say that answered, where Outcome is Unknown because others were
	// silent: good enough for a report, never for a state. Empty otherwise.
	Presumed Code     `json:"presumed,omitzero"`
	Expected string   `json:"expected"` // see Record.Expected
	Observed []string `json:"observed"` // never nil; distinct values, same form as Expected
	Seen     []Sight  `json:"seen"`     // never nil; one for each server: authoritative ones first, then resolvers in configured order
	// Fix is one sentence that says what to do; empty when there is nothing to do.
	Fix          string `json:"fix"`
	WaitingHelps bool   `json:"waitingHelps"`
	// RetryAt is when asking again can first give another answer, where caches tell.
	RetryAt time.Time `json:"retryAt,omitzero"`
}
