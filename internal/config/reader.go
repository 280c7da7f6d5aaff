package config

import (
	"path/filepath"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// reader holds what is known while the files are read.
type reader struct {
	sys         System
	bodies      []*hclsyntax.Body // of the files that could be parsed, in order of their names
	lines       map[string][]string
	contexts    map[string]*hcl.EvalContext // per file, since file() is relative to it
	secretLines map[string][]hcl.Range      // expressions of secret attributes
	hidden      map[string]int              // in a file that cannot be parsed: no line after this one is shown
	broken      bool                        // a file could not be parsed, so what seems undeclared may be declared there
	declared    map[string]hcl.Range        // `forge "corp"` and the like → where
	secrets     map[string]bool
	asked       map[string]answer // of services, by function and name
	grants      grants
	claimed     map[string]owner // names of people, folded
	member      []string         // groups in which user blocks put people
	open        text             // listen, where others than this machine can come
	public      text             // public_url
	signIn      hcl.Range        // the header of oidc
	sinks       []string         // names of notify blocks
	problems    []Problem
}

func newReader(files map[string][]byte, sys System) *reader {
	r := &reader{
		sys:         sys,
		lines:       map[string][]string{},
		contexts:    map[string]*hcl.EvalContext{},
		secretLines: map[string][]hcl.Range{},
		hidden:      map[string]int{},
		declared:    map[string]hcl.Range{},
		secrets:     map[string]bool{},
		asked:       map[string]answer{},
		claimed:     map[string]owner{},
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		r.parse(name, files[name])
	}
	return r
}

func (r *reader) parse(name string, src []byte) {
	if len(src) > maxFile {
		r.broken = true
		r.problem(hcl.Range{Filename: name}, "the file is larger than 1 MiB; split it, or name another")
		return
	}
	r.lines[name] = strings.Split(strings.ReplaceAll(string(src), "\r\n", "\n"), "\n")
	if deep, at := nesting(name, src); deep {
		r.broken = true
		r.problem(at, "this is nested more than %d deep", maxNesting)
		return
	}
	r.contexts[name] = &hcl.EvalContext{Functions: r.functions(name)}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	body, ok := file.Body.(*hclsyntax.Body)
	if ok {
		r.findSecrets(body)
	}
	if !diags.HasErrors() {
		r.bodies = append(r.bodies, body)
		return
	}
	r.syntax(diags, src)
	for _, d := range diags {
		// An attribute that is set twice leaves a body that can be read on; anything else leaves half a body, in which the
		// other half would be missed.
		if d.Severity == hcl.DiagError && d.Summary != redefined {
			r.broken = true
			r.hidden[name] = openSecret(r.lines[name])
			return
		}
	}
	r.bodies = append(r.bodies, body)
}

// maxNesting is how deep brackets may be nested. The parser is recursive, and Go cannot recover from a stack that is too deep.
const maxNesting = 100

func nesting(name string, src []byte) (deep bool, at hcl.Range) {
	// The scanner's own mistakes are found again by the parser.
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	depth, unary := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp,
			hclsyntax.TokenTemplateControl, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd,
			hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			depth--
		}
		// Signs and questions nest without a closing token.
		switch t.Type {
		case hclsyntax.TokenMinus, hclsyntax.TokenBang, hclsyntax.TokenQuestion, hclsyntax.TokenColon:
			unary++
		case hclsyntax.TokenNewline, hclsyntax.TokenComma:
			unary = 0
		}
		if depth > maxNesting || unary > maxNesting {
			return true, t.Range
		}
	}
	return false, hcl.Range{}
}

// findSecrets notes the values of secret attributes that stand in the file as literals, wherever they are, so that no source line gives
// them away.
func (r *reader) findSecrets(body *hclsyntax.Body) {
	for name, a := range body.Attributes {
		if !secretName.MatchString(name) {
			continue
		}
		r.secretLines[a.Expr.Range().Filename] = append(r.secretLines[a.Expr.Range().Filename], a.Expr.Range())
		// Arguments of functions are not values: the name of a variable is no secret.
		var calls []hcl.Range
		visit(a.Expr, func(n hclsyntax.Node) {
			if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
				calls = append(calls, call.Range())
			}
		})
		visit(a.Expr, func(n hclsyntax.Node) {
			lit, ok := n.(*hclsyntax.LiteralValueExpr)
			if !ok || lit.Val.Type() != cty.String || lit.Val.IsNull() {
				return
			}
			for _, c := range calls {
				if lit.SrcRange.Start.Byte >= c.Start.Byte && lit.SrcRange.End.Byte <= c.End.Byte {
					return
				}
			}
			r.secret(lit.Val.AsString())
		})
	}
	for _, b := range body.Blocks {
		r.findSecrets(b.Body)
	}
}

// openSecret returns the first line on which a secret literal begins that does not end there; 0: none.
func openSecret(lines []string) int {
	for i, s := range lines {
		if _, value, found := cutSecret(s); found && (strings.HasPrefix(value, "<<") || strings.Count(value, `"`)%2 == 1) {
			return i + 1
		}
	}
	return 0
}

func (r *reader) secret(v string) {
	if strings.TrimSpace(v) != "" {
		r.secrets[v] = true
	}
}

// secretValues returns the secrets met so far, longest first where one contains another, so that masking leaves no remainder.
func (r *reader) secretValues() []string {
	out := make([]string, 0, len(r.secrets))
	for s := range r.secrets {
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool {
		if len(out[i]) != len(out[j]) {
			return len(out[i]) > len(out[j])
		}
		return out[i] < out[j]
	})
	return out
}

// path makes a file name relative to the configuration file that names it.
func (r *reader) path(file, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	dir := filepath.Dir(file)
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(r.sys.Dir, dir)
	}
	return filepath.Join(dir, name)
}

// declare notes where a thing is declared, and a mistake when it was before.
func (r *reader) declare(what string, at hcl.Range, remedy string) bool {
	if first, ok := r.declared[what]; ok {
		r.problem(at, "%s is declared twice, first at %s:%d; %s", what, first.Filename, first.Start.Line, remedy)
		return false
	}
	r.declared[what] = at
	return true
}

// absent stands for a block that is not there, so that its defaults are written down only once.
func (r *reader) absent(kind string) *body {
	return &body{r: r, in: &hclsyntax.Body{}, what: kind}
}

// read takes the whole configuration.
func (r *reader) read() *Config {
	cfg := &Config{Forges: []Forge{}, Repositories: []plumbline.Repository{}}
	cfg.Server = r.server(r.absent("server"))
	cfg.Terraform = r.terraform(r.absent("terraform"))
	var repositories []*body
	for _, in := range r.bodies {
		top := &body{r: r, in: in, what: "the configuration"}
		for _, b := range top.each("server") {
			if r.declare("server", b.at, "merge the two") {
				cfg.Server = r.server(b)
			}
		}
		for _, b := range top.each("terraform") {
			if r.declare("terraform", b.at, "merge the two") {
				cfg.Terraform = r.terraform(b)
			}
		}
		for _, b := range top.each("forge", "KIND", "NAME") {
			if f, ok := r.forge(b); ok {
				cfg.Forges = append(cfg.Forges, f)
			}
		}
		for _, b := range top.each("notify", "KIND", "NAME") {
			if n, ok := r.notify(b); ok {
				cfg.Notify = append(cfg.Notify, n)
				r.sinks = append(r.sinks, n.Name)
			}
		}
		for _, b := range top.each("auth") {
			if r.declare("auth", b.at, "merge the two") {
				cfg.Access, cfg.OIDC = r.access(b)
			}
		}
		repositories = append(repositories, top.each("repository", "NAME")...)
		top.done()
	}
	// Forges, auth and notify blocks may stand in a later file.
	for _, b := range repositories {
		cfg.Repositories = append(cfg.Repositories, r.repository(b, cfg))
	}
	everywhere(cfg)
	r.granted(cfg)
	r.reached(cfg)
	return cfg
}
