package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/watch"
)

// driftLoops look at an environment by its schedule, and bring back what rules hid when they run out.
func (d *daemon) driftLoops(env plumbline.Environment, w *watch.Watcher) []*loop {
	rules := ruleKeeper{env: env, ledger: d.store, now: time.Now}
	out := []*loop{newLoop("drift rules "+env.Key(), rules.round)}
	if env.Drift.Schedule == "" {
		return out
	}
	return append(out, newLoop("drift "+env.Key(), func(ctx context.Context) (string, time.Time, error) {
		res, next, err := w.CheckDrift(ctx, env)
		return fmt.Sprintf("%d runs queued", res.Queued), next, err
	}))
}

// ruleKeeper holds the drift of an environment against the rules that ignore some of it: when the daemon starts, since its configuration may be another one,
// and whenever one of them runs out.
type ruleKeeper struct {
	env    plumbline.Environment
	ledger interface {
		IgnoreRules(ctx context.Context, repo, env string) ([]plumbline.IgnoreRule, error)
		Reconsider(ctx context.Context, env plumbline.Environment, now time.Time) (int, error)
	}
	now  func() time.Time
	last time.Time // when the rules were held against the drift; zero: not since the start
}

// looksForRules is how often rules are looked for that people have set meanwhile, here or on another node.
const looksForRules = time.Minute

func (k *ruleKeeper) round(ctx context.Context) (string, time.Time, error) {
	now := k.now()
	set, err := k.ledger.IgnoreRules(ctx, k.env.Repository, k.env.Name)
	if err != nil {
		return "", time.Time{}, err
	}
	rules := slices.Concat(k.env.Drift.Ignore, set)
	next := now.Add(looksForRules)
	if end := plumbline.RunsOut(rules, now); !end.IsZero() && end.Before(next) {
		next = end
	}
	ended := func(r plumbline.IgnoreRule) bool {
		return !r.Until.IsZero() && r.Until.After(k.last) && !r.InForce(now)
	}
	if !k.last.IsZero() && !slices.ContainsFunc(rules, ended) {
		k.last = now
		return fmt.Sprintf("%d rules, none has run out", len(rules)), next, nil
	}
	n, err := k.ledger.Reconsider(ctx, k.env, now)
	if err != nil {
		return "", time.Time{}, err
	}
	k.last = now
	return fmt.Sprintf("%d rules, %d differences ignored or back", len(rules), n), next, nil
}
