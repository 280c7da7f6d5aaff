package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

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
		p.done()
	}
	environments := b.each("environment", "NAME")
	for _, e := range environments {
		repo.Environments = append(repo.Environments, r.environment(e, name))
	}
	b.done()

	if !b.holds("environment") {
		r.problem(b.at, "%s has no environment, so nothing of it would be watched; add environment \"production\" { … }", b.what)
	}
	r.sameStacks(environments, repo.Environments)
	if f, found := cfg.Forge(forge.value); found {
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

func (r *reader) environment(b *body, repository string) plumbline.Environment {
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
		Vars:       r.variables(b, "vars"),
		Backend:    r.backend(b),
		Env:        r.envVars(b),
	}
	if branch.ok {
		if why := badBranch(branch.value); why != "" {
			r.problem(branch.at, "branch %s of %s %s", branch, b.what, branch.reason(why, "is not a name that a branch can have"))
		}
	}
	if a := b.one("approval"); a != nil {
		env.Approval = r.approval(a)
		if env.Apply == plumbline.ApplyNever {
			r.problem(a.at, "approval in %s has no effect: with apply = \"never\" there is nothing to agree to; take it out", b.what)
		}
	}
	if d := b.one("drift"); d != nil {
		env.Drift = r.drift(d)
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

func (r *reader) approval(b *body) plumbline.ApprovalRule {
	rule := plumbline.ApprovalRule{Count: b.number("count", 1, 0, 1000)}
	switch at := b.place("count"); {
	case rule.Count == 0:
		r.problem(at, "count in %s is 0; to apply without asking, write apply = \"automatic\" instead", b.what)
	case rule.Count > 1:
		r.problem(at, "count in %s is more than 1, which is not supported by this version of Plumbline: it cannot tell several people apart, as it has no sign-in yet; write count = 1", b.what)
	}
	if t := b.text("expires"); t.ok {
		d, err := time.ParseDuration(t.value)
		switch {
		case err != nil:
			r.problem(t.at, "expires %s in %s is not a duration; write hours, minutes and seconds: \"36h\", \"1h30m\"", t, b.what)
		case d < time.Minute:
			r.problem(t.at, "expires %s in %s is too short for a person; the least is \"1m\", and without it an approval does not expire", t, b.what)
		}
		rule.Expires = d
	}
	b.done()
	return rule
}

func (r *reader) drift(b *body) plumbline.DriftPolicy {
	schedule := b.required("schedule", `"0 */6 * * *"`)
	zone := b.text("timezone")
	if schedule.ok {
		r.schedule("schedule", schedule)
	}
	if zone.ok {
		if _, err := time.LoadLocation(zone.value); err != nil || zone.value == "" || zone.value == "Local" {
			r.problem(zone.at, "timezone %s in %s is not known; write a name of the IANA database: \"Europe/London\", \"UTC\"", zone, b.what)
		} else if strings.HasPrefix(schedule.value, "@every") {
			r.problem(zone.at, "timezone in %s has no effect on %s, which counts from the start; take it out", b.what, schedule)
		}
	}
	b.done()
	return plumbline.DriftPolicy{Schedule: schedule.value, Timezone: zone.value}
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
