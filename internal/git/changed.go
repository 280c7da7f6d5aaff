package git

import (
	"context"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Changed returns the paths that differ between two commits or trees: changed, added, removed; of a renamed file both
// names; sorted. What is not UTF-8 in a name is replaced by U+FFFD. A commit that is not in the mirror (its history was
// rewritten before it was fetched) is plumbline.ErrNotFound.
func (r *Repo) Changed(ctx context.Context, a, b string) ([]string, error) {
	ta, err := r.tree(a)
	if err != nil {
		return nil, err
	}
	tb, err := r.tree(b)
	if err != nil {
		return nil, err
	}
	d := differ{ctx: ctx, o: &r.objects}
	if err := d.trees("", ta, tb); err != nil {
		return nil, r.missing(d.at.String(), err)
	}
	slices.Sort(d.paths)
	return slices.Compact(d.paths), nil
}

// differ walks two trees side by side. Subtrees with the same hash are the same: they are not opened, so that the work
// follows the size of the change rather than that of the repository.
type differ struct {
	ctx   context.Context
	o     *objects
	paths []string
	at    plumbing.Hash // tree that is read
}

func (d *differ) read(h plumbing.Hash) ([]object.TreeEntry, error) {
	if h.IsZero() {
		return nil, nil
	}
	if err := d.ctx.Err(); err != nil {
		return nil, err
	}
	d.at = h
	return d.o.entries(h)
}

// trees compares two directories; the zero hash is an empty one. Entries are in Git's order; should a broken tree have
// them in another, then some that are equal count as changed, never the other way round.
func (d *differ) trees(prefix string, a, b plumbing.Hash) error {
	if a == b {
		return nil
	}
	as, err := d.read(a)
	if err != nil {
		return err
	}
	bs, err := d.read(b)
	if err != nil {
		return err
	}
	for len(as) > 0 || len(bs) > 0 {
		order := 0
		switch {
		case len(as) == 0:
			order = 1
		case len(bs) == 0:
			order = -1
		default:
			order = compareEntries(as[0], bs[0])
		}
		var ea, eb object.TreeEntry
		if order <= 0 {
			ea, as = as[0], as[1:]
		}
		if order >= 0 {
			eb, bs = bs[0], bs[1:]
		}
		if order == 0 && ea.Hash == eb.Hash && ea.Mode == eb.Mode {
			continue
		}
		name := ea.Name
		if order > 0 {
			name = eb.Name
		}
		path := prefix + strings.ToValidUTF8(name, "\uFFFD")
		if ea.Mode == filemode.Dir || eb.Mode == filemode.Dir { // both, or the other is none
			if err := d.trees(path+"/", ea.Hash, eb.Hash); err != nil {
				return err
			}
			continue
		}
		d.paths = append(d.paths, path)
	}
	return nil
}

// compareEntries orders as Git does: a directory's name counts as if it ended in a slash.
func compareEntries(a, b object.TreeEntry) int {
	n := min(len(a.Name), len(b.Name))
	if c := strings.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c
	}
	return int(entryByte(a, n)) - int(entryByte(b, n))
}

func entryByte(e object.TreeEntry, i int) byte {
	if i < len(e.Name) {
		return e.Name[i]
	}
	if e.Mode == filemode.Dir {
		return '/'
	}
	return 0
}
