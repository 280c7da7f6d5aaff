package report

import (
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// NoteData is what a note says, apart from how long it may be.
type NoteData struct {
	MR     plumbline.MergeRequest
	Rows   []NoteRow
	Base   string // for links; "": none
	Now    time.Time
	Target plumbline.Environment
}

// NoteRow is one stack.
type NoteRow struct {
	Run  plumbline.Run
	Plan plumbline.Plan // without changes when it cannot be had any more
	Next string
}

// Note is the data of the view's note.
func (v view) Note(base string, now time.Time) NoteData {
	d := NoteData{MR: v.MR, Base: base, Now: now}
	for _, r := range v.Rows {
		d.Rows = append(d.Rows, NoteRow(r))
	}
	return d
}

// detail is how much of the note is left in; each level leaves more out, from the least dangerous end.
type detail int

const (
	detailAll     detail = iota
	detailNoAttrs        // creates as one line each, without attributes
	detailNoCreates
	detailDestroys // only what is replaced or destroyed
	detailTable    // no diffs
	detailFewRows  // the table's first rows
)

// Note renders the one note of a merge request. It is never longer than limit bytes: what does not fit is left out whole, creates first, and
// the note says so. Nothing that comes from a repository or a plan can break out of its place in the Markdown.
func Note(d NoteData, marker string, limit int) string {
	for level := detailAll; ; level++ {
		s := render(d, marker, level)
		if len(s) <= limit || level == detailFewRows {
			return s
		}
	}
}

// fewRows is how many stacks the shortest note lists.
const fewRows = 25

func render(d NoteData, marker string, level detail) string {
	var b strings.Builder
	b.WriteString(marker + "\n")
	b.WriteString("### Plumbline · " + headline(d) + "\n\n")
	mr := d.MR
	switch {
	case mr.Skipped != "":
		b.WriteString("Not planned. " + text(mr.Skipped) + "\n\n")
	case mr.Conflict:
		fmt.Fprintf(&b, "%s conflicts with %s; it is planned when that is mended.\n", code(plumbline.Short(mr.Head)), code(mr.Target))
		for _, f := range mr.Findings {
			b.WriteString("- " + code(f.File) + "\n")
		}
		return b.String()
	}
	rows := d.Rows
	if level == detailFewRows && len(rows) > fewRows {
		rows = rows[:fewRows]
	}
	if len(rows) > 0 {
		after := "after the merge"
		if mr.State == plumbline.MRMerged {
			after = "now"
		}
		fmt.Fprintf(&b, "| | stack | + | ~ | − | ± | %s |\n|---|---|--:|--:|--:|--:|---|\n", after)
		for _, r := range rows {
			b.WriteString(tableRow(d, r))
		}
		if n := len(d.Rows) - len(rows); n > 0 {
			fmt.Fprintf(&b, "\n%d more stacks are %s.\n", n, linkTo(d.Base, "on Plumbline's page", ""))
		}
		b.WriteString("\n")
	}
	removed(&b, d)
	named(&b, d, "Will be replaced", "Was replaced", func(a plumbline.Action) bool { return a.Replaces() })
	named(&b, d, "Will be destroyed", "Was destroyed", func(a plumbline.Action) bool { return a == plumbline.ActionDelete })
	failures(&b, d)
	if mr.State != plumbline.MRMerged {
		for _, f := range mr.Findings {
			b.WriteString("- " + text(f.String()) + "\n")
		}
	}
	if level < detailTable {
		for _, r := range d.Rows {
			stackDetails(&b, d, r, level)
		}
	}
	if level > detailAll {
		fmt.Fprintf(&b, "_Shortened to fit: %s. All of it is %s._\n\n", leftOut[level], linkTo(d.Base, "on Plumbline's page", ""))
	}
	footer(&b, d)
	return b.String()
}

var leftOut = map[detail]string{
	detailNoAttrs:   "the attributes of what is created",
	detailNoCreates: "what is created",
	detailDestroys:  "what is created or changed in place",
	detailTable:     "the differences of each stack",
	detailFewRows:   "the differences and most stacks",
}

func headline(d NoteData) string {
	var sum plumbline.Summary
	var failed, live, waiting, applied int
	for _, r := range d.Rows {
		if r.Run.Plan != nil {
			sum = sum.Add(r.Run.Plan.Summary)
		}
		switch {
		case r.Run.State == plumbline.StateFailed || r.Run.State == plumbline.StateInterrupted:
			failed++
		case r.Run.State == plumbline.StateAwaiting:
			waiting++
		case r.Run.State == plumbline.StateApplied:
			applied++
		case !r.Run.State.Ended():
			live++
		}
	}
	parts := []string{count(len(d.Rows), "stack")}
	add := func(n int, what string, bold bool) {
		if n == 0 {
			return
		}
		s := fmt.Sprintf("%d %s", n, what)
		if bold {
			s = "**" + s + "**"
		}
		parts = append(parts, s)
	}
	add(failed, "failed", true)
	add(live, "under way", false)
	add(waiting, "awaiting approval", true)
	add(applied, "applied", false)
	var todo []string
	parts, todo = todo, parts
	add(sum.Replace, "to replace", true)
	add(sum.Delete, "to destroy", sum.Delete > 0)
	add(sum.Create, "to add", false)
	add(sum.Update, "to change", false)
	add(sum.Move, "moved", false)
	add(sum.Import, "to import", false)
	add(sum.Forget, "to forget", false)
	changes := strings.Join(parts, ", ")
	parts = todo
	if changes != "" {
		parts = append(parts, changes)
	} else if len(d.Rows) > 0 && failed+live == 0 {
		parts = append(parts, "no changes")
	}
	if len(d.Rows) == 0 {
		parts = nil
		switch {
		case d.MR.Conflict:
			parts = []string{"**conflict**"}
		case d.MR.Skipped != "":
			parts = []string{"not planned"}
		case len(d.MR.Removed) > 0:
			parts = []string{fmt.Sprintf("**%s removed**", count(len(d.MR.Removed), "stack"))}
		default:
			parts = []string{"no stack touched"}
		}
	}
	return strings.Join(parts, " · ")
}

func light(r plumbline.Run) string {
	switch danger(r) {
	case 4:
		return "❌"
	case 3:
		return "🔴"
	case 2:
		if r.State == plumbline.StateApplied {
			return "✅"
		}
		return "🟠"
	case 1:
		return "⏳"
	}
	if r.State == plumbline.StateApplied || r.State == plumbline.StateClean {
		return "🟢"
	}
	return "⚪"
}

func tableRow(d NoteData, r NoteRow) string {
	var s plumbline.Summary
	if r.Run.Plan != nil {
		s = r.Run.Plan.Summary
	}
	num := func(n int, bold bool) string {
		switch {
		case n == 0:
			return ""
		case bold:
			return fmt.Sprintf("**%d**", n)
		}
		return fmt.Sprint(n)
	}
	next := r.Next
	if s.Move+s.Import+s.Forget > 0 {
		var more []string
		for _, p := range []struct {
			n    int
			what string
		}{{s.Move, "moved"}, {s.Import, "imported"}, {s.Forget, "forgotten"}} {
			if p.n > 0 {
				more = append(more, fmt.Sprintf("%d %s", p.n, p.what))
			}
		}
		next += " (" + strings.Join(more, ", ") + ")"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", light(r.Run), linkTo(d.Base, text(r.Run.Stack.Environment+" · "+r.Run.Stack.Name), "runs/"+r.Run.ID.String()),
		num(s.Create, false), num(s.Update, false), num(s.Delete, true), num(s.Replace, true), cell(next))
}

func removed(b *strings.Builder, d NoteData) {
	if len(d.MR.Removed) == 0 || d.MR.State == plumbline.MRMerged {
		return
	}
	b.WriteString("**Stacks that go away**\n")
	for _, name := range d.MR.Removed {
		env, stack, _ := strings.Cut(name, "/")
		fmt.Fprintf(b, "- %s in %s: its directory is deleted. After the merge a plan to destroy all of it waits for an approval.\n", code(stack), text(env))
	}
	b.WriteString("\n")
}

func named(b *strings.Builder, d NoteData, will, was string, pick func(plumbline.Action) bool) {
	first := true
	for _, r := range d.Rows {
		if r.Run.Plan == nil {
			continue
		}
		for _, n := range r.Run.Plan.Destroy {
			if !pick(n.Action) {
				continue
			}
			if first {
				title := will
				if r.Run.State == plumbline.StateApplied {
					title = was
				}
				b.WriteString("**" + title + "**\n")
				first = false
			}
			why := n.Why
			if n.Action.Replaces() && why != "" {
				why += " forces a new one"
			} else {
				why = plumbline.Change{Action: n.Action, Reason: n.Why}.Remark()
			}
			fmt.Fprintf(b, "- %s", code(n.Address))
			if why != "" {
				b.WriteString(": " + text(why))
			}
			fmt.Fprintf(b, " (%s)\n", text(r.Run.Stack.Name))
		}
	}
	if !first {
		b.WriteString("\n")
	}
}

func failures(b *strings.Builder, d NoteData) {
	for _, r := range d.Rows {
		f := r.Run.Failure
		if f == nil || !r.Run.State.Ended() {
			continue
		}
		fmt.Fprintf(b, "**%s %s** · %s\n", text(r.Run.Stack.Name), r.Run.State, text(f.Text))
		var lines []string
		for _, g := range f.Diagnostics {
			if g.Severity != "error" {
				continue
			}
			place := ""
			if g.File != "" {
				place = fmt.Sprintf("%s:%d: ", g.File, g.Line)
			}
			lines = append(lines, place+g.Summary)
			if g.Snippet != "" {
				lines = append(lines, "    "+strings.TrimRight(g.Snippet, "\n"))
			}
			if g.Detail != "" {
				lines = append(lines, g.Detail)
			}
			if len(lines) > 60 {
				lines = append(lines, "…")
				break
			}
		}
		if len(lines) > 0 {
			b.WriteString(fenced("", strings.Join(lines, "\n")))
		}
		if f.Next != "" {
			b.WriteString("Next: " + cell(f.Next) + "\n")
		}
		b.WriteString("\n")
	}
}

func stackDetails(b *strings.Builder, d NoteData, r NoteRow, level detail) {
	var lines []string
	for _, c := range r.Plan.Changes {
		if (level >= detailNoCreates && c.Action == plumbline.ActionCreate) || (level >= detailDestroys && !c.Action.Destroys()) {
			continue
		}
		ls := diff.Change(c)
		if level >= detailNoAttrs && c.Action == plumbline.ActionCreate {
			ls = ls[:1]
		}
		for _, l := range ls {
			lines = append(lines, diffLine(l))
		}
	}
	if level < detailDestroys {
		for _, o := range r.Plan.Outputs {
			for _, l := range diff.Output(o) {
				lines = append(lines, diffLine(l))
			}
		}
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "<details><summary><b>%s</b> · %s</summary>\n\n", html.EscapeString(oneLine(r.Run.Stack.Environment+" · "+r.Run.Stack.Name)), html.EscapeString(r.Plan.Summary.String()))
	b.WriteString(fenced("diff", strings.Join(lines, "\n")))
	b.WriteString("</details>\n")
}

// diffLine puts the sign where forges colour a line by it: "!" for changes, in GitHub's and GitLab's diff highlighting.
func diffLine(l diff.Line) string {
	sign := l.Sign
	if sign == "~" {
		sign = "!"
	}
	indent := "   "
	if l.Depth == 0 {
		indent = " "
		if len(sign) == 1 {
			indent = "   "
		}
	} else {
		indent += "   "
	}
	s := sign + indent + oneLine(l.Text)
	if l.Note != "" {
		s = fmt.Sprintf("%-60s # %s", s, oneLine(l.Note))
	}
	return s
}

func footer(b *strings.Builder, d NoteData) {
	mr := d.MR
	if len(d.Rows) == 0 {
		return
	}
	b.WriteString("\n")
	if mr.State == plumbline.MRMerged {
		fmt.Fprintf(b, "Merged into %s as %s.", code(mr.Target), code(plumbline.Short(firstOf(mr.MergeCommit, mr.Head))))
	} else {
		fmt.Fprintf(b, "Planned the merge of %s into %s (%s)", code(plumbline.Short(mr.Head)), code(mr.Target), code(plumbline.Short(mr.Base)))
		var first, last time.Time
		engine := ""
		for _, r := range d.Rows {
			if r.Run.Planned.IsZero() || r.Run.Plan == nil {
				continue
			}
			if first.IsZero() || r.Run.Queued.Before(first) {
				first = r.Run.Queued
			}
			if r.Run.Planned.After(last) {
				last = r.Run.Planned
			}
			engine = r.Run.Plan.Engine + " " + r.Run.Plan.Version
		}
		if !last.IsZero() {
			fmt.Fprintf(b, " in %.1f s, %s · %s", last.Sub(first).Seconds(), last.UTC().Format("2006-01-02 15:04 MST"), text(engine))
		}
	}
	b.WriteString("\n")
	for _, r := range d.Rows {
		if r.Run.State == plumbline.StateAwaiting {
			fmt.Fprintf(b, "`plumbline runs approve %s --digest %s` approves %s as shown %s\n", r.Run.ID, plumbline.ShortDigest(r.Run.Plan.Digest), text(r.Run.Stack.Name), linkTo(d.Base, "on its page", "runs/"+r.Run.ID.String()))
		}
	}
	if mr.State != plumbline.MRMerged {
		fmt.Fprintf(b, "`plumbline why %s` tells why a stack is planned\n", d.Rows[0].Run.ID)
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
