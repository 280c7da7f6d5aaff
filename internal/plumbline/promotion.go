package plumbline

import (
	"slices"
	"strings"
)

// Next is the environment that e promotes to, or a Refusal.
func (r Repository) Next(e Environment) (Environment, error) {
	next, ok := r.Environment(e.PromotesTo)
	switch {
	case e.PromotesTo == "":
		return next, refuse(ErrConflict, "promotes_to in its block of the configuration names one.", "%s promotes to no environment.", e.Key())
	case !ok || next.Branch == e.Branch:
		return next, refuse(ErrConflict, "Name one with a branch of its own in promotes_to.", "%s promotes to no environment with a branch of its own.", e.Key())
	}
	return next, nil
}

const minCommit = 7 // digits of a commit that a person must give at least

// RollbackTo finds the commit that somebody means to have an environment's files put back to. A short one is looked for among its deployments; a whole
// one is taken as it is. "" stays: the newest commit with which everything was in sync is looked for later.
func (e Environment) RollbackTo(given, head string, deployed []Deployment) (string, error) {
	to := strings.ToLower(strings.TrimSpace(given))
	if to == "" {
		return "", nil
	}
	if len(to) < minCommit || len(to) > 64 || strings.Trim(to, "0123456789abcdef") != "" {
		return "", refuse(ErrInvalid, "Give at least 7 of its hexadecimal digits.", "%q is not a commit.", given)
	}
	if len(to) < 40 {
		var found []string
		for _, d := range deployed {
			for _, c := range []string{d.Commit, d.Previous} {
				if strings.HasPrefix(c, to) && !slices.Contains(found, c) {
					found = append(found, c)
				}
			}
		}
		switch len(found) {
		case 0:
			return "", refuse(ErrNotFound, "`plumbline env history "+e.Name+"` lists them; a commit that was never deployed is named in full.", "No deployment of %s has a commit %s.", e.Key(), to)
		case 1:
			to = found[0]
		default:
			return "", refuse(ErrInvalid, "Give more of it.", "%s may be %s.", to, strings.Join(found, " or "))
		}
	}
	if to == head {
		return "", refuse(ErrConflict, "Name an earlier commit.", "%s is at %s already.", e.Branch, Short(to))
	}
	return to, nil
}

// Promotion is what one environment has that the one it promotes to does not.
type Promotion struct {
	From, To Environment
	Same     bool   // the branch of To has all that the one of From has, as far as is known
	Open     string // merge request that would bring it; "": none
	Stacks   []Promotable
}

// Promotable is how far a stack is in both environments.
type Promotable struct {
	Stack   string
	Here    string // commit that it is in sync with; "": not known
	There   string // likewise; "" also where it does not exist
	Missing bool   // there has it not at all
	Ahead   bool   // what is here is not there, as far as is known
	Pending RunID  // run there that has not ended; 0: none
	State   State  // its state
}

// PromotionOf compares environments of one repository. deployed are the deployments of from, newest first; merged the merge requests between the
// two branches in any state; pending the runs of to. A stack is level when both are in sync with one commit, or when a merge request
// brought its commit, or a later one, to the other branch and nothing of it is under way there.
func PromotionOf(from, to Environment, headHere, headThere string, here, there []StackStatus, deployed []Deployment, requests []MergeRequest, runs []Run) Promotion {
	p := Promotion{From: from, To: to}
	age := map[string]int{} // of a commit: how many deployments are newer
	for i, d := range deployed {
		for j, commit := range []string{d.Commit, d.Previous} {
			if _, ok := age[commit]; !ok && commit != "" {
				age[commit] = i + j
			}
		}
	}
	// The newest commit of here that there has.
	brought, known := 0, false
	note := func(commit string) {
		if n, ok := age[commit]; ok && (!known || n < brought) {
			brought, known = n, true
		}
	}
	note(headThere)
	p.Same = headHere == headThere
	for _, m := range requests {
		if m.Source != from.Branch || m.Target != to.Branch || m.Fork {
			continue
		}
		switch m.State {
		case MROpen:
			p.Open = m.ID
		case MRMerged:
			p.Same = p.Same || m.Head == headHere
			note(m.Head)
		}
	}
	has := func(commit string) bool {
		n, ok := age[commit]
		return p.Same || ok && known && n >= brought
	}
	for _, h := range here {
		if h.Removed || !to.Contains(h.Spec.Dir) {
			continue
		}
		s := Promotable{Stack: h.Stack.Name, Here: h.Commit, Missing: true}
		for _, t := range there {
			if t.Stack.Name == h.Stack.Name && !t.Removed {
				s.Missing, s.There = false, t.Commit
			}
		}
		for _, r := range NewestPerStack(runs) {
			if r.Stack.Name == h.Stack.Name && !r.State.Ended() {
				s.Pending, s.State = r.ID, r.State
			}
		}
		s.Ahead = s.Missing && !p.Same || s.Here != s.There && !has(s.Here)
		p.Stacks = append(p.Stacks, s)
	}
	slices.SortFunc(p.Stacks, func(a, b Promotable) int { return strings.Compare(a.Stack, b.Stack) })
	return p
}
