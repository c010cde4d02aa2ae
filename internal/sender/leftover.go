package sender

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Tombstone is what is remembered of a deleted domain: which records it asked for,
// and which of them were still published when that was last looked at. Records that
// are left over clutter a zone, and tell who used to send for it; with their tokens
// nobody can prove anything any more.
type Tombstone struct {
	ID        ID // in the order of deletion
	Tenant    ID
	Domain    ID // as it was called; there is no such domain any more
	Name      dnscheck.Name
	Spelling  string
	Records   []Leftover
	DeletedAt time.Time
	CheckedAt time.Time // zero: not looked at since it was deleted
	NextCheck time.Time
}

// Leftover is one record of a deleted domain.
type Leftover struct {
	Record dnscheck.Record `json:"record"`
	There  bool            `json:"there"`           // it was published when last seen or looked for
	SeenAt time.Time       `json:"seenAt,omitzero"` // when it last was; zero: never
}

// Watched is how long after the deletion of a domain its records are looked for.
const Watched = 30 * 24 * time.Hour

// tombstonesKeep bounds the tombstones of a tenant: who registers and deletes
// domains all day must not keep us looking for all of them.
const tombstonesKeep = 200

// There reports whether any record is still published, as far as is known.
func (x Tombstone) There() bool {
	return slices.ContainsFunc(x.Records, func(l Leftover) bool { return l.There })
}

// see notes what a look found. What could not be told stays as it was; certain
// reports that every record could be told.
func (x *Tombstone) see(findings []dnscheck.Finding, at time.Time) (certain bool) {
	certain = true
	for i, l := range x.Records {
		j := slices.IndexFunc(findings, func(f dnscheck.Finding) bool {
			return f.Purpose == l.Record.Purpose && f.Region == l.Record.Region && f.Name == l.Record.Name && f.Type == l.Record.Type
		})
		switch {
		case j >= 0 && left(l.Record, findings[j]):
			x.Records[i].There, x.Records[i].SeenAt = true, at
		case j < 0 || findings[j].Outcome == dnscheck.Unknown:
			certain = false
		default:
			x.Records[i].There = false
		}
	}
	return certain
}

// left reports whether a finding shows the record: also on some of the servers only,
// or beside what makes it useless.
func left(r dnscheck.Record, f dnscheck.Finding) bool {
	if f.Outcome == dnscheck.Match || f.Code == dnscheck.CodeNSInconsistent {
		return true
	}
	include := includeOf(r)
	return slices.ContainsFunc(f.Observed, func(v string) bool {
		return v == f.Expected || include != "" && slices.Contains(strings.Fields(v), include)
	})
}

// same reports whether two records are one in the zone.
func same(a, b dnscheck.Record) bool {
	return a.Name == b.Name && a.Type == b.Type && a.Value == b.Value
}

// includeOf returns the mechanism of an SPF record that is ours.
func includeOf(r dnscheck.Record) string {
	if r.Purpose != dnscheck.SPF && r.Purpose != dnscheck.MailFromSPF {
		return ""
	}
	for term := range strings.FieldsSeq(r.Value) {
		if strings.HasPrefix(term, "include:") {
			return term
		}
	}
	return ""
}

// Remove is the sentence that says what is to be removed.
func (l Leftover) Remove() string {
	r := l.Record
	switch {
	case includeOf(r) != "":
		return fmt.Sprintf("Take %s out of the SPF record at %s, unless other mail of the domain still leaves by this service.", includeOf(r), r.Name)
	case r.Type == dnscheck.TXT:
		return fmt.Sprintf("Remove the TXT record %s at %s, and leave others of that name alone.", quote(r.Value), r.Name)
	default:
		return fmt.Sprintf("Remove the %s record at %s that points to %s.", r.Type, r.Name, r.Value)
	}
}

// bury leaves a tombstone of a domain that is about to be deleted.
func (s *Service) bury(ctx context.Context, tx Tx, d Domain) error {
	now := s.now()
	x := Tombstone{
		ID: NewID(), Tenant: d.Tenant, Domain: d.ID, Name: d.Name, Spelling: d.Spelling, DeletedAt: now,
		NextCheck: now.Add(s.settings.Verify.PendingClose), // who deletes it may be about to clear the zone
	}
	for _, r := range s.provider.Records(d) {
		// Regions may share a record.
		if !slices.ContainsFunc(x.Records, func(l Leftover) bool { return same(l.Record, r) }) {
			x.Records = append(x.Records, Leftover{Record: r})
		}
	}
	last, err := tx.LastCheck(ctx, d.Tenant, d.ID)
	if err != nil && KindOf(err) != NotFound {
		return err
	}
	x.see(last.Findings, last.At)
	return tx.InsertTombstone(ctx, x, tombstonesKeep)
}

// wanted takes the records away that a domain registered by the same name again asks
// for: those that do not depend on its tokens.
func (s *Service) wanted(ctx context.Context, r Reader, x Tombstone) (Tombstone, error) {
	d, err := r.DomainByName(ctx, x.Tenant, x.Name)
	if KindOf(err) == NotFound {
		return x, nil
	} else if err != nil {
		return x, err
	}
	again := s.provider.Records(d)
	x.Records = slices.DeleteFunc(slices.Clone(x.Records), func(l Leftover) bool {
		return slices.ContainsFunc(again, func(r dnscheck.Record) bool { return same(l.Record, r) })
	})
	return x, nil
}

// Leftovers lists the tenant's deleted domains of which records are still published,
// in the order of deletion, with those records alone.
func (s *Service) Leftovers(ctx context.Context, p Principal, tenant ID, page Page) ([]Tombstone, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return nil, err
	}
	all, err := s.store.Tombstones(ctx, tenant, Page{After: page.After}) // tombstonesKeep at most
	if err != nil {
		return nil, err
	}
	var found []Tombstone
	for _, x := range all {
		if page.Limit > 0 && len(found) == page.Limit {
			break
		}
		if !x.There() || s.now().Sub(x.DeletedAt) >= Watched {
			continue
		}
		if x, err = s.wanted(ctx, s.store, x); err != nil {
			return nil, err
		}
		x.Records = slices.DeleteFunc(x.Records, func(l Leftover) bool { return !l.There })
		if len(x.Records) > 0 {
			found = append(found, x)
		}
	}
	return found, nil
}

// WatchLeftovers looks for the records of up to limit deleted domains that are due,
// and returns how many there were. A tombstone goes when all of its records are
// gone, or when it is too old.
func (s *Service) WatchLeftovers(ctx context.Context, limit int) (int, error) {
	const lease = 10 * time.Minute
	const atATime = 4
	var due []Tombstone
	err := s.store.Update(ctx, func(tx Tx) error {
		var err error
		due, err = tx.ClaimDueTombstones(ctx, s.now(), s.now().Add(lease), limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	forEach(due, atATime, func(x Tombstone) {
		if err := s.watch(ctx, x); err != nil && ctx.Err() == nil && KindOf(err) != NotFound {
			s.log.Warn("records of a deleted domain could not be looked for; that is tried again soon", "tenant", x.Tenant, "domain", x.Domain, "error", err)
		}
	})
	return len(due), ctx.Err()
}

func (s *Service) watch(ctx context.Context, x Tombstone) error {
	x, err := s.wanted(ctx, s.store, x)
	if err != nil {
		return err
	}
	remove := func() error {
		return s.store.Update(ctx, func(tx Tx) error { return tx.DeleteTombstone(ctx, x.Tenant, x.ID) })
	}
	if len(x.Records) == 0 || s.now().Sub(x.DeletedAt) >= Watched {
		return remove()
	}
	want := make([]dnscheck.Record, len(x.Records))
	for i, l := range x.Records {
		want[i] = l.Record
	}
	began := time.Now()
	findings := s.checkerOf(Domain{Tenant: x.Tenant}, true).Look(ctx, x.Name, want, dnscheck.Thorough)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.canary != nil && slices.ContainsFunc(findings, func(f dnscheck.Finding) bool { return f.Outcome == dnscheck.Missing }) {
		if s.canary.Sick(ctx, began) != nil { // of a sick network nothing is to be believed
			return ctx.Err() // it is due again when the lease ends
		}
	}
	now := s.now()
	if certain := x.see(findings, now); certain && !x.There() {
		return remove()
	}
	x.CheckedAt = now
	x.NextCheck = now.Add(jitter(24 * time.Hour))
	if end := x.DeletedAt.Add(Watched); x.NextCheck.After(end) {
		x.NextCheck = end
	}
	return s.store.Update(ctx, func(tx Tx) error { return tx.UpdateTombstone(ctx, x) })
}
