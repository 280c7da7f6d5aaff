package store

import (
	"context"
	"fmt"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The states of a command. Each is left once: two daemons that carry out or answer the same one cannot both have done it.
const (
	commandPending  = "pending"
	commandCarried  = "carried"
	commandAnswered = "answered"
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

// Carried writes what came of a command. ErrConflict: somebody else has written it.
func (s *Store) Carried(ctx context.Context, c plumbline.Command) error {
	doc, err := encode(c)
	if err != nil {
		return err
	}
	return s.moveCommand(ctx, c.ID, commandPending, `UPDATE command SET state = 'carried', doc = $1 WHERE id = $2 AND state = $3`, doc, c.ID, commandPending)
}

// Answered forgets that somebody waits for an answer.
func (s *Store) Answered(ctx context.Context, id int64) error {
	return s.moveCommand(ctx, id, commandCarried, `UPDATE command SET state = 'answered' WHERE id = $1 AND state = $2`, id, commandCarried)
}

func (s *Store) moveCommand(ctx context.Context, id int64, from, query string, args ...any) error {
	return s.inTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, query, args...)
		if err != nil {
			return fmt.Errorf("command %d: %w", id, err)
		}
		if n == 0 {
			return fmt.Errorf("command %d: %w: it is not %s any more", id, plumbline.ErrConflict, from)
		}
		t.changed = true
		return nil
	})
}
