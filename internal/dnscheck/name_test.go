package dnscheck

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseNameGivesOneSpellingPerName(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG":                            "example.org",
		"example.org.":                           "example.org",
		"_DMARC.example.org":                     "_dmarc.example.org",
		"tok._domainkey.example.org":             "tok._domainkey.example.org",
		"bücher.example":                         "xn--bcher-kva.example",
		"BÜCHER.example":                         "xn--bcher-kva.example",
		"_x.bücher.example":                      "_x.xn--bcher-kva.example",
		"xn--bcher-kva.example":                  "xn--bcher-kva.example",
		"XN--Bcher-KVA.example":                  "xn--bcher-kva.example",
		"例え。テスト":                                 "xn--r8jz45g.xn--zckzah",
		"ｅｘａｍｐｌｅ．org":                            "example.org",
		"faß.example":                            "xn--fa-hia.example",
		"r3---sn.example.org":                    "r3---sn.example.org",
		"com":                                    "com",
		strings.Repeat("a", 63) + ".example.org": strings.Repeat("a", 63) + ".example.org",
	} {
		n, err := ParseName(in)
		if err != nil || n.String() != want {
			t.Errorf("ParseName(%q) = %q, %v; want %q", in, n, err, want)
		}
	}
}

func TestParseNameRefusesWhatNoRecordCanLiveAt(t *testing.T) {
	for _, in := range []string{
		"", ".", "..", ".example.org", "example..org", "exa mple.org", "example.org\n", "a\x00b.example.org", "*.example.org",
		"a/b.example.org", "xn--.example", "xn--a.example", "xn--example-.org", "xn--bcher-KVB9.example", "_bü.example",
		"exa\u00admple\u2028.org", strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 127) + "org", strings.Repeat("ü", 2000),
		"a\xff.example.org", "1.2.3.4:53", "a@example.org",
	} {
		if n, err := ParseName(in); err == nil {
			t.Errorf("ParseName(%q) = %q, want an error", in, n)
		} else if len(err.Error()) > 600 {
			t.Errorf("ParseName(%.20q): error of %d bytes", in, len(err.Error()))
		}
	}
	longest := strings.Repeat("a.", 126) + "b"
	if _, err := ParseName(longest); err != nil {
		t.Errorf("253 characters: %v", err)
	}
	if _, err := ParseName(longest + "b"); err == nil {
		t.Error("254 characters are accepted")
	}
}

func TestParseDomainSaysWhyItRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "is empty",
		".":                     "is empty",
		" example.org":          "blank or control character at position 1",
		"example.org\t":         "blank or control character at position 12",
		"exa\u200bmple.org":     "blank or control character",
		"example.org\u202e":     "blank or control character",
		"*.example.org":         "wildcard",
		"192.0.2.1":             "IP address",
		"192.0.2.1.":            "IP address",
		"[192.0.2.1]":           "IP address",
		"192.0.2.1:25":          "IP address",
		"2001:db8::1":           "IP address",
		"[2001:db8::1]":         "IP address",
		"[2001:db8::1]:53":      "IP address",
		"fe80::1%eth0":          "IP address",
		"localhost":             "single label",
		"com":                   "single label",
		"co.uk":                 "public suffix",
		"CO.UK.":                "public suffix",
		"github.io":             "public suffix",
		"foo.ck":                "public suffix",
		"_dmarc.example.org":    "underscore",
		"mail_out.example.org":  "underscore",
		"example.123":           "number",
		"1.2.3.0x4":             "number",
		"１.２.３.４":               "number",
		"user@example.org":      "e-mail address",
		"https://example.org":   "URL",
		"https://example.org/a": "URL",
		"example.org/a":         "path",
		"example.org?x":         "path",
		"192.0.2.0/24":          "path",
		"example.org:443":       "port",
		"-a.example.org":        "hyphen",
		"a-.example.org":        "hyphen",
		"exam!ple.org":          "only letters, digits",
		"100%d.example.org":     "only letters, digits",
		"a..example.org":        "empty label",
		"xn--a.example.org":     "no valid A-label",
	} {
		n, err := ParseDomain(in)
		if err == nil {
			t.Errorf("ParseDomain(%q) = %q, want %q", in, n, want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDomain(%q): %q does not say %q", in, err, want)
		} else if strings.Contains(err.Error(), "%!") {
			t.Errorf("ParseDomain(%q): broken message %q", in, err)
		}
	}
	for _, in := range []string{"example.org", "Example.Co.Uk", "www.ck", "a.github.io", "bücher.example", "1.example.org", "mail.test"} {
		if _, err := ParseDomain(in); err != nil {
			t.Errorf("ParseDomain(%q): %v", in, err)
		}
	}
}

func TestNamesKnowTheirPlaceInTheTree(t *testing.T) {
	n := mustName(t, "a.mail.example.co.uk")
	if got := n.Registrable().String(); got != "example.co.uk" {
		t.Errorf("Registrable: %q", got)
	}
	if got := n.Parent().String(); got != "mail.example.co.uk" {
		t.Errorf("Parent: %q", got)
	}
	if got := mustName(t, "org").Parent(); !got.IsZero() {
		t.Errorf("Parent of a single label: %q", got)
	}
	if got := n.Child("Tok._domainkey").String(); got != "tok._domainkey.a.mail.example.co.uk" {
		t.Errorf("Child: %q", got)
	}
	for _, bad := range []string{"", "a..b", "ex ample", strings.Repeat("a.", 120) + "a"} {
		if got := n.Child(bad); !got.IsZero() {
			t.Errorf("Child(%q) = %q, want the zero Name", bad, got)
		}
	}
	if got := (Name{}).Child("a"); !got.IsZero() {
		t.Errorf("Child of the zero Name: %q", got)
	}
	if !n.IsBelow(n.Parent()) || n.IsBelow(n) || n.Parent().IsBelow(n) || n.IsBelow(Name{}) ||
		mustName(t, "notexample.org").IsBelow(mustName(t, "example.org")) {
		t.Error("IsBelow is not strict, or not on label boundaries")
	}
	if got := mustName(t, "co.uk").Registrable(); !got.IsZero() {
		t.Errorf("Registrable of a suffix: %q", got)
	}
}

func TestNamesLiveInJSON(t *testing.T) {
	in := Record{Purpose: MailFromMX, Name: mustName(t, "bounce.example.org"), Type: MX, Value: "mx.example.net.", Priority: 10}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"purpose":"mail-from-mx","name":"bounce.example.org","type":"MX","value":"mx.example.net.","priority":10}`; string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	var out Record
	if err := json.Unmarshal(text, &out); err != nil || out.Name != in.Name {
		t.Errorf("back: %+v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"name":"a b"}`), &out); err == nil {
		t.Error("an invalid name is accepted")
	}
}

func mustName(t testing.TB, s string) Name {
	t.Helper()
	n, err := ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
