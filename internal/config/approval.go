package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// approval reads who must agree to plans in an environment, which is named "repository/environment".
func (r *reader) approval(b *body, environment string, f Forge, access plumbline.Access) plumbline.ApprovalRule {
	rule := plumbline.ApprovalRule{
		Count:   b.number("count", 1, 0, 1000),
		Expires: r.expires(b),
		Carry:   b.boolean("carry", false),
		Forge:   b.boolean("forge", false),
	}
	if rule.Count == 0 {
		r.problem(b.place("count"), "count in %s is 0; to apply without asking, write apply = \"automatic\" instead", b.what)
	}
	mayApprove := func(role plumbline.Role) bool { return lets(role, plumbline.MayApprove, environment) }
	somebody := slices.ContainsFunc(access.Roles, mayApprove)
	rule.From = r.from(b, func(name string) bool {
		// Where nobody may approve, that is what is said.
		return !somebody || slices.ContainsFunc(access.Roles, func(role plumbline.Role) bool {
			return string(role.Name) == name && lets(role, plumbline.MayView, environment)
		})
	})
	rule.Not = r.not(b, f)
	if t := b.text("scope"); t.ok && t.value == "deployment" {
		r.problem(t.at, "scope = \"deployment\" in %s is not supported by this version of Plumbline; leave it out: each stack's plan is approved by itself", b.what)
	} else if t.ok && t.value != "stack" {
		r.problem(t.at, "scope in %s is %s; it can be \"stack\"", b.what, t)
	}
	b.done()

	if rule.Forge && !r.broken {
		switch {
		case f.Kind == "git":
			r.problem(b.nameAt("forge"), "forge in %s has no effect: forge %q is a Git remote without an API, on which nothing can be approved; take it out", b.what, f.Name)
		case !rule.Carry:
			r.problem(b.nameAt("forge"), "forge in %s has no effect: what is approved on a merge request is the plan before the merge; add carry = true", b.what)
		}
	}
	// Whoever holds this machine's token is one person to Plumbline, whose name nobody knows.
	for name, asks := range map[string]bool{"count": rule.Count > 1, "from": len(rule.From) > 0, "not": len(rule.Not) > 0, "forge": rule.Forge} {
		if asks && !somebody && !r.broken {
			r.problem(b.nameAt(name), "%s in %s cannot be kept: nobody may approve there but the holder of this machine's token, and nothing tells holders apart; add role \"approver\" { users = [\"corp/alice\"] } to auth", name, b.what)
		}
	}
	return rule
}

func (r *reader) expires(b *body) time.Duration {
	t := b.text("expires")
	if !t.ok {
		return 0
	}
	d, err := time.ParseDuration(t.value)
	switch {
	case err != nil:
		r.problem(t.at, "expires %s in %s is not a duration; write hours, minutes and seconds: \"36h\", \"1h30m\"", t, b.what)
	case d < time.Minute:
		r.problem(t.at, "expires %s in %s is too short for a person; the least is \"1m\", and without it an approval does not expire", t, b.what)
	}
	return d
}

// from reads whose yes is asked for. held tells whether somebody has a role there.
func (r *reader) from(b *body, held func(role string) bool) []string {
	list := b.texts("from")
	if list != nil && len(list) == 0 {
		r.problem(b.nameAt("from"), "from in %s is empty; leave it out to mean everybody who may approve, or write from = [\"group:sre\"]", b.what)
	}
	for i, t := range list {
		kind, name, ok := strings.Cut(t.value, ":")
		named := t
		named.value = name
		switch {
		case slices.Contains(values(list[:i]), t.value):
			r.problem(t.at, "from in %s has %s twice; keep one", b.what, t)
		case ok && kind == "group":
			r.grants.groups = append(r.grants.groups, named)
		case ok && kind == "user":
			r.grants.users = append(r.grants.users, named)
		case ok && kind == "role" && !slices.Contains(roles, name):
			r.problem(t.at, "from in %s has %s, and there is no such role; there are %s", b.what, t, strings.Join(roles, ", "))
		case ok && kind == "role":
			if !held(name) && !r.broken {
				r.problem(t.at, "from in %s has %s, which nobody has there; add role %s { … } to auth", b.what, t, named)
			}
		default:
			r.problem(t.at, "from in %s has %s; %s", b.what, t, t.reason(prefixed(t.value), "write \"group:NAME\", \"user:NAME\" or \"role:NAME\""))
		}
	}
	return values(list)
}

// prefixed says what somebody probably meant who has not written what kind of name it is.
func prefixed(s string) string {
	kind, name, ok := strings.Cut(s, ":")
	near := nearest(kind, []string{"group", "role", "user"})
	switch {
	case ok && near != "":
		return fmt.Sprintf("did you mean %q?", near+":"+name)
	case s == "" || ok:
		return "write \"group:NAME\", \"user:NAME\" or \"role:NAME\""
	case slices.Contains(roles, s):
		return fmt.Sprintf("did you mean %q?", "role:"+s)
	case strings.ContainsAny(s, "@/"):
		return fmt.Sprintf("did you mean %q?", "user:"+s)
	}
	return fmt.Sprintf("did you mean %q?", "group:"+s)
}

// not reads whose yes does not count.
func (r *reader) not(b *body, f Forge) []plumbline.Exclusion {
	known := []string{string(plumbline.NotAuthor), string(plumbline.NotLastPusher), string(plumbline.NotEarlierApprover)}
	var out []plumbline.Exclusion
	for _, t := range b.texts("not") {
		near := nearest(t.value, known)
		switch x := plumbline.Exclusion(t.value); {
		case !slices.Contains(known, t.value) && near != "" && !t.secret:
			r.problem(t.at, "not in %s has %s; did you mean %q?", b.what, t, near)
		case !slices.Contains(known, t.value):
			r.problem(t.at, "not in %s has %s; it can have \"author\", \"last-pusher\" and \"earlier-approver\"", b.what, t)
		case slices.Contains(out, x):
			r.problem(t.at, "not in %s has %s twice; keep one", b.what, t)
		case x == plumbline.NotLastPusher && f.Kind != "" && !kinds[f.Kind].pushers && !r.broken:
			r.problem(t.at, "not in %s has %s, which cannot be kept: a %s forge does not tell who pushed; write \"author\", which holds for everybody who wrote one of the commits", b.what, t, f.Kind)
		default:
			out = append(out, x)
		}
	}
	return out
}
