package dnscheck

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/dnscheck/dnstest"
)

// spfCase is one evaluation. With an empty sender the HELO name is asked about (RFC 7208,
// section 2.4). result lists the results that RFC 7208 allows, explanation is what a fail
// must give: "none" for no text at all, empty where it does not matter.
type spfCase struct {
	title, sender, helo, ip, result, explanation string
}

// The records and results are those of the public test suite of RFC 7208 (openspf, 2014),
// where its grammar and its sentences are taken apart one by one. Names of type SPF are left
// out: it has ended with RFC 4408, and nobody asks for it.
var spfCases = []struct {
	section, title, zone string
	silent               []string // names that get no answer
	cases                []spfCase
}{
	{section: "4.3", title: "before the record", zone: `
example.net. TXT "v=spf1 -all exp=exp.example.net"
a.example.net. TXT "v=spf1 -all exp=exp.example.net"
exp.example.net. TXT "%{l}"
a12345678901234567890123456789012345678901234567890123456789012.example.com. TXT "v=spf1 -all"
hosed.example.com. TXT "v=spf1 a:\239\187\191garbage.example.net -all"
hosed2.example.com. TXT "v=spf1 \128a:example.net -all"
hosed3.example.com. TXT "v=spf1 a:example.net \150all"
nothosed.example.com. TXT "v=spf1 a:example.net -all"
nothosed.example.com. TXT "\150"
ctrl.example.com. TXT "v=spf1 a:ctrl.example.com\013ptr -all"
ctrl.example.com. A 192.0.2.3
fine.example.com. TXT "v=spf1 a  -all"
trail.example.com. TXT "v=spf1 a -all "
null.example.com. TXT "v=spf1 ip4:" "192.0.2.5 -all"
badip.example.com. TXT "v=spf1 ip4:192.0.2.5\010 include:spf.protection.outlook.com ~all"
`, silent: []string{"example.com"}, cases: []spfCase{
		{"label of 64 octets", "lyme.eater@A123456789012345678901234567890123456789012345678901234567890123.example.com", "mail.example.net", "1.2.3.5", "none", ""},
		{"label of 63 octets", "lyme.eater@A12345678901234567890123456789012345678901234567890123456789012.example.com", "mail.example.net", "1.2.3.5", "fail", ""},
		{"labels without a letter", "lyme.eater@A...example.com", "mail.example.net", "1.2.3.5", "none", ""},
		{"HELO of one label", "", "A2345678", "1.2.3.5", "none", ""},
		{"HELO that is an address literal", "", "[1.2.3.5]", "1.2.3.5", "none", ""},
		{"sender without local part", "@example.net", "mail.example.net", "1.2.3.4", "fail", "postmaster"},
		{"sender at an address literal", "foo@[1.2.3.5]", "OEMCOMPUTER", "1.2.3.5", "none", ""},
		{"UTF-8 in a domain", "foobar@hosed.example.com", "hosed", "1.2.3.4", "permerror", ""},
		{"high octet before a mechanism", "foobar@hosed2.example.com", "hosed", "1.2.3.4", "permerror", ""},
		{"high octet in a mechanism", "foobar@hosed3.example.com", "hosed", "1.2.3.4", "permerror", ""},
		{"high octet in a TXT that is none of ours", "foobar@nothosed.example.com", "hosed", "1.2.3.4", "fail", "none"},
		{"carriage return instead of a blank", "foobar@ctrl.example.com", "hosed", "192.0.2.3", "permerror", ""},
		{"two blanks between terms", "actually@fine.example.com", "hosed", "1.2.3.4", "fail", ""},
		{"blank at the end", "silly@trail.example.com", "hosed", "192.0.2.5", "fail", ""},
		{"strings joined without a blank", "silly@null.example.com", "hosed", "192.0.2.5", "pass", ""},
		{"line feed behind an address", "oops@badip.example.com", "foobar", "192.0.2.5", "permerror", ""},
	}},
	{section: "4.4", title: "asking for the record", zone: `
both.example.net. TXT "v=spf1 -all"
txtonly.example.net. TXT "v=spf1 -all"
spftimeout.example.net. TXT "v=spf1 -all"
`, silent: []string{"txttimeout.example.net", "nospftxttimeout.example.net", "alltimeout.example.net"}, cases: []spfCase{
		{"type TXT and type SPF", "foo@both.example.net", "mail.example.net", "1.2.3.4", "fail", ""},
		{"type TXT alone", "foo@txtonly.example.net", "mail.example.net", "1.2.3.4", "fail", ""},
		{"type SPF alone counts for nothing", "foo@spfonly.example.net", "mail.example.net", "1.2.3.4", "none", ""},
		{"type SPF silent", "foo@spftimeout.example.net", "mail.example.net", "1.2.3.4", "fail", ""},
		{"type TXT silent, type SPF not asked", "foo@txttimeout.example.net", "mail.example.net", "1.2.3.4", "temperror", ""},
		{"type TXT silent, nothing else", "foo@nospftxttimeout.example.net", "mail.example.net", "1.2.3.4", "temperror", ""},
		{"all types silent", "foo@alltimeout.example.net", "mail.example.net", "1.2.3.4", "temperror", ""},
	}},
	{section: "4.5", title: "choosing the record", zone: `
example3.com. TXT "v=spf10"
example3.com. TXT "v=spf1 mx"
example3.com. MX 0 mail.example1.com.
example1.com. TXT "v=spf1"
example2.com. TXT "v=spf1" "mx"
mail.example1.com. A 1.2.3.4
example4.com. TXT "v=spf1 -all"
example5.com. TXT "v=spf1 -all"
example5.com. TXT "v=spf1 +all"
example6.com. TXT "v=spf1 -all"
example6.com. TXT "V=sPf1 +all"
example7.com. TXT "v=spf1 -all"
example7.com. TXT "v=spf1 -all"
example8.com. TXT "v=spf1 +all"
example9.com. TXT "v=SpF1 ~all"
`, cases: []spfCase{
		{"version run into a mechanism by joining", "foo@example2.com", "mail.example1.com", "1.2.3.4", "none", ""},
		{"version and nothing else", "foo@example1.com", "mail1.example1.com", "1.2.3.4", "neutral", ""},
		{"another version beside ours", "foo@example3.com", "mail.example1.com", "1.2.3.4", "pass", ""},
		{"type SPF says otherwise", "foo@example4.com", "mail.example1.com", "1.2.3.4", "fail", ""},
		{"two records that differ", "foo@example5.com", "mail.example1.com", "1.2.3.4", "permerror", ""},
		{"two records, one in another case", "foo@example6.com", "mail.example1.com", "1.2.3.4", "permerror", ""},
		{"two records that are equal", "foo@example7.com", "mail.example1.com", "1.2.3.4", "permerror fail", ""},
		{"two of type SPF, one of type TXT", "foo@example8.com", "mail.example1.com", "1.2.3.4", "pass", ""},
		{"host without a record", "foo@mail.example1.com", "mail.example1.com", "1.2.3.4", "none", ""},
		{"version in mixed case", "foo@example9.com", "mail.example1.com", "1.2.3.4", "softfail", ""},
	}},
	{section: "4.6", title: "the record as a whole", zone: `
mail.example.com. A 1.2.3.4
t1.example.com. TXT "v=spf1 ip4:1.2.3.4 -all moo"
t2.example.com. TXT "v=spf1 moo.cow-far_out=man:dog/cat ip4:1.2.3.4 -all"
t3.example.com. TXT "v=spf1 moo.cow/far_out=man:dog/cat ip4:1.2.3.4 -all"
t4.example.com. TXT "v=spf1 moo.cow:far_out=man:dog/cat ip4:1.2.3.4 -all"
t5.example.com. TXT "v=spf1 redirect=t5.example.com ~all"
t6.example.com. TXT "v=spf1 ip4:1.2.3.4 redirect=t2.example.com"
t7.example.com. TXT "v=spf1 ip4:1.2.3.4"
t8.example.com. TXT "v=spf1 ip4:1.2.3.4 redirect:t2.example.com"
t9.example.com. TXT "v=spf1 a:foo-bar -all"
t10.example.com. TXT "v=spf1 a:mail.example...com -all"
t11.example.com. TXT "v=spf1 a:a123456789012345678901234567890123456789012345678901234567890123.example.com -all"
t12.example.com. TXT "v=spf1 a:%{H}.bar -all"
`, cases: []spfCase{
		{"nonsense behind all", "foo@t1.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"every character that a modifier's name may have", "foo@t2.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"slash in a modifier's name", "foo@t3.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"colon in a modifier's name", "foo@t4.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"redirect hidden by all", "foo@t5.example.com", "mail.example.com", "1.2.3.4", "softfail", ""},
		{"redirect when nothing matches", "foo@t6.example.com", "mail.example.com", "1.2.3.5", "fail", ""},
		{"no all and no redirect", "foo@t7.example.com", "mail.example.com", "1.2.3.5", "neutral", ""},
		{"redirect written as a mechanism", "foo@t8.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"domain of one label", "foo@t9.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"empty labels in a domain", "foo@t10.example.com", "mail.example.com", "1.2.3.4", "fail permerror", ""},
		{"label too long in a domain", "foo@t11.example.com", "mail.example.com", "1.2.3.4", "fail permerror", ""},
		{"label too long by way of a macro", "foo@t12.example.com", "%%%%%%%%%%%%%%%%%%%%%%", "1.2.3.4", "fail permerror", ""},
	}},
	{section: "5.1", title: "all", zone: `
mail.example.com. A 1.2.3.4
e1.example.com. TXT "v=spf1 -all."
e2.example.com. TXT "v=spf1 -all:foobar"
e3.example.com. TXT "v=spf1 -all/8"
e4.example.com. TXT "v=spf1 ?all"
e5.example.com. TXT "v=spf1 all -all"
`, cases: []spfCase{
		{"all with a dot", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"all with an argument", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"all with a prefix length", "foo@e3.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"neutral all", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"two times all", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
	}},
	{section: "5.5", title: "ptr", zone: `
mail.example.com. A 1.2.3.4
mail.example.com. AAAA 2001:db8::1
e1.example.com. TXT "v=spf1 ptr/0 -all"
e2.example.com. TXT "v=spf1 ptr:example.com -all"
4.3.2.1.in-addr.arpa. PTR e3.example.com.
4.3.2.1.in-addr.arpa. PTR e4.example.com.
4.3.2.1.in-addr.arpa. PTR mail.example.com.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.E.B.A.B.E.F.A.C.ip6.arpa. PTR e3.example.com.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.D.0.1.0.0.2.ip6.arpa. PTR mail.Example.com.
e3.example.com. TXT "v=spf1 ptr -all"
e3.example.com. A 1.2.3.4
e3.example.com. AAAA cafe:babe::1
e4.example.com. TXT "v=spf1 ptr -all"
e5.example.com. TXT "v=spf1 ptr:"
e6.example.com. TXT "v=spf1 ptr:example.Com -all"
loop.example.com. TXT "v=spf1 ptr"
4.2.0.192.in-addr.arpa. PTR loop4.example.com.
loop4.example.com. CNAME CNAME.example.com.
cname.example.com. CNAME CNAME.example.com.
`, cases: []spfCase{
		{"ptr with a prefix length", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ptr with a domain", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"ptr of the current domain", "foo@e3.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"ptr with a name that does not lead back", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"ptr over IPv6", "foo@e3.example.com", "mail.example.com", "cafe:babe::1", "pass", ""},
		{"ptr with an empty domain", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ptr in other letter case", "bar@e6.example.com", "mail.example.com", "2001:db8::1", "pass", ""},
		{"ptr into a CNAME circle", "postmaster@loop.example.com", "loop.example.com", "192.0.2.4", "neutral", ""},
	}},
	{section: "5.3", title: "a", zone: `
mail.example.com. A 1.2.3.4
e1.example.com. TXT "v=spf1 a/0 -all"
e2.example.com. A 1.1.1.1
e2.example.com. AAAA 1234::2
e2.example.com. TXT "v=spf1 a/0 -all"
e2a.example.com. AAAA 1234::1
e2a.example.com. TXT "v=spf1 a//0 -all"
e2b.example.com. A 1.1.1.1
e2b.example.com. TXT "v=spf1 a//0 -all"
ipv6.example.com. AAAA 1234::1
ipv6.example.com. A 1.1.1.1
ipv6.example.com. TXT "v=spf1 a -all"
e3.example.com. TXT "v=spf1 a:foo.example.com\000"
e4.example.com. TXT "v=spf1 a:111.222.33.44"
e5.example.com. TXT "v=spf1 a:abc.123"
e5a.example.com. TXT "v=spf1 a:museum"
e5b.example.com. TXT "v=spf1 a:museum."
e6.example.com. TXT "v=spf1 a//33 -all"
e6a.example.com. TXT "v=spf1 a/33 -all"
e7.example.com. TXT "v=spf1 a//129 -all"
e8.example.com. A 1.2.3.5
e8.example.com. AAAA 2001:db8:1234::dead:beef
e8.example.com. TXT "v=spf1 a/24//64 -all"
e8e.example.com. A 1.2.3.5
e8e.example.com. AAAA 2001:db8:1234::dead:beef
e8e.example.com. TXT "v=spf1 a/24/64 -all"
e8a.example.com. A 1.2.3.5
e8a.example.com. AAAA 2001:db8:1234::dead:beef
e8a.example.com. TXT "v=spf1 a/24 -all"
e8b.example.com. A 1.2.3.5
e8b.example.com. AAAA 2001:db8:1234::dead:beef
e8b.example.com. TXT "v=spf1 a//64 -all"
e9.example.com. TXT "v=spf1 a:example.com:8080"
e10.example.com. TXT "v=spf1 a:foo.example.com/24"
foo.example.com. A 1.1.1.1
foo.example.com. A 1.2.3.5
e11.example.com. TXT "v=spf1 a:foo:bar/baz.example.com"
foo:bar/baz.example.com. A 1.2.3.4
e12.example.com. TXT "v=spf1 a:example.-com"
e13.example.com. TXT "v=spf1 a:"
e14.example.com. TXT "v=spf1 a:foo.example.xn--zckzah -all"
foo.example.xn--zckzah. A 1.2.3.4
`, cases: []spfCase{
		{"a with an IPv6 length only", "foo@e6.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"a with an IPv4 length of 33", "foo@e6a.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with an IPv6 length of 129", "foo@e7.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with both lengths, on IPv4", "foo@e8.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"a with one slash between lengths", "foo@e8e.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with both lengths, on IPv6", "foo@e8.example.com", "mail.example.com", "2001:db8:1234::cafe:babe", "pass", ""},
		{"a without IPv4 length means 32", "foo@e8b.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"a without IPv6 length means 128", "foo@e8a.example.com", "mail.example.com", "2001:db8:1234::cafe:babe", "fail", ""},
		{"a with two addresses", "foo@e10.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"a with two addresses, again", "foo@e10.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"a with a port", "foo@e9.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a of a name without address", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"a of any IPv4 address", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"a of any IPv4 address, asked on IPv6", "foo@e2.example.com", "mail.example.com", "1234::1", "fail", ""},
		{"a of any IPv6 address, asked on IPv4", "foo@e2a.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"a of any IPv6 address, asked on mapped IPv4", "foo@e2a.example.com", "mail.example.com", "::ffff:1.2.3.4", "fail", ""},
		{"a of any IPv6 address", "foo@e2a.example.com", "mail.example.com", "1234::1", "pass", ""},
		{"a of a host on both families", "foo@ipv6.example.com", "mail.example.com", "1234::1", "pass", ""},
		{"a of any IPv6 address where there is none", "foo@e2b.example.com", "mail.example.com", "1234::1", "fail", ""},
		{"a with a null octet", "foo@e3.example.com", "mail.example.com", "1.2.3.5", "permerror", ""},
		{"a with an address for a domain", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with a numeric top label", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with hyphens in the top label", "foo@e14.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"a with a hyphen before the top label", "foo@e12.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with a single label", "foo@e5a.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with a single label and a dot", "foo@e5b.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"a with colon and slash in a label", "foo@e11.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"a with colon and slash, asked on mapped IPv4", "foo@e11.example.com", "mail.example.com", "::ffff:1.2.3.4", "pass", ""},
		{"a with an empty domain", "foo@e13.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
	}},
	{section: "5.2", title: "include", zone: `
mail.example.com. A 1.2.3.4
ip5.example.com. TXT "v=spf1 ip4:1.2.3.5 -all"
ip6.example.com. TXT "v=spf1 ip4:1.2.3.6 ~all"
ip7.example.com. TXT "v=spf1 ip4:1.2.3.7 ?all"
erehwon.example.com. TXT "v=spfl am not an SPF record"
e1.example.com. TXT "v=spf1 include:ip5.example.com ~all"
e2.example.com. TXT "v=spf1 include:ip6.example.com all"
e3.example.com. TXT "v=spf1 include:ip7.example.com -all"
e4.example.com. TXT "v=spf1 include:ip8.example.com -all"
e5.example.com. TXT "v=spf1 include:e6.example.com -all"
e6.example.com. TXT "v=spf1 include +all"
e7.example.com. TXT "v=spf1 include:erehwon.example.com -all"
e8.example.com. TXT "v=spf1 include: -all"
e9.example.com. TXT "v=spf1 include:ip5.example.com/24 -all"
`, silent: []string{"ip8.example.com"}, cases: []spfCase{
		{"include of a fail", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "softfail", ""},
		{"include of a softfail", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"include of a neutral", "foo@e3.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"include of silence", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "temperror", ""},
		{"include of a broken record", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"include without domain", "foo@e6.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"include with a prefix length", "foo@e9.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"include of a name without record", "foo@e7.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"include with an empty domain", "foo@e8.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
	}},
	{section: "5.4", title: "mx", zone: `
mail.example.com. A 1.2.3.4
mail.example.com. MX 0 .
mail.example.com. TXT "v=spf1 mx"
e1.example.com. TXT "v=spf1 mx/0 -all"
e1.example.com. MX 0 e1.example.com.
e2.example.com. A 1.1.1.1
e2.example.com. AAAA 1234::2
e2.example.com. MX 0 e2.example.com.
e2.example.com. TXT "v=spf1 mx/0 -all"
e2a.example.com. AAAA 1234::1
e2a.example.com. MX 0 e2a.example.com.
e2a.example.com. TXT "v=spf1 mx//0 -all"
e2b.example.com. A 1.1.1.1
e2b.example.com. MX 0 e2b.example.com.
e2b.example.com. TXT "v=spf1 mx//0 -all"
e3.example.com. TXT "v=spf1 mx:foo.example.com\000"
e4.example.com. TXT "v=spf1 mx"
e4.example.com. A 1.2.3.4
e5.example.com. TXT "v=spf1 mx:abc.123"
e6.example.com. TXT "v=spf1 mx//33 -all"
e6a.example.com. TXT "v=spf1 mx/33 -all"
e7.example.com. TXT "v=spf1 mx//129 -all"
e9.example.com. TXT "v=spf1 mx:example.com:8080"
e10.example.com. TXT "v=spf1 mx:foo.example.com/24"
foo.example.com. MX 0 foo1.example.com.
foo1.example.com. A 1.1.1.1
foo1.example.com. A 1.2.3.5
e11.example.com. TXT "v=spf1 mx:foo:bar/baz.example.com"
foo:bar/baz.example.com. MX 0 foo:bar/baz.example.com.
foo:bar/baz.example.com. A 1.2.3.4
e12.example.com. TXT "v=spf1 mx:example.-com"
e13.example.com. TXT "v=spf1 mx: -all"
`, cases: []spfCase{
		{"mx with an IPv6 length only", "foo@e6.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"mx with an IPv4 length of 33", "foo@e6a.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"mx with an IPv6 length of 129", "foo@e7.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"mx whose exchange has two addresses", "foo@e10.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"mx whose exchange has two addresses, again", "foo@e10.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"mx with a port", "foo@e9.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"mx whose exchange has no address", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"mx of any IPv4 address", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"mx of any IPv4 address, asked on IPv6", "foo@e2.example.com", "mail.example.com", "1234::1", "fail", ""},
		{"mx of any IPv6 address, asked on IPv4", "foo@e2a.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"mx of any IPv6 address, asked on mapped IPv4", "foo@e2a.example.com", "mail.example.com", "::ffff:1.2.3.4", "fail", ""},
		{"mx of any IPv6 address", "foo@e2a.example.com", "mail.example.com", "1234::1", "pass", ""},
		{"mx of any IPv6 address where there is none", "foo@e2b.example.com", "mail.example.com", "1234::1", "fail", ""},
		{"mx with a null octet", "foo@e3.example.com", "mail.example.com", "1.2.3.5", "permerror", ""},
		{"mx with a numeric top label", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"mx with colon and slash in a label", "foo@e11.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"mx with colon and slash, asked on mapped IPv4", "foo@e11.example.com", "mail.example.com", "::ffff:1.2.3.4", "pass", ""},
		{"mx with a hyphen before the top label", "foo@e12.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"mx that is null", "", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"mx is not the name itself", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"mx with an empty domain", "foo@e13.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
	}},
	{section: "5.7", title: "exists", zone: `
mail.example.com. A 1.2.3.4
mail6.example.com. AAAA cafe:babe::4
e1.example.com. TXT "v=spf1 exists:"
e2.example.com. TXT "v=spf1 exists"
e3.example.com. TXT "v=spf1 exists:mail.example.com/24"
e4.example.com. TXT "v=spf1 exists:mail.example.com"
e5.example.com. TXT "v=spf1 exists:mail6.example.com -all"
e6.example.com. TXT "v=spf1 exists:err.example.com -all"
`, silent: []string{"err.example.com"}, cases: []spfCase{
		{"exists with an empty domain", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"exists without domain", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"exists with a prefix length", "foo@e3.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"exists on IPv4", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"exists asks for A on IPv6 too", "foo@e4.example.com", "mail.example.com", "cafe:babe::3", "pass", ""},
		{"exists does not see AAAA", "foo@e5.example.com", "mail.example.com", "cafe:babe::3", "fail", ""},
		{"exists of silence", "foo@e6.example.com", "mail.example.com", "cafe:babe::3", "temperror", ""},
	}},
	{section: "5.6", title: "ip4", zone: `
mail.example.com. A 1.2.3.4
e1.example.com. TXT "v=spf1 ip4:1.1.1.1/0 -all"
e2.example.com. TXT "v=spf1 ip4:1.2.3.4/32 -all"
e3.example.com. TXT "v=spf1 ip4:1.2.3.4/33 -all"
e4.example.com. TXT "v=spf1 ip4:1.2.3.4/032 -all"
e5.example.com. TXT "v=spf1 ip4"
e6.example.com. TXT "v=spf1 ip4:1.2.3.4//32"
e7.example.com. TXT "v=spf1 -ip4:1.2.3.4 ip6:::FFFF:1.2.3.4"
e8.example.com. TXT "v=spf1 ip4:1.2.3.4:8080"
e9.example.com. TXT "v=spf1 ip4:1.2.3"
`, cases: []spfCase{
		{"ip4 of everything", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"ip4 of one host", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"ip4 with a length of 33", "foo@e3.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip4 with a length in octal look", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip4 without address", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip4 with a port", "foo@e8.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip4 with three numbers", "foo@e9.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip4 with two slashes", "foo@e6.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip4 against a mapped address", "foo@e7.example.com", "mail.example.com", "::ffff:1.2.3.4", "fail", ""},
	}},
	{section: "5.6", title: "ip6", zone: `
mail.example.com. A 1.2.3.4
e1.example.com. TXT "v=spf1 -all ip6"
e2.example.com. TXT "v=spf1 ip6:::1.1.1.1/0"
e3.example.com. TXT "v=spf1 ip6:::1.1.1.1/129"
e4.example.com. TXT "v=spf1 ip6:::1.1.1.1//33"
e5.example.com. TXT "v=spf1 ip6:Cafe:Babe:8000::/33"
e6.example.com. TXT "v=spf1 ip6::CAFE::BABE"
`, cases: []spfCase{
		{"ip6 without address", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip6 of everything, asked on IPv4", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"ip6 of everything, asked on mapped IPv4", "foo@e2.example.com", "mail.example.com", "::ffff:1.2.3.4", "neutral", ""},
		{"ip6 of everything", "foo@e2.example.com", "mail.example.com", "deaf:babe::cab:fee", "pass", ""},
		{"ip6 with a length of 129", "foo@e3.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip6 with two slashes", "foo@e4.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ip6 with a length of 33", "foo@e5.example.com", "mail.example.com", "cafe:babe:8000::", "pass", ""},
		{"ip6 with a length of 33, asked on IPv4", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"ip6 that is no address", "foo@e6.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
	}},
	{section: "6", title: "redirect, exp and other modifiers", zone: `
mail.example.com. A 1.2.3.4
e1.example.com. TXT "v=spf1 exp=exp1.example.com redirect=e2.example.com"
e2.example.com. TXT "v=spf1 -all"
e3.example.com. TXT "v=spf1 exp=exp1.example.com redirect=e4.example.com"
e4.example.com. TXT "v=spf1 -all exp=exp2.example.com"
exp1.example.com. TXT "No-see-um"
exp2.example.com. TXT "See me."
exp3.example.com. TXT "Correct!"
exp4.example.com. TXT "%{l} in implementation"
e5.example.com. TXT "v=spf1 1up=foo"
e6.example.com. TXT "v=spf1 =all"
e7.example.com. TXT "v=spf1 include:e3.example.com -all exp=exp3.example.com"
e8.example.com. TXT "v=spf1 -all exp=exp4.example.com"
e9.example.com. TXT "v=spf1 -all foo=%abc"
e10.example.com. TXT "v=spf1 redirect=erehwon.example.com"
e11.example.com. TXT "v=spf1 -all exp=e11msg.example.com"
e11msg.example.com. TXT "Answer a fool according to his folly."
e11msg.example.com. TXT "Do not answer a fool according to his folly."
e12.example.com. TXT "v=spf1 exp= -all"
e13.example.com. TXT "v=spf1 exp=e13msg.example.com -all"
e13msg.example.com. TXT "The %{x}-files."
e14.example.com. TXT "v=spf1 exp=e13msg.example.com -all exp=e11msg.example.com"
e15.example.com. TXT "v=spf1 redirect=e12.example.com -all redirect=e12.example.com"
e16.example.com. TXT "v=spf1 exp=-all"
e17.example.com. TXT "v=spf1 redirect=-all ?all"
e18.example.com. TXT "v=spf1 ?all redirect="
e19.example.com. TXT "v=spf1 default=pass"
e20.example.com. TXT "v=spf1 default=+"
e21.example.com. TXT "v=spf1 exp=e21msg.example.com -all"
e22.example.com. TXT "v=spf1 exp=mail.example.com -all"
nonascii.example.com. TXT "v=spf1 exp=badexp.example.com -all"
badexp.example.com. TXT "\239\187\191Explanation"
tworecs.example.com. TXT "v=spf1 exp=twoexp.example.com -all"
twoexp.example.com. TXT "one"
twoexp.example.com. TXT "two"
e23.example.com. TXT "v=spf1 a:erehwon.example.com a:foobar.com exp=nxdomain.com -all"
e24.example.com. TXT "v=spf1 redirect=testimplicit.example.com"
e24.example.com. A 192.0.2.1
testimplicit.example.com. TXT "v=spf1 a -all"
testimplicit.example.com. A 192.0.2.2
`, silent: []string{"e21msg.example.com"}, cases: []spfCase{
		{"redirect to a name without record", "foo@e10.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"redirect forgets our explanation", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "fail", "none"},
		{"redirect to what is no domain", "foo@e17.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"include's explanation is not ours", "foo@e7.example.com", "mail.example.com", "1.2.3.4", "fail", "Correct!"},
		{"redirect's explanation is the one", "foo@e3.example.com", "mail.example.com", "1.2.3.4", "fail", "See me."},
		{"modifier that begins with a digit", "foo@e5.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"modifier without name", "foo@e6.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"local part with a blank in an explanation", "Macro Error@e8.example.com", "mail.example.com", "1.2.3.4", "fail", "Macro Error in implementation"},
		{"explanation in two records of TXT", "foo@e11.example.com", "mail.example.com", "1.2.3.4", "fail", "none"},
		{"explanation where there is no TXT", "foo@e22.example.com", "mail.example.com", "1.2.3.4", "fail", "none"},
		{"explanation that is silent", "foo@e21.example.com", "mail.example.com", "1.2.3.4", "fail", "none"},
		{"explanation without domain", "foo@e12.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"explanation with an unknown macro", "foo@e13.example.com", "mail.example.com", "1.2.3.4", "fail", "none"},
		{"explanation of one label", "foo@e16.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"two explanations named", "foo@e14.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"redirect without domain", "foo@e18.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"two redirects", "foo@e15.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"unknown modifier with a bad macro", "foo@e9.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"modifier that a draft had", "foo@e19.example.com", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"modifier that a draft had, with a sign", "foo@e20.example.com", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"explanation that is not ASCII", "foobar@nonascii.example.com", "hosed", "1.2.3.4", "fail", "none"},
		{"explanation twice", "foobar@tworecs.example.com", "hosed", "1.2.3.4", "fail", "none"},
		{"explanation's name is not counted as void", "foo@e23.example.com", "mail.example.com", "1.2.3.4", "fail", ""},
		{"redirect changes what a is about", "bar@e24.example.com", "e24.example.com", "192.0.2.2", "pass", ""},
	}},
	{section: "7", title: "macros", zone: `
example.com.d.spf.example.com. TXT "v=spf1 redirect=a.spf.example.com"
a.spf.example.com. TXT "v=spf1 include:o.spf.example.com. ~all"
o.spf.example.com. TXT "v=spf1 ip4:192.168.218.40"
msgbas2x.cos.example.com. A 192.168.218.40
example.com. A 192.168.90.76
example.com. TXT "v=spf1 redirect=%{d}.d.spf.example.com."
exp.example.com. TXT "v=spf1 exp=msg.example.com. -all"
msg.example.com. TXT "This is a test."
e1.example.com. TXT "v=spf1 -exists:%(ir).sbl.example.com ?all"
e1e.example.com. TXT "v=spf1 exists:foo%(ir).sbl.example.com ?all"
e1t.example.com. TXT "v=spf1 exists:foo%.sbl.example.com ?all"
e1a.example.com. TXT "v=spf1 a:macro%%percent%_%_space%-url-space.example.com -all"
macro%percent\ \ space%20url-space.example.com. A 1.2.3.4
e2.example.com. TXT "v=spf1 -all exp=%{r}.example.com"
e3.example.com. TXT "v=spf1 -all exp=%{ir}.example.com"
40.218.168.192.example.com. TXT "Connections from %{c} not authorized."
somewhat.long.exp.example.com. TXT "v=spf1 -all exp=foobar.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.%{o}.example.com"
somewhat.long.exp.example.com.somewhat.long.exp.example.com.somewhat.long.exp.example.com.somewhat.long.exp.example.com.somewhat.long.exp.example.com.somewhat.long.exp.example.com.somewhat.long.exp.example.com.somewhat.long.exp.example.com.example.com. TXT "Congratulations!  That was tricky."
e4.example.com. TXT "v=spf1 -all exp=e4msg.example.com"
e4msg.example.com. TXT "%{c} is queried as %{ir}.%{v}.arpa"
e5.example.com. TXT "v=spf1 a:%{a}.example.com -all"
e6.example.com. TXT "v=spf1 -all exp=e6msg.example.com"
e6msg.example.com. TXT "connect from %{p}"
mx.example.com. A 192.168.218.41
mx.example.com. A 192.168.218.42
mx.example.com. AAAA cafe:babe::2
mx.example.com. AAAA cafe:babe::3
40.218.168.192.in-addr.arpa. PTR mx.example.com.
41.218.168.192.in-addr.arpa. PTR mx.example.com.
42.218.168.192.in-addr.arpa. PTR mx.example.com.
42.218.168.192.in-addr.arpa. PTR mx.e7.example.com.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.E.B.A.B.E.F.A.C.ip6.arpa. PTR mx.example.com.
3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.E.B.A.B.E.F.A.C.ip6.arpa. PTR mx.example.com.
mx.e7.example.com. A 192.168.218.42
mx.e7.example.com.should.example.com. A 127.0.0.2
mx.example.com.ok.example.com. A 127.0.0.2
e7.example.com. TXT "v=spf1 exists:%{p}.should.example.com ~exists:%{p}.ok.example.com"
e8.example.com. TXT "v=spf1 -all exp=msg8.%{D2}"
msg8.example.com. TXT "http://example.com/why.html?l=%{L}"
e9.example.com. TXT "v=spf1 a:%{H} -all"
e10.example.com. TXT "v=spf1 -include:_spfh.%{d2} ip4:1.2.3.0/24 -all"
_spfh.example.com. TXT "v=spf1 -a:%{h} +all"
e11.example.com. TXT "v=spf1 exists:%{i}.%{l2r-}.user.%{d2}"
1.2.3.4.gladstone.philip.user.example.com. A 127.0.0.2
e12.example.com. TXT "v=spf1 exists:%{l2r+-}.user.%{d2}"
bar.foo.user.example.com. A 127.0.0.2
`, cases: []spfCase{
		{"dot at the end of a domain", "test@example.com", "msgbas2x.cos.example.com", "192.168.218.40", "pass", ""},
		{"dot at the end of an explanation", "test@exp.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "fail", "This is a test."},
		{"macro for explanations in a domain", "test@e2.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "permerror", ""},
		{"parentheses for braces", "test@e1.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "permerror", ""},
		{"parentheses for braces inside", "test@e1e.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "permerror", ""},
		{"per cent sign before a dot", "test@e1t.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "permerror", ""},
		{"per cent sign, blank and escaped blank", "test@e1a.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"address in an explanation", "test@e3.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "fail", "Connections from 192.168.218.40 not authorized."},
		{"domain cut from the left to fit", "test@somewhat.long.exp.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "fail", "Congratulations!  That was tricky."},
		{"family and address on IPv4", "test@e4.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "fail", "192.168.218.40 is queried as 40.218.168.192.in-addr.arpa"},
		{"family and address on IPv6", "test@e4.example.com", "msgbas2x.cos.example.com", "cafe:babe::1", "fail", "cafe:babe::1 is queried as 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.E.B.A.B.E.F.A.C.ip6.arpa"},
		{"letter that is no macro", "test@e5.example.com", "msgbas2x.cos.example.com", "cafe:babe::192.168.218.40", "permerror", ""},
		{"name that does not lead back, on IPv4", "test@e6.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "fail", "connect from unknown"},
		{"validated name on IPv4", "test@e6.example.com", "msgbas2x.cos.example.com", "192.168.218.41", "fail", "connect from mx.example.com"},
		{"name that does not lead back, on IPv6", "test@e6.example.com", "msgbas2x.cos.example.com", "cafe:babe::1", "fail", "connect from unknown"},
		{"validated name on IPv6", "test@e6.example.com", "msgbas2x.cos.example.com", "cafe:babe::3", "fail", "connect from mx.example.com"},
		{"several validated names", "test@e7.example.com", "msgbas2x.cos.example.com", "192.168.218.42", "pass softfail", ""},
		{"capital letter escapes", "~jack&jill=up-a_b3.c@e8.example.com", "msgbas2x.cos.example.com", "192.168.218.42", "fail", "http://example.com/why.html?l=~jack%26jill%3Dup-a_b3.c"},
		{"HELO name", "test@e9.example.com", "msgbas2x.cos.example.com", "192.168.218.40", "pass", ""},
		{"HELO that is no name", "test@e9.example.com", "JUMPIN' JUPITER", "192.168.218.40", "fail", ""},
		{"HELO that is an address literal", "test@e9.example.com", "[192.168.218.40]", "192.168.218.40", "fail", ""},
		{"policy about the HELO name", "test@e10.example.com", "OEMCOMPUTER", "1.2.3.4", "fail", ""},
		{"local part split at hyphens and reversed", "philip-gladstone-test@e11.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"local part split at two delimiters", "foo-bar+zip+quux@e12.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
	}},
	{section: "4.6.4", title: "limits", zone: `
mail.example.com. A 1.2.3.4
e1.example.com. TXT "v=spf1 ip4:1.1.1.1 redirect=e1.example.com"
e1.example.com. A 1.2.3.6
e2.example.com. TXT "v=spf1 include:e3.example.com"
e2.example.com. A 1.2.3.7
e3.example.com. TXT "v=spf1 include:e2.example.com"
e3.example.com. A 1.2.3.8
e4.example.com. TXT "v=spf1 mx"
e4.example.com. MX 0 mail.example.com.
e4.example.com. MX 1 mail.example.com.
e4.example.com. MX 2 mail.example.com.
e4.example.com. MX 3 mail.example.com.
e4.example.com. MX 4 mail.example.com.
e4.example.com. MX 5 mail.example.com.
e4.example.com. MX 6 mail.example.com.
e4.example.com. MX 7 mail.example.com.
e4.example.com. MX 8 mail.example.com.
e4.example.com. MX 9 mail.example.com.
e4.example.com. MX 10 e4.example.com.
e4.example.com. A 1.2.3.5
e5.example.com. TXT "v=spf1 ptr"
e5.example.com. A 1.2.3.5
5.3.2.1.in-addr.arpa. PTR e1.example.com.
5.3.2.1.in-addr.arpa. PTR e2.example.com.
5.3.2.1.in-addr.arpa. PTR e3.example.com.
5.3.2.1.in-addr.arpa. PTR e4.example.com.
5.3.2.1.in-addr.arpa. PTR example.com.
5.3.2.1.in-addr.arpa. PTR e6.example.com.
5.3.2.1.in-addr.arpa. PTR e7.example.com.
5.3.2.1.in-addr.arpa. PTR e8.example.com.
5.3.2.1.in-addr.arpa. PTR e9.example.com.
5.3.2.1.in-addr.arpa. PTR e10.example.com.
5.3.2.1.in-addr.arpa. PTR e5.example.com.
e6.example.com. TXT "v=spf1 a mx a mx a mx a mx a ptr ip4:1.2.3.4 -all"
e6.example.com. A 1.2.3.8
e6.example.com. MX 10 e6.example.com.
e7.example.com. TXT "v=spf1 a mx a mx a mx a mx a ptr a ip4:1.2.3.4 -all"
e7.example.com. A 1.2.3.20
e8.example.com. TXT "v=spf1 a include:inc.example.com ip4:1.2.3.4 mx -all"
e8.example.com. A 1.2.3.4
inc.example.com. TXT "v=spf1 a a a a a a a a"
inc.example.com. A 1.2.3.10
e9.example.com. TXT "v=spf1 a include:inc.example.com a ip4:1.2.3.4 -all"
e9.example.com. A 1.2.3.21
e10.example.com. TXT "v=spf1 a -all"
e10.example.com. A 1.2.3.1
e10.example.com. A 1.2.3.2
e10.example.com. A 1.2.3.3
e10.example.com. A 1.2.3.4
e10.example.com. A 1.2.3.5
e10.example.com. A 1.2.3.6
e10.example.com. A 1.2.3.7
e10.example.com. A 1.2.3.8
e10.example.com. A 1.2.3.9
e10.example.com. A 1.2.3.10
e10.example.com. A 1.2.3.11
e10.example.com. A 1.2.3.12
e11.example.com. TXT "v=spf1 a:err.example.com a:err1.example.com a:err2.example.com ?all"
e12.example.com. TXT "v=spf1 a:err.example.com a:err1.example.com ?all"
`, cases: []spfCase{
		{"redirect in a circle", "foo@e1.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"include in a circle", "foo@e2.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"eleven exchanges", "foo@e4.example.com", "mail.example.com", "1.2.3.5", "permerror", ""},
		{"eleven names of a client", "foo@e5.example.com", "mail.example.com", "1.2.3.5", "neutral pass", ""},
		{"twelve addresses of a host", "foo@e10.example.com", "mail.example.com", "1.2.3.12", "pass", ""},
		{"ten look-ups", "foo@e6.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"eleven look-ups", "foo@e7.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"ten look-ups with an include", "foo@e8.example.com", "mail.example.com", "1.2.3.4", "pass", ""},
		{"eleven look-ups with an include", "foo@e9.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
		{"two look-ups find nothing", "foo@e12.example.com", "mail.example.com", "1.2.3.4", "neutral", ""},
		{"three look-ups find nothing", "foo@e11.example.com", "mail.example.com", "1.2.3.4", "permerror", ""},
	}},
	{section: "3.2", title: "found in the field", zone: `
example.org. TXT "v=spf1 mx redirect=_spf.example.com"
example.org. MX 10 smtp.example.org.
example.org. MX 10 smtp1.example.com.
smtp.example.org. A 198.51.100.2
smtp.example.org. AAAA 2001:db8:ff0:100::3
smtp1.example.com. A 192.0.2.26
smtp1.example.com. AAAA 2001:db8:ff0:200::2
2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.F.F.0.8.B.D.0.1.0.0.2.ip6.arpa. PTR smtp6-v.fe.example.org.
smtp6-v.fe.example.org. AAAA 2001:db8:ff0:100::2
_spf.example.com. TXT "v=spf1 ptr:fe.example.org ptr:sgp.example.com exp=_expspf.example.org -all"
_expspf.example.org. TXT "Sender domain not allowed from this host. Please see http://www.openspf.org/Why?s=mfrom&id=%{S}&ip=%{C}&r=%{R}"
a.example.org. TXT "Another TXT record."
a.example.org. TXT "v=spf1 ip4:192.0.2.225 ?include:webmail.pair.com ?include:relay.pair.com -all"
a.example.org. TXT "More TXT records."
a.example.org. TXT "A third TXT record."
a.example.org. AAAA 2001:db8:ff0:300::4
b.example.org. CNAME a.example.org.
mail.example.org. TXT "v=spf1 include:a.example.org include:b.example.org -all"
mail.example.org. A 192.0.2.28
webmail.pair.com. TXT "v=spf1 ip4:66.39.3.0/24 ip4:209.68.6.94/32"
relay.pair.com. TXT "v=spf1 ip4:209.68.5.9/32 ip4:209.68.5.15/32 a -all"
relay.pair.com. A 192.0.2.131
`, cases: []spfCase{
		{"mx first, then names of the client by way of a redirect", "test@example.org", "example.org", "2001:db8:ff0:100::2", "pass", ""},
		{"the same record by way of two CNAMEs", "test@mail.example.org", "mail.example.org", "192.0.2.27", "fail", ""},
	}}}

func TestSPFEvaluatesAsRFC7208Says(t *testing.T) {
	n := 0
	for _, group := range spfCases {
		n += len(group.cases)
		t.Run(group.title, func(t *testing.T) {
			inLab(t, group.zone, 1, func(t *testing.T, l *lab) {
				for _, name := range group.silent {
					l.servers[0].Fail(name, "ANY", dnstest.Drop)
				}
				for _, c := range group.cases {
					q := SPFQuery{IP: netip.MustParseAddr(c.ip), Sender: c.sender, HELO: c.helo}
					if q.Sender == "" {
						q.Sender = "postmaster@" + c.helo
					}
					_, q.Domain, _ = cutLast(q.Sender, "@")
					got := EvaluateSPF(t.Context(), l.resolver, q)
					if !slices.Contains(strings.Fields(c.result), string(got.Result)) {
						t.Errorf("section %s, %s: %s (%s), want %s", group.section, c.title, got.Result, got.Problem, c.result)
					}
					if want := strings.TrimPrefix(c.explanation, "none"); c.explanation != "" && !strings.EqualFold(got.Explanation, want) {
						t.Errorf("section %s, %s: explained by %q, want %q", group.section, c.title, got.Explanation, want)
					}
					if wrong := got.Result == SPFNone || got.Result == SPFTemperror || got.Result == SPFPermerror; wrong != (got.Code != "") || wrong != (got.Problem != "") {
						t.Errorf("section %s, %s: %s with code %q and problem %q", group.section, c.title, got.Result, got.Code, got.Problem)
					}
					if got.Lookups > maxSPFLookups+1 || got.Voids > maxSPFVoids+1 {
						t.Errorf("section %s, %s: went on after %d look-ups, %d void", group.section, c.title, got.Lookups, got.Voids)
					}
				}
			})
		})
	}
	if n < 200 {
		t.Errorf("%d cases only", n)
	}
}
