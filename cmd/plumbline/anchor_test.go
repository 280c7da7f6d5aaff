package main

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
)

// TestAnchor: a log that was cut off, or replaced by a shorter one, is found although the database says nothing of it.
func TestAnchor(t *testing.T) {
	dir := t.TempDir()
	open := func(name string, entries int) anchored {
		s, err := store.Open(t.Context(), store.Config{DSN: "sqlite:" + filepath.Join(dir, name), AuditKey: make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		for i := range entries {
			if err := s.Audit(t.Context(), plumbline.AuditEntry{At: time.Unix(int64(i), 0), Who: name, Action: plumbline.AuditSignIn, Outcome: "done"}); err != nil {
				t.Fatal(err)
			}
		}
		return anchored{s, filepath.Join(dir, "anchor")}
	}
	whole := open("whole.db", 5)
	round := (&daemon{}).anchor(whole)
	for range 2 {
		if _, _, err := round.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if report, err := whole.VerifyAudit(t.Context()); err != nil || report.Fault != nil || report.Checked != 5 {
		t.Errorf("%+v %v", report, err)
	}
	for name, entries := range map[string]int{"shorter.db": 3, "another.db": 7} {
		other := open(name, entries)
		if _, err := other.drop(t.Context()); !errors.Is(err, errCut) {
			t.Errorf("%s: %v", name, err)
		}
		if report, err := other.VerifyAudit(t.Context()); err != nil || report.Fault == nil {
			t.Errorf("%s: %+v %v", name, report, err)
		}
	}
	if a, err := whole.read(); err != nil || a.Seq != 5 {
		t.Errorf("the anchor has moved: %v %v", a, err)
	}
}
