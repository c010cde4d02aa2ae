package pingone

import (
	"regexp"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/sender"
)

// condition is one comparison of a filter.
type condition struct{ field, op, value string } // value in lower case

// filter is a list of conditions that must all hold.
type filter []condition

// conditionForm is the part of SCIM's filters (RFC 7644, section 3.4.2.2) that is
// understood: conditions on one field each, joined by and.
var conditionForm = regexp.MustCompile(`^(?i:\s*([A-Za-z.]+)\s+(?:(pr)|(eq|ne|sw|co)\s+"((?:[^"\\]|\\["\\/])*)")(?:\s+(and)\s|\s*$))`)

// maxFilter is how many conditions a filter may have.
const maxFilter = 20

var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\/`, `/`)

// parseFilter reads conditions such as name sw "x" on these fields. As in SCIM, the
// case of words and values does not count. Anything else is Invalid.
func parseFilter(s string, given bool, fields ...string) (filter, error) {
	if !given {
		return nil, nil
	}
	wrong := sender.Errorf(sender.Invalid, "filter", `The filter is not understood; use eq, ne, sw or co with a text in quotes, or pr, on %s, joined by "and".`, strings.Join(fields, ", "))
	var f filter
	for {
		m := conditionForm.FindStringSubmatch(s)
		if m == nil || len(f) == maxFilter {
			return nil, wrong
		}
		i := slices.IndexFunc(fields, func(field string) bool { return strings.EqualFold(field, m[1]) })
		if i < 0 {
			return nil, wrong
		}
		f = append(f, condition{fields[i], strings.ToLower(m[2] + m[3]), strings.ToLower(unescape.Replace(m[4]))})
		if m[5] == "" {
			return f, nil
		}
		s = s[len(m[0]):]
	}
}

// match reports whether all conditions hold; get returns the value of a field.
func (f filter) match(get func(field string) string) bool {
	for _, c := range f {
		have := strings.ToLower(get(c.field))
		holds := false
		switch c.op {
		case "pr":
			holds = have != ""
		case "eq":
			holds = have == c.value
		case "ne":
			holds = have != c.value
		case "sw":
			holds = strings.HasPrefix(have, c.value)
		case "co":
			holds = strings.Contains(have, c.value)
		}
		if !holds {
			return false
		}
	}
	return true
}

// names reports whether the filter says what a field is.
func (f filter) names(field string) bool {
	return slices.ContainsFunc(f, func(c condition) bool { return c.field == field && c.op == "eq" && c.value != "" })
}
