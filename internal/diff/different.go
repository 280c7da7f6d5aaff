package diff

import (
	"cmp"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// fact is something other than an attribute in which two changes of a resource differ.
type fact struct{ name, was, is string }

func facts(approved, now plumbline.Change) []fact {
	all := []fact{
		{"action", approved.Action.Verb(), now.Action.Verb()},
		{"replaced because of", strings.Join(approved.ReplacePaths, ", "), strings.Join(now.ReplacePaths, ", ")},
		{"reason", remark(approved), remark(now)},
		{"moved from", approved.Previous, now.Previous},
		{"imported", approved.Importing, now.Importing},
		{"provider", approved.Provider, now.Provider},
		{"deposed object", approved.Deposed, now.Deposed},
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.was == f.is })
}

// remark is the reason of a change, in words where there are any.
func remark(c plumbline.Change) string {
	return cmp.Or(plumbline.Change{Reason: c.Reason}.Remark(), c.Reason)
}

func different(approved, now plumbline.Change) []Line {
	out := []Line{{Sign: now.Action.Sign(), Text: shortName(now.Address), Note: remarks(differentNote, cut(now.Remark(), 2*maxText))}}
	both := func(name, was, is, note string) []Line {
		return []Line{
			{Sign: "~", Depth: 1, Text: name},
			{Sign: "-", Depth: 2, Text: approvedText + was},
			{Sign: "+", Depth: 2, Text: nowText + is, Note: note},
		}
	}
	for _, f := range facts(approved, now) {
		out = append(out, both(f.name, cmp.Or(cut(f.was, maxText), "nothing"), cmp.Or(cut(f.is, maxText), "nothing"), "")...)
	}
	left := omittedOfBoth(approved.Omitted, now.Omitted)
	diffs := attributeDiffs(approved.Attributes, now.Attributes)
	for i, d := range diffs {
		lines := d.lines(both)
		if len(out)+len(lines)+len(left) > maxEntryLines-1 {
			out = append(out, Line{Sign: " ", Depth: 1, Text: "… " + quantity(len(diffs)-i, "more attribute") + " not as approved"})
			break
		}
		out = append(out, lines...)
	}
	return append(out, left...)
}

// omittedOfBoth says how many attributes the approved plan and the new one do not keep.
func omittedOfBoth(was, is int) []Line {
	if was+is == 0 {
		return nil
	}
	return []Line{{Sign: " ", Depth: 1, Text: "details left out: " + quantity(was, "attribute") + " in the approved plan, " + thousands(is) + " now"}}
}

// attributeDiff is an attribute that two changes of a resource have differently; one of the two may be nil.
type attributeDiff struct{ was, is *plumbline.Attribute }

// attributeKey tells attributes apart. An element that comes can have the index of one that goes.
type attributeKey struct {
	path string
	side side
	n    int // of those that are the same otherwise
}

func attributeDiffs(approved, now []plumbline.Attribute) []attributeDiff {
	keyed := func(list []plumbline.Attribute) func(int) attributeKey {
		seen := map[attributeKey]int{}
		return func(i int) attributeKey {
			k := attributeKey{path: list[i].Path, side: sideOf(list[i])}
			seen[k]++
			return attributeKey{k.path, k.side, seen[k]}
		}
	}
	old := make(map[attributeKey]*plumbline.Attribute, len(approved))
	key := keyed(approved)
	for i := range approved {
		old[key(i)] = &approved[i]
	}
	var out []attributeDiff
	key = keyed(now)
	for i := range now {
		k := key(i)
		was := old[k]
		delete(old, k)
		if was == nil || !sameAttribute(*was, now[i]) {
			out = append(out, attributeDiff{was, &now[i]})
		}
	}
	key = keyed(approved)
	for i := range approved {
		if old[key(i)] != nil {
			out = append(out, attributeDiff{was: &approved[i]})
		}
	}
	return out
}

func sameAttribute(a, b plumbline.Attribute) bool {
	a.Whole, b.Whole = 0, 0 // follows from what is around it
	return a == b
}

// lines are those of one attribute.
func (d attributeDiff) lines(both func(name, was, is, note string) []Line) []Line {
	const nothing = "not changed"
	l := &layout{mode: modeUpdate}
	switch {
	case d.was == nil:
		return both(shortName(d.is.Path), nothing, onLine(*d.is), forcesRemark(d.is.Forces))
	case d.is == nil:
		return both(shortName(d.was.Path), onLine(*d.was), nothing, "")
	}
	note := forcesRemark(d.is.Forces && !d.was.Forces)
	if d.was.Forces && !d.is.Forces {
		note = "does not force replacement any more"
	}
	if d.was.Before != d.is.Before {
		note = remarks(staleNote, note)
	} else if was, ok := unquote(d.was.After); ok {
		if is, ok := unquote(d.is.After); ok && was != is {
			// What the two plans lead to, compared: nobody finds a word in two long texts.
			if v := l.texts(was, is); v.body != nil {
				out := []Line{{Sign: "~", Depth: 1, Text: shortName(d.is.Path) + " = " + v.text, Note: remarks("approved -> now", note)}}
				for _, b := range v.body {
					b.Depth++
					out = append(out, b)
				}
				return fit(append(out, Line{Sign: " ", Depth: 1, Text: v.end}))
			}
		}
	}
	return both(shortName(d.is.Path), onLine(*d.was), onLine(*d.is), note)
}

// fit shortens the lines of one attribute to half of what its resource may have.
func fit(lines []Line) []Line {
	over := len(lines) - maxEntryLines/2
	if over <= 0 {
		return lines
	}
	end := lines[len(lines)-1]
	kept := lines[:maxEntryLines/2-2]
	return append(kept, Line{Sign: " ", Depth: end.Depth + 1, Text: "… " + quantity(over+1, "more line")}, end)
}

func forcesRemark(forces bool) string {
	if forces {
		return forcesNote
	}
	return ""
}

// onLine is what happens to an attribute, on one line.
func onLine(a plumbline.Attribute) string {
	before, after := oneLine(a.Before, maxText/2), oneLine(a.After, maxText/2)
	switch was, is := isText(a.Before), isText(a.After); {
	case a.Unknown:
		after = knownAfterApply
	case a.Before == plumbline.Masked && a.After == plumbline.Masked:
		return plumbline.Masked + ", changed"
	case was != "" && is != "" && a.Before != a.After:
		return pair(was, is)
	}
	return before + " -> " + after
}

// isText is what a value holds if it is a string that is not empty.
func isText(v string) string {
	s, _ := unquote(v)
	return s
}

func differentOutput(was, is plumbline.OutputChange) []Line {
	asChange := func(o plumbline.OutputChange) plumbline.Attribute {
		return plumbline.Attribute{Before: o.Before, After: partlyKnown(o.After), Unknown: o.Unknown, Sensitive: o.Sensitive}
	}
	note := ""
	if was.Before != is.Before {
		note = staleNote
	}
	return []Line{
		{Sign: is.Action.Sign(), Text: shortName("output." + is.Name), Note: differentNote},
		{Sign: "-", Depth: 1, Text: approvedText + onLine(asChange(was))},
		{Sign: "+", Depth: 1, Text: nowText + onLine(asChange(is)), Note: note},
	}
}
