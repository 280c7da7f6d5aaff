package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// pure are the functions that need nothing from outside.
var pure = map[string]function.Function{
	"chomp":        stdlib.ChompFunc,
	"coalesce":     stdlib.CoalesceFunc,
	"compact":      stdlib.CompactFunc,
	"concat":       stdlib.ConcatFunc,
	"contains":     stdlib.ContainsFunc,
	"distinct":     stdlib.DistinctFunc,
	"flatten":      stdlib.FlattenFunc,
	"format":       stdlib.FormatFunc,
	"formatlist":   stdlib.FormatListFunc,
	"join":         stdlib.JoinFunc,
	"jsondecode":   stdlib.JSONDecodeFunc,
	"jsonencode":   stdlib.JSONEncodeFunc,
	"keys":         stdlib.KeysFunc,
	"length":       stdlib.LengthFunc,
	"lookup":       stdlib.LookupFunc,
	"lower":        stdlib.LowerFunc,
	"merge":        stdlib.MergeFunc,
	"regex":        stdlib.RegexFunc,
	"regexreplace": stdlib.RegexReplaceFunc,
	"replace":      stdlib.ReplaceFunc,
	"sort":         stdlib.SortFunc,
	"split":        stdlib.SplitFunc,
	"substr":       stdlib.SubstrFunc,
	"title":        stdlib.TitleFunc,
	"tobool":       stdlib.MakeToFunc(cty.Bool),
	"tonumber":     stdlib.MakeToFunc(cty.Number),
	"tostring":     stdlib.MakeToFunc(cty.String),
	"trim":         stdlib.TrimFunc,
	"trimprefix":   stdlib.TrimPrefixFunc,
	"trimspace":    stdlib.TrimSpaceFunc,
	"trimsuffix":   stdlib.TrimSuffixFunc,
	"upper":        stdlib.UpperFunc,
	"values":       stdlib.ValuesFunc,
}

// functions are those that expressions of a file can call.
func (r *reader) functions(file string) map[string]function.Function {
	all := map[string]function.Function{"env": r.env(), "file": r.file(file)}
	for name, f := range pure {
		all[name] = f
	}
	return all
}

// env reads an environment variable. Its value is a secret; a default is not, since it stands in the file.
func (r *reader) env() function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "name", Type: cty.String, AllowMarked: true}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String, AllowMarked: true},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			switch {
			case args[0].IsMarked():
				return cty.NilVal, errors.New("env() needs the name of a variable as it is; it cannot come from env() itself")
			case len(args) > 2:
				return cty.NilVal, errors.New(`env() takes a name, then at most one default; write env("NAME", "default")`)
			}
			name := args[0].AsString()
			v, set := r.sys.Getenv(name)
			switch {
			case set:
				r.secret(v)
				return cty.StringVal(v).Mark(sensitive{}), nil
			case len(args) == 2:
				return args[1], nil
			}
			return cty.NilVal, fmt.Errorf("the environment variable %s is not set; set it where Plumbline is started, or write env(%q, \"default\")", name, name)
		},
	})
}

// file reads a file relative to the one that names it.
func (r *reader) file(from string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := r.path(from, args[0].AsString())
			content, err := r.sys.ReadFile(path)
			var pathErr *fs.PathError
			if errors.As(err, &pathErr) {
				err = pathErr.Err
			}
			switch {
			case err != nil:
				return cty.NilVal, fmt.Errorf("file %s cannot be read: %w", path, err)
			case !utf8.Valid(content):
				return cty.NilVal, fmt.Errorf("file %s is not text in UTF-8", path)
			}
			return cty.StringVal(string(content)), nil
		},
	})
}

// known reports whether an expression uses only functions that exist and no variables, since there are none.
func (r *reader) known(e hclsyntax.Expression) bool {
	ok := true
	visit(e, func(n hclsyntax.Node) {
		call, is := n.(*hclsyntax.FunctionCallExpr)
		if !is {
			return
		}
		name := call.Name
		if _, is := pure[name]; is || name == "env" || name == "file" {
			return
		}
		ok = false
		switch near := nearest(name, functionNames()); {
		case slices.Contains(later["functions"], name):
			r.problem(call.NameRange, "%s() is not supported by this version of Plumbline; env() and file() read values from outside", name)
		case near != "":
			r.problem(call.NameRange, "there is no function %s(); did you mean %s()?", name, near)
		default:
			r.problem(call.NameRange, "there is no function %s(); there are %s", name, strings.Join(functionNames(), ", "))
		}
	})
	for _, t := range e.Variables() {
		ok = false
		at, name := t.SourceRange(), t.RootName()
		switch {
		// It may be a secret without its quotes.
		case !strings.Contains(r.source(at.Filename, at.Start.Line), name):
			r.problem(at, "this is not known here; if it is a text, write it in quotes")
		case len(t) == 1:
			r.problem(at, "%s is not known here; if it is a text, write it in quotes: %q", name, name)
		default:
			r.problem(at, "%s is not known here: a configuration has no variables; env(\"NAME\") reads one of the environment", name)
		}
	}
	return ok
}

func functionNames() []string {
	names := []string{"env", "file"}
	for n := range pure {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
