package tfplan

import (
	"encoding/json"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Mask replaces, in every text of a plan that comes from the configuration or from reality, what mask takes for a secret: a secret can
// turn up where the plan does not mark it as sensitive. Values are masked as JSON, in each string on its own, so that
// a secret is found that is spelled with escapes there; in strings that hold JSON, inside that, too. Of an address only the keys of
// instances are masked: its words stand in the configuration for everyone to read, and whoever decides about a plan has to read them
// even where one of them is also somebody's secret. mask is called from several goroutines.
func Mask(p *plumbline.Plan, mask func(string) string) {
	var busy sync.WaitGroup
	var thrown atomic.Pointer[any]
	for _, list := range [][]plumbline.Change{p.Changes, p.Drift, p.Deferred} {
		for part := range slices.Chunk(list, max(minPart, len(list)/(4*runtime.GOMAXPROCS(0)))) {
			busy.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						thrown.Store(&p)
					}
				}()
				maskChanges(part, mask)
			})
		}
	}
	busy.Wait()
	if p := thrown.Load(); p != nil {
		panic(*p) // where the caller can catch it
	}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		o.Name, o.Before, o.After = mask(o.Name), maskValue(o.Before, mask), maskValue(o.After, mask)
	}
	for i := range p.Checks {
		p.Checks[i].Address = maskAddress(p.Checks[i].Address, mask)
		maskAll(p.Checks[i].Problems, mask)
	}
}

// minPart is how many changes are worth a goroutine.
const minPart = 256

func maskChanges(list []plumbline.Change, mask func(string) string) {
	for i := range list {
		c := &list[i]
		c.Address, c.Previous, c.Importing = maskAddress(c.Address, mask), maskAddress(c.Previous, mask), mask(c.Importing)
		if c.Action == plumbline.ActionInvoke { // it names a resource; other reasons are Terraform's words
			c.Reason = mask(c.Reason)
		}
		maskAll(c.ReplacePaths, mask)
		maskAttributes(c.Attributes, mask)
		maskKnown(c.Known, mask)
	}
}

// MaskDifferences is Mask for what Classify returns.
func MaskDifferences(list []plumbline.Difference, mask func(string) string) {
	for i := range list {
		list[i].Address = maskAddress(list[i].Address, mask)
		maskAttributes(list[i].Attributes, mask)
		maskKnown(list[i].Known, mask)
	}
}

// maskAddress masks the keys in an address such as module.a["key"].aws_x.b[0], and all of a text of another form.
func maskAddress(address string, mask func(string) string) string {
	var out strings.Builder
	for rest := address; ; {
		word := rest[:len(rest)-len(strings.TrimLeftFunc(rest, isWord))]
		rest = rest[len(word):]
		out.WriteString(word)
		index := instance.FindString(rest)
		rest = rest[len(index):]
		if strings.HasPrefix(index, `["`) {
			index = "[" + maskKey(index[1:len(index)-1], mask) + "]"
		}
		out.WriteString(index)
		more := strings.HasPrefix(rest, ".")
		if word == "" || rest != "" && !more || !more && !strings.Contains(out.String(), ".") {
			return mask(address)
		}
		if !more {
			return out.String()
		}
		out.WriteByte('.')
		rest = rest[1:]
	}
}

// instance is what chooses one of the instances of a module or resource.
var instance = regexp.MustCompile(`^\[(?:[0-9]+|"(?:[^"\\]|\\.)*")\]`)

// isWord reports whether a rune can be in an identifier of the configuration.
func isWord(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// maskKey masks a quoted key: what it says, and then the way it is spelled.
func maskKey(quoted string, mask func(string) string) string {
	if said, err := strconv.Unquote(quoted); err == nil && mask(said) != said {
		quoted = strconv.Quote(mask(said))
	}
	inner := quoted[1 : len(quoted)-1]
	if masked := mask(inner); masked != inner {
		return `"` + masked + `"`
	}
	return quoted
}

func maskAll(list []string, mask func(string) string) {
	for i, s := range list {
		list[i] = mask(s)
	}
}

func maskAttributes(list []plumbline.Attribute, mask func(string) string) {
	for i := range list {
		a := &list[i]
		a.Before, a.After, a.Beside = maskValue(a.Before, mask), maskValue(a.After, mask), mask(a.Beside)
		path := mask(a.Path)
		if path != a.Path && a.Whole > 0 {
			a.Whole = maskedPrefix(path, mask(a.Path[:a.Whole]))
		}
		a.Path = path
	}
}

// maskedPrefix is the length of a path's beginning when both have been masked, or 0 when what was masked reaches across its end.
func maskedPrefix(path, prefix string) int {
	if prefix == "" || !within(path, prefix) {
		return 0
	}
	return len(prefix)
}

// MaskJSON masks the strings and numbers in a JSON text, in strings that hold JSON inside that, too; then what is left as a text. What is not JSON
// is masked as a text.
func MaskJSON(text string, mask func(string) string) string {
	text, _ = maskJSON(text, mask, maxNested)
	return mask(text)
}

// maskValue masks a value of an attribute or output. The result is JSON if the value was, or plumbline.Masked.
func maskValue(value string, mask func(string) string) string {
	if !plumbline.IsJSON(value) {
		return value // what stands for a value has no secret in it
	}
	// Without an escape, what is in the strings stands there as it is: most values are seen to have no secret at once.
	if strings.IndexByte(value, escape) < 0 && mask(value) == value {
		return value
	}
	text, _ := maskJSON(value, mask, maxNested)
	out := mask(text) // a secret may reach across strings
	if out != text && !json.Valid([]byte(out)) {
		return plumbline.Masked
	}
	return out
}

// maxNested is how deep JSON in strings of JSON in strings … is looked into.
const maxNested = 4

// maskJSON masks the strings and numbers in a JSON text. If there is nothing to mask, or it is not JSON, it stays as it is.
func maskJSON(text string, mask func(string) string, nested int) (masked string, changed bool) {
	if begin := strings.TrimLeft(text, " \t\r\n"); begin == "" || strings.IndexByte(`{["-0123456789`, begin[0]) < 0 {
		return text, false // true, false, null, or no JSON
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return text, false
	}
	v, changed = maskIn(v, mask, nested)
	if !changed {
		return text, false
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return `"` + plumbline.Masked + `"`, true // cannot be: v came from a decoder
	}
	return strings.TrimSuffix(b.String(), "\n"), true
}

func maskIn(v any, mask func(string) string, nested int) (masked any, changed bool) {
	switch v := v.(type) {
	case string:
		s := mask(v) // before what is inside: all of it may be one secret, which is not to be found any more once a part is masked
		if begin := strings.TrimLeft(s, " \t\r\n"); nested > 0 && begin != "" && (begin[0] == '{' || begin[0] == '[') {
			var changed bool
			if s, changed = maskJSON(s, mask, nested-1); changed {
				s = mask(s)
			}
		}
		return s, s != v
	case json.Number:
		if s := mask(v.String()); s != v.String() {
			return s, true
		}
	case []any:
		for i := range v {
			var c bool
			v[i], c = maskIn(v[i], mask, nested)
			changed = changed || c
		}
	case map[string]any:
		for k, e := range v {
			e, c := maskIn(e, mask, nested)
			if name := mask(k); name != k {
				delete(v, k)
				k, c = name, true
			}
			v[k] = e
			changed = changed || c
		}
	}
	return v, changed
}
