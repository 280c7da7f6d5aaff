// Package redact masks secret values in text.
//
// A [Masker] knows a set of secrets. It finds each of them in the forms in which programs commonly print a value,
// whatever stands around it:
//
//   - as it is
//   - inside a JSON string, with or without the escaping of <, > & that Go adds for HTML
//   - escaped for a URL's query, path segment or password, with upper or lower case hexadecimal digits
//   - in base64 (standard or URL alphabet, padded or not), alone or anywhere inside a longer encoded text
//
// Not masked, because it cannot be done without harm or without end:
//
//   - a value shorter than [MinLen] bytes: masking "a" or "no" would destroy the text and hide nothing
//   - two encodings on top of each other, such as base64 of JSON, other encodings such as hexadecimal, and
//     escapes that JSON allows but Go does not write, such as \/ for a slash
//   - the one character at either end of a base64 form that also carries bits of the neighbouring text
//   - the blanks around a secret: they are not part of it, since files that hold secrets end in a newline
//   - a part of a secret; but each line of at least [MinLine] bytes of a secret with several lines is one of its own,
//     because programs indent or number the lines of a key that they print
package redact

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits below which a value is taken for ordinary text, in bytes without surrounding blanks.
const (
	MinLen  = 4 // of a secret
	MinLine = 8 // of a line of a secret that has several
)

// Mask stands in the place of a secret. A Masker whose secrets could be spelled with its help (a password that ends
// in an opening parenthesis, or the word itself) uses another short text of printable ASCII, safe in JSON and HTML.
const Mask = "(sensitive)"

// Masker masks one set of secrets. It never changes: it is safe for concurrent use, and costs nothing but memory,
// about 40 bytes for each byte of each form. Printing one shows no secret.
type Masker struct {
	values []string // what is masked, sorted, each once
	mask   string
	auto   *automaton
}

// New returns a Masker for the secrets. Values too short to be masked are passed over: compare with [MinLen] where a
// person should be told.
func New(secrets ...string) *Masker {
	var values []string
	for _, s := range secrets {
		values = append(values, split(s)...)
	}
	return newMasker(values)
}

// With returns a Masker for m's secrets plus these. It leaves m as it is.
func (m *Masker) With(secrets ...string) *Masker {
	values := slices.Clone(m.values)
	for _, s := range secrets {
		values = append(values, split(s)...)
	}
	return newMasker(values)
}

func newMasker(values []string) *Masker {
	slices.Sort(values)
	values = slices.Compact(values)
	var all []string
	for _, v := range values {
		all = append(all, forms(v)...)
	}
	return &Masker{values: values, mask: chooseMask(all), auto: newAutomaton(all)}
}

// String returns s with every secret replaced by the mask. Secrets that overlap or touch are replaced by one mask.
// The result contains no form of any secret. (The one exception needs secrets that begin or end in every printable
// character between them, so that each possible mask could complete one.)
func (m *Masker) String(s string) string {
	_, hits := scan(m.auto, s, root, 0, nil)
	if len(hits) == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	done := 0
	for _, h := range hits {
		b.WriteString(s[done:h.start])
		b.WriteString(m.mask)
		done = h.end
	}
	b.WriteString(s[done:])
	return b.String()
}

// Writer returns a [Writer] that masks what it passes on to w.
func (m *Masker) Writer(w io.Writer) *Writer { return &Writer{m: m, to: w} }

// Format keeps the secrets out of whatever prints a Masker or a struct that holds one.
func (m *Masker) Format(f fmt.State, _ rune) {
	// A fmt.State reports its errors through the Print function that made it.
	_, _ = fmt.Fprintf(f, "redact.Masker(%d values)", len(m.values))
}

// span is a stretch of text that some secret covers, [start, end).
type span struct{ start, end int }

// scan runs the automaton over text, which begins at offset at, starting in state s. It returns the state reached,
// hits joined with what was found: sorted, and apart from each other by at least one byte.
func scan[T string | []byte](a *automaton, text T, s int32, at int, hits []span) (int32, []span) {
	for i := 0; i < len(text); i++ {
		s = a.next(s, text[i])
		if n := a.nodes[s].out; n > 0 {
			end := at + i + 1
			hits = cover(hits, span{max(0, end-int(n)), end})
		}
	}
	return s, hits
}

// cover adds h, which ends after all the others, and joins it with those it overlaps or touches.
func cover(hits []span, h span) []span {
	for len(hits) > 0 && hits[len(hits)-1].end >= h.start {
		h.start = min(h.start, hits[len(hits)-1].start)
		hits = hits[:len(hits)-1]
	}
	return append(hits, h)
}
