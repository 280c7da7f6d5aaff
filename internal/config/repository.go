package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func (r *reader) repository(b *body, cfg *Config) plumbline.Repository {
	name := r.name(b, "a repository")
	r.declare(fmt.Sprintf("repository %q", name), b.label, "give one another name")
	forge := b.required("forge", `"corp"`)
	project := b.required("project", `"platform/infra"`)
	poll := b.text("poll")
	repo := plumbline.Repository{
		Name:      name,
		Forge:     forge.value,
		Project:   project.value,
		Poll:      poll.or("@every 30s"),
		Proposals: plumbline.ProposalPolicy{Drafts: true},
	}
	if poll.ok {
		r.schedule("poll", poll)
	}
	if p := b.one("proposals"); p != nil {
		repo.Proposals.Drafts = p.boolean("drafts", true)
		repo.Proposals.Forks = p.boolean("forks", false)
		repo.Proposals.Signed = p.boolean("signed", false)
		p.done()
	}
	f, found := cfg.Forge(forge.value)
	environments := b.each("environment", "NAME")
	for _, e := range environments {
		repo.Environments = append(repo.Environments, r.environment(e, name, f, cfg.Access))
	}
	b.done()

	if !b.holds("environment") {
		r.problem(b.at, "%s has no environment, so nothing of it would be watched; add environment \"production\" { … }", b.what)
	}
	r.sameStacks(environments, repo.Environments)
	r.promotions(environments, repo.Environments)
	if repo.Proposals.Signed {
		for i, e := range repo.Environments {
			if e.Signed.Commits == plumbline.SignedNone {
				r.problem(environments[i].at, "%s has no signed block, whose keys signed = true in proposals goes by; add signed { keys = [file(\"keys/alice.pub\")] }", environments[i].what)
			}
		}
	}
	if found {
		r.project(b, f, project)
	} else if forge.ok && !r.broken {
		r.problem(forge.at, "forge %s of %s is not declared; %s", forge, b.what, undeclared(forge, cfg))
	}
	return repo
}

func undeclared(forge text, cfg *Config) string {
	var names []string
	for _, f := range cfg.Forges {
		names = append(names, f.Name)
	}
	if near := nearest(forge.value, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(names) == 0 {
		return fmt.Sprintf("add forge \"gitlab\" %s { … }", forge)
	}
	return "declared are " + strings.Join(names, ", ")
}

// project checks the forge's own name of a repository.
func (r *reader) project(b *body, f Forge, t text) {
	if !t.ok {
		return
	}
	p := t.value
	switch {
	case strings.Contains(p, "://"):
		r.problem(t.at, "project of %s is an address; write only what follows the url of forge %q", b.what, f.Name)
		return
	case path.Clean(p) != p || p == "." || strings.HasPrefix(p, "/") || strings.HasPrefix(p, "..") || strings.HasPrefix(p, "-") || hasControl(p):
		r.problem(t.at, "project %s of %s must be a plain path such as \"platform/infra\": without \"..\", nor a slash at its ends", t, b.what)
		return
	case projects[f.Kind].bad != nil && projects[f.Kind].bad(p):
		r.problem(t.at, "project %s of %s must be %s", t, b.what, projects[f.Kind].form)
		return
	}
	// Two repository blocks would each keep a note on the same merge request and overwrite the other's.
	key := fmt.Sprintf("project %q of forge %q", strings.TrimSuffix(p, ".git"), f.Name)
	if first, ok := r.declared[key]; ok {
		r.problem(t.at, "project %s of %s has a repository already, at %s:%d; put the environments in there", t, b.what, first.Filename, first.Start.Line)
		return
	}
	r.declared[key] = t.at
}

// projects are the forms of a forge's own names of repositories.
var projects = map[string]struct {
	form string
	bad  func(string) bool
}{
	"gitlab": {"GROUP/NAME, or GROUP/SUBGROUP/NAME, as in its address on GitLab, without \".git\"", func(p string) bool {
		return !strings.Contains(p, "/") || strings.HasSuffix(p, ".git")
	}},
	"github":    {"OWNER/NAME, as in its address on GitHub, without \".git\"", notOwned},
	"gitea":     {"OWNER/NAME, as in its address on Gitea, without \".git\"", notOwned},
	"bitbucket": {"WORKSPACE/NAME, as in its address on Bitbucket, without \".git\"", notOwned},
	"codecommit": {"the name of a repository: 1 to 100 letters, digits, \".\", \"_\" and \"-\"", func(p string) bool {
		return !codecommitName.MatchString(p) || strings.HasSuffix(p, ".git")
	}},
}

func notOwned(p string) bool { return strings.Count(p, "/") != 1 || strings.HasSuffix(p, ".git") }

// codecommitName is RepositoryName of the CodeCommit API reference.
var codecommitName = regexp.MustCompile(`^[\w.-]{1,100}$`)

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func (r *reader) environment(b *body, repository string, f Forge, access plumbline.Access) plumbline.Environment {
	name := r.name(b, "an environment")
	r.declare(fmt.Sprintf("environment %q of repository %q", name, repository), b.label, "give one another name")
	branch := b.required("branch", `"main"`)
	apply := b.required("apply", `"approval"`)
	env := plumbline.Environment{
		Repository: repository,
		Name:       name,
		Branch:     branch.value,
		Include:    r.globs(b, "include"),
		Exclude:    r.globs(b, "exclude"),
		Apply:      plumbline.ApplyMode(b.oneOf("apply", apply, string(plumbline.ApplyApproval), string(plumbline.ApplyAutomatic), string(plumbline.ApplyNever))),
		Order:      b.number("order", 0, 0, maxOrder),
		Approval:   plumbline.ApprovalRule{Count: 1},
		Rollback:   plumbline.RollbackMode(b.oneOf("rollback", b.text("rollback"), string(plumbline.RollbackRequest), string(plumbline.RollbackDirect))),
		PromotesTo: b.text("promotes_to").value,
		Checks:     r.checks(b),
		Policies:   r.policies(b),
		Vars:       r.variables(b, "vars"),
		Backend:    r.backend(b),
		Env:        r.envVars(b),
		Notify:     r.notifies(b),
	}
	if branch.ok {
		if why := badBranch(branch.value); why != "" {
			r.problem(branch.at, "branch %s of %s %s", branch, b.what, branch.reason(why, "is not a name that a branch can have"))
		}
	}
	if a := b.one("approval"); a != nil {
		env.Approval = r.approval(a, env.Key(), f, access)
		if env.Apply == plumbline.ApplyNever {
			r.problem(a.at, "approval in %s has no effect: with apply = \"never\" there is nothing to agree to; take it out", b.what)
		}
	}
	for _, w := range b.each("window", "NAME") {
		r.once(w, name, repository)
		env.Calendar.Windows = append(env.Calendar.Windows, r.window(w))
	}
	for _, f := range b.each("freeze", "NAME") {
		r.once(f, name, repository)
		env.Calendar.Freezes = append(env.Calendar.Freezes, r.freeze(f))
	}
	if env.Apply == plumbline.ApplyNever && len(env.Calendar.Windows)+len(env.Calendar.Freezes) > 0 {
		r.problem(b.place("apply"), "windows and freezes in %s have no effect: with apply = \"never\" there is nothing to keep back; take them out", b.what)
	}
	if s := b.one("signed"); s != nil {
		env.Signed = r.signed(s)
	}
	if a := b.one("aws"); a != nil {
		env.AWS = r.aws(a, env.Apply)
		r.ownCredentials(b, env.AWS)
	}
	if d := b.one("drift"); d != nil {
		env.Drift = r.drift(d, env.Apply, f)
	}
	b.done()
	return env
}

const maxOrder = 1000

func (r *reader) globs(b *body, name string) []string {
	list := b.texts(name)
	if list != nil && len(list) == 0 {
		r.problem(b.nameAt(name), "%s in %s is empty; leave it out, or name directories: %s = [\"live/**\"]", name, b.what, name)
	}
	var out []string
	for _, t := range list {
		if why := badGlob(t.value); why != "" {
			r.problem(t.at, "%s in %s has %s, which %s", name, b.what, t, t.reason(why, "is not a glob that matches directories of the repository"))
		}
		out = append(out, t.value)
	}
	return out
}

// sameStacks refuses two environments with the same stacks: each would apply what the other has planned.
func (r *reader) sameStacks(blocks []*body, envs []plumbline.Environment) {
	for i, b := range blocks {
		for _, first := range envs[:i] {
			e := envs[i]
			if e.Branch == "" || e.Branch != first.Branch || !sameSet(e.Include, first.Include) || !sameSet(e.Exclude, first.Exclude) || e.Name == first.Name {
				continue
			}
			r.problem(b.at, "%s has the same branch and the same stacks as environment %q, so both would apply the same changes; tell them apart with include or exclude", b.what, first.Name)
			break
		}
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// promotions checks that each environment is promoted to another one, and that no change comes back to where it was.
func (r *reader) promotions(blocks []*body, envs []plumbline.Environment) {
	index := map[string]int{}
	var names []string
	for i, e := range envs {
		if _, twice := index[e.Name]; !twice {
			index[e.Name] = i
		}
		names = append(names, e.Name)
	}
	next := map[int]int{}
	for i, b := range blocks {
		t := b.text("promotes_to")
		to, ok := index[t.value]
		switch near := nearest(t.value, names); {
		case !t.ok:
		case ok && to == i:
			r.problem(t.at, "promotes_to in %s names itself; name another environment, or take it out", b.what)
		case !ok && near != "" && !t.secret:
			r.problem(t.at, "promotes_to in %s names %s, which is no environment of this repository; did you mean %q?", b.what, t, near)
		case !ok:
			r.problem(t.at, "promotes_to in %s names %s, which is no environment of this repository; there are %s", b.what, t, strings.Join(names, ", "))
		case envs[to].Branch == envs[i].Branch:
			r.problem(t.at, "promotes_to in %s names an environment of the same branch, which has each change already; take it out", b.what)
		default:
			next[i] = to
		}
	}
	met := map[int]bool{}
	for i := range envs {
		var way []int
		for at, ok := i, true; ok && !met[at]; at, ok = next[at] {
			met[at] = true
			way = append(way, at)
			again := slices.Index(way, next[at])
			if _, on := next[at]; !on || again < 0 {
				continue
			}
			var circle []string
			for _, j := range way[again:] {
				circle = append(circle, names[j])
			}
			r.problem(blocks[at].place("promotes_to"), "promotes_to in %s closes a circle: %s → %s; take one of them out", blocks[at].what, strings.Join(circle, " → "), circle[0])
		}
	}
}

// checks reads which checks a proposal goes through beside its plan.
func (r *reader) checks(b *body) []plumbline.CheckName {
	known := []string{string(plumbline.CheckFmt), string(plumbline.CheckValidate), string(plumbline.CheckTest)}
	var out []plumbline.CheckName
	for _, t := range b.texts("checks") {
		near := nearest(t.value, known)
		switch name := plumbline.CheckName(t.value); {
		case name == plumbline.CheckPolicy || t.value == "policies":
			r.problem(t.at, "checks in %s has %s; policies are checked with every plan once their directories are named: policies = [\"policies\"]", b.what, t)
		case !slices.Contains(known, t.value) && near != "" && !t.secret:
			r.problem(t.at, "checks in %s has %s, which is no check; did you mean %q?", b.what, t, near)
		case !slices.Contains(known, t.value):
			r.problem(t.at, "checks in %s has %s, which is no check; there are %s", b.what, t, strings.Join(known, ", "))
		case slices.Contains(out, name):
			r.problem(t.at, "checks in %s has %s twice; keep one", b.what, t)
		default:
			out = append(out, name)
		}
	}
	return out
}

// policies reads directories, which must be there: of a policy that cannot be found nobody would notice that it is not kept.
func (r *reader) policies(b *body) []string {
	var out []string
	for _, t := range b.texts("policies") {
		dir := r.path(t.at.Filename, t.value)
		shown := text{value: dir, secret: t.secret}
		info, err := r.sys.Stat(dir)
		switch {
		case t.value == "":
			r.problem(t.at, "policies in %s has \"\"; name a directory: policies = [\"policies\"]", b.what)
		case errors.Is(err, fs.ErrNotExist):
			r.problem(t.at, "policies in %s names %s, which is not there; name a directory with *.rego files, from where this file is", b.what, shown)
		case err != nil:
			r.problem(t.at, "policies in %s names %s, which cannot be looked at by Plumbline's user", b.what, shown)
		case !info.IsDir():
			r.problem(t.at, "policies in %s names %s, which is a file; name the directory that it is in", b.what, shown)
		case slices.Contains(out, dir):
			r.problem(t.at, "policies in %s names %s twice; keep one", b.what, shown)
		default:
			out = append(out, dir)
		}
	}
	return out
}
