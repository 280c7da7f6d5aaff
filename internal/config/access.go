package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// grants remembers where people, groups and environments are named, to be looked at when forges, repositories and the sign-in are known.
type grants struct {
	users        []text // who is to be given something
	aliases      []text // names in user blocks
	groups       []text
	environments []text
}

// access reads who may do what.
func (r *reader) access(b *body) (a plumbline.Access, oidc *OIDC) {
	if o := b.one("oidc"); o != nil {
		oidc = r.oidc(o)
	}
	for _, role := range b.each("role", "NAME") {
		a.Roles = append(a.Roles, r.role(role))
	}
	for _, user := range b.each("user", "NAME") {
		a.People = append(a.People, r.user(user))
	}
	b.done()
	return a, oidc
}

var roles = []string{string(plumbline.RoleViewer), string(plumbline.RoleOperator), string(plumbline.RoleApprover), string(plumbline.RoleAdmin)}

func (r *reader) role(b *body) plumbline.Role {
	name := b.labels[0]
	if !slices.Contains(roles, name) {
		r.problem(b.label, "there is no role %q; there are %s", name, strings.Join(roles, ", "))
	}
	out := plumbline.Role{Name: plumbline.RoleName(name)}
	users, groups := b.texts("users"), b.texts("groups")
	environments := b.texts("environments")
	b.done()
	if len(users) == 0 && len(groups) == 0 {
		r.problem(b.at, "%s names nobody; add users = [\"corp/alice\"], where corp is the name of a forge, or groups = [\"sre\"], or users = [\"*\"]", b.what)
	}
	if b.has("environments") && len(environments) == 0 {
		r.problem(b.nameAt("environments"), "environments in %s is empty; leave it out to mean all, or name some", b.what)
	}
	for _, t := range slices.Concat(users, groups) {
		if t.value == "*" && name != string(plumbline.RoleViewer) {
			r.problem(t.at, "%s would be given to everybody who can write a comment or sign in; name people or groups", b.what)
		}
	}
	anybody := func(t text) bool { return t.value == "*" }
	out.Users, out.Groups, out.Environments = values(users), values(groups), values(environments)
	r.grants.users = append(r.grants.users, slices.DeleteFunc(users, anybody)...)
	r.grants.groups = append(r.grants.groups, slices.DeleteFunc(groups, anybody)...)
	r.grants.environments = append(r.grants.environments, environments...)
	return out
}

func values(list []text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.value)
	}
	return out
}

// user reads under which names somebody is known, in which groups.
func (r *reader) user(b *body) plumbline.Known {
	name := text{value: b.labels[0], at: b.label, set: true, ok: true}
	also, groups := b.texts("also"), b.texts("groups")
	b.done()
	if len(also) == 0 && len(groups) == 0 {
		r.problem(b.at, "%s says nothing of them; add also = [\"corp/alice\"], groups = [\"sre\"], or take it out", b.what)
	}
	for _, t := range append([]text{name}, also...) {
		r.claim(b, t)
	}
	for _, t := range groups {
		if t.value == "*" {
			r.problem(t.at, "groups in %s has \"*\", which is no group of its own; name groups", b.what)
		}
	}
	r.grants.aliases = append(append(r.grants.aliases, name), also...)
	r.member = append(r.member, values(groups)...)
	return plumbline.Known{Name: name.value, Also: values(also), Groups: values(groups)}
}

// claim notes that a name is somebody's. With two owners, whoever is found first would be taken for whoever comes.
func (r *reader) claim(b *body, t text) {
	key := folded(t.value)
	if first, taken := r.claimed[key]; taken {
		r.problem(t.at, "%s is a name of %s already, at %s:%d; a name is one person's, so keep one of the two", t, first.what, first.at.Filename, first.at.Start.Line)
		return
	}
	r.claimed[key] = owner{what: b.what, at: t.at}
}

// owner is whose a name is.
type owner struct {
	what string
	at   hcl.Range
}

// folded is the same for names that Person.Is takes for the same.
func folded(s string) string {
	return strings.Map(func(c rune) rune {
		least := c
		for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// lets reports whether a role lets those who have it do something in an environment.
func lets(role plumbline.Role, p plumbline.Permission, environment string) bool {
	role.Users, role.Groups = []string{"*"}, nil
	return plumbline.Access{Roles: []plumbline.Role{role}}.Allow(plumbline.Person{Name: "somebody"}, p, environment) == nil
}

// granted checks that people, groups, forges and environments that are named are there: a typing mistake there would give a right to nobody,
// or to somebody else later.
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
	for _, t := range r.grants.aliases {
		r.person(t, forges, true)
	}
	for _, t := range r.grants.users {
		_, known := r.claimed[folded(t.value)]
		r.person(t, forges, known || cfg.OIDC != nil)
	}
	for _, t := range r.grants.groups {
		switch {
		case unnamed(t):
			r.problem(t.at, "group %s must be a name without white space around it, such as \"sre\"", t)
		case cfg.OIDC == nil && !slices.Contains(r.member, t.value):
			remedy := "add it to groups of a user block, or add oidc, in auth"
			if near := nearest(t.value, r.member); near != "" && !t.secret {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
			r.problem(t.at, "nobody is in the group %s: without oidc in auth, groups are those of its user blocks; %s", t, remedy)
		}
	}
	for _, t := range r.grants.environments {
		r.missing(t, "the environment", t.value, environments)
	}
}

// unnamed reports whether a text can be nobody's name.
func unnamed(t text) bool {
	return t.value == "" || t.value == "*" || strings.TrimSpace(t.value) != t.value || hasControl(t.value)
}

// person checks a name of somebody. Names without a forge are known from a sign-in or from a user block.
func (r *reader) person(t text, forges []string, known bool) {
	forge, login, ok := strings.Cut(t.value, "/")
	switch {
	case strings.EqualFold(t.value, plumbline.Local):
		r.problem(t.at, "user %s is whoever holds this machine's token, who may do everything; write another name", t)
	case unnamed(t), ok && (forge == "" || login == ""), !ok && !known:
		r.problem(t.at, "user %s must be FORGE/NAME, such as \"corp/alice\" for alice on forge \"corp\", or a name that a user block or oidc, in auth, makes known", t)
	case ok:
		r.missing(t, "the forge", forge, forges)
	}
}

// missing notes a name of something that is not declared.
func (r *reader) missing(t text, what, name string, known []string) {
	if slices.Contains(known, name) {
		return
	}
	shown := text{value: name, secret: t.secret}
	if near := nearest(name, known); near != "" && !t.secret {
		r.problem(t.at, "%s names %s %s, which is not declared; did you mean %q?", t, what, shown, near)
		return
	}
	r.problem(t.at, "%s names %s %s, which is not declared", t, what, shown)
}
