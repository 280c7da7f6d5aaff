package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// manyItems is how many histories one query asks for: PostgreSQL takes 65,535 arguments, SQLite 32,766.
const manyItems = 1000

// DriftHistories returns the histories of drift items, those of one item together, oldest first.
func (s *Store) DriftHistories(ctx context.Context, items ...int64) ([]plumbline.DriftEvent, error) {
	scan := func(row scanner) (e plumbline.DriftEvent, err error) {
		var at int64
		err = row.Scan(&e.Item, &at, &e.What, &e.Who, &e.Text)
		e.At = time.UnixMicro(at).UTC()
		return e, err
	}
	var out []plumbline.DriftEvent
	for ids := range slices.Chunk(items, manyItems) {
		var w where
		places := make([]string, len(ids))
		for i, id := range ids {
			places[i] = w.arg(id)
		}
		events, err := collect(ctx, s.read, scan, `SELECT item, at, what, who, text FROM drift_event WHERE item IN (`+strings.Join(places, ", ")+`) ORDER BY item, seq`, w.args...)
		if err != nil {
			return nil, err
		}
		out = append(out, events...)
	}
	return out, nil
}

const microsPerDay = int64(24 * time.Hour / time.Microsecond)

// DriftDays tells how often stacks were compared with reality, by day, since a time: of one repository, one environment, one stack, or of all for "".
func (s *Store) DriftDays(ctx context.Context, repo, env, stack string, since time.Time) ([]plumbline.DriftDay, error) {
	scan := func(row scanner) (d plumbline.DriftDay, err error) {
		var day int64
		err = row.Scan(&d.Stack.Repository, &d.Stack.Environment, &d.Stack.Name, &day, &d.Checks, &d.Failed)
		d.Day = time.UnixMicro(day * microsPerDay).UTC()
		return d, err
	}
	// Events are small, runs are large: SQLite keeps to the order of a CROSS JOIN, and so reads the runs of these days alone.
	var w where
	w.conds = append(w.conds, "run.id = run_event.run")
	w.and("run.kind = ?", string(plumbline.KindDrift))
	w.and("run_event.at >= ?", since.UnixMicro())
	w.eq("run.repository", repo)
	w.eq("run.environment", env)
	w.eq("run.stack", stack)
	in(&w, "run_event.to_state", []plumbline.State{plumbline.StateClean, plumbline.StatePlanned, plumbline.StateDrifted, plumbline.StateFailed})
	day := w.arg(microsPerDay)
	failed := w.arg(string(plumbline.StateFailed))
	return collect(ctx, s.read, scan, `
		SELECT run.repository, run.environment, run.stack, run_event.at / `+day+`, COUNT(*), SUM(CASE WHEN run_event.to_state = `+failed+` THEN 1 ELSE 0 END)
		FROM run_event CROSS JOIN run`+w.String()+`
		GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4`, w.args...)
}
