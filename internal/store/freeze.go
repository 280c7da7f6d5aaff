package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// done is what the audit log says of what was done at once.
const done = "done"

// never is a time in a column that does not come.
const never = math.MaxInt64

// until is a time at which something ends or opens, the zero time being one that nobody knows.
func until(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixMicro()
}

// Freeze keeps approved runs of an environment from being applied, from f.From on (zero: now) until f.Until (zero: until it is lifted), but for those for
// whose plan somebody breaks the glass. What is being applied is left to finish. It returns the freeze's ID.
func (s *Store) Freeze(ctx context.Context, repo, env string, f plumbline.Freeze, who plumbline.Person, now time.Time) (int64, error) {
	if err := names(repo, env); err != nil {
		return 0, err
	}
	now = exact(now)
	if f.From.IsZero() {
		f.From = now
	}
	f.From, f.Until, f.By = exact(f.From), exact(f.Until), who.Name
	if !f.Until.IsZero() && (!f.Until.After(f.From) || !f.Until.After(now)) {
		return 0, &plumbline.Refusal{Kind: plumbline.ErrInvalid, What: "The freeze would be over before it begins.", Next: "Give it an end that is still to come."}
	}
	frozen := plumbline.Frozen{Repository: repo, Environment: env, Freeze: f}
	err := s.inTx(ctx, func(t *tx) (err error) {
		if frozen.ID, err = t.next(ctx, "freeze", 1); err != nil {
			return err
		}
		doc, err := encode(frozen)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO env_freeze (id, repository, environment, begins, ends, doc) VALUES ($1, $2, $3, $4, $5, $6)`,
			frozen.ID, repo, env, f.From.UnixMicro(), until(f.Until), doc); err != nil {
			return err
		}
		t.changed = true
		t.tell(now, plumbline.AuditEntry{
			Who: who.Name, Door: who.Door, Action: plumbline.AuditFreeze, Repository: repo, Environment: env, Outcome: done, Detail: lasts(frozen, now),
		})
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("freeze %s/%s: %w", repo, env, err)
	}
	return frozen.ID, nil
}

// lasts is "freeze 3 until 2026-11-23T08:00:00Z: reason".
func lasts(f plumbline.Frozen, now time.Time) string {
	text := fmt.Sprintf("freeze %d", f.ID)
	if f.From.After(now) {
		text += " from " + f.From.Format(time.RFC3339)
	}
	if f.Until.IsZero() {
		text += " until it is lifted"
	} else {
		text += " until " + f.Until.Format(time.RFC3339)
	}
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}

// Thaw lifts a freeze of an environment, or all of them for the ID 0, those that are still to come too, and returns how many. It returns
// ErrNotFound when there is none.
func (s *Store) Thaw(ctx context.Context, repo, env string, id int64, who plumbline.Person, reason string, now time.Time) (int, error) {
	now = exact(now)
	var ids []int64
	err := s.inTx(ctx, func(t *tx) (err error) {
		var w where
		set := w.arg(now.UnixMicro())
		w.and("repository = ?", repo)
		w.and("environment = ?", env)
		w.and("ends > ?", now.UnixMicro())
		if id != 0 {
			w.and("id = ?", id)
		}
		scan := func(row scanner) (id int64, err error) {
			err = row.Scan(&id)
			return id, err
		}
		if ids, err = collect(ctx, t, scan, `UPDATE env_freeze SET lifted = `+set+w.String()+` AND lifted IS NULL RETURNING id`, w.args...); err != nil {
			return err
		}
		slices.Sort(ids)
		for _, id := range ids {
			detail := fmt.Sprintf("freeze %d", id)
			if reason != "" {
				detail += ": " + reason
			}
			t.tell(now, plumbline.AuditEntry{
				Who: who.Name, Door: who.Door, Action: plumbline.AuditThaw, Repository: repo, Environment: env, Outcome: done, Detail: detail,
			})
		}
		t.changed = len(ids) > 0
		return nil
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("thaw %s/%s: %w", repo, env, err)
	case len(ids) == 0 && id != 0:
		return 0, &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("%s/%s has no freeze %d, or it is over.", repo, env, id)}
	case len(ids) == 0:
		return 0, &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("Nobody has frozen %s/%s.", repo, env), Next: "What its configuration freezes is lifted there."}
	}
	return len(ids), nil
}

// Freezes lists the freezes that people have set, in force or still to come, in the order in which they begin: of one environment, or of
// all for "".
func (s *Store) Freezes(ctx context.Context, repo, env string, now time.Time) ([]plumbline.Frozen, error) {
	var w where
	w.eq("repository", repo)
	w.eq("environment", env)
	w.and("ends > ?", exact(now).UnixMicro())
	return collect(ctx, s.read, scanDoc[plumbline.Frozen]("env_freeze"), `SELECT id, doc FROM env_freeze`+w.String()+` AND lifted IS NULL ORDER BY begins, id`, w.args...)
}
