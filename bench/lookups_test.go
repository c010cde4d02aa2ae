package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// What sweeps are measured with: domains of five records each, under one apex.
const (
	sweepApex    = "bench.test"
	sweepDomains = 20000
	perDomain    = 5
	sweepKey     = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	window       = 1000 // questions under way
	calm         = 128  // as many as the engine has under way with one server, which a socket's buffer holds
)

// sweepRecords are what the zone holds of a domain.
func sweepRecords(b testing.TB, i int) (dnscheck.Name, []dnscheck.Record) {
	b.Helper()
	name := func(s string) dnscheck.Name {
		n, err := dnscheck.ParseName(s)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	d := fmt.Sprintf("d%d.%s", i, sweepApex)
	token := fmt.Sprintf("postseal-verification=%032x", uint64(i)*0x9e3779b97f4a7c15)
	return name(d), []dnscheck.Record{
		{Purpose: dnscheck.Ownership, Name: name("_postseal." + d), Type: dnscheck.TXT, Value: token},
		{Purpose: dnscheck.Environment, Name: name("_postseal-env." + d), Type: dnscheck.TXT, Value: token},
		{Purpose: dnscheck.DKIM, Region: "r1", Name: name("ps1._domainkey." + d), Type: dnscheck.CNAME, Value: "k1.dkim." + sweepApex},
		{Purpose: dnscheck.DKIM, Region: "r2", Name: name("ps2._domainkey." + d), Type: dnscheck.CNAME, Value: "k2.dkim." + sweepApex},
		{Purpose: dnscheck.MailFromMX, Name: name("bounce." + d), Type: dnscheck.MX, Value: "feedback." + sweepApex},
	}
}

// serveKnot starts Knot with zones, by apex, on one worker, and returns where it listens.
func serveKnot(b *testing.B, zones map[string]string) (address string) {
	b.Helper()
	knotd, err := exec.LookPath("knotd")
	if err != nil {
		b.Fatal("knotd is missing: scripts/install-test-deps brings it")
	}
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address = free.LocalAddr().String()
	free.Close()
	var conf strings.Builder
	fmt.Fprintf(&conf, `
server:
  rundir: %[1]q
  listen: %[2]s
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %[1]q
log:
  - target: stderr
    any: error
template:
  - id: default
    storage: %[1]q
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    semantic-checks: off
zone:
`, dir, strings.Replace(address, ":", "@", 1))
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for apex, text := range zones {
		fmt.Fprintf(&conf, "  - domain: %[1]s\n    file: %[1]s.zone\n", apex)
		write(apex+".zone", "$ORIGIN "+apex+".\n$TTL 300\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n"+text)
	}
	write("knot.conf", conf.String())
	c := exec.Command(knotd, "-c", filepath.Join(dir, "knot.conf"))
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	r := sweepResolver(b, address)
	for apex := range zones {
		for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			if _, err := r.LookupIPAddr(b.Context(), "ns."+apex); err == nil {
				break
			} else if time.Since(began) > 30*time.Second {
				b.Fatalf("knotd does not answer: %v", err)
			}
		}
	}
	return address
}

// zoneText is what owners would publish.
func zoneText(records []dnscheck.Record) string {
	var zone strings.Builder
	for _, r := range records {
		switch r.Type {
		case dnscheck.TXT:
			fmt.Fprintf(&zone, "%s. TXT %q\n", r.Name, r.Value)
		case dnscheck.CNAME:
			fmt.Fprintf(&zone, "%s. CNAME %s.\n", r.Name, r.Value)
		case dnscheck.MX:
			fmt.Fprintf(&zone, "%s. MX 10 %s.\n", r.Name, r.Value)
		}
	}
	return zone.String()
}

func sweepResolver(b testing.TB, address string) *dnscheck.Resolver {
	b.Helper()
	r, err := dnscheck.NewResolver(dnscheck.ResolverConfig{Servers: []string{address}, Timeout: 3 * time.Second, Tries: 3})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// pass is what it cost to do many things once.
type pass struct {
	perSecond float64
	cpu       time.Duration // of this process, for one
	allocs    float64
}

// measure times a pass over things, and what it took of this process.
func measure(things int, do func()) pass {
	var before, after syscall.Rusage
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	began := time.Now()
	do()
	took := time.Since(began)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	runtime.ReadMemStats(&m1)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	return pass{
		perSecond: float64(things) / took.Seconds(), cpu: cpu / time.Duration(things),
		allocs: float64(m1.Mallocs-m0.Mallocs) / float64(things),
	}
}

// wire is a question that needs but an id.
func wire(name string, qtype uint16) []byte {
	p := []byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		p = append(append(p, byte(len(label))), label...)
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(append(p, 0), qtype), 1)
}

// rawPass is the leanest client there is: packets made beforehand, two sockets, a window
// of ids, nothing read of an answer but its id, its code and that it has records.
func rawPass(b *testing.B, address string, packets [][]byte, window int) {
	b.Helper()
	var wg sync.WaitGroup
	for s := range 2 {
		wg.Go(func() {
			conn, err := net.Dial("udp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			own := packets[s*len(packets)/2 : (s+1)*len(packets)/2]
			slots := make([]int, window/2) // of own, by id; -1: free
			next, done := 0, 0
			send := func(id int) {
				if slots[id] = -1; next < len(own) {
					slots[id] = next
					binary.BigEndian.PutUint16(own[next], uint16(id))
					if _, err := conn.Write(own[next]); err != nil {
						b.Error(err)
					}
					next++
				}
			}
			for id := range slots {
				send(id)
			}
			buf := make([]byte, 1500)
			for lost := 0; done < len(own); {
				_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				n, err := conn.Read(buf)
				if errors.Is(err, os.ErrDeadlineExceeded) && lost < 50 {
					lost++
					for _, i := range slots {
						if i >= 0 {
							_, _ = conn.Write(own[i])
						}
					}
					continue
				}
				if err != nil {
					b.Error(err)
					return
				}
				id := int(binary.BigEndian.Uint16(buf))
				if n < 12 || id >= len(slots) || slots[id] < 0 {
					continue
				}
				if buf[3]&15 != 0 || buf[7] == 0 {
					b.Errorf("an answer without records")
				}
				done++
				send(id)
			}
		})
	}
	wg.Wait()
}

// inWindow calls do for each domain, as many at a time as make up the window.
func inWindow(each int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range window / each {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < sweepDomains; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}

// lookupPass asks for each record through the client of the engine, and compares.
func lookupPass(b *testing.B, r *dnscheck.Resolver, records [][]dnscheck.Record) {
	b.Helper()
	var bad atomic.Int64
	inWindow(4, func(i int) { // the client has no more under way with one server
		for _, rec := range records[i] {
			found := false
			switch rec.Type {
			case dnscheck.MX:
				mxs, _ := r.LookupMX(context.Background(), rec.Name.String())
				found = slices.ContainsFunc(mxs, func(mx *net.MX) bool { return mx.Pref == 10 && mx.Host == rec.Value+"." })
			default:
				want := rec.Value
				if rec.Type == dnscheck.CNAME {
					want = sweepKey
				}
				txts, _ := r.LookupTXT(context.Background(), rec.Name.String())
				found = slices.Contains(txts, want)
			}
			if !found {
				bad.Add(1)
			}
		}
	})
	if n := bad.Load(); n > 0 {
		b.Errorf("%d records were not found", n)
	}
}

// checkPass looks all domains up through a Checker that has one witness, and needs no more.
func checkPass(b *testing.B, c *dnscheck.Checker, names []dnscheck.Name, records [][]dnscheck.Record) {
	b.Helper()
	var bad atomic.Int64
	inWindow(perDomain, func(i int) {
		for _, f := range c.Check(context.Background(), names[i], records[i]) {
			if f.Outcome != dnscheck.Match {
				bad.Add(1)
			}
		}
	})
	if n := bad.Load(); n > 0 {
		b.Errorf("%d records are not told to be there", n)
	}
}

var perSecondLine = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)

// dnsperfPass is what dnsperf says of the same questions, with the same window.
func dnsperfPass(b *testing.B, dnsperf, address, questions string) float64 {
	b.Helper()
	host, port, _ := net.SplitHostPort(address)
	out, err := exec.Command(dnsperf, "-s", host, "-p", port, "-d", questions, "-n", "1", "-c", "2", "-T", "1", "-q", strconv.Itoa(window)).Output()
	m := perSecondLine.FindSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("dnsperf: %v\n%s", err, out)
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return n
}

// BenchmarkSweepLookups is looking 100,000 records up at a local Knot: asked, parsed,
// compared, judged and told as findings, by the client and the engine of every check. The
// limit: packets of a raw socket. dnsperf stands beside them.
func BenchmarkSweepLookups(b *testing.B) {
	dnsperf, err := exec.LookPath("dnsperf")
	if err != nil {
		b.Fatal("dnsperf is missing: scripts/install-test-deps dnsperf brings it")
	}
	names, records := make([]dnscheck.Name, sweepDomains), make([][]dnscheck.Record, sweepDomains)
	var packets [][]byte
	var list, zone strings.Builder
	fmt.Fprintf(&zone, "feedback A 127.0.0.1\nk1.dkim TXT %[1]q\nk2.dkim TXT %[1]q\n", sweepKey)
	types := map[dnscheck.Type]uint16{dnscheck.TXT: 16, dnscheck.CNAME: 16, dnscheck.MX: 15} // of a CNAME is asked what is behind it
	for i := range names {
		names[i], records[i] = sweepRecords(b, i)
		zone.WriteString(zoneText(records[i]))
		for _, r := range records[i] {
			packets = append(packets, wire(r.Name.String(), types[r.Type]))
			fmt.Fprintf(&list, "%s TYPE%d\n", r.Name, types[r.Type])
		}
	}
	address := serveKnot(b, map[string]string{sweepApex: zone.String()})
	questions := filepath.Join(b.TempDir(), "questions")
	if err := os.WriteFile(questions, []byte(list.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	client := sweepResolver(b, address)
	c, err := dnscheck.NewChecker(dnscheck.CheckerConfig{Resolver: sweepResolver(b, address), Quorum: 1, Timeout: 20 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	const lookups = sweepDomains * perDomain
	var raw, lean, ours, checks []pass
	var perf []float64
	for b.Loop() {
		for range rounds {
			raw = append(raw, measure(lookups, func() { rawPass(b, address, packets, window) }))
			lean = append(lean, measure(lookups, func() { rawPass(b, address, packets, calm) }))
			ours = append(ours, measure(lookups, func() { lookupPass(b, client, records) }))
			checks = append(checks, measure(lookups, func() { checkPass(b, c, names, records) }))
			perf = append(perf, dnsperfPass(b, dnsperf, address, questions))
		}
	}
	if b.Failed() {
		return
	}
	b.ReportMetric(0, "ns/op")
	reportPasses(b, "raw", raw, raw)
	reportPasses(b, "calm", lean, raw)
	reportPasses(b, "ours", ours, raw)
	reportPasses(b, "checks", checks, raw)
	b.ReportMetric(median(perf), "dnsperf/s")
}

// reportPasses prints rate, processor time and allocations, and how many times the limit's
// time and processor time that is, by the median of the rounds' own ratios.
func reportPasses(b *testing.B, title string, ps, limit []pass) {
	b.Helper()
	var rate, cpu, allocs, slower, dearer []float64
	for i, p := range ps {
		rate, cpu, allocs = append(rate, p.perSecond), append(cpu, float64(p.cpu.Nanoseconds())/1000), append(allocs, p.allocs)
		slower, dearer = append(slower, limit[i].perSecond/p.perSecond), append(dearer, float64(p.cpu)/float64(limit[i].cpu))
	}
	b.ReportMetric(median(rate), title+"/s")
	b.ReportMetric(median(cpu), title+"-us")
	if &ps[0] != &limit[0] {
		b.ReportMetric(median(allocs), title+"-allocs")
		b.ReportMetric(median(slower), title+"-slower")
		b.ReportMetric(median(dearer), title+"-dearer")
	}
}
