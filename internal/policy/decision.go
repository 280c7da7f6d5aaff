package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// decision is a rule that is asked about plans.
type decision struct {
	ref   string // "data.plumbline.storage.deny"
	pack  string // "plumbline.storage"
	name  string // "deny"
	at    string // the file and line where it is first defined
	level plumbline.PolicyLevel
}

// String is how messages name it.
func (d decision) String() string { return fmt.Sprintf("%s.%s (%s)", d.pack, d.name, d.at) }

var decides = regexp.MustCompile(`^(deny|violation|warn|require_approval)(_\w+)?$`)

// levels are those of the names.
var levels = map[string]plumbline.PolicyLevel{
	"deny": plumbline.PolicyDeny, "violation": plumbline.PolicyDeny, "warn": plumbline.PolicyWarn, "require_approval": plumbline.PolicyApprove,
}

// decisions finds the rules that decide, in order of package and name, and notes those that never could.
func (s *sources) decisions() []decision {
	found := map[string]decision{}
	for _, file := range slices.Sorted(maps.Keys(s.modules)) {
		m := s.modules[file]
		for _, rule := range m.Rules {
			ref := rule.Head.Ref()
			name := strings.Trim(ref[0].Value.String(), `"`)
			match := decides.FindStringSubmatch(name)
			if match == nil {
				continue
			}
			if why := mute(rule); why != "" {
				at := rule.Loc()
				s.errs.add(file, at.Row, at.Col, "%s; write `%s contains msg if { … }`", why, name)
				continue
			}
			path := m.Package.Path.Append(ast.StringTerm(name)).String()
			if _, there := found[path]; !there {
				found[path] = decision{
					ref: path, pack: strings.TrimPrefix(m.Package.Path.String(), "data."), name: name, level: levels[match[1]],
					at: fmt.Sprintf("%s:%d", file, rule.Loc().Row),
				}
			}
		}
	}
	out := make([]decision, 0, len(found))
	for _, path := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[path])
	}
	return out
}

// mute is why a rule with the name of one that decides could never say anything; "" if it could.
func mute(rule *ast.Rule) string {
	head := rule.Head
	name := head.Ref()[0].Value.String()
	switch {
	case len(head.Args) > 0:
		return fmt.Sprintf("%s is a function here, and nobody calls it with a plan", name)
	case len(head.Ref()) > 1:
		return fmt.Sprintf("%s makes an object here, not a set", head.Ref())
	case head.RuleKind() == ast.MultiValue || head.Value == nil:
		return ""
	}
	switch head.Value.Value.(type) {
	case ast.Boolean, ast.Null, ast.Number, ast.String, ast.Object, *ast.ObjectComprehension:
		return fmt.Sprintf("%s is one value here, not a set", name)
	}
	return ""
}
