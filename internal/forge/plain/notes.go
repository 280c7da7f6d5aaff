package plain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	notesRef = "refs/notes/plumbline"
	attempts = 6 // the first, then five when others push at the same time
)

// ReadOnlyError says that the remote does not take notes. It is returned once; from then on nothing is written, and
// notes and statuses are on Plumbline's page only. It is a plumbline.ErrDenied.
type ReadOnlyError struct{ Err error }

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("the remote does not take notes, which are on Plumbline's page only until it is restarted: %v; "+
		"let it push to %s, or set notes = false", e.Err, notesRef)
}

// Unwrap returns the refusal and its kind.
func (e *ReadOnlyError) Unwrap() []error { return []error{plumbline.ErrDenied, e.Err} }

// keeper reads and writes the ref that holds Git notes.
type keeper struct {
	repo     Notes
	author   string
	now      func() time.Time
	readOnly atomic.Bool

	mu   sync.Mutex // one edit at a time: this process does not race with itself
	last *snapshot  // as of the last edit; nil before
}

// edit changes pages in one commit on the ref, on top of what others push meanwhile. change returns pages by commit; it
// may be called several times. Where nothing changes, nothing is pushed.
func (k *keeper) edit(ctx context.Context, message string, change func(*snapshot) (map[string]page, error)) error {
	if k.readOnly.Load() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	snap, fresh := k.last, false
	var conflict error
	for range attempts {
		if snap == nil {
			var err error
			if snap, err = k.look(ctx); err != nil {
				return fmt.Errorf("read %s: %w", notesRef, err)
			}
			fresh = true
		}
		changed, err := change(snap)
		if err != nil {
			return fmt.Errorf("read %s: %w", notesRef, err)
		}
		files, err := snap.files(changed)
		if err != nil {
			return fmt.Errorf("read %s: %w", notesRef, err)
		}
		if len(files) == 0 {
			if fresh {
				return nil
			}
			snap = nil // it is what it should be as far as we remember: make sure
			continue
		}
		tip, err := k.repo.PushCommit(ctx, git.NewCommit{
			Parent: snap.tip, Files: files, Ref: notesRef, Expect: snap.tip,
			Message: message + "\n", Author: k.author, When: k.now(),
		})
		switch {
		case err == nil:
			k.last = k.after(tip, snap, changed)
			return nil
		case errors.Is(err, plumbline.ErrConflict):
			conflict, snap, k.last = err, nil, nil
		case refused(err):
			k.readOnly.Store(true)
			return &ReadOnlyError{err}
		default:
			return fmt.Errorf("write %s: %w", notesRef, err)
		}
	}
	return fmt.Errorf("write %s: others were quicker %d times: %w", notesRef, attempts, conflict)
}

// refused tells a remote that lets us read and not write from one that has a bad day. Git's own refusals reach us as
// text: of a hook, of receive.hideRefs, of a repository on disk that belongs to somebody else.
func refused(err error) bool {
	if errors.Is(err, plumbline.ErrDenied) {
		return true
	}
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc([]string{
		"hook declined", "deny updating", "permission denied", "insufficient permission", "read-only file system",
		"prohibited", "not allowed", "unpacker error", "unable to create temporary",
	}, func(s string) bool { return strings.Contains(text, s) })
}

// look reads where the ref is now.
func (k *keeper) look(ctx context.Context) (*snapshot, error) {
	refs, err := k.repo.Refs(ctx)
	if err != nil {
		return nil, err
	}
	tip := refs[notesRef]
	if k.last != nil && k.last.tip == tip {
		return k.last, nil
	}
	if tip != "" {
		if err := k.repo.Fetch(ctx, map[string]string{notesRef: tip}); err != nil {
			return nil, err
		}
	}
	return k.open(tip)
}

// open lists the notes of a commit of the ref. Git spreads many notes over directories by the first digits of their
// commits ("ab/cd12…"); both forms are read.
func (k *keeper) open(tip string) (*snapshot, error) {
	s := &snapshot{tip: tip, paths: map[string][]string{}, odd: map[string]string{}}
	if tip == "" {
		return s, nil
	}
	var err error
	if s.fs, err = k.repo.FS(tip); err != nil {
		return nil, err
	}
	err = fs.WalkDir(s.fs, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		dir, _, _ := strings.Cut(path, "/")
		if commit := strings.ReplaceAll(path, "/", ""); d.Type().IsRegular() && validCommit(commit) == nil {
			s.paths[commit] = append(s.paths[commit], path)
		} else if s.odd[dir] == "" {
			s.odd[dir] = path
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// after is the snapshot that follows an own push. Without it, each edit would read all the notes again.
func (k *keeper) after(tip string, was *snapshot, changed map[string]page) *snapshot {
	s, err := k.open(tip)
	if err != nil {
		return nil // the next edit looks again
	}
	if was.held == nil {
		return s
	}
	s.held = was.held
	for key, commits := range s.held {
		s.held[key] = slices.DeleteFunc(commits, func(c string) bool {
			_, ok := changed[c]
			return ok
		})
	}
	for commit, pg := range changed {
		s.hold(commit, pg)
	}
	return s
}

// snapshot is the ref at one commit.
type snapshot struct {
	tip   string // "": the ref is not there
	fs    *git.FS
	paths map[string][]string // of the notes by the commit they are on
	odd   map[string]string   // first file that is no note, by its first directory
	held  map[string][]string // commits by the keys of the notes on them; nil: not read yet
}

// page returns the note of a commit, an empty one when there is none.
func (s *snapshot) page(commit string) (page, error) {
	b, err := s.raw(commit)
	return parsePage(b), err
}

func (s *snapshot) raw(commit string) ([]byte, error) {
	var all []byte
	for _, path := range s.paths[commit] {
		b, err := s.fs.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			all = append(all, '\n') // as Git puts two notes on one commit together
		}
		all = append(all, b...)
	}
	return all, nil
}

// holders returns the commits whose pages have a note with that key. The first call reads all pages.
func (s *snapshot) holders(key string) ([]string, error) {
	if s.held == nil {
		s.held = map[string][]string{}
		for commit := range s.paths {
			pg, err := s.page(commit)
			var large *git.TooLargeError
			if errors.As(err, &large) {
				continue // not ours: ours are short
			}
			if err != nil {
				s.held = nil
				return nil, err
			}
			s.hold(commit, pg)
		}
	}
	return slices.Sorted(slices.Values(s.held[key])), nil
}

func (s *snapshot) hold(commit string, pg page) {
	for _, n := range pg.notes {
		if !slices.Contains(s.held[n.key], commit) {
			s.held[n.key] = append(s.held[n.key], commit)
		}
	}
}

// files returns what to change in the top directory so that the pages are as given. Pages are written flat; a directory
// that held one is dissolved, since a note in two places would be shown twice.
func (s *snapshot) files(pages map[string]page) (map[string][]byte, error) {
	out := map[string][]byte{}
	changed := map[string][]byte{}
	for commit, pg := range pages {
		was, err := s.page(commit)
		if err != nil {
			return nil, err
		}
		content := pg.format()
		if bytes.Equal(was.format(), content) {
			continue
		}
		changed[commit] = content
		for _, path := range s.paths[commit] {
			if dir, _, nested := strings.Cut(path, "/"); nested {
				if err := s.dissolve(dir, out); err != nil {
					return nil, err
				}
			}
		}
	}
	maps.Copy(out, changed)
	return out, nil
}

// dissolve puts the notes of a directory into the top one.
func (s *snapshot) dissolve(dir string, out map[string][]byte) error {
	if path := s.odd[dir]; path != "" {
		return fmt.Errorf("%s holds notes, and %s, which is none: move it away: %w", dir, path, plumbline.ErrConflict)
	}
	out[dir] = nil
	for commit, paths := range s.paths {
		if slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, dir+"/") }) {
			b, err := s.raw(commit)
			if err != nil {
				return err
			}
			out[commit] = b
		}
	}
	return nil
}
