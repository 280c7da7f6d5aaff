package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// statuses are the commit statuses of a merge request's head.
func (v view) statuses(base string) []plumbline.CommitStatus {
	mr := v.MR
	switch {
	case mr.State == plumbline.MRMerged && (mr.MergeCommit == "" || mr.MergeCommit == mr.Head):
		return nil // its head is the branch's now, whose deployment says more
	case mr.State != plumbline.MROpen && len(v.Proposals) == 0:
		return nil
	case mr.State != plumbline.MROpen:
		return statuses(v.Proposals, base, v.Now)
	case mr.Skipped != "":
		return []plumbline.CommitStatus{{Context: "plumbline", State: plumbline.ToldFailure, Description: "Not planned. " + mr.Skipped, URL: base}}
	case mr.Conflict:
		return []plumbline.CommitStatus{{Context: "plumbline", State: plumbline.ToldFailure, Description: "Conflicts with " + mr.Target + ".", URL: base}}
	}
	if len(v.Proposals) == 0 {
		s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess, Description: "Touches no stack.", URL: base}
		switch {
		case len(mr.Findings) > 0:
			s.State, s.Description = plumbline.ToldFailure, mr.Findings[0].String()
		case len(mr.Removed) > 0:
			s.Description = "Removes " + count(len(mr.Removed), "stack") + "."
		}
		return []plumbline.CommitStatus{s}
	}
	return statuses(v.Proposals, base, v.Now)
}

// statuses are one per stack up to perStack stacks, beyond that one per environment, and always the aggregate. While there are no more than perStack of
// both, each check of a stack has one, too.
func statuses(runs []plumbline.Run, base string, now time.Time) []plumbline.CommitStatus {
	var out []plumbline.CommitStatus
	url := func(rs []plumbline.Run) string {
		if len(rs) == 1 {
			return link(base, "runs", rs[0].ID.String())
		}
		return base
	}
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b plumbline.Run) int { return strings.Compare(a.Stack.String(), b.Stack.String()) })
	if len(runs) <= perStack {
		for _, r := range runs {
			state, text := told([]plumbline.Run{r}, now)
			out = append(out, plumbline.CommitStatus{Context: "plumbline/" + r.Stack.Environment + "/" + r.Stack.Name, State: state, Description: text, URL: url([]plumbline.Run{r})})
		}
		out = append(out, checkStatuses(runs, out, base)...)
	} else {
		byEnv := map[string][]plumbline.Run{}
		var names []string
		for _, r := range runs {
			if byEnv[r.Stack.Environment] == nil {
				names = append(names, r.Stack.Environment)
			}
			byEnv[r.Stack.Environment] = append(byEnv[r.Stack.Environment], r)
		}
		for _, n := range names {
			state, text := told(byEnv[n], now)
			out = append(out, plumbline.CommitStatus{Context: "plumbline/" + n, State: state, Description: text, URL: url(byEnv[n])})
		}
	}
	state, text := told(runs, now)
	return append(out, plumbline.CommitStatus{Context: "plumbline", State: state, Description: text, URL: url(runs)})
}

// checkStatuses are those of the checks of stacks; none where there would be too many. A context that is a stack's is left to it.
func checkStatuses(runs []plumbline.Run, stacks []plumbline.CommitStatus, base string) []plumbline.CommitStatus {
	var out []plumbline.CommitStatus
	for _, r := range runs {
		for _, c := range r.Checks {
			s := plumbline.CommitStatus{
				Context: "plumbline/" + r.Stack.Environment + "/" + r.Stack.Name + "/" + string(c.Name), State: plumbline.ToldSuccess,
				Description: cmp.Or(c.Text, verdicts[c.Verdict]), URL: link(base, "runs", r.ID.String()),
			}
			switch c.Verdict {
			case plumbline.VerdictFail:
				s.State = plumbline.ToldFailure
			case plumbline.VerdictError:
				s.State = plumbline.ToldError
			}
			if !slices.ContainsFunc(slices.Concat(stacks, out), func(o plumbline.CommitStatus) bool { return o.Context == s.Context }) {
				out = append(out, s)
			}
		}
	}
	if len(stacks)+len(out) > perStack {
		return nil
	}
	return out
}

// refusal says in a sentence why a change whose plan was made is not good as it is: a policy forbids it, a check found fault. "": it is.
func refusal(r plumbline.Run) string {
	if r.State != plumbline.StatePlanned && r.State != plumbline.StateClean {
		return ""
	}
	if list := denials(r); len(list) > 0 {
		s := "forbidden by " + list[0].Policy + ": " + list[0].Message
		if n := len(list) - 1; n > 0 {
			s += fmt.Sprintf(" (and %d more)", n)
		}
		return s
	}
	return checkedAs(r, plumbline.VerdictFail)
}

// checkedAs says in a sentence which checks came to a verdict, or nothing.
func checkedAs(r plumbline.Run, v plumbline.Verdict) string {
	var parts []string
	for _, c := range r.Checks {
		if c.Verdict == v {
			parts = append(parts, string(c.Name)+": "+cmp.Or(c.Text, verdicts[v]))
		}
	}
	return strings.Join(parts, "; ")
}

// told sums runs up in one state and one sentence.
func told(runs []plumbline.Run, now time.Time) (plumbline.Told, string) {
	var sum plumbline.Summary
	var pending, waiting, failed, broken, applied, gone, refused, odd int
	var fault, oddity string // of the first that is refused, or could not be checked
	var asked []string
	for _, r := range runs {
		if r.Plan != nil {
			sum = sum.Add(r.Plan.Summary)
		}
		switch r.State {
		case plumbline.StateFailed, plumbline.StateRejected, plumbline.StateExpired:
			failed++
		case plumbline.StateInterrupted:
			broken++
		case plumbline.StateCanceled, plumbline.StateSuperseded:
			gone++
		case plumbline.StateAwaiting:
			waiting++
			for _, d := range r.Unmet(now) {
				asked = append(asked, d.From...)
			}
		case plumbline.StateApplied:
			applied++
		default:
			if !r.State.Ended() {
				pending++
			} else if s := refusal(r); s != "" {
				refused++
				fault = cmp.Or(fault, r.Stack.Name+": "+s)
			} else if s := checkedAs(r, plumbline.VerdictError); s != "" {
				odd++
				oddity = cmp.Or(oddity, r.Stack.Name+": "+s)
			}
		}
	}
	if len(runs) == 1 {
		r := runs[0]
		switch {
		case broken > 0:
			return plumbline.ToldError, why(r)
		case failed > 0:
			return plumbline.ToldFailure, why(r)
		case gone > 0:
			return plumbline.ToldError, r.Label()
		case refused > 0:
			return plumbline.ToldFailure, strings.TrimPrefix(fault, r.Stack.Name+": ")
		case odd > 0:
			return plumbline.ToldError, strings.TrimPrefix(oddity, r.Stack.Name+": ")
		case waiting > 0:
			return plumbline.ToldPending, clauses("waits for "+needs(r, now), closed(r, now)) + ": " + r.Plan.Summary.String()
		case r.State == plumbline.StateApproved:
			return plumbline.ToldPending, clauses(r.Label(), closed(r, now))
		case pending > 0:
			return plumbline.ToldPending, r.Label()
		case r.State == plumbline.StateApplied && r.Plan != nil:
			return plumbline.ToldSuccess, "applied: " + r.Plan.Summary.String()
		case r.Plan != nil:
			return plumbline.ToldSuccess, r.Plan.Summary.String()
		}
		return plumbline.ToldSuccess, r.Label()
	}
	n := count(len(runs), "stack")
	switch {
	case broken > 0:
		return plumbline.ToldError, fmt.Sprintf("%d of %s interrupted", broken, n)
	case failed > 0:
		return plumbline.ToldFailure, fmt.Sprintf("%d of %s failed", failed, n)
	case refused > 0:
		return plumbline.ToldFailure, fmt.Sprintf("%d of %s refused, %s", refused, n, fault)
	case odd > 0:
		return plumbline.ToldError, fmt.Sprintf("%d of %s could not be checked, %s", odd, n, oddity)
	case pending > 0:
		return plumbline.ToldPending, fmt.Sprintf("%d of %s under way", pending, n)
	case waiting > 0:
		who := ""
		if slices.Sort(asked); len(asked) > 0 {
			who = " by " + list(slices.Compact(asked), manyNames)
		}
		return plumbline.ToldPending, fmt.Sprintf("%d of %s awaiting approval%s: %s", waiting, n, who, sum)
	case gone > 0:
		return plumbline.ToldError, fmt.Sprintf("%d of %s canceled or superseded", gone, n)
	case applied > 0:
		return plumbline.ToldSuccess, fmt.Sprintf("applied to %s: %s", n, sum)
	}
	return plumbline.ToldSuccess, fmt.Sprintf("%s: %s", n, sum)
}

// why says in a sentence what came between a run and its end.
func why(r plumbline.Run) string {
	switch {
	case r.Failure != nil && r.Failure.Text != "":
		return r.Failure.Text
	case r.State == plumbline.StateRejected:
		return "rejected by " + r.RejectedBy + ": " + r.Reason
	case r.State == plumbline.StateExpired:
		return "nobody approved it in time"
	}
	return r.Label()
}
