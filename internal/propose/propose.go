// Package propose makes a first configuration of what was found in a repository.
//
// Nothing here asks anybody or reads anything: facts come in, a proposal with its reasons goes out, and the text that is made of it is read back by
// internal/config before anybody gets it.
package propose

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Facts are what was found.
type Facts struct {
	Dir        string            // the repository's top directory, or its address without secrets, as people call it
	Remote     string            `json:"-"` // where it is fetched from; "": nowhere. It may hold a password, so it is shown to nobody
	Checkout   string            `json:"-"` // absolute path of the checkout; "": there is none that stays
	Branches   []string          // without refs/heads/
	Default    string            // the branch that is meant when none is named; "": not known
	Layout     plumbline.Layout  `json:"-"`
	Traits     []discover.Traits // of the layout's stacks
	PinsTofu   bool              // there is a .opentofu-version
	PinsOthers bool              // there is a .terraform-version
}

// Answers are what only people can say. What is empty was not answered.
type Answers struct {
	Forge        string        // kind of forge
	Environments []Environment // in place of those that were found; only Name, Branch and Include
	Approvers    []string      // names on the forge, without the forge's own name
	DataDir      string        // where the daemon keeps its things; "": the default

	NobodyApproves bool // Approvers is empty on purpose
	AsFound        bool // the environments are as they were found, on purpose
}

// Environment is one that is proposed.
type Environment struct {
	Name    string
	Branch  string
	Include []string `json:",omitempty"`
	Apply   plumbline.ApplyMode
	Because string
	Stacks  []string // names of those of its stacks that are in the tree which was looked at
}

// Proposal is a configuration before it is written down.
type Proposal struct {
	Repository   string
	Forge        Forge
	Engine       string // "terraform" or "tofu"
	EngineWhy    string
	Versions     []string // of the engine that stacks ask for, in words
	NoVersion    bool     // some stack asks for no version of the engine
	Environments []Environment
	ByPath       bool // the environments are told apart by directories, not by branches
	Approvers    []string
	DataDir      string
	Backends     []string // in words
	Providers    []string // in words
	AWS          bool
	Regions      []string // of AWS
	Needs        []Need
	NoBackend    []string // directories whose backend lacks a bucket or a key: it has to come from the environment
	Shared       []string // directories whose state is the same on every branch, as it is written
	Notes        []string // what somebody should know, in sentences
	First        string   // directory of a stack to look at first; "": none can be read
	Ready        bool     // First can be planned as it is
}

// Need is a variable that stacks want a value of.
type Need struct {
	Name   string
	Stacks []string
}

// Make turns facts into a proposal.
func Make(f Facts, a Answers) Proposal {
	p := Proposal{Forge: forgeOf(f, a), Approvers: a.Approvers, DataDir: a.DataDir}
	project := p.Forge.Project
	if plain, err := url.PathUnescape(project); err == nil {
		project = plain
	}
	p.Repository = nameFrom(strings.TrimSuffix(path.Base(project), ".git"), "infra")
	p.Notes = append(p.Notes, p.Forge.notes...)
	if p.Forge.Kind == "git" && len(p.Approvers) > 0 {
		p.Approvers = nil
		p.note("On a Git remote without an API nobody can comment, so no approvers are written: people need a sign-in there, auth { oidc { … } }.")
	}
	p.engine(f)
	p.environments(f, a)
	p.traits(f)
	p.shared(f)
	if want := p.wanted(); !p.Ready && len(want) > 0 {
		p.note("No stack can be planned by itself: each wants %s from outside. plumbline.hcl gives that to it, once filled in.", and(want))
	}
	for _, s := range f.Layout.Stacks {
		if len(s.Broken) > 0 {
			p.note("%s cannot be read, so it is not planned until it is mended: %s", s.Name, s.Broken[0])
		}
	}
	for _, finding := range f.Layout.Findings {
		p.note("%s", finding)
	}
	return p
}

func (p *Proposal) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// wanted is what stacks want from their environment, in words.
func (p *Proposal) wanted() (out []string) {
	if len(p.Needs) > 0 {
		out = append(out, "variables")
	}
	if len(p.NoBackend) > 0 {
		out = append(out, "settings of its backend")
	}
	return out
}

func (p *Proposal) engine(f Facts) {
	var files []string
	for _, t := range f.Traits {
		if t.Tofu {
			files = append(files, t.Dir)
		}
	}
	p.Engine, p.EngineWhy = "terraform", "nothing asks for OpenTofu"
	switch {
	case len(files) > 0:
		p.Engine, p.EngineWhy = "tofu", few(files)+" has .tofu files, or a lock file of OpenTofu's registry"
	case f.PinsTofu && !f.PinsOthers:
		p.Engine, p.EngineWhy = "tofu", "there is a .opentofu-version"
	case f.PinsTofu:
		p.note("There is a .opentofu-version and a .terraform-version: Terraform is proposed. For OpenTofu write engine = \"tofu\".")
	}
	versions := map[string][]string{}
	for _, s := range f.Layout.Stacks {
		if s.Version == "" {
			p.NoVersion = true
			continue
		}
		versions[s.Version] = append(versions[s.Version], s.Name)
	}
	p.Versions = counted(versions)
}

// traits says in words what the stacks have in common, then finds one that can be planned at once.
func (p *Proposal) traits(f Facts) {
	backends, providers := map[string][]string{}, map[string][]string{}
	needs := map[string][]string{}
	broken := map[string]bool{}
	for _, s := range f.Layout.Stacks {
		broken[s.Dir] = broken[s.Dir] || len(s.Broken) > 0
	}
	ready := map[string]bool{}
	for _, t := range f.Traits {
		if broken[t.Dir] { // half of it says little
			continue
		}
		whole := !partial(t.Backend)
		if !whole {
			p.NoBackend = append(p.NoBackend, t.Dir)
		}
		backends[backendWords(t.Backend)] = append(backends[backendWords(t.Backend)], t.Dir)
		for _, v := range t.Providers {
			words := strings.TrimSpace(v.Source + " " + v.Version)
			providers[words] = append(providers[words], t.Dir)
			if v.Source == "hashicorp/aws" {
				p.AWS = true
				p.region(v.Region)
			}
		}
		if t.Backend.Kind == "s3" && p.AWS {
			p.region(t.Backend.Region)
		}
		for _, n := range t.Needs {
			needs[n] = append(needs[n], t.Dir)
		}
		if writable(t.Dir) {
			ready[t.Dir] = whole && len(t.Needs) == 0
		}
	}
	for _, e := range p.Environments { // the farthest from production first
		for _, name := range e.Stacks {
			s, _ := f.Layout.Stack(name)
			now, readable := ready[s.Dir]
			if readable && (p.First == "" || now && !p.Ready) {
				p.First, p.Ready = s.Dir, now
			}
		}
	}
	p.Backends, p.Providers = counted(backends), counted(providers)
	for _, n := range sortedKeys(needs) {
		p.Needs = append(p.Needs, Need{n, needs[n]})
	}
	slices.Sort(p.Regions)
	if local := append(slices.Clone(backends[backendWords(discover.Backend{})]), backends["local"]...); len(local) > 0 {
		slices.Sort(local)
		p.note("%s: the state is kept in a file on one machine, which no other sees. Give it a backend before Plumbline applies anything.", few(local))
	}
	if locks := withoutLock(f.Traits); len(locks) > 0 {
		p.note("%s: the S3 backend has neither use_lockfile nor dynamodb_table, so two people can apply at once. Add use_lockfile = true.", few(locks))
	}
}

func (p *Proposal) region(r string) {
	if r != "" && !slices.Contains(p.Regions, r) {
		p.Regions = append(p.Regions, r)
	}
}

// shared notes states that several environments would write: the same directory on several branches, with one key for its state.
func (p *Proposal) shared(f Facts) {
	branches := map[string]bool{}
	for _, e := range p.Environments {
		branches[e.Branch] = true
	}
	if p.ByPath || len(branches) < 2 {
		return
	}
	for _, t := range f.Traits {
		if t.Backend.Kind != "" && t.Backend.Kind != "local" && !partial(t.Backend) {
			p.Shared = append(p.Shared, t.Dir)
		}
	}
	if len(p.Shared) == 0 {
		return
	}
	p.note("%s: the backend is written out in full, and so the same on every branch unless the branches differ there. Environments must not share a state: "+
		"`backend` in plumbline.hcl gives each a key of its own. Until then nothing is proposed to be applied without asking.", few(p.Shared))
	for i := range p.Environments {
		p.Environments[i].Apply = plumbline.ApplyApproval
	}
}

// partial tells whether a backend waits for settings from outside.
func partial(b discover.Backend) bool {
	switch b.Kind {
	case "s3":
		return b.Bucket == "" || b.Key == ""
	case "gcs":
		return b.Bucket == ""
	}
	return false
}

func withoutLock(traits []discover.Traits) (out []string) {
	for _, t := range traits {
		if t.Backend.Kind == "s3" && t.Backend.Lock == "" {
			out = append(out, t.Dir)
		}
	}
	return out
}

func backendWords(b discover.Backend) string {
	if b.Kind == "" {
		return "none"
	}
	words := []string{b.Kind}
	if b.Bucket != "" {
		words = append(words, "bucket "+b.Bucket)
	} else if partial(b) {
		words = append(words, "no bucket named")
	}
	if b.Region != "" {
		words = append(words, b.Region)
	}
	if b.Lock != "" {
		words = append(words, "locked by "+b.Lock)
	}
	return strings.Join(words, ", ")
}

// counted lists what stacks have, the most frequent first.
func counted(by map[string][]string) []string {
	keys := sortedKeys(by)
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(len(by[b]), len(by[a])) })
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = fmt.Sprintf("%s (%s)", k, count(len(by[k]), "stack"))
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// few names some of a list.
func few(list []string) string {
	list = slices.Clone(list)
	for i, name := range list {
		if name == "." {
			list[i] = "the top directory"
		}
	}
	if len(list) <= 3 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// nameFrom makes a valid name of any text.
func nameFrom(s, otherwise string) string {
	name := strings.Map(func(c rune) rune {
		if config.ValidName("x" + string(c)) {
			return c
		}
		return '-'
	}, strings.ToLower(s))
	name = strings.TrimLeft(name, "-._")
	if len(name) > 63 {
		name = name[:63]
	}
	name = strings.TrimRight(name, "-._")
	if !config.ValidName(name) {
		return otherwise
	}
	return name
}
