package report

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// NamedPlan is a plan outside any run, as a command line has it.
type NamedPlan struct {
	Name string
	Plan plumbline.Plan
	Err  error // instead of a plan
	// DigestKey says that digests are made with the installation's key. Without it, those of plans with sensitive values compare with nothing.
	DigestKey bool
	Next      string // what to do about it, one sentence; "": nothing is said

	// How it differs from an earlier plan, such as one that was approved; nothing where there is none, or no difference.
	Since        []diff.Line
	SinceSummary string
}

// unkeyed is said of a digest that covers sensitive values and was made with a key that nobody else has.
const unkeyed = "compares with nothing outside this run: it covers sensitive values, and PLUMBLINE_DIGEST_KEY is not set"

// digest is what is said of the plan's digest, and a remark on it; "" where there is nothing to approve.
func (p NamedPlan) digest() (digest, remark string) {
	if !p.Plan.HasChanges() || p.Plan.Digest == "" || p.failed() {
		return "", ""
	}
	if p.Plan.Keyed && !p.DigestKey {
		remark = unkeyed
	}
	return plumbline.ShortDigest(p.Plan.Digest), remark
}

// differs begins what is said of the difference from an earlier plan.
const differs = "Differs from the earlier plan: "

// failed reports whether there is no plan, or only the beginning of one.
func (p NamedPlan) failed() bool { return p.Err != nil || p.Plan.Errored }

// notFinished says that a plan is only the beginning of one.
func notFinished(p plumbline.Plan) string {
	return cmp.Or(engineName(p.Engine, ""), "Terraform") + " could not finish this plan: what is shown of it is not all."
}

// danger orders plans like the rows of a note.
func (p NamedPlan) danger() int {
	switch {
	case p.failed():
		return 3
	case p.Plan.Summary.Delete+p.Plan.Summary.Replace > 0:
		return 2
	case p.Plan.HasChanges():
		return 1
	}
	return 0
}

// redFirst are plans in the order of their danger, else in theirs.
func redFirst(plans []NamedPlan) []NamedPlan {
	out := slices.Clone(plans)
	slices.SortStableFunc(out, func(a, b NamedPlan) int { return b.danger() - a.danger() })
	return out
}

// Sequences of a terminal, by sign and by part of a line.
const (
	ansiBold  = "\x1b[1m"
	ansiDim   = "\x1b[2m"
	ansiRed   = "\x1b[31m"
	ansiReset = "\x1b[0m"
)

var ansiSigns = map[string]string{
	"+": "\x1b[32m", "~": "\x1b[33m", "-": ansiRed, "-/+": ansiRed, "+/-": ansiRed,
	".": "\x1b[35m", "./+": "\x1b[35m", ">": "\x1b[36m", "<": "\x1b[36m", "<=": "\x1b[36m",
}

// terminal writes lines for a terminal.
type terminal struct {
	out interface {
		io.Writer
		io.StringWriter
		io.ByteWriter
	}
	colour bool
}

func (t terminal) paint(how, s string) string {
	if !t.colour || how == "" || s == "" {
		return s
	}
	return how + s + ansiReset
}

// say writes strings, the error of which comes with the last Flush.
func (t terminal) say(parts ...string) {
	for _, p := range parts {
		_, _ = t.out.WriteString(p)
	}
	_ = t.out.WriteByte('\n')
}

// changes writes all lines of changes. An error comes with the last Flush.
func (t terminal) changes(list []*plumbline.Change) {
	_ = ordered(t.out, len(list), func(out *bytes.Buffer, from, to int) {
		for _, c := range list[from:to] {
			terminal{out, t.colour}.lines(diff.Change(*c))
		}
	})
}

func (t terminal) lines(lines []diff.Line) {
	for _, l := range lines {
		how := ansiSigns[l.Sign]
		indent := "  "
		if l.Depth > 0 {
			indent = strings.Repeat("  ", l.Depth+2)
		}
		sign := fmt.Sprintf("%-3s ", l.Sign)
		if l.Depth > 0 {
			sign = fmt.Sprintf("%-1s ", l.Sign)
		}
		if l.Depth == 0 && l.Sign != " " {
			how += map[bool]string{true: ansiBold}[t.colour]
		}
		s := t.paint(how, strings.TrimRight(indent+sign+diff.Clean(l.Text), " "))
		if l.Note != "" {
			s += t.paint(ansiDim, "  # "+diff.Clean(l.Note))
		}
		t.say(s)
	}
}

// Text writes plans for a terminal: what is destroyed or replaced first, then the rest, at the end what it comes to.
func Text(w io.Writer, plans []NamedPlan, colour bool) error {
	out := bufio.NewWriter(w)
	t := terminal{out, colour}
	for i, p := range plans {
		if i > 0 {
			t.say()
		}
		t.plan(p)
	}
	if len(plans) > 1 {
		t.say()
		t.say(t.paint(ansiBold, headlineOf(plans, false)))
	}
	return out.Flush()
}

func (t terminal) plan(p NamedPlan) {
	name := t.paint(ansiBold, brief(p.Name))
	if p.Err != nil {
		t.say(name, ": ", t.paint(ansiRed, "failed"))
		for _, l := range barred(p.Err.Error()) {
			t.say("  ", l)
		}
		return
	}
	if p.Plan.Errored {
		t.say(name, ": ", t.paint(ansiRed, "failed"))
		t.say("  ", t.paint(ansiRed, notFinished(p.Plan)))
	} else {
		t.say(name, ": ", t.paint(ansiBold, orNothing(says(p.Plan.Summary, false))))
	}
	if p.SinceSummary != "" || len(p.Since) > 0 {
		t.say("  ", t.paint(ansiBold, differs+brief(fold(p.SinceSummary))))
		t.lines(p.Since)
		t.say()
	}
	t.changes(byDanger(p.Plan.Changes))
	for _, o := range p.Plan.Outputs {
		t.lines(diff.Output(o))
	}
	if more := moreOutputs(p.Plan); more != "" {
		t.say("  ", t.paint(ansiDim, "… "+more))
	}
	for _, c := range p.Plan.Checks {
		how := ansiRed
		if c.Status == plumbline.CheckUnknown {
			how = ansiDim
		}
		t.say("  ", t.paint(how, checkText(c)))
	}
	if drift, quiet := outside(p.Plan); len(drift) > 0 {
		t.say("  ", t.paint(ansiDim, "Changed outside since the last apply: "+count(len(drift), "resource")))
		t.changes(drift)
		if quiet != "" {
			t.say("  ", t.paint(ansiDim, strings.TrimSpace(quiet)))
		}
	}
	if n := len(p.Plan.Deferred); n > 0 {
		t.say("  ", t.paint(ansiDim, "Left for another plan: "+count(n, "resource")))
		for _, c := range p.Plan.Deferred {
			t.lines(diff.Change(c)[:1])
		}
	}
	for _, line := range toKnow(p.Plan) {
		t.say("  ", line)
	}
	digest, remark := p.digest()
	if digest == "" {
		return
	}
	if remark != "" {
		remark = t.paint(ansiDim, "  # "+remark)
	}
	t.say("  ", says(p.Plan.Summary, false), " · digest ", digest, remark)
	if p.Next != "" {
		t.say("  ", p.Next)
	}
}

// orNothing is what is said where there is nothing to say.
func orNothing(s string) string {
	if s == "" {
		return "no changes"
	}
	return s
}

// moreOutputs says how many outputs change beside those that a plan holds, or "".
func moreOutputs(p plumbline.Plan) string {
	if n := p.Summary.Output - len(p.Outputs); n > 0 {
		return countMore(n, "output")
	}
	return ""
}

// checkText is a check that did not pass, in plain text.
func checkText(c plumbline.Check) string {
	s := brief(c.Address) + " " + checkVerb(c.Status)
	for i, p := range c.Problems {
		s += map[bool]string{true: ": ", false: "; "}[i == 0] + brief(fold(p))
	}
	return s
}

func checkVerb(s plumbline.CheckStatus) string {
	switch s {
	case plumbline.CheckUnknown:
		return "can be told only after the apply"
	case plumbline.CheckErrored:
		return "could not be evaluated"
	}
	return "failed"
}

// toKnow is what a plan does not do, or does not show, in plain text.
func toKnow(p plumbline.Plan) []string {
	var out []string
	switch n := len(p.Deferred); {
	case p.Errored: // nobody can apply it
	case n > 0:
		out = append(out, "After this apply another plan is needed, for "+count(n, "resource")+" that cannot be planned yet.")
	case p.Partial:
		out = append(out, "After this apply another plan is needed, to reach all that the configuration asks for.")
	}
	if drift, quiet := outside(p); len(drift) == 0 && quiet != "" {
		out = append(out, "Changed outside since the last apply: nothing. "+strings.TrimSpace(quiet))
	}
	if p.NoState && p.HasChanges() {
		out = append(out, "There is no state yet: it was never applied here.")
	}
	if p.Truncated {
		out = append(out, "Attributes of some resources are left out because the plan is very large.")
	}
	return out
}

// headlineOf sums plans up in one line.
func headlineOf(plans []NamedPlan, bold bool) string {
	var sum plumbline.Summary
	failed := 0
	for _, p := range plans {
		if p.failed() {
			failed++
		}
		sum = sum.Add(p.Plan.Summary)
	}
	parts := []string{count(len(plans), "stack")}
	if failed > 0 {
		parts = append(parts, map[bool]string{true: "**", false: ""}[bold]+fmt.Sprint(failed)+" failed"+map[bool]string{true: "**", false: ""}[bold])
	}
	if what := says(sum, bold); what != "" || failed < len(plans) {
		parts = append(parts, orNothing(what))
	}
	return strings.Join(parts, " · ")
}

// Markdown renders plans as the daemon would show them in a note, in at most limit bytes (0: any number), by the same rules.
func Markdown(plans []NamedPlan, limit int) string { return inMarkdown.plans(plans, limit) }

// PlainMarkdown does the same for a forge that shows raw HTML as text.
func PlainMarkdown(plans []NamedPlan, limit int) string { return inPlain.plans(plans, limit) }

func (v voice) plans(plans []NamedPlan, limit int) string {
	s := &sheet{head: "### Plumbline · " + headlineOf(plans, true) + "\n\n", unfolded: v.plain}
	const page = "`plumbline report --html FILE` shows all"
	s.left = func(t tally) string {
		what := missing(t)
		if what != "" {
			what = ": " + what + " not shown"
		}
		return v.shortened() + what + "; " + page + ".\n\n"
	}
	var parts []part
	rows := v.rows("", "")
	var failures []*section
	var engines []string
	for _, p := range redFirst(plans) {
		if p.Err != nil {
			failures = append(failures, v.failure(v.text(p.Name)+" failed", plumbline.Failure{Text: "There is no plan of it.", Diagnostics: []plumbline.Diagnostic{{Severity: "error", Summary: p.Err.Error()}}}))
			rows.add(rankRedRow, kindRow, v.row("❌", v.text(p.Name), plumbline.Summary{}, "failed"))
			continue
		}
		sign, at, what := "🟢", rankRow, "no changes"
		switch p.danger() {
		case 3:
			sign, at, what = "❌", rankRedRow, "failed"
		case 2:
			sign, at, what = "🔴", rankRedRow, ""
		case 1:
			sign, what = "🟠", ""
		}
		if next := v.text(p.Next); p.failed() && next != "" {
			what += " · " + next
		} else if next != "" {
			what = next
		}
		rows.add(at, kindRow, v.row(sign, v.text(p.Name), p.Plan.Summary, what))
		digest, remark := p.digest()
		note := ""
		if digest != "" {
			note = "Digest " + v.code(digest)
			if remark != "" {
				note += " " + v.cell(remark)
			}
			note += "\n"
		}
		if name := engineName(p.Plan.Engine, p.Plan.Version); name != "" && !slices.Contains(engines, name) {
			engines = append(engines, name)
		}
		parts = append(parts, part{label: p.Name, short: v.text(p.Name), link: v.text(p.Name), plan: p.Plan, summary: p.Plan.Summary, digest: note, since: p.Since, differs: p.SinceSummary, earlier: "differs from the earlier plan: "})
	}
	s.sections = append(s.sections, rows)
	inOpen, named := v.lists(parts)
	s.sections = append(s.sections, inOpen...)
	s.sections = append(s.sections, failures...)
	s.sections = append(s.sections, v.remarks(parts)...)
	for _, p := range parts {
		s.sections = append(s.sections, v.details(named, p, page)...)
	}
	if len(engines) > 0 {
		s.foot = "Planned with " + v.text(strings.Join(engines[:min(len(engines), 3)], ", ")) + "\n"
	}
	if out, ok := s.fit(limit); ok {
		return out
	}
	return cutLines(s.head+"There is no room for more here; "+page+".\n", limit)
}
