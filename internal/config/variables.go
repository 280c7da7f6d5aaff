package config

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// entry is one element of a map setting.
type entry struct {
	name   string
	value  cty.Value // may be marked inside
	secret bool      // the map as a whole came from env(): even its names are not to be shown
	at     hcl.Range
}

// String is the name as messages show it.
func (e entry) String() string {
	return text{value: e.name, secret: e.secret}.String()
}

// entries are the elements of a map in the order of their names.
func (b *body) entries(name string) []entry {
	v, at, ok := b.value(name)
	if !ok {
		return nil
	}
	v, marks := v.Unmark()
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		b.r.problem(at, "%s in %s must be a map, not %s; write %s = { name = … }", name, b.what, typeName(v), name)
		return nil
	}
	places := b.keys(name)
	out := []entry{}
	for key, value := range v.AsValueMap() {
		e := entry{name: key, value: value, secret: has(marks), at: at}
		if place, ok := places[key]; ok {
			e.at = place
		}
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// keys are the places of the names in a map that is written out. Of a name that stands there twice HCL keeps the last, silently.
func (b *body) keys(attr string) map[string]hcl.Range {
	object, ok := b.in.Attributes[attr].Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return nil
	}
	places := map[string]hcl.Range{}
	for _, item := range object.Items {
		// The whole map was evaluated before, so a key has a value; one from env() has no place of its own.
		v, diags := item.KeyExpr.Value(b.r.contexts[item.KeyExpr.Range().Filename])
		if diags.HasErrors() || v.IsMarked() || v.IsNull() {
			continue
		}
		if v, err := convert.Convert(v, cty.String); err == nil {
			key, at := v.AsString(), item.KeyExpr.Range()
			if first, twice := places[key]; twice {
				b.r.problem(at, "%q stands twice in %s of %s, first on line %d; keep one", key, attr, b.what, first.Start.Line)
				continue
			}
			places[key] = at
		}
	}
	return places
}

// variable turns a value into Terraform's JSON syntax.
func (r *reader) variable(e entry) (plumbline.Variable, error) {
	plain, marked := e.value.UnmarkDeepWithPaths()
	out := plumbline.Variable{Name: e.name}
	seen := map[string]bool{}
	collect := func(v cty.Value) error {
		return cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
			if v.Type() == cty.String && !v.IsNull() && v.AsString() != "" && !seen[v.AsString()] {
				seen[v.AsString()] = true
				out.Sensitive = append(out.Sensitive, v.AsString())
				r.secret(v.AsString())
			}
			return true, nil
		})
	}
	for _, m := range marked {
		if !has(m.Marks) {
			continue
		}
		v, err := m.Path.Apply(plain)
		if err == nil {
			err = collect(v)
		}
		if err != nil {
			return out, fmt.Errorf("find the secrets in it: %w", err)
		}
	}
	if e.secret {
		if err := collect(plain); err != nil {
			return out, fmt.Errorf("find the secrets in it: %w", err)
		}
	}
	sort.Strings(out.Sensitive)
	encoded, err := ctyjson.Marshal(plain, plain.Type())
	if err != nil {
		return out, fmt.Errorf("write it as JSON: %w", err)
	}
	out.JSON = plumbline.NewSecret(string(encoded))
	return out, nil
}

// variables reads a map of Terraform values.
func (r *reader) variables(b *body, attr string) []plumbline.Variable {
	var out []plumbline.Variable
	for _, e := range b.entries(attr) {
		if !hclsyntax.ValidIdentifier(e.name) {
			r.problem(e.at, "%s in %s of %s is not a valid name of a variable; names are letters, digits, \"_\" and \"-\", and begin with a letter or \"_\"", e, attr, b.what)
			continue
		}
		v, err := r.variable(e)
		if err != nil {
			// The error may quote the value.
			r.problem(e.at, "%s in %s of %s cannot be handed to Terraform", e, attr, b.what)
			continue
		}
		out = append(out, v)
	}
	return out
}

// braces find what looks like a token in a backend setting.
var braces = regexp.MustCompile(`\{[A-Za-z_.]*\}`)

// backend reads the settings for -backend-config, in whose strings {stack} stands for the stack's name.
func (r *reader) backend(b *body) []plumbline.Variable {
	out := r.variables(b, "backend")
	for _, e := range b.entries("backend") {
		plain, marks := e.value.UnmarkDeep()
		if has(marks) || e.secret {
			continue
		}
		// The callback never fails.
		_ = cty.Walk(plain, func(_ cty.Path, v cty.Value) (bool, error) {
			if v.Type() != cty.String || v.IsNull() {
				return true, nil
			}
			for _, token := range braces.FindAllString(v.AsString(), -1) {
				if token != "{stack}" {
					r.problem(e.at, "%s in backend of %s has %q, which stands for nothing; the only one is \"{stack}\", the stack's name", e, b.what, token)
				}
			}
			return true, nil
		})
	}
	return out
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reserved are the variables of Terraform's environment that Plumbline sets itself or keeps from being set, with what to do instead.
// A name that ends in * stands for all that begin so.
var reserved = []struct{ name, instead string }{
	{"TF_VAR_*", "write it into vars"},
	{"TF_CLI_ARGS*", "it would change Terraform's arguments behind Plumbline's back; use vars and backend"},
	{"TF_WORKSPACE", "name the workspace in the stack's block of .plumbline.hcl"},
	{"TF_INPUT", "nobody is there to answer Terraform, and Plumbline says so to it; take it out"},
	{"TF_IN_AUTOMATION", "Plumbline sets it; take it out"},
	{"TF_LOG*", "Terraform's own log holds secrets in clear; take it out"},
	{"TF_REATTACH_PROVIDERS", "providers come from the lock file; take it out"},
	{"TF_DATA_DIR", "Plumbline decides where a run works; take it out"},
	{"TF_CLI_CONFIG_FILE", "Plumbline writes that file; for a mirror write terraform { providers { mirror = … } }"},
	{"TERRAFORM_CONFIG", "Plumbline writes that file; for a mirror write terraform { providers { mirror = … } }"},
	{"TF_PLUGIN_CACHE_*", "runs share a provider store of Plumbline's; take it out"},
	{"TF_APPEND_USER_AGENT", "Plumbline sets it; take it out"},
	{"TF_DISABLE_PLUGIN_TLS", "it would take a protection away; take it out"},
	{"TF_SKIP_PROVIDER_VERIFY", "it would take a protection away; take it out"},
	{"TF_ENCRYPTION", "it cannot be kept apart for each stack; write the encryption block into the stack"},
	{"HOME", "each run has a private one; take it out"},
	{"TMPDIR", "each run has a private one; take it out"},
	{"PATH", "Plumbline decides which programs a run sees; take it out"},
	{"PWD", "Plumbline decides where a run works; take it out"},
	{"LD_*", "it would load foreign code into every program of a run; take it out"},
}

// envVars reads the environment variables for Terraform.
func (r *reader) envVars(b *body) []plumbline.EnvVar {
	var out []plumbline.EnvVar
	for _, e := range b.entries("env") {
		if instead := isReserved(e.name); instead != "" {
			r.problem(e.at, "%s in env of %s cannot be set: %s", e, b.what, instead)
			continue
		}
		if !envName.MatchString(e.name) {
			r.problem(e.at, "%s in env of %s is not a valid name of an environment variable; names are letters, digits and \"_\", and begin with a letter or \"_\"", e, b.what)
			continue
		}
		plain, marks := e.value.UnmarkDeep()
		v, err := convert.Convert(plain, cty.String)
		switch {
		case err != nil:
			r.problem(e.at, "%s in env of %s must be a text, not %s", e, b.what, typeName(plain))
			continue
		case v.IsNull():
			r.problem(e.at, "%s in env of %s is null; leave it out, or write \"\"", e, b.what)
			continue
		case strings.ContainsRune(v.AsString(), 0):
			r.problem(e.at, "%s in env of %s has a NUL character in it", e, b.what)
			continue
		}
		secret := e.secret || has(marks)
		if secret {
			r.secret(v.AsString())
		}
		out = append(out, plumbline.EnvVar{Name: e.name, Value: plumbline.NewSecret(v.AsString()), Sensitive: secret})
	}
	return out
}

func isReserved(name string) (instead string) {
	for _, x := range reserved {
		prefix, wild := strings.CutSuffix(x.name, "*")
		if name == x.name || (wild && strings.HasPrefix(name, prefix)) {
			return x.instead
		}
	}
	return ""
}
