package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// reconcile brings the drift items of a run's stack to what the run found and returns how many count.
func (t *tx) reconcile(ctx context.Context, r *plumbline.Run, look plumbline.DriftLook, now time.Time) (counting int, err error) {
	look.Stack, look.Run, look.At = r.Stack, r.ID, now
	set, err := t.rules(ctx, r.Stack.Repository, r.Stack.Environment)
	if err != nil {
		return 0, err
	}
	look.Rules = slices.Concat(look.Rules, set)
	st, err := t.stackStatus(ctx, r.Stack)
	if err != nil {
		return 0, err
	}
	if st != nil {
		look.Applied, look.AppliedBy = st.Applied, st.AppliedBy
	}
	if st != nil && st.Removed {
		return 0, t.leave(ctx, []plumbline.StackStatus{*st}, now) // it was removed while the check was under way
	}
	if st != nil && r.Plan != nil {
		look.Causes = plumbline.ProviderCauses(st.Providers, r.Plan.Providers)
	}
	look.Undecided, look.Partial = !r.InSync, r.Partial != ""
	known, err := collect(ctx, t, scanDrift, `
		SELECT id, doc FROM drift
		WHERE repository = $1 AND environment = $2 AND stack = $3 AND resolved IS NULL ORDER BY id`+t.dialect.forUpdate,
		r.Stack.Repository, r.Stack.Environment, r.Stack.Name)
	if err != nil {
		return 0, err
	}
	open := map[string]bool{}
	for _, it := range known {
		open[it.Difference.Key()] = true
	}
	for _, d := range look.Found {
		if key := d.Key(); !open[key] {
			open[key] = true
			earlier, err := collect(ctx, t, scanDrift, `
				SELECT id, doc FROM drift WHERE repository = $1 AND environment = $2 AND stack = $3 AND object = $4 ORDER BY id DESC LIMIT 1`,
				r.Stack.Repository, r.Stack.Environment, r.Stack.Name, key)
			if err != nil {
				return 0, err
			}
			known = append(known, earlier...)
		}
	}
	writes, news := plumbline.ReconcileDrift(known, look)
	r.DriftNews = news
	written := map[int64]bool{}
	for _, w := range writes {
		written[w.Item.ID] = true
		if w.Item.Counts(now) {
			counting++
		}
	}
	for _, it := range known { // those of which this check could not tell
		if it.Open() && !written[it.ID] && it.Counts(now) {
			counting++
		}
	}
	return counting, t.writeDrift(ctx, writes...)
}

// leave ends the drift items of stacks that are not in Git any more, which no check would ever resolve. Items are locked before stacks, as everywhere.
func (t *tx) leave(ctx context.Context, stacks []plumbline.StackStatus, now time.Time) error {
	for _, st := range stacks {
		if !st.Removed {
			continue
		}
		items, err := collect(ctx, t, scanDrift, `
			SELECT id, doc FROM drift WHERE repository = $1 AND environment = $2 AND stack = $3 AND resolved IS NULL ORDER BY id`+t.dialect.forUpdate,
			st.Stack.Repository, st.Stack.Environment, st.Stack.Name)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := t.writeDrift(ctx, it.Leave(now)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeDrift writes items with what happened to them. People are to be told of whatever happened.
func (t *tx) writeDrift(ctx context.Context, writes ...plumbline.DriftWrite) error {
	told := map[plumbline.StackRef]bool{}
	for _, w := range writes {
		it := w.Item
		isNew := it.ID == 0
		if isNew {
			var err error
			if it.ID, err = t.next(ctx, "drift", 1); err != nil {
				return err
			}
		}
		first := it.Events
		it.Events += len(w.Events)
		doc, err := encode(it)
		if err != nil {
			return err
		}
		if isNew {
			_, err = t.exec(ctx, `INSERT INTO drift (id, repository, environment, stack, fingerprint, object, resolved, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				it.ID, it.Stack.Repository, it.Stack.Environment, it.Stack.Name, it.Fingerprint, it.Difference.Key(), micros(it.Resolved), doc)
		} else {
			_, err = t.exec(ctx, `UPDATE drift SET resolved = $1, fingerprint = $2, object = $3, doc = $4 WHERE id = $5`,
				micros(it.Resolved), it.Fingerprint, it.Difference.Key(), doc, it.ID)
		}
		if err != nil {
			return fmt.Errorf("write drift item %d: %w", it.ID, err)
		}
		for i, e := range w.Events {
			if _, err := t.exec(ctx, `INSERT INTO drift_event (item, seq, at, what, who, text) VALUES ($1, $2, $3, $4, $5, $6)`,
				it.ID, first+i+1, exact(e.At).UnixMicro(), string(e.What), printable(e.Who), printable(e.Text)); err != nil {
				return fmt.Errorf("write the history of drift item %d: %w", it.ID, err)
			}
		}
		env := plumbline.StackRef{Repository: it.Stack.Repository, Environment: it.Stack.Environment}
		if len(w.Events) == 0 || told[env] {
			continue
		}
		told[env] = true
		if _, err := t.exec(ctx, `
			INSERT INTO drift_news (repository, environment, version, reported) VALUES ($1, $2, 1, 0)
			ON CONFLICT (repository, environment) DO UPDATE SET version = drift_news.version + 1`, env.Repository, env.Environment); err != nil {
			return fmt.Errorf("note the news of %s: %w", env, err)
		}
		t.changed = true
	}
	return nil
}

func scanDrift(row scanner) (plumbline.DriftItem, error) {
	var (
		id  int64
		doc string
		it  plumbline.DriftItem
	)
	if err := row.Scan(&id, &doc); err != nil {
		return it, err
	}
	err := decode("drift", fmt.Sprint(id), doc, &it)
	it.ID = id
	return it, err
}

// DriftItems lists drift items, newest first.
func (s *Store) DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error) {
	var w where
	w.eq("repository", f.Repository)
	w.eq("environment", f.Environment)
	w.eq("stack", f.Stack)
	if len(f.IDs) > 0 {
		places := make([]string, len(f.IDs))
		for i, id := range f.IDs {
			places[i] = w.arg(id)
		}
		w.conds = append(w.conds, "id IN ("+strings.Join(places, ", ")+")")
	}
	switch {
	case len(f.IDs) > 0:
	case !f.Resolved:
		w.conds = append(w.conds, "resolved IS NULL")
	case !f.ResolvedSince.IsZero():
		w.and("(resolved IS NULL OR resolved >= ?)", f.ResolvedSince.UnixMicro())
	}
	query := `SELECT id, doc FROM drift` + w.String() + ` ORDER BY id DESC LIMIT ` + w.arg(limit(f.Limit, 1000))
	return collect(ctx, s.read, scanDrift, query, w.args...)
}

// DriftItem returns one drift item.
func (s *Store) DriftItem(ctx context.Context, id int64) (plumbline.DriftItem, error) {
	it, err := scanDrift(s.read.QueryRowContext(ctx, `SELECT id, doc FROM drift WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		err = &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("There is no drift item %d.", id), Next: "`plumbline drift list` shows those there are."}
	}
	return it, err
}

// DriftEvents returns the history of a drift item, oldest first.
func (s *Store) DriftEvents(ctx context.Context, id int64) ([]plumbline.DriftEvent, error) {
	scan := func(row scanner) (plumbline.DriftEvent, error) {
		e := plumbline.DriftEvent{Item: id}
		var at int64
		err := row.Scan(&at, &e.What, &e.Who, &e.Text)
		e.At = time.UnixMicro(at).UTC()
		return e, err
	}
	return collect(ctx, s.read, scan, `SELECT at, what, who, text FROM drift_event WHERE item = $1 ORDER BY seq`, id)
}

// UpdateDrift applies a rule to a drift item in one transaction with what follows for its stack. The rule's error is returned as it is; it may be called
// more than once.
func (s *Store) UpdateDrift(ctx context.Context, id int64, now time.Time, rule func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error)) (plumbline.DriftItem, error) {
	now = exact(now)
	var out plumbline.DriftItem
	err := s.inTx(ctx, func(t *tx) error {
		it, err := scanDrift(t.QueryRowContext(ctx, `SELECT id, doc FROM drift WHERE id = $1`+t.dialect.forUpdate, id))
		if errors.Is(err, sql.ErrNoRows) {
			return &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("There is no drift item %d.", id), Next: "`plumbline drift list` shows those there are."}
		}
		if err != nil {
			return err
		}
		w, err := rule(it, now)
		if err != nil {
			return err
		}
		out = w.Item
		for _, e := range w.Events {
			if e.Who != "" {
				t.tell(now, auditDrift(it.Stack, e.Who, e.Door, fmt.Sprintf("drift item %d, %s: %s %s", id, it.Difference.Address, e.What, e.Text)))
			}
		}
		if err := t.writeDrift(ctx, w); err != nil {
			return err
		}
		return t.recount(ctx, now, it.Stack)
	})
	return out, err
}

func auditDrift(at plumbline.StackRef, who string, door plumbline.Door, detail string) plumbline.AuditEntry {
	return plumbline.AuditEntry{
		Who: who, Door: door, Action: plumbline.AuditDrift, Repository: at.Repository, Environment: at.Environment, Stack: at.Name, Outcome: done, Detail: detail,
	}
}

// recount brings the numbers that stacks have of their drift to what their items say.
func (t *tx) recount(ctx context.Context, now time.Time, refs ...plumbline.StackRef) error {
	stacks, err := t.lockStacks(ctx, refs...)
	if err != nil {
		return err
	}
	for ref, st := range stacks {
		if st == nil {
			continue
		}
		items, err := collect(ctx, t, scanDrift, `SELECT id, doc FROM drift WHERE repository = $1 AND environment = $2 AND stack = $3 AND resolved IS NULL`,
			ref.Repository, ref.Environment, ref.Name)
		if err != nil {
			return err
		}
		st.Drifted = 0
		for _, it := range items {
			if it.Counts(now) {
				st.Drifted++
			}
		}
	}
	return t.writeStacks(ctx, stacks)
}

// IgnoreDrift has a rule hide drift of an environment at once, beside those of its configuration, and returns the rule's ID.
func (s *Store) IgnoreDrift(ctx context.Context, env plumbline.Environment, rule plumbline.IgnoreRule, who plumbline.Person, now time.Time) (int64, error) {
	now = exact(now)
	if err := errors.Join(names(rule.Address, rule.Attribute, rule.Stack), rule.Check(now)); err != nil {
		return 0, err
	}
	rule.By, rule.From, rule.Until = who.Name, now, exact(rule.Until)
	err := s.inTx(ctx, func(t *tx) (err error) {
		if rule.ID, err = t.next(ctx, "drift_rule", 1); err != nil {
			return err
		}
		doc, err := encode(rule)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO drift_rule (id, repository, environment, doc) VALUES ($1, $2, $3, $4)`, rule.ID, env.Repository, env.Name, doc); err != nil {
			return fmt.Errorf("write the rule: %w", err)
		}
		why := plumbline.Ignored{Owner: rule.Owner, Reason: rule.Reason, Until: rule.Until}
		t.tell(now, auditDrift(plumbline.StackRef{Repository: env.Repository, Environment: env.Name, Name: rule.Stack}, who.Name, who.Door,
			fmt.Sprintf("rule %d ignores %s %s", rule.ID, rule, why)))
		_, err = t.reconsider(ctx, env, now)
		return err
	})
	return rule.ID, err
}

// LiftIgnore takes a rule back that somebody has set. What it hid comes back at once.
func (s *Store) LiftIgnore(ctx context.Context, env plumbline.Environment, id int64, who plumbline.Person, now time.Time) error {
	now = exact(now)
	return s.inTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE drift_rule SET lifted = $1 WHERE id = $2 AND repository = $3 AND environment = $4 AND lifted IS NULL`, now.UnixMicro(), id, env.Repository, env.Name)
		if err != nil {
			return err
		}
		if n == 0 {
			return &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("%s has no rule %d, or it was lifted.", env.Key(), id), Next: "What its configuration ignores is changed there."}
		}
		t.tell(now, auditDrift(plumbline.StackRef{Repository: env.Repository, Environment: env.Name}, who.Name, who.Door, fmt.Sprintf("rule %d lifted", id)))
		_, err = t.reconsider(ctx, env, now)
		return err
	})
}

// IgnoreRules lists the rules that people have set for an environment and nobody has lifted, those that have run out too, in the order in which they were set.
func (s *Store) IgnoreRules(ctx context.Context, repo, env string) ([]plumbline.IgnoreRule, error) {
	return rulesOf(ctx, s.read, repo, env)
}

func (t *tx) rules(ctx context.Context, repo, env string) ([]plumbline.IgnoreRule, error) {
	return rulesOf(ctx, t, repo, env)
}

func rulesOf(ctx context.Context, q querier, repo, env string) ([]plumbline.IgnoreRule, error) {
	return collect(ctx, q, scanDoc[plumbline.IgnoreRule]("drift_rule"),
		`SELECT id, doc FROM drift_rule WHERE repository = $1 AND environment = $2 AND lifted IS NULL ORDER BY id`, repo, env)
}

// Reconsider holds an environment's open drift items against the rules in force now: those of its configuration and those that people have set. Rules
// run out with time, and configurations change. It returns how many items came to another state.
func (s *Store) Reconsider(ctx context.Context, env plumbline.Environment, now time.Time) (changed int, err error) {
	err = s.inTx(ctx, func(t *tx) (err error) {
		changed, err = t.reconsider(ctx, env, exact(now))
		return err
	})
	return changed, err
}

func (t *tx) reconsider(ctx context.Context, env plumbline.Environment, now time.Time) (int, error) {
	set, err := t.rules(ctx, env.Repository, env.Name)
	if err != nil {
		return 0, err
	}
	items, err := collect(ctx, t, scanDrift, `SELECT id, doc FROM drift WHERE repository = $1 AND environment = $2 AND resolved IS NULL ORDER BY id`+t.dialect.forUpdate, env.Repository, env.Name)
	if err != nil {
		return 0, err
	}
	rules := slices.Concat(env.Drift.Ignore, set)
	var writes []plumbline.DriftWrite
	var refs []plumbline.StackRef
	for _, it := range items {
		if w, changed, _ := it.Reconsider(rules, now); changed {
			writes = append(writes, w)
			refs = append(refs, it.Stack)
		}
	}
	if len(writes) == 0 {
		return 0, nil
	}
	if err := t.writeDrift(ctx, writes...); err != nil {
		return 0, err
	}
	return len(writes), t.recount(ctx, now, refs...)
}

// UnreportedDrift returns the environments of a repository of whose drift people were not told the latest.
func (s *Store) UnreportedDrift(ctx context.Context, repo string) ([]plumbline.DriftVersion, error) {
	scan := func(row scanner) (v plumbline.DriftVersion, err error) {
		err = row.Scan(&v.Environment, &v.Version)
		return v, err
	}
	return collect(ctx, s.read, scan, `SELECT environment, version FROM drift_news WHERE repository = $1 AND version > reported ORDER BY environment`, repo)
}

// MarkDriftReported notes that people were told of this version of an environment's drift.
func (s *Store) MarkDriftReported(ctx context.Context, repo string, v plumbline.DriftVersion) error {
	return s.inTx(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE drift_news SET reported = $1 WHERE repository = $2 AND environment = $3 AND reported < $1`, v.Version, repo, v.Environment)
		return err
	})
}
