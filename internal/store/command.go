package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The states of a command, but for "answered". Each is left once: two daemons that carry out or answer the same one cannot both have done it.
const (
	commandPending = "pending"
	commandCarried = "carried"
)

// insertCommands keeps commands whose comments were never seen.
func (t *tx) insertCommands(ctx context.Context, list []plumbline.Command) error {
	for _, c := range list {
		id, err := t.next(ctx, "command", 1)
		if err != nil {
			return err
		}
		c.ID = id
		doc, err := encode(c)
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, `
			INSERT INTO command (id, repository, comment, state, doc) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (repository, comment) DO NOTHING`,
			c.ID, c.Repository, c.Comment, commandPending, doc)
		if err != nil {
			return fmt.Errorf("insert a command: %w", err)
		}
		t.changed = t.changed || n > 0
	}
	return nil
}

// Commands returns the commands of a repository that were not carried out yet, oldest first.
func (s *Store) Commands(ctx context.Context, repo string) ([]plumbline.Command, error) {
	return s.commands(ctx, repo, commandPending)
}

// Unanswered returns those that were carried out, or refused, and whose authors were not told, oldest first.
func (s *Store) Unanswered(ctx context.Context, repo string) ([]plumbline.Command, error) {
	return s.commands(ctx, repo, commandCarried)
}

func (s *Store) commands(ctx context.Context, repo, state string) ([]plumbline.Command, error) {
	return collect(ctx, s.read, scanDoc[plumbline.Command]("command"),
		`SELECT id, doc FROM command WHERE repository = $1 AND state = $2 ORDER BY id`, repo, state)
}

// Carry does what a command asks for and writes what came of it, in one transaction: however many daemons see the command, and wherever they die,
// each deed is done once. conclude is given the refusal of each deed, or nil, and returns the command with its outcome. ErrConflict:
// somebody else has carried it out.
func (s *Store) Carry(ctx context.Context, c plumbline.Command, now time.Time, deeds []plumbline.Deed, conclude func(refused []error) plumbline.Command) error {
	order := make([]int, len(deeds)) // of the runs' IDs, as everybody locks them
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(deeds[a].Run, deeds[b].Run) })
	return s.inTx(ctx, func(t *tx) error {
		if err := t.carry(ctx, c); err != nil {
			return err
		}
		refused, runs, refs := make([]error, len(deeds)), make([]plumbline.Run, len(deeds)), make([]plumbline.StackRef, len(deeds))
		for _, i := range order {
			var err error
			if runs[i], err = t.lockRun(ctx, deeds[i].Run); err != nil {
				return err
			}
			refs[i] = runs[i].Stack
		}
		if _, err := t.lockStacks(ctx, refs...); err != nil {
			return err
		}
		for _, i := range order {
			_, err := t.change(ctx, runs[i], exact(now), deeds[i].Rule, nil)
			var no *plumbline.Refusal
			if err != nil && !errors.As(err, &no) {
				return err
			}
			refused[i] = err
		}
		return t.carry(ctx, conclude(refused))
	})
}

// carry takes a pending command, or writes what came of one that this transaction has taken.
func (t *tx) carry(ctx context.Context, c plumbline.Command) error {
	doc, err := encode(c)
	if err != nil {
		return err
	}
	query := `UPDATE command SET state = 'carried', doc = $1 WHERE id = $2 AND state = 'pending'`
	if c.Outcome != "" {
		query = `UPDATE command SET state = 'carried', doc = $1 WHERE id = $2 AND state <> 'answered'`
	}
	n, err := t.exec(ctx, query, doc, c.ID)
	if err != nil {
		return fmt.Errorf("command %d: %w", c.ID, err)
	}
	if n == 0 {
		return fmt.Errorf("command %d: %w: somebody else has carried it out", c.ID, plumbline.ErrConflict)
	}
	t.changed = true
	return nil
}

// Answered forgets that somebody waits for an answer.
func (s *Store) Answered(ctx context.Context, id int64) error {
	return s.inTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE command SET state = 'answered' WHERE id = $1 AND state = 'carried'`, id)
		if err != nil {
			return fmt.Errorf("command %d: %w", id, err)
		}
		if n == 0 {
			return fmt.Errorf("command %d: %w: nobody waits for an answer", id, plumbline.ErrConflict)
		}
		t.changed = true
		return nil
	})
}
