package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Request files a person's wish and returns its ID.
func (s *Store) Request(ctx context.Context, r plumbline.Request) (int64, error) {
	if err := names(r.Repository); err != nil {
		return 0, err
	}
	err := s.inTx(ctx, func(t *tx) (err error) {
		if r.ID, err = t.next(ctx, "request", 1); err != nil {
			return err
		}
		doc, err := encode(r)
		if err != nil {
			return err
		}
		t.changed = true
		// To look is no decision, and every push to a forge asks for it.
		if r.Kind != plumbline.RequestPoll {
			t.tell(r.At, plumbline.AuditEntry{
				Who: r.By, Door: r.Door, Action: plumbline.AuditRequest, Repository: r.Repository, Environment: r.Environment, Outcome: done, Detail: asked(r),
			})
		}
		_, err = t.exec(ctx, `INSERT INTO request (id, repository, doc) VALUES ($1, $2, $3)`, r.ID, r.Repository, doc)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("file a request: %w", err)
	}
	return r.ID, nil
}

// asked says what somebody wants: "rollback to 1a2b3c4: net, app".
func asked(r plumbline.Request) string {
	text := string(r.Kind)
	if r.To != "" {
		text += " to " + plumbline.Short(r.To)
	}
	if len(r.Stacks) > 0 {
		text += ": " + strings.Join(r.Stacks, ", ")
	}
	return text
}

// Requests returns the wishes that nobody has fulfilled, oldest first.
func (s *Store) Requests(ctx context.Context, repo string) ([]plumbline.Request, error) {
	return collect(ctx, s.read, scanDoc[plumbline.Request]("request"),
		`SELECT id, doc FROM request WHERE repository = $1 ORDER BY id`, repo)
}

// DoneRequests forgets requests; those already forgotten do not matter.
func (s *Store) DoneRequests(ctx context.Context, ids []int64) error {
	return s.inTx(ctx, func(t *tx) error {
		for _, id := range slices.Sorted(slices.Values(ids)) {
			if _, err := t.exec(ctx, `DELETE FROM request WHERE id = $1`, id); err != nil {
				return fmt.Errorf("delete request %d: %w", id, err)
			}
		}
		return nil
	})
}
