package config

import (
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func (r *reader) drift(b *body, apply plumbline.ApplyMode, f Forge) plumbline.DriftPolicy {
	schedule := b.required("schedule", `"0 */6 * * *"`)
	zone := b.text("timezone")
	if schedule.ok {
		r.schedule("schedule", schedule)
	}
	at := r.zone(b, zone)
	if zone.ok && strings.HasPrefix(schedule.value, "@every") {
		r.problem(zone.at, "timezone in %s has no effect on %s, which counts from the start; take it out", b.what, schedule)
	}
	p := plumbline.DriftPolicy{Schedule: schedule.value, Timezone: zone.value, Spread: r.spread(b)}
	k, known := kinds[f.Kind]
	issue := b.boolean("issue", k.issues)
	if known && issue && !k.issues {
		r.problem(b.place("issue"), "issue in %s cannot be kept: a %s forge has no issues; take it out, the status of the commit tells of drift", b.what, f.Kind)
	}
	p.NoIssue = k.issues && !issue
	remediate := b.text("remediate")
	p.Remediate = plumbline.Remediation(b.oneOf("remediate", remediate,
		string(plumbline.RemediateReport), string(plumbline.RemediatePropose), string(plumbline.RemediateApply)))
	limits := b.one("apply_only")
	switch {
	case p.Remediate == plumbline.RemediateApply && apply == plumbline.ApplyNever:
		r.problem(remediate.at, "remediate = \"apply\" in %s has no effect with apply = \"never\" in the environment, where nothing is applied; write remediate = \"propose\" or \"report\"", b.what)
	case p.Remediate == plumbline.RemediateApply && limits == nil:
		r.problem(remediate.at, "remediate = \"apply\" in %s has no limits; add apply_only { types = [\"aws_security_group_rule\"] }, which says what may be changed without asking", b.what)
	case p.Remediate != plumbline.RemediateApply && limits != nil:
		r.problem(limits.at, "%s has no effect without remediate = \"apply\"; write that, or take it out", limits.what)
	}
	if limits != nil {
		p.ApplyOnly = r.applyOnly(limits)
	}
	for _, i := range b.each("ignore") {
		p.Ignore = append(p.Ignore, r.ignore(i, at))
	}
	b.done()
	return p
}

// spread is over how long the checks of one tick are begun.
func (r *reader) spread(b *body) time.Duration {
	t := b.text("spread")
	if !t.ok {
		return 0
	}
	d, err := time.ParseDuration(t.value)
	switch {
	case err != nil:
		r.problem(t.at, "spread %s in %s is not a duration; write hours, minutes and seconds: \"15m\", \"1h30m\"", t, b.what)
	case d < time.Second:
		r.problem(t.at, "spread %s in %s begins all checks at once; the least is \"1s\"", t, b.what)
	case d > 24*time.Hour:
		r.problem(t.at, "spread %s in %s is longer than a day; the most is \"24h\", and no check is begun later than the next tick", t, b.what)
	default:
		return d
	}
	return 0
}

// applyOnly reads the limits of what is put right without asking.
func (r *reader) applyOnly(b *body) plumbline.ApplyOnly {
	l := plumbline.ApplyOnly{Actions: []plumbline.Action{plumbline.ActionUpdate}}
	if b.has("actions") {
		l.Actions = nil
	}
	actions := b.texts("actions")
	if actions != nil && len(actions) == 0 {
		r.problem(b.nameAt("actions"), "actions in %s is empty, so that nothing would be put right; write actions = [\"update\"]", b.what)
	}
	for _, t := range actions {
		switch a := plumbline.Action(t.value); {
		case a == "destroy" || a.Destroys() || a == plumbline.ActionForget || a == plumbline.ActionForgetCreate || a == plumbline.ActionInvoke:
			r.problem(t.at, "actions in %s has %s; what destroys, replaces or forgets something is never done without asking, so take it out", b.what, t)
		case a != plumbline.ActionUpdate && a != plumbline.ActionCreate:
			r.problem(t.at, "actions in %s has %s; there are \"update\", and \"create\" for what was deleted outside", b.what, t)
		case slices.Contains(l.Actions, a):
			r.problem(t.at, "actions in %s has %s twice; keep one", b.what, t)
		default:
			l.Actions = append(l.Actions, a)
		}
	}
	types := b.texts("types")
	if len(types) == 0 && (!b.has("types") || types != nil) {
		at := b.at
		if b.has("types") {
			at = b.nameAt("types")
		}
		r.problem(at, "%s names no types of resources, so that nothing would be put right; write types = [\"aws_security_group_rule\"]", b.what)
	}
	for _, t := range types {
		switch {
		case strings.ContainsAny(t.value, ".[]") && !t.secret:
			r.problem(t.at, "types in %s has %s, which is an address; write the type alone, such as \"aws_security_group_rule\"", b.what, t)
		case strings.Trim(t.value, "*_") == "" || strings.ContainsFunc(t.value, notInType):
			r.problem(t.at, "types in %s has %s, which is no type of resources; write for example \"aws_security_group_rule\", or \"aws_security_group*\"", b.what, t)
		case slices.Contains(l.Types, t.value):
			r.problem(t.at, "types in %s has %s twice; keep one", b.what, t)
		default:
			l.Types = append(l.Types, t.value)
		}
	}
	const most = 1000
	l.MaxChanges = b.number("max_changes", plumbline.DefaultMaxChanges, 1, most)
	l.PerDay = b.number("per_day", plumbline.DefaultPerDay, 1, most)
	b.done()
	return l
}

func notInType(c rune) bool {
	plain := c == '*' || c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	return !plain
}

// ignore reads a rule that hides drift. One that has run out is no mistake: a daemon that does not start because of the date would watch nothing at all.
// It hides nothing, and what it hid comes back and says so.
func (r *reader) ignore(b *body, zone *time.Location) plumbline.IgnoreRule {
	address := b.required("address", `"aws_autoscaling_group.*"`)
	owner := b.required("owner", `"sre", who is asked when it ends`)
	reason := b.required("reason", `"autoscaled"`)
	until := b.text("until")
	rule := plumbline.IgnoreRule{
		Stack: r.glob1(b, "stack"), Address: address.value, Attribute: r.glob1(b, "attribute"), Owner: owner.value, Reason: reason.value,
	}
	for name, t := range map[string]text{"owner": owner, "reason": reason} {
		if t.ok && strings.TrimSpace(t.value) == "" {
			r.problem(t.at, "%s in %s is blank; it is shown to whoever wonders", name, b.what)
		}
	}
	rule.Until, _ = r.moment(b, "until", until, zone)
	b.done()
	if address.ok && strings.Trim(rule.Attribute, "*") == "" && strings.Trim(address.value, "*.") == "" {
		r.problem(address.at, "address %s in %s would ignore all drift there is; name a type of resource, or an attribute", address, b.what)
	}
	return rule
}

// glob1 is a text that is a pattern where it is set.
func (r *reader) glob1(b *body, name string) string {
	t := b.text(name)
	if t.ok && strings.TrimSpace(t.value) == "" {
		r.problem(t.at, "%s in %s is empty; leave it out, and the rule is about all of them", name, b.what)
	}
	return t.value
}
