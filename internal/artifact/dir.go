package artifact

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// ErrNotFound says that there is no blob of that name.
var ErrNotFound = errors.New("no such artifact")

// staleAfter is the age at which a temporary file is taken for what a crash left behind. A live Put changes its file
// with every 64 KiB it gets.
const staleAfter = 24 * time.Hour

// DirConfig says what OpenDir opens.
type DirConfig struct {
	Path string           // the directory, made if it is missing; no default
	Key  Key              // from LoadKey; no default
	Now  func() time.Time // the clock that tells which temporary files are old; default time.Now
}

// Dir keeps blobs in one directory. It is safe for concurrent use, also by several processes on one file system. A
// blob is replaced as a whole: who reads it meanwhile gets the old or the new one.
type Dir struct {
	root *os.Root // no path that is given to it leads outside, symbolic links included
	key  Key
}

// OpenDir opens a directory of blobs, and removes temporary files that a crash left there more than a day ago.
func OpenDir(c DirConfig) (*Dir, error) {
	if c.Path == "" {
		return nil, errors.New("open artifacts: no directory is given")
	}
	if c.Key == (Key{}) {
		return nil, errors.New("open artifacts: no key is given")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := os.MkdirAll(c.Path, 0o700); err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	root, err := os.OpenRoot(c.Path)
	if err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	d := &Dir{root: root, key: c.Key}
	if err := d.removeStale(c.Now().Add(-staleAfter)); err != nil {
		return nil, fmt.Errorf("open artifacts: remove what a crash left: %w", errors.Join(err, root.Close()))
	}
	return d, nil
}

// Close lets go of the directory. Readers that Get returned stay usable.
func (d *Dir) Close() error { return d.root.Close() }

func (d *Dir) removeStale(before time.Time) error {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err == nil && info.ModTime().Before(before) {
			err = d.root.Remove(e.Name())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a Put, or another process that cleans up, was quicker
			return err
		}
	}
	return nil
}

// Put seals what r gives under name, in place of what was there. It returns the size and the SHA-256 in hexadecimal of the
// plaintext. When it returns without an error the blob lasts through a crash; when it fails, what was there before is
// still there, except that an error which says "sync" leaves open which of the two a crash would keep.
func (d *Dir) Put(ctx context.Context, name string, r io.Reader) (size int64, sum string, err error) {
	if err := checkName(name); err != nil {
		return 0, "", fmt.Errorf("put artifact %w", err)
	}
	temp, size, sum, err := d.writeTemp(ctx, name, r)
	if err != nil {
		return 0, "", fmt.Errorf("put artifact %s: %w", name, err)
	}
	if err := d.place(temp, name+sealedSuffix); err != nil {
		return 0, "", fmt.Errorf("put artifact %s: %w", name, errors.Join(err, d.removeTemp(temp)))
	}
	if err := d.syncUp(path.Dir(name)); err != nil {
		return 0, "", fmt.Errorf("put artifact %s: sync: %w", name, err)
	}
	return size, sum, nil
}

// writeTemp writes the sealed file under a temporary name, and leaves nothing when it fails.
func (d *Dir) writeTemp(ctx context.Context, name string, r io.Reader) (_ string, size int64, sum string, err error) {
	temp := tempPrefix + rand.Text()
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.removeTemp(temp))
		}
	}()
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails: crypto/rand ends the process instead
	hash := sha256.New()
	size, err = seal(ctx, f, io.TeeReader(r, hash), d.key, salt, name)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return "", 0, "", err
	}
	return temp, size, hex.EncodeToString(hash.Sum(nil)), nil
}

func (d *Dir) removeTemp(temp string) error {
	if err := d.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// place renames temp to file, in a directory that a Delete in any process may remove whenever it is empty: then
// it is made again. Somebody would have to win that race many times in a row for place to fail.
func (d *Dir) place(temp, file string) error {
	var err error
	for range 100 {
		err = d.root.MkdirAll(path.Dir(file), 0o700)
		if errors.Is(err, fs.ErrExist) { // it was there for mkdir and gone when MkdirAll looked at what it is
			continue
		}
		if err == nil {
			err = d.root.Rename(temp, file)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// syncUp makes the names in dir and in all directories above it last: any of them may be new, also if another Put
// has made it and not yet synced it.
func (d *Dir) syncUp(dir string) error {
	for {
		err := syncDir(d.root.Open, dir)
		// A directory that is gone was removed with the blob, by a Delete that came after the rename.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

// Get opens the blob. It returns ErrNotFound if there is none. What the reader gives is genuine; where the file
// is not, Get or the reader returns ErrTampered in place of the chunk concerned: a caller that acts on a part of a blob before the
// reader returned io.EOF acts on a genuine beginning, not on the whole. ctx ends the reading too. The caller closes
// the reader.
func (d *Dir) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("get artifact %w", err)
	}
	f, err := d.root.Open(name + sealedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("artifact %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", name, err)
	}
	o, err := open(ctx, f, d.key, name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return o, nil
}

// Delete removes the blob, and directories that held nothing else. That there is none is no error: the wish is fulfilled.
func (d *Dir) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("delete artifact %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete artifact %s: %w", name, err)
	}
	err := d.root.Remove(name + sealedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete artifact %s: %w", name, err)
	}
	dir := path.Dir(name)
	for dir != "." && d.root.Remove(dir) == nil { // stops at a directory that is not empty, or gone
		dir = path.Dir(dir)
	}
	if err := d.syncUp(dir); err != nil {
		return fmt.Errorf("delete artifact %s: sync: %w", name, err)
	}
	return nil
}

// List returns the names that begin with prefix, sorted. A blob that is put or deleted meanwhile may be in it or not.
func (d *Dir) List(ctx context.Context, prefix string) ([]string, error) {
	dir, err := prefixDir(prefix)
	if err != nil {
		return nil, fmt.Errorf("list artifacts %w", err)
	}
	var names []string
	err = fs.WalkDir(d.root.FS(), dir, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile, or nothing has ever been put there
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name, sealed := strings.CutSuffix(p, sealedSuffix)
		if sealed && e.Type().IsRegular() && strings.HasPrefix(name, prefix) && checkName(name) == nil {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list artifacts %q: %w", prefix, err)
	}
	slices.Sort(names)
	return names, nil
}
