package git

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Commit is one commit of a repository's history.
type Commit struct {
	Hash    string
	Author  string
	Email   string
	Subject string // first paragraph of the message, in one line
	Body    string // the rest
	When    time.Time
	Parents []string
}

// IsAncestor reports whether b contains a: whether a is b or can be reached from it. A commit that is not in the mirror
// is plumbline.ErrNotFound.
//
// Both histories are walked from the newest commit on, so that the answer is found near the tips. Dates decide only the
// order of the walk: wrong clocks make it longer, never wrong.
func (r *Repo) IsAncestor(ctx context.Context, a, b string) (bool, error) {
	w := walk{r: r, flags: map[plumbing.Hash]flag{}}
	ha, err := w.push(a, stale)
	if err != nil {
		return false, err
	}
	if _, err := w.push(b, wanted); err != nil {
		return false, err
	}
	for w.live > 0 {
		if w.flags[ha]&wanted != 0 {
			return true, nil
		}
		c, f, err := w.pop(ctx)
		if err != nil {
			return false, err
		}
		if err := w.parents(c, f); err != nil {
			return false, err
		}
	}
	return w.flags[ha]&wanted != 0, nil
}

// Log returns the commits that can be reached from to but not from from, newest first, at most max of them (0: all).
// With an empty from it goes back to the beginning.
func (r *Repo) Log(ctx context.Context, from, to string, max int) ([]Commit, error) {
	stop := 0
	if from == "" { // else those found first may turn out to be from's
		stop = max
	}
	found, _, err := r.between(ctx, from, to, stop)
	if err != nil {
		return nil, err
	}
	if max > 0 && len(found) > max {
		found = found[:max]
	}
	var out []Commit
	for _, c := range found {
		out = append(out, describe(c))
	}
	return out, nil
}

// between returns the commits that can be reached from to but not from from, newest first; none means the beginning. It
// does not go on when it has found stop of them (0: never); all reports whether it came to the end.
func (r *Repo) between(ctx context.Context, from, to string, stop int) (commits []*object.Commit, all bool, err error) {
	w := walk{r: r, flags: map[plumbing.Hash]flag{}}
	if from != "" {
		if _, err := w.push(from, stale); err != nil {
			return nil, false, err
		}
	}
	if _, err := w.push(to, wanted); err != nil {
		return nil, false, err
	}
	all = true
	for left := slop; len(w.queue) > 0; {
		if w.live > 0 {
			left = slop
		} else if left--; left < 0 || from == "" {
			break
		}
		if stop > 0 && len(commits) == stop {
			all = false
			break
		}
		c, f, err := w.pop(ctx)
		if err != nil {
			return nil, false, err
		}
		if f == wanted {
			commits = append(commits, c)
		}
		if err := w.parents(c, f); err != nil {
			return nil, false, err
		}
	}
	return slices.DeleteFunc(commits, func(c *object.Commit) bool { return w.flags[c.Hash]&stale != 0 }), all, nil
}

// slop is how many commits Log looks at after the last that matters: one with a wrong clock may still lead to commits
// that from contains. It is what git log allows too.
const slop = 5

func describe(c *object.Commit) Commit {
	subject, body, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(c.Message, "\r\n", "\n")), "\n\n")
	out := Commit{
		Hash: c.Hash.String(), Author: c.Author.Name, Email: c.Author.Email, When: c.Author.When,
		Subject: strings.Join(strings.Fields(subject), " "), Body: strings.TrimSpace(body),
	}
	for _, p := range c.ParentHashes {
		out.Parents = append(out.Parents, p.String())
	}
	return out
}

// Authors returns the e-mail addresses of all who had a hand in the commits that can be reached from head and not from
// base, and that change anything in paths (none: anything at all): authors and those of Co-authored-by trailers, wherever
// in the message these stand; in lower case, sorted, each once. Committers are whoever pressed the button; so are the
// authors of merges that Git would have made as they are. It says who may not be the only one to approve, so more than max
// commits (0: 10,000) are plumbline.ErrInvalid rather than a part of the answer. Addresses are what commits claim: where
// they must be true, demand signatures.
func (r *Repo) Authors(ctx context.Context, base, head string, paths []string, max int) (_ []string, err error) {
	if max <= 0 {
		max = maxHistory
	}
	commits, err := r.within(ctx, base, head, max)
	if err != nil {
		return nil, err
	}
	st := r.objects.open()
	defer func() { err = errors.Join(err, st.Close()) }()
	var own []*object.Commit
	for _, c := range commits {
		changes, err := r.changes(ctx, st, c, paths)
		if err != nil {
			return nil, fmt.Errorf("look at commit %s: %w", plumbline.Short(c.Hash.String()), err)
		}
		if changes {
			own = append(own, c)
		}
	}
	return hands(own), nil
}

// changes reports whether a commit differs from each of its parents in one of the paths, and not only since it brings them together.
func (r *Repo) changes(ctx context.Context, st storer.EncodedObjectStorer, c *object.Commit, paths []string) (bool, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	trees := make([]*object.Tree, 0, 1+len(c.ParentHashes))
	for i, h := range append([]plumbing.Hash{c.Hash}, c.ParentHashes...) {
		commit := c
		if i > 0 {
			var err error
			if commit, err = object.GetCommit(st, h); err != nil {
				return false, err
			}
		}
		t, err := object.GetTree(st, commit.TreeHash)
		if err != nil {
			return false, err
		}
		trees = append(trees, t)
	}
	for _, p := range paths {
		at := make([]plumbing.Hash, len(trees))
		for i, t := range trees {
			if p == "." {
				at[i] = t.Hash
				continue
			}
			e, err := t.FindEntry(p)
			if err == nil {
				at[i] = e.Hash
			} else if !errors.Is(err, object.ErrEntryNotFound) && !errors.Is(err, object.ErrDirectoryNotFound) {
				return false, err
			}
		}
		if !slices.Contains(at[1:], at[0]) {
			if len(c.ParentHashes) != 2 {
				return len(c.ParentHashes) > 0 || !at[0].IsZero(), nil
			}
			tree, _, err := r.Merge(ctx, c.ParentHashes[0].String(), c.ParentHashes[1].String())
			if err != nil && !errors.Is(err, plumbline.ErrMergeConflict) {
				return false, err
			}
			return err != nil || tree != c.TreeHash.String(), nil
		}
	}
	return false, nil
}

// Wrote returns the addresses of all who had a hand in one commit, as Authors does.
func (r *Repo) Wrote(ctx context.Context, commit string) ([]string, error) {
	commits, _, err := r.between(ctx, "", commit, 1)
	if err != nil {
		return nil, err
	}
	return hands(commits[:min(1, len(commits))]), nil
}

func hands(commits []*object.Commit) []string {
	var out []string
	for _, c := range commits {
		out = append(out, c.Author.Email)
		for line := range strings.Lines(c.Message) {
			const trailer = "co-authored-by:"
			if line = strings.TrimSpace(line); len(line) < len(trailer) || !strings.EqualFold(line[:len(trailer)], trailer) {
				continue
			}
			address := line[len(trailer):]
			if from := strings.LastIndexByte(address, '<'); from >= 0 {
				address, _, _ = strings.Cut(address[from+1:], ">")
			}
			out = append(out, address)
		}
	}
	for i, a := range out {
		out[i] = strings.ToLower(strings.TrimSpace(a))
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return slices.DeleteFunc(out, func(a string) bool { return a == "" })
}

// Contains tells of each commit whether it is head or can be reached from it. Commits that are not in the mirror are
// not; a head that is not there is plumbline.ErrNotFound.
//
// One walk back from head finds them, as far as their dates go; what it does not find is looked for one by one, which
// wrong clocks make longer and nothing makes wrong.
func (r *Repo) Contains(ctx context.Context, head string, commits []string) (map[string]bool, error) {
	out := make(map[string]bool, len(commits))
	wait := map[string]time.Time{} // to their committers' dates
	for _, commit := range commits {
		out[commit] = false
		h, err := parseHash(commit)
		if err != nil {
			continue
		}
		if c, err := r.objects.commit(h); err == nil {
			wait[commit] = c.Committer.When
		} else if !errors.Is(err, plumbing.ErrObjectNotFound) {
			return nil, r.missing(commit, err)
		}
	}
	w := walk{r: r, flags: map[plumbing.Hash]flag{}}
	if _, err := w.push(head, wanted); err != nil {
		return nil, err
	}
	var oldest time.Time
	for _, when := range wait {
		if oldest.IsZero() || when.Before(oldest) {
			oldest = when
		}
	}
	for len(wait) > 0 && len(w.queue) > 0 && !w.queue[0].Committer.When.Before(oldest) {
		c, f, err := w.pop(ctx)
		if err != nil {
			return nil, err
		}
		if _, asked := wait[c.Hash.String()]; asked {
			out[c.Hash.String()] = true
			delete(wait, c.Hash.String())
		}
		if err := w.parents(c, f); err != nil {
			return nil, err
		}
	}
	for commit := range wait {
		contained, err := r.IsAncestor(ctx, commit, head)
		if err != nil {
			return nil, err
		}
		out[commit] = contained
	}
	return out, nil
}

// flag says from where a commit was reached.
type flag uint8

const (
	wanted  flag = 1 << iota
	stale        // neither it nor what is behind it is of interest
	waiting      // it is in the queue
)

// walk goes back through history, newest commit first.
type walk struct {
	r     *Repo
	queue commitQueue
	flags map[plumbing.Hash]flag
	live  int // commits in the queue that are wanted but not stale
}

func (w *walk) push(commit string, f flag) (plumbing.Hash, error) {
	h, err := parseHash(commit)
	if err != nil {
		return h, err
	}
	return h, w.add(h, f)
}

// add marks a commit; it is visited, even again, when that is news to what is behind it.
func (w *walk) add(h plumbing.Hash, f flag) error {
	old := w.flags[h]
	w.flags[h] = old | f
	switch {
	case old&(f|stale) != 0:
	case old&waiting != 0: // wanted until now
		w.live--
	default:
		c, err := w.r.objects.commit(h)
		if err != nil {
			return w.r.missing(h.String(), err)
		}
		w.flags[h] |= waiting
		heap.Push(&w.queue, c)
		if old|f == wanted {
			w.live++
		}
	}
	return nil
}

func (w *walk) pop(ctx context.Context) (*object.Commit, flag, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	c := heap.Pop(&w.queue).(*object.Commit)
	f := w.flags[c.Hash] &^ waiting
	w.flags[c.Hash] = f
	if f == wanted {
		w.live--
	}
	return c, f, nil
}

func (w *walk) parents(c *object.Commit, f flag) error {
	pass := wanted
	if f&stale != 0 {
		pass = stale
	}
	for _, p := range c.ParentHashes {
		if err := w.add(p, pass); err != nil {
			return err
		}
	}
	return nil
}

// commitQueue is a heap with the newest commit on top.
type commitQueue []*object.Commit

func (q commitQueue) Len() int           { return len(q) }
func (q commitQueue) Less(i, j int) bool { return q[i].Committer.When.After(q[j].Committer.When) }
func (q commitQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *commitQueue) Push(x any)        { *q = append(*q, x.(*object.Commit)) }
func (q *commitQueue) Pop() any {
	old := *q
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return c
}
