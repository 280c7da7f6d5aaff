package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// NoteData is what a note says, apart from how long it may be.
type NoteData struct {
	MR    plumbline.MergeRequest
	Rows  []NoteRow
	Base  string // for links; "": none
	Now   time.Time
	Talks bool // comments on the forge are commands
	Plain bool // for a forge that shows raw HTML as text; the marker is to be PlainMarker's then
}

func (d NoteData) voice() voice {
	if d.Plain {
		return inPlain
	}
	return inMarkdown
}

// NoteRow is one stack.
type NoteRow struct {
	Run         plumbline.Run
	Environment plumbline.Environment // as configured now
	Plan        plumbline.Plan        // without changes when it cannot be had any more
	Next        string
	Held        []string // names of stacks that wait for this one, which has not ended well

	// What differs between the plan that was approved and this one; none where nothing was approved, or nothing differs.
	Since        []diff.Line
	SinceSummary string // "1 more change (aws_route.nat)"
}

// Note is the data of the view's note.
func (v view) Note(base string, now time.Time) NoteData {
	d := NoteData{MR: v.MR, Base: base, Now: now}
	for _, r := range v.Rows {
		d.Rows = append(d.Rows, r.NoteRow)
	}
	return d
}

// Note renders the one note of a merge request. It is never longer than limit bytes: what does not fit is left out whole, the least dangerous
// first, and the note says so. Nothing that comes from a repository or a plan can break out of its place in the Markdown.
func Note(d NoteData, marker string, limit int) string {
	s := sheetOf(d, marker)
	if out, ok := s.fit(limit); ok {
		return out
	}
	if d.Plain {
		marker += "\n"
	}
	return cutLines(marker+"\n### Plumbline · "+headline(d)+"\n\nThere is no room for more here: "+linkTo(d.Base, "all of it is on Plumbline's page", "")+"\n", limit)
}

// LeastLimit is the number of bytes from which a note has its headline and where to read on. In fewer, whole lines of that are left out.
const LeastLimit = 1000

func sheetOf(d NoteData, marker string) *sheet {
	mr, v := d.MR, d.voice()
	s := &sheet{head: marker + "\n### Plumbline · " + headline(d) + "\n\n", unfolded: d.Plain}
	if d.Plain {
		s.head = "### Plumbline · " + headline(d) + "\n\n"
		s.foot = marker + "\n" // nothing of it is to be seen in what quotes the beginning of a note
	}
	page := linkTo(d.Base, "on Plumbline's page", "")
	s.left = func(t tally) string {
		what := missing(t)
		if what != "" {
			what = ": " + what + " not shown"
		}
		return v.shortened() + what + ". All of it is " + page + ".\n\n"
	}
	switch {
	case mr.Skipped != "":
		s.head += "Not planned. " + v.text(mr.Skipped) + "\n\n"
	case mr.Conflict:
		s.head += v.code(plumbline.Short(mr.Head)) + " conflicts with " + v.code(mr.Target) + "; it is planned when that is mended.\n\n"
		files := &section{close: listEnd(0)}
		for _, f := range mr.Findings {
			files.add(rankCheck, kindName, "- "+v.code(f.File)+"\n")
		}
		s.sections = []*section{files}
		return s
	}
	var parts []part
	for _, r := range d.Rows {
		parts = append(parts, partOf(d, r))
	}
	s.sections = append(s.sections, alarms(d), table(d, page), v.removed(mr))
	s.sections = append(s.sections, policies(d, plumbline.PolicyDeny, plumbline.PolicyApprove)...)
	inOpen, named := v.lists(parts)
	s.sections = append(s.sections, inOpen...)
	s.sections = append(s.sections, policies(d, plumbline.PolicyWarn)...)
	for _, r := range d.Rows {
		if f := r.Run.Failure; f != nil && r.Run.State.Ended() {
			s.sections = append(s.sections, v.failure(v.text(r.Run.Stack.Name)+" "+string(r.Run.State), *f))
		}
	}
	s.sections = append(s.sections, degraded(d)...)
	s.sections = append(s.sections, checks(d))
	s.sections = append(s.sections, v.remarks(parts)...)
	if mr.State != plumbline.MRMerged {
		unread := &section{open: v.title("Could not be read"), close: listEnd(0)}
		for _, f := range mr.Findings {
			unread.add(rankCheck, kindName, "- "+cmp.Or(v.text(f.String()), nameless)+"\n")
		}
		s.sections = append(s.sections, unread)
	}
	for i, r := range d.Rows {
		s.sections = append(s.sections, faults(d, r)...)
		s.sections = append(s.sections, v.details(named, parts[i], linkTo(d.Base, "all of it", "runs/"+r.Run.ID.String()))...)
	}
	if len(d.Rows) > 0 {
		if d.Plain {
			s.foot = "\n" + s.foot
		}
		s.foot = origin(d) + s.foot
		s.sections = append(s.sections, act(d))
	}
	return s
}

func partOf(d NoteData, r NoteRow) part {
	v := d.voice()
	p := part{
		label: r.Run.Stack.Environment + " · " + r.Run.Stack.Name,
		short: v.text(r.Run.Stack.Name),
		link:  linkTo(d.Base, v.text(r.Run.Stack.Name), "runs/"+r.Run.ID.String()),
		plan:  r.Plan, summary: r.Plan.Summary, done: r.Run.State == plumbline.StateApplied,
		since: r.Since, differs: r.SinceSummary, earlier: "differs from what was approved: ",
	}
	if r.Run.Plan != nil {
		p.named, p.summary = r.Run.Plan.Destroy, r.Run.Plan.Summary
		p.lost = r.Run.Plan.Changes && !r.Plan.HasChanges()
		p.digest = "Digest " + v.code(plumbline.ShortDigest(r.Run.Plan.Digest)) + "\n"
	}
	return p
}

func headline(d NoteData) string {
	var sum plumbline.Summary
	var failed, refused, live, waiting, applied int
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
		if r.Run.State.Ended() && refusal(r.Run) != "" {
			refused++
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
	add(refused, "refused", true)
	add(live, "under way", false)
	add(waiting, "awaiting approval", true)
	add(applied, "applied", false)
	switch changes := says(sum, true); {
	case changes != "":
		parts = append(parts, changes)
	case len(d.Rows) > 0 && failed+live == 0:
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
	v := d.voice()
	return v.row(light(r.Run), linkTo(d.Base, v.text(r.Run.Stack.Environment+" · "+r.Run.Stack.Name), "runs/"+r.Run.ID.String()), s, v.clauses(r.Next))
}

// manyClauses is how much of what happens to a stack is said.
const manyClauses = 8

// clauses are as a cell each, so that a long one does not keep out those behind it.
func (v voice) clauses(s string) string {
	var parts []string
	for i, c := range strings.Split(s, "; ") {
		if i == manyClauses {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, v.cell(c))
	}
	return strings.Join(parts, "; ")
}

// row is a row of the table of stacks; name and next are Markdown.
func (v voice) row(light, name string, s plumbline.Summary, next string) string {
	if v.plain {
		return item(light, name, s, next)
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
	var more []string
	for _, p := range []struct {
		n    int
		what string
	}{{s.Move, "moved"}, {s.Import, "imported"}, {s.Forget, "forgotten"}} {
		if p.n > 0 {
			more = append(more, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if s.Invoke > 0 {
		more = append(more, count(s.Invoke, "action"))
	}
	if len(more) > 0 {
		next = strings.TrimSpace(next + " (" + strings.Join(more, ", ") + ")")
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", light, name, num(s.Create, false), num(s.Update, false), num(s.Delete, true), num(s.Replace, true), next)
}

// rows are the table of stacks, without any. after is what their last column tells, where what is said behind those that are left out.
func (v voice) rows(after, where string) *section {
	s := &section{
		open: "| | stack | + | ~ | − | ± |" + after + " |\n|---|---|--:|--:|--:|--:|---|\n",
		close: func(left tally) string {
			if n := left[kindRow]; n > 0 {
				return "\n" + countMore(n, "stack") + where + ".\n\n"
			}
			return "\n"
		},
	}
	if v.plain {
		s.open = ""
	}
	return s
}

// table lists the stacks, red first.
func table(d NoteData, page string) *section {
	after := " after the merge"
	if d.MR.State == plumbline.MRMerged {
		after = " now"
	}
	s := d.voice().rows(after, ": "+page)
	for _, r := range d.Rows {
		at := rankRow
		if danger(r.Run) >= 3 {
			at = rankRedRow
		}
		s.add(at, kindRow, tableRow(d, r))
	}
	return s
}

// removed lists the stacks that a merge request takes away.
func (v voice) removed(mr plumbline.MergeRequest) *section {
	s := &section{open: v.title("Stacks that go away"), close: listEnd(0)}
	if mr.State == plumbline.MRMerged {
		return s
	}
	for _, name := range mr.Removed {
		env, stack, _ := strings.Cut(name, "/")
		s.add(rankNamed, kindName, fmt.Sprintf("- %s in %s: its directory is deleted. After the merge a plan to destroy all of it waits for an approval.\n", v.code(stack), v.text(env)))
	}
	return s
}

// manyDiagnostics is how many bytes of Terraform's messages a note shows of one stack; the log has all of them.
const manyDiagnostics = 4 << 10

// failure says what went wrong. title is Markdown.
func (v voice) failure(title string, f plumbline.Failure) *section {
	s := &section{close: closing("\n")}
	say := "**" + title + "** · " + v.text(f.Text)
	if f.Next != "" {
		say += " Next: " + v.cell(f.Next)
	}
	s.add(rankFailure, kindNone, say+"\n")
	var lines []string
	size, errors, shown := 0, 0, 0
	for _, g := range f.Diagnostics {
		if g.Severity != "error" {
			continue
		}
		if errors++; size > manyDiagnostics {
			continue
		}
		shown++
		if len(lines) > 0 {
			lines = append(lines, strings.TrimRight(bar, " "))
		}
		from := len(lines)
		lines = append(lines, barred(g.Summary)...)
		if g.File != "" {
			lines = append(lines, bar+"  "+brief(fmt.Sprintf("%s:%d", g.File, g.Line)))
		}
		if g.Snippet != "" {
			lines = append(lines, barred(g.Snippet)...)
		}
		if g.Detail != "" {
			lines = append(lines, barred(g.Detail)...)
		}
		for i := from; i < len(lines); i++ {
			if size += len(lines[i]) + 1; size > manyDiagnostics {
				lines = append(lines[:i], bar+"…")
			}
		}
	}
	if n := errors - shown; n > 0 {
		lines = append(lines, bar+"… "+countMore(n, "error"))
	}
	if len(lines) > 0 {
		s.add(rankDiagnostic, kindNone, "\n"+fenced("", lines))
	}
	return s
}

// origin says what was planned, when.
func origin(d NoteData) string {
	mr, v := d.MR, d.voice()
	if mr.State == plumbline.MRMerged {
		return fmt.Sprintf("Merged into %s as %s.\n", v.code(mr.Target), v.code(plumbline.Short(cmp.Or(mr.MergeCommit, mr.Head))))
	}
	out := fmt.Sprintf("Planned the merge of %s into %s (%s)", v.code(plumbline.Short(mr.Head)), v.code(mr.Target), v.code(plumbline.Short(mr.Base)))
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
		engine = engineName(r.Run.Plan.Engine, r.Run.Plan.Version)
	}
	if !last.IsZero() {
		out += fmt.Sprintf(" in %.1f s, %s", last.Sub(first).Seconds(), last.UTC().Format("2006-01-02 15:04 MST"))
		if engine != "" {
			out += " · " + v.text(engine)
		}
	}
	return out + fmt.Sprintf("\n`plumbline why %s` tells why a stack is planned\n", d.Rows[0].Run.ID)
}

// engineName is "Terraform 1.11.4".
func engineName(engine, version string) string {
	if name, ok := map[string]string{"terraform": "Terraform", "tofu": "OpenTofu"}[engine]; ok {
		engine = name
	}
	return strings.TrimSpace(engine + " " + version)
}

// command is what somebody writes in a comment to have something done to a stack. ok is false where that cannot be read as a command.
func (d NoteData) command(verb string, r NoteRow, args ...string) (call string, ok bool) {
	name := r.Run.Stack.Name
	if slices.ContainsFunc(d.Rows, func(o NoteRow) bool { return o.Run.Stack.Name == name && o.Run.ID != r.Run.ID }) {
		name = r.Run.Stack.Environment + "/" + name
	}
	call = strings.Join(append([]string{"plumbline", verb, name}, args...), " ")
	c, ok := plumbline.ParseCommand(call)
	return call, ok && d.Talks && c.Verb == plumbline.Verb(verb) && slices.Equal(c.Args, append([]string{name}, args...))
}

// act says how to agree to what waits for that, where somebody can.
func act(d NoteData) *section {
	s, v := &section{close: closing("\n")}, d.voice()
	forge := false
	for _, r := range d.Rows {
		if !offered(d.MR, r.Run, d.Now) {
			continue
		}
		forge = forge || r.Run.Kind == plumbline.KindProposal && r.Run.Policy.Approval.Forge
		digest := plumbline.ShortDigest(r.Run.Plan.Digest)
		line := fmt.Sprintf("- `plumbline runs approve %s --digest %s` approves %s as shown ", r.Run.ID, digest, v.text(r.Run.Stack.Name))
		if call, ok := d.command("approve", r, digest); ok {
			line = "- a comment with " + v.code(call) + " approves it as shown "
		}
		line += linkTo(d.Base, "on its page", "runs/"+r.Run.ID.String())
		until := ""
		if t := r.Run.ValidUntil(); !t.IsZero() {
			until = "until " + t.UTC().Format("2006-01-02 15:04 MST")
		}
		if who := clauses(excluded(r.Run.Policy.Approval.Not), until); who != "" {
			line += " (" + v.text(who) + ")"
		}
		s.add(rankAct, kindNone, line+"\n")
	}
	if forge {
		s.add(rankAct, kindNone, "- an approval of this merge request on its forge agrees to the plans shown here\n")
	}
	return s
}
