package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Edit describes a commit that changes what is in some files.
type Edit struct {
	Onto    string            // commit, which the remote has too: the parent
	Files   map[string][]byte // path to content; each is there in Onto, as a file
	Ref     string            // full name of the ref to push to
	Expect  string            // commit that Ref is at now, whatever its history: it is left behind; "": Ref does not exist
	Message string
	Author  string // "Name <address>"; committer too
	When    time.Time
}

// PushEdit makes the commit in the mirror, pushes it and returns its hash. Everything but the named files stays as in Onto, their modes too.
//
// The ref is taken from Expect to the commit although that may not follow it, so it must be one that is nobody else's. A ref that is neither there nor at the
// commit already is plumbline.ErrConflict, and nothing has changed. The same Edit makes the same commit.
func (r *Repo) PushEdit(ctx context.Context, c Edit) (commit string, err error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("change files of %s in %s: %w", plumbline.Short(c.Onto), r.name, err)
	}
	if err := r.checkPush(ctx, c.Ref, "", c.Onto); err != nil {
		return fail(err)
	}
	who, err := signature(c.Author, c.When)
	if err != nil {
		return fail(err)
	}
	top, err := r.tree(c.Onto)
	if err != nil {
		return fail(err)
	}
	st := r.objects.open()
	defer func() { err = errors.Join(err, st.Close()) }()
	m := &maker{st: st}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		if top, err = r.edited(ctx, m, top, name, c.Files[name]); err != nil {
			return fail(fmt.Errorf("%s: %w", name, err))
		}
	}
	h, err := m.put((&object.Commit{
		Author: who, Committer: who, Message: c.Message, TreeHash: top, ParentHashes: []plumbing.Hash{plumbing.NewHash(c.Onto)},
	}).Encode)
	if err != nil {
		return fail(err)
	}
	if h.String() == c.Expect {
		return h.String(), nil
	}
	err = r.send(ctx, st, c.Ref, plumbing.NewHash(c.Expect), h, m.made)
	if errors.Is(err, plumbline.ErrConflict) {
		if refs, lerr := r.Refs(ctx); lerr == nil && refs[c.Ref] == h.String() {
			err = nil
		}
	}
	if err != nil {
		return "", err
	}
	return h.String(), nil
}

// edited returns a tree in which one file has another content.
func (r *Repo) edited(ctx context.Context, m *maker, tree plumbing.Hash, name string, content []byte) (plumbing.Hash, error) {
	if err := ctx.Err(); err != nil {
		return tree, err
	}
	first, rest, deeper := strings.Cut(name, "/")
	entries, err := r.objects.entries(tree)
	if err != nil {
		return tree, err
	}
	i := slices.IndexFunc(entries, func(e object.TreeEntry) bool { return e.Name == first })
	switch {
	case i < 0:
		return tree, fmt.Errorf("it is not there: %w", plumbline.ErrNotFound)
	case deeper != (entries[i].Mode == filemode.Dir), !deeper && entries[i].Mode != filemode.Regular && entries[i].Mode != filemode.Executable:
		return tree, fmt.Errorf("it is no file: %w", plumbline.ErrInvalid)
	}
	entries = slices.Clone(entries)
	if deeper {
		entries[i].Hash, err = r.edited(ctx, m, entries[i].Hash, rest, content)
	} else {
		entries[i].Hash, err = m.put(func(obj plumbing.EncodedObject) error {
			obj.SetType(plumbing.BlobObject)
			w, err := obj.Writer()
			if err != nil {
				return err
			}
			_, err = w.Write(content)
			return errors.Join(err, w.Close())
		})
	}
	if err != nil {
		return tree, err
	}
	return m.put((&object.Tree{Entries: entries}).Encode)
}

// Directory returns the files of one directory of a commit or tree by name, without those of its subdirectories. Links are left out.
func (r *Repo) Directory(treeish, dir string) (map[string][]byte, error) {
	fsys, err := r.FS(treeish)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if out[e.Name()], err = fs.ReadFile(fsys, path.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return out, nil
}
