package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Where Debian puts the peers, with the packages that bring them. The paths are
// fixed, so that no other program of the name is taken for the peer.
const (
	knotd         = "/usr/sbin/knotd"
	knotc         = "/usr/sbin/knotc"
	unbound       = "/usr/sbin/unbound"
	postfix       = "/usr/sbin/postfix"
	postfixMaster = "/usr/lib/postfix/sbin/master"
	python        = "/usr/bin/python3"
)

var programs = []struct{ path, debian string }{
	{knotd, "knot"}, {knotc, "knot"}, {unbound, "unbound"}, {postfix, "postfix"}, {postfixMaster, "postfix"}, {python, "python3"},
}

// pythonModules name the Debian packages of the modules that the scripts import.
var pythonModules = map[string]string{"dkim": "python3-dkim", "dns": "python3-dnspython", "spf": "python3-spf"}

// peers are the programs around an instance, with their files in one directory.
type peers struct {
	t   *testing.T
	ctx context.Context
	dir string

	knotConf string
}

// newPeers makes the directory, and fails where anything that is needed is
// missing. A failed test shows the end of every log.
func newPeers(t *testing.T) *peers {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 55*time.Second)
	t.Cleanup(cancel)
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p.path); err != nil {
			missing = append(missing, fmt.Sprintf("%s is missing: install Debian's package %s", p.path, p.debian))
		}
	}
	missing = append(missing, missingModules(ctx)...)
	if os.Geteuid() != 0 {
		missing = append(missing, "this test is not run by root, and Postfix starts as root only: run it as root")
	}
	if len(missing) > 0 {
		t.Fatal(strings.Join(missing, "\n"))
	}
	// Not t.TempDir: the names of Unix sockets are limited to about 100 octets, and
	// Postfix's unprivileged parts must be able to reach their files.
	dir, err := os.MkdirTemp("", "postseal-peers-")
	p := &peers{t: t, ctx: ctx, dir: dir}
	p.must(err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p.must(os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if t.Failed() {
			p.showLogs()
		}
	})
	return p
}

func missingModules(ctx context.Context) (missing []string) {
	const script = "import sys, importlib.util\nfor m in sys.argv[1:]:\n  if importlib.util.find_spec(m) is None: print(m)"
	modules := slices.Sorted(maps.Keys(pythonModules))
	out, err := exec.CommandContext(ctx, python, append([]string{"-c", script}, modules...)...).Output()
	if err != nil {
		return nil // without Python there is more missing than modules, and that is told already
	}
	for m := range strings.FieldsSeq(string(out)) {
		missing = append(missing, fmt.Sprintf("%s can't import %s: install Debian's package %s", python, m, pythonModules[m]))
	}
	return missing
}

func (p *peers) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// folder makes a directory, and those above it.
func (p *peers) folder(elem ...string) string {
	p.t.Helper()
	name := filepath.Join(append([]string{p.dir}, elem...)...)
	p.must(os.MkdirAll(name, 0o755))
	return name
}

// path names a file, whose directory it makes.
func (p *peers) path(elem ...string) string {
	p.t.Helper()
	last := len(elem) - 1
	return filepath.Join(p.folder(elem[:last]...), elem[last])
}

// write makes a file. In its text @D@ stands for the directory, and of each pair
// the first for the second.
func (p *peers) write(name, text string, pairs ...string) {
	p.t.Helper()
	text = strings.NewReplacer(append(pairs, "@D@", p.dir)...).Replace(strings.TrimPrefix(text, "\n"))
	p.must(os.WriteFile(name, []byte(text), 0o644))
}

// debugLine is one of Postseal's own that would hide the others.
var debugLine = regexp.MustCompile(`(?m)^time=\S+ level=DEBUG .*\n`)

func (p *peers) showLogs() {
	_ = filepath.WalkDir(p.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != ".log" {
			return nil //nolint:nilerr // what can't be shown is not
		}
		b, _ := os.ReadFile(name)
		b = debugLine.ReplaceAll(b, nil)
		const most = 6000
		p.t.Logf("the end of %s:\n%s", filepath.Base(name), b[max(0, len(b)-most):])
		return nil
	})
}

// A daemon is a child process in the foreground.
type daemon struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, readable then
}

// leash starts a command so that it ends with this process, however that ends:
// standard input is a pipe that only we hold, and a child waits for its end. The
// command has the shell's process id, and with it a process group of its own.
const leash = `exec 3<&0
{ cat <&3 >/dev/null; kill -s TERM -- -$$; } >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null`

// launch starts a command, with its output in name.log; the daemon ends with the
// test at the latest.
func (p *peers) launch(name string, argv ...string) *daemon {
	p.t.Helper()
	log, err := os.OpenFile(p.path(name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	p.must(err)
	defer log.Close()
	d := &daemon{cmd: exec.Command("/bin/sh", append([]string{"-c", leash, "sh"}, argv...)...), done: make(chan struct{})}
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = p.dir, log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, err = d.cmd.StdinPipe()
	p.must(err)
	p.must(d.cmd.Start())
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	p.t.Cleanup(func() {
		if !d.stop(5 * time.Second) {
			p.t.Errorf("%s did not end within 5 s of SIGTERM and was killed", name)
		}
	})
	return d
}

// stop asks the daemon to end, waits, and kills what is left of its group. It
// reports whether the daemon obeyed.
func (d *daemon) stop(patience time.Duration) (obeyed bool) {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-d.done:
		obeyed = true
	case <-time.After(patience):
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // there may be no one left
	<-d.done
	return obeyed
}

// start runs a daemon on a free port of 127.0.0.1 and returns HOST:PORT once
// ready agrees. A port may be taken between the look and the daemon's bind, so one
// that ends at once gets another.
func (p *peers) start(name string, configure func(port string) (argv []string), ready func(address string) error) string {
	p.t.Helper()
	for range 5 {
		port := p.freePort()
		address := net.JoinHostPort("127.0.0.1", port)
		d := p.launch(name, configure(port)...)
		var last error
		for ended := false; !ended; {
			if last = ready(address); last == nil {
				return address
			}
			select {
			case <-d.done:
				ended = true
			case <-p.ctx.Done():
				p.t.Fatalf("%s is not ready: %v", name, last)
			case <-time.After(20 * time.Millisecond):
			}
		}
		p.t.Logf("%s ended (%v) instead of listening on port %s", name, d.err, port)
	}
	p.t.Fatalf("%s did not start; its log is below", name)
	return ""
}

// freePort finds a port that is free for TCP and UDP just now.
func (p *peers) freePort() string {
	p.t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		p.must(err)
		u, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			_, port, err := net.SplitHostPort(l.Addr().String())
			p.must(err)
			return port
		}
	}
	p.t.Fatal("no port is free for both TCP and UDP")
	return ""
}

// run runs a command to its end and returns what it printed.
func (p *peers) run(stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Dir = strings.NewReader(stdin), p.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// knowsTenant asks a name server for the SOA of the tenant's zone.
func knowsTenant(address string) error {
	c := dns.Client{Timeout: 500 * time.Millisecond}
	r, _, err := c.Exchange(new(dns.Msg).SetQuestion(tenantZone+".", dns.TypeSOA), address)
	if err == nil && (r.Rcode != dns.RcodeSuccess || len(r.Answer) == 0) {
		err = fmt.Errorf("%s answers %s", address, dns.RcodeToString[r.Rcode])
	}
	return err
}

// startKnot serves the tenant's zone with authority, and returns its HOST:PORT.
func (p *peers) startKnot() string {
	p.t.Helper()
	p.knotConf = p.path("knot", "knot.conf")
	p.folder("knot", "db")
	p.write(p.path("knot", "tenant.zone"), `
$ORIGIN @ZONE@.
$TTL 1
@ SOA ns1 hostmaster 1 3600 600 86400 1
@ NS ns1
ns1 A 127.0.0.1
`, "@ZONE@", tenantZone)
	return p.start("knot", func(port string) []string {
		p.write(p.knotConf, `
server:
    listen: 127.0.0.1@@PORT@
    rundir: @D@/knot
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: @D@/knot/knot.sock
database:
    storage: @D@/knot/db
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: @D@/knot
    journal-content: changes
    zonefile-sync: -1
    zonefile-load: whole
zone:
  - domain: @ZONE@
    file: tenant.zone
`, "@PORT@", port, "@ZONE@", tenantZone)
		return []string{knotd, "-c", p.knotConf}
	}, knowsTenant)
}

// knot gives commands to Knot, and demands that it takes each.
func (p *peers) knot(commands ...string) {
	p.t.Helper()
	out, err := p.run(strings.Join(commands, "\n")+"\n", knotc, "-f", "-t", "10", "-c", p.knotConf)
	if n := strings.Count(out, "OK"); err != nil || n != len(commands) || strings.Contains(out, "error") {
		p.t.Fatalf("knotc took %d of %d commands: %v\n%s", n, len(commands), err, out)
	}
}

// publish changes the tenant's zone: all or nothing, visible at once to those who
// ask Knot itself.
func (p *peers) publish(add, remove []record) {
	p.t.Helper()
	commands := []string{"zone-begin " + tenantZone}
	for _, r := range remove {
		commands = append(commands, fmt.Sprintf("zone-unset %s %s. %s", tenantZone, r.name, r.rtype))
	}
	for _, r := range add {
		value := r.value + "."
		if r.rtype == "TXT" {
			value = `"\"` + r.value + `\""` // one string to Knot, which has to see the quotes
		}
		commands = append(commands, fmt.Sprintf("zone-set %s %s. 1 %s %s", tenantZone, r.name, r.rtype, value))
	}
	p.knot(append(commands, "zone-commit "+tenantZone)...)
}

// startUnbound starts a resolver that asks Knot about the tenant's zone and
// Postseal about the service's, and returns its HOST:PORT.
func (p *peers) startUnbound(name, tenant, service string) string {
	p.t.Helper()
	at := strings.NewReplacer(":", "@")
	return p.start(name, func(port string) []string {
		conf := p.path(name, "unbound.conf")
		p.write(conf, `
server:
    interface: 127.0.0.1@@PORT@
    do-daemonize: no
    use-syslog: no
    logfile: ""
    username: ""
    chroot: ""
    directory: "@D@/@NAME@"
    pidfile: ""
    num-threads: 1
    do-ip6: no
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    module-config: "iterator"
    cache-max-ttl: 1
    cache-max-negative-ttl: 1
    infra-host-ttl: 1
    unknown-server-time-limit: 100
    local-zone: "test." nodefault
    msg-cache-size: 1m
    rrset-cache-size: 1m
remote-control:
    control-enable: no
stub-zone:
    name: "@ZONE@."
    stub-addr: @TENANT@
stub-zone:
    name: "@SERVICE@."
    stub-addr: @OURS@
`, "@PORT@", port, "@NAME@", name, "@ZONE@", tenantZone, "@TENANT@", at.Replace(tenant), "@SERVICE@", serviceDomain, "@OURS@", at.Replace(service))
		return []string{unbound, "-d", "-c", conf}
	}, knowsTenant)
}

// startPostfix starts a relay that hands everything to another server, with the
// reverse-path in a Return-Path as a last hop would, and returns its HOST:PORT.
func (p *peers) startPostfix(next string) string {
	p.t.Helper()
	owner, err := user.Lookup("postfix")
	p.must(err)
	uid, err := strconv.Atoi(owner.Uid)
	p.must(err)
	p.folder("postfix", "queue")
	p.must(os.Chown(p.folder("postfix", "data"), uid, -1))
	host, port, err := net.SplitHostPort(next)
	p.must(err)
	p.write(p.path("postfix", "etc", "main.cf"), `
compatibility_level = 3.6
queue_directory = @D@/postfix/queue
data_directory = @D@/postfix/data
mail_owner = postfix
setgid_group = postdrop
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = @D@/postfix/mail.log
maillog_file_prefixes = @D@
myhostname = @RELAY@
mydomain = postseal.test
mydestination =
local_recipient_maps =
local_transport = error:no local mail
alias_maps =
alias_database =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
relayhost = @NEXT@
default_transport = smtp
smtputf8_enable = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = none
smtpd_tls_security_level = none
biff = no
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
anvil_rate_time_unit = 1s
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
`, "@RELAY@", relayHost, "@NEXT@", "["+host+"]:"+port)
	checked := false
	return p.start("postfix", func(port string) []string {
		p.write(p.path("postfix", "etc", "master.cf"), `
127.0.0.1:@PORT@ inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 1 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp flags=R
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`, "@PORT@", port)
		etc := p.folder("postfix", "etc")
		if !checked { // this also makes the queue
			if out, err := p.run("", postfix, "-c", etc, "check"); err != nil {
				p.t.Fatalf("postfix check: %v\n%s", err, out)
			}
			checked = true
		}
		return []string{postfixMaster, "-c", etc, "-d"}
	}, greets)
}

// greets demands the greeting of our relay.
func greets(address string) error {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "220 "+relayHost) {
		err = fmt.Errorf("%s greets with %q", address, line)
	}
	_, quit := fmt.Fprint(c, "QUIT\r\n")
	return errors.Join(err, quit)
}

// lookUp is the DNS of both scripts: TXT records through our resolver alone,
// whatever the machine's own may be.
const lookUp = `
import sys, dns.message, dns.query, dns.rcode, dns.rdatatype
def txt(name):
    q = dns.message.make_query(name, 'TXT')
    r, _ = dns.query.udp_with_fallback(q, sys.argv[1], port=int(sys.argv[2]), timeout=5)
    if r.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise IOError('%s: %s' % (name, dns.rcode.to_text(r.rcode())))
    return [list(rr.strings) for rrset in r.answer if rrset.rdtype == dns.rdatatype.TXT for rr in rrset]
`

// dkimScript prints a line for each signature of each file: FILE SDID SELECTOR
// pass|fail REASON. A message without any fails.
const dkimScript = lookUp + `
import dkim
def key(name, timeout=5):
    for strings in txt(name.decode() if isinstance(name, bytes) else name):
        return b''.join(strings)
for path in sys.argv[3:]:
    with open(path, 'rb') as f:
        d = dkim.DKIM(f.read())
    n = sum(h.lower() == b'dkim-signature' for h, _ in d.headers)
    if n == 0:
        print(path, '-', '-', 'fail', 'no signature')
    for i in range(n):
        try:
            good, why = d.verify(idx=i, dnsfunc=key), ''
        except dkim.DKIMException as e:
            good, why = False, str(e)
        print(path, d.domain.decode(), d.selector.decode(), 'pass' if good else 'fail', why)
`

// spfScript prints the result for each pair of client address and reverse-path.
const spfScript = lookUp + `
import spf
def answers(name, qtype, *rest):
    if qtype != 'TXT':
        return []
    try:
        return [((name, qtype), strings) for strings in txt(name)]
    except Exception as e:
        raise spf.TempError(str(e))
spf.DNSLookup = answers
for client, path in zip(sys.argv[3::2], sys.argv[4::2]):
    print(spf.check2(i=client, s=path, h='` + relayHost + `')[0])
`

// dkimVerdict is python3-dkim's word on one signature.
type dkimVerdict struct {
	sdid, selector string
	pass           bool
	why            string
}

// dkim has messages judged, by name.
func (p *peers) dkim(resolver string, messages map[string][]byte) map[string][]dkimVerdict {
	p.t.Helper()
	host, port, err := net.SplitHostPort(resolver)
	p.must(err)
	argv := []string{python, "-c", dkimScript, host, port}
	for name, raw := range messages {
		file := p.path("mail", name)
		p.must(os.WriteFile(file, raw, 0o600))
		argv = append(argv, file)
	}
	out, err := p.run("", argv...)
	if err != nil {
		p.t.Fatalf("python3-dkim gave no verdict: %v\n%s", err, out)
	}
	verdicts := make(map[string][]dkimVerdict)
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
		if len(f) < 5 {
			p.t.Fatalf("python3-dkim said what nobody can read: %q", out)
		}
		name := filepath.Base(f[0])
		verdicts[name] = append(verdicts[name], dkimVerdict{f[1], f[2], f[3] == "pass", f[4]})
	}
	if len(verdicts) != len(messages) {
		p.t.Fatalf("python3-dkim judged %d of %d messages:\n%s", len(verdicts), len(messages), out)
	}
	return verdicts
}

// spf has pairs of client address and reverse-path judged, in order.
func (p *peers) spf(resolver string, pairs ...string) []string {
	p.t.Helper()
	host, port, err := net.SplitHostPort(resolver)
	p.must(err)
	out, err := p.run("", append([]string{python, "-c", spfScript, host, port}, pairs...)...)
	if err != nil {
		p.t.Fatalf("python3-spf gave no verdict: %v\n%s", err, out)
	}
	return strings.Fields(out)
}
