package diff

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxSteps is how deep a path may go to be taken apart; what is nested deeper stays in one piece.
const maxSteps = 32

// wholeObject stands for the empty path: the value as a whole.
const wholeObject = "(the whole object)"

// step is one step of a path.
type step struct {
	name  string
	index int
	kind  stepKind
	end   int // where it ends in the path, in bytes
}

type stepKind int

const (
	member  stepKind = iota // a name, of an attribute or a key of a map
	element                 // an index
	opaque                  // a path that cannot be read
)

// split takes a path apart. What does not follow the grammar of [plumbline.Attribute] is one opaque step: it is shown as it is.
func split(path string) []step {
	steps, ok := parsePath(path)
	if !ok {
		return []step{{name: path, kind: opaque, end: len(path)}}
	}
	return steps
}

// parsePath reads names that follow dots, and names in quotes or indexes in brackets. It refuses whatever has a shorter way to be written.
func parsePath(path string) (steps []step, ok bool) {
	for at := 0; at < len(path); {
		if len(steps) == maxSteps {
			return nil, false
		}
		rest := path[at:]
		var s step
		var n int
		switch {
		case strings.HasPrefix(rest, `["`):
			s, n = quotedStep(rest)
		case rest[0] == '[':
			s, n = indexStep(rest)
		case rest[0] == '.' && at > 0:
			if n = identifier(rest[1:]); n > 0 {
				n++
				s.name = rest[1:n]
			}
		case at == 0:
			n = identifier(rest)
			s.name = rest[:n]
		}
		if n == 0 {
			return nil, false
		}
		at += n
		s.end = at
		steps = append(steps, s)
	}
	return steps, len(steps) > 0
}

// identifier is the length of the name at the beginning of s, 0 if there is none.
func identifier(s string) int {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return i
		}
	}
	return len(s)
}

// quotedStep reads a step such as ["a.b"] and says how long it is, 0 if it is not one.
func quotedStep(s string) (step, int) {
	end := 2
	for end < len(s) && s[end] != '"' {
		if s[end] == '\\' {
			end++
		}
		end++
	}
	if end+1 >= len(s) || s[end+1] != ']' {
		return step{}, 0
	}
	name, err := jsontext.AppendUnquote(nil, s[1:end+1])
	if err != nil {
		return step{}, 0
	}
	return step{name: string(name)}, end + 2
}

// indexStep reads a step such as [0] and says how long it is, 0 if it is not one.
func indexStep(s string) (step, int) {
	end := strings.IndexByte(s, ']')
	if end < 2 || end > 10 || s[1] == '0' && end > 2 {
		return step{}, 0
	}
	for _, c := range []byte(s[1:end]) {
		if c < '0' || c > '9' {
			return step{}, 0
		}
	}
	index, err := strconv.Atoi(s[1:end])
	if err != nil {
		return step{}, 0
	}
	return step{index: index, kind: element}, end + 1
}

// label is a step at the beginning of a line.
func (s step) label() string {
	switch {
	case s.kind == element:
		return "[" + strconv.Itoa(s.index) + "]"
	case s.kind == opaque && s.name == "":
		return wholeObject
	case s.kind == opaque, s.name != "" && identifier(s.name) == len(s.name):
		return s.name
	default:
		return quote(s.name)
	}
}

// join is a step behind others.
func join(label string, s step) string {
	l := s.label()
	switch {
	case label == "", s.kind == element:
		return label + l
	case l[0] == '"':
		return label + "[" + l + "]"
	default:
		return label + "." + l
	}
}
