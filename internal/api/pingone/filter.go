package pingone

import (
	"regexp"
	"strings"

	"github.com/postseal/postseal/internal/sender"
)

// filterForm is the part of SCIM's filters (RFC 7644, section 3.4.2.2) that the
// clients send for environments.
var filterForm = regexp.MustCompile(`^(?i:\s*name\s+(sw|eq)\s+)"((?:[^"\\]|\\["\\/])*)"\s*$`)

var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\/`, `/`)

// parseFilter reads name sw "x" or name eq "x". As in SCIM, the case of names
// does not count. Anything else is Invalid.
func parseFilter(s string, given bool) (keep func(name string) bool, err error) {
	if !given {
		return func(string) bool { return true }, nil
	}
	m := filterForm.FindStringSubmatch(s)
	if m == nil {
		return nil, sender.Errorf(sender.Invalid, "filter", `The filter is not understood; use name sw "..." or name eq "...".`)
	}
	want := strings.ToLower(unescape.Replace(m[2]))
	if strings.EqualFold(m[1], "eq") {
		return func(name string) bool { return strings.ToLower(name) == want }, nil
	}
	return func(name string) bool { return strings.HasPrefix(strings.ToLower(name), want) }, nil
}
