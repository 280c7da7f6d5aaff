package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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

// impure are those that read something from outside.
var impure = []string{"aws_secret", "aws_ssm", "env", "file"}

// functions are those that expressions of a file can call.
func (r *reader) functions(file string) map[string]function.Function {
	all := map[string]function.Function{"env": r.env(), "file": r.file(file), "aws_secret": r.awsSecret(), "aws_ssm": r.awsParameter()}
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

// awsSecret reads a secret of AWS Secrets Manager: all of it, or, of one that is a JSON object, what stands under a key.
func (r *reader) awsSecret() function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "id", Type: cty.String, AllowMarked: true}},
		VarParam: &function.Parameter{Name: "key", Type: cty.String, AllowMarked: true},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, errors.New(`aws_secret() takes the name or ARN of a secret, then at most one key; write aws_secret("plumbline/gitlab", "token")`)
			}
			for _, a := range args {
				if a.IsMarked() {
					return cty.NilVal, errors.New("aws_secret() needs the name of a secret as it is; it cannot come from a secret itself")
				}
			}
			id := args[0].AsString()
			whole, err := r.outside("aws_secret", id, r.sys.AWSSecret)
			if err != nil || len(args) == 1 {
				return r.confidant(whole), err
			}
			r.confidant(whole) // what else is in it is nobody's business either
			key := args[1].AsString()
			var members map[string]any
			if json.Unmarshal([]byte(whole), &members) != nil {
				return cty.NilVal, fmt.Errorf("the secret %q is not a JSON object, so there is nothing under the key %q in it; write aws_secret(%q)", id, key, id)
			}
			switch v := members[key].(type) {
			case string:
				return r.confidant(v), nil
			case float64, bool:
				return r.confidant(fmt.Sprint(v)), nil
			case nil:
				return cty.NilVal, fmt.Errorf("the secret %q has no key %q; it has %s", id, key, strings.Join(slices.Sorted(maps.Keys(members)), ", "))
			}
			return cty.NilVal, fmt.Errorf("the key %q of the secret %q is neither a text nor a number", key, id)
		},
	})
}

// awsParameter reads a parameter of the Parameter Store of AWS Systems Manager. It is a secret, of whichever type it is.
func (r *reader) awsParameter() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "name", Type: cty.String, AllowMarked: true}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if args[0].IsMarked() {
				return cty.NilVal, errors.New("aws_ssm() needs the name of a parameter as it is; it cannot come from a secret itself")
			}
			v, err := r.outside("aws_ssm", args[0].AsString(), r.sys.AWSParameter)
			return r.confidant(v), err
		},
	})
}

// confidant is a value that is masked wherever it turns up.
func (r *reader) confidant(v string) cty.Value {
	r.secret(v)
	return cty.StringVal(v).Mark(sensitive{})
}

// outside asks a service for a value once, however often it is named.
func (r *reader) outside(what, id string, ask func(string) (string, error)) (string, error) {
	key := what + " " + id
	if a, ok := r.asked[key]; ok {
		return a.value, a.err
	}
	var a answer
	switch {
	case id == "":
		a.err = fmt.Errorf("%s() needs a name; it is empty", what)
	case ask == nil:
		a.err = fmt.Errorf("%s() cannot ask AWS here", what)
	default:
		if a.value, a.err = ask(id); a.err == nil && a.value == "" {
			a.err = fmt.Errorf("%s(%q) is empty", what, id)
		}
	}
	r.asked[key] = a
	return a.value, a.err
}

// answer is what a service has said.
type answer struct {
	value string
	err   error
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
		if _, is := pure[name]; is || slices.Contains(impure, name) {
			return
		}
		ok = false
		switch near := nearest(name, functionNames()); {
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
	names := slices.Clone(impure)
	for n := range pure {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
