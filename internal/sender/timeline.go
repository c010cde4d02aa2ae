package sender

import (
	"context"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// TimelineEntry is a change of what was seen of one record of a domain. Checks that
// see what was seen before add none.
type TimelineEntry struct {
	ID       ID               `json:"-"`
	Tenant   ID               `json:"-"`
	Domain   ID               `json:"-"`
	At       time.Time        `json:"-"`
	Purpose  dnscheck.Purpose `json:"purpose"`
	Region   string           `json:"region,omitzero"`
	Name     dnscheck.Name    `json:"name"`
	Type     dnscheck.Type    `json:"type"`
	Outcome  dnscheck.Outcome `json:"outcome"`
	Code     dnscheck.Code    `json:"code"`
	Presumed dnscheck.Code    `json:"presumed,omitzero"` // what those said that answered, where Outcome is unknown
	Observed []string         `json:"observed"`          // at most maxObserved, each cut at 255 octets
	Asked    []Asked          `json:"asked"`             // at most maxAsked
}

// Asked is one server that was asked, and how it answered.
type Asked struct {
	Server string `json:"server"` // host:port
	Role   string `json:"role"`   // authoritative or resolver
	Result string `json:"result"` // one of dnscheck's Saw constants
}

// Bounds of a time line. A record that flaps pushes out its own past, and that of
// the domain's other records: what counts for a proof is in the audit log as well.
const (
	timelineKeep = 200                 // entries of a domain
	timelineLife = 90 * 24 * time.Hour // of an entry
	maxObserved  = 8
	maxAsked     = 12
)

// changes returns an entry for each finding that differs from the last one about the
// same record, or is the first.
func changes(last, now []dnscheck.Finding, d Domain, at time.Time) []TimelineEntry {
	var entries []TimelineEntry
	for _, f := range now {
		i := slices.IndexFunc(last, func(o dnscheck.Finding) bool {
			return o.Purpose == f.Purpose && o.Region == f.Region && o.Name == f.Name && o.Type == f.Type
		})
		if i >= 0 && sameSeen(last[i], f) {
			continue
		}
		e := TimelineEntry{
			ID: NewID(), Tenant: d.Tenant, Domain: d.ID, At: at, Purpose: f.Purpose, Region: f.Region, Name: f.Name, Type: f.Type,
			Outcome: f.Outcome, Code: f.Code, Presumed: f.Presumed,
		}
		for _, v := range f.Observed[:min(len(f.Observed), maxObserved)] {
			e.Observed = append(e.Observed, v[:min(len(v), 255)])
		}
		for _, s := range f.Seen[:min(len(f.Seen), maxAsked)] {
			e.Asked = append(e.Asked, Asked{s.Server, s.Role, s.Result})
		}
		entries = append(entries, e)
	}
	return entries
}

// sameSeen compares what was seen, in whatever order the values came.
func sameSeen(a, b dnscheck.Finding) bool {
	return a.Outcome == b.Outcome && a.Code == b.Code && a.Presumed == b.Presumed && a.Expected == b.Expected &&
		slices.Equal(slices.Sorted(slices.Values(a.Observed)), slices.Sorted(slices.Values(b.Observed)))
}

// Timeline lists the changes of what was seen of a domain's records, the newest
// first: page.After is the last entry of the page before.
func (s *Service) Timeline(ctx context.Context, p Principal, tenant, id ID, page Page) ([]TimelineEntry, error) {
	if _, _, err := s.domain(ctx, p, tenant, id, RoleReader); err != nil {
		return nil, err
	}
	return s.store.Timeline(ctx, tenant, id, page)
}

// ForgetEvidence removes what time lines are not to show any more.
func (s *Service) ForgetEvidence(ctx context.Context) error {
	const batch = 1000
	for {
		var n int
		err := s.store.Update(ctx, func(tx Tx) error {
			var err error
			n, err = tx.ForgetTimeline(ctx, s.now().Add(-timelineLife), batch)
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
}
