package redact

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

const (
	// unitSize is how much text is looked at together for shapes, if there is no end of a line sooner.
	unitSize = 64 << 10
	// overlap is how much of a longer line is looked at twice, so that what is not longer is not cut.
	overlap = 8 << 10
	// maxRounds bounds how often a line is looked at again after something in it was masked.
	maxRounds = 8
)

// secrets returns everything to be masked in text: what is known to be secret there, and what looks so. Masking changes the text around, and so
// what it looks like: the result is such that the masked text has nothing more to mask.
func (m *Masker) secrets(text string, known []span) []span {
	all := join(append(slices.Clone(known), m.widen(text, m.shapes.find(text))...))
	for range maxRounds {
		if len(all) == 0 {
			break
		}
		again, where := m.apply(text, all)
		var more []span
		for _, s := range m.widen(again, m.shapes.find(again)) {
			more = append(more, original(s, where))
		}
		next := join(append(more, all...))
		if slices.Equal(next, all) {
			break
		}
		all = next
	}
	return all
}

// widen makes spans that cut into a mask cover all of it: half a mask would be masked again each time.
func (m *Masker) widen(text string, spans []span) []span {
	mask := m.built().mask
	for i := range spans {
		s := &spans[i]
		for at := max(0, s.start-len(mask)+1); ; {
			k := strings.Index(text[at:min(len(text), s.end+len(mask)-1)], mask)
			if k < 0 {
				break
			}
			at += k
			s.start, s.end = min(s.start, at), max(s.end, at+len(mask))
			at++
		}
	}
	return join(spans)
}

// original returns what s, a span of a masked text, was before the masks of where were put in. It cuts into none of them.
func original(s span, where []masked) span {
	place := func(i int, inside func(masked) bool, to func(masked) int) int {
		grown := 0
		for _, w := range where {
			if inside(w) {
				return to(w)
			}
			if w.at.end <= i {
				grown = w.original.end - w.at.end
			}
		}
		return i + grown
	}
	return span{
		place(s.start, func(w masked) bool { return w.at.start <= s.start && s.start < w.at.end }, func(w masked) int { return w.original.start }),
		place(s.end, func(w masked) bool { return w.at.start < s.end && s.end <= w.at.end }, func(w masked) int { return w.original.end }),
	}
}

// lines looks for shapes in every unit of buf[:ready] that is complete: a line, or a piece of a very long one. Before ready, all known secrets
// have been found. It returns where the last of those units ends, having added what it found to the hits. With final, the text ends at ready.
//
// What is a unit depends on nothing but the text from where the first of them began, so that the result does not depend on how the text came.
func (w *Writer) lines(ready int, final bool) int {
	if !final && ready < unitSize && bytes.IndexByte(w.buf[w.seen:ready], '\n') < 0 {
		w.seen = ready
		return 0
	}
	var found []span
	pos := 0
	for pos < ready {
		end, key, ok := w.unit(pos, ready, final)
		if !ok {
			break
		}
		var spans []span
		if w.key != nil || suspicious(w.m.shapes, w.buf[pos:end]) {
			spans = w.look(pos, end)
		}
		if end-pos == unitSize && w.buf[end-1] != '\n' {
			cut := end - overlap
			for _, s := range spans {
				if s.start < cut && s.end > cut {
					cut = s.end
				}
			}
			if cut < end {
				key = nil // what begins behind the cut is looked at again
			}
			end = cut
		}
		for _, s := range spans {
			if s.start < end {
				found = append(found, s)
			}
		}
		w.key, pos = key, end
	}
	if len(found) > 0 {
		w.hits = join(append(w.hits, found...))
	}
	w.seen = ready - pos
	return pos
}

// look returns what is secret in buf[pos:end], a unit.
func (w *Writer) look(pos, end int) []span {
	text := string(w.buf[pos:end])
	var known []span
	for k := w.hitAfter(pos); k < len(w.hits) && w.hits[k].start < end; k++ {
		known = append(known, span{max(w.hits[k].start, pos) - pos, min(w.hits[k].end, end) - pos})
	}
	if w.key != nil {
		if n := w.key.rest(text); n > 0 {
			known = join(append(known, span{0, n}))
		}
	}
	spans := w.m.secrets(text, known)
	for i := range spans {
		spans[i].start += pos
		spans[i].end += pos
	}
	return spans
}

// unit returns where the unit ends that begins at pos. A line that begins a private key goes on as long as the key does; if the unit ends sooner,
// key says where in it.
func (w *Writer) unit(pos, ready int, final bool) (end int, key *keyLines, ok bool) {
	limit := min(ready, pos+unitSize)
	last := final || limit == pos+unitSize // whether buf[:limit] is all there is to decide by
	line := func(i int) int {
		if end := w.newline(i, limit); end >= 0 || !last {
			return end
		}
		return limit
	}
	end = pos
	if w.key != nil {
		k := *w.key
		key = &k
	}
	for {
		next := line(end)
		if next < 0 {
			return 0, nil, false
		}
		if next == end {
			return end, key, true
		}
		text := w.buf[end:next]
		if key != nil {
			if _, ok := key.end(string(text)); ok {
				key = nil
			} else if key.next(string(text)) {
				end = next
				continue
			} else if end > pos && !pemStart().Match(text) { // which would be the last line of what is left of a key
				return end, nil, true
			}
		}
		end = next
		if key = openKey(text); key == nil {
			return end, nil, true
		}
	}
}

// newline returns what follows the first end of a line in buf[pos:limit] that is no part of a secret, or -1.
func (w *Writer) newline(pos, limit int) int {
	for i := pos; i < limit; i++ {
		k := bytes.IndexByte(w.buf[i:limit], '\n')
		if k < 0 {
			break
		}
		i += k
		if h := w.hitAfter(i); h == len(w.hits) || w.hits[h].start > i {
			return i + 1
		}
	}
	return -1
}

// hitAfter returns the index of the first hit that ends after i.
func (w *Writer) hitAfter(i int) int {
	h, _ := slices.BinarySearchFunc(w.hits, i, func(h span, i int) int { return cmp.Compare(h.end, i+1) })
	return h
}
