package dnscheck

import (
	"regexp"
	"slices"
	"strings"
)

// defaultAll ends a record whose redirects had to go: who is not listed is suspicious, not
// refused.
const defaultAll = "~all"

// mergeSPF makes one record out of several (RFC 7208, section 3.2, allows only one). It keeps
// every sender that they list, each once, and drops what stands for target already, as well as
// terms that make a record unreadable; see unreadableSPF. The
// include of target comes first, where no limit is used up yet and nothing can hide it; the
// "all" comes last: of several records the mildest, and never one that lets everybody pass, since such a
// merge takes effect where none of them did. Senders that stood behind it are kept, since somebody wanted them;
// whom it let through anyway, nothing there can stop. A redirect
// keeps its place where no "all" makes it void, and becomes an include where two of them
// must live in one record.
func mergeSPF(records []string, target string) string {
	terms := []string{spfVersion}
	if target != "" {
		terms = append(terms, "include:"+target)
	}
	var modifiers, redirects []string
	all := ""
	seen := map[string]bool{}
	once := func(list []string, term, key string) []string {
		if seen[key] {
			return list
		}
		seen[key] = true
		return append(list, term)
	}
	for _, record := range records {
		own := spfTerms(record)
		void := slices.ContainsFunc(own, isAll) // of the redirect, if there is one
		behind := ""                            // the all that was passed
		for _, term := range own {
			l := strings.TrimPrefix(lower(term), "+")
			kind, value, _ := strings.Cut(strings.TrimLeft(l, "-~?"), ":")
			switch {
			case l == spfVersion || badTerm(term):
			case isAll(term):
				if behind != "" {
					continue
				}
				behind = l
				if len(records) > 1 && l == "all" {
					l = defaultAll
				}
				if all == "" || milderAll(l, all) {
					all = l
				}
			case kind == "include" && bare(value) == target:
			case strings.HasPrefix(l, "redirect="):
				if name := term[strings.IndexByte(term, '=')+1:]; !void && name != "" && bare(name) != target {
					redirects = once(redirects, name, "redirect="+bare(name))
				}
			case strings.HasPrefix(l, "exp="):
				modifiers = once(modifiers, term, "exp=")
			case isModifier(l):
				modifiers = once(modifiers, term, l)
			case behind != "" && (behind == "all" || strings.ContainsAny(l[:1], "-~?")):
			default:
				terms = once(terms, term, l)
			}
		}
	}
	switch {
	case all == "" && len(redirects) == 1:
		modifiers = append(modifiers, "redirect="+redirects[0])
	default:
		for _, name := range redirects {
			terms = once(terms, "include:"+name, "include:"+lower(name))
		}
		switch {
		case all != "":
			terms = append(terms, all)
		case len(redirects) > 0: // their records said what happens to everybody else
			terms = append(terms, defaultAll)
		}
	}
	return strings.Join(append(terms, modifiers...), " ")
}

// spfTerms splits a record at its blanks, and at the commas that people put between terms:
// names of hosts have none, macros may.
func spfTerms(record string) []string {
	var terms []string
	for _, term := range strings.FieldsFunc(record, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }) {
		if strings.Contains(term, "%") || isModifier(term) && !strings.HasPrefix(lower(term), "redirect=") {
			terms = append(terms, term)
			continue
		}
		terms = append(terms, strings.FieldsFunc(term, func(r rune) bool { return r == ',' })...)
	}
	return terms
}

// versionLike is how the version of SPF is written by those who do not know that it must be
// v=spf1 exactly.
var versionLike = regexp.MustCompile(`(?i)(^|\s)(v\s*=\s*)?spf[\d.]*(/[\w,]+)?[,;:]?(\s|$|include)`)

// mendSPF makes a record of a text that was to be one, with all its senders and our include.
// It returns nothing where that cannot be read.
func mendSPF(text, target string) string {
	text = versionLike.ReplaceAllString(tidy(text), " $4")
	terms := spfTerms(text)
	for i, term := range terms {
		if lower(strings.TrimPrefix(term, "+")) == "all" {
			terms[i] = defaultAll
		}
	}
	record := spfVersion + " " + strings.Join(terms, " ")
	if _, err := ParseSPF(record); text == "" || err != nil {
		return ""
	}
	return withInclude(record, target)
}

// milderAll compares two terms "all" of a record that shall be merged: its end must not refuse more
// than any of them did.
func milderAll(a, b string) bool {
	const order = "-~?"
	return strings.Index(order, a[:1]) > strings.Index(order, b[:1])
}

func badTerm(term string) bool {
	_, err := parseSPFTerm(term)
	return err != nil
}

// unreadableSPF lists the terms because of which receivers give up on records.
func unreadableSPF(records []string) (terms []string) {
	for _, record := range records {
		for _, term := range spfTerms(record) {
			if lower(term) != spfVersion && badTerm(term) && !slices.Contains(terms, term) {
				terms = append(terms, term)
			}
		}
	}
	return terms
}

// withInclude puts our include into a record.
func withInclude(record, target string) string { return mergeSPF([]string{record}, target) }

func isAll(term string) bool { return strings.TrimLeft(lower(term), "+-~?") == "all" }

func isModifier(term string) bool {
	i := strings.IndexAny(term, "=:/")
	return i > 0 && term[i] == '='
}

// maxString is how long one string of a TXT record can be (RFC 1035, section 3.3).
const maxString = 255

// SplitTXT cuts a value into the strings that a TXT record holds it in; readers join them
// again without a blank (RFC 7208, section 3.3).
func SplitTXT(value string) []string {
	var parts []string
	for len(value) > maxString {
		parts = append(parts, value[:maxString])
		value = value[maxString:]
	}
	return append(parts, value)
}
