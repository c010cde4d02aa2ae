package pingid

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func TestEveryStatusHasAWord(t *testing.T) {
	for _, s := range sender.Statuses {
		if w := statusWords[s]; (w == "ACTIVE") != s.Holds() || (w == "VERIFICATION_REQUIRED") == s.Holds() {
			t.Errorf("the status %s is shown as %q", s, w)
		}
	}
	for _, a := range []sender.AccountType{sender.Sandbox, sender.Production} {
		if accountTypes[a] == "" {
			t.Errorf("the account type %s has no word", a)
		}
	}
}

func TestEveryKindOfFailureHasARowOfKnownCodes(t *testing.T) {
	kinds := append(slices.Clone(api.Kinds), empty, wildcard, alreadyActive)
	for _, k := range kinds {
		a, ok := errorTable[k]
		if !ok {
			t.Errorf("the kind %s has no row", k)
		}
		if status, ok := topCodes[a.code]; !ok || (status != a.status && a.code != "INVALID_REQUEST") {
			t.Errorf("%s: status %d with %s", k, a.status, a.code)
		}
		if a.detail != "" && !slices.Contains(detailCodes, a.detail) {
			t.Errorf("%s: no client knows the detail %s", k, a.detail)
		}
		status, b := errorOf("id", &sender.Error{Kind: k, Field: "domainName"})
		if status != a.status || b.ID != "id" || b.Message == "" || b.Details == nil {
			t.Errorf("%s: %d %+v", k, status, b)
		}
	}
	if len(errorTable) != len(kinds) {
		t.Errorf("%d rows for %d kinds", len(errorTable), len(kinds))
	}
}

func TestUnknownErrorsAreInternalAndHidden(t *testing.T) {
	for _, err := range []error{errors.New("the disk is full"), &sender.Error{Kind: "new", Detail: "the disk is full"}, nil} {
		if status, b := errorOf("id", err); status != 500 || b.Code != "UNEXPECTED_ERROR" || b.Message != internalError.message {
			t.Errorf("%v: %d %+v", err, status, b)
		}
	}
}

func TestOwnsItsPathsOnly(t *testing.T) {
	for path, want := range map[string]bool{"/pingid": true, "/pingid/v1/accounts": true, "/pingid/": true, "/pingidx": false, "/v1/pingid": false, "/": false, "": false} {
		if Owns(path) != want {
			t.Errorf("Owns(%q) = %t", path, !want)
		}
	}
}

func TestRelativeNames(t *testing.T) {
	for _, c := range []struct{ name, domain, want string }{
		{"_amazonses.mail.example.org", "mail.example.org", "_amazonses"},
		{"a._domainkey.mail.example.org", "mail.example.org", "a._domainkey"},
		{"mail.example.org", "mail.example.org", "@"},
		{"xmail.example.org", "mail.example.org", "xmail.example.org"},
		{"elsewhere.example", "mail.example.org", "elsewhere.example"},
	} {
		name, err := dnscheck.ParseName(c.name)
		domain, err2 := dnscheck.ParseName(c.domain)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if got := relative(name, domain); got != c.want {
			t.Errorf("%s below %s is %s, want %s", c.name, c.domain, got, c.want)
		}
	}
}

func TestLineEndsAreMendedOutsideOfStringsOnly(t *testing.T) {
	for sent, want := range map[string]string{
		"{ \\ \n \"a\": \"b\" \\\t\r\n}": "{ \n \"a\": \"b\" \n}",
		"{\"a\":\"x\\\ny\"}":             "",
		"{\"a\":\"\\\"\" \\\n}":          "{\"a\":\"\\\"\" \n}",
		"{\"a\":1}":                      "",
		"\\":                             "",
		"\\ ":                            "",
		"\"\\":                           "",
		"{\\n}":                          "",
	} {
		got, ok := withoutLineEnds([]byte(sent))
		if ok != (want != "") || ok && string(got) != want || !ok && string(got) != sent {
			t.Errorf("%q becomes %q, %t, want %q", sent, got, ok, want)
		}
	}
}

// Mending is for what is not JSON; it must leave what is alone.
func FuzzMendingLeavesJSONAlone(f *testing.F) {
	for _, s := range []string{`{"a":"\\\n"}`, "{ \\\n}", `"\"`, "\\\n", `{"a\"":"\\"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		mended, ok := withoutLineEnds(b)
		if !bytes.Equal(b, before) || len(mended) > len(b) || !ok && !bytes.Equal(mended, b) {
			t.Fatalf("%q becomes %q, %t", before, mended, ok)
		}
		var v any
		if json.Unmarshal(b, &v) == nil && ok {
			t.Fatalf("%q is JSON and was mended", b)
		}
	})
}
