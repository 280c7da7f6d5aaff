package plumbline

import (
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// StackRef names a stack: the unit that is planned, locked and applied.
type StackRef struct {
	Repository  string
	Environment string
	Name        string // its directory, or dir@workspace
}

func (s StackRef) String() string { return s.Repository + "/" + s.Environment + "/" + s.Name }

// StackSpec is what a commit's files say about one stack.
type StackSpec struct {
	Name      string // Dir, or Dir@Workspace when the workspace is not "default"; a name from .plumbline.hcl is in Alias
	Alias     string // the label of its block in .plumbline.hcl
	Dir       string // slash-separated, relative to the repository's root; "." is the root
	Workspace string // "" or "default": the default workspace
	VarFiles  []string
	Version   string   // version constraint of the engine, from the files; "" none
	DependsOn []string // names of stacks that must be applied before it
	Reaches   []Reach  // everything whose change touches it
	Rule      string   // which rule made it a stack
	Broken    []Finding
}

// Reach is a path whose change touches a stack, and how the stack comes to it.
type Reach struct {
	Path string   // directory, file or doublestar glob, relative to the repository's root
	Kind PathKind // what Path is
	Via  []string // the chain from the stack's directory, e.g. modules/vpc, modules/subnet; without Path itself
}

// PathKind is what a Reach's path means.
type PathKind string

// The kinds of a Reach.
const (
	PathDir  PathKind = "dir"  // the files directly in a directory, not those of its subdirectories
	PathFile PathKind = "file" // one file, or a whole directory tree of that name
	PathGlob PathKind = "glob"
)

func (r Reach) touchedBy(p string) bool {
	switch r.Kind {
	case PathDir:
		return path.Dir(p) == r.Path
	case PathGlob:
		return doublestar.MatchUnvalidated(r.Path, p)
	default:
		return p == r.Path || strings.HasPrefix(p, r.Path+"/")
	}
}

// Finding is something in a commit that cannot be used, with its place.
type Finding struct {
	File    string
	Line    int // 1-based; 0: the file as a whole
	Column  int
	Source  string // the offending source line
	Message string // one sentence
}

// Layout is what one commit's files amount to.
type Layout struct {
	Stacks   []StackSpec // sorted by name
	Findings []Finding   // beside those that break one stack
	Others   []Other     // directories with Terraform files that are not stacks, with the rule that decided
}

// Other is a directory with Terraform files that is not a stack.
type Other struct {
	Dir  string
	Rule string
}

// Stack returns the stack with that name or alias.
func (l Layout) Stack(name string) (StackSpec, bool) {
	for _, s := range l.Stacks {
		if s.Name == name || (s.Alias != "" && s.Alias == name) {
			return s, true
		}
	}
	return StackSpec{}, false
}

// Touch is a stack that a change touches, with the chain that says why.
type Touch struct {
	Stack   StackSpec // as it is after the change; before it when Removed
	Because string    // "live/net/main.tf", or "modules/subnet/main.tf → modules/vpc → live/net"
	Removed bool
}

// Touched returns the stacks that changed paths touch, in order of name. A path counts against the graph before and after
// the change: a module that is not called any more did touch its caller.
func Touched(before, after Layout, changed []string) []Touch {
	var out []Touch
	old := map[string]StackSpec{}
	for _, s := range before.Stacks {
		old[s.Name] = s
	}
	for _, s := range after.Stacks {
		if why := s.touched(changed); why != "" {
			out = append(out, Touch{Stack: s, Because: why})
		} else if o, ok := old[s.Name]; ok {
			if why := o.touched(changed); why != "" {
				out = append(out, Touch{Stack: s, Because: why})
			} else if !slices.Equal(s.VarFiles, o.VarFiles) || s.Version != o.Version {
				out = append(out, Touch{Stack: s, Because: "its settings in .plumbline.hcl, or the version it asks for"})
			}
		} else {
			out = append(out, Touch{Stack: s, Because: "new stack"})
		}
		delete(old, s.Name)
	}
	for _, s := range old {
		out = append(out, Touch{Stack: s, Because: "removed", Removed: true})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Stack.Name < out[j].Stack.Name })
	return out
}

func (s StackSpec) touched(changed []string) string {
	for _, r := range s.Reaches {
		for _, p := range changed {
			if !r.touchedBy(p) {
				continue
			}
			if path.Dir(p) == s.Dir {
				return p
			}
			chain := []string{p}
			if r.Kind == PathDir {
				chain = append(chain, r.Path)
			}
			for i := len(r.Via) - 1; i >= 0; i-- {
				chain = append(chain, r.Via[i])
			}
			if chain[len(chain)-1] != s.Dir {
				chain = append(chain, s.Dir)
			}
			return strings.Join(chain, " → ")
		}
	}
	return ""
}

// Foreign returns the directories of other stacks that s has no business in: neither they nor anything in them is reached by it, nor do
// they hold anything that is. Laying out a commit for s may leave them out, with all that is in them; the files that no stack claims stay, so
// that a path which only Terraform can compute still leads somewhere.
func (l Layout) Foreign(s StackSpec) map[string]bool {
	foreign := map[string]bool{}
	for _, o := range l.Stacks {
		if o.Dir != s.Dir && o.Dir != "." {
			foreign[o.Dir] = true
		}
	}
	drop := func(p string) { // p and the directories that hold it are needed
		for ; p != "." && p != "/" && p != ""; p = path.Dir(p) {
			delete(foreign, p)
		}
	}
	drop(s.Dir)
	for _, r := range s.Reaches {
		switch r.Kind {
		case PathDir:
			drop(r.Path)
		case PathGlob:
			base, _ := doublestar.SplitPattern(r.Path)
			drop(base)
			dropBelow(foreign, base)
		default:
			drop(r.Path)
			dropBelow(foreign, r.Path)
		}
	}
	return foreign
}

func dropBelow(dirs map[string]bool, base string) {
	for d := range dirs {
		if base == "." || strings.HasPrefix(d, base+"/") {
			delete(dirs, d)
		}
	}
}

// StackStatus is what is known of a stack between runs.
type StackStatus struct {
	Stack        StackRef
	Spec         StackSpec
	Commit       string // the stack is in sync with this commit, as far as was last seen; changes are counted from here
	Given        string `json:",omitempty"` // what Commit was confirmed with beside its files, as in PlanInfo
	Checked      bool   // a run has confirmed Commit; false: it is only where counting starts
	NeverApplied bool   // the last look found no state
	Removed      bool   // not in the branch's head any more
	Unsettled    bool   // an apply has begun since Commit was confirmed and has not ended well: reality may be between two commits
	LastRun      RunID
	LastKind     Kind
	LastState    State
	Drifted      int               // drift items that count
	Applied      time.Time         `json:",omitzero"` // when it was applied last
	AppliedBy    RunID             `json:",omitempty"`
	Providers    map[string]string `json:",omitempty"` // versions with which Commit was confirmed
}

// InSyncAt reports whether the stack is known to be as a commit asks for, apart from what was done outside.
func (s StackStatus) InSyncAt(commit string) bool {
	return commit != "" && s.Commit == commit && s.Checked && !s.NeverApplied && !s.Unsettled
}

// After is the status once a run has come to a state that says something about the stack.
func (s StackStatus) After(r Run) StackStatus {
	if r.Mending != nil && !r.begun() && r.State != StateClean {
		return s // it brings nothing that Git did not have before: what is pending, and what failed, is as it was
	}
	s.Stack, s.LastRun, s.LastKind, s.LastState = r.Stack, r.ID, r.Kind, r.State
	if r.Kind == KindProposal {
		return s
	}
	switch r.State {
	case StateApplying:
		s.Unsettled = true
	case StateApplied, StateClean:
		if r.State == StateApplied {
			s.Applied, s.AppliedBy = r.Finished, r.ID
		}
		s.Commit, s.Checked, s.NeverApplied, s.Unsettled = r.Commit, true, false, false
		if s.Given = ""; r.Plan != nil {
			s.Given = r.Plan.Given
		}
		if r.Plan != nil && r.Plan.Providers != nil {
			s.Providers = r.Plan.Providers
		}
		if r.Kind == KindDestroy {
			s.Commit, s.NeverApplied = "", true
		}
	case StateDrifted, StatePlanned:
		if r.Plan != nil {
			s.NeverApplied = r.Plan.NoState
		}
	}
	return s
}
