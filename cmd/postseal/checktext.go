package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/postseal/postseal/internal/dnscheck"
)

// paper is where results for people are written. Colour only underlines what the words say,
// and is there on a terminal only.
type paper struct {
	out                        io.Writer
	good, bad, doubt, dim, big lipgloss.Style
	width                      int   // of the terminal; 0 where there is none
	err                        error // the first that writing ended in
}

// newPaper honours NO_COLOR (no-color.org) and terminals that know no colour.
func newPaper(s *streams) *paper {
	plain := lipgloss.NewStyle()
	p := &paper{out: s.out, good: plain, bad: plain, doubt: plain, dim: plain, big: plain}
	if terminal(s.out) {
		p.width, _, _ = cwriter.New(s.out).GetTermSize()
	}
	if terminal(s.out) && s.getenv("NO_COLOR") == "" && s.getenv("TERM") != "dumb" {
		p.good, p.bad, p.doubt = plain.Foreground(lipgloss.Green), plain.Foreground(lipgloss.Red), plain.Foreground(lipgloss.Yellow)
		p.dim, p.big = plain.Faint(true), plain.Bold(true)
	}
	return p
}

// line writes a line, indented by two blanks a level.
func (p *paper) line(level int, format string, args ...any) {
	if _, err := fmt.Fprintln(p.out, strings.Repeat("  ", level)+fmt.Sprintf(format, args...)); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *paper) head(title string) { p.line(1, "%s", p.big.Render(title)) }

// mark is an outcome in words, with a sign that can be seen without colour.
func (p *paper) mark(o dnscheck.Outcome) string {
	switch o {
	case dnscheck.Match:
		return p.good.Render("✓ " + string(o))
	case dnscheck.Unknown:
		return p.doubt.Render("? " + string(o))
	default:
		return p.bad.Render("✗ " + string(o))
	}
}

// table writes columns without lines around them. Where the terminal is too narrow for that, each row
// becomes a paragraph, since columns that wrap cannot be read.
func (p *paper) table(headers []string, rows [][]string) {
	text := p.columns(headers, rows)
	const indent, padding = 2, 2 // the last column's is not written
	if p.width > 0 && indent+lipgloss.Width(text)-padding > p.width {
		for _, row := range rows {
			p.line(1, "%s", row[0])
			for i, cell := range row[1:] {
				if cell != "" {
					p.line(2, "%s %s", p.dim.Render(headers[i+1]), cell)
				}
			}
		}
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		p.line(1, "%s", strings.TrimRight(line, " "))
	}
}

// cuttable is a table whose last column is cut where the terminal ends, if enough of it is left.
func (p *paper) cuttable(headers []string, rows ...[]string) {
	room := maxText
	if p.width > 0 {
		const indent, least = 2, 20
		last := len(headers) - 1
		others := make([][]string, len(rows))
		for i, row := range rows {
			others[i] = row[:last]
		}
		room = max(least, min(room, p.width-indent-lipgloss.Width(p.columns(headers[:last], others))))
	}
	for _, row := range rows {
		row[len(row)-1] = cutTo(row[len(row)-1], room)
	}
	p.table(headers, rows)
}

func (p *paper) columns(headers []string, rows [][]string) string {
	t := table.New().Headers(headers...).Rows(rows...).Wrap(false).
		Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderHeader(false).BorderColumn(false).
		StyleFunc(func(row, col int) lipgloss.Style {
			style := lipgloss.NewStyle().PaddingRight(2)
			if row == table.HeaderRow {
				style = p.dim.PaddingRight(2)
			}
			return style
		})
	return t.Render()
}

// findings writes what a check of records found: all of them in a table, then what is not
// right, with the evidence. Some may be missing.
func (p *paper) findings(findings []dnscheck.Finding, of int) {
	rows := make([][]string, len(findings))
	for i, f := range findings {
		rows[i] = []string{f.Name.String(), string(f.Type), purposeOf(f), p.mark(f.Outcome), string(f.Code)}
	}
	p.table([]string{"NAME", "TYPE", "PURPOSE", "OUTCOME", "CODE"}, rows)
	for _, f := range findings {
		if f.Outcome == dnscheck.Match && f.Fix == "" {
			continue
		}
		p.line(0, "")
		p.line(1, "%s %s (%s): %s %s", p.big.Render(f.Name.String()), f.Type, purposeOf(f), p.mark(f.Outcome), f.Code)
		p.line(2, "%s", printable(f.Fix))
		if f.Outcome == dnscheck.Match {
			continue
		}
		p.line(2, "%s %s", p.dim.Render("expected"), cutText(f.Expected))
		for _, v := range f.Observed {
			p.line(2, "%s    %s", p.dim.Render("found"), cutText(v))
		}
		for _, s := range f.Seen {
			p.line(2, "%s  %s", p.dim.Render("seen by"), sightOf(s))
		}
		if f.WaitingHelps {
			until := ""
			if !f.RetryAt.IsZero() {
				until = ", not before " + f.RetryAt.Format("2006-01-02 15:04:05 UTC")
			}
			p.line(2, "%s", p.dim.Render("waiting can help"+until))
		}
	}
	p.line(0, "")
	p.line(1, "%s", p.tally(findings, of))
}

func purposeOf(f dnscheck.Finding) string {
	if f.Region == "" {
		return string(f.Purpose)
	}
	return string(f.Purpose) + ", " + printable(f.Region)
}

func sightOf(s dnscheck.Sight) string {
	text := s.Server + " " + s.Result
	if len(s.Values) > 0 {
		text += " " + cutText(strings.Join(s.Values, ", "))
	}
	if s.Detail != "" {
		text += " (" + printable(s.Detail) + ")"
	}
	return text
}

// tally counts outcomes in a sentence.
func (p *paper) tally(findings []dnscheck.Finding, of int) string {
	n := make(map[dnscheck.Outcome]int)
	for _, f := range findings {
		n[f.Outcome]++
	}
	fix := n[dnscheck.Missing] + n[dnscheck.Mismatch]
	text := fmt.Sprintf("%d of %d records are as they should be.", n[dnscheck.Match], len(findings))
	if fix > 0 {
		text += fmt.Sprintf(" %d to fix.", fix)
	}
	if left := of - len(findings); left > 0 {
		text += fmt.Sprintf(" %d not looked at.", left)
	}
	if n[dnscheck.Unknown] > 0 {
		text += fmt.Sprintf(" %d could not be told.", n[dnscheck.Unknown])
	}
	return text
}

// posture writes what is to be said about one domain.
func (p *paper) posture(x dnscheck.Posture) {
	p.line(0, "%s", p.big.Render(x.Domain.String()))
	p.line(0, "")
	type named struct {
		what string
		dnscheck.Report
		detail string
	}
	reports := []named{{"SPF", x.SPF.Report, spfDetail(x.SPF)}}
	for i, d := range x.DKIM {
		reports = append(reports, named{"DKIM " + x.Verdict.DKIM[i].Selector.String(), d.Report, dkimDetail(d)})
	}
	reports = append(reports,
		named{"DMARC", x.DMARC.Report, dmarcDetail(x.DMARC)},
		named{"MX", x.MX.Report, cutText(strings.Join(x.MX.Observed, ", "))})
	var rows [][]string
	var todo, notes []string
	for _, r := range reports {
		rows = append(rows, []string{r.what, p.mark(r.Outcome), string(r.Code), r.detail})
		for _, fix := range r.Todo() {
			todo = append(todo, r.what+": "+fix)
		}
		for _, n := range r.Notes {
			notes = append(notes, r.what+": "+n)
		}
	}
	p.cuttable([]string{"CHECK", "OUTCOME", "CODE", "DETAIL"}, rows...)
	if t := x.SPF.Tree; t != nil && len(t.Terms) > 0 {
		p.line(0, "")
		p.head(fmt.Sprintf("What SPF costs: %d of 10 look-ups, %d of 2 that find nothing", x.SPF.Lookups, x.SPF.Voids))
		p.line(2, "%2d  %s", t.Lookups, t.Name)
		p.tree(t.Terms, "")
	}
	p.list("To do", todo)
	if proposal := x.SPF.Proposal; proposal != nil {
		p.line(0, "")
		p.head(fmt.Sprintf("SPF record to publish at %s (%d of 10 look-ups, %d of 2 that find nothing)", x.SPF.Name, proposal.Lookups, proposal.Voids))
		quoted := make([]string, len(proposal.Strings))
		for i, s := range proposal.Strings {
			quoted[i] = strconv.Quote(s)
		}
		p.line(2, "%s. TXT %s", x.SPF.Name, strings.Join(quoted, " "))
		if !proposal.Fits {
			p.line(2, "%s", p.bad.Render("Receivers give up on this: remove senders that are no longer used first."))
		}
	}
	p.list("Worth knowing", notes)
	p.verdict(x.Verdict)
}

func (p *paper) list(title string, items []string) {
	if len(items) == 0 {
		return
	}
	p.line(0, "")
	p.head(title)
	for _, item := range items {
		p.line(2, "- %s", printable(item))
	}
}

// tree draws the terms of an SPF record with what each costs.
func (p *paper) tree(terms []*dnscheck.SPFNode, prefix string) {
	for i, n := range terms {
		branch, below := "├─ ", "│  "
		if i == len(terms)-1 {
			branch, below = "└─ ", "   "
		}
		text := cutText(n.Term)
		switch {
		case n.Problem != "":
			text += "  " + p.bad.Render(printable(n.Problem))
		case n.Note != "":
			text += "  " + p.dim.Render(printable(n.Note))
		}
		cost := "  "
		if n.Lookups > 0 {
			cost = fmt.Sprintf("%2d", n.Lookups)
		}
		p.line(2, "%s  %s%s", cost, p.dim.Render(prefix+branch), text)
		p.tree(n.Terms, prefix+below)
	}
}

// verdict says what receivers conclude, and what would break it.
func (p *paper) verdict(v dnscheck.Verdict) {
	p.line(0, "")
	sender := v.SPF.Sender
	if sender == "listed host" {
		sender = "a " + sender
	}
	p.head(fmt.Sprintf("What receivers conclude about mail from %s, sent by %s with MAIL FROM at %s", v.From, sender, v.MailFrom))
	aligned := func(is bool) string {
		if is {
			return "aligned"
		}
		return "not aligned"
	}
	p.line(2, "SPF    %s, %s%s", v.SPF.Result, aligned(v.SPF.Aligned), because(v.SPF.Problem))
	if len(v.DKIM) == 0 {
		p.line(2, "DKIM   not looked at: name the selector with --selector")
	}
	for _, d := range v.DKIM {
		p.line(2, "DKIM   %s, %s (selector %s)%s", d.Result, aligned(d.Aligned), d.Selector, because(d.Problem))
	}
	result := p.bad
	switch v.DMARC.Result {
	case "pass":
		result = p.good
	case "none", "temperror":
		result = p.doubt
	}
	text := result.Render(v.DMARC.Result)
	switch {
	case v.DMARC.Result == "pass":
		text += ", by " + v.DMARC.Passed()
	case v.DMARC.Result == "fail":
		text += fmt.Sprintf(", the owner asks for %s", v.DMARC.Disposition)
	}
	p.line(2, "DMARC  %s%s", text, because(v.DMARC.Problem))
	if len(v.DKIM) == 0 && v.DMARC.Policy != "" {
		p.line(2, "%s", p.dim.Render("This is by SPF alone: mail with a good signature of "+v.From.Organizational().String()+" passes in any case."))
	}
	if !v.Bounces {
		p.line(2, "%s", p.doubt.Render(v.MailFrom.String()+" receives no mail, so bounces have nowhere to go."))
	}
	if len(v.Breaks) == 0 {
		return
	}
	p.line(0, "")
	p.head("If one record disappears")
	for _, c := range v.Breaks {
		sign := "-"
		if c.Breaks {
			sign = p.bad.Render("!")
		}
		p.line(2, "%s %s %s: %s", sign, c.Name, c.Type, printable(c.Text))
	}
}

func because(problem string) string {
	if problem == "" {
		return ""
	}
	return " (" + printable(problem) + ")"
}

// postures writes one line for each of many domains, of which some may be missing.
func (p *paper) postures(list []dnscheck.Posture, of int) {
	headers := []string{"DOMAIN", "SPF", "LOOK-UPS"}
	for _, d := range list[0].Verdict.DKIM { // the same selectors for all
		headers = append(headers, "DKIM "+d.Selector.String())
	}
	headers = append(headers, "DMARC", "POLICY", "MX", "VERDICT")
	rows := make([][]string, len(list))
	fix, unknown := 0, 0
	for i, x := range list {
		cost := "-" // where there is not one record, there is nothing to count
		if x.SPF.Tree != nil {
			cost = fmt.Sprintf("%d/10", x.SPF.Lookups)
		}
		rows[i] = []string{x.Domain.String(), p.cell(x.SPF.Report), cost}
		for _, d := range x.DKIM {
			rows[i] = append(rows[i], p.cell(d.Report))
		}
		rows[i] = append(rows[i], p.cell(x.DMARC.Report), string(x.DMARC.Disposition), p.cell(x.MX.Report), x.Verdict.DMARC.Result)
		switch e := verdictOf(x.Outcomes()); e {
		case ended(exitFix):
			fix++
		case ended(exitUnknown):
			unknown++
		}
	}
	p.table(headers, rows)
	p.line(0, "")
	count := strconv.Itoa(len(list))
	if len(list) < of {
		count += fmt.Sprintf(" of %d", of)
	}
	p.line(1, "%s domains: %d with something to fix, %d that could not be told, %d in order.", count, fix, unknown, len(list)-fix-unknown)
	if fix > 0 {
		p.line(1, "%s", p.dim.Render("What to do about one of them is said by postseal check with that domain alone."))
	}
}

// cell is the code where it says more than the outcome.
func (p *paper) cell(r dnscheck.Report) string {
	switch r.Outcome {
	case dnscheck.Match:
		return p.good.Render("✓")
	case dnscheck.Unknown:
		return p.doubt.Render("? " + string(r.Code))
	default:
		return p.bad.Render("✗ " + string(r.Code))
	}
}

func spfDetail(r dnscheck.SPFReport) string {
	if r.Tree == nil {
		return cutText(strings.Join(r.Observed, ", "))
	}
	return fmt.Sprintf("%d of 10 look-ups: %s", r.Lookups, cutText(strings.Join(r.Observed, ", ")))
}

func dkimDetail(r dnscheck.DKIMReport) string {
	if r.Key == nil || r.Key.Revoked {
		return cutText(strings.Join(r.Observed, ", "))
	}
	return fmt.Sprintf("%s, %d bits", r.Key.Type, r.Key.Bits)
}

func dmarcDetail(r dnscheck.DMARCReport) string {
	if r.Policy == nil {
		return cutText(strings.Join(r.Observed, ", "))
	}
	return fmt.Sprintf("%s asked for, by %s", r.Disposition, r.At)
}

// maxText is how much of what others wrote is shown in a line.
const maxText = 100

func cutText(s string) string { return cutTo(s, maxText) }

func cutTo(s string, limit int) string {
	runes := []rune(printable(s))
	if len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return string(runes)
}

// printable keeps others from controlling the terminal. What can be seen stays as it is, also
// a backslash: in a value it counts, and twice it would be another one.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}
