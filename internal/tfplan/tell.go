package tfplan

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// The functions in this file tell the caller about sensitive values.

// minSecret is the length in bytes from which a sensitive value is told: to mask "1" or "no" would destroy a log.
const minSecret = 4

// tell reports the strings and numbers in a sensitive value.
func (w *walker) tell(v []byte) {
	if w.secrets == nil {
		return
	}
	switch kindOf(v) {
	case str:
		if s := string(text(v)); len(s) >= minSecret {
			w.told[s] = true
			w.secrets(s)
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

// isSecret reports whether a name is that of a secret.
func (w *walker) isSecret(name []byte) bool {
	if w.secretName == nil || w.secrets == nil || len(name) == 0 {
		return false
	}
	is, ok := w.names[string(name)]
	if !ok {
		if is = w.secretName(string(name)); len(w.names) > 10_000 { // not names at all
			clear(w.names)
		}
		w.names[string(name)] = is
	}
	return is
}

// tellValue reports a string that stands under the name of a secret.
func (w *walker) tellValue(s []byte) {
	if len(s) >= minSecret && !w.told[string(s)] && (w.secretValue == nil || w.secretValue(string(s))) {
		w.secrets(string(s))
	}
}

// tellNamed reports the strings in values under names that are those of secrets, the name of the values included. A number is
// not told: token_ttl = 3600 is no secret.
func (w *walker) tellNamed(name string, before, after []byte) {
	if w.secretName != nil && w.secrets != nil {
		w.tellBoth([]byte(name), before, after)
	}
}

// tellBoth is tellInside for two values. What they have in common is looked at once: that is most of them.
func (w *walker) tellBoth(name, before, after []byte) {
	switch {
	case bytes.Equal(before, after):
		w.tellInside(name, after, false, 0)
	case kindOf(before) == object && kindOf(after) == object && !w.isSecret(name):
		base := len(w.members)
		b, a := w.split(before), w.split(after)
		w.tellPair(b)
		w.tellPair(a)
		for name, ok := first(b, a); ok; name, ok = first(b, a) {
			w.tellBoth(name, take(&b, name), take(&a, name))
		}
		w.members = w.members[:base]
	default:
		w.tellInside(name, before, false, 0)
		w.tellInside(name, after, false, 0)
	}
}

// tellUnwalked reports all that is to be told of a place that is not walked.
func (w *walker) tellUnwalked(name string, p place) {
	w.tellPlace(p)
	w.tellNamed(name, p.before, p.after)
}

// maxInside is how deep JSON in strings of JSON in strings … is looked into.
const maxInside = 4

// tellInside is tellNamed. under: something around v has the name of a secret.
func (w *walker) tellInside(name, v []byte, under bool, depth int) {
	switch kindOf(v) {
	case str:
		w.tellText(name, v, under, depth)
	case object:
		under = under || w.isSecret(name)
		base := len(w.members)
		members := w.split(v)
		w.tellPair(members)
		for _, m := range members {
			w.tellInside(m.name, m.value, under, depth)
		}
		w.members = w.members[:base]
	case array:
		base := len(w.elements)
		for _, e := range w.splitArray(v) {
			w.tellInside(name, e, under, depth)
		}
		w.elements = w.elements[:base]
	}
}

// tellText looks at a string: at its name, then at what is inside.
func (w *walker) tellText(name, v []byte, under bool, depth int) {
	switch {
	case len(v) < minSecret+2:
	case under || w.isSecret(name):
		w.tellValue(text(v))
	case len(v) > maxValue:
	case v[1] == '{' || v[1] == '[':
		if s := text(v); depth < maxInside && jsontext.Value(s).IsValid() && !tooDeep(s) {
			w.tellInside(nil, bytes.TrimSpace(s), false, depth+1)
		}
	}
}

// tellPair reports the "value" of an object whose "name" or "key" is that of a secret, as environments of containers have them.
func (w *walker) tellPair(members []member) {
	var name, value []byte
	for _, m := range members {
		switch string(m.name) {
		case "name", "key", "Name", "Key":
			name = m.value
		case "value", "Value":
			value = m.value
		}
	}
	if kindOf(name) == str && kindOf(value) == str && w.isSecret(text(name)) {
		w.tellValue(text(value))
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
