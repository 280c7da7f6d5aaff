// Package plain makes a forge of a bare Git remote.
//
// A proposal is a branch propose/<environment branch>/<name>. What other forges show beside a merge request or a commit
// is kept in Git notes, which `git log --notes=plumbline` shows once they are fetched:
//
//	git fetch origin refs/notes/plumbline:refs/notes/plumbline
package plain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Notes is the repository in which notes are kept. A *git.Repo is one.
type Notes interface {
	Refs(ctx context.Context) (map[string]string, error)
	Fetch(ctx context.Context, refs map[string]string) error
	FS(treeish string) (*git.FS, error)
	PushCommit(ctx context.Context, c git.NewCommit) (commit string, err error)
}

var _ Notes = (*git.Repo)(nil)

// Config makes a Client.
type Config struct {
	Branches []string // of environments, without refs/heads/
	Notes    Notes    // nil: statuses and notes are on Plumbline's page only
	Author   string   // of the commits that hold notes; default "Plumbline <plumbline@localhost>"
	// Describe returns the subject and author of a commit, empty when the mirror does not have it. Without it, a
	// proposal's title is its name.
	Describe func(ctx context.Context, commit string) (title, author string)
	Now      func() time.Time // default time.Now
}

const (
	prefix    = "refs/heads/propose/"
	noteLimit = 256 << 10
	// Each status is one line.
	contextLimit, descriptionLimit = 255, 255
)

// Client is a bare remote as a forge. It is a forge.Client.
type Client struct {
	branches []string // longest first
	describe func(ctx context.Context, commit string) (title, author string)
	notes    *keeper // nil: off

	mu     sync.Mutex
	listed map[string]plumbline.MergeRequest // by the last look
}

var _ forge.Client = (*Client)(nil)

// New returns a Client. It does not connect.
func New(c Config) *Client {
	if c.Author == "" {
		c.Author = "Plumbline <plumbline@localhost>"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Client{branches: slices.Clone(c.Branches), describe: c.Describe}
	slices.SortFunc(p.branches, func(a, b string) int { return len(b) - len(a) })
	if c.Notes != nil {
		p.notes = &keeper{repo: c.Notes, author: c.Author, now: c.Now}
	}
	return p
}

// NoteLimit is the longest note in bytes.
func (p *Client) NoteLimit() int { return noteLimit }

// ReadOnly reports whether the remote refused a push: notes are off since then.
func (p *Client) ReadOnly() bool { return p.notes != nil && p.notes.readOnly.Load() }

// MergeRequests reads the proposals off the refs, sorted by ID. Their ID is "<environment branch>/<name>", which is
// what follows propose/ in the branch. Where one environment's branch is the beginning of another's, the longer one is
// meant. Their State is empty: whoever has the history knows what is merged.
func (p *Client) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	listed := map[string]plumbline.MergeRequest{}
	var out []plumbline.MergeRequest
	for ref, head := range refs {
		id, ok := strings.CutPrefix(ref, prefix)
		if !ok {
			continue
		}
		target, name, ok := p.split(id)
		if !ok {
			continue
		}
		mr := plumbline.MergeRequest{ID: id, Title: name, Source: strings.TrimPrefix(ref, "refs/heads/"), HeadRef: ref, Head: head, Target: target}
		if p.describe != nil {
			if title, author := p.describe(ctx, head); title != "" {
				mr.Title, mr.Author = title, author
			}
		}
		listed[id] = mr
		out = append(out, mr)
	}
	slices.SortFunc(out, func(a, b plumbline.MergeRequest) int { return strings.Compare(a.ID, b.ID) })
	p.mu.Lock()
	p.listed = listed
	p.mu.Unlock()
	return out, nil
}

// split tells an environment's branch from the proposal's name behind it.
func (p *Client) split(id string) (branch, name string, ok bool) {
	for _, b := range p.branches {
		if name, ok := strings.CutPrefix(id, b+"/"); ok && name != "" {
			return b, name, true
		}
	}
	return "", "", false
}

// MergeRequest returns a proposal that was there at the last look.
func (p *Client) MergeRequest(_ context.Context, id string) (plumbline.MergeRequest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mr, ok := p.listed[id]
	if !ok {
		return mr, fmt.Errorf("branch propose/%s: %w", id, plumbline.ErrNotFound)
	}
	return mr, nil
}

// UpsertNote writes the note into the Git note of the proposal's head. When the head has moved since, the note moves
// along in the same commit.
func (p *Client) UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error {
	return p.Tell(ctx, mr, marker, body, nil)
}

// Tell writes the note of a proposal and statuses of its head with one push.
func (p *Client) Tell(ctx context.Context, mr plumbline.MergeRequest, marker, body string, all []plumbline.CommitStatus) error {
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return err
	}
	if err := validCommit(mr.Head); err != nil {
		return err
	}
	fit, err := fitting(all)
	if err != nil || p.notes == nil {
		return err
	}
	key := keyOf(marker)
	return p.notes.edit(ctx, "Note on "+mr.Head, func(s *snapshot) (map[string]page, error) {
		elsewhere, err := s.holders(key)
		if err != nil {
			return nil, err
		}
		changed := map[string]page{}
		for _, commit := range append(elsewhere, mr.Head) {
			if _, done := changed[commit]; done {
				continue
			}
			pg, err := s.page(commit)
			if err != nil {
				return nil, err
			}
			if commit == mr.Head {
				pg.setNote(key, body)
				for _, s := range fit {
					pg.setStatus(s)
				}
			} else {
				pg.dropNote(key)
			}
			changed[commit] = pg
		}
		return changed, nil
	})
}

// fitting makes statuses that fit on their lines.
func fitting(all []plumbline.CommitStatus) ([]plumbline.CommitStatus, error) {
	fit := make([]plumbline.CommitStatus, len(all))
	for i, s := range all {
		fit[i] = clean(forge.Fit(s, contextLimit, descriptionLimit))
		if !sayable(fit[i]) {
			return nil, fmt.Errorf("status %q with state %q: %w", s.Context, s.State, plumbline.ErrInvalid)
		}
	}
	return fit, nil
}

// SetStatus writes the status into the Git note of the commit, in place of the one of that context.
func (p *Client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	return p.SetStatuses(ctx, commit, []plumbline.CommitStatus{s})
}

// SetStatuses writes several statuses of a commit with one push.
func (p *Client) SetStatuses(ctx context.Context, commit string, all []plumbline.CommitStatus) error {
	if err := validCommit(commit); err != nil {
		return err
	}
	fit, err := fitting(all)
	if err != nil || p.notes == nil || len(all) == 0 {
		return err
	}
	return p.notes.edit(ctx, "Status of "+commit, func(snap *snapshot) (map[string]page, error) {
		pg, err := snap.page(commit)
		if err != nil {
			return nil, err
		}
		for _, s := range fit {
			pg.setStatus(s)
		}
		return map[string]page{commit: pg}, nil
	})
}

func validCommit(s string) error {
	if (len(s) == 40 || len(s) == 64) && isHex(s) {
		return nil
	}
	return fmt.Errorf("%.80q is not a full commit hash: %w", s, plumbline.ErrInvalid)
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}
