package git

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// Blobs above this are streamed from the pack: never in memory as a whole, never cached.
	largeObject = 4 << 20
	// Packs kept open by a repository. Reading thousands of objects opens each pack once; a hundred idle repositories
	// stay far from the usual limit of 1,024 files.
	openPacks = 4
)

// objects reads from a mirror's object database. go-git's storage is not safe for concurrent use, and it learns the list
// of packs once; so it is used under a lock, and opened anew when an object is missed while the list has changed (a
// fetch by this or another process).
type objects struct {
	dir   string
	cache cache.Object

	mu    sync.Mutex
	st    *filesystem.Storage
	packs string
}

// open returns a storage of its own, for what must not share one.
func (o *objects) open() *filesystem.Storage {
	return filesystem.NewStorageWithOptions(osfs.New(o.dir), o.cache, filesystem.Options{
		LargeObjectThreshold: largeObject,
		MaxOpenDescriptors:   openPacks,
	})
}

// do calls f with the shared storage, a second time when the first failed for want of a pack that came or went meanwhile.
func (o *objects) do(f func(*filesystem.Storage) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.st == nil {
		if err := o.reopen(); err != nil {
			return err
		}
	}
	err := f(o.st)
	if err == nil {
		return nil
	}
	packs, lerr := o.listPacks()
	if lerr != nil || packs == o.packs {
		return err
	}
	if err := o.reopen(); err != nil {
		return err
	}
	return f(o.st)
}

func (o *objects) reopen() error {
	packs, err := o.listPacks() // before it is read: what comes in between is found by the next miss
	if err != nil {
		return err
	}
	if o.st != nil {
		_ = o.st.Close() // read only
	}
	st := o.open()
	// go-git reads the packs' indexes at the first miss, once: one that cannot be read would look empty from then on.
	if err := st.HasEncodedObject(plumbing.ZeroHash); err != nil && !errors.Is(err, plumbing.ErrObjectNotFound) {
		o.st = nil
		return errors.Join(err, st.Close())
	}
	o.st, o.packs = st, packs
	return nil
}

func (o *objects) listPacks() (string, error) {
	entries, err := os.ReadDir(filepath.Join(o.dir, "objects", "pack"))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".pack") {
			b.WriteString(e.Name())
		}
	}
	return b.String(), nil
}

func (o *objects) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.st == nil {
		return nil
	}
	err := o.st.Close()
	o.st = nil
	return err
}

func (o *objects) commit(h plumbing.Hash) (c *object.Commit, err error) {
	err = o.do(func(st *filesystem.Storage) error {
		c, err = object.GetCommit(st, h)
		return err
	})
	return c, err
}

// entries returns a tree's entries in the order in which they are stored.
func (o *objects) entries(h plumbing.Hash) (es []object.TreeEntry, err error) {
	err = o.do(func(st *filesystem.Storage) error {
		t, err := object.GetTree(st, h)
		if err == nil {
			es = t.Entries
		}
		return err
	})
	return es, err
}

// peel follows a tag or commit to its tree.
func (o *objects) peel(h plumbing.Hash) (tree plumbing.Hash, err error) {
	err = o.do(func(st *filesystem.Storage) error {
		at := h
		for range 8 { // tags of tags
			obj, err := st.EncodedObject(plumbing.AnyObject, at)
			if err != nil {
				return err
			}
			switch obj.Type() {
			case plumbing.TreeObject:
				tree = at
				return nil
			case plumbing.CommitObject:
				c, err := object.DecodeCommit(st, obj)
				if err != nil {
					return err
				}
				at = c.TreeHash
			case plumbing.TagObject:
				t, err := object.DecodeTag(st, obj)
				if err != nil {
					return err
				}
				at = t.Target
			default:
				return fmt.Errorf("%s is a %s: %w", at, obj.Type(), plumbing.ErrObjectNotFound)
			}
		}
		return fmt.Errorf("%s is a tag of tags of tags: %w", h, plumbing.ErrObjectNotFound)
	})
	return tree, err
}

// size returns the length of a blob in bytes.
func (o *objects) size(h plumbing.Hash) (n int64, err error) {
	err = o.do(func(st *filesystem.Storage) error {
		n, err = st.EncodedObjectSize(h)
		return err
	})
	return n, err
}

// read appends a blob to buf and returns its length. Nothing is appended when it is longer than limit.
func (o *objects) read(h plumbing.Hash, buf []byte, limit int64) (out []byte, size int64, err error) {
	if obj, ok := o.cache.Get(h); ok && obj.Type() == plumbing.BlobObject && obj.Size() <= limit {
		out, err = appendObject(buf, obj)
		return out, obj.Size(), err
	}
	out = buf
	err = o.do(func(st *filesystem.Storage) error {
		obj, err := st.EncodedObject(plumbing.BlobObject, h)
		if err != nil {
			return err
		}
		size = obj.Size()
		if size > limit {
			return nil
		}
		out, err = appendObject(buf, obj)
		return err
	})
	return out, size, err
}

func appendObject(buf []byte, obj plumbing.EncodedObject) (out []byte, err error) {
	r, err := obj.Reader()
	if err != nil {
		return buf, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	from, size := len(buf), int(obj.Size())
	if free := cap(buf) - from; free < size || buf == nil { // never nil: an empty file is not a missing one
		buf = append(make([]byte, 0, from+size), buf...)
	}
	out = buf[:from+size]
	_, err = io.ReadFull(r, out[from:])
	return out, err
}

// stream writes a blob of any length to w. It reads through a storage of its own: what go-git does while it streams
// would get in the way of others.
func (o *objects) stream(h plumbing.Hash, w io.Writer) (err error) {
	st := o.open()
	defer func() { err = errors.Join(err, st.Close()) }()
	obj, err := st.EncodedObject(plumbing.BlobObject, h)
	if err != nil {
		return err
	}
	r, err := obj.Reader()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = io.Copy(w, r)
	return err
}
