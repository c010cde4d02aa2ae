package dnscheck

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// scene is a case of testdata/corpus; README.md there tells the format.
type scene struct {
	file    string
	cites   []string
	domain  string
	expects []expectation

	mode      Mode
	quorum    int
	private   bool
	inside    bool
	resolvers int
	trusted   []string
	servers   []sceneServer
	service   []string
	delegate  map[string][]string
	faults    [][]string
	local     [][]string
}

type expectation struct {
	rec     Record
	outcome Outcome
	code    Code
	says    []string // parts of the sentence
	wait    string   // "yes", "no" or not checked
}

type sceneServer struct {
	host, addr string
	zones      []string // apexes
	text       string   // zone text with absolute names
}

var sceneField = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\S+`)

func fields(line string) []string {
	parts := sceneField.FindAllString(line, -1)
	for i, p := range parts {
		if s, err := strconv.Unquote(p); err == nil && p[0] == '"' {
			parts[i] = s
		}
	}
	return parts
}

func readScene(t testing.TB, file string) *scene {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{file: filepath.Base(file), mode: ModeAuthoritative, quorum: 2, resolvers: 2, delegate: make(map[string][]string)}
	fail := func(n int, format string, args ...any) {
		t.Helper()
		t.Fatalf("%s:%d: %s", s.file, n+1, fmt.Sprintf(format, args...))
	}
	text := strings.NewReplacer("$TOKEN2", token2, "$TOKENLOWER", strings.ToLower(token), "$TOKEN", token, "$KEY2", sceneKey2, "$KEY", sceneKey, "$EDKEY", sceneEdKey).Replace(string(b))
	var raw [][]string // text lines of each server
	for n, line := range strings.Split(text, "\n") {
		f := fields(line)
		switch {
		case len(f) == 0:
		case strings.HasPrefix(line, "#"):
			if cite, ok := strings.CutPrefix(line, "# cite: "); ok {
				s.cites = append(s.cites, strings.TrimSpace(cite))
			}
		case f[0] == "--":
			if len(f) == 2 && f[1] == "both" {
				s.servers = append(s.servers, sceneServer{host: "ns1.example.net", addr: "192.0.2.11"}, sceneServer{host: "ns2.example.net", addr: "192.0.2.12"})
				raw = append(raw, nil, []string{"= ns1.example.net"})
				break
			}
			if len(f) < 3 {
				fail(n, "a server has a name and an address")
			}
			s.servers = append(s.servers, sceneServer{host: f[1], addr: f[2]})
			raw = append(raw, nil)
			if len(f) == 5 && f[3] == "=" {
				raw[len(raw)-1] = []string{"= " + f[4]}
			}
		case len(raw) > 0:
			at := len(raw) - 1
			if len(raw[at]) > 0 && strings.HasPrefix(raw[at][0], "= ") && s.servers[at].host == "ns2.example.net" && s.servers[at-1].host == "ns1.example.net" && raw[at][0] == "= ns1.example.net" {
				at-- // what follows "both" is the first one's
			}
			raw[at] = append(raw[at], line)
		case f[0] == "domain":
			s.domain = f[1]
		case f[0] == "record":
			s.expects = append(s.expects, expectation{rec: sceneRecord(t, s, f[1:])})
		case f[0] == "want":
			e := &s.expects[len(s.expects)-1]
			e.outcome, e.code = Outcome(f[1]), Code(f[2])
		case f[0] == "says":
			e := &s.expects[len(s.expects)-1]
			e.says = append(e.says, f[1:]...)
		case f[0] == "waiting":
			s.expects[len(s.expects)-1].wait = f[1]
		case f[0] == "mode":
			s.mode = Mode(f[1])
		case f[0] == "quorum":
			s.quorum, _ = strconv.Atoi(f[1])
		case f[0] == "resolvers":
			s.resolvers, _ = strconv.Atoi(f[1])
		case f[0] == "trust-ad":
			s.trusted = append(s.trusted, f[1])
		case f[0] == "allow-private":
			s.private = true
		case f[0] == "look-inside":
			s.inside = true
		case f[0] == "service":
			s.service = append(s.service, strings.TrimSpace(strings.TrimPrefix(line, "service")))
		case f[0] == "delegate":
			s.delegate[f[1]] = f[2:]
		case f[0] == "fault":
			s.faults = append(s.faults, f[1:])
		case f[0] == "local":
			s.local = append(s.local, []string{f[1], strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(line, "local")), f[1]))})
		default:
			fail(n, "unknown word %q", f[0])
		}
	}
	if s.domain == "" || len(s.expects) == 0 {
		t.Fatalf("%s: no domain or no record", s.file)
	}
	for i := range s.servers {
		lines := raw[i]
		if len(lines) > 0 && strings.HasPrefix(lines[0], "= ") {
			j := slices.IndexFunc(s.servers, func(o sceneServer) bool { return o.host == lines[0][2:] })
			lines = append(slices.Clone(raw[j]), lines[1:]...)
		}
		raw[i] = lines
		for _, line := range lines {
			if f := fields(line); len(f) > 1 && f[0] == "zone" {
				s.servers[i].zones = append(s.servers[i].zones, f[1])
			}
		}
	}
	for i := range s.servers {
		s.servers[i].text = s.zoneText(raw[i])
	}
	return s
}

const (
	sceneKey   = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1n7Yl0oJ9v6m5cXw3Qx"
	sceneEdKey = "jCebWOQwz74sAy7QIiLGDiQ6IQEJrKNyElA6vwW/sZI=" // of Ed25519, and a real one
	sceneKey2  = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAzzzzl0oJ9v6m5cXw3Qx"
)

// zoneText expands the lines "zone APEX [SERIAL [MINIMUM]]" into SOA and NS records.
func (s *scene) zoneText(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		f := fields(line)
		if f[0] != "zone" {
			fmt.Fprintln(&b, line)
			continue
		}
		serial, minimum := "1", "300"
		if len(f) > 2 {
			serial = f[2]
		}
		if len(f) > 3 {
			minimum = f[3]
		}
		fmt.Fprintf(&b, "%s. 3600 SOA %s. hostmaster.%s. %s 3600 600 86400 %s\n", f[1], s.hosts(f[1])[0], f[1], serial, minimum)
		own := slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, f[1]+". NS ") })
		for _, host := range s.hosts(f[1]) {
			if !own {
				fmt.Fprintf(&b, "%s. 3600 NS %s.\n", f[1], host)
			}
			if within(host, f[1]) {
				fmt.Fprintf(&b, "%s. 3600 %s\n", host, addressText(s.addrOf(host)))
			}
		}
	}
	return b.String()
}

func addressText(addr string) string {
	if strings.Contains(addr, ":") {
		return "AAAA " + addr
	}
	return "A " + addr
}

// hosts returns the servers that carry a zone.
func (s *scene) hosts(apex string) []string {
	var hosts []string
	for _, server := range s.servers {
		if slices.Contains(server.zones, apex) && !slices.Contains(hosts, server.host) {
			hosts = append(hosts, server.host)
		}
	}
	return hosts
}

func (s *scene) addrOf(host string) string {
	for _, server := range s.servers {
		if server.host == host {
			return server.addr
		}
	}
	return ""
}

// sceneRecord reads: PURPOSE REGION NAME TYPE VALUE [priority=N] [previous=VALUE]...
func sceneRecord(t testing.TB, s *scene, f []string) Record {
	t.Helper()
	if len(f) < 5 {
		t.Fatalf("%s: a record needs purpose, region, name, type and value: %q", s.file, f)
	}
	name := s.domain
	if f[2] != "@" {
		name = f[2] + "." + s.domain
	}
	rec := Record{Purpose: Purpose(f[0]), Region: f[1], Name: mustName(t, name), Type: Type(f[3]), Value: f[4]}
	for _, extra := range f[5:] {
		key, value, _ := strings.Cut(extra, "=")
		switch key {
		case "priority":
			rec.Priority, _ = strconv.Atoi(value)
		case "previous":
			rec.Previous = append(rec.Previous, value)
		default:
			t.Fatalf("%s: %q", s.file, extra)
		}
	}
	return rec
}

// world is all that is around the servers of a scene: root, top level, the hosts of name
// servers in example.net, and our own service zone.
func (s *scene) world() []sceneServer {
	const top = "192.0.2.2"
	var root, tlds, infra strings.Builder
	root.WriteString(". 3600 SOA a.root. x.root. 1 3600 600 86400 60\n. 3600 NS a.root-servers.test.\n")
	known := map[string]bool{}
	tld := func(name string) string {
		t := name[strings.LastIndexByte(name, '.')+1:]
		if !known[t] {
			known[t] = true
			fmt.Fprintf(&root, "%s. 3600 NS ns.nic.%s.\nns.nic.%s. 3600 A %s\n", t, t, t, top)
			fmt.Fprintf(&tlds, "%s. 3600 SOA ns.nic.%s. x.nic.%s. 1 3600 600 86400 60\n%s. 3600 NS ns.nic.%s.\nns.nic.%s. 3600 A %s\n", t, t, t, t, t, t, top)
		}
		return t
	}
	for _, t := range []string{"test", "net", "example", "org", "com"} {
		tld("x." + t)
	}
	if !s.undefined(s.domain) {
		tld(s.domain)
	}
	tlds.WriteString("a.root-servers.test. 3600 A 192.0.2.1\na.infra.test. 3600 A 192.0.2.3\nb.infra.test. 3600 A 192.0.2.4\n")
	service := s.service
	if service == nil {
		service = []string{
			`*.dkim.mail.example. 300 TXT "v=DKIM1; k=rsa; p=` + sceneKey + `"`,
			`_spf.mail.example. 300 TXT "v=spf1 ip4:192.0.2.0/24 -all"`,
			`mx.mail.example. 300 A 192.0.2.80`,
			`mx-eu.mail.example. 300 A 192.0.2.81`,
		}
	}
	fmt.Fprintln(&infra, strings.Join(service, "\n"))
	ours := []string{"example.net", "mail.example"}
	for _, z := range ours {
		if len(s.hosts(z)) > 0 {
			continue
		}
		fmt.Fprintf(&infra, "%s. 3600 SOA a.infra.test. x.infra.test. 1 3600 600 86400 60\n%s. 3600 NS a.infra.test.\n%s. 3600 NS b.infra.test.\n", z, z, z)
		fmt.Fprintf(&tlds, "%s. 3600 NS a.infra.test.\n%s. 3600 NS b.infra.test.\n", z, z)
	}
	var delegated []string
	delegate := func(zone string, hosts []string) {
		if slices.Contains(delegated, zone) {
			return
		}
		delegated = append(delegated, zone)
		for _, host := range hosts {
			if host != "none" {
				fmt.Fprintf(&tlds, "%s. 3600 NS %s.\n", zone, host)
			}
		}
	}
	for zone, hosts := range s.delegate {
		delegate(zone, hosts)
	}
	var apexes []string
	for _, server := range s.servers {
		apexes = append(apexes, server.zones...)
	}
	for _, zone := range apexes {
		inside := slices.ContainsFunc(apexes, func(a string) bool { return a != zone && within(zone, a) })
		if !inside && strings.Contains(zone, ".") {
			tld(zone)
			delegate(zone, s.hosts(zone))
		}
	}
	for _, server := range s.servers {
		line := fmt.Sprintf("%s. 3600 %s\n", server.host, addressText(server.addr))
		if within(server.host, "example.net") {
			infra.WriteString(line)
		} else {
			tld(server.host)
			tlds.WriteString(line) // glue
		}
	}
	return []sceneServer{
		{host: "a.root-servers.test", addr: "192.0.2.1", zones: []string{"."}, text: root.String()},
		{host: "ns.nic.test", addr: top, text: tlds.String()},
		{host: "a.infra.test", addr: "192.0.2.3", zones: ours, text: infra.String()},
		{host: "b.infra.test", addr: "192.0.2.4", zones: ours, text: infra.String()},
	}
}

func (s *scene) undefined(name string) bool { return strings.HasSuffix(name, ".nowhere") }

// play makes the servers of a scene and checks its records. It must run in a bubble.
func (s *scene) play(t testing.TB) []Finding {
	t.Helper()
	c, _ := s.stage(t)
	return c.Check(t.Context(), mustName(t, s.domain), s.records())
}

// stage makes the servers of a scene, by host name and by address, and a checker that
// asks them.
func (s *scene) stage(t testing.TB) (*Checker, map[string][]*dnstest.Server) {
	t.Helper()
	network := dnstest.Network{}
	byName := make(map[string][]*dnstest.Server)
	for _, server := range slices.Concat(s.world(), s.servers) {
		d := dnstest.New(t, server.text, dnstest.Authority())
		network[net.JoinHostPort(server.addr, "53")] = d
		byName[server.host] = append(byName[server.host], d)
		byName[server.addr] = append(byName[server.addr], d)
	}
	var addresses []string
	for i := range s.resolvers {
		addr := fmt.Sprintf("203.0.113.%d:53", i+1)
		d := dnstest.New(t, "", dnstest.Recursor(network, "192.0.2.1:53"))
		network[addr] = d
		addresses = append(addresses, addr)
		byName[fmt.Sprintf("resolver%d", i+1)] = []*dnstest.Server{d}
		byName["resolvers"] = append(byName["resolvers"], d)
	}
	for _, l := range s.local {
		for _, d := range byName[l[0]] {
			d.Add(l[1])
		}
	}
	for _, f := range s.faults {
		if len(byName[f[0]]) == 0 || len(f) < 4 {
			t.Fatalf("%s: fault %q of nobody", s.file, f)
		}
		name, qtype := strings.TrimPrefix(f[1], "*"), strings.TrimPrefix(f[2], "*")
		for _, d := range byName[f[0]] {
			d.Fail(name, qtype, sceneFaults(t, s, f[3:])...)
		}
	}
	resolver, err := NewResolver(ResolverConfig{Servers: addresses, Dial: network.Dial})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewChecker(CheckerConfig{Resolver: resolver, Quorum: s.quorum, Mode: s.mode, AllowPrivateNS: s.private, TrustAD: s.trusted, LookInside: s.inside})
	if err != nil {
		t.Fatalf("%s: %v", s.file, err)
	}
	return c, byName
}

func (s *scene) records() []Record {
	var list []Record
	for _, e := range s.expects {
		list = append(list, e.rec)
	}
	return list
}

func sceneFaults(t testing.TB, s *scene, words []string) []dnstest.Fault {
	t.Helper()
	plain := map[string]dnstest.Fault{
		"drop": dnstest.Drop, "servfail": dnstest.Servfail, "refused": dnstest.Refused, "nxdomain": dnstest.NXDomain, "lame": dnstest.Referral,
		"bogus": dnstest.Bogus, "ad": dnstest.Validated, "truncate": dnstest.Truncate, "garbage": dnstest.Garbage, "wrong-id": dnstest.WrongID,
		"formerr": dnstest.Formerr, "notimp": dnstest.NotImp, "no-aa": dnstest.NoAA, "partial": dnstest.Partial, "lower-case": dnstest.LowerCase, "no-soa": dnstest.NoSOA,
		"wrong-question": dnstest.WrongQuestion, "hide-dname": dnstest.HideDNAME,
	}
	var faults []dnstest.Fault
	for _, w := range words {
		w, onTCP := strings.CutPrefix(w, "tcp-")
		w, withEDNS := strings.CutPrefix(w, "edns-")
		w, first := strings.CutPrefix(w, "first-")
		kind, arg, _ := strings.Cut(w, ":")
		f, ok := plain[kind]
		switch kind {
		case "ede":
			code, _ := strconv.Atoi(arg)
			f, ok = dnstest.ExtendedBogus(uint16(code)), true
		case "lie":
			f, ok = dnstest.Lie(arg), true
		case "also":
			f, ok = dnstest.Also(arg), true
		case "authority":
			f, ok = dnstest.InAuthority(arg), true
		case "additional":
			f, ok = dnstest.Additional(arg), true
		case "instead":
			f, ok = dnstest.Instead(arg), true
		case "rewrite":
			f, ok = dnstest.Rewrite(arg), true
		case "delay":
			d, err := time.ParseDuration(arg)
			f, ok = dnstest.Delay(d), err == nil
		}
		if !ok {
			t.Fatalf("%s: unknown fault %q", s.file, w)
		}
		if onTCP {
			f = f.TCPOnly()
		}
		if withEDNS {
			f = f.EDNSOnly()
		}
		if first {
			f = f.First(1)
		}
		faults = append(faults, f)
	}
	return faults
}

func scenes(t testing.TB) []*scene {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []*scene
	for _, file := range files {
		list = append(list, readScene(t, file))
	}
	return list
}

func TestCorpusIsDiagnosedRight(t *testing.T) {
	for _, s := range scenes(t) {
		t.Run(strings.TrimSuffix(s.file, ".txt"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for i, f := range s.play(t) {
					s.compare(t, s.expects[i], f)
				}
			})
		})
	}
}

// compare compares a finding with what the scene expects.
func (s *scene) compare(t testing.TB, want expectation, got Finding) {
	t.Helper()
	if got.Outcome != want.outcome || got.Code != want.code {
		var grid strings.Builder
		for _, sight := range got.Seen {
			fmt.Fprintf(&grid, "\n  %+v", sight)
		}
		t.Errorf("%s %s %s: %s %s, want %s %s; observed %q; %s%s", s.file, got.Name, got.Type, got.Outcome, got.Code, want.outcome, want.code, got.Observed, got.Fix, grid.String())
	}
	for _, part := range want.says {
		if !strings.Contains(got.Fix, part) {
			t.Errorf("%s %s: %q does not say %q", s.file, got.Name, got.Fix, part)
		}
	}
	if want.wait != "" && got.WaitingHelps != (want.wait == "yes") {
		t.Errorf("%s %s: waiting helps: %v", s.file, got.Name, got.WaitingHelps)
	}
}

// What the corpus promises: enough cases, enough of them from life, every code.
func TestCorpusIsComplete(t *testing.T) {
	list := scenes(t)
	cited, codes := 0, make(map[Code]int)
	for _, s := range list {
		if len(s.cites) > 0 {
			cited++
		}
		for _, cite := range s.cites {
			if !strings.HasPrefix(cite, "https://") {
				t.Errorf("%s cites %q", s.file, cite)
			}
		}
		for _, e := range s.expects {
			codes[e.code]++
			if want := e.code.Outcome(); want != "" && want != e.outcome {
				t.Errorf("%s: %s is never %s", s.file, e.code, e.outcome)
			}
		}
	}
	if len(list) < 400 || cited < 170 {
		t.Errorf("%d cases, %d of them with a report", len(list), cited)
	}
	for _, code := range precedence {
		if codes[code] == 0 && code != CodeSPFPassAll { // which no record has
			t.Errorf("%s occurs in no case", code)
		}
	}
}
