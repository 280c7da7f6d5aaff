package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// nextRun picks the run that goes first among those that may go. Left out are runs
//
//   - whose turn has not come, or whose calendar is closed;
//   - whose stack is busy: run_one_active would refuse them anyway, so this is for speed alone;
//   - that wait for a stack of their deployment;
//   - whose commit is still being deployed to an environment of a lower order;
//   - whose approvals are not good any more; Expire will see to them;
//   - whose environment somebody has frozen, unless the glass is broken for their plan.
//
// Each NOT EXISTS is one look into an index for each run that is passed over, and must stay that: PostgreSQL plans for a table of
// another size until it is analyzed, and took minutes for 10,000 runs where it could make a join of them, which the OR prevents.
// The CROSS JOIN is how SQLite is told to begin with w.
const nextRun = `
SELECT r.id FROM run r
WHERE r.state IN ('queued', 'approved') AND r.opens <= $1
AND (r.state = 'queued' OR (
	(r.due IS NULL OR r.due > $1)
	AND (r.glass = 1 OR NOT EXISTS (
		SELECT 1 FROM env_freeze f
		WHERE f.repository = r.repository AND f.environment = r.environment AND f.lifted IS NULL AND f.begins <= $1 AND f.ends > $1))))
AND NOT EXISTS (
	SELECT 1 FROM run a
	WHERE a.repository = r.repository AND a.environment = r.environment AND a.stack = r.stack AND a.state IN ('planning', 'applying'))
AND (r.deployment = 0 OR NOT EXISTS (
	SELECT 1 FROM run_wait w CROSS JOIN run b
	WHERE w.run = r.id AND b.deployment = r.deployment AND b.stack = w.stack AND b.state NOT IN ('applied', 'clean')))
AND (r.head = '' OR NOT EXISTS (
	SELECT 1 FROM run e
	WHERE e.repository = r.repository AND e.head = r.head AND e.env_order < r.env_order
	AND e.state IN ('queued', 'planning', 'awaiting', 'approved', 'applying')))`

// Claim gives the most urgent run that may go to a worker: what is applied before what is planned, deployments before proposals
// before drift checks, then the older first. It returns ErrNotFound when there is none.
//
// A run whose row is damaged, or that refuses to start, is logged and passed over: it must not hold up the others. When it
// is all there is, its error is returned. One that may not start yet is put off until its calendar opens.
//
// Runs of the kinds in without are left to others: a worker that has enough of them asks for anything else.
func (s *Store) Claim(ctx context.Context, worker string, now time.Time, lease time.Duration, without ...plumbline.Kind) (plumbline.Run, error) {
	now = exact(now)
	var (
		passed []any // IDs of runs that cannot be claimed
		bad    error
	)
	for range 1000 {
		var (
			id     int64
			out    plumbline.Run
			putOff bool
		)
		err := s.inTx(ctx, func(t *tx) error {
			putOff = false
			w := where{args: []any{now.UnixMicro()}}
			query := nextRun
			for _, k := range without {
				query += ` AND r.kind <> ` + w.arg(string(k))
			}
			for _, p := range passed {
				query += ` AND r.id <> ` + w.arg(p)
			}
			query += ` ORDER BY r.priority, r.id LIMIT 1` + t.dialect.skip
			// A window that has closed may have closed for many: they are put off together, but nobody is kept waiting for all of them.
			for range 100 {
				id = 0
				err := t.QueryRowContext(ctx, query, w.args...).Scan(&id)
				if putOff && errors.Is(err, sql.ErrNoRows) {
					return nil // what was put off is to stay so
				}
				if err != nil {
					return err
				}
				r, err := t.lockRun(ctx, plumbline.RunID(id))
				if err != nil {
					return err
				}
				var stack *plumbline.StackStatus
				if r.Kind == plumbline.KindDrift {
					if stack, err = t.stackStatus(ctx, r.Stack); err != nil {
						return err
					}
				}
				out, err = t.change(ctx, r, now, func(r *plumbline.Run, now time.Time) error {
					if stack != nil {
						r.Follow(*stack)
					}
					return r.Start(worker, now, lease)
				}, nil)
				if putOff = errors.Is(err, errSpent); putOff {
					// Nothing was written: somebody is asked instead.
					_, err = t.change(ctx, r, now, func(r *plumbline.Run, now time.Time) error {
						return r.Withhold(r.Mending.Limits.Spent(r.Stack.Environment), now)
					}, nil)
					if err != nil {
						return err
					}
					continue
				}
				var notYet *plumbline.NotYet
				if putOff = errors.As(err, &notYet); !putOff {
					return err
				}
				if err := t.putOff(ctx, r.ID, notYet.Until, now); err != nil {
					return err
				}
			}
			return nil
		})
		var (
			busy    busyError
			damaged damagedError
		)
		switch {
		case err == nil && putOff: // they do not come again in this call, so that it ends
		case err == nil:
			return out, nil
		case errors.Is(err, sql.ErrNoRows) && bad != nil:
			return plumbline.Run{}, bad
		case errors.Is(err, sql.ErrNoRows):
			return plumbline.Run{}, fmt.Errorf("a run to claim: %w", plumbline.ErrNotFound)
		case errors.As(err, &busy):
			// Another worker took a run of the same stack in between. The next look sees it.
		case errors.As(err, &damaged), errors.Is(err, plumbline.ErrConflict):
			bad = fmt.Errorf("claim run %d: %w", id, err)
			passed = append(passed, id)
			s.log.Error("a run cannot be claimed and is passed over", zap.Int64("run", id), zap.Error(err))
		default:
			return plumbline.Run{}, fmt.Errorf("claim a run: %w", err)
		}
	}
	return plumbline.Run{}, fmt.Errorf("claim a run: %w: others were always first", plumbline.ErrConflict)
}

// putOff keeps a run from being claimed until its turn comes or its calendar opens; the zero time: until somebody writes it. It is nothing that people need be told.
func (t *tx) putOff(ctx context.Context, id plumbline.RunID, at, now time.Time) error {
	opens := until(at)
	if opens <= now.UnixMicro() { // a calendar that contradicts itself must not keep the claim busy
		opens = now.Add(time.Second).UnixMicro()
	}
	_, err := t.exec(ctx, `UPDATE run SET opens = $1 WHERE id = $2`, opens, int64(id))
	return err
}

// Renew prolongs a worker's lease and returns what is wished of its run. The run's version stays: nobody need be told of a
// heartbeat. It returns ErrLost when the claim is not the run's any more.
func (s *Store) Renew(ctx context.Context, id plumbline.RunID, c plumbline.Claim, now time.Time, lease time.Duration) (plumbline.Wish, error) {
	var wish plumbline.Wish
	err := s.inTx(ctx, func(t *tx) error {
		r, err := t.lockRun(ctx, id)
		if errors.Is(err, plumbline.ErrNotFound) {
			return plumbline.ErrLost
		}
		if err != nil {
			return err
		}
		if err := r.Renew(c, exact(now), lease); err != nil {
			return err
		}
		wish = r.Wish
		_, err = t.exec(ctx, `UPDATE run SET due = $1 WHERE id = $2`, micros(r.LeaseUntil), int64(id))
		return err
	})
	if err != nil {
		return plumbline.WishNone, fmt.Errorf("renew the lease of run %s: %w", id, err)
	}
	return wish, nil
}

// Expire ends what has waited too long: runs whose worker went away, plans and approvals past their time. It returns the runs it
// changed. A run for which keep returns true is left alone; keep may be nil, and must not call the store. One that cannot be
// expired does not keep the others from it: its error comes along with them.
func (s *Store) Expire(ctx context.Context, now time.Time, keep func(plumbline.Run) bool) ([]plumbline.Run, error) {
	now = exact(now)
	scan := func(row scanner) (id plumbline.RunID, err error) {
		err = row.Scan(&id)
		return id, err
	}
	ids, err := collect(ctx, s.read, scan, `SELECT id FROM run WHERE due <= $1 ORDER BY id`, now.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("look for runs to expire: %w", err)
	}
	errKept := errors.New("kept")
	var (
		out  []plumbline.Run
		errs []error
	)
	for _, id := range ids {
		r, err := s.Update(ctx, id, now, func(r *plumbline.Run, now time.Time) error {
			if keep != nil && keep(*r) {
				return errKept
			}
			return r.Expire(now)
		})
		switch {
		case err == nil:
			out = append(out, r)
		case errors.Is(err, errKept), errors.Is(err, plumbline.ErrConflict): // renewed or ended in between
		default:
			errs = append(errs, fmt.Errorf("expire run %s: %w", id, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return out, errors.Join(errs...)
}
