package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Unreported returns runs of a repository of which people were not told the latest version, oldest first; a limit of 0 means 100.
func (s *Store) Unreported(ctx context.Context, repo string, most int) ([]plumbline.Run, error) {
	return collect(ctx, s.read, scanRun,
		`SELECT `+runColumns+` FROM run WHERE repository = $1 AND version > reported ORDER BY id LIMIT $2`, repo, limit(most, 100))
}

// MarkReported notes that people were told of these versions of runs. A run that has moved on since stays unreported.
func (s *Store) MarkReported(ctx context.Context, runs []plumbline.RunVersion) error {
	return s.inTx(ctx, func(t *tx) error {
		for _, r := range runs {
			run, err := t.lockRun(ctx, r.ID)
			if errors.Is(err, plumbline.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("mark run %s as reported: %w", r.ID, err)
			}
			at := r.At.UnixMicro()
			if run.Shown() && !run.Told.IsZero() { // that people were told of its plan is no news: who agrees to it may have done so since the first time
				at = run.Told.UnixMicro()
			}
			if _, err := t.exec(ctx, `UPDATE run SET reported = $1, told = $3 WHERE id = $2 AND reported < $1`, r.Version, int64(r.ID), at); err != nil {
				return fmt.Errorf("mark run %s as reported: %w", r.ID, err)
			}
		}
		return nil
	})
}

// UnreportedMRs returns the merge requests of a repository that people were not told the latest of, apart from their runs.
func (s *Store) UnreportedMRs(ctx context.Context, repo string) ([]plumbline.MRVersion, error) {
	scan := func(row scanner) (v plumbline.MRVersion, err error) {
		err = row.Scan(&v.ID, &v.Version)
		return v, err
	}
	return collect(ctx, s.read, scan, `SELECT id, version FROM merge_request WHERE repository = $1 AND version > reported ORDER BY id`, repo)
}

// MarkMRReported notes that people were told of this version of a merge request. One that has changed since stays unreported.
func (s *Store) MarkMRReported(ctx context.Context, repo, id string, version int64) error {
	return s.inTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `UPDATE merge_request SET reported = $1 WHERE repository = $2 AND id = $3 AND reported < $1`, version, repo, id); err != nil {
			return fmt.Errorf("mark merge request %s as reported: %w", id, err)
		}
		return nil
	})
}

// MergeRequest returns one merge request.
func (s *Store) MergeRequest(ctx context.Context, repo, id string) (plumbline.MergeRequest, error) {
	mr, err := scanMR(s.read.QueryRowContext(ctx, `SELECT id, doc FROM merge_request WHERE repository = $1 AND id = $2`, repo, id))
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("merge request %s of %s: %w", id, repo, plumbline.ErrNotFound)
	}
	return mr, err
}

// endedMRs is how many merge requests that have ended are listed at most: a repository gathers them for years.
const endedMRs = 500

// MergeRequests returns the merge requests in a state, or all for "", the latest changed first. Of those
// merged, or those closed, only the latest 500.
func (s *Store) MergeRequests(ctx context.Context, repo string, state plumbline.MRState) ([]plumbline.MergeRequest, error) {
	var w where
	w.and("repository = ?", repo)
	w.eq("state", string(state))
	most := ""
	if state == plumbline.MRMerged || state == plumbline.MRClosed {
		most = fmt.Sprintf(" LIMIT %d", endedMRs)
	}
	return collect(ctx, s.read, scanMR, `SELECT id, doc FROM merge_request`+w.String()+` ORDER BY updated DESC, id`+most, w.args...)
}

func scanMR(row scanner) (plumbline.MergeRequest, error) {
	return scanDoc[plumbline.MergeRequest]("merge_request")(row)
}

// Told returns the hash of what people were told last under a key; "" when they were told nothing.
func (s *Store) Told(ctx context.Context, repo, key string) (hash string, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT hash FROM told WHERE repository = $1 AND key = $2`, repo, key).Scan(&hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look up what was told of %s: %w", key, err)
	}
	return hash, nil
}

// Tell notes the hash of what people were told under a key, so that they are not told the same twice.
func (s *Store) Tell(ctx context.Context, repo, key, hash string) error {
	return s.inTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `
			INSERT INTO told (repository, key, hash) VALUES ($1, $2, $3)
			ON CONFLICT (repository, key) DO UPDATE SET hash = excluded.hash`, repo, key, hash); err != nil {
			return fmt.Errorf("note what was told of %s: %w", key, err)
		}
		return nil
	})
}
