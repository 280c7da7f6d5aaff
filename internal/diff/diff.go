// Package diff lays out the changes of a plan as lines that people read.
package diff

import (
	"fmt"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Line is one line of a change.
type Line struct {
	Sign  string // of a resource that of its action; else "+", "-", "~" (before -> after) or " "
	Depth int    // 0: a resource or output; 1: its attributes; deeper: what is in them
	Text  string // may hold anything that stood in the plan, control characters included; never a line break
	Note  string // remark behind it: "forces replacement"
}

// maxValue is how much of a value a line shows; the rest is said in bytes.
const maxValue = 200

// Change lays out what happens to a resource. The first line is about the resource, the others about its attributes.
func Change(c plumbline.Change) []Line {
	out := []Line{{Sign: c.Action.Sign(), Text: c.Address, Note: c.Remark()}}
	width := 0
	for _, a := range c.Attributes {
		if n := utf8.RuneCountInString(a.Path); n > width && n <= 40 {
			width = n
		}
	}
	for _, a := range c.Attributes {
		l := Line{Sign: "~", Depth: 1}
		before, after := show(a.Before, false), show(a.After, a.Unknown)
		switch {
		case a.Sensitive && a.Before != "" && (a.After != "" || a.Unknown):
			l.Text, l.Note = fmt.Sprintf("%-*s = %s", width, a.Path, plumbline.Masked), "changed"
		case a.Before == "" && c.Action == plumbline.ActionCreate:
			l.Sign, l.Text = "+", fmt.Sprintf("%-*s = %s", width, a.Path, after)
		case a.After == "" && !a.Unknown && c.Action == plumbline.ActionDelete:
			l.Sign, l.Text = "-", fmt.Sprintf("%-*s = %s", width, a.Path, before)
		case a.Before == "":
			l.Sign, l.Text = "+", fmt.Sprintf("%-*s = %s", width, a.Path, after)
		case a.After == "" && !a.Unknown:
			l.Sign, l.Text = "-", fmt.Sprintf("%-*s = %s -> null", width, a.Path, before)
		default:
			l.Text = fmt.Sprintf("%-*s = %s -> %s", width, a.Path, before, after)
		}
		if a.Forces {
			l.Note = "forces replacement"
		}
		out = append(out, l)
	}
	return out
}

// Output lays out the change of an output.
func Output(o plumbline.OutputChange) []Line {
	l := Line{Sign: o.Action.Sign(), Text: "output." + o.Name}
	switch {
	case o.Sensitive:
		l.Text += " = " + plumbline.Masked
	case o.Before == "":
		l.Text += " = " + show(o.After, o.Unknown)
	case o.After == "" && !o.Unknown:
		l.Text += " = " + show(o.Before, false)
	default:
		l.Text += " = " + show(o.Before, false) + " -> " + show(o.After, o.Unknown)
	}
	return []Line{l}
}

func show(v string, unknown bool) string {
	switch {
	case unknown:
		return "(known after apply)"
	case v == "":
		return "null"
	case len(v) <= maxValue:
		return v
	}
	cut := maxValue
	for cut > 0 && !utf8.RuneStart(v[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes)", v[:cut], len(v))
}
