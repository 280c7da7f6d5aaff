package tfplan

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"slices"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// place is what the plan says about one place in a resource: the two values, and the masks over them. Any may be nil.
type place struct {
	before, after                   []byte
	unknown                         []byte // mask over after
	beforeSensitive, afterSensitive []byte
}

// isPlain reports whether no mask says anything.
func (p place) isPlain() bool {
	return p.unknown == nil && p.beforeSensitive == nil && p.afterSensitive == nil
}

// walker finds what differs between the two values of a change: entries of the digest, attributes, sensitive values.
// One walker serves all changes of a plan, one after the other.
type walker struct {
	mac     hash.Hash
	secrets func(string) // may be nil

	record   []byte                // the digest's record of this change
	path     []byte                // where the walk is
	list     []plumbline.Attribute // attributes of this change
	room     int                   // how many more of them to list
	dropped  bool                  // there was no room for one
	replaces []string              // replace paths of this change

	canonical []byte // memory for one value

	members  []member // memory for the members of objects, used as a stack
	elements [][]byte // likewise for arrays
}

func newWalker(o Options) *walker {
	return &walker{mac: hmac.New(sha256.New, o.Key), secrets: o.Secrets}
}

// begin forgets the change before.
func (w *walker) begin(room int, replaces []string) {
	w.record, w.path, w.list = w.record[:0], w.path[:0], nil
	w.room, w.dropped, w.replaces = room, false, replaces
}

func (w *walker) walk(p place) {
	if isTrue(p.beforeSensitive) || isTrue(p.afterSensitive) {
		w.sensitive(p)
		return
	}
	if isTrue(p.unknown) {
		w.unknown(p)
		return
	}
	kb, ka := kindOf(p.before), kindOf(p.after)
	switch {
	case isContainer(kb) && bytes.Equal(p.before, p.after) &&
		!anyTrue(p.unknown) && !anyTrue(p.beforeSensitive) && !anyTrue(p.afterSensitive):
		return
	case kb != ka || !isContainer(kb) && !same(p.before, p.after):
		w.entry()
		w.plain(p.before)
		w.plain(p.after)
		if len(w.path) > 0 && (isShown(p.before) || isShown(p.after)) && w.hasRoom() {
			w.attribute(plumbline.Attribute{Before: show(p.before), After: show(p.after)})
		}
	}
	ku := kindOf(p.unknown)
	if kb == object || ka == object || ku == object {
		w.walkMembers(p)
	}
	if kb == array || ka == array || ku == array {
		w.walkElements(p)
	}
}

func (w *walker) walkMembers(p place) {
	base, here := len(w.members), len(w.path)
	before := w.split(p.before)
	after := w.split(p.after)
	unknown, beforeSensitive, afterSensitive := w.split(p.unknown), w.split(p.beforeSensitive), w.split(p.afterSensitive)
	for {
		name, ok := first(before, after, unknown)
		if !ok {
			break
		}
		inner := place{
			before: take(&before, name), after: take(&after, name), unknown: take(&unknown, name),
			beforeSensitive: take(&beforeSensitive, name), afterSensitive: take(&afterSensitive, name),
		}
		if inner.isPlain() && bytes.Equal(inner.before, inner.after) {
			continue
		}
		w.path = appendName(w.path, name)
		w.walk(inner)
		w.path = w.path[:here]
	}
	w.members = w.members[:base]
}

func (w *walker) walkElements(p place) {
	base, here := len(w.elements), len(w.path)
	before := w.splitArray(p.before)
	after := w.splitArray(p.after)
	unknown := w.splitArray(p.unknown)
	beforeSensitive, afterSensitive := w.splitArray(p.beforeSensitive), w.splitArray(p.afterSensitive)
	for i := range max(len(before), len(after), len(unknown)) {
		w.path = appendIndex(w.path, i)
		w.walk(place{
			before: at(before, i), after: at(after, i), unknown: at(unknown, i),
			beforeSensitive: at(beforeSensitive, i), afterSensitive: at(afterSensitive, i),
		})
		w.path = w.path[:here]
	}
	w.elements = w.elements[:base]
}

// split returns the members of an object. They lie on w's stack; growing it leaves them where they are.
func (w *walker) split(v []byte) []member {
	base := len(w.members)
	w.members = appendMembers(w.members, v)
	return w.members[base:]
}

func (w *walker) splitArray(v []byte) [][]byte {
	base := len(w.elements)
	w.elements = appendElements(w.elements, v)
	return w.elements[base:]
}

// first returns the smallest name at the heads of sorted lists.
func first(lists ...[]member) (name []byte, ok bool) {
	for _, l := range lists {
		if len(l) == 0 || ok && bytes.Equal(l[0].name, name) {
			continue
		}
		if !ok || bytes.Compare(l[0].name, name) < 0 {
			name, ok = l[0].name, true
		}
	}
	return name, ok
}

// take removes what comes up to name from a sorted list, and returns the value of name.
func take(l *[]member, name []byte) []byte {
	for len(*l) > 0 {
		m := &(*l)[0]
		if bytes.Equal(m.name, name) {
			*l = (*l)[1:]
			return m.value
		}
		if bytes.Compare(m.name, name) > 0 {
			return nil
		}
		*l = (*l)[1:]
	}
	return nil
}

func at(l [][]byte, i int) []byte {
	if i < len(l) {
		return l[i]
	}
	return nil
}

// sensitive handles a place that either mask marks as a whole.
func (w *walker) sensitive(p place) {
	w.tell(p.before)
	w.tell(p.after)
	remarked := isTrue(p.beforeSensitive) != isTrue(p.afterSensitive) && isValue(p.before) && isValue(p.after)
	if !remarked && !anyTrue(p.unknown) && same(p.before, p.after) {
		return
	}
	a := plumbline.Attribute{Before: masked(p.before), After: masked(p.after), Sensitive: true}
	w.entry()
	w.hidden(p.before, nil, isTrue(p.beforeSensitive))
	if isTrue(p.unknown) || !isValue(p.after) && anyTrue(p.unknown) {
		w.record = append(w.record, '?')
		a.After, a.Unknown = "", true
	} else {
		w.hidden(p.after, p.unknown, isTrue(p.afterSensitive))
	}
	if (isValue(p.before) || isValue(p.after) || a.Unknown) && w.hasRoom() {
		w.attribute(a)
	}
}

// unknown handles a place whose new value is not known at all.
func (w *walker) unknown(p place) {
	w.entry()
	a := plumbline.Attribute{Unknown: true}
	if anyTrue(p.beforeSensitive) || anyTrue(p.afterSensitive) {
		w.tellPlace(p)
		w.hidden(p.before, nil, anyTrue(p.beforeSensitive))
		a.Before, a.Sensitive = masked(p.before), true
	} else {
		w.whole(p.before)
		a.Before = string(appendJSON(nil, p.before, false))
	}
	w.record = append(w.record, '?')
	if w.hasRoom() {
		w.attribute(a)
	}
}

// hasRoom reports whether one more attribute can be listed, and remembers when not.
func (w *walker) hasRoom() bool {
	if w.room == 0 {
		w.dropped = true
		return false
	}
	return true
}

// attribute lists a at the present place.
func (w *walker) attribute(a plumbline.Attribute) {
	w.room--
	a.Path = string(w.path)
	a.Forces = slices.ContainsFunc(w.replaces, func(r string) bool { return within(a.Path, r) || within(r, a.Path) })
	w.list = append(w.list, a)
}

// within reports whether path is at or below root.
func within(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || root == "" || rest[0] == '.' || rest[0] == '[')
}

// isValue reports whether there is something other than null.
func isValue(v []byte) bool { k := kindOf(v); return k != absent && k != null }

// isShown reports whether a value is worth listing at its own place; the leaves of a container tell what is in it.
func isShown(v []byte) bool { return isValue(v) && (!isContainer(kindOf(v)) || isEmpty(v)) }

// show is how a value appears at its own place.
func show(v []byte) string {
	if isValue(v) && !isShown(v) {
		return ""
	}
	return string(appendJSON(nil, v, false))
}

func masked(v []byte) string {
	if isValue(v) {
		return plumbline.Masked
	}
	return string(v)
}

// The encoding of the digest; see the package comment.

func appendS[T []byte | string](dst []byte, s T) []byte {
	return append(append(strconv.AppendInt(dst, int64(len(s)), 10), ':'), s...)
}

func appendN(dst []byte, n int) []byte { return append(strconv.AppendInt(dst, int64(n), 10), ';') }

func (w *walker) entry() { w.record = appendS(w.record, w.path) }

// plain writes a value whose inside, if it has one, has entries of its own.
func (w *walker) plain(v []byte) {
	if k := kindOf(v); isContainer(k) {
		w.record = append(w.record, byte(k))
		return
	}
	w.whole(v)
}

// whole writes a value with all that is in it.
func (w *walker) whole(v []byte) {
	if kindOf(v) == absent {
		w.record = append(w.record, '-')
		return
	}
	w.canonical = appendJSON(w.canonical[:0], v, true)
	w.record = appendS(append(w.record, '='), w.canonical)
}

// hidden writes a keyed hash of a sensitive value and of the mask over its unknown parts.
func (w *walker) hidden(v, unknown []byte, marked bool) {
	if !isValue(v) {
		w.whole(v)
		return
	}
	w.canonical = appendJSON(w.canonical[:0], v, true)
	if anyTrue(unknown) {
		w.canonical = appendJSON(append(w.canonical, '?'), unknown, true)
	}
	w.mac.Reset()
	w.mac.Write(w.canonical)
	tag := byte('*')
	if !marked {
		tag = '#'
	}
	w.record = w.mac.Sum(append(w.record, tag))
}

// Telling the caller about sensitive values.

// minSecret is the length in bytes from which a sensitive value is told: to mask "1" or "no" would destroy a log.
const minSecret = 4

// tell reports the strings and numbers in a sensitive value.
func (w *walker) tell(v []byte) {
	if w.secrets == nil {
		return
	}
	switch kindOf(v) {
	case str:
		if s := text(v); len(s) >= minSecret {
			w.secrets(string(s))
		}
	case number:
		if len(v) >= minSecret {
			w.secrets(string(v))
		}
	case object:
		for _, m := range appendMembers(nil, v) {
			w.tell(m.value)
		}
	case array:
		for _, e := range appendElements(nil, v) {
			w.tell(e)
		}
	}
}

// tellPlace reports what the masks mark at a place that is not walked. What one of them marks is told of both values.
func (w *walker) tellPlace(p place) {
	for _, mask := range [][]byte{p.beforeSensitive, p.afterSensitive} {
		w.tellMasked(p.before, mask)
		w.tellMasked(p.after, mask)
	}
}

// tellMasked reports what a mask marks in a value.
func (w *walker) tellMasked(v, mask []byte) {
	if w.secrets == nil || !anyTrue(mask) {
		return
	}
	if isTrue(mask) {
		w.tell(v)
		return
	}
	marks := appendMembers(nil, mask)
	for _, m := range appendMembers(nil, v) {
		w.tellMasked(m.value, take(&marks, m.name))
	}
	elements := appendElements(nil, mask)
	for i, e := range appendElements(nil, v) {
		w.tellMasked(e, at(elements, i))
	}
}

// Paths.

func appendName(path, name []byte) []byte {
	if !isIdentifier(name) {
		return append(appendQuoted(append(path, '['), name), ']')
	}
	if len(path) > 0 {
		path = append(path, '.')
	}
	return append(path, name...)
}

func appendIndex(path []byte, i int) []byte {
	return append(strconv.AppendInt(append(path, '['), int64(i), 10), ']')
}

// isIdentifier reports whether a name can follow a dot. Digits and dashes may not come first, as in Terraform.
func isIdentifier(name []byte) bool {
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return len(name) > 0
}
