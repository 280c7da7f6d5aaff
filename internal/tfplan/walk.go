package tfplan

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
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

// appears reports whether there is something on one side only.
func (p place) appears() bool { return isValue(p.before) != (isValue(p.after) || anyTrue(p.unknown)) }

// isNest reports whether a place is listed by what is inside it.
func (p place) isNest() bool {
	if isTrue(p.unknown) || isTrue(p.beforeSensitive) || isTrue(p.afterSensitive) {
		return false
	}
	for _, v := range [][]byte{p.before, p.after} {
		if isContainer(kindOf(v)) && !isEmpty(v) {
			return true
		}
	}
	return anyTrue(p.unknown)
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

	within   place // the changed element of a list where the walk is,
	isWithin bool  // until an attribute in it has been listed

	recording bool   // whether entries go to the record
	record    []byte // the digest's record of this change
	keyed     bool   // there is an HMAC in it

	listing  bool                  // whether attributes go to the list
	list     []plumbline.Attribute // attributes of this change, in memory for those of all
	room     room                  // for how many more of them there is room
	omitted  int                   // how many there was no room for
	replaces []string              // replace paths of this change
	aligned  bool                  // inside a list that was aligned: indexes in replace paths are others

	path   []byte // where the walk is
	wholly int    // length of the path of what is wholly new or wholly gone; 0: nothing; -1: the whole resource, which is not said

	canonical []byte // memory for one value as it is kept or hashed

	members  []member // memory for the members of objects, used as a stack
	elements [][]byte // likewise for arrays
}

// newWalker makes a walker. Without a key it has one of its own, which nobody else ever has.
func newWalker(o Options) *walker {
	key := o.Key
	if len(key) == 0 {
		key = make([]byte, sha256.Size)
		rand.Read(key) // never fails, by its documentation
	}
	return &walker{mac: hmac.New(sha256.New, key), secrets: o.Secrets}
}

// begin forgets the change before.
func (w *walker) begin(recording bool, space room, replaces []string) {
	w.recording, w.record, w.keyed = recording, w.record[:0], false
	w.listing, w.list, w.room, w.omitted, w.replaces, w.aligned = true, w.list[:0], space, 0, replaces, false
	w.path, w.wholly = w.path[:0], 0
}

// resource walks over all of a resource.
func (w *walker) resource(p place) {
	if !isValue(p.before) || !isValue(p.after) {
		w.wholly = -1
	}
	w.walk(p)
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
		shown := isShown(p.before, nil) || isShown(p.after, p.unknown) || w.wholly == len(w.path) && !isContainer(kb) && !isContainer(ka)
		if len(w.path) > 0 && shown && w.hasRoom() {
			w.attribute(plumbline.Attribute{Before: w.show(p.before, nil), After: w.show(p.after, p.unknown)})
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
		w.step(inner, w.listing && w.wholly == 0 && inner.appears() && inner.isNest())
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
	listing := w.listing
	if listing && kindOf(p.before) == array && kindOf(p.after) == array {
		if pairs := w.align(before, after, unknown); pairs != nil {
			w.walkAligned(pairs, sides{before, after, unknown, beforeSensitive, afterSensitive})
			w.listing = false
		}
	}
	if w.recording || w.listing {
		for i := range max(len(before), len(after), len(unknown)) {
			w.path = appendIndex(w.path, i)
			inner := place{
				before: at(before, i), after: at(after, i), unknown: at(unknown, i),
				beforeSensitive: at(beforeSensitive, i), afterSensitive: at(afterSensitive, i),
			}
			w.element(inner, (inner.before == nil) != (inner.after == nil && inner.unknown == nil), max(len(before), len(after)) > 1)
			w.path = w.path[:here]
		}
	}
	w.listing = listing
	w.elements = w.elements[:base]
}

// step walks over a place inside another. Where it is wholly new or gone and nothing around it is, attributes will say so.
func (w *walker) step(p place, wholly bool) {
	outer := w.wholly
	if wholly && outer == 0 {
		w.wholly = len(w.path)
	}
	w.walk(p)
	w.wholly = outer
}

// element is step for an element of a list, of which there are several or not.
func (w *walker) element(p place, wholly, several bool) {
	if !several || wholly || kindOf(p.before) != object || kindOf(p.after) != object {
		w.step(p, wholly)
		return
	}
	outer, isWithin := w.within, w.isWithin
	w.within, w.isWithin = p, true
	w.step(p, wholly)
	w.within, w.isWithin = outer, isWithin
}

// tellApart are names of what people tell elements of a list by, the best first.
var tellApart = []string{
	"name", "id", "key", "sid", "description", "device_name", "type", "protocol", "from_port", "to_port", "port", "priority", "rule_number", "cidr_block", "path", "host",
}

// maxBeside is how many of them are said.
const maxBeside = 3

// beside says what has not changed in an element of a list and tells it from the others.
func (w *walker) beside(p place) string {
	base := len(w.members)
	before, after, unknown := w.split(p.before), w.split(p.after), w.split(p.unknown)
	beforeSensitive, afterSensitive := w.split(p.beforeSensitive), w.split(p.afterSensitive)
	defer func() { w.members = w.members[:base] }()
	var said []string
	for _, name := range tellApart {
		of := func(members []member) []byte { return take(&members, []byte(name)) }
		v := of(before)
		if k := kindOf(v); k != str && k != number || saysNothing(v) || len(v) > 60 || !bytes.Equal(v, of(after)) ||
			anyTrue(of(unknown)) || anyTrue(of(beforeSensitive)) || anyTrue(of(afterSensitive)) {
			continue
		}
		if said = append(said, name+" "+string(appendJSON(nil, v, false))); len(said) == maxBeside {
			break
		}
	}
	return strings.Join(said, ", ")
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
		w.notKnown(isTrue(p.afterSensitive))
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
	}
	w.notKnown(anyTrue(p.afterSensitive))
	if !w.hasRoom() {
		return
	}
	if !a.Sensitive {
		a.Before = w.kept(p.before)
	}
	w.attribute(a)
}

// hasRoom reports whether one more attribute can be listed, and counts it when not.
func (w *walker) hasRoom() bool {
	if !w.listing {
		return false
	}
	if w.room.attributes == 0 {
		w.omitted++
		return false
	}
	return true
}

// attribute lists a at the present place.
func (w *walker) attribute(a plumbline.Attribute) {
	a.Path, a.Whole = string(w.path), max(w.wholly, 0)
	if w.isWithin {
		a.Beside, w.isWithin = w.beside(w.within), false
	}
	if size(a) > w.room.bytes {
		w.omitted, w.room = w.omitted+1, room{} // nor what comes after it: what is kept is the beginning
		return
	}
	w.room.attributes--
	w.room.bytes -= size(a)
	a.Forces = slices.ContainsFunc(w.replaces, func(r string) bool {
		return within(a.Path, r) || within(r, a.Path) || w.aligned && meet(a.Path, r)
	})
	w.list = append(w.list, a)
}

// isValue reports whether there is something other than null.
func isValue(v []byte) bool { k := kindOf(v); return k != absent && k != null }

// isShown reports whether a value is worth listing at its own place; the leaves of a container tell what is in it.
func isShown(v, unknown []byte) bool {
	return isValue(v) && (!isContainer(kindOf(v)) || isEmpty(v) && !anyTrue(unknown))
}

// show is how a value appears at its own place.
func (w *walker) show(v, unknown []byte) string {
	if isValue(v) && !isShown(v, unknown) {
		return ""
	}
	return w.kept(v)
}

// maxValue is how long a value may be, in bytes of JSON, to be kept. A longer one is not cut: half of a secret would not be known
// for one any more.
const maxValue = 64 << 10

// kept is a value as a Plan has it.
func (w *walker) kept(v []byte) string {
	w.canonical = appendJSON(w.canonical[:0], v, false)
	size := len(w.canonical)
	if size <= maxValue {
		return string(w.canonical)
	}
	w.canonical = appendJSON(w.canonical[:0], v, true)
	return w.tooLong(size, w.canonical)
}

func (w *walker) tooLong(size int, canonical []byte) string {
	w.mac.Reset()
	w.mac.Write(canonical)
	return plumbline.TooLong(size, hex.EncodeToString(w.mac.Sum(nil)[:6]))
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

func (w *walker) entry() {
	if w.recording {
		w.record = appendS(w.record, w.path)
	}
}

func (w *walker) mark(c byte) {
	if w.recording {
		w.record = append(w.record, c)
	}
}

// notKnown writes that a value is not known, and whether it will be sensitive.
func (w *walker) notKnown(marked bool) {
	w.mark('?')
	if marked {
		w.mark('*')
	}
}

// plain writes a value whose inside, if it has one, has entries of its own.
func (w *walker) plain(v []byte) {
	if k := kindOf(v); isContainer(k) {
		w.mark(byte(k))
		return
	}
	w.whole(v)
}

// whole writes a value with all that is in it.
func (w *walker) whole(v []byte) {
	if !w.recording {
		return
	}
	if kindOf(v) == absent {
		w.mark('-')
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
	if !w.recording {
		return
	}
	w.keyed = true
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
