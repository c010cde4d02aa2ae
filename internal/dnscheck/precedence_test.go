package dnscheck

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The page that the owners of domains read, and the expectations of the corpus are written
// from, says the same as the code.
func TestFindingsPageListsEveryCodeInOrder(t *testing.T) {
	b, err := os.ReadFile("../../docs/findings.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []Code
	for _, m := range regexp.MustCompile("(?m)^\\| \\d+ \\| `([A-Z_]+)` \\| ([a-z ]+) \\| (yes|no|sometimes) \\| .{20,} \\|$").FindAllStringSubmatch(string(b), -1) {
		code := Code(m[1])
		listed = append(listed, code)
		if want := string(code.Outcome()); want != "" && m[2] != want || want == "" && m[2] != "match or unknown" && m[2] != "match or mismatch" {
			t.Errorf("%s: the page says %s, the code %q", code, m[2], want)
		}
		if (m[3] == "yes") != (code.Outcome() == Unknown || code == CodeNegativeCached || code == CodeCachedOld) {
			t.Errorf("%s: waiting is %s", code, m[3])
		}
	}
	if !slices.Equal(listed, precedence) {
		t.Errorf("the page has the order %v, the code %v", listed, precedence)
	}
	for code := range outcomes {
		if !slices.Contains(precedence, code) {
			t.Errorf("%s has no place in the order", code)
		}
	}
}
