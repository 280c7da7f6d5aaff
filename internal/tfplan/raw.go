package tfplan

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The functions in this file look into a value that jsontext has read, so it is valid JSON without duplicate names: they
// need no checks of their own. A nil value means that there is nothing.

// The kinds of values, as jsontext has them.
const (
	absent = jsontext.KindInvalid
	null   = jsontext.KindNull
	yes    = jsontext.KindTrue
	str    = jsontext.KindString
	number = jsontext.KindNumber
	object = jsontext.KindBeginObject
	array  = jsontext.KindBeginArray
)

// Marks of JSON.
const (
	quote  = '"'
	escape = '\\'
	comma  = ','
	colon  = ':'
)

func kindOf(v []byte) jsontext.Kind {
	if len(v) == 0 {
		return absent
	}
	if c := v[0]; c != '-' && (c < '0' || c > '9') {
		return jsontext.Kind(c)
	}
	return number
}

func isContainer(k jsontext.Kind) bool { return k == object || k == array }

// blank returns the index of the first byte of v from i on that is not white space.
func blank(v []byte, i int) int {
	for v[i] == ' ' || v[i] == '\n' || v[i] == '\t' || v[i] == '\r' {
		i++
	}
	return i
}

// endOf returns the index after the value that begins at v[i].
func endOf(v []byte, i int) int {
	switch v[i] {
	case quote:
		return endOfString(v, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch v[i] {
			case quote:
				i = endOfString(v, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	default:
		for i < len(v) {
			switch v[i] {
			case comma, '}', ']', ' ', '\n', '\t', '\r':
				return i
			}
			i++
		}
		return i
	}
}

func endOfString(v []byte, i int) int {
	for i++; ; {
		i += bytes.IndexByte(v[i:], quote) + 1
		escapes := 0
		for k := i - 2; v[k] == escape; k-- {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
}

// member is one name and value of an object.
type member struct {
	name  []byte // unquoted
	value []byte
}

// appendMembers appends the members of an object, sorted by name, and nothing for any other value.
func appendMembers(dst []member, v []byte) []member {
	if kindOf(v) != object {
		return dst
	}
	first, sorted := len(dst), true
	for i := blank(v, 1); v[i] != '}'; {
		end := endOfString(v, i)
		name := text(v[i:end])
		i = blank(v, blank(v, end)+1) // past the colon
		end = endOf(v, i)
		sorted = sorted && (len(dst) == first || bytes.Compare(dst[len(dst)-1].name, name) < 0)
		dst = append(dst, member{name, v[i:end]})
		if i = blank(v, end); v[i] == comma {
			i = blank(v, i+1)
		}
	}
	if !sorted {
		slices.SortFunc(dst[first:], func(a, b member) int { return bytes.Compare(a.name, b.name) })
	}
	return dst
}

// valueOf returns the value of a member of an object; nil: there is none, or v is no object.
func valueOf(v []byte, want string) []byte {
	if kindOf(v) != object {
		return nil
	}
	for i := blank(v, 1); v[i] != '}'; {
		end := endOfString(v, i)
		name := v[i:end]
		i = blank(v, blank(v, end)+1) // past the colon
		end = endOf(v, i)
		if string(text(name)) == want {
			return v[i:end]
		}
		if i = blank(v, end); v[i] == comma {
			i = blank(v, i+1)
		}
	}
	return nil
}

// appendElements appends the elements of an array, and nothing for any other value.
func appendElements(dst [][]byte, v []byte) [][]byte {
	if kindOf(v) != array {
		return dst
	}
	for i := blank(v, 1); v[i] != ']'; {
		end := endOf(v, i)
		dst = append(dst, v[i:end])
		if i = blank(v, end); v[i] == comma {
			i = blank(v, i+1)
		}
	}
	return dst
}

// text returns what a JSON string says. The result may be part of v.
func text(v []byte) []byte {
	in := v[1 : len(v)-1]
	if bytes.IndexByte(in, escape) < 0 {
		return in
	}
	out, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return in // not reached: v is valid
	}
	return out
}

func isTrue(v []byte) bool { return kindOf(v) == yes }

// anyTrue reports whether a mask marks anything.
func anyTrue(mask []byte) bool {
	switch kindOf(mask) {
	case yes:
		return true
	case object, array:
		if !bytes.Contains(mask, []byte("true")) {
			return false
		}
	default:
		return false
	}
	for i := 0; i < len(mask); i++ {
		switch mask[i] {
		case quote:
			i = endOfString(mask, i) - 1
		case 't': // outside a string, this is the only value with it
			return true
		case 'f':
			i += len("false") - 1
		}
	}
	return false
}

// maxDeep bounds the nesting in one value, so that hostile input costs no more than its size. Schemas of real providers stay
// far below.
const maxDeep = 500

// tooDeep reports whether a value is nested deeper than maxDeep.
func tooDeep(v []byte) bool {
	if bytes.Count(v, []byte("{"))+bytes.Count(v, []byte("[")) <= maxDeep {
		return false
	}
	depth := 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case quote:
			i = endOfString(v, i) - 1
		case '{', '[':
			if depth++; depth > maxDeep {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// isEmpty reports whether a container has nothing in it.
func isEmpty(v []byte) bool {
	i := blank(v, 1)
	return v[i] == '}' || v[i] == ']'
}

// appendJSON appends v without blanks, with object members sorted and strings escaped as little as possible. Canonical
// JSON also has its numbers in the one form that the package comment gives.
func appendJSON(dst, v []byte, canonical bool) []byte {
	switch kindOf(v) {
	case str:
		return appendString(dst, v)
	case number:
		if canonical {
			return appendNumber(dst, v)
		}
		return append(dst, v...)
	case object:
		dst = append(dst, '{')
		for i, m := range appendMembers(nil, v) {
			if i > 0 {
				dst = append(dst, comma)
			}
			dst = append(appendQuoted(dst, m.name), colon)
			dst = appendJSON(dst, m.value, canonical)
		}
		return append(dst, '}')
	case array:
		dst = append(dst, '[')
		for i, e := range appendElements(nil, v) {
			if i > 0 {
				dst = append(dst, comma)
			}
			dst = appendJSON(dst, e, canonical)
		}
		return append(dst, ']')
	default:
		return append(dst, v...)
	}
}

// appendString appends a JSON string in its shortest spelling.
func appendString(dst, v []byte) []byte {
	if isShortest(v) {
		return append(dst, v...)
	}
	return appendQuoted(dst, text(v))
}

// isShortest reports whether a string has no escapes but those that its shortest spelling has, too.
func isShortest(v []byte) bool {
	for i := 0; ; i += 2 {
		next := bytes.IndexByte(v[i:], escape)
		if next < 0 {
			return true
		}
		switch i += next; v[i+1] {
		case quote, escape, 'n', 't', 'r', 'b', 'f':
		default: // \/ and \u
			return false
		}
	}
}

func appendQuoted(dst, s []byte) []byte {
	// The error is about invalid UTF-8, which jsontext has refused already.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// appendNumber appends a number as an integer without trailing zeros and an exponent, so that each value has one spelling.
func appendNumber(dst, v []byte) []byte {
	if isInteger(v) && v[0] != '0' {
		short := bytes.TrimRight(v, "0")
		return strconv.AppendInt(append(append(dst, short...), 'e'), int64(len(v)-len(short)), 10)
	}
	mantissa, exponent := v, int64(0)
	if i := bytes.IndexAny(v, "eE"); i >= 0 {
		e, err := strconv.ParseInt(string(v[i+1:]), 10, 64)
		if err != nil || e > 1<<62 || e < -1<<62 {
			return append(dst, v...)
		}
		mantissa, exponent = v[:i], e
	}
	negative := mantissa[0] == '-'
	if negative {
		mantissa = mantissa[1:]
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte("."))
	exponent -= int64(len(fraction))
	digits := bytes.TrimLeft(slices.Concat(whole, fraction), "0")
	if len(digits) == 0 {
		return append(dst, '0')
	}
	short := bytes.TrimRight(digits, "0")
	exponent += int64(len(digits) - len(short))
	if negative {
		dst = append(dst, '-')
	}
	dst = append(dst, short...)
	return strconv.AppendInt(append(dst, 'e'), exponent, 10)
}

// isInteger reports whether a number is spelled with digits only.
func isInteger(v []byte) bool {
	for _, c := range v {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// same reports whether two values are the same, however they are spelled.
func same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	k := kindOf(a)
	if k != kindOf(b) || plain(k, a) && plain(k, b) {
		return false
	}
	return bytes.Equal(appendJSON(nil, a, true), appendJSON(nil, b, true))
}

// plain reports whether a scalar is spelled in the one way that is usual.
func plain(k jsontext.Kind, v []byte) bool {
	return k == number && isInteger(v) || k == str && isShortest(v)
}
