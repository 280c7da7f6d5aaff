package diff

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of the strings that are looked into.
const (
	maxJSON   = 256 << 10 // bytes
	maxYAML   = 64 << 10  // bytes
	maxLevels = 32        // of containers in each other
	maxNested = 2         // documents in strings in documents
	maxPairs  = 10_000    // comparisons to find out which elements of a list are the same ones, changed
)

// document is a value in a JSON or YAML text.
type document struct {
	kind  byte        // '{', '[', '"', or 0: a number or a word
	text  string      // of a string what it holds, of a number or word how it is written
	names []string    // of the members of an object, in their order; no two are the same
	items []*document // members or elements
	key   [16]byte    // equal documents have equal keys, and only they
}

func (d *document) isContainer() bool { return d != nil && (d.kind == '{' || d.kind == '[') }

// or returns d, or other if there is no d.
func (d *document) or(other *document) *document {
	if d != nil {
		return d
	}
	return other
}

// seal computes the key.
func (d *document) seal() *document {
	h := sha256.New()
	_, _ = h.Write([]byte{d.kind}) // a hash does not fail
	writeSized(h, d.text)
	order := make([]int, len(d.items))
	for i := range order {
		order[i] = i
	}
	if d.kind == '{' {
		slices.SortFunc(order, func(a, b int) int { return strings.Compare(d.names[a], d.names[b]) })
	}
	for _, i := range order {
		if d.kind == '{' {
			writeSized(h, d.names[i])
		}
		_, _ = h.Write(d.items[i].key[:])
	}
	copy(d.key[:], h.Sum(nil))
	return d
}

func writeSized(h hash.Hash, s string) {
	n := uint32(len(s))
	_, _ = h.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	_, _ = io.WriteString(h, s)
}

// json is the value as JSON, or as near to it as YAML gets.
func (d *document) json() string { return string(d.append(nil, ",", ":")) }

// spaced is the same, for people.
func (d *document) spaced() string { return string(d.append(nil, ", ", ": ")) }

// withUnknown is d where the words that stand for what is not known yet are no strings, see [plumbline.OutputChange].
func (d *document) withUnknown() *document {
	if d == nil || d.kind == 0 || d.kind == '"' && d.text != knownAfterApply {
		return d
	}
	if d.kind == '"' {
		return (&document{text: knownAfterApply}).seal()
	}
	out := &document{kind: d.kind, names: d.names, items: make([]*document, len(d.items))}
	for i, item := range d.items {
		out.items[i] = item.withUnknown()
	}
	return out.seal()
}

func (d *document) append(dst []byte, comma, colon string) []byte {
	switch d.kind {
	case 0:
		return append(dst, d.text...)
	case '"':
		return appendQuoted(dst, d.text)
	}
	dst = append(dst, d.kind)
	for i, item := range d.items {
		if i > 0 {
			dst = append(dst, comma...)
		}
		if d.kind == '{' {
			dst = append(appendQuoted(dst, d.names[i]), colon...)
		}
		dst = item.append(dst, comma, colon)
	}
	return append(dst, d.kind+2) // '{'+2 is '}', '['+2 is ']'
}

func appendQuoted(dst []byte, s string) []byte {
	// The error is about invalid UTF-8, which becomes U+FFFD.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// unquote returns what a JSON string holds.
func unquote(v string) (text string, ok bool) {
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

// parseJSON reads an object or an array with all that is in it. It returns nil for anything else, for what is too large, and for objects in
// which a name occurs twice: nobody knows which of the two counts.
func parseJSON(s string) *document {
	if len(s) > maxJSON {
		return nil
	}
	t := strings.TrimLeft(s, " \t\r\n")
	if t == "" || t[0] != '{' && t[0] != '[' {
		return nil
	}
	d := jsontext.NewDecoder(strings.NewReader(t))
	doc, err := readJSON(d, 0)
	if err != nil {
		return nil
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil
	}
	return doc
}

var errTooDeep = errors.New("nested too deep")

func readJSON(d *jsontext.Decoder, level int) (*document, error) {
	if level > maxLevels {
		return nil, errTooDeep
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	doc := &document{}
	switch k := t.Kind(); k {
	case '"':
		doc.kind, doc.text = '"', t.String()
		return doc.seal(), nil
	case '{', '[':
		doc.kind = byte(k)
	default:
		doc.text = t.String()
		return doc.seal(), nil
	}
	for d.PeekKind() != jsontext.Kind(doc.kind+2) {
		if doc.kind == '{' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			doc.names = append(doc.names, name.String())
		}
		item, err := readJSON(d, level+1)
		if err != nil {
			return nil, err
		}
		doc.items = append(doc.items, item)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	return doc.seal(), nil
}
