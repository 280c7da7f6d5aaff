package git

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestPushCommit(t *testing.T) {
	for _, over := range []string{"path", "http"} {
		t.Run(over, func(t *testing.T) {
			dir := bare(t)
			url := dir
			if over == "http" {
				url = testenv.GitHTTP(t, filepath.Dir(dir)) + "/infra.git"
				testenv.Git(t, dir, "config", "http.receivepack", "true")
			}
			r := open(t, url)
			note := NewCommit{
				Files: map[string][]byte{strings.Repeat("a", 40): []byte("one\n"), "empty": {}}, Ref: "refs/notes/plumbline",
				Message: "Notes", Author: "Plumbline <plumbline@example.com>", When: time.Unix(1_750_000_000, 0).UTC(),
			}
			first, err := r.PushCommit(t.Context(), note) // into an empty repository
			if err != nil {
				t.Fatal(err)
			}
			if got := testenv.Git(t, dir, "rev-parse", note.Ref); got != first {
				t.Fatalf("the remote is at %s, not %s", got, first)
			}
			_, err = r.PushCommit(t.Context(), note) // expects it to be absent
			wantKind(t, err, plumbline.ErrConflict, note.Ref)

			pull(t, r)
			note.Parent, note.Expect = first, first
			note.Files = map[string][]byte{strings.Repeat("b", 40): []byte("two\n"), "empty": nil}
			second, err := r.PushCommit(t.Context(), note)
			if err != nil {
				t.Fatal(err)
			}
			files, err := r.ReadFiles(t.Context(), second)
			if err != nil || len(files) != 2 || string(files[strings.Repeat("a", 40)]) != "one\n" || string(files[strings.Repeat("b", 40)]) != "two\n" {
				t.Errorf("%q, %v", files, err)
			}
			testenv.Git(t, dir, "fsck", "--strict", "--full")
			note.Files = map[string][]byte{"late": []byte("3")}
			_, err = r.PushCommit(t.Context(), note)
			wantKind(t, err, plumbline.ErrConflict, plumbline.Short(first))
			if got := testenv.Git(t, dir, "rev-parse", note.Ref); got != second {
				t.Errorf("the remote is at %s, not %s", got, second)
			}
			// A commit on top of one ref, pushed to another that is new.
			note.Parent, note.Expect, note.Ref = second, "", "refs/heads/propose/main/x"
			if c, err := r.PushCommit(t.Context(), note); err != nil || testenv.Git(t, dir, "rev-parse", note.Ref) != c {
				t.Error(err)
			}
		})
	}
}

func TestPushCommitByManyLosesNothing(t *testing.T) {
	dir := bare(t)
	r := open(t, dir)
	const ref = "refs/notes/plumbline"
	var conflicts atomic.Int32
	var running sync.WaitGroup
	for i := range 6 {
		running.Go(func() {
			for {
				refs, err := r.Refs(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				at := refs[ref]
				if at != "" {
					if err := r.Fetch(t.Context(), map[string]string{ref: at}); errors.Is(err, plumbline.ErrNotFound) {
						continue
					} else if err != nil {
						t.Error(err)
						return
					}
				}
				_, err = r.PushCommit(t.Context(), NewCommit{Parent: at, Expect: at, Ref: ref, Files: map[string][]byte{string(rune('a' + i)): []byte("x")},
					Message: "note", Author: "P <p@example.com>", When: time.Unix(1_750_000_000, 0)})
				if err == nil {
					return
				}
				if !errors.Is(err, plumbline.ErrConflict) {
					t.Error(err)
					return
				}
				conflicts.Add(1)
			}
		})
	}
	running.Wait()
	files, err := r.ReadFiles(t.Context(), pull(t, r)[ref])
	if err != nil || len(files) != 6 {
		t.Errorf("%d files after %d conflicts, %v", len(files), conflicts.Load(), err)
	}
}

func TestPushCommitRefusesNonsense(t *testing.T) {
	dir := bare(t)
	a := commit(t, dir, "main", nil, file("a", "1"))
	b := commit(t, dir, "other", nil, file("a", "2"))
	r := open(t, dir)
	pull(t, r)
	good := NewCommit{Ref: "refs/notes/x", Author: "P <p@example.com>", When: time.Unix(0, 0)}
	for name, change := range map[string]func(*NewCommit){
		"ref":          func(c *NewCommit) { c.Ref = "main" },
		"ref path":     func(c *NewCommit) { c.Ref = "refs/heads/../../config" },
		"author":       func(c *NewCommit) { c.Author = "nobody" },
		"file path":    func(c *NewCommit) { c.Files = map[string][]byte{"../x": nil} },
		"file in .git": func(c *NewCommit) { c.Files = map[string][]byte{".git": nil} },
		"no parent":    func(c *NewCommit) { c.Expect = a },
		"other line":   func(c *NewCommit) { c.Expect, c.Parent = a, b },
	} {
		c := good
		change(&c)
		_, err := r.PushCommit(t.Context(), c)
		if !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
