package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// settleFor is how long a merged request is asked about until the branch shows its commit; past that it is taken as merged all the same.
const settleFor = time.Hour

// mergeRequests queues what moved among merge requests. It returns the marks to compare with next time.
func (w *Watcher) mergeRequests(ctx context.Context, open []plumbline.MergeRequest, heads map[string]string, res *Result) (map[string]string, error) {
	var errs []error
	marks := map[string]string{}
	for _, mr := range open {
		target, ok := heads[mr.Target]
		if !ok {
			continue
		}
		mr.Repository = w.repo.Name
		bare := mr.State == ""
		mr.State = plumbline.MROpen
		if w.mrs[mr.ID] == mr.Mark() && !(bare && w.heads[mr.Target] != target) {
			marks[mr.ID] = mr.Mark()
			continue
		}
		if err := w.openRequest(ctx, mr, bare, target, res); err != nil {
			errs = append(errs, fmt.Errorf("merge request %s of %s: %w", mr.Name(), w.repo.Name, err))
			continue
		}
		marks[mr.ID] = mr.Mark()
	}
	known, err := w.ledger.MergeRequests(ctx, w.repo.Name, plumbline.MROpen)
	if err != nil {
		return marks, errors.Join(append(errs, err)...)
	}
	for _, mr := range known {
		if slices.ContainsFunc(open, func(o plumbline.MergeRequest) bool { return o.ID == mr.ID }) {
			continue
		}
		if err := w.endedRequest(ctx, mr, heads[mr.Target], res); err != nil {
			errs = append(errs, fmt.Errorf("merge request %s of %s: %w", mr.Name(), w.repo.Name, err))
		}
	}
	return marks, errors.Join(errs...)
}

// openRequest plans what an open merge request would do once merged.
func (w *Watcher) openRequest(ctx context.Context, mr plumbline.MergeRequest, bare bool, target string, res *Result) error {
	subject := plumbline.SubjectMR(mr.ID)
	was, err := w.ledger.Seen(ctx, w.repo.Name, subject)
	if err != nil {
		return err
	}
	if was == mr.Mark() && !bare {
		return nil
	}
	if err := w.git.Fetch(ctx, map[string]string{mr.HeadRef: mr.Head, "refs/heads/" + mr.Target: target}); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if bare {
		in, err := w.git.IsAncestor(ctx, mr.Head, target)
		if err != nil {
			return err
		}
		merged := mr
		merged.State = plumbline.MRMerged
		switch {
		case in && was == "":
			return nil // a branch that has nothing to propose yet
		case in && strings.HasPrefix(was, merged.Where()):
			return nil // known, and the branch was not deleted
		case in:
			mr.State, mr.MergeCommit = plumbline.MRMerged, mr.Head
			return w.merged(ctx, mr, was, res)
		case was == mr.Mark():
			return nil
		}
	}
	o := plumbline.Observation{
		Repository: w.repo.Name, Subject: subject, Was: was, Now: mr.Mark(), At: w.now(),
		MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)},
	}
	mr.Base = target
	if mr.Skipped = w.repo.Proposals.Skips(mr); mr.Skipped != "" {
		return w.observe(ctx, o, res)
	}
	tree, conflicts, err := w.git.Merge(ctx, target, mr.Head)
	if errors.Is(err, plumbline.ErrMergeConflict) {
		mr.Conflict = true
		for _, p := range conflicts {
			mr.Findings = append(mr.Findings, plumbline.Finding{File: p, Message: "conflicts with " + mr.Target})
		}
		return w.observe(ctx, o, res)
	}
	if err != nil {
		return fmt.Errorf("merge %s into %s: %w", plumbline.Short(mr.Head), mr.Target, err)
	}
	changed, err := w.git.Changed(ctx, target, tree)
	if err != nil {
		return err
	}
	before, err := w.git.Layout(ctx, target)
	if err != nil {
		return err
	}
	after, err := w.git.Layout(ctx, tree)
	if err != nil {
		return err
	}
	touched := plumbline.Touched(before, after, changed)
	for _, f := range after.Findings {
		if slices.Contains(changed, f.File) {
			mr.Findings = append(mr.Findings, f)
		}
	}
	envs := w.repo.OnBranch(mr.Target)
	var known []plumbline.StackStatus
	for _, env := range envs {
		k, err := w.ledger.Stacks(ctx, w.repo.Name, env.Name)
		if err != nil {
			return err
		}
		known = append(known, k...)
		for _, t := range touched {
			if t.Removed && env.Contains(t.Stack.Dir) {
				mr.Removed = append(mr.Removed, env.Name+"/"+t.Stack.Name)
			}
		}
	}
	o.Runs = plumbline.Proposals(envs, mr, touched, known, o.At)
	return w.observe(ctx, o, res)
}

// endedRequest finds out what became of a merge request that is not open any more.
func (w *Watcher) endedRequest(ctx context.Context, mr plumbline.MergeRequest, target string, res *Result) error {
	was, err := w.ledger.Seen(ctx, w.repo.Name, plumbline.SubjectMR(mr.ID))
	if err != nil {
		return err
	}
	now, err := w.forge.MergeRequest(ctx, mr.ID)
	switch {
	case errors.Is(err, plumbline.ErrNotFound):
		// On a bare remote the proposal's branch was deleted, which people do after merging it.
		mr.State = plumbline.MRClosed
		if target != "" {
			in, err := w.git.IsAncestor(ctx, mr.Head, target)
			if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
				return err
			}
			if in {
				mr.State, mr.MergeCommit = plumbline.MRMerged, mr.Head
			}
		}
	case err != nil:
		return err
	default:
		mr.State, mr.MergeCommit, mr.UpdatedAt = now.State, now.MergeCommit, now.UpdatedAt
		if now.Target != mr.Target {
			mr.State = plumbline.MRClosed // as far as this environment goes
		}
	}
	switch mr.State {
	case plumbline.MRMerged:
		return w.merged(ctx, mr, was, res)
	case plumbline.MRClosed:
		return w.observe(ctx, plumbline.Observation{
			Repository: w.repo.Name, Subject: plumbline.SubjectMR(mr.ID), Was: was, Now: mr.Mark(), At: w.now(),
			MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)},
		}, res)
	}
	return nil // open after all: the listing was older
}

// merged ties a merged request to the deployment that brings it. While the branch does not show the commit yet, nothing is
// written and the next poll tries again.
func (w *Watcher) merged(ctx context.Context, mr plumbline.MergeRequest, was string, res *Result) error {
	commit := mr.MergeCommit
	if commit == "" {
		commit = mr.Head
	}
	in := false
	for _, b := range w.repo.Branches() {
		if b != mr.Target {
			continue
		}
		head, err := w.ledger.Head(ctx, w.repo.Name, b)
		if err != nil {
			return err
		}
		in, err = w.git.IsAncestor(ctx, commit, head)
		if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	if !in && w.now().Sub(mr.UpdatedAt) < settleFor {
		return nil
	}
	if in {
		for _, env := range w.repo.OnBranch(mr.Target) {
			ds, err := w.ledger.Deployments(ctx, w.repo.Name, env.Name, 1)
			if err != nil {
				return err
			}
			if len(ds) > 0 && (mr.Deployment == 0 || ds[0].ID < mr.Deployment) {
				mr.Deployment = ds[0].ID
			}
		}
	}
	return w.observe(ctx, plumbline.Observation{
		Repository: w.repo.Name, Subject: plumbline.SubjectMR(mr.ID), Was: was, Now: mr.Mark(), At: w.now(),
		MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)},
	}, res)
}

// requests does what people asked for on a page or a command line.
func (w *Watcher) requests(ctx context.Context, heads map[string]string, res *Result) error {
	reqs, err := w.ledger.Requests(ctx, w.repo.Name)
	if err != nil {
		return err
	}
	var errs []error
	for _, q := range reqs {
		if err := w.request(ctx, q, heads, res); err != nil {
			errs = append(errs, fmt.Errorf("%s of %s asked for by %s: %w", q.Kind, q.Environment, q.By, err))
		}
	}
	return errors.Join(errs...)
}

func (w *Watcher) request(ctx context.Context, q plumbline.Request, heads map[string]string, res *Result) error {
	env, ok := w.repo.Environment(q.Environment)
	if !ok || q.Kind == plumbline.RequestPoll {
		return w.ledger.DoneRequests(ctx, []int64{q.ID})
	}
	head, err := w.ledger.Head(ctx, w.repo.Name, env.Branch)
	if err != nil {
		return err
	}
	if head == "" || head != heads[env.Branch] {
		return nil // the branch could not be read this time; the wish stays
	}
	known, err := w.ledger.Stacks(ctx, w.repo.Name, env.Name)
	if err != nil {
		return err
	}
	o := plumbline.Observation{Repository: w.repo.Name, At: w.now(), Requests: []int64{q.ID}}
	switch q.Kind {
	case plumbline.RequestDrift:
		o.Runs, err = w.driftChecks(ctx, env, head, q.By, time.Time{}, known, q.Stacks, o.At)
		if err != nil {
			return err
		}
	case plumbline.RequestDeploy:
		underWay, err := w.ledger.Runs(ctx, plumbline.RunFilter{
			Repository: env.Repository, Environment: env.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy},
			States: []plumbline.State{plumbline.StateQueued, plumbline.StatePlanning, plumbline.StateAwaiting, plumbline.StateApproved}, Limit: 10000,
		})
		if err != nil {
			return err
		}
		var pending []plumbline.Pending
		for _, s := range known {
			asked := len(q.Stacks) == 0 || slices.Contains(q.Stacks, s.Stack.Name) || (s.Spec.Alias != "" && slices.Contains(q.Stacks, s.Spec.Alias))
			// The new deployment takes the place of the one under way: what that had not done yet is done by this one.
			i := slices.IndexFunc(underWay, func(r plumbline.Run) bool { return r.Stack == s.Stack })
			switch {
			case s.Removed && i >= 0:
				pending = append(pending, plumbline.Pending{Touch: plumbline.Touch{Stack: s.Spec, Because: "removed", Removed: true}, Base: s.Commit})
			case s.Removed:
			case asked:
				pending = append(pending, plumbline.Pending{Touch: plumbline.Touch{Stack: s.Spec, Because: s.Stack.Name}, Base: s.Commit})
			case i >= 0:
				pending = append(pending, plumbline.Pending{Touch: plumbline.Touch{Stack: s.Spec, Because: underWay[i].Because}, Base: s.Commit})
			}
		}
		o.Deployments = []plumbline.Deployment{{Repository: w.repo.Name, Environment: env.Name, Commit: head, Previous: head, By: q.By, Created: o.At}}
		o.Runs = plumbline.Deploys(env, head, "asked for by "+q.By, q.By, pending, known, o.At)
		for i := range o.Runs {
			o.Runs[i].Deployment = -1
			o.Runs[i].Because = strings.TrimSuffix(o.Runs[i].Because, ": "+o.Runs[i].Stack.Name)
		}
		o.Supersede = []string{plumbline.SubjectDeploy(env.Name)}
	}
	return w.observe(ctx, o, res)
}

// driftChecks leaves out stacks that are being checked already.
func (w *Watcher) driftChecks(ctx context.Context, env plumbline.Environment, head, by string, tick time.Time, known []plumbline.StackStatus, only []string, now time.Time) ([]plumbline.Run, error) {
	busy, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: env.Repository, Environment: env.Name, Kinds: []plumbline.Kind{plumbline.KindDrift},
		States: []plumbline.State{plumbline.StateQueued, plumbline.StatePlanning}, Limit: 10000,
	})
	if err != nil {
		return nil, err
	}
	runs := plumbline.DriftChecks(env, head, by, tick, known, only, now)
	return slices.DeleteFunc(runs, func(r plumbline.Run) bool {
		return slices.ContainsFunc(busy, func(b plumbline.Run) bool { return b.Stack == r.Stack })
	}), nil
}
