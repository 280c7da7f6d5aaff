package store

import (
	"context"
	"fmt"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// AppendLog notes the next sealed chunk of a phase's log. To note the same seq again replaces the chunk, so that a writer that does
// not know whether its last note arrived may repeat it.
func (s *Store) AppendLog(ctx context.Context, run plumbline.RunID, attempt int, phase plumbline.Phase, seq int, blob plumbline.Blob) error {
	doc, err := encode(blob)
	if err != nil {
		return err
	}
	return s.inTx(ctx, func(t *tx) error {
		t.changed = true
		if _, err := t.exec(ctx, `
			INSERT INTO log_chunk (run, attempt, phase, seq, doc) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (run, attempt, phase, seq) DO UPDATE SET doc = excluded.doc`,
			int64(run), attempt, string(phase), seq, doc); err != nil {
			return fmt.Errorf("note a chunk of the log of run %s: %w", run, err)
		}
		return nil
	})
}

// LogChunks returns the sealed chunks of one phase's log in order. A run's attempts count from 1.
func (s *Store) LogChunks(ctx context.Context, run plumbline.RunID, attempt int, phase plumbline.Phase) ([]plumbline.Blob, error) {
	return collect(ctx, s.read, scanDoc[plumbline.Blob]("log_chunk"),
		`SELECT run, doc FROM log_chunk WHERE run = $1 AND attempt = $2 AND phase = $3 ORDER BY seq`, int64(run), attempt, string(phase))
}
