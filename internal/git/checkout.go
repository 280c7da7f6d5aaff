package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	maxFindings = 200       // then they are only counted
	maxDepth    = 200       // directories in one another; each is an open file while those in it are written
	writers     = 2         // files written while the next is inflated; more do not help, the directory is locked
	pending     = 32        // files read and not yet written
	handOver    = 256 << 10 // bytes; larger files are written piece by piece by the goroutine that reads them
)

// Checkout writes the files of a commit or tree into dir, which must be empty; it is created 0700 when it is not there.
// Files have modes 0644 or 0755. What cannot be laid out safely is left out with a finding: symbolic links that lead out
// of dir, through other links too; files above Config.MaxFile; names that mean something else to a file system.
// Submodules are empty directories with a finding.
//
// Nothing in the tree decides where a file lands: every directory is opened from its parent without following links, and
// links are made when all files are there. How much is written is bounded by ctx only. After an error, dir holds a part
// of the files; the caller removes it.
func (r *Repo) Checkout(ctx context.Context, treeish, dir string) ([]plumbline.Finding, error) {
	return r.CheckoutWithout(ctx, treeish, dir, nil)
}

// CheckoutWithout is Checkout without the directories, named by their path from the root, that skip picks. They are left out silently, with
// all that is in them.
func (r *Repo) CheckoutWithout(ctx context.Context, treeish, dir string, skip func(dir string) bool) (findings []plumbline.Finding, err error) {
	f, err := r.FS(treeish)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("lay out %s of %s: %w", plumbline.Short(treeish), r.name, err)
		}
	}()
	root, err := emptyDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c := &checkout{f: f, skip: skip, jobs: make(chan job, pending), free: make(chan []byte, pending), stop: stop}
	var running sync.WaitGroup
	for range writers {
		running.Go(c.write)
	}
	top, err := root.OpenRoot(".")
	if err == nil {
		err = c.dir(ctx, newSharedRoot(top), f.root, "", 0)
	}
	close(c.jobs)
	running.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	if err := c.makeLinks(root); err != nil {
		return nil, err
	}
	return c.found(), nil
}

func emptyDir(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("directory %s is not empty: %w", dir, plumbline.ErrConflict)
	}
	return os.OpenRoot(dir)
}

// checkout is one run of Checkout. One goroutine walks the tree and inflates, others write: on a disk that is idle the
// two take about the same time.
type checkout struct {
	f     *FS
	skip  func(dir string) bool // nil: nothing is skipped
	jobs  chan job
	stop  context.CancelCauseFunc
	links []string
	free  chan []byte // buffers to use again

	mu       sync.Mutex // guards what writers add to
	findings []plumbline.Finding
	more     int
}

// job is a small file to write.
type job struct {
	dir  *sharedRoot
	name string
	path string
	mode fs.FileMode
	data []byte
}

// sharedRoot is an open directory that is closed when nobody writes into it any more.
type sharedRoot struct {
	*os.Root
	users atomic.Int32
}

func newSharedRoot(r *os.Root) *sharedRoot {
	s := &sharedRoot{Root: r}
	s.users.Store(1)
	return s
}

func (s *sharedRoot) release() error {
	if s.users.Add(-1) > 0 {
		return nil
	}
	return s.Close()
}

// dir writes one directory and those in it. It releases at.
func (c *checkout) dir(ctx context.Context, at *sharedRoot, tree plumbing.Hash, prefix string, depth int) (err error) {
	defer func() { err = errors.Join(err, at.release()) }()
	entries, err := c.f.r.objects.entries(tree)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p := prefix + e.Name
		if why := refuseName(e.Name); why != "" {
			c.finding(p, "%s is left out: %s.", entryKind(e.Mode), why)
			continue
		}
		if seen[e.Name] {
			c.finding(p, "%s is left out: its directory has another entry of this name.", entryKind(e.Mode))
			continue
		}
		seen[e.Name] = true
		switch e.Mode {
		case filemode.Dir:
			if c.skip != nil && c.skip(p) {
				continue
			}
			if depth == maxDepth {
				c.finding(p, "Directory is left out: it is more than %d directories deep.", maxDepth)
				continue
			}
			sub, err := subdir(at.Root, e.Name)
			if err != nil {
				return err
			}
			if err := c.dir(ctx, newSharedRoot(sub), e.Hash, p+"/", depth+1); err != nil {
				return err
			}
		case filemode.Symlink:
			c.links = append(c.links, p)
		case filemode.Submodule:
			if err := at.Mkdir(e.Name, 0o755); err != nil {
				return err
			}
			c.finding(p, "Submodule is left empty: submodules are not fetched.")
		default:
			if err := c.file(ctx, at, e, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func entryKind(m filemode.FileMode) string {
	switch m {
	case filemode.Dir:
		return "Directory"
	case filemode.Symlink:
		return "Symbolic link"
	case filemode.Submodule:
		return "Submodule"
	}
	return "File"
}

func subdir(at *os.Root, name string) (*os.Root, error) {
	if err := at.Mkdir(name, 0o755); err != nil {
		return nil, err
	}
	return at.OpenRoot(name)
}

// file hands a small file to the writers, and writes a large one here, piece by piece.
func (c *checkout) file(ctx context.Context, at *sharedRoot, e object.TreeEntry, p string) error {
	o := &c.f.r.objects
	var buf []byte
	select {
	case buf = <-c.free:
	default:
	}
	data, size, err := o.read(e.Hash, buf[:0], handOver)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if size > c.f.r.maxFile {
		c.finding(p, "File is left out: it has %s, more than the %s that are laid out.", megabytes(size), megabytes(c.f.r.maxFile))
		return nil
	}
	if size > handOver {
		return create1(at.Root, e.Name, fileMode(e.Mode), func(w io.Writer) error {
			return o.stream(e.Hash, ctxWriter{ctx, w})
		})
	}
	at.users.Add(1)
	select {
	case c.jobs <- job{at, e.Name, p, fileMode(e.Mode), data}:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), at.release())
	}
}

// write writes files until there are no more. Its first error stops the walk.
func (c *checkout) write() {
	for j := range c.jobs {
		err := create1(j.dir.Root, j.name, j.mode, func(w io.Writer) error {
			_, err := w.Write(j.data)
			return err
		})
		if err := errors.Join(err, j.dir.release()); err != nil {
			c.stop(err)
		}
		select {
		case c.free <- j.data:
		default:
		}
	}
}

// create1 makes one new file. Its mode is set apart from its making, where the umask would have a say.
func create1(at *os.Root, name string, mode fs.FileMode, fill func(io.Writer) error) (err error) {
	f, err := at.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := fill(f); err != nil {
		return err
	}
	return f.Chmod(mode)
}

// ctxWriter ends a long copy when nobody waits for it any more.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w ctxWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.w.Write(p)
}

func (c *checkout) finding(file, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.findings) == maxFindings {
		c.more++
		return
	}
	c.findings = append(c.findings, plumbline.Finding{File: printable(file), Message: fmt.Sprintf(format, args...)})
}

// printable is a path as text: what is not a character to be seen is replaced.
func printable(p string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '\uFFFD'
		}
		return c
	}, strings.ToValidUTF8(p, "\uFFFD"))
}

func (c *checkout) found() []plumbline.Finding {
	slices.SortStableFunc(c.findings, func(a, b plumbline.Finding) int { return strings.Compare(a.File, b.File) })
	if c.more > 0 {
		c.findings = append(c.findings, plumbline.Finding{Message: fmt.Sprintf("%d more entries are left out.", c.more)})
	}
	return c.findings
}

// makeLinks makes the symbolic links that stay inside.
func (c *checkout) makeLinks(root *os.Root) error {
	slices.Sort(c.links)
	for _, p := range c.links {
		target, err := c.f.ReadLink(p)
		if err != nil {
			c.finding(p, "Symbolic link is left out: %v.", errors.Unwrap(err))
			continue
		}
		if why := c.f.leadsOut(p, target); why != "" {
			c.finding(p, "Symbolic link is left out: %s.", why)
			continue
		}
		if err := root.Symlink(target, p); err != nil {
			return err
		}
	}
	return nil
}

// leadsOut says why a link must not be made, or "". It goes the way the kernel would, on the commit's own tree, through
// every other link: a target that looks harmless may lead out through one of them. What is not in the tree counts as a
// directory that may be made later.
func (f *FS) leadsOut(link, target string) string {
	const maxHops = 40 // as many as Linux follows
	if strings.Contains(target, "\x00") || target == "" {
		return "its target is no path"
	}
	var at []string
	if dir := path.Dir(link); dir != "." {
		at = strings.Split(dir, "/")
	}
	todo := []string{target}
	for hops := 0; len(todo) > 0; {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if strings.HasPrefix(next, "/") {
			return fmt.Sprintf("it leads to the absolute path %s", printable(next))
		}
		first, rest, more := strings.Cut(next, "/")
		if more && strings.Trim(rest, "/") != "" {
			todo = append(todo, strings.TrimLeft(rest, "/"))
		}
		switch first {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return fmt.Sprintf("its target %s leads out of the repository", printable(target))
			}
			at = at[:len(at)-1]
			continue
		}
		p := path.Join(append(slices.Clone(at), first)...)
		e, err := f.lookup("readlink", p)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
			at = append(at, first)
		case err != nil:
			return fmt.Sprintf("where it leads cannot be read: %v", err)
		case e.Mode == filemode.Symlink:
			if hops++; hops > maxHops {
				return "it leads round in a circle"
			}
			t, err := f.readLink(p, e.Hash)
			if err != nil {
				return fmt.Sprintf("where it leads cannot be read: %v", err)
			}
			todo = append(todo, t)
		default:
			at = append(at, first)
		}
	}
	return ""
}
