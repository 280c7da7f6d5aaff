package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// CheckDrift queues one drift run for each stack of an environment when a tick of its schedule has passed since the last one that was
// seen. Ticks missed meanwhile are caught up by one check. It returns when the next tick is due, or the zero time when there is no schedule.
// However many machines look, and however often, a tick queues once.
func (w *Watcher) CheckDrift(ctx context.Context, env plumbline.Environment) (res Result, next time.Time, err error) {
	if env.Drift.Schedule == "" {
		return res, time.Time{}, nil
	}
	schedule, err := env.Drift.Ticks()
	if err != nil {
		return res, time.Time{}, fmt.Errorf("drift schedule of %s: %w", env.Key(), err)
	}
	now := w.now()
	subject := plumbline.SubjectDrift(env.Name)
	was, err := w.ledger.Seen(ctx, w.repo.Name, subject)
	if err != nil {
		return res, time.Time{}, err
	}
	if was == "" {
		// Ticks count from the first look.
		err := w.observe(ctx, plumbline.Observation{Repository: w.repo.Name, Subject: subject, Now: stamp(now), At: now}, &res)
		return res, plumbline.NextTick(schedule, now, now), err
	}
	last, err := time.Parse(time.RFC3339, was)
	if err != nil {
		return res, time.Time{}, fmt.Errorf("drift mark %q of %s: %w", was, env.Key(), err)
	}
	tick := plumbline.LastTick(schedule, last, now)
	if tick.IsZero() {
		return res, plumbline.NextTick(schedule, last, now), nil
	}
	head, err := w.ledger.Head(ctx, w.repo.Name, env.Branch)
	if err != nil || head == "" {
		return res, plumbline.NextTick(schedule, tick, now), err
	}
	known, err := w.ledger.Stacks(ctx, w.repo.Name, env.Name)
	if err != nil {
		return res, time.Time{}, err
	}
	runs, err := w.driftChecks(ctx, env, head, plumbline.BySchedule, tick, known, nil, now, &res)
	if err != nil {
		return res, time.Time{}, err
	}
	err = w.observe(ctx, plumbline.Observation{Repository: w.repo.Name, Subject: subject, Was: was, Now: stamp(tick), At: now, Runs: runs}, &res)
	return res, plumbline.NextTick(schedule, tick, now), err
}

// driftChecks leaves out stacks that are being checked already. A check that a person asks for and that was to wait for its turn is begun now.
// Where Git cannot tell what a stack was applied at, all are checked at the head, and what was changed by applying from elsewhere counts as not yet applied: that is less, but not wrong.
func (w *Watcher) driftChecks(ctx context.Context, env plumbline.Environment, head, by string, tick time.Time, known []plumbline.StackStatus, only []string, now time.Time, res *Result) ([]plumbline.Run, error) {
	busy, err := w.checksUnderWay(ctx, env)
	if err != nil {
		return nil, err
	}
	checked := map[plumbline.StackRef]bool{}
	for _, r := range busy {
		checked[r.Stack] = true
	}
	var footing map[string]plumbline.Footing
	layout, err := w.headLayout(ctx, env.Branch, head)
	if err == nil {
		footing, err = w.footing(ctx, env, layout, head, known)
	}
	if err != nil {
		res.warn("drift checks of %s compare with %s alone: %v", env.Key(), plumbline.Short(head), err)
	}
	runs := plumbline.DriftChecks(env, head, by, tick, known, footing, only, now)
	for _, r := range busy {
		if !tick.IsZero() || !r.NotBefore.After(now) || !slices.ContainsFunc(runs, func(n plumbline.Run) bool { return n.Stack == r.Stack }) {
			continue
		}
		_, err := w.ledger.Update(ctx, r.ID, now, func(r *plumbline.Run, now time.Time) error { return r.Hurry(by, now) })
		if err != nil && !errors.Is(err, plumbline.ErrConflict) { // a worker has it by now
			return nil, err
		}
	}
	return slices.DeleteFunc(runs, func(r plumbline.Run) bool { return checked[r.Stack] }), nil
}

func (w *Watcher) checksUnderWay(ctx context.Context, env plumbline.Environment) ([]plumbline.Run, error) {
	return w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: env.Repository, Environment: env.Name, Kinds: []plumbline.Kind{plumbline.KindDrift},
		States: []plumbline.State{plumbline.StateQueued, plumbline.StatePlanning}, Limit: many,
	})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
