package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// cures does about drift what its environments say. What fails for one is a warning, and the next poll tries again.
func (w *Watcher) cures(ctx context.Context, refs, heads map[string]string, res *Result) {
	for _, env := range w.repo.Environments {
		if heads[env.Branch] == "" {
			continue // the branch could not be read this time
		}
		if env.Drift.Remediate == plumbline.RemediatePropose && w.asked() != nil {
			continue // the forge wants to be left alone
		}
		if err := w.cure(ctx, env, refs, heads[env.Branch], res); err != nil {
			res.warn("drift of %s: %v", env.Key(), err)
		}
	}
}

// cure deals with each check that found drift once: the mark of a stack names the check, and whoever writes it first has queued what follows from it.
func (w *Watcher) cure(ctx context.Context, env plumbline.Environment, refs map[string]string, head string, res *Result) error {
	runs, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: env.Repository, Environment: env.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy}, Limit: many,
		States: []plumbline.State{plumbline.StateQueued, plumbline.StatePlanning, plumbline.StateAwaiting, plumbline.StateApproved, plumbline.StateApplying},
	})
	if err != nil {
		return err
	}
	var items []plumbline.DriftItem
	if r := env.Drift.Remediate; r == plumbline.RemediatePropose || r == plumbline.RemediateApply {
		if items, err = w.ledger.DriftItems(ctx, plumbline.DriftFilter{Repository: env.Repository, Environment: env.Name, Limit: many}); err != nil {
			return err
		}
	}
	ailing := map[string]*plumbline.Ailing{}
	of := func(s plumbline.StackRef) *plumbline.Ailing {
		if ailing[s.Name] == nil {
			ailing[s.Name] = &plumbline.Ailing{}
		}
		return ailing[s.Name]
	}
	for _, r := range runs {
		if r.Mending != nil {
			of(r.Stack)
		}
	}
	for _, it := range items {
		a := of(it.Stack)
		a.Items = append(a.Items, it)
	}
	if len(ailing) == 0 {
		return nil
	}
	for _, r := range runs {
		if a := ailing[r.Stack.Name]; a != nil {
			a.Runs = append(a.Runs, r)
		}
	}
	known, err := w.ledger.Stacks(ctx, w.repo.Name, env.Name)
	if err != nil {
		return err
	}
	for _, s := range known {
		a := ailing[s.Stack.Name]
		if a == nil {
			continue
		}
		a.Stack = s
		if err := w.cureStack(ctx, env, refs, head, a, res); err != nil {
			return fmt.Errorf("%s: %w", s.Stack.Name, err)
		}
	}
	return nil
}

// cured is what the mark of a stack says: the check that was dealt with last, and the differences that a merge request was opened for, while they are those
// that were found last.
type cured struct{ check, adopted string }

func (c cured) String() string { return strings.TrimSpace("run " + c.check + " " + c.adopted) }

func parseCured(mark string) cured {
	f := append(strings.Fields(mark), "", "", "")
	return cured{check: f[1], adopted: f[2]}
}

func (w *Watcher) cureStack(ctx context.Context, env plumbline.Environment, refs map[string]string, head string, a *plumbline.Ailing, res *Result) error {
	subject := plumbline.SubjectRemedy(env.Name, a.Stack.Stack.Name)
	var check plumbline.RunID
	for _, it := range a.Items {
		check = max(check, it.LastRun)
	}
	now := w.now()
	switch {
	case check == 0:
		return w.drop(ctx, plumbline.RemedyFor(env, *a, now).Drop, now)
	case w.cured[subject] == check:
		return nil
	}
	was, err := w.ledger.Seen(ctx, w.repo.Name, subject)
	if err != nil {
		return err
	}
	mark := parseCured(was)
	if mark.check == check.String() {
		w.note(subject, check)
		return nil
	}
	if a.Check, err = w.ledger.Run(ctx, check); err != nil {
		return err
	}
	if a.Applied, err = w.ledger.Remedied(ctx, w.repo.Name, env.Name, now); err != nil {
		return err
	}
	refused, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: env.Repository, Environment: env.Name, Stack: a.Stack.Stack.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy},
		States: []plumbline.State{plumbline.StateRejected}, Limit: 1,
	})
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		a.Rejected = refused[0]
	}
	c := plumbline.RemedyFor(env, *a, now)
	mark.check = check.String()
	o := plumbline.Observation{Repository: w.repo.Name, Subject: subject, Was: was, At: now}
	remedy := plumbline.Remedy{What: c.What, At: now, Why: c.Why}
	prints := c.Prints()
	switch {
	case c.What == plumbline.RemediateReport:
		mark.adopted = ""
	case mark.adopted == prints && env.Drift.Remediate == plumbline.RemediatePropose:
		c.Stay = true // whether people have the merge request open or have closed it
	default:
		mark.adopted = ""
		if env.Drift.Remediate == plumbline.RemediatePropose {
			mr, err := w.adoption(ctx, env, refs, head, *a, c)
			switch reason := (*plumbline.Refusal)(nil); {
			case errors.As(err, &reason):
				remedy.Why = join(c.Why, "Git is not made to say what is the case, since "+reason.What)
			case err != nil:
				return err
			default:
				remedy.MR, mark.adopted = mr, prints
				remedy.Why = fmt.Sprintf("`plumbline env deploy %s %s` puts reality right instead", env.Name, a.Stack.Stack.Name)
			}
		}
		switch {
		case remedy.MR != "":
		case c.NoRun:
			remedy.What = plumbline.RemediateReport
		default:
			run := plumbline.MendingRun(env, *a, c, now)
			o.Runs = []plumbline.Run{run}
			unsigned, err := w.unsigned(ctx, env, head, head)
			if err != nil {
				return err
			}
			plumbline.Refuse(o.Runs, unsigned, now)
			o.Supersede = []string{subject}
			remedy.Run = -1
		}
	}
	for _, it := range c.Items {
		if !c.Stay {
			o.Remedies = append(o.Remedies, plumbline.ItemRemedy{Item: it.ID, Remedy: remedy})
		}
	}
	o.Now = mark.String()
	if err := w.observe(ctx, o, res); err != nil {
		return err
	}
	w.note(subject, check)
	if len(o.Runs) > 0 {
		return nil // what is dropped was superseded with that
	}
	return w.drop(ctx, c.Drop, now)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func (w *Watcher) note(subject string, check plumbline.RunID) {
	if w.cured == nil {
		w.cured = map[string]plumbline.RunID{}
	}
	w.cured[subject] = check
}

// drop ends runs that were to put right what is not there any more.
func (w *Watcher) drop(ctx context.Context, runs []plumbline.Run, now time.Time) error {
	for _, r := range runs {
		_, err := w.ledger.Update(ctx, r.ID, now, func(r *plumbline.Run, now time.Time) error {
			return r.Cancel("Plumbline, since the drift that it was for is gone or another one", now)
		})
		if err != nil && !errors.Is(err, plumbline.ErrConflict) {
			return err
		}
	}
	return nil
}
