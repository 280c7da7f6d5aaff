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

// contained is through how many deployments the one that brought a merge is looked for, newest first.
const contained = 50

// mergeRequests queues what moved among merge requests. It returns the marks to compare with next time.
func (w *Watcher) mergeRequests(ctx context.Context, open, known []plumbline.MergeRequest, heads, marks map[string]string, res *Result) map[string]string {
	next := map[string]string{}
	warn := func(mr plumbline.MergeRequest, err error) {
		res.warn("merge request %s of %s: %v", mr.Name(), w.repo.Name, err)
	}
	for _, mr := range open {
		target, readable := heads[mr.Target]
		was, looked := marks[plumbline.SubjectMR(mr.ID)]
		if !readable {
			continue
		}
		bare := mr.State == ""
		mr.State = plumbline.MROpen
		mark := mr.Mark()
		switch {
		case looked:
			if err := w.openRequest(ctx, mr, find(known, mr.ID), was, bare, target, res); err != nil {
				warn(mr, err)
				continue
			}
		case w.mrs[mr.ID] != mark:
			continue // it moved between the two looks: the next poll's
		}
		next[mr.ID] = mark
	}
	for _, mr := range known {
		was, looked := marks[plumbline.SubjectMR(mr.ID)]
		if !looked || find(open, mr.ID) != nil {
			continue
		}
		if err := w.asked(); err != nil {
			res.warn("what became of merge requests of %s is not asked: %v", w.repo.Name, err)
			break
		}
		if err := w.endedRequest(ctx, mr, was, heads[mr.Target], res); err != nil {
			warn(mr, err)
		}
	}
	return next
}

// openRequest plans what an open merge request would do once merged. known is what the ledger has of it, if it is open there.
func (w *Watcher) openRequest(ctx context.Context, mr plumbline.MergeRequest, known *plumbline.MergeRequest, was string, bare bool, target string, res *Result) error {
	// A conflict may be gone since the target moved.
	again := known != nil && known.Conflict && known.Base != target
	if was == mr.Mark() && !bare && !again {
		return nil
	}
	// Before it is fetched: a fork's head may be where nobody fetches from.
	if mr.Skipped = w.repo.Proposals.Skips(mr); mr.Skipped != "" && !bare {
		mr.Base = target
		return w.observe(ctx, plumbline.Observation{
			Repository: w.repo.Name, Subject: plumbline.SubjectMR(mr.ID), Was: was, Now: mr.Mark(), At: w.now(),
			MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)},
		}, res)
	}
	if mr.HeadRef == "" {
		return fmt.Errorf("%w: the forge has its head in no ref of this repository", plumbline.ErrInvalid)
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
			if known != nil {
				merged = *known
				merged.State, merged.Head = plumbline.MRMerged, mr.Head
			}
			merged.MergeCommit = mr.Head
			return w.merged(ctx, merged, was, target, res)
		case was == mr.Mark() && !again:
			return nil
		}
	}
	return w.propose(ctx, mr, was, target, res)
}

// propose plans the merge of a merge request into its target, both of which are here.
func (w *Watcher) propose(ctx context.Context, mr plumbline.MergeRequest, was, target string, res *Result) error {
	mr.Base = target
	o := plumbline.Observation{
		Repository: w.repo.Name, Subject: plumbline.SubjectMR(mr.ID), Was: was, Now: mr.Mark(), At: w.now(),
		MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)},
	}
	tree, conflicts, err := w.git.Merge(ctx, target, mr.Head)
	if errors.Is(err, plumbline.ErrMergeConflict) {
		if was == mr.Mark() {
			return nil // as before
		}
		mr.Conflict = true
		for _, p := range conflicts {
			mr.Findings = append(mr.Findings, plumbline.Finding{File: p, Message: "conflicts with " + mr.Target})
		}
		return w.observe(ctx, o, res)
	}
	if err != nil {
		return fmt.Errorf("merge %s into %s: %w", plumbline.Short(mr.Head), mr.Target, err)
	}
	if mr.Skipped, err = w.unsignedProposal(ctx, mr, target); err != nil {
		return err
	}
	if mr.Skipped == "" {
		if o.Runs, err = w.proposals(ctx, &mr, target, tree, o.At, res); err != nil {
			return err
		}
	}
	return w.observe(ctx, o, res)
}

// unsignedProposal says in one sentence why a merge request is not planned although nothing else is in the way; "" if it is.
func (w *Watcher) unsignedProposal(ctx context.Context, mr plumbline.MergeRequest, target string) (string, error) {
	if !w.repo.Proposals.Signed {
		return "", nil
	}
	for _, env := range w.repo.OnBranch(mr.Target) {
		list, err := w.git.Unsigned(ctx, target, mr.Head, env.Signed.Keys, false)
		if err != nil {
			return "", fmt.Errorf("look for signatures: %w", err)
		}
		if len(list) > 0 {
			return fmt.Sprintf("Commit %s by %s is %s; this repository plans only what is signed by a listed key.", plumbline.Short(list[0].Commit), list[0].Author, list[0].Why), nil
		}
	}
	return "", nil
}

// proposals returns the runs that a merge request asks for, and notes in it what else its merge result (a tree) shows.
func (w *Watcher) proposals(ctx context.Context, mr *plumbline.MergeRequest, target, tree string, now time.Time, res *Result) ([]plumbline.Run, error) {
	changed, err := w.git.Changed(ctx, target, tree)
	if err != nil {
		return nil, err
	}
	before, err := w.git.Layout(ctx, target)
	if err != nil {
		return nil, err
	}
	after, err := w.git.Layout(ctx, tree)
	if err != nil {
		return nil, err
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
			return nil, err
		}
		known = append(known, k...)
		for _, t := range touched {
			if t.Removed && env.Contains(t.Stack.Dir) {
				mr.Removed = append(mr.Removed, env.Name+"/"+t.Stack.Name)
			}
		}
	}
	runs := plumbline.Proposals(envs, *mr, touched, known, now)
	authors, pushers := w.written(*mr)
	for i := range runs {
		env, _ := w.repo.Environment(runs[i].Stack.Environment)
		wrote, all := w.authors(ctx, env, runs[i].Spec, target, mr.Head, res)
		runs[i].Anonymous = !all
		runs[i].Concern(append(wrote, authors...), pushers, now)
	}
	return runs, nil
}

// endedRequest finds out what became of a merge request that is not open any more, or does not want to change a branch of ours.
func (w *Watcher) endedRequest(ctx context.Context, mr plumbline.MergeRequest, was, target string, res *Result) error {
	if c, ok := w.forge.(commenter); ok { // what was written before it ended
		if _, err := w.listen(ctx, c, mr); err != nil && w.hush(mr, err, res) {
			return nil
		}
	}
	now, err := w.forge.MergeRequest(ctx, mr.ID)
	err = w.heed(err)
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
		if now.LastPusher != "" {
			mr.LastPusher = now.LastPusher
		}
		if mr.State == plumbline.MRMerged {
			if err := w.atMerge(ctx, mr, now.ApprovedBy); err != nil {
				return err
			}
		}
		if now.Target != mr.Target {
			mr.State = plumbline.MRClosed // as far as this environment goes
		}
	}
	switch mr.State {
	case plumbline.MRMerged:
		return w.merged(ctx, mr, was, target, res)
	case plumbline.MRClosed:
		return w.observe(ctx, plumbline.Observation{
			Repository: w.repo.Name, Subject: plumbline.SubjectMR(mr.ID), Was: was, Now: mr.Mark(), At: w.now(),
			MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)},
		}, res)
	}
	return nil // open after all: the listing was older
}

// atMerge takes back what was agreed to on the forge by whoever does not approve the merge request there any more when it is merged.
func (w *Watcher) atMerge(ctx context.Context, mr plumbline.MergeRequest, approved []string) error {
	runs, err := w.ledger.RunsOfMR(ctx, w.repo.Name, mr.ID)
	if err != nil {
		return err
	}
	return w.takenBack(ctx, runs, approved)
}

// merged ties a merged request to the deployment that brought it. While the branch does not show the commit yet, nothing is
// written and the next poll tries again.
func (w *Watcher) merged(ctx context.Context, mr plumbline.MergeRequest, was, head string, res *Result) error {
	commit := mr.MergeCommit
	if commit == "" {
		commit = mr.Head
	}
	in, err := w.contains(ctx, head, commit)
	if err != nil {
		return err
	}
	if !in && w.now().Sub(mr.UpdatedAt) < settleFor {
		return nil
	}
	if in {
		for _, env := range w.repo.OnBranch(mr.Target) {
			deployments, err := w.ledger.Deployments(ctx, w.repo.Name, env.Name, contained)
			if err != nil {
				return err
			}
			for _, d := range deployments { // back to the first that had it
				in, err := w.contains(ctx, d.Commit, commit)
				if err != nil {
					return err
				}
				if !in {
					break
				}
				if mr.Deployment == 0 || d.ID < mr.Deployment {
					mr.Deployment = d.ID
				}
			}
		}
	}
	if err := w.carried(ctx, mr); err != nil {
		return fmt.Errorf("carry over what was agreed to: %w", err)
	}
	return w.observe(ctx, plumbline.Observation{
		Repository: w.repo.Name, Subject: plumbline.SubjectMR(mr.ID), Was: was, Now: mr.Mark(), At: w.now(),
		MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)},
	}, res)
}

// contains reports whether a head has a commit in its history. A commit that is not here, or not here yet, is in nothing.
func (w *Watcher) contains(ctx context.Context, head, commit string) (bool, error) {
	if head == "" {
		return false, nil
	}
	in, err := w.git.IsAncestor(ctx, commit, head)
	if errors.Is(err, plumbline.ErrNotFound) {
		return false, nil
	}
	return in, err
}
