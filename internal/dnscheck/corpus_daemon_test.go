package dnscheck

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Where Debian puts the daemons of its packages knot and unbound.
const (
	knotd   = "/usr/sbin/knotd"
	unbound = "/usr/sbin/unbound"
)

// The zones of the corpus that need no faults, served by Knot at loopback addresses and
// looked at through two unbounds that start at our own root: what dnstest says of the DNS
// must be what real servers say.
func TestCorpusOnRealServers(t *testing.T) {
	for _, path := range []string{knotd, unbound} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%s is missing: scripts/install-test-deps brings it", path)
		}
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test is not run by root, and name servers listen on port 53: run it as root")
	}
	// Several runs on one machine must not meet.
	net := fmt.Sprintf("127.%d", 10+os.Getpid()%240)
	var played []*scene
	earth := make(map[string]map[string]bool) // address -> lines of zone text
	names := regexp.MustCompile(`(?i)\b(example\.(?:org|net|com|co\.uk)|other\.org|elsewhere\.org)\b`)
	for i, s := range scenes(t) {
		if s.unreal() != "" {
			continue
		}
		move := func(text string) string {
			text = names.ReplaceAllStringFunc(text, func(name string) string {
				label, rest, _ := strings.Cut(name, ".")
				return fmt.Sprintf("%s%d.%s", label, i, rest)
			})
			return strings.ReplaceAll(text, "192.0.2.", net+".2.")
		}
		for _, server := range slices.Concat(s.world(), s.servers) {
			addr := move(server.addr)
			if earth[addr] == nil {
				earth[addr] = make(map[string]bool)
			}
			for line := range strings.SplitSeq(move(server.text), "\n") {
				if strings.TrimSpace(line) != "" {
					earth[addr][line] = true
				}
			}
		}
		s.domain = move(s.domain)
		for j := range s.expects {
			e := &s.expects[j]
			e.rec.Name = mustName(t, move(e.rec.Name.s))
			for k := range e.says {
				e.says[k] = move(e.says[k])
			}
		}
		played = append(played, s)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	resolvers := []string{net + ".3.1:53", net + ".3.2:53"}
	// later.org is published on the servers that we are led to, and not yet on those that the
	// resolvers ask; signed.org has a trust anchor that its servers know nothing of.
	for _, line := range []string{"later.org. 3600 SOA ns1.later.org. h.later.org. 1 3600 600 86400 120", "later.org. 3600 NS ns1.later.org.", "later.org. 3600 NS ns2.later.org.",
		"ns1.later.org. 3600 A " + net + ".2.11", "ns2.later.org. 3600 A " + net + ".2.12"} {
		for _, host := range []string{".2.11", ".2.12", ".2.61", ".2.62"} {
			if earth[net+host] == nil {
				earth[net+host] = make(map[string]bool)
			}
			earth[net+host][line] = true
			earth[net+host][strings.ReplaceAll(line, "later.org", "signed.org")] = true
		}
		if !strings.Contains(line, "SOA") {
			earth[net+".2.2"][line] = true
			earth[net+".2.2"][strings.ReplaceAll(line, "later.org", "signed.org")] = true
		}
	}
	for _, host := range []string{".2.61", ".2.62"} {
		earth[net+host][`_postseal.later.org. 300 TXT "`+token+`"`] = true
	}
	for _, host := range []string{".2.11", ".2.12"} {
		earth[net+host][`_postseal.signed.org. 300 TXT "`+token+`"`] = true
	}
	for addr, lines := range earth {
		startKnot(t, filepath.Join(dir, addr), addr, slices.Sorted(maps.Keys(lines)))
	}
	for i, addr := range resolvers {
		anchor := fmt.Sprintf("ede: %s\n    trust-anchor: \"signed.org. 3600 IN DS 12345 8 2 %s\"", []string{"yes", "no"}[i], strings.Repeat("0123456789abcdef", 4))
		startUnbound(t, filepath.Join(dir, addr), strings.TrimSuffix(addr, ":53"), net+".2.1", anchor)
	}
	r, err := NewResolver(ResolverConfig{Servers: resolvers})
	if err != nil {
		t.Fatal(err)
	}
	for addr := range earth {
		waitFor(t, r, addr+":53", ".")
	}
	for _, addr := range resolvers {
		waitFor(t, r, addr, "ns.nic.org")
	}
	for _, s := range played {
		c, err := NewChecker(CheckerConfig{Resolver: r, Quorum: s.quorum, Mode: s.mode, AllowPrivateNS: true})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for i, f := range c.Check(t.Context(), mustName(t, s.domain), s.records()) {
			s.compare(t, s.expects[i], f)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("%s took %s", s.file, d)
		}
	}
	t.Run("bogus", func(t *testing.T) {
		c, err := NewChecker(CheckerConfig{Resolver: r, Mode: ModeAuthoritative, AllowPrivateNS: true})
		if err != nil {
			t.Fatal(err)
		}
		f := c.Check(t.Context(), mustName(t, "signed.org"), []Record{ownership(t, "signed.org")})[0]
		if f.Outcome != Unknown || f.Code != CodeDNSSECBogus || len(f.Seen) != 4 {
			t.Errorf("%s %s: %s; %+v", f.Outcome, f.Code, f.Fix, f.Seen)
		}
		t.Log(f.Fix)
	})
	t.Run("negative cached", func(t *testing.T) {
		rec := ownership(t, "later.org")
		for _, addr := range resolvers {
			if a := r.ask(t.Context(), addr, rec.question()); a.result != SawNXDOMAIN {
				t.Fatalf("%s says %s", addr, a.result)
			}
		}
		c, err := NewChecker(CheckerConfig{Resolver: r, Mode: ModeAuthoritative, AuthoritativeMap: map[netip.Addr]string{
			netip.MustParseAddr(net + ".2.11"): net + ".2.61:53", netip.MustParseAddr(net + ".2.12"): net + ".2.62:53",
		}})
		if err != nil {
			t.Fatal(err)
		}
		f := c.Check(t.Context(), mustName(t, "later.org"), []Record{rec})[0]
		if left := time.Until(f.RetryAt); f.Outcome != Match || f.Code != CodeNegativeCached || left < 100*time.Second || left > 121*time.Second || !f.WaitingHelps {
			t.Errorf("%s %s, %s left: %s; %+v", f.Outcome, f.Code, left, f.Fix, f.Seen)
		}
	})
	t.Logf("%d cases on %d name servers and %d resolvers", len(played), len(earth), len(resolvers))
	if len(played) < 150 {
		t.Errorf("only %d cases", len(played))
	}
}

// unreal tells why a scene cannot be played by these daemons; empty when it can.
func (s *scene) unreal() string {
	switch {
	case len(s.faults) > 0:
		return "it needs faults"
	case len(s.local) > 0 || len(s.trusted) > 0:
		return "it needs a resolver of its own"
	case s.service != nil:
		return "it needs a service zone of its own"
	case strings.HasPrefix(s.file, "key-beside-"), slices.Contains([]string{"target-with-scheme.txt", "e-deleg-token-is-a-zone-with-cname.txt", "e-deleg-ns-and-cname-at-once.txt"}, s.file):
		return "Knot refuses to load such a zone"
	}
	for _, server := range s.servers {
		if !strings.HasPrefix(server.addr, "192.0.2.") {
			return "its servers have addresses that we cannot listen at"
		}
	}
	return ""
}

// startKnot serves the zones that begin at the SOA records of the lines.
func startKnot(t *testing.T, dir, addr string, lines []string) {
	t.Helper()
	var rrs []dns.RR
	var apexes []string
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil {
			t.Fatalf("%s: %q: %v", addr, line, err)
		}
		rrs = append(rrs, rr)
		if rr.Header().Rrtype == dns.TypeSOA {
			apexes = append(apexes, dns.CanonicalName(rr.Header().Name))
		}
	}
	zones := make(map[string]*strings.Builder)
	for _, rr := range rrs {
		best := ""
		for _, apex := range apexes {
			if dns.IsSubDomain(apex, dns.CanonicalName(rr.Header().Name)) && len(apex) > len(best) {
				best = apex
			}
		}
		if best == "" {
			continue
		}
		if zones[best] == nil {
			zones[best] = new(strings.Builder)
		}
		if rr.Header().Ttl == 0 {
			rr.Header().Ttl = 300
		}
		fmt.Fprintln(zones[best], rr)
	}
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "server:\n    rundir: %s\n    listen: %s@53\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n", dir, addr)
	fmt.Fprintf(&conf, "control:\n    listen: %s/knot.sock\ndatabase:\n    storage: %s/db\n", dir, dir)
	fmt.Fprintf(&conf, "log:\n  - target: stderr\n    any: error\ntemplate:\n  - id: default\n    storage: %s\n    semantic-checks: off\n    zonefile-sync: -1\n    journal-content: none\nzone:\n", dir)
	for i, apex := range slices.Sorted(maps.Keys(zones)) {
		file := fmt.Sprintf("%d.zone", i)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(zones[apex].String()), 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&conf, "  - domain: %s\n    file: %s\n", apex, file)
	}
	write(t, filepath.Join(dir, "knot.conf"), conf.String())
	startDaemon(t, knotd, "-c", filepath.Join(dir, "knot.conf"))
}

func startUnbound(t *testing.T, dir, addr, root, more string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "root.hints"), ". 3600 NS a.root-servers.test.\na.root-servers.test. 3600 A "+root+"\n")
	write(t, filepath.Join(dir, "unbound.conf"), fmt.Sprintf(`
server:
    interface: %s@53
    do-daemonize: no
    use-syslog: no
    logfile: ""
    username: ""
    chroot: ""
    directory: %q
    pidfile: ""
    num-threads: 1
    do-ip6: no
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    root-hints: root.hints
    module-config: "validator iterator"
    local-zone: "test." nodefault
    %s
remote-control:
    control-enable: no
`, addr, dir, more))
	startDaemon(t, unbound, "-d", "-c", filepath.Join(dir, "unbound.conf"))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// startDaemon ends the process with the test and shows what it said when the test failed.
func startDaemon(t *testing.T, path string, args ...string) {
	t.Helper()
	var mu sync.Mutex
	var said strings.Builder
	cmd := exec.Command(path, args...)
	out := writer(func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		said.Write(p[:min(len(p), max(0, 4000-said.Len()))])
	})
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() && said.Len() > 0 {
			t.Logf("%s said:\n%s", path, said.String())
		}
	})
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// waitFor waits until a server says anything.
func waitFor(t *testing.T, r *Resolver, addr, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		a := r.put(ctx, addr, question{bare(name), dns.TypeA}, manner{zone: "org", tries: 1})
		if a.result != SawUnreachable && a.result != SawTimeout {
			return
		}
		if !pause(ctx, 50*time.Millisecond) {
			t.Fatalf("%s does not answer: %s %s", addr, a.result, a.detail)
		}
	}
}
