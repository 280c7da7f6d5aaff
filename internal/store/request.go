package store

import (
	"context"
	"fmt"
	"slices"

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
		_, err = t.exec(ctx, `INSERT INTO request (id, repository, doc) VALUES ($1, $2, $3)`, r.ID, r.Repository, doc)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("file a request: %w", err)
	}
	return r.ID, nil
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
