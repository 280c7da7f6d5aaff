package plumbline

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// DiffLine is one line of a change as people read it.
type DiffLine struct {
	Sign string // "+", "-", "~" (before -> after), "-/+", "+/-", "<" moved or imported, " "
	Text string
	Note string // remark behind it: "forces replacement"
	Head bool   // the resource itself; else one of its attributes
}

// maxValue is how much of a value a line shows; the rest is said in bytes.
const maxValue = 200

// Sign is the mark that Terraform's users know for an action.
func (a Action) Sign() string {
	switch a {
	case ActionCreate:
		return "+"
	case ActionUpdate:
		return "~"
	case ActionDelete:
		return "-"
	case ActionReplace:
		return "-/+"
	case ActionReplaceFirst:
		return "+/-"
	case ActionRead:
		return "<="
	}
	return "<"
}

// Verb says what happens, in the passive.
func (a Action) Verb() string {
	switch a {
	case ActionCreate:
		return "created"
	case ActionUpdate:
		return "changed in place"
	case ActionDelete:
		return "destroyed"
	case ActionReplace:
		return "destroyed, then created anew"
	case ActionReplaceFirst:
		return "created anew, then the old one destroyed"
	case ActionForget:
		return "forgotten (it stays in reality)"
	case ActionRead:
		return "read"
	}
	return "kept"
}

// Remark is what stands behind the resource's line.
func (c Change) Remark() string {
	var parts []string
	if c.Action.Replaces() && len(c.ReplacePaths) > 0 {
		parts = append(parts, "replaced: "+strings.Join(c.ReplacePaths, ", "))
	} else if why := reasons[c.Reason]; why != "" {
		parts = append(parts, why)
	}
	if c.Previous != "" {
		parts = append(parts, "moved from "+c.Previous)
	}
	if c.Importing != "" {
		parts = append(parts, "imported: "+c.Importing)
	}
	if c.Action == ActionForget {
		parts = append(parts, "leaves the state, stays in reality")
	}
	if c.Deposed != "" {
		parts = append(parts, "deposed object "+c.Deposed)
	}
	return strings.Join(parts, "; ")
}

// reasons are Terraform's action_reason values in words
// (https://developer.hashicorp.com/terraform/internals/json-format#change-representation).
var reasons = map[string]string{
	"replace_because_tainted":           "tainted: its last creation failed half-way",
	"replace_because_cannot_update":     "cannot be changed in place",
	"replace_by_request":                "replacement was asked for",
	"replace_by_triggers":               "replace_triggered_by",
	"delete_because_no_resource_config": "not in the configuration any more",
	"delete_because_no_module":          "its module is not in the configuration any more",
	"delete_because_wrong_repetition":   "count or for_each was added or taken away",
	"delete_because_count_index":        "its index is beyond count",
	"delete_because_each_key":           "its key is not in for_each any more",
	"delete_because_no_move_target":     "its move target is not in the configuration",
	"read_because_config_unknown":       "its configuration is known after apply",
	"read_because_dependency_pending":   "something it depends on changes",
	"read_because_check_nested":         "read by a check",
}

// Lines renders the change, resource first.
func (c Change) Lines() []DiffLine {
	out := []DiffLine{{Sign: c.Action.Sign(), Text: c.Address, Note: c.Remark(), Head: true}}
	width := 0
	for _, a := range c.Attributes {
		if n := utf8.RuneCountInString(a.Path); n > width && n <= 40 {
			width = n
		}
	}
	for _, a := range c.Attributes {
		l := DiffLine{Sign: "~"}
		before, after := show(a.Before, false), show(a.After, a.Unknown)
		switch {
		case a.Sensitive && a.Before != "" && (a.After != "" || a.Unknown):
			l.Text, l.Note = fmt.Sprintf("%-*s = %s", width, a.Path, Masked), "changed"
		case a.Before == "" && c.Action == ActionCreate:
			l.Sign, l.Text = "+", fmt.Sprintf("%-*s = %s", width, a.Path, after)
		case a.After == "" && !a.Unknown && c.Action == ActionDelete:
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

// Lines renders an output's change.
func (o OutputChange) Lines() []DiffLine {
	l := DiffLine{Sign: o.Action.Sign(), Text: "output." + o.Name, Head: true}
	switch {
	case o.Sensitive:
		l.Text += " = " + Masked
	case o.Before == "":
		l.Text += " = " + show(o.After, o.Unknown)
	case o.After == "" && !o.Unknown:
		l.Text += " = " + show(o.Before, false)
	default:
		l.Text += " = " + show(o.Before, false) + " -> " + show(o.After, o.Unknown)
	}
	return []DiffLine{l}
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
