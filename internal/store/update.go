package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Update applies a rule to a run in one transaction with all that follows from it: the run's history, and the status of its stack
// when the run comes to another state. A rule's error is returned as it is, and nothing is written. The rule may be called more
// than once and must not call the store.
//
// A rule that makes a run active while another run of the stack is gets ErrConflict.
func (s *Store) Update(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule) (plumbline.Run, error) {
	return s.update(ctx, id, now, rule, nil)
}

// FinishDrift is Update for the end of a drift check: it reconciles the open drift items of the stack with what was found, nothing
// included, and sets the run's DriftNews. A check that the rule does not bring to a result says nothing about drift, and leaves the
// items alone.
//
// Of look, the differences found and the rules of the environment's configuration count; the rest is looked up.
func (s *Store) FinishDrift(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule, look plumbline.DriftLook) (plumbline.Run, error) {
	return s.update(ctx, id, now, rule, func(t *tx, r *plumbline.Run, now time.Time) (func(*plumbline.StackStatus), error) {
		switch r.State {
		case plumbline.StateClean, plumbline.StateDrifted, plumbline.StatePlanned:
		default:
			return nil, nil
		}
		counting, err := t.reconcile(ctx, r, look, now)
		r.Weigh(counting, now)
		return func(st *plumbline.StackStatus) { st.Drifted = counting }, err
	})
}

// also is what is done between a rule and the write of the run; the function it returns, if any, adds to the stack's status.
type also func(t *tx, r *plumbline.Run, now time.Time) (func(*plumbline.StackStatus), error)

func (s *Store) update(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule, do also) (plumbline.Run, error) {
	var out plumbline.Run
	err := s.inTx(ctx, func(t *tx) error {
		r, err := t.lockRun(ctx, id)
		if err != nil {
			return err
		}
		out, err = t.change(ctx, r, exact(now), rule, do)
		return err
	})
	if err != nil {
		return plumbline.Run{}, err
	}
	return out, nil
}

// change applies a rule to a locked run and writes what follows.
func (t *tx) change(ctx context.Context, r plumbline.Run, now time.Time, rule plumbline.Rule, do also) (plumbline.Run, error) {
	before := r
	if err := rule(&r, now); err != nil {
		return r, err
	}
	if before.State.Ended() && r.State == plumbline.StateQueued {
		if err := t.newest(ctx, r); err != nil {
			return r, err
		}
	}
	if before.State == plumbline.StateApplying && r.State == plumbline.StateQueued {
		// Its saved plan was too old. If a newer run has been queued meanwhile, that one brings what this one would have.
		var refusal *plumbline.Refusal
		err := t.newest(ctx, r)
		if err != nil && !errors.As(err, &refusal) {
			return r, err
		}
		if refusal != nil {
			if err := r.Supersede(now); err != nil {
				return r, err
			}
		}
	}
	var amend func(*plumbline.StackStatus)
	if do != nil {
		var err error
		if amend, err = do(t, &r, now); err != nil {
			return r, err
		}
	}
	if err := t.mend(ctx, before, &r, now); err != nil {
		return r, err
	}
	if err := t.updateRun(ctx, before, &r, now); err != nil {
		return r, err
	}
	if r.State == before.State && amend == nil {
		return r, nil
	}
	stacks, err := t.lockStacks(ctx, r.Stack)
	if err != nil {
		return r, err
	}
	if r.State != before.State {
		stacks.follow(r)
	}
	if st := stacks[r.Stack]; st != nil && amend != nil {
		amend(st)
	}
	return r, t.writeStacks(ctx, stacks)
}

// newest refuses to run a deployment of a stack again after which another was queued: that would take the stack back to an older commit. What puts drift
// right brings no other commit.
func (t *tx) newest(ctx context.Context, r plumbline.Run) error {
	if r.Kind != plumbline.KindDeploy && r.Kind != plumbline.KindDestroy {
		return nil
	}
	var newer sql.NullInt64
	err := t.QueryRowContext(ctx, `SELECT max(id) FROM run WHERE repository = $1 AND environment = $2 AND stack = $3 AND id > $4 AND kind IN ('deploy', 'destroy') AND subject NOT LIKE 'remedy %'`,
		r.Stack.Repository, r.Stack.Environment, r.Stack.Name, int64(r.ID)).Scan(&newer)
	if err != nil {
		return fmt.Errorf("look for a newer run of %s: %w", r.Stack, err)
	}
	if newer.Valid {
		return &plumbline.Refusal{
			Kind: plumbline.ErrConflict, What: fmt.Sprintf("Run %s of %s is not the newest: run %d is.", r.ID, r.Stack.Name, newer.Int64),
			Next: "Retry that one; deployments never go back.",
		}
	}
	return nil
}
