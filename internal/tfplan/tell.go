package tfplan

// The functions in this file tell the caller about sensitive values.

// minSecret is the length in bytes from which a sensitive value is told: to mask "1" or "no" would destroy a log.
const minSecret = 4

// tell reports the strings and numbers in a sensitive value.
func (w *walker) tell(v []byte) { w.tellAll(v, true) }

func (w *walker) tellAll(v []byte, numbers bool) {
	if w.secrets == nil {
		return
	}
	switch kindOf(v) {
	case str:
		if s := text(v); len(s) >= minSecret {
			w.secrets(string(s))
		}
	case number:
		if numbers && len(v) >= minSecret {
			w.secrets(string(v))
		}
	case object:
		for _, m := range appendMembers(nil, v) {
			w.tellAll(m.value, numbers)
		}
	case array:
		for _, e := range appendElements(nil, v) {
			w.tellAll(e, numbers)
		}
	}
}

// tellNamed reports the strings in a value under names that are those of secrets. Its own name is one of them. A number is not told:
// token_ttl = 3600 is no secret.
func (w *walker) tellNamed(name string, v []byte, isSecret func(string) bool) {
	if isSecret(name) {
		w.tellAll(v, false)
		return
	}
	for _, m := range appendMembers(nil, v) {
		w.tellNamed(string(m.name), m.value, isSecret)
	}
	for _, e := range appendElements(nil, v) {
		w.tellNamed("", e, isSecret)
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
