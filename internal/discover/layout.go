package discover

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// A builder turns one commit's facts into a layout. Everything that depends on where a directory stands happens here, for
// every commit anew, so it is kept to a few microseconds per directory.
type builder struct {
	fsys    fs.FS
	set     settings
	dirs    []directory
	index   map[string]int   // into dirs, by path
	claimed map[string]claim // directories with blocks in .plumbline.hcl
	stacks  []stack
	room    int // for reaches and dependencies, see roomFor
	out     plumbline.Layout
	round   int // of reach; marks directories as seen without clearing the marks
	absent  map[string]string
}

type directory struct {
	path     string
	facts    *facts
	calls    []edge
	caller   *edge // somebody who calls it
	callerIn int
	problems []plumbline.Finding // in its own files
	reached  bool                // by a stack
	seen     int
}

type claim struct {
	line   int // of the first block
	stacks int // that were made of the blocks
}

type edge struct {
	to   int // in dirs
	call *call
}

// A stack under construction.
type stack struct {
	plumbline.StackSpec
	dir     int
	block   *stackBlock // nil: discovered
	modules []module    // that it reaches, itself first
	waits   []wait
}

type module struct {
	dir int
	via []string
}

// maxReaches bounds the reaches and dependencies of a commit, counting the steps of their chains: each of n directories
// may call all the others.
const maxReaches = 5_000_000

func newBuilder(fsys fs.FS, root *node, set settings) *builder {
	b := &builder{fsys: fsys, set: set, dirs: make([]directory, 0, root.dirs), index: make(map[string]int, root.dirs), absent: map[string]string{},
		claimed: map[string]claim{}, room: maxReaches}
	b.flatten(".", root)
	return b
}

func (b *builder) flatten(dir string, n *node) {
	if n.dirs == 0 {
		return
	}
	if n.facts != nil {
		b.index[dir] = len(b.dirs)
		b.dirs = append(b.dirs, directory{path: dir, facts: n.facts})
	}
	for _, c := range n.children {
		if c.node.dirs > 0 {
			b.flatten(join(dir, c.name), c.node)
		}
	}
}

// join is path.Join for a name below dir.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

func (b *builder) layout() (plumbline.Layout, error) {
	for i := range b.dirs {
		if err := b.link(i); err != nil {
			return plumbline.Layout{}, err
		}
	}
	b.declare()
	for i := range b.dirs {
		if d := &b.dirs[i]; d.facts.files > 0 {
			b.judge(i, d)
		}
	}
	b.unique()
	for i := range b.stacks {
		b.reach(&b.stacks[i])
	}
	if b.room >= 0 {
		b.depend()
	}
	if b.room < 0 {
		return plumbline.Layout{}, fmt.Errorf("the stacks of this commit reach more than %d modules, files and other stacks", maxReaches)
	}
	for i := range b.dirs {
		if d := &b.dirs[i]; !d.reached {
			b.out.Findings = append(b.out.Findings, d.problems...)
		}
	}
	b.out.Findings = append(b.out.Findings, b.set.doubts...)
	b.out.Stacks = make([]plumbline.StackSpec, len(b.stacks))
	for i := range b.stacks {
		s := &b.stacks[i]
		s.Broken = append(s.Broken, b.set.doubts...)
		sortFindings(s.Broken)
		b.out.Stacks[i] = s.StackSpec
	}
	sortFindings(b.out.Findings)
	sort.Slice(b.out.Others, func(i, j int) bool { return b.out.Others[i].Dir < b.out.Others[j].Dir })
	return b.out, nil
}

// link resolves the module calls of a directory, and gives its findings their place.
func (b *builder) link(i int) error {
	d := &b.dirs[i]
	for _, f := range d.facts.findings {
		f.File = join(d.path, f.File)
		d.problems = append(d.problems, f)
	}
	for k := range d.facts.calls {
		c := &d.facts.calls[k]
		target := path.Join(d.path, c.source)
		if to, ok := b.index[target]; ok && b.dirs[to].facts.files > 0 {
			d.calls = append(d.calls, edge{to, c})
			if t := &b.dirs[to]; t.caller == nil && to != i && !under(d.path, "tests") {
				t.caller, t.callerIn = &edge{to, c}, i
			}
			continue
		}
		if c.recovered {
			continue
		}
		why, err := b.whyAbsent(target)
		if err != nil {
			return err
		}
		d.problems = append(d.problems, plumbline.Finding{
			File: join(d.path, c.file), Line: c.line, Column: c.column, Source: c.text,
			Message: fmt.Sprintf("module source %q %s", c.source, why),
		})
	}
	return nil
}

// whyAbsent says what is wrong with a module source that is no directory with Terraform files.
func (b *builder) whyAbsent(target string) (string, error) {
	if escapes(target) {
		return "leads out of the repository", nil
	}
	if why, ok := b.absent[target]; ok {
		return why, nil
	}
	why, err := b.lookAt(target)
	if err != nil {
		return "", fmt.Errorf("look for module %s: %w", target, err)
	}
	b.absent[target] = why
	return why, nil
}

func (b *builder) lookAt(target string) (string, error) {
	dir := "."
	for name := range strings.SplitSeq(target, "/") {
		if name == "." {
			break
		}
		entries, err := fs.ReadDir(b.fsys, dir)
		if err != nil {
			return "", err
		}
		dir = join(dir, name)
		at := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name })
		switch {
		case at < 0:
			return fmt.Sprintf("does not exist: there is no %s in this commit", dir), nil
		case entries[at].Type()&fs.ModeSymlink != 0:
			return fmt.Sprintf("goes through %s, a symbolic link, which Plumbline does not follow", dir), nil
		case !entries[at].IsDir():
			return fmt.Sprintf("is no directory: %s is a file", dir), nil
		}
	}
	return fmt.Sprintf("has no Terraform files: %s is without any", dir), nil
}

// under says whether a directory is called name or lies below one that is.
func under(dir, name string) bool {
	for {
		n := strings.Index(dir, name)
		if n < 0 {
			return false
		}
		end := n + len(name)
		if (n == 0 || dir[n-1] == '/') && (end == len(dir) || dir[end] == '/') {
			return true
		}
		dir = dir[end:]
	}
}

// declare makes the stacks that .plumbline.hcl names.
func (b *builder) declare() {
	for i := range b.set.blocks {
		bl := &b.set.blocks[i]
		at, ok := b.index[bl.dir]
		if !ok || b.dirs[at].facts.files == 0 {
			b.out.Findings = append(b.out.Findings, bl.findings...)
			b.out.Findings = append(b.out.Findings, b.set.finding(bl.rng, "stack %q: there are no Terraform files in %s", bl.alias, bl.dir))
			continue
		}
		c := b.claimed[bl.dir]
		if c.line == 0 {
			c.line = bl.rng.Start.Line
		}
		if !bl.bad {
			c.stacks++
		}
		b.claimed[bl.dir] = c
		if bl.bad {
			b.out.Findings = append(b.out.Findings, bl.findings...)
			continue
		}
		s := stack{dir: at, block: bl, StackSpec: plumbline.StackSpec{
			Name: bl.dir, Alias: bl.alias, Dir: bl.dir, Workspace: bl.workspace, Broken: bl.findings,
			Rule: fmt.Sprintf("named in %s:%d", settingsName, bl.rng.Start.Line),
		}}
		if s.Workspace != "" {
			s.Name += "@" + s.Workspace
		}
		for _, v := range bl.varFiles {
			s.VarFiles = append(s.VarFiles, path.Clean(v.text))
		}
		b.stacks = append(b.stacks, s)
	}
}

// judge applies the rules of the package comment to a directory with Terraform files.
func (b *builder) judge(i int, d *directory) {
	f := d.facts
	if c, ok := b.claimed[d.path]; ok {
		if c.stacks == 0 {
			b.other(d, fmt.Sprintf("its block in %s:%d cannot be used", settingsName, c.line))
		}
		return
	}
	at := func(p place) string {
		if p.line == 0 {
			return fmt.Sprintf("(%s)", join(d.path, p.file))
		}
		return fmt.Sprintf("(%s:%d)", join(d.path, p.file), p.line)
	}
	called := ""
	if d.caller != nil {
		from := b.dirs[d.callerIn].path
		called = fmt.Sprintf("%s calls it as a module (%s:%d)", from, join(from, d.caller.call.file), d.caller.call.line)
	}
	var rule string
	switch {
	case under(d.path, "tests"):
		b.other(d, "is under a tests directory")
		return
	case f.backend != nil:
		rule = "has a " + f.backend.block + " block " + at(f.backend.place)
	case f.provider != nil && called == "" && !under(d.path, "modules"):
		rule = "has a provider block " + at(*f.provider)
	case called != "":
		b.other(d, called)
		return
	case under(d.path, "modules"):
		b.other(d, "is under a modules directory")
		return
	case f.unread != nil:
		rule = "cannot be read, so it may be one " + at(*f.unread)
	default:
		rule = "no module block calls it"
	}
	if called != "" {
		rule += "; also, " + called
	}
	b.stacks = append(b.stacks, stack{dir: i, StackSpec: plumbline.StackSpec{Name: d.path, Dir: d.path, Rule: rule}})
}

func (b *builder) other(d *directory, rule string) {
	b.out.Others = append(b.out.Others, plumbline.Other{Dir: d.path, Rule: rule})
}

// unique sorts the stacks, and sees to it that a name or an alias means one of them.
func (b *builder) unique() {
	sort.SliceStable(b.stacks, func(i, j int) bool { return b.stacks[i].Name < b.stacks[j].Name })
	kept := b.stacks[:0]
	for _, s := range b.stacks {
		if n := len(kept); n > 0 && kept[n-1].Name == s.Name {
			at := s.block // two directories cannot have one path, so one of the two has a block; the sort is stable
			if at == nil {
				at = kept[n-1].block
			}
			kept[n-1].Broken = append(kept[n-1].Broken,
				b.set.finding(at.rng, "two stacks would have the name %s; give each its own dir or workspace", s.Name))
			continue
		}
		kept = append(kept, s)
	}
	b.stacks = kept
	if len(b.set.blocks) == 0 {
		return
	}
	owner := map[string]*stack{}
	for i := range b.stacks {
		owner[b.stacks[i].Name] = &b.stacks[i]
	}
	for i := range b.stacks {
		s := &b.stacks[i]
		if s.Alias == "" {
			continue
		}
		if other := owner[s.Alias]; other != nil && other != s {
			s.Broken = append(s.Broken, b.set.finding(s.block.rng, "the name %q is taken by the stack %s", s.Alias, other.Name))
			s.Alias = ""
			continue
		}
		owner[s.Alias] = s
	}
}

// reach fills in what touches a stack, and what breaks it.
func (b *builder) reach(s *stack) {
	b.round++
	home := &b.dirs[s.dir]
	home.seen = b.round
	s.modules = append(make([]module, 0, 1+len(home.calls)), module{dir: s.dir})
	for i := 0; i < len(s.modules); i++ { // breadth first: the chain shown is the shortest
		m := s.modules[i]
		d := &b.dirs[m.dir]
		var via []string
		if i > 0 && len(d.calls) > 0 {
			via = append(slices.Clip(m.via), d.path)
		}
		for _, e := range d.calls {
			if b.dirs[e.to].seen != b.round {
				b.dirs[e.to].seen = b.round
				b.room -= 1 + len(via)
				if b.room < 0 {
					return
				}
				s.modules = append(s.modules, module{e.to, via})
			}
		}
	}
	s.Reaches = make([]plumbline.Reach, 0, len(s.modules)+2)
	for _, m := range s.modules {
		d := &b.dirs[m.dir]
		d.reached = true
		s.Reaches = append(s.Reaches, plumbline.Reach{Path: d.path, Kind: plumbline.PathDir, Via: m.via})
		s.Broken = append(s.Broken, d.problems...)
	}
	for i, m := range s.modules {
		if d := &b.dirs[m.dir]; len(d.facts.refs) > 0 {
			via := m.via
			if i > 0 {
				via = append(slices.Clip(m.via), d.path)
			}
			if b.room -= len(d.facts.refs); b.room < 0 {
				return
			}
			for _, r := range d.facts.refs {
				s.refer(r, d.path, via)
			}
		}
	}
	b.settle(s)
	files := s.Reaches[len(s.modules):]
	slices.SortStableFunc(files, func(a, b plumbline.Reach) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(string(a.Kind), string(b.Kind)), cmp.Compare(len(a.Via), len(b.Via)))
	})
	files = slices.CompactFunc(files, func(a, b plumbline.Reach) bool { return a.Path == b.Path && a.Kind == b.Kind })
	s.Reaches = s.Reaches[:len(s.modules)+len(files)]
}

// refer adds a path that the code in dir names.
func (s *stack) refer(r ref, dir string, via []string) {
	base := s.Dir
	if r.base == moduleMark {
		base = dir
	}
	kind := plumbline.PathFile
	if r.glob {
		base, kind = escapeGlob(base), plumbline.PathGlob
	}
	p := path.Join(base, r.path)
	// A directory around the code, as in working_dir = "${path.module}/..", says nothing about what is read there.
	if escapes(p) || kind == plumbline.PathFile && (p == "." || p == dir || p == s.Dir || strings.HasPrefix(dir, p+"/") || strings.HasPrefix(s.Dir, p+"/")) {
		return
	}
	s.Reaches = append(s.Reaches, plumbline.Reach{Path: p, Kind: kind, Via: via})
}

// settle fills in the version, the var files and the watched paths.
func (b *builder) settle(s *stack) {
	s.Version = b.dirs[s.dir].facts.constraints()
	for dir := s.Dir; ; dir = path.Dir(dir) {
		if at, ok := b.index[dir]; ok && b.dirs[at].facts.versionFile != "" {
			f := b.dirs[at].facts
			if f.version != "" {
				s.Version = f.version
			}
			s.Reaches = append(s.Reaches, plumbline.Reach{Path: join(dir, f.versionFile), Kind: plumbline.PathFile})
			break
		}
		if dir == "." {
			break
		}
	}
	if s.block == nil {
		return
	}
	if s.block.version != "" {
		s.Version = s.block.version
	}
	for i, v := range s.VarFiles {
		p := path.Join(s.Dir, v)
		s.Reaches = append(s.Reaches, plumbline.Reach{Path: p, Kind: plumbline.PathFile})
		if _, err := fs.Stat(b.fsys, p); err != nil {
			s.Broken = append(s.Broken, b.set.finding(s.block.varFiles[i].rng, "var file %q does not exist: there is no %s in this commit", v, p))
		}
	}
	for _, w := range s.block.watch {
		s.Reaches = append(s.Reaches, plumbline.Reach{Path: path.Join(escapeGlob(s.Dir), w.text), Kind: plumbline.PathGlob})
	}
}
