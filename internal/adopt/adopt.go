// Package adopt rewrites a stack's files so that they say what is the case.
package adopt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Literals changes the files of a stack's directory so that they ask for an object as it was found. It returns those that changed, with every byte outside of
// the changed values as it was. It never guesses: what is not written out as a plain value in one place is refused, with the reason in one phrase and the
// kind plumbline.ErrConflict.
//
//   - The object is a resource of the root module, without count, for_each or dynamic blocks.
//   - Each attribute is a text, a number or true or false, written out in the resource's block, in a list or map of values there, or in a nested block that
//     stands there once; and it is written out as Git's side of the difference says, so that nobody's later change is overwritten.
func Literals(files map[string][]byte, d plumbline.Difference) (map[string][]byte, error) {
	if d.Kind != plumbline.DriftChanged || d.Deposed != "" {
		return nil, refuse("%s is %s, which no value in a file makes right", d.Key(), d.Kind.Words())
	}
	kind, name, ok := strings.Cut(d.Address, ".")
	if !ok || kind == "module" || kind == "data" || strings.ContainsAny(name, ".[") {
		return nil, refuse("%s is not a single resource of the stack's own directory", d.Address)
	}
	if len(d.Attributes) == 0 {
		return nil, refuse("it is not known what of %s differs", d.Address)
	}
	changed := map[string][]byte{}
	for _, a := range d.Attributes {
		// Each is looked up anew: what was written before has moved it.
		file, text, err := one(files, changed, kind, name, a)
		if err != nil {
			return nil, err
		}
		changed[file] = text
	}
	return changed, nil
}

// refusal is why something cannot be adopted, in one phrase.
type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == plumbline.ErrConflict }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// one changes one attribute.
func one(files, changed map[string][]byte, kind, name string, a plumbline.Attribute) (file string, text []byte, err error) {
	what := fmt.Sprintf("%s of %s.%s", a.Path, kind, name)
	steps, ok := parse(a.Path)
	switch {
	case a.Sensitive, strings.Contains(a.After, plumbline.Masked): // also what only looks like a secret, and was masked inside of a text
		return "", nil, refuse("%s is sensitive", what)
	case !ok:
		return "", nil, refuse("%s is a path that cannot be followed", what)
	case a.Before == "" || a.After == "":
		return "", nil, refuse("%s is there only on one side", what)
	}
	before, err := scalar(a.Before)
	if err != nil {
		return "", nil, refuse("%s is no plain value in Git", what)
	}
	after, err := scalar(a.After)
	if err != nil {
		return "", nil, refuse("%s is no plain value in reality", what)
	}
	now := maps.Clone(files)
	maps.Copy(now, changed)
	file, body, err := resource(now, kind, name)
	if err != nil {
		return "", nil, err
	}
	expr, why := find(body, steps)
	if why != "" {
		return "", nil, refuse("%s %s", what, why)
	}
	src := now[file]
	written, why := literal(expr, src)
	if why != "" {
		return "", nil, refuse("%s %s", what, why)
	}
	if !same(written, before) {
		return "", nil, refuse("%s is written as another value than the one that was applied", what)
	}
	r := expr.Range()
	out := slices.Concat(src[:r.Start.Byte], hclwrite.TokensForValue(after).Bytes(), src[r.End.Byte:])
	// What was written is read back: a value that reads as another one must not come into anybody's files.
	now[file] = out
	_, body, err = resource(now, kind, name)
	if err != nil {
		return "", nil, err
	}
	if expr, why = find(body, steps); why != "" {
		return "", nil, refuse("%s %s once it is changed", what, why)
	}
	if got, why := literal(expr, out); why != "" || !got.RawEquals(after) {
		return "", nil, refuse("%s cannot be written so that it reads as it is", what)
	}
	return file, out, nil
}

// scalar reads a text, a number, or true or false.
func scalar(text string) (cty.Value, error) {
	fail := fmt.Errorf("%q is no plain value: %w", text, plumbline.ErrInvalid)
	trimmed := strings.TrimSpace(text)
	if !plumbline.IsJSON(text) || !json.Valid([]byte(trimmed)) {
		return cty.NilVal, fail
	}
	var t cty.Type
	switch c := trimmed[0]; {
	case c == '"':
		t = cty.String
	case c == 't' || c == 'f':
		t = cty.Bool
	case c == '-' || '0' <= c && c <= '9':
		t = cty.Number
	default:
		return cty.NilVal, fail
	}
	v, err := ctyjson.Unmarshal([]byte(trimmed), t)
	if err != nil || v.IsNull() || vast(v) {
		return cty.NilVal, fail
	}
	return v, nil
}

// vast reports whether a number is out of all proportion: written out in digits it would fill the memory.
func vast(v cty.Value) bool {
	if v.Type() != cty.Number {
		return false
	}
	exp := v.AsBigFloat().MantExp(nil)
	return exp < -256 || exp > 256
}

// same reports whether two values are the same to a provider, which takes 80 for "80".
func same(a, b cty.Value) bool {
	x, err := convert.Convert(a, cty.String)
	y, err2 := convert.Convert(b, cty.String)
	return err == nil && err2 == nil && x.RawEquals(y)
}

// resource finds the one block that declares a resource.
func resource(files map[string][]byte, kind, name string) (file string, body *hclsyntax.Body, err error) {
	address := kind + "." + name
	for _, f := range slices.Sorted(maps.Keys(files)) {
		switch {
		case !strings.HasSuffix(f, ".tf") && !strings.HasSuffix(f, ".tofu"):
			if (strings.HasSuffix(f, ".tf.json") || strings.HasSuffix(f, ".tofu.json")) && bytes.Contains(files[f], []byte(name)) {
				return "", nil, refuse("%s may be declared in %s too, which is JSON", address, f)
			}
			continue
		}
		parsed, diags := hclsyntax.ParseConfig(files[f], f, hcl.InitialPos)
		if diags.HasErrors() {
			return "", nil, refuse("%s cannot be read", f)
		}
		for _, b := range parsed.Body.(*hclsyntax.Body).Blocks {
			if b.Type != "resource" || len(b.Labels) != 2 || b.Labels[0] != kind || b.Labels[1] != name {
				continue
			}
			if body != nil {
				return "", nil, refuse("%s is declared in %s and in %s", address, file, f)
			}
			file, body = f, b.Body
		}
	}
	switch {
	case body == nil:
		return "", nil, refuse("%s is not declared in the stack's own directory", address)
	case body.Attributes["count"] != nil || body.Attributes["for_each"] != nil:
		return "", nil, refuse("%s is made by count or for_each", address)
	}
	return file, body, nil
}

// find follows a path from a resource's block to the expression of its value.
func find(body *hclsyntax.Body, steps []step) (hclsyntax.Expression, string) {
	if len(steps) == 0 || steps[0].index >= 0 {
		return nil, "names no attribute"
	}
	expr, rest, why := attribute(body, steps)
	if why != "" {
		return nil, why
	}
	if expr == nil {
		var nested *hclsyntax.Block
		for _, b := range body.Blocks {
			switch {
			case b.Type == "dynamic" && len(b.Labels) == 1 && b.Labels[0] == steps[0].name:
				return nil, "is in a dynamic block"
			case b.Type == steps[0].name && nested != nil:
				return nil, "is in a block that stands there more than once"
			case b.Type == steps[0].name:
				nested = b
			}
		}
		if nested == nil {
			return nil, "is not written out"
		}
		inside := steps[1:]
		if len(inside) > 0 && inside[0].index == 0 {
			inside = inside[1:] // blocks are a list, of one
		}
		if len(inside) == 0 || inside[0].index >= 0 {
			return nil, "is not written out"
		}
		if expr, rest, why = attribute(nested.Body, inside); expr == nil {
			if why == "" {
				why = "is not written out"
			}
			return nil, why
		}
	}
	for _, s := range rest {
		switch e := expr.(type) {
		case *hclsyntax.TupleConsExpr:
			if s.index < 0 || s.index >= len(e.Exprs) {
				return nil, "is not written out"
			}
			expr = e.Exprs[s.index]
		case *hclsyntax.ObjectConsExpr:
			var found hclsyntax.Expression
			for _, item := range e.Items {
				key, diags := item.KeyExpr.Value(nil)
				if diags.HasErrors() || key.IsNull() || key.Type() != cty.String {
					return nil, "is in a map whose keys are not all written out"
				}
				if key.AsString() == s.name && s.index < 0 {
					if found != nil {
						return nil, "is in a map that has it twice"
					}
					found = item.ValueExpr
				}
			}
			if found == nil {
				return nil, "is not written out"
			}
			expr = found
		default:
			return nil, "is not written out"
		}
	}
	return expr, ""
}

// attribute is the expression that a path begins with, nil where the block has none of that name.
func attribute(body *hclsyntax.Body, steps []step) (hclsyntax.Expression, []step, string) {
	a := body.Attributes[steps[0].name]
	if a == nil {
		return nil, nil, ""
	}
	return a.Expr, steps[1:], ""
}

// literal is the value of an expression that is one plain value, and nothing that Terraform computes.
func literal(expr hclsyntax.Expression, src []byte) (cty.Value, string) {
	plain := false
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		plain = true
	case *hclsyntax.UnaryOpExpr:
		_, plain = e.Val.(*hclsyntax.LiteralValueExpr)
	case *hclsyntax.TemplateExpr:
		plain = e.IsStringLiteral() || len(e.Parts) == 0
		if r := e.Range(); plain && bytes.HasPrefix(src[r.Start.Byte:], []byte("<<")) {
			return cty.NilVal, "is written over several lines"
		}
	}
	if !plain {
		return cty.NilVal, "is computed, and not written out"
	}
	v, diags := expr.Value(nil)
	if diags.HasErrors() || v.IsNull() || !v.IsWhollyKnown() || !v.Type().IsPrimitiveType() || vast(v) {
		return cty.NilVal, "is no plain value"
	}
	return v, ""
}
