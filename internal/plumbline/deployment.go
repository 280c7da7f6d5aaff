package plumbline

import (
	"sort"
	"time"
)

// Deployment is all deploy runs of one commit on one environment.
type Deployment struct {
	ID          int64
	Repository  string
	Environment string
	Commit      string
	Previous    string // head of the branch before
	By          string // "poll", or the user who asked
	Created     time.Time
}

// EnvironmentState is what an environment is, at a commit.
type EnvironmentState string

// The states of an environment.
const (
	EnvUnknown   EnvironmentState = "unknown" // nothing was checked yet
	EnvInSync    EnvironmentState = "in sync"
	EnvDeploying EnvironmentState = "deploying"
	EnvWaiting   EnvironmentState = "waiting"
	EnvDegraded  EnvironmentState = "degraded"
)

// EnvironmentStatus is an environment's state with what it follows from.
type EnvironmentStatus struct {
	Environment  Environment `json:"-"`
	Key          string
	State        EnvironmentState
	Commit       string // newest known head
	Cause        string // one sentence
	Stacks       int
	OutOfSync    int // stacks whose last known good commit is not confirmed
	NeverApplied int
	Drifted      int // open drift items
	Waiting      []RunID
	Failed       []RunID
}

// NewestPerStack keeps the newest run of each stack, of runs listed newest first. What a stack of an older deployment failed at is not
// mended by a newer deployment that left the stack out. A run that puts drift right says something of that only once it is applied.
func NewestPerStack(runs []Run) []Run {
	seen := map[StackRef]bool{}
	var out []Run
	for _, r := range runs {
		if !seen[r.Stack] && (r.Mending == nil || r.begun()) {
			seen[r.Stack] = true
			out = append(out, r)
		}
	}
	return out
}

// begun reports whether its apply has begun.
func (r Run) begun() bool {
	switch r.State {
	case StateApplying, StateApplied, StateInterrupted:
		return true
	}
	return r.State == StateFailed && r.Failure != nil && r.Failure.Kind == FailApply
}

// StatusOf derives an environment's status from its head ("": never seen), the newest deploy run of each stack, and its stacks.
func StatusOf(e Environment, head string, runs []Run, stacks []StackStatus) EnvironmentStatus {
	s := EnvironmentStatus{Environment: e, Key: e.Key(), Commit: head, State: EnvInSync}
	checked := false
	gone := map[StackRef]bool{}
	for _, st := range stacks {
		if st.Removed {
			gone[st.Stack] = true
			continue
		}
		s.Stacks++
		s.Drifted += st.Drifted
		checked = checked || st.Checked
		switch {
		case st.NeverApplied:
			s.NeverApplied++
		case !st.Checked:
			s.OutOfSync++
		}
	}
	var moving, planned int
	var failed []Run
	for _, r := range runs {
		if gone[r.Stack] && r.Kind != KindDestroy {
			continue // what a stack failed at matters no more when it is not wanted any more
		}
		switch r.State {
		case StateQueued, StatePlanning, StateApproved, StateApplying:
			moving++
		case StateAwaiting:
			s.Waiting = append(s.Waiting, r.ID)
		case StateFailed, StateInterrupted, StateRejected, StateExpired, StateCanceled:
			failed = append(failed, r)
			s.Failed = append(s.Failed, r.ID)
		case StatePlanned:
			planned++
		}
	}
	switch {
	case head == "":
		s.State, s.Cause = EnvUnknown, "the branch "+e.Branch+" was not seen yet"
	case len(failed) > 0:
		sort.Slice(failed, func(i, j int) bool { return failed[i].ID < failed[j].ID })
		s.State = EnvDegraded
		s.Cause = failed[0].Stack.Name + " " + string(failed[0].State)
	case moving > 0 && len(s.Waiting) > 0 && moving == blocked(runs):
		s.State, s.Cause = EnvWaiting, "an approval is awaited"
	case moving > 0:
		s.State = EnvDeploying
	case len(s.Waiting) > 0:
		s.State, s.Cause = EnvWaiting, "an approval is awaited"
	case planned > 0:
		s.State, s.Cause = EnvWaiting, "nothing is ever applied here by Plumbline"
	case !checked && s.Stacks > 0:
		s.State, s.Cause = EnvUnknown, "not checked yet"
	}
	return s
}

// blocked counts queued runs that wait for a stack of the same deployment.
func blocked(runs []Run) int {
	n := 0
	for _, r := range runs {
		if r.State == StateQueued && len(Blockers(r, runs)) > 0 {
			n++
		}
	}
	return n
}

// Blockers returns the runs of the same deployment that must be good before r is planned.
func Blockers(r Run, siblings []Run) []Run {
	var out []Run
	for _, name := range r.WaitsFor {
		for _, s := range siblings {
			if s.Deployment == r.Deployment && s.Stack == (StackRef{r.Stack.Repository, r.Stack.Environment, name}) && !s.State.Good() {
				out = append(out, s)
			}
		}
	}
	return out
}

// Cycle returns a dependency cycle among stacks as a path that ends where it began, or nil.
func Cycle(stacks []StackSpec) []string {
	const (
		white = iota
		grey
		black
	)
	deps := map[string][]string{}
	for _, s := range stacks {
		deps[s.Name] = s.DependsOn
	}
	colour := map[string]int{}
	var trail []string
	var visit func(string) []string
	visit = func(n string) []string {
		colour[n] = grey
		trail = append(trail, n)
		for _, d := range deps[n] {
			switch colour[d] {
			case grey:
				for i, t := range trail {
					if t == d {
						return append(append([]string{}, trail[i:]...), d)
					}
				}
			case white:
				if _, ok := deps[d]; ok {
					if c := visit(d); c != nil {
						return c
					}
				}
			}
		}
		trail = trail[:len(trail)-1]
		colour[n] = black
		return nil
	}
	names := make([]string, 0, len(deps))
	for n := range deps {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		if colour[n] == white {
			if c := visit(n); c != nil {
				return c
			}
		}
	}
	return nil
}
