package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// grants remembers where roles name people and environments, to be looked at when forges and repositories are known.
type grants struct{ users, environments []text }

// access reads who may do what.
func (r *reader) access(b *body) plumbline.Access {
	var a plumbline.Access
	for _, role := range b.each("role", "NAME") {
		a.Roles = append(a.Roles, r.role(role))
	}
	b.done()
	return a
}

func (r *reader) role(b *body) plumbline.Role {
	names := []string{string(plumbline.RoleViewer), string(plumbline.RoleOperator), string(plumbline.RoleApprover), string(plumbline.RoleAdmin)}
	name := b.labels[0]
	if !slices.Contains(names, name) {
		r.problem(b.label, "there is no role %q; there are %s", name, strings.Join(names, ", "))
	}
	out := plumbline.Role{Name: plumbline.RoleName(name)}
	users := b.texts("users")
	environments := b.texts("environments")
	b.done()
	if len(users) == 0 {
		r.problem(b.at, "%s names nobody; add users = [\"corp/alice\"], where corp is the name of a forge, or users = [\"*\"]", b.what)
	}
	if b.has("environments") && len(environments) == 0 {
		r.problem(b.nameAt("environments"), "environments in %s is empty; leave it out to mean all, or name some", b.what)
	}
	if name != string(plumbline.RoleViewer) {
		for _, u := range users {
			if u.value == "*" {
				r.problem(u.at, "%s would be given to everybody who can write a comment; name people", b.what)
			}
		}
	}
	for _, u := range users {
		out.Users = append(out.Users, u.value)
	}
	for _, e := range environments {
		out.Environments = append(out.Environments, e.value)
	}
	r.grants.users, r.grants.environments = append(r.grants.users, users...), append(r.grants.environments, environments...)
	return out
}

// granted checks that roles name forges and environments that there are: a typing mistake there would give a right to nobody, or to somebody else
// later.
func (r *reader) granted(cfg *Config) {
	if r.broken {
		return
	}
	var forges, environments []string
	for _, f := range cfg.Forges {
		forges = append(forges, f.Name)
	}
	for _, repo := range cfg.Repositories {
		for _, e := range repo.Environments {
			environments = append(environments, e.Name, e.Key())
		}
	}
	missing := func(at hcl.Range, what string, t text, name string, known []string) {
		if slices.Contains(known, name) {
			return
		}
		if near := nearest(name, known); near != "" {
			r.problem(at, "%s names %s %q, which is not declared; did you mean %q?", t, what, name, near)
			return
		}
		r.problem(at, "%s names %s %q, which is not declared", t, what, name)
	}
	for _, u := range r.grants.users {
		forge, login, ok := strings.Cut(u.value, "/")
		switch {
		case u.value == "*":
		case !ok || login == "" || strings.TrimSpace(u.value) != u.value || hasControl(u.value):
			r.problem(u.at, "user %s must be FORGE/NAME, such as \"corp/alice\" for alice on forge \"corp\"", u)
		default:
			missing(u.at, "the forge", u, forge, forges)
		}
	}
	for _, e := range r.grants.environments {
		missing(e.at, "the environment", e, e.value, environments)
	}
}
