package tfplan

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// finder finds strings that stand under the names of secrets, though nothing marks them as sensitive. Numbers are not looked at:
// token_ttl = 3600 is no secret. It looks at each byte of a value once.
type finder struct {
	isSecret func(name string) bool  // nil: nothing is found
	isWorth  func(value string) bool // may be nil
	names    map[string]bool         // what isSecret said

	found  []string // in the values that are being looked at
	opened [][]byte // strings of theirs that hold JSON, which is the same on both sides most of the time
}

func newFinder(o Options) *finder {
	f := &finder{isWorth: o.SecretValue, names: map[string]bool{}}
	if o.Secrets != nil {
		f.isSecret = o.SecretName
	}
	return f
}

// find returns such strings in both values, whose own name may be that of a secret, too.
func (f *finder) find(name string, before, after []byte) []string {
	if f.isSecret == nil {
		return nil
	}
	f.found, f.opened = nil, f.opened[:0]
	for _, v := range [][]byte{before, after} {
		if len(v) > 0 {
			f.value(v, 0, []byte(name), false, 0)
		}
		if bytes.Equal(before, after) {
			break
		}
	}
	return f.found
}

// maxInside is how deep JSON in strings of JSON in strings … is looked into.
const maxInside = 4

// maxOpened is how many strings with JSON are remembered. Others are looked at again.
const maxOpened = 16

// value looks into the value at v[i] and returns the index after it. under: something around it has the name of a secret.
func (f *finder) value(v []byte, i int, name []byte, under bool, depth int) int {
	switch v[i] {
	case quote:
		end := endOfString(v, i)
		f.text(name, v[i:end], under, depth)
		return end
	case '{':
		return f.object(v, i, under || f.isNamed(name), depth)
	case '[':
		for i = blank(v, i+1); v[i] != ']'; {
			i = blank(v, f.value(v, i, name, under, depth))
			if v[i] == comma {
				i = blank(v, i+1)
			}
		}
		return i + 1
	default:
		return endOf(v, i)
	}
}

// object looks into the object at v[i]. The "value" beside a "name" or "key" that is that of a secret counts as one that has this name, as
// environments of containers have them.
func (f *finder) object(v []byte, i int, under bool, depth int) int {
	var key, value []byte
	for i = blank(v, i+1); v[i] != '}'; {
		end := endOfString(v, i)
		name := text(v[i:end])
		i = blank(v, blank(v, end)+1) // past the colon
		end = f.value(v, i, name, under, depth)
		switch string(name) {
		case "name", "key", "Name", "Key":
			key = v[i:end]
		case "value", "Value":
			value = v[i:end]
		}
		if i = blank(v, end); v[i] == comma {
			i = blank(v, i+1)
		}
	}
	if kindOf(key) == str && kindOf(value) == str && f.isNamed(text(key)) {
		f.add(text(value))
	}
	return i + 1
}

// text looks at a string: at its name, then at what is inside.
func (f *finder) text(name, v []byte, under bool, depth int) {
	switch {
	case len(v) < minSecret+2:
	case under || f.isNamed(name):
		f.add(text(v))
	case len(v) > maxValue:
	case v[1] == '{' || v[1] == '[':
		if depth == maxInside || slices.ContainsFunc(f.opened, func(o []byte) bool { return bytes.Equal(o, v) }) {
			return
		}
		if depth == 0 && len(f.opened) < maxOpened {
			f.opened = append(f.opened, v)
		}
		if s := text(v); jsontext.Value(s).IsValid() && !tooDeep(s) {
			f.value(bytes.TrimSpace(s), 0, nil, false, depth+1)
		}
	}
}

// isNamed reports whether a name is that of a secret.
func (f *finder) isNamed(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	is, ok := f.names[string(name)]
	if !ok {
		if is = f.isSecret(string(name)); len(f.names) > 10_000 { // not names at all
			clear(f.names)
		}
		f.names[string(name)] = is
	}
	return is
}

func (f *finder) add(s []byte) {
	if len(s) >= minSecret && !slices.Contains(f.found, string(s)) && (f.isWorth == nil || f.isWorth(string(s))) {
		f.found = append(f.found, string(s))
	}
}
