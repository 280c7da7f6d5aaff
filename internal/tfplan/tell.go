package tfplan

import "bytes"

// The functions in this file tell the caller about values that are marked as sensitive.

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
		base := len(w.members)
		for _, m := range w.split(v) {
			w.tell(m.value)
		}
		w.members = w.members[:base]
	case array:
		base := len(w.elements)
		for _, e := range w.splitArray(v) {
			w.tell(e)
		}
		w.elements = w.elements[:base]
	}
}

// tellNamed reports strings that stand under the names of secrets.
func (w *walker) tellNamed(found []string) {
	for _, s := range found {
		w.secrets(s)
	}
}

// tellPlace reports what the masks mark at a place that is not walked. What one of them marks is told of both values.
func (w *walker) tellPlace(p place) {
	for _, mask := range [][]byte{p.beforeSensitive, p.afterSensitive} {
		w.tellMasked(p.before, mask)
		if !bytes.Equal(p.before, p.after) {
			w.tellMasked(p.after, mask)
		}
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
	members, elements := len(w.members), len(w.elements)
	marks := w.split(mask)
	for _, m := range w.split(v) {
		w.tellMasked(m.value, take(&marks, m.name))
	}
	masks := w.splitArray(mask)
	for i, e := range w.splitArray(v) {
		w.tellMasked(e, at(masks, i))
	}
	w.members, w.elements = w.members[:members], w.elements[:elements]
}
