// Package redact masks secret values in text.
//
// A [Masker] knows a set of secrets. It finds each of them in the forms in which programs commonly print a value,
// whatever stands around it:
//
//   - as it is
//   - inside a JSON string, with or without the escaping of <, > & that Go adds for HTML, or of all that is not ASCII, and
//     inside a JSON string in a JSON string
//   - as Go's %q prints it
//   - escaped for HTML
//   - escaped for a URL's query, path segment or password, with upper or lower case hexadecimal digits
//   - in base64 (standard or URL alphabet, padded or not), alone or anywhere inside a longer encoded text
//
// Not masked, because it cannot be done without harm or without end:
//
//   - a value shorter than [MinLen] bytes: masking "a" or "no" would destroy the text and hide nothing
//   - other encodings on top of each other, such as base64 of JSON, other encodings such as hexadecimal, base64 that is broken
//     into lines, and escapes that JSON allows but Go does not write, such as \/ for a slash
//   - the one character at either end of a base64 form that also carries bits of the neighbouring text
//   - the blanks around a secret: they are not part of it, since files that hold secrets end in a newline
//   - a part of a secret; but each line of at least [MinLine] bytes of a secret with several lines is one of its own,
//     because programs indent or number the lines of a key that they print
//
// # Shapes
//
// With [Masker.WithShapes] it masks besides what nobody told it about, but what looks like a secret: the tokens of about a hundred
// services, by the rules of gitleaks (see rules/README.md); private keys in PEM, over several lines; passwords in URLs and connection
// strings; authorization headers; hashes of passwords; AWS secret keys beside their ids; and whatever is set to a name such as password or
// token and is likely to be meant ([SecretName], [SecretValue]). Only the secret is masked, not what gives it away. Shapes are found in
// text as it is, with the escapes of JSON, Go, HTML and URLs undone however often they were applied, and in base64 that decodes to text.
//
// Shapes are found within a line. A line longer than 64 KiB is looked at in pieces that overlap by 8 KiB, so that what is not longer than
// that is not cut. A key in PEM is found over as many lines as it has, or as look like its own where its end is missing.
//
// What the rules take for an example is left alone: AKIA…EXAMPLE, a token that contains the alphabet. So is what could just as well be
// a name or a reference: password = var.password, secret: app-db-2.
//
// Text without anything suspicious costs one more pass (on one core of a server of 2024, 430 MB/s for values and 160 MB/s with shapes, on logs of
// Terraform); a line with a keyword costs microseconds.
package redact

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
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
	values []string // what is masked in all forms, sorted, each once
	plain  []string // what is masked as it is and in JSON alone
	built  func() *built
	shapes *shapes // nil for values alone
}

// built is what a Masker works with. It is made when it is needed for the first time: a Masker may only be on the way to another.
type built struct {
	*automaton
	mask string
}

// New returns a Masker for the secrets. Values too short to be masked are passed over: compare with [MinLen] where a
// person should be told.
func New(secrets ...string) *Masker {
	var values []string
	for _, s := range secrets {
		values = append(values, split(s)...)
	}
	return newMasker(values, nil, nil)
}

// WithShapes returns a Masker that masks m's secrets, and besides whatever looks like one: see the package's comment. The first call in a process
// reads the rules, which takes less than a millisecond and about 150 KiB that all Maskers share; each rule is compiled when its keyword turns up for
// the first time, which takes 10 to 500 µs.
func (m *Masker) WithShapes() *Masker {
	with := *m
	with.shapes = loadShapes()
	return &with
}

// With returns a Masker for m's secrets plus these. It leaves m as it is.
func (m *Masker) With(secrets ...string) *Masker {
	values := slices.Clone(m.values)
	for _, s := range secrets {
		values = append(values, split(s)...)
	}
	return newMasker(values, m.plain, m.shapes)
}

// WithPlain returns a Masker for m's secrets plus these, which are masked as they are and in JSON alone. It is for thousands of secrets that
// are not likely to be encoded: it takes a twentieth of the time and memory that With does.
func (m *Masker) WithPlain(secrets ...string) *Masker {
	plain := slices.Clone(m.plain)
	for _, s := range secrets {
		plain = append(plain, split(s)...)
	}
	return newMasker(slices.Clone(m.values), plain, m.shapes)
}

func newMasker(values, plain []string, shapes *shapes) *Masker {
	slices.Sort(values)
	values = slices.Compact(values)
	slices.Sort(plain)
	plain = slices.Compact(plain)
	return &Masker{values: values, plain: plain, shapes: shapes, built: sync.OnceValue(func() *built { return build(values, plain) })}
}

func build(values, plain []string) *built {
	all := make([]string, 0, len(plain))
	for _, v := range values {
		all = append(all, forms(v)...)
	}
	for _, v := range plain {
		all = append(all, v)
		if escaped := jsonEscape(v, false); escaped != v {
			all = append(all, escaped)
		}
	}
	mask := chooseMask(all)
	return &built{newAutomaton(all, false), mask} // which sorts all
}

// String returns s with every secret replaced by the mask. Secrets that overlap or touch are replaced by one mask.
// The result contains no form of any secret. (The one exception needs secrets that begin or end in every printable
// character between them, so that each possible mask could complete one.) It is what a Writer makes of s.
func (m *Masker) String(s string) string {
	b := m.built()
	_, hits := scan(b.automaton, s, root, 0, nil)
	if m.shapes != nil && suspicious(m.shapes, s) {
		var out strings.Builder
		out.Grow(len(s))
		w := Writer{m: m, to: &out, buf: []byte(s), hits: hits}
		if w.Flush() != nil {
			return b.mask // cannot be: a Builder takes everything
		}
		return out.String()
	}
	if len(hits) == 0 {
		return s
	}
	masked, _ := m.apply(s, hits)
	return masked
}

// masked is where a mask stands, and what it stands for.
type masked struct{ at, original span }

// apply replaces hits in s.
func (m *Masker) apply(s string, hits []span) (string, []masked) {
	var b strings.Builder
	b.Grow(len(s))
	mask := m.built().mask
	where := make([]masked, 0, len(hits))
	done := 0
	for _, h := range hits {
		b.WriteString(s[done:h.start])
		b.WriteString(mask)
		where = append(where, masked{span{b.Len() - len(mask), b.Len()}, h})
		done = h.end
	}
	b.WriteString(s[done:])
	return b.String(), where
}

// Writer returns a [Writer] that masks what it passes on to w.
func (m *Masker) Writer(w io.Writer) *Writer { return &Writer{m: m, to: w} }

// Format keeps the secrets out of whatever prints a Masker or a struct that holds one.
func (m *Masker) Format(f fmt.State, _ rune) {
	// A fmt.State reports its errors through the Print function that made it.
	what := fmt.Sprintf("%d values", len(m.values)+len(m.plain))
	if m.shapes != nil {
		what += ", shapes"
	}
	_, _ = fmt.Fprintf(f, "redact.Masker(%s)", what)
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
