package adopt

import (
	"encoding/json"
	"strconv"
	"strings"
)

// step is one part of an attribute's path: a name, or an index from 0.
type step struct {
	name  string
	index int // -1: a name
}

// parse takes apart what plumbline.Attribute has for a path, such as tags["a.b"] or ingress[0].from_port.
func parse(path string) ([]step, bool) {
	var out []step
	for rest := path; rest != ""; {
		switch {
		case strings.HasPrefix(rest, `["`):
			d := json.NewDecoder(strings.NewReader(rest[1:]))
			var key string
			if d.Decode(&key) != nil {
				return nil, false
			}
			rest = rest[1+int(d.InputOffset()):]
			if !strings.HasPrefix(rest, "]") {
				return nil, false
			}
			out, rest = append(out, step{key, -1}), rest[1:]
		case rest[0] == '[':
			number, after, ok := strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(number)
			if !ok || err != nil || i < 0 || strconv.Itoa(i) != number {
				return nil, false
			}
			out, rest = append(out, step{"", i}), after
		default:
			if len(out) > 0 {
				if rest[0] != '.' {
					return nil, false
				}
				rest = rest[1:]
			}
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, false
			}
			out, rest = append(out, step{rest[:end], -1}), rest[end:]
		}
	}
	return out, len(out) > 0
}
