package dnscheck

import (
	"context"
	"sync"

	"github.com/miekg/dns"
)

// suspicion is one question that may explain why a record is missing, and how to read the
// answer. read returns false when the suspicion was wrong.
type suspicion struct {
	q    question
	read func(a answer) (opinion, bool)
}

// investigate asks one server, which is known to answer, where else the record may be. The
// suspicions are asked in parallel; of those that prove right the first one wins.
func (r *run) investigate(ctx context.Context, rec Record, q question, server string) (opinion, bool) {
	suspicions := r.suspicions(rec, q)
	answers := make([]answer, len(suspicions))
	var wg sync.WaitGroup
	for i, s := range suspicions {
		wg.Go(func() { answers[i] = r.one(ctx, server, s.q) })
	}
	wg.Wait()
	for i, s := range suspicions {
		if answers[i].result != SawAnswer {
			continue
		}
		if op, ok := s.read(answers[i]); ok {
			return op, true
		}
	}
	return opinion{}, false
}

// suspicions lists them by how sure they are: our own value at another name is proof, a
// record of another type at the right name is a hint.
func (r *run) suspicions(rec Record, q question) []suspicion {
	var list []suspicion
	asked := map[string]bool{rec.Name.s: true}
	elsewhere := func(name Name, code Code, zone Name) {
		if name.IsZero() || asked[name.s] {
			return
		}
		asked[name.s] = true
		list = append(list, suspicion{question{name.s, q.qtype}, func(a answer) (opinion, bool) {
			if !r.looksRight(rec, q, a) {
				return opinion{}, false
			}
			return opinion{told: true, code: code, where: name, hint: zone.s, found: located(name, rec.Type, a.values())}, true
		}})
	}
	zones := []Name{r.domain}
	if org := r.domain.Registrable(); org != r.domain && !org.IsZero() {
		zones = append(zones, org)
	}
	for _, zone := range zones {
		elsewhere(zone.Child(rec.Name.s), CodeDoubledZone, zone)
	}
	// Values of SPF, MX and DMARC are the same everywhere: found at another name they may
	// well be meant for it.
	if rec.Purpose.grants() && rec.Name.IsBelow(r.domain) {
		label := rec.Name.relativeTo(r.domain)
		for _, zone := range zones[1:] {
			elsewhere(zone.Child(label), CodeWrongZoneLevel, zone)
		}
		if rec.Purpose != DKIM {
			elsewhere(r.domain, CodeWrongZoneLevel, r.domain)
		}
	}
	if rec.Type == CNAME {
		for _, hint := range []struct {
			qtype uint16
			code  Code
		}{{dns.TypeTXT, CodeWrongType}, {dns.TypeA, CodeCNAMEFlattened}, {dns.TypeAAAA, CodeCNAMEFlattened}} {
			list = append(list, suspicion{question{rec.Name.s, hint.qtype}, func(a answer) (opinion, bool) {
				op := opinion{told: true, code: hint.code}
				for _, v := range a.values() {
					op.found = append(op.found, dns.TypeToString[hint.qtype]+" "+v)
				}
				return op, true
			}})
		}
	}
	// A TXT or MX that is a CNAME instead needs no question: its look-up went through it.
	return list
}

// located shows values together with the name they were found at.
func located(name Name, t Type, values []string) []string {
	var found []string
	for _, v := range values {
		found = append(found, name.s+". "+string(t)+" "+v)
	}
	return found
}
