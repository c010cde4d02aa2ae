package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/dnscheck"
)

// wireRecord is one record of the file that --records names.
type wireRecord struct {
	Purpose  *string  `json:"purpose"`
	Region   string   `json:"region"`
	Name     *string  `json:"name"`
	Type     *string  `json:"type"`
	Value    *string  `json:"value"`
	Priority *int     `json:"priority"`
	Previous []string `json:"previous"`
}

// purposes lists what a record can be for, and which types it can then have.
var purposes = map[dnscheck.Purpose][]dnscheck.Type{
	dnscheck.Ownership:   {dnscheck.TXT},
	dnscheck.Environment: {dnscheck.TXT},
	dnscheck.DKIM:        {dnscheck.CNAME, dnscheck.TXT},
	dnscheck.SPF:         {dnscheck.TXT},
	dnscheck.MailFromMX:  {dnscheck.MX},
	dnscheck.MailFromSPF: {dnscheck.TXT},
	dnscheck.DMARC:       {dnscheck.TXT},
}

// maxProblems is how many mistakes of an input are told at once.
const maxProblems = 20

// parseRecords reads the file strictly: a misspelt member would otherwise be a record that
// is never checked. Errors name the line and the member.
func parseRecords(file string, text []byte) ([]dnscheck.Record, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("%s: the file is empty: an array of records is needed", file)
	}
	d := jsontext.NewDecoder(bytes.NewReader(text))
	at := func(offset int64) string {
		return fmt.Sprintf("%s:%d", file, 1+bytes.Count(text[:min(int(offset), len(text))], []byte("\n")))
	}
	broken := func(err error) error {
		if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			if errors.Is(err, jsontext.ErrDuplicateName) {
				return fmt.Errorf("%s: member %.60q is there twice", at(e.ByteOffset), e.JSONPointer.LastToken())
			}
			return fmt.Errorf("%s: this is no JSON: %w", at(e.ByteOffset), e.Err)
		}
		return fmt.Errorf("%s: this is no JSON: %w", at(d.InputOffset()), err)
	}
	begin, err := d.ReadToken()
	if err != nil {
		return nil, broken(err)
	}
	if begin.Kind() != '[' {
		return nil, fmt.Errorf("%s: an array of records is needed, as in [{\"purpose\": \"ownership\", ...}]", at(d.InputOffset()-1))
	}
	var records []dnscheck.Record
	var problems []error
	for d.PeekKind() != ']' {
		value, err := d.ReadValue()
		if err != nil {
			return nil, broken(err)
		}
		start := d.InputOffset() - int64(len(value))
		n := len(records) + 1
		var w wireRecord
		err = json.Unmarshal(value, &w, json.RejectUnknownMembers(true))
		if err != nil { // what follows in this record was not read
			problems = append(problems, fmt.Errorf("%s: record %d%s", at(start+offsetOf(err)), n, jsonProblem(err)))
		}
		record, wrong := w.record()
		for _, w := range wrong {
			if err == nil {
				problems = append(problems, fmt.Errorf("%s: record %d: %s", at(start), n, w))
			}
		}
		records = append(records, record)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, broken(err)
	}
	if rest := bytes.TrimSpace(text[d.InputOffset():]); len(rest) > 0 {
		return nil, fmt.Errorf("%s: there is something behind the array", at(d.InputOffset()+1))
	}
	if len(problems) > maxProblems {
		problems = append(problems[:maxProblems], fmt.Errorf("and %d more", len(problems)-maxProblems))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%s: the array is empty, there is nothing to check", file)
	}
	return records, nil
}

func offsetOf(err error) int64 {
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return e.ByteOffset
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return e.ByteOffset
	}
	return 0
}

// jsonProblem says which member is wrong, in words of ours.
func jsonProblem(err error) string {
	e, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok && s.JSONPointer != "" {
			return fmt.Sprintf(", member %q: %v", s.JSONPointer.LastToken(), s.Err)
		}
		return ": " + err.Error()
	}
	member := ""
	if e.JSONPointer != "" {
		member = fmt.Sprintf(", member %q", strings.ReplaceAll(strings.TrimPrefix(string(e.JSONPointer), "/"), "/", "."))
	}
	switch {
	case errors.Is(e.Err, json.ErrUnknownName):
		return member + " is none of purpose, region, name, type, value, priority and previous"
	case e.JSONPointer == "":
		return fmt.Sprintf(": an object is needed, not a %s", e.JSONKind)
	}
	if e.JSONKind == jsontext.KindNumber && strings.HasSuffix(member, `priority"`) {
		return member + " is no whole number from 1 to 65535"
	}
	return fmt.Sprintf("%s cannot be a %s", member, e.JSONKind)
}

// record checks what JSON cannot.
func (w wireRecord) record() (r dnscheck.Record, wrong []string) {
	bad := func(member, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("member %q ", member)+fmt.Sprintf(format, args...))
	}
	text := func(member string, p *string) string {
		if p == nil {
			bad(member, "is missing")
			return ""
		}
		if *p == "" {
			bad(member, "is empty")
		}
		return *p
	}
	r.Purpose, r.Region, r.Previous = dnscheck.Purpose(text("purpose", w.Purpose)), w.Region, w.Previous
	r.Type, r.Value = dnscheck.Type(text("type", w.Type)), text("value", w.Value)
	types, known := purposes[r.Purpose]
	switch {
	case r.Purpose == "":
	case !known:
		bad("purpose", "is %.60q: it is one of ownership, environment, dkim, spf, mail-from-mx, mail-from-spf and dmarc", r.Purpose)
	case r.Type != "" && !slices.Contains(types, r.Type):
		words := make([]string, len(types))
		for i, t := range types {
			words[i] = string(t)
		}
		bad("type", "is %.60q: for the purpose %s it is %s", r.Type, r.Purpose, strings.Join(words, " or "))
	}
	if name := text("name", w.Name); name != "" {
		var err error
		if r.Name, err = dnscheck.ParseName(name); err != nil {
			bad("name", "cannot be used: %v", err)
		}
	}
	if r.Value != "" && (r.Type == dnscheck.CNAME || r.Type == dnscheck.MX) {
		if _, err := dnscheck.ParseName(r.Value); err != nil {
			bad("value", "cannot be used: %v", err)
		}
	}
	if w.Priority != nil {
		switch {
		case r.Type != dnscheck.MX:
			bad("priority", "is for MX only")
		case *w.Priority < 1 || *w.Priority > 65535: // zero stands for the default
			bad("priority", "is %d: it is a number from 1 to 65535", *w.Priority)
		}
		r.Priority = *w.Priority
	}
	return r, wrong
}

// parseDomains reads one domain a line; blank lines and what follows a # do not count.
func parseDomains(file string, text []byte) ([]dnscheck.Name, error) {
	var domains []dnscheck.Name
	var problems []error
	for i, line := range strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		d, err := dnscheck.ParseDomain(line)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %w", file, i+1, err))
			continue
		}
		domains = append(domains, d)
	}
	if len(problems) > maxProblems {
		problems = append(problems[:maxProblems], fmt.Errorf("and %d more", len(problems)-maxProblems))
	}
	return domains, errors.Join(problems...)
}

// recordGroup is the records of one domain, by their places in the file.
type recordGroup struct {
	domain dnscheck.Name
	at     []int
}

// byDomain finds out whose records they are: the file has only their names. The domain is
// what is left without labels that begin with an underscore and what is in front of them; a
// MAIL FROM domain belongs to the domain above it.
func byDomain(records []dnscheck.Record, given dnscheck.Name) []recordGroup {
	owner := make([]dnscheck.Name, len(records))
	known := make(map[dnscheck.Name]bool)
	for i, r := range records {
		owner[i] = given
		if given.IsZero() {
			owner[i] = aboveUnderscores(r.Name)
		}
		if r.Purpose != dnscheck.MailFromMX && r.Purpose != dnscheck.MailFromSPF {
			known[owner[i]] = true
		}
	}
	var groups []recordGroup
	for i, r := range records {
		if given.IsZero() && (r.Purpose == dnscheck.MailFromMX || r.Purpose == dnscheck.MailFromSPF) {
			above := r.Name
			for n := r.Name; !n.IsZero(); n = n.Parent() {
				if known[n] {
					above = n
					break
				}
			}
			if above == r.Name && !r.Name.Registrable().IsZero() {
				above = r.Name.Registrable()
			}
			owner[i] = above
		}
		g := slices.IndexFunc(groups, func(g recordGroup) bool { return g.domain == owner[i] })
		if g < 0 {
			g = len(groups)
			groups = append(groups, recordGroup{domain: owner[i]})
		}
		groups[g].at = append(groups[g].at, i)
	}
	return groups
}

func aboveUnderscores(name dnscheck.Name) dnscheck.Name {
	domain := name
	for n := name; !n.IsZero(); n = n.Parent() {
		if strings.HasPrefix(n.String(), "_") {
			domain = n.Parent()
		}
	}
	if domain.IsZero() {
		return name
	}
	return domain
}
