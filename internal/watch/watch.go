// Package watch notices that Git, a merge request or the clock moved, for which it queues runs.
package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Git answers about one repository.
type Git interface {
	// Refs lists the remote's refs in one request, without cloning.
	Refs(ctx context.Context) (map[string]string, error)
	// Fetch brings these refs, at these commits, into the mirror.
	Fetch(ctx context.Context, refs map[string]string) error
	// Merge returns the tree of head merged into base, or plumbline.ErrMergeConflict with the paths.
	Merge(ctx context.Context, base, head string) (tree string, conflicts []string, err error)
	Changed(ctx context.Context, a, b string) ([]string, error)
	IsAncestor(ctx context.Context, a, b string) (bool, error)
	// Layout reads the Terraform files of a commit or tree.
	Layout(ctx context.Context, treeish string) (plumbline.Layout, error)
}

// Forge tells of the repository's merge requests.
type Forge interface {
	// MergeRequests lists the open ones. A forge without an API reads them off the refs and leaves State empty.
	MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error)
	// MergeRequest returns one, whatever its state; plumbline.ErrNotFound when the forge does not know it any more.
	MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error)
}

// Ledger is where runs are queued.
type Ledger interface {
	Seen(ctx context.Context, repo, subject string) (mark string, err error)
	Observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error)
	Head(ctx context.Context, repo, branch string) (string, error)
	Stacks(ctx context.Context, repo, env string) ([]plumbline.StackStatus, error)
	Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error)
	MergeRequests(ctx context.Context, repo string, state plumbline.MRState) ([]plumbline.MergeRequest, error)
	Deployments(ctx context.Context, repo, env string, limit int) ([]plumbline.Deployment, error)
	Requests(ctx context.Context, repo string) ([]plumbline.Request, error)
	DoneRequests(ctx context.Context, ids []int64) error
}

// Config makes a Watcher.
type Config struct {
	Repository plumbline.Repository
	Git        Git
	Forge      Forge
	Ledger     Ledger
	Now        func() time.Time // default time.Now
}

// Watcher watches one repository, so that a slow forge delays only its own.
type Watcher struct {
	repo   plumbline.Repository
	git    Git
	forge  Forge
	ledger Ledger
	now    func() time.Time

	mu    sync.Mutex
	heads map[string]string // branches as of the last poll that went through, so that an idle poll asks the ledger nothing
	mrs   map[string]string // marks of open merge requests, likewise
}

// New returns a Watcher.
func New(c Config) *Watcher {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Watcher{repo: c.Repository, git: c.Git, forge: c.Forge, ledger: c.Ledger, now: c.Now}
}

// Result is what one poll did.
type Result struct {
	Moved    int      // branches and merge requests that had moved
	Queued   int      // runs
	Warnings []string // what an operator should know though nothing failed
}

func (r *Result) add(ids []plumbline.RunID) { r.Moved++; r.Queued += len(ids) }

// Poll looks once: lists refs, lists open merge requests, compares both with what was last seen, queues what moved. What fails for one
// branch or merge request does not keep the others from being seen; the errors come back joined, and the next poll tries again.
func (w *Watcher) Poll(ctx context.Context) (Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var res Result
	refs, err := w.git.Refs(ctx)
	if err != nil {
		return res, fmt.Errorf("list refs of %s: %w", w.repo.Name, err)
	}
	open, err := w.forge.MergeRequests(ctx, refs)
	if err != nil {
		return res, fmt.Errorf("list merge requests of %s: %w", w.repo.Name, err)
	}
	var errs []error
	heads := map[string]string{}
	for _, b := range w.repo.Branches() {
		head := refs["refs/heads/"+b]
		if head == "" {
			res.Warnings = append(res.Warnings, fmt.Sprintf("branch %s of %s does not exist", b, w.repo.Name))
			continue
		}
		heads[b] = head
	}
	for _, b := range slices.Sorted(maps.Keys(heads)) {
		if w.heads[b] == heads[b] {
			continue
		}
		if err := w.branch(ctx, b, heads[b], &res); err != nil {
			errs = append(errs, fmt.Errorf("branch %s of %s: %w", b, w.repo.Name, err))
			delete(heads, b)
		}
	}
	marks, err := w.mergeRequests(ctx, open, heads, &res)
	if err != nil {
		errs = append(errs, err)
	}
	if err := w.requests(ctx, heads, &res); err != nil {
		errs = append(errs, err)
	}
	w.heads, w.mrs = heads, marks
	return res, errors.Join(errs...)
}

// observe writes one observation. That somebody else was first is not an error: it is queued.
func (w *Watcher) observe(ctx context.Context, o plumbline.Observation, res *Result) error {
	ids, err := w.ledger.Observe(ctx, o)
	if errors.Is(err, plumbline.ErrConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	res.add(ids)
	return nil
}

// branch queues what the new head of an environment branch asks for.
func (w *Watcher) branch(ctx context.Context, branch, head string, res *Result) error {
	subject := plumbline.SubjectBranch(branch)
	was, err := w.ledger.Seen(ctx, w.repo.Name, subject)
	if err != nil || was == head {
		return err
	}
	if err := w.git.Fetch(ctx, map[string]string{"refs/heads/" + branch: head}); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	layout, err := w.git.Layout(ctx, head)
	if err != nil {
		return fmt.Errorf("read the files of %s: %w", plumbline.Short(head), err)
	}
	o := plumbline.Observation{
		Repository: w.repo.Name, Subject: subject, Was: was, Now: head, At: w.now(), Branch: branch, Head: head, Findings: layout.Findings,
	}
	for _, env := range w.repo.OnBranch(branch) {
		known, err := w.ledger.Stacks(ctx, w.repo.Name, env.Name)
		if err != nil {
			return err
		}
		stacks := statuses(env, layout, known, was, head)
		o.Stacks = append(o.Stacks, stacks...)
		if was == "" {
			// A branch that is seen for the first time is compared with reality, not deployed: nobody asked for that.
			o.Runs = append(o.Runs, plumbline.DriftChecks(env, head, plumbline.ByPoll, time.Time{}, stacks, nil, o.At)...)
			continue
		}
		pending, err := w.pending(ctx, env, layout, head, known)
		if err != nil {
			return err
		}
		o.Deployments = append(o.Deployments, plumbline.Deployment{
			Repository: w.repo.Name, Environment: env.Name, Commit: head, Previous: was, By: plumbline.ByPoll, Created: o.At,
		})
		runs := plumbline.Deploys(env, head, branch+" moved", plumbline.ByPoll, pending, known, o.At)
		for i := range runs {
			runs[i].Deployment = -int64(len(o.Deployments))
		}
		o.Runs = append(o.Runs, runs...)
		o.Supersede = append(o.Supersede, plumbline.SubjectDeploy(env.Name))
	}
	return w.observe(ctx, o, res)
}

// statuses is what the ledger should know of the environment's stacks at head. A stack that is new at the first look counts as in
// sync from there on until the drift check says otherwise; one that is new later was never in sync.
func statuses(env plumbline.Environment, layout plumbline.Layout, known []plumbline.StackStatus, was, head string) []plumbline.StackStatus {
	old := map[string]plumbline.StackStatus{}
	for _, s := range known {
		old[s.Stack.Name] = s
	}
	var out []plumbline.StackStatus
	for _, spec := range layout.Stacks {
		if !env.Contains(spec.Dir) {
			continue
		}
		s, ok := old[spec.Name]
		if !ok {
			s = plumbline.StackStatus{Stack: plumbline.StackRef{Repository: env.Repository, Environment: env.Name, Name: spec.Name}}
			if was == "" {
				s.Commit = head
			}
		}
		s.Spec, s.Removed = spec, false
		delete(old, spec.Name)
		out = append(out, s)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		s := old[name]
		if !s.Removed {
			s.Removed = true
			out = append(out, s)
		}
	}
	return out
}

// pending returns the environment's stacks whose files at head differ from what they are in sync with. Each stack is compared with
// its own last good commit, so that commits which came while others were under way are folded into this one, and nothing that failed is
// forgotten.
func (w *Watcher) pending(ctx context.Context, env plumbline.Environment, after plumbline.Layout, head string, known []plumbline.StackStatus) ([]plumbline.Pending, error) {
	underWay, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: env.Repository, Environment: env.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy},
		States: []plumbline.State{plumbline.StatePlanning, plumbline.StateAwaiting, plumbline.StateApproved, plumbline.StateApplying}, Limit: 10000,
	})
	if err != nil {
		return nil, err
	}
	// A run under way may still be applied before this observation is written: what it brings counts as a base too.
	bases := map[string][]string{}
	for _, r := range underWay {
		bases[r.Stack.Name] = append(bases[r.Stack.Name], r.Commit)
	}
	old := map[string]plumbline.StackStatus{}
	for _, s := range known {
		old[s.Stack.Name] = s
	}
	since := map[string]map[string]plumbline.Touch{}
	touchedSince := func(base string) (map[string]plumbline.Touch, error) {
		if m, ok := since[base]; ok {
			return m, nil
		}
		m, err := w.touched(ctx, base, head, after)
		if err == nil {
			since[base] = m
		}
		return m, err
	}

	var out []plumbline.Pending
	for _, spec := range after.Stacks {
		if !env.Contains(spec.Dir) {
			continue
		}
		s, ok := old[spec.Name]
		switch {
		case !ok || s.Commit == "":
			out = append(out, plumbline.Pending{Touch: plumbline.Touch{Stack: spec, Because: "new stack"}})
			continue
		case s.Removed:
			out = append(out, plumbline.Pending{Touch: plumbline.Touch{Stack: spec, Because: "the stack is back"}, Base: s.Commit})
			continue
		case (s.LastKind == plumbline.KindDeploy || s.LastKind == plumbline.KindDestroy) &&
			(s.LastState == plumbline.StateFailed || s.LastState == plumbline.StateInterrupted):
			out = append(out, plumbline.Pending{Touch: plumbline.Touch{Stack: spec, Because: "run " + s.LastRun.String() + " " + string(s.LastState)}, Base: s.Commit})
			continue
		}
		for _, base := range append([]string{s.Commit}, bases[spec.Name]...) {
			m, err := touchedSince(base)
			if err != nil {
				return nil, err
			}
			if t, ok := m[spec.Name]; ok {
				out = append(out, plumbline.Pending{Touch: t, Base: s.Commit})
				break
			}
		}
	}
	for _, s := range known {
		if _, ok := after.Stack(s.Stack.Name); !ok && s.Commit != "" && !s.NeverApplied {
			out = append(out, plumbline.Pending{Touch: plumbline.Touch{Stack: s.Spec, Because: "removed", Removed: true}, Base: s.Commit})
		}
	}
	return out, nil
}

// touched returns the stacks that the change from base to head touches. A base that is gone (history was rewritten) touches all.
func (w *Watcher) touched(ctx context.Context, base, head string, after plumbline.Layout) (map[string]plumbline.Touch, error) {
	m := map[string]plumbline.Touch{}
	changed, err := w.git.Changed(ctx, base, head)
	if errors.Is(err, plumbline.ErrNotFound) {
		for _, s := range after.Stacks {
			m[s.Name] = plumbline.Touch{Stack: s, Because: "history was rewritten: " + plumbline.Short(base) + " is gone"}
		}
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	before, err := w.git.Layout(ctx, base)
	if err != nil {
		return nil, err
	}
	for _, t := range plumbline.Touched(before, after, changed) {
		m[t.Stack.Name] = t
	}
	return m, nil
}
