package zone

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// soaOf is the SOA that a table of newTable makes up, with its serial blanked.
func soaOf(zone string) string {
	return zone + " 60 IN SOA ns.postseal.test. hostmaster.ns.postseal.test. SERIAL 7200 900 1209600 60"
}

func TestTableIsOneViewOfEverything(t *testing.T) {
	addr := serve(t, ServerConfig{Recursion: true, Source: newTable(t,
		"customer.example MX 10 mail.customer.example",
		"_postseal.customer.example TXT proof",
		"a.b.customer.example A 192.0.2.1",
		"sub.customer.example NS ns.elsewhere.test",
		"www.sub.customer.example A 192.0.2.2",
		"own.customer.example SOA ns.own.test. host.own.test. 5 1 1 1 3",
		"*.wild.example TXT any",
		"*.wild.example MX 0 .",
		"fixed.wild.example A 192.0.2.3",
		"x.ent.wild.example A 192.0.2.4",
		"*.alias.example CNAME www.sub.customer.example",
		"shop.co.uk A 192.0.2.5",
		"_sip._tcp.customer.example SRV 1 2 5060 sip.customer.example",
		"customer.example CAA 0 issue \"ca.example\"",
		"1.2.0.192.in-addr.arpa PTR mail.customer.example",
	)})
	for _, test := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"customer.example", dns.TypeMX, "NOERROR\ncustomer.example. 60 IN MX 10 mail.customer.example."},
		{"customer.example", dns.TypeCAA, "NOERROR\ncustomer.example. 60 IN CAA 0 issue \"ca.example\""},
		{"_sip._tcp.customer.example", dns.TypeSRV, "NOERROR\n_sip._tcp.customer.example. 60 IN SRV 1 2 5060 sip.customer.example."},
		{"_postseal.customer.example", dns.TypeTXT, "NOERROR\n_postseal.customer.example. 60 IN TXT \"proof\""},
		// The zone is made up around what is there.
		{"customer.example", dns.TypeSOA, "NOERROR\n" + soaOf("customer.example.")},
		{"customer.example", dns.TypeNS, "NOERROR\ncustomer.example. 60 IN NS ns.postseal.test."},
		{"ns.postseal.test", dns.TypeA, "NOERROR\nns.postseal.test. 60 IN A 127.0.0.1"},
		{"ns.postseal.test", dns.TypeAAAA, "NOERROR\nauthority " + soaOf("postseal.test.")},
		// Absence.
		{"customer.example", dns.TypeA, "NOERROR\nauthority " + soaOf("customer.example.")},
		{"b.customer.example", dns.TypeA, "NOERROR\nauthority " + soaOf("customer.example.")},
		{"none.customer.example", dns.TypeA, "NXDOMAIN\nauthority " + soaOf("customer.example.")},
		{"c.a.b.customer.example", dns.TypeA, "NXDOMAIN\nauthority " + soaOf("customer.example.")},
		// Domains nobody has touched exist; names below them do not.
		{"never.test", dns.TypeNS, "NOERROR\nnever.test. 60 IN NS ns.postseal.test."},
		{"never.test", dns.TypeTXT, "NOERROR\nauthority " + soaOf("never.test.")},
		{"www.never.test", dns.TypeTXT, "NXDOMAIN\nauthority " + soaOf("never.test.")},
		{"9.9.9.9.in-addr.arpa", dns.TypePTR, "NXDOMAIN\nauthority " + soaOf("9.in-addr.arpa.")},
		{"1.2.0.192.in-addr.arpa", dns.TypePTR, "NOERROR\n1.2.0.192.in-addr.arpa. 60 IN PTR mail.customer.example."},
		// Public suffixes.
		{"shop.co.uk", dns.TypeSOA, "NOERROR\n" + soaOf("shop.co.uk.")},
		{"www.shop.co.uk", dns.TypeA, "NXDOMAIN\nauthority " + soaOf("shop.co.uk.")},
		{"co.uk", dns.TypeSOA, "NOERROR\n" + soaOf("co.uk.")},
		{"com", dns.TypeA, "NOERROR\nauthority " + soaOf("com.")},
		{".", dns.TypeSOA, "NOERROR\n" + soaOf(".")},
		// Zone cuts.
		{"sub.customer.example", dns.TypeNS, "NOERROR\nsub.customer.example. 60 IN NS ns.elsewhere.test."},
		{"sub.customer.example", dns.TypeSOA, "NOERROR\n" + soaOf("sub.customer.example.")},
		{"none.sub.customer.example", dns.TypeA, "NXDOMAIN\nauthority " + soaOf("sub.customer.example.")},
		{"www.sub.customer.example", dns.TypeA, "NOERROR\nwww.sub.customer.example. 60 IN A 192.0.2.2"},
		{"own.customer.example", dns.TypeNS, "NOERROR\nown.customer.example. 60 IN NS ns.postseal.test."},
		{"x.own.customer.example", dns.TypeA, "NXDOMAIN\nauthority own.customer.example. 3 IN SOA ns.own.test. host.own.test. SERIAL 1 1 1 3"},
		// Wildcards (RFC 4592).
		{"foo.wild.example", dns.TypeTXT, "NOERROR\nfoo.wild.example. 60 IN TXT \"any\""},
		{"bar.foo.wild.example", dns.TypeTXT, "NOERROR\nbar.foo.wild.example. 60 IN TXT \"any\""},
		{"foo.wild.example", dns.TypeMX, "NOERROR\nfoo.wild.example. 60 IN MX 0 ."},
		{"foo.wild.example", dns.TypeA, "NOERROR\nauthority " + soaOf("wild.example.")},
		{"fixed.wild.example", dns.TypeTXT, "NOERROR\nauthority " + soaOf("wild.example.")},
		{"below.fixed.wild.example", dns.TypeTXT, "NXDOMAIN\nauthority " + soaOf("wild.example.")},
		{"ent.wild.example", dns.TypeTXT, "NOERROR\nauthority " + soaOf("wild.example.")},
		{"y.ent.wild.example", dns.TypeTXT, "NXDOMAIN\nauthority " + soaOf("wild.example.")},
		{"*.wild.example", dns.TypeTXT, "NOERROR\n*.wild.example. 60 IN TXT \"any\""},
		{"wild.example", dns.TypeTXT, "NOERROR\nauthority " + soaOf("wild.example.")},
		{"One.alias.example", dns.TypeA, "NOERROR\nOne.alias.example. 60 IN CNAME www.sub.customer.example.\nwww.sub.customer.example. 60 IN A 192.0.2.2"},
		// Labels that hold dots and other bytes.
		{`a\.b.customer.example`, dns.TypeA, "NXDOMAIN\nauthority " + soaOf("customer.example.")},
		{`a\.customer.example`, dns.TypeA, "NXDOMAIN\nauthority " + soaOf("example.")},
		{`\000\255`, dns.TypeA, "NXDOMAIN\nauthority " + soaOf(".")},
	} {
		got := show(ask(t, addr, test.name, test.qtype))
		got = strings.Replace(serial.ReplaceAllString(got, "$1 SERIAL"), " aa ra", "", 1)
		same(t, test.name+" "+dns.Type(test.qtype).String(), got, test.want)
	}
}

func TestDevelopmentLivesOneSecond(t *testing.T) {
	table, err := NewTable(TableConfig{Nameservers: []NS{{Host: "ns.dev.test", Addrs: addrs("127.0.0.9", "::1")}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Add("www.customer.example", "A", "192.0.2.1", 0); err != nil {
		t.Fatal(err)
	}
	addr := serve(t, ServerConfig{Source: table, Recursion: true})
	same(t, "positive", show(ask(t, addr, "www.customer.example", dns.TypeA)), "NOERROR aa ra\nwww.customer.example. 1 IN A 192.0.2.1")
	same(t, "name server", show(ask(t, addr, "ns.dev.test", dns.TypeAAAA)), "NOERROR aa ra\nns.dev.test. 1 IN AAAA ::1")
	soa := ask(t, addr, "no.customer.example", dns.TypeA).Ns[0].(*dns.SOA)
	if soa.Hdr.Ttl != 1 || soa.Minttl != 1 || soa.Ns != "ns.dev.test." {
		t.Errorf("SOA of a negative answer: %v, want TTL and minimum 1", soa)
	}
}

func TestSerialGrowsWithEachChange(t *testing.T) {
	table := newTable(t)
	serial := func() uint32 {
		a, err := table.Lookup(t.Context(), "example.org.", dns.TypeSOA)
		if err != nil {
			t.Fatal(err)
		}
		return a.SOA.Serial
	}
	start := serial()
	for _, step := range []struct {
		do   func() error
		want uint32
	}{
		{func() error { return table.Add("a.example.org", "A", "192.0.2.1", 0) }, 1},
		{func() error { return table.Add("A.example.org.", "a", "192.0.2.1", 0) }, 1}, // is there already
		{func() error { _, err := table.Del("a.example.org", "A", "192.0.2.2"); return err }, 1},
		{func() error { _, err := table.Del("a.example.org", "A", ""); return err }, 2},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := serial() - start; got != step.want {
			t.Errorf("serial grew by %d, want %d", got, step.want)
		}
	}
}

func TestAliasesAreChasedAcrossSources(t *testing.T) {
	table := newTable(t,
		"token._domainkey.customer.example CNAME t1.dkim.mail.postseal.example",
		"unknown._domainkey.customer.example CNAME u1.dkim.mail.postseal.example",
		"mail.postseal.example TXT the service zone is not the table's",
		"x.mail.postseal.example TXT nor this",
	)
	addr := serve(t, ServerConfig{Source: Chain(newService(t, nil), table), Recursion: true})
	same(t, "known token", show(ask(t, addr, "Token._domainkey.customer.example", dns.TypeTXT)), "NOERROR aa ra\n"+
		"Token._domainkey.customer.example. 60 IN CNAME t1.dkim.mail.postseal.example.\n"+
		"t1.dkim.mail.postseal.example. 300 IN TXT \"v=DKIM1; k=rsa; p=t1\"")
	same(t, "unknown token", serial.ReplaceAllString(show(ask(t, addr, "unknown._domainkey.customer.example", dns.TypeTXT)), "$1 SERIAL"), "NXDOMAIN aa ra\n"+
		"unknown._domainkey.customer.example. 60 IN CNAME u1.dkim.mail.postseal.example.\nauthority "+serviceSOA)
	same(t, "service first", show(ask(t, addr, "mail.postseal.example", dns.TypeTXT)), "NOERROR aa ra\n"+
		"mail.postseal.example. 3600 IN TXT \"v=spf1 include:_spf.mail.postseal.example -all\"")
	if r := ask(t, addr, "x.mail.postseal.example", dns.TypeTXT); r.Rcode != dns.RcodeNameError {
		t.Errorf("a name of the service zone came from the table: %v", r)
	}
	if r := ask(t, addr, "postseal.example", dns.TypeSOA); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1 {
		t.Errorf("the parent of the service zone: %v", r)
	}
}

func TestTXTIsLiteral(t *testing.T) {
	table := newTable(t)
	addr := serve(t, ServerConfig{Source: table})
	for i, value := range []string{
		"", `"quoted"`, `back\slash \065 \"`, " blanks around ", "v=DKIM1; k=rsa; p=abc", "naïve", "\x00\x01\xff", strings.Repeat("0123456789", 26),
		strings.Repeat(`\`, 300), strings.Repeat(`"`, 255) + "x",
	} {
		name := fmt.Sprintf("t%d.example.org", i)
		if err := table.Add(name, "TXT", value, 0); err != nil {
			t.Fatal(err)
		}
		r := exchange(t, "tcp", addr, question(name, dns.TypeTXT))
		wire, err := r.Pack()
		if err != nil || len(r.Answer) != 1 {
			t.Fatalf("%q: %v, %v", value, r, err)
		}
		// On the wire: the strings, each with its length, at the end of the message.
		var want []byte
		for rest := value; ; {
			n := min(len(rest), 255)
			want = append(append(want, byte(n)), rest[:n]...)
			if rest = rest[n:]; rest == "" {
				break
			}
		}
		if got := string(wire[max(0, len(wire)-len(want)):]); got != string(want) {
			t.Errorf("%q is on the wire as %q", value, got)
		}
		if n, err := table.Del(name, "TXT", value); n != 1 || err != nil {
			t.Errorf("%q: removed %d, %v", value, n, err)
		}
	}
}

func TestAddExplainsWhatItRefuses(t *testing.T) {
	table := newTable(t, "a.example.org A 192.0.2.1", "c.example.org CNAME a.example.org", "s.example.org SOA ns. host. 1 2 3 4 5")
	before := table.Records()
	long := strings.Repeat("x", 64)
	for _, test := range []struct {
		name, rtype, value string
		priority           int
		want               string // part of the error
	}{
		{"", "A", "192.0.2.1", 0, "is not a name"},
		{".", "A", "192.0.2.1", 0, "is not a name"},
		{"*.", "A", "192.0.2.1", 0, "is not a name"},
		{"a..example.org", "A", "192.0.2.1", 0, "empty label"},
		{"a b.example.org", "A", "192.0.2.1", 0, `holds ' '`},
		{"a.*.example.org", "A", "192.0.2.1", 0, `holds '*'`},
		{"a\n.example.org", "A", "192.0.2.1", 0, `holds '\n'`},
		{long + ".example.org", "A", "192.0.2.1", 0, "64 characters"},
		{strings.Repeat("abcdefg.", 40) + "example.org", "A", "192.0.2.1", 0, "longer than 253"},
		{"192.0.2.1", "A", "192.0.2.1", 0, "address where a name is needed"},
		{"com", "A", "192.0.2.1", 0, "public suffix"},
		{"*.co.uk", "A", "192.0.2.1", 0, "public suffix"},
		{"example", "TXT", "x", 0, "public suffix"},
		{"b.example.org", "HINFO", "x", 0, "is not one of A, AAAA"},
		{"b.example.org", "", "x", 0, "is not one of A, AAAA"},
		{"b.example.org", "A", "2001:db8::1", 0, "not an address of type A"},
		{"b.example.org", "A", "", 0, "not an address of type A"},
		{"b.example.org", "AAAA", "192.0.2.1", 0, "not an address of type AAAA"},
		{"b.example.org", "AAAA", "fe80::1%eth0", 0, "not an address of type AAAA"},
		{"b.example.org", "CNAME", "", 0, "is not a name"},
		{"b.example.org", "CNAME", "192.0.2.1", 0, "address where a name is needed"},
		{"b.example.org", "NS", "ns1.example.net ns2.example.net", 0, `holds ' '`},
		{"b.example.org", "MX", "", 0, "is not of the form HOST or PRIORITY HOST"},
		{"b.example.org", "MX", "ten mail.example.org", 0, "is not a number"},
		{"b.example.org", "MX", "70000 mail.example.org", 0, "is not a number"},
		{"b.example.org", "MX", "10 mail.example.org", 20, "give it once"},
		{"b.example.org", "MX", "mail.example.org", 65536, "out of range"},
		{"b.example.org", "MX", "mail.example.org", -1, "out of range"},
		{"b.example.org", "MX", "10 192.0.2.1", 0, "address where a name is needed"},
		{"b.example.org", "SRV", "5060 sip.example.org", 1, "PRIORITY WEIGHT PORT HOST"},
		{"b.example.org", "TXT", "x", 10, "has none"},
		{"b.example.org", "TXT", strings.Repeat("x", maxTXT+1), 0, "at most 8192"},
		{"b.example.org", "SOA", "ns. host. 1 2 3", 0, "not the value of a record of type SOA"},
		{"b.example.org", "SOA", "", 0, "not the value of a record of type SOA"},
		{"b.example.org", "CAA", "issue ca.example", 0, "not the value of a record of type CAA"},
		{"b.example.org", "CAA", "0 issue \"x\"\nb.example.org. 1 IN A 192.0.2.1", 0, "control characters"},
		{"a.example.org", "CNAME", "b.example.org", 0, `already has A "192.0.2.1"`},
		{"c.example.org", "TXT", "x", 0, `already has CNAME "a.example.org."`},
		{"c.example.org", "CNAME", "b.example.org", 0, `already has CNAME "a.example.org."`},
		{"s.example.org", "SOA", "ns. host. 2 2 3 4 5", 0, "already has SOA"},
		{"example.org", "CNAME", "a.example.org", 0, "start of a zone"},
		{"ns.postseal.test", "CNAME", "a.example.org", 0, "name server"},
	} {
		err := table.Add(test.name, test.rtype, test.value, test.priority)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q %q %.100q %d: error %v, want one with %q", test.name, test.rtype, test.value, test.priority, err, test.want)
		} else if len(err.Error()) > 500 {
			t.Errorf("%.100q: error of %d bytes", test.name, len(err.Error()))
		}
	}
	if d := cmp.Diff(before, table.Records()); d != "" {
		t.Errorf("refused records changed the table:\n%s", d)
	}
}

func TestAddAcceptsTheFormsPeopleUse(t *testing.T) {
	table := newTable(t)
	for _, r := range []struct {
		name, rtype, value string
		priority           int
		want               Record
	}{
		{"M1.Example.org.", "mx", "Mail.Example.NET", 10, Record{"m1.example.org.", "MX", "mail.example.net.", 10}},
		{"m1.example.org", "MX", "10 mail.example.net.", 0, Record{"m1.example.org.", "MX", "mail.example.net.", 10}}, // the same
		{"m1.example.org", "MX", "10 mail.example.net.", 10, Record{"m1.example.org.", "MX", "mail.example.net.", 10}},
		{"m2.example.org", "MX", ".", 0, Record{"m2.example.org.", "MX", ".", 0}},
		{"büro.example.org", "CNAME", "Straße.example.net", 0, Record{"xn--bro-hoa.example.org.", "CNAME", "xn--strae-oqa.example.net.", 0}},
		{"_s._tcp.example.org", "SRV", "2 5060 sip.example.net", 1, Record{"_s._tcp.example.org.", "SRV", "2 5060 sip.example.net.", 1}},
		{"caa.example.org", "CAA", "0 iodef \"mailto:noreply@example.org\"", 0, Record{"caa.example.org.", "CAA", "0 iodef \"mailto:noreply@example.org\"", 0}},
		{"a.example.org", "AAAA", "2001:DB8::0001", 0, Record{"a.example.org.", "AAAA", "2001:db8::1", 0}},
	} {
		if err := table.Add(r.name, r.rtype, r.value, r.priority); err != nil {
			t.Error(err)
			continue
		}
		n := 0
		for _, got := range table.Records() {
			if got == r.want {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s %s %s is held %d times as %+v:\n%+v", r.name, r.rtype, r.value, n, r.want, table.Records())
		}
	}
}

func TestDel(t *testing.T) {
	table := newTable(t,
		"a.example.org A 192.0.2.1", "a.example.org A 192.0.2.2", "a.example.org TXT one", "a.example.org TXT two",
		"m.example.org MX 10 mail.example.org", "m.example.org MX 20 mail.example.org", "m.example.org MX 20 other.example.org",
	)
	for _, test := range []struct {
		name, rtype, value string
		want               int
	}{
		{"a.example.org", "A", "192.0.2.9", 0},
		{"none.example.org", "A", "", 0},
		{"A.Example.org.", "a", "192.0.2.1", 1},
		{"a.example.org", "A", "", 1},
		{"a.example.org", "TXT", "one", 1},
		{"m.example.org", "MX", "20 other.example.org.", 1},
		{"m.example.org", "MX", "30 mail.example.org.", 0},
		{"m.example.org", "MX", "mail.example.org", 2},
		{"a.example.org", "TXT", "", 1},
	} {
		if n, err := table.Del(test.name, test.rtype, test.value); n != test.want || err != nil {
			t.Errorf("Del %s %s %q: %d, %v; want %d", test.name, test.rtype, test.value, n, err, test.want)
		}
	}
	if got := table.Records(); len(got) != 0 {
		t.Errorf("left: %+v", got)
	}
	if a, _ := table.Lookup(t.Context(), "a.example.org.", dns.TypeA); a.Exists {
		t.Error("a name without records still exists")
	}
	for _, bad := range [][3]string{{"a b.example.org", "A", ""}, {"a.example.org", "", ""}, {"a.example.org", "A", "x"}} {
		if _, err := table.Del(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("Del %q: no error", bad)
		}
	}
}

func TestAnswersOfATableFitOneMessage(t *testing.T) {
	table := newTable(t)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = table.Add("big.example.org", "TXT", fmt.Sprint(i)+strings.Repeat("x", 1000), 0)
	}
	if err == nil || !strings.Contains(err.Error(), "fit an answer") {
		t.Errorf("a set without end: %v", err)
	}
	addr := serve(t, ServerConfig{Source: table})
	if r := exchange(t, "tcp", addr, question("big.example.org", dns.TypeTXT)); r.Rcode != dns.RcodeSuccess || len(r.Answer) < 30 {
		t.Errorf("rcode %d, %d records", r.Rcode, len(r.Answer))
	}
}

func TestTableSurvivesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dns.zone")
	table := newTable(t,
		"b.example.org A 192.0.2.1", "a.example.org TXT \"quoted\" \\ and "+strings.Repeat("long ", 100), "*.example.org CNAME b.example.org",
		"example.org MX 10 mail.example.org", "example.org CAA 0 issue \"ca.example\"", "x.example.org SOA ns. host. 1 2 3 4 5",
		"example.org NS ns.example.net", "_s._tcp.example.org SRV 1 2 3 sip.example.org", "1.2.0.192.in-addr.arpa PTR a.example.org", "v6.example.org AAAA 2001:db8::1",
	)
	for range 2 { // the second replaces the first
		if err := table.SaveFile(path); err != nil {
			t.Fatal(err)
		}
	}
	again := newTable(t, "old.example.org A 192.0.2.9")
	if err := again.LoadFile(path); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(table.Records(), again.Records()); d != "" {
		t.Errorf("after a file (-before +after):\n%s", d)
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("files left behind: %v, %v", files, err)
	}
	if err := table.SaveFile(filepath.Join(path, "not", "a", "directory")); err == nil {
		t.Error("saved below a file")
	}
}

func TestLoadIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	table := newTable(t, "keep.example.org A 192.0.2.1")
	before := table.Records()
	for name, text := range map[string]string{
		"syntax":     "a.example.org. 1 IN A 192.0.2.1\nb.example.org. 1 IN A not-an-address\n",
		"conflict":   "a.example.org. 1 IN A 192.0.2.1\na.example.org. 1 IN CNAME b.example.org.\n",
		"type":       "a.example.org. 1 IN HINFO x y\n",
		"class":      "a.example.org. 1 CH TXT x\n",
		"owner":      `a\.b.example.org. 1 IN A 192.0.2.1` + "\n",
		"inclusion":  "$INCLUDE /etc/hostname\n",
		"suffix":     "com. 1 IN A 192.0.2.1\n",
		"generation": "$GENERATE 1-65535 a$.example.org. A 192.0.2.1\n$GENERATE 1-65535 b$.example.org. A 192.0.2.1\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := table.LoadFile(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if err := table.LoadFile(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if d := cmp.Diff(before, table.Records()); d != "" {
		t.Errorf("a file that failed changed the table:\n%s", d)
	}
}

func TestTableConfigIsChecked(t *testing.T) {
	for _, c := range []TableConfig{
		{TTL: time.Millisecond},
		{Nameservers: []NS{{Host: ""}}},
		{Nameservers: []NS{{Host: "ns.dev.test", Addrs: make([]netip.Addr, 1)}}},
	} {
		if _, err := NewTable(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

func TestReadersSeeWholeSets(t *testing.T) {
	table := newTable(t, "a.example.org A 192.0.2.1", "a.example.org A 192.0.2.2")
	path := filepath.Join(t.TempDir(), "zone")
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := table.Lookup(t.Context(), "a.example.org.", dns.TypeA)
				if err != nil || len(a.RRs) < 2 {
					t.Errorf("%v, %v", a.RRs, err)
					return
				}
				for _, rr := range a.RRs {
					_ = rr.String()
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for j := range 50 {
				value := fmt.Sprintf("198.51.100.%d", i*50+j)
				if err := table.Add("a.example.org", "A", value, 0); err != nil {
					t.Error(err)
				}
				if j%10 == 0 {
					if err := table.SaveFile(path); err != nil {
						t.Error(err)
					}
				}
				if n, err := table.Del("a.example.org", "A", value); n != 1 || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func TestRecordsAreAddedAllOrNone(t *testing.T) {
	table, err := NewTable(TableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	there := Record{Name: "a.example.org.", Type: "TXT", Value: "there"}
	if err := table.AddAll([]Record{there, there}); err != nil {
		t.Fatal(err)
	}
	err = table.AddAll([]Record{there, {Name: "b.example.org", Type: "TXT", Value: "x"}, {Name: "a.example.org", Type: "CNAME", Value: "c.example.org"}})
	if err == nil || !strings.Contains(err.Error(), "the 3. of 3") {
		t.Errorf("a CNAME beside other records: %v", err)
	}
	if err := table.AddAll([]Record{{Name: "b.example.org", Type: "TXT", Value: "x"}, {Name: "b.example.org", Type: "WKS", Value: "x"}}); err == nil {
		t.Error("a type that there is not")
	}
	if got := table.Records(); len(got) != 1 || got[0] != there {
		t.Errorf("left %+v", got)
	}
}
