package report

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// view is all that the note of one merge request is made of.
type view struct {
	MR        plumbline.MergeRequest
	Rows      []row
	Proposals []plumbline.Run // what was planned of it while it was open
	Now       time.Time
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
	NoteRow                     // its run is the proposal's, or once merged the deploy's
	again   time.Time           // when something else may have to be said of it; zero: when something changes
	earlier *plumbline.Approval // a yes to another plan than the one that waits
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
	all := []any{v.MR.Mark(), v.MR.Base, v.MR.Skipped, v.MR.Conflict, v.MR.Findings, v.MR.Removed}
	for _, r := range v.Rows {
		digest, config := "", ""
		if r.Run.Plan != nil {
			digest, config = r.Run.Plan.Digest, r.Run.Plan.Config
		}
		rule := r.Run.Policy.Approval
		all = append(all, r.Run.ID, r.Run.State, r.Run.Attempt, digest, config, r.Next, r.Run.Wish, r.Run.Failure, r.Held, r.Environment.Rollback,
			r.Run.Findings, r.Run.Checks, r.Run.Approvals, r.Run.Glass, offered(v.MR, r.Run, v.Now), rule.Not, rule.Forge, r.Run.ValidUntil())
	}
	b, err := json.Marshal(all)
	if err != nil { // no such thing is among these types
		return err.Error()
	}
	return string(b)
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
	v := view{MR: mr, Now: r.c.Now(), Proposals: slices.SortedFunc(maps.Values(newest), func(a, b plumbline.Run) int { return cmp.Compare(a.ID, b.ID) })}
	for _, run := range v.Proposals {
		if mr.State == plumbline.MRMerged && mr.Deployment > 0 {
			if d, ok, err := r.deployOf(ctx, mr, run.Stack, plumbline.KindDeploy); err != nil {
				return view{}, err
			} else if ok {
				run = d
			}
		}
		v.Rows = append(v.Rows, row{NoteRow: NoteRow{Run: run}})
	}
	if mr.State == plumbline.MRMerged && mr.Deployment > 0 {
		for _, name := range mr.Removed {
			env, stack, _ := strings.Cut(name, "/")
			ref := plumbline.StackRef{Repository: repo, Environment: env, Name: stack}
			if d, ok, err := r.deployOf(ctx, mr, ref, plumbline.KindDestroy); err != nil {
				return view{}, err
			} else if ok {
				v.Rows = append(v.Rows, row{NoteRow: NoteRow{Run: d}})
			}
		}
	}
	if err := r.judge(ctx, v); err != nil {
		return view{}, err
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

// judge adds to rows what the rules make of their runs.
func (r *Reporter) judge(ctx context.Context, v view) error {
	siblings := map[int64][]plumbline.Run{} // by deployment
	for i := range v.Rows {
		row := &v.Rows[i]
		row.Run = r.inForce(row.Run)
		judged := row.Run
		if env, ok := r.c.Repository.Environment(row.Run.Stack.Environment); ok {
			row.Environment = env
			if judged.Kind == plumbline.KindProposal { // it keeps the rules of its day; its deployment will not
				judged.Policy = plumbline.Policy{Apply: env.Apply, Approval: env.Approval, Calendar: env.Calendar, Order: env.Order}
				judged = r.inForce(judged)
			}
		}
		id := judged.Deployment
		if _, ok := siblings[id]; !ok && (bad(judged) || judged.State == plumbline.StateQueued && len(judged.WaitsFor) > 0) {
			var err error
			if siblings[id], err = r.c.Ledger.RunsOfDeployment(ctx, id); err != nil {
				return err
			}
		}
		row.Next = next(v.MR, judged, siblings[id], v.Now)
		if bad(judged) {
			row.Held = held(judged, siblings[id])
		}
		row.again = moment(v.MR, row.Run, v.Now)
		if at := moment(v.MR, judged, v.Now); row.again.IsZero() || !at.IsZero() && at.Before(row.again) {
			row.again = at
		}
		row.earlier = earlier(row.Run)
		if row.earlier != nil && row.earlier.Digest == row.Run.Plan.Digest {
			row.SinceSummary = inAnotherWay
		}
	}
	return nil
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
		if err := r.since(ctx, row); err != nil {
			return fmt.Errorf("plan that was approved in place of that of run %s: %w", row.Run.ID, err)
		}
	}
	return nil
}

// since adds how the plan that waits differs from the one that was approved.
func (r *Reporter) since(ctx context.Context, row *row) error {
	if row.earlier == nil || row.earlier.Digest == row.Run.Plan.Digest {
		return nil
	}
	approved, err := r.c.Plans.PlanDocument(ctx, row.earlier.Plan)
	if errors.Is(err, plumbline.ErrNotFound) {
		row.SinceSummary = "that plan is not kept any more"
		return nil
	}
	if err != nil {
		return err
	}
	c := diff.Compare(approved, row.Plan)
	row.Since, row.SinceSummary = c.Lines(), c.Summary()
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
	case r.State == plumbline.StateFailed || r.State == plumbline.StateInterrupted || refusal(r) != "":
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
