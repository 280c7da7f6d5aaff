package discover

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// tree is a git tree in memory: immutable, each directory with a hash of all below it. It counts what is read, and is not
// safe for concurrent use, as Stacks promises not to need that.
type tree struct {
	root  *entry
	reads *int
}

type entry struct {
	name string
	mode fs.FileMode
	data []byte
	kids []*entry // sorted by name
	hash string
}

func newTree() tree {
	return tree{root: dirEntry(".", nil), reads: new(int)}
}

func dirEntry(name string, kids []*entry) *entry {
	h := sha256.New()
	for _, k := range kids {
		fmt.Fprintf(h, "%v %q %s\n", k.mode, k.name, k.hash)
	}
	return &entry{name: name, mode: fs.ModeDir | 0o755, kids: kids, hash: string(h.Sum(nil))}
}

// with returns the tree with a file more or another; nil data: without it. A name that ends in "@" is a symbolic link.
func (t tree) with(name string, data []byte) tree {
	mode := fs.FileMode(0o644)
	if link, ok := strings.CutSuffix(name, "@"); ok {
		name, mode = link, fs.ModeSymlink|0o777
	}
	t.root = t.root.set(strings.Split(name, "/"), mode, data)
	return t
}

func (e *entry) find(name string) (int, bool) {
	return sort.Find(len(e.kids), func(i int) int { return strings.Compare(name, e.kids[i].name) })
}

func (e *entry) set(p []string, mode fs.FileMode, data []byte) *entry {
	at, ok := e.find(p[0])
	var kid *entry
	switch {
	case len(p) > 1:
		old := dirEntry(p[0], nil)
		if ok && e.kids[at].mode.IsDir() {
			old = e.kids[at]
		}
		if kid = old.set(p[1:], mode, data); len(kid.kids) == 0 {
			kid = nil
		}
	case data != nil:
		kid = &entry{name: p[0], mode: mode, data: data, hash: fmt.Sprintf("%x", sha256.Sum256(data))}
	}
	kids := append([]*entry{}, e.kids[:at]...)
	if kid != nil {
		kids = append(kids, kid)
	}
	if ok {
		at++
	}
	return dirEntry(e.name, append(kids, e.kids[at:]...))
}

func (t tree) lookup(op, name string) (*entry, error) {
	e := t.root
	if name == "." {
		return e, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		at, ok := e.find(part)
		if !ok {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		e = e.kids[at]
	}
	return e, nil
}

func (t tree) Open(name string) (fs.File, error) {
	e, err := t.lookup("open", name)
	if err != nil {
		return nil, err
	}
	return &openFile{e, bytes.NewReader(e.data)}, nil
}

func (t tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	*t.reads++
	out := make([]fs.DirEntry, len(e.kids))
	for i, k := range e.kids {
		out[i] = k
	}
	return out, nil
}

func (t tree) ReadFile(name string) ([]byte, error) {
	e, err := t.lookup("read", name)
	if err != nil {
		return nil, err
	}
	*t.reads++
	return e.data, nil
}

// plain is the same tree without hashes.
type plain struct{ t tree }

func (p plain) Open(name string) (fs.File, error)          { return p.t.Open(name) }
func (p plain) ReadDir(name string) ([]fs.DirEntry, error) { return p.t.ReadDir(name) }

func (t tree) TreeHash(dir string) (string, error) {
	e, err := t.lookup("hash", dir)
	if err != nil {
		return "", err
	}
	return e.hash, nil
}

type openFile struct {
	*entry
	*bytes.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.entry, nil }
func (f *openFile) Close() error               { return nil }
func (f *openFile) Size() int64                { return f.entry.Size() }

func (e *entry) Name() string               { return e.name }
func (e *entry) IsDir() bool                { return e.mode.IsDir() }
func (e *entry) Type() fs.FileMode          { return e.mode.Type() }
func (e *entry) Info() (fs.FileInfo, error) { return e, nil }
func (e *entry) Size() int64                { return int64(len(e.data)) }
func (e *entry) Mode() fs.FileMode          { return e.mode }
func (e *entry) ModTime() time.Time         { return time.Time{} }
func (e *entry) Sys() any                   { return nil }

func parseTree(t testing.TB, archive []byte) tree {
	t.Helper()
	out := newTree()
	for _, f := range txtar.Parse(archive).Files {
		if path.Clean(f.Name) != f.Name {
			t.Fatalf("bad name %q", f.Name)
		}
		out = out.with(f.Name, f.Data)
	}
	return out
}
