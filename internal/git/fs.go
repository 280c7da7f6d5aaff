package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// FS is the files of a commit, read from the mirror as they are asked for. Symbolic links show as such and are not
// followed: neither is their target opened, nor anything under it. Submodules are irregular files. Entries whose names
// Checkout refuses are not there. It remembers the directories it has read, and is safe for concurrent use.
type FS struct {
	r    *Repo
	root plumbing.Hash

	mu   sync.Mutex
	dirs map[plumbing.Hash][]object.TreeEntry // sorted by name
}

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

// TooLargeError is a file above Config.MaxFile. It is a plumbline.ErrInvalid.
type TooLargeError struct {
	File  string
	Size  int64 // bytes
	Limit int64 // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s has %s; the largest file that is read has %s", e.File, megabytes(e.Size), megabytes(e.Limit))
}

func (e *TooLargeError) Unwrap() error { return plumbline.ErrInvalid }

func megabytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// errLink is opening a symbolic link, which is never followed.
var errLink = errors.New("is a symbolic link")

// FS returns the files of a commit or tree.
func (r *Repo) FS(treeish string) (*FS, error) {
	h, err := r.tree(treeish)
	if err != nil {
		return nil, err
	}
	return &FS{r: r, root: h, dirs: map[plumbing.Hash][]object.TreeEntry{}}, nil
}

// TreeHash returns the hash of a directory, which is the same wherever and whenever its files are the same.
func (f *FS) TreeHash(dir string) (string, error) {
	e, err := f.lookup("hash", dir)
	if err != nil {
		return "", err
	}
	if e.Mode != filemode.Dir {
		return "", &fs.PathError{Op: "hash", Path: dir, Err: errors.New("not a directory")}
	}
	return e.Hash.String(), nil
}

// Open opens a file or directory.
func (f *FS) Open(name string) (fs.File, error) {
	e, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	info := f.info(name, e)
	switch e.Mode {
	case filemode.Dir:
		entries, err := f.list(e.Hash)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openDir{info: info, path: name, entries: f.dirEntries(name, entries)}, nil
	case filemode.Symlink:
		return nil, &fs.PathError{Op: "open", Path: name, Err: errLink}
	case filemode.Submodule:
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is a submodule")}
	}
	return &openFile{f: f, info: info, path: name}, nil
}

// ReadFile returns a file's content. A file above Config.MaxFile is a TooLargeError.
func (f *FS) ReadFile(name string) ([]byte, error) {
	e, err := f.lookup("read", name)
	if err != nil {
		return nil, err
	}
	switch e.Mode {
	case filemode.Dir:
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	case filemode.Symlink:
		return nil, &fs.PathError{Op: "read", Path: name, Err: errLink}
	case filemode.Submodule:
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a submodule")}
	}
	return f.read(name, e)
}

func (f *FS) read(name string, e object.TreeEntry) ([]byte, error) {
	b, size, err := f.r.objects.read(e.Hash, nil, f.r.maxFile)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	if size > f.r.maxFile {
		return nil, &TooLargeError{File: name, Size: size, Limit: f.r.maxFile}
	}
	return b, nil
}

// ReadDir returns a directory's entries, sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if e.Mode != filemode.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries, err := f.list(e.Hash)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return f.dirEntries(name, entries), nil
}

// Stat describes a file, directory or, unlike what follows links, a link itself.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return f.info(name, e).full()
}

// Lstat is Stat.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.Stat(name) }

// ReadLink returns where a symbolic link leads, as it stands in the commit: maybe out of the tree.
func (f *FS) ReadLink(name string) (string, error) {
	e, err := f.lookup("readlink", name)
	if err != nil {
		return "", err
	}
	if e.Mode != filemode.Symlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return f.readLink(name, e.Hash)
}

const maxTarget = 4095 // bytes, of a link's target: PATH_MAX without its end

func (f *FS) readLink(name string, h plumbing.Hash) (string, error) {
	b, size, err := f.r.objects.read(h, nil, maxTarget)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	if size > maxTarget {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fmt.Errorf("its target is %d bytes long", size)}
	}
	return string(b), nil
}

// lookup finds the entry of a path.
func (f *FS) lookup(op, name string) (object.TreeEntry, error) {
	if !fs.ValidPath(name) {
		return object.TreeEntry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at := object.TreeEntry{Mode: filemode.Dir, Hash: f.root}
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if at.Mode != filemode.Dir {
			return at, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		entries, err := f.list(at.Hash)
		if err != nil {
			return at, &fs.PathError{Op: op, Path: name, Err: err}
		}
		i, ok := slices.BinarySearchFunc(entries, part, func(e object.TreeEntry, n string) int { return strings.Compare(e.Name, n) })
		if !ok {
			return at, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		at = entries[i]
	}
	return at, nil
}

// list returns the entries of a tree that can be shown, sorted by name, each name once: the first of it.
func (f *FS) list(h plumbing.Hash) ([]object.TreeEntry, error) {
	f.mu.Lock()
	known, ok := f.dirs[h]
	f.mu.Unlock()
	if ok {
		return known, nil
	}
	entries, err := f.r.objects.entries(h)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e object.TreeEntry) bool { return refuseName(e.Name) != "" })
	slices.SortStableFunc(entries, func(a, b object.TreeEntry) int { return strings.Compare(a.Name, b.Name) })
	entries = slices.CompactFunc(entries, func(a, b object.TreeEntry) bool { return a.Name == b.Name })
	f.mu.Lock()
	f.dirs[h] = entries
	f.mu.Unlock()
	return entries, nil
}

func (f *FS) dirEntries(dir string, entries []object.TreeEntry) []fs.DirEntry {
	out := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		out[i] = f.info(path.Join(dir, e.Name), e)
	}
	return out
}

func (f *FS) info(name string, e object.TreeEntry) *entryInfo {
	return &entryInfo{f: f, name: path.Base(name), mode: fileMode(e.Mode), hash: e.Hash}
}

func fileMode(m filemode.FileMode) fs.FileMode {
	switch m {
	case filemode.Dir:
		return fs.ModeDir | 0o755
	case filemode.Symlink:
		return fs.ModeSymlink | 0o777
	case filemode.Submodule:
		return fs.ModeIrregular
	case filemode.Executable:
		return 0o755
	}
	return 0o644
}

// entryInfo is an entry of a directory, and once its size was read, what Stat returns.
type entryInfo struct {
	f    *FS
	name string
	mode fs.FileMode
	hash plumbing.Hash
	size int64
}

func (e *entryInfo) Name() string               { return e.name }
func (e *entryInfo) Size() int64                { return e.size }
func (e *entryInfo) Mode() fs.FileMode          { return e.mode }
func (e *entryInfo) Type() fs.FileMode          { return e.mode.Type() }
func (e *entryInfo) ModTime() time.Time         { return time.Time{} } // Git keeps none
func (e *entryInfo) IsDir() bool                { return e.mode.IsDir() }
func (e *entryInfo) Sys() any                   { return nil }
func (e *entryInfo) String() string             { return fs.FormatDirEntry(e) }
func (e *entryInfo) Info() (fs.FileInfo, error) { return e.full() }

// full adds the size. Listing a directory does without: it takes reading each object's header.
func (e *entryInfo) full() (fs.FileInfo, error) {
	out := *e
	if e.mode.IsRegular() || e.mode.Type() == fs.ModeSymlink {
		n, err := e.f.r.objects.size(e.hash)
		if err != nil {
			return nil, &fs.PathError{Op: "stat", Path: e.name, Err: err}
		}
		out.size = n
	}
	return &out, nil
}

// openFile reads its content when the first byte is asked for.
type openFile struct {
	f    *FS
	info *entryInfo
	path string
	r    *bytes.Reader
	done bool
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.info.full() }

func (o *openFile) Read(p []byte) (int, error) {
	if o.done {
		return 0, &fs.PathError{Op: "read", Path: o.path, Err: fs.ErrClosed}
	}
	if o.r == nil {
		b, err := o.f.read(o.path, object.TreeEntry{Hash: o.info.hash})
		if err != nil {
			return 0, err
		}
		o.r = bytes.NewReader(b)
	}
	return o.r.Read(p)
}

func (o *openFile) Close() error {
	o.r, o.done = nil, true
	return nil
}

type openDir struct {
	info    *entryInfo
	path    string
	entries []fs.DirEntry
}

func (o *openDir) Stat() (fs.FileInfo, error) { return o.info.full() }
func (o *openDir) Close() error               { return nil }

func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.path, Err: errors.New("is a directory")}
}

func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(o.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(o.entries) {
		n = len(o.entries)
	}
	out := o.entries[:n:n]
	o.entries = o.entries[n:]
	return out, nil
}
