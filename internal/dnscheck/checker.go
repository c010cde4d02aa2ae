package dnscheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	defaultQuorum       = 2
	defaultCheckTimeout = 3 * time.Second
	// authoritativeTimeout leaves room for a dead name server and its resolvers after it.
	authoritativeTimeout = 6 * time.Second
	// MaxChecked bounds the records of one check; a domain in four regions has about 20.
	MaxChecked = 200
	// maxFollowUps bounds the questions that explain an answer or evaluate SPF, counted per
	// server: a hostile SPF record alone could ask for hundreds.
	maxFollowUps = 400
	// maxQuestions bounds all questions of an authoritative check, whoever they are put to.
	maxQuestions = 3000
	// maxOctets bounds the records of all answers of name servers, and of those to follow-ups: a
	// server may send 64 KiB for each question. A large domain on many servers has some 200 KiB.
	maxOctets = 4 << 20
)

// Mode says whom a Checker asks about records.
type Mode string

const (
	// ModeResolver asks the resolvers only, for sites where outbound port 53 is blocked. It
	// is what the zero Mode means.
	ModeResolver Mode = "resolver"
	// ModeAuthoritative asks the name servers of the zone directly, and the resolvers only
	// after one of those has the record or when none could be reached. It is the product's
	// default: the program's configuration sets it.
	ModeAuthoritative Mode = "authoritative"
)

// CheckerConfig says how a Checker works. Only Resolver is required.
type CheckerConfig struct {
	// Resolver finds the name servers in authoritative mode, and is the witness in the other.
	Resolver *Resolver
	// Quorum is how many independent paths must see an ownership, environment or DKIM record
	// before it counts; 0 means 2. A path is a resolver, or in authoritative mode a name
	// server with an address of its own. 1 is for tests and for a single trusted resolver.
	Quorum int
	// Timeout bounds a whole check; 0 means 3 s, in authoritative mode 6 s. What is not known
	// by then is Unknown.
	Timeout time.Duration
	// Mode is ModeResolver or ModeAuthoritative; empty means ModeResolver.
	Mode Mode
	// AuthoritativeMap says as host:port where a name server's address really listens, for
	// laboratories. Addresses in it are never refused.
	AuthoritativeMap map[netip.Addr]string
	// AllowPrivateNS allows name servers at private, loopback, link-local and shared addresses.
	AllowPrivateNS bool
	// TrustAD names resolvers, as in ResolverConfig.Servers, whose AD bit (RFC 4035, section
	// 3.2.3) is proof and worth a quorum: they validate, and nobody sits between them and us.
	// None is trusted by itself, not at a loopback address either: forwarders hand on what
	// somebody else claims.
	TrustAD []string
	// LookInside asks resolvers for what no name server has, to find internal views of a zone.
	// The questions are put without recursion and leave nothing in caches of resolvers that
	// keep to the rules; those that do not would remember that the record is missing. So it is
	// for people who look once, not for a server that waits for records.
	LookInside bool
	// MaxQuestions bounds the questions of one check in authoritative mode; 0 means 3000.
	MaxQuestions int
	// ZoneRate and ZoneBurst bound the questions a second to the servers of one zone over all
	// checks, and all askers; 0 means 50 and 600. One name server, which may have many zones, gets at most ten
	// times that. The zones of our own targets are not limited.
	ZoneRate, ZoneBurst int
	// ExplainEvery spares a Glance the many questions that look for why a record is missing: for so
	// long after they were answered in vain, it does not ask them again where it finds the
	// same. What explains something is never remembered. 0: a Glance is Thorough.
	ExplainEvery time.Duration
}

// Checker compares what owners published with what we asked for. It is safe for concurrent
// use. Between checks it keeps the rates of questions, a hearsay, and which questions were
// asked in vain.
type Checker struct {
	resolver      *Resolver
	quorum        int
	timeout       time.Duration
	authoritative bool
	addressMap    map[netip.Addr]string
	allowPrivate  bool
	lookInside    bool
	trustAD       map[string]bool
	maxQuestions  int
	payer         string // whose part of the rates questions take
	*memory
}

// memory is what checks leave behind.
type memory struct {
	zones   throttle
	servers throttle
	vain    vain
	hearsay hearsay
}

// For is the same Checker on behalf of one of many who share it, such as a customer. Where
// questions have to wait for one another, or are too many, each asker has an equal part, so
// that none of them can keep the others' from being asked; the Checker itself has half.
func (c *Checker) For(asker string) *Checker {
	own := *c
	own.resolver, own.payer = c.resolver.as(asker), asker
	return &own
}

// Watch is For an asker at times that are not for the asker to choose. How many questions that
// takes is bounded, so they are taken to be the Checker's own; how long their answers take
// isn't, and where they have to wait it is for one another.
func (c *Checker) Watch(asker string) *Checker {
	own := *c
	own.resolver = c.resolver.as("watch " + asker)
	return &own
}

// NewChecker refuses a quorum that the number of servers cannot reach: every grant would
// stay Unknown for ever, and lowering the quorum in silence would weaken the proof.
func NewChecker(c CheckerConfig) (*Checker, error) {
	if c.Resolver == nil {
		return nil, errors.New("checker: no resolver")
	}
	k := &Checker{
		resolver: c.Resolver, quorum: cmp.Or(c.Quorum, defaultQuorum), timeout: c.Timeout,
		allowPrivate: c.AllowPrivateNS, lookInside: c.LookInside, addressMap: make(map[netip.Addr]string), trustAD: make(map[string]bool),
		maxQuestions: cmp.Or(c.MaxQuestions, maxQuestions),
		memory:       &memory{vain: vain{every: c.ExplainEvery, seed: maphash.MakeSeed(), until: make(map[uint64]time.Time)}},
	}
	k.zones.rate, k.zones.burst = float64(cmp.Or(c.ZoneRate, zoneRate)), float64(cmp.Or(c.ZoneBurst, zoneBurst))
	k.servers.rate, k.servers.burst = 10*k.zones.rate, 10*k.zones.burst
	switch c.Mode {
	case "", ModeResolver:
		k.timeout = cmp.Or(k.timeout, defaultCheckTimeout)
	case ModeAuthoritative:
		k.authoritative = true
		k.timeout = cmp.Or(k.timeout, authoritativeTimeout)
	default:
		return nil, fmt.Errorf("checker: mode %s is neither %q nor %q", quote(string(c.Mode)), ModeAuthoritative, ModeResolver)
	}
	if k.timeout < 0 {
		return nil, errors.New("checker: timeout must be positive")
	}
	if c.MaxQuestions < 0 || c.ZoneRate < 0 || c.ZoneBurst < 0 {
		return nil, errors.New("checker: limits of questions must be positive")
	}
	if n := len(c.Resolver.servers); k.quorum < 1 || k.quorum > n && !k.authoritative && len(c.TrustAD) == 0 {
		return nil, fmt.Errorf("checker: a quorum of %d cannot be reached with %d resolvers: configure more resolvers, or a quorum of 1 for tests", c.Quorum, n)
	}
	for addr, at := range c.AuthoritativeMap {
		if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" || !addr.IsValid() {
			return nil, fmt.Errorf("checker: the name server %s is mapped to %s, which is not host:port", addr, quote(at))
		}
		k.addressMap[addr.Unmap()] = at
	}
	for _, s := range c.TrustAD {
		s = withPort(s)
		if !slices.Contains(c.Resolver.servers, s) {
			return nil, fmt.Errorf("checker: the AD bit of %s shall be trusted, but it is no resolver", quote(s))
		}
		k.trustAD[s] = true
	}
	return k, nil
}

// Care says what a look at records is for, and so what it asks.
type Care uint8

const (
	// Thorough looks for why a record is missing, too.
	Thorough Care = iota
	// Glance is for those who look often, and at states rather than at explanations: what
	// explains an absence may be found later; see CheckerConfig.ExplainEvery.
	Glance
	// Confirm looks for records again that were not found, before that takes something away.
	// It rests on nothing that was heard before, and asks no questions that only explain: its
	// findings may have a less telling Code and Fix.
	Confirm
)

// Check is a thorough Look.
func (c *Checker) Check(ctx context.Context, domain Name, want []Record) []Finding {
	return c.Look(ctx, domain, want, Thorough)
}

// Look asks for every record of the list and returns one Finding for each, in order. It
// never fails: what could not be learnt is Unknown. Each (name, type) is asked once of each
// server, all in parallel; more questions follow only where an answer was negative, and for
// SPF. Looks at the same domain at the same time are not joined.
func (c *Checker) Look(ctx context.Context, domain Name, want []Record, care Care) []Finding {
	return c.newRun(domain).lookAll(ctx, want, care)
}

func (r *run) lookAll(ctx context.Context, want []Record, care Care) []Finding {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	r.care, r.list = care, want[:min(len(want), MaxChecked)]
	findings := make([]Finding, len(want))
	var wg sync.WaitGroup
	for i, rec := range want {
		if i >= MaxChecked {
			findings[i] = unasked(rec, fmt.Sprintf("This record was not looked at, because a check covers at most %d records.", MaxChecked))
			continue
		}
		wg.Go(func() { findings[i] = r.check(ctx, rec) })
	}
	wg.Wait()
	return findings
}

// question returns what is asked for a record. A type that we do not know is asked as TXT.
func (r Record) question() question {
	switch r.Type {
	case CNAME:
		return question{r.Name.s, dns.TypeCNAME}
	case MX:
		return question{r.Name.s, dns.TypeMX}
	default:
		return question{r.Name.s, dns.TypeTXT}
	}
}

func unasked(rec Record, fix string) Finding {
	return Finding{
		Purpose: rec.Purpose, Region: rec.Region, Name: rec.Name, Type: rec.Type, Expected: rec.Expected(),
		Outcome: Unknown, Code: CodeTimeout, Observed: []string{}, Seen: []Sight{}, Fix: fix,
	}
}

func (c *Checker) newRun(domain Name) *run {
	return &run{
		Checker: c, domain: domain,
		flights: make(map[flightKey]any),
		health:  make(map[netip.Addr]int),
		gates:   make(map[string]*gate),
	}
}

// run is one check: its questions are asked once, its follow-ups are counted.
type run struct {
	*Checker
	domain Name
	care   Care
	list   []Record // what is checked

	mu        sync.Mutex
	flights   map[flightKey]any  // of *flight
	health    map[netip.Addr]int // see illness
	gates     map[string]*gate   // by zone and server
	random    string             // randomLabel
	followUps atomic.Int64
	questions atomic.Int64
	octets    atomic.Int64
}

// flightKey is a question and whom it was put to: "all", "first", or a server.
type flightKey struct {
	q   question
	who string
}

type flight[T any] struct {
	done  chan struct{}
	value T
}

// once makes all callers with the same key share one call of ask. An ask may wait for
// others, but never in a circle.
func once[T any](r *run, key flightKey, ask func() T) T {
	r.mu.Lock()
	f, running := r.flights[key].(*flight[T])
	if !running {
		f = &flight[T]{done: make(chan struct{})}
		r.flights[key] = f
	}
	r.mu.Unlock()
	if running {
		<-f.done // bounded: every question ends with the context of the check
		return f.value
	}
	defer close(f.done)
	f.value = ask()
	return f.value
}

// wanted are the records of the check that a question is about.
func (r *run) wanted(q question) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, rec := range r.list {
			if rec.question() == q && !yield(rec) {
				return
			}
		}
	}
}

// all puts the question of a wanted record to every resolver.
func (r *run) all(ctx context.Context, q question) []answer {
	return once(r, flightKey{q, "all"}, func() []answer {
		return r.resolver.gather(ctx, q, func(got []answer) (time.Duration, bool) { return linger, r.decided(q, got) })
	})
}

// first puts a follow-up question to every resolver and takes the first good answer. In
// authoritative mode, what is the owner's own is asked of the owner's servers: of one where it
// has something, else of all.
func (r *run) first(ctx context.Context, q question) answer {
	if !r.authoritative || !within(q.name, r.organization().s) {
		return r.firstResolver(ctx, q)
	}
	a := r.trail(ctx, q)
	if a.result != SawNXDOMAIN && a.result != SawNODATA {
		return a
	}
	for _, b := range r.everyone(ctx, q) {
		if b.result == SawAnswer {
			return b
		}
		if !b.told() { // it may know better
			a = b
		}
	}
	return a
}

// everyone puts a follow-up question to all of the owner's servers that count, or all resolvers:
// something is absent only where all say so.
func (r *run) everyone(ctx context.Context, q question) []answer {
	if !r.authoritative {
		return slices.DeleteFunc(slices.Clone(r.poll(ctx, q, false)), func(a answer) bool { return a.skipped })
	}
	s := once(r, flightKey{q, "survey"}, func() survey { return r.survey(ctx, q, asking{all: true}) })
	answers := whoCounts(s.rows)
	if !slices.ContainsFunc(answers, func(a answer) bool { return a.result == SawAnswer }) {
		answers = slices.Concat(answers, whoCounts(r.surveyParent(ctx, q, asking{all: true})))
	}
	if slices.ContainsFunc(answers, answer.told) {
		return answers
	}
	a := r.trail(ctx, q)
	if a.told() {
		return []answer{a}
	}
	if len(answers) > 0 { // what they did says more than what resolvers make of it
		return answers
	}
	if i := slices.IndexFunc(s.rows, answer.lame); i >= 0 {
		a = s.rows[i]
	}
	return []answer{a}
}

// whoCounts selects the answers of the servers that count.
func whoCounts(rows []answer) []answer {
	spoke := make(map[string]bool)
	for _, a := range rows {
		spoke[a.host] = spoke[a.host] || a.told()
	}
	return slices.DeleteFunc(slices.Clone(rows), func(a answer) bool {
		return a.width == 0 || a.next != "" || a.lame() || !a.told() && (spoke[a.host] || a.detail == noRoute)
	})
}

func (r *run) firstResolver(ctx context.Context, q question) answer {
	return once(r, flightKey{q, "first"}, func() answer {
		if !r.mayAsk(len(r.resolver.servers)) {
			return answer{result: SawLimit}
		}
		a := r.resolver.first(ctx, q)
		if !r.mayKeep(a) {
			return answer{server: a.server, result: SawLimit}
		}
		return a
	})
}

// organization is the registrable domain, or the domain itself where there is none.
func (r *run) organization() Name {
	if org := r.domain.Registrable(); !org.IsZero() {
		return org
	}
	return r.domain
}

// trail asks the authoritative servers of a name until one answers; the resolvers where
// none can be reached.
func (r *run) trail(ctx context.Context, q question) answer {
	a := r.source(ctx, q)
	if a.told() || a.result == SawLimit || slices.ContainsFunc(r.list, func(rec Record) bool { return rec.Name.s == q.name }) {
		return a // a name that may be pending is not asked of resolvers, whatever the type
	}
	return r.firstResolver(ctx, q)
}

// source is trail without resolvers: for what may not be there yet, like the keys behind our
// own targets, so that no cache learns that it is missing.
func (r *run) source(ctx context.Context, q question) answer { return r.sourceAs(ctx, q, asking{}) }

// behindWait bounds the look behind a record that is right: what it adds, that something of ours
// is missing, is worth little time of those who wait for the record.
const behindWait = time.Second

// behind is source for what a CNAME of ours leads to.
func (r *run) behind(ctx context.Context, q question) answer {
	return r.sourceAs(ctx, q, asking{away: behindWait})
}

func (r *run) sourceAs(ctx context.Context, q question, how asking) answer {
	return once(r, flightKey{q, "source " + how.away.String()}, func() answer {
		switch {
		case !r.authoritative:
			return answer{result: SawTimeout}
		case !r.mayAsk(1):
			return answer{result: SawLimit}
		}
		s := r.survey(ctx, q, how)
		for _, a := range s.rows {
			if a.told() && a.next == "" {
				return a
			}
		}
		if len(s.rows) == 0 && (s.zone.absent != "" || s.zone.nowhere) {
			return answer{result: SawNXDOMAIN}
		}
		return answer{result: SawTimeout}
	})
}

// one puts a follow-up question to one resolver that is known to answer; in authoritative
// mode to the servers of the name.
func (r *run) one(ctx context.Context, server string, q question) answer {
	if r.authoritative {
		return r.trail(ctx, q)
	}
	return once(r, flightKey{q, server}, func() answer {
		if !r.mayAsk(1) {
			return answer{server: server, result: SawLimit}
		}
		return r.resolver.ask(ctx, server, q)
	})
}

func (r *run) mayAsk(n int) bool { return r.followUps.Add(int64(n)) <= maxFollowUps }

// mayAskAny counts every question of an authoritative check.
func (r *run) mayAskAny() bool { return r.questions.Add(1) <= int64(r.maxQuestions) }

// mayKeep counts what an answer takes.
func (r *run) mayKeep(a answer) bool {
	n := 0
	for _, rr := range a.records {
		n += dns.Len(rr)
	}
	return r.octets.Add(int64(n)) <= maxOctets
}

// decided tells whether the answers so far make every record behind q a match, so that slow
// servers can only add notes. Negative answers never decide early: all servers must speak.
func (r *run) decided(q question, got []answer) bool {
	for rec := range r.wanted(q) {
		need, n := 1, 0
		switch {
		case rec.Purpose.grants():
			need = r.quorum
		case rec.isSPF():
			need = len(r.resolver.servers)/2 + 1 // a guess, so it must not rest on one server
		}
		for _, a := range got {
			if r.looksRight(rec, q, a) {
				n++
			}
		}
		if n < need {
			return false
		}
	}
	return true
}

func (r *run) looksRight(rec Record, q question, a answer) bool {
	switch {
	case a.alias != "":
		return false
	case rec.isSPF():
		return plausibleSPF(a.values(), includeTarget(rec.Value))
	case rec.Purpose == DMARC:
		return dmarcCode(dmarcPolicies(a.values())) == CodeMatch
	default:
		return compareAnswer(rec, r.ours(rec), r.domain, a).match
	}
}

func (r Record) isSPF() bool { return r.Purpose == SPF || r.Purpose == MailFromSPF }

// check looks at one record.
func (r *run) check(ctx context.Context, rec Record) Finding {
	if rec.Name.IsZero() {
		return unasked(rec, "This record has no name, most likely because the domain is too long for it: names end at 253 characters")
	}
	q := rec.question()
	hear := r.hearResolvers
	if r.authoritative {
		hear = r.hearAuthorities
	}
	v, answers, opinions := hear(ctx, rec, q)
	if v.why.told && ctx.Err() == nil {
		r.lookFurther(ctx, rec, q, &v)
	}
	f := Finding{
		Purpose: rec.Purpose, Region: rec.Region, Name: rec.Name, Type: rec.Type,
		Outcome: v.outcome, Code: v.code, Expected: rec.Expected(),
		Observed: observed(opinions, v.why), Seen: make([]Sight, len(answers)),
	}
	for i, a := range answers {
		f.Seen[i] = a.sight()
	}
	if v.retry > 0 {
		f.RetryAt = time.Now().Add(v.retry).UTC().Truncate(time.Second)
	}
	if v.outcome == Unknown && v.why.told && !v.why.match && v.why.code != v.code && v.code != CodeNegativeCached && v.code != CodeCachedOld {
		f.Presumed = v.why.code
	}
	f.WaitingHelps = v.outcome == Unknown || v.waiting || v.retry > 0 && waitable(v.code)
	// The form that an owner types into belongs to the zone that holds the name, unless that
	// is above the domain as a whole.
	if v.zone != nil && within(rec.Name.s, v.zone.apex) && within(v.zone.apex, r.organization().s) {
		v.why.zone = Name{v.zone.apex}
	}
	f.Fix = explain(rec, r.domain, v, f.RetryAt)
	return f
}

// hearResolvers asks the resolvers alone.
func (r *run) hearResolvers(ctx context.Context, rec Record, q question) (verdict, []answer, []opinion) {
	answers := slices.Clone(r.all(ctx, q))
	opinions := r.opinions(ctx, rec, q, answers)
	r.prove(answers)
	return judge(rec, r.quorum, answers, opinions), answers, opinions
}

// prove marks the answers whose AD bit counts.
func (r *run) prove(answers []answer) {
	for i := range answers {
		answers[i].proven = answers[i].valid && r.trustAD[answers[i].server]
	}
}

// opinions judges each answer for itself.
func (r *run) opinions(ctx context.Context, rec Record, q question, answers []answer) []opinion {
	opinions := make([]opinion, len(answers))
	if len(answers) == 1 {
		if a := answers[0]; a.next == "" {
			opinions[0] = r.opine(ctx, rec, q, a)
		}
		return opinions
	}
	memo := make(map[string]opinion) // servers mostly say the same, and SPF is dear
	for i, a := range answers {
		if a.next != "" {
			continue // judged by what the servers say that it leads to
		}
		key := a.result + "\x00" + a.dname + "\x00" + a.alias + "\x00" + strings.Join(a.chain, "\x00") + "\x00\x00" + strings.Join(a.values(), "\x00")
		op, ok := memo[key]
		if !ok || !a.told() {
			op = r.opine(ctx, rec, q, a)
			memo[key] = op
		}
		opinions[i] = op
	}
	return opinions
}

// lookFurther asks further questions where they can explain a bad verdict or spoil a good one.
func (r *run) lookFurther(ctx context.Context, rec Record, q question, v *verdict) {
	cached := v.code == CodeNegativeCached || v.code == CodeCachedOld
	switch {
	case cached && v.outcome == Match && rec.Type == CNAME: // that what it refers to is missing says less than the caches
		if op, ok := r.doubt(ctx, rec, v); ok && !op.match {
			v.why, v.code, v.outcome = op, op.code, op.code.Outcome()
		}
	case cached || v.code == CodeNSInconsistent || v.code == CodeNotDelegated:
	case v.why.match && v.outcome == Match:
		if op, ok := r.doubt(ctx, rec, v); ok {
			v.why, v.code = op, op.code
			if !op.match {
				v.outcome = op.code.Outcome()
			}
		}
	case !v.why.match && r.care != Confirm && probed(v.why.code):
		op, ok := r.investigate(ctx, rec, q, *v)
		if !ok {
			return
		}
		v.why = op
		switch {
		case op.code == CodeSplitHorizon:
			v.code, v.outcome = op.code, Unknown
		case v.outcome != Unknown:
			v.code, v.outcome = op.code, op.code.Outcome()
		}
	}
}

// waitable tells whether a missing record may only be hidden by a negative cache. What was
// found in a wrong place stays wrong however long one waits.
func waitable(c Code) bool {
	return c == CodeNXDOMAIN || c == CodeNODATA || c == CodeSPFMissing || c == CodeDMARCMissing || c == CodeNegativeCached || c == CodeCachedOld
}

func (r *run) opine(ctx context.Context, rec Record, q question, a answer) opinion {
	switch {
	case a.alias != "": // receivers see one or the other
		return opinion{told: true, code: CodeCNAMEWithOtherData, found: targets([]string{a.alias})}
	case rec.isSPF():
		return r.spf(ctx, rec, a)
	case rec.Purpose == DMARC:
		return r.dmarc(ctx, rec, a)
	default:
		return compareAnswer(rec, r.ours(rec), r.domain, a)
	}
}

// ours lists the records of the same purpose: values that are ours, of whatever region.
func (r *run) ours(rec Record) []Record {
	var ours []Record
	for _, o := range r.list {
		if o.Purpose == rec.Purpose && o.Type == rec.Type {
			ours = append(ours, o)
		}
	}
	return ours
}
