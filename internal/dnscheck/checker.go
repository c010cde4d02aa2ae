package dnscheck

import (
	"context"
	"errors"
	"fmt"
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
	// maxChecked bounds the records of one check; a domain in four regions has about 20.
	maxChecked = 200
	// maxFollowUps bounds the questions that explain an answer or evaluate SPF, counted per
	// server: a hostile SPF record alone could ask for hundreds.
	maxFollowUps = 400
)

// CheckerConfig says how a Checker works. Only Resolver is required.
type CheckerConfig struct {
	Resolver *Resolver
	// Quorum is how many servers must see an ownership or environment record before it
	// counts; 0 means 2. 1 is for tests and for a single trusted resolver.
	Quorum int
	// Timeout bounds a whole check; 0 means 3 s. What is not known by then is Unknown.
	Timeout time.Duration
}

// Checker compares what owners published with what we asked for. It is safe for concurrent
// use and keeps nothing between checks.
type Checker struct {
	resolver *Resolver
	quorum   int
	timeout  time.Duration
}

// NewChecker refuses a quorum that the number of servers cannot reach: every grant would
// stay Unknown for ever, and lowering the quorum in silence would weaken the proof.
func NewChecker(c CheckerConfig) (*Checker, error) {
	if c.Resolver == nil {
		return nil, errors.New("checker: no resolver")
	}
	if c.Quorum == 0 {
		c.Quorum = defaultQuorum
	}
	if c.Timeout == 0 {
		c.Timeout = defaultCheckTimeout
	}
	if c.Timeout < 0 {
		return nil, errors.New("checker: timeout must be positive")
	}
	if n := len(c.Resolver.servers); c.Quorum < 1 || c.Quorum > n {
		return nil, fmt.Errorf("checker: a quorum of %d cannot be reached with %d resolvers: configure more resolvers, or a quorum of 1 for tests", c.Quorum, n)
	}
	return &Checker{resolver: c.Resolver, quorum: c.Quorum, timeout: c.Timeout}, nil
}

// Check asks for every record of the list and returns one Finding for each, in order. It
// never fails: what could not be learnt is Unknown. Each (name, type) is asked once of each
// server, all in parallel; more questions follow only where an answer was negative, and for
// SPF. Checks of the same domain at the same time are not joined.
func (c *Checker) Check(ctx context.Context, domain Name, want []Record) []Finding {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r := &run{
		resolver: c.resolver, quorum: c.quorum, domain: domain,
		wanted:  make(map[question][]Record),
		flights: make(map[flightKey]*flight),
	}
	for i, rec := range want {
		if i < maxChecked {
			q := rec.question()
			r.wanted[q] = append(r.wanted[q], rec)
		}
	}
	findings := make([]Finding, len(want))
	var wg sync.WaitGroup
	for i, rec := range want {
		if i >= maxChecked {
			findings[i] = unasked(rec, fmt.Sprintf("This record was not looked at, because a check covers at most %d records", maxChecked))
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

// run is one check: its questions are asked once, its follow-ups are counted.
type run struct {
	resolver *Resolver
	quorum   int
	domain   Name
	wanted   map[question][]Record // written before the check begins

	mu        sync.Mutex
	flights   map[flightKey]*flight
	followUps atomic.Int64
}

// flightKey is a question and whom it was put to: "all", "first", or a server.
type flightKey struct {
	q   question
	who string
}

type flight struct {
	done    chan struct{}
	answers []answer
}

// once makes all callers with the same key share one call of ask.
func (r *run) once(key flightKey, ask func() []answer) []answer {
	r.mu.Lock()
	f, running := r.flights[key]
	if !running {
		f = &flight{done: make(chan struct{})}
		r.flights[key] = f
	}
	r.mu.Unlock()
	if running {
		<-f.done // bounded: every question ends with the context of the check
		return f.answers
	}
	defer close(f.done)
	f.answers = ask()
	return f.answers
}

// all puts the question of a wanted record to every server.
func (r *run) all(ctx context.Context, q question) []answer {
	return r.once(flightKey{q, "all"}, func() []answer {
		return r.resolver.gather(ctx, q, func(got []answer) (time.Duration, bool) { return linger, r.decided(q, got) })
	})
}

// first puts a follow-up question to every server and takes the first good answer.
func (r *run) first(ctx context.Context, q question) answer {
	return r.once(flightKey{q, "first"}, func() []answer {
		if !r.mayAsk(len(r.resolver.servers)) {
			return []answer{{result: SawLimit}}
		}
		return []answer{r.resolver.first(ctx, q)}
	})[0]
}

// one puts a follow-up question to one server that is known to answer.
func (r *run) one(ctx context.Context, server string, q question) answer {
	return r.once(flightKey{q, server}, func() []answer {
		if !r.mayAsk(1) {
			return []answer{{server: server, result: SawLimit}}
		}
		return []answer{r.resolver.ask(ctx, server, q)}
	})[0]
}

func (r *run) mayAsk(n int) bool { return r.followUps.Add(int64(n)) <= maxFollowUps }

// decided tells whether the answers so far make every record behind q a match, so that slow
// servers can only add notes. Negative answers never decide early: all servers must speak.
func (r *run) decided(q question, got []answer) bool {
	for _, rec := range r.wanted[q] {
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
	case rec.isSPF():
		return plausibleSPF(a.values(), includeTarget(rec.Value))
	case rec.Purpose == DMARC:
		return dmarcCode(dmarcPolicies(a.values())) == CodeMatch
	default:
		return compareAnswer(rec, r.wanted[q], r.domain, a).match
	}
}

func (r Record) isSPF() bool { return r.Purpose == SPF || r.Purpose == MailFromSPF }

// check looks at one record.
func (r *run) check(ctx context.Context, rec Record) Finding {
	if rec.Name.IsZero() {
		return unasked(rec, "This record has no name, most likely because the domain is too long for it: names end at 253 characters")
	}
	q := rec.question()
	answers := r.all(ctx, q)
	opinions := make([]opinion, len(answers))
	memo := make(map[string]opinion) // servers mostly say the same, and SPF is dear
	for i, a := range answers {
		key := a.result + "\x00" + strings.Join(a.chain, "\x00") + "\x00\x00" + strings.Join(a.values(), "\x00")
		op, ok := memo[key]
		if !ok || !a.told() {
			op = r.opine(ctx, rec, q, a)
			memo[key] = op
		}
		opinions[i] = op
	}
	v := judge(rec, r.quorum, answers, opinions)
	if v.why.code.Outcome() == Missing && v.code != CodeNegativeCached && ctx.Err() == nil {
		if op, ok := r.investigate(ctx, rec, q, v.witness); ok {
			v.why = op
			if v.outcome != Unknown {
				v.code, v.outcome = op.code, op.code.Outcome()
			}
		}
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
	f.WaitingHelps = v.outcome == Unknown || v.retry > 0 && waitable(v.code)
	f.Fix = explain(rec, r.domain, v, f.RetryAt)
	return f
}

// waitable tells whether a missing record may only be hidden by a negative cache. What was
// found in a wrong place stays wrong however long one waits.
func waitable(c Code) bool {
	return c == CodeNXDOMAIN || c == CodeNODATA || c == CodeSPFMissing || c == CodeDMARCMissing
}

func (r *run) opine(ctx context.Context, rec Record, q question, a answer) opinion {
	switch {
	case rec.isSPF():
		return r.spf(ctx, rec, a)
	case rec.Purpose == DMARC:
		return r.dmarc(ctx, rec, a)
	default:
		return compareAnswer(rec, r.wanted[q], r.domain, a)
	}
}

// verdict is what all servers together say about a record.
type verdict struct {
	outcome Outcome
	code    Code
	why     opinion       // the opinion that the sentence explains; zero when no server told anything
	witness string        // a server that holds it
	silent  []string      // servers that told nothing, with the reason
	retry   time.Duration // how long caches may hold the negative or old answer
}

// judge weighs the servers' opinions. A grant needs a quorum of matches, everything else
// one. Something is missing or wrong only when every server says so; as long as one is
// silent, it may be the one that knows better.
func judge(rec Record, quorum int, answers []answer, opinions []opinion) verdict {
	need := 1
	if rec.Purpose.grants() {
		need = quorum
	}
	var v verdict
	var matches, against, waiting int
	var silence []Code
	votes := make(map[Code]int)
	for i, op := range opinions {
		switch {
		case !op.told && answers[i].skipped:
			waiting++
		case !op.told:
			silence = append(silence, op.code)
			v.silent = append(v.silent, answers[i].server+" ("+silenceWord(answers[i], op)+")")
		case op.match:
			matches++
			if matches == 1 {
				v.why, v.witness = op, answers[i].server
			}
		default:
			against++
			votes[op.code]++
		}
	}
	if matches >= need {
		v.outcome, v.code = Match, v.why.code
		return v
	}
	v.outcome = Unknown
	if against > 0 {
		var i int
		v.why, i = majority(opinions, votes)
		v.witness = answers[i].server
		for i, op := range opinions {
			if !op.told || op.match {
				continue
			}
			if answers[i].result != SawAnswer || matches > 0 {
				v.retry = max(v.retry, answers[i].ttl)
			}
		}
	}
	switch {
	case matches > 0 && against > 0:
		v.code = CodeCachedOld
		if v.why.code.Outcome() == Missing {
			v.code = CodeNegativeCached
		}
	case len(silence) > 0:
		v.code = worstSilence(silence)
	case against <= waiting:
		v.code = CodeTimeout
	default:
		v.code, v.outcome = v.why.code, v.why.code.Outcome()
		if v.outcome == "" {
			v.outcome = Mismatch // a DKIM key published directly is the owner's
		}
	}
	return v
}

// majority returns an opinion with the code that most servers hold; of equals the one
// that shows something wrong rather than nothing at all.
func majority(opinions []opinion, votes map[Code]int) (opinion, int) {
	at := -1
	for i, op := range opinions {
		if !op.told || op.match {
			continue
		}
		if at < 0 || votes[op.code] > votes[opinions[at].code] ||
			votes[op.code] == votes[opinions[at].code] && op.code.Outcome() != Missing && opinions[at].code.Outcome() == Missing {
			at = i
		}
	}
	return opinions[at], at
}

// worstSilence picks the reason that tells most about what is wrong.
func worstSilence(codes []Code) Code {
	for _, c := range []Code{CodeDNSSECBogus, CodeSERVFAIL, CodeTimeout} {
		if slices.Contains(codes, c) {
			return c
		}
	}
	return CodeNSLame
}

func silenceWord(a answer, op opinion) string {
	if a.told() { // the server answered, a question behind it (SPF, DMARC) got nowhere
		return strings.ToLower(string(op.code))
	}
	return a.result
}

// observed lists the distinct values that were seen, those of the explaining opinion first.
func observed(opinions []opinion, why opinion) []string {
	values := []string{}
	for _, op := range slices.Concat([]opinion{why}, opinions) {
		for _, v := range op.found {
			if v = shown(v); len(values) < maxValues && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
	}
	return values
}
