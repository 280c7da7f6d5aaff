package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// errSpent says that an environment was put right without asking as often as it may be in a day.
var errSpent = errors.New("per_day is spent")

// remedyDay is how long an apply without asking counts.
const remedyDay = 24 * time.Hour

// mend writes what a run that puts drift right means to others when it comes to another state: its items tell of it, an apply without asking counts
// against its environment's limit, and once it is applied, the stack is looked at. It returns errSpent, and has written nothing, when the limit is reached.
func (t *tx) mend(ctx context.Context, before plumbline.Run, r *plumbline.Run, now time.Time) error {
	if r.Mending == nil || r.State == before.State {
		return nil
	}
	switch r.State {
	case plumbline.StateApplying:
		if before.State != plumbline.StateApproved || !r.Cleared() {
			return nil // people have agreed, or it was taken up again
		}
		again, err := t.spend(ctx, *r, now)
		if err != nil || again {
			return err
		}
		return t.remedy(ctx, r.Mending.Items, func(it plumbline.DriftItem) plumbline.Remedy {
			tries := 1
			if it.Remedy != nil {
				tries += it.Remedy.Tries
			}
			return plumbline.Remedy{What: plumbline.RemediateApply, Run: r.ID, At: now, Begun: true, Tries: tries}
		})
	case plumbline.StateAwaiting:
		return t.remedy(ctx, r.Mending.Items, func(plumbline.DriftItem) plumbline.Remedy {
			return plumbline.Remedy{What: plumbline.RemediatePropose, Run: r.ID, At: now, Why: r.Mending.Why}
		})
	}
	check, ok := r.Recheck(now)
	if !ok {
		return nil
	}
	id, err := t.next(ctx, "run", 1)
	if err != nil {
		return err
	}
	check.ID = plumbline.RunID(id)
	return t.insertRun(ctx, &check, "", now)
}

// remedy notes on items what is done about them. Those that are resolved by now have no need of it.
func (t *tx) remedy(ctx context.Context, ids []int64, of func(plumbline.DriftItem) plumbline.Remedy) error {
	var writes []plumbline.DriftWrite
	for _, id := range ids {
		list, err := collect(ctx, t, scanDrift, `SELECT id, doc FROM drift WHERE id = $1 AND resolved IS NULL`+t.dialect.forUpdate, id)
		if err != nil {
			return err
		}
		for _, it := range list {
			if w, changed := it.Mend(of(it)); changed {
				writes = append(writes, w)
			}
		}
	}
	return t.writeDrift(ctx, writes...)
}

// subjectRemedied is where it is kept when an environment was put right without asking: those of the last day, as RUN@MICROSECONDS.
func subjectRemedied(env string) string { return "remedied " + env }

// remedied are the applies without asking of the last day, as they are kept.
func remedied(mark string, now time.Time) (kept []string, err error) {
	for _, s := range strings.Fields(mark) {
		_, text, ok := strings.Cut(s, "@")
		at, aerr := strconv.ParseInt(text, 10, 64)
		if !ok || aerr != nil {
			return nil, fmt.Errorf("the mark %q of what was put right cannot be read: %w", mark, plumbline.ErrInvalid)
		}
		if now.Sub(time.UnixMicro(at)) < remedyDay {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// spend counts an apply without asking, in the transaction in which it begins. The row is locked first, so that two nodes cannot both have the last one.
// again: this run was counted before, and its plan was too old then.
func (t *tx) spend(ctx context.Context, r plumbline.Run, now time.Time) (again bool, err error) {
	var mark string
	err = t.QueryRowContext(ctx, `
		INSERT INTO seen (repository, subject, mark, at) VALUES ($1, $2, '', $3)
		ON CONFLICT (repository, subject) DO UPDATE SET at = excluded.at RETURNING mark`,
		r.Stack.Repository, subjectRemedied(r.Stack.Environment), now.UnixMicro()).Scan(&mark)
	if err != nil {
		return false, fmt.Errorf("look up what was put right in %s: %w", r.Stack.Environment, err)
	}
	kept, err := remedied(mark, now)
	if err != nil {
		return false, err
	}
	for _, s := range kept {
		if strings.HasPrefix(s, r.ID.String()+"@") {
			return true, nil
		}
	}
	if len(kept) >= r.Mending.Limits.PerDay {
		return false, errSpent
	}
	kept = append(kept, fmt.Sprintf("%s@%d", r.ID, now.UnixMicro()))
	if _, err := t.exec(ctx, `UPDATE seen SET mark = $1 WHERE repository = $2 AND subject = $3`,
		strings.Join(kept, " "), r.Stack.Repository, subjectRemedied(r.Stack.Environment)); err != nil {
		return false, fmt.Errorf("count what is put right in %s: %w", r.Stack.Environment, err)
	}
	return false, nil
}

// Remedied is how often an environment was put right without asking within the last day.
func (s *Store) Remedied(ctx context.Context, repo, env string, now time.Time) (int, error) {
	mark, err := s.Seen(ctx, repo, subjectRemedied(env))
	if err != nil {
		return 0, err
	}
	kept, err := remedied(mark, exact(now))
	return len(kept), err
}
