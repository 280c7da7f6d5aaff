package plumbline

import (
	"fmt"
	"sort"
	"time"
)

// Proposals returns the runs that a merge request asks for: one for each stack of each environment of its target that the change
// touches. A removed stack gets none: what its removal does is planned when it lands.
func Proposals(envs []Environment, mr MergeRequest, touched []Touch, known []StackStatus, now time.Time) []Run {
	var out []Run
	for _, e := range envs {
		for _, t := range touched {
			if t.Removed || !e.Contains(t.Stack.Dir) {
				continue
			}
			r := newRun(e, KindProposal, t.Stack, now)
			r.Subject, r.Commit, r.Base, r.MR = SubjectMR(mr.ID), mr.Head, mr.Base, mr.ID
			r.Because, r.By = t.Because, mr.Author
			r.HadState = hadState(known, r.Stack)
			out = append(out, r)
		}
	}
	return out
}

// Pending is a stack of an environment whose files at the new head differ from what it is in sync with.
type Pending struct {
	Touch Touch
	Base  string // commit the stack was in sync with
}

// Deploys returns the runs that a new head of an environment's branch asks for. They wait for each other in the order of depends_on.
func Deploys(e Environment, head, because, by string, pending []Pending, known []StackStatus, now time.Time) []Run {
	in := map[string]bool{}
	for _, p := range pending {
		if e.Contains(p.Touch.Stack.Dir) {
			in[p.Touch.Stack.Name] = true
		}
	}
	var out []Run
	for _, p := range pending {
		if !e.Contains(p.Touch.Stack.Dir) {
			continue
		}
		kind := KindDeploy
		if p.Touch.Removed {
			kind = KindDestroy
		}
		r := newRun(e, kind, p.Touch.Stack, now)
		r.Subject, r.Commit, r.Base = SubjectDeploy(e.Name), head, p.Base
		if kind == KindDestroy {
			// The files that say how to destroy it are those of the last commit that had it.
			r.Commit = p.Base
		}
		r.Because, r.By = because+": "+p.Touch.Because, by
		r.HadState = hadState(known, r.Stack)
		for _, d := range r.Spec.DependsOn {
			if in[d] && d != r.Spec.Name {
				r.WaitsFor = append(r.WaitsFor, d)
			}
		}
		sort.Strings(r.WaitsFor)
		out = append(out, r)
	}
	return reverseDestroys(out)
}

// reverseDestroys makes a removed stack wait for those removed stacks that depend on it: what stands on it goes first.
func reverseDestroys(runs []Run) []Run {
	removed := map[string]int{}
	for i, r := range runs {
		if r.Kind == KindDestroy {
			removed[r.Stack.Name] = i
			runs[i].WaitsFor = nil
		}
	}
	for _, r := range runs {
		if r.Kind != KindDestroy {
			continue
		}
		for _, d := range r.Spec.DependsOn {
			if i, ok := removed[d]; ok {
				runs[i].WaitsFor = append(runs[i].WaitsFor, r.Stack.Name)
			}
		}
	}
	return runs
}

// Footing is what a drift check of a stack stands on.
type Footing struct {
	Commit string // whose files are planned
	Spec   StackSpec
	InSync bool   // the stack was applied at these very files, and well
	Ahead  string // the branch's head, when it has commits for the stack that were not applied
}

// DriftChecks returns one run for each stack of an environment, or for those named. A stack of which there is no footing is checked at the head. Those of a
// tick are spread, those that people wait for are not.
func DriftChecks(e Environment, head, by string, tick time.Time, stacks []StackStatus, footing map[string]Footing, only []string, now time.Time) []Run {
	var (
		out  []Run
		from time.Time
		over time.Duration
	)
	if !tick.IsZero() {
		from, over = e.Drift.spread(tick, now)
	}
	for _, s := range stacks {
		if s.Removed || !wanted(only, s) {
			continue
		}
		on, ok := footing[s.Stack.Name]
		if !ok {
			on = Footing{Commit: head, Spec: s.Spec}
		}
		r := newRun(e, KindDrift, on.Spec, now)
		r.Subject, r.Commit, r.Base, r.Tick = SubjectDrift(e.Name), on.Commit, s.Commit, tick
		r.InSync, r.Ahead = on.InSync, on.Ahead
		r.By = by
		switch {
		case !tick.IsZero():
			r.Because = "the schedule of " + e.Name
			r.NotBefore = from.Add(r.Stack.place(over))
		case by == BySchedule:
			r.Because = "what was put right is looked at"
		case by == ByPoll:
			r.Because = "first look at " + e.Branch
		default:
			r.Because = "asked for by " + by
		}
		r.HadState = hadState(stacks, r.Stack)
		out = append(out, r)
	}
	return out
}

// Who asks when no person does.
const (
	ByPoll     = "poll"
	BySchedule = "schedule"
)

func wanted(only []string, s StackStatus) bool {
	if len(only) == 0 {
		return true
	}
	for _, o := range only {
		if o == s.Spec.Name || (s.Spec.Alias != "" && o == s.Spec.Alias) {
			return true
		}
	}
	return false
}

func hadState(known []StackStatus, ref StackRef) bool {
	for _, s := range known {
		if s.Stack == ref {
			return s.Checked && !s.NeverApplied
		}
	}
	return false
}

func newRun(e Environment, kind Kind, spec StackSpec, now time.Time) Run {
	r := Run{
		Kind: kind, State: StateQueued, Stack: StackRef{e.Repository, e.Name, spec.Name}, Spec: spec,
		Policy: e.policy(), Queued: now,
	}
	if len(spec.Broken) > 0 && kind != KindDestroy {
		f := spec.Broken[0]
		r.State, r.Finished = StateFailed, now
		r.Failure = &Failure{Kind: FailConfig, Text: fmt.Sprintf("%s cannot be read: %s", spec.Name, f), Next: "Mend the file; the next push is planned again."}
		for _, f := range spec.Broken {
			r.Failure.Diagnostics = append(r.Failure.Diagnostics, Diagnostic{Severity: "error", Summary: f.Message, File: f.File, Line: f.Line, Snippet: f.Source})
		}
	}
	return r
}

// Refuse ends new runs before they begin, because commits that they bring do not carry the signatures that the environment asks for.
func Refuse(runs []Run, unsigned []Unsigned, now time.Time) {
	if len(unsigned) == 0 {
		return
	}
	u := unsigned[0]
	text := fmt.Sprintf("Commit %s by %s: %s.", Short(u.Commit), u.Author, u.Why)
	if n := len(unsigned) - 1; n > 0 {
		text += fmt.Sprintf(" So are %d more.", n)
	}
	for i := range runs {
		runs[i].State, runs[i].Finished = StateFailed, now
		runs[i].Failure = &Failure{
			Kind: FailUnsigned, Text: text,
			Next: "Rewrite the branch without it, or have an operator list the key; the next commit is looked at again.",
		}
	}
}

// String is "live/net/main.tf:7:3: unclosed block".
func (f Finding) String() string {
	switch {
	case f.File == "":
		return f.Message
	case f.Line == 0:
		return f.File + ": " + f.Message
	case f.Column == 0:
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}
