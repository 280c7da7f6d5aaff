package preview

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// PlanDocument returns the plan that a blob holds.
func (s *Store) PlanDocument(_ context.Context, doc plumbline.Blob) (plumbline.Plan, error) {
	p, ok := s.Documents[doc.Name]
	if !ok {
		return p, fmt.Errorf("document %q: %w", doc.Name, plumbline.ErrNotFound)
	}
	return p, nil
}

// Audit appends an entry to the audit log.
func (s *Store) Audit(_ context.Context, e plumbline.AuditEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tell(e)
}

func (s *Store) tell(e plumbline.AuditEntry) error {
	row := plumbline.AuditRow{AuditEntry: e}
	row.Seq = int64(len(s.audit) + 1)
	if row.Seq > 1 {
		row.Prev = s.audit[row.Seq-2].Hash
	}
	var err error
	if row.Hash, err = plumbline.Seal(row.Prev, row.AuditEntry); err != nil {
		return err
	}
	s.audit = append(s.audit, row)
	return nil
}

// Rewrite changes an entry of the audit log behind its back.
func (s *Store) Rewrite(seq int64, change func(*plumbline.AuditRow)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.audit[seq-1])
}

// AuditEntries lists entries of the audit log.
func (s *Store) AuditEntries(_ context.Context, f plumbline.AuditFilter) ([]plumbline.AuditRow, error) {
	if f.Limit == 0 {
		f.Limit = 200
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := slices.DeleteFunc(slices.Clone(s.audit), func(r plumbline.AuditRow) bool {
		return f.Repository != "" && r.Repository != f.Repository ||
			f.Environment != "" && r.Environment != f.Environment ||
			f.Stack != "" && r.Stack != f.Stack ||
			f.Who != "" && r.Who != f.Who ||
			f.Action != "" && r.Action != f.Action ||
			f.Run != 0 && r.Run != f.Run ||
			!f.Since.IsZero() && r.At.Before(f.Since) ||
			!f.Until.IsZero() && !r.At.Before(f.Until) ||
			f.After != 0 && r.Seq <= f.After ||
			f.Before != 0 && r.Seq >= f.Before
	})
	if f.Newest {
		slices.Reverse(rows)
	}
	return rows[:min(len(rows), f.Limit)], nil
}

// AuditEach calls do with each entry.
func (s *Store) AuditEach(ctx context.Context, f plumbline.AuditFilter, do func(plumbline.AuditRow) error) error {
	if f.Limit == 0 {
		f.Limit = 1 << 30
	}
	rows, err := s.AuditEntries(ctx, f)
	for _, r := range rows {
		err = errors.Join(err, do(r))
		if err != nil {
			break
		}
	}
	return err
}

// VerifyAudit checks the audit log.
func (s *Store) VerifyAudit(_ context.Context, anchors ...plumbline.Anchor) (plumbline.AuditReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return plumbline.VerifyChain(func(yield func(plumbline.AuditRow, error) bool) {
		for _, r := range s.audit {
			if !yield(r, nil) {
				return
			}
		}
	}, anchors...)
}

// Freeze keeps what is approved from being applied.
func (s *Store) Freeze(_ context.Context, repo, env string, f plumbline.Freeze, who plumbline.Person, now time.Time) (int64, error) {
	if f.From.IsZero() {
		f.From = now
	}
	f.By = who.Name
	if !f.Until.IsZero() && !f.Until.After(now) {
		return 0, &plumbline.Refusal{Kind: plumbline.ErrInvalid, What: "The freeze would be over before it begins.", Next: "Give it an end that is still to come."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := int64(1)
	if n := len(s.frozen); n > 0 {
		id = s.frozen[n-1].ID + 1
	}
	s.frozen = append(s.frozen, plumbline.Frozen{ID: id, Repository: repo, Environment: env, Freeze: f})
	s.wake()
	return id, s.tell(plumbline.AuditEntry{
		At: now, Who: who.Name, Door: who.Door, Action: plumbline.AuditFreeze, Repository: repo, Environment: env, Outcome: "done", Detail: f.Reason,
	})
}

// Thaw lifts a freeze of an environment, or all of them for the ID 0.
func (s *Store) Thaw(_ context.Context, repo, env string, id int64, who plumbline.Person, reason string, now time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.frozen)
	s.frozen = slices.DeleteFunc(s.frozen, func(f plumbline.Frozen) bool {
		return f.Repository == repo && f.Environment == env && (id == 0 || f.ID == id)
	})
	n := before - len(s.frozen)
	if n == 0 {
		return 0, &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("Nobody has frozen %s/%s.", repo, env), Next: "What its configuration freezes is lifted there."}
	}
	s.wake()
	return n, s.tell(plumbline.AuditEntry{
		At: now, Who: who.Name, Door: who.Door, Action: plumbline.AuditThaw, Repository: repo, Environment: env, Outcome: "done", Detail: reason,
	})
}

// Freezes lists the freezes that people have set.
func (s *Store) Freezes(_ context.Context, repo, env string, now time.Time) ([]plumbline.Frozen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.frozen), func(f plumbline.Frozen) bool {
		return repo != "" && f.Repository != repo || env != "" && f.Environment != env || !f.Until.IsZero() && !f.Until.After(now)
	}), nil
}
