package diff

import (
	"slices"

	"znkr.io/diff"
)

// documents lays out two strings as what differs in the documents that they hold, if they do.
func (l *layout) documents(before, after string) (value, bool) {
	call := "jsonencode("
	b, a := parseJSON(before), parseJSON(after)
	isYAML := b == nil || a == nil
	if isYAML {
		if !hasLines(before) && !hasLines(after) {
			return value{}, false
		}
		call = "yamlencode("
		if b, a = parseYAMLs(before, after); b == nil || a == nil {
			return value{}, false
		}
	}
	switch {
	case b.kind != a.kind:
		return value{}, false
	case b.key == a.key && before == after:
		return value{}, false
	case b.key == a.key && isYAML:
		// What reads as YAML may be meant for a program that reads it in another way.
		return value{text: heredoc, body: lineDiff(before, after), end: heredocEnd, note: unlessMasked(yamlNote, before+after)}, true
	case b.key == a.key:
		return value{note: sameNote(before, after)}, true
	}
	sub := &layout{mode: modeUpdate, nested: l.nested + 1, max: maxValueLines}
	return value{text: call, body: sub.document(b, a), end: ")"}, true
}

// document lays out what differs between two documents, of which one may be nil.
func (l *layout) document(before, after *document) []Line {
	root := &node{}
	compare(root, before, after)
	root.measure()
	whole := comesAndGoes
	switch {
	case before == nil:
		whole = comes
	case after == nil:
		whole = goes
	}
	l.emit(l.children(root, whole), 1, false)
	if l.more > 0 {
		l.out = append(l.out, Line{Sign: " ", Depth: 1, Text: "… " + quantity(l.more, "more value")})
	}
	return l.out
}

// compare adds to n what differs between two documents, of which one may be nil.
func compare(n *node, before, after *document) {
	switch {
	case before == nil:
		n.all(after, comes)
	case after == nil:
		n.all(before, goes)
	case before.key == after.key:
	case before.kind == '{' && after.kind == '{':
		n.members(before, after)
	case before.kind == '[' && after.kind == '[':
		n.elements(before, after)
	default:
		n.leaves = append(n.leaves, leaf{before: before.json(), after: after.json(), exact: true})
	}
}

// all adds a document that is wholly new or gone.
func (n *node) all(d *document, s side) {
	if !d.isContainer() || len(d.items) == 0 {
		lf := leaf{before: d.json(), exact: true}
		if s == comes {
			lf.before, lf.after = "", lf.before
		}
		n.leaves = append(n.leaves, lf)
		return
	}
	for i, item := range d.items {
		n.below(d.at(i), comesAndGoes).all(item, s)
	}
}

// at is the step to an item.
func (d *document) at(i int) step {
	if d.kind == '{' {
		return step{name: d.names[i]}
	}
	return step{index: i, kind: element}
}

func (n *node) below(s step, whole side) *node {
	k := &node{step: s, side: whole}
	n.kids = append(n.kids, k)
	return k
}

func (n *node) members(before, after *document) {
	now := make(map[string]*document, len(after.items))
	for i, name := range after.names {
		now[name] = after.items[i]
	}
	was := make(map[string]bool, len(before.items))
	for i, name := range before.names {
		was[name] = true
		switch item := now[name]; {
		case item == nil:
			n.below(before.at(i), goes).all(before.items[i], goes)
		case item.key != before.items[i].key:
			compare(n.below(before.at(i), comesAndGoes), before.items[i], item)
		}
	}
	for i, name := range after.names {
		if !was[name] {
			n.below(after.at(i), comes).all(after.items[i], comes)
		}
	}
}

// elements aligns two lists by what they hold.
func (n *node) elements(before, after *document) {
	x, y := keys(before.items), keys(after.items)
	options := []diff.Option(nil)
	if len(x)+len(y) > manyLines {
		options = append(options, diff.Fast())
	}
	i, j := 0, 0 // the gap between two matches begins here
	gapX, gapY := 0, 0
	flush := func() {
		n.gap(before, after, i, i+gapX, j, j+gapY)
		i, j, gapX, gapY = i+gapX, j+gapY, 0, 0
	}
	for _, e := range diff.Edits(x, y, options...) {
		switch e.Op {
		case diff.Delete:
			gapX++
		case diff.Insert:
			gapY++
		default:
			flush()
			i, j = i+1, j+1
		}
	}
	flush()
}

func keys(items []*document) [][16]byte {
	out := make([][16]byte, len(items))
	for i, d := range items {
		out[i] = d.key
	}
	return out
}

// gap adds the elements before[i:iEnd], which are none of after[j:jEnd]. Some may be the same ones, changed.
func (n *node) gap(before, after *document, i, iEnd, j, jEnd int) {
	alone := iEnd-i == 1 && jEnd-j == 1
	search := (iEnd-i)*(jEnd-j) <= maxPairs
	for ; i < iEnd; i++ {
		old := before.items[i]
		found := -1
		if search {
			found = nearest(old, after.items[j:jEnd], alone)
		}
		if found < 0 {
			n.below(before.at(i), goes).all(old, goes)
			continue
		}
		for ; found > 0; found-- {
			n.came(after, j)
			j++
		}
		k := n.below(after.at(j), comesAndGoes)
		k.hint = hint(after.items[j])
		compare(k, old, after.items[j])
		j++
	}
	for ; j < jEnd; j++ {
		n.came(after, j)
	}
}

func (n *node) came(after *document, j int) {
	n.below(after.at(j), comes).all(after.items[j], comes)
}

// identities are the members by which people tell elements of a list from each other.
var identities = []string{"Sid", "sid", "id", "Id", "ID", "name", "Name", "key", "Key"}

// identity returns the name and the value of the first of them that d has.
func (d *document) identity() (name, is string) {
	if d.kind != '{' {
		return "", ""
	}
	for _, name := range identities {
		if i := slices.Index(d.names, name); i >= 0 && d.items[i].kind == '"' {
			return name, d.items[i].text
		}
	}
	return "", ""
}

// hint is what an element that changed is recognised by, where its index alone says little.
func hint(d *document) string {
	name, is := d.identity()
	if is == "" || len(is) > maxNameWidth {
		return ""
	}
	return name + " " + quote(is)
}

// nearest finds what became of an element of a list: the object with the same identity, else the one that has at least half of its members
// or, where one alone stands in for another, one of them and the same names. It returns -1 if there is none.
func nearest(old *document, among []*document, alone bool) int {
	if old.kind != '{' {
		return -1
	}
	name, is := old.identity()
	best, most := -1, 0
	for i, d := range among {
		if d.kind != '{' {
			continue
		}
		switch otherName, otherIs := d.identity(); {
		case name != "" && name == otherName && is == otherIs:
			return i
		case name != "" || otherName != "":
			continue
		}
		if same := old.inCommon(d); same > most && (2*same >= len(old.items) || alone && old.sameNames(d)) {
			best, most = i, same
		}
	}
	return best
}

// inCommon counts the members that are the same in both.
func (d *document) inCommon(other *document) int {
	items := make(map[string][16]byte, len(other.items))
	for i, name := range other.names {
		items[name] = other.items[i].key
	}
	n := 0
	for i, name := range d.names {
		if key, ok := items[name]; ok && key == d.items[i].key {
			n++
		}
	}
	return n
}

// sameNames reports whether the members of both have the same names.
func (d *document) sameNames(other *document) bool {
	return slices.Equal(slices.Sorted(slices.Values(d.names)), slices.Sorted(slices.Values(other.names)))
}
