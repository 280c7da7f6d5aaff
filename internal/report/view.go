package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// view is all that the note of one merge request is made of.
type view struct {
	MR        plumbline.MergeRequest
	Rows      []row
	Proposals []plumbline.Run // what was planned of it while it was open
}

// commit is what its statuses are of: the head, or what was planned last, if more was pushed and merged before anybody could look.
func (v view) commit() string {
	if v.MR.State != plumbline.MROpen && len(v.Proposals) > 0 {
		return v.Proposals[0].Commit
	}
	return v.MR.Head
}

// row is one stack of the note.
type row struct {
	Run  plumbline.Run // the proposal's, or once merged the deploy's
	Plan plumbline.Plan
	Next string // what happens after the merge, or what became of it
}

func (v view) live() bool {
	var runs []plumbline.Run
	for _, r := range v.Rows {
		runs = append(runs, r.Run)
	}
	return live(append(runs, v.Proposals...))
}

// worthNote reports whether there is anything to say: a change that touches no stack gets a status and no noise.
func (v view) worthNote() bool {
	mr := v.MR
	return len(v.Rows) > 0 || len(mr.Removed) > 0 || mr.Conflict || mr.Skipped != "" || len(mr.Findings) > 0
}

// fingerprint changes whenever the note should; the note's own text also says how long ago it was planned, which is no news.
func (v view) fingerprint() string {
	var b strings.Builder
	fmt.Fprintln(&b, v.MR.Mark(), v.MR.Base, v.MR.Skipped, v.MR.Conflict, v.MR.Findings, v.MR.Removed)
	for _, r := range v.Rows {
		digest := ""
		if r.Run.Plan != nil {
			digest = r.Run.Plan.Digest
		}
		fmt.Fprintln(&b, r.Run.ID, r.Run.State, r.Run.Attempt, digest, r.Next, len(r.Run.Approvals), r.Run.Wish)
	}
	return b.String()
}

// view gathers what became of a merge request: the newest proposal run of each stack at its head and target; after the merge, the run
// that deploys that stack, in the deployment that brought it or a later one.
func (r *Reporter) view(ctx context.Context, id string) (view, error) {
	repo := r.c.Repository.Name
	mr, err := r.c.Ledger.MergeRequest(ctx, repo, id)
	if err != nil {
		return view{}, err
	}
	runs, err := r.c.Ledger.RunsOfMR(ctx, repo, id)
	if err != nil {
		return view{}, err
	}
	head, base := mr.Head, mr.Base
	if n := len(runs); n > 0 && mr.State == plumbline.MRMerged {
		// It may have been pushed to and merged before anybody could plan that; then the last plan is what is known of it.
		head, base = runs[n-1].Commit, runs[n-1].Base
	}
	newest := map[plumbline.StackRef]plumbline.Run{}
	for _, run := range runs {
		// The same head planned for another target, or before the target moved, is another plan.
		if run.Commit == head && run.Base == base && run.ID > newest[run.Stack].ID {
			newest[run.Stack] = run
		}
	}
	v := view{MR: mr, Proposals: slices.SortedFunc(maps.Values(newest), func(a, b plumbline.Run) int { return cmp.Compare(a.ID, b.ID) })}
	for _, run := range v.Proposals {
		if mr.State == plumbline.MRMerged && mr.Deployment > 0 {
			if d, ok, err := r.deployOf(ctx, mr, run.Stack, plumbline.KindDeploy); err != nil {
				return view{}, err
			} else if ok {
				run = d
			}
		}
		v.Rows = append(v.Rows, row{Run: run})
	}
	if mr.State == plumbline.MRMerged && mr.Deployment > 0 {
		for _, name := range mr.Removed {
			env, stack, _ := strings.Cut(name, "/")
			ref := plumbline.StackRef{Repository: repo, Environment: env, Name: stack}
			if d, ok, err := r.deployOf(ctx, mr, ref, plumbline.KindDestroy); err != nil {
				return view{}, err
			} else if ok {
				v.Rows = append(v.Rows, row{Run: d})
			}
		}
	}
	for i := range v.Rows {
		row := &v.Rows[i]
		env, _ := r.c.Repository.Environment(row.Run.Stack.Environment)
		row.Next = next(mr, row.Run, env, r.c.Now())
	}
	slices.SortFunc(v.Rows, func(a, b row) int {
		if d := danger(b.Run) - danger(a.Run); d != 0 {
			return d
		}
		if a.Run.Stack.Environment != b.Run.Stack.Environment {
			return strings.Compare(a.Run.Stack.Environment, b.Run.Stack.Environment)
		}
		return strings.Compare(a.Run.Stack.Name, b.Run.Stack.Name)
	})
	return v, nil
}

// plans adds the rows' plans. They are read only when the note is written: most looks find that there is nothing to write yet.
func (r *Reporter) plans(ctx context.Context, v view) error {
	for i := range v.Rows {
		row := &v.Rows[i]
		if row.Run.Plan == nil || row.Run.Plan.Doc.Name == "" {
			continue
		}
		plan, err := r.c.Plans.Plan(ctx, row.Run)
		if errors.Is(err, plumbline.ErrNotFound) {
			continue // kept shorter than the merge request lives; the counts are in the run
		}
		if err != nil {
			return fmt.Errorf("plan of run %s: %w", row.Run.ID, err)
		}
		row.Plan = plan
	}
	return nil
}

// deployOf returns the run that brought a merged change to a stack.
func (r *Reporter) deployOf(ctx context.Context, mr plumbline.MergeRequest, stack plumbline.StackRef, kind plumbline.Kind) (plumbline.Run, bool, error) {
	runs, err := r.c.Ledger.Runs(ctx, plumbline.RunFilter{
		Repository: stack.Repository, Environment: stack.Environment, Stack: stack.Name, Kinds: []plumbline.Kind{kind}, Limit: followed,
	})
	if err != nil {
		return plumbline.Run{}, false, err
	}
	best, ok := plumbline.DeployOf(mr, runs)
	return best, ok, nil
}

// danger orders rows: red first.
func danger(r plumbline.Run) int {
	switch {
	case r.State == plumbline.StateFailed || r.State == plumbline.StateInterrupted:
		return 4
	case r.Plan != nil && r.Plan.Summary.Replace+r.Plan.Summary.Delete > 0:
		return 3
	case r.Plan != nil && r.Plan.Changes:
		return 2
	case !r.State.Ended():
		return 1
	}
	return 0
}

// next says what happens after the merge, or what became of it.
func next(mr plumbline.MergeRequest, r plumbline.Run, env plumbline.Environment, now time.Time) string {
	if r.Kind != plumbline.KindProposal {
		switch r.State {
		case plumbline.StateAwaiting:
			return fmt.Sprintf("waits for %s (`plumbline runs approve %s --digest %s`)", approvals(r.Missing(now)), r.ID, plumbline.ShortDigest(r.Plan.Digest))
		case plumbline.StateQueued:
			if len(r.WaitsFor) > 0 {
				return "queued, after " + strings.Join(r.WaitsFor, ", ")
			}
		case plumbline.StateApplied:
			return "applied"
		}
		return r.Label()
	}
	switch r.State {
	case plumbline.StateClean:
		return "no changes"
	case plumbline.StatePlanned:
		if mr.State == plumbline.MRClosed {
			return "closed without a merge"
		}
		switch env.Apply {
		case plumbline.ApplyAutomatic:
			return "applies automatically"
		case plumbline.ApplyNever:
			return "is not applied by Plumbline"
		default:
			return "waits for " + approvals(max(env.Approval.Count, 1))
		}
	}
	return r.Label()
}

func approvals(n int) string {
	if n == 1 {
		return "an approval"
	}
	return fmt.Sprintf("%d approvals", n)
}

// statuses are the commit statuses of a merge request's head.
func (v view) statuses(base string) []plumbline.CommitStatus {
	mr := v.MR
	switch {
	case mr.State == plumbline.MRMerged && (mr.MergeCommit == "" || mr.MergeCommit == mr.Head):
		return nil // its head is the branch's now, whose deployment says more
	case mr.State != plumbline.MROpen && len(v.Proposals) == 0:
		return nil
	case mr.State != plumbline.MROpen:
		return statuses(v.Proposals, base)
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
	return statuses(v.Proposals, base)
}

// statuses are one per stack up to perStack stacks, beyond that one per environment, and always the aggregate.
func statuses(runs []plumbline.Run, base string) []plumbline.CommitStatus {
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
			state, text := told([]plumbline.Run{r})
			out = append(out, plumbline.CommitStatus{Context: "plumbline/" + r.Stack.Environment + "/" + r.Stack.Name, State: state, Description: text, URL: url([]plumbline.Run{r})})
		}
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
			state, text := told(byEnv[n])
			out = append(out, plumbline.CommitStatus{Context: "plumbline/" + n, State: state, Description: text, URL: url(byEnv[n])})
		}
	}
	state, text := told(runs)
	return append(out, plumbline.CommitStatus{Context: "plumbline", State: state, Description: text, URL: url(runs)})
}

// told sums runs up in one state and one sentence.
func told(runs []plumbline.Run) (plumbline.Told, string) {
	var sum plumbline.Summary
	var pending, waiting, failed, broken, applied, gone int
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
		case plumbline.StateApplied:
			applied++
		default:
			if !r.State.Ended() {
				pending++
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
		case waiting > 0:
			return plumbline.ToldPending, "awaiting approval: " + r.Plan.Summary.String()
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
	case pending > 0:
		return plumbline.ToldPending, fmt.Sprintf("%d of %s under way", pending, n)
	case waiting > 0:
		return plumbline.ToldPending, fmt.Sprintf("%d of %s awaiting approval: %s", waiting, n, sum)
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
