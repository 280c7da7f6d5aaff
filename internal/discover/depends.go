package discover

import (
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// A wait is a dependency with the place that says so.
type wait struct {
	on     string // a stack's name
	file   string
	line   int
	column int
}

// depend fills in DependsOn, from .plumbline.hcl as well as from remote states, then looks for cycles.
func (b *builder) depend() {
	b.named()
	b.remoteStates()
	var some []plumbline.StackSpec // nobody else can be in a cycle
	for i := range b.stacks {
		s := &b.stacks[i]
		for _, w := range s.waits {
			s.DependsOn = append(s.DependsOn, w.on)
		}
		sort.Strings(s.DependsOn)
		s.DependsOn = slices.Compact(s.DependsOn)
		if len(s.DependsOn) > 0 {
			some = append(some, s.StackSpec)
		}
	}
	b.cycles(some)
}

// named resolves depends_on: an alias, a stack's name, or a directory, which means all its stacks.
func (b *builder) named() {
	means := map[string][]*stack{}
	for i := range b.stacks {
		if bl := b.stacks[i].block; bl != nil && len(bl.dependsOn) > 0 {
			for k := range b.stacks {
				s := &b.stacks[k]
				names := []string{s.Name}
				if s.Dir != s.Name {
					names = append(names, s.Dir)
				}
				if s.Alias != "" && s.Alias != s.Name && s.Alias != s.Dir {
					names = append(names, s.Alias)
				}
				for _, n := range names {
					means[n] = append(means[n], s)
				}
			}
			break
		}
	}
	for i := range b.stacks {
		s := &b.stacks[i]
		if s.block == nil {
			continue
		}
		for _, d := range s.block.dependsOn {
			at := d.rng.Start
			targets := means[d.text]
			if len(targets) == 0 {
				targets = means[path.Clean(d.text)]
			}
			if len(targets) == 0 {
				var known []string
				for n := range means {
					known = append(known, n)
				}
				sort.Strings(known)
				s.Broken = append(s.Broken, b.set.finding(d.rng, "depends_on %q is no stack here%s", d.text, didYouMean(d.text, known...)))
			}
			for _, t := range targets {
				if t != s || len(targets) == 1 {
					b.room--
					s.waits = append(s.waits, wait{t.Name, settingsName, at.Line, at.Column})
				}
			}
		}
	}
}

// identifying are the settings that tell one state from another within a backend; the others (bucket, region,
// organization …) only say where that backend is. Two configurations that agree on none of these are never taken for the
// same state, however little they say.
var identifying = []string{
	"key", "path", "prefix", "workspaces.name", "address", "schema_name", "secret_suffix", "state_name", "name",
}

// remoteStates finds the stacks whose state others read.
func (b *builder) remoteStates() {
	any := false
	for i := range b.dirs {
		any = any || len(b.dirs[i].facts.remotes) > 0
	}
	if !any {
		return
	}
	owners := map[[3]string][]int{} // by kind, identifying setting, value
	for i := range b.stacks {
		be := b.backend(&b.stacks[i])
		for _, id := range identifying {
			if v, ok := be.attrs[id]; ok {
				k := [3]string{be.kind, id, v}
				owners[k] = append(owners[k], i)
			}
		}
	}
	for i := range b.stacks {
		s := &b.stacks[i]
		for _, m := range s.modules {
			d := &b.dirs[m.dir]
			for _, r := range d.facts.remotes {
				if b.room < 0 {
					return
				}
				switch r.workspace {
				case anyWorkspace: // almost always terraform.workspace
					r.workspace = s.Workspace
				case "default":
					r.workspace = ""
				}
				if r.kind == "local" {
					r.attrs = localState(r.attrs, r.workspace, s.Dir, d.path)
				}
				b.remoteState(s, r, join(d.path, r.file), owners)
			}
		}
	}
}

func (b *builder) remoteState(s *stack, r remote, file string, owners map[[3]string][]int) {
	for _, id := range identifying {
		v, ok := r.attrs[id]
		if !ok {
			continue
		}
		for _, o := range owners[[3]string{r.kind, id, v}] {
			t := &b.stacks[o]
			if t == s || !agree(r.attrs, b.backend(t).attrs) {
				continue
			}
			// A local state's path says which workspace's it is.
			if r.kind != "local" && t.Workspace != r.workspace {
				continue
			}
			b.room--
			s.waits = append(s.waits, wait{on: t.Name, file: file, line: r.line})
		}
	}
}

// agree: all constants that both name are the same.
func agree(a, b map[string]string) bool {
	for k, v := range a {
		if w, ok := b[k]; ok && v != w {
			return false
		}
	}
	return true
}

// backend returns where a stack keeps its state; without a block that is a file in its directory.
func (b *builder) backend(s *stack) backend {
	be := backend{kind: "local"}
	if f := b.dirs[s.dir].facts; f.backend != nil {
		be = *f.backend
	}
	if be.kind == "local" {
		be.attrs = localState(be.attrs, s.Workspace, s.Dir, s.Dir)
	}
	return be
}

// localState returns the settings of a local state reduced to the path of its file from the repository's root. Terraform
// takes paths relative to the stack's directory.
func localState(attrs map[string]string, workspace, root, module string) map[string]string {
	file := attrs["path"]
	if file == "" {
		file = "terraform.tfstate"
	}
	if workspace != "" {
		dir := attrs["workspace_dir"]
		if dir == "" {
			dir = "terraform.tfstate.d"
		}
		file = dir + "/" + workspace + "/terraform.tfstate"
	}
	if rest, ok := strings.CutPrefix(file, moduleMark); ok {
		file = path.Join(module, rest)
	} else if rest, ok := strings.CutPrefix(file, rootMark); ok {
		file = path.Join(root, rest)
	} else if !path.IsAbs(file) {
		file = path.Join(root, file)
	}
	return map[string]string{"path": file}
}

// maxCycles is how many cycles are told. Finding each costs a look at all the stacks, and nobody reads more.
const maxCycles = 100

// cycles breaks the stacks that wait for each other, and says how they do.
func (b *builder) cycles(stacks []plumbline.StackSpec) {
	if len(stacks) == 0 {
		return
	}
	byName := map[string]*stack{}
	for i := range b.stacks {
		byName[b.stacks[i].Name] = &b.stacks[i]
	}
	for range maxCycles {
		cycle := plumbline.Cycle(stacks)
		if cycle == nil {
			return
		}
		f := plumbline.Finding{Message: "stacks depend on each other: " + strings.Join(cycle, " → ")}
		for _, w := range byName[cycle[0]].waits {
			if w.on == cycle[1] {
				f.File, f.Line, f.Column = w.file, w.line, w.column
				break
			}
		}
		b.out.Findings = append(b.out.Findings, f)
		for _, name := range cycle[1:] {
			byName[name].Broken = append(byName[name].Broken, f)
		}
		stacks = slices.DeleteFunc(stacks, func(s plumbline.StackSpec) bool { return slices.Contains(cycle, s.Name) })
	}
}
