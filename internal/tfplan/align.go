package tfplan

import (
	"bytes"
	"hash/maphash"

	"github.com/go-json-experiment/json/jsontext"
	"znkr.io/diff"
)

// How far elements of lists are told by what they hold; beyond it by their indexes, so that no list costs much more than its size.
const (
	maxAligned  = 20_000  // elements that are not at the ends which both lists have in common
	maxCompared = 32 * 32 // comparisons of elements that were removed with elements that were added at one place
)

// pair is an element of a list before and after: its two indexes, of which one may be nowhere.
type pair struct{ before, after int }

const nowhere = -1

// align tells elements by what they hold. It returns nil when that is the same as telling them by their indexes.
//
// What is spelled alike on both sides, in the same order, is the same element (one program has spelled both). Between those, what
// was removed at a place is paired with what was added there:
//   - one with one, if they are of one kind or the new one is not known yet;
//   - of more, objects with objects and arrays with arrays, in order and so that the pairs have most in common (see similar);
//   - no objects that differ in much and have little in common (a rule for another port from elsewhere is another rule), or nothing and
//     different names; unless they are all there is;
//   - no other scalars: three names that are others now are three removed and three added.
func (w *walker) align(before, after, unknown [][]byte) []pair {
	n, m := len(before), max(len(after), len(unknown))
	head, tail := 0, 0
	for head < min(n, m) && bytes.Equal(before[head], at(after, head)) {
		head++
	}
	for tail < min(n, m)-head && bytes.Equal(before[n-1-tail], at(after, m-1-tail)) {
		tail++
	}
	removed, added := n-head-tail, m-head-tail
	switch {
	case removed == 1 && added == 1 && (n == 1 && m == 1 || w.alike(before[head], at(after, head), at(unknown, head))), // one has changed
		tail == 0 && (removed == 0 || added == 0), // the end has
		removed+added > maxAligned:
		return nil
	}
	x, y := sums(before, head, removed), sums(after, head, added)
	g := gap{w: w, before: before, after: after, unknown: unknown}
	if removed == added && !inCommon(x, y) && g.inPlace(head, head+removed) {
		return nil
	}
	g.pairs = make([]pair, 0, max(n, m))
	for i := range head {
		g.pairs = append(g.pairs, pair{i, i})
	}
	g.start(head, head)
	for _, e := range diff.Edits(x, y) {
		switch e.Op {
		case diff.Delete:
			g.removed++
		case diff.Insert:
			g.added++
		case diff.Match:
			g.close()
			g.pairs = append(g.pairs, pair{head + e.PosX, head + e.PosY})
			g.start(head+e.PosX+1, head+e.PosY+1)
		}
	}
	g.close()
	for i := range tail {
		g.pairs = append(g.pairs, pair{n - tail + i, m - tail + i})
	}
	return g.pairs
}

var seed = maphash.MakeSeed()

// sums stands for what n elements hold. Should two that differ ever have one sum, they are taken for a pair that has changed.
func sums(elements [][]byte, from, n int) []uint64 {
	s := make([]uint64, n)
	for i := range s {
		s[i] = maphash.Bytes(seed, at(elements, from+i))
	}
	return s
}

// inCommon reports whether short lists have an element in common; of long ones it says that they have.
func inCommon(x, y []uint64) bool {
	if len(x) > 16 {
		return true
	}
	for _, a := range x {
		for _, b := range y {
			if a == b {
				return true
			}
		}
	}
	return false
}

// gap is a place in two lists between elements that are the same: what was removed there, and what was added.
type gap struct {
	w                      *walker
	before, after, unknown [][]byte
	pairs                  []pair // the result

	firstRemoved, removed int
	firstAdded, added     int
}

func (g *gap) start(before, after int) {
	g.firstRemoved, g.removed, g.firstAdded, g.added = before, 0, after, 0
}

// inPlace reports whether the elements from one index up to another all resemble what is at their index on the other side.
func (g *gap) inPlace(from, to int) bool {
	for i := from; i < to; i++ {
		if s, ok := g.similar(i, i); !ok || s < 0.5 {
			return false
		}
	}
	return true
}

// close pairs what is in the gap.
func (g *gap) close() {
	switch {
	case g.removed == 0 || g.added == 0:
		g.single(g.removed, g.added)
	case g.removed == 1 && g.added == 1:
		b, a := g.before[g.firstRemoved], at(g.after, g.firstAdded)
		if g.w.alike(b, a, at(g.unknown, g.firstAdded)) {
			g.both()
		}
		g.single(g.removed, g.added)
	case g.removed*g.added > maxCompared:
		for g.removed > 0 && g.added > 0 {
			if _, ok := g.similar(g.firstRemoved, g.firstAdded); !ok {
				g.single(1, 1)
				continue
			}
			g.both()
		}
		g.single(g.removed, g.added)
	default:
		g.best()
	}
}

// both makes a pair of the first that was removed and the first that was added.
func (g *gap) both() {
	g.pairs = append(g.pairs, pair{g.firstRemoved, g.firstAdded})
	g.shrink(1, 1)
}

// single has the first few that were removed or added stay alone.
func (g *gap) single(removed, added int) {
	for i := range removed {
		g.pairs = append(g.pairs, pair{g.firstRemoved + i, nowhere})
	}
	for i := range added {
		g.pairs = append(g.pairs, pair{nowhere, g.firstAdded + i})
	}
	g.shrink(removed, added)
}

// shrink takes the first few out of the gap.
func (g *gap) shrink(removed, added int) {
	g.firstRemoved, g.removed = g.firstRemoved+removed, g.removed-removed
	g.firstAdded, g.added = g.firstAdded+added, g.added-added
}

// best pairs so that the pairs have most in common in total.
func (g *gap) best() {
	rows, columns := g.removed, g.added
	width := columns + 1
	scores := make([]float64, (rows+1)*width) // the most that can be had from the rest of both
	pairs := make([]float64, rows*columns)
	for i := rows - 1; i >= 0; i-- {
		for j := columns - 1; j >= 0; j-- {
			s, ok := g.similar(g.firstRemoved+i, g.firstAdded+j)
			most := max(scores[(i+1)*width+j], scores[i*width+j+1])
			if ok {
				s = max(s, 1e-6) // a pair is better than none
				most = max(most, s+scores[(i+1)*width+j+1])
				pairs[i*columns+j] = s
			}
			scores[i*width+j] = most
		}
	}
	for i, j := 0, 0; i < rows && j < columns; {
		score := scores[i*width+j]
		switch s := pairs[i*columns+j]; {
		case s > 0 && score == s+scores[(i+1)*width+j+1]:
			g.both()
			i, j = i+1, j+1
		case score == scores[(i+1)*width+j]:
			g.single(1, 0)
			i++
		default:
			g.single(0, 1)
			j++
		}
	}
	g.single(g.removed, g.added)
}

// similar tells how much two elements have in common, from 0 to 1, and whether they can be a pair at all. Of objects it is the share
// of the members that are spelled alike; one called id, key or name counts for three, one that says nothing (null,
// false, or empty on both sides) or is not known yet for none. Of arrays it is the share of their elements at the same index.
// Objects cannot be a pair that differ in three members or more and have less than a third in common, or that have nothing in common
// and different names.
func (g *gap) similar(before, after int) (share float64, ok bool) {
	b, a, u := g.before[before], at(g.after, after), at(g.unknown, after)
	kind := kindOf(b)
	switch {
	case isTrue(u):
		return 0, true
	case kind != kindOf(a) || !isContainer(kind):
		return 0, false
	case kind == array:
		return g.w.similarArrays(b, a), true
	default:
		return g.w.similarObjects(b, a, u)
	}
}

// alike reports whether two elements that are all there is at a place are one that has changed.
func (w *walker) alike(before, after, unknown []byte) bool {
	kb, ka := kindOf(before), kindOf(after)
	switch {
	case isTrue(unknown):
		return true
	case kb == object && ka == object:
		_, ok := w.similarObjects(before, after, unknown)
		return ok
	}
	return kb == ka || isBool(kb) && isBool(ka)
}

func (w *walker) similarObjects(before, after, unknown []byte) (share float64, ok bool) {
	base := len(w.members)
	b, a, u := w.split(before), w.split(after), w.split(unknown)
	defer func() { w.members = w.members[:base] }()
	equal, all, different, named := 0, 0, 0, false
	for {
		name, ok := first(b, a)
		if !ok {
			break
		}
		x, y := take(&b, name), take(&a, name)
		if saysNothing(x) && saysNothing(y) || anyTrue(take(&u, name)) {
			continue
		}
		weight := 1
		switch string(name) {
		case "id", "key", "name":
			weight = 3
			named = named || !saysNothing(x) && !saysNothing(y)
		}
		all += weight
		if bytes.Equal(x, y) {
			equal += weight
		} else {
			different++
		}
	}
	share = float64(equal) / float64(max(all, 1))
	return share, (equal > 0 || !named) && (different < 3 || share >= 1.0/3)
}

func (w *walker) similarArrays(before, after []byte) float64 {
	base := len(w.elements)
	b, a := w.splitArray(before), w.splitArray(after)
	defer func() { w.elements = w.elements[:base] }()
	equal := 0
	for i := range min(len(b), len(a)) {
		if bytes.Equal(b[i], a[i]) {
			equal++
		}
	}
	return float64(equal) / float64(max(len(b), len(a), 1))
}

func isBool(k jsontext.Kind) bool { return k == jsontext.KindTrue || k == jsontext.KindFalse }

func saysNothing(v []byte) bool {
	switch k := kindOf(v); k {
	case absent, null, jsontext.KindFalse:
		return true
	case str:
		return len(v) == 2
	default:
		return isContainer(k) && isEmpty(v)
	}
}

// sides are the elements of a list on both sides, and of the masks over them.
type sides struct {
	before, after, unknown          [][]byte
	beforeSensitive, afterSensitive [][]byte
}

// marks returns what either mask marks at an index. The index is what the masks have in common with each other, so what one marks
// is hidden on the other side, too, wherever the two elements that stand there belong.
func (s sides) marks(i int) []byte {
	return union(at(s.beforeSensitive, i), at(s.afterSensitive, i))
}

// walkAligned lists the attributes in the elements of a list.
func (w *walker) walkAligned(pairs []pair, s sides) {
	here, recording, aligned := len(w.path), w.recording, w.aligned
	w.recording, w.aligned = false, true
	for _, p := range pairs {
		inner, index := place{}, p.after
		if p.after != nowhere {
			inner.after, inner.unknown = at(s.after, p.after), at(s.unknown, p.after)
			inner.afterSensitive = s.marks(p.after)
		} else {
			index = p.before
		}
		if p.before != nowhere {
			inner.before, inner.beforeSensitive = s.before[p.before], s.marks(p.before)
		}
		if p.before == p.after {
			inner.beforeSensitive, inner.afterSensitive = at(s.beforeSensitive, index), at(s.afterSensitive, index)
		}
		if inner.isPlain() && bytes.Equal(inner.before, inner.after) {
			continue
		}
		w.path = appendIndex(w.path, index)
		w.element(inner, p.before == nowhere || p.after == nowhere, len(pairs) > 1)
		w.path = w.path[:here]
	}
	w.recording, w.aligned = recording, aligned
}

// union returns a mask that marks what either of two marks.
func union(a, b []byte) []byte {
	switch {
	case isTrue(a) || !anyTrue(b) || bytes.Equal(a, b):
		return a
	case isTrue(b) || !anyTrue(a):
		return b
	case kindOf(a) != kindOf(b):
		return []byte("true") // not reached with one schema: hide all of it
	case kindOf(a) == array:
		x, y := appendElements(nil, a), appendElements(nil, b)
		out := []byte{'['}
		for i := range max(len(x), len(y)) {
			if i > 0 {
				out = append(out, comma)
			}
			out = appendMask(out, union(at(x, i), at(y, i)))
		}
		return append(out, ']')
	default:
		x, y := appendMembers(nil, a), appendMembers(nil, b)
		out := []byte{'{'}
		for name, ok := first(x, y); ok; name, ok = first(x, y) {
			if len(out) > 1 {
				out = append(out, comma)
			}
			out = append(appendQuoted(out, name), colon)
			out = appendMask(out, union(take(&x, name), take(&y, name)))
		}
		return append(out, '}')
	}
}

func appendMask(dst, mask []byte) []byte {
	if mask == nil {
		return append(dst, "false"...)
	}
	return append(dst, mask...)
}
