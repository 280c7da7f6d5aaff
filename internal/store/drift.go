package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// reconcile brings the drift items of a run's stack to what the run found and returns how many are open.
func (t *tx) reconcile(ctx context.Context, r *plumbline.Run, found []plumbline.Difference, now time.Time) (open int, err error) {
	// An item is one fingerprint, however often the check tells of it.
	seen := map[string]bool{}
	found = slices.DeleteFunc(slices.Clone(found), func(d plumbline.Difference) bool {
		fp := d.Fingerprint(r.Stack)
		was := seen[fp]
		seen[fp] = true
		return was
	})
	known, err := collect(ctx, t, scanDrift, `
		SELECT id, doc FROM drift
		WHERE repository = $1 AND environment = $2 AND stack = $3 AND resolved IS NULL ORDER BY id`+t.dialect.forUpdate,
		r.Stack.Repository, r.Stack.Environment, r.Stack.Name)
	if err != nil {
		return 0, err
	}
	items, news := plumbline.ReconcileDrift(known, found, *r, now)
	r.DriftNews = news
	for _, it := range items {
		if it.Open() {
			open++
		}
		if err := t.writeDrift(ctx, it); err != nil {
			return 0, err
		}
	}
	return open, nil
}

func (t *tx) writeDrift(ctx context.Context, it plumbline.DriftItem) error {
	isNew := it.ID == 0
	if isNew {
		var err error
		if it.ID, err = t.next(ctx, "drift", 1); err != nil {
			return err
		}
	}
	doc, err := encode(it)
	if err != nil {
		return err
	}
	if isNew {
		_, err = t.exec(ctx, `INSERT INTO drift (id, repository, environment, stack, fingerprint, resolved, doc) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			it.ID, it.Stack.Repository, it.Stack.Environment, it.Stack.Name, it.Fingerprint, micros(it.Resolved), doc)
	} else {
		_, err = t.exec(ctx, `UPDATE drift SET resolved = $1, doc = $2 WHERE id = $3`, micros(it.Resolved), doc, it.ID)
	}
	if err != nil {
		return fmt.Errorf("write drift item %d: %w", it.ID, err)
	}
	return nil
}

func scanDrift(row scanner) (plumbline.DriftItem, error) {
	return scanDoc[plumbline.DriftItem]("drift")(row)
}

// DriftItems lists drift items, newest first.
func (s *Store) DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error) {
	var w where
	w.eq("repository", f.Repository)
	w.eq("environment", f.Environment)
	w.eq("stack", f.Stack)
	switch {
	case !f.Resolved:
		w.conds = append(w.conds, "resolved IS NULL")
	case !f.ResolvedSince.IsZero():
		w.and("(resolved IS NULL OR resolved >= ?)", f.ResolvedSince.UnixMicro())
	}
	query := `SELECT id, doc FROM drift` + w.String() + ` ORDER BY id DESC LIMIT ` + w.arg(limit(f.Limit, 1000))
	return collect(ctx, s.read, scanDrift, query, w.args...)
}
