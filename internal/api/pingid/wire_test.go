package pingid

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/otp"
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

func TestEveryStatusOfAnAuthenticationHasAWord(t *testing.T) {
	words := map[string]bool{}
	for _, s := range []otp.Status{otp.AwaitingCode, otp.InvalidCode, otp.Approved, otp.Blocked, otp.Canceled, otp.TimedOut, otp.SelectFirst} {
		words[authenticationWords[s]] = true
	}
	if len(words) != len(authenticationWords) || words[""] {
		t.Errorf("words %v for the statuses of %v", words, authenticationWords)
	}
	for _, r := range []otp.Role{otp.Primary, otp.Trusted} {
		if deviceRoles[r] == "" {
			t.Errorf("the role %s has no word", r)
		}
	}
}

func TestEveryKindOfFailureHasARowOfKnownCodes(t *testing.T) {
	kinds := slices.Concat(api.Kinds, otp.Kinds, []sender.Kind{empty, wildcard, alreadyDone})
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
		status, b := errorOf("id", "emailDomain", &sender.Error{Kind: k, Field: "domainName"})
		if status != a.status || b.ID != "id" || b.Message == "" || b.Details == nil {
			t.Errorf("%s: %d %+v", k, status, b)
		}
	}
	if len(errorTable) != len(kinds) {
		t.Errorf("%d rows for %d kinds", len(errorTable), len(kinds))
	}
}

// The cores name their fields neutrally; none of those names may get out where
// this dialect has another.
func TestFieldsOfTheCoresHaveTheDialectsNames(t *testing.T) {
	for _, c := range []struct {
		resource, field, want string
	}{
		{"emailConfiguration", "from", "fromAddress"},
		{"emailConfiguration", "replyTo", "replyToAddress"},
		{"emailConfiguration", "subject", "emailSubject"},
		{"emailConfiguration", "body", "emailBody"},
		{"emailConfiguration", "charset", "characterSet"},
		{"emailConfiguration", "contentType", "contentType"},
		{"emailConfiguration", "type", "type"},
		{"pairing", "type", "type"},
		{"pairing", "address", "recipient"},
		{"pairing", "to", "recipient"},
		{"pairing", "nickname", "deviceNickname"},
		{"pairing", "values", "emailParameters"},
		{"authentication", "type", "emailConfigurationType"},
		{"authentication", "values", "emailParameters"},
		{"authentication", "otp", "otp"},
		{"application", "push", ""},
		{"User", "username", "username"},
		{"attribute", "value", "value"},
	} {
		_, b := errorOf("id", c.resource, sender.Errorf(sender.Invalid, c.field, "wrong"))
		if b.Target != c.resource || b.Details[0].Target != c.want {
			t.Errorf("%s of %s: %+v", c.field, c.resource, b)
		}
	}
	for field, want := range map[string]string{
		"application": "application", "user": "User", "device": "device", "pairing": "pairing", "authentication": "authentication",
		"template": "emailConfiguration", "attribute": "attribute", "emailDomain": "emailDomain",
	} {
		if _, b := errorOf("id", "x", missing(field)); b.Target != want || b.Details[0].Target != "" {
			t.Errorf("a missing %s: %+v", field, b)
		}
	}
	for field, want := range map[string]string{
		"domainName": "emaildomains", "emailAddress": "trustedemails", "template": "emailconfigurations", "application": "applications", "device": "devices",
	} {
		if _, b := errorOf("id", "x", sender.Errorf(sender.Limit, field, "full")); b.Target != want || b.Details[0].Code != "SIZE_LIMIT_EXCEEDED" {
			t.Errorf("too many of %s: %+v", field, b)
		}
	}
}

func TestUnknownErrorsAreInternalAndHidden(t *testing.T) {
	for _, err := range []error{errors.New("the disk is full"), &sender.Error{Kind: "new", Detail: "the disk is full"}, nil} {
		if status, b := errorOf("id", "User", err); status != 500 || b.Code != "UNEXPECTED_ERROR" || b.Message != internalError.message || b.Target != "" {
			t.Errorf("%v: %d %+v", err, status, b)
		}
	}
}

func TestAuthorsAreUnescapedOutsideOfTheirNames(t *testing.T) {
	for sent, want := range map[string]string{
		" a%40b.example ":          "a@b.example",
		`"N" <a%40b.example>`:      `"N" <a@b.example>`,
		`"N %40" <a%40b.example> `: `"N %40" <a@b.example>`,
		`"x@y" <a%40b.example>`:    `"x@y" <a@b.example>`,
		`"N %41" <a@b.example>`:    `"N %41" <a@b.example>`,
		`<a%40b.example>`:          `<a@b.example>`,
		`a%2540b.example`:          `a%2540b.example`,
		`"N" <a%40b.example`:       `"N" <a@b.example`,
		`%zz%40`:                   `%zz%40`,
		`>`:                        `>`,
		``:                         ``,
	} {
		if got := author(sent); got != want {
			t.Errorf("%q becomes %q, want %q", sent, got, want)
		}
	}
}

func TestParametersAreTexts(t *testing.T) {
	for sent, want := range map[string]map[string]string{
		``:     nil,
		`null`: nil,
		`{}`:   {},
		`{"a":"b","n":-1.50e3,"t":true,"f":false,"x":null,"e":""}`: {"a": "b", "n": "-1.50e3", "t": "true", "f": "false", "e": ""},
		`{"\u00e9":"\ud83d\ude00"}`:                                {"é": "😀"},
	} {
		got, err := parameters(jsontext.Value(sent))
		if err != nil || !maps.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %v, %v", sent, got, err)
		}
	}
	for _, sent := range []string{`[]`, `"a"`, `1`, `true`, `{"a":{}}`, `{"a":[]}`, `{"a":"b","c":["d"]}`} {
		got, err := parameters(jsontext.Value(sent))
		if e, ok := errors.AsType[*sender.Error](err); !ok || e.Kind != sender.Invalid || e.Field != "values" || got != nil {
			t.Errorf("%s: %v, %v", sent, got, err)
		}
	}
}

// What is accepted is what another decoder reads, and nothing of it is lost.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{`{"a":"b"}`, `{"a":1,"b":null}`, `{"a":{}}`, `null`, `[]`, `{"a":"\u0000","b":true}`, `{"a":`, `{"a":1}x`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var body struct {
			EmailParameters jsontext.Value `json:"emailParameters"`
		}
		if api.DecodeJSON(slices.Concat([]byte(`{"emailParameters":`), b, []byte(`}`)), &body) != nil {
			_, _ = parameters(jsontext.Value(b)) // comes never, and must not panic
			return
		}
		got, err := parameters(body.EmailParameters)
		var want any
		if json.Unmarshal(body.EmailParameters, &want) != nil {
			t.Fatalf("%q is no JSON", body.EmailParameters)
		}
		object, isObject := want.(map[string]any)
		flat := isObject || want == nil
		n := 0
		for _, v := range object {
			switch v.(type) {
			case map[string]any, []any:
				flat = false
			case nil:
			default:
				n++
			}
		}
		if (err == nil) != flat || err == nil && len(got) != n {
			t.Fatalf("%q: %v, %v", b, got, err)
		}
		for name, v := range got {
			if s, ok := object[name].(string); ok && s != v || !utf8.ValidString(v) {
				t.Fatalf("%q: %q is %q", b, name, v)
			}
		}
	})
}

// A body in base64 has one spelling but for its padding.
func FuzzDecodeBody(f *testing.F) {
	for _, s := range []string{"", "YQ==", "YQ", "YQ=", "Y Q==", "YW\nJj", "/w==", "bWFpbCBib2R5ICR7T1RQfQ=="} {
		f.Add("base64", "utf-8", s)
	}
	f.Add("RAW", "", "é")
	f.Add("Base64", "iso-8859-1", "6Q==")
	f.Fuzz(func(t *testing.T, encoding, charset, body string) {
		got, err := decodeBody(encoding, charset, body)
		if err != nil {
			if got != "" {
				t.Fatalf("an error with %q", got)
			}
			return
		}
		if strings.ToLower(encoding) != "base64" {
			if got != body {
				t.Fatalf("%q becomes %q", body, got)
			}
			return
		}
		if !utf8.ValidString(got) {
			t.Fatalf("%q becomes %q", body, got)
		}
		if charset == "" || strings.EqualFold(charset, "utf-8") {
			if again := base64.StdEncoding.EncodeToString([]byte(got)); again != body && strings.TrimRight(again, "=") != body {
				t.Fatalf("%q is %q, which is %q", body, got, again)
			}
		}
	})
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
