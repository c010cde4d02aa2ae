package dnscheck

import (
	"context"
	"strings"

	"github.com/emersion/go-msgauth/dmarc"
	"github.com/miekg/dns"
)

// dmarcPolicies selects DMARC records among TXT records (RFC 7489, section 6.6.3): those
// whose first tag is v=DMARC1.
func dmarcPolicies(values []string) []string {
	var policies []string
	for _, v := range values {
		tag, _, _ := strings.Cut(v, ";")
		name, version, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(name) == "v" && strings.TrimSpace(version) == "DMARC1" {
			policies = append(policies, v)
		}
	}
	return policies
}

func dmarcCode(policies []string) Code {
	switch len(policies) {
	case 0:
		return CodeDMARCMissing
	case 1:
		if _, err := dmarc.Parse(policies[0]); err != nil {
			return CodeDMARCSyntax
		}
		return CodeMatch
	default:
		return CodeDMARCMultiple
	}
}

// dmarc accepts any valid policy, of the domain or inherited from its organizational domain.
func (r *run) dmarc(ctx context.Context, rec Record, a answer) opinion {
	if !a.told() || a.result == SawLoop {
		return compareAnswer(rec, nil, r.domain, a)
	}
	policies := dmarcPolicies(a.values())
	op := opinion{told: true, code: dmarcCode(policies), found: policies}
	if op.code == CodeDMARCMissing {
		org := r.domain.Registrable().Child("_dmarc")
		if !org.IsZero() && org != rec.Name {
			inherited := r.first(ctx, question{org.s, dns.TypeTXT})
			if !inherited.told() {
				return opinion{code: inherited.silenceCode()}
			}
			if policies := dmarcPolicies(inherited.values()); dmarcCode(policies) == CodeMatch {
				op = opinion{told: true, code: CodeMatch, found: policies, where: org}
			}
		}
	}
	op.match = op.code == CodeMatch
	return op
}
