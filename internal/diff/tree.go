package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// side tells whether something is wholly new or goes away wholly.
type side int

const (
	comesAndGoes side = iota // neither: parts of it change
	goes
	comes
)

// leaf is a value that changes. Before and after are as in [plumbline.Attribute].
type leaf struct {
	before, after string
	sensitive     bool
	unknown       bool
	forces        bool
	exact         bool // null is a value like others; without it, it is as good as nothing
}

func leafOf(a plumbline.Attribute) leaf {
	return leaf{before: a.Before, after: a.After, sensitive: a.Sensitive, unknown: a.Unknown, forces: a.Forces}
}

func (l leaf) absentBefore() bool { return l.before == "" || !l.exact && l.before == "null" }

func (l leaf) absentAfter() bool {
	return !l.unknown && (l.after == "" || !l.exact && l.after == "null")
}

// isEmpty reports whether an empty list or object comes or goes.
func (l leaf) isEmpty() bool {
	switch v := l.before + l.after; v {
	case "[]", "{}", "null":
		return !l.unknown && !l.forces
	default:
		return false
	}
}

// saysNothing reports whether a value that goes away is one that very many things have.
func (l leaf) saysNothing() bool {
	switch l.before {
	case "", "[]", "{}", "null", `""`, "false":
		return !l.forces
	default:
		return false
	}
}

// isMasked reports whether something sensitive was taken out of a value.
func isMasked(value string) bool { return strings.Contains(value, plumbline.Masked) }

// node is a place in a resource, or in a document, at or below which something changes.
type node struct {
	step   step
	side   side // set where what is new or gone begins; what is below it is as new or as gone
	kids   []*node
	leaves []leaf // usually one or none
	hint   string // what the place can be recognised by

	index map[nodeKey]*node // of kids, while attributes are added

	// What is at and below it, after measure.
	size, forcing, unknown, empty int
}

type nodeKey struct {
	name  string
	index int
	kind  stepKind
	side  side
}

// add puts an attribute where it belongs. Elements of a list that came and that went stand beside each other, whatever their index.
func (n *node) add(a plumbline.Attribute) {
	whole := sideOf(a)
	for _, s := range split(a.Path) {
		at := comesAndGoes
		if s.end == a.Whole {
			at = whole
		}
		n = n.kid(s, at)
	}
	n.leaves = append(n.leaves, leafOf(a))
}

// sideOf tells on which side of a list, or of what else comes or goes as a whole, an attribute is.
func sideOf(a plumbline.Attribute) side {
	switch {
	case a.Whole <= 0:
		return comesAndGoes
	case a.Before == "":
		return comes
	case a.After == "" && !a.Unknown:
		return goes
	default:
		return comesAndGoes
	}
}

// tellApart are attributes by which people tell elements of a list from each other, the best first.
var tellApart = []string{"id", "name", "key", "description", "from_port", "port", "priority"}

// hints tells elements of which something else is shown by attributes that are listed and stand elsewhere: in the line of what is known after
// apply. What has not changed is not listed, so it cannot tell anything.
func (n *node) hints(list []plumbline.Attribute) {
	best := map[*node]int{}
	for _, a := range list {
		if !a.Unknown || a.Sensitive || a.Whole > 0 || len(a.Before) > maxNameWidth || isMasked(a.Before) || leafOf(a).saysNothing() || !plumbline.IsJSON(a.Before) {
			continue
		}
		steps := split(a.Path)
		last := len(steps) - 1
		if last < 1 || steps[last-1].kind != element || steps[last].kind != member {
			continue
		}
		rank := slices.Index(tellApart, steps[last].name)
		at := n.find(steps[:last])
		if rank < 0 || at == nil || at.find(steps[last:]) != nil {
			continue
		}
		if before, ok := best[at]; !ok || rank < before {
			best[at], at.hint = rank, steps[last].name+" "+oneLine(a.Before, maxNameWidth)
		}
	}
}

// beside tells elements of lists by what has not changed in them.
func (n *node) beside(list []plumbline.Attribute) {
	for _, a := range list {
		if a.Beside == "" {
			continue
		}
		steps := split(a.Path)
		for i := len(steps) - 2; i >= 0; i-- {
			if steps[i].kind != element || steps[i+1].kind != member {
				continue
			}
			if at := n.find(steps[:i+1]); at != nil && at.hint == "" {
				at.hint = Clean(a.Beside)
			}
			break
		}
	}
}

// find returns the place of a path in which nothing comes or goes as a whole, nil if nothing changes there.
func (n *node) find(steps []step) *node {
	for _, s := range steps {
		if n = n.index[nodeKey{s.name, s.index, s.kind, comesAndGoes}]; n == nil {
			return nil
		}
	}
	return n
}

func (n *node) kid(s step, at side) *node {
	key := nodeKey{s.name, s.index, s.kind, at}
	if k := n.index[key]; k != nil {
		return k
	}
	k := &node{step: s, side: at}
	n.kids = append(n.kids, k)
	if n.index == nil {
		n.index = map[nodeKey]*node{}
	}
	n.index[key] = k
	return k
}

// measure counts what is in each node.
func (n *node) measure() {
	n.size, n.forcing, n.unknown, n.empty = len(n.leaves), 0, 0, 0
	for _, lf := range n.leaves {
		if lf.forces {
			n.forcing++
		}
		if lf.unknown {
			n.unknown++
		}
		if lf.saysNothing() {
			n.empty++
		}
	}
	for _, k := range n.kids {
		k.measure()
		n.size += k.size
		n.forcing += k.forcing
		n.unknown += k.unknown
		n.empty += k.empty
	}
}

// content appends all that is in n. It reports false when that may be different although it looks the same.
func (n *node) content(dst []byte) ([]byte, bool) {
	for _, lf := range n.leaves {
		if lf.unknown || lf.sensitive || isMasked(lf.before) || isMasked(lf.after) {
			return nil, false
		}
		dst = fmt.Appendf(dst, "=%q%q%t", lf.before, lf.after, lf.forces)
	}
	for _, k := range n.kids {
		dst = fmt.Appendf(dst, "%d%q%d/%d{", k.step.kind, k.step.name, k.step.index, k.side)
		var ok bool
		if dst, ok = k.content(dst); !ok {
			return nil, false
		}
		dst = append(dst, '}')
	}
	return dst, true
}

// isList reports whether all that is below n are elements.
func (n *node) isList() bool {
	for _, k := range n.kids {
		if k.step.kind != element {
			return false
		}
	}
	return len(n.kids) > 0
}
