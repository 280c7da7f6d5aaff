package watch

import (
	"context"
	"errors"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// headLayout reads the files of a branch's head, which another machine may have seen before this one did.
func (w *Watcher) headLayout(ctx context.Context, branch, head string) (plumbline.Layout, error) {
	layout, err := w.git.Layout(ctx, head)
	if !errors.Is(err, plumbline.ErrNotFound) {
		return layout, err
	}
	if err := w.git.Fetch(ctx, map[string]string{"refs/heads/" + branch: head}); err != nil {
		return plumbline.Layout{}, err
	}
	return w.git.Layout(ctx, head)
}

// footing says at which commit each stack is compared with reality. Drift is what differs from what was applied, so that a stack with commits
// that were not applied is compared at the last one that was: whatever is wrong with the new ones, waits for approval or failed, hides no
// drift and looks like none.
//
//   - The files at the head are those that were applied: the head.
//   - They are not, and the stack is as an older commit asks for: that one. Where others apply (apply = "never"), they may well have applied the
//     new one: the head, and what it asks for counts as not yet applied.
//   - An apply was begun and did not end well: what was begun, which the state is partly made of and whose providers it needs.
//   - Nothing is known to have been applied, or the commit is gone because history was rewritten: the head.
func (w *Watcher) footing(ctx context.Context, env plumbline.Environment, after plumbline.Layout, head string, stacks []plumbline.StackStatus) (map[string]plumbline.Footing, error) {
	out := map[string]plumbline.Footing{}
	since := map[string]map[string]plumbline.Touch{}
	for _, s := range stacks {
		name := s.Stack.Name
		switch {
		case s.Removed:
			continue
		case s.Unsettled:
			on, err := w.begun(ctx, s)
			if err != nil {
				return nil, err
			}
			if on.Commit != "" {
				out[name] = on
			}
			continue
		case !s.InSyncAt(s.Commit):
			continue
		}
		touched, ok := since[s.Commit]
		if !ok {
			var err error
			if touched, err = w.touched(ctx, s.Commit, head, after); err != nil {
				return nil, err
			}
			since[s.Commit] = touched
		}
		if _, moved := touched[name]; !moved {
			out[name] = plumbline.Footing{Commit: head, Spec: s.Spec, InSync: true}
			continue
		}
		if env.Apply == plumbline.ApplyNever {
			continue
		}
		before, err := w.git.Layout(ctx, s.Commit)
		if errors.Is(err, plumbline.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if spec, ok := before.Stack(name); ok && spec.Name == name && len(spec.Broken) == 0 {
			out[name] = plumbline.Footing{Commit: s.Commit, Spec: spec, InSync: true, Ahead: head}
		}
	}
	return out, nil
}

// begun returns what an unsettled stack was being brought to: the newest deployment that had a plan and did not end well.
func (w *Watcher) begun(ctx context.Context, s plumbline.StackStatus) (plumbline.Footing, error) {
	runs, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: s.Stack.Repository, Environment: s.Stack.Environment, Stack: s.Stack.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy},
		States: []plumbline.State{plumbline.StateApplying, plumbline.StateFailed, plumbline.StateInterrupted}, Limit: 20,
	})
	if err != nil {
		return plumbline.Footing{}, err
	}
	for _, r := range runs {
		if r.Plan == nil || r.Failure != nil && r.Failure.Kind == plumbline.FailPolicy {
			continue
		}
		return plumbline.Footing{Commit: r.Commit, Spec: r.Spec}, nil
	}
	return plumbline.Footing{}, nil
}
