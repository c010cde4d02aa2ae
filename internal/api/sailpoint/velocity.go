package sailpoint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/sender"
)

// reference is a variable as the vendor's templates write it (Velocity): $name,
// $!name, ${name} or $!{name}.
var reference = regexp.MustCompile(`\$!?(?:[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)*|\{[A-Za-z_][A-Za-z0-9_.-]*\})`)

// fromVelocity writes references as our templates do: ${name}. Those without braces
// are only taken for references where the name is known: all else is text, as $USD
// is. What is behind a known name, such as the end of a sentence, stays.
func fromVelocity(s string, known []string) string {
	return reference.ReplaceAllStringFunc(s, func(ref string) string {
		name := strings.TrimPrefix(strings.TrimPrefix(ref, "$"), "!")
		if strings.HasPrefix(name, "{") {
			return "$" + name
		}
		for short := name; ; {
			if slices.Contains(known, short) {
				return "${" + short + "}" + name[len(short):]
			}
			i := strings.LastIndexAny(short, ".-")
			if i < 0 {
				return ref
			}
			short = short[:i]
		}
	})
}

// directive is what a Velocity template can do beside references.
var directive = regexp.MustCompile(`#\{?(?:if|elseif|foreach|set|include|parse|macro|evaluate|define)\}?\s*\(`)

// noDirectives refuses a text with directives: they would be in the mail as they are.
func noDirectives(field, s string) error {
	if found := directive.FindString(s); found != "" {
		return sender.Errorf(sender.Invalid, field, "The %s has the directive %s...); templates have variables here and nothing else.", field, found)
	}
	return nil
}
