package discover

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// facts are what the files directly in one directory say, wherever the directory stands: file names are bare.
type facts struct {
	files    int // Terraform files, unreadable ones included
	backend  *backend
	provider *place // the first provider block that configures something
	required []constraint
	calls    []call
	refs     []ref
	remotes  []remote
	findings []plumbline.Finding
	unread   *place // a file that could not be read or parsed

	versionFile string // .terraform-version or .opentofu-version
	version     string // its first line; "" when that is not a constraint
}

type place struct {
	file string
	line int
}

func (p place) less(q place) bool {
	if p.file != q.file {
		return p.file < q.file
	}
	return p.line < q.line
}

// backend is where a root module says its state is kept.
type backend struct {
	place
	block string            // "backend" or "cloud"
	kind  string            // "s3", "local", …; "remote" for a cloud block, which is the same place by another name
	attrs map[string]string // its constants; those of nested blocks and objects as "workspaces.name"
}

// remote is a data "terraform_remote_state" block.
type remote struct {
	place
	kind      string
	attrs     map[string]string
	workspace string // "" the default one; anyWorkspace when it is not constant
}

const anyWorkspace = "*"

type constraint struct {
	place
	text string
}

// call is a module block with a local source.
type call struct {
	place
	column    int
	source    string
	text      string // the source line
	recovered bool   // from a file that cannot be parsed: good enough to know whom it calls
}

// skip is find for a file that is left out, wholly or in part.
func (f *facts) skip(file string, line, column int, src []byte, message string) {
	f.find(file, line, column, src, message)
	f.unread = &place{file, line}
}

// find notes something that cannot be used. line 0: the file as a whole.
func (f *facts) find(file string, line, column int, src []byte, message string) {
	f.findings = append(f.findings, plumbline.Finding{File: file, Line: line, Column: column, Source: sourceLine(src, line), Message: message})
}

// sourceLine returns a line for people to see, shortened where it would fill the screen.
func sourceLine(src []byte, line int) string {
	if line < 1 {
		return ""
	}
	for ; line > 1; line-- {
		n := bytes.IndexByte(src, '\n')
		if n < 0 {
			return ""
		}
		src = src[n+1:]
	}
	src, _, _ = bytes.Cut(src, []byte{'\n'})
	text := strings.TrimRight(strings.ToValidUTF8(string(src[:min(len(src), 200)]), "\uFFFD"), " \t\r")
	if len(src) > 200 {
		text += "…"
	}
	return text
}

// diagnose turns the first error of the HCL library into a finding: the ones after it are mostly its echo.
func (f *facts) diagnose(file string, src []byte, diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			n := findingOf(file, src, d)
			f.findings = append(f.findings, n)
			f.unread = &place{file, n.Line}
			return
		}
	}
}

func findingOf(file string, src []byte, d *hcl.Diagnostic) plumbline.Finding {
	out := plumbline.Finding{File: file, Message: strings.ToLower(d.Summary[:1]) + d.Summary[1:]}
	if d.Detail != "" {
		out.Message += ": " + strings.Join(strings.Fields(d.Detail), " ")
	}
	if d.Subject != nil {
		out.Line, out.Column = d.Subject.Start.Line, d.Subject.Start.Column
		out.Source = sourceLine(src, out.Line)
	}
	return out
}

// pin takes in a .terraform-version or .opentofu-version file; of both, the first. Words that such files may hold instead
// of a version ("latest", "min-required") leave the choice to required_version.
func (f *facts) pin(name, text string) {
	if f.versionFile != "" && f.versionFile > name {
		return
	}
	text, _, _ = strings.Cut(text, "\n")
	f.versionFile, f.version = name, strings.TrimSpace(text)
	if _, err := version.NewConstraint(f.version); err != nil {
		f.version = ""
	}
}

// read adds what one file says.
func (f *facts) read(name string, src []byte) {
	if isJSON(name) {
		f.readJSON(name, src)
		return
	}
	items, ok := skeleton(src)
	if !ok {
		f.readWhole(name, src)
		return
	}
	var broken bool
	for _, it := range items {
		start := hcl.Pos{Line: it.line, Column: it.column, Byte: it.start}
		if !f.parse(name, src, src[it.start:it.end], start, broken) {
			broken = true
		}
	}
	if broken {
		f.recover(name, src)
	}
}

// readWhole parses the whole file. It is the judge of what skeleton may leave out.
func (f *facts) readWhole(name string, src []byte) {
	if !f.parse(name, src, src, hcl.InitialPos, false) {
		f.recover(name, src)
	}
}

// parse reads a piece of a file that begins at start, and says whether it is good. Only one finding is made for a file;
// quiet says that it was.
func (f *facts) parse(name string, src, piece []byte, start hcl.Pos, quiet bool) bool {
	if at, deep := tooDeep(piece, hclsyntax.LexConfig, start); deep {
		if !quiet {
			f.skip(name, at.Line, at.Column, src, fmt.Sprintf("expressions are nested deeper than %d here", maxNesting))
		}
		return false
	}
	file, diags := hclsyntax.ParseConfig(piece, name, start)
	before := len(f.findings)
	f.blocks(name, src, file.Body)
	if body, ok := file.Body.(*hclsyntax.Body); ok && mentionsFiles(piece) {
		f.references(body)
	}
	if !diags.HasErrors() {
		return true
	}
	f.findings = f.findings[:before] // they only echo what is wrong with the syntax
	if !quiet {
		f.diagnose(name, src, diags)
	}
	return false
}

func (f *facts) readJSON(name string, src []byte) {
	if tooDeepJSON(src) {
		f.skip(name, 0, 0, nil, fmt.Sprintf("values are nested deeper than %d", maxNesting))
		f.recover(name, src)
		return
	}
	file, diags := hcljson.Parse(src, name)
	if diags.HasErrors() {
		f.diagnose(name, src, diags)
		f.recover(name, src)
		return
	}
	f.blocks(name, src, file.Body)
	var tree any
	if mentionsFiles(src) && json.Unmarshal(src, &tree) == nil {
		f.jsonReferences(tree)
	}
}

var localSource = regexp.MustCompile(`(?m)(?:^|[\s{,])"?source"?\s*[=:]\s*"(\.\.?/[^"$%\\\n]*)"`)

// recover looks in a broken file for the modules it calls. Without them these would look like nobody's, and become stacks.
func (f *facts) recover(name string, src []byte) {
	known := map[string]bool{}
	for _, c := range f.calls {
		known[c.source] = true
	}
	for _, m := range localSource.FindAllSubmatchIndex(src, -1) {
		source := string(src[m[2]:m[3]])
		if !known[source] {
			known[source] = true
			line := 1 + bytes.Count(src[:m[2]], []byte{'\n'})
			f.calls = append(f.calls, call{place: place{name, line}, source: source, recovered: true})
		}
	}
}

var (
	rootSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "terraform"}, {Type: "provider", LabelNames: []string{"name"}}, {Type: "module", LabelNames: []string{"name"}},
		{Type: "data", LabelNames: []string{"type", "name"}},
	}}
	terraformSchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "required_version"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"}},
	}
	moduleSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
	remoteSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "backend"}, {Name: "config"}, {Name: "workspace"}}}
)

// blocks takes in the blocks that say what a directory is. What does not fit the schemas is left to terraform validate,
// which knows them all.
func (f *facts) blocks(name string, src []byte, body hcl.Body) {
	content, _, _ := body.PartialContent(rootSchema)
	for _, b := range content.Blocks {
		at := place{name, b.DefRange.Start.Line}
		switch b.Type {
		case "terraform":
			f.terraform(name, src, b.Body)
		case "provider":
			if f.provider == nil || at.less(*f.provider) {
				if configures(b.Body) {
					f.provider = &at
				}
			}
		case "module":
			c, _, _ := b.Body.PartialContent(moduleSchema)
			a := c.Attributes["source"]
			if a == nil {
				continue
			}
			source, ok := constant(a.Expr)
			if ok && (strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../")) && !strings.ContainsRune(source, 0) {
				p := a.Expr.Range().Start
				f.calls = append(f.calls, call{place: place{name, p.Line}, column: p.Column, source: source, text: sourceLine(src, p.Line)})
			}
		case "data":
			if b.Labels[0] == "terraform_remote_state" {
				f.remote(at, b.Body)
			}
		}
	}
}

func (f *facts) terraform(name string, src []byte, body hcl.Body) {
	content, _, _ := body.PartialContent(terraformSchema)
	if a := content.Attributes["required_version"]; a != nil {
		p := a.Expr.Range().Start
		text, ok := constant(a.Expr)
		if _, err := version.NewConstraint(text); !ok || err != nil {
			f.find(name, p.Line, p.Column, src, `required_version must be a plain version constraint such as "~> 1.11"`)
		} else {
			f.required = append(f.required, constraint{place{name, p.Line}, text})
		}
	}
	for _, b := range content.Blocks {
		be := &backend{place: place{name, b.DefRange.Start.Line}, block: b.Type, kind: "remote", attrs: map[string]string{}}
		if b.Type == "backend" {
			be.kind = b.Labels[0]
		}
		bodyConstants(be.attrs, "", b.Body)
		if f.backend == nil || isOverride(name) && !isOverride(f.backend.file) {
			f.backend = be
		}
	}
}

func (f *facts) remote(at place, body hcl.Body) {
	c, _, _ := body.PartialContent(remoteSchema)
	r := remote{place: at, attrs: map[string]string{}}
	if a := c.Attributes["backend"]; a != nil {
		r.kind, _ = constant(a.Expr)
	}
	if a := c.Attributes["config"]; a != nil {
		constants(r.attrs, "", a.Expr)
	}
	if a := c.Attributes["workspace"]; a != nil {
		var ok bool
		if r.workspace, ok = constant(a.Expr); !ok {
			r.workspace = anyWorkspace
		}
	}
	if r.kind != "" && len(r.attrs) > 0 {
		f.remotes = append(f.remotes, r)
	}
}

// configures: an alias or a version alone only names a provider, as modules did before required_providers.
func configures(body hcl.Body) bool {
	if b, ok := body.(*hclsyntax.Body); ok && len(b.Blocks) > 0 {
		return true
	}
	attrs, _ := body.JustAttributes()
	for name := range attrs {
		if name != "alias" && name != "version" {
			return true
		}
	}
	return false
}

// constraints returns the required versions in force: those of override files replace the others.
func (f *facts) constraints() string {
	var plain, over []string
	for _, c := range f.required {
		if isOverride(c.file) {
			over = append(over, c.text)
		} else {
			plain = append(plain, c.text)
		}
	}
	if len(over) > 0 {
		plain = over
	}
	sort.Strings(plain)
	return strings.Join(plain, ", ")
}

// tidy brings what was read into an order that does not depend on how it was read.
func (f *facts) tidy() {
	sort.SliceStable(f.calls, func(i, j int) bool { return f.calls[i].less(f.calls[j].place) })
	slices.SortFunc(f.refs, func(a, b ref) int {
		return cmp.Or(strings.Compare(a.base, b.base), strings.Compare(a.path, b.path), compareBool(a.glob, b.glob), compareBool(b.loud, a.loud))
	})
	f.refs = slices.CompactFunc(f.refs, func(a, b ref) bool { return a.base == b.base && a.path == b.path && a.glob == b.glob })
	sortFindings(f.findings)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func sortFindings(f []plumbline.Finding) {
	slices.SortStableFunc(f, func(a, b plumbline.Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Message, b.Message))
	})
}
