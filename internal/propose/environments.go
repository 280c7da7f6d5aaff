package propose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// kindOf is what a name says of an environment: how near it is to production.
type kindOf int

const (
	unknown kindOf = iota
	development
	testing
	staging
	production
)

var words = map[string]kindOf{
	"dev": development, "devel": development, "develop": development, "development": development, "sandbox": development, "sbx": development, "playground": development,
	"test": testing, "testing": testing, "tst": testing, "qa": testing, "int": testing, "integration": testing,
	"staging": staging, "stage": staging, "stg": staging, "uat": staging, "preprod": staging, "preproduction": staging, "pre-production": staging, "acceptance": staging,
	"prod": production, "prd": production, "production": production,
}

// rank orders environments as a change goes through them. What nobody knows stands before production.
func rank(name string) int {
	switch k := nearness(name); k {
	case unknown:
		return int(staging)
	case production:
		return int(production)
	default:
		return int(k) - 1
	}
}

// nearness also reads names such as "prod-eu" and "eu-west-1-staging".
func nearness(name string) kindOf {
	name = strings.ToLower(name)
	if k := words[name]; k != unknown {
		return k
	}
	found := unknown
	for _, part := range strings.FieldsFunc(name, func(c rune) bool { return c == '-' || c == '_' || c == '.' || c == '/' }) {
		found = max(found, words[part])
	}
	return found
}

// applies is how an environment of that name is proposed: only what is surely no production is applied without asking.
func applies(name string) plumbline.ApplyMode {
	if k := nearness(name); k == development || k == testing {
		return plumbline.ApplyAutomatic
	}
	return plumbline.ApplyApproval
}

// above are names of directories and beginnings of branches whose next part is an environment.
var above = map[string]bool{"env": true, "envs": true, "environment": true, "environments": true}

func (p *Proposal) environments(f Facts, a Answers) {
	byPath, byBranch := p.paths(f), p.branches(f)
	main := f.MainBranch()
	switch {
	case len(a.Environments) > 0:
		p.Environments = slices.Clone(a.Environments)
		for i := range p.Environments {
			e := &p.Environments[i]
			e.Branch, e.Because = cmp.Or(e.Branch, main), "you said so"
			p.ByPath = p.ByPath || len(e.Include) > 0
		}
	case len(byBranch) > 1 || len(byBranch) > 0 && len(byPath) == 0:
		p.Environments = byBranch
		if len(byPath) > 1 {
			p.note("There are directories that look like environments as well (%s). If those are the environments, say so: --environment NAME=BRANCH:GLOB.", few(names(byPath)))
		}
		if !slices.ContainsFunc(byBranch, func(e Environment) bool { return e.Branch == main }) {
			p.note("Branch %q is no environment's, so nothing is planned for it. If one is deployed from it: --environment NAME=%s.", main, main)
		}
	case len(byPath) > 0:
		p.Environments, p.ByPath = byPath, true
	default:
		p.Environments = []Environment{{Name: "production", Branch: main, Because: "neither branches nor directories look like environments, so there is one"}}
	}
	slices.SortStableFunc(p.Environments, func(a, b Environment) int {
		return cmp.Or(cmp.Compare(rank(a.Name), rank(b.Name)), strings.Compare(a.Name, b.Name))
	})
	taken := map[string]bool{}
	for i := range p.Environments {
		e := &p.Environments[i]
		e.Apply = applies(e.Name)
		e.Name = unique(nameFrom(e.Name, "environment"), taken)
		whole := plumbline.Environment{Include: e.Include}
		for _, s := range f.Layout.Stacks {
			if whole.Contains(s.Dir) {
				e.Stacks = append(e.Stacks, s.Name)
			}
		}
	}
	p.left(f)
}

// left notes the stacks that are in no environment: nobody would notice that nothing plans them.
func (p *Proposal) left(f Facts) {
	if !p.ByPath {
		return
	}
	in := map[string]bool{}
	for _, e := range p.Environments {
		for _, s := range e.Stacks {
			in[s] = true
		}
	}
	var out []string
	for _, s := range f.Layout.Stacks {
		if !in[s.Name] {
			out = append(out, s.Name)
		}
	}
	switch len(out) {
	case 0:
	case 1:
		p.note("Stack %s is in no environment, so nothing plans it until one includes it.", out[0])
	default:
		p.note("%d stacks are in no environment (%s), so nothing plans them until one includes them.", len(out), few(out))
	}
}

// MainBranch is the branch that is meant when none is named.
func (f Facts) MainBranch() string {
	for _, b := range []string{f.Default, "main", "master"} {
		if b != "" && writable(b) && (b == f.Default || slices.Contains(f.Branches, b)) {
			return b
		}
	}
	for _, b := range f.Branches {
		if writable(b) {
			return b
		}
	}
	return "main"
}

// branches are the environments that branches look like.
func (p *Proposal) branches(f Facts) []Environment {
	var prefixed, named []Environment
	for _, b := range slices.Compact(slices.Sorted(slices.Values(f.Branches))) { // a branch is here and on the remote
		first, rest, found := strings.Cut(b, "/")
		likely := found && above[first]
		if likely && !writable(b) {
			p.note("Branch %q cannot be written in plumbline.hcl, so it is left out.", b)
			continue
		}
		switch {
		case likely:
			prefixed = append(prefixed, Environment{Name: rest, Branch: b, Because: "branch " + first + "/…"})
		case !found && words[strings.ToLower(b)] != unknown:
			named = append(named, Environment{Name: long(b), Branch: b, Because: "branch of that name"})
		}
	}
	if len(prefixed) > 0 {
		return prefixed
	}
	// "develop" or "test" alone is how many people work, whatever they deploy.
	if len(named) == 0 || !slices.ContainsFunc(named, func(e Environment) bool { return nearness(e.Name) >= staging }) {
		return nil
	}
	main := f.MainBranch()
	isProduction := func(e Environment) bool { return nearness(e.Name) == production }
	isMain := func(e Environment) bool { return e.Branch == main }
	if !slices.ContainsFunc(named, isProduction) && !slices.ContainsFunc(named, isMain) {
		named = append(named, Environment{Name: "production", Branch: main, Because: "the main branch, beside branches of other environments"})
	}
	return named
}

func long(name string) string {
	switch strings.ToLower(name) {
	case "dev", "devel", "develop":
		return "development"
	case "prod", "prd":
		return "production"
	case "stage", "stg":
		return "staging"
	}
	return name
}

// paths are the environments that directories of stacks look like: a part of the path that names one, or whatever comes after "environments".
func (p *Proposal) paths(f Facts) []Environment {
	dirs := map[string]map[string]bool{} // by name of the environment
	for _, s := range f.Layout.Stacks {
		parts := strings.Split(s.Dir, "/")
		for i, part := range parts {
			if words[strings.ToLower(part)] == unknown && (i == 0 || !above[strings.ToLower(parts[i-1])]) {
				continue
			}
			dir := strings.Join(parts[:i+1], "/")
			if !writable(dir) {
				p.note("Directory %q cannot be written in plumbline.hcl, so it is left out.", dir)
				break
			}
			if dirs[part] == nil {
				dirs[part] = map[string]bool{}
			}
			dirs[part][dir] = true
			break
		}
	}
	var out []Environment
	for _, name := range sortedKeys(dirs) {
		list := slices.Sorted(maps.Keys(dirs[name]))
		e := Environment{Name: name, Branch: f.MainBranch(), Because: "directory " + list[0] + "/"}
		if len(list) > 1 {
			e.Because = fmt.Sprintf("directories %s", few(list))
		}
		for _, d := range list {
			e.Include = append(e.Include, globText(d)+"/**")
		}
		out = append(out, e)
	}
	if len(out) == 1 && !slices.ContainsFunc(f.Layout.Stacks, func(s plumbline.StackSpec) bool { return above[strings.Split(s.Dir, "/")[0]] }) {
		return nil // one directory "test" says nothing of environments
	}
	return out
}

// globText is a path as a pattern that matches it alone.
func globText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`).Replace(s)
}

// writable tells whether a text can stand in a configuration and mean the same: HCL has no bytes that are not UTF-8, and composes accents.
func writable(s string) bool {
	return utf8.ValidString(s) && cty.StringVal(s).AsString() == s && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func unique(name string, taken map[string]bool) string {
	base := name
	for i := 2; taken[name]; i++ {
		end := fmt.Sprintf("-%d", i)
		name = base[:min(len(base), 63-len(end))] + end
	}
	taken[name] = true
	return name
}

func names(list []Environment) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.Name
	}
	return out
}
