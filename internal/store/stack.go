package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// statuses are the stacks that a transaction has locked and may write; nil: no such row.
type statuses map[plumbline.StackRef]*plumbline.StackStatus

// refs returns the stacks in the order in which rows are locked.
func (m statuses) refs() []plumbline.StackRef {
	refs := make([]plumbline.StackRef, 0, len(m))
	for ref := range m {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b plumbline.StackRef) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Name, b.Name))
	})
	return refs
}

// follow takes a run's new state into its stack's status. A proposal says nothing of a stack that only it has.
func (m statuses) follow(r plumbline.Run) {
	st := m[r.Stack]
	if st == nil {
		if r.Kind == plumbline.KindProposal {
			return
		}
		st = &plumbline.StackStatus{Stack: r.Stack, Spec: r.Spec}
		m[r.Stack] = st
	}
	next := st.After(r)
	if r.ID < st.LastRun {
		// An older run that ends late still tells what became of reality, but it is not the last one.
		next.LastRun, next.LastKind, next.LastState = st.LastRun, st.LastKind, st.LastState
	}
	*st = next
}

func (t *tx) lockStacks(ctx context.Context, refs ...plumbline.StackRef) (statuses, error) {
	m := statuses{}
	for _, ref := range refs {
		m[ref] = nil
	}
	for _, ref := range m.refs() {
		st, err := scanDoc[plumbline.StackStatus]("stack")(t.QueryRowContext(ctx,
			`SELECT name, doc FROM stack WHERE repository = $1 AND environment = $2 AND name = $3`+t.dialect.forUpdate,
			ref.Repository, ref.Environment, ref.Name))
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return nil, err
		default:
			st.Stack = ref
			m[ref] = &st
		}
	}
	return m, nil
}

// stackStatus reads a stack without locking it; nil: there is no such row. While a run of the stack is being claimed no other one of it can
// change what was applied.
func (t *tx) stackStatus(ctx context.Context, ref plumbline.StackRef) (*plumbline.StackStatus, error) {
	st, err := scanDoc[plumbline.StackStatus]("stack")(t.QueryRowContext(ctx,
		`SELECT name, doc FROM stack WHERE repository = $1 AND environment = $2 AND name = $3`, ref.Repository, ref.Environment, ref.Name))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st.Stack = ref
	return &st, nil
}

func (t *tx) writeStacks(ctx context.Context, m statuses) error {
	for _, ref := range m.refs() {
		if m[ref] == nil {
			continue
		}
		doc, err := encode(m[ref])
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `
			INSERT INTO stack (repository, environment, name, doc) VALUES ($1, $2, $3, $4)
			ON CONFLICT (repository, environment, name) DO UPDATE SET doc = excluded.doc`,
			ref.Repository, ref.Environment, ref.Name, doc); err != nil {
			return fmt.Errorf("write stack %s: %w", ref, err)
		}
	}
	return nil
}

// Stacks returns the stacks of an environment in order of name, those that were removed included.
func (s *Store) Stacks(ctx context.Context, repo, env string) ([]plumbline.StackStatus, error) {
	return collect(ctx, s.read, scanDoc[plumbline.StackStatus]("stack"),
		`SELECT name, doc FROM stack WHERE repository = $1 AND environment = $2 ORDER BY name`, repo, env)
}
