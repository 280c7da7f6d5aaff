// Package diff lays out the changes of a plan as lines that people read.
//
// Every renderer (note, terminal, page) takes its lines from here, so that a change reads the same wherever it is shown. Values come from
// the outside: what is in them can neither break out of its line nor look like something that it is not, see [Clean].
package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Line is one line of a change. Text and Note are already [Clean]; they still need the escaping of the format that they are put in.
type Line struct {
	Sign  string // of a resource or output that of its action; else "+", "-", "~" (before -> after) or " "
	Depth int    // 0: a resource or output; 1: its attributes; deeper: what is in them
	Text  string // empty for an empty line of a value
	Note  string // remark behind it, such as "forces replacement"; may be empty
}

// String is the line as plain text: the sign in a column of its own, so that a reader can run down it.
func (l Line) String() string {
	s := fmt.Sprintf("%-3s %s%s", l.Sign, strings.Repeat("  ", l.Depth), l.Text)
	if l.Note != "" {
		s = fmt.Sprintf("%-60s # %s", s, l.Note)
	}
	return strings.TrimRight(s, " ")
}

// Bounds of what is shown. What is left out is always said, with how much it is.
const (
	maxLines       = 400 // of one change
	maxDeleteLines = 20  // of one resource that goes away: enough to recognise it by
	maxValueLines  = 100 // of one value that changes
	maxNewLines    = 10  // of one value that is new, or gone, without its first and last line
	maxText        = 200 // bytes of a value on one line
	maxDeleteText  = 80  // likewise where a resource goes away
	maxNameWidth   = 40  // to which "=" is aligned
	maxGathered    = 6   // names in a line that stands for many attributes
)

const (
	knownAfterApply = "(known after apply)"
	emptyText       = "(empty)"
	forcesNote      = "forces replacement"
	secretNote      = "only what is sensitive differs"
	layoutNote      = "only white space or order of keys differs"
	escapesNote     = "only how characters are escaped, white space or order of keys differs"
)

// mode is how the attributes of an action are shown.
type mode int

const (
	modeUpdate  mode = iota // each attribute before -> after, what is known only after apply last
	modeCreate              // what is known after apply in one line
	modeReplace             // like update, what forces it (or else what is lost) first, what is known after apply in one line
	modeDelete              // compact, what the thing is recognised by first
)

func modeOf(a plumbline.Action) mode {
	switch a {
	case plumbline.ActionCreate, plumbline.ActionRead, plumbline.ActionInvoke:
		return modeCreate
	case plumbline.ActionDelete, plumbline.ActionForget:
		return modeDelete
	case plumbline.ActionReplace, plumbline.ActionReplaceFirst, plumbline.ActionForgetCreate:
		return modeReplace
	default:
		return modeUpdate
	}
}

// Change lays out what happens to a resource in at most 400 lines. The first line is about the resource, the others are about its attributes.
func Change(c plumbline.Change) []Line { return changeLines(c, maxLines) }

func changeLines(c plumbline.Change, most int) []Line {
	head := Line{Sign: c.Action.Sign(), Text: shortName(c.Address), Note: cut(c.Remark(), 2*maxText)}
	l := &layout{mode: modeOf(c.Action), max: most - 1}
	if c.Action == plumbline.ActionForget || c.Action == plumbline.ActionInvoke {
		l.neutral = true // nothing of it is made or destroyed
	}
	if l.mode == modeDelete {
		l.max = min(l.max, maxDeleteLines)
	}
	left := omitted(c.Omitted)
	l.max -= len(left)
	l.attributes(c.Attributes)
	return slices.Concat([]Line{head}, l.out, left)
}

// omitted says how many attributes a plan does not keep.
func omitted(n int) []Line {
	if n <= 0 {
		return nil
	}
	return []Line{{Sign: " ", Depth: 1, Text: "… " + quantity(n, "more attribute") + " changed (left out: the plan is very large)"}}
}

// attributes lays out the attributes of a resource. What says little is gathered in a line at the end.
func (l *layout) attributes(list []plumbline.Attribute) {
	var empty, unknown []string
	root := &node{}
	if l.mode == modeReplace {
		l.lost = whatIsLost(list)
	}
	for _, a := range list {
		lf := leafOf(a)
		switch {
		case l.loses(a.Path):
			root.add(a)
		case a.Unknown && (l.mode == modeCreate || l.mode == modeReplace && !a.Forces):
			unknown = append(unknown, a.Path)
		case l.mode == modeCreate && lf.isEmpty():
			empty = append(empty, a.Path)
		default:
			root.add(a)
		}
	}
	var last []Line
	sign := "~"
	if l.mode == modeCreate {
		sign = l.only("+")
	}
	if len(empty) > 0 {
		last = append(last, Line{Sign: sign, Depth: 1, Text: emptyText + "  " + gather(empty)})
	}
	if len(unknown) > 0 {
		last = append(last, Line{Sign: sign, Depth: 1, Text: knownAfterApply + "  " + gather(unknown)})
	}
	l.max -= len(last)
	root.hints(list)
	root.beside(list)
	root.measure()
	l.emit(l.children(root, comesAndGoes), 1, false)
	if l.more > 0 {
		l.out = append(l.out, Line{Sign: " ", Depth: 1, Text: "… " + quantity(l.more, "more attribute")})
	}
	l.out = append(l.out, last...)
	l.told += len(empty) + len(unknown)
}

// whatIsLost names the attributes by which people know the object that goes away, where nothing that forces it tells what happens: the id, or
// else what stands for one.
func whatIsLost(list []plumbline.Attribute) []string {
	known := map[string]bool{}
	for _, a := range list {
		if a.Forces {
			return nil
		}
		known[a.Path] = known[a.Path] || a.Unknown && !leafOf(a).absentBefore()
	}
	if known["id"] {
		return []string{"id"}
	}
	return slices.DeleteFunc([]string{"arn", "name"}, func(path string) bool { return !known[path] })
}

// loses reports whether a path is among what is lost.
func (l *layout) loses(path string) bool { return slices.Contains(l.lost, path) }

// gather names the first of many attributes.
func gather(paths []string) string {
	var named []string
	length := 0
	for _, p := range paths {
		if p == "" {
			p = wholeObject
		}
		p = cut(p, maxText/2)
		if length += len(p) + 2; len(named) == maxGathered || len(named) > 0 && length > maxText/2 {
			break
		}
		named = append(named, p)
	}
	switch rest := len(paths) - len(named); {
	case rest > 0:
		return strings.Join(named, ", ") + " and " + thousands(rest) + " more"
	case len(named) > 1:
		return strings.Join(named[:len(named)-1], ", ") + " and " + named[len(named)-1]
	default:
		return named[0]
	}
}

// Output lays out the change of an output value. The first line is about the output, the others are about what is in it.
func Output(o plumbline.OutputChange) []Line {
	name := shortName("output." + o.Name)
	head := Line{Sign: o.Action.Sign(), Text: name}
	lf := leaf{before: o.Before, after: o.After, sensitive: o.Sensitive, unknown: o.Unknown}
	l := &layout{mode: modeUpdate, max: maxLines - 2}
	before, after := parseJSON(o.Before), parseJSON(o.After).withUnknown()
	lf.after = partlyKnown(o.After)
	isNew, isGone := !before.isContainer() && lf.absentBefore(), !after.isContainer() && lf.absentAfter()
	switch {
	case o.Sensitive || o.Unknown || o.Action == plumbline.ActionDelete:
	case before.isContainer() && after.isContainer() && before.kind == after.kind && before.key != after.key,
		after.isContainer() && isNew && len(o.After) > maxText/2,
		before.isContainer() && isGone && len(o.Before) > maxText/2:
		if isNew {
			before = nil
			l.max = maxNewLines
		}
		if isGone {
			after = nil
			l.max = maxNewLines
		}
		body, bracket := l.document(before, after), "{}"
		if before.or(after).kind == '[' {
			bracket = "[]"
		}
		head.Text += " " + bracket[:1]
		return slices.Concat([]Line{head}, body, []Line{{Sign: " ", Text: bracket[1:]}})
	}
	if o.Action == plumbline.ActionDelete {
		l.mode = modeDelete
	}
	v := l.value(lf, comesAndGoes)
	if v.text != "" {
		head.Text += " = " + v.text
	}
	head.Note = v.note
	out := append([]Line{head}, v.body...)
	if v.end != "" {
		out = append(out, Line{Sign: " ", Text: v.end})
	}
	return out
}

// partlyKnown is the value of an output as it is shown on one line, where parts of it are not known.
func partlyKnown(v string) string {
	if !strings.Contains(v, knownAfterApply) {
		return v
	}
	if d := parseJSON(v); d != nil {
		if known := d.withUnknown(); known.key != d.key {
			return known.spaced()
		}
	}
	return v
}
