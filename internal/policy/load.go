package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// maxFile is the largest file of a policy directory in bytes.
const maxFile = 16 << 20

// Set is compiled policies. It may be used by many at once.
type Set struct {
	decisions []decision
	query     rego.PreparedEvalQuery
}

// Rules is how many rules are asked about each plan.
func (s *Set) Rules() int { return len(s.decisions) }

// Load compiles all .rego files in the directories, at whatever depth, but for the tests in *_test.rego. The .json, .yaml and .yml files in
// them are data, as for OPA: what is in a subdirectory stands under its name. Files and directories whose names begin with a dot are left
// out. A symbolic link is followed to a file of the same directory, never out of it.
//
// All mistakes are reported at once, as [Errors]. That a directory has no rule at all is a mistake too, and so is that all of them together
// have none that decides: somebody meant another directory.
func Load(dirs []string) (*Set, error) {
	s, err := read(dirs, false)
	if err != nil {
		return nil, err
	}
	return s.prepare()
}

// sources is what policy directories hold, before it is compiled.
type sources struct {
	modules map[string]*ast.Module // by path
	data    map[string]any
	text    map[string][]byte // by path, of all files
	errs    Errors
}

// read reads and parses directories. The error has all mistakes, if there are any.
func read(dirs []string, tests bool) (*sources, error) {
	if len(dirs) == 0 {
		return nil, Errors{{Message: "no directory of policies is given"}}
	}
	s := &sources{modules: map[string]*ast.Module{}, data: map[string]any{}, text: map[string][]byte{}}
	for _, dir := range dirs {
		dir = filepath.Clean(dir)
		if err := s.directory(dir, tests); err != nil {
			s.errs.add(dir, 0, 0, "%v", cause(err))
		}
	}
	return s, s.errors()
}

// maxFiles is how many files of a directory are looked at; a directory with more is not one of policies.
const maxFiles = 10_000

// directory reads one directory.
func (s *sources) directory(dir string, tests bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only read
	names, err := list(root, tests)
	if err != nil {
		return err
	}
	rules, broken := 0, len(s.errs)
	if slices.ContainsFunc(names, isRules) { // else its data is not for us, whatever it is
		for _, name := range names {
			rules += s.file(root, dir, name)
		}
	}
	if rules == 0 && len(s.errs) == broken {
		return errors.New("there is no rule in this directory; is it the one that was meant?")
	}
	return nil
}

// list is the files of a directory that are looked at.
func list(root *os.Root, tests bool) (names []string, err error) {
	seen := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		hidden := name != "." && strings.HasPrefix(d.Name(), ".")
		switch seen++; {
		case err != nil:
			return err
		case seen > maxFiles:
			return fmt.Errorf("there are more than %d files in this directory; is it the one that was meant?", maxFiles)
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir(), hidden, isTest(name) && !tests:
		case slices.Contains([]string{".rego", ".json", ".yaml", ".yml"}, filepath.Ext(name)):
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func isTest(name string) bool  { return strings.HasSuffix(name, "_test.rego") }
func isRules(name string) bool { return filepath.Ext(name) == ".rego" && !isTest(name) }

// file reads one file, and counts its rules that are no tests.
func (s *sources) file(root *os.Root, dir, name string) (rules int) {
	file := filepath.Join(dir, name)
	text, err := readFile(root, name)
	switch {
	case err != nil:
		s.errs.add(file, 0, 0, "%v", cause(err))
		return 0
	case text == nil: // a link to a directory
		return 0
	}
	s.text[file] = text
	if filepath.Ext(name) != ".rego" {
		s.document(file, filepath.Dir(name), text)
		return 0
	}
	m := s.module(file, text)
	if m == nil {
		return 0
	}
	s.modules[file] = m
	if isTest(name) {
		return 0
	}
	return len(m.Rules)
}

// readFile reads a file that is one, and not too large. It is nil for a directory.
func readFile(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name) // before it is opened: a pipe would keep us waiting
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, nil
	case !info.Mode().IsRegular():
		return nil, errors.New("this is not a file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("the file has more than %d MiB", maxFile>>20)
	}
	return append([]byte{}, text...), err
}

// cause is an error without the path, which stands before it anyway.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// module parses one file of rules. It is nil if there are mistakes.
func (s *sources) module(file string, text []byte) *ast.Module {
	parse := func(v ast.RegoVersion) (*ast.Module, error) {
		return ast.ParseModuleWithOpts(file, string(text), ast.ParserOptions{RegoVersion: v, Capabilities: capabilities()})
	}
	m, err := parse(ast.RegoV1)
	if err == nil {
		return m
	}
	if _, old := parse(ast.RegoV0); old == nil {
		var first ast.Errors
		line := 1
		if errors.As(err, &first) && len(first) > 0 && first[0].Location != nil {
			line = first[0].Location.Row
		}
		s.errs.add(file, line, 1, "this is Rego as it was before version 1; `opa fmt --write --v0-v1 %s` rewrites it", file)
		return nil
	}
	s.rego(err)
	return nil
}

// prepare compiles what was read.
func (s *sources) prepare() (*Set, error) {
	decisions := s.decisions()
	if len(s.errs) == 0 && len(decisions) == 0 {
		s.errs.add(s.someFile(), 0, 0, "none of the rules is named deny, warn or require_approval, so nothing would ever be said")
	}
	compiler, err := s.compile()
	if err != nil {
		return nil, err
	}
	// One query asks all rules, so that what several need is worked out once. A rule that is undefined is an empty list in it.
	var query ast.Body
	for i, d := range decisions {
		query.Append(ast.MustParseExpr(fmt.Sprintf("%s := [found | found := %s]", variable(i), d.ref)))
	}
	prepared, err := rego.New(
		rego.ParsedQuery(query), rego.Compiler(compiler), rego.Store(s.store(inmem.OptReturnASTValuesOnRead(true))),
		rego.Capabilities(capabilities()), rego.StrictBuiltinErrors(true),
	).PrepareForEval(context.Background())
	if err != nil {
		return nil, err
	}
	return &Set{decisions: decisions, query: prepared}, nil
}

// variable is that of the i-th decision in the query.
func variable(i int) string { return fmt.Sprintf("decision%d", i) }

// compile compiles the modules. The error has all mistakes.
func (s *sources) compile() (*ast.Compiler, error) {
	if err := s.errors(); err != nil {
		return nil, err
	}
	c := s.compiler(false)
	if c.Compile(s.modules); c.Failed() {
		s.rego(c.Errors)
	}
	return c, s.errors()
}

func (s *sources) compiler(prints bool) *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities()).WithDefaultRegoVersion(ast.RegoV1).WithEnablePrintStatements(prints).
		SetErrorLimit(0). // all of them
		WithPathConflictsCheck(func(path []string) (bool, error) { return has(s.data, path), nil })
}

func (s *sources) store(opts ...inmem.Opt) storage.Store {
	return inmem.NewFromObjectWithOpts(s.data, opts...)
}

// someFile is the first file with rules.
func (s *sources) someFile() string {
	files := slices.Sorted(maps.Keys(s.modules))
	if len(files) == 0 {
		return ""
	}
	return files[0]
}
