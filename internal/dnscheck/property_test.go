package dnscheck

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/dns"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// TestRandomErrorsAreNeverMisread publishes records as they should be, lets an owner and servers make
// up to four errors, and compares the findings with what the servers can be heard to say:
//
//   - Match only where the value is at the very name by as many independent witnesses as the
//     purpose needs, and no name server denies it.
//   - Missing and Mismatch only where a name server says so with authority, and none that may
//     know better is silent.
//
// POSTSEAL_TEST_ZONES=10000 tries that many instead of sixty, POSTSEAL_TEST_ZONES=9000-10000
// some of them.
func TestRandomErrorsAreNeverMisread(t *testing.T) {
	from, to := uint64(0), uint64(60)
	if text := os.Getenv("POSTSEAL_TEST_ZONES"); text != "" {
		first, last, ok := strings.Cut(text, "-")
		if !ok {
			first, last = "0", text
		}
		var err1, err2 error
		from, err1 = strconv.ParseUint(first, 10, 64)
		to, err2 = strconv.ParseUint(last, 10, 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("POSTSEAL_TEST_ZONES=%s is no number of zones", text)
		}
	}
	codes := make(map[string]int)
	var all []string
	for seed := from; seed < to; seed++ {
		synctest.Test(t, func(t *testing.T) {
			m := newMischief(t, seed)
			checker, servers := m.scene.stage(t)
			findings := checker.Check(t.Context(), mustName(t, m.scene.domain), m.scene.records())
			o := oracle{t: t, mischief: m, servers: servers}
			for i, f := range findings {
				codes[fmt.Sprint(f.Outcome, " ", f.Code)]++
				for _, problem := range slices.Concat(o.problems(m.scene.expects[i].rec, f), unreadable(f)) {
					all = append(all, fmt.Sprintf("seed %d, %s %s: %s\n%s %s: %s\n%s\nseen: %+v", seed, f.Name, f.Type, problem, f.Outcome, f.Code, f.Fix, m, f.Seen))
				}
			}
		})
	}
	for _, problem := range all[:min(len(all), 50)] {
		t.Error(problem)
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		t.Logf("%5d %s", codes[code], code)
	}
	if len(codes) < 20 {
		t.Errorf("only %d ways to end", len(codes))
	}
}

// unreadable says what is wrong with a sentence for people, terminals and logs.
func unreadable(f Finding) (problems []string) {
	if bad := strings.IndexFunc(f.Fix, func(r rune) bool { return !unicode.IsPrint(r) }); bad >= 0 || !utf8.ValidString(f.Fix) {
		problems = append(problems, fmt.Sprintf("the sentence has what cannot be seen at %d", bad))
	}
	if f.Outcome != Match && (!strings.HasSuffix(f.Fix, ".") || len(f.Fix) > 4000 || strings.Contains(f.Fix, "%!")) {
		problems = append(problems, "that is no sentence")
	}
	if want := f.Code.Outcome(); want != "" && want != f.Outcome && f.Outcome != Unknown && f.Code != CodeNegativeCached && f.Code != CodeCachedOld {
		problems = append(problems, "the code has another outcome")
	}
	return problems
}

// zoneRecord is a record in a zone.
type zoneRecord struct{ name, rrtype, value string }

func (l zoneRecord) String() string {
	if l.rrtype == "TXT" {
		return fmt.Sprintf("%s. 300 TXT %s", l.name, zoneStrings(l.value))
	}
	return fmt.Sprintf("%s. 300 %s %s", l.name, l.rrtype, l.value)
}

// mischief is a scene with random errors in it.
type mischief struct {
	scene    *scene
	rng      *rand.Rand
	zones    map[string][]zoneRecord // host -> what it holds
	hosts    []string
	done     []string // what was done
	hurried  map[string]bool
	resolver bool
}

func (m *mischief) String() string {
	var b strings.Builder
	for _, d := range m.done {
		fmt.Fprintln(&b, " ", d)
	}
	for _, s := range m.scene.servers {
		fmt.Fprintf(&b, "-- %s %s\n%s", s.host, s.addr, s.text)
	}
	return b.String()
}

func pick[T any](m *mischief, list ...T) T { return list[m.rng.IntN(len(list))] }

func newMischief(t testing.TB, seed uint64) *mischief {
	m := &mischief{rng: rand.New(rand.NewPCG(seed, 7)), zones: make(map[string][]zoneRecord), hurried: make(map[string]bool)}
	domain := pick(m, "example.org", "example.org", "news.example.org")
	s := &scene{file: fmt.Sprint("seed ", seed), domain: domain, mode: ModeAuthoritative, quorum: 2, resolvers: 2 + m.rng.IntN(2), delegate: make(map[string][]string)}
	m.scene = s
	if m.rng.IntN(8) == 0 {
		s.mode, m.resolver = ModeResolver, true
	}
	want := func(text string) {
		s.expects = append(s.expects, expectation{rec: sceneRecord(t, s, fields(text))})
	}
	want(`ownership na _postseal TXT "` + token + `" previous=` + token2)
	want(`dkim na tok1._domainkey CNAME tok1.dkim.mail.example`)
	want(`mail-from-mx na bounce MX mx.mail.example`)
	want(`mail-from-spf na bounce TXT "v=spf1 include:_spf.mail.example ~all"`)
	want(`dmarc na _dmarc TXT "v=DMARC1; p=none"`)
	right := []zoneRecord{
		{"_postseal." + domain, "TXT", token},
		{"tok1._domainkey." + domain, "CNAME", "tok1.dkim.mail.example."},
		{"bounce." + domain, "MX", "10 mx.mail.example."},
		{"bounce." + domain, "TXT", "v=spf1 include:_spf.mail.example ~all"},
		{"_dmarc." + domain, "TXT", "v=DMARC1; p=none"},
	}
	apexes := map[string]string{} // host -> apex
	for i := range 2 + m.rng.IntN(2) {
		host := fmt.Sprintf("ns%d.example.net", i+1)
		m.hosts, apexes[host], m.zones[host] = append(m.hosts, host), "example.org", slices.Clone(right)
		s.servers = append(s.servers, sceneServer{host: host, addr: fmt.Sprintf("192.0.2.1%d", i+1)})
	}
	other := "ns1.example.com"
	m.zones[other], apexes[other] = []zoneRecord{{"www.example.com", "A", "192.0.2.99"}}, "example.com"
	s.servers = append(s.servers, sceneServer{host: other, addr: "192.0.2.21"})
	for range m.rng.IntN(4) {
		m.ownersError(right)
	}
	for i := range s.servers {
		host := s.servers[i].host
		s.servers[i].zones = []string{apexes[host]}
	}
	for i := range s.servers {
		host := s.servers[i].host
		lines := []string{fmt.Sprintf("zone %s %d", apexes[host], 1+m.rng.IntN(2))}
		for _, l := range m.zones[host] {
			lines = append(lines, l.String())
		}
		s.servers[i].text = s.zoneText(lines)
	}
	for range m.rng.IntN(3) {
		m.serversError(domain)
	}
	return m
}

// ownersError spoils one record, everywhere or on one server.
func (m *mischief) ownersError(right []zoneRecord) {
	l := right[m.rng.IntN(len(right))]
	hosts := m.hosts
	if m.rng.IntN(4) == 0 {
		hosts = []string{pick(m, m.hosts...)}
	}
	remove, added := false, []zoneRecord(nil)
	domain := m.scene.domain
	_, above, _ := strings.Cut(l.name, ".")
	switch m.rng.IntN(11) {
	case 0:
		remove = true
	case 1, 2:
		remove, added = true, []zoneRecord{{l.name, l.rrtype, m.spoil(l)}}
	case 3:
		name := pick(m, l.name+"."+domain, l.name+".example.org", domain, strings.ReplaceAll(l.name, "_", ""), strings.TrimPrefix(l.name, "_"), strings.TrimSuffix(l.name, domain)+"www."+domain,
			strings.TrimSuffix(l.name, domain)+"example.org", strings.ToUpper(l.name))
		remove, added = true, []zoneRecord{{name, l.rrtype, l.value}}
	case 4:
		remove = true
		switch l.rrtype {
		case "TXT":
			added = []zoneRecord{{l.name, pick(m, "CNAME", "A"), ""}}
		default:
			added = []zoneRecord{{l.name, pick(m, "TXT", "A", "CNAME"), ""}}
		}
		switch added[0].rrtype {
		case "A":
			added[0].value = pick(m, "104.16.1.1", "192.0.2.80", "192.0.2.99")
		case "CNAME":
			added[0].value = pick(m, "www.example.com.", "nothing.example.com.", l.name+".", "www.example.org.")
		default:
			added[0].value = l.value
		}
	case 5:
		added = []zoneRecord{{l.name, l.rrtype, m.spoil(l)}}
	case 6:
		remove = m.rng.IntN(2) == 0
		added = []zoneRecord{{"*." + pick(m, domain, above), l.rrtype, pick(m, l.value, m.spoil(l))}}
	case 7:
		remove, added = true, []zoneRecord{{"*." + pick(m, domain, above), "CNAME", pick(m, "www.example.com.", "proof.example.com.", "tok1.dkim.mail.example.", "www."+domain+".")}}
	case 8:
		remove, added = true, []zoneRecord{{l.name, "CNAME", "proof.example.com."}}
		if l.rrtype == "CNAME" {
			added[0].value = pick(m, "tok1.dkim.mail.example.example.org.", "proof.example.com.")
		} else {
			there := pick(m, l.value, m.spoil(l))
			m.zones["ns1.example.com"] = append(m.zones["ns1.example.com"], zoneRecord{"proof.example.com", l.rrtype, there})
			m.done = append(m.done, fmt.Sprintf("proof.example.com has %q", there))
		}
	case 9:
		if above != domain {
			remove, added = true, []zoneRecord{{above, "DNAME", pick(m, "dkim.mail.example.", "keys.example.com.")}}
		}
	case 10:
		if l.rrtype == "TXT" {
			remove, added = true, []zoneRecord{{l.name, "TXT", token2}}
		}
	}
	m.done = append(m.done, fmt.Sprintf("on %v: %v removed: %v, added: %v", hosts, l, remove, added))
	for _, host := range hosts {
		if remove {
			m.zones[host] = slices.DeleteFunc(slices.Clone(m.zones[host]), func(o zoneRecord) bool { return o == l })
		}
		for _, a := range added {
			// Real servers do not load other data beside a CNAME, nor more than one CNAME.
			if slices.ContainsFunc(m.zones[host], func(o zoneRecord) bool {
				return strings.EqualFold(o.name, a.name) && (o.rrtype == "CNAME" || a.rrtype == "CNAME" || o.rrtype == "DNAME")
			}) {
				continue
			}
			m.zones[host] = append(m.zones[host], a)
		}
	}
}

// spoil changes a value as forms, programs and people do.
func (m *mischief) spoil(l zoneRecord) string {
	v := l.value
	at := m.rng.IntN(len(v))
	switch l.rrtype {
	case "CNAME":
		return pick(m, v+"example.org.", strings.ToUpper(v), "x"+v, strings.TrimSuffix(v, "example."), `\"`+strings.TrimSuffix(v, ".")+`\".`, "tok2.dkim.mail.example.", "http://"+v, "tok1.dkim.mail.example.com.")
	case "MX":
		return pick(m, v+"example.org.", strings.ToUpper(v), "20 mx.mail.example.", "10 mx-eu.mail.example.", "10 mx.example.com.", "0 .", "10 192.0.2.80.", "10 mx.mail.")
	}
	return pick(m, `"`+v+`"`, "'"+v+"'", strings.ToLower(v), v[:at], v[at:], v+" ", "\t"+v, v+"\u00a0", "\u200b"+v, v+".", v[:at]+" "+v[at:], v[:at]+"\n"+v[at:], v[:at]+v[at+1:],
		v+v, v+","+v, l.name+" "+v, strings.ReplaceAll(v, ";", `\;`), "\x1b[31m"+v+"\x00", strings.ToUpper(v), token2, string([]byte{0xff, 0xfe})+v, "<b>"+v+"</b>", "“"+v+"”")
}

// serversError lets a server or a resolver misbehave.
func (m *mischief) serversError(domain string) {
	rec := m.scene.expects[m.rng.IntN(len(m.scene.expects))].rec
	who := pick(m, append(slices.Clone(m.hosts), "resolver1", "resolver2", "resolvers", "ns1.example.com")...)
	name, qtype := pick(m, rec.Name.s, rec.Name.s, "*"), pick(m, string(rec.Type), "*")
	own := strings.ReplaceAll(zoneRecord{rec.Name.s, string(rec.Type), rec.Expected()}.String(), "\n", " ")
	lie := fmt.Sprintf("%s. 300 TXT lie", rec.Name)
	fault := pick(m, "drop", "servfail", "refused", "nxdomain", "truncate", "tcp-drop", "wrong-id", "garbage", "lame", "formerr", "notimp", "no-aa", "partial", "lower-case", "no-soa",
		"edns-drop", "edns-formerr", "first-drop", "first-servfail", "ede:6", "bogus", "rewrite:A 198.51.100.9", "instead:A 198.51.100.9",
		"lie:", "lie:"+lie, "lie:"+own, "also:"+own, "additional:"+own, "lie:www."+own, "also:www."+own, "lie:"+lie+"\n"+own)
	words := []string{fault}
	if m.rng.IntN(3) == 0 {
		words = append(words, pick(m, "truncate", "no-aa", "partial", "tcp-drop", "no-soa", "first-drop"))
	}
	if strings.Contains(strings.Join(words, " "), "first-") {
		m.hurried[who] = true
	}
	m.done = append(m.done, fmt.Sprintf("%s at %s %s: %q", who, name, qtype, words))
	m.scene.faults = append(m.scene.faults, append([]string{who, name, qtype}, words...))
	_ = domain
}

// says is what a server can be heard to say of a record.
type says struct{ match, other, silent, lame bool }

func (s says) or(o says) says {
	return says{s.match || o.match, s.other || o.other, s.silent || o.silent, s.lame || o.lame}
}

// oracle hears servers without the engine: over both transports, with and without EDNS, and
// takes for possible what any of these gives.
type oracle struct {
	t       testing.TB
	servers map[string][]*dnstest.Server
	*mischief
}

func (o *oracle) problems(rec Record, f Finding) (problems []string) {
	hear := func(who string, resolver bool) says {
		heard := o.hear(o.servers[who][0], rec.question(), rec, resolver, 0)
		if rec.Purpose == DMARC { // or inherited (RFC 7489, section 6.6.3)
			above := o.hear(o.servers[who][0], question{"_dmarc.example.org", dns.TypeTXT}, rec, resolver, 0)
			heard.match, heard.silent = heard.match || above.match, heard.silent || above.silent
		}
		return heard
	}
	resolvers := make([]says, 0, 3)
	for i := range o.scene.resolvers {
		resolvers = append(resolvers, hear(fmt.Sprintf("resolver%d", i+1), true))
	}
	heard := make(map[string]says)
	if !o.resolver {
		for _, host := range o.hosts {
			heard[host] = hear(host, false)
			if !heard[host].match && o.hear(o.servers[host][0], question{"example.org", dns.TypeSOA}, rec, false, 0).lame {
				heard[host] = says{lame: true} // and as such no witness, whatever else it does
			}
		}
	}
	count := func(list []says, is func(says) bool) (n int) {
		for _, s := range list {
			if is(s) {
				n++
			}
		}
		return n
	}
	match := func(s says) bool { return s.match }
	other := func(s says) bool { return s.other }
	authorities := slices.Collect(maps.Values(heard))
	witnesses := count(authorities, match) + count(resolvers, match)
	all := slices.Concat(authorities, resolvers)
	switch f.Outcome {
	case Match:
		need := 1
		if rec.Purpose.grants() {
			need = 2
		}
		if witnesses < need && !(o.resolver && len(o.hurried) > 0) {
			problems = append(problems, fmt.Sprintf("a false match: %d can be heard to have it", witnesses))
		}
		for host, s := range heard {
			if s == (says{other: true}) && !o.hurried[host] && o.hasVote(f, host) {
				problems = append(problems, "a match that "+host+" denies")
			}
		}
	case Missing, Mismatch:
		source := authorities
		if o.resolver {
			source = resolvers
		}
		switch f.Code {
		case CodeWildcard, CodeCNAMEWithOtherData: // what a match does not tell
			if count(all, match)+count(all, other) == 0 {
				problems = append(problems, "nobody says anything")
			}
			return problems
		case CodeNSInconsistent:
			if count(source, match) == 0 {
				problems = append(problems, "nobody has it")
			}
			if slices.ContainsFunc(o.hosts, func(host string) bool { return o.wild(host, rec) }) {
				return problems // what leads to it there is no proof, and no denial that can be heard either
			}
		default:
			for host, s := range heard {
				if s == (says{silent: true}) {
					problems = append(problems, "a false absence: "+host+" is silent")
				}
			}
		}
		if count(source, other) == 0 {
			problems = append(problems, "a false absence: nobody denies it with authority")
		}
	}
	return problems
}

// hasVote tells whether enough resolvers named a server, and where it is, for its word to
// count. Against all resolvers together nothing helps.
func (o *oracle) hasVote(f Finding, host string) bool {
	i := slices.IndexFunc(o.scene.servers, func(s sceneServer) bool { return s.host == host })
	return slices.ContainsFunc(f.Seen, func(s Sight) bool {
		return s.Host == host && s.Server == o.scene.servers[i].addr+":53" && !strings.Contains(s.Detail, "too few resolvers")
	})
}

// wild tells whether a server has CNAMEs at all names beside a record.
func (o *oracle) wild(host string, rec Record) bool {
	packet, err := new(dns.Msg).SetQuestion("beside."+rec.Name.Parent().s+".", dns.TypeTXT).Pack()
	if err != nil {
		o.t.Fatal(err)
	}
	reply := new(dns.Msg)
	b := o.servers[host][0].Handle(packet, true)
	return b != nil && reply.Unpack(b) == nil && len(reply.Answer) > 0 && reply.Answer[0].Header().Rrtype == dns.TypeCNAME
}

// moved tells whether a server says of itself that it is elsewhere, where nobody is.
func (o *oracle) moved(host string) bool {
	packet, err := new(dns.Msg).SetQuestion(host+".", dns.TypeA).Pack()
	if err != nil {
		o.t.Fatal(err)
	}
	reply := new(dns.Msg)
	i := slices.IndexFunc(o.scene.servers, func(s sceneServer) bool { return s.host == host })
	b := o.servers[host][0].Handle(packet, true)
	return i >= 0 && b != nil && reply.Unpack(b) == nil && len(reply.Answer) > 0 && presentation(reply.Answer[0]) != o.scene.servers[i].addr
}

const maxHeard = 6

// hear asks one server. What is behind a CNAME that leaves it, other servers are asked.
func (o *oracle) hear(s *dnstest.Server, q question, rec Record, resolver bool, depth int) says {
	var heard says
	for _, tcp := range []bool{false, true} {
		for _, edns := range []bool{false, true} {
			heard = heard.or(o.once(s, q, rec, resolver, tcp, edns, depth))
		}
	}
	return heard
}

func (o *oracle) once(s *dnstest.Server, q question, rec Record, resolver, tcp, edns bool, depth int) says {
	silent := says{silent: true}
	query := new(dns.Msg).SetQuestion(dns.Fqdn(q.name), q.qtype)
	query.RecursionDesired = resolver
	if edns {
		query.SetEdns0(ednsSize, false)
	}
	packet, err := query.Pack()
	if err != nil {
		o.t.Fatal(err)
	}
	reply := new(dns.Msg)
	if b := s.Handle(packet, tcp); b == nil || reply.Unpack(b) != nil || reply.Id != query.Id || len(reply.Question) != 1 || lower(reply.Question[0].Name) != lower(query.Question[0].Name) {
		return silent
	}
	switch {
	case reply.Truncated:
		return says{} // the other transport tells
	case reply.Rcode == dns.RcodeRefused && !resolver:
		return says{lame: true}
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return silent
	case !reply.Authoritative && !resolver:
		return says{lame: true}
	}
	name, led := q.name, false
	for range maxHeard {
		var found []dns.RR
		target := ""
		dname := false
		for _, rr := range reply.Answer {
			dname = dname || rr.Header().Rrtype == dns.TypeDNAME
			if lower(strings.TrimSuffix(rr.Header().Name, ".")) != name {
				continue
			}
			if rr.Header().Rrtype == q.qtype {
				found = append(found, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				target = lower(strings.TrimSuffix(c.Target, "."))
			}
		}
		switch {
		case len(found) > 0:
			return o.weigh(rec, found, dname)
		case target == "" && !led && reply.Rcode == dns.RcodeSuccess && len(reply.Answer) > 0 &&
			!slices.ContainsFunc(reply.Answer, func(rr dns.RR) bool { return lower(strings.TrimSuffix(rr.Header().Name, ".")) == name }):
			return silent // it answers for another name
		case target == "":
			if led && !resolver && depth < maxHeard && !within(name, "example.org") {
				return o.beyond(name, q, rec, depth+1)
			}
			return says{other: true}
		}
		name, led = target, true
	}
	return says{other: true} // a loop
}

// beyond hears the servers of a name in another zone.
func (o *oracle) beyond(name string, q question, rec Record, depth int) says {
	hosts := []string{"a.infra.test", "b.infra.test"}
	if within(name, "example.com") {
		hosts = []string{"ns1.example.com"}
		if o.moved(hosts[0]) {
			return says{silent: true}
		}
	}
	heard := says{other: !within(name, "example.com") && !within(name, "mail.example")}
	for _, host := range hosts {
		heard = heard.or(o.hear(o.servers[host][0], question{name, q.qtype}, rec, false, depth))
	}
	return heard
}

// weigh tells whether records of the very name are ours. Of policies it only tells those
// that cannot be.
func (o *oracle) weigh(rec Record, found []dns.RR, dname bool) says {
	var texts []string
	for _, rr := range found {
		texts = append(texts, presentation(rr))
	}
	like := func(parts ...string) says {
		for _, text := range texts {
			ok := true
			for _, p := range parts {
				ok = ok && strings.Contains(strings.ReplaceAll(lower(text), " ", ""), p)
			}
			if ok {
				return says{match: true, other: true}
			}
		}
		return says{other: true}
	}
	right := false
	switch rec.Purpose {
	case Ownership:
		right = slices.ContainsFunc(texts, func(v string) bool { return strings.Trim(v, " \t\r\n") == token })
	case DKIM:
		right = !dname && !slices.ContainsFunc(texts, func(v string) bool { return v != "tok1.dkim.mail.example." })
	case MailFromMX:
		right = slices.Contains(texts, "10 mx.mail.example.") && !slices.ContainsFunc(texts, func(v string) bool { return !strings.HasSuffix(v, " mx.mail.example.") })
	case MailFromSPF:
		return like("v=spf1", "_spf.mail.example")
	default:
		return like("v=dmarc1")
	}
	return says{match: right, other: !right}
}
