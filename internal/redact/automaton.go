package redact

import "slices"

// denseStates bounds the memory of the transition table: 1 KiB for each of that many states.
const denseStates = 1024

const root int32 = 0

// automaton finds all occurrences of a set of patterns in one pass over a text, in time linear in its length (Aho,
// Corasick: "Efficient string matching", 1975). A state stands for the longest suffix of the text read so far that
// begins some pattern. States are numbered breadth first, so the children of a state are neighbours, and the shallow
// states, in which ordinary text spends its time, come first: those have a row each in a table of transitions. Only
// for the deep ones is the chain of failure links walked, which keeps the size proportional to the patterns.
type automaton struct {
	nodes []node
	label []byte  // label[s] is the byte that leads to s from its parent
	table []int32 // table[s<<8|c] is the state after s and c, for the first denseStates states
}

type node struct {
	fail  int32 // the state of the longest proper suffix
	first int32 // the first child
	kids  int32 // how many children
	depth int32 // length of the prefix this state stands for
	out   int32 // length of the longest pattern that ends here, 0 for none
}

// newAutomaton builds the automaton for patterns, none of them empty. It sorts patterns.
func newAutomaton(patterns []string) *automaton {
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	a := &automaton{nodes: []node{{}}, label: []byte{0}}
	a.grow(patterns)
	a.link()
	return a
}

// grow lays out the tree of prefixes. The patterns that share a state's prefix are neighbours in sorted order, so
// that a state is a range of patterns, and its children are the runs of equal next bytes in it.
func (a *automaton) grow(patterns []string) {
	ranges := []span{{0, len(patterns)}}
	for s := 0; s < len(a.nodes); s++ {
		lo, hi := ranges[s].start, ranges[s].end
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
			a.label = append(a.label, c)
			ranges = append(ranges, span{lo, end})
			a.nodes[s].kids++
			lo = end
		}
	}
}

// link sets the failure links, what ends at each state, and the table. A state's link leads to a shallower state,
// which the order of the states has completed before.
func (a *automaton) link() {
	dense := min(len(a.nodes), denseStates)
	a.table = make([]int32, 0, dense<<8)
	for s := range a.nodes {
		n := &a.nodes[s]
		if n.out == 0 {
			n.out = a.nodes[n.fail].out
		}
		if s < dense {
			row := make([]int32, 256) // the root's own: everything unknown leads back to it
			if s > 0 {
				copy(row, a.table[int(n.fail)<<8:])
			}
			for k := n.first; k < n.first+n.kids; k++ {
				row[a.label[k]] = k
			}
			a.table = append(a.table, row...)
		}
		if s == 0 {
			continue // the children of the root fail to the root
		}
		for k := n.first; k < n.first+n.kids; k++ {
			a.nodes[k].fail = a.next(n.fail, a.label[k])
		}
	}
}

// next returns the state after state s and byte c.
func (a *automaton) next(s int32, c byte) int32 {
	for {
		if at := int(s)<<8 | int(c); at < len(a.table) {
			return a.table[at]
		}
		n := &a.nodes[s]
		for k := n.first; k < n.first+n.kids; k++ {
			if a.label[k] == c {
				return k
			}
		}
		s = n.fail
	}
}
