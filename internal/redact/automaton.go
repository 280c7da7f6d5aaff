package redact

import "slices"

// tableSize bounds the memory of the transition table, in bytes.
const tableSize = 1 << 20

const root int32 = 0

// automaton finds all occurrences of a set of patterns in one pass over a text, in time linear in its length (Aho,
// Corasick: "Efficient string matching", 1975). A state stands for the longest suffix of the text read so far that
// begins some pattern. States are numbered breadth first, so the children of a state are neighbours, and the shallow
// states, in which ordinary text spends its time, come first: those have a row each in a table of transitions. Only
// for the deep ones is the chain of failure links walked, which keeps the size proportional to the patterns. Bytes
// that no pattern tells apart are one class, so that a row is as short as the patterns' alphabet.
type automaton struct {
	class [256]uint8
	shift uint // a row of the table has 1<<shift entries
	nodes []node
	label []uint8 // label[s] is the class that leads to s from its parent
	table []int32 // table[s<<shift|class] is the state after s and a byte of the class, for the first states
}

type node struct {
	fail  int32 // the state of the longest proper suffix
	first int32 // the first child
	kids  int32 // how many children
	depth int32 // length of the prefix this state stands for
	out   int32 // length of the longest pattern that ends here, 0 for none
}

// newAutomaton builds the automaton for patterns, none of them empty. It sorts patterns. With fold it takes a capital
// ASCII letter in the text for its small one; the patterns must have small ones only.
func newAutomaton(patterns []string, fold bool) *automaton {
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	states := 1 + countPrefixes(patterns)
	a := &automaton{nodes: make([]node, 1, states), label: make([]uint8, 1, states)}
	a.classify(patterns, fold)
	a.grow(patterns)
	a.link()
	return a
}

// countPrefixes returns how many different ones sorted patterns begin with: each has those that it does not share with the one before.
func countPrefixes(patterns []string) int {
	n, before := 0, ""
	for _, p := range patterns {
		k := 0
		for k < min(len(p), len(before)) && p[k] == before[k] {
			k++
		}
		n += len(p) - k
		before = p
	}
	return n
}

// classify numbers the bytes that occur in patterns, in ascending order. All others share class 0.
func (a *automaton) classify(patterns []string, fold bool) {
	var used [256]bool
	for _, p := range patterns {
		for i := range len(p) {
			used[p[i]] = true
		}
	}
	classes := 1
	if !slices.Contains(used[:], false) {
		classes = 0 // there are no others
	}
	for c := range 256 {
		if used[c] {
			a.class[c] = uint8(classes)
			classes++
		}
	}
	if fold {
		for c := 'A'; c <= 'Z'; c++ {
			a.class[c] = a.class[c-'A'+'a']
		}
	}
	for 1<<a.shift < classes {
		a.shift++
	}
}

// grow lays out the tree of prefixes. The patterns that share a state's prefix are neighbours in sorted order, so
// that a state is a range of patterns, and its children are the runs of equal next bytes in it.
func (a *automaton) grow(patterns []string) {
	type few struct{ lo, hi int32 } // patterns[lo:hi]
	ranges := make([]few, 1, cap(a.nodes))
	ranges[0].hi = int32(len(patterns))
	for s := 0; s < len(a.nodes); s++ {
		lo, hi := ranges[s].lo, ranges[s].hi
		depth := int(a.nodes[s].depth)
		if lo < hi && len(patterns[lo]) == depth {
			a.nodes[s].out = int32(depth)
			lo++
		}
		a.nodes[s].first = int32(len(a.nodes))
		for lo < hi {
			c, end := patterns[lo][depth], lo+1
			for end < hi && patterns[end][depth] == c {
				end++
			}
			a.nodes = append(a.nodes, node{depth: int32(depth + 1)})
			a.label = append(a.label, a.class[c])
			ranges = append(ranges, few{lo, end})
			a.nodes[s].kids++
			lo = end
		}
	}
}

// link sets the failure links, what ends at each state, and the table. A state's link leads to a shallower state,
// which the order of the states has completed before.
func (a *automaton) link() {
	width := 1 << a.shift
	dense := min(len(a.nodes), max(1, tableSize/4/width))
	a.table = make([]int32, dense*width)
	for s := range a.nodes {
		n := &a.nodes[s]
		if n.out == 0 {
			n.out = a.nodes[n.fail].out
		}
		if s < dense {
			row := a.table[s*width : (s+1)*width]
			if s > 0 { // the root's own: everything unknown leads back to it
				copy(row, a.table[int(n.fail)*width:])
			}
			for k := n.first; k < n.first+n.kids; k++ {
				row[a.label[k]] = k
			}
		}
		if s == 0 {
			continue // the children of the root fail to the root
		}
		for k := n.first; k < n.first+n.kids; k++ {
			a.nodes[k].fail = a.after(n.fail, a.label[k])
		}
	}
}

// next returns the state after state s and byte c.
func (a *automaton) next(s int32, c byte) int32 { return a.after(s, a.class[c]) }

// after returns the state after state s and a byte of a class.
func (a *automaton) after(s int32, class uint8) int32 {
	for {
		if at := int(s)<<a.shift | int(class); at < len(a.table) {
			return a.table[at]
		}
		n := &a.nodes[s]
		for k := n.first; k < n.first+n.kids; k++ {
			if a.label[k] == class {
				return k
			}
		}
		s = n.fail
	}
}
