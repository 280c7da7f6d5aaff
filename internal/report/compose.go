package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// part is what one stack contributes to a note, whether a run or a command line planned it.
type part struct {
	label   string // as people call it in this note
	short   string // its name, in Markdown
	link    string // likewise, as a link to its page
	plan    plumbline.Plan
	summary plumbline.Summary
	named   []plumbline.Named // when the plan itself is not there any more
	lost    bool              // there was a plan with changes
	done    bool              // it was applied
	digest  string            // a line about it
	since   []diff.Line
	differs string
	earlier string // begins what is said of the difference
}

// manyPaths is how many of the attributes that force a replacement are named.
const manyPaths = 3

// voice is how a format writes what comes from outside.
type voice struct {
	text, code func(string) string
	plain      bool // nothing can be folded
}

var (
	inMarkdown = voice{text: text, code: code}
	inPlain    = voice{text: plainText, code: plainCode, plain: true}
	inHTML     = voice{text: htmlText, code: htmlCode}
)

// because says why a resource is replaced, destroyed, forgotten or run.
func (v voice) because(c plumbline.Change) string {
	if !c.Action.Replaces() {
		return v.text(c.Remark())
	}
	var whats []string
	for _, a := range c.Attributes {
		if a.Forces {
			whats = append(whats, v.turn(a))
		}
	}
	if len(whats) == 0 {
		for _, p := range c.ReplacePaths {
			whats = append(whats, v.code(p))
		}
	}
	if len(whats) == 0 {
		return v.text(c.Remark())
	}
	verb := " forces "
	if len(whats) > 1 {
		verb = " force "
	}
	if n := len(whats) - manyPaths; n > 0 {
		whats = append(whats[:manyPaths], fmt.Sprintf("%d more", n))
	}
	why := strings.Join(whats, ", ") + verb + anew(c.Type)
	if c.Previous != "" || c.Importing != "" || c.Deposed != "" {
		c.ReplacePaths, c.Reason = nil, ""
		why += "; " + v.text(c.Remark())
	}
	return why
}

// anew is "a new db instance" for an aws_db_instance.
func anew(resourceType string) string {
	_, noun, ok := strings.Cut(resourceType, "_")
	if !ok || strings.Trim(noun, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || len(noun) > 40 {
		return "a new one"
	}
	words := strings.Split(noun, "_")
	for _, w := range words {
		// Forges take seven digits of a hexadecimal number for a commit.
		if w == "" || w[0] < 'a' || len(w) >= 7 && strings.Trim(w, "0123456789abcdef") == "" || resourceType == "terraform_data" {
			return "a new one"
		}
	}
	return "a new " + strings.Join(words, " ")
}

// shortValue is up to how long a value is shown beside the name of its attribute.
const shortValue = 40

// turn is an attribute with its values, where they are short.
func (v voice) turn(a plumbline.Attribute) string {
	short := func(value string, unknown bool) string {
		switch {
		case unknown:
			return "(known after apply)"
		case value == "":
			return "nothing"
		case len(value) <= shortValue && plumbline.IsJSON(value) && value[0] != '{' && value[0] != '[':
			return v.code(value)
		}
		return ""
	}
	out := v.code(a.Path)
	if a.Sensitive {
		return out + " " + plumbline.Masked
	}
	before, after := short(a.Before, false), short(a.After, a.Unknown)
	if before == "" || after == "" {
		return out
	}
	return out + " " + before + " → " + after
}

// remarks are the sections about what a plan does not do, or cannot tell. No item begins with a name: some take "- [x](" for a box to tick.
func (v voice) remarks(parts []part) []*section {
	failed := &section{open: v.title("Checks that did not pass")}
	later := &section{open: v.title("Checks that can be told only after the apply")}
	know := &section{open: v.title("To know")}
	for _, p := range parts {
		for _, c := range p.plan.Checks {
			line := "- " + v.code(c.Address)
			into, r := failed, rankCheck
			if c.Status == plumbline.CheckUnknown {
				into, r = later, rankInfo
			} else {
				line += " " + checkVerb(c.Status)
			}
			for i, problem := range c.Problems {
				line += map[bool]string{true: ": ", false: "; "}[i == 0] + v.text(problem)
			}
			into.add(r, kindName, line+" ("+p.link+")\n")
		}
		if len(p.since) == 0 && p.differs != "" {
			know.add(rankSince, kindName, "- Stack "+p.link+" "+p.earlier+v.text(p.differs)+"\n")
		}
		if p.lost {
			know.add(rankInfo, kindName, "- Stack "+p.link+": the plan is not kept any more. What it counted is.\n")
		}
		if p.plan.Errored {
			know.add(rankCheck, kindName, "- Stack "+p.link+": "+v.text(notFinished(p.plan))+"\n")
		}
		switch n := len(p.plan.Deferred); {
		case p.plan.Errored: // nobody can apply it
		case n > 0:
			know.add(rankInfo, kindName, fmt.Sprintf("- Stack %s: after this apply another plan is needed, for %s that cannot be planned yet.\n", p.link, count(n, "resource")))
		case p.plan.Partial:
			know.add(rankInfo, kindName, fmt.Sprintf("- Stack %s: after this apply another plan is needed, to reach all that the configuration asks for.\n", p.link))
		}
		if drift, quiet := outside(p.plan); len(drift) == 0 && quiet != "" {
			know.add(rankInfo, kindName, "- Stack "+p.link+": nothing changed outside since the last apply. "+quiet)
		}
		if p.plan.NoState && p.plan.HasChanges() {
			know.add(rankInfo, kindName, fmt.Sprintf("- Stack %s has no state yet: it was never applied here.\n", p.link))
		}
	}
	var out []*section
	for _, s := range []*section{failed, know, later} {
		if len(s.pieces) == 0 {
			continue
		}
		s.close = listEnd(0)
		out = append(out, s)
	}
	return out
}

// classes are the changes of a plan in the order of their danger.
var classes = []struct {
	head, body rank
	kind       kind
	has        func(plumbline.Action) bool
}{
	{rankDestroy, rankReplaced, kindReplaced, plumbline.Action.Replaces},
	{rankDestroy, rankDestroyed, kindDestroyed, func(a plumbline.Action) bool { return a == plumbline.ActionDelete }},
	{rankForget, rankForgotten, kindForgotten, func(a plumbline.Action) bool { return a == plumbline.ActionForget || a == plumbline.ActionForgetCreate }},
	{rankInvoke, rankInvoked, kindInvoked, func(a plumbline.Action) bool { return a == plumbline.ActionInvoke }},
	{rankUpdate, rankUpdated, kindChanged, func(a plumbline.Action) bool { return a == plumbline.ActionUpdate }},
	{rankCreate, rankCreated, kindCreated, func(a plumbline.Action) bool { return a == plumbline.ActionCreate }},
	{rankMove, rankMoved, kindMoved, func(plumbline.Action) bool { return true }},
}

// class is the index in classes of an action.
func class(a plumbline.Action) int {
	for i, c := range classes {
		if c.has(a) {
			return i
		}
	}
	return len(classes) - 1
}

// byDanger are a plan's changes, the most dangerous first, else in their order.
func byDanger(changes []plumbline.Change) []*plumbline.Change {
	out := make([]*plumbline.Change, 0, len(changes))
	for i := range changes {
		out = append(out, &changes[i])
	}
	slices.SortStableFunc(out, func(a, b *plumbline.Change) int { return class(a.Action) - class(b.Action) })
	return out
}

// details are a stack's own sections. where is a link to all of it.
func (v voice) details(n names, p part, where string) []*section {
	var out []*section
	folded := func(what, after string, fill func(s *section)) {
		s := v.fold("diff", p.label, what, after, where)
		fill(s)
		if len(s.pieces) > 0 {
			out = append(out, s)
		}
	}
	folded(p.earlier+v.summary(p.differs), "", func(s *section) {
		sinceUnits(s, p.since)
	})
	after := ""
	if more := moreOutputs(p.plan); more != "" {
		after += "… " + more + ". Of very many, not all are kept.\n"
	}
	if p.plan.Truncated {
		after += "Attributes of some resources are left out because the plan is very large.\n"
	}
	after += p.digest
	folded(v.summary(cmp.Or(says(p.summary, false), "changes")), after, func(s *section) {
		for _, c := range byDanger(p.plan.Changes) {
			in := classes[class(c.Action)]
			unit(s, func() []diff.Line { return diff.Change(*c) }, in.head, in.body, in.kind).named = n[c]
		}
		for _, o := range p.plan.Outputs {
			unit(s, func() []diff.Line { return diff.Output(o) }, rankOutput, rankOutput, kindOutput)
		}
	})
	if drift, quiet := outside(p.plan); len(drift) > 0 {
		folded("changed outside since the last apply: "+count(len(drift), "resource"), quiet, func(s *section) {
			for _, c := range drift {
				unit(s, func() []diff.Line { return diff.Change(*c) }, rankDrift, rankDrifted, kindDrifted)
			}
		})
	}
	if n := len(p.plan.Deferred); n > 0 {
		folded("left for another plan: "+count(n, "resource"), "", func(s *section) {
			for _, c := range p.plan.Deferred {
				unit(s, func() []diff.Line { return diff.Change(c)[:1] }, rankDrift, rankDrifted, kindDeferred)
			}
		})
	}
	return out
}

// summary is a string where a section is folded.
func (v voice) summary(s string) string {
	if v.plain {
		return v.text(s)
	}
	return htmlText(s)
}

// fold is a block of code that is open only for those who want it, as far as the forge can do that. what and after are of the format.
func (v voice) fold(lang, label, what, after, where string) *section {
	s := &section{open: "<details><summary><b>" + htmlText(label) + "</b> · " + what + "</summary>\n\n```" + lang + "\n"}
	before, end := "```\n", "</details>\n\n"
	if v.plain {
		s.open = "**" + cmp.Or(v.text(label), nameless) + "** · " + what + "\n\n```" + lang + "\n"
		before, end = "```\n\n", ""
	}
	s.close = func(left tally) string {
		said := after
		if what := missing(left); what != "" {
			said = "… not shown: " + what + " (" + where + ")\n" + after
		}
		if v.plain && said != "" {
			said += "\n"
		}
		return before + said + end
	}
	return s
}

// moreLines stands in the place of n lines.
func moreLines(n int) string { return fmt.Sprintf("       … %s\n", countMore(n, "line")) }

// outside is what changed outside; first that which the plan would change (back). Where providers have only read back an empty value for
// nothing, or nothing for one, that is said in a line.
func outside(p plumbline.Plan) (drift []*plumbline.Change, quiet string) {
	planned := map[string]bool{}
	for _, c := range p.Changes {
		planned[c.Address] = true
	}
	var first, rest []*plumbline.Change
	empty := 0
	for i := range p.Drift {
		switch c := &p.Drift[i]; {
		case c.OnlyEmpties():
			empty++
		case planned[c.Address]:
			first = append(first, c)
		default:
			rest = append(rest, c)
		}
	}
	if empty > 0 {
		quiet = fmt.Sprintf("Not counted: %s of which only empty values came or went, as providers do by themselves.\n", count(empty, "resource"))
	}
	return append(first, rest...), quiet
}

// firstBytes is how much of one change stands at its place in the order of danger. The rest of longer ones comes last, so that none of them
// keeps out all that is behind it.
const firstBytes = 2 << 10

// unit adds a change: its own line, its attributes, the end of them when there are very many. It returns the first of these pieces.
func unit(s *section, lay func() []diff.Line, head, body rank, k kind) *piece {
	var texts [3]string
	var rest int
	done := false
	get := func(i int) func() string {
		return func() string {
			if done {
				return texts[i]
			}
			done = true
			lines := lay()
			texts[0] = diffLines(lines[:1])
			var b strings.Builder
			at := 1
			for ; at < len(lines); at++ {
				l := diffLines(lines[at : at+1])
				if b.Len()+len(l) > firstBytes && at > 1 {
					break
				}
				b.WriteString(l)
			}
			texts[1] = b.String()
			if at < len(lines) {
				rest = len(lines) - at
				texts[2] = diffLines(lines[at:])
			}
			return texts[i]
		}
	}
	h := &piece{rank: head, kind: k, text: get(0)}
	b := &piece{rank: body, kind: kindAttributes, text: get(1), of: h}
	r := &piece{rank: rankRest, kind: kindRest, text: get(2), of: b}
	b.instead = func() string {
		if rest == 0 {
			return ""
		}
		return moreLines(rest)
	}
	s.pieces = append(s.pieces, h, b, r)
	return h
}

func countMore(n int, what string) string {
	if n == 1 {
		return "1 more " + what
	}
	return fmt.Sprintf("%d more %ss", n, what)
}

// missing says what is not shown, or "".
func missing(t tally) string {
	var parts []string
	say := func(k kind, format string) {
		if n := t[k]; n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	say(kindReplaced, "%d replaced")
	say(kindDestroyed, "%d destroyed")
	say(kindForgotten, "%d forgotten")
	say(kindChanged, "%d changed")
	say(kindCreated, "%d created")
	say(kindMoved, "%d moved or imported")
	if len(parts) > 0 {
		noun := " resources"
		if t[kindReplaced]+t[kindDestroyed]+t[kindForgotten]+t[kindChanged]+t[kindCreated]+t[kindMoved] == 1 {
			noun = " resource"
		}
		parts = []string{strings.Join(parts, ", ") + noun}
	}
	plural := func(k kind, what string) {
		if n := t[k]; n > 0 {
			parts = append(parts, count(n, what))
		}
	}
	plural(kindInvoked, "action")
	plural(kindOutput, "output")
	plural(kindDrifted, "difference")
	plural(kindFinding, "finding")
	say(kindDeferred, "%d left for another plan")
	say(kindAttributes, "the attributes of %d")
	say(kindRest, "the end of %d")
	return strings.Join(parts, ", ")
}

func diffLines(lines []diff.Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(diffLine(l) + "\n")
	}
	return b.String()
}

// noteColumn is where remarks stand, behind lines that are shorter.
const noteColumn = 60

// diffLine is a line of a ```diff block, where forges colour a line by its first character: "!" stands for a change, and what is
// destroyed is red although a new one comes first. Other signs come second, because forges know them as something else.
func diffLine(l diff.Line) string {
	sign, note := l.Sign, l.Note
	switch sign {
	case "~":
		sign = "!"
	case "+/-":
		sign, note = "-/+", strings.TrimPrefix(note+"; the new one comes first", "; ")
	case "+", "-", "-/+", " ", "":
	default:
		sign = " " + sign
	}
	width := 4
	if len(sign) >= width {
		width = len(sign) + 1
	}
	s := fmt.Sprintf("%-*s", width, sign) + strings.Repeat("  ", max(l.Depth, 0)) + diff.Clean(l.Text)
	if note != "" {
		s = fmt.Sprintf("%-*s # %s", noteColumn, s, diff.Clean(note))
	}
	return strings.TrimRight(s, " ")
}
