package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/mattn/go-isatty"
	"github.com/miekg/dns"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/postseal/postseal/internal/dnscheck"
)

// checkCmd looks at the DNS without a server: at the mail posture of domains, or at records
// that a file lists.
type checkCmd struct {
	Domain  []string `arg:"" optional:"" help:"Domains to look at; with --records, the domain whose records these are."`
	Domains string   `help:"File with one domain a line, # for comments; - is standard input." placeholder:"FILE"`
	Records string   `help:"File with the records that shall be there, a JSON array; - is standard input." placeholder:"FILE"`

	Include  string   `help:"SPF include of a provider that shall be authorised; proposes a record where it is not." placeholder:"NAME"`
	IP       string   `name:"ip" help:"Judge mail from this address." placeholder:"ADDRESS"`
	MailFrom string   `help:"Domain of the reverse-path, where it is not the domain itself." placeholder:"DOMAIN"`
	Selector []string `help:"DKIM selector to look at; may be repeated." placeholder:"NAME"`

	Resolver         []string      `help:"Resolver to ask in place of the system's; may be repeated." placeholder:"HOST:PORT"`
	Mode             string        `help:"Ask the name servers of the zone themselves, or resolvers only." enum:"authoritative,resolver" default:"authoritative"`
	AllowPrivateNS   bool          `name:"allow-private-ns" help:"Ask name servers at private and loopback addresses; also POSTSEAL_ALLOW_PRIVATE_NS=1."`
	AuthoritativeMap []string      `help:"Where a name server's address really listens, for laboratories; may be repeated." placeholder:"IP=HOST:PORT"`
	Timeout          time.Duration `help:"Time for one domain." default:"10s"`
	JSON             bool          `name:"json" help:"Answer in JSON, for programs."`
}

// Help is what --help says at the end.
func (checkCmd) Help() string {
	return "Ends with 0 if all is as it should be, 1 if there is something to fix, 2 if there is nothing to fix but not everything could be told, and 64 if the check could not be made."
}

// The exit codes of check that tell what was found. All else that ends it is exitUsage, so that no
// mistake in calling it passes for a finding.
const (
	exitFix     = 1
	exitUnknown = 2
)

// atOnce is how many domains are looked at together: enough to hide slow servers, few enough
// for resolvers at home.
const atOnce = 8

// Run is the command. An interrupt must not look like a check without findings.
func (c *checkCmd) Run(s *streams) error {
	err := c.check(s)
	switch _, found := errors.AsType[ended](err); {
	case s.ctx.Err() != nil:
		fmt.Fprintln(s.errOut, "postseal: interrupted, not everything was looked at")
		return ended(exitUnknown)
	case err != nil && !found:
		fmt.Fprintln(s.errOut, "postseal:", err)
		return ended(exitUsage)
	}
	return err
}

// Validate refuses flags that do not go together.
func (c *checkCmd) Validate() error {
	switch {
	case c.Timeout <= 0:
		return fmt.Errorf("--timeout is %s: it must be more than nothing", c.Timeout)
	case c.Records == "":
		return nil
	case len(c.Domain) > 1 || c.Domains != "":
		return errors.New("--records is about one domain: give at most one, and no --domains")
	case c.Include != "" || c.IP != "" || c.MailFrom != "" || len(c.Selector) > 0:
		return errors.New("--include, --ip, --mail-from and --selector are about a domain, not about --records")
	}
	return nil
}

// check decides which of the two checks is wanted. All input is read before anybody is asked.
func (c *checkCmd) check(s *streams) error {
	if c.Records != "" {
		records, domain, err := c.records(s)
		if err != nil {
			return err
		}
		return c.asking(s, func(checker *dnscheck.Checker) error { return c.checkRecords(s, checker, records, domain) })
	}
	domains, err := c.domains(s)
	if err != nil {
		return err
	}
	template, err := c.message()
	if err != nil {
		return err
	}
	return c.asking(s, func(checker *dnscheck.Checker) error { return c.checkDomains(s, checker, domains, template) })
}

// asking runs a check, and says where none of the resolvers was heard.
func (c *checkCmd) asking(s *streams, check func(*dnscheck.Checker) error) error {
	checker, resolver, err := c.checker(s)
	if err != nil {
		return err
	}
	err = check(checker)
	if _, found := errors.AsType[ended](err); found && resolver.Mute() && s.ctx.Err() == nil {
		fmt.Fprintf(s.errOut, "postseal: nothing was heard from %s: if other domains fail as well, name other resolvers with --resolver\n", strings.Join(resolver.Servers(), " and "))
	}
	return err
}

// checker also returns what asks the resolvers.
func (c *checkCmd) checker(s *streams) (*dnscheck.Checker, *dnscheck.Resolver, error) {
	servers := c.Resolver
	if len(servers) == 0 {
		system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil || len(system.Servers) == 0 {
			return nil, nil, errors.New("the system names no resolvers: give one with --resolver HOST:PORT")
		}
		for _, server := range system.Servers {
			if at := net.JoinHostPort(server, system.Port); !slices.Contains(servers, at) {
				servers = append(servers, at)
			}
		}
	}
	resolver, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: servers})
	if err != nil {
		return nil, nil, err
	}
	config := dnscheck.CheckerConfig{
		Resolver: resolver, Timeout: c.Timeout, Mode: dnscheck.Mode(c.Mode), LookInside: true,
		AllowPrivateNS: c.AllowPrivateNS || slices.Contains([]string{"1", "true"}, s.getenv("POSTSEAL_ALLOW_PRIVATE_NS")),
	}
	if config.Mode == dnscheck.ModeResolver && len(servers) == 1 {
		// Nothing is granted here, so one witness may do; but it should be known.
		config.Quorum = 1
		fmt.Fprintf(s.errOut, "postseal: %s alone is asked, and what it says is taken for true: name a second --resolver\n", servers[0])
	}
	for _, entry := range c.AuthoritativeMap {
		ip, at, _ := strings.Cut(entry, "=")
		addr, err := netip.ParseAddr(ip)
		if err != nil || at == "" {
			return nil, nil, fmt.Errorf("--authoritative-map %q: write it as IP=HOST:PORT", entry)
		}
		if config.AuthoritativeMap == nil {
			config.AuthoritativeMap = make(map[netip.Addr]string)
		}
		config.AuthoritativeMap[addr] = at
	}
	checker, err := dnscheck.NewChecker(config)
	return checker, resolver, err
}

// records reads the file of records, and whose they are if that is given.
func (c *checkCmd) records(s *streams) (records []dnscheck.Record, domain dnscheck.Name, err error) {
	text, err := readInput(s, c.Records)
	if err != nil {
		return nil, domain, err
	}
	if records, err = parseRecords(c.Records, text); err != nil {
		return nil, domain, err
	}
	if len(c.Domain) > 0 {
		domain, err = dnscheck.ParseDomain(c.Domain[0])
	}
	return records, domain, err
}

// checkRecords compares what shall be there with what is published. Who interrupts it is shown
// the records whose domains were looked at until then.
func (c *checkCmd) checkRecords(s *streams, checker *dnscheck.Checker, records []dnscheck.Record, domain dnscheck.Name) error {
	findings := make([]dnscheck.Finding, len(records))
	groups := byDomain(records, domain)
	together(len(groups), func(n int) {
		group := groups[n]
		for part := range slices.Chunk(group.at, dnscheck.MaxChecked) {
			list := make([]dnscheck.Record, len(part))
			for i, at := range part {
				list[i] = records[at]
			}
			seen := checker.Check(s.ctx, group.domain, list)
			if s.ctx.Err() != nil { // it was cut off
				return
			}
			for i, f := range seen {
				findings[part[i]] = reported(f)
			}
		}
	})
	findings = slices.DeleteFunc(findings, func(f dnscheck.Finding) bool { return f.Code == "" })
	if len(findings) == 0 {
		return nil // interrupted
	}
	var err error
	if c.JSON {
		err = writeJSON(s.out, struct {
			Findings []dnscheck.Finding `json:"findings"`
		}{findings}, true)
	} else {
		paper := newPaper(s)
		paper.findings(findings, len(records))
		err = paper.err
	}
	if err != nil {
		return err
	}
	var outcomes []dnscheck.Outcome
	for _, f := range findings {
		outcomes = append(outcomes, f.Outcome)
	}
	return verdictOf(outcomes)
}

// together calls do for every number below n, a few at a time, and begins them in order, as
// that is how answers are shown.
func together(n int, do func(i int)) {
	turns := make(chan int)
	var wg sync.WaitGroup
	for range min(atOnce, n) {
		wg.Go(func() {
			for i := range turns {
				do(i)
			}
		})
	}
	for i := range n {
		turns <- i
	}
	close(turns)
	wg.Wait()
}

// reported shows what those servers say that answered, where others were silent: too little
// to change a state, and enough to tell somebody what to do.
func reported(f dnscheck.Finding) dnscheck.Finding {
	if f.Outcome == dnscheck.Unknown && f.Presumed != "" {
		f.Code, f.Outcome = f.Presumed, f.Presumed.Outcome()
		if f.Outcome == "" {
			f.Outcome = dnscheck.Mismatch
		}
	}
	return f
}

// verdictOf turns outcomes into the end of the command.
func verdictOf(outcomes []dnscheck.Outcome) error {
	switch {
	case slices.Contains(outcomes, dnscheck.Missing) || slices.Contains(outcomes, dnscheck.Mismatch):
		return ended(exitFix)
	case slices.Contains(outcomes, dnscheck.Unknown):
		return ended(exitUnknown)
	}
	return nil
}

// checkDomains looks at the posture of all domains that are named.
func (c *checkCmd) checkDomains(s *streams, checker *dnscheck.Checker, domains []dnscheck.Name, template messageTemplate) error {
	postures := make([]dnscheck.Posture, len(domains))
	done := make([]chan struct{}, len(domains))
	for i := range done {
		done[i] = make(chan struct{})
	}
	advance, finish := func() {}, func() {}
	if len(domains) > 1 && !(c.JSON && terminal(s.out)) { // lines that come are progress enough, and a bar would wipe them
		advance, finish = progress(s, len(domains))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		together(len(domains), func(i int) {
			defer close(done[i])
			if s.ctx.Err() != nil {
				return
			}
			p := checker.Posture(s.ctx, template.from(domains[i]))
			if s.ctx.Err() != nil && (len(domains) > 1 || untold(p)) {
				return // it was cut off; of one domain, what was told until then is shown
			}
			postures[i] = p
			advance()
		})
	})
	paper := newPaper(s)
	var outcomes []dnscheck.Outcome
	for i := range domains {
		<-done[i]
		if postures[i].Domain.IsZero() {
			continue // interrupted
		}
		outcomes = append(outcomes, postures[i].Outcomes()...)
		if c.JSON { // a line for each, as soon as it is known and its turn has come
			if err := writeJSON(s.out, postures[i], len(domains) == 1 && c.Domains == ""); err != nil {
				return err
			}
			postures[i] = dnscheck.Posture{} // lists can be long
		}
	}
	finish()
	seen := slices.DeleteFunc(postures, func(p dnscheck.Posture) bool { return p.Domain.IsZero() })
	switch {
	case c.JSON || len(seen) == 0:
	case len(domains) == 1:
		paper.posture(seen[0])
	default:
		paper.postures(seen, len(domains))
	}
	if paper.err != nil {
		return paper.err
	}
	return verdictOf(outcomes)
}

// untold tells whether nothing was learnt about a domain.
func untold(p dnscheck.Posture) bool {
	return !slices.ContainsFunc(p.Outcomes(), func(o dnscheck.Outcome) bool { return o != dnscheck.Unknown })
}

// messageTemplate is a message without its author's domain.
type messageTemplate struct {
	dnscheck.Message
	selectors []dnscheck.Name
}

func (t messageTemplate) from(domain dnscheck.Name) dnscheck.Message {
	m := t.Message
	m.From = domain
	for _, selector := range t.selectors {
		m.Signatures = append(m.Signatures, dnscheck.Signature{Domain: domain, Selector: selector})
	}
	return m
}

// message reads the flags that say which mail is judged; all problems are reported.
func (c *checkCmd) message() (t messageTemplate, err error) {
	var problems []error
	name := func(flag, value string) dnscheck.Name {
		n, err := dnscheck.ParseName(value)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", flag, err))
		}
		return n
	}
	if c.Include != "" {
		t.Include = name("--include", c.Include)
	}
	if c.MailFrom != "" {
		t.MailFrom = name("--mail-from", c.MailFrom)
	}
	for _, selector := range c.Selector {
		if s, _, whole := strings.Cut(selector, "._domainkey"); whole {
			problems = append(problems, fmt.Errorf("--selector: %q is the name of a key: its selector is %q", selector, s))
			continue
		}
		t.selectors = append(t.selectors, name("--selector", selector))
	}
	if c.IP != "" {
		if t.IP, err = netip.ParseAddr(c.IP); err != nil {
			problems = append(problems, fmt.Errorf("--ip: %q is no IP address", c.IP))
		}
	}
	return t, errors.Join(problems...)
}

// domains collects the domains of the arguments and of the file.
func (c *checkCmd) domains(s *streams) ([]dnscheck.Name, error) {
	var domains []dnscheck.Name
	var problems []error
	for _, arg := range c.Domain {
		d, err := dnscheck.ParseDomain(arg)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		domains = append(domains, d)
	}
	if c.Domains != "" {
		text, err := readInput(s, c.Domains)
		if err != nil {
			return nil, err
		}
		list, err := parseDomains(c.Domains, text)
		if err != nil {
			problems = append(problems, err)
		}
		domains = append(domains, list...)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if len(domains) == 0 && c.Domains != "" {
		return nil, fmt.Errorf("%s names no domain", c.Domains)
	}
	if len(domains) == 0 {
		return nil, errors.New("nothing to check: give a domain, --domains FILE or --records FILE")
	}
	return unique(domains), nil
}

func unique(domains []dnscheck.Name) []dnscheck.Name {
	seen := make(map[dnscheck.Name]bool)
	return slices.DeleteFunc(domains, func(d dnscheck.Name) bool {
		defer func() { seen[d] = true }()
		return seen[d]
	})
}

// progress shows a bar on standard error while many domains are looked at, if somebody is
// there to see it.
func progress(s *streams, n int) (advance, finish func()) {
	if !terminal(s.errOut) || s.getenv("TERM") == "dumb" { // which cannot move its cursor
		return func() {}, func() {}
	}
	p := mpb.NewWithContext(s.ctx, mpb.WithOutput(s.errOut), mpb.WithWidth(40))
	bar := p.AddBar(int64(n), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("checked "), decor.CountersNoUnit("%d of %d")),
		mpb.AppendDecorators(decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "")))
	return func() { bar.Increment() }, p.Wait
}

// terminal tells whether somebody reads what is written there.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// writeJSON writes one value and a line break, spread over lines for a lone answer.
func writeJSON(w io.Writer, v any, spread bool) error {
	options := []json.Options{jsontext.EscapeForHTML(false)}
	if spread {
		options = append(options, jsontext.WithIndent("  "))
	}
	b, err := json.Marshal(v, options...)
	if err != nil {
		return err
	}
	_, err = w.Write(append(visible(b), '\n'))
	return err
}

// visible escapes what JSON allows as it is and a terminal may obey: C1 controls, and
// characters that turn or hide text. Such are only in strings, where \u stands for them.
func visible(text []byte) []byte {
	if bytes.IndexFunc(text, hidden) < 0 {
		return text
	}
	escaped := make([]byte, 0, len(text)+len(text)/8)
	for _, r := range string(text) {
		switch {
		case !hidden(r):
			escaped = utf8.AppendRune(escaped, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
	}
	return escaped
}

// hidden tells whether a character shows nothing of its own; the line breaks of JSON do not count.
func hidden(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }

// readInput reads a file, or standard input for "-". What is no list of records or domains is
// mostly large, so there is a limit.
func readInput(s *streams, name string) ([]byte, error) {
	const limit = 16 << 20
	in := s.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var text []byte
	var err error
	read := make(chan struct{})
	go func() {
		defer close(read)
		text, err = io.ReadAll(io.LimitReader(in, limit+1))
	}()
	select {
	case <-read:
	case <-s.ctx.Done(): // nobody may come to type the end of standard input
		return nil, s.ctx.Err()
	}
	switch {
	case err != nil:
		return nil, err
	case len(text) > limit:
		return nil, fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")): // as PowerShell writes it
		return nil, fmt.Errorf("%s is UTF-16: save it as UTF-8", name)
	}
	return text, nil
}
