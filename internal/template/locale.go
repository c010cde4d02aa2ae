package template

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// A Locale is a language and perhaps a country, in one spelling: "en", "pt-BR",
// "fil-PH". The zero value stands for none.
type Locale string

// ParseLocale reads a language of two or three letters (ISO 639), alone or with
// a country of two letters (ISO 3166-1) after "-" or "_", in any case. Blanks
// around it are not trimmed. A three-letter code of a language that has a
// two-letter one becomes the latter (RFC 5646, section 2.2.1): eng is en.
func ParseLocale(s string) (Locale, error) {
	name, country, both := strings.Cut(strings.Replace(s, "_", "-", 1), "-")
	if !isWord(name, 2, 3) || both && !isWord(country, 2, 2) {
		return "", fmt.Errorf("locale %q is not of the form ll or ll-CC: a language of 2 or 3 letters, perhaps with a country of 2", short(s))
	}
	base, err := language.ParseBase(name)
	if err != nil || slices.Contains(noLanguage, base.String()) {
		return "", fmt.Errorf("locale %q: %q is no language of ISO 639", s, name)
	}
	if !both {
		return Locale(base.String()), nil
	}
	region, err := language.ParseRegion(country)
	if err != nil || !region.IsCountry() {
		return "", fmt.Errorf("locale %q: %q is no country of ISO 3166-1", s, country)
	}
	if now := region.Canonicalize(); now != region && now.IsCountry() {
		return "", fmt.Errorf("locale %q: %q is not in use; write %s", s, country, now)
	}
	return Locale(base.String() + "-" + region.String()), nil
}

// noLanguage are codes of ISO 639 that name no single language.
var noLanguage = []string{"und", "mul", "mis", "zxx"}

func isWord(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		if !isLetter(s[i]) {
			return false
		}
	}
	return true
}

// Language is the locale without its country.
func (l Locale) Language() Locale {
	name, _, _ := strings.Cut(string(l), "-")
	return Locale(name)
}

// Lookup is the order in which templates are tried: the wanted locale, its
// language, the application's default, the last resort. Empty ones are left out,
// and none comes twice.
func Lookup(want, application, last Locale) []Locale {
	var order []Locale
	for _, l := range []Locale{want, want.Language(), application, last} {
		if l != "" && !slices.Contains(order, l) {
			order = append(order, l)
		}
	}
	return order
}
