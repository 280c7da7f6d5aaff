package report

import (
	"fmt"
	"html"
	"io"
	"strings"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// NamedPlan is a plan outside any run, as a command line has it.
type NamedPlan struct {
	Name string
	Plan plumbline.Plan
	Err  error // instead of a plan
}

// Text writes plans for a terminal: what is destroyed or replaced first, then the rest.
func Text(w io.Writer, plans []NamedPlan, colour bool) error {
	paint := func(sign, s string) string {
		c, ok := map[string]string{"+": "32", "~": "33", "-": "31", "-/+": "31", "+/-": "31", "<": "36"}[sign]
		if !colour || !ok {
			return s
		}
		return "\x1b[" + c + "m" + s + "\x1b[0m"
	}
	var b strings.Builder
	for _, p := range plans {
		if p.Err != nil {
			fmt.Fprintf(&b, "%s: %s\n", oneLine(p.Name), strings.Map(printable, p.Err.Error()))
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", oneLine(p.Name), p.Plan.Summary)
		for _, l := range planLines(p.Plan) {
			indent := "  "
			if l.Depth > 0 {
				indent = "      "
			}
			s := fmt.Sprintf("%s%-3s %s", indent, l.Sign, oneLine(l.Text))
			if l.Note != "" {
				s += "  # " + oneLine(l.Note)
			}
			b.WriteString(paint(l.Sign, s) + "\n")
		}
		if p.Plan.Truncated {
			b.WriteString("  (attributes of some resources are left out: the plan is large)\n")
		}
		if p.Plan.HasChanges() {
			fmt.Fprintf(&b, "  digest %s\n", plumbline.ShortDigest(p.Plan.Digest))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// planLines are a plan's lines, what is dangerous first.
func planLines(p plumbline.Plan) []diff.Line {
	var out []diff.Line
	for _, dangerous := range []bool{true, false} {
		for _, c := range p.Changes {
			if c.Action.Destroys() == dangerous {
				out = append(out, diff.Change(c)...)
			}
		}
	}
	for _, o := range p.Outputs {
		out = append(out, diff.Output(o)...)
	}
	return out
}

// Markdown renders plans as the daemon would show them in a note.
func Markdown(plans []NamedPlan) string {
	var b strings.Builder
	var sum plumbline.Summary
	for _, p := range plans {
		sum = sum.Add(p.Plan.Summary)
	}
	fmt.Fprintf(&b, "### Plumbline · %s · %s\n\n", count(len(plans), "stack"), sum)
	for _, p := range plans {
		if p.Err != nil {
			fmt.Fprintf(&b, "**%s failed**\n%s\n", text(p.Name), fenced("", p.Err.Error()))
			continue
		}
		var lines []string
		for _, l := range planLines(p.Plan) {
			lines = append(lines, diffLine(l))
		}
		if len(lines) == 0 {
			fmt.Fprintf(&b, "- **%s**: no changes\n", text(p.Name))
			continue
		}
		fmt.Fprintf(&b, "<details><summary><b>%s</b> · %s</summary>\n\n%s</details>\n", html.EscapeString(oneLine(p.Name)), html.EscapeString(p.Plan.Summary.String()), fenced("diff", strings.Join(lines, "\n")))
	}
	return b.String()
}
