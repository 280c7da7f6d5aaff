package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/util"
)

// document takes a file of data in, under the names of the directories it is in.
func (s *sources) document(file, dir string, text []byte) {
	var doc any
	if filepath.Ext(file) == ".json" {
		if err := util.UnmarshalJSON(text, &doc); err != nil {
			line, column := 1, 1
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				line, column = position(text, int(syntax.Offset))
			}
			s.errs.add(file, line, column, "not valid JSON: %v", err)
			return
		}
	} else if err := util.Unmarshal(text, &doc); err != nil {
		line := 1
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1]) // the pattern is digits
		}
		s.errs.add(file, line, 1, "not valid YAML: %v", err)
		return
	}
	object, ok := doc.(map[string]any)
	if !ok {
		s.errs.add(file, 1, 1, "data must be an object, so that its parts have names")
		return
	}
	into := s.data
	if dir != "." {
		for _, name := range strings.Split(filepath.ToSlash(dir), "/") {
			if _, there := into[name]; !there {
				into[name] = map[string]any{}
			}
			next, ok := into[name].(map[string]any)
			if !ok {
				s.errs.add(file, 1, 1, "another file has %q already, as something that is not an object", name)
				return
			}
			into = next
		}
	}
	if at := merge(into, object, ""); at != "" {
		s.errs.add(file, 1, 1, "another file has %s already, as something else", at)
	}
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// merge adds what is in from to into, and returns the name of what both have, "" if nothing.
func merge(into, from map[string]any, under string) string {
	conflict := ""
	for name, v := range from {
		old, there := into[name]
		a, ok1 := old.(map[string]any)
		b, ok2 := v.(map[string]any)
		at := ""
		switch {
		case !there:
			into[name] = v
		case ok1 && ok2:
			at = merge(a, b, under+name+".")
		default:
			at = under + name
		}
		if at != "" && (conflict == "" || at < conflict) { // maps have no order, messages do
			conflict = at
		}
	}
	return conflict
}

// has reports whether there is something at a path.
func has(data map[string]any, path []string) bool {
	var v any = data
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if v, ok = m[name]; !ok {
			return false
		}
	}
	return true
}

// position is the line and the column, 1-based, of the byte before an offset.
func position(text []byte, offset int) (line, column int) {
	before := text[:min(max(offset-1, 0), len(text))]
	return 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n')
}
