package discover

import (
	"path"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Expressions are never evaluated: a few lines of HCL can ask for more memory or time than there is. What counts as
// constant is read off the syntax tree.

// What path.module and path.root (path.cwd is the same) read as inside a constant. NUL keeps them apart from real text.
const (
	moduleMark = "\x00module"
	rootMark   = "\x00root"
)

// parts flattens an expression into pieces of text; unknown pieces are nil.
func parts(e hclsyntax.Expression) []*string {
	text := func(s string) []*string { return []*string{&s} }
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		v, err := convert.Convert(e.Val, cty.String)
		if err == nil && v.IsKnown() && !v.IsNull() {
			return text(v.AsString())
		}
	case *hclsyntax.TemplateExpr:
		var out []*string
		for _, p := range e.Parts {
			out = append(out, parts(p)...)
		}
		return out
	case *hclsyntax.TemplateWrapExpr:
		return parts(e.Wrapped)
	case *hclsyntax.ParenthesesExpr:
		return parts(e.Expression)
	case *hclsyntax.ObjectConsKeyExpr:
		if k := hcl.ExprAsKeyword(e.Wrapped); k != "" && !e.ForceNonLiteral {
			return text(k)
		}
		return parts(e.Wrapped)
	case *hclsyntax.ScopeTraversalExpr:
		if len(e.Traversal) == 2 && e.Traversal.RootName() == "path" {
			if a, ok := e.Traversal[1].(hcl.TraverseAttr); ok {
				switch a.Name {
				case "module":
					return text(moduleMark)
				case "root", "cwd":
					return text(rootMark)
				}
			}
		}
	}
	return []*string{nil}
}

// native returns the expression as the native syntax has it; in JSON a string is a template.
func native(e hcl.Expression) (hclsyntax.Expression, bool) {
	if e, ok := e.(hclsyntax.Expression); ok {
		return e, true
	}
	v, diags := e.Value(nil) // of JSON, without a context: the text itself
	if diags.HasErrors() {
		return nil, false
	}
	if v.Type() != cty.String || v.IsNull() || !v.IsKnown() {
		return &hclsyntax.LiteralValueExpr{Val: v}, v.Type().IsPrimitiveType()
	}
	return template(v.AsString())
}

func template(text string) (hclsyntax.Expression, bool) {
	if _, deep := tooDeep([]byte(text), hclsyntax.LexTemplate, hcl.InitialPos); deep {
		return nil, false
	}
	e, diags := hclsyntax.ParseTemplate([]byte(text), "", hcl.InitialPos)
	return e, !diags.HasErrors()
}

// constant returns the text of an expression that is constant.
func constant(e hcl.Expression) (string, bool) {
	n, ok := native(e)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for _, p := range parts(n) {
		if p == nil {
			return "", false
		}
		b.WriteString(*p)
	}
	return b.String(), true
}

// constants collects the constants of an object, with dotted names for nested ones.
func constants(into map[string]string, name string, e hcl.Expression) {
	if pairs, diags := hcl.ExprMap(e); !diags.HasErrors() {
		for _, p := range pairs {
			if k, ok := constant(p.Key); ok {
				constants(into, dotted(name, k), p.Value)
			}
		}
		return
	}
	if list, diags := hcl.ExprList(e); !diags.HasErrors() {
		if len(list) == 1 { // JSON writes a block as a list of one
			constants(into, name, list[0])
		}
		return
	}
	if text, ok := constant(e); ok && name != "" {
		into[name] = text
	}
}

func bodyConstants(into map[string]string, name string, body hcl.Body) {
	attrs, _ := body.JustAttributes()
	for k, a := range attrs {
		constants(into, dotted(name, k), a.Expr)
	}
	if b, ok := body.(*hclsyntax.Body); ok {
		for _, b := range b.Blocks {
			bodyConstants(into, dotted(name, b.Type), b.Body)
		}
	}
}

func dotted(name, k string) string {
	if name == "" {
		return k
	}
	return name + "." + k
}

// A ref is a path in the code.
type ref struct {
	base string // moduleMark or rootMark: what path starts from
	path string // when glob, a pattern
	glob bool
	loud bool // an argument of a function that reads files; other text only looks like a path
}

// pathOf reads pieces as a path. What is unknown in it becomes "*".
func pathOf(pieces []*string) (r ref, ok bool) {
	if len(pieces) == 0 || pieces[0] == nil {
		return r, false
	}
	first := *pieces[0]
	rest := pieces[1:]
	r.base = rootMark
	if first == moduleMark || first == rootMark {
		r.base = first
		if len(rest) > 0 && (rest[0] == nil || !strings.HasPrefix(*rest[0], "/")) {
			return r, false // path.module is only the beginning of a name
		}
	} else {
		if strings.HasPrefix(first, "/") || strings.HasPrefix(first, "~") {
			return r, false
		}
		rest = pieces
	}
	var b strings.Builder
	for _, p := range rest {
		if p == nil {
			r.glob = true
		}
	}
	for i, p := range rest {
		switch {
		case p == nil && i > 0 && rest[i-1] == nil: // one star is enough
		case p == nil:
			b.WriteString("*")
		case strings.ContainsRune(*p, 0):
			return r, false
		case r.glob:
			b.WriteString(escapeGlob(*p))
		default:
			b.WriteString(*p)
		}
	}
	r.path = strings.TrimLeft(b.String(), "/")
	return r, true
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`)

func escapeGlob(s string) string { return globEscaper.Replace(s) }

// fileFunctions read the file that their first argument names.
var fileFunctions = map[string]bool{
	"file": true, "filebase64": true, "filebase64sha256": true, "filebase64sha512": true, "fileexists": true, "filemd5": true,
	"filesha1": true, "filesha256": true, "filesha512": true, "templatefile": true,
}

// references notes the paths in a piece of code.
func (f *facts) references(n hclsyntax.Node) {
	taken := map[hclsyntax.Node]bool{} // read as part of something else already
	_ = hclsyntax.VisitAll(n, func(n hclsyntax.Node) hcl.Diagnostics {
		switch e := n.(type) {
		case *hclsyntax.FunctionCallExpr:
			name := strings.TrimPrefix(e.Name, "core::")
			if len(e.Args) == 0 || name != "fileset" && !fileFunctions[name] {
				break
			}
			taken[e.Args[0]] = true
			r, ok := pathOf(parts(e.Args[0]))
			if !ok {
				break
			}
			if name == "fileset" {
				r = fileset(r, e.Args[1:])
			}
			r.loud = true
			f.reference(r)
		case *hclsyntax.TemplateExpr:
			if !taken[e] {
				f.templatePaths(parts(e))
			}
		}
		return nil
	})
}

// fileset is the pattern below a directory; everything below it when the pattern is not constant.
func fileset(dir ref, args []hclsyntax.Expression) ref {
	pattern, ok := "**", false
	if len(args) > 0 {
		if pattern, ok = constant(args[0]); !ok || strings.ContainsRune(pattern, 0) {
			pattern = "**"
		}
	}
	if !dir.glob {
		dir.path = escapeGlob(dir.path)
	}
	dir.path, dir.glob = path.Join(dir.path, pattern), true
	return dir
}

// templatePaths notes where a template says path.module or path.root followed by a path, up to the next space.
func (f *facts) templatePaths(pieces []*string) {
	for i, p := range pieces {
		if p == nil || *p != moduleMark && *p != rootMark {
			continue
		}
		here := []*string{p}
		for _, q := range pieces[i+1:] {
			if q == nil {
				here = append(here, nil)
				continue
			}
			if *q == moduleMark || *q == rootMark {
				break
			}
			text := *q
			end := strings.IndexAny(text, " \t\r\n\"'`;|&<>(),:")
			if end >= 0 {
				text = text[:end]
			}
			here = append(here, &text)
			if end >= 0 {
				break
			}
		}
		if r, ok := pathOf(here); ok {
			f.reference(r)
		}
	}
}

func (f *facts) reference(r ref) {
	if len(r.path) <= 1000 {
		f.refs = append(f.refs, r)
	}
}

// jsonReferences does the same for the strings of a JSON file, all of which may be templates.
func (f *facts) jsonReferences(v any) {
	switch v := v.(type) {
	case string:
		if mentionsFiles([]byte(v)) {
			if e, ok := template(v); ok {
				f.references(e)
			}
		}
	case []any:
		for _, e := range v {
			f.jsonReferences(e)
		}
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			f.jsonReferences(v[k])
		}
	}
}
