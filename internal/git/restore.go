package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Restore describes a commit that puts files back to what they were.
type Restore struct {
	Onto    string   // commit, which the remote has too: the parent
	To      string   // commit whose files come back; in the mirror is enough
	Dirs    []string // only these directories, slash-separated, with all that is in them; none: the whole tree
	Ref     string   // full name of the ref to push to
	Expect  string   // commit that Ref is at now, Onto or an ancestor of it; "": Ref does not exist
	Message string
	Author  string // "Name <address>"; committer too
	When    time.Time
}

// PushRestore makes the commit in the mirror, pushes it and returns its hash. What is outside of Dirs stays as in Onto;
// a directory that To does not have is removed, one that only To has comes back. When nothing would differ from Onto,
// nothing is pushed: changed is false, and the commit is Onto.
//
// The same Restore makes the same commit, so that one whose answer was lost can be pushed again: a ref that is already at
// the commit is not an error. A ref that is neither there nor at Expect is plumbline.ErrConflict, and nothing has changed.
func (r *Repo) PushRestore(ctx context.Context, c Restore) (commit string, changed bool, err error) {
	fail := func(err error) (string, bool, error) {
		return "", false, fmt.Errorf("restore %s in %s: %w", plumbline.Short(c.To), r.name, err)
	}
	if err := r.checkPush(ctx, c.Ref, c.Expect, c.Onto); err != nil {
		return fail(err)
	}
	who, err := signature(c.Author, c.When)
	if err != nil {
		return fail(err)
	}
	dirs, err := splitDirs(c.Dirs)
	if err != nil {
		return fail(err)
	}
	onto, err := r.tree(c.Onto)
	if err != nil {
		return fail(err)
	}
	to, err := r.tree(c.To)
	if err != nil {
		return fail(err)
	}
	st := r.objects.open()
	defer func() { err = errors.Join(err, st.Close()) }()
	g := graft{ctx: ctx, o: &r.objects, m: maker{st: st}, sent: map[plumbing.Hash]bool{}}
	top, err := g.tree("", onto, to, dirs)
	if err == nil && top.IsZero() {
		top, err = g.m.put((&object.Tree{}).Encode)
	}
	if err != nil {
		return fail(err)
	}
	if top == onto {
		return c.Onto, false, nil
	}
	h, err := g.m.put((&object.Commit{
		Author: who, Committer: who, Message: c.Message, TreeHash: top, ParentHashes: []plumbing.Hash{plumbing.NewHash(c.Onto)},
	}).Encode)
	if err != nil {
		return fail(err)
	}
	err = r.send(ctx, st, c.Ref, plumbing.NewHash(c.Expect), h, g.objects())
	if errors.Is(err, plumbline.ErrConflict) {
		if refs, lerr := r.Refs(ctx); lerr == nil && refs[c.Ref] == h.String() {
			err = nil
		}
	}
	if err != nil {
		return "", false, err
	}
	return h.String(), true, nil
}

// splitDirs splits directories into their names; none is the whole tree.
func splitDirs(dirs []string) ([][]string, error) {
	if len(dirs) == 0 {
		return [][]string{nil}, nil
	}
	var out [][]string
	for _, d := range dirs {
		names := strings.Split(d, "/")
		for _, n := range names {
			if why := refuseName(n); why != "" {
				return nil, fmt.Errorf("directory %q: %s: %w", d, why, plumbline.ErrInvalid)
			}
		}
		out = append(out, names)
	}
	return out, nil
}

// graft puts directories of one tree into another. Trees in which nothing differs are kept by their hash, so that
// whatever they hold stays as it is.
type graft struct {
	ctx  context.Context
	o    *objects
	m    maker
	sent map[plumbing.Hash]bool // what comes back: the remote may have dropped it since
}

func (g *graft) objects() []plumbing.Hash {
	for _, h := range g.m.made {
		g.sent[h] = true
	}
	return slices.Collect(maps.Keys(g.sent))
}

func (g *graft) entries(h plumbing.Hash) ([]object.TreeEntry, error) {
	if err := g.ctx.Err(); err != nil {
		return nil, err
	}
	if h.IsZero() {
		return nil, nil
	}
	return g.o.entries(h)
}

// tree returns the tree onto with dirs as in to; the zero hash is a directory that is not there.
func (g *graft) tree(at string, onto, to plumbing.Hash, dirs [][]string) (plumbing.Hash, error) {
	if onto == to {
		return onto, nil
	}
	below := map[string][][]string{}
	for _, d := range dirs {
		if len(d) == 0 {
			return to, g.back(onto, to)
		}
		below[d[0]] = append(below[d[0]], d[1:])
	}
	ours, err := g.entries(onto)
	if err != nil {
		return onto, err
	}
	theirs, err := g.entries(to)
	if err != nil {
		return onto, err
	}
	changed := false
	for _, name := range slices.Sorted(maps.Keys(below)) {
		was, now := find(ours, name), find(theirs, name)
		if whole(below[name]) {
			if err := g.entry(was, now); err != nil {
				return onto, err
			}
		} else {
			h, err := g.tree(at+name+"/", directory(was), directory(now), below[name])
			switch {
			case err != nil:
				return onto, err
			case h == directory(was):
				now = was
			case !was.Hash.IsZero() && was.Mode != filemode.Dir:
				return onto, fmt.Errorf("%s%s is no directory, and outside of what comes back: %w", at, name, plumbline.ErrInvalid)
			case h.IsZero():
				now = object.TreeEntry{}
			default:
				now = object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: h}
			}
		}
		if was == now {
			continue
		}
		changed = true
		ours = slices.DeleteFunc(ours, func(e object.TreeEntry) bool { return e.Name == name })
		if !now.Hash.IsZero() {
			ours = append(ours, now)
		}
	}
	switch {
	case !changed:
		return onto, nil
	case len(ours) == 0:
		return plumbing.ZeroHash, nil // Git keeps no empty directories
	}
	slices.SortFunc(ours, compareEntries)
	return g.m.put((&object.Tree{Entries: ours}).Encode)
}

func whole(dirs [][]string) bool {
	return slices.ContainsFunc(dirs, func(d []string) bool { return len(d) == 0 })
}

func find(entries []object.TreeEntry, name string) object.TreeEntry {
	for _, e := range entries {
		if e.Name == name {
			return e
		}
	}
	return object.TreeEntry{}
}

func directory(e object.TreeEntry) plumbing.Hash {
	if e.Mode == filemode.Dir {
		return e.Hash
	}
	return plumbing.ZeroHash
}

// entry notes the objects of an entry that comes back in the place of another.
func (g *graft) entry(was, now object.TreeEntry) error {
	switch {
	case was.Hash == now.Hash || now.Hash.IsZero() || now.Mode == filemode.Submodule: // a submodule's commit is elsewhere
		return nil
	case now.Mode == filemode.Dir:
		return g.back(directory(was), now.Hash)
	}
	g.sent[now.Hash] = true
	return nil
}

func (g *graft) back(was, now plumbing.Hash) error {
	if was == now || now.IsZero() || g.sent[now] {
		return nil
	}
	g.sent[now] = true
	ours, err := g.entries(was)
	if err != nil {
		return err
	}
	theirs, err := g.entries(now)
	if err != nil {
		return err
	}
	had := make(map[string]object.TreeEntry, len(ours))
	for _, e := range ours {
		had[e.Name] = e
	}
	for _, e := range theirs {
		if err := g.entry(had[e.Name], e); err != nil {
			return err
		}
	}
	return nil
}
