package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// layout turns a tree into lines.
type layout struct {
	mode    mode
	neutral bool     // signs say nothing: nothing is made or destroyed
	nested  int      // documents around it
	lost    []string // paths of what names the object that is replaced

	out  []Line
	max  int // lines
	open int // blocks whose end is still to come
	full bool
	told int // leaves that are shown
	more int // leaves that are not, because of max
}

// row is what takes one line of a block, or the first and the last line of a block of its own.
type row struct {
	label string
	side  side
	node  *node
	leaf  *leaf  // nil: a block, or a summary
	text  string // summary of all that is in node
	hint  string // what it is recognised by
}

func (r row) size() int {
	if r.leaf != nil {
		return 1
	}
	return r.node.size
}

// children are the rows in a block.
func (l *layout) children(n *node, s side) []row {
	var rows []row
	for _, k := range n.kids {
		rows = l.rows(rows, k, row{label: k.step.label(), side: s})
	}
	return rows
}

// rows appends the rows of n: the elements of a list stand beside each other with their index, and what has but one leaf is on one line. What
// is known of n already is in r.
func (l *layout) rows(dst []row, n *node, r row) []row {
	r.node = n
	if n.side != comesAndGoes {
		r.side = n.side
	}
	if n.hint != "" {
		r.hint = n.hint
	}
	for i := range n.leaves {
		r.leaf = &n.leaves[i]
		dst = append(dst, r)
	}
	r.leaf = nil
	if len(n.kids) == 0 {
		return dst
	}
	below := n.size - len(n.leaves)
	whole := r.side != comesAndGoes || l.mode == modeCreate || l.mode == modeDelete
	if r.text = summary(n); r.text != "" && whole {
		return append(dst, r)
	}
	r.text = ""
	if !n.isList() && (below > 1 || n.side != comesAndGoes) {
		return append(dst, r)
	}
	for _, k := range n.kids {
		inner := r
		inner.label = join(r.label, k.step)
		dst = l.rows(dst, k, inner)
	}
	return dst
}

// maxSummary is the length in bytes of what is put on one line because it is short.
const maxSummary = 80

// summary is all that is in n on one line: a list of scalars, or an object with one member, that are wholly new or gone. Empty if it is
// something else, or too long.
func summary(n *node) string {
	if len(n.leaves) > 0 || len(n.kids) > maxSummary/3 {
		return ""
	}
	list := n.isList()
	if !list && (len(n.kids) > 1 || n.side == comesAndGoes) {
		return ""
	}
	parts := make([]string, 0, len(n.kids))
	length := 0
	for i, k := range n.kids {
		if len(k.kids) > 0 || len(k.leaves) != 1 || list && k.step.index != i {
			return ""
		}
		lf := k.leaves[0]
		v := cmp.Or(lf.before, lf.after)
		if lf.unknown || lf.sensitive || lf.forces != (n.forcing > 0) || lf.before != "" && lf.after != "" || len(v) > maxSummary || k.hint != "" {
			return ""
		}
		text := oneLine(v, maxSummary)
		if strings.Contains(text, `\n`) {
			return ""
		}
		if !list {
			text = k.step.label() + " = " + text
		}
		parts = append(parts, text)
		if length += len(text) + 2; length > maxSummary {
			return ""
		}
	}
	if list {
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "{ " + parts[0] + " }"
}

// emit lays out the rows of one block. Forced is set where the block's own line says already that it forces a replacement.
func (l *layout) emit(rows []row, depth int, forced bool) {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(l.rank(a), l.rank(b)) })
	twins(rows)
	width := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r.label); n <= maxNameWidth && (r.leaf != nil || r.text != "") {
			width = max(width, n)
		}
	}
	for _, r := range rows {
		switch {
		case l.full:
			l.more += r.size()
		case r.leaf != nil || r.text != "":
			l.line(r, depth, width, forced)
		default:
			l.block(r, depth, forced)
		}
	}
}

// maxTwin is how much may be in a block that is compared with the blocks beside it.
const maxTwin = 100

// twins puts a block on one line when the same is in one above it: providers repeat all tags in tags_all.
func twins(rows []row) {
	above := map[string]string{}
	for i := range rows {
		r := &rows[i]
		if r.leaf != nil || r.text != "" || r.node.step.kind != member || r.node.size < 2 || r.node.size > maxTwin {
			continue
		}
		content, ok := r.node.content(nil)
		if !ok {
			continue
		}
		if label, ok := above[string(content)]; ok {
			r.text = "(same as " + label + ")"
			continue
		}
		above[string(content)] = shortName(r.label)
	}
}

// rank says what comes first.
func (l *layout) rank(r row) int {
	switch l.mode {
	case modeDelete:
		return recognition(r)
	case modeReplace:
		if r.leaf != nil && (r.leaf.forces || r.leaf.unknown && l.loses(r.label)) || r.leaf == nil && r.node.forcing > 0 {
			return 0
		}
	}
	if r.leaf != nil && r.leaf.unknown || r.leaf == nil && r.node.unknown == r.node.size {
		return 2
	}
	return 1
}

// names are the attributes by which people recognise a thing, the best first.
var names = []string{
	"id", "name", "arn", "identifier", "bucket", "domain_name", "domain", "fqdn", "cidr_block", "address", "endpoint", "title", "key", "path", "description",
}

// recognition ranks by how well people recognise a thing by an attribute. What is empty says the least.
func recognition(r row) int {
	label := strings.ToLower(r.label)
	switch {
	case r.leaf != nil && r.leaf.saysNothing() || r.leaf == nil && r.node.empty == r.node.size:
		return len(names) + 5
	case r.leaf != nil && slices.Contains(names, label):
		return slices.Index(names, label)
	case r.leaf != nil && (strings.HasSuffix(label, "_name") || strings.HasSuffix(label, "_identifier")):
		return len(names)
	case strings.HasPrefix(label, "tags"):
		return len(names) + 1
	case r.leaf != nil && len(r.leaf.before) <= maxDeleteText/2:
		return len(names) + 2
	case r.leaf != nil || r.text != "":
		return len(names) + 3
	default:
		return len(names) + 4
	}
}

// room reports whether n more lines fit.
func (l *layout) room(n int) bool { return len(l.out)+l.open+n < l.max }

func (l *layout) line(r row, depth, width int, forced bool) {
	v := value{text: r.text}
	var sign string
	forces := false
	if r.leaf != nil {
		v = l.value(*r.leaf, r.side)
		sign, forces = l.sign(*r.leaf, r.side), r.leaf.forces
	} else {
		sign, forces = l.blockSign(r), r.node.forcing > 0
	}
	n := 1 + len(v.body)
	if v.end != "" {
		n++
	}
	if !l.room(n) {
		l.full = true
		l.more += r.size()
		return
	}
	l.told += r.size()
	out := Line{Sign: sign, Depth: depth, Text: shortName(r.label), Note: v.note}
	if v.text != "" {
		out.Text = fmt.Sprintf("%-*s = %s", width, out.Text, v.text)
	}
	if forces && !forced {
		out.Note = remarks(out.Note, forcesNote)
	}
	out.Note = remarks(out.Note, r.hint)
	l.out = append(l.out, out)
	for _, b := range v.body {
		b.Depth += depth
		l.out = append(l.out, b)
	}
	if v.end != "" {
		l.out = append(l.out, Line{Sign: " ", Depth: depth, Text: v.end})
	}
}

func (l *layout) block(r row, depth int, forced bool) {
	if !l.room(3) {
		l.full = true
		l.more += r.size()
		return
	}
	out := Line{Sign: l.blockSign(r), Depth: depth, Text: shortName(r.label) + " {", Note: r.hint}
	if r.node.forcing == r.node.size && !forced {
		out.Note, forced = remarks(out.Note, forcesNote), true
	}
	l.out = append(l.out, out)
	l.open++
	l.emit(l.children(r.node, r.side), depth+1, forced)
	l.open--
	l.out = append(l.out, Line{Sign: " ", Depth: depth, Text: "}"})
}

func remarks(notes ...string) string {
	return strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), "; ")
}

// only is the sign, where signs say something.
func (l *layout) only(sign string) string {
	if l.neutral {
		return " "
	}
	return sign
}

func (l *layout) sign(lf leaf, s side) string {
	switch {
	case lf.absentBefore() && (s == comes || !lf.absentAfter() || l.mode == modeCreate):
		return l.only("+")
	case lf.absentAfter():
		return l.only("-")
	default:
		return "~"
	}
}

func (l *layout) blockSign(r row) string {
	switch {
	case r.side == comes || l.mode == modeCreate:
		return l.only("+")
	case r.side == goes || l.mode == modeDelete:
		return l.only("-")
	default:
		return "~"
	}
}
