package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
)

// anchored is the store whose audit log is also held against what this node saw last: a log that was cut off, with all that the database knows of
// its end, holds together in itself.
type anchored struct {
	*store.Store
	path string // of the file with the anchor
}

// VerifyAudit checks the log as the store does, and that it still has the entry that this node has seen.
func (a anchored) VerifyAudit(ctx context.Context, anchors ...plumbline.Anchor) (plumbline.AuditReport, error) {
	mine, err := a.read()
	if err != nil {
		return plumbline.AuditReport{}, err
	}
	if mine != (plumbline.Anchor{}) {
		anchors = append(anchors, mine)
	}
	return a.Store.VerifyAudit(ctx, anchors...)
}

// read returns the anchor in the file, the zero one if there is none yet.
func (a anchored) read() (plumbline.Anchor, error) {
	b, err := os.ReadFile(a.path)
	if errors.Is(err, os.ErrNotExist) {
		return plumbline.Anchor{}, nil
	}
	if err != nil {
		return plumbline.Anchor{}, err
	}
	anchor, err := plumbline.ParseAnchor(string(b))
	if err != nil {
		return anchor, fmt.Errorf("%s: %w", a.path, err)
	}
	return anchor, nil
}

// errCut says that the log has lost what this node has seen in it.
var errCut = errors.New("the audit log is not the one that this machine has seen")

// drop writes down how far the log is now, unless it has lost what was written down before.
func (a anchored) drop(ctx context.Context) (plumbline.Anchor, error) {
	was, err := a.read()
	if err != nil {
		return was, err
	}
	now, err := a.AuditAnchor(ctx)
	if err != nil || now == was {
		return now, err
	}
	if was.Seq > 0 {
		rows, err := a.AuditEntries(ctx, plumbline.AuditFilter{After: was.Seq - 1, Limit: 1})
		if err != nil {
			return was, err
		}
		if now.Seq < was.Seq || len(rows) == 0 || rows[0].Seq != was.Seq || rows[0].Hash != was.Hash {
			return was, fmt.Errorf("%w: entry %s of %s is not in it; `plumbline audit verify` says more", errCut, was, filepath.Base(a.path))
		}
	}
	f, err := os.OpenFile(a.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return was, err
	}
	_, err = f.WriteString(now.String())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil { // a power cut must not leave an empty one
		return was, err
	}
	return now, os.Rename(a.path+".new", a.path)
}

// anchor keeps the file up to date.
func (d *daemon) anchor(a anchored) *loop {
	return newLoop("audit", func(ctx context.Context) (string, time.Time, error) {
		at, err := a.drop(ctx)
		return fmt.Sprintf("%d entries", at.Seq), time.Now().Add(time.Minute), err
	})
}
