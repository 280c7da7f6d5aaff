package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumbline/plumbline/internal/terraform"
)

// A run block of a test file applies unless it says otherwise, and what it applies is real, with the credentials of a plan whose author nobody
// has agreed with yet. So a file is run only if nothing in it can make anything:
//
//   - all of its runs have `command = plan`; or
//   - every provider is a mock, the file has no provider block, the run that applies neither tests another module nor hands on providers,
//     and no module of the configuration has provisioners (which run beside mocks, in both engines), actions, or providers of its own
//     below the root module.
//
// A run that names a backend is not run at all, since it reads and writes that state. In doubt a file is left out. Providers and external
// data sources run in plans of any kind, of tests as of the stack: this is about what is made, not about whose code runs.

// testsDir is where engines look for test files besides the root module itself.
const testsDir = "tests"

// Limits of a file that is looked at. hcl's parsers need up to 16 KiB of stack for each level of nesting, and a stack that overflows ends
// the process.
const (
	maxConfig  = 1 << 20
	maxNesting = 10_000 // characters that can begin a level
)

// testFile is a file of tests.
type testFile struct {
	name string // relative to the root module, slash-separated
	why  string // it is not run; "": it makes nothing real
	line int    // that the reason is about; 0: the file as a whole
}

// readTests finds the test files of a root module that was initialized, with its data in the directory data.
func readTests(module, data, engine string) ([]testFile, error) {
	var out []testFile
	r := &realm{module: module, data: data, engine: engine}
	for _, dir := range []string{".", testsDir} {
		entries, err := os.ReadDir(filepath.Join(module, dir))
		if errors.Is(err, fs.ErrNotExist) && dir == testsDir {
			continue
		}
		if err != nil {
			return nil, err
		}
		names := map[string]bool{}
		for _, e := range entries {
			names[e.Name()] = true
		}
		for _, e := range entries {
			if e.IsDir() || !isTest(e.Name(), engine, names) {
				continue
			}
			f := testFile{name: path.Join(dir, e.Name())}
			f.why, f.line = r.unsafe(f.name)
			out = append(out, f)
		}
	}
	return out, nil
}

// isTest reports whether the engine takes a file for one of tests. OpenTofu prefers its own of two with the same name.
func isTest(name, engine string, names map[string]bool) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") {
		return false
	}
	for _, ext := range []string{"hcl", "json"} {
		if stem, ok := strings.CutSuffix(name, ".tftest."+ext); ok {
			return engine != terraform.Tofu || !names[stem+".tofutest."+ext]
		}
		if strings.HasSuffix(name, ".tofutest."+ext) {
			return engine == terraform.Tofu
		}
	}
	return false
}

var testSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "run", LabelNames: []string{"name"}}, {Type: "provider", LabelNames: []string{"name"}}, {Type: "mock_provider", LabelNames: []string{"name"}},
}}

var runSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "command"}, {Name: "providers"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "module"}, {Type: "backend", LabelNames: []string{"type"}}},
}

var aliasSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "alias"}, {Name: "for_each"}}}

// unsafe is why a test file must not be run, with the line that it is about; "": it may.
func (r *realm) unsafe(name string) (string, int) {
	body, err := parse(filepath.Join(r.module, filepath.FromSlash(name)))
	if err != nil {
		return "it cannot be read: " + err.Error(), 0
	}
	content, _, diags := body.PartialContent(testSchema)
	if diags.HasErrors() {
		return "it cannot be read: " + problem(diags).Error(), 0
	}
	applies := "" // the first run that does
	line := 0
	for _, b := range content.Blocks.OfType("run") {
		at := b.DefRange.Start.Line
		run, _, diags := b.Body.PartialContent(runSchema)
		if diags.HasErrors() {
			return "it cannot be read: " + problem(diags).Error(), at
		}
		if len(run.Blocks.OfType("backend")) > 0 {
			return fmt.Sprintf("run %q has a state in a backend", b.Labels[0]), at
		}
		if a := run.Attributes["command"]; a != nil && hcl.ExprAsKeyword(a.Expr) == "plan" {
			continue
		}
		switch {
		case len(run.Blocks.OfType("module")) > 0:
			return fmt.Sprintf("run %q applies another module", b.Labels[0]), at
		case run.Attributes["providers"] != nil:
			return fmt.Sprintf("run %q applies with providers of its own choice", b.Labels[0]), at
		case applies == "":
			applies, line = fmt.Sprintf("run %q applies", b.Labels[0]), at
		}
	}
	if applies == "" {
		return "", 0
	}
	if own := content.Blocks.OfType("provider"); len(own) > 0 {
		return fmt.Sprintf("%s, with a provider %q that is no mock", applies, own[0].Labels[0]), line
	}
	mocks := map[providerName]bool{}
	for _, b := range content.Blocks.OfType("mock_provider") {
		if n, ok := nameOf(b); ok {
			mocks[n] = true
		}
	}
	if why := r.lacks(mocks); why != "" {
		return applies + ", and " + why, line
	}
	return "", 0
}

// providerName is a configuration of a provider within one module.
type providerName struct{ name, alias string }

func (p providerName) String() string { return strings.TrimSuffix(p.name+"."+p.alias, ".") }

// nameOf is the name of a provider block; false: it cannot be told without evaluating it.
func nameOf(b *hcl.Block) (providerName, bool) {
	n := providerName{name: b.Labels[0]}
	content, _, diags := b.Body.PartialContent(aliasSchema)
	if diags.HasErrors() || content.Attributes["for_each"] != nil {
		return n, false
	}
	if a := content.Attributes["alias"]; a != nil {
		v, diags := a.Expr.Value(nil)
		if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
			return n, false
		}
		n.alias = v.AsString()
	}
	return n, true
}

// realm is what a configuration would make something with, read once and only if a test needs it.
type realm struct {
	module, data, engine string

	read   bool
	calls  bool                    // the root module calls others
	why    string                  // no mocks would be enough
	needs  map[string]bool         // sources of providers
	root   map[string]string       // the root module's names of providers → sources
	blocks map[providerName]string // the root module's provider blocks → file
}

// lacks is what keeps these mocks from standing in for everything that could make something; "": they do.
func (r *realm) lacks(mocks map[providerName]bool) string {
	if !r.read {
		r.read = true
		r.needs, r.root, r.blocks = map[string]bool{}, map[string]string{}, map[providerName]string{}
		if err := r.configuration(); err != nil {
			r.why = err.Error()
		}
	}
	if r.why != "" {
		return r.why
	}
	mocked := map[string]bool{}
	for n := range mocks {
		if n.alias == "" {
			mocked[r.source(r.root, n.name)] = true
		}
	}
	for _, s := range slices.Sorted(maps.Keys(r.needs)) {
		if s != builtin && !mocked[s] {
			return "there is no mock of the provider " + s
		}
	}
	for n := range r.blocks {
		if !mocks[n] {
			return "there is no mock of the provider " + n.String()
		}
	}
	return ""
}

// builtin is the provider that is part of the engines. By itself it makes nothing outside of the state.
const builtin = "terraform.io/builtin/terraform"

// source is the address that a name of a provider stands for in a module.
func (r *realm) source(required map[string]string, name string) string {
	if s, ok := required[name]; ok {
		return s
	}
	if name == "terraform" {
		return builtin
	}
	return r.address(name)
}

// address writes a provider's source in one way: without the engine's own registry.
func (r *realm) address(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	registry := "registry.terraform.io/"
	if r.engine == terraform.Tofu {
		registry = "registry.opentofu.org/"
	}
	s = strings.TrimPrefix(s, registry)
	if !strings.Contains(s, "/") {
		return "hashicorp/" + s
	}
	return s
}

var lockSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "provider", LabelNames: []string{"source"}}}}

// configuration reads all modules that init has found, and what it has chosen for providers.
func (r *realm) configuration() error {
	dirs := []string{"."}
	b, err := readSome(filepath.Join(r.data, "modules", "modules.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		var list struct {
			Modules []struct{ Dir string }
		}
		if err := json.Unmarshal(b, &list); err != nil {
			return fmt.Errorf("the list of modules cannot be read: %w", err)
		}
		for _, m := range list.Modules {
			dirs = append(dirs, filepath.Clean(m.Dir))
		}
	}
	noModules := err != nil
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := r.directory(dir); err != nil {
			return err
		}
	}
	if r.calls && noModules {
		return errors.New("its modules are not where init leaves them")
	}
	// An override of a developer's is not in the lock, and what the modules' files do not say is in it.
	body, err := parse(filepath.Join(r.module, ".terraform.lock.hcl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the lock file cannot be read: %w", err)
	}
	lock, _, diags := body.PartialContent(lockSchema)
	if diags.HasErrors() {
		return fmt.Errorf("the lock file cannot be read: %w", problem(diags))
	}
	for _, p := range lock.Blocks {
		r.needs[r.address(p.Labels[0])] = true
	}
	return nil
}

var configSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "terraform"}, {Type: "provider", LabelNames: []string{"name"}}, {Type: "action", LabelNames: []string{"type", "name"}},
	{Type: "resource", LabelNames: []string{"type", "name"}}, {Type: "data", LabelNames: []string{"type", "name"}},
	{Type: "ephemeral", LabelNames: []string{"type", "name"}}, {Type: "module", LabelNames: []string{"name"}},
}}

var resourceSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "provider"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "provisioner", LabelNames: []string{"type"}}},
}

var requiredSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "required_providers"}}}

// directory reads the files of one module. All of its files count, also those that an engine prefers others to.
func (r *realm) directory(dir string) error {
	at := dir
	if !filepath.IsAbs(dir) {
		at = filepath.Join(r.module, dir)
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return err
	}
	required := map[string]string{}
	var resources hcl.Blocks
	for _, e := range entries {
		if e.IsDir() || !isConfig(e.Name(), r.engine) {
			continue
		}
		file := filepath.ToSlash(filepath.Join(dir, e.Name()))
		body, err := parse(filepath.Join(at, e.Name()))
		if err != nil {
			return fmt.Errorf("%s cannot be read: %w", file, err)
		}
		content, _, diags := body.PartialContent(configSchema)
		if diags.HasErrors() {
			return fmt.Errorf("%s cannot be read: %w", file, problem(diags))
		}
		for _, b := range content.Blocks {
			switch b.Type {
			case "terraform":
				if err := r.required(b.Body, required); err != nil {
					return fmt.Errorf("%s:%d: %w", file, b.DefRange.Start.Line, err)
				}
			case "module":
				r.calls = r.calls || dir == "."
			case "action":
				return fmt.Errorf("%s:%d has an action", file, b.DefRange.Start.Line)
			case "provider":
				n, ok := nameOf(b)
				if dir != "." || !ok {
					return fmt.Errorf("%s:%d has a provider of its own that no mock replaces", file, b.DefRange.Start.Line)
				}
				r.blocks[n] = file
			default:
				resources = append(resources, b)
			}
		}
	}
	for name := range required {
		r.needs[required[name]] = true
	}
	for _, b := range resources {
		name, err := providerOf(b)
		if err != nil {
			return fmt.Errorf("%s:%d %w", filepath.ToSlash(filepath.Join(dir, filepath.Base(b.DefRange.Filename))), b.DefRange.Start.Line, err)
		}
		r.needs[r.source(required, name)] = true
	}
	if dir == "." {
		r.root = required
	}
	return nil
}

func isConfig(name, engine string) bool {
	for _, ext := range []string{".tf", ".tf.json"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	return engine == terraform.Tofu && (strings.HasSuffix(name, ".tofu") || strings.HasSuffix(name, ".tofu.json"))
}

// required reads a module's names of providers. Where two files disagree, both sources are needed.
func (r *realm) required(body hcl.Body, required map[string]string) error {
	content, _, diags := body.PartialContent(requiredSchema)
	if diags.HasErrors() {
		return problem(diags)
	}
	for _, b := range content.Blocks {
		attrs, diags := b.Body.JustAttributes()
		if diags.HasErrors() {
			return problem(diags)
		}
		for name, a := range attrs {
			source := r.address(name)
			pairs, diags := hcl.ExprMap(a.Expr)
			if diags.HasErrors() {
				pairs = nil // "~> 2.0": a version alone, as it was written once
			}
			for _, p := range pairs {
				key := hcl.ExprAsKeyword(p.Key)
				if key == "" {
					if k, diags := p.Key.Value(nil); !diags.HasErrors() && k.Type() == cty.String && k.IsKnown() && !k.IsNull() {
						key = k.AsString()
					}
				}
				if key != "source" {
					continue
				}
				v, diags := p.Value.Value(nil)
				if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
					return fmt.Errorf("the source of the provider %s is not a constant", name)
				}
				source = r.address(v.AsString())
			}
			if have, ok := required[name]; ok && have != source {
				r.needs[source] = true
				continue
			}
			required[name] = source
		}
	}
	return nil
}

// providerOf is the module's name of the provider that a resource is of. An error is why no mock makes it harmless.
func providerOf(b *hcl.Block) (string, error) {
	content, _, diags := b.Body.PartialContent(resourceSchema)
	if diags.HasErrors() {
		return "", fmt.Errorf("cannot be read: %w", problem(diags))
	}
	if len(content.Blocks) > 0 {
		return "", errors.New("has a provisioner, which no mock replaces")
	}
	a := content.Attributes["provider"]
	if a == nil {
		name, _, _ := strings.Cut(b.Labels[0], "_")
		return name, nil
	}
	if t, diags := hcl.AbsTraversalForExpr(a.Expr); !diags.HasErrors() {
		return t.RootName(), nil
	}
	if v := a.Expr.Variables(); len(v) > 0 {
		return v[0].RootName(), nil // aws.by_region[each.key], as OpenTofu has it
	}
	return "", errors.New("has a provider that cannot be told")
}

// parse reads a file in either syntax.
func parse(file string) (hcl.Body, error) {
	src, err := readSome(file)
	if err != nil {
		return nil, err
	}
	nesting := 0
	for _, c := range src {
		if bytes.IndexByte([]byte("([{!-+*/%?&|<>"), c) >= 0 {
			nesting++
		}
	}
	if nesting > maxNesting {
		return nil, errors.New("it is too large to be looked at")
	}
	var f *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(file, ".json") {
		f, diags = hcljson.Parse(src, file)
	} else {
		f, diags = hclsyntax.ParseConfig(src, file, hcl.InitialPos)
	}
	if diags.HasErrors() {
		return nil, problem(diags)
	}
	return f.Body, nil
}

// readSome reads a regular file of no more than maxConfig bytes. The error does not have its path.
func readSome(file string) ([]byte, error) {
	info, err := os.Stat(file) // before it is opened: a pipe would keep us waiting
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err != nil {
		return nil, pathless(err)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, pathless(err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = errors.New("it is too large to be looked at")
	}
	return b, pathless(err)
}

func pathless(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// problem is the first error of a parser, without what it quotes of the file.
func problem(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			if d.Subject != nil {
				return fmt.Errorf("%s in line %d", strings.TrimSuffix(strings.ToLower(d.Summary), "."), d.Subject.Start.Line)
			}
			return errors.New(strings.TrimSuffix(strings.ToLower(d.Summary), "."))
		}
	}
	return nil
}
