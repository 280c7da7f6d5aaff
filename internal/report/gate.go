package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// manyNames is how many people, demands, policies or steps one sentence names.
const manyNames = 5

// list is "a, b and 3 more".
func list(names []string, most int) string {
	if n := len(names) - most; n > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ")
}

// clauses joins what there is to say.
func clauses(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// next says what happens to a stack after the merge, or what becomes of it now. A proposal is given under the rules that are in force, siblings
// are the runs of a deployment.
func next(mr plumbline.MergeRequest, r plumbline.Run, siblings []plumbline.Run, now time.Time) string {
	if r.Kind == plumbline.KindProposal {
		return afterMerge(mr, r, now)
	}
	switch r.State {
	case plumbline.StateQueued:
		return queued(r, siblings)
	case plumbline.StateAwaiting:
		return clauses("waits for "+needs(r, now), agreed(r, now, ""), void(r, now), closed(r, now))
	case plumbline.StateApproved:
		return clauses(agreement(r, now), cmp.Or(closed(r, now), "is applied next"))
	case plumbline.StateApplying:
		return clauses("applying", agreement(r, now))
	case plumbline.StateApplied:
		if broken(r) {
			return clauses("applied", agreement(r, now))
		}
	case plumbline.StateFailed:
		if f := r.Failure; f != nil && f.Kind == plumbline.FailPolicy {
			return cmp.Or(forbidden(r), r.Label())
		}
	}
	return ended(r)
}

// afterMerge says what happens to a stack after the merge.
func afterMerge(mr plumbline.MergeRequest, r plumbline.Run, now time.Time) string {
	if r.State != plumbline.StatePlanned || r.Plan == nil {
		return ended(r)
	}
	if mr.State == plumbline.MRClosed {
		return "closed without a merge"
	}
	if s := forbidden(r); s != "" {
		return s
	}
	carry := ""
	if r.Policy.Approval.Carry {
		carry = " (carried over after the merge if the plan is the same)"
	} else {
		r.Approvals = nil // none of them comes along
	}
	first := ""
	switch {
	case r.Policy.Apply == plumbline.ApplyNever:
		return "is not applied by Plumbline"
	case len(r.Unmet(now)) > 0:
		first = "waits for " + needs(r, now)
	case r.Policy.Apply == plumbline.ApplyAutomatic:
		first = "applies automatically"
	}
	return clauses(first, agreed(r, now, carry), void(r, now), closed(r, now))
}

// ended is the state of a run with what people should know of how it came to it.
func ended(r plumbline.Run) string {
	switch r.State {
	case plumbline.StateRejected:
		return why(r)
	case plumbline.StateExpired:
		return "expired: nobody agreed in time"
	}
	return r.Label()
}

// queued says what a run waits for, or what keeps it back for good.
func queued(r plumbline.Run, siblings []plumbline.Run) string {
	var first, bad []string
	for _, b := range plumbline.Blockers(r, siblings) {
		if b.State.Ended() {
			bad = append(bad, b.Stack.Name+" ("+b.Label()+")")
		} else {
			first = append(first, b.Stack.Name)
		}
	}
	switch {
	case len(bad) > 0:
		return "held back by " + list(bad, manyNames)
	case len(first) > 0:
		return "queued, after " + list(first, manyNames)
	}
	return r.Label()
}

// held are the stacks that wait for a run which has not ended well, also by way of others.
func held(r plumbline.Run, siblings []plumbline.Run) []string {
	var out []string
	for behind := []string{r.Stack.Name}; len(behind) > 0; {
		name := behind[0]
		behind = behind[1:]
		for _, s := range siblings {
			if s.State == plumbline.StateQueued && s.Stack.Environment == r.Stack.Environment && slices.Contains(s.WaitsFor, name) && !slices.Contains(out, s.Stack.Name) {
				out = append(out, s.Stack.Name)
				behind = append(behind, s.Stack.Name)
			}
		}
	}
	return out
}

// needs says who is asked: "2 approvals by group:sre, and an approval by group:dba (plumbline.storage)". What the policy says stands among its findings.
func needs(r plumbline.Run, now time.Time) string {
	var parts []string
	for _, d := range r.Unmet(now) {
		d.Why, _, _ = strings.Cut(d.Why, ": ")
		parts = append(parts, d.String())
	}
	if n := len(parts) - manyNames; n > 0 {
		parts = append(parts[:manyNames], fmt.Sprintf("%d more", n))
	}
	return cmp.Or(strings.Join(parts, ", and "), "an approval")
}

// agreed names those whose yes counts.
func agreed(r plumbline.Run, now time.Time, carry string) string {
	var by []string
	for _, a := range r.Approvals {
		if !r.Counts(a, now) {
			continue
		}
		who := cmp.Or(a.By, "somebody")
		if a.Carried != "" {
			who += " on " + a.Carried
		}
		by = append(by, who)
	}
	if len(by) == 0 {
		return ""
	}
	return "agreed by " + list(by, manyNames) + carry
}

// void says whose yes does not count, and why.
func void(r plumbline.Run, now time.Time) string {
	if r.Plan == nil {
		return ""
	}
	var whys []string
	by := map[string][]string{}
	for _, a := range r.Approvals {
		if r.Counts(a, now) {
			continue
		}
		var reason string
		switch {
		case a.Digest != r.Plan.Digest:
			reason = "was to another plan"
		case a.Config != r.Plan.Config:
			reason = "was to the same changes made in another way"
		case !a.Expires.IsZero() && !now.Before(a.Expires):
			reason = "was good until " + a.Expires.UTC().Format("2006-01-02 15:04 MST")
		default:
			reason = "does not count here: " + excluded(r.Policy.Approval.Not)
		}
		if by[reason] == nil {
			whys = append(whys, reason)
		}
		by[reason] = append(by[reason], cmp.Or(a.By, "somebody"))
	}
	var parts []string
	for _, reason := range whys {
		parts = append(parts, "the yes of "+list(by[reason], manyNames)+" "+reason)
	}
	return list(parts, manyNames)
}

// excluded says whose yes does not count although they may approve; "" where there is nobody.
func excluded(not []plumbline.Exclusion) string {
	var who []string
	for _, x := range not {
		switch x {
		case plumbline.NotAuthor:
			who = append(who, "its author")
		case plumbline.NotLastPusher:
			who = append(who, "who pushed it last")
		case plumbline.NotEarlierApprover:
			who = append(who, "who agreed to an earlier plan of it")
		default:
			who = append(who, string(x))
		}
	}
	if len(who) == 0 {
		return ""
	}
	return "not for " + strings.Join(who, ", nor for ")
}

// broken reports whether somebody has the plan at hand applied against the rules.
func broken(r plumbline.Run) bool {
	return r.Glass != nil && r.Plan != nil && r.Glass.Digest == r.Plan.Digest && r.Glass.Config == r.Plan.Config
}

// agreement says on whose word a plan is applied.
func agreement(r plumbline.Run, now time.Time) string {
	switch {
	case broken(r):
		return "break glass by " + r.Glass.By
	case r.State == plumbline.StateApplying: // for hours, maybe: a yes that was good when it began is
		now = r.Started
	}
	return cmp.Or(agreed(r, now, ""), "applies automatically")
}

// closed says why the environment takes no changes now, or "".
func closed(r plumbline.Run, now time.Time) string {
	s, _, _ := r.Closed(now)
	return s
}

// forbidden names the policies that forbid a plan, or is "".
func forbidden(r plumbline.Run) string {
	var by []string
	for _, f := range denials(r) {
		if !slices.Contains(by, f.Policy) {
			by = append(by, f.Policy)
		}
	}
	if len(by) == 0 {
		return ""
	}
	return "forbidden by " + list(by, manyNames)
}

func denials(r plumbline.Run) []plumbline.PolicyFinding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f plumbline.PolicyFinding) bool { return f.Level != plumbline.PolicyDeny })
}

// offered reports whether somebody can agree to a run's plan now.
func offered(mr plumbline.MergeRequest, r plumbline.Run, now time.Time) bool {
	if until := r.ValidUntil(); r.Plan == nil || !until.IsZero() && !now.Before(until) {
		return false
	}
	if r.State == plumbline.StateAwaiting {
		return true
	}
	return r.Kind == plumbline.KindProposal && r.State == plumbline.StatePlanned && mr.State == plumbline.MROpen &&
		r.Policy.Apply == plumbline.ApplyApproval && r.Policy.Approval.Carry && forbidden(r) == "" && len(r.Unmet(now)) > 0
}

// bad reports whether a run that was to change something has ended without.
func bad(r plumbline.Run) bool {
	switch r.State {
	case plumbline.StateFailed, plumbline.StateInterrupted, plumbline.StateRejected, plumbline.StateExpired:
		return r.Kind == plumbline.KindDeploy || r.Kind == plumbline.KindDestroy
	}
	return false
}

// alarms are the broken glasses, in a line each.
func alarms(d NoteData) *section {
	s, v := &section{close: closing("")}, d.voice()
	for _, r := range d.Rows {
		if broken(r.Run) {
			s.add(rankGlass, kindNone, fmt.Sprintf("⚠ **Break glass** by %s: %s (%s)\n\n", cmp.Or(v.text(r.Run.Glass.By), nameless), cmp.Or(v.text(r.Run.Glass.Reason), nameless), stackLink(d, r)))
		}
	}
	return s
}

func stackLink(d NoteData, r NoteRow) string {
	return linkTo(d.Base, cmp.Or(d.voice().text(r.Run.Stack.Name), nameless), "runs/"+r.Run.ID.String())
}

// degraded says of each environment in which something has not ended well what that was, what it keeps back, and the ways out.
func degraded(d NoteData) []*section {
	var out []*section
	v := d.voice()
	var envs []string
	in := map[string][]NoteRow{}
	for _, r := range d.Rows {
		if bad(r.Run) {
			env := r.Run.Stack.Environment
			if in[env] == nil {
				envs = append(envs, env)
			}
			in[env] = append(in[env], r)
		}
	}
	for _, env := range envs {
		var causes, held []string
		for _, r := range in[env] {
			causes = append(causes, cmp.Or(v.text(r.Run.Stack.Name), nameless)+" "+string(r.Run.State))
			for _, h := range r.Held {
				if h = cmp.Or(v.text(h), nameless); !slices.Contains(held, h) {
					held = append(held, h)
				}
			}
		}
		say := "**" + cmp.Or(v.text(env), nameless) + " is degraded** · " + list(causes, manyNames)
		if len(held) > 0 {
			say += "; held back: " + list(held, manyNames)
		}
		s := &section{close: closing("\n")}
		s.add(rankFailure, kindNone, say+"\n\n")
		step := func(line string) { s.add(rankAct, kindNone, "- "+line+"\n") }
		again := slices.DeleteFunc(slices.Clone(in[env]), func(r NoteRow) bool {
			return r.Run.Failure != nil && r.Run.Failure.Kind == plumbline.FailUnsigned // no second look finds a signature
		})
		for _, r := range again[:min(len(again), manyNames)] {
			if call, ok := d.command("retry", r); ok {
				step("a comment with " + v.code(call) + " plans it again")
			} else {
				step(fmt.Sprintf("`plumbline runs retry %s` plans %s again", r.Run.ID, stackLink(d, r)))
			}
		}
		step(v.code("plumbline env deploy "+env) + " plans all of it again, from the start")
		back := " opens a merge request with the last good files"
		if in[env][0].Environment.Rollback == plumbline.RollbackDirect {
			back = " puts the last good files back on the branch"
		}
		step(v.code("plumbline env rollback "+env) + back)
		out = append(out, s)
	}
	return out
}
